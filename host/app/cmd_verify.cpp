// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "app/command_line.hpp"
#include "app/commands.hpp"
#include "base/error.hpp"
#include "verify/checks.hpp"
#include "verify/verify.hpp"

namespace cdrzoo::app {

namespace {

std::size_t widest_check() {
  std::size_t width = 0;
  for (const auto& check : verify::all_checks()) width = std::max(width, std::string(check.id).size());
  return width;
}

void print(const verify::Result& result, std::string& model) {
  if (result.model != model) {
    model = result.model;
    std::cout << "\n" << model << "\n";
  }
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%6.2f s", result.seconds);
  std::string name = result.check;
  name.resize(std::max(name.size(), widest_check()), ' ');
  std::cout << "  " << (result.verdict == "fail" ? "FAIL" : result.verdict) << "  " << name << "  " << seconds << "  "
            << (result.verdict == "fail" ? "" : result.promise)
            << (result.verdict == "fail" || result.detail.empty() ? "" : " (") << result.detail
            << (result.verdict == "fail" || result.detail.empty() ? "" : ")") << std::endl;
}

}  // namespace

int cmd_verify(const Words& words) {
  const Usage usage = {
      "cdrzoo verify PLUGIN.so [--model ID]... [--check ID]... [--timeout SECONDS] [--json] [--list]",
      "Checks that a plugin keeps the contract of the ABI and the promises of its cards. Each check runs on small "
      "made-up\n"
      "data in a process of its own, so a crash or a hang is a failing check with its reason.",
      "  cdrzoo verify lib/cdrzoo/plugins/ridge.so        all checks on all models of the file\n"
      "  cdrzoo verify mine.so --check rows --check state  two checks\n"
      "  cdrzoo verify --list                             what is checked\n"
      "  cdrzoo-checker mine.so my.model rows /tmp/out    one check in this very process, for a debugger\n"};
  po::options_description options("options");
  options.add_options()("model", po::value<std::vector<std::string>>(), "only this model (may be repeated)")(
      "check", po::value<std::vector<std::string>>(), "only this check (may be repeated)")(
      "timeout", po::value<double>()->default_value(120), "seconds for one check")("json", "print JSON in the end")(
      "list", "print the checks and what they hold a plugin to");
  const auto values = parse(words, usage, options, "plugin");
  if (!values) return kExitOk;
  if (values->count("list") != 0) {
    for (const auto& check : verify::all_checks()) {
      std::string name = check.id;
      name.resize(widest_check() + 2, ' ');
      std::cout << name << check.promise << "\n";
    }
    return kExitOk;
  }
  verify::VerifyOptions chosen;
  if (values->count("model") != 0) chosen.models = (*values)["model"].as<std::vector<std::string>>();
  if (values->count("check") != 0) chosen.checks = (*values)["check"].as<std::vector<std::string>>();
  chosen.timeout_s = (*values)["timeout"].as<double>();
  if (!(chosen.timeout_s > 0 && chosen.timeout_s < 1e6)) throw UsageError("--timeout: expected more than 0 seconds");
  const bool as_json = values->count("json") != 0;
  std::string model;
  const auto report =
      verify::verify_plugin(single(*values, "plugin", usage), chosen, [&](const verify::Result& result) {
        if (!as_json) print(result, model);
      });
  if (as_json) {
    std::cout << verify::to_json(report).dump(2) << "\n";
  } else {
    std::cout << "\n"
              << report.plugin.string() << ": " << report.count("pass") << " passed, " << report.count("fail")
              << " failed, " << report.count("skip") << " skipped, " << report.count("info") << " for information\n";
  }
  return report.passed() ? kExitOk : kExitFailed;
}

}  // namespace cdrzoo::app
