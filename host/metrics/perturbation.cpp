// SPDX-License-Identifier: Apache-2.0
#include "metrics/perturbation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <stdexcept>

#include "base/random.hpp"
#include "metrics/column_means.hpp"
#include "metrics/ranking.hpp"
#include "metrics/row_distances.hpp"
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

/// The vectors of one condition on some of its genes.
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

void exclude_unknown_genes(const CellRows& cells, std::vector<bool>& known) {
  std::vector<float> scratch;
  for (const std::int32_t r : cells.row) {
    const float* row = cells.matrix.row(r, scratch);
    const bool all = std::all_of(row, row + known.size(), [](float v) { return std::isfinite(v); });
    for (std::size_t g = 0; !all && g < known.size(); ++g) known[g] = known[g] && std::isfinite(row[g]);
  }
}

std::vector<bool> known_genes(const CellRows& cells) {
  std::vector<bool> known(static_cast<std::size_t>(cells.matrix.cols), true);
  exclude_unknown_genes(cells, known);
  return known;
}

std::vector<std::int32_t> numbers_of(const std::vector<bool>& chosen) {
  std::vector<std::int32_t> numbers;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i]) numbers.push_back(static_cast<std::int32_t>(i));
  }
  return numbers;
}

std::vector<double> means_of(const CellRows& cells) {
  ColumnMeans means(cells.matrix.cols);
  std::vector<float> scratch;
  for (const std::int32_t r : cells.row) means.add(cells.matrix.row(r, scratch));
  return means.take();
}

/// What distances are computed about: the means, 0 where there is none.
std::vector<double> centre_of(const CellRows& cells) {
  std::vector<double> centre = means_of(cells);
  for (double& v : centre) v = std::isfinite(v) ? v : 0;
  return centre;
}

double median_distance(const std::vector<double>& squared, std::size_t columns, const std::vector<std::size_t>& rows) {
  std::vector<double> d;
  d.reserve(rows.size() * (rows.size() - 1) / 2);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = i + 1; j < rows.size(); ++j) d.push_back(squared[rows[i] * columns + rows[j]]);
  }
  const auto half = d.begin() + static_cast<std::ptrdiff_t>(d.size() / 2);
  std::nth_element(d.begin(), half, d.end());
  const double upper = std::sqrt(*half);
  return d.size() % 2 == 1 ? upper : 0.5 * (upper + std::sqrt(*std::max_element(d.begin(), half)));
}

/// Mean of the five kernels of one distance, whose widths are the median times 1/4, 1/2, 1, 2, 4. Each is the fourth
/// power of the next wider one: one exponential serves all.
double kernel(double squared, double median) {
  const auto fourth = [](double x) { return (x * x) * (x * x); };
  const double widest = std::exp(-squared / (32 * median * median));
  const double wide = fourth(widest);
  const double middle = fourth(wide);
  const double narrow = fourth(middle);
  return (fourth(narrow) + narrow + middle + wide + widest) / 5;
}

/// Means over pairs of rows of two sets.
struct PairMeans {
  double distance = 0;
  double kernel = kNan;  ///< NaN for a median of 0
};

/// \param squared distances [any, columns] \param same the sets are one: pairs i = j are left out, i < j stands for
/// both
PairMeans pair_means(const std::vector<double>& squared, std::size_t columns, const std::vector<std::size_t>& a,
                     const std::vector<std::size_t>& b, bool same, double median) {
  Sum distance;
  Sum similarity;
  std::int64_t pairs = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = same ? i + 1 : 0; j < b.size(); ++j) {
      const double d = squared[a[i] * columns + b[j]];
      distance.add(std::sqrt(d));
      if (median > 0) similarity.add(kernel(d, median));
      ++pairs;
    }
  }
  const auto n = static_cast<double>(pairs);
  return {distance.value() / n, median > 0 ? similarity.value() / n : kNan};
}

std::vector<MetricValue> distances_of(const PairMeans& xx, const PairMeans& yy, const PairMeans& xy, double median,
                                      const std::string& flag) {
  std::vector<MetricValue> out = {{"energy_distance", 2 * xy.distance - xx.distance - yy.distance, flag}};
  // Kernels are similarities: the signs are the other way round.
  if (median > 0) {
    out.push_back({"mmd", xx.kernel + yy.kernel - 2 * xy.kernel, flag});
  } else {
    out.push_back({"mmd", kNan, joined("constant_truth", flag)});
  }
  return out;
}

std::vector<std::size_t> count_up(std::size_t n) {
  std::vector<std::size_t> rows(n);
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  return rows;
}

/// \param squared distances between \p n sampled cells
std::vector<MetricValue> noise_ceiling(const ConditionMeans& condition, const CellRows& cells,
                                       const std::vector<double>& squared, std::size_t n) {
  std::vector<MetricValue> out;
  std::vector<std::vector<double>> values;
  for (std::uint64_t split = 0; split < kCeilingSplits; ++split) {
    const std::vector<std::int32_t> order = random_permutation(cells.row.size(), kCeilingSeed + split);
    const auto mean_of_half = [&](std::size_t from) {
      CellRows half{cells.matrix, {}};
      for (std::size_t i = from; i < from + order.size() / 2; ++i)
        half.row.push_back(cells.row[static_cast<std::size_t>(order[i])]);
      return means_of(half);
    };
    const std::vector<double> prediction = mean_of_half(0);
    const std::vector<double> truth = mean_of_half(order.size() / 2);
    std::vector<MetricValue> metrics = condition_metrics(
        {truth, prediction, condition.control, condition.train_perturbed, condition.deg, condition.train_shifted});

    const std::vector<std::int32_t> halves = random_permutation(n, kCeilingSeed + split);
    std::vector<std::size_t> x;
    std::vector<std::size_t> y;
    for (std::size_t i = 0; i < n / 2 * 2; ++i) (i < n / 2 ? x : y).push_back(static_cast<std::size_t>(halves[i]));
    const double median = median_distance(squared, n, x);
    for (MetricValue& m :
         distances_of(pair_means(squared, n, x, x, true, median), pair_means(squared, n, y, y, true, median),
                      pair_means(squared, n, x, y, false, median), median, "")) {
      metrics.push_back(std::move(m));
    }

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

}  // namespace

std::vector<std::int32_t> sample_of_cells(const std::vector<std::int32_t>& rows) {
  constexpr auto most = static_cast<std::size_t>(kMaxDistanceCells);
  if (rows.size() <= most) return rows;
  std::vector<std::int32_t> places = random_permutation(rows.size(), kSampleSeed);
  places.resize(most);
  std::sort(places.begin(), places.end());
  for (std::int32_t& place : places) place = rows[static_cast<std::size_t>(place)];
  return places;
}

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
  std::map<std::int32_t, std::vector<std::int32_t>> members;
  for (std::size_t i = 0; i < group.size(); ++i) members[group[i]].push_back(static_cast<std::int32_t>(i));
  std::vector<MetricValue> out(group.size(), {"discrimination", kNan, "one_condition"});
  for (const auto& [code, rows] : members) {
    const std::size_t m = rows.size();
    if (m < 2) continue;
    const CellRows truths{truth, rows};
    const std::vector<std::int32_t> genes = numbers_of(known_genes(truths));
    const std::vector<double> centre = centre_of(truths);
    const RowPanels true_panels(truth, rows, genes, centre);
    constexpr std::size_t kBlock = 256;  // predictions at a time: the distances of all need not fit the memory
    for (std::size_t begin = 0; begin < m; begin += kBlock) {
      const std::vector<std::int32_t> block(rows.begin() + static_cast<std::ptrdiff_t>(begin),
                                            rows.begin() + static_cast<std::ptrdiff_t>(std::min(m, begin + kBlock)));
      const std::vector<double> squared = squared_distances(RowPanels(prediction, block, genes, centre), true_panels);
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

CellRows::CellRows(const RowMatrix& all) : matrix(all), row(static_cast<std::size_t>(all.rows)) {
  std::iota(row.begin(), row.end(), 0);
}

TruthScores::TruthScores(const CellRows& cells, const ConditionMeans* condition)
    : sample_{cells.matrix, sample_of_cells(cells.row)}, n_cells_(cells.row.size()) {
  if (n_cells_ < 2) return;
  const RowPanels panels(sample_.matrix, sample_.row, numbers_of(known_genes(sample_)), centre_of(sample_));
  const std::vector<double> squared = squared_distances(panels);
  median_ = median_distance(squared, panels.rows(), count_up(panels.rows()));
  const auto all = count_up(panels.rows());
  const PairMeans within = pair_means(squared, panels.rows(), all, all, true, median_);
  mean_distance_ = within.distance;
  mean_kernel_ = within.kernel;
  // One matrix of distances serves all halvings, too.
  if (condition != nullptr && n_cells_ >= 4) ceiling_ = noise_ceiling(*condition, cells, squared, panels.rows());
}

std::vector<MetricValue> cell_distances(const TruthScores& truth, const CellRows& prediction) {
  if (truth.n_cells_ < 2 || prediction.row.size() < 2) {
    return {{"energy_distance", kNan, "too_few_rows"}, {"mmd", kNan, "too_few_rows"}};
  }
  const CellRows& x = truth.sample_;
  if (x.matrix.cols != prediction.matrix.cols)
    throw std::logic_error("true and predicted cells differ in their number of genes");
  const CellRows y{prediction.matrix, sample_of_cells(prediction.row)};
  const std::vector<bool> measured = known_genes(x);
  std::vector<bool> known = measured;
  exclude_unknown_genes(y, known);
  const std::vector<std::int32_t> genes = numbers_of(known);
  if (genes.empty()) return {{"energy_distance", kNan, "non_finite"}, {"mmd", kNan, "non_finite"}};
  const std::vector<double> centre = centre_of(x);
  const RowPanels x_panels(x.matrix, x.row, genes, centre);
  const RowPanels y_panels(y.matrix, y.row, genes, centre);
  const auto all_x = count_up(x_panels.rows());
  const auto all_y = count_up(y_panels.rows());

  double median = truth.median_;
  PairMeans xx{truth.mean_distance_, truth.mean_kernel_};
  if (known != measured) {  // on other genes than the truth alone has
    const std::vector<double> squared = squared_distances(x_panels);
    median = median_distance(squared, all_x.size(), all_x);
    xx = pair_means(squared, all_x.size(), all_x, all_x, true, median);
  }
  const PairMeans yy = pair_means(squared_distances(y_panels), all_y.size(), all_y, all_y, true, median);
  const PairMeans xy = pair_means(squared_distances(x_panels, y_panels), all_y.size(), all_x, all_y, false, median);
  const bool sampled = truth.n_cells_ > x.row.size() || prediction.row.size() > y.row.size();
  return distances_of(xx, yy, xy, median,
                      joined(genes.size() < known.size() ? "missing_genes" : "", sampled ? "sampled" : ""));
}

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
