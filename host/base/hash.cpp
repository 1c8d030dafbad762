// SPDX-License-Identifier: Apache-2.0
#include "base/hash.hpp"

#include <openssl/evp.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/error.hpp"

namespace cdrzoo {

struct Sha256::Context {
  EVP_MD_CTX* md = EVP_MD_CTX_new();
  Context() {
    if (md == nullptr || EVP_DigestInit_ex(md, EVP_sha256(), nullptr) != 1) throw Error("SHA-256 is not available");
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { EVP_MD_CTX_free(md); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

Sha256& Sha256::update(const void* data, std::size_t bytes) {
  EVP_DigestUpdate(context_->md, data, bytes);
  return *this;
}

Sha256& Sha256::update_le64(std::uint64_t value) {
  std::array<std::uint8_t, 8> bytes{};
  for (auto& byte : bytes) {
    byte = static_cast<std::uint8_t>(value & 0xFFU);
    value >>= 8U;
  }
  return update(bytes.data(), bytes.size());
}

Sha256::Digest Sha256::digest() {
  Digest out{};
  EVP_DigestFinal_ex(context_->md, out.data(), nullptr);
  return out;
}

std::string Sha256::hex() { return to_hex(digest()); }

std::string to_hex(const Sha256::Digest& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * digest.size());
  for (const auto byte : digest) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

std::string sha256_hex(std::string_view text) { return Sha256().update(text).hex(); }

std::string sha256_file_hex(const std::filesystem::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) throw IoError("cannot read " + path.string() + ": " + std::strerror(errno));
  Sha256 sha;
  std::vector<char> buffer(1U << 20U);
  for (;;) {
    const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), file.get());
    if (n == 0) break;
    sha.update(buffer.data(), n);
  }
  if (std::ferror(file.get()) != 0) throw IoError("cannot read " + path.string() + ": " + std::strerror(errno));
  return sha.hex();
}

std::uint64_t derive_seed(std::uint64_t parent, std::string_view name) {
  const auto digest = Sha256().update_le64(parent).update(name).digest();
  std::uint64_t seed = 0;
  for (std::size_t i = 8; i-- > 0;) seed = (seed << 8U) | digest[i];
  return seed;
}

}  // namespace cdrzoo
