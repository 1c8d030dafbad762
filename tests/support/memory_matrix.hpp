// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "import/matrix_source.hpp"

namespace cdrzoo::test {

/// A matrix of samples x genes that is in memory, "stored" by samples or by genes.
class MemoryMatrix final : public MatrixSource {
 public:
  /// \param about columns of sample annotations; the first holds the names
  /// \param values [samples][genes]
  MemoryMatrix(TextColumns about, std::vector<std::string> genes, std::vector<std::vector<float>> values,
               Lines lines = Lines::samples)
      : about_(std::move(about)), values_(std::move(values)), lines_(lines) {
    about_genes_ = {{"gene"}, {std::move(genes)}};
  }

  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }
  [[nodiscard]] Lines lines() const override { return lines_; }
  [[nodiscard]] const std::vector<std::string>& samples() override { return about_.values.front(); }
  [[nodiscard]] const std::vector<std::string>& genes() override { return about_genes_.values.front(); }
  [[nodiscard]] const TextColumns& sample_annotations() override { return about_; }
  [[nodiscard]] const TextColumns& gene_annotations() override { return about_genes_; }
  void read(const std::function<void(std::int64_t line, const float* values)>& take) override {
    ++reads_;
    if (lines_ == Lines::samples) {
      for (std::size_t i = 0; i < values_.size(); ++i) take(static_cast<std::int64_t>(i), values_[i].data());
      return;
    }
    std::vector<float> column(values_.size());
    for (std::size_t g = 0; g < genes().size(); ++g) {
      for (std::size_t i = 0; i < values_.size(); ++i) column[i] = values_[i][g];
      take(static_cast<std::int64_t>(g), column.data());
    }
  }
  [[nodiscard]] std::string place_of_sample(std::int64_t sample) const override {
    return path_.string() + " row " + std::to_string(sample + 1);
  }
  [[nodiscard]] std::string place_of_gene(std::int64_t gene) const override {
    return path_.string() + " column " + std::to_string(gene + 1);
  }

  [[nodiscard]] int reads() const { return reads_; }

 private:
  std::filesystem::path path_ = "made.csv";
  TextColumns about_;
  TextColumns about_genes_;
  std::vector<std::vector<float>> values_;
  Lines lines_;
  int reads_ = 0;
};

}  // namespace cdrzoo::test
