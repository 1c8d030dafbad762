// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset_writer.hpp"

namespace cdrzoo {

/// The blocks that derive_structures can make, in their order in the file: "morgan", "graph", "graph_deepcdr",
/// "graph_mat". All but the last are made in milliseconds; the last embeds each drug in space, which takes tenths of a
/// second for a drug.
[[nodiscard]] const std::vector<std::string>& structure_features();

/// A sentence about the first of these that is none of structure_features(); empty where all are.
[[nodiscard]] std::string structure_features_problem(const std::vector<std::string>& features);

struct StructureOptions {
  std::vector<std::string> features = {"morgan", "graph", "graph_deepcdr"};  ///< of structure_features(), in any order
  unsigned threads = 0;  ///< 0 = one per core; the result does not depend on it
};

/// What became of the structures of a drug table.
struct StructureReport {
  std::int64_t known = 0;
  std::int64_t absent = 0;  ///< no SMILES given
  struct Finding {
    std::string drug;
    std::string smiles;
    std::string reason;
  };
  std::vector<Finding> invalid;  ///< SMILES that are no molecule: the drug stays, without a structure
  std::int64_t synonyms = 0;     ///< drugs that share their structure with an earlier one, and so its group
  std::vector<Finding>
      without_conformer;  ///< drugs whose distances in "graph_mat" are not those of a conformer, and why
  /// Drugs whose largest fragment is also that of an earlier drug with another structure: a salt and its free base,
  /// say. They are different groups.
  struct SaltForm {
    std::string drug;
    std::string other;
  };
  std::vector<SaltForm> salt_forms;
};

/// Derives group, scaffold and the blocks asked for from drug_smiles. Drugs without a usable structure get the group
/// "id:<drug id>", no scaffold, an all-zero fingerprint and graphs without nodes; an unusable SMILES is emptied.
/// Without a single structure there are no blocks. \throws UsageError for a feature that does not exist.
StructureReport derive_structures(DatasetContent& content, const StructureOptions& options = {});

}  // namespace cdrzoo
