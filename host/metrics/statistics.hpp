// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/array_view.hpp"

namespace cdrzoo {

/// Definitions and conventions: share/doc/metrics.md. In all paired tests a and b have one entry per fold (seeds
/// averaged); a pair with a value that is not finite is left out.

struct TestResult {
  double statistic = 0;
  double p_value = 0;          ///< two-sided; NaN where undefined
  double df = 0;               ///< 0 where the test has none
  double mean_difference = 0;  ///< of a - b; NaN for no pairs
  double standard_error = 0;   ///< of the mean difference (t tests only)
  int pairs = 0;               ///< that took part
};

/// Protocol 6. d = per-fold differences (seeds averaged). Zero variance: p = NaN unless all d are 0 (p = 1).
[[nodiscard]] TestResult paired_t_test(ArrayView<double> a, ArrayView<double> b);
/// \param test_train_ratio n_test / n_train (records), or of groups for grouped splits: 1 / (K - 1)
[[nodiscard]] TestResult nadeau_bengio_test(ArrayView<double> a, ArrayView<double> b, double test_train_ratio);

enum class WilcoxonMethod {
  automatic,  ///< exact where there are neither zeros nor ties and at most 50 pairs, else normal
  exact,      ///< NaN where there are zeros or ties
  normal,     ///< tie correction, no continuity correction
};
/// Zero differences are dropped; statistic = min(W+, W-). All differences 0: p = 1.
[[nodiscard]] TestResult wilcoxon_signed_rank(ArrayView<double> a, ArrayView<double> b,
                                              WilcoxonMethod method = WilcoxonMethod::automatic);

struct FriedmanResult {
  std::vector<double> mean_rank;  ///< per treatment; 1 is best
  double chi2 = 0, chi2_p = 0;    ///< with tie correction
  double f = 0, f_p = 0;          ///< Iman-Davenport
  double nemenyi_cd_05 = 0;       ///< critical difference of mean ranks at alpha 0.05; NaN beyond 20 treatments
};
/// blocks[b][treatment]; lower is better when \p lower_is_better. \throws DataError for ragged or non-finite blocks.
[[nodiscard]] FriedmanResult friedman_test(const std::vector<std::vector<double>>& blocks, bool lower_is_better);

/// Adjusted p in input order; NaN stays NaN and does not count.
[[nodiscard]] std::vector<double> holm(ArrayView<double> p);
[[nodiscard]] std::vector<double> benjamini_hochberg(ArrayView<double> p);

/// Two-sided quantile of Student's t: P(|T| <= t) = level.
[[nodiscard]] double student_t_quantile(double level, double df);

/// Mean and standard deviation (ddof 1) over the finite values; valid = how many there were.
struct Summary {
  double mean = 0, sd = 0;  ///< NaN for no value, NaN sd for one
  int valid = 0, total = 0;
};
[[nodiscard]] Summary summarize_folds(ArrayView<double> values);

/// Percentile interval of one score, or of a difference of two.
struct Interval {
  double estimate = 0;  ///< on the rows as they are
  double low = 0, high = 0;
  int valid = 0;  ///< resamples in which the metric was defined
};
struct BootstrapOptions {
  int resamples = 2000;
  std::uint64_t seed = 0;
  double level = 0.95;
};
/// Paired cluster bootstrap over held-out entities (protocol 6.2): clusters are drawn with replacement, a row appears
/// as often as its cluster (two-way: the product of its two clusters), and all predictions see the same resamples.
/// \param cluster  code >= 0 per row
/// \param second   codes of the second axis (LPO and LCDO: drugs), or empty
/// \param metric   of (truth, prediction); NaN is skipped and counted
/// \returns per prediction its score; with \p reference >= 0 the difference score - score of that prediction
[[nodiscard]] std::vector<Interval> cluster_bootstrap(
    ArrayView<double> truth, const std::vector<ArrayView<double>>& predictions, ArrayView<std::int32_t> cluster,
    ArrayView<std::int32_t> second, const std::function<double(ArrayView<double>, ArrayView<double>)>& metric,
    int reference, const BootstrapOptions& options);

}  // namespace cdrzoo
