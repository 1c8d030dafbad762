// SPDX-License-Identifier: Apache-2.0
#include "plugin/card.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <set>

#include "base/error.hpp"

namespace cdrzoo {

namespace {

using nlohmann::json;

constexpr std::size_t kMaxCardBytes = std::size_t{1} << 20;

const char* const kTypes[] = {"bool", "int", "real", "str", "enum", "int_list", "real_list"};

const std::array kColumns = {"dose",
                             "time",
                             "control",
                             "drug_b",
                             "domain",
                             "context",
                             "reference",
                             "reference_control",
                             "reference_b",
                             "reference_b_control",
                             "reference_context",
                             "reference_b_context"};

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text.empty() ? "(none)" : text;
}

/// A value as it may stand in an error: never longer than a line, and dump() must not throw on bad UTF-8.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

std::string kind(const json& value) {
  if (value.is_number_integer()) return "an integer";
  if (value.is_number()) return "a real number";
  if (value.is_string()) return "text";
  if (value.is_boolean()) return "a bool";
  if (value.is_array()) return "a list";
  if (value.is_object()) return "an object";
  return "null";
}

/// Reads one object strictly: what is not asked for by the end is an error.
class Reader {
 public:
  Reader(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) throw PluginError(where_ + ": expected an object, found " + kind(object));
  }

  /// Null if the key is absent (or null, which is never a legal value).
  const json* find(const std::string& key) {
    known_.push_back(key);
    const auto it = object_.find(key);
    if (it == object_.end()) return nullptr;
    if (it->is_null()) throw PluginError(where_ + ": \"" + key + "\" is null; leave the key out instead");
    return &*it;
  }
  const json& need(const std::string& key) {
    const json* value = find(key);
    if (value == nullptr) throw PluginError(where_ + ": the key \"" + key + "\" is missing");
    return *value;
  }
  std::string text(const std::string& key, const json& value) const {
    if (!value.is_string()) throw PluginError(where_ + ": \"" + key + "\" is " + kind(value) + ", expected text");
    return value.get<std::string>();
  }
  std::string need_text(const std::string& key) {
    auto found = text(key, need(key));
    if (found.empty()) throw PluginError(where_ + ": \"" + key + "\" is empty");
    return found;
  }
  bool flag(const std::string& key, bool fallback) {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) {
      throw PluginError(where_ + ": \"" + key + "\" is " + shown(*value) + ", expected true or false");
    }
    return value->get<bool>();
  }
  std::optional<double> number(const std::string& key) {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) throw PluginError(where_ + ": \"" + key + "\" is " + kind(*value) + ", expected a number");
    return value->get<double>();
  }
  std::string choice(const std::string& key, const std::string& fallback, const std::vector<std::string>& choices) {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    auto found = text(key, *value);
    if (std::find(choices.begin(), choices.end(), found) == choices.end()) {
      throw PluginError(where_ + ": \"" + key + "\" is \"" + found + "\", expected one of " + join(choices));
    }
    return found;
  }
  /// A list of distinct, non-empty texts; from \p choices if there are any.
  std::vector<std::string> texts(const std::string& key, std::vector<std::string> fallback,
                                 const std::vector<std::string>& choices = {}) {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_array()) throw PluginError(where_ + ": \"" + key + "\" is " + kind(*value) + ", expected a list");
    const auto wrong = [&](const std::string& what) { return PluginError(where_ + ": \"" + key + "\" has " + what); };
    std::vector<std::string> out;
    for (const auto& element : *value) {
      auto word = text(key, element);
      if (word.empty()) throw wrong("an empty element");
      if (!choices.empty() && std::find(choices.begin(), choices.end(), word) == choices.end()) {
        throw wrong("\"" + word + "\", expected one of " + join(choices));
      }
      if (std::find(out.begin(), out.end(), word) != out.end()) {
        throw wrong("\"" + word + "\" twice");
      }
      out.push_back(std::move(word));
    }
    return out;
  }
  void finish() const {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
        throw PluginError(where_ + ": unknown key \"" + key + "\"; known: " + join(known_));
      }
    }
  }
  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  const json& object_;
  std::string where_;
  std::vector<std::string> known_;
};

/// JSON allows a key twice and lets the reader choose; a card with two answers is refused instead.
json parse_without_duplicates(const std::string& text, const std::string& where) {
  std::vector<std::set<std::string>> open;
  std::string duplicate;
  const json::parser_callback_t watch = [&](int /*depth*/, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) open.emplace_back();
    if (event == json::parse_event_t::object_end) open.pop_back();
    if (event == json::parse_event_t::key && !open.back().insert(parsed.get<std::string>()).second) {
      duplicate = parsed.get<std::string>();
    }
    return true;
  };
  json parsed;
  try {
    parsed = json::parse(text, watch);
  } catch (const json::exception& e) {
    throw PluginError(where + " is no valid JSON: " + words_of(e));
  }
  if (!duplicate.empty()) throw PluginError(where + ": the key \"" + duplicate + "\" stands twice in one object");
  return parsed;
}

bool is_word(const std::string& text, bool letter_first) {
  if (text.empty() || (letter_first && (text[0] < 'a' || text[0] > 'z'))) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

/// [a-z0-9_]+(\.[a-z0-9_]+)+
bool is_model_id(const std::string& id) {
  std::size_t parts = 0;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = id.find('.', begin);
    if (!is_word(id.substr(begin, end == std::string::npos ? end : end - begin), false)) return false;
    ++parts;
    if (end == std::string::npos) break;
    begin = end + 1;
  }
  return parts >= 2 && id.size() <= 64;
}

bool is_version(const std::string& text) {
  std::size_t dots = 0;
  bool digit = false;
  for (const char c : text) {
    if (c == '.') {
      if (!digit) return false;
      ++dots;
      digit = false;
    } else if (c >= '0' && c <= '9') {
      digit = true;
    } else {
      return false;
    }
  }
  return dots == 2 && digit;
}

/// A column that means nothing without another one, or without the task, is a mistake of the card's author.
void check_columns(const Card& card, const std::string& where) {
  const auto has = [&](const std::string& name) {
    return std::find(card.columns.begin(), card.columns.end(), name) != card.columns.end();
  };
  for (const auto& [column, needed] : {std::pair{"reference_control", "reference"},
                                       {"reference_b", "reference"},
                                       {"reference_b", "drug_b"},
                                       {"reference_b_control", "reference_b"},
                                       {"reference_context", "reference"},
                                       {"reference_context", "context"},
                                       {"reference_b_context", "reference_b"},
                                       {"reference_b_context", "context"}}) {
    if (has(column) && !has(needed))
      throw PluginError(where + ": the column \"" + column + "\" goes with \"" + needed + "\", which is not asked for");
  }
  for (const auto* column : {"context", "reference"}) {
    if (has(column) && !card.supports("expression"))
      throw PluginError(where + ": the column \"" + column + "\" is of the task \"expression\", which is not on offer");
  }
}

std::string range_text(const ParamSpec& spec) {
  const bool whole = spec.type == "int" || spec.type == "int_list";
  const auto number = [whole](const std::optional<double>& x, const char* none) {
    if (!x) return std::string(none);
    const bool exact = whole && std::trunc(*x) == *x && std::fabs(*x) < 0x1p53;
    return exact ? json(static_cast<std::int64_t>(*x)).dump() : json(*x).dump();
  };
  return "[" + number(spec.min, "-inf") + ", " + number(spec.max, "inf") + "]";
}

ParamSpec read_param(const json& object, std::size_t index, const std::string& card,
                     const std::vector<ParamSpec>& earlier) {
  Reader reader(object, card + ", parameter " + std::to_string(index));
  ParamSpec spec;
  spec.key = reader.need_text("key");
  const std::string where = card + ", parameter \"" + spec.key + "\"";
  if (!is_word(spec.key, true)) throw PluginError(where + ": a key is [a-z][a-z0-9_]*");
  for (const auto& other : earlier) {
    if (other.key == spec.key) throw PluginError(where + " stands twice");
  }
  reader.find("type");
  spec.type = reader.choice("type", "", {std::begin(kTypes), std::end(kTypes)});
  if (spec.type.empty()) throw PluginError(where + ": the key \"type\" is missing");
  const json& fallback = reader.need("default");
  spec.doc = reader.need_text("doc");
  spec.min = reader.number("min");
  spec.max = reader.number("max");
  spec.choices = reader.texts("choices", {});
  if (const json* when = reader.find("when")) spec.when = *when;
  if (const json* tune = reader.find("tune")) spec.tune = *tune;
  reader.finish();

  const bool numeric = spec.type == "int" || spec.type == "real" || spec.type == "int_list" || spec.type == "real_list";
  if (!numeric && (spec.min || spec.max)) throw PluginError(where + ": \"min\" and \"max\" are for numbers");
  if (spec.min && spec.max && *spec.min > *spec.max) throw PluginError(where + ": min is larger than max");
  if ((spec.type == "enum") != !spec.choices.empty()) {
    throw PluginError(where + (spec.type == "enum" ? ": an enum needs \"choices\"" : ": \"choices\" are for enums"));
  }
  try {
    spec.default_value = spec.check(fallback, card);
    if (!spec.when.is_null()) {
      if (!spec.when.is_object() || spec.when.size() != 1) {
        throw PluginError(where + ": \"when\" is " + shown(spec.when) + ", expected {\"key\": value}");
      }
      const std::string& on = spec.when.begin().key();
      const auto other = std::find_if(earlier.begin(), earlier.end(), [&](const ParamSpec& p) { return p.key == on; });
      if (other == earlier.end()) {
        throw PluginError(where + ": \"when\" names \"" + on + "\", which is no earlier parameter");
      }
      (void)other->check(spec.when.begin().value(), where + ", \"when\"");
    }
    if (!spec.tune.is_null()) {
      Reader tune(spec.tune, where + ", \"tune\"");
      const auto low = tune.number("low");
      const auto high = tune.number("high");
      const bool log = tune.flag("log", false);
      const json* choices = tune.find("choices");
      tune.finish();
      if (choices != nullptr) {
        if (low || high || !choices->is_array() || choices->empty()) {
          throw PluginError(tune.where() + ": expected either low and high, or a list of choices");
        }
        for (const auto& choice : *choices) (void)spec.check(choice, tune.where());
      } else {
        if (!numeric || !low || !high || *low > *high || (log && *low <= 0)) {
          throw PluginError(tune.where() + ": expected numbers low <= high (both above 0 with log), found " +
                            shown(spec.tune));
        }
        if ((spec.min && *low < *spec.min) || (spec.max && *high > *spec.max)) {
          throw PluginError(tune.where() + ": " + shown(spec.tune) + " leaves the range " + range_text(spec));
        }
      }
    }
  } catch (const UsageError& e) {  // here the card's author is wrong, not the user
    throw PluginError(e.what());
  }
  return spec;
}

}  // namespace

ParamValue ParamSpec::check(const json& value, const std::string& where) const {
  const auto wrong = [&](const std::string& expected) {
    return UsageError(where + ": parameter \"" + key + "\" is " + shown(value) + ", expected " + expected);
  };
  const auto in_range = [&](double x) { return std::isfinite(x) && (!min || x >= *min) && (!max || x <= *max); };
  const auto integer = [&](const json& v, const std::string& expected) {
    const bool too_large = v.is_number_unsigned() && v.get<std::uint64_t>() > std::uint64_t{INT64_MAX};
    if (!v.is_number_integer() || too_large) throw wrong(expected);
    const auto x = v.get<std::int64_t>();
    if (!in_range(static_cast<double>(x))) throw wrong(expected + " in " + range_text(*this));
    return x;
  };
  const auto real = [&](const json& v, const std::string& expected) {
    if (!v.is_number()) throw wrong(expected);
    const auto x = v.get<double>();
    if (!in_range(x)) throw wrong(expected + " in " + range_text(*this));
    return x;
  };
  if (type == "bool") {
    if (!value.is_boolean()) throw wrong("true or false");
    return value.get<bool>();
  }
  if (type == "int") return integer(value, "an integer");
  if (type == "real") return real(value, "a number");
  if (type == "str" || type == "enum") {
    if (!value.is_string()) throw wrong(type == "enum" ? "one of " + join(choices) : "text");
    auto text = value.get<std::string>();
    if (type == "enum" && std::find(choices.begin(), choices.end(), text) == choices.end()) {
      throw wrong("one of " + join(choices));
    }
    return text;
  }
  if (type == "int_list") {
    if (!value.is_array()) throw wrong("a list of integers");
    std::vector<std::int64_t> list;
    for (const auto& element : value) list.push_back(integer(element, "a list of integers"));
    return list;
  }
  if (!value.is_array()) throw wrong("a list of numbers");
  std::vector<double> list;
  for (const auto& element : value) list.push_back(real(element, "a list of numbers"));
  return list;
}

Card Card::parse(const std::string& text, const std::string& where) {
  if (text.size() > kMaxCardBytes) {
    throw PluginError(where + " has " + std::to_string(text.size()) + " bytes, expected at most " +
                      std::to_string(kMaxCardBytes));
  }
  Card card;
  card.json = parse_without_duplicates(text, where);
  Reader reader(card.json, where);
  const nlohmann::json& format = reader.need("card");
  if (format != 1) {
    throw PluginError(where + ": \"card\" (the format) is " + shown(format) +
                      ", this host reads 1; update the host or rebuild the plugin");
  }
  card.id = reader.need_text("id");
  if (!is_model_id(card.id)) {
    throw PluginError(where + ": \"id\" is \"" + card.id +
                      "\", expected words of a-z, 0-9 and _ joined by dots (\"family.model\"), at most 64 characters");
  }
  card.version = reader.need_text("version");
  if (!is_version(card.version)) {
    throw PluginError(where + ": \"version\" is \"" + card.version + "\", expected MAJOR.MINOR.PATCH");
  }
  card.title = reader.need_text("title");
  if (const auto* paper = reader.find("paper")) card.paper = reader.text("paper", *paper);
  card.licence = reader.need_text("licence");
  card.tasks = reader.texts("tasks", {}, {"regression", "binary", "expression", "expression_change"});
  if (card.tasks.empty()) throw PluginError(where + ": \"tasks\" is missing or empty, expected at least one task");

  if (const auto* params = reader.find("params")) {
    if (!params->is_array()) {
      throw PluginError(where + ": \"params\" is " + kind(*params) + ", expected a list of objects");
    }
    for (std::size_t i = 0; i < params->size(); ++i) {
      card.params.push_back(read_param((*params)[i], i, where, card.params));
    }
  }
  const nlohmann::json none = nlohmann::json::object();
  const auto* needs_json = reader.find("needs");
  Reader needs(needs_json == nullptr ? none : *needs_json, where + ", \"needs\"");
  card.sample_blocks = needs.texts("samples", {});
  card.drug_blocks = needs.texts("drugs", {});
  card.optional_sample_blocks = needs.texts("optional_samples", {});
  card.optional_drug_blocks = needs.texts("optional_drugs", {});
  card.columns = needs.texts("columns", {}, {kColumns.begin(), kColumns.end()});
  check_columns(card, needs.where());
  card.early_stopping = needs.flag("early_stopping", false);
  card.unlabelled_target = needs.choice("unlabelled_target", "no", {"no", "optional", "required"});
  card.feature_names = needs.flag("feature_names", false);
  if (const auto* assets = needs.find("assets")) {
    if (!assets->is_array())
      throw PluginError(needs.where() + ": \"assets\" is " + kind(*assets) + ", expected a list");
    for (const auto& object : *assets) {
      Reader one(object, where + ", asset " + std::to_string(card.assets.size()));
      Asset asset;
      asset.id = one.need_text("id");
      if (one.find("sha256") != nullptr) asset.sha256 = one.need_text("sha256");
      asset.required = one.flag("required", false);
      one.finish();
      if (!asset.sha256.empty() &&
          (asset.sha256.size() != 64 || asset.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)) {
        throw PluginError(one.where() + ": \"sha256\" is no 64 lower-case hexadecimal digits");
      }
      for (const auto& other : card.assets) {
        if (other.id == asset.id) throw PluginError(one.where() + ": the id \"" + asset.id + "\" stands twice");
      }
      card.assets.push_back(std::move(asset));
    }
  }
  needs.finish();
  for (const auto& [needed, optional] : {std::pair{&card.sample_blocks, &card.optional_sample_blocks},
                                         std::pair{&card.drug_blocks, &card.optional_drug_blocks}}) {
    for (const auto& name : *needed) {
      if (std::find(optional->begin(), optional->end(), name) != optional->end()) {
        throw PluginError(needs.where() + ": \"" + name + "\" is both needed and optional");
      }
    }
  }

  const auto* traits_json = reader.find("traits");
  Reader traits(traits_json == nullptr ? none : *traits_json, where + ", \"traits\"");
  card.accepts_missing = traits.flag("accepts_missing", false);
  card.accepts_sparse_targets = traits.flag("accepts_sparse_targets", false);
  card.transductive = traits.flag("transductive", false);
  card.determinism = traits.choice("determinism", "bitwise", {"bitwise", "statistical", "none"});
  card.stochastic = traits.flag("stochastic", false);
  card.probabilities = traits.flag("probabilities", false);
  card.cancel_latency_s = traits.number("cancel_latency_s").value_or(2.0);
  if (!(card.cancel_latency_s > 0 && card.cancel_latency_s <= 60)) {
    throw PluginError(traits.where() + ": \"cancel_latency_s\" is " + shown(card.cancel_latency_s) +
                      ", expected more than 0 and at most 60");
  }
  card.devices = traits.texts("devices", {"cpu"}, {"cpu", "cuda"});
  if (card.devices.empty()) throw PluginError(traits.where() + ": \"devices\" is empty");
  card.embeds = traits.texts("embeds", {}, {"sample", "drug"});
  traits.finish();
  if (const auto* verify_json = reader.find("verify")) {
    Reader verify(*verify_json, where + ", \"verify\"");
    if (const auto* overrides = verify.find("params")) card.verify_params = *overrides;
    if (const auto* overrides = verify.find("learning")) card.verify_learning = *overrides;
    verify.finish();
    try {
      (void)card.resolve(card.verify_params);
      (void)card.resolve(card.verify_learning);
    } catch (const UsageError& e) {
      throw PluginError(verify.where() + ": " + e.what());
    }
  }
  reader.finish();
  return card;
}

std::vector<Param> Card::resolve(const nlohmann::json& overrides) const {
  if (!overrides.is_null() && !overrides.is_object()) {
    throw UsageError("parameters of " + id + " are " + kind(overrides) + ", expected keys with values");
  }
  std::vector<std::string> known;
  std::vector<Param> out;
  for (const auto& spec : params) {
    known.push_back(spec.key);
    const bool given = overrides.is_object() && overrides.contains(spec.key);
    out.push_back({spec.key, given ? spec.check(overrides[spec.key], "model " + id) : spec.default_value});
  }
  if (overrides.is_object()) {
    for (const auto& [key, value] : overrides.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        throw UsageError("model " + id + " has no parameter \"" + key + "\"; known: " + join(known));
      }
    }
  }
  return out;
}

bool Card::supports(const std::string& task) const {
  return std::find(tasks.begin(), tasks.end(), task) != tasks.end();
}

json to_json(const ParamValue& value) {
  return std::visit([](const auto& v) { return json(v); }, value);
}

json to_json(const std::vector<Param>& params) {
  json out = json::object();
  for (const auto& param : params) out[param.key] = to_json(param.value);
  return out;
}

}  // namespace cdrzoo
