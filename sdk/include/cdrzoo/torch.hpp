// SPDX-License-Identifier: Apache-2.0
/// The LibTorch layer of the SDK: views as tensors without a copy, guards for LibTorch's process-wide state,
/// mini-batches over pairs, early stopping, and module states as named arrays. Header-only; LibTorch 1.13 to 2.x.
///
///     void fit(Context& context, const FitData& data) {
///       const TorchGuard guard(context, Grad::on);           // threads, seed, dtype, determinism; restored at the end
///       const auto x = borrow(data.train.samples().dense("expression")).to(device_of(context));
///       const auto pairs = pairs_of(data.train);
///       Batches batches(context, data.train.n_obs(), 256);
///       for (std::uint64_t epoch = 0; epoch < epochs; ++epoch) {
///         for (const auto& rows : batches.epoch(epoch)) step(x, pairs.select(rows));
///       }
///     }
///
/// borrow() gives tensors over the host's read-only memory: they are valid until the operation returns, and writing to
/// them (in-place operations) crashes. What must live longer or change is cloned.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cdrzoo/plugin.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cdrzoo::sdk {
inline namespace v0 {

// ---- tensors --------------------------------------------------------------------------------------------------------

namespace detail {

[[nodiscard]] inline std::optional<torch::ScalarType> scalar_type(std::int32_t dtype) {
  switch (dtype) {
    case CDRZOO_F32: return torch::kFloat32;
    case CDRZOO_F64: return torch::kFloat64;
    case CDRZOO_I32: return torch::kInt32;
    case CDRZOO_I64: return torch::kInt64;
    case CDRZOO_U8: return torch::kUInt8;
    case CDRZOO_F16: return torch::kFloat16;
    case CDRZOO_BF16: return torch::kBFloat16;
    case CDRZOO_BOOL: return torch::kBool;
    default: return std::nullopt;  // u64 has no tensor type before LibTorch 2.3
  }
}

[[nodiscard]] inline std::optional<std::int32_t> dtype_of(torch::ScalarType type) {
  switch (type) {
    case torch::kFloat32: return CDRZOO_F32;
    case torch::kFloat64: return CDRZOO_F64;
    case torch::kInt32: return CDRZOO_I32;
    case torch::kInt64: return CDRZOO_I64;
    case torch::kUInt8: return CDRZOO_U8;
    case torch::kFloat16: return CDRZOO_F16;
    case torch::kBFloat16: return CDRZOO_BF16;
    case torch::kBool: return CDRZOO_BOOL;
    default: return std::nullopt;
  }
}

}  // namespace detail

/// Any array as a CPU tensor over the same memory. \throws Error(E_UNSUPPORTED) for u64.
[[nodiscard]] inline torch::Tensor borrow(const cdrzoo_array& array) {
  const auto type = detail::scalar_type(array.dtype);
  if (!type || array.rank < 0 || array.rank > 4) {
    throw Error(CDRZOO_E_UNSUPPORTED, "an array " + detail::shape_text(array) + " cannot become a tensor");
  }
  const auto rank = static_cast<std::size_t>(array.rank);
  const torch::IntArrayRef sizes(array.shape, rank);
  // No elements have no memory; LibTorch wants some.
  if (array.data == nullptr) return torch::empty(sizes, torch::TensorOptions().dtype(*type));
  return torch::from_blob(const_cast<void*>(array.data), sizes, torch::IntArrayRef(array.stride, rank),
                          torch::TensorOptions().dtype(*type));
}

/// f32 or u8 [rows, width], as it lies.
[[nodiscard]] inline torch::Tensor borrow(const DenseBlock& block) { return borrow(block.array()); }

/// [n], as it lies.
template <class T>
[[nodiscard]] torch::Tensor borrow(Span<const T> values) {
  cdrzoo_array array{};
  array.dtype = detail::dtype_code<T>();
  array.rank = 1;
  array.data = values.empty() ? nullptr : values.data();
  array.shape[0] = values.size();
  array.stride[0] = 1;
  return borrow(array);
}

/// [rows, cols], as it lies.
template <class T>
[[nodiscard]] torch::Tensor borrow(Matrix<const T> values) {
  cdrzoo_array array{};
  array.dtype = detail::dtype_code<T>();
  array.rank = 2;
  array.data = values.empty() ? nullptr : values.data();
  array.shape[0] = values.rows();
  array.shape[1] = values.cols();
  array.stride[0] = values.stride();
  array.stride[1] = 1;
  return borrow(array);
}

/// An index column as i64 [n], which every LibTorch accepts as an index: a copy.
[[nodiscard]] inline torch::Tensor index_of(Span<const std::int32_t> column) {
  return borrow(column).to(torch::kInt64);
}

/// f32 [rows, width] on the device, whatever the block's dtype: a copy only where dtype or device differ.
[[nodiscard]] inline torch::Tensor floats_of(const DenseBlock& block, torch::Device device = torch::kCPU) {
  return borrow(block).to(device, torch::kFloat32);
}

/// Copies a tensor [n_obs] or [n_obs, n_targets] of any float dtype and device into predictions or embeddings.
/// \throws Error(E_INTERNAL) for another shape.
inline void copy_to(const torch::Tensor& values, Matrix<float> out) {
  const torch::Tensor rows = values.detach().to(torch::kCPU, torch::kFloat32).contiguous();
  const bool fits = (rows.dim() == 1 && out.cols() == 1 && rows.size(0) == out.rows()) ||
                    (rows.dim() == 2 && rows.size(0) == out.rows() && rows.size(1) == out.cols());
  if (!fits) {
    throw Error(CDRZOO_E_INTERNAL, "the network gave " + std::to_string(rows.numel()) + " values where [" +
                                       std::to_string(out.rows()) + ", " + std::to_string(out.cols()) +
                                       "] were expected");
  }
  const auto* from = rows.data_ptr<float>();
  for (std::int64_t i = 0; i < out.rows(); ++i) std::copy_n(from + i * out.cols(), out.cols(), out.row(i).begin());
}

/// The device of the call. \throws Error(E_DEVICE) where it is not there.
[[nodiscard]] inline torch::Device device_of(const Context& context) {
  if (!context.cuda()) return torch::kCPU;
  if (!torch::cuda::is_available()) throw Error(CDRZOO_E_DEVICE, "this LibTorch finds no CUDA device");
  const auto n_devices = static_cast<std::int64_t>(torch::cuda::device_count());  // its type varies by release
  if (context.device_index() < 0 || context.device_index() >= n_devices) {
    throw Error(CDRZOO_E_DEVICE, "there is no CUDA device " + std::to_string(context.device_index()));
  }
  return {torch::kCUDA, static_cast<torch::DeviceIndex>(context.device_index())};
}

// ---- guards: LibTorch's state is the process's, so each restores what it found
// ----------------------------------------

/// Intra-op threads.
class ThreadGuard {
 public:
  explicit ThreadGuard(int threads) : before_(at::get_num_threads()) { at::set_num_threads(threads); }
  ThreadGuard(const ThreadGuard&) = delete;
  ThreadGuard& operator=(const ThreadGuard&) = delete;
  ~ThreadGuard() { at::set_num_threads(before_); }

 private:
  int before_;
};

/// The dtype of tensors that are created without one.
class DtypeGuard {
 public:
  explicit DtypeGuard(torch::ScalarType type) : before_(c10::get_default_dtype()) {
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(type));
  }
  DtypeGuard(const DtypeGuard&) = delete;
  DtypeGuard& operator=(const DtypeGuard&) = delete;
  ~DtypeGuard() { c10::set_default_dtype(before_); }

 private:
  caffe2::TypeMeta before_;
};

/// Refusal of operations that have no deterministic form.
class DeterminismGuard {
 public:
  explicit DeterminismGuard(bool deterministic)
      : algorithms_(at::globalContext().deterministicAlgorithms()),
        warn_only_(at::globalContext().deterministicAlgorithmsWarnOnly()),
        cudnn_(at::globalContext().deterministicCuDNN()),
        benchmark_(at::globalContext().benchmarkCuDNN()) {
    at::globalContext().setDeterministicAlgorithms(deterministic, false);
    at::globalContext().setDeterministicCuDNN(deterministic);
    if (deterministic) at::globalContext().setBenchmarkCuDNN(false);
  }
  DeterminismGuard(const DeterminismGuard&) = delete;
  DeterminismGuard& operator=(const DeterminismGuard&) = delete;
  ~DeterminismGuard() {
    at::globalContext().setDeterministicAlgorithms(algorithms_, warn_only_);
    at::globalContext().setDeterministicCuDNN(cudnn_);
    at::globalContext().setBenchmarkCuDNN(benchmark_);
  }

 private:
  bool algorithms_, warn_only_, cudnn_, benchmark_;
};

/// Seeds LibTorch's default generators; restores the CPU's state. (A CUDA generator stays seeded.)
class SeedGuard {
 public:
  explicit SeedGuard(std::uint64_t seed) : generator_(at::detail::getDefaultCPUGenerator()) {
    {
      const std::lock_guard<std::mutex> lock(generator_.mutex());
      before_ = generator_.get_state();
    }
    torch::manual_seed(seed);
  }
  SeedGuard(const SeedGuard&) = delete;
  SeedGuard& operator=(const SeedGuard&) = delete;
  ~SeedGuard() {
    const std::lock_guard<std::mutex> lock(generator_.mutex());
    generator_.set_state(before_);
  }

 private:
  at::Generator generator_;
  torch::Tensor before_;
};

enum class Grad { off, on };

/// All of the above as the call wants it, for the length of an operation: threads, float32, seed, determinism,
/// autograd.
class TorchGuard {
 public:
  TorchGuard(const Context& context, Grad grad)
      : threads_(context.threads()),
        dtype_(torch::kFloat32),
        determinism_(context.deterministic()),
        seed_(context.seed()),
        grad_(grad == Grad::on) {}

 private:
  ThreadGuard threads_;
  DtypeGuard dtype_;
  DeterminismGuard determinism_;
  SeedGuard seed_;
  torch::AutoGradMode grad_;
};

// ---- mini-batches over pairs
// ------------------------------------------------------------------------------------------

/// The index columns and the target of a view, on one device.
struct Pairs {
  torch::Tensor sample;  ///< i64 [n]; undefined where the view has no such column
  torch::Tensor drug;    ///< i64 [n]; undefined where the view has no such column
  torch::Tensor target;  ///< f32 [n, n_targets]; undefined where labels are withheld

  /// The rows of a mini-batch, i64 [b] on any device.
  [[nodiscard]] Pairs select(const torch::Tensor& rows) const {
    const auto pick = [&rows](const torch::Tensor& column) {
      return column.defined() ? column.index_select(0, rows.to(column.device())) : column;
    };
    return {pick(sample), pick(drug), pick(target)};
  }
};

[[nodiscard]] inline Pairs pairs_of(const View& view, torch::Device device = torch::kCPU) {
  Pairs pairs;
  if (view.has(Column::sample)) pairs.sample = index_of(view.sample()).to(device);
  if (view.has(Column::drug)) pairs.drug = index_of(view.drug()).to(device);
  if (view.labelled()) pairs.target = borrow(view.target()).to(device);
  return pairs;
}

/// The same, only the rows whose target is observed (problems of one target).
[[nodiscard]] inline Pairs observed_pairs_of(const View& view, torch::Device device = torch::kCPU) {
  Pairs pairs = pairs_of(view, device);
  if (!view.labelled() || !view.has_target_mask()) return pairs;
  const torch::Tensor observed = borrow(view.target_mask()).select(/*dim=*/1, 0).nonzero().squeeze(/*dim=*/1);
  return pairs.select(observed.to(device));
}

// ---- entities in the order and number in which rows use them
// ------------------------------------------------------------------------

/// The entities that a mini-batch refers to, each once.
struct Unique {
  torch::Tensor entity;  ///< i64 [u], ascending
  torch::Tensor index;   ///< i64 [n], of each row: its place in entity
  torch::Tensor count;   ///< i64 [u], rows that refer to it
};

/// \p index i64 [n], numbers of entities.
[[nodiscard]] inline Unique unique_of(const torch::Tensor& index) {
  auto [entity, inverse, count] =
      torch::_unique2(index, /*sorted=*/true, /*return_inverse=*/true, /*return_counts=*/true);
  return {std::move(entity), std::move(inverse), std::move(count)};
}

/// Renumbers \p index (i64 [n], values below n_entities) by first use. Gives the old numbers in the new order, i64
/// [used].
[[nodiscard]] inline torch::Tensor renumber_by_first_use(torch::Tensor& index, std::int64_t n_entities) {
  const torch::Tensor old_index = index.to(torch::kCPU);
  const auto old_number = old_index.accessor<std::int64_t, 1>();
  std::vector<std::int64_t> order;
  std::vector<std::int64_t> new_number(static_cast<std::size_t>(n_entities), -1);
  for (std::int64_t i = 0; i < old_number.size(0); ++i) {
    std::int64_t& number = new_number[static_cast<std::size_t>(old_number[i])];
    if (number >= 0) continue;
    number = static_cast<std::int64_t>(order.size());
    order.push_back(old_number[i]);
  }
  index = torch::tensor(new_number, torch::kInt64).index_select(0, old_index).to(index.device());
  return torch::tensor(order, torch::kInt64).to(index.device());
}

/// Reorders entities by their first use in the rows, so that a model does not depend on the order of the host's tables
/// (dropout and sums would); entities that no row uses go. \p index i64 [n] into the rows of \p features; both are
/// replaced.
inline void order_by_first_use(torch::Tensor& features, torch::Tensor& index) {
  features = features.index_select(0, renumber_by_first_use(index, features.size(0)).to(features.device()));
}

// ---- graphs
// -------------------------------------------------------------------------------------------------------------

/// The graphs of a block one after the other: node v of graph g is row node_begin[g] + v.
struct Graphs {
  torch::Tensor nodes;       ///< f32 [N, width]
  torch::Tensor node_begin;  ///< i64 [G+1]
  torch::Tensor graph;       ///< i64 [N], the graph of each node
  torch::Tensor source;      ///< i64 [E], rows of nodes
  torch::Tensor target;      ///< i64 [E], rows of nodes
  torch::Tensor edges;       ///< f32 [E, edge features]
  torch::Tensor edge_begin;  ///< i64 [G+1]
  torch::Tensor pairs;       ///< f32 [P, pair features], nodes x nodes rows per graph; P = 0 where there are none
  torch::Tensor pair_begin;  ///< i64 [G+1]

  [[nodiscard]] std::int64_t size() const { return node_begin.size(0) - 1; }

  /// The graphs \p which, i64 [g], in this order; one may stand there several times.
  [[nodiscard]] Graphs select(const torch::Tensor& which) const {
    const auto begins = [&which](const torch::Tensor& begin) {
      const torch::Tensor counts = begin.index_select(0, which + 1) - begin.index_select(0, which);
      return torch::cat({torch::zeros({1}, counts.options()), counts.cumsum(/*dim=*/0)});
    };
    const auto rows = [&which](const torch::Tensor& begin, const torch::Tensor& new_begin) {
      const std::int64_t n = which.size(0);
      const torch::Tensor counts = new_begin.narrow(0, 1, n) - new_begin.narrow(0, 0, n);
      const torch::Tensor shift = begin.index_select(0, which) - new_begin.narrow(0, 0, n);
      const torch::Tensor all = torch::repeat_interleave(shift, counts);
      return all + torch::arange(all.size(0), all.options());
    };
    Graphs out;
    out.node_begin = begins(node_begin);
    out.edge_begin = begins(edge_begin);
    out.pair_begin = begins(pair_begin);
    const torch::Tensor node = rows(node_begin, out.node_begin);
    const torch::Tensor edge = rows(edge_begin, out.edge_begin);
    const std::int64_t n = which.size(0);
    out.nodes = nodes.index_select(0, node);
    out.graph = torch::repeat_interleave(torch::arange(n, which.options()),
                                         out.node_begin.narrow(0, 1, n) - out.node_begin.narrow(0, 0, n));
    const torch::Tensor shift =
        torch::repeat_interleave(out.node_begin.narrow(0, 0, n) - node_begin.index_select(0, which),
                                 out.edge_begin.narrow(0, 1, n) - out.edge_begin.narrow(0, 0, n));
    out.source = source.index_select(0, edge) + shift;
    out.target = target.index_select(0, edge) + shift;
    out.edges = edges.index_select(0, edge);
    out.pairs = pairs.index_select(0, rows(pair_begin, out.pair_begin));
    return out;
  }

  [[nodiscard]] Graphs to(torch::Device device) const {
    return {nodes.to(device), node_begin.to(device), graph.to(device), source.to(device),    target.to(device),
            edges.to(device), edge_begin.to(device), pairs.to(device), pair_begin.to(device)};
  }
};

/// A copy on the CPU.
[[nodiscard]] inline Graphs graphs_of(const GraphsBlock& block) {
  std::vector<std::int64_t> node_begin{0}, edge_begin{0}, pair_begin{0};
  std::vector<torch::Tensor> nodes, source, target, edges, pairs, graph;
  for (std::int64_t i = 0; i < block.rows(); ++i) {
    const Graph g = block.graph(i);
    nodes.push_back(borrow(g.nodes));
    source.push_back(borrow(g.source).to(torch::kInt64) + node_begin.back());
    target.push_back(borrow(g.target).to(torch::kInt64) + node_begin.back());
    edges.push_back(g.edges.cols() != 0 ? borrow(g.edges) : torch::empty({g.source.size(), 0}));
    pairs.push_back(g.pairs.cols() != 0 ? borrow(g.pairs) : torch::empty({0, block.n_pair_features()}));
    graph.push_back(torch::full({g.n_nodes}, i, torch::kInt64));
    node_begin.push_back(node_begin.back() + g.n_nodes);
    edge_begin.push_back(edge_begin.back() + g.source.size());
    pair_begin.push_back(pair_begin.back() + pairs.back().size(0));
  }
  const auto joined = [](const std::vector<torch::Tensor>& parts, const torch::Tensor& none) {
    return parts.empty() ? none : torch::cat(parts);
  };
  const auto begins = [](const std::vector<std::int64_t>& begin) { return torch::tensor(begin, torch::kInt64); };
  const torch::Tensor no_index = torch::empty({0}, torch::kInt64);
  return {joined(nodes, torch::empty({0, block.width()})),
          begins(node_begin),
          joined(graph, no_index),
          joined(source, no_index),
          joined(target, no_index),
          joined(edges, torch::empty({0, block.n_edge_features()})),
          begins(edge_begin),
          joined(pairs, torch::empty({0, block.n_pair_features()})),
          begins(pair_begin)};
}

/// Mini-batches over the rows 0 .. n-1: every row once per epoch, shuffled by the call's counter-based generator, so
/// the order is a function of seed, epoch and n alone. Asks for cancellation before each batch.
class Batches {
 public:
  struct Options {
    bool shuffle = true;
    /// A last batch with fewer rows joins the one before it (batch normalisation cannot train on a single row).
    std::int64_t min_rows = 1;
    std::string_view stream = "batches";
  };

  Batches(const Context& context, std::int64_t n, std::int64_t batch_size)
      : Batches(context, n, batch_size, Options()) {}
  /// \throws Error(E_PARAM) for a batch size below 1.
  Batches(const Context& context, std::int64_t n, std::int64_t batch_size, const Options& options)
      : context_(&context),
        n_(n),
        batch_size_(batch_size),
        shuffle_(options.shuffle),
        stream_(cdrzoo_stream_of(options.stream.data(), options.stream.size())) {
    if (batch_size < 1) {
      throw Error(CDRZOO_E_PARAM, "the batch size is " + std::to_string(batch_size) + ", at least 1 was expected");
    }
    n_batches_ = (n + batch_size - 1) / batch_size;
    if (n_batches_ > 1 && n - (n_batches_ - 1) * batch_size < options.min_rows) --n_batches_;
  }

  [[nodiscard]] std::int64_t per_epoch() const { return n_batches_; }

  class Iterator {
   public:
    Iterator(const Batches* batches, torch::Tensor order, std::int64_t batch)
        : batches_(batches), order_(std::move(order)), batch_(batch) {}
    /// Row numbers, i64 [b] on the CPU.
    [[nodiscard]] torch::Tensor operator*() const {
      batches_->context_->check_cancelled();
      const std::int64_t first = batch_ * batches_->batch_size_;
      const std::int64_t end = batch_ + 1 == batches_->n_batches_ ? batches_->n_ : first + batches_->batch_size_;
      return order_.narrow(0, first, end - first);
    }
    Iterator& operator++() {
      ++batch_;
      return *this;
    }
    [[nodiscard]] bool operator!=(const Iterator& other) const { return batch_ != other.batch_; }

   private:
    const Batches* batches_;
    torch::Tensor order_;
    std::int64_t batch_;
  };

  class Epoch {
   public:
    Epoch(const Batches* batches, torch::Tensor order) : batches_(batches), order_(std::move(order)) {}
    [[nodiscard]] Iterator begin() const { return {batches_, order_, 0}; }
    [[nodiscard]] Iterator end() const { return {batches_, order_, batches_->n_batches_}; }

   private:
    const Batches* batches_;
    torch::Tensor order_;
  };

  /// The result refers to this object.
  [[nodiscard]] Epoch epoch(std::uint64_t epoch) const& {
    if (!shuffle_) return {this, torch::arange(n_, torch::kInt64)};
    // Each epoch is a stream of its own: its order does not depend on how many epochs ran before.
    std::vector<std::int64_t> order = context_->random(stream_ + epoch).permutation(n_);
    return {this, torch::tensor(order, torch::kInt64)};
  }
  Epoch epoch(std::uint64_t) && = delete;  // a range-for over a temporary would outlive it

 private:
  const Context* context_;
  std::int64_t n_, batch_size_, n_batches_ = 0;
  bool shuffle_;
  std::uint64_t stream_;
};

// ---- module states
// ------------------------------------------------------------------------------------------------------

/// Parameters and buffers under their state-dict keys, in the order of the modules.
[[nodiscard]] inline std::vector<std::pair<std::string, torch::Tensor>> state_of(const torch::nn::Module& module) {
  std::vector<std::pair<std::string, torch::Tensor>> state;
  for (const auto& item : module.named_parameters()) {
    if (item.value().defined()) state.emplace_back(item.key(), item.value());
  }
  for (const auto& item : module.named_buffers()) {
    if (item.value().defined()) state.emplace_back(item.key(), item.value());
  }
  return state;
}

[[nodiscard]] inline std::int64_t n_parameters(const torch::nn::Module& module) {
  std::int64_t n = 0;
  for (const auto& parameter : module.parameters()) n += parameter.numel();
  return n;
}

/// Writes a tensor of rank 0 to 4 from any device.
inline void save_tensor(StateWriter& state, const std::string& name, const torch::Tensor& tensor) {
  const torch::Tensor values = tensor.detach().to(torch::kCPU).contiguous();
  const auto dtype = detail::dtype_of(values.scalar_type());
  if (!dtype || values.dim() > 4) {
    throw Error(CDRZOO_E_INTERNAL, "the tensor \"" + name + "\" has a dtype or rank that a state cannot hold");
  }
  cdrzoo_array array{};
  array.dtype = *dtype;
  array.rank = static_cast<std::int32_t>(values.dim());
  array.data = values.numel() == 0 ? nullptr : values.data_ptr();
  array.bytes = static_cast<std::uint64_t>(values.numel()) * static_cast<std::uint64_t>(values.element_size());
  std::int64_t stride = 1;
  for (std::int32_t axis = array.rank - 1; axis >= 0; --axis) {
    array.shape[axis] = values.size(axis);
    array.stride[axis] = stride;
    stride *= array.shape[axis];
  }
  state.tensor(name, array);
}

/// Writes a module under its state-dict keys, each behind the prefix ("encoder.").
inline void save_module(StateWriter& state, const torch::nn::Module& module, const std::string& prefix = "") {
  for (const auto& [key, tensor] : state_of(module)) save_tensor(state, prefix + key, tensor);
}

namespace detail {

/// Copies into every parameter and buffer what \p find(name) gives: a tensor, undefined for none.
template <class Find>
void fill_module(torch::nn::Module& module, const std::string& prefix, const Find& find) {
  const torch::NoGradGuard no_grad;
  for (auto& [key, tensor] : state_of(module)) {
    const std::string name = prefix + key;
    const torch::Tensor values = find(name);
    if (!values.defined()) throw Error(CDRZOO_E_CORRUPT, "the state has no tensor \"" + name + "\"");
    if (values.scalar_type() != tensor.scalar_type() || values.sizes() != tensor.sizes()) {
      const auto text = [](const torch::Tensor& t) {
        std::string shape = std::string(c10::toString(t.scalar_type())) + " [";
        for (std::int64_t axis = 0; axis < t.dim(); ++axis)
          shape += (axis == 0 ? "" : ", ") + std::to_string(t.size(axis));
        return shape + "]";
      };
      throw Error(CDRZOO_E_CORRUPT,
                  "the state tensor \"" + name + "\" is " + text(values) + ", but " + text(tensor) + " was expected");
    }
    tensor.copy_(values);
  }
}

}  // namespace detail

/// Fills a module from a state, whose further tensors are ignored.
/// \throws Error(E_CORRUPT) for a key that is absent or has another shape or dtype.
inline void load_module(const StateReader& state, torch::nn::Module& module, const std::string& prefix = "") {
  detail::fill_module(module, prefix, [&state](const std::string& name) {
    return state.has(name) ? borrow(state.array(name)) : torch::Tensor();
  });
}

// ---- early stopping
// -----------------------------------------------------------------------------------------------------

/// Area under the receiver operating characteristic of scores for labels 0 and 1, ties counted half: what models watch
/// that choose an epoch by it. NaN where one class is missing or a score is not finite.
[[nodiscard]] inline double auroc(const std::vector<float>& scores, const std::vector<float>& labels) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  std::vector<std::size_t> order(scores.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (!std::isfinite(scores[i])) return kNone;
    order[i] = i;
  }
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });
  double below = 0;  // negatives with a smaller score
  double wins = 0;   // pairs of a positive and a smaller negative, ties half
  double positives = 0;
  for (std::size_t i = 0; i < order.size();) {
    double tied_positives = 0;
    double tied_negatives = 0;
    std::size_t j = i;
    for (; j < order.size() && scores[order[j]] == scores[order[i]]; ++j)
      (labels[order[j]] > 0.5F ? tied_positives : tied_negatives) += 1;
    wins += tied_positives * (below + 0.5 * tied_negatives);
    below += tied_negatives;
    positives += tied_positives;
    i = j;
  }
  return positives > 0 && below > 0 ? wins / (positives * below) : kNone;
}

/// Watches a loss (smaller is better) and keeps the best weights.
///
///     EarlyStopping stop(10, 0.0);
///     for (...) { train(); if (stop.update(validation_loss, *net)) break; }
///     stop.restore(*net);
class EarlyStopping {
 public:
  /// \param patience   updates without improvement until update() says stop; at least 1
  /// \param min_delta  an improvement is a loss below best - min_delta
  EarlyStopping(std::int64_t patience, double min_delta) : patience_(patience), min_delta_(min_delta) {
    if (patience < 1 || !(min_delta >= 0)) {
      throw Error(CDRZOO_E_PARAM, "early stopping needs a patience of at least 1 and a min_delta of at least 0");
    }
  }

  /// Call once per epoch; true = stop now. A loss that is not finite is no improvement.
  [[nodiscard]] bool update(double loss, const torch::nn::Module& module) {
    const std::int64_t now = n_updates_++;
    if (std::isfinite(loss) && (best_update_ < 0 || loss < best_loss_ - min_delta_)) {
      best_loss_ = loss;
      best_update_ = now;
      best_.clear();
      for (const auto& [key, tensor] : state_of(module)) best_.emplace_back(key, tensor.detach().clone());
      return false;
    }
    return now - best_update_ >= patience_;
  }

  [[nodiscard]] double best_loss() const { return best_loss_; }
  /// Counted from 0; -1 before the first improvement.
  [[nodiscard]] std::int64_t best_epoch() const { return best_update_; }

  /// Puts the best weights back. \throws Error(E_NUMERIC) where no loss was finite.
  void restore(torch::nn::Module& module) const {
    if (best_update_ < 0) throw Error(CDRZOO_E_NUMERIC, "no validation loss was finite: the training diverged");
    detail::fill_module(module, "", [this](const std::string& name) {
      for (const auto& [key, tensor] : best_) {
        if (key == name) return tensor;
      }
      return torch::Tensor();
    });
  }

 private:
  std::int64_t patience_;
  double min_delta_;
  std::int64_t n_updates_ = 0, best_update_ = -1;
  double best_loss_ = std::numeric_limits<double>::infinity();
  std::vector<std::pair<std::string, torch::Tensor>> best_;
};

}  // namespace v0
}  // namespace cdrzoo::sdk
