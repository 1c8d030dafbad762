// SPDX-License-Identifier: Apache-2.0
// Views as DeepCDR and PANCDR see them, and what their early stopping watches.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cdrzoo/torch.hpp>
#include <cdrzoo/torch_target_unit.hpp>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "molecules.hpp"

namespace cdrzoo::graph_cdr {

inline constexpr const char* kExpression = "expression";
inline constexpr const char* kGraph = "graph_deepcdr";
inline constexpr std::int64_t kPadded = 100;  // atoms of a drug in the published models
inline constexpr int kGraphLayers = 4;
inline constexpr std::int64_t kPairsPerChunk = 1024;  // of a prediction: bounds the memory, gives cancellation a chance

/// A view: unique samples and drugs once, in the order of their first use, and pairs as indices into them.
struct Rows {
  std::vector<torch::Tensor> blocks;  ///< f32 [samples, width] on the device, in the order of the names asked for
  std::vector<std::int64_t> sample_key, drug_key;
  Molecules molecules;
  sdk::Pairs pairs;  ///< on the device; only rows with an observed target, where there are labels

  Rows(const sdk::View& view, const std::vector<std::string>& names, torch::Device device)
      : Rows(view, names, device, sdk::observed_pairs_of(view)) {}
  [[nodiscard]] std::int64_t size() const { return pairs.sample.size(0); }
  /// f32 [n]
  [[nodiscard]] torch::Tensor y() const { return pairs.target.squeeze(/*dim=*/1); }

 private:
  Rows(const sdk::View& view, const std::vector<std::string>& names, torch::Device device, sdk::Pairs on_cpu)
      : Rows(view, names, device, on_cpu, sdk::renumber_by_first_use(on_cpu.sample, view.samples().size()),
             sdk::renumber_by_first_use(on_cpu.drug, view.drugs().size())) {}
  Rows(const sdk::View& view, const std::vector<std::string>& names, torch::Device device, const sdk::Pairs& on_cpu,
       const torch::Tensor& samples, const torch::Tensor& drugs)
      : sample_key(keys_of(view.samples(), samples)),
        drug_key(keys_of(view.drugs(), drugs)),
        molecules(sdk::graphs_of(view.drugs().graphs(kGraph)).select(drugs), kGraphLayers, kPadded) {
    for (const std::string& name : names) {
      blocks.push_back(sdk::floats_of(view.samples().dense(name)).index_select(0, samples).to(device));
    }
    pairs = {on_cpu.sample.to(device), on_cpu.drug.to(device),
             on_cpu.target.defined() ? on_cpu.target.to(device) : on_cpu.target};
  }
  [[nodiscard]] static std::vector<std::int64_t> keys_of(const sdk::Entities& entities, const torch::Tensor& order) {
    const auto keys = entities.keys();
    std::vector<std::int64_t> out;
    for (std::int64_t i = 0; i < order.size(0); ++i) out.push_back(keys[order[i].item<std::int64_t>()]);
    return out;
  }
};

/// Correlation of two vectors; 0 where either is constant.
[[nodiscard]] inline double pearson(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::Tensor x = a.to(torch::kFloat64) - a.to(torch::kFloat64).mean();
  const torch::Tensor y = b.to(torch::kFloat64) - b.to(torch::kFloat64).mean();
  const double norm = std::sqrt(x.square().sum().item<double>() * y.square().sum().item<double>());
  return norm > 0 ? (x * y).sum().item<double>() / norm : 0.0;
}

/// What early stopping watches, as a loss: minus AUROC for labels; the squared error of responses, in the variant
/// "reference" minus Pearson's r. Where these have no value (one class, one response), the loss of the outputs.
class Watch {
 public:
  Watch(const torch::Tensor& y, bool binary, bool reference) : y_(y), binary_(binary) {
    scored_ = (binary || reference) && y.size(0) > 1 && (y != y[0]).any().item<bool>();
  }
  [[nodiscard]] double loss(const torch::Tensor& outputs) const {
    if (!torch::isfinite(outputs).all().item<bool>()) return std::nan("");
    if (scored_) return binary_ ? -sdk::auroc(floats(outputs), floats(y_)) : -pearson(outputs, y_);
    return (binary_ ? torch::binary_cross_entropy_with_logits(outputs, y_) : (outputs - y_).square().mean())
        .item<double>();
  }

 private:
  [[nodiscard]] static std::vector<float> floats(const torch::Tensor& t) {
    const torch::Tensor flat = t.to(torch::kCPU, torch::kFloat32).contiguous();
    return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
  }

  torch::Tensor y_;
  bool binary_, scored_ = false;
};

/// f(first, n) over chunks of rows, asking for cancellation; the results one after the other.
template <class F>
[[nodiscard]] torch::Tensor in_chunks(const sdk::Context& context, std::int64_t n_rows, std::int64_t per_chunk,
                                      const F& f) {
  std::vector<torch::Tensor> chunks;
  for (std::int64_t first = 0; first < n_rows; first += per_chunk) {
    context.check_cancelled();
    chunks.push_back(f(first, std::min(per_chunk, n_rows - first)));
  }
  return torch::cat(chunks);
}

/// When training ends: early stopping over epochs, of which there are so many that \p min_steps steps are made, and
/// before which none is chosen.
class Epochs {
 public:
  /// \p watch: of the early-stopping rows, or none.
  Epochs(const sdk::Context& context, std::int64_t epochs, std::int64_t min_steps, std::int64_t per_epoch,
         std::int64_t patience, std::optional<Watch> watch)
      : context_(context),
        watch_(std::move(watch)),
        n_(std::max(epochs, (min_steps + per_epoch - 1) / per_epoch)),
        min_steps_(min_steps),
        per_epoch_(per_epoch),
        stop_(patience, /*min_delta=*/0.0) {}
  [[nodiscard]] std::int64_t size() const { return n_; }

  /// \p epoch from 0; \p outputs(), those of the early-stopping rows, are asked for where an epoch can be chosen.
  /// \returns whether training ends here. \throws Error if the training loss is not finite.
  template <class F>
  [[nodiscard]] bool done(std::int64_t epoch, double train_loss, const torch::nn::Module& net, const F& outputs) {
    if (!std::isfinite(train_loss)) throw sdk::Error(CDRZOO_E_NUMERIC, "the training loss is not finite");
    const auto passed = static_cast<std::uint64_t>(epoch + 1);
    const auto total = static_cast<std::uint64_t>(n_);
    if (!watch_ || ((epoch + 1) * per_epoch_ < min_steps_ && epoch + 1 != n_)) {
      context_.progress("epochs", passed, total, {{"train_loss", train_loss}});
      return false;
    }
    const torch::NoGradGuard no_grad;
    const double valid_loss = watch_->loss(outputs());
    context_.progress("epochs", passed, total, {{"train_loss", train_loss}, {"valid_loss", valid_loss}});
    return stop_.update(valid_loss, net);
  }
  /// The weights of the chosen epoch, without early-stopping rows of the last; in eval mode.
  void finish(torch::nn::Module& net) const {
    if (watch_) stop_.restore(net);
    net.eval();
  }

 private:
  const sdk::Context& context_;
  std::optional<Watch> watch_;
  std::int64_t n_, min_steps_, per_epoch_;
  sdk::EarlyStopping stop_;
};

/// \throws Error unless there are labels, all finite.
inline void check_targets(const Rows& train) {
  if (train.size() == 0) throw sdk::Error(CDRZOO_E_DATA, "there are no labelled training rows");
  if (!torch::isfinite(train.pairs.target).all().item<bool>()) {
    throw sdk::Error(CDRZOO_E_DATA, "a training target is not finite");
  }
}

/// \throws Error unless the problem is one of a single response or label.
inline void check_problem(const sdk::Problem& problem, const char* model) {
  if (problem.task != sdk::Task::regression && problem.task != sdk::Task::binary) {
    throw sdk::Error(CDRZOO_E_UNSUPPORTED, std::string(model) + " knows the tasks regression and binary");
  }
  if (problem.n_targets != 1) {
    throw sdk::Error(CDRZOO_E_UNSUPPORTED,
                     std::string(model) + " has one target, the problem has " + std::to_string(problem.n_targets));
  }
}

}  // namespace cdrzoo::graph_cdr
