// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "store/store.hpp"

namespace cdrzoo {

/// What cells must share to be compared: data set, task, label rule, split, refit policy, shuffled or not.
[[nodiscard]] std::string comparison_id(const Record& record);

/// The models whose best one "best_naive" is: means, which no trained model may lose against.
[[nodiscard]] bool is_naive(const std::string& model_id);

/// The reference baseline of a split (protocol 4), best choice first.
[[nodiscard]] std::vector<std::string> reference_baselines(const Record& record);

/// A member of a JSON object; \p fallback where there is no such member or another type.
[[nodiscard]] std::string text_of(const nlohmann::json& object, const char* key, const std::string& fallback = "");
[[nodiscard]] int int_of(const nlohmann::json& object, const char* key, int fallback);
[[nodiscard]] bool bool_of(const nlohmann::json& object, const char* key);
[[nodiscard]] double number_of(const nlohmann::json& object, const char* key, double fallback);

/// The shortest text that reads back as \p x: "0.1", "-inf", "nan".
[[nodiscard]] std::string shortest(double x);

}  // namespace cdrzoo
