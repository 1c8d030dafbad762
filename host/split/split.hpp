// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.hpp"

namespace cdrzoo {

/// What is unseen in the test rows (protocol 2).
struct SplitSpec {
  /// lpo | lco | ldo | lto | lso | lcdo | pairs811 | transfer | file; of perturbation profiles (task expression):
  /// unseen_context | unseen_perturbation | unseen_pair | unseen_combination | file
  std::string kind;
  int folds = 5;
  int repeats = 1;
  std::uint64_t seed = 0;
  std::string source;  ///< transfer: domain with training labels; else the domain to split ("" = all domains)
  std::string target;  ///< transfer: domain of the test rows
  /// transfer: the group of the inner folds on the source: "sample" (default) or "pair" (THERAPI's protocol)
  std::string inner_group = "sample";
  /// transfer: the unlabelled pool also holds the test samples; such runs are ranked separately
  bool transductive = false;
  std::filesystem::path file;  ///< kind == "file": a split file (.json) or a table of parts (.csv) to use as it is
  /// unseen_combination: how many of a tested double's two perturbations are trained on alone: 2, 1 or 0; -1 = any
  int singles_seen = -1;
  std::vector<std::string> contexts;  ///< perturbations: only these contexts take part; empty = all
  /// perturbations: references of a query row at most (run/references.hpp); 0 = 8 where every condition has one row,
  /// else 1
  int references = 0;
};
/// Each reference is a prediction of all genes, which the host keeps until it has averaged those of a row.
inline constexpr int kMaxReferences = 1000;

/// Row indices of one fold, into Dataset::responses or, where the split is of perturbations, into
/// Dataset::perturbations; each sorted ascending.
struct Fold {
  int repeat = 0;
  int fold = 0;
  /// Includes early_stop; a plugin that asks for early-stopping rows gets train minus early_stop.
  std::vector<std::int32_t> train;
  /// Subset of train, 1/8 of the training groups (pairs811: equals validation and is not in train).
  std::vector<std::int32_t> early_stop;
  std::vector<std::int32_t> validation;  ///< for thresholds and model selection by the host; never in train
  std::vector<std::int32_t> test;
  /// Perturbations: measured profiles that a model may be given as features of a query, beside those of train. In no
  /// other part: nobody trains on them and nobody is tested on them.
  std::vector<std::int32_t> references;
  std::vector<std::int32_t>
      unlabelled_samples;              ///< indices into Dataset::samples: the unlabelled pool of the target domain
  std::int64_t n_discarded = 0;        ///< usable records in no part of this fold
  std::int64_t n_discarded_inner = 0;  ///< of these, lost to the inner validation (lcdo)
  std::int64_t n_train_groups = 0;
  std::int64_t n_test_groups = 0;
  bool transductive = false;              ///< the unlabelled pool holds test entities
  bool early_stop_is_validation = false;  ///< pairs811: the published protocol stops on its validation rows
};

/// All folds of a data set under one spec, with everything needed to reproduce them elsewhere.
struct Split {
  SplitSpec spec;
  /// Its rows are those of Dataset::perturbations (task expression), else of Dataset::responses.
  bool of_perturbations = false;
  std::string data_hash;  ///< of the records or of the perturbation rows that it indexes
  /// "pair" | "sample" | "drug" | "tissue" | "scaffold" | "sample x drug"; of perturbations "context" |
  /// "perturbation" | "context x perturbation" | "combination" | "condition"
  std::string group_type;
  /// By repeat, then fold. lcdo: fold i * K + j tests the samples of block i on the drugs of block j.
  std::vector<Fold> folds;
  std::string hash;  ///< SHA-256 of the canonical JSON of all of the above (split_hash)

  /// \throws UsageError if there is no such fold.
  [[nodiscard]] const Fold& at(int repeat, int fold) const;
};

/// Makes the split that the spec describes. \p labelled: rows that take part (those with a usable target); rows of
/// perturbations if the kind is one of theirs.
/// \throws UsageError for an impossible spec; DataError when a fold would have < 10 test records or < 2 test groups
/// (of perturbations: < 1 test condition).
[[nodiscard]] Split make_split(const Dataset& dataset, const SplitSpec& spec,
                               const std::vector<std::int32_t>& labelled);

/// Every kind that a spec may name, in the order of the protocol.
[[nodiscard]] const std::vector<std::string>& split_kinds();
/// Is it a kind of split of perturbation profiles (task expression)? "file" is one of both tasks.
[[nodiscard]] bool is_perturbation_kind(const std::string& kind);
/// \throws UsageError for a combination of keys that no data set can satisfy. make_split calls it first.
void check_spec(const SplitSpec& spec);

/// SHA-256 of the canonical JSON (sorted keys, no white space) of everything but the hash itself.
[[nodiscard]] std::string split_hash(const Split& split);

void write_split(const Split& split, const std::filesystem::path& path);  ///< JSON, atomically
/// \throws DataError if the file is damaged or belongs to another data set, naming both hashes.
[[nodiscard]] Split read_split(const std::filesystem::path& path, const Dataset& dataset);

/// A split file (.json, as read_split) or a table of parts (.csv), share/doc/splits.md. \p labelled as for make_split.
/// \throws DataError naming the line for a table that names unknown records or puts one record into two parts.
[[nodiscard]] Split load_split(const std::filesystem::path& path, const Dataset& dataset,
                               const std::vector<std::int32_t>& labelled);
/// Long table for other programs: record,domain,sample,drug,replicate,repeat,fold,part, or of perturbations
/// profile,domain,context,drug,drug_b,dose_log10_molar,time_h,repeat,fold,part. load_split reads both back.
void write_split_csv(const Dataset& dataset, const Split& split, const std::filesystem::path& path);
/// The identities behind the groups, one line per row: record,domain,sample_group,drug_group,tissue,scaffold. With the
/// split file it is all that another program needs to repeat the assignment (share/tools/check_split.py).
void write_groups_csv(const Dataset& dataset, const std::vector<std::int32_t>& rows, const std::filesystem::path& path);

/// The same for rows of perturbations: profile,domain,context,group,group_b,dose_log10_molar,time_h.
void write_profile_groups_csv(const Dataset& dataset, const std::vector<std::int32_t>& rows,
                              const std::filesystem::path& path);

/// Throws std::logic_error unless train, validation and test are disjoint at record and at group level; of
/// perturbations also by condition, and the references disjoint from all of them.
void assert_disjoint(const Dataset& dataset, const Split& split);

}  // namespace cdrzoo
