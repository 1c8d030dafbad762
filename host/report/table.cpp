// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "base/csv_field.hpp"
#include "base/error.hpp"
#include "metrics/metrics.hpp"
#include "metrics/perturbation.hpp"
#include "metrics/statistics.hpp"
#include "report/comparison.hpp"
#include "report/report.hpp"

namespace cdrzoo {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int kFoldsForStars = 7;  ///< protocol 6.6
constexpr double kCoverageWarning = 0.95;
constexpr double kCoverageRanked = 0.5;  ///< below this a model is not ranked (protocol 5)
constexpr std::size_t kWidth = 100;      ///< of running text

using FoldId = std::pair<int, int>;  // repeat, fold

struct Metric {
  std::string level, name;  ///< of ResultRow
  [[nodiscard]] std::string label() const {
    return level == "pooled" || level == "condition" ? name : level + ":" + name;
  }
};

/// Values of one metric of one model.
struct Column {
  std::map<FoldId, double> by_fold;  ///< seeds averaged; NaN or absent = not valid
  Summary summary;
  bool shown = false;  ///< enough valid folds
  bool best = false;
  double p = kNan, p_holm = kNan;
  TestResult test;
  bool reference = false;  ///< this is what the others are compared with
};

struct Model {
  std::string label;  ///< name, made unique, with the variant
  std::string id;
  int cells = 0, failed = 0;
  std::map<std::string, int> failures;  ///< "crash: sentence" -> count
  std::set<FoldId> folds, folds_present;
  std::set<std::uint64_t> seeds;
  double coverage = kNan;
  bool filled = false;    ///< some of its rows were filled
  bool unfilled = false;  ///< rows were missing and could not be filled
  bool transductive = false;
  std::map<FoldId, std::pair<double, std::int64_t>>
      in_context;  ///< conditions with a reference of their context, of all
  std::vector<Column> columns;

  [[nodiscard]] bool ranked() const { return !transductive && !(coverage < kCoverageRanked); }
};

/// One comparison: cells that share everything but the model.
struct Comparison {
  std::vector<const Record*> records;
  std::vector<const ResultRow*> rows;
  std::vector<Metric> metrics;
  std::vector<Model> models;
  std::set<FoldId> folds;
  std::string best_naive;  ///< label, or ""
};

double mean_of_finite(const std::vector<double>& x) { return summarize_folds(x).mean; }

std::vector<std::string> default_metrics(const std::string& task) {
  if (task == "binary") return {"auroc", "auprc", "per_drug:auroc", "accuracy", "f1", "mcc"};
  if (task == "expression") {  // the change first: profiles look well predicted whatever was done to the cells
    return {"pearson_delta_ctrl", "pearson_delta_pert", "pearson_delta_shift", "r2", "r2_deg50", "mse_deg50",
            "direction_deg50",    "discrimination",     "energy_distance"};
  }
  return {"per_drug:pearson", "per_drug:spearman", "rmse", "pearson"};
}

std::string canonical_metric(const std::string& name) {
  if (name == "sensitivity") return "recall";
  if (name == "average_precision") return "auprc";
  if (name == "kendall_tau_b") return "kendall";
  return name;
}

/// The level of a metric that is named without one.
const char* plain_level(const std::string& task, const std::string& metric) {
  return task == "expression" && metric != "coverage" ? "condition" : "pooled";
}

Metric parse_metric(const std::string& text, const std::string& task) {
  const auto colon = text.find(':');
  if (colon == std::string::npos) return {plain_level(task, text), canonical_metric(text)};
  std::string level = text.substr(0, colon);
  if (level == "per_cell" || level == "per_cell_line") level = "per_sample";
  return {level, canonical_metric(text.substr(colon + 1))};
}

/// The metrics at each level that a table can show, over all rows.
std::map<std::string, std::set<std::string>> known_metrics(const std::vector<const ResultRow*>& rows) {
  std::map<std::string, std::set<std::string>> known;
  for (const ResultRow* row : rows) {
    if (!row->metric.empty() && row->level.find(':') == std::string::npos) known[row->level].insert(row->metric);
  }
  return known;
}

bool has_metric(const std::map<std::string, std::set<std::string>>& known, const Metric& metric) {
  const auto level = known.find(metric.level);
  return level != known.end() && level->second.count(metric.name) > 0;
}

/// Throws for a metric that no result has, naming those that there are.
void check_metrics(const std::vector<ResultRow>& rows, const std::vector<std::string>& wanted) {
  std::vector<const ResultRow*> all;
  for (const ResultRow& row : rows) all.push_back(&row);
  const auto known = known_metrics(all);
  if (known.empty()) return;  // every cell failed: the table says so
  for (const std::string& text : wanted) {
    const Metric metric = parse_metric(text, rows.front().task);
    const bool somewhere = std::any_of(rows.begin(), rows.end(), [&](const ResultRow& row) {
      const Metric own = parse_metric(text, row.task);
      return row.level == own.level && row.metric == own.name;
    });
    if (somewhere) continue;
    const auto level = known.find(metric.level);
    std::string list;
    if (level == known.end()) {
      for (const auto& [name, unused] : known) list += (list.empty() ? "" : ", ") + name;
      throw UsageError("the results have no level \"" + metric.level + "\" (asked for: " + text +
                       "); they have: " + list);
    }
    for (const std::string& name : level->second) list += (list.empty() ? "" : ", ") + name;
    throw UsageError("the results have no metric \"" + metric.name + "\" at level \"" + metric.level +
                     "\"; they have: " + list);
  }
}

/// Of the metrics asked for those that this comparison has (a run may hold both tasks), else the task's defaults.
std::vector<Metric> choose_metrics(const Comparison& comparison, const std::vector<std::string>& wanted) {
  const auto known = known_metrics(comparison.rows);
  const std::string& task = comparison.records.front()->task;
  std::vector<Metric> chosen;
  for (const std::string& text : wanted) {
    const Metric metric = parse_metric(text, task);
    if (known.empty() || has_metric(known, metric)) chosen.push_back(metric);
  }
  if (!chosen.empty()) return chosen;
  for (const std::string& text : default_metrics(task)) {
    const Metric metric = parse_metric(text, task);
    // Profiles of whole conditions have no cells and no distance between them, one condition has none to be told from.
    const bool somewhere = std::any_of(comparison.rows.begin(), comparison.rows.end(), [&](const ResultRow* row) {
      return row->level == metric.level && row->metric == metric.name && std::isfinite(row->value);
    });
    if (task != "expression" || chosen.empty() || known.empty() || somewhere) chosen.push_back(metric);
  }
  return chosen;
}

/// Models of one comparison are told apart by name, then by what differs.
std::string identity(const Record& r) {
  return nlohmann::json({r.model_name, r.model, r.variant, r.model_version, r.params, r.plugin_hash}).dump();
}

std::string plain_label(const Record& r) { return r.model_name + (r.variant.empty() ? "" : " [" + r.variant + "]"); }

/// What of the parameters of \p r is not shared by all others of the same label.
std::string distinguishing(const Record& r, const std::vector<const Record*>& same_label) {
  std::string text;
  if (r.params.is_object()) {
    for (const auto& [key, value] : r.params.items()) {
      const bool shared =
          std::all_of(same_label.begin(), same_label.end(), [&, k = key, v = value](const Record* other) {
            return other->params.is_object() && other->params.contains(k) && other->params.at(k) == v;
          });
      if (!shared) text += (text.empty() ? "" : ", ") + key + " = " + value.dump();
    }
  }
  if (text.empty()) text = r.model + " " + r.model_version + " " + r.plugin_hash.substr(0, 8);
  return text;
}

bool uses_target_features(const Record& r) {
  if (!bool_of(r.split, "transductive") || !r.card.is_object()) return false;
  const auto needs = r.card.value("needs", nlohmann::json());
  const auto traits = r.card.value("traits", nlohmann::json());
  return bool_of(traits, "transductive") || text_of(needs, "unlabelled_target", "no") != "no";
}

void collect_models(Comparison& comparison) {
  std::map<std::string, std::vector<const Record*>> by_identity;
  std::map<std::string, std::vector<const Record*>> by_label;
  for (const Record* r : comparison.records) {
    comparison.folds.insert({r->repeat, r->fold});
    by_identity[identity(*r)].push_back(r);
    by_label[plain_label(*r)].push_back(r);
  }
  std::map<std::string, std::size_t> model_of_key;
  std::map<std::size_t, std::vector<double>> coverage;
  for (const auto& [id, records] : by_identity) {
    const Record& first = *records.front();
    const std::vector<const Record*>& same_label = by_label[plain_label(first)];
    Model model;
    model.label = plain_label(first);
    if (same_label.size() != records.size()) model.label += " (" + distinguishing(first, same_label) + ")";
    model.id = first.model;
    model.transductive = uses_target_features(first);
    model.columns.resize(comparison.metrics.size());
    for (const Record* r : records) {
      ++model.cells;
      model.folds.insert({r->repeat, r->fold});
      model.seeds.insert(r->seed);
      model_of_key[r->key] = comparison.models.size();
      if (r->status == "ok") continue;
      ++model.failed;
      ++model.failures[r->status + (r->message.empty() ? "" : ": " + r->message)];
    }
    comparison.models.push_back(std::move(model));
  }

  // (model, metric, fold) -> values of the seeds, by coverage rule.
  using Cell = std::tuple<std::size_t, std::size_t, FoldId>;
  std::map<Cell, std::vector<double>> filled;
  std::map<Cell, std::vector<double>> reported;
  std::set<std::string> has_filled;
  for (const ResultRow* row : comparison.rows) {
    const auto found = model_of_key.find(row->key);
    if (found == model_of_key.end() || row->metric.empty()) continue;
    const FoldId fold{row->repeat, row->fold};
    if (row->metric == "coverage") coverage[found->second].push_back(row->value);
    if (row->metric == "reference_in_context") comparison.models[found->second].in_context[fold] = {row->value, row->n};
    if (row->coverage_rule == "filled") has_filled.insert(row->key);
    for (std::size_t m = 0; m < comparison.metrics.size(); ++m) {
      if (row->level != comparison.metrics[m].level || row->metric != comparison.metrics[m].name) continue;
      if (row->coverage_rule == "filled") filled[{found->second, m, fold}].push_back(row->value);
      if (row->coverage_rule == "as_reported") reported[{found->second, m, fold}].push_back(row->value);
    }
  }
  for (const auto& [key, index] : model_of_key) {
    Model& model = comparison.models[index];
    model.coverage = mean_of_finite(coverage[index]);
    const bool incomplete = model.coverage < 1;
    model.filled = model.filled || (incomplete && has_filled.count(key) > 0);
    model.unfilled = model.unfilled || (incomplete && has_filled.count(key) == 0);
  }
  for (std::size_t i = 0; i < comparison.models.size(); ++i) {
    for (std::size_t m = 0; m < comparison.metrics.size(); ++m) {
      Column& column = comparison.models[i].columns[m];
      std::vector<double> values;
      for (const FoldId& fold : comparison.folds) {
        // Filled where there is such a value: a model may not gain by leaving out what is hard.
        const auto own = filled.find({i, m, fold});
        const auto as_is = reported.find({i, m, fold});
        const double value = own != filled.end()       ? mean_of_finite(own->second)
                             : as_is != reported.end() ? mean_of_finite(as_is->second)
                                                       : kNan;
        column.by_fold[fold] = value;
        values.push_back(value);
      }
      column.summary = summarize_folds(values);
      const int needed = (4 * column.summary.total + 4) / 5;  // ceil(0.8 K)
      column.shown = column.summary.valid > 0 && column.summary.valid >= needed;
    }
  }
}

/// By what the best naive baseline is chosen on validation rows.
const char* validation_metric(const std::string& task) {
  return task == "binary" ? "auprc" : task == "expression" ? "mse" : "rmse";
}

void find_best_naive(Comparison& comparison) {
  const std::string metric = validation_metric(comparison.records.front()->task);
  std::map<std::string, std::vector<double>> validation;  // model id -> values
  for (const ResultRow* row : comparison.rows) {
    if (row->level == "validation" && row->metric == metric && is_naive(row->model)) {
      validation[row->model].push_back(row->value);
    }
  }
  double best = kNan;
  for (const auto& [id, values] : validation) {
    const double mean = mean_of_finite(values);
    const bool better = higher_is_better(metric) ? mean > best : mean < best;
    if (!std::isfinite(mean) || (std::isfinite(best) && !better)) continue;
    for (const Model& model : comparison.models) {
      if (model.id == id) {
        best = mean;
        comparison.best_naive = model.label;
        break;
      }
    }
  }
}

/// Scores that differ by the rounding of float predictions at most: neither is better.
bool tied(double a, double b) { return a == b || std::abs(a - b) <= 1e-6 * std::max(std::abs(a), std::abs(b)); }

/// Best first by the first metric; then those that are not ranked; then those without a value. Ties by label.
void sort_and_mark(Comparison& comparison) {
  const auto key = [&](const Model& model) {
    const Column& first = model.columns.front();
    const double value = first.shown ? first.summary.mean : kNan;
    const double sign = higher_is_better(comparison.metrics.front().name) ? -1 : 1;
    const int group = std::isnan(value) ? 2 : model.ranked() ? 0 : 1;
    return std::make_tuple(group, std::isnan(value) ? 0.0 : sign * value, model.label);
  };
  std::sort(comparison.models.begin(), comparison.models.end(),
            [&](const Model& a, const Model& b) { return key(a) < key(b); });
  for (std::size_t m = 0; m < comparison.metrics.size(); ++m) {
    const bool higher = higher_is_better(comparison.metrics[m].name);
    double best = kNan;
    for (const Model& model : comparison.models) {
      const Column& column = model.columns[m];
      if (!column.shown || !model.ranked()) continue;
      const double value = column.summary.mean;
      if (std::isnan(best) || (higher ? value > best : value < best)) best = value;
    }
    for (Model& model : comparison.models) {
      Column& column = model.columns[m];
      column.best = column.shown && model.ranked() && tied(column.summary.mean, best);
    }
  }
}

/// The reference of column \p m; -1 = none has a value.
int reference_of(const Comparison& comparison, std::size_t m, const std::string& name) {
  for (std::size_t i = 0; i < comparison.models.size(); ++i) {
    const Model& model = comparison.models[i];
    if (name.empty() ? model.columns[m].best : model.label == name) return static_cast<int>(i);
  }
  return -1;
}

/// n_test / n_train for the correction of Nadeau and Bengio; with the words that say where it is from.
double test_train_ratio(const Comparison& comparison, std::string& words) {
  const Record& first = *comparison.records.front();
  const std::string kind = text_of(first.split, "kind");
  const std::string group = text_of(first.split, "group_type");
  const int folds = std::max(int_of(first.split, "folds", 0), 0);
  // Rows of one condition are cells or wells of one experiment: of profiles the groups count, whatever holds them out.
  const bool grouped =
      (first.task == "expression" || kind == "lco" || kind == "ldo" || kind == "lto" || kind == "lso" ||
       kind == "transfer" || (kind == "file" && group != "pair" && group != "sample x drug"));
  if (grouped && folds > 1) {
    words = "1/" + std::to_string(folds - 1) + " (groups)";
    return 1.0 / (folds - 1);
  }
  double test = 0;
  double train = 0;
  for (const Record* r : comparison.records) {
    test += static_cast<double>(r->n_test);
    train += static_cast<double>(r->n_train);
  }
  if (!(train > 0)) {
    words = "unknown";
    return kNan;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3g (records)", test / train);
  words = text.data();
  return test / train;
}

struct Significance {
  bool starred = false;
  int folds = 0;                ///< smallest number of pairs of folds behind a test
  int family = 0;               ///< largest number of comparisons of one column
  bool same_test_rows = false;  ///< transfer: the folds differ in their training rows only
  double ratio = kNan;
  std::string ratio_words;
  std::string reference;  ///< label; "" = the best of each column
};

/// The label of the model that \p wanted means; "" = not here, or the best of each column is wanted.
std::string find_reference(const Comparison& comparison, const std::string& wanted) {
  if (wanted == "best_naive") return comparison.best_naive;
  for (const Model& model : comparison.models) {
    if (model.label == wanted) return wanted;
  }
  for (const Model& model : comparison.models) {
    if (model.id == wanted) return model.label;
  }
  return "";
}

/// \param name label of the reference; "" = the best of each column
Significance compare(Comparison& comparison, const std::string& name) {
  Significance result;
  result.ratio = test_train_ratio(comparison, result.ratio_words);
  result.reference = name;
  int smallest = std::numeric_limits<int>::max();
  for (std::size_t m = 0; m < comparison.metrics.size(); ++m) {
    const int reference = reference_of(comparison, m, name);
    if (reference < 0) continue;
    Column& against = comparison.models[static_cast<std::size_t>(reference)].columns[m];
    against.reference = true;
    std::vector<double> base;
    for (const auto& [fold, value] : against.by_fold) base.push_back(value);
    std::vector<double> p;
    int family = 0;
    for (Model& model : comparison.models) {
      Column& column = model.columns[m];
      if (!column.reference) {
        std::vector<double> own;
        for (const auto& [fold, value] : column.by_fold) own.push_back(value);
        column.test = nadeau_bengio_test(own, base, result.ratio);
        column.p = column.test.p_value;
        if (!std::isnan(column.p)) {
          ++family;
          smallest = std::min(smallest, column.test.pairs);
        }
      }
      p.push_back(column.p);
    }
    const std::vector<double> adjusted = holm(p);
    for (std::size_t i = 0; i < adjusted.size(); ++i) comparison.models[i].columns[m].p_holm = adjusted[i];
    result.family = std::max(result.family, family);
  }
  result.folds = result.family > 0 ? smallest : 0;
  result.same_test_rows = text_of(comparison.records.front()->split, "kind") == "transfer";
  result.starred = result.family > 0 && result.folds >= kFoldsForStars && !result.same_test_rows;
  return result;
}

std::string stars(double p) { return p < 0.001 ? "***" : p < 0.01 ? "**" : p < 0.05 ? "*" : ""; }

std::string fixed(double x, int decimals) {
  if (std::isnan(x)) return "NaN";
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", decimals, x);
  // "-0.000" would suggest a direction.
  const std::string result = text.data();
  const bool zero = result.find_first_not_of("-0.") == std::string::npos;
  return zero && result[0] == '-' ? result.substr(1) : result;
}

std::string general(double x) {
  if (std::isnan(x)) return "NaN";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3g", x);
  return text.data();
}

/// Three digits after the point; fewer for large numbers, more for tiny ones.
int decimals_of(const Comparison& comparison, std::size_t m) {
  double largest = 0;
  for (const Model& model : comparison.models) {
    if (model.columns[m].shown) largest = std::max(largest, std::fabs(model.columns[m].summary.mean));
  }
  if (largest >= 1000) return 0;
  if (largest >= 100) return 1;
  if (largest >= 10) return 2;
  if (largest > 0 && largest < 0.01) return 5;
  return 3;
}

std::string cell_text(const Column& column, int decimals, bool starred) {
  if (column.summary.valid == 0) return "-";
  if (!column.shown) {
    return "NaN (" + std::to_string(column.summary.valid) + "/" + std::to_string(column.summary.total) + " valid)";
  }
  std::string text = fixed(column.summary.mean, decimals);
  if (!std::isnan(column.summary.sd)) text += " (" + fixed(column.summary.sd, decimals) + ")";
  if (starred && !column.reference) text += stars(column.p_holm);
  return text;
}

/// Columns on a terminal: code points, which is right for everything but wide and combining characters.
std::size_t display_width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string pad(const std::string& text, std::size_t width, bool right) {
  const std::size_t own = display_width(text);
  const std::string space(own < width ? width - own : 0, ' ');
  return right ? space + text : text + space;
}

/// Breaks at spaces; further lines are indented.
std::string wrap(const std::string& text, const std::string& indent) {
  std::istringstream words(text);
  std::string out;
  std::string line;
  for (std::string word; words >> word;) {
    if (!line.empty() && display_width(line) + 1 + display_width(word) > kWidth) {
      out += line + "\n";
      line = indent + word;
    } else {
      line += (line.empty() ? "" : " ") + word;
    }
  }
  return out + line + "\n";
}

std::string one_line(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  }
  return text;
}

std::string split_words(const Record& record) {
  const std::string kind = text_of(record.split, "kind");
  static const std::map<std::string, std::string> kWords = {{"lpo", "leave-pair-out"},
                                                            {"lco", "leave-cell-line-out"},
                                                            {"ldo", "leave-drug-out"},
                                                            {"lto", "leave-tissue-out"},
                                                            {"lso", "leave-scaffold-out"},
                                                            {"lcdo", "leave-cell-line-and-drug-out"},
                                                            {"pairs811", "random pairs 8:1:1"},
                                                            {"file", "split from a file"},
                                                            {"unseen_context", "leave-context-out"},
                                                            {"unseen_perturbation", "leave-perturbation-out"},
                                                            {"unseen_pair", "leave-(context, perturbation)-out"},
                                                            {"unseen_combination", "leave-combination-out"}};
  const auto it = kWords.find(kind);
  if (kind == "transfer") {
    return "domain transfer " + text_of(record.split, "source") + " -> " + text_of(record.split, "target");
  }
  return it == kWords.end() ? kind : it->second + " (" + kind + ")";
}

std::string count_of(std::size_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

std::string label_words(const nlohmann::json& rule) {
  const std::string kind = text_of(rule, "kind", text_of(rule, "rule"));
  const std::string given = " (rows without a response value: as given)";
  if (kind == "given") return "labels as given by the data set";
  if (kind == "per_drug_median") return "label 1 = response below the drug's median over the training rows" + given;
  if (kind == "per_drug_mean") return "label 1 = response below the drug's mean over the training rows" + given;
  if (kind == "fixed") return "label 1 = response below " + shortest(number_of(rule, "threshold", kNan)) + given;
  if (kind == "per_drug_table") {
    const double without = number_of(rule, "drugs_without_threshold", 0);
    const std::string left_out =
        without > 0 ? "; left out: " + count_of(static_cast<std::size_t>(without), "drug") + " without a threshold"
                    : "";
    return "label 1 = response below the drug's threshold in the given table " +
           text_of(rule, "thresholds").substr(0, 8) + given + left_out;
  }
  return kind.empty() ? "" : "label rule " + kind;
}

std::string seeds_words(const Comparison& comparison) {
  std::set<std::uint64_t> seeds;
  for (const Model& model : comparison.models) seeds.insert(model.seeds.begin(), model.seeds.end());
  if (seeds.size() == 1) return "seed " + std::to_string(*seeds.begin());
  std::string list;
  for (const std::uint64_t seed : seeds) list += (list.empty() ? "" : ", ") + std::to_string(seed);
  return "seeds " + list;
}

std::string heading(const Comparison& comparison, const ReportOptions& options) {
  const Record& r = *comparison.records.front();
  std::set<int> repeats;
  for (const FoldId& fold : comparison.folds) repeats.insert(fold.first);
  std::string text = options.title.empty() ? "" : options.title + ": ";
  text += r.task + " on " + r.dataset + ", " + split_words(r) + ", " + count_of(comparison.folds.size(), "fold");
  if (repeats.size() > 1) text += " in " + std::to_string(repeats.size()) + " repeats";
  text += ", " + seeds_words(comparison) + ", " + count_of(comparison.records.size(), "cell");
  return text;
}

std::string join(const std::vector<std::string>& parts, const std::string& separator) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : separator) + part;
  return text;
}

constexpr const char* kCeilingLabel = "noise ceiling";

/// The best that noise leaves, per metric that is shown, as text; "" where the data give none.
std::vector<std::string> noise_ceilings(const Comparison& comparison) {
  std::vector<std::string> texts;
  for (std::size_t m = 0; m < comparison.metrics.size(); ++m) {
    std::map<FoldId, double> by_fold;  // a property of the truth: the same for all models
    for (const ResultRow* row : comparison.rows) {
      if (row->level == comparison.metrics[m].level && row->coverage_rule == "as_reported" &&
          row->metric == comparison.metrics[m].name + "_ceiling") {
        by_fold[{row->repeat, row->fold}] = row->value;
      }
    }
    std::vector<double> values;
    for (const auto& [fold, value] : by_fold) values.push_back(value);
    const Summary summary = summarize_folds(values);
    texts.push_back(summary.valid > 0 ? fixed(summary.mean, decimals_of(comparison, m)) : "");
  }
  const bool any = std::any_of(texts.begin(), texts.end(), [](const std::string& text) { return !text.empty(); });
  return any ? texts : std::vector<std::string>();
}

/// Sentences under the heading: what is compared, on what.
std::vector<std::string> preamble(const Comparison& comparison) {
  std::vector<std::string> lines;
  const Record& r = *comparison.records.front();
  if (bool_of(r.key_inputs, "shuffle_labels")) {
    lines.push_back("NEGATIVE CONTROL: the training labels were shuffled; nothing here may beat chance.");
  }
  if (r.task == "binary") {
    std::vector<double> prevalence;
    for (const ResultRow* row : comparison.rows) {
      if (row->level == "pooled" && row->metric == "prevalence" && row->coverage_rule == "as_reported") {
        prevalence.push_back(row->value);
      }
    }
    std::string text = label_words(r.label_rule);
    if (!prevalence.empty()) {
      text += (text.empty() ? "" : "; ") + std::string("prevalence in the test rows ") +
              fixed(mean_of_finite(prevalence), 3) + ", which is the AUPRC of a random score";
    }
    if (!text.empty()) lines.push_back(text);
  }
  if (text_of(r.key_inputs, "refit", "train") == "train+val") {
    lines.push_back("the models that are tested were trained on the training and the validation rows (refit)");
  }
  const bool stops_early = std::any_of(comparison.records.begin(), comparison.records.end(), [](const Record* record) {
    return record->card.is_object() && record->card.contains("needs") &&
           bool_of(record->card["needs"], "early_stopping");
  });
  if (stops_early && bool_of(r.split, "early_stop_is_validation")) {
    lines.push_back(
        "models that stop early saw the labels of the validation rows, as the 8:1:1 protocol has it; thresholds chosen "
        "on those rows are optimistic for them");
  }
  return lines;
}

/// What is to be said of one model; empty = nothing.
std::string model_note(const Comparison& comparison, const Model& model) {
  std::vector<std::string> parts;
  if (model.failed > 0) {
    std::string text = "failed " + std::to_string(model.failed) + "/" + std::to_string(model.cells);
    for (const auto& [reason, count] : model.failures) {
      text += "; " + (count > 1 ? std::to_string(count) + " x " : std::string()) + one_line(reason);
    }
    parts.push_back(text);
  }
  if (model.folds.size() < comparison.folds.size()) {
    parts.push_back("not run in " + std::to_string(comparison.folds.size() - model.folds.size()) + " of " +
                    count_of(comparison.folds.size(), "fold"));
  }
  std::map<std::string, std::vector<std::string>> valid;  // "7/8 folds valid" -> metrics
  for (std::size_t m = 0; m < comparison.metrics.size() && model.failed < model.cells; ++m) {
    const Summary& s = model.columns[m].summary;
    if (s.valid == s.total) continue;
    valid[std::to_string(s.valid) + "/" + std::to_string(s.total) + " folds valid"].push_back(
        comparison.metrics[m].label());
  }
  for (const auto& [words, metrics] : valid) {
    parts.push_back(metrics.size() == comparison.metrics.size() ? words : join(metrics, ", ") + ": " + words);
  }
  if (model.coverage < 1) {
    std::string text = "predicted " + fixed(100 * model.coverage, 1) + " % of the test rows";
    if (model.filled) text += ", the rest is filled with the reference baseline";
    if (model.unfilled) text += ", scored on those only";
    if (model.coverage < kCoverageRanked) {
      text += "; not ranked";
    } else if (model.coverage < kCoverageWarning) {
      text += " (WARNING: below 95 %)";
    }
    parts.push_back(text);
  }
  double in_context = 0;
  std::int64_t conditions = 0;
  for (const auto& [fold, counts] : model.in_context) {
    in_context += counts.first;
    conditions += counts.second;
  }
  // Whoever is shown a profile from the truth's own context has the easier task, whatever the score.
  if (in_context > 0) {
    parts.push_back("reference in the same context as the truth: " + fixed(in_context, 0) + " of " +
                    count_of(static_cast<std::size_t>(conditions), "condition"));
  }
  if (model.transductive)
    parts.push_back("saw the features of the test entities (transductive); not ranked with the others");
  return join(parts, "; ");
}

/// Metrics and reference that were asked for and that no cell of an unfinished run has yet.
std::vector<std::string> wishes_to_come(const Comparison& comparison, const ReportOptions& options) {
  std::vector<std::string> wishes;
  if (!options.unfinished) return wishes;
  const auto known = known_metrics(comparison.rows);
  for (const std::string& text : options.metrics) {
    if (!has_metric(known, parse_metric(text, comparison.records.front()->task))) wishes.push_back(text);
  }
  const std::string& reference = options.reference_model;
  if (!reference.empty() && find_reference(comparison, reference).empty()) {
    wishes.push_back("the reference " + reference);
  }
  return wishes;
}

/// Sentences below the table.
std::vector<std::string> footnotes(const Comparison& comparison, const Significance& significance,
                                   const ReportOptions& options) {
  std::vector<std::string> notes;
  const Record& first = *comparison.records.front();
  std::string values = "Values: mean (sd) over " + count_of(comparison.folds.size(), "fold");
  for (const Model& model : comparison.models) {
    if (model.seeds.size() > 1) {
      values += ", seeds averaged within a fold";
      break;
    }
  }
  std::string best = options.format == "markdown" || options.color ? "bold" : ">";
  values += "; " + best + " = best of the column";
  std::vector<std::string> lower;
  for (const Metric& metric : comparison.metrics) {
    if (!higher_is_better(metric.name)) lower.push_back(metric.label());
  }
  if (!lower.empty()) values += "; " + join(lower, ", ") + ": lower is better";
  notes.push_back(values + ".");

  std::vector<std::string> thresholded;
  for (const Metric& metric : comparison.metrics) {
    static const std::set<std::string> kThreshold = {
        "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1", "mcc", "kappa"};
    if (kThreshold.count(metric.name) > 0) thresholded.push_back(metric.label());
  }
  if (!thresholded.empty()) {
    notes.push_back(join(thresholded, ", ") +
                    ": at the threshold that maximises F1 on the validation rows of each cell.");
  }
  std::map<std::string, std::vector<std::string>> sizes;  // sentence -> metrics
  for (const Metric& metric : comparison.metrics) {
    const bool conditions = first.task == "expression" && metric.level != "pooled";
    if (!conditions && metric.level != "per_drug" && metric.level != "per_sample" && metric.level != "per_tissue") {
      continue;
    }
    std::int64_t valid = 0;
    std::int64_t total = 0;
    for (const ResultRow* row : comparison.rows) {
      if (row->level != metric.level || row->metric != metric.name || row->coverage_rule == "common") continue;
      if (row->groups_total > total || (row->groups_total == total && row->groups_valid > valid)) {
        valid = row->groups_valid;
        total = row->groups_total;
      }
    }
    if (total > 0 && conditions) {
      const std::string median = metric.name.find("_median") != std::string::npos ? "median" : "mean";
      sizes[median + " over the test conditions of a fold, up to " + std::to_string(valid) + " of " +
            std::to_string(total) + "."]
          .push_back(metric.label());
    } else if (total > 0) {
      sizes["mean over the " + metric.level.substr(4) + "s with at least 10 test rows" +
            (first.task == "binary" ? " and 2 of each class" : "") + ", up to " + std::to_string(valid) + " of " +
            std::to_string(total) + " per fold."]
          .push_back(metric.label());
    }
  }
  for (const auto& [sentence, metrics] : sizes) notes.push_back(join(metrics, ", ") + ": " + sentence);
  if (!noise_ceilings(comparison).empty()) {
    notes.push_back(
        std::string(kCeilingLabel) +
        ": one half of the real cells as prediction of the other, mean of 10 halvings; a low estimate of what a "
        "model can reach, for halves are noisier than the whole.");
  }

  if (const auto wishes = wishes_to_come(comparison, options); !wishes.empty()) {
    notes.push_back("Asked for, and of cells that have not run yet: " + join(wishes, ", ") + ".");
  }
  if (significance.family > 0) {
    std::string text = "Significance: Nadeau-Bengio corrected t test on fold values against " +
                       (significance.reference.empty() ? "the best of each column" : significance.reference) +
                       ", test/train ratio " + significance.ratio_words + ", Holm over " +
                       count_of(static_cast<std::size_t>(significance.family), "comparison") + " per column; ";
    if (significance.starred) {
      text += "* p < 0.05, ** p < 0.01, *** p < 0.001, better or worse.";
    } else if (significance.same_test_rows) {
      text +=
          "no stars, because all folds have the same test rows: sd and tests say how much the training rows matter, "
          "not how well the result would repeat on other samples.";
    } else {
      text += "no stars, because " + count_of(static_cast<std::size_t>(significance.folds), "fold") +
              (significance.folds == 1 ? " is" : " are") + " too few (" + std::to_string(kFoldsForStars) + " needed).";
    }
    notes.push_back(text);
    std::map<FoldId, std::int64_t> groups;
    for (const Record* r : comparison.records) groups[{r->repeat, r->fold}] = r->n_test_groups;
    std::int64_t entities = 0;
    for (const auto& [fold, count] : groups) entities += fold.first == groups.begin()->first.first ? count : 0;
    const std::string group = text_of(first.split, "group_type");
    const bool disjoint = text_of(first.split, "kind") != "transfer" && group != "sample x drug";
    if (disjoint && entities > 0 && !group.empty()) {
      notes.push_back("Unit of the test: folds. They share training data and hold " + std::to_string(entities) +
                      " groups (" + group + ") in all; they are not independent experiments.");
    }
  }
  if (!comparison.best_naive.empty()) {
    notes.push_back("Best naive baseline, chosen on validation rows by " + std::string(validation_metric(first.task)) +
                    ": " + comparison.best_naive + ".");
  } else if (std::none_of(comparison.records.begin(), comparison.records.end(),
                          [](const Record* record) { return is_naive(record->model); })) {
    notes.push_back(std::string("No naive mean is among these models: add one (") +
                    (first.task == "expression" ? "perturbation.control_mean" : "baseline.drug_mean") +
                    ", ...) before believing a number.");
  }
  std::vector<std::string> fitted;  // in the order of the steps
  for (const Record* r : comparison.records) {
    if (!r->fitted.is_object()) continue;
    for (const auto& sentence : r->fitted.value("sentences", nlohmann::json::array())) {
      const auto words = one_line(sentence.is_string() ? sentence.get<std::string>() : sentence.dump());
      if (std::find(fitted.begin(), fitted.end(), words) == fitted.end()) fitted.push_back(words);
    }
  }
  notes.insert(notes.end(), fitted.begin(), fitted.end());
  std::set<std::string> caveats;
  for (const Record* r : comparison.records) caveats.insert(r->caveats.begin(), r->caveats.end());
  for (const std::string& caveat : caveats) notes.push_back("Caveat of the data: " + one_line(caveat));
  return notes;
}

/// Text of a table: first row = headings (may have two lines), then rows. Column 0 is text, the others are numbers.
struct Grid {
  std::vector<std::vector<std::string>> head;
  std::vector<std::vector<std::string>> body;
  std::vector<std::vector<bool>> bold;  ///< as body
};

std::string render_grid_text(const Grid& grid, bool color) {
  std::vector<std::size_t> width;
  const auto widen = [&](const std::vector<std::string>& row, std::size_t extra) {
    width.resize(std::max(width.size(), row.size()), 0);
    for (std::size_t c = 0; c < row.size(); ++c) {
      width[c] = std::max(width[c], display_width(row[c]) + (c > 0 ? extra : 0));
    }
  };
  const std::size_t mark = color ? 0 : 1;  // room for ">"
  for (const auto& row : grid.head) widen(row, 0);
  for (const auto& row : grid.body) widen(row, mark);
  std::string out;
  const auto line = [&](const std::vector<std::string>& row, const std::vector<bool>* bold) {
    std::string text;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const bool strong = bold != nullptr && (*bold)[c];
      // The stars hang to the right of the number; left-aligned numbers of equal digits line up.
      std::string cell = row[c];
      if (c > 0 && !color) cell = (strong ? ">" : " ") + cell;
      cell = pad(cell, width[c], false);
      if (strong && color) cell = "\x1b[1m" + row[c] + "\x1b[0m" + cell.substr(row[c].size());
      text += (c > 0 ? "  " : "") + cell;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  std::size_t total = 0;
  for (const std::size_t w : width) total += w + 2;
  for (const auto& row : grid.head) line(row, nullptr);
  out += std::string(total > 2 ? total - 2 : 0, '-') + "\n";
  for (std::size_t r = 0; r < grid.body.size(); ++r) line(grid.body[r], &grid.bold[r]);
  return out;
}

std::string escape_markdown(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '*' || c == '<' || c == '`') out += '\\';
    out += c;
  }
  return out;
}

std::string render_grid_markdown(const Grid& grid) {
  std::string out = "|";
  for (std::size_t c = 0; c < grid.head.front().size(); ++c) {
    std::string title;
    for (const auto& row : grid.head) title += (title.empty() || row[c].empty() ? "" : " ") + row[c];
    out += " " + escape_markdown(title) + " |";
  }
  out += "\n|";
  for (std::size_t c = 0; c < grid.head.front().size(); ++c) out += c == 0 ? " :-- |" : " --: |";
  out += "\n";
  for (std::size_t r = 0; r < grid.body.size(); ++r) {
    out += "|";
    for (std::size_t c = 0; c < grid.body[r].size(); ++c) {
      const std::string text = escape_markdown(grid.body[r][c]);
      out += grid.bold[r][c] ? " **" + text + "** |" : " " + text + " |";
    }
    out += "\n";
  }
  return out;
}

std::string level_words(const std::string& level) {
  std::string words = level;
  std::replace(words.begin(), words.end(), '_', ' ');
  return words;
}

Grid main_grid(const Comparison& comparison, const Significance& significance, std::vector<std::string>& model_notes) {
  Grid grid;
  std::vector<std::string> top = {""};
  std::vector<std::string> bottom = {"model"};
  for (const Metric& metric : comparison.metrics) {
    top.push_back(metric.level == "condition" ? "" : level_words(metric.level));  // the only level of most such tables
    bottom.push_back(metric.name);
  }
  const bool failures =
      std::any_of(comparison.models.begin(), comparison.models.end(), [](const Model& m) { return m.failed > 0; });
  if (failures) {
    top.emplace_back();
    bottom.emplace_back("failed");
  }
  const bool levels = std::any_of(top.begin(), top.end(), [](const std::string& words) { return !words.empty(); });
  if (levels) grid.head.push_back(top);
  grid.head.push_back(bottom);
  for (const Model& model : comparison.models) {
    std::string label = model.label;
    const std::string note = model_note(comparison, model);
    if (!note.empty()) {  // models of which the same is to be said share a note
      const auto known = std::find(model_notes.begin(), model_notes.end(), note);
      label += " [" + std::to_string(known - model_notes.begin() + 1) + "]";
      if (known == model_notes.end()) model_notes.push_back(note);
    }
    std::vector<std::string> row = {label};
    std::vector<bool> bold = {false};
    for (std::size_t m = 0; m < comparison.metrics.size(); ++m) {
      row.push_back(cell_text(model.columns[m], decimals_of(comparison, m), significance.starred));
      bold.push_back(model.columns[m].best);
    }
    if (failures) {
      row.push_back(model.failed > 0 ? std::to_string(model.failed) + "/" + std::to_string(model.cells) : "");
      bold.push_back(false);
    }
    grid.body.push_back(row);
    grid.bold.push_back(bold);
  }
  if (std::vector<std::string> row = noise_ceilings(comparison); !row.empty()) {
    row.insert(row.begin(), kCeilingLabel);
    row.resize(grid.head.back().size());
    grid.body.push_back(row);
    grid.bold.emplace_back(row.size(), false);
  }
  return grid;
}

/// Effect sizes for the first metric: difference, interval, p, folds won. Empty without a comparison.
Grid effect_grid(const Comparison& comparison, const Significance& significance, std::string& title) {
  Grid grid;
  const Metric& metric = comparison.metrics.front();
  const int reference = reference_of(comparison, 0, significance.reference);
  if (reference < 0 || significance.family == 0) return grid;
  const Model& base = comparison.models[static_cast<std::size_t>(reference)];
  const bool higher = higher_is_better(metric.name);
  const int decimals = decimals_of(comparison, 0);
  for (const Model& model : comparison.models) {
    const Column& column = model.columns.front();
    if (&model == &base || column.test.pairs == 0) continue;
    int won = 0;
    for (const auto& [fold, value] : column.by_fold) {
      const double other = base.columns.front().by_fold.at(fold);
      won += !tied(value, other) && (higher ? value > other : value < other) ? 1 : 0;
    }
    const double half = student_t_quantile(0.95, column.test.df) * column.test.standard_error;
    grid.body.push_back({model.label, fixed(column.test.mean_difference, decimals),
                         std::isnan(half) ? "-"
                                          : fixed(column.test.mean_difference - half, decimals) + " to " +
                                                fixed(column.test.mean_difference + half, decimals),
                         significance.same_test_rows ? "-" : general(column.p),
                         significance.same_test_rows ? "-" : general(column.p_holm),
                         std::to_string(won) + "/" + std::to_string(column.test.pairs)});
    grid.bold.emplace_back(6, false);
  }
  if (grid.body.empty()) return grid;
  grid.head = {{"model", "difference", "95 % interval", "p", "p (Holm)", "folds won"}};
  title = metric.label() + ": difference from " + base.label + " (Nadeau-Bengio interval over folds)";
  return grid;
}

std::string render_comparison(const Comparison& comparison, const Significance& significance,
                              const ReportOptions& options) {
  const bool markdown = options.format == "markdown";
  std::vector<std::string> model_notes;
  const Grid grid = main_grid(comparison, significance, model_notes);
  const std::vector<std::string> notes = footnotes(comparison, significance, options);
  std::string effect_title;
  const Grid effects = effect_grid(comparison, significance, effect_title);
  std::string out;
  if (markdown) {
    out += "**" + escape_markdown(heading(comparison, options)) + "**\n\n";
    for (const std::string& line : preamble(comparison)) out += escape_markdown(line) + "\n\n";
    out += render_grid_markdown(grid) + "\n";
    for (std::size_t i = 0; i < model_notes.size(); ++i) {
      out += "- [" + std::to_string(i + 1) + "] " + escape_markdown(model_notes[i]) + "\n";
    }
    for (const std::string& note : notes) out += "- " + escape_markdown(note) + "\n";
    if (!effects.body.empty()) out += "\n" + escape_markdown(effect_title) + "\n\n" + render_grid_markdown(effects);
    return out;
  }
  out += wrap(heading(comparison, options), "  ");
  for (const std::string& line : preamble(comparison)) out += wrap(line, "  ");
  out += "\n" + render_grid_text(grid, options.color) + "\n";
  for (std::size_t i = 0; i < model_notes.size(); ++i) {
    out += wrap("[" + std::to_string(i + 1) + "] " + model_notes[i], "    ");
  }
  for (const std::string& note : notes) out += wrap(note, "  ");
  if (!effects.body.empty()) out += "\n" + wrap(effect_title, "  ") + "\n" + render_grid_text(effects, true);
  return out;
}

std::string csv_header(const std::vector<Metric>& metrics) {
  std::string out = "dataset,task,split,split_hash,model,id,cells,failed,coverage";
  for (const Metric& metric : metrics) {
    for (const char* what : {"mean", "sd", "valid_folds", "p", "p_holm"})
      out += "," + csv_field(metric.label() + " " + what);
  }
  return out + ",best_of,notes\n";
}

std::string render_comparison_csv(const Comparison& comparison) {
  const Record& r = *comparison.records.front();
  std::string out;
  for (const Model& model : comparison.models) {
    out += csv_field(r.dataset) + "," + r.task + "," + text_of(r.split, "kind") + "," + text_of(r.split, "hash") + "," +
           csv_field(model.label) + "," + model.id + "," + std::to_string(model.cells) + "," +
           std::to_string(model.failed) + "," + shortest(model.coverage);
    std::vector<std::string> best;
    for (std::size_t m = 0; m < comparison.metrics.size(); ++m) {
      const Column& column = model.columns[m];
      out += "," + shortest(column.shown ? column.summary.mean : kNan) + "," +
             shortest(column.shown ? column.summary.sd : kNan) + "," + std::to_string(column.summary.valid) + "," +
             shortest(column.p) + "," + shortest(column.p_holm);
      if (column.best) best.push_back(comparison.metrics[m].label());
    }
    out += "," + csv_field(join(best, ";")) + "," + csv_field(model_note(comparison, model)) + "\n";
  }
  return out;
}

using Place = std::tuple<std::string, std::string, std::string, std::string>;  // data set, task, split, id

/// Throws if no comparison has the reference, naming the models that there are.
void check_reference(const std::map<Place, Comparison>& comparisons, const std::string& wanted) {
  if (wanted.empty()) return;
  std::set<std::string> labels;
  for (const auto& [place, comparison] : comparisons) {
    if (!find_reference(comparison, wanted).empty()) return;
    for (const Model& model : comparison.models) labels.insert(model.label);
  }
  if (wanted == "best_naive")
    throw UsageError("best_naive is chosen by the validation rows, and these results have no naive baseline with some");
  throw UsageError("the reference model \"" + wanted +
                   "\" is not among the results; they have: " + join({labels.begin(), labels.end()}, ", "));
}

void check_format(const ReportOptions& options) {
  if (options.format == "text" || options.format == "markdown" || options.format == "csv") return;
  throw UsageError("there is no report format \"" + options.format + "\"; there are: text, markdown, csv");
}

/// Every metric that results of \p task can have, by level.
std::map<std::string, std::set<std::string>> possible_metrics(const std::string& task) {
  if (task == "expression") {
    std::map<std::string, std::set<std::string>> possible;
    possible["pooled"].insert("coverage");
    for (const std::string& name : perturbation_metric_names()) {
      const bool ceiling = name.find("_ceiling") != std::string::npos;
      if (!ceiling) possible["condition"].insert(name + "_better");
      for (const char* level : {"condition", "singles_seen_0", "singles_seen_1", "singles_seen_2"}) {
        possible[level].insert(name);
        if (!ceiling) possible[level].insert(name + "_median");
      }
    }
    return possible;
  }
  const std::vector<double> zero_one = {0, 1};
  std::map<std::string, std::set<std::string>> possible;
  std::set<std::string>& pooled = possible["pooled"];
  const std::vector<MetricValue> computed = task == "binary"
                                                ? binary_metrics(zero_one, zero_one, BinaryOptions{0.5, true})
                                                : regression_metrics(zero_one, zero_one, 0.0);
  for (const MetricValue& m : computed) {
    pooled.insert(m.name);
    for (const char* level : {"per_drug", "per_sample", "per_tissue"}) {
      if (m.name == "r2_train") continue;
      for (const char* suffix : {"", "_median", "_better"}) possible[level].insert(m.name + suffix);
    }
  }
  pooled.insert("coverage");
  if (task == "binary") {
    pooled.insert("auprc_skill");
    return possible;
  }
  pooled.insert("rmse_skill");
  for (auto& [level, names] : possible) names.insert({"r2_res", "pearson_res", "spearman_res"});
  return possible;
}

}  // namespace

void check_report_options(const ReportOptions& options, const std::string& task,
                          const std::vector<std::string>& models) {
  check_format(options);
  const auto possible = possible_metrics(task);
  for (const std::string& text : options.metrics) {
    const Metric metric = parse_metric(text, task);
    const auto level = possible.find(metric.level);
    if (level == possible.end()) {
      std::vector<std::string> levels;
      for (const auto& [name, unused] : possible) levels.push_back(name);
      throw UsageError("metric \"" + text + "\": there is no level \"" + metric.level +
                       "\"; there are: " + join(levels, ", "));
    }
    if (level->second.count(metric.name) > 0) continue;
    throw UsageError("there is no metric \"" + metric.name + "\" at level \"" + metric.level + "\" of the task " +
                     task + "; there are: " + join({level->second.begin(), level->second.end()}, ", "));
  }
  const std::string& reference = options.reference_model;
  if (reference.empty() || std::find(models.begin(), models.end(), reference) != models.end()) return;
  if (reference == "best_naive") {
    if (std::any_of(models.begin(), models.end(), [](const std::string& id) { return is_naive(id); })) return;
    throw UsageError("the reference \"best_naive\" needs a naive baseline (" +
                     std::string(task == "expression" ? "perturbation.control_mean" : "baseline.drug_mean") +
                     ", ...) among the models");
  }
  throw UsageError("the reference model \"" + reference + "\" is not among the models: " + join(models, ", "));
}

std::string render_table(const std::vector<ResultRow>& rows, const std::vector<Record>& records,
                         const ReportOptions& options) {
  check_format(options);
  std::map<Place, Comparison> comparisons;
  std::map<std::string, Comparison*> of_key;
  std::vector<const Record*> sorted;
  for (const Record& r : records) sorted.push_back(&r);
  // The order in which cells were named or finished says nothing.
  std::sort(sorted.begin(), sorted.end(), [](const Record* a, const Record* b) {
    return std::forward_as_tuple(a->repeat, a->fold, a->seed, a->key) <
           std::forward_as_tuple(b->repeat, b->fold, b->seed, b->key);
  });
  for (const Record* r : sorted) {
    if (of_key.count(r->key) > 0) continue;
    Comparison& comparison = comparisons[{r->dataset, r->task, text_of(r->split, "kind"), comparison_id(*r)}];
    comparison.records.push_back(r);
    of_key[r->key] = &comparison;
  }
  if (comparisons.empty()) return "no cells\n";
  for (const ResultRow& row : rows) {
    const auto it = of_key.find(row.key);
    if (it != of_key.end()) it->second->rows.push_back(&row);
  }
  if (!options.unfinished) check_metrics(rows, options.metrics);
  for (auto& [place, comparison] : comparisons) {
    comparison.metrics = choose_metrics(comparison, options.metrics);
    collect_models(comparison);
    find_best_naive(comparison);
    sort_and_mark(comparison);
  }
  if (!options.unfinished) check_reference(comparisons, options.reference_model);

  std::string out;
  std::vector<Metric> csv_metrics;
  for (auto& [place, comparison] : comparisons) {
    const Significance significance = compare(comparison, find_reference(comparison, options.reference_model));
    if (options.format != "csv") {
      out += (out.empty() ? "" : "\n") + render_comparison(comparison, significance, options);
      continue;
    }
    // One header per change of columns: with the default metrics a regression and a binary table differ.
    const bool same =
        !csv_metrics.empty() &&
        std::equal(csv_metrics.begin(), csv_metrics.end(), comparison.metrics.begin(), comparison.metrics.end(),
                   [](const Metric& a, const Metric& b) { return a.label() == b.label(); });
    if (!same) out += (out.empty() ? "" : "\n") + csv_header(comparison.metrics);
    csv_metrics = comparison.metrics;
    out += render_comparison_csv(comparison);
  }
  return out;
}

}  // namespace cdrzoo
