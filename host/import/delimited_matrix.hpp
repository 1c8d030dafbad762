// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "import/matrix_source.hpp"

namespace cdrzoo {

/// CSV or TSV: a header, a column with the name of each line, named columns with annotations, the rest values.
[[nodiscard]] std::unique_ptr<MatrixSource> open_delimited_matrix(const MatrixSpec& spec);

}  // namespace cdrzoo
