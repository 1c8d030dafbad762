// SPDX-License-Identifier: Apache-2.0
#include "metrics/statistics.hpp"

#include <cmath>
#include <limits>
#include <random>

#include "base/error.hpp"
#include "metrics/metrics.hpp"
#include "metrics/summation.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using cdrzoo::test::WithinAbs;

namespace {
using Values = std::vector<double>;
const double kNan = std::nan("");
}  // namespace

TEST_CASE("Nadeau-Bengio and the plain t test give the protocol's numbers") {
  const Values d = {.021, .013, .018, -.004, .025, .009, .016, .011, .002, .019};
  const Values zero(d.size(), 0.0);
  const TestResult corrected = nadeau_bengio_test(d, zero, 1.0 / 9);
  CHECK_THAT(corrected.statistic, WithinAbs(3.19001, 5e-6));
  CHECK_THAT(corrected.p_value, WithinAbs(0.011006, 5e-7));
  CHECK(corrected.df == 9);
  CHECK_THAT(corrected.mean_difference, WithinAbs(0.013, 1e-15));
  CHECK_THAT(corrected.standard_error, WithinAbs(0.013 / 3.19001, 1e-8));
  const TestResult plain = paired_t_test(d, zero);
  CHECK_THAT(plain.statistic, WithinAbs(4.63498, 5e-6));
  CHECK_THAT(plain.p_value, WithinAbs(0.001228, 5e-7));
}

TEST_CASE("Differences without variance: p is 1 if all are zero, undefined otherwise") {
  const Values a = {0.5, 0.6, 0.7};
  CHECK(paired_t_test(a, a).p_value == 1);
  CHECK(nadeau_bengio_test(a, a, 0.25).p_value == 1);
  const Values b = {0.4, 0.5, 0.6};  // 0.1 apart up to rounding
  CHECK(std::isnan(paired_t_test(a, b).p_value));
  CHECK(std::isnan(nadeau_bengio_test(a, b, 0.25).p_value));
  CHECK(std::isnan(paired_t_test(Values{1}, Values{2}).p_value));
  CHECK(std::isnan(paired_t_test(Values{}, Values{}).p_value));
}

TEST_CASE("A pair with a missing value is left out of a paired test") {
  const Values a = {1, 2, kNan, 4, 7};
  const Values b = {0, 3, 5, kNan, 2};
  const TestResult with = paired_t_test(a, b);
  const TestResult without = paired_t_test(Values{1, 2, 7}, Values{0, 3, 2});
  CHECK(with.pairs == 3);
  CHECK(with.p_value == without.p_value);
}

TEST_CASE("Wilcoxon's smallest p values are those of the protocol, and all zeros give one") {
  for (const auto& [n, p] : {std::pair(5, .0625), std::pair(7, .015625), std::pair(10, .001953125)}) {
    Values a;
    for (int i = 1; i <= n; ++i) a.push_back(i);
    CHECK_THAT(wilcoxon_signed_rank(a, Values(a.size(), 0.0)).p_value, WithinAbs(p, 1e-15));
  }
  CHECK(wilcoxon_signed_rank(Values{1, 2}, Values{1, 2}).p_value == 1);
  CHECK(std::isnan(wilcoxon_signed_rank(Values{}, Values{}).p_value));
}

TEST_CASE("Friedman, Iman-Davenport and Nemenyi give the protocol's numbers") {
  const std::vector<Values> blocks = {{4, 7, 6}, {6, 8, 9}, {3, 6, 7}, {5, 7, 8}, {4, 9, 8}, {5, 6, 9}};
  const FriedmanResult low = friedman_test(blocks, true);
  CHECK(low.mean_rank[0] == 1);
  CHECK_THAT(low.mean_rank[1], WithinAbs(2.333333, 1e-6));
  CHECK_THAT(low.mean_rank[2], WithinAbs(2.666667, 1e-6));
  CHECK_THAT(low.chi2, WithinAbs(9.3333, 5e-5));
  CHECK_THAT(low.f, WithinAbs(17.5, 1e-9));
  CHECK_THAT(low.f_p, WithinAbs(.000542, 5e-7));
  CHECK_THAT(low.nemenyi_cd_05, WithinAbs(1.3527, 5e-5));
  const FriedmanResult high = friedman_test(blocks, false);
  CHECK(high.mean_rank[0] == 3);
  CHECK_THAT(high.chi2, WithinAbs(low.chi2, 1e-12));
  CHECK(friedman_test({{1, 2}, {1, 2}, {3, 4}}, true).f_p == 0);
  CHECK(friedman_test({{1, 1}, {2, 2}}, true).chi2_p == 1);
  CHECK_THROWS_AS(friedman_test({{1, 2}, {1}}, true), DataError);
  CHECK_THROWS_AS(friedman_test({{1, 2}, {1, kNan}}, true), DataError);
  CHECK_THROWS_AS(friedman_test({}, true), DataError);
}

TEST_CASE("Holm and Benjamini-Hochberg: textbook case, missing values do not count") {
  const Values p = {0.01, 0.04, 0.03, 0.005};
  const Values h = holm(p);
  const Values expected_h = {0.03, 0.06, 0.06, 0.02};
  const Values bh = benjamini_hochberg(p);
  const Values expected_bh = {0.02, 0.04, 0.04, 0.02};
  for (std::size_t i = 0; i < p.size(); ++i) {
    CHECK_THAT(h[i], WithinAbs(expected_h[i], 1e-15));
    CHECK_THAT(bh[i], WithinAbs(expected_bh[i], 1e-15));
  }
  const Values gap = holm(Values{0.01, kNan, 0.5});
  CHECK_THAT(gap[0], WithinAbs(0.02, 1e-15));
  CHECK(std::isnan(gap[1]));
  CHECK(gap[2] == 0.5);
  CHECK(holm(Values{0.9, 0.8})[0] == 1);
}

TEST_CASE("Fold summaries leave missing folds out and count them") {
  const Summary s = summarize_folds(Values{1, kNan, 3, 5});
  CHECK(s.mean == 3);
  CHECK(s.sd == 2);
  CHECK(s.valid == 3);
  CHECK(s.total == 4);
  CHECK(std::isnan(summarize_folds(Values{kNan}).mean));
  CHECK(std::isnan(summarize_folds(Values{2}).sd));
  CHECK(summarize_folds(Values{2}).mean == 2);
}

TEST_CASE("The quantile of Student's t inverts its probability") {
  CHECK_THAT(student_t_quantile(0.95, 9), WithinAbs(2.2621571628, 1e-9));
  CHECK(std::isnan(student_t_quantile(0.95, 0)));
}

TEST_CASE("A compensated sum keeps what a plain one loses") {
  Sum sum;
  sum.add(1e100);
  sum.add(1);
  sum.add(-1e100);
  CHECK(sum.value() == 1);
}

TEST_CASE("The cluster bootstrap") {
  std::mt19937 generator(3);
  std::normal_distribution<double> normal;
  Values truth;
  Values good;
  Values bad;
  std::vector<std::int32_t> sample;
  std::vector<std::int32_t> drug;
  for (std::int32_t s = 0; s < 40; ++s) {
    const double shift = normal(generator);
    for (std::int32_t d = 0; d < 5; ++d) {
      truth.push_back(shift + 0.2 * normal(generator));
      good.push_back(truth.back() + 0.1 * normal(generator));
      bad.push_back(normal(generator));
      sample.push_back(100 + 3 * s);
      drug.push_back(d);
    }
  }
  const auto metric = [](ArrayView<double> t, ArrayView<double> p) { return pearson(t, p); };
  BootstrapOptions options;
  options.resamples = 300;
  options.seed = 7;

  SECTION("is the same for the same seed, another for another, and holds its estimate") {
    const auto a = cluster_bootstrap(truth, {good, bad}, sample, {}, metric, -1, options);
    const auto b = cluster_bootstrap(truth, {good, bad}, sample, {}, metric, -1, options);
    CHECK(a[0].low == b[0].low);
    CHECK(a[1].high == b[1].high);
    CHECK(a[0].estimate == pearson(truth, good));
    CHECK(a[0].low < a[0].estimate);
    CHECK(a[0].estimate < a[0].high);
    CHECK(a[0].valid == 300);
    options.seed = 8;
    CHECK(cluster_bootstrap(truth, {good}, sample, {}, metric, -1, options)[0].low != a[0].low);
  }
  SECTION("sees the difference between a good and a bad model, none between a model and itself") {
    const auto d = cluster_bootstrap(truth, {good, bad, bad}, sample, {}, metric, 1, options);
    CHECK(d[0].low > 0);
    CHECK(d[2].low == 0);
    CHECK(d[2].high == 0);
  }
  SECTION("over whole clusters is wider than over rows that are alike within a cluster") {
    const auto mean = [](ArrayView<double> t, ArrayView<double>) { return mean_of(t); };
    std::vector<std::int32_t> row(truth.size());
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<std::int32_t>(i);
    const auto by_cluster = cluster_bootstrap(truth, {good}, sample, {}, mean, -1, options);
    const auto by_row = cluster_bootstrap(truth, {good}, row, {}, mean, -1, options);
    CHECK(by_cluster[0].high - by_cluster[0].low > 1.5 * (by_row[0].high - by_row[0].low));
    // Analytic: the cluster means have about unit variance, so the interval is about 2 * 1.96 / sqrt(40).
    CHECK_THAT(by_cluster[0].high - by_cluster[0].low, WithinAbs(0.62, 0.2));
  }
  SECTION("two ways multiplies the counts of both axes and renumbering codes changes nothing") {
    const auto two = cluster_bootstrap(truth, {good}, sample, drug, metric, -1, options);
    CHECK(two[0].low < two[0].estimate);
    std::vector<std::int32_t> renumbered(sample);
    for (std::int32_t& code : renumbered) code = 5 * code + 1;
    CHECK(cluster_bootstrap(truth, {good}, renumbered, drug, metric, -1, options)[0].low == two[0].low);
  }
  SECTION("counts resamples in which the metric is undefined") {
    const auto rarely = [](ArrayView<double> t, ArrayView<double>) { return t[0] > 0 ? 1.0 : std::nan(""); };
    const auto interval = cluster_bootstrap(truth, {good}, sample, {}, rarely, -1, options);
    CHECK(interval[0].valid > 0);
    CHECK(interval[0].valid < 300);
  }
}
