// SPDX-License-Identifier: Apache-2.0
#include <sstream>

#include "import/gene_map.hpp"
#include "import/names.hpp"
#include "workshop.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::Workshop;
using Outcome = NameMatcher::Outcome;

TEST_CASE("TCGA barcodes give the patient and the sample, in any spelling") {
  CHECK(name_key(NameRule::tcga_patient, "TCGA-A7-A0CE-01A-11R-A00Z-07") == "TCGA-A7-A0CE");
  CHECK(name_key(NameRule::tcga_patient, "tcga.a7.a0ce.01") == "TCGA-A7-A0CE");
  CHECK(name_key(NameRule::tcga_patient, "TCGA-A7-A0CE") == "TCGA-A7-A0CE");
  CHECK(name_key(NameRule::tcga_sample, "TCGA-A7-A0CE-01A-11R-A00Z-07") == "TCGA-A7-A0CE-01");
  CHECK(name_key(NameRule::tcga_sample, "TCGA-A7-A0CE-06") == "TCGA-A7-A0CE-06");
  for (const char* none : {"TCGA-A7", "ACH-000001", "", "TCGA--", "TCGA"})
    CHECK(name_key(NameRule::tcga_patient, none).empty());
  CHECK(name_key(NameRule::tcga_sample, "TCGA-A7-A0CE").empty());
  CHECK(name_key(NameRule::tcga_sample, "TCGA-A7-A0CE-X1").empty());
}

TEST_CASE("Numbers that programs have made longer are the same identifier") {
  CHECK(name_key(NameRule::number, "905933") == "905933");
  CHECK(name_key(NameRule::number, "905933.0") == "905933");
  CHECK(name_key(NameRule::number, "0905933") == "905933");
  for (const char* none : {"", "905933.5", "12a", "none", "-3", "1e5"}) CHECK(name_key(NameRule::number, none).empty());
}

TEST_CASE("Similar names match, but names that two things share do not") {
  NameMatcher matcher(NameRule::name);
  matcher.know("T-T", 0);
  matcher.know("TT", 1);
  matcher.know("OVCAR-3", 2);
  matcher.know("KM-H2", 3);
  SECTION("what is written exactly so wins") {
    const auto found = matcher.match({"TT", "T-T", "ovcar3", "KMH-2", "MCF7"});
    CHECK(found.at("TT").index == 1);
    CHECK(found.at("T-T").index == 0);
    CHECK(found.at("ovcar3").outcome == Outcome::similar);
    CHECK(found.at("ovcar3").index == 2);
    CHECK(found.at("KMH-2").index == 3);
    CHECK(found.at("MCF7").outcome == Outcome::unknown);
  }
  SECTION("a third spelling could be either") { CHECK(matcher.match({"t t"}).at("t t").outcome == Outcome::ambiguous); }
  SECTION("two names of the other file cannot both be one line") {
    const auto found = matcher.match({"KMH-2", "KMH2"});
    CHECK(found.at("KMH-2").outcome == Outcome::ambiguous);
    CHECK(found.at("KMH2").outcome == Outcome::ambiguous);
  }
  SECTION("what another name claims exactly is taken") {
    const auto found = matcher.match({"KM-H2", "KMH-2"});
    CHECK(found.at("KM-H2").outcome == Outcome::exact);
    CHECK(found.at("KMH-2").outcome == Outcome::ambiguous);
  }
}

namespace {

GeneMap small_map() {
  TextColumns columns;
  columns.names = {"symbol", "entrez", "ensembl", "canonical", "aliases"};
  columns.values = {{"MKL1", "MRTFA", "TP53", "A", "B"},
                    {"57591", "57591", "7157", "10", "11"},
                    {"ENSG00000196588", "ENSG00000196588", "ENSG00000141510.18", "ENSG01", "ENSG01"},
                    {"MRTFA", "MRTFA", "", "", ""},
                    {"", "MAL|BSAC", "P53|LFS1", "SHARED", "SHARED|"}};
  MemoryTable table("map", "rows", columns);
  return {table, {"symbol", "entrez", "ensembl", "canonical", "aliases"}};
}

}  // namespace

TEST_CASE("Genes are found by symbol, alias, Entrez and Ensembl id") {
  const GeneMap map = small_map();
  const auto symbol = [&map](GeneNames kind, const std::string& name) {
    return map.find(kind, name, GeneNames::symbol).id;
  };
  CHECK(symbol(GeneNames::symbol, "MKL1") == "MRTFA");  // two spellings are one gene
  CHECK(symbol(GeneNames::symbol, "MRTFA") == "MRTFA");
  CHECK(symbol(GeneNames::symbol, "BSAC") == "MRTFA");
  CHECK(map.find(GeneNames::symbol, "BSAC", GeneNames::symbol).by_alias);
  CHECK(symbol(GeneNames::entrez, "57591") == "MRTFA");
  CHECK(symbol(GeneNames::ensembl, "ENSG00000141510") == "TP53");
  CHECK(symbol(GeneNames::ensembl, "ENSG00000141510.3") == "TP53");
  CHECK(map.find(GeneNames::symbol, "LFS1", GeneNames::entrez).id == "7157");
  CHECK(symbol(GeneNames::symbol, "tp53").empty());  // case is part of a symbol
  CHECK(symbol(GeneNames::entrez, "1").empty());
}

TEST_CASE("A name that may be several genes is none") {
  const GeneMap map = small_map();
  for (const auto& [kind, name] : {std::pair{GeneNames::symbol, "SHARED"}, std::pair{GeneNames::ensembl, "ENSG01"}}) {
    const auto gene = map.find(kind, name, GeneNames::symbol);
    CHECK(gene.ambiguous);
    CHECK(gene.id.empty());
  }
}

TEST_CASE("Domains with other gene names meet through the map, and every loss is named") {
  Workshop w;
  w.files["map.csv"] = "symbol,entrez\nG1,101\nG3,103\nG4,104\n";
  w.files["y.csv"] = "id,103,999,101\nt1,10,20,30\nt2,30,40,50\nt3,20,0,40\n";
  w.edit("[drugs]", "[genes]\nmap = { file = \"map.csv\", entrez = \"entrez\" }\n[drugs]");
  w.recipe +=
      "[[domain]]\nname = \"patients\"\nexpression_unit = \"u\"\n"
      "expression = { file = \"y.csv\", gene_names = \"entrez\" }\n";
  const DatasetContent c = w.build();
  CHECK(c.genes == std::vector<std::string>{"G1", "G3"});
  CHECK(c.expression[6] == 30.0F);
  CHECK(
      w.said("patients: 3 genes named by entrez through the gene map: 2 renamed (0 by an alias), dropped 1 that are "
             "not in the map"));
  CHECK(w.lost().find("y.csv\tgene\t999\tnot in the gene map\t1\n") != std::string::npos);
  CHECK(w.lost().find("x.csv\tgene\tG2\tnot in every domain\t1\n") != std::string::npos);
}

TEST_CASE("Columns that mean one gene are refused, dropped, averaged, or the highest wins") {
  Workshop w;
  w.files["x.csv"] = "id,G1,G2,G1b\ns1,1,2,30\ns2,4,5,\ns3,7,8,90\n";
  w.files["map.csv"] = "symbol,canonical\nG1,G1\nG1b,G1\nG2,G2\n";
  w.edit("[drugs]", "[genes]\nmap = { file = \"map.csv\", canonical = \"canonical\" }\n[drugs]");
  const auto with = [&w](const std::string& rule) {
    w.edit("file = \"x.csv\"", "file = \"x.csv\", repeated_genes = \"" + rule + "\"");
    return w.build();
  };
  SECTION("refused") {
    CHECK_THAT(w.complaint(), contains("x.csv line 1 column 4: the gene 'G1' is there twice, first in") &&
                                  contains("line 1 column 2"));
  }
  SECTION("dropped") { CHECK(with("first").expression == std::vector<float>{1, 2, 4, 5, 7, 8}); }
  SECTION("averaged, over what is observed") {
    CHECK(with("mean").expression == std::vector<float>{15.5F, 2, 4, 5, 48.5F, 8});
    CHECK(w.said("lines: 1 column repeats a gene, averaged with the first"));
  }
  SECTION("the highest mean") {
    const auto c = with("highest_mean");
    CHECK(c.expression[0] == 30.0F);
    CHECK(std::isnan(c.expression[2]));
  }
}

TEST_CASE("A panel keeps its genes in its order") {
  Workshop w;
  w.files["panel.csv"] = "gene\nG3\nG9\nG1\n";
  SECTION("genes that a domain lacks are dropped") {
    w.edit("[drugs]", "[genes]\npanel = { file = \"panel.csv\", column = \"gene\" }\n[drugs]");
    CHECK(w.build().genes == std::vector<std::string>{"G3", "G1"});
    CHECK(w.said("genes: 3 in lines; the panel panel.csv lists 3, 2 of them are in every domain; dropped G9"));
  }
  SECTION("or set to a stated value") {
    w.edit("[drugs]", "[genes]\nabsent = -1\npanel = { file = \"panel.csv\", column = \"gene\" }\n[drugs]");
    const DatasetContent c = w.build();
    CHECK(c.genes == std::vector<std::string>{"G3", "G9", "G1"});
    CHECK(c.expression == std::vector<float>{3, -1, 1, 6, -1, 4, 9, -1, 7});
  }
}

TEST_CASE("A panel of genes that no domain has is refused by its name") {
  Workshop w;
  w.files["panel.csv"] = "gene\nNOPE\n";
  w.edit("[drugs]", "[genes]\npanel = { file = \"panel.csv\", column = \"gene\" }\n[drugs]");
  CHECK_THAT(w.complaint(), contains("no gene of the panel panel.csv is in every domain"));
}

TEST_CASE("A panel may be gene sets") {
  Workshop w;
  w.files["sets.gmt"] = "ONE\tnote\tG3\tG1\nTWO\tnote\tG1\tG9\nTHREE\tnote\tG2\n";
  w.edit("[drugs]",
         "[genes]\npanel = { file = \"sets.gmt\", column = \"gene\", where = { set = [\"ONE\", \"TWO\"] } }\n[drugs]");
  CHECK(w.build().genes == std::vector<std::string>{"G3", "G1"});
  CHECK(
      w.said("genes: 3 in lines; the panel sets.gmt lists 3 (1 of them more than once), 2 of them are in every domain; "
             "dropped G9"));
}

TEST_CASE("Samples that are there twice are refused, dropped or averaged") {
  Workshop w;
  w.files["x.csv"] = "id,G1,G2\ns1,1,2\ns2,4,5\ns1,3,\n";
  const auto with = [&w](const std::string& rule) {
    w.edit("file = \"x.csv\"", "file = \"x.csv\", repeated_samples = \"" + rule + "\"");
    return w.build();
  };
  SECTION("dropped") { CHECK(with("first").expression == std::vector<float>{1, 2, 4, 5}); }
  SECTION("averaged") {
    CHECK(with("mean").expression == std::vector<float>{2, 2, 4, 5});
    CHECK(w.said("lines: 1 row repeats a sample, averaged with the first"));
    CHECK(w.lost().find("x.csv\tsample\ts1\taveraged with its first row\t1\n") != std::string::npos);
  }
}

TEST_CASE("Genes in rows and samples in rows give the same data set") {
  Workshop rows;
  const DatasetContent a = rows.build();
  Workshop columns;
  columns.files["x.csv"] = "gene,s1,s2,s3\nG1,1,4,7\nG2,2,,8\nG3,3,6,9\n";
  columns.edit("file = \"x.csv\"", "file = \"x.csv\", samples_are = \"columns\"");
  const DatasetContent b = columns.build();
  CHECK(a.genes == b.genes);
  CHECK(a.sample_id == b.sample_id);
  CHECK(std::equal(a.expression.begin(), a.expression.end(), b.expression.begin(),
                   [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); }));
}

TEST_CASE("Expression finds its samples by another column, and names that may be several are left out") {
  Workshop w;
  w.files["samples.csv"] = "id,line,site\ns1,T-T,lung\ns2,TT,skin\ns3,KM-H2,skin\n";
  w.files["x.csv"] = "line,G1\nTT,1\nKMH-2,2\nt.t,3\n";
  w.edit("file = \"x.csv\"", "file = \"x.csv\", match = \"line\", match_as = \"name\"");
  w.edit(", group = \"patient\", where = { set = \"a\" }", "");
  w.files["r.csv"] = "id,drug,ic50,resp\ns2,d1,0.5,1\n";
  const DatasetContent c = w.build();
  CHECK(c.sample_id == std::vector<std::string>{"s2", "s3"});
  CHECK(c.expression == std::vector<float>{1, 2});
  CHECK(w.said("lines: 1 sample matched by a similar name"));
  CHECK(w.lost().find("x.csv\tsample\tt.t\tthe name may mean several samples of the table\t1\n") != std::string::npos);
  CHECK(w.lost().find("samples.csv\tsample\ts1\tno expression\t1\n") != std::string::npos);
}

TEST_CASE("Patients come from barcodes, and the first of several samples counts where the recipe says so") {
  Workshop w;
  w.files["x.csv"] = "id,G1\nTCGA-A1-0001-01A-11R,1\nTCGA-A1-0001-06A-11R,2\nTCGA-A1-0002-01A-11R,3\n";
  w.files["samples.csv"] = "id,site\nTCGA-A1-0001-01A-11R,lung\nTCGA-A1-0001-06A-11R,\nTCGA-A1-0002-01A-11R,lung\n";
  w.files["r.csv"] = "id,drug,ic50,resp\nTCGA-A1-0001,d1,1,\nTCGA.A1.0002,d1,2,\n";
  w.edit("group = \"patient\", where = { set = \"a\" }", "group_as = \"tcga_patient\"");
  w.edit("sample = \"id\"", "sample = \"id\", match = \"group\", match_as = \"tcga_patient\"");
  SECTION("error") {
    CHECK_THAT(w.complaint(), contains("r.csv line 2: column 'id': 'TCGA-A1-0001' has 2 samples in the domain lines"));
  }
  SECTION("first") {
    w.edit("match = \"group\"", "match = \"group\", several = \"first\"");
    const DatasetContent c = w.build();
    CHECK(c.sample_group == std::vector<std::string>{"TCGA-A1-0001", "TCGA-A1-0001", "TCGA-A1-0002"});
    REQUIRE(c.responses.size() == 2);
    CHECK(c.responses[0].sample == 0);
    CHECK(c.responses[1].sample == 2);
    CHECK(w.said("lines: 1 name has several samples, the first counts (TCGA-A1-0001)"));
  }
}

TEST_CASE("Drugs are matched by PubChem id, name, structure or InChIKey") {
  Workshop w;
  w.files["drugs.csv"] =
      "id,name,smiles,cid,also,key\nd1,5-Fluorouracil,C1=C(C(=O)NC(=O)N1)F,3385,5-FU|Adrucil,GHASVSINZRGABV-UHFFFAOYSA-"
      "N\n"
      "d2,Ethanol,OCC,702,,LFQSCWFLJHTTHZ-UHFFFAOYSA-N\n";
  w.edit("smiles = \"smiles\"", "smiles = \"smiles\"\npubchem = \"cid\"\nsynonyms = \"also\"\ninchikey = \"key\"");
  const auto by = [&w](const std::string& rule, const std::string& one, const std::string& two) {
    w.files["r.csv"] = "id,drug,ic50,resp\ns1," + one + ",1,\ns2," + two + ",2,\n";
    w.edit("drug = \"drug\"", "drug = \"drug\", drug_match = \"" + rule + "\"");
    const DatasetContent c = w.build();
    return std::vector<std::int32_t>{c.responses.at(0).drug, c.responses.at(1).drug};
  };
  const std::vector<std::int32_t> expected = {0, 1};
  SECTION("PubChem") { CHECK(by("pubchem", "3385.0", "0702") == expected); }
  SECTION("name and synonym") { CHECK(by("name", "adrucil", "ETHANOL") == expected); }
  SECTION("another way to write the structure") {
    CHECK(by("structure", "O=c1[nH]cc(F)c(=O)[nH]1", "C(C)O") == expected);
  }
  SECTION("InChIKey, of any stereo") {
    CHECK(by("inchikey", "GHASVSINZRGABV-UHFFFAOYSA-N", "LFQSCWFLJHTTHZ-ABCDEFGHSA-N") == expected);
  }
}

TEST_CASE("What is one substance is one group, by structure, InChIKey or PubChem id") {
  Workshop w;
  w.files["drugs.csv"] =
      "id,name,smiles,cid,key\na,A,OCC,1,\nb,B,C(O)C,,\nc,C,,1,\nd,D,,,LFQSCWFLJHTTHZ-UHFFFAOYSA-N\n"
      "e,E,CCC,9,LFQSCWFLJHTTHZ-ABCDEFGHSA-N\nf,F,,,\n";
  w.files["r.csv"] = "id,drug,ic50,resp\ns1,a,1,\ns1,b,1,\ns1,c,1,\ns1,d,1,\ns1,e,1,\ns1,f,1,\n";
  w.edit("smiles = \"smiles\"", "smiles = \"smiles\"\npubchem = \"cid\"\ninchikey = \"key\"");
  const DatasetContent c = w.build();
  CHECK(c.drug_group[1] == c.drug_group[0]);
  CHECK(c.drug_group[2] == c.drug_group[0]);
  CHECK(c.drug_group[3] != c.drug_group[0]);
  CHECK(c.drug_group[4] == c.drug_group[3]);
  CHECK(c.drug_group[5] == "id:f");
  CHECK(w.said("drugs: 2 drugs are in the group of another with the same InChIKey connectivity or PubChem id"));
}

TEST_CASE("Without a table the drugs are those that the responses name, each structure once") {
  Workshop w;
  const auto begin = w.recipe.find("[drugs]");
  w.recipe.replace(begin, w.recipe.find("[[domain]]") - begin, "[drugs]\nfrom = \"responses\"\n");
  w.files["r.csv"] = "id,drug,ic50,resp\ns1,OCC,1,\ns2,C(C)O,2,\ns1,CCC,3,\ns2,C1CC,4,\n";
  w.edit("drug = \"drug\"", "drug = \"drug\", drug_match = \"structure\", unknown_drugs = \"drop\"");
  const DatasetContent c = w.build();
  CHECK(c.drug_id == std::vector<std::string>{"CCO", "CCC"});
  REQUIRE(c.responses.size() == 3);
  CHECK(c.responses[1].drug == 0);
  CHECK(w.said("lines: dropped 1 row whose drug is not in the table of drugs (C1CC)"));
}
