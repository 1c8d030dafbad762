// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace cdrzoo {

/// Output \p index (from 0) of the SplitMix64 generator that is seeded with \p seed: a counter-based generator, so any
/// element is computed on its own, in any language, on any machine.
[[nodiscard]] constexpr std::uint64_t splitmix64(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31U);
}

/// A random permutation of 0 .. n-1 (Fisher-Yates over splitmix64(seed, 0), (seed, 1), ...; unbiased by rejection).
[[nodiscard]] inline std::vector<std::int32_t> random_permutation(std::size_t n, std::uint64_t seed) {
  std::vector<std::int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::uint64_t counter = 0;
  for (std::size_t i = n; i > 1; --i) {
    const std::uint64_t bound = i;
    const std::uint64_t limit = (0 - bound) % bound;  // 2^64 mod bound: values below it would favour small results
    std::uint64_t draw = splitmix64(seed, counter++);
    while (draw < limit) draw = splitmix64(seed, counter++);
    std::swap(order[i - 1], order[draw % bound]);
  }
  return order;
}

}  // namespace cdrzoo
