// SPDX-License-Identifier: Apache-2.0
// baseline.mlp: a tower over the expression, a tower over the fingerprint, a head over both. README.md has the
// equations.
#include <algorithm>
#include <cdrzoo/torch.hpp>
#include <cdrzoo/torch_target_unit.hpp>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "cards.h"
#include "losses.hpp"
#include "networks.hpp"

namespace {

using namespace cdrzoo;
using mlp::TwoTowers;

constexpr const char* kExpression = "expression";
constexpr const char* kMorgan = "morgan";
constexpr std::int64_t kRowsPerChunk = 65536;  // of a prediction: bounds the memory, gives cancellation a chance

struct Options {
  double learning_rate, weight_decay;
  std::int64_t batch_size, epochs, patience;
};

/// A view as tensors on one device: unique entities once, pairs as indices into them.
struct Rows {
  torch::Tensor expression;   // f32 [samples, genes]
  torch::Tensor fingerprint;  // f32 [drugs, bits]
  sdk::Pairs pairs;

  Rows(const sdk::View& view, torch::Device device)
      : expression(sdk::floats_of(view.samples().dense(kExpression), device)),
        fingerprint(sdk::floats_of(view.drugs().dense(kMorgan), device)),
        pairs(sdk::observed_pairs_of(view, device)) {
    sdk::order_by_first_use(expression, pairs.sample);
    sdk::order_by_first_use(fingerprint, pairs.drug);
  }
  [[nodiscard]] std::int64_t size() const { return pairs.sample.size(0); }

  /// The mini-batch of some rows, with only the entities that it needs.
  [[nodiscard]] mlp::Batch batch(const torch::Tensor& rows) const {
    const sdk::Pairs p = pairs.select(rows);
    const sdk::Unique samples = sdk::unique_of(p.sample);
    const sdk::Unique drugs = sdk::unique_of(p.drug);
    return {expression.index_select(0, samples.entity), fingerprint.index_select(0, drugs.entity), samples.index,
            drugs.index};
  }
};

class Mlp final : public sdk::Model {
 public:
  Mlp(const sdk::Problem& problem, const sdk::Params& params)
      : binary_(problem.task == sdk::Task::binary),
        sizes_{problem.block(sdk::Axis::sample, kExpression).width,
               problem.block(sdk::Axis::drug, kMorgan).width,
               params.integers("sample_layers"),
               params.integers("drug_layers"),
               params.integers("head_layers"),
               params.real("dropout")},
        options_{params.real("learning_rate"), params.real("weight_decay"), params.integer("batch_size"),
                 params.integer("epochs"), params.integer("patience")} {
    if (problem.task != sdk::Task::regression && problem.task != sdk::Task::binary) {
      throw sdk::Error(CDRZOO_E_UNSUPPORTED, "the perceptron knows the tasks regression and binary");
    }
    if (problem.n_targets != 1) {
      throw sdk::Error(CDRZOO_E_UNSUPPORTED,
                       "the perceptron has one target, the problem has " + std::to_string(problem.n_targets));
    }
    for (const auto* layers : {&sizes_.sample_layers, &sizes_.drug_layers, &sizes_.head_layers}) {
      if (layers->empty()) throw sdk::Error(CDRZOO_E_PARAM, "every list of layers needs at least one width");
    }
  }

  void fit(sdk::Context& context, const sdk::FitData& data) override {
    const sdk::TorchGuard guard(context, sdk::Grad::on);
    const torch::Device device = sdk::device_of(context);
    const Rows train(data.train, device);
    if (train.size() == 0) throw sdk::Error(CDRZOO_E_DATA, "there are no labelled training rows");
    net_ = TwoTowers(sizes_);
    net_->to(device);
    net_->scale_to(train.expression);
    if (!torch::isfinite(train.pairs.target).all().item<bool>()) {
      throw sdk::Error(CDRZOO_E_DATA, "a training target is not finite");
    }
    unit_ = binary_ ? sdk::TargetUnit() : sdk::TargetUnit::of(train.pairs.target);

    torch::optim::Adam optimizer(net_->parameters(),
                                 torch::optim::AdamOptions(options_.learning_rate).weight_decay(options_.weight_decay));
    sdk::EarlyStopping stop(options_.patience, /*min_delta=*/0.0);
    const sdk::Batches batches(context, train.size(), options_.batch_size);
    for (std::int64_t epoch = 0; epoch < options_.epochs; ++epoch) {
      context.step("epoch " + std::to_string(epoch + 1));
      net_->train();
      double sum = 0;
      for (const auto& rows : batches.epoch(static_cast<std::uint64_t>(epoch))) {
        optimizer.zero_grad();
        const torch::Tensor loss = loss_of(net_->forward(train.batch(rows)), train.pairs.select(rows).target);
        loss.backward();
        optimizer.step();
        sum += loss.item<double>();
      }
      const double train_loss = sum / static_cast<double>(batches.per_epoch());
      if (!std::isfinite(train_loss)) throw sdk::Error(CDRZOO_E_NUMERIC, "the training loss is not finite");
      if (!data.valid) {
        context.progress("epochs", static_cast<std::uint64_t>(epoch + 1), static_cast<std::uint64_t>(options_.epochs),
                         {{"train_loss", train_loss}});
        continue;
      }
      const double valid_loss = mean_loss(context, Rows(*data.valid, device));
      context.progress("epochs", static_cast<std::uint64_t>(epoch + 1), static_cast<std::uint64_t>(options_.epochs),
                       {{"train_loss", train_loss}, {"valid_loss", valid_loss}});
      if (stop.update(valid_loss, *net_)) break;
    }
    if (data.valid) stop.restore(*net_);
    net_->eval();
  }

  void predict(sdk::Context& context, const sdk::View& query, sdk::Predictions& out) const override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    if (query.n_obs() == 0) return;
    const torch::Tensor f = outputs(context, Rows(query, sdk::device_of(context)));
    sdk::copy_to(binary_ ? torch::sigmoid(f) : unit_.from_network(f), out.mean());
  }

  void embed(sdk::Context& context, sdk::Axis axis, const sdk::View& view, sdk::Matrix<float> out) const override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    const torch::Device device = sdk::device_of(context);
    net_->to(device);
    switch (axis) {
      case sdk::Axis::sample:
        return sdk::copy_to(net_->encode_samples(sdk::floats_of(view.samples().dense(kExpression), device)), out);
      case sdk::Axis::drug:
        return sdk::copy_to(net_->encode_drugs(sdk::floats_of(view.drugs().dense(kMorgan), device)), out);
      case sdk::Axis::gene: break;
    }
    throw sdk::Error(CDRZOO_E_UNSUPPORTED, "the perceptron embeds samples and drugs");
  }

  void save(sdk::Context&, sdk::StateWriter& state) const override {
    sdk::save_module(state, *net_);
    unit_.save(state);
  }

  void load(sdk::Context& context, sdk::StateReader& state) override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    net_ = TwoTowers(sizes_);
    sdk::load_module(state, *net_);
    unit_.load(state);
    net_->eval();
  }

  [[nodiscard]] sdk::ModelInfo info() const override {
    sdk::ModelInfo info;
    info.n_parameters = net_.is_empty() ? 0 : sdk::n_parameters(*net_);
    info.embed_dim_sample = sizes_.sample_layers.back();
    info.embed_dim_drug = sizes_.drug_layers.back();
    info.bytes = static_cast<std::uint64_t>(info.n_parameters) * sizeof(float);
    return info;
  }

 private:
  /// \p output [n] of the network against targets [n, 1].
  [[nodiscard]] torch::Tensor loss_of(const torch::Tensor& output, const torch::Tensor& target) const {
    const torch::Tensor y = target.squeeze(/*dim=*/1);
    return binary_ ? mlp::logistic_loss(output, y) : mlp::squared_error(output, unit_.to_network(y));
  }

  /// Over all rows, with dropout off.
  [[nodiscard]] double mean_loss(const sdk::Context& context, const Rows& rows) const {
    const torch::NoGradGuard no_grad;
    net_->eval();
    return loss_of(outputs(context, rows), rows.pairs.target).item<double>();
  }

  /// The network's outputs f32 [n]: every entity encoded once, pairs in chunks.
  [[nodiscard]] torch::Tensor outputs(const sdk::Context& context, const Rows& rows) const {
    net_->to(rows.expression.device());
    const torch::Tensor u = net_->encode_samples(rows.expression);
    const torch::Tensor v = net_->encode_drugs(rows.fingerprint);
    std::vector<torch::Tensor> chunks;
    for (std::int64_t first = 0; first < rows.size(); first += kRowsPerChunk) {
      context.check_cancelled();
      const std::int64_t n = std::min(kRowsPerChunk, rows.size() - first);
      chunks.push_back(net_->combine(u.index_select(0, rows.pairs.sample.narrow(0, first, n)),
                                     v.index_select(0, rows.pairs.drug.narrow(0, first, n))));
    }
    return torch::cat(chunks);
  }

  bool binary_;
  mlp::Sizes sizes_;
  Options options_;
  mutable TwoTowers net_{nullptr};  // predict moves it to the device of its call
  sdk::TargetUnit unit_;
};

}  // namespace

CDRZOO_EXPORT_PLUGIN(sdk::model<Mlp>(kMlpCard))
