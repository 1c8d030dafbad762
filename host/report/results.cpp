// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "base/error.hpp"
#include "metrics/aggregate.hpp"
#include "metrics/metrics.hpp"
#include "report/comparison.hpp"
#include "report/fold_scores.hpp"
#include "report/report.hpp"

namespace cdrzoo {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// One axis of the macro means: the group of every row.
struct Axis {
  std::string level;  ///< per_drug, per_sample, per_tissue
  std::vector<std::string> names;
  std::vector<std::int32_t> code;  ///< per row; -1 = no name
};

/// The test rows of one fold, in the order of the data set, as all its cells see them.
struct FoldRows {
  std::vector<std::int32_t> record;
  std::vector<double> truth;
  std::vector<Axis> axes;
};

/// The predictions of one cell on the rows of its fold.
struct CellScores {
  const Record* record = nullptr;
  std::vector<double> test;  ///< NaN = no usable prediction
  std::vector<double> validation_truth, validation_prediction;
  double threshold = kNan;         ///< binary; from the validation rows
  std::int64_t without_truth = 0;  ///< test rows that cannot be scored; not among the rows of the fold
};

bool ok(const Record& record) { return record.status == "ok"; }

std::int64_t size_of(const std::vector<double>& x) { return static_cast<std::int64_t>(x.size()); }

/// Collects the rows of one fold over its cells. Strings are turned into codes at once: a table is large.
class FoldBuilder {
 public:
  void add(const Record& record, const PredictionTable& table) {
    CellScores cell;
    cell.record = &record;
    without_truth_ = 0;
    cell.test.assign(rows_.truth.size(), kNan);
    for (std::size_t i = 0; i < table.size(); ++i) {
      if (!std::isfinite(table.truth[i])) {  // nothing to score it against
        without_truth_ += table.part[i] == "test" ? 1 : 0;
        continue;
      }
      const bool usable = table.status[i] == 0 && std::isfinite(table.prediction[i]);
      if (table.part[i] == "validation") {
        if (!usable) continue;
        cell.validation_truth.push_back(table.truth[i]);
        cell.validation_prediction.push_back(table.prediction[i]);
      } else if (table.part[i] == "test") {
        const std::size_t row = row_of(table, i, record);
        if (row >= cell.test.size()) cell.test.resize(row + 1, kNan);
        if (usable) cell.test[row] = table.prediction[i];
      }
    }
    if (record.task == "binary") cell.threshold = best_f1_threshold(cell.validation_truth, cell.validation_prediction);
    cell.without_truth = without_truth_;
    cells_.push_back(std::move(cell));
  }

  /// Rows in ascending order of the data set, whichever cell came first.
  void finish(FoldRows& rows, std::vector<CellScores>& cells) {
    std::vector<std::size_t> order(rows_.truth.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return rows_.record[a] < rows_.record[b]; });
    const auto reorder = [&](auto& values) {
      auto sorted = values;
      for (std::size_t i = 0; i < order.size(); ++i) sorted[i] = values[order[i]];
      values = std::move(sorted);
    };
    reorder(rows_.record);
    reorder(rows_.truth);
    for (std::size_t a = 0; a < labels_.size(); ++a) {
      reorder(labels_[a]);
      rows_.axes.push_back(make_axis(kLevels[a], labels_[a]));
    }
    for (CellScores& cell : cells_) {
      cell.test.resize(order.size(), kNan);
      reorder(cell.test);
    }
    rows = std::move(rows_);
    cells = std::move(cells_);
  }

 private:
  static constexpr const char* kLevels[3] = {"per_drug", "per_sample", "per_tissue"};

  std::size_t row_of(const PredictionTable& table, std::size_t i, const Record& record) {
    const auto [it, fresh] = row_of_record_.try_emplace(table.record[i], rows_.truth.size());
    if (fresh) {
      rows_.record.push_back(table.record[i]);
      rows_.truth.push_back(table.truth[i]);
      labels_[0].push_back(table.drug[i]);
      labels_[1].push_back(table.sample[i]);
      labels_[2].push_back(table.tissue[i]);
    } else if (rows_.truth[it->second] != table.truth[i]) {
      throw DataError("cell " + record.key + " says that response " + std::to_string(table.record[i]) + " is " +
                      shortest(table.truth[i]) + ", another cell of the same split and fold that it is " +
                      shortest(rows_.truth[it->second]));
    }
    return it->second;
  }

  static Axis make_axis(const char* level, const std::vector<std::string>& labels) {
    Axis axis;
    axis.level = level;
    axis.names = labels;
    std::sort(axis.names.begin(), axis.names.end());
    axis.names.erase(std::unique(axis.names.begin(), axis.names.end()), axis.names.end());
    axis.names.erase(std::remove(axis.names.begin(), axis.names.end(), std::string()), axis.names.end());
    for (const std::string& label : labels) {
      const auto it = std::lower_bound(axis.names.begin(), axis.names.end(), label);
      axis.code.push_back(label.empty() ? -1 : static_cast<std::int32_t>(it - axis.names.begin()));
    }
    return axis;
  }

  FoldRows rows_;
  std::vector<std::vector<std::string>> labels_ = std::vector<std::vector<std::string>>(3);
  std::vector<CellScores> cells_;
  std::unordered_map<std::int32_t, std::size_t> row_of_record_;
  std::int64_t without_truth_ = 0;
};

/// Values of the rows in \p rows of a full vector.
template <typename T>
std::vector<T> take(const std::vector<T>& values, const std::vector<std::size_t>& rows) {
  std::vector<T> taken;
  taken.reserve(rows.size());
  for (const std::size_t i : rows) taken.push_back(values[i]);
  return taken;
}

/// Scores the cells of one fold under the three coverage rules.
class FoldScorer {
 public:
  FoldScorer(FoldRows rows, std::vector<CellScores> cells, const std::string& run_id, std::vector<ResultRow>& out)
      : rows_(std::move(rows)), cells_(std::move(cells)), run_id_(run_id), results_(out) {
    if (cells_.empty()) return;
    task_ = cells_.front().record->task == "binary" ? Task::binary : Task::regression;
    find_baseline();
    find_train_mean();
    common_.assign(rows_.truth.size(), true);
    for (const CellScores& cell : cells_) {
      // A model that predicted nothing would leave nothing to compare the others on.
      if (std::none_of(cell.test.begin(), cell.test.end(), [](double p) { return std::isfinite(p); })) continue;
      for (std::size_t i = 0; i < common_.size(); ++i) common_[i] = common_[i] && std::isfinite(cell.test[i]);
    }
  }

  void score(const CellScores& cell) {
    results_.frame = row_of(*cell.record, run_id_);
    std::vector<std::size_t> predicted;
    std::vector<std::size_t> common;
    std::vector<std::size_t> fillable;
    std::vector<double> filled = cell.test;
    for (std::size_t i = 0; i < cell.test.size(); ++i) {
      const bool own = std::isfinite(cell.test[i]);
      if (own) predicted.push_back(i);
      if (own && common_[i]) common.push_back(i);
      if (!own && baseline_ != nullptr) filled[i] = baseline_->test[i];
      if (std::isfinite(filled[i])) fillable.push_back(i);
    }
    const std::size_t all = cell.test.size();
    results_.frame.coverage_rule = "as_reported";
    results_.add("pooled", "coverage",
                 all > 0 ? static_cast<double>(predicted.size()) / static_cast<double>(all) : kNan, "",
                 static_cast<std::int64_t>(all));
    if (cell.without_truth > 0) {
      results_.add("pooled", "rows_without_truth", static_cast<double>(cell.without_truth), "", cell.without_truth);
    }
    if (task_ == Task::binary) {
      results_.add("validation", "threshold", cell.threshold,
                   std::isnan(cell.threshold) ? "no_positive_validation_row" : "", size_of(cell.validation_truth));
    }
    score_validation(cell);
    const std::size_t begin = results_.rows().size();
    score_rows(cell, cell.test, predicted, false);
    const std::size_t end = results_.rows().size();
    // Where rows stay without any value the filled score would be a score on a selection: it is left out.
    if (fillable.size() == all) {
      results_.frame.coverage_rule = "filled";
      score_rows(cell, filled, fillable, true);
    }
    results_.frame.coverage_rule = "common";
    if (common.size() < predicted.size()) {
      score_rows(cell, cell.test, common, false);
    } else {  // the same rows and predictions: the same values
      for (std::size_t i = begin; i < end; ++i) {
        ResultRow row = results_.rows()[i];
        row.coverage_rule = "common";
        results_.rows().push_back(std::move(row));
      }
    }
  }

  [[nodiscard]] const std::vector<CellScores>& cells() const { return cells_; }

 private:
  void find_baseline() {
    for (const std::string& id : reference_baselines(*cells_.front().record)) {
      for (const CellScores& cell : cells_) {
        if (cell.record->model == id) {
          baseline_ = &cell;
          return;
        }
      }
    }
  }

  /// The mean of the training targets is what baseline.global_mean predicts.
  void find_train_mean() {
    for (const CellScores& cell : cells_) {
      if (cell.record->model != "baseline.global_mean" || cell.test.empty()) continue;
      const bool constant =
          std::all_of(cell.test.begin(), cell.test.end(), [&](double p) { return p == cell.test.front(); });
      if (constant) train_mean_ = cell.test.front();
      return;
    }
  }

  void score_validation(const CellScores& cell) {
    const std::int64_t n = size_of(cell.validation_truth);
    const std::vector<MetricValue> metrics =
        task_ == Task::binary
            ? binary_metrics(cell.validation_truth, cell.validation_prediction, BinaryOptions{cell.threshold, false})
            : regression_metrics(cell.validation_truth, cell.validation_prediction, kNan);
    for (const MetricValue& m : metrics) {
      const bool selection = m.name == "rmse" || m.name == "pearson" || m.name == "auroc" || m.name == "auprc";
      if (selection) results_.add("validation", m.name, m.value, m.flag, n);
    }
  }

  /// \param detail also medians, shares of groups better than the baseline, and one row per drug
  void score_rows(const CellScores& cell, const std::vector<double>& prediction, const std::vector<std::size_t>& rows,
                  bool detail) {
    const std::vector<double> truth = take(rows_.truth, rows);
    const std::vector<double> own = take(prediction, rows);
    const std::int64_t n = size_of(truth);
    BinaryOptions options;
    options.threshold = cell.threshold;
    options.probabilities =
        cell.record->card.is_object() && bool_of(cell.record->card.value("traits", nlohmann::json()), "probabilities");
    const std::vector<MetricValue> pooled =
        task_ == Task::binary ? binary_metrics(truth, own, options) : regression_metrics(truth, own, train_mean_);
    for (const MetricValue& m : pooled) results_.add("pooled", m.name, m.value, m.flag, n);

    std::vector<double> base;
    if (baseline_ != nullptr) base = take(baseline_->test, rows);
    const bool with_base =
        baseline_ != nullptr && std::all_of(base.begin(), base.end(), [](double p) { return std::isfinite(p); });
    if (with_base) compare_with_baseline(pooled, truth, own, base);

    for (const Axis& axis : rows_.axes) {
      if (axis.names.empty()) continue;
      const std::vector<std::int32_t> code = take(axis.code, rows);
      const auto n_groups = static_cast<std::int32_t>(axis.names.size());
      const std::vector<GroupScore> groups = score_groups(task_, truth, own, code, n_groups, options);
      std::vector<GroupScore> base_groups;
      if (with_base && detail) {
        BinaryOptions base_options = options;
        base_options.threshold = baseline_->threshold;
        base_groups = score_groups(task_, truth, base, code, n_groups, base_options);
      }
      emit_macro(axis, groups, base_groups, detail);
      if (with_base && task_ == Task::regression) emit_macro_residuals(axis, truth, own, base, code);
    }
  }

  void compare_with_baseline(const std::vector<MetricValue>& pooled, const std::vector<double>& truth,
                             const std::vector<double>& own, const std::vector<double>& base) {
    const std::int64_t n = size_of(truth);
    if (task_ == Task::regression) {
      for (const MetricValue& m : residual_metrics(truth, own, base))
        results_.add("pooled", m.name, m.value, m.flag, n);
      const double base_rmse = metric_value(regression_metrics(truth, base, kNan), "rmse");
      results_.add("pooled", "rmse_skill", rmse_skill(metric_value(pooled, "rmse"), base_rmse), "", n);
    } else {
      results_.add("pooled", "auprc_skill", auprc_skill(metric_value(pooled, "auprc"), average_precision(truth, base)),
                   "", n);
    }
  }

  void emit_macro(const Axis& axis, const std::vector<GroupScore>& groups, const std::vector<GroupScore>& base_groups,
                  bool detail) {
    for (const MacroMean& m : macro_means(groups, base_groups)) {
      results_.add(axis.level, m.metric, m.mean, m.flags, m.n, m.valid, m.total);
      if (!detail) continue;
      results_.add(axis.level, m.metric + "_median", m.median, m.flags, m.n, m.valid, m.total);
      if (!base_groups.empty()) results_.add(axis.level, m.metric + "_better", m.better, "", m.n, m.compared, m.total);
    }
    if (!detail || axis.level != "per_drug") return;
    const std::string metric = task_ == Task::binary ? "auroc" : "pearson";
    for (std::size_t g = 0; g < groups.size(); ++g) {
      for (const MetricValue& m : groups[g].metrics) {
        if (m.name != metric) continue;
        const std::string flag = groups[g].large_enough ? "" : "small_group";
        const std::string both = m.flag.empty() || flag.empty() ? m.flag + flag : m.flag + ";" + flag;
        results_.add(axis.level + ":" + axis.names[g], m.name, m.value, both, groups[g].n);
      }
    }
  }

  void emit_macro_residuals(const Axis& axis, const std::vector<double>& truth, const std::vector<double>& own,
                            const std::vector<double>& base, const std::vector<std::int32_t>& code) {
    std::vector<double> left(truth.size());
    std::vector<double> explained(truth.size());
    for (std::size_t i = 0; i < truth.size(); ++i) {
      left[i] = truth[i] - base[i];
      explained[i] = own[i] - base[i];
    }
    const auto groups =
        score_groups(Task::regression, left, explained, code, static_cast<std::int32_t>(axis.names.size()), {});
    for (const MacroMean& m : macro_means(groups, {})) {
      const bool kept = m.metric == "r2" || m.metric == "pearson" || m.metric == "spearman";
      if (kept) results_.add(axis.level, m.metric + "_res", m.mean, m.flags, m.n, m.valid, m.total);
    }
  }

  FoldRows rows_;
  std::vector<CellScores> cells_;
  std::string run_id_;
  ResultSink results_;
  Task task_ = Task::regression;
  const CellScores* baseline_ = nullptr;
  double train_mean_ = kNan;
  std::vector<bool> common_;
};

}  // namespace

ResultRow row_of(const Record& record, const std::string& run_id) {
  ResultRow row;
  row.run = run_id;
  row.model = record.model;
  row.name = record.model_name;
  row.version = record.model_version;
  row.variant = record.variant;
  row.params = record.params.dump();
  row.dataset = record.dataset;
  row.task = record.task;
  row.split = text_of(record.split, "kind");
  row.split_hash = text_of(record.split, "hash");
  row.repeat = record.repeat;
  row.fold = record.fold;
  row.seed = record.seed;
  row.status = record.status;
  row.message = record.message;
  row.seconds = number_of(record.timing, "total_s", kNan);
  row.key = record.key;
  return row;
}

void ResultSink::add(const std::string& level, const std::string& metric, double value, const std::string& flags,
                     std::int64_t n, std::int64_t valid, std::int64_t total) {
  ResultRow row = frame;
  row.level = level;
  row.metric = metric;
  row.value = value;
  row.flags = flags;
  row.n = n;
  row.groups_valid = valid;
  row.groups_total = total;
  out_.push_back(std::move(row));
}

ResultRow failure_row(const Record& record, const std::string& run_id) {
  ResultRow failure = row_of(record, run_id);
  failure.value = kNan;
  return failure;
}

std::vector<ResultRow> compute_results(const Store& store, const std::vector<std::string>& keys,
                                       const std::string& run_id) {
  std::vector<Record> records;
  std::vector<std::string> distinct(keys);
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  for (const std::string& key : distinct) records.push_back(store.record(key));

  // Comparisons in the order of data set, task and split; in each the folds; in each the models by name.
  using Place = std::tuple<std::string, std::string, std::string, std::string, int, int>;
  std::map<Place, std::vector<const Record*>> folds;
  for (const Record& record : records) {
    folds[{record.dataset, record.task, text_of(record.split, "kind"), comparison_id(record), record.repeat,
           record.fold}]
        .push_back(&record);
  }
  std::vector<ResultRow> rows;
  for (auto& [place, cells] : folds) {
    std::sort(cells.begin(), cells.end(), [](const Record* a, const Record* b) {
      return std::forward_as_tuple(a->model_name, a->model, a->variant, a->seed, a->key) <
             std::forward_as_tuple(b->model_name, b->model, b->variant, b->seed, b->key);
    });
    if (cells.front()->task == "expression") {
      score_conditions(store, cells, run_id, rows);
      continue;
    }
    FoldBuilder builder;
    const bool scored = cells.front()->task == "regression" || cells.front()->task == "binary";
    for (const Record* record : cells) {
      if (ok(*record) && scored) builder.add(*record, store.predictions(record->key));
    }
    FoldRows fold_rows;
    std::vector<CellScores> scores;
    builder.finish(fold_rows, scores);
    FoldScorer scorer(std::move(fold_rows), std::move(scores), run_id, rows);
    std::size_t next = 0;
    for (const Record* record : cells) {
      if (ok(*record) && scored) {
        scorer.score(scorer.cells()[next++]);
      } else {
        ResultRow failure = failure_row(*record, run_id);
        if (ok(*record)) failure.message = "the task " + record->task + " has no metrics yet";
        rows.push_back(std::move(failure));
      }
    }
  }
  return rows;
}

}  // namespace cdrzoo
