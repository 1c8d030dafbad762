// SPDX-License-Identifier: Apache-2.0
#include "import/csv.hpp"

#include "base/error.hpp"

namespace cdrzoo {

RowReader::Format row_format(const Dialect& dialect) {
  const char c = dialect.separator;
  if (c == '"' || c == '\n' || c == '\r' || c == '\0' || static_cast<unsigned char>(c) >= 0x80)
    throw UsageError("the separator of a table is a quote, a line end, NUL or not ASCII; expected another character");
  if (dialect.decimal != '.' && dialect.decimal != ',')
    throw UsageError(std::string("the decimal sign of a table is '") + dialect.decimal + "'; expected '.' or ','");
  if (c == dialect.decimal)
    throw UsageError(std::string("the separator and the decimal sign of a table are both '") + c + "'");
  return {c, RowReader::Format::Quotes::strict, dialect.comment, dialect.trim};
}

CsvReader::CsvReader(std::filesystem::path path, Dialect dialect, RowNames row_names)
    : Table(std::move(path), std::move(dialect)), rows_(this->path(), row_format(this->dialect())) {
  std::int64_t line = 0;
  auto names = read_header(rows_, row_names == RowNames::may_lack_header, &line);
  fields_.resize(names.size());
  set_header(std::move(names), line);
}

std::int64_t CsvReader::line() const { return rows_.line(); }
std::string CsvReader::place(std::int64_t line) const { return path().string() + " line " + std::to_string(line); }

bool CsvReader::next() {
  if (!rows_.next()) return false;
  const auto& fields = rows_.fields();
  if (fields_.size() > 1 && rows_.is_blank_end()) return false;
  if (fields.size() != fields_.size()) {
    rows_.wrong("has " + std::to_string(fields.size()) + " fields; the header has " + std::to_string(fields_.size()));
  }
  for (std::size_t i = 0; i < fields.size(); ++i) fields_[i].assign(fields[i]);
  return true;
}

const std::string& CsvReader::field(std::size_t column) const { return fields_[column]; }

}  // namespace cdrzoo
