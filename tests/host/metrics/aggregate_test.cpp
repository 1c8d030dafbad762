// SPDX-License-Identifier: Apache-2.0
#include "metrics/aggregate.hpp"

#include <cmath>

#include "support/catch.hpp"

using namespace cdrzoo;
using cdrzoo::test::WithinAbs;

namespace {

using Values = std::vector<double>;

const MacroMean& get(const std::vector<MacroMean>& means, const std::string& metric) {
  for (const MacroMean& m : means) {
    if (m.metric == metric) return m;
  }
  throw std::runtime_error("no macro mean of " + metric);
}

/// Three groups of 10 rows and one of 9. In group 0 the prediction is the truth, in 1 its mirror, in 2 constant.
struct Grouped {
  Values truth, prediction, baseline;
  std::vector<std::int32_t> group;
};

Grouped grouped_rows() {
  Grouped rows;
  for (std::int32_t g = 0; g < 4; ++g) {
    for (int i = 0; i < (g < 3 ? 10 : 9); ++i) {
      rows.truth.push_back(10 * g + i);
      rows.prediction.push_back(g == 0 ? 10 * g + i : g == 1 ? 10 * g + 9 - i : 10 * g + 4.5);
      rows.baseline.push_back(10 * g + 4.5);
      rows.group.push_back(g);
    }
  }
  return rows;
}

}  // namespace

TEST_CASE("A macro mean is the mean over the groups that are large enough") {
  const Grouped rows = grouped_rows();
  const auto own = score_groups(Task::regression, rows.truth, rows.prediction, rows.group, 5, {});
  const auto base = score_groups(Task::regression, rows.truth, rows.baseline, rows.group, 5, {});
  REQUIRE(own.size() == 5);
  CHECK(own[3].n == 9);
  CHECK_FALSE(own[3].large_enough);
  CHECK(own[4].n == 0);  // a group whose rows were not predicted still counts in the total
  const auto means = macro_means(own, base);
  const MacroMean& r = get(means, "pearson");
  CHECK_THAT(r.mean, WithinAbs(0.0, 1e-15));  // (1 - 1 + 0) / 3
  CHECK_THAT(r.median, WithinAbs(0.0, 1e-15));
  CHECK(r.valid == 3);
  CHECK(r.total == 5);
  CHECK(r.n == 30);
  CHECK(r.flags == "constant_pred:1");
  CHECK(r.compared == 3);
  CHECK_THAT(r.better, WithinAbs(1.0 / 3, 1e-15));  // only group 0 beats a correlation of 0
  const MacroMean& e = get(means, "rmse");
  // Group 0: 0. Group 1: errors 9 - 2i, mean square (81+49+25+9+1)/5 = 33. Group 2: variance of 0..9 = 8.25.
  CHECK_THAT(e.mean, WithinAbs((std::sqrt(33.0) + std::sqrt(8.25)) / 3, 1e-14));
  CHECK_THAT(e.better, WithinAbs(1.0 / 3, 1e-15));
  CHECK(std::isnan(get(macro_means(own, {}), "pearson").better));
}

TEST_CASE("Rows in no group are left out, and the same rows give the same scores as on their own") {
  Grouped rows = grouped_rows();
  for (std::size_t i = 0; i < 10; ++i) rows.group[i] = -1;
  const auto scores = score_groups(Task::regression, rows.truth, rows.prediction, rows.group, 4, {});
  CHECK(scores[0].n == 0);
  CHECK_THAT(metric_value(scores[1].metrics, "pearson"), WithinAbs(-1.0, 1e-15));
  CHECK(macro_means(std::vector<GroupScore>(3), {}).empty());
}

TEST_CASE("A binary group needs two rows of each class") {
  Values label;
  Values score;
  std::vector<std::int32_t> group;
  for (std::int32_t g = 0; g < 3; ++g) {
    for (int i = 0; i < 10; ++i) {
      label.push_back(i <= g ? 1 : 0);  // 1, 2 and 3 positives
      score.push_back(-i);
      group.push_back(g);
    }
  }
  BinaryOptions options;
  options.threshold = -1.5;  // rows 0 and 1 of every group are predicted positive
  const auto means = macro_means(score_groups(Task::binary, label, score, group, 3, options), {});
  CHECK(get(means, "auroc").valid == 2);
  CHECK(get(means, "auroc").total == 3);
  CHECK(get(means, "auroc").mean == 1);
  CHECK_THAT(get(means, "accuracy").mean, WithinAbs((1.0 + 0.9) / 2, 1e-15));
  CHECK_THAT(get(means, "prevalence").mean, WithinAbs(0.25, 1e-15));
}

TEST_CASE("Residual metrics judge what the model adds to the baseline") {
  const Values baseline = {10, 10, 20, 20};
  const Values truth = {11, 9, 22, 18};
  SECTION("the baseline itself adds nothing") {
    for (const MetricValue& m : residual_metrics(truth, baseline, baseline)) {
      INFO(m.name);
      CHECK_THAT(m.value, WithinAbs(0.0, 1e-15));
      CHECK(m.flag == (m.name == "r2_res" ? "" : "constant_pred"));
    }
  }
  SECTION("the right direction with half the size") {
    const auto m = residual_metrics(truth, Values{10.5, 9.5, 21, 19}, baseline);
    CHECK_THAT(metric_value(m, "pearson_res"), WithinAbs(1.0, 1e-15));
    CHECK_THAT(metric_value(m, "r2_res"), WithinAbs(0.75, 1e-15));
    CHECK(m.size() == 3);
  }
}

TEST_CASE("Skill is relative to the baseline and may be negative") {
  CHECK_THAT(rmse_skill(0.5, 2), WithinAbs(0.75, 1e-15));
  CHECK_THAT(rmse_skill(3, 2), WithinAbs(-0.5, 1e-15));
  CHECK(std::isnan(rmse_skill(1, 0)));
  CHECK_THAT(auprc_skill(0.8, 0.6), WithinAbs(0.5, 1e-15));
  CHECK(std::isnan(auprc_skill(1, 1)));
}
