// SPDX-License-Identifier: Apache-2.0
// Data sets in memory, for tests of modules that only look at names, groups and records.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "data/dataset.hpp"

namespace cdrzoo::test {

/// Builds a Dataset without expression. The builder owns the columns: keep it alive while the Dataset is in use.
class TinyDataset {
 public:
  explicit TinyDataset(std::vector<std::string> domains = {"lines"}) {
    dataset_.name = "tiny";
    dataset_.path = "tiny.h5";
    dataset_.domains.expression_unit.assign(domains.size(), "z");
    dataset_.domains.caveat.assign(domains.size(), "");
    dataset_.domains.name = std::move(domains);
  }

  /// An empty tissue is an unknown one; an empty group is the id.
  TinyDataset& sample(const std::string& id, const std::string& tissue = "", const std::string& group = "",
                      std::int32_t domain = 0) {
    auto& s = dataset_.samples;
    s.id.push_back(id);
    s.group.push_back(group.empty() ? id : group);
    s.domain.push_back(domain);
    s.tissue.push_back(tissue.empty() ? -1 : index(dataset_.tissues, tissue));
    return *this;
  }
  TinyDataset& drug(const std::string& id, const std::string& group = "", const std::string& scaffold = "") {
    auto& d = dataset_.drugs;
    d.id.push_back(id);
    d.name.push_back(id);
    d.smiles.emplace_back();
    d.group.push_back(group.empty() ? id : group);
    d.scaffold.push_back(scaffold);
    return *this;
  }
  TinyDataset& record(const std::string& sample_id, const std::string& drug_id, double value, int label = -1,
                      std::int32_t replicate = 0) {
    rows_.push_back({find(dataset_.samples.id, sample_id), find(dataset_.drugs.id, drug_id), value,
                     static_cast<std::int8_t>(label), replicate});
    return *this;
  }

  /// Records in canonical order (domain, sample, drug, replicate).
  [[nodiscard]] Dataset build() {
    std::sort(rows_.begin(), rows_.end(), [&](const Row& a, const Row& b) { return names(a) < names(b); });
    return with_views();
  }
  /// Records in an order that depends on \p seed only: what no result may depend on.
  [[nodiscard]] Dataset build_shuffled(std::uint64_t seed) {
    std::sort(rows_.begin(), rows_.end(), [&](const Row& a, const Row& b) { return names(a) < names(b); });
    std::vector<Row> shuffled;
    for (const auto i : random_permutation(rows_.size(), seed)) shuffled.push_back(rows_[static_cast<std::size_t>(i)]);
    rows_ = std::move(shuffled);
    return with_views();
  }

 private:
  struct Row {
    std::int32_t sample, drug;
    double value;
    std::int8_t label;
    std::int32_t replicate;
  };
  static std::int32_t index(std::vector<std::string>& list, const std::string& name) {
    const auto found = std::find(list.begin(), list.end(), name);
    if (found != list.end()) return static_cast<std::int32_t>(found - list.begin());
    list.push_back(name);
    return static_cast<std::int32_t>(list.size() - 1);
  }
  static std::int32_t find(const std::vector<std::string>& list, const std::string& name) {
    const auto found = std::find(list.begin(), list.end(), name);
    if (found == list.end()) throw std::logic_error("TinyDataset: " + name + " is not declared");
    return static_cast<std::int32_t>(found - list.begin());
  }
  [[nodiscard]] std::tuple<std::string, std::string, std::string, std::int32_t> names(const Row& row) const {
    const auto s = static_cast<std::size_t>(row.sample);
    return {dataset_.domains.name[static_cast<std::size_t>(dataset_.samples.domain[s])], dataset_.samples.id[s],
            dataset_.drugs.id[static_cast<std::size_t>(row.drug)], row.replicate};
  }
  [[nodiscard]] Dataset with_views() {
    sample_.clear(), drug_.clear(), value_.clear(), label_.clear(), replicate_.clear();
    for (const auto& row : rows_) {
      sample_.push_back(row.sample);
      drug_.push_back(row.drug);
      value_.push_back(row.value);
      label_.push_back(row.label);
      replicate_.push_back(row.replicate);
    }
    dataset_.responses = {sample_, drug_, value_, label_, replicate_, "ln_ic50_um"};
    return dataset_;
  }

  Dataset dataset_;
  std::vector<Row> rows_;
  std::vector<std::int32_t> sample_, drug_, replicate_;
  std::vector<double> value_;
  std::vector<std::int8_t> label_;
};

/// All rows of a data set.
inline std::vector<std::int32_t> all_rows(const Dataset& dataset) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(dataset.responses.size()));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

}  // namespace cdrzoo::test
