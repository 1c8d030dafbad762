// SPDX-License-Identifier: Apache-2.0
#include "import/hdf5_matrix.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/error.hpp"
#include "base/log.hpp"

namespace cdrzoo {
namespace {

/// The text of Latin-1 bytes as UTF-8.
std::string from_latin1(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xC0U | (code >> 6U));
      out += static_cast<char>(0x80U | (code & 0x3FU));
    }
  }
  return out;
}

AnnotationColumn read_texts(const Hdf5File& file, const std::string& dataset, std::int64_t length, TextBytes bytes) {
  AnnotationColumn out;
  out.values = file.unchecked_strings(dataset, length);
  for (std::string& value : out.values) value.erase(value.find_last_not_of(' ') + 1);
  const auto wrong = [&] { return std::find_if_not(out.values.begin(), out.values.end(), is_clean_text); };
  if (bytes == TextBytes::utf8_or_latin1 && wrong() != out.values.end()) {
    std::transform(out.values.begin(), out.values.end(), out.values.begin(), from_latin1);
  }
  if (const auto found = wrong(); found != out.values.end()) {
    out.why_not = "row " + std::to_string(found - out.values.begin() + 1) + " is " + excerpt(*found) +
                  ", which is not UTF-8 text or has a control character";
  }
  return out;
}

template <typename T>
std::string number_text(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(value)) return {};
  }
  std::array<char, 64> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  return {digits.data(), end.ptr};
}

template <typename T, typename Text>
std::vector<std::string> as_texts(const Hdf5File::Numbers& numbers, const Text& text) {
  const std::int64_t rows = numbers.shape()[0];
  const std::int64_t step = numbers.rows_at_once(sizeof(T));
  std::vector<std::string> out;
  std::vector<T> piece;
  for (std::int64_t first = 0; first < rows; first += step) {
    piece.resize(static_cast<std::size_t>(std::min(step, rows - first)));
    numbers.read(first, static_cast<std::int64_t>(piece.size()), piece.data());
    for (const T value : piece) out.push_back(text(value));
  }
  return out;
}

}  // namespace

AnnotationColumn read_plain_column(const Hdf5File& file, const std::string& dataset, std::int64_t length,
                                   TextBytes bytes) {
  const Hdf5File::Outline outline = file.outline(dataset);
  AnnotationColumn out;
  if (outline.elements == Hdf5File::Elements::other || outline.shape.size() != 1) {
    out.why_not = outline.shape.size() == 1 ? "its elements are neither text nor numbers"
                                            : "it has " + std::to_string(outline.shape.size()) + " axes instead of one";
    return out;
  }
  if (length >= 0 && outline.shape[0] != length) {
    throw DataError(file.path().string() + ": " + dataset + " has " + std::to_string(outline.shape[0]) +
                    " rows; expected " + std::to_string(length));
  }
  if (outline.elements == Hdf5File::Elements::text) return read_texts(file, dataset, length, bytes);
  const Hdf5File::Numbers numbers = file.numbers(dataset);
  if (outline.elements == Hdf5File::Elements::boolean) {
    out.values = as_texts<std::int64_t>(numbers, [](std::int64_t v) { return v == 0 ? "False" : "True"; });
  } else if (outline.elements == Hdf5File::Elements::real) {
    // As short as the type of the file allows: 0.1 of float32 is no 0.10000000149011612.
    out.values = numbers.element_bytes() <= sizeof(float) ? as_texts<float>(numbers, number_text<float>)
                                                          : as_texts<double>(numbers, number_text<double>);
  } else {
    out.values = numbers.is_unsigned() ? as_texts<std::uint64_t>(numbers, number_text<std::uint64_t>)
                                       : as_texts<std::int64_t>(numbers, number_text<std::int64_t>);
  }
  return out;
}

Hdf5Axis::Hdf5Axis(std::shared_ptr<const Hdf5File> file, Columns columns, ReadColumn read)
    : file_(std::move(file)), columns_(std::move(columns)), read_(read) {
  const std::string object = columns_.group + "/" + columns_.index;
  AnnotationColumn index = read_(*file_, object, -1);
  if (!index.why_not.empty()) {
    throw DataError(file_->path().string() + ": " + object + " cannot be used as names: " + index.why_not);
  }
  const auto empty = std::find(index.values.begin(), index.values.end(), "");
  if (empty != index.values.end()) {
    throw DataError(file_->path().string() + ": " + object + " row " +
                    std::to_string(empty - index.values.begin() + 1) + " is empty; expected a name");
  }
  annotations_.names.push_back(columns_.index);
  annotations_.values.push_back(std::move(index.values));
}

const std::vector<std::string>& Hdf5Axis::names() {
  return columns_.names_from.empty() ? annotations_.values.front() : annotations().values.front();
}

const TextColumns& Hdf5Axis::annotations() {
  if (complete_) return annotations_;
  for (const std::string& name : columns_.others) {
    if (annotations_.find(name) != nullptr) continue;  // a column that is the index, too
    const std::string object = columns_.group + "/" + name;
    AnnotationColumn column = read_(*file_, object, size());
    if (!column.why_not.empty()) {
      log::warn(file_->path().string() + ": " + object + " is left out: " + column.why_not);
      continue;
    }
    annotations_.names.push_back(name);
    annotations_.values.push_back(std::move(column.values));
  }
  choose_names(&annotations_, columns_.names_from, file_->path().string() + ": " + columns_.group);
  complete_ = true;
  return annotations_;
}

std::string Hdf5Axis::place(std::int64_t row) const {
  return file_->path().string() + " " + columns_.group + " row " + std::to_string(row + 1);
}

void Hdf5Matrix::wrong(const std::string& object, const std::string& what) const {
  throw DataError(file_->path().string() + ": " + object + " " + what);
}

void Hdf5Matrix::wrong_value(const std::string& dataset, std::int64_t sample, std::int64_t gene,
                             const std::string& what) {
  wrong(dataset, "row " + std::to_string(sample + 1) + " (sample " +
                     excerpt(samples_.names()[static_cast<std::size_t>(sample)]) + "), column " +
                     std::to_string(gene + 1) + " (gene " + excerpt(genes_.names()[static_cast<std::size_t>(gene)]) +
                     ") " + what);
}

Hdf5File::Numbers Hdf5Matrix::dense(const std::string& dataset) const {
  Hdf5File::Numbers values = file_->numbers(dataset);
  const std::vector<std::int64_t>& shape = values.shape();
  if (shape.size() != 2 || shape[0] != samples_.size() || shape[1] != genes_.size()) {
    std::string found;
    for (const auto extent : shape) found += (found.empty() ? "" : ", ") + std::to_string(extent);
    wrong(dataset, "has shape [" + found + "]; expected [" + std::to_string(samples_.size()) + ", " +
                       std::to_string(genes_.size()) + "], as long as " + samples_.group() + " and " + genes_.group());
  }
  return values;
}

void Hdf5Matrix::read_dense(const std::string& dataset, const Hdf5File::Numbers& values,
                            const std::function<void(std::int64_t line, const float* values)>& take) {
  const std::int64_t rows = samples_.size();
  const std::int64_t cols = genes_.size();
  const std::int64_t step = std::min(values.rows_at_once(sizeof(float)), std::max<std::int64_t>(rows, 1));
  std::vector<float> piece(static_cast<std::size_t>(step * cols));
  for (std::int64_t first = 0; first < rows; first += step) {
    const std::int64_t count = std::min(step, rows - first);
    values.read(first, count, piece.data());
    for (std::int64_t row = 0; row < count; ++row) {
      const float* line = piece.data() + row * cols;
      const float* infinite = std::find_if(line, line + cols, [](float v) { return std::isinf(v); });
      if (infinite != line + cols) wrong_value(dataset, first + row, infinite - line, "is infinite or beyond float32");
      take(first + row, line);
    }
  }
}

}  // namespace cdrzoo
