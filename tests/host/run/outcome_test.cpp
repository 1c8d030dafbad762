// SPDX-License-Identifier: Apache-2.0
#include "run/outcome.hpp"

#include <csignal>
#include <fstream>
#include <limits>

#include "base/error.hpp"
#include "data/hdf5_file.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using Reason = WorkerEnd::Reason;
namespace fs = std::filesystem;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Judged {
  test::TemporaryFolder folder;
  WorkerEnd end;
  WorkerCommand command;

  Judged() {
    end.last = {"fit", "epoch", 3, 10};
    command.timeout_s = 5;
    command.grace_s = 2;
    command.memory_bytes = std::uint64_t{1000} << 20U;
  }
  void status(const std::string& text) const { std::ofstream(folder.path() / "status.json") << text; }
  [[nodiscard]] Outcome judge() const { return cdrzoo::judge(end, command, folder.path()); }
};

}  // namespace

TEST_CASE("an ok of the worker is an ok, with its timing") {
  Judged j;
  j.status(R"({"status":"ok","timing":{"fit_s":2.5},"peak_rss_mb":17.5,"n_parameters":9})");
  const Outcome out = j.judge();
  CHECK(out.ok());
  CHECK(out.message.empty());
  CHECK(out.timing.at("fit_s") == 2.5);
  CHECK(out.timing.at("peak_rss_mb") == 17.5);
  CHECK(out.extra.at("n_parameters") == 9);
}

TEST_CASE("how the process ended outweighs what it wrote") {
  Judged j;
  j.status(R"({"status":"ok"})");
  SECTION("a signal") {
    j.end.reason = Reason::signalled;
    j.end.signal = SIGSEGV;
    j.end.last_words = "oh no";
    CHECK(j.judge().status == "crash");
    CHECK(j.judge().message == "killed by SIGSEGV (Segmentation fault) in fit (epoch 3 of 10); its last words: oh no");
  }
  SECTION("an abort at the memory limit") {
    j.end.reason = Reason::signalled;
    j.end.signal = SIGABRT;
    j.end.peak_memory_bytes = std::uint64_t{950} << 20U;
    CHECK(j.judge().status == "oom");
    j.end.peak_memory_bytes = std::uint64_t{500} << 20U;
    CHECK(j.judge().status == "crash");
  }
  SECTION("our timeout") {
    j.end.reason = Reason::timeout;
    CHECK(j.judge().status == "timeout");
    CHECK(j.judge().message == "over the limit of 5.0 s in fit (epoch 3 of 10)");
    j.end.killed = true;
    CHECK_THAT(j.judge().message, test::contains("killed after 2.0 s more"));
  }
  SECTION("our memory limit, or the kernel's") {
    j.end.reason = Reason::memory;
    j.end.peak_memory_bytes = std::uint64_t{1500} << 20U;
    CHECK(j.judge().status == "oom");
    CHECK_THAT(j.judge().message, test::contains("limit of 1000 MiB"));
    j.end.peak_memory_bytes = std::uint64_t{100} << 20U;
    CHECK_THAT(j.judge().message, test::contains("the system ran out of memory"));
  }
  SECTION("an exit code after the results") {
    j.end.exit_code = 4;
    CHECK(j.judge().status == "contract_violation");
    CHECK_THAT(j.judge().message, test::contains("exit code 4"));
  }
}

TEST_CASE("an exit without a word of the worker is the plugin's doing, unless the worker could not begin") {
  Judged j;
  CHECK(j.judge().status == "contract_violation");
  CHECK(j.judge().message == "the plugin ended the process with exit code 0 in fit (epoch 3 of 10)");
  j.end.last = {};
  j.end.exit_code = 1;
  j.end.last_words = "error while loading shared libraries";
  CHECK(j.judge().status == "error");
  CHECK_THAT(j.judge().message, test::contains("shared libraries"));
  j.end.last = {"load", "", 0, 0};
  j.end.exit_code = 2;
  j.end.last_words = "cdrzoo-worker: cannot write status.json: No space left on device";
  CHECK(j.judge().status == "error");
  CHECK_THAT(j.judge().message, test::contains("No space left"));
}

TEST_CASE("failures of the worker keep their words") {
  Judged j;
  j.end.exit_code = 1;
  j.status(R"({"status":"numeric","message":"the loss is NaN","where":"epoch 3","stage":"fit"})");
  CHECK(j.judge().status == "numeric");
  CHECK(j.judge().message == "fit, epoch 3: the loss is NaN");
  j.status(R"({"status":"timeout","message":"cancelled","stage":"fit"})");
  CHECK(j.judge().status == "timeout");
  CHECK_THAT(j.judge().message, test::contains("limit of 5.0 s"));
  j.status(R"({"status":"cancelled","message":"stopped","stage":"fit"})");
  CHECK(j.judge().status == "error");  // nobody asked
}

TEST_CASE("rubbish instead of a status is a violation") {
  Judged j;
  const std::string text = GENERATE(as<std::string>(), "", "{", "[]", "{}", R"({"status":7})", R"({"status":"fine"})");
  j.status(text);
  CHECK(j.judge().status == "contract_violation");
}

TEST_CASE("raw predictions are checked for completeness and finiteness") {
  const test::TemporaryFolder folder;
  const auto write = [&](const std::vector<float>& mean, const std::vector<std::int32_t>& status) {
    Hdf5Writer file(folder.path() / "predictions.h5");
    file.write("/validation/mean", std::vector<float>{1, 2});
    file.write("/validation/row_status", std::vector<std::int32_t>{0, 0});
    file.write("/test/mean", mean);
    file.write("/test/row_status", status);
    file.commit();
  };
  const auto message = [&] {
    try {
      (void)read_raw_predictions(folder.path(), 2, 3);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK_THAT(message(), test::contains("no predictions"));
  write({1, kNan, 3}, {0, 1, 0});
  CHECK(message().empty());
  const RawPredictions raw = read_raw_predictions(folder.path(), 2, 3);
  CHECK(raw.validation.mean == std::vector<double>{1, 2});
  CHECK(raw.test.mean[2] == 3);
  CHECK(raw.test.mean[1] != raw.test.mean[1]);
  CHECK(raw.test.row_status == std::vector<std::int32_t>{0, 1, 0});
  write({1, 2, 3}, {0, 1, 0});
  CHECK(read_raw_predictions(folder.path(), 2, 3).test.mean[1] != 2);  // declined: whatever stands there is no value
  write({1, kNan, 3}, {0, 0, 0});
  CHECK_THAT(message(), test::contains("test row 1 of 3: NaN"));
  write({1, std::numeric_limits<float>::infinity(), 3}, {0, 0, 0});
  CHECK_THAT(message(), test::contains("infinity"));
  write({1, 2}, {0, 0});
  CHECK_THAT(message(), test::contains("2 values, 3 are expected"));
  fs::resize_file(folder.path() / "predictions.h5", 100);
  CHECK_FALSE(message().empty());
}
