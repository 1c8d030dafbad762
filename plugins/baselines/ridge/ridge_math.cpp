// SPDX-License-Identifier: Apache-2.0
#include "ridge_math.hpp"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace cdrzoo::ridge {

BlasThreads::BlasThreads(int threads) : before_(openblas_get_num_threads()) { openblas_set_num_threads(threads); }

BlasThreads::~BlasThreads() { openblas_set_num_threads(before_); }

Matrix multiply(const Matrix& a, Op op_a, const Matrix& b, Op op_b) {
  const int m = op_a == Op::kPlain ? a.rows : a.cols;
  const int k = op_a == Op::kPlain ? a.cols : a.rows;
  const int n = op_b == Op::kPlain ? b.cols : b.rows;
  if (k != (op_b == Op::kPlain ? b.rows : b.cols)) throw std::logic_error("multiply: the inner sizes differ");
  Matrix c(m, n);
  if (m == 0 || n == 0 || k == 0) return c;
  const auto transpose = [](Op op) { return op == Op::kPlain ? CblasNoTrans : CblasTrans; };
  cblas_dgemm(CblasRowMajor, transpose(op_a), transpose(op_b), m, n, k, 1.0, a.v.data(), a.cols, b.v.data(), b.cols,
              0.0, c.v.data(), n);
  return c;
}

Scaler fit_scaler(const Matrix& x) {
  const auto cols = static_cast<std::size_t>(x.cols);
  Scaler s{std::vector<double>(cols, 0.0), std::vector<double>(cols, 0.0)};
  for (int i = 0; i < x.rows; ++i) {
    for (std::size_t j = 0; j < cols; ++j) s.mean[j] += x.row(i)[j];
  }
  for (auto& mean : s.mean) mean /= x.rows;
  for (int i = 0; i < x.rows; ++i) {
    for (std::size_t j = 0; j < cols; ++j) {
      const double d = x.row(i)[j] - s.mean[j];
      s.scale[j] += d * d;
    }
  }
  for (std::size_t j = 0; j < cols; ++j) {
    s.scale[j] = std::sqrt(s.scale[j] / x.rows);
    // rounding leaves a tiny deviation in a constant column; do not blow it up
    if (!(s.scale[j] > 1e-10 * std::max(1.0, std::abs(s.mean[j])))) s.scale[j] = 1.0;
  }
  return s;
}

void standardise(Matrix& x, const Scaler& scaler) {
  for (int i = 0; i < x.rows; ++i) {
    for (int j = 0; j < x.cols; ++j) {
      const auto c = static_cast<std::size_t>(j);
      x.at(i, j) = (x.at(i, j) - scaler.mean[c]) / scaler.scale[c];
    }
  }
}

Matrix tanimoto(const Matrix& a, const Matrix& b) {
  const auto bits = [](const Matrix& m, int i) { return std::accumulate(m.row(i), m.row(i) + m.cols, 0.0); };
  std::vector<double> bits_b;
  bits_b.reserve(static_cast<std::size_t>(b.rows));
  for (int j = 0; j < b.rows; ++j) bits_b.push_back(bits(b, j));
  Matrix t = multiply(a, Op::kPlain, b, Op::kTransposed);  // |a and b|
  for (int i = 0; i < t.rows; ++i) {
    const double bits_a = bits(a, i);
    for (int j = 0; j < t.cols; ++j) {
      const double either = bits_a + bits_b[static_cast<std::size_t>(j)] - t.at(i, j);
      t.at(i, j) = either > 0 ? t.at(i, j) / either : 1.0;
    }
  }
  return t;
}

CgResult conjugate_gradient(const Apply& apply, const std::vector<double>& b, double tolerance, int max_iterations,
                            const Checkpoint& checkpoint) {
  const auto dot = [](const std::vector<double>& x, const std::vector<double>& y) {
    return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
  };
  const std::size_t n = b.size();
  CgResult result{std::vector<double>(n, 0.0), 0, 0.0};
  std::vector<double> r = b;
  std::vector<double> p = b;
  std::vector<double> ap(n);
  double rr = dot(r, r);
  const double bb = rr;
  while (bb > 0 && rr > tolerance * tolerance * bb && result.iterations < max_iterations) {
    checkpoint();
    apply(p, ap);
    const double step = rr / dot(p, ap);
    for (std::size_t i = 0; i < n; ++i) {
      result.x[i] += step * p[i];
      r[i] -= step * ap[i];
    }
    const double rr_new = dot(r, r);
    const double beta = rr_new / rr;
    for (std::size_t i = 0; i < n; ++i) p[i] = r[i] + beta * p[i];
    rr = rr_new;
    ++result.iterations;
  }
  result.relative_residual = bb > 0 ? std::sqrt(rr / bb) : 0.0;
  return result;
}

namespace {

/// P: takes the mean over the measured samples out of each drug's column, and zeroes what was not measured. An
/// orthogonal projection; working in its range is what leaves the intercepts unpenalised.
class Centring {
 public:
  explicit Centring(const Matrix& mask) : mask_(mask), count_(static_cast<std::size_t>(mask.cols), 0.0) {
    for (int i = 0; i < mask.rows; ++i) {
      for (std::size_t j = 0; j < count_.size(); ++j) count_[j] += mask.row(i)[j];
    }
  }

  /// Mean of each column over its measured entries; 0 where there are none.
  [[nodiscard]] std::vector<double> means(const Matrix& a) const {
    std::vector<double> mean(count_.size(), 0.0);
    for (int i = 0; i < a.rows; ++i) {
      for (std::size_t j = 0; j < mean.size(); ++j) mean[j] += mask_.row(i)[j] * a.row(i)[j];
    }
    for (std::size_t j = 0; j < mean.size(); ++j) mean[j] = count_[j] > 0 ? mean[j] / count_[j] : 0.0;
    return mean;
  }

  void apply(Matrix& a) const {
    const std::vector<double> mean = means(a);
    for (int i = 0; i < a.rows; ++i) {
      for (std::size_t j = 0; j < mean.size(); ++j) a.row(i)[j] = mask_.row(i)[j] * (a.row(i)[j] - mean[j]);
    }
  }

 private:
  const Matrix& mask_;
  std::vector<double> count_;
};

/// a -> Z Z^T a, by the cheaper of its two forms.
class SampleKernel {
 public:
  explicit SampleKernel(const Matrix& z) : z_(z) {
    if (z.rows < 2 * z.cols) gram_ = multiply(z, Op::kPlain, z, Op::kTransposed);
  }
  [[nodiscard]] Matrix apply(const Matrix& a) const {
    if (gram_.rows > 0) return multiply(gram_, Op::kPlain, a, Op::kPlain);
    return multiply(z_, Op::kPlain, multiply(z_, Op::kTransposed, a, Op::kPlain), Op::kPlain);
  }

 private:
  const Matrix& z_;
  Matrix gram_;
};

}  // namespace

Fit fit_kronecker(const Matrix& z, const Matrix& k_drug, const Pairs& pairs, double lambda, double tolerance,
                  int max_iterations, const Checkpoint& checkpoint) {
  const Centring centring(pairs.mask);
  const SampleKernel samples(z);
  const auto kernel = [&](const Matrix& a) { return multiply(samples.apply(a), Op::kPlain, k_drug, Op::kPlain); };

  // (P (K_s (x) K_d) P + lambda) alpha = P y, with alpha in the range of P
  Matrix work(pairs.y.rows, pairs.y.cols);
  const Apply apply = [&](const std::vector<double>& p, std::vector<double>& out) {
    work.v = p;
    Matrix image = kernel(work);
    centring.apply(image);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = image.v[i] + lambda * p[i];
  };
  Matrix centred = pairs.y;
  centring.apply(centred);
  CgResult solved = conjugate_gradient(apply, centred.v, tolerance, max_iterations, checkpoint);

  Fit fit;
  fit.alpha = Matrix(pairs.y.rows, pairs.y.cols);
  fit.alpha.v = std::move(solved.x);
  fit.iterations = solved.iterations;
  fit.relative_residual = solved.relative_residual;
  Matrix unexplained = kernel(fit.alpha);
  for (std::size_t i = 0; i < unexplained.v.size(); ++i) unexplained.v[i] = pairs.y.v[i] - unexplained.v[i];
  fit.intercept = centring.means(unexplained);
  return fit;
}

std::vector<double> kernel_ridge(const Matrix& kernel, const std::vector<double>& y, double lambda,
                                 const Checkpoint& checkpoint) {
  if (y.empty()) return {};
  const double mean = std::accumulate(y.begin(), y.end(), 0.0) / static_cast<double>(y.size());
  Matrix centred(kernel.rows, 1);
  for (std::size_t i = 0; i < y.size(); ++i) centred.v[i] = y[i] - mean;
  Matrix work(kernel.rows, 1);
  const Apply apply = [&](const std::vector<double>& p, std::vector<double>& out) {
    work.v = p;
    out = multiply(kernel, Op::kPlain, work, Op::kPlain).v;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += lambda * p[i];
  };
  return conjugate_gradient(apply, centred.v, 1e-12, 10 * kernel.rows, checkpoint).x;
}

}  // namespace cdrzoo::ridge
