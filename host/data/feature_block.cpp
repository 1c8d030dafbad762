// SPDX-License-Identifier: Apache-2.0
#include "data/feature_block.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <tuple>

#include "base/error.hpp"
#include "base/hash.hpp"

namespace cdrzoo {
namespace {

struct PartRule {
  std::int32_t role;
  const char* name;
};
constexpr PartRule kParts[] = {
    {CDRZOO_PART_VALUES, "values"},     {CDRZOO_PART_ROWPTR, "rowptr"},     {CDRZOO_PART_COLIDX, "colidx"},
    {CDRZOO_PART_OFFSETS, "offsets"},   {CDRZOO_PART_BYTES, "bytes"},       {CDRZOO_PART_NODEPTR, "nodeptr"},
    {CDRZOO_PART_NODEFEAT, "nodefeat"}, {CDRZOO_PART_EDGEPTR, "edgeptr"},   {CDRZOO_PART_EDGESRC, "edgesrc"},
    {CDRZOO_PART_EDGEDST, "edgedst"},   {CDRZOO_PART_EDGEFEAT, "edgefeat"}, {CDRZOO_PART_PAIRPTR, "pairptr"},
    {CDRZOO_PART_PAIRFEAT, "pairfeat"}};

struct KindRule {
  std::int32_t kind;
  const char* name;
};
constexpr KindRule kKinds[] = {{CDRZOO_BLOCK_DENSE, "dense"},
                               {CDRZOO_BLOCK_CSR, "csr"},
                               {CDRZOO_BLOCK_CODES, "codes"},
                               {CDRZOO_BLOCK_UTF8, "utf8"},
                               {CDRZOO_BLOCK_GRAPHS, "graphs"}};

Hdf5Type file_type_of(std::int32_t dtype) {
  switch (dtype) {
    case CDRZOO_F32: return Hdf5Type::f32;
    case CDRZOO_F64: return Hdf5Type::f64;
    case CDRZOO_I32: return Hdf5Type::i32;
    case CDRZOO_I64: return Hdf5Type::i64;
    case CDRZOO_U8: return Hdf5Type::u8;
    case CDRZOO_U64: return Hdf5Type::u64;
    default: throw std::logic_error("feature block: a dtype that files do not hold");
  }
}

/// One block while it is read: fetches parts and judges them.
class BlockReader {
 public:
  BlockReader(const Hdf5File& file, std::string group, FeatureBlock& block)
      : file_(file), group_(std::move(group)), block_(block) {}

  [[noreturn]] void wrong(std::int32_t role, const std::string& what) const {
    throw DataError(file_.path().string() + ": " + group_ + "/" + part_name(role) + " " + what);
  }

  [[nodiscard]] bool has(std::int32_t role) const { return file_.has(group_ + "/" + part_name(role)); }

  /// Fetches a part of one of the dtypes; -1 in the shape means any size.
  const FeatureBlock::Part& part(std::int32_t role, std::initializer_list<std::int32_t> dtypes,
                                 const std::vector<std::int64_t>& shape) {
    const std::string path = group_ + "/" + part_name(role);
    const Hdf5File::Info info = file_.info(path);
    const std::int32_t dtype = info.is_text ? 0 : abi_dtype(info.type);
    if (std::find(dtypes.begin(), dtypes.end(), dtype) == dtypes.end()) {
      std::string wanted;
      for (const auto d : dtypes)
        wanted += (wanted.empty() ? "" : " or ") + std::string(hdf5_type_name(file_type_of(d)));
      wrong(role, std::string("holds ") + (info.is_text ? "text" : hdf5_type_name(info.type)) + "; expected " + wanted);
    }
    bool fits = info.shape.size() == shape.size();
    for (std::size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] < 0 || shape[i] == info.shape[i];
    if (!fits) wrong(role, "has shape " + text(info.shape) + "; expected " + text(shape));

    const Hdf5File::Block data = file_.block(path);
    FeatureBlock::Part out;
    out.role = role;
    out.dtype = dtype;
    out.shape = data.shape;
    out.data = data.data;
    out.bytes = data.bytes;
    if (dtype == CDRZOO_F32) {
      const std::int64_t flag = file_.int_attribute(path, "has_nan");
      if (flag != 0 && flag != 1)
        wrong(role, "has the attribute has_nan = " + std::to_string(flag) + "; expected 0 or 1");
      out.has_nan = flag == 1;
    }
    block_.parts.push_back(out);
    return block_.parts.back();
  }

  /// A row pointer: starts at 0, never decreases. Returns its last element.
  std::int64_t pointer(std::int32_t role, std::int64_t rows) {
    const auto* p = static_cast<const std::int64_t*>(part(role, {CDRZOO_I64}, {rows + 1}).data);
    if (p[0] != 0) wrong(role, "starts at " + std::to_string(p[0]) + "; expected 0");
    for (std::int64_t i = 0; i < rows; ++i) {
      if (p[i + 1] < p[i]) wrong(role, "decreases at row " + std::to_string(i));
    }
    return p[rows];
  }

  /// i32 indices of which each lies in [low, high).
  void indices(std::int32_t role, std::int64_t count, std::int64_t low, std::int64_t high) {
    const auto* p = static_cast<const std::int32_t*>(part(role, {CDRZOO_I32}, {count}).data);
    for (std::int64_t i = 0; i < count; ++i) {
      if (p[i] < low || p[i] >= high) out_of_range(role, i, p[i], low, high);
    }
  }

  [[noreturn]] void out_of_range(std::int32_t role, std::int64_t row, std::int64_t found, std::int64_t low,
                                 std::int64_t high) const {
    wrong(role, "row " + std::to_string(row) + " is " + std::to_string(found) + "; expected " + std::to_string(low) +
                    " to " + std::to_string(high - 1));
  }

 private:
  static std::string text(const std::vector<std::int64_t>& shape) {
    std::string out = "[";
    for (std::size_t i = 0; i < shape.size(); ++i) {
      out += (i == 0 ? "" : ", ") + (shape[i] < 0 ? std::string("n") : std::to_string(shape[i]));
    }
    return out + "]";
  }

  const Hdf5File& file_;
  std::string group_;
  FeatureBlock& block_;
};

void read_graphs(BlockReader& reader, FeatureBlock& block) {
  const std::int64_t rows = block.rows;
  const std::int64_t nodes = reader.pointer(CDRZOO_PART_NODEPTR, rows);
  const auto* node = static_cast<const std::int64_t*>(block.parts.back().data);
  reader.part(CDRZOO_PART_NODEFEAT, {CDRZOO_F32}, {nodes, block.width});
  const std::int64_t edges = reader.pointer(CDRZOO_PART_EDGEPTR, rows);
  const auto* edge = static_cast<const std::int64_t*>(block.parts.back().data);
  for (const auto role : {CDRZOO_PART_EDGESRC, CDRZOO_PART_EDGEDST}) {
    const auto* index = static_cast<const std::int32_t*>(reader.part(role, {CDRZOO_I32}, {edges}).data);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t size = node[r + 1] - node[r];
      for (std::int64_t e = edge[r]; e < edge[r + 1]; ++e) {
        if (index[e] < 0 || index[e] >= size) reader.out_of_range(role, e, index[e], 0, size);
      }
    }
  }
  if (reader.has(CDRZOO_PART_EDGEFEAT)) reader.part(CDRZOO_PART_EDGEFEAT, {CDRZOO_F32}, {edges, -1});
  if (reader.has(CDRZOO_PART_PAIRPTR) || reader.has(CDRZOO_PART_PAIRFEAT)) {
    const std::int64_t pairs = reader.pointer(CDRZOO_PART_PAIRPTR, rows);
    const auto* pair = static_cast<const std::int64_t*>(block.parts.back().data);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t size = node[r + 1] - node[r];
      if (pair[r + 1] - pair[r] != size * size) {
        reader.wrong(CDRZOO_PART_PAIRPTR, "row " + std::to_string(r) + " spans " +
                                              std::to_string(pair[r + 1] - pair[r]) + " pairs; expected " +
                                              std::to_string(size * size));
      }
    }
    reader.part(CDRZOO_PART_PAIRFEAT, {CDRZOO_F32}, {pairs, -1});
  }
}

}  // namespace

std::int32_t abi_dtype(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::f32: return CDRZOO_F32;
    case Hdf5Type::f64: return CDRZOO_F64;
    case Hdf5Type::i32: return CDRZOO_I32;
    case Hdf5Type::i64: return CDRZOO_I64;
    case Hdf5Type::u8: return CDRZOO_U8;
    case Hdf5Type::u64: return CDRZOO_U64;
    case Hdf5Type::i8: break;
  }
  return 0;
}

const char* block_kind_name(std::int32_t kind) {
  for (const auto& rule : kKinds) {
    if (rule.kind == kind) return rule.name;
  }
  return "unknown";
}

const char* part_name(std::int32_t role) {
  for (const auto& rule : kParts) {
    if (rule.role == role) return rule.name;
  }
  return "unknown";
}

std::string space_of(const std::vector<std::string>& feature_names) {
  Sha256 sha;
  for (const auto& name : feature_names) sha.update(name).update("\n");
  return sha.hex();
}

bool any_nan(const float* data, std::uint64_t count) {
  return std::any_of(data, data + count, [](float x) { return std::isnan(x); });
}

bool any_nan(const RowMatrix& matrix, std::int64_t row) {
  if (!matrix.is_sparse()) return any_nan(matrix.dense().row(row), static_cast<std::uint64_t>(matrix.cols));
  const auto& sparse = matrix.sparse();
  const auto begin = sparse.begin[static_cast<std::size_t>(row)];
  const auto end = sparse.begin[static_cast<std::size_t>(row) + 1];
  return any_nan(sparse.value.data() + begin, static_cast<std::uint64_t>(end - begin));
}

FeatureBlock BlockContent::view() const {
  FeatureBlock out;
  out.name = name;
  out.kind = kind;
  out.rows = rows;
  out.width = width;
  out.space = space;
  out.feature_names = feature_names;
  for (const auto& part : parts) {
    FeatureBlock::Part p;
    p.role = part.role;
    p.dtype = part.dtype;
    p.shape = part.shape;
    p.data = part.bytes.empty() ? nullptr : part.bytes.data();
    p.bytes = part.bytes.size();
    p.has_nan = part.dtype == CDRZOO_F32 && any_nan(static_cast<const float*>(p.data), p.bytes / sizeof(float));
    out.parts.push_back(std::move(p));
  }
  return out;
}

namespace {

void write_header(Hdf5Writer& writer, const std::string& group, const FeatureBlock& block) {
  writer.group(group);
  writer.attribute(group, "kind", block_kind_name(block.kind));
  writer.attribute(group, "width", block.width);
  writer.attribute(group, "space", block.space);
}

}  // namespace

void append_rows(Hdf5Writer::Rows& to, const RowMatrix& matrix, const std::vector<std::int32_t>& rows) {
  const auto row_bytes = static_cast<std::uint64_t>(matrix.cols) * sizeof(float);
  std::vector<float> scratch;
  for (std::size_t i = 0; i < rows.size();) {
    if (matrix.is_sparse()) {
      to.append(matrix.row(rows[i++], scratch), row_bytes);
      continue;
    }
    std::size_t end = i + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
    to.append(matrix.dense().row(rows[i]), (end - i) * row_bytes);
    i = end;
  }
}

void write_extended_block(Hdf5Writer& writer, const std::string& group, const FeatureBlock& block,
                          const RowMatrix& matrix, const std::vector<std::int32_t>& rows) {
  if (block.kind != CDRZOO_BLOCK_DENSE || block.parts.at(0).dtype != CDRZOO_F32 || block.width != matrix.cols)
    throw std::logic_error("write_extended_block: block " + block.name + " is not dense float32 of the matrix's width");
  write_header(writer, group, block);
  const auto& part = block.parts[0];
  const std::string path = group + "/" + part_name(part.role);
  auto values = writer.create(path, Hdf5Type::f32, {block.rows + static_cast<std::int64_t>(rows.size()), block.width});
  values.append(part.data, part.bytes);
  append_rows(values, matrix, rows);
  const bool has_nan =
      part.has_nan || std::any_of(rows.begin(), rows.end(), [&](auto row) { return any_nan(matrix, row); });
  writer.attribute(path, "has_nan", std::int64_t{has_nan ? 1 : 0});
  if (!block.feature_names.empty()) writer.strings(group + "/feature_names", block.feature_names);
}

void write_block(Hdf5Writer& writer, const std::string& group, const FeatureBlock& block) {
  write_header(writer, group, block);
  for (const auto& part : block.parts) {
    const std::string path = group + "/" + part_name(part.role);
    writer.write(path, file_type_of(part.dtype), part.shape, part.data);
    if (part.dtype == CDRZOO_F32) writer.attribute(path, "has_nan", std::int64_t{part.has_nan ? 1 : 0});
  }
  if (!block.feature_names.empty()) writer.strings(group + "/feature_names", block.feature_names);
}

void write_sparse_rows(Hdf5Writer& writer, const std::string& group, const RowMatrix& matrix,
                       const std::vector<std::int32_t>& rows, const std::string& space) {
  FeatureBlock block;
  block.kind = CDRZOO_BLOCK_CSR;
  block.width = matrix.cols;
  block.space = space;
  write_header(writer, group, block);
  const SparseRowsView& from = matrix.sparse();
  std::vector<std::int64_t> begin{0};
  begin.reserve(rows.size() + 1);
  for (const auto row : rows) {
    const auto i = static_cast<std::size_t>(row);
    begin.push_back(begin.back() + from.begin[i + 1] - from.begin[i]);
  }
  const auto path = [&group](std::int32_t role) { return group + "/" + part_name(role); };
  writer.write(path(CDRZOO_PART_ROWPTR), begin);
  // One after the other: pieces of a mapped matrix are read twice rather than gathered.
  const auto append_all = [&](std::int32_t role, Hdf5Type type, const auto* elements) {
    auto to = writer.create(path(role), type, {begin.back()});
    for (const auto row : rows) {
      const auto first = static_cast<std::size_t>(from.begin[static_cast<std::size_t>(row)]);
      const auto end = static_cast<std::size_t>(from.begin[static_cast<std::size_t>(row) + 1]);
      if (end > first) to.append(elements + first, (end - first) * sizeof(*elements));
    }
  };
  append_all(CDRZOO_PART_COLIDX, Hdf5Type::i32, from.column.data());
  append_all(CDRZOO_PART_VALUES, Hdf5Type::f32, from.value.data());
  writer.attribute(path(CDRZOO_PART_VALUES), "has_nan", std::int64_t{0});
}

RowMatrix read_sparse_rows(const Hdf5File& file, const std::string& group, std::int64_t rows, std::int64_t cols,
                           const std::string& space) {
  const std::string place = file.path().string() + ": " + group;
  const FeatureBlock block = read_block(file, group, group, rows);
  if (block.kind != CDRZOO_BLOCK_CSR)
    throw DataError(place + " is a block of the kind '" + block_kind_name(block.kind) + "'; expected csr");
  if (block.width != cols) {
    throw DataError(place + " has " + std::to_string(block.width) + " columns; expected " + std::to_string(cols));
  }
  if (block.space != space) {
    throw DataError(place + " was written for other genes or another gene order (its space is not their hash)");
  }
  const auto& [begin_part, column_part, value_part] = std::tie(block.parts[0], block.parts[1], block.parts[2]);
  if (value_part.has_nan) {
    throw DataError(place + "/values has missing values (has_nan = 1); a matrix with missing values is stored dense");
  }
  const SparseRowsView view{
      {static_cast<const std::int64_t*>(begin_part.data), static_cast<std::size_t>(rows) + 1},
      {static_cast<const std::int32_t*>(column_part.data), column_part.bytes / sizeof(std::int32_t)},
      {static_cast<const float*>(value_part.data), value_part.bytes / sizeof(float)}};
  for (std::size_t i = 0; i < static_cast<std::size_t>(rows); ++i) {
    for (auto k = static_cast<std::size_t>(view.begin[i]) + 1; k < static_cast<std::size_t>(view.begin[i + 1]); ++k) {
      if (view.column[k] <= view.column[k - 1]) {
        throw DataError(place + "/colidx: row " + std::to_string(i) + " has column " + std::to_string(view.column[k]) +
                        " after column " + std::to_string(view.column[k - 1]) + "; expected ascending columns");
      }
    }
  }
  return {view, cols};
}

FeatureBlock read_block(const Hdf5File& file, const std::string& group, const std::string& name, std::int64_t rows) {
  FeatureBlock block;
  block.name = name;
  block.rows = rows;
  const std::string kind = file.text_attribute(group, "kind");
  for (const auto& rule : kKinds) {
    if (kind == rule.name) block.kind = rule.kind;
  }
  const std::string place = file.path().string() + ": " + group;
  if (block.kind == 0) {
    throw DataError(place + " has the kind '" + kind + "'; known: dense, csr, codes, utf8, graphs");
  }
  block.width = file.int_attribute(group, "width");
  if (block.width < 0 || static_cast<std::uint64_t>(block.width) > file.file_bytes()) {
    throw DataError(place + " has the width " + std::to_string(block.width) + ", which the file cannot hold");
  }
  block.space = file.text_attribute(group, "space");

  BlockReader reader(file, group, block);
  switch (block.kind) {
    case CDRZOO_BLOCK_DENSE: reader.part(CDRZOO_PART_VALUES, {CDRZOO_F32, CDRZOO_U8}, {rows, block.width}); break;
    case CDRZOO_BLOCK_CSR: {
      const std::int64_t stored = reader.pointer(CDRZOO_PART_ROWPTR, rows);
      reader.indices(CDRZOO_PART_COLIDX, stored, 0, block.width);
      reader.part(CDRZOO_PART_VALUES, {CDRZOO_F32}, {stored});
      break;
    }
    case CDRZOO_BLOCK_CODES:
      reader.indices(CDRZOO_PART_VALUES, rows, -1, block.width);
      reader.part(CDRZOO_PART_BYTES, {CDRZOO_U8}, {reader.pointer(CDRZOO_PART_OFFSETS, block.width)});
      break;
    case CDRZOO_BLOCK_UTF8:
      reader.part(CDRZOO_PART_BYTES, {CDRZOO_U8}, {reader.pointer(CDRZOO_PART_OFFSETS, rows)});
      break;
    default: read_graphs(reader, block); break;
  }
  if (file.has(group + "/feature_names")) block.feature_names = file.strings(group + "/feature_names", block.width);
  return block;
}

}  // namespace cdrzoo
