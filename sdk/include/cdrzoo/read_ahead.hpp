// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace cdrzoo::sdk {

/// Asks the system to read these bytes of a mapped file at once, and no others: rows of a file larger than memory
/// otherwise come in one page fault after the other, each with up to megabytes around it. A hint: nothing fails.
inline void will_need(const void* data, std::size_t bytes) {
#if defined(__linux__)
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(data);
  const auto begin = first - first % page;
  if (bytes > 0) ::madvise(reinterpret_cast<void*>(begin), first + bytes - begin, MADV_WILLNEED);
#else
  (void)data, (void)bytes;
#endif
}

}  // namespace cdrzoo::sdk
