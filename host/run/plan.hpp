// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "config/experiment.hpp"
#include "data/dataset.hpp"
#include "plugin/registry.hpp"
#include "split/split.hpp"

namespace cdrzoo {

inline constexpr const char* kProtocolVersion = "1.0";

/// A file that a cell's model asks for.
struct AssetFile {
  std::string id;
  std::filesystem::path path;  ///< absolute
  std::string sha256;
};

/// One cell of the benchmark: a model with its parameters on one fold with one seed.
struct CellPlan {
  /// SHA-256 over everything that may change the result (design D7), as hexadecimal digits. See key_inputs of
  /// make_plan.
  std::string key;
  nlohmann::json key_inputs;  ///< what was hashed, canonical
  const ModelEntry* model = nullptr;
  ModelRequest request;
  std::vector<Param> params;
  std::vector<AssetFile> assets;
  std::string device = "cpu";  ///< the experiment's where the model can use it, else cpu
  int repeat = 0;
  int fold = 0;
  std::uint64_t seed = 0;
};

/// What every cell of a plan shares. Owns nothing that it points to.
struct Plan {
  const Experiment* experiment = nullptr;
  const Dataset* dataset = nullptr;
  const Split* split = nullptr;
  std::vector<CellPlan> cells;        ///< in the order fold, seed, model: folds finish first
  std::vector<std::string> left_out;  ///< baselines that nobody named and that cannot run here, a sentence each
  std::string run_id;                 ///< hash of the experiment and of all keys
};

/// Stochastic models (card) get every seed of the experiment, the others the first one only.
///
/// The key of a cell hashes: protocol, plugin file, model id, card, parameters, assets (content), data set file, split
/// with repeat and fold, seed, device class (cpu, cuda), task, label rule (binary), shuffle_labels, refit.
/// Task expression: also the level of the profiles and the number of references.
/// It does not hash what a run may choose without changing the experiment: names, jobs, threads, limits, save_models,
/// where files lie. Threads may move the last digits of a sum; they are in the record, not in the key, so that runs of
/// machines with different core counts merge.
///
/// \throws UsageError for unknown models or parameters, or a model that cannot run on this data set, in one sentence.
[[nodiscard]] Plan make_plan(const Experiment& experiment, const Dataset& dataset, const Split& split,
                             const Registry& registry);

/// The target of every response row under the experiment's task for one fold, thresholds fitted on `fold.train`.
struct Targets {
  std::vector<double> y;  ///< [responses]; NaN = row takes no part
  /// [drugs] for derived labels (value < threshold is 1); empty when labels are given. A drug without a training row
  /// has `fallback_threshold`.
  std::vector<double> threshold_per_drug;
  double fallback_threshold = 0;  ///< the rule over all training rows together; NaN when labels are given
};
/// Binary with a derived rule: rows with a value get their label from it; rows that carry a label and no value
/// (patients) keep the given one. Thresholds see the values of `fold.train` only.
[[nodiscard]] Targets make_targets(const Experiment& experiment, const Dataset& dataset, const Fold& fold);
/// The threshold of each drug of the data set under the rule per_drug_table, NaN for a drug that the table does not
/// name. \throws UsageError if it names none of them.
[[nodiscard]] std::vector<double> table_thresholds(const LabelRule& rule, const Dataset& dataset);
/// What the record of a cell says about the label rule.
[[nodiscard]] nlohmann::json describe_label_rule(const LabelRule& rule, const Dataset& dataset);
/// Rows that have a usable value for the task: what the split is made over. Under per_drug_table a value of a drug
/// without a threshold is not usable. Task expression: every row of Dataset::perturbations.
[[nodiscard]] std::vector<std::int32_t> usable_rows(const Experiment& experiment, const Dataset& dataset);

/// The targets that models get to see: `targets.y`, or, with shuffle_labels (negative control), permuted among the rows
/// of `fold.train` (and among early-stopping and validation rows outside of it, and among `fold.references`). The
/// permutation is a function of split seed, repeat and fold, so all models of a fold see the same one. Truth stays
/// `targets.y`.
[[nodiscard]] std::vector<double> shown_targets(const Experiment& experiment, const Split& split, const Fold& fold,
                                                const Targets& targets);

/// The seed that every operation of the cell gets (call->seed): a hash of the cell's seed, repeat and fold.
[[nodiscard]] std::uint64_t operation_seed(const CellPlan& cell);

}  // namespace cdrzoo
