// SPDX-License-Identifier: Apache-2.0
// The networks of xtransfercdr, without losses. Parameter names are those of the reference's state dictionary.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "layers.hpp"

namespace cdrzoo::xtransfercdr {

struct Sizes {
  std::int64_t genes = 0;
  std::vector<std::int64_t> hidden{1024, 512, 256};  ///< of the encoders; the decoder's are the same, reversed
  std::int64_t latent = 128;
  std::int64_t residual_blocks = 3;
  double dropout = 0.2;
  bool latent_relu = true;  ///< latents are not negative
};

/// x + layer(layer(x)): the ReLU stands before the sum, none after it.
class ResidualImpl : public torch::nn::Module {
 public:
  ResidualImpl(std::int64_t width, double dropout);
  torch::Tensor forward(const torch::Tensor& x, const Passes& passes);

 private:
  torch::nn::Linear fc1_, fc2_;
  torch::nn::BatchNorm1d bn1_, bn2_;
  double dropout_;
};
TORCH_MODULE(Residual);

/// The one form of both encoders and the decoder: two layers, the residual blocks, a layer, and a linear layer with
/// ReLU.
class CoderImpl : public torch::nn::Module {
 public:
  /// \p hidden three widths, the residual blocks have the second
  CoderImpl(std::int64_t inputs, const std::vector<std::int64_t>& hidden, std::int64_t outputs, const Sizes& sizes,
            bool relu_last);
  /// f32 [rows of passes, inputs] -> f32 [rows, outputs]
  torch::Tensor forward(const torch::Tensor& x, const Passes& passes);
  /// One pass.
  torch::Tensor forward(const torch::Tensor& x) { return forward(x, {x.size(0)}); }

 private:
  std::vector<torch::nn::Linear> linear_;
  std::vector<torch::nn::BatchNorm1d> norm_;
  std::vector<Residual> blocks_;
  double dropout_;
  bool relu_last_;
};
TORCH_MODULE(Coder);

/// Perturbation and state of a profile, and profiles of their sum.
class XTransferImpl : public torch::nn::Module {
 public:
  explicit XTransferImpl(const Sizes& sizes);

  Coder perturbation{nullptr}, state{nullptr};  ///< E_P, E_S: f32 [n, genes] -> f32 [n, latent]
  Coder decoder{nullptr};                       ///< D: f32 [n, latent] -> f32 [n, genes]
};
TORCH_MODULE(XTransfer);

}  // namespace cdrzoo::xtransfercdr
