// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "import/table.hpp"

namespace cdrzoo {

/// Strict streaming reader of delimited text with a header, plain or gzip. UTF-8, LF or CRLF line ends but not both,
/// fields in double quotes where needed (a doubled quote stands for one). Every row has as many fields as the header.
/// Memory is bounded by the longest row.
///
/// Errors name the file, the line (the first is 1) and, where it makes sense, the column.
class CsvReader final : public Table {
 public:
  /// Reads the header. \throws IoError if the file cannot be read, DataError if it is empty or malformed.
  explicit CsvReader(std::filesystem::path path, Dialect dialect = {});
  ~CsvReader() override;
  CsvReader(CsvReader&&) noexcept;
  CsvReader& operator=(CsvReader&&) noexcept;

  /// Empty lines at the end of the file are ignored.
  [[nodiscard]] bool next() override;
  [[nodiscard]] const std::string& field(std::size_t column) const override;
  [[nodiscard]] std::int64_t line() const override;
  [[nodiscard]] std::string place(std::int64_t line) const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cdrzoo
