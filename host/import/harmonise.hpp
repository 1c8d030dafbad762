// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "import/build_report.hpp"
#include "import/recipe.hpp"

namespace cdrzoo {

/// The expression of one domain while a data set is built: [samples, genes], row-major, NaN = missing.
struct ExpressionRows {
  float* values = nullptr;
  std::size_t samples = 0;
  std::size_t genes = 0;
};

/// Mean and population standard deviation of each gene over its observed values; sd 0 = constant.
struct GeneStatistics {
  std::vector<double> mean, sd;
};
[[nodiscard]] GeneStatistics gene_statistics(const ExpressionRows& rows);

/// One number under a log or unlog step; \p ok is false where it has no logarithm or the result is not finite.
[[nodiscard]] double transformed(const Recipe::Step& step, double value, bool* ok);

/// Applies one step of a recipe that does not wait for the folds, and says so. Steps: fill_missing, clip, log, unlog,
/// library_size, zscore (on all samples).
/// \param source_statistics for zscore with the statistics of the source
/// \throws DataError naming the domain and what cannot be transformed.
void apply_step(const Recipe::Domain& domain, const Recipe::Step& step, const ExpressionRows& rows,
                const GeneStatistics* source_statistics, BuildReport& report, std::vector<std::string>& caveats);

}  // namespace cdrzoo
