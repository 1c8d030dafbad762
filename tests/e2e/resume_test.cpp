// SPDX-License-Identifier: Apache-2.0
// `cdrzoo bench` that is killed, interrupted or started twice loses nothing, damages nothing and changes no result.
#include <fcntl.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill is POSIX
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "host/run/runner_fixture.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using namespace cdrzoo::test;
namespace fs = std::filesystem;

namespace {

std::string file_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

/// An experiment on disk: 3 models x 5 folds, one of which fails always.
class Workplace {
 public:
  explicit Workplace(int ms) {
    write_dataset(run_fixture_content(), folder_ / "data.h5");
    std::ofstream(folder_ / "experiment.toml")
        << "name = \"e2e\"\ndataset = \"data.h5\"\ntask = \"regression\"\n"
           "[split]\nkind = \"lco\"\nfolds = 5\n[run]\njobs = 2\nthreads = 1\n"
           "[[model]]\nid = \"fixture.good\"\nparams = { ms = "
        << ms << " }\n[[model]]\nid = \"fixture.bad\"\nname = \"crashing\"\nparams = { how = \"crash\" }\n"
        << "[[model]]\nid = \"fixture.bad\"\nname = \"chatty\"\nparams = { how = \"flood\", ms = " << ms << " }\n";
  }

  [[nodiscard]] fs::path store(const std::string& name) const { return folder_ / name; }

  /// Starts `cdrzoo bench`; its output goes to <store>.out.
  [[nodiscard]] pid_t start(const std::string& store_name, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {CDRZOO_BIN_DIR "/cdrzoo",
                                      "bench",
                                      (folder_ / "experiment.toml").string(),
                                      "--store",
                                      store(store_name).string(),
                                      "--progress",
                                      "lines"};
    words.insert(words.end(), more.begin(), more.end());
    std::vector<std::string> variables = {"PATH=/usr/bin:/bin", "CDRZOO_PLUGIN_PATH=" CDRZOO_FIXTURE_DIR,
                                          "XDG_CACHE_HOME=" + (folder_ / "cache").string()};
    if (const char* options = std::getenv("ASAN_OPTIONS")) variables.push_back(std::string("ASAN_OPTIONS=") + options);
    std::vector<char*> argv;
    std::vector<char*> envp;
    for (auto& word : words) argv.push_back(word.data());
    for (auto& variable : variables) envp.push_back(variable.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
    const std::string out = (folder_ / (store_name + ".out")).string();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid = -1;
    const int error = posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), envp.data());
    posix_spawn_file_actions_destroy(&actions);
    REQUIRE(error == 0);
    return pid;
  }

  [[nodiscard]] std::string output(const std::string& store_name) const {
    return file_text(folder_ / (store_name + ".out"));
  }

  /// Processes whose command line names this workplace: this run's workers.
  [[nodiscard]] int processes(const std::string& store_name) const {
    int n = 0;
    const std::string wanted = store(store_name).string() + "/";
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      n += file_text(entry.path() / "cmdline").find(wanted) != std::string::npos ? 1 : 0;
    }
    return n;
  }
  /// Cells that are there, finished.
  [[nodiscard]] std::size_t cells(const std::string& store_name) const {
    const fs::path folder = store(store_name) / "cells";
    if (!fs::exists(folder)) return 0;
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
  }
  [[nodiscard]] bool no_processes(const std::string& store_name) const {
    for (int i = 0; i < 1000; ++i) {
      if (processes(store_name) == 0) return true;
      sleep_ms(10);
    }
    return false;
  }

 private:
  TemporaryFolder folder_;
};

struct Ended {
  int exit_code = -1;
  int signal = 0;
};
Ended wait_for(pid_t pid) {
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0};
}

/// All cells of a store: the predictions' bytes, and the record without what may differ between runs.
std::map<std::string, std::string> contents(const fs::path& root) {
  const Store store = Store::open_read_only(root);
  std::map<std::string, std::string> out;
  for (const auto& key : store.keys()) {
    nlohmann::json record = store.check(key).to_json();  // throws if the cell is damaged
    for (const char* name : {"timing", "host", "finished_at"}) record.erase(name);
    out[key] = record.dump() + file_text(root / "cells" / key / "predictions.h5");
  }
  return out;
}

/// Names below tmp that are no lock files.
std::set<std::string> temporaries(const fs::path& root) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(root / "tmp")) names.insert(entry.path().filename().string());
  names.erase("gate");
  return names;
}

}  // namespace

TEST_CASE("a run that is killed again and again ends with the results of an undisturbed one") {
  const Workplace place(30);
  CHECK(wait_for(place.start("undisturbed")).exit_code == 1);  // the crashing model
  const auto expected = contents(place.store("undisturbed"));
  REQUIRE(expected.size() == 15);

  std::mt19937 random(20240501);
  std::uniform_int_distribution<int> new_cells(0, 1);
  std::uniform_int_distribution<int> delay_ms(0, 40);
  std::map<std::string, std::string> before;
  int killed = 0;
  for (int round = 0; round < 12; ++round) {
    const pid_t runner = place.start("killed");
    // By what it has done, not by the clock, so that a fast or busy machine is interrupted as often as another.
    const std::size_t cells = std::min(expected.size(), before.size() + static_cast<std::size_t>(new_cells(random)));
    for (int i = 0; i < 60000 && place.cells("killed") < cells; ++i) sleep_ms(1);
    sleep_ms(delay_ms(random));
    ::kill(runner, SIGKILL);
    killed += wait_for(runner).signal == SIGKILL ? 1 : 0;
    CHECK(place.no_processes("killed"));  // the workers die with their runner
    if (!fs::exists(place.store("killed") / "cells")) continue;
    const auto now = contents(place.store("killed"));
    for (const auto& [key, content] : before) CHECK((now.count(key) == 1 && now.at(key) == content));
    for (const auto& [key, content] : now) CHECK((expected.count(key) == 1 && expected.at(key) == content));
    before = now;
  }
  INFO("killed " << killed << " of 12, " << before.size() << " cells by then");
  CHECK(killed >= 3);
  CHECK(wait_for(place.start("killed")).exit_code == 1);
  CHECK((contents(place.store("killed")) == expected));
  CHECK(temporaries(place.store("killed")).empty());
}

TEST_CASE("an interrupted run leaves cells and nothing else, and goes on") {
  const int signal = GENERATE(SIGINT, SIGTERM);
  const Workplace place(200);
  const pid_t runner = place.start("store");
  for (int i = 0; i < 6000 && place.processes("store") < 2; ++i) sleep_ms(10);  // the runner itself is one of them
  sleep_ms(300);
  ::kill(runner, signal);
  CHECK(wait_for(runner).exit_code == 1);
  CHECK(place.no_processes("store"));
  CHECK_THAT(place.output("store"), contains("interrupted"));
  CHECK(temporaries(place.store("store")).empty());
  CHECK(contents(place.store("store")).size() < 15);
  CHECK(wait_for(place.start("store")).exit_code == 1);
  CHECK(contents(place.store("store")).size() == 15);
}

TEST_CASE("two runs on one store at the same time share it, and one takes over when the other is killed") {
  const Workplace place(60);
  CHECK(wait_for(place.start("one", {"--jobs", "1"})).exit_code == 1);
  const auto expected = contents(place.store("one"));
  const bool kill_one = GENERATE(false, true);
  const pid_t first = place.start("two");
  const pid_t second = place.start("two");
  if (kill_one) {
    sleep_ms(400);
    ::kill(first, SIGKILL);
  }
  const Ended end = wait_for(first);
  CHECK((kill_one || end.exit_code == 1));
  CHECK(wait_for(second).exit_code == 1);
  CHECK((contents(place.store("two")) == expected));
  CHECK(place.no_processes("two"));
  const auto left = temporaries(place.store("two"));
  if (!kill_one) CHECK(left.empty());
}

TEST_CASE("a failed row says why and how to repeat it") {
  const Workplace place(0);
  CHECK(wait_for(place.start("store", {"--only", "fold=0"})).exit_code == 1);
  const std::string out = place.output("store");
  CHECK_THAT(out, contains("crashing fold 0 seed 0: crash"));
  CHECK_THAT(out, contains("killed by SIGSEGV (Segmentation fault) in fit"));
  CHECK_THAT(out, contains("--retry-failed --keep-bundles"));
  CHECK_THAT(out, contains("cdrzoo-worker"));
  // The line that it prints does what it says.
  const auto at = out.find("repeat it: cdrzoo ");
  REQUIRE(at != std::string::npos);
  const std::string line = out.substr(at + 18, out.find('\n', at) - at - 18);
  const std::string command = "CDRZOO_PLUGIN_PATH='" CDRZOO_FIXTURE_DIR "' XDG_CACHE_HOME='" +
                              (place.store("cache")).string() + "' '" CDRZOO_BIN_DIR "/cdrzoo' " + line + " > '" +
                              place.store("repeat.out").string() + "' 2>&1";
  CHECK(std::system(command.c_str()) != 0);  // NOLINT(cert-env33-c): it crashes again
  const auto bundles = place.store("store") / "bundles";
  REQUIRE(fs::exists(bundles));
  int tasks = 0;
  for (const auto& entry : fs::directory_iterator(bundles)) tasks += fs::exists(entry.path() / "task.json") ? 1 : 0;
  CHECK(tasks == 1);
}
