// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <cdrzoo/abi.h>

#include "base/row_matrix.hpp"
#include "data/dataset.hpp"
#include "data/hdf5_file.hpp"

/// Feature blocks in files and under construction. The parts that each kind has are written down in
/// share/doc/data_format.md and, as code, only here.
namespace cdrzoo {

template <typename T>
constexpr std::int32_t dtype_of() {
  if constexpr (std::is_same_v<T, float>) return CDRZOO_F32;
  if constexpr (std::is_same_v<T, double>) return CDRZOO_F64;
  if constexpr (std::is_same_v<T, std::int32_t>) return CDRZOO_I32;
  if constexpr (std::is_same_v<T, std::int64_t>) return CDRZOO_I64;
  if constexpr (std::is_same_v<T, std::uint8_t>) return CDRZOO_U8;
}

[[nodiscard]] std::int32_t abi_dtype(Hdf5Type type);           ///< CDRZOO_F32, ...; 0 = no view can hold it
[[nodiscard]] const char* block_kind_name(std::int32_t kind);  ///< "dense", "csr", "codes", "utf8", "graphs"
[[nodiscard]] const char* part_name(std::int32_t role);        ///< "values", "nodeptr", ...

/// Content hash of an ordered feature vocabulary: SHA-256 of each name followed by a line feed, in hexadecimal.
[[nodiscard]] std::string space_of(const std::vector<std::string>& feature_names);

/// A feature block that owns its memory, for writers.
struct BlockContent {
  struct Part {
    std::int32_t role = 0;
    std::int32_t dtype = 0;
    std::vector<std::int64_t> shape;
    std::vector<std::uint8_t> bytes;
  };
  std::string name;
  std::int32_t kind = CDRZOO_BLOCK_DENSE;
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::string space;
  std::vector<std::string> feature_names;
  std::vector<Part> parts;

  template <typename T>
  void add(std::int32_t role, std::vector<std::int64_t> shape, const std::vector<T>& values) {
    Part part{role, dtype_of<T>(), std::move(shape), std::vector<std::uint8_t>(values.size() * sizeof(T))};
    if (!values.empty()) std::memcpy(part.bytes.data(), values.data(), part.bytes.size());
    parts.push_back(std::move(part));
  }
  /// Pointers into this object; valid while it lives unchanged.
  [[nodiscard]] FeatureBlock view() const;
};

/// Writes the block as group \p group, with the attributes kind, width, space and has_nan per float part.
void write_block(Hdf5Writer& writer, const std::string& group, const FeatureBlock& block);

/// Appends \p rows of \p matrix, dense, those that follow each other together: what is mapped is not gathered in memory
/// first.
void append_rows(Hdf5Writer::Rows& to, const RowMatrix& matrix, const std::vector<std::int32_t>& rows);
/// As write_block, for a dense block of floats whose rows are the rows of \p block followed by \p rows of \p matrix.
void write_extended_block(Hdf5Writer& writer, const std::string& group, const FeatureBlock& block,
                          const RowMatrix& matrix, const std::vector<std::int32_t>& rows);

/// Writes \p rows of a sparse \p matrix, in that order, as a CSR block of \p space, row by row.
void write_sparse_rows(Hdf5Writer& writer, const std::string& group, const RowMatrix& matrix,
                       const std::vector<std::int32_t>& rows, const std::string& space);

/// Reads and checks a block of \p rows rows: every part that its kind needs, shapes that agree, indices in range.
/// Matrices of features are not touched, index arrays are. The pointers live as long as file.storage().
/// \throws DataError naming the file and the part.
[[nodiscard]] FeatureBlock read_block(const Hdf5File& file, const std::string& group, const std::string& name,
                                      std::int64_t rows);

/// The CSR block of \p file at \p group as a matrix [rows, cols], checked in full but for its values: that none is
/// missing is taken from has_nan. \throws DataError naming the file and the part, also if the columns of a row do not
/// ascend.
[[nodiscard]] RowMatrix read_sparse_rows(const Hdf5File& file, const std::string& group, std::int64_t rows,
                                         std::int64_t cols, const std::string& space);

/// Is any element of these a NaN?
[[nodiscard]] bool any_nan(const float* data, std::uint64_t count);
/// ... of row \p row?
[[nodiscard]] bool any_nan(const RowMatrix& matrix, std::int64_t row);

}  // namespace cdrzoo
