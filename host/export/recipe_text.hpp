// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "export/layouts.hpp"

namespace cdrzoo {

/// Where the matrices of an export are, for its recipe. The tables are those of write_tables.
struct RecipeFiles {
  std::vector<std::string> expression;  ///< one per domain
  std::string sample_id;                ///< column of the matrices; empty = the file's own index
  std::string profiles;                 ///< of the perturbations
  std::string profile_id;
};

/// A recipe that builds the data set again from the tables and matrices of an export.
[[nodiscard]] std::string recipe_of(const Dataset& dataset, const RecipeFiles& files);

/// Writes recipe.toml and builds from it. If that does not give the same data set, there is no recipe.toml but a
/// sentence that says why.
void write_recipe(const Dataset& dataset, const RecipeFiles& files, const std::filesystem::path& folder,
                  Sentences& said);

/// Empty if both hold the same, provenance aside; otherwise what differs first. NaN equals NaN.
[[nodiscard]] std::string first_difference(const Dataset& a, const Dataset& b);

}  // namespace cdrzoo
