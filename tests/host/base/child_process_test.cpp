// SPDX-License-Identifier: Apache-2.0
#include "base/child_process.hpp"

#include <unistd.h>

#include <csignal>
#include <ctime>
#include <new>
#include <stdexcept>

#include "base/error.hpp"
#include "support/catch.hpp"

using cdrzoo::ChildTask;
using cdrzoo::run_in_child;

namespace {

const ChildTask kTask{"reading x.h5", "x.h5 is damaged: the library crashes on it", 0, true, 1};

template <typename Exception>
void throws_as_it_was(const char* words) {
  CHECK_THROWS_MATCHES(run_in_child(kTask, [&]() -> std::string { throw Exception(words); }), Exception,
                       Catch::Matchers::Message(words));
}

}  // namespace

TEST_CASE("What a child returns comes back whole, and what it changes does not") {
  int touched = 0;
  const std::string large(3'000'000, 'x');
  CHECK(run_in_child(kTask, [&] {
          touched = 1;
          return large;
        }) == large);
  CHECK(touched == 0);
  CHECK(run_in_child(kTask, [] { return std::string(); }).empty());
}

TEST_CASE("An exception of a child keeps its class and its sentence") {
  throws_as_it_was<cdrzoo::UsageError>("a wrong option");
  throws_as_it_was<cdrzoo::DataError>("a wrong file");
  throws_as_it_was<cdrzoo::IoError>("a full disk");
  throws_as_it_was<cdrzoo::PluginError>("a wrong plugin");
  throws_as_it_was<cdrzoo::Error>("something else");
  throws_as_it_was<std::runtime_error>("no error of ours");
  CHECK_THROWS_AS(run_in_child(kTask, []() -> std::string { throw std::bad_alloc(); }), std::bad_alloc);
}

TEST_CASE("A crash of a child is an error about the data") {
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) {
    CHECK_THROWS_MATCHES(run_in_child(kTask,
                                      [signal] {
                                        ::raise(signal);
                                        return std::string();
                                      }),
                         cdrzoo::DataError, Catch::Matchers::Message(kTask.crash));
  }
  CHECK_THROWS_MATCHES(run_in_child(kTask, []() -> std::string { ::_exit(0); }), cdrzoo::DataError,
                       Catch::Matchers::Message(kTask.crash));
  CHECK_THROWS_MATCHES(run_in_child(kTask, []() -> std::string { ::_exit(1); }), cdrzoo::DataError,
                       Catch::Matchers::Message(kTask.crash));
}

TEST_CASE("A child that was killed or does not come back is no error about the data") {
  CHECK_THROWS_MATCHES(run_in_child(kTask,
                                    [] {
                                      ::raise(SIGKILL);
                                      return std::string();
                                    }),
                       cdrzoo::IoError, Catch::Matchers::Message("reading x.h5 was killed by signal 9 (Killed)"));
  ChildTask hasty = kTask;
  hasty.timeout_s = 1;
  CHECK_THROWS_MATCHES(run_in_child(hasty,
                                    [] {
                                      for (;;) ::pause();
                                      return std::string();
                                    }),
                       cdrzoo::IoError, Catch::Matchers::Message("reading x.h5 took more than 1 s"));
}

TEST_CASE("A guarded call that goes on for ever ends the child, and nothing else does") {
  const auto spin = [](double cpu_s) {
    const std::clock_t start = std::clock();
    while (static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < cpu_s) {
    }
  };
  CHECK_THROWS_MATCHES(run_in_child(kTask,
                                    [&] {
                                      const cdrzoo::HangGuard guard;
                                      { const cdrzoo::HangGuard inner; }
                                      spin(60);
                                      return std::string();
                                    }),
                       cdrzoo::DataError, Catch::Matchers::Message(kTask.crash));
  CHECK(run_in_child(kTask, [&] {
          { const cdrzoo::HangGuard guard; }
          spin(1.5);
          return std::string("done");
        }) == "done");
}
