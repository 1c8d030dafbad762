// SPDX-License-Identifier: Apache-2.0
#include "chem/model_graphs.hpp"

#include <Geometry/point.h>
#include <GraphMol/Depictor/RDDepictor.h>
#include <GraphMol/DistGeomHelpers/Embedder.h>
#include <GraphMol/ForceFieldHelpers/UFF/UFF.h>
#include <GraphMol/RDKitBase.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <memory>
#include <optional>

namespace cdrzoo {
namespace {

struct Element {
  const char* symbol;
  int number;
};

// The order is that of the published graph files.
constexpr std::array<Element, 43> kDeepcdrElements = {
    {{"C", 6},   {"N", 7},   {"O", 8},   {"S", 16},  {"F", 9},   {"Si", 14}, {"P", 15},  {"Cl", 17}, {"Br", 35},
     {"Mg", 12}, {"Na", 11}, {"Ca", 20}, {"Fe", 26}, {"As", 33}, {"Al", 13}, {"I", 53},  {"B", 5},   {"V", 23},
     {"K", 19},  {"Tl", 81}, {"Yb", 70}, {"Sb", 51}, {"Sn", 50}, {"Ag", 47}, {"Pd", 46}, {"Co", 27}, {"Se", 34},
     {"Ti", 22}, {"Zn", 30}, {"H", 1},   {"Li", 3},  {"Ge", 32}, {"Cu", 29}, {"Au", 79}, {"Ni", 28}, {"Cd", 48},
     {"In", 49}, {"Mn", 25}, {"Zr", 40}, {"Cr", 24}, {"Pt", 78}, {"Hg", 80}, {"Pb", 82}}};
constexpr std::array<Element, 10> kMatElements = {
    {{"B", 5}, {"C", 6}, {"N", 7}, {"O", 8}, {"F", 9}, {"P", 15}, {"S", 16}, {"Cl", 17}, {"Br", 35}, {"I", 53}}};
constexpr float kDummyDistance = 1e6F;
constexpr int kSeed = 0;
constexpr unsigned kAttempts = 5000;
// An attempt takes time that grows with the square of the number of atoms, hydrogens included. This bounds the time of
// a molecule that cannot be embedded to seconds, and unlike a clock it is the same everywhere: 5000 attempts up to 44
// atoms, 1000 for 100, 27 for 600. Drugs that can be embedded need a few.
constexpr unsigned kAttemptsTimesAtomsSquared = 10000000;

/// Appends \p size numbers of which the one at \p slot is 1; a slot beyond the end counts as the last.
void one_hot(std::vector<float>& out, std::size_t slot, std::size_t size) {
  slot = std::min(slot, size - 1);
  for (std::size_t i = 0; i < size; ++i) out.push_back(i == slot ? 1.0F : 0.0F);
}

/// Position of an atom's element; one beyond the last for any other.
template <std::size_t N>
std::size_t element_slot(const RDKit::Atom& atom, const std::array<Element, N>& elements) {
  const auto same = [&](const Element& e) { return e.number == atom.getAtomicNum(); };
  return static_cast<std::size_t>(std::find_if(elements.begin(), elements.end(), same) - elements.begin());
}

std::size_t hybridisation_slot(const RDKit::Atom& atom) {
  switch (atom.getHybridization()) {
    case RDKit::Atom::SP: return 0;
    case RDKit::Atom::SP2: return 1;
    case RDKit::Atom::SP3: return 2;
    case RDKit::Atom::SP3D: return 3;
    default: return 4;  // SP3D2 and all that the models do not name
  }
}

std::size_t charge_slot(const RDKit::Atom& atom) {
  const int charge = atom.getFormalCharge();
  return charge == -1 ? 0 : charge == 0 ? 1 : 2;
}

template <std::size_t N>
void name_elements(std::vector<std::string>& names, const std::array<Element, N>& elements) {
  for (const Element& e : elements) names.push_back(std::string("element_") + e.symbol);
  names.emplace_back("element_other");
}

void name_counts(std::vector<std::string>& names, const std::string& what, int last) {
  for (int i = 0; i <= last; ++i) names.push_back(what + "_" + std::to_string(i));
}

std::vector<std::pair<std::int32_t, std::int32_t>> bonds_of(const RDKit::ROMol& mol) {
  std::vector<std::pair<std::int32_t, std::int32_t>> bonds;
  for (const RDKit::Bond* bond : mol.bonds()) {
    bonds.emplace_back(static_cast<std::int32_t>(bond->getBeginAtomIdx()),
                       static_cast<std::int32_t>(bond->getEndAtomIdx()));
  }
  return bonds;
}

/// Coordinates of the first \p count atoms, if all of them are numbers.
std::optional<std::vector<RDGeom::Point3D>> positions_of(const RDKit::ROMol& mol, unsigned count) {
  std::vector<RDGeom::Point3D> out;
  for (unsigned i = 0; i < count; ++i) {
    out.push_back(mol.getConformer().getAtomPos(i));
    if (!std::isfinite(out.back().lengthSq())) return std::nullopt;
  }
  return out;
}

/// One conformer: hydrogens added, ETKDG, UFF. Hydrogens come after the atoms of the molecule, so these keep their
/// index.
std::optional<std::vector<RDGeom::Point3D>> embed(const RDKit::ROMol& mol, std::string* failure) {
  try {
    const std::unique_ptr<RDKit::ROMol> all(RDKit::MolOps::addHs(mol));
    const unsigned atoms = all->getNumAtoms();
    RDKit::DGeomHelpers::EmbedParameters parameters = RDKit::DGeomHelpers::ETKDG;
    parameters.randomSeed = kSeed;
    parameters.maxIterations = std::clamp(kAttemptsTimesAtomsSquared / (atoms * atoms), 1U, kAttempts);
    if (RDKit::DGeomHelpers::EmbedMolecule(*all, parameters) < 0) {
      *failure = "no conformer was found in " + std::to_string(parameters.maxIterations) + " attempts";
      return std::nullopt;
    }
    RDKit::UFF::UFFOptimizeMolecule(*all);
    if (auto positions = positions_of(*all, mol.getNumAtoms())) return positions;
    *failure = "the force field gave coordinates that are no numbers";
  } catch (const std::exception& e) {
    *failure = std::string("the chemistry library found no conformer (") + e.what() + ")";
  } catch (...) {  // RDKit's own errors are not all std::exception
    *failure = "the chemistry library found no conformer";
  }
  return std::nullopt;
}

std::optional<std::vector<RDGeom::Point3D>> draw(const RDKit::ROMol& mol) {
  RDKit::ROMol flat(mol);
  RDDepict::compute2DCoords(flat);
  return positions_of(flat, mol.getNumAtoms());
}

}  // namespace

const GraphSchema& graph_deepcdr_schema() {
  static const GraphSchema schema = [] {
    GraphSchema s;
    s.block = "graph_deepcdr";
    name_elements(s.node_features, kDeepcdrElements);
    name_counts(s.node_features, "degree", 10);
    name_counts(s.node_features, "implicit_valence", 6);
    for (const char* name : {"charge", "radicals", "hybrid_sp", "hybrid_sp2", "hybrid_sp3", "hybrid_sp3d",
                             "hybrid_sp3d2_or_other", "aromatic"}) {
      s.node_features.emplace_back(name);
    }
    name_counts(s.node_features, "hydrogens", 4);
    s.edge_features = {"normalised_adjacency"};
    return s;
  }();
  return schema;
}

const GraphSchema& graph_mat_schema() {
  static const GraphSchema schema = [] {
    GraphSchema s;
    s.block = "graph_mat";
    s.node_features = {"dummy"};
    name_elements(s.node_features, kMatElements);
    name_counts(s.node_features, "neighbours", 5);
    name_counts(s.node_features, "hydrogens", 4);
    for (const char* name : {"charge_-1", "charge_0", "charge_+1_or_other", "in_ring", "aromatic"}) {
      s.node_features.emplace_back(name);
    }
    s.pair_features = {"distance_angstrom"};
    s.method = {"conformer=ETKDG seed=" + std::to_string(kSeed) + " attempts=" + std::to_string(kAttempts) +
                " optimiser=UFF fallback=2D"};
    return s;
  }();
  return schema;
}

MoleculeGraph normalised_adjacency(std::int64_t nodes,
                                   const std::vector<std::pair<std::int32_t, std::int32_t>>& bonds) {
  std::vector<std::vector<std::int32_t>> neighbours(static_cast<std::size_t>(nodes));
  for (std::size_t i = 0; i < neighbours.size(); ++i) neighbours[i].push_back(static_cast<std::int32_t>(i));
  for (const auto& [a, b] : bonds) {
    neighbours[static_cast<std::size_t>(a)].push_back(b);
    neighbours[static_cast<std::size_t>(b)].push_back(a);
  }
  MoleculeGraph graph;
  graph.nodes = nodes;
  for (std::size_t i = 0; i < neighbours.size(); ++i) {
    std::sort(neighbours[i].begin(), neighbours[i].end());
    for (const std::int32_t j : neighbours[i]) {
      graph.source.push_back(static_cast<std::int32_t>(i));
      graph.target.push_back(j);
      const auto row_sums = static_cast<double>(neighbours[i].size() * neighbours[static_cast<std::size_t>(j)].size());
      graph.edge_features.push_back(static_cast<float>(1.0 / std::sqrt(row_sums)));
    }
  }
  return graph;
}

MoleculeGraph deepcdr_graph_of(const RDKit::ROMol& mol) {
  MoleculeGraph graph = normalised_adjacency(mol.getNumAtoms(), bonds_of(mol));
  auto& f = graph.node_features;
  for (const RDKit::Atom* atom : mol.atoms()) {
    one_hot(f, element_slot(*atom, kDeepcdrElements), kDeepcdrElements.size() + 1);
    one_hot(f, atom->getDegree(), 11);
    one_hot(f, static_cast<std::size_t>(atom->getImplicitValence()), 7);
    f.push_back(static_cast<float>(atom->getFormalCharge()));
    f.push_back(static_cast<float>(atom->getNumRadicalElectrons()));
    one_hot(f, hybridisation_slot(*atom), 5);
    f.push_back(atom->getIsAromatic() ? 1.0F : 0.0F);
    one_hot(f, atom->getTotalNumHs(), 5);
  }
  return graph;
}

MoleculeGraph mat_graph_of(const RDKit::ROMol& mol, std::string* failure) {
  failure->clear();
  const unsigned atoms = mol.getNumAtoms();
  if (atoms > kMatAtoms) {
    *failure = "it has " + std::to_string(atoms) + " atoms, more than the " + std::to_string(kMatAtoms) +
               " of which distances are made; its graph is empty";
    return {};
  }
  auto positions = embed(mol, failure);
  if (!positions) {
    positions = draw(mol);
    if (!positions) {
      *failure += ", nor could it be drawn; its graph is empty";
      return {};
    }
    *failure += "; its distances are those of a drawing in the plane";
  }

  MoleculeGraph graph;
  graph.nodes = static_cast<std::int64_t>(atoms) + 1;
  const std::size_t width = graph_mat_schema().node_features.size();
  auto& f = graph.node_features;
  one_hot(f, 0, width);  // the dummy
  const RDKit::RingInfo& rings = *mol.getRingInfo();
  for (const RDKit::Atom* atom : mol.atoms()) {
    f.push_back(0.0F);
    one_hot(f, element_slot(*atom, kMatElements), kMatElements.size() + 1);
    one_hot(f, atom->getDegree(), 6);
    one_hot(f, atom->getTotalNumHs(), 5);
    one_hot(f, charge_slot(*atom), 3);
    f.push_back(rings.numAtomRings(atom->getIdx()) > 0 ? 1.0F : 0.0F);
    f.push_back(atom->getIsAromatic() ? 1.0F : 0.0F);
  }
  // The same entries as the normalised adjacency's, one node further because of the dummy, and all of them 1.
  const MoleculeGraph adjacency = normalised_adjacency(atoms, bonds_of(mol));
  for (const std::int32_t i : adjacency.source) graph.source.push_back(i + 1);
  for (const std::int32_t j : adjacency.target) graph.target.push_back(j + 1);

  const auto nodes = static_cast<std::size_t>(graph.nodes);
  graph.pair_features.assign(nodes * nodes, kDummyDistance);
  for (std::size_t i = 0; i < atoms; ++i) {
    for (std::size_t j = 0; j < atoms; ++j) {
      const double distance = ((*positions)[i] - (*positions)[j]).length();
      graph.pair_features[(i + 1) * nodes + j + 1] = static_cast<float>(distance);
    }
  }
  return graph;
}

}  // namespace cdrzoo
