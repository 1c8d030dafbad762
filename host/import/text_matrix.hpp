// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "import/matrix_source.hpp"
#include "import/rows.hpp"

namespace cdrzoo {

/// Where a text file with one row per sample, or one per gene, has what; the readers of the formats find it out.
struct TextLayout {
  std::filesystem::path path;
  RowReader::Format format;
  Dialect numbers;
  MatrixSource::Lines lines = MatrixSource::Lines::samples;

  std::int64_t rows_before = 0;  ///< rows of the file before the first line of values
  std::int64_t count = -1;       ///< lines of values that the file declares; negative: it does not
  std::string end;               ///< first field of the row behind the last line; empty: the end of the file

  std::size_t fields = 0;               ///< of every line
  std::vector<std::size_t> text;        ///< fields with the name of the line, then with what else is said about it
  std::vector<std::string> text_names;  ///< of those, may begin with an empty one
  std::vector<std::size_t> values;      ///< fields with the values
  TextColumns across;                   ///< about the other axis; the first column has its names
  std::int64_t across_line = 1;         ///< line of the file with those names
};

/// \p spec only for the columns from which names are to be taken.
[[nodiscard]] std::unique_ptr<MatrixSource> open_text_matrix(TextLayout layout, const MatrixSpec& spec);

/// Makes every column of the header that is not in layout->text a column of values, with its name in layout->across.
/// \throws DataError for a name that is empty or not clean, or if there is no such column.
void take_value_columns(TextLayout* layout, const std::vector<std::string>& header);

}  // namespace cdrzoo
