// SPDX-License-Identifier: Apache-2.0
#include "import/source_files.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/hdf5_file.hpp"

namespace cdrzoo {

FilteredTable::FilteredTable(std::unique_ptr<Table> table, const Recipe::Filter& where, const Recipe::Filter& unless)
    : table_(std::move(table)) {
  for (const auto& [column, texts] : where) rules_.push_back({table_->column(column), texts, true});
  for (const auto& [column, texts] : unless) rules_.push_back({table_->column(column), texts, false});
}

bool FilteredTable::next() {
  while (table_->next()) {
    const bool counts = std::all_of(rules_.begin(), rules_.end(), [this](const Rule& rule) {
      const std::string& text = table_->field(rule.column);
      return (std::find(rule.texts.begin(), rule.texts.end(), text) != rule.texts.end()) == rule.wanted;
    });
    if (counts) return true;
    ++filtered_;
  }
  return false;
}

const std::string& FilteredTable::id(std::size_t column) {
  if (table_->field(column).empty()) table_->wrong(column, "is empty; expected an id");
  return clean(column);
}

const std::string& FilteredTable::clean(std::size_t column) {
  static const std::string nothing;
  if (column == kNone) return nothing;
  const std::string& text = table_->field(column);
  if (!is_clean_text(text)) table_->wrong(column, "is not UTF-8 text or holds a control character");
  return text;
}

std::filesystem::path SourceFiles::locate(const std::string& file, const std::string& sha256) {
  std::filesystem::path path = folder_ / file;
  if (used_.count(file) == 0) {
    const std::string found = sha256_file_hex(path);
    used_[file] = {{"file", file}, {"sha256", found}, {"bytes", std::filesystem::file_size(path)}};
  }
  if (!sha256.empty() && used_[file]["sha256"] != sha256) {
    throw DataError(path.string() + " is not the file that the recipe means: its SHA-256 is " +
                    used_[file]["sha256"].get<std::string>() + ", expected " + sha256);
  }
  return path;
}

FilteredTable SourceFiles::open(const Recipe::Table& table) {
  TableSpec spec;
  spec.file = locate(table.file, table.sha256);
  spec.format = table.format;
  spec.dialect = table.dialect;
  spec.part = table.part;
  return {open_table(spec), table.where, table.unless};
}

std::unique_ptr<MatrixSource> SourceFiles::open_matrix_of(const Recipe::Domain& domain) {
  MatrixSpec spec = domain.matrix;
  spec.file = locate(domain.expression.file, domain.expression.sha256);
  if (!spec.sample_list.empty()) spec.sample_list = locate(spec.sample_list.string());
  if (!spec.gene_list.empty()) spec.gene_list = locate(spec.gene_list.string());
  return open_matrix(spec);
}

nlohmann::ordered_json SourceFiles::used() const {
  auto list = nlohmann::ordered_json::array();
  for (const auto& [file, source] : used_) list.push_back(source);
  return list;
}

}  // namespace cdrzoo
