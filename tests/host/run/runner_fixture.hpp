// SPDX-License-Identifier: Apache-2.0
// A small data set, and experiments over the plugins of tests/host/run/fixtures.
#pragma once

#include <cmath>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "config/experiment.hpp"
#include "data/dataset.hpp"
#include "data/dataset_writer.hpp"
#include "plugin/registry.hpp"
#include "run/plan.hpp"
#include "run/runner.hpp"
#include "split/split.hpp"
#include "store/store.hpp"
#include "support/temporary_folder.hpp"

namespace cdrzoo::test {

constexpr int kSamples = 30;
constexpr int kDrugs = 6;

/// All pairs of 30 samples in 5 tissues and 6 drugs. The first gene of a sample is its number.
inline DatasetContent run_fixture_content() {
  DatasetContent c;
  c.name = "run fixture";
  c.caveats = {"these data are made up"};
  c.genes = {"G0", "G1", "G2"};
  c.tissues = {"t0", "t1", "t2", "t3", "t4"};
  c.domains.name = {"lines"};
  c.domains.expression_unit = {"z"};
  c.domains.caveat = {"the lines grew on paper"};
  for (int s = 0; s < kSamples; ++s) {
    c.sample_id.push_back("sample " + std::to_string(s));
    c.sample_group.push_back(c.sample_id.back());
    c.sample_domain.push_back(0);
    c.sample_tissue.push_back(s % 6 - 1);
    for (int g = 0; g < 3; ++g)
      c.expression.push_back(g == 0 ? static_cast<float>(s) : std::sin(static_cast<float>(s * g)));
  }
  for (int d = 0; d < kDrugs; ++d) {
    c.drug_id.push_back("drug " + std::to_string(d));
    c.drug_name.push_back(c.drug_id.back());
    c.drug_smiles.emplace_back();
    c.drug_group.push_back(c.drug_id.back());
    c.drug_scaffold.emplace_back();
  }
  c.value_unit = "ln_ic50_um";
  for (int s = 0; s < kSamples; ++s) {
    for (int d = 0; d < kDrugs; ++d) c.responses.push_back({s, d, 0, -1, std::cos(s + 10.0 * d)});
  }
  return c;
}

inline std::filesystem::path fixture_folder() { return CDRZOO_FIXTURE_DIR; }

/// Everything that a run needs, in one place.
struct RunFixture {
  TemporaryFolder folder;
  Experiment experiment;
  Dataset dataset;
  Split split;
  Registry registry;
  Plan plan;

  explicit RunFixture(std::vector<ModelRequest> models, const std::string& task = "regression", int folds = 5) {
    const auto file = folder.path() / "data.h5";
    write_dataset(run_fixture_content(), file);
    dataset = Dataset::open(file);
    experiment.path = folder.path() / "the experiment.toml";
    experiment.name = "fixture";
    experiment.dataset = file;
    experiment.task = task;
    if (task == "binary") experiment.label.kind = "per_drug_median";
    experiment.split.kind = "lco";
    experiment.split.folds = folds;
    experiment.models = std::move(models);
    experiment.run.jobs = 2;
    experiment.run.timeout_s = 60;
    experiment.store = folder.path() / "store";
    split = make_split(dataset, experiment.split, usable_rows(experiment, dataset));
    registry = scan_plugins({fixture_folder() / "run_fixtures.so", fixture_folder() / "run_fixture_throws.so"});
    remake();
  }
  /// After a change of the experiment.
  void remake() { plan = make_plan(experiment, dataset, split, registry); }

  [[nodiscard]] Store open() const { return Store::open(experiment.store); }
  [[nodiscard]] RunSummary run(RunOptions options = {}) const {
    Store store = open();
    if (options.progress == "auto") options.progress = "none";
    return run_plan(plan, store, options);
  }
};

inline ModelRequest good(int ms = 0) {
  ModelRequest request;
  request.id = request.name = "fixture.good";
  request.params = {{"ms", ms}};
  return request;
}
inline ModelRequest bad(const std::string& how) {
  ModelRequest request;
  request.id = "fixture.bad";
  request.name = how;
  request.params = {{"how", how}};
  return request;
}

}  // namespace cdrzoo::test
