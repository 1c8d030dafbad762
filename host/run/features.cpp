// SPDX-License-Identifier: Apache-2.0
#include "run/features.hpp"

#include <cdrzoo/abi.h>

#include "data/feature_block.hpp"

namespace cdrzoo {

std::vector<std::int32_t> domain_codes(const Dataset& dataset, const std::string& source, const std::string& target) {
  std::vector<std::int32_t> code(dataset.domains.name.size(), -1);
  std::int32_t next = 0;
  for (const auto& name : {source, target}) {
    if (name.empty()) continue;
    auto& slot = code.at(static_cast<std::size_t>(dataset.domain_index(name)));
    if (slot < 0) slot = next++;
  }
  for (auto& slot : code)
    if (slot < 0) slot = next++;
  return code;
}

DomainBlock::DomainBlock(const Dataset& dataset, const std::vector<std::int32_t>& code_of_domain) {
  std::vector<std::string> levels(dataset.domains.name.size());
  for (std::size_t d = 0; d < levels.size(); ++d)
    levels[static_cast<std::size_t>(code_of_domain.at(d))] = dataset.domains.name[d];
  for (const auto& level : levels) {
    bytes_ += level;
    offsets_.push_back(static_cast<std::int64_t>(bytes_.size()));
  }
  codes_.reserve(dataset.samples.domain.size());
  for (const auto d : dataset.samples.domain) codes_.push_back(code_of_domain.at(static_cast<std::size_t>(d)));

  view_.name = "domain";
  view_.kind = CDRZOO_BLOCK_CODES;
  view_.rows = static_cast<std::int64_t>(codes_.size());
  view_.width = static_cast<std::int64_t>(levels.size());
  view_.space = space_of(levels);
  const auto add = [&](std::int32_t role, std::int32_t dtype, std::size_t count, std::size_t element,
                       const void* data) {
    FeatureBlock::Part part;
    part.role = role;
    part.dtype = dtype;
    part.shape = {static_cast<std::int64_t>(count)};
    part.data = data;
    part.bytes = count * element;
    view_.parts.push_back(part);
  };
  add(CDRZOO_PART_VALUES, CDRZOO_I32, codes_.size(), sizeof(std::int32_t), codes_.data());
  add(CDRZOO_PART_OFFSETS, CDRZOO_I64, offsets_.size(), sizeof(std::int64_t), offsets_.data());
  add(CDRZOO_PART_BYTES, CDRZOO_U8, bytes_.size(), 1, bytes_.data());
}

std::set<std::string> block_names(const std::vector<FeatureBlock>& blocks) {
  std::set<std::string> names;
  for (const auto& block : blocks) names.insert(block.name);
  return names;
}

}  // namespace cdrzoo
