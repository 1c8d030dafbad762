// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset_writer.hpp"

namespace cdrzoo {

/// What became of the structures of a drug table.
struct StructureReport {
  std::int64_t known = 0;
  std::int64_t absent = 0;  ///< no SMILES given
  struct Invalid {
    std::string drug;
    std::string smiles;
    std::string reason;
  };
  std::vector<Invalid> invalid;  ///< SMILES that are no molecule: the drug stays, without a structure
  std::int64_t synonyms = 0;     ///< drugs that share their structure with an earlier one, and so its group
};

/// Derives group, scaffold and the blocks "morgan" and "graph" from drug_smiles. Drugs without a usable structure get
/// the group "id:<drug id>", no scaffold, an all-zero fingerprint and a graph without nodes; an unusable SMILES is
/// emptied. Without a single structure there are no blocks.
StructureReport derive_structures(DatasetContent& content);

}  // namespace cdrzoo
