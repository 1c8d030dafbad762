// SPDX-License-Identifier: Apache-2.0
#include "export/recipe_text.hpp"

#include <cdrzoo/abi.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "data/content_hash.hpp"
#include "data/dataset_writer.hpp"
#include "import/builder.hpp"
#include "import/drug_structures.hpp"
#include "import/recipe.hpp"

namespace cdrzoo {
namespace fs = std::filesystem;
namespace {

/// A TOML string. Names and sentences of a data set hold no control characters.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string provenance_word(const Dataset& dataset, const char* key) {
  const auto json = nlohmann::json::parse(dataset.provenance_json, nullptr, false);
  if (!json.is_object() || !json.contains(key) || !json.at(key).is_string()) return {};
  auto text = json.at(key).get<std::string>();
  return is_clean_text(text) ? text : std::string();
}

/// Names of the blocks that the builder makes of structures, quoted, with commas.
std::string structure_blocks(const Dataset& dataset) {
  std::string out;
  for (const auto& name : structure_features()) {
    if (dataset.drug_block(name) != nullptr) out += (out.empty() ? "" : ", ") + quoted(name);
  }
  return out;
}

/// The steps of a domain that are fitted in each fold, as steps of a recipe.
std::string fitted_steps(const Dataset& dataset, const std::string& domain) {
  std::string out;
  for (const auto& step : dataset.fitted_steps) {
    if (step.domain != domain) continue;
    out += out.empty() ? "{ " : ", { ";
    switch (step.kind) {
      case FittedStep::Kind::fill_minimum: out += "step = \"fill_missing\", with = \"gene_minimum\""; break;
      case FittedStep::Kind::variable_genes:
        out += "step = \"variable_genes\", genes = " + std::to_string(step.genes);
        break;
      case FittedStep::Kind::zscore:
        out += std::string("step = \"zscore\"") +
               (step.from == FittedStep::From::source ? ", statistics = \"source\"" : "");
        break;
    }
    out += " }";
  }
  return out;
}

/// Has a domain records, and have they values and labels?
struct Measured {
  bool any = false;
  bool values = false;
  bool labels = false;
};

std::vector<Measured> measured(const Dataset& dataset) {
  std::vector<Measured> out(dataset.domains.name.size());
  const auto& r = dataset.responses;
  for (std::size_t i = 0; i < r.sample.size(); ++i) {
    auto& domain = out[domain_of_record(dataset, i)];
    domain.any = true;
    domain.values = domain.values || !std::isnan(r.value[i]);
    domain.labels = domain.labels || r.label[i] >= 0;
  }
  return out;
}

}  // namespace

std::string recipe_of(const Dataset& dataset, const RecipeFiles& files) {
  std::string out =
      "# Written by cdrzoo data export. `cdrzoo data build recipe.toml -o FILE` makes the same data set.\n";
  const auto line = [&out](const std::string& key, const std::string& value) { out += key + " = " + value + "\n"; };
  line("name", quoted(dataset.name));
  for (const char* key : {"citation", "license"}) {
    const auto text = provenance_word(dataset, key);
    if (!text.empty()) line(key, quoted(text));
  }
  if (!dataset.caveats.empty()) {
    out += "caveats = [\n";
    for (const auto& caveat : dataset.caveats) out += "  " + quoted(caveat) + ",\n";
    out += "]\n";
  }
  if (!dataset.responses.value_unit.empty()) line("value_unit", quoted(dataset.responses.value_unit));
  if (!dataset.tissues.empty()) {
    std::string list;
    for (const auto& tissue : dataset.tissues) list += (list.empty() ? "" : ", ") + quoted(tissue);
    line("tissues", "[" + list + "]");
  }
  if (!dataset.drugs.id.empty()) {
    out +=
        "\n[drugs]\nfile = \"drugs.csv\"\nid = \"drug_id\"\nname = \"name\"\nsmiles = \"smiles\"\ngroup = "
        "\"group\"\nkeep_unused = true\n";
    if (const auto features = structure_blocks(dataset); !features.empty()) line("features", "[" + features + "]");
  }
  const auto responses = measured(dataset);
  for (std::size_t d = 0; d < dataset.domains.name.size(); ++d) {
    const std::string where = "where = { domain = " + quoted(dataset.domains.name[d]) + " }";
    out += "\n[[domain]]\n";
    line("name", quoted(dataset.domains.name[d]));
    line("expression_unit", quoted(dataset.domains.expression_unit[d]));
    if (!dataset.domains.caveat[d].empty()) line("caveat", quoted(dataset.domains.caveat[d]));
    line("expression", "{ file = " + quoted(files.expression[d]) +
                           (files.sample_id.empty() ? "" : ", id = " + quoted(files.sample_id)) + " }");
    line("samples",
         "{ file = \"samples.csv\", id = \"sample_id\", tissue = \"tissue\", group = \"group\", " + where + " }");
    if (const auto steps = fitted_steps(dataset, dataset.domains.name[d]); !steps.empty())
      line("steps", "[" + steps + "]");
    if (responses[d].any) {
      out += "\n[domain.response]\nfile = \"response.csv\"\n" + where + "\n";
      out += "sample = \"sample_id\"\ndrug = \"drug_id\"\nreplicates = \"keep\"\nreplicate = \"replicate\"\n";
      if (responses[d].values) line("value", quoted("value"));
      if (responses[d].labels) line("label", quoted("label"));
    }
  }
  if (dataset.perturbations) {
    const auto& p = *dataset.perturbations;
    out += "\n[perturbations]\ntable = { file = \"perturbations.csv\" }\n";
    line("profiles", "{ file = " + quoted(files.profiles) +
                         (files.profile_id.empty() ? "" : ", id = " + quoted(files.profile_id)) +
                         (p.profile.is_sparse() ? ", storage = \"sparse\"" : "") + " }");
    if (!p.control_context.empty()) line("controls", "{ file = \"perturbation_controls.csv\" }");
    if (p.deg.cols > 0) {
      line("genes", "{ file = \"perturbation_genes.csv\", length = " + std::to_string(p.deg.cols) +
                        ", rule = " + quoted(p.deg_rule) + " }");
    }
  }
  return out;
}

namespace {

bool same_part(const FeatureBlock::Part& a, const FeatureBlock::Part& b) {
  if (a.role != b.role || a.dtype != b.dtype || a.shape != b.shape || a.bytes != b.bytes) return false;
  if (a.bytes == 0 || std::memcmp(a.data, b.data, a.bytes) == 0) return true;
  if (a.dtype != CDRZOO_F32) return false;
  const auto* x = static_cast<const float*>(a.data);
  const auto* y = static_cast<const float*>(b.data);
  for (std::uint64_t i = 0; i < a.bytes / sizeof(float); ++i) {
    if (compare_bytes(x + i, y + i) != 0 && !(std::isnan(x[i]) && std::isnan(y[i]))) return false;
  }
  return true;
}

/// Empty, or the block that differs.
std::string block_difference(const std::vector<FeatureBlock>& a, const std::vector<FeatureBlock>& b,
                             const std::string& of) {
  std::vector<std::string> names_a, names_b;
  for (const auto& block : a) names_a.push_back(block.name);
  for (const auto& block : b) names_b.push_back(block.name);
  if (names_a != names_b) return "the blocks of " + of;
  for (std::size_t i = 0; i < a.size(); ++i) {
    bool same = a[i].kind == b[i].kind && a[i].width == b[i].width && a[i].space == b[i].space &&
                a[i].feature_names == b[i].feature_names && a[i].parts.size() == b[i].parts.size();
    for (std::size_t p = 0; same && p < a[i].parts.size(); ++p) same = same_part(a[i].parts[p], b[i].parts[p]);
    if (!same) return "the block " + a[i].name + " of " + of;
  }
  return {};
}

template <typename T>
bool same_array(ArrayView<T> a, ArrayView<T> b) {
  return a.size() == b.size() && (a.size() == 0 || std::equal(a.begin(), a.end(), b.begin(), [](T x, T y) {
                                    if constexpr (std::is_floating_point_v<T>) {
                                      return compare_bytes(&x, &y) == 0 || (std::isnan(x) && std::isnan(y));
                                    } else {
                                      return x == y;
                                    }
                                  }));
}

template <typename T>
bool same_matrix(const MatrixView<T>& a, const MatrixView<T>& b) {
  const auto flat = [](const MatrixView<T>& m) {
    return ArrayView<T>{m.data, static_cast<std::size_t>(m.rows * m.cols)};
  };
  return a.rows == b.rows && a.cols == b.cols && same_array(flat(a), flat(b));
}

bool same_matrix(const RowMatrix& a, const RowMatrix& b) {
  if (a.rows != b.rows || a.cols != b.cols) return false;
  std::vector<float> scratch_a, scratch_b;
  const auto width = static_cast<std::size_t>(a.cols);
  for (std::int64_t i = 0; i < a.rows; ++i) {
    if (!same_array<float>({a.row(i, scratch_a), width}, {b.row(i, scratch_b), width})) return false;
  }
  return true;
}

}  // namespace

std::string first_difference(const Dataset& a, const Dataset& b) {
  const auto sizes = [](std::size_t x, std::size_t y) {
    return x == y ? std::string() : " (" + std::to_string(x) + " and " + std::to_string(y) + ")";
  };
  if (a.name != b.name) return "the name";
  if (a.caveats != b.caveats) return "the caveats";
  if (to_json(a.fitted_steps) != to_json(b.fitted_steps)) return "the steps that are fitted in each fold";
  if (a.genes != b.genes) return "the genes" + sizes(a.genes.size(), b.genes.size());
  if (a.tissues != b.tissues) return "the list of tissues" + sizes(a.tissues.size(), b.tissues.size());
  if (a.domains.name != b.domains.name) return "the domains";
  if (a.domains.expression_unit != b.domains.expression_unit) return "the expression units";
  if (a.domains.caveat != b.domains.caveat) return "the caveats of domains";
  if (a.samples.id != b.samples.id)
    return "the samples or their order" + sizes(a.samples.id.size(), b.samples.id.size());
  if (a.samples.group != b.samples.group) return "the groups of samples";
  if (a.samples.domain != b.samples.domain) return "the domains of samples";
  if (a.samples.tissue != b.samples.tissue) return "the tissues of samples";
  if (auto block = block_difference(a.samples.blocks, b.samples.blocks, "samples"); !block.empty()) return block;
  if (a.drugs.id != b.drugs.id) return "the drugs or their order" + sizes(a.drugs.id.size(), b.drugs.id.size());
  if (a.drugs.name != b.drugs.name) return "the names of drugs";
  if (a.drugs.smiles != b.drugs.smiles) return "the SMILES";
  if (a.drugs.group != b.drugs.group) return "the groups of drugs";
  if (a.drugs.scaffold != b.drugs.scaffold) return "the scaffolds";
  if (auto block = block_difference(a.drugs.blocks, b.drugs.blocks, "drugs"); !block.empty()) return block;
  const auto& r = a.responses;
  const auto& s = b.responses;
  if (r.value_unit != s.value_unit) return "the unit of values";
  if (!same_array(r.sample, s.sample) || !same_array(r.drug, s.drug))
    return "the records" + sizes(r.sample.size(), s.sample.size());
  if (!same_array(r.replicate, s.replicate)) return "the numbers of replicates";
  if (!same_array(r.value, s.value)) return "the values";
  if (!same_array(r.label, s.label)) return "the labels";
  if (a.perturbations.has_value() != b.perturbations.has_value()) return "the perturbation profiles";
  if (a.perturbations) {
    const auto& p = *a.perturbations;
    const auto& q = *b.perturbations;
    if (!same_array(p.control, q.control) || !same_array(p.drug, q.drug) || !same_array(p.drug_b, q.drug_b) ||
        !same_array(p.dose_log10_molar, q.dose_log10_molar) || !same_array(p.time_h, q.time_h) ||
        !same_array(p.context, q.context) || p.contexts != q.contexts || !same_array(p.condition, q.condition) ||
        !same_array(p.replicates, q.replicates) || !same_array(p.control_context, q.control_context))
      return "the perturbations" + sizes(p.control.size(), q.control.size());
    if (!same_matrix(p.profile, q.profile)) return "the perturbation profiles";
    if (!same_matrix(p.deg, q.deg) || p.deg_rule != q.deg_rule) return "the genes of the conditions";
  }
  return {};
}

void write_recipe(const Dataset& dataset, const RecipeFiles& files, const fs::path& folder, Sentences& said) {
  const fs::path file = folder / "recipe.toml";
  const fs::path again = folder / "again.h5";
  const std::string text = recipe_of(dataset, files);
  write_file_synced(file, text);
  std::string why;
  try {
    BuildReport report;
    write_dataset(build_dataset(parse_recipe(text, file), folder, report), again);
    const Dataset rebuilt = Dataset::open(again);
    why = first_difference(dataset, rebuilt);
    if (why.empty() && content_hash(dataset) != content_hash(rebuilt)) why = "the content hash";
    if (!why.empty()) why += " would differ";
  } catch (const UsageError& e) {
    why = e.what();
  } catch (const DataError& e) {
    why = e.what();
  }
  remove_quietly(again);
  if (why.empty()) {
    said.emplace_back("recipe.toml: builds the same data set, tried just now");
    return;
  }
  remove_quietly(file);
  said.push_back("no recipe.toml: a recipe cannot build this data set again: " + why);
}

}  // namespace cdrzoo
