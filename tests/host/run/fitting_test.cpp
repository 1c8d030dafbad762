// SPDX-License-Identifier: Apache-2.0
// What the host learns from training samples, against a straight reading of the rules.
#include "run/fitting.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.hpp"
#include "data/dataset_writer.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using Kind = FittedStep::Kind;
using From = FittedStep::From;
using Rows = std::vector<std::int32_t>;

namespace {

const float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr std::size_t kGenes = 5;

/// Samples 0 to 5 of "lines", 6 to 9 of "patients", 10 and 11 of "mice". Gene 3 is constant in lines, gene 4 is never
/// observed in patients, gene 0 lacks a value in sample 1. Each sample has one record, of its own number.
DatasetContent small_content() {
  DatasetContent c;
  c.name = "small";
  c.genes = {"A", "B", "C", "D", "E"};
  c.domains = {{"lines", "patients", "mice"}, {"u", "u", "u"}, {"", "", ""}};
  for (int s = 0; s < 12; ++s) {
    c.sample_id.push_back("s" + std::to_string(100 + s));
    c.sample_domain.push_back(s < 6 ? 0 : s < 10 ? 1 : 2);
    c.sample_tissue.push_back(-1);
    const auto x = static_cast<float>(s);
    for (const float value : {x * x, 10.0F - x, 0.5F * x * x * x, s < 6 ? 7.0F : x, s >= 6 && s < 10 ? kNan : -x})
      c.expression.push_back(s == 1 && c.expression.size() % kGenes == 0 ? kNan : value);
    c.responses.push_back({s, 0, 0, -1, 1.0 * s});
  }
  c.sample_group = c.sample_id;
  c.drug_id = c.drug_name = c.drug_group = {"d"};
  c.drug_smiles = c.drug_scaffold = {""};
  return c;
}

struct Data {
  test::TemporaryFolder folder;
  Dataset dataset;

  explicit Data(const std::vector<FittedStep>& steps, const std::function<void(DatasetContent&)>& change = {}) {
    auto content = small_content();
    content.fitted_steps = steps;
    if (change) change(content);
    write_dataset(content, folder / "small.h5");
    dataset = Dataset::open(folder / "small.h5");
  }
  /// Records of samples; canonical order goes by the name of the domain, so records are not in the order of samples.
  [[nodiscard]] Rows records(const Rows& samples) const {
    Rows rows;
    for (std::int32_t r = 0; r < static_cast<std::int32_t>(dataset.responses.size()); ++r) {
      const auto sample = dataset.responses.sample[static_cast<std::size_t>(r)];
      if (std::find(samples.begin(), samples.end(), sample) != samples.end()) rows.push_back(r);
    }
    return rows;
  }
  [[nodiscard]] float value(std::int32_t sample, std::size_t gene) const {
    return dataset.expression().row(sample)[gene];
  }
  /// Mean and population standard deviation of the observed values.
  [[nodiscard]] std::pair<double, double> moments(const Rows& samples, std::size_t gene) const {
    long double sum = 0, squares = 0, n = 0;
    for (const auto s : samples) {
      if (std::isnan(value(s, gene))) continue;
      sum += static_cast<long double>(value(s, gene));
      n += 1;
    }
    for (const auto s : samples)
      if (!std::isnan(value(s, gene)))
        squares +=
            (static_cast<long double>(value(s, gene)) - sum / n) * (static_cast<long double>(value(s, gene)) - sum / n);
    return {static_cast<double>(sum / n), static_cast<double>(std::sqrt(squares / n))};
  }
};

FittedStep zscore(const std::string& domain = "", From from = From::own_domain) {
  return {Kind::zscore, domain, from, 0};
}
FittedStep variable(std::int64_t genes, const std::string& domain = "") {
  return {Kind::variable_genes, domain, From::own_domain, genes};
}
const FittedStep kFillMinimum = {Kind::fill_minimum, "", From::own_domain, 0};

/// Offset and factor that a sample's table has for a gene.
std::pair<double, double> of(const Scaling& scaling, std::int32_t sample, std::size_t gene) {
  const auto cell = static_cast<std::size_t>(scaling.table_of[static_cast<std::size_t>(sample)]) *
                        static_cast<std::size_t>(scaling.width) +
                    gene;
  return {scaling.offset[cell], scaling.factor[cell]};
}
float filled(const Imputation& imputation, std::int32_t sample, std::size_t gene) {
  return imputation
      .means[static_cast<std::size_t>(imputation.table_of[static_cast<std::size_t>(sample)]) * kGenes + gene];
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-12 * std::max(1.0, std::abs(b)); }

/// Lines 0 to 3 and patients 6 and 7 train; line 5 and patient 9 are tested.
const FitSamples kBoth = {{0, 1, 2, 3, 6, 7}, {0, 1, 2, 3, 6, 7}};

}  // namespace

TEST_CASE("Steps learn from training samples and the pool, never from samples of validation and test rows") {
  const Data data({zscore()});
  Fold fold;
  fold.train = data.records({0, 1, 2});
  fold.validation = data.records({3});
  fold.test = data.records({6, 7});
  fold.unlabelled_samples = {6, 7, 8, 9};  // transductive: the pool holds the test samples
  fold.transductive = true;
  const auto samples = fit_samples(data.dataset, fold, fold.train);
  CHECK(samples.labelled == Rows{0, 1, 2});
  CHECK(samples.all == Rows{0, 1, 2, 8, 9});
}

TEST_CASE("Z-scores are those of the domain's own training samples") {
  const Data data({zscore()});
  const auto fit = fit_expression(data.dataset, kBoth, "");
  REQUIRE(fit.scaling);
  CHECK_FALSE(fit.selection);
  for (std::size_t g = 0; g < 3; ++g) {
    for (const auto& [samples, asked] : {std::pair(Rows{0, 1, 2, 3}, 5), {Rows{6, 7}, 9}}) {
      const auto [mean, sd] = data.moments(samples, g);
      const auto [offset, factor] = of(*fit.scaling, asked, g);
      CHECK(near(offset, mean));
      CHECK(near(factor, 1 / sd));
    }
  }
  SECTION("a constant gene becomes 0") { CHECK(of(*fit.scaling, 0, 3) == std::pair(7.0, 0.0)); }
  SECTION("a gene that the domain never observes takes the statistics of all training samples") {
    const auto [mean, sd] = data.moments(kBoth.all, 4);
    CHECK(near(of(*fit.scaling, 6, 4).first, mean));
    CHECK(near(of(*fit.scaling, 6, 4).second, 1 / sd));
  }
  SECTION("a domain without training samples takes those of all training samples") {
    const auto [mean, sd] = data.moments(kBoth.all, 1);
    CHECK(near(of(*fit.scaling, 10, 1).first, mean));
    CHECK(near(of(*fit.scaling, 10, 1).second, 1 / sd));
  }
}

TEST_CASE("Z-scores from the source use the source's training samples for the target") {
  const Data data({zscore("patients", From::source)});
  const auto fit = fit_expression(data.dataset, kBoth, "lines");
  const auto [mean, sd] = data.moments({0, 1, 2, 3}, 1);
  CHECK(near(of(*fit.scaling, 9, 1).first, mean));
  CHECK(near(of(*fit.scaling, 9, 1).second, 1 / sd));
  CHECK(of(*fit.scaling, 0, 1) == std::pair(0.0, 1.0));  // no step is for the lines
  CHECK_THROWS_WITH(
      check_fit_source(data.dataset, ""),
      contains("z-scores of domain patients from the source domain of the split, and this split has none"));
  CHECK_NOTHROW(check_fit_source(data.dataset, "lines"));
}

TEST_CASE("Missing values take the minimum of the domain's training samples where the step asks for it") {
  const Data data({{Kind::fill_minimum, "lines", From::own_domain, 0}});
  const auto fit = fit_expression(data.dataset, kBoth, "");
  REQUIRE(fit.imputation);
  CHECK_FALSE(fit.scaling);
  CHECK(filled(*fit.imputation, 1, 0) == 0.0F);    // of 0, 4, 9
  CHECK(filled(*fit.imputation, 6, 0) == 42.5F);   // no step for patients: the mean of 36 and 49
  CHECK(filled(*fit.imputation, 6, 4) == -1.5F);   // never observed there: the mean of all training samples
  CHECK(filled(*fit.imputation, 11, 0) == 19.6F);  // no training mouse

  const Data everywhere({kFillMinimum});
  CHECK(filled(*fit_expression(everywhere.dataset, kBoth, "").imputation, 6, 4) == -3.0F);
  const Data none({kFillMinimum}, [](DatasetContent& c) {
    for (std::size_t s = 0; s < 4; ++s) c.expression[s * kGenes + 4] = kNan;
  });
  CHECK(filled(*fit_expression(none.dataset, kBoth, "").imputation, 6, 4) == 0.0F);  // never observed in training
}

TEST_CASE("Z-scores see the values that a fill before them left") {
  const Data data({kFillMinimum, zscore()});
  const auto fit = fit_expression(data.dataset, kBoth, "");
  // Gene 0 of the training lines: 0, (missing: 0), 4, 9.
  const double mean = 13.0 / 4;
  const double sd = std::sqrt((0.0 + 0 + 16 + 81) / 4 - mean * mean);
  CHECK(near(of(*fit.scaling, 0, 0).first, mean));
  CHECK(near(of(*fit.scaling, 0, 0).second, 1 / sd));
  // Gene 4 of patients is one number by then: constant.
  CHECK(of(*fit.scaling, 6, 4) == std::pair(-3.0, 0.0));
}

TEST_CASE("The most variable genes are those of the labelled training samples, in column order") {
  const Data data({variable(2)});
  FitSamples samples = kBoth;
  samples.all = {0, 1, 2, 3, 6, 7, 8, 9};
  const auto fit = fit_expression(data.dataset, samples, "");
  std::vector<std::pair<double, std::int32_t>> variance;
  for (std::int32_t g = 0; g < static_cast<std::int32_t>(kGenes); ++g)
    variance.emplace_back(-data.moments(samples.labelled, static_cast<std::size_t>(g)).second, g);
  std::sort(variance.begin(), variance.end());
  Rows expected = {variance[0].second, variance[1].second};
  std::sort(expected.begin(), expected.end());
  REQUIRE(fit.selection);
  CHECK(fit.selection->columns == expected);
  CHECK(expected == Rows{0, 2});

  SECTION("of one domain, if the step says so") {
    const Data lines({variable(4, "lines")});
    CHECK(fit_expression(lines.dataset, samples, "").selection->columns == Rows{0, 1, 2, 4});
  }
  SECTION("ties go by column") {
    // Genes 1 and 4 of the lines are 10 - s and -s: the same variance.
    const Data tied({variable(3, "lines")});
    CHECK(fit_expression(tied.dataset, samples, "").selection->columns == Rows{0, 1, 2});
  }
  SECTION("of all training samples if the domain has none") {
    const Data mice({variable(2, "mice")});
    CHECK(fit_expression(mice.dataset, samples, "").selection->columns == expected);
  }
}

TEST_CASE("Samples outside of training change nothing of what is fitted") {
  const std::vector<FittedStep> steps = {kFillMinimum, variable(3), zscore("lines"), zscore("patients", From::source)};
  const Data a(steps), b(steps, [](DatasetContent&c) {
    for (const std::size_t s : {4U, 5U, 8U, 9U, 10U, 11U})
      for (std::size_t g = 0; g < kGenes; ++g) c.expression[s * kGenes + g] = 1e6F * static_cast<float>(g + s);
  });
  const auto x = fit_expression(a.dataset, kBoth, "lines"), y = fit_expression(b.dataset, kBoth, "lines");
  CHECK(x.imputation->means == y.imputation->means);
  CHECK(x.scaling->offset == y.scaling->offset);
  CHECK(x.scaling->factor == y.scaling->factor);
  CHECK(x.selection->columns == y.selection->columns);
}

TEST_CASE("The record says what was fitted on how many samples, and where all training samples stood in") {
  const Data data({kFillMinimum, variable(2), zscore()});
  Fold fold;
  fold.train = data.records({0, 1, 2, 3});
  fold.validation = data.records({4});
  fold.test = data.records({6, 7});
  const auto samples = fit_samples(data.dataset, fold, fold.train);
  const auto fitted = describe_fit(data.dataset, fold, samples, "lines");
  CHECK(fitted["samples"]["lines"] == nlohmann::json({{"labelled", 4}, {"all", 4}}));
  CHECK(fitted["samples"]["patients"] == nlohmann::json({{"labelled", 0}, {"all", 0}}));
  REQUIRE(fitted["steps"].size() == 5);  // mice are in no view
  CHECK(fitted["steps"][2] == nlohmann::json({{"step", "variable_genes"},
                                              {"genes", 2},
                                              {"statistics_of", "all training samples"},
                                              {"samples", 4},
                                              {"fallback", false}}));
  CHECK(
      fitted["steps"][3] ==
      nlohmann::json(
          {{"step", "zscore"}, {"domain", "lines"}, {"statistics_of", "lines"}, {"samples", 4}, {"fallback", false}}));
  CHECK(fitted["steps"][4] == nlohmann::json({{"step", "zscore"},
                                              {"domain", "patients"},
                                              {"statistics_of", "all training samples"},
                                              {"samples", 4},
                                              {"fallback", true}}));
  const auto sentences = fitted["sentences"].dump();
  CHECK_THAT(sentences, contains("Expression was z-scored per domain on the training samples of each fold."));
  CHECK_THAT(sentences, contains("Domain patients has no training samples: zscore learned from all training samples."));

  SECTION("with a pool the target has statistics of its own") {
    fold.unlabelled_samples = {8, 9};
    const auto pooled = describe_fit(data.dataset, fold, fit_samples(data.dataset, fold, fold.train), "lines");
    CHECK(pooled["samples"]["patients"] == nlohmann::json({{"labelled", 0}, {"all", 2}}));
    CHECK(pooled["steps"][4]["statistics_of"] == "patients");
    CHECK(pooled["steps"][4]["fallback"] == false);
  }
  SECTION("nothing without steps") {
    const Data plain({});
    CHECK(describe_fit(plain.dataset, fold, samples, "").is_null());
  }
}
