// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <iomanip>
#include <iostream>
#include <numeric>
#include <set>

#include "app/command_line.hpp"
#include "app/commands.hpp"
#include "base/error.hpp"
#include "config/experiment.hpp"
#include "data/dataset.hpp"
#include "run/plan.hpp"
#include "split/split.hpp"

namespace cdrzoo::app {
namespace {

using Rows = std::vector<std::int32_t>;

std::string percent(double part, double whole) {
  if (whole <= 0) return "-";
  char text[16];
  std::snprintf(text, sizeof text, "%.1f %%", 100.0 * part / whole);
  return text;
}

/// Share of given labels that are 1; "-" where no row has one.
std::string positive(const Dataset& dataset, const Rows& rows) {
  int labelled = 0;
  int ones = 0;
  for (const auto row : rows) {
    const auto label = dataset.responses.label[static_cast<std::size_t>(row)];
    labelled += label >= 0 ? 1 : 0;
    ones += label == 1 ? 1 : 0;
  }
  return percent(ones, labelled);
}

std::string conditions_in(const Dataset& dataset, const Rows& rows) {
  std::set<std::int32_t> conditions;
  for (const auto row : rows) conditions.insert(dataset.perturbations->condition[static_cast<std::size_t>(row)]);
  return std::to_string(conditions.size());
}

void print_table(const std::vector<std::vector<std::string>>& table) {
  std::vector<std::size_t> width(table.front().size(), 0);
  for (const auto& line : table) {
    for (std::size_t c = 0; c < line.size(); ++c) width[c] = std::max(width[c], line[c].size());
  }
  for (const auto& line : table) {
    for (std::size_t c = 0; c < line.size(); ++c) {
      std::cout << (c == 0 ? "" : "  ") << std::setw(static_cast<int>(width[c])) << line[c];
    }
    std::cout << "\n";
  }
}

/// Perturbations: conditions of each part; the numbers of profiles follow where there are more of them.
void print_conditions(const Dataset& dataset, const Split& split) {
  const bool cells = dataset.perturbations->size() > dataset.perturbations->conditions;
  std::vector<std::vector<std::string>> table = {{"repeat", "fold", "train", "early stop", "validation", "test",
                                                  "references", "train groups", "test groups", "discarded rows"}};
  const auto cell = [&](const Rows& rows) {
    return conditions_in(dataset, rows) + (cells ? " (" + std::to_string(rows.size()) + ")" : "");
  };
  for (const auto& fold : split.folds) {
    table.push_back({std::to_string(fold.repeat), std::to_string(fold.fold), cell(fold.train), cell(fold.early_stop),
                     cell(fold.validation), cell(fold.test), cell(fold.references), std::to_string(fold.n_train_groups),
                     std::to_string(fold.n_test_groups), std::to_string(fold.n_discarded)});
  }
  std::cout << "conditions" << (cells ? " (profiles)" : "") << " of each part\n";
  print_table(table);
}

void print_split(const Dataset& dataset, const Split& split) {
  const auto& spec = split.spec;
  std::cout << "kind        " << spec.kind;
  if (spec.kind == "transfer") {
    std::cout << ", " << spec.source << " -> " << spec.target << ", inner folds by " << spec.inner_group
              << (spec.transductive ? ", transductive" : "");
  } else if (!spec.source.empty()) {
    std::cout << ", domain " << spec.source;
  }
  std::cout << "\nfolds       " << split.folds.size();
  if (spec.kind == "lcdo") std::cout << " (" << spec.folds << " x " << spec.folds << " blocks)";
  if (spec.repeats > 1) std::cout << " in " << spec.repeats << " repeats";
  if (spec.kind != "file") std::cout << ", seed " << spec.seed;
  if (spec.singles_seen >= 0) {
    std::cout << "\nsingles     " << spec.singles_seen << " of a tested double's perturbations are trained on alone";
  }
  if (!spec.contexts.empty()) {
    std::cout << "\ncontexts    ";
    for (const auto& name : spec.contexts) std::cout << (&name == &spec.contexts.front() ? "" : ", ") << name;
  }
  std::cout << "\ngroups      " << split.group_type << "\nhash        " << split.hash << "\ndata hash   "
            << split.data_hash << "\n";
  if (!split.folds.front().unlabelled_samples.empty()) {
    std::cout << "unlabelled  " << split.folds.front().unlabelled_samples.size() << " samples of " << spec.target
              << "\n";
  }
  if (split.folds.front().early_stop_is_validation) {
    std::cout << "note        early stopping looks at the validation records, as the published protocol does\n";
  }
  std::cout << "\n";

  if (split.of_perturbations) {
    print_conditions(dataset, split);
    return;
  }
  std::vector<std::vector<std::string>> table = {{"repeat", "fold", "train", "early stop", "validation", "test",
                                                  "train groups", "test groups", "discarded", "train 1s", "test 1s"}};
  for (const auto& fold : split.folds) {
    const auto used = fold.train.size() + fold.validation.size() + fold.test.size();
    table.push_back({std::to_string(fold.repeat), std::to_string(fold.fold), std::to_string(fold.train.size()),
                     std::to_string(fold.early_stop.size()), std::to_string(fold.validation.size()),
                     std::to_string(fold.test.size()), std::to_string(fold.n_train_groups),
                     std::to_string(fold.n_test_groups),
                     percent(static_cast<double>(fold.n_discarded),
                             static_cast<double>(used) + static_cast<double>(fold.n_discarded)),
                     positive(dataset, fold.train), positive(dataset, fold.test)});
  }
  print_table(table);
  if (spec.kind == "lcdo") {
    std::int64_t outer = 0;
    std::int64_t inner = 0;
    std::int64_t all = 0;
    for (const auto& fold : split.folds) {
      outer += fold.n_discarded - fold.n_discarded_inner;
      inner += fold.n_discarded_inner;
      all +=
          fold.n_discarded + static_cast<std::int64_t>(fold.train.size() + fold.validation.size() + fold.test.size());
    }
    std::cout << "\ndiscarded: " << percent(static_cast<double>(outer), static_cast<double>(all))
              << " of the records share only a sample or only a drug with the test block, "
              << percent(static_cast<double>(inner), static_cast<double>(all)) << " with the validation block\n";
  }
}

int make(const Words& words) {
  const Usage usage{
      "cdrzoo split make DATASET --kind KIND [-o FILE] [options], or cdrzoo split make --experiment FILE [-o FILE]",
      "Divides the records or the perturbation profiles of a data set into folds and shows them; -o keeps them.\n"
      "share/doc/splits.md gives the kinds and the exact algorithm. The same data set, kind, folds and seed give the\n"
      "same split everywhere.",
      "  cdrzoo split make demo.h5 --kind lco --source lines            show it, write nothing\n"
      "  cdrzoo split make demo.h5 --kind lto --folds 2 --source lines -o lto.json --csv lto.csv\n"
      "  cdrzoo split make demo.h5 --kind transfer --source lines --target patients --task binary -o transfer.json\n"
      "  cdrzoo split make screen.h5 --kind unseen_context --folds 4     perturbation profiles, unseen cell lines\n"
      "  cdrzoo split make --experiment demo.toml -o demo.split.json    what cdrzoo bench demo.toml uses\n"};
  Experiment experiment;
  auto& spec = experiment.split;
  std::string from, out, csv, groups, file;
  po::options_description options("options");
  options.add_options()  //
      ("kind,k", po::value(&spec.kind),
       "lpo lco ldo lto lso lcdo pairs811 transfer; of perturbation profiles unseen_context unseen_perturbation "
       "unseen_pair unseen_combination; file")                                                                       //
      ("folds", po::value(&spec.folds), "folds; 5, or 10 for pairs811")                                              //
      ("repeats", po::value(&spec.repeats)->default_value(1), "repeats with other keys")                             //
      ("seed", po::value(&spec.seed)->default_value(0), "seed of the assignment")                                    //
      ("source", po::value(&spec.source), "domain to split; for transfer the one with training labels")              //
      ("target", po::value(&spec.target), "transfer: domain of the test records")                                    //
      ("inner-group", po::value(&spec.inner_group)->default_value("sample"), "transfer: sample or pair")             //
      ("transductive", po::bool_switch(&spec.transductive), "transfer: test samples may be in the unlabelled pool")  //
      ("singles-seen", po::value(&spec.singles_seen)->default_value(-1),
       "unseen_combination: 2, 1 or 0 of a tested double's perturbations are trained on alone; -1: any")       //
      ("context", po::value(&spec.contexts)->composing(), "perturbations: only this context; again for more")  //
      ("references", po::value(&spec.references)->default_value(0),
       "perturbations: measured profiles of a query row, at most; 0: 8, or 1 where conditions have several rows")  //
      ("file", po::value(&file), "kind file: a split file or a table of parts (.csv)")                             //
      ("task", po::value(&experiment.task)->default_value("regression"),
       "regression: records with a value; binary: records with a label or, under a rule, a value; expression: "
       "perturbation profiles")  //
      ("label-rule", po::value(&experiment.label.kind)->default_value("per_drug_median"),
       "binary: given, per_drug_median, per_drug_mean or fixed; per_drug_table by --experiment")  //
      ("experiment,e", po::value(&from), "take everything from an experiment file")               //
      ("output,o", po::value(&out), "write the split file (JSON)")                                //
      ("csv", po::value(&csv), "write one line per record and fold, for other programs")          //
      ("groups", po::value(&groups), "write the identities behind the groups (for share/tools/check_split.py)");
  const auto values = parse(words, usage, options, "DATASET");
  if (!values) return kExitOk;
  std::filesystem::path path;
  if (!from.empty()) {
    for (const char* option : {"DATASET", "kind", "folds", "repeats", "seed", "source", "target", "inner-group",
                               "transductive", "singles-seen", "context", "references", "file", "task", "label-rule"}) {
      if (values->count(option) != 0 && !(*values)[option].defaulted()) {
        throw UsageError(std::string("--experiment says everything; ") + option + " does not go with it");
      }
    }
    experiment = load_experiment(from);
    path = experiment.dataset;
  } else {
    path = single(*values, "DATASET", usage);
    if (spec.kind.empty()) throw UsageError("--kind is missing; usage: " + usage.synopsis + " (--help shows more)");
    if (values->count("folds") == 0) spec.folds = spec.kind == "pairs811" ? 10 : 5;
    if (experiment.task != "regression" && experiment.task != "binary" && experiment.task != "expression") {
      throw UsageError("--task is '" + experiment.task + "', expected regression, binary or expression");
    }
    if (is_perturbation_kind(spec.kind)) experiment.task = "expression";
    spec.file = file;
  }
  check_spec(spec);
  const auto dataset = Dataset::open(path);
  const auto rows = usable_rows(experiment, dataset);
  const auto split = make_split(dataset, spec, rows);
  if (!out.empty()) write_split(split, out);
  if (!csv.empty()) write_split_csv(dataset, split, csv);
  if (!groups.empty()) (split.of_perturbations ? write_profile_groups_csv : write_groups_csv)(dataset, rows, groups);
  print_split(dataset, split);
  return kExitOk;
}

/// The two files of `info` and `check`.
std::optional<std::pair<std::string, std::string>> split_and_data(const Words& words, const Usage& usage) {
  std::string data;
  po::options_description options("options");
  options.add_options()("data,d", po::value(&data), "the data set that the split was made for");
  const auto values = parse(words, usage, options, "SPLIT");
  if (!values) return std::nullopt;
  auto file = single(*values, "SPLIT", usage);
  if (data.empty()) throw UsageError("--data is missing; usage: " + usage.synopsis + " (--help shows more)");
  return std::make_pair(std::move(file), std::move(data));
}

int info(const Words& words) {
  const Usage usage{"cdrzoo split info SPLIT --data DATASET",
                    "Shows a split file: records, groups and label balance of every fold.",
                    "  cdrzoo split info demo.split.json --data demo.h5\n"};
  const auto files = split_and_data(words, usage);
  if (!files) return kExitOk;
  const auto dataset = Dataset::open(files->second);
  print_split(dataset, read_split(files->first, dataset));
  return kExitOk;
}

int check(const Words& words) {
  const Usage usage{
      "cdrzoo split check SPLIT --data DATASET",
      "Checks a split file: its hash, that it belongs to the data set, that no record and no group is in two parts,\n"
      "and that making the split again gives the same folds. One sentence and exit status 1 if not.",
      "  cdrzoo split check demo.split.json --data demo.h5 && echo fine\n"};
  const auto files = split_and_data(words, usage);
  if (!files) return kExitOk;
  const auto dataset = Dataset::open(files->second);
  try {
    const auto split = read_split(files->first, dataset);
    std::string again;
    if (split.spec.kind != "file") {
      std::set<std::int32_t> used;  // every usable record is in some part of some fold
      for (const auto& fold : split.folds) {
        for (const auto* part : {&fold.train, &fold.validation, &fold.test, &fold.references})
          used.insert(part->begin(), part->end());
      }
      Rows rows(used.begin(), used.end());
      if (split.of_perturbations) {  // a double whose members no fold trains on together is in no part of any
        rows.resize(static_cast<std::size_t>(dataset.perturbations->size()));
        std::iota(rows.begin(), rows.end(), 0);
      }
      const auto made = make_split(dataset, split.spec, rows);
      for (std::size_t f = 0; f < made.folds.size(); ++f) {
        const auto& a = split.folds[f];
        const auto& b = made.folds[f];
        if (a.train != b.train || a.early_stop != b.early_stop || a.validation != b.validation || a.test != b.test ||
            a.references != b.references || a.unlabelled_samples != b.unlabelled_samples) {
          throw DataError(files->first + ": fold " + std::to_string(a.fold) + " of repeat " + std::to_string(a.repeat) +
                          " is not what its spec gives on this data set");
        }
        if (a.n_train_groups != b.n_train_groups || a.n_test_groups != b.n_test_groups ||
            a.n_discarded_inner != b.n_discarded_inner || a.transductive != b.transductive ||
            a.early_stop_is_validation != b.early_stop_is_validation) {
          throw DataError(files->first + ": the counts or marks of fold " + std::to_string(a.fold) + " of repeat " +
                          std::to_string(a.repeat) + " are not those of its rows");
        }
      }
      again = ", made again with the same result";
    }
    std::cout << files->first << ": " << split.folds.size() << " folds, disjoint by record and by " << split.group_type
              << again << "\n";
    return kExitOk;
  } catch (const DataError& e) {
    std::cout << e.what() << "\n";
    return kExitFailed;
  }
}

}  // namespace

int cmd_split(const Words& words) {
  return run_verb("split",
                  {{"make", "divide a data set into folds", make},
                   {"info", "show a split file", info},
                   {"check", "check a split file against its data set", check}},
                  words);
}

}  // namespace cdrzoo::app
