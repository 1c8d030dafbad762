// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "import/table.hpp"

namespace cdrzoo {

/// A matrix of samples x genes in a file of some kind, read line by line along the axis on which the file is stored, so
/// that memory stays bounded by a line (or by what a compressed chunk of the file needs).
class MatrixSource {
 public:
  enum class Lines { samples, genes };

  virtual ~MatrixSource() = default;
  MatrixSource(const MatrixSource&) = delete;
  MatrixSource& operator=(const MatrixSource&) = delete;

  [[nodiscard]] virtual const std::filesystem::path& path() const = 0;
  [[nodiscard]] virtual Lines lines() const = 0;
  /// Names along each axis as the file has them: not empty, clean text; they may repeat. The first call may scan the
  /// file.
  [[nodiscard]] virtual const std::vector<std::string>& samples() = 0;
  [[nodiscard]] virtual const std::vector<std::string>& genes() = 0;
  /// What else the file says about each sample and gene, in the same order; the first column holds the names above.
  [[nodiscard]] virtual const TextColumns& sample_annotations() = 0;
  [[nodiscard]] virtual const TextColumns& gene_annotations() = 0;
  /// Calls \p take for every line in order with the values along the other axis, in its order; NaN = missing. The
  /// values are valid during the call only. May be called again. \throws DataError with the place of a wrong value.
  virtual void read(const std::function<void(std::int64_t line, const float* values)>& take) = 0;
  /// "FILE line 12" or "FILE row 12 of X", where a name of the axis stands, for messages about it.
  [[nodiscard]] virtual std::string place_of_sample(std::int64_t sample) const = 0;
  [[nodiscard]] virtual std::string place_of_gene(std::int64_t gene) const = 0;

 protected:
  MatrixSource() = default;
};

/// Which matrix of which file.
struct MatrixSpec {
  std::filesystem::path file;
  /// csv | tsv | gct | gctx | h5ad | series_matrix | npy | safetensors; empty: by the name of the file (.gz is fine).
  /// Tables may also be gmt: one row per member of a gene set.
  std::string format;
  Dialect dialect;          ///< csv and tsv, whose separator is the tab; gct and series_matrix: the words for missing
  std::string samples_are;  ///< rows | columns, for csv, tsv, npy and safetensors; empty = rows
  std::string id;           ///< csv, tsv: column with the names of the lines; empty = the first
  std::vector<std::string> annotations;  ///< csv, tsv: further columns that are no values but say something of the line
  std::string layer;                     ///< h5ad: X (default), raw/X, layers/NAME. safetensors: name of the tensor
  std::string sample_names;  ///< column of sample_annotations() to take names from; empty = the file's own index
  std::string gene_names;    ///< the same for genes
  std::filesystem::path sample_list, gene_list;  ///< npy, safetensors: files with one name per line
};

/// Format of a file by its name: "csv", "tsv", ... \throws UsageError naming the known ones.
[[nodiscard]] std::string format_of(const std::filesystem::path& file, const std::string& given = "");

/// \throws IoError, DataError with one sentence; UsageError if the spec does not fit the format.
[[nodiscard]] std::unique_ptr<MatrixSource> open_matrix(const MatrixSpec& spec);

/// For the readers: what a row is, by MatrixSpec::samples_are. \throws UsageError for another word.
[[nodiscard]] MatrixSource::Lines lines_of_rows(const MatrixSpec& spec);
/// For the readers: moves the column from which names are \p wanted (MatrixSpec::sample_names, gene_names) to the
/// front; nothing if that is empty. \throws DataError if there is none, or it has an entry that is no name.
void choose_names(TextColumns* columns, const std::string& wanted, const std::string& place);

/// Which table of which file.
struct TableSpec {
  std::filesystem::path file;
  std::string format;  ///< as in MatrixSpec
  Dialect dialect;
  std::string part;  ///< gct, gctx, h5ad, series_matrix: samples (default) | genes, the annotations of that axis
};
[[nodiscard]] std::unique_ptr<Table> open_table(const TableSpec& spec);

}  // namespace cdrzoo
