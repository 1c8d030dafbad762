// SPDX-License-Identifier: Apache-2.0
#include "run/fitting.hpp"

#include <cdrzoo/abi.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <stdexcept>

#include "base/error.hpp"

namespace cdrzoo {
namespace {

using Rows = std::vector<std::int32_t>;
using Kind = FittedStep::Kind;

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

Rows sorted_once(Rows rows) {
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

Rows samples_of(const Dataset& dataset, const Rows& records) {
  Rows samples;
  samples.reserve(records.size());
  for (const auto record : records) samples.push_back(dataset.responses.sample[at(record)]);
  return sorted_once(std::move(samples));
}

Rows in_domain(const Dataset& dataset, const Rows& samples, std::size_t domain) {
  Rows own;
  std::copy_if(samples.begin(), samples.end(), std::back_inserter(own),
               [&](std::int32_t s) { return at(dataset.samples.domain[at(s)]) == domain; });
  return own;
}

const FittedStep* step_of(const Dataset& dataset, Kind kind, const std::string& domain) {
  for (const auto& step : dataset.fitted_steps)
    if (step.kind == kind && (step.domain.empty() || step.domain == domain)) return &step;
  return nullptr;
}

const FittedStep* selecting_step(const Dataset& dataset) {
  for (const auto& step : dataset.fitted_steps)
    if (step.kind == Kind::variable_genes) return &step;
  return nullptr;
}

/// The domain whose training samples a step asks for. \param own the domain that it is applied to
std::size_t asked_domain(const Dataset& dataset, const FittedStep& step, std::size_t own, const std::string& source) {
  if (step.kind == Kind::variable_genes) return at(dataset.domain_index(step.domain));
  return step.from == FittedStep::From::source ? at(dataset.domain_index(source)) : own;
}

/// The samples that a step learns from.
struct Teachers {
  Rows samples;
  std::string of;         ///< name of their domain, or "all training samples"
  bool fallback = false;  ///< the domain that was asked for has none: all are taken
};

Teachers teachers_of(const Dataset& dataset, const FittedStep& step, std::size_t own, const FitSamples& samples,
                     const std::string& source) {
  const bool selects = step.kind == Kind::variable_genes;
  Teachers all{selects ? samples.labelled : samples.all, "all training samples", false};
  if (selects && step.domain.empty()) return all;
  const auto domain = asked_domain(dataset, step, own, source);
  auto rows = in_domain(dataset, all.samples, domain);
  if (!rows.empty()) return {std::move(rows), dataset.domains.name[domain], false};
  all.fallback = true;
  return all;
}

/// Sums over the values of each gene, NaN left out.
struct Sums {
  std::vector<double> count, mean, squares;  ///< squares: sum of (value - mean)^2
  std::vector<float> minimum;

  explicit Sums(std::size_t genes)
      : count(genes), mean(genes), squares(genes), minimum(genes, std::numeric_limits<float>::infinity()) {}
};

/// Over the expression of \p samples. A missing value is \p fill of its domain ([domains][genes], empty = it stays
/// missing). Two passes in float64, as the builder's z-score.
Sums sums_over(const Dataset& dataset, const Rows& samples, const std::vector<std::vector<float>>& fill) {
  const auto expression = dataset.expression();
  const auto genes = static_cast<std::size_t>(expression.cols);
  Sums out(genes);
  const auto each_value = [&](auto&& use) {
    for (const auto sample : samples) {
      const float* row = expression.row(sample);
      const auto& filled = fill[at(dataset.samples.domain[at(sample)])];
      for (std::size_t g = 0; g < genes; ++g) {
        const float value = std::isnan(row[g]) && !filled.empty() ? filled[g] : row[g];
        if (!std::isnan(value)) use(g, value);
      }
    }
  };
  each_value([&](std::size_t g, float value) {
    out.count[g] += 1;
    out.mean[g] += static_cast<double>(value);
    out.minimum[g] = std::min(out.minimum[g], value);
  });
  for (std::size_t g = 0; g < genes; ++g)
    if (out.count[g] > 0) out.mean[g] /= out.count[g];
  each_value([&](std::size_t g, float value) {
    const double d = static_cast<double>(value) - out.mean[g];
    out.squares[g] += d * d;
  });
  return out;
}

/// Gene by gene the statistics of `own`, or of `all` where `own` has no value.
struct Statistics {
  const Sums& own;
  const Sums& all;
  [[nodiscard]] const Sums& of(std::size_t gene) const { return own.count[gene] > 0 ? own : all; }
};

float fill_value(const Statistics& statistics, std::size_t gene, bool minimum) {
  const auto& sums = statistics.of(gene);
  if (sums.count[gene] == 0) return 0.0F;
  return minimum ? sums.minimum[gene] : static_cast<float>(sums.mean[gene]);
}

/// Population standard deviation; 0 for a constant gene, with the tolerance of the builder's z-score.
double deviation(const Sums& sums, std::size_t gene) {
  if (sums.count[gene] == 0) return 0.0;
  const double sd = std::sqrt(sums.squares[gene] / sums.count[gene]);
  return sd <= 1e-12 * std::max(1.0, std::abs(sums.mean[gene])) ? 0.0 : sd;
}

/// Sums over the fit samples of single domains, and of all of them, each made when it is first asked for.
class SumsOf {
 public:
  SumsOf(const Dataset& dataset, const Rows& samples, const std::vector<std::vector<float>>& fill)
      : dataset_(dataset), samples_(samples), fill_(fill) {}
  /// \param domain nothing = all
  const Sums& operator()(std::optional<std::size_t> domain) {
    const auto known = made_.find(domain);
    if (known != made_.end()) return known->second;
    const auto rows = domain ? in_domain(dataset_, samples_, *domain) : samples_;
    return made_.emplace(domain, sums_over(dataset_, rows, fill_)).first->second;
  }

 private:
  const Dataset& dataset_;
  const Rows& samples_;
  const std::vector<std::vector<float>>& fill_;
  std::map<std::optional<std::size_t>, Sums> made_;
};

bool expression_has_missing(const Dataset& dataset) { return dataset.sample_block("expression")->parts[0].has_nan; }

/// The genes of largest variance, ties by column, in column order.
Rows most_variable(const Sums& sums, std::size_t keep) {
  Rows order(sums.count.size());
  std::iota(order.begin(), order.end(), 0);
  const auto variance = [&](std::int32_t g) {
    return sums.count[at(g)] > 0 ? sums.squares[at(g)] / sums.count[at(g)] : 0.0;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return variance(a) > variance(b); });
  order.resize(keep);
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace

Imputation training_means(const FeatureBlock& block, const std::vector<std::int32_t>& domain,
                          const std::vector<std::int32_t>& training) {
  const auto values = std::find_if(block.parts.begin(), block.parts.end(),
                                   [](const auto& part) { return part.role == CDRZOO_PART_VALUES; });
  if (values == block.parts.end() || values->dtype != CDRZOO_F32)
    throw std::logic_error("block " + block.name + " is not dense float32 and cannot be imputed");
  const auto* data = static_cast<const float*>(values->data);
  const auto width = static_cast<std::size_t>(block.width);

  std::map<std::int32_t, std::size_t> table_of_domain;  // domains with training entities; table 0 is all of them
  for (const auto row : training)
    table_of_domain.emplace(domain[static_cast<std::size_t>(row)], table_of_domain.size() + 1);
  const std::size_t tables = 1 + table_of_domain.size();
  std::vector<double> sum(tables * width), count(tables * width);
  for (const auto row : training) {
    const float* features = data + static_cast<std::size_t>(row) * width;
    const std::size_t own = table_of_domain.at(domain[static_cast<std::size_t>(row)]) * width;
    for (std::size_t j = 0; j < width; ++j) {
      if (std::isnan(features[j])) continue;
      for (const std::size_t cell : {j, own + j}) {
        sum[cell] += static_cast<double>(features[j]);
        count[cell] += 1;
      }
    }
  }

  Imputation result;
  result.block = block.name;
  result.width = block.width;
  result.means.resize(tables * width);
  for (std::size_t t = 0; t < tables; ++t) {
    for (std::size_t j = 0; j < width; ++j) {
      const std::size_t cell = count[t * width + j] > 0 ? t * width + j : j;
      result.means[t * width + j] = count[cell] > 0 ? static_cast<float>(sum[cell] / count[cell]) : 0.0F;
    }
  }
  result.table_of.resize(static_cast<std::size_t>(block.rows), 0);
  for (std::size_t row = 0; row < result.table_of.size(); ++row) {
    const auto found = table_of_domain.find(domain[row]);
    if (found != table_of_domain.end()) result.table_of[row] = static_cast<std::int32_t>(found->second);
  }
  return result;
}

FitSamples fit_samples(const Dataset& dataset, const Fold& fold, const std::vector<std::int32_t>& training_rows) {
  FitSamples out;
  out.labelled = samples_of(dataset, training_rows);
  auto hidden = samples_of(dataset, fold.validation);
  const auto tested = samples_of(dataset, fold.test);
  hidden.insert(hidden.end(), tested.begin(), tested.end());
  hidden = sorted_once(std::move(hidden));
  const auto pool = sorted_once(fold.unlabelled_samples);
  Rows allowed;
  std::set_difference(pool.begin(), pool.end(), hidden.begin(), hidden.end(), std::back_inserter(allowed));
  std::set_union(out.labelled.begin(), out.labelled.end(), allowed.begin(), allowed.end(), std::back_inserter(out.all));
  return out;
}

FittedExpression fit_expression(const Dataset& dataset, const FitSamples& samples, const std::string& source) {
  const auto domains = dataset.domains.name.size();
  const auto genes = dataset.genes.size();
  FittedExpression out;

  // Means fill what no step fills; only minima are values for the steps that follow.
  std::vector<std::vector<float>> filled(domains);
  if (expression_has_missing(dataset)) {
    const std::vector<std::vector<float>> none(domains);
    SumsOf sums(dataset, samples.all, none);
    auto& imputation = out.imputation.emplace();
    imputation.axis = "sample";
    imputation.block = "expression";
    imputation.width = static_cast<std::int64_t>(genes);
    imputation.table_of = dataset.samples.domain;
    for (std::size_t d = 0; d < domains; ++d) {
      const Statistics statistics{sums(d), sums(std::nullopt)};
      const bool minimum = step_of(dataset, Kind::fill_minimum, dataset.domains.name[d]) != nullptr;
      std::vector<float> table(genes);
      for (std::size_t g = 0; g < genes; ++g) table[g] = fill_value(statistics, g, minimum);
      imputation.means.insert(imputation.means.end(), table.begin(), table.end());
      if (minimum) filled[d] = std::move(table);
    }
  }

  if (const auto* step = selecting_step(dataset)) {
    const auto teachers = teachers_of(dataset, *step, 0, samples, source);
    out.selection.emplace();
    out.selection->block = "expression";
    out.selection->columns =
        most_variable(sums_over(dataset, teachers.samples, filled), static_cast<std::size_t>(step->genes));
  }

  const bool scales = std::any_of(dataset.fitted_steps.begin(), dataset.fitted_steps.end(),
                                  [](const auto& step) { return step.kind == Kind::zscore; });
  if (scales) {
    SumsOf sums(dataset, samples.all, filled);
    auto& scaling = out.scaling.emplace();
    scaling.block = "expression";
    scaling.width = static_cast<std::int64_t>(genes);
    scaling.table_of = dataset.samples.domain;
    for (std::size_t d = 0; d < domains; ++d) {
      const auto* step = step_of(dataset, Kind::zscore, dataset.domains.name[d]);
      if (step == nullptr) {
        scaling.offset.insert(scaling.offset.end(), genes, 0.0);
        scaling.factor.insert(scaling.factor.end(), genes, 1.0);
        continue;
      }
      const Statistics statistics{sums(asked_domain(dataset, *step, d, source)), sums(std::nullopt)};
      for (std::size_t g = 0; g < genes; ++g) {
        const auto& known = statistics.of(g);
        const double sd = deviation(known, g);
        scaling.offset.push_back(known.mean[g]);
        scaling.factor.push_back(sd > 0 ? 1.0 / sd : 0.0);
      }
    }
  }
  return out;
}

nlohmann::json describe_fit(const Dataset& dataset, const Fold& fold, const FitSamples& samples,
                            const std::string& source) {
  if (dataset.fitted_steps.empty()) return nullptr;
  const auto& names = dataset.domains.name;
  std::set<std::size_t> used;  // the domains that some view of the fold holds
  for (const auto* rows : {&fold.train, &fold.validation, &fold.test, &fold.early_stop})
    for (const auto sample : samples_of(dataset, *rows)) used.insert(at(dataset.samples.domain[at(sample)]));
  for (const auto sample : fold.unlabelled_samples) used.insert(at(dataset.samples.domain[at(sample)]));

  auto per_domain = nlohmann::json::object(), steps = nlohmann::json::array(), sentences = nlohmann::json::array();
  for (std::size_t d = 0; d < names.size(); ++d) {
    per_domain[names[d]] = {{"labelled", in_domain(dataset, samples.labelled, d).size()},
                            {"all", in_domain(dataset, samples.all, d).size()}};
  }
  const auto add = [&](const FittedStep& step, std::size_t own) {
    const bool selects = step.kind == Kind::variable_genes;
    const auto teachers = teachers_of(dataset, step, own, samples, source);
    if (teachers.fallback) {
      const auto asked = asked_domain(dataset, step, own, source);
      sentences.push_back("Domain " + names[asked] + " has no training samples: " + fitted_kind_name(step.kind) +
                          (selects || asked == own ? "" : " of domain " + names[own]) +
                          " learned from all training samples.");
    }
    nlohmann::json one = {{"step", fitted_kind_name(step.kind)},
                          {"statistics_of", teachers.of},
                          {"samples", teachers.samples.size()},
                          {"fallback", teachers.fallback}};
    if (selects) {
      one["genes"] = step.genes;
    } else {
      one["domain"] = names[own];
    }
    steps.push_back(std::move(one));
  };
  for (const auto& step : dataset.fitted_steps) {
    sentences.push_back(sentence_of(step));
    if (step.kind == Kind::variable_genes) {
      add(step, 0);
      continue;
    }
    for (const auto d : used)
      if (step.domain.empty() || step.domain == names[d]) add(step, d);
  }
  return {{"block", "expression"}, {"samples", per_domain}, {"steps", steps}, {"sentences", sentences}};
}

void check_fit_source(const Dataset& dataset, const std::string& source) {
  if (!source.empty()) return;
  for (const auto& step : dataset.fitted_steps) {
    if (step.from != FittedStep::From::source) continue;
    throw UsageError("data set " + dataset.name + " takes the z-scores of " +
                     (step.domain.empty() ? "every domain" : "domain " + step.domain) +
                     " from the source domain of the split, and this split has none; name one: [split] source = ...");
  }
}

}  // namespace cdrzoo
