// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "run/fitting.hpp"
#include "run/plan.hpp"

namespace cdrzoo {

/// One view as the bundle stores it: observations over entity tables. Indices are rows of the entities file; the writer
/// makes the view's own tables of exactly the entities that are referred to. Vectors are [n_obs] or empty (no column).
struct BundleView {
  std::string name;  ///< train | valid | unlabelled | validation | test | refit
  std::int64_t n_obs = 0;
  std::vector<std::int32_t> sample, drug, drug_b, control, domain, batch;
  std::vector<float> dose, time, weight;
  std::vector<float> target;              ///< [n_obs, n_targets]; empty = withheld
  std::vector<std::uint8_t> target_mask;  ///< [n_obs, n_targets], 1 = observed; empty = all observed
};

/// What the worker does to blocks when it gathers them, the same in all views of a cell.
struct Transforms {
  std::vector<Imputation> imputations;
  std::optional<Scaling> scaling;
  std::optional<Selection> selection;
};

/// Writes views.h5. Same input, same bytes.
/// \param entities_hash the hash in the name of the entities file: part of the views' fingerprints
void write_views(const std::filesystem::path& file, const std::vector<BundleView>& views, std::int64_t n_targets,
                 const Transforms& transforms, const std::string& entities_hash);

/// What goes into an entities file.
struct EntitiesContent {
  std::int64_t n_samples = 0, n_drugs = 0, n_genes = 0;  ///< n_genes: the GENE axis of expression-valued tasks, else 0
  std::vector<FeatureBlock> sample_blocks, drug_blocks;
  std::uint64_t key_salt = 0;  ///< of the opaque entity keys
  std::string hash;            ///< identifies the content
};
/// Writes <folder>/entities-<hash>.h5 unless it is there, by one rename. Returns its path.
std::filesystem::path write_entities(const std::filesystem::path& folder, const EntitiesContent& content);

/// The worker's input (design D5). Two HDF5 files and one JSON, all contiguous and aligned so that the worker maps
/// them:
///   entities-<hash>.h5  feature blocks of all samples and drugs, written once per run, shared by every worker
///   views.h5            index columns and training targets of one cell. The targets of validation and test rows are
///   not
///                       in it (refit = "train+val" trains on validation rows by definition: view "refit")
///   task.json           plugin, model, parameters, seed, limits
/// share/doc/bundle.md describes the layout.
class BundleWriter {
 public:
  /// Writes the entities file below \p folder unless it is there already (its name holds the content's hash).
  BundleWriter(const Plan& plan, const std::filesystem::path& folder);

  /// The only place that selects rows. Writes views.h5 and task.json into \p cell_folder (created).
  void write_cell(const CellPlan& cell, const std::filesystem::path& cell_folder) const;

  [[nodiscard]] const std::filesystem::path& entities() const { return entities_; }

 private:
  const Plan* plan_;
  std::filesystem::path entities_;
  std::string entities_hash_;
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
