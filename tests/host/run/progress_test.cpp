// SPDX-License-Identifier: Apache-2.0
#include "run/progress.hpp"

#include <cstdlib>
#include <memory>

#include "base/error.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using test::WithinRel;

namespace {

/// What a display writes.
class Captured {
 public:
  Captured() : stream_(::open_memstream(&text_, &size_)) {}
  ~Captured() {
    std::fclose(stream_);
    std::free(text_);
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  [[nodiscard]] std::FILE* stream() const { return stream_; }
  [[nodiscard]] std::string text() {
    std::fflush(stream_);
    return {text_, size_};
  }

 private:
  char* text_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* stream_;
};

}  // namespace

TEST_CASE("what is left is estimated from cells of the same model") {
  EtaEstimator eta;
  CHECK(eta.estimate({}, 0, 2) == 0);
  CHECK(eta.estimate({"a"}, 0, 2) < 0);  // nothing is known
  eta.add("fast", 1);
  eta.add("fast", 3);
  eta.add("slow", 20);
  CHECK_THAT(eta.estimate({"fast"}, 0, 1), WithinRel(2.0, 1e-12));
  CHECK_THAT(eta.estimate({"fast", "slow", "slow"}, 0, 1), WithinRel(42.0, 1e-12));
  CHECK_THAT(eta.estimate({"fast", "slow", "slow"}, 12, 1), WithinRel(30.0, 1e-12));
  CHECK_THAT(eta.estimate({"fast", "slow", "slow"}, 0, 2), WithinRel(21.0, 1e-12));
  CHECK_THAT(eta.estimate({"slow"}, 0, 8), WithinRel(20.0, 1e-12));  // one cell keeps one worker
  CHECK_THAT(eta.estimate({"new"}, 0, 1), WithinRel(8.0, 1e-12));    // the mean of all cells
  CHECK(eta.estimate({"fast"}, 100, 1) == 0);                        // never negative
}

TEST_CASE("durations are short and have units") {
  CHECK(format_duration(0.04) == "0.0 s");
  CHECK(format_duration(9.94) == "9.9 s");
  CHECK(format_duration(9.96) == "10 s");
  CHECK(format_duration(59.6) == "1 min 0 s");
  CHECK(format_duration(200) == "3 min 20 s");
  CHECK(format_duration(7500) == "2 h 5 min");
}

TEST_CASE("without a terminal every event is one plain line") {
  Captured out;
  CHECK(ProgressDisplay::parse_mode("auto", std::tmpfile()) == ProgressDisplay::Mode::lines);
  ProgressDisplay display(ProgressDisplay::Mode::lines, out.stream(), {"a", "b", "a"}, 1);
  display.started(0, "a fold 0", "a");
  display.progressed(0, {"fit", "epoch", 1, 2});
  display.tick();
  CHECK(out.text().empty());
  display.ended(0, "ok", "", 12.3);
  display.started(0, "b fold 0", "b");
  display.ended(0, "crash", "    killed by SIGSEGV", 0.5);
  display.elsewhere("a", true);
  display.note("stopping");
  display.finish();
  CHECK(out.text() ==
        "[1/3] a fold 0: ok, 12 s, about 25 s left\n"
        "[2/3] b fold 0: crash, 0.5 s, about 12 s left\n    killed by SIGSEGV\n"
        "[3/3] a: finished by another run\n"
        "stopping\n");
}

TEST_CASE("on a terminal one line is drawn again and again, and failures stay above it") {
  Captured out;
  ProgressDisplay display(ProgressDisplay::Mode::bar, out.stream(), {"a", "b"}, 2);
  display.started(0, "a fold 0", "a");
  display.progressed(0, {"fit", "epoch", 1, 4});
  display.tick();
  CHECK_THAT(out.text(), test::contains("0/2, time left not known yet | a fold 0 fit 25%"));
  display.ended(0, "crash", "    why", 1);
  CHECK_THAT(out.text(), test::contains("\r\x1b[K[1/2] a fold 0: crash, 1.0 s, about 1.0 s left\n    why\n"));
  display.finish();
  const std::string text = out.text();
  CHECK((text.substr(text.size() - 4) == "\r\x1b[K"));
}

TEST_CASE("no progress is no output, and another word is refused") {
  Captured out;
  ProgressDisplay display(ProgressDisplay::Mode::none, out.stream(), {"a"}, 1);
  display.started(0, "a", "a");
  display.ended(0, "crash", "why", 1);
  display.finish();
  CHECK(out.text().empty());
  CHECK_THROWS_AS(ProgressDisplay::parse_mode("loud", stderr), UsageError);
}
