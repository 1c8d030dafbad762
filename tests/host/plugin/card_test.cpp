// SPDX-License-Identifier: Apache-2.0
#include "plugin/card.hpp"

#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include "base/error.hpp"
#include "support/catch.hpp"

using cdrzoo::Card;
using cdrzoo::PluginError;
using cdrzoo::UsageError;
using nlohmann::json;

namespace {

json smallest() {
  return {{"card", 1},        {"id", "test.small"},      {"version", "1.2.3"},
          {"title", "small"}, {"licence", "Apache-2.0"}, {"tasks", {"regression"}}};
}

json with_params(const json& params) {
  json card = smallest();
  card["params"] = params;
  return card;
}

/// The error of parsing, or "" if there is none.
std::string error_of(const std::string& text) {
  try {
    (void)Card::parse(text, "card of x");
  } catch (const PluginError& e) {
    return e.what();
  }
  return "";
}
std::string error_of(const json& card) { return error_of(card.dump()); }

std::string resolve_error(const Card& card, const json& overrides) {
  try {
    (void)card.resolve(overrides);
  } catch (const UsageError& e) {
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// The JSON examples of share/doc/card.md, in order.
std::vector<std::string> documented_examples() {
  std::ifstream file(CDRZOO_SOURCE_DIR "/share/doc/card.md");
  std::vector<std::string> out;
  std::string line;
  bool inside = false;
  while (std::getline(file, line)) {
    if (line == "```json") {
      inside = true;
      out.emplace_back();
    } else if (line == "```") {
      inside = false;
    } else if (inside) {
      out.back() += line + "\n";
    }
  }
  return out;
}

}  // namespace

TEST_CASE("the documented example cards parse") {
  const auto examples = documented_examples();
  REQUIRE(examples.size() == 2);
  const auto full = Card::parse(examples[0], "the full example");
  CHECK(full.id == "baseline.ridge");
  CHECK(full.params.size() == 5);
  CHECK(full.sample_blocks == std::vector<std::string>{"expression"});
  CHECK(full.optional_sample_blocks == std::vector<std::string>{"tissue"});
  const auto small = Card::parse(examples[1], "the smallest example");
  CHECK(small.determinism == "bitwise");
  CHECK(small.devices == std::vector<std::string>{"cpu"});
  CHECK(small.supports("binary"));
  CHECK_FALSE(small.supports("expression"));
}

TEST_CASE("a card that breaks a rule is refused with a sentence that names what is wrong") {
  REQUIRE(error_of(smallest()).empty());
  const auto broken = [](const std::string& pointer, const json& value) {
    json card = smallest();
    card["needs"] = json::object();
    card["traits"] = json::object();
    card[json::json_pointer(pointer)] = value;
    return error_of(card);
  };
  CHECK(contains(error_of(std::string("{")), "no valid JSON"));
  CHECK(contains(error_of(std::string("[]")), "expected an object, found a list"));
  CHECK(contains(error_of(std::string("")), "no valid JSON"));
  CHECK(contains(error_of(std::string("{\"card\": 1, \"title\": \"\xff\"}")), "no valid JSON"));
  CHECK(contains(error_of(std::string(R"({"card": 1, "card": 1})")), "\"card\" stands twice"));
  CHECK(contains(error_of(std::string(std::size_t{1} << 21, ' ')), "expected at most"));
  CHECK(contains(broken("/card", 2), "this host reads 1"));
  CHECK(contains(broken("/id", "Ridge"), "joined by dots"));
  CHECK(contains(broken("/id", "ridge"), "joined by dots"));
  CHECK(contains(broken("/id", "a..b"), "joined by dots"));
  CHECK(contains(broken("/id", "a." + std::string(70, 'x')), "joined by dots"));
  CHECK(contains(broken("/version", "1.2"), "MAJOR.MINOR.PATCH"));
  CHECK(contains(broken("/tasks", json::array()), "at least one task"));
  CHECK(contains(broken("/tasks", {"ranking"}), "expected one of regression, binary"));
  CHECK(contains(broken("/title", nullptr), "leave the key out"));
  CHECK(contains(broken("/titel", "x"), "unknown key \"titel\"; known: card, id, version, title"));
  CHECK(contains(broken("/needs/sample", {"expression"}), "unknown key \"sample\"; known: samples, drugs"));
  CHECK(contains(broken("/needs/columns", {"day"}), "expected one of dose, time"));
  CHECK(contains(broken("/needs/samples", {"tissue", "tissue"}), "twice"));
  CHECK(contains(broken("/needs/columns", {"reference"}), "is of the task \"expression\", which is not on offer"));
  CHECK(contains(broken("/needs/columns", {"reference_control"}), "goes with \"reference\", which is not asked for"));
  CHECK(contains(broken("/needs/columns", {"reference", "reference_b"}), "goes with \"drug_b\""));
  CHECK(contains(broken("/needs/unlabelled_target", "yes"), "expected one of no, optional, required"));
  CHECK(contains(broken("/traits/determinism", "exact"), "expected one of bitwise, statistical, none"));
  CHECK(contains(broken("/traits/cancel_latency_s", 0), "more than 0"));
  CHECK(contains(broken("/verify", {{"parameters", json::object()}}), "known: params, learning"));
  CHECK(contains(broken("/verify", {{"params", {{"epochs", 2}}}}), "has no parameter \"epochs\""));
  CHECK(contains(broken("/verify", {{"learning", {{"rate", 1}}}}), "has no parameter \"rate\""));
  CHECK(contains(broken("/traits/stochastic", 1), "expected true or false"));
  CHECK(contains(broken("/traits/devices", json::array()), "empty"));
  json asset = smallest();
  asset["needs"]["assets"] = {{{"id", "w"}, {"sha256", "abc"}}};
  CHECK(contains(error_of(asset), "64 lower-case"));
  asset["needs"]["assets"] = {{{"id", "w"}}};  // any file
  CHECK(Card::parse(asset.dump(), "card of x").assets.at(0).sha256.empty());
  json both = smallest();
  both["needs"] = {{"samples", {"tissue"}}, {"optional_samples", {"tissue"}}};
  CHECK(contains(error_of(both), "both needed and optional"));
}

TEST_CASE("a parameter that contradicts itself is refused") {
  const auto error = [](json param) {
    param.emplace("doc", "d");
    return error_of(with_params(json::array({param})));
  };
  CHECK(error({{"key", "a"}, {"type", "int"}, {"default", 1}}).empty());
  CHECK(contains(error({{"key", "A"}, {"type", "int"}, {"default", 1}}), "[a-z][a-z0-9_]*"));
  CHECK(contains(error({{"key", "a"}, {"type", "integer"}, {"default", 1}}), "expected one of bool, int"));
  CHECK(contains(error({{"key", "a"}, {"default", 1}}), "\"type\" is missing"));
  CHECK(contains(error({{"key", "a"}, {"type", "int"}}), "\"default\" is missing"));
  CHECK(contains(error({{"key", "a"}, {"type", "int"}, {"default", 1.5}}), "expected an integer"));
  CHECK(contains(error({{"key", "a"}, {"type", "int"}, {"default", 1}, {"min", 2}}), "in [2, inf]"));
  CHECK(contains(error({{"key", "a"}, {"type", "int"}, {"default", 1}, {"min", 2}, {"max", 1}}), "larger than max"));
  CHECK(contains(error({{"key", "a"}, {"type", "bool"}, {"default", true}, {"min", 0}}), "are for numbers"));
  CHECK(contains(error({{"key", "a"}, {"type", "enum"}, {"default", "x"}}), "needs \"choices\""));
  CHECK(contains(error({{"key", "a"}, {"type", "str"}, {"default", "x"}, {"choices", {"x"}}}), "are for enums"));
  CHECK(contains(error({{"key", "a"}, {"type", "enum"}, {"default", "x"}, {"choices", {"y"}}}), "expected one of y"));
  CHECK(contains(error({{"key", "a"}, {"type", "int_list"}, {"default", {1, 0}}, {"min", 1}}), "in [1, inf]"));
  CHECK(
      contains(error({{"key", "a"}, {"type", "real"}, {"default", 1}, {"when", {{"b", 1}}}}), "no earlier parameter"));
  CHECK(contains(
      error({{"key", "a"}, {"type", "real"}, {"default", 1}, {"tune", {{"low", 0}, {"high", 1}, {"log", true}}}}),
      "above 0 with log"));
  CHECK(
      contains(error({{"key", "a"}, {"type", "real"}, {"default", 1}, {"min", 1}, {"tune", {{"low", 0}, {"high", 2}}}}),
               "leaves the range"));
  json param = {{"key", "a"}, {"type", "int"}, {"default", 1}, {"doc", "d"}};
  CHECK(contains(error_of(with_params(json::array({param, param}))), "stands twice"));
}

TEST_CASE("parameters resolve to every key of the card, in its order, with the right types") {
  const auto card = Card::parse(documented_examples().at(0), "the full example");
  const auto defaults = card.resolve(json());
  REQUIRE(defaults.size() == 5);
  CHECK(defaults[0].key == "lambda");
  CHECK(std::get<double>(defaults[0].value) == 1000.0);
  CHECK(std::get<std::vector<std::int64_t>>(defaults[4].value) == std::vector<std::int64_t>{256, 64});

  const auto changed = card.resolve({{"lambda", 7}, {"hidden", {8}}, {"standardise", false}, {"variant", "joint"}});
  CHECK(std::get<double>(changed[0].value) == 7.0);  // an integer stands for a real
  CHECK(std::get<std::string>(changed[1].value) == "joint");
  CHECK(std::get<bool>(changed[3].value) == false);
  CHECK(cdrzoo::to_json(changed).dump() ==
        R"({"fingerprint_weight":1.0,"hidden":[8],"lambda":7.0,"standardise":false,"variant":"joint"})");
}

TEST_CASE("a parameter that the user got wrong is named together with what was expected") {
  const auto card = Card::parse(documented_examples().at(0), "the full example");
  CHECK(contains(resolve_error(card, {{"lamda", 1}}),
                 "baseline.ridge has no parameter \"lamda\"; known: lambda, variant, fingerprint_weight"));
  CHECK(contains(resolve_error(card, {{"lambda", "1"}}), "parameter \"lambda\" is \"1\", expected a number"));
  CHECK(contains(resolve_error(card, {{"lambda", 0}}), "in [1e-06, 1000000000000.0]"));
  CHECK(contains(resolve_error(card, {{"lambda", std::nan("")}}), "expected a number"));
  CHECK(contains(resolve_error(card, {{"variant", "both"}}), "expected one of per_drug, joint"));
  CHECK(contains(resolve_error(card, {{"standardise", 1}}), "expected true or false"));
  CHECK(contains(resolve_error(card, {{"hidden", {64.5}}}), "expected a list of integers"));
  CHECK(contains(resolve_error(card, {{"hidden", {std::uint64_t{1} << 63U}}}), "expected a list of integers"));
  CHECK(contains(resolve_error(card, json::array()), "expected keys with values"));
}

TEST_CASE("a card with random damage is either read or refused with a sentence") {
  const std::string good = documented_examples().at(0);
  std::mt19937 random(7);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (int i = 0; i <= round % 4; ++i) {
      const auto at = random() % text.size();
      switch (random() % 3) {
        case 0: text[at] = static_cast<char>(random() % 256); break;
        case 1: text.erase(at, random() % 20); break;
        default: text.insert(at, text.substr(random() % text.size(), random() % 20));
      }
    }
    refused += error_of(text).empty() ? 0 : 1;  // anything but a PluginError would end the test
  }
  CHECK(refused > 1000);
}
