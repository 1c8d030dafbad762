// SPDX-License-Identifier: Apache-2.0
// What h5py and NumPy find in a file, in few numbers that change with every value and every place.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/hash.hpp"
#include "import/matrix_source.hpp"
#include "support/catch.hpp"

namespace cdrzoo::test {

/// Sums over the values v of a matrix of float32, in double precision; rows and columns count from 1.
struct Totals {
  std::size_t samples, genes;
  double sum, squares;
  double by_row, by_column;  ///< sums of v * row and of v * column
};

inline void check_totals(const MatrixSpec& spec, const Totals& expected) {
  const auto source = open_matrix(spec);
  REQUIRE(source->lines() == MatrixSource::Lines::samples);
  REQUIRE(source->samples().size() == expected.samples);
  REQUIRE(source->genes().size() == expected.genes);
  Totals found{expected.samples, expected.genes, 0, 0, 0, 0};
  source->read([&](std::int64_t line, const float* values) {
    for (std::size_t gene = 0; gene < found.genes; ++gene) {
      const auto v = static_cast<double>(values[gene]);
      found.sum += v;
      found.squares += v * v;
      found.by_row += v * static_cast<double>(line + 1);
      found.by_column += v * static_cast<double>(gene + 1);
    }
  });
  constexpr double kRounding = 1e-10;
  CHECK_THAT(found.sum, WithinRel(expected.sum, kRounding));
  CHECK_THAT(found.squares, WithinRel(expected.squares, kRounding));
  CHECK_THAT(found.by_row, WithinRel(expected.by_row, kRounding));
  CHECK_THAT(found.by_column, WithinRel(expected.by_column, kRounding));
}

/// The columns of one axis: those with decimals by the sum of value * row, all others by the SHA-256 of their names and
/// values, each followed by a line end, column by column.
struct AxisTotals {
  std::vector<std::string> decimals;
  double sum;
  std::string sha256;
};

inline void check_annotations(const TextColumns& columns, const AxisTotals& expected) {
  double sum = 0;
  std::string text;
  for (std::size_t c = 0; c < columns.names.size(); ++c) {
    const auto& name = columns.names[c];
    const auto& values = columns.values[c];
    if (std::find(expected.decimals.begin(), expected.decimals.end(), name) != expected.decimals.end()) {
      for (std::size_t row = 0; row < values.size(); ++row) {
        if (!values[row].empty()) sum += std::stod(values[row]) * static_cast<double>(row + 1);
      }
      continue;
    }
    text += name + "\n";
    for (const auto& value : values) text += value + "\n";
  }
  constexpr double kRounding = 1e-12;
  CHECK_THAT(sum, WithinRel(expected.sum, kRounding));
  CHECK(sha256_hex(text) == expected.sha256);
}

inline void check_annotations(const MatrixSpec& spec, const AxisTotals& samples, const AxisTotals& genes) {
  const auto source = open_matrix(spec);
  check_annotations(source->sample_annotations(), samples);
  check_annotations(source->gene_annotations(), genes);
}

}  // namespace cdrzoo::test
