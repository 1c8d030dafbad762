// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset_writer.hpp"
#include "import/matrix_source.hpp"
#include "import/sparse_filler.hpp"

namespace cdrzoo {

/// How the samples of a matrix (cells, wells) become controls and perturbation profiles: [domain.perturbation] of a
/// recipe. share/doc/perturbation_data.md explains every word. "Column" means a column of the sample annotations.
struct PerturbationRule {
  std::vector<bool> counts;      ///< which samples of the source count; empty = all
  std::string annotations_file;  ///< of what the annotations are, for messages; empty = the source's own

  std::vector<std::string> context;   ///< columns that make a context: cell line, patient, batch, ...
  std::string perturbation;           ///< column: what was applied
  std::string control_column;         ///< column that tells controls; empty = `perturbation`
  std::vector<std::string> controls;  ///< its values that mean untreated: DMSO, ctrl, ...
  std::string combination;            ///< separator of double perturbations, "+" in A+B; empty = there are none
  /// Drug id for the name of a perturbation; nullptr = the name itself.
  std::function<std::string(const std::string& name)> drug_of;

  std::string dose;                     ///< column; empty = not known
  std::string dose_unit;                ///< nM | uM | mM | M
  std::optional<double> constant_dose;  ///< of all treated samples, in dose_unit, instead of a column
  std::string time;                     ///< column; empty = not known
  std::string time_unit;                ///< h | min | d
  std::optional<double> constant_time;

  std::string tissue;  ///< column; one value per context; empty = unknown
  std::string group;   ///< column: identity for splitting, one value per context; empty = the context

  enum class Level {
    condition,  ///< a profile is the mean of all samples of its condition (pseudobulk)
    cell,       ///< a profile is one sample
  } level = Level::condition;
  enum class Control {
    mean,    ///< one control per context: the mean of its control samples
    random,  ///< level cell only: every control sample is kept, and each profile points at a random one of its context
  } pairing = Control::mean;
  std::uint64_t seed = 0;                              ///< of random pairing; frozen in the data set
  ProfileStorage storage = ProfileStorage::automatic;  ///< level condition is dense, whatever automatic would say

  enum class DegRule { mean_difference, welch_t } deg_rule = DegRule::mean_difference;
  std::int64_t deg_genes = 100;     ///< length of the lists; 0 = no lists
  std::int64_t min_replicates = 1;  ///< conditions with fewer samples are dropped
};

/// Where the data set's genes are in a source.
struct GeneSelection {
  std::vector<std::int64_t> columns;  ///< for each gene of the data set its position in MatrixSource::genes(), or -1
  float absent = std::numeric_limits<float>::quiet_NaN();  ///< value of genes that the source lacks
};

/// Adds the controls of \p source as samples of \p domain and its treated samples as perturbation profiles with their
/// drugs and DEG lists. Reads the matrix once, or twice where profiles may become sparse: the first time it counts.
/// Memory is what the result needs plus conditions x genes doubles (two with welch_t), whatever the number of cells.
/// One data set stores all profiles alike: dense, if those of one domain are. Genes and domains of \p content are set
/// before; feature blocks of samples and drugs are made afterwards. Appends one sentence with counts to \p steps for
/// everything done and dropped. \param annotations of the samples of \p source, in its order: its own, or a table that
/// was joined to it \throws DataError with the place of a wrong field; UsageError for a rule that does not fit the
/// annotations.
void add_perturbations(MatrixSource& source, const TextColumns& annotations, const PerturbationRule& rule,
                       const GeneSelection& genes, std::int32_t domain, DatasetContent& content,
                       std::vector<std::string>* steps);

}  // namespace cdrzoo
