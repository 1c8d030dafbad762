// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "run/worker_process.hpp"

namespace cdrzoo {

/// Estimates what is left of a run from the cells that ended: cells of one model take about the same time.
class EtaEstimator {
 public:
  void add(const std::string& model, double seconds);
  /// Wall seconds for \p remaining cells (model of each) on \p jobs workers, less \p elapsed_s that the running ones (a
  /// part of \p remaining) have had already. Negative if nothing is known yet.
  [[nodiscard]] double estimate(const std::vector<std::string>& remaining, double elapsed_s, int jobs) const;

 private:
  struct Sum {
    double seconds = 0;
    int count = 0;
  };
  std::map<std::string, Sum> models_;
  Sum all_;
};

/// "0.4 s", "12 s", "3 min 20 s", "2 h 5 min".
[[nodiscard]] std::string format_duration(double seconds);

/// Shows a run on a stream: one line that is drawn again and again on a terminal, else one plain line per event.
/// All members may be called by several threads.
class ProgressDisplay {
 public:
  enum class Mode { none, lines, bar };
  /// \p mode: auto | bar | lines | none. auto is a bar if \p stream is a terminal. \throws UsageError for another word.
  [[nodiscard]] static Mode parse_mode(const std::string& mode, std::FILE* stream);

  /// \param models the model of every cell that will run, in order
  ProgressDisplay(Mode mode, std::FILE* stream, std::vector<std::string> models, int jobs);

  void started(int slot, const std::string& label, const std::string& model);
  void progressed(int slot, const WorkerProgress& progress);
  /// \p status of the record; \p message is printed if it is not "ok".
  void ended(int slot, const std::string& status, const std::string& message, double seconds);
  /// Another run finished a cell of this model that was waiting here.
  void elsewhere(const std::string& model, bool ok);
  /// The cell of this slot is given up (interrupted).
  void dropped(int slot);
  /// A line of its own, above the bar.
  void note(const std::string& text);
  /// Draws the bar again if it is time to.
  void tick();
  /// Removes the bar.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  struct Slot {
    std::string label, model;
    WorkerProgress progress;
    Clock::time_point start;
  };
  void draw();
  void clear_bar();
  void line(const std::string& text);
  [[nodiscard]] std::string eta() const;

  std::mutex mutex_;
  Mode mode_;
  std::FILE* stream_;
  int total_, jobs_;
  int done_ = 0, failed_ = 0;
  std::vector<std::string> waiting_;  ///< models of the cells that have not started
  std::map<int, Slot> running_;
  EtaEstimator estimator_;
  bool drawn_ = false;
};

}  // namespace cdrzoo
