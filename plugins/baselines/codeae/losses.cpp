// SPDX-License-Identifier: Apache-2.0
#include "losses.hpp"

#include <array>
#include <cmath>
#include <vector>

namespace cdrzoo::codeae {

namespace {

constexpr double kSeluAlpha = 1.6732632423543772848170429916717;
constexpr double kSeluScale = 1.0507009873554804934193349852946;

/// The derivative of SELU, from its value: for u <= 0 the value is s a (e^u - 1) and the derivative s a e^u.
torch::Tensor selu_slope(const torch::Tensor& value) {
  return torch::where(value > 0, torch::full({}, kSeluScale, value.options()), value + kSeluScale * kSeluAlpha);
}

/// No gradient for the parameters of a module while this lives.
class Frozen {
 public:
  explicit Frozen(const torch::nn::Module& module) : parameters_(module.parameters()) {
    for (auto& p : parameters_) p.requires_grad_(false);
  }
  Frozen(const Frozen&) = delete;
  Frozen& operator=(const Frozen&) = delete;
  ~Frozen() {
    for (auto& p : parameters_) p.requires_grad_(true);
  }

 private:
  std::vector<torch::Tensor> parameters_;
};

class Reversal : public torch::autograd::Function<Reversal> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext*, const torch::Tensor& x) { return x.view_as(x); }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext*,
                                               const torch::autograd::tensor_list& gradient) {
    return {-gradient[0]};
  }
};

}  // namespace

torch::Tensor reconstruction(const torch::Tensor& x, const torch::Tensor& decoded) {
  return torch::mse_loss(decoded, x);
}

torch::Tensor orthogonality(const torch::Tensor& shared_half, const torch::Tensor& private_half) {
  const auto scaled = [](const torch::Tensor& x) {
    return x / (x.detach().norm(/*p=*/2, /*dim=*/1, /*keepdim=*/true) + 1e-6);
  };
  return scaled(shared_half).t().mm(scaled(private_half)).square().mean();
}

torch::Tensor wasserstein(const torch::Tensor& critic_source, const torch::Tensor& critic_target) {
  return critic_target.mean() - critic_source.mean();
}

torch::Tensor interpolate(const torch::Tensor& source, const torch::Tensor& target, const torch::Tensor& a) {
  return target + a * (source - target);
}

torch::Tensor gradient_penalty(Perceptron critic, const torch::Tensor& between) {
  const auto n = static_cast<double>(between.size(0));
  const auto trace = critic->trace(between.detach());
  const auto& layers = critic->layers();
  const std::size_t n_hidden = layers.size() - 1;
  std::vector<torch::Tensor> slope(n_hidden);  // d (output of a hidden layer) / d (its input)
  for (std::size_t i = 0; i < n_hidden; ++i) {
    slope[i] = selu_slope(trace.active[i]);
    if (trace.mask[i].defined()) slope[i] = slope[i] * trace.mask[i];
  }
  torch::Tensor v;
  torch::Tensor value;
  {
    const torch::NoGradGuard no_grad;
    torch::Tensor g = layers.back()->weight.expand({between.size(0), -1});
    for (std::size_t i = n_hidden; i-- > 0;) g = (g * slope[i]).mm(layers[i]->weight);
    const torch::Tensor length = g.norm(/*p=*/2, /*dim=*/1, /*keepdim=*/true);
    value = (length - 1).square().mean();
    v = g * (2.0 / n * (length - 1) / length.clamp_min(1e-12));
  }
  torch::Tensor along = v;
  for (std::size_t i = 0; i < n_hidden; ++i) along = along.mm(layers[i]->weight.t()) * slope[i];
  const torch::Tensor derivative = along.mm(layers.back()->weight.t()).sum();
  return derivative - derivative.detach() + value;
}

CriticLoss critic_loss(Perceptron critic, const torch::Tensor& source, const torch::Tensor& target,
                       const torch::Tensor& between, double penalty_weight) {
  // Source and target pass alone: where a unit is linear on all rows their gradients cancel exactly, and in one sum of
  // both they would leave a rounding error that RMSprop takes for a direction.
  CriticLoss loss;
  loss.wasserstein = wasserstein(critic->forward(source.detach()), critic->forward(target.detach()));
  loss.penalty = gradient_penalty(critic, between);
  loss.total = loss.wasserstein + penalty_weight * loss.penalty;
  return loss;
}

torch::Tensor generator_adversarial(Perceptron critic, const torch::Tensor& target) {
  const Frozen frozen(*critic);
  return -critic->forward(target).mean();
}

torch::Tensor mmd(const torch::Tensor& source, const torch::Tensor& target) {
  // The reference takes its list of bandwidths for variances.
  static constexpr std::array<double, 19> kVariances = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1,   5,   10, 15,
                                                        20,   25,   30,   35,   100,  1e3,  1e4, 1e5, 1e6};
  const std::int64_t n = source.size(0);
  const std::int64_t m = target.size(0);
  const torch::Tensor all = torch::cat({source, target});
  const torch::Tensor squares = all.square().sum(/*dim=*/1, /*keepdim=*/true);
  // Squared. The diagonal is 0, which the narrowest kernels can tell from a rounding error.
  const torch::Tensor distance =
      (squares + squares.t() - 2 * all.mm(all.t())).clamp_min(0) * (1 - torch::eye(n + m, all.options()));
  torch::Tensor kernel = torch::zeros_like(distance);
  for (const double variance : kVariances) kernel = kernel + torch::exp(distance * (-0.5 / variance));
  const auto mean_of = [&kernel](std::int64_t i, std::int64_t rows, std::int64_t j, std::int64_t cols) {
    return kernel.narrow(0, i, rows).narrow(1, j, cols).mean();
  };
  return mean_of(0, n, 0, n) + mean_of(n, m, n, m) - 2 * mean_of(0, n, n, m);
}

torch::Tensor coral(const torch::Tensor& source, const torch::Tensor& target) {
  const auto covariance = [](const torch::Tensor& x) {
    const torch::Tensor centred = x - x.mean(/*dim=*/0, /*keepdim=*/true);
    return centred.t().mm(centred) / static_cast<double>(std::max<std::int64_t>(1, x.size(0) - 1));
  };
  const auto d = static_cast<double>(source.size(1));
  return (covariance(source) - covariance(target)).square().sum() / (4 * d * d);
}

torch::Tensor domain_confusion(Perceptron classifier, const torch::Tensor& source, const torch::Tensor& target) {
  const torch::Tensor logits = classifier->forward(Reversal::apply(torch::cat({source, target}))).squeeze(/*dim=*/1);
  const torch::Tensor domain = torch::cat({torch::zeros({source.size(0)}, logits.options()),  //
                                           torch::ones({target.size(0)}, logits.options())});
  return torch::binary_cross_entropy_with_logits(logits, domain);
}

}  // namespace cdrzoo::codeae
