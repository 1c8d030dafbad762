// SPDX-License-Identifier: Apache-2.0
/// cdrzoo-checker PLUGIN MODEL CHECK RESULT: runs one check on one model in this process and writes what it found to
/// the file RESULT, one JSON object per line: {"step": ..} while it goes on, {"verdict": .., "detail": ..} at the end.
/// `cdrzoo verify` starts it; alone under a debugger it repeats a check.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <string>

#include "base/error.hpp"
#include "verify/checks.hpp"

namespace {

int g_result = -1;

/// One write, so that the line is there whole even if the plugin takes the process down next.
void write_line(const nlohmann::json& object) {
  const std::string line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (write(g_result, line.data(), line.size()) < 0) _exit(cdrzoo::kExitUsage);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: cdrzoo-checker PLUGIN MODEL CHECK RESULT\n");
    return cdrzoo::kExitUsage;
  }
  g_result = open(argv[4], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
  if (g_result < 0) {
    std::perror(argv[4]);
    return cdrzoo::kExitUsage;
  }
  using namespace cdrzoo::verify;
  set_step_sink([](const std::string& step) { write_line({{"step", step}}); });
  Finding finding;
  try {
    const Check& check = find_check(argv[3]);
    const auto& plugin = cdrzoo::load_plugin(argv[1]);
    finding = check.run(plugin, plugin.find(argv[2]));
  } catch (const std::exception& e) {
    finding = {Verdict::fail, e.what()};
  } catch (...) {
    finding = {Verdict::fail, "something that is no std::exception left the plugin"};
  }
  write_line({{"verdict", to_text(finding.verdict)}, {"detail", finding.detail}});
  std::fflush(nullptr);
  _exit(cdrzoo::kExitOk);  // without the exit handlers of libraries that the plugin brought
}
