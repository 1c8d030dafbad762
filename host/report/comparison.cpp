// SPDX-License-Identifier: Apache-2.0
#include "report/comparison.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace cdrzoo {

std::string comparison_id(const Record& record) {
  const nlohmann::json id = {{"dataset", record.dataset_hash},
                             {"task", record.task},
                             {"label_rule", record.label_rule},
                             {"split", text_of(record.split, "hash", record.split.dump())},
                             {"protocol", record.protocol},
                             {"shuffle_labels", bool_of(record.key_inputs, "shuffle_labels")},
                             {"refit", text_of(record.key_inputs, "refit")}};
  return id.dump();
}

bool is_naive(const std::string& model_id) {
  static const std::array<const char*, 10> kNaive = {
      "baseline.global_mean",      "baseline.drug_mean",    "baseline.sample_mean",      "baseline.tissue_mean",
      "baseline.drug_tissue_mean", "baseline.mean_effects", "perturbation.control_mean", "perturbation.train_mean",
      "perturbation.mean_shift",   "perturbation.additive"};
  return std::find(kNaive.begin(), kNaive.end(), model_id) != kNaive.end();
}

std::vector<std::string> reference_baselines(const Record& record) {
  const std::string kind = text_of(record.split, "kind");
  const std::string group = text_of(record.split, "group_type");
  if (record.task == "expression") {
    // The first two say something of the perturbation, where training or a reference knows it; the others always
    // answer.
    if (kind == "unseen_combination" || group == "combination") {
      return {"perturbation.additive", "perturbation.train_mean", "perturbation.control_mean"};
    }
    return {"perturbation.mean_shift", "perturbation.train_mean", "perturbation.control_mean"};
  }
  const bool own = kind != "file";  // a split file says by its groups what is unseen
  if (kind == "transfer" || kind == "lto" || (!own && group == "tissue")) return {"baseline.drug_mean"};
  if (kind == "lpo" || kind == "pairs811" || (!own && group == "pair")) return {"baseline.mean_effects"};
  if (kind == "lco" || (!own && group == "sample")) return {"baseline.drug_tissue_mean", "baseline.drug_mean"};
  if (kind == "ldo" || kind == "lso" || (!own && (group == "drug" || group == "scaffold"))) {
    return {"baseline.sample_mean"};
  }
  if (kind == "lcdo" || (!own && group == "sample x drug")) return {"baseline.tissue_mean"};
  return {};
}

std::string text_of(const nlohmann::json& object, const char* key, const std::string& fallback) {
  if (!object.is_object()) return fallback;
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : fallback;
}

int int_of(const nlohmann::json& object, const char* key, int fallback) {
  if (!object.is_object()) return fallback;
  const auto it = object.find(key);
  return it != object.end() && it->is_number_integer() ? it->get<int>() : fallback;
}

bool bool_of(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return false;
  const auto it = object.find(key);
  return it != object.end() && it->is_boolean() && it->get<bool>();
}

double number_of(const nlohmann::json& object, const char* key, double fallback) {
  if (!object.is_object()) return fallback;
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<double>() : fallback;
}

std::string shortest(double x) {
  if (std::isnan(x)) return "nan";
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), x).ptr;
  return {buffer.data(), end};
}

}  // namespace cdrzoo
