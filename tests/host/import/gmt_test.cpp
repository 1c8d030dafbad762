// SPDX-License-Identifier: Apache-2.0
#include "import/gmt.hpp"

#include <set>

#include "base/error.hpp"
#include "read_all.hpp"
#include "support/catch.hpp"

using cdrzoo::read_gmt;
using cdrzoo::test::contains;
using cdrzoo::test::TextFile;
using Names = std::vector<std::string>;

TEST_CASE("Gene sets have a name, a description that may be empty, and genes") {
  const TextFile file("x.gmt", "A SET\thttp://x\tTP53\tEGFR\nB\t\t7157\t\t\n\n");
  const auto sets = read_gmt(file.path());
  REQUIRE(sets.size() == 2);
  CHECK(sets[0].name == "A SET");
  CHECK(sets[0].description == "http://x");
  CHECK(sets[0].genes == Names{"TP53", "EGFR"});
  CHECK(sets[1].description.empty());
  CHECK(sets[1].genes == Names{"7157"});
}

TEST_CASE("A malformed gene set file is refused with its line") {
  const auto refused = [](const std::string& text) {
    const TextFile file("x.gmt", text);
    try {
      static_cast<void>(read_gmt(file.path()));
    } catch (const cdrzoo::DataError& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  CHECK_THAT(refused(""), contains("x.gmt has no gene sets"));
  CHECK_THAT(refused("A\tx\tG\nB\tx\n"), contains("line 2: has no genes"));
  CHECK_THAT(refused("A\tx\tG\nB\tx\t\t\n"), contains("line 2: has no genes"));
  CHECK_THAT(refused("A\tx\tG\n\tx\tG\n"), contains("line 2: has a set without a name"));
  CHECK_THAT(refused("A\tx\tG\tH\tG\n"), contains("line 1: has the gene 'G' twice"));
  CHECK_THAT(refused("A\tx\tG\t\tH\n"), contains("line 1: has an empty gene in field 4"));
  CHECK_THAT(refused("A\tx\tG\nB\tx\tG\nA\ty\tH\n"), contains("line 3: has the set 'A' of line 1 again"));
  CHECK_THAT(refused("A\tx\tG\xFF\n"), contains("line 1: the gene 'G?' is not clean UTF-8 text"));
  CHECK_THAT(refused("A\tx\tG\nB\tx\tG\r\n"), contains("line 2: ends with CRLF"));
}

TEST_CASE("The canonical pathways read as their README says") {
  const auto path = cdrzoo::test::shared_data("priors/c2.cp.v6.1.symbols.gmt.gz");
  if (!path) {
    WARN("skipped: ../shared/data is absent");
    return;
  }
  const auto sets = read_gmt(*path);
  CHECK(sets.size() == 1329);
  std::set<std::string> genes;
  for (const auto& set : sets) genes.insert(set.genes.begin(), set.genes.end());
  CHECK(genes.size() == 8904);
  CHECK(sets[0].name == "KEGG_GLYCOLYSIS_GLUCONEOGENESIS");
  CHECK(sets[0].genes.size() == 62);
}
