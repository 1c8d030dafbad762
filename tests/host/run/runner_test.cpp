// SPDX-License-Identifier: Apache-2.0
#include "run/runner.hpp"

#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill is POSIX
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "base/error.hpp"
#include "base/log.hpp"
#include "host/run/runner_fixture.hpp"
#include "support/catch.hpp"
#include "support/small_disk.hpp"

using namespace cdrzoo;
using namespace cdrzoo::test;
namespace fs = std::filesystem;

namespace {

std::string file_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

const CellPlan& cell_of(const RunFixture& f, const std::string& name, int fold) {
  for (const auto& cell : f.plan.cells) {
    if (cell.request.name == name && cell.fold == fold) return cell;
  }
  throw std::logic_error("no cell of " + name);
}

/// Nothing but cells, runs and the gate's lock stays in a store.
void check_clean(const fs::path& store) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(store / "tmp")) names.insert(entry.path().filename().string());
  CHECK(names == std::set<std::string>{"gate"});
}

/// Every cell of fixture.good is what the plugin and the data say, to the last bit.
void check_good_cells(const RunFixture& f) {
  const Store store = f.open();
  for (const auto& cell : f.plan.cells) {
    if (cell.request.id != "fixture.good") continue;
    REQUIRE(store.has(cell.key));
    const Record record = store.check(cell.key);
    CHECK(record.status == "ok");
    CHECK(record.message.empty());
    const Fold& fold = f.split.at(cell.repeat, cell.fold);
    const Targets targets = make_targets(f.experiment, f.dataset, fold);
    double mean = 0;
    for (const auto row : fold.train)
      mean += static_cast<double>(static_cast<float>(targets.y[static_cast<std::size_t>(row)]));
    mean /= static_cast<double>(fold.train.size());

    const PredictionTable table = store.predictions(cell.key);
    REQUIRE(table.size() == fold.validation.size() + fold.test.size());
    bool same = true;
    for (std::size_t i = 0; i < table.size(); ++i) {
      const bool test = i >= fold.validation.size();
      const std::int32_t row = test ? fold.test[i - fold.validation.size()] : fold.validation[i];
      const auto sample = static_cast<std::size_t>(f.dataset.responses.sample[static_cast<std::size_t>(row)]);
      const auto drug = static_cast<std::size_t>(f.dataset.responses.drug[static_cast<std::size_t>(row)]);
      const float gene = f.dataset.expression().row(static_cast<std::int64_t>(sample))[0];
      same = same && table.part[i] == (test ? "test" : "validation") && table.record[i] == row &&
             table.sample[i] == f.dataset.samples.id[sample] && table.drug[i] == f.dataset.drugs.id[drug] &&
             table.domain[i] == "lines" && table.truth[i] == targets.y[static_cast<std::size_t>(row)] &&
             // The order of summation is the plugin's, in the order of its rows: equal up to rounding.
             std::abs(table.prediction[i] - (static_cast<double>(gene) + mean)) < 1e-5 && table.status[i] == 0;
    }
    CHECK(same);
  }
}

}  // namespace

TEST_CASE("predictions come back to their rows, with truth, names and context") {
  RunFixture f({good()}, GENERATE(as<std::string>(), "regression", "binary"));
  const RunSummary summary = f.run();
  CHECK(summary.total == 5);
  CHECK(summary.ok == 5);
  CHECK(summary.failed == 0);
  CHECK(summary.reused == 0);
  CHECK_FALSE(summary.interrupted);
  check_good_cells(f);
  check_clean(f.experiment.store);

  const Store store = f.open();
  const Record r = store.record(f.plan.cells[0].key);
  CHECK(r.model == "fixture.good");
  CHECK(r.model_version == "1.0.0");
  CHECK(r.dataset == "run fixture");
  CHECK(r.dataset_hash == f.dataset.file_hash());
  CHECK(r.task == f.experiment.task);
  CHECK(r.caveats == std::vector<std::string>{"these data are made up", "the lines grew on paper"});
  CHECK(r.split.at("kind") == "lco");
  CHECK(r.split.at("hash") == f.split.hash);
  CHECK(r.n_train == static_cast<std::int64_t>(f.split.folds[0].train.size()));
  CHECK(r.n_test_groups == 6);
  CHECK(r.host.at("threads") == 1);
  CHECK(r.host.at("environment").at("variables").at("OMP_WAIT_POLICY") == "PASSIVE");
  CHECK(r.timing.at("fit_s").is_number());
  CHECK(r.timing.at("peak_rss_mb").get<double>() > 1);
  std::map<std::string, int> tissues;
  for (const auto& cell : f.plan.cells) {
    const PredictionTable table = store.predictions(cell.key);
    for (std::size_t i = 0; i < table.size(); ++i) tissues[table.tissue[i]] += table.part[i] == "test" ? 1 : 0;
  }
  // Each sample is a test sample once; every sixth has no known tissue.
  CHECK(tissues == std::map<std::string, int>{{"", 30}, {"t0", 30}, {"t1", 30}, {"t2", 30}, {"t3", 30}, {"t4", 30}});
}

TEST_CASE("the record of a cell says what was fitted on its training samples") {
  RunFixture f({good()});
  auto content = run_fixture_content();
  content.fitted_steps = {{FittedStep::Kind::zscore, "", FittedStep::From::own_domain, 0}};
  write_dataset(content, f.folder.path() / "data.h5");
  f.dataset = Dataset::open(f.folder.path() / "data.h5");
  f.remake();
  CHECK(f.run().ok == 5);
  const Store store = f.open();
  for (const auto& cell : f.plan.cells) {
    const auto fitted = store.record(cell.key).fitted;
    std::set<std::int32_t> samples;
    for (const auto row : f.split.at(cell.repeat, cell.fold).train)
      samples.insert(f.dataset.responses.sample[static_cast<std::size_t>(row)]);
    CHECK(fitted.at("steps").at(0).at("samples") == samples.size());
    CHECK(fitted.at("steps").at(0).at("statistics_of") == "lines");
    CHECK(fitted.at("sentences").at(0) == "Expression was z-scored per domain on the training samples of each fold.");
  }
}

TEST_CASE("a finished run is not run again, and a new model adds its cells alone") {
  RunFixture f({good()});
  CHECK(f.run().ok == 5);
  const std::string before = file_text(f.experiment.store / "cells" / f.plan.cells[0].key / "record.json");
  const RunSummary again = f.run();
  CHECK(again.reused == 5);
  CHECK(again.ok == 0);
  CHECK((file_text(f.experiment.store / "cells" / f.plan.cells[0].key / "record.json") == before));
  f.experiment.models.push_back(good(1));
  f.experiment.models.back().name = "slower";
  f.remake();
  const RunSummary more = f.run();
  CHECK(more.total == 10);
  CHECK(more.reused == 5);
  CHECK(more.ok == 5);
}

TEST_CASE("one and two workers at a time give the same predictions") {
  ModelRequest other = good(3);
  other.name = "other";
  RunFixture f({good(), other});
  f.experiment.run.jobs = 1;
  f.remake();
  CHECK(f.run().ok == 10);
  const fs::path one = f.experiment.store;
  f.experiment.store = f.folder.path() / "store of two";
  f.experiment.run.jobs = 2;
  f.remake();
  CHECK(f.run().ok == 10);
  for (const auto& cell : f.plan.cells) {
    CHECK((file_text(one / "cells" / cell.key / "predictions.h5") ==
           file_text(f.experiment.store / "cells" / cell.key / "predictions.h5")));
  }
}

TEST_CASE("every way of failing is one failed row with its reason, and the good cells are intact") {
  struct Case {
    const char* how;
    const char* status;
    const char* words;
  };
  const std::vector<Case> cases = {
      {"crash", "crash", "killed by SIGSEGV (Segmentation fault) in fit"},
      {"crash_create", "crash", "in create"},
      {"crash_predict", "crash", "in predict"},
      {"overflow_stack", "crash", "SIGSEGV"},
      {"abort", "crash", "killed by SIGABRT (Aborted) in fit"},
      {"kill_itself", "crash", "killed by SIGKILL (Killed) in fit"},
      {"exit_0", "contract_violation", "exit code 0 in fit"},
      {"exit_3", "contract_violation", "exit code 3 in fit"},
      {"underscore_exit_0", "contract_violation", "exit code 0 in fit"},
      {"hang", "timeout", "over the limit of 1.0 s in fit"},
      {"wait", "timeout", "over the limit of 1.0 s in fit"},
      {"eat", "oom", "over the limit of 300 MiB"},
      {"nan", "numeric", "NaN"},
      {"too_little", "contract_violation", "unwritten"},
      {"overrun", "contract_violation", "output buffer"},
      {"overrun_by_one", "contract_violation", "output buffer"},
      {"write_view", "contract_violation", "views are read-only"},
      {"positive_status", "contract_violation", "7"},
      {"silent_error", "error", "fit"},
      {"error", "error", "these data are not to my taste"},
      {"diverge", "numeric", "the loss is NaN"},
      {"no_model", "contract_violation", "no model"},
      {"lies", "error", "whatever the card says"},
      {"close_all", "error", ""},
  };
  std::vector<ModelRequest> models = {good()};
  for (const auto& c : cases) models.push_back(bad(c.how));
  ModelRequest throws;
  throws.id = throws.name = "fixture.throws";
  models.push_back(throws);
  RunFixture f(std::move(models), "regression", 2);
  RunOptions options;
  options.only = {"fold=0", "model=hang", "model=wait"};
  f.experiment.run.timeout_s = 1;
  CHECK(f.run(options).failed == 2);
  f.experiment.run.timeout_s = 60;
  f.experiment.run.memory_mb = 300;
  options.only = {"fold=0"};
  const RunSummary summary = f.run(options);
  check_clean(f.experiment.store);
  CHECK(summary.total == static_cast<int>(cases.size()) + 2);
  CHECK(summary.ok == 1);
  CHECK(summary.failed == static_cast<int>(cases.size()) + 1);
  const Store store = f.open();
  for (const auto& c : cases) {
    INFO(c.how);
    const Record record = store.record(cell_of(f, c.how, 0).key);
    INFO(record.message);
    CHECK(record.status == c.status);
    CHECK_THAT(record.message, contains(c.words));
  }
  const Record thrown = store.record(cell_of(f, "fixture.throws", 0).key);
  INFO(thrown.message);
  CHECK((thrown.status == "crash" || thrown.status == "contract_violation"));
  options.only = {"model=fixture.good"};
  (void)f.run(options);
  check_good_cells(f);
}

TEST_CASE("what does not break the contract does not fail the cell") {
  RunFixture f({bad("flood"), bad("fork"), bad("fork_session"), bad("leak"), bad("decline_some"), bad("decline")},
               "regression", 2);
  RunOptions options;
  options.only = {"fold=0"};
  CHECK(f.run(options).ok == 6);
  const Store store = f.open();
  CHECK(fs::file_size(store.root() / "cells" / cell_of(f, "flood", 0).key / "log.txt") < (5U << 20U));
  const PredictionTable some = store.predictions(cell_of(f, "decline_some", 0).key);
  int declined = 0;
  for (std::size_t i = 0; i < some.size(); ++i) {
    declined += some.status[i] == 1 ? 1 : 0;
    if (std::isnan(some.prediction[i]) != (some.status[i] == 1)) FAIL("row " << i);
  }
  CHECK(store.record(cell_of(f, "fork_session", 0).key).host.at("worker").at("processes_left_behind") == 1);
  CHECK(declined > 0);
  CHECK(declined < static_cast<int>(some.size()) / 2);
  // Declining everything is an answer, too: a failed cell would take the fold out of the model's mean.
  const Record all = store.record(cell_of(f, "decline", 0).key);
  CHECK(all.status == "ok");
  CHECK_THAT(all.message, contains("declined all"));
  for (const auto value : store.predictions(all.key).prediction) CHECK(std::isnan(value));
}

TEST_CASE("a plugin that no host can load is a failed row with its reason") {
  const auto [file, words] = GENERATE(table<std::string, std::string>({
      {"run_fixture_wrong_symbol.so", "cdrzoo_plugin_v0"},
      {"run_fixture_other_id.so", "somebody.else"},
      {"run_fixture_broken_card.so", "card"},
      {"run_fixture_exits_at_load.so", "exit code 0"},
      {"no_such_file.so", "no_such_file.so"},
  }));
  RunFixture f({good()}, "regression", 2);
  // As if the file had been replaced after it was listed.
  ModelEntry entry = f.registry.find("fixture.good");
  entry.plugin = fixture_folder() / file;
  entry.plugin_hash.clear();
  for (auto& cell : f.plan.cells) cell.model = &entry;
  const RunSummary summary = f.run();
  CHECK(summary.failed == 2);
  const Record record = f.open().record(f.plan.cells[0].key);
  INFO(record.message);
  CHECK((record.status == "contract_violation" || record.status == "error"));
  CHECK_THAT(record.message, contains(words));
}

TEST_CASE("failures stay until they are tried again") {
  RunFixture f({bad("error")}, "regression", 2);
  CHECK(f.run().failed == 2);
  RunSummary again = f.run();
  CHECK(again.failed == 2);
  CHECK(again.ok == 0);
  const std::string key = f.plan.cells[0].key;
  std::ofstream(f.experiment.store / "cells" / key / "mark") << "old";
  RunOptions options;
  options.retry_failed = true;
  options.only = {key.substr(0, 10)};
  again = f.run(options);
  CHECK(again.total == 1);
  CHECK(again.failed == 1);
  CHECK_FALSE(fs::exists(f.experiment.store / "cells" / key / "mark"));  // it is another attempt
}

TEST_CASE("a damaged cell is run again") {
  RunFixture f({good()}, "regression", 2);
  CHECK(f.run().ok == 2);
  const fs::path file = f.experiment.store / "cells" / f.plan.cells[0].key / "predictions.h5";
  fs::resize_file(file, fs::file_size(file) / 2);
  log::set_level(log::Level::off);
  const RunSummary again = f.run();
  log::set_level(log::Level::info);
  CHECK(again.ok == 1);
  CHECK(again.reused == 1);
  check_good_cells(f);
}

TEST_CASE("filters select cells, and one that fits nothing is refused") {
  RunFixture f({good(), bad("error")});
  const auto total = [&](std::vector<std::string> only) {
    RunOptions options;
    options.only = std::move(only);
    return f.run(options).total;
  };
  CHECK(total({"model=fixture.good", "fold=1"}) == 1);
  CHECK(total({"model=error", "model=fixture.good", "fold=1", "fold=2"}) == 4);
  CHECK(total({"model=fixture.bad", "seed=0"}) == 5);
  CHECK(total({f.plan.cells[3].key.substr(0, 16)}) == 1);
  CHECK_THROWS_AS(total({"model=nobody"}), UsageError);
  CHECK_THROWS_WITH(total({"colour=red"}), contains("model, fold, repeat, seed"));
  CHECK_THROWS_AS(total({"fold="}), UsageError);
}

TEST_CASE("a fitted model is stored when asked") {
  RunFixture f({good()}, "regression", 2);
  CHECK(f.run().ok == 2);
  const fs::path model = f.experiment.store / "cells" / f.plan.cells[0].key / "model.safetensors";
  CHECK_FALSE(fs::exists(model));
  f.open().remove(f.plan.cells[0].key);
  f.experiment.run.save_models = true;
  CHECK(f.run().ok == 1);
  CHECK(fs::exists(model));
}

TEST_CASE("a bundle is kept when asked, and replays") {
  RunFixture f({good()}, "regression", 2);
  RunOptions options;
  options.keep_bundles = true;
  CHECK(f.run(options).ok == 2);
  const fs::path task = f.experiment.store / "bundles" / f.plan.cells[0].key / "task.json";
  REQUIRE(fs::exists(task));
  const std::string command = "'" CDRZOO_BIN_DIR "/cdrzoo-worker' run '" + task.string() + "' > /dev/null 2>&1";
  CHECK(std::system(command.c_str()) == 0);  // NOLINT(cert-env33-c)
  CHECK(fs::exists(task.parent_path() / "out" / "predictions.h5"));
  check_clean(f.experiment.store);
}

TEST_CASE("a full disk ends the run with one sentence and keeps what is there") {
  RunFixture f({good()}, "regression", 5);
  const fs::path disk = f.folder.path() / "disk";
  const SmallDisk small(disk, "2m");
  if (!small.mounted()) {
    WARN("skipped: mounting a small file system needs the rights of root");
    return;
  }
  f.experiment.store = disk / "store";
  f.experiment.run.jobs = 1;
  RunOptions options;
  options.only = {"fold=0"};
  CHECK(f.run(options).ok == 1);
  {  // leave a few pages
    std::ofstream filler(disk / "filler");
    const std::string block(4096, 'x');
    while (filler << block << std::flush) {
    }
  }
  fs::resize_file(disk / "filler", fs::file_size(disk / "filler") - 16384);
  std::string message;
  try {
    (void)f.run();
  } catch (const IoError& e) {
    message = e.what();
  }
  CHECK_THAT(message, contains("KiB left"));
  CHECK(f.open().keys().size() == 1);
  CHECK(f.open().check(cell_of(f, "fixture.good", 0).key).status == "ok");
  fs::remove(disk / "filler");
  CHECK(f.run().ok == 4);
  check_good_cells(f);
}

TEST_CASE("a signal stops the run cleanly and the next one completes it") {
  RunFixture f({good(150), bad("wait")}, "regression", 3);
  f.experiment.run.timeout_s = 0;
  f.remake();
  std::thread killer([store = f.experiment.store] {
    // What the runner makes there first, it makes when it already counts signals.
    std::error_code none;
    const auto begun = [&] { return fs::directory_iterator(store / "tmp", none) != fs::directory_iterator(); };
    for (int i = 0; i < 6000 && !begun(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    ::kill(::getpid(), SIGINT);
  });
  const auto begin = std::chrono::steady_clock::now();
  const RunSummary summary = f.run();
  killer.join();
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(60));
  CHECK(summary.interrupted);
  CHECK(summary.ok + summary.failed < summary.total);
  check_clean(f.experiment.store);
  RunOptions options;
  options.only = {"model=fixture.good"};
  const RunSummary rest = f.run(options);
  CHECK(rest.ok + rest.reused == 3);
  CHECK_FALSE(rest.interrupted);
  check_good_cells(f);
}

TEST_CASE("two runs on one store share the work") {
  RunFixture f({good(30)}, "regression", 5);
  RunSummary other;
  // In one process, so that the test sees both; each has its own store and its own claims.
  std::string problem;
  std::thread second([&] {
    try {
      other = f.run();
    } catch (const std::exception& e) {
      problem = e.what();
    }
  });
  RunSummary first;
  try {
    first = f.run();
  } catch (const std::exception& e) {
    problem += e.what();
  }
  second.join();
  CHECK(problem == "");  // NOLINT(readability-container-size-empty): shows what it is
  CHECK(first.ok + first.reused == 5);
  CHECK(other.ok + other.reused == 5);
  CHECK(first.ok + other.ok == 5);
  check_good_cells(f);
}

TEST_CASE("a missing worker program is one sentence") {
  RunFixture f({good()}, "regression", 2);
  ::setenv("CDRZOO_WORKER", "/no/such/worker", 1);
  CHECK_THROWS_WITH(f.run(), contains("/no/such/worker"));
  ::unsetenv("CDRZOO_WORKER");
  CHECK(f.open().keys().empty());
  check_clean(f.experiment.store);
}
