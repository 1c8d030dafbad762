// SPDX-License-Identifier: Apache-2.0
// Times the epochs of CODE-AE's pre-training at the published sizes, and its fine-tuning over many drugs. Beside ours
// runs the sequence of operations of the reference (LibTorch's optimisers, a graph through the encoders and through the
// gradient in the critic's step, one new shuffled loader per step), in turn, so that both meet the same load; and one
// 2048-cube product, the unit in which ../shared/peers.md compares machines.
//
//     OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=30000 OPENBLAS_CORETYPE=SkylakeX
//         LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/openblas-openmp codeae_bench [threads] [repetitions [skip
//         fine-tuning]]
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "../../plugins/baselines/codeae/finetune.hpp"
#include "../../plugins/baselines/codeae/losses.hpp"
#include "../../plugins/baselines/codeae/pretrain.hpp"
#include "../sdk/fake_call.hpp"

using namespace cdrzoo;
using namespace cdrzoo::codeae;

namespace {

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The reference's step functions, operation by operation.
class AsWritten {
 public:
  AsWritten(const Domains& x, const Sizes& sizes)
      : x_(x),
        net_(sizes),
        critic_(2 * sizes.latent, sizes.critic_hidden, 1, sizes.dropout),
        adam_(net_->parameters(), torch::optim::AdamWOptions(1e-4).weight_decay(0.01)),
        critic_rms_(critic_->parameters(), torch::optim::RMSpropOptions(1e-4)),
        generator_rms_(net_->parameters(), torch::optim::RMSpropOptions(1e-4)) {}

  void reconstruction_epoch() {
    net_->train();
    for_each_batch([&](std::int64_t, const Domains& batch) {
      adam_.zero_grad();
      loss_of(batch.source, Domain::source).backward();
      loss_of(batch.target, Domain::target).backward();
      adam_.step();
    });
  }
  void adversarial_epoch() {
    for_each_batch([&](std::int64_t step, const Domains& batch) {
      net_->eval();
      critic_->train();
      critic_->zero_grad();
      const torch::Tensor s = net_->encode(batch.source, Domain::source).both();
      const torch::Tensor t = net_->encode(batch.target, Domain::target).both();
      const torch::Tensor between = interpolate(s, t, torch::rand({s.size(0), 1}));
      const torch::Tensor g =
          torch::autograd::grad({critic_->forward(between)}, {between}, {torch::ones({s.size(0), 1})}, true, true)[0];
      const torch::Tensor penalty = (g.norm(2, 1) - 1).square().mean();
      (wasserstein(critic_->forward(s), critic_->forward(t)) + 10 * penalty).backward();
      critic_rms_.step();
      if ((step + 1) % 5 != 0) return;
      net_->train();
      critic_->eval();
      generator_rms_.zero_grad();
      const torch::Tensor loss = loss_of(batch.source, Domain::source) + loss_of(batch.target, Domain::target) -
                                 critic_->forward(net_->encode(batch.target, Domain::target).both()).mean();
      loss.backward();
      generator_rms_.step();
    });
  }

 private:
  torch::Tensor loss_of(const torch::Tensor& x, Domain domain) {
    const auto code = net_->encode(x, domain);
    return reconstruction(x, net_->decode(code.both())) + orthogonality(code.shared_half, code.private_half);
  }
  template <class F>
  void for_each_batch(const F& f) {
    const torch::Tensor order = torch::randperm(x_.source.size(0));
    for (std::int64_t step = 0; step < x_.source.size(0) / 64; ++step) {
      const torch::Tensor pool = torch::randperm(x_.target.size(0));
      f(step,
        {x_.source.index_select(0, order.narrow(0, 64 * step, 64)), x_.target.index_select(0, pool.narrow(0, 0, 64))});
    }
  }

  const Domains& x_;
  SeparationNetwork net_;
  Perceptron critic_;
  torch::optim::AdamW adam_;
  torch::optim::RMSprop critic_rms_, generator_rms_;
};

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 5;
  test::FakeCall call(1, threads);
  sdk::Context context(call.get());
  const sdk::TorchGuard guard(context, sdk::Grad::on);

  Sizes sizes;
  sizes.genes = 1426;
  sizes.dropout = 0.1;
  const Domains x{torch::rand({1305, sizes.genes}), torch::rand({9808, sizes.genes})};
  PretrainOptions options;
  SeparationNetwork net(sizes);
  Perceptron critic(2 * sizes.latent, sizes.critic_hidden, 1, sizes.dropout);
  AsWritten written(x, sizes);
  const torch::Tensor cube = torch::rand({2048, 2048});

  std::vector<double> best(5, std::numeric_limits<double>::infinity());
  for (int i = 0; i <= repetitions; ++i) {
    const std::vector<double> now = {
        seconds([&] { written.reconstruction_epoch(); }),
        seconds([&] { train_separation(context, x, net, options, 1); }),
        seconds([&] { written.adversarial_epoch(); }),
        seconds([&] { train_adversarially(context, x, net, critic, options, 1); }),
        seconds([&] { (void)cube.mm(cube); }),
    };
    if (i == 0) continue;  // the first one warms up
    for (std::size_t k = 0; k < now.size(); ++k) best[k] = std::min(best[k], now[k]);
  }
  const double gflops = 2.0 * 2048 * 2048 * 2048 / best[4] / 1e9;
  constexpr double kPeerGflops = 475;  // of the machine of ../shared/peers.md, with its tuned figures below
  const auto line = [&](const char* what, double written_s, double ours, double peer) {
    std::printf("%-28s as written %.3f s, ours %.3f s: %.1fx; peer's %.2f s at %.0f GFLOP/s: %.1fx in units of sgemm\n",
                what, written_s, ours, written_s / ours, peer, kPeerGflops, peer * kPeerGflops / (ours * gflops));
  };
  std::printf("%d threads, best of %d; 2048-cube sgemm %.0f GFLOP/s\n", threads, repetitions, gflops);
  line("stage 1 epoch, 20 steps", best[0], best[1], 0.74);
  line("stage 2 epoch, 20 + 4 steps", best[2], best[3], 0.38);

  if (argc > 3) return 0;

  // Fine-tuning: the shape of a fold of gdsc2_ccle.
  constexpr std::int64_t kLines = 464;
  constexpr int kDrugs = 170;
  Sizes small = sizes;
  small.genes = 706;
  Perceptron encoder(small.genes, small.hidden, small.latent, small.dropout);
  const torch::Tensor lines = torch::randn({kLines, small.genes});
  std::vector<DrugRows> drugs(kDrugs);
  const torch::Tensor labels = torch::rand({kDrugs, kLines});
  for (int d = 0; d < kDrugs; ++d) {
    for (std::int64_t i = 0; i < kLines; ++i) {
      auto& rows = drugs[static_cast<std::size_t>(d)];
      (i % 8 == 0 ? rows.valid : rows.train).push_back(i);
      (i % 8 == 0 ? rows.valid_y : rows.train_y).push_back(labels[d][i].item<float>() < 0.5F ? 1.0F : 0.0F);
    }
  }
  FinetuneOptions finetuning;
  for (const std::int64_t unfrozen : {0, 3}) {
    finetuning.unfrozen_layers = unfrozen;
    std::int64_t epochs = 0;
    const double time = seconds([&] {
      for (const Response& r : finetune(context, encoder, lines, drugs, finetuning)) epochs += r.epochs;
    });
    std::printf("fine-tuning of %d drugs on %lld lines, %lld layers unfrozen: %.1f s, %.0f epochs per drug\n", kDrugs,
                static_cast<long long>(kLines), static_cast<long long>(unfrozen), time,
                static_cast<double>(epochs) / kDrugs);
  }
  return 0;
}
