// SPDX-License-Identifier: Apache-2.0
#include "csg2a/networks.hpp"

#include <cmath>
#include <tuple>
#include <utility>

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

/// Module i of a sequence.
template <class M>
M& at(const nn::Sequential& sequence, std::size_t i) {
  return *sequence->ptr(i)->template as<M>();
}

/// Batch norm of rows that stand for several: statistics and running statistics are those of the repeated rows.
torch::Tensor weighted_batch_norm(nn::BatchNorm1dImpl& norm, const torch::Tensor& x, const torch::Tensor& count) {
  if (!norm.is_training()) return norm.forward(x);
  const torch::Tensor weight = count.to(x.dtype()).unsqueeze(1);
  const torch::Tensor n = weight.sum();
  const torch::Tensor mean = (weight * x).sum(0) / n;
  const torch::Tensor variance = (weight * (x - mean).square()).sum(0) / n;
  {
    const torch::NoGradGuard no_grad;
    const double momentum = norm.options.momentum().value();
    norm.running_mean.mul_(1 - momentum).add_(mean.detach() * momentum);
    norm.running_var.mul_(1 - momentum).add_(variance.detach() * (n / (n - 1)) * momentum);
    norm.num_batches_tracked.add_(1);
  }
  return (x - mean) / torch::sqrt(variance + norm.options.eps()) * norm.weight + norm.bias;
}

/// A block linear, batch norm, ReLU, dropout over rows that are there once; dropout draws per pair.
torch::Tensor project(nn::Sequential& block, const torch::Tensor& x, const sdk::Unique& rows) {
  torch::Tensor y = at<nn::LinearImpl>(block, 0).forward(x);
  y = torch::relu(weighted_batch_norm(at<nn::BatchNorm1dImpl>(block, 1), y, rows.count));
  return at<nn::DropoutImpl>(block, 3).forward(y.index_select(0, rows.index));
}

/// A linear layer and the batch norm behind it in eval mode, as one linear layer.
std::pair<torch::Tensor, torch::Tensor> folded(nn::Sequential& block, std::size_t i) {
  const auto& linear = at<nn::LinearImpl>(block, i);
  const auto& norm = at<nn::BatchNorm1dImpl>(block, i + 1);
  const torch::Tensor scale = norm.weight / torch::sqrt(norm.running_var + norm.options.eps());
  return {linear.weight * scale.unsqueeze(1), (linear.bias - norm.running_mean) * scale + norm.bias};
}

/// Sum of n floats in 16 lanes: the same on any machine, and fast without leave to reorder.
float sum_of(const float* x, std::int64_t n) {
  float lanes[16] = {};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int k = 0; k < 16; ++k) lanes[k] += x[i + k];
  }
  for (int k = 0; i < n; ++i, ++k) lanes[k] += x[i];
  for (int half = 8; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  }
  return lanes[0];
}

float squares_of(const float* x, float mean, std::int64_t n) {
  float lanes[16] = {};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int k = 0; k < 16; ++k) lanes[k] += (x[i + k] - mean) * (x[i + k] - mean);
  }
  for (int k = 0; i < n; ++i, ++k) lanes[k] += (x[i] - mean) * (x[i] - mean);
  for (int half = 8; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  }
  return lanes[0];
}

const float* row_of(const torch::Tensor& matrix, std::int64_t i) {
  return matrix.data_ptr<float>() + i * matrix.size(1);
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

torch::Tensor CompoundEncoderImpl::forward(const torch::Tensor& pooled, const torch::Tensor& dose,
                                           const torch::Tensor& time, const sdk::Unique& conditions) {
  return project(projection_, torch::cat({pooled, dose_->forward(dose), time_->forward(time)}, /*dim=*/1), conditions);
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

Factors Csg2aImpl::cells(const torch::Tensor& basal) const {
  const torch::Tensor u = torch::matmul(basal, w_gex_);  // csg2a.md 7: u = W_g' b
  return {basal, torch::matmul(u, w_gex_.t()), torch::matmul(u, w_comp_.t())};
}

Factors Csg2aImpl::conditions(const torch::Tensor& compound) const {
  const torch::Tensor v = torch::matmul(compound, w_comp_);  // csg2a.md 7: v = W_d' c
  return {compound, torch::matmul(v, w_gex_.t()), torch::matmul(v, w_comp_.t())};
}

torch::Tensor Csg2aImpl::attend(const Factors& cells, const Factors& conditions) const {
  return attended_from(cells.x, conditions.x, cells.by_gex + conditions.by_gex, cells.by_comp + conditions.by_comp,
                       row_sums_, w_gex_.size(1));
}

torch::Tensor Csg2aImpl::activated(const Factors& cells, const torch::Tensor& cell, const Factors& conditions,
                                   const torch::Tensor& condition) const {
  const auto& norm = at<nn::LayerNormImpl>(feed_forward_, 0);
  if (!cell.device().is_cpu()) return torch::relu(norm_of(cells.select(cell), conditions.select(condition)));
  const std::int64_t n = cell.size(0);
  const std::int64_t genes = w_gex_.size(0);
  const auto contiguous = [](const Factors& f) {
    return Factors{f.x.contiguous(), f.by_gex.contiguous(), f.by_comp.contiguous()};
  };
  const Factors left = contiguous(cells);
  const Factors right = contiguous(conditions);
  const torch::Tensor row_sums = row_sums_.contiguous();
  const float* r = row_sums.data_ptr<float>();
  const float* gain = norm.weight.data_ptr<float>();
  const float* shift = norm.bias.data_ptr<float>();
  const auto eps = static_cast<float>(norm.options.eps());
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(w_gex_.size(1))));
  const auto of_cell = cell.accessor<std::int64_t, 1>();
  const auto of_condition = condition.accessor<std::int64_t, 1>();
  torch::Tensor out = torch::empty({n, genes});
  for (std::int64_t i = 0; i < n; ++i) {
    const float* b = row_of(left.x, of_cell[i]);
    const float* g1 = row_of(left.by_gex, of_cell[i]);
    const float* d1 = row_of(left.by_comp, of_cell[i]);
    const float* c = row_of(right.x, of_condition[i]);
    const float* g2 = row_of(right.by_gex, of_condition[i]);
    const float* d2 = row_of(right.by_comp, of_condition[i]);
    float* y = out.data_ptr<float>() + i * genes;
    for (std::int64_t j = 0; j < genes; ++j) {
      y[j] = b[j] * ((b[j] * (g1[j] + g2[j]) + c[j] * (d1[j] + d2[j])) * scale + r[j]);  // csg2a.md 7
    }
    const float mean = sum_of(y, genes) / static_cast<float>(genes);
    const float inverse = 1.0F / std::sqrt(squares_of(y, mean, genes) / static_cast<float>(genes) + eps);
    for (std::int64_t j = 0; j < genes; ++j) {
      const float z = (y[j] - mean) * inverse * gain[j] + shift[j];
      y[j] = z < 0.0F ? 0.0F : z;  // a NaN stays one
    }
  }
  return out;
}

torch::Tensor Csg2aImpl::norm_of(const Factors& cells, const Factors& conditions) const {
  return at<nn::LayerNormImpl>(feed_forward_, 0).forward(attend(cells, conditions));
}

const torch::Tensor& Csg2aImpl::output_weight() const { return at<nn::LinearImpl>(feed_forward_, 3).weight; }

void Csg2aImpl::move_to(torch::Device device) {
  to(device);
  row_sums_ = row_sums_.to(device);
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

Factors ResponseImpl::scaled(const Factors& basal, const Factors& of_ones) const {
  const auto affine = [this](const torch::Tensor& of_basal, const torch::Tensor& of_one) {
    return (of_basal + beta_ * of_one) * alpha_;  // csg2a.md 7: G1 and D1 are linear in b
  };
  return {affine(basal.x, of_ones.x), affine(basal.by_gex, of_ones.by_gex), affine(basal.by_comp, of_ones.by_comp)};
}

torch::Tensor ResponseImpl::forward(const torch::Tensor& basal, const Factors& cells, const sdk::Unique& samples,
                                    const Factors& conditions, const sdk::Unique& compounds) {
  const torch::Tensor y = network_->attend(cells.select(samples.index), conditions.select(compounds.index));
  return fuse(project(basal_, basal, samples), project_predicted(network_->predict_from(y)),
              project(compound_, conditions.x, compounds));
}

ResponseImpl::Readout ResponseImpl::readout(const torch::Tensor& basal, const torch::Tensor& compound) {
  Readout out;
  const auto [of_predicted, predicted_bias] = folded(predicted_, 0);
  out.weight = torch::matmul(of_predicted, network_->output_weight());
  out.bias = predicted_bias;
  const auto [first, first_bias] = folded(head_, 0);
  const auto part = [&weight = first](std::int64_t i) {  // C++17 captures no binding by its own name
    const std::int64_t width = weight.size(0);
    return weight.narrow(1, i * width, width);
  };
  out.of_cell = torch::matmul(project_basal(basal), part(0).t());
  out.mix = part(1);
  out.of_condition = torch::matmul(project_compound(compound), part(2).t()) + first_bias;
  std::tie(out.head_weight, out.head_bias) = folded(head_, 4);
  const auto& last = at<nn::LinearImpl>(head_, 8);
  out.out_weight = last.weight;
  out.out_bias = last.bias;
  return out;
}

torch::Tensor ResponseImpl::read(const Readout& r, const torch::Tensor& activated, const torch::Tensor& cell,
                                 const torch::Tensor& condition) {
  torch::Tensor x = torch::addmm(r.bias, activated, r.weight.t()).relu_();
  x = torch::matmul(x, r.mix.t()).add_(r.of_cell.index_select(0, cell)).add_(r.of_condition.index_select(0, condition));
  x = torch::addmm(r.head_bias, x.relu_(), r.head_weight.t()).relu_();
  return torch::addmm(r.out_bias, x, r.out_weight.t()).squeeze(/*dim=*/1);
}

torch::Tensor ResponseImpl::fuse(const torch::Tensor& basal, const torch::Tensor& predicted,
                                 const torch::Tensor& compound) {
  return head_->forward(torch::cat({basal, predicted, compound}, /*dim=*/1)).squeeze(/*dim=*/1);
}

torch::Tensor ResponseImpl::head(const torch::Tensor& basal, const torch::Tensor& predicted,
                                 const torch::Tensor& compound) {
  return fuse(project_basal(basal), project_predicted(predicted), project_compound(compound));
}

}  // namespace cdrzoo::csg2a
