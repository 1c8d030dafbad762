// SPDX-License-Identifier: Apache-2.0
#include "run/features.hpp"

#include <cdrzoo/abi.h>

#include <algorithm>
#include <utility>

#include "data/feature_block.hpp"

namespace cdrzoo {
namespace {

const FeatureBlock* find_block(const std::vector<FeatureBlock>& blocks, const std::string& name) {
  const auto found = std::find_if(blocks.begin(), blocks.end(), [&](const auto& block) { return block.name == name; });
  return found == blocks.end() ? nullptr : &*found;
}

std::pair<std::vector<std::int64_t>, std::string> concatenate(const std::vector<std::string>& texts) {
  std::pair<std::vector<std::int64_t>, std::string> result;
  auto& [offsets, bytes] = result;
  offsets.push_back(0);
  for (const auto& text : texts) {
    bytes += text;
    offsets.push_back(static_cast<std::int64_t>(bytes.size()));
  }
  return result;
}

FeatureBlock::Part offsets_part(const std::vector<std::int64_t>& offsets) {
  return {CDRZOO_PART_OFFSETS,
          CDRZOO_I64,
          {static_cast<std::int64_t>(offsets.size())},
          offsets.data(),
          offsets.size() * sizeof(std::int64_t),
          false};
}

FeatureBlock::Part bytes_part(const std::string& bytes) {
  return {CDRZOO_PART_BYTES, CDRZOO_U8, {static_cast<std::int64_t>(bytes.size())}, bytes.data(), bytes.size(), false};
}

bool has_text(const std::vector<std::string>& texts) {
  return std::any_of(texts.begin(), texts.end(), [](const auto& text) { return !text.empty(); });
}

}  // namespace

Features::Features(const Dataset& dataset, const std::vector<std::int32_t>& domain_code)
    : sample_(dataset.samples.blocks), drug_(dataset.drugs.blocks) {
  if (find_block(sample_, "tissue") == nullptr && !dataset.tissues.empty())
    add_codes("tissue", dataset.samples.tissue, dataset.tissues);
  if (find_block(sample_, "domain") == nullptr) {
    std::vector<std::string> levels(dataset.domains.name.size());
    for (std::size_t d = 0; d < levels.size(); ++d)
      levels[static_cast<std::size_t>(domain_code.at(d))] = dataset.domains.name[d];
    std::vector<std::int32_t> codes;
    codes.reserve(dataset.samples.domain.size());
    for (const auto d : dataset.samples.domain) codes.push_back(domain_code.at(static_cast<std::size_t>(d)));
    add_codes("domain", std::move(codes), levels);
  }
  if (find_block(drug_, "smiles") == nullptr && has_text(dataset.drugs.smiles))
    add_text("smiles", dataset.drugs.smiles);
}

void Features::add_codes(const std::string& name, std::vector<std::int32_t> codes,
                         const std::vector<std::string>& levels) {
  auto [offsets, bytes] = concatenate(levels);
  const auto& own = storage_.emplace_back(Storage{std::move(codes), std::move(offsets), std::move(bytes)});
  FeatureBlock block;
  block.name = name;
  block.kind = CDRZOO_BLOCK_CODES;
  block.rows = static_cast<std::int64_t>(own.codes.size());
  block.width = static_cast<std::int64_t>(levels.size());
  block.space = space_of(levels);
  block.parts.push_back(
      {CDRZOO_PART_VALUES, CDRZOO_I32, {block.rows}, own.codes.data(), own.codes.size() * sizeof(std::int32_t), false});
  block.parts.push_back(offsets_part(own.offsets));
  block.parts.push_back(bytes_part(own.bytes));
  sample_.push_back(std::move(block));
}

void Features::add_text(const std::string& name, const std::vector<std::string>& texts) {
  auto [offsets, bytes] = concatenate(texts);
  const auto& own = storage_.emplace_back(Storage{{}, std::move(offsets), std::move(bytes)});
  FeatureBlock block;
  block.name = name;
  block.kind = CDRZOO_BLOCK_UTF8;
  block.rows = static_cast<std::int64_t>(texts.size());
  block.parts.push_back(offsets_part(own.offsets));
  block.parts.push_back(bytes_part(own.bytes));
  drug_.push_back(std::move(block));
}

const FeatureBlock* Features::sample_block(const std::string& name) const { return find_block(sample_, name); }
const FeatureBlock* Features::drug_block(const std::string& name) const { return find_block(drug_, name); }

std::set<std::string> Features::sample_block_names(const Dataset& dataset) {
  std::set<std::string> names = {"domain"};
  for (const auto& block : dataset.samples.blocks) names.insert(block.name);
  if (!dataset.tissues.empty()) names.insert("tissue");
  return names;
}

std::set<std::string> Features::drug_block_names(const Dataset& dataset) {
  std::set<std::string> names;
  for (const auto& block : dataset.drugs.blocks) names.insert(block.name);
  if (has_text(dataset.drugs.smiles)) names.insert("smiles");
  return names;
}

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

}  // namespace cdrzoo
