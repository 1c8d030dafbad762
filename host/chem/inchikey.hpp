// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

namespace cdrzoo {

/// The first block of a standard InChIKey: the 14 letters that stand for formula and connectivity, without stereo,
/// isotopes and position of mobile hydrogens. The prefix "InChIKey=" may stand in front. Returns nothing, and says why
/// in \p reason, if \p text is no standard InChIKey.
[[nodiscard]] std::optional<std::string> connectivity_of_inchikey(const std::string& text, std::string* reason);

}  // namespace cdrzoo
