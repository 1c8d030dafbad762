// SPDX-License-Identifier: Apache-2.0
#include "networks.hpp"

namespace cdrzoo::mlp {

TowerImpl::TowerImpl(std::int64_t inputs, const std::vector<std::int64_t>& layers, double dropout) {
  torch::nn::Sequential sequence;
  for (const std::int64_t outputs : layers) {
    sequence->push_back(torch::nn::Linear(inputs, outputs));
    sequence->push_back(torch::nn::ReLU());
    sequence->push_back(torch::nn::Dropout(dropout));
    inputs = outputs;
  }
  layers_ = register_module("layers", sequence);
}

torch::Tensor TowerImpl::forward(const torch::Tensor& x) { return layers_->forward(x); }

TwoTowersImpl::TwoTowersImpl(const Sizes& sizes) {
  mean_ = register_buffer("gene_mean", torch::zeros({sizes.genes}));
  scale_ = register_buffer("gene_scale", torch::ones({sizes.genes}));
  sample_tower_ = register_module("sample_tower", Tower(sizes.genes, sizes.sample_layers, sizes.dropout));
  drug_tower_ = register_module("drug_tower", Tower(sizes.bits, sizes.drug_layers, sizes.dropout));
  head_ = register_module(
      "head", Tower(sizes.sample_layers.back() + sizes.drug_layers.back(), sizes.head_layers, sizes.dropout));
  output_ = register_module("output", torch::nn::Linear(sizes.head_layers.back(), 1));
}

void TwoTowersImpl::scale_to(const torch::Tensor& expression) {
  const torch::NoGradGuard no_grad;
  mean_.copy_(expression.mean(/*dim=*/0));
  const torch::Tensor deviation = expression.std(/*dim=*/0, /*unbiased=*/false);
  scale_.copy_(torch::where(deviation > 1e-6, deviation, torch::ones_like(deviation)));  // a constant gene scales to 0
}

torch::Tensor TwoTowersImpl::encode_samples(const torch::Tensor& expression) {
  return sample_tower_->forward((expression - mean_) / scale_);
}

torch::Tensor TwoTowersImpl::encode_drugs(const torch::Tensor& fingerprint) {
  return drug_tower_->forward(fingerprint);
}

torch::Tensor TwoTowersImpl::combine(const torch::Tensor& sample, const torch::Tensor& drug) {
  return output_->forward(head_->forward(torch::cat({sample, drug}, /*dim=*/1))).squeeze(/*dim=*/1);
}

torch::Tensor TwoTowersImpl::forward(const Batch& batch) {
  return combine(encode_samples(batch.expression).index_select(/*dim=*/0, batch.sample),
                 encode_drugs(batch.fingerprint).index_select(/*dim=*/0, batch.drug));
}

}  // namespace cdrzoo::mlp
