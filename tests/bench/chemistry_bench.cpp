// SPDX-License-Identifier: Apache-2.0
// chemistry_bench FILE ID_COLUMN SMILES_COLUMN
//   featurises the drugs of a table, one block at a time, and says how long that took, how large the blocks are, and
//   what became of each structure. Conformers are made on all cores
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "import/csv.hpp"
#include "import/drug_structures.hpp"

using namespace cdrzoo;

namespace {

StructureReport featurise(DatasetContent content, const std::vector<std::string>& features) {
  StructureOptions options;
  options.features = features;
  const std::clock_t clock = std::clock();
  const auto start = std::chrono::steady_clock::now();
  const StructureReport report = derive_structures(content, options);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double cpu_seconds = static_cast<double>(std::clock() - clock) / CLOCKS_PER_SEC;
  std::size_t bytes = 0;
  std::int64_t nodes = 0;
  for (const auto& block : content.drug_blocks) {
    for (const auto& part : block.parts) {
      bytes += part.bytes.size();
      if (part.role == CDRZOO_PART_NODEFEAT) nodes = part.shape[0];
    }
  }
  std::printf("%-14s %8.3f s, of processors %8.3f s %10zu bytes %8lld nodes\n",
              features.empty() ? "(none)" : features[0].c_str(), seconds, cpu_seconds, bytes,
              static_cast<long long>(nodes));
  return report;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) throw UsageError("usage: chemistry_bench FILE ID_COLUMN SMILES_COLUMN");
  CsvReader table(argv[1]);
  const std::size_t id = table.column(argv[2]);
  const std::size_t smiles = table.column(argv[3]);
  DatasetContent content;
  while (table.next()) {
    content.drug_id.push_back(table.field(id));
    content.drug_smiles.push_back(table.field(smiles));
  }
  StructureReport report = featurise(content, {});
  for (const auto& feature : structure_features()) report = featurise(content, {feature});
  std::printf("%zu drugs: %lld with a structure, %lld without, %zu invalid, %lld of the structure of another\n",
              content.drug_id.size(), static_cast<long long>(report.known), static_cast<long long>(report.absent),
              report.invalid.size(), static_cast<long long>(report.synonyms));
  for (const auto& x : report.invalid) std::printf("invalid: %s: %s\n", x.drug.c_str(), x.reason.c_str());
  for (const auto& x : report.without_conformer)
    std::printf("no conformer: %s: %s\n", x.drug.c_str(), x.reason.c_str());
  for (const auto& x : report.salt_forms) std::printf("salt forms: %s of %s\n", x.drug.c_str(), x.other.c_str());
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 2;
}
