// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.hpp"

namespace cdrzoo {

/// Which records belong together under one kind of identity.
struct Grouping {
  std::string type;                  ///< "sample" | "drug" | "pair" | "tissue" | "scaffold"
  std::vector<std::int32_t> of_row;  ///< [responses] index into name
  std::vector<std::string> name;     ///< [groups] the identity that is hashed
  std::int32_t unknown = -1;         ///< tissue: the group of samples without a known tissue, which is never tested
};

/// Joins the sample's and the drug's identity in the name of a pair.
inline constexpr char kPairSeparator = '\x1f';
/// Prefix of the name of an acyclic drug's own scaffold group; the drug's identity follows.
inline constexpr const char* kAcyclicPrefix = "acyclic\x1f";

/// Groups all records of the data set.
///   sample   Samples::group            drug     Drugs::group
///   pair     both, with kPairSeparator
///   tissue   name of the tissue; a sample group takes the one tissue that its measured samples name
///   scaffold first non-empty scaffold (bytewise) among the drugs of one structure, else kAcyclicPrefix + drug group
/// \throws DataError if the samples of one group name two tissues, or if no drug has a scaffold.
[[nodiscard]] Grouping group_records(const Dataset& dataset, const std::string& type);

}  // namespace cdrzoo
