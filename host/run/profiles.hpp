// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/array_view.hpp"
#include "run/outcome.hpp"
#include "run/plan.hpp"
#include "run/references.hpp"

/// Task expression: perturbation profiles on their way to a worker, and its answers on their way to the scores.
namespace cdrzoo {

/// What the cells of one fold share.
struct FoldProfiles {
  /// Of the rows of fold.validation and fold.test, in that order; empty where no model of the plan asks for references.
  std::vector<RowReferences> validation, test;
  /// Ascending. Profiles that serve as references: entity `samples of the data set + i` stands for profile entities[i].
  std::vector<std::int32_t> entities;
  /// Whose profile each of these shows: its own or, with shuffle_labels, another's, as the targets do.
  std::vector<std::int32_t> entities_shown;
  /// Rows of Dataset::perturbations in the order of the targets file: early_stop, the other training rows, and for
  /// refit = "train+val" the validation rows. So what any model of the fold trains on is one run of rows.
  std::vector<std::int32_t> targets;
  /// Whose profile is shown as the target of each of these: their own or, with shuffle_labels, another's.
  std::vector<std::int32_t> shown;
  std::int64_t n_early_stop = 0;  ///< of `targets`, the first
  std::int64_t n_train = 0;       ///< of `targets`: early_stop and the other training rows
};

/// \throws DataError if early-stopping rows are no training rows.
[[nodiscard]] FoldProfiles make_fold_profiles(const Plan& plan, const Fold& fold);

/// Whether the model gets its targets as sparse rows: the data set stores them so, and the card says that it reads
/// them.
[[nodiscard]] bool gets_sparse_targets(const Card& card, const Dataset& dataset);

/// Writes the targets of a fold (share/doc/bundle.md) in pieces, so memory does not grow with the data.
/// \param hash identifies the content
/// \param sparse only of a data set whose profiles are
void write_targets(const std::filesystem::path& file, const Dataset& dataset, const FoldProfiles& fold,
                   const std::string& hash, bool sparse = false);

/// Sample blocks that profiles can have, too: what was measured, and categories, which are unknown of them.
[[nodiscard]] bool is_block_of_profiles(const FeatureBlock& block);

/// Whether the card asks for references of queries.
[[nodiscard]] bool asks_references(const Card& card);

/// One query as the worker gets it: one observation per row, or one per row and reference.
struct ProfileQuery {
  std::vector<std::int32_t> row;     ///< [n_obs] of Dataset::perturbations; those of one row follow each other
  std::vector<Reference> reference;  ///< [n_obs], or empty: the model asks for none
};
struct ProfileQueries {
  ProfileQuery validation, test;
};
/// The rows are in the order of query_rows.
[[nodiscard]] ProfileQueries profile_queries(const CellPlan& cell, const Fold& fold, const FoldProfiles& profiles);

/// One prediction per row, rows ascending: the mean over the references of a row (protocol 3), without those that the
/// model declined. A prediction is computed when it is asked for, since those of many cells need not fit the memory.
/// Refers to its arguments.
class AveragedProfiles {
 public:
  AveragedProfiles(const ProfileQuery& query, const RawProfilePart& answers);

  std::vector<std::int32_t> row;
  std::vector<std::int32_t> status;                    ///< 0, or of its first reference where all failed
  std::vector<std::int32_t> n_references, in_context;  ///< as PredictedProfiles has them
  /// [genes] of row[i], where status[i] is 0; in \p scratch, or where the one answer lies.
  [[nodiscard]] const float* prediction(std::size_t i, std::vector<float>& scratch) const;

 private:
  const ProfileQuery& query_;
  const RawProfilePart& answers_;
  std::vector<std::size_t> first_;  ///< observation with which each row begins
};

/// \throws UsageError, in one sentence, if data set, split and task do not go together.
void check_profiles(const Experiment& experiment, const Dataset& dataset, const Split& split);

/// The unit of the profiles that the split divides. \throws UsageError if they have several
[[nodiscard]] const std::string& target_unit_of(const Dataset& dataset, const Split& split);

/// What the rows of a split demand of a card.
struct ProfileDemands {
  std::int64_t doubles = 0;  ///< rows of two perturbations
  std::int64_t missing = 0;  ///< rows whose profile or control has missing values
};
[[nodiscard]] ProfileDemands profile_demands(const Dataset& dataset, const Split& split);
/// \throws UsageError if the model cannot do what the rows demand.
void check_profile_card(const Card& card, const Dataset& dataset, const ProfileDemands& demands);

}  // namespace cdrzoo
