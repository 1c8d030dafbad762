// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "run/plan.hpp"
#include "store/store.hpp"

namespace cdrzoo {

struct RunOptions {
  bool retry_failed = false;   ///< run cells again whose stored record is a failure
  bool keep_bundles = false;   ///< leave bundles under <store>/bundles for h5dump and replay
  std::vector<std::string> only;  ///< run only cells whose key starts with one of these, or "model=..", "fold=..", "seed=.."
  std::string progress = "auto";  ///< auto | bar | lines | none
};

struct RunSummary {
  int total = 0, reused = 0, ok = 0, failed = 0;
  bool interrupted = false;
};

/// Runs every cell of the plan that the store does not hold yet, N workers at a time, and stores each as it ends.
/// A failing cell is a record with its reason; the run goes on. SIGINT and SIGTERM stop cleanly: workers are told to
/// cancel, unfinished cells leave nothing behind.
RunSummary run_plan(const Plan& plan, Store& store, const RunOptions& options);

}  // namespace cdrzoo
