// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cdrzoo/plugin.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "plugin/card.hpp"

namespace cdrzoo {

/// One model of a loaded plugin.
struct LoadedModel {
  std::string id;
  Card card;
  cdrzoo_ops ops;  ///< the host's own full table: every slot is callable, optional ones that the plugin lacks as well
  bool has_embed = false;
};

/// A plugin that was loaded, negotiated with and checked. It stays in the process for good.
struct LoadedPlugin {
  std::filesystem::path path;  ///< absolute
  std::uint32_t minor = 0;     ///< spoken with this plugin
  std::uint32_t built_minor = 0;
  std::uint32_t needs_minor = 0;
  std::vector<LoadedModel> models;

  /// \throws UsageError that names the ids of this plugin.
  [[nodiscard]] const LoadedModel& find(const std::string& model_id) const;
};

/// The minors that this host can act as.
struct MinorRange {
  std::uint32_t min = 0;
  std::uint32_t max = CDRZOO_ABI_MINOR;
};

/// Loads, negotiates and checks. Runs foreign code (constructors, the entry function): only for worker processes.
/// The library is never unloaded, since threads and exit handlers of its dependencies may outlive every use.
/// \throws PluginError, one sentence: no library, no or another entry symbol, undefined symbols, no common minor, a
/// table that lacks a mandatory operation, two models with one id, a card that is broken or belongs to another model.
[[nodiscard]] const LoadedPlugin& load_plugin(const std::filesystem::path& path);

/// What load_plugin does after the symbol has been found; apart so that it can be tested with entry functions in the
/// same program and with other minors. \p where names the plugin in errors.
[[nodiscard]] LoadedPlugin negotiate(cdrzoo_plugin_entry entry, const std::string& where,
                                     const std::filesystem::path& plugin_dir, MinorRange minors = {});

/// {"models":[{"id":..,"card":{..}},..],"minor":..,"built_minor":..}
[[nodiscard]] nlohmann::json describe(const LoadedPlugin& plugin);
[[nodiscard]] std::string describe_plugin_json(const std::filesystem::path& path);

/// `cdrzoo-worker describe`: prints describe_plugin_json as one line on stdout and exits 0, or one sentence on stderr
/// and 1. What the plugin prints while it is loaded goes to stderr. Leaves without running the exit handlers of
/// libraries that the plugin brought.
[[noreturn]] void describe_and_exit(const std::filesystem::path& path);

/// "E_STATE (-7)"; unknown codes keep their number.
[[nodiscard]] std::string status_text(cdrzoo_status status);

}  // namespace cdrzoo
