// SPDX-License-Identifier: Apache-2.0
// A complete model: predicts a drug's mean response, drawn towards the mean of all responses.
#include <cdrzoo/plugin.hpp>
#include <map>

#include "cards.h"

namespace sdk = cdrzoo::sdk;

class ShrunkenMean final : public sdk::Model {
 public:
  ShrunkenMean(const sdk::Problem& problem, const sdk::Params& params) : strength_(params.real("strength")) {
    if (problem.n_targets != 1) throw sdk::Error(CDRZOO_E_UNSUPPORTED, "this model predicts one value per pair");
  }

  void fit(sdk::Context& context, const sdk::FitData& data) override {
    const auto drug = data.train.drug();         // per observation: the row of its drug in the table of drugs
    const auto key = data.train.drugs().keys();  // per drug: what identifies it in every view of this run
    const auto response = data.train.target();   // [observations, 1]
    if (response.rows() == 0) throw sdk::Error(CDRZOO_E_DATA, "there are no training responses");

    struct Sum {
      double total = 0, count = 0;
    };
    std::map<std::int64_t, Sum> sums;
    Sum all;
    for (std::int64_t i = 0; i < response.rows(); ++i) {
      if (i % 4096 == 0) context.check_cancelled();
      const double y = static_cast<double>(response(i, 0));
      Sum& sum = sums[key[drug[i]]];
      sum.total += y;
      sum.count += 1;
      all.total += y;
      all.count += 1;
    }
    mean_ = all.total / all.count;
    for (const auto& [drug_key, sum] : sums) {
      drug_mean_[drug_key] = (sum.total + strength_ * mean_) / (sum.count + strength_);
    }
  }

  void predict(sdk::Context&, const sdk::View& query, sdk::Predictions& out) const override {
    const auto drug = query.drug();
    const auto key = query.drugs().keys();
    for (std::int64_t i = 0; i < query.n_obs(); ++i) {
      const auto found = drug_mean_.find(key[drug[i]]);
      out.set(i, found == drug_mean_.end() ? mean_ : found->second);
    }
  }

  void save(sdk::Context&, sdk::StateWriter& state) const override {
    std::vector<std::int64_t> keys;
    std::vector<double> means;
    for (const auto& [key, mean] : drug_mean_) {
      keys.push_back(key);
      means.push_back(mean);
    }
    state.scalar("mean", mean_);
    state.tensor("drug_key", keys);
    state.tensor("drug_mean", means);
  }

  void load(sdk::Context&, sdk::StateReader& state) override {
    mean_ = state.scalar<double>("mean");
    const auto keys = state.vector<std::int64_t>("drug_key");
    const auto means = state.vector<double>("drug_mean", {static_cast<std::int64_t>(keys.size())});
    for (std::size_t i = 0; i < keys.size(); ++i) drug_mean_[keys[i]] = means[i];
  }

  sdk::ModelInfo info() const override {
    sdk::ModelInfo info;
    info.n_parameters = 1 + static_cast<std::int64_t>(drug_mean_.size());
    return info;
  }

 private:
  double strength_;
  double mean_ = 0;
  std::map<std::int64_t, double> drug_mean_;  // by key
};

CDRZOO_EXPORT_PLUGIN(sdk::model<ShrunkenMean>(kShrunkenMeanCard))
