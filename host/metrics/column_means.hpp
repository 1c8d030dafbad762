// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace cdrzoo {

/// Means of columns over rows that are added one at a time; values that are not finite do not count.
class ColumnMeans {
 public:
  explicit ColumnMeans(std::int64_t columns) : sum_(static_cast<std::size_t>(columns), 0), count_(sum_.size(), 0) {}

  /// \param row [columns]
  template <typename T>
  void add(const T* row) {
    const std::size_t n = sum_.size();
    double* sum = sum_.data();
    double* count = count_.data();
    for (std::size_t i = 0; i < n; ++i) {  // without a branch, so that it is vectorised
      const auto value = static_cast<double>(row[i]);
      const bool known = std::fabs(value) <= std::numeric_limits<double>::max();
      sum[i] += known ? value : 0;
      count[i] += known ? 1 : 0;
    }
  }
  /// NaN for a column without values.
  [[nodiscard]] std::vector<double> take() const {
    std::vector<double> mean(sum_.size(), std::numeric_limits<double>::quiet_NaN());
    for (std::size_t i = 0; i < mean.size(); ++i) {
      if (count_[i] > 0) mean[i] = sum_[i] / count_[i];
    }
    return mean;
  }

 private:
  std::vector<double> sum_;
  std::vector<double> count_;  ///< whole numbers, as wide as the sums
};

}  // namespace cdrzoo
