// SPDX-License-Identifier: Apache-2.0
#include "csg2a/networks.hpp"

#include "support/catch.hpp"
#include "support/golden_torch.hpp"

using namespace cdrzoo;
using cdrzoo::test::compare;
using cdrzoo::test::compare_module;
using cdrzoo::test::Golden;
using cdrzoo::test::GoldenWeights;
using cdrzoo::test::tensor_of;

namespace {

std::int64_t size_of(const Golden& golden, const char* key, std::int64_t otherwise) {
  const auto args = golden.json("constructor_args");
  return args.contains(key) ? args.at(key).get<std::int64_t>() : otherwise;
}

csg2a::Sizes sizes_of(const Golden& golden) {
  csg2a::Sizes s;
  s.genes = size_of(golden, "gex_dim", 0);
  s.hidden = size_of(golden, "hdim", 0);
  s.dropout = 0.0;
  s.mat.atom_features = tensor_of(golden, "in/node_features").size(-1);
  s.mat.width = size_of(golden, "d_model", 0);
  s.mat.layers = size_of(golden, "n_layers", 0);
  s.mat.heads = size_of(golden, "heads", 0);
  s.mat.dense_layers = size_of(golden, "n_dense", 1);
  return s;
}

/// Identity and symmetric ones on the edges.
torch::Tensor prior_of(const Golden& golden) {
  torch::Tensor prior = torch::eye(size_of(golden, "gex_dim", 0));
  const torch::Tensor edges = tensor_of(golden, "in/prior_edges").to(torch::kInt64);
  const auto a = edges.select(1, 0);
  const auto b = edges.select(1, 1);
  prior.index_put_({a, b}, torch::ones(a.size(0)));
  prior.index_put_({b, a}, torch::ones(a.size(0)));
  return prior;
}

torch::Tensor pooled_of(mat::Mat& net, const Golden& golden) {
  const mat::Molecules molecules{tensor_of(golden, "in/node_features"), tensor_of(golden, "in/adjacency"),
                                 tensor_of(golden, "in/distance"), tensor_of(golden, "in/mask").to(torch::kBool)};
  return mat::mean_of_tokens(net->forward(molecules), molecules.mask);
}

}  // namespace

TEST_CASE("The row sums of M need no M") {
  torch::manual_seed(0);
  const auto f64 = torch::TensorOptions(torch::kFloat64);
  const torch::Tensor b = torch::randn({3, 17}, f64), c = torch::randn({3, 17}, f64);
  const torch::Tensor w_gex = torch::randn({17, 6}, f64), w_comp = torch::randn({17, 6}, f64);
  torch::Tensor prior = torch::eye(17, f64);
  prior[2][5] = prior[5][2] = 1;
  const torch::Tensor naive = b * csg2a::attention_matrix(b, c, w_gex, w_comp, prior).sum(-1);
  const torch::Tensor ours = csg2a::attended(b, c, w_gex, w_comp, prior.sum(1));
  CHECK((naive - ours).abs().max().item<double>() < 1e-12);
}

TEST_CASE("CSG2A agrees with the reference implementation") {
  const auto files = Golden::all_of("CSG2A", "network");
  if (files.empty()) WARN(Golden::no_files());
  for (const auto& golden : files) {
    INFO(golden.name());
    csg2a::Csg2a net(sizes_of(golden));
    const GoldenWeights weights(golden);
    weights.load_into(*net);
    const torch::Tensor prior = prior_of(golden);
    net->set_prior_row_sums(prior.sum(1));
    const torch::Tensor basal = tensor_of(golden, "in/basal");
    const torch::Tensor dose = tensor_of(golden, "in/dose"), time = tensor_of(golden, "in/time");
    const auto compound = [&] { return net->encoder()->forward(pooled_of(net->encoder()->mat(), golden), dose, time); };

    net->eval();
    torch::Tensor c = compound();
    CHECK(compare(golden, "out/compound", c) == "");
    CHECK(compare(golden, "out/y", net->attend(basal, c)) == "");
    CHECK(compare(golden, "out/predicted", net->forward(basal, c)) == "");
    if (golden.has("out/M")) {
      CHECK(compare(golden, "out/M", csg2a::attention_matrix(basal, c, net->w_gex(), net->w_comp(), prior)) == "");
    }
    if (!golden.has("in/target")) continue;

    const torch::Tensor target = tensor_of(golden, "in/target");
    CHECK(compare(golden, "loss/mse_eval", torch::mse_loss(net->forward(basal, c), target)) == "");
    net->train();
    c = compound();
    CHECK(compare(golden, "out/compound_train", c) == "");
    const torch::Tensor predicted = net->forward(basal, c);
    CHECK(compare(golden, "out/predicted_train", predicted) == "");
    const torch::Tensor loss = torch::mse_loss(predicted, target);
    CHECK(compare(golden, "loss/mse_train", loss) == "");
    loss.backward();
    CHECK(compare_module(golden, "grad", *net) == "");
    CHECK(compare_module(golden, "after1", *net) == "");

    weights.load_into(*net);
    torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(1e-3));
    std::vector<double> losses;
    for (int step = 0; step < 3; ++step) {
      optimizer.zero_grad();
      const torch::Tensor l = torch::mse_loss(net->forward(basal, compound()), target);
      losses.push_back(l.item<double>());
      l.backward();
      optimizer.step();
    }
    CHECK(compare(golden, "loss/mse_before_each_step", losses) == "");
    CHECK(compare_module(golden, "after3", *net, "", &weights) == "");
  }
}

TEST_CASE("The response model around CSG2A agrees with the reference implementation") {
  const auto files = Golden::all_of("CSG2A", "finetune");
  if (files.empty()) WARN(Golden::no_files());
  for (const auto& golden : files) {
    INFO(golden.name());
    csg2a::Response model(sizes_of(golden), size_of(golden, "finetune_hdim1", 0), size_of(golden, "finetune_hdim2", 0));
    const GoldenWeights weights(golden);
    weights.load_into(*model);
    auto& net = model->network();
    net->set_prior_row_sums(prior_of(golden).sum(1));
    for (auto& parameter : net->parameters()) parameter.set_requires_grad(false);
    const torch::Tensor basal = tensor_of(golden, "in/basal");
    const auto predict = [&] {
      const torch::Tensor c = net->encoder()->forward(pooled_of(net->encoder()->mat(), golden),
                                                      tensor_of(golden, "in/dose"), tensor_of(golden, "in/time"));
      return std::make_pair(c, model->head(basal, net->forward(model->scaled(basal), c), c));
    };
    model->eval();
    const auto [c, prediction] = predict();
    CHECK(compare(golden, "out/scaled_basal", model->scaled(basal)) == "");
    CHECK(compare(golden, "out/compound", c) == "");
    CHECK(compare(golden, "out/prediction_eval", prediction) == "");
    const torch::Tensor target = tensor_of(golden, "in/target");
    CHECK(compare(golden, "loss/mse_eval", torch::mse_loss(prediction, target)) == "");
    model->train();
    const auto trained = predict().second;
    CHECK(compare(golden, "out/prediction_train", trained) == "");
    const torch::Tensor loss = torch::mse_loss(trained, target);
    CHECK(compare(golden, "loss/mse_train", loss) == "");
    loss.backward();
    CHECK(compare_module(golden, "grad", *model) == "");
    CHECK(compare_module(golden, "after1", *model) == "");
    for (const auto& parameter : net->parameters()) CHECK_FALSE(parameter.grad().defined());
  }
}
