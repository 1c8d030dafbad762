// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "import/matrix_source.hpp"
#include "import/recipe.hpp"

namespace cdrzoo {

/// A table of the recipe, opened, its rows filtered by `where` and `unless`.
class FilteredTable {
 public:
  FilteredTable(std::unique_ptr<Table> table, const Recipe::Filter& where, const Recipe::Filter& unless);

  [[nodiscard]] Table& table() { return *table_; }
  /// Position of a column that the recipe may leave out; kNone then.
  [[nodiscard]] std::size_t optional_column(const std::string& name) const {
    return name.empty() ? kNone : table_->column(name);
  }
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  [[nodiscard]] bool next();
  /// Rows that the filter left out so far.
  [[nodiscard]] std::size_t filtered() const { return filtered_; }

  /// A field that names something: not empty, clean text.
  const std::string& id(std::size_t column);
  /// A field of clean text; "" for kNone.
  const std::string& clean(std::size_t column);

 private:
  struct Rule {
    std::size_t column;
    std::vector<std::string> texts;
    bool wanted;
  };
  std::unique_ptr<Table> table_;
  std::vector<Rule> rules_;
  std::size_t filtered_ = 0;
};

/// The files of a recipe below one folder: found, checked against their SHA-256, remembered for the provenance.
class SourceFiles {
 public:
  explicit SourceFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// \throws IoError, DataError if it is not the file that the recipe means.
  std::filesystem::path locate(const std::string& file, const std::string& sha256 = "");
  [[nodiscard]] FilteredTable open(const Recipe::Table& table);
  [[nodiscard]] std::unique_ptr<MatrixSource> open_matrix_of(const Recipe::Domain& domain);
  /// [{file, sha256, bytes}], by name.
  [[nodiscard]] nlohmann::ordered_json used() const;

 private:
  std::filesystem::path folder_;
  std::map<std::string, nlohmann::ordered_json> used_;
};

}  // namespace cdrzoo
