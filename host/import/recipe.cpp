// SPDX-License-Identifier: Apache-2.0
#include "import/recipe.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/hdf5_file.hpp"
#include "import/drug_structures.hpp"

namespace cdrzoo {
namespace {

/// A table of the recipe that hands out its values by key and knows which keys exist.
class Reader {
 public:
  Reader(const std::filesystem::path& file, const toml::table& table, std::string where,
         const std::vector<const char*>& known)
      : file_(&file), table_(&table), where_(std::move(where)) {
    for (const auto& [key, node] : table) {
      const std::string word(key.str());
      if (std::find_if(known.begin(), known.end(), [&word](const char* k) { return word == k; }) != known.end())
        continue;
      std::string list;
      for (const char* k : known) list.append(list.empty() ? "" : ", ").append(k);
      fail(node, "unknown key '" + word + "'" + (where_.empty() ? "" : " in " + where_) + "; known: " + list);
    }
  }

  [[nodiscard]] bool has(const char* key) const { return table_->contains(key); }

  [[nodiscard]] std::string text(const char* key, const std::string& otherwise = "") const {
    const toml::node* node = table_->get(key);
    return node == nullptr ? otherwise : text_of(*node, key);
  }
  [[nodiscard]] std::string required_text(const char* key) const {
    std::string value = text(key);
    if (value.empty()) fail(*table_, "lacks '" + std::string(key) + "'" + (where_.empty() ? "" : " in " + where_));
    return value;
  }
  [[nodiscard]] std::vector<std::string> texts(const char* key) const {
    std::vector<std::string> out;
    if (const toml::node* node = table_->get(key)) {
      if (!node->is_array()) fail(*node, named(key) + " must be a list of texts");
      for (const auto& item : *node->as_array()) out.push_back(text_of(item, key));
    }
    return out;
  }
  [[nodiscard]] bool flag(const char* key) const {
    const toml::node* node = table_->get(key);
    if (node == nullptr) return false;
    if (!node->is_boolean()) fail(*node, named(key) + " must be true or false");
    return node->as_boolean()->get();
  }
  [[nodiscard]] std::optional<double> number(const char* key) const {
    const toml::node* node = table_->get(key);
    if (node == nullptr) return std::nullopt;
    const auto value = node->value<double>();
    if (!node->is_number() || !value || !std::isfinite(*value)) fail(*node, named(key) + " must be a finite number");
    return value;
  }
  /// One of the words; the first is the default.
  [[nodiscard]] std::string choice(const char* key, const std::vector<const char*>& words) const {
    return words[index(key, words)];
  }
  /// The same as its position, which is the value of an enumeration.
  [[nodiscard]] std::size_t index(const char* key, const std::vector<const char*>& words) const {
    const std::string value = text(key, words.front());
    std::string list;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (value == words[i]) return i;
      if (*words[i] == '\0') continue;  // stands for "not given"
      list.append(list.empty() ? "" : ", ").append(words[i]);
    }
    fail(*table_->get(key), named(key) + " is '" + value + "'; known: " + list);
  }
  [[nodiscard]] std::int64_t count(const char* key, std::int64_t otherwise, std::int64_t least) const {
    const toml::node* node = table_->get(key);
    if (node == nullptr) return otherwise;
    const auto value = node->value_exact<std::int64_t>();
    if (!value || *value < least)
      fail(*node, named(key) + " must be a whole number of at least " + std::to_string(least));
    return *value;
  }
  /// One character; \p otherwise if the key is absent.
  [[nodiscard]] char character(const char* key, char otherwise) const {
    const toml::node* node = table_->get(key);
    if (node == nullptr) return otherwise;
    const auto value = node->value_exact<std::string>();
    if (!value || value->size() != 1) fail(*node, named(key) + " must be one character");
    return value->front();
  }
  [[nodiscard]] const toml::table* table(const char* key) const {
    const toml::node* node = table_->get(key);
    if (node == nullptr) return nullptr;
    if (!node->is_table()) fail(*node, named(key) + " must be a table");
    return node->as_table();
  }
  [[nodiscard]] bool is_text(const char* key) const {
    return table_->get(key) != nullptr && table_->get(key)->is_string();
  }
  /// A table, or a list of tables.
  [[nodiscard]] std::vector<const toml::table*> one_or_more(const char* key) const {
    const toml::node* node = table_->get(key);
    return node != nullptr && node->is_table() ? std::vector<const toml::table*>{node->as_table()} : tables(key);
  }
  [[nodiscard]] std::vector<const toml::table*> tables(const char* key) const {
    std::vector<const toml::table*> out;
    if (const toml::node* node = table_->get(key)) {
      if (!node->is_array()) fail(*node, named(key) + " must be a list of tables");
      for (const auto& item : *node->as_array()) {
        if (!item.is_table()) fail(item, named(key) + " must be a list of tables");
        out.push_back(item.as_table());
      }
    }
    return out;
  }
  /// Column = text, or column = [texts].
  [[nodiscard]] Recipe::Filter filter(const char* key) const {
    Recipe::Filter out;
    if (const toml::table* inner = table(key)) {
      for (const auto& [name, node] : *inner) {
        std::vector<std::string>& texts = out[std::string(name.str())];
        if (const toml::array* list = node.as_array()) {
          for (const auto& item : *list) texts.push_back(text_of(item, key));
        } else {
          texts.push_back(text_of(node, key));
        }
      }
    }
    return out;
  }
  [[nodiscard]] std::map<std::string, int> label_map(const char* key) const {
    std::map<std::string, int> out;
    if (const toml::table* inner = table(key)) {
      for (const auto& [name, node] : *inner) {
        const auto label = node.value_exact<std::int64_t>();
        if (!label || *label < -1 || *label > 1) {
          fail(node, named(key) + ": a word means 1 (sensitive, responder), 0 (not) or -1 (no label)");
        }
        out[std::string(name.str())] = static_cast<int>(*label);
      }
    }
    return out;
  }

  [[noreturn]] void fail(const toml::node& node, const std::string& what) const {
    throw UsageError(file_->string() + " line " + std::to_string(node.source().begin.line) + ": " + what);
  }
  [[noreturn]] void fail(const std::string& what) const { fail(*table_, what); }

 private:
  [[nodiscard]] std::string named(const char* key) const {
    return "'" + std::string(key) + "'" + (where_.empty() ? "" : " in " + where_);
  }
  [[nodiscard]] std::string text_of(const toml::node& node, const char* key) const {
    if (!node.is_string()) fail(node, named(key) + " must be text");
    const std::string& value = node.as_string()->get();
    if (!is_clean_text(value)) fail(node, named(key) + " must not hold line ends or other control characters");
    return value;
  }

  const std::filesystem::path* file_;
  const toml::table* table_;
  std::string where_;
};

using Keys = std::vector<const char*>;

/// Keys of everything that is a file.
constexpr const char* kFileKeys[] = {"file",    "sha256",  "format", "part",  "separator", "decimal",
                                     "missing", "comment", "trim",   "where", "unless"};

Keys with_file_keys(Keys own) {
  own.insert(own.begin(), std::begin(kFileKeys), std::end(kFileKeys));
  return own;
}

void read_table(const Reader& reader, Recipe::Table& out) {
  out.file = reader.required_text("file");
  out.sha256 = reader.text("sha256");
  out.format = reader.text("format");
  out.part = reader.choice("part", {"", "samples", "genes"});
  out.dialect.separator = reader.character("separator", out.dialect.separator);
  out.dialect.decimal = reader.character("decimal", out.dialect.decimal);
  if (reader.has("missing")) out.dialect.missing = reader.texts("missing");
  out.dialect.comment = reader.text("comment");
  out.dialect.trim = reader.flag("trim");
  out.where = reader.filter("where");
  out.unless = reader.filter("unless");
  if (!out.sha256.empty() &&
      (out.sha256.size() != 64 || out.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)) {
    reader.fail("'sha256' must be 64 lower-case hexadecimal digits");
  }
}

NameRule name_rule(const Reader& reader, const char* key) {
  return static_cast<NameRule>(reader.index(key, name_rule_words()));
}

/// The keys of a step: what it is, and which further keys it takes.
struct StepKeys {
  const char* word;
  Keys keys;
};
const std::vector<StepKeys>& step_keys() {
  static const std::vector<StepKeys> all = {{"fill_missing", {"with", "value", "fit", "because"}},
                                            {"clip", {"low", "high"}},
                                            {"log", {"base", "offset"}},
                                            {"unlog", {"base", "offset"}},
                                            {"library_size", {"total"}},
                                            {"zscore", {"statistics", "fit", "because"}},
                                            {"variable_genes", {"genes"}}};
  return all;
}

void read_logarithm(const Reader& reader, Recipe::Step& step) {
  if (reader.has("base")) {
    // Either a number, or the word for Euler's.
    step.base = reader.is_text("base") && reader.text("base") == "e" ? 0.0 : reader.number("base").value_or(0.0);
    if (step.base != 0.0 && step.base <= 1.0) reader.fail("'base' must be \"e\" or a number above 1");
  }
  step.offset = reader.number("offset").value_or(step.offset);
  if (step.offset < 0.0) reader.fail("'offset' must not be negative");
}

/// Steps that learn are fitted per fold unless the recipe gives a reason.
void read_fit(const Reader& reader, Recipe::Step& step) {
  step.on_all_samples = reader.choice("fit", {"training", "all_samples"}) == "all_samples";
  step.because = reader.text("because");
  if (step.on_all_samples == step.because.empty()) {
    reader.fail("fit = \"all_samples\", and only that, needs 'because': why the step may learn from test samples too");
  }
}

Recipe::Step read_step(const std::filesystem::path& path, const toml::table& table) {
  Keys all = {"step"};
  std::string known;
  for (const auto& kind : step_keys()) {
    all.insert(all.end(), kind.keys.begin(), kind.keys.end());
    known.append(known.empty() ? "" : ", ").append(kind.word);
  }
  const Reader reader(path, table, "a step", all);
  Keys words = {""};
  for (const auto& kind : step_keys()) words.push_back(kind.word);
  const std::string word = reader.choice("step", words);
  if (word.empty()) reader.fail("a step needs 'step'; known: " + known);
  for (const auto& kind : step_keys()) {
    for (const char* key : kind.keys) {
      const auto is_own = [&](const StepKeys& own) {
        return own.word == word && std::find_if(own.keys.begin(), own.keys.end(), [key](const char* k) {
                                     return std::strcmp(k, key) == 0;
                                   }) != own.keys.end();
      };
      if (reader.has(key) && std::none_of(step_keys().begin(), step_keys().end(), is_own))
        reader.fail("the step " + word + " has no '" + key + "'");
    }
  }
  Recipe::Step step;
  if (word == "fill_missing") {
    const bool constant = reader.choice("with", {"gene_minimum", "constant"}) == "constant";
    if (constant != reader.has("value"))
      reader.fail("fill_missing needs either with = \"gene_minimum\" or with = \"constant\" and a value");
    step.kind = constant ? Recipe::Step::Kind::fill_constant : Recipe::Step::Kind::fill_gene_minimum;
    step.value = reader.number("value").value_or(0.0);
    if (!constant) read_fit(reader, step);
    if (constant && reader.has("fit")) reader.fail("a constant is not fitted");
  } else if (word == "clip") {
    step.kind = Recipe::Step::Kind::clip;
    step.low = reader.number("low");
    step.high = reader.number("high");
    if (!step.low && !step.high) reader.fail("clip needs 'low', 'high' or both");
    if (step.low && step.high && *step.low >= *step.high) reader.fail("clip needs low < high");
  } else if (word == "log" || word == "unlog") {
    step.kind = word == "log" ? Recipe::Step::Kind::log : Recipe::Step::Kind::unlog;
    read_logarithm(reader, step);
  } else if (word == "library_size") {
    step.kind = Recipe::Step::Kind::library_size;
    step.value = reader.number("total").value_or(1e4);
    if (step.value <= 0.0) reader.fail("'total' must be above 0");
  } else if (word == "zscore") {
    step.kind = Recipe::Step::Kind::zscore;
    step.by_source = reader.choice("statistics", {"own", "source"}) == "source";
    read_fit(reader, step);
  } else {
    step.kind = Recipe::Step::Kind::variable_genes;
    step.genes = reader.count("genes", 0, 1);
    if (step.genes == 0) reader.fail("variable_genes needs 'genes', how many stay");
  }
  return step;
}

void read_labels(const Reader& reader, const std::filesystem::path& path, Recipe::Response& out) {
  out.label = reader.text("label");
  out.label_words = reader.label_map("label_words");
  static const std::map<std::string, std::map<std::string, int>> kVocabularies = {
      // RECIST: complete and partial response; stable and progressive disease
      {"recist",
       {{"CR", 1},
        {"PR", 1},
        {"SD", 0},
        {"PD", 0},
        {"Complete Response", 1},
        {"Partial Response", 1},
        {"Stable Disease", 0},
        {"Clinical Progressive Disease", 0},
        {"Progressive Disease", 0}}},
      // pathological complete response
      {"pcr", {{"1", 1}, {"0", 0}, {"pCR", 1}, {"RD", 0}, {"yes", 1}, {"no", 0}}}};
  const std::string vocabulary = reader.choice("label_vocabulary", {"", "recist", "pcr"});
  if (!vocabulary.empty()) {
    if (!out.label_words.empty()) reader.fail("'label_vocabulary' and 'label_words' exclude each other");
    out.label_words = kVocabularies.at(vocabulary);
  }
  if (out.label.empty() && !out.label_words.empty() && !out.wide_labels)
    reader.fail("'label_words' and 'label_vocabulary' need 'label', the column of the words");

  const toml::table* rule = reader.table("derive_label");
  if (rule == nullptr) return;
  const Reader r(path, *rule, "derive_label",
                 {"rule", "threshold", "file", "sha256", "format", "part", "separator", "decimal", "missing", "comment",
                  "trim", "where", "unless", "drug", "column", "because"});
  const std::string word = r.choice("rule", {"", "per_drug_median", "per_drug_mean", "fixed", "per_drug_table"});
  if (word.empty()) r.fail("'derive_label' needs 'rule'");
  if (!out.label.empty()) reader.fail("'label' and 'derive_label' exclude each other");
  out.label_because = r.text("because");
  if (word == "fixed") {
    out.label_rule = Recipe::LabelRule::fixed;
    const auto threshold = r.number("threshold");
    if (!threshold) r.fail("the rule fixed needs 'threshold': a value below it is 1");
    out.label_threshold = *threshold;
  } else if (word == "per_drug_table") {
    out.label_rule = Recipe::LabelRule::per_drug_table;
    out.label_table.emplace();
    read_table(r, *out.label_table);
    out.label_table_drug = r.text("drug", "drug_id");
    out.label_table_threshold = r.text("column", "threshold");
  } else {
    out.label_rule = word == "per_drug_median" ? Recipe::LabelRule::per_drug_median : Recipe::LabelRule::per_drug_mean;
    if (out.label_because.empty()) {
      r.fail(
          "thresholds that are learnt from all records, test records too, need 'because'; without derive_label an "
          "experiment's label rule fits them on the training rows of each fold");
    }
  }
}

Recipe::Response read_response(const std::filesystem::path& path, const toml::table& table) {
  const Reader reader(
      path, table, "response",
      with_file_keys(
          {"layout",    "values_are",  "sample",           "match",        "match_as",        "several",
           "drug",      "drug_is",     "drug_match",       "value",        "scale",           "transform",
           "label",     "label_words", "label_vocabulary", "derive_label", "unknown_samples", "unknown_drugs",
           "ambiguous", "replicates",  "replicate"}));
  Recipe::Response out;
  read_table(reader, out);
  out.wide = reader.choice("layout", {"long", "wide"}) == "wide";
  out.wide_labels = reader.choice("values_are", {"values", "labels"}) == "labels";
  out.sample = reader.text("sample", out.wide ? "" : out.sample);
  out.match = reader.text("match", out.match);
  out.match_rule = name_rule(reader, "match_as");
  out.first_of_several = reader.choice("several", {"error", "first"}) == "first";
  out.drug = reader.text("drug", out.drug);
  out.drug_is = reader.text("drug_is");
  if (!out.drug_is.empty() && (reader.has("drug") || out.wide))
    reader.fail("'drug_is', one drug for all rows, excludes 'drug' and layout = \"wide\"");
  out.drug_match = reader.choice("drug_match", {"id", "name", "pubchem", "structure", "inchikey"});
  out.value = reader.text("value");
  read_labels(reader, path, out);
  if (out.wide) {
    for (const char* key : {"value", "label", "drug", "replicate"}) {
      if (reader.has(key))
        reader.fail("a wide table has no column of '" + std::string(key) + "'; its header names drugs");
    }
  } else {
    if (out.value.empty() && out.label.empty())
      reader.fail("a response needs the column of 'value', of 'label', or both");
    if (out.wide_labels) reader.fail("'values_are' is for layout = \"wide\"");
  }
  out.scale = reader.number("scale").value_or(1.0);
  if (out.scale == 0.0) reader.fail("'scale' must not be 0");
  if (const toml::table* transform = reader.table("transform")) {
    out.transform = read_step(path, *transform);
    if (out.transform->kind != Recipe::Step::Kind::log && out.transform->kind != Recipe::Step::Kind::unlog)
      reader.fail("'transform' of a value is the step log or unlog");
    if (!Reader(path, *transform, "transform", {"step", "base", "offset"}).has("offset")) out.transform->offset = 0.0;
  }
  out.drop_unknown_samples = reader.choice("unknown_samples", {"error", "drop"}) == "drop";
  out.drop_unknown_drugs = reader.choice("unknown_drugs", {"error", "drop"}) == "drop";
  out.drop_ambiguous = reader.choice("ambiguous", {"error", "drop"}) == "drop";
  out.replicates =
      static_cast<Recipe::Response::Replicates>(reader.index("replicates", {"error", "mean", "median", "keep"}));
  out.replicate = reader.text("replicate");
  if (!out.replicate.empty() && out.replicates != Recipe::Response::Replicates::keep)
    reader.fail("'replicate', the column of their numbers, needs replicates = \"keep\"");
  return out;
}

void read_expression(const std::filesystem::path& path, const toml::table& table, Recipe::Domain& out) {
  const Reader e(path, table, "expression",
                 with_file_keys({"id", "samples_are", "annotations", "layer", "sample_names", "gene_names_in",
                                 "sample_list", "gene_list", "gene_names", "repeated_genes", "repeated_samples",
                                 "names_as", "match", "match_as", "arrives_scaled"}));
  read_table(e, out.expression);
  if (!out.expression.where.empty() || !out.expression.unless.empty())
    e.fail("'where' and 'unless' are for tables of samples, drugs and responses, not for a matrix");
  out.matrix.format = out.expression.format;
  out.matrix.dialect = out.expression.dialect;
  out.matrix.id = e.text("id");
  out.matrix.samples_are = e.choice("samples_are", {"", "rows", "columns"});
  out.matrix.annotations = e.texts("annotations");
  out.matrix.layer = e.text("layer");
  out.matrix.sample_names = e.text("sample_names");
  out.matrix.gene_names = e.text("gene_names_in");
  out.matrix.sample_list = e.text("sample_list");
  out.matrix.gene_list = e.text("gene_list");
  out.gene_names = static_cast<GeneNames>(e.index("gene_names", gene_names_words()));
  out.repeated_genes =
      static_cast<Recipe::Domain::RepeatedGenes>(e.index("repeated_genes", {"error", "first", "mean", "highest_mean"}));
  out.repeated_samples = static_cast<Recipe::Repeats>(e.index("repeated_samples", {"error", "first", "mean"}));
  out.name_rule = name_rule(e, "names_as");
  if (out.name_rule == NameRule::name) e.fail("'names_as' makes names; \"name\" is for matching them");
  out.match = e.text("match");
  out.match_rule = name_rule(e, "match_as");
  out.arrives_scaled = e.text("arrives_scaled");
}

void read_samples(const std::filesystem::path& path, const toml::table& table, Recipe::Domain& out) {
  out.has_samples = true;
  const Reader s(path, table, "samples", with_file_keys({"from", "id", "tissue", "group", "group_as"}));
  out.samples_from_matrix = s.choice("from", {"", "expression"}) == "expression";
  if (out.samples_from_matrix == s.has("file"))
    s.fail("samples need either 'file' or from = \"expression\", what the matrix file says about them");
  if (out.samples_from_matrix) {
    out.samples.where = s.filter("where");
    out.samples.unless = s.filter("unless");
    if (s.has("id")) s.fail("'id' is not for from = \"expression\": the samples are those of the matrix");
  } else {
    read_table(s, out.samples);
    out.sample_id = s.text("id", out.sample_id);
  }
  out.tissue = s.text("tissue");
  out.group = s.text("group");
  out.group_rule = name_rule(s, "group_as");
}

PerturbationRule read_perturbation(const std::filesystem::path& path, const toml::table& table) {
  const Reader p(path, table, "perturbation",
                 {"context", "perturbation", "controls", "control_column", "combination", "dose", "dose_unit", "time",
                  "time_unit", "level", "control", "seed", "storage", "deg_genes", "deg_rule", "min_replicates"});
  PerturbationRule out;
  out.context = p.texts("context");
  out.perturbation = p.required_text("perturbation");
  out.controls = p.texts("controls");
  if (out.controls.empty()) p.fail("'controls' must list the words that mean untreated");
  out.control_column = p.text("control_column");
  out.combination = p.text("combination");
  const auto column_or_number = [&p](const char* key, std::string& column, std::optional<double>& constant) {
    if (p.is_text(key)) {
      column = p.text(key);
    } else {
      constant = p.number(key);
    }
  };
  column_or_number("dose", out.dose, out.constant_dose);
  column_or_number("time", out.time, out.constant_time);
  out.dose_unit = p.choice("dose_unit", {"", "nM", "uM", "mM", "M"});
  out.time_unit = p.choice("time_unit", {"", "h", "min", "d"});
  if (p.has("dose") && out.dose_unit.empty()) p.fail("'dose' needs 'dose_unit', one of nM, uM, mM, M");
  if (p.has("time") && out.time_unit.empty()) p.fail("'time' needs 'time_unit', one of h, min, d");
  out.level = static_cast<PerturbationRule::Level>(p.index("level", {"condition", "cell"}));
  out.pairing = static_cast<PerturbationRule::Control>(p.index("control", {"mean", "random"}));
  out.seed = static_cast<std::uint64_t>(p.count("seed", 0, 0));
  out.storage = static_cast<ProfileStorage>(p.index("storage", {"auto", "dense", "sparse"}));
  out.deg_genes = p.count("deg_genes", out.deg_genes, 0);
  out.deg_rule = static_cast<PerturbationRule::DegRule>(p.index("deg_rule", {"mean_difference", "welch_t"}));
  out.min_replicates = p.count("min_replicates", out.min_replicates, 1);
  return out;
}

Recipe::Domain read_domain(const std::filesystem::path& path, const toml::table& table) {
  const Reader reader(
      path, table, "a domain",
      {"name", "part_of", "expression_unit", "caveat", "expression", "samples", "steps", "response", "perturbation"});
  Recipe::Domain out;
  out.is_part = reader.has("part_of");
  if (out.is_part) {
    for (const char* key : {"name", "expression_unit", "caveat"}) {
      if (reader.has(key)) reader.fail("'" + std::string(key) + "' is not for a part of another domain");
    }
    out.name = reader.required_text("part_of");
  } else {
    out.name = reader.required_text("name");
    out.expression_unit = reader.required_text("expression_unit");
    out.caveat = reader.text("caveat");
  }
  const toml::table* expression = reader.table("expression");
  if (expression == nullptr) reader.fail("the domain " + out.name + " lacks 'expression'");
  read_expression(path, *expression, out);
  if (const toml::table* samples = reader.table("samples")) read_samples(path, *samples, out);
  if (!out.match.empty() && !out.has_samples)
    reader.fail("'match' in expression is a column of 'samples', which the domain " + out.name + " lacks");
  for (const toml::table* step : reader.tables("steps")) out.steps.push_back(read_step(path, *step));
  for (const toml::table* response : reader.one_or_more("response")) {
    out.responses.push_back(read_response(path, *response));
  }
  if (const toml::table* perturbation = reader.table("perturbation"))
    out.perturbation = read_perturbation(path, *perturbation);
  return out;
}

void read_genes(const std::filesystem::path& path, const toml::table& table, Recipe::Genes& out) {
  const Reader g(path, table, "genes", {"combine", "absent", "names", "map", "panel"});
  out.intersect = g.choice("combine", {"intersect", "union"}) == "intersect";
  out.absent = g.number("absent");
  out.names = static_cast<GeneNames>(g.index("names", gene_names_words()));
  if (const toml::table* map = g.table("map")) {
    const Reader m(path, *map, "genes.map", with_file_keys({"symbol", "entrez", "ensembl", "canonical", "aliases"}));
    read_table(m, out.map.emplace());
    out.map_columns = {m.text("symbol", "symbol"), m.text("entrez"), m.text("ensembl"), m.text("canonical"),
                       m.text("aliases")};
  }
  if (const toml::table* panel = g.table("panel")) {
    const Reader p(path, *panel, "genes.panel", with_file_keys({"column"}));
    read_table(p, out.panel.emplace());
    out.panel_column = p.text("column", "symbol");
  }
  if (!out.intersect && !out.absent)
    g.fail("combine = \"union\" needs 'absent', the value of genes that a domain lacks");
  if (out.intersect && out.absent && !out.panel)
    g.fail("'absent' is for combine = \"union\" and for a panel: the value of genes that a domain lacks");
}

void read_drugs(const std::filesystem::path& path, const toml::table& table, Recipe::Drugs& out) {
  const Reader d(path, table, "drugs",
                 with_file_keys({"from", "id", "name", "smiles", "inchikey", "pubchem", "synonyms", "group",
                                 "keep_unused", "features"}));
  out.from_responses = d.choice("from", {"", "responses"}) == "responses";
  if (out.from_responses == d.has("file"))
    d.fail("drugs need either 'file' or from = \"responses\", the drugs that the responses name");
  out.features = d.texts("features");
  if (const std::string problem = structure_features_problem(out.features); !problem.empty()) d.fail(problem);
  if (out.from_responses) {
    for (const char* key :
         {"id", "name", "smiles", "inchikey", "pubchem", "synonyms", "group", "keep_unused", "where"}) {
      if (d.has(key)) d.fail("'" + std::string(key) + "' is for a table of drugs");
    }
    return;
  }
  read_table(d, out);
  out.id = d.text("id", out.id);
  out.name = d.text("name");
  out.smiles = d.text("smiles");
  out.inchikey = d.text("inchikey");
  out.pubchem = d.text("pubchem");
  out.synonyms = d.text("synonyms");
  out.group = d.text("group");
  out.keep_unused = d.flag("keep_unused");
}

Recipe::Profiles read_profiles(const std::filesystem::path& path, const toml::table& table) {
  const Reader p(path, table, "perturbations", {"table", "profiles", "controls", "genes"});
  const toml::table* rows = p.table("table");
  const toml::table* matrix = p.table("profiles");
  if (rows == nullptr || matrix == nullptr) p.fail("perturbations need 'table' and 'profiles'");
  Recipe::Profiles out;
  read_table(Reader(path, *rows, "perturbations.table", with_file_keys({})), out.table);
  const Reader m(path, *matrix, "perturbations.profiles", with_file_keys({"id", "storage"}));
  read_table(m, out.matrix);
  out.matrix_id = m.text("id");
  out.sparse = m.index("storage", {"dense", "sparse"}) == 1;
  if (const toml::table* controls = p.table("controls"))
    read_table(Reader(path, *controls, "perturbations.controls", with_file_keys({})), out.controls.emplace());
  if (const toml::table* genes = p.table("genes")) {
    const Reader g(path, *genes, "perturbations.genes", with_file_keys({"length", "rule"}));
    read_table(g, out.genes.emplace());
    out.gene_count = g.count("length", 50, 1);
    out.gene_rule = g.text("rule");
  }
  return out;
}

/// What no single table can see.
void check(const Recipe& recipe, const Reader& reader) {
  if (recipe.domains.empty()) reader.fail("a recipe needs at least one [[domain]]");
  if (recipe.genes.names != GeneNames::symbol && !recipe.genes.map) {
    const bool all_named_so = std::all_of(recipe.domains.begin(), recipe.domains.end(),
                                          [&](const auto& domain) { return domain.gene_names == recipe.genes.names; });
    if (!all_named_so) reader.fail("domains that name genes in another way than 'names' in genes need 'map' in genes");
  }
  for (std::size_t i = 0; i < recipe.domains.size(); ++i) {
    const Recipe::Domain& domain = recipe.domains[i];
    const auto earlier = std::find_if(recipe.domains.begin(), recipe.domains.begin() + static_cast<std::ptrdiff_t>(i),
                                      [&](const auto& other) { return other.name == domain.name; });
    const bool known = earlier != recipe.domains.begin() + static_cast<std::ptrdiff_t>(i);
    if (known && !domain.is_part) reader.fail("two domains are named '" + domain.name + "'");
    if (!known && domain.is_part) reader.fail("part_of = '" + domain.name + "' is no domain above this one");
    if (domain.gene_names != recipe.genes.names && !recipe.genes.map)
      reader.fail("the domain " + domain.name +
                  " names genes in another way than the data set: that needs 'map' in genes");
    const bool has_drugs = recipe.drugs.from_responses || !recipe.drugs.file.empty();
    for (const auto& response : domain.responses) {
      if (!has_drugs) reader.fail("the domain " + domain.name + " has responses, but there is no [drugs]");
      const bool has_value = response.wide ? !response.wide_labels : !response.value.empty();
      if (has_value && recipe.value_unit.empty())
        reader.fail("responses with values need 'value_unit', for example \"ln_ic50_um\"");
      if (response.label_rule != Recipe::LabelRule::column && !has_value)
        reader.fail("'derive_label' needs values to derive labels from");
      const auto needs = [&](const char* what, const std::string& column) {
        if (response.drug_match == what && column.empty() && !recipe.drugs.from_responses)
          reader.fail("drug_match = \"" + std::string(what) + "\" needs the column '" + what + "' in drugs");
      };
      needs("pubchem", recipe.drugs.pubchem);
      needs("inchikey", recipe.drugs.inchikey);
      if (response.drug_match == "structure" && recipe.drugs.smiles.empty() && !recipe.drugs.from_responses)
        reader.fail("drug_match = \"structure\" needs the column 'smiles' in drugs");
      if (response.match != "sample" && response.match != "group" && !domain.has_samples)
        reader.fail("'match' in response is sample, group, or a column of 'samples', which the domain " + domain.name +
                    " lacks");
    }
    if (domain.perturbation && !domain.responses.empty())
      reader.fail("the domain " + domain.name + " has perturbations and responses; give them a domain each");
  }
}

}  // namespace

Recipe parse_recipe(const std::string& text, const std::filesystem::path& path) {
  toml::table root;
  try {
    root = toml::parse(text, path.string());
  } catch (const toml::parse_error& e) {
    throw UsageError(path.string() + " line " + std::to_string(e.source().begin.line) + ": " +
                     std::string(e.description()));
  }
  const Reader reader(path, root, "",
                      {"name", "citation", "license", "caveats", "value_unit", "tissues", "origin", "genes", "drugs",
                       "domain", "perturbations"});
  Recipe out;
  out.path = path;
  out.sha256 = sha256_hex(text);
  out.name = reader.required_text("name");
  out.citation = reader.text("citation");
  out.license = reader.text("license");
  out.caveats = reader.texts("caveats");
  out.value_unit = reader.text("value_unit");
  out.tissues = reader.texts("tissues");
  for (const toml::table* origin : reader.tables("origin")) {
    const Reader o(path, *origin, "origin", {"name", "version", "url", "citation", "license"});
    out.origins.push_back(
        {o.required_text("name"), o.text("version"), o.text("url"), o.text("citation"), o.text("license")});
  }
  if (const toml::table* genes = reader.table("genes")) read_genes(path, *genes, out.genes);
  if (const toml::table* drugs = reader.table("drugs")) read_drugs(path, *drugs, out.drugs);
  for (const toml::table* domain : reader.tables("domain")) out.domains.push_back(read_domain(path, *domain));
  if (const toml::table* profiles = reader.table("perturbations")) out.profiles = read_profiles(path, *profiles);
  check(out, reader);
  return out;
}

Recipe load_recipe(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in || std::filesystem::is_directory(path)) {
    throw IoError("cannot read " + path.string() + ": " + (in ? "it is a folder" : std::strerror(errno)));
  }
  std::ostringstream text;
  text << in.rdbuf();
  return parse_recipe(text.str(), path);
}

}  // namespace cdrzoo
