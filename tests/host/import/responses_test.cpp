// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "workshop.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::WithinAbs;
using cdrzoo::test::Workshop;

namespace {

std::vector<int> labels(const DatasetContent& c) {
  std::vector<int> out;
  for (const auto& r : c.responses) out.push_back(r.label);
  return out;
}

}  // namespace

TEST_CASE("A wide table has a row per sample and a column per drug; empty cells are no records") {
  Workshop w;
  w.files["r.csv"] = ",d1,d2\ns1,0.5,\ns2,-1,2.5\n";
  SECTION("values") {
    w.edit("sample = \"id\", drug = \"drug\", value = \"ic50\", label = \"resp\"", "layout = \"wide\"");
    const DatasetContent c = w.build();
    REQUIRE(c.responses.size() == 3);
    CHECK(c.responses[2].value == 2.5);
    CHECK(c.responses[2].drug == 1);
    CHECK(w.said("lines: 1 cell is empty"));
  }
  SECTION("labels") {
    w.files["r.csv"] = ",d1,d2\ns1,1.0,\ns2,0.0,1.0\n";
    w.edit("sample = \"id\", drug = \"drug\", value = \"ic50\", label = \"resp\"",
           "layout = \"wide\", values_are = \"labels\"");
    CHECK(labels(w.build()) == std::vector<int>{1, 0, 1});
  }
  SECTION("a drug that is not known") {
    w.files["r.csv"] = ",d1,d9\ns1,0.5,\ns2,-1,2.5\n";
    w.edit("sample = \"id\", drug = \"drug\", value = \"ic50\", label = \"resp\"", "layout = \"wide\"");
    CHECK_THAT(w.complaint(), contains("r.csv line 3: column 'd9': 'd9' is not in the table of drugs"));
  }
}

TEST_CASE("Clinical words become labels") {
  Workshop w;
  w.files["r.csv"] = "id,drug,best\ns1,d1,CR\ns2,d1,PD\ns3,d1,SD\ns1,d2,PR\ns2,d2,\n";
  w.edit("value = \"ic50\", label = \"resp\"", "label = \"best\", label_vocabulary = \"recist\"");
  SECTION("RECIST") { CHECK(labels(w.build()) == std::vector<int>{1, 0, 0, 1}); }
  SECTION("a word that nobody explained") {
    w.edit_file("r.csv", "SD", "stable");
    CHECK_THAT(w.complaint(), contains("r.csv line 4: column 'best': 'stable' is no word for a label that the recipe"));
  }
  SECTION("words of one's own") {
    w.edit("label_vocabulary = \"recist\"", "label_words = { CR = 1, PR = 0, SD = 0, PD = -1 }");
    CHECK(labels(w.build()) == std::vector<int>{1, 0, 0});
    CHECK(w.said("lines: dropped 2 rows with neither value nor label"));
  }
}

TEST_CASE("Labels derived from values: below the threshold is 1, a tie is 0") {
  Workshop w;
  w.files["r.csv"] = "id,drug,ic50,resp\ns1,d1,1,\ns2,d1,2,\ns3,d1,6,\ns1,d2,5,\n";
  const auto derive = [&w](const std::string& rule) {
    w.edit("label = \"resp\"", "derive_label = { " + rule + " }");
    return labels(w.build());
  };
  SECTION("median") {
    CHECK(derive("rule = \"per_drug_median\", because = \"the paper does\"") == std::vector<int>{1, 0, 0, 0});
    CHECK(w.build().caveats.back() ==
          "Labels of lines were made with the median of each drug over all records, test records included: the paper "
          "does");
  }
  SECTION("mean") { CHECK(derive("rule = \"per_drug_mean\", because = \"x\"") == std::vector<int>{1, 1, 0, 0}); }
  SECTION("fixed") { CHECK(derive("rule = \"fixed\", threshold = 2") == std::vector<int>{1, 0, 0, 0}); }
  SECTION("a table of thresholds") {
    w.files["t.csv"] = "drug_id,threshold\nd1,6.5\nd7,1\n";
    CHECK(derive("rule = \"per_drug_table\", file = \"t.csv\"") == std::vector<int>{1, 1, 1, -1});
    CHECK(w.said("lines: 3 labels from values below a table of thresholds, 3 positive; 1 drug has no threshold"));
  }
  SECTION("learning from test records needs a reason") {
    w.edit("label = \"resp\"", "derive_label = { rule = \"per_drug_median\" }");
    CHECK_THAT(w.complaint(), contains("need 'because'"));
  }
}

TEST_CASE("Values are scaled and put through logarithms and their inverse") {
  Workshop w;
  w.files["r.csv"] = "id,drug,ic50,resp\ns1,d1,1000,\ns2,d1,1,\n";  // nM
  w.edit("value = \"ic50\"", "value = \"ic50\", scale = 0.001, transform = { step = \"log\", base = \"e\" }");
  const DatasetContent c = w.build();
  CHECK_THAT(c.responses[0].value, WithinAbs(0.0, 1e-15));
  CHECK_THAT(c.responses[1].value, WithinAbs(-6.907755278982137, 1e-14));
  w.edit_file("r.csv", "s2,d1,1,", "s2,d1,0,");
  CHECK_THAT(w.complaint(), contains("r.csv line 3: column 'ic50': 0 has no logarithm"));
}

TEST_CASE("Replicates become their median, and numbered ones are kept under their numbers") {
  Workshop w;
  w.files["r.csv"] = "id,drug,ic50,resp,n\ns1,d1,1,,4\ns1,d1,9,,0\ns1,d1,2,,7\n";
  SECTION("median") {
    w.edit("label = \"resp\"", "replicates = \"median\"");
    const DatasetContent c = w.build();
    REQUIRE(c.responses.size() == 1);
    CHECK(c.responses[0].value == 2.0);
  }
  SECTION("numbered") {
    w.edit("label = \"resp\"", "replicates = \"keep\", replicate = \"n\"");
    const DatasetContent c = w.build();
    REQUIRE(c.responses.size() == 3);
    CHECK(c.responses[0].replicate == 4);
    CHECK(c.responses[2].replicate == 7);
  }
}

TEST_CASE("One drug for all rows needs no column") {
  Workshop w;
  w.files["r.csv"] = "id,resp\ns1,1\ns3,0\n";
  w.edit("drug = \"drug\", value = \"ic50\"", "drug_is = \"d2\"");
  const DatasetContent c = w.build();
  REQUIRE(c.responses.size() == 2);
  CHECK(c.drug_id == std::vector<std::string>{"d2"});
}

TEST_CASE("A row is left out by what it must not be, and a filter may name several texts") {
  Workshop w;
  w.edit("where = { set = \"a\" }", "where = { set = [\"a\", \"c\"] }, unless = { site = \"skin\" }");
  w.edit("file = \"r.csv\"", "file = \"r.csv\", unknown_samples = \"drop\"");
  const DatasetContent c = w.build();
  CHECK(c.sample_id == std::vector<std::string>{"s1", "s2"});
}

TEST_CASE("Logarithms, their inverse and library sizes of expression") {
  Workshop w;
  w.files["x.csv"] = "id,G1,G2\ns1,1,3\ns2,0,0\ns3,6,2\n";
  const auto with = [&w](const std::string& steps) {
    w.edit("samples = {", "steps = [" + steps + "]\nsamples = {");
    return w.build().expression;
  };
  SECTION("log2(x + 1)") { CHECK(with("{ step = \"log\" }")[1] == 2.0F); }
  SECTION("and back") {
    CHECK(with("{ step = \"log\" }, { step = \"unlog\" }") == std::vector<float>{1, 3, 0, 0, 6, 2});
    CHECK(w.said("lines: undid log2(x + 1) of every value"));
  }
  SECTION("library size; an empty sample stays empty") {
    CHECK(with("{ step = \"library_size\", total = 100 }") == std::vector<float>{25, 75, 0, 0, 75, 25});
    CHECK(w.said("lines: scaled every sample to a total of 100 over the genes of the data set, 1 of them is all zero"));
  }
  SECTION("what has no logarithm") {
    w.edit_file("x.csv", "s3,6", "s3,-1");
    w.edit("samples = {", "steps = [{ step = \"log\" }]\nsamples = {");
    CHECK_THAT(w.complaint(), contains("domain lines: the value -1 in x.csv cannot be put through log2(x + 1)"));
  }
}

TEST_CASE("Steps that learn wait for the folds and are in the file") {
  Workshop w;
  w.add_domain();
  w.edit("fit = \"all_samples\", because = \"the paper does\"", "statistics = \"source\"");
  w.edit(
      "samples = {",
      "steps = [{ step = \"fill_missing\" }, { step = \"variable_genes\", genes = 1 }, { step = \"zscore\" }]\nsamples "
      "= {");
  const DatasetContent c = w.build();
  CHECK(c.expression[0] == 1.0F);  // as in the file
  CHECK(std::none_of(c.caveats.begin(), c.caveats.end(), [](const auto& s) { return s.find("z-scored") != s.npos; }));
  REQUIRE(c.fitted_steps.size() == 4);
  CHECK(c.fitted_steps[0].kind == FittedStep::Kind::fill_minimum);
  CHECK(c.fitted_steps[1].genes == 1);
  CHECK(c.fitted_steps[2].domain == "lines");
  CHECK(c.fitted_steps[3].domain == "patients");
  CHECK(c.fitted_steps[3].from == FittedStep::From::source);
  write_dataset(c, w.folder / "out.h5");
  CHECK(Dataset::open(w.folder / "out.h5").fitted_steps.size() == 4);
}

TEST_CASE("A step on values cannot follow one that waits for the folds") {
  Workshop w;
  w.edit("samples = {", "steps = [{ step = \"zscore\" }, { step = \"clip\", low = -3 }]\nsamples = {");
  CHECK_THAT(w.complaint(), contains("a step on the values stands after one that is fitted in each fold"));
}

TEST_CASE("A domain may come in parts, each with its own files") {
  Workshop w;
  w.files["more.csv"] = "id,G1,G2,G3\nm1,1,1,1\n";
  w.files["mr.csv"] = "id,drug,resp\nm1,d1,1\n";
  w.recipe +=
      "[[domain]]\npart_of = \"lines\"\nexpression = { file = \"more.csv\" }\n"
      "response = { file = \"mr.csv\", sample = \"id\", drug = \"drug\", label = \"resp\" }\n";
  const DatasetContent c = w.build();
  CHECK(c.domains.name == std::vector<std::string>{"lines"});
  CHECK(c.sample_id.back() == "m1");
  CHECK(c.sample_domain.back() == 0);
  CHECK(c.responses.size() == 4);
  w.edit_file("more.csv", "m1", "s2");
  w.edit_file("mr.csv", "m1", "s2");
  CHECK_THAT(w.complaint(), contains("the sample 's2' is in the domain lines too"));
}

TEST_CASE("Data that arrive scaled say so in the domain's caveat, which every table repeats") {
  Workshop w;
  w.edit("file = \"x.csv\"", "file = \"x.csv\", arrives_scaled = \"z-scores over everything\"");
  CHECK(w.build().domains.caveat[0] == "Expression of lines was scaled before it came here: z-scores over everything.");
}
