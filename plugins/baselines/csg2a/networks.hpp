// SPDX-License-Identifier: Apache-2.0
// The networks of CSG2A (Bang, Koo and Kim, 2024) without losses. Keys of parameters are those of its checkpoints.
#pragma once

#include <torch/torch.h>

#include <cdrzoo/torch.hpp>

#include "mat/mat.hpp"

namespace cdrzoo::csg2a {

struct Sizes {
  std::int64_t genes = 978;  ///< G
  std::int64_t hidden = 64;  ///< H, width of a gene's query
  double dropout = 0.1;
  mat::Options mat;
};

/// The gene-gene attention in the form that needs only the row sums of M = Q Q' / sqrt(H) + A (csg2a.md 7):
///   y = b (x) [ (b (x) W_g s + c (x) W_d s) / sqrt(H) + r ],  s = W_g' b + W_d' c,  r = A 1.
/// \param basal b, f32 [n, G] \param compound c, f32 [n, G] \param w_gex, w_comp f32 [G, H] \param row_sums r, f32 [G]
[[nodiscard]] torch::Tensor attended(const torch::Tensor& basal, const torch::Tensor& compound,
                                     const torch::Tensor& w_gex, const torch::Tensor& w_comp,
                                     const torch::Tensor& row_sums);
/// The same from what belongs to a cell and to a condition: W_g u, W_d u of the cell and W_g v, W_d v of the condition,
/// u = W_g' b, v = W_d' c, all f32 [n, G].
[[nodiscard]] torch::Tensor attended_from(const torch::Tensor& basal, const torch::Tensor& compound,
                                          const torch::Tensor& by_gex, const torch::Tensor& by_comp,
                                          const torch::Tensor& row_sums, std::int64_t hidden);
/// What a cell or a condition brings to the attention (csg2a.md 7); linear in x.
struct Factors {
  torch::Tensor x;        ///< b or c, f32 [n, G]
  torch::Tensor by_gex;   ///< W_g W' x, W = W_g for cells and W_d for conditions
  torch::Tensor by_comp;  ///< W_d W' x
  [[nodiscard]] Factors select(const torch::Tensor& rows) const {
    return {x.index_select(0, rows), by_gex.index_select(0, rows), by_comp.index_select(0, rows)};
  }
};

/// M itself, for looking at: f32 [n, G, G] (csg2a.md 2.2). \param prior A, f32 [G, G]
[[nodiscard]] torch::Tensor attention_matrix(const torch::Tensor& basal, const torch::Tensor& compound,
                                             const torch::Tensor& w_gex, const torch::Tensor& w_comp,
                                             const torch::Tensor& prior);

/// The compound-condition encoder (csg2a.md 2.1): c = Dropout(ReLU(BN(W_c [m ; dose ; time]))).
class CompoundEncoderImpl : public torch::nn::Module {
 public:
  explicit CompoundEncoderImpl(const Sizes& sizes);
  /// Pooled tokens of the drug of each condition f32 [n, d], dose in 100 uM and time in 72 h f32 [n, 1] -> f32 [n, G]
  torch::Tensor forward(const torch::Tensor& pooled, const torch::Tensor& dose, const torch::Tensor& time);
  /// The vector of each pair from conditions that are there once: batch norm weighs a condition by its pairs, so the
  /// result is that of one row per pair; dropout draws per pair. -> f32 [pairs, G]
  torch::Tensor forward(const torch::Tensor& pooled, const torch::Tensor& dose, const torch::Tensor& time,
                        const sdk::Unique& conditions);
  mat::Mat& mat() { return mat_; }

 private:
  mat::Mat mat_{nullptr};
  torch::nn::Linear time_{nullptr}, dose_{nullptr};
  torch::nn::Sequential projection_{nullptr};
};
TORCH_MODULE(CompoundEncoder);

/// The network that predicts treated expression. The prior is not a parameter and not in checkpoints: its row sums are
/// given from outside.
class Csg2aImpl : public torch::nn::Module {
 public:
  explicit Csg2aImpl(const Sizes& sizes);
  /// Basal expression and compound vector of each pair f32 [n, G] -> treated expression f32 [n, G]
  torch::Tensor forward(const torch::Tensor& basal, const torch::Tensor& compound);
  /// What follows the attention: W_o Dropout(ReLU(LN(y))).
  torch::Tensor predict_from(const torch::Tensor& y);
  [[nodiscard]] torch::Tensor attend(const torch::Tensor& basal, const torch::Tensor& compound) const;

  /// Cells from b, conditions from c.
  [[nodiscard]] Factors cells(const torch::Tensor& basal) const;
  [[nodiscard]] Factors conditions(const torch::Tensor& compound) const;
  /// y of pairs, row by row. f32 [n, G]
  [[nodiscard]] torch::Tensor attend(const Factors& cells, const Factors& conditions) const;
  /// ReLU(LN(y)) of pairs (cell[i], condition[i]) without gradients: in one pass over each row on a CPU. f32 [n, G]
  [[nodiscard]] torch::Tensor activated(const Factors& cells, const torch::Tensor& cell, const Factors& conditions,
                                        const torch::Tensor& condition) const;
  [[nodiscard]] const torch::Tensor& output_weight() const;  ///< W_o

  void set_prior_row_sums(const torch::Tensor& row_sums) { row_sums_ = row_sums; }
  [[nodiscard]] const torch::Tensor& row_sums() const { return row_sums_; }
  void move_to(torch::Device device);  ///< the row sums, too
  [[nodiscard]] const torch::Tensor& w_gex() const { return w_gex_; }
  [[nodiscard]] const torch::Tensor& w_comp() const { return w_comp_; }
  CompoundEncoder& encoder() { return encoder_; }

 private:
  [[nodiscard]] torch::Tensor norm_of(const Factors& cells, const Factors& conditions) const;
  torch::Tensor w_gex_, w_comp_;
  torch::Tensor row_sums_;  // of the prior, f32 [G]; no buffer, so that the keys stay those of checkpoints
  CompoundEncoder encoder_{nullptr};
  torch::nn::Sequential feed_forward_{nullptr};
};
TORCH_MODULE(Csg2a);

/// The response model around it (csg2a.md 2.4). Order of the fusion: basal, predicted, compound.
class ResponseImpl : public torch::nn::Module {
 public:
  ResponseImpl(const Sizes& sizes, std::int64_t projection, std::int64_t head);
  /// b' = (b + beta) alpha, what the network sees.
  torch::Tensor scaled(const torch::Tensor& basal);
  /// Factors of b' from those of b and of a cell of ones.
  [[nodiscard]] Factors scaled(const Factors& basal, const Factors& of_ones) const;
  /// The whole model from entities that are there once: value or logit of each pair, f32 [pairs].
  /// \param basal b, f32 [cells, G] \param cells factors of b' \param samples of the pairs
  /// \param conditions factors of c \param compounds of the pairs, as their rows
  torch::Tensor forward(const torch::Tensor& basal, const Factors& cells, const sdk::Unique& samples,
                        const Factors& conditions, const sdk::Unique& compounds);

  /// forward() in eval mode for many pairs: batch norms folded into the weights, W_o into the projection that follows
  /// it, and everything that belongs to a cell or a condition alone computed once.
  struct Readout {
    torch::Tensor weight, bias;           // of relu(weight h + bias), h = ReLU(LN(y)); [P, G], [P]
    torch::Tensor mix;                    // [P, P]
    torch::Tensor of_cell, of_condition;  // [cells, P], [conditions, P]
    torch::Tensor head_weight, head_bias, out_weight, out_bias;
  };
  [[nodiscard]] Readout readout(const torch::Tensor& basal, const torch::Tensor& compound);
  /// \param activated h of the pairs
  [[nodiscard]] static torch::Tensor read(const Readout& readout, const torch::Tensor& activated,
                                          const torch::Tensor& cell, const torch::Tensor& condition);

  /// Raw basal, predicted and compound vector of each pair f32 [n, G] -> f32 [n]: a value, or a logit
  torch::Tensor head(const torch::Tensor& basal, const torch::Tensor& predicted, const torch::Tensor& compound);
  /// Parts of head(), for callers with many pairs of few samples and drugs.
  torch::Tensor project_basal(const torch::Tensor& basal) { return basal_->forward(basal); }
  torch::Tensor project_predicted(const torch::Tensor& predicted) { return predicted_->forward(predicted); }
  torch::Tensor project_compound(const torch::Tensor& compound) { return compound_->forward(compound); }
  torch::Tensor fuse(const torch::Tensor& basal, const torch::Tensor& predicted, const torch::Tensor& compound);
  Csg2a& network() { return network_; }
  [[nodiscard]] const torch::Tensor& alpha() const { return alpha_; }
  [[nodiscard]] const torch::Tensor& beta() const { return beta_; }

 private:
  Csg2a network_{nullptr};
  torch::Tensor alpha_, beta_;
  torch::nn::Sequential basal_{nullptr}, predicted_{nullptr}, compound_{nullptr}, head_{nullptr};
};
TORCH_MODULE(Response);

}  // namespace cdrzoo::csg2a
