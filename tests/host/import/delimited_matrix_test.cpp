// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.hpp"
#include "import/csv.hpp"
#include "import/matrix_source.hpp"
#include "read_all.hpp"
#include "support/catch.hpp"
#include "support/gzip_text.hpp"

using cdrzoo::MatrixSource;
using cdrzoo::MatrixSpec;
using cdrzoo::open_matrix;
using cdrzoo::test::contains;
using cdrzoo::test::drain;
using cdrzoo::test::read_lines;
using cdrzoo::test::refusal;
using cdrzoo::test::shared_data;
using cdrzoo::test::TextFile;
using Names = std::vector<std::string>;

TEST_CASE("A matrix with samples in rows has its genes in the header") {
  const TextFile file("x.csv", ",TP53,7157,TP53\n12,1.5,-2,3\nb b,,NA,4e-3\n");
  const auto source = open_matrix(file.spec());
  CHECK(source->lines() == MatrixSource::Lines::samples);
  CHECK(source->samples() == Names{"12", "b b"});
  CHECK(source->genes() == Names{"TP53", "7157", "TP53"});  // a repeated name is the caller's to judge
  CHECK(source->sample_annotations().names == Names{""});
  const auto lines = read_lines(*source);
  CHECK(lines.values[0] == std::vector<float>{1.5F, -2.0F, 3.0F});
  CHECK(std::isnan(lines.values[1][0]));
  CHECK(std::isnan(lines.values[1][1]));
  CHECK(lines.values[1][2] == 4e-3F);
  CHECK(read_lines(*source).values[0] == lines.values[0]);  // again
  CHECK_THAT(source->place_of_sample(1), contains("x.csv line 3"));
  CHECK_THAT(source->place_of_gene(2), contains("x.csv line 1 column 4"));
}

TEST_CASE("A matrix with samples in columns is the same matrix, read along its genes") {
  const TextFile file("x.tsv.gz", "");
  cdrzoo::test::write_gzip(file.path(), "symbol\ts1\ts1\tentrez\nTP53\t1\t2\t7157\nEGFR\t3\t4\t1956\nTP53\t5\t6\t\n");
  MatrixSpec spec = file.spec();
  spec.samples_are = "columns";
  spec.annotations = {"entrez"};
  auto source = open_matrix(spec);
  CHECK(source->lines() == MatrixSource::Lines::genes);
  CHECK(source->samples() == Names{"s1", "s1"});
  CHECK(source->genes() == Names{"TP53", "EGFR", "TP53"});
  CHECK(source->gene_annotations().names == Names{"symbol", "entrez"});
  CHECK(*source->gene_annotations().find("entrez") == Names{"7157", "1956", ""});
  CHECK(read_lines(*source).values == std::vector<std::vector<float>>{{1, 2}, {3, 4}, {5, 6}});

  spec.gene_names = "entrez";
  source = open_matrix(spec);
  CHECK_THROWS_WITH(source->genes(), contains("the annotation 'entrez' of entry 3 is empty; expected a name"));
  spec.annotations.clear();
  spec.id = "entrez";
  CHECK_THROWS_WITH(drain(spec), contains("x.tsv.gz line 4: has an empty name"));
  spec.id.clear();
  spec.gene_names = "ensembl";
  CHECK_THROWS_WITH(open_matrix(spec)->genes(), contains("there is no annotation 'ensembl' to take names from"));
}

TEST_CASE("Names can come from an annotation, which then leads") {
  const TextFile file("x.csv", "id,cell,A,B\nACH-1,Mel Ho,1,2\nACH-2,BEN,3,4\n");
  MatrixSpec spec = file.spec();
  spec.annotations = {"cell"};
  spec.sample_names = "cell";
  const auto source = open_matrix(spec);
  CHECK(source->samples() == Names{"Mel Ho", "BEN"});
  CHECK(source->sample_annotations().names == Names{"cell", "id"});
  CHECK(*source->sample_annotations().find("id") == Names{"ACH-1", "ACH-2"});
}

TEST_CASE("A matrix written by R without a name for the row names is read") {
  const TextFile file("r.tsv", "\"g1\"\t\"g2\"\n\"s1\"\t1\t2\n\"s2\"\tNA\t4\n");
  const auto source = open_matrix(file.spec());
  CHECK(source->samples() == Names{"s1", "s2"});
  CHECK(source->genes() == Names{"g1", "g2"});
}

TEST_CASE("A malformed delimited matrix is refused in one sentence") {
  const auto refused = [](const std::string& text) { return refusal("m.csv", text); };
  CHECK_THAT(refused(""), contains("m.csv is empty; expected a header line"));
  CHECK_THAT(refused("id\nx\n"), contains("line 1: there is no column with values"));
  CHECK_THAT(refused("id,a\n"), contains("m.csv has no rows of values"));
  CHECK_THAT(refused("id,a,,b\ns,1,2,3\n"), contains("line 1: the header of column 3 is empty"));
  CHECK_THAT(refused("id,a\ns,1\nt,1,2\n"), contains("line 3: has 3 fields; the header has 2"));
  CHECK_THAT(refused("id,a\ns,1\n,1\n"), contains("line 3: has an empty name"));
  CHECK_THAT(refused("id,a\n\xFF,1\n"), contains("line 2: has a name that is not clean UTF-8 text: '?'"));
  CHECK_THAT(refused("id,a\xC0\ns,1\n"), contains("the header of column 2 is not clean UTF-8 text"));
  CHECK_THAT(refused("id,a\ns,1\nt,1.x\n"), contains("line 3: column 'a': '1.x' is not a finite number"));
  CHECK_THAT(refused("id,a\ns,1e39\n"), contains("line 2: column 'a': '1e39' is out of range"));
  CHECK_THAT(refused("id,a\ns,-inf\n"), contains("'-inf' is not a finite number"));
  CHECK_THAT(refused("id,a\ns,1\r\n"), contains("line 2: ends with CRLF, but line 1 ends with LF"));
  CHECK_THAT(refused(std::string("id,a\ns,\0\n", 9)), contains("line 2: has a NUL byte"));
  CHECK_THAT(refused("id,a\ns,1\n\nt,2\n"), contains("line 3: is empty, but rows follow"));
}

TEST_CASE("What is too small for a float is zero, not an error") {
  const TextFile file("x.csv", "id,a,b,c\ns,1e-60,-1e-400,1e-45\n");
  CHECK(read_lines(*open_matrix(file.spec())).values[0] == std::vector<float>{0.0F, 0.0F, 1e-45F});
}

TEST_CASE("A specification that does not fit the file is refused") {
  const TextFile file("x.csv", "id,a,a\ns,1,2\n");
  MatrixSpec spec = file.spec();
  spec.samples_are = "diagonal";
  CHECK_THROWS_WITH(open_matrix(spec), contains("samples are 'diagonal'; expected rows or columns"));
  spec = file.spec();
  spec.id = "name";
  CHECK_THROWS_WITH(open_matrix(spec), contains("x.csv line 1: there is no column 'name'; it has id, a, a"));
  spec.id = "a";
  CHECK_THROWS_WITH(open_matrix(spec), contains("the header has the column 'a' twice"));
  spec = file.spec();
  spec.annotations = {"id"};
  CHECK_THROWS_WITH(open_matrix(spec), contains("the column 'id' is named twice"));
  spec = file.spec();
  spec.layer = "X";
  CHECK_THROWS_WITH(open_matrix(spec), contains("files of the format csv have no layers"));
  spec = file.spec();
  spec.gene_list = "genes.txt";
  CHECK_THROWS_WITH(open_matrix(spec), contains("name their samples and genes themselves"));
  spec = file.spec();
  spec.format = "tsv";
  spec.dialect.separator = ';';
  CHECK_THROWS_WITH(open_matrix(spec), contains("files of the format tsv have tabs as separator"));
  spec.format = "gct";
  CHECK_THROWS_WITH(open_matrix(spec), contains("files of the format gct have a separator of their own"));
  spec.dialect = {};
  spec.dialect.decimal = ',';
  CHECK_THROWS_WITH(open_matrix(spec), contains("files of the format gct have a decimal point"));
  spec.dialect = {};
  spec.dialect.missing = {"-1"};
  spec.format = "h5ad";
  CHECK_THROWS_WITH(open_matrix(spec), contains("files of the format h5ad have no words for missing values"));
  spec = file.spec();
  spec.format = "xls";
  CHECK_THROWS_WITH(open_matrix(spec), contains("there is no file format 'xls'; expected one of csv, tsv, gct"));
}

TEST_CASE("The format follows from the name of the file") {
  CHECK(cdrzoo::format_of("a/x.csv") == "csv");
  CHECK(cdrzoo::format_of("x.y.tsv.gz") == "tsv");
  CHECK(cdrzoo::format_of("GSE1-GPL2_series_matrix.txt.gz") == "series_matrix");
  CHECK(cdrzoo::format_of("x.h5ad") == "h5ad");
  CHECK(cdrzoo::format_of("x.txt", "tsv") == "tsv");
  CHECK_THROWS_WITH(cdrzoo::format_of("x.txt"), contains("x.txt: the name does not tell the format; give one of csv"));
  CHECK_THROWS_AS(cdrzoo::format_of("csv"), cdrzoo::UsageError);
}

TEST_CASE("The GDSC matrices of other people read as their README says") {
  const auto ic50 = shared_data("gdsc_matrix/GDSC_IC50_response_357.csv");
  const auto binary = shared_data("gdsc_matrix/GDSC_binary_response_151.csv");
  if (!ic50 || !binary) {
    WARN("skipped: ../shared/data is absent");
    return;
  }
  MatrixSpec spec;
  spec.file = *ic50;
  auto source = open_matrix(spec);
  CHECK(source->samples().size() == 1012);
  CHECK(source->genes().size() == 357);
  CHECK(source->genes()[0] == "176870");
  const auto& names = source->samples();
  CHECK(std::set<std::string>(names.begin(), names.end()).size() == 1012);
  for (const char* name : {"T-T", "TT", "KM-H2"}) CHECK(std::count(names.begin(), names.end(), name) == 1);
  auto lines = read_lines(*source);
  CHECK(lines.present == 284352);
  float low = 0.0F;
  float high = 0.0F;
  for (const auto& line : lines.values) {
    for (const float v : line) {
      if (std::isnan(v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
  }
  CHECK(std::round(low * 100) == -997);
  CHECK(std::round(high * 100) == 1236);

  spec.file = *binary;
  source = open_matrix(spec);
  CHECK(source->samples().size() == 1001);
  CHECK(source->genes().size() == 151);
  for (const char* name : {"T-T", "TT", "KM-H2", "KMH-2"})
    CHECK(std::count(source->samples().begin(), source->samples().end(), name) == 1);
  lines = read_lines(*source);
  CHECK(lines.present == 116680);
  CHECK(std::round(1000 * lines.sum / 116680) == 117);
}

TEST_CASE("The GDSC tables of other people read in their dialects") {
  const auto count = [](const char* name, const char* format, bool trim) {
    cdrzoo::TableSpec spec;
    spec.file = *shared_data(std::string("gdsc_matrix/") + name);
    spec.format = format;
    spec.dialect.trim = trim;
    const auto table = cdrzoo::open_table(spec);
    std::int64_t rows = 0;
    while (table->next()) ++rows;
    return std::make_pair(rows, table->header());
  };
  if (!shared_data("gdsc_matrix")) {
    WARN("skipped: ../shared/data is absent");
    return;
  }
  const auto [lines, line_header] = count("Cell_Lines_Details.txt", "tsv", false);
  CHECK(lines == 1001);
  CHECK(line_header.size() == 13);
  CHECK(count("GDSC_drug_IC50.csv", "", false).first == 357);
  CHECK(count("GDSC_drug_binary.csv", "", false).first == 356);
  const auto [drugs, drug_header] = count("GDSC_Drug_target_list_2022-08-12.csv", "", true);
  CHECK(drugs > 500);
  CHECK(drug_header[5] == "PubCHEM");
}

TEST_CASE("The examples of drevalpy read as matrices and tables") {
  const auto gex = shared_data("golden_metrics/drevalpy/gex_example.csv");
  if (!gex) {
    WARN("skipped: ../shared/data is absent");
    return;
  }
  MatrixSpec spec;
  spec.file = *gex;
  spec.annotations = {"cell_line_name"};
  const auto source = open_matrix(spec);
  CHECK(source->samples()[0] == "CVCL_1402");
  CHECK((*source->sample_annotations().find("cell_line_name"))[0] == "Mel Ho");
  CHECK(source->genes()[0] == "DNAJB6");
  CHECK(read_lines(*source).values[0][0] == 140.581488F);
  spec.annotations.clear();
  CHECK_THROWS_WITH(drain(spec), contains("line 2: column 'cell_line_name': 'Mel Ho' is not a finite number"));
}
