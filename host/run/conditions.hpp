// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/array_view.hpp"
#include "data/dataset.hpp"
#include "metrics/perturbation.hpp"
#include "store/condition_table.hpp"

namespace cdrzoo {

/// Predicted profiles by row: those of a matrix, or made one at a time when they are asked for.
class PredictedRows {
 public:
  /// [cols] of row i, in \p scratch or where it lies.
  using Read = std::function<const float*(std::size_t i, std::vector<float>& scratch)>;
  PredictedRows() = default;
  PredictedRows(std::int64_t n, std::int64_t genes, Read read) : rows(n), cols(genes), read_(std::move(read)) {}
  PredictedRows(MatrixView<float> all)  // NOLINT(google-explicit-constructor): a matrix has rows
      : PredictedRows(all.rows, all.cols, [all](std::size_t i, std::vector<float>& /*scratch*/) {
          return all.row(static_cast<std::int64_t>(i));
        }) {}
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  [[nodiscard]] const float* row(std::size_t i, std::vector<float>& scratch) const { return read_(i, scratch); }

 private:
  Read read_;
};

/// The predictions of one part of a cell of task "expression", one entry per profile (row of Dataset::perturbations),
/// references averaged already.
struct PredictedProfiles {
  std::string part;                        ///< "validation" | "test"
  std::vector<std::int32_t> row;           ///< of Dataset::perturbations
  PredictedRows prediction;                ///< [rows, genes]; read where status is 0 only
  std::vector<std::int32_t> status;        ///< CDRZOO_ROW_*
  std::vector<std::int32_t> n_references;  ///< empty = the model asked for none
  std::vector<std::int32_t> in_context;    ///< 1 = a reference of this row is of its own context; empty = none
};

/// Rows of Dataset::perturbations.
struct ProfileRows {
  std::string part;  ///< "validation" | "test"
  std::vector<std::int32_t> row;
  /// What the model that predicts them was trained on: of this are the mean of training profiles and singles_seen.
  std::vector<std::int32_t> trained;
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
  FoldTruth(const Dataset& dataset, std::vector<ProfileRows> parts);

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
