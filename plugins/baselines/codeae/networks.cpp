// SPDX-License-Identifier: Apache-2.0
#include "networks.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

namespace cdrzoo::codeae {

torch::Tensor activate(const torch::Tensor& x, Activation activation) {
  return activation == Activation::selu ? torch::selu(x) : torch::relu(x);
}

torch::Tensor dropout_mask(const torch::Tensor& x, double p) {
  if (!x.device().is_cpu()) return torch::dropout(torch::ones_like(x), p, /*train=*/true);
  const torch::NoGradGuard no_grad;
  torch::Tensor mask = torch::empty(x.sizes(), torch::kFloat32);
  auto key = static_cast<std::uint64_t>(torch::empty({1}, torch::kInt64).random_().item<std::int64_t>());
  const auto threshold = static_cast<std::uint32_t>(std::lround(p * 65536));
  const float kept = 65536.0F / static_cast<float>(65536U - threshold);
  auto* out = mask.data_ptr<float>();
  const std::int64_t n = mask.numel();
  for (std::int64_t i = 0; i < n; i += 4) {
    std::uint64_t z = key += 0x9E3779B97F4A7C15U;  // splitmix64
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    z ^= z >> 31U;
    for (std::int64_t j = i; j < std::min(n, i + 4); ++j, z >>= 16U) out[j] = (z & 0xFFFFU) < threshold ? 0.0F : kept;
  }
  return mask;
}

torch::Tensor with_dropout(const torch::Tensor& x, double p, bool train) {
  return train && p > 0 ? x * dropout_mask(x, p) : x;
}

torch::Tensor unit_rows(const torch::Tensor& x) {
  return x / x.norm(/*p=*/2, /*dim=*/1, /*keepdim=*/true).clamp_min(1e-12);
}

namespace {

/// A linear layer behind a name with dots, "module.0.0", as a nested Sequential of the reference has it.
torch::nn::Linear add_linear(torch::nn::Module& parent, const std::string& name, std::int64_t inputs,
                             std::int64_t outputs) {
  const std::size_t dot = name.find('.');
  if (dot == std::string::npos) return parent.register_module(name, torch::nn::Linear(inputs, outputs));
  const std::string first = name.substr(0, dot);
  const auto children = parent.named_children();
  const auto child =
      children.contains(first) ? children[first] : parent.register_module(first, std::make_shared<torch::nn::Module>());
  return add_linear(*child, name.substr(dot + 1), inputs, outputs);
}

std::vector<std::int64_t> reversed(const std::vector<std::int64_t>& widths) { return {widths.rbegin(), widths.rend()}; }

}  // namespace

PerceptronImpl::PerceptronImpl(std::int64_t inputs, const std::vector<std::int64_t>& hidden, std::int64_t outputs,
                               double dropout, Activation activation)
    : dropout_(dropout), activation_(activation) {
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    layers_.push_back(add_linear(*this, "module." + std::to_string(i) + ".0", inputs, hidden[i]));
    inputs = hidden[i];
  }
  layers_.push_back(add_linear(*this, "output_layer.0", inputs, outputs));
}

torch::Tensor PerceptronImpl::run_from(std::int64_t first, torch::Tensor x) {
  for (auto i = static_cast<std::size_t>(first); i < layers_.size(); ++i) {
    x = layers_[i]->forward(x);
    if (i + 1 < layers_.size()) x = with_dropout(activate(x, activation_), dropout_, is_training());
  }
  return x;
}

PerceptronImpl::Trace PerceptronImpl::trace(torch::Tensor x) {
  Trace trace;
  for (std::size_t i = 0; i + 1 < layers_.size(); ++i) {
    x = activate(layers_[i]->forward(x), activation_);
    trace.active.push_back(x);
    trace.mask.emplace_back();
    if (is_training() && dropout_ > 0) {
      trace.mask.back() = dropout_mask(x, dropout_);
      x = x * trace.mask.back();
    }
  }
  trace.output = layers_.back()->forward(x);
  return trace;
}

PrivateEncoderImpl::PrivateEncoderImpl(std::int64_t inputs, const std::vector<std::int64_t>& hidden,
                                       std::int64_t latent, double dropout)
    : dropout_(dropout) {
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    layers_.push_back(add_linear(*this, std::to_string(i) + ".0", inputs, hidden[i]));
    inputs = hidden[i];
  }
  // The number left out is that of the dropout.
  layers_.push_back(add_linear(*this, std::to_string(hidden.size() + 1), inputs, latent));
}

torch::Tensor PrivateEncoderImpl::forward(const torch::Tensor& input) {
  torch::Tensor x = input;
  for (std::size_t i = 0; i + 1 < layers_.size(); ++i) {
    x = with_dropout(torch::relu(layers_[i]->forward(x)), dropout_, is_training());
  }
  return layers_.back()->forward(with_dropout(x, dropout_, is_training()));
}

SeparationNetworkImpl::SeparationNetworkImpl(const Sizes& sizes) : norm_(sizes.norm) {
  shared_encoder_ =
      register_module("shared_encoder", Perceptron(sizes.genes, sizes.hidden, sizes.latent, sizes.dropout));
  source_private_encoder_ =
      register_module("source_private_encoder", PrivateEncoder(sizes.genes, sizes.hidden, sizes.latent, sizes.dropout));
  target_private_encoder_ =
      register_module("target_private_encoder", PrivateEncoder(sizes.genes, sizes.hidden, sizes.latent, sizes.dropout));
  decoder_ =
      register_module("decoder", Perceptron(2 * sizes.latent, reversed(sizes.hidden), sizes.genes, sizes.dropout));
}

SeparationNetworkImpl::Code SeparationNetworkImpl::encode(const torch::Tensor& x, Domain domain) {
  Code code{(domain == Domain::source ? source_private_encoder_ : target_private_encoder_)->forward(x),
            shared_encoder_->forward(x)};
  if (norm_) code = {unit_rows(code.private_half), unit_rows(code.shared_half)};
  return code;
}

std::vector<SeparationNetworkImpl::Code> SeparationNetworkImpl::encode(const std::vector<torch::Tensor>& source,
                                                                       const std::vector<torch::Tensor>& target) {
  const torch::Tensor all_source = torch::cat(source);
  const torch::Tensor all_target = torch::cat(target);
  Code all{torch::cat({source_private_encoder_->forward(all_source), target_private_encoder_->forward(all_target)}),
           shared_encoder_->forward(torch::cat({all_source, all_target}))};
  if (norm_) all = {unit_rows(all.private_half), unit_rows(all.shared_half)};
  std::vector<std::int64_t> rows;
  for (const auto* batches : {&source, &target}) {
    for (const auto& batch : *batches) rows.push_back(batch.size(0));
  }
  const auto private_halves = all.private_half.split_with_sizes(rows);
  const auto shared_halves = all.shared_half.split_with_sizes(rows);
  std::vector<Code> codes;
  for (std::size_t i = 0; i < rows.size(); ++i) codes.push_back({private_halves[i], shared_halves[i]});
  return codes;
}

AutoEncoderImpl::AutoEncoderImpl(const Sizes& sizes) : norm_(sizes.norm) {
  encoder_ =
      register_module("encoder", Perceptron(sizes.genes, sizes.hidden, sizes.latent, sizes.dropout, Activation::relu));
  std::vector<std::int64_t> widths = reversed(sizes.hidden);
  widths.insert(widths.begin(), sizes.hidden.empty() ? sizes.latent : sizes.hidden.back());  // the extra layer
  decoder_ = register_module("decoder", Perceptron(sizes.latent, widths, sizes.genes, sizes.dropout, Activation::relu));
}

torch::Tensor AutoEncoderImpl::encode(const torch::Tensor& x) {
  const torch::Tensor code = encoder_->forward(x);
  return norm_ ? unit_rows(code) : code;
}

}  // namespace cdrzoo::codeae
