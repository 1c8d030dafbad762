// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "data/dataset_writer.hpp"
#include "import/build_report.hpp"
#include "import/recipe.hpp"

namespace cdrzoo {

/// Builds a data set from the files that the recipe names, found below \p from. Says in \p report what was done, and
/// lists everything that was left out; the sentences go into the provenance too.
/// \throws DataError naming file, line and column; IoError.
[[nodiscard]] DatasetContent build_dataset(const Recipe& recipe, const std::filesystem::path& from,
                                           BuildReport& report);

}  // namespace cdrzoo
