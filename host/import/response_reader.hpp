// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "data/dataset_writer.hpp"
#include "import/build_report.hpp"
#include "import/domain_rows.hpp"
#include "import/drug_table.hpp"
#include "import/source_files.hpp"

namespace cdrzoo {

/// Reads one table of responses of a domain whose samples are in \p out, and appends the records.
/// \throws DataError with line and column for everything that the rule does not allow.
void read_responses(const Recipe::Response& rule, const DomainRows& domain, DrugTable& drugs, SourceFiles& files,
                    BuildReport& report, DatasetContent& out);

}  // namespace cdrzoo
