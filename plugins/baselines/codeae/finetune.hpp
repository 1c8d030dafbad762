// SPDX-License-Identifier: Apache-2.0
// Stage two of CODE-AE: a response classifier per drug on the shared code, with gradual unfreezing of the encoder.
#pragma once

#include <torch/torch.h>

#include <cdrzoo/torch.hpp>
#include <cstdint>
#include <limits>
#include <vector>

#include "networks.hpp"

namespace cdrzoo::codeae {

struct FinetuneOptions {
  bool binary = true;
  bool norm = true;  ///< classify codes of length 1
  std::vector<std::int64_t> hidden{64, 32, 16};
  double dropout = 0.1;  ///< of the classifiers
  std::int64_t batch_size = 64;
  std::int64_t epochs = 1000;  ///< per drug, over all stages
  std::int64_t patience = 10;
  std::int64_t unfrozen_layers = 3;  ///< of the encoder, from its output on
  double learning_rate = 5e-5, decay = 0.1;
  bool stop_as_reference = false;               ///< see StopRule
  std::uint64_t memory_bytes = 64ULL << 20ULL;  ///< for the drugs that train at once; large tensors cost page faults
};

/// What one drug learns from: rows of a table of samples, with their responses.
struct DrugRows {
  std::vector<std::int64_t> train, valid;
  std::vector<float> train_y, valid_y;
};

/// What one drug has learned.
struct Response {
  std::int64_t own_layers = 0;              ///< of the encoder, from its output on: unfrozen when this drug was best
  std::vector<torch::Tensor> weight, bias;  ///< own layers of the encoder, then the classifier; [out, in] and [out]
  std::int64_t epochs = 0;                  ///< how long it trained
  [[nodiscard]] Response to(torch::Device device) const;
};

/// When a drug has had enough of a stage: epochs - best > patience * stage, the stages counted from 1.
class StopRule {
 public:
  /// \param as_reference  a tie restarts the patience, and there is no stop while the best epoch is the first one
  StopRule(std::int64_t patience, bool as_reference) : patience_(patience), as_reference_(as_reference) {}
  /// Once per epoch, larger is better; true = as good as the best or better: these weights are the ones to keep.
  [[nodiscard]] bool update(double metric) {
    const bool first = epochs_ == 0;
    const bool better = first || metric > best_;
    const bool tied = !first && metric == best_;
    if (better || (tied && as_reference_)) best_index_ = epochs_;
    if (better) best_ = metric;
    ++epochs_;
    return better || tied;
  }
  [[nodiscard]] bool stop() const {
    return epochs_ - best_index_ > patience_ * stage_ && (best_index_ > 0 || !as_reference_);
  }
  void next_stage() { ++stage_; }
  [[nodiscard]] std::int64_t epochs() const { return epochs_; }
  [[nodiscard]] double best() const { return best_; }

 private:
  std::int64_t patience_;
  bool as_reference_;
  std::int64_t epochs_ = 0, best_index_ = 0, stage_ = 1;
  double best_ = -std::numeric_limits<double>::infinity();
};

/// The activations that enter the encoder's last \p own_layers layers, f32 [n, .]; none = the code itself.
[[nodiscard]] torch::Tensor trunk(Perceptron encoder, const torch::Tensor& x, std::int64_t own_layers, bool norm);

/// The same layers of many drugs, side by side: drug d computes with slab d of each tensor.
class Bank {
 public:
  /// \p starts are alike in shape.
  Bank(const std::vector<Response>& starts, Activation encoder_activation, double encoder_dropout,
       const FinetuneOptions& options, torch::Device device);

  [[nodiscard]] std::int64_t size() const { return weight_.empty() ? 0 : weight_.front().size(0); }
  /// f32 [k, n, inputs], n rows for each of the first k drugs -> f32 [k, n], logits or scaled responses
  [[nodiscard]] torch::Tensor forward(torch::Tensor x, bool train) const;
  [[nodiscard]] std::vector<torch::Tensor> parameters() const;
  /// One step of AdamW for the first steps.size() drugs; \p steps counts each drug's own, from 1.
  void step(const std::vector<torch::Tensor>& gradients, const std::vector<std::int64_t>& steps, double learning_rate);
  [[nodiscard]] Response response(std::int64_t drug) const;
  /// Keeps only these drugs, in this order.
  void keep(const std::vector<std::int64_t>& drugs);

 private:
  std::int64_t own_layers_ = 0;
  Activation encoder_activation_;
  double encoder_dropout_, dropout_;
  bool norm_;
  std::vector<torch::Tensor> weight_, bias_;  // [drugs, out, in], [drugs, out]
  std::vector<torch::Tensor> mean_, square_;  // of AdamW, in the order of parameters()
};

/// Trains a response model for each drug. \p x f32 [samples, genes] on a device; the encoder is not changed.
/// \throws sdk::Error(E_NUMERIC) where a loss is not finite
[[nodiscard]] std::vector<Response> finetune(sdk::Context& context, const Perceptron& encoder, const torch::Tensor& x,
                                             const std::vector<DrugRows>& drugs, const FinetuneOptions& options);

/// Outputs f32 [n] of one drug's model for activations from trunk(own_layers).
[[nodiscard]] torch::Tensor respond(const Response& response, Activation encoder_activation, torch::Tensor x,
                                    bool norm);

}  // namespace cdrzoo::codeae
