// SPDX-License-Identifier: Apache-2.0
#include <functional>

#include "../../plugins/baselines/pancdr/training.hpp"
#include "graph_cdr_golden.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using namespace cdrzoo::pancdr;
using test::compare;
using test::tensor_of;

namespace {

Sizes sizes_of(const test::Golden& golden) {
  Sizes sizes;
  sizes.genes = golden.arg("n_genes");
  sizes.atom_features = golden.arg("atom_features");
  sizes.hidden = golden.arg("n_hidden");
  sizes.latent = golden.arg("nz");
  sizes.graph_units = golden.arg("gcn_units").get<std::vector<std::int64_t>>();
  sizes.drug_width = golden.arg("d_dim");
  return sizes;
}

/// The network of a file, its weights loaded, without dropout, and its batch.
struct Case {
  explicit Case(const test::Golden& golden)
      : weights(golden),
        net(sizes_of(golden)),
        molecules(test::graphs_of(golden), 4, golden.arg("nodes").get<std::int64_t>()) {
    weights.load_into(*net);
    const sdk::Unique drugs = sdk::unique_of(tensor_of(golden, "in/drug_of_pair"));
    const torch::Tensor x = tensor_of(golden, "in/source_x");
    batch = {
        x,           torch::arange(x.size(0)),     torch::ones({x.size(0)}), molecules.batch(drugs.entity, drugs.count),
        drugs.index, tensor_of(golden, "in/label")};
    target = tensor_of(golden, "in/target_x");
  }
  [[nodiscard]] torch::Tensor drug_vectors() {
    return net->predictor->drug_vectors(batch.drugs).index_select(0, batch.drug);
  }
  [[nodiscard]] static Noise noise(const test::Golden& golden, int iteration) {
    const std::string eps = "in/eps" + std::to_string(iteration);
    return {tensor_of(golden, eps + "_D_source"), tensor_of(golden, eps + "_D_target"),
            tensor_of(golden, eps + "_G_source"), tensor_of(golden, eps + "_G_target")};
  }
  test::GoldenWeights weights;
  Pancdr net;
  graph_cdr::Molecules molecules;
  SourceBatch batch;
  torch::Tensor target;
};

/// Without dropout, as the golden files were made.
void iterate_in_turn(const test::Golden& golden, Case& c, int n,
                     const std::function<void(int, const IterationLosses&)>& see) {
  torch::optim::Adam response(c.net->response_parameters(), torch::optim::AdamOptions(1e-3));
  torch::optim::Adam discriminator(c.net->discriminator->parameters(), torch::optim::AdamOptions(1e-3));
  for (int i = 0; i < n; ++i) {
    see(i, iterate(c.net, {response, discriminator}, c.batch, c.target, Case::noise(golden, i),
                   golden.arg("lambda_adv"), /*binary=*/true));
  }
}

}  // namespace

TEST_CASE("PANCDR's networks in inference agree with the reference", "[golden]") {
  const auto files = test::Golden::all_of("PANCDR");
  if (files.empty()) WARN(test::Golden::no_files());
  for (const auto& golden : files) {
    CAPTURE(golden.name());
    Case c(golden);
    c.net->eval();
    const torch::NoGradGuard no_grad;
    const Code code = c.net->encoder->forward(tensor_of(golden, "in/source_x"));
    CHECK(compare(golden, "out/mu_eval", code.mu) == "");
    CHECK(compare(golden, "out/logvar_eval", code.log_variance) == "");
    const torch::Tensor z = code.sample(tensor_of(golden, "in/eps_eval"));
    CHECK(compare(golden, "out/z_eval", z) == "");
    CHECK(compare(golden, "out/adv_eval", torch::sigmoid(c.net->discriminator->forward(z))) == "");
    const torch::Tensor drug = c.drug_vectors();
    CHECK(compare(golden, "out/drug_vector_eval", drug) == "");
    CHECK(compare(golden, "out/probability_eval_mu", torch::sigmoid(c.net->predictor->respond(drug, code.mu))) == "");
    CHECK(compare(golden, "out/probability_eval_z", torch::sigmoid(c.net->predictor->respond(drug, z))) == "");
  }
}

TEST_CASE("PANCDR's networks in training agree with the reference", "[golden]") {
  for (const auto& golden : test::Golden::all_of("PANCDR")) {
    CAPTURE(golden.name());
    Case c(golden);
    const torch::NoGradGuard no_grad;
    c.net->train();
    c.net->predictor->disable_dropout();
    const Noise noise = Case::noise(golden, 0);
    const Code source = c.net->encoder->forward(c.batch.expression);
    const torch::Tensor z_source = source.sample(noise.source_d);
    const torch::Tensor z_target = c.net->encoder->forward(c.target).sample(noise.target_d);
    CHECK(compare(golden, "out/z_source_train", z_source) == "");
    CHECK(compare(golden, "out/z_target_train", z_target) == "");
    CHECK(compare(golden, "out/adv_train",
                  torch::sigmoid(c.net->discriminator->forward(torch::cat({z_source, z_target})))) == "");
    const torch::Tensor output = c.net->predictor->respond(c.drug_vectors(), source.sample(noise.source_g));
    CHECK(compare(golden, "out/probability_train", torch::sigmoid(output)) == "");
  }
}

TEST_CASE("PANCDR's alternating steps agree with the reference", "[golden]") {
  for (const auto& golden : test::Golden::all_of("PANCDR")) {
    CAPTURE(golden.name());
    Case c(golden);
    c.net->train();
    c.net->predictor->disable_dropout();
    const auto n = static_cast<int>(golden.at("loss/discriminator").shape.at(0));
    std::vector<double> discriminator, others;
    iterate_in_turn(golden, c, n, [&](int i, const IterationLosses& losses) {
      discriminator.push_back(losses.discriminator.item<double>());
      for (const auto& loss : {losses.response, losses.adversarial, losses.total})
        others.push_back(loss.item<double>());
      if (i > 0) return;
      if (golden.has("after1/EN_model.encoder.1.running_mean")) {
        CHECK(test::compare_module(golden, "after1", *c.net->encoder, "EN_model.") == "");
        CHECK(test::compare_module(golden, "after1", *c.net->predictor, "GCN_model.") == "");
      }
      if (golden.has("grad/GCN_model.GC1.weight")) {
        CHECK(test::compare_module(golden, "grad", *c.net->encoder, "EN_model.") == "");
        CHECK(test::compare_module(golden, "grad", *c.net->predictor, "GCN_model.") == "");
      }
    });
    CHECK(compare(golden, "loss/discriminator", discriminator) == "");
    CHECK(compare(golden, "loss/response_adversarial_total", others) == "");
    if (golden.has("after3/GCN_model.GC1.weight")) {
      CHECK(test::compare_module(golden, "after3", *c.net, "", &c.weights) == "");
    }
  }
}

namespace {

/// Which of the three networks have a gradient that is not zero: "encoder predictor ".
std::string reached(Pancdr& net) {
  std::string text;
  const auto add = [&text](const torch::nn::Module& module, const char* name) {
    for (const auto& p : module.parameters()) {
      if (p.grad().defined() && p.grad().abs().sum().item<double>() > 0) {
        text += std::string(name) + " ";
        return;
      }
    }
  };
  add(*net->encoder, "encoder");
  add(*net->predictor, "predictor");
  add(*net->discriminator, "discriminator");
  for (auto& p : net->parameters()) p.mutable_grad().reset();
  return text;
}

struct Small {
  Small() : drugs(4), net(nullptr), molecules(graphs(drugs), 4, 20) {
    torch::manual_seed(2);
    Sizes sizes;
    sizes.genes = 5;
    sizes.atom_features = 4;
    sizes.hidden = 8;
    sizes.latent = 8;
    sizes.graph_units = {8, 8, 8};
    sizes.drug_width = 6;
    net = Pancdr(sizes);
    x = torch::randn({6, 5});
    target = torch::randn({4, 5});
    pairs = {torch::tensor({0, 1, 1, 5, 2, 1}, torch::kInt64), torch::tensor({0, 1, 1, 0, 2, 2}, torch::kInt64),
             torch::tensor({0.0F, 1.0F, 1.0F, 0.0F, 1.0F, 0.0F}).view({6, 1})};
  }
  static sdk::Graphs graphs(test::DrugGraphs& drugs) {
    for (const std::int64_t n : {5, 8, 3}) test::add_random_drug(drugs, n, 4);
    return drugs.graphs();
  }
  test::DrugGraphs drugs;
  Pancdr net;
  graph_cdr::Molecules molecules;
  torch::Tensor x, target;
  sdk::Pairs pairs;
};

}  // namespace

TEST_CASE("each loss of PANCDR reaches the networks that it should and no others") {
  Small s;
  s.net->train();
  const SourceBatch batch = source_batch(s.x, s.molecules, s.pairs);
  const Code source = s.net->encoder->forward(batch.expression, batch.multiplicity, 6).select(batch.sample);
  const Code target = s.net->encoder->forward(s.target);
  const torch::Tensor e = torch::randn({6, 8});
  const torch::Tensor f = torch::randn({4, 8});
  const auto judge = [&](const Code& code, const torch::Tensor& noise) {
    return s.net->discriminator->forward(code.sample(noise));
  };
  discriminator_loss(judge(source.detached(), e), judge(target.detached(), f)).backward();
  CHECK(reached(s.net) == "discriminator ");
  adversarial_loss(judge(source, e), judge(target, f)).backward({}, /*retain_graph=*/true);
  CHECK(reached(s.net) == "encoder discriminator ");  // the discriminator's optimiser does not step on it
  const torch::Tensor drug = s.net->predictor->drug_vectors(batch.drugs).index_select(0, batch.drug);
  response_loss(s.net->predictor->respond(drug, source.sample(e)), batch.y, true).backward();
  CHECK(reached(s.net) == "encoder predictor ");
}

TEST_CASE("PANCDR's two steps move their own networks only") {
  Small s;
  s.net->train();
  const auto values = [](const torch::nn::Module& module) {
    std::vector<torch::Tensor> out;
    for (const auto& p : module.parameters()) out.push_back(p.detach().clone());
    return out;
  };
  const auto same = [](const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
    bool equal = true;
    for (std::size_t i = 0; i < a.size(); ++i) equal = equal && a[i].equal(b[i]);
    return equal;
  };
  const auto encoder = values(*s.net->encoder);
  const auto predictor = values(*s.net->predictor);
  const auto discriminator = values(*s.net->discriminator);
  const bool discriminator_still = GENERATE(false, true);
  torch::optim::SGD response(s.net->response_parameters(), torch::optim::SGDOptions(discriminator_still ? 0.1 : 0.0));
  torch::optim::SGD adversary(s.net->discriminator->parameters(),
                              torch::optim::SGDOptions(discriminator_still ? 0.0 : 0.1));
  const Noise noise{torch::randn({6, 8}), torch::randn({4, 8}), torch::randn({6, 8}), torch::randn({4, 8})};
  iterate(s.net, {response, adversary}, source_batch(s.x, s.molecules, s.pairs), s.target, noise, 0.5, true);
  CHECK(same(values(*s.net->encoder), encoder) != discriminator_still);
  CHECK(same(values(*s.net->predictor), predictor) != discriminator_still);
  CHECK(same(values(*s.net->discriminator), discriminator) == discriminator_still);
}

TEST_CASE("encoding each sample of a batch once equals encoding it per pair") {
  Small s;
  s.net->train();
  const SourceBatch batch = source_batch(s.x, s.molecules, s.pairs);
  const Code once = s.net->encoder->forward(batch.expression, batch.multiplicity, 6).select(batch.sample);
  const auto mean = s.net->named_buffers()["EN_model.encoder.10.running_mean"].clone();
  Small t;
  t.net->train();
  const Code per_pair = t.net->encoder->forward(t.x.index_select(0, t.pairs.sample));
  CHECK(torch::allclose(once.mu, per_pair.mu, 1e-4, 1e-5));
  CHECK(torch::allclose(once.log_variance, per_pair.log_variance, 1e-4, 1e-5));
  CHECK(torch::allclose(mean, t.net->named_buffers()["EN_model.encoder.10.running_mean"], 1e-4, 1e-6));
}
