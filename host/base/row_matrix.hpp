// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "base/array_view.hpp"

namespace cdrzoo {

/// Borrowed compressed sparse rows of float32: row i has value[k] in column[k] for k in [begin[i], begin[i + 1]),
/// columns ascending, and is 0 elsewhere.
struct SparseRowsView {
  ArrayView<std::int64_t> begin;  ///< [rows + 1]
  ArrayView<std::int32_t> column;
  ArrayView<float> value;
};

/// The same, owned and under construction. What is left out is what has the bits of 0, so that nothing is lost: a -0 is
/// kept.
struct SparseRows {
  std::vector<std::int64_t> begin{0};
  std::vector<std::int32_t> column;
  std::vector<float> value;

  [[nodiscard]] static bool keeps(float x) { return x != 0.0F || std::signbit(x); }
  /// Appends a row [cols].
  void append(const float* row, std::int64_t cols) {
    for (std::int64_t j = 0; j < cols; ++j) {
      if (!keeps(row[j])) continue;
      column.push_back(static_cast<std::int32_t>(j));
      value.push_back(row[j]);
    }
    begin.push_back(static_cast<std::int64_t>(value.size()));
  }
  [[nodiscard]] std::int64_t rows() const { return static_cast<std::int64_t>(begin.size()) - 1; }
  [[nodiscard]] SparseRowsView view() const { return {begin, column, value}; }
};

/// Borrowed float32 matrix [rows, cols] that is read by rows, whether a file holds all of its values or only those that
/// are not 0. Sparse rows become dense one at a time, when they are asked for.
class RowMatrix {
 public:
  RowMatrix() = default;
  RowMatrix(MatrixView<float> dense)  // NOLINT(google-explicit-constructor): a dense matrix is one
      : rows(dense.rows), cols(dense.cols), dense_(dense) {}
  RowMatrix(SparseRowsView sparse, std::int64_t columns)
      : rows(static_cast<std::int64_t>(sparse.begin.size()) - 1), cols(columns), sparse_(sparse) {}

  std::int64_t rows = 0;
  std::int64_t cols = 0;

  [[nodiscard]] bool is_sparse() const { return !sparse_.begin.empty(); }
  /// \throws std::logic_error if it is sparse
  [[nodiscard]] const MatrixView<float>& dense() const {
    if (is_sparse()) throw std::logic_error("a sparse matrix was taken for a dense one");
    return dense_;
  }
  /// \throws std::logic_error if it is dense
  [[nodiscard]] const SparseRowsView& sparse() const {
    if (!is_sparse()) throw std::logic_error("a dense matrix was taken for a sparse one");
    return sparse_;
  }

  /// \param out [cols]
  void copy_row(std::int64_t i, float* out) const {
    if (!is_sparse()) {
      std::copy_n(dense_.row(i), cols, out);
      return;
    }
    std::fill_n(out, cols, 0.0F);
    const auto end = static_cast<std::size_t>(sparse_.begin[static_cast<std::size_t>(i) + 1]);
    for (auto k = static_cast<std::size_t>(sparse_.begin[static_cast<std::size_t>(i)]); k < end; ++k)
      out[sparse_.column[k]] = sparse_.value[k];
  }
  /// Row i [cols] where it lies, or made in \p scratch, which then must live as long as it is read.
  [[nodiscard]] const float* row(std::int64_t i, std::vector<float>& scratch) const {
    if (!is_sparse()) return dense_.row(i);
    scratch.resize(static_cast<std::size_t>(cols));
    copy_row(i, scratch.data());
    return scratch.data();
  }

 private:
  MatrixView<float> dense_;
  SparseRowsView sparse_;
};

}  // namespace cdrzoo
