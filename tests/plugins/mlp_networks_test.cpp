// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "../../plugins/baselines/mlp/losses.hpp"
#include "../../plugins/baselines/mlp/networks.hpp"
#include "support/catch.hpp"

using namespace cdrzoo::mlp;
using cdrzoo::test::WithinAbs;

namespace {

Sizes tiny() { return {5, 7, {6, 3}, {4, 2}, {6}, 0.0}; }

Batch random_batch() {
  return {torch::randn({4, 5}), torch::rand({3, 7}), torch::tensor({0, 3, 1, 1, 2}, torch::kInt64),
          torch::tensor({2, 0, 0, 1, 2}, torch::kInt64)};
}

/// Leaky in both directions: no unit is dead, so a zero gradient means that nothing arrives.
void make_all_units_active(TwoTowers& net) {
  const torch::NoGradGuard no_grad;
  for (auto& p : net->named_parameters()) {
    p.value().abs_();  // inputs are made positive below, so every unit is
  }
}

}  // namespace

TEST_CASE("each loss reaches every parameter of the network") {
  torch::manual_seed(1);
  const bool binary = GENERATE(false, true);
  TwoTowers net(tiny());
  make_all_units_active(net);
  Batch batch = random_batch();
  batch.expression = batch.expression.abs();
  const torch::Tensor output = net->forward(batch);
  const torch::Tensor loss = binary ? logistic_loss(output, torch::tensor({0, 1, 1, 0, 1}, torch::kFloat32))
                                    : squared_error(output, torch::randn({5}));
  loss.backward();
  for (const auto& p : net->named_parameters()) {
    INFO(p.key());
    REQUIRE(p.value().grad().defined());
    CHECK(p.value().grad().abs().min().item<double>() > 0);
  }
  for (const auto& b : net->named_buffers()) CHECK_FALSE(b.value().requires_grad());
}

TEST_CASE("an entity that no pair refers to gets no gradient") {
  torch::manual_seed(2);
  TwoTowers net(tiny());
  make_all_units_active(net);
  Batch batch = random_batch();
  batch.expression = batch.expression.abs().requires_grad_();
  batch.fingerprint = batch.fingerprint.clone().requires_grad_();
  batch.sample = torch::tensor({0, 3}, torch::kInt64);
  batch.drug = torch::tensor({1, 1}, torch::kInt64);
  squared_error(net->forward(batch), torch::tensor({100.0F, 100.0F})).backward();
  const auto reached = [](const torch::Tensor& x, std::int64_t row) {
    return x.grad().select(0, row).abs().sum().item<double>() > 0;
  };
  CHECK(reached(batch.expression, 0));
  CHECK_FALSE(reached(batch.expression, 1));
  CHECK_FALSE(reached(batch.expression, 2));
  CHECK(reached(batch.expression, 3));
  CHECK_FALSE(reached(batch.fingerprint, 0));
  CHECK(reached(batch.fingerprint, 1));
  CHECK_FALSE(reached(batch.fingerprint, 2));
}

TEST_CASE("encoding unique entities and gathering equals encoding every pair") {
  torch::manual_seed(3);
  TwoTowers net(tiny());
  net->eval();
  const Batch batch = random_batch();
  const torch::Tensor every = torch::arange(5, torch::kInt64);
  const Batch expanded{batch.expression.index_select(0, batch.sample), batch.fingerprint.index_select(0, batch.drug),
                       every, every};
  CHECK(torch::allclose(net->forward(batch), net->forward(expanded), 1e-6, 1e-6));
}

TEST_CASE("the losses have their textbook values") {
  const auto f = torch::tensor({0.0F, 2.0F});
  const auto y = torch::tensor({1.0F, 0.0F});
  CHECK_THAT(squared_error(f, y).item<double>(), WithinAbs((1.0 + 4.0) / 2, 1e-6));
  CHECK_THAT(logistic_loss(f, y).item<double>(), WithinAbs((std::log(2.0) + std::log1p(std::exp(2.0))) / 2, 1e-6));
}

TEST_CASE("the network scales genes to mean 0 and deviation 1, constant genes to 0") {
  TwoTowers net(Sizes{2, 1, {2}, {1}, {1}, 0.0});
  {
    const torch::NoGradGuard no_grad;  // the identity as the first layer, its ReLU shows the positive part
    net->named_parameters()["sample_tower.layers.0.weight"].copy_(torch::eye(2));
    net->named_parameters()["sample_tower.layers.0.bias"].zero_();
  }
  const torch::Tensor x = torch::tensor({{1.0F, 5.0F}, {3.0F, 5.0F}});
  net->scale_to(x);
  net->eval();
  CHECK(torch::allclose(net->encode_samples(x), torch::tensor({{0.0F, 0.0F}, {1.0F, 0.0F}})));
}
