// SPDX-License-Identifier: Apache-2.0
#include "import/text_matrix.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "base/error.hpp"
#include "data/hdf5_file.hpp"

namespace cdrzoo {
namespace {

class TextMatrix final : public MatrixSource {
 public:
  TextMatrix(TextLayout layout, std::string line_names, std::string across_names)
      : layout_(std::move(layout)), line_names_(std::move(line_names)) {
    choose_names(&layout_.across, across_names, path().string());
  }

  [[nodiscard]] const std::filesystem::path& path() const override { return layout_.path; }
  [[nodiscard]] Lines lines() const override { return layout_.lines; }
  [[nodiscard]] const std::vector<std::string>& samples() override { return annotations(Lines::samples).values[0]; }
  [[nodiscard]] const std::vector<std::string>& genes() override { return annotations(Lines::genes).values[0]; }
  [[nodiscard]] const TextColumns& sample_annotations() override { return annotations(Lines::samples); }
  [[nodiscard]] const TextColumns& gene_annotations() override { return annotations(Lines::genes); }

  void read(const std::function<void(std::int64_t, const float*)>& take) override {
    std::vector<float> values(layout_.values.size());
    const std::int64_t count = for_each_line([&](std::int64_t index, const RowReader& rows) {
      if (along_ && index >= along_->rows()) rows.wrong("was not there when the names were read");
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = value(rows, i);
      take(index, values.data());
    });
    if (along_ && count != along_->rows())
      throw DataError(path().string() + " has lost rows since its names were read");
  }

  [[nodiscard]] std::string place_of_sample(std::int64_t sample) const override {
    return place_of(Lines::samples, sample);
  }
  [[nodiscard]] std::string place_of_gene(std::int64_t gene) const override { return place_of(Lines::genes, gene); }

 private:
  [[nodiscard]] const TextColumns& annotations(Lines axis) {
    if (axis != layout_.lines) return layout_.across;
    if (!along_) scan();
    return *along_;
  }

  [[nodiscard]] std::string place_of(Lines axis, std::int64_t i) const {
    const auto index = static_cast<std::size_t>(i);
    const std::string file = path().string();
    if (axis != layout_.lines) {
      return file + " line " + std::to_string(layout_.across_line) + " column " +
             std::to_string(layout_.values[index] + 1);
    }
    return file + (index < line_numbers_.size() ? " line " + std::to_string(line_numbers_[index])
                                                : " row " + std::to_string(i + 1));
  }

  [[nodiscard]] float value(const RowReader& rows, std::size_t i) const {
    const std::string_view text = rows.fields()[layout_.values[i]];
    float parsed = 0.0F;
    const NumberKind kind = read_number(text, layout_.numbers, &parsed);
    if (kind == NumberKind::finite) return parsed;
    if (kind == NumberKind::missing) return std::numeric_limits<float>::quiet_NaN();
    rows.wrong("column '" + layout_.across.values[0][i] + "': " + number_problem(text, layout_.numbers, kind));
  }

  /// Calls \p take(index, rows) for every line of values; returns their number.
  template <typename Take>
  std::int64_t for_each_line(const Take& take) const {
    RowReader rows(path(), layout_.format);
    for (std::int64_t i = 0; i < layout_.rows_before; ++i) {
      if (!rows.next()) throw DataError(path().string() + " ends before its values");
    }
    std::int64_t count = 0;
    bool ended = layout_.end.empty();
    while (rows.next() && !rows.is_blank_end()) {
      if (!layout_.end.empty() && rows.fields()[0] == layout_.end) {
        ended = true;
        break;
      }
      if (rows.fields().size() != layout_.fields) {
        rows.wrong("has " + std::to_string(rows.fields().size()) + " fields; the header has " +
                   std::to_string(layout_.fields));
      }
      if (count == layout_.count) rows.wrong("is one more row than the " + declared());
      take(count++, rows);
    }
    if (!layout_.end.empty() && ended && rows.next() && !rows.is_blank_end())
      rows.wrong("stands behind '" + layout_.end + "'; expected the end of the file");
    if (!ended) throw DataError(path().string() + " is truncated: there is no '" + layout_.end + "'");
    if (layout_.count >= 0 && count != layout_.count)
      throw DataError(path().string() + " has " + std::to_string(count) + " rows of values, not the " + declared());
    if (count == 0) throw DataError(path().string() + " has no rows of values");
    return count;
  }
  [[nodiscard]] std::string declared() const { return std::to_string(layout_.count) + " that it declares"; }

  void scan() {
    TextColumns along;
    along.names = layout_.text_names;
    along.values.resize(along.names.size());
    line_numbers_.clear();
    for_each_line([&](std::int64_t, const RowReader& rows) {
      for (std::size_t i = 0; i < layout_.text.size(); ++i) {
        along.values[i].emplace_back(rows.fields()[layout_.text[i]]);
      }
      if (const std::string& name = along.values[0].back(); name.empty() || !is_clean_text(name))
        rows.wrong(name.empty() ? "has an empty name" : "has a name that is not clean UTF-8 text: " + excerpt(name));
      line_numbers_.push_back(rows.line());
    });
    choose_names(&along, line_names_, path().string());
    along_ = std::move(along);
  }

  TextLayout layout_;
  std::string line_names_;
  std::optional<TextColumns> along_;
  std::vector<std::int64_t> line_numbers_;
};

}  // namespace

std::unique_ptr<MatrixSource> open_text_matrix(TextLayout layout, const MatrixSpec& spec) {
  const bool samples = layout.lines == MatrixSource::Lines::samples;
  return std::make_unique<TextMatrix>(std::move(layout), samples ? spec.sample_names : spec.gene_names,
                                      samples ? spec.gene_names : spec.sample_names);
}

void take_value_columns(TextLayout* layout, const std::vector<std::string>& header) {
  const std::string place = layout->path.string() + " line " + std::to_string(layout->across_line);
  layout->fields = header.size();
  layout->across.names.insert(layout->across.names.begin(),
                              layout->lines == MatrixSource::Lines::samples ? "gene" : "sample");
  std::vector<std::string> names;
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (std::find(layout->text.begin(), layout->text.end(), i) != layout->text.end()) continue;
    const std::string here = place + ": the header of column " + std::to_string(i + 1);
    if (header[i].empty()) throw DataError(here + " is empty");
    if (!is_clean_text(header[i])) throw DataError(here + " is not clean UTF-8 text: " + excerpt(header[i]));
    layout->values.push_back(i);
    names.push_back(header[i]);
  }
  if (names.empty()) throw DataError(place + ": there is no column with values");
  layout->across.values.insert(layout->across.values.begin(), std::move(names));
}

}  // namespace cdrzoo
