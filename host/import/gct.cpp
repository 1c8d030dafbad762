// SPDX-License-Identifier: Apache-2.0
#include "import/gct.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.hpp"
#include "data/hdf5_file.hpp"
#include "import/text_matrix.hpp"

namespace cdrzoo {
namespace {

constexpr std::int64_t kLargestSize = 1'000'000'000;

/// Fields of the current row without empty ones at the end: spreadsheets fill short rows up.
std::vector<std::string_view> used_fields(const RowReader& rows) {
  auto fields = rows.fields();
  while (fields.size() > 1 && fields.back().empty()) fields.pop_back();
  return fields;
}

void next_row(RowReader& rows, const std::string& expected) {
  if (!rows.next()) throw DataError(rows.path().string() + " ends where " + expected + " was expected");
}

/// The sizes of line 2: genes, samples, annotations of each gene, annotations of each sample.
std::array<std::int64_t, 4> read_sizes(const RowReader& rows, std::size_t count) {
  std::array<std::int64_t, 4> sizes = {0, 0, 1, 0};  // 1.2: each gene has a description
  const auto fields = used_fields(rows);
  if (fields.size() != count)
    rows.wrong("has " + std::to_string(fields.size()) + " fields; expected " + std::to_string(count) + " sizes");
  for (std::size_t i = 0; i < count; ++i) {
    const char* end = fields[i].data() + fields[i].size();
    const auto result = std::from_chars(fields[i].data(), end, sizes[i]);
    if (result.ec != std::errc() || result.ptr != end || sizes[i] < 0 || sizes[i] > kLargestSize)
      rows.wrong(excerpt(fields[i]) + " is no size of a matrix");
  }
  return sizes;
}

void check_annotation_name(const RowReader& rows, const std::vector<std::string>& known, const std::string& name) {
  if (name.empty() || !is_clean_text(name)) rows.wrong("the annotation name " + excerpt(name) + " is no clean text");
  if (std::find(known.begin(), known.end(), name) != known.end())
    rows.wrong("the annotation name '" + name + "' stands twice");
}

}  // namespace

std::unique_ptr<MatrixSource> open_gct(const MatrixSpec& spec) {
  TextLayout layout;
  layout.path = spec.file;
  layout.format = {'\t', RowReader::Format::Quotes::none, "", false};
  layout.numbers.missing = spec.dialect.missing;
  layout.lines = MatrixSource::Lines::genes;

  RowReader rows(layout.path, layout.format);
  next_row(rows, "#1.2 or #1.3");
  const std::string version(used_fields(rows)[0]);
  if (version != "#1.2" && version != "#1.3")
    rows.wrong("is " + excerpt(version) + "; a GCT file begins with #1.2 or #1.3");
  next_row(rows, "the line with its sizes");
  const auto [genes, samples, gene_texts, sample_texts] = read_sizes(rows, version == "#1.2" ? 2 : 4);
  layout.count = genes;

  next_row(rows, "the header");
  layout.across_line = rows.line();
  const std::vector<std::string> header(rows.fields().begin(), rows.fields().end());
  const std::int64_t expected = 1 + gene_texts + samples;
  if (static_cast<std::int64_t>(header.size()) != expected) {
    rows.wrong("has " + std::to_string(header.size()) + " fields; line 2 declares 1 name, " +
               std::to_string(gene_texts) + " annotations and " + std::to_string(samples) + " samples");
  }
  for (std::size_t i = 0; i <= static_cast<std::size_t>(gene_texts); ++i) {
    check_annotation_name(rows, layout.text_names, header[i]);
    layout.text.push_back(i);
    layout.text_names.push_back(header[i]);
  }
  take_value_columns(&layout, header);

  for (std::int64_t i = 0; i < sample_texts; ++i) {
    next_row(rows, "annotation " + std::to_string(i + 1) + " of " + std::to_string(sample_texts) + " of the samples");
    const auto& fields = rows.fields();
    if (fields.size() != header.size()) {
      rows.wrong("has " + std::to_string(fields.size()) + " fields; the header has " + std::to_string(header.size()));
    }
    const std::string name(fields[0]);
    check_annotation_name(rows, layout.across.names, name);
    layout.across.names.push_back(name);
    layout.across.values.emplace_back(fields.begin() + static_cast<std::ptrdiff_t>(gene_texts) + 1, fields.end());
  }
  layout.rows_before = 3 + sample_texts;
  return open_text_matrix(std::move(layout), spec);
}

}  // namespace cdrzoo
