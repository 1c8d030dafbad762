// SPDX-License-Identifier: Apache-2.0
// The losses of baseline.codeae: pure functions. Numbers in brackets are the equations of README.md.
#pragma once

#include <torch/torch.h>

#include "networks.hpp"

namespace cdrzoo::codeae {

/// (2): mean over rows and genes of (x - x')^2.
[[nodiscard]] torch::Tensor reconstruction(const torch::Tensor& x, const torch::Tensor& decoded);

/// (3): mean over the latent x latent entries of (S^T P)^2, rows of S and P scaled to length 1. The lengths are
/// constants for the gradient. f32 [n, latent] both.
[[nodiscard]] torch::Tensor orthogonality(const torch::Tensor& shared_half, const torch::Tensor& private_half);

/// (4): mean C(target) - mean C(source).
[[nodiscard]] torch::Tensor wasserstein(const torch::Tensor& critic_source, const torch::Tensor& critic_target);

/// (5): the points between source and target codes, a f32 [n, 1].
[[nodiscard]] torch::Tensor interpolate(const torch::Tensor& source, const torch::Tensor& target,
                                        const torch::Tensor& a);

/// (6): mean over rows of (|dC/dz| - 1)^2. Its gradient reaches the critic only.
///
/// Let g = dC/dz and v = d penalty / d g, a constant. The gradient of the penalty is the gradient of sum v.g, and v.g
/// is the derivative of C along v: it is computed forward, layer by layer, beside C itself. So no graph is ever built
/// through a gradient, which is what makes this term cheap.
[[nodiscard]] torch::Tensor gradient_penalty(Perceptron critic, const torch::Tensor& between);

/// The loss of the critic (7): (4) + weight (6). No gradient reaches the codes.
struct CriticLoss {
  torch::Tensor wasserstein, penalty, total;
};
[[nodiscard]] CriticLoss critic_loss(Perceptron critic, const torch::Tensor& source, const torch::Tensor& target,
                                     const torch::Tensor& between, double penalty_weight);

/// (8): -mean C(target), what the encoders add to their loss. The critic gets no gradient.
[[nodiscard]] torch::Tensor generator_adversarial(Perceptron critic, const torch::Tensor& target);

/// (9): squared maximum mean discrepancy, biased, with the sum of 19 radial kernels exp(-|a - b|^2 / (2 s)).
[[nodiscard]] torch::Tensor mmd(const torch::Tensor& source, const torch::Tensor& target);

/// (10): |C_s - C_t|_F^2 / (4 d^2) of the covariances of two codes f32 [n, d].
[[nodiscard]] torch::Tensor coral(const torch::Tensor& source, const torch::Tensor& target);

/// (11): cross-entropy of a domain classifier (source 0, target 1) whose gradient is turned round on its way into the
/// codes.
[[nodiscard]] torch::Tensor domain_confusion(Perceptron classifier, const torch::Tensor& source,
                                             const torch::Tensor& target);

}  // namespace cdrzoo::codeae
