// SPDX-License-Identifier: Apache-2.0
// MAT, the molecule attention transformer (Maziarka et al., 2020): a network over the graph "graph_mat" of a drug,
// shared by CSG2A and THERAPI. No losses. Keys of parameters are those of published checkpoints.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace cdrzoo::mat {

struct Options {
  std::int64_t atom_features = 28;  ///< the dummy node's flag first
  std::int64_t width = 1024;        ///< d
  std::int64_t layers = 8;
  std::int64_t heads = 16;
  std::int64_t dense_layers = 1;  ///< of a feed-forward block
  double lambda_attention = 0.33;
  double lambda_distance = 0.33;  ///< the adjacency gets the rest
  double leaky_slope = 0.1;
  double dropout = 0.0;
  enum class DistanceKernel { exponential, softmax } kernel = DistanceKernel::exponential;
};

/// Molecules of equal size n, or padded to it: node 0 is the dummy.
struct Molecules {
  torch::Tensor features;   ///< f32 [b, n, atom_features]
  torch::Tensor adjacency;  ///< f32 [b, n, n]: bonds and the diagonal; all zero for the dummy
  torch::Tensor distance;   ///< f32 [b, n, n] in angstrom; 1e6 for the dummy
  torch::Tensor mask;       ///< bool [b, n], false = padding; undefined = there is none
};

/// A / (row sums + 1e-6). [b, n, n]
[[nodiscard]] torch::Tensor normalised_adjacency(const torch::Tensor& adjacency);
/// exp(-D), or the row-wise softmax of -D; padding is infinitely far. [b, n, n]
[[nodiscard]] torch::Tensor distance_kernel(const torch::Tensor& distance, const torch::Tensor& mask,
                                            Options::DistanceKernel kernel);
/// Mean of the tokens of all real nodes, the dummy included. [b, n, d] -> [b, d]
[[nodiscard]] torch::Tensor mean_of_tokens(const torch::Tensor& tokens, const torch::Tensor& mask);

/// a (x - mean) / (std + 1e-6) + b over the last dimension, with the unbiased std and epsilon outside the root: not
/// torch's LayerNorm.
class NormImpl : public torch::nn::Module {
 public:
  explicit NormImpl(std::int64_t width);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  torch::Tensor a_, b_;
};
TORCH_MODULE(Norm);

/// Heads that mix attention with a kernel of the distances and the adjacency, both the same for all heads and layers.
class AttentionImpl : public torch::nn::Module {
 public:
  explicit AttentionImpl(const Options& options);
  /// softmax(Q K' / sqrt(d_k)) with padding left out. [b, heads, n, n]
  torch::Tensor weights(const torch::Tensor& x, const torch::Tensor& mask);
  /// \param fixed lambda_d g(D) + lambda_a A^, [b, n, n]
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& fixed, const torch::Tensor& mask);
  /// The same for groups of molecules of equal size whose tokens lie one after the other.
  /// \param tokens f32 [u, d] \param row i64 [all nodes], the row of tokens of each node; undefined = 0, 1, ...
  /// \param fixed of each group \return f32 [all nodes, d]
  torch::Tensor forward(const torch::Tensor& tokens, const torch::Tensor& row, const std::vector<torch::Tensor>& fixed);

 private:
  [[nodiscard]] torch::Tensor project(std::size_t which, const torch::Tensor& x);  // [b, heads, n, d_k]
  std::int64_t heads_;
  double lambda_attention_;
  torch::nn::ModuleList linears_;  // query, key, value, output
};
TORCH_MODULE(Attention);

/// dense_layers times: linear, leaky ReLU.
class FeedForwardImpl : public torch::nn::Module {
 public:
  explicit FeedForwardImpl(const Options& options);
  torch::Tensor forward(torch::Tensor x);

 private:
  double slope_, dropout_;
  torch::nn::ModuleList linears_;
};
TORCH_MODULE(FeedForward);

class LayerImpl : public torch::nn::Module {
 public:
  explicit LayerImpl(const Options& options);
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& fixed, const torch::Tensor& mask);
  /// Groups as in AttentionImpl; the tokens of all nodes, [all nodes, d], are tokens.index_select(row).
  torch::Tensor forward(const torch::Tensor& tokens, const torch::Tensor& row, const std::vector<torch::Tensor>& fixed);
  /// What the attention of this layer sees: the normalised tokens.
  torch::Tensor normalised(const torch::Tensor& x);
  Attention& attention() { return attention_; }

 private:
  double dropout_;
  Attention attention_{nullptr};
  FeedForward feed_forward_{nullptr};
  Norm norm_of_attention_{nullptr}, norm_of_feed_forward_{nullptr};
};
TORCH_MODULE(Layer);

/// Keys: src_embed.lut, encoder.layers.I.{self_attn.linears.J, feed_forward.linears.J, sublayer.J.norm}, encoder.norm.
class MatImpl : public torch::nn::Module {
 public:
  explicit MatImpl(const Options& options);
  /// Tokens of all nodes, f32 [b, n, d]; those of padding mean nothing.
  torch::Tensor forward(const Molecules& molecules);
  /// The mean token of each molecule of groups without padding, f32 [all molecules, d]: the groups share every product
  /// with a weight, so that few molecules of a size cost no more than many.
  torch::Tensor mean_tokens(const std::vector<Molecules>& groups);
  /// Parts of forward().
  torch::Tensor embed(const torch::Tensor& features);
  [[nodiscard]] torch::Tensor fixed_attention(const Molecules& molecules) const;
  Layer& layer(std::size_t i) { return layers_[i]; }
  [[nodiscard]] const Options& options() const { return options_; }

 private:
  Options options_;
  torch::nn::Linear lut_{nullptr};
  std::vector<Layer> layers_;
  Norm norm_{nullptr};
};
TORCH_MODULE(Mat);

}  // namespace cdrzoo::mat
