// SPDX-License-Identifier: Apache-2.0
#include <cdrzoo/torch_optim.hpp>
#include <cmath>

#include "../../plugins/baselines/codeae/finetune.hpp"
#include "../../plugins/baselines/codeae/losses.hpp"
#include "../../plugins/baselines/codeae/networks.hpp"
#include "support/catch.hpp"
#include "support/golden_torch.hpp"

using namespace cdrzoo::codeae;
using cdrzoo::test::compare;
using cdrzoo::test::compare_module;
using cdrzoo::test::Golden;
using cdrzoo::test::GoldenWeights;
using cdrzoo::test::tensor_of;
using cdrzoo::test::values_of;
using cdrzoo::test::WithinAbs;

namespace {

std::vector<std::int64_t> widths(const Golden& golden, const std::string& key) {
  return golden.arg(key).get<std::vector<std::int64_t>>();
}

/// The networks of a golden file of the form "adv", with its weights.
struct Adversarial {
  explicit Adversarial(const Golden& golden)
      : alpha(golden.arg("alpha").get<double>()), penalty(golden.arg("gradient_penalty").get<double>()) {
    sizes.genes = golden.arg("input_dim").get<std::int64_t>();
    sizes.hidden = widths(golden, "encoder_hidden_dims");
    sizes.latent = golden.arg("latent_dim").get<std::int64_t>();
    sizes.critic_hidden = widths(golden, "critic_hidden_dims");
    sizes.dropout = golden.arg("dropout").get<double>();
    sizes.norm = golden.arg("norm_flag").get<bool>();
    net = SeparationNetwork(sizes);
    critic = Perceptron(2 * sizes.latent, sizes.critic_hidden, 1, sizes.dropout);
    weights.emplace(golden);
    weights->load_into(*net);
    weights->load_into(*critic, "critic.");
    const auto input = [&](const std::string& name, std::int64_t cols) {
      if (golden.has("in/" + name)) return tensor_of(golden, "in/" + name);
      FAIL(golden.name() + " has no input " + name + " of " + std::to_string(cols) + " columns");
      return torch::Tensor();
    };
    source = input("source_x", sizes.genes);
    target = input("target_x", sizes.genes);
  }

  struct Reconstruction {
    SeparationNetworkImpl::Code source, target;
    torch::Tensor source_decoded, target_decoded;
    torch::Tensor source_recon, target_recon, source_ortho, target_ortho, source_ae, target_ae, total;
  };
  Reconstruction reconstruct() {
    Reconstruction r;
    const auto codes = net->encode({source}, {target});
    r.source = codes[0];
    r.target = codes[1];
    r.source_decoded = net->decode(r.source.both());
    r.target_decoded = net->decode(r.target.both());
    r.source_recon = reconstruction(source, r.source_decoded);
    r.target_recon = reconstruction(target, r.target_decoded);
    r.source_ortho = orthogonality(r.source.shared_half, r.source.private_half);
    r.target_ortho = orthogonality(r.target.shared_half, r.target.private_half);
    r.source_ae = r.source_recon + alpha * r.source_ortho;
    r.target_ae = r.target_recon + alpha * r.target_ortho;
    r.total = r.source_ae + r.target_ae;
    return r;
  }

  Sizes sizes;
  double alpha, penalty;
  SeparationNetwork net{nullptr};
  Perceptron critic{nullptr};
  std::optional<GoldenWeights> weights;
  torch::Tensor source, target;
};

std::string interpolation(int step) { return "in/interpolation_" + std::to_string(step); }

}  // namespace

TEST_CASE("codes, reconstructions and every loss are the reference's", "[golden]") {
  const auto files = Golden::all_of("CODE-AE", "adv");
  if (files.empty()) WARN(Golden::no_files());
  for (const Golden& golden : files) {
    CAPTURE(golden.name());
    Adversarial model(golden);
    const auto r = model.reconstruct();
    const auto between = interpolate(r.source.both(), r.target.both(), tensor_of(golden, interpolation(0)));
    const CriticLoss critic = critic_loss(model.critic, r.source.both(), r.target.both(), between, model.penalty);
    const torch::Tensor adversarial = generator_adversarial(model.critic, r.target.both());
    const std::vector<std::pair<std::string, torch::Tensor>> found = {
        {"out/source_code", r.source.both()},
        {"out/target_code", r.target.both()},
        {"out/source_private", r.source.private_half},
        {"out/source_shared", r.source.shared_half},
        {"out/source_recon", r.source_decoded},
        {"out/target_recon", r.target_decoded},
        {"out/critic_source", model.critic->forward(r.source.both())},
        {"out/critic_target", model.critic->forward(r.target.both())},
        {"loss/source_recon", r.source_recon},
        {"loss/target_recon", r.target_recon},
        {"loss/source_ortho", r.source_ortho},
        {"loss/target_ortho", r.target_ortho},
        {"loss/source_ae", r.source_ae},
        {"loss/target_ae", r.target_ae},
        {"loss/ae_total", r.total},
        {"loss/critic_wasserstein", critic.wasserstein},
        {"loss/critic_gradient_penalty", critic.penalty},
        {"loss/critic_total", critic.total},
        {"loss/generator_adversarial", adversarial},
        {"loss/generator_total", r.total + adversarial},
        {"loss/mmd", mmd(r.source.both(), r.target.both())},
    };
    for (const auto& [name, ours] : found) {
      if (golden.has(name)) CHECK(compare(golden, name, ours) == "");
    }
  }
}

TEST_CASE("the gradients of the three losses are the reference's", "[golden]") {
  for (const Golden& golden : Golden::all_of("CODE-AE", "adv")) {
    CAPTURE(golden.name());
    if (!golden.has("grad_ae/decoder.module.0.0.weight")) continue;
    {
      Adversarial model(golden);
      model.reconstruct().total.backward();
      CHECK(compare_module(golden, "grad_ae", *model.net) == "");
    }
    {
      Adversarial model(golden);
      const auto r = model.reconstruct();
      const auto between = interpolate(r.source.both(), r.target.both(), tensor_of(golden, interpolation(0)));
      critic_loss(model.critic, r.source.both(), r.target.both(), between, model.penalty).total.backward();
      CHECK(compare_module(golden, "grad_critic", *model.critic, "critic.") == "");
      for (const auto& p : model.net->parameters()) CHECK_FALSE(p.grad().defined());
    }
    {
      Adversarial model(golden);
      const auto r = model.reconstruct();
      (r.total + generator_adversarial(model.critic, r.target.both())).backward();
      CHECK(compare_module(golden, "grad_generator", *model.net) == "");
      for (const auto& p : model.critic->parameters()) CHECK_FALSE(p.grad().defined());
    }
  }
}

TEST_CASE("three steps of each optimiser end where the reference's end", "[golden]") {
  for (const Golden& golden : Golden::all_of("CODE-AE", "adv")) {
    CAPTURE(golden.name());
    if (!golden.has("after3_ae/decoder.module.0.0.weight")) continue;
    constexpr double kRate = 1e-3;
    std::vector<double> losses;
    {
      Adversarial model(golden);
      cdrzoo::sdk::Adam optimizer(model.net->parameters(), cdrzoo::sdk::WeightDecay::adamw());
      for (int step = 0; step < 3; ++step) {
        optimizer.zero_grad();
        const torch::Tensor loss = model.reconstruct().total;
        losses.push_back(loss.item<double>());
        loss.backward();
        optimizer.step(kRate);
      }
      CHECK(compare(golden, "loss/ae_before_each_step", losses) == "");
      CHECK(compare_module(golden, "after3_ae", *model.net, "", &*model.weights) == "");
    }
    losses.clear();
    {
      Adversarial model(golden);
      cdrzoo::sdk::RmsProp optimizer(model.critic->parameters());
      const auto r = model.reconstruct();
      for (int step = 0; step < 3; ++step) {
        optimizer.zero_grad();
        const auto between = interpolate(r.source.both(), r.target.both(), tensor_of(golden, interpolation(step)));
        const auto loss = critic_loss(model.critic, r.source.both(), r.target.both(), between, model.penalty);
        losses.push_back(loss.total.item<double>());
        loss.total.backward();
        optimizer.step(kRate);
      }
      CHECK(compare(golden, "loss/critic_before_each_step", losses) == "");
      CHECK(compare_module(golden, "after3_critic", *model.critic, "critic.", &*model.weights) == "");
    }
    losses.clear();
    {
      Adversarial model(golden);
      cdrzoo::sdk::RmsProp optimizer(model.net->parameters());
      for (int step = 0; step < 3; ++step) {
        optimizer.zero_grad();
        const auto r = model.reconstruct();
        const torch::Tensor loss = r.total + generator_adversarial(model.critic, r.target.both());
        losses.push_back(loss.item<double>());
        loss.backward();
        optimizer.step(kRate);
      }
      CHECK(compare(golden, "loss/generator_before_each_step", losses) == "");
      CHECK(compare_module(golden, "after3_generator", *model.net, "", &*model.weights) == "");
    }
  }
}

TEST_CASE("the gradient penalty and its gradient agree with differentiating twice") {
  torch::manual_seed(1);
  Perceptron critic(6, std::vector<std::int64_t>{5, 4}, 1, 0.0);
  const torch::Tensor z = torch::randn({7, 6});
  const torch::Tensor ours = gradient_penalty(critic, z);
  const auto found = torch::autograd::grad({ours}, critic->parameters(), {}, true, false, /*allow_unused=*/true);
  const torch::Tensor leaf = z.clone().requires_grad_();
  const torch::Tensor g = torch::autograd::grad({critic->forward(leaf).sum()}, {leaf}, {}, true, true)[0];
  const torch::Tensor twice = (g.norm(2, 1) - 1).square().mean();
  const auto expected = torch::autograd::grad({twice}, critic->parameters(), {}, true, false, /*allow_unused=*/true);
  CHECK_THAT(ours.item<double>(), WithinAbs(twice.item<double>(), 1e-5));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!expected[i].defined()) {
      CHECK((!found[i].defined() || found[i].abs().max().item<double>() == 0));
      continue;
    }
    CHECK(torch::allclose(found[i], expected[i], 1e-4, 1e-6));
  }
}

TEST_CASE("dropout of the critic is part of the function whose slope is penalised") {
  torch::manual_seed(2);
  Perceptron critic(6, std::vector<std::int64_t>{50, 40}, 1, 0.5);
  critic->train();
  const torch::Tensor z = torch::randn({3, 6});
  torch::manual_seed(3);
  const torch::Tensor ours = gradient_penalty(critic, z);
  torch::manual_seed(3);
  const torch::Tensor leaf = z.clone().requires_grad_();
  const torch::Tensor g = torch::autograd::grad({critic->trace(leaf).output.sum()}, {leaf})[0];
  CHECK_THAT(ours.item<double>(), WithinAbs((g.norm(2, 1) - 1).square().mean().item<double>(), 1e-5));
}

TEST_CASE("each alignment loss reaches the codes that it compares, and the confusion turns their gradient round") {
  torch::manual_seed(4);
  const torch::Tensor s = torch::randn({9, 4}).requires_grad_();
  const torch::Tensor t = (torch::randn({8, 4}) + 0.5).requires_grad_();
  for (const auto& loss : {mmd(s, t), coral(s, t)}) {
    const auto g = torch::autograd::grad({loss}, {s, t});
    CHECK(g[0].abs().sum().item<double>() > 0);
    CHECK(g[1].abs().sum().item<double>() > 0);
  }
  Perceptron classifier(4, std::vector<std::int64_t>{3}, 1, 0.0);
  const torch::Tensor confused = domain_confusion(classifier, s, t);
  const torch::Tensor plain = torch::binary_cross_entropy_with_logits(
      classifier->forward(torch::cat({s, t})).squeeze(1), torch::cat({torch::zeros({9}), torch::ones({8})}));
  CHECK_THAT(confused.item<double>(), WithinAbs(plain.item<double>(), 1e-6));
  std::vector<torch::Tensor> wanted = classifier->parameters();
  wanted.push_back(s);
  const auto turned = torch::autograd::grad({confused}, wanted);
  const auto straight = torch::autograd::grad({plain}, wanted);
  CHECK(torch::allclose(turned[0], straight[0]));
  CHECK(torch::allclose(turned.back(), -straight.back()));
}

TEST_CASE("distances of equal samples are zero and grow with a shift") {
  torch::manual_seed(5);
  const torch::Tensor a = torch::randn({20, 3});
  CHECK_THAT(mmd(a, a).item<double>(), WithinAbs(0, 1e-2));  // the narrowest kernels see the rounding of |a - b|^2
  CHECK_THAT(coral(a, a).item<double>(), WithinAbs(0, 1e-6));
  CHECK(mmd(a, a + 2).item<double>() > mmd(a, a + 1).item<double>());
  CHECK(coral(a, 3 * a).item<double>() > coral(a, 2 * a).item<double>());
}

TEST_CASE("many batches at once are encoded as each alone") {
  torch::manual_seed(6);
  Sizes sizes;
  sizes.genes = 11;
  sizes.hidden = {9, 7};
  sizes.latent = 5;
  SeparationNetwork net(sizes);
  const torch::Tensor s = torch::randn({6, 11});
  const torch::Tensor t = torch::randn({4, 11});
  const auto codes = net->encode({s}, {t, t});
  REQUIRE(codes.size() == 3);
  CHECK(torch::allclose(codes[0].both(), net->encode(s, Domain::source).both(), 1e-5, 1e-6));
  CHECK(torch::allclose(codes[1].both(), net->encode(t, Domain::target).both(), 1e-5, 1e-6));
  CHECK(torch::allclose(codes[2].both(), codes[1].both(), 1e-5, 1e-6));
  CHECK(torch::allclose(codes[0].shared_half.norm(2, 1), torch::ones({6})));
}

TEST_CASE("a mask of dropout leaves out its share, keeps the mean and never comes twice") {
  torch::manual_seed(8);
  const torch::Tensor x = torch::ones({333, 101});
  const torch::Tensor mask = dropout_mask(x, 0.1);
  CHECK_THAT((mask == 0).to(torch::kFloat64).mean().item<double>(), WithinAbs(0.1, 0.01));
  CHECK_THAT(mask.mean().item<double>(), WithinAbs(1, 0.01));
  CHECK_FALSE(torch::equal(mask, dropout_mask(x, 0.1)));
  torch::manual_seed(8);
  CHECK(torch::equal(mask, dropout_mask(x, 0.1)));
  CHECK(torch::equal(with_dropout(x, 0.5, /*train=*/false), x));
  CHECK(torch::equal(with_dropout(x, 0.0, /*train=*/true), x));
}

TEST_CASE("the response classifier learns as the reference's does, the encoder's last layer unfrozen after three steps",
          "[golden]") {
  const auto files = Golden::all_of("CODE-AE", "finetune");
  if (files.empty()) WARN(Golden::no_files());
  for (const Golden& golden : files) {
    CAPTURE(golden.name());
    const auto genes = golden.arg("input_dim").get<std::int64_t>();
    const auto latent = golden.arg("latent_dim").get<std::int64_t>();
    const bool norm = golden.arg("normalize_flag").get<bool>();
    Perceptron encoder(genes, widths(golden, "encoder_hidden_dims"), latent, 0.0);
    Perceptron classifier(latent, widths(golden, "classifier_hidden_dims"), 1, 0.0);
    const GoldenWeights weights(golden);
    weights.load_into(*encoder, "encoder.");
    weights.load_into(*classifier, "decoder.");
    const torch::Tensor x = tensor_of(golden, "in/x");
    const torch::Tensor y = tensor_of(golden, "in/label").to(torch::kFloat32);
    const auto n_layers = static_cast<std::int64_t>(encoder->layers().size());
    {
      const torch::Tensor code = trunk(encoder, x, 0, /*norm=*/false);
      const torch::Tensor logit = classifier->forward(trunk(encoder, x, 0, norm)).squeeze(1);
      const torch::Tensor loss = torch::binary_cross_entropy_with_logits(logit, y);
      loss.backward();
      CHECK(compare(golden, "out/code", code) == "");
      CHECK(compare(golden, "out/logit", logit) == "");
      CHECK(compare(golden, "loss/bce", loss) == "");
      CHECK(compare_module(golden, "grad", *encoder, "encoder.") == "");
      CHECK(compare_module(golden, "grad", *classifier, "decoder.") == "");
    }
    // As the plugin does it: two drugs side by side, of which the first is the file's; three steps at 1e-3 on the
    // classifier, three at 1e-4 on the classifier and one layer of the encoder.
    Response start;
    for (const auto& layer : classifier->layers()) {
      start.weight.push_back(layer->weight.detach().clone());
      start.bias.push_back(layer->bias.detach().clone());
    }
    FinetuneOptions options;
    options.norm = norm;
    options.dropout = 0;
    std::vector<double> losses;
    for (std::int64_t own = 0; own < 2; ++own) {
      if (own == 1) {
        start.weight.insert(start.weight.begin(), encoder->layers().back()->weight.detach().clone());
        start.bias.insert(start.bias.begin(), encoder->layers().back()->bias.detach().clone());
        start.own_layers = 1;
      }
      Bank bank({start, start}, encoder->activation(), 0.0, options, torch::kCPU);
      const torch::Tensor input = trunk(encoder, x, own, norm).detach().unsqueeze(0).expand({2, -1, -1});
      for (std::int64_t step = 1; step <= 3; ++step) {
        const torch::Tensor logits = bank.forward(input, /*train=*/true);
        const torch::Tensor loss = torch::binary_cross_entropy_with_logits(logits[0], y);
        losses.push_back(loss.item<double>());
        const auto gradients = torch::autograd::grad({loss}, bank.parameters());
        bank.step(gradients, {step}, own == 0 ? 1e-3 : 1e-4);  // the second drug rests
      }
      const Response second = bank.response(1);
      for (std::size_t i = 0; i < second.weight.size(); ++i) CHECK(torch::equal(second.weight[i], start.weight[i]));
      start = bank.response(0);
    }
    CHECK(compare(golden, "loss/bce_before_each_step", losses) == "");
    {
      const torch::NoGradGuard no_grad;
      encoder->layers().back()->weight.copy_(start.weight[0]);
      encoder->layers().back()->bias.copy_(start.bias[0]);
      for (std::size_t i = 0; i < classifier->layers().size(); ++i) {
        classifier->layers()[i]->weight.copy_(start.weight[i + 1]);
        classifier->layers()[i]->bias.copy_(start.bias[i + 1]);
      }
    }
    CHECK(compare_module(golden, "after6", *encoder, "encoder.", &weights) == "");
    CHECK(compare_module(golden, "after6", *classifier, "decoder.", &weights) == "");
    CHECK(torch::allclose(respond(start, encoder->activation(), trunk(encoder, x, 1, norm), norm),
                          classifier->forward(trunk(encoder, x, 0, norm)).squeeze(1), 1e-5, 1e-6));
    CHECK(n_layers >= 2);
  }
}

TEST_CASE("a drug stops when its best epoch lies further back than the patience of its stage") {
  StopRule rule(2, /*as_reference=*/false);
  CHECK(rule.update(0.4));
  CHECK(rule.update(0.5));
  CHECK_FALSE(rule.update(0.4));
  CHECK_FALSE(rule.stop());
  CHECK(rule.update(0.5));  // a tie is worth keeping, but is no progress
  CHECK(rule.stop());       // 4 epochs, the best is number 1
  rule.next_stage();
  CHECK_FALSE(rule.stop());
  CHECK_FALSE(rule.update(0.4));
  CHECK_FALSE(rule.update(0.4));
  CHECK(rule.stop());
}

TEST_CASE("the reference's rule starts anew at a tie and never stops while the first epoch is the best") {
  StopRule tied(2, /*as_reference=*/true);
  for (int i = 0; i < 20; ++i) CHECK(tied.update(0.5));
  CHECK_FALSE(tied.stop());
  StopRule first(2, /*as_reference=*/true);
  CHECK(first.update(0.5));
  for (int i = 0; i < 20; ++i) CHECK_FALSE(first.update(0.4));
  CHECK_FALSE(first.stop());
}
