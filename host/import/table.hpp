// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace cdrzoo {

/// How a text file writes fields and numbers.
struct Dialect {
  char separator = ',';
  char decimal = '.';
  /// Words that stand for a missing number, compared as they are.
  std::vector<std::string> missing = {"", "NA", "NaN", "nan", "N/A", "null"};
  std::string comment;  ///< lines that begin with this are skipped; empty = there are none
  bool trim = false;    ///< spaces around fields and header names do not count
};

enum class NumberKind { finite, missing, out_of_range, malformed };
/// Reads a whole field as a number; \p value is set only where it is finite. Too small for the type is zero.
[[nodiscard]] NumberKind read_number(std::string_view text, const Dialect& dialect, double* value);
[[nodiscard]] NumberKind read_number(std::string_view text, const Dialect& dialect, float* value);
/// "'1,5' is not a finite number", for a field that read_number() refused.
[[nodiscard]] std::string number_problem(std::string_view text, const Dialect& dialect, NumberKind kind);

/// A table of text, read row by row. Columns have names; every row has a field for each.
class Table {
 public:
  virtual ~Table() = default;
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] const std::vector<std::string>& header() const { return header_; }
  [[nodiscard]] bool has_column(const std::string& name) const { return position_.count(name) != 0; }
  /// Position of a column. \throws DataError that names the columns that are there.
  [[nodiscard]] std::size_t column(const std::string& name) const;

  /// Moves to the next row; false at the end.
  [[nodiscard]] virtual bool next() = 0;
  /// Field of the current row; valid until the next call of next().
  [[nodiscard]] virtual const std::string& field(std::size_t column) const = 0;
  /// Number of the current row as messages count it: the line of a text file, else the row, from 1.
  [[nodiscard]] virtual std::int64_t line() const = 0;
  /// Where row \p line is: "FILE line 12", "FILE obs row 12".
  [[nodiscard]] virtual std::string place(std::int64_t line) const = 0;

  /// The field as a finite number; false where it is a word for missing.
  /// \throws DataError with place, column and the text for anything else.
  [[nodiscard]] bool number(std::size_t column, double* value) const;
  [[nodiscard]] bool number(std::size_t column, float* value) const;

  /// Throws a DataError about the field: "FILE line L: column 'C': WHAT".
  [[noreturn]] void wrong(std::size_t column, const std::string& what) const;

 protected:
  explicit Table(std::filesystem::path path, Dialect dialect = {})
      : path_(std::move(path)), dialect_(std::move(dialect)) {}
  Table(Table&&) noexcept = default;
  Table& operator=(Table&&) noexcept = default;
  /// \p line of the header, for messages. The name of the first column may be empty, as in files of pandas and R.
  /// \throws DataError for another empty name, a repeated one, or text that is not clean UTF-8.
  void set_header(std::vector<std::string> names, std::int64_t line);
  [[nodiscard]] const Dialect& dialect() const { return dialect_; }

 private:
  template <typename T>
  bool parse(std::size_t column, T* value) const;

  std::filesystem::path path_;
  Dialect dialect_;
  std::vector<std::string> header_;
  std::unordered_map<std::string, std::size_t> position_;
};

/// Columns of text of equal length, in memory: what a file says about its samples or genes.
struct TextColumns {
  std::vector<std::string> names;
  std::vector<std::vector<std::string>> values;  ///< per column
  [[nodiscard]] std::int64_t rows() const {
    return values.empty() ? 0 : static_cast<std::int64_t>(values.front().size());
  }
  /// nullptr if there is none of that name.
  [[nodiscard]] const std::vector<std::string>* find(const std::string& name) const;
};

/// A Table over TextColumns.
class MemoryTable final : public Table {
 public:
  /// \param part what it is in the file, for messages: "obs", "column annotations"
  MemoryTable(std::filesystem::path path, std::string part, TextColumns columns, Dialect dialect = {});
  [[nodiscard]] bool next() override { return ++row_ < columns_.rows(); }
  [[nodiscard]] const std::string& field(std::size_t column) const override {
    return columns_.values[column][static_cast<std::size_t>(row_)];
  }
  [[nodiscard]] std::int64_t line() const override { return row_ + 1; }
  [[nodiscard]] std::string place(std::int64_t line) const override;

 private:
  std::string part_;
  TextColumns columns_;
  std::int64_t row_ = -1;
};

/// At most 40 characters of a wrong field for a message, in quotes, control characters replaced.
[[nodiscard]] std::string excerpt(std::string_view text);

}  // namespace cdrzoo
