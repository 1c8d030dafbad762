// SPDX-License-Identifier: Apache-2.0
#include "verify/guarded.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <new>

namespace cdrzoo::verify {

namespace {

std::size_t page() {
  static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

std::size_t round_up(std::size_t value, std::size_t to) { return (value + to - 1) / to * to; }

}  // namespace

Arena::~Arena() {
  for (const auto& mapping : mappings_) munmap(static_cast<char*>(mapping.base) - page(), mapping.bytes + 2 * page());
  for (void* block : plain_) std::free(block);  // NOLINT(cppcoreguidelines-no-malloc)
}

void* Arena::take(std::size_t bytes, std::size_t align) {
  const std::size_t padded = round_up(bytes == 0 ? 1 : bytes, align);
  if (memory_ == Memory::plain) {
    void* block = std::aligned_alloc(align, padded);  // NOLINT(cppcoreguidelines-no-malloc)
    if (block == nullptr) throw std::bad_alloc();
    std::memset(block, 0, padded);
    plain_.push_back(block);
    return block;
  }
  const std::size_t behind = memory_ == Memory::pages ? page() : 0;
  const std::size_t inner = round_up(padded, page()) + behind;
  void* outer = mmap(nullptr, inner + 2 * page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (outer == MAP_FAILED) throw std::bad_alloc();
  char* base = static_cast<char*>(outer) + page();
  if (mprotect(base, inner, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  mappings_.push_back({base, inner, false});
  return base + inner - behind - padded;
}

void Arena::seal() {
  for (auto& mapping : mappings_) {
    if (!mapping.sealed) mprotect(mapping.base, mapping.bytes, PROT_READ);
    mapping.sealed = true;
  }
}

}  // namespace cdrzoo::verify
