// SPDX-License-Identifier: Apache-2.0
#include "metrics/row_distances.hpp"

#include <numeric>
#include <stdexcept>

#include "base/random.hpp"
#include "metrics/column_means.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;

namespace {

/// Whole numbers below 64, so that sums of their products are exact.
std::vector<float> whole_numbers(std::size_t n, std::uint64_t seed) {
  std::vector<float> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<float>(splitmix64(seed, i) >> 58U);
  return out;
}

std::vector<std::int32_t> first(std::int64_t n) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

}  // namespace

TEST_CASE("Squared distances between rows are exactly those of the definition, whatever is left over of panels") {
  for (const std::int64_t genes : {1, 7, 128, 300}) {
    for (const auto& [n, m] : {std::pair{1, 1}, {7, 9}, {8, 16}, {17, 3}}) {
      const auto a = whole_numbers(static_cast<std::size_t>(n * genes), 1);
      const auto b = whole_numbers(static_cast<std::size_t>(m * genes), 2);
      const MatrixView<float> x{a.data(), n, genes};
      const MatrixView<float> y{b.data(), m, genes};
      const std::vector<double> shift(static_cast<std::size_t>(genes), 16);
      const RowPanels x_panels(x, first(n), first(genes), shift);
      const auto got = squared_distances(x_panels, RowPanels(y, first(m), first(genes), shift));
      const auto own = squared_distances(x_panels);
      const auto by_hand = [genes = genes](const float* p, const float* q) {
        double sum = 0;
        for (std::int64_t g = 0; g < genes; ++g) sum += static_cast<double>((p[g] - q[g]) * (p[g] - q[g]));
        return sum;
      };
      bool equal = true;
      for (int i = 0; i < n; ++i) {
        for (int j = 0; j < m; ++j)
          equal = equal && got[static_cast<std::size_t>(i * m + j)] == by_hand(x.row(i), y.row(j));
        for (int j = 0; j < n; ++j)
          equal = equal && own[static_cast<std::size_t>(i * n + j)] == by_hand(x.row(i), x.row(j));
      }
      CHECK(equal);
    }
  }
}

TEST_CASE("Distances are of the chosen rows and columns, dense or sparse, and rows of unequal length are refused") {
  const std::vector<float> dense = {1, 0, 2, 0, 5, 0, 4, 0, 0};
  const std::vector<std::int64_t> begin = {0, 2, 3, 4};
  const std::vector<std::int32_t> column = {0, 2, 1, 0};
  const std::vector<float> value = {1, 2, 5, 4};
  const std::vector<double> shift = {1, 2, 3};
  const RowMatrix sparse(SparseRowsView{begin, column, value}, 3);
  const RowMatrix full(MatrixView<float>{dense.data(), 3, 3});
  for (const RowMatrix& matrix : {full, sparse}) {
    const auto d = squared_distances(RowPanels(matrix, {2, 0}, {0, 2}, shift));
    CHECK(d == std::vector<double>{0, 9 + 4, 9 + 4, 0});
  }
  CHECK_THROWS_AS(squared_distances(RowPanels(full, {0}, {0}, shift), RowPanels(full, {0}, {0, 1}, shift)),
                  std::logic_error);
}

TEST_CASE("Means of columns leave values out that are not finite") {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> rows = {1, infinity, 2, 3, -infinity, std::numeric_limits<float>::quiet_NaN()};
  ColumnMeans means(3);
  means.add(rows.data());
  means.add(rows.data() + 3);
  CHECK(means.take()[0] == 2);
  CHECK(std::isnan(means.take()[1]));
  CHECK(means.take()[2] == 2);
}
