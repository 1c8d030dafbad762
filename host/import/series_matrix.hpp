// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "import/matrix_source.hpp"

namespace cdrzoo {

/// GEO series matrix, plain or gzip: lines are the rows of its table (probes or genes).
/// \throws DataError also where the table is empty, as in series of sequencing data.
[[nodiscard]] std::unique_ptr<MatrixSource> open_series_matrix(const MatrixSpec& spec);

/// What the file says about its samples, also where it has no values. The first column is geo_accession; then each
/// !Sample_ field, a repeated one as FIELD, FIELD_2, ...; then one column per key of the characteristics of channel 1,
/// whichever row a sample has it in, and of further channels as "characteristics_ch2: KEY".
[[nodiscard]] TextColumns read_series_samples(const std::filesystem::path& file);

}  // namespace cdrzoo
