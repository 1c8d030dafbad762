// SPDX-License-Identifier: Apache-2.0
#include "metrics/aggregate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>

#include "metrics/summation.hpp"

namespace cdrzoo {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double median_of(std::vector<double> x) {
  if (x.empty()) return kNan;
  std::sort(x.begin(), x.end());
  const std::size_t half = x.size() / 2;
  return x.size() % 2 == 1 ? x[half] : 0.5 * (x[half - 1] + x[half]);
}

const MetricValue* find(const GroupScore& group, const std::string& name) {
  const auto it =
      std::find_if(group.metrics.begin(), group.metrics.end(), [&](const auto& m) { return m.name == name; });
  return it == group.metrics.end() ? nullptr : &*it;
}

bool usable(const GroupScore& group, const MetricValue* m) {
  return group.large_enough && m != nullptr && std::isfinite(m->value);
}

}  // namespace

std::vector<GroupScore> score_groups(Task task, ArrayView<double> truth, ArrayView<double> prediction,
                                     ArrayView<std::int32_t> group, std::int32_t n_groups,
                                     const BinaryOptions& options) {
  if (truth.size() != prediction.size() || truth.size() != group.size()) {
    throw std::logic_error("score_groups needs one truth, prediction and group code per row");
  }
  std::vector<std::vector<double>> truth_of(static_cast<std::size_t>(n_groups));
  std::vector<std::vector<double>> prediction_of(static_cast<std::size_t>(n_groups));
  for (std::size_t i = 0; i < group.size(); ++i) {
    if (group[i] < 0) continue;
    if (group[i] >= n_groups) throw std::logic_error("score_groups met a group code beyond the number of groups");
    truth_of[static_cast<std::size_t>(group[i])].push_back(truth[i]);
    prediction_of[static_cast<std::size_t>(group[i])].push_back(prediction[i]);
  }
  std::vector<GroupScore> scores(truth_of.size());
  for (std::size_t g = 0; g < scores.size(); ++g) {
    GroupScore& score = scores[g];
    score.n = static_cast<std::int64_t>(truth_of[g].size());
    if (score.n == 0) continue;
    score.large_enough = score.n >= kMinGroupRows;
    if (task == Task::binary) {
      const auto positives = static_cast<std::int64_t>(std::count(truth_of[g].begin(), truth_of[g].end(), 1.0));
      score.large_enough =
          score.large_enough && positives >= kMinGroupPositives && score.n - positives >= kMinGroupPositives;
      score.metrics = binary_metrics(truth_of[g], prediction_of[g], options);
    } else {
      score.metrics = regression_metrics(truth_of[g], prediction_of[g], kNan);
    }
  }
  return scores;
}

std::vector<MacroMean> macro_means(const std::vector<GroupScore>& groups, const std::vector<GroupScore>& baseline) {
  if (!baseline.empty() && baseline.size() != groups.size()) {
    throw std::logic_error("macro_means needs the baseline's scores of the same groups");
  }
  // Every group has the same metrics in the same order; take the names from the first that has rows.
  const auto named = std::find_if(groups.begin(), groups.end(), [](const auto& g) { return !g.metrics.empty(); });
  std::vector<MacroMean> means;
  if (named == groups.end()) return means;
  for (const MetricValue& metric : named->metrics) {
    MacroMean macro;
    macro.metric = metric.name;
    macro.total = static_cast<std::int64_t>(groups.size());
    std::vector<double> values;
    std::map<std::string, int> flags;
    std::int64_t better = 0;
    const bool higher = higher_is_better(metric.name);
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const MetricValue* own = find(groups[g], metric.name);
      if (!usable(groups[g], own)) continue;
      values.push_back(own->value);
      macro.n += groups[g].n;
      for (std::size_t begin = 0; begin < own->flag.size();) {  // joined by ";"
        const std::size_t end = std::min(own->flag.find(';', begin), own->flag.size());
        ++flags[own->flag.substr(begin, end - begin)];
        begin = end + 1;
      }
      if (baseline.empty()) continue;
      const MetricValue* base = find(baseline[g], metric.name);
      if (!usable(baseline[g], base)) continue;
      ++macro.compared;
      better += (higher ? own->value > base->value : own->value < base->value) ? 1 : 0;
    }
    macro.valid = static_cast<std::int64_t>(values.size());
    macro.mean = values.empty() ? kNan : mean_of(values);
    macro.median = median_of(values);
    macro.better = macro.compared > 0 ? static_cast<double>(better) / static_cast<double>(macro.compared) : kNan;
    for (const auto& [flag, count] : flags) {
      macro.flags += (macro.flags.empty() ? "" : ";") + flag + ":" + std::to_string(count);
    }
    means.push_back(macro);
  }
  return means;
}

std::vector<MetricValue> residual_metrics(ArrayView<double> truth, ArrayView<double> prediction,
                                          ArrayView<double> baseline) {
  if (truth.size() != prediction.size() || truth.size() != baseline.size()) {
    throw std::logic_error("residual_metrics needs one truth, prediction and baseline prediction per row");
  }
  std::vector<double> left(truth.size());
  std::vector<double> explained(truth.size());
  for (std::size_t i = 0; i < truth.size(); ++i) {
    left[i] = truth[i] - baseline[i];
    explained[i] = prediction[i] - baseline[i];
  }
  std::vector<MetricValue> result;
  for (MetricValue& m : regression_metrics(left, explained, kNan)) {
    if (m.name != "r2" && m.name != "pearson" && m.name != "spearman") continue;
    m.name += "_res";
    result.push_back(m);
  }
  return result;
}

double rmse_skill(double rmse, double rmse_base) { return rmse_base > 0 ? 1 - rmse / rmse_base : kNan; }

double auprc_skill(double auprc, double auprc_base) {
  return auprc_base < 1 ? (auprc - auprc_base) / (1 - auprc_base) : kNan;
}

}  // namespace cdrzoo
