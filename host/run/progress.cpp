// SPDX-License-Identifier: Apache-2.0
#include "run/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/error.hpp"

namespace cdrzoo {

void EtaEstimator::add(const std::string& model, double seconds) {
  for (Sum* sum : {&models_[model], &all_}) {
    sum->seconds += seconds;
    ++sum->count;
  }
}

double EtaEstimator::estimate(const std::vector<std::string>& remaining, double elapsed_s, int jobs) const {
  if (remaining.empty()) return 0;
  if (all_.count == 0) return -1;
  double work = 0;
  for (const auto& model : remaining) {
    const auto known = models_.find(model);
    const Sum& sum = known == models_.end() ? all_ : known->second;
    work += sum.seconds / sum.count;
  }
  const auto workers = std::min<std::size_t>(remaining.size(), static_cast<std::size_t>(std::max(jobs, 1)));
  return std::max(work - elapsed_s, 0.0) / static_cast<double>(workers);
}

std::string format_duration(double seconds) {
  std::array<char, 64> text{};
  if (seconds < 9.95) {
    std::snprintf(text.data(), text.size(), "%.1f s", std::max(seconds, 0.0));
  } else {
    const long long s = std::llround(seconds);
    if (s < 60) {
      std::snprintf(text.data(), text.size(), "%lld s", s);
    } else if (s < 3600) {
      std::snprintf(text.data(), text.size(), "%lld min %lld s", s / 60, s % 60);
    } else {
      std::snprintf(text.data(), text.size(), "%lld h %lld min", s / 3600, s / 60 % 60);
    }
  }
  return text.data();
}

ProgressDisplay::Mode ProgressDisplay::parse_mode(const std::string& mode, std::FILE* stream) {
  if (mode == "none") return Mode::none;
  if (mode == "lines") return Mode::lines;
  if (mode == "bar") return Mode::bar;
  if (mode == "auto") return ::isatty(::fileno(stream)) == 1 ? Mode::bar : Mode::lines;
  throw UsageError("\"" + mode + "\" is no kind of progress; known are auto, bar, lines, none");
}

ProgressDisplay::ProgressDisplay(Mode mode, std::FILE* stream, std::vector<std::string> models, int jobs)
    : mode_(mode), stream_(stream), total_(static_cast<int>(models.size())), jobs_(jobs), waiting_(std::move(models)) {}

void ProgressDisplay::started(int slot, const std::string& label, const std::string& model) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = std::find(waiting_.begin(), waiting_.end(), model);
  if (found != waiting_.end()) waiting_.erase(found);
  running_[slot] = {label, model, {}, Clock::now()};
  draw();
}

void ProgressDisplay::progressed(int slot, const WorkerProgress& progress) {
  const std::lock_guard<std::mutex> lock(mutex_);
  running_[slot].progress = progress;  // drawn at the next tick
}

void ProgressDisplay::ended(int slot, const std::string& status, const std::string& message, double seconds) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Slot cell = running_[slot];
  running_.erase(slot);
  ++done_;
  const bool ok = status == "ok";
  if (!ok) ++failed_;
  estimator_.add(cell.model, seconds);
  const std::string count = "[" + std::to_string(done_) + "/" + std::to_string(total_) + "] ";
  const std::string left = done_ < total_ ? ", " + eta() : "";
  if (mode_ == Mode::lines && ok) {
    line(count + cell.label + ": ok, " + format_duration(seconds) + left);
  } else if (!ok) {
    line(count + cell.label + ": " + status + ", " + format_duration(seconds) + left + "\n" + message);
  }
  draw();
}

void ProgressDisplay::elsewhere(const std::string& model, bool ok) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = std::find(waiting_.begin(), waiting_.end(), model);
  if (found != waiting_.end()) waiting_.erase(found);
  ++done_;
  if (!ok) ++failed_;
  if (mode_ == Mode::lines) {
    line("[" + std::to_string(done_) + "/" + std::to_string(total_) + "] " + model + ": finished by another run");
  }
  draw();
}

void ProgressDisplay::dropped(int slot) {
  const std::lock_guard<std::mutex> lock(mutex_);
  running_.erase(slot);
}

void ProgressDisplay::note(const std::string& text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  line(text);
  draw();
}

void ProgressDisplay::tick() {
  const std::lock_guard<std::mutex> lock(mutex_);
  draw();
}

void ProgressDisplay::finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  clear_bar();
  std::fflush(stream_);
}

std::string ProgressDisplay::eta() const {
  std::vector<std::string> remaining = waiting_;
  double elapsed = 0;
  for (const auto& [slot, cell] : running_) {
    remaining.push_back(cell.model);
    elapsed += std::chrono::duration<double>(Clock::now() - cell.start).count();
  }
  const double seconds = estimator_.estimate(remaining, elapsed, jobs_);
  return seconds < 0 ? "time left not known yet" : "about " + format_duration(seconds) + " left";
}

void ProgressDisplay::clear_bar() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", stream_);
  drawn_ = false;
}

void ProgressDisplay::line(const std::string& text) {
  if (mode_ == Mode::none) return;
  clear_bar();
  std::fprintf(stream_, "%s\n", text.c_str());
  std::fflush(stream_);
}

void ProgressDisplay::draw() {
  if (mode_ != Mode::bar) return;
  struct winsize window = {};
  const std::size_t columns =
      ::ioctl(::fileno(stream_), TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 80;
  constexpr std::size_t kWidth = 24;
  const std::size_t filled =
      total_ == 0 ? kWidth : kWidth * static_cast<std::size_t>(done_) / static_cast<std::size_t>(total_);
  std::string text = "[" + std::string(filled, '#') + std::string(kWidth - filled, '.') + "] " + std::to_string(done_) +
                     "/" + std::to_string(total_);
  if (failed_ > 0) text += ", " + std::to_string(failed_) + " failed";
  text += ", " + eta();
  for (const auto& [slot, cell] : running_) {
    text += " | " + cell.label + " " + cell.progress.stage;
    if (cell.progress.total > 0) text += " " + std::to_string(100 * cell.progress.done / cell.progress.total) + "%";
  }
  if (text.size() >= columns) text.resize(columns - 1);
  std::fprintf(stream_, "\r\x1b[K%s", text.c_str());
  std::fflush(stream_);
  drawn_ = true;
}

}  // namespace cdrzoo
