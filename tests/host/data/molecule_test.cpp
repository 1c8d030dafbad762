// SPDX-License-Identifier: Apache-2.0
#include "chem/molecule.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "chem/inchikey.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/gzip_text.hpp"

using cdrzoo::Conformer;
using cdrzoo::connectivity_of_inchikey;
using cdrzoo::GraphSchema;
using cdrzoo::Molecule;
using cdrzoo::MoleculeGraph;
using cdrzoo::read_molecule;
using cdrzoo::test::contains;
using cdrzoo::test::WithinAbs;

namespace {

Molecule molecule(const std::string& smiles) {
  std::string reason;
  const auto read = read_molecule(smiles, &reason);
  INFO(smiles << ": " << reason);
  REQUIRE(read.has_value());
  return *read;
}

Molecule embedded(const std::string& smiles) {
  std::string reason;
  const auto read = read_molecule(smiles, &reason, Conformer::make);
  INFO(smiles << ": " << reason);
  REQUIRE(read.has_value());
  return *read;
}

std::size_t column(const GraphSchema& schema, const std::string& name) {
  const auto& names = schema.node_features;
  const auto found = std::find(names.begin(), names.end(), name);
  REQUIRE(found != names.end());
  return static_cast<std::size_t>(found - names.begin());
}

std::size_t feature(const std::string& name) { return column(cdrzoo::graph_schema(), name); }

float deepcdr(const Molecule& m, std::size_t atom, const std::string& name) {
  const auto& schema = cdrzoo::graph_deepcdr_schema();
  return m.graph_deepcdr.node_features.at(atom * schema.node_features.size() + column(schema, name));
}

/// Atom 0 is the dummy.
float mat(const Molecule& m, std::size_t node, const std::string& name) {
  const auto& schema = cdrzoo::graph_mat_schema();
  return m.graph_mat.node_features.at(node * schema.node_features.size() + column(schema, name));
}

float distance(const Molecule& m, std::size_t a, std::size_t b) {
  return m.graph_mat.pair_features.at(a * static_cast<std::size_t>(m.graph_mat.nodes) + b);
}

/// Dense [nodes, nodes] of the edges; 1 per edge where they have no feature.
std::vector<float> dense(const MoleculeGraph& g) {
  const auto n = static_cast<std::size_t>(g.nodes);
  std::vector<float> out(n * n, 0.0F);
  for (std::size_t e = 0; e < g.source.size(); ++e) {
    out.at(static_cast<std::size_t>(g.source[e]) * n + static_cast<std::size_t>(g.target[e])) +=
        g.edge_features.empty() ? 1.0F : g.edge_features[e];
  }
  return out;
}

/// A golden matrix of rows {column: value} as a dense one.
std::vector<float> from_sparse(const nlohmann::json& rows, std::size_t width) {
  std::vector<float> out(rows.size() * width, 0.0F);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (const auto& [key, value] : rows[r].items()) out.at(r * width + std::stoul(key)) = value.get<float>();
  }
  return out;
}

/// Largest difference of the distances between atoms from the golden ones.
double off_by(const Molecule& m, const nlohmann::json& golden) {
  double largest = 0.0;
  for (std::size_t a = 0; a < golden.size(); ++a) {
    for (std::size_t b = 0; b < golden.size(); ++b) {
      const auto ours = static_cast<double>(distance(m, a + 1, b + 1));
      largest = std::max(largest, std::abs(ours - golden[a][b].get<double>()));
    }
  }
  return largest;
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
  const std::size_t width = cdrzoo::graph_schema().node_features.size();
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

TEST_CASE("The layouts have the columns that the models were made for") {
  CHECK(cdrzoo::graph_deepcdr_schema().node_features.size() == 75);
  CHECK(cdrzoo::graph_mat_schema().node_features.size() == 28);
  const auto at = [](const char* name) { return column(cdrzoo::graph_deepcdr_schema(), name); };
  CHECK(at("element_C") == 0);
  CHECK(at("element_Pt") == 40);
  CHECK(at("element_other") == 43);
  CHECK(at("degree_0") == 44);
  CHECK(at("implicit_valence_0") == 55);
  CHECK(at("charge") == 62);
  CHECK(at("radicals") == 63);
  CHECK(at("hybrid_sp") == 64);
  CHECK(at("aromatic") == 69);
  CHECK(at("hydrogens_4") == 74);
}

TEST_CASE("The normalised adjacency of ethanol is the one worked out by hand") {
  const auto g = molecule("CCO").graph_deepcdr;
  // Row sums of A + I are 2, 3, 2.
  const auto root6 = static_cast<float>(1.0 / std::sqrt(6.0));
  const auto third = static_cast<float>(1.0 / 3.0);
  CHECK(dense(g) == std::vector<float>{0.5F, root6, 0.0F, root6, third, root6, 0.0F, root6, 0.5F});
  CHECK(g.source == std::vector<std::int32_t>{0, 0, 1, 1, 1, 2, 2});
  CHECK(g.target == std::vector<std::int32_t>{0, 1, 0, 1, 2, 1, 2});
}

TEST_CASE("Rows of the normalised adjacency of a regular graph sum to one") {
  for (const char* smiles : {"c1ccccc1", "C1CC1", "C", "CC", "C12C3C4C1C5C2C3C45"}) {
    const auto g = molecule(smiles).graph_deepcdr;
    const auto a = dense(g);
    const auto n = static_cast<std::ptrdiff_t>(g.nodes);
    INFO(smiles);
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      CHECK_THAT(std::accumulate(a.begin() + i * n, a.begin() + (i + 1) * n, 0.0), WithinAbs(1.0, 1e-6));
    }
  }
}

TEST_CASE("Another order of the atoms gives the same rows in that order") {
  // The second SMILES lists the atoms of the first from the end.
  const Molecule forward = embedded("CC(=O)NCC#N");
  const Molecule backward = embedded("N#CCNC(C)=O");
  const std::vector<std::size_t> place = {5, 4, 6, 3, 2, 1, 0};  // of atom i of the first in the second
  const auto a = dense(forward.graph_deepcdr);
  const auto b = dense(backward.graph_deepcdr);
  for (std::size_t i = 0; i < place.size(); ++i) {
    for (const auto& name : cdrzoo::graph_deepcdr_schema().node_features) {
      INFO(name << " of atom " << i);
      CHECK(deepcdr(forward, i, name) == deepcdr(backward, place[i], name));
    }
    for (const auto& name : cdrzoo::graph_mat_schema().node_features) {
      INFO(name << " of atom " << i);
      CHECK(mat(forward, i + 1, name) == mat(backward, place[i] + 1, name));
    }
    for (std::size_t j = 0; j < place.size(); ++j) CHECK(a[i * 7 + j] == b[place[i] * 7 + place[j]]);
  }
}

TEST_CASE("Every group of one-hot columns holds exactly one") {
  const auto& schema = cdrzoo::graph_deepcdr_schema();
  for (const char* smiles : {"CC(=O)Oc1ccccc1C(=O)O", "N.N.Cl[Pt]Cl", "*C", "[U]", "F[U](F)(F)(F)(F)(F)(F)(F)(F)(F)F",
                             "[O-2]", "[CH3]", "C[N+](C)(C)C", "FS(F)(F)(F)(F)F", "[H][H]", "[2H]C"}) {
    const Molecule m = embedded(smiles);
    const auto sums_to_one = [&](const std::vector<float>& values, std::size_t row, std::size_t first,
                                 std::size_t last) {
      double sum = 0;
      for (std::size_t c = first; c <= last; ++c) sum += static_cast<double>(values[row + c]);
      return sum == 1.0;
    };
    INFO(smiles);
    for (std::int64_t i = 0; i < m.graph_deepcdr.nodes; ++i) {
      const auto row = static_cast<std::size_t>(i) * schema.node_features.size();
      for (const auto& [first, last] : {std::pair{0, 43}, {44, 54}, {55, 61}, {64, 68}, {70, 74}}) {
        CHECK(sums_to_one(m.graph_deepcdr.node_features, row, static_cast<std::size_t>(first),
                          static_cast<std::size_t>(last)));
      }
      const auto node = static_cast<std::size_t>(i + 1) * 28;
      for (const auto& [first, last] : {std::pair{1, 11}, {12, 17}, {18, 22}, {23, 25}}) {
        CHECK(sums_to_one(m.graph_mat.node_features, node, static_cast<std::size_t>(first),
                          static_cast<std::size_t>(last)));
      }
    }
  }
}

TEST_CASE("Distances are those that the reference's own tests state") {
  const Molecule butene = embedded("C/C=C/C");
  CHECK(butene.conformer_failure.empty());
  const auto near = [](double value) { return WithinAbs(value, 0.002); };
  CHECK_THAT(static_cast<double>(distance(butene, 1, 2)), near(1.4973));
  CHECK_THAT(static_cast<double>(distance(butene, 1, 3)), near(2.4696));
  CHECK_THAT(static_cast<double>(distance(butene, 1, 4)), near(3.8585));
  CHECK_THAT(static_cast<double>(distance(butene, 2, 3)), near(1.3390));
  CHECK_THAT(static_cast<double>(distance(embedded("[C]=O"), 1, 2)), near(1.2195));
}

TEST_CASE("The graph of MAT begins with a dummy that is far from all and bound to none") {
  const Molecule m = embedded("CCO");
  REQUIRE(m.graph_mat.nodes == 4);
  std::vector<float> dummy(28, 0.0F);
  dummy[0] = 1.0F;
  CHECK(std::equal(dummy.begin(), dummy.end(), m.graph_mat.node_features.begin()));
  CHECK(dense(m.graph_mat) == std::vector<float>{0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1});
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(distance(m, 0, i) == 1e6F);
    CHECK(distance(m, i, 0) == 1e6F);
    if (i > 0) CHECK(distance(m, i, i) == 0.0F);
    for (std::size_t j = 0; j < 4; ++j) CHECK(distance(m, i, j) == distance(m, j, i));
  }
}

TEST_CASE("A conformer is made when it is asked for, and then always the same one") {
  CHECK(molecule("CCO").graph_mat.nodes == 0);
  const char* gefitinib = "COC1=C(C=C2C(=C1)N=CN=C2NC3=CC(=C(C=C3)F)Cl)OCCCN4CCOCC4";
  const auto first = embedded(gefitinib).graph_mat.pair_features;
  CHECK(first == embedded(gefitinib).graph_mat.pair_features);
}

TEST_CASE("A molecule without a conformer gets the distances of a drawing, without hydrogens, and says so") {
  for (const char* smiles : {"C1C2CC3CC1C23", "F[U](F)(F)(F)(F)(F)(F)(F)(F)(F)F"}) {
    const Molecule m = embedded(smiles);
    CHECK_THAT(m.conformer_failure, contains("its distances are those of a drawing in the plane"));
    REQUIRE(m.graph_mat.nodes == m.graph.nodes + 1);
    // A drawing has bonds of 1.5 angstrom.
    const double bond = static_cast<double>(distance(m, 1, 2));
    CHECK(bond > 0.5);
    CHECK(bond < 3.0);
  }
}

TEST_CASE("A molecule too large for distances has no graph with distances, and says so") {
  const Molecule m = embedded(std::string(cdrzoo::kMatAtoms + 1, 'C'));
  CHECK(m.graph_mat.nodes == 0);
  CHECK(m.conformer_failure == "it has 301 atoms, more than the 300 of which distances are made; its graph is empty");
  CHECK(m.graph_deepcdr.nodes == 301);
}

TEST_CASE("A salt keeps all its fragments, and no edge joins them") {
  const Molecule m = embedded("CC(=O)[O-].[Na+]");
  CHECK(m.identity == molecule("[Na+].CC(=O)[O-]").identity);
  CHECK(m.identity != molecule("CC(=O)[O-]").identity);
  CHECK(m.largest_fragment == molecule("CC(=O)[O-]").identity);
  CHECK(molecule("CCO").largest_fragment == molecule("CCO").identity);
  REQUIRE(m.graph_deepcdr.nodes == 5);
  const auto a = dense(m.graph_deepcdr);
  for (std::size_t i = 0; i < 4; ++i) CHECK((a[i * 5 + 4] == 0.0F && a[4 * 5 + i] == 0.0F));
  // An isolated atom is its own only neighbour.
  CHECK(a[4 * 5 + 4] == 1.0F);
  CHECK(deepcdr(m, 4, "degree_0") == 1.0F);
  CHECK(deepcdr(m, 4, "element_Na") == 1.0F);
  CHECK(deepcdr(m, 4, "charge") == 1.0F);
  CHECK(deepcdr(m, 3, "charge") == -1.0F);
  CHECK(mat(m, 5, "neighbours_0") == 1.0F);
  CHECK(mat(m, 5, "element_other") == 1.0F);
  CHECK(mat(m, 5, "charge_+1_or_other") == 1.0F);
  CHECK(mat(m, 4, "charge_-1") == 1.0F);
}

TEST_CASE("Cisplatin keeps its platinum, which only the larger vocabulary names") {
  const Molecule m = embedded("N.N.Cl[Pt]Cl");
  CHECK(deepcdr(m, 3, "element_Pt") == 1.0F);
  CHECK(deepcdr(m, 3, "degree_2") == 1.0F);
  CHECK(deepcdr(m, 3, "hybrid_sp3d2_or_other") == 1.0F);
  CHECK(mat(m, 4, "element_other") == 1.0F);
  CHECK(deepcdr(m, 0, "hydrogens_3") == 1.0F);
}

TEST_CASE("A placeholder atom is an atom of no known element") {
  const Molecule m = embedded("*C");
  CHECK(deepcdr(m, 0, "element_other") == 1.0F);
  CHECK(mat(m, 1, "element_other") == 1.0F);
  CHECK(m.graph_mat.nodes == 3);
}

TEST_CASE("Counts beyond the last column stand in the last column") {
  const Molecule crowded = embedded("F[U](F)(F)(F)(F)(F)(F)(F)(F)(F)F");
  CHECK(deepcdr(crowded, 1, "degree_10") == 1.0F);
  CHECK(mat(crowded, 2, "neighbours_5") == 1.0F);
  // Any charge but -1 and 0, so that even two minus are one plus: the reference's rule.
  CHECK(mat(embedded("[O-2]"), 1, "charge_+1_or_other") == 1.0F);
  CHECK(deepcdr(molecule("[O-2]"), 0, "charge") == -2.0F);
  CHECK(deepcdr(molecule("[Na+]"), 0, "hybrid_sp3d2_or_other") == 1.0F);
}

TEST_CASE("An atom in brackets has no implicit valence, so stereo marks change a column") {
  const Molecule plain = molecule("NC(C)C(=O)O");
  const Molecule marked = molecule("N[C@@H](C)C(=O)O");
  CHECK(deepcdr(plain, 1, "implicit_valence_1") == 1.0F);
  CHECK(deepcdr(marked, 1, "implicit_valence_0") == 1.0F);
  CHECK(deepcdr(plain, 1, "hydrogens_1") == 1.0F);
  CHECK(deepcdr(marked, 1, "hydrogens_1") == 1.0F);
  CHECK(plain.identity == marked.identity);
}

TEST_CASE("Hydrogens that are written out are no atoms, but isotopes of hydrogen and its molecule are") {
  CHECK(molecule("[H]C([H])([H])O[H]").identity == molecule("CO").identity);
  CHECK(embedded("[H]C([H])([H])O[H]").graph_mat.nodes == 3);
  const Molecule deuterated = embedded("[2H]C");
  CHECK(deuterated.graph_deepcdr.nodes == 2);
  CHECK(deepcdr(deuterated, 0, "element_H") == 1.0F);
  CHECK(deuterated.graph_mat.nodes == 3);
  CHECK(embedded("[H][H]").graph_deepcdr.nodes == 2);
}

TEST_CASE("Radicals are counted") {
  CHECK(deepcdr(molecule("[CH3]"), 0, "radicals") == 1.0F);
  CHECK(deepcdr(molecule("[C]=O"), 0, "radicals") == 2.0F);
  CHECK(deepcdr(molecule("CC"), 0, "radicals") == 0.0F);
}

TEST_CASE("A standard InChIKey gives its connectivity, and anything else says why not") {
  std::string reason;
  CHECK(connectivity_of_inchikey("AAKJLRGGTJKAMG-UHFFFAOYSA-N", &reason) == "AAKJLRGGTJKAMG");
  CHECK(connectivity_of_inchikey("InChIKey=AAKJLRGGTJKAMG-UHFFFAOYSA-N", &reason) == "AAKJLRGGTJKAMG");
  // L- and D-alanine.
  CHECK(connectivity_of_inchikey("QNAYBMKLOCPYGJ-REOHCLBHSA-N", &reason) ==
        connectivity_of_inchikey("QNAYBMKLOCPYGJ-UWTATZPHSA-N", &reason));
  const auto refusal = [&](const std::string& text) {
    reason.clear();
    CHECK_FALSE(connectivity_of_inchikey(text, &reason).has_value());
    return reason;
  };
  CHECK(refusal("") == "it has 0 characters; an InChIKey has 27");
  CHECK(refusal("AAKJLRGGTJKAMG-UHFFFAOYSA-N ") == "it has 28 characters; an InChIKey has 27");
  CHECK(refusal("AAKJLRGGTJKAMG_UHFFFAOYSA-N") == "its character 15 is not a hyphen");
  CHECK(refusal("AAKJLRGGTJKAMg-UHFFFAOYSA-N") == "its character 14 is not a capital letter from A to Z");
  CHECK_THAT(refusal("AAKJLRGGTJKAMG-UHFFFAOYNA-N"), contains("a key that is not standard"));
  CHECK(refusal("InChI=1S/CH4/h1H4") == "it is an InChI; expected its key of 27 characters");
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
  double furthest = 0.0;
  for (const char* set : {"drugs", "edge_cases"}) {
    for (const auto& g : golden[set]) {
      INFO(g["name"].get<std::string>());
      const Molecule m = embedded(g["input_smiles"]);
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
      const std::size_t width = cdrzoo::graph_schema().node_features.size();
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
      CHECK(m.graph_deepcdr.nodes == m.graph.nodes);
      CHECK(m.graph_deepcdr.node_features == from_sparse(g["deepcdr75"], 75));
      CHECK(m.graph_mat.node_features == from_sparse(g["mat28"], 28));
      REQUIRE(m.graph_mat.nodes == m.graph.nodes + 1);
      std::vector<float> adjacency(static_cast<std::size_t>(m.graph_mat.nodes * m.graph_mat.nodes), 0.0F);
      const auto set_one = [&](std::size_t a, std::size_t b) {
        adjacency[(a + 1) * static_cast<std::size_t>(m.graph_mat.nodes) + b + 1] = 1.0F;
      };
      for (std::size_t a = 0; a < g["atoms"].size(); ++a) set_one(a, a);
      for (const auto& bond : g["bonds"]) {
        set_one(bond[0].get<std::size_t>(), bond[1].get<std::size_t>());
        set_one(bond[1].get<std::size_t>(), bond[0].get<std::size_t>());
      }
      CHECK(dense(m.graph_mat) == adjacency);
      CHECK(m.conformer_failure.empty());
      if (g.contains("euclidean_distance_seed0") && !g["euclidean_distance_seed0"].is_null()) {
        furthest = std::max(furthest, off_by(m, g["euclidean_distance_seed0"]));
      }
      ++compared;
    }
  }
  CHECK(compared == 24);
  // The golden file calls these informational: another version of the toolkit may find other conformers.
  if (furthest > 0.001) WARN("distances differ from the golden ones by up to " << furthest << " angstrom");
}

TEST_CASE("The normalised adjacency agrees with the one that DeepCDR was given") {
  const auto golden = cdrzoo::test::Golden::open("deepcdr_keras_regression");
  if (!golden) {
    WARN("skipped: ../shared/golden is not there");
    return;
  }
  const auto atoms = golden->floats("in/drug_atoms");
  const auto edges = golden->floats("in/drug_edges");
  const auto padded = golden->floats("in/drug_adjacency");
  for (std::size_t drug = 0; drug < atoms.size(); ++drug) {
    std::vector<std::pair<std::int32_t, std::int32_t>> bonds;
    for (std::size_t e = 0; e < edges.size(); e += 3) {
      if (edges[e] != static_cast<float>(drug)) continue;
      bonds.emplace_back(static_cast<std::int32_t>(edges[e + 1]), static_cast<std::int32_t>(edges[e + 2]));
    }
    const auto n = static_cast<std::size_t>(atoms[drug]);
    const auto ours = dense(cdrzoo::normalised_adjacency(static_cast<std::int64_t>(n), bonds));
    for (std::size_t i = 0; i < 100; ++i) {
      for (std::size_t j = 0; j < 100; ++j) {
        // share/doc/chemistry.md says how a plugin pads: with the identity.
        const float expected = i < n && j < n ? ours[i * n + j] : i == j ? 1.0F : 0.0F;
        if (std::abs(padded[drug * 10000 + i * 100 + j] - expected) > 1e-7F) FAIL_CHECK(drug << " " << i << " " << j);
      }
    }
  }
}
