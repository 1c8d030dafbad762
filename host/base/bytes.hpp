// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>

namespace cdrzoo {

/// memcmp of \p n elements. For floating point: a NaN equals the same NaN, and -0 is not 0.
template <typename T>
[[nodiscard]] int compare_bytes(const T* a, const T* b, std::size_t n = 1) {
  return std::memcmp(static_cast<const void*>(a), static_cast<const void*>(b), n * sizeof(T));
}

}  // namespace cdrzoo
