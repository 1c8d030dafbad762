// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace cdrzoo {

/// How a child process ended and what it printed.
struct ProcessResult {
  int exit_code = -1;      ///< if it exited
  int signal = 0;          ///< otherwise the signal that ended it
  bool timed_out = false;  ///< it was killed (with its children) after the time limit
  std::string out, err;    ///< at most 4 MiB each; the rest is read and dropped

  [[nodiscard]] bool ok() const { return exit_code == 0; }
  /// "exited with 3", "was killed by signal 11 (Segmentation fault)", "gave no answer within 20 s".
  [[nodiscard]] std::string how_it_ended(double timeout_s) const;
};

/// Runs a program without a shell in a process group of its own, with /dev/null as input, and waits for it.
/// \p environment: "NAME=value" entries that replace those of this process.
/// \throws IoError if it cannot be started.
[[nodiscard]] ProcessResult run_process(const std::vector<std::string>& argv, double timeout_s,
                                        const std::vector<std::string>& environment = {});

/// This program's own file.
[[nodiscard]] std::filesystem::path this_program();

/// cdrzoo-worker: $CDRZOO_WORKER if set, else next to this program, else in ../bin (programs of the build tree).
/// \throws IoError if there is none.
[[nodiscard]] std::filesystem::path worker_program();

}  // namespace cdrzoo
