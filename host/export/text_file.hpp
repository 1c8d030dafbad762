// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cdrzoo {

/// The shortest decimal text that reads back as the same number; empty for NaN.
[[nodiscard]] std::string shortest_text(double value);
[[nodiscard]] std::string shortest_text(float value);

/// A name in letters, digits, '.', '-' and '_': safe in file names of every system. Other bytes become '_'.
[[nodiscard]] std::string file_word(const std::string& name);
/// file_word of each name, with a number behind where two would be the same (also by case).
[[nodiscard]] std::vector<std::string> file_words(const std::vector<std::string>& names);

/// Writes a text file of rows: fields between separators, in double quotes where needed, LF after each row. A path that
/// ends in .gz is compressed; the same rows give the same bytes.
class RowFile {
 public:
  /// \throws IoError if the file cannot be made.
  explicit RowFile(std::filesystem::path path, char separator = ',');
  ~RowFile();
  RowFile(const RowFile&) = delete;
  RowFile& operator=(const RowFile&) = delete;
  RowFile(RowFile&&) = delete;
  RowFile& operator=(RowFile&&) = delete;

  RowFile& field(std::string_view text);
  RowFile& field(std::int64_t value) { return field(std::to_string(value)); }
  RowFile& number(double value) { return field(shortest_text(value)); }
  RowFile& number(float value) { return field(shortest_text(value)); }
  RowFile& fields(const std::vector<std::string>& texts);
  RowFile& numbers(const float* values, std::int64_t count);
  void end_row();
  /// Must be called at the end. \throws IoError if the disk refuses.
  void close();

 private:
  void flush();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cdrzoo
