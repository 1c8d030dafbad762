// SPDX-License-Identifier: Apache-2.0
// What perturbations do to expression, by means over training conditions: the mathematics, free of the ABI. README.md
// has the equations.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "../ridge/ridge_math.hpp"

namespace cdrzoo::perturbation {

using ridge::Matrix;

constexpr int kNone = -1;    ///< there is no second perturbation
constexpr int kUnseen = -2;  ///< a perturbation that training did not hold

/// What was applied, as numbers of a vocabulary: {p, kNone}, or a combination in ascending order.
using Perturbation = std::array<int, 2>;
[[nodiscard]] Perturbation combine(int a, int b);
[[nodiscard]] inline bool is_combination(const Perturbation& what) { return what[1] != kNone; }

/// Where and how it was applied. Dose in log10 of molar, time in hours; NaN = not known, and equal to itself.
struct Place {
  std::int32_t context = 0;
  float dose = 0;
  float time = 0;
};
[[nodiscard]] bool same_treatment(const Place& a, const Place& b);  ///< dose and time

struct Condition {
  Perturbation what{kNone, kNone};
  Place at;
};

/// Numbers conditions in the order in which they are met.
class ConditionIndex {
 public:
  [[nodiscard]] int find_or_add(const Condition& condition);
  [[nodiscard]] const std::vector<Condition>& conditions() const { return conditions_; }

 private:
  using Key = std::array<std::int64_t, 5>;  // both perturbations, context, and the bits of dose and time
  std::map<Key, int> number_;
  std::vector<Condition> conditions_;
};

/// Means of many rows in a few groups, one row after the other: memory is one sum per group and column.
class GroupMeans {
 public:
  GroupMeans(int groups, int width) : sum_(groups, width), rows_(static_cast<std::size_t>(groups), 0) {}
  /// Adds x - minus, or x where \p minus is null. \p observed [width]: 0 where a value is missing; null = none is.
  void add(int group, const float* x, const float* minus = nullptr, const std::uint8_t* observed = nullptr);
  /// [groups, width]; \p none for a column of which a group has no value.
  [[nodiscard]] Matrix take(double none = 0.0);

 private:
  Matrix sum_;
  Matrix missing_;  // counts per group and column; empty while there are none
  std::vector<std::int64_t> rows_;
};

/// The mean of some rows of m, NaN left out; NaN where there is nothing else. At least one row.
[[nodiscard]] std::vector<double> mean_of(const Matrix& m, const std::vector<int>& rows);

/// Which contexts count when there is a choice.
enum class Contexts { kAll, kSameFirst, kOthersFirst };

/// The mean changes (treated minus control) of the training conditions.
class Effects {
 public:
  Effects() = default;
  /// \param change [conditions, width]; at least one condition.
  Effects(std::vector<Condition> conditions, Matrix change);

  [[nodiscard]] const std::vector<Condition>& conditions() const { return conditions_; }
  [[nodiscard]] const Matrix& change() const { return change_; }
  [[nodiscard]] int width() const { return change_.cols; }

  /// The conditions of \p what that tell most about \p at: those of the preferred contexts, where there are any; of
  /// these the ones of the same dose and time, where there are any. Empty where training did not hold \p what.
  /// \param except a condition that must not count, kNone = all do
  [[nodiscard]] std::vector<int> choose(const Perturbation& what, const Place& at, Contexts contexts,
                                        int except = kNone) const;
  [[nodiscard]] std::vector<double> mean(const std::vector<int>& chosen) const { return mean_of(change_, chosen); }
  /// The mean change by one perturbation: over all conditions of single ones; if there is none, half the mean over
  /// those of combinations.
  [[nodiscard]] const std::vector<double>& average() const { return average_; }

 private:
  std::vector<Condition> conditions_;
  Matrix change_;
  std::map<Perturbation, std::vector<int>> of_;  // in ascending order
  std::vector<double> average_;
};

/// One perturbation of a query, and its change as measured elsewhere.
struct Member {
  int id = kNone;                    ///< kUnseen, or its number in the vocabulary; kNone: there is no such member
  const double* measured = nullptr;  ///< reference minus the reference's control [width]; null = there is none
};

/// One profile to predict.
struct Query {
  Member a, b;
  Place at;
  [[nodiscard]] Perturbation what() const { return combine(a.id, b.id); }
};

/// The change that one perturbation makes: from training, else from its reference, else the average.
[[nodiscard]] std::vector<double> member_shift(const Effects& effects, const Member& member, const Place& at,
                                               Contexts contexts);

/// The change that the query's perturbation made in training. For a combination that training did not hold: the mean
/// of the changes by its two members ("matching mean").
[[nodiscard]] std::vector<double> mean_shift(const Effects& effects, const Query& query);

/// A single perturbation: as mean_shift. A combination: the sum of the changes by its members, each from training in
/// the same context where it was measured there, else in all contexts.
[[nodiscard]] std::vector<double> additive_shift(const Effects& effects, const Query& query);

/// Mean controls of the training contexts.
struct Controls {
  std::vector<std::int32_t> context;  ///< codes, unique
  Matrix mean;                        ///< [contexts, genes]
};

/// The change that the query's perturbation made in the training context whose control is nearest to \p control
/// (Euclidean; of equals the one with the lower code). A combination that training did not hold: the sum over its
/// members, each from its own nearest context.
[[nodiscard]] std::vector<double> nearest_shift(const Effects& effects, const Controls& controls, const Query& query,
                                                const float* control);

}  // namespace cdrzoo::perturbation
