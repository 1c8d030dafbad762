// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "app/command_line.hpp"
#include "app/commands.hpp"
#include "base/error.hpp"
#include "plugin/registry.hpp"

namespace cdrzoo::app {

namespace {

using nlohmann::json;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text.empty() ? "-" : text;
}

/// Rows of cells, columns as wide as their widest cell; the last column is not padded.
void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line += std::string(widths[i] - row[i].size() + 2, ' ');
    }
    std::cout << line << "\n";
  }
}

std::string bound(const std::optional<double>& value, const char* none) {
  if (!value) return none;
  std::ostringstream text;
  text.precision(12);
  text << *value;
  return text.str();
}

std::string range_of(const ParamSpec& spec) {
  if (!spec.choices.empty()) return joined(spec.choices);
  if (!spec.min && !spec.max) return "-";
  return bound(spec.min, "-inf") + " .. " + bound(spec.max, "inf");
}

void print_failures(const Registry& registry) {
  if (registry.failures.empty()) return;
  std::cout << "\nfiles that could not be used:\n";
  for (const auto& failure : registry.failures) std::cout << "  " << failure.reason << "\n";
}

json failures_json(const Registry& registry) {
  json out = json::array();
  for (const auto& failure : registry.failures) {
    out.push_back({{"plugin", failure.plugin.string()}, {"reason", failure.reason}});
  }
  return out;
}

json model_json(const ModelEntry& model) {
  return {{"id", model.card.id},
          {"plugin", model.plugin.string()},
          {"plugin_sha256", model.plugin_hash},
          {"card", model.card.json}};
}

void list(const Registry& registry, const std::vector<std::filesystem::path>& places) {
  std::vector<std::vector<std::string>> rows = {{"model", "version", "tasks", "needs", "title"}};
  for (const auto& model : registry.models) {
    const Card& card = model.card;
    auto needs = card.sample_blocks;
    needs.insert(needs.end(), card.drug_blocks.begin(), card.drug_blocks.end());
    needs.insert(needs.end(), card.columns.begin(), card.columns.end());
    if (card.unlabelled_target == "required") needs.emplace_back("unlabelled target");
    rows.push_back({card.id, card.version, joined(card.tasks), joined(needs), card.title});
  }
  if (registry.models.empty()) {
    std::cout << "no models found; searched:";
    for (const auto& place : places) std::cout << " " << place.string();
    std::cout << (places.empty() ? " nowhere ($CDRZOO_PLUGIN_PATH is empty and there is no plugin folder)\n" : "\n");
  } else {
    print_table(rows);
  }
  print_failures(registry);
}

void show(const ModelEntry& model) {
  const Card& card = model.card;
  std::cout << card.id << " " << card.version << ": " << card.title << "\n\n";
  std::vector<std::string> assets;
  for (const auto& asset : card.assets) assets.push_back(asset.id + (asset.required ? "" : " (optional)"));
  print_table({{"plugin", model.plugin.string()},
               {"sha256", model.plugin_hash},
               {"licence", card.licence},
               {"paper", card.paper.empty() ? "-" : card.paper},
               {"tasks", joined(card.tasks)},
               {"sample blocks", joined(card.sample_blocks)},
               {"  optional", joined(card.optional_sample_blocks)},
               {"drug blocks", joined(card.drug_blocks)},
               {"  optional", joined(card.optional_drug_blocks)},
               {"columns", joined(card.columns)},
               {"early stopping", card.early_stopping ? "yes: held-out training rows" : "no"},
               {"unlabelled target", card.unlabelled_target},
               {"missing values", card.accepts_missing ? "handled by the model" : "imputed by the host"},
               {"assets", joined(assets)},
               {"determinism", card.determinism + (card.stochastic ? ", depends on the seed" : "")},
               {"transductive", card.transductive ? "yes" : "no"},
               {"devices", joined(card.devices)},
               {"embeds", joined(card.embeds)}});
  if (card.params.empty()) {
    std::cout << "\nno parameters\n";
    return;
  }
  std::vector<std::vector<std::string>> rows = {{"parameter", "type", "default", "range", "meaning"}};
  for (const auto& spec : card.params) {
    std::string doc = spec.doc;
    if (!spec.when.is_null()) {
      doc += " (only with " + spec.when.begin().key() + " = " + spec.when.begin().value().dump() + ")";
    }
    rows.push_back({spec.key, spec.type, to_json(spec.default_value).dump(), range_of(spec), doc});
  }
  std::cout << "\n";
  print_table(rows);
}

}  // namespace

int cmd_plugins(const Words& words) {
  const Usage usage = {
      "cdrzoo plugins [show ID] [--json] [--path FOLDER_OR_FILE]...",
      "Lists the models that were found and the files that could not be used, with the reason; or shows one model "
      "with\n"
      "its parameters. Unknown files are loaded in throw-away processes; $CDRZOO_PLUGIN_PATH adds folders.",
      "  cdrzoo plugins                         all models\n"
      "  cdrzoo plugins show baseline.ridge     what it needs, and its parameters with type, default and range\n"
      "  cdrzoo plugins --path ./mine.so        only this file\n"
      "  cdrzoo plugins --json                  for programs\n"};
  po::options_description options("options");
  options.add_options()("json", "print JSON instead of a table")(
      "path", po::value<std::vector<std::string>>(), "search here instead of the default places (may be repeated)");
  const auto values = parse(words, usage, options, "what");
  if (!values) return kExitOk;
  std::vector<std::string> what;
  if (values->count("what") != 0) what = (*values)["what"].as<std::vector<std::string>>();
  if (!what.empty() && (what[0] != "show" || what.size() != 2)) {
    throw UsageError("expected nothing or: show ID; usage: " + usage.synopsis);
  }
  std::vector<std::filesystem::path> places;
  if (values->count("path") != 0) {
    for (const auto& place : (*values)["path"].as<std::vector<std::string>>()) places.emplace_back(place);
  } else {
    places = plugin_search_path();
  }
  const Registry registry = scan_plugins(places);
  const bool as_json = values->count("json") != 0;
  if (!what.empty()) {
    const ModelEntry& model = registry.find(what[1]);
    if (as_json)
      std::cout << model_json(model).dump(2) << "\n";
    else
      show(model);
    return kExitOk;
  }
  if (as_json) {
    json models = json::array();
    for (const auto& model : registry.models) models.push_back(model_json(model));
    std::cout << json{{"models", models}, {"failures", failures_json(registry)}}.dump(2) << "\n";
  } else {
    list(registry, places);
  }
  return registry.failures.empty() ? kExitOk : kExitFailed;
}

}  // namespace cdrzoo::app
