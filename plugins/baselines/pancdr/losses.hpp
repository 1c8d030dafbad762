// SPDX-License-Identifier: Apache-2.0
// The losses of baseline.pancdr: pure functions, tensor in, tensor out. Numbers of equations are README.md's.
#pragma once

#include <torch/torch.h>

namespace cdrzoo::pancdr {

/// (7) Labels 0 and 1, f32 [n], given logits: mean cross-entropy. Responses: mean squared error.
[[nodiscard]] inline torch::Tensor response_loss(const torch::Tensor& output, const torch::Tensor& y, bool binary) {
  return binary ? torch::binary_cross_entropy_with_logits(output, y) : (output - y).square().mean();
}

/// (8) The discriminator's: mean cross-entropy over the rows of both domains; source is 0, target is 1.
/// \p source [n], \p target [m]: logits.
[[nodiscard]] inline torch::Tensor discriminator_loss(const torch::Tensor& source, const torch::Tensor& target) {
  return torch::binary_cross_entropy_with_logits(torch::cat({source, target}),
                                                 torch::cat({torch::zeros_like(source), torch::ones_like(target)}));
}

/// (9) The encoder's: the same with the labels flipped.
[[nodiscard]] inline torch::Tensor adversarial_loss(const torch::Tensor& source, const torch::Tensor& target) {
  return discriminator_loss(target, source);
}

/// (10)
[[nodiscard]] inline torch::Tensor total_loss(const torch::Tensor& response, const torch::Tensor& adversarial,
                                              double lambda) {
  return response + lambda * adversarial;
}

}  // namespace cdrzoo::pancdr
