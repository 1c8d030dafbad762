// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cdrzoo {

/// The scores' unit in task "expression", one row per condition of the validation and the test part. Holds what is
/// needed to compute every score again; only what needs single cells is kept as numbers (`metrics`).
struct ConditionTable {
  std::vector<std::string> part;  ///< "validation" | "test"
  std::vector<std::string> name;  ///< "A172: panobinostat, 1 uM, 24 h"; unique within a part
  std::vector<std::string> context, perturbation;
  std::vector<std::string> second;         ///< "" = single
  std::vector<std::string> domain;         ///< of the control
  std::vector<double> dose_log10_molar;    ///< NaN = unknown
  std::vector<double> time_h;              ///< NaN = unknown
  std::vector<std::int32_t> condition;     ///< number in Dataset::perturbations
  std::vector<std::int32_t> n_rows;        ///< profiles (wells, cells) behind the truth
  std::vector<std::int32_t> n_predicted;   ///< of these with a usable prediction
  std::vector<std::int32_t> n_references;  ///< most references that a row had; 0 = the model asked for none
  std::vector<std::int32_t> in_context;    ///< 1 = a reference is of the truth's own context
  std::vector<std::int32_t> singles_seen;  ///< doubles: members seen as a single in training, 0 - 2; singles: -1
  std::vector<std::int32_t> status;       ///< 0 = all rows predicted, else the most frequent CDRZOO_ROW_* of the others
  std::vector<std::int32_t> control_row;  ///< into `control`
  std::vector<std::int32_t> train_row;    ///< into `train_perturbed`; -1 = none
  std::int64_t genes = 0;
  std::vector<float> truth, prediction;  ///< [conditions, genes]; prediction NaN where n_predicted is 0
  std::vector<float> control;            ///< [contexts, genes] untreated means
  std::vector<float> train_perturbed;    ///< [k, genes] means of training perturbed profiles
  /// [contexts, genes] control plus the mean change of the training conditions, by `control_row`; empty = no training
  std::vector<float> train_shifted;
  std::int64_t deg_columns = 0;
  std::vector<std::int32_t> deg;  ///< [conditions, deg_columns], most different first, -1 after the last
  struct Metric {
    std::string name;
    std::vector<double> value;      ///< per condition; NaN = undefined
    std::vector<std::string> flag;  ///< per condition
  };
  std::vector<Metric> metrics;  ///< energy_distance, mmd, <metric>_ceiling: from single cells; empty without cells
  [[nodiscard]] std::size_t size() const { return condition.size(); }
};

}  // namespace cdrzoo
