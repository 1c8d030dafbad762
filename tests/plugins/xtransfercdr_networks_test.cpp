// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cdrzoo/torch_optim.hpp>
#include <cmath>
#include <map>
#include <set>

#include "../../plugins/xtransfercdr/training.hpp"
#include "support/catch.hpp"
#include "support/golden_torch.hpp"

using namespace cdrzoo::xtransfercdr;
using cdrzoo::test::compare;
using cdrzoo::test::compare_module;
using cdrzoo::test::Golden;
using cdrzoo::test::GoldenWeights;
using cdrzoo::test::tensor_of;
using cdrzoo::test::WithinAbs;
using cdrzoo::test::WithinRel;

namespace {

/// The networks and inputs of a golden file; its sizes and weights of losses come from its metadata.
struct Reference {
  explicit Reference(const Golden& golden) : weights(golden) {
    sizes.genes = golden.arg("genes").get<std::int64_t>();
    const auto widths = golden.arg("encoder_widths").get<std::vector<std::int64_t>>();
    sizes.hidden = {widths.begin(), widths.end() - 1};
    sizes.latent = widths.back();
    sizes.residual_blocks = golden.arg("residual_blocks").get<std::int64_t>();
    sizes.dropout = 0;
    const auto number = [&](const char* key) { return golden.arg(key).get<double>(); };
    objective.weights.reconstruction = number("lambda_reco_1");
    objective.weights.cross = number("lambda_cross_1");
    objective.weights.control = number("lambda_cont_1");
    objective.weights.agreement = number("lambda_dis");
    objective.weights.orthogonality = number("lambda_orthogonal");
    objective.weights.combination = number("lambda_reco_3");
    const auto input = [&](const std::string& name) {
      const std::string full = "in/" + name;
      return golden.has(full) ? tensor_of(golden, full) : weights.find(full);
    };
    batch = {input("treated_left"), input("treated_right"), input("control_left"), input("control_right"),
             input("treated_double")};
    if (golden.has("in/noise_input_left")) {
      const auto both = [&](const std::string& name) {
        return 0.1 * torch::cat({input(name + "_left"), input(name + "_right")});
      };
      noise = {both("noise_input"), both("noise_state"), both("noise_pert")};
    }
    net = fresh();
  }
  [[nodiscard]] XTransfer fresh() const {
    XTransfer made(sizes);
    weights.load_into(*made);
    return made;
  }
  [[nodiscard]] Losses run(XTransfer& with, Mode mode, const Noise& added = {}) const {
    return losses(pass(with, batch, mode, added, objective), batch, mode, objective);
  }

  GoldenWeights weights;
  Sizes sizes;
  Objective objective;
  PairBatch batch;
  Noise noise;
  XTransfer net{nullptr};
};

const std::vector<std::pair<std::string, torch::Tensor Losses::*>>& terms() {
  static const std::vector<std::pair<std::string, torch::Tensor Losses::*>> all = {
      {"recon_left", &Losses::reconstruction_left},
      {"recon_right", &Losses::reconstruction_right},
      {"cross_left", &Losses::cross_left},
      {"cross_right", &Losses::cross_right},
      {"control_left", &Losses::control_left},
      {"control_right", &Losses::control_right},
      {"state_kl", &Losses::agreement},
      {"orthogonal", &Losses::orthogonality}};
  return all;
}

void check_losses(const Golden& golden, const Reference& reference, const Losses& l, const std::string& suffix) {
  CHECK(compare(golden, "loss/total_" + suffix, l.total(reference.objective.weights)) == "");
  for (const auto& [name, member] : terms()) {
    const std::string stored = "loss/" + name + "_" + suffix;
    if (golden.has(stored)) CHECK(compare(golden, stored, l.*member) == "");
  }
}

}  // namespace

TEST_CASE("latents, decoded profiles and predictions are the reference's in evaluation mode") {
  const auto files = Golden::all_of("XTransferCDR");
  if (files.empty()) WARN(Golden::no_files());
  for (const Golden& golden : files) {
    CAPTURE(golden.name());
    Reference r(golden);
    const torch::NoGradGuard no_grad;
    r.net->eval();
    const torch::Tensor state = r.net->state->forward(r.batch.left);
    const torch::Tensor left = r.net->perturbation->forward(r.batch.left);
    const torch::Tensor right = r.net->perturbation->forward(r.batch.right);
    CHECK(compare(golden, "out/state_left_eval", state) == "");
    CHECK(compare(golden, "out/pert_left_eval", left) == "");
    if (golden.has("out/decoded_eval")) {
      CHECK(compare(golden, "out/decoded_eval", r.net->decoder->forward(state + left)) == "");
    }
    CHECK(compare(golden, "out/predict_eval",
                  r.net->decoder->forward(r.net->state->forward(r.batch.right_control) + left)) == "");
    CHECK(compare(golden, "out/combination_eval", r.net->decoder->forward(state + left + right)) == "");
  }
}

TEST_CASE("every loss is the reference's, in evaluation, in both modes and with noise") {
  for (const Golden& golden : Golden::all_of("XTransferCDR")) {
    CAPTURE(golden.name());
    Reference r(golden);
    const std::vector<std::pair<std::string, Mode>> modes = {
        {"eval", Mode::cell}, {"cell", Mode::cell}, {"drug", Mode::drug}, {"noise", Mode::cell}};
    for (const auto& [name, mode] : modes) {
      if (!golden.has("loss/total_" + name)) continue;
      CAPTURE(name);
      const torch::NoGradGuard no_grad;
      XTransfer net = r.fresh();
      net->train(name != "eval");
      const Losses l = r.run(net, mode, name == "noise" ? r.noise : Noise());
      check_losses(golden, r, l, name);
      if (!golden.has("loss/all_" + name)) continue;
      std::vector<double> all{l.total(r.objective.weights).item<double>()};
      for (const torch::Tensor& term : {l.reconstruction_left, l.cross_left, l.cross_right, l.reconstruction_right,
                                        l.combination, l.control_left, l.control_right, l.agreement, l.orthogonality})
        all.push_back(term.item<double>());
      CHECK(compare(golden, "loss/all_" + name, all) == "");
    }
  }
}

TEST_CASE("a training pass leaves the reference's running statistics") {
  for (const Golden& golden : Golden::all_of("XTransferCDR")) {
    CAPTURE(golden.name());
    Reference r(golden);
    for (const auto& [name, mode] : {std::pair{"cell", Mode::cell}, std::pair{"drug", Mode::drug}}) {
      if (!golden.has(std::string("after1_") + name + "/decoderG.net.1.running_mean")) continue;
      CAPTURE(name);
      XTransfer net = r.fresh();
      net->train();
      const Passed passed = pass(net, r.batch, mode, {}, r.objective);
      CHECK(compare_module(golden, std::string("after1_") + name, *net) == "");
      const auto check = [&](const std::string& stored, const torch::Tensor& ours) {
        if (golden.has(stored)) CHECK(compare(golden, stored, ours) == "");
      };
      const std::int64_t n = r.batch.left.size(0);
      check(std::string("out/cross_left_train_") + name, passed.decoded[3]);
      check(std::string("out/cross_right_train_") + name, passed.decoded[4]);
      check(std::string("out/pert_left_train_") + name, passed.perturbation.narrow(0, 0, n));
      check(std::string("out/state_right_train_") + name, passed.state.narrow(0, n, n));
    }
  }
}

TEST_CASE("gradients are the reference's, in both modes and with noise") {
  for (const Golden& golden : Golden::all_of("XTransferCDR")) {
    CAPTURE(golden.name());
    Reference r(golden);
    const std::vector<std::pair<std::string, Mode>> modes = {
        {"cell", Mode::cell}, {"drug", Mode::drug}, {"noise", Mode::cell}};
    for (const auto& [name, mode] : modes) {
      const std::string norms = "out/grad_norm_" + name;
      const bool has_gradients = golden.has("grad_" + name + "/decoderG.net.0.weight");
      if (!has_gradients && !golden.has(norms)) continue;
      CAPTURE(name);
      XTransfer net = r.fresh();
      net->train();
      r.run(net, mode, name == "noise" ? r.noise : Noise()).total(r.objective.weights).backward();
      if (has_gradients) CHECK(compare_module(golden, "grad_" + name, *net) == "");
      if (!golden.has(norms)) continue;
      std::vector<double> ours;
      const auto parameters = net->named_parameters();
      for (const auto& key : golden.json("grad_norm_keys")) {
        ours.push_back(parameters[key.get<std::string>()].grad().norm().item<double>());
      }
      CHECK(compare(golden, norms, ours) == "");
    }
  }
}

TEST_CASE("three steps of Adam leave the reference's weights and statistics") {
  for (const Golden& golden : Golden::all_of("XTransferCDR")) {
    if (!golden.has("loss/total_before_each_step")) continue;
    CAPTURE(golden.name());
    Reference r(golden);
    r.net->train();
    cdrzoo::sdk::Adam adam(r.net->parameters(), cdrzoo::sdk::WeightDecay::adam(5e-4));
    std::vector<double> before;
    for (int i = 0; i < 3; ++i) {
      adam.zero_grad();
      const torch::Tensor total = r.run(r.net, Mode::cell).total(r.objective.weights);
      before.push_back(total.item<double>());
      total.backward();
      adam.step(1e-3);
    }
    CHECK(compare(golden, "loss/total_before_each_step", before) == "");
    CHECK(compare_module(golden, "after3", *r.net, "", &r.weights) == "");
  }
}

namespace {

Sizes small_sizes() {
  Sizes sizes;
  sizes.genes = 12;
  sizes.hidden = {16, 10, 8};
  sizes.latent = 6;
  sizes.residual_blocks = 2;
  sizes.dropout = 0;
  return sizes;
}

PairBatch random_batch(std::int64_t n, std::int64_t genes, bool combined) {
  const auto profiles = [&] { return torch::rand({n, genes}); };
  return {profiles(), profiles(), profiles(), profiles(), combined ? profiles() : torch::Tensor()};
}

/// Networks that no ReLU has silenced: latents are positive.
XTransfer lively(const Sizes& sizes) {
  XTransfer net(sizes);
  const torch::NoGradGuard no_grad;
  for (auto& item : net->named_parameters()) {
    if (item.value().dim() == 1 && item.key().find("bn") == std::string::npos) item.value().abs_().add_(0.5);
  }
  net->train();
  return net;
}

/// LibTorch's own operations for the same layer, one pass after the other.
torch::Tensor one_by_one(torch::nn::Linear& linear, torch::nn::BatchNorm1d& norm, const torch::Tensor& x,
                         const Passes& passes, const torch::Tensor& skip) {
  std::vector<torch::Tensor> parts;
  for (const torch::Tensor& part : x.split_with_sizes(passes)) {
    parts.push_back(torch::relu(norm->forward(linear->forward(part))));
  }
  return skip.defined() ? skip + torch::cat(parts) : torch::cat(parts);
}

}  // namespace

TEST_CASE("several passes in one product are separate calls of LibTorch's layers, statistics and gradients included") {
  torch::manual_seed(1);
  for (const std::int64_t width : {7, 256, 300}) {
    for (const bool skips : {false, true}) {
      CAPTURE(width, skips);
      const Passes passes{70, 5, 129};
      torch::nn::Linear linear(20, width);
      torch::nn::BatchNorm1d ours(width), theirs(width);
      {
        const torch::NoGradGuard no_grad;
        ours->weight.uniform_(0.5, 1.5);
        ours->bias.uniform_(-0.5, 0.5);
        ours->running_mean.uniform_();
        for (std::size_t i = 0; i < 2; ++i) theirs->parameters()[i].copy_(ours->parameters()[i]);
        theirs->running_mean.copy_(ours->running_mean);
      }
      const torch::Tensor x = torch::randn({rows_of(passes), 20}).add_(3).requires_grad_(true);  // not around 0
      const torch::Tensor weights = torch::randn({rows_of(passes), width});
      const torch::Tensor skip = skips ? torch::randn({rows_of(passes), width}).requires_grad_(true) : torch::Tensor();
      std::vector<torch::Tensor> inputs{x, linear->weight};
      if (skips) inputs.push_back(skip);
      const auto differentiate = [&](const torch::Tensor& y, torch::nn::BatchNorm1d& norm) {
        std::vector<torch::Tensor> all = inputs;
        all.insert(all.end(), {norm->weight, norm->bias});
        return torch::autograd::grad({(y * weights).sum()}, all);
      };
      const torch::Tensor a = layer(linear, ours, /*dropout=*/0, x, passes, skip);
      const torch::Tensor b = one_by_one(linear, theirs, x, passes, skip);
      CHECK(torch::allclose(a, b, 1e-3, 1e-4));
      const auto ga = differentiate(a, ours);
      const auto gb = differentiate(b, theirs);
      for (std::size_t i = 0; i < ga.size(); ++i) {
        CAPTURE(i);
        CHECK((ga[i] - gb[i]).norm().item<double>() <= 1e-3 * gb[i].norm().item<double>());
      }
      CHECK(torch::allclose(ours->running_mean, theirs->running_mean, 1e-5, 1e-5));
      CHECK(torch::allclose(ours->running_var, theirs->running_var, 1e-4, 1e-5));
      CHECK(ours->num_batches_tracked.item<std::int64_t>() == theirs->num_batches_tracked.item<std::int64_t>());
    }
  }
}

TEST_CASE("a layer drops the share of units that it was told, anew each time, and its gradient knows which") {
  torch::manual_seed(2);
  torch::nn::Linear linear(8, 300);
  torch::nn::BatchNorm1d norm(300);
  {
    const torch::NoGradGuard no_grad;
    norm->bias.fill_(10);  // every unit is active
  }
  const torch::Tensor x = torch::randn({400, 8}).requires_grad_(true);
  const torch::Tensor y = layer(linear, norm, 0.2, x, {400});
  const double dropped = (y == 0).to(torch::kFloat64).mean().item<double>();
  CHECK_THAT(dropped, WithinAbs(0.2, 0.005));  // four deviations of 120,000 draws
  CHECK_THAT(y.mean().item<double>(), WithinAbs(10.0, 0.1));
  const torch::Tensor columns = (y == 0).to(torch::kFloat64).mean(0);
  const torch::Tensor rows = (y == 0).to(torch::kFloat64).mean(1);
  CHECK(columns.max().item<double>() < 0.32);  // six deviations
  CHECK(rows.max().item<double>() < 0.34);
  CHECK(!torch::equal(y == 0, layer(linear, norm, 0.2, x, {400}) == 0));
  y.sum().backward();
  CHECK_THAT(norm->bias.grad().sum().item<double>(), WithinAbs((y > 0).sum().item<double>() / 0.8, 10.0));
  torch::manual_seed(3);
  const torch::Tensor again = layer(linear, norm, 0.2, x, {400});
  torch::manual_seed(3);
  CHECK(torch::equal(again, layer(linear, norm, 0.2, x, {400})));
}

TEST_CASE("a residual block adds its two layers to its input") {
  torch::manual_seed(4);
  Residual block(5, 0);
  block->eval();
  const torch::Tensor x = torch::randn({3, 5});
  const auto p = block->named_parameters();
  const double norm = 1 / std::sqrt(1 + 1e-5);  // fresh running statistics are 0 and 1
  const auto branch = [&](const torch::Tensor& h, const std::string& k) {
    return torch::relu(torch::addmm(p["fc" + k + ".bias"], h, p["fc" + k + ".weight"].t()) * norm);
  };
  CHECK(torch::allclose(block->forward(x, {3}), x + branch(branch(x, "1"), "2"), 1e-5, 1e-6));
}

TEST_CASE("the published sizes have the published number of parameters") {
  for (const auto& [genes, expected] :
       {std::pair<std::int64_t, std::int64_t>{2000, 12973008}, {1051, 10056731}, {978, 9832402}}) {
    Sizes sizes;
    sizes.genes = genes;
    CHECK(cdrzoo::sdk::n_parameters(*XTransfer(sizes)) == expected);
  }
}

TEST_CASE("losses of two hand-made profiles") {
  const torch::Tensor x = torch::tensor({{1.0, 2.0, 3.0}, {0.0, 0.0, 1.0}});
  const torch::Tensor y = torch::tensor({{1.0, 0.0, 3.0}, {1.0, 0.0, 0.0}});
  CHECK_THAT(squared_error(x, y).item<double>(), WithinAbs(6.0 / 6, 1e-6));
  CHECK_THAT(overlap(x, y, Orthogonality::dot2).item<double>(), WithinAbs((10.0 * 10 + 0) / 2, 1e-5));
  CHECK_THAT(overlap(x, y, Orthogonality::cos2).item<double>(), WithinAbs(100.0 / (14 * 10) / 2, 1e-6));
  CHECK_THAT(overlap(3 * x, y, Orthogonality::cos2).item<double>(), WithinAbs(100.0 / (14 * 10) / 2, 1e-6));
  // softmax(0, log 3) = (1/4, 3/4); softmax(0, 0) = (1/2, 1/2)
  const torch::Tensor left = torch::tensor({{0.0, std::log(3.0)}});
  const torch::Tensor right = torch::tensor({{0.0, 0.0}});
  CHECK_THAT(agreement(left, right).item<double>(), WithinAbs(0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3), 1e-6));
  CHECK_THAT(agreement(right, left).item<double>(), WithinAbs(0.25 * std::log(0.5) + 0.75 * std::log(1.5), 1e-6));
  CHECK_THAT(agreement(left, left).item<double>(), WithinAbs(0.0, 1e-7));
}

TEST_CASE("the gradient of each loss reaches the networks and latents that it shall reach, and no others") {
  torch::manual_seed(5);
  const std::int64_t n = 9;
  const Sizes sizes = small_sizes();
  Objective objective;
  objective.encode_controls = true;
  const PairBatch batch = random_batch(n, sizes.genes, /*combined=*/true);
  // Latents: state and perturbation of left, right, left control, right control.
  using Set = std::set<std::string>;
  struct Row {
    std::string name;
    torch::Tensor Losses::*term;
    Set latents_cell, latents_drug;
    bool decodes;
  };
  const std::vector<Row> table = {
      {"reconstruction of left", &Losses::reconstruction_left, {"s0", "p0"}, {"s0", "p0"}, true},
      {"reconstruction of right", &Losses::reconstruction_right, {"s1", "p1"}, {"s1", "p1"}, true},
      {"cross-transfer to left", &Losses::cross_left, {"s1", "p0"}, {"s0", "p1"}, true},
      {"cross-transfer to right", &Losses::cross_right, {"s0", "p1"}, {"s1", "p0"}, true},
      {"left control", &Losses::control_left, {"s0"}, {"s0"}, true},
      {"right control", &Losses::control_right, {"s1"}, {"s1"}, true},
      {"combination", &Losses::combination, {"s0", "p0", "p1"}, {"s0", "p0", "p1"}, true},
      {"agreement", &Losses::agreement, {"s0", "s1"}, {"p0", "p1"}, false},
      {"orthogonality", &Losses::orthogonality, {"s0", "p0", "s1", "p1"}, {"s0", "p0", "s1", "p1"}, false},
      {"encoded controls", &Losses::encoded_control, {"s2", "s3", "p2", "p3"}, {"s2", "s3", "p2", "p3"}, true}};
  for (const Mode mode : {Mode::cell, Mode::drug}) {
    for (const Row& row : table) {
      CAPTURE(row.name, mode == Mode::cell);
      XTransfer net = lively(sizes);
      Passed passed = pass(net, batch, mode, {}, objective);
      passed.state.retain_grad();
      passed.perturbation.retain_grad();
      (losses(passed, batch, mode, objective).*row.term).backward();
      Set reached;
      for (const auto& [letter, latent] : {std::pair{"s", passed.state}, std::pair{"p", passed.perturbation}}) {
        for (std::int64_t k = 0; k < 4 && latent.grad().defined(); ++k) {
          if (latent.grad().narrow(0, k * n, n).abs().sum().item<double>() > 0)
            reached.insert(letter + std::to_string(k));
        }
      }
      // A decoder in training normalises each call alone, so no call reaches another's latents.
      const Set& expected = mode == Mode::cell ? row.latents_cell : row.latents_drug;
      CHECK(reached == expected);
      const auto moves = [](const torch::nn::Module& module) {
        const auto parameters = module.parameters();
        return std::any_of(parameters.begin(), parameters.end(), [](const torch::Tensor& p) {
          return p.grad().defined() && p.grad().abs().sum().item<double>() > 0;
        });
      };
      const auto has = [&](char letter) {
        return std::any_of(expected.begin(), expected.end(), [&](const std::string& s) { return s[0] == letter; });
      };
      CHECK(moves(*net->state) == has('s'));
      CHECK(moves(*net->perturbation) == has('p'));
      CHECK(moves(*net->decoder) == row.decodes);
    }
  }
}

TEST_CASE("each weight counts its own term, and a loss without weight has no part in the total") {
  torch::manual_seed(6);
  const Sizes sizes = small_sizes();
  Objective objective;
  objective.encode_controls = true;
  XTransfer net = lively(sizes);
  const PairBatch batch = random_batch(5, sizes.genes, true);
  const Losses l = losses(pass(net, batch, Mode::cell, {}, objective), batch, Mode::cell, objective);
  const Weights none{0, 0, 0, 0, 0, 0, 0};
  CHECK(l.total(none).item<double>() == 0);
  const std::vector<std::pair<double Weights::*, torch::Tensor>> parts = {
      {&Weights::reconstruction, l.reconstruction_left + l.reconstruction_right},
      {&Weights::cross, l.cross_left + l.cross_right},
      {&Weights::control, l.control_left + l.control_right},
      {&Weights::agreement, l.agreement},
      {&Weights::orthogonality, l.orthogonality},
      {&Weights::combination, l.combination},
      {&Weights::encoded_control, l.encoded_control}};
  Weights all;
  double sum = 0, weight = 0.5;
  for (const auto& [member, part] : parts) {
    Weights only = none;
    only.*member = 2;
    CHECK_THAT(l.total(only).item<double>(), WithinRel(2 * part.item<double>(), 1e-5));
    weight *= 1.7;  // no two are equal
    all.*member = weight;
    sum += weight * part.item<double>();
  }
  CHECK_THAT(l.total(all).item<double>(), WithinRel(sum, 1e-5));
}

TEST_CASE("encoded controls shall decode to themselves and have no perturbation") {
  torch::manual_seed(11);
  const Sizes sizes = small_sizes();
  const PairBatch batch = random_batch(4, sizes.genes, false);
  Objective objective;
  objective.encode_controls = true;
  Passed passed;
  passed.state = torch::rand({16, sizes.latent});
  passed.perturbation = torch::rand({16, sizes.latent});
  for (int k = 0; k < 8; ++k) passed.decoded.push_back(torch::rand({4, sizes.genes}));
  const auto mean = [](const torch::Tensor& x) { return x.square().mean().item<double>(); };
  const double expected = mean(batch.left_control - passed.decoded[6]) + mean(batch.right_control - passed.decoded[7]) +
                          mean(passed.perturbation.narrow(0, 8, 4)) + mean(passed.perturbation.narrow(0, 12, 4));
  CHECK_THAT(losses(passed, batch, Mode::cell, objective).encoded_control.item<double>(), WithinRel(expected, 1e-5));
}

TEST_CASE("noise is normal with the wanted deviation, and the three of a step are drawn apart") {
  torch::manual_seed(12);
  const PairBatch batch = random_batch(500, 40, false);
  for (const bool controls : {false, true}) {
    Objective objective;
    objective.encode_controls = controls;
    const Noise noise = Noise::draw(batch, objective, 30, 0.3);
    const std::int64_t rows = controls ? 2000 : 1000;
    for (const auto& [x, width] : {std::pair{noise.input, 40}, {noise.state, 30}, {noise.perturbation, 30}}) {
      CHECK(x.sizes() == torch::IntArrayRef({rows, width}));
      const auto n = static_cast<double>(x.numel());
      CHECK_THAT(x.mean().item<double>(), WithinAbs(0, 5 * 0.3 / std::sqrt(n)));
      CHECK_THAT(x.std().item<double>(), WithinAbs(0.3, 5 * 0.3 / std::sqrt(2 * n)));
    }
    const auto correlation = [](const torch::Tensor& x, const torch::Tensor& y) {
      return ((x * y).mean() / (x.std() * y.std())).item<double>();
    };
    CHECK_THAT(correlation(noise.state, noise.perturbation), WithinAbs(0, 5 / std::sqrt(30000.0)));
    CHECK_THAT(correlation(noise.input.narrow(1, 0, 30), noise.state), WithinAbs(0, 5 / std::sqrt(30000.0)));
    const std::int64_t half = rows / 2;
    CHECK_THAT(correlation(noise.state.narrow(0, 0, half), noise.state.narrow(0, half, half)),
               WithinAbs(0, 5 / std::sqrt(15000.0)));
  }
  const Noise none = Noise::draw(batch, {}, 30, 0);
  CHECK_FALSE((none.input.defined() || none.state.defined() || none.perturbation.defined()));
}

TEST_CASE("a step of the CPU's own layers is that of LibTorch's, which other devices take, up to rounding") {
  const Sizes sizes = small_sizes();
  const PairBatch batch = random_batch(9, sizes.genes, true);
  for (const bool joint : {false, true}) {
    for (const Mode mode : {Mode::cell, Mode::drug}) {
      CAPTURE(joint, mode == Mode::cell);
      Objective objective;
      objective.joint_norm = joint;
      torch::manual_seed(13);
      XTransfer ours = lively(sizes);
      torch::manual_seed(13);
      XTransfer theirs = lively(sizes);
      theirs->to(torch::kFloat64);  // the CPU's own are of float32
      const auto wide = [](const torch::Tensor& x) { return x.to(torch::kFloat64); };
      const PairBatch wide_batch{wide(batch.left), wide(batch.right), wide(batch.left_control),
                                 wide(batch.right_control), wide(batch.both)};
      losses(pass(ours, batch, mode, {}, objective), batch, mode, objective).total(objective.weights).backward();
      losses(pass(theirs, wide_batch, mode, {}, objective), wide_batch, mode, objective)
          .total(objective.weights)
          .backward();
      const auto parameters = theirs->named_parameters();
      double difference = 0, norm = 0;
      for (const auto& item : ours->named_parameters()) {
        const torch::Tensor& other = parameters[item.key()].grad();
        difference += (wide(item.value().grad()) - other).square().sum().item<double>();
        norm += other.square().sum().item<double>();
      }
      CHECK(norm > 0);
      CHECK(std::sqrt(difference) < 1e-3 * std::sqrt(norm));
      const auto buffers = theirs->named_buffers();
      for (const auto& item : ours->named_buffers())
        CHECK(torch::allclose(wide(item.value()), wide(buffers[item.key()]), 1e-3, 1e-5));
    }
  }
}

TEST_CASE("a joint batch norm moves the running statistics once per step, separate ones once per call") {
  torch::manual_seed(9);
  const Sizes sizes = small_sizes();
  const PairBatch batch = random_batch(6, sizes.genes, true);
  for (const bool joint : {false, true}) {
    Objective objective;
    objective.joint_norm = joint;
    XTransfer net = lively(sizes);
    (void)pass(net, batch, Mode::cell, {}, objective);
    const auto calls = [&](const std::string& key) {
      return net->named_buffers()[key + ".net.1.num_batches_tracked"].item<std::int64_t>();
    };
    CHECK(calls("encoderG_S") == (joint ? 1 : 2));
    CHECK(calls("decoderG") == (joint ? 1 : 7));
  }
}

TEST_CASE("without an activation latents may be negative, with it they are not") {
  torch::manual_seed(8);
  Sizes sizes = small_sizes();
  const torch::Tensor x = torch::rand({40, sizes.genes});
  const auto least = [&] {
    XTransfer net(sizes);
    net->eval();
    return torch::cat({net->state->forward(x), net->perturbation->forward(x)}).min().item<double>();
  };
  CHECK(least() == 0);
  sizes.latent_relu = false;
  CHECK(least() < 0);
}
