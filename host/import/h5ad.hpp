// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "import/matrix_source.hpp"

namespace cdrzoo {

/// AnnData files as version 0.7 and later write them. Samples are `obs`, genes are `var` (`raw/var` for the layer
/// raw/X). Lines are samples where the matrix is dense or CSR, genes where it is CSC.
/// \throws DataError, IoError; UsageError for a layer that is not there.
[[nodiscard]] std::unique_ptr<MatrixSource> open_h5ad(const MatrixSpec& spec);

}  // namespace cdrzoo
