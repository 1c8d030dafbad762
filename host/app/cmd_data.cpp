// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <initializer_list>
#include <iostream>
#include <numeric>
#include <sstream>

#include "app/command_line.hpp"
#include "app/commands.hpp"
#include "base/child_process.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "data/dataset.hpp"
#include "data/dataset_info.hpp"
#include "export/export.hpp"
#include "import/builder.hpp"
#include "import/demo.hpp"
#include "import/perturbation_demo.hpp"
#include "import/recipe.hpp"
#include "run/plan.hpp"

namespace cdrzoo::app {
namespace {

/// The options that only one kind of demo has.
void refuse(const po::variables_map& values, std::initializer_list<const char*> options, const std::string& why) {
  for (const char* option : options) {
    if (values.count(option) != 0 && !values[option].defaulted())
      throw UsageError(std::string("--") + option + " " + why + " --perturbations");
  }
}

int demo(const Words& words) {
  const Usage usage{
      "cdrzoo data demo FILE [--perturbations [--contexts N] [--cells N [--sparse]]] [--seed N] [--lines N] "
      "[--patients N] "
      "[--drugs N] [--genes N] [--conformers]",
      "Makes a small data set with a planted signal: cell lines with ln IC50, patients with responder labels\n"
      "behind a domain shift, and perturbation profiles; or profiles of perturbations alone, single and combined.\n"
      "The same options give the same file.",
      "  cdrzoo data demo demo.h5\n"
      "  cdrzoo data demo big.h5 --lines 1000 --genes 978    a larger one\n"
      "  cdrzoo data demo screen.h5 --perturbations --cells 50    single cells under perturbations\n"};
  DemoSpec spec;
  PerturbationDemoSpec screen;
  po::options_description options("options");
  options.add_options()                                                                        //
      ("seed", po::value(&spec.seed)->default_value(spec.seed), "seed of everything")          //
      ("lines", po::value(&spec.lines)->default_value(spec.lines), "cell lines")               //
      ("patients", po::value(&spec.patients)->default_value(spec.patients), "tumour samples")  //
      ("drugs", po::value(&spec.drugs)->default_value(spec.drugs),
       ("drugs, at most " + std::to_string(demo_drug_limit()) + "; or perturbations").c_str())                 //
      ("genes", po::value(&spec.genes)->default_value(spec.genes), "genes")                                    //
      ("conformers", po::bool_switch(&spec.conformers), "add the drug block graph_mat, which takes a second")  //
      ("perturbations", po::bool_switch(), "perturbation profiles and nothing else")                           //
      ("contexts", po::value(&screen.contexts)->default_value(screen.contexts), "cell lines of these")         //
      ("cells", po::value(&screen.cells)->default_value(screen.cells),
       "cells of each of their conditions; 0: one pseudobulk")  //
      ("sparse", po::bool_switch(&screen.sparse), "cells of which most values are 0, and which are stored so");
  const auto values = parse(words, usage, options, "FILE");
  if (!values) return kExitOk;
  const std::string file = single(*values, "FILE", usage);
  const bool perturbations = (*values)["perturbations"].as<bool>();
  if (perturbations) {
    refuse(*values, {"lines", "patients", "conformers"}, "does not go with");
  } else {
    refuse(*values, {"contexts", "cells"}, "needs");
    if (screen.sparse) throw UsageError("--sparse needs --perturbations");
  }
  screen.seed = spec.seed;
  screen.perturbations = spec.drugs;
  screen.genes = spec.genes;
  const DatasetContent content = perturbations ? make_perturbation_demo(screen) : make_demo(spec);
  write_dataset(content, file);
  std::cout << file << ": " << content.sample_id.size() << " samples, " << content.drug_id.size() << " drugs, "
            << content.genes.size() << " genes, " << content.responses.size() << " records, "
            << content.perturbations.size() << " perturbation profiles\n";
  return kExitOk;
}

/// Reads the sources and writes the data set. Returns what is to be said about it.
std::string build_file(const Recipe& recipe, const std::filesystem::path& from, const std::filesystem::path& output,
                       const std::string& lost_file) {
  BuildReport report;
  const DatasetContent content = build_dataset(recipe, from, report);
  if (!lost_file.empty()) report.write_lost(lost_file);
  write_dataset(content, output);
  std::ostringstream text;
  for (const auto& step : report.steps()) text << step << "\n";
  text << output.string() << ": " << content.sample_id.size() << " samples, " << content.drug_id.size() << " drugs, "
       << content.genes.size() << " genes, " << content.responses.size() << " records";
  if (!content.perturbations.empty()) text << ", " << content.perturbations.size() << " perturbation profiles";
  text << "\n";
  if (!lost_file.empty())
    text << lost_file << ": " << count_of(report.lost(), "line", "lines") << " about what was left out\n";
  for (const auto& caveat : content.caveats) text << "caveat: " << caveat << "\n";
  return text.str();
}

/// The files of a recipe that the HDF5 library reads; it can crash on damaged ones.
std::string hdf5_sources(const Recipe& recipe) {
  std::string list;
  for (const auto& domain : recipe.domains) {
    const std::string format = format_of(domain.expression.file, domain.expression.format);
    if (format != "h5ad" && format != "gctx") continue;
    if (list.find(domain.expression.file) == std::string::npos)
      list += (list.empty() ? "" : " or ") + domain.expression.file;
  }
  return list;
}

int build(const Words& words) {
  const Usage usage{"cdrzoo data build RECIPE.toml -o FILE [--from DIR] [--lost FILE]",
                    "Builds a data set from the files that a recipe names, and says what was done with every row.",
                    "  cdrzoo data build share/datasets/gdsc2_ccle.toml --from ~/data -o gdsc2_ccle.h5\n"
                    "  cdrzoo data build mine.toml -o mine.h5     the files lie next to the recipe\n"
                    "  cdrzoo data build mine.toml -o mine.h5 --lost lost.tsv     names of all that was left out\n"};
  po::options_description options("options");
  options.add_options()                                                                                        //
      ("output,o", po::value<std::string>(), "the data set to write (required)")                               //
      ("from", po::value<std::string>(), "folder of the source files; the folder of the recipe if not given")  //
      ("lost", po::value<std::string>()->default_value("", ""),
       "a table to write: every gene, sample, drug and row that was left out or merged, and why");
  const auto values = parse(words, usage, options, "RECIPE");
  if (!values) return kExitOk;
  const std::filesystem::path recipe_file = single(*values, "RECIPE", usage);
  if (values->count("output") == 0)
    throw UsageError("expected --output FILE; usage: " + usage.synopsis + " (--help shows more)");
  const std::filesystem::path output = (*values)["output"].as<std::string>();
  const Recipe recipe = load_recipe(recipe_file);
  const auto from = values->count("from") != 0 ? std::filesystem::path((*values)["from"].as<std::string>())
                                               : recipe_file.parent_path();
  const auto lost_file = (*values)["lost"].as<std::string>();
  // The HDF5 library can crash on damaged files of other programs; that must end as one sentence.
  const std::string fragile = hdf5_sources(recipe);
  const ChildTask task{"building " + output.string(),
                       fragile.empty()
                           ? "a source of " + recipe_file.string() + " is damaged: reading it crashes or hangs"
                           : fragile + " below " + (from.empty() ? "." : from.string()) +
                                 " is damaged: the HDF5 library crashes or hangs on it"};
  std::cout << run_in_child(task, [&] { return build_file(recipe, from, output, lost_file); });
  return kExitOk;
}

int info(const Words& words) {
  const Usage usage{
      "cdrzoo data info FILE [--drugs] [--json]",
      "Shows what is in a data set: sizes, domains, tissues, drugs, label balance, missing values, how the\n"
      "domains overlap, what was done to the data, known caveats.",
      "  cdrzoo data info demo.h5\n"
      "  cdrzoo data info demo.h5 --drugs      one line per drug as well\n"
      "  cdrzoo data info demo.h5 --json | jq .domains\n"};
  po::options_description options("options");
  options.add_options()("drugs", po::bool_switch(), "one line per drug")("json", po::bool_switch(),
                                                                         "JSON, for programs");
  const auto values = parse(words, usage, options, "FILE");
  if (!values) return kExitOk;
  const Dataset dataset = Dataset::open(single(*values, "FILE", usage));
  const auto described = describe_dataset(dataset);
  if ((*values)["json"].as<bool>()) {
    std::cout << described.dump(2) << "\n";
  } else {
    std::cout << info_text(described, (*values)["drugs"].as<bool>());
  }
  return kExitOk;
}

int validate(const Words& words) {
  const Usage usage{
      "cdrzoo data validate FILE",
      "Checks every invariant of a data set, the contents of its matrices included. Prints one sentence per\n"
      "broken invariant.",
      "  cdrzoo data validate demo.h5 && echo fine\n"};
  const auto values = parse(words, usage, po::options_description("options"), "FILE");
  if (!values) return kExitOk;
  const std::string file = single(*values, "FILE", usage);
  const Findings findings = validate_dataset(file);
  constexpr std::size_t kShown = 20;
  const auto print = [](const char* word, const std::vector<std::string>& sentences) {
    for (std::size_t i = 0; i < sentences.size() && i < kShown; ++i) std::cout << word << ": " << sentences[i] << "\n";
    if (sentences.size() > kShown) std::cout << word << ": and " << sentences.size() - kShown << " more\n";
  };
  print("error", findings.errors);
  print("note", findings.notes);
  std::cout << file << (findings.errors.empty() ? ": valid\n" : ": not valid\n");
  return findings.errors.empty() ? kExitOk : kExitFailed;
}

/// A split file or table, or the split of an experiment that uses this data set.
NamedSplit split_for_export(const std::filesystem::path& file, const Dataset& dataset) {
  NamedSplit out;
  out.name = file.stem().string();
  if (file.extension() != ".toml") {
    std::vector<std::int32_t> rows(static_cast<std::size_t>(dataset.responses.size()));
    std::iota(rows.begin(), rows.end(), 0);
    out.split = load_split(file, dataset, rows);
    return out;
  }
  const Experiment experiment = load_experiment(file);
  if (Dataset::open(experiment.dataset).data_hash() != dataset.data_hash()) {
    throw UsageError("the experiment " + file.string() + " uses " + experiment.dataset.string() +
                     ", which has other records than " + dataset.path.string());
  }
  out.split = make_split(dataset, experiment.split, usable_rows(experiment, dataset));
  return out;
}

int export_files(const Words& words) {
  const Usage usage{
      "cdrzoo data export FILE --format csv|h5ad|drevalpy|improve -o DIR [--split FILE]...",
      "Writes a data set and splits in the layout of another program, and says what that layout cannot hold.\n"
      "csv and h5ad come with a recipe that builds the same data set again. share/doc/export.md has every file.",
      "  cdrzoo data export demo.h5 --format csv -o demo_csv\n"
      "  cdrzoo data export demo.h5 --format improve -o improve --split lco.json     a split file\n"
      "  cdrzoo data export demo.h5 --format drevalpy -o drevalpy --split demo.toml  the split of an experiment\n"};
  po::options_description options("options");
  options.add_options()                                                                         //
      ("format,f", po::value<std::string>(), "csv, h5ad, drevalpy or improve (required)")       //
      ("output,o", po::value<std::string>(), "the folder to make (required); it may be empty")  //
      ("split", po::value<Words>()->composing(), "split file (.json), table of parts (.csv) or experiment (.toml)");
  const auto values = parse(words, usage, options, "FILE");
  if (!values) return kExitOk;
  const std::string file = single(*values, "FILE", usage);
  for (const char* option : {"format", "output"}) {
    if (values->count(option) == 0)
      throw UsageError(std::string("--") + option + " is missing; usage: " + usage.synopsis + " (--help shows more)");
  }
  const ExportFormat format = export_format_of((*values)["format"].as<std::string>());
  const Dataset dataset = Dataset::open(file);
  std::vector<NamedSplit> splits;
  if (values->count("split") != 0) {
    for (const auto& name : (*values)["split"].as<Words>()) splits.push_back(split_for_export(name, dataset));
  }
  const std::string output = (*values)["output"].as<std::string>();
  for (const auto& sentence : export_dataset(dataset, format, splits, output)) std::cout << sentence << "\n";
  std::cout << output << ": written\n";
  return kExitOk;
}

}  // namespace

int cmd_data(const Words& words) {
  return run_verb("data",
                  {{"build", "build a data set from the files that a recipe names", build},
                   {"demo", "make the demo data set", demo},
                   {"export", "write a data set in the layout of another program", export_files},
                   {"info", "show what is in a data set", info},
                   {"validate", "check every invariant of a data set", validate}},
                  words);
}

}  // namespace cdrzoo::app
