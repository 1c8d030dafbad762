// SPDX-License-Identifier: Apache-2.0
#include "metrics/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "base/error.hpp"
#include "metrics/ranking.hpp"
#include "metrics/summation.hpp"

namespace cdrzoo {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kConstantRange = 1e-13;  // relative; see pearson() in the header

double real(std::int64_t x) { return static_cast<double>(x); }

bool all_finite(ArrayView<double> x) {
  return std::all_of(x.begin(), x.end(), [](double v) { return std::isfinite(v); });
}

void require_same_size(ArrayView<double> a, ArrayView<double> b) {
  if (a.size() != b.size()) {
    throw std::logic_error("a metric got " + std::to_string(a.size()) + " targets and " + std::to_string(b.size()) +
                           " predictions");
  }
}

bool is_constant(ArrayView<double> x) {
  if (x.empty()) return true;
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  return *high - *low <= kConstantRange * std::max(std::fabs(*low), std::fabs(*high));
}

/// Scores by label, each sorted: every ranking metric is one walk over the distinct scores from the top.
class ScoreBlocks {
 public:
  ScoreBlocks(ArrayView<double> label, ArrayView<double> score) {
    require_same_size(label, score);
    std::size_t n_positive = 0;
    for (std::size_t i = 0; i < label.size(); ++i) {
      if (label[i] == 1.0) {
        ++n_positive;
      } else if (label[i] != 0.0) {
        throw DataError("label " + std::to_string(label[i]) + " of row " + std::to_string(i) + " is neither 0 nor 1");
      }
    }
    positive_.reserve(n_positive);
    negative_.reserve(label.size() - n_positive);
    for (std::size_t i = 0; i < label.size(); ++i) {
      finite_ = finite_ && std::isfinite(score[i]);
      (label[i] == 1.0 ? positive_ : negative_).push_back(order_key(score[i]));
    }
    if (!finite_) return;
    sort_keys(positive_);
    sort_keys(negative_);
  }

  [[nodiscard]] bool finite() const { return finite_; }
  [[nodiscard]] std::int64_t positives() const { return static_cast<std::int64_t>(positive_.size()); }
  [[nodiscard]] std::int64_t negatives() const { return static_cast<std::int64_t>(negative_.size()); }

  /// visit(order key of the score, positives, negatives) for every distinct score, descending.
  template <typename Visit>
  void descend(Visit visit) const {
    std::size_t p = positive_.size();
    std::size_t n = negative_.size();
    while (p > 0 || n > 0) {
      const std::uint64_t key =
          n == 0 || (p > 0 && positive_[p - 1] >= negative_[n - 1]) ? positive_[p - 1] : negative_[n - 1];
      std::int64_t tied_p = 0;
      std::int64_t tied_n = 0;
      while (p > 0 && positive_[p - 1] == key) --p, ++tied_p;
      while (n > 0 && negative_[n - 1] == key) --n, ++tied_n;
      visit(key, tied_p, tied_n);
    }
  }

 private:
  std::vector<std::uint64_t> positive_, negative_;
  bool finite_ = true;
};

struct Curves {
  double auroc = kNan, average_precision = kNan, trapezoid = kNan;
};

Curves curves(const ScoreBlocks& blocks) {
  const std::int64_t positives = blocks.positives();
  const std::int64_t negatives = blocks.negatives();
  if (!blocks.finite() || positives == 0 || negatives == 0) return {};
  // Twice the number of (positive, negative) pairs in the right order, ties counting one: exact in integers up to
  // 2^63, so the only rounding of the AUROC is one division. long double carries what is beyond.
  long double twice_won = 0;
  std::int64_t tp = 0;
  std::int64_t fp = 0;
  double precision_before = 1.0;  // the anchor of the trapezoid: recall 0, precision 1
  Sum step;
  Sum area;
  blocks.descend([&](std::uint64_t, std::int64_t p, std::int64_t n) {
    twice_won += static_cast<long double>(p) * static_cast<long double>(2 * (negatives - fp) - n);
    tp += p;
    fp += n;
    const double precision = real(tp) / real(tp + fp);
    const double recall_step = real(p) / real(positives);
    step.add(recall_step * precision);
    area.add(recall_step * 0.5 * (precision + precision_before));
    precision_before = precision;
  });
  Curves result;
  result.auroc =
      static_cast<double>(twice_won / 2 / static_cast<long double>(positives) / static_cast<long double>(negatives));
  result.average_precision = step.value();
  result.trapezoid = area.value();
  return result;
}

Confusion count(const ScoreBlocks& blocks, double threshold) {
  Confusion c;
  if (std::isnan(threshold)) return c;
  const std::uint64_t cut = order_key(threshold);
  blocks.descend([&](std::uint64_t key, std::int64_t p, std::int64_t n) {
    (key > cut ? c.tp : c.fn) += p;
    (key > cut ? c.fp : c.tn) += n;
  });
  return c;
}

void add_threshold_metrics(std::vector<MetricValue>& out, const Confusion& c, const std::string& suffix,
                           const std::string& undefined) {
  const auto add = [&](const char* name, double value, const std::string& flag) {
    out.push_back({name + suffix, undefined.empty() ? value : kNan, undefined.empty() ? flag : undefined});
  };
  const double tp = real(c.tp);
  const double tn = real(c.tn);
  const double fp = real(c.fp);
  const double fn = real(c.fn);
  const double p = tp + fn;
  const double n = tn + fp;
  const double total = p + n;
  const double recall = p > 0 ? tp / p : kNan;
  const double specificity = n > 0 ? tn / n : kNan;
  add("accuracy", total > 0 ? (tp + tn) / total : kNan, total > 0 ? "" : "too_few_rows");
  add("balanced_accuracy", 0.5 * (recall + specificity), p > 0 && n > 0 ? "" : "one_class");
  add("precision", tp + fp > 0 ? tp / (tp + fp) : (total > 0 ? 0.0 : kNan), tp + fp > 0 ? "" : "zero_division");
  add("recall", recall, p > 0 ? "" : "one_class");
  add("specificity", specificity, n > 0 ? "" : "one_class");
  add("f1", p > 0 ? 2 * tp / (2 * tp + fp + fn) : kNan, p > 0 ? "" : "one_class");
  // The product of the four margins overflows 64 bits, not a double; roots keep it far from both ends.
  const double margins = std::sqrt(tp + fp) * std::sqrt(p) * std::sqrt(n) * std::sqrt(tn + fn);
  const bool empty_margin = tp + fp == 0 || p == 0 || n == 0 || tn + fn == 0;
  add("mcc", empty_margin ? (total > 0 ? 0.0 : kNan) : (tp * tn - fp * fn) / margins,
      empty_margin ? "zero_division" : "");
  const double by_chance = (p * (tp + fp) + n * (tn + fn)) / total;
  const bool certain = by_chance == total;  // everything in one class, truth and prediction
  add("kappa", total > 0 ? (certain ? 0.0 : (tp + tn - by_chance) / (total - by_chance)) : kNan,
      certain ? "zero_division" : "");
}

/// What makes a correlation undefined or a convention; "" if nothing does.
std::string correlation_flag(ArrayView<double> truth, ArrayView<double> prediction) {
  if (!all_finite(truth) || !all_finite(prediction)) return "non_finite";
  if (truth.size() < 3) return "too_few_rows";
  if (is_constant(truth)) return "constant_truth";
  if (is_constant(prediction)) return "constant_pred";
  return "";
}

/// Of vectors that are neither constant nor short.
double raw_pearson(ArrayView<double> a, ArrayView<double> b) {
  const double mean_a = mean_of(a);
  const double mean_b = mean_of(b);
  // Two passes: with the means taken off first, values around 1e6 that differ by 1 keep all their digits. What the
  // rounding of the means leaves is taken off at the end.
  Sum ab;
  Sum aa;
  Sum bb;
  Sum rest_a;
  Sum rest_b;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i] - mean_a;
    const double y = b[i] - mean_b;
    ab.add(x * y);
    aa.add(x * x);
    bb.add(y * y);
    rest_a.add(x);
    rest_b.add(y);
  }
  const auto n = static_cast<double>(a.size());
  const double covariance = ab.value() - rest_a.value() * rest_b.value() / n;
  const double variance_a = aa.value() - rest_a.value() * rest_a.value() / n;
  const double variance_b = bb.value() - rest_b.value() * rest_b.value() / n;
  return std::clamp(covariance / (std::sqrt(variance_a) * std::sqrt(variance_b)), -1.0, 1.0);
}

/// Number of pairs i < j with x[i] > x[j]; sorts x.
std::int64_t count_inversions(std::vector<double>& x) {
  std::vector<double> merged(x.size());
  std::int64_t inversions = 0;
  for (std::size_t width = 1; width < x.size(); width *= 2) {
    for (std::size_t begin = 0; begin < x.size(); begin += 2 * width) {
      const std::size_t middle = std::min(begin + width, x.size());
      const std::size_t end = std::min(begin + 2 * width, x.size());
      std::size_t left = begin;
      std::size_t right = middle;
      for (std::size_t to = begin; to < end; ++to) {
        if (left < middle && (right == end || x[left] <= x[right])) {
          merged[to] = x[left++];
        } else {
          inversions += static_cast<std::int64_t>(middle - left);
          merged[to] = x[right++];
        }
      }
    }
    x.swap(merged);
  }
  return inversions;
}

/// Sum over runs of equal neighbours of t (t - 1) / 2.
template <typename Equal>
std::int64_t tied_pairs(std::size_t size, Equal equal) {
  std::int64_t pairs = 0;
  std::int64_t run = 1;
  for (std::size_t i = 1; i <= size; ++i) {
    if (i < size && equal(i - 1, i)) {
      ++run;
    } else {
      pairs += run * (run - 1) / 2;
      run = 1;
    }
  }
  return pairs;
}

/// Knight (1966): sort by a then b; the discordant pairs are the inversions of b.
double raw_kendall(ArrayView<double> a, ArrayView<double> b) {
  const std::size_t size = a.size();
  std::vector<std::pair<double, double>> rows(size);
  for (std::size_t i = 0; i < size; ++i) rows[i] = {a[i], b[i]};
  std::sort(rows.begin(), rows.end());
  const std::int64_t tied_a =
      tied_pairs(size, [&](std::size_t i, std::size_t j) { return rows[i].first == rows[j].first; });
  const std::int64_t tied_both = tied_pairs(size, [&](std::size_t i, std::size_t j) { return rows[i] == rows[j]; });
  std::vector<double> second(size);
  for (std::size_t i = 0; i < size; ++i) second[i] = rows[i].second;
  const std::int64_t discordant = count_inversions(second);  // `second` is sorted from here on
  const std::int64_t tied_b = tied_pairs(size, [&](std::size_t i, std::size_t j) { return second[i] == second[j]; });
  const auto n = static_cast<std::int64_t>(size);
  const std::int64_t all = n * (n - 1) / 2;
  const std::int64_t difference = all - tied_a - tied_b + tied_both - 2 * discordant;
  return std::clamp(real(difference) / (std::sqrt(real(all - tied_a)) * std::sqrt(real(all - tied_b))), -1.0, 1.0);
}

template <typename Raw>
MetricValue correlation(const char* name, const std::string& flag, Raw raw) {
  if (flag.empty()) return {name, raw(), ""};
  return {name, flag == "constant_pred" ? 0.0 : kNan, flag};
}

/// All but the costly one.
std::vector<MetricValue> fast_metrics(ArrayView<double> truth, ArrayView<double> prediction, double train_mean) {
  require_same_size(truth, prediction);
  const bool finite = all_finite(truth) && all_finite(prediction);
  const std::string flag = correlation_flag(truth, prediction);
  const bool usable = finite && !truth.empty();
  const std::string broken = !finite ? "non_finite" : truth.empty() ? "too_few_rows" : "";
  const auto n = static_cast<double>(truth.size());

  Sum squared;
  Sum absolute;
  Sum around_mean;
  Sum around_train;
  const double mean = mean_of(truth);
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const double error = prediction[i] - truth[i];
    squared.add(error * error);
    absolute.add(std::fabs(error));
    around_mean.add((truth[i] - mean) * (truth[i] - mean));
    around_train.add((truth[i] - train_mean) * (truth[i] - train_mean));
  }
  const double sse = squared.value();
  const auto r2 = [&](const char* name, double sst, bool constant) -> MetricValue {
    if (!usable) return {name, kNan, broken};
    if (truth.size() < 2) return {name, kNan, "too_few_rows"};
    if (constant || !(sst > 0)) return {name, kNan, "constant_truth"};
    return {name, 1.0 - sse / sst, ""};
  };

  std::vector<MetricValue> out;
  out.push_back({"mse", usable ? sse / n : kNan, broken});
  out.push_back({"rmse", usable ? std::sqrt(sse / n) : kNan, broken});
  out.push_back({"mae", usable ? absolute.value() / n : kNan, broken});
  out.push_back(r2("r2", around_mean.value(), is_constant(truth)));
  if (std::isfinite(train_mean)) out.push_back(r2("r2_train", around_train.value(), false));
  out.push_back(correlation("pearson", flag, [&] { return raw_pearson(truth, prediction); }));
  out.push_back(correlation("spearman", flag, [&] { return raw_pearson(mid_ranks(truth), mid_ranks(prediction)); }));
  return out;
}

}  // namespace

std::vector<MetricValue> binary_metrics(ArrayView<double> label, ArrayView<double> score,
                                        const BinaryOptions& options) {
  const ScoreBlocks blocks(label, score);
  const std::int64_t positives = blocks.positives();
  const std::int64_t total = positives + blocks.negatives();
  const std::string broken = blocks.finite() ? "" : "non_finite";
  const std::string one_class = !broken.empty() ? broken : positives == 0 || blocks.negatives() == 0 ? "one_class" : "";
  const Curves c = curves(blocks);
  const double prevalence = total > 0 ? real(positives) / real(total) : kNan;
  std::vector<MetricValue> out;
  out.push_back({"auroc", c.auroc, one_class});
  out.push_back({"auprc", c.average_precision, one_class});
  out.push_back({"auprc_trapz", c.trapezoid, one_class});
  out.push_back({"prevalence", prevalence, total > 0 ? "" : "too_few_rows"});
  out.push_back({"auprc_gain", c.average_precision - prevalence, one_class});

  const std::string no_threshold = !broken.empty() ? broken : std::isnan(options.threshold) ? "no_threshold" : "";
  add_threshold_metrics(out, no_threshold.empty() ? count(blocks, options.threshold) : Confusion{}, "", no_threshold);
  if (!options.probabilities) return out;

  Sum square;
  Sum log_loss;
  bool clipped = false;
  for (std::size_t i = 0; i < score.size(); ++i) {
    const double p = std::clamp(score[i], 0.0, 1.0);
    clipped = clipped || p != score[i];
    square.add((p - label[i]) * (p - label[i]));
    const double q = std::clamp(p, options.log_loss_eps, 1.0 - options.log_loss_eps);
    log_loss.add(label[i] == 1.0 ? -std::log(q) : -std::log1p(-q));
  }
  const std::string flag = !broken.empty() ? broken : clipped ? "clipped" : "";
  const bool usable = broken.empty() && total > 0;
  out.push_back({"brier", usable ? square.value() / real(total) : kNan, flag});
  out.push_back({"log_loss", usable ? log_loss.value() / real(total) : kNan, flag});
  add_threshold_metrics(out, broken.empty() ? count(blocks, 0.5) : Confusion{}, "@0.5", broken);
  return out;
}

std::vector<MetricValue> regression_metrics(ArrayView<double> truth, ArrayView<double> prediction, double train_mean) {
  std::vector<MetricValue> out = fast_metrics(truth, prediction, train_mean);
  out.push_back(
      correlation("kendall", correlation_flag(truth, prediction), [&] { return raw_kendall(truth, prediction); }));
  return out;
}

std::vector<MetricValue> profile_metrics(ArrayView<double> truth, ArrayView<double> prediction) {
  std::vector<MetricValue> out = fast_metrics(truth, prediction, kNan);
  out.erase(
      std::remove_if(out.begin(), out.end(), [](const MetricValue& m) { return m.name == "rmse" || m.name == "mae"; }),
      out.end());
  return out;
}

double metric_value(const std::vector<MetricValue>& metrics, const std::string& name) {
  for (const MetricValue& m : metrics) {
    if (m.name == name) return m.value;
  }
  return kNan;
}

double auroc(ArrayView<double> label, ArrayView<double> score) { return curves(ScoreBlocks(label, score)).auroc; }

double average_precision(ArrayView<double> label, ArrayView<double> score) {
  return curves(ScoreBlocks(label, score)).average_precision;
}

double auprc_trapezoid(ArrayView<double> label, ArrayView<double> score) {
  return curves(ScoreBlocks(label, score)).trapezoid;
}

double pearson(ArrayView<double> truth, ArrayView<double> prediction) {
  require_same_size(truth, prediction);
  return correlation("pearson", correlation_flag(truth, prediction), [&] { return raw_pearson(truth, prediction); })
      .value;
}

double spearman(ArrayView<double> truth, ArrayView<double> prediction) {
  require_same_size(truth, prediction);
  return correlation("spearman", correlation_flag(truth, prediction),
                     [&] { return raw_pearson(mid_ranks(truth), mid_ranks(prediction)); })
      .value;
}

double kendall_tau_b(ArrayView<double> truth, ArrayView<double> prediction) {
  require_same_size(truth, prediction);
  return correlation("kendall", correlation_flag(truth, prediction), [&] { return raw_kendall(truth, prediction); })
      .value;
}

Confusion confusion_at(ArrayView<double> label, ArrayView<double> score, double threshold) {
  return count(ScoreBlocks(label, score), threshold);
}

double best_f1_threshold(ArrayView<double> label, ArrayView<double> score) {
  const ScoreBlocks blocks(label, score);
  if (!blocks.finite() || blocks.positives() == 0) return kNan;
  double best = kNan;
  double best_f1 = -1;
  double previous = kNan;  // the lowest score that the candidate above predicts positive
  double previous_f1 = 0;
  std::int64_t tp = 0;
  std::int64_t predicted = 0;
  const auto consider = [&](double threshold) {
    if (previous_f1 > best_f1) {  // strictly: of equals the higher threshold, met first, stays
      best_f1 = previous_f1;
      best = threshold;
    }
  };
  blocks.descend([&](std::uint64_t key, std::int64_t p, std::int64_t n) {
    const double score_here = from_order_key(key);
    if (predicted > 0) {
      // Between neighbouring doubles the midpoint may round up to the higher one, which must stay above the threshold.
      const double middle = 0.5 * previous + 0.5 * score_here;
      consider(middle < previous ? middle : score_here);
    }
    tp += p;
    predicted += p + n;
    previous = score_here;
    previous_f1 = 2 * real(tp) / real(predicted + blocks.positives());
  });
  consider(-std::numeric_limits<double>::infinity());
  return best;
}

bool higher_is_better(const std::string& metric) {
  const std::string base = metric.substr(0, metric.find_first_of("_@"));
  if (metric.find("_skill") != std::string::npos || metric.find("_better") != std::string::npos) return true;
  return !(base == "mse" || base == "rmse" || base == "mae" || base == "brier" || base == "log" || base == "energy" ||
           base == "mmd");
}

}  // namespace cdrzoo
