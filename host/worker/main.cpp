// SPDX-License-Identifier: Apache-2.0
// cdrzoo-worker: one plugin, one process, one task. Started by the runner; by hand only to look at one cell closely.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "plugin/library.hpp"
#include "worker/run_task.hpp"

namespace {

using cdrzoo::UsageError;

constexpr const char* kHelp = R"(cdrzoo-worker runs one plugin in a process of its own.

  cdrzoo-worker run TASK.json [--out DIR] [--progress-fd N]
      Runs the cell that a bundle describes. Writes status.json, predictions.h5 (and model.safetensors) into DIR, by
      default the folder "out" next to the task. Progress goes to descriptor N as JSON lines, see share/doc/bundle.md.
  cdrzoo-worker describe PLUGIN.so
      Prints the models of a plugin and their cards as one line of JSON.

Replay of a kept cell under a debugger:
  gdb --args cdrzoo-worker run BUNDLE/task.json

Exit codes: 0 done, 1 the task failed (status.json says why), 2 it could not be run.
)";

// Lock-free, so that a signal handler may set it.
std::atomic<bool> cancelled{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_cancel(int) { cancelled = true; }

void prepare_process() {
  // The runner's death is ours. (The kernel watches the thread that started us, which is the runner's main thread.)
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit no_core = {0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  struct sigaction action {};
  action.sa_handler = &on_cancel;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

int parse_fd(const std::string& text) {
  char* end = nullptr;
  const long fd = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || fd < 0 || ::fcntl(static_cast<int>(fd), F_GETFD) < 0)
    throw UsageError("--progress-fd " + text + " is not an open file descriptor");
  ::fcntl(static_cast<int>(fd), F_SETFD, FD_CLOEXEC);  // not for processes that a plugin starts
  return static_cast<int>(fd);
}

int run(const std::vector<std::string>& arguments) {
  cdrzoo::worker::RunTaskOptions options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto& argument = arguments[i];
    const auto value = [&]() -> const std::string& {
      if (i + 1 >= arguments.size()) throw UsageError(argument + " needs a value");
      return arguments[++i];
    };
    if (argument == "--out") {
      options.out = value();
    } else if (argument == "--progress-fd") {
      options.progress_fd = parse_fd(value());
    } else if (argument.rfind("--", 0) == 0 || !options.task.empty()) {
      throw UsageError("unexpected argument \"" + argument + "\"; see cdrzoo-worker --help");
    } else {
      options.task = argument;
    }
  }
  if (options.task.empty()) throw UsageError("run needs a task file; see cdrzoo-worker --help");
  if (options.out.empty()) options.out = std::filesystem::absolute(options.task).parent_path() / "out";
  options.cancel = &cancelled;
  const auto status = cdrzoo::worker::run_task(options);
  if (status.status == "ok") return cdrzoo::kExitOk;
  std::cerr << "cdrzoo-worker: " << status.status << " in " << status.stage << ": " << status.message << "\n";
  return cdrzoo::kExitFailed;
}

int dispatch(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") {
    std::cout << kHelp;
    return arguments.empty() ? cdrzoo::kExitUsage : cdrzoo::kExitOk;
  }
  if (arguments[0] == "run") return run({arguments.begin() + 1, arguments.end()});
  if (arguments[0] == "describe") {
    if (arguments.size() != 2) throw UsageError("describe needs one plugin file");
    cdrzoo::describe_and_exit(arguments[1]);
  }
  throw UsageError("unknown command \"" + arguments[0] + "\" (known: run, describe)");
}

}  // namespace

int main(int argc, char** argv) {
  prepare_process();
  int code = cdrzoo::kExitUsage;
  try {
    code = dispatch({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::cerr << "cdrzoo-worker: " << e.what() << "\n";
  }
  // Results are on disk. What plugins and their libraries do at exit (threads, static destructors) can only hurt.
  std::cout.flush();
  std::fflush(nullptr);
  ::_exit(code);
}
