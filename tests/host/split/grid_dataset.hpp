// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "support/tiny_dataset.hpp"

namespace cdrzoo::test {

/// Two-digit names sort as numbers do.
inline std::string numbered(const std::string& prefix, int i) {
  return prefix + (i < 10 ? "0" : "") + std::to_string(i);
}

/// 52 cell lines x 24 drugs, 4 of 5 measured, some twice, and 16 patients with two labelled drugs each.
/// Traps: lines 50 and 51 are one patient's; drugs 0 and 1 are one structure; every 13th line has no tissue; every
/// third drug is acyclic; line 0 is known in both domains; 8 patients have no
/// response, two of them are second samples of labelled ones.
inline TinyDataset grid() {
  TinyDataset data({"lines", "patients"});
  for (int i = 0; i < 52; ++i) {
    data.sample(numbered("s", i), i % 13 == 12 ? "" : numbered("tissue ", i % 13), i >= 50 ? "same" : "");
  }
  for (int d = 0; d < 24; ++d) {
    data.drug(numbered("d", d), d < 2 ? "structure" : "", d % 3 == 2 ? "" : numbered("scaffold ", d % 10 / 2));
  }
  for (int i = 0; i < 52; ++i) {
    for (int d = 0; d < 24; ++d) {
      if ((i * 7 + d * 3) % 5 == 0) continue;
      data.record(numbered("s", i), numbered("d", d), 0.1 * i - 0.2 * d, (i + d) % 2);
      if ((i + d) % 17 == 0) data.record(numbered("s", i), numbered("d", d), 0.1 * i - 0.2 * d + 0.05, (i + d) % 2, 1);
    }
  }
  for (int p = 0; p < 24; ++p) {
    // Patients 22 and 23 have no response and belong to patients 0 and 1.
    data.sample(numbered("p", p), numbered("tissue ", p % 13), p >= 22 ? numbered("p", p - 22) : "", 1);
    if (p >= 16) continue;
    data.record(numbered("p", p), numbered("d", p), std::numeric_limits<double>::quiet_NaN(), p % 2);
    data.record(numbered("p", p), numbered("d", p + 1), std::numeric_limits<double>::quiet_NaN(), 1 - p % 2);
  }
  data.sample("x again", "tissue 00", "s00", 1);  // a cell line that the other domain measures too
  data.record("x again", "d05", 0.0, 1);
  return data;
}

/// Rows of one domain.
inline std::vector<std::int32_t> rows_of(const Dataset& dataset, std::int32_t domain) {
  std::vector<std::int32_t> rows;
  for (const auto row : all_rows(dataset)) {
    const auto sample = static_cast<std::size_t>(dataset.responses.sample[static_cast<std::size_t>(row)]);
    if (dataset.samples.domain[sample] == domain) rows.push_back(row);
  }
  return rows;
}

}  // namespace cdrzoo::test
