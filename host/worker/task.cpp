// SPDX-License-Identifier: Apache-2.0
#include "worker/task.hpp"

#include <cdrzoo/plugin.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.hpp"
#include "run/bundle_format.hpp"

namespace cdrzoo::worker {
namespace {

using nlohmann::json;

std::int32_t task_code(const std::string& name) {
  if (name == "regression") return CDRZOO_TASK_REGRESSION;
  if (name == "binary") return CDRZOO_TASK_BINARY;
  if (name == "expression") return CDRZOO_TASK_EXPRESSION;
  if (name == "expression_change") return CDRZOO_TASK_EXPRESSION_CHANGE;
  throw DataError("unknown task \"" + name + "\" (known: regression, binary, expression, expression_change)");
}

void read_device(const std::string& text, Task& task) {
  const auto colon = text.find(':');
  const auto kind = text.substr(0, colon);
  if (kind == "cpu") {
    task.device_kind = CDRZOO_DEVICE_CPU;
  } else if (kind == "cuda") {
    task.device_kind = CDRZOO_DEVICE_CUDA;
  } else {
    throw DataError("unknown device \"" + text + "\" (known: cpu, cuda, cuda:N)");
  }
  if (colon == std::string::npos) return;
  try {
    task.device_index = std::stoi(text.substr(colon + 1));
  } catch (const std::exception&) {
    throw DataError("device \"" + text + "\" has no number after the colon");
  }
}

Param read_param(const json& entry) {
  const auto type = entry.at("type").get<std::string>();
  const auto& value = entry.at("value");
  Param param;
  param.key = entry.at("key").get<std::string>();
  if (type == "bool") {
    param.value = value.get<bool>();
  } else if (type == "int") {
    param.value = value.get<std::int64_t>();
  } else if (type == "real") {
    param.value = value.get<double>();
  } else if (type == "str") {
    param.value = value.get<std::string>();
  } else if (type == "int_list") {
    param.value = value.get<std::vector<std::int64_t>>();
  } else if (type == "real_list") {
    param.value = value.get<std::vector<double>>();
  } else {
    throw DataError("parameter \"" + param.key + "\" has the unknown type \"" + type + "\"");
  }
  return param;
}

Task parse(const json& document, const std::filesystem::path& folder) {
  const auto format = document.at("format").get<std::string>();
  const auto version = document.at("version").get<std::int64_t>();
  if (format != bundle::kTaskFormat || version != bundle::kVersion) {
    throw DataError("it is \"" + format + "\" version " + std::to_string(version) + ", expected \"" +
                    bundle::kTaskFormat + "\" version " + std::to_string(bundle::kVersion));
  }
  Task task;
  task.key = document.at("key").get<std::string>();
  task.plugin = folder / document.at("plugin").get<std::string>();
  task.plugin_hash = document.at("plugin_hash").get<std::string>();
  task.model = document.at("model").get<std::string>();
  for (const auto& entry : document.at("params")) task.params.push_back(read_param(entry));
  const auto& problem = document.at("problem");
  task.task_name = problem.at("task").get<std::string>();
  task.task = task_code(task.task_name);
  task.n_targets = problem.at("n_targets").get<std::int32_t>();
  if (task.n_targets < 1) throw DataError("n_targets is " + std::to_string(task.n_targets) + ", expected at least 1");
  task.target_unit = problem.at("target_unit").get<std::string>();
  task.entities = (folder / document.at("entities").get<std::string>()).lexically_normal();
  task.views = (folder / document.at("views").get<std::string>()).lexically_normal();
  if (document.contains("targets"))
    task.targets = (folder / document.at("targets").get<std::string>()).lexically_normal();
  task.sample_blocks = document.at("sample_blocks").get<std::vector<std::string>>();
  task.drug_blocks = document.at("drug_blocks").get<std::vector<std::string>>();
  task.columns = document.at("columns").get<std::vector<std::string>>();
  task.feature_names = document.at("feature_names").get<bool>();
  task.seed = document.at("seed").get<std::uint64_t>();
  task.threads = document.at("threads").get<std::int32_t>();
  if (task.threads < 1) throw DataError("threads is " + std::to_string(task.threads) + ", expected at least 1");
  read_device(document.at("device").get<std::string>(), task);
  task.deadline_s = document.at("deadline_s").get<double>();
  task.memory_mb = document.at("memory_mb").get<std::int64_t>();
  task.determinism = document.at("determinism").get<bool>();
  task.predict_rows = document.value("predict_rows", std::int64_t{0});
  if (task.predict_rows < 0)
    throw DataError("predict_rows is " + std::to_string(task.predict_rows) + ", expected at least 0");
  for (const auto& [id, asset] : document.at("assets").items())
    task.assets[id] = folder / asset.at("path").get<std::string>();
  task.save_model = document.at("output").at("save_model").get<bool>();
  return task;
}

}  // namespace

Task Task::read(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw IoError("cannot open " + file.string() + ": " + std::strerror(errno));
  std::ostringstream text;
  text << stream.rdbuf();
  const auto where = std::filesystem::absolute(file).lexically_normal();
  try {
    auto task = parse(json::parse(text.str()), where.parent_path());
    task.file = where;
    return task;
  } catch (const json::exception& e) {
    throw DataError(file.string() + " is not a task file: " + words_of(e));
  } catch (const DataError& e) {
    throw DataError(file.string() + " cannot be used: " + e.what());
  }
}

AbiParams::AbiParams(const std::vector<Param>& params) {
  values_.reserve(params.size());
  for (const auto& param : params) {
    cdrzoo_value value = {};
    value.size = sizeof(cdrzoo_value);
    value.key = abi_str(param.key);
    if (const auto* flag = std::get_if<bool>(&param.value)) {
      value.type = CDRZOO_VALUE_BOOL;
      value.i = *flag ? 1 : 0;
    } else if (const auto* integer = std::get_if<std::int64_t>(&param.value)) {
      value.type = CDRZOO_VALUE_INT;
      value.i = *integer;
    } else if (const auto* real = std::get_if<double>(&param.value)) {
      value.type = CDRZOO_VALUE_REAL;
      value.f = *real;
    } else if (const auto* text = std::get_if<std::string>(&param.value)) {
      value.type = CDRZOO_VALUE_STR;
      value.s = abi_str(*text);
    } else if (const auto* ints = std::get_if<std::vector<std::int64_t>>(&param.value)) {
      value.type = CDRZOO_VALUE_INTS;
      value.list = {ints->data(), ints->size(), sizeof(std::int64_t), 0};
    } else if (const auto* reals = std::get_if<std::vector<double>>(&param.value)) {
      value.type = CDRZOO_VALUE_REALS;
      value.list = {reals->data(), reals->size(), sizeof(double), 0};
    }
    values_.push_back(value);
  }
}

}  // namespace cdrzoo::worker
