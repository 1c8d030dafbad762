// SPDX-License-Identifier: Apache-2.0
// A small screen of perturbation profiles, and experiments on it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "config/experiment.hpp"
#include "data/dataset.hpp"
#include "data/dataset_writer.hpp"
#include "plugin/registry.hpp"
#include "run/plan.hpp"
#include "support/temporary_folder.hpp"

namespace cdrzoo::test {

inline constexpr int kScreenGenes = 5;
inline constexpr int kScreenContexts = 5;
inline constexpr int kScreenDrugs = 4;

/// Values whose bits appear nowhere else in a bundle.
inline float control_value(int context, int gene) {
  return 2.0F + 0.37F * static_cast<float>(context) + 0.111F * static_cast<float>(gene);
}
inline float effect_value(int drug, int gene) {
  return static_cast<float>((drug * 7 + gene * 3) % 5) * 0.1037F + 0.0131F * static_cast<float>(drug);
}
inline float treated_value(int context, int drug, int gene, int cell = 0) {
  return control_value(context, gene) + effect_value(drug, gene) +
         0.001F * static_cast<float>(context * 31 + drug * 17 + gene * 5 + cell * 3 % 11);
}

/// Every drug in every context, `cells` rows each; with `doubles` also drug 0 with drug 1 in every context.
inline DatasetContent screen_content(int cells = 1, bool doubles = false) {
  DatasetContent c;
  c.name = "screen";
  c.domains = {{"screen"}, {"log counts"}, {"the cells grew on paper"}};
  c.tissues = {"lung", "skin"};
  for (int g = 0; g < kScreenGenes; ++g) c.genes.push_back("G" + std::to_string(g));
  for (int x = 0; x < kScreenContexts; ++x) {
    const auto name = "line " + std::to_string(x);
    c.sample_id.push_back(name);
    c.sample_group.push_back(name);
    c.sample_domain.push_back(0);
    c.sample_tissue.push_back(x % 2);
    c.perturbation_contexts.push_back(name);
    for (int g = 0; g < kScreenGenes; ++g) c.expression.push_back(control_value(x, g));
  }
  for (int d = 0; d < kScreenDrugs; ++d) {
    const auto name = "drug " + std::to_string(d);
    c.drug_id.push_back(name);
    c.drug_name.push_back(name);
    c.drug_smiles.emplace_back();
    c.drug_group.push_back(name);
    c.drug_scaffold.emplace_back();
  }
  c.value_unit = "none";
  for (int x = 0; x < kScreenContexts; ++x) {
    for (int d = 0; d < kScreenDrugs + (doubles ? 1 : 0); ++d) {
      const bool both = d == kScreenDrugs;
      for (int i = 0; i < cells; ++i) {
        c.perturbations.push_back({x, both ? 0 : d, both ? 1 : -1, -6, 24, x, 1});
        for (int g = 0; g < kScreenGenes; ++g) {
          c.perturbation_profile.push_back(both ? treated_value(x, 0, g, i) + effect_value(1, g)
                                                : treated_value(x, d, g, i));
        }
      }
    }
  }
  return c;
}

/// Data set, experiment and split. Contexts are named by their number.
struct Screen {
  TemporaryFolder folder;
  Dataset dataset;
  Experiment experiment;
  Split split;
  Registry registry;

  explicit Screen(const DatasetContent& content = screen_content(), const std::string& kind = "unseen_context") {
    const auto file = folder / "screen.h5";
    write_dataset(content, file);
    dataset = Dataset::open(file);
    experiment.path = folder / "experiment.toml";
    experiment.name = "screen";
    experiment.dataset = file;
    experiment.task = "expression";
    experiment.split.kind = kind;
    experiment.split.folds = 2;
    experiment.run.jobs = 1;
    experiment.run.timeout_s = 60;
    experiment.store = folder / "store";
    split = make_split(dataset, experiment.split, usable_rows(experiment, dataset));
  }

  void add(const std::string& card_json, const std::filesystem::path& plugin = "/plugins/none.so") {
    ModelEntry entry;
    entry.plugin = plugin;
    entry.plugin_hash = std::string(64, 'a');
    entry.card = Card::parse(card_json, "card of the test");
    ModelRequest request;
    request.id = request.name = entry.card.id;
    registry.models.push_back(std::move(entry));
    experiment.models.push_back(std::move(request));
  }

  [[nodiscard]] Plan plan() const { return make_plan(experiment, dataset, split, registry); }
};

}  // namespace cdrzoo::test
