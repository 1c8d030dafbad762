// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "store/store.hpp"

namespace cdrzoo {

/// predictions.h5 as bytes (share/doc/store.md has the layout). The file is made in memory: libhdf5 does not survive a
/// disk that is full when it closes a file, a plain write does. Equal tables give equal bytes.
[[nodiscard]] std::string encode_predictions(const PredictionTable& table);

/// \p where names the file in errors. \throws DataError.
[[nodiscard]] PredictionTable decode_predictions(const std::string& bytes, const std::string& where);

}  // namespace cdrzoo
