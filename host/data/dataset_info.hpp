// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/dataset.hpp"

namespace cdrzoo {

/// Everything that `cdrzoo data info` prints, as JSON (share/doc/data_format.md lists the keys). Reads the expression
/// matrix once, to count missing values.
[[nodiscard]] nlohmann::ordered_json describe_dataset(const Dataset& dataset);

/// The same for people. \p per_drug adds one line per drug.
[[nodiscard]] std::string info_text(const nlohmann::ordered_json& info, bool per_drug);

struct Findings {
  std::vector<std::string> errors;  ///< broken invariants, one sentence each
  std::vector<std::string> notes;   ///< allowed, but worth knowing
};

/// Checks everything: what Dataset::open checks, then the contents of all matrices. Never throws for a bad data set.
/// \throws IoError if the file cannot be read at all.
[[nodiscard]] Findings validate_dataset(const std::filesystem::path& path);

}  // namespace cdrzoo
