// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "split/split.hpp"

namespace cdrzoo {

/// How a continuous response becomes a label (binary task): a value strictly below the drug's threshold is 1.
/// Thresholds of the rules per_drug_median and per_drug_mean are fitted on the training rows of each fold.
struct LabelRule {
  std::string kind = "given";              ///< given | per_drug_median | per_drug_mean | fixed | per_drug_table
  double threshold = 0.0;                  ///< fixed: of all drugs
  std::filesystem::path thresholds;        ///< per_drug_table: the file
  std::map<std::string, double> per_drug;  ///< per_drug_table: drug id -> threshold, from the file
};

/// Reads the columns drug_id and threshold of a CSV file. \throws DataError naming file and line, IoError.
[[nodiscard]] std::map<std::string, double> read_thresholds(const std::filesystem::path& path);

/// One [[model]] entry.
struct ModelRequest {
  std::string id;                                    ///< card id
  std::string name;                                  ///< label in tables; defaults to id
  nlohmann::json params = nlohmann::json::object();  ///< overrides
  nlohmann::json assets = nlohmann::json::object();  ///< asset id -> path
  bool added = false;  ///< a baseline that the file does not name: left out where it cannot run
};

/// Limits and resources of each worker.
struct RunLimits {
  int jobs = 0;                ///< workers at a time; 0 = cores / threads
  int threads = 1;             ///< per worker
  double timeout_s = 0;        ///< per cell; 0 = none
  std::int64_t memory_mb = 0;  ///< per worker; 0 = none
  std::string device = "cpu";  ///< cpu | cuda | cuda:N; models that cannot use it run on the cpu
  bool save_models = false;
};

/// What every experiment of the task expression runs beside its models where it can, unless its file says baselines =
/// false.
inline constexpr std::array<const char*, 6> kPerturbationBaselines = {
    "perturbation.control_mean", "perturbation.train_mean", "perturbation.mean_shift",
    "perturbation.additive",     "perturbation.pca_ridge",  "perturbation.nearest_context"};

/// An experiment file (TOML, strict), resolved.
struct Experiment {
  std::filesystem::path path;
  std::string name;
  std::filesystem::path dataset;    ///< relative paths are relative to the experiment file
  std::string task = "regression";  ///< regression | binary | expression
  LabelRule label;
  bool shuffle_labels = false;  ///< negative control: permute the training targets within the fold
  SplitSpec split;
  std::vector<ModelRequest> models;        ///< the baselines of the task that the file does not name come first
  std::vector<std::uint64_t> seeds = {0};  ///< deterministic models run the first only
  RunLimits run;
  std::string refit = "train";             ///< train | train+val: what the final model of a cell is trained on
  std::filesystem::path store;             ///< default: "<name>.store" beside the experiment file
  std::string reference_model;             ///< significance is against this one; "" = the best
  std::vector<std::string> table_metrics;  ///< empty = the task's defaults

  [[nodiscard]] nlohmann::json to_json() const;  ///< canonical, defaults included
};

/// \throws UsageError "FILE:LINE: ..." naming the unknown key and the known ones.
[[nodiscard]] Experiment load_experiment(const std::filesystem::path& path);

}  // namespace cdrzoo
