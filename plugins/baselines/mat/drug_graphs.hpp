// SPDX-License-Identifier: Apache-2.0
// From the drugs of a view to vectors of the molecule transformer: each drug once, without padding.
#pragma once

#include <cdrzoo/torch.hpp>
#include <functional>
#include <string>
#include <vector>

#include "mat/mat.hpp"

namespace cdrzoo::mat {

/// The drugs of a block "graph_mat" as dense arrays, one set per drug.
class DrugGraphs {
 public:
  DrugGraphs() = default;
  /// A copy. \throws sdk::Error(E_DATA) for a drug whose distances are not nodes x nodes.
  explicit DrugGraphs(const sdk::GraphsBlock& block);

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(drugs_.size()); }
  [[nodiscard]] std::int64_t n_nodes(std::int64_t drug) const { return at(drug).features.size(0); }
  /// bool [drugs]: false for a drug without nodes, which has no structure.
  [[nodiscard]] torch::Tensor has_structure() const;
  /// Some drugs, in this order. Shares the arrays. \param which i64 [n]
  [[nodiscard]] DrugGraphs select(const torch::Tensor& which) const;

  /// Molecules of equal size side by side, small ones first, those of a size in the order of \p drugs; at most
  /// \p max_tokens nodes in all, but at least one molecule. Drugs without nodes are in none.
  struct Pack {
    std::vector<Molecules> groups;
    std::vector<std::int64_t> drugs;  ///< of each molecule of all groups
  };
  [[nodiscard]] std::vector<Pack> packs(std::int64_t max_tokens, torch::Device device) const;

 private:
  struct Drug {
    torch::Tensor features, adjacency, distance;  // [n, width], [n, n], [n, n]
  };
  [[nodiscard]] const Drug& at(std::int64_t drug) const { return drugs_[static_cast<std::size_t>(drug)]; }
  std::vector<Drug> drugs_;
};

/// Tokens that one pass takes: enough for the matrix products to run at full speed, few enough for a pass to be short.
inline constexpr std::int64_t kTokensPerPass = 1024;

/// The mean token of each drug, f32 [drugs, d], on the device of the network; **zero for a drug without nodes**.
/// A drug's vector depends on the other drugs by rounding only. \param between is called before each pass.
[[nodiscard]] torch::Tensor pooled(Mat& net, const DrugGraphs& drugs, const std::function<void()>& between,
                                   std::int64_t max_tokens = kTokensPerPass);

/// Fills the network from published weights: keys as in ardigen/MAT, or behind "CCE.MAT." or "CSG2A.CCE.MAT." of a
/// CSG2A checkpoint; other tensors ("generator") are ignored. \throws sdk::Error(E_ASSET) in one sentence.
void load_weights(Mat& net, const sdk::StateReader& weights, const std::string& asset);

/// The sizes of the published weights, and those that the library takes for training from scratch (mat.md 2).
[[nodiscard]] Options published_options(std::int64_t atom_features = 28);
[[nodiscard]] Options small_options(std::int64_t atom_features = 28);

}  // namespace cdrzoo::mat
