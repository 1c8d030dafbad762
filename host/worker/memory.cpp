// SPDX-License-Identifier: Apache-2.0
#include "worker/memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <new>

namespace cdrzoo::worker {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kMaxRegions = 4096;

struct Range {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};
  std::atomic<Region> region{Region::none};
};
std::array<Range, kMaxRegions> ranges;
std::atomic<std::size_t> n_ranges{0};

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

std::size_t round_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

void* map_pages(std::size_t bytes) {
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) throw std::bad_alloc();
  return address;
}

void forget_region(const void* begin) {
  for (std::size_t i = 0; i < std::min(n_ranges.load(), kMaxRegions); ++i)
    if (ranges[i].begin.load() == reinterpret_cast<std::uintptr_t>(begin)) ranges[i].region = Region::none;
}

}  // namespace

void register_region(const void* begin, std::size_t bytes, Region region) {
  if (begin == nullptr || bytes == 0) return;
  const auto first = reinterpret_cast<std::uintptr_t>(begin);
  const auto n = std::min(n_ranges.load(), kMaxRegions);
  std::size_t slot = n;
  for (std::size_t i = 0; i < n; ++i) {
    if (ranges[i].region.load() == Region::none) {
      slot = i;  // of memory that is gone
    } else if (ranges[i].begin.load() == first && ranges[i].end.load() == first + bytes) {
      slot = i;
      break;
    }
  }
  if (slot >= kMaxRegions) return;
  ranges[slot].begin = first;
  ranges[slot].end = first + bytes;
  ranges[slot].region = region;
  if (slot == n) n_ranges.fetch_add(1);
}

Region region_of(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const auto n = std::min(n_ranges.load(), kMaxRegions);
  for (std::size_t i = 0; i < n; ++i)
    if (at >= ranges[i].begin && at < ranges[i].end && ranges[i].region.load() != Region::none) return ranges[i].region;
  return Region::none;
}

SealedMemory::~SealedMemory() {
  for (const auto& chunk : chunks_) {
    forget_region(chunk.address);
    ::munmap(chunk.address, chunk.bytes);
  }
}

void* SealedMemory::allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  const auto size = round_up(bytes, page_bytes());
  void* address = map_pages(size);
  chunks_.push_back({address, size});
  return address;
}

void SealedMemory::seal() {
  for (const auto& chunk : chunks_) {
    ::mprotect(chunk.address, chunk.bytes, PROT_READ);
    register_region(chunk.address, chunk.bytes, Region::view);
  }
}

GuardedBuffer::GuardedBuffer(std::size_t bytes) : bytes_(bytes) {
  const auto padded = round_up(bytes, kAlignment);
  mapped_ = round_up(padded, page_bytes()) + 2 * kGuardBytes;
  base_ = static_cast<std::uint8_t*>(map_pages(mapped_));
  auto* end = base_ + mapped_ - kGuardBytes;
  data_ = end - padded;
  for (auto* word = base_ + kGuardBytes; word < end; word += sizeof kSignature)
    std::memcpy(word, &kSignature, sizeof kSignature);
  for (auto* guard : {base_, end}) {
    ::mprotect(guard, kGuardBytes, PROT_NONE);
    register_region(guard, kGuardBytes, Region::guard);
  }
}

GuardedBuffer::~GuardedBuffer() {
  forget_region(base_);
  forget_region(base_ + mapped_ - kGuardBytes);
  ::munmap(base_, mapped_);
}

bool GuardedBuffer::intact() const {
  const auto untouched = [&](const std::uint8_t* from, const std::uint8_t* to) {
    for (const auto* at = from; at < to; ++at) {
      std::uint8_t expected[sizeof kSignature];
      std::memcpy(expected, &kSignature, sizeof kSignature);
      if (*at != expected[static_cast<std::size_t>(at - base_) % sizeof kSignature]) return false;
    }
    return true;
  };
  return untouched(base_ + kGuardBytes, data_) && untouched(data_ + bytes_, base_ + mapped_ - kGuardBytes);
}

}  // namespace cdrzoo::worker
