// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/row_matrix.hpp"

namespace cdrzoo {

/// Rows of a matrix in double precision, in panels of kPanel rows stored column by column: one vector operation serves
/// the rows of a panel, and every product is summed over the columns in the same order, so equal rows have equal sums.
class RowPanels {
 public:
  static constexpr std::size_t kPanel = 8;

  /// \param columns which of the matrix; \param shift [matrix.cols] taken off each row: distances stay, and digits are
  /// not lost to a common offset
  RowPanels(const RowMatrix& matrix, const std::vector<std::int32_t>& rows, const std::vector<std::int32_t>& columns,
            const std::vector<double>& shift);

  [[nodiscard]] std::size_t rows() const { return rows_; }
  [[nodiscard]] std::size_t columns() const { return columns_; }
  [[nodiscard]] std::size_t panels() const { return (rows_ + kPanel - 1) / kPanel; }
  /// [columns, kPanel]
  [[nodiscard]] const double* panel(std::size_t p) const { return data_.data() + p * kPanel * columns_; }

 private:
  std::size_t rows_, columns_;
  std::vector<double> data_;  ///< rows that fill up the last panel are 0
};

/// Squared Euclidean distances [a.rows(), b.rows()] in float64, the same to the last bit on every processor.
[[nodiscard]] std::vector<double> squared_distances(const RowPanels& a, const RowPanels& b);
/// Of all rows to each other: half the work. The same numbers.
[[nodiscard]] std::vector<double> squared_distances(const RowPanels& a);

}  // namespace cdrzoo
