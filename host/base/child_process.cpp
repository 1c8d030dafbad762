// SPDX-License-Identifier: Apache-2.0
#include "base/child_process.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <new>
#include <stdexcept>

#include "base/error.hpp"
#include "base/files.hpp"

namespace cdrzoo {
namespace {

/// First byte of what comes through the pipe.
enum class Outcome : char {
  value = 'v',
  usage = 'u',
  data = 'd',
  io = 'i',
  plugin = 'p',
  error = 'e',
  memory = 'm',
  other = 'o'
};

/// Signals by which a process ends that did something wrong itself; the last is that of a HangGuard.
constexpr std::array<int, 6> kCrashes = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGVTALRM};

unsigned guard_cpu_s = 0;  // of this process; 0: it is no child
int guards = 0;

void set_guard(unsigned cpu_s) {
  itimerval timer{};
  timer.it_value.tv_sec = static_cast<time_t>(cpu_s);
  ::setitimer(ITIMER_VIRTUAL, &timer, nullptr);
}

std::string outcome_of(const std::function<std::string()>& work) {
  const auto tell = [](Outcome outcome, const std::string& words) { return static_cast<char>(outcome) + words; };
  try {
    return tell(Outcome::value, work());
  } catch (const UsageError& e) {
    return tell(Outcome::usage, e.what());
  } catch (const DataError& e) {
    return tell(Outcome::data, e.what());
  } catch (const IoError& e) {
    return tell(Outcome::io, e.what());
  } catch (const PluginError& e) {
    return tell(Outcome::plugin, e.what());
  } catch (const Error& e) {
    return tell(Outcome::error, e.what());
  } catch (const std::bad_alloc& e) {
    return tell(Outcome::memory, e.what());
  } catch (const std::exception& e) {
    return tell(Outcome::other, e.what());
  }
}

[[noreturn]] void work_and_exit(const ChildTask& task, const std::function<std::string()>& work, pid_t parent,
                                int pipe) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // it ended before the line above
  if (task.quiet) {
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
  }
  // Whatever the program does about signals is not for this process.
  for (const int signal : kCrashes) ::signal(signal, SIG_DFL);
  ::signal(SIGALRM, SIG_DFL);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::alarm(task.timeout_s);
  guard_cpu_s = task.call_cpu_s;
  guards = 0;

  const std::string outcome = outcome_of(work);
  std::cout.flush();
  std::fflush(nullptr);
  const char* from = outcome.data();
  std::size_t left = outcome.size();
  while (left > 0) {
    const ssize_t n = ::write(pipe, from, left);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(1);
    from += n;
    left -= static_cast<std::size_t>(n);
  }
  ::_exit(0);
}

std::string read_all(int fd) {
  std::string bytes;
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return bytes;
    bytes.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

}  // namespace

HangGuard::HangGuard() {
  if (guards++ == 0 && guard_cpu_s > 0) set_guard(guard_cpu_s);
}

HangGuard::~HangGuard() {
  if (--guards == 0 && guard_cpu_s > 0) set_guard(0);
}

std::string run_in_child(const ChildTask& task, const std::function<std::string()>& work) {
  std::cout.flush();  // or the child would print it again
  std::fflush(nullptr);
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    throw IoError("cannot start a process for " + task.what + ": " + std::strerror(errno));
  }
  const FileHandle reading(ends[0]);
  FileHandle writing(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw IoError("cannot start a process for " + task.what + ": " + std::strerror(errno));
  if (child == 0) work_and_exit(task, work, parent, writing.get());
  writing.reset(-1);
  const std::string outcome = read_all(reading.get());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }

  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    for (const int crash : kCrashes) {
      if (signal == crash) throw DataError(task.crash);
    }
    if (signal == SIGALRM) throw IoError(task.what + " took more than " + std::to_string(task.timeout_s) + " s");
    throw IoError(task.what + " was killed by signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")");
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || outcome.empty()) throw DataError(task.crash);
  const std::string words = outcome.substr(1);
  switch (static_cast<Outcome>(outcome.front())) {
    case Outcome::value: return words;
    case Outcome::usage: throw UsageError(words);
    case Outcome::data: throw DataError(words);
    case Outcome::io: throw IoError(words);
    case Outcome::plugin: throw PluginError(words);
    case Outcome::error: throw Error(words);
    case Outcome::memory: throw std::bad_alloc();
    case Outcome::other: throw std::runtime_error(words);
  }
  throw DataError(task.crash);
}

}  // namespace cdrzoo
