// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/array_view.hpp"
#include "metrics/metrics.hpp"

namespace cdrzoo {

/// A group (one drug, sample or tissue) enters a macro mean from these sizes on (protocol 3).
inline constexpr std::int64_t kMinGroupRows = 10;
inline constexpr std::int64_t kMinGroupPositives = 2;  ///< binary; of each class

enum class Task { regression, binary };

/// The metrics of one group of rows.
struct GroupScore {
  std::int64_t n = 0;
  bool large_enough = false;
  std::vector<MetricValue> metrics;  ///< of all groups with rows, large enough or not
};

/// \param group code in [0, n_groups) per row; -1 = in no group
/// \param options binary only: one threshold for all groups
/// \returns one entry per group, also for groups without rows
[[nodiscard]] std::vector<GroupScore> score_groups(Task task, ArrayView<double> truth, ArrayView<double> prediction,
                                                   ArrayView<std::int32_t> group, std::int32_t n_groups,
                                                   const BinaryOptions& options);

/// Mean of one metric over the groups that are large enough and where it is defined.
struct MacroMean {
  std::string metric;
  double mean = 0, median = 0;        ///< NaN if no group is valid
  std::int64_t n = 0;                 ///< rows in the valid groups
  std::int64_t valid = 0, total = 0;  ///< groups
  double better = 0;                  ///< share of groups strictly better than the baseline; NaN without one
  std::int64_t compared = 0;          ///< groups where both are valid
  std::string flags;                  ///< "constant_pred:3" = convention in 3 of the valid groups; joined by ";"
};

/// \param baseline scores of the same groups by the reference baseline, or empty
[[nodiscard]] std::vector<MacroMean> macro_means(const std::vector<GroupScore>& groups,
                                                 const std::vector<GroupScore>& baseline);

/// r2_res, pearson_res, spearman_res: the reference baseline's prediction is taken off truth and prediction first.
[[nodiscard]] std::vector<MetricValue> residual_metrics(ArrayView<double> truth, ArrayView<double> prediction,
                                                        ArrayView<double> baseline);

/// 1 - RMSE / RMSE_base (unclipped); NaN if the baseline makes no error.
[[nodiscard]] double rmse_skill(double rmse, double rmse_base);
/// (AP - AP_base) / (1 - AP_base); NaN if the baseline is perfect.
[[nodiscard]] double auprc_skill(double auprc, double auprc_base);

}  // namespace cdrzoo
