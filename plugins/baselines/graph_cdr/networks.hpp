// SPDX-License-Identifier: Apache-2.0
// The networks that DeepCDR and PANCDR share, without losses: graph convolutions over the atoms of a drug, and a head
// of 1-D convolutions over drug and sample. README.md has the equations.
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "molecules.hpp"

namespace cdrzoo::graph_cdr {

/// Y = A (X W + b), the bias before the propagation.
class GraphConvImpl : public torch::nn::Module {
 public:
  GraphConvImpl(std::int64_t inputs, std::int64_t outputs);
  /// f32 [rows before, inputs] -> f32 [rows, outputs]
  torch::Tensor forward(const torch::Tensor& x, const SparseRows& neighbours);

  torch::Tensor weight;  // f32 [inputs, outputs]
  torch::Tensor bias;    // f32 [outputs]
};
TORCH_MODULE(GraphConv);

struct NormOptions {
  double eps = 1e-5;
  double momentum = 0.1;  ///< weight of the new batch in the running statistics
  bool unbiased = true;   ///< running variance with n - 1; the batch's own is always with n
  /// Until the momentum is larger, running statistics are the mean over all batches so far: they do not begin as 0
  /// and 1.
  bool mean_at_first = false;
};

/// Batch normalisation in which a row may stand for several.
class BatchNormImpl : public torch::nn::Module {
 public:
  BatchNormImpl(std::int64_t channels, const NormOptions& options);
  /// Every row once. f32 [n, channels] -> the same
  torch::Tensor forward(const torch::Tensor& x);
  /// Row i stands for multiplicity[i] equal rows, n_rows in all.
  torch::Tensor normalised(const torch::Tensor& x, const torch::Tensor& multiplicity, double n_rows);
  /// Moves the running statistics as if the last \p n training batches came once more, in their order (at most 2).
  void repeat_updates(std::size_t n);

 private:
  void update(const Moments& moments);
  NormOptions options_;
  std::vector<Moments> last_;
  torch::Tensor weight_, bias_, running_mean_, running_var_, n_batches_;
};
TORCH_MODULE(BatchNorm);

/// Where the two published implementations differ.
struct PredictorOptions {
  std::int64_t atom_features = 75;
  std::vector<std::int64_t> units{256, 256, 256, 100};  ///< of the graph layers; the last is the drug vector's
  std::int64_t sample_width = 0;                        ///< of what stands beside the drug vector
  bool relu_first = true;         ///< ReLU before the batch normalisation of a graph layer, or after it
  std::string norm_name = "RBD";  ///< the reference's name of the latter
  NormOptions norm;
  double graph_dropout = 0;    ///< after each graph layer
  bool fused_tanh = false;     ///< after the layer of 300
  double fused_dropout = 0.1;  ///< after it
  double conv_dropout = 0;     ///< after the convolutions
  double flat_dropout = 0.2;   ///< after flattening
  bool xavier_head = true;     ///< initial weights of linear and convolution layers: Xavier and zero, or LibTorch's own
};

/// Xavier uniform weights and zero biases for the linear and convolution layers of a module.
void xavier(torch::nn::Module& module);

/// Molecules to vectors, vectors of drug and sample to one number.
class GraphPredictorImpl : public torch::nn::Module {
 public:
  explicit GraphPredictorImpl(const PredictorOptions& options);
  /// -> f32 [molecules, last of units]
  torch::Tensor drug_vectors(const MoleculeBatch& batch);
  /// After the first graph layer with its normalisation and ReLU: f32 [rows, first of units]
  torch::Tensor first_layer(const MoleculeBatch& batch);
  /// drug f32 [n, last of units], sample f32 [n, sample_width] -> logits or responses f32 [n]
  torch::Tensor respond(const torch::Tensor& drug, const torch::Tensor& sample);
  /// The parts of respond(): the layer of 300, and the 30 numbers before the last layer (channels first).
  torch::Tensor fuse(const torch::Tensor& drug, const torch::Tensor& sample);
  torch::Tensor convolve(const torch::Tensor& fused);
  [[nodiscard]] std::int64_t drug_width() const { return options_.units.back(); }
  void disable_dropout() {
    options_.graph_dropout = options_.fused_dropout = options_.conv_dropout = options_.flat_dropout = 0;
  }

  static constexpr std::int64_t kFused = 300;
  static constexpr std::int64_t kFlat = 30;  // 5 channels x 6 positions

 private:
  torch::Tensor layer(std::size_t i, const torch::Tensor& x, const MoleculeBatch& batch);

  PredictorOptions options_;
  std::vector<GraphConv> convolutions_;
  std::vector<BatchNorm> norms_;
  torch::nn::Linear fused_{nullptr}, output_{nullptr};
  torch::nn::Conv2d conv1_{nullptr}, conv2_{nullptr}, conv3_{nullptr};
};
TORCH_MODULE(GraphPredictor);

}  // namespace cdrzoo::graph_cdr
