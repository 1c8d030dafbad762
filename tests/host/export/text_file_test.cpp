// SPDX-License-Identifier: Apache-2.0
#include "export/text_file.hpp"

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/random.hpp"
#include "import/csv.hpp"
#include "support/catch.hpp"
#include "support/gzip_text.hpp"
#include "support/small_disk.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::TemporaryFolder;

TEST_CASE("Numbers are written with the fewest digits that read back as the same number") {
  CHECK(shortest_text(0.1) == "0.1");
  CHECK(shortest_text(0.1F) == "0.1");
  CHECK(shortest_text(0.1 + 0.2) == "0.30000000000000004");
  CHECK(shortest_text(-0.0) == "-0");
  CHECK(shortest_text(std::nan("")).empty());
  for (std::uint64_t i = 0; i < 20000; ++i) {
    const std::uint64_t bits = splitmix64(1, i);
    double value = 0.0;
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    const std::string text = shortest_text(value);
    double back = 0.0;
    REQUIRE(std::from_chars(text.data(), text.data() + text.size(), back).ec == std::errc());
    REQUIRE(std::memcmp(&back, &value, sizeof value) == 0);
  }
}

TEST_CASE("Names become words that every file system knows, and different names stay different") {
  CHECK(file_word("breast/ER+ (1)") == "breast_ER___1_");
  CHECK(file_word("..") == "_.");
  CHECK(file_words({"a b", "a_b", "A_B", "c"}) == std::vector<std::string>{"a_b", "a_b_2", "A_B_3", "c"});
}

TEST_CASE("What a row file writes is what the CSV reader reads, gzip or not") {
  const TemporaryFolder folder;
  const std::vector<std::string> nasty = {"a,b", "say \"x\"", "\"",       "",  " a ",     "NA",
                                          "007", "1e5",       "β-karyon", "#", "tab\tbed"};
  for (const char* name : {"x.csv", "x.csv.gz"}) {
    RowFile out(folder / name);
    out.fields({"one", "two"}).end_row();
    for (const auto& text : nasty) out.field(text).number(0.5F).end_row();
    out.close();
    CsvReader in(folder / name);
    for (const auto& text : nasty) {
      REQUIRE(in.next());
      CHECK(in.field(0) == text);
      CHECK(in.field(1) == "0.5");
    }
    CHECK_FALSE(in.next());
  }
  CHECK(test::gzip_text(folder / "x.csv.gz") == read_file(folder / "x.csv"));
}

TEST_CASE("A row file says in the system's words why it cannot be written") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(RowFile(folder / "absent" / "x.csv"), contains("No such file or directory"));
  const test::SmallDisk disk(folder / "disk", "64k");
  if (!disk.mounted()) {
    WARN("skipped: mounting a small disk needs the rights of root");
    return;
  }
  RowFile out(folder / "disk" / "x.csv");
  const std::string text(1000, 'x');
  CHECK_THROWS_WITH(
      [&] {
        for (int i = 0; i < 3000; ++i) out.field(text).end_row();
        out.close();
      }(),
      contains("x.csv: No space left on device"));
}
