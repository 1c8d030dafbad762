// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "data/dataset_writer.hpp"

namespace cdrzoo {

struct DemoSpec {
  std::uint64_t seed = 0;
  int lines = 120;
  int patients = 60;
  int drugs = 24;
  int genes = 100;
  bool conformers = false;  ///< adds the block "graph_mat", which takes a second
};

/// Number of drug structures that the generator knows.
[[nodiscard]] int demo_drug_limit();

/// Makes the demo data set: cell lines with ln IC50, patients with responder labels behind a planted domain shift, and
/// perturbation profiles. share/doc/data.md states the equations. The same spec gives the same bits on every machine.
/// \throws UsageError for sizes that make no data set.
[[nodiscard]] DatasetContent make_demo(const DemoSpec& spec);

}  // namespace cdrzoo
