// SPDX-License-Identifier: Apache-2.0
// The networks of baseline.pancdr, without losses. Their keys are the reference's.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "../graph_cdr/networks.hpp"

namespace cdrzoo::pancdr {

struct Sizes {
  std::int64_t genes = 0;
  std::int64_t atom_features = 75;
  std::int64_t hidden = 256;  ///< of the encoder
  std::int64_t latent = 128;  ///< of a code
  std::vector<std::int64_t> graph_units{256, 256, 256};
  std::int64_t drug_width = 100;
};

/// Mean and log variance of the codes.
struct Code {
  torch::Tensor mu, log_variance;  ///< f32 [n, latent]

  /// z = mu + noise exp(log variance / 2)
  [[nodiscard]] torch::Tensor sample(const torch::Tensor& noise) const {
    return torch::addcmul(mu, noise, torch::exp(0.5 * log_variance));
  }
  [[nodiscard]] Code detached() const { return {mu.detach(), log_variance.detach()}; }
  /// The codes of some rows.
  [[nodiscard]] Code select(const torch::Tensor& rows) const {
    return {mu.index_select(0, rows), log_variance.index_select(0, rows)};
  }
};

/// Expression of either domain to codes: four times linear, batch norm, ReLU, then linear and two heads.
class EncoderImpl : public torch::nn::Module {
 public:
  explicit EncoderImpl(const Sizes& sizes);
  /// x f32 [n, genes]; row i stands for multiplicity[i] (f32 [n]) equal rows of the mini-batch, n_rows in all.
  Code forward(const torch::Tensor& x, const torch::Tensor& multiplicity, double n_rows);
  Code forward(const torch::Tensor& x);
  /// Moves the running statistics as if the last \p n batches had been encoded once more.
  void repeat_updates(std::size_t n);

 private:
  std::vector<torch::nn::Linear> linear_;
  std::vector<graph_cdr::BatchNorm> norm_;
  torch::nn::Linear mu_{nullptr}, log_variance_{nullptr};
};
TORCH_MODULE(Encoder);

/// A code to the logit of being a target sample.
class DiscriminatorImpl : public torch::nn::Module {
 public:
  explicit DiscriminatorImpl(std::int64_t latent);
  /// f32 [n, latent] -> f32 [n]
  torch::Tensor forward(const torch::Tensor& z);

 private:
  torch::nn::Sequential layers_{nullptr};
};
TORCH_MODULE(Discriminator);

/// All three.
class PancdrImpl : public torch::nn::Module {
 public:
  explicit PancdrImpl(const Sizes& sizes);
  /// What the response step trains.
  [[nodiscard]] std::vector<torch::Tensor> response_parameters() const;

  Encoder encoder{nullptr};
  graph_cdr::GraphPredictor predictor{nullptr};
  Discriminator discriminator{nullptr};
};
TORCH_MODULE(Pancdr);

}  // namespace cdrzoo::pancdr
