// SPDX-License-Identifier: Apache-2.0
#include "worker/run_task.hpp"

#include <cdrzoo/plugin.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <new>
#include <optional>
#include <utility>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/hdf5_file.hpp"
#include "plugin/library.hpp"
#include "worker/bundle_reader.hpp"
#include "worker/host_services.hpp"
#include "worker/memory.hpp"
#include "worker/state_file.hpp"
#include "worker/task.hpp"

namespace cdrzoo::worker {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// Ends a task with a status other than ok.
class TaskFailure : public std::runtime_error {
 public:
  TaskFailure(std::string status, const std::string& message, std::string where = {})
      : std::runtime_error(message), status_(std::move(status)), where_(std::move(where)) {}
  [[nodiscard]] const std::string& status() const { return status_; }
  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  std::string status_, where_;
};

/// High-water mark of this process alone; getrusage would report the parent's where that was larger.
double peak_rss_mb() {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line))
    if (line.rfind("VmHWM:", 0) == 0) return std::stod(line.substr(6)) / 1024.0;
  return 0;
}

void write_status(const std::filesystem::path& folder, const Status& status) {
  const auto path = folder / "status.json";
  const auto temporary = folder / "status.json.part";
  {
    std::ofstream file(temporary, std::ios::binary);
    file << status.to_json().dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
    file.close();
    if (!file) throw IoError("cannot write " + path.string() + ": " + std::strerror(errno));
  }
  std::filesystem::rename(temporary, path);
}

// ---- a fault in memory that we guard is not a crash but a broken rule: say so ----

/// What the handler for SIGSEGV needs, prepared beforehand: it may call nothing but system calls.
struct FaultReport {
  char path[4096] = {};
  char overrun[512] = {};
  char write_to_view[512] = {};
};
FaultReport fault_report;

void write_report(const char* text) {
  const int fd = ::open(fault_report.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return;
  const auto written = ::write(fd, text, std::strlen(text));
  ::close(fd);
  static_cast<void>(written);
}

void on_fault(int signal, siginfo_t* info, void*) {
  const auto region = region_of(info->si_addr);
  if (region != Region::none) {
    write_report(region == Region::guard ? fault_report.overrun : fault_report.write_to_view);
    ::_exit(kExitFailed);
  }
  // A plain crash: let the process die of it where it happened, so that the runner and a debugger see the signal.
  struct sigaction restore {};
  restore.sa_handler = SIG_DFL;
  ::sigaction(signal, &restore, nullptr);
}

void prepare_fault_report(const std::filesystem::path& out, const std::string& stage) {
  const auto fill = [&](char* to, std::size_t size, const std::string& message) {
    Status status;
    status.status = "contract_violation";
    status.stage = stage;
    status.message = message;
    const auto text = status.to_json().dump() + "\n";
    std::strncpy(to, text.c_str(), size - 1);
  };
  const auto path = (out / "status.json").string();
  std::strncpy(fault_report.path, path.c_str(), sizeof fault_report.path - 1);
  fill(fault_report.overrun, sizeof fault_report.overrun, stage + " wrote or read past the end of an output buffer");
  fill(fault_report.write_to_view, sizeof fault_report.write_to_view, stage + " wrote to a view; views are read-only");
}

void install_fault_handler() {
  // A stack of its own, so that a stack overflow is reported by the kernel and not by a second fault.
  static char stack[64 * 1024];
  stack_t alternative{};
  alternative.ss_sp = stack;
  alternative.ss_size = sizeof stack;
  ::sigaltstack(&alternative, nullptr);
  struct sigaction action {};
  action.sa_sigaction = &on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigaction(SIGSEGV, &action, nullptr);
  ::sigaction(SIGBUS, &action, nullptr);
}

// ---- predictions ----

/// The buffers of one predict call and what they must hold afterwards.
class Predictions {
 public:
  /// \param first of the query: row 0 of the buffers
  Predictions(std::int64_t first, std::int64_t rows, std::int32_t targets)
      : first_(first),
        rows_(rows),
        targets_(targets),
        mean_(static_cast<std::size_t>(rows * targets) * sizeof(float)),
        status_(static_cast<std::size_t>(rows) * sizeof(std::int32_t)) {
    std::fill_n(row_status(), rows, std::int32_t{CDRZOO_ROW_OK});
  }

  [[nodiscard]] cdrzoo_predict_out abi() const {
    cdrzoo_predict_out out{};
    out.size = sizeof(cdrzoo_predict_out);
    out.mean = mean();
    out.mean_stride = targets_;
    out.row_status = row_status();
    return out;
  }

  /// \throws TaskFailure unless every row has finite values or a status.
  void check(const std::string& query) const {
    if (!mean_.intact() || !status_.intact())
      throw TaskFailure("contract_violation", "predict wrote beyond its output buffers");
    std::int64_t unwritten = 0, first = -1;
    for (std::int64_t row = 0; row < rows_; ++row) {
      const auto state = row_status()[row];
      if (state < 0) {
        throw TaskFailure("contract_violation",
                          "predict gave row " + std::to_string(first_ + row) + " the status " + std::to_string(state));
      }
      if (state != CDRZOO_ROW_OK) {
        std::fill_n(mean() + row * targets_, targets_, std::nanf(""));
        continue;
      }
      for (std::int32_t t = 0; t < targets_; ++t) {
        const float value = mean()[row * targets_ + t];
        if (std::isfinite(value)) continue;
        std::uint32_t bits = 0;
        std::memcpy(&bits, &value, sizeof bits);
        if (bits == GuardedBuffer::kSignature) {
          ++unwritten;
          if (first < 0) first = first_ + row;
          break;
        }
        throw TaskFailure("numeric", "predict returned " + std::string(std::isnan(value) ? "NaN" : "infinity") +
                                         " for row " + std::to_string(first_ + row) + " of the " + query +
                                         " query without a row status");
      }
    }
    if (unwritten == 0) return;
    throw TaskFailure("contract_violation", "predict left " + std::to_string(unwritten) + " of " +
                                                std::to_string(rows_) + " rows of the " + query +
                                                " query unwritten, the first is row " + std::to_string(first));
  }

  void append_to(Hdf5Writer::Rows& file, std::vector<std::int32_t>& statuses) const {
    file.append(mean(), static_cast<std::uint64_t>(rows_ * targets_) * sizeof(float));
    statuses.insert(statuses.end(), row_status(), row_status() + rows_);
  }

 private:
  [[nodiscard]] float* mean() const { return static_cast<float*>(mean_.data()); }
  [[nodiscard]] std::int32_t* row_status() const { return static_cast<std::int32_t*>(status_.data()); }

  std::int64_t first_, rows_;
  std::int32_t targets_;
  GuardedBuffer mean_, status_;
};

// ---- the life of one model ----

class TaskRun {
 public:
  TaskRun(const RunTaskOptions& options, Status& status)
      : options_(options), out_(options.out), status_(status), events_(options.progress_fd) {}

  void run() {
    const auto begin = Clock::now();
    begin_stage("load");
    const auto task = Task::read(options_.task);
    configure(task);
    if (!task.plugin_hash.empty() && sha256_file_hex(task.plugin) != task.plugin_hash)
      throw DataError("plugin " + task.plugin.string() + " has changed since the plan was made; run again");
    const Bundle bundle(task);
    const auto& plugin = load_plugin(task.plugin);
    settings_.minor = plugin.minor;
    const auto& ops = plugin.find(task.model).ops;
    const AbiParams params(task.params);
    status_.timing["load_s"] = seconds_since(begin);

    cdrzoo_model* model = nullptr;
    timed("create_s", [&] {
      begin_stage("create");
      call("create", [&](cdrzoo_call* c) { return ops.create(c, &bundle.problem(), params.span(), &model); });
      if (model == nullptr) throw TaskFailure("contract_violation", "create returned success and no model");
    });
    fit(ops, model, bundle, "train");
    Hdf5Writer file(out_ / "predictions.h5");
    predict(ops, model, bundle, "validation", task.predict_rows, file);
    // Thresholds come from predictions of a model that has not seen the validation rows; then the final fit may.
    if (bundle.has_view("refit")) fit(ops, model, bundle, "refit");
    predict(ops, model, bundle, "test", task.predict_rows, file);
    info(ops, model);

    begin_stage("write");
    file.commit(false);
    if (task.save_model) save(ops, model, task);
  }

 private:
  void configure(const Task& task) {
    settings_.seed = task.seed;
    settings_.threads = task.threads;
    settings_.device_kind = task.device_kind;
    settings_.device_index = task.device_index;
    if (task.deadline_s > 0) settings_.deadline_ns = monotonic_ns() + static_cast<std::uint64_t>(task.deadline_s * 1e9);
    settings_.memory_bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(task.memory_mb, 0)) << 20U;
    settings_.determinism = task.determinism;
    settings_.scratch = out_ / "scratch";
    settings_.assets = task.assets;
    settings_.cancel = options_.cancel;
  }

  void begin_stage(const std::string& stage) {
    status_.stage = stage;
    prepare_fault_report(out_, stage);
    events_.stage(stage);
  }

  /// Adds the seconds that \p body takes to an entry of the timing.
  void timed(const char* entry, const std::function<void()>& body) {
    const auto begin = Clock::now();
    body();
    status_.timing[entry] = status_.timing.value(entry, 0.0) + seconds_since(begin);
  }

  /// Calls one operation and judges what it returned. \throws TaskFailure
  void call(const std::string& name, const std::function<cdrzoo_status(cdrzoo_call*)>& operation) {
    Operation op(settings_, events_, name);
    cdrzoo_status code = CDRZOO_OK;
    try {
      code = operation(op.call());
    } catch (const std::exception& e) {
      throw TaskFailure("contract_violation", name + " let a C++ exception out: " + e.what());
    } catch (...) {
      throw TaskFailure("contract_violation", name + " let a C++ exception out");
    }
    const auto failure = op.failure();
    if (code == CDRZOO_OK) {
      if (!failure.message.empty())
        status_.warnings.push_back(name + " reported a failure and returned success: " + failure.message);
      return;
    }
    if (code > 0) {
      throw TaskFailure("contract_violation",
                        name + " returned " + std::to_string(code) + ", and positive values are not allowed",
                        failure.where);
    }
    const auto why =
        failure.message.empty() ? name + " returned " + status_text(code) + " without a reason" : failure.message;
    throw TaskFailure(status_of(code, name), why, failure.where);
  }

  [[nodiscard]] std::string status_of(cdrzoo_status code, const std::string& name) const {
    const bool past_deadline = settings_.deadline_ns != 0 && monotonic_ns() >= settings_.deadline_ns;
    const bool asked = options_.cancel != nullptr && options_.cancel->load();
    switch (code) {
      case CDRZOO_E_CANCELLED:
        if (past_deadline) return "timeout";
        if (asked) return "cancelled";
        throw TaskFailure("contract_violation", name + " says that it was cancelled, and nobody asked for that");
      case CDRZOO_E_DEADLINE: return "timeout";
      case CDRZOO_E_MEMORY: return "oom";
      case CDRZOO_E_NUMERIC: return "numeric";
      default: return "error";
    }
  }

  void fit(const cdrzoo_ops& ops, cdrzoo_model* model, const Bundle& bundle, const std::string& train_name) {
    begin_stage("fit");
    const auto train = bundle.view(train_name);
    const auto valid = bundle.has_view("valid") ? bundle.view("valid") : nullptr;
    const auto pool = bundle.has_view("unlabelled") ? bundle.view("unlabelled") : nullptr;
    cdrzoo_fit_in in{};
    in.size = sizeof(cdrzoo_fit_in);
    in.train = &train->abi();
    in.valid = valid == nullptr ? nullptr : &valid->abi();
    in.unlabelled_target = pool == nullptr ? nullptr : &pool->abi();
    timed("fit_s", [&] { call("fit", [&](cdrzoo_call* c) { return ops.fit(c, model, &in); }); });
  }

  /// Predicts a query in calls of at most \p rows_per_call rows (0: in one) and writes what it gets, so that memory
  /// does not grow with the query.
  void predict(const cdrzoo_ops& ops, const cdrzoo_model* model, const Bundle& bundle, const std::string& name,
               std::int64_t rows_per_call, Hdf5Writer& file) {
    begin_stage("predict");
    const auto n = bundle.n_obs(name);
    const auto n_targets = bundle.problem().n_targets;
    auto means = file.create("/" + name + "/mean", Hdf5Type::f32, {n, n_targets});
    std::vector<std::int32_t> statuses;
    const auto step = rows_per_call == 0 ? n : rows_per_call;
    for (std::int64_t first = 0; first < n; first += step) {
      const auto query = bundle.piece(name, first, std::min(step, n - first));
      const Predictions predictions(first, query->n_obs(), n_targets);
      auto out = predictions.abi();
      timed("predict_s",
            [&] { call("predict", [&](cdrzoo_call* c) { return ops.predict(c, model, &query->abi(), &out); }); });
      predictions.check(name);
      predictions.append_to(means, statuses);
    }
    file.write("/" + name + "/row_status", statuses);
  }

  void info(const cdrzoo_ops& ops, const cdrzoo_model* model) {
    begin_stage("info");
    cdrzoo_model_info info{};
    info.size = sizeof(cdrzoo_model_info);
    try {
      call("info", [&](cdrzoo_call* c) { return ops.info(c, model, &info); });
      status_.n_parameters = info.n_parameters;
    } catch (const TaskFailure& e) {
      status_.warnings.push_back(e.what());  // predictions are there; a missing count is no reason to lose them
    }
  }

  void save(const cdrzoo_ops& ops, const cdrzoo_model* model, const Task& task) {
    begin_stage("save");
    ArchiveWriter writer;
    timed("save_s", [&] {
      try {
        call("save", [&](cdrzoo_call* c) { return ops.save(c, model, writer.abi()); });
      } catch (const TaskFailure& e) {
        if (writer.problem().empty()) throw;
        throw TaskFailure(e.status(), std::string(e.what()) + " (" + writer.problem() + ")", e.where());
      }
      auto& archive = writer.archive();
      archive.metadata("cdrzoo.format", "cdrzoo-model 1");
      archive.metadata("cdrzoo.model", task.model);
      archive.metadata("cdrzoo.plugin_hash", task.plugin_hash);
      archive.metadata("cdrzoo.cell", task.key);
      archive.metadata("cdrzoo.params", to_json(task.params).dump());
      archive.metadata("cdrzoo.problem", nlohmann::json({{"task", task.task_name},
                                                         {"n_targets", task.n_targets},
                                                         {"target_unit", task.target_unit},
                                                         {"sample_blocks", task.sample_blocks},
                                                         {"drug_blocks", task.drug_blocks},
                                                         {"columns", task.columns}})
                                             .dump());
      archive.write(out_ / "model.safetensors");
    });
  }

  const RunTaskOptions& options_;
  std::filesystem::path out_;
  Status& status_;
  EventSink events_;
  CallSettings settings_;
};

}  // namespace

nlohmann::json Status::to_json() const {
  nlohmann::json json = {{"status", status}, {"message", message}, {"where", where},
                         {"stage", stage},   {"timing", timing},   {"warnings", warnings}};
  if (timing.contains("total_s")) json["peak_rss_mb"] = peak_rss_mb();
  if (n_parameters >= 0) json["n_parameters"] = n_parameters;
  return json;
}

Status run_task(const RunTaskOptions& options) {
  const auto begin = Clock::now();
  std::error_code error;
  const auto out = std::filesystem::absolute(options.out);
  std::filesystem::create_directories(out, error);
  if (error) throw IoError("cannot create " + out.string() + ": " + error.message());

  Status status;
  auto absolute = options;
  absolute.out = out;
  install_fault_handler();
  const auto fail = [&](const std::string& kind, const std::string& message, const std::string& where = {}) {
    status.status = kind;
    status.message = message;
    status.where = where;
  };
  try {
    TaskRun(absolute, status).run();
  } catch (const TaskFailure& e) {
    fail(e.status(), e.what(), e.where());
  } catch (const PluginError& e) {
    fail("contract_violation", e.what());
  } catch (const std::bad_alloc&) {
    fail("oom", "the worker got no memory in stage " + status.stage);
  } catch (const std::exception& e) {
    fail("error", e.what());
  }
  std::filesystem::remove_all(out / "scratch", error);
  status.timing["total_s"] = seconds_since(begin);
  write_status(out, status);
  return status;
}

}  // namespace cdrzoo::worker
