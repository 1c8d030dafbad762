// SPDX-License-Identifier: Apache-2.0
// What a graph network has to compute for the drugs of a mini-batch, and nothing twice.
//
// The reference pads every drug to 100 atoms and encodes it once per pair. Without dropout, the value of an atom after
// k layers depends on its surroundings of radius k alone: equal surroundings (in two drugs, or twice in one) give equal
// rows, and all pad atoms of all drugs are one row. So layer k has one row per different surrounding of radius k
// ("colour"), with a multiplicity that batch normalisation counts. README.md, section "One row per surrounding".
#pragma once

#include <torch/torch.h>

#include <cdrzoo/torch.hpp>
#include <cstdint>
#include <vector>

#include "operators.hpp"

namespace cdrzoo::graph_cdr {

/// How rows are shared between the pairs of a mini-batch.
enum class Sharing {
  surroundings,  ///< one row per different surrounding: exact where nothing is drawn at random per row
  drugs,         ///< one row per atom of each different drug, and one for all pad atoms
  pairs          ///< one row per node of each pair, pad atoms included: what the reference does
};

/// The rows of one graph layer.
struct Layer {
  SparseRows neighbours;       ///< [rows, rows of the layer before]: the entries of the normalised adjacency
  torch::Tensor multiplicity;  ///< f32 [rows], nodes of the padded batch that a row stands for
  torch::Tensor expand;        ///< i64 [rows that the next layer sees]; undefined = the rows as they are
};

/// What one forward pass over the drugs of a mini-batch sees.
struct MoleculeBatch {
  torch::Tensor features;        ///< f32 [rows, atom features]
  std::vector<Layer> layers;     ///< one per graph layer
  SparseRows pool;               ///< [molecules, rows of the last layer], rows sum to 1
  double n_nodes = 0;            ///< nodes of the padded batch, duplicates of drugs included
  bool last_row_is_pad = false;  ///< after the first layer (Sharing::drugs): dropout leaves that row alone

  [[nodiscard]] MoleculeBatch to(torch::Device device) const;
};

/// A set of drugs, prepared once.
class Molecules {
 public:
  /// \p graphs  on the CPU; edges are the entries of the normalised adjacency (the first feature), diagonal included
  /// \p padded  nodes of every drug; drugs with more atoms keep theirs, without pad atoms
  Molecules(const sdk::Graphs& graphs, int n_layers, std::int64_t padded);

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(node_begin_.size()) - 1; }

  /// \p drugs  i64 [u], numbers of drugs
  /// \p count  i64 [u], pairs of the mini-batch that have this drug
  [[nodiscard]] MoleculeBatch batch(const torch::Tensor& drugs, const torch::Tensor& count,
                                    Sharing sharing = Sharing::surroundings) const;

 private:
  /// Rows of level k as sums over rows of level k - 1.
  struct Level {
    std::int64_t n_colours = 0;
    std::vector<std::int32_t> colour;  // of each node of the set; the pad atom's is 0
    std::vector<std::int64_t> begin;   // of each colour's terms; empty at level 0
    std::vector<std::int32_t> term;
    std::vector<float> weight;
  };
  /// The colours that some drugs use, renumbered, with the nodes that have them.
  struct Used {
    std::vector<std::int32_t> colours;  // ascending; the pad atom's first
    std::vector<std::int32_t> row;      // of a colour; -1 = not used
    std::vector<float> multiplicity;    // of each row
  };

  [[nodiscard]] std::int64_t n_atoms(std::int64_t drug) const;
  [[nodiscard]] std::int64_t n_pads(std::int64_t drug) const;
  [[nodiscard]] Used used(const Level& level, const std::vector<std::int64_t>& drugs,
                          const std::vector<std::int64_t>& count) const;
  void add_node_layers(MoleculeBatch& batch, const Used& first, const std::vector<std::int64_t>& drugs,
                       const std::vector<std::int64_t>& count, Sharing sharing) const;

  std::int64_t padded_;
  std::vector<std::int64_t> node_begin_;   // [drugs + 1]
  std::vector<std::int64_t> edge_begin_;   // [nodes + 1], edges by target
  std::vector<std::int32_t> edge_source_;  // nodes of the set
  std::vector<float> edge_weight_;
  torch::Tensor features_;     // f32 [colours of level 0, atom features]
  std::vector<Level> levels_;  // 0 .. n_layers
};

}  // namespace cdrzoo::graph_cdr
