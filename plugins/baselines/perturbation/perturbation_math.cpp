// SPDX-License-Identifier: Apache-2.0
#include "perturbation_math.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

namespace cdrzoo::perturbation {

namespace {

std::size_t at_index(int i) { return static_cast<std::size_t>(i); }

bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

/// Equal for equal values: one zero and one NaN.
std::int64_t bits_of(float value) {
  const float canonical = std::isnan(value) ? std::numeric_limits<float>::quiet_NaN() : value + 0.0F;
  std::uint32_t bits = 0;
  std::memcpy(&bits, &canonical, sizeof bits);
  return static_cast<std::int64_t>(bits);
}

void add_to(std::vector<double>& sum, const std::vector<double>& x) {
  for (std::size_t j = 0; j < sum.size(); ++j) sum[j] += x[j];
}

/// Keeps the elements that satisfy \p wanted, or all where none does.
template <typename Wanted>
void prefer(std::vector<int>& list, const Wanted& wanted) {
  std::vector<int> kept;
  std::copy_if(list.begin(), list.end(), std::back_inserter(kept), wanted);
  if (!kept.empty()) list = std::move(kept);
}

}  // namespace

Perturbation combine(int a, int b) {
  if (b == kNone) return {a, kNone};
  return {std::min(a, b), std::max(a, b)};
}

bool same_treatment(const Place& a, const Place& b) { return same(a.dose, b.dose) && same(a.time, b.time); }

int ConditionIndex::find_or_add(const Condition& condition) {
  const Key key = {condition.what[0], condition.what[1], condition.at.context, bits_of(condition.at.dose),
                   bits_of(condition.at.time)};
  const auto [found, is_new] = number_.emplace(key, static_cast<int>(conditions_.size()));
  if (is_new) conditions_.push_back(condition);
  return found->second;
}

void GroupMeans::add(int group, const float* x, const float* minus, const std::uint8_t* observed) {
  ++rows_[at_index(group)];
  double* sum = sum_.row(group);
  if (observed == nullptr) {
    if (minus == nullptr) {
      for (int j = 0; j < sum_.cols; ++j) sum[j] += static_cast<double>(x[j]);
    } else {
      for (int j = 0; j < sum_.cols; ++j) sum[j] += static_cast<double>(x[j]) - static_cast<double>(minus[j]);
    }
    return;
  }
  if (missing_.rows == 0) missing_ = Matrix(sum_.rows, sum_.cols);
  for (int j = 0; j < sum_.cols; ++j) {
    if (observed[j] == 0) {
      missing_.at(group, j) += 1;
    } else {
      sum[j] += static_cast<double>(x[j]) - (minus == nullptr ? 0.0 : static_cast<double>(minus[j]));
    }
  }
}

Matrix GroupMeans::take(double none) {
  for (int i = 0; i < sum_.rows; ++i) {
    for (int j = 0; j < sum_.cols; ++j) {
      const double n = static_cast<double>(rows_[at_index(i)]) - (missing_.rows == 0 ? 0.0 : missing_.at(i, j));
      sum_.at(i, j) = n > 0 ? sum_.at(i, j) / n : none;
    }
  }
  return std::move(sum_);
}

std::vector<double> mean_of(const Matrix& m, const std::vector<int>& rows) {
  if (rows.empty()) throw std::logic_error("mean_of: no rows");
  std::vector<double> mean(at_index(m.cols), 0.0);
  std::vector<double> count(mean.size(), 0.0);
  for (const int i : rows) {
    for (int j = 0; j < m.cols; ++j) {
      if (std::isnan(m.at(i, j))) continue;
      mean[at_index(j)] += m.at(i, j);
      count[at_index(j)] += 1;
    }
  }
  for (std::size_t j = 0; j < mean.size(); ++j) mean[j] /= count[j];
  return mean;
}

Effects::Effects(std::vector<Condition> conditions, Matrix change)
    : conditions_(std::move(conditions)), change_(std::move(change)) {
  if (conditions_.empty() || change_.rows != static_cast<int>(conditions_.size())) {
    throw std::logic_error("Effects: one change per condition, and at least one condition");
  }
  std::vector<int> singles;
  std::vector<int> combinations;
  for (int i = 0; i < change_.rows; ++i) {
    const Perturbation& what = conditions_[at_index(i)].what;
    of_[what].push_back(i);
    (is_combination(what) ? combinations : singles).push_back(i);
  }
  average_ = mean(singles.empty() ? combinations : singles);
  if (singles.empty()) {
    for (double& x : average_) x /= 2;
  }
}

std::vector<int> Effects::choose(const Perturbation& what, const Place& at, Contexts contexts, int except) const {
  const auto found = of_.find(what);
  if (found == of_.end()) return {};
  std::vector<int> chosen = found->second;
  if (except != kNone) chosen.erase(std::remove(chosen.begin(), chosen.end(), except), chosen.end());
  const auto is_same = [&](int i) { return conditions_[at_index(i)].at.context == at.context; };
  if (contexts == Contexts::kSameFirst) prefer(chosen, is_same);
  if (contexts == Contexts::kOthersFirst) prefer(chosen, [&](int i) { return !is_same(i); });
  prefer(chosen, [&](int i) { return same_treatment(conditions_[at_index(i)].at, at); });
  return chosen;
}

std::vector<double> member_shift(const Effects& effects, const Member& member, const Place& at, Contexts contexts) {
  const auto chosen = effects.choose(combine(member.id, kNone), at, contexts);
  if (!chosen.empty()) return effects.mean(chosen);
  if (member.measured != nullptr) return {member.measured, member.measured + effects.width()};
  return effects.average();
}

std::vector<double> mean_shift(const Effects& effects, const Query& query) {
  if (!is_combination(query.what())) return member_shift(effects, query.a, query.at, Contexts::kAll);
  const auto chosen = effects.choose(query.what(), query.at, Contexts::kAll);
  if (!chosen.empty()) return effects.mean(chosen);
  auto mean = member_shift(effects, query.a, query.at, Contexts::kAll);
  add_to(mean, member_shift(effects, query.b, query.at, Contexts::kAll));
  for (double& x : mean) x /= 2;
  return mean;
}

std::vector<double> additive_shift(const Effects& effects, const Query& query) {
  if (!is_combination(query.what())) return mean_shift(effects, query);
  auto sum = member_shift(effects, query.a, query.at, Contexts::kSameFirst);
  add_to(sum, member_shift(effects, query.b, query.at, Contexts::kSameFirst));
  return sum;
}

namespace {

/// Of some training conditions those in the context whose control is nearest.
void keep_nearest(const Effects& effects, const Controls& controls, const float* control, std::vector<int>& chosen) {
  std::map<std::int32_t, double> distance;  // by code, so that the lower one wins among equals
  for (const int i : chosen) distance.emplace(effects.conditions()[at_index(i)].at.context, 0.0);
  for (auto& [context, squares] : distance) {
    const auto row = std::find(controls.context.begin(), controls.context.end(), context) - controls.context.begin();
    const double* mean = controls.mean.row(static_cast<int>(row));
    for (int j = 0; j < controls.mean.cols; ++j) {
      const double d = static_cast<double>(control[j]) - mean[j];
      squares += d * d;
    }
  }
  const auto nearest = std::min_element(distance.begin(), distance.end(),
                                        [](const auto& a, const auto& b) { return a.second < b.second; });
  prefer(chosen, [&](int i) { return effects.conditions()[at_index(i)].at.context == nearest->first; });
}

}  // namespace

std::vector<double> nearest_shift(const Effects& effects, const Controls& controls, const Query& query,
                                  const float* control) {
  const auto nearest = [&](const Perturbation& what) {
    auto chosen = effects.choose(what, query.at, Contexts::kAll);
    if (chosen.size() > 1) keep_nearest(effects, controls, control, chosen);
    return chosen;
  };
  const auto whole = nearest(query.what());
  if (!whole.empty()) return effects.mean(whole);
  const auto of_member = [&](const Member& member) {
    const auto chosen = nearest(combine(member.id, kNone));
    return chosen.empty() ? member_shift(effects, member, query.at, Contexts::kAll) : effects.mean(chosen);
  };
  auto sum = of_member(query.a);
  if (is_combination(query.what())) add_to(sum, of_member(query.b));
  return sum;
}

}  // namespace cdrzoo::perturbation
