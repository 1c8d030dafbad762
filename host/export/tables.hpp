// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "export/layouts.hpp"

namespace cdrzoo {

/// Everything but the matrices, as CSV: samples, genes, drugs, response, perturbations, perturbation_controls and
/// perturbation_genes, those that the data set has.
void write_tables(const Dataset& dataset, const std::filesystem::path& folder, Sentences& said);

/// One CSV matrix, samples x genes; \p id is the header of the first column.
void write_expression(const Dataset& dataset, const std::string& id, const std::vector<std::size_t>& samples,
                      const std::filesystem::path& file);

}  // namespace cdrzoo
