// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "data/dataset_writer.hpp"
#include "import/build_report.hpp"
#include "import/source_files.hpp"

namespace cdrzoo {

/// Adds perturbation profiles that exist already, as tables and a matrix: what `cdrzoo data export` writes. Samples,
/// drugs and genes of \p content are set before.
/// \throws DataError naming file, line and column of what does not fit them.
void read_profile_tables(const Recipe::Profiles& rule, SourceFiles& files, BuildReport& report,
                         DatasetContent& content);

}  // namespace cdrzoo
