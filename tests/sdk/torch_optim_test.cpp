// SPDX-License-Identifier: Apache-2.0
#include <cdrzoo/torch_optim.hpp>

#include "support/catch.hpp"

namespace sdk = cdrzoo::sdk;

namespace {

/// Five steps of both on the same gradients, from one start; the parameters where they end.
template <class Ours, class Theirs>
std::pair<torch::Tensor, torch::Tensor> five_steps(torch::Tensor ours, torch::Tensor theirs, Ours& our_optimizer,
                                                   Theirs& their_optimizer, double learning_rate) {
  for (int step = 0; step < 5; ++step) {
    const torch::Tensor target = torch::randn_like(ours.detach());
    for (const auto& p : {ours, theirs}) {
      p.mutable_grad() = torch::Tensor();
      (p - target).pow(4).mean().mul(1000).backward();
    }
    our_optimizer.step(learning_rate);
    their_optimizer.step();
  }
  return {ours.detach(), theirs.detach()};
}

}  // namespace

TEST_CASE("the one-pass optimisers follow LibTorch's") {
  torch::manual_seed(7);
  const auto type = GENERATE(torch::kFloat32, torch::kFloat64);  // the loop, and LibTorch's operations
  const torch::Tensor start = torch::randn({350, 200}, type);    // more than one thread's share
  const torch::Tensor ours = start.clone().requires_grad_();
  const torch::Tensor theirs = start.clone().requires_grad_();
  const double rate = 1e-3;
  const auto close = [](const std::pair<torch::Tensor, torch::Tensor>& ends) {
    return torch::allclose(ends.first, ends.second, 1e-5, 1e-6);
  };
  SECTION("Adam, with weight decay in the gradient") {
    sdk::Adam adam({ours}, sdk::WeightDecay::adam(0.1));
    torch::optim::Adam reference({theirs}, torch::optim::AdamOptions(rate).weight_decay(0.1));
    CHECK(close(five_steps(ours, theirs, adam, reference, rate)));
  }
  SECTION("AdamW") {
    sdk::Adam adam({ours}, sdk::WeightDecay::adamw());
    torch::optim::AdamW reference({theirs}, torch::optim::AdamWOptions(rate).weight_decay(0.01));
    CHECK(close(five_steps(ours, theirs, adam, reference, rate)));
  }
  SECTION("RMSprop") {
    sdk::RmsProp rmsprop({ours});
    torch::optim::RMSprop reference({theirs}, torch::optim::RMSpropOptions(rate));
    CHECK(close(five_steps(ours, theirs, rmsprop, reference, rate)));
  }
}

TEST_CASE("a parameter without a gradient is left alone") {
  const torch::Tensor with = torch::ones({3}).requires_grad_();
  const torch::Tensor without = torch::ones({3}).requires_grad_();
  sdk::Adam adam({with, without}, sdk::WeightDecay::adamw());
  sdk::RmsProp rmsprop({with, without});
  with.sum().backward();
  adam.step(0.1);
  rmsprop.step(0.1);
  CHECK((with < 1).all().item<bool>());
  CHECK(without.equal(torch::ones({3})));
  adam.zero_grad();
  CHECK_FALSE(with.grad().defined());
}

TEST_CASE("a slab takes the step that it would take alone, at its own count, and those behind the last stay") {
  torch::manual_seed(8);
  const auto type = GENERATE(torch::kFloat32, torch::kFloat64);
  const std::vector<std::int64_t> steps{1, 7};
  const torch::Tensor gradient = torch::randn({3, 50}, type);
  torch::Tensor p = torch::randn({3, 50}, type), mean = torch::randn({3, 50}, type),
                square = torch::rand({3, 50}, type);
  const torch::Tensor before = p.clone();
  std::vector<torch::Tensor> alone;
  for (std::int64_t i = 0; i < 2; ++i) {
    torch::Tensor one = p[i].clone(), m = mean[i].clone(), v = square[i].clone();
    sdk::adam_step(one, gradient[i], m, v, 50, {steps[static_cast<std::size_t>(i)]}, 0.01, sdk::WeightDecay::adamw());
    alone.push_back(one);
  }
  sdk::adam_step(p, gradient, mean, square, 50, steps, 0.01, sdk::WeightDecay::adamw());
  CHECK(p[0].equal(alone[0]));
  CHECK(p[1].equal(alone[1]));
  CHECK(p[2].equal(before[2]));
}
