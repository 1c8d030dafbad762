// SPDX-License-Identifier: Apache-2.0
// Splits of perturbation profiles.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "split/split.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"
#include "support/tiny_perturbations.hpp"

using namespace cdrzoo;
using namespace cdrzoo::test;
using nlohmann::json;

namespace {

using Names = std::vector<std::string>;

SplitSpec spec_of(const std::string& kind, int folds, std::uint64_t seed = 0) {
  SplitSpec spec;
  spec.kind = kind;
  spec.folds = folds;
  spec.seed = seed;
  return spec;
}

Split split_of(const Dataset& dataset, const SplitSpec& spec) {
  return make_split(dataset, spec, all_profiles(dataset));
}

/// Six contexts; nine perturbations at two doses in all of them but some; 12 doubles in two contexts; some of their
/// members never alone. Every other condition has three cells.
TinyPerturbations screen() {
  TinyPerturbations data;
  const Names contexts = {"a", "b", "c", "d", "e", "f"};
  const auto name = [](int i) { return "p" + std::to_string(i); };
  for (int c = 0; c < 6; ++c) {
    for (int p = 0; p < 9; ++p) {
      if ((c * 5 + p * 7) % 6 == 0) continue;
      for (int dose = 0; dose < 2; ++dose) {
        data.profile(contexts[static_cast<std::size_t>(c)], name(p), "", static_cast<float>(-6 + dose),
                     (c + p + dose) % 2 == 0 ? 3 : 1);
      }
    }
  }
  data.profile("a", "once", "", -6.0F);
  for (int i = 0; i < 12; ++i) {
    data.profile(i % 3 == 0 ? "b" : "a", name(i), name((i * 5 + 1) % 12), -6.0F, 1 + i % 2);
  }
  return data;
}

struct Case {
  const char* kind;
  int folds;
  int singles_seen;
};
const std::vector<Case> kCases = {{"unseen_context", 3, -1},     {"unseen_context", 6, -1},
                                  {"unseen_pair", 4, -1},        {"unseen_perturbation", 3, -1},
                                  {"unseen_combination", 3, -1}, {"unseen_combination", 2, 2},
                                  {"unseen_combination", 2, 1},  {"unseen_combination", 2, 0}};

SplitSpec spec_of(const Case& c, std::uint64_t seed) {
  auto spec = spec_of(c.kind, c.folds, seed);
  spec.singles_seen = c.singles_seen;
  return spec;
}

/// Part of each condition in one fold; conditions that the fold leaves out are absent.
std::map<std::string, std::string> parts_of(const Dataset& dataset, const Fold& fold) {
  std::map<std::string, std::string> part_of;
  const auto add = [&](const std::vector<std::int32_t>& rows, const char* part) {
    for (const auto row : rows) {
      const auto [place, added] = part_of.emplace(name_of(dataset, row), part);
      const bool fits =
          added || place->second == part || (std::string(part) == "early_stop" && place->second == "train");
      CHECK(fits);  // a condition is never on both sides
      place->second = part;
    }
  };
  add(fold.train, "train");
  add(fold.early_stop, "early_stop");
  add(fold.validation, "validation");
  add(fold.test, "test");
  add(fold.references, "reference");
  return part_of;
}

std::set<std::string> applied(const Dataset& dataset, const std::vector<std::int32_t>& rows, bool alone) {
  const auto& p = *dataset.perturbations;
  std::set<std::string> names;
  for (const auto row : rows) {
    const auto r = static_cast<std::size_t>(row);
    if (alone && p.drug_b[r] >= 0) continue;
    names.insert(dataset.drugs.group[static_cast<std::size_t>(p.drug[r])]);
    if (p.drug_b[r] >= 0) names.insert(dataset.drugs.group[static_cast<std::size_t>(p.drug_b[r])]);
  }
  return names;
}

bool share(const std::set<std::string>& a, const std::set<std::string>& b) {
  return std::any_of(a.begin(), a.end(), [&](const auto& name) { return b.count(name) != 0; });
}

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}
void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}
void forge(const std::filesystem::path& path, json value) {
  value.erase("hash");
  value["hash"] = sha256_hex(value.dump());
  write(path, value.dump());
}

}  // namespace

TEST_CASE("an unseen context is tested whole, once, and trains nobody") {
  TinyPerturbations data;
  for (const char* context : {"v", "w", "x", "y", "z"}) {
    for (const char* drug : {"p", "q", "r"}) data.profile(context, drug);
  }
  const auto dataset = data.build();
  const auto split = split_of(dataset, spec_of("unseen_context", 5));
  CHECK(split.of_perturbations);
  CHECK(split.group_type == "context");
  std::set<std::string> tested;
  for (const auto& fold : split.folds) {
    // Of four other contexts one validates and one stops early; two are fitted in any case.
    CHECK(fold.test.size() == 3);
    CHECK(fold.validation.size() == 3);
    CHECK(fold.train.size() == 9);
    CHECK(fold.early_stop.size() == 3);
    CHECK(fold.references.empty());
    CHECK(fold.n_discarded == 0);
    CHECK(fold.n_test_groups == 1);
    CHECK(fold.n_train_groups == 3);
    const auto context = name_of(dataset, fold.test.front()).substr(0, 1);
    CHECK(names_of(dataset, fold.test) == Names{context + ":p", context + ":q", context + ":r"});
    CHECK(tested.insert(context).second);
  }
  CHECK(tested.size() == 5);
}

TEST_CASE("few contexts cannot spare some for validation or early stopping") {
  TinyPerturbations data;
  const int n = GENERATE(2, 3, 4, 5);
  for (int c = 0; c < n; ++c) data.profile(std::string(1, static_cast<char>('a' + c)), "p");
  const auto dataset = data.build();
  for (const auto& fold : split_of(dataset, spec_of("unseen_context", n)).folds) {
    CHECK(fold.test.size() == 1);
    CHECK(fold.validation.size() == (n > 3 ? 1U : 0U));
    CHECK(fold.early_stop.size() == (n > 4 ? 1U : 0U));
    CHECK(fold.train.size() + fold.validation.size() == static_cast<std::size_t>(n) - 1);
  }
}

TEST_CASE("an unseen pair leaves the rest of its context and of its perturbation in training") {
  TinyPerturbations data;
  for (const char* context : {"x", "y"}) {
    for (const char* drug : {"p", "q"}) data.profile(context, drug, "", -6.0F).profile(context, drug, "", -5.0F);
  }
  const auto dataset = data.build();
  const auto split = split_of(dataset, spec_of("unseen_pair", 4));
  CHECK(split.group_type == "context x perturbation");
  std::set<std::string> tested;
  for (const auto& fold : split.folds) {
    const auto names = names_of(dataset, fold.test);
    REQUIRE(names.size() == 2);  // both doses
    CHECK(names[0].substr(0, 3) == names[1].substr(0, 3));
    tested.insert(names[0].substr(0, 3));
    CHECK(fold.train.size() == 4);
    CHECK(fold.validation.size() == 2);
    CHECK(fold.early_stop.empty());
  }
  CHECK(tested == std::set<std::string>{"x:p", "x:q", "y:p", "y:q"});
}

TEST_CASE("half of an unseen perturbation's contexts are references, the others are tested") {
  TinyPerturbations data;
  for (const char* context : {"x", "y", "z"}) {
    for (const char* drug : {"p", "q", "r", "s"})
      data.profile(context, drug, "", -6.0F).profile(context, drug, "", -5.0F);
  }
  data.profile("x", "p", "q", -6.0F).profile("x", "once", "", -6.0F);
  const auto dataset = data.build();
  const auto split = split_of(dataset, spec_of("unseen_perturbation", 4));
  CHECK(split.group_type == "perturbation");
  int folds_of_double = 0;
  for (const auto& fold : split.folds) {
    const auto held = applied(dataset, fold.test, true);
    REQUIRE(held.size() == 1);  // four equal weights on four folds
    const auto part_of = parts_of(dataset, fold);
    if (part_of.count("x:p+q@-6") != 0) ++folds_of_double;
    for (const char* drug : {"p", "q", "r", "s"}) {
      int tested = 0;
      int references = 0;
      for (const char* context : {"x", "y", "z"}) {
        const auto condition = std::string(context) + ":" + drug;
        REQUIRE(part_of.at(condition + "@-6") == part_of.at(condition + "@-5"));  // a context is one or the other
        const auto& part = part_of.at(condition + "@-5");
        tested += part == "test" || part == "validation" ? 1 : 0;
        references += part == "reference" ? 1 : 0;
      }
      const bool trains = tested == 0 && references == 0;
      const bool halves = tested == 1 && references == 2;  // rounded up
      CHECK((trains || halves));
      CHECK(halves >= (held.count(drug) != 0));
    }
  }
  CHECK(folds_of_double < 4);
  for (const auto& fold : split.folds) {
    // With a single condition there is no reference and a truth: it always trains.
    CHECK(parts_of(dataset, fold).at("x:once@-6") == "train");
    const auto held = applied(dataset, fold.test, true);
    if (held.count("p") + held.count("q") != 0) CHECK(parts_of(dataset, fold).count("x:p+q@-6") == 0);
  }
}

TEST_CASE("a perturbation of one context is halved by dose, and one of a single condition trains") {
  TinyPerturbations data;
  for (const char* drug : {"p", "q"}) {
    for (int dose = -9; dose < -3; ++dose) data.profile("x", drug, "", static_cast<float>(dose));
  }
  data.profile("x", "once").profile("x", "twice").profile("x", "twice", "", -6.0F);
  const auto dataset = data.build();
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    std::set<std::string> tested;
    for (const auto& fold : split_of(dataset, spec_of("unseen_perturbation", 2, seed)).folds) {
      const auto held = applied(dataset, fold.test, true);
      for (const auto& name : held) tested.insert(name);
      // p and q are heavier than a quarter of all, so each is in a fold of its own.
      const bool one_of_both = held.count("p") + held.count("q") == 1;
      CHECK(one_of_both);
      const auto expected = 3 * (held.count("p") + held.count("q")) + held.count("twice");
      CHECK(fold.test.size() == expected);
      CHECK(fold.references.size() == expected);
      CHECK(fold.n_discarded == 0);
      CHECK(parts_of(dataset, fold).at("x:once") == "train");
    }
    CHECK(tested == std::set<std::string>{"p", "q", "twice"});
  }
}

TEST_CASE("two names of one structure are one perturbation") {
  TinyPerturbations data;
  data.synonym("p again", "p");
  for (const char* context : {"x", "y"}) {
    for (const char* drug : {"p", "p again", "q", "r"}) data.profile(context, drug, "", -6.0F);
  }
  const auto dataset = data.build();
  for (const auto& fold : split_of(dataset, spec_of("unseen_perturbation", 3)).folds) {
    CHECK_FALSE(share(applied(dataset, fold.test, false), applied(dataset, fold.train, false)));
    // In the context that is tested both are, in the other both are references.
    const auto part_of = parts_of(dataset, fold);
    for (const char* context : {"x:", "y:"}) {
      CHECK(part_of.at(context + std::string("p@-6")) == part_of.at(context + std::string("p again@-6")));
    }
  }
  for (const auto& fold : split_of(dataset, spec_of("unseen_pair", 3)).folds) {
    const auto part_of = parts_of(dataset, fold);
    for (const char* context : {"x:", "y:"}) {
      CHECK(part_of.at(context + std::string("p@-6")) == part_of.at(context + std::string("p again@-6")));
    }
  }
}

TEST_CASE("contexts of one group are one context to be held out, and conditions of their own") {
  TinyPerturbations data;
  for (const char* context : {"P0 core", "P0 rim", "P1 core", "P1 rim", "P2", "P3", "P4"}) {
    const std::string name = context;
    data.kin(name, name.substr(0, 2));
    for (const char* drug : {"p", "q", "r"}) data.profile(name, drug, "", -6.0F);
  }
  const auto dataset = data.build();
  for (const char* kind : {"unseen_context", "unseen_pair"}) {
    CAPTURE(kind);
    for (const auto& fold : split_of(dataset, spec_of(kind, 5)).folds) {
      for (const auto& [name, part] : parts_of(dataset, fold)) {
        if (name.compare(2, 5, " core") != 0) continue;
        const std::string twin = name.substr(0, 2) + " rim" + name.substr(7);
        CHECK(parts_of(dataset, fold).at(twin) == part);
      }
    }
  }
  for (const auto& fold : split_of(dataset, spec_of("unseen_perturbation", 3)).folds) {
    for (const auto& [name, part] : parts_of(dataset, fold)) {
      if (name.compare(2, 5, " core") != 0 || part == "train" || part == "early_stop") continue;
      CHECK(parts_of(dataset, fold).at(name.substr(0, 2) + " rim" + name.substr(7)) == part);
    }
  }
  // A split that divides a group is no split by context, whatever it calls itself.
  auto split = split_of(dataset, spec_of("unseen_context", 5));
  auto& fold = split.folds.front();
  fold.train.insert(fold.train.end(), fold.test.begin() + 1, fold.test.end());
  std::sort(fold.train.begin(), fold.train.end());
  fold.test.resize(1);
  CHECK_THROWS_AS(assert_disjoint(dataset, split), std::logic_error);
}

TEST_CASE("a tested double has as many members trained on alone as the spec says") {
  TinyPerturbations data;
  // p, q, r, s are measured alone, t and u never.
  for (const char* drug : {"p", "q", "r", "s"}) data.profile("x", drug);
  const std::vector<std::pair<const char*, const char*>> doubles = {{"p", "q"}, {"p", "r"}, {"q", "r"}, {"q", "s"},
                                                                    {"p", "t"}, {"q", "t"}, {"t", "u"}};
  for (const auto& [a, b] : doubles) data.profile("x", a, b);
  const auto dataset = data.build();
  const int seen = GENERATE(-1, 0, 1, 2);
  int n_tested = 0;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    auto spec = spec_of("unseen_combination", 2, seed);
    spec.singles_seen = seen;
    Split split;
    try {
      split = split_of(dataset, spec);
    } catch (const DataError& e) {  // of so few doubles, a fold may have none that fits
      CHECK_THAT(e.what(), contains("split unseen_combination is refused: fold") &&
                               contains("would test no condition; try fewer folds, another seed or more data"));
      continue;
    }
    std::set<std::string> tested;
    for (const auto& fold : split.folds) {
      const auto alone = applied(dataset, fold.train, true);
      for (const auto& name : names_of(dataset, fold.test)) {
        REQUIRE(name.size() == 5);  // x:a+b
        if (seen >= 0)
          CHECK(alone.count(name.substr(2, 1)) + alone.count(name.substr(4, 1)) == static_cast<std::size_t>(seen));
        CHECK(tested.insert(name).second);
        ++n_tested;
      }
      if (seen == 2 || seen == -1) {
        CHECK(alone == std::set<std::string>{"p", "q", "r", "s"});
        CHECK(fold.n_discarded == 0);
      }
      CHECK(fold.references.empty());
    }
    if (seen == 2) CHECK(tested == std::set<std::string>{"x:p+q", "x:p+r", "x:q+r", "x:q+s"});
    if (seen == -1) CHECK(tested.size() == doubles.size());
  }
  CHECK(n_tested > 0);
}

TEST_CASE("every kind keeps its promises on a screen of cells, doses and doubles") {
  auto data = screen();
  const auto dataset = data.build();
  const auto& c = GENERATE(from_range(kCases));
  CAPTURE(c.kind, c.folds, c.singles_seen);
  int made = 0;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    auto spec = spec_of(c, seed);
    spec.repeats = 2;
    Split split;
    try {
      split = split_of(dataset, spec);
    } catch (const DataError&) {
      continue;  // no double fits in some fold: refused, as it should
    }
    ++made;
    REQUIRE(split.folds.size() == static_cast<std::size_t>(2 * c.folds));
    std::map<int, std::set<std::string>> tested, referenced;
    for (const auto& fold : split.folds) {
      parts_of(dataset, fold);  // checks that no condition is on two sides
      for (const auto& name : names_of(dataset, fold.references)) referenced[fold.repeat].insert(name);
      std::set<std::string> here;
      for (const auto& name : names_of(dataset, fold.test)) here.insert(name);
      for (const auto& name : here) CHECK(tested[fold.repeat].insert(name).second);  // at most once per repeat
      const auto used = fold.train.size() + fold.validation.size() + fold.test.size() + fold.references.size();
      CHECK(static_cast<std::int64_t>(used) + fold.n_discarded == dataset.perturbations->size());
      CHECK(std::includes(fold.train.begin(), fold.train.end(), fold.early_stop.begin(), fold.early_stop.end()));
      // Perturbations of few doubles are not held out for nothing.
      if (c.singles_seen != 0 && c.singles_seen != 1) CHECK_FALSE(fold.validation.empty());
      if (split.group_type == "perturbation") {
        CHECK_FALSE(share(applied(dataset, fold.test, false), applied(dataset, fold.train, false)));
        CHECK_FALSE(share(applied(dataset, fold.test, false), applied(dataset, fold.validation, false)));
        CHECK_FALSE(share(applied(dataset, fold.references, false), applied(dataset, fold.train, false)));
        CHECK_FALSE(fold.references.empty());
      } else {
        CHECK(fold.references.empty());
      }
    }
    if (split.group_type == "perturbation") {
      for (const auto& [repeat, names] : tested) CHECK_FALSE(share(names, referenced[repeat]));
    }
    if (std::string(c.kind) == "unseen_context" || std::string(c.kind) == "unseen_pair") {
      std::set<std::string> all;
      for (const auto& name : names_of(dataset, all_profiles(dataset))) all.insert(name);
      CHECK(tested[0] == all);
      CHECK(tested[1] == all);
    }
  }
  CHECK(made > 0);
}

TEST_CASE("neither the order of the rows nor the number of cells moves a condition") {
  auto data = screen();
  auto other = screen();
  const auto dataset = data.build();
  const auto shuffled = other.build_shuffled(3);
  TinyPerturbations means;  // the same conditions, one row each
  std::set<std::int32_t> seen;
  for (const auto row : all_profiles(dataset)) {
    const auto& p = *dataset.perturbations;
    const auto r = static_cast<std::size_t>(row);
    if (!seen.insert(p.condition[r]).second) continue;
    const auto id = [&](std::int32_t drug) { return drug < 0 ? "" : dataset.drugs.id[static_cast<std::size_t>(drug)]; };
    means.profile(p.contexts[static_cast<std::size_t>(p.context[r])], id(p.drug[r]), id(p.drug_b[r]),
                  p.dose_log10_molar[r]);
  }
  const auto collapsed = means.build();
  const auto& c = GENERATE(from_range(kCases));
  CAPTURE(c.kind, c.folds, c.singles_seen);
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    Split a;
    try {
      a = split_of(dataset, spec_of(c, seed));
    } catch (const DataError&) {
      CHECK_THROWS_AS(split_of(shuffled, spec_of(c, seed)), DataError);
      continue;
    }
    const auto b = split_of(shuffled, spec_of(c, seed));
    const auto d = split_of(collapsed, spec_of(c, seed));
    for (std::size_t f = 0; f < a.folds.size(); ++f) {
      CHECK(parts_of(dataset, a.folds[f]) == parts_of(shuffled, b.folds[f]));
      CHECK(parts_of(dataset, a.folds[f]) == parts_of(collapsed, d.folds[f]));
    }
  }
}

TEST_CASE("only the contexts and the domain that the spec names take part") {
  TinyPerturbations data;
  for (const char* context : {"x", "y", "z"}) data.profile(context, "p").profile(context, "q");
  data.profile("elsewhere", "p", "", -6.0F, 1, 1);
  const auto dataset = data.build();
  auto spec = spec_of("unseen_context", 2);
  spec.contexts = {"z", "x"};
  const auto split = split_of(dataset, spec);
  CHECK(split.spec.contexts == Names{"x", "z"});
  for (const auto& fold : split.folds) {
    CHECK(fold.test.size() == 2);
    CHECK(fold.train.size() == 2);
    CHECK(fold.n_discarded == 0);
  }
  auto sorted = spec;
  sorted.contexts = {"x", "z"};
  CHECK(split_of(dataset, sorted).hash == split.hash);

  auto domain = spec_of("unseen_context", 3);
  domain.source = "screen";
  for (const auto& fold : split_of(dataset, domain).folds) {
    for (const auto* part : {&fold.train, &fold.validation, &fold.test}) {
      for (const auto row : *part) CHECK(name_of(dataset, row).substr(0, 2) != "el");
    }
  }
}

TEST_CASE("a spec that cannot be is refused with one sentence") {
  auto data = screen();
  const auto dataset = data.build();
  const auto refuse = [&](const SplitSpec& spec, const std::string& sentence) {
    CHECK_THROWS_AS(split_of(dataset, spec), UsageError);
    CHECK_THROWS_WITH(split_of(dataset, spec), contains(sentence));
  };
  refuse(spec_of("unseen_context", 7), "holds out groups, each a context: 7 folds need 7 of them, and there are 6");
  refuse(spec_of("unseen_perturbation", 11),
         "each a perturbation applied alone in two conditions or more: 11 folds need 11 of them, and there are 9");
  refuse(spec_of("unseen_combination", 20), "each a double: 20 folds need 20 of them, and there are 12");
  auto spec = spec_of("unseen_combination", 10);
  spec.singles_seen = 2;
  refuse(spec,
         "'unseen_combination' with singles_seen = 2 holds out groups, each a double whose perturbations are both");
  spec.singles_seen = 3;
  refuse(spec, "singles_seen is 2, 1, 0 or -1 (any), not 3");
  spec = spec_of("unseen_context", 2);
  spec.singles_seen = 1;
  refuse(spec, "singles_seen goes with split kind 'unseen_combination', not with 'unseen_context'");
  spec = spec_of("unseen_context", 2);
  spec.contexts = {"a", "g"};
  refuse(spec, "data set tiny has no context 'g'; known: a, b, c, d, e, f");
  spec.contexts = {"a", "b", "a"};
  refuse(spec, "contexts names 'a' twice");
  spec = spec_of("unseen_context", 2);
  spec.target = "other";
  refuse(spec, "target and transductive go with split kind 'transfer', not with 'unseen_context'");
  spec = spec_of("unseen_context", 2);
  spec.references = -1;
  refuse(spec, "references is a number of profiles up to 1000, or 0 for the default, not -1");
  spec = spec_of("unseen_context", 2);
  spec.source = "nowhere";
  refuse(spec, "nowhere");
  spec = spec_of("lco", 2);
  spec.contexts = {"a"};
  refuse(spec, "contexts goes with the split kinds of perturbations (unseen_context and so on), not with 'lco'");
  spec = spec_of("lco", 2);
  spec.references = 3;
  refuse(spec, "references goes with the split kinds of perturbations");

  Dataset none = dataset;
  none.perturbations.reset();
  CHECK_THROWS_WITH(make_split(none, spec_of("unseen_context", 2), {}),
                    contains("split kind 'unseen_context' divides perturbation profiles, and data set tiny has none"));
  CHECK_THROWS_WITH(make_split(dataset, spec_of("unseen_context", 2), {}),
                    contains("there is no perturbation profile to split"));
  TinyPerturbations singles;
  singles.profile("x", "p").profile("x", "q");
  const auto without_doubles = singles.build();
  CHECK_THROWS_WITH(split_of(without_doubles, spec_of("unseen_combination", 2)), contains("and there are 0"));
  // Nothing of these perturbations can be tested: each has one condition.
  CHECK_THROWS_WITH(split_of(without_doubles, spec_of("unseen_perturbation", 2)), contains("and there are 0"));
}

TEST_CASE("a split of perturbations survives its file and its table") {
  auto data = screen();
  const auto dataset = data.build();
  const TemporaryFolder folder;
  const auto& c = GENERATE(from_range(kCases));
  CAPTURE(c.kind, c.folds, c.singles_seen);
  auto spec = spec_of(c, 1);
  spec.references = 3;
  spec.contexts = {"a", "b", "c", "d", "e", "f"};
  Split split;
  for (bool made = false; !made; ++spec.seed) {
    try {
      split = split_of(dataset, spec);
      made = true;
    } catch (const DataError&) {
      REQUIRE(spec.seed < 20);
    }
  }
  write_split(split, folder / "split.json");
  const auto again = read_split(folder / "split.json", dataset);
  CHECK(again.hash == split.hash);
  CHECK(split_hash(again) == split.hash);
  CHECK(again.of_perturbations);
  CHECK(again.spec.singles_seen == split.spec.singles_seen);
  CHECK(again.spec.contexts == split.spec.contexts);
  CHECK(again.spec.references == 3);
  for (std::size_t f = 0; f < split.folds.size(); ++f) CHECK(again.folds[f].references == split.folds[f].references);

  write_split_csv(dataset, split, folder / "parts.csv");
  const auto table = load_split(folder / "parts.csv", dataset, all_profiles(dataset));
  CHECK(table.of_perturbations);
  CHECK(table.spec.kind == "file");
  for (std::size_t f = 0; f < split.folds.size(); ++f) {
    const auto& a = table.folds[f];
    const auto& b = split.folds[f];
    const bool same = a.train == b.train && a.early_stop == b.early_stop && a.validation == b.validation &&
                      a.test == b.test && a.references == b.references && a.n_discarded == b.n_discarded;
    CHECK(same);
  }
  SplitSpec by_file;
  by_file.kind = "file";
  by_file.file = folder / "parts.csv";
  CHECK(make_split(dataset, by_file, all_profiles(dataset)).hash == table.hash);
  by_file.references = 5;
  CHECK(make_split(dataset, by_file, all_profiles(dataset)).hash != table.hash);
  write_split(table, folder / "table.json");
  CHECK(read_split(folder / "table.json", dataset).hash == table.hash);
}

TEST_CASE("the hash of a fixed split of perturbations never changes") {
  auto data = screen();
  const auto dataset = data.build();
  // share/tools/check_split.py makes the same folds and finds the same hashes.
  CHECK(split_of(dataset, spec_of("unseen_context", 3)).hash ==
        "3a34b67531caf5b1dbec4fcf221e8c848d6bfb45fc792adfce0ed5d2b788c56f");
  CHECK(split_of(dataset, spec_of("unseen_perturbation", 3)).hash ==
        "c632bcf841e40eb97085b0eb20de05fe9dcfda4faa071477d9617d4a252e1328");
}

TEST_CASE("another implementation finds the same folds of perturbations and the same hash") {
  if (std::string(CDRZOO_PYTHON).empty()) {
    WARN("skipped: no python3");
    return;
  }
  const auto run_python = [](const std::filesystem::path& split, const std::filesystem::path& groups) {
    const std::string command = "'" CDRZOO_PYTHON "' '" CDRZOO_CHECK_SPLIT "' '" + split.string() + "' '" +
                                groups.string() + "' > /dev/null 2>&1";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  auto data = screen();
  data.kin("d", "c");  // two contexts of one group
  const auto dataset = data.build();
  const TemporaryFolder folder;
  write_profile_groups_csv(dataset, all_profiles(dataset), folder / "groups.csv");
  const auto& c = GENERATE(from_range(kCases));
  CAPTURE(c.kind, c.folds, c.singles_seen);
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    auto spec = spec_of(c, seed);
    spec.repeats = 2;
    if (seed == 3) spec.contexts = {"f", "a", "b", "c", "e", "d"};
    try {
      write_split(split_of(dataset, spec), folder / "split.json");
    } catch (const Error&) {  // too few groups for this kind or seed
      continue;
    }
    CHECK(run_python(folder / "split.json", folder / "groups.csv") == 0);
    auto value = json::parse(read(folder / "split.json"));
    value["folds"][1]["test"].erase(0);
    forge(folder / "forged.json", value);
    CHECK(run_python(folder / "forged.json", folder / "groups.csv") == 1);
  }
}

TEST_CASE("a forged split of perturbations is refused with one sentence") {
  auto data = screen();
  const auto dataset = data.build();
  const TemporaryFolder folder;
  const auto path = folder / "split.json";
  const auto written = [&](const SplitSpec& spec) {
    write_split(split_of(dataset, spec), path);
    return json::parse(read(path));
  };
  const auto refuse = [&](const json& value, const std::string& sentence) {
    forge(path, value);
    CHECK_THROWS_AS(read_split(path, dataset), DataError);
    CHECK_THROWS_WITH(read_split(path, dataset), contains("split.json: ") && contains(sentence));
  };
  const auto moved = [](json value, const char* from, const char* to, std::size_t fold) {
    auto& source = value["folds"][fold][from];
    auto& target = value["folds"][fold][to];
    auto rows = target.get<std::vector<int>>();
    rows.push_back(source[0].get<int>());
    std::sort(rows.begin(), rows.end());
    target = rows;
    source.erase(0);
    return value;
  };
  auto good = written(spec_of("unseen_perturbation", 3));
  refuse(moved(good, "test", "train", 1), "is in train and in test");
  refuse(moved(good, "references", "train", 0), "is in train and in references");
  auto copied = moved(good, "references", "test", 0);
  copied["folds"][0]["references"] = good["folds"][0]["references"];
  refuse(copied, "perturbation row ");
  auto value = good;
  value["folds"][2].erase("references");
  refuse(value, "member 'references' is missing in fold 2");
  value = good;
  value["spec"]["kind"] = "lco";
  refuse(value, "its kind 'lco' is no kind of perturbation profiles");
  value = good;
  value["spec"]["singles_seen"] = 5;
  refuse(value, "member 'singles_seen' of spec is not a whole number from -1 to 2");
  value = good;
  value["group_type"] = "sample";
  refuse(value, "unknown group type 'sample'");
  value = good;
  value["group_type"] = "condition";
  refuse(value,
         "its groups are of the type 'condition', and those of its kind 'unseen_perturbation' are of the type "
         "'perturbation'");
  value = good;
  value["data_hash"] = dataset.data_hash();
  refuse(value, "it was made for a data set with data hash");
  value = good;
  value.erase("of_perturbations");
  refuse(value, "");
  good = written(spec_of("unseen_context", 3));
  refuse(moved(good, "test", "train", 1), "is in train and in test");
  auto spec = spec_of("unseen_combination", 2);
  spec.singles_seen = 2;
  good = written(spec);
  value = good;
  value["spec"]["singles_seen"] = 1;
  refuse(value, "is no double with 1 of its perturbations trained on alone");

  Dataset none = dataset;
  none.perturbations.reset();
  CHECK_THROWS_WITH(read_split(path, none), contains("it divides perturbation profiles, and tiny.h5 has none"));
}

TEST_CASE("a split file with any character changed and its hash repaired is read and disjoint, or refused") {
  auto data = screen();
  const auto dataset = data.build();
  const TemporaryFolder folder;
  const auto path = folder / "split.json";
  write_split(split_of(dataset, spec_of("unseen_perturbation", 3)), path);
  const auto text = read(path);
  int refused = 0;
  int accepted = 0;
  for (std::uint64_t i = 0; i < 400; ++i) {
    auto changed = text;
    static const std::string kSigns = "0123456789-,[]{}\":.tfn";
    changed[splitmix64(i, 0) % changed.size()] = kSigns[splitmix64(i, 1) % kSigns.size()];
    const auto value = json::parse(changed, nullptr, false);
    if (value.is_discarded()) continue;
    forge(path, value);
    try {
      const auto split = read_split(path, dataset);
      CHECK_NOTHROW(assert_disjoint(dataset, split));
      ++accepted;
    } catch (const DataError&) {
      ++refused;
    }
  }
  CHECK(refused > 50);
  CHECK(accepted > 0);  // another row of the same condition's part, or the same character
}

TEST_CASE("a table of profiles that cannot be used is refused with file and line") {
  auto data = screen();
  const auto dataset = data.build();
  const TemporaryFolder folder;
  const auto path = folder / "parts.csv";
  const auto refuse = [&](const std::string& text, const std::string& sentence) {
    write(path, text);
    CHECK_THROWS_AS(load_split(path, dataset, all_profiles(dataset)), DataError);
    CHECK_THROWS_WITH(load_split(path, dataset, all_profiles(dataset)), contains(sentence));
  };
  refuse("profile,fold,part\n0,0,reserve\n", "part is 'reserve', not train, early_stop, validation, test or reference");
  refuse("profile,fold,part\n99999,0,test\n", "line 2: column 'profile': '99999' is not a whole number below");
  refuse("profile,fold,part\n0,0,test\n0,0,train\n", "line 3: profile 0 is in this fold already, at line 2");
  refuse("profile,fold,part\n0,0,test\n", "fold 0 has an empty part");
  // What the table says beside the number must be true.
  refuse("profile,context,fold,part\n0,z,0,test\n",
         "line 2: column 'context': profile 0 has 'a' there, and the table says 'z'");
  refuse("profile,drug,fold,part\n0,p9,0,test\n", "profile 0 has 'p");
  refuse("profile,drug_b,fold,part\n0,p9,0,test\n", "profile 0 has '' there, and the table says 'p9'");
  refuse("profile,dose_log10_molar,fold,part\n0,-3,0,test\n", "profile 0 has -");
  refuse("profile,time_h,fold,part\n0,24,0,test\n", "profile 0 has none there, and the table says '24'");
  refuse("profile,record,fold,part\n0,0,0,test\n", "line 1: the table has the columns record and profile");
  // Rows 0 and 1 are cells of one condition or of two doses; one of these tables divides a condition.
  const auto& p = *dataset.perturbations;
  std::size_t row = 0;
  while (p.condition[row] != p.condition[row + 1]) ++row;
  refuse("profile,fold,part\n" + std::to_string(row) + ",0,test\n" + std::to_string(row + 1) + ",0,train\n",
         "is in train and in test");
}
