// SPDX-License-Identifier: Apache-2.0
/// The C++17 layer over cdrzoo/plugin.h: header-only, no dependency. Derive a class from sdk::Model, export it:
///
///     class Ridge final : public cdrzoo::sdk::Model { ... };
///     CDRZOO_EXPORT_PLUGIN(cdrzoo::sdk::model<Ridge>(kRidgeCard))
///
/// Exceptions become statuses in one place (guarded). Wrappers borrow: a View, a Span or a Matrix is valid until the
/// operation returns. What the contract promises (indices in range) is not checked again; shapes, dtypes and the
/// presence of arrays are, once per lookup.
#pragma once

#include <cdrzoo/entry.h>
#include <cdrzoo/plugin.h>
#include <cdrzoo/random.h>
#include <cdrzoo/read_ahead.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <exception>
#include <initializer_list>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cdrzoo::sdk {
inline namespace v0 {

// ---- errors ---------------------------------------------------------------------------------------------------------

/// A failure with the status that the host shall see. Any other exception becomes CDRZOO_E_INTERNAL.
class Error : public std::runtime_error {
 public:
  Error(cdrzoo_status code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] cdrzoo_status code() const { return code_; }

 private:
  cdrzoo_status code_;
};

/// Unwinds a cancelled operation. No std::exception on purpose: a model's own handlers shall not swallow it.
struct Cancelled {};

namespace detail {
[[nodiscard]] inline cdrzoo_str str(std::string_view text) { return {text.data(), text.size()}; }
[[nodiscard]] inline std::string_view view(cdrzoo_str text) {
  return text.ptr == nullptr ? std::string_view{} : std::string_view(text.ptr, static_cast<std::size_t>(text.len));
}
}  // namespace detail

// ---- borrowed memory ------------------------------------------------------------------------------------------------

/// Borrowed contiguous elements.
template <class T>
class Span {
 public:
  Span() = default;
  Span(T* data, std::int64_t size) : data_(data), size_(size) {}
  template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
  Span(const std::vector<U>& v) : data_(v.data()), size_(static_cast<std::int64_t>(v.size())) {}  // NOLINT

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] T* begin() const { return data_; }
  [[nodiscard]] T* end() const { return data_ + size_; }
  [[nodiscard]] T& operator[](std::int64_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

/// Borrowed matrix [rows, cols]; rows are `stride` elements apart.
template <class T>
class Matrix {
 public:
  Matrix() = default;
  Matrix(T* data, std::int64_t rows, std::int64_t cols, std::int64_t stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {}

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::int64_t cols() const { return cols_; }
  [[nodiscard]] std::int64_t stride() const { return stride_; }
  [[nodiscard]] bool empty() const { return rows_ == 0 || cols_ == 0; }
  [[nodiscard]] bool contiguous() const { return stride_ == cols_ || rows_ <= 1; }
  [[nodiscard]] Span<T> row(std::int64_t i) const { return {data_ + i * stride_, cols_}; }
  [[nodiscard]] T& operator()(std::int64_t i, std::int64_t j) const { return data_[i * stride_ + j]; }

 private:
  T* data_ = nullptr;
  std::int64_t rows_ = 0, cols_ = 0, stride_ = 0;
};

namespace detail {

template <class T>
[[nodiscard]] constexpr std::int32_t dtype_code() {
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, float>) return CDRZOO_F32;
  if constexpr (std::is_same_v<U, double>) return CDRZOO_F64;
  if constexpr (std::is_same_v<U, std::int32_t>) return CDRZOO_I32;
  if constexpr (std::is_same_v<U, std::int64_t>) return CDRZOO_I64;
  if constexpr (std::is_same_v<U, std::uint8_t>) return CDRZOO_U8;
  if constexpr (std::is_same_v<U, std::uint64_t>) return CDRZOO_U64;
}

[[nodiscard]] inline const char* dtype_text(std::int32_t dtype) {
  static constexpr const char* kNames[] = {"?", "f32", "f64", "i32", "i64", "u8", "u64", "f16", "bf16", "bool"};
  return dtype >= CDRZOO_F32 && dtype <= CDRZOO_BOOL ? kNames[dtype] : "unknown";
}

[[nodiscard]] inline std::string shape_text(const cdrzoo_array& a) {
  std::string text = dtype_text(a.dtype);
  text += " [";
  for (std::int32_t i = 0; i < std::min(a.rank, 4); ++i) text += (i == 0 ? "" : ", ") + std::to_string(a.shape[i]);
  return text + "]";
}

[[noreturn]] inline void throw_bad_array(const cdrzoo_array& a, const std::string& what, const std::string& expected) {
  throw Error(CDRZOO_E_ARGUMENT, what + " is " + shape_text(a) + ", but " + expected + " was expected");
}

/// A rank-1 array as a span. \p size -1 = any.
template <class T>
[[nodiscard]] Span<const T> span_of(const cdrzoo_array& a, const std::string& what, std::int64_t size = -1) {
  if (a.dtype != dtype_code<T>() || a.rank != 1 || a.shape[0] < 0 || (size >= 0 && a.shape[0] != size) ||
      (a.data == nullptr && a.shape[0] != 0)) {
    throw_bad_array(
        a, what, std::string(dtype_text(dtype_code<T>())) + (size >= 0 ? " [" + std::to_string(size) + "]" : " [n]"));
  }
  return {static_cast<const T*>(a.data), a.shape[0]};
}

/// A rank-2 array as a matrix. -1 = any.
template <class T>
[[nodiscard]] Matrix<const T> matrix_of(const cdrzoo_array& a, const std::string& what, std::int64_t rows = -1,
                                        std::int64_t cols = -1) {
  if (a.dtype != dtype_code<T>() || a.rank != 2 || a.shape[0] < 0 || a.shape[1] < 0 ||
      (rows >= 0 && a.shape[0] != rows) || (cols >= 0 && a.shape[1] != cols) ||
      (a.data == nullptr && a.shape[0] != 0 && a.shape[1] != 0)) {
    const auto extent = [](std::int64_t n) { return n < 0 ? std::string("n") : std::to_string(n); };
    throw_bad_array(a, what,
                    std::string(dtype_text(dtype_code<T>())) + " [" + extent(rows) + ", " + extent(cols) + "]");
  }
  return {static_cast<const T*>(a.data), a.shape[0], a.shape[1], a.stride[0]};
}

/// Walks a span of growable structs with the writer's stride.
template <class T, class F>
void for_each(const cdrzoo_span& span, std::size_t first_release_size, const F& f) {
  if (span.count != 0 && (span.data == nullptr || span.stride < first_release_size)) {
    throw Error(CDRZOO_E_ARGUMENT, "a sequence of structs has a stride of " + std::to_string(span.stride) +
                                       " bytes, at least " + std::to_string(first_release_size) + " were expected");
  }
  for (std::uint64_t i = 0; i < span.count; ++i) f(*CDRZOO_AT(span, T, i));
}

/// The sizes of the first release of epoch 0: the fields up to here are always there.
// NOLINTBEGIN(bugprone-sizeof-expression): the sizes of members, pointers among them
inline constexpr std::size_t kPartSize = CDRZOO_FIELD_END(cdrzoo_part, array);
inline constexpr std::size_t kBlockSize = CDRZOO_FIELD_END(cdrzoo_block, feature_name_bytes);
inline constexpr std::size_t kEntitiesSize = CDRZOO_FIELD_END(cdrzoo_entities, blocks);
inline constexpr std::size_t kColumnSize = CDRZOO_FIELD_END(cdrzoo_column, array);
inline constexpr std::size_t kViewSize = CDRZOO_FIELD_END(cdrzoo_view, target_mask);
inline constexpr std::size_t kValueSize = CDRZOO_FIELD_END(cdrzoo_value, list);
inline constexpr std::size_t kProblemSize = CDRZOO_FIELD_END(cdrzoo_problem, target_unit);
inline constexpr std::size_t kWriterSize = CDRZOO_FIELD_END(cdrzoo_state_writer, text);
inline constexpr std::size_t kReaderSize = CDRZOO_FIELD_END(cdrzoo_state_reader, text);
inline constexpr std::size_t kHostSize = CDRZOO_FIELD_END(cdrzoo_host, extension);
inline constexpr std::size_t kCallSize = CDRZOO_FIELD_END(cdrzoo_call, scratch_dir);
inline constexpr std::size_t kFitInSize = CDRZOO_FIELD_END(cdrzoo_fit_in, unlabelled_target);
inline constexpr std::size_t kPredictOutSize = CDRZOO_FIELD_END(cdrzoo_predict_out, row_status);
inline constexpr std::size_t kEmbedOutSize = CDRZOO_FIELD_END(cdrzoo_embed_out, dim);
// NOLINTEND(bugprone-sizeof-expression)

/// \throws Error(E_ARGUMENT) unless p is there and as large as the first release.
template <class T>
const T& require(const T* p, std::size_t first_release_size, const char* what) {
  if (p == nullptr) throw Error(CDRZOO_E_ARGUMENT, std::string(what) + " is missing");
  if (p->size < first_release_size) {
    throw Error(CDRZOO_E_ARGUMENT, std::string(what) + " has " + std::to_string(p->size) + " bytes, at least " +
                                       std::to_string(first_release_size) + " were expected");
  }
  return *p;
}

}  // namespace detail

// ---- random numbers -------------------------------------------------------------------------------------------------

/// A cursor over one stream of a counter-based generator. Two cursors with one seed and stream give the same numbers.
/// normal() uses the machine's log and cos, so its last bits may differ between C libraries; the rest is exact.
class Random {
 public:
  /// The generator of cdrzoo/random.h, without a host.
  Random(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}
  /// The host's generator, keyed by the call's seed.
  Random(cdrzoo_call* call, std::uint64_t stream) : call_(call), stream_(stream) {}

  [[nodiscard]] std::uint64_t u64() {
    const std::uint64_t index = index_++;
    return call_ != nullptr ? call_->host->random_u64(call_, stream_, index) : cdrzoo_random_u64(seed_, stream_, index);
  }
  /// In [0, 1), 53 bits.
  [[nodiscard]] double uniform() { return static_cast<double>(u64() >> 11U) * 0x1.0p-53; }
  [[nodiscard]] double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Mean 0, standard deviation 1 (Box-Muller, both values used).
  [[nodiscard]] double normal() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    const double angle = 6.283185307179586476925 * uniform();
    spare_ = radius * std::sin(angle);
    has_spare_ = true;
    return radius * std::cos(angle);
  }
  /// In [0, n), without bias (Lemire 2019). n > 0.
  [[nodiscard]] std::uint64_t below(std::uint64_t n) {
    __extension__ using Wide = unsigned __int128;
    Wide product = static_cast<Wide>(u64()) * n;
    if (static_cast<std::uint64_t>(product) < n) {
      const std::uint64_t threshold = (0 - n) % n;
      while (static_cast<std::uint64_t>(product) < threshold) product = static_cast<Wide>(u64()) * n;
    }
    return static_cast<std::uint64_t>(product >> 64U);
  }
  /// Fisher-Yates, from the back.
  template <class T>
  void shuffle(std::vector<T>& values) {
    for (std::size_t i = values.size(); i > 1; --i)
      std::swap(values[i - 1], values[static_cast<std::size_t>(below(i))]);
  }
  /// 0 .. n-1 in random order.
  [[nodiscard]] std::vector<std::int64_t> permutation(std::int64_t n) {
    std::vector<std::int64_t> values(static_cast<std::size_t>(n));
    std::iota(values.begin(), values.end(), std::int64_t{0});
    shuffle(values);
    return values;
  }

 private:
  cdrzoo_call* call_ = nullptr;
  std::uint64_t seed_ = 0, stream_ = 0, index_ = 0;
  double spare_ = 0;
  bool has_spare_ = false;
};

// ---- views ----------------------------------------------------------------------------------------------------------

enum class Axis : std::int32_t { sample = CDRZOO_AXIS_SAMPLE, drug = CDRZOO_AXIS_DRUG, gene = CDRZOO_AXIS_GENE };
enum class Task : std::int32_t {
  regression = CDRZOO_TASK_REGRESSION,
  binary = CDRZOO_TASK_BINARY,
  expression = CDRZOO_TASK_EXPRESSION,
  expression_change = CDRZOO_TASK_EXPRESSION_CHANGE
};
enum class Column : std::int32_t {
  sample = CDRZOO_COLUMN_SAMPLE,
  drug = CDRZOO_COLUMN_DRUG,
  drug_b = CDRZOO_COLUMN_DRUG_B,
  control = CDRZOO_COLUMN_CONTROL,
  dose = CDRZOO_COLUMN_DOSE,
  time = CDRZOO_COLUMN_TIME,
  weight = CDRZOO_COLUMN_WEIGHT,
  domain = CDRZOO_COLUMN_DOMAIN,
  batch = CDRZOO_COLUMN_BATCH,
  context = CDRZOO_COLUMN_CONTEXT,
  reference = CDRZOO_COLUMN_REFERENCE,
  reference_control = CDRZOO_COLUMN_REFERENCE_CONTROL,
  reference_b = CDRZOO_COLUMN_REFERENCE_B,
  reference_b_control = CDRZOO_COLUMN_REFERENCE_B_CONTROL,
  reference_context = CDRZOO_COLUMN_REFERENCE_CONTEXT,
  reference_b_context = CDRZOO_COLUMN_REFERENCE_B_CONTEXT
};

[[nodiscard]] inline const char* name_of(Axis axis) {
  switch (axis) {
    case Axis::sample: return "sample";
    case Axis::drug: return "drug";
    case Axis::gene: return "gene";
  }
  return "unknown";
}
[[nodiscard]] inline const char* name_of(Column column) {
  static constexpr const char* kNames[] = {"?",
                                           "sample",
                                           "drug",
                                           "drug_b",
                                           "control",
                                           "dose",
                                           "time",
                                           "weight",
                                           "domain",
                                           "batch",
                                           "context",
                                           "reference",
                                           "reference_control",
                                           "reference_b",
                                           "reference_b_control",
                                           "reference_context",
                                           "reference_b_context"};
  const auto code = static_cast<std::int32_t>(column);
  return code >= 1 && code <= CDRZOO_COLUMN_REFERENCE_B_CONTEXT ? kNames[code] : "unknown";
}

/// One feature family of one kind of entity; the kinds below give it a form.
class Block {
 public:
  Block(const cdrzoo_block& block, std::int32_t kind, const char* kind_name)
      : block_(&block), what_("block \"" + std::string(detail::view(block.name)) + "\"") {
    if (block.kind != kind) throw Error(CDRZOO_E_UNSUPPORTED, what_ + " is not " + kind_name);
  }
  [[nodiscard]] std::int64_t rows() const { return block_->rows; }
  [[nodiscard]] std::int64_t width() const { return block_->width; }
  [[nodiscard]] std::string_view name() const { return detail::view(block_->name); }
  /// Content hash of the ordered feature vocabulary.
  [[nodiscard]] std::string_view space() const { return detail::view(block_->space); }
  /// Empty unless the card asks for feature names.
  [[nodiscard]] std::vector<std::string_view> feature_names() const {
    if (block_->feature_name_offsets.data == nullptr) return {};
    return texts(block_->feature_name_offsets, block_->feature_name_bytes, block_->width, "feature names");
  }

 protected:
  [[nodiscard]] const cdrzoo_array* find_part(std::int32_t role) const {
    const cdrzoo_array* found = nullptr;
    detail::for_each<cdrzoo_part>(block_->parts, detail::kPartSize, [&](const cdrzoo_part& part) {
      if (part.role == role) found = &part.array;
    });
    return found;
  }
  [[nodiscard]] const cdrzoo_array& part(std::int32_t role, const char* role_name) const {
    const cdrzoo_array* found = find_part(role);
    if (found == nullptr) throw Error(CDRZOO_E_ARGUMENT, what_ + " lacks its " + role_name);
    return *found;
  }
  /// Offsets [n+1] that begin at 0, never fall and end at most at \p limit (-1 = any).
  [[nodiscard]] Span<const std::int64_t> offsets(const cdrzoo_array& array, std::int64_t n, std::int64_t limit,
                                                 const std::string& name) const {
    const auto values = detail::span_of<std::int64_t>(array, what_ + ": " + name, n + 1);
    bool sound = values[0] == 0 && (limit < 0 || values[n] <= limit);
    for (std::int64_t i = 0; i < n && sound; ++i) sound = values[i] <= values[i + 1];
    if (!sound) throw Error(CDRZOO_E_ARGUMENT, what_ + ": " + name + " do not rise from 0 within their data");
    return values;
  }
  [[nodiscard]] std::vector<std::string_view> texts(const cdrzoo_array& offsets_array, const cdrzoo_array& bytes_array,
                                                    std::int64_t n, const std::string& name) const {
    const auto bytes = detail::span_of<std::uint8_t>(bytes_array, what_ + ": bytes of " + name);
    const auto at = offsets(offsets_array, n, bytes.size(), "offsets of " + name);
    std::vector<std::string_view> out;
    out.reserve(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) {
      out.emplace_back(reinterpret_cast<const char*>(bytes.data()) + at[i],
                       static_cast<std::size_t>(at[i + 1] - at[i]));
    }
    return out;
  }

  const cdrzoo_block* block_;
  std::string what_;
};

/// VALUES [rows, width], f32 or u8.
class DenseBlock : public Block {
 public:
  explicit DenseBlock(const cdrzoo_block& block) : Block(block, CDRZOO_BLOCK_DENSE, "dense") {
    array_ = &part(CDRZOO_PART_VALUES, "values");
    if (array_->dtype == CDRZOO_U8) {
      u8_ = detail::matrix_of<std::uint8_t>(*array_, what_, rows(), width());
    } else {
      f32_ = detail::matrix_of<float>(*array_, what_, rows(), width());
    }
  }
  [[nodiscard]] bool is_f32() const { return array_->dtype == CDRZOO_F32; }
  [[nodiscard]] bool has_nan() const { return (array_->flags & CDRZOO_ARRAY_HAS_NAN) != 0; }
  [[nodiscard]] const cdrzoo_array& array() const { return *array_; }

  /// \throws Error(E_UNSUPPORTED) for a block of bytes.
  [[nodiscard]] Matrix<const float> f32() const {
    if (!is_f32())
      throw Error(CDRZOO_E_UNSUPPORTED, what_ + " is u8, but f32 was expected: use copy_row() or to_f32()");
    return f32_;
  }
  /// \throws Error(E_UNSUPPORTED) for a block of floats.
  [[nodiscard]] Matrix<const std::uint8_t> u8() const {
    if (is_f32()) throw Error(CDRZOO_E_UNSUPPORTED, what_ + " is f32, but u8 was expected: use copy_row() or to_f32()");
    return u8_;
  }
  /// Row i where it lies. \throws Error(E_UNSUPPORTED) for a block of bytes.
  [[nodiscard]] Span<const float> row(std::int64_t i) const { return f32().row(i); }
  /// Row i as floats, whatever the dtype. \p out has room for width().
  void copy_row(std::int64_t i, float* out) const {
    if (is_f32()) {
      const auto values = f32_.row(i);
      std::copy(values.begin(), values.end(), out);
    } else {
      const auto values = u8_.row(i);
      std::transform(values.begin(), values.end(), out, [](std::uint8_t v) { return static_cast<float>(v); });
    }
  }
  /// All rows as floats, [rows, width] row-major.
  [[nodiscard]] std::vector<float> to_f32() const {
    std::vector<float> out(static_cast<std::size_t>(rows() * width()));
    for (std::int64_t i = 0; i < rows(); ++i) copy_row(i, out.data() + i * width());
    return out;
  }

 private:
  const cdrzoo_array* array_ = nullptr;
  Matrix<const float> f32_;
  Matrix<const std::uint8_t> u8_;
};

/// Sparse rows.
class CsrBlock : public Block {
 public:
  struct Row {
    Span<const std::int32_t> columns;
    Span<const float> values;
  };
  explicit CsrBlock(const cdrzoo_block& block) : Block(block, CDRZOO_BLOCK_CSR, "sparse") {
    values_ = detail::span_of<float>(part(CDRZOO_PART_VALUES, "values"), what_ + ": values");
    columns_ = detail::span_of<std::int32_t>(part(CDRZOO_PART_COLIDX, "columns"), what_ + ": columns", values_.size());
    rowptr_ = offsets(part(CDRZOO_PART_ROWPTR, "row offsets"), rows(), values_.size(), "row offsets");
  }
  [[nodiscard]] Row row(std::int64_t i) const {
    const std::int64_t n = rowptr_[i + 1] - rowptr_[i];
    return {{columns_.data() + rowptr_[i], n}, {values_.data() + rowptr_[i], n}};
  }

 private:
  Span<const float> values_;
  Span<const std::int32_t> columns_;
  Span<const std::int64_t> rowptr_;
};

/// Categories: a code per entity, -1 = unknown, and the text of each level.
class CodesBlock : public Block {
 public:
  explicit CodesBlock(const cdrzoo_block& block) : Block(block, CDRZOO_BLOCK_CODES, "categorical") {
    codes_ = detail::span_of<std::int32_t>(part(CDRZOO_PART_VALUES, "values"), what_, rows());
  }
  [[nodiscard]] Span<const std::int32_t> codes() const { return codes_; }
  [[nodiscard]] std::int32_t operator[](std::int64_t i) const { return codes_[i]; }
  [[nodiscard]] std::int64_t n_levels() const { return width(); }
  [[nodiscard]] std::vector<std::string_view> levels() const {
    return texts(part(CDRZOO_PART_OFFSETS, "offsets"), part(CDRZOO_PART_BYTES, "bytes"), width(), "levels");
  }

 private:
  Span<const std::int32_t> codes_;
};

/// One text per entity.
class TextBlock : public Block {
 public:
  explicit TextBlock(const cdrzoo_block& block) : Block(block, CDRZOO_BLOCK_UTF8, "text") {
    texts_ = texts(part(CDRZOO_PART_OFFSETS, "offsets"), part(CDRZOO_PART_BYTES, "bytes"), rows(), "texts");
  }
  [[nodiscard]] std::string_view operator[](std::int64_t i) const { return texts_[static_cast<std::size_t>(i)]; }

 private:
  std::vector<std::string_view> texts_;
};

/// One small graph. Edges count within the graph, and each bond stands in both directions.
struct Graph {
  std::int64_t n_nodes = 0;
  Matrix<const float> nodes;        ///< [n_nodes, width]
  Span<const std::int32_t> source;  ///< [n_edges]
  Span<const std::int32_t> target;  ///< [n_edges]
  Matrix<const float> edges;        ///< [n_edges, edge features]; 0 columns where there are none
  Matrix<const float> pairs;        ///< [n_nodes^2, pair features], row u * n_nodes + v; 0 columns where there are none
};

/// One graph per entity.
class GraphsBlock : public Block {
 public:
  explicit GraphsBlock(const cdrzoo_block& block) : Block(block, CDRZOO_BLOCK_GRAPHS, "graphs") {
    nodes_ = detail::matrix_of<float>(part(CDRZOO_PART_NODEFEAT, "nodes"), what_ + ": nodes", -1, width());
    nodeptr_ = offsets(part(CDRZOO_PART_NODEPTR, "node offsets"), rows(), nodes_.rows(), "node offsets");
    source_ = detail::span_of<std::int32_t>(part(CDRZOO_PART_EDGESRC, "edges"), what_ + ": edge sources");
    target_ =
        detail::span_of<std::int32_t>(part(CDRZOO_PART_EDGEDST, "edges"), what_ + ": edge targets", source_.size());
    edgeptr_ = offsets(part(CDRZOO_PART_EDGEPTR, "edge offsets"), rows(), source_.size(), "edge offsets");
    if (const cdrzoo_array* a = find_part(CDRZOO_PART_EDGEFEAT)) {
      edges_ = detail::matrix_of<float>(*a, what_ + ": edge features", source_.size());
    }
    if (const cdrzoo_array* a = find_part(CDRZOO_PART_PAIRFEAT)) {
      pairs_ = detail::matrix_of<float>(*a, what_ + ": pair features");
      pairptr_ = offsets(part(CDRZOO_PART_PAIRPTR, "pair offsets"), rows(), pairs_.rows(), "pair offsets");
    }
  }
  [[nodiscard]] std::int64_t n_edge_features() const { return edges_.cols(); }
  [[nodiscard]] std::int64_t n_pair_features() const { return pairs_.cols(); }
  [[nodiscard]] Graph graph(std::int64_t i) const {
    Graph g;
    g.n_nodes = nodeptr_[i + 1] - nodeptr_[i];
    g.nodes = rows_of(nodes_, nodeptr_[i], g.n_nodes);
    const std::int64_t n_edges = edgeptr_[i + 1] - edgeptr_[i];
    g.source = {source_.data() + edgeptr_[i], n_edges};
    g.target = {target_.data() + edgeptr_[i], n_edges};
    if (edges_.cols() != 0) g.edges = rows_of(edges_, edgeptr_[i], n_edges);
    if (pairs_.cols() != 0) g.pairs = rows_of(pairs_, pairptr_[i], pairptr_[i + 1] - pairptr_[i]);
    return g;
  }

 private:
  [[nodiscard]] static Matrix<const float> rows_of(const Matrix<const float>& m, std::int64_t first, std::int64_t n) {
    return {m.data() + first * m.stride(), n, m.cols(), m.stride()};
  }
  Matrix<const float> nodes_, edges_, pairs_;
  Span<const std::int64_t> nodeptr_, edgeptr_, pairptr_;
  Span<const std::int32_t> source_, target_;
};

/// The unique entities of one kind in a view. Exactly those that the view's observations refer to.
class Entities {
 public:
  explicit Entities(const cdrzoo_entities& entities)
      : entities_(&detail::require(&entities, detail::kEntitiesSize, "an entity table")) {}

  [[nodiscard]] Axis axis() const { return static_cast<Axis>(entities_->axis); }
  [[nodiscard]] std::int64_t size() const { return entities_->count; }
  /// Equal for the same entity in all views of one run; opaque otherwise.
  [[nodiscard]] Span<const std::int64_t> keys() const {
    return detail::span_of<std::int64_t>(entities_->key, std::string("the keys of the ") + name_of(axis()) + "s",
                                         size());
  }
  [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Each throws Error(E_UNSUPPORTED) where the block is absent or of another kind.
  [[nodiscard]] DenseBlock dense(std::string_view name) const { return DenseBlock(get(name)); }
  [[nodiscard]] CsrBlock csr(std::string_view name) const { return CsrBlock(get(name)); }
  [[nodiscard]] CodesBlock codes(std::string_view name) const { return CodesBlock(get(name)); }
  [[nodiscard]] TextBlock texts(std::string_view name) const { return TextBlock(get(name)); }
  [[nodiscard]] GraphsBlock graphs(std::string_view name) const { return GraphsBlock(get(name)); }

 private:
  [[nodiscard]] const cdrzoo_block* find(std::string_view name) const {
    const cdrzoo_block* found = nullptr;
    detail::for_each<cdrzoo_block>(entities_->blocks, detail::kBlockSize, [&](const cdrzoo_block& block) {
      if (detail::view(block.name) == name) found = &block;
    });
    return found;
  }
  [[nodiscard]] const cdrzoo_block& get(std::string_view name) const {
    const cdrzoo_block* block = find(name);
    if (block == nullptr) {
      std::string known;
      detail::for_each<cdrzoo_block>(entities_->blocks, detail::kBlockSize, [&](const cdrzoo_block& b) {
        known += (known.empty() ? "" : ", ") + std::string(detail::view(b.name));
      });
      throw Error(CDRZOO_E_UNSUPPORTED, std::string("there is no ") + name_of(axis()) + " block \"" +
                                            std::string(name) + "\" (there are: " + (known.empty() ? "none" : known) +
                                            ")");
    }
    if (block->rows != size()) {
      throw Error(CDRZOO_E_ARGUMENT, "block \"" + std::string(name) + "\" has " + std::to_string(block->rows) +
                                         " rows for " + std::to_string(size()) + " entities");
    }
    return *block;
  }

  const cdrzoo_entities* entities_;
};

/// The targets of a view by rows, whether they are stored dense or sparse: a sparse row becomes dense when it is asked
/// for.
class TargetRows {
 public:
  explicit TargetRows(Matrix<const float> dense) : dense_(dense) {}
  explicit TargetRows(const CsrBlock& sparse) : sparse_(sparse) {}

  [[nodiscard]] std::int64_t rows() const { return sparse_ ? sparse_->rows() : dense_.rows(); }
  [[nodiscard]] std::int64_t cols() const { return sparse_ ? sparse_->width() : dense_.cols(); }
  [[nodiscard]] bool is_sparse() const { return sparse_.has_value(); }
  /// \param out [cols()]
  void copy_row(std::int64_t i, float* out) const {
    if (!sparse_) {
      const auto values = dense_.row(i);
      std::copy(values.begin(), values.end(), out);
      return;
    }
    std::fill_n(out, cols(), 0.0F);
    const CsrBlock::Row row = sparse_->row(i);
    for (std::int64_t k = 0; k < row.columns.size(); ++k) out[row.columns[k]] = row.values[k];
  }
  /// Says that row i will be copied soon. Rows of targets larger than memory come from the disk, one fault after the
  /// other and each with megabytes around it: for rows in random order, say so of a whole mini-batch before its first
  /// copy_row. Rows in their order need none of this.
  void will_need(std::int64_t i) const {
    if (!sparse_) {
      sdk::will_need(dense_.row(i).data(), static_cast<std::size_t>(cols()) * sizeof(float));
      return;
    }
    const CsrBlock::Row row = sparse_->row(i);
    const auto count = static_cast<std::size_t>(row.columns.size());
    sdk::will_need(row.columns.data(), count * sizeof(std::int32_t));
    sdk::will_need(row.values.data(), count * sizeof(float));
  }

 private:
  Matrix<const float> dense_;
  std::optional<CsrBlock> sparse_;
};

/// A set of observations over entity tables.
class View {
 public:
  explicit View(const cdrzoo_view* view) : view_(&detail::require(view, detail::kViewSize, "a view")) {
    if (view->n_obs < 0) throw Error(CDRZOO_E_ARGUMENT, "a view has a negative number of observations");
  }

  [[nodiscard]] std::int64_t n_obs() const { return view_->n_obs; }
  [[nodiscard]] bool has(Axis axis) const { return find(axis) != nullptr; }
  [[nodiscard]] bool has(Column column) const { return find(column) != nullptr; }
  /// Each throws Error(E_UNSUPPORTED) where the view has no such table.
  [[nodiscard]] Entities samples() const { return entities(Axis::sample); }
  [[nodiscard]] Entities drugs() const { return entities(Axis::drug); }
  [[nodiscard]] Entities genes() const { return entities(Axis::gene); }
  [[nodiscard]] Entities entities(Axis axis) const {
    const cdrzoo_entities* found = find(axis);
    if (found == nullptr) throw Error(CDRZOO_E_UNSUPPORTED, std::string("the view has no ") + name_of(axis) + "s");
    return Entities(*found);
  }

  /// Observation columns, each [n_obs]; each throws Error(E_UNSUPPORTED) where the view has no such column.
  [[nodiscard]] Span<const std::int32_t> sample() const { return column<std::int32_t>(Column::sample); }
  [[nodiscard]] Span<const std::int32_t> drug() const { return column<std::int32_t>(Column::drug); }
  [[nodiscard]] Span<const std::int32_t> drug_b() const { return column<std::int32_t>(Column::drug_b); }
  [[nodiscard]] Span<const std::int32_t> control() const { return column<std::int32_t>(Column::control); }
  [[nodiscard]] Span<const float> dose() const { return column<float>(Column::dose); }  ///< log10 of molar
  [[nodiscard]] Span<const float> time() const { return column<float>(Column::time); }  ///< hours
  [[nodiscard]] Span<const float> weight() const { return column<float>(Column::weight); }
  [[nodiscard]] Span<const std::int32_t> domain() const { return column<std::int32_t>(Column::domain); }
  [[nodiscard]] Span<const std::int32_t> batch() const { return column<std::int32_t>(Column::batch); }
  /// Equal for the same context (cell line, patient) in all views of a run.
  [[nodiscard]] Span<const std::int32_t> context() const { return column<std::int32_t>(Column::context); }
  /// Queries only: indices of samples, -1 = none. A treated profile of drug() alone, taken elsewhere, ...
  [[nodiscard]] Span<const std::int32_t> reference() const { return column<std::int32_t>(Column::reference); }
  /// ... and the untreated profile of its context.
  [[nodiscard]] Span<const std::int32_t> reference_control() const {
    return column<std::int32_t>(Column::reference_control);
  }
  /// ... and its context, as context() has them.
  [[nodiscard]] Span<const std::int32_t> reference_context() const {
    return column<std::int32_t>(Column::reference_context);
  }
  /// The same for drug_b().
  [[nodiscard]] Span<const std::int32_t> reference_b() const { return column<std::int32_t>(Column::reference_b); }
  [[nodiscard]] Span<const std::int32_t> reference_b_control() const {
    return column<std::int32_t>(Column::reference_b_control);
  }
  [[nodiscard]] Span<const std::int32_t> reference_b_context() const {
    return column<std::int32_t>(Column::reference_b_context);
  }

  [[nodiscard]] bool labelled() const { return (view_->flags & CDRZOO_VIEW_LABELLED) != 0; }
  /// [n_obs, n_targets]. \throws Error(E_ARGUMENT) where labels are withheld, or sparse: only plugins whose card says
  /// accepts_sparse_targets get those, and read them by target_rows().
  [[nodiscard]] Matrix<const float> target() const {
    if (!labelled()) throw Error(CDRZOO_E_ARGUMENT, "the view has no labels");
    if (has_sparse_target()) throw Error(CDRZOO_E_ARGUMENT, "the targets are sparse: read them by target_rows()");
    return detail::matrix_of<float>(view_->target, "the target", n_obs());
  }
  [[nodiscard]] bool has_sparse_target() const {
    return CDRZOO_HAS(view_, cdrzoo_view, target_sparse) && view_->target_sparse.count > 0;
  }
  /// [n_obs, n_targets], stored either way. \throws Error(E_ARGUMENT) where labels are withheld.
  [[nodiscard]] TargetRows target_rows() const {
    if (!labelled() || !has_sparse_target()) return TargetRows(target());
    const cdrzoo_block* block = CDRZOO_AT(view_->target_sparse, cdrzoo_block, 0);
    const CsrBlock sparse(detail::require(block, detail::kBlockSize, "the sparse target"));
    if (sparse.rows() != n_obs()) {
      throw Error(CDRZOO_E_ARGUMENT, "the target has " + std::to_string(sparse.rows()) + " rows for " +
                                         std::to_string(n_obs()) + " observations");
    }
    return TargetRows(sparse);
  }
  [[nodiscard]] bool has_target_mask() const { return view_->target_mask.data != nullptr; }
  /// u8 [n_obs, n_targets], 1 = observed. Only where has_target_mask(): otherwise all are.
  [[nodiscard]] Matrix<const std::uint8_t> target_mask() const {
    return detail::matrix_of<std::uint8_t>(view_->target_mask, "the target mask", n_obs());
  }
  [[nodiscard]] const cdrzoo_view& raw() const { return *view_; }

 private:
  [[nodiscard]] const cdrzoo_entities* find(Axis axis) const {
    const cdrzoo_entities* found = nullptr;
    detail::for_each<cdrzoo_entities>(view_->entities, detail::kEntitiesSize, [&](const cdrzoo_entities& e) {
      if (e.axis == static_cast<std::int32_t>(axis)) found = &e;
    });
    return found;
  }
  [[nodiscard]] const cdrzoo_column* find(Column column) const {
    const cdrzoo_column* found = nullptr;
    detail::for_each<cdrzoo_column>(view_->columns, detail::kColumnSize, [&](const cdrzoo_column& c) {
      if (c.role == static_cast<std::int32_t>(column)) found = &c;
    });
    return found;
  }
  template <class T>
  [[nodiscard]] Span<const T> column(Column which) const {
    const cdrzoo_column* found = find(which);
    const std::string what = std::string("the observation column \"") + name_of(which) + "\"";
    if (found == nullptr) throw Error(CDRZOO_E_UNSUPPORTED, what + " is absent");
    return detail::span_of<T>(found->array, what, n_obs());
  }

  const cdrzoo_view* view_;
};

// ---- what a model is created with -----------------------------------------------------------------------------------

/// The problem that a model is built for. Owns its values, so a model may keep it.
struct Problem {
  struct BlockSpec {
    Axis axis;
    std::int32_t kind;  ///< CDRZOO_BLOCK_*
    std::string name, space;
    std::int64_t width;
  };
  Task task = Task::regression;
  std::int64_t n_targets = 1;
  std::string target_unit;
  std::vector<BlockSpec> blocks;
  std::vector<Column> columns;

  Problem() = default;
  explicit Problem(const cdrzoo_problem* problem) {
    const cdrzoo_problem& p = detail::require(problem, detail::kProblemSize, "the problem");
    task = static_cast<Task>(p.task);
    if (p.task < CDRZOO_TASK_REGRESSION || p.task > CDRZOO_TASK_EXPRESSION_CHANGE) {
      throw Error(CDRZOO_E_UNSUPPORTED, "the task " + std::to_string(p.task) + " is younger than this plugin");
    }
    n_targets = p.n_targets;
    target_unit = detail::view(p.target_unit);
    if (n_targets < 1) {
      throw Error(CDRZOO_E_ARGUMENT,
                  "the problem has " + std::to_string(n_targets) + " targets, at least 1 was expected");
    }
    detail::for_each<cdrzoo_entities>(p.schema, detail::kEntitiesSize, [&](const cdrzoo_entities& e) {
      detail::for_each<cdrzoo_block>(e.blocks, detail::kBlockSize, [&](const cdrzoo_block& b) {
        blocks.push_back({static_cast<Axis>(e.axis), b.kind, std::string(detail::view(b.name)),
                          std::string(detail::view(b.space)), b.width});
      });
    });
    detail::for_each<cdrzoo_column>(p.columns, detail::kColumnSize,
                                    [&](const cdrzoo_column& c) { columns.push_back(static_cast<Column>(c.role)); });
  }

  [[nodiscard]] bool has(Column column) const {
    return std::find(columns.begin(), columns.end(), column) != columns.end();
  }
  /// Null where there is none.
  [[nodiscard]] const BlockSpec* find(Axis axis, std::string_view name) const {
    for (const BlockSpec& block : blocks) {
      if (block.axis == axis && block.name == name) return &block;
    }
    return nullptr;
  }
  /// \throws Error(E_UNSUPPORTED)
  [[nodiscard]] const BlockSpec& block(Axis axis, std::string_view name) const {
    const BlockSpec* found = find(axis, name);
    if (found == nullptr) {
      throw Error(CDRZOO_E_UNSUPPORTED,
                  std::string("the data have no ") + name_of(axis) + " block \"" + std::string(name) + "\"");
    }
    return *found;
  }
};

/// The hyperparameters, resolved and validated by the host. Owns its values.
class Params {
 public:
  using Value = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>, std::vector<double>>;

  Params() = default;
  explicit Params(const cdrzoo_span& span) {
    detail::for_each<cdrzoo_value>(span, detail::kValueSize, [this](const cdrzoo_value& v) {
      std::string key(detail::view(v.key));
      switch (v.type) {
        case CDRZOO_VALUE_BOOL: values_.emplace_back(std::move(key), v.i != 0); break;
        case CDRZOO_VALUE_INT: values_.emplace_back(std::move(key), v.i); break;
        case CDRZOO_VALUE_REAL: values_.emplace_back(std::move(key), v.f); break;
        case CDRZOO_VALUE_STR: values_.emplace_back(std::move(key), std::string(detail::view(v.s))); break;
        case CDRZOO_VALUE_INTS: values_.emplace_back(std::move(key), list<std::int64_t>(v.list)); break;
        case CDRZOO_VALUE_REALS: values_.emplace_back(std::move(key), list<double>(v.list)); break;
        default: break;  // a younger type belongs to a younger card
      }
    });
  }

  [[nodiscard]] bool has(std::string_view key) const { return find(key) != nullptr; }
  /// Each throws Error(E_PARAM) for an absent key or a value of another type.
  [[nodiscard]] bool boolean(std::string_view key) const { return get<bool>(key, "a boolean"); }
  [[nodiscard]] std::int64_t integer(std::string_view key) const { return get<std::int64_t>(key, "an integer"); }
  /// An integer is a real, too.
  [[nodiscard]] double real(std::string_view key) const {
    const Value* value = find(key);
    if (value != nullptr && std::holds_alternative<std::int64_t>(*value)) {
      return static_cast<double>(std::get<std::int64_t>(*value));
    }
    return get<double>(key, "a real number");
  }
  [[nodiscard]] const std::string& text(std::string_view key) const { return get<std::string>(key, "a text"); }
  [[nodiscard]] const std::vector<std::int64_t>& integers(std::string_view key) const {
    return get<std::vector<std::int64_t>>(key, "a list of integers");
  }
  [[nodiscard]] const std::vector<double>& reals(std::string_view key) const {
    return get<std::vector<double>>(key, "a list of real numbers");
  }

 private:
  template <class T>
  [[nodiscard]] static std::vector<T> list(const cdrzoo_span& span) {
    std::vector<T> out;
    detail::for_each<T>(span, sizeof(T), [&out](const T& value) { out.push_back(value); });
    return out;
  }
  [[nodiscard]] const Value* find(std::string_view key) const {
    for (const auto& [name, value] : values_) {
      if (name == key) return &value;
    }
    return nullptr;
  }
  template <class T>
  [[nodiscard]] const T& get(std::string_view key, const char* type) const {
    const Value* value = find(key);
    if (value == nullptr) throw Error(CDRZOO_E_PARAM, "the parameter \"" + std::string(key) + "\" is missing");
    if (!std::holds_alternative<T>(*value)) {
      throw Error(CDRZOO_E_PARAM, "the parameter \"" + std::string(key) + "\" is not " + type);
    }
    return std::get<T>(*value);
  }

  std::vector<std::pair<std::string, Value>> values_;
};

// ---- state ----------------------------------------------------------------------------------------------------------

/// Receives a model's state as named arrays and texts. Every failure throws.
class StateWriter {
 public:
  explicit StateWriter(const cdrzoo_state_writer* writer)
      : writer_(&detail::require(writer, detail::kWriterSize, "the state writer")) {}

  /// Row-major elements; the host copies them. \throws Error: repeated name, size that does not fit the shape.
  template <class T>
  void tensor(std::string_view name, Span<const T> values, std::initializer_list<std::int64_t> shape) {
    cdrzoo_array array{};
    array.dtype = detail::dtype_code<T>();
    array.data = values.empty() ? nullptr : values.data();
    array.bytes = static_cast<std::uint64_t>(values.size()) * sizeof(T);
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) {
      if (array.rank == 4) throw Error(CDRZOO_E_INTERNAL, "state \"" + std::string(name) + "\" has more than 4 axes");
      array.shape[array.rank++] = extent;
      count *= extent;
    }
    if (count != values.size()) {
      throw Error(CDRZOO_E_INTERNAL, "state \"" + std::string(name) + "\" has " + std::to_string(values.size()) +
                                         " elements for the shape of " + std::to_string(count));
    }
    std::int64_t stride = 1;
    for (std::int32_t axis = array.rank - 1; axis >= 0; --axis) {
      array.stride[axis] = stride;
      stride *= array.shape[axis];
    }
    tensor(name, array);
  }
  template <class T>
  void tensor(std::string_view name, const std::vector<T>& values, std::initializer_list<std::int64_t> shape) {
    tensor(name, Span<const T>(values), shape);
  }
  /// A vector.
  template <class T>
  void tensor(std::string_view name, const std::vector<T>& values) {
    tensor(name, Span<const T>(values), {static_cast<std::int64_t>(values.size())});
  }
  /// A single value, as an array without axes.
  template <class T>
  std::enable_if_t<std::is_arithmetic_v<T>> scalar(std::string_view name, T value) {
    tensor(name, Span<const T>(&value, 1), {});
  }
  void tensor(std::string_view name, const cdrzoo_array& array) {
    check(writer_->tensor(writer_->ctx, detail::str(name), &array), name);
  }
  void text(std::string_view key, std::string_view value) {
    check(writer_->text(writer_->ctx, detail::str(key), detail::str(value)), key);
  }

 private:
  static void check(cdrzoo_status status, std::string_view name) {
    if (status != CDRZOO_OK) throw Error(status, "the state \"" + std::string(name) + "\" cannot be written");
  }
  const cdrzoo_state_writer* writer_;
};

/// Gives a state back. What does not fit throws Error(E_CORRUPT) that says what was expected.
class StateReader {
 public:
  explicit StateReader(const cdrzoo_state_reader* reader)
      : reader_(&detail::require(reader, detail::kReaderSize, "the state reader")) {}

  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (std::uint64_t i = 0; i < reader_->count; ++i) {
      cdrzoo_str name{};
      if (reader_->name_at(reader_->ctx, i, &name) != CDRZOO_OK) {
        throw Error(CDRZOO_E_CORRUPT, "the state does not tell its names");
      }
      out.emplace_back(detail::view(name));
    }
    return out;
  }
  [[nodiscard]] bool has(std::string_view name) const {
    cdrzoo_array array{};
    return reader_->tensor(reader_->ctx, detail::str(name), &array) == CDRZOO_OK;
  }
  /// As it is. \throws Error(E_CORRUPT) where there is none.
  [[nodiscard]] cdrzoo_array array(std::string_view name) const {
    cdrzoo_array array{};
    if (reader_->tensor(reader_->ctx, detail::str(name), &array) != CDRZOO_OK) {
      throw Error(CDRZOO_E_CORRUPT, "the state has no tensor \"" + std::string(name) + "\"");
    }
    return array;
  }
  /// The borrowed row-major elements of a tensor of this dtype and shape; -1 = any extent. \throws Error(E_CORRUPT)
  template <class T>
  [[nodiscard]] Span<const T> tensor(std::string_view name, std::initializer_list<std::int64_t> shape) const {
    const cdrzoo_array a = array(name);
    bool fits = a.dtype == detail::dtype_code<T>() && a.rank == static_cast<std::int32_t>(shape.size()) && a.rank <= 4;
    std::uint64_t bytes = sizeof(T);
    std::string expected = detail::dtype_text(detail::dtype_code<T>());
    expected += " [";
    std::int32_t axis = 0;
    for (const std::int64_t extent : shape) {
      if (axis > 0) expected += ", ";
      expected += extent < 0 ? "n" : std::to_string(extent);
      if (fits) {
        fits = a.shape[axis] >= 0 && (extent < 0 || a.shape[axis] == extent) &&
               !__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(a.shape[axis]), &bytes);
      }
      ++axis;
    }
    fits = fits && a.bytes >= bytes && (a.data != nullptr || bytes == 0);
    if (!fits) {
      throw Error(CDRZOO_E_CORRUPT, "the state tensor \"" + std::string(name) + "\" is " + detail::shape_text(a) +
                                        ", but " + expected + "] was expected");
    }
    return {static_cast<const T*>(a.data), static_cast<std::int64_t>(bytes / sizeof(T))};
  }
  /// As tensor(), copied.
  template <class T>
  [[nodiscard]] std::vector<T> vector(std::string_view name, std::initializer_list<std::int64_t> shape = {-1}) const {
    const Span<const T> values = tensor<T>(name, shape);
    return std::vector<T>(values.begin(), values.end());
  }
  template <class T>
  [[nodiscard]] T scalar(std::string_view name) const {
    return tensor<T>(name, {})[0];
  }
  [[nodiscard]] std::string text(std::string_view key) const {
    cdrzoo_str value{};
    if (reader_->text(reader_->ctx, detail::str(key), &value) != CDRZOO_OK) {
      throw Error(CDRZOO_E_CORRUPT, "the state has no text \"" + std::string(key) + "\"");
    }
    return std::string(detail::view(value));
  }

 private:
  const cdrzoo_state_reader* reader_;
};

// ---- the call -------------------------------------------------------------------------------------------------------

/// A file that the card asks for.
struct Asset {
  Span<const std::uint8_t> bytes;  ///< a read-only mapping, valid until the operation returns
  std::string path;
  std::optional<StateReader> tensors;  ///< where the file is safetensors
};

/// One operation: seed, threads, device, host services. May be used from any thread of the operation.
class Context {
 public:
  explicit Context(cdrzoo_call* call) : call_(call) {}

  [[nodiscard]] std::uint64_t seed() const { return call_->seed; }
  /// A ceiling for everything, BLAS and OpenMP included; at least 1.
  [[nodiscard]] int threads() const { return std::max(1, static_cast<int>(call_->threads)); }
  [[nodiscard]] bool deterministic() const { return call_->determinism != 0; }
  [[nodiscard]] bool cuda() const { return call_->device_kind == CDRZOO_DEVICE_CUDA; }
  [[nodiscard]] std::int32_t device_index() const { return call_->device_index; }
  [[nodiscard]] std::uint64_t memory_bytes() const { return call_->memory_bytes; }
  [[nodiscard]] std::string scratch_dir() const { return std::string(detail::view(call_->scratch_dir)); }

  [[nodiscard]] bool cancelled() const { return call_->host->cancelled(call_) != 0; }
  /// Leaves the operation when the host wants it to stop or its deadline has passed. Call it for every mini-batch.
  void check_cancelled() const {
    if (cancelled()) throw Cancelled{};
    if (call_->deadline_ns != 0) {
      timespec now{};
      clock_gettime(CLOCK_MONOTONIC, &now);
      const auto now_ns =
          static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
      if (now_ns >= call_->deadline_ns) throw Error(CDRZOO_E_DEADLINE, "the deadline has passed");
    }
  }

  /// Names the step for error texts: "epoch 3".
  void step(std::string text) { step_ = std::move(text); }
  [[nodiscard]] const std::string& step() const { return step_; }

  struct Metric {
    std::string_view key;
    double value;
  };
  /// \p done is monotone within a phase; \p total 0 = not known.
  void progress(std::string_view phase, std::uint64_t done, std::uint64_t total = 0,
                std::initializer_list<Metric> metrics = {}) const {
    std::vector<cdrzoo_value> values;
    values.reserve(metrics.size());
    for (const Metric& metric : metrics) {
      cdrzoo_value value{};
      value.size = sizeof value;
      value.type = CDRZOO_VALUE_REAL;
      value.key = detail::str(metric.key);
      value.f = metric.value;
      values.push_back(value);
    }
    call_->host->progress(call_, detail::str(phase), done, total,
                          {values.data(), values.size(), sizeof(cdrzoo_value), 0});
  }

  void debug(std::string_view message) const { log(CDRZOO_LOG_DEBUG, message); }
  void info(std::string_view message) const { log(CDRZOO_LOG_INFO, message); }
  void warn(std::string_view message) const { log(CDRZOO_LOG_WARN, message); }
  void log(std::int32_t level, std::string_view message) const { call_->host->log(call_, level, detail::str(message)); }

  /// Uninitialised memory that the host frees when the operation returns. \throws std::bad_alloc
  template <class T>
  [[nodiscard]] Span<T> alloc(std::int64_t count) const {
    static_assert(std::is_trivial_v<T>, "the host frees the memory without a destructor");
    std::uint64_t bytes = 0;
    if (count < 0 || __builtin_mul_overflow(static_cast<std::uint64_t>(count), sizeof(T), &bytes))
      throw std::bad_alloc();
    if (count == 0) return {};
    void* memory = call_->host->alloc(call_, bytes, std::max<std::uint64_t>(alignof(T), 64));
    if (memory == nullptr) throw std::bad_alloc();
    return {static_cast<T*>(memory), count};
  }

  /// A cursor over a stream of random numbers, named or numbered; a function of the call's seed.
  [[nodiscard]] Random random(std::string_view stream) const {
    return Random(call_, cdrzoo_stream_of(stream.data(), stream.size()));
  }
  [[nodiscard]] Random random(std::uint64_t stream) const { return Random(call_, stream); }

  /// \throws Error(E_ASSET) where the run has none.
  [[nodiscard]] Asset asset(std::string_view id) const {
    cdrzoo_asset raw{};
    raw.size = sizeof raw;
    const cdrzoo_status status = call_->host->asset(call_, detail::str(id), &raw);
    if (status != CDRZOO_OK) throw Error(status, "there is no asset \"" + std::string(id) + "\"");
    Asset asset{detail::span_of<std::uint8_t>(raw.bytes, "the asset \"" + std::string(id) + "\""),
                std::string(detail::view(raw.path)), std::nullopt};
    if (raw.tensors != nullptr) asset.tensors.emplace(raw.tensors);
    return asset;
  }
  [[nodiscard]] const void* extension(std::string_view id) const {
    return call_->host->extension(call_, detail::str(id));
  }
  [[nodiscard]] cdrzoo_call* raw() const { return call_; }

 private:
  cdrzoo_call* call_;
  std::string step_;
};

// ---- the model ------------------------------------------------------------------------------------------------------

struct FitData {
  View train;                             ///< labelled
  std::optional<View> valid;              ///< labelled rows for early stopping, where the card asks for them
  std::optional<View> unlabelled_target;  ///< samples of the target domain, where the card asks for them
};

/// Where predictions go. Each row must get finite values or a status.
class Predictions {
 public:
  Predictions(cdrzoo_predict_out* out, std::int64_t n_obs, std::int64_t n_targets)
      : mean_(out->mean, n_obs, n_targets, out->mean_stride),
        scale_(out->scale, out->scale != nullptr ? n_obs : 0, n_targets, out->scale_stride),
        row_status_(out->row_status, n_obs) {}

  [[nodiscard]] std::int64_t n_obs() const { return mean_.rows(); }
  /// [n_obs, n_targets]. Binary tasks: scores, larger = more positive.
  [[nodiscard]] Matrix<float> mean() const { return mean_; }
  [[nodiscard]] bool wants_scale() const { return scale_.data() != nullptr; }
  /// Predictive standard deviation, [n_obs, n_targets]; only where wants_scale().
  [[nodiscard]] Matrix<float> scale() const { return scale_; }
  /// The value of row i of a problem with one target.
  void set(std::int64_t i, double value) const { mean_(i, 0) = static_cast<float>(value); }
  /// The model cannot say anything about this row's sample or drug.
  void unsupported(std::int64_t i) const { fail(i, CDRZOO_ROW_UNSUPPORTED_ENTITY); }
  void numeric(std::int64_t i) const { fail(i, CDRZOO_ROW_NUMERIC); }

 private:
  void fail(std::int64_t i, std::int32_t status) const {
    row_status_[i] = status;
    const auto row = mean_.row(i);
    std::fill(row.begin(), row.end(), 0.0F);  // written entirely, also where nothing can be said
    if (wants_scale()) {
      const auto scale = scale_.row(i);
      std::fill(scale.begin(), scale.end(), 0.0F);
    }
  }
  Matrix<float> mean_, scale_;
  Span<std::int32_t> row_status_;
};

struct ModelInfo {
  std::int64_t n_parameters = 0;
  std::int64_t embed_dim_sample = 0;  ///< 0 = no sample embedding
  std::int64_t embed_dim_drug = 0;
  std::uint64_t bytes = 0;  ///< resident size, as far as the model knows
};

/// What a plugin author derives from. The class needs a constructor (const Problem&, const Params&), or the same with a
/// Context& in front; a value that the model cannot run with throws Error(E_PARAM), a problem Error(E_UNSUPPORTED).
///
/// The order of calls is the layer's matter: predict, save and embed arrive only after fit or load, and a second fit
/// arrives at a new object.
class Model {
 public:
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  virtual ~Model() = default;

  virtual void fit(Context& context, const FitData& data) = 0;
  virtual void predict(Context& context, const View& query, Predictions& out) const = 0;
  virtual void save(Context& context, StateWriter& state) const = 0;
  virtual void load(Context& context, StateReader& state) = 0;
  [[nodiscard]] virtual ModelInfo info() const = 0;
  /// Optional. \p out is [entities of the axis, info().embed_dim_*].
  virtual void embed(Context& context, Axis axis, const View& view, Matrix<float> out) const {
    (void)context, (void)axis, (void)view, (void)out;
    throw Error(CDRZOO_E_UNSUPPORTED, "the model has no embeddings");
  }
};

// ---- the boundary ---------------------------------------------------------------------------------------------------

namespace detail {

[[nodiscard]] inline bool usable(const cdrzoo_call* call) {
  return call != nullptr && call->size >= kCallSize && call->host != nullptr && call->host->size >= kHostSize;
}

inline void report(const Context& context, const char* operation, cdrzoo_status code, const char* message) noexcept {
  std::string_view text(message);
  const std::size_t line_end = text.find('\n');
  std::string where(operation);
  try {
    if (!context.step().empty()) where += ": " + context.step();
  } catch (...) {  // no memory for the step: the operation alone will do
  }
  // LibTorch's texts end in a stack trace: one line for the user, the rest for the log.
  cdrzoo_call* call = context.raw();
  call->host->fail(call, code, str(text.substr(0, line_end)), str(where));
  if (line_end != std::string_view::npos) call->host->log(call, CDRZOO_LOG_DEBUG, str(text));
}

}  // namespace detail

/// Runs f(context) and turns whatever it throws into a status: the only place where exceptions end.
template <class F>
[[nodiscard]] cdrzoo_status guarded(cdrzoo_call* call, const char* operation, F&& f) noexcept {
  if (!detail::usable(call)) return CDRZOO_E_ARGUMENT;
  Context context(call);
  try {
    std::forward<F>(f)(context);
    return CDRZOO_OK;
  } catch (const Cancelled&) {
    detail::report(context, operation, CDRZOO_E_CANCELLED, "cancelled");
    return CDRZOO_E_CANCELLED;
  } catch (const Error& e) {
    const cdrzoo_status code = e.code() < 0 ? e.code() : CDRZOO_E_INTERNAL;
    detail::report(context, operation, code, e.what());
    return code;
  } catch (const std::bad_alloc&) {
    detail::report(context, operation, CDRZOO_E_MEMORY, "no memory is left");
    return CDRZOO_E_MEMORY;
  } catch (const std::exception& e) {
    detail::report(context, operation, CDRZOO_E_INTERNAL, e.what());
    return CDRZOO_E_INTERNAL;
  } catch (...) {
    detail::report(context, operation, CDRZOO_E_INTERNAL, "an exception of unknown type");
    return CDRZOO_E_INTERNAL;
  }
}

namespace detail {

/// The C side's model: the object, what it was made with, and where it is in its life.
struct Holder {
  enum class State { fresh, fitted, failed };
  using Make = std::unique_ptr<Model> (*)(Context&, const Problem&, const Params&);

  Make make;
  Problem problem;
  Params params;
  std::unique_ptr<Model> model;
  State state = State::fresh;
};

[[nodiscard]] inline cdrzoo_model* opaque(Holder* holder) { return reinterpret_cast<cdrzoo_model*>(holder); }
[[nodiscard]] inline Holder& holder_of(cdrzoo_model* model) {
  if (model == nullptr) throw Error(CDRZOO_E_ARGUMENT, "the model is missing");
  return *reinterpret_cast<Holder*>(model);
}
[[nodiscard]] inline const Holder& fitted(const cdrzoo_model* model) {
  if (model == nullptr) throw Error(CDRZOO_E_ARGUMENT, "the model is missing");
  const auto& holder = *reinterpret_cast<const Holder*>(model);
  if (holder.state != Holder::State::fitted) {
    throw Error(CDRZOO_E_STATE, holder.state == Holder::State::fresh ? "the model has not been fitted"
                                                                     : "the model failed in fit; fit it again first");
  }
  return holder;
}

[[nodiscard]] inline std::unique_ptr<Holder> make_holder(Context& context, Holder::Make make,
                                                         const cdrzoo_problem* problem, const cdrzoo_span& params) {
  auto holder = std::make_unique<Holder>();
  holder->make = make;
  holder->problem = Problem(problem);
  holder->params = Params(params);
  holder->model = make(context, holder->problem, holder->params);
  return holder;
}

template <class T>
[[nodiscard]] std::unique_ptr<Model> make_model(Context& context, const Problem& problem, const Params& params) {
  if constexpr (std::is_constructible_v<T, Context&, const Problem&, const Params&>) {
    return std::make_unique<T>(context, problem, params);
  } else {
    return std::make_unique<T>(problem, params);
  }
}

template <class T>
cdrzoo_status create(cdrzoo_call* call, const cdrzoo_problem* problem, cdrzoo_span params,
                     cdrzoo_model** out) noexcept {
  if (out == nullptr) return CDRZOO_E_ARGUMENT;
  *out = nullptr;
  return guarded(call, "create", [&](Context& context) {
    *out = opaque(make_holder(context, &make_model<T>, problem, params).release());
  });
}

template <class T>
cdrzoo_status load(cdrzoo_call* call, const cdrzoo_problem* problem, cdrzoo_span params,
                   const cdrzoo_state_reader* reader, cdrzoo_model** out) noexcept {
  if (out == nullptr) return CDRZOO_E_ARGUMENT;
  *out = nullptr;
  return guarded(call, "load", [&](Context& context) {
    StateReader state(reader);
    auto holder = make_holder(context, &make_model<T>, problem, params);
    holder->model->load(context, state);
    holder->state = Holder::State::fitted;
    *out = opaque(holder.release());
  });
}

inline void destroy(cdrzoo_model* model) noexcept { delete reinterpret_cast<Holder*>(model); }

inline cdrzoo_status fit(cdrzoo_call* call, cdrzoo_model* model, const cdrzoo_fit_in* in) noexcept {
  return guarded(call, "fit", [&](Context& context) {
    Holder& holder = holder_of(model);
    const bool used = holder.state != Holder::State::fresh;
    holder.state = Holder::State::failed;  // until fit has returned
    const cdrzoo_fit_in& input = require(in, kFitInSize, "the input of fit");
    FitData data{View(input.train), std::nullopt, std::nullopt};
    if (!data.train.labelled()) throw Error(CDRZOO_E_ARGUMENT, "the training view has no labels");
    if (input.valid != nullptr) data.valid.emplace(input.valid);
    if (input.unlabelled_target != nullptr) data.unlabelled_target.emplace(input.unlabelled_target);
    if (used) holder.model = holder.make(context, holder.problem, holder.params);  // a second fit forgets the first
    holder.model->fit(context, data);
    holder.state = Holder::State::fitted;
  });
}

inline cdrzoo_status predict(cdrzoo_call* call, const cdrzoo_model* model, const cdrzoo_view* query,
                             cdrzoo_predict_out* out) noexcept {
  return guarded(call, "predict", [&](Context& context) {
    const Holder& holder = fitted(model);
    const View view(query);
    (void)require(out, kPredictOutSize, "the output of predict");
    const std::int64_t n_targets = holder.problem.n_targets;
    if (view.n_obs() > 0 && (out->mean == nullptr || out->row_status == nullptr || out->mean_stride < n_targets ||
                             (out->scale != nullptr && out->scale_stride < n_targets))) {
      throw Error(CDRZOO_E_ARGUMENT, "the output of predict lacks room for " + std::to_string(n_targets) + " targets");
    }
    Predictions predictions(out, view.n_obs(), n_targets);
    holder.model->predict(context, view, predictions);
  });
}

inline cdrzoo_status save(cdrzoo_call* call, const cdrzoo_model* model, const cdrzoo_state_writer* writer) noexcept {
  return guarded(call, "save", [&](Context& context) {
    const Holder& holder = fitted(model);
    StateWriter state(writer);
    holder.model->save(context, state);
  });
}

inline cdrzoo_status info(cdrzoo_call* call, const cdrzoo_model* model, cdrzoo_model_info* out) noexcept {
  return guarded(call, "info", [&](Context&) {
    (void)require(out, CDRZOO_FIELD_END(cdrzoo_model_info, bytes), "the output of info");
    if (model == nullptr) throw Error(CDRZOO_E_ARGUMENT, "the model is missing");
    const ModelInfo info = reinterpret_cast<const Holder*>(model)->model->info();
    out->size = CDRZOO_FIELD_END(cdrzoo_model_info, bytes);
    out->flags = 0;
    out->n_parameters = info.n_parameters;
    out->embed_dim_sample = info.embed_dim_sample;
    out->embed_dim_drug = info.embed_dim_drug;
    out->bytes = info.bytes;
  });
}

inline cdrzoo_status embed(cdrzoo_call* call, const cdrzoo_model* model, std::int32_t axis, const cdrzoo_view* view,
                           cdrzoo_embed_out* out) noexcept {
  return guarded(call, "embed", [&](Context& context) {
    const Holder& holder = fitted(model);
    const View entities(view);
    (void)require(out, kEmbedOutSize, "the output of embed");
    const std::int64_t rows = entities.entities(static_cast<Axis>(axis)).size();
    if (rows > 0 && (out->data == nullptr || out->dim < 1 || out->stride < out->dim)) {
      throw Error(CDRZOO_E_ARGUMENT, "the output of embed has no room");
    }
    holder.model->embed(context, static_cast<Axis>(axis), entities, {out->data, rows, out->dim, out->stride});
  });
}

template <class T>
inline constexpr bool kEmbeds = !std::is_same_v<decltype(&T::embed), decltype(&Model::embed)>;

template <class T>
inline constexpr cdrzoo_ops kOps = {sizeof(cdrzoo_ops), 0,     &create<T>, &destroy, &fit,
                                    &predict,           &save, &load<T>,   &info,    kEmbeds<T> ? &embed : nullptr};

}  // namespace detail

/// A model's card, as cdrzoo_add_plugin() puts it into "cards.h": ridge.card.json becomes kRidgeCard.
struct Card {
  cdrzoo_str id;
  cdrzoo_str text;
};

/// One model of the plugin, for CDRZOO_EXPORT_PLUGIN.
template <class T>
[[nodiscard]] constexpr cdrzoo_model_type model(const Card& card) {
  static_assert(std::is_base_of_v<Model, T>, "a model derives from cdrzoo::sdk::Model");
  return {sizeof(cdrzoo_model_type), 0, card.id, card.text, &detail::kOps<T>};
}

}  // namespace v0
}  // namespace cdrzoo::sdk

/// Defines the plugin's one exported symbol. Arguments: cdrzoo::sdk::model<T>(card), one per model.
#define CDRZOO_EXPORT_PLUGIN(...) CDRZOO_EXPORT_PLUGIN_NEEDS(0, __VA_ARGS__)
/// The same for a plugin that cannot work below an ABI minor.
#define CDRZOO_EXPORT_PLUGIN_NEEDS(needs_minor, ...)                                                          \
  extern "C" CDRZOO_EXPORT cdrzoo_status cdrzoo_plugin_v0(const cdrzoo_offer* offer, cdrzoo_answer* answer) { \
    static constexpr cdrzoo_model_type kModels[] = {__VA_ARGS__};                                             \
    return cdrzoo_answer_offer(offer, answer, (needs_minor), kModels, sizeof kModels / sizeof kModels[0]);    \
  }
