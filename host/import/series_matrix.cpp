// SPDX-License-Identifier: Apache-2.0
#include "import/series_matrix.hpp"

#include <algorithm>
#include <unordered_map>

#include "base/error.hpp"
#include "import/text_matrix.hpp"

namespace cdrzoo {
namespace {

constexpr std::size_t kMostCells = 20'000'000;
constexpr const char* kBegin = "!series_matrix_table_begin";
constexpr const char* kEnd = "!series_matrix_table_end";

bool begins_with(std::string_view text, std::string_view begin) { return text.substr(0, begin.size()) == begin; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

/// Columns that appear while reading, in the order of their appearance.
class Columns {
 public:
  std::vector<std::string>& of(const std::string& name, std::size_t rows) {
    const auto [known, fresh] = index_.emplace(name, columns.names.size());
    if (fresh) {
      columns.names.push_back(name);
      columns.values.emplace_back(rows);
    }
    return columns.values[known->second];
  }
  [[nodiscard]] bool has(const std::string& name) const { return index_.count(name) != 0; }

  TextColumns columns;

 private:
  std::unordered_map<std::string, std::size_t> index_;
};

/// Reads the lines above the table.
class SeriesHead {
 public:
  explicit SeriesHead(RowReader& rows) : rows_(rows) {
    while (rows.next()) {
      ++rows_before_;
      const std::string_view first = rows.fields()[0];
      if (first == kBegin) return;
      if (begins_with(first, "!Sample_")) {
        add(std::string(first.substr(8)));
      } else if (!begins_with(first, "!") && !(first.empty() && rows.fields().size() == 1)) {
        rows.wrong("begins with " + excerpt(first) + "; expected !Series_, !Sample_ or " + kBegin);
      }
    }
    throw DataError(rows.path().string() + " has no " + kBegin + ": it is truncated, or no GEO series matrix");
  }

  [[nodiscard]] std::int64_t rows_before() const { return rows_before_; }

  [[nodiscard]] TextColumns samples() const {
    TextColumns out = fields_.columns;
    const auto id = std::find(out.names.begin(), out.names.end(), "geo_accession");
    if (id == out.names.end()) throw DataError(rows_.path().string() + " has no line !Sample_geo_accession");
    choose_names(&out, "geo_accession", rows_.path().string());
    for (std::size_t i = 0; i < characteristics_.columns.names.size(); ++i) {
      const std::string& name = characteristics_.columns.names[i];
      out.names.push_back(fields_.has(name) ? "characteristics_ch1: " + name : name);
      out.values.push_back(characteristics_.columns.values[i]);
    }
    return out;
  }

 private:
  void add(const std::string& field) {
    const auto& cells = rows_.fields();
    if (samples_ == 0) samples_ = cells.size() - 1;
    if (samples_ == 0) rows_.wrong("has no sample");
    if (cells.size() - 1 != samples_) {
      rows_.wrong("has " + std::to_string(cells.size() - 1) + " samples; the lines above have " +
                  std::to_string(samples_));
    }
    if (field.empty()) rows_.wrong("has no name behind !Sample_");
    const bool keyed = begins_with(field, "characteristics_ch");
    std::vector<std::string>* plain = nullptr;
    for (std::size_t i = 0; i < samples_; ++i) {
      std::string cell(cells[i + 1]);
      for (char& c : cell) {
        if (c == '\n' || c == '\r' || c == '\t') c = ' ';  // submitters put line ends into their texts
      }
      const std::size_t colon = keyed ? cell.find(':') : std::string::npos;
      const std::string key(colon == std::string::npos ? "" : trimmed(std::string_view(cell).substr(0, colon)));
      if (!key.empty()) {
        const std::string name = field == "characteristics_ch1" ? key : field + ": " + key;
        append(&cell_of(characteristics_, name, i), trimmed(std::string_view(cell).substr(colon + 1)));
      } else if (keyed) {
        if (!cell.empty()) append(&cell_of(fields_, field, i), cell);
      } else {
        if (plain == nullptr) plain = &column_of(fields_, free_name(field));
        (*plain)[i] = cell;
      }
    }
  }

  /// FIELD, FIELD_2, ...: the first that is not taken.
  [[nodiscard]] std::string free_name(const std::string& field) {
    std::string name = field;
    for (int& n = times_[field]; fields_.has(name);) name = field + "_" + std::to_string(n++ + 2);
    return name;
  }

  std::vector<std::string>& column_of(Columns& columns, const std::string& name) {
    const std::size_t known = fields_.columns.names.size() + characteristics_.columns.names.size();
    if (!columns.has(name) && (known + 1) * samples_ > kMostCells)
      rows_.wrong("brings the annotations to more than twenty million");
    return columns.of(name, samples_);
  }
  std::string& cell_of(Columns& columns, const std::string& name, std::size_t sample) {
    return column_of(columns, name)[sample];
  }

  /// A sample that has a key twice keeps both texts.
  static void append(std::string* cell, std::string_view text) {
    if (cell->empty()) {
      *cell = text;
    } else if (*cell != text) {
      *cell += "; ";
      *cell += text;
    }
  }

  RowReader& rows_;
  std::int64_t rows_before_ = 0;
  std::size_t samples_ = 0;
  std::unordered_map<std::string, int> times_;  // that a field was met again
  Columns fields_;
  Columns characteristics_;
};

RowReader::Format series_format() { return {'\t', RowReader::Format::Quotes::loose, "", false}; }

}  // namespace

TextColumns read_series_samples(const std::filesystem::path& file) {
  RowReader rows(file, series_format());
  return SeriesHead(rows).samples();
}

std::unique_ptr<MatrixSource> open_series_matrix(const MatrixSpec& spec) {
  TextLayout layout;
  layout.path = spec.file;
  layout.format = series_format();
  layout.numbers.missing = spec.dialect.missing;
  layout.lines = MatrixSource::Lines::genes;
  layout.end = kEnd;
  layout.text = {0};
  layout.text_names = {"ID_REF"};

  RowReader rows(layout.path, layout.format);
  const SeriesHead head(rows);
  const TextColumns samples = head.samples();
  if (!rows.next()) throw DataError(spec.file.string() + " ends where the header of its table was expected");
  layout.across_line = rows.line();
  const std::vector<std::string> header(rows.fields().begin(), rows.fields().end());
  if (header[0] != "ID_REF") rows.wrong("begins with " + excerpt(header[0]) + "; expected ID_REF");
  const std::vector<std::string>& ids = samples.values[0];
  if (header.size() != ids.size() + 1) {
    rows.wrong("has " + std::to_string(header.size() - 1) + " samples; the !Sample_ lines have " +
               std::to_string(ids.size()));
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (header[i + 1] != ids[i])
      rows.wrong("column " + std::to_string(i + 2) + " is " + excerpt(header[i + 1]) + "; !Sample_geo_accession has " +
                 excerpt(ids[i]) + " there");
  }
  if (rows.next() && rows.fields()[0] == kEnd) {
    throw DataError(spec.file.string() +
                    " has no values: its table is empty, as in series whose values are supplementary files");
  }
  take_value_columns(&layout, header);
  layout.across = samples;
  layout.rows_before = head.rows_before() + 1;
  return open_text_matrix(std::move(layout), spec);
}

}  // namespace cdrzoo
