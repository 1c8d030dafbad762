// SPDX-License-Identifier: Apache-2.0
// One benchmark, end to end. Start reading here: each line of run_experiment() is one module of the host.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <set>

#include "app/command_line.hpp"
#include "app/commands.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "config/experiment.hpp"
#include "data/dataset.hpp"
#include "plugin/registry.hpp"
#include "report/report.hpp"
#include "run/plan.hpp"
#include "run/runner.hpp"
#include "split/split.hpp"
#include "store/store.hpp"

namespace cdrzoo::app {
namespace {

const Usage kUsage = {
    "cdrzoo bench EXPERIMENT.toml [--dry-run] [--store DIR] [--jobs N] [--threads N] [--only FILTER]...",
    "Trains and tests the models of an experiment file, each cell (model x fold x seed) in a process of its own, under "
    "shared splits and metrics, and prints one table. Finished cells are in the store and are not run again.",
    "  cdrzoo bench share/experiments/demo.toml             run, or go on where it stopped\n"
    "  cdrzoo bench demo.toml --dry-run                     what would run, and what is there already\n"
    "  cdrzoo bench demo.toml --only model=baseline.ridge --only fold=2\n"
    "  cdrzoo bench demo.toml --only 3fa9 --keep-bundles    one cell alone, its input kept for a debugger\n"};

void print_plan(const Plan& plan, const Store& store) {
  std::map<std::string, std::pair<int, int>> per_model;  // cells, of which stored
  for (const auto& cell : plan.cells) {
    auto& [cells, stored] = per_model[cell.request.name];
    ++cells;
    stored += store.has(cell.key) ? 1 : 0;
  }
  const auto rows = plan.split->of_perturbations
                        ? fmt::format("{} perturbation profiles", plan.dataset->perturbations->size())
                        : fmt::format("{} records", plan.dataset->responses.size());
  std::cout << fmt::format("experiment {} ({}), data set {} ({}), split {} with {} folds, store {}\n",
                           plan.experiment->name, plan.experiment->task, plan.dataset->name, rows,
                           plan.split->spec.kind, plan.split->folds.size(), store.root().string());
  for (const auto& [model, counts] : per_model) {
    std::cout << fmt::format("  {:<32} {:>4} cells, {:>4} finished\n", model, counts.first, counts.second);
  }
  for (const auto& cell : plan.cells) {
    std::cout << fmt::format("  {} {} repeat {} fold {} seed {}{}\n", cell.key.substr(0, 12), cell.request.name,
                             cell.repeat, cell.fold, cell.seed, store.has(cell.key) ? " (finished)" : "");
  }
}

struct BenchOptions {
  bool dry_run = false;
  RunOptions run;
};

/// Judged before anything is trained: a mistyped metric must not cost a night.
ReportOptions report_options(const Plan& plan) {
  const auto& experiment = *plan.experiment;
  ReportOptions report;
  report.title = experiment.name;
  report.metrics = experiment.table_metrics;
  report.reference_model = experiment.reference_model;
  report.color = use_color();
  std::set<std::string> models;
  for (const auto& cell : plan.cells) models.insert({cell.request.id, cell.request.name});
  check_report_options(report, experiment.task, {models.begin(), models.end()});
  return report;
}

int run_experiment(const Experiment& experiment, const BenchOptions& options) {
  const auto dataset = Dataset::open(experiment.dataset);
  const auto split = make_split(dataset, experiment.split, usable_rows(experiment, dataset));
  assert_disjoint(dataset, split);
  const auto registry = scan_plugins(plugin_search_path());
  const auto plan = make_plan(experiment, dataset, split, registry);
  for (const auto& sentence : plan.left_out) log::warn(sentence);
  auto report = report_options(plan);
  auto store = Store::open(experiment.store);
  if (options.dry_run) {
    print_plan(plan, store);
    return kExitOk;
  }

  std::vector<std::string> keys;
  keys.reserve(plan.cells.size());
  for (const auto& cell : plan.cells) keys.push_back(cell.key);
  store.write_run(plan.run_id, experiment.to_json(), keys);
  const auto summary = run_plan(plan, store, options.run);

  keys.erase(std::remove_if(keys.begin(), keys.end(), [&](const auto& key) { return !store.has(key); }), keys.end());
  report.unfinished = keys.size() < plan.cells.size();
  const auto rows = compute_results(store, keys, plan.run_id);
  write_results_csv(rows, store.root() / "results.csv");
  std::vector<Record> records;
  records.reserve(keys.size());
  for (const auto& key : keys) records.push_back(store.record(key));
  std::cout << render_table(rows, records, report);
  std::cout << fmt::format("{} cells: {} run, {} reused, {} failed; all results in {}\n", summary.total, summary.ok,
                           summary.reused, summary.failed, (store.root() / "results.csv").string());
  if (summary.interrupted) std::cout << "interrupted: the same command goes on with what is missing\n";
  return summary.failed > 0 || summary.interrupted ? kExitFailed : kExitOk;
}

}  // namespace

int cmd_bench(const Words& words) {
  BenchOptions options;
  po::options_description described("options");
  described.add_options()("dry-run,n", po::bool_switch(&options.dry_run), "say what would run, and stop")(
      "store", po::value<std::string>(), "folder of the results (default: as the experiment says)")(
      "jobs,j", po::value<int>(), "workers at a time")("threads,t", po::value<int>(), "threads of each worker")(
      "only", po::value(&options.run.only)->composing(),
      "run only these cells: the start of a key, model=NAME, fold=N or seed=N; may be repeated")(
      "retry-failed", po::bool_switch(&options.run.retry_failed), "run cells again that are stored as failed")(
      "keep-bundles", po::bool_switch(&options.run.keep_bundles), "leave the workers' input in the store")(
      "progress", po::value(&options.run.progress)->default_value("auto"), "auto, bar, lines or none");
  const auto values = parse(words, kUsage, described, "EXPERIMENT.toml");
  if (!values) return kExitOk;

  auto experiment = load_experiment(single(*values, "EXPERIMENT.toml", kUsage));
  if (values->count("store") != 0) experiment.store = (*values)["store"].as<std::string>();
  if (values->count("jobs") != 0) experiment.run.jobs = (*values)["jobs"].as<int>();
  if (values->count("threads") != 0) experiment.run.threads = (*values)["threads"].as<int>();
  if (experiment.run.jobs < 0) throw UsageError("--jobs expects 0 (as many as fit) or more");
  if (experiment.run.threads < 1) throw UsageError("--threads expects 1 or more");
  return run_experiment(experiment, options);
}

}  // namespace cdrzoo::app
