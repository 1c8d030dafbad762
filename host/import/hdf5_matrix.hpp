// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/hdf5_file.hpp"
#include "import/matrix_source.hpp"

namespace cdrzoo {

/// A column of annotations, as texts. Numbers are written as short as they can be read back; a missing value is the
/// empty text; booleans are "True" and "False", as pandas writes them.
struct AnnotationColumn {
  std::vector<std::string> values;
  std::string why_not;  ///< not empty: the column is of a kind that is not read, and this says which
};

enum class TextBytes {
  utf8,
  utf8_or_latin1,  ///< a column that is not UTF-8 is taken as Latin-1, as programs without Unicode write it
};

/// A rank 1 data set of texts, integers, decimals or booleans. Padding with spaces at the end of texts goes.
/// \throws DataError if it does not have \p length elements (negative: any number) or cannot be read.
[[nodiscard]] AnnotationColumn read_plain_column(const Hdf5File& file, const std::string& dataset, std::int64_t length,
                                                 TextBytes bytes);

/// The samples or the genes of an HDF5 file: a group with one data set (or group) per column. A column of a kind that
/// is not read is left out with a warning.
class Hdf5Axis {
 public:
  using ReadColumn = AnnotationColumn (*)(const Hdf5File& file, const std::string& object, std::int64_t length);
  struct Columns {
    std::string group;                ///< "/obs"
    std::string index;                ///< the column with the names
    std::vector<std::string> others;  ///< the others, in order
    std::string names_from;           ///< the column to take names from; empty = the index
  };
  /// Reads the index. \throws DataError if it is missing, or a name is empty or not clean text.
  Hdf5Axis(std::shared_ptr<const Hdf5File> file, Columns columns, ReadColumn read);

  [[nodiscard]] std::int64_t size() const { return annotations_.rows(); }
  [[nodiscard]] const std::string& group() const { return columns_.group; }
  [[nodiscard]] const std::vector<std::string>& names();
  [[nodiscard]] const TextColumns& annotations();
  [[nodiscard]] std::string place(std::int64_t row) const;  ///< "FILE /obs row 12", from 1

 private:
  std::shared_ptr<const Hdf5File> file_;
  Columns columns_;
  ReadColumn read_;
  TextColumns annotations_;
  bool complete_ = false;
};

/// A matrix between two such axes.
class Hdf5Matrix : public MatrixSource {
 public:
  [[nodiscard]] const std::filesystem::path& path() const override { return file_->path(); }
  [[nodiscard]] const std::vector<std::string>& samples() override { return samples_.names(); }
  [[nodiscard]] const std::vector<std::string>& genes() override { return genes_.names(); }
  [[nodiscard]] const TextColumns& sample_annotations() override { return samples_.annotations(); }
  [[nodiscard]] const TextColumns& gene_annotations() override { return genes_.annotations(); }
  [[nodiscard]] std::string place_of_sample(std::int64_t sample) const override { return samples_.place(sample); }
  [[nodiscard]] std::string place_of_gene(std::int64_t gene) const override { return genes_.place(gene); }

 protected:
  Hdf5Matrix(std::shared_ptr<const Hdf5File> file, Hdf5Axis samples, Hdf5Axis genes)
      : file_(std::move(file)), samples_(std::move(samples)), genes_(std::move(genes)) {}

  [[nodiscard]] const Hdf5File& file() const { return *file_; }
  [[nodiscard]] Hdf5Axis& sample_axis() { return samples_; }
  [[nodiscard]] Hdf5Axis& gene_axis() { return genes_; }
  /// A data set of numbers, checked to be samples x genes.
  [[nodiscard]] Hdf5File::Numbers dense(const std::string& dataset) const;
  /// Reads it sample by sample.
  void read_dense(const std::string& dataset, const Hdf5File::Numbers& values,
                  const std::function<void(std::int64_t line, const float* values)>& take);
  /// Throws a DataError about one value: "FILE: /X row 3 (sample 's3'), column 5 (gene 'g5') WHAT".
  [[noreturn]] void wrong_value(const std::string& dataset, std::int64_t sample, std::int64_t gene,
                                const std::string& what);
  [[noreturn]] void wrong(const std::string& object, const std::string& what) const;

 private:
  std::shared_ptr<const Hdf5File> file_;
  Hdf5Axis samples_, genes_;
};

}  // namespace cdrzoo
