// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/array_view.hpp"

namespace cdrzoo {

/// Definitions: share/doc/metrics.md. All sums in float64, compensated. Inputs have one entry per row and are finite; a
/// row without a usable prediction is left out by the caller. A function that meets a value that is not finite returns
/// NaN (flag "non_finite"); one that meets a label other than 0 and 1 throws DataError.

/// One metric of one group of rows. NaN = undefined for this input.
struct MetricValue {
  std::string name;  ///< "auroc", "auprc", "auprc_trapz", "rmse", ...
  double value = 0;
  std::string flag;  ///< "" or why the value is a convention: constant_pred, constant_truth, one_class, too_few_rows,
                     ///< zero_division, clipped, no_threshold, non_finite
};

/// Binary: labels 0 or 1, score larger = more positive.
struct BinaryOptions {
  double threshold = 0.5;       ///< score > threshold is a positive prediction; chosen on validation rows. NaN = none
  bool probabilities = false;   ///< also brier, log_loss and the metrics @0.5
  double log_loss_eps = 1e-15;  ///< probabilities are clipped to [eps, 1 - eps] for the logarithm
};

/// auroc auprc auprc_trapz prevalence auprc_gain accuracy balanced_accuracy precision recall specificity f1 mcc kappa,
/// with probabilities also brier log_loss and accuracy@0.5 ... kappa@0.5. One sort; O(n).
[[nodiscard]] std::vector<MetricValue> binary_metrics(ArrayView<double> label, ArrayView<double> score,
                                                      const BinaryOptions& options);

/// mse rmse mae r2 r2_train pearson spearman kendall. O(n log n).
/// \param train_mean mean of the training targets, for r2_train; NaN = leave it out
[[nodiscard]] std::vector<MetricValue> regression_metrics(ArrayView<double> truth, ArrayView<double> prediction,
                                                          double train_mean);

/// mse r2 pearson spearman of regression_metrics: what profiles of thousands of genes are scored by.
[[nodiscard]] std::vector<MetricValue> profile_metrics(ArrayView<double> truth, ArrayView<double> prediction);

/// The value called \p name; NaN if it is not there.
[[nodiscard]] double metric_value(const std::vector<MetricValue>& metrics, const std::string& name);

/// NaN without a positive or without a negative label.
[[nodiscard]] double auroc(ArrayView<double> label, ArrayView<double> score);
[[nodiscard]] double average_precision(ArrayView<double> label, ArrayView<double> score);
[[nodiscard]] double auprc_trapezoid(ArrayView<double> label, ArrayView<double> score);

/// NaN for fewer than 3 rows and for a constant \p truth; 0 for a constant \p prediction. "Constant" means that the
/// range is at most 1e-13 of the largest absolute value: differences of that size are rounding, not prediction.
[[nodiscard]] double pearson(ArrayView<double> truth, ArrayView<double> prediction);
[[nodiscard]] double spearman(ArrayView<double> truth, ArrayView<double> prediction);
[[nodiscard]] double kendall_tau_b(ArrayView<double> truth, ArrayView<double> prediction);  ///< O(n log n)

/// Counts behind the threshold metrics.
struct Confusion {
  std::int64_t tn = 0, fp = 0, fn = 0, tp = 0;
};
[[nodiscard]] Confusion confusion_at(ArrayView<double> label, ArrayView<double> score, double threshold);

/// The threshold that maximises F1 on validation rows: midpoints between distinct sorted scores plus minus infinity;
/// ties go to the higher threshold (protocol 3). NaN if there is no positive label or a score that is not finite.
[[nodiscard]] double best_f1_threshold(ArrayView<double> label, ArrayView<double> score);

/// Larger is better? ("rmse" -> false). Understands the suffixes of the results: "rmse_median", "accuracy@0.5", ...
[[nodiscard]] bool higher_is_better(const std::string& metric);

}  // namespace cdrzoo
