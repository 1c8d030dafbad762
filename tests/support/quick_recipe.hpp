// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>

#include "import/recipe.hpp"

namespace cdrzoo::test {

/// A shipped recipe without the molecules' conformers: they take half a minute, and chemistry has tests of its own.
inline Recipe without_conformers(const std::filesystem::path& file) {
  Recipe recipe = load_recipe(file);
  auto& features = recipe.drugs.features;
  features.erase(std::remove(features.begin(), features.end(), "graph_mat"), features.end());
  return recipe;
}

}  // namespace cdrzoo::test
