// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace cdrzoo::worker {

/// How a task ended; status.json on disk.
struct Status {
  /// ok | numeric | timeout | oom | contract_violation | error | cancelled
  std::string status = "ok";
  std::string message;         ///< one sentence for a failure
  std::string where;           ///< the plugin's own words for the step, may be empty
  std::string stage = "load";  ///< load | create | fit | predict | info | save | write: what ran last
  nlohmann::json timing = nlohmann::json::object();
  std::int64_t n_parameters = -1;  ///< -1 = not known
  nlohmann::json warnings = nlohmann::json::array();

  [[nodiscard]] nlohmann::json to_json() const;
};

struct RunTaskOptions {
  std::filesystem::path task;
  std::filesystem::path out;                  ///< created; receives status.json, predictions.h5, model.safetensors
  int progress_fd = -1;                       ///< where events go, see EventSink
  const std::atomic<bool>* cancel = nullptr;  ///< set by a signal handler
};

/// Runs one task: create, fit, predict, save. Always writes status.json, also when it fails, unless the process dies;
/// the runner sees that. \throws IoError if even status.json cannot be written.
Status run_task(const RunTaskOptions& options);

}  // namespace cdrzoo::worker
