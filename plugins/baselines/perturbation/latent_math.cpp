// SPDX-License-Identifier: Apache-2.0
#include "latent_math.hpp"

#include <cdrzoo/random.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

// LAPACK has no header of its own. Matrices are column-major there, so a row-major matrix is its transpose.
extern "C" {
void dsyevd_(const char* job, const char* uplo, const int* n, double* a, const int* lda, double* w, double* work,
             const int* lwork, int* iwork, const int* liwork, int* info);
void dgelqf_(const int* m, const int* n, double* a, const int* lda, double* tau, double* work, const int* lwork,
             int* info);
void dorglq_(const int* m, const int* n, const int* k, double* a, const int* lda, const double* tau, double* work,
             const int* lwork, int* info);
void dposv_(const char* uplo, const int* n, const int* nrhs, double* a, const int* lda, double* b, const int* ldb,
            int* info);
}

namespace cdrzoo::perturbation {

using ridge::multiply;
using ridge::Op;

namespace {

constexpr int kOversampling = 10;        // beyond the wanted components, as the source advises
constexpr int kIterations = 7;           // of the subspace; each squares the gaps between the components' variances
constexpr std::uint64_t kStart = 20111;  // seed of the random start, the same for all data

std::size_t at_index(int i) { return static_cast<std::size_t>(i); }

void require(int info, const char* routine) {
  if (info != 0) throw std::runtime_error(std::string("LAPACK's ") + routine + " gave " + std::to_string(info));
}

/// Replaces the columns of \p a by an orthonormal basis of a space that holds them. a.rows >= a.cols.
void orthonormalise(Matrix& a) {
  // The transpose, as LAPACK sees it, is L Q with orthonormal rows of Q.
  const int m = a.cols;
  const int n = a.rows;
  std::vector<double> tau(at_index(m));
  std::vector<double> work(at_index(m) * 64);
  const auto size = static_cast<int>(work.size());
  int info = 0;
  dgelqf_(&m, &n, a.v.data(), &m, tau.data(), work.data(), &size, &info);
  require(info, "dgelqf");
  dorglq_(&m, &n, &m, a.v.data(), &m, tau.data(), work.data(), &size, &info);
  require(info, "dorglq");
}

/// Eigenvalues in ascending order, and the eigenvectors in the rows of \p a, which is symmetric on entry.
std::vector<double> eigen(Matrix& a) {
  const int n = a.rows;
  std::vector<double> values(at_index(n));
  const int work_size = 1 + 6 * n + 2 * n * n;
  const int integer_size = 3 + 5 * n;
  std::vector<double> work(at_index(work_size));
  std::vector<int> integers(at_index(integer_size));
  int info = 0;
  dsyevd_("V", "U", &n, a.v.data(), &n, values.data(), work.data(), &work_size, integers.data(), &integer_size, &info);
  require(info, "dsyevd");
  return values;
}

double normal(std::uint64_t index) {
  const auto unit = [](std::uint64_t stream, std::uint64_t i) {
    return static_cast<double>(cdrzoo_random_u64(kStart, stream, i) >> 11U) * 0x1.0p-53;
  };
  return std::sqrt(-2.0 * std::log(1.0 - unit(1, index))) * std::cos(6.283185307179586477 * unit(2, index));
}

void subtract_row(Matrix& x, const std::vector<double>& mean) {
  for (int i = 0; i < x.rows; ++i) {
    for (int j = 0; j < x.cols; ++j) x.at(i, j) -= mean[at_index(j)];
  }
}

}  // namespace

Matrix Pca::project(Matrix x) const {
  subtract_row(x, mean);
  return project_change(x);
}

Matrix Pca::project_change(const Matrix& change) const { return multiply(change, Op::kPlain, components, Op::kPlain); }

Pca fit_pca(Matrix x, int k, const ridge::Checkpoint& checkpoint) {
  if (x.rows == 0 || x.cols == 0 || k < 1) throw std::logic_error("fit_pca: no rows, no columns or no components");
  Pca pca;
  pca.mean.assign(at_index(x.cols), 0.0);
  double scale = 0;
  for (int i = 0; i < x.rows; ++i) {
    for (int j = 0; j < x.cols; ++j) {
      pca.mean[at_index(j)] += x.at(i, j) / x.rows;
      scale += x.at(i, j) * x.at(i, j) / x.rows;
    }
  }
  subtract_row(x, pca.mean);

  const int block = std::min({k + kOversampling, x.rows, x.cols});
  Matrix q(x.cols, block);
  for (std::size_t i = 0; i < q.v.size(); ++i) q.v[i] = normal(i);
  orthonormalise(q);
  Matrix y;  // x q
  for (int iteration = 0; iteration <= kIterations; ++iteration) {
    checkpoint();
    y = multiply(x, Op::kPlain, q, Op::kPlain);
    if (iteration == kIterations) break;
    q = multiply(x, Op::kTransposed, y, Op::kPlain);
    orthonormalise(q);
  }
  Matrix vectors = multiply(y, Op::kTransposed, y, Op::kPlain);  // eigenvectors in rows, below
  const std::vector<double> values = eigen(vectors);
  int kept = 0;
  // Rounding leaves a little variance in directions that the rows do not span.
  while (kept < std::min(k, block) && values[at_index(block - 1 - kept)] / x.rows > 1e-12 * scale) ++kept;
  Matrix rotation(kept, block);
  for (int c = 0; c < kept; ++c) {
    pca.variance.push_back(values[at_index(block - 1 - c)] / x.rows);
    std::copy_n(vectors.row(block - 1 - c), block, rotation.row(c));
  }
  pca.components = multiply(q, Op::kPlain, rotation, Op::kTransposed);
  return pca;
}

namespace {

/// v of \p query, over training conditions but \p except. Empty where a member is known neither from training nor from
/// its reference, and \p complete asks for all of them.
std::vector<double> elsewhere(const Effects& latent, const Query& query, int except, bool complete) {
  const auto whole = latent.choose(query.what(), query.at, Contexts::kOthersFirst, except);
  if (!whole.empty()) return latent.mean(whole);
  const bool combination = is_combination(query.what());
  if (!combination) {
    if (query.a.measured != nullptr) return {query.a.measured, query.a.measured + latent.width()};
    return complete ? std::vector<double>{} : latent.average();
  }
  std::vector<double> sum(at_index(latent.width()), 0.0);
  for (const Member* member : {&query.a, &query.b}) {
    const bool known = !latent.choose(combine(member->id, kNone), query.at, Contexts::kSameFirst).empty();
    if (complete && !known) return {};
    const auto shift = member_shift(latent, *member, query.at, Contexts::kSameFirst);
    for (std::size_t j = 0; j < sum.size(); ++j) sum[j] += shift[j];
  }
  return sum;
}

/// One regression of \p residual [n, k] on \p features [n, 2k] = (z, v).
LatentRidge::Map regress(Matrix features, Matrix residual, double penalty) {
  const int n = features.rows;
  const int k = residual.cols;
  LatentRidge::Map map{Matrix(2 * k, k), std::vector<double>(at_index(k), 0.0)};
  if (n == 0 || k == 0) return map;
  const auto centre = [n](Matrix& m) {
    std::vector<double> mean(at_index(m.cols), 0.0);
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < m.cols; ++j) mean[at_index(j)] += m.at(i, j) / n;
    }
    subtract_row(m, mean);
    return mean;
  };
  const auto feature_mean = centre(features);
  const auto residual_mean = centre(residual);
  // One scale for each half: components with little variance are shrunken more, as in a ridge on the genes.
  std::array<double, 2> scale{};
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < 2 * k; ++j) scale.at(at_index(j / k)) += features.at(i, j) * features.at(i, j) / n;
  }
  for (double& s : scale) s = s > 0 ? 1 / std::sqrt(s) : 1.0;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < 2 * k; ++j) features.at(i, j) *= scale.at(at_index(j / k));
  }
  Matrix normal_matrix = multiply(features, Op::kTransposed, features, Op::kPlain);
  for (int j = 0; j < 2 * k; ++j) normal_matrix.at(j, j) += penalty * n;
  Matrix solution = multiply(residual, Op::kTransposed, features, Op::kPlain);  // [k, 2k]: LAPACK's columns
  const int size = 2 * k;
  int info = 0;
  dposv_("U", &size, &k, normal_matrix.v.data(), &size, solution.v.data(), &size, &info);
  require(info, "dposv");
  map.intercept = residual_mean;
  for (int c = 0; c < k; ++c) {
    for (int j = 0; j < 2 * k; ++j) {
      const double weight = solution.at(c, j) * scale.at(at_index(j / k));
      map.weight.at(j, c) = weight;
      map.intercept[at_index(c)] -= weight * feature_mean[at_index(j)];
    }
  }
  return map;
}

}  // namespace

std::vector<double> latent_elsewhere(const Effects& latent, const Query& query) {
  return elsewhere(latent, query, kNone, /*complete=*/false);
}

LatentRidge LatentRidge::fit(const Effects& latent, const Matrix& control, double penalty) {
  LatentRidge ridge;
  const int k = latent.width();
  for (const bool combinations : {false, true}) {
    std::vector<int> rows;
    std::vector<std::vector<double>> v;
    for (int i = 0; i < latent.change().rows; ++i) {
      const Condition& condition = latent.conditions()[at_index(i)];
      if (is_combination(condition.what) != combinations) continue;
      const Query query{{condition.what[0], nullptr}, {condition.what[1], nullptr}, condition.at};
      auto known = elsewhere(latent, query, i, /*complete=*/true);
      if (known.empty()) continue;
      rows.push_back(i);
      v.push_back(std::move(known));
    }
    Matrix features(static_cast<int>(rows.size()), 2 * k);
    Matrix residual(features.rows, k);
    for (int r = 0; r < features.rows; ++r) {
      const int i = rows[at_index(r)];
      for (int j = 0; j < k; ++j) {
        const double elsewhere_j = v[at_index(r)][at_index(j)];
        features.at(r, j) = control.at(i, j);
        features.at(r, k + j) = elsewhere_j;
        residual.at(r, j) = latent.change().at(i, j) - elsewhere_j;
      }
    }
    ridge.maps_.at(combinations ? 1 : 0) = regress(std::move(features), std::move(residual), penalty);
  }
  return ridge;
}

std::vector<double> LatentRidge::predict(const Effects& latent, const Query& query, const double* z) const {
  const Map& map = maps_.at(is_combination(query.what()) ? 1 : 0);
  const auto v = latent_elsewhere(latent, query);
  std::vector<double> u = v;
  const int k = latent.width();
  for (int c = 0; c < k; ++c) {
    double sum = map.intercept[at_index(c)];
    for (int j = 0; j < k; ++j) sum += map.weight.at(j, c) * z[j] + map.weight.at(k + j, c) * v[at_index(j)];
    u[at_index(c)] += sum;
  }
  return u;
}

}  // namespace cdrzoo::perturbation
