// SPDX-License-Identifier: Apache-2.0
// The drugs of a golden file of DeepCDR or PANCDR, and drugs made up for tests.
#pragma once

#include <cmath>

#include "../../plugins/baselines/graph_cdr/molecules.hpp"
#include "support/golden_torch.hpp"

namespace cdrzoo::test {

/// Graphs of atoms and bonds, with the entries of D^-1/2 (A + I) D^-1/2 as edges.
class DrugGraphs {
 public:
  explicit DrugGraphs(std::int64_t width) : width_(width) {}

  /// \p atoms f32 [n, width]; bonds count within the drug, each once or in both directions
  void add(const torch::Tensor& atoms, const std::vector<std::pair<std::int64_t, std::int64_t>>& bonds) {
    const std::int64_t n = atoms.size(0);
    torch::Tensor a = torch::eye(n, torch::kFloat64);
    for (const auto& [u, v] : bonds) a[u][v] = a[v][u] = 1.0;
    const torch::Tensor d = a.sum(1).rsqrt();
    a = (d.unsqueeze(1) * a * d.unsqueeze(0)).to(torch::kFloat32);
    const torch::Tensor at = a.nonzero();
    sources_.push_back(at.select(1, 0) + n_nodes_);
    targets_.push_back(at.select(1, 1) + n_nodes_);
    weights_.push_back(a.masked_select(a != 0).unsqueeze(1));
    nodes_.push_back(atoms);
    graph_.push_back(torch::full({n}, static_cast<std::int64_t>(node_begin_.size()) - 1, torch::kInt64));
    n_nodes_ += n;
    n_edges_ += at.size(0);
    node_begin_.push_back(n_nodes_);
    edge_begin_.push_back(n_edges_);
  }

  [[nodiscard]] sdk::Graphs graphs() const {
    sdk::Graphs out;
    out.nodes = torch::cat(nodes_);
    out.node_begin = torch::tensor(node_begin_, torch::kInt64);
    out.graph = torch::cat(graph_);
    out.source = torch::cat(sources_);
    out.target = torch::cat(targets_);
    out.edges = torch::cat(weights_);
    out.edge_begin = torch::tensor(edge_begin_, torch::kInt64);
    out.pairs = torch::empty({0, 0});
    out.pair_begin = torch::zeros({static_cast<std::int64_t>(node_begin_.size())}, torch::kInt64);
    return out;
  }

 private:
  std::int64_t width_;
  std::int64_t n_nodes_ = 0, n_edges_ = 0;
  std::vector<std::int64_t> node_begin_{0}, edge_begin_{0};
  std::vector<torch::Tensor> nodes_, graph_, sources_, targets_, weights_;
};

inline sdk::Graphs graphs_of(const Golden& golden) {
  const torch::Tensor atoms = tensor_of(golden, "in/drug_atoms");
  const torch::Tensor features = tensor_of(golden, "in/drug_features");
  const torch::Tensor edges = tensor_of(golden, "in/drug_edges");
  DrugGraphs drugs(features.size(2));
  for (std::int64_t d = 0; d < atoms.size(0); ++d) {
    std::vector<std::pair<std::int64_t, std::int64_t>> bonds;
    for (std::int64_t e = 0; e < edges.size(0); ++e) {
      if (edges[e][0].item<std::int64_t>() == d) {
        bonds.emplace_back(edges[e][1].item<std::int64_t>(), edges[e][2].item<std::int64_t>());
      }
    }
    drugs.add(features[d].narrow(0, 0, atoms[d].item<std::int64_t>()), bonds);
  }
  return drugs.graphs();
}

/// A random drug with few kinds of atoms, so that surroundings repeat: a chain with a ring and a branch.
inline void add_random_drug(DrugGraphs& drugs, std::int64_t n_atoms, std::int64_t width) {
  const torch::Tensor kinds = torch::randint(0, 3, {n_atoms}, torch::kInt64);
  std::vector<std::pair<std::int64_t, std::int64_t>> bonds;
  for (std::int64_t v = 1; v < n_atoms; ++v) bonds.emplace_back(v, v % 5 == 4 ? v - 2 : v - 1);
  if (n_atoms > 6) bonds.emplace_back(0, 5);
  drugs.add(torch::one_hot(kinds, width).to(torch::kFloat32), bonds);
}

}  // namespace cdrzoo::test
