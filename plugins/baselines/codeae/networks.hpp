// SPDX-License-Identifier: Apache-2.0
// The networks of baseline.codeae, without losses. Parameter names are those of the reference's state dictionaries.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace cdrzoo::codeae {

enum class Activation { selu, relu };

[[nodiscard]] torch::Tensor activate(const torch::Tensor& x, Activation activation);

/// A mask of dropout for x: 0 with probability p, else 1 / (1 - p). On the CPU from a counter-based generator that
/// LibTorch's seeds, at a tenth of the cost of LibTorch's; p is rounded to a multiple of 2^-16.
[[nodiscard]] torch::Tensor dropout_mask(const torch::Tensor& x, double p);
[[nodiscard]] torch::Tensor with_dropout(const torch::Tensor& x, double p, bool train);

/// Linear, activation and dropout for each hidden width, then one linear layer.
class PerceptronImpl : public torch::nn::Module {
 public:
  /// What a pass leaves at each hidden layer.
  struct Trace {
    std::vector<torch::Tensor> active;  ///< after the activation, before dropout
    std::vector<torch::Tensor> mask;    ///< of dropout: 0 or 1 / (1 - p); undefined where nothing was dropped
    torch::Tensor output;
  };

  PerceptronImpl(std::int64_t inputs, const std::vector<std::int64_t>& hidden, std::int64_t outputs, double dropout,
                 Activation activation = Activation::selu);
  /// f32 [n, inputs] -> f32 [n, outputs]
  torch::Tensor forward(const torch::Tensor& x) { return run_from(0, x); }
  /// The layers from number \p first on, of the activations before it.
  torch::Tensor run_from(std::int64_t first, torch::Tensor x);
  /// As forward(), and what it saw on the way.
  [[nodiscard]] Trace trace(torch::Tensor x);

  /// All linear layers, the input's first.
  [[nodiscard]] const std::vector<torch::nn::Linear>& layers() const { return layers_; }
  [[nodiscard]] Activation activation() const { return activation_; }
  [[nodiscard]] double dropout() const { return dropout_; }

 private:
  std::vector<torch::nn::Linear> layers_;
  double dropout_;
  Activation activation_;
};
TORCH_MODULE(Perceptron);

/// The encoder of what one domain keeps to itself: as a perceptron with ReLU, and dropout before the last layer, too.
class PrivateEncoderImpl : public torch::nn::Module {
 public:
  PrivateEncoderImpl(std::int64_t inputs, const std::vector<std::int64_t>& hidden, std::int64_t latent, double dropout);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  std::vector<torch::nn::Linear> layers_;
  double dropout_;
};
TORCH_MODULE(PrivateEncoder);

struct Sizes {
  std::int64_t genes = 0;
  std::vector<std::int64_t> hidden{512, 256};
  std::int64_t latent = 128;
  std::vector<std::int64_t> critic_hidden{64, 32, 16};
  double dropout = 0;
  bool norm = true;
};

enum class Domain { source, target };

/// One shared encoder, a private one per domain and one decoder.
class SeparationNetworkImpl : public torch::nn::Module {
 public:
  struct Code {
    torch::Tensor private_half, shared_half;  ///< f32 [n, latent], each row of length 1 with Sizes::norm
    [[nodiscard]] torch::Tensor both() const { return torch::cat({private_half, shared_half}, /*dim=*/1); }
  };

  explicit SeparationNetworkImpl(const Sizes& sizes);
  [[nodiscard]] Code encode(const torch::Tensor& x, Domain domain);
  /// Several batches of each domain in one pass through each encoder, each batch with dropout of its own; the source's
  /// codes come first.
  [[nodiscard]] std::vector<Code> encode(const std::vector<torch::Tensor>& source,
                                         const std::vector<torch::Tensor>& target);
  /// f32 [n, 2 latent] -> f32 [n, genes]
  [[nodiscard]] torch::Tensor decode(const torch::Tensor& code) { return decoder_->forward(code); }

  [[nodiscard]] Perceptron shared_encoder() const { return shared_encoder_; }
  [[nodiscard]] double dropout() const { return shared_encoder_->dropout(); }

 private:
  Perceptron shared_encoder_{nullptr}, decoder_{nullptr};
  PrivateEncoder source_private_encoder_{nullptr}, target_private_encoder_{nullptr};
  bool norm_;
};
TORCH_MODULE(SeparationNetwork);

/// The plain auto-encoder (ReLU) of the methods ae, dae and coral.
class AutoEncoderImpl : public torch::nn::Module {
 public:
  explicit AutoEncoderImpl(const Sizes& sizes);
  [[nodiscard]] torch::Tensor encode(const torch::Tensor& x);
  [[nodiscard]] torch::Tensor decode(const torch::Tensor& code) { return decoder_->forward(code); }
  [[nodiscard]] Perceptron encoder() const { return encoder_; }

 private:
  Perceptron encoder_{nullptr}, decoder_{nullptr};
  bool norm_;
};
TORCH_MODULE(AutoEncoder);

/// Rows of length 1.
[[nodiscard]] torch::Tensor unit_rows(const torch::Tensor& x);

}  // namespace cdrzoo::codeae
