// SPDX-License-Identifier: Apache-2.0
#include "metrics/statistics.hpp"

#include <algorithm>
#include <array>
#include <boost/math/distributions/chi_squared.hpp>
#include <boost/math/distributions/fisher_f.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>

#include "base/error.hpp"
#include "metrics/ranking.hpp"
#include "metrics/summation.hpp"

namespace cdrzoo {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// Differences whose range is below this share of the scores are equal: what is left is the rounding of a - b.
constexpr double kEqual = 1e-13;
constexpr int kExactUpTo = 50;

/// Differences of the usable pairs, and the size of the scores that they were taken from.
struct Differences {
  std::vector<double> d;
  double scale = 0;
};

Differences differences(ArrayView<double> a, ArrayView<double> b) {
  if (a.size() != b.size()) {
    throw std::logic_error("a paired test got " + std::to_string(a.size()) + " and " + std::to_string(b.size()) +
                           " values");
  }
  Differences result;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) continue;
    result.d.push_back(a[i] - b[i]);
    result.scale = std::max({result.scale, std::fabs(a[i]), std::fabs(b[i])});
  }
  return result;
}

double variance(ArrayView<double> x, double mean) {
  Sum squares;
  for (const double v : x) squares.add((v - mean) * (v - mean));
  return squares.value() / (static_cast<double>(x.size()) - 1);
}

double two_sided_t(double t, double df) {
  if (std::isnan(t)) return kNan;
  return 2 * boost::math::cdf(boost::math::complement(boost::math::students_t(df), std::fabs(t)));
}

TestResult t_test(const Differences& differences, double extra_variance) {
  const std::vector<double>& d = differences.d;
  TestResult result;
  result.pairs = static_cast<int>(d.size());
  result.mean_difference = mean_of(d);
  result.statistic = result.p_value = result.standard_error = kNan;
  if (d.size() < 2) return result;
  const auto count = static_cast<double>(d.size());
  result.df = count - 1;
  const auto [low, high] = std::minmax_element(d.begin(), d.end());
  if (*high - *low <= kEqual * differences.scale) {
    if (*low == 0 && *high == 0) {
      result.statistic = 0;
      result.p_value = 1;
      result.standard_error = 0;
    }
    return result;
  }
  result.standard_error = std::sqrt((1 / count + extra_variance) * variance(d, result.mean_difference));
  result.statistic = result.mean_difference / result.standard_error;
  result.p_value = two_sided_t(result.statistic, result.df);
  return result;
}

/// P(W+ <= w) under the null hypothesis, n ranks without ties: counts of subsets of 1..n by their sum.
double exact_wilcoxon_cdf(int n, double w) {
  const std::size_t largest = static_cast<std::size_t>(n) * (static_cast<std::size_t>(n) + 1) / 2;
  std::vector<double> subsets(largest + 1, 0.0);  // exact in a double up to 2^53; n <= 50 keeps the ratio good beyond
  subsets[0] = 1;
  for (std::size_t rank = 1; rank <= static_cast<std::size_t>(n); ++rank) {
    for (std::size_t sum = largest; sum >= rank; --sum) subsets[sum] += subsets[sum - rank];
  }
  Sum below;
  for (std::size_t sum = 0; sum <= largest && static_cast<double>(sum) <= w; ++sum) below.add(subsets[sum]);
  return below.value() / std::ldexp(1.0, n);
}

/// Sum over tied runs of t^3 - t.
double tie_term(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  double term = 0;
  for (std::size_t begin = 0; begin < values.size();) {
    std::size_t end = begin + 1;
    while (end < values.size() && values[end] == values[begin]) ++end;
    const auto t = static_cast<double>(end - begin);
    term += t * t * t - t;
    begin = end;
  }
  return term;
}

/// Critical values of the studentized range at alpha 0.05, infinite degrees of freedom, divided by sqrt 2, for 2 to 20
/// treatments (protocol 6.3 to three digits; Demsar 2006).
constexpr std::array<double, 19> kNemenyi05 = {1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164, 3.219,
                                               3.268, 3.313, 3.354, 3.391, 3.426, 3.458, 3.489, 3.517, 3.544};

/// Uniform in [0, bound) from a stream that is the same on every platform (std distributions are not).
std::size_t draw(std::mt19937_64& generator, std::size_t bound) {
  const std::uint64_t limit = std::numeric_limits<std::uint64_t>::max() / bound * bound;
  std::uint64_t x = generator();
  while (x >= limit) x = generator();
  return static_cast<std::size_t>(x % bound);
}

/// Distinct codes numbered from 0 in ascending order of code: the resamples do not depend on gaps.
std::vector<std::size_t> dense_codes(ArrayView<std::int32_t> codes, std::size_t& count) {
  std::vector<std::int32_t> distinct(codes.begin(), codes.end());
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  std::vector<std::size_t> dense(codes.size());
  for (std::size_t i = 0; i < codes.size(); ++i) {
    dense[i] =
        static_cast<std::size_t>(std::lower_bound(distinct.begin(), distinct.end(), codes[i]) - distinct.begin());
  }
  count = distinct.size();
  return dense;
}

std::vector<int> draw_counts(std::mt19937_64& generator, std::size_t clusters) {
  std::vector<int> counts(clusters, 0);
  for (std::size_t i = 0; i < clusters; ++i) ++counts[draw(generator, clusters)];
  return counts;
}

/// Linear interpolation between order statistics of sorted values.
double quantile(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) return kNan;
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(std::floor(place));
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (place - std::floor(place)) * (sorted[high] - sorted[low]);
}

/// Places of the p values that count, smallest first.
std::vector<std::size_t> order_of_finite(ArrayView<double> p) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (!std::isnan(p[i])) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return p[i] < p[j]; });
  return order;
}

}  // namespace

TestResult paired_t_test(ArrayView<double> a, ArrayView<double> b) { return t_test(differences(a, b), 0.0); }

TestResult nadeau_bengio_test(ArrayView<double> a, ArrayView<double> b, double test_train_ratio) {
  return t_test(differences(a, b), test_train_ratio);
}

TestResult wilcoxon_signed_rank(ArrayView<double> a, ArrayView<double> b, WilcoxonMethod method) {
  const Differences all = differences(a, b);
  TestResult result;
  result.pairs = static_cast<int>(all.d.size());
  result.mean_difference = mean_of(all.d);
  result.statistic = result.p_value = kNan;
  result.standard_error = kNan;
  std::vector<double> d;
  std::copy_if(all.d.begin(), all.d.end(), std::back_inserter(d), [](double x) { return x != 0; });
  if (all.d.empty()) return result;
  if (d.empty()) {
    result.statistic = 0;
    result.p_value = 1;
    return result;
  }
  std::vector<double> size(d.size());
  std::transform(d.begin(), d.end(), size.begin(), [](double x) { return std::fabs(x); });
  const std::vector<double> rank = mid_ranks(size);
  double w_plus = 0;
  double w_minus = 0;
  for (std::size_t i = 0; i < d.size(); ++i) (d[i] > 0 ? w_plus : w_minus) += rank[i];
  result.statistic = std::min(w_plus, w_minus);

  const double ties = tie_term(size);
  const bool exact_possible = ties == 0 && d.size() == all.d.size();
  const bool exact = method == WilcoxonMethod::exact ||
                     (method == WilcoxonMethod::automatic && exact_possible && d.size() <= kExactUpTo);
  if (exact) {
    if (exact_possible) {
      result.p_value = std::min(1.0, 2 * exact_wilcoxon_cdf(static_cast<int>(d.size()), result.statistic));
    }
    return result;
  }
  const auto n = static_cast<double>(d.size());
  const double mean = n * (n + 1) / 4;
  const double sd = std::sqrt((n * (n + 1) * (2 * n + 1) - ties / 2) / 24);
  const double z = (result.statistic - mean) / sd;
  result.p_value = std::min(1.0, 2 * boost::math::cdf(boost::math::complement(boost::math::normal(), std::fabs(z))));
  return result;
}

FriedmanResult friedman_test(const std::vector<std::vector<double>>& blocks, bool lower_is_better) {
  if (blocks.size() < 2 || blocks.front().size() < 2) {
    throw DataError("a Friedman test needs at least 2 blocks of 2 treatments, found " + std::to_string(blocks.size()) +
                    " blocks of " + std::to_string(blocks.empty() ? 0 : blocks.front().size()));
  }
  const std::size_t treatments = blocks.front().size();
  const auto k = static_cast<double>(treatments);
  const auto n = static_cast<double>(blocks.size());
  FriedmanResult result;
  result.mean_rank.assign(treatments, 0.0);
  double ties = 0;
  for (std::size_t block = 0; block < blocks.size(); ++block) {
    std::vector<double> values = blocks[block];
    if (values.size() != treatments ||
        !std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); })) {
      throw DataError("block " + std::to_string(block) + " of a Friedman test has " + std::to_string(values.size()) +
                      " values or one that is not finite, expected " + std::to_string(treatments) + " finite values");
    }
    if (!lower_is_better) {
      for (double& v : values) v = -v;
    }
    const std::vector<double> ranks = mid_ranks(values);
    for (std::size_t t = 0; t < treatments; ++t) result.mean_rank[t] += ranks[t];
    ties += tie_term(values);
  }
  double squares = 0;
  for (double& rank : result.mean_rank) {
    squares += rank * rank;
    rank /= n;
  }
  result.nemenyi_cd_05 =
      treatments - 2 < kNemenyi05.size() ? kNemenyi05[treatments - 2] * std::sqrt(k * (k + 1) / (6 * n)) : kNan;
  const double correction = 1 - ties / (n * k * (k * k - 1));
  if (correction == 0) {  // every block is one tie
    result.chi2 = result.f = 0;
    result.chi2_p = result.f_p = 1;
    return result;
  }
  result.chi2 = (12 / (n * k * (k + 1)) * squares - 3 * n * (k + 1)) / correction;
  result.chi2 = std::max(0.0, result.chi2);
  result.chi2_p = boost::math::cdf(boost::math::complement(boost::math::chi_squared(k - 1), result.chi2));
  const double rest = n * (k - 1) - result.chi2;
  if (rest <= 1e-12 * n * (k - 1)) {  // all blocks agree
    result.f = kInfinity;
    result.f_p = 0;
  } else {
    result.f = (n - 1) * result.chi2 / rest;
    result.f_p = boost::math::cdf(boost::math::complement(boost::math::fisher_f(k - 1, (k - 1) * (n - 1)), result.f));
  }
  return result;
}

std::vector<double> holm(ArrayView<double> p) {
  std::vector<double> adjusted(p.begin(), p.end());
  const std::vector<std::size_t> order = order_of_finite(p);
  double largest = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, std::min(1.0, static_cast<double>(order.size() - i) * p[order[i]]));
    adjusted[order[i]] = largest;
  }
  return adjusted;
}

std::vector<double> benjamini_hochberg(ArrayView<double> p) {
  std::vector<double> adjusted(p.begin(), p.end());
  const std::vector<std::size_t> order = order_of_finite(p);
  double smallest = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    smallest = std::min(smallest, p[order[i]] * static_cast<double>(order.size()) / static_cast<double>(i + 1));
    adjusted[order[i]] = smallest;
  }
  return adjusted;
}

double student_t_quantile(double level, double df) {
  if (!(df > 0)) return kNan;
  return boost::math::quantile(boost::math::complement(boost::math::students_t(df), (1 - level) / 2));
}

Summary summarize_folds(ArrayView<double> values) {
  std::vector<double> finite;
  std::copy_if(values.begin(), values.end(), std::back_inserter(finite), [](double v) { return std::isfinite(v); });
  Summary summary;
  summary.total = static_cast<int>(values.size());
  summary.valid = static_cast<int>(finite.size());
  summary.mean = finite.empty() ? kNan : mean_of(finite);
  summary.sd = finite.size() < 2 ? kNan : std::sqrt(variance(finite, summary.mean));
  return summary;
}

std::vector<Interval> cluster_bootstrap(ArrayView<double> truth, const std::vector<ArrayView<double>>& predictions,
                                        ArrayView<std::int32_t> cluster, ArrayView<std::int32_t> second,
                                        const std::function<double(ArrayView<double>, ArrayView<double>)>& metric,
                                        int reference, const BootstrapOptions& options) {
  const auto same_rows = [&](std::size_t size) { return size == truth.size(); };
  if (!same_rows(cluster.size()) || (!second.empty() && !same_rows(second.size())) ||
      !std::all_of(predictions.begin(), predictions.end(), [&](const auto& p) { return same_rows(p.size()); }) ||
      reference >= static_cast<int>(predictions.size())) {
    throw std::logic_error("the bootstrap needs one truth, prediction and cluster code per row");
  }
  std::size_t n_clusters = 0;
  std::size_t n_second = 0;
  const std::vector<std::size_t> first_code = dense_codes(cluster, n_clusters);
  const std::vector<std::size_t> second_code = dense_codes(second, n_second);

  const auto score_all = [&](const std::vector<std::size_t>& rows) {
    std::vector<double> resampled_truth(rows.size());
    std::vector<double> resampled(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) resampled_truth[i] = truth[rows[i]];
    std::vector<double> scores;
    for (const ArrayView<double>& prediction : predictions) {
      for (std::size_t i = 0; i < rows.size(); ++i) resampled[i] = prediction[rows[i]];
      scores.push_back(rows.empty() ? kNan : metric(resampled_truth, resampled));
    }
    if (reference >= 0) {
      const double base = scores[static_cast<std::size_t>(reference)];
      for (double& score : scores) score -= base;
    }
    return scores;
  };

  std::vector<std::size_t> rows(truth.size());
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  const std::vector<double> estimates = score_all(rows);
  std::vector<std::vector<double>> drawn(predictions.size());
  std::mt19937_64 generator(options.seed);
  for (int resample = 0; resample < options.resamples && !truth.empty(); ++resample) {
    const std::vector<int> first_count = draw_counts(generator, n_clusters);
    const std::vector<int> second_count = n_second > 0 ? draw_counts(generator, n_second) : std::vector<int>{};
    rows.clear();
    for (std::size_t i = 0; i < truth.size(); ++i) {
      const int times = first_count[first_code[i]] * (n_second > 0 ? second_count[second_code[i]] : 1);
      rows.insert(rows.end(), static_cast<std::size_t>(times), i);
    }
    const std::vector<double> scores = score_all(rows);
    for (std::size_t m = 0; m < scores.size(); ++m) {
      if (std::isfinite(scores[m])) drawn[m].push_back(scores[m]);
    }
  }
  std::vector<Interval> intervals(predictions.size());
  for (std::size_t m = 0; m < predictions.size(); ++m) {
    std::sort(drawn[m].begin(), drawn[m].end());
    intervals[m].estimate = estimates[m];
    intervals[m].low = quantile(drawn[m], 0.5 * (1 - options.level));
    intervals[m].high = quantile(drawn[m], 0.5 * (1 + options.level));
    intervals[m].valid = static_cast<int>(drawn[m].size());
  }
  return intervals;
}

}  // namespace cdrzoo
