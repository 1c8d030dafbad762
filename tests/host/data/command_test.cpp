// SPDX-License-Identifier: Apache-2.0
// The data commands as a user calls them: exit status, one sentence, nothing left behind.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using cdrzoo::test::contains;
using cdrzoo::test::TemporaryFolder;

namespace {

struct Outcome {
  int status = -1;
  std::string text;  ///< stdout and stderr
};

/// Runs a shell line in which $cdrzoo is the program.
Outcome shell(const std::string& line) {
  const std::string command = "cdrzoo='" + std::string(CDRZOO_BIN_DIR) + "/cdrzoo'; exec 2>&1; " + line;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  Outcome out;
  std::array<char, 4096> buffer{};
  for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    out.text.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  out.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return out;
}

std::string quoted(const std::filesystem::path& path) { return "'" + path.string() + "'"; }

/// A failure is one line from the program, and nothing like a stack trace or a library's own words on several lines.
void check_sentence(const Outcome& outcome, int status, const std::string& part) {
  INFO(outcome.text);
  CHECK(outcome.status == status);
  CHECK_THAT(outcome.text, contains(part));
  CHECK(std::count(outcome.text.begin(), outcome.text.end(), '\n') <= (status == 1 ? 2 : 1));
}

}  // namespace

TEST_CASE("The demo is made, shown and validated, in a folder with a space in its name") {
  const TemporaryFolder folder;
  const auto file = folder / "my demo.h5";
  const Outcome made = shell("\"$cdrzoo\" data demo " + quoted(file));
  CHECK(made.status == 0);
  CHECK_THAT(made.text, contains("180 samples, 24 drugs, 100 genes"));
  CHECK(shell("\"$cdrzoo\" data validate " + quoted(file)).status == 0);
  const Outcome shown = shell("\"$cdrzoo\" data info " + quoted(file) + " --json");
  REQUIRE(shown.status == 0);
  const auto info = nlohmann::json::parse(shown.text);
  CHECK(info["domains"][1]["name"] == "patients");
  CHECK(info["drugs"]["with_structure"] == 24);
  const Outcome text = shell("\"$cdrzoo\" data info " + quoted(file) + " --drugs");
  CHECK_THAT(text.text,
             contains("lines and patients share 0 sample groups, 24 measured drugs") && contains("Erlotinib"));
  const Outcome again = shell("\"$cdrzoo\" data demo " + quoted(folder / "2.h5") + " && cmp " + quoted(file) + " " +
                              quoted(folder / "2.h5"));
  CHECK(again.status == 0);
}

TEST_CASE("Files that are no data set") {
  const TemporaryFolder folder;
  const std::string file = quoted(folder / "x.h5");
  REQUIRE(shell("\"$cdrzoo\" data demo " + file).status == 0);
  SECTION("missing") {
    check_sentence(shell("\"$cdrzoo\" data info " + quoted(folder / "none.h5")), 2,
                   "none.h5: No such file or directory");
    check_sentence(shell("\"$cdrzoo\" data validate " + quoted(folder / "none.h5")), 2,
                   "none.h5: No such file or directory");
  }
  SECTION("truncated") {
    std::filesystem::resize_file(folder / "x.h5", std::filesystem::file_size(folder / "x.h5") / 2);
    check_sentence(shell("\"$cdrzoo\" data info " + file), 2, "x.h5 is truncated or damaged");
    check_sentence(shell("\"$cdrzoo\" data validate " + file), 1, "x.h5 is truncated or damaged");
  }
  SECTION("not HDF5") {
    std::ofstream(folder / "x.h5") << "sample,drug\n";
    check_sentence(shell("\"$cdrzoo\" data info " + file), 2, "is not an HDF5 file");
    check_sentence(shell("\"$cdrzoo\" data validate " + file), 1, "is not an HDF5 file");
  }
  SECTION("empty") {
    std::ofstream(folder / "x.h5").close();
    check_sentence(shell("\"$cdrzoo\" data info " + file), 2, "x.h5 is empty");
  }
  SECTION("a folder") { check_sentence(shell("\"$cdrzoo\" data info " + quoted(folder.path())), 2, "it is a folder"); }
}

TEST_CASE("Places that cannot be written") {
  const TemporaryFolder folder;
  SECTION("a folder that is not there") {
    check_sentence(shell("\"$cdrzoo\" data demo " + quoted(folder / "no/demo.h5")), 2, "cannot write ");
  }
  SECTION("a read-only folder") {
    if (::geteuid() == 0) {
      // Permissions do not stop root; /proc does.
      check_sentence(shell("\"$cdrzoo\" data demo /proc/demo.h5"), 2, "cannot write /proc/demo.h5");
    } else {
      std::filesystem::permissions(folder.path(),
                                   std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
      check_sentence(shell("\"$cdrzoo\" data demo " + quoted(folder / "demo.h5")), 2, "Permission denied");
      std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
    }
  }
  SECTION("a full disk, wherever it fills up") {
    for (const char* blocks : {"0", "1", "8", "100", "1000"}) {  // of 512 bytes
      INFO(blocks);
      check_sentence(
          shell("ulimit -f " + std::string(blocks) + "; \"$cdrzoo\" data demo " + quoted(folder / "demo.h5")), 2,
          "cannot write " + (folder / "demo.h5").string());
    }
  }
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("Builds that fail leave nothing, and builds that succeed say what they did") {
  const TemporaryFolder folder;
  std::ofstream(folder / "x.csv") << "id,G1\ns1,1\ns2,2\n";
  std::ofstream(folder / "good.toml")
      << "name = \"n\"\n[[domain]]\nname = \"d\"\nexpression_unit = \"u\"\nexpression = { file = \"x.csv\" }\n";
  std::ofstream(folder / "bad.toml") << "name = \"n\"\n[[domain]]\nnam = \"d\"\n";
  const std::string out = " -o " + quoted(folder / "out.h5");
  check_sentence(shell("\"$cdrzoo\" data build " + quoted(folder / "bad.toml") + out), 2,
                 "bad.toml line 3: unknown key 'nam' in a domain");
  check_sentence(shell("\"$cdrzoo\" data build " + quoted(folder / "good.toml") + " --from /nowhere" + out), 2,
                 "/nowhere/x.csv");
  check_sentence(shell("\"$cdrzoo\" data build " + quoted(folder / "good.toml")), 2, "--output");
  check_sentence(shell("\"$cdrzoo\" data build" + out), 2, "expected one RECIPE");
  CHECK_FALSE(std::filesystem::exists(folder / "out.h5"));
  const Outcome good = shell("\"$cdrzoo\" data build " + quoted(folder / "good.toml") + out);
  CHECK(good.status == 0);
  CHECK_THAT(good.text, contains("d: 2 samples x 1 genes from x.csv, 0 values missing"));
  CHECK(shell("\"$cdrzoo\" data validate " + quoted(folder / "out.h5")).status == 0);
}

TEST_CASE("Usage is explained") {
  check_sentence(shell("\"$cdrzoo\" data nonsense"), 2,
                 "unknown verb 'data nonsense'; known: build, demo, export, info, validate");
  CHECK(shell("\"$cdrzoo\" data").status == 2);
  CHECK(shell("\"$cdrzoo\" data --help").status == 0);
  for (const char* verb : {"build", "demo", "info", "validate"}) {
    const Outcome help = shell("\"$cdrzoo\" data " + std::string(verb) + " --help");
    CHECK(help.status == 0);
    CHECK_THAT(help.text, contains("examples:") && contains("exit status:"));
  }
  check_sentence(shell("\"$cdrzoo\" data demo /tmp/x.h5 --drugs 99"), 2, "drugs, not 99");
}
