// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "store/store.hpp"

namespace cdrzoo {

/// One line of results.csv: tidy long form, failures included (status != "ok": level, metric and value are empty).
/// Columns, levels and metric names: share/doc/results.md.
struct ResultRow {
  std::string run, model, name, version, variant, params, dataset, task, split, split_hash;
  int repeat = 0, fold = 0;
  std::uint64_t seed = 0;
  /// pooled | per_drug | per_sample | per_tissue (macro means) | per_drug:<name> (one group) | validation; task
  /// expression: condition | singles_seen_<k> (means over conditions) | condition:<name> | pooled | validation
  std::string level;
  std::string metric;
  double value = 0;                                 ///< NaN = undefined for these rows
  std::int64_t n = 0;                               ///< rows behind the value
  std::int64_t groups_valid = 0, groups_total = 0;  ///< macro means only
  std::string coverage_rule;                        ///< as_reported | filled | common
  std::string flags, status, message;
  double seconds = 0;  ///< of the whole cell
  std::string key;
};

/// All results of the given cells (sorted and without repetition): a pure function of their files.
/// \throws DataError if a cell is damaged, or if two cells of one fold disagree about a true value.
[[nodiscard]] std::vector<ResultRow> compute_results(const Store& store, const std::vector<std::string>& keys,
                                                     const std::string& run_id = "");

/// Replaces \p path by one rename. Numbers are the shortest that read back as the same double. \throws IoError.
void write_results_csv(const std::vector<ResultRow>& rows, const std::filesystem::path& path);

struct ReportOptions {
  std::string format = "text";  ///< text | markdown | csv
  std::vector<std::string>
      metrics;  ///< "level:metric" or "metric" (pooled, task expression: condition); empty = the task's defaults
  std::string reference_model;  ///< name or id, or "best_naive"; significance against it; empty = the best per metric
  std::string title;            ///< name of the experiment, or empty
  bool unfinished = false;      ///< cells of the run are missing: a note says which wishes they would meet, no error
  bool color = false;           ///< text: the best in bold by ANSI codes; else marked by ">"
};

/// Before anything is run: throws the UsageError that the table would end with.
/// \param models ids and names of the models of the experiment
void check_report_options(const ReportOptions& options, const std::string& task,
                          const std::vector<std::string>& models);

/// The table of the paper's form: models x metrics, "mean (sd)", best in bold, significance marks, failures, caveats.
/// One table per comparison: cells that share data set, task, label rule and split. A pure function of its arguments.
/// \throws UsageError for an unknown format, metric or reference model, naming the known ones. Where the run is
/// unfinished only for the format.
[[nodiscard]] std::string render_table(const std::vector<ResultRow>& rows, const std::vector<Record>& records,
                                       const ReportOptions& options);

}  // namespace cdrzoo
