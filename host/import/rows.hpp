// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cdrzoo {

/// The rows of a delimited text file, plain or gzip, as fields. UTF-8 with or without a byte order mark; LF or CRLF
/// line ends, but not both in one file. Rows may differ in length: what they mean is the caller's affair. Memory is
/// bounded by the longest row.
///
/// Errors name the file and the line (the first is 1).
class RowReader {
 public:
  struct Format {
    char separator = ',';  ///< NUL: a row is one field
    enum class Quotes {
      none,    ///< a quote is a character like any other
      strict,  ///< a field may stand in double quotes; a doubled quote inside stands for one
      loose,   ///< the same, but single quotes inside are let through, as GEO writes them
    } quotes = Quotes::strict;
    std::string comment;  ///< rows that begin with this are skipped; empty = there are none
    bool trim = false;    ///< spaces and tabs around a field do not count
  };

  /// \throws IoError if the file cannot be read.
  RowReader(std::filesystem::path path, Format format);
  ~RowReader();
  RowReader(RowReader&&) noexcept;
  RowReader& operator=(RowReader&&) noexcept;

  /// Moves to the next row; false at the end. \throws DataError for text that is malformed, damaged or cut.
  [[nodiscard]] bool next();
  /// The next call of next() gives the current row once more.
  void again();
  /// Fields of the current row: at least one; valid until next() moves on.
  [[nodiscard]] const std::vector<std::string_view>& fields() const;
  /// Line on which the current row begins.
  [[nodiscard]] std::int64_t line() const;
  /// For files whose rows have several fields: is this an empty line at the end? Moves there.
  /// \throws DataError for an empty line with rows behind it.
  [[nodiscard]] bool is_blank_end();

  [[nodiscard]] const std::filesystem::path& path() const;
  [[nodiscard]] std::string place(std::int64_t line) const;
  /// Throws a DataError about the current row: "FILE line L: WHAT".
  [[noreturn]] void wrong(const std::string& what) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A header row as names. R's write.table gives no name to the column of row names: where the first row has one field
/// more than the header, and \p may_be_short, the first name is made empty. A row that ends with a separator looks the
/// same, so its last field must not be empty. The reader stands before the first row afterwards.
/// \throws DataError if there is no row.
[[nodiscard]] std::vector<std::string> read_header(RowReader& rows, bool may_be_short, std::int64_t* line);

}  // namespace cdrzoo
