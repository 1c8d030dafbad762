// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.hpp"

namespace cdrzoo {

/// Which records belong together under one kind of identity.
struct Grouping {
  std::string type;                  ///< "sample" | "drug" | "pair" | "tissue" | "scaffold", or of perturbations
  std::vector<std::int32_t> of_row;  ///< [responses or perturbation rows] index into name
  std::vector<std::string> name;     ///< [groups] the identity that is hashed
  std::int32_t unknown = -1;         ///< tissue: the group of samples without a known tissue, which is never tested
};

/// Joins the sample's and the drug's identity in the name of a pair, and all parts of the names of perturbation groups.
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

/// Groups all rows of Dataset::perturbations. Parts of a name are joined by kPairSeparator.
///   perturbation             the drug group; of a double both, bytewise ascending
///   context                  the context's name
///   context x perturbation   both
///   condition                context, perturbation, dose and time (profile_number), so that two names of one structure
///                            make one condition
[[nodiscard]] Grouping group_profiles(const Dataset& dataset, const std::string& type);

/// The one or two drug groups that each perturbation row is made of.
struct Members {
  std::vector<std::array<std::int32_t, 2>> of_row;  ///< [rows] indices into name; the second is -1 for a single
  std::vector<std::string> name;                    ///< drug groups that occur
};
[[nodiscard]] Members group_members(const Dataset& dataset);

/// A dose or time as it is written in names of groups: as C prints it with %.9g, empty if unknown.
[[nodiscard]] std::string profile_number(float value);

/// Identity of what a split of perturbations indexes: SHA-256 over context, perturbations, dose, time, control and
/// replicates of all rows (share/doc/splits.md has the bytes). It does not cover the profiles themselves.
[[nodiscard]] std::string profiles_hash(const Dataset& dataset);

}  // namespace cdrzoo
