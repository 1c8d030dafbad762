// SPDX-License-Identifier: Apache-2.0
// The losses of CSG2A: pure functions, tensor in, tensor out.
#pragma once

#include <torch/torch.h>

#include <cmath>
#include <cstdint>

namespace cdrzoo::csg2a {

/// Mean squared error over all pairs and, for profiles, all genes (csg2a.md 3).
[[nodiscard]] inline torch::Tensor squared_error(const torch::Tensor& prediction, const torch::Tensor& y) {
  return (prediction - y).square().mean();
}

/// Mean negative log-likelihood of labels 0 and 1, f32 [n], given logits f32 [n] (csg2a.md 5).
[[nodiscard]] inline torch::Tensor logistic_loss(const torch::Tensor& logits, const torch::Tensor& y) {
  return torch::binary_cross_entropy_with_logits(logits, y);
}

/// The learning rate of an epoch, counted from 0: a cosine from \p high to \p low over \p length epochs, then \p low
/// (csg2a.md 3).
[[nodiscard]] inline double cosine_rate(double high, double low, std::int64_t length, std::int64_t epoch) {
  if (epoch >= length) return low;
  constexpr double kPi = 3.14159265358979323846;
  return low + (high - low) * (1 + std::cos(kPi * static_cast<double>(epoch) / static_cast<double>(length))) / 2;
}

}  // namespace cdrzoo::csg2a
