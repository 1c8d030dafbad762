// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cdrzoo {

/// Strict streaming reader of CSV with a header, plain or gzip. UTF-8, LF or CRLF line ends, fields in double quotes
/// where needed (a doubled quote stands for one). Every row has as many fields as the header; no header name is empty
/// or used twice. Memory is bounded by the longest row.
///
/// Errors name the file, the line (the header is line 1) and, where it makes sense, the column.
class CsvReader {
 public:
  /// Reads the header. \throws IoError if the file cannot be read, DataError if it is empty or malformed.
  explicit CsvReader(std::filesystem::path path);
  ~CsvReader();
  CsvReader(CsvReader&&) noexcept;
  CsvReader& operator=(CsvReader&&) noexcept;

  [[nodiscard]] const std::filesystem::path& path() const;
  [[nodiscard]] const std::vector<std::string>& header() const;
  /// Position of a column. \throws DataError that names the columns that are there.
  [[nodiscard]] std::size_t column(const std::string& name) const;

  /// Moves to the next row; false at the end. Empty lines at the end of the file are ignored.
  [[nodiscard]] bool next();
  /// Field of the current row; valid until the next call of next().
  [[nodiscard]] const std::string& field(std::size_t column) const;
  /// Line on which the current row begins, from 1.
  [[nodiscard]] std::int64_t line() const;

  /// The field as a finite number; false where it is one of the words for missing ("", NA, NaN, nan, N/A, null).
  /// \throws DataError with line, column and the text for anything else.
  [[nodiscard]] bool number(std::size_t column, double* value) const;
  [[nodiscard]] bool number(std::size_t column, float* value) const;

  /// Throws a DataError about the field: "FILE line L, column 'C': WHAT".
  [[noreturn]] void wrong(std::size_t column, const std::string& what) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cdrzoo
