// SPDX-License-Identifier: Apache-2.0
// The losses of baseline.deepcdr: pure functions, tensor in, tensor out. Numbers of equations are README.md's.
#pragma once

#include <torch/torch.h>

namespace cdrzoo::deepcdr {

/// (5) Mean squared error of responses f32 [n].
[[nodiscard]] inline torch::Tensor squared_error(const torch::Tensor& prediction, const torch::Tensor& y) {
  return (prediction - y).square().mean();
}

/// (6) Mean cross-entropy of labels 0 and 1, f32 [n], given logits f32 [n] (not probabilities).
[[nodiscard]] inline torch::Tensor cross_entropy(const torch::Tensor& logits, const torch::Tensor& y) {
  return torch::binary_cross_entropy_with_logits(logits, y);
}

}  // namespace cdrzoo::deepcdr
