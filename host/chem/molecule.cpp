// SPDX-License-Identifier: Apache-2.0
#include "chem/molecule.hpp"

#include <DataStructs/ExplicitBitVect.h>
#include <GraphMol/ChemTransforms/ChemTransforms.h>
#include <GraphMol/Fingerprints/MorganFingerprints.h>
#include <GraphMol/RDKitBase.h>
#include <GraphMol/SmilesParse/SmilesParse.h>
#include <GraphMol/SmilesParse/SmilesWrite.h>
#include <RDGeneral/RDLog.h>
#include <RDGeneral/versions.h>

#include <algorithm>
#include <array>
#include <exception>
#include <memory>

#include "chem/model_graphs.hpp"

namespace cdrzoo {
namespace {

constexpr std::array<int, 14> kElements = {5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53, 78};

std::unique_ptr<RDKit::RWMol> parse(const std::string& smiles, std::string* reason) {
  // RDKit would read the part before the white space and take the rest for a name.
  for (const char c : smiles) {
    if (static_cast<unsigned char>(c) <= 0x20) {
      *reason = "it has white space or a control character in it";
      return nullptr;
    }
  }
  RDKit::SmilesParserParams params;
  params.allowCXSMILES = false;  // what follows a space would be taken for an extension
  params.parseName = false;
  try {
    std::unique_ptr<RDKit::RWMol> mol(RDKit::SmilesToMol(smiles, params));
    if (!mol) {
      *reason = "it is not SMILES";
    } else if (mol->getNumAtoms() == 0) {
      *reason = "it has no atoms";
      mol.reset();
    }
    return mol;
  } catch (const std::exception& e) {
    *reason = e.what();
  } catch (...) {
    *reason = "the chemistry library refused it";
  }
  return nullptr;
}

std::string without_stereo(const RDKit::ROMol& mol) { return RDKit::MolToSmiles(mol, /*doIsomericSmiles=*/false); }

/// Among fragments of equal size the one whose SMILES comes last: any fixed choice would do.
std::string largest_fragment_of(const RDKit::ROMol& mol, const std::string& identity) {
  if (identity.find('.') == std::string::npos) return identity;
  std::pair<unsigned, std::string> largest;
  for (const auto& fragment : RDKit::MolOps::getMolFrags(mol)) {
    largest = std::max(largest, {fragment->getNumAtoms(), without_stereo(*fragment)});
  }
  return largest.second;
}

MoleculeGraph graph_of(const RDKit::ROMol& mol) {
  MoleculeGraph graph;
  graph.nodes = mol.getNumAtoms();
  const RDKit::RingInfo& rings = *mol.getRingInfo();
  const auto flag = [](bool yes) { return yes ? 1.0F : 0.0F; };
  for (const RDKit::Atom* atom : mol.atoms()) {
    auto& f = graph.node_features;
    bool known = false;
    for (const int element : kElements) {
      f.push_back(flag(atom->getAtomicNum() == element));
      known = known || atom->getAtomicNum() == element;
    }
    f.push_back(flag(!known));
    f.push_back(static_cast<float>(atom->getDegree()));
    f.push_back(static_cast<float>(atom->getTotalNumHs()));
    f.push_back(static_cast<float>(atom->getFormalCharge()));
    f.push_back(static_cast<float>(atom->getNumRadicalElectrons()));
    f.push_back(flag(atom->getIsAromatic()));
    f.push_back(flag(rings.numAtomRings(atom->getIdx()) > 0));
    f.push_back(flag(atom->getHybridization() == RDKit::Atom::SP));
    f.push_back(flag(atom->getHybridization() == RDKit::Atom::SP2));
    f.push_back(flag(atom->getHybridization() == RDKit::Atom::SP3));
  }
  for (const RDKit::Bond* bond : mol.bonds()) {
    const auto a = static_cast<std::int32_t>(bond->getBeginAtomIdx());
    const auto b = static_cast<std::int32_t>(bond->getEndAtomIdx());
    for (const bool forward : {true, false}) {
      graph.source.push_back(forward ? a : b);
      graph.target.push_back(forward ? b : a);
      graph.edge_features.push_back(static_cast<float>(bond->getBondTypeAsDouble()));
      graph.edge_features.push_back(flag(bond->getIsConjugated()));
      graph.edge_features.push_back(flag(rings.numBondRings(bond->getIdx()) > 0));
    }
  }
  return graph;
}

}  // namespace

std::optional<Molecule> read_molecule(const std::string& smiles, std::string* reason, Conformer conformer) {
  // RDKit reports parse errors on stderr by itself; the caller reports them here.
  static const bool quiet = [] {
    boost::logging::disable_logs("rdApp.*");
    return true;
  }();
  static_cast<void>(quiet);
  const auto mol = parse(smiles, reason);
  if (!mol) return std::nullopt;
  try {
    Molecule out;
    out.canonical = RDKit::MolToSmiles(*mol);
    out.identity = without_stereo(*mol);
    const std::unique_ptr<RDKit::ROMol> scaffold(RDKit::MurckoDecompose(*mol));
    if (scaffold && scaffold->getNumAtoms() > 0) out.scaffold = without_stereo(*scaffold);
    const std::unique_ptr<ExplicitBitVect> bits(RDKit::MorganFingerprints::getFingerprintAsBitVect(
        *mol, static_cast<unsigned>(kMorganRadius), static_cast<unsigned>(kMorganBits)));
    out.morgan.resize(static_cast<std::size_t>(kMorganBits));
    for (unsigned i = 0; i < static_cast<unsigned>(kMorganBits); ++i) out.morgan[i] = bits->getBit(i) ? 1 : 0;
    out.largest_fragment = largest_fragment_of(*mol, out.identity);
    out.graph = graph_of(*mol);
    out.graph_deepcdr = deepcdr_graph_of(*mol);
    if (conformer == Conformer::make) out.graph_mat = mat_graph_of(*mol, &out.conformer_failure);
    return out;
  } catch (const std::exception& e) {
    *reason = e.what();
  } catch (...) {
    *reason = "the chemistry library refused it";
  }
  return std::nullopt;
}

const GraphSchema& graph_schema() {
  static const GraphSchema schema = {
      "graph",
      {"element_B", "element_C",  "element_N",     "element_O",  "element_F",  "element_Si",
       "element_P", "element_S",  "element_Cl",    "element_As", "element_Se", "element_Br",
       "element_I", "element_Pt", "element_other", "degree",     "hydrogens",  "charge",
       "radicals",  "aromatic",   "in_ring",       "hybrid_sp",  "hybrid_sp2", "hybrid_sp3"},
      {"bond_order", "conjugated", "in_ring"},
      {},
      {}};
  return schema;
}

std::string chemistry_version() { return std::string("RDKit ") + RDKit::rdkitVersion; }

}  // namespace cdrzoo
