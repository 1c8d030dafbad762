// SPDX-License-Identifier: Apache-2.0
#include "import/recipe.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <sstream>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/hdf5_file.hpp"

namespace cdrzoo {
namespace {

/// A table of the recipe that hands out its values by key and knows which keys exist.
class Reader {
 public:
  Reader(const std::filesystem::path& file, const toml::table& table, std::string where,
         std::initializer_list<const char*> known)
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
  [[nodiscard]] std::string choice(const char* key, std::initializer_list<const char*> words) const {
    std::string value = text(key, *words.begin());
    std::string list;
    for (const char* word : words) {
      if (value == word) return value;
      if (*word == '\0') continue;  // stands for "not given"
      list.append(list.empty() ? "" : ", ").append(word);
    }
    fail(*table_->get(key), named(key) + " is '" + value + "'; known: " + list);
  }
  [[nodiscard]] const toml::table* table(const char* key) const {
    const toml::node* node = table_->get(key);
    if (node == nullptr) return nullptr;
    if (!node->is_table()) fail(*node, named(key) + " must be a table");
    return node->as_table();
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
  [[nodiscard]] std::map<std::string, std::string> text_map(const char* key) const {
    std::map<std::string, std::string> out;
    if (const toml::table* inner = table(key)) {
      for (const auto& [name, node] : *inner) out[std::string(name.str())] = text_of(node, key);
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

void read_table(const Reader& reader, Recipe::Table& out) {
  out.file = reader.required_text("file");
  out.sha256 = reader.text("sha256");
  out.where = reader.text_map("where");
  if (!out.sha256.empty() &&
      (out.sha256.size() != 64 || out.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)) {
    reader.fail("'sha256' must be 64 lower-case hexadecimal digits");
  }
}

Recipe::Step read_step(const Reader& reader) {
  Recipe::Step step;
  const std::string kind = reader.choice("step", {"", "fill_missing", "clip", "zscore"});
  if (kind.empty()) reader.fail("a step needs 'step'; known: fill_missing, clip, zscore");
  if (kind != "fill_missing" && (reader.has("with") || reader.has("value")))
    reader.fail("'with' and 'value' belong to the step fill_missing");
  if (kind != "clip" && (reader.has("low") || reader.has("high")))
    reader.fail("'low' and 'high' belong to the step clip");
  if (kind == "fill_missing") {
    const bool constant = reader.choice("with", {"gene_minimum", "constant"}) == "constant";
    if (constant != reader.has("value"))
      reader.fail("fill_missing needs either with = \"gene_minimum\" or with = \"constant\" and a value");
    step.kind = constant ? Recipe::Step::Kind::fill_constant : Recipe::Step::Kind::fill_gene_minimum;
    step.value = reader.number("value").value_or(0.0);
  } else if (kind == "clip") {
    step.kind = Recipe::Step::Kind::clip;
    step.low = reader.number("low");
    step.high = reader.number("high");
    if (!step.low && !step.high) reader.fail("clip needs 'low', 'high' or both");
    if (step.low && step.high && *step.low >= *step.high) reader.fail("clip needs low < high");
  } else {
    step.kind = Recipe::Step::Kind::zscore;
  }
  return step;
}

Recipe::Response read_response(const Reader& reader) {
  Recipe::Response out;
  read_table(reader, out);
  out.sample = reader.text("sample", out.sample);
  out.by_group = reader.choice("match", {"sample", "group"}) == "group";
  out.drug = reader.text("drug", out.drug);
  out.value = reader.text("value");
  out.label = reader.text("label");
  if (out.value.empty() && out.label.empty())
    reader.fail("a response needs the column of 'value', of 'label', or both");
  out.drop_unknown_samples = reader.choice("unknown_samples", {"error", "drop"}) == "drop";
  out.drop_unknown_drugs = reader.choice("unknown_drugs", {"error", "drop"}) == "drop";
  const std::string replicates = reader.choice("replicates", {"error", "mean", "keep"});
  out.replicates = replicates == "mean"   ? Recipe::Response::Replicates::mean
                   : replicates == "keep" ? Recipe::Response::Replicates::keep
                                          : Recipe::Response::Replicates::error;
  return out;
}

Recipe::Domain read_domain(const std::filesystem::path& path, const toml::table& table) {
  const Reader reader(path, table, "a domain",
                      {"name", "expression_unit", "caveat", "expression", "samples", "steps", "response"});
  Recipe::Domain out;
  out.name = reader.required_text("name");
  out.expression_unit = reader.required_text("expression_unit");
  out.caveat = reader.text("caveat");
  const toml::table* expression = reader.table("expression");
  if (expression == nullptr) reader.fail("the domain " + out.name + " lacks 'expression'");
  const Reader e(path, *expression, "expression", {"file", "sha256", "where", "id"});
  read_table(e, out.expression);
  if (!out.expression.where.empty()) e.fail("'where' is for tables of samples, drugs and responses, not for a matrix");
  out.expression_id = e.text("id");
  if (const toml::table* samples = reader.table("samples")) {
    const Reader s(path, *samples, "samples", {"file", "sha256", "where", "id", "tissue", "group"});
    out.samples.emplace();
    read_table(s, *out.samples);
    out.sample_id = s.text("id", out.sample_id);
    out.tissue = s.text("tissue");
    out.group = s.text("group");
  }
  for (const toml::table* step : reader.tables("steps")) {
    out.steps.push_back(read_step(Reader(path, *step, "a step", {"step", "with", "value", "low", "high"})));
  }
  if (const toml::table* response = reader.table("response")) {
    out.response = read_response(Reader(path, *response, "response",
                                        {"file", "sha256", "where", "sample", "match", "drug", "value", "label",
                                         "unknown_samples", "unknown_drugs", "replicates"}));
  }
  return out;
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
                      {"name", "citation", "license", "caveats", "value_unit", "genes", "drugs", "domain"});
  Recipe out;
  out.path = path;
  out.sha256 = sha256_hex(text);
  out.name = reader.required_text("name");
  out.citation = reader.text("citation");
  out.license = reader.text("license");
  out.caveats = reader.texts("caveats");
  out.value_unit = reader.text("value_unit");

  if (const toml::table* genes = reader.table("genes")) {
    const Reader g(path, *genes, "genes", {"combine", "absent"});
    out.genes.intersect = g.choice("combine", {"intersect", "union"}) == "intersect";
    const auto absent = g.number("absent");
    if (out.genes.intersect == absent.has_value())
      g.fail("combine = \"union\", and only that, needs 'absent', the value of genes that a domain lacks");
    out.genes.absent = absent.value_or(0.0);
  }
  if (const toml::table* drugs = reader.table("drugs")) {
    const Reader d(path, *drugs, "drugs", {"file", "sha256", "where", "id", "name", "smiles", "keep_unused"});
    read_table(d, out.drugs);
    out.drugs.id = d.text("id", out.drugs.id);
    out.drugs.name = d.text("name");
    out.drugs.smiles = d.text("smiles");
    out.drugs.keep_unused = d.flag("keep_unused");
  }
  for (const toml::table* domain : reader.tables("domain")) out.domains.push_back(read_domain(path, *domain));
  if (out.domains.empty()) reader.fail("a recipe needs at least one [[domain]]");
  for (std::size_t i = 0; i < out.domains.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) {
      if (out.domains[k].name == out.domains[i].name)
        reader.fail("two domains are named '" + out.domains[i].name + "'");
    }
    if (out.domains[i].response && out.drugs.file.empty()) {
      reader.fail("the domain " + out.domains[i].name + " has responses, but there is no [drugs]");
    }
    if (out.domains[i].response && !out.domains[i].response->value.empty() && out.value_unit.empty()) {
      reader.fail("responses with values need 'value_unit', for example \"ln_ic50_um\"");
    }
  }
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
