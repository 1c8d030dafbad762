// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "split/split.hpp"

namespace cdrzoo {

/// Layouts of other programs; share/doc/export.md says which files each has.
enum class ExportFormat { csv, h5ad, drevalpy, improve };

/// \throws UsageError naming the known ones.
[[nodiscard]] ExportFormat export_format_of(const std::string& name);

/// A split to write with the data, and the word for it in file names.
struct NamedSplit {
  std::string name;
  Split split;
};

/// Writes the data set and the splits as files below \p folder, which must be absent or empty. The folder gets its name
/// when everything is in it; after an error nothing stays behind. Returns one sentence for each thing that was written
/// and for each that the layout cannot hold.
///
/// csv and h5ad come with a recipe.toml that builds the same data set again; that is tried here, and a recipe that
/// would not is left out with a sentence.
/// \throws UsageError if the folder is in use; DataError if the layout cannot hold the data; IoError.
[[nodiscard]] std::vector<std::string> export_dataset(const Dataset& dataset, ExportFormat format,
                                                      const std::vector<NamedSplit>& splits,
                                                      const std::filesystem::path& folder);

}  // namespace cdrzoo
