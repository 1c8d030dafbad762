// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "base/row_matrix.hpp"

namespace cdrzoo {

/// How a data set keeps profiles. automatic: sparse where at most a third of the values are not 0 and none is missing
/// (a stored value of a sparse row costs twice that of a dense one).
enum class ProfileStorage { automatic, dense, sparse };

/// Fills sparse rows with values that come in any order, seen twice: counted, then put. So the rows take what they need
/// and no more.
class SparseFiller {
 public:
  SparseFiller(std::size_t rows, std::size_t cols) : count_(rows, 0), cols_(cols) {}

  void count(std::size_t row, float value) {
    if (SparseRows::keeps(value)) ++count_[row];
    if (std::isnan(value)) ++missing_;
  }
  [[nodiscard]] std::int64_t missing() const { return missing_; }
  [[nodiscard]] double share() const {
    std::int64_t stored = 0;
    for (const auto n : count_) stored += n;
    return static_cast<double>(stored) / (static_cast<double>(count_.size()) * static_cast<double>(cols_));
  }
  /// Is it worth it?
  [[nodiscard]] bool is_sparse() const { return missing_ == 0 && share() <= 1.0 / 3.0; }

  /// Appends the rows to \p to, which must not change until finish().
  void begin(SparseRows& to) {
    to_ = &to;
    first_ = to.begin.size() - 1;
    to.begin.reserve(to.begin.size() + count_.size());
    for (auto& n : count_) {
      to.begin.push_back(to.begin.back() + n);
      n = to.begin[to.begin.size() - 2];  // from here on: where the row's next value goes
    }
    to.column.resize(static_cast<std::size_t>(to.begin.back()));
    to.value.resize(static_cast<std::size_t>(to.begin.back()));
  }
  /// The same values as were counted, each cell of the matrix once at the most.
  void put(std::size_t row, std::size_t col, float value) {
    if (!SparseRows::keeps(value)) return;
    const auto k = static_cast<std::size_t>(count_[row]++);
    to_->column[k] = static_cast<std::int32_t>(col);
    to_->value[k] = value;
  }
  /// Puts the columns of each row in order.
  void finish() {
    std::vector<std::pair<std::int32_t, float>> row;
    for (std::size_t i = first_; i + 1 < to_->begin.size(); ++i) {
      const auto begin = static_cast<std::size_t>(to_->begin[i]);
      const auto end = static_cast<std::size_t>(to_->begin[i + 1]);
      const auto columns = to_->column.begin();
      if (std::is_sorted(columns + static_cast<std::ptrdiff_t>(begin), columns + static_cast<std::ptrdiff_t>(end)))
        continue;
      row.clear();
      for (std::size_t k = begin; k < end; ++k) row.emplace_back(to_->column[k], to_->value[k]);
      std::sort(row.begin(), row.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      for (std::size_t k = begin; k < end; ++k) std::tie(to_->column[k], to_->value[k]) = row[k - begin];
    }
  }

 private:
  std::vector<std::int64_t> count_;  // per row its values; once filling has begun, the place of the next
  std::size_t cols_;
  std::int64_t missing_ = 0;
  SparseRows* to_ = nullptr;
  std::size_t first_ = 0;
};

}  // namespace cdrzoo
