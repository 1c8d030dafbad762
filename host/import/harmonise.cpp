// SPDX-License-Identifier: Apache-2.0
#include "import/harmonise.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.hpp"

namespace cdrzoo {
namespace {

void fill(const Recipe::Domain& domain, const Recipe::Step& step, const ExpressionRows& x, BuildReport& report) {
  const bool by_gene = step.kind == Recipe::Step::Kind::fill_gene_minimum;
  std::vector<float> value(x.genes, by_gene ? std::numeric_limits<float>::infinity() : static_cast<float>(step.value));
  if (by_gene) {
    for (std::size_t i = 0; i < x.samples * x.genes; ++i) {
      if (!std::isnan(x.values[i])) value[i % x.genes] = std::min(value[i % x.genes], x.values[i]);
    }
  }
  std::size_t filled = 0;
  for (std::size_t i = 0; i < x.samples * x.genes; ++i) {
    if (!std::isnan(x.values[i])) continue;
    x.values[i] = value[i % x.genes];
    ++filled;
  }
  report.say(domain.name + ": filled " + count_of(filled, "missing value", "missing values") + " with " +
             (by_gene ? "the minimum of the gene over all samples, because " + step.because : number_text(step.value)));
}

void clip(const Recipe::Domain& domain, const Recipe::Step& step, const ExpressionRows& x, BuildReport& report) {
  std::size_t below = 0;
  std::size_t above = 0;
  for (std::size_t i = 0; i < x.samples * x.genes; ++i) {
    float& value = x.values[i];
    if (step.low && value < static_cast<float>(*step.low)) {
      value = static_cast<float>(*step.low);
      ++below;
    }
    if (step.high && value > static_cast<float>(*step.high)) {
      value = static_cast<float>(*step.high);
      ++above;
    }
  }
  std::string sentence = domain.name + ": clipped";
  if (step.low) sentence += " " + count_of(below, "value", "values") + " below " + number_text(*step.low);
  if (step.high) {
    sentence += std::string(step.low ? " and " : " ") + count_of(above, "value", "values") + " above " +
                number_text(*step.high);
  }
  report.say(sentence);
}

std::string logarithm_of(const Recipe::Step& step) {
  return "log" + (step.base == 0.0 ? std::string("e") : number_text(step.base)) + "(x" +
         (step.offset == 0.0 ? "" : " + " + number_text(step.offset)) + ")";
}

void transform(const Recipe::Domain& domain, const Recipe::Step& step, const ExpressionRows& x, BuildReport& report) {
  for (std::size_t i = 0; i < x.samples * x.genes; ++i) {
    if (std::isnan(x.values[i])) continue;
    bool ok = true;
    const double result = transformed(step, static_cast<double>(x.values[i]), &ok);
    if (!ok) {
      throw DataError("domain " + domain.name + ": the value " + number_text(static_cast<double>(x.values[i])) +
                      " in " + domain.expression.file + " cannot be put through " +
                      (step.kind == Recipe::Step::Kind::log ? "" : "the inverse of ") + logarithm_of(step));
    }
    x.values[i] = static_cast<float>(result);
  }
  report.say(domain.name + (step.kind == Recipe::Step::Kind::log ? ": took " : ": undid ") + logarithm_of(step) +
             " of every value");
}

void scale_totals(const Recipe::Domain& domain, const Recipe::Step& step, const ExpressionRows& x,
                  BuildReport& report) {
  std::size_t empty = 0;
  for (std::size_t i = 0; i < x.samples; ++i) {
    float* row = x.values + i * x.genes;
    double total = 0.0;
    for (std::size_t g = 0; g < x.genes; ++g) {
      if (row[g] < 0.0F) {
        throw DataError("domain " + domain.name + ": the value " + number_text(static_cast<double>(row[g])) + " in " +
                        domain.expression.file + " is negative; library_size is for counts");
      }
      if (!std::isnan(row[g])) total += static_cast<double>(row[g]);
    }
    if (total == 0.0) {
      ++empty;
      continue;
    }
    for (std::size_t g = 0; g < x.genes; ++g)
      row[g] = static_cast<float>(static_cast<double>(row[g]) * (step.value / total));
  }
  report.say(domain.name + ": scaled every sample to a total of " + number_text(step.value) +
             " over the genes of the data set" +
             (empty > 0 ? ", " + std::to_string(empty) + " of them " + (empty == 1 ? "is" : "are") + " all zero" : ""));
}

void standardise(const Recipe::Domain& domain, const Recipe::Step& step, const ExpressionRows& x,
                 const GeneStatistics& statistics, BuildReport& report, std::vector<std::string>& caveats) {
  std::size_t constant = 0;
  std::vector<bool> flat(x.genes);
  for (std::size_t g = 0; g < x.genes; ++g) {
    // A constant gene says nothing: 0 everywhere rather than noise over noise.
    flat[g] = statistics.sd[g] <= 1e-12 * std::max(1.0, std::abs(statistics.mean[g]));
    if (flat[g]) ++constant;
  }
  for (std::size_t i = 0; i < x.samples * x.genes; ++i) {
    const std::size_t g = i % x.genes;
    float& value = x.values[i];
    if (std::isnan(value)) continue;
    value = flat[g] ? 0.0F : static_cast<float>((static_cast<double>(value) - statistics.mean[g]) / statistics.sd[g]);
  }
  report.say(domain.name + ": z-scored each gene " +
             (step.by_source ? "by the statistics of the source domain"
                             : "over the " + std::to_string(x.samples) + " samples of the domain") +
             " (population sd), because " + step.because + "; " +
             count_of(constant, "constant gene", "constant genes") + " set to 0");
  caveats.push_back("Expression of " + domain.name + " was z-scored over all " +
                    (step.by_source ? "samples of the source" : "its samples") +
                    ", test samples included: " + step.because);
}

}  // namespace

GeneStatistics gene_statistics(const ExpressionRows& x) {
  GeneStatistics out{std::vector<double>(x.genes), std::vector<double>(x.genes)};
  std::vector<double> count(x.genes);
  for (std::size_t i = 0; i < x.samples * x.genes; ++i) {
    if (std::isnan(x.values[i])) continue;
    out.mean[i % x.genes] += static_cast<double>(x.values[i]);
    ++count[i % x.genes];
  }
  for (std::size_t g = 0; g < x.genes; ++g) out.mean[g] /= std::max(1.0, count[g]);
  for (std::size_t i = 0; i < x.samples * x.genes; ++i) {
    const std::size_t g = i % x.genes;
    const double deviation = static_cast<double>(x.values[i]) - out.mean[g];
    if (!std::isnan(x.values[i])) out.sd[g] += deviation * deviation;
  }
  for (std::size_t g = 0; g < x.genes; ++g) out.sd[g] = std::sqrt(out.sd[g] / std::max(1.0, count[g]));
  return out;
}

double transformed(const Recipe::Step& step, double value, bool* ok) {
  const double ln_base = step.base == 0.0 ? 1.0 : std::log(step.base);
  double result = 0.0;
  if (step.kind == Recipe::Step::Kind::unlog) {
    result = (step.base == 2.0 ? std::exp2(value) : std::exp(value * ln_base)) - step.offset;
  } else if (value + step.offset > 0.0) {
    const double shifted = value + step.offset;
    result = step.base == 2.0    ? std::log2(shifted)
             : step.base == 10.0 ? std::log10(shifted)
                                 : std::log(shifted) / ln_base;
  } else {
    result = std::numeric_limits<double>::quiet_NaN();
  }
  *ok = std::isfinite(static_cast<float>(result));
  return result;
}

void apply_step(const Recipe::Domain& domain, const Recipe::Step& step, const ExpressionRows& rows,
                const GeneStatistics* source_statistics, BuildReport& report, std::vector<std::string>& caveats) {
  using Kind = Recipe::Step::Kind;
  switch (step.kind) {
    case Kind::fill_constant:
    case Kind::fill_gene_minimum: return fill(domain, step, rows, report);
    case Kind::clip: return clip(domain, step, rows, report);
    case Kind::log:
    case Kind::unlog: return transform(domain, step, rows, report);
    case Kind::library_size: return scale_totals(domain, step, rows, report);
    case Kind::zscore:
      return standardise(domain, step, rows, step.by_source ? *source_statistics : gene_statistics(rows), report,
                         caveats);
    case Kind::variable_genes: break;
  }
}

}  // namespace cdrzoo
