// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "import/matrix_source.hpp"

namespace cdrzoo {

/// A numpy array of rank 2 (.npy, versions 1 to 3): float32, float64, integers and bool of either byte order, in C or
/// Fortran order. Read line by line.
[[nodiscard]] std::unique_ptr<MatrixSource> open_npy(const MatrixSpec& spec);

}  // namespace cdrzoo
