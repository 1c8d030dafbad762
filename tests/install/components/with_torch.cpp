// SPDX-License-Identifier: Apache-2.0
// Small on purpose: it shows that a plugin outside the tree compiles and links with the LibTorch layer.
#include <cdrzoo/torch.hpp>
#include <cdrzoo/torch_optim.hpp>

#include "cards.h"

namespace sdk = cdrzoo::sdk;

class WithTorch final : public sdk::Model {
 public:
  WithTorch(const sdk::Problem&, const sdk::Params&) {}
  void fit(sdk::Context& context, const sdk::FitData& data) override {
    const sdk::TorchGuard guard(context, sdk::Grad::on);
    const torch::Tensor mean = torch::zeros({1}).requires_grad_();
    sdk::Adam adam({mean});
    for (int step = 0; step < 100; ++step) {
      adam.zero_grad();
      (sdk::borrow(data.train.target()) - mean).square().mean().backward();
      adam.step(/*learning_rate=*/0.1);
    }
    mean_ = mean.item<float>();
  }
  void predict(sdk::Context&, const sdk::View& query, sdk::Predictions& out) const override {
    sdk::copy_to(torch::full({query.n_obs()}, mean_), out.mean());
  }
  void save(sdk::Context&, sdk::StateWriter& state) const override { state.scalar("mean", mean_); }
  void load(sdk::Context&, sdk::StateReader& state) override { mean_ = state.scalar<float>("mean"); }
  sdk::ModelInfo info() const override { return {}; }

 private:
  float mean_ = 0;
};

CDRZOO_EXPORT_PLUGIN(sdk::model<WithTorch>(kWithTorchCard))
