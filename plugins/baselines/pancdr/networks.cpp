// SPDX-License-Identifier: Apache-2.0
#include "networks.hpp"

namespace cdrzoo::pancdr {

namespace {

graph_cdr::PredictorOptions predictor_options(const Sizes& sizes) {
  graph_cdr::PredictorOptions options;
  options.atom_features = sizes.atom_features;
  options.units = sizes.graph_units;
  options.units.push_back(sizes.drug_width);
  options.sample_width = sizes.latent;
  options.relu_first = false;
  options.norm_name = "BRD";
  options.xavier_head = false;
  return options;
}

}  // namespace

EncoderImpl::EncoderImpl(const Sizes& sizes) {
  torch::nn::Sequential sequence;
  std::int64_t inputs = sizes.genes;
  for (int i = 0; i < 5; ++i) {
    linear_.emplace_back(inputs, sizes.hidden);
    sequence->push_back(linear_.back());
    inputs = sizes.hidden;
    if (i == 4) break;  // no activation behind the last
    norm_.emplace_back(sizes.hidden, graph_cdr::NormOptions());
    sequence->push_back(norm_.back());
    sequence->push_back(torch::nn::ReLU());
  }
  register_module("encoder", sequence);
  mu_ = register_module("fc1", torch::nn::Linear(sizes.hidden, sizes.latent));
  log_variance_ = register_module("fc2", torch::nn::Linear(sizes.hidden, sizes.latent));
}

Code EncoderImpl::forward(const torch::Tensor& x, const torch::Tensor& multiplicity, double n_rows) {
  torch::Tensor h = x;
  for (std::size_t i = 0; i < norm_.size(); ++i) {
    h = torch::relu(norm_[i]->normalised(linear_[i]->forward(h), multiplicity, n_rows));
  }
  h = linear_.back()->forward(h);
  return {mu_->forward(h), log_variance_->forward(h)};
}

Code EncoderImpl::forward(const torch::Tensor& x) {
  return forward(x, torch::ones({x.size(0)}, x.options().requires_grad(false)), static_cast<double>(x.size(0)));
}

void EncoderImpl::repeat_updates(std::size_t n) {
  for (auto& norm : norm_) norm->repeat_updates(n);
}

DiscriminatorImpl::DiscriminatorImpl(std::int64_t latent) {
  layers_ = register_module("adv", torch::nn::Sequential(torch::nn::Linear(latent, latent / 2), torch::nn::ReLU(),
                                                         torch::nn::Linear(latent / 2, latent / 4), torch::nn::ReLU(),
                                                         torch::nn::Linear(latent / 4, 1)));
}

torch::Tensor DiscriminatorImpl::forward(const torch::Tensor& z) { return layers_->forward(z).squeeze(/*dim=*/1); }

PancdrImpl::PancdrImpl(const Sizes& sizes) {
  encoder = register_module("EN_model", Encoder(sizes));
  predictor = register_module("GCN_model", graph_cdr::GraphPredictor(predictor_options(sizes)));
  discriminator = register_module("ADV_model", Discriminator(sizes.latent));
}

std::vector<torch::Tensor> PancdrImpl::response_parameters() const {
  std::vector<torch::Tensor> parameters = encoder->parameters();
  for (const auto& p : predictor->parameters()) parameters.push_back(p);
  return parameters;
}

}  // namespace cdrzoo::pancdr
