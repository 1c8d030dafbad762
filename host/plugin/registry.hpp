// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "plugin/card.hpp"

namespace cdrzoo {

/// A model that a plugin file offers.
struct ModelEntry {
  std::filesystem::path plugin;  ///< absolute
  std::string plugin_hash;       ///< SHA-256 of the file
  Card card;
};

/// A file that was found and could not be used, and why. Never swallowed.
struct PluginFailure {
  std::filesystem::path plugin;
  std::string reason;
};

struct Registry {
  std::vector<ModelEntry> models;  ///< sorted by id
  std::vector<PluginFailure> failures;

  /// \throws UsageError that names the known ids.
  [[nodiscard]] const ModelEntry& find(const std::string& model_id) const;
};

/// The folders that are searched: $CDRZOO_PLUGIN_PATH (colon separated), then the plugin folder next to the program
/// (build tree or installation).
[[nodiscard]] std::vector<std::filesystem::path> plugin_search_path();

/// Describes every *.so of the folders (or a single file), each in a throw-away worker process; cards are cached under
/// $XDG_CACHE_HOME/cdrzoo by the file's hash.
[[nodiscard]] Registry scan_plugins(const std::vector<std::filesystem::path>& folders_or_files);

}  // namespace cdrzoo
