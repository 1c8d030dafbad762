// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/hash.hpp"
#include "plugin/elf.hpp"
#include "plugin/library.hpp"
#include "plugin/registry.hpp"
#include "support/catch.hpp"

namespace fs = std::filesystem;
using cdrzoo::scan_plugins;

namespace {

const fs::path kFixtures = CDRZOO_FIXTURE_DIR;

/// A folder of this test alone, which is also the cache folder of the registry while it lives.
struct Scratch {
  fs::path path;
  Scratch() {
    std::string pattern = (fs::temp_directory_path() / "cdrzoo load test XXXXXX").string();  // with spaces
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path = pattern;
    setenv("XDG_CACHE_HOME", (path / "cache").c_str(), 1);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    unsetenv("XDG_CACHE_HOME");
    unsetenv("CDRZOO_WORKER");
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

fs::path fixture(const std::string& name) { return kFixtures / ("load_" + name + ".so"); }

/// Why a file cannot be used; "" if it can.
std::string reason(const fs::path& file) {
  const auto registry = scan_plugins({file});
  return registry.failures.empty() ? "" : registry.failures.front().reason;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void write(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("a plugin that cannot be used is listed with one sentence that says why") {
  const Scratch scratch;
  const auto check = [](const std::string& name, const std::string& part) {
    const std::string why = reason(fixture(name));
    INFO(name << ": " << why);
    CHECK(contains(why, part));
    CHECK(contains(why, "load_" + name + ".so"));
    CHECK_FALSE(contains(why, "\n"));
  };
  check("wrong_symbol", "exports no cdrzoo_plugin_v0: it is no cdrzoo plugin");
  check("other_epoch", "exports cdrzoo_plugin_v1, this host speaks epoch 0");
  check("needs_minor_7", "speaks minor 7 to 9, this cdrzoo speaks minor 0 to 3 of ABI epoch 0: update cdrzoo");
  check("answers_minor_9", "answers minor 9 (built for 9, needs 0)");
  check("card_of_another", "model test.load: its card says \"test.another\", expected the same id");
  check("card_no_json", "card of test.load");
  check("card_no_json", "is no valid JSON");
  check("card_unknown_key", "unknown key \"colour\"; known: card, id");
  check("card_claims_embed", "its card offers embeddings, and the operation \"embed\" is missing");
  check(
      "card_claims_sparse_targets",
      "the card of test.load says accepts_sparse_targets, which ABI minor 2 has brought, and the plugin was built for "
      "minor 1");
  check("missing_operation", "the mandatory operation \"predict\" is missing");
  check("short_table", "its table of operations has");
  check("twice_the_same", "two of its models are called test.load");
  check("constructor_aborts", "the process that loaded it was killed by signal 6 (Aborted)");
  check("undefined_symbol", "a_function_that_nobody_defines");
  check("entry_exits", "the process that loaded it exited with 0 without an answer");
  check("entry_fails", "its entry function returned E_INTERNAL (-16), expected 0");
  check("no_models", "it offers 0 models");
  check("bad_stride", "its models lie 3 bytes apart");
  check("overrun", "wrote beyond the answer");
}

TEST_CASE("files that are no libraries are refused without running them") {
  const Scratch scratch;
  const auto text = scratch.path / "text.so";
  write(text, "#!/bin/sh\necho hello\n");
  CHECK(contains(reason(text), "is no ELF file"));
  const auto empty = scratch.path / "empty.so";
  write(empty, "");
  CHECK(contains(reason(empty), "is no ELF file"));
  const std::string good = read(fixture("good"));
  for (const std::size_t keep : {std::size_t{64}, std::size_t{700}, good.size() / 2, good.size() - 1}) {
    const auto cut = scratch.path / ("cut" + std::to_string(keep) + ".so");
    write(cut, good.substr(0, keep));
    INFO(keep << ": " << reason(cut));
    CHECK(contains(reason(cut), "is a damaged ELF file"));
  }
  CHECK(contains(reason(scratch.path / "absent.so"), "cannot be opened: No such file"));
  CHECK(contains(reason("/proc/self/exe"), "exports no cdrzoo_plugin_v0"));
}

TEST_CASE("the ELF reader survives every single damaged byte of the headers") {
  const Scratch scratch;
  const std::string good = read(fixture("good"));
  const auto path = scratch.path / "damaged.so";
  for (std::size_t i = 0; i < 64; ++i) {
    for (const char value : {'\0', '\x7f', '\xff'}) {
      std::string bytes = good;
      bytes[i] = value;
      write(path, bytes);
      (void)cdrzoo::read_elf(path);  // an answer of some kind, no crash
    }
  }
  CHECK(cdrzoo::read_elf(fixture("good")).exports == std::vector<std::string>{"cdrzoo_plugin_v0"});
}

TEST_CASE("a good plugin loads, also where its constructor writes to stdout and its path has spaces") {
  const Scratch scratch;
  for (const std::string name : {"good", "constructor_prints"}) {
    const auto copy = scratch.path / (name + ".so");
    fs::copy_file(fixture(name), copy);
    const auto registry = scan_plugins({copy});
    for (const auto& failure : registry.failures) UNSCOPED_INFO(failure.reason);
    REQUIRE(registry.models.size() == 1);
    CHECK(registry.models[0].card.id == "test.load");
    CHECK(registry.models[0].plugin == fs::canonical(copy));
    CHECK(registry.models[0].plugin_hash == cdrzoo::sha256_file_hex(copy));
  }
}

TEST_CASE("a folder gives its models in order, hides a second model of one id, and goes on after a failure") {
  const Scratch scratch;
  const auto folder = scratch.path / "plugins";
  fs::create_directory(folder);
  fs::copy_file(fixture("good"), folder / "a.so");
  fs::copy_file(fixture("constructor_aborts"), folder / "b.so");
  fs::copy_file(fixture("constructor_prints"), folder / "c.so");
  write(folder / "notes.txt", "no plugin");
  const auto registry = scan_plugins({folder, scratch.path / "no such folder"});
  REQUIRE(registry.models.size() == 1);
  CHECK(registry.models[0].plugin == fs::canonical(folder / "a.so"));
  REQUIRE(registry.failures.size() == 3);
  CHECK(contains(registry.failures[0].reason, "cannot be opened"));
  CHECK(contains(registry.failures[1].reason, "signal 6"));
  CHECK(contains(registry.failures[2].reason, "test.load is hidden by the one in"));
  CHECK_THROWS_WITH(registry.find("test.lode"),
                    cdrzoo::test::contains("no model \"test.lode\"; known: test.load; 3 plugin file(s)"));
  CHECK(registry.find("test.load").card.version == "1.0.0");
}

TEST_CASE("cards are cached by the file's hash, and a damaged cache is as good as none") {
  const Scratch scratch;
  const auto plugin = scratch.path / "good.so";
  fs::copy_file(fixture("good"), plugin);
  REQUIRE(scan_plugins({plugin}).models.size() == 1);
  const auto cached = scratch.path / "cache" / "cdrzoo" / "cards";
  REQUIRE(fs::is_directory(cached));
  const auto file = fs::directory_iterator(cached)->path();
  CHECK(std::distance(fs::directory_iterator(cached), fs::directory_iterator()) == 1);

  setenv("CDRZOO_WORKER", "/nonexistent/worker", 1);
  CHECK(scan_plugins({plugin}).models.size() == 1);  // answered without a worker
  for (const std::string damage : {"", "{", "[]", "{\"models\": [{\"id\": \"x\"}]}", "{\"models\": []}"}) {
    write(file, damage);
    const auto registry = scan_plugins({plugin});
    CHECK(registry.models.empty());
    REQUIRE(registry.failures.size() == 1);
    CHECK(contains(registry.failures[0].reason, "cannot start /nonexistent/worker"));
  }
  unsetenv("CDRZOO_WORKER");
  CHECK(scan_plugins({plugin}).models.size() == 1);  // and repaired
  CHECK(contains(read(file), "test.load"));
  fs::copy_file(fixture("constructor_prints"), plugin, fs::copy_options::overwrite_existing);
  setenv("CDRZOO_WORKER", "/nonexistent/worker", 1);
  CHECK(scan_plugins({plugin}).models.empty());  // another file, another hash
}

TEST_CASE("a cache that cannot be written does not matter") {
  const Scratch scratch;
  write(scratch.path / "cache", "a file where the folder should be");
  CHECK(scan_plugins({fixture("good")}).models.size() == 1);
}

TEST_CASE("a loaded library fills in the optional operation that the plugin lacks") {
  const auto& plugin = cdrzoo::load_plugin(fixture("good"));
  CHECK(&plugin == &cdrzoo::load_plugin(fixture("good")));
  const auto& model = plugin.find("test.load");
  CHECK_FALSE(model.has_embed);
  REQUIRE(model.ops.embed != nullptr);
  CHECK(model.ops.embed(nullptr, nullptr, CDRZOO_AXIS_DRUG, nullptr, nullptr) == CDRZOO_E_UNSUPPORTED);
  CHECK(model.ops.size == sizeof(cdrzoo_ops));
  CHECK_THROWS_WITH(plugin.find("x"), cdrzoo::test::contains("has no model \"x\"; it has: test.load"));
}
