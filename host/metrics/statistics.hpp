// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/array_view.hpp"

namespace cdrzoo {

struct TestResult {
  double statistic = 0;
  double p_value = 0;  ///< two-sided; NaN where undefined
  double df = 0;       ///< 0 where the test has none
};

/// Protocol 6. d = per-fold differences (seeds averaged). Zero variance: p = NaN unless all d are 0 (p = 1).
[[nodiscard]] TestResult paired_t_test(ArrayView<double> a, ArrayView<double> b);
/// \param test_train_ratio n_test / n_train (records), or of groups for grouped splits: 1 / (K - 1)
[[nodiscard]] TestResult nadeau_bengio_test(ArrayView<double> a, ArrayView<double> b, double test_train_ratio);
[[nodiscard]] TestResult wilcoxon_signed_rank(ArrayView<double> a, ArrayView<double> b);
struct FriedmanResult {
  std::vector<double> mean_rank;
  double chi2 = 0, chi2_p = 0, f = 0, f_p = 0, nemenyi_cd_05 = 0;
};
/// blocks[b][treatment]; lower is better when \p lower_is_better.
[[nodiscard]] FriedmanResult friedman_test(const std::vector<std::vector<double>>& blocks, bool lower_is_better);
/// Adjusted p in input order; NaN stays NaN and does not count.
[[nodiscard]] std::vector<double> holm(ArrayView<double> p);
[[nodiscard]] std::vector<double> benjamini_hochberg(ArrayView<double> p);

/// Mean and standard deviation (ddof 1) over the finite values; valid = how many there were.
struct Summary {
  double mean = 0, sd = 0;
  int valid = 0, total = 0;
};
[[nodiscard]] Summary summarize_folds(ArrayView<double> values);

}  // namespace cdrzoo
