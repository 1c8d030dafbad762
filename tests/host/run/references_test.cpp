// SPDX-License-Identifier: Apache-2.0
#include "run/references.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "support/catch.hpp"
#include "support/tiny_perturbations.hpp"

using namespace cdrzoo;
using namespace cdrzoo::test;

namespace {

using Names = std::vector<std::string>;

std::int32_t row_of(const Dataset& dataset, const std::string& name) {
  for (const auto row : all_profiles(dataset)) {
    if (name_of(dataset, row) == name) return row;
  }
  FAIL("no row " << name);
  return -1;
}

/// A fold that trains on everything but what is named.
Fold fold_of(const Dataset& dataset, const Names& test, const Names& references = {}, const Names& nowhere = {}) {
  Fold fold;
  const auto has = [](const Names& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const auto row : all_profiles(dataset)) {
    const auto name = name_of(dataset, row);
    if (has(nowhere, name)) continue;
    (has(test, name) ? fold.test : has(references, name) ? fold.references : fold.train).push_back(row);
  }
  return fold;
}

std::string shown(const Dataset& dataset, std::int32_t row) { return row < 0 ? "-" : name_of(dataset, row); }

/// "A:p" or "A:p & A:q", with * where it is flagged.
Names shown(const Dataset& dataset, const RowReferences& references) {
  Names names;
  for (const auto& r : references) {
    auto name = shown(dataset, r.row_a);
    if (r.row_b >= 0) name += " & " + shown(dataset, r.row_b);
    names.push_back(name + (r.in_context ? "*" : ""));
    const auto control = [&](std::int32_t row) {
      return row < 0 ? -1 : dataset.perturbations->control[static_cast<std::size_t>(row)];
    };
    CHECK(r.control_a == control(r.row_a));
    CHECK(r.control_b == control(r.row_b));
  }
  return names;
}

Names chosen(const Dataset& dataset, const Fold& fold, const std::string& name, int most = 0) {
  SplitSpec spec;
  spec.references = most;
  const auto all = choose_references(dataset, spec, fold, {row_of(dataset, name)});
  REQUIRE(all.size() == 1);
  return shown(dataset, all.front());
}

}  // namespace

TEST_CASE("a single gets what its perturbation did in other contexts") {
  TinyPerturbations data;
  for (const char* context : {"A", "B", "C"}) data.profile(context, "p").profile(context, "q");
  data.profile("A", "p", "q");
  const auto dataset = data.build();
  // Not the double, not another perturbation, not a test row.
  CHECK(chosen(dataset, fold_of(dataset, {"B:p", "B:q"}), "B:p") == Names{"A:p", "C:p"});
  CHECK(chosen(dataset, fold_of(dataset, {"B:p", "A:p"}), "B:p") == Names{"C:p"});
  // Profiles that nobody trains on serve as well.
  CHECK(chosen(dataset, fold_of(dataset, {"B:p"}, {"A:p"}, {"C:p"}), "B:p") == Names{"A:p"});
}

TEST_CASE("a reference in the context of the truth is the last resort, and is flagged") {
  TinyPerturbations data;
  for (const char* context : {"A", "B"}) data.profile(context, "p", "", -6.0F).profile(context, "p", "", -5.0F);
  const auto dataset = data.build();
  CHECK(chosen(dataset, fold_of(dataset, {"B:p@-6"}), "B:p@-6") == Names{"A:p@-6"});
  CHECK(chosen(dataset, fold_of(dataset, {"B:p@-6"}, {}, {"A:p@-6"}), "B:p@-6") == Names{"A:p@-5"});
  CHECK(chosen(dataset, fold_of(dataset, {"B:p@-6"}, {}, {"A:p@-6", "A:p@-5"}), "B:p@-6") == Names{"B:p@-5*"});
  CHECK(chosen(dataset, fold_of(dataset, {"B:p@-6"}, {}, {"A:p@-6", "A:p@-5", "B:p@-5"}), "B:p@-6") == Names{"-"});
}

TEST_CASE("another context of the row's group serves before its own and after all others, and is flagged") {
  TinyPerturbations data;
  data.kin("B rim", "B");
  for (const char* context : {"A", "B", "B rim"})
    data.profile(context, "p", "", -6.0F).profile(context, "p", "", -5.0F);
  data.profile("B", "q", "", -6.0F).profile("B rim", "q", "", -6.0F).profile("B", "p", "q", -6.0F);
  const auto dataset = data.build();
  const Names elsewhere = {"A:p@-6", "A:p@-5"};
  CHECK(chosen(dataset, fold_of(dataset, {"B:p@-6"}), "B:p@-6") == Names{"A:p@-6"});
  CHECK(chosen(dataset, fold_of(dataset, {"B:p@-6"}, {}, elsewhere), "B:p@-6") == Names{"B rim:p@-6*"});
  // A double takes its own context first, then those of the group.
  CHECK(chosen(dataset, fold_of(dataset, {"B:p+q@-6"}), "B:p+q@-6") == Names{"B:p@-6 & B:q@-6*"});
  CHECK(chosen(dataset, fold_of(dataset, {"B:p+q@-6"}, {}, {"B:p@-6", "B:p@-5"}), "B:p+q@-6") ==
        Names{"B rim:p@-6 & B:q@-6*"});
}

TEST_CASE("the same dose goes before others, and all of them where there is none") {
  TinyPerturbations data;
  data.profile("A", "p", "", -5.0F).profile("A", "p", "", -6.0F).profile("C", "p", "", -5.0F).profile("C", "p");
  data.profile("B", "p", "", -5.0F).profile("B", "p", "", -7.0F).profile("B", "p");
  const auto dataset = data.build();
  const Names test = {"B:p@-5", "B:p@-7", "B:p"};
  CHECK(chosen(dataset, fold_of(dataset, test), "B:p@-5") == Names{"A:p@-5", "C:p@-5"});
  CHECK(chosen(dataset, fold_of(dataset, test), "B:p") == Names{"C:p"});  // unknown equals unknown
  CHECK(chosen(dataset, fold_of(dataset, test), "B:p@-7").size() == 4);
}

TEST_CASE("a double gets both singles of its own context first, one by one") {
  TinyPerturbations data;
  data.profile("B", "p", "q").profile("B", "p").profile("B", "q").profile("A", "p").profile("A", "q");
  const auto dataset = data.build();
  CHECK(chosen(dataset, fold_of(dataset, {"B:p+q"}), "B:p+q") == Names{"B:p & B:q*"});
  CHECK(chosen(dataset, fold_of(dataset, {"B:p+q"}, {}, {"B:q"}), "B:p+q") == Names{"B:p & A:q*"});
  CHECK(chosen(dataset, fold_of(dataset, {"B:p+q"}, {}, {"B:q", "B:p"}), "B:p+q") == Names{"A:p & A:q"});
  CHECK(chosen(dataset, fold_of(dataset, {"B:p+q"}, {}, {"B:q", "A:q"}), "B:p+q") == Names{"B:p*"});
  CHECK(chosen(dataset, fold_of(dataset, {"B:p+q"}, {}, {"B:p", "A:p"}), "B:p+q") == Names{"- & B:q*"});
  CHECK(chosen(dataset, fold_of(dataset, {"B:p+q"}, {}, {"B:p", "A:p", "B:q", "A:q"}), "B:p+q") == Names{"-"});
}

TEST_CASE("of unequal lists of a double's singles the shorter starts again") {
  TinyPerturbations data;
  data.profile("B", "p", "q").profile("B", "p");
  for (const char* context : {"A", "C", "D"}) data.profile(context, "q");
  const auto dataset = data.build();
  CHECK(chosen(dataset, fold_of(dataset, {"B:p+q"}), "B:p+q") == Names{"B:p & A:q*", "B:p & C:q*", "B:p & D:q*"});
}

TEST_CASE("a second name of one structure serves as a reference") {
  TinyPerturbations data;
  data.synonym("p again", "p").profile("A", "p again").profile("B", "p");
  const auto dataset = data.build();
  CHECK(chosen(dataset, fold_of(dataset, {"B:p"}), "B:p") == Names{"A:p again"});
}

TEST_CASE("of many references a few are drawn, without repetition, each as often as the others") {
  TinyPerturbations data;
  for (int c = 0; c < 12; ++c) data.profile(std::string(1, static_cast<char>('A' + c)), "p");
  const auto dataset = data.build();
  SplitSpec spec;
  CHECK(references_per_row(dataset, spec) == 8);
  std::map<std::string, int> drawn;
  std::set<Names> different;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    spec.seed = seed;
    spec.references = 3;
    auto fold = fold_of(dataset, {"B:p"});
    fold.fold = 2;
    const auto names = shown(dataset, choose_references(dataset, spec, fold, fold.test).front());
    REQUIRE(names.size() == 3);
    CHECK(std::set<std::string>(names.begin(), names.end()).size() == 3);
    CHECK(std::is_sorted(names.begin(), names.end()));
    for (const auto& name : names) ++drawn[name];
    different.insert(names);
  }
  // 400 draws of 3 of 11: 109 each, standard deviation 9.
  CHECK(drawn.size() == 11);
  for (const auto& [name, times] : drawn) CHECK_THAT(times, WithinAbs(109.0, 45.0));
  CHECK(different.size() > 100);
  CHECK(chosen(dataset, fold_of(dataset, {"B:p"}), "B:p").size() == 8);
  CHECK(chosen(dataset, fold_of(dataset, {"B:p"}), "B:p", 20).size() == 11);
}

TEST_CASE("cells get one reference each, and not all the same") {
  TinyPerturbations data;
  for (const char* context : {"A", "B", "C"}) data.profile(context, "p", "", -6.0F, 50);
  const auto dataset = data.build();
  SplitSpec spec;
  CHECK(references_per_row(dataset, spec) == 1);
  const auto fold = fold_of(dataset, {"B:p@-6"});
  std::set<std::int32_t> used;
  for (const auto& references : choose_references(dataset, spec, fold, fold.test)) {
    REQUIRE(references.size() == 1);
    CHECK_FALSE(references.front().in_context);
    used.insert(references.front().row_a);
  }
  CHECK(used.size() > 25);  // of 100, for 50 cells
}

TEST_CASE("the draw depends on seed, repeat, fold and row, not on the order of the rows or on other rows") {
  const auto make = [] {
    TinyPerturbations data;
    for (int c = 0; c < 20; ++c) {
      const std::string context(1, static_cast<char>('A' + c));
      data.profile(context, "p", "", -6.0F).profile(context, "q", "", -6.0F);
    }
    return data;
  };
  auto data = make();
  auto other = make();
  const auto dataset = data.build();
  const auto shuffled = other.build_shuffled(5);
  const Names test = {"A:p@-6", "A:q@-6", "B:p@-6", "B:q@-6"};
  SplitSpec spec;
  spec.references = 4;
  const auto all = [&](const Dataset& d, const Fold& fold) {
    std::map<std::string, Names> of_row;
    const auto references = choose_references(d, spec, fold, fold.test);
    for (std::size_t i = 0; i < fold.test.size(); ++i) of_row[name_of(d, fold.test[i])] = shown(d, references[i]);
    return of_row;
  };
  auto fold = fold_of(dataset, test);
  const auto first = all(dataset, fold);
  CHECK(first == all(shuffled, fold_of(shuffled, test)));
  CHECK(first.at("B:q@-6") == chosen(dataset, fold, "B:q@-6", 4));  // alone or among others
  fold.fold = 1;
  CHECK(first != all(dataset, fold));
  fold.fold = 0;
  fold.repeat = 1;
  CHECK(first != all(dataset, fold));
  fold.repeat = 0;
  spec.seed = 1;
  CHECK(first != all(dataset, fold));
}

TEST_CASE("no reference of any kind of split is a tested or validated row, or of its condition") {
  TinyPerturbations data;
  for (const char* context : {"A", "B", "C", "D", "E"}) {
    for (const char* drug : {"p", "q", "r", "s", "t"}) {
      data.profile(context, drug, "", -6.0F, 2).profile(context, drug, "", -5.0F, 1);
    }
  }
  for (const char* second : {"q", "r", "s", "t"}) data.profile("A", "p", second, -6.0F, 2);
  data.profile("B", "q", "r", -6.0F).profile("B", "s", "t", -6.0F);
  const auto dataset = data.build();
  const std::string kind = GENERATE("unseen_context", "unseen_perturbation", "unseen_pair", "unseen_combination");
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    SplitSpec spec;
    spec.kind = kind;
    spec.folds = 3;
    spec.seed = seed;
    for (const auto& fold : make_split(dataset, spec, all_profiles(dataset)).folds) {
      const auto tested = names_of(dataset, fold.test);
      const auto validated = names_of(dataset, fold.validation);
      for (const auto* part : {&fold.test, &fold.validation}) {
        const auto references = choose_references(dataset, spec, fold, *part);
        REQUIRE(references.size() == part->size());
        for (std::size_t i = 0; i < part->size(); ++i) {
          for (const auto& r : references[i]) {
            for (const auto row : {r.row_a, r.row_b}) {
              if (row < 0) continue;
              const auto name = name_of(dataset, row);
              CHECK_FALSE(std::binary_search(tested.begin(), tested.end(), name));
              CHECK_FALSE(std::binary_search(validated.begin(), validated.end(), name));
            }
            if (kind == "unseen_context" || kind == "unseen_perturbation") {
              CHECK(r.row_a >= 0);  // each perturbation is in all contexts
              CHECK_FALSE(r.in_context);
            }
          }
        }
      }
    }
  }
}
