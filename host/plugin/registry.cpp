// SPDX-License-Identifier: Apache-2.0
#include "plugin/registry.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "base/log.hpp"
#include "plugin/process.hpp"

namespace cdrzoo {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double kDescribeTimeout_s = 60;  // loading a large library from a cold disk
constexpr unsigned kMaxScanners = 4;

/// What the scan of one file gave: models, or a reason.
struct Scanned {
  std::vector<ModelEntry> models;
  std::string reason;
};

fs::path cache_folder() {
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  if (xdg != nullptr && *xdg == '/') return fs::path(xdg) / "cdrzoo";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return fs::path(home) / ".cache" / "cdrzoo";
  return {};
}

/// Cards are cached per plugin file, version of the host and epoch: another host may refuse what this one took.
fs::path cache_file(const std::string& plugin_hash) {
  const auto folder = cache_folder();
  if (folder.empty()) return {};
  return folder / "cards" / (plugin_hash + "-" CDRZOO_VERSION ".json");
}

std::vector<ModelEntry> entries(const json& description, const fs::path& plugin, const std::string& hash) {
  std::vector<ModelEntry> out;
  for (const auto& model : description.at("models")) {
    ModelEntry entry;
    entry.plugin = plugin;
    entry.plugin_hash = hash;
    entry.card =
        Card::parse(model.at("card").dump(), "card of " + model.at("id").get<std::string>() + " in " + plugin.string());
    out.push_back(std::move(entry));
  }
  if (out.empty()) throw PluginError(plugin.string() + " offers no models");
  return out;
}

/// Empty if there is no usable cache entry; a damaged one is as good as none.
std::vector<ModelEntry> from_cache(const fs::path& plugin, const std::string& hash) {
  const auto path = cache_file(hash);
  std::ifstream file(path);
  if (path.empty() || !file) return {};
  try {
    return entries(json::parse(file), plugin, hash);
  } catch (const std::exception& e) {
    log::debug("ignoring the damaged cache file " + path.string() + ": " + e.what());
    return {};
  }
}

/// Best effort: a cache that cannot be written costs time, nothing else.
void to_cache(const std::string& hash, const std::string& description) {
  const auto path = cache_file(hash);
  if (path.empty()) return;
  try {
    create_folders(path.parent_path());
    write_file_atomically(path, description);
  } catch (const IoError& e) {
    log::debug(std::string("not cached: ") + e.what());
  }
}

std::string last_line(const std::string& text) {
  std::string last;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) last = line;
  }
  return last.size() > 1000 ? last.substr(0, 997) + "..." : last;
}

Scanned scan_file(const fs::path& plugin) {
  Scanned result;
  try {
    const std::string hash = sha256_file_hex(plugin);
    result.models = from_cache(plugin, hash);
    if (!result.models.empty()) return result;
    const auto child = run_process({worker_program().string(), "describe", plugin.string()}, kDescribeTimeout_s);
    if (!child.ok() || child.out.empty()) {
      // Exit 1 with a sentence is the worker's own refusal; anything else is the plugin taking the process down.
      const std::string said = last_line(child.err);
      result.reason = child.exit_code == 1 && !child.timed_out && !said.empty()
                          ? said
                          : plugin.string() + ": the process that loaded it " + child.how_it_ended(kDescribeTimeout_s) +
                                (child.ok() ? " without an answer" : "") +
                                (said.empty() ? "" : "; its last words: " + said);
      return result;
    }
    result.models = entries(json::parse(child.out), plugin, hash);
    to_cache(hash, child.out);
  } catch (const json::exception& e) {
    result.reason = plugin.string() + ": its description is no valid JSON: " + words_of(e);
  } catch (const Error& e) {
    result.reason = e.what();
  }
  return result;
}

}  // namespace

const ModelEntry& Registry::find(const std::string& model_id) const {
  std::string known;
  for (const auto& model : models) {
    if (model.card.id == model_id) return model;
    known += (known.empty() ? "" : ", ") + model.card.id;
  }
  std::string hint;
  if (!failures.empty()) {
    hint = "; " + std::to_string(failures.size()) + " plugin file(s) could not be used (cdrzoo plugins says why)";
  }
  throw UsageError("no model \"" + model_id + "\"; known: " + (known.empty() ? "(none)" : known) + hint);
}

std::vector<fs::path> plugin_search_path() {
  std::vector<fs::path> out;
  if (const char* given = std::getenv("CDRZOO_PLUGIN_PATH"); given != nullptr) {
    std::istringstream folders(given);
    for (std::string folder; std::getline(folders, folder, ':');) {
      if (!folder.empty()) out.push_back(fs::absolute(folder));
    }
  }
  const auto prefix = this_program().parent_path().parent_path();
  for (const char* library : {"lib", "lib64", CDRZOO_LIBDIR}) {
    const auto folder = prefix / library / "cdrzoo" / "plugins";
    if (fs::is_directory(folder) && std::find(out.begin(), out.end(), folder) == out.end()) out.push_back(folder);
  }
  return out;
}

Registry scan_plugins(const std::vector<fs::path>& folders_or_files) {
  Registry registry;
  std::vector<fs::path> files;
  const auto add = [&](const fs::path& file) {
    std::error_code failed;
    const auto absolute = fs::canonical(file, failed);
    if (failed)
      registry.failures.push_back({file, file.string() + " cannot be opened: " + failed.message()});
    else if (std::find(files.begin(), files.end(), absolute) == files.end())
      files.push_back(absolute);
  };
  for (const auto& place : folders_or_files) {
    std::error_code failed;
    if (!fs::is_directory(place, failed)) {
      add(place);
      continue;
    }
    std::vector<fs::path> found;
    for (fs::directory_iterator it(place, failed), end; !failed && it != end; it.increment(failed)) {
      if (it->path().extension() == ".so" && !it->is_directory()) found.push_back(it->path());
    }
    if (failed) registry.failures.push_back({place, place.string() + " cannot be read: " + failed.message()});
    std::sort(found.begin(), found.end());
    for (const auto& file : found) add(file);
  }

  std::vector<Scanned> scanned(files.size());
  std::atomic<std::size_t> next{0};
  const auto scan_some = [&] {
    for (std::size_t i = next++; i < files.size(); i = next++) scanned[i] = scan_file(files[i]);
  };
  std::vector<std::thread> scanners;
  const auto n_scanners =
      std::min<std::size_t>({files.size(), kMaxScanners, std::max(1U, std::thread::hardware_concurrency())});
  for (std::size_t i = 1; i < n_scanners; ++i) scanners.emplace_back(scan_some);
  scan_some();
  for (auto& thread : scanners) thread.join();

  std::map<std::string, fs::path> owners;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (!scanned[i].reason.empty()) registry.failures.push_back({files[i], scanned[i].reason});
    for (auto& model : scanned[i].models) {
      const auto [owner, is_new] = owners.emplace(model.card.id, files[i]);
      if (is_new) {
        registry.models.push_back(std::move(model));
      } else {
        registry.failures.push_back({files[i], files[i].string() + ": its model " + model.card.id +
                                                   " is hidden by the one in " + owner->second.string()});
      }
    }
  }
  std::sort(registry.models.begin(), registry.models.end(),
            [](const ModelEntry& a, const ModelEntry& b) { return a.card.id < b.card.id; });
  return registry;
}

}  // namespace cdrzoo
