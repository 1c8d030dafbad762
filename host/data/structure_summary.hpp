// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "data/feature_block.hpp"

namespace cdrzoo {

/// What the graphs of drugs say about their structures.
struct StructureSummary {
  std::int64_t several_fragments = 0;  ///< molecules of more than one fragment: salts, hydrates, complexes
  std::int64_t isolated_atoms = 0;     ///< molecules with an atom that has no bond
};

/// \p graphs is a block of the kind graphs with one node per atom ("graph", "graph_deepcdr"); loops do not count.
[[nodiscard]] StructureSummary summarise_structures(const FeatureBlock& graphs);

}  // namespace cdrzoo
