// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cdrzoo/plugin.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "worker/state_file.hpp"

namespace cdrzoo::worker {

/// What the worker tells while it runs. Thread-safe; a line is written whole.
///   stages and progress: JSON, one object per line, to the runner's pipe
///     {"stage":"fit"}   {"stage":"fit","phase":"epoch","done":3,"total":10,"metrics":{"loss":0.5}}
///   log messages: "[info] text" on stderr, which the runner keeps as the cell's log
class EventSink {
 public:
  /// \param fd an open descriptor, or -1 for none
  explicit EventSink(int fd) : fd_(fd) {}
  void stage(const std::string& stage);
  /// At most ten a second, except for a new phase and the end of one.
  void progress(const std::string& phase, std::uint64_t done, std::uint64_t total, const nlohmann::json& metrics);
  void log(const char* level, const std::string& message);

 private:
  void write(const nlohmann::json& event);  // with mutex_ held

  std::mutex mutex_;
  int fd_;
  std::string stage_, phase_;
  std::chrono::steady_clock::time_point last_progress_;
};

/// What is the same for all operations of a process.
struct CallSettings {
  std::uint64_t seed = 0;
  std::int32_t threads = 1;
  std::int32_t device_kind = CDRZOO_DEVICE_CPU;
  std::int32_t device_index = 0;
  std::uint64_t deadline_ns = 0;
  std::uint64_t memory_bytes = 0;
  bool determinism = false;
  std::filesystem::path scratch;  ///< its subfolders are the operations' scratch folders
  std::map<std::string, std::filesystem::path> assets;
  std::uint32_t minor = 0;
  const std::atomic<bool>* cancel = nullptr;  ///< set by a signal handler
};

[[nodiscard]] std::uint64_t monotonic_ns();

/// What a plugin reported through fail(). The first report wins; later ones are appended to the message as context.
struct Failure {
  cdrzoo_status code = CDRZOO_OK;
  std::string message, where;
};

/// One call of one operation: owns the call object and all that it lends. Destroy it after the operation has returned.
class Operation {
 public:
  /// \param name becomes the scratch folder's name
  Operation(const CallSettings& settings, EventSink& events, const std::string& name);
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  ~Operation();

  [[nodiscard]] cdrzoo_call* call() { return &call_; }
  [[nodiscard]] Failure failure() const;

 private:
  struct Services;  // the functions of the table
  struct Asset {
    std::shared_ptr<const void> mapping;
    std::string path;
    std::uint64_t bytes = 0;
    std::unique_ptr<ArchiveReader> tensors;
  };

  const CallSettings& settings_;
  EventSink& events_;
  mutable std::mutex mutex_;
  Failure failure_;
  std::vector<void*> arena_;
  std::map<std::string, Asset> assets_;
  std::string scratch_;
  cdrzoo_host host_{};
  cdrzoo_call call_{};
};

}  // namespace cdrzoo::worker
