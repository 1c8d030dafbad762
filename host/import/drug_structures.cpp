// SPDX-License-Identifier: Apache-2.0
#include "import/drug_structures.hpp"

#include <set>

#include "chem/molecule.hpp"

namespace cdrzoo {

StructureReport derive_structures(DatasetContent& content) {
  StructureReport report;
  const std::size_t drugs = content.drug_id.size();
  content.drug_group.assign(drugs, "");
  content.drug_scaffold.assign(drugs, "");

  std::vector<std::uint8_t> morgan;
  MoleculeGraph all;
  std::vector<std::int64_t> node_ptr{0};
  std::vector<std::int64_t> edge_ptr{0};
  std::set<std::string> seen;
  for (std::size_t i = 0; i < drugs; ++i) {
    content.drug_group[i] = "id:" + content.drug_id[i];
    Molecule molecule;
    molecule.morgan.assign(static_cast<std::size_t>(kMorganBits), 0);
    if (content.drug_smiles[i].empty()) {
      ++report.absent;
    } else {
      std::string reason;
      if (auto read = read_molecule(content.drug_smiles[i], &reason)) {
        molecule = std::move(*read);
        ++report.known;
        content.drug_group[i] = molecule.identity;
        content.drug_scaffold[i] = molecule.scaffold;
        if (!seen.insert(molecule.identity).second) ++report.synonyms;
      } else {
        report.invalid.push_back({content.drug_id[i], content.drug_smiles[i], reason});
        content.drug_smiles[i].clear();
      }
    }
    morgan.insert(morgan.end(), molecule.morgan.begin(), molecule.morgan.end());
    const MoleculeGraph& g = molecule.graph;
    all.node_features.insert(all.node_features.end(), g.node_features.begin(), g.node_features.end());
    all.source.insert(all.source.end(), g.source.begin(), g.source.end());
    all.target.insert(all.target.end(), g.target.begin(), g.target.end());
    all.edge_features.insert(all.edge_features.end(), g.edge_features.begin(), g.edge_features.end());
    node_ptr.push_back(node_ptr.back() + g.nodes);
    edge_ptr.push_back(static_cast<std::int64_t>(all.source.size()));
  }
  if (report.known == 0) return report;

  const auto rows = static_cast<std::int64_t>(drugs);
  BlockContent fingerprint;
  fingerprint.name = "morgan";
  fingerprint.kind = CDRZOO_BLOCK_DENSE;
  fingerprint.rows = rows;
  fingerprint.width = kMorganBits;
  fingerprint.space = space_of({"morgan radius=2 bits=2048"});
  fingerprint.add(CDRZOO_PART_VALUES, {rows, kMorganBits}, morgan);
  content.drug_blocks.push_back(std::move(fingerprint));

  BlockContent graph;
  graph.name = "graph";
  graph.kind = CDRZOO_BLOCK_GRAPHS;
  graph.rows = rows;
  graph.feature_names = graph_node_features();
  graph.width = static_cast<std::int64_t>(graph.feature_names.size());
  std::vector<std::string> vocabulary = graph.feature_names;
  const auto& edge_names = graph_edge_features();
  vocabulary.insert(vocabulary.end(), edge_names.begin(), edge_names.end());
  graph.space = space_of(vocabulary);
  const auto edges = static_cast<std::int64_t>(all.source.size());
  graph.add(CDRZOO_PART_NODEPTR, {rows + 1}, node_ptr);
  graph.add(CDRZOO_PART_NODEFEAT, {node_ptr.back(), graph.width}, all.node_features);
  graph.add(CDRZOO_PART_EDGEPTR, {rows + 1}, edge_ptr);
  graph.add(CDRZOO_PART_EDGESRC, {edges}, all.source);
  graph.add(CDRZOO_PART_EDGEDST, {edges}, all.target);
  graph.add(CDRZOO_PART_EDGEFEAT, {edges, static_cast<std::int64_t>(edge_names.size())}, all.edge_features);
  content.drug_blocks.push_back(std::move(graph));
  return report;
}

}  // namespace cdrzoo
