// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "plugin/library.hpp"

namespace cdrzoo::verify {

/// What a check found. Information is printed and never fails a plugin.
enum class Verdict { pass, fail, skip, info };
struct Finding {
  Verdict verdict = Verdict::pass;
  std::string detail;  ///< one sentence; the reason of a failure or of a skip
};

/// One promise of the contract, tested in a process of its own.
struct Check {
  const char* id;
  const char* promise;  ///< what the plugin keeps where the check passes
  Finding (*run)(const LoadedPlugin& plugin, const LoadedModel& model);
};

[[nodiscard]] const std::vector<Check>& all_checks();
/// \throws UsageError that names the known ids.
[[nodiscard]] const Check& find_check(const std::string& id);

[[nodiscard]] const char* to_text(Verdict verdict);

/// Names the step that a check is in, so that a crash can be placed. Set by the program that runs the checks.
void set_step_sink(void (*sink)(const std::string& step));

}  // namespace cdrzoo::verify
