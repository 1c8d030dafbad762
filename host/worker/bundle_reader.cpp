// SPDX-License-Identifier: Apache-2.0
#include "worker/bundle_reader.hpp"

#include <algorithm>
#include <cdrzoo/read_ahead.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/feature_block.hpp"
#include "run/bundle_format.hpp"

namespace cdrzoo::worker {
namespace {

std::int32_t viewable_dtype(Hdf5Type type, const std::string& where) {
  const std::int32_t dtype = abi_dtype(type);
  if (dtype == 0) throw DataError(where + " holds " + hdf5_type_name(type) + ", which no view can hold");
  return dtype;
}

std::int64_t element_bytes(std::int32_t dtype) {
  switch (dtype) {
    case CDRZOO_U8: return 1;
    case CDRZOO_F32:
    case CDRZOO_I32: return 4;
    default: return 8;
  }
}

/// Row-major, explicit strides.
cdrzoo_array make_array(std::int32_t dtype, const std::vector<std::int64_t>& shape, const void* data) {
  cdrzoo_array array{};
  array.dtype = dtype;
  array.rank = static_cast<std::int32_t>(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    array.shape[i] = shape[i];
    array.stride[i] = stride;
    stride *= std::max<std::int64_t>(shape[i], 1);
  }
  std::int64_t count = 1;
  for (const auto extent : shape) count *= extent;
  array.bytes = static_cast<std::uint64_t>(count * element_bytes(dtype));
  array.data = array.bytes == 0 ? nullptr : data;
  return array;
}

cdrzoo_array stored_array(const Hdf5File& file, const std::string& dataset) {
  const auto block = file.block(dataset);
  register_region(block.data, static_cast<std::size_t>(block.bytes), Region::view);
  return make_array(viewable_dtype(block.type, file.path().string() + ": " + dataset), block.shape, block.data);
}

std::vector<std::int64_t> shape_of(const cdrzoo_array& array) { return {array.shape, array.shape + array.rank}; }

template <typename T>
const T* elements(const cdrzoo_array& array) {
  return static_cast<const T*>(array.data);
}

template <typename T>
cdrzoo_span span_of(const std::vector<T>& items) {
  return {items.empty() ? nullptr : items.data(), items.size(), static_cast<std::uint32_t>(sizeof(T)), 0};
}

// ---- what belongs to one entity: how parts are laid out and gathered ----

/// Parts whose rows per entity are counted by an offsets part.
struct Ragged {
  std::int32_t offsets;
  std::vector<std::int32_t> parts;
};

std::vector<Ragged> ragged_of(std::int32_t kind) {
  switch (kind) {
    case CDRZOO_BLOCK_CSR: return {{CDRZOO_PART_ROWPTR, {CDRZOO_PART_COLIDX, CDRZOO_PART_VALUES}}};
    case CDRZOO_BLOCK_UTF8: return {{CDRZOO_PART_OFFSETS, {CDRZOO_PART_BYTES}}};
    case CDRZOO_BLOCK_GRAPHS:
      return {{CDRZOO_PART_NODEPTR, {CDRZOO_PART_NODEFEAT}},
              {CDRZOO_PART_EDGEPTR, {CDRZOO_PART_EDGESRC, CDRZOO_PART_EDGEDST, CDRZOO_PART_EDGEFEAT}},
              {CDRZOO_PART_PAIRPTR, {CDRZOO_PART_PAIRFEAT}}};
    default: return {};
  }
}

bool plain_rows(std::int32_t kind) { return kind == CDRZOO_BLOCK_DENSE || kind == CDRZOO_BLOCK_CODES; }

std::int64_t row_elements(const cdrzoo_array& array) {
  std::int64_t count = 1;
  for (std::int32_t axis = 1; axis < array.rank; ++axis) count *= array.shape[axis];
  return count;
}

cdrzoo_array array_of(const FeatureBlock::Part& part) { return make_array(part.dtype, part.shape, part.data); }

/// All of a block but its rows and parts.
cdrzoo_block block_header(const StoredBlock& stored) {
  const auto& names = stored.name_offsets;
  cdrzoo_block block{};
  block.size = sizeof(cdrzoo_block);
  block.kind = stored.block.kind;
  block.name = abi_str(stored.block.name);
  block.space = abi_str(stored.block.space);
  block.width = stored.block.width;
  block.feature_name_offsets = make_array(CDRZOO_I64, {static_cast<std::int64_t>(names.size())}, names.data());
  block.feature_name_bytes =
      make_array(CDRZOO_U8, {static_cast<std::int64_t>(stored.name_bytes.size())}, stored.name_bytes.data());
  return block;
}

/// Copies rows of one part.
cdrzoo_array gather_rows(SealedMemory& memory, const cdrzoo_array& from, ArrayView<std::int32_t> rows) {
  auto shape = shape_of(from);
  shape[0] = static_cast<std::int64_t>(rows.size());
  const auto row_bytes = static_cast<std::size_t>(row_elements(from) * element_bytes(from.dtype));
  auto* to = static_cast<std::uint8_t*>(memory.allocate(rows.size() * row_bytes));
  const auto* source = elements<std::uint8_t>(from);
  if (row_bytes > 0) {
    for (const auto row : rows) sdk::will_need(source + static_cast<std::size_t>(row) * row_bytes, row_bytes);
    for (std::size_t i = 0; i < rows.size(); ++i)
      std::memcpy(to + i * row_bytes, source + static_cast<std::size_t>(rows[i]) * row_bytes, row_bytes);
  }
  return make_array(from.dtype, shape, to);
}

cdrzoo_array gather_offsets(SealedMemory& memory, const cdrzoo_array& from, ArrayView<std::int32_t> rows) {
  const auto* at = elements<std::int64_t>(from);
  auto* to = static_cast<std::int64_t*>(memory.allocate((rows.size() + 1) * sizeof(std::int64_t)));
  to[0] = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) to[i + 1] = to[i] + at[rows[i] + 1] - at[rows[i]];
  return make_array(CDRZOO_I64, {static_cast<std::int64_t>(rows.size()) + 1}, to);
}

/// Copies the runs that `offsets` gives to each of `rows`.
cdrzoo_array gather_runs(SealedMemory& memory, const cdrzoo_array& from, const cdrzoo_array& offsets,
                         ArrayView<std::int32_t> rows) {
  const auto* at = elements<std::int64_t>(offsets);
  std::int64_t total = 0;
  for (const auto row : rows) total += at[row + 1] - at[row];
  auto shape = shape_of(from);
  shape[0] = total;
  const auto unit = static_cast<std::size_t>(row_elements(from) * element_bytes(from.dtype));
  auto* to = static_cast<std::uint8_t*>(memory.allocate(static_cast<std::size_t>(total) * unit));
  const auto* source = elements<std::uint8_t>(from);
  std::size_t filled = 0;
  for (const auto row : rows) {
    const auto bytes = static_cast<std::size_t>(at[row + 1] - at[row]) * unit;
    if (bytes == 0) continue;
    std::memcpy(to + filled, source + static_cast<std::size_t>(at[row]) * unit, bytes);
    filled += bytes;
  }
  return make_array(from.dtype, shape, to);
}

/// The rows of a dense float32 block, transformed on the way.
cdrzoo_array gather_transformed(SealedMemory& memory, const StoredBlock& stored, const FeatureBlock::Part& part,
                                ArrayView<std::int32_t> rows, const StoredTransform& transform) {
  const auto width = static_cast<std::size_t>(stored.block.width);
  auto* values = static_cast<float*>(memory.allocate(rows.size() * width * sizeof(float)));
  const auto stored_width = part.shape[1];
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto entity = static_cast<std::size_t>(rows[i]);
    const float* from = static_cast<const float*>(part.data) + rows[i] * stored_width;
    float* to = values + i * width;
    const bool scales = !transform.offset.empty();
    const float* means = transform.means.empty() ? nullptr : transform.means.row(transform.mean_table_of[entity]);
    const double* offset = scales ? transform.offset.row(transform.scale_table_of[entity]) : nullptr;
    const double* factor = scales ? transform.factor.row(transform.scale_table_of[entity]) : nullptr;
    for (std::size_t j = 0; j < width; ++j) {
      const std::size_t column = transform.columns.empty() ? j : static_cast<std::size_t>(transform.columns[j]);
      float value = from[column];
      if (means != nullptr && std::isnan(value)) value = means[column];
      to[j] = scales ? static_cast<float>((static_cast<double>(value) - offset[column]) * factor[column]) : value;
    }
  }
  auto array =
      make_array(CDRZOO_F32, {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(width)}, values);
  if (part.has_nan && any_nan(values, rows.size() * width)) array.flags |= CDRZOO_ARRAY_HAS_NAN;
  return array;
}

/// One part of a block for the entities `rows`: the stored array itself where all rows are wanted as they are.
cdrzoo_array table_part(SealedMemory& memory, const StoredBlock& stored, const FeatureBlock::Part& part,
                        ArrayView<std::int32_t> rows, bool whole, const StoredTransform* transform) {
  auto array = array_of(part);
  if (part.role == CDRZOO_PART_VALUES && plain_rows(stored.block.kind)) {
    if (transform != nullptr) return gather_transformed(memory, stored, part, rows, *transform);
    if (whole) {
      if (part.has_nan) array.flags |= CDRZOO_ARRAY_HAS_NAN;
      return array;
    }
    array = gather_rows(memory, array, rows);
    if (part.has_nan && array.data != nullptr && any_nan(elements<float>(array), array.bytes / sizeof(float)))
      array.flags |= CDRZOO_ARRAY_HAS_NAN;
    return array;
  }
  if (!whole) {
    for (const auto& ragged : ragged_of(stored.block.kind)) {
      if (part.role == ragged.offsets) return gather_offsets(memory, array, rows);
      if (std::find(ragged.parts.begin(), ragged.parts.end(), part.role) != ragged.parts.end())
        return gather_runs(memory, array, array_of(*stored.find(ragged.offsets)), rows);
    }
  }
  // Parts that belong to no entity, such as the level names of codes, are shared as they are.
  if (part.has_nan) array.flags |= CDRZOO_ARRAY_HAS_NAN;
  return array;
}

std::int32_t column_role(const std::string& name) {
  for (const auto& column : bundle::kColumns)
    if (name == column.name) return column.role;
  throw DataError("unknown observation column \"" + name + "\"");
}

std::int32_t column_dtype(std::int32_t role) {
  return role == CDRZOO_COLUMN_DOSE || role == CDRZOO_COLUMN_TIME || role == CDRZOO_COLUMN_WEIGHT ? CDRZOO_F32
                                                                                                  : CDRZOO_I32;
}

/// The entities that an index column points into; 0 = it is no index column.
std::int32_t indexed_axis(std::int32_t role) {
  switch (role) {
    case CDRZOO_COLUMN_SAMPLE:
    case CDRZOO_COLUMN_CONTROL:
    case CDRZOO_COLUMN_REFERENCE:
    case CDRZOO_COLUMN_REFERENCE_CONTROL:
    case CDRZOO_COLUMN_REFERENCE_B:
    case CDRZOO_COLUMN_REFERENCE_B_CONTROL: return CDRZOO_AXIS_SAMPLE;
    case CDRZOO_COLUMN_DRUG:
    case CDRZOO_COLUMN_DRUG_B: return CDRZOO_AXIS_DRUG;
    default: return 0;
  }
}

/// The smallest index of an index column: -1 where there may be none.
std::int32_t lowest_index(std::int32_t role) {
  return role == CDRZOO_COLUMN_SAMPLE || role == CDRZOO_COLUMN_DRUG ? 0 : -1;
}

std::uint64_t hex64(const std::string& digits) { return std::stoull(digits, nullptr, 16); }

}  // namespace

const FeatureBlock::Part* StoredBlock::find(std::int32_t role) const {
  for (const auto& part : block.parts)
    if (part.role == role) return &part;
  return nullptr;
}

Bundle::Bundle(const Task& task) : task_(task), entities_(task.entities), views_(task.views) {
  const auto expect = [](const Hdf5File& file, const char* format, std::int64_t newest) {
    if (file.text_attribute("/", "format") == format) {
      const auto version = file.int_attribute("/", "version");
      if (version >= bundle::kVersion && version <= newest) return;
    }
    throw DataError(file.path().string() + " is not a file of format " + format + ", version " +
                    std::to_string(newest));
  };
  expect(entities_, bundle::kEntitiesFormat, bundle::kVersion);
  expect(views_, bundle::kViewsFormat, bundle::kSharedTargetsVersion);
  if (!task.targets.empty()) {
    targets_.emplace(task.targets);
    expect(*targets_, bundle::kTargetsFormat, bundle::kSparseTargetsVersion);
    open_targets();
  }
  const auto hash = entities_.text_attribute("/", "hash");
  if (views_.text_attribute("/", "entities") != hash)
    throw DataError(task.views.string() + " does not belong to " + task.entities.string());
  if (views_.int_attribute("/", "n_targets") != task.n_targets)
    throw DataError(task.views.string() + " has another number of targets than " + task.file.string());

  axes_.push_back(read_axis(CDRZOO_AXIS_SAMPLE, "sample", task.sample_blocks));
  axes_.push_back(read_axis(CDRZOO_AXIS_DRUG, "drug", task.drug_blocks));
  if (entities_.has("/gene")) axes_.push_back(read_axis(CDRZOO_AXIS_GENE, "gene", {}));
  for (auto& axis : axes_) read_transforms(axis);
  make_problem();
}

void Bundle::open_targets() {
  if (!views_.has_attribute("/", "targets") ||
      views_.text_attribute("/", "targets") != targets_->text_attribute("/", "hash")) {
    throw DataError(task_.views.string() + " does not belong to " + task_.targets.string());
  }
  const auto announce = [](const auto& array) {
    register_region(array.data(), array.size() * sizeof(*array.data()), Region::view);
  };
  if (targets_->is_group("/target")) {
    const auto shape = targets_->info("/target/rowptr").shape;
    const auto rows = shape.empty() ? 0 : std::max<std::int64_t>(shape[0] - 1, 0);
    target_ = read_sparse_rows(*targets_, "/target", rows, task_.n_targets, "");
    announce(target_.sparse().column);
    announce(target_.sparse().value);
    return;
  }
  target_ = targets_->matrix<float>("/target", -1, task_.n_targets);
  const auto elements = static_cast<std::size_t>(target_.rows * target_.cols);
  register_region(target_.dense().data, elements * sizeof(float), Region::view);
  if (!targets_->has("/target_mask")) return;
  target_mask_ = targets_->matrix<std::uint8_t>("/target_mask", target_.rows, task_.n_targets);
  register_region(target_mask_.data, elements, Region::view);
}

/// The view's rows of the targets file, where they lie.
void Bundle::add_targets(View& view, const std::string& path) const {
  auto& abi = view.view_;
  const auto first = views_.int_attribute(path, "target_first");
  if (!targets_ || first < 0 || first > target_.rows || abi.n_obs > target_.rows - first)
    throw DataError(views_.path().string() + ": the targets of " + path + " are not in the targets file");
  abi.flags |= CDRZOO_VIEW_LABELLED;
  if (target_.is_sparse()) {
    add_sparse_targets(view, static_cast<std::size_t>(first));
    return;
  }
  abi.target = make_array(CDRZOO_F32, {abi.n_obs, target_.cols}, target_.dense().row(first));
  if (!target_mask_.empty())
    abi.target_mask = make_array(CDRZOO_U8, {abi.n_obs, target_mask_.cols}, target_mask_.row(first));
}

/// Columns and values lie where they are stored; the offsets of a run of rows begin at 0, in memory of their own.
void Bundle::add_sparse_targets(View& view, std::size_t first) const {
  auto& abi = view.view_;
  const auto n = static_cast<std::size_t>(abi.n_obs);
  const auto& stored = target_.sparse();
  const auto begin = stored.begin[first];
  const auto count = stored.begin[first + n] - begin;
  auto* rowptr = static_cast<std::int64_t*>(view.memory_.allocate((n + 1) * sizeof(std::int64_t)));
  for (std::size_t i = 0; i <= n; ++i) rowptr[i] = stored.begin[first + i] - begin;
  const auto part = [](std::int32_t role, const cdrzoo_array& array) {
    return cdrzoo_part{sizeof(cdrzoo_part), role, array};
  };
  view.target_parts_ = {part(CDRZOO_PART_ROWPTR, make_array(CDRZOO_I64, {abi.n_obs + 1}, rowptr)),
                        part(CDRZOO_PART_COLIDX, make_array(CDRZOO_I32, {count}, stored.column.data() + begin)),
                        part(CDRZOO_PART_VALUES, make_array(CDRZOO_F32, {count}, stored.value.data() + begin))};
  cdrzoo_block block{};
  block.size = sizeof(cdrzoo_block);
  block.kind = CDRZOO_BLOCK_CSR;
  block.name = {"target", 6};
  block.rows = abi.n_obs;
  block.width = target_.cols;
  block.feature_name_offsets = make_array(CDRZOO_I64, {0}, nullptr);
  block.feature_name_bytes = make_array(CDRZOO_U8, {0}, nullptr);
  block.parts = span_of(view.target_parts_);
  view.target_block_ = {block};
  abi.target_sparse = span_of(view.target_block_);
}

Bundle::Axis Bundle::read_axis(std::int32_t code, const std::string& name,
                               const std::vector<std::string>& blocks) const {
  Axis axis;
  axis.code = code;
  axis.name = name;
  axis.key = stored_array(entities_, "/" + name + "/key");
  if (axis.key.dtype != CDRZOO_I64 || axis.key.rank != 1)
    throw DataError(entities_.path().string() + ": /" + name + "/key is not int64 [count]");
  axis.count = axis.key.shape[0];
  for (const auto& block : blocks) axis.blocks.push_back(read_stored(name, block, axis.count));
  return axis;
}

StoredBlock Bundle::read_stored(const std::string& axis, const std::string& name, std::int64_t rows) const {
  const auto path = "/" + axis + "/blocks/" + name;
  if (!entities_.is_group(path))
    throw DataError(entities_.path().string() + " has no " + axis + " block \"" + name + "\"");
  StoredBlock stored;
  stored.block = read_block(entities_, path, name, rows);
  for (const auto& part : stored.block.parts)
    register_region(part.data, static_cast<std::size_t>(part.bytes), Region::view);
  name_features(stored);
  return stored;
}

void Bundle::name_features(StoredBlock& stored) const {
  stored.name_offsets.clear();
  stored.name_bytes.clear();
  if (!task_.feature_names || stored.block.feature_names.empty()) return;
  stored.name_offsets.push_back(0);
  for (const auto& feature : stored.block.feature_names) {
    stored.name_bytes += feature;
    stored.name_offsets.push_back(static_cast<std::int64_t>(stored.name_bytes.size()));
  }
}

StoredBlock& Bundle::dense_float_block(Axis& axis, const std::string& name, const std::string& path) const {
  const auto block =
      std::find_if(axis.blocks.begin(), axis.blocks.end(), [&](const auto& b) { return b.block.name == name; });
  if (block == axis.blocks.end()) throw DataError(views_.path().string() + ": " + path + " is for no block");
  const auto* values = block->find(CDRZOO_PART_VALUES);
  if (block->block.kind != CDRZOO_BLOCK_DENSE || values == nullptr || values->dtype != CDRZOO_F32)
    throw DataError(views_.path().string() + ": " + path + " is for a block that is not dense float32");
  return *block;
}

ArrayView<std::int32_t> Bundle::table_of(const std::string& path, std::int64_t count, std::int64_t tables) const {
  const auto rows = views_.array<std::int32_t>(path + "/table_of", count);
  for (const auto table : rows)
    if (table < 0 || table >= tables)
      throw DataError(views_.path().string() + ": " + path + "/table_of is out of range");
  return rows;
}

void Bundle::read_transforms(Axis& axis) const {
  const auto each = [&](const std::string& kind, const auto& read) {
    const auto group = "/" + kind + "/" + axis.name;
    for (const auto& name : views_.children(group)) {
      const auto path = std::string(group).append("/").append(name);
      read(path, dense_float_block(axis, name, path), axis.transforms[name]);
    }
  };
  each("imputation", [&](const std::string& path, const StoredBlock& stored, StoredTransform& transform) {
    transform.means = views_.matrix<float>(path + "/means", -1, stored.block.width);
    transform.mean_table_of = table_of(path, axis.count, transform.means.rows);
  });
  each("scaling", [&](const std::string& path, const StoredBlock& stored, StoredTransform& transform) {
    transform.offset = views_.matrix<double>(path + "/offset", -1, stored.block.width);
    transform.factor = views_.matrix<double>(path + "/factor", transform.offset.rows, stored.block.width);
    transform.scale_table_of = table_of(path, axis.count, transform.offset.rows);
  });
  each("selection", [&](const std::string& path, StoredBlock& stored, StoredTransform& transform) {
    transform.columns = views_.array<std::int32_t>(path + "/columns");
    select(stored, transform.columns, path);
  });
}

/// From here on the block is as wide as the selection, and its space says which columns stay.
void Bundle::select(StoredBlock& stored, ArrayView<std::int32_t> columns, const std::string& path) const {
  auto& block = stored.block;
  if (static_cast<std::int64_t>(block.feature_names.size()) != block.width)
    throw DataError(views_.path().string() + ": " + path + " is for a block without feature names");
  std::vector<std::string> names;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (columns[i] < 0 || columns[i] >= block.width || (i > 0 && columns[i] <= columns[i - 1]))
      throw DataError(views_.path().string() + ": " + path + "/columns do not rise or are out of range");
    names.push_back(block.feature_names[static_cast<std::size_t>(columns[i])]);
  }
  if (names.empty()) throw DataError(views_.path().string() + ": " + path + "/columns is empty");
  block.width = static_cast<std::int64_t>(names.size());
  block.space = space_of(names);
  block.feature_names = std::move(names);
  name_features(stored);
}

void Bundle::make_problem() {
  problem_.size = sizeof(cdrzoo_problem);
  problem_.task = task_.task;
  problem_.n_targets = task_.n_targets;
  problem_.target_unit = abi_str(task_.target_unit);
  for (const auto& axis : axes_) {
    auto& table = schema_.tables_.emplace_back();
    for (const auto& stored : axis.blocks) {
      auto& parts = table.parts.emplace_back();
      for (const auto& part : stored.block.parts) {
        auto shape = part.shape;
        shape[0] = 0;
        if (part.role == CDRZOO_PART_VALUES && stored.block.kind == CDRZOO_BLOCK_DENSE) shape[1] = stored.block.width;
        parts.push_back({sizeof(cdrzoo_part), part.role, make_array(part.dtype, shape, nullptr)});
      }
      auto block = block_header(stored);
      block.parts = span_of(parts);
      table.blocks.push_back(block);
    }
    cdrzoo_entities entities{};
    entities.size = sizeof(cdrzoo_entities);
    entities.axis = axis.code;
    entities.key = make_array(CDRZOO_I64, {0}, nullptr);
    entities.blocks = span_of(table.blocks);
    schema_.entities_.push_back(entities);
  }
  for (const auto& name : task_.columns) {
    const auto role = column_role(name);
    schema_.columns_.push_back({sizeof(cdrzoo_column), role, make_array(column_dtype(role), {0}, nullptr)});
  }
  problem_.schema = span_of(schema_.entities_);
  problem_.columns = span_of(schema_.columns_);
}

void Bundle::add_table(View& view, const Axis& axis, ArrayView<std::int32_t> rows) const {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= axis.count || (i > 0 && rows[i] <= rows[i - 1]))
      throw DataError(views_.path().string() + ": the " + axis.name +
                      " rows of a view do not rise or are out of range");
  }
  const bool whole = static_cast<std::int64_t>(rows.size()) == axis.count;
  auto& table = view.tables_.emplace_back();
  table.parts.reserve(axis.blocks.size());
  for (const auto& stored : axis.blocks) {
    auto& parts = table.parts.emplace_back();
    const auto found = axis.transforms.find(stored.block.name);
    const auto* transform = found == axis.transforms.end() ? nullptr : &found->second;
    for (const auto& part : stored.block.parts)
      parts.push_back({sizeof(cdrzoo_part), part.role, table_part(view.memory_, stored, part, rows, whole, transform)});
    auto block = block_header(stored);
    block.rows = static_cast<std::int64_t>(rows.size());
    block.parts = span_of(parts);
    table.blocks.push_back(block);
  }
  cdrzoo_entities entities{};
  entities.size = sizeof(cdrzoo_entities);
  entities.axis = axis.code;
  entities.count = static_cast<std::int64_t>(rows.size());
  entities.key = whole ? axis.key : gather_rows(view.memory_, axis.key, rows);
  entities.blocks = span_of(table.blocks);
  view.entities_.push_back(entities);
}

/// A column of the whole view, checked.
cdrzoo_array Bundle::read_column(const std::string& path, const std::string& name,
                                 const std::map<std::int32_t, ArrayView<std::int32_t>>& tables) const {
  const auto dataset = std::string(path).append("/column_").append(name);
  const auto role = column_role(name);
  const auto array = stored_array(views_, dataset);
  const auto where = views_.path().string() + ": " + dataset;
  const auto n_obs = views_.int_attribute(path, "n_obs");
  if (array.dtype != column_dtype(role) || array.rank != 1 || array.shape[0] != n_obs)
    throw DataError(where + " has another type or length than expected");
  const auto axis = indexed_axis(role);
  if (axis == 0) return array;
  const auto table = tables.find(axis);
  const auto size = table == tables.end() ? 0 : static_cast<std::int64_t>(table->second.size());
  const auto* index = elements<std::int32_t>(array);
  const auto lowest = lowest_index(role);
  for (std::int64_t i = 0; i < n_obs; ++i)
    if (index[i] < lowest || index[i] >= size)
      throw DataError(where + " has index " + std::to_string(index[i]) + " out of range");
  return array;
}

/// Finds the entities that a true part of a view refers to.
void Bundle::narrow(Piece& piece, const std::string& path) const {
  for (const auto& [axis, table] : piece.tables) {
    auto& place = piece.place[axis];
    place.assign(table.size(), -1);
    for (const auto& name : task_.columns) {
      if (indexed_axis(column_role(name)) != axis || !views_.has(path + "/column_" + name)) continue;
      const auto* index = elements<std::int32_t>(read_column(path, name, piece.tables)) + piece.first;
      for (std::int64_t i = 0; i < piece.count; ++i)
        if (index[i] >= 0) place[static_cast<std::size_t>(index[i])] = 0;
    }
    auto& rows = piece.rows[axis];
    for (std::size_t i = 0; i < place.size(); ++i) {
      if (place[i] < 0) continue;
      place[i] = static_cast<std::int32_t>(rows.size());
      rows.push_back(table[i]);
    }
  }
}

void Bundle::add_columns(View& view, const std::string& path, const Piece& piece) const {
  for (const auto& name : task_.columns) {
    if (!views_.has(path + "/column_" + name)) continue;
    const auto role = column_role(name);
    auto array = read_column(path, name, piece.tables);
    const auto place = piece.place.find(indexed_axis(role));
    if (place != piece.place.end()) {
      const auto* from = elements<std::int32_t>(array) + piece.first;
      auto* to = static_cast<std::int32_t*>(
          view.memory_.allocate(static_cast<std::size_t>(piece.count) * sizeof(std::int32_t)));
      for (std::int64_t i = 0; i < piece.count; ++i)
        to[i] = from[i] < 0 ? from[i] : place->second[static_cast<std::size_t>(from[i])];
      array = make_array(CDRZOO_I32, {piece.count}, to);
    } else if (array.data != nullptr) {
      const auto* bytes = elements<std::uint8_t>(array) + piece.first * element_bytes(array.dtype);
      array = make_array(array.dtype, {piece.count}, bytes);
    }
    view.columns_.push_back({sizeof(cdrzoo_column), role, array});
  }
}

/// Targets of this view alone, or its rows of the targets file.
void Bundle::add_view_targets(View& view, const std::string& path) const {
  auto& abi = view.view_;
  abi.target = make_array(CDRZOO_F32, {0, 0}, nullptr);
  abi.target_mask = make_array(CDRZOO_U8, {0, 0}, nullptr);
  if (views_.has(path + "/target")) {
    abi.target = stored_array(views_, path + "/target");
    abi.flags |= CDRZOO_VIEW_LABELLED;
    const bool fits = abi.target.dtype == CDRZOO_F32 && abi.target.rank == 2 && abi.target.shape[0] == abi.n_obs &&
                      abi.target.shape[1] == task_.n_targets;
    if (!fits) throw DataError(views_.path().string() + ": " + path + "/target is not float32 [n_obs, n_targets]");
  }
  if (views_.has(path + "/target_mask")) {
    abi.target_mask = stored_array(views_, path + "/target_mask");
    if (abi.target_mask.dtype != CDRZOO_U8 ||
        abi.target_mask.bytes != static_cast<std::uint64_t>(abi.n_obs) * static_cast<std::uint64_t>(task_.n_targets))
      throw DataError(views_.path().string() + ": " + path + "/target_mask is not uint8 [n_obs, n_targets]");
  }
  if (views_.has_attribute(path, "target_first")) add_targets(view, path);
}

std::unique_ptr<View> Bundle::piece(const std::string& name, std::int64_t first, std::int64_t count) const {
  auto made = std::make_unique<View>();
  const auto path = "/" + name;
  const bool whole = first == 0 && count == n_obs(name);
  auto& abi = made->view_;
  abi.size = sizeof(cdrzoo_view);
  abi.n_obs = count;
  auto fingerprint = views_.text_attribute(path, "fingerprint");
  if (fingerprint.size() != 32 || fingerprint.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw DataError(views_.path().string() + ": " + path + " has no fingerprint");
  if (!whole) {
    Sha256 hash;
    hash.update(fingerprint)
        .update_le64(static_cast<std::uint64_t>(first))
        .update_le64(static_cast<std::uint64_t>(count));
    fingerprint = hash.hex();
  }
  abi.fingerprint[0] = hex64(fingerprint.substr(0, 16));
  abi.fingerprint[1] = hex64(fingerprint.substr(16, 16));

  Piece piece{first, count, {}, {}, {}};
  for (const auto& axis : axes_) {
    const auto dataset = std::string(path).append("/").append(axis.name).append("_rows");
    if (views_.has(dataset)) piece.tables[axis.code] = views_.array<std::int32_t>(dataset);
  }
  if (!whole) narrow(piece, path);
  std::vector<std::int32_t> every_gene;
  for (const auto& axis : axes_) {
    if (axis.code == CDRZOO_AXIS_GENE) {
      every_gene.resize(static_cast<std::size_t>(axis.count));
      for (std::size_t i = 0; i < every_gene.size(); ++i) every_gene[i] = static_cast<std::int32_t>(i);
      add_table(*made, axis, every_gene);
    } else if (const auto table = piece.tables.find(axis.code); table != piece.tables.end()) {
      add_table(*made, axis, whole ? table->second : ArrayView<std::int32_t>(piece.rows.at(axis.code)));
    }
  }
  add_columns(*made, path, piece);
  if (whole) add_view_targets(*made, path);
  abi.entities = span_of(made->entities_);
  abi.columns = span_of(made->columns_);
  made->memory_.seal();
  return made;
}

}  // namespace cdrzoo::worker
