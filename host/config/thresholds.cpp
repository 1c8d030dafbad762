// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "config/experiment.hpp"
#include "import/csv.hpp"

namespace cdrzoo {

std::map<std::string, double> read_thresholds(const std::filesystem::path& path) {
  CsvReader table(path);
  const auto drug = table.column("drug_id"), threshold = table.column("threshold");
  std::map<std::string, double> per_drug;
  while (table.next()) {
    double value = 0.0;
    if (table.field(drug).empty()) table.wrong(drug, "is empty, expected the id of a drug");
    if (!table.number(threshold, &value)) table.wrong(threshold, "is missing, expected a number");
    if (!per_drug.emplace(table.field(drug), value).second)
      table.wrong(drug, "has the drug " + excerpt(table.field(drug)) + " a second time");
  }
  if (per_drug.empty()) throw DataError(path.string() + " has no threshold, expected at least one row");
  return per_drug;
}

}  // namespace cdrzoo
