// SPDX-License-Identifier: Apache-2.0
#include "import/h5ad.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.hpp"
#include "import/hdf5_matrix.hpp"

namespace cdrzoo {
namespace {

/// The attribute, or nothing where there is none.
std::string encoding(const Hdf5File& file, const std::string& object) {
  return file.has_attribute(object, "encoding-type") ? file.text_attribute(object, "encoding-type") : "";
}

/// Integers or booleans of a column, read piece by piece.
template <typename Take>
void for_each_integer(const Hdf5File& file, const std::string& dataset, std::int64_t length, const Take& take) {
  const Hdf5File::Numbers numbers = file.numbers(dataset);
  if (numbers.shape() != std::vector<std::int64_t>{length}) {
    throw DataError(file.path().string() + ": " + dataset + " does not have " + std::to_string(length) + " rows");
  }
  const std::int64_t step = numbers.rows_at_once(sizeof(std::int64_t));
  std::vector<std::int64_t> piece;
  for (std::int64_t first = 0; first < length; first += step) {
    piece.resize(static_cast<std::size_t>(std::min(step, length - first)));
    numbers.read(first, static_cast<std::int64_t>(piece.size()), piece.data());
    for (std::size_t i = 0; i < piece.size(); ++i) take(static_cast<std::size_t>(first) + i, piece[i]);
  }
}

std::int64_t length_of(const Hdf5File& file, const std::string& dataset) {
  const std::vector<std::int64_t> shape = file.outline(dataset).shape;
  return shape.empty() ? 0 : shape[0];
}

/// Code -1 is a missing value.
AnnotationColumn read_categorical(const Hdf5File& file, const std::string& codes, const std::string& categories,
                                  std::int64_t length) {
  AnnotationColumn known = read_plain_column(file, categories, -1, TextBytes::utf8);
  if (!known.why_not.empty()) return {{}, "of its categories, " + known.why_not};
  const std::int64_t rows = length < 0 ? length_of(file, codes) : length;
  AnnotationColumn out;
  for_each_integer(file, codes, rows, [&](std::size_t row, std::int64_t code) {
    if (code < -1 || code >= static_cast<std::int64_t>(known.values.size())) {
      throw DataError(file.path().string() + ": " + codes + " row " + std::to_string(row + 1) + " is " +
                      std::to_string(code) + ", but there are " + std::to_string(known.values.size()) + " categories");
    }
    out.values.push_back(code < 0 ? std::string() : known.values[static_cast<std::size_t>(code)]);
  });
  return out;
}

/// Values where a mask says which are missing.
AnnotationColumn read_masked(const Hdf5File& file, const std::string& group, std::int64_t length) {
  AnnotationColumn out = read_plain_column(file, group + "/values", length, TextBytes::utf8);
  if (!out.why_not.empty()) return out;
  for_each_integer(file, group + "/mask", static_cast<std::int64_t>(out.values.size()),
                   [&out](std::size_t row, std::int64_t missing) {
                     if (missing != 0) out.values[row].clear();
                   });
  return out;
}

AnnotationColumn read_column(const Hdf5File& file, const std::string& object, std::int64_t length) {
  if (!file.is_group(object)) {
    // AnnData 0.7: codes with a reference to the categories.
    if (!file.has_attribute(object, "categories")) return read_plain_column(file, object, length, TextBytes::utf8);
    return read_categorical(file, object, file.reference_attribute(object, "categories"), length);
  }
  const std::string kind = encoding(file, object);
  if (kind == "categorical") return read_categorical(file, object + "/codes", object + "/categories", length);
  if (kind == "nullable-integer" || kind == "nullable-boolean" || kind == "nullable-string-array") {
    return read_masked(file, object, length);
  }
  return {{}, kind.empty() ? "it is a group without an encoding" : "its encoding " + excerpt(kind) + " is not read"};
}

Hdf5Axis axis(const std::shared_ptr<const Hdf5File>& file, const std::string& group, const std::string& names_from) {
  const std::string place = file->path().string() + ": " + group;
  if (!file->is_group(group)) {
    throw DataError(place +
                    " is a table as AnnData before 0.7 wrote it; read the file with a newer AnnData and write "
                    "it again");
  }
  Hdf5Axis::Columns columns;
  columns.group = group;
  columns.names_from = names_from;
  if (file->has_attribute(group, "_index")) {
    columns.index = file->text_attribute(group, "_index");
  } else {
    for (const char* name : {"_index", "index"}) {
      if (columns.index.empty() && file->has(group + "/" + name)) columns.index = name;
    }
  }
  if (columns.index.empty()) throw DataError(place + " lacks the attribute '_index', which says where the names are");
  if (file->has_attribute(group, "column-order")) {
    columns.others = file->text_list_attribute(group, "column-order");
  } else {
    columns.others = file->children(group);
    columns.others.erase(std::remove(columns.others.begin(), columns.others.end(), "__categories"),
                         columns.others.end());
  }
  return {file, columns, &read_column};
}

std::string gene_group(const MatrixSpec& spec) { return spec.layer == "raw/X" ? "/raw/var" : "/var"; }

/// Reads elements one after another, piece by piece.
template <typename T>
class Stream {
 public:
  explicit Stream(const Hdf5File::Numbers& numbers) : numbers_(numbers), step_(numbers.rows_at_once(sizeof(T))) {}
  [[nodiscard]] T at(std::int64_t position) {
    if (position < first_ || position >= end_) load(position);
    return piece_[static_cast<std::size_t>(position - first_)];
  }

 private:
  void load(std::int64_t position) {
    first_ = position / step_ * step_;
    end_ = std::min(first_ + step_, numbers_.shape()[0]);
    piece_.resize(static_cast<std::size_t>(end_ - first_));
    numbers_.read(first_, end_ - first_, piece_.data());
  }

  const Hdf5File::Numbers& numbers_;
  std::int64_t step_;
  std::int64_t first_ = 0, end_ = 0;
  std::vector<T> piece_;
};

class H5ad final : public Hdf5Matrix {
 public:
  H5ad(const std::shared_ptr<const Hdf5File>& file, const MatrixSpec& spec)
      : Hdf5Matrix(file, axis(file, "/obs", spec.sample_names), axis(file, gene_group(spec), spec.gene_names)),
        matrix_("/" + (spec.layer.empty() ? "X" : spec.layer)) {
    if (file->is_group(matrix_)) {
      open_sparse();
    } else {
      values_ = dense(matrix_);
    }
  }

  [[nodiscard]] Lines lines() const override { return lines_; }

  void read(const std::function<void(std::int64_t line, const float* values)>& take) override {
    if (indices_) {
      read_sparse(take);
    } else {
      read_dense(matrix_, *values_, take);
    }
  }

 private:
  void open_sparse() {
    // AnnData 0.6 named the same attributes h5sparse_...
    const bool old = file().has_attribute(matrix_, "h5sparse_format");
    const std::string format = old ? file().text_attribute(matrix_, "h5sparse_format") : encoding(file(), matrix_);
    const bool csr = format == "csr_matrix" || format == "csr";
    if (!csr && format != "csc_matrix" && format != "csc") {
      wrong(matrix_, "is a group with the encoding " + excerpt(format) + "; expected csr_matrix or csc_matrix");
    }
    lines_ = csr ? Lines::samples : Lines::genes;
    const std::vector<std::int64_t> shape = file().int_list_attribute(matrix_, old ? "h5sparse_shape" : "shape");
    if (shape != std::vector<std::int64_t>{sample_axis().size(), gene_axis().size()}) {
      std::string found;
      for (const auto extent : shape) found += (found.empty() ? "" : ", ") + std::to_string(extent);
      wrong(matrix_, "has shape [" + found + "]; expected [" + std::to_string(sample_axis().size()) + ", " +
                         std::to_string(gene_axis().size()) + "], as long as " + sample_axis().group() + " and " +
                         gene_axis().group());
    }
    values_ = vector("/data");
    indices_ = vector("/indices");
    const std::int64_t count = values_->shape()[0];
    if (indices_->shape()[0] != count) {
      wrong(matrix_,
            "has " + std::to_string(count) + " values, but " + std::to_string(indices_->shape()[0]) + " indices");
    }
    const Hdf5File::Numbers starts = vector("/indptr");
    const std::int64_t n_lines = shape[csr ? 0 : 1];
    if (starts.shape()[0] != n_lines + 1) {
      wrong(matrix_ + "/indptr",
            "has " + std::to_string(starts.shape()[0]) + " elements; expected " + std::to_string(n_lines + 1));
    }
    starts_.resize(static_cast<std::size_t>(n_lines + 1));
    starts.read(0, n_lines + 1, starts_.data());
    if (starts_.front() != 0)
      wrong(matrix_ + "/indptr", "begins with " + std::to_string(starts_.front()) + "; expected 0");
    for (std::size_t i = 1; i < starts_.size(); ++i) {
      if (starts_[i] < starts_[i - 1]) {
        wrong(matrix_ + "/indptr", "element " + std::to_string(i + 1) + " is " + std::to_string(starts_[i]) +
                                       ", less than " + std::to_string(starts_[i - 1]) + " before it");
      }
    }
    if (starts_.back() != count) {
      wrong(matrix_ + "/indptr",
            "ends with " + std::to_string(starts_.back()) + ", but there are " + std::to_string(count) + " values");
    }
  }

  [[nodiscard]] Hdf5File::Numbers vector(const std::string& name) const {
    Hdf5File::Numbers numbers = file().numbers(matrix_ + name);
    if (numbers.shape().size() != 1) wrong(matrix_ + name, "has more than one axis");
    if (name != "/data" && numbers.elements() != Hdf5File::Elements::integer) {
      wrong(matrix_ + name, "does not hold integers");
    }
    return numbers;
  }

  void read_sparse(const std::function<void(std::int64_t line, const float* values)>& take) {
    const bool csr = lines_ == Lines::samples;
    const std::int64_t width = (csr ? gene_axis() : sample_axis()).size();
    std::vector<float> line_values(static_cast<std::size_t>(width));
    std::vector<std::int64_t> line_of(static_cast<std::size_t>(width), -1);  // the last line that had this index
    Stream<std::int64_t> indices(*indices_);
    Stream<float> values(*values_);
    for (std::size_t i = 0; i + 1 < starts_.size(); ++i) {
      const auto line = static_cast<std::int64_t>(i);
      std::fill(line_values.begin(), line_values.end(), 0.0F);
      for (std::int64_t k = starts_[i]; k < starts_[i + 1]; ++k) {
        const std::int64_t index = indices.at(k);
        if (index < 0 || index >= width) {
          wrong(matrix_ + "/indices", "element " + std::to_string(k + 1) + " is " + std::to_string(index) +
                                          "; expected 0 to " + std::to_string(width - 1));
        }
        const auto at = static_cast<std::size_t>(index);
        const float value = values.at(k);
        const auto refuse = [&](const char* what) {
          wrong_value(matrix_, csr ? line : index, csr ? index : line, what);
        };
        if (line_of[at] == line) refuse("is there twice");
        if (std::isinf(value)) refuse("is infinite or beyond float32");
        line_of[at] = line;
        line_values[at] = value;
      }
      take(line, line_values.data());
    }
  }

  std::string matrix_;  ///< "/X"
  Lines lines_ = Lines::samples;
  std::optional<Hdf5File::Numbers> values_;
  std::optional<Hdf5File::Numbers> indices_;  ///< sparse only
  std::vector<std::int64_t> starts_;          ///< sparse only: where each line begins, and the end
};

}  // namespace

std::unique_ptr<MatrixSource> open_h5ad(const MatrixSpec& spec) {
  const auto file = std::make_shared<const Hdf5File>(spec.file);
  for (const char* object : {"/obs", "/var"}) {
    if (!file->has(object))
      throw DataError(spec.file.string() + " is an HDF5 file but not an AnnData file: it lacks " + object);
  }
  const std::string layer = spec.layer.empty() ? "X" : spec.layer;
  std::vector<std::string> layers;
  for (const char* name : {"X", "raw/X"}) {
    if (file->has(std::string("/") + name)) layers.emplace_back(name);
  }
  for (const std::string& name : file->children("/layers")) layers.push_back("layers/" + name);
  if (std::find(layers.begin(), layers.end(), layer) == layers.end()) {
    std::string known;
    for (const std::string& name : layers) known += (known.empty() ? "" : ", ") + excerpt(name);
    throw UsageError(spec.file.string() + " has no matrix " + excerpt(layer) + "; it has " +
                     (known.empty() ? "none" : known));
  }
  return std::make_unique<H5ad>(file, spec);
}

}  // namespace cdrzoo
