// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <memory>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "metrics/aggregate.hpp"
#include "metrics/perturbation.hpp"
#include "report/comparison.hpp"
#include "report/fold_scores.hpp"

namespace cdrzoo {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Scores that have a line for every condition. The others are in the means, and can be computed from the store.
constexpr std::array<const char*, 19> kPerCondition = {"r2",
                                                       "pearson",
                                                       "mse",
                                                       "pearson_delta_ctrl",
                                                       "pearson_delta_pert",
                                                       "pearson_delta_shift",
                                                       "r2_deg50",
                                                       "mse_deg50",
                                                       "pearson_delta_ctrl_deg50",
                                                       "pearson_delta_pert_deg50",
                                                       "direction_deg50",
                                                       "discrimination",
                                                       "energy_distance",
                                                       "mmd",
                                                       "r2_ceiling",
                                                       "pearson_delta_ctrl_ceiling",
                                                       "pearson_delta_pert_ceiling",
                                                       "energy_distance_ceiling",
                                                       "mmd_ceiling"};
/// Scores of the validation conditions.
constexpr std::array<const char*, 5> kValidation = {"r2", "mse", "pearson_delta_ctrl", "pearson_delta_pert",
                                                    "pearson_delta_shift"};

template <std::size_t N>
bool is_one_of(const std::array<const char*, N>& names, const std::string& name) {
  return std::any_of(names.begin(), names.end(), [&](const char* n) { return name == n; });
}

std::vector<double> row_of_matrix(const std::vector<float>& matrix, std::int64_t row, std::int64_t columns) {
  const auto begin = matrix.begin() + row * columns;
  return {begin, begin + columns};
}

/// The part of one cell's conditions that is scored together: validation or test.
struct Part {
  const Record* record = nullptr;
  std::shared_ptr<const ConditionTable> table;  ///< of all parts
  std::vector<std::int64_t> rows;               ///< of the table, ascending by condition
};

std::vector<std::int64_t> rows_of_part(const ConditionTable& table, const std::string& part) {
  std::vector<std::int64_t> rows;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table.part[i] == part) rows.push_back(static_cast<std::int64_t>(i));
  }
  std::sort(rows.begin(), rows.end(), [&](std::int64_t a, std::int64_t b) {
    return table.condition[static_cast<std::size_t>(a)] < table.condition[static_cast<std::size_t>(b)];
  });
  return rows;
}

/// Predicted means of the conditions of one part under one coverage rule, and how much of each is the model's own.
struct Predictions {
  std::vector<float> mean;         ///< [conditions, genes]; NaN = left out
  std::vector<bool> scored;        ///< per condition
  std::vector<double> own;         ///< share of the rows that the model predicted
  const Part* baseline = nullptr;  ///< the other share, where there is one
};

/// Means of the cell itself, conditions without any prediction left out.
Predictions as_reported(const Part& part) {
  Predictions p;
  const ConditionTable& t = *part.table;
  for (const std::int64_t row : part.rows) {
    const auto i = static_cast<std::size_t>(row);
    const auto begin = t.prediction.begin() + row * t.genes;
    p.mean.insert(p.mean.end(), begin, begin + t.genes);
    p.scored.push_back(t.n_predicted[i] > 0);
    p.own.push_back(1);
  }
  return p;
}

/// Missing rows have the baseline's mean of their condition. Nothing where the baseline lacks one too.
Predictions filled(const Part& part, const Part* baseline, bool& complete) {
  Predictions p = as_reported(part);
  p.baseline = baseline;
  complete = true;
  const ConditionTable& t = *part.table;
  for (std::size_t c = 0; c < part.rows.size(); ++c) {
    const auto i = static_cast<std::size_t>(part.rows[c]);
    if (t.n_predicted[i] == t.n_rows[i]) continue;
    if (baseline == nullptr || baseline->table->n_predicted[static_cast<std::size_t>(baseline->rows[c])] == 0) {
      complete = false;
      continue;
    }
    p.own[c] = static_cast<double>(t.n_predicted[i]) / static_cast<double>(t.n_rows[i]);
    p.scored[c] = true;
    for (std::int64_t g = 0; g < t.genes; ++g) {
      const double base =
          static_cast<double>(baseline->table->prediction[static_cast<std::size_t>(baseline->rows[c] * t.genes + g)]);
      float& mean = p.mean[c * static_cast<std::size_t>(t.genes) + static_cast<std::size_t>(g)];
      mean = static_cast<float>(t.n_predicted[i] == 0 ? base
                                                      : p.own[c] * static_cast<double>(mean) + (1 - p.own[c]) * base);
    }
  }
  return p;
}

/// A score from single cells under a coverage rule. Cells are not in the store: where rows were filled, the scores of
/// model and baseline are mixed by their shares.
MetricValue cell_score(const ConditionTable::Metric& metric, const Part& part, const Predictions& p, std::size_t c) {
  const auto i = static_cast<std::size_t>(part.rows[c]);
  MetricValue score{metric.name, metric.value[i], metric.flag[i]};
  if (p.own[c] >= 1 || p.baseline == nullptr) return score;
  const auto& columns = p.baseline->table->metrics;
  const auto other = std::find_if(columns.begin(), columns.end(), [&](const auto& m) { return m.name == metric.name; });
  const double base = other == columns.end() ? kNan : other->value[static_cast<std::size_t>(p.baseline->rows[c])];
  score.value = p.own[c] > 0 ? p.own[c] * score.value + (1 - p.own[c]) * base : base;
  score.flag += (score.flag.empty() ? "" : ";") + std::string("mixed");
  return score;
}

bool is_ceiling(const std::string& name) {
  return name.size() > 8 && name.compare(name.size() - 8, 8, "_ceiling") == 0;
}

/// Columns that any cell of the fold has from single cells, so that all cells have the same metrics.
std::vector<std::string> cell_columns(const std::vector<Part>& parts) {
  std::vector<std::string> names;
  for (const Part& part : parts) {
    for (const auto& metric : part.table->metrics) {
      if (std::find(names.begin(), names.end(), metric.name) == names.end()) names.push_back(metric.name);
    }
  }
  return names;
}

/// The scores of each condition; no metrics for those that are not scored.
std::vector<GroupScore> score_part(const Part& part, const Predictions& p, const std::vector<std::string>& columns) {
  const ConditionTable& t = *part.table;
  const std::size_t n = part.rows.size();
  std::vector<float> truth;
  std::vector<std::int32_t> context;
  std::map<std::string, std::int32_t> codes;
  std::vector<float> shown = p.mean;
  for (std::size_t c = 0; c < n; ++c) {
    const auto begin = t.truth.begin() + part.rows[c] * t.genes;
    truth.insert(truth.end(), begin, begin + t.genes);
    context.push_back(
        codes.try_emplace(t.context[static_cast<std::size_t>(part.rows[c])], static_cast<std::int32_t>(codes.size()))
            .first->second);
    if (p.scored[c]) continue;
    const auto own = shown.begin() + static_cast<std::ptrdiff_t>(c) * t.genes;
    std::fill(own, own + t.genes, std::numeric_limits<float>::quiet_NaN());
  }
  const auto rows = static_cast<std::int64_t>(n);
  const std::vector<MetricValue> discriminated =
      discrimination({truth.data(), rows, t.genes}, {shown.data(), rows, t.genes}, context);

  std::vector<GroupScore> scores(n);
  for (std::size_t c = 0; c < n; ++c) {
    const auto i = static_cast<std::size_t>(part.rows[c]);
    GroupScore& score = scores[c];
    if (!p.scored[c]) continue;
    score.n = t.n_rows[i];
    score.large_enough = true;  // one condition is one measurement, of however many cells
    std::vector<double> perturbed;
    if (t.train_row[i] >= 0) perturbed = row_of_matrix(t.train_perturbed, t.train_row[i], t.genes);
    std::vector<double> shifted;
    if (!t.train_shifted.empty()) shifted = row_of_matrix(t.train_shifted, t.control_row[i], t.genes);
    std::vector<std::int32_t> deg(t.deg.begin() + part.rows[c] * t.deg_columns,
                                  t.deg.begin() + (part.rows[c] + 1) * t.deg_columns);
    deg.erase(std::find(deg.begin(), deg.end(), -1), deg.end());
    score.metrics = condition_metrics({row_of_matrix(t.truth, part.rows[c], t.genes),
                                       row_of_matrix(p.mean, static_cast<std::int64_t>(c), t.genes),
                                       row_of_matrix(t.control, t.control_row[i], t.genes), perturbed, deg, shifted});
    score.metrics.push_back(discriminated[c]);
    for (const std::string& name : columns) {
      const auto own = std::find_if(t.metrics.begin(), t.metrics.end(), [&](const auto& m) { return m.name == name; });
      if (own == t.metrics.end()) {
        score.metrics.push_back({name, kNan, "no_cells"});
      } else if (is_ceiling(name)) {
        score.metrics.push_back({name, own->value[i], own->flag[i]});
      } else {
        score.metrics.push_back(cell_score(*own, part, p, c));
      }
    }
  }
  return scores;
}

/// Scores the cells of one fold under the three coverage rules.
class ConditionScorer {
 public:
  ConditionScorer(std::vector<Part> test, const std::string& run_id, std::vector<ResultRow>& out)
      : test_(std::move(test)), run_id_(run_id), results_(out), columns_(cell_columns(test_)) {
    for (const Part& part : test_) require_same_truth(test_.front(), part);
    find_baseline();
    if (test_.empty()) return;
    common_.assign(test_.front().rows.size(), true);
    for (const Part& part : test_) {
      const auto predicted = [&](std::size_t c) {
        const auto i = static_cast<std::size_t>(part.rows[c]);
        return std::pair(part.table->n_predicted[i], part.table->n_rows[i]);
      };
      bool any = false;  // a model that predicted nothing would leave nothing to compare the others on
      for (std::size_t c = 0; c < common_.size(); ++c) any = any || predicted(c).first > 0;
      for (std::size_t c = 0; any && c < common_.size(); ++c) {
        common_[c] = common_[c] && predicted(c).first == predicted(c).second;
      }
    }
    if (baseline_ != nullptr) {
      bool complete = true;
      const Predictions own = filled(*baseline_, nullptr, complete);
      if (complete) baseline_scores_ = score_part(*baseline_, own, columns_);
    }
  }

  [[nodiscard]] const std::vector<Part>& cells() const { return test_; }

  void score(const Part& part) {
    results_.frame = row_of(*part.record, run_id_);
    results_.frame.coverage_rule = "as_reported";
    std::int64_t rows = 0;
    std::int64_t predicted = 0;
    std::int64_t in_context = 0;
    for (const std::int64_t r : part.rows) {
      const auto i = static_cast<std::size_t>(r);
      rows += part.table->n_rows[i];
      predicted += part.table->n_predicted[i];
      in_context += part.table->in_context[i];
    }
    results_.add("pooled", "coverage", rows > 0 ? static_cast<double>(predicted) / static_cast<double>(rows) : kNan, "",
                 rows);
    results_.add("condition", "reference_in_context", static_cast<double>(in_context), "",
                 static_cast<std::int64_t>(part.rows.size()));
    score_validation(part);

    const Predictions own = as_reported(part);
    const std::vector<GroupScore> reported = score_part(part, own, columns_);
    emit_means(part, reported);
    bool complete = true;
    const Predictions full = filled(part, baseline_, complete);
    const bool nothing_missing = predicted == rows;
    std::vector<GroupScore> with_filled;
    if (complete) {
      results_.frame.coverage_rule = "filled";
      with_filled = nothing_missing ? reported : score_part(part, full, columns_);
      emit_means(part, with_filled);
      emit_better(part, with_filled);
    }
    emit_conditions(part, complete ? with_filled : reported);

    results_.frame.coverage_rule = "common";
    std::vector<GroupScore> common = reported;
    for (std::size_t c = 0; c < common.size(); ++c) {
      if (!common_[c]) common[c] = GroupScore{};
    }
    emit_means(part, common);
  }

 private:
  void require_same_truth(const Part& a, const Part& b) const {
    const ConditionTable& x = *a.table;
    const ConditionTable& y = *b.table;
    const auto refuse = [&](const std::string& what) {
      throw DataError("cells " + a.record->key + " and " + b.record->key +
                      " of the same split and fold disagree about " + what);
    };
    if (a.rows.size() != b.rows.size()) refuse("the number of their test conditions");
    if (x.genes != y.genes) refuse("the number of genes");
    for (std::size_t c = 0; c < a.rows.size(); ++c) {
      const auto i = static_cast<std::size_t>(a.rows[c]);
      const auto j = static_cast<std::size_t>(b.rows[c]);
      if (x.condition[i] != y.condition[j] || x.n_rows[i] != y.n_rows[j]) refuse("their test conditions");
      // By bytes: a gene that was not measured is NaN, which is not equal to itself.
      if (x.genes > 0 && compare_bytes(x.truth.data() + a.rows[c] * x.genes, y.truth.data() + b.rows[c] * y.genes,
                                       static_cast<std::size_t>(x.genes)) != 0) {
        refuse("the true profile of \"" + x.name[i] + "\"");
      }
    }
  }

  void find_baseline() {
    if (test_.empty()) return;
    for (const std::string& id : reference_baselines(*test_.front().record)) {
      for (const Part& part : test_) {
        if (part.record->model == id) {
          baseline_ = &part;
          return;
        }
      }
    }
  }

  void score_validation(const Part& part) {
    Part validation;
    validation.record = part.record;
    validation.table = part.table;
    validation.rows = rows_of_part(*part.table, "validation");
    if (validation.rows.empty()) return;
    for (const MacroMean& m : macro_means(score_part(validation, as_reported(validation), {}), {})) {
      if (is_one_of(kValidation, m.metric))
        results_.add("validation", m.metric, m.mean, m.flags, m.n, m.valid, m.total);
    }
  }

  void emit_macro(const std::string& level, const std::vector<GroupScore>& scores) {
    for (const MacroMean& m : macro_means(scores, {})) {
      // Of the truth alone: no coverage rule changes a ceiling.
      if (is_ceiling(m.metric) && results_.frame.coverage_rule != "as_reported") continue;
      results_.add(level, m.metric, m.mean, m.flags, m.n, m.valid, m.total);
      if (!is_ceiling(m.metric)) results_.add(level, m.metric + "_median", m.median, m.flags, m.n, m.valid, m.total);
    }
  }

  void emit_means(const Part& part, const std::vector<GroupScore>& scores) {
    emit_macro("condition", scores);
    // Doubles by how many of their members training has seen alone, where the fold has several kinds.
    std::map<std::int32_t, std::vector<GroupScore>> by_seen;
    for (std::size_t c = 0; c < scores.size(); ++c) {
      const std::int32_t seen = part.table->singles_seen[static_cast<std::size_t>(part.rows[c])];
      if (seen >= 0) by_seen[seen].push_back(scores[c]);
    }
    for (const auto& [seen, chosen] : by_seen) {
      if (chosen.size() < scores.size()) emit_macro("singles_seen_" + std::to_string(seen), chosen);
    }
  }

  void emit_better(const Part& part, const std::vector<GroupScore>& scores) {
    if (baseline_scores_.empty() || &part == baseline_) return;
    for (const MacroMean& m : macro_means(scores, baseline_scores_)) {
      if (!is_ceiling(m.metric))
        results_.add("condition", m.metric + "_better", m.better, "", m.n, m.compared, m.total);
    }
  }

  void emit_conditions(const Part& part, const std::vector<GroupScore>& scores) {
    for (std::size_t c = 0; c < scores.size(); ++c) {
      const auto i = static_cast<std::size_t>(part.rows[c]);
      const std::string reference = part.table->in_context[i] != 0 ? "reference_in_context" : "";
      for (const MetricValue& m : scores[c].metrics) {
        if (!is_one_of(kPerCondition, m.name)) continue;
        const std::string both = m.flag + (m.flag.empty() || reference.empty() ? "" : ";") + reference;
        results_.add("condition:" + part.table->name[i], m.name, m.value, both, scores[c].n);
      }
    }
  }

  std::vector<Part> test_;
  std::string run_id_;
  ResultSink results_;
  std::vector<std::string> columns_;
  const Part* baseline_ = nullptr;
  std::vector<GroupScore> baseline_scores_;
  std::vector<bool> common_;
};

}  // namespace

void score_conditions(const Store& store, const std::vector<const Record*>& cells, const std::string& run_id,
                      std::vector<ResultRow>& out) {
  std::vector<Part> parts;
  for (const Record* record : cells) {
    if (record->status != "ok") continue;
    PredictionTable predictions = store.predictions(record->key);
    if (!predictions.conditions) throw DataError("cell " + record->key + " of task expression has no conditions");
    Part part;
    part.record = record;
    part.table = std::make_shared<const ConditionTable>(std::move(*predictions.conditions));
    part.rows = rows_of_part(*part.table, "test");
    parts.push_back(std::move(part));
  }
  ConditionScorer scorer(std::move(parts), run_id, out);
  std::size_t next = 0;
  for (const Record* record : cells) {
    if (record->status == "ok") {
      scorer.score(scorer.cells()[next++]);
    } else {
      out.push_back(failure_row(*record, run_id));
    }
  }
}

}  // namespace cdrzoo
