// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>

#include "base/array_view.hpp"

namespace cdrzoo {

/// Compensated sum (Neumaier 1974): the error does not grow with the number of terms, whatever their order of size.
class Sum {
 public:
  void add(double x) {
    const double t = sum_ + x;
    correction_ += std::fabs(sum_) >= std::fabs(x) ? (sum_ - t) + x : (x - t) + sum_;
    sum_ = t;
  }
  [[nodiscard]] double value() const { return sum_ + correction_; }

 private:
  double sum_ = 0;
  double correction_ = 0;
};

/// Mean of \p x; NaN for no values.
[[nodiscard]] inline double mean_of(ArrayView<double> x) {
  Sum sum;
  for (const double v : x) sum.add(v);
  return sum.value() / static_cast<double>(x.size());
}

}  // namespace cdrzoo
