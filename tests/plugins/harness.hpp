// SPDX-License-Identifier: Apache-2.0
// A host in miniature: loads a plugin, builds small views, calls the operations. For tests of what a model computes;
// what every plugin must obey is tested by `cdrzoo verify`.
#pragma once

#include <cdrzoo/plugin.h>
#include <cdrzoo/random.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace cdrzoo::test {

inline cdrzoo_str str(const std::string& s) { return {s.data(), s.size()}; }
inline std::string text(cdrzoo_str s) { return {s.ptr, s.ptr + s.len}; }

template <typename T>
constexpr std::int32_t dtype_of() {
  if constexpr (std::is_same_v<T, float>) return CDRZOO_F32;
  if constexpr (std::is_same_v<T, double>) return CDRZOO_F64;
  if constexpr (std::is_same_v<T, std::int32_t>) return CDRZOO_I32;
  if constexpr (std::is_same_v<T, std::int64_t>) return CDRZOO_I64;
  if constexpr (std::is_same_v<T, std::uint8_t>) return CDRZOO_U8;
}

/// Borrows \p values as an array of rank 1 (cols = 0) or 2.
template <typename T>
cdrzoo_array array_of(const std::vector<T>& values, std::int64_t cols = 0) {
  cdrzoo_array a{};
  const auto n = static_cast<std::int64_t>(values.size());
  a.dtype = dtype_of<T>();
  a.rank = cols > 0 ? 2 : 1;
  a.data = values.empty() ? nullptr : values.data();
  a.bytes = values.size() * sizeof(T);
  a.shape[0] = cols > 0 ? n / cols : n;
  a.shape[1] = cols;
  a.stride[0] = cols > 0 ? cols : 1;
  a.stride[1] = cols > 0 ? 1 : 0;
  return a;
}

template <typename T>
cdrzoo_span span_of(const std::vector<T>& values) {
  return {values.data(), values.size(), static_cast<std::uint32_t>(sizeof(T)), 0};
}

/// One graph of a block: nodes [n, width] and edges [m, 1], pairs [n * n, 1] or empty.
struct SmallGraph {
  std::vector<float> nodes;
  std::vector<std::int32_t> source, target;
  std::vector<float> edges, pairs;
};

/// A feature block that owns its values.
struct Block {
  std::string name;
  std::int32_t kind = CDRZOO_BLOCK_DENSE;
  std::int64_t width = 0;
  std::vector<float> f32;
  std::vector<std::uint8_t> u8;
  std::vector<std::int32_t> codes;
  SmallGraph all_graphs;  // one after the other, edges counted within each
  std::vector<std::int64_t> node_begin, edge_begin, pair_begin;
  std::vector<std::string> feature_names = {};  ///< empty = none

  static Block dense(std::string name, std::int64_t width, std::vector<float> values) {
    return {std::move(name), CDRZOO_BLOCK_DENSE, width, std::move(values), {}, {}, {}, {}, {}, {}};
  }
  static Block bits(std::string name, std::int64_t width, std::vector<std::uint8_t> values) {
    return {std::move(name), CDRZOO_BLOCK_DENSE, width, {}, std::move(values), {}, {}, {}, {}, {}};
  }
  static Block categories(std::string name, std::int64_t levels, std::vector<std::int32_t> values) {
    return {std::move(name), CDRZOO_BLOCK_CODES, levels, {}, {}, std::move(values), {}, {}, {}, {}};
  }
  static Block graphs(std::string name, std::int64_t width, const std::vector<SmallGraph>& graphs) {
    Block b{std::move(name), CDRZOO_BLOCK_GRAPHS, width, {}, {}, {}, {}, {0}, {0}, {0}};
    const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    for (const SmallGraph& g : graphs) {
      append(b.all_graphs.nodes, g.nodes);
      append(b.all_graphs.source, g.source);
      append(b.all_graphs.target, g.target);
      append(b.all_graphs.edges, g.edges);
      append(b.all_graphs.pairs, g.pairs);
      b.node_begin.push_back(static_cast<std::int64_t>(b.all_graphs.nodes.size()) / width);
      b.edge_begin.push_back(static_cast<std::int64_t>(b.all_graphs.source.size()));
      b.pair_begin.push_back(static_cast<std::int64_t>(b.all_graphs.pairs.size()));
    }
    return b;
  }
};

/// One kind of entity: keys and blocks.
struct Entities {
  std::vector<std::int64_t> key;
  std::vector<Block> blocks;
};

/// What a view says, as plain vectors; `View` gives it the shape of the ABI.
struct Table {
  Entities samples, drugs;
  std::vector<std::int32_t> sample, drug;  ///< per observation
  std::vector<float> target;               ///< empty = withheld
  std::int64_t n_targets = 1;
  std::vector<std::uint8_t> mask;
  std::vector<std::int32_t> control;  ///< from here on, and `sample`: empty = no such column
  std::vector<float> dose, time;
  std::vector<std::int32_t> drug_b, context;  ///< drug_b: -1 = a single drug
  std::vector<std::int32_t> reference, reference_control, reference_b, reference_b_control;  ///< of queries; -1 = none
  std::vector<std::int32_t> reference_context, reference_b_context;
};

class View {
 public:
  explicit View(Table table, bool schema_only = false) : table_(std::move(table)) {
    add_entities(CDRZOO_AXIS_SAMPLE, table_.samples, schema_only);
    if (!table_.drugs.key.empty()) add_entities(CDRZOO_AXIS_DRUG, table_.drugs, schema_only);
    if (!table_.sample.empty() || table_.drug.empty()) add_column(CDRZOO_COLUMN_SAMPLE, table_.sample, schema_only);
    if (!table_.drugs.key.empty()) add_column(CDRZOO_COLUMN_DRUG, table_.drug, schema_only);
    if (!table_.control.empty()) add_column(CDRZOO_COLUMN_CONTROL, table_.control, schema_only);
    if (!table_.dose.empty()) add_column(CDRZOO_COLUMN_DOSE, table_.dose, schema_only);
    if (!table_.time.empty()) add_column(CDRZOO_COLUMN_TIME, table_.time, schema_only);
    for (const auto& [role, values] :
         {std::pair{CDRZOO_COLUMN_DRUG_B, &table_.drug_b}, std::pair{CDRZOO_COLUMN_CONTEXT, &table_.context},
          std::pair{CDRZOO_COLUMN_REFERENCE, &table_.reference},
          std::pair{CDRZOO_COLUMN_REFERENCE_CONTROL, &table_.reference_control},
          std::pair{CDRZOO_COLUMN_REFERENCE_B, &table_.reference_b},
          std::pair{CDRZOO_COLUMN_REFERENCE_B_CONTROL, &table_.reference_b_control},
          std::pair{CDRZOO_COLUMN_REFERENCE_CONTEXT, &table_.reference_context},
          std::pair{CDRZOO_COLUMN_REFERENCE_B_CONTEXT, &table_.reference_b_context}}) {
      if (!values->empty()) add_column(role, *values, schema_only);
    }
    view_.size = sizeof view_;
    view_.entities = span_of(entities_);
    view_.columns = span_of(columns_);
    view_.n_obs = static_cast<std::int64_t>(n_obs());
    if (!table_.target.empty()) {
      view_.flags = CDRZOO_VIEW_LABELLED;
      view_.target = array_of(table_.target, table_.n_targets);
    }
    if (!table_.mask.empty()) view_.target_mask = array_of(table_.mask, table_.n_targets);
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  [[nodiscard]] const cdrzoo_view* get() const { return &view_; }
  [[nodiscard]] cdrzoo_span entities() const { return span_of(entities_); }
  [[nodiscard]] cdrzoo_span columns() const { return span_of(columns_); }
  /// Tasks whose targets are treated profiles have no column of samples.
  [[nodiscard]] std::size_t n_obs() const { return std::max(table_.sample.size(), table_.drug.size()); }

 private:
  void add_entities(std::int32_t axis, const Entities& source, bool schema_only) {
    blocks_.emplace_back();
    for (const Block& b : source.blocks) {
      parts_.emplace_back();
      cdrzoo_part part{};
      part.size = sizeof part;
      part.role = CDRZOO_PART_VALUES;
      if (!b.codes.empty()) part.array = array_of(b.codes);
      if (!b.f32.empty()) part.array = array_of(b.f32, b.width);
      if (!b.u8.empty()) part.array = array_of(b.u8, b.width);
      if (!schema_only && b.kind == CDRZOO_BLOCK_GRAPHS) {
        const auto add = [&](std::int32_t role, const cdrzoo_array& array) {
          part.role = role;
          part.array = array;
          parts_.back().push_back(part);
        };
        add(CDRZOO_PART_NODEFEAT, array_of(b.all_graphs.nodes, b.width));
        add(CDRZOO_PART_NODEPTR, array_of(b.node_begin));
        add(CDRZOO_PART_EDGESRC, array_of(b.all_graphs.source));
        add(CDRZOO_PART_EDGEDST, array_of(b.all_graphs.target));
        add(CDRZOO_PART_EDGEPTR, array_of(b.edge_begin));
        add(CDRZOO_PART_EDGEFEAT, array_of(b.all_graphs.edges, 1));
        if (!b.all_graphs.pairs.empty()) {
          add(CDRZOO_PART_PAIRFEAT, array_of(b.all_graphs.pairs, 1));
          add(CDRZOO_PART_PAIRPTR, array_of(b.pair_begin));
        }
      } else if (!schema_only) {
        parts_.back().push_back(part);
      }
      cdrzoo_block block{};
      block.size = sizeof block;
      block.kind = b.kind;
      block.name = str(b.name);
      block.space = str(b.name);
      block.rows = schema_only ? 0 : static_cast<std::int64_t>(source.key.size());
      block.width = b.width;
      block.parts = span_of(parts_.back());
      if (!b.feature_names.empty()) {
        names_.emplace_back();
        auto& [offsets, bytes] = names_.back();
        offsets = {0};
        for (const auto& name : b.feature_names) {
          bytes.insert(bytes.end(), name.begin(), name.end());
          offsets.push_back(static_cast<std::int64_t>(bytes.size()));
        }
        block.feature_name_offsets = array_of(offsets);
        block.feature_name_bytes = array_of(bytes);
      }
      blocks_.back().push_back(block);
    }
    cdrzoo_entities e{};
    e.size = sizeof e;
    e.axis = axis;
    e.count = schema_only ? 0 : static_cast<std::int64_t>(source.key.size());
    if (!schema_only) e.key = array_of(source.key);
    e.blocks = span_of(blocks_.back());
    entities_.push_back(e);
  }
  template <typename T>
  void add_column(std::int32_t role, const std::vector<T>& values, bool schema_only) {
    cdrzoo_column c{};
    c.size = sizeof c;
    c.role = role;
    if (!schema_only) c.array = array_of(values);
    columns_.push_back(c);
  }

  Table table_;
  std::deque<std::vector<cdrzoo_part>> parts_;
  std::deque<std::vector<cdrzoo_block>> blocks_;
  std::deque<std::pair<std::vector<std::int64_t>, std::vector<std::uint8_t>>> names_;
  std::vector<cdrzoo_entities> entities_;
  std::vector<cdrzoo_column> columns_;
  cdrzoo_view view_{};
};

/// A saved state.
struct State {
  struct Tensor {
    cdrzoo_array array;
    std::vector<std::byte> bytes;
  };
  std::vector<std::string> order;
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> texts;

  cdrzoo_state_writer writer() {
    cdrzoo_state_writer w{};
    w.size = sizeof w;
    w.ctx = this;
    w.tensor = [](void* ctx, cdrzoo_str name, const cdrzoo_array* array) -> cdrzoo_status {
      auto& s = *static_cast<State*>(ctx);
      const auto* begin = static_cast<const std::byte*>(array->data);
      Tensor t{*array, {begin, begin + array->bytes}};
      if (!s.tensors.emplace(text(name), std::move(t)).second) return CDRZOO_E_ARGUMENT;
      s.order.push_back(text(name));
      return CDRZOO_OK;
    };
    w.text = [](void* ctx, cdrzoo_str key, cdrzoo_str value) -> cdrzoo_status {
      static_cast<State*>(ctx)->texts[text(key)] = text(value);
      return CDRZOO_OK;
    };
    return w;
  }
  cdrzoo_state_reader reader() {
    cdrzoo_state_reader r{};
    r.size = sizeof r;
    r.ctx = this;
    r.count = order.size();
    r.name_at = [](void* ctx, std::uint64_t i, cdrzoo_str* out) -> cdrzoo_status {
      *out = str(static_cast<State*>(ctx)->order.at(i));
      return CDRZOO_OK;
    };
    r.tensor = [](void* ctx, cdrzoo_str name, cdrzoo_array* out) -> cdrzoo_status {
      auto& known = static_cast<State*>(ctx)->tensors;
      const auto found = known.find(text(name));
      if (found == known.end()) return CDRZOO_E_CORRUPT;
      *out = found->second.array;
      out->data = found->second.bytes.empty() ? nullptr : found->second.bytes.data();
      return CDRZOO_OK;
    };
    r.text = [](void* ctx, cdrzoo_str key, cdrzoo_str* out) -> cdrzoo_status {
      auto& known = static_cast<State*>(ctx)->texts;
      const auto found = known.find(text(key));
      if (found == known.end()) return CDRZOO_E_CORRUPT;
      *out = str(found->second);
      return CDRZOO_OK;
    };
    return r;
  }
};

/// The host's side of one operation.
class Call {
 public:
  explicit Call(std::uint64_t seed = 0, int threads = 1) {
    host_.size = sizeof host_;
    host_.log = [](cdrzoo_call* c, std::int32_t, cdrzoo_str line) { self(c).log.push_back(text(line)); };
    host_.fail = [](cdrzoo_call* c, cdrzoo_status, cdrzoo_str why, cdrzoo_str) {
      if (self(c).message.empty()) self(c).message = text(why);
    };
    host_.cancelled = [](cdrzoo_call* c) -> std::int32_t { return self(c).checks++ >= self(c).cancel_after; };
    host_.progress = [](cdrzoo_call*, cdrzoo_str, std::uint64_t, std::uint64_t, cdrzoo_span) {};
    host_.alloc = [](cdrzoo_call* c, std::uint64_t bytes, std::uint64_t align) -> void* {
      self(c).memory_.push_back(std::make_unique<std::byte[]>(bytes + align));
      void* p = self(c).memory_.back().get();
      std::size_t space = bytes + align;
      return std::align(align, bytes, p, space);
    };
    host_.random_u64 = [](cdrzoo_call* c, std::uint64_t stream, std::uint64_t index) {
      return cdrzoo_random_u64(self(c).call_.seed, stream, index);
    };
    host_.asset = [](cdrzoo_call* c, cdrzoo_str id, cdrzoo_asset* out) -> cdrzoo_status {
      const auto found = self(c).assets.find(text(id));
      if (found == self(c).assets.end()) return CDRZOO_E_ASSET;
      self(c).readers_.push_back(found->second.tensors.reader());
      out->bytes = array_of(found->second.bytes);
      out->tensors = found->second.bytes.empty() ? &self(c).readers_.back() : nullptr;
      return CDRZOO_OK;
    };
    host_.extension = [](cdrzoo_call*, cdrzoo_str) -> const void* { return nullptr; };
    call_.size = sizeof call_;
    call_.host = &host_;
    call_.host_ctx = this;
    call_.seed = seed;
    call_.threads = threads;
    call_.device_kind = CDRZOO_DEVICE_CPU;
    call_.determinism = 1;
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  cdrzoo_call* get() { return &call_; }
  std::string message;  ///< of the first fail()
  std::uint64_t cancel_after = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t checks = 0;
  struct Asset {
    std::vector<std::uint8_t> bytes;  ///< of a text; empty where the file holds tensors
    State tensors;
  };
  std::map<std::string, Asset> assets;
  std::vector<std::string> log;

 private:
  static Call& self(cdrzoo_call* c) { return *static_cast<Call*>(c->host_ctx); }
  std::deque<cdrzoo_state_reader> readers_;
  cdrzoo_host host_{};
  cdrzoo_call call_{};
  std::vector<std::unique_ptr<std::byte[]>> memory_;
};

/// One parameter value. The harness hands over what the test names, so a test names every key of the card.
struct Param {
  std::string key;
  std::int32_t type;
  std::int64_t i;
  double f;
  std::string s;
  std::vector<std::int64_t> list;
};
inline Param integer(std::string key, std::int64_t v) { return {std::move(key), CDRZOO_VALUE_INT, v, 0, "", {}}; }
inline Param flag(std::string key, bool v) { return {std::move(key), CDRZOO_VALUE_BOOL, v ? 1 : 0, 0, "", {}}; }
inline Param real(std::string key, double v) { return {std::move(key), CDRZOO_VALUE_REAL, 0, v, "", {}}; }
inline Param choice(std::string key, std::string v) {
  return {std::move(key), CDRZOO_VALUE_STR, 0, 0, std::move(v), {}};
}
inline Param ints(std::string key, std::vector<std::int64_t> v) {
  return {std::move(key), CDRZOO_VALUE_INTS, 0, 0, "", std::move(v)};
}

/// A failed operation: its status and the first sentence that it reported.
struct Failure : std::runtime_error {
  Failure(cdrzoo_status s, const std::string& message) : std::runtime_error(message), status(s) {}
  cdrzoo_status status;
};

/// A model that lives in a plugin. Errors arrive as Failure.
class Model {
 public:
  Model(const std::string& plugin_name, const std::string& id, const Table& like, std::vector<Param> params,
        std::int32_t task = CDRZOO_TASK_REGRESSION)
      : params_(std::move(params)), schema_(like, /*schema_only=*/true) {
    find_type(plugin_name, id);
    problem_.size = sizeof problem_;
    problem_.task = task;
    problem_.n_targets = static_cast<std::int32_t>(like.n_targets);
    problem_.schema = schema_.entities();
    problem_.columns = schema_.columns();
    for (const Param& p : params_) {
      cdrzoo_value v{};
      v.size = sizeof v;
      v.type = p.type;
      v.key = str(p.key);
      v.i = p.i;
      v.f = p.f;
      v.s = str(p.s);
      v.list = span_of(p.list);
      values_.push_back(v);
    }
    Call call;
    check(call, ops().create(call.get(), &problem_, span_of(values_), &model_));
  }
  ~Model() { ops().destroy(model_); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  void fit(const View& train, const View* valid = nullptr, std::uint64_t seed = 0) {
    Call call(seed);
    fit(call, train, valid);
  }
  void fit(Call& call, const View& train, const View* valid = nullptr, const View* unlabelled = nullptr) {
    cdrzoo_fit_in in{};
    in.size = sizeof in;
    in.train = train.get();
    in.valid = valid == nullptr ? nullptr : valid->get();
    in.unlabelled_target = unlabelled == nullptr ? nullptr : unlabelled->get();
    check(call, ops().fit(call.get(), model_, &in));
  }
  [[nodiscard]] std::vector<float> predict(const View& query, std::int64_t n_targets = 1) {
    const auto n = query.n_obs();
    std::vector<float> mean(n * static_cast<std::size_t>(n_targets), std::numeric_limits<float>::quiet_NaN());
    std::vector<std::int32_t> row_status(n, CDRZOO_ROW_OK);
    cdrzoo_predict_out out{};
    out.size = sizeof out;
    out.mean = mean.data();
    out.mean_stride = n_targets;
    out.row_status = row_status.data();
    Call call;
    check(call, ops().predict(call.get(), model_, query.get(), &out));
    for (std::size_t i = 0; i < n; ++i) {
      if (row_status[i] != CDRZOO_ROW_OK) throw Failure(row_status[i], "row " + std::to_string(i) + " has a status");
    }
    return mean;
  }
  [[nodiscard]] State save() {
    State state;
    const cdrzoo_state_writer writer = state.writer();
    Call call;
    check(call, ops().save(call.get(), model_, &writer));
    return state;
  }
  /// Replaces the model by what the state holds.
  void load(State& state) {
    const cdrzoo_state_reader reader = state.reader();
    ops().destroy(model_);
    model_ = nullptr;
    Call call;
    check(call, ops().load(call.get(), &problem_, span_of(values_), &reader, &model_));
  }
  [[nodiscard]] cdrzoo_model_info info() {
    cdrzoo_model_info info{};
    info.size = sizeof info;
    Call call;
    check(call, ops().info(call.get(), model_, &info));
    return info;
  }
  [[nodiscard]] std::vector<float> embed(std::int32_t axis, const View& view, std::int64_t rows, std::int64_t dim) {
    std::vector<float> data(static_cast<std::size_t>(rows * dim), std::numeric_limits<float>::quiet_NaN());
    cdrzoo_embed_out out{};
    out.size = sizeof out;
    out.data = data.data();
    out.stride = dim;
    out.dim = dim;
    Call call;
    check(call, ops().embed(call.get(), model_, axis, view.get(), &out));
    return data;
  }

 private:
  void find_type(const std::string& plugin_name, const std::string& id) {
    const std::string path = std::string(CDRZOO_PLUGIN_DIR) + "/" + plugin_name + ".so";
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) throw std::runtime_error(dlerror());
    const auto entry = reinterpret_cast<cdrzoo_plugin_entry>(dlsym(handle, CDRZOO_PLUGIN_ENTRY_NAME));
    if (entry == nullptr) throw std::runtime_error(path + " exports no " CDRZOO_PLUGIN_ENTRY_NAME);
    cdrzoo_offer offer{};
    offer.size = sizeof offer;
    offer.host_minor_max = CDRZOO_ABI_MINOR;
    cdrzoo_answer answer{};
    answer.size = sizeof answer;
    if (entry(&offer, &answer) != CDRZOO_OK) throw std::runtime_error(path + " refuses");
    for (std::uint64_t i = 0; i < answer.models.count; ++i) {
      const auto* type = CDRZOO_AT(answer.models, cdrzoo_model_type, i);
      if (text(type->id) == id) type_ = type;
    }
    if (type_ == nullptr) throw std::runtime_error(path + " has no model " + id);
  }
  [[nodiscard]] const cdrzoo_ops& ops() const { return *type_->ops; }
  static void check(const Call& call, cdrzoo_status status) {
    if (status != CDRZOO_OK) throw Failure(status, call.message);
  }

  const cdrzoo_model_type* type_ = nullptr;
  std::vector<Param> params_;
  std::vector<cdrzoo_value> values_;
  View schema_;
  cdrzoo_problem problem_{};
  cdrzoo_model* model_ = nullptr;
};

}  // namespace cdrzoo::test
