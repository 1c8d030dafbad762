// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "import/table.hpp"

namespace cdrzoo {

struct GeneSet {
  std::string name;
  std::string description;  ///< may be empty
  std::vector<std::string> genes;
};

/// Reads a GMT file, plain or gzip: per line a name, a description and the genes, with tabs between them. Empty fields
/// at the end of a line do not count.
/// \throws IoError; DataError with file and line for a set without genes, a repeated set, a gene that a set has twice.
[[nodiscard]] std::vector<GeneSet> read_gmt(const std::filesystem::path& file);

/// The sets as a table with a row per member: columns set, description, gene.
[[nodiscard]] TextColumns members_of(const std::vector<GeneSet>& sets);

}  // namespace cdrzoo
