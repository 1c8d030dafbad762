// SPDX-License-Identifier: Apache-2.0
#include "run/worker_process.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/files.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define CDRZOO_ADDRESS_SANITIZER 1
#else
#define CDRZOO_ADDRESS_SANITIZER 0
#endif

namespace cdrzoo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kProgressFd = 3;  // in the worker
constexpr std::size_t kTailBytes = std::size_t{64} << 10U;
constexpr std::size_t kMaxProgressLine = std::size_t{64} << 10U;
constexpr auto kTick = std::chrono::milliseconds(50);  // memory is looked at this often
constexpr const char* kToken = "CDRZOO_WORKER_TOKEN";

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
}

/// A pipe; both ends close on exec. The reading end does not block.
struct Pipe {
  FileHandle read_end, write_end;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
      throw IoError(std::string("cannot create a pipe: ") + std::strerror(errno));
    read_end.reset(ends[0]);
    write_end.reset(ends[1]);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  }
};

/// Reads what is there without waiting, at most 1 MiB so that a flood does not keep the caller from its limits.
/// Closes \p fd at its end.
template <typename Sink>
void drain(FileHandle& fd, const Sink& sink) {
  std::array<char, 65536> buffer;
  for (int i = 0; i < 16 && fd; ++i) {
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n > 0) {
      sink(buffer.data(), static_cast<std::size_t>(n));
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else if (n < 0 && errno == EAGAIN) {
      return;
    } else {
      fd.reset(-1);
    }
  }
}

/// Begin and end of what a worker prints; the middle of a flood is left out.
class BoundedLog {
 public:
  BoundedLog(const std::filesystem::path& path, std::uint64_t max_bytes)
      : file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)),
        room_(max_bytes > kTailBytes ? max_bytes - kTailBytes : 0) {
    if (!file_) throw IoError("cannot create " + path.string() + ": " + std::strerror(errno));
  }

  void append(const char* data, std::size_t size) {
    total_ += size;
    const std::size_t head = std::min<std::uint64_t>(room_, size);
    put(data, head);
    room_ -= head;
    overflow_ += size - head;
    tail_.append(data, size);
    if (tail_.size() > 2 * kTailBytes) tail_.erase(0, tail_.size() - kTailBytes);
  }

  void finish() {
    if (overflow_ == 0) return;
    const std::uint64_t end = std::min<std::uint64_t>({overflow_, kTailBytes, tail_.size()});
    if (overflow_ > end) {
      const std::string note = "\n[cdrzoo: " + std::to_string(overflow_ - end) + " bytes left out here]\n";
      put(note.data(), note.size());
    }
    put(tail_.data() + (tail_.size() - end), end);
  }

  [[nodiscard]] std::uint64_t total() const { return total_; }

  /// The last line that says something.
  [[nodiscard]] std::string last_line() const {
    std::size_t end = tail_.size();
    while (end > 0 && static_cast<unsigned char>(tail_[end - 1]) <= ' ') --end;
    const std::size_t newline = end == 0 ? std::string::npos : tail_.rfind('\n', end - 1);
    std::string line = tail_.substr(newline == std::string::npos ? 0 : newline + 1,
                                    end - (newline == std::string::npos ? 0 : newline + 1));
    if (line.size() > 300) line = line.substr(0, 300) + "...";
    for (char& c : line) {
      if (static_cast<unsigned char>(c) < ' ' || c == 127) c = ' ';
    }
    return line;
  }

 private:
  /// A log that cannot be written (a full disk) is not worth a cell; the commit will say what is wrong with the disk.
  void put(const char* data, std::size_t size) {
    while (size > 0 && file_) {
      const ssize_t n = ::write(file_.get(), data, size);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        file_.reset(-1);
        return;
      }
      data += n;
      size -= static_cast<std::size_t>(n);
    }
  }

  FileHandle file_;
  std::uint64_t room_;
  std::uint64_t total_ = 0;
  std::uint64_t overflow_ = 0;
  std::string tail_;
};

/// Lines of the progress pipe. Whatever is not such a line is ignored: plugins can reach this descriptor.
class ProgressReader {
 public:
  explicit ProgressReader(const std::function<void(const WorkerProgress&)>& on_progress) : on_progress_(on_progress) {}

  void append(const char* data, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
      if (data[i] == '\n') {
        if (!too_long_) parse();
        line_.clear();
        too_long_ = false;
      } else if (line_.size() < kMaxProgressLine) {
        line_ += data[i];
      } else {
        too_long_ = true;
      }
    }
  }

  [[nodiscard]] const WorkerProgress& last() const { return last_; }

 private:
  void parse() {
    const auto json = nlohmann::json::parse(line_, nullptr, false);
    if (!json.is_object()) return;
    const auto text = [&](const char* name) {
      const auto found = json.find(name);
      return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    const auto number = [&](const char* name) {
      const auto found = json.find(name);
      return found != json.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
    };
    if (text("stage").empty()) return;
    last_ = {text("stage"), text("phase"), number("done"), number("total")};
    if (on_progress_) on_progress_(last_);
  }

  const std::function<void(const WorkerProgress&)>& on_progress_;
  std::string line_;
  bool too_long_ = false;
  WorkerProgress last_;
};

/// While one of these lives, orphaned descendants become children of this process instead of init, so that they can be
/// found and ended.
class Subreaper {
 public:
  Subreaper() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (count_++ == 0) {
      ::prctl(PR_GET_CHILD_SUBREAPER, &before_);
      ::prctl(PR_SET_CHILD_SUBREAPER, 1L);
    }
  }
  ~Subreaper() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--count_ == 0) ::prctl(PR_SET_CHILD_SUBREAPER, static_cast<long>(before_));
  }
  Subreaper(const Subreaper&) = delete;
  Subreaper& operator=(const Subreaper&) = delete;
  Subreaper(Subreaper&&) = delete;
  Subreaper& operator=(Subreaper&&) = delete;

 private:
  static inline std::mutex mutex_;
  static inline int count_ = 0;
  static inline int before_ = 0;
};

/// A small file of /proc as text; "" if it is gone.
std::string proc_text(const std::string& path) {
  const FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!file) return text;
  std::array<char, 8192> buffer;
  for (;;) {
    const ssize_t n = ::read(file.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

template <typename F>
void for_each_number_in(const std::string& folder, const F& f) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir(folder.c_str()), &::closedir);
  if (!entries) return;
  while (const dirent* entry = ::readdir(entries.get())) {
    char* end = nullptr;
    const long value = std::strtol(entry->d_name, &end, 10);
    if (end != entry->d_name && *end == '\0') f(static_cast<pid_t>(value));
  }
}

/// Anonymous, shared and swapped memory of one process in bytes. Mapped files (the bundle, libraries) do not count: the
/// system can drop them at any time.
std::uint64_t own_memory(pid_t pid) {
  const std::string status = proc_text("/proc/" + std::to_string(pid) + "/status");
  std::uint64_t sum = 0;
  for (const char* name : {"\nRssAnon:", "\nRssShmem:", "\nVmSwap:"}) {
    const auto at = status.find(name);
    if (at != std::string::npos) sum += std::strtoull(status.c_str() + at + std::strlen(name), nullptr, 10) << 10U;
  }
  return sum;
}

/// State ('Z' for a zombie), parent and process group from /proc/<pid>/stat; zeros if it is gone.
struct Kin {
  char state = '\0';
  pid_t parent = 0;
  pid_t group = 0;
};
Kin kin_of(pid_t pid) {
  const std::string stat = proc_text("/proc/" + std::to_string(pid) + "/stat");
  const auto after_name = stat.rfind(") ");  // the name may hold anything
  if (after_name == std::string::npos || stat.size() < after_name + 4) return {};
  char* end = nullptr;
  const long parent = std::strtol(stat.c_str() + after_name + 4, &end, 10);
  return {stat[after_name + 2], static_cast<pid_t>(parent), static_cast<pid_t>(std::strtol(end, nullptr, 10))};
}

/// Memory of a worker's group. Looking for new members reads all of /proc, so that is done less often, and less often
/// still on a machine with many processes.
class GroupMemory {
 public:
  explicit GroupMemory(pid_t leader) : leader_(leader) {}

  std::uint64_t sample() {
    const auto now = Clock::now();
    if (now >= next_search_) {
      others_.clear();
      for_each_number_in("/proc", [&](pid_t pid) {
        if (pid != leader_ && kin_of(pid).group == leader_) others_.push_back(pid);
      });
      next_search_ =
          Clock::now() + std::max<Clock::duration>(std::chrono::milliseconds(200), 50 * (Clock::now() - now));
    }
    std::uint64_t sum = own_memory(leader_);
    for (const pid_t pid : others_) sum += own_memory(pid);
    return sum;
  }

 private:
  pid_t leader_;
  std::vector<pid_t> others_;
  Clock::time_point next_search_{};
};

/// How often the kernel has killed for want of memory since boot; 0 where it does not say.
std::uint64_t kernel_oom_kills() {
  const std::string text = proc_text("/proc/vmstat");
  const auto at = text.find("\noom_kill ");
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + 10, nullptr, 10);
}

/// Children of this process that carry the token: they left the worker's group and were orphaned.
struct Strays {
  std::vector<pid_t> found;
  bool complete = true;  ///< false while a child is between two programs, where it shows no environment
};
Strays find_strays(const std::string& token) {
  Strays strays;
  const pid_t self = ::getpid();
  for_each_number_in("/proc", [&](pid_t pid) {
    const Kin kin = kin_of(pid);
    if (kin.parent != self || kin.state == 'Z' || kin.state == 'X') return;
    const std::string environment = proc_text("/proc/" + std::to_string(pid) + "/environ");
    if (environment.empty()) strays.complete = false;
    if (environment.find(token) != std::string::npos) strays.found.push_back(pid);
  });
  return strays;
}

/// Ends everything that the (already dead, not yet reaped) worker left behind. Returns how many processes that were.
int end_descendants(pid_t worker, const std::string& token) {
  int count = 0;
  // The group exists as long as its leader is not reaped, so this cannot hit anybody else.
  ::kill(-worker, SIGKILL);
  int status = 0;
  while (::waitpid(worker, &status, 0) < 0 && errno == EINTR) {
  }
  const auto deadline = Clock::now() + std::chrono::seconds(2);
  const auto reap = [&](pid_t which) {
    while (Clock::now() < deadline) {
      const pid_t pid = ::waitpid(which, &status, WNOHANG);
      if (pid > 0) {
        ++count;
        if (which > 0) return;
      } else if (pid < 0 && errno != EINTR) {
        return;
      } else {
        ::usleep(1000);
      }
    }
  };
  reap(-worker);
  int unclear = 0;                   // a child may also have no environment for good
  for (int round = 0; round < 8;) {  // ending one orphans its children
    const Strays strays = find_strays(token);
    if (strays.found.empty()) {
      if (strays.complete || ++unclear > 20) break;
      ::usleep(1000);
      continue;
    }
    ++round;
    for (const pid_t pid : strays.found) ::kill(pid, SIGKILL);
    for (const pid_t pid : strays.found) reap(pid);
  }
  return count;
}

class SpawnActions {
 public:
  SpawnActions() { ::posix_spawn_file_actions_init(&actions_); }
  ~SpawnActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  SpawnActions(SpawnActions&&) = delete;
  SpawnActions& operator=(SpawnActions&&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

class SpawnAttributes {
 public:
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  SpawnAttributes(SpawnAttributes&&) = delete;
  SpawnAttributes& operator=(SpawnAttributes&&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

pid_t spawn(const WorkerCommand& command, const std::string& token, int log_fd, int progress_fd) {
  std::vector<std::string> arguments = command.arguments;
  arguments.insert(arguments.begin(), command.program.string());
  arguments.insert(arguments.end(), {"--progress-fd", std::to_string(kProgressFd)});
  std::vector<std::string> environment = command.environment;
  environment.push_back(std::string(kToken) + "=" + token);

  SpawnActions actions;
  ::posix_spawn_file_actions_addopen(actions.get(), STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(actions.get(), log_fd, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(actions.get(), log_fd, STDERR_FILENO);
  ::posix_spawn_file_actions_adddup2(actions.get(), progress_fd, kProgressFd);
#if __GLIBC_PREREQ(2, 34)
  // Libraries open files without close-on-exec: a plugin must not inherit the data set, with its test labels.
  ::posix_spawn_file_actions_addclosefrom_np(actions.get(), kProgressFd + 1);
#endif
  ::posix_spawn_file_actions_addchdir_np(actions.get(), command.working_folder.c_str());
  const SpawnAttributes attributes;
  const auto argv = pointers(arguments);
  const auto envp = pointers(environment);
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, command.program.c_str(), actions.get(), attributes.get(), argv.data(), envp.data());
  if (error != 0) throw IoError("cannot start " + command.program.string() + ": " + std::strerror(error));

  const struct rlimit no_core = {0, 0};
  ::prlimit(pid, RLIMIT_CORE, &no_core, nullptr);
  if (command.memory_bytes > 0 && command.limit_data && CDRZOO_ADDRESS_SANITIZER == 0) {
    // Sampling can miss one huge allocation; this stops it. Generous, because reserved memory counts here.
    const rlim_t bytes = command.memory_bytes + command.memory_bytes / 4 + (rlim_t{1} << 30U);
    const struct rlimit data = {bytes, bytes};
    ::prlimit(pid, RLIMIT_DATA, &data, nullptr);
  }
  return pid;
}

std::string make_token() {
  static std::atomic<std::uint64_t> next{0};
  return std::to_string(::getpid()) + "." + std::to_string(Clock::now().time_since_epoch().count()) + "." +
         std::to_string(next++);
}

}  // namespace

WorkerEnd run_worker(const WorkerCommand& command, const std::atomic<Stop>& stop,
                     const std::function<void(const WorkerProgress&)>& on_progress) {
  const Subreaper subreaper;
  const std::string token = make_token();
  BoundedLog log(command.log, command.max_log_bytes);
  ProgressReader progress(on_progress);
  Pipe log_pipe;
  Pipe progress_pipe;
  const std::uint64_t oom_kills_before = kernel_oom_kills();
  const auto start = Clock::now();
  const pid_t pid = spawn(command, token, log_pipe.write_end.get(), progress_pipe.write_end.get());
  log_pipe.write_end.reset(-1);
  progress_pipe.write_end.reset(-1);
  // Without a pidfd (old kernel) the tick alone notices the end.
  const FileHandle pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));

  GroupMemory group_memory(pid);
  WorkerEnd end;
  bool stopping = false;
  Clock::time_point kill_at = Clock::time_point::max();
  const auto begin_stop = [&](WorkerEnd::Reason reason) {
    stopping = true;
    end.reason = reason;
    ::kill(pid, SIGTERM);
    kill_at = Clock::now() + seconds(command.grace_s);
  };
  const auto drain_pipes = [&] {
    drain(log_pipe.read_end, [&](const char* data, std::size_t n) { log.append(data, n); });
    drain(progress_pipe.read_end, [&](const char* data, std::size_t n) { progress.append(data, n); });
  };

  siginfo_t info = {};
  auto next_sample = start;
  for (;;) {
    info.si_pid = 0;
    if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno != EINTR) break;
    if (info.si_pid == pid) break;

    const auto now = Clock::now();
    if (now >= next_sample) {
      const std::uint64_t memory = group_memory.sample();
      end.peak_memory_bytes = std::max(end.peak_memory_bytes, memory);
      if (command.memory_bytes > 0 && memory > command.memory_bytes && end.reason != WorkerEnd::Reason::memory) {
        stopping = true;
        end.reason = WorkerEnd::Reason::memory;
        ::kill(-pid, SIGKILL);  // at once: it may be about to take the machine down
      }
      next_sample = now + kTick;
    }
    const Stop wish = stop.load();
    if (!stopping && wish != Stop::no) begin_stop(WorkerEnd::Reason::cancelled);
    if (!stopping && command.timeout_s > 0 && seconds_since(start) > command.timeout_s) {
      begin_stop(WorkerEnd::Reason::timeout);
    }
    if (stopping && !end.killed && (now >= kill_at || wish == Stop::at_once)) {
      end.killed = true;
      ::kill(-pid, SIGKILL);
    }

    std::array<struct pollfd, 3> polled = {{{log_pipe.read_end.get(), POLLIN, 0},
                                            {progress_pipe.read_end.get(), POLLIN, 0},
                                            {pidfd.get(), POLLIN, 0}}};  // negative descriptors are ignored
    ::poll(polled.data(), polled.size(), static_cast<int>(kTick.count()));
    drain_pipes();
  }
  end.wall_s = seconds_since(start);
  end.strays = end_descendants(pid, token);
  // Nobody writes any more: what is in the pipes is all.
  drain_pipes();
  log.finish();
  end.last = progress.last();
  end.log_bytes = log.total();
  end.last_words = log.last_line();

  if (info.si_code == CLD_EXITED) {
    end.exit_code = info.si_status;
  } else {
    end.signal = info.si_status;
    if (!stopping) {
      const bool kernel = end.signal == SIGKILL && kernel_oom_kills() > oom_kills_before;
      end.reason = kernel ? WorkerEnd::Reason::memory : WorkerEnd::Reason::signalled;
    }
  }
  return end;
}

std::string signal_name(int signal) {
  std::string name = "signal " + std::to_string(signal);
#if __GLIBC_PREREQ(2, 32)
  if (const char* abbreviation = ::sigabbrev_np(signal)) name = std::string("SIG") + abbreviation;
  if (const char* words = ::sigdescr_np(signal)) name += std::string(" (") + words + ")";
#endif
  return name;
}

}  // namespace cdrzoo
