// SPDX-License-Identifier: Apache-2.0
#include "import/gmt.hpp"

#include <unordered_map>
#include <unordered_set>

#include "base/error.hpp"
#include "data/hdf5_file.hpp"
#include "import/rows.hpp"
#include "import/table.hpp"

namespace cdrzoo {

std::vector<GeneSet> read_gmt(const std::filesystem::path& file) {
  std::vector<GeneSet> sets;
  std::unordered_map<std::string, std::int64_t> lines;
  RowReader rows(file, {'\t', RowReader::Format::Quotes::none, "", false});
  while (rows.next() && !rows.is_blank_end()) {
    auto fields = rows.fields();
    while (fields.size() > 2 && fields.back().empty()) fields.pop_back();
    if (fields.size() < 3) rows.wrong("has no genes; expected a name, a description and genes, with tabs between them");
    const auto text = [&rows](std::string_view field, const char* what) {
      if (!is_clean_text(field)) rows.wrong(std::string(what) + " " + excerpt(field) + " is not clean UTF-8 text");
      return std::string(field);
    };
    GeneSet set{text(fields[0], "the name"), text(fields[1], "the description"), {}};
    if (set.name.empty()) rows.wrong("has a set without a name");
    const auto [known, fresh] = lines.emplace(set.name, rows.line());
    if (!fresh) rows.wrong("has the set '" + set.name + "' of line " + std::to_string(known->second) + " again");
    std::unordered_set<std::string_view> seen;
    for (std::size_t i = 2; i < fields.size(); ++i) {
      if (fields[i].empty()) rows.wrong("has an empty gene in field " + std::to_string(i + 1));
      set.genes.push_back(text(fields[i], "the gene"));
      if (!seen.insert(fields[i]).second) rows.wrong("has the gene '" + set.genes.back() + "' twice");
    }
    sets.push_back(std::move(set));
  }
  if (sets.empty()) throw DataError(file.string() + " has no gene sets");
  return sets;
}

TextColumns members_of(const std::vector<GeneSet>& sets) {
  TextColumns columns;
  columns.names = {"set", "description", "gene"};
  columns.values.resize(3);
  for (const auto& set : sets) {
    for (const auto& gene : set.genes) {
      columns.values[0].push_back(set.name);
      columns.values[1].push_back(set.description);
      columns.values[2].push_back(gene);
    }
  }
  return columns;
}

}  // namespace cdrzoo
