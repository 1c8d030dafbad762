// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/hash.hpp"
#include "base/random.hpp"

namespace cdrzoo {

/// One named stream of numbers of a generator of synthetic data; element i is a function of (seed, name, i). Only
/// integers and IEEE 754 division are used, so it is the same to the last bit on every machine.
class SeededStream {
 public:
  SeededStream(std::uint64_t seed, const std::string& name) : seed_(derive_seed(seed, name)) {}

  /// In [0, 1).
  double uniform() { return static_cast<double>(next() >> 11U) / 9007199254740992.0; }
  /// Sum of twelve uniforms minus six (Irwin-Hall): mean 0, variance 1, and exact in integers until the last division.
  double normal() {
    std::uint64_t sum = 0;
    for (int i = 0; i < 12; ++i) sum += next() >> 32U;
    return static_cast<double>(sum) / 4294967296.0 - 6.0;
  }
  std::uint64_t below(std::uint64_t bound) { return (next() >> 32U) * bound >> 32U; }

 private:
  std::uint64_t next() { return splitmix64(seed_, counter_++); }
  std::uint64_t seed_;
  std::uint64_t counter_ = 0;
};

}  // namespace cdrzoo
