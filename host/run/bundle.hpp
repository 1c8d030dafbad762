// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "run/fitting.hpp"
#include "run/plan.hpp"
#include "run/profiles.hpp"

namespace cdrzoo {

/// One view as the bundle stores it: observations over entity tables. Indices are rows of the entities file; the writer
/// makes the view's own tables of exactly the entities that are referred to. Vectors are [n_obs] or empty (no column).
struct BundleView {
  std::string name;  ///< train | valid | unlabelled | validation | test | refit
  std::int64_t n_obs = 0;
  std::vector<std::int32_t> sample, drug, drug_b, control, domain, batch, context;
  std::vector<std::int32_t> reference, reference_control, reference_b, reference_b_control;  ///< samples, -1 = none
  std::vector<std::int32_t> reference_context, reference_b_context;                          ///< codes, -1 = none
  std::vector<float> dose, time, weight;
  std::vector<float> target;              ///< [n_obs, n_targets]; empty = withheld
  std::vector<std::uint8_t> target_mask;  ///< [n_obs, n_targets], 1 = observed; empty = all observed
  /// The targets are n_obs rows of the fold's targets file from this one on; -1 = they are not there.
  std::int64_t target_first = -1;
};

/// What the worker does to blocks when it gathers them, the same in all views of a cell.
struct Transforms {
  std::vector<Imputation> imputations;
  std::optional<Scaling> scaling;
  std::optional<Selection> selection;
};

/// Writes views.h5. Same input, same bytes.
/// \param entities_hash the hash in the name of the entities file: part of the views' fingerprints
/// \param targets_hash the same of the targets file; empty = there is none
void write_views(const std::filesystem::path& file, const std::vector<BundleView>& views, std::int64_t n_targets,
                 const Transforms& transforms, const std::string& entities_hash, const std::string& targets_hash = {});

/// What goes into an entities file.
struct EntitiesContent {
  std::int64_t n_samples = 0, n_drugs = 0, n_genes = 0;  ///< n_genes: the GENE axis of expression-valued tasks, else 0
  std::vector<FeatureBlock> sample_blocks, drug_blocks;
  std::uint64_t key_salt = 0;  ///< of the opaque entity keys
  std::string hash;            ///< identifies the content
  /// Task expression: rows of `profiles` that follow the samples as further ones. "expression" is what was measured,
  /// categories are unknown.
  RowMatrix profiles;
  std::vector<std::int32_t> profile_rows;
};
/// Writes <folder>/entities-<hash>.h5 unless it is there, by one rename. Returns its path.
std::filesystem::path write_entities(const std::filesystem::path& folder, const EntitiesContent& content);

/// The worker's input (design D5). Two HDF5 files and one JSON, all contiguous and aligned so that the worker maps
/// them:
///   entities-<hash>.h5  feature blocks of all samples and drugs, written once per run, shared by every worker
///                       (task expression: once per fold, with the profiles that serve as references)
///   targets-<hash>.h5   task expression: the profiles that models of a fold train on, written once per fold
///   views.h5            index columns and training targets of one cell, without the targets of validation and test
///                       rows (refit = "train+val" trains on validation rows by definition: view "refit")
///   task.json           plugin, model, parameters, seed, limits
/// share/doc/bundle.md describes the layout.
class BundleWriter {
 public:
  /// Writes the entities file below \p folder unless it is there already (its name holds the content's hash). Task
  /// expression: write_cell does, and the targets file, for the first cell of a fold.
  BundleWriter(const Plan& plan, const std::filesystem::path& folder);

  /// The only place that selects rows. Writes views.h5 and task.json into \p cell_folder (created).
  void write_cell(const CellPlan& cell, const std::filesystem::path& cell_folder) const;

  /// Of the whole run; empty for task expression.
  [[nodiscard]] const std::filesystem::path& entities() const { return entities_.path; }

  /// Task expression: what the cells of a fold share. May be called by several threads.
  [[nodiscard]] std::shared_ptr<const FoldProfiles> profiles(const CellPlan& cell) const;
  /// Removes the files that only cells of this fold read, if there are any. A later write_cell makes them anew.
  void drop_fold(int repeat, int fold) const;

 private:
  struct File {
    std::filesystem::path path;
    std::string hash;
  };
  struct FoldFiles {
    std::shared_ptr<const FoldProfiles> profiles;
    File entities, targets, sparse_targets;  ///< empty until a cell needs them
  };
  struct CellFiles {
    std::shared_ptr<const FoldProfiles> profiles;
    File entities, targets;
  };
  [[nodiscard]] File make_entities(const std::vector<std::int32_t>& profile_rows) const;
  [[nodiscard]] File make_targets_file(const FoldProfiles& fold, bool sparse) const;
  [[nodiscard]] CellFiles fold_files(const CellPlan& cell) const;
  void write_profiles_cell(const CellPlan& cell, const std::filesystem::path& cell_folder) const;
  void write_task(const CellPlan& cell, const std::filesystem::path& cell_folder, const File& entities,
                  nlohmann::json task) const;

  const Plan* plan_;
  std::filesystem::path folder_;
  File entities_;
  mutable std::mutex mutex_;
  mutable std::map<std::pair<int, int>, FoldFiles> folds_;
};

/// The rows that the model of a cell trains on: the fold's, without the early-stopping rows if its card asks for those.
[[nodiscard]] std::vector<std::int32_t> training_rows(const Card& card, const Fold& fold);

/// Whether the card asks for the sample block "expression", which fitted steps are about.
[[nodiscard]] bool gets_expression(const Card& card);

/// Order in which the query rows of a cell were handed out: position i of the query is row order[i] of `rows`.
/// A seeded permutation, so that a plugin cannot memorise by position.
[[nodiscard]] std::vector<std::int32_t> query_order(const std::vector<std::int32_t>& rows, std::uint64_t cell_seed);

/// The rows of Dataset::responses in the order in which a cell's validation and test queries hold them, so the order of
/// the worker's raw predictions. The permutation is seeded by the cell's key.
struct QueryRows {
  std::vector<std::int32_t> validation, test;
};
[[nodiscard]] QueryRows query_rows(const CellPlan& cell, const Fold& fold);

}  // namespace cdrzoo
