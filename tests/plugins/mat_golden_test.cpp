// SPDX-License-Identifier: Apache-2.0
#include "mat/mat.hpp"
#include "support/catch.hpp"
#include "support/golden_torch.hpp"

using namespace cdrzoo;
using cdrzoo::test::compare;
using cdrzoo::test::compare_module;
using cdrzoo::test::Golden;
using cdrzoo::test::GoldenWeights;
using cdrzoo::test::tensor_of;

namespace {

mat::Options options_of(const Golden& golden) {
  mat::Options o;
  o.atom_features = golden.arg("d_atom").get<std::int64_t>();
  o.width = golden.arg("d_model").get<std::int64_t>();
  o.layers = golden.arg("N").get<std::int64_t>();
  o.heads = golden.arg("h").get<std::int64_t>();
  o.dense_layers = golden.arg("N_dense").get<std::int64_t>();
  o.lambda_attention = golden.arg("lambda_attention").get<double>();
  o.lambda_distance = golden.arg("lambda_distance").get<double>();
  o.leaky_slope = golden.arg("leaky_relu_slope").get<double>();
  o.kernel = golden.arg("distance_matrix_kernel") == "exp" ? mat::Options::DistanceKernel::exponential
                                                           : mat::Options::DistanceKernel::softmax;
  return o;
}

mat::Molecules molecules_of(const Golden& golden) {
  return {tensor_of(golden, "in/node_features"), tensor_of(golden, "in/adjacency"), tensor_of(golden, "in/distance"),
          tensor_of(golden, "in/mask").to(torch::kBool)};
}

/// Golden files hold zeros wherever a padded node is involved.
torch::Tensor of_nodes(const torch::Tensor& tokens, const torch::Tensor& mask) {
  return tokens * mask.to(tokens.dtype()).unsqueeze(-1);
}
torch::Tensor of_pairs(const torch::Tensor& values, const torch::Tensor& mask) {
  torch::Tensor m = mask.to(values.dtype());
  m = m.unsqueeze(-1) * m.unsqueeze(-2);
  return values * (values.dim() == 4 ? m.unsqueeze(1) : m);
}

}  // namespace

TEST_CASE("The molecule transformer agrees with the reference implementation") {
  const auto files = Golden::all_of("MAT", "encoder");
  if (files.empty()) WARN(Golden::no_files());
  for (const auto& golden : files) {
    INFO(golden.name());
    mat::Mat net(options_of(golden));
    net->eval();
    const GoldenWeights weights(golden);
    weights.load_into(*net);
    const auto molecules = molecules_of(golden);
    const torch::Tensor& mask = molecules.mask;
    const torch::Tensor tokens = net->forward(molecules);
    CHECK(compare(golden, "out/tokens", of_nodes(tokens, mask)) == "");
    const torch::Tensor pooled = mat::mean_of_tokens(tokens, mask);
    CHECK(compare(golden, "out/pooled_mean", pooled) == "");
    if (!golden.has("out/embedding")) continue;

    const torch::Tensor x = net->embed(molecules.features);
    CHECK(compare(golden, "out/embedding", of_nodes(x, mask)) == "");
    CHECK(compare(golden, "out/pooled_dummy", tokens.select(1, 0)) == "");
    CHECK(compare(golden, "out/pooled_sum", of_nodes(tokens, mask).sum(1)) == "");
    CHECK(compare(golden, "out/normalised_adjacency", of_pairs(mat::normalised_adjacency(molecules.adjacency), mask)) ==
          "");
    const torch::Tensor kernel = mat::distance_kernel(molecules.distance, mask, net->options().kernel);
    CHECK(compare(golden, "out/layer0_distance_kernel", of_pairs(kernel, mask)) == "");
    const torch::Tensor attention = net->layer(0)->attention()->weights(net->layer(0)->normalised(x), mask);
    CHECK(compare(golden, "out/layer0_softmax_attention", of_pairs(attention, mask)) == "");
    const torch::Tensor mixed =
        net->options().lambda_attention * attention + net->fixed_attention(molecules).unsqueeze(1);
    CHECK(compare(golden, "out/layer0_mixed_attention", of_pairs(mixed, mask)) == "");

    const torch::Tensor loss = (pooled * tensor_of(golden, "in/probe")).mean();
    CHECK(compare(golden, "loss/probe", loss) == "");
    loss.backward();
    CHECK(compare_module(golden, "grad", *net) == "");
  }
}

TEST_CASE("Padding changes no token of a molecule") {
  torch::manual_seed(1);
  mat::Options options;
  options.width = 16;
  options.heads = 4;
  options.layers = 2;
  mat::Mat net(options);
  net->eval();
  const std::int64_t n = 5;
  torch::Tensor features = torch::rand({1, n, 28});
  torch::Tensor adjacency = torch::eye(n).unsqueeze(0);
  torch::Tensor distance = torch::rand({1, n, n}) * 4;
  const torch::Tensor plain = net->forward({features, adjacency, distance, {}});
  const auto pad = [](const torch::Tensor& t, std::vector<std::int64_t> by) {
    return torch::nn::functional::pad(t, torch::nn::functional::PadFuncOptions(std::move(by)));
  };
  torch::Tensor mask = torch::ones({1, n + 3}, torch::kBool);
  mask.narrow(1, n, 3).fill_(false);
  const torch::Tensor padded =
      net->forward({pad(features, {0, 0, 0, 3}), pad(adjacency, {0, 3, 0, 3}), pad(distance, {0, 3, 0, 3}), mask});
  CHECK(torch::allclose(plain, padded.narrow(1, 0, n), 1e-5, 1e-6));
  CHECK(torch::allclose(mat::mean_of_tokens(plain, {}), mat::mean_of_tokens(padded, mask), 1e-5, 1e-6));
}
