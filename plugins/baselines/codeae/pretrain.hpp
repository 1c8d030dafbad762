// SPDX-License-Identifier: Apache-2.0
// Stage one of CODE-AE: an encoder of expression that does not depend on labels.
#pragma once

#include <torch/torch.h>

#include <cdrzoo/torch.hpp>
#include <cstdint>
#include <functional>
#include <vector>

#include "networks.hpp"

namespace cdrzoo::codeae {

enum class Method { base, mmd, adv, dsn_mmd, dsn_dann, coral, ae, dae };

struct PretrainOptions {
  Method method = Method::adv;
  std::int64_t pretrain_epochs = 100;  ///< of reconstruction alone, before the critic enters (adv only)
  std::int64_t train_epochs = 1000;    ///< of the method itself
  std::int64_t batch_size = 64;
  std::int64_t critic_steps = 5;  ///< between two generator steps
  bool restart_steps = false;     ///< count them anew in each epoch, as the reference does
  double learning_rate = 1e-4;
  double orthogonality = 1, alignment = 1, gradient_penalty = 10, noise = 0.1;
};

/// Expression f32 [n, genes] of both domains on one device; target is undefined where there is none.
struct Domains {
  torch::Tensor source, target;
};

/// Mini-batches of both domains: each source row once per epoch, shuffled, the last incomplete batch left out; target
/// rows drawn anew for each batch, without replacement within it.
class DomainBatches {
 public:
  DomainBatches(const sdk::Context& context, const Domains& x, std::int64_t batch_size, std::string_view stream);
  [[nodiscard]] std::int64_t per_epoch() const { return per_epoch_; }
  void begin_epoch(std::uint64_t epoch);
  /// The rows of \p n batches from number \p first of the epoch on, one after the other, n * size() each.
  [[nodiscard]] Domains take(std::int64_t first, std::int64_t n);
  [[nodiscard]] std::int64_t size() const { return batch_size_; }

 private:
  const sdk::Context* context_;
  const Domains* x_;
  std::int64_t batch_size_, per_epoch_;
  std::uint64_t stream_;
  std::vector<std::int64_t> order_, pool_;
  sdk::Random target_random_;
};

/// Trains on both domains, or on the source alone where there is no target, and returns the encoder of the response
/// model: the shared encoder, in evaluation mode.
/// \throws sdk::Error(E_NUMERIC) where a loss is not finite
[[nodiscard]] Perceptron pretrain(sdk::Context& context, const Domains& x, const Sizes& sizes,
                                  const PretrainOptions& options);

/// The parts of pretrain(), each over some epochs.
/// (1): reconstruction and orthogonality of both domains, and what \p alignment says of the two codes. AdamW.
using Alignment = std::function<torch::Tensor(const SeparationNetworkImpl::Code&, const SeparationNetworkImpl::Code&)>;
void train_separation(sdk::Context& context, const Domains& x, SeparationNetwork& net, const PretrainOptions& options,
                      std::int64_t epochs, const Alignment& alignment = {},
                      const std::vector<torch::Tensor>& further_parameters = {});
/// (7), (8): critic and encoders in turn. RMSprop.
void train_adversarially(sdk::Context& context, const Domains& x, SeparationNetwork& net, Perceptron& critic,
                         const PretrainOptions& options, std::int64_t epochs);
/// The plain auto-encoders.
void train_auto_encoder(sdk::Context& context, const Domains& x, AutoEncoder& net, const PretrainOptions& options,
                        std::int64_t epochs);

}  // namespace cdrzoo::codeae
