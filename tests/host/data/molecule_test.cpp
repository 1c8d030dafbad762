// SPDX-License-Identifier: Apache-2.0
#include "chem/molecule.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "support/catch.hpp"
#include "support/gzip_text.hpp"

using cdrzoo::Molecule;
using cdrzoo::read_molecule;

namespace {

Molecule molecule(const std::string& smiles) {
  std::string reason;
  const auto read = read_molecule(smiles, &reason);
  INFO(smiles << ": " << reason);
  REQUIRE(read.has_value());
  return *read;
}

std::size_t feature(const std::string& name) {
  const auto& names = cdrzoo::graph_node_features();
  const auto found = std::find(names.begin(), names.end(), name);
  REQUIRE(found != names.end());
  return static_cast<std::size_t>(found - names.begin());
}

}  // namespace

TEST_CASE("One structure has one identity, however it is written") {
  CHECK(molecule("OCC").identity == molecule("C(C)O").identity);
  CHECK(molecule("c1ccccc1").canonical == molecule("C1=CC=CC=C1").canonical);
  // Stereo and isotopes do not split a drug's group, as in the first block of an InChIKey.
  CHECK(molecule("N[C@@H](C)C(=O)O").identity == molecule("N[C@H](C)C(=O)O").identity);
  CHECK(molecule("N[C@@H](C)C(=O)O").canonical != molecule("N[C@H](C)C(=O)O").canonical);
  CHECK(molecule("[13CH4]").identity == molecule("C").identity);
  CHECK(molecule("CCO").identity != molecule("CCN").identity);
}

TEST_CASE("Scaffolds are ring systems with linkers, and acyclic molecules have none") {
  CHECK(molecule("CCO").scaffold.empty());
  CHECK(molecule("Cc1ccccc1O").scaffold == molecule("c1ccccc1").identity);
  CHECK(molecule("CC(C)c1ccc(CCc2ccccc2)cc1").scaffold == molecule("c1ccccc1CCc1ccccc1").identity);
}

TEST_CASE("The graph of ethanol is what one draws") {
  const auto g = molecule("CCO").graph;
  const std::size_t width = cdrzoo::graph_node_features().size();
  REQUIRE(g.nodes == 3);
  REQUIRE(g.node_features.size() == 3 * width);
  CHECK(g.node_features[0 * width + feature("element_C")] == 1.0F);
  CHECK(g.node_features[2 * width + feature("element_O")] == 1.0F);
  CHECK(g.node_features[0 * width + feature("hydrogens")] == 3.0F);
  CHECK(g.node_features[1 * width + feature("degree")] == 2.0F);
  CHECK(g.node_features[2 * width + feature("hybrid_sp3")] == 1.0F);
  CHECK(g.source == std::vector<std::int32_t>{0, 1, 1, 2});
  CHECK(g.target == std::vector<std::int32_t>{1, 0, 2, 1});
  CHECK(g.edge_features[0] == 1.0F);
}

TEST_CASE("Text that is no molecule is refused with a reason and without noise") {
  for (const char* bad : {"", " ", "not a molecule", "C1CC", "c1ccccc", "C(C)(C)(C)(C)C", "[Xx]", "C\nC", "C>>C"}) {
    std::string reason;
    INFO(bad);
    CHECK_FALSE(read_molecule(bad, &reason).has_value());
    CHECK_FALSE(reason.empty());
  }
}

TEST_CASE("Structures agree with the golden molecules") {
  const std::filesystem::path file = std::filesystem::path(CDRZOO_SHARED_DIR) / "golden" / "molecules.json.gz";
  if (!std::filesystem::exists(file)) {
    WARN("skipped: " << file.string() << " is not there");
    return;
  }
  const auto golden = nlohmann::json::parse(cdrzoo::test::gzip_text(file));
  std::size_t compared = 0;
  for (const char* set : {"drugs", "edge_cases"}) {
    for (const auto& g : golden[set]) {
      INFO(g["name"].get<std::string>());
      const Molecule m = molecule(g["input_smiles"]);
      // Strings of another version of the toolkit are compared as graphs: both are read again.
      CHECK(molecule(m.canonical).canonical == molecule(g["canonical_smiles"]).canonical);
      CHECK(molecule(m.identity).identity == molecule(g["canonical_smiles_no_stereo"]).identity);
      const std::string scaffold = g["murcko_scaffold"];
      CHECK(m.scaffold.empty() == scaffold.empty());
      if (!scaffold.empty()) CHECK(molecule(m.scaffold).identity == molecule(scaffold).identity);

      std::vector<int> bits;
      for (std::size_t i = 0; i < m.morgan.size(); ++i) {
        if (m.morgan[i] != 0) bits.push_back(static_cast<int>(i));
      }
      CHECK(bits == g["morgan2_2048_on_bits"].get<std::vector<int>>());

      REQUIRE(m.graph.nodes == static_cast<std::int64_t>(g["atoms"].size()));
      const std::size_t width = cdrzoo::graph_node_features().size();
      for (std::size_t a = 0; a < g["atoms"].size(); ++a) {
        const auto& atom = g["atoms"][a];
        const float* f = m.graph.node_features.data() + a * width;
        CHECK(f[feature("degree")] == atom["degree"].get<float>());
        CHECK(f[feature("hydrogens")] == atom["total_h"].get<float>());
        CHECK(f[feature("charge")] == atom["charge"].get<float>());
        CHECK(f[feature("radicals")] == atom["radical"].get<float>());
        CHECK((f[feature("aromatic")] == 1.0F) == atom["aromatic"].get<bool>());
        CHECK((f[feature("in_ring")] == 1.0F) == atom["in_ring"].get<bool>());
        CHECK((f[feature("hybrid_sp2")] == 1.0F) == (atom["hybridization"] == "SP2"));
        if (atom["z"] == 6) CHECK(f[feature("element_C")] == 1.0F);
      }
      REQUIRE(m.graph.source.size() == 2 * g["bonds"].size());
      for (std::size_t b = 0; b < g["bonds"].size(); ++b) {
        CHECK(m.graph.source[2 * b] == g["bonds"][b][0].get<int>());
        CHECK(m.graph.target[2 * b] == g["bonds"][b][1].get<int>());
        CHECK(m.graph.source[2 * b + 1] == g["bonds"][b][1].get<int>());
        CHECK(m.graph.target[2 * b + 1] == g["bonds"][b][0].get<int>());
      }
      ++compared;
    }
  }
  CHECK(compared == 24);
}
