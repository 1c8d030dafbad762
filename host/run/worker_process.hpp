// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace cdrzoo {

/// One line of a worker's progress pipe: {"stage": "fit"} when an operation begins, and then
/// {"stage": "fit", "phase": "epoch", "done": 3, "total": 10}.
struct WorkerProgress {
  std::string stage;  ///< load | create | fit | predict | save | ...: the operation that runs
  std::string phase;  ///< the plugin's word for what it counts, may be empty
  std::uint64_t done = 0;
  std::uint64_t total = 0;  ///< 0 = not known
};

/// What to start and what it may use.
struct WorkerCommand {
  std::filesystem::path program;
  std::vector<std::string> arguments;    ///< without argv[0]; "--progress-fd N" is appended
  std::vector<std::string> environment;  ///< "NAME=value", all of it
  std::filesystem::path working_folder;
  std::filesystem::path log;                ///< stdout and stderr of the worker and its children
  std::uint64_t max_log_bytes = 4U << 20U;  ///< beyond it the middle is left out
  double timeout_s = 0;                     ///< wall clock; 0 = none
  double grace_s = 2;                       ///< from SIGTERM to SIGKILL
  std::uint64_t memory_bytes = 0;           ///< of the worker and its children; 0 = no limit
  /// With memory_bytes: also a hard limit, RLIMIT_DATA. Not for GPU drivers, which reserve far more than they use.
  bool limit_data = true;
};

/// How a worker ended.
struct WorkerEnd {
  enum class Reason {
    exited,     ///< by itself, see exit_code
    signalled,  ///< by a signal that was not sent from here, see signal
    timeout,    ///< stopped from here
    memory,     ///< stopped from here, or by the kernel for want of memory
    cancelled,  ///< stopped from here because the caller asked
  };
  Reason reason = Reason::exited;
  int exit_code = 0;
  int signal = 0;
  bool killed = false;  ///< it did not follow SIGTERM within the grace period
  WorkerProgress last;  ///< last line of the progress pipe: where it was
  double wall_s = 0;
  std::uint64_t peak_memory_bytes = 0;  ///< as sampled; private and shared memory, mapped files do not count
  std::uint64_t log_bytes = 0;          ///< what it printed, also what was left out
  std::string last_words;               ///< last line that it printed, printable characters only
  int strays = 0;                       ///< processes that it left behind, killed
};

/// Asks a running worker to stop; may be raised from any thread, lowered by nobody.
enum class Stop { no = 0, politely = 1, at_once = 2 };

/// Runs a program in its own process group and waits for it. The group and whatever escaped from it by setsid() is gone
/// when this returns. May be called by several threads at once, each thread's own worker dies with that thread
/// (if the program asks for it, as cdrzoo-worker does).
/// \throws IoError if the program cannot be started.
[[nodiscard]] WorkerEnd run_worker(const WorkerCommand& command, const std::atomic<Stop>& stop,
                                   const std::function<void(const WorkerProgress&)>& on_progress);

/// "SIGSEGV (Segmentation fault)"
[[nodiscard]] std::string signal_name(int signal);

}  // namespace cdrzoo
