// SPDX-License-Identifier: Apache-2.0
#include "optimizers.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels.hpp"

namespace cdrzoo::codeae {

namespace {

constexpr std::int64_t kGrain = 32768;  // elements that are worth a thread

bool plain(const torch::Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == torch::kFloat32 && x.is_contiguous();
}

}  // namespace

void adamw_step(torch::Tensor& parameter, const torch::Tensor& gradient, torch::Tensor& mean, torch::Tensor& square,
                std::int64_t slab, const std::vector<std::int64_t>& steps, double learning_rate, double decay) {
  const torch::NoGradGuard no_grad;
  const auto first = [](std::int64_t t) { return 1 - std::pow(kBeta1, static_cast<double>(t)); };
  const auto second = [](std::int64_t t) { return std::sqrt(1 - std::pow(kBeta2, static_cast<double>(t))); };
  const auto n_slabs = static_cast<std::int64_t>(steps.size());
  const torch::Tensor g = gradient.contiguous();
  if (plain(parameter) && plain(g)) {
    std::vector<AdamRates> rates;
    for (const std::int64_t t : steps) {
      rates.push_back({static_cast<float>(1 - learning_rate * decay), static_cast<float>(learning_rate / first(t)),
                       static_cast<float>(1 / second(t))});
    }
    auto* p = parameter.data_ptr<float>();
    const auto* d = g.data_ptr<float>();
    auto* m = mean.data_ptr<float>();
    auto* v = square.data_ptr<float>();
    at::parallel_for(0, n_slabs * slab, kGrain, [&](std::int64_t from, std::int64_t to) {
      while (from < to) {
        const std::int64_t i = from / slab;
        const std::int64_t end = std::min(to, (i + 1) * slab);
        adamw_range(p + from, d + from, m + from, v + from, end - from, rates[static_cast<std::size_t>(i)]);
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
  const torch::Tensor d = slabs(g);
  slabs(mean).mul_(kBeta1).add_(d, 1 - kBeta1);
  slabs(square).mul_(kBeta2).addcmul_(d, d, 1 - kBeta2);
  slabs(parameter)
      .mul_(1 - learning_rate * decay)
      .sub_(column(step_sizes) * slabs(mean) / (slabs(square).sqrt() / column(roots) + kEpsilon));
}

void rmsprop_step(torch::Tensor& parameter, const torch::Tensor& gradient, torch::Tensor& square,
                  double learning_rate) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor g = gradient.contiguous();
  if (plain(parameter) && plain(g)) {
    auto* p = parameter.data_ptr<float>();
    const auto* d = g.data_ptr<float>();
    auto* v = square.data_ptr<float>();
    at::parallel_for(0, parameter.numel(), kGrain, [=](std::int64_t from, std::int64_t to) {
      rmsprop_range(p + from, d + from, v + from, to - from, static_cast<float>(learning_rate));
    });
    return;
  }
  square.mul_(kRmsAlpha).addcmul_(g, g, 1 - kRmsAlpha);
  parameter.addcdiv_(g, square.sqrt().add_(kEpsilon), -learning_rate);
}

namespace {

std::vector<torch::Tensor> zeros_like_all(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> zeros;
  zeros.reserve(parameters.size());
  for (const auto& p : parameters) zeros.push_back(torch::zeros_like(p.detach()));
  return zeros;
}

void clear_gradients(const std::vector<torch::Tensor>& parameters) {
  for (const auto& p : parameters) p.mutable_grad().reset();  // the next backward pass hands its own over
}

}  // namespace

AdamW::AdamW(std::vector<torch::Tensor> parameters, double learning_rate, double decay)
    : parameters_(std::move(parameters)),
      mean_(zeros_like_all(parameters_)),
      square_(zeros_like_all(parameters_)),
      learning_rate_(learning_rate),
      decay_(decay) {}

void AdamW::zero_grad() { clear_gradients(parameters_); }

void AdamW::step() {
  ++steps_;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].grad().defined()) continue;
    adamw_step(parameters_[i], parameters_[i].grad(), mean_[i], square_[i], parameters_[i].numel(), {steps_},
               learning_rate_, decay_);
  }
}

RmsProp::RmsProp(std::vector<torch::Tensor> parameters, double learning_rate)
    : parameters_(std::move(parameters)), square_(zeros_like_all(parameters_)), learning_rate_(learning_rate) {}

void RmsProp::zero_grad() { clear_gradients(parameters_); }

void RmsProp::step() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].grad().defined()) continue;
    rmsprop_step(parameters_[i], parameters_[i].grad(), square_[i], learning_rate_);
  }
}

}  // namespace cdrzoo::codeae
