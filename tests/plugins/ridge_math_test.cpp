// SPDX-License-Identifier: Apache-2.0
#include "../../plugins/baselines/ridge/ridge_math.hpp"

#include <cmath>
#include <random>
#include <utility>

#include "support/catch.hpp"

using namespace cdrzoo::ridge;
using cdrzoo::test::WithinAbs;

namespace {

constexpr double kSolved = 1e-8;  // the conjugate gradients stop at a relative residual of 1e-12 in these tests
constexpr double kTolerance = 1e-12;
constexpr int kIterations = 2000;
const Checkpoint kNever = [] {};

Matrix random_matrix(int rows, int cols, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<double> normal;
  Matrix m(rows, cols);
  for (auto& v : m.v) v = normal(rng);
  return m;
}

Matrix identity(int n) {
  Matrix m(n, n);
  for (int i = 0; i < n; ++i) m.at(i, i) = 1;
  return m;
}

/// Gaussian elimination with partial pivoting: the oracle, which shares nothing with the code under test.
std::vector<double> solve_dense(Matrix a, std::vector<double> b) {
  const int n = a.rows;
  const auto at = [](int i) { return static_cast<std::size_t>(i); };
  for (int k = 0; k < n; ++k) {
    int pivot = k;
    for (int i = k + 1; i < n; ++i) {
      if (std::abs(a.at(i, k)) > std::abs(a.at(pivot, k))) pivot = i;
    }
    for (int j = 0; j < n; ++j) std::swap(a.at(k, j), a.at(pivot, j));
    std::swap(b[at(k)], b[at(pivot)]);
    for (int i = k + 1; i < n; ++i) {
      const double f = a.at(i, k) / a.at(k, k);
      for (int j = k; j < n; ++j) a.at(i, j) -= f * a.at(k, j);
      b[at(i)] -= f * b[at(k)];
    }
  }
  for (int i = n - 1; i >= 0; --i) {
    for (int j = i + 1; j < n; ++j) b[at(i)] -= a.at(i, j) * b[at(j)];
    b[at(i)] /= a.at(i, i);
  }
  return b;
}

Matrix fitted_values(const Matrix& z, const Matrix& k_drug, const Fit& fit) {
  Matrix f = multiply(multiply(z, Op::kPlain, multiply(z, Op::kTransposed, fit.alpha, Op::kPlain), Op::kPlain),
                      Op::kPlain, k_drug, Op::kPlain);
  for (int i = 0; i < f.rows; ++i) {
    for (int j = 0; j < f.cols; ++j) f.at(i, j) += fit.intercept[static_cast<std::size_t>(j)];
  }
  return f;
}

}  // namespace

TEST_CASE("ridge with a vanishing penalty recovers a plane") {
  const Matrix x = random_matrix(30, 4, 1);
  const std::vector<double> w = {2, -1, 0.5, 3};
  Pairs pairs{Matrix(30, 1), Matrix(30, 1, 1.0)};
  for (int i = 0; i < 30; ++i) {
    pairs.y.at(i, 0) = 7;
    for (int g = 0; g < 4; ++g) pairs.y.at(i, 0) += w[static_cast<std::size_t>(g)] * x.at(i, g);
  }
  const Fit fit = fit_kronecker(x, identity(1), pairs, 1e-9, kTolerance, kIterations, kNever);
  const Matrix found = multiply(x, Op::kTransposed, fit.alpha, Op::kPlain);
  for (int g = 0; g < 4; ++g) CHECK_THAT(found.at(g, 0), WithinAbs(w[static_cast<std::size_t>(g)], 1e-6));
  CHECK_THAT(fit.intercept[0], WithinAbs(7, 1e-6));
}

TEST_CASE("without sharing, the dual solution is each drug's own primal ridge with a free intercept") {
  // more genes than samples takes the Gram matrix, fewer takes the two thin products
  const auto [n, p] = GENERATE(std::pair<int, int>{12, 9}, std::pair<int, int>{40, 3});
  const int m = 3;
  const double lambda = 2.5;
  const Matrix z = random_matrix(n, p, 2);
  Pairs pairs{random_matrix(n, m, 3), Matrix(n, m, 1.0)};
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < m; ++j) {
      if ((i + 2 * j) % 4 == 0) pairs.mask.at(i, j) = pairs.y.at(i, j) = 0;
    }
  }
  const Fit fit = fit_kronecker(z, identity(m), pairs, lambda, kTolerance, kIterations, kNever);
  const Matrix w = multiply(z, Op::kTransposed, fit.alpha, Op::kPlain);
  for (int j = 0; j < m; ++j) {
    // normal equations of [Z 1] with the penalty on all but the last column
    Matrix a(p + 1, p + 1);
    std::vector<double> b(static_cast<std::size_t>(p + 1), 0.0);
    for (int i = 0; i < n; ++i) {
      if (pairs.mask.at(i, j) == 0) continue;
      const auto x = [&](int g) { return g < p ? z.at(i, g) : 1.0; };
      for (int g = 0; g <= p; ++g) {
        for (int h = 0; h <= p; ++h) a.at(g, h) += x(g) * x(h);
        b[static_cast<std::size_t>(g)] += x(g) * pairs.y.at(i, j);
      }
    }
    for (int g = 0; g < p; ++g) a.at(g, g) += lambda;
    const auto expected = solve_dense(a, b);
    for (int g = 0; g < p; ++g) CHECK_THAT(w.at(g, j), WithinAbs(expected[static_cast<std::size_t>(g)], kSolved));
    CHECK_THAT(fit.intercept[static_cast<std::size_t>(j)], WithinAbs(expected.back(), kSolved));
  }
}

TEST_CASE("with sharing, the solution is that of the bordered Kronecker system over the measured pairs") {
  const int n = 7;
  const int m = 4;
  const double lambda = 1.3;
  const Matrix z = random_matrix(n, 5, 4);
  const Matrix factor = random_matrix(m, m, 5);
  const Matrix k_drug = multiply(factor, Op::kPlain, factor, Op::kTransposed);
  Pairs pairs{random_matrix(n, m, 6), Matrix(n, m, 1.0)};
  std::vector<std::pair<int, int>> measured;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < m; ++j) {
      if ((3 * i + j) % 5 == 0) {
        pairs.mask.at(i, j) = pairs.y.at(i, j) = 0;
      } else {
        measured.emplace_back(i, j);
      }
    }
  }
  const Fit fit = fit_kronecker(z, k_drug, pairs, lambda, kTolerance, kIterations, kNever);

  // [K + lambda I, E; E^T, 0] [alpha; b] = [y; 0], E the membership of a pair in its drug
  const auto q = static_cast<int>(measured.size());
  Matrix a(q + m, q + m);
  std::vector<double> y(static_cast<std::size_t>(q + m), 0.0);
  const Matrix gram = multiply(z, Op::kPlain, z, Op::kTransposed);
  for (int r = 0; r < q; ++r) {
    const auto [i, j] = measured[static_cast<std::size_t>(r)];
    for (int c = 0; c < q; ++c) {
      const auto [k, l] = measured[static_cast<std::size_t>(c)];
      a.at(r, c) = gram.at(i, k) * k_drug.at(j, l) + (r == c ? lambda : 0.0);
    }
    a.at(r, q + j) = a.at(q + j, r) = 1;
    y[static_cast<std::size_t>(r)] = pairs.y.at(i, j);
  }
  const auto expected = solve_dense(a, y);
  for (int r = 0; r < q; ++r) {
    const auto [i, j] = measured[static_cast<std::size_t>(r)];
    CHECK_THAT(fit.alpha.at(i, j), WithinAbs(expected[static_cast<std::size_t>(r)], kSolved));
  }
  for (int j = 0; j < m; ++j) {
    CHECK_THAT(fit.intercept[static_cast<std::size_t>(j)],
               WithinAbs(expected[static_cast<std::size_t>(q + j)], kSolved));
  }
}

TEST_CASE("a drug without measured pairs gets no weight of its own") {
  Pairs pairs{random_matrix(6, 2, 7), Matrix(6, 2, 1.0)};
  for (int i = 0; i < 6; ++i) pairs.mask.at(i, 1) = pairs.y.at(i, 1) = 0;
  const Fit fit = fit_kronecker(random_matrix(6, 3, 8), identity(2), pairs, 1.0, kTolerance, kIterations, kNever);
  for (int i = 0; i < 6; ++i) CHECK(fit.alpha.at(i, 1) == 0);
  CHECK(fit.intercept[1] == 0);
}

TEST_CASE("adding a constant to a drug moves its intercept and nothing else") {
  const Matrix z = random_matrix(10, 6, 9);
  const Matrix k_drug = [] {
    Matrix k(2, 2, 0.3);
    k.at(0, 0) = k.at(1, 1) = 1;
    return k;
  }();
  Pairs pairs{random_matrix(10, 2, 10), Matrix(10, 2, 1.0)};
  const Matrix before = fitted_values(z, k_drug, fit_kronecker(z, k_drug, pairs, 3, kTolerance, kIterations, kNever));
  for (int i = 0; i < 10; ++i) pairs.y.at(i, 1) += 100;
  const Matrix after = fitted_values(z, k_drug, fit_kronecker(z, k_drug, pairs, 3, kTolerance, kIterations, kNever));
  for (int i = 0; i < 10; ++i) {
    CHECK_THAT(after.at(i, 0), WithinAbs(before.at(i, 0), 1e-7));
    CHECK_THAT(after.at(i, 1), WithinAbs(before.at(i, 1) + 100, 1e-7));
  }
}

TEST_CASE("standardised training columns have mean 0 and deviation 1, constant ones are 0") {
  Matrix x = random_matrix(50, 3, 11);
  for (int i = 0; i < 50; ++i) x.at(i, 1) = 0.1;
  standardise(x, fit_scaler(x));
  for (int j = 0; j < 3; ++j) {
    double sum = 0;
    double squares = 0;
    for (int i = 0; i < 50; ++i) {
      sum += x.at(i, j);
      squares += x.at(i, j) * x.at(i, j);
    }
    CHECK_THAT(sum / 50, WithinAbs(0, 1e-12));
    CHECK_THAT(squares / 50, WithinAbs(j == 1 ? 0 : 1, 1e-12));
  }
}

TEST_CASE("Tanimoto similarity counts common and united bits") {
  Matrix a(3, 4);
  a.v = {1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0};
  const Matrix t = tanimoto(a, a);
  CHECK(t.at(0, 0) == 1);
  CHECK(t.at(0, 1) == 0.25);
  CHECK(t.at(1, 0) == 0.25);
  CHECK(t.at(0, 2) == 0);
  CHECK(t.at(2, 2) == 1);
}

TEST_CASE("kernel ridge solves its dual system about the mean") {
  const Matrix factor = random_matrix(5, 5, 12);
  const Matrix kernel = multiply(factor, Op::kPlain, factor, Op::kTransposed);
  const std::vector<double> y = {1, 4, -2, 0, 7};
  Matrix a = kernel;
  for (int i = 0; i < 5; ++i) a.at(i, i) += 0.7;
  const auto expected = solve_dense(a, {-1, 2, -4, -2, 5});
  const auto found = kernel_ridge(kernel, y, 0.7, kNever);
  for (std::size_t i = 0; i < 5; ++i) CHECK_THAT(found[i], WithinAbs(expected[i], kSolved));
}

TEST_CASE("the conjugate gradients call the checkpoint in every iteration") {
  int calls = 0;
  const Matrix z = random_matrix(10, 6, 13);
  const Pairs pairs{random_matrix(10, 2, 14), Matrix(10, 2, 1.0)};
  const Fit fit = fit_kronecker(z, identity(2), pairs, 1, kTolerance, kIterations, [&calls] { ++calls; });
  CHECK(fit.iterations > 0);
  CHECK(calls == fit.iterations);
  CHECK(fit.relative_residual <= kTolerance);
}
