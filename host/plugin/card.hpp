// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace cdrzoo {

using ParamValue =
    std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>, std::vector<double>>;

/// One hyperparameter as the card declares it (share/doc/card.md).
struct ParamSpec {  // NOLINT(bugprone-exception-escape): nlohmann::json moves without exceptions
  std::string key;
  std::string type;  ///< bool | int | real | str | enum | int_list | real_list
  ParamValue default_value;
  std::optional<double> min, max;    ///< inclusive; of each element for lists
  std::vector<std::string> choices;  ///< enum
  std::string doc;
  nlohmann::json when;  ///< null, or {"key": value}: the parameter acts only then
  nlohmann::json tune;  ///< null, or {"low":..,"high":..,"log":bool} or {"choices":[..]}

  /// Checks \p value against type, range and choices and converts it (an integer may stand for a real).
  /// \throws UsageError "<where>: parameter <key> ..."
  [[nodiscard]] ParamValue check(const nlohmann::json& value, const std::string& where) const;
};

/// A key with its resolved value; every key of the card is present, in the card's order.
struct Param {
  std::string key;
  ParamValue value;
};

/// The metadata of one model (design D3). Strict: an unknown key is an error that names the known ones.
struct Card {
  std::string id, version, title, paper, licence;
  std::vector<std::string> tasks;  ///< regression | binary | expression | expression_change
  std::vector<ParamSpec> params;
  std::vector<std::string> sample_blocks, drug_blocks;                    ///< needed
  std::vector<std::string> optional_sample_blocks, optional_drug_blocks;  ///< used where the data set has them
  /// Observation columns: "dose", "time", "control", "drug_b", "domain", and those of the task expression: "context",
  /// "reference", "reference_control", "reference_b", "reference_b_control", "reference_context",
  /// "reference_b_context".
  std::vector<std::string> columns;
  bool early_stopping = false;           ///< asks for labelled early-stopping rows
  std::string unlabelled_target = "no";  ///< no | optional | required
  bool feature_names = false;
  bool accepts_missing = false;  ///< NaN in dense blocks is handled; otherwise the host imputes with training means
  bool accepts_sparse_targets = false;  ///< reads targets as CSR rows (View::target_rows of the SDK); otherwise dense
  bool transductive = false;
  std::string determinism = "bitwise";  ///< bitwise | statistical | none
  bool stochastic = false;              ///< another seed gives another model
  bool probabilities = false;           ///< binary predictions are probabilities
  double cancel_latency_s = 2.0;
  std::vector<std::string> devices = {"cpu"};
  std::vector<std::string> embeds;  ///< "sample", "drug"
  struct Asset {
    std::string id, sha256;
    bool required = false;
  };
  std::vector<Asset> assets;
  /// Overrides with which `cdrzoo verify` trains where it does not matter how well, so that it takes seconds.
  nlohmann::json verify_params = nlohmann::json::object();
  /// Overrides with which it learns from the few rows of the verifier, where its defaults are for real data.
  nlohmann::json verify_learning = nlohmann::json::object();

  nlohmann::json json;  ///< as given

  /// \p where names the source in errors ("card of baseline.ridge in /.../ridge.so").
  /// \throws PluginError: one sentence.
  [[nodiscard]] static Card parse(const std::string& text, const std::string& where);
  /// Defaults merged with overrides, checked against type, range and choices. Null stands for "no overrides".
  /// \throws UsageError: unknown key (names the known ones), wrong type, out of range.
  [[nodiscard]] std::vector<Param> resolve(const nlohmann::json& overrides) const;

  [[nodiscard]] bool supports(const std::string& task) const;
};

[[nodiscard]] nlohmann::json to_json(const ParamValue& value);
/// An object; keys in the card's order where the JSON type keeps it.
[[nodiscard]] nlohmann::json to_json(const std::vector<Param>& params);

}  // namespace cdrzoo
