// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// Chemistry of drugs. This module is the only one that knows RDKit. share/doc/chemistry.md gives columns and rules.
namespace cdrzoo {

inline constexpr int kMorganRadius = 2;
inline constexpr int kMorganBits = 2048;

/// A molecule as a graph for neural networks. Atoms stand in the order of the SMILES; edges are ordered by source.
struct MoleculeGraph {
  std::int64_t nodes = 0;
  std::vector<float> node_features;  ///< [nodes, node features of its schema]
  std::vector<std::int32_t> source;  ///< [edges]
  std::vector<std::int32_t> target;  ///< [edges]
  std::vector<float> edge_features;  ///< [edges, edge features of its schema]
  std::vector<float> pair_features;  ///< [nodes * nodes, pair features of its schema]
};

/// What the columns of one kind of MoleculeGraph mean.
struct GraphSchema {
  std::string block;  ///< name of the feature block
  std::vector<std::string> node_features;
  std::vector<std::string> edge_features;
  std::vector<std::string> pair_features;
  std::vector<std::string> method;  ///< parameters that change the numbers but not the columns
};

/// "graph": each bond in both directions, with order, conjugation and ring membership.
[[nodiscard]] const GraphSchema& graph_schema();
/// "graph_deepcdr": the 75 atom features of DeepCDR and PANCDR; edges are the normalised adjacency.
[[nodiscard]] const GraphSchema& graph_deepcdr_schema();
/// "graph_mat": the 28 node features of MAT, node 0 being its dummy; edges are the ones of its adjacency, pairs its
/// distances in angstrom.
[[nodiscard]] const GraphSchema& graph_mat_schema();

/// What a drug's structure says, all of it derived from one SMILES.
struct Molecule {
  /// Canonical SMILES with stereo, for people.
  std::string canonical;
  /// Canonical SMILES without stereo and isotopes: the identity that groups drugs in splits.
  std::string identity;
  /// The identity of the fragment with the most atoms; equal to identity where there is one fragment.
  std::string largest_fragment;
  /// Bemis-Murcko scaffold as canonical SMILES without stereo; empty for acyclic molecules.
  std::string scaffold;
  std::vector<std::uint8_t> morgan;  ///< [kMorganBits], 0 or 1
  MoleculeGraph graph;
  MoleculeGraph graph_deepcdr;
  /// Without nodes unless a conformer was asked for, and where the molecule has more than kMatAtoms atoms.
  MoleculeGraph graph_mat;
  /// Why the distances of graph_mat are not those of a conformer, or are missing; empty where all is well.
  std::string conformer_failure;
};

/// Largest molecule of which graph_mat is made: its distances grow with the square, the conformer's time with the cube.
inline constexpr unsigned kMatAtoms = 300;

enum class Conformer { skip, make };

/// Reads one SMILES. Returns nothing, and says why in \p reason, if RDKit cannot make a sane molecule with at least one
/// atom from it. Never throws for bad text. A conformer takes 0.01 to 2 s; equal SMILES give equal bits, on one machine
/// with one version of RDKit. May be called from several threads.
[[nodiscard]] std::optional<Molecule> read_molecule(const std::string& smiles, std::string* reason,
                                                    Conformer conformer = Conformer::skip);

/// The matrix D^-1/2 (A + I) D^-1/2 of an undirected graph without self loops, where D holds the row sums of A + I: one
/// edge per entry that is not zero, by row and column, with the entry as its feature.
[[nodiscard]] MoleculeGraph normalised_adjacency(std::int64_t nodes,
                                                 const std::vector<std::pair<std::int32_t, std::int32_t>>& bonds);

/// Version of the chemistry library; part of a data set's provenance.
[[nodiscard]] std::string chemistry_version();

}  // namespace cdrzoo
