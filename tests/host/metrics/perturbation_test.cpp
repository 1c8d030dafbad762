// SPDX-License-Identifier: Apache-2.0
#include "metrics/perturbation.hpp"
#include "metrics/column_means.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>

#include "base/random.hpp"
#include "metrics/statistics.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using cdrzoo::test::WithinAbs;
using cdrzoo::test::WithinRel;

namespace {

using Values = std::vector<double>;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kPi = 3.14159265358979323846;

const MetricValue& get(const std::vector<MetricValue>& metrics, const std::string& name) {
  for (const MetricValue& m : metrics) {
    if (m.name == name) return m;
  }
  throw std::runtime_error("no metric " + name);
}
double value(const std::vector<MetricValue>& metrics, const std::string& name) { return get(metrics, name).value; }

/// Standard normal numbers (Box-Muller over the counter-based generator).
std::vector<float> normal(std::size_t n, std::uint64_t seed, double shift = 0) {
  std::vector<float> out(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double u = (static_cast<double>(splitmix64(seed, 2 * i) >> 11U) + 0.5) / 9007199254740992.0;
    const double v = static_cast<double>(splitmix64(seed, 2 * i + 1) >> 11U) / 9007199254740992.0;
    out[i] = static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * kPi * v) + shift);
  }
  return out;
}
MatrixView<float> matrix(const std::vector<float>& values, std::int64_t genes) {
  return {values.data(), static_cast<std::int64_t>(values.size()) / genes, genes};
}

double distance(const float* a, const float* b, std::int64_t genes) {
  double squared = 0;
  for (std::int64_t g = 0; g < genes; ++g) {
    squared += (static_cast<double>(a[g]) - static_cast<double>(b[g])) *
               (static_cast<double>(a[g]) - static_cast<double>(b[g]));
  }
  return std::sqrt(squared);
}

/// 2 mean(xy) - mean(xx) - mean(yy) straight from the definition.
template <typename F>
double statistic(MatrixView<float> x, MatrixView<float> y, F f) {
  const auto mean = [&](MatrixView<float> a, MatrixView<float> b, bool same) {
    double sum = 0;
    double pairs = 0;
    for (std::int64_t i = 0; i < a.rows; ++i) {
      for (std::int64_t j = 0; j < b.rows; ++j) {
        if (same && i == j) continue;
        sum += f(distance(a.row(i), b.row(j), a.cols));
        pairs += 1;
      }
    }
    return sum / pairs;
  };
  return 2 * mean(x, y, false) - mean(x, x, true) - mean(y, y, true);
}

/// E|N(m, s^2)|, the mean of the folded normal distribution.
double folded_normal(double m, double s) {
  return s * std::sqrt(2 / kPi) * std::exp(-m * m / (2 * s * s)) + m * std::erf(m / (s * std::sqrt(2)));
}

}  // namespace

TEST_CASE("Scores of a condition are those of a table made by hand") {
  const Values truth = {1, 2, 3, 6};
  const Values prediction = {1, 3, 3, 5};
  const Values control = {1, 1, 2, 2};
  const Values perturbed = {0, 2, 4, 4};
  const Values shifted = {2, 0, 4, 4};
  const auto m = condition_metrics({truth, prediction, control, perturbed, {}, shifted});
  // Errors 0 1 0 -1; truth - mean = -2 -1 0 3; prediction - mean = -2 0 0 2; ranks of the prediction 1 2.5 2.5 4.
  CHECK_THAT(value(m, "mse"), WithinAbs(2.0 / 4, 1e-15));
  CHECK_THAT(value(m, "r2"), WithinAbs(1 - 2.0 / 14, 1e-15));
  CHECK_THAT(value(m, "pearson"), WithinAbs(10 / std::sqrt(14.0 * 8), 1e-15));
  CHECK_THAT(value(m, "spearman"), WithinAbs(4.5 / std::sqrt(5 * 4.5), 1e-15));
  // Changes against control: truth 0 1 1 4 (mean 1.5), prediction 0 2 1 3 (mean 1.5).
  CHECK_THAT(value(m, "r2_delta_ctrl"), WithinAbs(1 - 2.0 / 9, 1e-15));
  CHECK_THAT(value(m, "pearson_delta_ctrl"), WithinAbs(6 / std::sqrt(9.0 * 5), 1e-15));
  CHECK_THAT(value(m, "spearman_delta_ctrl"), WithinAbs(4.5 / std::sqrt(4.5 * 5), 1e-14));
  // Changes against the training mean: truth 1 0 -1 2 (mean 0.5), prediction 1 1 -1 1 (mean 0.5).
  CHECK_THAT(value(m, "pearson_delta_pert"), WithinAbs(3 / std::sqrt(5.0 * 3), 1e-15));
  // Against the shifted control: truth -1 2 -1 2 (mean 0.5), prediction -1 3 -1 1 (mean 0.5).
  CHECK_THAT(value(m, "pearson_delta_shift"), WithinAbs(9 / std::sqrt(9.0 * 11), 1e-15));
}

TEST_CASE("Scores of DEGs are those of these genes alone, and say when there are too few") {
  const std::size_t genes = 60;
  Values truth;
  Values prediction;
  Values control;
  Values perturbed;
  for (std::size_t g = 0; g < genes; ++g) {
    const auto noise = [&](std::uint64_t i) { return static_cast<double>(splitmix64(i, g) >> 40U) / 1e7; };
    truth.push_back(noise(1));
    prediction.push_back(noise(2));
    control.push_back(noise(3));
    perturbed.push_back(noise(4));
  }
  const auto deg = largest_differences(truth, control, 30);
  REQUIRE(deg.size() == 30);
  const auto all = condition_metrics({truth, prediction, control, perturbed, deg});
  const auto of = [&](std::size_t k) {
    std::vector<Values> taken(4);
    for (std::size_t i = 0; i < k; ++i) {
      const auto g = static_cast<std::size_t>(deg[i]);
      taken[0].push_back(truth[g]);
      taken[1].push_back(prediction[g]);
      taken[2].push_back(control[g]);
      taken[3].push_back(perturbed[g]);
    }
    return condition_metrics({taken[0], taken[1], taken[2], taken[3], {}});
  };
  for (const char* name : {"r2", "pearson", "spearman", "mse", "r2_delta_ctrl", "pearson_delta_ctrl",
                           "spearman_delta_ctrl", "pearson_delta_pert"}) {
    CHECK_THAT(value(all, std::string(name) + "_deg20"), WithinAbs(value(of(20), name), 1e-14));
    CHECK(get(all, std::string(name) + "_deg20").flag.empty());
    CHECK_THAT(value(all, std::string(name) + "_deg50"), WithinAbs(value(of(30), name), 1e-14));
    CHECK(get(all, std::string(name) + "_deg50").flag == "fewer_degs");
  }
  const auto none = condition_metrics({truth, prediction, control, perturbed, {}});
  CHECK(std::isnan(value(none, "mse_deg20")));
  CHECK(get(none, "mse_deg20").flag == "too_few_rows;fewer_degs");
  CHECK(get(none, "direction_deg20").flag == "too_few_rows;fewer_degs");
}

TEST_CASE("DEGs are ordered by the size of the change, equals by column, without unknown genes") {
  const Values control = {0, 0, 0, 0, kNan, 1};
  const Values truth = {1, -3, kNan, 3, 9, 1.5};
  CHECK(largest_differences(truth, control, 3) == std::vector<std::int32_t>{1, 3, 0});
  CHECK(largest_differences(truth, control, 100) == std::vector<std::int32_t>{1, 3, 0, 5});
}

TEST_CASE("Who predicts the reference itself has no correlation of the change and no direction") {
  const Values truth = {1.5, 2.25, 0.5, 7};
  const Values control = {1.1, 2.3, 0.7, 5};
  Values rounded;  // a model gives float32: the change it predicts is rounding, and rounding is no prediction
  for (const double c : control) rounded.push_back(static_cast<double>(static_cast<float>(c)));
  REQUIRE(rounded != control);
  const std::vector<std::int32_t> deg = {3, 0, 2};
  for (const Values& prediction : {control, rounded}) {
    const auto m = condition_metrics({truth, prediction, control, control, deg});
    for (const char* name : {"pearson_delta_ctrl", "spearman_delta_ctrl", "pearson_delta_pert"}) {
      CHECK(value(m, name) == 0);
      CHECK(get(m, name).flag == "constant_pred");
    }
    CHECK(value(m, "direction_deg20") == 0.5);
    CHECK(get(m, "direction_deg20").flag == "no_change;fewer_degs");
    CHECK(value(m, "pearson") > 0.9);  // and yet the profile looks well predicted
  }
  const auto same = condition_metrics({control, truth, control, control, deg});
  CHECK(std::isnan(value(same, "pearson_delta_ctrl")));
  CHECK(get(same, "pearson_delta_ctrl").flag == "constant_truth");
}

TEST_CASE("Direction accuracy counts the signs of true changes") {
  const Values control = {1, 1, 1, 1, 1};
  const Values truth = {2, 0, 3, 1, -1};      // + - + 0 -
  const Values prediction = {3, 2, 2, 5, 0};  // + + + + -
  const auto m = condition_metrics({truth, prediction, control, {}, std::vector<std::int32_t>{0, 1, 2, 3, 4}});
  CHECK_THAT(value(m, "direction_deg20"), WithinAbs(3.0 / 4, 1e-15));
}

TEST_CASE("Scores of the change do not depend on what all profiles share") {
  Values truth;
  Values prediction;
  Values control;
  Values shift;
  for (std::uint64_t g = 0; g < 40; ++g) {
    truth.push_back(static_cast<double>(splitmix64(5, g) % 1000) / 64);
    prediction.push_back(static_cast<double>(splitmix64(6, g) % 1000) / 64);
    control.push_back(static_cast<double>(splitmix64(7, g) % 1000) / 64);
    shift.push_back(static_cast<double>(splitmix64(8, g) % 1000) / 64);
  }
  const auto deg = largest_differences(truth, control, 20);
  const auto before = condition_metrics({truth, prediction, control, control, deg});
  for (std::size_t g = 0; g < shift.size(); ++g) {
    for (Values* x : {&truth, &prediction, &control}) (*x)[g] += shift[g];
  }
  CHECK(largest_differences(truth, control, 20) == deg);
  const auto after = condition_metrics({truth, prediction, control, control, deg});
  for (const char* name : {"mse", "r2_delta_ctrl", "pearson_delta_ctrl", "spearman_delta_ctrl", "pearson_delta_pert",
                           "mse_deg20", "pearson_delta_ctrl_deg20", "direction_deg20"}) {
    CHECK_THAT(value(after, name), WithinAbs(value(before, name), 1e-12));
  }
  CHECK(value(after, "pearson") > value(before, "pearson"));  // profiles of cells look alike whatever was done to them
}

TEST_CASE("A gene that was not measured is left out, one that was not predicted is an error") {
  const Values truth = {1, kNan, 3, 6, 2};
  const Values control = {0, 0, 1, 2, kNan};
  const Values prediction = {1, 9, 2, 5, 2};
  const auto m = condition_metrics({truth, prediction, control, {}, {}});
  const auto profile = condition_metrics({Values{1, 3, 6, 2}, Values{1, 2, 5, 2}, Values{0, 0, 0, 0}, {}, {}});
  CHECK_THAT(value(m, "r2"), WithinAbs(value(profile, "r2"), 1e-15));
  CHECK(get(m, "r2").flag == "missing_genes");
  const auto change = condition_metrics({Values{1, 3, 6}, Values{1, 2, 5}, Values{0, 1, 2}, {}, {}});
  CHECK_THAT(value(m, "pearson_delta_ctrl"), WithinAbs(value(change, "pearson_delta_ctrl"), 1e-15));
  CHECK(get(m, "pearson_delta_pert").flag == "no_training_profiles");
  CHECK(get(m, "pearson_delta_shift").flag == "no_training_profiles");
  Values broken = prediction;
  broken[2] = kNan;
  const auto bad = condition_metrics({truth, broken, control, {}, {}});
  CHECK(get(bad, "mse").flag == "non_finite;missing_genes");
  CHECK(std::isnan(value(bad, "pearson_delta_ctrl")));
  CHECK_THROWS_AS(condition_metrics({truth, Values{1}, control, {}, {}}), std::logic_error);
}

TEST_CASE("Discrimination is 1 for the truth, 0.5 for one prediction for all, 0 for the others' truth") {
  const std::vector<float> truth = {0, 0, 0, 1, 0, 5, 9, 9, 9};
  const std::vector<std::int32_t> group = {0, 0, 0};
  const auto mean = [](const std::vector<MetricValue>& scores) {
    double sum = 0;
    for (const MetricValue& s : scores) sum += s.value;
    return sum / static_cast<double>(scores.size());
  };
  CHECK(mean(discrimination(matrix(truth, 3), matrix(truth, 3), group)) == 1.0);
  const std::vector<float> constant = {1, 2, 3, 1, 2, 3, 1, 2, 3};
  CHECK_THAT(mean(discrimination(matrix(truth, 3), matrix(constant, 3), group)), WithinAbs(0.5, 1e-15));
  const std::vector<float> two = {0, 1};
  const std::vector<float> swapped = {1, 0};
  CHECK(mean(discrimination(matrix(two, 1), matrix(swapped, 1), {std::vector<std::int32_t>{4, 4}})) == 0.0);
  // Two equal truths: their mid-rank is 1.5 of 3, whichever of them is meant.
  const std::vector<float> tied = {1, 1, 5};
  const std::vector<float> near = {1, 1, 1};
  const auto scores = discrimination(matrix(tied, 1), matrix(near, 1), group);
  CHECK(scores[0].value == 0.75);
  CHECK(scores[1].value == 0.75);
  CHECK(scores[2].value == 0.0);
}

TEST_CASE("Discrimination of random predictions is one half on average") {
  const auto truth = normal(40 * 8, 1);
  const std::vector<std::int32_t> group(40, 0);
  double sum = 0;
  for (std::uint64_t seed = 2; seed < 52; ++seed) {
    const auto prediction = normal(40 * 8, seed);
    for (const MetricValue& s : discrimination(matrix(truth, 8), matrix(prediction, 8), group)) sum += s.value;
  }
  CHECK_THAT(sum / 2000, WithinAbs(0.5, 0.02));  // sd of the mean: 0.29 / sqrt(2000) = 0.0065
}

TEST_CASE("Discrimination compares conditions of one context only, and says who is alone or missing") {
  const std::vector<float> truth = {0, 1, 100, 101, 50};
  const std::vector<float> prediction = {0, 1, 101, std::numeric_limits<float>::quiet_NaN(), 50};
  const auto scores = discrimination(matrix(truth, 1), matrix(prediction, 1), std::vector<std::int32_t>{0, 0, 1, 1, 2});
  CHECK(scores[0].value == 1.0);
  CHECK(scores[1].value == 1.0);
  CHECK(scores[2].value == 0.0);
  CHECK(std::isnan(scores[3].value));
  CHECK(scores[3].flag == "non_finite");
  CHECK(std::isnan(scores[4].value));
  CHECK(scores[4].flag == "one_condition");
}

TEST_CASE("Discrimination of many conditions in blocks is the one by the definition") {
  const std::int64_t m = 301;
  const auto truth = normal(static_cast<std::size_t>(m * 5), 3);
  const auto prediction = normal(static_cast<std::size_t>(m * 5), 4);
  const auto scores = discrimination(matrix(truth, 5), matrix(prediction, 5), std::vector<std::int32_t>(301, 7));
  for (std::int64_t i = 0; i < m; ++i) {
    const auto d = [&](std::int64_t j) { return distance(matrix(prediction, 5).row(i), matrix(truth, 5).row(j), 5); };
    int closer = 0;
    for (std::int64_t j = 0; j < m; ++j) closer += d(j) < d(i) ? 1 : 0;
    CHECK_THAT(scores[static_cast<std::size_t>(i)].value, WithinAbs(1 - closer / 300.0, 1e-12));
  }
}

TEST_CASE("The energy distance of small sets is the one by hand") {
  const std::vector<float> x = {0, 1};
  const std::vector<float> y = {3, 5};
  // E|x - y| = (3 + 5 + 2 + 4) / 4, E|x - x'| = 1, E|y - y'| = 2.
  CHECK_THAT(value(cell_distances(TruthScores(matrix(x, 1)), matrix(y, 1)), "energy_distance"),
             WithinAbs(2 * 3.5 - 1 - 2, 1e-14));
  // Of a set with itself the U-statistic is negative: pairs of a cell with itself do not count on one side only.
  CHECK_THAT(value(cell_distances(TruthScores(matrix(x, 1)), matrix(x, 1)), "energy_distance"),
             WithinAbs(2 * 0.5 - 1 - 1, 1e-14));
  // The median distance is 1: u = d^2 / 2.
  const auto kernel = [](double d) {
    const double u = d * d / 2;
    return (std::exp(-16 * u) + std::exp(-4 * u) + std::exp(-u) + std::exp(-u / 4) + std::exp(-u / 16)) / 5;
  };
  const double by_hand = kernel(1) + kernel(2) - 2 * (kernel(3) + kernel(5) + kernel(2) + kernel(4)) / 4;
  CHECK_THAT(value(cell_distances(TruthScores(matrix(x, 1)), matrix(y, 1)), "mmd"), WithinAbs(by_hand, 1e-14));
}

TEST_CASE("Energy distance and MMD of shifted Gaussians have their closed forms on average") {
  for (const double shift : {0.0, 0.5, 2.0}) {
    Values energy;
    Values mmd;
    Values expected_mmd;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      const auto x = normal(40, 2 * seed);
      const auto y = normal(40, 2 * seed + 1, shift);
      const auto d = cell_distances(TruthScores(matrix(x, 1)), matrix(y, 1));
      energy.push_back(value(d, "energy_distance"));
      mmd.push_back(value(d, "mmd"));
    }
    const Summary e = summarize_folds(energy);
    const double expected = 2 * folded_normal(shift, std::sqrt(2)) - 2 * folded_normal(0, std::sqrt(2));
    CHECK_THAT(e.mean, WithinAbs(expected, 4 * e.sd / std::sqrt(300.0)));
    // E exp(-(a - b)^2 / 2 s^2) = s / sqrt(s^2 + 2) exp(-shift^2 / 2 (s^2 + 2)); the median of |x - x'| is near 0.954.
    double expected_kernel = 0;
    for (const double factor : {0.25, 0.5, 1.0, 2.0, 4.0}) {
      const double s2 = std::pow(factor * 0.6744897501960817 * std::sqrt(2), 2);
      expected_kernel += 2 * std::sqrt(s2 / (s2 + 2)) * (1 - std::exp(-shift * shift / (2 * (s2 + 2)))) / 5;
    }
    const Summary k = summarize_folds(mmd);
    CHECK_THAT(k.mean, WithinAbs(expected_kernel, 0.01 * expected_kernel + 4 * k.sd / std::sqrt(300.0)));
  }
}

TEST_CASE("Distances by products of blocks are those by the definition, far from the origin too") {
  const std::int64_t genes = 37;
  auto x = normal(static_cast<std::size_t>(23 * genes), 11);
  auto y = normal(static_cast<std::size_t>(30 * genes), 12, 0.3);
  for (auto* cells : {&x, &y}) {
    for (float& v : *cells) v += 4096;
  }
  const auto d = cell_distances(TruthScores(matrix(x, genes)), matrix(y, genes));
  CHECK_THAT(value(d, "energy_distance"),
             WithinRel(statistic(matrix(x, genes), matrix(y, genes), [](double r) { return r; }), 1e-9));
  Values within;
  for (std::int64_t i = 0; i < 23; ++i) {
    for (std::int64_t j = 0; j < i; ++j)
      within.push_back(distance(matrix(x, genes).row(i), matrix(x, genes).row(j), genes));
  }
  std::sort(within.begin(), within.end());
  const double median = within[126];  // of 253
  const auto kernel = [&](double r) {
    double sum = 0;
    for (const double f : {0.25, 0.5, 1.0, 2.0, 4.0}) sum += std::exp(-r * r / (2 * f * f * median * median));
    return sum / 5;
  };
  CHECK_THAT(value(d, "mmd"), WithinRel(-statistic(matrix(x, genes), matrix(y, genes), kernel), 1e-9));
}

TEST_CASE("The order of cells and of genes does not matter to distances, equal cells have distance 0") {
  const std::int64_t genes = 9;
  const auto x = normal(20 * 9, 21);
  const auto y = normal(17 * 9, 22, 1);
  std::vector<float> turned(x.size());
  std::vector<float> turned_y(y.size());
  for (std::size_t i = 0; i < x.size(); ++i) turned[i] = x[x.size() - 1 - i];  // reverses cells and genes
  for (std::size_t i = 0; i < y.size(); ++i) turned_y[i] = y[y.size() - 1 - i];
  const auto a = cell_distances(TruthScores(matrix(x, genes)), matrix(y, genes));
  const auto b = cell_distances(TruthScores(matrix(turned, genes)), matrix(turned_y, genes));
  CHECK_THAT(value(a, "energy_distance"), WithinAbs(value(b, "energy_distance"), 1e-12));
  CHECK_THAT(value(a, "mmd"), WithinAbs(value(b, "mmd"), 1e-12));
  // A model that predicts one profile for all cells: no spread among predictions, exactly.
  std::vector<float> one;
  for (int i = 0; i < 6; ++i) one.insert(one.end(), y.begin(), y.begin() + genes);
  double to_one = 0;
  double within = 0;
  for (std::int64_t i = 0; i < 20; ++i) {
    to_one += distance(matrix(x, genes).row(i), y.data(), genes) / 20;
    for (std::int64_t j = 0; j < i; ++j)
      within += distance(matrix(x, genes).row(i), matrix(x, genes).row(j), genes) / 190;
  }
  CHECK_THAT(value(cell_distances(TruthScores(matrix(x, genes)), matrix(one, genes)), "energy_distance"),
             WithinRel(2 * to_one - within, 1e-10));
}

TEST_CASE("Few cells, equal cells and unmeasured genes are told by a flag") {
  const std::vector<float> x = {1, 2, 1, 2};
  const std::vector<float> y = {3, 2, 5, 4};
  CHECK(get(cell_distances(TruthScores(MatrixView<float>{x.data(), 1, 2}), matrix(y, 2)), "mmd").flag ==
        "too_few_rows");
  const auto d = cell_distances(TruthScores(matrix(x, 2)), matrix(y, 2));
  CHECK(get(d, "mmd").flag == "constant_truth");
  CHECK(std::isnan(value(d, "mmd")));
  CHECK(std::isfinite(value(d, "energy_distance")));
  const std::vector<float> holes = {0, std::numeric_limits<float>::quiet_NaN(), 1, 7};
  const std::vector<float> filled = {3, 0, 5, 0};
  const auto left = cell_distances(TruthScores(matrix(holes, 2)), matrix(filled, 2));
  CHECK_THAT(value(left, "energy_distance"), WithinAbs(4.0, 1e-14));  // as the small sets by hand
  CHECK(get(left, "energy_distance").flag == "missing_genes");
}

TEST_CASE("A gene that a prediction lacks is left out of the truth's own distances, too") {
  const std::int64_t genes = 5;
  const auto x = normal(12 * 5, 51);
  auto y = normal(9 * 5, 52, 0.4);
  const TruthScores truth(matrix(x, genes));
  const auto before = cell_distances(truth, matrix(y, genes));
  std::vector<float> fewer_x;
  std::vector<float> fewer_y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i % 5 != 3) fewer_x.push_back(x[i]);
  }
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (i % 5 != 3) fewer_y.push_back(y[i]);
  }
  const auto expected = cell_distances(TruthScores(matrix(fewer_x, 4)), matrix(fewer_y, 4));
  y[8] = std::numeric_limits<float>::quiet_NaN();
  const auto got = cell_distances(truth, matrix(y, genes));
  for (const char* name : {"energy_distance", "mmd"}) {
    CHECK_THAT(value(got, name), WithinAbs(value(expected, name), 1e-12));
    CHECK(get(got, name).flag == "missing_genes");
    CHECK(value(got, name) != value(before, name));
  }
}

TEST_CASE("Of many cells a fixed sample is taken, which is said and changes little") {
  const std::int64_t genes = 3;
  const auto x = normal(2000 * 3, 31);
  const auto y = normal(2000 * 3, 32, 0.5);
  const auto d = cell_distances(TruthScores(matrix(x, genes)), matrix(y, genes));
  CHECK(get(d, "energy_distance").flag == "sampled");
  CHECK(value(d, "energy_distance") ==
        value(cell_distances(TruthScores(matrix(x, genes)), matrix(y, genes)), "energy_distance"));
  CHECK_THAT(value(d, "energy_distance"),
             WithinAbs(statistic(matrix(x, genes), matrix(y, genes), [](double r) { return r; }), 0.1));
}

TEST_CASE("The noise ceiling falls with noise and is the same every time") {
  const std::int64_t genes = 30;
  const std::int64_t cells = 41;
  Values control(30, 0);
  std::vector<float> effect = normal(30, 41);
  Values truth(effect.begin(), effect.end());
  const auto deg = largest_differences(truth, control, 20);
  const Values perturbed(30, 0.1);
  const auto noisy = [&](float size) {
    auto profile = normal(static_cast<std::size_t>(cells * genes), 42);
    for (std::size_t i = 0; i < profile.size(); ++i) profile[i] = effect[i % 30] + size * profile[i];
    return profile;
  };
  const ConditionMeans condition{truth, truth, control, perturbed, deg};
  const auto clean = noisy(0);
  const auto perfect = TruthScores(matrix(clean, genes), &condition).ceiling();
  CHECK_THAT(value(perfect, "r2_ceiling"), WithinAbs(1, 1e-12));
  CHECK_THAT(value(perfect, "pearson_delta_ctrl_ceiling"), WithinAbs(1, 1e-12));
  CHECK_THAT(value(perfect, "mse_deg20_ceiling"), WithinAbs(0, 1e-12));
  CHECK(value(perfect, "direction_deg20_ceiling") == 1);
  double before = 1;
  for (const float size : {0.5F, 2.0F, 8.0F}) {
    const auto profile = noisy(size);
    const auto ceiling = TruthScores(matrix(profile, genes), &condition).ceiling();
    const double now = value(ceiling, "pearson_delta_ctrl_ceiling");
    CHECK(now < before);
    before = now;
    // Two means of 20 cells each differ by noise of variance size^2 (1/20 + 1/20).
    CHECK_THAT(value(ceiling, "mse_ceiling"), WithinRel(static_cast<double>(size * size) / 10, 0.3));
    CHECK_THAT(value(ceiling, "energy_distance_ceiling") / static_cast<double>(size), WithinAbs(0, 0.3));
    CHECK(value(TruthScores(matrix(profile, genes), &condition).ceiling(), "mmd_ceiling") ==
          value(ceiling, "mmd_ceiling"));
  }
  CHECK(TruthScores(MatrixView<float>{clean.data(), 3, genes}, &condition).ceiling().empty());
}

TEST_CASE("Column means leave unmeasured values out") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> cells = {1, nan, nan, 3, 4, nan};
  ColumnMeans sums(3);
  sums.add(cells.data());
  sums.add(cells.data() + 3);
  const auto means = sums.take();
  CHECK(means[0] == 2);
  CHECK(means[1] == 4);
  CHECK(std::isnan(means[2]));
}

TEST_CASE("Every perturbation metric has one name and a direction") {
  const auto& names = perturbation_metric_names();
  CHECK(std::set<std::string>(names.begin(), names.end()).size() == names.size());
  for (const char* name : {"r2", "r2_deg50", "pearson_delta_ctrl", "pearson_delta_pert_deg100", "direction_deg20",
                           "discrimination", "spearman_delta_ctrl_deg20"}) {
    CHECK(std::find(names.begin(), names.end(), name) != names.end());
    CHECK(higher_is_better(name));
  }
  for (const char* name : {"mse", "mse_deg50", "energy_distance", "mmd", "mmd_median", "energy_distance_ceiling"}) {
    CHECK_FALSE(higher_is_better(name));
  }
  CHECK(higher_is_better("mmd_better"));
}
