// SPDX-License-Identifier: Apache-2.0
#include "verify/verify.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>

#include "base/error.hpp"
#include "plugin/process.hpp"
#include "plugin/registry.hpp"
#include "verify/checks.hpp"

namespace cdrzoo::verify {

namespace {

namespace fs = std::filesystem;

fs::path checker_program() {
  const auto folder = this_program().parent_path();
  for (const auto& candidate : {folder / "cdrzoo-checker", folder.parent_path() / "bin" / "cdrzoo-checker"}) {
    if (fs::exists(candidate)) return candidate;
  }
  throw IoError("cdrzoo-checker is missing: expected next to " + this_program().string() +
                " (a complete installation has both)");
}

/// A folder that is removed in the end, with whatever a plugin that crashed has left in it.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (fs::temp_directory_path() / "cdrzoo-verify-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw IoError("cannot make a folder like " + pattern);
    path_ = pattern;
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string first_line(const std::string& text) {
  auto line = text.substr(0, text.find('\n'));
  return line.size() > 200 ? line.substr(0, 197) + "..." : line;
}

void run_check(const fs::path& plugin, const Check& check, double timeout_s, Result& result) {
  const ScratchFolder scratch;
  const fs::path verdicts = scratch.path() / "verdicts.jsonl";
  const auto start = std::chrono::steady_clock::now();
  // The budget of every check is one thread; libraries learn it as they do from the runner.
  const auto child = run_process(
      {checker_program().string(), plugin.string(), result.model, result.check, verdicts.string()}, timeout_s,
      {"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1", "OMP_WAIT_POLICY=passive",
       "TMPDIR=" + scratch.path().string()});
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  std::string step;
  std::ifstream lines(verdicts);
  for (std::string line; std::getline(lines, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    if (!object.is_object()) continue;
    step = object.value("step", step);
    result.verdict = object.value("verdict", result.verdict);
    result.detail = object.value("detail", result.detail);
  }
  if (!child.ok() || result.verdict.empty()) {
    result.verdict = "fail";
    result.detail = "the process " + child.how_it_ended(timeout_s) + (step.empty() ? "" : " during: " + step);
    if (!child.err.empty()) result.detail += "; its first words: " + first_line(child.err);
    return;
  }
  if (std::string(check.id) == "quiet" && result.verdict == "pass" && !(child.out + child.err).empty()) {
    result.verdict = "fail";
    result.detail = "it wrote to " + std::string(child.out.empty() ? "stderr" : "stdout") + ": \"" +
                    first_line(child.out.empty() ? child.err : child.out) + "\"";
  }
  if (result.verdict == "fail" && !step.empty()) result.detail += " [step: " + step + "]";
}

}  // namespace

bool Report::passed() const { return count("fail") == 0; }

std::size_t Report::count(const std::string& verdict) const {
  return static_cast<std::size_t>(
      std::count_if(results.begin(), results.end(), [&](const Result& r) { return r.verdict == verdict; }));
}

Report verify_plugin(const fs::path& plugin, const VerifyOptions& options,
                     const std::function<void(const Result&)>& on_result) {
  std::vector<const Check*> checks;
  for (const auto& id : options.checks) checks.push_back(&find_check(id));
  if (checks.empty()) {
    for (const auto& check : all_checks()) checks.push_back(&check);
  }
  std::error_code failed;
  Report report;
  report.plugin = fs::canonical(plugin, failed);
  if (failed) throw IoError("cannot open " + plugin.string() + ": " + failed.message());
  if (fs::is_directory(report.plugin)) throw UsageError(plugin.string() + " is a folder, expected a plugin file");
  const auto add = [&](Result result) {
    if (on_result) on_result(result);
    report.results.push_back(std::move(result));
  };

  const Registry registry = scan_plugins({report.plugin});
  for (const auto& failure : registry.failures) {
    add({"", "load", "the plugin can be loaded and introduces its models", "fail", failure.reason, 0});
  }
  for (const auto& id : options.models) (void)registry.find(id);
  for (const auto& model : registry.models) {
    if (!options.models.empty() &&
        std::find(options.models.begin(), options.models.end(), model.card.id) == options.models.end()) {
      continue;
    }
    for (const Check* check : checks) {
      Result result{model.card.id, check->id, check->promise, "", "", 0};
      run_check(report.plugin, *check, options.timeout_s, result);
      add(std::move(result));
    }
  }
  return report;
}

nlohmann::json to_json(const Report& report) {
  nlohmann::json results = nlohmann::json::array();
  for (const auto& r : report.results) {
    results.push_back({{"model", r.model},
                       {"check", r.check},
                       {"promise", r.promise},
                       {"verdict", r.verdict},
                       {"detail", r.detail},
                       {"seconds", r.seconds}});
  }
  return {{"plugin", report.plugin.string()}, {"passed", report.passed()}, {"results", results}};
}

}  // namespace cdrzoo::verify
