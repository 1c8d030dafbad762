// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/error.hpp"
#include "metrics/perturbation.hpp"
#include "report/report.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::WithinAbs;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int kGenes = 30;
constexpr int kFolds = 3;
constexpr int kPerFold = 4;  // two contexts, two perturbations each

double noise(int a, int b, int c) {
  const int mixed = (a * 7919 + b * 104729 + c * 1299709) % 1000;
  return static_cast<double>(mixed) / 1000 - 0.5;
}
double control_value(int context, int gene) { return 3 + context + noise(context, gene, 1); }
double truth_value(int fold, int c, int gene) {
  return control_value(c / 2, gene) + 2 * noise(fold * kPerFold + c, gene, 2) + 0.2;
}

/// What one model says in one condition: share of the truth's change; rows of 4 that it predicted.
struct Answer {
  double share = 0;
  int predicted = 4;
};

class ConditionStore {
 public:
  ConditionStore() : store_(Store::open(folder_ / "s")) {}

  std::function<void(Record&, ConditionTable&)> adjust;

  /// \p answer of (fold, condition of the fold)
  template <typename F>
  void add(const std::string& model, F answer) {
    for (int fold = 0; fold < kFolds; ++fold) {
      Record r;
      r.key = model + "-" + std::to_string(fold);
      r.key_inputs = nlohmann::json::object();
      r.model = r.model_name = model;
      r.model_version = "1";
      r.plugin_hash = "0123456789";
      r.params = nlohmann::json::object();
      r.card = {{"id", model}};
      r.dataset = "screen";
      r.dataset_hash = "d";
      r.task = "expression";
      r.split = {{"kind", "unseen_pair"}, {"folds", kFolds}, {"hash", "s"}, {"group_type", "context x perturbation"}};
      r.fold = fold;
      r.protocol = "1.0";
      r.n_train = 320;
      r.n_test = 16;
      r.n_train_groups = 8;
      r.n_test_groups = kPerFold;
      ConditionTable t;
      t.genes = kGenes;
      t.deg_columns = 20;
      for (int part = 0; part < 2; ++part) {
        const int of = part == 0 ? fold : (fold + 1) % kFolds;  // validation: conditions of the next fold
        for (int c = kPerFold - 1; c >= 0; --c) {               // in any order
          const Answer a = answer(of, c);
          t.part.emplace_back(part == 0 ? "test" : "validation");
          t.context.push_back("context " + std::to_string(c / 2));
          t.perturbation.push_back("p" + std::to_string(of * kPerFold + c));
          t.second.emplace_back();
          t.name.push_back(t.context.back() + ": " + t.perturbation.back());
          t.domain.emplace_back("screen");
          t.dose_log10_molar.push_back(-6);
          t.time_h.push_back(24);
          t.condition.push_back(of * kPerFold + c);
          t.n_rows.push_back(4);
          t.n_predicted.push_back(a.predicted);
          t.n_references.push_back(0);
          t.in_context.push_back(0);
          t.singles_seen.push_back(-1);
          t.status.push_back(a.predicted < 4 ? 1 : 0);
          t.control_row.push_back(c / 2);
          t.train_row.push_back(0);
          std::vector<double> truth;
          std::vector<double> control;
          for (int g = 0; g < kGenes; ++g) {
            truth.push_back(truth_value(of, c, g));
            control.push_back(control_value(c / 2, g));
            t.truth.push_back(static_cast<float>(truth.back()));
            t.prediction.push_back(
                a.predicted == 0 ? std::numeric_limits<float>::quiet_NaN()
                                 : static_cast<float>(control.back() + a.share * (truth.back() - control.back())));
          }
          for (const std::int32_t gene : largest_differences(truth, control, 20)) t.deg.push_back(gene);
        }
      }
      for (int context = 0; context < 2; ++context) {
        for (int g = 0; g < kGenes; ++g) t.control.push_back(static_cast<float>(control_value(context, g)));
      }
      for (int context = 0; context < 2; ++context) {
        for (int g = 0; g < kGenes; ++g) {
          t.train_shifted.push_back(static_cast<float>(control_value(context, g) + noise(8, g, 4)));
        }
      }
      for (int g = 0; g < kGenes; ++g) t.train_perturbed.push_back(static_cast<float>(3 + noise(9, g, 3)));
      if (adjust) adjust(r, t);
      PredictionTable predictions;
      if (r.status == "ok") predictions.conditions = t;
      tables_[r.key] = t;
      store_.commit(store_.new_temporary(r.key), r, predictions);
    }
  }

  [[nodiscard]] std::vector<ResultRow> results() const { return compute_results(store_, store_.keys(), "run"); }
  [[nodiscard]] std::vector<Record> records() const {
    std::vector<Record> all;
    for (const std::string& key : store_.keys()) all.push_back(store_.record(key));
    return all;
  }
  [[nodiscard]] std::string table(ReportOptions options = {}) const {
    return render_table(results(), records(), options);
  }
  [[nodiscard]] const ConditionTable& of(const std::string& key) const { return tables_.at(key); }

 private:
  test::TemporaryFolder folder_;
  Store store_;
  std::map<std::string, ConditionTable> tables_;
};

const ResultRow* find(const std::vector<ResultRow>& rows, const std::string& key, const std::string& level,
                      const std::string& metric, const std::string& rule) {
  for (const ResultRow& r : rows) {
    if (r.key == key && r.level == level && r.metric == metric && r.coverage_rule == rule) return &r;
  }
  return nullptr;
}
const ResultRow& get(const std::vector<ResultRow>& rows, const std::string& key, const std::string& level,
                     const std::string& metric, const std::string& rule) {
  const ResultRow* row = find(rows, key, level, metric, rule);
  INFO(key << " " << level << " " << metric << " " << rule);
  REQUIRE(row != nullptr);
  return *row;
}
double value(const std::vector<ResultRow>& rows, const std::string& key, const std::string& metric,
             const std::string& rule = "filled") {
  return get(rows, key, "condition", metric, rule).value;
}

std::vector<double> taken(const std::vector<float>& matrix, std::size_t row) {
  const auto begin = matrix.begin() + static_cast<std::ptrdiff_t>(row * kGenes);
  return {begin, begin + kGenes};
}

/// Mean of one metric over the test conditions \p which, from the functions of the metrics module.
double by_hand(const ConditionTable& t, const std::string& metric, const std::vector<int>& which) {
  double sum = 0;
  for (const int condition : which) {
    for (std::size_t i = 0; i < t.size(); ++i) {
      if (t.part[i] != "test" || t.condition[i] != condition) continue;
      const std::vector<std::int32_t> deg(t.deg.begin() + static_cast<std::ptrdiff_t>(20 * i),
                                          t.deg.begin() + static_cast<std::ptrdiff_t>(20 * i + 20));
      const auto truth = taken(t.truth, i);
      const auto prediction = taken(t.prediction, i);
      const auto control = taken(t.control, static_cast<std::size_t>(t.control_row[i]));
      const auto perturbed = taken(t.train_perturbed, 0);
      const auto shifted = taken(t.train_shifted, static_cast<std::size_t>(t.control_row[i]));
      sum += metric_value(condition_metrics({truth, prediction, control, perturbed, deg, shifted}), metric);
    }
  }
  return sum / static_cast<double>(which.size());
}

const auto half_way = [](int, int) { return Answer{0.5, 4}; };
const auto control_mean = [](int, int) { return Answer{0, 4}; };

}  // namespace

TEST_CASE("Results of conditions are means and medians over the conditions of a fold") {
  ConditionStore store;
  store.add("model", [](int fold, int c) { return Answer{0.25 * (c + fold % 2), 4}; });
  store.add("perturbation.control_mean", control_mean);
  const auto rows = store.results();
  for (const char* metric :
       {"r2", "pearson_delta_pert", "pearson_delta_shift", "mse", "mse_deg20", "spearman", "r2_delta_ctrl_deg20"}) {
    CHECK_THAT(value(rows, "model-1", metric), WithinAbs(by_hand(store.of("model-1"), metric, {4, 5, 6, 7}), 1e-12));
  }
  const ResultRow& mse = get(rows, "model-1", "condition", "mse", "as_reported");
  CHECK(mse.groups_valid == 4);
  CHECK(mse.groups_total == 4);
  CHECK(mse.n == 16);
  CHECK(get(rows, "model-1", "condition", "mse_deg50", "filled").flags == "fewer_degs:4");
  const double low = by_hand(store.of("model-1"), "mse", {6});
  const double high = by_hand(store.of("model-1"), "mse", {5});
  std::vector<double> all;
  for (const int c : {4, 5, 6, 7}) all.push_back(by_hand(store.of("model-1"), "mse", {c}));
  std::sort(all.begin(), all.end());
  CHECK(low < high);
  CHECK_THAT(value(rows, "model-1", "mse_median"), WithinAbs((all[1] + all[2]) / 2, 1e-12));
  // Whoever predicts the control: nothing of the change, a coin for the direction, one half of the discrimination.
  CHECK(value(rows, "perturbation.control_mean-0", "pearson_delta_ctrl") == 0);
  CHECK(value(rows, "perturbation.control_mean-0", "direction_deg20") == 0.5);
  CHECK(value(rows, "perturbation.control_mean-0", "discrimination") == 0.5);
  CHECK(get(rows, "perturbation.control_mean-0", "condition", "direction_deg50", "filled").flags ==
        "fewer_degs:4;no_change:4");
  CHECK(value(rows, "model-1", "pearson_delta_ctrl_better") == 1.0);
  CHECK(get(rows, "model-1", "condition:context 1: p6", "mse", "filled").value == low);
  CHECK(find(rows, "model-1", "condition:context 1: p6", "spearman", "filled") == nullptr);  // in the store
  CHECK(get(rows, "model-1", "validation", "mse", "as_reported").groups_total == 4);
  CHECK_THAT(get(rows, "model-1", "validation", "r2", "as_reported").value,
             WithinAbs(value(rows, "model-2", "r2") /* other answers */, 10));
}

TEST_CASE("Coverage rules: own conditions, filled with the reference baseline, conditions in common") {
  ConditionStore store;
  store.add("model", [](int, int c) { return Answer{1, c == 0 ? 0 : c == 1 ? 1 : 4}; });
  const auto alone = store.results();
  CHECK(find(alone, "model-0", "condition", "mse", "filled") == nullptr);  // nothing to fill with
  CHECK(find(alone, "model-0", "condition:context 0: p1", "mse", "as_reported") != nullptr);
  store.add("perturbation.control_mean", control_mean);
  const auto rows = store.results();
  CHECK(get(rows, "model-0", "pooled", "coverage", "as_reported").value == 9.0 / 16);
  CHECK_THAT(value(rows, "model-0", "mse", "as_reported"), WithinAbs(0, 1e-12));
  CHECK(get(rows, "model-0", "condition", "mse", "as_reported").groups_valid == 3);
  CHECK(get(rows, "model-0", "condition", "mse", "common").groups_valid == 2);  // where all rows are predicted
  const ConditionTable& base = store.of("perturbation.control_mean-0");
  // Condition 0 is the baseline's, condition 1 has a quarter of its own: the error is three quarters of the baseline's.
  CHECK_THAT(value(rows, "model-0", "mse"),
             WithinAbs((by_hand(base, "mse", {0}) + by_hand(base, "mse", {1}) * 9 / 16) / 4, 1e-6));
  CHECK_THAT(get(rows, "perturbation.control_mean-0", "condition", "mse", "common").value,
             WithinAbs(by_hand(base, "mse", {2, 3}), 1e-12));
  const std::string table = store.table();
  CHECK_THAT(table,
             test::contains("predicted 56.2 % of the test rows, the rest is filled with the reference baseline"));
}

TEST_CASE("Scores of cells come from the store, and the ceiling is the last row of the table") {
  ConditionStore store;
  store.adjust = [](Record& r, ConditionTable& t) {
    const double scale = r.model == "model" ? 1 : 3;
    const std::size_t n = t.size();
    std::vector<double> energy;
    for (std::size_t i = 0; i < n; ++i) energy.push_back(scale * (t.condition[i] + 1));
    t.metrics.push_back({"energy_distance", energy, std::vector<std::string>(n)});
    t.metrics.push_back({"pearson_delta_ctrl_ceiling", std::vector<double>(n, 0.875), std::vector<std::string>(n)});
  };
  store.add("model", [](int, int c) { return Answer{0.5, c == 0 ? 0 : c == 1 ? 2 : 4}; });
  store.add("perturbation.control_mean", control_mean);
  const auto rows = store.results();
  CHECK_THAT(value(rows, "model-0", "energy_distance", "as_reported"), WithinAbs((2.0 + 3 + 4) / 3, 1e-12));
  CHECK_THAT(value(rows, "model-0", "energy_distance"), WithinAbs((3.0 * 1 + (2.0 + 3 * 2) / 2 + 3 + 4) / 4, 1e-12));
  CHECK(get(rows, "model-0", "condition", "energy_distance", "filled").flags == "mixed:2");
  CHECK(value(rows, "model-0", "pearson_delta_ctrl_ceiling", "as_reported") == 0.875);
  CHECK(find(rows, "model-0", "condition", "pearson_delta_ctrl_ceiling", "filled") == nullptr);  // of the truth alone
  ReportOptions options;
  options.metrics = {"r2", "pearson_delta_ctrl", "energy_distance"};
  options.format = "markdown";
  CHECK_THAT(store.table(options), test::contains("| noise ceiling |  | 0.875 |  |\n"));
  CHECK_THAT(store.table(options), test::contains("- noise ceiling: one half of the real cells"));
  options.metrics = {"r2"};
  CHECK(store.table(options).find("noise ceiling") == std::string::npos);
}

TEST_CASE("A reference in the context of the truth is said in every table and in the rows of its conditions") {
  ConditionStore store;
  store.add("perturbation.control_mean", control_mean);
  CHECK(store.table().find("reference in the same context") == std::string::npos);
  store.adjust = [](Record& r, ConditionTable& t) {
    for (std::size_t i = 0; i < t.size(); ++i) t.in_context[i] = r.fold == 1 && t.condition[i] % 2 == 0 ? 1 : 0;
  };
  store.add("xt", half_way);
  for (const char* format : {"text", "markdown"}) {
    ReportOptions options;
    options.format = format;
    CHECK_THAT(store.table(options), test::contains("reference in the same context as the truth: 2 of 12 conditions"));
  }
  store.add("xt2", half_way);  // the same is said once, of both
  CHECK_THAT(store.table(), test::contains("xt [1]") && test::contains("xt2 [1]") && !test::contains("[2]"));
  ReportOptions csv;
  csv.format = "csv";
  CHECK_THAT(store.table(csv), test::contains("reference in the same context as the truth: 2 of 12 conditions"));
  const auto rows = store.results();
  CHECK(get(rows, "xt-1", "condition", "reference_in_context", "as_reported").value == 2);
  CHECK(get(rows, "xt-1", "condition:context 0: p4", "r2", "filled").flags == "reference_in_context");
  CHECK(get(rows, "xt-1", "condition:context 0: p5", "r2", "filled").flags.empty());
}

TEST_CASE("Doubles are also scored by how many of their members were trained on alone") {
  ConditionStore store;
  store.adjust = [](Record&, ConditionTable& t) {
    for (std::size_t i = 0; i < t.size(); ++i) t.singles_seen[i] = t.condition[i] % 4 == 0 ? 2 : 0;
  };
  store.add("model", half_way);
  const auto rows = store.results();
  const ConditionTable& t = store.of("model-0");
  CHECK_THAT(get(rows, "model-0", "singles_seen_2", "mse", "filled").value, WithinAbs(by_hand(t, "mse", {0}), 1e-12));
  CHECK_THAT(get(rows, "model-0", "singles_seen_0", "mse", "filled").value,
             WithinAbs(by_hand(t, "mse", {1, 2, 3}), 1e-12));
  CHECK(find(rows, "model-0", "singles_seen_1", "mse", "filled") == nullptr);
  ReportOptions options;
  options.metrics = {"singles_seen_2:mse", "mse"};
  CHECK_THAT(store.table(options), test::contains("singles seen 2"));
}

TEST_CASE("A failed cell of the task is a row with its reason") {
  ConditionStore store;
  store.adjust = [](Record& r, ConditionTable&) {
    if (r.fold != 1) return;
    r.status = "crash";
    r.message = "in fit";
  };
  store.add("model", half_way);
  const auto rows = store.results();
  CHECK(std::count_if(rows.begin(), rows.end(), [](const ResultRow& r) { return r.status == "crash"; }) == 1);
  CHECK_THAT(store.table(), test::contains("failed 1/3"));
}

TEST_CASE("Cells that disagree about a true profile are an error") {
  ConditionStore store;
  store.add("a", half_way);
  store.adjust = [](Record&, ConditionTable& t) { t.truth[7] += 1; };
  store.add("b", half_way);
  CHECK_THROWS_AS(store.results(), DataError);
}

TEST_CASE("The table of conditions sorts by the change, knows what is lower and which baseline is the best") {
  ConditionStore store;
  store.add("perturbation.control_mean", control_mean);
  store.add("perturbation.train_mean", [](int fold, int c) { return Answer{0.1 * noise(fold, c, 5), 4}; });
  store.add("good", [](int, int) { return Answer{0.9, 4}; });
  const std::string table = store.table();
  INFO(table);
  CHECK(table.find("good") < table.find("perturbation.control_mean"));
  CHECK_THAT(table, test::contains("expression on screen, leave-(context, perturbation)-out"));
  CHECK_THAT(table, test::contains("pearson_delta_ctrl"));
  CHECK_THAT(table, test::contains("mse_deg50: lower is better"));
  CHECK_THAT(table, test::contains("Best naive baseline, chosen on validation rows by mse"));
  CHECK(table.find("energy_distance") == std::string::npos);  // no cells, no column
  CHECK_THAT(table, test::contains("mean over the test conditions of a fold, up to 4 of 4"));
  CHECK_THAT(table, test::contains("test/train ratio 1/2 (groups)"));  // not 16 of 320 cells
}

TEST_CASE("A default column that is undefined everywhere is left out, one that was asked for is not") {
  ConditionStore store;
  store.adjust = [](Record&, ConditionTable& t) {
    for (std::size_t i = 0; i < t.size(); ++i) t.context[i] = t.name[i];  // nobody to be told from
  };
  store.add("perturbation.control_mean", control_mean);
  CHECK(store.table().find("discrimination") == std::string::npos);
  ReportOptions options;
  options.metrics = {"r2", "discrimination"};
  CHECK_THAT(store.table(options), test::contains("discrimination: 0/3 folds valid"));
}

TEST_CASE("Metrics of the task are judged before a run") {
  ReportOptions options;
  options.metrics = {"r2",
                     "pearson_delta_pert_deg100",
                     "condition:mmd",
                     "mse_median",
                     "discrimination",
                     "coverage",
                     "r2_better",
                     "r2_ceiling",
                     "singles_seen_2:r2"};
  check_report_options(options, "expression", {"perturbation.control_mean"});
  options.metrics = {"rmse"};
  CHECK_THROWS_WITH(check_report_options(options, "expression", {"m"}),
                    test::contains("no metric \"rmse\" at level \"condition\" of the task expression"));
  options.metrics = {"per_drug:r2"};
  CHECK_THROWS_WITH(check_report_options(options, "expression", {"m"}),
                    test::contains("there is no level \"per_drug\"") && test::contains("condition"));
  options.metrics = {};
  options.reference_model = "best_naive";
  check_report_options(options, "expression", {"perturbation.mean_shift"});
  CHECK_THROWS_WITH(check_report_options(options, "expression", {"m"}), test::contains("perturbation.control_mean"));

  // Whatever results have may be asked for.
  ConditionStore store;
  store.add("m", half_way);
  options.reference_model = "";
  for (const ResultRow& row : store.results()) {
    if (row.level != "condition" || row.metric == "reference_in_context") continue;
    options.metrics.push_back("condition:" + row.metric);
  }
  check_report_options(options, "expression", {"m"});
}
