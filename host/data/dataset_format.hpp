// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/array_view.hpp"

/// What the reader and the writer of data sets share (share/doc/data_format.md).
namespace cdrzoo {

class Dataset;

inline constexpr const char* kDatasetFormat = "cdrzoo-dataset";
/// A file with fitted steps has version 2, one with sparse profiles 3, so that a program which knows nothing of them
/// refuses it.
inline constexpr std::int64_t kDatasetFormatVersion = 3;
[[nodiscard]] constexpr std::int64_t format_version(std::size_t fitted_steps, bool sparse_profiles) {
  if (sparse_profiles) return 3;
  return fitted_steps == 0 ? 1 : 2;
}

/// Position of each sample in the order (domain name, sample id), bytewise.
[[nodiscard]] std::vector<std::int32_t> canonical_sample_ranks(const Dataset& dataset);

/// What makes two perturbation rows replicates of one condition, as columns of equal length.
struct ConditionColumns {
  ArrayView<std::int32_t> context;
  ArrayView<std::int32_t> drug;
  ArrayView<std::int32_t> drug_b;
  ArrayView<float> dose_log10_molar;  ///< NaN equals NaN
  ArrayView<float> time_h;
};
/// Condition of each row: 0, 1, ... in order of the first row.
[[nodiscard]] std::vector<std::int32_t> number_conditions(const ConditionColumns& columns);

}  // namespace cdrzoo
