// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "data/dataset.hpp"

namespace cdrzoo {

/// SHA-256 of everything in a data set but its provenance, as 64 hexadecimal digits: equal for data sets that differ
/// only in who made them, when and from which files. share/doc/data_format.md fixes the bytes. Reads all matrices.
[[nodiscard]] std::string content_hash(const Dataset& dataset);

}  // namespace cdrzoo
