// SPDX-License-Identifier: Apache-2.0
// Inside the module only: how a fold is put together.
#pragma once

#include <cstdint>
#include <string>

#include "split/split.hpp"

namespace cdrzoo {

/// What one record is in one fold. Early-stopping records are also in train.
enum class Part : std::uint8_t { none, train, early_stop, validation, test };

/// Appends \p row where it belongs; Part::none is counted as discarded.
void add_row(Fold& fold, std::int32_t row, Part part);

/// Completes a fold that a user's table gave: early stopping if there is none, counts, minimum sizes.
/// \throws DataError if the fold is too small.
void finish_user_fold(const Dataset& dataset, Fold& fold, const std::string& group_type, std::uint64_t seed);

}  // namespace cdrzoo
