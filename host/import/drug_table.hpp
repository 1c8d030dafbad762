// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "data/dataset_writer.hpp"
#include "import/build_report.hpp"
#include "import/source_files.hpp"

namespace cdrzoo {

/// The drugs of a data set that is being built: their names in all vocabularies, and, at the end, which of them are
/// one.
class DrugTable {
 public:
  /// The drugs live in \p out; all arguments must outlive this.
  DrugTable(const Recipe& recipe, SourceFiles& files, BuildReport& report, DatasetContent& out)
      : recipe_(&recipe), files_(&files), report_(&report), out_(&out) {}

  /// Reads the recipe's table of drugs, if it has one.
  void read();

  /// Which drug each of the names means; index = position in the data set.
  /// \param match what the names are: id | name | pubchem | structure | inchikey
  /// With from = "responses" unknown drugs are added, each structure, number or key once.
  [[nodiscard]] std::unordered_map<std::string, NameMatcher::Match> match(const std::string& match,
                                                                          const std::vector<std::string>& asked);

  /// Id of the drug of that name, for perturbations; the name itself where the table lacks it.
  [[nodiscard]] std::string id_by_name(const std::string& name);

  /// Drops what has no record, derives structures, and makes drugs that are one substance one group: same structure
  /// without stereo, same connectivity block of the InChIKey, or same PubChem id.
  void finish();

 private:
  /// What the table says beyond what a data set keeps; as long as the drugs, shorter where later ones have none.
  struct Names {
    std::string inchikey;  ///< connectivity block
    std::string pubchem;
    std::vector<std::string> synonyms;
    std::string group;  ///< as the table says; empty = found
  };
  void add(const std::string& id, const std::string& name, const std::string& smiles, Names names);
  void drop_unused();
  void derive();
  void unite();

  const Recipe* recipe_;
  SourceFiles* files_;
  BuildReport* report_;
  DatasetContent* out_;
  std::vector<Names> names_;
};

}  // namespace cdrzoo
