// SPDX-License-Identifier: Apache-2.0
// AdamW and RMSprop in one pass over the memory: LibTorch's take a pass per operation, which costs more than the
// products of these networks. The same rules, to rounding.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace cdrzoo::codeae {

/// p -= lr * decay * p, then p -= lr * m^ / (sqrt(v^) + 1e-8), betas 0.9 and 0.999. The tensors are contiguous and of
/// one size, in slabs of \p slab elements; the first steps.size() slabs take a step, each with its own count, from 1
/// on. In place.
void adamw_step(torch::Tensor& parameter, const torch::Tensor& gradient, torch::Tensor& mean, torch::Tensor& square,
                std::int64_t slab, const std::vector<std::int64_t>& steps, double learning_rate, double decay);

/// v = 0.99 v + 0.01 g^2, then p -= lr * g / (sqrt(v) + 1e-8). In place.
void rmsprop_step(torch::Tensor& parameter, const torch::Tensor& gradient, torch::Tensor& square, double learning_rate);

/// Over a module's parameters.
class AdamW {
 public:
  AdamW(std::vector<torch::Tensor> parameters, double learning_rate, double decay = 0.01);
  void zero_grad();
  /// Parameters without a gradient are left alone.
  void step();

 private:
  std::vector<torch::Tensor> parameters_, mean_, square_;
  double learning_rate_, decay_;
  std::int64_t steps_ = 0;
};

class RmsProp {
 public:
  RmsProp(std::vector<torch::Tensor> parameters, double learning_rate);
  void zero_grad();
  void step();

 private:
  std::vector<torch::Tensor> parameters_, square_;
  double learning_rate_;
};

}  // namespace cdrzoo::codeae
