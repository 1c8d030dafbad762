// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "import/matrix_source.hpp"

namespace cdrzoo {

/// GCT 1.2 or 1.3, plain or gzip: lines are genes. The sizes that it declares have to be those that it has.
[[nodiscard]] std::unique_ptr<MatrixSource> open_gct(const MatrixSpec& spec);

}  // namespace cdrzoo
