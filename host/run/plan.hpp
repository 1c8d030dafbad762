// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/experiment.hpp"
#include "data/dataset.hpp"
#include "plugin/registry.hpp"
#include "split/split.hpp"

namespace cdrzoo {

inline constexpr const char* kProtocolVersion = "1.0";

/// One cell of the benchmark: a model with its parameters on one fold with one seed.
struct CellPlan {
  std::string key;  ///< SHA-256 over everything that may change the result (design D7), as hexadecimal digits
  nlohmann::json key_inputs;  ///< what was hashed, canonical
  const ModelEntry* model = nullptr;
  ModelRequest request;
  std::vector<Param> params;
  int repeat = 0;
  int fold = 0;
  std::uint64_t seed = 0;
};

/// What every cell of a plan shares. Owns nothing that it points to.
struct Plan {
  const Experiment* experiment = nullptr;
  const Dataset* dataset = nullptr;
  const Split* split = nullptr;
  std::vector<CellPlan> cells;  ///< in the order fold, seed, model: folds finish first
  std::string run_id;           ///< hash of the experiment and of all keys
};

/// \throws UsageError for unknown models or parameters, or a model that cannot run on this data set, in one sentence.
[[nodiscard]] Plan make_plan(const Experiment& experiment, const Dataset& dataset, const Split& split,
                             const Registry& registry);

/// The target of every response row under the experiment's task for one fold, thresholds fitted on `fold.train`.
struct Targets {
  std::vector<double> y;                   ///< [responses]; NaN = row takes no part
  std::vector<double> threshold_per_drug;  ///< [drugs] for derived labels; NaN where none; empty when labels are given
};
[[nodiscard]] Targets make_targets(const Experiment& experiment, const Dataset& dataset, const Fold& fold);
/// Rows that have a usable value for the task: what the split is made over.
[[nodiscard]] std::vector<std::int32_t> usable_rows(const Experiment& experiment, const Dataset& dataset);

}  // namespace cdrzoo
