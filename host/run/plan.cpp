// SPDX-License-Identifier: Apache-2.0
#include "run/plan.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/random.hpp"
#include "run/features.hpp"
#include "run/fitting.hpp"
#include "run/profiles.hpp"
#include "run/references.hpp"

namespace cdrzoo {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::string join(const std::set<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

/// "cuda:1" -> "cuda": two cards of one machine do the same experiment.
std::string device_class(const std::string& device) { return device.substr(0, device.find(':')); }

bool derives_labels(const Experiment& experiment) {
  return experiment.task == "binary" && experiment.label.kind != "given";
}

// ---- can this model run here? ----

void check_blocks(const std::string& model, const std::string& what, const std::vector<std::string>& needed,
                  const std::set<std::string>& present, const std::string& dataset) {
  const auto absent =
      std::find_if(needed.begin(), needed.end(), [&](const auto& name) { return present.count(name) == 0; });
  if (absent == needed.end()) return;
  throw UsageError("model " + model + " needs the " + what + " block \"" + *absent + "\", which data set " + dataset +
                   " does not have (it has: " + join(present) + ")");
}

/// Sample blocks that the task can hand over.
std::set<std::string> sample_blocks_of(const Experiment& experiment, const Dataset& dataset) {
  if (experiment.task != "expression") return block_names(dataset.samples.blocks);
  std::set<std::string> names;
  for (const auto& block : dataset.samples.blocks)
    if (is_block_of_profiles(block)) names.insert(block.name);
  return names;
}

void check_runnable(const Card& card, const Experiment& experiment, const Dataset& dataset, const Split& split) {
  if (std::find(card.tasks.begin(), card.tasks.end(), experiment.task) == card.tasks.end()) {
    throw UsageError("model " + card.id + " cannot do task \"" + experiment.task +
                     "\"; its card says: " + join({card.tasks.begin(), card.tasks.end()}));
  }
  check_blocks(card.id, "sample", card.sample_blocks, sample_blocks_of(experiment, dataset), dataset.name);
  check_blocks(card.id, "drug", card.drug_blocks, block_names(dataset.drugs.blocks), dataset.name);
  if (card.unlabelled_target == "required") {
    for (const auto& fold : split.folds) {
      if (!fold.unlabelled_samples.empty()) continue;
      throw UsageError("model " + card.id + " needs unlabelled samples of a target domain, and fold " +
                       std::to_string(fold.fold) + " of split \"" + split.spec.kind +
                       "\" has none; use split kind \"transfer\"");
    }
  }
}

/// The experiment's device, or the CPU where the model knows no other: baselines run beside models that need a GPU.
std::string device_of(const Card& card, const Experiment& experiment) {
  const auto can = [&](const std::string& device) {
    return std::find(card.devices.begin(), card.devices.end(), device) != card.devices.end();
  };
  if (can(device_class(experiment.run.device))) return experiment.run.device;
  if (can("cpu")) return "cpu";
  throw UsageError("model " + card.id + " cannot run on device \"" + experiment.run.device +
                   "\"; its card says: " + join({card.devices.begin(), card.devices.end()}));
}

std::vector<AssetFile> resolve_assets(const Card& card, const ModelRequest& request, const Experiment& experiment) {
  std::vector<AssetFile> files;
  std::set<std::string> known;
  for (const auto& asset : card.assets) {
    known.insert(asset.id);
    const auto given = request.assets.find(asset.id);
    if (given == request.assets.end()) {
      if (asset.required) {
        throw UsageError("model " + card.id + " needs the asset \"" + asset.id + "\"; give its path as assets = { \"" +
                         asset.id + "\" = \"FILE\" } of the model");
      }
      continue;
    }
    std::filesystem::path path = given->get<std::string>();
    if (path.is_relative()) path = experiment.path.parent_path() / path;
    path = std::filesystem::absolute(path).lexically_normal();
    auto sha256 = sha256_file_hex(path);
    if (!asset.sha256.empty() && asset.sha256 != sha256) {
      throw UsageError("asset \"" + asset.id + "\" of model " + card.id + ", " + path.string() + ", has SHA-256 " +
                       sha256 + ", and the card expects " + asset.sha256);
    }
    files.push_back({asset.id, path, std::move(sha256)});
  }
  for (const auto& [id, path] : request.assets.items()) {
    if (known.count(id) == 0)
      throw UsageError("model " + card.id + " has no asset \"" + id + "\" (it has: " + join(known) + ")");
  }
  return files;
}

// ---- keys ----

/// Of what the table says, not of how its file is written.
std::string thresholds_hash(const LabelRule& rule) { return sha256_hex(nlohmann::json(rule.per_drug).dump()); }

nlohmann::json label_inputs(const Experiment& experiment) {
  if (experiment.task != "binary") return nullptr;
  nlohmann::json label = {{"rule", experiment.label.kind}};
  if (experiment.label.kind == "fixed") label["threshold"] = experiment.label.threshold;
  if (experiment.label.kind == "per_drug_table") label["thresholds"] = thresholds_hash(experiment.label);
  return label;
}

nlohmann::json shared_inputs(const Experiment& experiment, const Dataset& dataset, const Split& split) {
  nlohmann::json inputs = {{"protocol", kProtocolVersion},
                           {"data", dataset.file_hash()},
                           {"split", split.hash},
                           {"task", experiment.task},
                           {"label", label_inputs(experiment)},
                           {"shuffle_labels", experiment.shuffle_labels},
                           {"refit", experiment.refit}};
  if (experiment.task == "expression") {
    const auto& profiles = *dataset.perturbations;
    inputs["profiles"] = {{"level", profiles.size() == profiles.conditions ? "condition" : "cell"},
                          {"references", references_per_row(dataset, split.spec)}};
  }
  return inputs;
}

void add_model_inputs(nlohmann::json& inputs, const CellPlan& cell) {
  inputs["device"] = device_class(cell.device);
  inputs["plugin"] = cell.model->plugin_hash;
  inputs["model"] = cell.model->card.id;
  inputs["card"] = sha256_hex(cell.model->card.json.dump());
  inputs["params"] = to_json(cell.params);
  inputs["assets"] = nlohmann::json::object();
  for (const auto& asset : cell.assets) inputs["assets"][asset.id] = asset.sha256;
}

/// nlohmann::json keeps object keys sorted and prints numbers the same way everywhere: its dump is canonical.
std::string key_of(const nlohmann::json& inputs) { return sha256_hex(inputs.dump()); }

// ---- label rules ----

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return values.empty() ? kNaN : sum / static_cast<double>(values.size());
}

double median(std::vector<double> values) {
  if (values.empty()) return kNaN;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*std::max_element(values.begin(), middle) + *middle) / 2;
}

void fit_thresholds(const LabelRule& rule, const Dataset& dataset, const Fold& fold, Targets& targets) {
  const auto n_drugs = dataset.drugs.id.size();
  if (rule.kind == "fixed") {
    targets.fallback_threshold = rule.threshold;
    targets.threshold_per_drug.assign(n_drugs, rule.threshold);
    return;
  }
  if (rule.kind == "per_drug_table") {
    targets.fallback_threshold = kNaN;
    targets.threshold_per_drug = table_thresholds(rule, dataset);
    return;
  }
  if (rule.kind != "per_drug_median" && rule.kind != "per_drug_mean") {
    throw UsageError("unknown label rule \"" + rule.kind +
                     "\" (known: given, per_drug_median, per_drug_mean, fixed, per_drug_table)");
  }
  const auto& responses = dataset.responses;
  std::vector<std::vector<double>> per_drug(n_drugs);
  std::vector<double> all;
  for (const auto row : fold.train) {
    const auto r = static_cast<std::size_t>(row);
    if (!std::isfinite(responses.value[r])) continue;
    per_drug[static_cast<std::size_t>(responses.drug[r])].push_back(responses.value[r]);
    all.push_back(responses.value[r]);
  }
  const auto statistic = [&](std::vector<double> v) {
    return rule.kind == "per_drug_median" ? median(std::move(v)) : mean(v);
  };
  targets.fallback_threshold = statistic(all);
  targets.threshold_per_drug.reserve(n_drugs);
  for (auto& values : per_drug) {
    targets.threshold_per_drug.push_back(values.empty() ? targets.fallback_threshold : statistic(std::move(values)));
  }
}

/// Moves y[rows[i]] to y[rows[p(i)]].
void permute(std::vector<double>& y, const std::vector<std::int32_t>& rows, std::uint64_t seed) {
  const auto order = random_permutation(rows.size(), seed);
  std::vector<double> moved(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i)
    moved[i] = y[static_cast<std::size_t>(rows[static_cast<std::size_t>(order[i])])];
  for (std::size_t i = 0; i < rows.size(); ++i) y[static_cast<std::size_t>(rows[i])] = moved[i];
}

}  // namespace

Plan make_plan(const Experiment& experiment, const Dataset& dataset, const Split& split, const Registry& registry) {
  Plan plan;
  plan.experiment = &experiment;
  plan.dataset = &dataset;
  plan.split = &split;
  if (experiment.models.empty()) throw UsageError("the experiment has no [[model]]");
  if (experiment.seeds.empty()) throw UsageError("the experiment has no seeds");
  if (std::set<std::uint64_t>(experiment.seeds.begin(), experiment.seeds.end()).size() != experiment.seeds.size())
    throw UsageError("the experiment names a seed twice");
  if (split.folds.empty()) throw UsageError("the split has no folds");

  check_fit_source(dataset, split.spec.source);

  std::optional<ProfileDemands> demands;
  std::vector<CellPlan> models;
  std::set<std::string> names;
  std::map<std::string, std::string> same;  // model inputs -> name
  const auto resolved = [&](const ModelRequest& request) {
    CellPlan cell;
    cell.model = &registry.find(request.id);
    cell.request = request;
    if (cell.request.name.empty()) cell.request.name = request.id;
    check_runnable(cell.model->card, experiment, dataset, split);
    if (!demands) {  // the same for all models; what a model can do at all comes first
      check_profiles(experiment, dataset, split);
      demands = split.of_perturbations ? profile_demands(dataset, split) : ProfileDemands{};
    }
    check_profile_card(cell.model->card, dataset, *demands);
    cell.device = device_of(cell.model->card, experiment);
    cell.params = cell.model->card.resolve(request.params);
    cell.assets = resolve_assets(cell.model->card, request, experiment);
    return cell;
  };
  for (const auto& request : experiment.models) {
    CellPlan cell;
    try {
      cell = resolved(request);
    } catch (const UsageError& e) {
      if (!request.added) throw;
      plan.left_out.push_back("the baseline " + request.id + " is left out: " + e.what());
      continue;
    }
    if (!names.insert(cell.request.name).second) {
      throw UsageError("two models are called \"" + cell.request.name + "\"; give each its own name = \"...\"");
    }
    nlohmann::json inputs;
    add_model_inputs(inputs, cell);
    const auto [twin, added] = same.emplace(inputs.dump(), cell.request.name);
    if (!added) {
      throw UsageError("models \"" + twin->second + "\" and \"" + cell.request.name +
                       "\" are the same model with the same parameters");
    }
    models.push_back(std::move(cell));
  }

  const auto shared = shared_inputs(experiment, dataset, split);
  Sha256 run;
  run.update(experiment.to_json().dump());
  for (const auto& fold : split.folds) {
    for (std::size_t s = 0; s < experiment.seeds.size(); ++s) {
      for (const auto& model : models) {
        if (s > 0 && !model.model->card.stochastic) continue;
        CellPlan cell = model;
        cell.repeat = fold.repeat;
        cell.fold = fold.fold;
        cell.seed = experiment.seeds[s];
        cell.key_inputs = shared;
        add_model_inputs(cell.key_inputs, cell);
        cell.key_inputs["repeat"] = cell.repeat;
        cell.key_inputs["fold"] = cell.fold;
        cell.key_inputs["seed"] = cell.seed;
        cell.key = key_of(cell.key_inputs);
        run.update(cell.key);
        plan.cells.push_back(std::move(cell));
      }
    }
  }
  plan.run_id = run.hex();
  return plan;
}

Targets make_targets(const Experiment& experiment, const Dataset& dataset, const Fold& fold) {
  const auto& responses = dataset.responses;
  const auto n = static_cast<std::size_t>(responses.size());
  Targets targets;
  targets.y.assign(n, kNaN);
  targets.fallback_threshold = kNaN;
  if (experiment.task == "regression") {
    for (std::size_t r = 0; r < n; ++r)
      if (std::isfinite(responses.value[r])) targets.y[r] = responses.value[r];
    return targets;
  }
  if (experiment.task != "binary") throw UsageError("unknown task \"" + experiment.task + "\"");
  if (derives_labels(experiment)) fit_thresholds(experiment.label, dataset, fold, targets);
  for (std::size_t r = 0; r < n; ++r) {
    if (derives_labels(experiment) && std::isfinite(responses.value[r])) {
      const double threshold = targets.threshold_per_drug[static_cast<std::size_t>(responses.drug[r])];
      if (std::isfinite(threshold)) targets.y[r] = responses.value[r] < threshold ? 1.0 : 0.0;
    } else if (responses.label[r] >= 0) {
      targets.y[r] = responses.label[r];
    }
  }
  return targets;
}

std::vector<double> table_thresholds(const LabelRule& rule, const Dataset& dataset) {
  std::vector<double> thresholds;
  thresholds.reserve(dataset.drugs.id.size());
  bool any = false;
  for (const auto& drug : dataset.drugs.id) {
    const auto found = rule.per_drug.find(drug);
    any = any || found != rule.per_drug.end();
    thresholds.push_back(found == rule.per_drug.end() ? kNaN : found->second);
  }
  if (!any) {
    throw UsageError("the label rule per_drug_table has no threshold for any of the " +
                     std::to_string(thresholds.size()) + " drugs of data set " + dataset.name + " (" +
                     (rule.thresholds.empty() ? "an experiment file names the table" : rule.thresholds.string()) + ")");
  }
  return thresholds;
}

nlohmann::json describe_label_rule(const LabelRule& rule, const Dataset& dataset) {
  nlohmann::json words = {{"kind", rule.kind}, {"threshold", rule.threshold}};
  if (rule.kind == "per_drug_table") {
    const auto thresholds = table_thresholds(rule, dataset);
    std::set<std::int32_t> without;  // measured drugs
    for (std::size_t r = 0; r < dataset.responses.drug.size(); ++r) {
      const auto drug = dataset.responses.drug[r];
      if (std::isfinite(dataset.responses.value[r]) && std::isnan(thresholds[static_cast<std::size_t>(drug)]))
        without.insert(drug);
    }
    words["thresholds"] = thresholds_hash(rule);
    words["drugs_without_threshold"] = without.size();
  }
  return words;
}

std::vector<std::int32_t> usable_rows(const Experiment& experiment, const Dataset& dataset) {
  if (experiment.task == "expression") {
    std::vector<std::int32_t> profiles(
        static_cast<std::size_t>(dataset.perturbations ? dataset.perturbations->size() : 0));
    std::iota(profiles.begin(), profiles.end(), 0);
    return profiles;
  }
  const auto& responses = dataset.responses;
  const bool from_table = experiment.task == "binary" && experiment.label.kind == "per_drug_table";
  const auto thresholds = from_table ? table_thresholds(experiment.label, dataset) : std::vector<double>();
  std::vector<std::int32_t> rows;
  for (std::size_t r = 0; r < static_cast<std::size_t>(responses.size()); ++r) {
    const bool has_value = std::isfinite(responses.value[r]);
    const bool has_label = responses.label[r] >= 0;
    const bool usable = experiment.task == "regression" ? has_value
                        : !derives_labels(experiment)   ? has_label
                        : has_value
                            ? !from_table || !std::isnan(thresholds[static_cast<std::size_t>(responses.drug[r])])
                            : has_label;
    if (usable) rows.push_back(static_cast<std::int32_t>(r));
  }
  return rows;
}

std::vector<double> shown_targets(const Experiment& experiment, const Split& split, const Fold& fold,
                                  const Targets& targets) {
  auto y = targets.y;
  if (!experiment.shuffle_labels) return y;
  const auto name = "shuffle/" + std::to_string(fold.repeat) + "/" + std::to_string(fold.fold);
  permute(y, fold.train, derive_seed(split.spec.seed, name + "/train"));
  // Rows outside of `train` that some model is shown: for early stopping, or by refit = "train+val".
  std::vector<std::int32_t> others, rest;
  std::set_union(fold.early_stop.begin(), fold.early_stop.end(), fold.validation.begin(), fold.validation.end(),
                 std::back_inserter(others));
  std::set_difference(others.begin(), others.end(), fold.train.begin(), fold.train.end(), std::back_inserter(rest));
  permute(y, rest, derive_seed(split.spec.seed, name + "/rest"));
  permute(y, fold.references, derive_seed(split.spec.seed, name + "/references"));
  return y;
}

std::uint64_t operation_seed(const CellPlan& cell) {
  return derive_seed(cell.seed, "repeat/" + std::to_string(cell.repeat) + "/fold/" + std::to_string(cell.fold));
}

}  // namespace cdrzoo
