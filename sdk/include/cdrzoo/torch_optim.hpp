// SPDX-License-Identifier: Apache-2.0
/// Adam, AdamW and RMSprop in one pass over the memory: LibTorch's take a pass per operation, which costs more than the
/// products of small networks. The same rules, to rounding. On the CPU with f32; elsewhere by LibTorch's operations.
/// Link cdrzoo::sdk_torch_optim.
#pragma once

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <cdrzoo/optim_kernels.hpp>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace cdrzoo::sdk {
inline namespace v0 {

namespace detail {

inline constexpr std::int64_t kOptimGrain = 32768;  // elements that are worth a thread

[[nodiscard]] inline bool plain_floats(const torch::Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == torch::kFloat32 && x.is_contiguous();
}

[[nodiscard]] inline std::vector<torch::Tensor> zeros_like_all(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> zeros;
  zeros.reserve(parameters.size());
  for (const auto& p : parameters) zeros.push_back(torch::zeros_like(p.detach()));
  return zeros;
}

inline void clear_gradients(const std::vector<torch::Tensor>& parameters) {
  for (const auto& p : parameters) p.mutable_grad().reset();  // the next backward pass hands its own over
}

}  // namespace detail

/// How weights decay: with Adam, `l2` times the parameter joins the gradient; with AdamW, a step takes lr * `apart` of
/// the parameter.
struct WeightDecay {
  double l2 = 0, apart = 0;
  [[nodiscard]] static WeightDecay adam(double decay) { return {decay, 0}; }
  [[nodiscard]] static WeightDecay adamw(double decay = 0.01) { return {0, decay}; }
};

/// g += l2 p, p -= lr * apart * p, then p -= lr * m^ / (sqrt(v^) + 1e-8), betas 0.9 and 0.999. The tensors are
/// contiguous and of one size, in slabs of \p slab elements; the first steps.size() slabs take a step, each with its
/// own count, from 1 on. In place.
inline void adam_step(torch::Tensor& parameter, const torch::Tensor& gradient, torch::Tensor& mean,
                      torch::Tensor& square, std::int64_t slab, const std::vector<std::int64_t>& steps,
                      double learning_rate, WeightDecay decay) {
  const torch::NoGradGuard no_grad;
  const auto first = [](std::int64_t t) { return 1 - std::pow(kAdamBeta1, static_cast<double>(t)); };
  const auto second = [](std::int64_t t) { return std::sqrt(1 - std::pow(kAdamBeta2, static_cast<double>(t))); };
  const auto n_slabs = static_cast<std::int64_t>(steps.size());
  const torch::Tensor g = gradient.contiguous();
  if (detail::plain_floats(parameter) && detail::plain_floats(g)) {
    std::vector<AdamRates> rates;
    for (const std::int64_t t : steps) {
      rates.push_back({static_cast<float>(1 - learning_rate * decay.apart), static_cast<float>(decay.l2),
                       static_cast<float>(learning_rate / first(t)), static_cast<float>(1 / second(t))});
    }
    auto* p = parameter.data_ptr<float>();
    const auto* d = g.data_ptr<float>();
    auto* m = mean.data_ptr<float>();
    auto* v = square.data_ptr<float>();
    at::parallel_for(0, n_slabs * slab, detail::kOptimGrain, [&](std::int64_t from, std::int64_t to) {
      while (from < to) {
        const std::int64_t i = from / slab;
        const std::int64_t end = std::min(to, (i + 1) * slab);
        adam_range(p + from, d + from, m + from, v + from, end - from, rates[static_cast<std::size_t>(i)]);
        from = end;
      }
    });
    return;
  }
  std::vector<double> step_sizes;
  std::vector<double> roots;
  for (const std::int64_t t : steps) {
    step_sizes.push_back(learning_rate / first(t));
    roots.push_back(second(t));
  }
  const auto slabs = [&](const torch::Tensor& x) { return x.view({-1, slab}).narrow(0, 0, n_slabs); };
  const auto column = [&](const std::vector<double>& x) {
    return torch::tensor(x, torch::kFloat64).to(parameter.device(), parameter.scalar_type()).unsqueeze(1);
  };
  const torch::Tensor d = slabs(g) + decay.l2 * slabs(parameter);
  slabs(mean).mul_(kAdamBeta1).add_(d, 1 - kAdamBeta1);
  slabs(square).mul_(kAdamBeta2).addcmul_(d, d, 1 - kAdamBeta2);
  slabs(parameter)
      .mul_(1 - learning_rate * decay.apart)
      .sub_(column(step_sizes) * slabs(mean) / (slabs(square).sqrt() / column(roots) + kOptimEpsilon));
}

/// v = 0.99 v + 0.01 g^2, then p -= lr * g / (sqrt(v) + 1e-8). In place.
inline void rmsprop_step(torch::Tensor& parameter, const torch::Tensor& gradient, torch::Tensor& square,
                         double learning_rate) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor g = gradient.contiguous();
  if (detail::plain_floats(parameter) && detail::plain_floats(g)) {
    auto* p = parameter.data_ptr<float>();
    const auto* d = g.data_ptr<float>();
    auto* v = square.data_ptr<float>();
    at::parallel_for(0, parameter.numel(), detail::kOptimGrain, [=](std::int64_t from, std::int64_t to) {
      rmsprop_range(p + from, d + from, v + from, to - from, static_cast<float>(learning_rate));
    });
    return;
  }
  square.mul_(kRmsAlpha).addcmul_(g, g, 1 - kRmsAlpha);
  parameter.addcdiv_(g, square.sqrt().add_(kOptimEpsilon), -learning_rate);
}

/// Adam or AdamW over a module's parameters.
class Adam {
 public:
  explicit Adam(std::vector<torch::Tensor> parameters, WeightDecay decay = {})
      : parameters_(std::move(parameters)),
        mean_(detail::zeros_like_all(parameters_)),
        square_(detail::zeros_like_all(parameters_)),
        decay_(decay) {}
  void zero_grad() { detail::clear_gradients(parameters_); }
  /// Parameters without a gradient are left alone.
  void step(double learning_rate) {
    ++steps_;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      torch::Tensor& p = parameters_[i];
      if (!p.grad().defined()) continue;
      adam_step(p, p.grad(), mean_[i], square_[i], p.numel(), {steps_}, learning_rate, decay_);
    }
  }

 private:
  std::vector<torch::Tensor> parameters_, mean_, square_;
  WeightDecay decay_;
  std::int64_t steps_ = 0;
};

class RmsProp {
 public:
  explicit RmsProp(std::vector<torch::Tensor> parameters)
      : parameters_(std::move(parameters)), square_(detail::zeros_like_all(parameters_)) {}
  void zero_grad() { detail::clear_gradients(parameters_); }
  /// Parameters without a gradient are left alone.
  void step(double learning_rate) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      torch::Tensor& p = parameters_[i];
      if (p.grad().defined()) rmsprop_step(p, p.grad(), square_[i], learning_rate);
    }
  }

 private:
  std::vector<torch::Tensor> parameters_, square_;
};

}  // namespace v0
}  // namespace cdrzoo::sdk
