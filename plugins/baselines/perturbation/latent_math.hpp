// SPDX-License-Identifier: Apache-2.0
// Principal components and the ridge regression on them: the mathematics, free of the ABI. README.md has the equations.
#pragma once

#include <array>
#include <vector>

#include "perturbation_math.hpp"

namespace cdrzoo::perturbation {

/// The leading principal components of some profiles.
struct Pca {
  std::vector<double> mean;      ///< [genes]
  Matrix components;             ///< W [genes, k], orthonormal columns, by falling variance
  std::vector<double> variance;  ///< [k], population variance along each

  /// W^T (x - mean) of each row. [rows, k]
  [[nodiscard]] Matrix project(Matrix x) const;
  /// W^T d of each row d of \p change. [rows, k]
  [[nodiscard]] Matrix project_change(const Matrix& change) const;
};

/// At most \p k components, fewer where the rows span fewer. Block subspace iteration from a fixed random start (Halko,
/// Martinsson and Tropp 2011, algorithm 4.4): no matrix of genes x genes or rows x rows is made, and it is exact where
/// k is the rank. The same input gives the same output.
[[nodiscard]] Pca fit_pca(Matrix x, int k, const ridge::Checkpoint& checkpoint);

/// The latent change of a profile, from the latent z of its control and the latent change v that its perturbation made
/// elsewhere:   u = v + b + A^T z + B^T v.   Coefficients of their own for single perturbations and combinations.
class LatentRidge {
 public:
  struct Map {
    Matrix weight;                  ///< A above B [2k, k]
    std::vector<double> intercept;  ///< b [k]
  };

  LatentRidge() = default;
  explicit LatentRidge(std::array<Map, 2> maps) : maps_(std::move(maps)) {}

  /// Fits u - v by ridge regression with a free intercept, over the training conditions for which v is known without
  /// them; without any, u = v.
  /// \param latent   u of the training conditions
  /// \param control  z of their controls [conditions, k]
  /// \param penalty  lambda, on features scaled to a mean squared norm of 1 each
  [[nodiscard]] static LatentRidge fit(const Effects& latent, const Matrix& control, double penalty);

  /// \param z latent of the control [k]
  [[nodiscard]] std::vector<double> predict(const Effects& latent, const Query& query, const double* z) const;
  [[nodiscard]] const std::array<Map, 2>& maps() const { return maps_; }

 private:
  std::array<Map, 2> maps_;  // of single perturbations, of combinations
};

/// v of a query: the mean latent change that training holds of its perturbation, in other contexts where there are any;
/// for a combination that training does not hold the sum over its members, in the same context where there are any.
/// \param except the query's own training condition, which must not count; kNone = it is no training condition
[[nodiscard]] std::vector<double> latent_elsewhere(const Effects& latent, const Query& query);

}  // namespace cdrzoo::perturbation
