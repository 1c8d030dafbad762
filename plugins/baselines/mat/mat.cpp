// SPDX-License-Identifier: Apache-2.0
#include "mat/mat.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <tuple>

namespace cdrzoo::mat {
namespace {

constexpr double kEpsilon = 1e-6;
constexpr double kHidden = -1e12;  // score of a padded key

/// A module that only groups others under its name, as the keys of checkpoints want it.
std::shared_ptr<torch::nn::Module> group(torch::nn::Module& parent, const std::string& name) {
  return parent.register_module(name, std::make_shared<torch::nn::Module>(name));
}

torch::nn::LinearImpl& linear(torch::nn::ModuleList& list, std::size_t i) { return list->at<torch::nn::LinearImpl>(i); }

/// [b, n] -> [b, 1, 1, n]: which keys are padding.
torch::Tensor hidden_keys(const torch::Tensor& mask) { return mask.logical_not().unsqueeze(1).unsqueeze(1); }

}  // namespace

torch::Tensor normalised_adjacency(const torch::Tensor& adjacency) {
  return adjacency / (adjacency.sum(/*dim=*/-1, /*keepdim=*/true) + kEpsilon);  // mat.md 2: A^
}

torch::Tensor distance_kernel(const torch::Tensor& distance, const torch::Tensor& mask,
                              Options::DistanceKernel kernel) {
  const torch::Tensor d =
      mask.defined() ? distance.masked_fill(mask.logical_not().unsqueeze(1), std::numeric_limits<float>::infinity())
                     : distance;
  return kernel == Options::DistanceKernel::exponential ? torch::exp(-d)  // mat.md 2: g(D), not normalised
                                                        : torch::softmax(-d, /*dim=*/-1);  // mat.md 2: the alternative
}

torch::Tensor mean_of_tokens(const torch::Tensor& tokens, const torch::Tensor& mask) {
  if (!mask.defined()) return tokens.mean(/*dim=*/1);
  const torch::Tensor m = mask.to(tokens.dtype()).unsqueeze(-1);
  return (m * tokens).sum(/*dim=*/1) / m.sum(/*dim=*/1);
}

NormImpl::NormImpl(std::int64_t width) {
  a_ = register_parameter("a_2", torch::ones({width}));
  b_ = register_parameter("b_2", torch::zeros({width}));
}

torch::Tensor NormImpl::forward(const torch::Tensor& x) {
  const torch::Tensor mean = x.mean(/*dim=*/-1, /*keepdim=*/true);
  const torch::Tensor deviation = x.std(/*dim=*/-1, /*unbiased=*/true, /*keepdim=*/true);
  return a_ * (x - mean) / (deviation + kEpsilon) + b_;
}

AttentionImpl::AttentionImpl(const Options& options)
    : heads_(options.heads), lambda_attention_(options.lambda_attention) {
  for (int i = 0; i < 4; ++i) linears_->push_back(torch::nn::Linear(options.width, options.width));
  register_module("linears", linears_);
}

torch::Tensor AttentionImpl::project(std::size_t which, const torch::Tensor& x) {
  const auto y = linear(linears_, which).forward(x);
  return y.view({x.size(0), x.size(1), heads_, x.size(2) / heads_}).transpose(1, 2);
}

torch::Tensor AttentionImpl::weights(const torch::Tensor& x, const torch::Tensor& mask) {
  const torch::Tensor query = project(0, x);
  const torch::Tensor key = project(1, x);
  torch::Tensor scores = torch::matmul(query, key.transpose(-2, -1)) / std::sqrt(static_cast<double>(query.size(-1)));
  if (mask.defined()) scores = scores.masked_fill(hidden_keys(mask), kHidden);
  return torch::softmax(scores, /*dim=*/-1);
}

torch::Tensor AttentionImpl::forward(const torch::Tensor& x, const torch::Tensor& fixed, const torch::Tensor& mask) {
  // mat.md 2: P = lambda_a softmax + lambda_d g(D) + lambda_g A^; out = concat(P V) W + b
  const torch::Tensor mixed = lambda_attention_ * weights(x, mask) + fixed.unsqueeze(1);
  const torch::Tensor values = torch::matmul(mixed, project(2, x));
  return linear(linears_, 3).forward(values.transpose(1, 2).reshape(x.sizes()));
}

torch::Tensor AttentionImpl::forward(const torch::Tensor& tokens, const torch::Tensor& row,
                                     const std::vector<torch::Tensor>& fixed) {
  const std::int64_t d = tokens.size(1);
  const std::int64_t d_k = d / heads_;
  const auto of_nodes = [&](std::size_t which) {
    const torch::Tensor y = linear(linears_, which).forward(tokens);
    return row.defined() ? y.index_select(0, row) : y;
  };
  const torch::Tensor query = of_nodes(0) / std::sqrt(static_cast<double>(d_k));
  const torch::Tensor key = of_nodes(1);
  const torch::Tensor value = of_nodes(2);
  std::vector<torch::Tensor> values;
  std::int64_t first = 0;
  for (const torch::Tensor& f : fixed) {
    const std::int64_t b = f.size(0);
    const std::int64_t n = f.size(1);
    const auto heads = [&](const torch::Tensor& t) {
      return t.narrow(0, first, b * n).view({b, n, heads_, d_k}).transpose(1, 2);
    };
    const torch::Tensor scores = torch::matmul(heads(query), heads(key).transpose(-2, -1));
    const torch::Tensor mixed = lambda_attention_ * torch::softmax(scores, /*dim=*/-1) + f.unsqueeze(1);
    values.push_back(torch::matmul(mixed, heads(value)).transpose(1, 2).reshape({b * n, d}));
    first += b * n;
  }
  return linear(linears_, 3).forward(torch::cat(values));
}

FeedForwardImpl::FeedForwardImpl(const Options& options) : slope_(options.leaky_slope), dropout_(options.dropout) {
  for (std::int64_t i = 0; i < options.dense_layers; ++i)
    linears_->push_back(torch::nn::Linear(options.width, options.width));
  register_module("linears", linears_);
}

torch::Tensor FeedForwardImpl::forward(torch::Tensor x) {
  for (std::size_t i = 0; i < linears_->size(); ++i) {
    x = torch::leaky_relu(linear(linears_, i).forward(x), slope_);
    if (i + 1 < linears_->size()) x = torch::dropout(x, dropout_, is_training());
  }
  return x;
}

LayerImpl::LayerImpl(const Options& options) : dropout_(options.dropout) {
  attention_ = register_module("self_attn", Attention(options));
  feed_forward_ = register_module("feed_forward", FeedForward(options));
  const auto sublayers = group(*this, "sublayer");
  norm_of_attention_ = group(*sublayers, "0")->register_module("norm", Norm(options.width));
  norm_of_feed_forward_ = group(*sublayers, "1")->register_module("norm", Norm(options.width));
}

torch::Tensor LayerImpl::normalised(const torch::Tensor& x) { return norm_of_attention_->forward(x); }

torch::Tensor LayerImpl::forward(const torch::Tensor& x, const torch::Tensor& fixed, const torch::Tensor& mask) {
  const auto drop = [this](const torch::Tensor& t) { return torch::dropout(t, dropout_, is_training()); };
  const torch::Tensor y = x + drop(attention_->forward(normalised(x), fixed, mask));
  return y + drop(feed_forward_->forward(norm_of_feed_forward_->forward(y)));
}

torch::Tensor LayerImpl::forward(const torch::Tensor& tokens, const torch::Tensor& row,
                                 const std::vector<torch::Tensor>& fixed) {
  const auto drop = [this](const torch::Tensor& t) { return torch::dropout(t, dropout_, is_training()); };
  const torch::Tensor x = row.defined() ? tokens.index_select(0, row) : tokens;
  const torch::Tensor y = x + drop(attention_->forward(normalised(tokens), row, fixed));
  return y + drop(feed_forward_->forward(norm_of_feed_forward_->forward(y)));
}

MatImpl::MatImpl(const Options& options) : options_(options) {
  lut_ = group(*this, "src_embed")->register_module("lut", torch::nn::Linear(options.atom_features, options.width));
  const auto encoder = group(*this, "encoder");
  const auto layers = group(*encoder, "layers");
  for (std::int64_t i = 0; i < options.layers; ++i)
    layers_.push_back(layers->register_module(std::to_string(i), Layer(options)));
  norm_ = encoder->register_module("norm", Norm(options.width));
  for (auto& parameter : parameters()) {  // mat.md 2: Xavier uniform on every matrix
    if (parameter.dim() > 1) torch::nn::init::xavier_uniform_(parameter);
  }
}

torch::Tensor MatImpl::embed(const torch::Tensor& features) {
  return torch::dropout(lut_->forward(features), options_.dropout, is_training());
}

torch::Tensor MatImpl::fixed_attention(const Molecules& molecules) const {
  const double lambda_adjacency = 1.0 - options_.lambda_attention - options_.lambda_distance;
  return options_.lambda_distance * distance_kernel(molecules.distance, molecules.mask, options_.kernel) +
         lambda_adjacency * normalised_adjacency(molecules.adjacency);
}

torch::Tensor MatImpl::mean_tokens(const std::vector<Molecules>& groups) {
  std::vector<torch::Tensor> fixed, features, means;
  for (const Molecules& g : groups) {
    fixed.push_back(fixed_attention(g));
    features.push_back(g.features.flatten(0, 1));
  }
  // Before the first attention, nodes with equal features have equal tokens: a few dozen among thousands of atoms.
  // Dropout would tell them apart.
  torch::Tensor distinct = torch::cat(features);
  torch::Tensor row;
  if (!is_training() || options_.dropout == 0) {
    std::tie(distinct, row, std::ignore) = torch::unique_dim(distinct, /*dim=*/0, /*sorted=*/true, true);
  }
  torch::Tensor x = embed(distinct);
  for (auto& layer : layers_) {
    x = layer->forward(x, row, fixed);
    row = torch::Tensor();
  }
  x = norm_->forward(x);
  std::int64_t first = 0;
  for (const Molecules& g : groups) {
    const std::int64_t nodes = g.features.size(0) * g.features.size(1);
    means.push_back(x.narrow(0, first, nodes).view({g.features.size(0), g.features.size(1), -1}).mean(/*dim=*/1));
    first += nodes;
  }
  return torch::cat(means);
}

torch::Tensor MatImpl::forward(const Molecules& molecules) {
  const torch::Tensor fixed = fixed_attention(molecules);
  torch::Tensor x = embed(molecules.features);
  for (auto& layer : layers_) x = layer->forward(x, fixed, molecules.mask);
  return norm_->forward(x);
}

}  // namespace cdrzoo::mat
