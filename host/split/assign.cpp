// SPDX-License-Identifier: Apache-2.0
#include "split/assign.hpp"

#include <algorithm>
#include <stdexcept>

namespace cdrzoo {

Sha256::Digest assignment_key(std::uint64_t seed, int repeat, std::string_view mode, std::string_view name) {
  Sha256 sha;
  sha.update_le64(seed).update_le64(static_cast<std::uint64_t>(repeat)).update(mode).update("\0", 1).update(name);
  return sha.digest();
}

std::vector<int> assign_folds(const std::vector<WeightedGroup>& groups, int folds, std::uint64_t seed, int repeat,
                              std::string_view mode) {
  if (folds < 1 || repeat < 0) throw std::logic_error("assign_folds: no folds or a negative repeat");

  struct Entry {
    Sha256::Digest key;
    std::int64_t weight;
    std::size_t index;
    bool heavy;
  };
  std::int64_t total = 0;
  for (const auto& group : groups) total += group.weight;

  std::vector<Entry> order;
  order.reserve(groups.size());
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const auto& group = groups[i];
    order.push_back(
        {assignment_key(seed, repeat, mode, group.name), group.weight, i, group.weight * 2 * folds > total});
  }
  std::sort(order.begin(), order.end(), [](const Entry& a, const Entry& b) {
    if (a.heavy != b.heavy) return a.heavy;
    if (a.heavy && a.weight != b.weight) return a.weight > b.weight;
    return a.key < b.key;
  });

  std::vector<std::int64_t> load(static_cast<std::size_t>(folds), 0);
  std::vector<int> fold_of(groups.size(), 0);
  for (const auto& entry : order) {
    const auto smallest = std::min_element(load.begin(), load.end());  // the first of equal ones
    *smallest += entry.weight;
    fold_of[entry.index] = static_cast<int>(smallest - load.begin());
  }
  return fold_of;
}

}  // namespace cdrzoo
