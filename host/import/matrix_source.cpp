// SPDX-License-Identifier: Apache-2.0
#include "import/matrix_source.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "data/hdf5_file.hpp"
#include "import/csv.hpp"
#include "import/delimited_matrix.hpp"
#include "import/gct.hpp"
#include "import/gctx.hpp"
#include "import/gmt.hpp"
#include "import/h5ad.hpp"
#include "import/npy.hpp"
#include "import/safetensors_matrix.hpp"
#include "import/series_matrix.hpp"

namespace cdrzoo {
namespace {

constexpr std::array<const char*, 9> kFormats = {"csv",           "tsv", "gct",         "gctx", "h5ad",
                                                 "series_matrix", "npy", "safetensors", "gmt"};

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string known_formats() {
  std::string out;
  for (const char* format : kFormats) out += (out.empty() ? "" : ", ") + std::string(format);
  return out;
}

[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& format, const std::string& what) {
  throw UsageError(file.string() + ": files of the format " + format + " " + what);
}

/// What the format does not know must not be asked for: it would be ignored without a word.
void check(const MatrixSpec& spec, const std::string& format) {
  const bool delimited = format == "csv" || format == "tsv";
  const bool array = format == "npy" || format == "safetensors";
  if (!delimited && !spec.id.empty()) refuse(spec.file, format, "have no column to choose as id");
  if (!delimited && !spec.annotations.empty()) refuse(spec.file, format, "say by themselves what is an annotation");
  if (!delimited && !array && !spec.samples_are.empty())
    refuse(spec.file, format, "say by themselves what the rows are");
  if (format != "h5ad" && format != "safetensors" && !spec.layer.empty()) refuse(spec.file, format, "have no layers");
  if (!array && !(spec.sample_list.empty() && spec.gene_list.empty()))
    refuse(spec.file, format, "name their samples and genes themselves");
  if (array && (spec.sample_list.empty() || spec.gene_list.empty()))
    refuse(spec.file, format, "hold no names: a list of samples and a list of genes are needed");
}

/// The dialect for this format. What cannot be is refused; the words for missing and, in a table, the decimal sign are
/// for every format that holds text.
Dialect dialect_of(Dialect dialect, const std::filesystem::path& file, const std::string& format, bool table) {
  const Dialect plain;
  if (format == "csv") return dialect;
  if (format == "tsv") {
    if (dialect.separator != plain.separator && dialect.separator != '\t')
      refuse(file, format, "have tabs as separator");
    dialect.separator = '\t';
    return dialect;
  }
  if (dialect.separator != plain.separator || !dialect.comment.empty() || dialect.trim)
    refuse(file, format, "have a separator of their own, no comments, and nothing to trim");
  if (!table && dialect.decimal != plain.decimal) refuse(file, format, "have a decimal point");
  if (!table && dialect.missing != plain.missing && format != "gct" && format != "series_matrix")
    refuse(file, format, "have no words for missing values");
  return dialect;
}

}  // namespace

std::string format_of(const std::filesystem::path& file, const std::string& given) {
  if (!given.empty()) {
    if (std::find(kFormats.begin(), kFormats.end(), given) != kFormats.end()) return given;
    throw UsageError("there is no file format '" + given + "'; expected one of " + known_formats());
  }
  std::string name = file.filename().string();
  if (ends_with(name, ".gz")) name.resize(name.size() - 3);
  if (ends_with(name, "series_matrix.txt")) return "series_matrix";
  for (const char* format : kFormats) {
    if (ends_with(name, std::string(".") + format)) return format;
  }
  throw UsageError(file.string() + ": the name does not tell the format; give one of " + known_formats());
}

MatrixSource::Lines lines_of_rows(const MatrixSpec& spec) {
  if (spec.samples_are.empty() || spec.samples_are == "rows") return MatrixSource::Lines::samples;
  if (spec.samples_are == "columns") return MatrixSource::Lines::genes;
  throw UsageError(spec.file.string() + ": samples are '" + spec.samples_are + "'; expected rows or columns");
}

void choose_names(TextColumns* columns, const std::string& wanted, const std::string& place) {
  if (wanted.empty()) return;
  const auto found = std::find(columns->names.begin(), columns->names.end(), wanted);
  if (found == columns->names.end()) {
    std::string known;
    for (const std::string& name : columns->names) known += (known.empty() ? "" : ", ") + excerpt(name);
    throw DataError(place + ": there is no annotation '" + wanted + "' to take names from; it has " + known);
  }
  const auto index = found - columns->names.begin();
  std::rotate(columns->names.begin(), found, found + 1);
  const auto values = columns->values.begin();
  std::rotate(values, values + index, values + index + 1);
  const std::vector<std::string>& names = columns->values[0];
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty() || !is_clean_text(names[i])) {
      throw DataError(place + ": the annotation '" + wanted + "' of entry " + std::to_string(i + 1) + " is " +
                      (names[i].empty() ? "empty" : excerpt(names[i])) + "; expected a name");
    }
  }
}

std::unique_ptr<MatrixSource> open_matrix(const MatrixSpec& spec) {
  const std::string format = format_of(spec.file, spec.format);
  if (format == "gmt") refuse(spec.file, format, "hold gene sets, no matrix");
  check(spec, format);
  MatrixSpec known = spec;
  known.dialect = dialect_of(spec.dialect, spec.file, format, false);
  if (format == "csv" || format == "tsv") return open_delimited_matrix(known);
  if (format == "gct") return open_gct(known);
  if (format == "series_matrix") return open_series_matrix(known);
  if (ends_with(spec.file.string(), ".gz")) refuse(spec.file, format, "are read unpacked only; use gunzip first");
  if (format == "gctx") return open_gctx(known);
  if (format == "h5ad") return open_h5ad(known);
  return format == "npy" ? open_npy(known) : open_safetensors_matrix(known);
}

std::unique_ptr<Table> open_table(const TableSpec& spec) {
  const std::string format = format_of(spec.file, spec.format);
  if (!spec.part.empty() && spec.part != "samples" && spec.part != "genes")
    throw UsageError(spec.file.string() + ": there is no part '" + spec.part + "'; expected samples or genes");
  const Dialect dialect = dialect_of(spec.dialect, spec.file, format, true);
  if (format == "csv" || format == "tsv") {
    if (!spec.part.empty()) refuse(spec.file, format, "have no parts");
    return std::make_unique<CsvReader>(spec.file, dialect, CsvReader::RowNames::may_lack_header);
  }
  if (format == "npy" || format == "safetensors") refuse(spec.file, format, "hold no table");
  if (format == "gmt") {
    if (!spec.part.empty()) refuse(spec.file, format, "have no parts");
    return std::make_unique<MemoryTable>(spec.file, "gene sets", members_of(read_gmt(spec.file)));
  }
  const bool genes = spec.part == "genes";
  // A series without values has samples all the same.
  if (format == "series_matrix" && !genes)
    return std::make_unique<MemoryTable>(spec.file, "sample annotations", read_series_samples(spec.file), dialect);
  MatrixSpec matrix;
  matrix.file = spec.file;
  matrix.format = format;
  const auto source = open_matrix(matrix);
  return std::make_unique<MemoryTable>(spec.file, genes ? "gene annotations" : "sample annotations",
                                       genes ? source->gene_annotations() : source->sample_annotations(), dialect);
}

}  // namespace cdrzoo
