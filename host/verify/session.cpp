// SPDX-License-Identifier: Apache-2.0
#include "verify/session.hpp"

#include <cdrzoo/random.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "base/error.hpp"

namespace cdrzoo::verify {

namespace {

std::string text_of(cdrzoo_str text) { return text.ptr == nullptr ? "" : std::string(text.ptr, text.len); }

std::uint64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1000000000ULL + static_cast<std::uint64_t>(t.tv_nsec);
}

std::size_t dtype_bytes(std::int32_t dtype) {
  switch (dtype) {
    case CDRZOO_F64:
    case CDRZOO_I64:
    case CDRZOO_U64: return 8;
    case CDRZOO_F32:
    case CDRZOO_I32: return 4;
    case CDRZOO_F16:
    case CDRZOO_BF16: return 2;
    case CDRZOO_U8:
    case CDRZOO_BOOL: return 1;
    default: return 0;
  }
}

/// Copies an array row by row; empty shape and message if it is malformed.
std::string copy_array(const cdrzoo_array& array, State::Tensor& out) {
  const std::size_t width = dtype_bytes(array.dtype);
  if (width == 0) return "has the unknown dtype " + std::to_string(array.dtype);
  if (array.rank < 0 || array.rank > 4) return "has rank " + std::to_string(array.rank);
  std::int64_t elements = 1;
  for (int i = 0; i < array.rank; ++i) {
    if (array.shape[i] < 0) return "has a negative extent";
    elements *= array.shape[i];
    out.shape.push_back(array.shape[i]);
  }
  if (elements > 0 && array.data == nullptr) return "has elements and no data";
  std::int64_t dense = 1;
  for (int i = array.rank - 1; i >= 0; --i) {
    if (array.shape[i] > 1 && array.stride[i] != dense) return "is not row-major";
    dense *= array.shape[i];
  }
  out.dtype = array.dtype;
  const std::size_t bytes = static_cast<std::size_t>(elements) * width;
  if (array.bytes < bytes) return "claims fewer bytes than its shape needs";
  if (bytes > 0) {
    const auto* from = static_cast<const std::uint8_t*>(array.data);
    out.bytes.assign(from, from + bytes);
  }
  return "";
}

cdrzoo_status write_tensor(void* ctx, cdrzoo_str name, const cdrzoo_array* array) {
  auto& state = *static_cast<State*>(ctx);
  State::Tensor tensor;
  tensor.name = text_of(name);
  std::string wrong = tensor.name.empty() ? "has no name" : copy_array(*array, tensor);
  for (const auto& other : state.tensors) {
    if (other.name == tensor.name) wrong = "is written twice";
  }
  if (!wrong.empty()) {
    if (state.violation.empty()) state.violation = "tensor \"" + tensor.name + "\" " + wrong;
    return CDRZOO_E_ARGUMENT;
  }
  state.tensors.push_back(std::move(tensor));
  return CDRZOO_OK;
}

cdrzoo_status write_text(void* ctx, cdrzoo_str key, cdrzoo_str value) {
  auto& state = *static_cast<State*>(ctx);
  for (const auto& other : state.texts) {
    if (other.first == text_of(key)) {
      if (state.violation.empty()) state.violation = "text \"" + other.first + "\" is written twice";
      return CDRZOO_E_ARGUMENT;
    }
  }
  state.texts.emplace_back(text_of(key), text_of(value));
  return CDRZOO_OK;
}

/// A state in the memory of an arena, as a plugin sees it in load.
struct StoredState {
  const State* state = nullptr;
  std::vector<const void*> data;
};

cdrzoo_status read_name(void* ctx, std::uint64_t index, cdrzoo_str* out) {
  const auto& stored = *static_cast<const StoredState*>(ctx);
  if (index >= stored.state->tensors.size()) return CDRZOO_E_ARGUMENT;
  const auto& name = stored.state->tensors[index].name;
  *out = {name.data(), name.size()};
  return CDRZOO_OK;
}

cdrzoo_status read_tensor(void* ctx, cdrzoo_str name, cdrzoo_array* out) {
  const auto& stored = *static_cast<const StoredState*>(ctx);
  for (std::size_t i = 0; i < stored.state->tensors.size(); ++i) {
    const auto& tensor = stored.state->tensors[i];
    if (tensor.name != text_of(name)) continue;
    cdrzoo_array array{};
    array.dtype = tensor.dtype;
    array.rank = static_cast<std::int32_t>(tensor.shape.size());
    array.data = stored.data[i];
    array.bytes = tensor.bytes.size();
    std::int64_t stride = 1;
    for (std::size_t axis = tensor.shape.size(); axis-- > 0;) {
      array.shape[axis] = tensor.shape[axis];
      array.stride[axis] = stride;
      stride *= tensor.shape[axis];
    }
    *out = array;
    return CDRZOO_OK;
  }
  return CDRZOO_E_CORRUPT;
}

cdrzoo_status read_text(void* ctx, cdrzoo_str key, cdrzoo_str* out) {
  const auto& stored = *static_cast<const StoredState*>(ctx);
  for (const auto& [name, value] : stored.state->texts) {
    if (name == text_of(key)) {
      *out = {value.data(), value.size()};
      return CDRZOO_OK;
    }
  }
  return CDRZOO_E_CORRUPT;
}

}  // namespace

std::string Outcome::text() const { return status_text(status) + (message.empty() ? "" : ": " + message); }

/// The host's own side of a call. The first member is what a plugin that treats host_ctx as its own would read.
struct Session::Context {
  const float* withheld_labels = nullptr;
  Session* session = nullptr;
  std::mutex mutex;
  bool running = false;
  std::uint64_t seed = 0;
  std::uint64_t deadline_ns = 0;
  cdrzoo_status code = CDRZOO_OK;
  std::string message;
  std::vector<void*> blocks;
  std::filesystem::path scratch;

  static Context& of(cdrzoo_call* call) {
    auto& context = *static_cast<Context*>(call->host_ctx);
    if (!context.running) ++context.session->late_calls;
    return context;
  }
  static void on_log(cdrzoo_call* call, std::int32_t /*level*/, cdrzoo_str message) {
    auto& self = of(call);
    const std::lock_guard<std::mutex> lock(self.mutex);
    self.session->log.push_back(text_of(message));
  }
  static void on_fail(cdrzoo_call* call, cdrzoo_status code, cdrzoo_str message, cdrzoo_str where) {
    auto& self = of(call);
    const std::lock_guard<std::mutex> lock(self.mutex);
    if (self.code != CDRZOO_OK) return;
    self.code = code;
    self.message = text_of(message) + (where.len == 0 ? "" : " (" + text_of(where) + ")");
  }
  static std::int32_t on_cancelled(cdrzoo_call* call) {
    auto& self = of(call);
    const int asked = ++self.session->polls;
    const int limit = self.session->cancel_after_polls;
    if (limit >= 0 && asked > limit) self.session->cancel = true;
    return self.session->cancel || (self.deadline_ns != 0 && now_ns() >= self.deadline_ns) ? 1 : 0;
  }
  static void on_progress(cdrzoo_call* call, cdrzoo_str phase, std::uint64_t done, std::uint64_t total,
                          cdrzoo_span /*metrics*/) {
    auto& self = of(call);
    const std::lock_guard<std::mutex> lock(self.mutex);
    self.session->progress.push_back({text_of(phase), done, total});
  }
  static void* on_alloc(cdrzoo_call* call, std::uint64_t bytes, std::uint64_t align) {
    auto& self = of(call);
    const std::uint64_t unit = std::max<std::uint64_t>(align, 16);
    if (bytes > (std::uint64_t{1} << 40U)) return nullptr;
    void* block = std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);  // NOLINT
    const std::lock_guard<std::mutex> lock(self.mutex);
    if (block != nullptr) self.blocks.push_back(block);
    return block;
  }
  static std::uint64_t on_random(cdrzoo_call* call, std::uint64_t stream, std::uint64_t index) {
    return cdrzoo_random_u64(of(call).seed, stream, index);
  }
  static cdrzoo_status on_asset(cdrzoo_call* /*call*/, cdrzoo_str /*id*/, cdrzoo_asset* /*out*/) {
    return CDRZOO_E_ASSET;
  }
  static const void* on_extension(cdrzoo_call* /*call*/, cdrzoo_str /*id*/) { return nullptr; }
};

Session::Session(const LoadedModel& model, const Toy& toy, SessionOptions options)
    : model_(model), toy_(toy), options_(std::move(options)), lasting_(options_.memory), context_(new Context) {
  context_->session = this;
}

Session::~Session() { destroy(); }

void Session::destroy() {
  model_.ops.destroy(instance_);
  instance_ = nullptr;
}

/// \p operation gets the call and an arena for inputs (sealed before the plugin runs by the operation itself).
template <typename Operation>
Outcome Session::run(Operation operation) {
  Arena calls(options_.memory);
  Context& context = *context_;
  context.withheld_labels = options_.withheld_labels;
  context.seed = options_.seed;
  context.code = CDRZOO_OK;
  context.message.clear();
  context.running = true;
  progress.clear();
  polls = 0;
  if (context.scratch.empty()) {
    std::string pattern = (std::filesystem::temp_directory_path() / "cdrzoo-verify-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw IoError("cannot make a folder like " + pattern);
    context.scratch = pattern;
  }
  const std::string scratch = context.scratch.string();

  cdrzoo_host host{};
  host.minor = options_.shape.minor;
  host.log = Context::on_log;
  host.fail = Context::on_fail;
  host.cancelled = Context::on_cancelled;
  host.progress = Context::on_progress;
  host.alloc = Context::on_alloc;
  host.random_u64 = Context::on_random;
  host.asset = Context::on_asset;
  host.extension = Context::on_extension;
  cdrzoo_call call{};
  call.host = put(calls, host, options_.shape);
  call.host_ctx = &context;
  call.seed = options_.seed;
  if (options_.deadline_s != 0) {
    const double at = static_cast<double>(now_ns()) + options_.deadline_s * 1e9;
    call.deadline_ns = at > 1 ? static_cast<std::uint64_t>(at) : 1;
  }
  context.deadline_ns = call.deadline_ns;
  call.threads = options_.threads;
  call.device_kind = CDRZOO_DEVICE_CPU;
  call.determinism = options_.determinism;
  call.scratch_dir = {scratch.data(), scratch.size()};
  cdrzoo_call* handed = put(calls, call, options_.shape);
  if (options_.sealed) calls.seal();

  Outcome outcome;
  const auto start = now_ns();
  outcome.status = operation(handed);
  outcome.seconds = static_cast<double>(now_ns() - start) * 1e-9;
  context.running = false;
  outcome.message = context.message;
  for (void* block : context.blocks) std::free(block);  // NOLINT
  context.blocks.clear();
  std::error_code ignored;
  std::filesystem::remove_all(context.scratch, ignored);
  context.scratch.clear();
  return outcome;
}

std::vector<Param> Session::params_with(const nlohmann::json& overrides) const {
  auto all = options_.full_training ? model_.card.verify_learning : model_.card.verify_params;
  if (overrides.is_object()) all.update(overrides);
  return model_.card.resolve(all);
}

Outcome Session::create(const nlohmann::json& params, const ViewPlan& schema) {
  const auto* problem = build_problem(toy_, model_.card, schema, lasting_, options_.shape);
  const auto span = build_params(params_with(params), lasting_, options_.shape);
  if (options_.sealed) lasting_.seal();
  return run([&](cdrzoo_call* call) { return model_.ops.create(call, problem, span, &instance_); });
}

Outcome Session::create_unchecked(const std::vector<Param>& params) {
  const auto* problem = build_problem(toy_, model_.card, {}, lasting_, options_.shape);
  const auto span = build_params(params, lasting_, options_.shape);
  if (options_.sealed) lasting_.seal();
  return run([&](cdrzoo_call* call) { return model_.ops.create(call, problem, span, &instance_); });
}

ViewPlan Session::train_plan() const {
  ViewPlan plan;
  plan.rows = toy_.train;
  if (!model_.card.early_stopping) plan.rows.insert(plan.rows.end(), toy_.early_stop.begin(), toy_.early_stop.end());
  plan.labelled = true;
  return plan;
}

ViewPlan Session::query_plan() const {
  ViewPlan plan;
  plan.rows = toy_.query;
  return plan;
}

Outcome Session::fit(const ViewPlan& train) {
  Arena inputs(options_.memory);
  const HostShape& shape = options_.shape;
  cdrzoo_fit_in in{};
  in.train = build_view(toy_, model_.card, train, inputs, shape).view;
  ViewPlan other = train;
  if (model_.card.early_stopping) {
    other.rows = toy_.early_stop;
    in.valid = build_view(toy_, model_.card, other, inputs, shape).view;
  }
  if (model_.card.unlabelled_target != "no" && give_unlabelled_target) {
    other.rows.clear();
    for (int i = 0; i < Toy::kTargetSamples; ++i) {
      Observation row;
      row.sample = Toy::kTrainSamples + Toy::kQuerySamples + i;
      other.rows.push_back(row);
    }
    other.labelled = false;
    other.samples_only = true;
    in.unlabelled_target = build_view(toy_, model_.card, other, inputs, shape).view;
  }
  const auto* handed = put(inputs, in, shape);
  if (options_.sealed) inputs.seal();
  return run([&](cdrzoo_call* call) { return model_.ops.fit(call, instance_, handed); });
}

Prediction Session::predict(const ViewPlan& query) {
  Arena inputs(options_.memory);
  Arena outputs(options_.memory);
  const BuiltView built = build_view(toy_, model_.card, query, inputs, options_.shape);
  if (options_.sealed) inputs.seal();
  Prediction prediction;
  prediction.n_obs = built.n_obs;
  prediction.n_targets = built.n_targets;
  prediction.stride = built.n_targets + options_.stride_padding;
  const auto n = static_cast<std::size_t>(built.n_obs);
  const std::size_t floats = n * static_cast<std::size_t>(prediction.stride);
  auto* mean = static_cast<float*>(outputs.take(floats * sizeof(float), 4));
  for (std::size_t i = 0; i < floats; ++i) std::memcpy(mean + i, &kSignature, sizeof kSignature);
  auto* row_status = static_cast<std::int32_t*>(outputs.take(n * sizeof(std::int32_t), 4));
  cdrzoo_predict_out out{};
  out.mean = mean;
  out.mean_stride = prediction.stride;
  out.row_status = row_status;
  auto* handed = put(outputs, out, options_.shape);
  static_cast<Outcome&>(prediction) =
      run([&](cdrzoo_call* call) { return model_.ops.predict(call, instance_, built.view, handed); });
  prediction.mean.resize(floats);
  if (floats > 0) std::memcpy(prediction.mean.data(), mean, floats * sizeof(float));
  prediction.row_status.assign(row_status, row_status + n);
  return prediction;
}

std::string Prediction::defect() const {
  for (std::int64_t row = 0; row < n_obs; ++row) {
    const auto status_of_row = row_status[static_cast<std::size_t>(row)];
    if (status_of_row < 0 || status_of_row > CDRZOO_ROW_NUMERIC) {
      return "row " + std::to_string(row) + " has the unknown status " + std::to_string(status_of_row);
    }
    for (std::int64_t k = 0; k < stride; ++k) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, &mean[static_cast<std::size_t>(row * stride + k)], sizeof bits);
      const std::string place = "row " + std::to_string(row) + ", target " + std::to_string(k);
      if (k >= n_targets) {
        if (bits != kSignature) return "the padding behind row " + std::to_string(row) + " was overwritten";
      } else if (status_of_row == CDRZOO_ROW_OK) {
        if (bits == kSignature) return place + " was not written";
        if (!std::isfinite(at(row, k))) return place + " is " + std::to_string(at(row, k));
      }
    }
  }
  return "";
}

std::vector<float> Prediction::values() const {
  std::vector<float> out;
  for (std::int64_t row = 0; row < n_obs; ++row) {
    for (std::int64_t k = 0; k < n_targets; ++k) out.push_back(at(row, k));
  }
  return out;
}

Outcome Session::save(State& into) {
  Arena arena(options_.memory);
  cdrzoo_state_writer writer{};
  writer.ctx = &into;
  writer.tensor = write_tensor;
  writer.text = write_text;
  const auto* handed = put(arena, writer, options_.shape);
  return run([&](cdrzoo_call* call) { return model_.ops.save(call, instance_, handed); });
}

Outcome Session::load(const State& state, const nlohmann::json& params) {
  Arena arena(options_.memory);
  StoredState stored;
  stored.state = &state;
  for (const auto& tensor : state.tensors) stored.data.push_back(arena.copy(tensor.bytes.data(), tensor.bytes.size()));
  cdrzoo_state_reader reader{};
  reader.ctx = &stored;
  reader.count = state.tensors.size();
  reader.name_at = read_name;
  reader.tensor = read_tensor;
  reader.text = read_text;
  const auto* handed = put(arena, reader, options_.shape);
  const auto* problem = build_problem(toy_, model_.card, {}, lasting_, options_.shape);
  const auto span = build_params(params_with(params), lasting_, options_.shape);
  if (options_.sealed) {
    arena.seal();
    lasting_.seal();
  }
  return run([&](cdrzoo_call* call) { return model_.ops.load(call, problem, span, handed, &instance_); });
}

Outcome Session::info(cdrzoo_model_info& out) {
  Arena arena(options_.memory);
  auto* handed = put(arena, cdrzoo_model_info{}, options_.shape);
  auto outcome = run([&](cdrzoo_call* call) { return model_.ops.info(call, instance_, handed); });
  out = *handed;
  return outcome;
}

Outcome Session::embed(std::int32_t axis, std::int64_t dim, std::vector<float>& out, std::int64_t& count) {
  Arena inputs(options_.memory);
  Arena outputs(options_.memory);
  const auto built = build_view(toy_, model_.card, query_plan(), inputs, options_.shape);
  if (options_.sealed) inputs.seal();
  for (std::uint64_t i = 0; i < built.view->entities.count; ++i) {
    const auto* entities = CDRZOO_AT(built.view->entities, cdrzoo_entities, i);
    if (entities->axis == axis) count = entities->count;
  }
  const auto floats = static_cast<std::size_t>(count * dim);
  auto* data = static_cast<float*>(outputs.take(floats * sizeof(float), 4));
  for (std::size_t i = 0; i < floats; ++i) std::memcpy(data + i, &kSignature, sizeof kSignature);
  cdrzoo_embed_out embed_out{};
  embed_out.data = data;
  embed_out.stride = dim;
  embed_out.dim = dim;
  auto* handed = put(outputs, embed_out, options_.shape);
  auto outcome = run([&](cdrzoo_call* call) { return model_.ops.embed(call, instance_, axis, built.view, handed); });
  out.assign(data, data + floats);
  return outcome;
}

}  // namespace cdrzoo::verify
