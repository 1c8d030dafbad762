// SPDX-License-Identifier: Apache-2.0
// Kronecker ridge regression with missing pairs: the mathematics, free of the ABI. See README.md for the derivation.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace cdrzoo::ridge {

/// Dense row-major matrix of doubles.
struct Matrix {
  int rows = 0;
  int cols = 0;
  std::vector<double> v;

  Matrix() = default;
  Matrix(int n_rows, int n_cols, double fill = 0)
      : rows(n_rows), cols(n_cols), v(static_cast<std::size_t>(n_rows) * static_cast<std::size_t>(n_cols), fill) {}
  [[nodiscard]] double& at(int i, int j) { return v[index(i, j)]; }
  [[nodiscard]] double at(int i, int j) const { return v[index(i, j)]; }
  [[nodiscard]] double* row(int i) { return v.data() + index(i, 0); }
  [[nodiscard]] const double* row(int i) const { return v.data() + index(i, 0); }

 private:
  [[nodiscard]] std::size_t index(int i, int j) const {
    return static_cast<std::size_t>(i) * static_cast<std::size_t>(cols) + static_cast<std::size_t>(j);
  }
};

/// Holds OpenBLAS to a thread budget while it lives.
class BlasThreads {
 public:
  explicit BlasThreads(int threads);
  ~BlasThreads();
  BlasThreads(const BlasThreads&) = delete;
  BlasThreads& operator=(const BlasThreads&) = delete;

 private:
  int before_;
};

enum class Op { kPlain, kTransposed };

/// a * b, each optionally transposed (BLAS dgemm).
[[nodiscard]] Matrix multiply(const Matrix& a, Op op_a, const Matrix& b, Op op_b);

/// Column means and population standard deviations; the deviation of a constant column is 1, so that it scales to 0.
struct Scaler {
  std::vector<double> mean, scale;
};
[[nodiscard]] Scaler fit_scaler(const Matrix& x);
void standardise(Matrix& x, const Scaler& scaler);

/// Tanimoto similarity |a and b| / |a or b| of 0/1 rows, [a.rows, b.rows]. Two empty rows have similarity 1, so that
/// the diagonal of a kernel is 1.
[[nodiscard]] Matrix tanimoto(const Matrix& a, const Matrix& b);

/// Called once per iteration; throws to stop.
using Checkpoint = std::function<void()>;

/// x with |b - A x| <= tolerance * |b|, for A symmetric positive definite on the space that b and all A x lie in.
/// \p apply writes A p into its second argument. Stops after max_iterations at the latest.
struct CgResult {
  std::vector<double> x;
  int iterations = 0;
  double relative_residual = 0;
};
using Apply = std::function<void(const std::vector<double>& p, std::vector<double>& out)>;
[[nodiscard]] CgResult conjugate_gradient(const Apply& apply, const std::vector<double>& b, double tolerance,
                                          int max_iterations, const Checkpoint& checkpoint);

/// The pairs that were measured. [samples, drugs]
struct Pairs {
  Matrix y;     ///< 0 where not measured
  Matrix mask;  ///< 1 where measured, else 0
};

/// The dual solution of
///     min over f, b   sum over measured (i, j) of (y_ij - b_j - f_ij)^2 + lambda |f|^2,
/// where |.| is the norm of the kernel (z_i . z_i') * k_drug(j, j'):   f = Z Z^T alpha K,   b_j not penalised.
struct Fit {
  Matrix alpha;                   ///< [samples, drugs]; 0 where not measured; each column sums to 0
  std::vector<double> intercept;  ///< [drugs]; 0 for a drug without measured pairs
  int iterations = 0;
  double relative_residual = 0;
};
/// \param z       standardised features [samples, genes]
/// \param k_drug  kernel between the drugs, positive semi-definite [drugs, drugs]
[[nodiscard]] Fit fit_kronecker(const Matrix& z, const Matrix& k_drug, const Pairs& pairs, double lambda,
                                double tolerance, int max_iterations, const Checkpoint& checkpoint);

/// Dual weights c of a kernel ridge regression of \p y on a kernel, about the mean of y: c = (K + lambda I)^-1 (y -
/// mean).
[[nodiscard]] std::vector<double> kernel_ridge(const Matrix& kernel, const std::vector<double>& y, double lambda,
                                               const Checkpoint& checkpoint);

}  // namespace cdrzoo::ridge
