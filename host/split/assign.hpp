// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/hash.hpp"

namespace cdrzoo {

/// Records that must stay together, and how many there are.
struct WeightedGroup {
  std::string_view name;    ///< identity, UTF-8, borrowed
  std::int64_t weight = 0;  ///< records
};

/// The fold of each group, in the order given. Specified down to the byte (protocol 2, share/doc/splits.md), so that
/// any language gets the same folds:
///   key(g) = SHA-256(le64(seed) . le64(repeat) . mode . 0x00 . name(g));
///   groups with weight * 2 * folds > total first, by (weight descending, key), then the others by key;
///   each goes to the fold with the smallest weight so far, ties to the lowest index.
/// The order of \p groups does not matter. \p mode keeps the assignments of one data set independent ("LCO",
/// "LCO/inner/3").
[[nodiscard]] std::vector<int> assign_folds(const std::vector<WeightedGroup>& groups, int folds, std::uint64_t seed,
                                            int repeat, std::string_view mode);

/// The key of one name by which everything in a split is ordered: SHA-256(le64(seed) . le64(repeat) . mode . 0x00 .
/// name).
[[nodiscard]] Sha256::Digest assignment_key(std::uint64_t seed, int repeat, std::string_view mode,
                                            std::string_view name);

}  // namespace cdrzoo
