// SPDX-License-Identifier: Apache-2.0
// Splits of perturbation profiles. share/doc/splits.md gives the algorithm; share/tools/check_split.py repeats it.
#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>

#include "base/error.hpp"
#include "split/assign.hpp"
#include "split/parts.hpp"

namespace cdrzoo {
namespace {

using Rows = std::vector<std::int32_t>;

/// Groups of a pool from which validation is taken, and then early stopping too; below, nobody could spare one.
constexpr std::int64_t kGroupsForValidation = 3;
constexpr std::int64_t kGroupsForEarlyStop = 4;

std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

/// All drug groups as a grouping of single profiles; a double counts with its first.
Grouping by_first_member(const Members& members) {
  Grouping grouping;
  grouping.type = "perturbation";
  grouping.name = members.name;
  grouping.of_row.reserve(members.of_row.size());
  for (const auto& member : members.of_row) grouping.of_row.push_back(member[0]);
  return grouping;
}

/// Rows of \p rows with two perturbations, or with one.
Rows rows_with(const Members& members, const Rows& rows, bool two) {
  Rows kept;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(kept),
               [&](auto row) { return (members.of_row[at(row)][1] >= 0) == two; });
  return kept;
}

/// Marks the drug groups that the rows apply alone.
std::vector<char> applied_alone(const Members& members, const Rows& rows) {
  std::vector<char> seen(members.name.size(), 0);
  for (const auto row : rows_with(members, rows, false)) seen[at(members.of_row[at(row)][0])] = 1;
  return seen;
}

class Maker {
 public:
  Maker(const Dataset& dataset, const SplitSpec& spec, Rows rows)
      : dataset_(dataset),
        spec_(spec),
        rows_(std::move(rows)),
        members_(group_members(dataset)),
        conditions_(group_profiles(dataset, "condition")),
        perturbations_(group_profiles(dataset, "perturbation")) {
    std::sort(spec_.contexts.begin(), spec_.contexts.end());
    std::vector<char> known(conditions_.name.size(), 0);
    for (const auto row : rows_) {
      auto& mark = known[at(conditions_.of_row[at(row)])];
      if (mark == 0) heads_.push_back(row);
      mark = 1;
    }
  }

  Split make() {
    split_.spec = spec_;
    split_.of_perturbations = true;
    split_.data_hash = profiles_hash(dataset_);
    if (rows_.empty()) {
      throw DataError("there is no perturbation profile to split" +
                      (spec_.source.empty() ? "" : " in domain " + spec_.source));
    }
    if (spec_.kind == "unseen_context") one_axis("context", "UNSEEN_CONTEXT");
    if (spec_.kind == "unseen_pair") one_axis("context x perturbation", "UNSEEN_PAIR");
    if (spec_.kind == "unseen_perturbation") unseen_perturbation();
    if (spec_.kind == "unseen_combination") {
      if (spec_.singles_seen == 0 || spec_.singles_seen == 1) {
        combination_of_unseen();
      } else {
        combination_of_seen();
      }
    }
    split_.hash = split_hash(split_);
    return std::move(split_);
  }

 private:
  void one_axis(const std::string& type, const std::string& mode) {
    split_.group_type = type;
    const auto grouping = group_profiles(dataset_, type);
    need_groups(count_groups(grouping, heads_), type == "context" ? "context" : "pair of context and perturbation");
    for (int repeat = 0; repeat < spec_.repeats; ++repeat) {
      const auto outer = assign_groups(grouping, heads_, spec_.folds, spec_.seed, repeat, mode);
      for (int fold = 0; fold < spec_.folds; ++fold) {
        const auto pool = heads_where([&](auto row) { return outer[at(grouping.of_row[at(row)])] != fold; });
        const auto inner = inner_parts(grouping, pool, repeat, fold, mode);
        assemble(repeat, fold, grouping, [&](auto row) {
          const auto g = at(grouping.of_row[at(row)]);
          return outer[g] == fold ? Part::test : inner[g];
        });
      }
    }
  }

  void unseen_perturbation() {
    const std::string mode = "UNSEEN_PERTURBATION";
    split_.group_type = "perturbation";
    const auto grouping = by_first_member(members_);
    const auto testable = several_units();
    const auto singles = heads_where([&](auto row) {
      const auto [a, b] = members_.of_row[at(row)];
      return b < 0 && testable[at(a)] != 0;
    });
    need_groups(count_groups(grouping, singles), "perturbation applied alone in two conditions or more");
    for (int repeat = 0; repeat < spec_.repeats; ++repeat) {
      const auto outer = assign_groups(grouping, singles, spec_.folds, spec_.seed, repeat, mode);
      const auto roles = reference_or_test(repeat, mode + "/reference");
      for (int fold = 0; fold < spec_.folds; ++fold) {
        const auto held = [&](std::int32_t g) { return g >= 0 && outer[at(g)] == fold; };
        Rows pool;
        std::copy_if(singles.begin(), singles.end(), std::back_inserter(pool),
                     [&](auto row) { return !held(grouping.of_row[at(row)]); });
        const auto inner = inner_parts(grouping, pool, repeat, fold, mode);
        const auto is = [&](std::int32_t g, Part part) { return g >= 0 && inner[at(g)] == part; };
        std::int64_t lost = 0;
        auto& made = assemble(repeat, fold, perturbations_, [&](auto row) {
          const auto [a, b] = members_.of_row[at(row)];
          const auto role = roles[at(row)];
          if (held(a) || held(b)) return role;
          if (is(a, Part::validation) || is(b, Part::validation)) {
            lost += role == Part::none ? 1 : 0;
            return role == Part::test ? Part::validation : role;
          }
          return is(a, Part::early_stop) || is(b, Part::early_stop) ? Part::early_stop : Part::train;
        });
        made.n_discarded_inner = lost;
      }
    }
  }

  /// [members_] the rows that apply a group alone, by what is halved for references: its contexts or, where it has one,
  /// its doses and times. Names are those of the key.
  std::vector<std::map<std::string, Rows>> units() const {
    const auto& profiles = *dataset_.perturbations;
    const auto singles = rows_with(members_, rows_, false);
    const auto context = [&](std::int32_t row) -> const std::string& {
      return profiles.context_group[at(profiles.context[at(row)])];
    };
    std::vector<std::set<std::string>> contexts(members_.name.size());
    for (const auto row : singles) contexts[at(members_.of_row[at(row)][0])].insert(context(row));
    std::vector<std::map<std::string, Rows>> units(members_.name.size());
    for (const auto row : singles) {
      const auto g = at(members_.of_row[at(row)][0]);
      const auto unit = contexts[g].size() > 1 ? context(row)
                                               : profile_number(profiles.dose_log10_molar[at(row)]) + kPairSeparator +
                                                     profile_number(profiles.time_h[at(row)]);
      units[g][members_.name[g] + kPairSeparator + unit].push_back(row);
    }
    return units;
  }
  /// [members_] 1 if there is something left to test once a reference is given.
  std::vector<char> several_units() const {
    std::vector<char> several;
    for (const auto& of_group : units()) several.push_back(of_group.size() > 1 ? 1 : 0);
    return several;
  }
  /// What a row becomes when its perturbation is held out: the first half of the units by key are references (rounded
  /// up), the others are tested. None for doubles.
  std::vector<Part> reference_or_test(int repeat, const std::string& mode) const {
    std::vector<Part> roles(members_.of_row.size(), Part::none);
    for (const auto& of_group : units()) {
      std::vector<std::pair<Sha256::Digest, const Rows*>> order;
      for (const auto& [name, rows] : of_group) {
        order.emplace_back(assignment_key(spec_.seed, repeat, mode, name), &rows);
      }
      std::sort(order.begin(), order.end());
      for (std::size_t i = 0; i < order.size(); ++i) {
        for (const auto row : *order[i].second) roles[at(row)] = 2 * i < order.size() ? Part::reference : Part::test;
      }
    }
    return roles;
  }

  /// Doubles are held out by their pair of perturbations; all singles train.
  void combination_of_seen() {
    const std::string mode = "UNSEEN_COMBINATION";
    split_.group_type = "combination";
    const auto alone = applied_alone(members_, rows_);
    const bool both = spec_.singles_seen == 2;
    const auto may_be_tested = [&](std::int32_t row) {
      const auto [a, b] = members_.of_row[at(row)];
      return b >= 0 && (!both || (alone[at(a)] != 0 && alone[at(b)] != 0));
    };
    const auto pairs = heads_where(may_be_tested);
    need_groups(count_groups(perturbations_, pairs),
                both ? "double whose perturbations are both applied alone too" : "double");
    for (int repeat = 0; repeat < spec_.repeats; ++repeat) {
      const auto outer = assign_groups(perturbations_, pairs, spec_.folds, spec_.seed, repeat, mode);
      for (int fold = 0; fold < spec_.folds; ++fold) {
        Rows pool;
        std::copy_if(pairs.begin(), pairs.end(), std::back_inserter(pool),
                     [&](auto row) { return outer[at(perturbations_.of_row[at(row)])] != fold; });
        const auto inner = inner_parts(perturbations_, pool, repeat, fold, mode);
        assemble(repeat, fold, perturbations_, [&](auto row) {
          const auto g = at(perturbations_.of_row[at(row)]);
          return outer[g] == fold ? Part::test : inner[g];
        });
      }
    }
  }

  /// Perturbations are held out with everything they are part of; of the doubles with one of them, those with just
  /// singles_seen members that are trained on alone are tested.
  void combination_of_unseen() {
    const std::string mode = "UNSEEN_COMBINATION/member";
    split_.group_type = "combination";
    const auto doubles = rows_with(members_, heads_, true);
    const auto grouping = members_of(doubles);
    const auto all = numbered(grouping.of_row.size());
    need_groups(count_groups(grouping, all), "perturbation that is part of a double");
    const auto alone = applied_alone(members_, rows_);
    for (int repeat = 0; repeat < spec_.repeats; ++repeat) {
      const auto outer = assign_groups(grouping, all, spec_.folds, spec_.seed, repeat, mode);
      const auto fold_of = tested_in(outer, alone, repeat);
      for (int fold = 0; fold < spec_.folds; ++fold) {
        const auto held = [&](std::int32_t g) { return g >= 0 && outer[at(g)] == fold; };
        const auto inner = held_for_validation(doubles, held, alone, repeat, fold, mode);
        const auto seen = [&](std::int32_t g) {
          return alone[at(g)] != 0 && !held(g) && inner[at(g)] != Part::validation ? 1 : 0;
        };
        const auto early = early_doubles(doubles, held, inner, repeat, fold);
        std::int64_t lost = 0;
        auto& made = assemble(repeat, fold, perturbations_, [&](auto row) {
          const auto [a, b] = members_.of_row[at(row)];
          const bool inner_held = inner[at(a)] == Part::validation || (b >= 0 && inner[at(b)] == Part::validation);
          const bool fits = b >= 0 && seen(a) + seen(b) == spec_.singles_seen;
          if (held(a) || held(b)) {
            const bool tested = fits && !inner_held && fold_of[at(perturbations_.of_row[at(row)])] == fold;
            return tested ? Part::test : Part::none;
          }
          if (inner_held) {
            lost += fits ? 0 : 1;
            return fits ? Part::validation : Part::none;
          }
          return early[at(perturbations_.of_row[at(row)])];
        });
        made.n_discarded_inner = lost;
      }
    }
  }

  /// Both members of each of the rows, as two entries of a grouping of their own.
  Grouping members_of(const Rows& doubles) const {
    Grouping grouping;
    grouping.type = "perturbation";
    grouping.name = members_.name;
    for (const auto row : doubles) {
      for (const auto g : members_.of_row[at(row)]) grouping.of_row.push_back(g);
    }
    return grouping;
  }
  static Rows numbered(std::size_t n) {
    Rows rows(n);
    for (std::size_t i = 0; i < n; ++i) rows[i] = static_cast<std::int32_t>(i);
    return rows;
  }

  /// [perturbations_] the fold that tests a double: one at most, though both of its members' folds hold it out. -1:
  /// none.
  std::vector<int> tested_in(const std::vector<int>& outer, const std::vector<char>& alone, int repeat) const {
    std::vector<int> fold_of(perturbations_.name.size(), -1);
    for (const auto row : rows_with(members_, heads_, true)) {
      const auto members = members_.of_row[at(row)];
      const auto fits = [&](int fold) {
        int seen = 0;
        for (const auto g : members) seen += alone[at(g)] != 0 && outer[at(g)] != fold ? 1 : 0;
        return seen == spec_.singles_seen;
      };
      const auto g = at(perturbations_.of_row[at(row)]);
      const auto key = [&](std::int32_t member) {
        return assignment_key(spec_.seed, repeat, "UNSEEN_COMBINATION/tested",
                              perturbations_.name[g] + kPairSeparator + members_.name[at(member)]);
      };
      auto order = members;
      if (key(order[1]) < key(order[0])) std::swap(order[0], order[1]);
      for (const auto member : order) {
        if (fold_of[g] < 0 && fits(outer[at(member)])) fold_of[g] = outer[at(member)];
      }
    }
    return fold_of;
  }

  /// Part::validation for the perturbations that leave training for validation; none where no double would be
  /// validated.
  template <typename Held>
  std::vector<Part> held_for_validation(const Rows& doubles, Held&& held, const std::vector<char>& alone, int repeat,
                                        int fold, const std::string& mode) const {
    std::vector<Part> nothing(members_.name.size(), Part::train);
    Rows pool;
    std::copy_if(doubles.begin(), doubles.end(), std::back_inserter(pool), [&](auto row) {
      const auto [a, b] = members_.of_row[at(row)];
      return !held(a) && !held(b);
    });
    const auto grouping = members_of(pool);
    const auto entries = numbered(grouping.of_row.size());
    if (count_groups(grouping, entries) < kGroupsForValidation) return nothing;
    auto inner = choose_inner(grouping, entries, {Part::validation}, spec_.seed, repeat, fold, mode);
    const bool any = std::any_of(pool.begin(), pool.end(), [&](auto row) {
      int out = 0;
      int seen = 0;
      for (const auto g : members_.of_row[at(row)]) {
        out += inner[at(g)] == Part::validation ? 1 : 0;
        seen += inner[at(g)] != Part::validation && alone[at(g)] != 0 ? 1 : 0;
      }
      return out > 0 && seen == spec_.singles_seen;
    });
    return any ? inner : nothing;
  }

  /// [perturbations_] early_stop for one eighth of the doubles that are trained on, else train.
  template <typename Held>
  std::vector<Part> early_doubles(const Rows& doubles, Held&& held, const std::vector<Part>& inner, int repeat,
                                  int fold) const {
    Rows pool;
    std::copy_if(doubles.begin(), doubles.end(), std::back_inserter(pool), [&](auto row) {
      const auto members = members_.of_row[at(row)];
      return std::none_of(members.begin(), members.end(),
                          [&](auto g) { return held(g) || inner[at(g)] == Part::validation; });
    });
    if (count_groups(perturbations_, pool) < kGroupsForValidation) {
      return std::vector<Part>(perturbations_.name.size(), Part::train);
    }
    return choose_inner(perturbations_, pool, {Part::early_stop}, spec_.seed, repeat, fold, "UNSEEN_COMBINATION");
  }

  template <typename Predicate>
  Rows heads_where(Predicate&& keep) const {
    Rows kept;
    std::copy_if(heads_.begin(), heads_.end(), std::back_inserter(kept), keep);
    return kept;
  }

  /// Parts of the training groups. Few groups (five patients) cannot spare some for early stopping, or for validation.
  std::vector<Part> inner_parts(const Grouping& grouping, const Rows& pool, int repeat, int fold,
                                const std::string& mode) const {
    const auto n = count_groups(grouping, pool);
    std::vector<Part> wanted;
    if (n >= kGroupsForValidation) wanted.push_back(Part::validation);
    if (n >= kGroupsForEarlyStop) wanted.push_back(Part::early_stop);
    if (wanted.empty()) return std::vector<Part>(grouping.name.size(), Part::train);
    return choose_inner(grouping, pool, wanted, spec_.seed, repeat, fold, mode);
  }

  template <typename PartOf>
  Fold& assemble(int repeat, int fold, const Grouping& groups, PartOf&& part_of) {
    Fold made;
    made.repeat = repeat;
    made.fold = fold;
    for (const auto row : rows_) add_row(made, row, part_of(row));
    made.n_train_groups = count_groups(groups, made.train);
    made.n_test_groups = count_groups(groups, made.test);
    const auto refuse = [&](const std::string& what) {
      throw DataError("split " + spec_.kind + " is refused: fold " + std::to_string(fold) +
                      (spec_.repeats > 1 ? " of repeat " + std::to_string(repeat) : "") + what +
                      "; try fewer folds, another seed or more data");
    };
    if (made.test.empty()) refuse(" would test no condition");
    if (made.train.empty()) refuse(" has no profile to train on");
    split_.folds.push_back(std::move(made));
    return split_.folds.back();
  }

  void need_groups(std::int64_t n, const std::string& what) const {
    if (n >= spec_.folds) return;
    throw UsageError("split kind '" + spec_.kind + "'" +
                     (spec_.singles_seen < 0 ? "" : " with singles_seen = " + std::to_string(spec_.singles_seen)) +
                     " holds out groups, each a " + what + ": " + std::to_string(spec_.folds) + " folds need " +
                     std::to_string(spec_.folds) + " of them, and there " + (n == 1 ? "is " : "are ") +
                     std::to_string(n));
  }

  const Dataset& dataset_;
  SplitSpec spec_;
  Rows rows_;   ///< that take part, ascending
  Rows heads_;  ///< one row of each condition: groups weigh as much as they have conditions, not cells
  Members members_;
  Grouping conditions_;
  Grouping perturbations_;
  Split split_;
};

// ---- disjointness ----

void mark_members(const Members& members, const Rows& rows, std::vector<char>& marks) {
  for (const auto row : rows) {
    for (const auto g : members.of_row[at(row)]) {
      if (g >= 0) marks[at(g)] = 1;
    }
  }
}

/// No row of \p rows may apply a perturbation that \p marks has, not even in a double.
void check_absent(const Fold& fold, const Members& members, const Rows& rows, const std::vector<char>& marks,
                  const char* part, const char* marked) {
  for (const auto row : rows) {
    for (const auto g : members.of_row[at(row)]) {
      if (g >= 0 && marks[at(g)] != 0) overlap(fold, "perturbation " + members.name[at(g)], part, marked);
    }
  }
}

void check_singles_seen(const Fold& fold, const Members& members, int wanted) {
  const auto alone = applied_alone(members, fold.train);
  std::vector<char> known(members.name.size(), 0);
  mark_members(members, fold.train, known);
  for (const auto* part : {&fold.validation, &fold.test}) {
    for (const auto row : *part) {
      const auto [a, b] = members.of_row[at(row)];
      const int seen = b < 0 ? -1 : (alone[at(a)] != 0 ? 1 : 0) + (alone[at(b)] != 0 ? 1 : 0);
      const bool fits = wanted < 0 ? b >= 0 : seen == wanted;
      // With fewer than two, at least one is not trained on at all, in doubles neither.
      const bool held = wanted < 0 || wanted == 2 || (b >= 0 && (known[at(a)] == 0 || known[at(b)] == 0));
      if (!fits || !held) {
        throw std::logic_error("fold " + std::to_string(fold.fold) + " of repeat " + std::to_string(fold.repeat) +
                               ": row " + std::to_string(row) + " is no double with " + std::to_string(wanted) +
                               " of its perturbations trained on alone");
      }
    }
  }
}

}  // namespace

Split make_unseen_split(const Dataset& dataset, const SplitSpec& spec, std::vector<std::int32_t> rows) {
  return Maker(dataset, spec, std::move(rows)).make();
}

void finish_user_profiles_fold(const Dataset& dataset, Fold& fold, const std::string& group_type) {
  const bool by_perturbation = group_type == "perturbation" || group_type == "combination";
  const auto grouping = group_profiles(dataset, by_perturbation ? "perturbation" : group_type);
  fold.n_train_groups = count_groups(grouping, fold.train);
  fold.n_test_groups = count_groups(grouping, fold.test);
}

void assert_disjoint_profiles(const Dataset& dataset, const Split& split) {
  const auto members = group_members(dataset);
  const auto conditions = group_profiles(dataset, "condition");
  const auto perturbations = group_profiles(dataset, "perturbation");
  const auto& type = split.group_type;
  const bool one_axis = type == "context" || type == "context x perturbation" || type == "condition";
  const auto axis = one_axis ? group_profiles(dataset, type) : perturbations;

  for (const auto& fold : split.folds) {
    const std::vector<NamedRows> known = {
        {"train", &fold.train}, {"validation", &fold.validation}, {"test", &fold.test}};
    auto parts = known;
    parts.push_back({"references", &fold.references});
    check_rows(fold, parts, dataset.perturbations->size(), "perturbation row");
    check_groups(fold, parts, conditions);
    if (one_axis) check_groups(fold, known, axis);
    if (type == "combination") {
      const auto validation = rows_with(members, fold.validation, true);
      const auto test = rows_with(members, fold.test, true);
      check_groups(fold, {{"train", &fold.train}, {"validation", &validation}, {"test", &test}}, perturbations);
      check_singles_seen(fold, members, split.spec.singles_seen);
    }
    if (type == "perturbation") {
      std::vector<char> tested(members.name.size(), 0);
      mark_members(members, fold.test, tested);
      check_absent(fold, members, fold.train, tested, "train", "test");
      check_absent(fold, members, fold.validation, tested, "validation", "test");
      std::vector<char> validated(members.name.size(), 0);
      mark_members(members, fold.validation, validated);
      check_absent(fold, members, fold.train, validated, "train", "validation");
    }

    if (!std::includes(fold.train.begin(), fold.train.end(), fold.early_stop.begin(), fold.early_stop.end())) {
      throw std::logic_error("fold " + std::to_string(fold.fold) + ": an early-stopping row is not in train");
    }
    Rows fitted;
    std::set_difference(fold.train.begin(), fold.train.end(), fold.early_stop.begin(), fold.early_stop.end(),
                        std::back_inserter(fitted));
    const std::vector<NamedRows> halves = {{"train", &fitted}, {"early stopping", &fold.early_stop}};
    check_groups(fold, halves, conditions);
    if (split.spec.kind == "file") continue;  // users' tables may stop early on any conditions of train
    if (type == "perturbation") {
      check_absent(fold, members, fitted, applied_alone(members, fold.early_stop), "train", "early stopping");
    } else {
      check_groups(fold, halves, axis);
    }
  }
}

}  // namespace cdrzoo
