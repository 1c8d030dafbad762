// SPDX-License-Identifier: Apache-2.0
// The networks of baseline.mlp, without losses.
#pragma once

#include <torch/torch.h>

#include <vector>

namespace cdrzoo::mlp {

struct Sizes {
  std::int64_t genes = 0;
  std::int64_t bits = 0;
  std::vector<std::int64_t> sample_layers, drug_layers, head_layers;
  double dropout = 0;
};

/// Unique entities and the pairs among them: what one forward pass sees.
struct Batch {
  torch::Tensor expression;   ///< f32 [samples, genes], as it comes
  torch::Tensor fingerprint;  ///< f32 [drugs, bits]
  torch::Tensor sample;       ///< i64 [n], rows of expression
  torch::Tensor drug;         ///< i64 [n], rows of fingerprint
};

/// Linear, ReLU, dropout for each size; the last size is the output's.
class TowerImpl : public torch::nn::Module {
 public:
  TowerImpl(std::int64_t inputs, const std::vector<std::int64_t>& layers, double dropout);
  /// f32 [n, inputs] -> f32 [n, last layer]
  torch::Tensor forward(const torch::Tensor& x);

 private:
  torch::nn::Sequential layers_{nullptr};
};
TORCH_MODULE(Tower);

/// A tower per kind of entity, their outputs side by side, and a head: one number per pair.
class TwoTowersImpl : public torch::nn::Module {
 public:
  explicit TwoTowersImpl(const Sizes& sizes);

  /// Fixes the scaling of the inputs: gene means and deviations over the rows of \p expression.
  void scale_to(const torch::Tensor& expression);
  /// Each entity is encoded once, then gathered per pair (the towers cost as much as there are entities, not pairs).
  /// -> f32 [n]
  torch::Tensor forward(const Batch& batch);
  /// The parts of forward(), for callers that have many pairs of few entities.
  torch::Tensor encode_samples(const torch::Tensor& expression);  ///< -> f32 [samples, last of sample_layers]
  torch::Tensor encode_drugs(const torch::Tensor& fingerprint);   ///< -> f32 [drugs, last of drug_layers]
  /// Encodings of the sample and of the drug of each pair, f32 [n, .] -> f32 [n]
  torch::Tensor combine(const torch::Tensor& sample, const torch::Tensor& drug);

 private:
  torch::Tensor mean_, scale_;  // f32 [genes]
  Tower sample_tower_{nullptr}, drug_tower_{nullptr}, head_{nullptr};
  torch::nn::Linear output_{nullptr};
};
TORCH_MODULE(TwoTowers);

}  // namespace cdrzoo::mlp
