// SPDX-License-Identifier: Apache-2.0
#include "metrics/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/error.hpp"
#include "metrics/ranking.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using cdrzoo::test::WithinAbs;
using cdrzoo::test::WithinRel;

namespace {

using Values = std::vector<double>;

constexpr double kInf = std::numeric_limits<double>::infinity();

const MetricValue& get(const std::vector<MetricValue>& metrics, const std::string& name) {
  const auto it = std::find_if(metrics.begin(), metrics.end(), [&](const auto& m) { return m.name == name; });
  if (it == metrics.end()) throw std::runtime_error("no metric " + name);
  return *it;
}

struct Rows {
  Values truth, prediction;
};

Rows random_binary(std::size_t n, unsigned seed, int levels) {
  std::mt19937 generator(seed);
  Rows rows;
  for (std::size_t i = 0; i < n; ++i) {
    const double label = generator() % 3 == 0 ? 1 : 0;
    rows.truth.push_back(label);
    const double u = static_cast<double>(generator()) / 4294967296.0 + 0.3 * label;
    rows.prediction.push_back(levels > 0 ? std::floor(u * levels) / levels : u);
  }
  return rows;
}

Rows random_regression(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  Rows rows;
  for (std::size_t i = 0; i < n; ++i) {
    rows.truth.push_back(normal(generator));
    rows.prediction.push_back(0.5 * rows.truth.back() + normal(generator));
  }
  return rows;
}

/// AUROC by its definition, over all pairs.
double auroc_by_pairs(const Rows& rows) {
  double won = 0;
  double pairs = 0;
  for (std::size_t i = 0; i < rows.truth.size(); ++i) {
    for (std::size_t j = 0; j < rows.truth.size(); ++j) {
      if (rows.truth[i] != 1 || rows.truth[j] != 0) continue;
      pairs += 1;
      won += rows.prediction[i] > rows.prediction[j] ? 1 : rows.prediction[i] == rows.prediction[j] ? 0.5 : 0;
    }
  }
  return won / pairs;
}

double tau_by_pairs(const Rows& rows) {
  const auto sign = [](double x) { return x > 0 ? 1.0 : x < 0 ? -1.0 : 0.0; };
  double sum = 0;
  double a = 0;
  double b = 0;
  for (std::size_t i = 0; i < rows.truth.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const double x = sign(rows.truth[i] - rows.truth[j]);
      const double y = sign(rows.prediction[i] - rows.prediction[j]);
      sum += x * y;
      a += x * x;
      b += y * y;
    }
  }
  return sum / std::sqrt(a * b);
}

}  // namespace

TEST_CASE("The golden vectors of the protocol hold") {
  struct Golden {
    Values label, score;
    double auroc, ap, trapezoid;
  };
  const std::vector<Golden> goldens = {
      {{0, 0, 1, 1}, {.1, .4, .35, .8}, 0.75, 5.0 / 6.0, 0.791666666666667},
      {{0, 1, 0, 1}, {.5, .5, .5, .5}, 0.5, 0.5, 0.75},
      {{1, 0, 1, 0, 1, 0, 0, 1}, {.9, .9, .7, .7, .7, .4, .4, .1}, 0.53125, 0.55, 0.578571428571429},
      {{1, 0, 0}, {.1, .2, .3}, 0, 1.0 / 3.0, 1.0 / 6.0}};
  for (const Golden& g : goldens) {
    CHECK_THAT(auroc(g.label, g.score), WithinAbs(g.auroc, 1e-15));
    CHECK_THAT(average_precision(g.label, g.score), WithinAbs(g.ap, 1e-14));
    CHECK_THAT(auprc_trapezoid(g.label, g.score), WithinAbs(g.trapezoid, 1e-14));
  }
}

TEST_CASE("AUROC equals its definition over all pairs, small and large inputs, with and without ties") {
  for (const std::size_t n : {7U, 500U, 5000U, 12000U}) {  // beyond some thousand rows the radix sort is at work
    for (const int levels : {0, 5}) {
      const Rows rows = random_binary(n, 11, levels);
      CHECK_THAT(auroc(rows.truth, rows.prediction), WithinAbs(auroc_by_pairs(rows), 1e-12));
    }
  }
}

TEST_CASE("A strictly increasing transform of the scores leaves the ranking metrics bit for bit") {
  const Rows rows = random_binary(3000, 3, 0);
  Values transformed(rows.prediction);
  for (double& s : transformed) s = std::exp(3 * s) - 2;
  CHECK(auroc(rows.truth, transformed) == auroc(rows.truth, rows.prediction));
  CHECK(average_precision(rows.truth, transformed) == average_precision(rows.truth, rows.prediction));
  CHECK(auprc_trapezoid(rows.truth, transformed) == auprc_trapezoid(rows.truth, rows.prediction));
}

TEST_CASE("Flipping labels and scores leaves AUROC, flipping one of them mirrors it") {
  const Rows rows = random_binary(2000, 5, 9);
  Values flipped_label(rows.truth);
  Values flipped_score(rows.prediction);
  for (double& y : flipped_label) y = 1 - y;
  for (double& s : flipped_score) s = -s;
  const double value = auroc(rows.truth, rows.prediction);
  CHECK_THAT(auroc(flipped_label, flipped_score), WithinAbs(value, 1e-15));
  CHECK_THAT(auroc(flipped_label, rows.prediction), WithinAbs(1 - value, 1e-15));
  CHECK_THAT(auroc(rows.truth, flipped_score), WithinAbs(1 - value, 1e-15));
}

TEST_CASE("The order of the rows does not matter") {
  for (const bool binary : {true, false}) {
    const Rows rows = binary ? random_binary(800, 8, 20) : random_regression(800, 8);
    std::vector<std::size_t> order(rows.truth.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), std::mt19937(1));
    Rows shuffled;
    for (const std::size_t i : order) {
      shuffled.truth.push_back(rows.truth[i]);
      shuffled.prediction.push_back(rows.prediction[i]);
    }
    const BinaryOptions options{0.4, true, 1e-15};
    const auto a = binary ? binary_metrics(rows.truth, rows.prediction, options)
                          : regression_metrics(rows.truth, rows.prediction, 0.1);
    const auto b = binary ? binary_metrics(shuffled.truth, shuffled.prediction, options)
                          : regression_metrics(shuffled.truth, shuffled.prediction, 0.1);
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      INFO(a[i].name);
      CHECK_THAT(b[i].value, WithinRel(a[i].value, 1e-14));
    }
  }
}

TEST_CASE("Threshold metrics follow from the four counts") {
  // tn 3, fp 1, fn 2, tp 4 at a threshold of 0.5; a score of exactly 0.5 is a negative prediction.
  const Values label = {0, 0, 0, 0, 1, 1, 1, 1, 1, 1};
  const Values score = {.1, .2, .5, .9, .3, .5, .6, .7, .8, .9};
  const Confusion c = confusion_at(label, score, 0.5);
  CHECK(c.tn == 3);
  CHECK(c.fp == 1);
  CHECK(c.fn == 2);
  CHECK(c.tp == 4);
  const auto m = binary_metrics(label, score, {0.5, false, 1e-15});
  CHECK_THAT(metric_value(m, "accuracy"), WithinAbs(0.7, 1e-15));
  CHECK_THAT(metric_value(m, "precision"), WithinAbs(0.8, 1e-15));
  CHECK_THAT(metric_value(m, "recall"), WithinAbs(4.0 / 6, 1e-15));
  CHECK_THAT(metric_value(m, "specificity"), WithinAbs(0.75, 1e-15));
  CHECK_THAT(metric_value(m, "balanced_accuracy"), WithinAbs((4.0 / 6 + 0.75) / 2, 1e-15));
  CHECK_THAT(metric_value(m, "f1"), WithinAbs(8.0 / 11, 1e-15));
  CHECK_THAT(metric_value(m, "mcc"), WithinAbs((12.0 - 2) / std::sqrt(5.0 * 6 * 4 * 5), 1e-15));
  CHECK_THAT(metric_value(m, "kappa"), WithinAbs((0.7 - 0.5) / 0.5, 1e-15));  // chance: (6*5 + 4*5) / 100
  CHECK_THAT(metric_value(m, "prevalence"), WithinAbs(0.6, 1e-15));
  CHECK(std::isnan(metric_value(m, "brier")));  // no probabilities declared
}

TEST_CASE("Probabilities also give Brier, log-loss and the metrics at one half") {
  const Values label = {1, 0};
  const Values score = {0.8, 0.4};
  const auto m = binary_metrics(label, score, {0.9, true, 1e-15});
  CHECK_THAT(metric_value(m, "brier"), WithinAbs((0.04 + 0.16) / 2, 1e-15));
  CHECK_THAT(metric_value(m, "log_loss"), WithinAbs(-(std::log(0.8) + std::log(0.6)) / 2, 1e-15));
  CHECK(metric_value(m, "accuracy") == 0.5);
  CHECK(metric_value(m, "accuracy@0.5") == 1.0);
  const auto outside = binary_metrics(label, Values{1.5, -1}, {0.5, true, 1e-15});
  CHECK(get(outside, "brier").flag == "clipped");
  CHECK(get(outside, "brier").value == 0);
  const auto wrong = binary_metrics(label, Values{0, 1}, {0.5, true, 1e-15});
  CHECK_THAT(metric_value(wrong, "log_loss"), WithinRel(-std::log(1e-15), 1e-2));
}

TEST_CASE("One class: what needs two classes is undefined, the rest is not") {
  for (const double only : {0.0, 1.0}) {
    const Values label(5, only);
    const Values score = {.1, .2, .3, .6, .7};
    const auto m = binary_metrics(label, score, {0.5, true, 1e-15});
    for (const char* name : {"auroc", "auprc", "auprc_trapz", "auprc_gain", "balanced_accuracy"}) {
      INFO(name);
      CHECK(std::isnan(get(m, name).value));
      CHECK(get(m, name).flag == "one_class");
    }
    CHECK(std::isnan(metric_value(m, "f1")) == (only == 0.0));
    CHECK(std::isnan(metric_value(m, "recall")) == (only == 0.0));
    CHECK(std::isnan(metric_value(m, "specificity")) == (only == 1.0));
    CHECK(get(m, "mcc").value == 0);
    CHECK(get(m, "mcc").flag == "zero_division");
    CHECK(std::isfinite(metric_value(m, "accuracy")));
    CHECK(std::isfinite(metric_value(m, "log_loss")));
  }
}

TEST_CASE("No predicted positive: precision is 0 by convention and says so") {
  const auto m = binary_metrics(Values{0, 1, 1}, Values{.1, .2, .3}, {0.9, false, 1e-15});
  CHECK(get(m, "precision").value == 0);
  CHECK(get(m, "precision").flag == "zero_division");
  CHECK(get(m, "f1").value == 0);
  CHECK(get(m, "f1").flag.empty());
}

TEST_CASE("Without a threshold the threshold metrics are undefined, the others are not") {
  const auto m = binary_metrics(Values{0, 1, 1}, Values{.1, .2, .3}, {std::nan(""), false, 1e-15});
  CHECK(get(m, "accuracy").flag == "no_threshold");
  CHECK(std::isnan(get(m, "accuracy").value));
  CHECK(get(m, "auroc").value == 1);
}

TEST_CASE("Values that are not finite make everything undefined, labels other than 0 and 1 are an error") {
  for (const double bad : {std::nan(""), kInf, -kInf}) {
    for (const MetricValue& v : binary_metrics(Values{0, 1, 1}, Values{.1, bad, .3}, {0.5, true, 1e-15})) {
      INFO(v.name);
      if (v.name == "prevalence") continue;
      CHECK(std::isnan(v.value));
      CHECK(v.flag == "non_finite");
    }
    for (const MetricValue& v : regression_metrics(Values{0, 1, 2, 4}, Values{.1, bad, .3, .2}, 0)) {
      INFO(v.name);
      CHECK(std::isnan(v.value));
      CHECK(v.flag == "non_finite");
    }
    CHECK(std::isnan(best_f1_threshold(Values{0, 1, 1}, Values{.1, bad, .3})));
  }
  CHECK_THROWS_AS(auroc(Values{0, 0.5}, Values{1, 2}), DataError);
  CHECK_THROWS_AS(auroc(Values{0, std::nan("")}, Values{1, 2}), DataError);
  CHECK_THROWS_AS(auroc(Values{0, 1}, Values{1}), std::logic_error);
}

TEST_CASE("No rows: undefined, not a crash") {
  for (const MetricValue& v : binary_metrics(Values{}, Values{}, {0.5, true, 1e-15})) {
    INFO(v.name);
    CHECK(std::isnan(v.value));
  }
  for (const MetricValue& v : regression_metrics(Values{}, Values{}, 1.0)) {
    INFO(v.name);
    CHECK(std::isnan(v.value));
  }
}

TEST_CASE("The F1 threshold is a midpoint, ties go to the higher one") {
  SECTION("separable: between the classes") {
    CHECK_THAT(best_f1_threshold(Values{0, 0, 1, 1}, Values{.1, .3, .5, .8}), WithinAbs(0.4, 1e-15));
  }
  SECTION("all positive is best: minus infinity") {
    CHECK(best_f1_threshold(Values{1, 0, 1, 1}, Values{.1, .2, .3, .4}) == -kInf);
  }
  SECTION("equal F1 at two thresholds: the higher") {
    // After 0.9: tp 1 of 1 -> 2/3. After 0.5: 2/4. After 0.1 (all): 4/6 = 2/3.
    CHECK_THAT(best_f1_threshold(Values{1, 0, 0, 1}, Values{.9, .5, .4, .1}), WithinAbs(0.7, 1e-15));
  }
  SECTION("no positive label: undefined") { CHECK(std::isnan(best_f1_threshold(Values{0, 0}, Values{.1, .3}))); }
  SECTION("neighbouring doubles stay on their sides") {
    const double low = 0.5;
    const double high = std::nextafter(low, 1.0);
    const double t = best_f1_threshold(Values{0, 1}, Values{low, high});
    CHECK(low <= t);
    CHECK(t < high);
    const Confusion c = confusion_at(Values{0, 1}, Values{low, high}, t);
    CHECK(c.tp == 1);
    CHECK(c.tn == 1);
  }
  SECTION("brute force over all candidates agrees") {
    for (unsigned seed = 1; seed <= 20; ++seed) {
      const Rows rows = random_binary(60, seed, 12);
      const double t = best_f1_threshold(rows.truth, rows.prediction);
      Values distinct(rows.prediction);
      std::sort(distinct.begin(), distinct.end());
      distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
      Values candidates = {-kInf};
      for (std::size_t i = 1; i < distinct.size(); ++i) candidates.push_back(0.5 * (distinct[i] + distinct[i - 1]));
      double best = -1;
      double at = 0;
      for (const double c : candidates) {  // ascending, so >= keeps the higher of equals
        const double f1 = metric_value(binary_metrics(rows.truth, rows.prediction, {c, false, 1e-15}), "f1");
        if (f1 >= best) best = f1, at = c;
      }
      CHECK_THAT(t, WithinAbs(at, 1e-15));
    }
  }
}

TEST_CASE("Regression metrics on numbers that can be checked by hand") {
  const Values truth = {1, 2, 3, 4};
  const Values prediction = {1, 3, 3, 5};
  const auto m = regression_metrics(truth, prediction, 0.0);
  CHECK(metric_value(m, "mse") == 0.5);
  CHECK_THAT(metric_value(m, "rmse"), WithinAbs(std::sqrt(0.5), 1e-15));
  CHECK(metric_value(m, "mae") == 0.5);
  CHECK_THAT(metric_value(m, "r2"), WithinAbs(1 - 2.0 / 5.0, 1e-15));
  CHECK_THAT(metric_value(m, "r2_train"), WithinAbs(1 - 2.0 / 30.0, 1e-15));
  CHECK_THAT(metric_value(m, "pearson"), WithinAbs(6 / std::sqrt(5.0 * 8.0), 1e-15));
  CHECK_THAT(metric_value(m, "kendall"), WithinAbs(5 / std::sqrt(6.0 * 5.0), 1e-15));
  CHECK_THAT(metric_value(m, "spearman"), WithinAbs(4.5 / std::sqrt(5.0 * 4.5), 1e-15));
  CHECK(std::isnan(metric_value(regression_metrics(truth, prediction, std::nan("")), "r2_train")));
}

TEST_CASE("Constant truth is undefined, a constant prediction scores zero and is flagged") {
  const Values varied = {1, 2, 3, 5};
  const Values constant(4, 0.1 + 0.2);
  for (const char* name : {"pearson", "spearman", "kendall"}) {
    INFO(name);
    const auto useless = regression_metrics(varied, constant, 0);
    CHECK(get(useless, name).value == 0);
    CHECK(get(useless, name).flag == "constant_pred");
    const auto undefined = regression_metrics(constant, varied, 0);
    CHECK(std::isnan(get(undefined, name).value));
    CHECK(get(undefined, name).flag == "constant_truth");
  }
  CHECK(std::isnan(metric_value(regression_metrics(constant, varied, 0), "r2")));
  CHECK(std::isfinite(metric_value(regression_metrics(varied, constant, 0), "r2")));
  SECTION("what differs by rounding only is constant too") {
    const Values almost = {0.3, 0.1 + 0.2, 0.3, 0.1 + 0.2};
    REQUIRE(almost[0] != almost[1]);
    CHECK(get(regression_metrics(varied, almost, 0), "pearson").flag == "constant_pred");
  }
  SECTION("fewer than three rows have no correlation") {
    const auto two = regression_metrics(Values{1, 2}, Values{1, 2}, 0);
    CHECK(get(two, "pearson").flag == "too_few_rows");
    CHECK(std::isnan(get(two, "pearson").value));
    CHECK(get(two, "r2").value == 1);
    CHECK(std::isnan(metric_value(regression_metrics(Values{1}, Values{2}, 0), "r2")));
  }
}

TEST_CASE("A huge mean costs no digits") {
  const Rows rows = random_regression(1000, 4);
  Rows shifted = rows;
  for (double& v : shifted.truth) v += 1e6;
  for (double& v : shifted.prediction) v += 1e6;
  const auto a = regression_metrics(rows.truth, rows.prediction, 0);
  const auto b = regression_metrics(shifted.truth, shifted.prediction, 1e6);
  for (const MetricValue& m : a) {
    INFO(m.name);
    CHECK_THAT(metric_value(b, m.name), WithinAbs(m.value, 1e-8));  // the shift itself rounds at 1e-10
  }
}

TEST_CASE("Correlations do not change under increasing linear maps and change sign under decreasing ones") {
  const Rows rows = random_regression(400, 6);
  Values mapped(rows.prediction);
  Values mirrored(rows.prediction);
  for (double& v : mapped) v = 3 * v - 7;
  for (double& v : mirrored) v = -v;
  CHECK_THAT(pearson(rows.truth, mapped), WithinAbs(pearson(rows.truth, rows.prediction), 1e-14));
  CHECK_THAT(spearman(rows.truth, mapped), WithinAbs(spearman(rows.truth, rows.prediction), 1e-15));
  CHECK_THAT(pearson(rows.truth, mirrored), WithinAbs(-pearson(rows.truth, rows.prediction), 1e-15));
  CHECK_THAT(kendall_tau_b(rows.truth, mirrored), WithinAbs(-kendall_tau_b(rows.truth, rows.prediction), 1e-15));
  CHECK(pearson(rows.truth, rows.truth) == 1.0);
}

TEST_CASE("Kendall's tau-b equals its definition over all pairs, with ties") {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    Rows rows = random_regression(150, seed);
    for (double& v : rows.truth) v = std::round(2 * v);
    for (double& v : rows.prediction) v = std::round(3 * v);
    CHECK_THAT(kendall_tau_b(rows.truth, rows.prediction), WithinAbs(tau_by_pairs(rows), 1e-13));
  }
}

TEST_CASE("Order keys sort as the doubles do") {
  Values values = {0.0, -0.0, 1e-310, -1e-310, 1.5, -1.5, kInf, -kInf, 1e300, -1e300};
  const Rows rows = random_regression(6000, 9);
  values.insert(values.end(), rows.truth.begin(), rows.truth.end());
  std::vector<std::uint64_t> keys;
  for (const double v : values) {
    keys.push_back(order_key(v));
    CHECK(from_order_key(order_key(v)) == v);
  }
  CHECK(order_key(0.0) == order_key(-0.0));
  sort_keys(keys);
  std::sort(values.begin(), values.end());
  bool same = true;
  for (std::size_t i = 0; i < keys.size(); ++i) same = same && from_order_key(keys[i]) == values[i];
  CHECK(same);
}

TEST_CASE("The direction of a metric is known under every name that the results use") {
  for (const char* name : {"rmse", "mse", "mae", "brier", "log_loss", "rmse_median"})
    CHECK_FALSE(higher_is_better(name));
  for (const char* name :
       {"auroc", "r2", "r2_train", "pearson_res", "rmse_skill", "rmse_better", "accuracy@0.5", "mcc"}) {
    CHECK(higher_is_better(name));
  }
}
