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
  bool retry_failed = false;  ///< run cells again whose stored record is a failure
  bool keep_bundles = false;  ///< leave bundles under <store>/bundles for h5dump and replay
  /// Run only some cells: the first digits of a key, "model=NAME", "fold=N", "repeat=N", "seed=N". Words of one kind
  /// are alternatives, different kinds must all hold.
  std::vector<std::string> only;
  std::string progress = "auto";  ///< auto | bar | lines | none
};

/// total = reused + ok + failed, and what is left where the run was interrupted.
struct RunSummary {
  int total = 0;   ///< cells that `only` selects
  int reused = 0;  ///< stored and ok
  int ok = 0;      ///< run now
  int failed = 0;  ///< run now, or stored as a failure and not tried again
  bool interrupted = false;
};

/// Runs every cell of the plan that the store does not hold yet, N workers at a time, and stores each as it ends.
/// A failing cell is a record with its reason; the run goes on. SIGINT, SIGTERM and SIGHUP stop cleanly: workers are
/// told to cancel, unfinished cells leave nothing behind; a second signal kills the workers at once. Several runs may
/// share a store: each cell is computed by one of them. \throws UsageError for a filter that fits nothing; IoError when
/// the worker program is missing or the store cannot be written (a full disk). Cells that are stored by then stay.
RunSummary run_plan(const Plan& plan, Store& store, const RunOptions& options);

}  // namespace cdrzoo
