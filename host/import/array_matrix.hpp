// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "import/matrix_source.hpp"

namespace cdrzoo {

/// A matrix of plain numbers in a file that knows no names, as its reader found it.
struct ArrayLayout {
  enum class Kind { floating, integer, unsigned_integer };
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  bool by_column = false;  ///< Fortran order: a column lies in one piece, else a row
  Kind kind = Kind::floating;
  std::size_t element_bytes = 4;  ///< 4 or 8 for floating, else 1, 2, 4 or 8
  bool swap = false;              ///< big-endian
  /// Bytes [offset, offset + size) of the data; valid until the next call.
  std::function<const unsigned char*(std::int64_t offset, std::size_t size)> bytes;
};

/// With the names of spec.sample_list and spec.gene_list, one per line.
/// \throws DataError if their numbers are not those of the matrix, with the place of a name that is none.
[[nodiscard]] std::unique_ptr<MatrixSource> open_array_matrix(ArrayLayout layout, const MatrixSpec& spec);

}  // namespace cdrzoo
