// SPDX-License-Identifier: Apache-2.0
// The experiments that ship with the program, as a new user runs them: planted signal is found, shuffled labels are
// not.
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace fs = std::filesystem;
using namespace cdrzoo;

namespace {

/// Runs a command of the program in \p folder and gives what it printed; it must succeed.
std::string cdrzoo_in(const fs::path& folder, const std::string& words) {
  const std::string command =
      "cd '" + folder.string() + "' && XDG_CACHE_HOME=. '" CDRZOO_BIN_DIR "/cdrzoo' " + words + " >out.txt 2>err.txt";
  const int status = std::system(command.c_str());
  const auto text = [&](const char* name) {
    std::ostringstream all;
    all << std::ifstream(folder / name).rdbuf();
    return all.str();
  };
  INFO(words << "\n" << text("err.txt"));
  REQUIRE(status == 0);
  return text("out.txt");
}

/// A shipped experiment, without the models that a build without LibTorch lacks.
void copy_experiment(const std::string& name, const fs::path& folder) {
  std::ifstream in(CDRZOO_EXPERIMENTS_DIR "/" + name + ".toml");
  std::ostringstream all;
  all << in.rdbuf();
  std::string text = all.str();
  const std::string header = "[[model]]";
  std::string kept = text.substr(0, text.find(header));
  for (auto at = text.find(header); at != std::string::npos;) {
    const auto next = text.find(header, at + header.size());
    const std::string model = text.substr(at, next == std::string::npos ? next : next - at);
    const bool needs_torch =
        model.find("\"baseline.mlp\"") != std::string::npos || model.find("\"xtransfercdr\"") != std::string::npos;
    if (!needs_torch) kept += model;
    at = next;
  }
  std::ofstream(folder / (name + ".toml")) << kept;
}

/// model -> its value in each fold, of one metric in results.csv.
std::map<std::string, std::vector<double>> values(const fs::path& store, const std::string& level,
                                                  const std::string& metric) {
  std::ifstream in(store / "results.csv");
  std::string line;
  std::getline(in, line);
  std::vector<std::string> header;
  const auto cells_of = [](const std::string& row) {  // the columns that are used here hold no quotes
    std::vector<std::string> cells;
    std::istringstream stream(row);
    for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
    return cells;
  };
  header = cells_of(line);
  const auto column = [&](const std::string& name) {
    const auto found = std::find(header.begin(), header.end(), name);
    REQUIRE(found != header.end());
    return static_cast<std::size_t>(found - header.begin());
  };
  std::map<std::string, std::vector<double>> out;
  while (std::getline(in, line)) {
    // Parameters are JSON in quotes, with commas of their own: count from the back for what stands behind them.
    std::string flat;
    bool quoted = false;
    for (const char c : line) {
      if (c == '"') quoted = !quoted;
      flat += quoted && c == ',' ? ';' : c;
    }
    const auto cells = cells_of(flat);
    if (cells.at(column("level")) != level || cells.at(column("metric")) != metric) continue;
    if (cells.at(column("coverage_rule")) != "filled") continue;
    out[cells.at(column("model"))].push_back(std::stod(cells.at(column("value"))));
  }
  return out;
}

double mean(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v / static_cast<double>(x.size());
  return sum;
}

struct Demo {
  test::TemporaryFolder folder;
  explicit Demo(const std::string& words = "demo.h5") { cdrzoo_in(folder.path(), "data demo " + words); }

  /// \param shown a model that the table must have
  void bench(const std::string& name, const std::string& shown) const {
    copy_experiment(name, folder.path());
    const auto table = cdrzoo_in(folder.path(), "bench " + name + ".toml");
    CHECK_THAT(table, test::contains(shown));
    // The table again, from the store alone.
    CHECK_THAT(table, test::contains(cdrzoo_in(folder.path(), "report " + name + ".store")));
  }
  [[nodiscard]] std::map<std::string, std::vector<double>> values_of(const std::string& name, const std::string& level,
                                                                     const std::string& metric) const {
    return values(folder.path() / (name + ".store"), level, metric);
  }
  std::map<std::string, std::vector<double>> run(const std::string& name, const std::string& level,
                                                 const std::string& metric) const {
    bench(name, "baseline.ridge");
    return values_of(name, level, metric);
  }
};

}  // namespace

TEST_CASE("ridge beats the naive means on every fold of the demo") {
  const auto pearson = Demo().run("demo", "per_drug", "pearson");
  const auto& ridge = pearson.at("baseline.ridge");
  const auto& naive = pearson.at("baseline.drug_tissue_mean");
  REQUIRE(ridge.size() == 5);
  REQUIRE(naive.size() == 5);
  for (std::size_t fold = 0; fold < 5; ++fold) CHECK(ridge[fold] > naive[fold] + 0.1);
  for (const double value : pearson.at("baseline.drug_mean")) CHECK(value == 0);
}

TEST_CASE("no model finds anything in shuffled labels") {
  for (const auto& [model, folds] : Demo().run("demo_shuffled", "per_drug", "pearson")) {
    INFO(model);
    REQUIRE(folds.size() == 20);
    CHECK(std::abs(mean(folds)) < 0.1);  // 0.87 with the labels as they are
  }
}

TEST_CASE("what ridge learns on cell lines carries over to patients of the demo") {
  const auto auroc = Demo().run("demo_transfer", "pooled", "auroc");
  CHECK(mean(auroc.at("baseline.ridge")) > mean(auroc.at("baseline.drug_tissue_mean")) + 0.05);
  CHECK_THAT(mean(auroc.at("baseline.drug_mean")), test::WithinAbs(0.5, 0.1));
}

TEST_CASE("what a perturbation does elsewhere carries over to unseen contexts of the demo of perturbations") {
  const Demo demo("screen.h5 --perturbations");
  demo.bench("demo_perturbation", "perturbation.mean_shift");
  const auto r2 = demo.values_of("demo_perturbation", "condition", "r2_delta_ctrl");
  for (const auto& [model, folds] : r2) {
    INFO(model);
    CHECK(folds.size() == 4);
  }
  const auto& shift = r2.at("perturbation.mean_shift");
  for (std::size_t fold = 0; fold < 4; ++fold) {
    CHECK(shift[fold] > r2.at("perturbation.control_mean")[fold] + 0.3);
    CHECK(shift[fold] > r2.at("perturbation.train_mean")[fold]);
  }
  // The host's mean of the training profiles is the one of the plugin, refit included: nothing is left of it but
  // rounding.
  const auto experiment = demo.folder.path() / "demo_perturbation.toml";
  std::ostringstream text;
  text << std::ifstream(experiment).rdbuf();
  for (const bool refit : {false, true}) {
    if (refit) {
      std::ofstream(experiment) << "refit = \"train+val\"\n" << text.str();
      cdrzoo_in(demo.folder.path(), "bench demo_perturbation.toml");
    }
    const auto change = demo.values_of("demo_perturbation", "condition", "pearson_delta_pert");
    for (const double fold : change.at("perturbation.train_mean")) CHECK(fold == 0);
    const auto told = demo.values_of("demo_perturbation", "condition", "discrimination");
    for (const double fold : told.at("perturbation.control_mean")) CHECK_THAT(fold, test::WithinAbs(0.5, 1e-12));
  }
}
