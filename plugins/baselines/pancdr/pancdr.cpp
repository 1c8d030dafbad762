// SPDX-License-Identifier: Apache-2.0
// baseline.pancdr: a response predictor on drug graphs and on codes of expression that a discriminator cannot tell
// apart by domain. README.md has the equations.
#include <cdrzoo/torch.hpp>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "../graph_cdr/pairs.hpp"
#include "cards.h"
#include "training.hpp"

namespace {

using namespace cdrzoo;
using graph_cdr::Rows;
using pancdr::Pancdr;

struct Options {
  bool reference = false;
  double learning_rate, discriminator_rate, lambda;
  std::int64_t batch_size, target_batch_size, epochs, min_steps, patience;
};

/// The unlabelled samples in mini-batches without end. A pass is a permutation, its incomplete last batch left out;
/// the reference plays the first pass of an epoch again and again.
class TargetBatches {
 public:
  TargetBatches(const sdk::Context& context, torch::Tensor x, std::int64_t batch_size, bool replay)
      : context_(&context), x_(std::move(x)), size_(std::min(batch_size, n())), replay_(replay) {}
  void start_epoch(std::int64_t epoch) {
    if (n() == 0) return;
    epoch_ = static_cast<std::uint64_t>(epoch);
    pass_ = 0;
    next_ = 0;
    shuffle();
  }
  /// f32 [m, genes]; undefined where there are no samples
  [[nodiscard]] torch::Tensor next() {
    if (n() == 0) return {};
    if (next_ + size_ > n()) {
      next_ = 0;
      ++pass_;
      if (!replay_) shuffle();
    }
    const torch::Tensor rows = order_.narrow(0, next_, size_);
    next_ += size_;
    return x_.index_select(0, rows);
  }

 private:
  [[nodiscard]] std::int64_t n() const { return x_.defined() ? x_.size(0) : 0; }
  void shuffle() {
    const std::string stream = "target " + std::to_string(epoch_) + " " + std::to_string(pass_);
    order_ = torch::tensor(context_->random(stream).permutation(n()), torch::kInt64).to(x_.device());
  }
  const sdk::Context* context_;
  torch::Tensor x_, order_;
  std::int64_t size_, next_ = 0;
  std::uint64_t epoch_ = 0, pass_ = 0;
  bool replay_;
};

class PancdrModel final : public sdk::Model {
 public:
  PancdrModel(const sdk::Problem& problem, const sdk::Params& params)
      : binary_(problem.task == sdk::Task::binary),
        sizes_{problem.block(sdk::Axis::sample, graph_cdr::kExpression).width,
               problem.block(sdk::Axis::drug, graph_cdr::kGraph).width,
               params.integer("hidden"),
               params.integer("latent"),
               params.integers("graph_units"),
               params.integer("drug_width")},
        options_{params.text("variant") == "reference",
                 params.real("learning_rate"),
                 params.real("discriminator_rate"),
                 params.real("lambda"),
                 params.integer("batch_size"),
                 params.integer("target_batch_size"),
                 params.integer("epochs"),
                 params.integer("min_steps"),
                 params.integer("patience")} {
    graph_cdr::check_problem(problem, "PANCDR");
    if (sizes_.graph_units.size() + 1 != static_cast<std::size_t>(graph_cdr::kGraphLayers)) {
      throw sdk::Error(CDRZOO_E_PARAM, "graph_units needs 3 widths (drug_width is the fourth)");
    }
  }

  void fit(sdk::Context& context, const sdk::FitData& data) override {
    const sdk::TorchGuard guard(context, sdk::Grad::on);
    const torch::Device device = sdk::device_of(context);
    const Rows train(data.train, {graph_cdr::kExpression}, device);
    graph_cdr::check_targets(train);
    unit_ = binary_ || options_.reference ? sdk::TargetUnit() : sdk::TargetUnit::of(train.y());
    std::optional<Rows> valid;
    if (data.valid) valid.emplace(*data.valid, std::vector<std::string>{graph_cdr::kExpression}, device);
    net_ = Pancdr(sizes_);
    net_->to(device);

    torch::optim::Adam response(net_->response_parameters(), torch::optim::AdamOptions(options_.learning_rate));
    torch::optim::Adam discriminator(net_->discriminator->parameters(),
                                     torch::optim::AdamOptions(options_.discriminator_rate));
    const sdk::Batches batches(context, train.size(), options_.batch_size);
    TargetBatches targets(context, target_samples(context, data, device), options_.target_batch_size,
                          /*replay=*/options_.reference);
    std::optional<graph_cdr::Watch> watch;
    if (valid) watch.emplace(unit_.to_network(valid->y()), binary_, options_.reference);
    graph_cdr::Epochs epochs(context, options_.epochs, options_.min_steps, batches.per_epoch(), options_.patience,
                             std::move(watch));
    for (std::int64_t epoch = 0; epoch < epochs.size(); ++epoch) {
      context.step("epoch " + std::to_string(epoch + 1));
      net_->train();
      targets.start_epoch(epoch);
      torch::Tensor sum = torch::zeros({}, device);
      std::int64_t n_steps = 0;
      for (const auto& rows : batches.epoch(static_cast<std::uint64_t>(epoch))) {
        if (rows.size(0) < options_.batch_size && n_steps > 0) continue;  // an incomplete last batch
        const torch::Tensor target = targets.next();
        sdk::Pairs pairs = train.pairs.select(rows);
        pairs.target = unit_.to_network(pairs.target);
        const auto batch = pancdr::source_batch(train.blocks[0], train.molecules, pairs);
        const auto losses = pancdr::iterate(net_, {response, discriminator}, batch, target, noise_for(rows, target),
                                            options_.lambda, binary_);
        sum += losses.total.detach();
        ++n_steps;
      }
      const double train_loss = sum.item<double>() / static_cast<double>(n_steps);
      if (epochs.done(epoch, train_loss, *net_, [&] { return outputs(context, *valid, options_.reference); })) break;
    }
    epochs.finish(*net_);
  }

  void predict(sdk::Context& context, const sdk::View& query, sdk::Predictions& out) const override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    if (query.n_obs() == 0) return;
    const Rows rows(query, {graph_cdr::kExpression}, sdk::device_of(context));
    const torch::Tensor f = outputs(context, rows, options_.reference);
    sdk::copy_to(binary_ ? torch::sigmoid(f) : unit_.from_network(f), out.mean());
  }

  void embed(sdk::Context& context, sdk::Axis axis, const sdk::View& view, sdk::Matrix<float> out) const override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    const torch::Device device = sdk::device_of(context);
    net_->to(device);
    switch (axis) {
      case sdk::Axis::sample:
        return sdk::copy_to(
            net_->encoder->forward(sdk::floats_of(view.samples().dense(graph_cdr::kExpression), device)).mu, out);
      case sdk::Axis::drug: {
        const graph_cdr::Molecules molecules(sdk::graphs_of(view.drugs().graphs(graph_cdr::kGraph)),
                                             graph_cdr::kGraphLayers, graph_cdr::kPadded);
        return sdk::copy_to(drug_vectors(molecules, device), out);
      }
      case sdk::Axis::gene: break;
    }
    throw sdk::Error(CDRZOO_E_UNSUPPORTED, "PANCDR embeds samples and drugs");
  }

  void save(sdk::Context&, sdk::StateWriter& state) const override {
    sdk::save_module(state, *net_);
    unit_.save(state);
  }

  void load(sdk::Context& context, sdk::StateReader& state) override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    net_ = Pancdr(sizes_);
    sdk::load_module(state, *net_);
    unit_.load(state);
    net_->eval();
  }

  [[nodiscard]] sdk::ModelInfo info() const override {
    sdk::ModelInfo info;
    info.n_parameters = net_.is_empty() ? 0 : sdk::n_parameters(*net_);
    info.embed_dim_sample = sizes_.latent;
    info.embed_dim_drug = sizes_.drug_width;
    info.bytes = static_cast<std::uint64_t>(info.n_parameters) * sizeof(float);
    return info;
  }

 private:
  /// f32 [m, genes], in the order of their first use; undefined where the host gives none.
  [[nodiscard]] static torch::Tensor target_samples(const sdk::Context& context, const sdk::FitData& data,
                                                    torch::Device device) {
    if (!data.unlabelled_target || data.unlabelled_target->samples().size() == 0) {
      context.info("there is no unlabelled target: PANCDR trains without its discriminator");
      return {};
    }
    torch::Tensor x = sdk::floats_of(data.unlabelled_target->samples().dense(graph_cdr::kExpression));
    if (data.unlabelled_target->has(sdk::Column::sample)) {
      torch::Tensor index = sdk::index_of(data.unlabelled_target->sample());
      sdk::order_by_first_use(x, index);
    }
    return x.to(device);
  }

  [[nodiscard]] pancdr::Noise noise_for(const torch::Tensor& rows, const torch::Tensor& target) const {
    const auto normal = [this](std::int64_t n, torch::Device device) {
      return torch::randn({n, sizes_.latent}).to(device);  // drawn on the CPU: the same on every device
    };
    if (!target.defined()) return {{}, {}, normal(rows.size(0), net_->parameters()[0].device()), {}};
    const torch::Device device = target.device();
    return {normal(rows.size(0), device), normal(target.size(0), device), normal(rows.size(0), device),
            normal(target.size(0), device)};
  }

  [[nodiscard]] torch::Tensor drug_vectors(const graph_cdr::Molecules& molecules, torch::Device device) const {
    const std::int64_t n = molecules.size();
    return net_->predictor->drug_vectors(molecules.batch(torch::arange(n), torch::ones({n}, torch::kInt64)).to(device));
  }

  /// Logits or responses f32 [n]: every entity encoded once, pairs in chunks.
  /// \p noisy  codes are drawn, as the reference does, by keys of sample and drug: a row depends on itself alone
  [[nodiscard]] torch::Tensor outputs(const sdk::Context& context, const Rows& rows, bool noisy) const {
    net_->eval();
    const torch::Device device = rows.blocks[0].device();
    net_->to(device);
    const pancdr::Code code = net_->encoder->forward(rows.blocks[0]);
    const torch::Tensor drugs = drug_vectors(rows.molecules, device);
    return graph_cdr::in_chunks(
        context, rows.size(), graph_cdr::kPairsPerChunk, [&](std::int64_t first, std::int64_t n) {
          const torch::Tensor sample = rows.pairs.sample.narrow(0, first, n);
          const torch::Tensor drug = rows.pairs.drug.narrow(0, first, n);
          const pancdr::Code codes = code.select(sample);
          return net_->predictor->respond(drugs.index_select(0, drug),
                                          noisy ? codes.sample(noise_of(context, rows, sample, drug)) : codes.mu);
        });
  }

  [[nodiscard]] torch::Tensor noise_of(const sdk::Context& context, const Rows& rows, const torch::Tensor& sample,
                                       const torch::Tensor& drug) const {
    const torch::Tensor s = sample.to(torch::kCPU);
    const torch::Tensor d = drug.to(torch::kCPU);
    torch::Tensor noise = torch::empty({s.size(0), sizes_.latent});
    auto* to = noise.data_ptr<float>();
    for (std::int64_t i = 0; i < s.size(0); ++i) {
      const auto key_of = [i](const std::vector<std::int64_t>& keys, const torch::Tensor& index) {
        return static_cast<std::uint64_t>(keys[static_cast<std::size_t>(index.data_ptr<std::int64_t>()[i])]);
      };
      sdk::Random random = context.random(key_of(rows.sample_key, s) * 0x9E3779B97F4A7C15U + key_of(rows.drug_key, d));
      for (std::int64_t j = 0; j < sizes_.latent; ++j) *to++ = static_cast<float>(random.normal());
    }
    return noise.to(sample.device());
  }

  bool binary_;
  sdk::TargetUnit unit_;
  pancdr::Sizes sizes_;
  Options options_;
  mutable Pancdr net_{nullptr};  // predict moves it to the device of its call
};

}  // namespace

CDRZOO_EXPORT_PLUGIN(sdk::model<PancdrModel>(kPancdrCard))
