// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
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

/// Whole numbers below a bound from splitmix64(seed, 0), (seed, 1), ...; unbiased by rejection.
class BoundedRandom {
 public:
  explicit BoundedRandom(std::uint64_t seed) : seed_(seed) {}
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) {
    const std::uint64_t limit = (0 - bound) % bound;  // 2^64 mod bound: values below it would favour small results
    std::uint64_t draw = splitmix64(seed_, counter_++);
    while (draw < limit) draw = splitmix64(seed_, counter_++);
    return draw % bound;
  }

 private:
  std::uint64_t seed_;
  std::uint64_t counter_ = 0;
};

/// A random permutation of 0 .. n-1 (Fisher-Yates over BoundedRandom).
[[nodiscard]] inline std::vector<std::int32_t> random_permutation(std::size_t n, std::uint64_t seed) {
  std::vector<std::int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  BoundedRandom random(seed);
  for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

/// \p k of the numbers 0 .. n-1 without repetition, ascending: every such set is equally likely (Floyd's algorithm over
/// BoundedRandom, so the cost does not grow with n). Needs k <= n.
[[nodiscard]] inline std::vector<std::size_t> random_sample(std::size_t n, std::size_t k, std::uint64_t seed) {
  std::vector<std::size_t> chosen;
  chosen.reserve(k);
  BoundedRandom random(seed);
  for (std::size_t last = n - k; last < n; ++last) {
    const auto draw = static_cast<std::size_t>(random.below(last + 1));
    const auto place = std::lower_bound(chosen.begin(), chosen.end(), draw);
    if (place != chosen.end() && *place == draw) {
      chosen.push_back(last);  // larger than all before it
    } else {
      chosen.insert(place, draw);
    }
  }
  return chosen;
}

}  // namespace cdrzoo
