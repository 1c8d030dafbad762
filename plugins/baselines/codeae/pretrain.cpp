// SPDX-License-Identifier: Apache-2.0
#include "pretrain.hpp"

#include <algorithm>
#include <cdrzoo/torch_optim.hpp>
#include <cmath>
#include <numeric>
#include <string>

#include "losses.hpp"

namespace cdrzoo::codeae {

DomainBatches::DomainBatches(const sdk::Context& context, const Domains& x, std::int64_t batch_size,
                             std::string_view stream)
    : context_(&context),
      x_(&x),
      batch_size_(std::min(batch_size, x.source.size(0))),
      stream_(cdrzoo_stream_of(stream.data(), stream.size())),
      target_random_(context.random(stream_ - 1)) {
  if (x.target.defined()) {
    batch_size_ = std::min(batch_size_, x.target.size(0));
    pool_.resize(static_cast<std::size_t>(x.target.size(0)));
    std::iota(pool_.begin(), pool_.end(), std::int64_t{0});
  }
  per_epoch_ = x.source.size(0) / batch_size_;
}

void DomainBatches::begin_epoch(std::uint64_t epoch) {
  order_ = context_->random(stream_ + epoch).permutation(x_->source.size(0));
}

Domains DomainBatches::take(std::int64_t first, std::int64_t n) {
  context_->check_cancelled();
  const auto gather = [](const torch::Tensor& x, const std::int64_t* rows, std::int64_t count) {
    return x.index_select(0, torch::from_blob(const_cast<std::int64_t*>(rows), {count}, torch::kInt64).to(x.device()));
  };
  const std::int64_t count = n * batch_size_;
  Domains batch{gather(x_->source, order_.data() + first * batch_size_, count), {}};
  if (!x_->target.defined()) return batch;
  std::vector<std::int64_t> rows;
  rows.reserve(static_cast<std::size_t>(count));
  for (std::int64_t b = 0; b < n; ++b) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(batch_size_); ++i) {  // Fisher-Yates, as far as it is needed
      std::swap(pool_[i], pool_[i + static_cast<std::size_t>(target_random_.below(pool_.size() - i))]);
      rows.push_back(pool_[i]);
    }
  }
  batch.target = gather(x_->target, rows.data(), count);
  return batch;
}

namespace {

/// Mean of a loss over an epoch, kept on the device until the epoch's end.
class MeanLoss {
 public:
  void add(const torch::Tensor& loss) {
    const torch::NoGradGuard no_grad;
    sum_ = sum_.defined() ? sum_ + loss : loss.detach().clone();
    ++n_;
  }
  /// \throws sdk::Error(E_NUMERIC)
  [[nodiscard]] double value(const char* what) const {
    if (n_ == 0) return 0;
    const double mean = sum_.item<double>() / static_cast<double>(n_);
    if (!std::isfinite(mean)) throw sdk::Error(CDRZOO_E_NUMERIC, std::string("the ") + what + " is not finite");
    return mean;
  }

 private:
  torch::Tensor sum_;
  std::int64_t n_ = 0;
};

using Code = SeparationNetworkImpl::Code;

/// (1); both domains in one pass through the decoder. Without a target, the source's part.
torch::Tensor auto_encoder_loss(SeparationNetwork& net, const Domains& x, const Code& source, const Code& target,
                                double orthogonality_weight) {
  const torch::Tensor overlap = orthogonality(source.shared_half, source.private_half);
  if (!x.target.defined()) return reconstruction(x.source, net->decode(source.both())) + orthogonality_weight * overlap;
  const auto decoded =
      net->decode(torch::cat({source.both(), target.both()})).split_with_sizes({x.source.size(0), x.target.size(0)});
  return reconstruction(x.source, decoded[0]) + reconstruction(x.target, decoded[1]) +
         orthogonality_weight * (overlap + orthogonality(target.shared_half, target.private_half));
}

}  // namespace

void train_separation(sdk::Context& context, const Domains& x, SeparationNetwork& net, const PretrainOptions& options,
                      std::int64_t epochs, const Alignment& alignment,
                      const std::vector<torch::Tensor>& further_parameters) {
  std::vector<torch::Tensor> parameters = net->parameters();
  parameters.insert(parameters.end(), further_parameters.begin(), further_parameters.end());
  sdk::Adam optimizer(parameters, sdk::WeightDecay::adamw());
  DomainBatches batches(context, x, options.batch_size, "separation");
  net->train();
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    context.step("pre-training epoch " + std::to_string(epoch + 1));
    MeanLoss mean;
    batches.begin_epoch(static_cast<std::uint64_t>(epoch));
    for (std::int64_t step = 0; step < batches.per_epoch(); ++step) {
      const Domains batch = batches.take(step, 1);
      optimizer.zero_grad();
      const bool both = batch.target.defined();
      const auto codes = both ? net->encode({batch.source}, {batch.target})
                              : std::vector<Code>{net->encode(batch.source, Domain::source)};
      torch::Tensor loss = auto_encoder_loss(net, batch, codes.front(), codes.back(), options.orthogonality);
      if (both && alignment) loss = loss + options.alignment * alignment(codes.front(), codes.back());
      loss.backward();
      optimizer.step(options.learning_rate);
      mean.add(loss);
    }
    context.progress("pre-training", static_cast<std::uint64_t>(epoch + 1), static_cast<std::uint64_t>(epochs),
                     {{"loss", mean.value("pre-training loss")}});
  }
}

void train_adversarially(sdk::Context& context, const Domains& x, SeparationNetwork& net, Perceptron& critic,
                         const PretrainOptions& options, std::int64_t epochs) {
  sdk::RmsProp critic_optimizer(critic->parameters());
  sdk::RmsProp generator_optimizer(net->parameters());
  DomainBatches batches(context, x, options.batch_size, "adversarial");
  const std::int64_t size = batches.size();
  std::int64_t since_generator = 0;

  const auto critic_step = [&](const torch::Tensor& source, const torch::Tensor& target) {
    critic_optimizer.zero_grad();
    const torch::Tensor a = torch::rand({size, 1}, source.options());
    const CriticLoss loss =
        critic_loss(critic, source, target, interpolate(source, target, a), options.gradient_penalty);  // (7)
    loss.total.backward();
    critic_optimizer.step(options.learning_rate);
    return loss.total;
  };
  const auto generator_step = [&](const Domains& batch) {
    generator_optimizer.zero_grad();
    // The reference draws another dropout mask for the critic's view of the target.
    const auto codes = net->dropout() > 0 ? net->encode({batch.source}, {batch.target, batch.target})
                                          : net->encode({batch.source}, {batch.target});
    torch::Tensor loss = auto_encoder_loss(net, batch, codes[0], codes[1], options.orthogonality) +
                         options.alignment * generator_adversarial(critic, codes.back().both());  // (1) + (8)
    loss.backward();
    generator_optimizer.step(options.learning_rate);
    return loss;
  };

  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    context.step("adversarial epoch " + std::to_string(epoch + 1));
    MeanLoss critic_mean;
    MeanLoss generator_mean;
    batches.begin_epoch(static_cast<std::uint64_t>(epoch));
    if (options.restart_steps) since_generator = 0;
    for (std::int64_t step = 0; step < batches.per_epoch();) {
      // The encoders rest until the next generator step, so all batches up to there are encoded in one product.
      const std::int64_t n = std::min(batches.per_epoch() - step, options.critic_steps - since_generator);
      const Domains batch = batches.take(step, n);
      net->eval();
      critic->train();
      torch::Tensor source;
      torch::Tensor target;
      {
        const torch::NoGradGuard no_grad;
        const auto codes = net->encode({batch.source}, {batch.target});
        source = codes[0].both();
        target = codes[1].both();
      }
      for (std::int64_t b = 0; b < n; ++b) {
        critic_mean.add(critic_step(source.narrow(0, b * size, size), target.narrow(0, b * size, size)));
      }
      step += n;
      since_generator += n;
      if (since_generator < options.critic_steps) continue;
      since_generator = 0;
      net->train();
      critic->eval();
      generator_mean.add(
          generator_step({batch.source.narrow(0, (n - 1) * size, size), batch.target.narrow(0, (n - 1) * size, size)}));
    }
    context.progress("adversarial training", static_cast<std::uint64_t>(epoch + 1), static_cast<std::uint64_t>(epochs),
                     {{"critic_loss", critic_mean.value("loss of the critic")},
                      {"loss", generator_mean.value("loss of the encoders")}});
  }
}

void train_auto_encoder(sdk::Context& context, const Domains& x, AutoEncoder& net, const PretrainOptions& options,
                        std::int64_t epochs) {
  sdk::Adam optimizer(net->parameters(), sdk::WeightDecay::adamw());
  DomainBatches batches(context, x, options.batch_size, "auto-encoder");
  net->train();
  const auto one_domain = [&](const torch::Tensor& rows, const torch::Tensor& code) {
    return reconstruction(rows, net->decode(code));
  };
  const auto encode = [&](const torch::Tensor& rows) {
    return net->encode(options.method == Method::dae ? rows + options.noise * torch::randn_like(rows) : rows);
  };
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    context.step("pre-training epoch " + std::to_string(epoch + 1));
    MeanLoss mean;
    batches.begin_epoch(static_cast<std::uint64_t>(epoch));
    for (std::int64_t step = 0; step < batches.per_epoch(); ++step) {
      const Domains batch = batches.take(step, 1);
      optimizer.zero_grad();
      const torch::Tensor source = encode(batch.source);
      torch::Tensor loss = one_domain(batch.source, source);
      if (batch.target.defined()) {
        const torch::Tensor target = encode(batch.target);
        loss = loss + one_domain(batch.target, target);
        if (options.method == Method::coral) loss = loss + options.alignment * coral(source, target);
      }
      loss.backward();
      optimizer.step(options.learning_rate);
      mean.add(loss);
    }
    context.progress("pre-training", static_cast<std::uint64_t>(epoch + 1), static_cast<std::uint64_t>(epochs),
                     {{"loss", mean.value("pre-training loss")}});
  }
}

Perceptron pretrain(sdk::Context& context, const Domains& x, const Sizes& sizes, const PretrainOptions& options) {
  const torch::Device device = x.source.device();
  const auto finished = [](Perceptron encoder) {
    encoder->eval();
    for (auto& p : encoder->parameters()) p.requires_grad_(false);
    return encoder;
  };
  if (options.method == Method::ae || options.method == Method::dae || options.method == Method::coral) {
    AutoEncoder net(sizes);
    net->to(device);
    train_auto_encoder(context, x, net, options, options.train_epochs);
    return finished(net->encoder());
  }
  SeparationNetwork net(sizes);
  net->to(device);
  switch (options.method) {
    case Method::adv: {
      train_separation(context, x, net, options, options.pretrain_epochs);
      if (!x.target.defined()) break;  // nothing to align with
      Perceptron critic(2 * sizes.latent, sizes.critic_hidden, 1, sizes.dropout);
      critic->to(device);
      train_adversarially(context, x, net, critic, options, options.train_epochs);
      break;
    }
    case Method::mmd:
      train_separation(context, x, net, options, options.train_epochs,
                       [](const auto& source, const auto& target) { return mmd(source.both(), target.both()); });
      break;
    case Method::dsn_mmd:
      train_separation(context, x, net, options, options.train_epochs, [](const auto& source, const auto& target) {
        return mmd(source.shared_half, target.shared_half);
      });
      break;
    case Method::dsn_dann: {
      Perceptron classifier(sizes.latent, sizes.critic_hidden, 1, sizes.dropout);
      classifier->to(device);
      const auto confuse = [&classifier](const auto& source, const auto& target) {
        return domain_confusion(classifier, source.shared_half, target.shared_half);
      };
      train_separation(context, x, net, options, options.train_epochs, confuse, classifier->parameters());
      break;
    }
    default: train_separation(context, x, net, options, options.train_epochs); break;
  }
  return finished(net->shared_encoder());
}

}  // namespace cdrzoo::codeae
