// SPDX-License-Identifier: Apache-2.0
#include "networks.hpp"

#include <algorithm>

namespace cdrzoo::graph_cdr {

GraphConvImpl::GraphConvImpl(std::int64_t inputs, std::int64_t outputs) {
  weight = register_parameter("weight", torch::empty({inputs, outputs}));
  bias = register_parameter("bias", torch::zeros({outputs}));
  torch::nn::init::xavier_uniform_(weight);
}

torch::Tensor GraphConvImpl::forward(const torch::Tensor& x, const SparseRows& neighbours) {
  return product(neighbours, torch::addmm(bias, x, weight));
}

BatchNormImpl::BatchNormImpl(std::int64_t channels, const NormOptions& options) : options_(options) {
  weight_ = register_parameter("weight", torch::ones({channels}));
  bias_ = register_parameter("bias", torch::zeros({channels}));
  running_mean_ = register_buffer("running_mean", torch::zeros({channels}));
  running_var_ = register_buffer("running_var", torch::ones({channels}));
  n_batches_ = register_buffer("num_batches_tracked", torch::zeros({}, torch::kInt64));
}

torch::Tensor BatchNormImpl::forward(const torch::Tensor& x) {
  return normalised(x, torch::ones({x.size(0)}, x.options().requires_grad(false)), static_cast<double>(x.size(0)));
}

torch::Tensor BatchNormImpl::normalised(const torch::Tensor& x, const torch::Tensor& multiplicity, double n_rows) {
  if (!is_training()) {
    const torch::Tensor scale = weight_ * (running_var_ + options_.eps).rsqrt();
    return torch::addcmul(bias_ - running_mean_ * scale, x, scale);
  }
  auto [y, moments] = normalise(x, multiplicity, n_rows, weight_, bias_, options_.eps);
  if (options_.unbiased && n_rows > 1) moments.variance = moments.variance * (n_rows / (n_rows - 1));
  update(moments);
  if (last_.size() == 2) last_.erase(last_.begin());
  last_.push_back(moments);
  return y;
}

void BatchNormImpl::repeat_updates(std::size_t n) {
  for (std::size_t i = last_.size() - std::min(n, last_.size()); i < last_.size(); ++i) update(last_[i]);
}

void BatchNormImpl::update(const Moments& moments) {
  const torch::NoGradGuard no_grad;
  n_batches_.add_(1);
  const double momentum =
      options_.mean_at_first ? std::max(options_.momentum, 1.0 / n_batches_.item<double>()) : options_.momentum;
  running_mean_.lerp_(moments.mean, momentum);
  running_var_.lerp_(moments.variance, momentum);
}

void xavier(torch::nn::Module& module) {
  module.apply([](torch::nn::Module& m) {
    const auto fill = [](torch::Tensor& weight, torch::Tensor& bias) {
      torch::nn::init::xavier_uniform_(weight);
      torch::nn::init::zeros_(bias);
    };
    if (auto* linear = m.as<torch::nn::Linear>()) fill(linear->weight, linear->bias);
    if (auto* conv = m.as<torch::nn::Conv2d>()) fill(conv->weight, conv->bias);
  });
}

GraphPredictorImpl::GraphPredictorImpl(const PredictorOptions& options) : options_(options) {
  using torch::nn::Conv2d;
  std::int64_t inputs = options.atom_features;
  for (std::size_t i = 0; i < options.units.size(); ++i) {
    const std::string number = std::to_string(i + 1);
    convolutions_.push_back(register_module("GC" + number, GraphConv(inputs, options.units[i])));
    inputs = options.units[i];
  }
  for (std::size_t i = 0; i < options.units.size(); ++i) {
    norms_.emplace_back(options.units[i], options.norm);
    torch::nn::Sequential block;  // the reference's block, for its key
    if (options.relu_first) block->push_back(torch::nn::ReLU());
    block->push_back(norms_.back());
    register_module(options.norm_name + std::to_string(i + 1), block);
  }
  fused_ = torch::nn::Linear(inputs + options.sample_width, kFused);
  register_module("Linear", torch::nn::Sequential(fused_));
  conv1_ = Conv2d(torch::nn::Conv2dOptions(1, 30, {150, 1}));
  conv2_ = Conv2d(torch::nn::Conv2dOptions(30, 10, {5, 1}));
  conv3_ = Conv2d(torch::nn::Conv2dOptions(10, 5, {5, 1}));
  const auto pool = [](std::int64_t n) { return torch::nn::MaxPool2d(torch::nn::MaxPool2dOptions({n, 1})); };
  register_module("CONV", torch::nn::Sequential(conv1_, torch::nn::ReLU(), pool(2), conv2_, torch::nn::ReLU(), pool(3),
                                                conv3_, torch::nn::ReLU(), pool(3)));
  output_ = torch::nn::Linear(kFlat, 1);
  register_module("fc", torch::nn::Sequential(output_));
  if (options.xavier_head) xavier(*this);
}

torch::Tensor GraphPredictorImpl::layer(std::size_t i, const torch::Tensor& x, const MoleculeBatch& batch) {
  const Layer& rows = batch.layers[i];
  torch::Tensor h = convolutions_[i]->forward(x, rows.neighbours);
  if (options_.relu_first) h = torch::relu(h);
  h = norms_[i]->normalised(h, rows.multiplicity, batch.n_nodes);
  if (!options_.relu_first) h = torch::relu(h);
  if (rows.expand.defined()) h = h.index_select(0, rows.expand);
  if (options_.graph_dropout == 0 || !is_training()) return h;
  if (!batch.last_row_is_pad) return torch::dropout(h, options_.graph_dropout, /*train=*/true);
  const std::int64_t n = h.size(0) - 1;
  return torch::cat({torch::dropout(h.narrow(0, 0, n), options_.graph_dropout, /*train=*/true), h.narrow(0, n, 1)});
}

torch::Tensor GraphPredictorImpl::first_layer(const MoleculeBatch& batch) { return layer(0, batch.features, batch); }

torch::Tensor GraphPredictorImpl::drug_vectors(const MoleculeBatch& batch) {
  torch::Tensor h = batch.features;
  for (std::size_t i = 0; i < convolutions_.size(); ++i) h = layer(i, h, batch);
  return product(batch.pool, h);
}

torch::Tensor GraphPredictorImpl::fuse(const torch::Tensor& drug, const torch::Tensor& sample) {
  const torch::Tensor h = fused_->forward(torch::cat({drug, sample}, /*dim=*/1));
  return options_.fused_tanh ? torch::tanh(h) : h;
}

torch::Tensor GraphPredictorImpl::convolve(const torch::Tensor& fused) {
  // The maximum of ReLUs is the ReLU of the maximum, and there are fewer of those.
  const auto block = [](const torch::Tensor& x, torch::nn::Conv2d& conv, std::int64_t pool) {
    return torch::relu(torch::max_pool1d(torch::conv1d(x, conv->weight.squeeze(/*dim=*/3), conv->bias), pool));
  };
  torch::Tensor h = block(fused.unsqueeze(/*dim=*/1), conv1_, 2);  // [n, 30, 75]
  h = block(h, conv2_, 3);                                         // [n, 10, 23]
  h = block(h, conv3_, 3);                                         // [n, 5, 6]
  return torch::dropout(h, options_.conv_dropout, is_training()).flatten(/*start_dim=*/1);
}

torch::Tensor GraphPredictorImpl::respond(const torch::Tensor& drug, const torch::Tensor& sample) {
  const torch::Tensor fused = torch::dropout(fuse(drug, sample), options_.fused_dropout, is_training());
  const torch::Tensor flat = torch::dropout(convolve(fused), options_.flat_dropout, is_training());
  return output_->forward(flat).squeeze(/*dim=*/1);
}

}  // namespace cdrzoo::graph_cdr
