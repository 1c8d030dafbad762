// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/array_view.hpp"
#include "data/dataset.hpp"
#include "store/condition_table.hpp"

namespace cdrzoo {

/// The predictions of one part of a cell of task "expression", one entry per profile (row of Dataset::perturbations),
/// references averaged already.
struct PredictedProfiles {
  std::string part;                        ///< "validation" | "test"
  std::vector<std::int32_t> row;           ///< of Dataset::perturbations
  MatrixView<float> prediction;            ///< [rows, genes]; read where status is 0 only
  std::vector<std::int32_t> status;        ///< CDRZOO_ROW_*
  std::vector<std::int32_t> n_references;  ///< empty = the model asked for none
  std::vector<std::int32_t> in_context;    ///< 1 = a reference of this row is of its own context; empty = none
};

/// Collects profiles to conditions, with everything that the scores need (share/doc/store.md, "Conditions"). Computes
/// the scores that need single cells (energy_distance, mmd, *_ceiling) where a condition has several rows, for the part
/// "test".
/// \param train_rows of Dataset::perturbations: for the mean of training perturbed profiles and for singles_seen
/// \throws std::logic_error for parts whose columns differ in length
[[nodiscard]] ConditionTable collect_conditions(const Dataset& dataset, const std::vector<std::int32_t>& train_rows,
                                                const std::vector<PredictedProfiles>& parts);

}  // namespace cdrzoo
