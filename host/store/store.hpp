// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "store/condition_table.hpp"

namespace cdrzoo {

/// One row of a cell's predictions. `truth` is the host's; the plugin never saw it.
struct PredictionTable {
  std::vector<std::string> part;     ///< "validation" | "test"
  std::vector<std::int32_t> record;  ///< row of Dataset::responses
  std::vector<std::string> sample, drug, tissue, domain;
  std::vector<double> truth;
  std::vector<double> prediction;    ///< NaN where status is not "ok"
  std::vector<std::int32_t> status;  ///< CDRZOO_ROW_*
  /// Task "expression": instead of the columns above, which are empty then. Made by FoldTruth::collect().
  std::optional<ConditionTable> conditions;
  [[nodiscard]] std::size_t size() const { return truth.size(); }
};

/// What is known of one finished cell; record.json on disk. Every field is a function of the cell except `timing`,
/// `host` and `finished_at`.
struct Record {
  std::string key;
  nlohmann::json key_inputs;
  std::string model, model_name, model_version, variant, plugin_path, plugin_hash;
  nlohmann::json params, card;
  std::string dataset, dataset_hash, task;
  std::vector<std::string> caveats;
  nlohmann::json label_thresholds;  ///< derived labels: drug id -> threshold that the rule gave on the training rows
  /// What the host fitted on the training samples before the model got the expression (run/fitting.hpp, describe_fit);
  /// null = nothing.
  nlohmann::json fitted;
  nlohmann::json label_rule, split;  ///< split: {kind, folds, repeats, seed, hash, group_type, transductive, ...}
  int repeat = 0, fold = 0;
  std::uint64_t seed = 0;
  std::string protocol;
  /// ok | numeric | timeout | crash | oom | contract_violation | error | cancelled
  std::string status = "ok";
  std::string message;  ///< one sentence for a failure: stage, what happened
  std::int64_t n_train = 0, n_validation = 0, n_test = 0, n_train_groups = 0, n_test_groups = 0;
  nlohmann::json timing;    ///< seconds: load_s, create_s, fit_s, predict_s, total_s; peak_rss_mb
  nlohmann::json host;      ///< threads, environment set for the worker, cpu, cdrzoo version
  std::string finished_at;  ///< ISO 8601 UTC

  [[nodiscard]] nlohmann::json to_json() const;
  [[nodiscard]] static Record from_json(const nlohmann::json& json, const std::string& where);
};

/// Content-addressed results: <root>/cells/<key>/{record.json, predictions.h5, log.txt[, model.safetensors]}.
/// A cell appears by one rename, whole or not at all; a run merges with another by copying cell folders.
/// Copies share one session (its temporary folders); the last one removes it. Members may be called by several threads,
/// except commit and predictions: these use libhdf5.
class Store {
 public:
  /// Creates the folders; removes temporary folders of dead runners. \throws IoError (read-only folder, full disk).
  [[nodiscard]] static Store open(const std::filesystem::path& root);
  /// For reports: creates and removes nothing, so a store on read-only media can be read. The other mutating members
  /// throw std::logic_error. \throws IoError if there is no store at \p root.
  [[nodiscard]] static Store open_read_only(const std::filesystem::path& root);

  [[nodiscard]] const std::filesystem::path& root() const { return root_; }
  /// A cell is there when both of its files are; `record` and `predictions` judge what is in them.
  [[nodiscard]] bool has(const std::string& key) const;
  /// A fresh temporary folder inside the store (same file system as the cells).
  [[nodiscard]] std::filesystem::path new_temporary(const std::string& key) const;
  /// Writes record and predictions into \p temporary (which may already hold log.txt and the like), syncs, and renames
  /// the folder into place. If the cell exists already (another runner was faster) the temporary is dropped.
  /// \throws IoError; the temporary is removed then, and cells that were there stay as they are.
  void commit(const std::filesystem::path& temporary, const Record& record, const PredictionTable& predictions) const;
  /// The right to compute a cell, so that runners that share a store do not repeat each other's work. Dropped by the
  /// destructor, and by the kernel when the process dies.
  class Claim {
   public:
    Claim(Claim&& other) noexcept;
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    Claim& operator=(Claim&&) = delete;
    ~Claim();

   private:
    friend class Store;
    Claim(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}
    std::filesystem::path path_;
    int fd_;
  };
  /// Nothing if another claim on this cell is alive, here or in another process.
  [[nodiscard]] std::optional<Claim> try_claim(const std::string& key) const;
  /// Does nothing if there is no such cell.
  void remove(const std::string& key) const;

  [[nodiscard]] std::vector<std::string> keys() const;  ///< sorted
  /// \throws DataError that names the file if it is damaged.
  [[nodiscard]] Record record(const std::string& key) const;
  /// Compared with the size and the SHA-256 that record.json holds. \throws DataError that names the file.
  [[nodiscard]] PredictionTable predictions(const std::string& key) const;
  /// Reads record.json and compares predictions.h5 with it, without decoding it. \throws DataError as above.
  [[nodiscard]] Record check(const std::string& key) const;

  /// runs/<run_id>.json: the experiment and the cell keys of one run, for the report. Replaces the file of that run.
  void write_run(const std::string& run_id, const nlohmann::json& experiment,
                 const std::vector<std::string>& keys) const;
  struct Run {
    std::string id;
    nlohmann::json experiment;
    std::vector<std::string> keys;
    std::string started_at;  ///< ISO 8601 UTC with microseconds: when it was last started
  };
  [[nodiscard]] std::vector<Run> runs() const;  ///< oldest first

 private:
  struct Session;  ///< the folder of temporaries of this process, with its lock
  [[nodiscard]] std::filesystem::path cell_folder(const std::string& key) const;
  std::filesystem::path root_;
  std::shared_ptr<Session> session_;  ///< null when read-only
};

}  // namespace cdrzoo
