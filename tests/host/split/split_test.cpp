// SPDX-License-Identifier: Apache-2.0
#include "split/split.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <set>

#include "base/error.hpp"
#include "grid_dataset.hpp"
#include "split/groups.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using namespace cdrzoo::test;

namespace {

using Rows = std::vector<std::int32_t>;

SplitSpec spec_of(const std::string& kind, std::uint64_t seed = 0) {
  SplitSpec spec;
  spec.kind = kind;
  spec.folds = kind == "pairs811" ? 10 : 3;
  spec.seed = seed;
  if (kind == "transfer") {
    spec.source = "lines";
    spec.target = "patients";
  } else {
    spec.source = "lines";
  }
  return spec;
}

std::string sample_group(const Dataset& d, std::int32_t row) {
  return d.samples.group[static_cast<std::size_t>(d.responses.sample[static_cast<std::size_t>(row)])];
}
std::string drug_group(const Dataset& d, std::int32_t row) {
  return d.drugs.group[static_cast<std::size_t>(d.responses.drug[static_cast<std::size_t>(row)])];
}
/// A record by its names: the same in every order of the rows.
std::string record_name(const Dataset& d, std::int32_t row) {
  const auto r = static_cast<std::size_t>(row);
  return d.samples.id[static_cast<std::size_t>(d.responses.sample[r])] + "/" +
         d.drugs.id[static_cast<std::size_t>(d.responses.drug[r])] + "/" + std::to_string(d.responses.replicate[r]);
}

/// Line 51 has no tissue of its own; the other sample of its patient has.
bool has_no_tissue(const Dataset& d, std::size_t sample) {
  return d.samples.tissue[sample] < 0 && d.samples.group[sample] != "same";
}

template <typename NameOf>
std::set<std::string> names_in(const Rows& rows, NameOf&& name_of) {
  std::set<std::string> names;
  for (const auto row : rows) names.insert(name_of(row));
  return names;
}

bool share(const std::set<std::string>& a, const std::set<std::string>& b) {
  return std::any_of(a.begin(), a.end(), [&](const std::string& name) { return b.count(name) != 0; });
}

Rows minus(const Rows& a, const Rows& b) {
  Rows rest;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(rest));
  return rest;
}

}  // namespace

TEST_CASE("every record of a grouped split is tested exactly once per repeat") {
  auto data = grid();
  const auto dataset = data.build();
  const std::string kind = GENERATE("lpo", "lco", "ldo", "lto", "lso", "pairs811", "lcdo");
  const std::uint64_t seed = GENERATE(0U, 1U, 12345U);
  auto spec = spec_of(kind, seed);
  spec.repeats = 2;
  const auto split = make_split(dataset, spec, all_rows(dataset));
  CAPTURE(kind, seed);

  const auto per_repeat = kind == "lcdo" ? 9 : spec.folds;
  REQUIRE(split.folds.size() == static_cast<std::size_t>(2 * per_repeat));
  for (int repeat = 0; repeat < 2; ++repeat) {
    std::map<std::int32_t, int> tested;
    for (int fold = 0; fold < per_repeat; ++fold) {
      for (const auto row : split.at(repeat, fold).test) ++tested[row];
    }
    for (const auto row : rows_of(dataset, 0)) {
      const auto sample = static_cast<std::size_t>(dataset.responses.sample[static_cast<std::size_t>(row)]);
      const bool untested = kind == "lto" && has_no_tissue(dataset, sample);
      CHECK(tested[row] == (untested ? 0 : 1));
    }
  }
  for (const auto& fold : split.folds) {
    const auto counted = fold.train.size() + fold.validation.size() + fold.test.size();
    CHECK(counted + static_cast<std::size_t>(fold.n_discarded) == rows_of(dataset, 0).size());
    if (kind != "lcdo") CHECK(fold.n_discarded == 0);
  }
}

TEST_CASE("the parts of a fold share no unit of the split") {
  auto data = grid();
  const auto dataset = data.build();
  const std::uint64_t seed = GENERATE(0U, 1U, 12345U);
  const auto sample = [&](auto row) { return sample_group(dataset, row); };
  const auto drug = [&](auto row) { return drug_group(dataset, row); };
  const auto pair = [&](auto row) { return sample(row) + "|" + drug(row); };
  const auto tissues = group_records(dataset, "tissue");
  const auto tissue = [&](auto row) {
    return tissues.name[static_cast<std::size_t>(tissues.of_row[static_cast<std::size_t>(row)])];
  };
  const auto scaffolds = group_records(dataset, "scaffold");
  const auto scaffold = [&](auto row) {
    return scaffolds.name[static_cast<std::size_t>(scaffolds.of_row[static_cast<std::size_t>(row)])];
  };

  const auto disjoint = [&](const Split& split, auto&& name_of, bool early_stop_too) {
    for (const auto& fold : split.folds) {
      const auto train = names_in(fold.train, name_of);
      const auto validation = names_in(fold.validation, name_of);
      const auto test = names_in(fold.test, name_of);
      CHECK_FALSE(share(train, test));
      CHECK_FALSE(share(train, validation));
      CHECK_FALSE(share(validation, test));
      if (early_stop_too) {
        REQUIRE_FALSE(fold.early_stop.empty());
        CHECK(minus(fold.early_stop, fold.train).empty());
        CHECK_FALSE(share(names_in(fold.early_stop, name_of), names_in(minus(fold.train, fold.early_stop), name_of)));
      }
    }
  };
  const auto made = [&](const char* kind) { return make_split(dataset, spec_of(kind, seed), all_rows(dataset)); };
  disjoint(made("lpo"), pair, true);
  disjoint(made("lco"), sample, true);
  disjoint(made("ldo"), drug, true);
  disjoint(made("lto"), tissue, true);
  disjoint(made("lto"), sample, true);
  disjoint(made("lso"), scaffold, true);
  disjoint(made("lso"), drug, true);
  disjoint(made("pairs811"), pair, false);
  disjoint(made("lcdo"), sample, true);
  disjoint(made("lcdo"), drug, false);
  disjoint(made("transfer"), sample, true);
}

TEST_CASE("replicates and same structures stay together") {
  auto data = grid();
  const auto dataset = data.build();
  const std::string kind = GENERATE("lpo", "lco", "ldo", "lto", "lso", "pairs811", "lcdo");
  const auto split = make_split(dataset, spec_of(kind, 3), all_rows(dataset));
  for (const auto& fold : split.folds) {
    std::map<std::string, std::string> part_of_pair;
    std::map<std::string, std::set<std::string>> parts_of_structure;
    const auto visit = [&](const Rows& rows, const std::string& part) {
      for (const auto row : rows) {
        const auto pair = sample_group(dataset, row) + "|" + drug_group(dataset, row);
        const auto [entry, added] = part_of_pair.emplace(pair, part);
        CHECK((added || entry->second == part));
        parts_of_structure[drug_group(dataset, row)].insert(part);
      }
    };
    visit(minus(fold.train, fold.early_stop), "train");
    if (!fold.early_stop_is_validation) visit(fold.early_stop, "early_stop");
    visit(fold.validation, "validation");
    visit(fold.test, "test");
    if (kind == "ldo" || kind == "lso") CHECK(parts_of_structure["structure"].size() == 1);
  }
}

TEST_CASE("no split depends on the order of the rows") {
  auto data = grid();
  const auto sorted = data.build();
  const std::string kind = GENERATE("lpo", "lco", "ldo", "lto", "lso", "lcdo", "pairs811", "transfer");
  const auto split = make_split(sorted, spec_of(kind, 5), all_rows(sorted));
  auto other = grid();
  const auto shuffled = other.build_shuffled(9);
  REQUIRE(record_name(sorted, 0) != record_name(shuffled, 0));
  const auto again = make_split(shuffled, spec_of(kind, 5), all_rows(shuffled));
  REQUIRE(split.folds.size() == again.folds.size());
  for (std::size_t f = 0; f < split.folds.size(); ++f) {
    for (const auto part : {&Fold::train, &Fold::early_stop, &Fold::validation, &Fold::test}) {
      CHECK(names_in(split.folds[f].*part, [&](auto row) { return record_name(sorted, row); }) ==
            names_in(again.folds[f].*part, [&](auto row) { return record_name(shuffled, row); }));
    }
  }
}

TEST_CASE("the same spec gives the same hash, and seed and rows change it") {
  auto data = grid();
  const auto dataset = data.build();
  const auto split = make_split(dataset, spec_of("lco"), all_rows(dataset));
  CHECK(split.hash == make_split(dataset, spec_of("lco"), all_rows(dataset)).hash);
  CHECK(split.hash == split_hash(split));
  CHECK(split.hash != make_split(dataset, spec_of("lco", 1), all_rows(dataset)).hash);
  auto fewer = all_rows(dataset);
  fewer.erase(fewer.begin());
  CHECK(split.hash != make_split(dataset, spec_of("lco"), fewer).hash);
  auto backwards = all_rows(dataset);
  std::reverse(backwards.begin(), backwards.end());
  CHECK(split.hash == make_split(dataset, spec_of("lco"), backwards).hash);
}

TEST_CASE("changing the seed moves most groups of the test folds") {
  auto data = grid();
  const auto dataset = data.build();
  const std::string kind = GENERATE("lpo", "lco", "ldo");
  const auto fold_of = [&](std::uint64_t seed) {
    auto spec = spec_of(kind, seed);
    spec.folds = 5;
    std::map<std::int32_t, int> fold;
    for (const auto& f : make_split(dataset, spec, all_rows(dataset)).folds) {
      for (const auto row : f.test) fold[row] = f.fold;
    }
    return fold;
  };
  const auto a = fold_of(0);
  auto b = fold_of(1);
  const auto n = std::count_if(a.begin(), a.end(), [&](const auto& entry) { return b[entry.first] != entry.second; });
  CHECK(static_cast<double>(n) / static_cast<double>(a.size()) > 0.6);
}

TEST_CASE("validation and early stopping take about one eighth of the training records each") {
  auto data = grid();
  const auto dataset = data.build();
  const std::string kind = GENERATE("lpo", "lco", "ldo");
  for (const auto& fold : make_split(dataset, spec_of(kind), all_rows(dataset)).folds) {
    const auto pool = static_cast<double>(fold.train.size() + fold.validation.size());
    CHECK_THAT(static_cast<double>(fold.validation.size()) / pool, WithinAbs(0.125, 0.05));
    CHECK_THAT(static_cast<double>(fold.early_stop.size()) / pool, WithinAbs(0.125, 0.05));
  }
}

TEST_CASE("a heavy group is neither always nor the first choice for validation") {
  TinyDataset data;
  data.drug("d0").drug("d1");
  for (int i = 0; i < 60; ++i) {
    const auto id = numbered("s", i);
    data.sample(id, i < 24 ? "big" : numbered("t", i % 9)).record(id, "d0", 1.0).record(id, "d1", 2.0);
  }
  const auto dataset = data.build();
  SplitSpec spec;
  spec.kind = "lto";
  spec.folds = 3;
  // "big" is 40 % of the records: with two or more other tissues beside it in no fold, the split is refused.
  CHECK_THROWS_WITH(make_split(dataset, spec, all_rows(dataset)), contains("would test 1 tissue, fewer than 2"));
  spec.folds = 2;
  for (const auto& fold : make_split(dataset, spec, all_rows(dataset)).folds) {
    for (const auto row : fold.validation) {
      const auto s = static_cast<std::size_t>(dataset.responses.sample[static_cast<std::size_t>(row)]);
      CHECK(dataset.tissues[static_cast<std::size_t>(dataset.samples.tissue[s])] != "big");
    }
  }
}

TEST_CASE("samples of unknown tissue are always trained on and never tested or validated") {
  auto data = grid();
  const auto dataset = data.build();
  for (const auto& fold : make_split(dataset, spec_of("lto"), all_rows(dataset)).folds) {
    const auto unknown = [&](auto row) {
      return has_no_tissue(dataset, static_cast<std::size_t>(dataset.responses.sample[static_cast<std::size_t>(row)]));
    };
    CHECK(std::none_of(fold.test.begin(), fold.test.end(), unknown));
    CHECK(std::none_of(fold.validation.begin(), fold.validation.end(), unknown));
    CHECK(std::none_of(fold.early_stop.begin(), fold.early_stop.end(), unknown));
    CHECK(std::count_if(fold.train.begin(), fold.train.end(), unknown) > 0);
  }
}

TEST_CASE("a full 5 x 5 grid of blocks discards 8 of 25 records") {
  TinyDataset data;
  for (int d = 0; d < 20; ++d) data.drug(numbered("d", d));
  for (int s = 0; s < 40; ++s) {
    data.sample(numbered("s", s));
    for (int d = 0; d < 20; ++d) data.record(numbered("s", s), numbered("d", d), s + d);
  }
  const auto dataset = data.build();
  SplitSpec spec;
  spec.kind = "lcdo";
  spec.folds = 5;
  const auto split = make_split(dataset, spec, all_rows(dataset));
  REQUIRE(split.folds.size() == 25);
  for (const auto& fold : split.folds) {
    CHECK(fold.test.size() == 8 * 4);
    CHECK(fold.n_discarded - fold.n_discarded_inner == 8 * 16 + 32 * 4);  // 256 of 800
    CHECK(fold.validation.size() == 4 * 2);                               // one eighth of 32 lines and of 16 drugs
    CHECK(fold.train.size() == 28 * 14);
    CHECK(fold.early_stop.size() == 4 * 14);
    CHECK(fold.n_discarded_inner == 4 * 14 + 28 * 2);
  }
}

TEST_CASE("pairs811 is 8 to 1 to 1, validates on the next fold and stops there too") {
  auto data = grid();
  const auto dataset = data.build();
  const auto split = make_split(dataset, spec_of("pairs811", 4), all_rows(dataset));
  const auto n = static_cast<double>(rows_of(dataset, 0).size());
  for (int fold = 0; fold < 10; ++fold) {
    const auto& f = split.at(0, fold);
    CHECK(f.validation == split.at(0, (fold + 1) % 10).test);
    CHECK(f.early_stop == f.validation);
    CHECK(f.early_stop_is_validation);
    CHECK_THAT(static_cast<double>(f.test.size()) / n, WithinAbs(0.1, 0.005));
    CHECK_THAT(static_cast<double>(f.train.size()) / n, WithinAbs(0.8, 0.005));
  }
}

TEST_CASE("transfer tests every labelled target record and keeps test patients out of the pool") {
  auto data = grid();
  const auto dataset = data.build();
  auto spec = spec_of("transfer");
  spec.inner_group = GENERATE("sample", "pair");
  spec.transductive = GENERATE(false, true);
  const auto split = make_split(dataset, spec, all_rows(dataset));
  REQUIRE(split.folds.size() == 3);
  for (const auto& fold : split.folds) {
    CHECK(fold.test.size() == 32);  // 16 patients x 2; the record of cell line s00 in the target is no unseen sample
    CHECK(fold.n_test_groups == 16);
    for (const auto row : fold.test) CHECK(sample_group(dataset, row) != "s00");
    for (const auto row : fold.train) {
      const auto s = static_cast<std::size_t>(dataset.responses.sample[static_cast<std::size_t>(row)]);
      CHECK(dataset.samples.domain[s] == 0);
    }
    // 25 target samples: 16 tested, 2 second samples of tested patients, 6 unlabelled patients and the cell line.
    CHECK(fold.unlabelled_samples.size() == (spec.transductive ? 25 : 7));
    CHECK(fold.transductive == spec.transductive);
    CHECK(fold.early_stop_is_validation == (spec.inner_group == "pair"));
    const auto source = static_cast<std::int64_t>(rows_of(dataset, 0).size());
    const auto used = static_cast<std::int64_t>(fold.train.size() + fold.validation.size());
    CHECK(fold.n_discarded == 1 + source - used);
    if (spec.inner_group == "sample") CHECK(used == source);
  }
}

TEST_CASE("a scaffold holds all its drugs and acyclic drugs stand alone") {
  TinyDataset data;
  data.sample("s").drug("a", "", "c1ccccc1").drug("b", "", "c1ccccc1").drug("c").drug("d");
  data.drug("e", "same").drug("f", "same", "C1CC1");  // one structure, its scaffold given once
  for (const char* drug : {"a", "b", "c", "d", "e", "f"}) data.record("s", drug, 0.0);
  const auto dataset = data.build();
  const auto groups = group_records(dataset, "scaffold");
  REQUIRE(groups.of_row.size() == 6);
  CHECK(groups.of_row[0] == groups.of_row[1]);
  CHECK(groups.of_row[4] == groups.of_row[5]);
  CHECK(groups.name.size() == 4);
  CHECK(groups.name[static_cast<std::size_t>(groups.of_row[2])] == std::string("acyclic\x1f") + "c");
}

TEST_CASE("impossible splits are refused with a sentence") {
  auto data = grid();
  const auto dataset = data.build();
  const auto rows = all_rows(dataset);
  const auto refuse = [&](SplitSpec spec, const std::string& sentence) {
    CHECK_THROWS_WITH(make_split(dataset, spec, rows), contains(sentence));
  };
  auto spec = spec_of("lco");
  spec.kind = "loco";
  refuse(spec, "unknown split kind 'loco'; known: lpo, lco");
  spec = spec_of("lco");
  spec.folds = 1;
  refuse(spec, "at least 2 folds, not 1");
  spec = spec_of("lco");
  spec.repeats = 0;
  refuse(spec, "at least 1 repeat");
  spec = spec_of("lco");
  spec.folds = 30;
  refuse(spec, "would test 1 sample, fewer than 2; try fewer folds, another seed or more data");
  spec = spec_of("lco");
  spec.source = "moon";
  refuse(spec, "moon");
  spec = spec_of("pairs811");
  spec.folds = 5;
  refuse(spec, "10 folds by definition, not 5");
  spec = spec_of("transfer");
  spec.target = "lines";
  refuse(spec, "both 'lines'");
  spec = spec_of("transfer");
  spec.target = "";
  refuse(spec, "needs a source and a target domain");
  spec = spec_of("transfer");
  spec.inner_group = "tissue";
  refuse(spec, "'sample' or 'pair', not 'tissue'");
  spec = spec_of("lco");
  spec.target = "patients";
  refuse(spec, "go with split kind 'transfer'");
  spec = spec_of("file");
  spec.source = "";
  refuse(spec, "needs the name of a split file");

  CHECK_THROWS_WITH(make_split(dataset, spec_of("lco"), {}), contains("no usable record to split in domain lines"));
  CHECK_THROWS_WITH(make_split(dataset, spec_of("transfer"), rows_of(dataset, 0)),
                    contains("no usable record in the target domain patients"));
  const auto few = rows_of(dataset, 0);
  CHECK_THROWS_WITH(make_split(dataset, spec_of("lpo"), Rows(few.begin(), few.begin() + 20)),
                    contains("fold 0 would test 7 records, fewer than 10"));
}

TEST_CASE("a split by scaffold or tissue says what the data lack") {
  TinyDataset data;
  data.sample("a", "lung", "patient").sample("b", "liver", "patient").drug("d");
  data.record("a", "d", 1.0).record("b", "d", 2.0);
  const auto dataset = data.build();
  CHECK_THROWS_WITH(group_records(dataset, "scaffold"), contains("no drug of this data set has a scaffold"));
  CHECK_THROWS_WITH(group_records(dataset, "tissue"), contains("patient has lung and liver"));
}

TEST_CASE("the guard finds every kind of overlap") {
  auto data = grid();
  const auto dataset = data.build();
  auto split = make_split(dataset, spec_of("lco"), all_rows(dataset));
  auto& fold = split.folds[1];
  const auto insert = [](Rows& rows, std::int32_t row) {
    rows.insert(std::lower_bound(rows.begin(), rows.end(), row), row);
  };
  CHECK_NOTHROW(assert_disjoint(dataset, split));

  SECTION("a record in train and test") {
    insert(fold.train, fold.test[5]);
    CHECK_THROWS_AS(assert_disjoint(dataset, split), std::logic_error);
    CHECK_THROWS_WITH(assert_disjoint(dataset, split), contains("fold 1 of repeat 0: record"));
  }
  SECTION("a record of a test sample in train") {
    insert(fold.train, fold.test[5]);
    fold.test.erase(fold.test.begin() + 5);
    CHECK_THROWS_WITH(assert_disjoint(dataset, split), contains("sample s"));
  }
  SECTION("a record of a test sample in validation") {
    insert(fold.validation, fold.test[5]);
    fold.test.erase(fold.test.begin() + 5);
    CHECK_THROWS_WITH(assert_disjoint(dataset, split), contains("is in validation and in test"));
  }
  SECTION("an early-stopping record that is not in train") {
    insert(fold.early_stop, fold.validation[0]);
    CHECK_THROWS_WITH(assert_disjoint(dataset, split), contains("not in train"));
  }
  SECTION("a sample of the training rows in early stopping") {
    fold.early_stop.erase(fold.early_stop.begin());
    CHECK_THROWS_WITH(assert_disjoint(dataset, split), contains("early stopping"));
  }
  SECTION("a test patient in the unlabelled pool") {
    auto transfer = make_split(dataset, spec_of("transfer"), all_rows(dataset));
    const auto sample = dataset.responses.sample[static_cast<std::size_t>(transfer.folds[0].test[0])];
    insert(transfer.folds[0].unlabelled_samples, sample);
    CHECK_THROWS_WITH(assert_disjoint(dataset, transfer), contains("the unlabelled pool"));
    transfer.folds[0].transductive = true;
    CHECK_NOTHROW(assert_disjoint(dataset, transfer));
  }
}

TEST_CASE("a fold that does not exist is named") {
  auto data = grid();
  const auto dataset = data.build();
  const auto split = make_split(dataset, spec_of("lco"), all_rows(dataset));
  CHECK(split.at(0, 2).fold == 2);
  CHECK_THROWS_WITH(split.at(0, 3), contains("no fold 3 in repeat 0"));
}

TEST_CASE("300,000 records are split in seconds", "[.speed]") {
  TinyDataset data;
  for (int d = 0; d < 300; ++d) data.drug("d" + std::to_string(d));
  for (int s = 0; s < 1000; ++s) data.sample("s" + std::to_string(s), "t" + std::to_string(s % 30));
  std::vector<std::int32_t> sample, drug, replicate(300000, 0);
  std::vector<double> value(300000, 1.0);
  std::vector<std::int8_t> label(300000, 1);
  for (std::int32_t row = 0; row < 300000; ++row) {
    sample.push_back(row / 300);
    drug.push_back(row % 300);
  }
  auto dataset = data.build();
  dataset.responses = {sample, drug, value, label, replicate, "ln_ic50_um"};
  (void)dataset.data_hash();
  for (const char* kind : {"lpo", "lco", "ldo", "lto", "lcdo", "pairs811"}) {
    SplitSpec spec;
    spec.kind = kind;
    spec.folds = spec.kind == "lcdo" ? 5 : 10;
    const auto start = std::chrono::steady_clock::now();
    const auto split = make_split(dataset, spec, all_rows(dataset));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::cout << kind << ": " << seconds.count() << " s, hash " << split.hash << "\n";
  }
}
