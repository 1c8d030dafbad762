// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/dataset_writer.hpp"
#include "import/build_report.hpp"
#include "import/gene_map.hpp"
#include "import/source_files.hpp"

namespace cdrzoo {

/// One domain of a recipe on its way into a data set: which samples and genes of its matrix count, and what the table
/// of samples says about them.
class DomainRows {
 public:
  /// Opens the matrix and reads the table of samples. \p domain, \p files and \p report must outlive this.
  DomainRows(const Recipe::Domain& domain, SourceFiles& files, BuildReport& report);

  [[nodiscard]] const Recipe::Domain& recipe() const { return *domain_; }
  [[nodiscard]] const std::string& file() const { return domain_->expression.file; }
  [[nodiscard]] const std::filesystem::path& path() const { return matrix_->path(); }

  /// Finds the data set's name of every gene of the matrix: its own, or what \p map says.
  void name_genes(const GeneMap* map, GeneNames target);
  /// The genes that the domain has, each once, in the order of the file.
  [[nodiscard]] const std::vector<std::string>& genes() const { return genes_; }
  /// The genes of the data set; \p absent is the value of those that the domain lacks.
  void select_genes(const std::vector<std::string>& genes, float absent);

  /// Appends the samples and their expression to \p out as domain number \p index.
  void read(std::int32_t index, DatasetContent& out);
  /// The same for a domain of perturbations.
  void read_perturbations(const PerturbationRule& rule, std::int32_t index, DatasetContent& out);

  /// The samples that read() added, by their number in the data set, with their tissue.
  [[nodiscard]] const std::map<std::int32_t, std::string>& tissues() const { return tissues_; }
  /// The names that responses know the samples by: their id ("sample"), their group ("group"), or a column of the table
  /// of samples. Pairs of name and number in the data set; samples without a name are left out.
  [[nodiscard]] std::vector<std::pair<std::string, std::int32_t>> names(const std::string& match,
                                                                        const DatasetContent& out) const;

 private:
  /// The table of samples: the columns that somebody asks for, filtered.
  struct SampleTable {
    TextColumns columns;
    std::string file;
    std::vector<std::int64_t> row_of_matrix;  ///< from = "expression" only: the sample of each row
    [[nodiscard]] const std::string& text(const std::string& column, std::int64_t row) const;
  };
  void read_sample_table(SourceFiles& files);
  /// For each sample of the matrix its row in the table; -1 = it does not count.
  [[nodiscard]] std::vector<std::int64_t> rows_of_samples();
  void highest_means(std::vector<std::vector<std::int64_t>>& columns_of);

  const Recipe::Domain* domain_;
  BuildReport* report_;
  std::unique_ptr<MatrixSource> matrix_;
  SampleTable table_;
  std::vector<std::string> gene_of_column_;  // in the data set's naming; empty = it does not count
  std::vector<std::string> genes_;
  std::vector<std::int64_t> target_;  // of each column of the matrix: gene of the data set, -1 = none
  std::vector<bool> present_;         // genes of the data set that the domain has
  float absent_ = 0.0F;
  bool merges_genes_ = false;
  std::map<std::int32_t, std::string> tissues_;
  std::vector<std::pair<std::int32_t, std::int64_t>> table_row_;  // sample of the data set, row of the table
};

}  // namespace cdrzoo
