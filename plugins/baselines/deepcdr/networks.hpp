// SPDX-License-Identifier: Apache-2.0
// The network of baseline.deepcdr, without losses.
#pragma once

#include <torch/torch.h>

#include <string>
#include <utility>
#include <vector>

#include "../graph_cdr/networks.hpp"

namespace cdrzoo::deepcdr {

/// Two published implementations of one model.
enum class Preset {
  keras,  ///< DeepCDR's own
  pancdr  ///< the PyTorch one that PANCDR compares with; no mutations and no methylation
};

struct Sizes {
  Preset preset = Preset::keras;
  bool mean_at_first = false;  ///< running statistics of batch norm, with a momentum of 0.1
  std::int64_t genes = 0;
  std::int64_t mutations = 0;    ///< 0 = no such branch; below MutationBranch's fewest: a dense branch
  std::int64_t methylation = 0;  ///< 0 = no such branch
  std::int64_t atom_features = 75;
  std::vector<std::int64_t> graph_units{256, 256, 256, 100};  ///< the last is the drug vector's width
  std::int64_t hidden = 256;                                  ///< of the expression and methylation branches
  std::int64_t sample_width = 100;                            ///< of each sample branch's vector
  double dropout = 0.1;                                       ///< everywhere but before the last layer
  double flat_dropout = 0.2;                                  ///< before the last layer
};

/// What a mini-batch's samples are: different samples, each once.
struct Samples {
  torch::Tensor expression, mutation, methylation;  ///< f32 [samples, .]; undefined = no such branch
  torch::Tensor multiplicity;                       ///< f32 [samples], pairs of each; undefined = 1
  double n_rows = 0;                                ///< pairs in all
};

/// Linear, batch norm and tanh in the preset's order, dropout, linear, ReLU.
class DenseBranchImpl : public torch::nn::Module {
 public:
  DenseBranchImpl(std::int64_t inputs, const Sizes& sizes);
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& multiplicity, double n_rows);

 private:
  Preset preset_;
  double dropout_;
  torch::nn::Linear first_{nullptr}, second_{nullptr};
  graph_cdr::BatchNorm norm_{nullptr};
};
TORCH_MODULE(DenseBranch);

/// Two 1-D convolutions over the genome's positions, each with pooling, and a dense layer. It needs kFewest positions.
class MutationBranchImpl : public torch::nn::Module {
 public:
  MutationBranchImpl(std::int64_t positions, const Sizes& sizes);
  torch::Tensor forward(const torch::Tensor& x);
  static constexpr std::int64_t kFewest = 1270;  ///< that leave one number after all pooling

 private:
  double dropout_;
  torch::nn::Conv1d conv1_{nullptr}, conv2_{nullptr};
  torch::nn::Linear dense_{nullptr};
};
TORCH_MODULE(MutationBranch);

class DeepCdrImpl : public graph_cdr::GraphPredictorImpl {
 public:
  explicit DeepCdrImpl(const Sizes& sizes);
  /// -> f32 [samples, sample_width()]: the branches side by side, in the order mutation, expression, methylation
  torch::Tensor sample_vectors(const Samples& samples);
  [[nodiscard]] std::int64_t sample_width() const;

 private:
  Sizes sizes_;
  DenseBranch expression_{nullptr}, methylation_{nullptr}, few_mutations_{nullptr};
  MutationBranch mutation_{nullptr};
};
TORCH_MODULE(DeepCdr);

/// One tensor of the network as the reference stores it.
struct ReferenceTensor {
  std::string key;
  torch::Tensor view;               ///< over the network's memory, axes in the reference's order
  std::vector<std::int64_t> shape;  ///< the reference's, of the same elements

  [[nodiscard]] torch::Tensor stored() const { return view.detach().contiguous().view(shape); }
  /// \p values of that shape
  void assign(const torch::Tensor& values) const { view.detach().copy_(values.reshape(view.sizes())); }
};

/// The state under the keys and in the layouts of the preset's reference: for Preset::keras dense kernels (in, out),
/// convolution kernels (width, in, out), and what follows a flattened convolution with its inputs channels last.
[[nodiscard]] std::vector<ReferenceTensor> reference_state(const DeepCdrImpl& net, Preset preset);

}  // namespace cdrzoo::deepcdr
