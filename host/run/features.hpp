// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <vector>

#include "data/dataset.hpp"

namespace cdrzoo {

/// The code of each domain that models see: the split's source is 0, its target 1, the others follow in the order of
/// the data set; without a source the data set's order stands.
[[nodiscard]] std::vector<std::int32_t> domain_codes(const Dataset& dataset, const std::string& source,
                                                     const std::string& target);

/// The sample block "domain" in these codes.
class DomainBlock {
 public:
  DomainBlock(const Dataset& dataset, const std::vector<std::int32_t>& code_of_domain);
  DomainBlock(const DomainBlock&) = delete;
  DomainBlock& operator=(const DomainBlock&) = delete;
  /// Points into this object.
  [[nodiscard]] const FeatureBlock& view() const { return view_; }

 private:
  std::vector<std::int32_t> codes_;
  std::vector<std::int64_t> offsets_ = {0};
  std::string bytes_;
  FeatureBlock view_;
};

[[nodiscard]] std::set<std::string> block_names(const std::vector<FeatureBlock>& blocks);

}  // namespace cdrzoo
