// SPDX-License-Identifier: Apache-2.0
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "import/builder.hpp"
#include "support/catch.hpp"
#include "support/gzip_text.hpp"
#include "support/quick_recipe.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::TemporaryFolder;
using cdrzoo::test::write_gzip;

namespace {

const std::filesystem::path kRecipes = std::filesystem::path(CDRZOO_SOURCE_DIR) / "share" / "datasets";

/// What the READMEs of the data state; -1 = nothing.
struct Expected {
  const char* name;
  std::int64_t samples, genes, drugs, records, positives, profiles;
};
constexpr Expected kExpected[] = {
    {"gdsc2_ccle", 580, 706, 170, 82833, 0, 0},
    {"tcga", 602, 3556, 10, 31, 17, 0},
    {"tcga_brca_wide", 200, 3437, 6, 56, 53, 0},
    {"tcga_tumour_normal", 1204, 3556, 10, 31, 17, 0},
    {"tcga_panel50", 8744 + 693, 50, 29, 899, 517, 0},
    {"gse6434", 24, 8541, 1, 24, 10, 0},
    {"gdsc2_ccle_to_tcga", 580 + 602, 367, 170, 82833 + 31, 17, 0},
    {"gdsc2_ccle_to_tcga_brca_wide", 580 + 200, 195, 170, 82833 + 56, 53, 0},
    {"gdsc2_ccle_to_gse6434", 580 + 24, 541, 170, 82833 + 24, 10, 0},
    {"gdsc_ic50_357", 580, 706, 162, -1, 0, 0},
    {"gdsc_binary_151", 580, 706, -1, -1, -1, 0},
    {"drevalpy_example", 88, 38, 32, 2309 - 27, 0, 0},
    {"fourierdrug_ar42", 66, 2933, 2, 2 * 66, 66, 0},
    {"fourierdrug_cetuximab_afatinib", 120, 2876, 2, 2 * 120, -1, 0},
    {"fourierdrug_plx4720", 108, 2873, 1, 108, 62, 0},
    {"perturbench_devel", 4, 500, -1, 0, 0, 60},
    {"perturbench_devel_cells", 400, 500, -1, 0, 0, 5561},
    {"glioblastoma_panobinostat", 5, 300, 1, 0, 0, 5},
    {"glioblastoma_panobinostat_cells", 2500, 300, 1, 0, 0, 2500},
    {"l1000_a375_plate", 1, 978, 59, 0, 0, -1},
    {"l1000_a375_plate_zscores", 1, 978, 59, 0, 0, -1},
    {"l1000_modzs_25x50", 25, 50, 0, 0, 0, 0},
};

void check(std::int64_t found, std::int64_t expected) {
  if (expected >= 0) CHECK(found == expected);
}

}  // namespace

TEST_CASE("The shipped recipes build the real data, with the counts that its documentation states") {
  const std::filesystem::path from = std::filesystem::path(CDRZOO_SHARED_DIR) / "data";
  if (!std::filesystem::exists(from / "gdsc2_ccle")) {
    WARN("skipped: " << from.string() << " is not there");
    return;
  }
  for (const auto& expected : kExpected) {
    DYNAMIC_SECTION(expected.name) {
      BuildReport report;
      const auto c =
          build_dataset(test::without_conformers(kRecipes / (std::string(expected.name) + ".toml")), from, report);
      check(static_cast<std::int64_t>(c.sample_id.size()), expected.samples);
      check(static_cast<std::int64_t>(c.genes.size()), expected.genes);
      check(static_cast<std::int64_t>(c.drug_id.size()), expected.drugs);
      check(static_cast<std::int64_t>(c.responses.size()), expected.records);
      check(std::count_if(c.responses.begin(), c.responses.end(), [](const auto& r) { return r.label == 1; }),
            expected.positives);
      check(static_cast<std::int64_t>(c.perturbations.size()), expected.profiles);
      const TemporaryFolder folder;
      write_dataset(c, folder / "x.h5");
      CHECK(Dataset::open(folder / "x.h5").genes == c.genes);
    }
  }
}

TEST_CASE("Every shipped recipe is read, and is in the list of this test or needs files of the user") {
  for (const auto& entry : std::filesystem::directory_iterator(kRecipes)) {
    INFO(entry.path().string());
    const std::string name = entry.path().stem().string();
    CHECK_NOTHROW(load_recipe(entry.path()));
    const bool listed = std::any_of(std::begin(kExpected), std::end(kExpected),
                                    [&name](const auto& expected) { return name == expected.name; });
    CHECK((listed || name.compare(0, 8, "therapi_") == 0));
  }
}

TEST_CASE("The recipes for THERAPI's setting read files in the layout of its release and of GEO") {
  const TemporaryFolder folder;
  const auto write = [&folder](const std::string& name, const std::string& text) {
    std::filesystem::create_directories((folder / name).parent_path());
    std::ofstream(folder / name, std::ios::binary) << text;
  };
  write("GDSC/GDSC_gex.csv", "ID,TP53,EGFR,MYC\nA253,1,2,3\nMCF7,4,5,6\n");
  write("GDSC/GDSC_info.csv", "ID,tissue_label,tissue_type\nA253,0,head\nMCF7,1,breast\n");
  write("GDSC/GDSC_Durg_SMILES_Response.csv", "ID,Canonical_SMILES,Label\nA253,CCO,1\nMCF7,CCO,0\nMCF7,CCC,1\n");
  BuildReport report;
  SECTION("TCGA") {
    write("TCGA/TCGA_unlabeled_gex.csv", "ID,MYC,TP53,EGFR\nTCGA-01-0001-01,1,2,3\nTCGA-01-0002-01,4,5,6\n");
    write("TCGA/TCGA_unlabeled_info.csv",
          "ID,tissue_label,tissue_type\nTCGA-01-0001-01,0,head\nTCGA-01-0002-01,1,breast\n");
    write("TCGA/TCGA_labeled_gex.csv", "ID,MYC,TP53,EGFR\nTCGA-01-0003-01,7,8,9\nTCGA-01-0003-06,4,5,6\n");
    write("TCGA/TCGA_labeled_info.csv",
          "ID,tissue_label,tissue_type\nTCGA-01-0003-01,0,head\nTCGA-01-0003-06,1,head\n");
    write("TCGA/TCGA_Durg_SMILES_Response.csv", "ID,Canonical_SMILES,Label\nTCGA-01-0003,C(C)O,1\n");
    const auto c = build_dataset(load_recipe(kRecipes / "therapi_gdsc_to_tcga.toml"), folder.path(), report);
    CHECK(c.domains.name == std::vector<std::string>{"gdsc", "tcga"});
    CHECK(c.sample_id.size() == 6);
    CHECK(c.drug_id == std::vector<std::string>{"CCO", "CCC"});
    REQUIRE(c.responses.size() == 4);
    CHECK(c.responses[3].drug == 0);
    CHECK(c.sample_id[static_cast<std::size_t>(c.responses[3].sample)] == "TCGA-01-0003-01");
    CHECK(c.sample_group[4] == "TCGA-01-0003");
    CHECK(c.expression[2 * 3] == 2.0F);  // TP53 of the first tumour
  }
  SECTION("I-SPY2") {
    const std::string expression = "GSE194040_ISPY2ResID_AgilentGeneExp_990_FrshFrzn_meanCol_geneLevel_n988.txt.gz";
    write_gzip(folder / expression, "\t1001\t1002\t1003\nTP53\t8.5\t7.5\t6.5\nMYC\t1\t2\t3\nEGFR\t4\t5\t6\n");
    const auto matrix = [](const std::string& ids, const std::string& arms, const std::string& pcr) {
      return "!Series_title\t\"I-SPY2\"\n!Sample_title\t" + ids + "\n!Sample_geo_accession\t" + ids +
             "\n!Sample_characteristics_ch1\t" + pcr + "\n!Sample_characteristics_ch1\t" + arms +
             "\n!series_matrix_table_begin\n\"ID_REF\"\t" + ids + "\n!series_matrix_table_end\n";
    };
    const auto with_patients = [](std::string text, const std::string& patients) {
      const auto at = text.find("!Sample_characteristics_ch1");
      return text.insert(at, "!Sample_characteristics_ch1\t" + patients + "\n");
    };
    write_gzip(folder / "GSE194040-GPL20078_series_matrix.txt.gz",
               with_patients(matrix("\"GSM1\"\t\"GSM2\"", "\"arm: Paclitaxel\"\t\"arm: Paclitaxel + Neratinib\"",
                                    "\"pcr: 1\"\t\"pcr: 0\""),
                             "\"patient id: 1001\"\t\"patient id: 1002\""));
    write_gzip(folder / "GSE194040-GPL30493_series_matrix.txt.gz",
               with_patients(matrix("\"GSM3\"", "\"arm: Paclitaxel\"", "\"pcr: 0\""), "\"patient id: 1003\""));
    const auto c = build_dataset(load_recipe(kRecipes / "therapi_gdsc_to_ispy2.toml"), folder.path(), report);
    CHECK(c.sample_id == std::vector<std::string>{"A253", "MCF7", "1001", "1002", "1003"});
    CHECK(c.responses.size() == 3 + 2);
    CHECK(c.responses[3].label == 1);
    CHECK(c.responses[4].label == 0);
    CHECK(c.expression[2 * 3] == 8.5F);
  }
}
