// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/array_view.hpp"
#include "base/row_matrix.hpp"
#include "metrics/metrics.hpp"

namespace cdrzoo {

/// Scores of predicted expression under perturbation (protocol 3, "Perturbation outputs"). The unit is the condition:
/// context, perturbation(s), dose, time. Definitions and conventions: share/doc/metrics.md. All sums in float64.

/// Lengths of the DEG lists that scores are computed on.
inline constexpr int kDegSizes[] = {20, 50, 100};

/// One condition. Vectors have one entry per gene; NaN = not measured (such a gene is left out where it is needed).
struct ConditionMeans {
  ArrayView<double> truth, prediction;  ///< mean profile over the rows (wells, cells) of the condition
  ArrayView<double> control;            ///< untreated profile of the context
  ArrayView<double> train_perturbed;    ///< mean of the training perturbed profiles; may be empty (NaN scores)
  ArrayView<std::int32_t> deg;          ///< columns, most different from the control first; from truth and control only
  /// Control plus the mean change (treated minus control) of the training conditions; may be empty (NaN scores).
  ArrayView<double> train_shifted = {};
};

/// For all genes, and with suffix _deg20, _deg50, _deg100 for the first DEGs:
///   r2 pearson spearman mse                            of the profiles
///   r2_delta_ctrl pearson_delta_ctrl spearman_delta_ctrl   of the change against the control (its MSE is `mse`)
///   pearson_delta_pert                                 of the change against train_perturbed (the Systema argument)
///   pearson_delta_shift                                of the change against train_shifted
/// and direction_deg20 ...: share of the DEGs whose predicted change has the sign of the true one; no change counts
/// 1/2. A list of fewer than k DEGs is used as it is, flag "fewer_degs".
[[nodiscard]] std::vector<MetricValue> condition_metrics(const ConditionMeans& condition);

/// Columns of the \p k genes with the largest |truth - control|, largest first; equals by column. NaN genes never.
[[nodiscard]] std::vector<std::int32_t> largest_differences(ArrayView<double> truth, ArrayView<double> control,
                                                            std::int32_t k);

/// Discrimination: is a prediction closer to its own truth than to the truths of the other conditions of its group
/// (context)? Per condition 1 - (rank - 1) / (m - 1), rank = mid-rank of its own truth among the m truths of the group
/// by Euclidean distance to the prediction. Random or constant predictions have mean 0.5. \param truth, prediction
/// [conditions, genes]; a row of \p prediction with NaN = missing \param group code per condition \returns per
/// condition; NaN: missing ("non_finite"), or alone in its group ("one_condition")
[[nodiscard]] std::vector<MetricValue> discrimination(MatrixView<float> truth, MatrixView<float> prediction,
                                                      ArrayView<std::int32_t> group);

/// Cells above this number are drawn by a fixed seed before distances between cells are computed (flag "sampled").
inline constexpr std::int64_t kMaxDistanceCells = 512;

/// Those of \p rows, in their order, that distances are computed of.
[[nodiscard]] std::vector<std::int32_t> sample_of_cells(const std::vector<std::int32_t>& rows);

/// Cells of one condition: rows of a matrix that outlives this, dense or sparse.
struct CellRows {
  CellRows(const RowMatrix& matrix_of, std::vector<std::int32_t> rows) : matrix(matrix_of), row(std::move(rows)) {}
  CellRows(const RowMatrix& all);                                       // NOLINT(google-explicit-constructor)
  CellRows(const MatrixView<float>& all) : CellRows(RowMatrix(all)) {}  // NOLINT(google-explicit-constructor)
  RowMatrix matrix;
  std::vector<std::int32_t> row;
};

/// What scores of cells take from the truth of a condition alone: made once, used for the predictions of every model.
/// Holds numbers of rows and means, no distances.
class TruthScores {
 public:
  /// \param condition for the noise ceiling (its truth and prediction are not used); null: without
  explicit TruthScores(const CellRows& cells, const ConditionMeans* condition = nullptr);

  /// The best score that noise leaves: the metrics of condition_metrics and cell_distances with the mean of one random
  /// half of the true cells as prediction and that of the other half as truth, mean over kCeilingSplits halvings of a
  /// fixed seed. Halves are noisier than the whole, so the ceiling is a low estimate. Names have the suffix "_ceiling".
  /// Empty for fewer than 4 cells.
  [[nodiscard]] const std::vector<MetricValue>& ceiling() const { return ceiling_; }

 private:
  friend std::vector<MetricValue> cell_distances(const TruthScores& truth, const CellRows& prediction);
  CellRows sample_;  ///< at most kMaxDistanceCells
  std::size_t n_cells_;
  double median_ = 0;         ///< of the distances within the sample
  double mean_distance_ = 0;  ///< within the sample
  double mean_kernel_ = 0;
  std::vector<MetricValue> ceiling_;
};
inline constexpr int kCeilingSplits = 10;

/// energy_distance: 2 E|x - y| - E|x - x'| - E|y - y'| as U-statistic (Szekely & Rizzo 2004; pairs i = j left out);
/// mmd: unbiased MMD^2 (Gretton et al. 2012, eq. 3) with the mean of five Gaussian kernels exp(-d^2 / (2 s^2)),
/// s = median x {1/4, 1/2, 1, 2, 4}, median of the distances between true cells. Genes with NaN in any cell are left
/// out. Fewer than 2 true or predicted cells: NaN, flag "too_few_rows"
[[nodiscard]] std::vector<MetricValue> cell_distances(const TruthScores& truth, const CellRows& prediction);

/// Every name that the functions above can give: what a table may be asked for.
[[nodiscard]] const std::vector<std::string>& perturbation_metric_names();

}  // namespace cdrzoo
