// SPDX-License-Identifier: Apache-2.0
#include "import/drug_structures.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "base/error.hpp"
#include "chem/molecule.hpp"

namespace cdrzoo {
namespace {

struct Reading {
  std::optional<Molecule> molecule;
  std::string reason;  ///< why there is none; empty where no SMILES was given
};

/// Reads each SMILES, on several threads because conformers take long.
std::vector<Reading> read_all(const std::vector<std::string>& smiles, Conformer conformer, unsigned threads) {
  std::vector<Reading> out(smiles.size());
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < smiles.size(); i = next++) {
      if (!smiles[i].empty()) out[i].molecule = read_molecule(smiles[i], &out[i].reason, conformer);
    }
  };
  if (threads == 0) threads = std::max(1U, std::thread::hardware_concurrency());
  // Without conformers all is done before a thread would have started.
  if (conformer == Conformer::skip) threads = 1;
  std::vector<std::thread> helpers;
  for (unsigned t = 1; t < std::min<std::size_t>(threads, smiles.size()); ++t) helpers.emplace_back(work);
  work();
  for (auto& helper : helpers) helper.join();
  return out;
}

BlockContent morgan_block(const std::vector<Reading>& drugs) {
  std::vector<std::uint8_t> bits;
  for (const Reading& drug : drugs) {
    if (drug.molecule) {
      bits.insert(bits.end(), drug.molecule->morgan.begin(), drug.molecule->morgan.end());
    } else {
      bits.resize(bits.size() + static_cast<std::size_t>(kMorganBits), 0);
    }
  }
  const auto rows = static_cast<std::int64_t>(drugs.size());
  BlockContent block;
  block.name = "morgan";
  block.kind = CDRZOO_BLOCK_DENSE;
  block.rows = rows;
  block.width = kMorganBits;
  block.space = space_of({"morgan radius=2 bits=2048"});
  block.add(CDRZOO_PART_VALUES, {rows, kMorganBits}, bits);
  return block;
}

BlockContent graph_block(const GraphSchema& schema, const std::vector<Reading>& drugs,
                         const MoleculeGraph Molecule::*graph) {
  MoleculeGraph all;
  std::vector<std::int64_t> node_ptr{0};
  std::vector<std::int64_t> edge_ptr{0};
  std::vector<std::int64_t> pair_ptr{0};
  const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  for (const Reading& drug : drugs) {
    std::int64_t nodes = 0;
    if (drug.molecule) {
      const MoleculeGraph& g = (*drug.molecule).*graph;
      nodes = g.nodes;
      append(all.node_features, g.node_features);
      append(all.source, g.source);
      append(all.target, g.target);
      append(all.edge_features, g.edge_features);
      append(all.pair_features, g.pair_features);
    }
    node_ptr.push_back(node_ptr.back() + nodes);
    edge_ptr.push_back(static_cast<std::int64_t>(all.source.size()));
    pair_ptr.push_back(pair_ptr.back() + nodes * nodes);
  }

  BlockContent block;
  block.name = schema.block;
  block.kind = CDRZOO_BLOCK_GRAPHS;
  block.rows = static_cast<std::int64_t>(drugs.size());
  block.feature_names = schema.node_features;
  block.width = static_cast<std::int64_t>(schema.node_features.size());
  std::vector<std::string> vocabulary = schema.node_features;
  append(vocabulary, schema.edge_features);
  append(vocabulary, schema.pair_features);
  append(vocabulary, schema.method);
  block.space = space_of(vocabulary);
  const auto edges = static_cast<std::int64_t>(all.source.size());
  block.add(CDRZOO_PART_NODEPTR, {block.rows + 1}, node_ptr);
  block.add(CDRZOO_PART_NODEFEAT, {node_ptr.back(), block.width}, all.node_features);
  block.add(CDRZOO_PART_EDGEPTR, {block.rows + 1}, edge_ptr);
  block.add(CDRZOO_PART_EDGESRC, {edges}, all.source);
  block.add(CDRZOO_PART_EDGEDST, {edges}, all.target);
  if (!schema.edge_features.empty()) {
    const auto width = static_cast<std::int64_t>(schema.edge_features.size());
    block.add(CDRZOO_PART_EDGEFEAT, {edges, width}, all.edge_features);
  }
  if (!schema.pair_features.empty()) {
    const auto width = static_cast<std::int64_t>(schema.pair_features.size());
    block.add(CDRZOO_PART_PAIRPTR, {block.rows + 1}, pair_ptr);
    block.add(CDRZOO_PART_PAIRFEAT, {pair_ptr.back(), width}, all.pair_features);
  }
  return block;
}

}  // namespace

const std::vector<std::string>& structure_features() {
  static const std::vector<std::string> names = {"morgan", graph_schema().block, graph_deepcdr_schema().block,
                                                 graph_mat_schema().block};
  return names;
}

std::string structure_features_problem(const std::vector<std::string>& features) {
  const auto& known = structure_features();
  for (const auto& name : features) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string names;
    for (const auto& k : known) names += (names.empty() ? "" : ", ") + k;
    return "there is no drug feature '" + name + "'; known: " + names;
  }
  return {};
}

StructureReport derive_structures(DatasetContent& content, const StructureOptions& options) {
  if (const std::string problem = structure_features_problem(options.features); !problem.empty())
    throw UsageError(problem);
  const auto wanted = [&](const std::string& name) {
    return std::find(options.features.begin(), options.features.end(), name) != options.features.end();
  };
  const bool mat = wanted(graph_mat_schema().block);

  StructureReport report;
  const std::vector<Reading> drugs =
      read_all(content.drug_smiles, mat ? Conformer::make : Conformer::skip, options.threads);
  content.drug_group.assign(drugs.size(), "");
  content.drug_scaffold.assign(drugs.size(), "");
  std::set<std::string> seen;
  std::map<std::string, std::size_t> first_with_fragment;
  for (std::size_t i = 0; i < drugs.size(); ++i) {
    const std::string& id = content.drug_id[i];
    content.drug_group[i] = "id:" + id;
    if (content.drug_smiles[i].empty()) {
      ++report.absent;
      continue;
    }
    if (!drugs[i].molecule) {
      report.invalid.push_back({id, content.drug_smiles[i], drugs[i].reason});
      content.drug_smiles[i].clear();
      continue;
    }
    const Molecule& molecule = *drugs[i].molecule;
    ++report.known;
    content.drug_group[i] = molecule.identity;
    content.drug_scaffold[i] = molecule.scaffold;
    if (!seen.insert(molecule.identity).second) ++report.synonyms;
    if (!molecule.conformer_failure.empty()) {
      report.without_conformer.push_back({id, content.drug_smiles[i], molecule.conformer_failure});
    }
    const auto [first, is_new] = first_with_fragment.emplace(molecule.largest_fragment, i);
    if (!is_new && drugs[first->second].molecule->identity != molecule.identity) {
      report.salt_forms.push_back({id, content.drug_id[first->second]});
    }
  }
  if (report.known == 0) return report;

  const auto add_graph = [&](const GraphSchema& schema, const MoleculeGraph Molecule::*graph) {
    if (wanted(schema.block)) content.drug_blocks.push_back(graph_block(schema, drugs, graph));
  };
  if (wanted("morgan")) content.drug_blocks.push_back(morgan_block(drugs));
  add_graph(graph_schema(), &Molecule::graph);
  add_graph(graph_deepcdr_schema(), &Molecule::graph_deepcdr);
  add_graph(graph_mat_schema(), &Molecule::graph_mat);
  return report;
}

}  // namespace cdrzoo
