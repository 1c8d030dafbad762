// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "report/report.hpp"
#include "store/store.hpp"

namespace cdrzoo {

/// The columns that say which cell a result is of.
[[nodiscard]] ResultRow row_of(const Record& record, const std::string& run_id);

/// The one line of a cell that has no scores.
[[nodiscard]] ResultRow failure_row(const Record& record, const std::string& run_id);

/// Appends results to a table, with the columns of one cell in front.
class ResultSink {
 public:
  explicit ResultSink(std::vector<ResultRow>& out) : out_(out) {}
  ResultRow frame;  ///< row_of the cell whose results follow

  void add(const std::string& level, const std::string& metric, double value, const std::string& flags, std::int64_t n,
           std::int64_t valid = 0, std::int64_t total = 0);
  [[nodiscard]] std::vector<ResultRow>& rows() { return out_; }

 private:
  std::vector<ResultRow>& out_;
};

/// Task "expression": appends the results of the cells of one fold, in their order, failed ones included. The unit is
/// the condition (metrics/perturbation.hpp). \throws DataError if two cells disagree about the true profile of a
/// condition.
void score_conditions(const Store& store, const std::vector<const Record*>& cells, const std::string& run_id,
                      std::vector<ResultRow>& out);

}  // namespace cdrzoo
