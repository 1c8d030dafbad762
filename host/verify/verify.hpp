// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cdrzoo::verify {

struct VerifyOptions {
  std::vector<std::string> models;  ///< empty: all of the plugin
  std::vector<std::string> checks;  ///< empty: all
  double timeout_s = 120;           ///< of one check
};

/// One check on one model.
struct Result {
  std::string model, check, promise;
  std::string verdict;  ///< pass | fail | skip | info
  std::string detail;
  double seconds = 0;
};

struct Report {
  std::filesystem::path plugin;
  std::vector<Result> results;
  [[nodiscard]] bool passed() const;
  [[nodiscard]] std::size_t count(const std::string& verdict) const;
};

/// Runs the checks one after the other, each in its own process: a crash, a hang or an exit is a failing check.
/// A plugin that cannot be loaded is one failing check "load". \p on_result sees every result as soon as it is there.
/// \throws UsageError for unknown models and checks, IoError where the checking program is missing.
[[nodiscard]] Report verify_plugin(const std::filesystem::path& plugin, const VerifyOptions& options,
                                   const std::function<void(const Result&)>& on_result = nullptr);

[[nodiscard]] nlohmann::json to_json(const Report& report);

}  // namespace cdrzoo::verify
