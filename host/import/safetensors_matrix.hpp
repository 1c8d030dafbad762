// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "import/matrix_source.hpp"

namespace cdrzoo {

/// The tensor spec.layer of a safetensors file, of rank 2; an empty name stands for the only tensor. float32, float64,
/// integers and bool. The file is mapped.
[[nodiscard]] std::unique_ptr<MatrixSource> open_safetensors_matrix(const MatrixSpec& spec);

}  // namespace cdrzoo
