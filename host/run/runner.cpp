// SPDX-License-Identifier: Apache-2.0
#include "run/runner.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <deque>
#include <exception>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <tuple>
#include <utility>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "plugin/process.hpp"
#include "run/bundle.hpp"
#include "run/conditions.hpp"
#include "run/outcome.hpp"
#include "run/profiles.hpp"
#include "run/progress.hpp"
#include "run/worker_environment.hpp"
#include "run/worker_process.hpp"

namespace cdrzoo {
namespace fs = std::filesystem;
namespace {

constexpr std::uintmax_t kFullDiskBytes = 1U << 20U;
constexpr std::size_t kKeyPrefix = 12;  // digits of a key that are shown; enough to name a cell of any run

// ---- which cells ----

/// The words of --only: key prefixes and "name=value". Words of one name are alternatives, different names must all
/// hold.
class Filter {
 public:
  explicit Filter(const std::vector<std::string>& words) {
    for (const auto& word : words) {
      const auto equals = word.find('=');
      const std::string name = equals == std::string::npos ? "key" : word.substr(0, equals);
      const std::string value = equals == std::string::npos ? word : word.substr(equals + 1);
      if (name != "key" && name != "model" && name != "fold" && name != "repeat" && name != "seed") {
        throw UsageError("--only " + word + ": unknown name \"" + name +
                         "\"; known are model, fold, repeat, seed, key, and the first digits of a key alone");
      }
      if (value.empty()) throw UsageError("--only " + word + ": the value is empty");
      wanted_[name].push_back(value);
    }
  }

  [[nodiscard]] bool operator()(const CellPlan& cell) const {
    return std::all_of(wanted_.begin(), wanted_.end(), [&](const auto& entry) {
      return std::any_of(entry.second.begin(), entry.second.end(),
                         [&](const std::string& value) { return matches(entry.first, value, cell); });
    });
  }

 private:
  static bool matches(const std::string& name, const std::string& value, const CellPlan& cell) {
    if (name == "key") return cell.key.compare(0, value.size(), value) == 0;
    if (name == "model") return cell.request.id == value || cell.request.name == value;
    if (name == "fold") return std::to_string(cell.fold) == value;
    if (name == "repeat") return std::to_string(cell.repeat) == value;
    return std::to_string(cell.seed) == value;
  }
  std::map<std::string, std::vector<std::string>> wanted_;
};

std::string label_of(const CellPlan& cell, bool with_repeat) {
  std::string label = cell.request.name.empty() ? cell.request.id : cell.request.name;
  if (with_repeat) label += " repeat " + std::to_string(cell.repeat);
  return label + " fold " + std::to_string(cell.fold) + " seed " + std::to_string(cell.seed);
}

std::string shell_quoted(const std::string& word) {
  if (!word.empty() &&
      word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/=+:,@%") ==
          std::string::npos) {
    return word;
  }
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// ---- signals ----

std::atomic<int> g_signals{0};

/// While one of these lives, SIGINT, SIGTERM and SIGHUP are counted instead of ending the program.
class SignalCounter {
 public:
  SignalCounter() {
    g_signals = 0;
    struct sigaction action = {};
    action.sa_handler = [](int) { ++g_signals; };
    ::sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &action, &before_[i]);
  }
  ~SignalCounter() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
  }
  SignalCounter(const SignalCounter&) = delete;
  SignalCounter& operator=(const SignalCounter&) = delete;
  SignalCounter(SignalCounter&&) = delete;
  SignalCounter& operator=(SignalCounter&&) = delete;
  [[nodiscard]] static int count() { return g_signals; }

 private:
  static constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, 3> before_{};
};

// ---- one run ----

class Run {
 public:
  Run(const Plan& plan, Store& store, const RunOptions& options, std::vector<const CellPlan*> cells,
      std::map<std::string, std::string> to_replace, int jobs)
      : plan_(plan),
        store_(store),
        options_(options),
        worker_(worker_program()),
        machine_(detect_machine()),
        caller_(caller_environment()),
        to_replace_(std::move(to_replace)),
        queue_(cells.begin(), cells.end()),
        jobs_(jobs),
        with_repeat_(plan.experiment->split.repeats > 1),
        display_(ProgressDisplay::parse_mode(options.progress, stderr), stderr, models_of(cells), jobs) {
    bundles_folder_ = options.keep_bundles ? store.root() / "bundles" : store.new_temporary("bundles");
    create_folders(bundles_folder_);
    bundles_ = std::make_unique<BundleWriter>(plan, bundles_folder_);
    for (const auto* cell : cells) ++left_of_fold_[{cell->repeat, cell->fold}];
    (void)plan.dataset->file_hash();  // computed once here, read by all threads later
    const auto environment = make_worker_environment(threads(), "/", machine_, caller_);
    for (const auto& warning : environment.warnings) log::warn(warning);
  }
  ~Run() {
    if (!options_.keep_bundles) remove_quietly(bundles_folder_);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  Run(Run&&) = delete;
  Run& operator=(Run&&) = delete;

  /// Adds to ok, failed, reused of \p summary.
  void operator()(RunSummary& summary) {
    if (SignalCounter::count() > 0) stop_ = Stop::politely;  // while the bundle was written
    std::vector<std::thread> threads;
    running_ = jobs_;
    threads.reserve(static_cast<std::size_t>(jobs_));
    for (int slot = 0; slot < jobs_; ++slot) threads.emplace_back([this, slot] { work(slot); });
    {
      std::unique_lock<std::mutex> lock(mutex_);
      int seen = 0;
      while (running_ > 0) {
        ended_.wait_for(lock, std::chrono::milliseconds(100));
        const int count = SignalCounter::count();
        if (count != seen) {
          seen = count;
          interrupted_ = true;
          stop_ = count > 1 ? Stop::at_once : Stop::politely;
          lock.unlock();
          display_.note(count > 1 ? "killing the workers"
                                  : "stopping: workers are told to end; once more kills them at once");
          lock.lock();
        }
        lock.unlock();
        display_.tick();
        lock.lock();
      }
    }
    for (auto& thread : threads) thread.join();
    display_.finish();
    if (error_) std::rethrow_exception(error_);
    summary.ok += ok_;
    summary.failed += failed_;
    summary.reused += reused_;
    summary.interrupted = interrupted_;
  }

 private:
  static std::vector<std::string> models_of(const std::vector<const CellPlan*>& cells) {
    std::vector<std::string> models;
    models.reserve(cells.size());
    for (const auto* cell : cells) models.push_back(cell->request.name);
    return models;
  }

  [[nodiscard]] int threads() const { return std::max(plan_.experiment->run.threads, 1); }

  void work(int slot) {
    try {
      while (stop_ == Stop::no) {
        const CellPlan* cell = take();
        if (cell == nullptr) break;
        if (run_claimed(slot, *cell)) {
          leave_fold(*cell);
        } else {
          // Somebody else computes it. Look again later: it may end there, or that run may die.
          const std::lock_guard<std::mutex> lock(mutex_);
          queue_.push_back(cell);
        }
      }
    } catch (const IoError& e) {
      // Libraries do not always pass on why a write failed.
      std::error_code error;
      const auto disk = fs::space(store_.root(), error);
      const bool full = !error && disk.available < kFullDiskBytes;
      give_up(full ? std::make_exception_ptr(IoError(std::string(e.what()) + "; the disk of the store has only " +
                                                     std::to_string(disk.available >> 10U) + " KiB left"))
                   : std::current_exception());
    } catch (...) {
      give_up(std::current_exception());
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    --running_;
    ended_.notify_all();
  }

  /// After the last cell of a fold: what only that fold needs can be large.
  void leave_fold(const CellPlan& cell) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (--left_of_fold_.at({cell.repeat, cell.fold}) > 0) return;
    }
    if (!options_.keep_bundles) bundles_->drop_fold(cell.repeat, cell.fold);
    const std::lock_guard<std::mutex> lock(truths_mutex_);
    truths_.erase({cell.repeat, cell.fold});
  }

  void give_up(const std::exception_ptr& error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!error_) error_ = error;
    stop_ = Stop::politely;
  }

  /// The next cell, nullptr if there is none. Waits a little when only cells of other runs are left.
  const CellPlan* take() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (queue_.empty()) return nullptr;
    const CellPlan* cell = queue_.front();
    queue_.pop_front();
    if (cell == first_refused_) {
      first_refused_ = nullptr;
      lock.unlock();
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    return cell;
  }

  /// False if another run has claimed the cell.
  bool run_claimed(int slot, const CellPlan& cell) {
    const auto claim = store_.try_claim(cell.key);
    if (!claim) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (first_refused_ == nullptr) first_refused_ = &cell;
      return false;
    }
    if (store_.has(cell.key) && !is_stale(cell)) {  // another run has just finished it
      const bool ok = store_.record(cell.key).status == "ok";
      display_.elsewhere(cell.request.name, ok);
      const std::lock_guard<std::mutex> lock(mutex_);
      ++(ok ? reused_ : failed_);
      return true;
    }
    run_cell(slot, cell);
    return true;
  }

  /// A stored failure that this run was asked to replace, and that nobody has replaced since.
  bool is_stale(const CellPlan& cell) {
    const auto found = to_replace_.find(cell.key);
    return found != to_replace_.end() && store_.record(cell.key).finished_at == found->second;
  }

  void run_cell(int slot, const CellPlan& cell) {
    display_.started(slot, label_of(cell, with_repeat_), cell.request.name);
    const fs::path temporary = store_.new_temporary(cell.key);
    const fs::path bundle = bundles_folder_ / cell.key;
    try {
      run_in(slot, cell, temporary, bundle);
    } catch (...) {
      remove_quietly(temporary);
      if (!options_.keep_bundles) remove_quietly(bundle);
      display_.dropped(slot);
      throw;
    }
  }

  void run_in(int slot, const CellPlan& cell, const fs::path& temporary, const fs::path& bundle) {
    const RunLimits& limits = plan_.experiment->run;
    const auto begin = std::chrono::steady_clock::now();
    const fs::path output = temporary / "output";
    const fs::path scratch = temporary / "scratch";
    create_folders(output);
    create_folders(scratch);

    Outcome outcome;
    PredictionTable predictions;
    WorkerEnvironment environment = make_worker_environment(threads(), scratch, machine_, caller_);
    bool prepared = false;
    try {
      const std::lock_guard<std::mutex> lock(hdf5_);
      bundles_->write_cell(cell, bundle);
      prepared = true;
    } catch (const DataError& e) {  // data that suit other cells of the run
      outcome.status = "error";
      outcome.message = std::string("bundle: ") + e.what();
    }
    if (prepared) {
      WorkerCommand command;
      command.program = worker_;
      command.arguments = {"run", (bundle / "task.json").string(), "--out", output.string()};
      command.environment = environment.strings();
      command.working_folder = scratch;
      command.log = temporary / "log.txt";
      command.timeout_s = limits.timeout_s;
      command.grace_s = cell.model->card.cancel_latency_s + 0.5;
      command.limit_data = cell.device == "cpu";
      command.memory_bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(limits.memory_mb, 0)) << 20U;
      const WorkerEnd end =
          run_worker(command, stop_, [&](const WorkerProgress& progress) { display_.progressed(slot, progress); });
      if (end.reason == WorkerEnd::Reason::cancelled) {
        remove_quietly(temporary);
        if (!options_.keep_bundles) remove_quietly(bundle);
        display_.dropped(slot);
        return;
      }
      outcome = judge(end, command, output);
      // Not the model's fault, so no result of the model: another attempt may well succeed.
      if (!outcome.ok() && outcome.message.find(std::strerror(ENOSPC)) != std::string::npos) {
        throw IoError("the disk of the store is full: " + outcome.message);
      }
      if (outcome.ok()) collect(cell, output, outcome, predictions);
    }
    if (!options_.keep_bundles) remove_quietly(bundle);

    std::error_code error;
    if (outcome.ok() && fs::exists(output / "model.safetensors", error)) {
      fs::rename(output / "model.safetensors", temporary / "model.safetensors", error);
      if (error) throw IoError("cannot move the model of cell " + cell.key + ": " + error.message());
    }
    remove_quietly(output);
    remove_quietly(scratch);

    const Record record = make_record(cell, outcome, environment);
    {
      const std::lock_guard<std::mutex> lock(hdf5_);
      if (store_.has(cell.key)) store_.remove(cell.key);  // the failure that was tried again
      store_.commit(temporary, record, predictions);
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    display_.ended(slot, outcome.status, outcome.ok() ? "" : explain(cell, outcome), seconds);
    const std::lock_guard<std::mutex> lock(mutex_);
    ++(outcome.ok() ? ok_ : failed_);
  }

  /// Raw predictions back in record order, with the truth that only the host knows.
  void collect(const CellPlan& cell, const fs::path& output, Outcome& outcome, PredictionTable& table) {
    if (plan_.experiment->task == "expression") {
      collect_profiles(cell, output, outcome, table);
      return;
    }
    const Fold& fold = plan_.split->at(cell.repeat, cell.fold);
    const QueryRows rows = query_rows(cell, fold);
    RawPredictions raw;
    try {
      const std::lock_guard<std::mutex> lock(hdf5_);
      raw = read_raw_predictions(output, rows.validation.size(), rows.test.size());
    } catch (const Error& e) {  // a plugin that can write files can also break this one
      outcome.status = "contract_violation";
      outcome.message = e.what();
      return;
    }
    const auto targets = targets_of(cell.repeat, cell.fold);
    append_part("validation", rows.validation, raw.validation, *targets, table);
    const std::size_t first_test = table.size();
    append_part("test", rows.test, raw.test, *targets, table);

    std::size_t predicted = 0;
    bool numeric = false;
    for (std::size_t i = first_test; i < table.size(); ++i) {
      predicted += table.status[i] == 0 ? 1U : 0U;
      numeric = numeric || table.status[i] == kRowNumeric;
    }
    if (predicted == 0 && table.size() > first_test) none_predicted(numeric, rows.test.size(), "rows", outcome);
  }

  /// A model that says of every row that it cannot tell has answered: its rows are filled with the baseline, so that
  /// nobody gains by leaving out a fold. Numbers that are none are a failure.
  static void none_predicted(bool numeric, std::size_t n, const char* rows, Outcome& outcome) {
    if (numeric) outcome.status = "numeric";
    outcome.message = "predict: the model declined all " + std::to_string(n) + " test " + rows;
  }

  /// The same for profiles: mean over references, then by condition.
  void collect_profiles(const CellPlan& cell, const fs::path& output, Outcome& outcome, PredictionTable& table) {
    const Fold& fold = plan_.split->at(cell.repeat, cell.fold);
    const auto genes = plan_.dataset->perturbations->profile.cols;
    const auto queries = profile_queries(cell, fold, *bundles_->profiles(cell));
    RawProfiles raw;
    try {
      const std::lock_guard<std::mutex> lock(hdf5_);
      raw = read_raw_profiles(output, queries.validation.row.size(), queries.test.row.size(), genes);
    } catch (const Error& e) {  // a plugin that can write files can also break this one
      outcome.status = "contract_violation";
      outcome.message = e.what();
      return;
    }
    const AveragedProfiles validation(queries.validation, raw.validation);
    const AveragedProfiles test(queries.test, raw.test);
    const auto part = [&](const char* name, const AveragedProfiles& mean) {
      const auto read = [&mean](std::size_t i, std::vector<float>& scratch) { return mean.prediction(i, scratch); };
      return PredictedProfiles{
          name,        mean.row,          {static_cast<std::int64_t>(mean.row.size()), genes, read},
          mean.status, mean.n_references, mean.in_context};
    };
    table.conditions =
        truth_of(cell, validation.row, test.row)->collect({part("validation", validation), part("test", test)});
    if (std::all_of(test.status.begin(), test.status.end(), [](auto status) { return status != 0; })) {
      const bool numeric = std::find(test.status.begin(), test.status.end(), kRowNumeric) != test.status.end();
      none_predicted(numeric, test.row.size(), "profiles", outcome);
    }
  }

  /// The same for all models of a fold, in the order of rows that AveragedProfiles has.
  std::shared_ptr<const FoldTruth> truth_of(const CellPlan& cell, const std::vector<std::int32_t>& validation,
                                            const std::vector<std::int32_t>& test) {
    std::shared_future<std::shared_ptr<const FoldTruth>> truth;
    {
      const std::lock_guard<std::mutex> lock(truths_mutex_);
      auto& known = truths_[{cell.repeat, cell.fold}];
      if (!known.valid()) {
        // Deferred: computed by the first who asks, outside of the lock, while others wait for it.
        known = std::async(std::launch::deferred, [this, &cell, validation, test] {
          // The tested model may be trained on the validation rows, the one that predicts these is not.
          const Fold& fold = plan_.split->at(cell.repeat, cell.fold);
          std::vector<std::int32_t> refitted = fold.train;
          if (plan_.experiment->refit == "train+val") {
            refitted.insert(refitted.end(), fold.validation.begin(), fold.validation.end());
          }
          return std::make_shared<const FoldTruth>(
              *plan_.dataset,
              std::vector<ProfileRows>{{"validation", validation, fold.train}, {"test", test, std::move(refitted)}});
        });
      }
      truth = known;
    }
    return truth.get();
  }

  void append_part(const char* part, const std::vector<std::int32_t>& rows, const RawPart& raw, const Targets& targets,
                   PredictionTable& table) const {
    const Dataset& data = *plan_.dataset;
    std::vector<std::size_t> order(rows.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rows[a] < rows[b]; });
    for (const std::size_t i : order) {
      const auto row = static_cast<std::size_t>(rows[i]);
      const auto sample = static_cast<std::size_t>(data.responses.sample[row]);
      const auto drug = static_cast<std::size_t>(data.responses.drug[row]);
      const std::int32_t tissue = data.samples.tissue[sample];
      table.part.emplace_back(part);
      table.record.push_back(rows[i]);
      table.sample.push_back(data.samples.id[sample]);
      table.drug.push_back(data.drugs.id[drug]);
      table.tissue.push_back(tissue < 0 ? "" : data.tissues[static_cast<std::size_t>(tissue)]);
      table.domain.push_back(data.domains.name[static_cast<std::size_t>(data.samples.domain[sample])]);
      table.truth.push_back(targets.y[row]);
      table.prediction.push_back(raw.mean[i]);
      table.status.push_back(raw.row_status[i]);
    }
  }

  /// Folds come one after the other, so the last few are enough.
  std::shared_ptr<const Targets> targets_of(int repeat, int fold) {
    const std::lock_guard<std::mutex> lock(targets_mutex_);
    for (const auto& entry : targets_) {
      if (std::get<0>(entry) == repeat && std::get<1>(entry) == fold) return std::get<2>(entry);
    }
    auto made =
        std::make_shared<const Targets>(make_targets(*plan_.experiment, *plan_.dataset, plan_.split->at(repeat, fold)));
    targets_.emplace_front(repeat, fold, made);
    if (targets_.size() > 2) targets_.pop_back();
    return made;
  }

  /// What the label rule gave on the training rows of this cell's fold; null where labels are given.
  nlohmann::json label_thresholds(const CellPlan& cell) {
    nlohmann::json thresholds;
    const auto targets = targets_of(cell.repeat, cell.fold);
    for (std::size_t drug = 0; drug < targets->threshold_per_drug.size(); ++drug) {
      const double threshold = targets->threshold_per_drug[drug];
      if (std::isfinite(threshold)) thresholds[plan_.dataset->drugs.id[drug]] = threshold;
    }
    return thresholds;
  }

  Record make_record(const CellPlan& cell, const Outcome& outcome, const WorkerEnvironment& environment) {
    const Experiment& experiment = *plan_.experiment;
    const Dataset& data = *plan_.dataset;
    const Split& split = *plan_.split;
    const Fold& fold = split.at(cell.repeat, cell.fold);
    Record r;
    r.key = cell.key;
    r.key_inputs = cell.key_inputs;
    r.model = cell.request.id;
    r.model_name = cell.request.name;
    r.model_version = cell.model->card.version;
    r.params = to_json(cell.params);
    if (r.params.is_object() && r.params.contains("variant") && r.params["variant"].is_string()) {
      r.variant = r.params["variant"].get<std::string>();
    }
    r.plugin_path = cell.model->plugin.string();
    r.plugin_hash = cell.model->plugin_hash;
    r.card = cell.model->card.json;
    r.dataset = data.name;
    r.dataset_hash = data.file_hash();
    r.task = experiment.task;
    r.caveats = data.caveats;
    for (const auto& caveat : data.domains.caveat) {
      if (!caveat.empty() && std::find(r.caveats.begin(), r.caveats.end(), caveat) == r.caveats.end()) {
        r.caveats.push_back(caveat);
      }
    }
    if (experiment.shuffle_labels) r.caveats.emplace_back("negative control: the training labels were shuffled");
    if (gets_expression(cell.model->card) && !split.of_perturbations) {
      const auto samples = fit_samples(data, fold, training_rows(cell.model->card, fold));
      r.fitted = describe_fit(data, fold, samples, split.spec.source);
    }
    if (experiment.task == "binary") {
      r.label_rule = describe_label_rule(experiment.label, data);
      r.label_thresholds = label_thresholds(cell);
    }
    r.split = {{"kind", split.spec.kind},
               {"folds", split.spec.folds},
               {"repeats", split.spec.repeats},
               {"seed", split.spec.seed},
               {"source", split.spec.source},
               {"target", split.spec.target},
               {"inner_group", split.spec.inner_group},
               {"hash", split.hash},
               {"data_hash", split.data_hash},
               {"group_type", split.group_type},
               {"transductive", fold.transductive},
               {"early_stop_is_validation", fold.early_stop_is_validation},
               {"n_discarded", fold.n_discarded},
               {"refit", experiment.refit},
               {"shuffle_labels", experiment.shuffle_labels}};
    if (split.of_perturbations) {
      r.split["references"] = references_per_row(data, split.spec);
      r.split["n_references"] = fold.references.size();
      r.split["contexts"] = split.spec.contexts;
      if (split.spec.kind == "unseen_combination") r.split["singles_seen"] = split.spec.singles_seen;
    }
    r.repeat = cell.repeat;
    r.fold = cell.fold;
    r.seed = cell.seed;
    r.protocol = kProtocolVersion;
    r.status = outcome.status;
    r.message = outcome.message;
    r.n_train = static_cast<std::int64_t>(fold.train.size());
    r.n_validation = static_cast<std::int64_t>(fold.validation.size());
    r.n_test = static_cast<std::int64_t>(fold.test.size());
    r.n_train_groups = fold.n_train_groups;
    r.n_test_groups = fold.n_test_groups;
    r.timing = outcome.timing;
    r.host = {{"cdrzoo", CDRZOO_VERSION},
              {"threads", threads()},
              {"jobs", jobs_},
              {"device", cell.device},
              {"timeout_s", experiment.run.timeout_s},
              {"memory_mb", experiment.run.memory_mb},
              {"environment", environment.record},
              {"worker", outcome.extra}};
    r.finished_at = utc_now();
    return r;
  }

  std::string explain(const CellPlan& cell, const Outcome& outcome) const {
    const std::string experiment = plan_.experiment->path.empty() ? "EXPERIMENT" : plan_.experiment->path.string();
    const fs::path task = store_.root() / "bundles" / cell.key / "task.json";
    return "    " + outcome.message + "\n    log:       " + (store_.root() / "cells" / cell.key / "log.txt").string() +
           "\n    repeat it: cdrzoo bench " + shell_quoted(experiment) + " --store " +
           shell_quoted(store_.root().string()) + " --only " + cell.key.substr(0, kKeyPrefix) +
           " --retry-failed --keep-bundles\n    debug it:  gdb --args " + shell_quoted(worker_.string()) + " run " +
           shell_quoted(task.string()) + (options_.keep_bundles ? "" : "   (after the line above)");
  }

  static constexpr std::int32_t kRowNumeric = 2;  // CDRZOO_ROW_NUMERIC

  const Plan& plan_;
  Store& store_;
  const RunOptions& options_;
  fs::path worker_;
  Machine machine_;
  std::map<std::string, std::string> caller_;
  fs::path bundles_folder_;
  std::unique_ptr<BundleWriter> bundles_;
  const std::map<std::string, std::string> to_replace_;  // key to finished_at of a stored failure

  std::mutex mutex_;  // guards the following
  std::condition_variable ended_;
  std::deque<const CellPlan*> queue_;
  const CellPlan* first_refused_ = nullptr;
  std::map<std::pair<int, int>, int> left_of_fold_;  // (repeat, fold) to cells that have not ended
  int running_ = 0;
  int ok_ = 0, failed_ = 0, reused_ = 0;
  bool interrupted_ = false;
  std::exception_ptr error_;

  std::atomic<Stop> stop_{Stop::no};
  int jobs_;
  bool with_repeat_;
  static inline std::mutex hdf5_;  // libhdf5 is used by one thread of the process at a time
  std::mutex truths_mutex_;
  std::map<std::pair<int, int>, std::shared_future<std::shared_ptr<const FoldTruth>>> truths_;  // by repeat and fold
  std::mutex targets_mutex_;
  std::deque<std::tuple<int, int, std::shared_ptr<const Targets>>> targets_;
  ProgressDisplay display_;
};

}  // namespace

RunSummary run_plan(const Plan& plan, Store& store, const RunOptions& options) {
  const Filter wanted(options.only);
  RunSummary summary;
  std::vector<const CellPlan*> to_run;
  std::map<std::string, std::string> to_replace;
  int kept_failures = 0;
  for (const auto& cell : plan.cells) {
    if (!wanted(cell)) continue;
    ++summary.total;
    if (!store.has(cell.key)) {
      to_run.push_back(&cell);
      continue;
    }
    Record record;
    try {
      record = store.check(cell.key);
    } catch (const DataError& e) {
      log::warn(std::string(e.what()) + "; the cell is run again");
      store.remove(cell.key);
      to_run.push_back(&cell);
      continue;
    }
    if (record.status == "ok") {
      ++summary.reused;
    } else if (options.retry_failed) {
      to_run.push_back(&cell);
      to_replace[cell.key] = record.finished_at;
    } else {
      ++summary.failed;
      ++kept_failures;
    }
  }
  if (summary.total == 0 && !options.only.empty()) {
    std::string words;
    for (const auto& word : options.only) words += (words.empty() ? "" : " --only ") + word;
    throw UsageError("--only " + words + " fits none of the " + std::to_string(plan.cells.size()) + " cells");
  }
  if (kept_failures > 0) {
    log::info(std::to_string(kept_failures) + " of the stored cells are failures; --retry-failed runs them again");
  }
  if (to_run.empty()) return summary;

  const RunLimits& limits = plan.experiment->run;
  const int cores = static_cast<int>(std::max(std::thread::hardware_concurrency(), 1U));
  int jobs = limits.jobs > 0 ? limits.jobs : std::max(cores / std::max(limits.threads, 1), 1);
  jobs = std::min<int>(jobs, static_cast<int>(to_run.size()));
  const SignalCounter signals;
  Run run(plan, store, options, std::move(to_run), std::move(to_replace), jobs);
  run(summary);
  return summary;
}

}  // namespace cdrzoo
