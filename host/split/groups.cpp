// SPDX-License-Identifier: Apache-2.0
#include "split/groups.hpp"

#include <stdexcept>
#include <unordered_map>

#include "base/error.hpp"

namespace cdrzoo {
namespace {

std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

/// Numbers names in the order of their first appearance.
class Names {
 public:
  std::int32_t index(const std::string& name) {
    const auto [position, added] = index_.emplace(name, static_cast<std::int32_t>(list_.size()));
    if (added) list_.push_back(name);
    return position->second;
  }
  std::vector<std::string> take() { return std::move(list_); }

 private:
  std::unordered_map<std::string, std::int32_t> index_;
  std::vector<std::string> list_;
};

/// Groups of entities (samples or drugs) carried over to the records.
void fill_rows(Grouping& grouping, const ArrayView<std::int32_t>& entity, const std::vector<std::int32_t>& group_of) {
  grouping.of_row.reserve(entity.size());
  for (const auto index : entity) grouping.of_row.push_back(group_of[at(index)]);
}

bool is_unknown(const std::string& tissue) { return tissue.empty() || tissue == "unknown"; }

Grouping by_tissue(const Dataset& dataset) {
  Grouping grouping;
  const auto& samples = dataset.samples;
  std::vector<char> measured(samples.id.size(), 0);
  for (const auto sample : dataset.responses.sample) measured[at(sample)] = 1;
  std::unordered_map<std::string, std::string> tissue_of;  // sample group -> tissue
  for (std::size_t s = 0; s < samples.id.size(); ++s) {
    if (measured[s] == 0) continue;
    const auto index = samples.tissue[s];
    const std::string tissue = index < 0 ? "" : dataset.tissues[at(index)];
    auto& known = tissue_of[samples.group[s]];
    if (is_unknown(tissue)) continue;
    if (!known.empty() && known != tissue) {
      std::string what = "leave-tissue-out needs one tissue per sample group, and ";
      what.append(samples.group[s]).append(" has ").append(known).append(" and ").append(tissue);
      throw DataError(what);
    }
    known = tissue;
  }
  Names names;
  std::vector<std::int32_t> group_of;
  group_of.reserve(samples.id.size());
  for (const auto& group : samples.group) {
    const auto& tissue = tissue_of[group];
    group_of.push_back(names.index(tissue.empty() ? "unknown" : tissue));
    if (tissue.empty()) grouping.unknown = group_of.back();
  }
  fill_rows(grouping, dataset.responses.sample, group_of);
  grouping.name = names.take();
  return grouping;
}

Grouping by_scaffold(const Dataset& dataset) {
  Grouping grouping;
  const auto& drugs = dataset.drugs;
  std::unordered_map<std::string, std::string> scaffold_of;  // drug group -> scaffold
  bool any = false;
  for (std::size_t d = 0; d < drugs.id.size(); ++d) {
    if (drugs.scaffold[d].empty()) continue;
    any = true;
    auto& scaffold = scaffold_of[drugs.group[d]];
    if (scaffold.empty() || drugs.scaffold[d] < scaffold) scaffold = drugs.scaffold[d];
  }
  if (!any) throw DataError("leave-scaffold-out needs structures, and no drug of this data set has a scaffold");
  Names names;
  std::vector<std::int32_t> group_of;
  group_of.reserve(drugs.id.size());
  for (const auto& group : drugs.group) {
    const auto found = scaffold_of.find(group);
    group_of.push_back(names.index(found == scaffold_of.end() ? kAcyclicPrefix + group : found->second));
  }
  fill_rows(grouping, dataset.responses.drug, group_of);
  grouping.name = names.take();
  return grouping;
}

Grouping by_entity(const std::vector<std::string>& group, const ArrayView<std::int32_t>& entity) {
  Grouping grouping;
  Names names;
  std::vector<std::int32_t> group_of;
  group_of.reserve(group.size());
  for (const auto& name : group) group_of.push_back(names.index(name));
  fill_rows(grouping, entity, group_of);
  grouping.name = names.take();
  return grouping;
}

Grouping by_pair(const Dataset& dataset) {
  const auto samples = by_entity(dataset.samples.group, dataset.responses.sample);
  const auto drugs = by_entity(dataset.drugs.group, dataset.responses.drug);
  Grouping grouping;
  std::unordered_map<std::int64_t, std::int32_t> index;
  index.reserve(samples.of_row.size());
  grouping.of_row.reserve(samples.of_row.size());
  for (std::size_t row = 0; row < samples.of_row.size(); ++row) {
    const auto sample = samples.of_row[row];
    const auto drug = drugs.of_row[row];
    const auto pair = static_cast<std::int64_t>(sample) * static_cast<std::int64_t>(drugs.name.size()) + drug;
    const auto [position, added] = index.emplace(pair, static_cast<std::int32_t>(grouping.name.size()));
    if (added) grouping.name.push_back(samples.name[at(sample)] + kPairSeparator + drugs.name[at(drug)]);
    grouping.of_row.push_back(position->second);
  }
  return grouping;
}

}  // namespace

Grouping group_records(const Dataset& dataset, const std::string& type) {
  Grouping grouping;
  if (type == "sample") {
    grouping = by_entity(dataset.samples.group, dataset.responses.sample);
  } else if (type == "drug") {
    grouping = by_entity(dataset.drugs.group, dataset.responses.drug);
  } else if (type == "pair") {
    grouping = by_pair(dataset);
  } else if (type == "tissue") {
    grouping = by_tissue(dataset);
  } else if (type == "scaffold") {
    grouping = by_scaffold(dataset);
  } else {
    throw std::logic_error("group_records: no group type " + type);
  }
  grouping.type = type;
  return grouping;
}

}  // namespace cdrzoo
