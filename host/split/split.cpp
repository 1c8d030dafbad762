// SPDX-License-Identifier: Apache-2.0
#include "split/split.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <unordered_set>

#include "base/error.hpp"
#include "split/assign.hpp"
#include "split/groups.hpp"
#include "split/parts.hpp"

namespace cdrzoo {
namespace {

constexpr int kInnerFolds = 8;  ///< validation and early stopping take one eighth of the training groups each
constexpr std::int64_t kMinTestRecords = 10;  ///< protocol 2
constexpr std::int64_t kMinTestGroups = 2;    ///< protocol 2
constexpr int kPairs811Folds = 10;

using Rows = std::vector<std::int32_t>;

std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

}  // namespace

std::string counted(std::int64_t n, const std::string& word) {
  return std::to_string(n) + " " + word + (n == 1 ? "" : "s");
}

std::vector<int> assign_groups(const Grouping& grouping, const Rows& rows, int folds, std::uint64_t seed, int repeat,
                               const std::string& mode) {
  std::vector<std::int64_t> weight(grouping.name.size(), 0);
  for (const auto row : rows) ++weight[at(grouping.of_row[at(row)])];
  std::vector<std::size_t> present;
  std::vector<WeightedGroup> groups;
  for (std::size_t g = 0; g < weight.size(); ++g) {
    if (weight[g] == 0 || static_cast<std::int32_t>(g) == grouping.unknown) continue;
    present.push_back(g);
    groups.push_back({grouping.name[g], weight[g]});
  }
  const auto fold = assign_folds(groups, folds, seed, repeat, mode);
  std::vector<int> by_group(grouping.name.size(), -1);
  for (std::size_t i = 0; i < present.size(); ++i) by_group[present[i]] = fold[i];
  return by_group;
}

std::vector<Part> choose_inner(const Grouping& grouping, const Rows& pool, const std::vector<Part>& wanted,
                               std::uint64_t seed, int repeat, int fold, const std::string& mode) {
  const auto inner = assign_groups(grouping, pool, kInnerFolds, seed, repeat, mode + "/inner/" + std::to_string(fold));
  std::vector<std::int64_t> load(kInnerFolds, 0);
  std::int64_t total = 0;
  for (const auto row : pool) {
    const int f = inner[at(grouping.of_row[at(row)])];
    if (f < 0) continue;
    ++load[static_cast<std::size_t>(f)];
    ++total;
  }
  std::vector<int> order;
  for (int f = 0; f < kInnerFolds; ++f) {
    if (load[static_cast<std::size_t>(f)] > 0) order.push_back(f);
  }
  if (order.size() < wanted.size() + 1) {
    throw DataError("fold " + std::to_string(fold) + " has " +
                    counted(static_cast<std::int64_t>(order.size()), grouping.type) +
                    " to train on, and training, validation and early stopping need " +
                    std::to_string(wanted.size() + 1) + " at least");
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return std::abs(kInnerFolds * load[static_cast<std::size_t>(a)] - total) <
           std::abs(kInnerFolds * load[static_cast<std::size_t>(b)] - total);
  });
  std::vector<Part> part(grouping.name.size(), Part::train);
  for (std::size_t g = 0; g < part.size(); ++g) {
    for (std::size_t w = 0; w < wanted.size(); ++w) {
      if (inner[g] == order[w]) part[g] = wanted[w];
    }
  }
  return part;
}

std::int64_t count_groups(const Grouping& grouping, const Rows& rows) {
  std::vector<char> seen(grouping.name.size(), 0);
  std::int64_t n = 0;
  for (const auto row : rows) {
    auto& mark = seen[at(grouping.of_row[at(row)])];
    n += mark == 0 ? 1 : 0;
    mark = 1;
  }
  return n;
}

namespace {

/// Makes the folds of one spec. Every kind gives each usable record a Part; assemble() does the rest.
class Maker {
 public:
  Maker(const Dataset& dataset, const SplitSpec& spec, Rows rows)
      : dataset_(dataset), spec_(spec), rows_(std::move(rows)) {}

  Split make() {
    if (dataset_.responses.size() == 0) throw DataError(without_responses());
    split_.spec = spec_;
    split_.data_hash = dataset_.data_hash();
    if (spec_.kind == "lpo") one_axis("pair", "LPO");
    if (spec_.kind == "lco") one_axis("sample", "LCO");
    if (spec_.kind == "ldo") one_axis("drug", "LDO");
    if (spec_.kind == "lto") one_axis("tissue", "LTO");
    if (spec_.kind == "lso") one_axis("scaffold", "LSO");
    if (spec_.kind == "lcdo") double_cold();
    if (spec_.kind == "pairs811") pairs811();
    if (spec_.kind == "transfer") transfer();
    split_.hash = split_hash(split_);
    return std::move(split_);
  }

 private:
  void keep_domain(const std::string& name) {
    const auto domain = dataset_.domain_index(name);
    rows_.erase(std::remove_if(rows_.begin(), rows_.end(), [&](auto row) { return domain_of(row) != domain; }),
                rows_.end());
  }
  [[nodiscard]] std::string without_responses() const {
    std::string text =
        "data set " + dataset_.name + " has no responses, and split kind \"" + spec_.kind + "\" divides those";
    if (const auto& profiles = dataset_.perturbations; profiles && profiles->size() > 0) {
      text += "; it has " + std::to_string(profiles->size()) +
              " perturbation profiles, which are for task \"expression\" and its split kinds, such as unseen_context";
    }
    return text;
  }
  void need_rows() const {
    if (rows_.empty()) {
      throw DataError("there is no usable record to split" +
                      (spec_.source.empty() ? "" : " in domain " + spec_.source));
    }
  }
  std::int32_t domain_of(std::int32_t row) const {
    return dataset_.samples.domain[at(dataset_.responses.sample[at(row)])];
  }

  void one_axis(const std::string& type, const std::string& mode) {
    if (!spec_.source.empty()) keep_domain(spec_.source);
    need_rows();
    split_.group_type = type;
    const auto grouping = group_records(dataset_, type);
    for (int repeat = 0; repeat < spec_.repeats; ++repeat) {
      const auto outer = assign_groups(grouping, rows_, spec_.folds, spec_.seed, repeat, mode);
      for (int fold = 0; fold < spec_.folds; ++fold) {
        const auto pool = rows_where([&](auto row) { return outer[at(grouping.of_row[at(row)])] != fold; });
        const auto inner =
            choose_inner(grouping, pool, {Part::validation, Part::early_stop}, spec_.seed, repeat, fold, mode);
        assemble(repeat, fold, grouping, grouping, [&](auto row) {
          const auto g = at(grouping.of_row[at(row)]);
          return outer[g] == fold ? Part::test : inner[g];
        });
      }
    }
  }

  void double_cold() {
    if (!spec_.source.empty()) keep_domain(spec_.source);
    need_rows();
    split_.group_type = "sample x drug";
    const auto samples = group_records(dataset_, "sample");
    const auto drugs = group_records(dataset_, "drug");
    const auto pairs = group_records(dataset_, "pair");
    for (int repeat = 0; repeat < spec_.repeats; ++repeat) {
      const auto outer_s = assign_groups(samples, rows_, spec_.folds, spec_.seed, repeat, "LCDO/sample");
      const auto outer_d = assign_groups(drugs, rows_, spec_.folds, spec_.seed, repeat, "LCDO/drug");
      for (int fold = 0; fold < spec_.folds * spec_.folds; ++fold) {
        const int i = fold / spec_.folds;
        const int j = fold % spec_.folds;
        const auto sample_fold = [&](auto row) { return outer_s[at(samples.of_row[at(row)])]; };
        const auto drug_fold = [&](auto row) { return outer_d[at(drugs.of_row[at(row)])]; };
        const auto pool = rows_where([&](auto row) { return sample_fold(row) != i && drug_fold(row) != j; });
        const auto inner_s =
            choose_inner(samples, pool, {Part::validation, Part::early_stop}, spec_.seed, repeat, fold, "LCDO/sample");
        const auto inner_d = choose_inner(drugs, pool, {Part::validation}, spec_.seed, repeat, fold, "LCDO/drug");
        std::int64_t lost = 0;
        auto& made = assemble(repeat, fold, pairs, pairs, [&](auto row) {
          const bool test_sample = sample_fold(row) == i;
          const bool test_drug = drug_fold(row) == j;
          if (test_sample || test_drug) return test_sample && test_drug ? Part::test : Part::none;
          const auto s = inner_s[at(samples.of_row[at(row)])];
          const auto d = inner_d[at(drugs.of_row[at(row)])];
          if ((s == Part::validation) == (d == Part::validation)) return s;
          ++lost;
          return Part::none;
        });
        made.n_discarded_inner = lost;
        need_test_groups(made, samples);
        need_test_groups(made, drugs);
      }
    }
  }

  void pairs811() {
    if (!spec_.source.empty()) keep_domain(spec_.source);
    need_rows();
    split_.group_type = "pair";
    const auto pairs = group_records(dataset_, "pair");
    for (int repeat = 0; repeat < spec_.repeats; ++repeat) {
      const auto outer = assign_groups(pairs, rows_, spec_.folds, spec_.seed, repeat, "PAIRS811");
      for (int fold = 0; fold < spec_.folds; ++fold) {
        assemble_811(repeat, fold, pairs, pairs, [&](auto row) {
          const int f = outer[at(pairs.of_row[at(row)])];
          if (f == fold) return Part::test;
          return f == (fold + 1) % spec_.folds ? Part::validation : Part::train;
        });
      }
    }
  }

  void transfer() {
    const auto source = dataset_.domain_index(spec_.source);
    const auto target = dataset_.domain_index(spec_.target);
    const auto source_rows = rows_where([&](auto row) { return domain_of(row) == source; });
    const auto target_rows = rows_where([&](auto row) { return domain_of(row) == target; });
    if (source_rows.empty()) throw DataError("there is no usable record in the source domain " + spec_.source);
    if (target_rows.empty()) throw DataError("there is no usable record in the target domain " + spec_.target);
    rows_ = rows_where([&](auto row) { return domain_of(row) == source || domain_of(row) == target; });

    split_.group_type = spec_.inner_group;
    const auto samples = group_records(dataset_, "sample");
    const auto inner = group_records(dataset_, spec_.inner_group);
    const std::string mode = "TRANSFER/" + spec_.inner_group;
    const bool as_811 = spec_.inner_group == "pair";

    // A sample that the source labels too (a cell line of both studies) is no unseen sample: it is not tested.
    std::vector<char> in_source(samples.name.size(), 0);
    for (const auto row : source_rows) in_source[at(samples.of_row[at(row)])] = 1;
    const auto is_test = [&](auto row) {
      return domain_of(row) == target && in_source[at(samples.of_row[at(row)])] == 0;
    };
    const auto pool = unlabelled_pool(target, rows_where(is_test));

    for (int repeat = 0; repeat < spec_.repeats; ++repeat) {
      const auto outer = assign_groups(inner, source_rows, spec_.folds, spec_.seed, repeat, mode);
      for (int fold = 0; fold < spec_.folds; ++fold) {
        const auto outer_of = [&](auto row) { return outer[at(inner.of_row[at(row)])]; };
        if (as_811) {
          assemble_811(repeat, fold, inner, samples, [&](auto row) {
            if (domain_of(row) == target) return is_test(row) ? Part::test : Part::none;
            if (outer_of(row) == fold) return Part::none;  // the source's test tenth, which nobody reports
            return outer_of(row) == (fold + 1) % spec_.folds ? Part::validation : Part::train;
          });
        } else {
          const auto rest = rows_where([&](auto row) { return domain_of(row) == source && outer_of(row) != fold; });
          const auto early = choose_inner(inner, rest, {Part::early_stop}, spec_.seed, repeat, fold, mode);
          assemble(repeat, fold, inner, samples, [&](auto row) {
            if (domain_of(row) == target) return is_test(row) ? Part::test : Part::none;
            return outer_of(row) == fold ? Part::validation : early[at(inner.of_row[at(row)])];
          });
        }
        split_.folds.back().unlabelled_samples = pool;
        split_.folds.back().transductive = spec_.transductive;
      }
    }
  }

  /// Samples of the target domain; those of test entities only if the spec says so.
  Rows unlabelled_pool(std::int32_t target, const Rows& test_rows) const {
    std::unordered_set<std::string> tested;
    if (!spec_.transductive) {
      for (const auto row : test_rows) tested.insert(dataset_.samples.group[at(dataset_.responses.sample[at(row)])]);
    }
    Rows pool;
    for (std::size_t s = 0; s < dataset_.samples.id.size(); ++s) {
      if (dataset_.samples.domain[s] == target && tested.count(dataset_.samples.group[s]) == 0) {
        pool.push_back(static_cast<std::int32_t>(s));
      }
    }
    return pool;
  }

  template <typename Predicate>
  Rows rows_where(Predicate&& keep) const {
    Rows kept;
    std::copy_if(rows_.begin(), rows_.end(), std::back_inserter(kept), keep);
    return kept;
  }

  template <typename PartOf>
  Fold& assemble(int repeat, int fold, const Grouping& train_groups, const Grouping& test_groups, PartOf&& part_of) {
    Fold made;
    made.repeat = repeat;
    made.fold = fold;
    for (const auto row : rows_) add_row(made, row, part_of(row));
    made.n_train_groups = count_groups(train_groups, made.train);
    made.n_test_groups = count_groups(test_groups, made.test);
    need_sizes(made, test_groups);
    split_.folds.push_back(std::move(made));
    return split_.folds.back();
  }

  /// THERAPI's 8:1:1: its early stopping looks at the validation rows. Kept, and flagged.
  template <typename PartOf>
  void assemble_811(int repeat, int fold, const Grouping& train_groups, const Grouping& test_groups, PartOf&& part_of) {
    auto& made = assemble(repeat, fold, train_groups, test_groups, part_of);
    made.early_stop = made.validation;
    made.early_stop_is_validation = true;
  }

  std::string label(const Fold& fold) const {
    return "split " + spec_.kind + " is refused: fold " + std::to_string(fold.fold) +
           (spec_.repeats > 1 ? " of repeat " + std::to_string(fold.repeat) : "");
  }
  void need_sizes(const Fold& fold, const Grouping& test_groups) const {
    const auto n_test = static_cast<std::int64_t>(fold.test.size());
    if (n_test < kMinTestRecords) {
      throw DataError(label(fold) + " would test " + counted(n_test, "record") + ", fewer than " +
                      std::to_string(kMinTestRecords) + hint());
    }
    need_test_groups(fold, test_groups);
    if (fold.train.empty()) throw DataError(label(fold) + " has no record to train on" + hint());
    if (fold.validation.empty()) throw DataError(label(fold) + " has no record for validation" + hint());
  }
  void need_test_groups(const Fold& fold, const Grouping& groups) const {
    const auto n = count_groups(groups, fold.test);
    if (n < kMinTestGroups) {
      throw DataError(label(fold) + " would test " + counted(n, groups.type) + ", fewer than " +
                      std::to_string(kMinTestGroups) + hint());
    }
  }
  std::string hint() const { return spec_.kind == "transfer" ? "" : "; try fewer folds, another seed or more data"; }

  const Dataset& dataset_;
  SplitSpec spec_;
  Rows rows_;  ///< usable records of the domain, ascending
  Split split_;
};

bool contains(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

/// \p id_of gives every row an identity below \p n; no identity may occur in two of the parts.
template <typename IdOf, typename NameOf>
void check_parts(const Fold& fold, const std::vector<NamedRows>& parts, std::size_t n, IdOf&& id_of, NameOf&& name_of) {
  std::vector<signed char> owner(n, -1);
  for (std::size_t p = 0; p < parts.size(); ++p) {
    for (const auto row : *parts[p].rows) {
      auto& mark = owner[at(id_of(row))];
      if (mark >= 0 && mark != static_cast<signed char>(p)) {
        overlap(fold, name_of(row), parts[at(mark)].name, parts[p].name);
      }
      mark = static_cast<signed char>(p);
    }
  }
}

/// Those of the domain's rows that the spec's contexts take part with. \throws UsageError for a context that is not
/// there.
Rows profiles_that_take_part(const Dataset& dataset, const SplitSpec& spec, Rows rows) {
  const auto& profiles = *dataset.perturbations;
  std::vector<char> wanted(profiles.contexts.size(), spec.contexts.empty() ? 1 : 0);
  for (const auto& name : spec.contexts) {
    const auto found = std::find(profiles.contexts.begin(), profiles.contexts.end(), name);
    if (found == profiles.contexts.end()) {
      std::string known;
      for (const auto& context : profiles.contexts) known += (known.empty() ? "" : ", ") + context;
      throw UsageError("data set " + dataset.name + " has no context '" + name + "'; known: " + known);
    }
    wanted[static_cast<std::size_t>(found - profiles.contexts.begin())] = 1;
  }
  const auto domain = spec.source.empty() ? -1 : dataset.domain_index(spec.source);
  const auto leaves = [&](auto row) {
    return wanted[at(profiles.context[at(row)])] == 0 ||
           (domain >= 0 && dataset.samples.domain[at(profiles.control[at(row)])] != domain);
  };
  rows.erase(std::remove_if(rows.begin(), rows.end(), leaves), rows.end());
  return rows;
}

}  // namespace

void overlap(const Fold& fold, const std::string& what, const std::string& a, const std::string& b) {
  throw std::logic_error("fold " + std::to_string(fold.fold) + " of repeat " + std::to_string(fold.repeat) + ": " +
                         what + " is in " + a + " and in " + b);
}

void check_groups(const Fold& fold, const std::vector<NamedRows>& parts, const Grouping& grouping) {
  check_parts(
      fold, parts, grouping.name.size(), [&](auto row) { return grouping.of_row[at(row)]; },
      [&](auto row) { return grouping.type + " " + grouping.name[at(grouping.of_row[at(row)])]; });
}

void check_rows(const Fold& fold, const std::vector<NamedRows>& parts, std::int64_t n_rows, const std::string& word) {
  check_parts(
      fold, parts, static_cast<std::size_t>(n_rows), [](auto row) { return row; },
      [&](auto row) { return word + " " + std::to_string(row); });
}

const std::vector<std::string>& split_kinds() {
  static const std::vector<std::string> kinds = {"lpo",
                                                 "lco",
                                                 "ldo",
                                                 "lto",
                                                 "lso",
                                                 "lcdo",
                                                 "pairs811",
                                                 "transfer",
                                                 "unseen_context",
                                                 "unseen_perturbation",
                                                 "unseen_pair",
                                                 "unseen_combination",
                                                 "file"};
  return kinds;
}

namespace {

/// Keys that only perturbations know.
void check_profile_keys(const SplitSpec& spec) {
  if (spec.singles_seen != -1 && spec.kind != "unseen_combination") {
    throw UsageError("singles_seen goes with split kind 'unseen_combination', not with '" + spec.kind + "'");
  }
  if (spec.singles_seen < -1 || spec.singles_seen > 2) {
    throw UsageError("singles_seen is 2, 1, 0 or -1 (any), not " + std::to_string(spec.singles_seen));
  }
  if (spec.references < 0 || spec.references > kMaxReferences) {
    throw UsageError("references is a number of profiles up to " + std::to_string(kMaxReferences) +
                     ", or 0 for the default, not " + std::to_string(spec.references));
  }
  if (is_perturbation_kind(spec.kind)) {
    for (auto name = spec.contexts.begin(); name != spec.contexts.end(); ++name) {
      if (std::find(spec.contexts.begin(), name, *name) != name) {
        throw UsageError("contexts names '" + *name + "' twice");
      }
    }
    return;
  }
  const auto refuse = [&](const std::string& key) {
    throw UsageError(key + " goes with the split kinds of perturbations (unseen_context and so on), not with '" +
                     spec.kind + "'");
  };
  if (!spec.contexts.empty()) refuse("contexts");
  if (spec.references != 0 && spec.kind != "file") refuse("references");
}

}  // namespace

bool is_perturbation_kind(const std::string& kind) { return kind.rfind("unseen_", 0) == 0; }

void check_spec(const SplitSpec& spec) {
  if (!contains(split_kinds(), spec.kind)) {
    std::string known;
    for (const auto& kind : split_kinds()) known += (known.empty() ? "" : ", ") + kind;
    throw UsageError("unknown split kind '" + spec.kind + "'; known: " + known);
  }
  check_profile_keys(spec);
  if (spec.kind == "file") {
    if (spec.file.empty()) throw UsageError("split kind 'file' needs the name of a split file");
    return;
  }
  if (!spec.file.empty()) throw UsageError("a split file goes with kind 'file', not with '" + spec.kind + "'");
  if (spec.folds < 2) throw UsageError("a split needs at least 2 folds, not " + std::to_string(spec.folds));
  if (spec.repeats < 1) throw UsageError("a split needs at least 1 repeat, not " + std::to_string(spec.repeats));
  if (spec.kind == "pairs811" && spec.folds != kPairs811Folds) {
    throw UsageError("split kind 'pairs811' has 10 folds by definition, not " + std::to_string(spec.folds));
  }
  if (spec.inner_group != "sample" && spec.inner_group != "pair") {
    throw UsageError("inner_group is 'sample' or 'pair', not '" + spec.inner_group + "'");
  }
  if (spec.kind == "transfer") {
    if (spec.source.empty() || spec.target.empty()) {
      throw UsageError("split kind 'transfer' needs a source and a target domain");
    }
    if (spec.source == spec.target) {
      throw UsageError("source and target of a transfer are both '" + spec.source + "'; they must differ");
    }
    if (spec.inner_group == "pair" && spec.folds < 3) {
      throw UsageError("a transfer with inner_group 'pair' needs at least 3 folds, not " + std::to_string(spec.folds));
    }
  } else if (!spec.target.empty() || spec.transductive) {
    throw UsageError("target and transductive go with split kind 'transfer', not with '" + spec.kind + "'");
  }
}

void add_row(Fold& fold, std::int32_t row, Part part) {
  switch (part) {
    case Part::none: ++fold.n_discarded; break;
    case Part::train: fold.train.push_back(row); break;
    case Part::early_stop:
      fold.train.push_back(row);
      fold.early_stop.push_back(row);
      break;
    case Part::validation: fold.validation.push_back(row); break;
    case Part::test: fold.test.push_back(row); break;
    case Part::reference: fold.references.push_back(row); break;
  }
}

std::string group_type_of(const SplitSpec& spec) {
  static const std::map<std::string, std::string> kTypes = {{"lpo", "pair"},
                                                            {"lco", "sample"},
                                                            {"ldo", "drug"},
                                                            {"lto", "tissue"},
                                                            {"lso", "scaffold"},
                                                            {"lcdo", "sample x drug"},
                                                            {"pairs811", "pair"},
                                                            {"unseen_context", "context"},
                                                            {"unseen_perturbation", "perturbation"},
                                                            {"unseen_pair", "context x perturbation"},
                                                            {"unseen_combination", "combination"}};
  if (spec.kind == "transfer") return spec.inner_group;
  const auto found = kTypes.find(spec.kind);
  return found == kTypes.end() ? "" : found->second;
}

void finish_user_fold(const Dataset& dataset, Fold& fold, const std::string& group_type, std::uint64_t seed) {
  const bool double_cold = group_type == "sample x drug";
  const auto grouping = group_records(dataset, double_cold ? "sample" : group_type);
  if (fold.early_stop.empty()) {
    const auto inner = choose_inner(grouping, fold.train, {Part::early_stop}, seed, fold.repeat, fold.fold, "FILE");
    for (const auto row : fold.train) {
      if (inner[at(grouping.of_row[at(row)])] == Part::early_stop) fold.early_stop.push_back(row);
    }
  }
  const auto counting = group_records(dataset, double_cold ? "pair" : group_type);
  fold.n_train_groups = count_groups(counting, fold.train);
  fold.n_test_groups = count_groups(counting, fold.test);
  if (static_cast<std::int64_t>(fold.test.size()) < kMinTestRecords || fold.n_test_groups < kMinTestGroups) {
    throw DataError("fold " + std::to_string(fold.fold) + " tests " +
                    counted(static_cast<std::int64_t>(fold.test.size()), "record") + " of " +
                    counted(fold.n_test_groups, counting.type) + "; at least " + std::to_string(kMinTestRecords) +
                    " and " + std::to_string(kMinTestGroups) + " are needed");
  }
}

const Fold& Split::at(int repeat, int fold) const {
  for (const auto& candidate : folds) {
    if (candidate.repeat == repeat && candidate.fold == fold) return candidate;
  }
  throw UsageError("the split has no fold " + std::to_string(fold) + " in repeat " + std::to_string(repeat));
}

Split make_split(const Dataset& dataset, const SplitSpec& spec, const std::vector<std::int32_t>& labelled) {
  check_spec(spec);
  if (spec.kind == "file") {
    auto split = load_split(spec.file, dataset, labelled);
    if (spec.references > 0) {
      if (!split.of_perturbations) {
        throw UsageError("references goes with splits of perturbations, and " + spec.file.string() +
                         " divides records");
      }
      split.spec.references = spec.references;
      split.hash = split_hash(split);
    }
    return split;
  }
  const bool of_profiles = is_perturbation_kind(spec.kind);
  if (of_profiles && !dataset.perturbations) {
    throw UsageError("split kind '" + spec.kind + "' divides perturbation profiles, and data set " + dataset.name +
                     " has none");
  }
  Rows rows = labelled;
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  const auto n_rows = of_profiles ? dataset.perturbations->size() : dataset.responses.size();
  if (!rows.empty() && (rows.front() < 0 || rows.back() >= n_rows)) {
    throw std::logic_error("make_split: a row outside the data set");
  }
  auto split = of_profiles ? make_unseen_split(dataset, spec, profiles_that_take_part(dataset, spec, std::move(rows)))
                           : Maker(dataset, spec, std::move(rows)).make();
  assert_disjoint(dataset, split);
  return split;
}

void assert_disjoint(const Dataset& dataset, const Split& split) {
  if (split.of_perturbations) {
    assert_disjoint_profiles(dataset, split);
    return;
  }
  std::map<std::string, Grouping> cache;
  const auto grouping = [&](const std::string& type) -> const Grouping& {
    auto& entry = cache[type];
    if (entry.type.empty()) entry = group_records(dataset, type);
    return entry;
  };
  const bool double_cold = split.group_type == "sample x drug";
  const std::vector<std::string> axes =
      double_cold ? std::vector<std::string>{"sample", "drug"} : std::vector<std::string>{split.group_type};
  // Users' tables may stop early on any rows of train; ours stop on groups of their own (lcdo: samples of their own).
  const std::string stop_axis = split.spec.kind == "file" ? "pair" : axes.front();

  for (const auto& fold : split.folds) {
    const std::vector<NamedRows> parts = {
        {"train", &fold.train}, {"validation", &fold.validation}, {"test", &fold.test}};
    check_rows(fold, parts, dataset.responses.size(), "record");
    for (const auto& axis : axes) check_groups(fold, parts, grouping(axis));
    if (split.spec.kind == "transfer") {
      Rows known;
      std::merge(fold.train.begin(), fold.train.end(), fold.validation.begin(), fold.validation.end(),
                 std::back_inserter(known));
      check_groups(fold, {{"train or validation", &known}, {"test", &fold.test}}, grouping("sample"));
      std::unordered_set<std::string> tested;
      for (const auto row : fold.test) tested.insert(dataset.samples.group[at(dataset.responses.sample[at(row)])]);
      for (const auto sample : fold.unlabelled_samples) {
        if (!fold.transductive && tested.count(dataset.samples.group[at(sample)]) != 0) {
          overlap(fold, "sample " + dataset.samples.id[at(sample)], "the unlabelled pool", "test");
        }
      }
    }
    if (fold.early_stop_is_validation) {
      if (fold.early_stop != fold.validation) {
        throw std::logic_error("fold " + std::to_string(fold.fold) + ": early stopping is not the validation part");
      }
      continue;
    }
    if (!std::includes(fold.train.begin(), fold.train.end(), fold.early_stop.begin(), fold.early_stop.end())) {
      throw std::logic_error("fold " + std::to_string(fold.fold) + ": an early-stopping record is not in train");
    }
    Rows fitted;
    std::set_difference(fold.train.begin(), fold.train.end(), fold.early_stop.begin(), fold.early_stop.end(),
                        std::back_inserter(fitted));
    check_groups(fold, {{"train", &fitted}, {"early stopping", &fold.early_stop}}, grouping(stop_axis));
  }
}

}  // namespace cdrzoo
