// SPDX-License-Identifier: Apache-2.0
#include "split/groups.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <stdexcept>
#include <unordered_map>

#include "base/error.hpp"
#include "base/hash.hpp"

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

const Dataset::Perturbations& profiles_of(const Dataset& dataset) {
  if (!dataset.perturbations) throw std::logic_error("a group of perturbation rows without any");
  return *dataset.perturbations;
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

std::string profile_number(float value) {
  if (std::isnan(value)) return "";
  std::array<char, 64> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(),
                                 static_cast<double>(value) + 0.0,  // -0 and 0 are one dose
                                 std::chars_format::general, 9);
  return {digits.data(), end.ptr};
}

Members group_members(const Dataset& dataset) {
  const auto& profiles = profiles_of(dataset);
  Members members;
  Names names;
  std::vector<std::int32_t> group_of;
  group_of.reserve(dataset.drugs.group.size());
  for (const auto& group : dataset.drugs.group) group_of.push_back(names.index(group));
  members.of_row.reserve(profiles.drug.size());
  for (std::size_t row = 0; row < profiles.drug.size(); ++row) {
    const auto second = profiles.drug_b[row];
    members.of_row.push_back({group_of[at(profiles.drug[row])], second < 0 ? -1 : group_of[at(second)]});
  }
  members.name = names.take();
  return members;
}

Grouping group_profiles(const Dataset& dataset, const std::string& type) {
  const bool by_context = type != "perturbation";
  const bool by_perturbation = type != "context";
  const bool by_condition = type == "condition";
  if (by_context && by_perturbation && !by_condition && type != "context x perturbation") {
    throw std::logic_error("group_profiles: no group type " + type);
  }
  const auto& profiles = profiles_of(dataset);
  const auto members = group_members(dataset);
  Grouping grouping;
  Names names;
  std::string name;
  grouping.of_row.reserve(members.of_row.size());
  for (std::size_t row = 0; row < members.of_row.size(); ++row) {
    name.clear();
    const auto add = [&](const std::string& part) {
      if (!name.empty()) name += kPairSeparator;
      name += part;
    };
    if (by_context) {
      const auto context = at(profiles.context[row]);
      add(by_condition ? profiles.contexts[context] : profiles.context_group[context]);
    }
    if (by_perturbation) {
      const auto [a, b] = members.of_row[row];
      const auto& first = members.name[at(a)];
      if (b < 0) {
        add(first);
      } else {
        const auto& second = members.name[at(b)];
        add(std::min(first, second));
        add(std::max(first, second));
      }
    }
    if (by_condition) {
      name += std::string("\x1f\x1f") + profile_number(profiles.dose_log10_molar[row]) + kPairSeparator +
              profile_number(profiles.time_h[row]);
    }
    grouping.of_row.push_back(names.index(name));
  }
  grouping.name = names.take();
  grouping.type = type;
  return grouping;
}

std::string profiles_hash(const Dataset& dataset) {
  const auto& profiles = profiles_of(dataset);
  const auto& drugs = dataset.drugs.id;
  Sha256 sha;
  sha.update("domain\tcontext\tdrug\tdrug_b\tdose_log10_molar\ttime_h\tcontrol\treplicates\n");
  for (std::size_t row = 0; row < profiles.drug.size(); ++row) {
    const auto control = at(profiles.control[row]);
    std::string line = dataset.domains.name[at(dataset.samples.domain[control])];
    for (const auto& field : {profiles.contexts[at(profiles.context[row])], drugs[at(profiles.drug[row])],
                              profiles.drug_b[row] < 0 ? std::string() : drugs[at(profiles.drug_b[row])],
                              profile_number(profiles.dose_log10_molar[row]), profile_number(profiles.time_h[row]),
                              dataset.samples.id[control], std::to_string(profiles.replicates[row])}) {
      line += '\t' + field;
    }
    sha.update(line + '\n');
  }
  return sha.hex();
}

}  // namespace cdrzoo
