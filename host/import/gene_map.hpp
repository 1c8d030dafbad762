// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "import/table.hpp"

namespace cdrzoo {

/// What names a gene.
enum class GeneNames { symbol, entrez, ensembl };
[[nodiscard]] const std::vector<const char*>& gene_names_words();  ///< in the order of the enumeration

/// Translates gene names through a table with one row per symbol.
class GeneMap {
 public:
  /// Columns of the table; empty = it has none.
  struct Columns {
    std::string symbol = "symbol";
    std::string entrez, ensembl;
    std::string canonical;  ///< the symbol that spellings of one gene share; empty = `symbol`
    std::string aliases;    ///< further symbols, separated by |
  };
  /// \throws DataError for an empty symbol.
  GeneMap(Table& table, const Columns& columns);

  struct Gene {
    std::string id;  ///< name under the target naming; empty = not found or ambiguous
    bool by_alias = false;
    bool ambiguous = false;  ///< the map gives several genes
  };
  /// The gene that \p name means. The version of an Ensembl id does not count. A symbol is looked up as it stands, then
  /// as an alias.
  [[nodiscard]] Gene find(GeneNames kind, const std::string& name, GeneNames target) const;

 private:
  struct Row {
    std::string symbol, entrez, ensembl;
  };
  [[nodiscard]] const std::string& id_of(std::size_t row, GeneNames target) const;

  std::vector<Row> rows_;
  std::unordered_map<std::string, std::vector<std::size_t>> by_name_[3];
  std::unordered_map<std::string, std::vector<std::size_t>> by_alias_;
};

/// An Ensembl id without its version: ENSG00000141510.18 -> ENSG00000141510. Other text is unchanged.
[[nodiscard]] std::string without_version(const std::string& ensembl);

}  // namespace cdrzoo
