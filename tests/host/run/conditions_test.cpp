// SPDX-License-Identifier: Apache-2.0
#include "run/conditions.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "data/dataset_writer.hpp"
#include "metrics/perturbation.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using namespace cdrzoo::test;

namespace {

constexpr std::int64_t kGenes = 4;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Contexts A and B with two controls each, and what was done: (context, drug, second, dose, time, cells).
struct Cells {
  std::int32_t context, drug, second;
  float dose, time;
  int cells;
};

float profile_value(int row, std::int64_t gene) { return static_cast<float>(row * row % 7) + static_cast<float>(gene); }

DatasetContent content_of_cells(const std::vector<Cells>& what) {
  DatasetContent content;
  content.name = "cells";
  content.genes = {"G1", "G2", "G3", "G4"};
  content.domains = {{"screen"}, {"log"}, {""}};
  for (const char* id : {"A:1", "A:2", "B:1", "B:2"}) {
    content.sample_id.emplace_back(id);
    content.sample_group.push_back(std::string(id).substr(0, 1));
    content.sample_domain.push_back(0);
    content.sample_tissue.push_back(-1);
    const auto s = static_cast<float>(content.sample_id.size());
    for (int g = 0; g < kGenes; ++g) content.expression.push_back(s + static_cast<float>(g));
  }
  for (const char* id : {"p", "q", "r"}) {
    content.drug_id.emplace_back(id);
    content.drug_name.push_back(std::string("drug ") + id);
    content.drug_smiles.emplace_back();
    content.drug_group.emplace_back(id);
    content.drug_scaffold.emplace_back();
  }
  content.value_unit = "none";
  content.perturbation_contexts = {"A", "B"};
  int row = 0;
  for (const Cells& c : what) {
    for (int i = 0; i < c.cells; ++i, ++row) {
      content.perturbations.push_back({2 * c.context + i % 2, c.drug, c.second, c.dose, c.time, c.context, 1});
      for (std::int64_t g = 0; g < kGenes; ++g) content.perturbation_profile.push_back(profile_value(row, g));
    }
  }
  return content;
}

/// The rows of a condition, by what it is.
std::vector<std::int32_t> rows_of(const Dataset& dataset, const std::string& context, const std::string& drug,
                                  const std::string& second = "") {
  const auto& p = *dataset.perturbations;
  std::vector<std::int32_t> rows;
  for (std::int32_t r = 0; r < p.size(); ++r) {
    const auto i = static_cast<std::size_t>(r);
    const std::string b = p.drug_b[i] < 0 ? "" : dataset.drugs.id[static_cast<std::size_t>(p.drug_b[i])];
    if (p.contexts[static_cast<std::size_t>(p.context[i])] == context &&
        dataset.drugs.id[static_cast<std::size_t>(p.drug[i])] == drug && b == second) {
      rows.push_back(r);
    }
  }
  return rows;
}

double mean_truth(const Dataset& dataset, const std::vector<std::int32_t>& rows, std::int64_t gene) {
  double sum = 0;
  for (const std::int32_t r : rows) sum += static_cast<double>(dataset.perturbations->profile.dense().row(r)[gene]);
  return sum / static_cast<double>(rows.size());
}

const ConditionTable::Metric& metric(const ConditionTable& table, const std::string& name) {
  for (const auto& m : table.metrics) {
    if (m.name == name) return m;
  }
  throw std::runtime_error("no column " + name);
}

ConditionTable collect(const Dataset& dataset, const std::vector<std::int32_t>& train,
                       const std::vector<PredictedProfiles>& parts) {
  std::vector<ProfileRows> rows;
  for (const auto& part : parts) rows.push_back({part.part, part.row, train});
  return FoldTruth(dataset, rows).collect(parts);
}

Dataset open(const DatasetContent& content, const TemporaryFolder& folder) {
  write_dataset(content, folder.path() / "cells.h5");
  return Dataset::open(folder.path() / "cells.h5");
}

}  // namespace

TEST_CASE("Cells of a condition become one row with means, references and what training saw") {
  const TemporaryFolder folder;
  const Dataset dataset = open(content_of_cells({{0, 0, -1, -6, 24, 4},
                                                 {0, 1, -1, -6, 24, 2},
                                                 {1, 0, -1, -6, 24, 3},
                                                 {1, 0, 1, kNan, kNan, 2},
                                                 {1, 2, -1, -7.5F, 6, 1}}),
                               folder);
  const auto ap = rows_of(dataset, "A", "p");
  const auto bpq = rows_of(dataset, "B", "p", "q");
  const auto br = rows_of(dataset, "B", "r");
  std::vector<std::int32_t> train = rows_of(dataset, "A", "q");
  const auto bp = rows_of(dataset, "B", "p");
  REQUIRE(ap.size() == 4);
  REQUIRE(bpq.size() == 2);

  PredictedProfiles test;
  test.part = "test";
  test.row = ap;
  test.row.insert(test.row.end(), bpq.begin(), bpq.end());
  std::vector<float> predicted(6 * kGenes);
  for (std::size_t i = 0; i < predicted.size(); ++i) predicted[i] = static_cast<float>(i);
  std::fill(predicted.begin() + kGenes, predicted.begin() + 2 * kGenes, kNan);  // declined: must not be read
  test.prediction = MatrixView<float>{predicted.data(), 6, kGenes};
  test.status = {0, 1, 0, 0, 2, 2};
  test.n_references = {3, 2, 3, 1, 1, 0};
  test.in_context = {0, 0, 1, 0, 0, 0};
  PredictedProfiles validation;
  validation.part = "validation";
  validation.row = br;
  validation.prediction = MatrixView<float>{predicted.data(), 1, kGenes};
  validation.status = {0};
  const ConditionTable table = collect(dataset, train, {validation, test});

  REQUIRE(table.size() == 3);
  CHECK(table.part == std::vector<std::string>{"validation", "test", "test"});
  CHECK(table.name ==
        std::vector<std::string>{"B: drug r, 31.6 nM, 6 h", "A: drug p, 1 uM, 24 h", "B: drug p + drug q"});
  CHECK(table.context == std::vector<std::string>{"B", "A", "B"});
  CHECK(table.second == std::vector<std::string>{"", "", "drug q"});
  CHECK(table.domain[0] == "screen");
  CHECK(std::isnan(table.dose_log10_molar[2]));
  CHECK(table.time_h[1] == 24);
  CHECK(table.n_rows == std::vector<std::int32_t>{1, 4, 2});
  CHECK(table.n_predicted == std::vector<std::int32_t>{1, 3, 0});
  CHECK(table.n_references == std::vector<std::int32_t>{0, 3, 1});
  CHECK(table.in_context == std::vector<std::int32_t>{0, 1, 0});
  CHECK(table.singles_seen == std::vector<std::int32_t>{-1, -1, 1});  // q alone was trained on, p was not
  CHECK(table.status == std::vector<std::int32_t>{0, 1, 2});
  const auto at = [&](const std::vector<float>& matrix, std::int64_t row, std::int64_t gene) {
    return static_cast<double>(matrix[static_cast<std::size_t>(row * kGenes + gene)]);
  };
  for (std::int64_t g = 0; g < kGenes; ++g) {
    CHECK_THAT(at(table.truth, 1, g), WithinAbs(mean_truth(dataset, ap, g), 1e-6));
    CHECK_THAT(at(table.prediction, 1, g),
               WithinAbs(static_cast<double>(0 + 8 + 12) / 3 + static_cast<double>(g), 1e-6));
    CHECK(std::isnan(table.prediction[static_cast<std::size_t>(2 * kGenes + g)]));
    // Both controls of the context, whichever of them the rows point at.
    CHECK_THAT(at(table.control, table.control_row[1], g), WithinAbs(1.5 + static_cast<double>(g), 1e-6));
    CHECK_THAT(at(table.control, table.control_row[2], g), WithinAbs(3.5 + static_cast<double>(g), 1e-6));
    // Context A was trained on; B takes what training has of all contexts.
    for (const std::size_t row : {0U, 1U, 2U}) {
      CHECK_THAT(at(table.train_perturbed, table.train_row[row], g), WithinAbs(mean_truth(dataset, train, g), 1e-6));
    }
  }
  CHECK(table.train_row[1] != table.train_row[2]);
  for (std::int64_t g = 0; g < kGenes; ++g) {
    // In a context that was trained on the two references are one; elsewhere the mean change moves with the control.
    CHECK_THAT(at(table.train_shifted, table.control_row[1], g), WithinAbs(mean_truth(dataset, train, g), 1e-6));
    CHECK_THAT(at(table.train_shifted, table.control_row[2], g),
               WithinAbs(mean_truth(dataset, train, g) - at(table.control, table.control_row[1], g) +
                             at(table.control, table.control_row[2], g),
                         1e-6));
  }

  // The training mean counts conditions, not cells, and those of the context where there are any.
  train.insert(train.end(), bp.begin(), bp.end());
  train.insert(train.end(), br.begin(), br.end());
  const ConditionTable own = collect(dataset, train, {test});
  for (std::int64_t g = 0; g < kGenes; ++g) {
    CHECK_THAT(at(own.train_perturbed, own.train_row[1], g),
               WithinAbs((mean_truth(dataset, bp, g) + mean_truth(dataset, br, g)) / 2, 1e-6));
  }
  const ConditionTable untrained = collect(dataset, {}, {test});
  CHECK(untrained.train_row == std::vector<std::int32_t>{-1, -1});
  CHECK(untrained.train_shifted.empty());
}

TEST_CASE("The control of a context is the mean of all its controls, also of those that no row points at") {
  const TemporaryFolder folder;
  auto content = content_of_cells({{0, 0, -1, -6, 24, 1}, {1, 0, -1, -6, 24, 2}});
  content.control_context = {0, 0, 1, 1};  // the one row of A points at the first of two
  const Dataset dataset = open(content, folder);
  std::vector<float> predicted(kGenes, 1);
  const PredictedProfiles test{
      "test", rows_of(dataset, "A", "p"), {MatrixView<float>{predicted.data(), 1, kGenes}}, {0}, {}, {}};
  const ConditionTable table = collect(dataset, rows_of(dataset, "B", "p"), {test});
  CHECK_THAT(static_cast<double>(table.control[0]), WithinAbs(1.5, 1e-6));
}

TEST_CASE("Each part is scored against what the model that predicts it was trained on") {
  const TemporaryFolder folder;
  const Dataset dataset = open(
      content_of_cells({{0, 0, -1, -6, 24, 1}, {0, 1, -1, -6, 24, 1}, {0, 2, -1, -6, 24, 1}, {1, 0, 1, kNan, kNan, 1}}),
      folder);
  const auto train = rows_of(dataset, "A", "q"), validation = rows_of(dataset, "A", "p"),
             test = rows_of(dataset, "A", "r");
  auto refitted = train;
  refitted.insert(refitted.end(), validation.begin(), validation.end());
  std::vector<float> predicted(kGenes, 1);
  const MatrixView<float> one{predicted.data(), 1, kGenes};
  const std::vector<ProfileRows> rows = {{"validation", validation, train}, {"test", test, refitted}};
  const ConditionTable table =
      FoldTruth(dataset, rows)
          .collect({{"validation", validation, one, {0}, {}, {}}, {"test", test, one, {0}, {}, {}}});
  for (std::int64_t g = 0; g < kGenes; ++g) {
    const auto mean = [&](std::size_t i) {
      return static_cast<double>(table.train_perturbed[static_cast<std::size_t>(table.train_row[i] * kGenes + g)]);
    };
    CHECK_THAT(mean(0), WithinAbs(mean_truth(dataset, train, g), 1e-6));
    CHECK_THAT(mean(1), WithinAbs(mean_truth(dataset, refitted, g), 1e-6));
  }
  CHECK(table.control_row[0] != table.control_row[1]);  // the same control, but not the same mean change
}

TEST_CASE("Two names of one structure are one perturbation that was trained on alone") {
  const TemporaryFolder folder;
  auto content = content_of_cells({{0, 0, -1, -6, 24, 1}, {0, 1, 2, -6, 24, 1}});
  content.drug_group = {"same", "same", "r"};  // p and q
  const Dataset dataset = open(content, folder);
  std::vector<float> predicted(kGenes, 1);
  const PredictedProfiles test{
      "test", rows_of(dataset, "A", "q", "r"), {MatrixView<float>{predicted.data(), 1, kGenes}}, {0}, {}, {}};
  CHECK(collect(dataset, rows_of(dataset, "A", "p"), {test}).singles_seen == std::vector<std::int32_t>{1});
}

TEST_CASE("Scores of cells are made from the rows of a condition, and only for test rows") {
  const TemporaryFolder folder;
  const Dataset dataset = open(content_of_cells({{0, 0, -1, -6, 24, 6}, {0, 1, -1, -6, 24, 1}}), folder);
  const auto ap = rows_of(dataset, "A", "p");
  std::vector<float> cells;
  for (const std::int32_t r : ap) {
    cells.insert(cells.end(), dataset.perturbations->profile.dense().row(r),
                 dataset.perturbations->profile.dense().row(r) + kGenes);
  }
  std::vector<float> predicted;
  for (std::size_t i = 0; i < 7 * kGenes; ++i) predicted.push_back(static_cast<float>(i % 5));
  PredictedProfiles test;
  test.part = "test";
  test.row = ap;
  for (const std::int32_t r : rows_of(dataset, "A", "q")) test.row.push_back(r);
  test.prediction = MatrixView<float>{predicted.data(), 7, kGenes};
  test.status = {0, 0, 0, 0, 0, 1, 0};
  const ConditionTable table = collect(dataset, {}, {test});
  const auto expected = cell_distances(TruthScores(MatrixView<float>{cells.data(), 6, kGenes}),
                                       MatrixView<float>{predicted.data(), 5, kGenes});
  CHECK(metric(table, "energy_distance").value[0] == metric_value(expected, "energy_distance"));
  CHECK(metric(table, "mmd").value[0] == metric_value(expected, "mmd"));
  CHECK(std::isfinite(metric(table, "r2_ceiling").value[0]));
  CHECK(std::isnan(metric(table, "r2_ceiling").value[1]));  // one cell has no halves
  CHECK(std::isnan(metric(table, "energy_distance").value[1]));
  test.part = "validation";
  CHECK(collect(dataset, {}, {test}).metrics.empty());
}

TEST_CASE("DEG lists are the file's, else the largest mean differences") {
  const TemporaryFolder folder;
  DatasetContent content = content_of_cells({{0, 0, -1, -6, 24, 2}, {1, 0, -1, -6, 24, 2}});
  const Dataset without = open(content, folder);
  PredictedProfiles test;
  test.part = "test";
  test.row = rows_of(without, "A", "p");
  const std::vector<float> predicted(2 * kGenes, 1);
  test.prediction = MatrixView<float>{predicted.data(), 2, kGenes};
  test.status = {0, 0};
  const ConditionTable computed = collect(without, {}, {test});
  CHECK(computed.deg_columns == kGenes);
  const std::vector<double> truth(computed.truth.begin(), computed.truth.end());
  const std::vector<double> control(computed.control.begin(), computed.control.end());
  CHECK(computed.deg == largest_differences(truth, control, 100));

  content.deg = {3, 1, 2, -1};
  content.deg_genes = 2;
  content.deg_rule = "by hand";
  const TemporaryFolder other;
  const Dataset with = open(content, other);
  test.row = rows_of(with, "A", "p");
  const ConditionTable given = collect(with, {}, {test});
  CHECK(given.deg_columns == 2);
  CHECK(given.deg == std::vector<std::int32_t>{3, 1});
}

TEST_CASE("Conditions of one name stay apart, and columns of unequal length are refused") {
  const TemporaryFolder folder;
  DatasetContent content = content_of_cells({{0, 0, -1, -6, 24, 1}, {0, 1, -1, -6, 24, 1}});
  content.drug_name = {"same", "same", "other"};
  const Dataset dataset = open(content, folder);
  const std::vector<float> predicted(2 * kGenes, 1);
  PredictedProfiles test{"test", {0, 1}, MatrixView<float>{predicted.data(), 2, kGenes}, {0, 0}, {}, {}};
  const ConditionTable table = collect(dataset, {}, {test});
  CHECK(table.name ==
        std::vector<std::string>{"A: same, 1 uM, 24 h (condition 0)", "A: same, 1 uM, 24 h (condition 1)"});
  CHECK(table.metrics.empty());
  test.status = {0};
  CHECK_THROWS_AS(collect(dataset, {}, {test}), std::logic_error);
}

TEST_CASE("One truth serves every model of a fold, and refuses predictions of other rows") {
  const TemporaryFolder folder;
  const Dataset dataset = open(content_of_cells({{0, 0, -1, -6, 24, 6}, {1, 0, -1, -6, 24, 5}}), folder);
  const auto train = rows_of(dataset, "A", "p");
  const auto rows = rows_of(dataset, "B", "p");
  const FoldTruth truth(dataset, {{"validation", {}, train}, {"test", rows, train}});
  const PredictedProfiles none{"validation", {}, {}, {}, {}, {}};
  for (const std::size_t period : {3U, 5U, 7U}) {
    std::vector<float> predicted;
    for (std::size_t i = 0; i < 5 * kGenes; ++i) predicted.push_back(static_cast<float>(i % period));
    const PredictedProfiles test{"test", rows, MatrixView<float>{predicted.data(), 5, kGenes}, {0, 0, 0, 0, 0}, {}, {}};
    const ConditionTable shared = truth.collect({none, test});
    const ConditionTable alone = collect(dataset, train, {test});
    CHECK(shared.prediction == alone.prediction);
    CHECK(shared.truth == alone.truth);
    REQUIRE(shared.metrics.size() == alone.metrics.size());
    for (std::size_t m = 0; m < shared.metrics.size(); ++m) CHECK(shared.metrics[m].value == alone.metrics[m].value);
    CHECK_THROWS_AS(truth.collect({test}), std::logic_error);
    PredictedProfiles other = test;
    std::swap(other.row[0], other.row[1]);
    CHECK_THROWS_AS(truth.collect({none, other}), std::logic_error);
  }
}
