// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

/// What the reader and the writer of data sets share (share/doc/data_format.md).
namespace cdrzoo {

class Dataset;

inline constexpr const char* kDatasetFormat = "cdrzoo-dataset";
inline constexpr std::int64_t kDatasetFormatVersion = 1;

/// Position of each sample in the order (domain name, sample id), bytewise.
[[nodiscard]] std::vector<std::int32_t> canonical_sample_ranks(const Dataset& dataset);

}  // namespace cdrzoo
