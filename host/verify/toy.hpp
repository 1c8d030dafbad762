// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cdrzoo/plugin.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "plugin/card.hpp"
#include "verify/guarded.hpp"

namespace cdrzoo::verify {

/// Uniform in [0, 1).
[[nodiscard]] double random_unit(std::uint64_t seed, std::uint64_t stream, std::uint64_t index);
/// Standard normal (Box-Muller).
[[nodiscard]] double random_normal(std::uint64_t seed, std::uint64_t stream, std::uint64_t index);
/// A permutation of 0 .. n-1.
[[nodiscard]] std::vector<int> random_order(int n, std::uint64_t seed, std::uint64_t stream);

/// One observation of the toy data.
struct Observation {
  int sample = 0;
  int drug = 0;
  int drug_b = -1;
  int control = 0;
  int context = 0;
  int reference = -1, reference_control = -1, reference_b = -1, reference_b_control = -1;  ///< samples, -1 = none
  int reference_context = -1, reference_b_context = -1;                                    ///< -1 = no reference
  float dose = -6;
  float time = 24;
  std::vector<float> target;  ///< as a regression or expression target; binary labels are derived
};

/// One small graph: nodes in a ring with a tail, features that depend on the drug.
struct ToyGraph {
  int nodes = 0;
  std::vector<std::int32_t> source, destination;
};

/// Small data with a planted, learnable signal: y = drug effect + tissue effect + expression x drug interaction +
/// noise. Samples [0, n_train_samples) are for training, the others for queries, the last n_target_samples belong to
/// the target domain.
///
/// Task expression: each sample is the control of a context, a row is that context treated with one drug or two, and
/// the target is control + effect of each drug + noise. Samples from kSamples on are the treated profiles of training
/// rows, the references of queries; a few queries have none. Contexts lie on a plane, so few rows suffice to learn.
struct Toy {
  static constexpr int kGenes = 24;
  static constexpr int kTissues = 3;
  static constexpr int kMorganBits = 2048;
  static constexpr int kNodeFeatures = 16;
  static constexpr int kEdgeFeatures = 4;
  static constexpr int kOtherWidth = 16;  ///< of blocks that verify does not know by name
  static constexpr int kTrainSamples = 40;
  static constexpr int kQuerySamples = 16;
  static constexpr int kTargetSamples = 12;
  static constexpr int kDrugs = 8;
  static constexpr int kSamples = kTrainSamples + kQuerySamples + kTargetSamples;

  std::string task;
  int n_targets = 1;
  std::vector<std::vector<float>> expression;  ///< [sample][gene]
  std::vector<int> tissue;
  std::vector<std::vector<std::uint8_t>> morgan;  ///< [drug][bit]
  std::vector<ToyGraph> graphs;
  std::vector<std::string> smiles;
  std::vector<Observation> train, early_stop, query;

  /// \p permuted: the training targets are shuffled over the rows, so there is nothing to learn.
  /// \p doubles: task expression: some rows are treated with two drugs
  Toy(const std::string& task, std::uint64_t seed, bool permuted = false, bool doubles = false);

  /// 1 below the median of the training targets, else 0 (a sensitive pair has a low value).
  [[nodiscard]] float label(const Observation& row) const;

 private:
  void make_perturbations(std::uint64_t seed, bool doubles);
  float threshold_ = 0;
};

/// How one view is to be made.
struct ViewPlan {
  std::vector<Observation> rows;
  bool labelled = false;
  bool samples_only = false;           ///< an unlabelled pool: no DRUG column, no drug entities
  std::uint64_t key_salt = 1;          ///< another salt gives other keys for the same entities
  std::uint64_t entity_order = 0;      ///< 0: by first appearance; else a seeded permutation of the tables
  bool strangers = false;              ///< unknown blocks, parts, columns, axes and flags are present
  bool missing = false;                ///< some values of dense f32 blocks are NaN
  bool sparse_targets = false;         ///< the targets are CSR rows
  std::vector<std::string> leave_out;  ///< blocks that the card needs and that are withheld nevertheless
};

/// A view in the memory of an arena, with what the host knows about it.
struct BuiltView {
  const cdrzoo_view* view = nullptr;
  std::int64_t n_obs = 0;
  std::int64_t n_targets = 1;
};

[[nodiscard]] BuiltView build_view(const Toy& toy, const Card& card, const ViewPlan& plan, Arena& arena,
                                   const HostShape& shape);
/// The problem that goes with the views of the same plan.
[[nodiscard]] const cdrzoo_problem* build_problem(const Toy& toy, const Card& card, const ViewPlan& plan, Arena& arena,
                                                  const HostShape& shape);
[[nodiscard]] cdrzoo_span build_params(const std::vector<Param>& params, Arena& arena, const HostShape& shape);

[[nodiscard]] std::int32_t task_code(const std::string& task);

}  // namespace cdrzoo::verify
