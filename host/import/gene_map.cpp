// SPDX-License-Identifier: Apache-2.0
#include "import/gene_map.hpp"

#include <set>

namespace cdrzoo {

const std::vector<const char*>& gene_names_words() {
  static const std::vector<const char*> words = {"symbol", "entrez", "ensembl"};
  return words;
}

std::string without_version(const std::string& ensembl) {
  const std::size_t point = ensembl.find('.');
  const bool versioned = ensembl.compare(0, 3, "ENS") == 0 && point != std::string::npos &&
                         point + 1 < ensembl.size() &&
                         ensembl.find_first_not_of("0123456789", point + 1) == std::string::npos;
  return versioned ? ensembl.substr(0, point) : ensembl;
}

GeneMap::GeneMap(Table& table, const Columns& columns) {
  const std::size_t symbol = table.column(columns.symbol);
  const std::size_t none = table.header().size();
  const auto optional = [&](const std::string& name) { return name.empty() ? none : table.column(name); };
  const std::size_t entrez = optional(columns.entrez);
  const std::size_t ensembl = optional(columns.ensembl);
  const std::size_t canonical = optional(columns.canonical);
  const std::size_t aliases = optional(columns.aliases);
  while (table.next()) {
    if (table.field(symbol).empty()) table.wrong(symbol, "is empty; expected a gene symbol");
    const std::size_t row = rows_.size();
    const auto text = [&](std::size_t column) { return column == none ? std::string() : table.field(column); };
    const std::string common = text(canonical);
    rows_.push_back({common.empty() ? table.field(symbol) : common, text(entrez), without_version(text(ensembl))});
    by_name_[0][table.field(symbol)].push_back(row);
    if (!rows_[row].entrez.empty()) by_name_[1][rows_[row].entrez].push_back(row);
    if (!rows_[row].ensembl.empty()) by_name_[2][rows_[row].ensembl].push_back(row);
    const std::string list = text(aliases);
    for (std::size_t at = 0; at < list.size();) {
      const std::size_t end = std::min(list.find('|', at), list.size());
      if (end > at) by_alias_[list.substr(at, end - at)].push_back(row);
      at = end + 1;
    }
  }
}

const std::string& GeneMap::id_of(std::size_t row, GeneNames target) const {
  const Row& r = rows_[row];
  return target == GeneNames::symbol ? r.symbol : target == GeneNames::entrez ? r.entrez : r.ensembl;
}

GeneMap::Gene GeneMap::find(GeneNames kind, const std::string& name, GeneNames target) const {
  const auto& names = by_name_[static_cast<std::size_t>(kind)];
  auto found = names.find(kind == GeneNames::ensembl ? without_version(name) : name);
  Gene gene;
  if (found == names.end() && kind == GeneNames::symbol) {
    found = by_alias_.find(name);
    if (found == by_alias_.end()) return gene;
    gene.by_alias = true;
  } else if (found == names.end()) {
    return gene;
  }
  std::set<std::string> ids;
  for (const std::size_t row : found->second) {
    if (!id_of(row, target).empty()) ids.insert(id_of(row, target));
  }
  gene.ambiguous = ids.size() > 1;
  if (ids.size() == 1) gene.id = *ids.begin();
  return gene;
}

}  // namespace cdrzoo
