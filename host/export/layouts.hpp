// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "export/export.hpp"

/// One function per layout. Each fills an empty folder and appends to \p said; export_dataset does the rest.
namespace cdrzoo {

using Sentences = std::vector<std::string>;

void write_csv_layout(const Dataset& dataset, const std::filesystem::path& folder, Sentences& said);
void write_h5ad_layout(const Dataset& dataset, const std::filesystem::path& folder, Sentences& said);
void write_drevalpy_layout(const Dataset& dataset, const std::vector<NamedSplit>& splits,
                           const std::filesystem::path& folder, Sentences& said);
void write_improve_layout(const Dataset& dataset, const std::vector<NamedSplit>& splits,
                          const std::filesystem::path& folder, Sentences& said);

/// "3 drugs", "1 drug".
[[nodiscard]] std::string counted(std::size_t n, const std::string& one, const std::string& many);
/// Rows of the samples of each domain, in the order of the data set.
[[nodiscard]] std::vector<std::vector<std::size_t>> samples_by_domain(const Dataset& dataset);
/// Index of the domain of record \p row.
[[nodiscard]] std::size_t domain_of_record(const Dataset& dataset, std::size_t row);
/// Name of the tissue of a sample; empty if unknown.
[[nodiscard]] const std::string& tissue_of(const Dataset& dataset, std::size_t sample);
/// A name for the column of ids beside columns of genes: \p wanted, with '_' behind as long as a gene has that name.
[[nodiscard]] std::string id_column(const Dataset& dataset, std::string wanted);

/// Morgan bits of every drug, folded to \p bits columns (a power of two, at most those stored): bit i of the stored
/// fingerprint is bit i mod `bits`, which is what a fingerprint of that length has. A row is empty where no structure
/// is known. Nothing at all if the data set has no fingerprints.
[[nodiscard]] std::vector<std::vector<bool>> folded_fingerprints(const Dataset& dataset, std::int64_t bits);

/// What neither drevalpy nor IMPROVE has a place for.
void say_what_is_left_out(const Dataset& dataset, const std::string& layout, Sentences& said);

}  // namespace cdrzoo
