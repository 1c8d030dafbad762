// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "import/matrix_source.hpp"
#include "read_all.hpp"
#include "support/catch.hpp"
#include "support/gzip_text.hpp"

using cdrzoo::MatrixSource;
using cdrzoo::MatrixSpec;
using cdrzoo::open_matrix;
using cdrzoo::test::contains;
using cdrzoo::test::read_lines;
using cdrzoo::test::refusal;
using cdrzoo::test::shared_data;
using cdrzoo::test::TextFile;
using Names = std::vector<std::string>;
using Values = std::vector<std::vector<float>>;

namespace {

const char* const kOld =
    "#1.2\n2\t3\nNAME\tDescription\ts1\ts2\ts1\n1007_s_at\tDDR1 \"x\"\t1\t2.5\t-3\n117_at\tna\t4\t\t6\n";
const char* const kNew =
    "#1.3\n2\t3\t1\t2\nid\tsymbol\tA\tB\tC\ncell\tna\tA375\tMCF7\t-666\ndose\tna\t10\t-666\t0.04\n"
    "p1\tPSME1\t1\t2\t3\np2\tATF1\t4\tNaN\t-666\n";

}  // namespace

TEST_CASE("GCT 1.2 is read along its genes, with descriptions") {
  const TextFile file("x.gct", kOld);
  const auto source = open_matrix(file.spec());
  CHECK(source->lines() == MatrixSource::Lines::genes);
  CHECK(source->samples() == Names{"s1", "s2", "s1"});
  CHECK(source->genes() == Names{"1007_s_at", "117_at"});
  CHECK(source->gene_annotations().names == Names{"NAME", "Description"});
  CHECK(*source->gene_annotations().find("Description") == Names{"DDR1 \"x\"", "na"});
  const auto lines = read_lines(*source);
  CHECK(lines.values[0] == std::vector<float>{1, 2.5F, -3});
  CHECK(std::isnan(lines.values[1][1]));
  CHECK_THAT(source->place_of_gene(1), contains("x.gct line 5"));
  CHECK_THAT(source->place_of_sample(0), contains("x.gct line 3 column 3"));
}

TEST_CASE("GCT 1.3 has annotations of genes and samples, and their -666 stays text") {
  const TextFile file("x.gct.gz", "");
  cdrzoo::test::write_gzip(file.path(), kNew);
  MatrixSpec spec = file.spec();
  spec.gene_names = "symbol";
  const auto source = open_matrix(spec);
  CHECK(source->samples() == Names{"A", "B", "C"});
  CHECK(source->genes() == Names{"PSME1", "ATF1"});
  CHECK(source->gene_annotations().names == Names{"symbol", "id"});
  CHECK(source->sample_annotations().names == Names{"sample", "cell", "dose"});
  CHECK(*source->sample_annotations().find("cell") == Names{"A375", "MCF7", "-666"});
  CHECK(*source->sample_annotations().find("dose") == Names{"10", "-666", "0.04"});
  const auto lines = read_lines(*source);
  CHECK(std::isnan(lines.values[1][1]));
  CHECK(lines.values[1][2] == -666.0F);  // a number of the matrix like any other
  spec.dialect.missing.push_back("-666");
  CHECK(std::isnan(read_lines(*open_matrix(spec)).values[1][2]));
}

TEST_CASE("The annotations of a GCT file make a table") {
  const TextFile file("x.gct", kNew);
  cdrzoo::TableSpec spec;
  spec.file = file.path();
  auto table = cdrzoo::open_table(spec);
  REQUIRE(table->next());
  CHECK(table->field(table->column("sample")) == "A");
  double dose = 0.0;
  CHECK(table->number(table->column("dose"), &dose));
  CHECK(dose == 10.0);
  spec.part = "genes";
  table = cdrzoo::open_table(spec);
  REQUIRE(table->next());
  REQUIRE(table->next());
  CHECK(table->field(table->column("symbol")) == "ATF1");
  CHECK_FALSE(table->next());
  spec.part.clear();
  spec.dialect.missing.push_back("-666");
  table = cdrzoo::open_table(spec);
  REQUIRE(table->next());
  REQUIRE(table->next());
  CHECK_FALSE(table->number(table->column("dose"), &dose));
  spec.part = "rows";
  CHECK_THROWS_WITH(cdrzoo::open_table(spec), contains("there is no part 'rows'; expected samples or genes"));
}

TEST_CASE("Tabs with which a spreadsheet fills the first lines of a GCT file do not count") {
  CHECK(refusal("x.gct", "#1.2\t\t\n1\t1\t\nName\tDescription\ts\ng\td\t1\n\n") == "accepted");
}

TEST_CASE("A GCT file that is not what it declares is refused in one sentence") {
  const auto refused = [](const std::string& text) { return refusal("x.gct", text); };
  const auto with = [](std::string text, const std::string& from, const std::string& to) {
    return refusal("x.gct", text.replace(text.find(from), from.size(), to));
  };
  CHECK_THAT(refused(""), contains("x.gct ends where #1.2 or #1.3 was expected"));
  CHECK_THAT(refused("#1.1\n"), contains("line 1: is '#1.1'; a GCT file begins with #1.2 or #1.3"));
  CHECK_THAT(refused("#1.3\n2\t3\n"), contains("line 2: has 2 fields; expected 4 sizes"));
  CHECK_THAT(refused("#1.2\n2\tx\n"), contains("line 2: 'x' is no size of a matrix"));
  CHECK_THAT(refused("#1.2\n2\t-1\n"), contains("line 2: '-1' is no size of a matrix"));
  CHECK_THAT(refused("#1.2\n2\t99999999999999999999\n"), contains("is no size of a matrix"));
  CHECK_THAT(with(kOld, "2\t3", "999999999\t3"), contains("has 2 rows of values, not the 999999999 that it declares"));
  CHECK_THAT(with(kOld, "2\t3", "1\t3"), contains("line 5: is one more row than the 1 that it declares"));
  CHECK_THAT(with(kOld, "2\t3", "2\t999999999"),
             contains("line 3: has 5 fields; line 2 declares 1 name, 1 annotations"));
  CHECK_THAT(with(kNew, "2\t3\t1\t2", "2\t3\t1\t999999999"), contains("x.gct ends where annotation 5 of 999999999"));
  CHECK_THAT(with(kNew, "\tsymbol", "\tid"), contains("line 3: the annotation name 'id' stands twice"));
  CHECK_THAT(with(kNew, "dose", "cell"), contains("line 5: the annotation name 'cell' stands twice"));
  CHECK_THAT(with(kNew, "\tB\t", "\t\t"), contains("line 3: the header of column 4 is empty"));
  CHECK_THAT(with(kNew, "\tATF1", ""), contains("line 7: has 4 fields; the header has 5"));
  CHECK_THAT(with(kNew, "NaN", "high"), contains("line 7: column 'B': 'high' is not a finite number"));
  CHECK_THAT(with(kNew, "p2", ""), contains("line 7: has an empty name"));
}

TEST_CASE("The L1000 plate in GCT reads as its README says") {
  const auto path = shared_data("perturb/test_l1000.gct.gz");
  if (!path) {
    WARN("skipped: ../shared/data is absent");
    return;
  }
  MatrixSpec spec;
  spec.file = *path;
  spec.gene_names = "pr_gene_symbol";
  const auto source = open_matrix(spec);
  CHECK(source->samples().size() == 377);
  CHECK(source->samples()[0] == "LJP005_A375_24H_X1_B19:A03");
  CHECK(source->genes().size() == 978);
  CHECK(source->genes()[0] == "PSME1");
  CHECK(source->gene_annotations().names.size() == 12);
  CHECK(source->sample_annotations().names.size() == 36);
  CHECK(source->sample_annotations().find("pert_iname")->at(4) == "CP-724714");
  CHECK(source->sample_annotations().find("pert_dose")->at(5) == "3.33");
  CHECK(source->sample_annotations().find("pert_dose")->at(0) == "-666");
  CHECK(source->sample_annotations().find("pert_iname")->back() == "trametinib");
  const auto lines = read_lines(*source);
  CHECK(lines.present == 978 * 377);
  CHECK(lines.values[0][0] == 11.3819F);
  CHECK_THAT(lines.sum, cdrzoo::test::WithinRel(3088568.1324, 1e-8));  // Python's sum of the same text
}
