// SPDX-License-Identifier: Apache-2.0
#include "metrics/perturbation.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <stdexcept>

#include "base/random.hpp"
#include "metrics/ranking.hpp"
#include "metrics/summation.hpp"

namespace cdrzoo {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint64_t kSampleSeed = 20261120;   // of the cells that distances are computed of
constexpr std::uint64_t kCeilingSeed = 20261121;  // of the first halving; the next ones count up
/// A difference of profiles below this share of their values is the rounding of float32, in which models predict.
constexpr double kRounding = 4 * static_cast<double>(std::numeric_limits<float>::epsilon());

std::string joined(const std::string& a, const std::string& b) { return a + (a.empty() || b.empty() ? "" : ";") + b; }

double largest_absolute(const std::vector<double>& x) {
  double largest = 0;
  for (const double v : x) largest = std::max(largest, std::fabs(v));
  return largest;
}

/// profile - reference; exactly constant where it is constant but for rounding.
std::vector<double> change(const std::vector<double>& profile, const std::vector<double>& reference) {
  std::vector<double> delta(profile.size());
  for (std::size_t i = 0; i < delta.size(); ++i) delta[i] = profile[i] - reference[i];
  const bool finite = std::all_of(delta.begin(), delta.end(), [](double d) { return std::isfinite(d); });
  if (delta.empty() || !finite) return delta;
  const auto [low, high] = std::minmax_element(delta.begin(), delta.end());
  if (*high - *low <= kRounding * std::max(largest_absolute(profile), largest_absolute(reference))) {
    const double constant = *low;
    std::fill(delta.begin(), delta.end(), constant);
  }
  return delta;
}

/// The four vectors of one condition on some of its genes.
struct Selected {
  std::vector<double> truth, prediction, reference;
};

/// \p reference may be empty: profiles only. Genes where truth or reference are unknown are left out; `complete` says
/// if there were any.
Selected select(ArrayView<double> truth, ArrayView<double> prediction, ArrayView<double> reference,
                const std::vector<std::int32_t>& genes, bool& complete) {
  Selected s;
  complete = true;
  for (const std::int32_t gene : genes) {
    const auto g = static_cast<std::size_t>(gene);
    if (!std::isfinite(truth[g]) || (!reference.empty() && !std::isfinite(reference[g]))) {
      complete = false;
      continue;
    }
    s.truth.push_back(truth[g]);
    s.prediction.push_back(prediction[g]);
    if (!reference.empty()) s.reference.push_back(reference[g]);
  }
  return s;
}

/// Share of the genes whose predicted change has the sign of the true one.
MetricValue direction(const Selected& s, const std::string& name) {
  double right = 0;
  std::int64_t n = 0;
  bool silent = false;
  for (std::size_t i = 0; i < s.truth.size(); ++i) {
    if (!std::isfinite(s.prediction[i])) return {name, kNan, "non_finite"};
    const double truth = s.truth[i] - s.reference[i];
    const double predicted = s.prediction[i] - s.reference[i];
    if (truth == 0) continue;
    ++n;
    const double scale = std::max(std::fabs(s.prediction[i]), std::fabs(s.reference[i]));
    if (std::fabs(predicted) <= kRounding * scale) {
      right += 0.5;  // says nothing: as good as a coin
      silent = true;
    } else if ((truth > 0) == (predicted > 0)) {
      right += 1;
    }
  }
  if (n == 0) return {name, kNan, "too_few_rows"};
  return {name, right / static_cast<double>(n), silent ? "no_change" : ""};
}

void add(std::vector<MetricValue>& out, const MetricValue& metric, const std::string& name, const std::string& flag) {
  out.push_back({name, metric.value, joined(metric.flag, flag)});
}

void add_scores(std::vector<MetricValue>& out, const ConditionMeans& c, const std::vector<std::int32_t>& genes,
                const std::string& suffix, const std::string& list_flag) {
  bool complete = true;
  const auto flag = [&] { return joined(list_flag, complete ? "" : "missing_genes"); };
  const Selected profile = select(c.truth, c.prediction, {}, genes, complete);
  for (const MetricValue& m : profile_metrics(profile.truth, profile.prediction)) add(out, m, m.name + suffix, flag());

  const Selected control = select(c.truth, c.prediction, c.control, genes, complete);
  for (const MetricValue& m :
       profile_metrics(change(control.truth, control.reference), change(control.prediction, control.reference))) {
    if (m.name != "mse") add(out, m, m.name + "_delta_ctrl" + suffix, flag());
  }
  if (!suffix.empty()) add(out, direction(control, "direction" + suffix), "direction" + suffix, flag());

  const auto against = [&](const std::string& name, ArrayView<double> reference) {
    if (reference.empty()) {
      out.push_back({name + suffix, kNan, "no_training_profiles"});
      return;
    }
    const Selected s = select(c.truth, c.prediction, reference, genes, complete);
    for (const MetricValue& m : profile_metrics(change(s.truth, s.reference), change(s.prediction, s.reference))) {
      if (m.name == "pearson") add(out, m, name + suffix, flag());
    }
  };
  against("pearson_delta_pert", c.train_perturbed);
  against("pearson_delta_shift", c.train_shifted);
}

/// Rows of a matrix in double precision, in panels of kPanel rows stored gene by gene: the loop over a panel's rows is
/// one vector operation, and every product is summed over the genes in the same order, so that equal rows have equal
/// sums.
class Panels {
 public:
  static constexpr std::size_t kPanel = 4;

  /// \param shift taken off each row: distances stay, and digits are not lost to a common offset
  Panels(MatrixView<float> cells, const std::vector<std::int64_t>& rows, const std::vector<std::int32_t>& genes,
         const std::vector<double>& shift)
      : rows_(rows.size()),
        genes_(genes.size()),
        data_((rows.size() + kPanel - 1) / kPanel * kPanel * genes.size(), 0) {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const float* row = cells.row(rows[r]);
      double* to = data_.data() + r / kPanel * kPanel * genes_ + r % kPanel;
      for (std::size_t g = 0; g < genes_; ++g) {
        const auto gene = static_cast<std::size_t>(genes[g]);
        to[g * kPanel] = static_cast<double>(row[gene]) - shift[gene];
      }
    }
  }
  [[nodiscard]] std::size_t rows() const { return rows_; }
  [[nodiscard]] std::size_t panels() const { return (rows_ + kPanel - 1) / kPanel; }
  [[nodiscard]] const double* panel(std::size_t p) const { return data_.data() + p * kPanel * genes_; }
  [[nodiscard]] std::size_t genes() const { return genes_; }

 private:
  std::size_t rows_, genes_;
  std::vector<double> data_;
};

using Tile = std::array<std::array<double, Panels::kPanel>, Panels::kPanel>;

Tile products(const double* a, const double* b, std::size_t genes) {
  constexpr std::size_t k = Panels::kPanel;
  Tile tile{};
  for (std::size_t g = 0; g < genes; ++g) {
    for (std::size_t i = 0; i < k; ++i) {
      for (std::size_t j = 0; j < k; ++j) tile[i][j] += a[g * k + i] * b[g * k + j];
    }
  }
  return tile;
}

std::vector<double> squared_norms(const Panels& a) {
  std::vector<double> norms(a.panels() * Panels::kPanel);
  for (std::size_t p = 0; p < a.panels(); ++p) {
    const Tile tile = products(a.panel(p), a.panel(p), a.genes());
    for (std::size_t i = 0; i < Panels::kPanel; ++i) norms[p * Panels::kPanel + i] = tile[i][i];
  }
  return norms;
}

/// Squared Euclidean distances [a.rows(), b.rows()] by products of panels.
std::vector<double> squared_distances(const Panels& a, const Panels& b) {
  constexpr std::size_t k = Panels::kPanel;
  const std::vector<double> norm_a = squared_norms(a);
  const std::vector<double> norm_b = squared_norms(b);
  std::vector<double> out(a.rows() * b.rows());
  for (std::size_t p = 0; p < a.panels(); ++p) {
    for (std::size_t q = 0; q < b.panels(); ++q) {
      const Tile tile = products(a.panel(p), b.panel(q), a.genes());
      for (std::size_t i = p * k; i < std::min(a.rows(), p * k + k); ++i) {
        for (std::size_t j = q * k; j < std::min(b.rows(), q * k + k); ++j) {
          out[i * b.rows() + j] = std::max(0.0, norm_a[i] + norm_b[j] - 2 * tile[i - p * k][j - q * k]);
        }
      }
    }
  }
  return out;
}

/// At most kMaxDistanceCells row numbers, ascending; drawn by a fixed seed if there are more.
std::vector<std::int64_t> sample_rows(std::int64_t n) {
  std::vector<std::int64_t> rows;
  if (n <= kMaxDistanceCells) {
    rows.resize(static_cast<std::size_t>(n));
    std::iota(rows.begin(), rows.end(), std::int64_t{0});
    return rows;
  }
  const std::vector<std::int32_t> order = random_permutation(static_cast<std::size_t>(n), kSampleSeed);
  rows.assign(order.begin(), order.begin() + kMaxDistanceCells);
  std::sort(rows.begin(), rows.end());
  return rows;
}

void exclude_unknown_genes(MatrixView<float> cells, const std::vector<std::int64_t>& rows, std::vector<bool>& known) {
  for (const std::int64_t r : rows) {
    const float* row = cells.row(r);
    for (std::size_t g = 0; g < known.size(); ++g) known[g] = known[g] && std::isfinite(row[g]);
  }
}

std::vector<std::int32_t> numbers_of(const std::vector<bool>& chosen) {
  std::vector<std::int32_t> numbers;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i]) numbers.push_back(static_cast<std::int32_t>(i));
  }
  return numbers;
}

/// Means over pairs of rows of two sets within one matrix of squared distances.
template <typename Function>
double pair_mean(const std::vector<double>& squared, std::size_t columns, const std::vector<std::size_t>& a,
                 const std::vector<std::size_t>& b, bool same, Function f) {
  Sum sum;
  std::int64_t pairs = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = same ? i + 1 : 0; j < b.size();
         ++j) {  // a set with itself: i = j left out, i < j stands for both
      sum.add(f(squared[a[i] * columns + b[j]]));
      ++pairs;
    }
  }
  return sum.value() / static_cast<double>(pairs);
}

double median_distance(const std::vector<double>& squared, std::size_t columns, const std::vector<std::size_t>& rows) {
  std::vector<double> d;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = i + 1; j < rows.size(); ++j) d.push_back(squared[rows[i] * columns + rows[j]]);
  }
  const auto half = d.begin() + static_cast<std::ptrdiff_t>(d.size() / 2);
  std::nth_element(d.begin(), half, d.end());
  const double upper = std::sqrt(*half);
  return d.size() % 2 == 1 ? upper : 0.5 * (upper + std::sqrt(*std::max_element(d.begin(), half)));
}

/// Three matrices of squared distances, and the rows of each that take part.
struct Pairs {
  const std::vector<double>&xx, &yy, &xy;
  std::size_t xx_columns, yy_columns, xy_columns;
  std::vector<std::size_t> x, y;
};

std::vector<MetricValue> distances_of(const Pairs& p, const std::string& flag) {
  const auto statistic = [&](auto f) {
    return 2 * pair_mean(p.xy, p.xy_columns, p.x, p.y, false, f) - pair_mean(p.xx, p.xx_columns, p.x, p.x, true, f) -
           pair_mean(p.yy, p.yy_columns, p.y, p.y, true, f);
  };
  std::vector<MetricValue> out;
  out.push_back({"energy_distance", statistic([](double squared) { return std::sqrt(squared); }), flag});
  const double median = median_distance(p.xx, p.xx_columns, p.x);
  if (!(median > 0)) {
    out.push_back({"mmd", kNan, joined("constant_truth", flag)});
    return out;
  }
  const auto kernel = [median](double squared) {
    const double u = squared / (2 * median * median);
    return (std::exp(-16 * u) + std::exp(-4 * u) + std::exp(-u) + std::exp(-u / 4) + std::exp(-u / 16)) / 5;
  };
  out.push_back({"mmd", -statistic(kernel), flag});  // kernels are similarities: the signs are the other way round
  return out;
}

std::vector<std::size_t> count_up(std::size_t n) {
  std::vector<std::size_t> rows(n);
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  return rows;
}

std::vector<double> finite_or_zero(std::vector<double> x) {
  for (double& v : x) v = std::isfinite(v) ? v : 0;
  return x;
}

std::vector<double> means_of_rows(MatrixView<float> cells, const std::vector<std::int64_t>& rows) {
  std::vector<double> sum(static_cast<std::size_t>(cells.cols), 0);
  std::vector<std::int64_t> count(sum.size(), 0);
  for (const std::int64_t r : rows) {
    const float* row = cells.row(r);
    for (std::size_t g = 0; g < sum.size(); ++g) {
      if (!std::isfinite(row[g])) continue;
      sum[g] += static_cast<double>(row[g]);
      ++count[g];
    }
  }
  for (std::size_t g = 0; g < sum.size(); ++g) sum[g] = count[g] > 0 ? sum[g] / static_cast<double>(count[g]) : kNan;
  return sum;
}

std::vector<std::int64_t> all_rows(std::int64_t n) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(n));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  return rows;
}

}  // namespace

std::vector<MetricValue> condition_metrics(const ConditionMeans& c) {
  const std::size_t n = c.truth.size();
  if (c.prediction.size() != n || c.control.size() != n ||
      (!c.train_perturbed.empty() && c.train_perturbed.size() != n) ||
      (!c.train_shifted.empty() && c.train_shifted.size() != n)) {
    throw std::logic_error("the profiles of a condition differ in their number of genes");
  }
  std::vector<std::int32_t> genes(n);
  std::iota(genes.begin(), genes.end(), 0);
  std::vector<MetricValue> out;
  add_scores(out, c, genes, "", "");
  for (const int k : kDegSizes) {
    const std::size_t taken = std::min(c.deg.size(), static_cast<std::size_t>(k));
    const std::vector<std::int32_t> list(c.deg.begin(), c.deg.begin() + taken);
    add_scores(out, c, list, "_deg" + std::to_string(k), taken < static_cast<std::size_t>(k) ? "fewer_degs" : "");
  }
  return out;
}

std::vector<std::int32_t> largest_differences(ArrayView<double> truth, ArrayView<double> control, std::int32_t k) {
  std::vector<std::int32_t> genes;
  for (std::size_t g = 0; g < truth.size(); ++g) {
    if (std::isfinite(truth[g]) && std::isfinite(control[g])) genes.push_back(static_cast<std::int32_t>(g));
  }
  const auto size = [&](std::int32_t gene) {
    const auto g = static_cast<std::size_t>(gene);
    return std::fabs(truth[g] - control[g]);
  };
  const auto kept = static_cast<std::ptrdiff_t>(std::min(genes.size(), static_cast<std::size_t>(k)));
  std::partial_sort(genes.begin(), genes.begin() + kept, genes.end(), [&](std::int32_t a, std::int32_t b) {
    const double size_a = size(a);
    const double size_b = size(b);
    return size_a != size_b ? size_a > size_b : a < b;
  });
  genes.resize(static_cast<std::size_t>(kept));
  return genes;
}

std::vector<MetricValue> discrimination(MatrixView<float> truth, MatrixView<float> prediction,
                                        ArrayView<std::int32_t> group) {
  std::map<std::int32_t, std::vector<std::int64_t>> members;
  for (std::size_t i = 0; i < group.size(); ++i) members[group[i]].push_back(static_cast<std::int64_t>(i));
  std::vector<MetricValue> out(group.size(), {"discrimination", kNan, "one_condition"});
  for (const auto& [code, rows] : members) {
    const std::size_t m = rows.size();
    if (m < 2) continue;
    std::vector<bool> known(static_cast<std::size_t>(truth.cols), true);
    exclude_unknown_genes(truth, rows, known);
    const std::vector<std::int32_t> genes = numbers_of(known);
    const std::vector<double> shift = finite_or_zero(means_of_rows(truth, rows));
    const Panels truths(truth, rows, genes, shift);
    constexpr std::size_t kBlock = 256;  // predictions at a time: the distances of all need not fit the memory
    for (std::size_t begin = 0; begin < m; begin += kBlock) {
      const std::vector<std::int64_t> block(rows.begin() + static_cast<std::ptrdiff_t>(begin),
                                            rows.begin() + static_cast<std::ptrdiff_t>(std::min(m, begin + kBlock)));
      const std::vector<double> squared = squared_distances(Panels(prediction, block, genes, shift), truths);
      for (std::size_t i = 0; i < block.size(); ++i) {
        MetricValue& score = out[static_cast<std::size_t>(block[i])];
        const std::vector<double> own(squared.begin() + static_cast<std::ptrdiff_t>(i * m),
                                      squared.begin() + static_cast<std::ptrdiff_t>((i + 1) * m));
        const float* row = prediction.row(block[i]);
        const bool finite =
            std::all_of(genes.begin(), genes.end(), [&](std::int32_t g) { return std::isfinite(row[g]); });
        if (!finite) {
          score.flag = "non_finite";
          continue;
        }
        score = {"discrimination", 1 - (mid_ranks(own)[begin + i] - 1) / static_cast<double>(m - 1), ""};
      }
    }
  }
  return out;
}

std::vector<MetricValue> cell_distances(MatrixView<float> truth, MatrixView<float> prediction) {
  if (truth.rows < 2 || prediction.rows < 2) {
    return {{"energy_distance", kNan, "too_few_rows"}, {"mmd", kNan, "too_few_rows"}};
  }
  if (truth.cols != prediction.cols) throw std::logic_error("true and predicted cells differ in their number of genes");
  const std::vector<std::int64_t> x_rows = sample_rows(truth.rows);
  const std::vector<std::int64_t> y_rows = sample_rows(prediction.rows);
  std::vector<bool> known(static_cast<std::size_t>(truth.cols), true);
  exclude_unknown_genes(truth, x_rows, known);
  exclude_unknown_genes(prediction, y_rows, known);
  const std::vector<std::int32_t> genes = numbers_of(known);
  if (genes.empty()) return {{"energy_distance", kNan, "non_finite"}, {"mmd", kNan, "non_finite"}};
  const std::vector<double> shift = finite_or_zero(means_of_rows(truth, x_rows));
  const Panels x(truth, x_rows, genes, shift);
  const Panels y(prediction, y_rows, genes, shift);
  const std::vector<double> xx = squared_distances(x, x);
  const std::vector<double> yy = squared_distances(y, y);
  const std::vector<double> xy = squared_distances(x, y);
  const bool sampled = truth.rows > kMaxDistanceCells || prediction.rows > kMaxDistanceCells;
  const std::string flag = joined(genes.size() < known.size() ? "missing_genes" : "", sampled ? "sampled" : "");
  return distances_of({xx, yy, xy, x.rows(), y.rows(), y.rows(), count_up(x.rows()), count_up(y.rows())}, flag);
}

std::vector<MetricValue> noise_ceiling(const ConditionMeans& condition, MatrixView<float> true_cells) {
  if (true_cells.rows < 4) return {};
  // One matrix of distances serves all halvings.
  const std::vector<std::int64_t> pool = sample_rows(true_cells.rows);
  std::vector<bool> known(static_cast<std::size_t>(true_cells.cols), true);
  exclude_unknown_genes(true_cells, pool, known);
  const Panels cells(true_cells, pool, numbers_of(known), finite_or_zero(means_of_rows(true_cells, pool)));
  const std::vector<double> squared = squared_distances(cells, cells);

  std::vector<MetricValue> out;
  std::vector<std::vector<double>> values;
  for (std::uint64_t split = 0; split < kCeilingSplits; ++split) {
    const auto n = static_cast<std::size_t>(true_cells.rows);
    const std::vector<std::int32_t> order = random_permutation(n, kCeilingSeed + split);
    const auto middle = order.begin() + static_cast<std::ptrdiff_t>(n / 2);
    const auto end = middle + static_cast<std::ptrdiff_t>(n / 2);
    const std::vector<double> prediction = means_of_rows(true_cells, {order.begin(), middle});
    const std::vector<double> truth = means_of_rows(true_cells, {middle, end});
    std::vector<MetricValue> metrics = condition_metrics(
        {truth, prediction, condition.control, condition.train_perturbed, condition.deg, condition.train_shifted});

    const std::vector<std::int32_t> halves = random_permutation(pool.size(), kCeilingSeed + split);
    const std::size_t half = pool.size() / 2;
    Pairs pairs{squared, squared, squared, pool.size(), pool.size(), pool.size(), {}, {}};
    for (std::size_t i = 0; i < 2 * half; ++i) {
      (i < half ? pairs.x : pairs.y).push_back(static_cast<std::size_t>(halves[i]));
    }
    for (MetricValue& m : distances_of(pairs, "")) metrics.push_back(std::move(m));

    values.resize(metrics.size());
    for (std::size_t m = 0; m < metrics.size(); ++m) {
      if (split == 0) out.push_back({metrics[m].name + "_ceiling", kNan, ""});
      if (std::isfinite(metrics[m].value)) values[m].push_back(metrics[m].value);
    }
  }
  for (std::size_t m = 0; m < out.size(); ++m) {
    if (!values[m].empty()) out[m].value = mean_of(values[m]);
  }
  return out;
}

std::vector<double> column_means(MatrixView<float> cells) { return means_of_rows(cells, all_rows(cells.rows)); }

const std::vector<std::string>& perturbation_metric_names() {
  static const std::vector<std::string> kNames = [] {
    const std::vector<double> none;
    std::vector<std::string> names;
    for (const MetricValue& m : condition_metrics({none, none, none, none, {}})) names.push_back(m.name);
    names.emplace_back("energy_distance");
    names.emplace_back("mmd");
    const std::vector<std::string> with_ceiling = names;
    for (const std::string& name : with_ceiling) names.push_back(name + "_ceiling");
    names.emplace_back("discrimination");
    return names;
  }();
  return kNames;
}

}  // namespace cdrzoo
