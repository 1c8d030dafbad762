// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>
#include <vector>

#include "base/row_matrix.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;

TEST_CASE("rows of a sparse matrix are those of the dense one that it stands for", "[row_matrix]") {
  const std::vector<float> values = {0, 2, 0,  5,  //
                                     0, 0, 0,  0,  //
                                     1, 0, -3, 0};
  const RowMatrix dense(MatrixView<float>{values.data(), 3, 4});
  const std::vector<std::int64_t> begin = {0, 2, 2, 4};
  const std::vector<std::int32_t> column = {1, 3, 0, 2};
  const std::vector<float> value = {2, 5, 1, -3};
  const RowMatrix sparse({begin, column, value}, 4);
  REQUIRE((sparse.rows == 3 && sparse.cols == 4 && sparse.is_sparse() && !dense.is_sparse()));
  std::vector<float> scratch;
  for (std::int64_t i = 0; i < 3; ++i) {
    std::vector<float> expected(4, -1), copied(4, -1);  // what was there before is overwritten
    dense.copy_row(i, expected.data());
    sparse.copy_row(i, copied.data());
    CHECK(copied == expected);
    const float* row = sparse.row(i, scratch);
    CHECK(std::vector<float>(row, row + 4) == expected);
  }
  CHECK(dense.row(1, scratch) == values.data() + 4);  // where it lies: nothing is copied
}

TEST_CASE("a sparse matrix is not taken for a dense one, nor the other way round", "[row_matrix]") {
  const std::vector<std::int64_t> begin = {0};
  const RowMatrix sparse({begin, {}, {}}, 4);
  CHECK(sparse.rows == 0);
  CHECK_THROWS_AS(sparse.dense(), std::logic_error);
  CHECK_THROWS_AS(RowMatrix(MatrixView<float>{}).sparse(), std::logic_error);
}
