// SPDX-License-Identifier: Apache-2.0
// The forms in which CSG2A and MAT are computed against the forms in which they are written down.
#include <algorithm>
#include <random>

#include "csg2a/genes.hpp"
#include "csg2a/losses.hpp"
#include "csg2a/networks.hpp"
#include "harness.hpp"
#include "mat/drug_graphs.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using torch::Tensor;

namespace {

csg2a::Sizes small(std::int64_t genes = 17) {
  csg2a::Sizes s;
  s.genes = genes;
  s.hidden = 6;
  s.dropout = 0;
  s.mat.width = 8;
  s.mat.layers = 1;
  s.mat.heads = 2;
  return s;
}

double gap(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

/// Molecules of some sizes in the form of the block "graph_mat".
test::Block molecules(const std::vector<int>& sizes, unsigned seed = 1) {
  std::mt19937 rng(seed);
  std::vector<test::SmallGraph> graphs;
  for (const int n : sizes) {
    test::SmallGraph g;
    for (int i = 0; i < n; ++i) {
      for (int f = 0; f < 28; ++f) g.nodes.push_back(f == (i == 0 ? 0 : 1 + static_cast<int>(rng() % 27)) ? 1 : 0);
      for (int j = 0; j < n; ++j)
        g.pairs.push_back(i == 0 || j == 0 ? 1e6F : 1.4F * static_cast<float>(std::abs(i - j)));
      for (int j = std::max(1, i - 1); i > 0 && j <= std::min(n - 1, i + 1); ++j) {
        g.source.push_back(i);
        g.target.push_back(j);
        g.edges.push_back(1);
      }
    }
    graphs.push_back(g);
  }
  return test::Block::graphs("graph_mat", 28, graphs);
}

mat::DrugGraphs drugs_of(const test::Block& block) {
  test::Table table;
  for (std::size_t i = 0; i + 1 < block.node_begin.size(); ++i) table.drugs.key.push_back(static_cast<std::int64_t>(i));
  table.drugs.blocks.push_back(block);
  const test::View view(table);
  return mat::DrugGraphs(sdk::View(view.get()).drugs().graphs("graph_mat"));
}

/// The vector of one drug from the batched form of the network.
Tensor alone(mat::Mat& net, const mat::DrugGraphs& drugs, std::int64_t drug) {
  const auto pack = drugs.select(torch::tensor({drug}, torch::kInt64)).packs(1, torch::kCPU);
  return mat::mean_of_tokens(net->forward(pack.at(0).groups.at(0)), {});
}

}  // namespace

TEST_CASE("The factorised attention has the gradients of the naive one") {
  const sdk::DtypeGuard in_double(torch::kFloat64);
  torch::manual_seed(0);
  csg2a::Csg2a net(small());
  Tensor prior = torch::eye(17);
  prior[2][5] = prior[5][2] = 1;
  net->set_prior_row_sums(prior.sum(1));
  const auto leaf = [](std::int64_t n) { return torch::randn({n, 17}).set_requires_grad(true); };
  const Tensor b = leaf(3), c = leaf(2);
  const Tensor cell = torch::tensor({0, 2, 1, 2, 0}), drug = torch::tensor({1, 0, 0, 1, 1});
  const Tensor probe = torch::randn({5, 17});
  const Tensor b_of = b.index_select(0, cell), c_of = c.index_select(0, drug);
  const Tensor naive = b_of * csg2a::attention_matrix(b_of, c_of, net->w_gex(), net->w_comp(), prior).sum(-1);
  const Tensor ours = net->attend(net->cells(b).select(cell), net->conditions(c).select(drug));
  CHECK(gap(naive, ours) < 1e-12);
  const std::vector<Tensor> leaves = {b, c, net->w_gex(), net->w_comp()};
  const auto expected = torch::autograd::grad({(naive * probe).sum()}, leaves);
  const auto found = torch::autograd::grad({(ours * probe).sum()}, leaves);
  for (std::size_t i = 0; i < leaves.size(); ++i) CHECK(gap(expected[i], found[i]) < 1e-10);
}

TEST_CASE("One pass over rows gives what attention, layer norm and ReLU give") {
  torch::manual_seed(1);
  csg2a::Csg2a net(small(978));
  net->eval();
  const torch::NoGradGuard no_grad;
  const Tensor b = torch::randn({4, 978}), c = torch::rand({3, 978});
  const Tensor cell = torch::tensor({0, 3, 1, 2, 3, 0}), drug = torch::tensor({1, 0, 2, 1, 1, 0});
  const Tensor fast = net->activated(net->cells(b), cell, net->conditions(c), drug);
  const Tensor plain = net->forward(b.index_select(0, cell), c.index_select(0, drug));
  const Tensor ours = torch::matmul(fast, net->output_weight().t());
  CHECK(gap(ours, plain) < 1e-4 * plain.abs().max().item<double>());
}

TEST_CASE("Encoding each condition once equals a row per pair, running statistics and gradients included") {
  const sdk::DtypeGuard in_double(torch::kFloat64);
  torch::manual_seed(2);
  csg2a::CompoundEncoder once(small()), each(small());
  {
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < once->parameters().size(); ++i) each->parameters()[i].copy_(once->parameters()[i]);
  }
  const Tensor pooled = torch::randn({3, 8}), dose = torch::rand({3, 1}), time = torch::rand({3, 1});
  const Tensor index = torch::tensor({0, 2, 2, 1, 2, 0, 1});
  const Tensor probe = torch::randn({7, 17});
  const auto pick = [&index](const Tensor& t) { return t.index_select(0, index); };
  const Tensor a = once->forward(pooled, dose, time, sdk::unique_of(index));
  const Tensor b = each->forward(pick(pooled), pick(dose), pick(time));
  CHECK(gap(a, b) < 1e-12);
  (a * probe).sum().backward();
  (b * probe).sum().backward();
  const auto left = once->named_parameters(), right = each->named_parameters();
  for (const auto& item : left) {
    if (item.value().grad().defined()) CHECK(gap(item.value().grad(), right[item.key()].grad()) < 1e-10);
  }
  for (const auto& item : once->named_buffers())
    CHECK(gap(item.value().to(torch::kFloat64), each->named_buffers()[item.key()].to(torch::kFloat64)) < 1e-12);
}

TEST_CASE("The response model over unique entities equals a row per pair, in training and folded for prediction") {
  const sdk::DtypeGuard in_double(torch::kFloat64);
  torch::manual_seed(3);
  csg2a::Response model(small(), 5, 4);
  model->network()->set_prior_row_sums(torch::ones({17}));
  const Tensor b = torch::randn({3, 17}), c = torch::rand({2, 17});
  const Tensor cell = torch::tensor({0, 2, 1, 2, 0, 1}), drug = torch::tensor({1, 0, 0, 1, 1, 1});
  auto& net = model->network();
  const auto unique = [&] {
    return model->forward(b, net->cells(model->scaled(b)), sdk::unique_of(cell), net->conditions(c),
                          sdk::unique_of(drug));
  };
  const auto pairs = [&] {
    const Tensor b_of = b.index_select(0, cell), c_of = c.index_select(0, drug);
    return model->head(b_of, net->forward(model->scaled(b_of), c_of), c_of);
  };
  std::vector<Tensor> leaves;
  for (const auto& p : model->named_parameters()) {
    if (p.key().find("CCE") == std::string::npos) leaves.push_back(p.value());
  }
  const Tensor probe = torch::randn({6});
  const Tensor u = unique(), p = pairs();
  CHECK(gap(u, p) < 1e-11);
  const auto a = torch::autograd::grad({(u * probe).sum()}, leaves);
  const auto e = torch::autograd::grad({(p * probe).sum()}, leaves);
  for (std::size_t i = 0; i < leaves.size(); ++i) CHECK(gap(a[i], e[i]) < 1e-9 * (1 + e[i].abs().max().item<double>()));

  model->eval();
  const torch::NoGradGuard no_grad;
  const Tensor h = torch::relu(
      torch::layer_norm(net->attend(model->scaled(b).index_select(0, cell), c.index_select(0, drug)), {17}));
  CHECK(gap(csg2a::ResponseImpl::read(model->readout(b, c), h, cell, drug), pairs()) < 1e-11);
  const auto affine = model->scaled(net->cells(b), net->cells(torch::ones({1, 17})));
  const auto direct = net->cells(model->scaled(b));
  CHECK(gap(affine.x, direct.x) < 1e-12);
  CHECK(gap(affine.by_gex, direct.by_gex) < 1e-10);
  CHECK(gap(affine.by_comp, direct.by_comp) < 1e-10);
}

TEST_CASE("Permuting the genes with all that belongs to them permutes the prediction") {
  const sdk::DtypeGuard in_double(torch::kFloat64);
  torch::manual_seed(4);
  csg2a::Csg2a net(small()), turned(small());
  net->eval();
  turned->eval();
  const torch::NoGradGuard no_grad;
  const Tensor row_sums = torch::rand({17}) + 1;
  const Tensor order = torch::randperm(17);
  net->set_prior_row_sums(row_sums);
  turned->set_prior_row_sums(row_sums.index_select(0, order));
  auto from = net->named_parameters(), into = turned->named_parameters();
  for (const char* name : {"w_gex", "w_comp", "feed_forward.0.weight", "feed_forward.0.bias"})
    into[name].copy_(from[name].index_select(0, order));
  into["feed_forward.3.weight"].copy_(from["feed_forward.3.weight"].index_select(0, order).index_select(1, order));
  const Tensor b = torch::randn({4, 17}), c = torch::rand({4, 17});
  const Tensor permuted = turned->forward(b.index_select(1, order), c.index_select(1, order));
  CHECK(gap(permuted, net->forward(b, c).index_select(1, order)) < 1e-11);
}

TEST_CASE("The published sizes have the published numbers of parameters") {
  csg2a::Sizes sizes;
  sizes.mat = mat::published_options();
  csg2a::Csg2a net(sizes);
  CHECK(sdk::n_parameters(*net) == 44139484);
  CHECK(sdk::n_parameters(*net->encoder()->mat()) == 42048512);
}

TEST_CASE("The loss reaches every parameter of the network, and none of a frozen one") {
  torch::manual_seed(5);
  const mat::DrugGraphs drugs = drugs_of(molecules({4, 3, 6, 4}));
  const Tensor dose = torch::rand({4, 1}), time = torch::rand({4, 1});
  const Tensor cell = torch::tensor({0, 2, 1, 2, 0, 1}), drug = torch::tensor({1, 0, 3, 1, 2, 1});
  const Tensor b = torch::randn({3, 17});
  const auto moved = [](const Tensor& p) { return p.grad().defined() && p.grad().abs().sum().item<double>() > 0; };
  const auto cancels = [](const std::string& key) {  // a shift of all keys in the softmax, of all rows in batch norm
    for (const char* part : {"linears.1.bias", "time_enc.bias", "dose_enc.bias", "encoder.norm.b_2", "_proj.0.bias",
                             "pred_head.0.bias", "pred_head.4.bias"}) {
      if (key.find(part) != std::string::npos) return true;
    }
    return false;
  };
  SECTION("profiles: all") {
    csg2a::Csg2a net(small());
    const Tensor pooled = mat::pooled(net->encoder()->mat(), drugs, {});
    const auto conditions = sdk::unique_of(drug);
    const Tensor c = net->encoder()->forward(pooled, dose, time, conditions);
    const Tensor f = net->predict_from(net->attend(net->cells(b).select(cell), net->conditions(c)));
    csg2a::squared_error(f, torch::randn({6, 17})).backward();
    for (const auto& p : net->named_parameters()) {
      INFO(p.key());
      if (!cancels(p.key())) CHECK(moved(p.value()));
    }
  }
  SECTION("responses around a frozen network: all but its") {
    csg2a::Response model(small(), 16, 8);
    auto& net = model->network();
    for (auto& p : net->parameters()) p.set_requires_grad(false);
    net->eval();
    const Tensor c = net->encoder()->forward(mat::pooled(net->encoder()->mat(), drugs, {}), dose, time);
    const Tensor f = model->forward(b, model->scaled(net->cells(b), net->cells(torch::ones({1, 17}))),
                                    sdk::unique_of(cell), net->conditions(c), sdk::unique_of(drug));
    csg2a::logistic_loss(f, torch::tensor({1.0F, 0.0F, 1.0F, 1.0F, 0.0F, 0.0F})).backward();
    for (const auto& p : model->named_parameters()) {
      INFO(p.key());
      const bool frozen = p.key().rfind("CSG2A.", 0) == 0;
      if (frozen || !cancels(p.key())) CHECK(moved(p.value()) != frozen);
    }
  }
}

TEST_CASE("Drugs encoded side by side without padding have the vectors that they have alone") {
  torch::manual_seed(6);
  const std::vector<int> sizes = {5, 3, 5, 0, 9, 3, 5};
  const mat::DrugGraphs drugs = drugs_of(molecules(sizes));
  for (auto options : {mat::small_options(), mat::published_options()}) {
    options.width = 32;
    options.layers = 2;
    options.heads = 4;
    mat::Mat net(options);
    net->eval();
    const torch::NoGradGuard no_grad;
    for (const std::int64_t tokens : {1, 12, 1000}) {
      int passes = 0;
      const Tensor found = mat::pooled(
          net, drugs, [&passes] { ++passes; }, tokens);
      CHECK(passes == (tokens == 1 ? 6 : tokens == 12 ? 3 : 1));
      for (std::int64_t i = 0; i < 7; ++i) {
        if (i != 3) CHECK(gap(found[i], alone(net, drugs, i)[0]) < 1e-5);
      }
      CHECK(found[3].abs().max().item<double>() == 0);
      const Tensor order = torch::tensor({6, 3, 0, 2, 1, 5, 4});
      CHECK(gap(mat::pooled(net, drugs.select(order), {}, tokens), found.index_select(0, order)) < 1e-5);
      CHECK(torch::equal(mat::pooled(net, drugs, {}, tokens), found));
    }
  }
  CHECK(drugs.has_structure().sum().item<std::int64_t>() == 6);
  CHECK_FALSE(drugs.has_structure()[3].item<bool>());
}

TEST_CASE("Weights of MAT load under the keys of its repository and of CSG2A checkpoints") {
  torch::manual_seed(7);
  auto options = mat::small_options();
  options.width = 16;
  mat::Mat net(options);
  const auto state_with = [&](const std::string& prefix) {
    test::State state;
    auto raw = state.writer();
    sdk::StateWriter writer(&raw);
    sdk::save_module(writer, *net, prefix);
    writer.tensor("generator.proj.weight", std::vector<float>{1, 2});
    return state;
  };
  for (const std::string prefix : {"", "CCE.MAT.", "CSG2A.CCE.MAT."}) {
    test::State state = state_with(prefix);
    auto raw = state.reader();
    mat::Mat other(options);
    mat::load_weights(other, sdk::StateReader(&raw), "mat_weights");
    for (const auto& p : net->named_parameters()) CHECK(torch::equal(p.value(), other->named_parameters()[p.key()]));
  }
  const auto sentence = [&](const std::string& prefix, mat::Options of) {
    test::State state = state_with(prefix);
    auto raw = state.reader();
    mat::Mat other(of);
    try {
      mat::load_weights(other, sdk::StateReader(&raw), "mat_weights");
    } catch (const sdk::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(sentence("elsewhere.", options).find("no weights of ardigen's MAT") != std::string::npos);
  options.width = 32;
  CHECK(sentence("", options).find("does not fit a MAT of 2 layers of width 32") != std::string::npos);
}

TEST_CASE("The prior counts each edge among the genes once, and the order of genes has a hash") {
  const csg2a::Genes genes = {"A", "B", "C", "D"};
  const auto prior = csg2a::read_prior("source,target\nA,B\nB,A\r\nC,A\nD,D\nA,X\n", genes);
  CHECK(prior.edges == 2);
  CHECK(prior.elsewhere == 1);
  CHECK(prior.row_sums == std::vector<float>{3, 2, 2, 1});
  CHECK(csg2a::read_prior("a\tb\tscore\nC\tD\t.9\n", genes).row_sums == std::vector<float>{1, 1, 2, 2});
  CHECK_THROWS_WITH(csg2a::read_prior("source,target\nA\n", genes), test::contains("line 2"));
  CHECK_THROWS_WITH(csg2a::read_prior("source\n", genes), test::contains("two columns"));
  CHECK_THROWS_WITH(csg2a::read_prior("source,target\nX,Y\nA,A\n", genes),
                    test::contains("no line joins two of the 4"));
  CHECK(csg2a::sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(csg2a::sha256(std::string(119, 'a')) == "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb");
  CHECK(csg2a::order_of({"A", "B"}) != csg2a::order_of({"B", "A"}));
  CHECK(csg2a::order_of({}).empty());
}
