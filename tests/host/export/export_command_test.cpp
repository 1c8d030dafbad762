// SPDX-License-Identifier: Apache-2.0
// cdrzoo data export as a user calls it.
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/files.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo::test;
namespace fs = std::filesystem;

namespace {

struct Outcome {
  int status = -1;
  std::string out, err;
};

/// Runs cdrzoo in \p folder.
Outcome cdrzoo_in(const TemporaryFolder& folder, const std::string& words) {
  const std::string line = "cd '" + folder.path().string() + "' && '" CDRZOO_BIN_DIR "/cdrzoo' " + words +
                           " > out.txt 2> err.txt < /dev/null";
  const int status = std::system(line.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, cdrzoo::read_file(folder / "out.txt"),
          cdrzoo::read_file(folder / "err.txt")};
}

}  // namespace

TEST_CASE("a data set leaves and comes back with its splits") {
  const TemporaryFolder folder;
  const auto cdrzoo = [&folder](const std::string& words) { return cdrzoo_in(folder, words); };
  REQUIRE(cdrzoo("data demo demo.h5").status == 0);
  REQUIRE(cdrzoo("split make demo.h5 --kind lco --source lines -o lco.json --csv table.csv").status == 0);
  const auto left = cdrzoo("data export demo.h5 --format csv -o out --split lco.json --split table.csv");
  CHECK(left.err.empty());
  CHECK(left.status == 0);
  CHECK_THAT(left.out, contains("recipe.toml: builds the same data set") && contains("split lco: 5 folds") &&
                           contains("split table: 5 folds"));
  REQUIRE(cdrzoo("data build out/recipe.toml -o again.h5").status == 0);
  const auto info = [&](const std::string& file) { return cdrzoo("data info " + file + " --json").out; };
  const auto hash_of = [](const std::string& json) { return json.substr(json.find("\"content_hash\""), 80); };
  CHECK(hash_of(info("demo.h5")) == hash_of(info("again.h5")));
  CHECK(cdrzoo("split check out/splits/lco.json --data again.h5").status == 0);
}

TEST_CASE("an experiment gives the split that it uses") {
  const TemporaryFolder folder;
  const auto cdrzoo = [&folder](const std::string& words) { return cdrzoo_in(folder, words); };
  REQUIRE(cdrzoo("data demo demo.h5").status == 0);
  REQUIRE(cdrzoo("data demo other.h5 --seed 2").status == 0);
  cdrzoo::write_file_synced(folder / "e.toml",
                            "name = \"e\"\ndataset = \"demo.h5\"\n[split]\nkind = \"ldo\"\nfolds = 3\nsource = "
                            "\"lines\"\n[[model]]\nid = \"drug_mean\"\n");
  for (const std::string format : {"csv", "h5ad", "drevalpy", "improve"}) {
    const auto left = cdrzoo("data export demo.h5 --format " + format + " -o " + format + " --split e.toml");
    INFO(left.err);
    CHECK(left.status == 0);
    CHECK_THAT(left.out, contains("split e: 3 folds"));
  }
  const auto other = cdrzoo("data export other.h5 --format csv -o other --split e.toml");
  CHECK(other.status == 2);
  CHECK_THAT(other.err, contains("which has other records than other.h5"));
  CHECK_FALSE(fs::exists(folder / "other"));
}

TEST_CASE("an export that cannot be asked for so is one sentence and leaves nothing") {
  const TemporaryFolder folder;
  const auto cdrzoo = [&folder](const std::string& words) { return cdrzoo_in(folder, words); };
  REQUIRE(cdrzoo("data demo demo.h5").status == 0);
  for (const auto& [words, sentence] : {std::pair{"demo.h5 -o out", "--format is missing"},
                                        {"demo.h5 --format csv", "--output is missing"},
                                        {"demo.h5 --format xlsx -o out", "unknown format 'xlsx'"},
                                        {"demo.h5 --format csv -o out.txt", "is no folder"},
                                        {"absent.h5 --format csv -o out", "absent.h5"}}) {
    const auto refused = cdrzoo(std::string("data export ") + words);
    CHECK(refused.status == 2);
    CHECK_THAT(refused.err, contains(sentence));
    CHECK_FALSE(fs::exists(folder / "out"));
  }
}
