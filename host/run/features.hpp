// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <set>
#include <string>
#include <vector>

#include "data/dataset.hpp"

namespace cdrzoo {

/// The feature blocks that models can ask for: those which the data set stores, and those that it implies ("tissue" and
/// "domain" of samples, "smiles" of drugs). Owns the implied ones.
class Features {
 public:
  /// \param domain_code per domain of the data set the code that models see (0 = the source domain)
  Features(const Dataset& dataset, const std::vector<std::int32_t>& domain_code);
  Features(const Features&) = delete;
  Features& operator=(const Features&) = delete;

  [[nodiscard]] const FeatureBlock* sample_block(const std::string& name) const;  ///< nullptr if there is none
  [[nodiscard]] const FeatureBlock* drug_block(const std::string& name) const;

  [[nodiscard]] static std::set<std::string> sample_block_names(const Dataset& dataset);
  [[nodiscard]] static std::set<std::string> drug_block_names(const Dataset& dataset);

 private:
  void add_codes(const std::string& name, std::vector<std::int32_t> codes, const std::vector<std::string>& levels);
  void add_text(const std::string& name, const std::vector<std::string>& texts);

  struct Storage {
    std::vector<std::int32_t> codes;
    std::vector<std::int64_t> offsets;
    std::string bytes;
  };
  std::deque<Storage> storage_;  // never moves what the blocks point to
  std::vector<FeatureBlock> sample_, drug_;
};

/// The code of each domain that models see: the split's source is 0, its target 1, the others follow in the order of
/// the data set; without a source the data set's order stands.
[[nodiscard]] std::vector<std::int32_t> domain_codes(const Dataset& dataset, const std::string& source,
                                                     const std::string& target);

}  // namespace cdrzoo
