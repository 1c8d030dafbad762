// SPDX-License-Identifier: Apache-2.0
// baseline.deepcdr: graph convolutions over a drug's atoms, a branch per kind of omics, and 1-D convolutions over both.
// README.md has the equations.
#include <cdrzoo/torch.hpp>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "../graph_cdr/pairs.hpp"
#include "cards.h"
#include "losses.hpp"
#include "networks.hpp"

namespace {

using namespace cdrzoo;
using deepcdr::DeepCdr;
using deepcdr::Preset;
using graph_cdr::Rows;
using graph_cdr::Sharing;

constexpr const char* kMutation = "mutation";
constexpr const char* kMethylation = "methylation";
constexpr std::int64_t kSamplesPerChunk = 64;  // of a prediction: the mutation branch is wide

struct Options {
  bool reference, standardise;
  Sharing sharing;  ///< of rows in training; predictions share all
  double learning_rate;
  std::int64_t batch_size, epochs, min_steps, patience;
};

class DeepCdrModel final : public sdk::Model {
 public:
  DeepCdrModel(const sdk::Problem& problem, const sdk::Params& params)
      : binary_(problem.task == sdk::Task::binary),
        options_{params.text("variant") == "reference",
                 params.boolean("standardise") && params.text("variant") != "reference",
                 params.text("variant") == "reference" || params.text("gcn_dropout_mode") == "per_pair"
                     ? Sharing::pairs
                     : Sharing::drugs,
                 params.real("learning_rate"),
                 params.integer("batch_size"),
                 params.integer("epochs"),
                 params.integer("min_steps"),
                 params.integer("patience")} {
    graph_cdr::check_problem(problem, "DeepCDR");
    sizes_.preset = params.text("preset") == "deepcdr-keras" ? Preset::keras : Preset::pancdr;
    sizes_.mean_at_first = !options_.reference;
    sizes_.genes = problem.block(sdk::Axis::sample, graph_cdr::kExpression).width;
    sizes_.atom_features = problem.block(sdk::Axis::drug, graph_cdr::kGraph).width;
    const auto* mutation = problem.find(sdk::Axis::sample, kMutation);
    if (mutation != nullptr && sizes_.preset == Preset::keras) {
      blocks_.emplace_back(kMutation);
      sizes_.mutations = mutation->width;
    }
    const auto* methylation = problem.find(sdk::Axis::sample, kMethylation);
    if (methylation != nullptr && sizes_.preset == Preset::keras) {
      blocks_.emplace_back(kMethylation);
      sizes_.methylation = methylation->width;
    }
    sizes_.graph_units = params.integers("graph_units");
    sizes_.graph_units.push_back(params.integer("drug_width"));
    if (sizes_.graph_units.size() != static_cast<std::size_t>(graph_cdr::kGraphLayers)) {
      throw sdk::Error(CDRZOO_E_PARAM, "graph_units needs 3 widths (drug_width is the fourth)");
    }
    sizes_.hidden = params.integer("hidden");
    sizes_.sample_width = params.integer("sample_width");
    sizes_.dropout = params.real("dropout");
    sizes_.flat_dropout = params.real("output_dropout");
    // Without dropout nothing is drawn per row: equal surroundings stay equal.
    if (sizes_.dropout == 0) options_.sharing = Sharing::surroundings;
  }

  void fit(sdk::Context& context, const sdk::FitData& data) override {
    const sdk::TorchGuard guard(context, sdk::Grad::on);
    const torch::Device device = sdk::device_of(context);
    const Rows train(data.train, blocks_, device);
    graph_cdr::check_targets(train);
    gene_unit_of(train.blocks[expression_at()]);
    unit_ = binary_ || options_.reference ? sdk::TargetUnit() : sdk::TargetUnit::of(train.y());
    std::optional<Rows> valid;
    if (data.valid) valid.emplace(*data.valid, blocks_, device);
    net_ = DeepCdr(sizes_);
    net_->to(device);

    // Keras' Adam has a larger epsilon than LibTorch's.
    torch::optim::Adam optimizer(
        net_->parameters(),
        torch::optim::AdamOptions(options_.learning_rate).eps(sizes_.preset == Preset::keras ? 1e-7 : 1e-8));
    const sdk::Batches batches(context, train.size(), options_.batch_size, {true, /*min_rows=*/2, "batches"});
    std::optional<graph_cdr::Watch> watch;
    if (valid) watch.emplace(unit_.to_network(valid->y()), binary_, options_.reference);
    graph_cdr::Epochs epochs(context, options_.epochs, options_.min_steps, batches.per_epoch(), options_.patience,
                             std::move(watch));
    for (std::int64_t epoch = 0; epoch < epochs.size(); ++epoch) {
      context.step("epoch " + std::to_string(epoch + 1));
      net_->train();
      torch::Tensor sum = torch::zeros({}, device);
      for (const auto& rows : batches.epoch(static_cast<std::uint64_t>(epoch))) {
        const torch::Tensor loss =
            loss_of(train_outputs(train, rows), unit_.to_network(train.pairs.select(rows).target.squeeze(1)));
        optimizer.zero_grad();
        loss.backward();
        optimizer.step();
        sum += loss.detach();
      }
      const double train_loss = sum.item<double>() / static_cast<double>(batches.per_epoch());
      if (epochs.done(epoch, train_loss, *net_, [&] { return outputs(context, *valid); })) break;
    }
    epochs.finish(*net_);
  }

  void predict(sdk::Context& context, const sdk::View& query, sdk::Predictions& out) const override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    if (query.n_obs() == 0) return;
    const torch::Tensor f = outputs(context, Rows(query, blocks_, sdk::device_of(context)));
    sdk::copy_to(binary_ ? torch::sigmoid(f) : unit_.from_network(f), out.mean());
  }

  void embed(sdk::Context& context, sdk::Axis axis, const sdk::View& view, sdk::Matrix<float> out) const override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    const torch::Device device = sdk::device_of(context);
    net_->to(device);
    switch (axis) {
      case sdk::Axis::sample: {
        std::vector<torch::Tensor> blocks;
        for (const std::string& name : blocks_) {
          blocks.push_back(sdk::floats_of(view.samples().dense(name), device));
        }
        return sdk::copy_to(sample_vectors(context, blocks), out);
      }
      case sdk::Axis::drug: {
        const graph_cdr::Molecules molecules(sdk::graphs_of(view.drugs().graphs(graph_cdr::kGraph)),
                                             graph_cdr::kGraphLayers, graph_cdr::kPadded);
        return sdk::copy_to(drug_vectors(molecules, device), out);
      }
      case sdk::Axis::gene: break;
    }
    throw sdk::Error(CDRZOO_E_UNSUPPORTED, "DeepCDR embeds samples and drugs");
  }

  void save(sdk::Context&, sdk::StateWriter& state) const override {
    for (const auto& tensor : deepcdr::reference_state(*net_, sizes_.preset)) {
      sdk::save_tensor(state, tensor.key, tensor.stored());
    }
    unit_.save(state);
    sdk::save_tensor(state, "expression_mean", gene_mean_);
    sdk::save_tensor(state, "expression_scale", gene_scale_);
  }

  void load(sdk::Context& context, sdk::StateReader& state) override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    net_ = DeepCdr(sizes_);
    for (const auto& tensor : deepcdr::reference_state(*net_, sizes_.preset)) {
      const torch::Tensor values = sdk::borrow(state.array(tensor.key));
      if (values.sizes() != torch::IntArrayRef(tensor.shape) || values.scalar_type() != tensor.view.scalar_type()) {
        throw sdk::Error(CDRZOO_E_CORRUPT, "the state tensor \"" + tensor.key + "\" has another shape or dtype");
      }
      tensor.assign(values);
    }
    unit_.load(state);
    const auto genes = {sizes_.genes};
    gene_mean_ = torch::tensor(state.vector<float>("expression_mean", genes));
    gene_scale_ = torch::tensor(state.vector<float>("expression_scale", genes));
    net_->eval();
  }

  [[nodiscard]] sdk::ModelInfo info() const override {
    sdk::ModelInfo info;
    info.n_parameters = net_.is_empty() ? 0 : sdk::n_parameters(*net_);
    info.embed_dim_sample = sizes_.sample_width * static_cast<std::int64_t>(blocks_.size());
    info.embed_dim_drug = sizes_.graph_units.back();
    info.bytes = static_cast<std::uint64_t>(info.n_parameters) * sizeof(float);
    return info;
  }

 private:
  [[nodiscard]] torch::Tensor loss_of(const torch::Tensor& output, const torch::Tensor& y) const {
    return binary_ ? deepcdr::cross_entropy(output, y) : deepcdr::squared_error(output, y);
  }

  [[nodiscard]] std::size_t expression_at() const { return 0; }  // blocks_ begins with it

  /// The unit of each gene: its deviation about its mean over the training samples; its own where genes stay as they
  /// are.
  void gene_unit_of(const torch::Tensor& expression) {
    gene_mean_ = torch::zeros({sizes_.genes});
    gene_scale_ = torch::ones({sizes_.genes});
    if (!options_.standardise) return;
    gene_mean_ = expression.mean(/*dim=*/0).to(torch::kCPU);
    const torch::Tensor deviation = expression.std(/*dim=*/0, /*unbiased=*/false).to(torch::kCPU);
    gene_scale_ = torch::where(deviation > 1e-6, deviation, gene_scale_);
  }

  /// The blocks of some samples, i64 [u], by their names.
  [[nodiscard]] deepcdr::Samples samples_of(const std::vector<torch::Tensor>& blocks,
                                            const torch::Tensor& which) const {
    deepcdr::Samples samples;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      torch::Tensor values = blocks[i].index_select(0, which);
      if (i == expression_at()) {
        values = (values - gene_mean_.to(values.device())) / gene_scale_.to(values.device());
      }
      (blocks_[i] == kMutation      ? samples.mutation
       : blocks_[i] == kMethylation ? samples.methylation
                                    : samples.expression) = values;
    }
    return samples;
  }

  /// A mini-batch, every sample and drug encoded once; drugs once per pair where the dropout mode asks for it.
  [[nodiscard]] torch::Tensor train_outputs(const Rows& train, const torch::Tensor& rows) const {
    const sdk::Pairs pairs = train.pairs.select(rows);
    const sdk::Unique samples = sdk::unique_of(pairs.sample);
    deepcdr::Samples batch = samples_of(train.blocks, samples.entity);
    batch.multiplicity = samples.count.to(torch::kFloat32);
    batch.n_rows = static_cast<double>(rows.size(0));
    const torch::Tensor sample = net_->sample_vectors(batch).index_select(0, samples.index);
    const torch::Device device = pairs.drug.device();
    if (options_.sharing == Sharing::pairs) {
      const auto drugs = train.molecules.batch(pairs.drug, torch::ones_like(pairs.drug), Sharing::pairs);
      return net_->respond(net_->drug_vectors(drugs.to(device)), sample);
    }
    const sdk::Unique unique = sdk::unique_of(pairs.drug);
    const auto drugs = train.molecules.batch(unique.entity, unique.count, options_.sharing);
    return net_->respond(net_->drug_vectors(drugs.to(device)).index_select(0, unique.index), sample);
  }

  [[nodiscard]] torch::Tensor drug_vectors(const graph_cdr::Molecules& molecules, torch::Device device) const {
    const std::int64_t n = molecules.size();
    return net_->drug_vectors(molecules.batch(torch::arange(n), torch::ones({n}, torch::kInt64)).to(device));
  }

  [[nodiscard]] torch::Tensor sample_vectors(const sdk::Context& context,
                                             const std::vector<torch::Tensor>& blocks) const {
    return graph_cdr::in_chunks(context, blocks[0].size(0), kSamplesPerChunk, [&](std::int64_t first, std::int64_t n) {
      return net_->sample_vectors(
          samples_of(blocks, torch::arange(first, first + n, torch::kInt64).to(blocks[0].device())));
    });
  }

  /// Logits or responses f32 [n] without dropout: every entity encoded once, pairs in chunks.
  [[nodiscard]] torch::Tensor outputs(const sdk::Context& context, const Rows& rows) const {
    net_->eval();
    const torch::Device device = rows.blocks[0].device();
    net_->to(device);
    const torch::Tensor samples = sample_vectors(context, rows.blocks);
    const torch::Tensor drugs = drug_vectors(rows.molecules, device);
    return graph_cdr::in_chunks(context, rows.size(), graph_cdr::kPairsPerChunk,
                                [&](std::int64_t first, std::int64_t n) {
                                  return net_->respond(drugs.index_select(0, rows.pairs.drug.narrow(0, first, n)),
                                                       samples.index_select(0, rows.pairs.sample.narrow(0, first, n)));
                                });
  }

  bool binary_;
  sdk::TargetUnit unit_;
  torch::Tensor gene_mean_, gene_scale_;  // f32 [genes], on the CPU
  Options options_;
  deepcdr::Sizes sizes_;
  std::vector<std::string> blocks_{graph_cdr::kExpression};
  mutable DeepCdr net_{nullptr};  // predict moves it to the device of its call
};

}  // namespace

CDRZOO_EXPORT_PLUGIN(sdk::model<DeepCdrModel>(kDeepcdrCard))
