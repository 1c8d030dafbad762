// SPDX-License-Identifier: Apache-2.0
#include "plugin/process.hpp"

#include <chrono>
#include <csignal>
#include <string>

#include "base/error.hpp"
#include "support/catch.hpp"

using cdrzoo::run_process;

namespace {

cdrzoo::ProcessResult shell(const std::string& script, double timeout_s = 20) {
  return run_process({"/bin/sh", "-c", script}, timeout_s, {"GREETING=hello"});
}

}  // namespace

TEST_CASE("a child's output, exit code and signal are reported") {
  const auto good = shell("echo $GREETING; echo oops >&2");
  CHECK(good.ok());
  CHECK(good.out == "hello\n");
  CHECK(good.err == "oops\n");
  const auto bad = shell("exit 3");
  CHECK(bad.exit_code == 3);
  CHECK(bad.how_it_ended(20) == "exited with 3");
  const auto killed = shell("kill -SEGV $$");
  CHECK(killed.signal == SIGSEGV);
  CHECK(killed.how_it_ended(20) == "was killed by signal 11 (Segmentation fault)");
}

TEST_CASE("more output than a pipe or the limit holds does not block the child") {
  const auto result = shell("head -c 6000000 /dev/zero; head -c 300000 /dev/zero >&2");
  CHECK(result.ok());
  CHECK(result.out.size() == std::size_t{4} << 20U);
  CHECK(result.err.size() == 300000);
}

TEST_CASE("a child that hangs is killed with its children after the time limit") {
  const auto start = std::chrono::steady_clock::now();
  const auto result = shell("sleep 60 & sleep 60", 0.3);
  CHECK(result.timed_out);
  CHECK(result.how_it_ended(0.3) == "gave no answer within 0.3 s");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
}

TEST_CASE("a grandchild that keeps the pipes open does not keep the answer back") {
  const auto start = std::chrono::steady_clock::now();
  const auto result = shell("sleep 60 & echo done");
  CHECK(result.ok());
  CHECK(result.out == "done\n");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
}

TEST_CASE("a program that does not exist is an error with its path") {
  CHECK_THROWS_WITH(run_process({"/nonexistent/program"}, 1),
                    cdrzoo::test::contains("cannot start /nonexistent/program: No such file"));
}
