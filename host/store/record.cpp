// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "store/store.hpp"

namespace cdrzoo {
namespace {

constexpr int kRecordVersion = 1;
constexpr std::array<const char*, 8> kStatuses = {"ok",    "numeric",  "timeout", "crash", "oom", "contract_violation",
                                                  "error", "cancelled"};

/// Reads members of a JSON object; a missing or mistyped one is a DataError that names file and member.
class Reader {
 public:
  Reader(const nlohmann::json& json, const std::string& where) : json_(json), where_(where) {
    if (!json.is_object())
      throw DataError(where_ + ": not a record, but " + json.type_name() + " instead of an object");
  }
  template <typename T>
  void operator()(const char* name, T& out) const {
    try {
      json_.at(name).get_to(out);
    } catch (const nlohmann::json::exception& e) {
      throw DataError(where_ + ": the record's member \"" + name + "\" cannot be read: " + words_of(e));
    }
  }
  void operator()(const char* name, nlohmann::json& out) const {
    const auto found = json_.find(name);
    if (found == json_.end()) throw DataError(where_ + ": the record has no member \"" + name + "\"");
    out = *found;
  }

 private:
  const nlohmann::json& json_;
  const std::string& where_;
};

}  // namespace

nlohmann::json Record::to_json() const {
  nlohmann::json json = {{"record_version", kRecordVersion},
                         {"key", key},
                         {"key_inputs", key_inputs},
                         {"model", model},
                         {"model_name", model_name},
                         {"model_version", model_version},
                         {"variant", variant},
                         {"plugin_path", plugin_path},
                         {"plugin_hash", plugin_hash},
                         {"params", params},
                         {"card", card},
                         {"dataset", dataset},
                         {"dataset_hash", dataset_hash},
                         {"task", task},
                         {"caveats", caveats},
                         {"label_rule", label_rule},
                         {"label_thresholds", label_thresholds},
                         {"split", split},
                         {"repeat", repeat},
                         {"fold", fold},
                         {"seed", seed},
                         {"protocol", protocol},
                         {"status", status},
                         {"message", message},
                         {"n_train", n_train},
                         {"n_validation", n_validation},
                         {"n_test", n_test},
                         {"n_train_groups", n_train_groups},
                         {"n_test_groups", n_test_groups},
                         {"timing", timing},
                         {"host", host},
                         {"finished_at", finished_at}};
  if (!fitted.is_null()) json["fitted"] = fitted;
  return json;
}

Record Record::from_json(const nlohmann::json& json, const std::string& where) {
  const Reader read(json, where);
  int version = 0;
  read("record_version", version);
  if (version != kRecordVersion) {
    throw DataError(where + ": record version " + std::to_string(version) + " was found, this program reads version " +
                    std::to_string(kRecordVersion));
  }
  Record r;
  read("key", r.key);
  read("key_inputs", r.key_inputs);
  read("model", r.model);
  read("model_name", r.model_name);
  read("model_version", r.model_version);
  read("variant", r.variant);
  read("plugin_path", r.plugin_path);
  read("plugin_hash", r.plugin_hash);
  read("params", r.params);
  read("card", r.card);
  read("dataset", r.dataset);
  read("dataset_hash", r.dataset_hash);
  read("task", r.task);
  read("caveats", r.caveats);
  read("label_rule", r.label_rule);
  read("label_thresholds", r.label_thresholds);
  if (json.contains("fitted")) read("fitted", r.fitted);
  read("split", r.split);
  read("repeat", r.repeat);
  read("fold", r.fold);
  read("seed", r.seed);
  read("protocol", r.protocol);
  read("status", r.status);
  read("message", r.message);
  read("n_train", r.n_train);
  read("n_validation", r.n_validation);
  read("n_test", r.n_test);
  read("n_train_groups", r.n_train_groups);
  read("n_test_groups", r.n_test_groups);
  read("timing", r.timing);
  read("host", r.host);
  read("finished_at", r.finished_at);
  if (std::find(kStatuses.begin(), kStatuses.end(), r.status) == kStatuses.end()) {
    throw DataError(where + ": unknown status \"" + r.status + "\"");
  }
  return r;
}

}  // namespace cdrzoo
