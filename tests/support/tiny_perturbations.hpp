// SPDX-License-Identifier: Apache-2.0
// Perturbation profiles in memory, for tests of modules that only look at conditions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "base/random.hpp"
#include "data/dataset.hpp"

namespace cdrzoo::test {

/// Builds a Dataset of profiles on one gene. The builder owns the columns: keep it alive while the Dataset is in use.
/// Contexts and drugs come to be when a profile names them; each context has one control, a sample of its name.
class TinyPerturbations {
 public:
  TinyPerturbations() {
    dataset_.name = "tiny";
    dataset_.path = "tiny.h5";
    dataset_.domains = {{"screen", "other"}, {"z", "z"}, {"", ""}};
  }

  /// A drug whose identity is another's: a second name of one structure.
  TinyPerturbations& synonym(const std::string& id, const std::string& group) {
    add_drug(id, group);
    return *this;
  }
  /// A context whose identity is another's: a second biopsy of a patient.
  TinyPerturbations& kin(const std::string& context, const std::string& group) {
    dataset_.samples.group[static_cast<std::size_t>(add_context(context, 0))] = group;
    return *this;
  }
  /// \p cells rows of one condition; an empty \p second is none.
  TinyPerturbations& profile(const std::string& context, const std::string& first, const std::string& second = "",
                             float dose = std::numeric_limits<float>::quiet_NaN(), int cells = 1,
                             std::int32_t domain = 0) {
    const auto c = add_context(context, domain);
    const auto a = add_drug(first, first);
    const auto b = second.empty() ? -1 : add_drug(second, second);
    for (int i = 0; i < cells; ++i) rows_.push_back({c, a, b, dose});
    return *this;
  }

  [[nodiscard]] Dataset build() { return with_views(); }
  /// Rows in an order that depends on \p seed only: what no result may depend on.
  [[nodiscard]] Dataset build_shuffled(std::uint64_t seed) {
    std::vector<Row> shuffled;
    for (const auto i : random_permutation(rows_.size(), seed)) shuffled.push_back(rows_[static_cast<std::size_t>(i)]);
    rows_ = std::move(shuffled);
    return with_views();
  }

 private:
  struct Row {
    std::int32_t context, drug, drug_b;
    float dose;
  };
  std::int32_t add_context(const std::string& name, std::int32_t domain) {
    const auto found = std::find(contexts_.begin(), contexts_.end(), name);
    if (found != contexts_.end()) return static_cast<std::int32_t>(found - contexts_.begin());
    contexts_.push_back(name);
    dataset_.samples.id.push_back(name);
    dataset_.samples.group.push_back(name);
    dataset_.samples.domain.push_back(domain);
    dataset_.samples.tissue.push_back(-1);
    return static_cast<std::int32_t>(contexts_.size()) - 1;
  }
  std::int32_t add_drug(const std::string& id, const std::string& group) {
    auto& drugs = dataset_.drugs;
    const auto found = std::find(drugs.id.begin(), drugs.id.end(), id);
    if (found != drugs.id.end()) return static_cast<std::int32_t>(found - drugs.id.begin());
    drugs.id.push_back(id);
    drugs.name.push_back(id);
    drugs.smiles.emplace_back();
    drugs.group.push_back(group);
    drugs.scaffold.emplace_back();
    return static_cast<std::int32_t>(drugs.id.size()) - 1;
  }
  [[nodiscard]] Dataset with_views() {
    const auto n = rows_.size();
    control_.clear(), drug_.clear(), drug_b_.clear(), dose_.clear(), context_.clear(), condition_.clear();
    std::map<std::tuple<std::int32_t, std::int32_t, std::int32_t, float>, std::int32_t> number;
    for (const auto& row : rows_) {
      control_.push_back(row.context);
      context_.push_back(row.context);
      drug_.push_back(row.drug);
      drug_b_.push_back(row.drug_b);
      dose_.push_back(row.dose);
      const float known = std::isnan(row.dose) ? std::numeric_limits<float>::infinity() : row.dose;
      condition_.push_back(
          number.emplace(std::make_tuple(row.context, row.drug, row.drug_b, known), number.size()).first->second);
    }
    time_.assign(n, std::numeric_limits<float>::quiet_NaN());
    replicates_.assign(n, 1);
    profile_.assign(n, 0.0F);
    Dataset::Perturbations p;
    p.profile = MatrixView<float>{profile_.data(), static_cast<std::int64_t>(n), 1};
    p.control = control_;
    p.drug = drug_;
    p.drug_b = drug_b_;
    p.dose_log10_molar = dose_;
    p.time_h = time_;
    p.context = context_;
    p.condition = condition_;
    p.replicates = replicates_;
    p.contexts = contexts_;
    for (std::size_t c = 0; c < contexts_.size(); ++c) p.controls.push_back({static_cast<std::int32_t>(c)});
    p.context_group = dataset_.samples.group;
    p.conditions = static_cast<std::int64_t>(number.size());
    dataset_.perturbations = p;
    return dataset_;
  }

  Dataset dataset_;
  std::vector<Row> rows_;
  std::vector<std::string> contexts_;
  std::vector<std::int32_t> control_, drug_, drug_b_, context_, condition_, replicates_;
  std::vector<float> dose_, time_, profile_;
};

/// All rows of perturbations.
inline std::vector<std::int32_t> all_profiles(const Dataset& dataset) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(dataset.perturbations->size()));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

/// "A:p+q@-6" of a row: what its condition is called, whatever the order of the rows.
inline std::string name_of(const Dataset& dataset, std::int32_t row) {
  const auto& p = *dataset.perturbations;
  const auto r = static_cast<std::size_t>(row);
  const auto id = [&](std::int32_t drug) { return dataset.drugs.id[static_cast<std::size_t>(drug)]; };
  std::string name = p.contexts[static_cast<std::size_t>(p.context[r])] + ":" + id(p.drug[r]);
  if (p.drug_b[r] >= 0) name += "+" + id(p.drug_b[r]);
  if (!std::isnan(p.dose_log10_molar[r])) name += "@" + std::to_string(std::lround(p.dose_log10_molar[r]));
  return name;
}

/// Names of rows, sorted, one for each row.
inline std::vector<std::string> names_of(const Dataset& dataset, const std::vector<std::int32_t>& rows) {
  std::vector<std::string> names;
  for (const auto row : rows) names.push_back(name_of(dataset, row));
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace cdrzoo::test
