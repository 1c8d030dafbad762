// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "split/split.hpp"

namespace cdrzoo {

/// Replaces missing values of one dense block in all views of a cell (see training_means).
struct Imputation {
  std::string axis;  ///< sample | drug
  std::string block;
  std::int64_t width = 0;
  std::vector<float> means;            ///< [tables, width]
  std::vector<std::int32_t> table_of;  ///< [entities of the axis in the entities file]: row of `means`
};

/// Affine transform of one dense sample block: (value - offset) * factor, after the imputation.
struct Scaling {
  std::string block;
  std::int64_t width = 0;
  std::vector<double> offset, factor;  ///< [tables, width]; factor 0 = constant in training
  std::vector<std::int32_t> table_of;  ///< [samples]
};

/// The columns of one dense sample block that stay, after the scaling.
struct Selection {
  std::string block;
  std::vector<std::int32_t> columns;  ///< ascending
};

/// Imputation tables of one dense f32 block: for every domain that has training entities the mean of the observed
/// values of each feature over the domain's training entities (each once); for a feature that is never observed there,
/// and for the entities of other domains, the mean over all training entities; 0 for one that is never observed in
/// training. \param domain [block.rows]; drugs have no domain: all 0 \param training rows of the block that training
/// observations refer to, each once
[[nodiscard]] Imputation training_means(const FeatureBlock& block, const std::vector<std::int32_t>& domain,
                                        const std::vector<std::int32_t>& training);

/// The samples that fitted steps may learn from, ascending, each once.
struct FitSamples {
  std::vector<std::int32_t> labelled;  ///< of the training rows
  /// `labelled` and the fold's unlabelled pool, without samples of validation and test rows (a transductive pool has
  /// them).
  std::vector<std::int32_t> all;
};
/// \param training_rows rows of Dataset::responses that the model trains on
[[nodiscard]] FitSamples fit_samples(const Dataset& dataset, const Fold& fold,
                                     const std::vector<std::int32_t>& training_rows);

/// The data set's fitted steps, fitted (share/doc/bundle.md, "Fitted steps").
struct FittedExpression {
  std::optional<Imputation> imputation;  ///< if some expression is missing
  std::optional<Scaling> scaling;
  std::optional<Selection> selection;
};
/// \param source name of the split's source domain; empty = none, then no step may take its statistics
[[nodiscard]] FittedExpression fit_expression(const Dataset& dataset, const FitSamples& samples,
                                              const std::string& source);

/// What fit_expression does for this fold, for the record: the samples of each domain, whose statistics each domain
/// gets, and a sentence for each step and each fallback. null if the data set has no fitted steps.
[[nodiscard]] nlohmann::json describe_fit(const Dataset& dataset, const Fold& fold, const FitSamples& samples,
                                          const std::string& source);

/// \throws UsageError if a fitted step needs a source domain and the split has none.
void check_fit_source(const Dataset& dataset, const std::string& source);

}  // namespace cdrzoo
