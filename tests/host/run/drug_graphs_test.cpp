// SPDX-License-Identifier: Apache-2.0
// From a SMILES to what a plugin reads: chemistry, data set content, bundle, view of the SDK.
#include <algorithm>
#include <cdrzoo/plugin.hpp>

#include "chem/molecule.hpp"
#include "import/drug_structures.hpp"
#include "run/bundle.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"
#include "worker/bundle_reader.hpp"

using namespace cdrzoo;

namespace {

template <typename Range>
std::vector<float> floats(const Range& matrix) {
  return {matrix.data(), matrix.data() + matrix.rows() * matrix.cols()};
}

}  // namespace

TEST_CASE("A plugin reads the graphs of its drugs as chemistry made them") {
  const std::vector<std::string> smiles = {"CCO", "", "Oc1ccccc1"};
  DatasetContent dataset;
  dataset.drug_id = {"a", "b", "c"};
  dataset.drug_smiles = smiles;
  StructureOptions options;
  options.features = {"graph_deepcdr", "graph_mat"};
  derive_structures(dataset, options);

  const test::TemporaryFolder folder;
  EntitiesContent content;
  content.n_samples = 1;
  content.n_drugs = 3;
  for (const auto& block : dataset.drug_blocks) content.drug_blocks.push_back(block.view());
  content.hash = "0123";
  BundleView train;
  train.name = "train";
  train.n_obs = 2;
  train.sample = {0, 0};
  train.drug = {2, 1};
  train.target = {1, 2};
  worker::Task task;
  task.entities = write_entities(folder.path(), content);
  task.views = folder / "views.h5";
  task.task = CDRZOO_TASK_REGRESSION;
  task.drug_blocks = options.features;
  task.columns = {"sample", "drug"};
  write_views(task.views, {train}, 1, {}, content.hash);
  const worker::Bundle reader(task);
  const auto bundle_view = reader.view("train");
  const sdk::View view(&bundle_view->abi());

  std::string reason;
  const auto phenol = read_molecule(smiles[2], &reason, Conformer::make);
  REQUIRE(phenol.has_value());
  REQUIRE(view.drugs().size() == 2);
  for (const auto& [name, made] :
       {std::pair{"graph_deepcdr", phenol->graph_deepcdr}, {"graph_mat", phenol->graph_mat}}) {
    INFO(name);
    const sdk::GraphsBlock block = view.drugs().graphs(name);
    // Entities of a view are in the order of the data set: the drug without a structure comes first.
    CHECK(block.graph(0).n_nodes == 0);
    const auto read = block.graph(1);
    CHECK(read.n_nodes == made.nodes);
    CHECK(floats(read.nodes) == made.node_features);
    CHECK(std::equal(made.source.begin(), made.source.end(), read.source.begin(), read.source.end()));
    CHECK(std::equal(made.target.begin(), made.target.end(), read.target.begin(), read.target.end()));
    CHECK(floats(read.edges) == made.edge_features);
    CHECK(floats(read.pairs) == made.pair_features);
  }
}
