// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "chem/molecule.hpp"

namespace RDKit {
class ROMol;
}

/// The graphs that published models take, from a sane molecule of RDKit. Internal to chem/.
namespace cdrzoo {

[[nodiscard]] MoleculeGraph deepcdr_graph_of(const RDKit::ROMol& mol);

/// Embeds the molecule in space. Where that fails \p failure says how, and the distances are those of a drawing in the
/// plane; a molecule of more than kMatAtoms atoms gives a graph without nodes.
[[nodiscard]] MoleculeGraph mat_graph_of(const RDKit::ROMol& mol, std::string* failure);

}  // namespace cdrzoo
