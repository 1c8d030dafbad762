// SPDX-License-Identifier: Apache-2.0
#include "import/table.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include "base/error.hpp"
#include "data/hdf5_file.hpp"

namespace cdrzoo {

std::string excerpt(std::string_view text) {
  constexpr std::size_t kShown = 40;
  std::string out;
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7F ? '?' : c;
  }
  if (!is_clean_text(out)) {
    for (char& c : out) {
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    }
  }
  return "'" + out + (text.size() > kShown ? "...'" : "'");
}

void Table::set_header(std::vector<std::string> names, std::int64_t line) {
  header_ = std::move(names);
  for (std::size_t i = 0; i < header_.size(); ++i) {
    const std::string here = place(line) + ": the header of column " + std::to_string(i + 1);
    if (header_[i].empty() && i > 0) throw DataError(here + " is empty");
    if (!is_clean_text(header_[i])) throw DataError(here + " is not UTF-8 text: " + excerpt(header_[i]));
    const auto [known, fresh] = position_.emplace(header_[i], i);
    if (!fresh) {
      throw DataError(place(line) + ": the header has the column '" + header_[i] + "' twice (columns " +
                      std::to_string(known->second + 1) + " and " + std::to_string(i + 1) + ")");
    }
  }
}

std::size_t Table::column(const std::string& name) const {
  const auto found = position_.find(name);
  if (found != position_.end()) return found->second;
  std::string known;
  constexpr std::size_t kShown = 12;
  for (std::size_t i = 0; i < std::min(header_.size(), kShown); ++i)
    known += (i == 0 ? "" : ", ") + (header_[i].empty() ? "(no name)" : header_[i]);
  if (header_.size() > kShown) known += " and " + std::to_string(header_.size() - kShown) + " more";
  throw DataError(path_.string() + " has no column '" + name + "'; it has " + known);
}

void Table::wrong(std::size_t column, const std::string& what) const {
  throw DataError(place(line()) + ": column '" + header_[column] + "': " + what);
}

template <typename T>
bool Table::parse(std::size_t column, T* value) const {
  const std::string& text = field(column);
  for (const std::string& word : dialect_.missing) {
    if (text == word) return false;
  }
  std::string converted;
  const std::string* digits = &text;
  if (dialect_.decimal != '.') {
    if (text.find('.') != std::string::npos) {
      wrong(column, excerpt(text) + " is not a finite number (the decimal sign is '" + dialect_.decimal + "')");
    }
    converted = text;
    std::replace(converted.begin(), converted.end(), dialect_.decimal, '.');
    digits = &converted;
  }
  const char* first = digits->data();
  const char* last = first + digits->size();
  if (digits->size() > 1 && *first == '+' && first[1] != '-') ++first;
  const auto result = std::from_chars(first, last, *value);
  if (result.ec != std::errc() || result.ptr != last || !std::isfinite(*value)) {
    wrong(column, excerpt(text) + (result.ec == std::errc::result_out_of_range ? " is out of range"
                                                                               : " is not a finite number"));
  }
  return true;
}

bool Table::number(std::size_t column, double* value) const { return parse(column, value); }
bool Table::number(std::size_t column, float* value) const { return parse(column, value); }

const std::vector<std::string>* TextColumns::find(const std::string& name) const {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? nullptr : &values[static_cast<std::size_t>(found - names.begin())];
}

MemoryTable::MemoryTable(std::filesystem::path path, std::string part, TextColumns columns)
    : Table(std::move(path)), part_(std::move(part)), columns_(std::move(columns)) {
  set_header(columns_.names, 0);
}

std::string MemoryTable::place(std::int64_t line) const {
  return path().string() + " " + part_ + (line > 0 ? " row " + std::to_string(line) : "");
}

}  // namespace cdrzoo
