// SPDX-License-Identifier: Apache-2.0
// Inside the module only: how a fold is put together, and how it is shown that its parts share nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "split/groups.hpp"
#include "split/split.hpp"

namespace cdrzoo {

/// What one record is in one fold. Early-stopping records are also in train.
enum class Part : std::uint8_t { none, train, early_stop, validation, test, reference };

/// Appends \p row where it belongs; Part::none is counted as discarded.
void add_row(Fold& fold, std::int32_t row, Part part);

/// "1 record", "2 records".
[[nodiscard]] std::string counted(std::int64_t n, const std::string& word);

/// Fold of each group over the records \p rows; -1 for groups without such records and for the unknown tissue.
[[nodiscard]] std::vector<int> assign_groups(const Grouping& grouping, const std::vector<std::int32_t>& rows, int folds,
                                             std::uint64_t seed, int repeat, const std::string& mode);

/// Splits one training pool: \p wanted[0] goes to the inner fold whose weight is closest to one eighth, \p wanted[1] to
/// the second closest (ties to the lower index), everything else is train. Closest, because a heavy group (lung among
/// tissues) fills an inner fold alone and would otherwise always be the validation set.
/// \throws DataError if there are fewer groups than that needs.
[[nodiscard]] std::vector<Part> choose_inner(const Grouping& grouping, const std::vector<std::int32_t>& pool,
                                             const std::vector<Part>& wanted, std::uint64_t seed, int repeat, int fold,
                                             const std::string& mode);

[[nodiscard]] std::int64_t count_groups(const Grouping& grouping, const std::vector<std::int32_t>& rows);

/// Completes a fold that a user's table gave: early stopping if there is none, counts, minimum sizes.
/// \throws DataError if the fold is too small.
void finish_user_fold(const Dataset& dataset, Fold& fold, const std::string& group_type, std::uint64_t seed);

/// The same for perturbation rows, where early stopping may be absent and one tested condition is enough.
void finish_user_profiles_fold(const Dataset& dataset, Fold& fold, const std::string& group_type);

/// Kinds of perturbation rows. \p rows: those that take part, ascending.
[[nodiscard]] Split make_unseen_split(const Dataset& dataset, const SplitSpec& spec, std::vector<std::int32_t> rows);

/// assert_disjoint for a split of perturbation rows.
void assert_disjoint_profiles(const Dataset& dataset, const Split& split);

/// Split::group_type of a kind; empty for "file", whose groups are found from the rows.
[[nodiscard]] std::string group_type_of(const SplitSpec& spec);

/// Throws the std::logic_error of two parts that share \p what.
[[noreturn]] void overlap(const Fold& fold, const std::string& what, const std::string& a, const std::string& b);

struct NamedRows {
  const char* name;
  const std::vector<std::int32_t>* rows;
};

/// Throws std::logic_error if a group has rows in two of the parts.
void check_groups(const Fold& fold, const std::vector<NamedRows>& parts, const Grouping& grouping);
/// Throws std::logic_error if a row is in two of the parts. \p word: what a row is called.
void check_rows(const Fold& fold, const std::vector<NamedRows>& parts, std::int64_t n_rows, const std::string& word);

}  // namespace cdrzoo
