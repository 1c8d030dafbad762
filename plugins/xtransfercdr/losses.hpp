// SPDX-License-Identifier: Apache-2.0
// The losses of xtransfercdr: pure functions, tensor in, tensor out. Numbers of equations are README.md's.
#pragma once

#include <torch/torch.h>

namespace cdrzoo::xtransfercdr {

/// (4) Mean over rows and genes of (x - decoded)^2, for reconstruction, cross-transfer, controls and combinations
/// alike. f32 [n, genes] both.
[[nodiscard]] inline torch::Tensor squared_error(const torch::Tensor& x, const torch::Tensor& decoded) {
  return torch::mse_loss(decoded, x);
}

/// (9) KL(softmax(right) || softmax(left)), summed over the latent, mean over rows. f32 [n, latent] both.
[[nodiscard]] inline torch::Tensor agreement(const torch::Tensor& left, const torch::Tensor& right) {
  const torch::Tensor log_left = torch::log_softmax(left, /*dim=*/1);
  const torch::Tensor log_right = torch::log_softmax(right, /*dim=*/1);
  return (log_right.exp() * (log_right - log_left)).sum(/*dim=*/1).mean();
}

enum class Orthogonality {
  dot2,  ///< squared inner product, as released
  cos2   ///< squared cosine, which shrinking the latents cannot satisfy
};

/// (10) Mean over rows of (s . p)^2, or of its square cosine. f32 [n, latent] both.
[[nodiscard]] inline torch::Tensor overlap(const torch::Tensor& state, const torch::Tensor& perturbation,
                                           Orthogonality form) {
  const torch::Tensor dot = (state * perturbation).sum(/*dim=*/1);
  if (form == Orthogonality::dot2) return dot.square().mean();
  const torch::Tensor lengths = state.square().sum(/*dim=*/1) * perturbation.square().sum(/*dim=*/1);
  return (dot.square() / lengths.clamp_min(1e-12)).mean();
}

}  // namespace cdrzoo::xtransfercdr
