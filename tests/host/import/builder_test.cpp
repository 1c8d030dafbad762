// SPDX-License-Identifier: Apache-2.0
#include "import/builder.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/dataset_info.hpp"
#include "support/catch.hpp"
#include "workshop.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::WithinAbs;
using cdrzoo::test::Workshop;

TEST_CASE("A recipe builds a data set and says what became of every row") {
  Workshop w;
  const DatasetContent c = w.build();
  for (const auto& step : w.report.steps()) UNSCOPED_INFO(step);
  CHECK(c.genes == std::vector<std::string>{"G1", "G2", "G3"});
  CHECK(c.sample_id == std::vector<std::string>{"s1", "s2", "s3"});
  CHECK(c.sample_group == std::vector<std::string>{"p1", "p2", "p3"});
  CHECK(c.tissues == std::vector<std::string>{"lung", "skin"});
  CHECK(c.sample_tissue == std::vector<std::int32_t>{0, -1, 1});
  CHECK(std::isnan(c.expression[4]));
  CHECK(c.expression[8] == 9.0F);
  CHECK(c.drug_id == std::vector<std::string>{"d1", "d2"});
  CHECK(c.drug_group[0] == c.drug_group[1]);  // ethanol twice
  REQUIRE(c.responses.size() == 3);
  CHECK(c.responses[1].label == -1);
  CHECK(c.responses[2].value == -2.0);
  CHECK(c.responses[2].label == 0);
  CHECK(w.said("genes: 3 in lines"));
  CHECK(w.said("lines: the recipe's filter leaves 4 of 5 rows of samples.csv"));
  CHECK(w.said("lines: 3 samples x 3 genes from x.csv, 1 value missing"));
  CHECK(w.said("lines: dropped 1 sample of the table without expression"));
  CHECK(w.said("1 sample has no tissue"));
  CHECK(w.said("lines: 3 records from 3 rows of r.csv"));
  CHECK(w.said("drugs: dropped 1 without a record, 2 stay"));
  CHECK(w.said("structures: 2 of 2 drugs, 1 drug shares the structure and so the group of an earlier one"));

  write_dataset(c, w.folder / "out.h5");
  const Findings findings = validate_dataset(w.folder / "out.h5");
  CHECK(findings.errors.empty());
  const auto provenance = nlohmann::json::parse(Dataset::open(w.folder / "out.h5").provenance_json);
  CHECK(provenance["steps"].get<std::vector<std::string>>() == w.report.steps());
  CHECK(provenance["sources"].size() == 4);
  CHECK(provenance["sources"][0]["file"] == "drugs.csv");
  CHECK(provenance["sources"][0]["sha256"] == sha256_hex(w.files["drugs.csv"]));
}

TEST_CASE("Two domains meet on the genes that they share, each harmonised on its own") {
  Workshop w;
  w.add_domain();
  const DatasetContent c = w.build();
  CHECK(c.genes == std::vector<std::string>{"G1", "G3"});
  CHECK(c.expression[0] == 1.0F);
  // z-scores of 30, 50, 40 and of 10, 30, 20 with the population sd
  const double z = std::sqrt(1.5);
  CHECK_THAT(static_cast<double>(c.expression[6]), WithinAbs(-z, 1e-6));
  CHECK_THAT(static_cast<double>(c.expression[8]), WithinAbs(z, 1e-6));
  CHECK(c.expression[10] == 0.0F);
  CHECK_THAT(static_cast<double>(c.expression[7]), WithinAbs(-z, 1e-6));
  CHECK(w.said("genes: 3 in lines, 3 in patients; the 2 that all share are kept, by symbol"));
  CHECK(w.said("patients: dropped 1 row whose group has no expression"));
  CHECK(w.said("patients: dropped 1 row whose drug is not in the table of drugs (d8)"));
  CHECK(c.caveats.back() ==
        "Expression of patients was z-scored over all its samples, test samples included: the paper does");
  CHECK(c.responses.size() == 5);
}

TEST_CASE("A union of genes fills what a domain lacks with the stated value") {
  Workshop w;
  w.add_domain();
  w.edit("[drugs]", "[genes]\ncombine = \"union\"\nabsent = -1\n[drugs]");
  const DatasetContent c = w.build();
  CHECK(c.genes == std::vector<std::string>{"G1", "G2", "G3", "G4"});
  CHECK(c.expression[3] == -1.0F);
  CHECK(w.said("lines: 3 samples x 3 genes from x.csv, 1 value missing; 1 genes that it lacks are set to -1"));
}

TEST_CASE("Steps are applied in the order of the recipe") {
  Workshop w;
  w.edit("samples = {",
         "steps = [{ step = \"clip\", low = 1.5, high = 8 }, { step = \"fill_missing\", with = \"gene_minimum\", fit = "
         "\"all_samples\", "
         "because = \"they are below detection\" }]\nsamples = {");
  const DatasetContent c = w.build();
  CHECK(c.expression == std::vector<float>{1.5F, 2, 3, 4, 2, 6, 7, 8, 8});
  CHECK(w.said("lines: clipped 1 value below 1.5 and 1 value above 8"));
  CHECK(w.said(
      "lines: filled 1 missing value with the minimum of the gene over all samples, because they are below detection"));
}

TEST_CASE("A constant gene becomes 0 in a z-score and is counted") {
  Workshop w;
  w.edit("samples = {", "steps = [{ step = \"zscore\", fit = \"all_samples\", because = \"why not\" }]\nsamples = {");
  w.files["x.csv"] = "id,G1,G2\ns1,5,1\ns2,5,2\ns3,5,3\n";
  const DatasetContent c = w.build();
  CHECK(c.expression[0] == 0.0F);
  CHECK(c.expression[4] == 0.0F);
  CHECK(
      w.said("lines: z-scored each gene over the 3 samples of the domain (population sd), because why not; 1 constant "
             "gene set to 0"));
}

TEST_CASE("Repeated pairs are an error, averaged or kept, as the recipe says") {
  Workshop w;
  w.files["r.csv"] = "id,drug,ic50,resp\ns1,d1,1,\ns1,d1,2,\ns2,d2,7,\ns1,d1,6,\n";
  SECTION("error") {
    CHECK_THAT(w.complaint(),
               contains("r.csv line 3: column 'drug': the pair of 's1' and 'd1' is there twice, first on line 2"));
  }
  SECTION("mean") {
    w.edit("label = \"resp\"", "label = \"resp\", replicates = \"mean\"");
    const DatasetContent c = w.build();
    REQUIRE(c.responses.size() == 2);
    CHECK_THAT(c.responses[0].value, WithinAbs(3.0, 1e-12));
    CHECK(w.said("lines: 2 repeated rows averaged with the first"));
  }
  SECTION("keep") {
    w.edit("label = \"resp\"", "label = \"resp\", replicates = \"keep\"");
    const DatasetContent c = w.build();
    REQUIRE(c.responses.size() == 4);
    CHECK(c.responses[3].replicate == 2);
  }
  SECTION("mean of labels that differ") {
    w.edit("label = \"resp\"", "label = \"resp\", replicates = \"mean\"");
    w.files["r.csv"] = "id,drug,ic50,resp\ns1,d1,1,0\ns1,d1,2,1\n";
    CHECK_THAT(w.complaint(), contains("labels have no mean"));
  }
}

TEST_CASE("Bad input is one sentence with file, row and column, and no file is left") {
  Workshop w;
  std::string expected;
  SECTION("missing file") {
    w.edit("file = \"x.csv\"", "file = \"no such.csv\"");
    expected = "no such.csv: No such file";
  }
  SECTION("wrong hash") {
    w.edit("file = \"x.csv\"", "file = \"x.csv\", sha256 = \"" + std::string(64, '0') + "\"");
    expected = "x.csv is not the file that the recipe means";
  }
  SECTION("empty file") {
    w.files["x.csv"] = "";
    expected = "x.csv is empty; expected a header line";
  }
  SECTION("no samples") {
    w.files["x.csv"] = "id,G1\n";
    expected = "x.csv has no rows of values";
  }
  SECTION("no sample in the table") {
    w.files["x.csv"] = "id,G1\nq,1\n";
    expected = "x.csv: no sample of it is in the table of samples";
  }
  SECTION("no genes") {
    w.files["x.csv"] = "id\ns1\n";
    expected = "x.csv line 1: there is no column with values";
  }
  SECTION("duplicate gene") {
    w.edit_file("x.csv", "G2", "G1");
    expected = "x.csv line 1 column 3: the gene 'G1' is there twice, first in ";
  }
  SECTION("ragged row") {
    w.edit_file("x.csv", "7,8,9", "7,8");
    expected = "x.csv line 4: has 3 fields; the header has 4";
  }
  SECTION("text for a number") {
    w.edit_file("x.csv", "7,8,9", "7,eight,9");
    expected = "x.csv line 4: column 'G2': 'eight' is not a finite number";
  }
  SECTION("duplicate sample") {
    w.edit_file("x.csv", "s3", "s1");
    expected = "x.csv line 4: the sample 's1' is there twice, first in ";
  }
  SECTION("duplicate sample in the table") {
    w.edit_file("samples.csv", "s9", "s1");
    expected = "samples.csv line 5: column 'id': 's1' is there twice, first on line 2";
  }
  SECTION("duplicate drug") {
    w.edit_file("drugs.csv", "d2", "d1");
    expected = "drugs.csv line 3: column 'id': 'd1' is there twice, first on line 2";
  }
  SECTION("gene without a value") {
    w.files["x.csv"] = "id,G1,G2\ns1,1,\ns2,2,NA\n";
    expected = "x.csv: the gene G2 of the domain lines has no value in any sample";
  }
  SECTION("unknown drug") {
    w.edit_file("r.csv", "s1,d2", "s1,d7");
    expected = "r.csv line 3: column 'drug': 'd7' is not in the table of drugs";
  }
  SECTION("unknown sample") {
    w.edit_file("r.csv", "s2,d1", "s7,d1");
    expected = "r.csv line 4: column 'id': 's7' is no sample of the domain lines";
  }
  SECTION("no label") {
    w.edit_file("r.csv", "0.5,1", "0.5,2");
    expected = "r.csv line 2: column 'resp': '2' is no label; expected 0 or 1";
  }
  SECTION("no records") {
    w.files["r.csv"] = "id,drug,ic50,resp\ns1,d1,,\n";
    expected = "r.csv: no row of it is a record of the domain lines";
  }
  SECTION("missing column") {
    w.edit("value = \"ic50\"", "value = \"auc\"");
    expected = "r.csv has no column 'auc'; it has id, drug, ic50, resp";
  }
  SECTION("id with a control character") {
    w.edit_file("drugs.csv", "Two", "\"T\two\"");
    expected = "drugs.csv line 3: column 'name': is not UTF-8 text or holds a control character";
  }
  SECTION("no shared gene") {
    w.add_domain();
    w.files["y.csv"] = "id,H1\nt1,1\n";
    expected = "the domains have no gene in common";
  }
  SECTION("a sample in both domains") {
    w.add_domain();
    w.edit_file("y.csv", "t2", "s2");
    expected = "y.csv line 3: the sample 's2' is in the domain lines too";
  }
  SECTION("a group with two samples") {
    w.edit_file("samples.csv", "p2", "p1");
    w.edit("sample = \"id\"", "sample = \"id\", match = \"group\"");
    w.edit_file("r.csv", "s1", "p1");
    expected = "r.csv line 2: column 'id': 'p1' has 2 samples in the domain lines";
  }
  CHECK_THAT(w.complaint(), contains(expected));
}

TEST_CASE("A SMILES that is no molecule leaves the drug without a structure, and is reported") {
  Workshop w;
  w.edit_file("drugs.csv", "OCC", "C1CC");
  const DatasetContent c = w.build();
  CHECK(c.drug_group[0] == "id:d1");
  CHECK(c.drug_smiles[0].empty());
  CHECK(w.said("structures: 1 of 2 drugs"));
  CHECK_THAT(w.report.steps().back(), contains("the SMILES of d1 is not used (") && contains("): C1CC"));
  write_dataset(c, w.folder / "out.h5");
  const Dataset d = Dataset::open(w.folder / "out.h5");
  const auto* nodes = static_cast<const std::int64_t*>(d.drug_block("graph")->parts[0].data);
  CHECK(nodes[1] == 0);
  CHECK(nodes[2] == 3);
}

TEST_CASE("Recipes are strict: what is wrong, where, and what is known") {
  const auto complaint = [](const std::string& text) -> std::string {
    try {
      static_cast<void>(parse_recipe(text, "r.toml"));
    } catch (const UsageError& e) {
      return e.what();
    }
    return "accepted";
  };
  const std::string good =
      "name = \"x\"\n[[domain]]\nname = \"a\"\nexpression_unit = \"log2\"\nexpression = { file = \"x.csv\" }\n";
  CHECK(complaint(good) == "accepted");
  CHECK_THAT(complaint("name = "), contains("r.toml line 1"));
  CHECK_THAT(complaint("nam = \"x\"\n"), contains("r.toml line 1: unknown key 'nam'; known: name, citation"));
  CHECK_THAT(complaint("name = \"x\"\n"), contains("a recipe needs at least one [[domain]]"));
  CHECK_THAT(complaint("name = 3\n"), contains("'name' must be text"));
  CHECK_THAT(complaint(good + "tissue = \"t\"\n"), contains("line 6: unknown key 'tissue' in a domain; known: name"));
  CHECK_THAT(complaint(good + "steps = [{ step = \"quantile\" }]\n"),
             contains("'step' in a step is 'quantile'; known: fill_missing, clip, log, unlog, library_size, zscore, "
                      "variable_genes"));
  CHECK_THAT(complaint(good + "steps = [{ step = \"clip\" }]\n"), contains("clip needs 'low', 'high' or both"));
  CHECK_THAT(complaint(good + "steps = [{ step = \"clip\", low = 2, high = 1 }]\n"), contains("low < high"));
  CHECK_THAT(complaint(good + "steps = [{ step = \"zscore\", low = 2 }]\n"), contains("the step zscore has no 'low'"));
  CHECK_THAT(complaint(good + "response = { file = \"r.csv\" }\n"),
             contains("needs the column of 'value', of 'label', or both"));
  CHECK_THAT(complaint(good + "response = { file = \"r.csv\", label = \"l\" }\n"),
             contains("has responses, but there is no [drugs]"));
  CHECK_THAT(complaint(good + "[[domain]]\nname = \"a\"\nexpression_unit = \"u\"\nexpression = { file = \"y.csv\" }\n"),
             contains("two domains are named 'a'"));
  CHECK_THAT(complaint(good + "[genes]\ncombine = \"union\"\n"), contains("needs 'absent'"));
  CHECK_THAT(complaint(good + "[drugs]\nfile = \"d\"\nsha256 = \"12\"\n"),
             contains("64 lower-case hexadecimal digits"));
}
