// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset_writer.hpp"
#include "import/recipe.hpp"

namespace cdrzoo {

/// Builds a data set from the files that the recipe names, found below \p from. Appends to \p steps one sentence per
/// thing that was done or dropped, with counts; the same sentences go into the provenance.
/// \throws DataError naming file, line and column; IoError.
[[nodiscard]] DatasetContent build_dataset(const Recipe& recipe, const std::filesystem::path& from,
                                           std::vector<std::string>* steps);

}  // namespace cdrzoo
