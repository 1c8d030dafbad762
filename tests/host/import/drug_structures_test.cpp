// SPDX-License-Identifier: Apache-2.0
#include "import/drug_structures.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "data/dataset.hpp"
#include "data/structure_summary.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::TemporaryFolder;

namespace {

/// A data set of one sample and one gene with these drugs, which are called D0, D1, ...
DatasetContent drugs_of(const std::vector<std::string>& smiles) {
  DatasetContent content;
  content.name = "chemistry";
  content.genes = {"TP53"};
  content.domains.name = {"lines"};
  content.domains.expression_unit = {"log2"};
  content.domains.caveat = {""};
  content.sample_id = {"a"};
  content.sample_group = {"a"};
  content.sample_domain = {0};
  content.sample_tissue = {-1};
  content.expression = {1.0F};
  for (std::size_t i = 0; i < smiles.size(); ++i) {
    content.drug_id.push_back("D" + std::to_string(i));
    content.drug_name.emplace_back();
    content.drug_smiles.push_back(smiles[i]);
  }
  return content;
}

StructureOptions all_features() {
  StructureOptions options;
  options.features = structure_features();
  return options;
}

std::vector<std::string> names_of(const std::vector<BlockContent>& blocks) {
  std::vector<std::string> names;
  for (const auto& block : blocks) names.push_back(block.name);
  return names;
}

const BlockContent::Part& part_of(const BlockContent& block, std::int32_t role) {
  const auto found =
      std::find_if(block.parts.begin(), block.parts.end(), [&](const auto& part) { return part.role == role; });
  REQUIRE(found != block.parts.end());
  return *found;
}

template <typename T>
std::vector<T> values(const BlockContent& block, std::int32_t role) {
  const auto& part = part_of(block, role);
  std::vector<T> out(part.bytes.size() / sizeof(T));
  std::memcpy(out.data(), part.bytes.data(), part.bytes.size());
  return out;
}

}  // namespace

TEST_CASE("Blocks are made in one order, whatever the order of the request") {
  DatasetContent content = drugs_of({"CCO"});
  StructureOptions options;
  options.features = {"graph_mat", "graph_deepcdr", "morgan"};
  derive_structures(content, options);
  CHECK(names_of(content.drug_blocks) == std::vector<std::string>{"morgan", "graph_deepcdr", "graph_mat"});

  content = drugs_of({"CCO"});
  derive_structures(content);
  CHECK(names_of(content.drug_blocks) == std::vector<std::string>{"morgan", "graph", "graph_deepcdr"});
}

TEST_CASE("Groups and scaffolds come without any block, too") {
  DatasetContent content = drugs_of({"OCC", "c1ccccc1"});
  StructureOptions options;
  options.features = {};
  derive_structures(content, options);
  CHECK(content.drug_blocks.empty());
  CHECK(content.drug_group == std::vector<std::string>{"CCO", "c1ccccc1"});
  CHECK(content.drug_scaffold == std::vector<std::string>{"", "c1ccccc1"});
}

TEST_CASE("A drug feature that does not exist is refused by name") {
  DatasetContent content = drugs_of({"CCO"});
  StructureOptions options;
  options.features = {"graph3d"};
  CHECK_THROWS_AS(derive_structures(content, options), UsageError);
  CHECK_THROWS_WITH(derive_structures(content, options),
                    "there is no drug feature 'graph3d'; known: morgan, graph, graph_deepcdr, graph_mat");
}

TEST_CASE("Drugs without a structure have a row of zeros, graphs without nodes and a group of their own") {
  DatasetContent content = drugs_of({"CCO", "", "not a molecule", "OCC"});
  const StructureReport report = derive_structures(content, all_features());
  CHECK(report.known == 2);
  CHECK(report.absent == 1);
  REQUIRE(report.invalid.size() == 1);
  CHECK(report.invalid[0].drug == "D2");
  CHECK(report.synonyms == 1);
  CHECK(content.drug_group == std::vector<std::string>{"CCO", "id:D1", "id:D2", "CCO"});
  CHECK(content.drug_smiles[2].empty());
  const auto morgan = values<std::uint8_t>(content.drug_blocks[0], CDRZOO_PART_VALUES);
  CHECK(std::count(morgan.begin() + 2048, morgan.begin() + 3 * 2048, 0) == 2 * 2048);
  CHECK(values<std::int64_t>(content.drug_blocks[2], CDRZOO_PART_NODEPTR) == std::vector<std::int64_t>{0, 3, 3, 3, 6});
  const BlockContent& mat = content.drug_blocks[3];
  CHECK(values<std::int64_t>(mat, CDRZOO_PART_NODEPTR) == std::vector<std::int64_t>{0, 4, 4, 4, 8});
  CHECK(values<std::int64_t>(mat, CDRZOO_PART_PAIRPTR) == std::vector<std::int64_t>{0, 16, 16, 16, 32});
}

TEST_CASE("A summary of the structures counts salts and isolated atoms") {
  DatasetContent content = drugs_of({"CCO", "", "CC(=O)[O-].[Na+]", "CN1CCNCC1.CS(=O)(=O)O", "C"});
  derive_structures(content);
  for (const std::size_t block : {1U, 2U}) {
    const StructureSummary summary = summarise_structures(content.drug_blocks[block].view());
    CHECK(summary.several_fragments == 2);
    CHECK(summary.isolated_atoms == 2);
  }
}

TEST_CASE("Without a single structure there are no blocks") {
  DatasetContent content = drugs_of({"", ""});
  CHECK(derive_structures(content, all_features()).absent == 2);
  CHECK(content.drug_blocks.empty());
}

TEST_CASE("A salt and its base are named, and stay two groups") {
  // Imatinib's ring system in small: a base, its mesylate, and a drug that has nothing to do with them.
  DatasetContent content = drugs_of({"CN1CCNCC1", "CN1CCNCC1.CS(=O)(=O)O", "CCO", "C1CN(C)CCN1"});
  const StructureReport report = derive_structures(content);
  REQUIRE(report.salt_forms.size() == 1);
  CHECK(report.salt_forms[0].drug == "D1");
  CHECK(report.salt_forms[0].other == "D0");
  CHECK(content.drug_group[0] != content.drug_group[1]);
  CHECK(report.synonyms == 1);
}

TEST_CASE("A drug without a conformer is named with the reason") {
  DatasetContent content = drugs_of({"CCO", "F[U](F)(F)(F)(F)(F)(F)(F)(F)(F)F", std::string(301, 'C')});
  const StructureReport report = derive_structures(content, all_features());
  REQUIRE(report.without_conformer.size() == 2);
  CHECK(report.without_conformer[0].drug == "D1");
  CHECK_THAT(report.without_conformer[0].reason, contains("no conformer was found"));
  CHECK(report.without_conformer[1].drug == "D2");
  CHECK_THAT(report.without_conformer[1].reason, contains("has 301 atoms"));
  CHECK(values<std::int64_t>(content.drug_blocks[3], CDRZOO_PART_NODEPTR) == std::vector<std::int64_t>{0, 4, 17, 17});

  content = drugs_of({std::string(301, 'C')});
  CHECK(derive_structures(content).without_conformer.empty());
}

TEST_CASE("The number of threads does not change a bit") {
  const std::vector<std::string> smiles = {"CC(=O)Oc1ccccc1C(=O)O",
                                           "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
                                           "N.N.Cl[Pt]Cl",
                                           "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
                                           "C/C=C/C",
                                           "OC1CCCCC1N"};
  std::vector<DatasetContent> contents;
  for (const unsigned threads : {1U, 2U, 5U}) {
    contents.push_back(drugs_of(smiles));
    StructureOptions options = all_features();
    options.threads = threads;
    derive_structures(contents.back(), options);
  }
  for (const auto& content : contents) {
    REQUIRE(content.drug_blocks.size() == 4);
    for (std::size_t b = 0; b < 4; ++b) {
      for (std::size_t p = 0; p < content.drug_blocks[b].parts.size(); ++p) {
        CHECK(content.drug_blocks[b].parts[p].bytes == contents[0].drug_blocks[b].parts[p].bytes);
      }
    }
  }
}

TEST_CASE("The blocks of models go through a file unchanged") {
  const TemporaryFolder folder;
  DatasetContent content = drugs_of({"CCO", "", "N.N.Cl[Pt]Cl"});
  derive_structures(content, all_features());
  write_dataset(content, folder / "set.h5");
  const Dataset dataset = Dataset::open(folder / "set.h5");
  for (const char* name : {"graph_deepcdr", "graph_mat"}) {
    const auto made = std::find_if(content.drug_blocks.begin(), content.drug_blocks.end(),
                                   [&](const auto& block) { return block.name == name; });
    const FeatureBlock* read = dataset.drug_block(name);
    REQUIRE(read != nullptr);
    CHECK(read->space == made->space);
    CHECK(read->feature_names == made->feature_names);
    REQUIRE(read->parts.size() == made->parts.size());
    for (const auto& part : read->parts) {
      const auto& bytes = part_of(*made, part.role).bytes;
      REQUIRE(part.bytes == bytes.size());
      CHECK(std::equal(bytes.begin(), bytes.end(), static_cast<const std::uint8_t*>(part.data)));
    }
  }
}
