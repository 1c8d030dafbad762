// SPDX-License-Identifier: Apache-2.0
// Compiled without contraction of a * b + c (CMakeLists.txt), so that both ways to add products agree to the last bit.
#include "metrics/row_distances.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#if defined(__x86_64__) && defined(__GNUC__)
#define CDRZOO_WIDE_VECTORS
#endif

namespace cdrzoo {

namespace {

constexpr std::size_t kPanel = RowPanels::kPanel;
constexpr std::size_t kTileRows = 4;  // of one panel, against all rows of another: the sums fit the registers
constexpr std::size_t kPiece = 128;   // columns at a time: a piece of 512 rows stays in the second-level cache

/// Adds the products of the rows of panels \p a and \p b over \p n columns to \p sums (rows of \p stride).
void add_products_plain(const double* __restrict a, const double* __restrict b, std::size_t n, double* __restrict sums,
                        std::size_t stride) {
  for (std::size_t first = 0; first < kPanel; first += kTileRows) {
    double tile[kTileRows][kPanel];
    for (std::size_t i = 0; i < kTileRows; ++i) std::copy_n(sums + (first + i) * stride, kPanel, tile[i]);
    for (std::size_t c = 0; c < n; ++c) {
      for (std::size_t i = 0; i < kTileRows; ++i) {
        for (std::size_t j = 0; j < kPanel; ++j) tile[i][j] += a[c * kPanel + first + i] * b[c * kPanel + j];
      }
    }
    for (std::size_t i = 0; i < kTileRows; ++i) std::copy_n(tile[i], kPanel, sums + (first + i) * stride);
  }
}

#ifdef CDRZOO_WIDE_VECTORS
/// The same in the order of the same sums. Written out, for compilers keep the tile above in memory.
__attribute__((target("avx2"))) void add_products_avx2(const double* a, const double* b, std::size_t n, double* sums,
                                                       std::size_t stride) {
  using Half = double __attribute__((vector_size(kPanel / 2 * sizeof(double))));
  for (std::size_t first = 0; first < kPanel; first += kTileRows) {
    Half low[kTileRows];
    Half high[kTileRows];
    double* to = sums + first * stride;
    for (std::size_t i = 0; i < kTileRows; ++i) {
      std::memcpy(&low[i], to + i * stride, sizeof(Half));
      std::memcpy(&high[i], to + i * stride + kPanel / 2, sizeof(Half));
    }
    for (std::size_t c = 0; c < n; ++c) {
      Half x;
      Half y;
      std::memcpy(&x, b + c * kPanel, sizeof(Half));
      std::memcpy(&y, b + c * kPanel + kPanel / 2, sizeof(Half));
      for (std::size_t i = 0; i < kTileRows; ++i) {
        low[i] += a[c * kPanel + first + i] * x;
        high[i] += a[c * kPanel + first + i] * y;
      }
    }
    for (std::size_t i = 0; i < kTileRows; ++i) {
      std::memcpy(to + i * stride, &low[i], sizeof(Half));
      std::memcpy(to + i * stride + kPanel / 2, &high[i], sizeof(Half));
    }
  }
}
#endif

void add_products(const double* a, const double* b, std::size_t n, double* sums, std::size_t stride) {
#ifdef CDRZOO_WIDE_VECTORS
  if (__builtin_cpu_supports("avx2") != 0) {
    add_products_avx2(a, b, n, sums, stride);
    return;
  }
#endif
  add_products_plain(a, b, n, sums, stride);
}

std::vector<double> squared_norms(const RowPanels& a) {
  std::vector<double> norms(a.panels() * kPanel);
  std::vector<double> sums(kPanel * kPanel);
  for (std::size_t p = 0; p < a.panels(); ++p) {
    std::fill(sums.begin(), sums.end(), 0.0);
    add_products(a.panel(p), a.panel(p), a.columns(), sums.data(), kPanel);
    for (std::size_t i = 0; i < kPanel; ++i) norms[p * kPanel + i] = sums[i * kPanel + i];
  }
  return norms;
}

/// \param same the two are one: what lies below the diagonal is copied from above it
std::vector<double> distances(const RowPanels& a, const RowPanels& b, bool same) {
  if (a.columns() != b.columns()) throw std::logic_error("distances between rows of unequal length");
  const std::size_t stride = b.panels() * kPanel;
  std::vector<double> products(a.panels() * kPanel * stride, 0.0);
  for (std::size_t column = 0; column < a.columns(); column += kPiece) {
    const std::size_t n = std::min(kPiece, a.columns() - column);
    for (std::size_t p = 0; p < a.panels(); ++p) {
      for (std::size_t q = same ? p : 0; q < b.panels(); ++q) {
        add_products(a.panel(p) + column * kPanel, b.panel(q) + column * kPanel, n,
                     products.data() + p * kPanel * stride + q * kPanel, stride);
      }
    }
  }
  const std::vector<double> norm_a = squared_norms(a);
  const std::vector<double> norm_b = same ? norm_a : squared_norms(b);
  std::vector<double> out(a.rows() * b.rows());
  for (std::size_t i = 0; i < a.rows(); ++i) {
    for (std::size_t j = same ? i : 0; j < b.rows(); ++j) {
      out[i * b.rows() + j] = std::max(0.0, norm_a[i] + norm_b[j] - 2 * products[i * stride + j]);
    }
    for (std::size_t j = 0; same && j < i; ++j) out[i * b.rows() + j] = out[j * b.rows() + i];
  }
  return out;
}

}  // namespace

RowPanels::RowPanels(const RowMatrix& matrix, const std::vector<std::int32_t>& rows,
                     const std::vector<std::int32_t>& columns, const std::vector<double>& shift)
    : rows_(rows.size()), columns_(columns.size()), data_(panels() * kPanel * columns.size(), 0) {
  std::vector<float> scratch;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const float* row = matrix.row(rows[r], scratch);
    double* to = data_.data() + r / kPanel * kPanel * columns_ + r % kPanel;
    for (std::size_t c = 0; c < columns_; ++c) {
      const auto column = static_cast<std::size_t>(columns[c]);
      to[c * kPanel] = static_cast<double>(row[column]) - shift[column];
    }
  }
}

std::vector<double> squared_distances(const RowPanels& a, const RowPanels& b) { return distances(a, b, false); }

std::vector<double> squared_distances(const RowPanels& a) { return distances(a, a, true); }

}  // namespace cdrzoo
