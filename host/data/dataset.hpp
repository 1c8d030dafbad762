// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/array_view.hpp"
#include "base/row_matrix.hpp"
#include "data/fitted_step.hpp"

namespace cdrzoo {

/// One named family of features of samples or drugs, as stored. Kinds follow cdrzoo/abi.h (CDRZOO_BLOCK_*).
struct FeatureBlock {
  std::string name;  ///< "expression", "morgan", "graph", ...
  std::int32_t kind = 0;
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::string space;  ///< content hash of the ordered feature vocabulary

  /// One array: role is CDRZOO_PART_*, dtype is CDRZOO_F32 and so on; row-major and contiguous.
  struct Part {
    std::int32_t role = 0;
    std::int32_t dtype = 0;
    std::vector<std::int64_t> shape;
    const void* data = nullptr;
    std::uint64_t bytes = 0;
    bool has_nan = false;
  };
  std::vector<Part> parts;
  std::vector<std::string> feature_names;  ///< empty, or `width` names
};

/// A cdrzoo data set, opened read-only: text columns are in memory, matrices are mapped from the file.
/// The schema of the file is share/doc/data_format.md. All indices are validated at open; records are in canonical
/// order: (study = name of the sample's domain, sample id, drug id, replicate), compared bytewise; perturbation rows in
/// theirs.
class Dataset {
 public:
  /// \throws DataError, IoError with one sentence.
  [[nodiscard]] static Dataset open(const std::filesystem::path& path);

  struct Domains {
    std::vector<std::string> name;
    std::vector<std::string> expression_unit;
    std::vector<std::string> caveat;  ///< one sentence per domain that every table states, or empty
  };
  struct Samples {
    std::vector<std::string> id;
    std::vector<std::string> group;    ///< identity for splitting: cell line or patient; equals id when not given
    std::vector<std::int32_t> domain;  ///< index into domains
    std::vector<std::int32_t> tissue;  ///< index into tissues, -1 = unknown
    std::vector<FeatureBlock> blocks;  ///< "expression" always; others optional
  };
  struct Drugs {
    std::vector<std::string> id;
    std::vector<std::string> name;
    std::vector<std::string> smiles;    ///< as given; may be empty
    std::vector<std::string> group;     ///< identity for splitting: canonical structure, else id
    std::vector<std::string> scaffold;  ///< Bemis-Murcko scaffold; empty for acyclic drugs and drugs without structure
    std::vector<FeatureBlock> blocks;   ///< "morgan", "graph", "smiles" where structures are known
  };
  /// Records: one measured (sample, drug) pair each, [n] columns.
  struct Responses {
    ArrayView<std::int32_t> sample;
    ArrayView<std::int32_t> drug;
    ArrayView<double> value;            ///< in value_unit; NaN = only a label was given
    ArrayView<std::int8_t> label;       ///< 1 = sensitive or responder, 0 = not, -1 = none given
    ArrayView<std::int32_t> replicate;  ///< 0 when replicates were collapsed
    std::string value_unit;             ///< "ln_ic50_um", "auc", ...
    [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(sample.size()); }
  };
  /// Perturbation profiles: treated expression of a context (cell line, patient, ...) with its control. Rows of one
  /// context, perturbation, dose and time are replicates of one condition, and follow each other.
  struct Perturbations {
    RowMatrix profile;                ///< [n, genes], treated
    ArrayView<std::int32_t> control;  ///< index into samples: the untreated profile is its expression row
    ArrayView<std::int32_t> drug;
    ArrayView<std::int32_t> drug_b;  ///< -1 = single
    ArrayView<float> dose_log10_molar;
    ArrayView<float> time_h;
    ArrayView<std::int32_t> context;     ///< index into contexts
    ArrayView<std::int32_t> condition;   ///< 0-based, numbered in order of the first row
    ArrayView<std::int32_t> replicates;  ///< wells or cells whose mean the row is, at least 1
    std::vector<std::string> contexts;   ///< names
    std::int64_t conditions = 0;
    /// [samples] the context whose untreated expression a sample is, -1 = of none; empty: only what rows point at are
    /// controls.
    ArrayView<std::int32_t> control_context;
    std::vector<std::vector<std::int32_t>> controls;  ///< of each context all its controls: samples, ascending
    std::vector<std::string> context_group;  ///< of each context the group of its controls: its identity for splitting
    /// Gene columns of each condition, most different from the control first, -1 after the last: [conditions, k], k = 0
    /// if the file has none. Derived from the truth: never for a plugin.
    MatrixView<std::int32_t> deg;
    std::string deg_rule;  ///< in words
    [[nodiscard]] std::int64_t size() const { return profile.rows; }
  };

  std::filesystem::path path;
  std::string name;
  std::string provenance_json;           ///< sources, their hashes, the builder and its steps with counts
  std::vector<std::string> caveats;      ///< known flaws that every table of results states
  std::vector<FittedStep> fitted_steps;  ///< in order; what the file holds is from before them
  std::vector<std::string> genes;        ///< symbols in column order
  std::vector<std::string> tissues;
  Domains domains;
  Samples samples;
  Drugs drugs;
  Responses responses;
  std::optional<Perturbations> perturbations;

  /// Expression of all samples [samples, genes]; may hold NaN where the block says so.
  [[nodiscard]] MatrixView<float> expression() const;
  [[nodiscard]] const FeatureBlock* sample_block(const std::string& block) const;  ///< nullptr if there is none
  [[nodiscard]] const FeatureBlock* drug_block(const std::string& block) const;
  [[nodiscard]] std::int32_t domain_index(
      const std::string& domain) const;  ///< \throws UsageError naming the known ones

  /// SHA-256 of the file: part of every cell's key. Computed on the first call.
  [[nodiscard]] const std::string& file_hash() const;
  /// SHA-256 of the canonical TSV of the records (protocol 1): part of the split's identity.
  [[nodiscard]] const std::string& data_hash() const;

 private:
  std::shared_ptr<const void> storage_;  ///< the mapping behind the views
  mutable std::string file_hash_;
  mutable std::string data_hash_;
  friend class DatasetReader;
};

}  // namespace cdrzoo
