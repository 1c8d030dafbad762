// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "data/feature_block.hpp"

namespace cdrzoo {

/// A data set under construction. Indices count within this object; columns of one table have equal lengths.
struct DatasetContent {
  std::string name;
  std::string provenance_json = "{}";
  std::vector<std::string> caveats;
  std::vector<FittedStep> fitted_steps;  ///< in order; not applied to what is here
  std::vector<std::string> genes;
  std::vector<std::string> tissues;
  Dataset::Domains domains;

  std::vector<std::string> sample_id;
  std::vector<std::string> sample_group;
  std::vector<std::int32_t> sample_domain;
  std::vector<std::int32_t> sample_tissue;  ///< -1 = unknown
  std::vector<float> expression;            ///< [samples, genes]
  std::vector<BlockContent> sample_blocks;  ///< beyond expression

  std::vector<std::string> drug_id;
  std::vector<std::string> drug_name;
  std::vector<std::string> drug_smiles;
  std::vector<std::string> drug_group;
  std::vector<std::string> drug_scaffold;
  std::vector<BlockContent> drug_blocks;

  std::string value_unit;
  struct Response {
    std::int32_t sample = 0;
    std::int32_t drug = 0;
    std::int32_t replicate = 0;
    std::int8_t label = -1;
    double value = 0.0;  ///< NaN = only a label
  };
  std::vector<Response> responses;  ///< in any order

  struct Perturbation {
    std::int32_t control = 0;
    std::int32_t drug = 0;
    std::int32_t drug_b = -1;
    float dose_log10_molar = 0.0F;
    float time_h = 0.0F;
    std::int32_t context = -1;  ///< index into perturbation_contexts; unused where that is empty
    std::int32_t replicates = 1;
  };
  std::vector<Perturbation> perturbations;         ///< in any order
  std::vector<float> perturbation_profile;         ///< [perturbations, genes]; empty with `sparse_profile`
  std::optional<SparseRows> sparse_profile;        ///< the same as sparse rows, without missing values
  std::vector<std::string> perturbation_contexts;  ///< empty: one context per control, named as that sample
  /// [samples] or fewer, the rest being -1: index into perturbation_contexts of the context whose untreated expression
  /// the sample is, -1 = of none, or as rows say.
  std::vector<std::int32_t> control_context;
  /// [conditions, deg_genes], -1 after the last gene; conditions are numbered in order of their first row in
  /// `perturbations`. Empty if there are no lists.
  std::vector<std::int32_t> deg;
  std::int64_t deg_genes = 0;
  std::string deg_rule;

  /// The profiles [perturbations, genes], however they are kept.
  [[nodiscard]] RowMatrix profiles() const;
};

/// A copy of an open data set, to be changed or written again. Blocks that are made from columns are left out.
[[nodiscard]] DatasetContent content_of(const Dataset& dataset);

/// Writes a data set file in canonical order and opens it once to check it; only then it takes its name. Nothing stays
/// behind after an error. \throws DataError if the content breaks an invariant, IoError if the disk refuses.
void write_dataset(const DatasetContent& content, const std::filesystem::path& path);

}  // namespace cdrzoo
