// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "import/matrix_source.hpp"

namespace cdrzoo {

/// GCTX 1.x, the HDF5 form of GCT: `/0/DATA/0/matrix` is samples x genes, `/0/META/COL` describes the samples and
/// `/0/META/ROW` the genes; both have an `id`. Lines are samples. \throws DataError, IoError
[[nodiscard]] std::unique_ptr<MatrixSource> open_gctx(const MatrixSpec& spec);

}  // namespace cdrzoo
