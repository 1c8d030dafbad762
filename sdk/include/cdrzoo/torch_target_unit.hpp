// SPDX-License-Identifier: Apache-2.0
/// The unit of a network's output.
#pragma once

#include <torch/torch.h>

#include <cdrzoo/plugin.hpp>

namespace cdrzoo::sdk {
inline namespace v0 {

/// Responses of any scale as multiples of the deviation of the training responses about their mean. As it is
/// constructed, it changes nothing (labels).
struct TargetUnit {
  double mean = 0, scale = 1;

  /// \p y of the training rows, of any shape; where they are constant, they are only centred.
  [[nodiscard]] static TargetUnit of(const torch::Tensor& y) {
    const torch::Tensor values = y.to(torch::kFloat64);
    const double deviation = values.std(/*unbiased=*/false).item<double>();
    return {values.mean().item<double>(), deviation > 1e-12 ? deviation : 1.0};
  }
  [[nodiscard]] torch::Tensor to_network(const torch::Tensor& y) const { return (y - mean) / scale; }
  [[nodiscard]] torch::Tensor from_network(const torch::Tensor& f) const { return f * scale + mean; }
  void save(StateWriter& state) const {
    state.scalar("target_mean", mean);
    state.scalar("target_scale", scale);
  }
  void load(const StateReader& state) {
    mean = state.scalar<double>("target_mean");
    scale = state.scalar<double>("target_scale");
  }
};

}  // namespace v0
}  // namespace cdrzoo::sdk
