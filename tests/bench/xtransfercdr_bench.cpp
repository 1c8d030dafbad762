// SPDX-License-Identifier: Apache-2.0
// Times a training step of XTransferCDR at the published sizes: 512 pairs, 2,000 genes, dropout 0.2, noise 0.1. Beside
// ours runs the reference's sequence of operations (a call per network and input, LibTorch's layers, losses and Adam),
// without and with a coefficient of determination per training profile, in turn, so that all meet the same load; and
// one 2048-cube product, the unit in which ../shared/peers.md compares machines. Then a prediction.
//
//     OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=30000 [OPENBLAS_CORETYPE=SkylakeX, with AVX-512]
//         LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/openblas-openmp xtransfercdr_bench [threads] [repetitions]
//         [as written: 1 | 0]
#include <torch/torch.h>

#include <algorithm>
#include <cdrzoo/torch.hpp>
#include <cdrzoo/torch_optim.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "../../plugins/xtransfercdr/training.hpp"
#include "../sdk/fake_call.hpp"

using namespace cdrzoo;
using namespace cdrzoo::xtransfercdr;

namespace {

constexpr std::int64_t kPairs = 512;
constexpr std::int64_t kGenes = 2000;
constexpr double kNoise = 0.1;

/// Of the clock on the wall, and of the processors over all threads: the latter hardly feels what else the machine
/// does.
struct Seconds {
  double wall, processor;
};

Seconds seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t before = std::clock();
  work();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC};
}

/// The reference's model, a module per layer.
struct WrittenResidual : torch::nn::Module {
  explicit WrittenResidual(std::int64_t width) {
    for (int i = 0; i < 2; ++i) {
      branch->push_back(torch::nn::Linear(width, width));
      branch->push_back(torch::nn::BatchNorm1d(width));
      branch->push_back(torch::nn::Dropout(0.2));
      branch->push_back(torch::nn::ReLU());
    }
    register_module("branch", branch);
  }
  torch::Tensor forward(const torch::Tensor& x) { return x + branch->forward(x); }
  torch::nn::Sequential branch;
};

torch::nn::Sequential written_coder(std::int64_t inputs, const std::vector<std::int64_t>& hidden,
                                    std::int64_t outputs) {
  torch::nn::Sequential net;
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    net->push_back(torch::nn::Linear(inputs, hidden[i]));
    net->push_back(torch::nn::BatchNorm1d(hidden[i]));
    net->push_back(torch::nn::Dropout(0.2));
    net->push_back(torch::nn::ReLU());
    inputs = hidden[i];
    for (int block = 0; i == 1 && block < 3; ++block) net->push_back(WrittenResidual(inputs));
  }
  net->push_back(torch::nn::Linear(inputs, outputs));
  net->push_back(torch::nn::ReLU());
  return net;
}

/// The reference's step, operation by operation.
class AsWritten {
 public:
  AsWritten()
      : perturbation_(written_coder(kGenes, {1024, 512, 256}, 128)),
        state_(written_coder(kGenes, {1024, 512, 256}, 128)),
        decoder_(written_coder(128, {256, 512, 1024}, kGenes)),
        adam_(all_parameters(), torch::optim::AdamOptions(2e-4).weight_decay(5e-4)) {}

  void step(const PairBatch& batch, bool metric) {
    const auto noisy = [](const torch::Tensor& x) { return x + kNoise * torch::randn_like(x); };
    const torch::Tensor left = noisy(batch.left);
    const torch::Tensor right = noisy(batch.right);
    const torch::Tensor p_left = perturbation_->forward(left);
    const torch::Tensor s_left = state_->forward(left);
    const torch::Tensor p_right = perturbation_->forward(right);
    const torch::Tensor s_right = state_->forward(right);
    const torch::Tensor pl = noisy(p_left);
    const torch::Tensor sl = noisy(s_left);
    const torch::Tensor pr = noisy(p_right);
    const torch::Tensor sr = noisy(s_right);
    const torch::Tensor control_left = decoder_->forward(sl);
    const torch::Tensor control_right = decoder_->forward(sr);
    const torch::Tensor own_left = decoder_->forward(sl + pl);
    const torch::Tensor cross_left = decoder_->forward(sr + pl);
    const torch::Tensor cross_right = decoder_->forward(sl + pr);
    const torch::Tensor own_right = decoder_->forward(sr + pr);
    const auto mse = [](const torch::Tensor& x, const torch::Tensor& y) { return torch::mse_loss(x, y); };
    const torch::Tensor kl =
        torch::kl_div(torch::log_softmax(s_left, 1), torch::softmax(s_right, 1), at::Reduction::Sum) /
        static_cast<double>(kPairs);
    const torch::Tensor dots = (s_left * p_left).sum(1).square().mean() + (s_right * p_right).sum(1).square().mean();
    const torch::Tensor loss = 5 * mse(own_left, batch.left) + 5 * mse(own_right, batch.right) +
                               5 * mse(cross_left, batch.left) + 5 * mse(cross_right, batch.right) +
                               5 * mse(control_left, batch.left_control) + 5 * mse(control_right, batch.right_control) +
                               5 * kl + 0.5 * dots;
    adam_.zero_grad();
    loss.backward();
    adam_.step();
    if (metric) r2_ = per_profile(own_left, batch.left) + per_profile(own_right, batch.right);
  }

 private:
  std::vector<torch::Tensor> all_parameters() {
    std::vector<torch::Tensor> all;
    for (auto* net : {&perturbation_, &state_, &decoder_}) {
      for (const auto& p : (*net)->parameters()) all.push_back(p);
    }
    return all;
  }
  /// Mean over profiles of 1 - residual / variance, one profile at a time. The reference does it in Python.
  static double per_profile(const torch::Tensor& predicted, const torch::Tensor& x) {
    double sum = 0;
    for (std::int64_t i = 0; i < x.size(0); ++i) {
      const torch::Tensor truth = x.select(0, i).to(torch::kFloat64);
      const torch::Tensor residual = truth - predicted.detach().select(0, i).to(torch::kFloat64);
      sum += 1 - (residual.square().sum() / (truth - truth.mean()).square().sum()).item<double>();
    }
    return sum / static_cast<double>(x.size(0));
  }
  torch::nn::Sequential perturbation_, state_, decoder_;
  torch::optim::Adam adam_;
  double r2_ = 0;
};

std::string peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return line.substr(line.find_first_not_of(" \t", 6));
  }
  return "unknown";
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 7;
  const bool with_written = argc <= 3 || std::atoi(argv[3]) != 0;
  test::FakeCall call(1, threads);
  const sdk::Context context(call.get());
  const sdk::TorchGuard guard(context, sdk::Grad::on);

  const auto profiles = [] { return torch::rand({kPairs, kGenes}); };
  const PairBatch batch{profiles(), profiles(), profiles(), profiles(), {}};
  Sizes sizes;
  sizes.genes = kGenes;
  const Objective objective;
  XTransfer net(sizes);
  sdk::Adam adam(net->parameters(), sdk::WeightDecay::adam(5e-4));
  net->train();
  AsWritten written;
  const torch::Tensor cube = torch::rand({2048, 2048});

  constexpr double kNone = std::numeric_limits<double>::infinity();
  Seconds forward{}, backward{}, update{};
  const auto step = [&] {
    torch::Tensor loss;
    forward = seconds([&] {
      const Noise noise = Noise::draw(batch, objective, sizes.latent, kNoise);
      adam.zero_grad();
      loss =
          losses(pass(net, batch, Mode::cell, noise, objective), batch, Mode::cell, objective).total(objective.weights);
    });
    backward = seconds([&] { loss.backward(); });
    update = seconds([&] { adam.step(2e-4); });
  };
  std::vector<Seconds> best(7, Seconds{kNone, kNone});  // as written, with metric, ours, its three parts, sgemm
  for (int i = 0; i <= repetitions; ++i) {
    std::vector<Seconds> now(7, Seconds{kNone, kNone});
    if (with_written) {
      now[0] = seconds([&] { written.step(batch, false); });
      now[1] = seconds([&] { written.step(batch, true); });
    }
    now[2] = seconds(step);
    now[3] = forward;
    now[4] = backward;
    now[5] = update;
    now[6] = seconds([&] { (void)cube.mm(cube); });
    if (i == 0) continue;  // the first one warms up
    for (std::size_t k = 0; k < now.size(); ++k) {
      best[k] = {std::min(best[k].wall, now[k].wall), std::min(best[k].processor, now[k].processor)};
    }
  }
  std::printf("step of 512 pairs, 2,000 genes; %d threads, best of %d\n", threads, repetitions);
  for (const auto& [name, member] : {std::pair{"wall", &Seconds::wall}, std::pair{"processor", &Seconds::processor}}) {
    const auto of = [&best, which = member](std::size_t k) { return best[k].*which; };
    const double gflops = 2.0 * 2048 * 2048 * 2048 / of(6) / 1e9;
    std::printf(
        "%-9s as written %.3f s, with the metric %.3f s, ours %.3f s (forward %.3f, backward %.3f, Adam %.3f): "
        "%.2fx, %.2fx; 2048-cube sgemm %.0f GFLOP/s, the step %.0f\n",
        name, of(0), of(1), of(2), of(3), of(4), of(5), of(0) / of(2), of(1) / of(2), gflops, 133 / of(2));
    if (member != &Seconds::wall) continue;
    constexpr double kPeerGflops = 475;  // of the machine of ../shared/peers.md, with its tuned figures
    constexpr double kPeerBare = 0.68;
    constexpr double kPeerMetric = 0.95;
    std::printf("%-9s in units of sgemm, beside the peer's %.2f and %.2f s at %.0f GFLOP/s: %.2fx, %.2fx\n", "",
                kPeerBare, kPeerMetric, kPeerGflops, kPeerBare * kPeerGflops / (of(2) * gflops),
                kPeerMetric * kPeerGflops / (of(2) * gflops));
  }

  net->eval();
  const torch::NoGradGuard no_grad;
  Seconds predict{kNone, kNone};
  for (int i = 0; i <= repetitions; ++i) {
    const Seconds now = seconds([&] {
      (void)net->decoder->forward(net->state->forward(batch.left_control) + net->perturbation->forward(batch.left));
    });
    predict = {std::min(predict.wall, now.wall), std::min(predict.processor, now.processor)};
  }
  std::printf("prediction of 512 rows: %.3f s, of the processors %.3f s; peak memory %s\n", predict.wall,
              predict.processor, peak_memory().c_str());
  return 0;
}
