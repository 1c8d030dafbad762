// SPDX-License-Identifier: Apache-2.0
#include "data/structure_summary.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace cdrzoo {
namespace {

template <typename T>
const T* values(const FeatureBlock& block, std::int32_t role) {
  const auto found =
      std::find_if(block.parts.begin(), block.parts.end(), [role](const auto& part) { return part.role == role; });
  return static_cast<const T*>(found->data);
}

}  // namespace

StructureSummary summarise_structures(const FeatureBlock& graphs) {
  const auto* node = values<std::int64_t>(graphs, CDRZOO_PART_NODEPTR);
  const auto* edge = values<std::int64_t>(graphs, CDRZOO_PART_EDGEPTR);
  const auto* source = values<std::int32_t>(graphs, CDRZOO_PART_EDGESRC);
  const auto* target = values<std::int32_t>(graphs, CDRZOO_PART_EDGEDST);
  StructureSummary out;
  std::vector<std::int32_t> parent;
  std::vector<bool> bonded;
  const auto root = [&](std::int32_t i) {
    while (parent[static_cast<std::size_t>(i)] != i) i = parent[static_cast<std::size_t>(i)];
    return i;
  };
  for (std::int64_t drug = 0; drug < graphs.rows; ++drug) {
    const std::int64_t atoms = node[drug + 1] - node[drug];
    if (atoms == 0) continue;
    parent.resize(static_cast<std::size_t>(atoms));
    std::iota(parent.begin(), parent.end(), 0);
    bonded.assign(static_cast<std::size_t>(atoms), false);
    std::int64_t fragments = atoms;
    for (std::int64_t e = edge[drug]; e < edge[drug + 1]; ++e) {
      if (source[e] == target[e]) continue;
      bonded[static_cast<std::size_t>(source[e])] = true;
      const std::int32_t a = root(source[e]);
      const std::int32_t b = root(target[e]);
      if (a == b) continue;
      parent[static_cast<std::size_t>(std::max(a, b))] = std::min(a, b);
      --fragments;
    }
    if (fragments > 1) ++out.several_fragments;
    if (std::find(bonded.begin(), bonded.end(), false) != bonded.end()) ++out.isolated_atoms;
  }
  return out;
}

}  // namespace cdrzoo
