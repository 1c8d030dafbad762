// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// Chemistry of drugs. This module is the only one that knows RDKit.
namespace cdrzoo {

inline constexpr int kMorganRadius = 2;
inline constexpr int kMorganBits = 2048;

/// A molecule as a graph for neural networks: heavy atoms in the order of the SMILES, each bond in both directions.
struct MoleculeGraph {
  std::int64_t nodes = 0;
  std::vector<float> node_features;  ///< [nodes, graph_node_features().size()]
  std::vector<std::int32_t> source;  ///< [edges]
  std::vector<std::int32_t> target;  ///< [edges]
  std::vector<float> edge_features;  ///< [edges, graph_edge_features().size()]
};

/// What a drug's structure says, all of it derived from one SMILES.
struct Molecule {
  /// Canonical SMILES with stereo, for people.
  std::string canonical;
  /// Canonical SMILES without stereo and isotopes: the identity that groups drugs in splits.
  std::string identity;
  /// Bemis-Murcko scaffold as canonical SMILES without stereo; empty for acyclic molecules.
  std::string scaffold;
  std::vector<std::uint8_t> morgan;  ///< [kMorganBits], 0 or 1
  MoleculeGraph graph;
};

/// Reads one SMILES. Returns nothing, and says why in \p reason, if RDKit cannot make a sane molecule with at least one
/// atom from it. Never throws for bad text.
[[nodiscard]] std::optional<Molecule> read_molecule(const std::string& smiles, std::string* reason);

/// Names of the columns of MoleculeGraph::node_features and edge_features, in order (share/doc/data.md explains them).
[[nodiscard]] const std::vector<std::string>& graph_node_features();
[[nodiscard]] const std::vector<std::string>& graph_edge_features();

/// Version of the chemistry library; part of a data set's provenance.
[[nodiscard]] std::string chemistry_version();

}  // namespace cdrzoo
