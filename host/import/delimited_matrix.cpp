// SPDX-License-Identifier: Apache-2.0
#include "import/delimited_matrix.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "import/csv.hpp"
#include "import/text_matrix.hpp"

namespace cdrzoo {
namespace {

/// Position of the only column of that name.
std::size_t find_column(const std::vector<std::string>& header, const std::string& name, const std::string& place) {
  const auto found = std::find(header.begin(), header.end(), name);
  if (found == header.end()) {
    std::string known;
    constexpr std::size_t kShown = 12;
    for (std::size_t i = 0; i < std::min(header.size(), kShown); ++i)
      known += (i == 0 ? "" : ", ") + (header[i].empty() ? "(no name)" : header[i]);
    if (header.size() > kShown) known += " and " + std::to_string(header.size() - kShown) + " more";
    throw DataError(place + ": there is no column '" + name + "'; it has " + known);
  }
  if (std::find(found + 1, header.end(), name) != header.end())
    throw DataError(place + ": the header has the column '" + name + "' twice");
  return static_cast<std::size_t>(found - header.begin());
}

}  // namespace

std::unique_ptr<MatrixSource> open_delimited_matrix(const MatrixSpec& spec) {
  TextLayout layout;
  layout.path = spec.file;
  layout.format = row_format(spec.dialect);
  layout.numbers = spec.dialect;
  layout.lines = lines_of_rows(spec);
  layout.rows_before = 1;

  RowReader rows(layout.path, layout.format);
  const std::vector<std::string> header = read_header(rows, true, &layout.across_line);
  const std::string place = rows.place(layout.across_line);
  layout.text.push_back(spec.id.empty() ? 0 : find_column(header, spec.id, place));
  for (const std::string& name : spec.annotations) layout.text.push_back(find_column(header, name, place));
  for (const std::size_t column : layout.text) {
    layout.text_names.push_back(header[column]);
    if (std::count(layout.text.begin(), layout.text.end(), column) > 1)
      throw UsageError(place + ": the column '" + header[column] + "' is named twice as id or annotation");
  }
  take_value_columns(&layout, header);
  return open_text_matrix(std::move(layout), spec);
}

}  // namespace cdrzoo
