// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.hpp"
#include "split/split.hpp"

namespace cdrzoo {

/// Measured profiles that a model is given for one query row (task expression): what the row's perturbations did
/// elsewhere. Rows of Dataset::perturbations and indices into Dataset::samples; -1 = there is none.
struct Reference {
  std::int32_t row_a = -1;      ///< profile of the row's perturbation `drug`, alone
  std::int32_t control_a = -1;  ///< control of that profile
  std::int32_t row_b = -1;      ///< a double's `drug_b`, alone; -1 for a single
  std::int32_t control_b = -1;
  /// One of the two was measured in the context of the row itself, or in another one of its group: tables say so.
  bool in_context = false;
};

/// References of one query row, at least one: without any measured profile it is one of -1.
using RowReferences = std::vector<Reference>;

/// Chooses the references of every row of \p rows (validation or test rows of \p fold), from the fold's train rows and
/// its `references` only. share/doc/splits.md has the rule. Depends on the seed of the split, the fold and the identity
/// of the row, not on the order of the rows. \p spec gives seed and number.
[[nodiscard]] std::vector<RowReferences> choose_references(const Dataset& dataset, const SplitSpec& spec,
                                                           const Fold& fold, const std::vector<std::int32_t>& rows);

/// References of a query row at most: SplitSpec::references, or its default for this data set.
[[nodiscard]] int references_per_row(const Dataset& dataset, const SplitSpec& spec);

}  // namespace cdrzoo
