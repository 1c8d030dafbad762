// SPDX-License-Identifier: Apache-2.0
#include "import/series_matrix.hpp"

#include <cmath>

#include "read_all.hpp"
#include "support/catch.hpp"
#include "support/gzip_text.hpp"

using cdrzoo::MatrixSource;
using cdrzoo::open_matrix;
using cdrzoo::test::contains;
using cdrzoo::test::read_lines;
using cdrzoo::test::refusal;
using cdrzoo::test::TextFile;
using Names = std::vector<std::string>;

namespace {

const std::string kHead =
    "!Series_title\t\"Response to \"docetaxel\" of tumours\"\n"
    "!Series_sample_id\t\"GSM1 GSM2 GSM3 \"\n"
    "\n"
    "!Sample_title\t\"T1\"\t\"T2, \"\"late\"\"\"\t\"T3\"\n"
    "!Sample_geo_accession\t\"GSM1\"\t\"GSM2\"\t\"GSM3\"\n"
    "!Sample_source_name_ch1\t\"breast\"\t\"breast\"\t\"\"\n"
    "!Sample_characteristics_ch1\t\"er status: pos\"\t\"age: 41\"\t\"er status: neg\"\n"
    "!Sample_characteristics_ch1\t\"age: 52\"\t\"response: pCR: yes\"\t\"title: odd\"\n"
    "!Sample_characteristics_ch1\t\"\"\t\"age: 42\"\t\"free text\"\n"
    "!Sample_characteristics_ch2\t\"age: 1\"\t\"\"\t\"\"\n"
    "!Sample_data_processing\t\"MAS5\"\t\"MAS5\"\t\"MAS5\"\n"
    "!Sample_data_processing\t\"log2\"\t\"log2\"\t\"\"\n";
const std::string kTable =
    "!series_matrix_table_begin\n"
    "\"ID_REF\"\t\"GSM1\"\t\"GSM2\"\t\"GSM3\"\n"
    "\"1007_s_at\"\t1.5\t\t-3\n"
    "\"1053_at\"\t4\tnull\t6e-2\n"
    "!series_matrix_table_end\n";

std::string with(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

}  // namespace

TEST_CASE("A GEO series matrix is read along its probes") {
  const TextFile file("GSE1_series_matrix.txt.gz", "");
  cdrzoo::test::write_gzip(file.path(), kHead + kTable);
  const auto source = open_matrix(file.spec());
  CHECK(source->lines() == MatrixSource::Lines::genes);
  CHECK(source->samples() == Names{"GSM1", "GSM2", "GSM3"});
  CHECK(source->genes() == Names{"1007_s_at", "1053_at"});
  CHECK(source->gene_annotations().names == Names{"ID_REF"});
  const auto lines = read_lines(*source);
  CHECK(lines.values[0][0] == 1.5F);
  CHECK(std::isnan(lines.values[0][1]));
  CHECK(lines.values[0][2] == -3.0F);
  CHECK(std::isnan(lines.values[1][1]));
  CHECK(lines.values[1][2] == 0.06F);
  CHECK_THAT(source->place_of_gene(1), contains("GSE1_series_matrix.txt.gz line 16"));
  auto spec = file.spec();
  spec.sample_names = "title";
  CHECK(open_matrix(spec)->samples() == Names{"T1", "T2, \"late\"", "T3"});
}

TEST_CASE("Characteristics become one column per key, in whichever row a sample has it") {
  const TextFile file("GSE1_series_matrix.txt", kHead + kTable);
  const auto samples = cdrzoo::read_series_samples(file.path());
  CHECK(samples.names == Names{"geo_accession", "title", "source_name_ch1", "characteristics_ch1", "data_processing",
                               "data_processing_2", "er status", "age", "response", "characteristics_ch1: title",
                               "characteristics_ch2: age"});
  CHECK(*samples.find("er status") == Names{"pos", "", "neg"});
  CHECK(*samples.find("age") == Names{"52", "41; 42", ""});
  CHECK(*samples.find("response") == Names{"", "pCR: yes", ""});
  CHECK(*samples.find("characteristics_ch1: title") == Names{"", "", "odd"});
  CHECK(*samples.find("characteristics_ch1") == Names{"", "", "free text"});
  CHECK(*samples.find("characteristics_ch2: age") == Names{"1", "", ""});
  CHECK(*samples.find("data_processing_2") == Names{"log2", "log2", ""});
  CHECK(*samples.find("source_name_ch1") == Names{"breast", "breast", ""});
}

TEST_CASE("Quotes and line ends that submitters left in their texts are read as GEO means them") {
  const auto title = [](const std::string& cell) {
    const TextFile file("GSE1_series_matrix.txt", "!Sample_geo_accession\t\"GSM1\"\t\"GSM2\"\n!Sample_title\t" + cell +
                                                      "\t\"b\"\n!series_matrix_table_begin\n");
    return cdrzoo::read_series_samples(file.path()).find("title")->at(0);
  };
  CHECK(title("\"a \"basal\" tumour\"") == "a \"basal\" tumour");
  CHECK(title("\"a \"\"basal\"\" tumour\"") == "a \"basal\" tumour");
  CHECK(title("\"called \"basal\"\"") == "called \"basal\"");
  CHECK(title("\"called \"\"basal\"\"\"") == "called \"basal\"");
  CHECK(title("\"two\r\nlines\"") == "two  lines");
  CHECK(title("5' and \"x") == "5' and \"x");
  CHECK(title("\"\"").empty());
  CHECK_THROWS_WITH(title("\"open"), contains("line 2: has 1 samples; the lines above have 2"));
}

TEST_CASE("A series without values still has its samples") {
  const TextFile file("GSE2_series_matrix.txt", kHead +
                                                    "!series_matrix_table_begin\n\"ID_REF\"\t\"GSM1\"\t\"GSM2\"\t"
                                                    "\"GSM3\"\n!series_matrix_table_end\n");
  CHECK_THAT(refusal(file.spec()), contains("GSE2_series_matrix.txt has no values: its table is empty"));
  cdrzoo::TableSpec spec;
  spec.file = file.path();
  const auto table = cdrzoo::open_table(spec);
  int rows = 0;
  while (table->next()) ++rows;
  CHECK(rows == 3);
  CHECK(table->has_column("er status"));
}

TEST_CASE("A malformed series matrix is refused in one sentence") {
  const auto refused = [](const std::string& text) { return refusal("x_series_matrix.txt", text); };
  const std::string whole = kHead + kTable;
  CHECK(refused(whole) == "accepted");
  CHECK_THAT(refused(""), contains("has no !series_matrix_table_begin: it is truncated, or no GEO series matrix"));
  CHECK_THAT(refused(kHead), contains("has no !series_matrix_table_begin"));
  CHECK_THAT(refused(kHead + "!series_matrix_table_begin\n"), contains("ends where the header of its table"));
  CHECK_THAT(refused(with(whole, "!series_matrix_table_end\n", "")),
             contains("is truncated: there is no '!series_matrix_table_end'"));
  CHECK_THAT(refused(whole + "x\t1\n"), contains("line 18: stands behind '!series_matrix_table_end'"));
  CHECK_THAT(refused(with(whole, "!Sample_geo_acc", "!Sample_acc")), contains("has no line !Sample_geo_accession"));
  CHECK_THAT(refused(with(whole, "\t\"T3\"", "")), contains("line 5: has 3 samples; the lines above have 2"));
  CHECK_THAT(refused(with(whole, "!Series_title", "Series_title")), contains("line 1: begins with 'Series_title'"));
  CHECK_THAT(refused(with(whole, "\"ID_REF\"\t\"GSM1\"\t\"GSM2\"", "\"ID_REF\"\t\"GSM2\"\t\"GSM1\"")),
             contains("column 2 is 'GSM2'; !Sample_geo_accession has 'GSM1' there"));
  CHECK_THAT(refused(with(whole, "\"ID_REF\"", "\"ID\"")), contains("begins with 'ID'; expected ID_REF"));
  CHECK_THAT(refused(with(whole, "4\tnull", "4\t\"P\"")), contains("column 'GSM2': 'P' is not a finite number"));
  CHECK_THAT(refused(with(whole, "4\tnull", "4")), contains("has 3 fields; the header has 4"));
  CHECK_THAT(refused(with(whole, "\"1053_at\"", "\"\"")), contains("has an empty name"));
}
