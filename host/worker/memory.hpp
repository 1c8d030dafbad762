// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace cdrzoo::worker {

/// Pages that are filled once and then made read-only, so that a plugin that writes to its input stops there and then.
class SealedMemory {
 public:
  SealedMemory() = default;
  SealedMemory(const SealedMemory&) = delete;
  SealedMemory& operator=(const SealedMemory&) = delete;
  ~SealedMemory();

  /// Page-aligned, zeroed. \throws std::bad_alloc
  [[nodiscard]] void* allocate(std::size_t bytes);
  void seal();

 private:
  struct Chunk {
    void* address;
    std::size_t bytes;
  };
  std::vector<Chunk> chunks_;
};

/// A buffer that a plugin writes: 64-byte aligned, filled with a NaN signature, followed by a few bytes of padding that
/// are checked and by kGuardBytes that must not be touched (and preceded by as many).
class GuardedBuffer {
 public:
  /// \throws std::bad_alloc
  explicit GuardedBuffer(std::size_t bytes);
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  ~GuardedBuffer();

  [[nodiscard]] void* data() const { return data_; }
  /// Nothing was written before the buffer or between its end and the guard page.
  [[nodiscard]] bool intact() const;

  /// Address space only, no memory: wide enough for a few rows too many.
  static constexpr std::size_t kGuardBytes = 1U << 20U;
  /// Bits of the quiet NaN that fills a fresh buffer: what still reads so was not written.
  static constexpr std::uint32_t kSignature = 0x7FC5C0DEU;

 private:
  std::size_t bytes_ = 0, mapped_ = 0;
  std::uint8_t* base_ = nullptr;
  std::uint8_t* data_ = nullptr;
};

/// What an address that faulted belongs to.
enum class Region { none, guard, view };
/// Async-signal-safe.
[[nodiscard]] Region region_of(const void* address);
/// Announces a range for region_of, from one thread at a time; at most 4096 at once, further ones are ignored.
void register_region(const void* begin, std::size_t bytes, Region region);

}  // namespace cdrzoo::worker
