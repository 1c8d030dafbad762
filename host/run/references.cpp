// SPDX-License-Identifier: Apache-2.0
#include "run/references.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/hash.hpp"
#include "base/random.hpp"
#include "split/groups.hpp"

namespace cdrzoo {
namespace {

using Rows = std::vector<std::int32_t>;

constexpr int kReferencesOfConditions = 8;  ///< where a condition is one profile, noise wants several of them averaged
constexpr int kReferencesOfCells = 1;       ///< where it is many cells, each has its own reference

std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

/// What one perturbation did, alone, as far as the row's own context goes.
struct Candidates {
  Rows rows;
  bool in_context = false;
};

class Chooser {
 public:
  Chooser(const Dataset& dataset, const SplitSpec& spec, const Fold& fold)
      : profiles_(*dataset.perturbations),
        seed_(derive_seed(spec.seed,
                          "references/repeat/" + std::to_string(fold.repeat) + "/fold/" + std::to_string(fold.fold))),
        most_(static_cast<std::size_t>(references_per_row(dataset, spec))),
        members_(group_members(dataset)),
        conditions_(group_profiles(dataset, "condition")) {
    // Of a row the name is its condition, and its number among the rows of that; cells have no names of their own.
    std::vector<std::int32_t> rows_of(conditions_.name.size(), 0);
    rank_.reserve(conditions_.of_row.size());
    for (const auto condition : conditions_.of_row) rank_.push_back(rows_of[at(condition)]++);

    singles_.resize(members_.name.size());
    for (const auto* part : {&fold.train, &fold.references}) {
      for (const auto row : *part) {
        const auto [a, b] = members_.of_row[at(row)];
        if (b < 0) singles_[at(a)].push_back(row);
      }
    }
    const auto name_of = [&](std::int32_t row) -> const std::string& {
      return conditions_.name[at(conditions_.of_row[at(row)])];
    };
    for (auto& rows : singles_) {
      std::sort(rows.begin(), rows.end(), [&](auto x, auto y) {
        const int names = name_of(x).compare(name_of(y));
        return names != 0 ? names < 0 : rank_[at(x)] < rank_[at(y)];
      });
    }
  }

  [[nodiscard]] RowReferences of(std::int32_t row) {
    const auto [a, b] = members_.of_row[at(row)];
    if (b < 0) {
      const auto first = drawn(row, a, "a", false);
      RowReferences chosen;
      for (const auto reference : first.rows) chosen.push_back(make(reference, -1, first.in_context));
      return chosen;
    }
    const auto first = drawn(row, a, "a", true);
    const auto second = drawn(row, b, "b", true);
    RowReferences chosen(std::max(first.rows.size(), second.rows.size()));
    for (std::size_t i = 0; i < chosen.size(); ++i) {  // the shorter list starts again
      chosen[i] = make(first.rows[i % first.rows.size()], second.rows[i % second.rows.size()],
                       first.in_context || second.in_context);
    }
    return chosen;
  }

 private:
  [[nodiscard]] Reference make(std::int32_t row_a, std::int32_t row_b, bool in_context) const {
    const auto control = [&](std::int32_t row) { return row < 0 ? -1 : profiles_.control[at(row)]; };
    return {row_a, control(row_a), row_b, control(row_b), in_context};
  }

  /// At most most_ of the candidates, in their order; {-1} if there is none.
  Candidates drawn(std::int32_t row, std::int32_t member, const char* which, bool own_context_first) {
    const auto condition = conditions_.of_row[at(row)];
    const auto [place, added] = of_condition_.try_emplace({condition, member});
    if (added) place->second = candidates(row, member, own_context_first);
    const auto& all = place->second;
    if (all.rows.size() <= most_) return all;
    const auto name =
        conditions_.name[at(condition)] + kPairSeparator + std::to_string(rank_[at(row)]) + kPairSeparator + which;
    Candidates few{{}, all.in_context};
    for (const auto i : random_sample(all.rows.size(), most_, derive_seed(seed_, name)))
      few.rows.push_back(all.rows[i]);
    return few;
  }

  [[nodiscard]] Candidates candidates(std::int32_t row, std::int32_t member, bool own_context_first) const {
    const auto context = profiles_.context[at(row)];
    const auto group_of = [&](std::int32_t c) -> const std::string& { return profiles_.context_group[at(c)]; };
    Rows here, kin, elsewhere;  // kin: other contexts of the same group, two biopsies of a patient
    for (const auto single : singles_[at(member)]) {
      const auto other = profiles_.context[at(single)];
      (other == context ? here : group_of(other) == group_of(context) ? kin : elsewhere).push_back(single);
    }
    const auto order = own_context_first ? std::array{&here, &kin, &elsewhere} : std::array{&elsewhere, &kin, &here};
    const auto first = std::find_if(order.begin(), order.end(), [](const Rows* rows) { return !rows->empty(); });
    if (first == order.end()) return {{-1}, false};
    return {of_same_dose(row, **first), *first != &elsewhere};
  }

  /// Those with the dose and time of \p row; all of them if there are none.
  [[nodiscard]] Rows of_same_dose(std::int32_t row, const Rows& rows) const {
    const auto equal = [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); };
    Rows same;
    std::copy_if(rows.begin(), rows.end(), std::back_inserter(same), [&](auto r) {
      return equal(profiles_.dose_log10_molar[at(r)], profiles_.dose_log10_molar[at(row)]) &&
             equal(profiles_.time_h[at(r)], profiles_.time_h[at(row)]);
    });
    return same.empty() ? rows : same;
  }

  const Dataset::Perturbations& profiles_;
  std::uint64_t seed_;
  std::size_t most_;
  Members members_;
  Grouping conditions_;
  std::vector<std::int32_t> rank_;  ///< of each row, among the rows of its condition
  std::vector<Rows> singles_;       ///< by drug group: rows that may serve, by the names of their conditions
  std::map<std::pair<std::int32_t, std::int32_t>, Candidates> of_condition_;  ///< by condition and drug group
};

}  // namespace

int references_per_row(const Dataset& dataset, const SplitSpec& spec) {
  if (spec.references > 0) return spec.references;
  const auto& profiles = *dataset.perturbations;
  return profiles.size() == profiles.conditions ? kReferencesOfConditions : kReferencesOfCells;
}

std::vector<RowReferences> choose_references(const Dataset& dataset, const SplitSpec& spec, const Fold& fold,
                                             const Rows& rows) {
  if (!dataset.perturbations) throw std::logic_error("choose_references: no perturbation profiles");
  Chooser chooser(dataset, spec, fold);
  std::vector<RowReferences> references;
  references.reserve(rows.size());
  for (const auto row : rows) references.push_back(chooser.of(row));
  return references;
}

}  // namespace cdrzoo
