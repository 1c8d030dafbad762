// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "app/command_line.hpp"
#include "app/commands.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "report/report.hpp"
#include "store/store.hpp"

namespace cdrzoo::app {

namespace {

const Usage kUsage = {
    "cdrzoo report STORE [--run ID | --all] [options]",
    "Prints the table of a run from the cells in its store: mean (sd) over folds, the best marked, significance, what "
    "failed and what is known against the data. Computes everything from the predictions; trains nothing.",
    "  cdrzoo report demo.store                              the latest run\n"
    "  cdrzoo report demo.store --all                        every cell, one table per data set, task and split\n"
    "  cdrzoo report demo.store --metrics auroc,per_drug:auroc,accuracy@0.5 --reference baseline.drug_mean\n"
    "  cdrzoo report demo.store --format markdown --out table.md\n"
    "  cdrzoo report demo.store --results results.csv        all numbers in long form, failures included\n"};

std::vector<std::string> split_list(const std::vector<std::string>& given) {
  std::vector<std::string> items;
  for (const std::string& text : given) {
    std::size_t begin = 0;
    while (begin <= text.size()) {
      const std::size_t comma = std::min(text.find(',', begin), text.size());
      if (comma > begin) items.push_back(text.substr(begin, comma - begin));
      begin = comma + 1;
    }
  }
  return items;
}

/// The run that \p wanted names by its id, the start of its id, or the name of its experiment; "" = the latest.
const Store::Run& find_run(const std::vector<Store::Run>& runs, const std::string& wanted, const Store& store) {
  if (wanted.empty()) return runs.back();
  const Store::Run* found = nullptr;
  for (const Store::Run& run : runs) {
    if (run.id == wanted) return run;
    if (run.id.rfind(wanted, 0) != 0 && run.experiment.value("name", std::string()) != wanted) continue;
    if (found != nullptr) {
      throw UsageError("more than one run of " + store.root().string() + " is meant by \"" + wanted +
                       "\": " + found->id + " and " + run.id);
    }
    found = &run;
  }
  if (found != nullptr) return *found;
  std::string list;
  for (const Store::Run& run : runs) list += (list.empty() ? "" : ", ") + run.id;
  throw UsageError("no run \"" + wanted + "\" in " + store.root().string() + "; there are: " + list);
}

}  // namespace

int cmd_report(const Words& words) {
  po::options_description options("options");
  options.add_options()("run", po::value<std::string>(), "id of a run, the start of one, or the experiment's name")(
      "all", po::bool_switch(), "all cells of the store")("format", po::value<std::string>()->default_value("text"),
                                                          "text, markdown or csv")(
      "metrics", po::value<std::vector<std::string>>()->composing(),
      "comma-separated: auroc (pooled), per_drug:pearson, per_sample:..., per_tissue:...")(
      "reference", po::value<std::string>(),
      "model to test against, or best_naive; default: the experiment's, else the best")(
      "out", po::value<std::string>(), "write the table here instead of to the terminal")(
      "results", po::value<std::string>(), "also write all results in long form (CSV)");
  const auto values = parse(words, kUsage, options, "store");
  if (!values) return kExitOk;
  if (values->count("run") != 0 && (*values)["all"].as<bool>()) {
    throw UsageError("--run and --all exclude each other; usage: " + kUsage.synopsis);
  }

  const Store store = Store::open_read_only(single(*values, "store", kUsage));
  ReportOptions report;
  report.format = (*values)["format"].as<std::string>();
  std::vector<std::string> keys;
  std::string run_id, task;
  std::vector<std::string> models;  // names and ids of the run's
  const std::vector<Store::Run> runs = store.runs();
  const std::string wanted = values->count("run") != 0 ? (*values)["run"].as<std::string>() : "";
  if ((*values)["all"].as<bool>() || (runs.empty() && wanted.empty())) {
    keys = store.keys();
  } else if (runs.empty()) {
    throw UsageError("no run \"" + wanted + "\" in " + store.root().string() + ": it has no runs, only cells (--all)");
  } else {
    const Store::Run& run = find_run(runs, wanted, store);
    run_id = run.id;
    for (const std::string& key : run.keys) {
      if (store.has(key)) keys.push_back(key);
    }
    report.unfinished = keys.size() < run.keys.size();
    if (report.unfinished) {
      log::warn(std::to_string(run.keys.size() - keys.size()) + " of " + std::to_string(run.keys.size()) +
                " cells of run " + run.id + " are not there yet; the table is of the others");
    }
    report.title = run.experiment.value("name", std::string());
    task = run.experiment.value("task", std::string());
    for (const auto& model : run.experiment.value("model", nlohmann::json::array())) {
      for (const char* key : {"id", "name"}) models.push_back(model.value(key, std::string()));
    }
    const auto wishes = run.experiment.value("report", nlohmann::json::object());
    report.reference_model = wishes.value("reference", std::string());
    report.metrics = wishes.value("metrics", std::vector<std::string>());
  }
  if (keys.empty()) throw UsageError(store.root().string() + " has no finished cells");
  if (values->count("metrics") != 0) {
    report.metrics = split_list((*values)["metrics"].as<std::vector<std::string>>());
  }
  if (values->count("reference") != 0) report.reference_model = (*values)["reference"].as<std::string>();
  if (report.unfinished) check_report_options(report, task, models);  // a finished run tells by itself what it has
  const bool to_file = values->count("out") != 0;
  report.color = !to_file && use_color();

  std::vector<Record> records;
  records.reserve(keys.size());
  for (const std::string& key : keys) records.push_back(store.record(key));
  const std::vector<ResultRow> results = compute_results(store, keys, run_id);
  const std::string table = render_table(results, records, report);
  if (values->count("results") != 0) {
    write_results_csv(results, std::filesystem::path((*values)["results"].as<std::string>()));
  }
  if (to_file) {
    write_file_atomically(std::filesystem::path((*values)["out"].as<std::string>()), table);
  } else {
    std::cout << table << std::flush;
    if (!std::cout) throw IoError("cannot write the table to the standard output");
  }
  return kExitOk;
}

}  // namespace cdrzoo::app
