// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

#include "store/store.hpp"

namespace cdrzoo {

/// One line of results.csv: tidy long form, failures included (status != "ok", metric empty).
struct ResultRow {
  std::string run, model, version, variant, params, dataset, task, split;
  int repeat = 0, fold = 0;
  std::uint64_t seed = 0;
  std::string level;  ///< pooled | per_drug | per_sample | per_tissue (macro means); per_drug:<id> for one group
  std::string metric;
  double value = 0;
  std::int64_t n = 0;            ///< rows behind the value
  std::int64_t groups_valid = 0, groups_total = 0;  ///< macro means only
  std::string coverage_rule;     ///< as_reported | filled | common
  std::string flags, status, message;
  double seconds = 0;
  std::string key;
};

/// All results of the given cells: a pure function of the store.
[[nodiscard]] std::vector<ResultRow> compute_results(const Store& store, const std::vector<std::string>& keys);
void write_results_csv(const std::vector<ResultRow>& rows, const std::filesystem::path& path);

struct ReportOptions {
  std::string format = "text";  ///< text | markdown | csv
  std::vector<std::string> metrics;  ///< "level:metric" or "metric" (pooled); empty = the task's defaults
  std::string reference_model;       ///< significance against this; empty = the best per metric
  bool color = false;
};

/// The table of the paper's form: models x metrics, "mean (sd)", best in bold, significance marks, failures, caveats.
[[nodiscard]] std::string render_table(const std::vector<ResultRow>& rows, const std::vector<Record>& records,
                                       const ReportOptions& options);

}  // namespace cdrzoo
