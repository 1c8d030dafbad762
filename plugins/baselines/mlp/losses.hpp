// SPDX-License-Identifier: Apache-2.0
// The losses of baseline.mlp: pure functions, tensor in, tensor out.
#pragma once

#include <torch/torch.h>

namespace cdrzoo::mlp {

/// Mean squared error of predictions f32 [n] against values f32 [n].
[[nodiscard]] inline torch::Tensor squared_error(const torch::Tensor& prediction, const torch::Tensor& y) {
  return (prediction - y).square().mean();
}

/// Mean negative log-likelihood of labels 0 and 1, f32 [n], given logits f32 [n] (not probabilities).
[[nodiscard]] inline torch::Tensor logistic_loss(const torch::Tensor& logits, const torch::Tensor& y) {
  return torch::binary_cross_entropy_with_logits(logits, y);
}

}  // namespace cdrzoo::mlp
