// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "import/rows.hpp"
#include "import/table.hpp"

namespace cdrzoo {

/// \throws UsageError for a dialect that cannot be read: a quote as separator, a separator that is the decimal sign.
[[nodiscard]] RowReader::Format row_format(const Dialect& dialect);

/// Strict streaming reader of delimited text with a header, plain or gzip. UTF-8, LF or CRLF line ends but not both,
/// fields in double quotes where needed (a doubled quote stands for one). Every row has as many fields as the header.
/// Memory is bounded by the longest row.
///
/// Errors name the file, the line (the first is 1) and, where it makes sense, the column.
class CsvReader final : public Table {
 public:
  /// R's write.table leaves out the name of the column with row names; read_header() says when that is believed.
  enum class RowNames { have_header, may_lack_header };

  /// Reads the header. \throws IoError if the file cannot be read, DataError if it is empty or malformed.
  explicit CsvReader(std::filesystem::path path, Dialect dialect = {}, RowNames row_names = RowNames::have_header);

  /// Empty lines at the end of the file are ignored.
  [[nodiscard]] bool next() override;
  [[nodiscard]] const std::string& field(std::size_t column) const override;
  [[nodiscard]] std::int64_t line() const override;
  [[nodiscard]] std::string place(std::int64_t line) const override;

 private:
  RowReader rows_;
  std::vector<std::string> fields_;  // reused: no allocation per row once they have grown
};

}  // namespace cdrzoo
