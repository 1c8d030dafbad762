// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cdrzoo/abi.h>

#include <cstdint>
#include <string>

/// Names that the writer of bundles (run) and their reader (worker) share. share/doc/bundle.md explains them.
namespace cdrzoo::bundle {

inline constexpr const char* kEntitiesFormat = "cdrzoo-entities";
inline constexpr const char* kViewsFormat = "cdrzoo-views";
inline constexpr const char* kTargetsFormat = "cdrzoo-targets";
inline constexpr const char* kTaskFormat = "cdrzoo-task";
inline constexpr std::int64_t kVersion = 1;
/// Of a views file with scaling or selection: a reader that knows nothing of them must refuse it.
inline constexpr std::int64_t kFittedViewsVersion = 2;
/// Of a views file whose targets are in a file of their own.
inline constexpr std::int64_t kSharedTargetsVersion = 3;
/// Of a targets file of sparse rows.
inline constexpr std::int64_t kSparseTargetsVersion = 2;

/// An observation column: its CDRZOO_COLUMN_* role and the name of its data set. The card's `columns` use the same
/// names.
struct ColumnName {
  std::int32_t role;
  const char* name;
};
inline constexpr ColumnName kColumns[] = {{CDRZOO_COLUMN_SAMPLE, "sample"},
                                          {CDRZOO_COLUMN_DRUG, "drug"},
                                          {CDRZOO_COLUMN_DRUG_B, "drug_b"},
                                          {CDRZOO_COLUMN_CONTROL, "control"},
                                          {CDRZOO_COLUMN_DOSE, "dose"},
                                          {CDRZOO_COLUMN_TIME, "time"},
                                          {CDRZOO_COLUMN_WEIGHT, "weight"},
                                          {CDRZOO_COLUMN_DOMAIN, "domain"},
                                          {CDRZOO_COLUMN_BATCH, "batch"},
                                          {CDRZOO_COLUMN_CONTEXT, "context"},
                                          {CDRZOO_COLUMN_REFERENCE, "reference"},
                                          {CDRZOO_COLUMN_REFERENCE_CONTROL, "reference_control"},
                                          {CDRZOO_COLUMN_REFERENCE_B, "reference_b"},
                                          {CDRZOO_COLUMN_REFERENCE_B_CONTROL, "reference_b_control"},
                                          {CDRZOO_COLUMN_REFERENCE_CONTEXT, "reference_context"},
                                          {CDRZOO_COLUMN_REFERENCE_B_CONTEXT, "reference_b_context"}};

}  // namespace cdrzoo::bundle
