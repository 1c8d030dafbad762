// SPDX-License-Identifier: Apache-2.0
#include "csg2a/networks.hpp"

#include <cmath>

namespace cdrzoo::csg2a {
namespace {

namespace nn = torch::nn;

nn::Linear without_bias(std::int64_t from, std::int64_t to) {
  return nn::Linear(nn::LinearOptions(from, to).bias(false));
}

/// Linear, batch norm, ReLU, dropout.
void push_block(nn::Sequential& sequence, std::int64_t from, std::int64_t to, double dropout) {
  sequence->push_back(nn::Linear(from, to));
  sequence->push_back(nn::BatchNorm1d(to));
  sequence->push_back(nn::ReLU());
  sequence->push_back(nn::Dropout(dropout));
}

}  // namespace

torch::Tensor attended_from(const torch::Tensor& basal, const torch::Tensor& compound, const torch::Tensor& by_gex,
                            const torch::Tensor& by_comp, const torch::Tensor& row_sums, std::int64_t hidden) {
  const double root = std::sqrt(static_cast<double>(hidden));
  return basal * ((basal * by_gex + compound * by_comp) / root + row_sums);  // csg2a.md 7
}

torch::Tensor attended(const torch::Tensor& basal, const torch::Tensor& compound, const torch::Tensor& w_gex,
                       const torch::Tensor& w_comp, const torch::Tensor& row_sums) {
  const torch::Tensor s = torch::matmul(basal, w_gex) + torch::matmul(compound, w_comp);  // sum over k of q_k
  return attended_from(basal, compound, torch::matmul(s, w_gex.t()), torch::matmul(s, w_comp.t()), row_sums,
                       w_gex.size(1));
}

torch::Tensor attention_matrix(const torch::Tensor& basal, const torch::Tensor& compound, const torch::Tensor& w_gex,
                               const torch::Tensor& w_comp, const torch::Tensor& prior) {
  const torch::Tensor q = basal.unsqueeze(-1) * w_gex + compound.unsqueeze(-1) * w_comp;
  return torch::matmul(q, q.transpose(1, 2)) / std::sqrt(static_cast<double>(w_gex.size(1))) + prior;
}

CompoundEncoderImpl::CompoundEncoderImpl(const Sizes& sizes) {
  mat_ = register_module("MAT", mat::Mat(sizes.mat));
  time_ = register_module("time_enc", nn::Linear(1, 2));
  dose_ = register_module("dose_enc", nn::Linear(1, 2));
  projection_ = register_module(
      "comp_proj", nn::Sequential(without_bias(sizes.mat.width + 4, sizes.genes), nn::BatchNorm1d(sizes.genes),
                                  nn::ReLU(), nn::Dropout(sizes.dropout)));
}

torch::Tensor CompoundEncoderImpl::forward(const torch::Tensor& pooled, const torch::Tensor& dose,
                                           const torch::Tensor& time) {
  return projection_->forward(torch::cat({pooled, dose_->forward(dose), time_->forward(time)}, /*dim=*/1));
}

Csg2aImpl::Csg2aImpl(const Sizes& sizes) {
  w_gex_ = register_parameter("w_gex", torch::randn({sizes.genes, sizes.hidden}));
  w_comp_ = register_parameter("w_comp", torch::randn({sizes.genes, sizes.hidden}));
  encoder_ = register_module("CCE", CompoundEncoder(sizes));
  feed_forward_ = register_module("feed_forward",
                                  nn::Sequential(nn::LayerNorm(nn::LayerNormOptions({sizes.genes})), nn::ReLU(),
                                                 nn::Dropout(sizes.dropout), without_bias(sizes.genes, sizes.genes)));
  row_sums_ = torch::ones({sizes.genes});  // of the identity: a prior without edges
}

torch::Tensor Csg2aImpl::attend(const torch::Tensor& basal, const torch::Tensor& compound) const {
  return attended(basal, compound, w_gex_, w_comp_, row_sums_);
}

torch::Tensor Csg2aImpl::predict_from(const torch::Tensor& y) { return feed_forward_->forward(y); }

torch::Tensor Csg2aImpl::forward(const torch::Tensor& basal, const torch::Tensor& compound) {
  return predict_from(attend(basal, compound));
}

ResponseImpl::ResponseImpl(const Sizes& sizes, std::int64_t projection, std::int64_t head) {
  network_ = register_module("CSG2A", Csg2a(sizes));
  alpha_ = register_parameter("scalar", torch::randn({1}).abs() + 1e-8);
  beta_ = register_parameter("bias", torch::randn({1}));
  const auto projected = [&](const char* name) {
    nn::Sequential sequence;
    push_block(sequence, sizes.genes, projection, sizes.dropout);
    return register_module(name, sequence);
  };
  predicted_ = projected("agex_proj");
  basal_ = projected("bgex_proj");
  compound_ = projected("comp_proj");
  nn::Sequential sequence;
  push_block(sequence, 3 * projection, projection, sizes.dropout);
  push_block(sequence, projection, head, sizes.dropout);
  sequence->push_back(nn::Linear(head, 1));
  head_ = register_module("pred_head", sequence);
}

torch::Tensor ResponseImpl::scaled(const torch::Tensor& basal) { return (basal + beta_) * alpha_; }

torch::Tensor ResponseImpl::fuse(const torch::Tensor& basal, const torch::Tensor& predicted,
                                 const torch::Tensor& compound) {
  return head_->forward(torch::cat({basal, predicted, compound}, /*dim=*/1)).squeeze(/*dim=*/1);
}

torch::Tensor ResponseImpl::head(const torch::Tensor& basal, const torch::Tensor& predicted,
                                 const torch::Tensor& compound) {
  return fuse(project_basal(basal), project_predicted(predicted), project_compound(compound));
}

}  // namespace cdrzoo::csg2a
