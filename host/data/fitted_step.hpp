// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cdrzoo {

/// A harmonisation step of the expression block that learns from data. The file holds the values before the step; the
/// host fits it on the training samples of each fold (share/doc/bundle.md, "Fitted steps").
struct FittedStep {
  enum class Kind {
    fill_minimum,    ///< a missing value becomes the minimum of its gene over the training samples of its domain
    variable_genes,  ///< only the genes of largest variance over the training samples stay
    zscore           ///< each gene minus its mean over its population standard deviation; a constant gene becomes 0
  };
  /// zscore: whose training samples give mean and standard deviation.
  enum class From { own_domain, source };

  Kind kind = Kind::zscore;
  std::string domain;            ///< the domain it applies to, or, for variable_genes, counts; empty = every domain
  From from = From::own_domain;  ///< source: the source domain of the split
  std::int64_t genes = 0;        ///< variable_genes: how many stay
};

[[nodiscard]] const char* fitted_kind_name(FittedStep::Kind kind);

/// Steps stand in the order fill_minimum, variable_genes, zscore; domains are known; no two of a kind meet in a domain;
/// variable_genes keeps 1 to \p genes. \throws DataError with one sentence that names the step.
void check_fitted_steps(const std::vector<FittedStep>& steps, const std::vector<std::string>& domains,
                        std::int64_t genes);

/// As stored in a data set and in a record: [{"step": "zscore", "domain": "tcga", "from": "source"}, ...].
[[nodiscard]] nlohmann::json to_json(const std::vector<FittedStep>& steps);

/// \throws DataError for a step or member that this program does not know: to leave one out would change the data.
[[nodiscard]] std::vector<FittedStep> fitted_steps_from_json(const nlohmann::json& json);

/// One sentence for people: "Expression of domain tcga was z-scored by the training samples of the source domain of
/// each fold."
[[nodiscard]] std::string sentence_of(const FittedStep& step);

}  // namespace cdrzoo
