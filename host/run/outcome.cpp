// SPDX-License-Identifier: Apache-2.0
#include "run/outcome.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <limits>
#include <system_error>

#include "base/error.hpp"
#include "base/files.hpp"
#include "data/hdf5_file.hpp"

namespace cdrzoo {
namespace {

constexpr std::uintmax_t kMaxStatusBytes = 16U << 20U;
constexpr std::array<const char*, 8> kWorkerStatuses = {
    "ok", "numeric", "timeout", "crash", "oom", "contract_violation", "error", "cancelled"};

std::string number(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string megabytes(std::uint64_t bytes) { return std::to_string(bytes >> 20U) + " MiB"; }

/// "in fit (epoch 3 of 10)", or where it was before the first stage.
std::string where(const WorkerProgress& last) {
  if (last.stage.empty()) return "before the first stage";
  std::string text = "in " + last.stage;
  if (!last.phase.empty() || last.total > 0) {
    text += " (" + last.phase + (last.phase.empty() ? "" : " ") + std::to_string(last.done);
    if (last.total > 0) text += " of " + std::to_string(last.total);
    text += ")";
  }
  return text;
}

std::string quoted_words(const WorkerEnd& end) {
  return end.last_words.empty() ? "" : "; its last words: " + end.last_words;
}

std::string text_member(const nlohmann::json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

Outcome judge(const WorkerEnd& end, const WorkerCommand& command, const std::filesystem::path& output) {
  Outcome out;
  nlohmann::json report;
  std::error_code error;
  if (std::filesystem::is_regular_file(output / "status.json", error)) {
    try {
      report = nlohmann::json::parse(read_file(output / "status.json", kMaxStatusBytes), nullptr, false);
    } catch (const IoError&) {
      report = nlohmann::json();
    }
  }
  if (report.is_object()) {
    if (const auto timing = report.find("timing"); timing != report.end() && timing->is_object()) out.timing = *timing;
    for (const char* name : {"peak_rss_mb", "n_parameters"}) {
      if (const auto found = report.find(name); found != report.end() && found->is_number()) {
        (std::string(name) == "peak_rss_mb" ? out.timing : out.extra)[name] = *found;
      }
    }
  }
  out.timing["wall_s"] = end.wall_s;
  out.timing["peak_private_mb"] = static_cast<double>(end.peak_memory_bytes) / 1048576.0;
  if (end.strays > 0) out.extra["processes_left_behind"] = end.strays;
  const std::string stage = where(end.last);

  switch (end.reason) {
    case WorkerEnd::Reason::timeout:
      out.status = "timeout";
      out.message = "over the limit of " + number(command.timeout_s, 1) + " s " + stage +
                    (end.killed ? "; it did not follow the request to stop and was killed after " +
                                      number(command.grace_s, 1) + " s more"
                                : "");
      return out;
    case WorkerEnd::Reason::memory:
      out.status = "oom";
      out.message = command.memory_bytes > 0 && end.peak_memory_bytes > command.memory_bytes
                        ? "over the limit of " + megabytes(command.memory_bytes) + " of memory " + stage + ": " +
                              megabytes(end.peak_memory_bytes) + " were in use"
                        : "the system ran out of memory " + stage +
                              " and killed the worker, which was last seen with " + megabytes(end.peak_memory_bytes);
      return out;
    case WorkerEnd::Reason::cancelled:
      out.status = "cancelled";
      out.message = "cancelled " + stage;
      return out;
    case WorkerEnd::Reason::signalled:
      // A failed allocation that nobody catches ends in abort().
      out.status =
          end.signal == SIGABRT && command.memory_bytes > 0 && end.peak_memory_bytes > command.memory_bytes / 10 * 9
              ? "oom"
              : "crash";
      out.message = "killed by " + signal_name(end.signal) + " " + stage;
      // The worker explains a fault where it can (a write past a buffer).
      if (const std::string said = report.is_object() ? text_member(report, "message") : ""; !said.empty()) {
        out.message += ": " + said;
        const std::string status = text_member(report, "status");
        if (status == "contract_violation") out.status = status;
      } else {
        out.message += quoted_words(end);
      }
      return out;
    case WorkerEnd::Reason::exited: break;
  }

  if (!report.is_object()) {
    // The worker's own words when it cannot work at all (exit code 2): a missing bundle, a disk that is full.
    const bool own_words = end.exit_code == 2 && end.last_words.rfind("cdrzoo-worker: ", 0) == 0;
    if (end.last.stage.empty() || own_words) {
      out.status = "error";
      out.message = "the worker could not begin: it exited with " + std::to_string(end.exit_code) + quoted_words(end);
    } else {
      out.status = "contract_violation";
      out.message = "the plugin ended the process with exit code " + std::to_string(end.exit_code) + " " + stage +
                    quoted_words(end);
    }
    return out;
  }
  const std::string status = text_member(report, "status");
  if (std::find(kWorkerStatuses.begin(), kWorkerStatuses.end(), status) == kWorkerStatuses.end()) {
    out.status = "contract_violation";
    out.message = "the worker's status.json holds no known status but \"" + status.substr(0, 40) + "\"";
    return out;
  }
  out.status = status;
  out.message = text_member(report, "message");
  const std::string said_stage = text_member(report, "stage");
  const std::string said_where = text_member(report, "where");
  if (status != "ok") {
    std::string prefix = said_stage;
    if (!said_where.empty() && said_where != said_stage) prefix += (prefix.empty() ? "" : ", ") + said_where;
    if (status == "timeout") {  // the worker looked at the clock before the runner did
      out.message = "over the limit of " + number(command.timeout_s, 1) + " s " + stage;
      return out;
    }
    // Nobody asked it to stop, or the reason would be another.
    if (status == "cancelled") out.status = "error";
    if (!prefix.empty() && out.message.rfind(prefix, 0) != 0) out.message = prefix + ": " + out.message;
    if (out.message.empty()) out.message = "failed " + stage + " without a message";
  } else {
    out.message.clear();
    if (end.exit_code != 0) {
      out.status = "contract_violation";
      out.message = "the plugin ended the process with exit code " + std::to_string(end.exit_code) +
                    " after its results were written" + quoted_words(end);
    }
  }
  return out;
}

namespace {

RawPart read_part(const Hdf5File& file, const std::string& part, std::size_t n) {
  RawPart out;
  if (n == 0) return out;
  const std::string mean_name = "/" + part + "/mean";
  const std::string status_name = "/" + part + "/row_status";
  for (const auto& name : {mean_name, status_name}) {
    if (!file.has(name)) throw PluginError("the predictions lack " + name);
  }
  const Hdf5File::Block mean = file.block(mean_name);
  if (mean.count() != static_cast<std::int64_t>(n)) {
    throw PluginError(mean_name + " holds " + std::to_string(mean.count()) + " values, " + std::to_string(n) +
                      " are expected");
  }
  if (mean.type == Hdf5Type::f32) {
    const auto* data = static_cast<const float*>(mean.data);
    out.mean.assign(data, data + n);
  } else if (mean.type == Hdf5Type::f64) {
    const auto* data = static_cast<const double*>(mean.data);
    out.mean.assign(data, data + n);
  } else {
    throw PluginError(mean_name + " is " + hdf5_type_name(mean.type) + ", float32 is expected");
  }
  const ArrayView<std::int32_t> status = file.array<std::int32_t>(status_name, static_cast<std::int64_t>(n));
  out.row_status.assign(status.begin(), status.end());
  for (std::size_t i = 0; i < n; ++i) {
    if (out.row_status[i] != 0) {
      out.mean[i] = std::numeric_limits<double>::quiet_NaN();
    } else if (!std::isfinite(out.mean[i])) {
      throw PluginError("predict, " + part + " row " + std::to_string(i) + " of " + std::to_string(n) + ": " +
                        (std::isnan(out.mean[i]) ? "NaN" : "infinity") + " without a row status");
    }
  }
  return out;
}

RawProfilePart read_profile_part(const Hdf5File& file, const std::string& part, std::size_t n, std::int64_t genes) {
  RawProfilePart out;
  out.mean.cols = genes;
  if (n == 0) return out;
  const std::string mean_name = "/" + part + "/mean";
  const std::string status_name = "/" + part + "/row_status";
  for (const auto& name : {mean_name, status_name}) {
    if (!file.has(name)) throw PluginError("the predictions lack " + name);
  }
  const auto rows = static_cast<std::int64_t>(n);
  out.mean = file.matrix<float>(mean_name, rows, genes);
  const auto status = file.array<std::int32_t>(status_name, rows);
  out.row_status.assign(status.begin(), status.end());
  for (std::int64_t i = 0; i < rows; ++i) {
    if (out.row_status[static_cast<std::size_t>(i)] != 0) continue;
    const float* mean = out.mean.row(i);
    const auto* bad = std::find_if(mean, mean + genes, [](float value) { return !std::isfinite(value); });
    if (bad == mean + genes) continue;
    throw PluginError("predict, " + part + " row " + std::to_string(i) + " of " + std::to_string(n) + ", gene " +
                      std::to_string(bad - mean) + ": " + (std::isnan(*bad) ? "NaN" : "infinity") +
                      " without a row status");
  }
  return out;
}

Hdf5File open_predictions(const std::filesystem::path& output) {
  const std::filesystem::path path = output / "predictions.h5";
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) throw PluginError("the worker left no predictions");
  // Our own writer makes checksums; what a crashing plugin damaged must not be believed.
  return Hdf5File(path, Hdf5Access::checksummed);
}

}  // namespace

RawProfiles read_raw_profiles(const std::filesystem::path& output, std::size_t n_validation, std::size_t n_test,
                              std::int64_t genes) {
  const Hdf5File file = open_predictions(output);
  return {read_profile_part(file, "validation", n_validation, genes), read_profile_part(file, "test", n_test, genes),
          file.storage()};
}

RawPredictions read_raw_predictions(const std::filesystem::path& output, std::size_t n_validation, std::size_t n_test) {
  const Hdf5File file = open_predictions(output);
  return {read_part(file, "validation", n_validation), read_part(file, "test", n_test)};
}

}  // namespace cdrzoo
