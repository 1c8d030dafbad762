// SPDX-License-Identifier: Apache-2.0
// Equality with scikit-learn 1.2.1 and scipy 1.10.1 (shared/golden/metrics.json.gz) and with published predictions
// (shared/data/golden_metrics). Where our rule differs from theirs on a degenerate input, the rule is checked instead;
// every such place is marked RULE and listed in share/doc/metrics.md.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "gzip_text.hpp"
#include "metrics/metrics.hpp"
#include "metrics/statistics.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using cdrzoo::test::WithinAbs;
using cdrzoo::test::WithinRel;
using nlohmann::json;

namespace {

using Values = std::vector<double>;

constexpr double kExact = 1e-12;  ///< absolute, all metrics of size 1
constexpr double kP = 1e-9;       ///< relative, p values: series of another library

const json* goldens() {
  static const json parsed = [] {
    const auto text = test::read_gzip(std::string(CDRZOO_SHARED_DIR) + "/golden/metrics.json.gz");
    return text ? json::parse(*text) : json();
  }();
  if (parsed.is_null()) {
    WARN("skipped: " CDRZOO_SHARED_DIR "/golden/metrics.json.gz is not there");
    return nullptr;
  }
  return &parsed;
}

}  // namespace

TEST_CASE("Classification metrics equal scikit-learn's") {
  const json* all = goldens();
  if (all == nullptr) return;
  REQUIRE((*all)["classification"].size() == 110);
  for (const json& c : (*all)["classification"]) {
    INFO("case " << c["id"] << " " << c["kind"] << " n " << c["n"]);
    const auto label = c["label"].get<Values>();
    const auto score = c["score"].get<Values>();
    const json& expected = c["expected"];
    // The goldens clip probabilities at the machine epsilon, we at 1e-15 by default.
    const auto m = binary_metrics(label, score, {0.5, true, 2.220446049250313e-16});
    const auto positives = std::count(label.begin(), label.end(), 1.0);
    const auto negatives = std::count(label.begin(), label.end(), 0.0);
    const auto equal = [&](const char* ours, const char* theirs) {
      INFO(ours);
      CHECK_THAT(metric_value(m, ours), WithinAbs(expected[theirs].get<double>(), kExact));
    };
    const auto undefined = [&](const char* ours) {
      INFO(ours);
      CHECK(std::isnan(metric_value(m, ours)));
    };
    if (positives > 0 && negatives > 0) {
      equal("auroc", "auroc");
      equal("auprc", "average_precision");
      equal("auprc_trapz", "auprc_trapezoid");
      equal("balanced_accuracy", "balanced_accuracy");
    } else {
      CHECK(expected["auroc"].is_null());
      undefined("auroc");
      undefined("auprc");              // RULE: without negatives scikit-learn gives 1
      undefined("auprc_trapz");        // RULE: the same
      undefined("balanced_accuracy");  // RULE: scikit-learn averages over the classes that are there
    }
    if (positives > 0) {
      equal("f1", "f1");
      equal("recall", "recall");
    } else {
      undefined("f1");  // RULE: scikit-learn gives 0
      undefined("recall");
    }
    for (const char* name : {"accuracy", "precision", "mcc", "brier"}) equal(name, name);
    INFO("log_loss");
    CHECK_THAT(metric_value(m, "log_loss"), WithinRel(expected["log_loss"].get<double>(), kExact));
    const Confusion confusion = confusion_at(label, score, 0.5);
    CHECK(json({confusion.tn, confusion.fp, confusion.fn, confusion.tp}) == expected["confusion_tn_fp_fn_tp"]);
  }
}

TEST_CASE("Regression metrics equal scipy's and scikit-learn's") {
  const json* all = goldens();
  if (all == nullptr) return;
  REQUIRE((*all)["regression"].size() == 90);
  for (const json& c : (*all)["regression"]) {
    INFO("case " << c["id"] << " " << c["kind"] << " n " << c["n"]);
    const auto truth = c["truth"].get<Values>();
    const auto prediction = c["prediction"].get<Values>();
    const json& expected = c["expected"];
    const auto m = regression_metrics(truth, prediction, std::nan(""));
    const bool constant_truth = std::all_of(truth.begin(), truth.end(), [&](double v) { return v == truth[0]; });
    // Around a mean of 1e6 the reference itself carries 1e-6 only (its own note).
    const double tolerance = c["kind"] == "huge_mean" ? 1e-6 : kExact;
    for (const char* name : {"mse", "rmse", "mae"}) {
      INFO(name);
      CHECK_THAT(metric_value(m, name), WithinRel(expected[name].get<double>(), kExact));
    }
    if (constant_truth) {
      CHECK(std::isnan(metric_value(m, "r2")));  // RULE: scikit-learn gives 1 or 0
    } else {
      const double r2 = expected["r2"].get<double>();  // 1 - SSE/SST: near 0 only the absolute error means anything
      CHECK_THAT(metric_value(m, "r2"), WithinAbs(r2, tolerance * std::max(1.0, std::fabs(r2))));
    }
    for (const auto& [ours, theirs] :
         {std::pair("pearson", "pearson"), std::pair("spearman", "spearman"), std::pair("kendall", "kendall_tau_b")}) {
      INFO(ours);
      if (truth.size() < 3 || constant_truth) {
        CHECK(std::isnan(metric_value(m, ours)));  // RULE: two rows have no correlation
      } else if (expected["constant"].get<bool>()) {
        CHECK(expected[theirs].is_null());
        CHECK(metric_value(m, ours) == 0.0);  // RULE: a constant prediction scores 0 and is flagged
      } else {
        CHECK_THAT(metric_value(m, ours), WithinAbs(expected[theirs].get<double>(), tolerance));
      }
    }
  }
}

TEST_CASE("Significance tests equal scipy's and the definitions") {
  const json* all = goldens();
  if (all == nullptr) return;
  REQUIRE((*all)["tests"].size() == 40);
  for (const json& c : (*all)["tests"]) {
    INFO("case " << c["id"]);
    const auto a = c["a"].get<Values>();
    const auto b = c["b"].get<Values>();
    const json& expected = c["expected"];
    const auto compare = [&](const TestResult& got, const json& e, const char* statistic) {
      INFO(e.dump());
      CHECK_THAT(got.statistic, WithinAbs(e[statistic].get<double>(), 1e-11));
      CHECK_THAT(got.p_value, WithinRel(e["p_two_sided"].get<double>(), kP));
    };
    const json& nb = expected["nadeau_bengio"];
    compare(nadeau_bengio_test(a, b, nb["n_test"].get<double>() / nb["n_train"].get<double>()), nb, "t");
    compare(paired_t_test(a, b), expected["paired_t"], "t");
    CHECK(paired_t_test(a, b).df == expected["paired_t"]["df"].get<double>());
    compare(wilcoxon_signed_rank(a, b, WilcoxonMethod::normal), expected["wilcoxon_normal"], "statistic");
    const TestResult exact = wilcoxon_signed_rank(a, b, WilcoxonMethod::exact);
    const TestResult automatic = wilcoxon_signed_rank(a, b);
    if (!expected.contains("wilcoxon_exact")) {
      CHECK(std::isnan(exact.p_value));
      compare(automatic, expected["wilcoxon_normal"], "statistic");
    } else {
      compare(exact, expected["wilcoxon_exact"], "statistic");
      compare(automatic, expected["wilcoxon_exact"], "statistic");
    }
    const auto blocks = c["blocks_by_treatment"].get<std::vector<Values>>();
    const FriedmanResult friedman = friedman_test(blocks, true);
    CHECK_THAT(friedman.chi2, WithinAbs(expected["friedman"]["chi2"].get<double>(), 1e-11));
    CHECK_THAT(friedman.chi2_p, WithinRel(expected["friedman"]["p"].get<double>(), kP));
    const auto ranks = expected["friedman"]["mean_ranks"].get<Values>();
    for (std::size_t i = 0; i < ranks.size(); ++i) CHECK_THAT(friedman.mean_rank[i], WithinAbs(ranks[i], kExact));
    const auto p = c["p_values"].get<Values>();
    const auto holm_expected = expected["holm"].get<Values>();
    const auto bh_expected = expected["benjamini_hochberg"].get<Values>();
    for (std::size_t i = 0; i < p.size(); ++i) {
      CHECK_THAT(holm(p)[i], WithinAbs(holm_expected[i], kExact));
      CHECK_THAT(benjamini_hochberg(p)[i], WithinAbs(bh_expected[i], kExact));
    }
  }
}

TEST_CASE("Published drug response predictions give the recomputed scores") {
  const std::string folder = std::string(CDRZOO_SHARED_DIR) + "/data/golden_metrics/improve_lgbm/";
  const auto index = test::read_gzip(folder + "index.csv");  // zlib reads plain text as it is
  if (!index) {
    WARN("skipped: " << folder << " is not there");
    return;
  }
  std::istringstream lines(*index);
  std::string line;
  std::getline(lines, line);
  REQUIRE(line.rfind("pair,source,target,split,n,n_distinct_true,n_distinct_pred,mse,rmse,pcc,scc,r2,recomputed_mse,",
                     0) == 0);
  int sets = 0;
  while (std::getline(lines, line)) {
    std::vector<std::string> field;
    std::istringstream fields(line);
    for (std::string f; std::getline(fields, f, ',');) field.push_back(f);
    REQUIRE(field.size() == 18);
    INFO(field[0]);
    const auto table = test::read_gzip(folder + field[0] + ".predictions.csv.gz");
    REQUIRE(table);
    Values truth;
    Values prediction;
    std::istringstream rows(*table);
    std::string row;
    std::getline(rows, row);
    REQUIRE(row.rfind("auc_true,auc_pred", 0) == 0);
    while (std::getline(rows, row)) {
      truth.push_back(std::stod(row));
      prediction.push_back(std::stod(row.substr(row.find(',') + 1)));
    }
    REQUIRE(truth.size() == std::stoul(field[4]));
    const auto m = regression_metrics(truth, prediction, std::nan(""));
    int column = 12;
    for (const char* name : {"mse", "rmse", "pearson", "spearman", "r2"}) {
      INFO(name);
      CHECK_THAT(metric_value(m, name), WithinAbs(std::stod(field[static_cast<std::size_t>(column)]), kExact));
      CHECK_THAT(metric_value(m, name), WithinAbs(std::stod(field[static_cast<std::size_t>(column - 5)]), 2e-5));
      ++column;
    }
    ++sets;
  }
  CHECK(sets == 8);
}
