// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "base/array_view.hpp"

namespace cdrzoo {

/// Maps finite doubles to integers of the same order; both zeros map to one key.
[[nodiscard]] std::uint64_t order_key(double x);
[[nodiscard]] double from_order_key(std::uint64_t key);

/// Ascending, in place: radix sort where there is enough to do, else std::sort. Linear time, one buffer of the same
/// size.
void sort_keys(std::vector<std::uint64_t>& keys);

/// Ranks from 1; ties share the mean of their ranks.
[[nodiscard]] std::vector<double> mid_ranks(ArrayView<double> x);

}  // namespace cdrzoo
