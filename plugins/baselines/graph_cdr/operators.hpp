// SPDX-License-Identifier: Apache-2.0
// Two operators that LibTorch lacks, or has only slowly on the CPU: a product with a small constant sparse matrix, and
// batch normalisation of rows that stand for several equal rows. On CUDA both are made of LibTorch's own operators.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace cdrzoo::graph_cdr {

/// A constant sparse matrix, by rows and by columns.
struct SparseRows {
  std::int64_t rows = 0, cols = 0;
  torch::Tensor begin, col, weight;                       ///< i32 [rows + 1], i32 [n], f32 [n]
  torch::Tensor by_col_begin, by_col_row, by_col_weight;  ///< the transpose; on the CPU only
  torch::Tensor row_of, col_of;                           ///< i64 [n]; on CUDA only

  SparseRows() = default;
  SparseRows(std::int64_t n_cols, const std::vector<std::int32_t>& row_begin, const std::vector<std::int32_t>& column,
             const std::vector<float>& values);
  [[nodiscard]] SparseRows to(torch::Device device) const;
};

/// matrix [r, c] times x [c, n] -> [r, n]
[[nodiscard]] torch::Tensor product(const SparseRows& matrix, const torch::Tensor& x);

/// Mean and variance (divided by the number of rows) of each column.
struct Moments {
  torch::Tensor mean, variance;
};

/// Batch normalisation by the moments of the batch itself. Row i of x [n, c] stands for multiplicity[i] equal rows,
/// n_rows in all. Gives y [n, c], and the moments without a gradient of their own.
/// The gradient that arrives at a row is the sum over the rows that it stands for.
[[nodiscard]] std::pair<torch::Tensor, Moments> normalise(const torch::Tensor& x, const torch::Tensor& multiplicity,
                                                          double n_rows, const torch::Tensor& weight,
                                                          const torch::Tensor& bias, double eps);

}  // namespace cdrzoo::graph_cdr
