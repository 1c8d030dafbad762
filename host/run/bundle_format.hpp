// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cdrzoo/abi.h>

#include <cstdint>
#include <string>

/// Names that the writer of bundles (run) and their reader (worker) share. share/doc/bundle.md explains them.
namespace cdrzoo::bundle {

inline constexpr const char* kEntitiesFormat = "cdrzoo-entities";
inline constexpr const char* kViewsFormat = "cdrzoo-views";
inline constexpr const char* kTaskFormat = "cdrzoo-task";
inline constexpr std::int64_t kVersion = 1;

/// A part of a feature block: its CDRZOO_PART_* role and the name of its data set.
struct PartName {
  std::int32_t role;
  const char* name;
};
inline constexpr PartName kParts[] = {
    {CDRZOO_PART_VALUES, "values"},     {CDRZOO_PART_ROWPTR, "rowptr"},     {CDRZOO_PART_COLIDX, "colidx"},
    {CDRZOO_PART_OFFSETS, "offsets"},   {CDRZOO_PART_BYTES, "bytes"},       {CDRZOO_PART_NODEPTR, "nodeptr"},
    {CDRZOO_PART_NODEFEAT, "nodefeat"}, {CDRZOO_PART_EDGEPTR, "edgeptr"},   {CDRZOO_PART_EDGESRC, "edgesrc"},
    {CDRZOO_PART_EDGEDST, "edgedst"},   {CDRZOO_PART_EDGEFEAT, "edgefeat"}, {CDRZOO_PART_PAIRPTR, "pairptr"},
    {CDRZOO_PART_PAIRFEAT, "pairfeat"}};

/// An observation column: its CDRZOO_COLUMN_* role and the name of its data set. The card's `columns` use the same
/// names.
inline constexpr PartName kColumns[] = {
    {CDRZOO_COLUMN_SAMPLE, "sample"},   {CDRZOO_COLUMN_DRUG, "drug"},     {CDRZOO_COLUMN_DRUG_B, "drug_b"},
    {CDRZOO_COLUMN_CONTROL, "control"}, {CDRZOO_COLUMN_DOSE, "dose"},     {CDRZOO_COLUMN_TIME, "time"},
    {CDRZOO_COLUMN_WEIGHT, "weight"},   {CDRZOO_COLUMN_DOMAIN, "domain"}, {CDRZOO_COLUMN_BATCH, "batch"}};

}  // namespace cdrzoo::bundle
