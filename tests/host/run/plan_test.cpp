// SPDX-License-Identifier: Apache-2.0
#include "run/plan.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <set>

#include "base/error.hpp"
#include "host/run/run_fixture.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::RunFixture;

namespace {

/// A card in its shortest form; \p more are further members.
std::string card(const std::string& more = "") {
  return R"({"card":1,"id":"test.model","version":"1.0.0","title":"t","licence":"Apache-2.0",
    "tasks":["regression","binary"],"params":[{"key":"lambda","type":"real","default":1.0,"doc":"d"}])" +
         more + "}";
}

std::string key_after(const std::function<void(RunFixture&)>& change, std::size_t cell = 0) {
  RunFixture fixture(card());
  change(fixture);
  return fixture.plan().cells.at(cell).key;
}

std::vector<double> sorted(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values;
}

std::vector<double> pick(const std::vector<double>& y, const std::vector<std::int32_t>& rows) {
  std::vector<double> out;
  for (const auto r : rows) out.push_back(y[static_cast<std::size_t>(r)]);
  return out;
}

}  // namespace

TEST_CASE("A step that learns from the source needs a split with a source") {
  RunFixture fixture(card());
  auto content = test::small_content();
  content.fitted_steps = {{FittedStep::Kind::zscore, "patients", FittedStep::From::source, 0}};
  write_dataset(content, fixture.folder / "fitted.h5");
  fixture.dataset = Dataset::open(fixture.folder / "fitted.h5");
  CHECK_NOTHROW(fixture.plan());
  fixture.split.spec.source.clear();
  CHECK_THROWS_WITH(fixture.plan(), contains("this split has none"));
}

TEST_CASE("A label is 1 strictly below the drug's median over training rows and 0 on it") {
  RunFixture fixture(card());
  fixture.experiment.task = "binary";
  fixture.experiment.label.kind = "per_drug_median";
  auto fold = fixture.split.folds[0];
  fold.train = test::rows_of(fixture.dataset, {"l0", "l1", "l2"});  // values rise with the sample: the median is l1's
  const auto targets = make_targets(fixture.experiment, fixture.dataset, fold);
  for (int d = 0; d < test::kDrugs; ++d)
    CHECK(targets.threshold_per_drug[std::size_t(d)] == test::response_value(1, d));
  CHECK(pick(targets.y, test::rows_of(fixture.dataset, {"l0"})) == std::vector<double>{1, 1, 1});
  CHECK(pick(targets.y, test::rows_of(fixture.dataset, {"l1"})) == std::vector<double>{0, 0, 0});
  CHECK(pick(targets.y, test::rows_of(fixture.dataset, {"l5"})) == std::vector<double>{0, 0, 0});

  SECTION("an even count takes the middle of the two middle values") {
    fold.train = test::rows_of(fixture.dataset, {"l0", "l1", "l2", "l3"});
    const auto even = make_targets(fixture.experiment, fixture.dataset, fold);
    CHECK(even.threshold_per_drug[0] == (test::response_value(1, 0) + test::response_value(2, 0)) / 2);
  }
  SECTION("records that carry a label and no value keep the label") {
    const auto patients = test::rows_of(fixture.dataset, {"p1"});  // sample 7: labels (7 + d) % 2
    CHECK(pick(targets.y, patients) == std::vector<double>{1, 0, 1});
  }
  SECTION("a drug without training rows has the threshold of all training rows together") {
    fold.train.clear();
    for (const auto row : test::rows_of(fixture.dataset, {"l0", "l1", "l2"}))
      if (fixture.dataset.responses.drug[static_cast<std::size_t>(row)] != 2) fold.train.push_back(row);
    const auto cold = make_targets(fixture.experiment, fixture.dataset, fold);
    // Six values; the third and fourth in order are those of l1: drug 1 below drug 0.
    const double expected = (test::response_value(1, 1) + test::response_value(1, 0)) / 2;
    CHECK_THAT(cold.fallback_threshold, test::WithinRel(expected, 1e-14));
    CHECK(cold.threshold_per_drug[2] == cold.fallback_threshold);
  }
}

TEST_CASE("Thresholds do not move when values outside of the training rows do") {
  auto content = test::small_content();
  RunFixture fixture(card());
  fixture.experiment.task = "binary";
  for (const std::string rule : {"per_drug_median", "per_drug_mean"}) {
    fixture.experiment.label.kind = rule;
    const auto before = make_targets(fixture.experiment, fixture.dataset, fixture.split.folds[0]);
    for (auto& response : content.responses)
      if (response.sample == 4 || response.sample == 5) response.value -= 1000;
    write_dataset(content, fixture.folder / "moved.h5");
    const auto moved = Dataset::open(fixture.folder / "moved.h5");
    const auto after = make_targets(fixture.experiment, moved, fixture.split.folds[0]);
    CHECK(before.threshold_per_drug == after.threshold_per_drug);
    CHECK(before.y != after.y);
  }
}

TEST_CASE("Usable rows are those that have what the task needs") {
  RunFixture fixture(card());
  const auto lines = test::rows_of(fixture.dataset, {"l0", "l1", "l2", "l3", "l4", "l5"});
  const auto patients = test::rows_of(fixture.dataset, {"p0", "p1", "p2"});
  CHECK(usable_rows(fixture.experiment, fixture.dataset) == lines);
  fixture.experiment.task = "binary";
  CHECK(usable_rows(fixture.experiment, fixture.dataset) == patients);
  fixture.experiment.label.kind = "per_drug_mean";
  CHECK(usable_rows(fixture.experiment, fixture.dataset).size() == lines.size() + patients.size());
}

TEST_CASE("Thresholds of a table: strictly below is 1, a tie is 0, and drugs that it does not name take no part") {
  RunFixture fixture(card());
  fixture.experiment.task = "binary";
  fixture.experiment.label.kind = "per_drug_table";
  fixture.experiment.label.per_drug = {
      {"d0", test::response_value(2, 0)}, {"d2", 1000.0}, {"a drug of elsewhere", 1.0}};
  const auto targets = make_targets(fixture.experiment, fixture.dataset, fixture.split.folds[0]);
  const auto usable = usable_rows(fixture.experiment, fixture.dataset);
  CHECK(std::isnan(targets.fallback_threshold));
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(fixture.dataset.responses.size()); ++row) {
    const auto r = static_cast<std::size_t>(row);
    const auto sample = fixture.dataset.responses.sample[r], drug = fixture.dataset.responses.drug[r];
    const bool taken = std::binary_search(usable.begin(), usable.end(), row);
    INFO("sample " << sample << ", drug " << drug);
    if (sample >= test::kLines) {  // patients: the label as given
      CHECK(targets.y[r] == (sample + drug) % 2);
      CHECK(taken);
    } else if (drug == 1) {
      CHECK(std::isnan(targets.y[r]));
      CHECK_FALSE(taken);
    } else {
      CHECK(targets.y[r] == (drug == 2 || sample < 2 ? 1 : 0));  // the value rises with the sample
      CHECK(taken);
    }
  }
  const auto words = describe_label_rule(fixture.experiment.label, fixture.dataset);
  CHECK(words["drugs_without_threshold"] == 1);

  SECTION("and a table that names no drug of the data set is an error") {
    fixture.experiment.label.per_drug = {{"a drug of elsewhere", 1.0}};
    CHECK_THROWS_WITH(usable_rows(fixture.experiment, fixture.dataset),
                      contains("has no threshold for any of the 3 drugs of data set small"));
  }
}

TEST_CASE("The negative control permutes what models see and leaves the truth alone") {
  RunFixture fixture(card());
  fixture.experiment.shuffle_labels = true;
  const auto& fold = fixture.split.folds[0];
  const auto targets = make_targets(fixture.experiment, fixture.dataset, fold);
  const auto shown = shown_targets(fixture.experiment, fixture.split, fold, targets);
  CHECK(pick(shown, fold.train) != pick(targets.y, fold.train));
  CHECK(sorted(pick(shown, fold.train)) == sorted(pick(targets.y, fold.train)));
  CHECK(pick(shown, fold.test) == pick(targets.y, fold.test));
  CHECK(pick(shown, fold.train) == pick(shown_targets(fixture.experiment, fixture.split, fold, targets), fold.train));
  auto other = fold;
  other.fold = 1;
  CHECK(pick(shown, fold.train) != pick(shown_targets(fixture.experiment, fixture.split, other, targets), fold.train));
  fixture.experiment.shuffle_labels = false;
  CHECK(pick(shown_targets(fixture.experiment, fixture.split, fold, targets), fold.train) ==
        pick(targets.y, fold.train));
}

TEST_CASE("A key changes when and only when the result may change") {
  const auto base = key_after([](auto&) {});
  CHECK(base.size() == 64);
  CHECK(base == key_after([](auto&) {}));

  struct Change {
    const char* what;
    std::function<void(RunFixture&)> apply;
  };
  const Change same[] = {
      {"name of the experiment", [](auto& f) { f.experiment.name = "other"; }},
      {"name of the model", [](auto& f) { f.experiment.models[0].name = "other"; }},
      {"a default, spelled out", [](auto& f) { f.experiment.models[0].params["lambda"] = 1.0; }},
      {"threads", [](auto& f) { f.experiment.run.threads = 2; }},
      {"jobs", [](auto& f) { f.experiment.run.jobs = 5; }},
      {"time limit", [](auto& f) { f.experiment.run.timeout_s = 1; }},
      {"memory limit", [](auto& f) { f.experiment.run.memory_mb = 1; }},
      {"saving of models", [](auto& f) { f.experiment.run.save_models = true; }},
      {"place of the plugin", [](auto& f) { f.registry.models[0].plugin = "/elsewhere/echo.so"; }},
      {"another model beside it",
       [](auto& f) {
         f.experiment.models.push_back(f.experiment.models[0]);
         f.experiment.models[1].name = "second";
         f.experiment.models[1].params["lambda"] = 2.0;
       }},
      {"a label rule in a regression", [](auto& f) { f.experiment.label.kind = "per_drug_mean"; }},
      {"reference of the report", [](auto& f) { f.experiment.reference_model = "test.model"; }},
  };
  for (const auto& change : same) {
    INFO(change.what);
    CHECK(key_after(change.apply) == base);
  }

  const Change different[] = {
      {"plugin file", [](auto& f) { f.registry.models[0].plugin_hash = std::string(64, 'c'); }},
      {"card", [](auto& f) { f.registry.models[0].card = Card::parse(card(R"(,"paper":"x")"), "t"); }},
      {"parameter", [](auto& f) { f.experiment.models[0].params["lambda"] = 2.0; }},
      {"split", [](auto& f) { f.split.hash = std::string(64, 'd'); }},
      {"fold", [](auto& f) { f.split.folds[0].fold = 1; }},
      {"repeat", [](auto& f) { f.split.folds[0].repeat = 1; }},
      {"seed", [](auto& f) { f.experiment.seeds = {1}; }},
      {"task",
       [](auto& f) {
         f.experiment.task = "binary";
         f.experiment.label.kind = "per_drug_median";
       }},
      {"label rule",
       [](auto& f) {
         f.experiment.task = "binary";
         f.experiment.label.kind = "per_drug_mean";
       }},
      {"fixed threshold",
       [](auto& f) {
         f.experiment.task = "binary";
         f.experiment.label.kind = "fixed";
         f.experiment.label.threshold = 1;
       }},
      {"another fixed threshold",
       [](auto& f) {
         f.experiment.task = "binary";
         f.experiment.label.kind = "fixed";
         f.experiment.label.threshold = 2;
       }},
      {"table of thresholds",
       [](auto& f) {
         f.experiment.task = "binary";
         f.experiment.label.kind = "per_drug_table";
         f.experiment.label.per_drug = {{"d0", 1.0}};
       }},
      {"another number in the table of thresholds",
       [](auto& f) {
         f.experiment.task = "binary";
         f.experiment.label.kind = "per_drug_table";
         f.experiment.label.per_drug = {{"d0", 2.0}};
       }},
      {"shuffled labels", [](auto& f) { f.experiment.shuffle_labels = true; }},
      {"refit", [](auto& f) { f.experiment.refit = "train+val"; }},
      {"data",
       [](auto& f) {
         auto content = test::small_content();
         content.expression[0] += 1;
         write_dataset(content, f.folder / "other.h5");
         f.dataset = Dataset::open(f.folder / "other.h5");
       }},
      {"device class",
       [](auto& f) {
         f.registry.models[0].card.devices = {"cpu", "cuda"};
         f.experiment.run.device = "cuda:1";
       }},
  };
  std::set<std::string> seen = {base};
  for (const auto& change : different) {
    INFO(change.what);
    CHECK(seen.insert(key_after(change.apply)).second);
  }
}

TEST_CASE("Only the class of a device is in the key") {
  const auto on = [](const char* device) {
    return key_after([&](auto& f) {
      f.registry.models[0].card.devices = {"cuda"};
      f.experiment.run.device = device;
    });
  };
  CHECK(on("cuda") == on("cuda:3"));
}

TEST_CASE("A model that knows the CPU only runs there beside one that uses the GPU") {
  RunFixture fixture(card(R"(,"traits":{"devices":["cpu","cuda"]})"));
  auto other = fixture.registry.models[0];
  other.card = Card::parse(card(), "t");
  other.card.id = "test.other";
  fixture.registry.models.push_back(other);
  ModelRequest request;
  request.id = request.name = "test.other";
  fixture.experiment.models.push_back(request);
  fixture.experiment.run.device = "cuda:1";
  const auto plan = fixture.plan();
  CHECK(plan.cells.at(0).device == "cuda:1");
  CHECK(plan.cells.at(0).key_inputs.at("device") == "cuda");
  CHECK(plan.cells.at(1).device == "cpu");
  CHECK(plan.cells.at(1).key_inputs.at("device") == "cpu");
}

TEST_CASE("A baseline that nobody named is left out with a sentence where it cannot run") {
  RunFixture fixture(card());
  ModelRequest absent;
  absent.id = absent.name = "perturbation.absent";
  fixture.experiment.models.push_back(absent);
  CHECK_THROWS_WITH((void)fixture.plan(), contains("no model \"perturbation.absent\""));
  fixture.experiment.models.back().added = true;
  const auto plan = fixture.plan();
  CHECK(plan.cells.size() == fixture.split.folds.size());
  REQUIRE(plan.left_out.size() == 1);
  CHECK_THAT(plan.left_out.front(), contains("the baseline perturbation.absent is left out: no model"));
}

TEST_CASE("Stochastic models run all seeds, others the first one") {
  RunFixture fixture(card());
  fixture.experiment.seeds = {5, 6, 7};
  auto second = fixture.split.folds[0];
  second.fold = 1;
  fixture.split.folds.push_back(second);
  auto stochastic = fixture.registry.models[0];
  stochastic.card = Card::parse(card(R"(,"traits":{"stochastic":true})"), "t");
  stochastic.card.id = "test.stochastic";
  fixture.registry.models.push_back(stochastic);
  ModelRequest request;
  request.id = request.name = "test.stochastic";
  fixture.experiment.models.push_back(request);

  std::string order;
  for (const auto& cell : fixture.plan().cells)
    order += std::to_string(cell.fold) + ":" + std::to_string(cell.seed) + ":" + cell.request.name.substr(5, 2) + " ";
  CHECK(order == "0:5:mo 0:5:st 0:6:st 0:7:st 1:5:mo 1:5:st 1:6:st 1:7:st ");
}

TEST_CASE("Operations of different folds, repeats and seeds have different seeds") {
  CellPlan cell;
  std::set<std::uint64_t> seen;
  for (cell.seed = 0; cell.seed < 3; ++cell.seed)
    for (cell.repeat = 0; cell.repeat < 3; ++cell.repeat)
      for (cell.fold = 0; cell.fold < 11; ++cell.fold) seen.insert(operation_seed(cell));
  CHECK(seen.size() == 99);
}

TEST_CASE("A model that cannot run on the data set is refused in one sentence") {
  const auto refusal = [](const std::string& more, const std::function<void(RunFixture&)>& change = {}) {
    RunFixture fixture(card(more));
    if (change) change(fixture);
    try {
      static_cast<void>(fixture.plan());
    } catch (const UsageError& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  CHECK(refusal("") == "accepted");
  CHECK(refusal(R"(,"needs":{"samples":["expression","tissue","domain"],"drugs":["smiles"]})") == "accepted");
  CHECK_THAT(refusal(R"(,"needs":{"samples":["mutation"]})"),
             contains("needs the sample block \"mutation\", which data set small does not have (it has: domain, "));
  CHECK_THAT(refusal(R"(,"needs":{"drugs":["morgan"]})"), contains("needs the drug block \"morgan\""));
  CHECK_THAT(refusal(R"(,"needs":{"unlabelled_target":"required"})"), contains("unlabelled samples of a target"));
  CHECK_THAT(refusal("", [](auto& f) { f.experiment.task = "expression"; }), contains("cannot do task"));
  CHECK_THAT(refusal(R"(,"traits":{"devices":["cuda"]})"),
             contains("cannot run on device \"cpu\"; its card says: cuda"));
  CHECK_THAT(refusal("", [](auto& f) { f.experiment.models[0].params["lamda"] = 1; }), contains("lambda"));
  CHECK_THAT(refusal("", [](auto& f) { f.experiment.models.push_back(f.experiment.models[0]); }),
             contains("two models are called"));
  CHECK_THAT(refusal("",
                     [](auto& f) {
                       f.experiment.models.push_back(f.experiment.models[0]);
                       f.experiment.models[1].name = "twin";
                     }),
             contains("are the same model with the same parameters"));
  CHECK_THAT(refusal("", [](auto& f) { f.experiment.seeds = {1, 1}; }), contains("a seed twice"));
}

TEST_CASE("Assets are found, hashed into the key and compared with the card") {
  const auto sha = sha256_hex("weights");
  const auto needs = [](const std::string& hash) {
    return R"(,"needs":{"assets":[{"id":"encoder","sha256":")" + hash + R"(","required":true}]})";
  };
  RunFixture fixture(card(needs(sha)));
  CHECK_THROWS_WITH(fixture.plan(), contains("needs the asset \"encoder\""));
  std::ofstream(fixture.folder / "w.bin") << "weights";
  fixture.experiment.models[0].assets["encoder"] = "w.bin";
  const auto plan = fixture.plan();
  REQUIRE(plan.cells[0].assets.size() == 1);
  CHECK(plan.cells[0].assets[0].path == fixture.folder / "w.bin");
  CHECK(plan.cells[0].key_inputs["assets"]["encoder"] == sha);
  std::ofstream(fixture.folder / "w.bin") << "other";
  CHECK_THROWS_WITH(fixture.plan(), contains("the card expects " + sha));
  fixture.experiment.models[0].assets["decoder"] = "w.bin";
  fixture.experiment.models[0].assets.erase("encoder");
  CHECK_THROWS_AS(fixture.plan(), UsageError);
}
