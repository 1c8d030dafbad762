// SPDX-License-Identifier: Apache-2.0
// baseline.ridge: f(s, d) = b_d + z_s . W_d, with coefficients that similar drugs share. README.md has the equations.
//
// Notation: z_s standardised expression of a sample; K_d = (1 - sharing) I + sharing T the kernel between drugs, T the
// Tanimoto similarity of their fingerprints (1 everywhere without fingerprints); alpha the dual solution;
// V = Z^T alpha [genes, drugs], so that W = V K_d and a new drug with similarities t has W_new = V (sharing t).
#include <cdrzoo/plugin.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_map>
#include <vector>

#include "cards.h"
#include "ridge_math.hpp"

namespace {

using namespace cdrzoo;
using ridge::Matrix;
using ridge::Op;

constexpr double kTolerance = 1e-8;   // of the conjugate gradients; far below what a float prediction shows
constexpr int kMaxIterations = 2000;  // gdsc2_ccle takes about 50
constexpr const char* kExpression = "expression";
constexpr const char* kMorgan = "morgan";

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

Matrix expression_of(const sdk::Entities& samples, std::int64_t width) {
  const sdk::DenseBlock block = samples.dense(kExpression);
  if (block.width() != width) {
    throw sdk::Error(CDRZOO_E_ARGUMENT, "the expression block has " + std::to_string(block.width()) +
                                            " genes, but the model was made for " + std::to_string(width));
  }
  const std::vector<float> values = block.to_f32();
  Matrix x(static_cast<int>(block.rows()), static_cast<int>(width));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      throw sdk::Error(CDRZOO_E_DATA, "the expression of gene " + std::to_string(i % at(width)) + " in sample " +
                                          std::to_string(i / at(width)) + " is not finite");
    }
    x.v[i] = static_cast<double>(values[i]);
  }
  return x;
}

/// 1 where a bit is set. [drugs, bits]
Matrix bits_of(const sdk::Entities& drugs) {
  const sdk::DenseBlock block = drugs.dense(kMorgan);
  const std::vector<float> values = block.to_f32();
  Matrix bits(static_cast<int>(block.rows()), static_cast<int>(block.width()));
  for (std::size_t i = 0; i < values.size(); ++i) bits.v[i] = values[i] > 0 ? 1.0 : 0.0;
  return bits;
}

/// The training targets as a table of samples x drugs. Repeated measurements of a pair are averaged.
ridge::Pairs pairs_of(const sdk::View& train) {
  const auto sample = train.sample();
  const auto drug = train.drug();
  const auto target = train.target();
  const auto mask = train.has_target_mask() ? train.target_mask() : sdk::Matrix<const std::uint8_t>();
  const auto n = static_cast<int>(train.samples().size());
  const auto m = static_cast<int>(train.drugs().size());
  ridge::Pairs pairs{Matrix(n, m), Matrix(n, m)};
  bool any = false;
  for (std::int64_t i = 0; i < train.n_obs(); ++i) {
    if (!mask.empty() && mask(i, 0) == 0) continue;
    const auto y = static_cast<double>(target(i, 0));
    if (!std::isfinite(y)) throw sdk::Error(CDRZOO_E_DATA, "the target of row " + std::to_string(i) + " is not finite");
    pairs.y.at(sample[i], drug[i]) += y;
    pairs.mask.at(sample[i], drug[i]) += 1;
    any = true;
  }
  if (!any) throw sdk::Error(CDRZOO_E_DATA, "there are no labelled training rows");
  for (std::size_t i = 0; i < pairs.y.v.size(); ++i) {
    if (pairs.mask.v[i] > 0) pairs.y.v[i] /= pairs.mask.v[i];
    if (pairs.mask.v[i] > 0) pairs.mask.v[i] = 1;
  }
  return pairs;
}

class Ridge final : public sdk::Model {
 public:
  Ridge(const sdk::Problem& problem, const sdk::Params& params)
      : n_genes_(problem.block(sdk::Axis::sample, kExpression).width),
        lambda_(params.real("lambda")),
        sharing_(params.real("sharing")),
        lambda_drug_(params.real("lambda_drug")) {
    if (problem.n_targets != 1) {
      throw sdk::Error(CDRZOO_E_UNSUPPORTED,
                       "ridge has one target, the problem has " + std::to_string(problem.n_targets));
    }
    if (problem.task != sdk::Task::regression && problem.task != sdk::Task::binary) {
      throw sdk::Error(CDRZOO_E_UNSUPPORTED, "ridge knows the tasks regression and binary");
    }
    if (!problem.has(sdk::Column::drug)) throw sdk::Error(CDRZOO_E_UNSUPPORTED, "ridge needs a drug per observation");
    if (const auto* morgan = problem.find(sdk::Axis::drug, kMorgan)) n_bits_ = morgan->width;
  }

  void fit(sdk::Context& context, const sdk::FitData& data) override {
    const ridge::BlasThreads threads(context.threads());
    const ridge::Pairs pairs = pairs_of(data.train);
    Matrix z = expression_of(data.train.samples(), n_genes_);
    scaler_ = ridge::fit_scaler(z);
    ridge::standardise(z, scaler_);
    remember_drugs(data.train.drugs());

    std::uint64_t iteration = 0;
    const auto checkpoint = [&] {
      context.check_cancelled();
      context.progress("conjugate gradients", iteration++);
    };
    const Matrix similarity = ridge::tanimoto(bits_, bits_);
    const ridge::Fit fit =
        ridge::fit_kronecker(z, drug_kernel(similarity), pairs, lambda_, kTolerance, kMaxIterations, checkpoint);
    if (!(fit.relative_residual <= 1e3 * kTolerance)) {
      throw sdk::Error(CDRZOO_E_NUMERIC, "the conjugate gradients did not converge in " +
                                             std::to_string(fit.iterations) + " iterations: relative residual " +
                                             std::to_string(fit.relative_residual));
    }
    v_ = ridge::multiply(z, Op::kTransposed, fit.alpha, Op::kPlain);
    intercept_ = fit.intercept;
    mean_intercept_ = 0;
    for (const double b : intercept_) mean_intercept_ += b / static_cast<double>(intercept_.size());
    level_ = ridge::kernel_ridge(similarity, intercept_, lambda_drug_, checkpoint);
  }

  void predict(sdk::Context& context, const sdk::View& query, sdk::Predictions& out) const override {
    const ridge::BlasThreads threads(context.threads());
    if (query.n_obs() == 0) return;
    Matrix z = expression_of(query.samples(), n_genes_);
    ridge::standardise(z, scaler_);
    std::vector<double> level;
    const Matrix similarity = weights_of(query.drugs(), level);  // [query drugs, training drugs]
    const Matrix w = ridge::multiply(v_, Op::kPlain, similarity, Op::kTransposed);
    context.check_cancelled();
    const Matrix f = ridge::multiply(z, Op::kPlain, w, Op::kPlain);  // [query samples, query drugs]
    const auto sample = query.sample();
    const auto drug = query.drug();
    for (std::int64_t i = 0; i < query.n_obs(); ++i) out.set(i, level[at(drug[i])] + f.at(sample[i], drug[i]));
  }

  void save(sdk::Context&, sdk::StateWriter& state) const override {
    const auto m = static_cast<std::int64_t>(drug_key_.size());
    std::vector<std::uint8_t> bits(bits_.v.size());
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = bits_.v[i] > 0 ? 1 : 0;
    state.tensor("gene.mean", scaler_.mean);
    state.tensor("gene.scale", scaler_.scale);
    state.tensor("drug.key", drug_key_);
    state.tensor("drug.bits", bits, {m, bits_.cols});
    state.tensor("drug.intercept", intercept_);
    state.tensor("drug.level", level_);
    state.tensor("coefficient", v_.v, {n_genes_, m});
    state.scalar("mean_intercept", mean_intercept_);
  }

  void load(sdk::Context&, sdk::StateReader& state) override {
    scaler_.mean = state.vector<double>("gene.mean", {n_genes_});
    scaler_.scale = state.vector<double>("gene.scale", {n_genes_});
    drug_key_ = state.vector<std::int64_t>("drug.key");
    const auto m = static_cast<std::int64_t>(drug_key_.size());
    const std::int64_t width = std::max<std::int64_t>(n_bits_, 1);
    const auto bits = state.vector<std::uint8_t>("drug.bits", {m, width});
    bits_ = Matrix(static_cast<int>(m), static_cast<int>(width));
    for (std::size_t i = 0; i < bits.size(); ++i) bits_.v[i] = bits[i];
    intercept_ = state.vector<double>("drug.intercept", {m});
    level_ = state.vector<double>("drug.level", {m});
    v_ = Matrix(static_cast<int>(n_genes_), static_cast<int>(m));
    v_.v = state.vector<double>("coefficient", {n_genes_, m});
    mean_intercept_ = state.scalar<double>("mean_intercept");
    index_drugs();
  }

  [[nodiscard]] sdk::ModelInfo info() const override {
    sdk::ModelInfo info;
    info.n_parameters = static_cast<std::int64_t>(v_.v.size() + intercept_.size());
    info.bytes = sizeof(double) * (v_.v.size() + bits_.v.size() + 2 * scaler_.mean.size() + 2 * intercept_.size());
    return info;
  }

 private:
  void remember_drugs(const sdk::Entities& drugs) {
    const auto keys = drugs.keys();
    drug_key_.assign(keys.begin(), keys.end());
    // without fingerprints every drug has the same single bit, so that all similarities are 1
    bits_ = n_bits_ > 0 ? bits_of(drugs) : Matrix(static_cast<int>(drugs.size()), 1, 1.0);
    index_drugs();
  }

  void index_drugs() {
    index_.clear();
    for (std::size_t j = 0; j < drug_key_.size(); ++j) index_.emplace(drug_key_[j], static_cast<int>(j));
  }

  /// K_d between the training drugs.
  [[nodiscard]] Matrix drug_kernel(const Matrix& similarity) const {
    Matrix k = similarity;
    for (double& v : k.v) v *= sharing_;
    for (int j = 0; j < k.rows; ++j) k.at(j, j) += 1 - sharing_;
    return k;
  }

  /// The rows of K_d of the query's drugs against the training drugs, and the level b of each. A drug is known by its
  /// key; for a new one the part of its own is 0, and its level comes from its similarities.
  [[nodiscard]] Matrix weights_of(const sdk::Entities& drugs, std::vector<double>& level) const {
    const Matrix bits = n_bits_ > 0 ? bits_of(drugs) : Matrix(static_cast<int>(drugs.size()), 1, 1.0);
    Matrix k = ridge::tanimoto(bits, bits_);
    level.assign(at(drugs.size()), 0.0);
    const auto keys = drugs.keys();
    for (int q = 0; q < k.rows; ++q) {
      const auto known = index_.find(keys[q]);
      double& b = level[at(q)];
      b = known != index_.end() ? intercept_[at(known->second)] : mean_intercept_;
      for (int j = 0; j < k.cols; ++j) {
        if (known == index_.end()) b += k.at(q, j) * level_[at(j)];
        k.at(q, j) *= sharing_;
      }
      if (known != index_.end()) k.at(q, known->second) += 1 - sharing_;
    }
    return k;
  }

  std::int64_t n_genes_;
  double lambda_, sharing_, lambda_drug_;
  std::int64_t n_bits_ = 0;  // 0 = no fingerprints

  ridge::Scaler scaler_;
  std::vector<std::int64_t> drug_key_;
  std::unordered_map<std::int64_t, int> index_;
  Matrix bits_;                    // [drugs, max(n_bits, 1)]
  Matrix v_;                       // V [genes, drugs]
  std::vector<double> intercept_;  // b [drugs]
  std::vector<double> level_;      // dual weights of the intercepts' regression on T
  double mean_intercept_ = 0;
};

}  // namespace

CDRZOO_EXPORT_PLUGIN(sdk::model<Ridge>(kRidgeCard))
