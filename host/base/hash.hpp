// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace cdrzoo {

/// Incremental SHA-256 (OpenSSL's libcrypto).
class Sha256 {
 public:
  using Digest = std::array<std::uint8_t, 32>;

  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();

  Sha256& update(const void* data, std::size_t bytes);
  Sha256& update(std::string_view text) { return update(text.data(), text.size()); }
  /// Little-endian, 8 bytes, whatever the machine.
  Sha256& update_le64(std::uint64_t value);
  /// Ends the computation; the object must not be updated afterwards.
  [[nodiscard]] Digest digest();
  /// 64 lower-case hexadecimal digits.
  [[nodiscard]] std::string hex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

[[nodiscard]] std::string to_hex(const Sha256::Digest& digest);
[[nodiscard]] std::string sha256_hex(std::string_view text);
/// \throws IoError if the file cannot be read.
[[nodiscard]] std::string sha256_file_hex(const std::filesystem::path& path);

/// The seed of one part of a run: a 64-bit hash of the parent seed and a name ("fold/3", "model/ridge").
[[nodiscard]] std::uint64_t derive_seed(std::uint64_t parent, std::string_view name);

}  // namespace cdrzoo
