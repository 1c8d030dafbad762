// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "data/dataset_writer.hpp"

namespace cdrzoo {

struct PerturbationDemoSpec {
  std::uint64_t seed = 0;
  int contexts = 8;
  int perturbations = 24;
  int genes = 100;
  int cells = 0;             ///< of each condition and of the controls of each context; 0 = one pseudobulk each
  bool sparse = false;       ///< of cells: most values are 0, and profiles are stored so
  double interaction = 0.3;  ///< how much a context changes what a perturbation does; 0 = effects are additive
  double noise = 0.1;        ///< deviation of one profile's gene; of a cell's, five times as much
};

/// Makes a demo of perturbation profiles alone: contexts under single perturbations at two doses, and combinations.
/// share/doc/data.md states the equations. The same spec gives the same bits on every machine.
/// \throws UsageError for sizes that make no data set.
[[nodiscard]] DatasetContent make_perturbation_demo(const PerturbationDemoSpec& spec);

}  // namespace cdrzoo
