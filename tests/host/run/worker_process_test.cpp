// SPDX-License-Identifier: Apache-2.0
#include "run/worker_process.hpp"

#include <fcntl.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill is POSIX
#include <sys/utsname.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/error.hpp"
#include "run/worker_environment.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
namespace fs = std::filesystem;
using Reason = WorkerEnd::Reason;

namespace {

/// A shell script in the place of the worker.
WorkerCommand script(const test::TemporaryFolder& folder, const std::string& text) {
  WorkerCommand command;
  command.program = "/bin/sh";
  command.arguments = {"-c", text};
  command.environment = {"PATH=/usr/bin:/bin", "LC_ALL=C"};
  command.working_folder = folder.path();
  command.log = folder.path() / "log.txt";
  command.grace_s = 0.3;
  return command;
}

WorkerEnd run(const WorkerCommand& command) {
  const std::atomic<Stop> stop{Stop::no};
  return run_worker(command, stop, {});
}

std::string file_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void wait_for_file(const fs::path& path) {
  for (int i = 0; i < 6000 && !fs::exists(path); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

/// A process id that a script wrote into a file is gone, at once or shortly.
bool is_gone(const fs::path& pid_file) {
  pid_t pid = 0;
  std::ifstream(pid_file) >> pid;
  if (pid <= 0) return false;
  for (int i = 0; i < 1000; ++i) {
    if (::kill(pid, 0) != 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace

TEST_CASE("a worker that ends by itself is reported with its exit code") {
  const test::TemporaryFolder folder;
  for (const int code : {0, 3}) {
    const WorkerEnd end = run(script(folder, "exit " + std::to_string(code)));
    CHECK(end.reason == Reason::exited);
    CHECK(end.exit_code == code);
    CHECK(end.wall_s < 60);
    CHECK(end.strays == 0);
  }
}

TEST_CASE("a worker that dies of a signal is reported with it") {
  const test::TemporaryFolder folder;
  const WorkerEnd end = run(script(folder, "kill -SEGV $$"));
  CHECK(end.reason == Reason::signalled);
  CHECK(end.signal == SIGSEGV);
  CHECK(signal_name(end.signal) == "SIGSEGV (Segmentation fault)");
  CHECK(run(script(folder, "kill -KILL $$")).signal == SIGKILL);
}

TEST_CASE("progress lines are followed and others ignored") {
  const test::TemporaryFolder folder;
  std::vector<WorkerProgress> seen;
  const std::atomic<Stop> stop{Stop::no};
  const WorkerEnd end =
      run_worker(script(folder, R"(echo '{"stage":"load"}' >&3; echo rubbish >&3; echo '[1]' >&3; echo '{"stage":7}' >&3
echo '{"stage":"fit"}' >&3; echo '{"stage":"fit","phase":"epoch","done":3,"total":10}' >&3; printf '{"stage"' >&3)"),
                 stop, [&](const WorkerProgress& p) { seen.push_back(p); });
  CHECK(end.exit_code == 0);
  REQUIRE(seen.size() == 3);
  CHECK(seen[0].stage == "load");
  CHECK(seen[1].phase.empty());
  CHECK(end.last.stage == "fit");
  CHECK(end.last.phase == "epoch");
  CHECK(end.last.done == 3);
  CHECK(end.last.total == 10);
}

TEST_CASE("a worker sees its arguments, its environment and folder, and no descriptor of the host") {
  const test::TemporaryFolder folder;
  const int leaked = ::fcntl(0, F_DUPFD, 10);  // without close-on-exec, as libhdf5 opens files
  REQUIRE(leaked >= 10);
  // By the shell alone: a pipeline or a redirection would give it descriptors of its own, as the pattern does for a
  // moment.
  WorkerCommand command = script(folder, R"(echo "$0 $1"; pwd; env | sort
      for fd in /proc/$$/fd/*; do [ -e "$fd" ] && printf '%s ' "${fd##*/}"; done; echo)");
  command.environment.emplace_back("CDRZOO_X=1");
  CHECK(run(command).exit_code == 0);
  ::close(leaked);
  const std::string log = file_text(command.log);
  CHECK_THAT(log, test::contains("--progress-fd 3"));
  CHECK_THAT(log, test::contains(folder.path().string()));
  CHECK_THAT(log, test::contains("CDRZOO_X=1"));
  CHECK_THAT(log, !test::contains("HOME="));
  CHECK_THAT(log, test::contains("\n0 1 2 3 \n"));
}

TEST_CASE("a worker over its time is told to stop and then killed") {
  const test::TemporaryFolder folder;
  SECTION("it follows") {
    WorkerCommand command = script(folder, "trap 'exit 7' TERM; while :; do sleep 0.02; done");
    command.timeout_s = 1;
    command.grace_s = 10;
    const WorkerEnd end = run(command);
    CHECK(end.reason == Reason::timeout);
    CHECK(end.exit_code == 7);
    CHECK_FALSE(end.killed);
    CHECK(end.wall_s < 60);
  }
  SECTION("it does not") {
    WorkerCommand command = script(folder, "trap '' TERM; while :; do sleep 0.02; done");
    command.timeout_s = 1;
    const WorkerEnd end = run(command);
    CHECK(end.reason == Reason::timeout);
    CHECK(end.killed);
    CHECK(end.signal == SIGKILL);
    CHECK(end.wall_s < 60);
  }
  SECTION("it ends in time") {
    WorkerCommand command = script(folder, "exit 0");
    command.timeout_s = 30;
    CHECK(run(command).reason == Reason::exited);
  }
}

TEST_CASE("a worker is cancelled politely or at once") {
  const test::TemporaryFolder folder;
  std::atomic<Stop> stop{Stop::no};
  WorkerCommand command = script(folder, "trap '' TERM; : > ready; while :; do sleep 0.02; done");
  const bool politely = GENERATE(true, false);
  command.grace_s = politely ? 0.2 : 1000;
  std::thread caller([&] {
    wait_for_file(folder.path() / "ready");
    stop = politely ? Stop::politely : Stop::at_once;
  });
  const WorkerEnd end = run_worker(command, stop, {});
  caller.join();
  CHECK(end.reason == Reason::cancelled);
  CHECK(end.killed);
  CHECK(end.wall_s < 60);
}

TEST_CASE("a worker over its memory is stopped, its children count") {
  const test::TemporaryFolder folder;
  // sort keeps what it reads in memory, up to the size of its buffer
  const bool in_child = GENERATE(false, true);
  WorkerCommand command =
      script(folder, in_child ? "sort -S 600M /dev/zero & sleep 1000" : "exec sort -S 600M /dev/zero");
  command.memory_bytes = std::uint64_t{200} << 20U;
  const WorkerEnd end = run(command);
  CHECK(end.reason == Reason::memory);
  CHECK(end.peak_memory_bytes > command.memory_bytes);
  CHECK(end.wall_s < 60);
}

TEST_CASE("children that a worker leaves behind are ended, also those in sessions of their own") {
  const test::TemporaryFolder folder;
  SECTION("in the worker's group") {
    const WorkerEnd end = run(script(folder, "sleep 1000 & echo $! > child; exit 0"));
    CHECK(end.reason == Reason::exited);
    CHECK(end.strays == 1);
    CHECK(end.wall_s < 60);
  }
  SECTION("in a session of its own") {
    // the sleep is there before the file is
    const WorkerEnd end = run(
        script(folder, "setsid sh -c 'sleep 1000 & echo $$ > child; wait' & while ! [ -s child ]; do :; done; exit 0"));
    CHECK(end.reason == Reason::exited);
    CHECK(end.strays == 2);
  }
  SECTION("while they become one program after the other") {
    std::ofstream(folder.path() / "again.sh") << "exec /bin/sh again.sh\n";
    const WorkerEnd end = run(
        script(folder, "setsid sh -c 'echo $$ > child; exec sh again.sh' & while ! [ -s child ]; do :; done; exit 0"));
    CHECK(end.reason == Reason::exited);
    CHECK(end.strays == 1);
  }
  CHECK(is_gone(folder.path() / "child"));
}

TEST_CASE("a flood of output is read and not kept") {
  const test::TemporaryFolder folder;
  WorkerCommand command = script(folder, "echo begin; head -c 50000000 /dev/zero | tr '\\0' 'x'; echo; echo the end");
  command.max_log_bytes = 1U << 20U;
  const WorkerEnd end = run(command);
  CHECK(end.exit_code == 0);
  CHECK(end.log_bytes > 50000000);
  CHECK(fs::file_size(command.log) <= (1U << 20U) + 200);
  const std::string log = file_text(command.log);
  CHECK((log.substr(0, 6) == "begin\n"));
  CHECK((log.find("bytes left out here") != std::string::npos));
  CHECK((log.substr(log.size() - 9) == "\nthe end\n"));
  CHECK(end.last_words == "the end");
}

TEST_CASE("a short log is kept as it is") {
  const test::TemporaryFolder folder;
  const WorkerCommand command = script(folder, "echo one; echo 'two\ttabs' >&2; echo");
  const WorkerEnd end = run(command);
  CHECK(file_text(command.log) == "one\ntwo\ttabs\n\n");
  CHECK(end.last_words == "two tabs");
}

TEST_CASE("a program that is not there is an IoError that names it") {
  const test::TemporaryFolder folder;
  WorkerCommand command = script(folder, "");
  command.program = "/no/such worker";
  CHECK_THROWS_AS(run(command), IoError);
  CHECK_THROWS_WITH(run(command), test::contains("/no/such worker"));
}

TEST_CASE("the kernels of OpenBLAS follow the CPU's features") {
  CHECK(openblas_core_type({true, true, ""}) == "SkylakeX");
  CHECK(openblas_core_type({true, false, ""}) == "Haswell");
  CHECK(openblas_core_type({false, false, "any"}).empty());
}

TEST_CASE("OpenBLAS with OpenMP's threads is looked for where Debian has it for this processor") {
  const test::TemporaryFolder folder;
  CHECK(find_openmp_blas(folder.path()).empty());
  struct utsname system = {};
  REQUIRE(::uname(&system) == 0);
  for (const std::string& name : {std::string("other"), std::string(system.machine)}) {
    fs::create_directories(folder.path() / (name + "-linux-gnu") / "openblas-openmp");
    CHECK(find_openmp_blas(folder.path()).empty());
    std::ofstream(folder.path() / (name + "-linux-gnu") / "openblas-openmp" / "libblas.so.3") << "x";
  }
  CHECK(find_openmp_blas(folder.path()) ==
        folder.path() / (std::string(system.machine) + "-linux-gnu") / "openblas-openmp");
}

TEST_CASE("a worker's environment is made here, except for what the user tuned") {
  const CpuFeatures cpu = {true, true, "a CPU"};
  Machine machine;
  machine.cpu = cpu;
  const auto make = [&](const std::map<std::string, std::string>& caller) {
    return make_worker_environment(4, "/scratch", machine, caller);
  };
  SECTION("nothing set") {
    const WorkerEnvironment e = make({{"PATH", "/bin"}, {"EDITOR", "vi"}, {"LD_PRELOAD", "x.so"}, {"HOME", "/root"}});
    CHECK(e.variables == std::map<std::string, std::string>{{"PATH", "/bin"},
                                                            {"OMP_NUM_THREADS", "4"},
                                                            {"OPENBLAS_NUM_THREADS", "4"},
                                                            {"MKL_NUM_THREADS", "4"},
                                                            {"OMP_WAIT_POLICY", "PASSIVE"},
                                                            {"GOMP_SPINCOUNT", "0"},
                                                            {"OPENBLAS_CORETYPE", "SkylakeX"},
                                                            {"LC_ALL", "C"},
                                                            {"HOME", "/scratch"},
                                                            {"TMPDIR", "/scratch"}});
    CHECK(e.record.at("from_user").empty());
    CHECK(e.record.at("variables").at("OPENBLAS_CORETYPE") == "SkylakeX");
    CHECK(e.record.at("cpu").at("model") == "a CPU");
    CHECK(e.warnings.empty());
  }
  SECTION("the user's choice is kept and recorded") {
    const WorkerEnvironment e =
        make({{"OPENBLAS_CORETYPE", "Zen"}, {"OMP_NUM_THREADS", "2"}, {"MKL_CBWR", "COMPATIBLE"}});
    CHECK(e.variables.at("OPENBLAS_CORETYPE") == "Zen");
    CHECK(e.variables.at("OMP_NUM_THREADS") == "2");
    CHECK(e.variables.at("MKL_CBWR") == "COMPATIBLE");
    CHECK(e.record.at("from_user") == nlohmann::json{"OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "MKL_CBWR"});
  }
  SECTION("but not more threads than the budget") {
    const WorkerEnvironment e = make({{"OMP_NUM_THREADS", "64"}});
    CHECK(e.variables.at("OMP_NUM_THREADS") == "4");
    REQUIRE(e.warnings.size() == 1);
    CHECK_THAT(e.warnings[0], test::contains("OMP_NUM_THREADS=64"));
  }
  SECTION("OpenBLAS with OpenMP's threads is found behind the user's own libraries") {
    CHECK(make({{"LD_LIBRARY_PATH", "/mine"}}).variables.at("LD_LIBRARY_PATH") == "/mine");
    machine.openmp_blas = "/blas";
    const WorkerEnvironment chosen = make({});
    CHECK(chosen.variables.at("GOMP_SPINCOUNT") == "30000");
    CHECK(chosen.variables.at("LD_LIBRARY_PATH") == "/blas");
    CHECK(chosen.record.at("variables").at("LD_LIBRARY_PATH") == "/blas");
    CHECK(chosen.record.at("from_user").empty());
    const WorkerEnvironment mine = make({{"LD_LIBRARY_PATH", "/mine:/too"}});
    CHECK(mine.variables.at("LD_LIBRARY_PATH") == "/mine:/too:/blas");
    CHECK(mine.record.at("from_user") == nlohmann::json{"LD_LIBRARY_PATH"});
    const WorkerEnvironment alone = make({{"LD_LIBRARY_PATH", "/mine"}, {"CDRZOO_WORKER_ENV", "LD_LIBRARY_PATH"}});
    CHECK(alone.variables.at("LD_LIBRARY_PATH") == "/mine");
  }
  SECTION("rubbish is no choice") {
    CHECK(make({{"OMP_NUM_THREADS", "many"}}).variables.at("OMP_NUM_THREADS") == "4");
    CHECK(make({{"OMP_NUM_THREADS", ""}}).variables.at("OMP_NUM_THREADS") == "4");
  }
  SECTION("named variables are passed on and recorded") {
    const WorkerEnvironment e = make({{"CDRZOO_WORKER_ENV", "LD_PRELOAD,NONE"}, {"LD_PRELOAD", "x.so"}});
    CHECK(e.variables.at("LD_PRELOAD") == "x.so");
    CHECK(e.variables.count("NONE") == 0);
    CHECK(e.record.at("from_user") == nlohmann::json{"LD_PRELOAD"});
  }
}
