// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "../../plugins/baselines/graph_cdr/networks.hpp"
#include "graph_cdr_golden.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using namespace cdrzoo::graph_cdr;

namespace {

constexpr std::int64_t kWidth = 6;

/// Drugs of several sizes, one without atoms, one with more atoms than the padding holds.
sdk::Graphs drugs() {
  torch::manual_seed(1);
  test::DrugGraphs out(kWidth);
  for (const std::int64_t n : {7, 12, 0, 23, 1, 9}) test::add_random_drug(out, n, kWidth);
  return out.graphs();
}

GraphPredictor predictor(bool relu_first, double dropout = 0) {
  PredictorOptions options;
  options.atom_features = kWidth;
  options.units = {8, 7, 9, 5};
  options.sample_width = 4;
  options.relu_first = relu_first;
  options.graph_dropout = dropout;
  GraphPredictor net(options);
  const torch::NoGradGuard no_grad;
  for (auto& p : net->named_parameters())
    p.value().add_(0.1 * torch::randn_like(p.value()));  // no neutral affine terms
  return net;
}

torch::Tensor i64(const std::vector<std::int64_t>& values) { return torch::tensor(values, torch::kInt64); }

double largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>() / std::max(1e-6, b.abs().max().item<double>());
}

struct Outcome {
  torch::Tensor output;
  std::vector<std::pair<std::string, torch::Tensor>> gradients, buffers;
};

/// A training pass over pairs, with the drug vectors by one way of sharing rows.
Outcome train_once(bool relu_first, const Molecules& molecules, const torch::Tensor& drug_of_pair, Sharing sharing) {
  torch::manual_seed(5);
  GraphPredictor net = predictor(relu_first);
  const torch::Tensor sample = torch::randn({drug_of_pair.size(0), 4});
  const torch::Tensor direction = torch::randn({drug_of_pair.size(0)});
  net->train();
  torch::Tensor vectors;
  if (sharing == Sharing::pairs) {
    vectors = net->drug_vectors(molecules.batch(drug_of_pair, torch::ones_like(drug_of_pair), sharing));
  } else {
    const sdk::Unique unique = sdk::unique_of(drug_of_pair);
    vectors = net->drug_vectors(molecules.batch(unique.entity, unique.count, sharing)).index_select(0, unique.index);
  }
  const torch::Tensor h = net->convolve(net->fuse(vectors, sample));
  (h.sum(1) * direction).sum().backward();
  Outcome out;
  out.output = vectors.detach();
  for (const auto& p : net->named_parameters()) {
    if (p.value().grad().defined()) out.gradients.emplace_back(p.key(), p.value().grad());
  }
  for (const auto& b : net->named_buffers()) out.buffers.emplace_back(b.key(), b.value().to(torch::kFloat32));
  return out;
}

}  // namespace

TEST_CASE("one row per surrounding equals padded atoms per pair in output, gradients and running statistics") {
  const bool relu_first = GENERATE(false, true);
  const Sharing sharing = GENERATE(Sharing::surroundings, Sharing::drugs);
  CAPTURE(relu_first, static_cast<int>(sharing));
  const Molecules molecules(drugs(), 4, /*padded=*/20);  // one drug has 23 atoms
  const torch::Tensor pairs = i64({3, 0, 0, 2, 5, 3, 3, 1, 4});
  const Outcome ours = train_once(relu_first, molecules, pairs, sharing);
  const Outcome naive = train_once(relu_first, molecules, pairs, Sharing::pairs);
  CHECK(largest_difference(ours.output, naive.output) < 1e-5);
  REQUIRE(ours.gradients.size() == naive.gradients.size());
  double scale = 0;
  for (const auto& gradient : naive.gradients) scale = std::max(scale, gradient.second.abs().max().item<double>());
  for (std::size_t i = 0; i < ours.gradients.size(); ++i) {
    INFO(ours.gradients[i].first);
    CHECK((ours.gradients[i].second - naive.gradients[i].second).abs().max().item<double>() < 2e-4 * scale);
  }
  for (std::size_t i = 0; i < ours.buffers.size(); ++i) {
    INFO(ours.buffers[i].first);
    CHECK(largest_difference(ours.buffers[i].second, naive.buffers[i].second) < 1e-5);
  }
}

TEST_CASE("padded atoms per pair are what the reference computes with dense matrices") {
  const sdk::Graphs graphs = drugs();
  constexpr std::int64_t kPadded = 30;
  const Molecules molecules(graphs, 4, kPadded);
  torch::manual_seed(6);
  GraphPredictor net = predictor(/*relu_first=*/true);
  const torch::Tensor pairs = i64({1, 3, 2, 1});
  // X padded with zeros, the matrix with the identity; LibTorch's own batch norm over all rows.
  torch::Tensor x = torch::zeros({4, kPadded, kWidth});
  torch::Tensor a = torch::eye(kPadded).repeat({4, 1, 1});
  for (std::int64_t p = 0; p < 4; ++p) {
    const sdk::Graphs g = graphs.select(pairs.narrow(0, p, 1));
    const std::int64_t n = g.nodes.size(0);
    x[p].narrow(0, 0, n).copy_(g.nodes);
    a[p].narrow(0, 0, n).narrow(1, 0, n).zero_();
    for (std::int64_t e = 0; e < g.source.size(0); ++e) {
      a[p][g.target[e].item<std::int64_t>()][g.source[e].item<std::int64_t>()] = g.edges[e][0];
    }
  }
  auto parameters = net->named_parameters();
  for (int layer = 1; layer <= 4; ++layer) {
    const std::string n = std::to_string(layer);
    x = torch::relu(a.matmul(x.matmul(parameters["GC" + n + ".weight"]) + parameters["GC" + n + ".bias"]));
    const torch::Tensor rows = x.reshape({4 * kPadded, -1});
    x = torch::batch_norm(rows, parameters["RBD" + n + ".1.weight"], parameters["RBD" + n + ".1.bias"], {}, {},
                          /*training=*/true, 0.1, 1e-5, /*cudnn_enabled=*/false)
            .view({4, kPadded, -1});
  }
  net->train();
  const sdk::Unique unique = sdk::unique_of(pairs);
  const torch::Tensor ours =
      net->drug_vectors(molecules.batch(unique.entity, unique.count)).index_select(0, unique.index);
  CHECK(largest_difference(ours, x.mean(1)) < 1e-5);
}

TEST_CASE("rows are far fewer than padded atoms") {
  torch::manual_seed(2);
  test::DrugGraphs many(kWidth);
  for (int i = 0; i < 40; ++i) test::add_random_drug(many, 20 + i % 15, kWidth);
  const Molecules molecules(many.graphs(), 4, 100);
  const MoleculeBatch batch = molecules.batch(torch::arange(40), torch::full({40}, 3, torch::kInt64));
  CHECK(batch.n_nodes == 40 * 3 * 100);
  CHECK(batch.features.size(0) == 4);  // three kinds of atoms and the pad
  for (const Layer& layer : batch.layers) {
    CHECK(layer.multiplicity.sum().item<double>() == batch.n_nodes);
    CHECK(layer.neighbours.rows < 1200);
  }
  CHECK(batch.layers[0].neighbours.rows < batch.layers[3].neighbours.rows);
}

TEST_CASE("the order of the drugs' table changes nothing but the order of their vectors") {
  const sdk::Graphs graphs = drugs();
  GraphPredictor net = predictor(true);
  net->eval();
  const torch::Tensor order = i64({4, 2, 0, 5, 1, 3});
  const torch::Tensor ones = torch::ones({6}, torch::kInt64);
  const torch::Tensor a = net->drug_vectors(Molecules(graphs, 4, 100).batch(torch::arange(6), ones));
  const torch::Tensor b = net->drug_vectors(Molecules(graphs.select(order), 4, 100).batch(torch::arange(6), ones));
  CHECK(torch::allclose(a.index_select(0, order), b, 1e-5, 1e-6));
}

TEST_CASE("dropout leaves the shared pad row alone, and draws anew for each pair in the reference's mode") {
  const Molecules molecules(drugs(), 4, 20);
  torch::manual_seed(3);
  GraphPredictor net = predictor(true, /*dropout=*/0.5);
  net->train();
  const torch::Tensor same = i64({1, 1});
  const torch::Tensor per_pair =
      net->drug_vectors(molecules.batch(same, torch::ones_like(same), Sharing::pairs)).detach();
  CHECK_FALSE(per_pair[0].equal(per_pair[1]));
  const MoleculeBatch batch = molecules.batch(i64({1, 2}), i64({2, 1}), Sharing::drugs);
  const torch::Tensor first = net->first_layer(batch).detach();
  CHECK((first == 0).any().item<bool>());
  const torch::Tensor pad = first[first.size(0) - 1];
  CHECK(net->first_layer(batch)[first.size(0) - 1].equal(pad));
  net->eval();
  const torch::Tensor a = net->drug_vectors(molecules.batch(i64({1, 2}), i64({1, 1}), Sharing::drugs));
  const torch::Tensor b = net->drug_vectors(molecules.batch(i64({1, 2}), i64({1, 1})));
  CHECK(torch::allclose(a, b, 1e-5, 1e-6));
}

TEST_CASE("normalisation with multiplicities has the gradient of normalisation with repeated rows") {
  torch::manual_seed(4);
  const torch::Tensor times = i64({3, 1, 0, 2, 5});
  torch::Tensor x = torch::randn({5, 70}).requires_grad_();  // more columns than one piece of work
  torch::Tensor weight = torch::randn({70}).requires_grad_(), bias = torch::randn({70}).requires_grad_();
  const torch::Tensor g = torch::randn({5, 70});
  const auto gradients = [&](const torch::Tensor& y) {
    return torch::autograd::grad({(y * g).masked_select((times > 0).unsqueeze(1)).sum()}, {x, weight, bias});
  };
  const auto [y, moments] = normalise(x, times.to(torch::kFloat32), 11, weight, bias, 1e-5);
  const torch::Tensor repeated = torch::repeat_interleave(x, times, 0);
  const torch::Tensor z = torch::batch_norm(repeated, weight, bias, {}, {}, true, 0.1, 1e-5, false);
  CHECK(torch::allclose(torch::repeat_interleave(y, times, 0), z, 1e-4, 1e-5));
  CHECK(torch::allclose(moments.mean, repeated.mean(0), 1e-4, 1e-6));
  CHECK(torch::allclose(moments.variance, repeated.var(0, /*unbiased=*/false), 1e-4, 1e-6));
  // The gradient at a row is the sum over its repetitions: spread g over them.
  const torch::Tensor spread = torch::repeat_interleave(g / times.clamp_min(1).unsqueeze(1), times, 0);
  const auto naive = torch::autograd::grad({(z * spread).sum()}, {x, weight, bias});
  const auto ours = gradients(y);
  for (std::size_t i = 0; i < 3; ++i) CHECK(torch::allclose(ours[i], naive[i], 1e-3, 1e-4));
}

TEST_CASE("a sparse product agrees with the dense one, its gradient too") {
  torch::manual_seed(7);
  const SparseRows sparse(3, {0, 2, 2, 3}, {0, 2, 1}, {2.0F, -1.0F, 0.5F});
  const torch::Tensor dense = torch::tensor({{2.0F, 0.0F, -1.0F}, {0.0F, 0.0F, 0.0F}, {0.0F, 0.5F, 0.0F}});
  torch::Tensor x = torch::randn({3, 4}).requires_grad_();
  const torch::Tensor g = torch::randn({3, 4});
  CHECK(torch::allclose(product(sparse, x), dense.matmul(x)));
  const auto ours = torch::autograd::grad({(product(sparse, x) * g).sum()}, {x});
  CHECK(torch::allclose(ours[0], dense.t().matmul(g)));
}

TEST_CASE("graphs without the adjacency's entries as edge features are refused") {
  sdk::Graphs graphs = drugs();
  graphs.edges = torch::ones({graphs.edges.size(0), 0});
  CHECK_THROWS_WITH(Molecules(graphs, 4, 100), test::contains("normalised adjacency"));
}
