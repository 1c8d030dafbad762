// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/array_view.hpp"
#include "data/dataset.hpp"
#include "metrics/perturbation.hpp"
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

/// Rows of Dataset::perturbations.
struct ProfileRows {
  std::string part;  ///< "validation" | "test"
  std::vector<std::int32_t> row;
};

/// One condition of a part: its rows, and what scores of cells take from them.
struct ConditionRows {
  std::vector<std::size_t> position;  ///< in the part
  std::optional<TruthScores> cells;   ///< of the part "test", where a condition has several rows
};

/// What the conditions of a fold are whatever a model predicts: true means, controls, training means, DEGs, and the
/// part of the cells' scores that is about true cells (share/doc/store.md, "Conditions"). Made once for all models of a
/// fold, which several threads may collect at once. Refers to the profiles of the data set.
class FoldTruth {
 public:
  /// \param train_rows of Dataset::perturbations: for the mean of training perturbed profiles and for singles_seen
  FoldTruth(const Dataset& dataset, const std::vector<std::int32_t>& train_rows, std::vector<ProfileRows> parts);

  /// Collects profiles to conditions, with everything that the scores need. Computes the scores that need single cells
  /// (energy_distance, mmd, *_ceiling) where a condition has several rows, for the part "test".
  /// \param parts the same rows in the same order \throws std::logic_error for others, and for columns of unequal
  /// length
  [[nodiscard]] ConditionTable collect(const std::vector<PredictedProfiles>& parts) const;

 private:
  std::vector<ProfileRows> parts_;
  ConditionTable table_;  ///< without what a model predicts
  std::vector<ConditionRows> conditions_;
};

}  // namespace cdrzoo
