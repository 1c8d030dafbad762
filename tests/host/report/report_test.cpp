// SPDX-License-Identifier: Apache-2.0
#include "report/report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "base/error.hpp"
#include "metrics/aggregate.hpp"
#include "metrics/metrics.hpp"
#include "metrics/statistics.hpp"
#include "support/catch.hpp"
#include "synthetic_store.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::SyntheticStore;
using cdrzoo::test::WithinAbs;

namespace {

using Row = SyntheticStore::Row;
using Values = std::vector<double>;

const double kMissing = std::nan("");

double good(const Row& row, int, std::uint64_t seed) {
  return row.truth + SyntheticStore::noise(row.sample, row.drug, 10 + static_cast<int>(seed));
}
double drug_mean(const Row& row, int, std::uint64_t) { return SyntheticStore::drug_mean(row); }
double tissue_mean(const Row& row, int, std::uint64_t) {
  return SyntheticStore::drug_mean(row) + (row.tissue == 1 ? 0.25 : -0.25);
}
double global_mean(const Row&, int, std::uint64_t) { return 2.75; }
/// Leaves out every tenth sample.
double partial(const Row& row, int fold, std::uint64_t seed) {
  return row.sample % 10 == 3 ? kMissing : good(row, fold, seed);
}

struct Query {
  std::string model, level, metric, rule = "as_reported";
  int fold = 0;
  std::uint64_t seed = 0;
};

const ResultRow* find(const std::vector<ResultRow>& rows, const Query& q) {
  const ResultRow* found = nullptr;
  for (const ResultRow& r : rows) {
    const bool hit = r.model == q.model && r.level == q.level && r.metric == q.metric && r.coverage_rule == q.rule &&
                     r.fold == q.fold && r.seed == q.seed;
    if (!hit) continue;
    REQUIRE(found == nullptr);  // every value is there once
    found = &r;
  }
  return found;
}

double value(const std::vector<ResultRow>& rows, const Query& q) {
  const ResultRow* row = find(rows, q);
  INFO(q.model << " " << q.level << " " << q.metric << " " << q.rule << " fold " << q.fold);
  REQUIRE(row != nullptr);
  return row->value;
}

/// Metrics of the rows of a fold, computed in the test, with what \p predict says where it says something.
std::vector<MetricValue> direct(const SyntheticStore& s, int fold, const SyntheticStore::Predict& predict) {
  Values truth;
  Values prediction;
  for (const Row& row : s.rows_of(fold)) {
    const double p = predict(row, fold, 0);
    if (!std::isfinite(p)) continue;
    truth.push_back(row.truth);
    prediction.push_back(p);
  }
  return regression_metrics(truth, prediction, 2.75);
}

std::string table_of(const SyntheticStore& s, ReportOptions options = {}) {
  return render_table(compute_results(s.store(), s.store().keys()), s.records(), options);
}

/// Without line breaks: where a sentence wraps is not what most tests are about.
std::string words_of(const SyntheticStore& s, const ReportOptions& options = {}) {
  std::istringstream text(table_of(s, options));
  std::string out;
  for (std::string word; text >> word;) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("Pooled results are the metrics of the test rows of each fold") {
  SyntheticStore s(3);
  s.add("baseline.global_mean", global_mean);
  s.add("toy.good", good);
  const auto rows = compute_results(s.store(), s.store().keys());
  for (int fold = 0; fold < 3; ++fold) {
    for (const MetricValue& m : direct(s, fold, good)) {
      INFO(m.name);
      CHECK_THAT(value(rows, {"toy.good", "pooled", m.name, "as_reported", fold}), WithinAbs(m.value, 1e-13));
    }
    CHECK(value(rows, {"toy.good", "pooled", "coverage", "as_reported", fold}) == 1);
    CHECK(find(rows, {"toy.good", "pooled", "rmse", "as_reported", fold})->n == 72);
    // Validation rows are those of the next fold here.
    CHECK_THAT(value(rows, {"toy.good", "validation", "rmse", "as_reported", fold}),
               WithinAbs(metric_value(direct(s, (fold + 1) % 3, good), "rmse"), 1e-13));
  }
}

TEST_CASE("The training mean of r2_train is what the global mean predicts, and absent without it") {
  SyntheticStore s(2);
  s.add("toy.good", good);
  auto rows = compute_results(s.store(), s.store().keys());
  CHECK(find(rows, {"toy.good", "pooled", "r2_train"}) == nullptr);
  s.add("baseline.global_mean", global_mean);
  rows = compute_results(s.store(), s.store().keys());
  CHECK(value(rows, {"toy.good", "pooled", "r2_train"}) != value(rows, {"toy.good", "pooled", "r2"}));
  CHECK_THAT(value(rows, {"baseline.global_mean", "pooled", "r2_train"}), WithinAbs(0.0, 1e-12));
}

TEST_CASE("Macro means, medians and shares follow from the rows of each group") {
  SyntheticStore s(2);
  s.add("baseline.drug_tissue_mean", tissue_mean);
  s.add("baseline.drug_mean", drug_mean);
  s.add("toy.good", good);
  const auto rows = compute_results(s.store(), s.store().keys());
  Values per_drug;
  for (int d = 0; d < 6; ++d) {
    Values truth;
    Values prediction;
    for (const Row& row : s.rows_of(0)) {
      if (row.drug != d) continue;
      truth.push_back(row.truth);
      prediction.push_back(good(row, 0, 0));
    }
    REQUIRE(truth.size() == 12);
    per_drug.push_back(pearson(truth, prediction));
    const std::string level = "per_drug:drug " + std::string(1, static_cast<char>('A' + d));
    CHECK_THAT(value(rows, {"toy.good", level, "pearson", "filled"}), WithinAbs(per_drug.back(), 1e-14));
  }
  double sum = 0;
  for (const double r : per_drug) sum += r;
  CHECK_THAT(value(rows, {"toy.good", "per_drug", "pearson"}), WithinAbs(sum / 6, 1e-14));
  std::sort(per_drug.begin(), per_drug.end());
  CHECK_THAT(value(rows, {"toy.good", "per_drug", "pearson_median", "filled"}),
             WithinAbs((per_drug[2] + per_drug[3]) / 2, 1e-14));
  const ResultRow* macro = find(rows, {"toy.good", "per_drug", "pearson"});
  CHECK(macro->groups_valid == 6);
  CHECK(macro->groups_total == 6);
  CHECK(macro->n == 72);
  // All groups of a sample have 6 rows: too few for a macro mean, and the count says so.
  CHECK(find(rows, {"toy.good", "per_sample", "pearson"})->groups_valid == 0);
  CHECK(find(rows, {"toy.good", "per_sample", "pearson"})->groups_total == 12);
  CHECK(std::isnan(value(rows, {"toy.good", "per_sample", "pearson"})));
  CHECK(find(rows, {"toy.good", "per_tissue", "rmse"})->groups_total == 2);
  // A drug mean is constant within a drug: useless, not missing.
  CHECK(value(rows, {"baseline.drug_mean", "per_drug", "pearson"}) == 0);
  CHECK(find(rows, {"baseline.drug_mean", "per_drug", "pearson"})->flags == "constant_pred:6");
  CHECK(value(rows, {"toy.good", "per_drug", "rmse_better", "filled"}) == 1);
  CHECK(value(rows, {"baseline.drug_tissue_mean", "per_drug", "rmse_better", "filled"}) == 0);
}

TEST_CASE("Residual metrics and skill are against the reference baseline of the split") {
  SyntheticStore s(2);
  s.add("baseline.drug_tissue_mean", tissue_mean);
  s.add("baseline.drug_mean", drug_mean);
  s.add("toy.good", good);
  const auto rows = compute_results(s.store(), s.store().keys());
  const double own = metric_value(direct(s, 0, good), "rmse");
  const double base = metric_value(direct(s, 0, tissue_mean), "rmse");
  CHECK_THAT(value(rows, {"toy.good", "pooled", "rmse_skill"}), WithinAbs(1 - own / base, 1e-14));
  CHECK(value(rows, {"baseline.drug_tissue_mean", "pooled", "rmse_skill"}) == 0);
  CHECK(value(rows, {"baseline.drug_tissue_mean", "pooled", "pearson_res"}) == 0);
  Values left;
  Values explained;
  for (const Row& row : s.rows_of(0)) {
    left.push_back(row.truth - tissue_mean(row, 0, 0));
    explained.push_back(good(row, 0, 0) - tissue_mean(row, 0, 0));
  }
  CHECK_THAT(value(rows, {"toy.good", "pooled", "pearson_res"}), WithinAbs(pearson(left, explained), 1e-14));
}

TEST_CASE("Missing predictions: own rows, filled with the reference baseline, rows in common") {
  SyntheticStore s(3);
  s.add("toy.partial", partial);
  s.add("toy.good", good);
  SECTION("without the reference baseline nothing is filled") {
    const auto rows = compute_results(s.store(), s.store().keys());
    CHECK(find(rows, {"toy.partial", "pooled", "rmse", "filled"}) == nullptr);
    CHECK(find(rows, {"toy.good", "pooled", "rmse", "filled"}) != nullptr);  // it has nothing to fill
    CHECK_THAT(words_of(s), contains("scored on those only"));
  }
  SECTION("with it all three rules differ as they should") {
    s.add("baseline.drug_tissue_mean", tissue_mean);
    const auto rows = compute_results(s.store(), s.store().keys());
    for (int fold = 0; fold < 3; ++fold) {
      const auto filled = [](const Row& row, int f, std::uint64_t seed) {
        const double p = partial(row, f, seed);
        return std::isfinite(p) ? p : tissue_mean(row, f, seed);
      };
      const auto common = [](const Row& row, int f, std::uint64_t seed) {
        return std::isfinite(partial(row, f, seed)) ? good(row, f, seed) : kMissing;
      };
      CHECK_THAT(value(rows, {"toy.partial", "pooled", "rmse", "as_reported", fold}),
                 WithinAbs(metric_value(direct(s, fold, partial), "rmse"), 1e-14));
      CHECK_THAT(value(rows, {"toy.partial", "pooled", "rmse", "filled", fold}),
                 WithinAbs(metric_value(direct(s, fold, filled), "rmse"), 1e-14));
      CHECK_THAT(value(rows, {"toy.good", "pooled", "rmse", "common", fold}),
                 WithinAbs(metric_value(direct(s, fold, common), "rmse"), 1e-14));
      CHECK_THAT(value(rows, {"toy.good", "pooled", "rmse", "filled", fold}),
                 WithinAbs(metric_value(direct(s, fold, good), "rmse"), 1e-14));
      const double coverage = value(rows, {"toy.partial", "pooled", "coverage", "as_reported", fold});
      CHECK(find(rows, {"toy.partial", "pooled", "rmse", "common", fold})->n == std::lround(72 * coverage));
    }
    const std::string table = words_of(s);
    CHECK_THAT(table, contains("predicted 88.9 % of the test rows, the rest is filled with the reference baseline"));
    CHECK_THAT(table, contains("WARNING: below 95 %"));
  }
}

TEST_CASE("A model that predicts less than half of the rows is not ranked") {
  SyntheticStore s(3);
  s.add("baseline.drug_tissue_mean", tissue_mean);
  s.add("toy.oracle_on_few",
        [](const Row& row, int, std::uint64_t) { return row.sample % 4 == 0 ? row.truth : kMissing; });
  s.add("toy.silent", [](const Row&, int, std::uint64_t) { return kMissing; });
  ReportOptions options;
  options.metrics = {"rmse"};
  const std::string table = table_of(s, options);
  CHECK_THAT(table, contains("not ranked"));
  const auto line = [&](const std::string& name) {
    const auto at = table.find("\n" + name);
    REQUIRE(at != std::string::npos);
    return table.substr(at + 1, table.find('\n', at + 1) - at - 1);
  };
  CHECK_THAT(line("baseline.drug_tissue_mean"), contains("  >"));
  CHECK(line("toy.oracle_on_few").find("  >") == std::string::npos);
  // A model without any prediction is the baseline when filled, and does not empty the rows in common.
  const auto rows = compute_results(s.store(), s.store().keys());
  CHECK(find(rows, {"toy.oracle_on_few", "pooled", "rmse", "common"})->n > 0);
  CHECK(std::isnan(value(rows, {"toy.silent", "pooled", "rmse"})));
  CHECK(value(rows, {"toy.silent", "pooled", "rmse", "filled"}) ==
        value(rows, {"baseline.drug_tissue_mean", "pooled", "rmse", "filled"}));
}

TEST_CASE("A failed cell is one row with its reason, and the table counts it") {
  SyntheticStore s(5);
  s.add("baseline.drug_tissue_mean", tissue_mean);
  s.add_failing("toy.crash", good, {2}, "crash", "signal 11 in fit");
  s.add_failing("toy.dead", good, {0, 1, 2, 3, 4}, "timeout", "no answer for 600 s");
  const auto rows = compute_results(s.store(), s.store().keys());
  int failures = 0;
  for (const ResultRow& r : rows) {
    if (r.status == "ok") continue;
    ++failures;
    CHECK(r.metric.empty());
    CHECK(std::isnan(r.value));
    CHECK_FALSE(r.message.empty());
  }
  CHECK(failures == 6);
  const std::string table = words_of(s);
  CHECK_THAT(table, contains("failed 1/5; crash: signal 11 in fit"));
  CHECK_THAT(table, contains("failed 5/5; 5 x timeout: no answer for 600 s"));
  CHECK_THAT(table, contains("4/5 folds valid"));
  CHECK_THAT(table, !contains("nan"));
  SECTION("below 80 % of the folds the value is NaN") {
    s.add_failing("toy.half", good, {0, 1}, "oom", "more than 4000 MB");
    CHECK_THAT(words_of(s), contains("NaN (3/5 valid)"));
  }
  SECTION("all cells of a comparison failed: still a table") {
    SyntheticStore dead(3);
    dead.add_failing("toy.dead", good, {0, 1, 2}, "crash", "signal 6 in create");
    const std::string text = words_of(dead);
    CHECK_THAT(text, contains("failed 3/3; 3 x crash: signal 6 in create"));
  }
}

TEST_CASE("All seeds of one fold failing leaves that fold out, one seed failing leaves that seed out") {
  SyntheticStore s(5);
  s.adjust = [](Record& record, PredictionTable& table) {
    const bool fails = record.fold == 3 || (record.fold == 1 && record.seed == 2);
    if (!fails) return;
    record.status = "numeric";
    record.message = "a loss that is not finite";
    table = PredictionTable();
  };
  s.add("toy.good", good, {0, 1, 2});
  const auto rows = compute_results(s.store(), s.store().keys());
  Values folds;
  for (const int fold : {0, 1, 2, 4}) {
    Values seeds;
    for (const std::uint64_t seed : {0U, 1U, 2U}) {
      if (fold == 1 && seed == 2) continue;
      seeds.push_back(value(rows, {"toy.good", "pooled", "rmse", "filled", fold, seed}));
    }
    folds.push_back(summarize_folds(seeds).mean);
  }
  const Summary expected = summarize_folds(folds);
  ReportOptions options;
  options.metrics = {"rmse"};
  options.format = "csv";
  std::istringstream csv(table_of(s, options));
  std::string head;
  std::string line;
  std::getline(csv, head);
  std::getline(csv, line);
  REQUIRE(head.rfind("dataset,task,split,split_hash,model,id,cells,failed,coverage,rmse mean,rmse sd,rmse valid_folds",
                     0) == 0);
  std::vector<std::string> field;
  std::istringstream fields(line);
  for (std::string f; std::getline(fields, f, ',');) field.push_back(f);
  CHECK(field[6] == "15");
  CHECK(field[7] == "4");
  CHECK_THAT(std::stod(field[9]), WithinAbs(expected.mean, 1e-15));
  CHECK_THAT(std::stod(field[10]), WithinAbs(expected.sd, 1e-15));
  CHECK(field[11] == "4");
  options.format = "text";
  CHECK_THAT(words_of(s, options), contains("failed 4/15; 4 x numeric: a loss that is not finite"));
}

TEST_CASE("Binary: the threshold is from the cell's own validation rows and one for all groups") {
  SyntheticStore s(3, 24, true);
  const auto score = [](const Row& row, int, std::uint64_t) {
    return 10 * (row.truth + 1.5 * SyntheticStore::noise(row.sample, row.drug, 4)) + 100;
  };
  s.add("toy.good", score);
  const auto rows = compute_results(s.store(), s.store().keys());
  for (int fold = 0; fold < 3; ++fold) {
    Values label[2];
    Values predicted[2];
    for (const int part : {0, 1}) {
      for (const Row& row : s.rows_of(fold + part)) {
        label[part].push_back(row.truth);
        predicted[part].push_back(score(row, fold, 0));
      }
    }
    const double threshold = best_f1_threshold(label[1], predicted[1]);
    CHECK(value(rows, {"toy.good", "validation", "threshold", "as_reported", fold}) == threshold);
    const auto expected = binary_metrics(label[0], predicted[0], {threshold, false, 1e-15});
    for (const char* name : {"auroc", "auprc", "accuracy", "f1", "mcc", "prevalence"}) {
      INFO(name);
      CHECK_THAT(value(rows, {"toy.good", "pooled", name, "as_reported", fold}),
                 WithinAbs(metric_value(expected, name), 1e-14));
    }
    CHECK(find(rows, {"toy.good", "pooled", "brier", "as_reported", fold}) == nullptr);
  }
  const std::string table = words_of(s);
  CHECK_THAT(table, contains("prevalence in the test rows"));
  CHECK_THAT(table, contains("label 1 = response below the drug's median over the training rows (rows without a "
                             "response value: as given)"));
  CHECK_THAT(table, contains("accuracy, f1, mcc: at the threshold that maximises F1 on the validation rows"));
  SECTION("declared probabilities add Brier, log-loss and the metrics at one half") {
    SyntheticStore p(2, 24, true);
    p.adjust = [](Record& record, PredictionTable&) { record.card["traits"]["probabilities"] = true; };
    p.add("toy.probability", [](const Row& row, int, std::uint64_t) {
      return 0.5 + 0.4 * (row.truth - 0.5) + 0.3 * SyntheticStore::noise(row.sample, row.drug, 4);
    });
    const auto more = compute_results(p.store(), p.store().keys());
    CHECK(find(more, {"toy.probability", "pooled", "brier"}) != nullptr);
    CHECK(find(more, {"toy.probability", "pooled", "accuracy@0.5"}) != nullptr);
  }
}

TEST_CASE("Binary: a fold of one class has no AUROC and is counted as not valid") {
  SyntheticStore s(5, 12, true);
  s.adjust = [](Record& record, PredictionTable& table) {
    if (record.fold != 4) return;
    for (std::size_t i = 0; i < table.size(); ++i) {
      if (table.part[i] == "test") table.truth[i] = 0;
    }
  };
  s.add("toy.a", [](const Row& row, int, std::uint64_t) { return SyntheticStore::noise(row.sample, row.drug, 1); });
  const auto rows = compute_results(s.store(), s.store().keys());
  const ResultRow* auc = find(rows, {"toy.a", "pooled", "auroc", "as_reported", 4});
  REQUIRE(auc != nullptr);
  CHECK(std::isnan(auc->value));
  CHECK(auc->flags == "one_class");
  CHECK(std::isfinite(value(rows, {"toy.a", "pooled", "accuracy", "as_reported", 4})));
  CHECK_THAT(words_of(s), contains("auroc, auprc, per_drug:auroc, f1: 4/5 folds valid"));
}

TEST_CASE("No validation row: no threshold, and the metrics that need one are undefined") {
  SyntheticStore s(2, 12, true);
  s.adjust = [](Record&, PredictionTable& table) {
    for (std::string& part : table.part) part = "test";
    // Keep the first half of the rows only: the others would be doubles.
    const std::size_t half = table.size() / 2;
    for (auto* v : {&table.truth, &table.prediction})
      v->erase(v->begin(), v->begin() + static_cast<std::ptrdiff_t>(half));
    for (auto* v : {&table.record, &table.status}) v->erase(v->begin(), v->begin() + static_cast<std::ptrdiff_t>(half));
    for (auto* v : {&table.part, &table.sample, &table.drug, &table.tissue, &table.domain}) {
      v->erase(v->begin(), v->begin() + static_cast<std::ptrdiff_t>(half));
    }
  };
  s.add("toy.a", [](const Row& row, int, std::uint64_t) { return row.truth; });
  const auto rows = compute_results(s.store(), s.store().keys());
  CHECK(find(rows, {"toy.a", "pooled", "f1"})->flags == "no_threshold");
  CHECK(value(rows, {"toy.a", "pooled", "auroc"}) == 1);
}

TEST_CASE("Cells of one fold that disagree about the truth are an error, not an average") {
  SyntheticStore s(2);
  s.add("toy.a", good);
  s.adjust = [](Record&, PredictionTable& table) { table.truth[80] += 1; };
  s.add("toy.b", good);
  CHECK_THROWS_AS(compute_results(s.store(), s.store().keys()), DataError);
}

TEST_CASE("The same cells give the same bytes, in whatever order they are named") {
  SyntheticStore s(3);
  s.add("baseline.drug_tissue_mean", tissue_mean);
  s.add("toy.partial", partial, {0, 1});
  s.add_failing("toy.crash", good, {0}, "crash", "a, \"quoted\"\nmessage");
  auto keys = s.store().keys();
  auto records = s.records();
  const auto rows = compute_results(s.store(), keys, "run7");
  const auto a = s.folder() / "a.csv";
  const auto b = s.folder() / "b.csv";
  write_results_csv(rows, a);
  const std::string table = render_table(rows, records, {});
  std::reverse(keys.begin(), keys.end());
  keys.push_back(keys.front());
  std::reverse(records.begin(), records.end());
  const auto again = compute_results(s.store(), keys, "run7");
  write_results_csv(again, b);
  CHECK(read(a) == read(b));
  CHECK(render_table(again, records, {}) == table);
  CHECK_THAT(read(a), contains("\"a, \"\"quoted\"\"\nmessage\""));
  CHECK(read(a).find("\nrun7,baseline.drug_tissue_mean,") != std::string::npos);
  CHECK(table.find("quoted\"\nmessage") == std::string::npos);  // one line in the table
}

TEST_CASE("Numbers in results.csv read back as the same doubles") {
  SyntheticStore s(2);
  s.add("toy.good", good);
  const auto rows = compute_results(s.store(), s.store().keys());
  const auto path = s.folder() / "results.csv";
  write_results_csv(rows, path);
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  CHECK(line ==
        "run,model,name,version,variant,params,dataset,task,split,split_hash,repeat,fold,seed,level,metric,value,n,"
        "groups_valid,groups_total,coverage_rule,flags,status,message,seconds,key");
  std::size_t next = 0;
  while (std::getline(file, line)) {
    std::vector<std::string> field;
    std::istringstream fields(line);
    for (std::string f; std::getline(fields, f, ',');) field.push_back(f);
    REQUIRE(field.size() == 25);
    const double read_back = std::stod(field[15]);
    CHECK((read_back == rows[next].value || (std::isnan(read_back) && std::isnan(rows[next].value))));
    ++next;
  }
  CHECK(next == rows.size());
}

TEST_CASE("Stars need seven folds") {
  for (const int folds : {5, 8}) {
    SyntheticStore s(folds);
    s.add("baseline.drug_mean", drug_mean);
    s.add("toy.good", good);
    s.add("toy.same", drug_mean);
    ReportOptions options;
    options.metrics = {"rmse"};
    options.reference_model = "baseline.drug_mean";
    const std::string table = words_of(s, options);
    INFO(table);
    CHECK((table.find(")***") != std::string::npos) == (folds == 8));
    CHECK((table.find("no stars, because 5 folds are too few (7 needed)") != std::string::npos) == (folds == 5));
    CHECK_THAT(table, contains("test/train ratio 1/" + std::to_string(folds - 1) + " (groups)"));
    CHECK_THAT(table, contains("Holm over 2 comparisons per column"));
  }
}

TEST_CASE("A transfer has no stars: its folds have the same test rows") {
  SyntheticStore s(8);
  s.adjust = [](Record& record, PredictionTable&) {
    record.split["kind"] = "transfer";
    record.split["source"] = "cell_line";
    record.split["target"] = "patient";
  };
  s.add("baseline.drug_mean", drug_mean);
  s.add("toy.good", good);
  const std::string table = words_of(s);
  CHECK_THAT(table, contains("domain transfer cell_line -> patient"));
  CHECK_THAT(table, contains("no stars, because all folds have the same test rows"));
  CHECK(table.find(")*") == std::string::npos);
}

TEST_CASE("The p values of the table are Nadeau-Bengio's on the fold values, adjusted by Holm") {
  SyntheticStore s(8);
  s.add("baseline.drug_mean", drug_mean);
  s.add("baseline.drug_tissue_mean", tissue_mean);
  s.add("toy.good", good);
  const auto rows = compute_results(s.store(), s.store().keys());
  const auto fold_values = [&](const std::string& model) {
    Values v;
    for (int fold = 0; fold < 8; ++fold) v.push_back(value(rows, {model, "pooled", "rmse", "filled", fold}));
    return v;
  };
  const Values base = fold_values("baseline.drug_mean");
  const Values p = {nadeau_bengio_test(fold_values("baseline.drug_tissue_mean"), base, 1.0 / 7).p_value,
                    nadeau_bengio_test(fold_values("toy.good"), base, 1.0 / 7).p_value};
  const Values adjusted = holm(p);
  ReportOptions options;
  options.metrics = {"rmse"};
  options.reference_model = "baseline.drug_mean";
  options.format = "csv";
  std::istringstream csv(table_of(s, options));
  std::string line;
  std::getline(csv, line);
  std::map<std::string, std::pair<double, double>> of_model;
  while (std::getline(csv, line)) {
    std::vector<std::string> field;
    std::istringstream fields(line);
    for (std::string f; std::getline(fields, f, ',');) field.push_back(f);
    of_model[field[4]] = {std::stod(field[12]), std::stod(field[13])};
  }
  CHECK_THAT(of_model["baseline.drug_tissue_mean"].first, WithinAbs(p[0], 1e-15));
  CHECK_THAT(of_model["toy.good"].first, WithinAbs(p[1], 1e-15));
  CHECK_THAT(of_model["baseline.drug_tissue_mean"].second, WithinAbs(adjusted[0], 1e-15));
  CHECK_THAT(of_model["toy.good"].second, WithinAbs(adjusted[1], 1e-15));
  CHECK(std::isnan(of_model["baseline.drug_mean"].first));
}

TEST_CASE("Scores that differ by rounding alone are both best, and neither wins a fold") {
  SyntheticStore s(8);
  const double factor = GENERATE(1 - 1e-9, 1 - 1e-3);
  s.add("toy.good", good);
  // The errors of one fold are smaller by a factor.
  s.add("toy.other", [&](const Row& row, int fold, std::uint64_t seed) {
    return row.truth + (good(row, fold, seed) - row.truth) * (fold == 2 ? factor : 1);
  });
  ReportOptions options;
  options.metrics = {"rmse"};
  options.reference_model = "toy.good";
  const bool better = factor < 1 - 1e-6;
  const std::string table = words_of(s, options);
  CHECK_THAT(table, contains(better ? " 1/8" : " 0/8"));
  options.format = "csv";
  const std::string csv = table_of(s, options);
  int best = 0;
  for (std::size_t at = csv.find(",rmse,"); at != std::string::npos; at = csv.find(",rmse,", at + 1)) ++best;
  CHECK(best == (better ? 1 : 2));
}

TEST_CASE("The best naive baseline is chosen on validation rows, never on test rows") {
  SyntheticStore s(3);
  // The drug mean is better on validation rows, worse on test rows.
  s.adjust = [](Record& record, PredictionTable& table) {
    for (std::size_t i = 0; i < table.size(); ++i) {
      const bool spoil = (record.model == "baseline.drug_mean") == (table.part[i] == "test");
      if (spoil) table.prediction[i] += 5;
    }
  };
  s.add("baseline.drug_mean", drug_mean);
  s.add("baseline.drug_tissue_mean", tissue_mean);
  s.adjust = nullptr;
  s.add("toy.good", good);
  ReportOptions options;
  options.reference_model = "best_naive";
  const std::string table = words_of(s, options);
  CHECK_THAT(table, contains("Best naive baseline, chosen on validation rows by rmse: baseline.drug_mean."));
  CHECK_THAT(table, contains("difference from baseline.drug_mean"));
}

TEST_CASE("Wishes that cannot be met are errors that name what there is") {
  SyntheticStore s(2);
  s.add("toy.good", good);
  const auto message = [&](const ReportOptions& options) {
    try {
      (void)table_of(s, options);
    } catch (const UsageError& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  ReportOptions options;
  options.metrics = {"auroc"};
  CHECK_THAT(message(options), contains("no metric \"auroc\" at level \"pooled\"; they have: coverage, kendall, mae"));
  options.metrics = {"per_planet:rmse"};
  CHECK_THAT(message(options), contains("no level \"per_planet\""));
  options.metrics = {};
  options.reference_model = "toy.god";
  CHECK_THAT(message(options), contains("\"toy.god\" is not among the results; they have: toy.good"));
  options.reference_model = "best_naive";
  CHECK_THAT(message(options), contains("best_naive"));
  options.reference_model = "";
  options.format = "pdf";
  CHECK_THAT(message(options), contains("text, markdown, csv"));
}

TEST_CASE("Of an unfinished run the table says which wishes are still to come, and has the rest") {
  SyntheticStore s(2);
  s.add("toy.good", good);
  ReportOptions options;
  options.unfinished = true;
  options.metrics = {"rmse", "rmse_skill"};
  options.reference_model = "baseline.drug_mean";
  const std::string sentence =
      "Asked for, and of cells that have not run yet: rmse_skill, the reference baseline.drug_mean.";
  const std::string table = words_of(s, options);
  CHECK_THAT(table, contains(sentence));
  CHECK_THAT(table, contains("toy.good"));
  options.metrics = {"rmse"};
  options.reference_model = "toy.good";
  CHECK(words_of(s, options).find("Asked for") == std::string::npos);
  options.format = "pdf";
  CHECK_THROWS_AS(table_of(s, options), UsageError);
}

TEST_CASE("The same wishes are judged before a run") {
  const std::vector<std::string> models = {"baseline.drug_mean", "toy.good"};
  ReportOptions options;
  options.metrics = {"rmse", "per_drug:pearson", "per_cell:rmse_better", "r2_train", "rmse_skill", "per_drug:r2_res"};
  options.reference_model = "best_naive";
  CHECK_NOTHROW(check_report_options(options, "regression", models));
  CHECK_THROWS_AS(check_report_options(options, "regression", {"toy.good"}), UsageError);
  CHECK_THROWS_AS(check_report_options(options, "binary", models), UsageError);
  options.metrics = {"sensitivity", "per_drug:auroc", "accuracy@0.5", "brier"};
  CHECK_NOTHROW(check_report_options(options, "binary", models));
  options.reference_model = "toy.bad";
  CHECK_THROWS_AS(check_report_options(options, "binary", models), UsageError);
  options.reference_model = "";
  options.metrics = {"per_planet:auroc"};
  CHECK_THROWS_AS(check_report_options(options, "binary", models), UsageError);
}

TEST_CASE("Every metric that results have may be asked for before the run") {
  for (const bool binary : {false, true}) {
    SyntheticStore s(2, 24, binary);
    s.adjust = [](Record& record, PredictionTable&) { record.card["traits"]["probabilities"] = true; };
    s.add("baseline.drug_tissue_mean", tissue_mean);
    s.add("baseline.global_mean", global_mean);
    for (const ResultRow& row : compute_results(s.store(), s.store().keys())) {
      if (row.level.find(':') != std::string::npos || row.level == "validation") continue;
      ReportOptions options;
      options.metrics = {row.level + ":" + row.metric};
      INFO(options.metrics.front());
      CHECK_NOTHROW(check_report_options(options, row.task, {}));
    }
  }
}

TEST_CASE("Test rows without a true value are left out and counted") {
  SyntheticStore s(2);
  s.adjust = [](Record&, PredictionTable& table) {
    for (std::size_t i = table.size() - 5; i < table.size(); ++i) table.truth[i] = kMissing;
  };
  s.add("toy.good", good);
  const auto rows = compute_results(s.store(), s.store().keys());
  CHECK(value(rows, {"toy.good", "pooled", "rows_without_truth"}) == 5);
  CHECK(find(rows, {"toy.good", "pooled", "rmse"})->n == 67);
  CHECK(std::isfinite(value(rows, {"toy.good", "pooled", "rmse"})));
}

TEST_CASE("Models of the same name are told apart by their parameters") {
  SyntheticStore s(2);
  s.add("toy.ridge", good, {0}, {{"lambda", 1.0}, {"variant", "joint"}});
  s.add("toy.ridge", drug_mean, {0}, {{"lambda", 100.0}, {"variant", "joint"}});
  const std::string table = words_of(s);
  CHECK_THAT(table, contains("toy.ridge (lambda = 1.0)"));
  CHECK_THAT(table, contains("toy.ridge (lambda = 100.0)"));
}

TEST_CASE("Cells of different splits are different tables, and no cells are no table") {
  SyntheticStore s(2);
  s.add("toy.good", good);
  s.adjust = [](Record& record, PredictionTable&) {
    record.key += "x";
    record.split["hash"] = "other";
    record.split["kind"] = "ldo";
  };
  s.add("toy.good", good);
  const std::string table = words_of(s);
  CHECK_THAT(table, contains("leave-cell-line-out (lco)"));
  CHECK_THAT(table, contains("leave-drug-out (ldo)"));
  CHECK(render_table({}, {}, {}) == "no cells\n");
}

TEST_CASE("Caveats of the data and a negative control are said under every table") {
  SyntheticStore s(2);
  s.adjust = [](Record& record, PredictionTable&) {
    record.caveats = {"expression arrived z-scored over all samples"};
    record.key_inputs["shuffle_labels"] = true;
  };
  s.add("toy.good", good);
  for (const char* format : {"text", "markdown"}) {
    ReportOptions options;
    options.format = format;
    CHECK_THAT(words_of(s, options), contains("expression arrived z-scored over all samples"));
    CHECK_THAT(words_of(s, options), contains("NEGATIVE CONTROL"));
  }
}

TEST_CASE("A table of thresholds is said with its hash and the drugs that it leaves out") {
  SyntheticStore s(2, 12, true);
  s.adjust = [](Record& record, PredictionTable&) {
    record.label_rule = {
        {"kind", "per_drug_table"}, {"thresholds", std::string(64, 'e')}, {"drugs_without_threshold", 17}};
  };
  s.add("toy.good", good);
  CHECK_THAT(words_of(s), contains("below the drug's threshold in the given table eeeeeeee") &&
                              contains("left out: 17 drugs without a threshold"));
}

TEST_CASE("What was fitted in each fold is said under every table, step by step and once") {
  SyntheticStore s(2);
  s.adjust = [](Record& record, PredictionTable&) {
    record.fitted = {{"sentences",
                      {"Missing expression was filled with a minimum.",
                       "Expression was z-scored per domain on the training samples of each fold."}}};
    if (record.fold == 1) record.fitted["sentences"].push_back("Domain patients has no training samples.");
  };
  s.add("toy.good", good);
  for (const char* format : {"text", "markdown"}) {
    ReportOptions options;
    options.format = format;
    const auto words = words_of(s, options);
    const auto fill = words.find("Missing expression was filled"),
               scale = words.find("Expression was z-scored per domain"),
               fallback = words.find("Domain patients has no training samples.");
    REQUIRE(fallback != std::string::npos);
    CHECK(fill < scale);
    CHECK(scale < fallback);
    CHECK(words.find("Expression was z-scored per domain", scale + 1) == std::string::npos);
  }
}

namespace {

/// What a snapshot test expects. CDRZOO_UPDATE_EXPECTED=1 writes \p now there first: look at the difference in git.
std::string expected(const char* name, const std::string& now) {
  const std::filesystem::path path = std::filesystem::path(CDRZOO_TEST_DATA) / name;
  if (std::getenv("CDRZOO_UPDATE_EXPECTED") != nullptr) std::ofstream(path, std::ios::binary) << now;
  return read(path);
}

/// Models with a clear order, a failure and an incomplete model, 8 folds.
void fill_for_snapshot(SyntheticStore& s) {
  s.adjust = [](Record& record, PredictionTable&) {
    record.caveats = {"expression arrived z-scored over all samples, so test samples took part in the scaling"};
  };
  s.add("baseline.global_mean", global_mean);
  s.add("baseline.drug_mean", drug_mean);
  s.add("baseline.drug_tissue_mean", tissue_mean);
  s.add("toy.good", good, {0, 1});
  s.add("toy.partial", partial);
  s.adjust = nullptr;
  s.add_failing("toy.crash", good, {2}, "crash", "signal 11 in fit");
}

}  // namespace

TEST_CASE("The text table reads as it should") {
  SyntheticStore s(8);
  fill_for_snapshot(s);
  ReportOptions options;
  options.title = "demo";
  options.reference_model = "baseline.drug_mean";
  const std::string table = table_of(s, options);
  INFO(table);
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) CHECK(line.size() <= 110);
  CHECK(table == expected("table.txt", table));
}

TEST_CASE("The Markdown table reads as it should") {
  SyntheticStore s(8);
  fill_for_snapshot(s);
  ReportOptions options;
  options.title = "demo";
  options.format = "markdown";
  options.reference_model = "baseline.drug_mean";
  const std::string table = table_of(s, options);
  INFO(table);
  CHECK(table == expected("table.md", table));
}

TEST_CASE("On a terminal the best is bold and nothing else changes place") {
  SyntheticStore s(3);
  s.add("toy.good", good);
  ReportOptions options;
  options.color = true;
  const std::string table = table_of(s, options);
  CHECK_THAT(table, contains("\x1b[1m"));
  CHECK(table.find("  >") == std::string::npos);
}
