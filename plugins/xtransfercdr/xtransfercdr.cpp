// SPDX-License-Identifier: Apache-2.0
// xtransfercdr: XTransferCDR as a plugin.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cdrzoo/torch.hpp>
#include <cdrzoo/torch_optim.hpp>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "cards.h"
#include "sampler.hpp"
#include "training.hpp"

namespace {

namespace sdk = cdrzoo::sdk;
using namespace cdrzoo::xtransfercdr;

constexpr const char* kExpression = "expression";
constexpr std::int64_t kLeastBatch = 32;      // to which min_steps may shrink one
constexpr std::int64_t kRowsPerChunk = 1024;  // of a prediction; also how often it can be cancelled

struct Options {
  bool released = false;           ///< pairs drawn once, triples alone where there are some, and no min_steps
  bool cell = true, drug = false;  ///< both: in turn
  double noise = 0.1, learning_rate = 2e-4, weight_decay = 5e-4, decay = 0.5;
  std::int64_t epochs = 60, decay_epochs = 8, batch_size = 512, max_pairs = 0, min_steps = 0;
};

Sizes sizes_of(const sdk::Problem& problem, const sdk::Params& params) {
  Sizes sizes;
  sizes.genes = problem.block(sdk::Axis::sample, kExpression).width;
  sizes.hidden = params.integers("hidden");
  sizes.latent = params.integer("latent");
  sizes.residual_blocks = params.integer("residual_blocks");
  sizes.dropout = params.real("dropout");
  sizes.latent_relu = params.text("latent_activation") == "relu";
  if (sizes.hidden.size() != 3) {
    throw sdk::Error(CDRZOO_E_PARAM, "hidden has " + std::to_string(sizes.hidden.size()) + " widths, 3 were expected");
  }
  if (sizes.genes != problem.n_targets) {
    throw sdk::Error(CDRZOO_E_UNSUPPORTED, "XTransferCDR predicts the genes that it reads, but the profiles have " +
                                               std::to_string(problem.n_targets) + " and the samples " +
                                               std::to_string(sizes.genes));
  }
  return sizes;
}

Objective objective_of(const sdk::Params& params) {
  Objective objective;
  objective.weights = {params.real("reconstruction"), params.real("cross_transfer"), params.real("control"),
                       params.real("agreement"),      params.real("orthogonality"),  params.real("combination"),
                       params.real("encoded_control")};
  objective.form = params.text("orthogonality_form") == "dot2" ? Orthogonality::dot2 : Orthogonality::cos2;
  objective.encode_controls = params.boolean("encode_controls");
  objective.joint_norm = params.text("batch_norm") == "joint";
  return objective;
}

Options options_of(const sdk::Params& params) {
  const std::string& mode = params.text("mode");
  return {params.text("variant") == "reference",
          mode != "drug",
          mode != "cell",
          params.real("noise"),
          params.real("learning_rate"),
          params.real("weight_decay"),
          params.real("decay"),
          params.integer("epochs"),
          params.integer("decay_epochs"),
          params.integer("batch_size"),
          params.integer("max_pairs_per_epoch"),
          params.text("variant") == "reference" ? 0 : params.integer("min_steps")};
}

/// The measured profiles of a training view, where the host has mapped them: only what a batch names is read, and of
/// sparse profiles only a batch is ever dense.
class Profiles {
 public:
  Profiles(const sdk::View& train, torch::Device device)
      : treated_(train.target_rows()), controls_(train.samples().dense(kExpression).f32()), device_(device) {}

  [[nodiscard]] PairBatch gather(const ItemBatch& batch) const {
    for (const Item& item : batch.items) {
      treated_.will_need(item.left);
      treated_.will_need(item.right);
      if (batch.combined) treated_.will_need(item.both);
    }
    const auto part = [&](const sdk::TargetRows& from, std::int64_t Item::*row) {
      torch::Tensor out = torch::empty({static_cast<std::int64_t>(batch.items.size()), from.cols()});
      auto* to = out.data_ptr<float>();
      at::parallel_for(0, out.size(0), /*grain_size=*/64, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i)
          from.copy_row(batch.items[static_cast<std::size_t>(i)].*row, to + i * from.cols());
      });
      return out.to(device_);
    };
    return {part(treated_, &Item::left), part(treated_, &Item::right), part(controls_, &Item::left_control),
            part(controls_, &Item::right_control), batch.combined ? part(treated_, &Item::both) : torch::Tensor()};
  }

 private:
  sdk::TargetRows treated_, controls_;
  torch::Device device_;
};

class XTransferCdr final : public sdk::Model {
 public:
  XTransferCdr(const sdk::Problem& problem, const sdk::Params& params)
      : sizes_(sizes_of(problem, params)), objective_(objective_of(params)), options_(options_of(params)) {}

  void fit(sdk::Context& context, const sdk::FitData& data) override {
    const sdk::TorchGuard guard(context, sdk::Grad::on);
    const torch::Device device = sdk::device_of(context);
    if (data.train.n_obs() == 0) throw sdk::Error(CDRZOO_E_DATA, "there are no treated profiles to train on");
    if (data.train.has_target_mask()) throw sdk::Error(CDRZOO_E_DATA, "XTransferCDR knows no missing values");
    const Profiles profiles(data.train, device);
    const PairSampler sampler(Treated::of(data.train));
    net_ = XTransfer(sizes_);
    net_->to(device);
    net_->train();
    sdk::Adam adam(net_->parameters(), sdk::WeightDecay::adam(options_.weight_decay));
    const Schedule schedule = schedule_of(context, sampler);
    context.info(std::to_string(sampler.n_items()) + " items per epoch, " + std::to_string(sampler.n_combined()) +
                 " of them with a profile of two perturbations; " + std::to_string(schedule.epochs) +
                 " epochs in batches of " + std::to_string(schedule.batch_size));
    bool negative = false;
    for (std::int64_t epoch = 0; epoch < schedule.epochs; ++epoch) {
      context.step("epoch " + std::to_string(epoch + 1));
      // More epochs are the same schedule, slower.
      const std::int64_t published = epoch * options_.epochs / schedule.epochs;
      const std::int64_t decays = published / options_.decay_epochs;
      const double rate = options_.learning_rate * std::pow(options_.decay, static_cast<double>(decays));
      torch::Tensor sum = torch::zeros({}, device);
      const std::vector<ItemBatch> batches = batches_of(context, sampler, schedule.batch_size, epoch);
      for (const ItemBatch& items : batches) {
        context.check_cancelled();
        const PairBatch batch = profiles.gather(items);
        if (epoch == 0 && !negative) negative = warn_of_negative(context, batch);
        const Noise noise = Noise::draw(batch, objective_, sizes_.latent, options_.noise);
        adam.zero_grad();
        const torch::Tensor loss =
            losses(pass(net_, batch, items.mode, noise, objective_), batch, items.mode, objective_)
                .total(objective_.weights);
        loss.backward();
        adam.step(rate);
        sum += loss.detach();
      }
      const double mean = sum.item<double>() / static_cast<double>(batches.size());
      if (!std::isfinite(mean)) throw sdk::Error(CDRZOO_E_NUMERIC, "the training loss is not finite");
      context.progress("epochs", static_cast<std::uint64_t>(epoch + 1), static_cast<std::uint64_t>(schedule.epochs),
                       {{"train_loss", mean}});
    }
    net_->eval();
  }

  /// (13), (14). A row without a reference for each of its perturbations cannot be said anything about.
  void predict(sdk::Context& context, const sdk::View& query, sdk::Predictions& out) const override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    const Asked asked = asked_of(query, out);
    if (asked.rows.empty()) return;
    const sdk::DenseBlock profiles = query.samples().dense(kExpression);
    const torch::Device device = sdk::device_of(context);
    net_->to(device);
    const sdk::Unique states = sdk::unique_of(torch::tensor(asked.state, torch::kInt64));
    const sdk::Unique references = sdk::unique_of(
        torch::cat({torch::tensor(asked.first, torch::kInt64), torch::tensor(asked.second, torch::kInt64)}));
    const torch::Tensor s = encode(context, net_->state, profiles, states.entity, device);
    const torch::Tensor p = encode(context, net_->perturbation, profiles, references.entity, device);
    const auto n_rows = static_cast<std::int64_t>(asked.rows.size());
    for (std::int64_t begin = 0; begin < n_rows; begin += kRowsPerChunk) {
      context.check_cancelled();
      const std::int64_t count = std::min(kRowsPerChunk, n_rows - begin);
      const auto gather = [&](const torch::Tensor& latents, const sdk::Unique& of, std::int64_t first) {
        return latents.index_select(0, of.index.narrow(0, first, count).to(device));
      };
      const torch::Tensor latent =
          gather(s, states, begin) + gather(p, references, begin) + gather(p, references, n_rows + begin);
      const torch::Tensor x = net_->decoder->forward(latent).to(torch::kCPU).contiguous();
      const auto* values = x.data_ptr<float>();
      for (std::int64_t i = 0; i < count; ++i) {
        std::copy_n(values + i * sizes_.genes, sizes_.genes,
                    out.mean().row(asked.rows[static_cast<std::size_t>(begin + i)]).begin());
      }
    }
  }

  /// The state of each sample.
  void embed(sdk::Context& context, sdk::Axis axis, const sdk::View& view, sdk::Matrix<float> out) const override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    if (axis != sdk::Axis::sample) throw sdk::Error(CDRZOO_E_UNSUPPORTED, "XTransferCDR embeds samples");
    const torch::Device device = sdk::device_of(context);
    net_->to(device);
    const sdk::DenseBlock profiles = view.samples().dense(kExpression);
    sdk::copy_to(encode(context, net_->state, profiles, torch::arange(profiles.rows()), device), out);
  }

  void save(sdk::Context&, sdk::StateWriter& state) const override { sdk::save_module(state, *net_); }

  void load(sdk::Context& context, sdk::StateReader& state) override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    net_ = XTransfer(sizes_);
    sdk::load_module(state, *net_);
    net_->eval();
  }

  [[nodiscard]] sdk::ModelInfo info() const override {
    sdk::ModelInfo info;
    info.n_parameters = net_.is_empty() ? 0 : sdk::n_parameters(*net_);
    info.embed_dim_sample = sizes_.latent;
    info.bytes = static_cast<std::uint64_t>(info.n_parameters) * sizeof(float);
    return info;
  }

 private:
  struct Schedule {
    std::int64_t batch_size, epochs;
  };
  /// As the parameters say or, where that makes fewer than min_steps steps, in smaller batches, and then more epochs.
  [[nodiscard]] Schedule schedule_of(const sdk::Context& context, const PairSampler& sampler) const {
    if (options_.min_steps == 0) return {options_.batch_size, options_.epochs};
    const std::int64_t items =
        options_.max_pairs > 0 ? std::min(options_.max_pairs, sampler.n_items()) : sampler.n_items();
    const std::int64_t modes = options_.cell && options_.drug ? 2 : 1;
    const std::int64_t batch_size =
        std::min(options_.batch_size, std::max(kLeastBatch, items * modes * options_.epochs / options_.min_steps));
    const auto steps = static_cast<std::int64_t>(batches_of(context, sampler, batch_size, 0).size());
    return {batch_size, std::max(options_.epochs, (options_.min_steps + steps - 1) / steps)};
  }

  /// Those of an epoch; where both modes are wanted, one pass of each, triples in the first.
  [[nodiscard]] std::vector<ItemBatch> batches_of(const sdk::Context& context, const PairSampler& sampler,
                                                  std::int64_t batch_size, std::int64_t epoch) const {
    using Triples = PairSampler::Options::Triples;
    std::vector<ItemBatch> all;
    for (const Mode mode : {Mode::cell, Mode::drug}) {
      const bool drug = mode == Mode::drug;
      if (!(drug ? options_.drug : options_.cell)) continue;
      const auto stream = [&](const char* name, std::int64_t number) {
        return context.random(std::string(name) + (drug ? " drug " : " cell ") + std::to_string(number));
      };
      const Triples triples = drug && options_.cell ? Triples::none
                              : options_.released   ? Triples::alone
                                                    : Triples::with_pairs;
      const auto some = sampler.epoch(stream("order", epoch), stream("partners", options_.released ? 0 : epoch).u64(),
                                      {batch_size, options_.max_pairs, mode, triples});
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  /// The rows of a query that can be predicted, and the profiles whose latents are added: numbers of samples.
  struct Asked {
    std::vector<std::int64_t> rows, state, first;
    std::vector<std::int64_t> second;  ///< kNone = a single
  };
  static constexpr std::int64_t kNone = -1;
  /// Marks the others as unsupported. The state of a double is that of a reference which was measured in the row's own
  /// context; without one it is the control's, as for a single.
  [[nodiscard]] static Asked asked_of(const sdk::View& query, const sdk::Predictions& out) {
    const auto control = query.control();
    const auto context = query.context();
    const auto drug_b = query.drug_b();
    const auto reference = query.reference();
    const auto reference_b = query.reference_b();
    const auto reference_context = query.reference_context();
    const auto reference_b_context = query.reference_b_context();
    Asked asked;
    for (std::int64_t i = 0; i < query.n_obs(); ++i) {
      const bool two = drug_b[i] >= 0;
      std::int64_t state = control[i];
      if (two && reference[i] >= 0 && reference_context[i] == context[i]) {
        state = reference[i];
      } else if (two && reference_b[i] >= 0 && reference_b_context[i] == context[i]) {
        state = reference_b[i];
      }
      if (state < 0 || reference[i] < 0 || (two && reference_b[i] < 0)) {
        out.unsupported(i);
        continue;
      }
      asked.rows.push_back(i);
      asked.state.push_back(state);
      asked.first.push_back(reference[i]);
      asked.second.push_back(two ? reference_b[i] : kNone);
    }
    return asked;
  }

  /// Whether there was a reason to.
  static bool warn_of_negative(const sdk::Context& context, const PairBatch& batch) {
    for (const auto* profiles : {&batch.left, &batch.both, &batch.left_control, &batch.right_control}) {
      if (!profiles->defined()) continue;
      const double least = profiles->min().item<double>();
      if (least >= 0) continue;
      context.warn("profiles have values down to " + std::to_string(least) +
                   ": XTransferCDR predicts no values below 0");
      return true;
    }
    return false;
  }

  /// Latents of some samples, f32 [u, latent], each encoded once; of kNone they are 0.
  [[nodiscard]] torch::Tensor encode(const sdk::Context& context, Coder encoder, const sdk::DenseBlock& profiles,
                                     const torch::Tensor& which, torch::Device device) const {
    const torch::Tensor all = sdk::borrow(profiles);
    std::vector<torch::Tensor> latents;
    for (const torch::Tensor& part : which.split(kRowsPerChunk)) {
      context.check_cancelled();
      const torch::Tensor x = all.index_select(0, part.clamp_min(0)).to(device, torch::kFloat32);
      latents.push_back(encoder->forward(x) * (part != kNone).to(device).unsqueeze(1));
    }
    return torch::cat(latents);
  }

  Sizes sizes_;
  Objective objective_;
  Options options_;
  mutable XTransfer net_{nullptr};  // predict moves it to the device of its call
};

}  // namespace

CDRZOO_EXPORT_PLUGIN(sdk::model<XTransferCdr>(kXtransfercdrCard))
