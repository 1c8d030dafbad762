// SPDX-License-Identifier: Apache-2.0
#include "config/experiment.hpp"

#include <fstream>

#include "base/error.hpp"
#include "base/random.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using namespace cdrzoo::test;
using nlohmann::json;

namespace {

constexpr const char* kMinimal = R"(dataset = "data.h5"
[split]
kind = "lco"
[[model]]
id = "baseline.ridge"
)";

/// Loads a text as the file "e.toml" of a fresh folder.
class File {
 public:
  Experiment load(const std::string& text) const {
    std::ofstream(folder_ / "e.toml", std::ios::binary) << text;
    return load_experiment(folder_ / "e.toml");
  }
  /// The error for a text, with the folder cut off: "e.toml:LINE: ...".
  std::string error(const std::string& text) const {
    try {
      (void)load(text);
    } catch (const UsageError& e) {
      const std::string prefix = folder_.path().string() + "/";
      const std::string what = e.what();
      return what.rfind(prefix, 0) == 0 ? what.substr(prefix.size()) : what;
    }
    return "no error";
  }
  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("a minimal experiment gets every default") {
  const File file;
  const auto e = file.load(kMinimal);
  CHECK(e.name == "e");
  CHECK(e.dataset == file.folder() / "data.h5");
  CHECK(e.store == file.folder() / "e.store");
  CHECK(e.task == "regression");
  CHECK(e.seeds == std::vector<std::uint64_t>{0});
  CHECK_FALSE(e.shuffle_labels);
  CHECK(e.refit == "train");
  CHECK(e.split.kind == "lco");
  CHECK(e.split.folds == 5);
  CHECK(e.split.repeats == 1);
  CHECK(e.run.jobs == 0);
  CHECK(e.run.threads == 1);
  CHECK(e.run.timeout_s == 0);
  CHECK(e.run.device == "cpu");
  REQUIRE(e.models.size() == 1);
  CHECK(e.models[0].name == "baseline.ridge");
  CHECK(e.models[0].params == json::object());
  CHECK(e.table_metrics.empty());
}

TEST_CASE("every key is read, and whole numbers stay whole") {
  const File file;
  const auto e = file.load(R"(name = "full"
dataset = "/data/set.h5"
task = "binary"
seeds = [3, 1]
shuffle_labels = true
refit = "train+val"
store = "results"
[label]
rule = "fixed"
threshold = -2
[split]
kind = "transfer"
folds = 10
repeats = 2
seed = 42
source = "lines"
target = "patients"
inner_group = "pair"
transductive = true
[run]
jobs = 2
threads = 4
timeout_s = 600
memory_mb = 4000
device = "cuda:1"
save_models = true
[report]
reference = "ridge strong"
metrics = ["per_drug:auroc", "auprc"]
[[model]]
id = "baseline.ridge"
[[model]]
id = "baseline.ridge"
name = "ridge strong"
params = { lambda = 1000.0, components = 50, standardise = false, mode = "dual", widths = [64, 32], rates = [0.1, 1] }
assets = { weights = "files/w.safetensors" }
)");
  CHECK(e.name == "full");
  CHECK(e.dataset == "/data/set.h5");
  CHECK(e.store == file.folder() / "results");
  CHECK(e.seeds == std::vector<std::uint64_t>{3, 1});
  CHECK(e.shuffle_labels);
  CHECK(e.refit == "train+val");
  CHECK(e.label.kind == "fixed");
  CHECK(e.label.threshold == -2.0);
  CHECK(e.split.folds == 10);
  CHECK(e.split.repeats == 2);
  CHECK(e.split.seed == 42);
  CHECK(e.split.source == "lines");
  CHECK(e.split.target == "patients");
  CHECK(e.split.inner_group == "pair");
  CHECK(e.split.transductive);
  CHECK(e.run.jobs == 2);
  CHECK(e.run.threads == 4);
  CHECK(e.run.timeout_s == 600.0);
  CHECK(e.run.memory_mb == 4000);
  CHECK(e.run.device == "cuda:1");
  CHECK(e.run.save_models);
  CHECK(e.reference_model == "ridge strong");
  CHECK(e.table_metrics == std::vector<std::string>{"per_drug:auroc", "auprc"});
  const auto& params = e.models[1].params;
  CHECK(params["lambda"].is_number_float());
  CHECK(params["components"].is_number_integer());
  CHECK(params["standardise"] == false);
  CHECK(params["mode"] == "dual");
  CHECK(params["widths"] == json::array({64, 32}));
  CHECK(params["rates"][0].is_number_float());
  CHECK(params["rates"][1].is_number_integer());
  CHECK(e.models[1].assets["weights"] == (file.folder() / "files/w.safetensors").string());
}

TEST_CASE("pairs811 has ten folds without being told") {
  const File file;
  CHECK(file.load("dataset = \"d\"\nsplit = { kind = \"pairs811\" }\nmodel = [{ id = \"m\" }]\n").split.folds == 10);
}

TEST_CASE("an unknown key is named with its line, its table and the known ones") {
  const File file;
  CHECK(file.error("datasets = \"x\"\n" + std::string(kMinimal)) ==
        "e.toml:1: unknown key 'datasets' in the top level; known: name, dataset, task, seeds, shuffle_labels, refit, "
        "store, baselines, label, split, run, report, model");
  CHECK(file.error(std::string(kMinimal) + "[run]\nthread = 2\n") ==
        "e.toml:7: unknown key 'thread' in [run]; known: jobs, threads, timeout_s, memory_mb, device, save_models");
  CHECK(file.error(std::string(kMinimal) + "lambda = 1\n") ==
        "e.toml:6: unknown key 'lambda' in [[model]] 1; known: id, name, params, assets");
  const auto e = [&](const std::string& text) { return file.error(kMinimal + text); };
  CHECK_THAT(e("[report]\nmetric = []\n"), contains("e.toml:7: unknown key 'metric' in [report]"));
  CHECK_THAT(e("[label]\nkind = \"given\"\n"), contains("[label]"));
  CHECK_THAT(file.error("dataset = \"d\"\n[split]\nkind = \"lco\"\nfold = 5\n[[model]]\nid = \"m\"\n"),
             contains("e.toml:4: unknown key 'fold' in [split]; known: kind, folds"));
}

TEST_CASE("a wrong value says key, what was found and what was expected") {
  const File file;
  const auto top = [&](const std::string& line) { return file.error(line + "\n" + kMinimal); };
  CHECK(top("task = \"survival\"") ==
        "e.toml:1: key 'task' in the top level is the string \"survival\", expected one of regression, binary, "
        "expression");
  CHECK(top("task = 3") == "e.toml:1: key 'task' in the top level is the whole number 3, expected a string");
  CHECK(top("seeds = 3") == "e.toml:1: key 'seeds' in the top level is the whole number 3, expected a list");
  CHECK(top("seeds = [0, -1]") ==
        "e.toml:1: key 'seeds' in the top level is the whole number -1, expected a whole number from 0 up");
  CHECK(top("seeds = [1, 1]") == "e.toml:1: seed 1 occurs twice in 'seeds'");
  CHECK(top("seeds = []") == "e.toml:1: key 'seeds' is an empty list, expected at least one seed");
  CHECK(top("shuffle_labels = 1") ==
        "e.toml:1: key 'shuffle_labels' in the top level is the whole number 1, expected true or false");
  CHECK(top("name = \"a/b\"") == "e.toml:1: key 'name' is 'a/b', expected letters, digits, '_', '-' and '.'");
  CHECK(top("refit = \"all\"") ==
        "e.toml:1: key 'refit' in the top level is the string \"all\", expected one of train, train+val");
  CHECK(top("run = 5") ==
        "e.toml:1: key 'run' in the top level is the whole number 5, expected a table, written [run]");
  CHECK_THAT(top("store = \"\""), contains("key 'store' in the top level is empty"));

  const auto run = [&](const std::string& line) { return file.error(std::string(kMinimal) + "[run]\n" + line + "\n"); };
  CHECK(run("threads = 0") ==
        "e.toml:7: key 'threads' in [run] is the whole number 0, expected a whole number from 1 to 100000");
  CHECK(run("threads = 1.5") ==
        "e.toml:7: key 'threads' in [run] is a number with a fraction, expected a whole number from 1 to 100000");
  CHECK_THAT(run("timeout_s = -1"), contains("key 'timeout_s' in [run] is the whole number -1"));
  CHECK_THAT(run("timeout_s = nan"), contains("key 'timeout_s' in [run]"));
  CHECK_THAT(run("device = \"tpu\""), contains("expected cpu, cuda or cuda:N"));
  CHECK_THAT(run("device = \"cuda:\""), contains("expected cpu, cuda or cuda:N"));
  CHECK_THAT(run("jobs = 2020-01-01"), contains("is a date or time, expected a whole number"));
}

TEST_CASE("models are checked") {
  const File file;
  const std::string head = "dataset = \"d.h5\"\n[split]\nkind = \"lco\"\n";
  CHECK(file.error(head) == "e.toml:1: there is no model, expected at least one [[model]] with the key 'id'");
  CHECK(file.error(head + "[[model]]\nname = \"x\"\n") == "e.toml:4: key 'id' in [[model]] 1 is missing");
  CHECK(file.error(head + "[[model]]\nid = \"a\"\n[[model]]\nid = \"a\"\nparams = { x = 1 }\n") ==
        "e.toml:7: two models are called 'a'; give each its own 'name'");
  CHECK(
      file.error(head + "[[model]]\nid = \"a\"\nparams = { x = 2020-01-01 }\n") ==
      "e.toml:6: key 'params.x' in [[model]] 1 is a date or time, expected a number, a string, true, false, a list or "
      "a table");
  CHECK_THAT(file.error(head + "[[model]]\nid = \"a\"\nparams = { x = inf }\n"), contains("expected a finite number"));
  CHECK_THAT(file.error(head + "[[model]]\nid = \"a\"\nparams = 3\n"), contains("expected a table"));
  CHECK_THAT(file.error(head + "[[model]]\nid = \"a\"\nassets = { w = 3 }\n"),
             contains("asset 'w' is 3, expected a path"));
  CHECK_THAT(file.error("model = \"a\"\n" + head), contains("expected a list"));
}

TEST_CASE("the baselines of perturbations run whether the file names them or not") {
  const File file;
  const std::string head = "dataset = \"d\"\ntask = \"expression\"\nsplit = { kind = \"unseen_pair\" }\n";
  const std::string own = "[[model]]\nid = \"toy.own\"\n";
  const auto names = [](const Experiment& e) {
    std::vector<std::string> out;
    for (const auto& model : e.models) out.push_back(model.name);
    return out;
  };
  std::vector<std::string> all(kPerturbationBaselines.begin(), kPerturbationBaselines.end());
  all.emplace_back("toy.own");
  CHECK(names(file.load(head + own)) == all);
  CHECK(names(file.load("baselines = false\n" + head + own)) == std::vector<std::string>{"toy.own"});
  CHECK(file.load(head + own + "[report]\nreference = \"perturbation.additive\"\n").reference_model ==
        "perturbation.additive");

  // One that is named runs as named, and once.
  const auto named =
      file.load(head + own + "[[model]]\nid = \"perturbation.pca_ridge\"\nparams = { components = 8 }\n");
  CHECK(named.models.size() == 7);
  CHECK(named.models.back().params == json{{"components", 8}});

  CHECK_THAT(file.error(head + own + "[[model]]\nid = \"toy.other\"\nname = \"perturbation.additive\"\n"),
             contains("'perturbation.additive', which is the name of a baseline that is always run"));
  CHECK_THAT(file.error(head), contains("there is no model"));
  CHECK(
      file.error("baselines = true\n" + std::string(kMinimal)) ==
      "e.toml:1: key 'baselines' goes with task = \"expression\", and this task is \"regression\", whose baselines are "
      "named as [[model]] like any other");
}

TEST_CASE("combinations that mean nothing are refused") {
  const File file;
  const auto split = [&](const std::string& lines) {
    return file.error("dataset = \"d\"\n[split]\n" + lines + "\n[[model]]\nid = \"m\"\n");
  };
  CHECK(file.error("dataset = \"d\"\n[[model]]\nid = \"m\"\n") ==
        "e.toml:1: the table [split] is missing, expected at least [split] with the key 'kind'");
  CHECK(file.error("[split]\nkind = \"lco\"\n[[model]]\nid = \"m\"\n") ==
        "e.toml:1: key 'dataset' is missing, expected the path of a data set (cdrzoo data --help)");
  CHECK_THAT(split("folds = 5"), contains("e.toml:2: key 'kind' in [split] is missing; known kinds: lpo, lco"));
  CHECK_THAT(split("kind = \"loco\""),
             contains("e.toml:3: key 'kind' in [split] is the string \"loco\", expected one of"));
  CHECK(split("kind = \"lco\"\ntarget = \"x\"") ==
        "e.toml:4: key 'target' in [split] goes with kind = \"transfer\", and this kind is \"lco\"");
  CHECK(split("kind = \"transfer\"\nsource = \"x\"") ==
        "e.toml:3: split kind 'transfer' needs a source and a target domain");
  CHECK_THAT(split("kind = \"transfer\"\nsource = \"x\"\ntarget = \"x\""), contains("both 'x'"));
  CHECK_THAT(split("kind = \"pairs811\"\nfolds = 5"), contains("10 folds by definition"));
  CHECK_THAT(split("kind = \"file\""), contains("needs the name of a split file"));
  CHECK_THAT(split("kind = \"file\"\nfile = \"s.json\"\nseed = 1"), contains("does not go with kind = \"file\""));
  CHECK_THAT(split("kind = \"lco\"\nfile = \"s.json\""), contains("goes with kind = \"file\""));
  CHECK(split("kind = \"lco\"\nsingles_seen = 1") ==
        "e.toml:4: key 'singles_seen' in [split] goes with kind = \"unseen_combination\", and this kind is \"lco\"");
  CHECK_THAT(split("kind = \"lco\"\nreferences = 2"),
             contains("references goes with the split kinds of perturbations"));
  CHECK(
      split("kind = \"unseen_pair\"") ==
      "e.toml:3: kind = \"unseen_pair\" in [split] divides perturbation profiles, which is task = \"expression\", and "
      "this task is \"regression\"");
  const auto expression = [&](const std::string& lines) {
    return file.error("dataset = \"d\"\ntask = \"expression\"\n[split]\n" + lines + "\n[[model]]\nid = \"m\"\n");
  };
  CHECK(expression("kind = \"lco\"") ==
        "e.toml:4: kind = \"lco\" in [split] divides records, and task = \"expression\" has perturbation profiles");
  CHECK_THAT(expression("kind = \"unseen_pair\"\ncontexts = []"), contains("is an empty list"));
  CHECK_THAT(expression("kind = \"unseen_pair\"\ncontexts = [\"a\", \"a\"]"), contains("contexts names 'a' twice"));
  CHECK_THAT(expression("kind = \"unseen_pair\"\nreferences = 0"), contains("a whole number from 1 to"));
  CHECK_THAT(expression("kind = \"unseen_combination\"\nsingles_seen = 3"), contains("a whole number from -1 to 2"));
  const auto e = file.load(
      "dataset = \"d\"\ntask = \"expression\"\nmodel = [{ id = \"m\" }]\n"
      "split = { kind = \"unseen_combination\", singles_seen = 2, contexts = [\"b\", \"a\"], references = 3 }\n");
  CHECK(e.split.singles_seen == 2);
  CHECK(e.split.contexts == std::vector<std::string>{"b", "a"});
  CHECK(e.split.references == 3);
  CHECK(e.to_json()["split"]["contexts"].size() == 2);

  const std::string binary = "task = \"binary\"\n" + std::string(kMinimal);
  CHECK_THAT(file.error(std::string(kMinimal) + "[label]\nrule = \"given\"\n"),
             contains("[label] goes with task = \"binary\", and this task is \"regression\""));
  CHECK_THAT(file.error(binary + "[label]\nrule = \"fixed\"\n"), contains("needs the key 'threshold'"));
  CHECK_THAT(file.error(binary + "[label]\nthreshold = 1\n"), contains("goes with rule = \"fixed\""));
  CHECK_THAT(file.error(std::string(kMinimal) + "[report]\nreference = \"mean\"\n"),
             contains("e.toml:7: key 'reference' in [report] is 'mean', and the models are: baseline.ridge"));
  CHECK_THAT(file.error(std::string(kMinimal) + "[report]\nmetrics = [\"per_cell:rmse\"]\n"),
             contains("with a level out of pooled, per_drug, per_sample, per_tissue"));
  CHECK_THAT(
      expression("kind = \"unseen_pair\"\n[report]\nmetrics = [\"condition:r2\", \"per_drug:r2\"]"),
      contains("is the string \"per_drug:r2\", expected a metric, or level:metric with a level out of condition"));
}

TEST_CASE("a table of thresholds is read, and a wrong one is refused with its line") {
  const File file;
  const auto table = [&](const std::string& text) { std::ofstream(file.folder() / "t.csv", std::ios::binary) << text; };
  const std::string binary = "task = \"binary\"\n" + std::string(kMinimal) + "[label]\nrule = \"per_drug_table\"\n";
  const std::string with_file = binary + "thresholds = \"t.csv\"\n";
  table("drug_id,source,threshold\nd1,Iorio 2016,-1.5\nd2,Iorio 2016,2\n");
  const auto e = file.load(with_file);
  CHECK(e.label.thresholds == file.folder() / "t.csv");
  CHECK(e.label.per_drug == std::map<std::string, double>{{"d1", -1.5}, {"d2", 2.0}});
  CHECK(e.to_json()["label"] == json({{"rule", "per_drug_table"}, {"thresholds", "t.csv"}}));

  CHECK_THAT(file.error(binary), contains("needs the key 'thresholds'"));
  CHECK_THAT(file.error("task = \"binary\"\n" + std::string(kMinimal) + "[label]\nthresholds = \"t.csv\"\n"),
             contains("goes with rule = \"per_drug_table\", and this rule is \"given\""));
  const auto complaint = [&](const std::string& text) {
    table(text);
    try {
      (void)file.load(with_file);
    } catch (const DataError& error) {
      return std::string(error.what());
    }
    return std::string("no complaint");
  };
  CHECK_THAT(complaint("drug_id,threshold\nd1,1\nd1,2\n"), contains("t.csv line 3") && contains("a second time"));
  CHECK_THAT(complaint("drug_id,threshold\nd1,\n"), contains("t.csv line 2") && contains("expected a number"));
  CHECK_THAT(complaint("drug_id,threshold\nd1,low\n"), contains("t.csv line 2") && contains("low"));
  CHECK_THAT(complaint("drug_id,threshold\n,1\n"), contains("expected the id of a drug"));
  CHECK_THAT(complaint("drug_id,threshold\n"), contains("has no threshold"));
  CHECK_THAT(complaint("drug,threshold\nd1,1\n"), contains("drug_id"));
}

TEST_CASE("broken TOML is an error with its line") {
  const File file;
  CHECK_THAT(file.error("dataset = \"d\"\nname = \n"), contains("e.toml:2: "));
  CHECK_THAT(file.error("dataset = \"d\"\ndataset = \"e\"\n"), contains("e.toml:2: "));
  CHECK_THAT(file.error("\xff\xfe"), contains("e.toml:1: "));
  CHECK_THAT(file.error(""), contains("key 'dataset' is missing"));
}

TEST_CASE("random changes of an experiment load or are refused with a place") {
  const File file;
  const std::string kSyntax = "[]{}=\"'\n#.,0-ei";
  const std::string text = "task = \"binary\"\nseeds = [1, 2]\n" + std::string(kMinimal) +
                           "params = { a = 1.5, b = [1, 2] }\n[run]\nthreads = 2\n[label]\nrule = \"given\"\n";
  int refused = 0;
  for (std::uint64_t i = 0; i < 500; ++i) {
    auto changed = text;
    for (std::uint64_t k = 0; k <= i % 3; ++k) {
      const auto draw = splitmix64(i, 2 * k + 1);
      const char byte = draw % 4 == 0 ? static_cast<char>(draw / 4 % 256) : kSyntax[draw / 4 % kSyntax.size()];
      changed[splitmix64(i, 2 * k) % changed.size()] = byte;
    }
    const auto error = file.error(changed);
    CAPTURE(changed, error);
    if (error != "no error") CHECK(error.rfind("e.toml:", 0) == 0);
    refused += error == "no error" ? 0 : 1;
  }
  CHECK(refused > 250);
}

TEST_CASE("an experiment that cannot be read is an error with its path") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(load_experiment(folder / "absent.toml"), IoError);
  CHECK_THROWS_WITH(load_experiment(folder / "absent.toml"), contains("absent.toml"));
  CHECK_THROWS_WITH(load_experiment(folder.path()), contains("it is a folder"));
}

TEST_CASE("the canonical form has every default and does not depend on the folder") {
  const File a;
  const File b;
  const auto form = a.load(kMinimal).to_json();
  CHECK(form == b.load(kMinimal).to_json());
  CHECK(form["dataset"] == "data.h5");
  CHECK(form["store"] == "e.store");
  CHECK(form["split"]["folds"] == 5);
  CHECK(form["model"][0]["name"] == "baseline.ridge");
  CHECK_FALSE(form.contains("label"));
  // The order of keys and white space in the file do not matter.
  const auto other = a.load(
      "model = [{ id = \"baseline.ridge\" }]\nsplit = { kind = \"lco\", folds = 5 }\n"
      "seeds = [0]\ndataset = \"data.h5\"\n");
  CHECK(form.dump() == other.to_json().dump());
  const auto binary = a.load("task = \"binary\"\n" + std::string(kMinimal)).to_json();
  CHECK(binary["label"] == json({{"rule", "given"}}));
}

TEST_CASE("every shipped experiment loads") {
  int n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(CDRZOO_EXPERIMENTS_DIR)) {
    if (entry.path().extension() != ".toml") continue;
    CAPTURE(entry.path());
    const auto e = load_experiment(entry.path());
    CHECK(e.models.size() > 1);
    CHECK(e.name == entry.path().stem());
    ++n;
  }
  CHECK(n >= 6);
}

TEST_CASE("the experiments in the documentation load") {
  const std::filesystem::path page = GENERATE(as<std::string>{}, "share/doc/experiments.md", "README.md");
  std::ifstream in(std::filesystem::path(CDRZOO_SOURCE_DIR) / page);
  REQUIRE(in);
  std::string example;
  std::string line;
  while (std::getline(in, line) && line != "```toml") {
  }
  while (std::getline(in, line) && line != "```") example += line + "\n";
  CAPTURE(page, example);
  const File file;
  CHECK_FALSE(file.load(example).models.empty());
}
