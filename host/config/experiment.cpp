// SPDX-License-Identifier: Apache-2.0
#include "config/experiment.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>

#include "base/error.hpp"

namespace cdrzoo {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using Words = std::vector<std::string>;

std::string listed(const Words& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

bool contains(const Words& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string type_name(const toml::node& node) {
  if (node.is_table()) return "a table";
  if (node.is_array()) return "a list";
  if (const auto* text = node.as_string()) return "the string \"" + text->get() + "\"";
  if (const auto* number = node.as_integer()) return "the whole number " + std::to_string(number->get());
  if (node.is_floating_point()) return "a number with a fraction";
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  return "a date or time";
}

[[noreturn]] void fail(const fs::path& file, const toml::source_region& place, const std::string& what) {
  throw UsageError(file.string() + ":" + std::to_string(place.begin.line) + ": " + what);
}

/// One table of the file with its known keys. Every error names file, line, key, what was found and what was expected.
class Table {
 public:
  Table(const fs::path& file, const toml::table& table, std::string name, Words known)
      : file_(file), table_(table), name_(std::move(name)), known_(std::move(known)) {
    for (const auto& [key, value] : table_) {
      if (contains(known_, std::string(key.str()))) continue;
      cdrzoo::fail(file_, key.source(),
                   "unknown key '" + std::string(key.str()) + "' in " + name_ + "; known: " + listed(known_));
    }
  }

  [[nodiscard]] bool has(const char* key) const { return table_.contains(key); }
  [[nodiscard]] const toml::node* find(const char* key) const { return table_.get(key); }
  [[noreturn]] void fail(const std::string& what) const { cdrzoo::fail(file_, table_.source(), what); }
  [[noreturn]] void fail(const char* key, const std::string& what) const {
    const auto* node = find(key);
    cdrzoo::fail(file_, node != nullptr ? node->source() : table_.source(), what);
  }
  [[noreturn]] void fail_value(const toml::node& node, const std::string& key, const std::string& expected) const {
    cdrzoo::fail(file_, node.source(),
                 "key '" + key + "' in " + name_ + " is " + type_name(node) + ", expected " + expected);
  }

  void read(const char* key, bool& value) const {
    if (const auto* node = find(key)) {
      const auto* flag = node->as_boolean();
      if (flag == nullptr) fail_value(*node, key, "true or false");
      value = flag->get();
    }
  }
  void read(const char* key, std::string& value) const {
    if (const auto* node = find(key)) value = text(*node, key);
  }
  /// One word out of \p choices.
  void read(const char* key, std::string& value, const Words& choices) const {
    read(key, value);
    if (has(key) && !contains(choices, value)) fail_value(*find(key), key, "one of " + listed(choices));
  }
  void read(const char* key, double& value, double min) const {
    if (const auto* node = find(key)) {
      const auto number = node->is_number() ? node->value<double>() : std::nullopt;
      if (!number || !std::isfinite(*number) || *number < min) {
        fail_value(*node, key, min == -HUGE_VAL ? "a number" : "a number from " + std::to_string(min) + " up");
      }
      value = *number;
    }
  }
  template <typename Int>
  void read_int(const char* key, Int& value, std::int64_t min, std::int64_t max) const {
    if (const auto* node = find(key)) value = static_cast<Int>(integer(*node, key, min, max));
  }
  void read(const char* key, fs::path& value, const fs::path& folder) const {
    std::string name;
    read(key, name);
    if (!has(key)) return;
    if (name.empty()) fail(key, "key '" + std::string(key) + "' in " + name_ + " is empty, expected a path");
    value = (folder / name).lexically_normal();  // an absolute name replaces the folder
  }
  [[nodiscard]] std::string text(const toml::node& node, const std::string& key) const {
    const auto* value = node.as_string();
    if (value == nullptr) fail_value(node, key, "a string");
    return value->get();
  }
  [[nodiscard]] std::int64_t integer(const toml::node& node, const std::string& key, std::int64_t min,
                                     std::int64_t max) const {
    const auto* value = node.as_integer();
    if (value == nullptr || value->get() < min || value->get() > max) {
      fail_value(
          node, key,
          "a whole number from " + std::to_string(min) + (max == INT64_MAX ? " up" : " to " + std::to_string(max)));
    }
    return value->get();
  }
  /// The elements of a list; nullptr if the key is absent.
  [[nodiscard]] const toml::array* list(const char* key) const {
    const auto* node = find(key);
    if (node == nullptr) return nullptr;
    if (!node->is_array()) fail_value(*node, key, "a list");
    return node->as_array();
  }
  /// A table below this one; nothing if it is absent.
  [[nodiscard]] std::optional<Table> table(const char* key, Words known) const {
    const auto* node = find(key);
    if (node == nullptr) return std::nullopt;
    if (!node->is_table()) fail_value(*node, key, "a table, written [" + std::string(key) + "]");
    return Table(file_, *node->as_table(), "[" + std::string(key) + "]", std::move(known));
  }
  [[nodiscard]] json as_json(const toml::node& node, const std::string& key) const {
    if (const auto* value = node.as_boolean()) return value->get();
    if (const auto* value = node.as_integer()) return value->get();
    if (const auto* value = node.as_string()) return value->get();
    if (const auto* value = node.as_floating_point()) {
      if (!std::isfinite(value->get())) fail_value(node, key, "a finite number");
      return value->get();
    }
    if (const auto* value = node.as_array()) {
      json list = json::array();
      for (const auto& item : *value) list.push_back(as_json(item, key));
      return list;
    }
    if (const auto* value = node.as_table()) {
      json object = json::object();
      for (const auto& [name, item] : *value) {
        object[std::string(name.str())] = as_json(item, key + "." + std::string(name.str()));
      }
      return object;
    }
    fail_value(node, key, "a number, a string, true, false, a list or a table");
  }
  [[nodiscard]] json object(const char* key) const {
    const auto* node = find(key);
    if (node == nullptr) return json::object();
    if (!node->is_table()) fail_value(*node, key, "a table");
    return as_json(*node, key);
  }

 private:
  const fs::path& file_;
  const toml::table& table_;
  std::string name_;
  Words known_;
};

/// Turns a UsageError of another module into one that names the place in the file.
template <typename Check>
void at_place(const Table& table, const char* key, Check&& check) {
  try {
    check();
  } catch (const UsageError& e) {
    table.fail(key, e.what());
  }
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
  });
}

bool is_device(const std::string& device) {
  if (device == "cpu" || device == "cuda") return true;
  const std::string prefix = "cuda:";
  return device.size() > prefix.size() && device.size() <= prefix.size() + 3 && device.rfind(prefix, 0) == 0 &&
         std::all_of(device.begin() + 5, device.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

void read_label(const Table& top, const fs::path& folder, Experiment& experiment) {
  const auto table = top.table("label", {"rule", "threshold", "thresholds"});
  if (!table) return;
  if (experiment.task != "binary") {
    table->fail("[label] goes with task = \"binary\", and this task is \"" + experiment.task + "\"");
  }
  table->read("rule", experiment.label.kind, {"given", "per_drug_median", "per_drug_mean", "fixed", "per_drug_table"});
  table->read("threshold", experiment.label.threshold, -HUGE_VAL);
  table->read("thresholds", experiment.label.thresholds, folder);
  const bool fixed = experiment.label.kind == "fixed";
  if (fixed && !table->has("threshold")) table->fail("rule", "rule = \"fixed\" in [label] needs the key 'threshold'");
  if (!fixed && table->has("threshold")) {
    table->fail("threshold", "key 'threshold' in [label] goes with rule = \"fixed\", and this rule is \"" +
                                 experiment.label.kind + "\"");
  }
  const bool from_table = experiment.label.kind == "per_drug_table";
  if (from_table && !table->has("thresholds")) {
    table->fail("rule",
                "rule = \"per_drug_table\" in [label] needs the key 'thresholds', a CSV file with the columns "
                "drug_id and threshold");
  }
  if (!from_table && table->has("thresholds")) {
    table->fail("thresholds", "key 'thresholds' in [label] goes with rule = \"per_drug_table\", and this rule is \"" +
                                  experiment.label.kind + "\"");
  }
  if (from_table) experiment.label.per_drug = read_thresholds(experiment.label.thresholds);
}

void read_contexts(const Table& table, std::vector<std::string>& contexts) {
  const auto* list = table.list("contexts");
  if (list == nullptr) return;
  if (list->empty()) table.fail("contexts", "key 'contexts' is an empty list, expected at least one context");
  for (const auto& node : *list) contexts.push_back(table.text(node, "contexts"));
}

void read_split_spec(const Table& top, const fs::path& folder, const std::string& task, SplitSpec& spec) {
  const auto table = top.table("split", {"kind", "folds", "repeats", "seed", "source", "target", "inner_group",
                                         "transductive", "singles_seen", "contexts", "references", "file"});
  if (!table) top.fail("the table [split] is missing, expected at least [split] with the key 'kind'");
  if (!table->has("kind")) table->fail("key 'kind' in [split] is missing; known kinds: " + listed(split_kinds()));
  table->read("kind", spec.kind, split_kinds());
  const auto only_with = [&](const char* key, const char* kind) {
    if (table->has(key) && spec.kind != kind) {
      table->fail(key, "key '" + std::string(key) + "' in [split] goes with kind = \"" + kind +
                           "\", and this kind is \"" + spec.kind + "\"");
    }
  };
  only_with("target", "transfer");
  only_with("inner_group", "transfer");
  only_with("transductive", "transfer");
  only_with("file", "file");
  only_with("singles_seen", "unseen_combination");
  if (spec.kind != "file" && is_perturbation_kind(spec.kind) != (task == "expression")) {
    table->fail("kind", "kind = \"" + spec.kind + "\" in [split] divides " +
                            (task == "expression" ? "records, and task = \"expression\" has perturbation profiles"
                                                  : "perturbation profiles, which is task = \"expression\", and this "
                                                    "task is \"" +
                                                        task + "\""));
  }
  if (spec.kind == "file") {
    for (const char* key : {"folds", "repeats", "seed", "source", "contexts"}) {
      if (table->has(key)) {
        table->fail(key,
                    "key '" + std::string(key) + "' in [split] does not go with kind = \"file\": the file says it");
      }
    }
  }
  if (spec.kind == "pairs811") spec.folds = 10;
  table->read_int("folds", spec.folds, 2, 1000);
  table->read_int("repeats", spec.repeats, 1, 1000);
  table->read_int("seed", spec.seed, 0, INT64_MAX);
  table->read("source", spec.source);
  table->read("target", spec.target);
  table->read("inner_group", spec.inner_group, {"sample", "pair"});
  table->read("transductive", spec.transductive);
  table->read_int("singles_seen", spec.singles_seen, -1, 2);
  read_contexts(*table, spec.contexts);
  table->read_int("references", spec.references, 1, kMaxReferences);
  table->read("file", spec.file, folder);
  at_place(*table, "kind", [&] { check_spec(spec); });
}

void read_run(const Table& top, RunLimits& run) {
  const auto table = top.table("run", {"jobs", "threads", "timeout_s", "memory_mb", "device", "save_models"});
  if (!table) return;
  table->read_int("jobs", run.jobs, 0, 100000);
  table->read_int("threads", run.threads, 1, 100000);
  table->read("timeout_s", run.timeout_s, 0.0);
  table->read_int("memory_mb", run.memory_mb, 0, INT64_MAX / (1 << 20));
  table->read("device", run.device);
  if (!is_device(run.device)) {
    table->fail("device", "key 'device' in [run] is the string \"" + run.device + "\", expected cpu, cuda or cuda:N");
  }
  table->read("save_models", run.save_models);
}

void read_models(const fs::path& file, const Table& top, const fs::path& folder, Experiment& experiment) {
  const auto* list = top.list("model");
  if (list == nullptr || list->empty())
    top.fail("there is no model, expected at least one [[model]] with the key 'id'");
  std::set<std::string> names;
  std::size_t number = 0;
  for (const auto& node : *list) {
    if (!node.is_table()) top.fail_value(node, "model", "a table, written [[model]]");
    const Table table(file, *node.as_table(), "[[model]] " + std::to_string(++number),
                      {"id", "name", "params", "assets"});
    ModelRequest request;
    table.read("id", request.id);
    if (request.id.empty()) table.fail("key 'id' in [[model]] " + std::to_string(number) + " is missing");
    request.name = request.id;
    table.read("name", request.name);
    if (request.name.empty()) table.fail("name", "key 'name' in [[model]] " + std::to_string(number) + " is empty");
    if (!names.insert(request.name).second) {
      table.fail(table.has("name") ? "name" : "id",
                 "two models are called '" + request.name + "'; give each its own 'name'");
    }
    request.params = table.object("params");
    request.assets = table.object("assets");
    for (auto& [asset, path] : request.assets.items()) {
      if (!path.is_string()) table.fail("assets", "asset '" + asset + "' is " + path.dump() + ", expected a path");
      path = (folder / path.get<std::string>()).lexically_normal().string();
    }
    experiment.models.push_back(std::move(request));
  }
}

/// A table without them says nothing, so leaving them out is what has to be asked for.
void add_baselines(const Table& top, Experiment& experiment) {
  bool wanted = true;
  top.read("baselines", wanted);
  if (experiment.task != "expression") {
    if (top.has("baselines")) {
      top.fail("baselines", "key 'baselines' goes with task = \"expression\", and this task is \"" + experiment.task +
                                "\", whose baselines are named as [[model]] like any other");
    }
    return;
  }
  if (!wanted) return;
  std::vector<ModelRequest> added;
  for (const std::string id : kPerturbationBaselines) {
    const auto& models = experiment.models;
    if (std::any_of(models.begin(), models.end(), [&](const auto& model) { return model.id == id; })) continue;
    if (std::any_of(models.begin(), models.end(), [&](const auto& model) { return model.name == id; })) {
      top.fail("model", "a model is called '" + id + "', which is the name of a baseline that is always run; " +
                            "give it another 'name', or write baselines = false");
    }
    auto& baseline = added.emplace_back();
    baseline.id = baseline.name = id;
    baseline.added = true;
  }
  experiment.models.insert(experiment.models.begin(), added.begin(), added.end());
}

void read_report(const Table& top, Experiment& experiment) {
  const auto table = top.table("report", {"reference", "metrics"});
  if (!table) return;
  table->read("reference", experiment.reference_model);
  if (table->has("reference")) {
    Words names;
    for (const auto& model : experiment.models) names.push_back(model.name);
    if (!contains(names, experiment.reference_model)) {
      table->fail("reference", "key 'reference' in [report] is '" + experiment.reference_model +
                                   "', and the models are: " + listed(names));
    }
  }
  const Words levels = experiment.task == "expression"
                           ? Words{"condition", "pooled", "singles_seen_0", "singles_seen_1", "singles_seen_2"}
                           : Words{"pooled", "per_drug", "per_sample", "per_tissue"};
  if (const auto* list = table->list("metrics")) {
    for (const auto& node : *list) {
      const auto metric = table->text(node, "metrics");
      const auto colon = metric.find(':');
      if (metric.empty() || (colon != std::string::npos && !contains(levels, metric.substr(0, colon)))) {
        table->fail_value(node, "metrics", "a metric, or level:metric with a level out of " + listed(levels));
      }
      experiment.table_metrics.push_back(metric);
    }
  }
}

void read_seeds(const Table& top, std::vector<std::uint64_t>& seeds) {
  const auto* list = top.list("seeds");
  if (list == nullptr) return;
  seeds.clear();
  for (const auto& node : *list) {
    const auto seed = static_cast<std::uint64_t>(top.integer(node, "seeds", 0, INT64_MAX));
    if (std::find(seeds.begin(), seeds.end(), seed) != seeds.end()) {
      top.fail("seeds", "seed " + std::to_string(seed) + " occurs twice in 'seeds'");
    }
    seeds.push_back(seed);
  }
  if (seeds.empty()) top.fail("seeds", "key 'seeds' is an empty list, expected at least one seed");
}

std::string read_text(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) throw IoError("cannot read " + path.string() + ": it is a folder");
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  if (in) out << in.rdbuf();
  // An empty file sets failbit on `out` only.
  if (!in) throw IoError("cannot read " + path.string() + ": " + std::strerror(errno != 0 ? errno : EIO));
  return out.str();
}

/// Relative to the folder of the experiment where it lies beside or below it, so that the identity of an experiment
/// does not depend on where it was copied to.
std::string portable(const fs::path& path, const fs::path& folder) {
  const auto relative = path.lexically_relative(folder);
  return relative.empty() || *relative.begin() == ".." ? path.generic_string() : relative.generic_string();
}

}  // namespace

Experiment load_experiment(const fs::path& path) {
  const auto text = read_text(path);
  toml::table root;
  try {
    root = toml::parse(text, path.string());
  } catch (const toml::parse_error& e) {
    fail(path, e.source(), std::string(e.description()));
  }

  Experiment experiment;
  experiment.path = fs::absolute(path).lexically_normal();
  const auto folder = experiment.path.parent_path();
  const Table top(path, root, "the top level",
                  {"name", "dataset", "task", "seeds", "shuffle_labels", "refit", "store", "baselines", "label",
                   "split", "run", "report", "model"});

  experiment.name = experiment.path.stem().string();
  top.read("name", experiment.name);
  if (!is_plain_name(experiment.name)) {
    top.fail("name", "key 'name' is '" + experiment.name + "', expected letters, digits, '_', '-' and '.'");
  }
  if (!top.has("dataset")) top.fail("key 'dataset' is missing, expected the path of a data set (cdrzoo data --help)");
  top.read("dataset", experiment.dataset, folder);
  top.read("task", experiment.task, {"regression", "binary", "expression"});
  read_seeds(top, experiment.seeds);
  top.read("shuffle_labels", experiment.shuffle_labels);
  top.read("refit", experiment.refit, {"train", "train+val"});
  experiment.store = folder / (experiment.name + ".store");
  top.read("store", experiment.store, folder);
  read_label(top, folder, experiment);
  read_split_spec(top, folder, experiment.task, experiment.split);
  read_run(top, experiment.run);
  read_models(path, top, folder, experiment);
  add_baselines(top, experiment);
  read_report(top, experiment);
  return experiment;
}

json Experiment::to_json() const {
  const auto folder = path.parent_path();
  json split_json = {{"kind", split.kind}};
  if (split.kind == "file") {
    split_json["file"] = portable(split.file, folder);
    if (split.references > 0) split_json["references"] = split.references;
  } else {
    split_json["folds"] = split.folds;
    split_json["repeats"] = split.repeats;
    split_json["seed"] = split.seed;
    split_json["source"] = split.source;
  }
  if (split.kind == "transfer") {
    split_json["target"] = split.target;
    split_json["inner_group"] = split.inner_group;
    split_json["transductive"] = split.transductive;
  }
  if (split.kind == "unseen_combination") split_json["singles_seen"] = split.singles_seen;
  if (is_perturbation_kind(split.kind)) {
    split_json["contexts"] = split.contexts;
    split_json["references"] = split.references;
  }
  json model_list = json::array();
  for (const auto& model : models) {
    json assets = json::object();
    for (const auto& [asset, file] : model.assets.items()) assets[asset] = portable(file.get<std::string>(), folder);
    model_list.push_back({{"id", model.id}, {"name", model.name}, {"params", model.params}, {"assets", assets}});
  }
  json all = {
      {"name", name},
      {"dataset", portable(dataset, folder)},
      {"task", task},
      {"seeds", seeds},
      {"shuffle_labels", shuffle_labels},
      {"refit", refit},
      {"store", portable(store, folder)},
      {"split", split_json},
      {"run",
       {{"jobs", run.jobs},
        {"threads", run.threads},
        {"timeout_s", run.timeout_s},
        {"memory_mb", run.memory_mb},
        {"device", run.device},
        {"save_models", run.save_models}}},
      {"report", {{"reference", reference_model}, {"metrics", table_metrics}}},
      {"model", model_list},
  };
  if (task == "binary") {
    all["label"] = {{"rule", label.kind}};
    if (label.kind == "fixed") all["label"]["threshold"] = label.threshold;
    if (label.kind == "per_drug_table") all["label"]["thresholds"] = portable(label.thresholds, folder);
  }
  return all;
}

}  // namespace cdrzoo
