// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace cdrzoo::verify {

/// plain: aligned heap memory. pages: whole pages, which can be made read-only; what lies behind a block is readable.
/// guarded: the same, with an inaccessible page against the end, so that the first byte too far ends the process.
enum class Memory { plain, pages, guarded };

/// Memory as a plugin gets it from a strict host. It lives until the arena does.
class Arena {
 public:
  explicit Arena(Memory memory) : memory_(memory) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  /// Zeroed. A guarded block ends at an inaccessible page (up to rounding \p bytes to \p align).
  /// \throws std::bad_alloc
  [[nodiscard]] void* take(std::size_t bytes, std::size_t align = 8);

  template <typename T>
  [[nodiscard]] T* copy(const T* data, std::size_t count, std::size_t align = 64) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (count == 0) return nullptr;
    auto* to = static_cast<T*>(take(count * sizeof(T), align));
    std::memcpy(to, data, count * sizeof(T));
    return to;
  }
  /// Makes everything that was taken so far read-only. Plain memory stays as it is.
  void seal();

 private:
  struct Mapping {
    void* base;
    std::size_t bytes;  ///< without the guard pages
    bool sealed;
  };
  Memory memory_;
  std::vector<Mapping> mappings_;
  std::vector<void*> plain_;
};

/// How the structs of the host look to the plugin: those of this release, or of a later one.
struct HostShape {
  std::uint32_t minor = 0;         ///< offered and spoken
  std::vector<std::uint8_t> tail;  ///< bytes behind every growable struct, inside its size: fields of a later minor
  std::uint32_t stride_extra = 0;  ///< further bytes between the elements of a span, outside their size
};

/// A growable struct as the host hands it over: stamped with the size that it has in \p shape.
template <typename T>
[[nodiscard]] T* put(Arena& arena, T value, const HostShape& shape) {
  value.size = static_cast<std::uint32_t>(sizeof(T) + shape.tail.size());
  auto* to = static_cast<std::uint8_t*>(arena.take(value.size));
  std::memcpy(to, &value, sizeof(T));
  if (!shape.tail.empty()) std::memcpy(to + sizeof(T), shape.tail.data(), shape.tail.size());
  return reinterpret_cast<T*>(to);
}

}  // namespace cdrzoo::verify
