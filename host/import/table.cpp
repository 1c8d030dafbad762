// SPDX-License-Identifier: Apache-2.0
#include "import/table.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

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

namespace {

template <typename T>
NumberKind parse_number(std::string_view text, const Dialect& dialect, T* value) {
  for (const std::string& word : dialect.missing) {
    if (text == word) return NumberKind::missing;
  }
  std::string converted;
  if (dialect.decimal != '.') {
    if (text.find('.') != std::string_view::npos) return NumberKind::malformed;
    converted = text;
    std::replace(converted.begin(), converted.end(), dialect.decimal, '.');
    text = converted;
  }
  const char* first = text.data();
  const char* last = first + text.size();
  if (text.size() > 1 && *first == '+' && first[1] != '-') ++first;
  T parsed{};
  const auto result = std::from_chars(first, last, parsed);
  if (result.ec == std::errc::result_out_of_range && result.ptr == last) {
    // Too large, or too small: the two differ by the sign of the exponent, and a wider type tells.
    long double wide = 0.0L;
    if (std::from_chars(first, last, wide).ec != std::errc() || std::abs(wide) > 1.0L) return NumberKind::out_of_range;
    parsed = static_cast<T>(wide);
  } else if (result.ec != std::errc() || result.ptr != last || !std::isfinite(parsed)) {
    return NumberKind::malformed;
  }
  *value = parsed;
  return NumberKind::finite;
}

}  // namespace

NumberKind read_number(std::string_view text, const Dialect& dialect, double* value) {
  return parse_number(text, dialect, value);
}
NumberKind read_number(std::string_view text, const Dialect& dialect, float* value) {
  return parse_number(text, dialect, value);
}

std::string number_problem(std::string_view text, const Dialect& dialect, NumberKind kind) {
  if (kind == NumberKind::out_of_range) return excerpt(text) + " is out of range";
  return excerpt(text) + " is not a finite number" +
         (dialect.decimal == '.' ? "" : std::string(" (the decimal sign is '") + dialect.decimal + "')");
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
  const std::string name = header_[column].empty() ? std::to_string(column + 1) : "'" + header_[column] + "'";
  throw DataError(place(line()) + ": column " + name + ": " + what);
}

template <typename T>
bool Table::parse(std::size_t column, T* value) const {
  const std::string& text = field(column);
  const NumberKind kind = read_number(text, dialect_, value);
  if (kind == NumberKind::finite) return true;
  if (kind == NumberKind::missing) return false;
  wrong(column, number_problem(text, dialect_, kind));
}

bool Table::number(std::size_t column, double* value) const { return parse(column, value); }
bool Table::number(std::size_t column, float* value) const { return parse(column, value); }

const std::vector<std::string>* TextColumns::find(const std::string& name) const {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? nullptr : &values[static_cast<std::size_t>(found - names.begin())];
}

MemoryTable::MemoryTable(std::filesystem::path path, std::string part, TextColumns columns, Dialect dialect)
    : Table(std::move(path), std::move(dialect)), part_(std::move(part)), columns_(std::move(columns)) {
  set_header(columns_.names, 0);
}

std::string MemoryTable::place(std::int64_t line) const {
  return path().string() + " " + part_ + (line > 0 ? " row " + std::to_string(line) : "");
}

}  // namespace cdrzoo
