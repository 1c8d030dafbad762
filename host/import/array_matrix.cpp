// SPDX-License-Identifier: Apache-2.0
#include "import/array_matrix.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "data/hdf5_file.hpp"
#include "import/rows.hpp"

namespace cdrzoo {
namespace {

template <typename T>
void convert(const unsigned char* from, std::size_t count, bool swap, float* to) {
  for (std::size_t i = 0; i < count; ++i) {
    std::array<unsigned char, sizeof(T)> bytes;
    std::memcpy(bytes.data(), from + i * sizeof(T), sizeof(T));
    if (swap) std::reverse(bytes.begin(), bytes.end());
    T value{};
    std::memcpy(&value, bytes.data(), sizeof(T));
    to[i] = static_cast<float>(value);
  }
}

using Convert = void (*)(const unsigned char*, std::size_t, bool, float*);

Convert converter(const ArrayLayout& layout) {
  if (layout.kind == ArrayLayout::Kind::floating) return layout.element_bytes == 4 ? convert<float> : convert<double>;
  const bool is_signed = layout.kind == ArrayLayout::Kind::integer;
  switch (layout.element_bytes) {
    case 1: return is_signed ? convert<std::int8_t> : convert<std::uint8_t>;
    case 2: return is_signed ? convert<std::int16_t> : convert<std::uint16_t>;
    case 4: return is_signed ? convert<std::int32_t> : convert<std::uint32_t>;
    default: return is_signed ? convert<std::int64_t> : convert<std::uint64_t>;
  }
}

std::vector<std::string> read_names(const std::filesystem::path& file) {
  RowReader rows(file, {'\0', RowReader::Format::Quotes::strict, "", false});
  std::vector<std::string> names;
  while (rows.next() && !rows.is_blank_end()) {
    const std::string_view name = rows.fields()[0];
    if (!is_clean_text(name)) rows.wrong("the name " + excerpt(name) + " is not clean UTF-8 text");
    names.emplace_back(name);
  }
  return names;
}

class ArrayMatrix final : public MatrixSource {
 public:
  ArrayMatrix(ArrayLayout layout, const MatrixSpec& spec)
      : layout_(std::move(layout)), path_(spec.file), samples_are_rows_(lines_of_rows(spec) == Lines::samples) {
    samples_ = names("sample", spec.sample_list, samples_are_rows_);
    genes_ = names("gene", spec.gene_list, !samples_are_rows_);
    choose_names(&samples_, spec.sample_names, path_.string());
    choose_names(&genes_, spec.gene_names, path_.string());
  }

  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }
  [[nodiscard]] Lines lines() const override {
    return samples_are_rows_ != layout_.by_column ? Lines::samples : Lines::genes;
  }
  [[nodiscard]] const std::vector<std::string>& samples() override { return samples_.values[0]; }
  [[nodiscard]] const std::vector<std::string>& genes() override { return genes_.values[0]; }
  [[nodiscard]] const TextColumns& sample_annotations() override { return samples_; }
  [[nodiscard]] const TextColumns& gene_annotations() override { return genes_; }

  void read(const std::function<void(std::int64_t, const float*)>& take) override {
    const std::int64_t count = layout_.by_column ? layout_.columns : layout_.rows;
    const auto across = static_cast<std::size_t>(layout_.by_column ? layout_.rows : layout_.columns);
    const std::size_t line_bytes = across * layout_.element_bytes;
    const Convert convert_line = converter(layout_);
    std::vector<float> values(across);
    for (std::int64_t line = 0; line < count; ++line) {
      convert_line(layout_.bytes(line * static_cast<std::int64_t>(line_bytes), line_bytes), across, layout_.swap,
                   values.data());
      for (std::size_t i = 0; i < across; ++i) {
        if (std::isinf(values[i])) wrong_value(line, static_cast<std::int64_t>(i));
      }
      take(line, values.data());
    }
  }

  [[nodiscard]] std::string place_of_sample(std::int64_t sample) const override {
    return place_of(samples_are_rows_, sample);
  }
  [[nodiscard]] std::string place_of_gene(std::int64_t gene) const override {
    return place_of(!samples_are_rows_, gene);
  }

 private:
  [[nodiscard]] TextColumns names(const char* what, const std::filesystem::path& list, bool of_rows) const {
    TextColumns out{{what}, {read_names(list)}};
    const std::int64_t count = of_rows ? layout_.rows : layout_.columns;
    if (out.rows() != count) {
      throw DataError(list.string() + " has " + std::to_string(out.rows()) + " names; " + path_.string() + " has " +
                      std::to_string(count) + (of_rows ? " rows" : " columns"));
    }
    return out;
  }

  [[nodiscard]] std::string place_of(bool row, std::int64_t index) const {
    return path_.string() + (row ? " row " : " column ") + std::to_string(index + 1);
  }

  [[noreturn]] void wrong_value(std::int64_t line, std::int64_t across) const {
    if (layout_.by_column) std::swap(line, across);
    throw DataError(place_of(true, line) + " column " + std::to_string(across + 1) +
                    ": the value is infinite or too large for a 32-bit float");
  }

  ArrayLayout layout_;
  std::filesystem::path path_;
  bool samples_are_rows_;
  TextColumns samples_;
  TextColumns genes_;
};

}  // namespace

std::unique_ptr<MatrixSource> open_array_matrix(ArrayLayout layout, const MatrixSpec& spec) {
  if (layout.rows == 0 || layout.columns == 0) {
    throw DataError(spec.file.string() + " has no values: its shape is " + std::to_string(layout.rows) + " x " +
                    std::to_string(layout.columns));
  }
  return std::make_unique<ArrayMatrix>(std::move(layout), spec);
}

}  // namespace cdrzoo
