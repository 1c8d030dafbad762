// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "run/plan.hpp"

namespace cdrzoo {

/// The worker's input (design D5). Two HDF5 files and one JSON, all contiguous and aligned so that the worker maps them:
///   entities.h5  feature blocks of all samples and drugs, written once per run, shared by every worker
///   views.h5     index columns and training targets of one cell. The targets of validation and test rows are not in it
///   task.json    plugin, model, parameters, seed, limits
/// share/doc/bundle.md describes the layout.
class BundleWriter {
 public:
  /// Writes entities.h5 below \p folder unless it is there already (its name holds the data set's hash).
  BundleWriter(const Plan& plan, const std::filesystem::path& folder);

  /// The only place that selects rows. Writes views.h5 and task.json into \p cell_folder (created).
  void write_cell(const CellPlan& cell, const std::filesystem::path& cell_folder) const;

 private:
  const Plan* plan_;
  std::filesystem::path entities_;
};

/// Order in which the query rows of a cell were handed out: position i of the query is row order[i] of `rows`.
/// A seeded permutation, so that a plugin cannot memorise by position.
[[nodiscard]] std::vector<std::int32_t> query_order(const std::vector<std::int32_t>& rows, std::uint64_t cell_seed);

}  // namespace cdrzoo
