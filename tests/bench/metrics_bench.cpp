// SPDX-License-Identifier: Apache-2.0
// Processor time (one thread) of the metrics on large inputs. Run by hand: metrics_bench [rows, default 10000000]
// [repetitions, default 3]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <vector>

#include "metrics/column_means.hpp"
#include "metrics/metrics.hpp"
#include "metrics/perturbation.hpp"

namespace {

template <typename Work>
void measure(const char* what, int repetitions, Work work) {
  double best = 1e300;
  double value = 0;
  for (int i = 0; i < repetitions; ++i) {
    const std::clock_t begin = std::clock();
    value = work();
    best = std::min(best, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  std::printf("%-44s %8.3f s   (value %.6f)\n", what, best, value);
}

}  // namespace

int main(int argc, char** argv) {
  const auto rows = static_cast<std::size_t>(argc > 1 ? std::atoll(argv[1]) : 10000000);
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 3;
  std::mt19937_64 generator(1);
  std::normal_distribution<double> normal;
  std::vector<double> label(rows);
  std::vector<double> score(rows);
  std::vector<double> from_float(rows);
  std::vector<double> ties(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    label[i] = generator() % 3 == 0 ? 1 : 0;
    score[i] = normal(generator) + 0.5 * label[i];
    from_float[i] = static_cast<double>(static_cast<float>(score[i]));
    ties[i] = static_cast<double>(static_cast<int>(10 * score[i]));
  }
  std::printf("%zu rows, best of %d\n", rows, repetitions);
  measure("auroc", repetitions, [&] { return cdrzoo::auroc(label, score); });
  measure("auroc, scores from float32", repetitions, [&] { return cdrzoo::auroc(label, from_float); });
  measure("auroc, many ties", repetitions, [&] { return cdrzoo::auroc(label, ties); });
  measure("all binary metrics", repetitions, [&] {
    return cdrzoo::metric_value(cdrzoo::binary_metrics(label, score, {0.5, true, 1e-15}), "mcc");
  });
  measure("best F1 threshold", repetitions, [&] { return cdrzoo::best_f1_threshold(label, score); });
  measure("for comparison: std::sort of the scores", repetitions, [&] {
    std::vector<double> copy(score);
    std::sort(copy.begin(), copy.end());
    return copy[rows / 2];
  });
  const std::size_t fewer = rows / 10;
  const cdrzoo::ArrayView<double> a(score.data(), fewer);
  const cdrzoo::ArrayView<double> b(score.data() + rows - fewer, fewer);
  std::printf("%zu rows\n", fewer);
  measure("pearson", repetitions, [&] { return cdrzoo::pearson(a, b); });
  measure("spearman", repetitions, [&] { return cdrzoo::spearman(a, b); });
  measure("kendall tau-b", repetitions, [&] { return cdrzoo::kendall_tau_b(a, b); });

  constexpr std::int64_t kCells = 2000;  // more than are used
  constexpr std::int64_t kGenes = 2000;
  std::vector<float> cells(static_cast<std::size_t>(kCells * kGenes));
  for (float& value : cells) value = static_cast<float>(normal(generator));
  const cdrzoo::MatrixView<float> truth{cells.data(), kCells / 2, kGenes};
  const cdrzoo::MatrixView<float> prediction{cells.data() + kCells / 2 * kGenes, kCells / 2, kGenes};
  const auto mean_of = [](const cdrzoo::MatrixView<float>& matrix) {
    cdrzoo::ColumnMeans means(matrix.cols);
    for (std::int64_t i = 0; i < matrix.rows; ++i) means.add(matrix.row(i));
    return means.take();
  };
  const std::vector<double> mean = mean_of(truth);
  const std::vector<double> predicted = mean_of(prediction);
  const std::vector<double> control(mean.size(), 0);
  const std::vector<std::int32_t> deg = cdrzoo::largest_differences(mean, control, 100);
  const cdrzoo::ConditionMeans condition{mean, predicted, control, control, deg, control};
  std::printf("one condition of %lld genes, %lld true and predicted cells\n", static_cast<long long>(kGenes),
              static_cast<long long>(kCells / 2));
  measure("condition metrics", repetitions,
          [&] { return cdrzoo::metric_value(cdrzoo::condition_metrics(condition), "pearson"); });
  measure("truth alone: distances, noise ceiling", repetitions,
          [&] { return cdrzoo::metric_value(cdrzoo::TruthScores(truth, &condition).ceiling(), "r2_ceiling"); });
  const cdrzoo::TruthScores scores(truth);
  measure("a model: energy distance and MMD", repetitions,
          [&] { return cdrzoo::metric_value(cdrzoo::cell_distances(scores, prediction), "energy_distance"); });
  return 0;
}
