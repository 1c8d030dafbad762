// SPDX-License-Identifier: Apache-2.0
#include "plugin/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"

extern char** environ;  // NOLINT(readability-redundant-declaration)

namespace cdrzoo {

namespace {

constexpr std::size_t kMaxCapture = std::size_t{4} << 20U;

/// A pipe whose ends close themselves and do not leak into other children.
struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() {
    if (pipe2(ends, O_CLOEXEC) != 0) throw IoError(std::string("cannot make a pipe: ") + std::strerror(errno));
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  void close_end(int i) {
    if (ends[i] >= 0) close(ends[i]);
    ends[i] = -1;
  }
};

/// Reads what there is; false at the end of the stream.
bool drain(int fd, std::string& into) {
  char buffer[65536];
  const auto n = read(fd, buffer, sizeof buffer);
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  if (n == 0) return false;
  const auto room = kMaxCapture - into.size();
  into.append(buffer, std::min(room, static_cast<std::size_t>(n)));
  return true;
}

std::vector<std::string> merged_environment(const std::vector<std::string>& changes) {
  std::vector<std::string> out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const auto name = text.substr(0, text.find('=') + 1);
    bool replaced = false;
    for (const auto& change : changes) replaced = replaced || change.rfind(name, 0) == 0;
    if (!replaced) out.push_back(text);
  }
  out.insert(out.end(), changes.begin(), changes.end());
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

std::string ProcessResult::how_it_ended(double timeout_s) const {
  if (timed_out) {
    std::string seconds = std::to_string(timeout_s);
    seconds.erase(seconds.find_last_not_of('0') + 1);
    if (seconds.back() == '.') seconds.pop_back();
    return "gave no answer within " + seconds + " s";
  }
  if (signal != 0) return "was killed by signal " + std::to_string(signal) + " (" + strsignal(signal) + ")";
  return "exited with " + std::to_string(exit_code);
}

ProcessResult run_process(const std::vector<std::string>& argv, double timeout_s,
                          const std::vector<std::string>& environment) {
  Pipe out;
  Pipe err;
  auto words = argv;
  auto variables = merged_environment(environment);
  const auto argv_pointers = pointers(words);
  const auto env_pointers = pointers(variables);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.ends[1], STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  pid_t child = -1;
  const int failed =
      posix_spawn(&child, argv.at(0).c_str(), &actions, &attributes, argv_pointers.data(), env_pointers.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw IoError("cannot start " + argv[0] + ": " + std::strerror(failed));
  out.close_end(1);
  err.close_end(1);

  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(timeout_s));
  ProcessResult result;
  int state = 0;
  bool exited = false;
  // A grandchild may hold the pipes open for ever: the child's own end counts, and then what is in the pipes.
  while (!exited) {
    exited = waitpid(child, &state, WNOHANG) == child;
    if (!exited && Clock::now() >= end) {
      result.timed_out = true;
      kill(-child, SIGKILL);
      waitpid(child, &state, 0);
      exited = true;
    }
    bool more = true;
    while (more) {
      pollfd polled[2] = {{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}};
      more = poll(polled, 2, exited ? 0 : 5) > 0;
      if (polled[0].revents != 0 && !drain(out.ends[0], result.out)) out.close_end(0);
      if (polled[1].revents != 0 && !drain(err.ends[0], result.err)) err.close_end(0);
      if (!exited && Clock::now() >= end) break;
    }
  }
  kill(-child, SIGKILL);  // children that it left behind; fails harmlessly where there are none
  if (WIFEXITED(state)) result.exit_code = WEXITSTATUS(state);
  if (WIFSIGNALED(state)) result.signal = WTERMSIG(state);
  return result;
}

std::filesystem::path this_program() { return std::filesystem::read_symlink("/proc/self/exe"); }

std::filesystem::path worker_program() {
  if (const char* given = std::getenv("CDRZOO_WORKER"); given != nullptr && *given != '\0') return given;
  const auto folder = this_program().parent_path();
  for (const auto& candidate : {folder / "cdrzoo-worker", folder.parent_path() / "bin" / "cdrzoo-worker"}) {
    if (std::filesystem::exists(candidate)) return candidate;
  }
  throw IoError("cdrzoo-worker is missing: expected next to " + this_program().string() +
                " (a complete installation has both)");
}

}  // namespace cdrzoo
