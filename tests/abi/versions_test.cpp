// SPDX-License-Identifier: Apache-2.0
/// Past, same and future hosts against old and new plugins. A host of another age is simulated byte by byte: every
/// growable struct ends, at the size that this host stamps, against an inaccessible page; a later host has a further
/// field, then bytes that nobody knows, and wider spans.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "support/catch.hpp"
#include "verify/session.hpp"

namespace {

using cdrzoo::LoadedPlugin;
using cdrzoo::MinorRange;
using namespace cdrzoo::verify;

constexpr std::uint64_t kYounger = 42;  ///< the value of the younger field of simulated hosts

/// What "old" was built for; the others were built for the next one.
constexpr std::uint32_t kNow = CDRZOO_ABI_MINOR;
const std::string kNowText = "minor 0 to " + std::to_string(kNow);

/// One age of the host, as seen by a plugin of the next minor.
struct HostAge {
  const char* name;
  MinorRange minors;
  bool has_younger;
  std::size_t poison;  ///< bytes of a still later minor
  std::uint32_t stride_extra;
};
constexpr HostAge kPast{"past", {0, kNow}, false, 0, 0};
constexpr HostAge kSame{"same", {0, kNow + 1}, true, 0, 0};
constexpr HostAge kFuture{"future", {0, 999}, true, 64, 24};

HostShape shape_of(const HostAge& age, std::uint32_t minor) {
  HostShape shape;
  shape.minor = minor;
  if (age.has_younger) {
    shape.tail.resize(sizeof kYounger);
    std::memcpy(shape.tail.data(), &kYounger, sizeof kYounger);
  }
  shape.tail.insert(shape.tail.end(), age.poison, 0xA5);
  shape.stride_extra = age.stride_extra;
  return shape;
}

cdrzoo_plugin_entry entry_of(const std::string& name) {
  const std::string path = std::string(CDRZOO_FIXTURE_DIR "/versions_") + name + ".so";
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw std::runtime_error(dlerror());
  void* symbol = dlsym(handle, CDRZOO_PLUGIN_ENTRY_NAME);
  cdrzoo_plugin_entry entry = nullptr;
  std::memcpy(&entry, &symbol, sizeof entry);
  return entry;
}

LoadedPlugin negotiated(const std::string& plugin, const HostAge& age) {
  return cdrzoo::negotiate(entry_of(plugin), "versions_" + plugin, "/nowhere", age.minors);
}

struct Life {
  float prediction = 0;  ///< above the mean of the training targets
  std::vector<std::string> log;
  std::string defect;
};

/// The whole life of a model on a simulated host: create, fit, predict, info, save, load, predict.
Life live(const std::string& name, const HostAge& age) {
  const auto plugin = negotiated(name, age);
  const auto& model = plugin.find("test.versions");
  const Toy toy("regression", 7);
  SessionOptions options;
  options.memory = Memory::guarded;
  options.sealed = true;
  options.shape = shape_of(age, plugin.minor);
  Session session(model, toy, options);
  Life life;
  const auto must = [&](const Outcome& outcome, const std::string& what) {
    if (!outcome.ok()) throw std::runtime_error(what + ": " + outcome.text());
  };
  must(session.create(), "create");
  must(session.fit(), "fit");
  const auto prediction = session.predict();
  must(prediction, "predict");
  cdrzoo_model_info info{};
  must(session.info(info), "info");
  State state;
  must(session.save(state), "save");
  Session loaded(model, toy, options);
  must(loaded.load(state), "load");
  const auto again = loaded.predict();
  must(again, "predict after load");
  life.defect = prediction.defect();
  if (again.mean != prediction.mean) life.defect += " the loaded model predicts otherwise";
  double mean = 0;
  const auto rows = session.train_plan().rows;
  for (const auto& row : rows) mean += static_cast<double>(row.target[0]);
  life.prediction = prediction.at(0) - static_cast<float>(mean / static_cast<double>(rows.size()));
  life.log = session.log;
  return life;
}

/// The signal that ends a child which does \p work; 0 if it comes through.
int signal_of(const std::function<void()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    for (const int signal : {SIGSEGV, SIGBUS, SIGABRT}) std::signal(signal, SIG_DFL);
    try {
      work();
    } catch (...) {
      _exit(9);
    }
    _exit(0);
  }
  int state = 0;
  waitpid(child, &state, 0);
  if (WIFEXITED(state) && WEXITSTATUS(state) != 0) return -WEXITSTATUS(state);
  return WIFSIGNALED(state) ? WTERMSIG(state) : 0;
}

using cdrzoo::test::WithinAbs;

}  // namespace

TEST_CASE("an old plugin runs on hosts of its own age and on later ones") {
  for (const auto& age : {kPast, kSame, kFuture}) {
    INFO(age.name);
    CHECK(negotiated("old", age).minor == kNow);
    const auto life = live("old", age);
    CHECK(life.defect.empty());
    CHECK_THAT(static_cast<double>(life.prediction), WithinAbs(0.0, 1e-5));
  }
}

TEST_CASE("a new plugin that asks first uses the younger field where there is one, and goes without elsewhere") {
  for (const auto& age : {kSame, kFuture}) {
    INFO(age.name);
    CHECK(negotiated("careful", age).minor == kNow + 1);
    const auto life = live("careful", age);
    CHECK(life.defect.empty());
    CHECK_THAT(static_cast<double>(life.prediction), WithinAbs(42.0, 1e-4));
    CHECK(life.log.empty());
  }
  CHECK(negotiated("careful", kPast).minor == kNow);
  const auto life = live("careful", kPast);
  CHECK(life.defect.empty());
  CHECK_THAT(static_cast<double>(life.prediction), WithinAbs(0.0, 1e-5));
  REQUIRE(life.log.size() == 1);
  CHECK(life.log[0] == "this host is older: going without");
}

TEST_CASE("a new plugin that cannot do without refuses an old host with a sentence") {
  CHECK(negotiated("demanding", kSame).minor == kNow + 1);
  CHECK_THAT(static_cast<double>(live("demanding", kFuture).prediction), WithinAbs(42.0, 1e-4));
  try {
    (void)negotiated("demanding", kPast);
    FAIL("the old host took it");
  } catch (const cdrzoo::PluginError& e) {
    CHECK(std::string(e.what()) == "versions_demanding speaks minor " + std::to_string(kNow + 1) +
                                       ", this cdrzoo speaks " + kNowText +
                                       " of ABI epoch 0: update cdrzoo, or use an older build of the plugin");
  }
}

TEST_CASE("an old plugin refuses a host that has left its minor behind, with a sentence") {
  constexpr HostAge kMuchLater{"much later", {5, 9}, true, 64, 24};
  try {
    (void)negotiated("old", kMuchLater);
    FAIL("the host took it");
  } catch (const cdrzoo::PluginError& e) {
    CHECK(std::string(e.what()) == "versions_old speaks " + kNowText +
                                       ", this cdrzoo speaks minor 5 to 9 of ABI epoch 0: rebuild the plugin with "
                                       "current headers");
  }
}

TEST_CASE("a plugin that reads a younger field without asking dies on an old host, every time") {
  for (const auto& age : {kSame, kFuture}) {
    INFO(age.name);
    CHECK_THAT(static_cast<double>(live("careless", age).prediction), WithinAbs(42.0, 1e-4));
  }
  CHECK(signal_of([] { (void)live("careful", kPast); }) == 0);
  CHECK(signal_of([] { (void)live("careless", kPast); }) == SIGSEGV);
}

TEST_CASE("a plugin that writes a younger field without asking dies on an old host, every time") {
  CHECK(signal_of([] { (void)live("careless_output", kSame); }) == 0);
  CHECK(signal_of([] { (void)live("careless_output", kFuture); }) == 0);
  CHECK(signal_of([] { (void)live("careless_output", kPast); }) == SIGSEGV);
}

TEST_CASE("negotiation stays within the offer and the answer of a host of any age") {
  for (const std::string name : {"old", "careful", "demanding"}) {
    for (const auto& age : {kPast, kSame, kFuture}) {
      INFO(name << " on " << age.name);
      const auto entry = entry_of(name);
      const int signal = signal_of([&] {
        Arena arena(Memory::guarded);
        const auto shape = shape_of(age, 0);
        cdrzoo_offer offer{};
        offer.host_minor_min = age.minors.min;
        offer.host_minor_max = age.minors.max;
        const auto* handed = put(arena, offer, shape);
        arena.seal();
        auto* answer = put(arena, cdrzoo_answer{}, shape);
        const auto room = answer->size;
        const auto status = entry(handed, answer);
        if (status != CDRZOO_OK && status != CDRZOO_E_VERSION) _exit(2);
        if (answer->size > room) _exit(3);
        // What the plugin does not know stays untouched.
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(answer);
        for (std::size_t i = room - age.poison; i < room; ++i) {
          if (bytes[i] != 0xA5) _exit(4);
        }
      });
      CHECK(signal == 0);
    }
  }
}
