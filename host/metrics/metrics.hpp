// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/array_view.hpp"

namespace cdrzoo {

/// One metric of one group of rows. NaN = undefined for this input (protocol 3).
struct MetricValue {
  std::string name;  ///< "auroc", "auprc", "auprc_trapz", "rmse", ...
  double value = 0;
  std::string flag;  ///< "" or "constant_pred", "zero_division", ...
};

/// Binary: labels 0 or 1, score larger = more positive. All one pass over one sort; O(n log n), float64.
struct BinaryOptions {
  double threshold = 0.5;       ///< score > threshold is a positive prediction; chosen on validation rows
  bool probabilities = false;   ///< also brier, log_loss and the metrics @0.5
};
[[nodiscard]] std::vector<MetricValue> binary_metrics(ArrayView<double> label, ArrayView<double> score,
                                                      const BinaryOptions& options);
/// \param train_mean mean of the training targets, for r2_train; NaN = leave it out
[[nodiscard]] std::vector<MetricValue> regression_metrics(ArrayView<double> truth, ArrayView<double> prediction,
                                                          double train_mean);

[[nodiscard]] double auroc(ArrayView<double> label, ArrayView<double> score);
[[nodiscard]] double average_precision(ArrayView<double> label, ArrayView<double> score);
[[nodiscard]] double auprc_trapezoid(ArrayView<double> label, ArrayView<double> score);
[[nodiscard]] double pearson(ArrayView<double> a, ArrayView<double> b);
[[nodiscard]] double spearman(ArrayView<double> a, ArrayView<double> b);
[[nodiscard]] double kendall_tau_b(ArrayView<double> a, ArrayView<double> b);  ///< O(n log n)

/// The threshold that maximises F1 on validation rows: midpoints between distinct sorted scores plus minus infinity;
/// ties go to the higher threshold (protocol 3). NaN if there is no positive label.
[[nodiscard]] double best_f1_threshold(ArrayView<double> label, ArrayView<double> score);

/// Larger is better? ("rmse" -> false)
[[nodiscard]] bool higher_is_better(const std::string& metric);

}  // namespace cdrzoo
