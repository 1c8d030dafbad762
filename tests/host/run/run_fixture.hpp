// SPDX-License-Identifier: Apache-2.0
// A small data set on disk with everything that plans and bundles have to tell apart, and an experiment on it.
#pragma once

#include <filesystem>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/hash.hpp"
#include "data/dataset.hpp"
#include "data/dataset_writer.hpp"
#include "plugin/process.hpp"
#include "run/plan.hpp"
#include "support/temporary_folder.hpp"

namespace cdrzoo::test {

inline constexpr int kLines = 6, kPatients = 3, kDrugs = 3, kGenes = 4;

/// Expression of a sample and gene; missing (NaN) for gene 2 of samples 1 and 7.
inline float expression_value(int sample, int gene) {
  if (gene == 2 && (sample == 1 || sample == 7)) return std::numeric_limits<float>::quiet_NaN();
  return 0.25F * static_cast<float>(sample) + 10.0F * static_cast<float>(gene);
}

/// Values whose bits appear nowhere else in a bundle.
inline double response_value(int sample, int drug) { return 0.123456789 + 1.7 * sample - 0.3141592 * drug; }

/// Samples l0 .. l5 of domain "lines" with a value for every drug, p0 .. p2 of domain "patients" with labels only.
inline DatasetContent small_content() {
  DatasetContent content;
  content.name = "small";
  content.genes = {"A", "B", "C", "D"};
  content.tissues = {"lung", "skin"};
  content.domains.name = {"patients", "lines"};
  content.domains.expression_unit = {"z", "z"};
  content.domains.caveat = {"", ""};
  for (int s = 0; s < kLines + kPatients; ++s) {
    const bool patient = s >= kLines;
    content.sample_id.push_back(patient ? "p" + std::to_string(s - kLines) : "l" + std::to_string(s));
    content.sample_group.push_back(content.sample_id.back());
    content.sample_domain.push_back(patient ? 0 : 1);
    content.sample_tissue.push_back(s % 3 - 1);
    for (int g = 0; g < kGenes; ++g) content.expression.push_back(expression_value(s, g));
  }
  for (int d = 0; d < kDrugs; ++d) {
    content.drug_id.push_back("d" + std::to_string(d));
    content.drug_name.push_back("drug " + std::to_string(d));
    content.drug_smiles.push_back(d == 1 ? "" : "C" + std::string(static_cast<std::size_t>(d), 'O'));
    content.drug_group.push_back(content.drug_id.back());
    content.drug_scaffold.emplace_back();
  }
  content.value_unit = "ln_ic50_um";
  for (int s = 0; s < kLines + kPatients; ++s) {
    for (int d = 0; d < kDrugs; ++d) {
      DatasetContent::Response response;
      response.sample = s;
      response.drug = d;
      response.value = s < kLines ? response_value(s, d) : std::numeric_limits<double>::quiet_NaN();
      response.label = static_cast<std::int8_t>(s < kLines ? -1 : (s + d) % 2);
      content.responses.push_back(response);
    }
  }
  return content;
}

/// The rows of the responses of some samples.
inline std::vector<std::int32_t> rows_of(const Dataset& dataset, const std::vector<std::string>& samples) {
  std::vector<std::int32_t> rows;
  for (std::size_t r = 0; r < static_cast<std::size_t>(dataset.responses.size()); ++r) {
    const auto& id = dataset.samples.id[static_cast<std::size_t>(dataset.responses.sample[r])];
    for (const auto& wanted : samples)
      if (id == wanted) rows.push_back(static_cast<std::int32_t>(r));
  }
  return rows;
}

/// Data set, experiment, split (made by hand: one fold) and a registry with one model, all consistent.
struct RunFixture {
  TemporaryFolder folder;
  Dataset dataset;
  Experiment experiment;
  Split split;
  Registry registry;

  explicit RunFixture(const std::string& card_json, const std::filesystem::path& plugin = "/plugins/echo.so") {
    write_dataset(small_content(), folder / "small.h5");
    dataset = Dataset::open(folder / "small.h5");
    experiment.path = folder / "experiment.toml";
    experiment.name = "small";
    experiment.dataset = folder / "small.h5";
    experiment.run.jobs = 1;
    experiment.run.timeout_s = 30;
    ModelEntry entry;
    entry.plugin = plugin;
    entry.plugin_hash = std::filesystem::exists(plugin) ? sha256_file_hex(plugin) : std::string(64, 'a');
    entry.card = Card::parse(card_json, "card of the test");
    ModelRequest request;
    request.id = request.name = entry.card.id;
    experiment.models = {request};
    registry.models = {entry};

    split.spec.kind = experiment.split.kind = "lco";
    split.spec.source = experiment.split.source = "lines";
    split.data_hash = dataset.data_hash();
    split.group_type = "sample";
    split.hash = std::string(64, 'b');
    Fold fold;
    fold.train = rows_of(dataset, {"l0", "l1", "l2", "l3"});
    fold.early_stop = rows_of(dataset, {"l3"});
    fold.validation = rows_of(dataset, {"l4"});
    fold.test = rows_of(dataset, {"l5"});
    split.folds = {fold};
  }

  [[nodiscard]] Plan plan() const { return make_plan(experiment, dataset, split, registry); }
};

/// The fixture plugin's card, as a worker describes it.
inline std::string echo_card_text() {
  const auto described = run_process({CDRZOO_BIN_DIR "/cdrzoo-worker", "describe", CDRZOO_ECHO_PLUGIN}, 60);
  if (!described.ok()) throw std::runtime_error("describe failed: " + described.err);
  return nlohmann::json::parse(described.out).at("models").at(0).at("card").dump();
}

}  // namespace cdrzoo::test
