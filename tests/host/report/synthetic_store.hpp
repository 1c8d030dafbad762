// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "store/store.hpp"

namespace cdrzoo::test {

/// A store of made-up cells: 6 drugs x samples in two tissues, leave-cell-line-out. Response = drug effect + tissue
/// effect + what a model may learn. Everything is a function of the indices: no random device, no clock.
class SyntheticStore {
 public:
  struct Row {
    int sample = 0, drug = 0, tissue = 0;
    double truth = 0;
  };
  using Predict = std::function<double(const Row&, int fold, std::uint64_t seed)>;

  explicit SyntheticStore(int folds, int samples_per_fold = 12, bool binary = false)
      : folds_(folds), samples_(folds * samples_per_fold), binary_(binary) {
    static int counter = 0;
    // In memory where there is such a folder: a commit waits for the disk, and the disk is not what is tested here.
    const std::filesystem::path memory = "/dev/shm";
    folder_ = (::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path()) /
              ("cdrzoo report " + std::to_string(::getpid()) + "." + std::to_string(counter++));
    store_ = std::make_unique<Store>(Store::open(folder_));
  }
  SyntheticStore(const SyntheticStore&) = delete;
  SyntheticStore& operator=(const SyntheticStore&) = delete;
  ~SyntheticStore() {
    store_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  [[nodiscard]] const Store& store() const { return *store_; }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] int folds() const { return folds_; }

  /// A number in [-0.5, 0.5) that is the same on every machine.
  static double noise(int a, int b, int c) {
    std::mt19937 generator(static_cast<unsigned>(a * 7919 + b * 104729 + c * 1299709 + 1));
    generator.discard(3);
    return static_cast<double>(generator()) / 4294967296.0 - 0.5;
  }
  [[nodiscard]] double truth(int sample, int drug) const {
    const double y = drug + 0.5 * tissue(sample) + 2 * noise(sample, drug, 0);
    return binary_ ? (y > drug + 0.25 ? 1.0 : 0.0) : y;
  }
  [[nodiscard]] int tissue(int sample) const { return sample / folds_ % 2; }  // both in every fold
  static double drug_mean(const Row& row) { return row.drug + 0.25; }

  /// Test rows of a fold: the samples with sample % folds == fold; validation rows: those of the next fold.
  [[nodiscard]] std::vector<Row> rows_of(int fold) const {
    std::vector<Row> rows;
    for (int s = fold % folds_; s < samples_; s += folds_) {
      for (int d = 0; d < 6; ++d) rows.push_back({s, d, tissue(s), truth(s, d)});
    }
    return rows;
  }

  /// Hook for special cases: changes record or table before the cell is committed.
  std::function<void(Record&, PredictionTable&)> adjust;

  void add(const std::string& model, const Predict& predict, const std::vector<std::uint64_t>& seeds = {0},
           const nlohmann::json& params = nlohmann::json::object()) {
    for (int fold = 0; fold < folds_; ++fold) {
      for (const std::uint64_t seed : seeds) {
        Record record = make_record(model, fold, seed, params);
        PredictionTable table;
        for (const char* part : {"validation", "test"}) {
          const bool test = std::string(part) == "test";
          for (const Row& row : rows_of(test ? fold : fold + 1)) {
            table.part.emplace_back(part);
            table.record.push_back(row.sample * 6 + row.drug);
            table.sample.push_back("S" + std::to_string(row.sample));
            table.drug.push_back("drug " + std::string(1, static_cast<char>('A' + row.drug)));
            table.tissue.emplace_back(row.tissue == 1 ? "lung" : "skin");
            table.domain.emplace_back("cell_line");
            table.truth.push_back(row.truth);
            const double value = predict(row, fold, seed);
            table.prediction.push_back(value);
            table.status.push_back(std::isfinite(value) ? 0 : 1);
          }
        }
        if (adjust) adjust(record, table);
        store_->commit(store_->new_temporary(record.key), record, table);
      }
    }
  }

  /// A model all of whose cells in \p failing folds end with \p status.
  void add_failing(const std::string& model, const Predict& predict, const std::vector<int>& failing,
                   const std::string& status, const std::string& message) {
    const auto before = adjust;
    adjust = [&](Record& record, PredictionTable& table) {
      for (const int fold : failing) {
        if (record.fold != fold) continue;
        record.status = status;
        record.message = message;
        table = PredictionTable();
      }
    };
    add(model, predict);
    adjust = before;
  }

  [[nodiscard]] std::vector<Record> records() const {
    std::vector<Record> all;
    for (const std::string& key : store_->keys()) all.push_back(store_->record(key));
    return all;
  }

 private:
  [[nodiscard]] Record make_record(const std::string& model, int fold, std::uint64_t seed,
                                   const nlohmann::json& params) const {
    Record r;
    r.key = model + "-" + std::to_string(fold) + "-" + std::to_string(seed) + "-" +
            std::to_string(std::hash<std::string>{}(params.dump()) % 1000);
    r.key_inputs = nlohmann::json::object();
    r.model = r.model_name = model;
    r.model_version = "1.0.0";
    r.plugin_hash = "0123456789abcdef";
    r.params = params;
    r.card = {{"id", model}, {"traits", {{"probabilities", false}}}};
    r.dataset = "toy";
    r.dataset_hash = "d";
    r.task = binary_ ? "binary" : "regression";
    r.label_rule = binary_ ? nlohmann::json{{"kind", "per_drug_median"}} : nlohmann::json();
    r.split = {{"kind", "lco"}, {"folds", folds_}, {"seed", 0}, {"hash", "s"}, {"group_type", "sample"}};
    r.fold = fold;
    r.seed = seed;
    r.protocol = "1.0";
    r.n_test = static_cast<std::int64_t>(rows_of(fold).size());
    r.n_train = 6 * samples_ - r.n_test;
    r.n_test_groups = r.n_test / 6;
    r.timing = {{"total_s", 1.5}};
    return r;
  }

  int folds_, samples_;
  bool binary_;
  std::filesystem::path folder_;
  std::unique_ptr<Store> store_;
};

}  // namespace cdrzoo::test
