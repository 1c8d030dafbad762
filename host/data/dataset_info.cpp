// SPDX-License-Identifier: Apache-2.0
#include "data/dataset_info.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "data/content_hash.hpp"
#include "data/dataset_format.hpp"
#include "data/feature_block.hpp"
#include "data/structure_summary.hpp"

namespace cdrzoo {
namespace {

using Json = nlohmann::ordered_json;

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

double median(std::vector<double> values) {
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

/// Tallies of one domain's records, or of one drug's.
struct Tally {
  std::vector<double> values;
  std::int64_t records = 0;
  std::int64_t positive = 0;
  std::int64_t negative = 0;

  void add(const Dataset::Responses& r, std::size_t i) {
    ++records;
    if (!std::isnan(r.value[i])) values.push_back(r.value[i]);
    if (r.label[i] == 1) ++positive;
    if (r.label[i] == 0) ++negative;
  }
  [[nodiscard]] Json json() const {
    Json out;
    out["records"] = records;
    out["values"] = values.size();
    if (!values.empty()) {
      out["value_min"] = *std::min_element(values.begin(), values.end());
      out["value_median"] = median(values);
      out["value_max"] = *std::max_element(values.begin(), values.end());
    }
    out["labels_positive"] = positive;
    out["labels_negative"] = negative;
    if (positive + negative > 0)
      out["positive_share"] = static_cast<double>(positive) / static_cast<double>(positive + negative);
    return out;
  }
};

Json describe_domain(const Dataset& d, std::int32_t domain) {
  Json out;
  out["name"] = d.domains.name[at(domain)];
  out["expression_unit"] = d.domains.expression_unit[at(domain)];
  std::set<std::string> groups;
  std::map<std::string, std::int64_t> tissues;
  std::int64_t samples = 0;
  std::int64_t unknown_tissue = 0;
  const MatrixView<float> x = d.expression();
  std::int64_t missing = 0;
  std::int64_t samples_with_missing = 0;
  std::vector<std::int64_t> missing_per_gene(d.genes.size(), 0);
  double sum = 0.0;
  float low = std::numeric_limits<float>::infinity();
  float high = -low;
  std::int64_t present = 0;
  for (std::size_t i = 0; i < d.samples.id.size(); ++i) {
    if (d.samples.domain[i] != domain) continue;
    ++samples;
    groups.insert(d.samples.group[i]);
    if (d.samples.tissue[i] < 0) {
      ++unknown_tissue;
    } else {
      ++tissues[d.tissues[at(d.samples.tissue[i])]];
    }
    const float* row = x.row(static_cast<std::int64_t>(i));
    std::int64_t here = 0;
    for (std::size_t g = 0; g < d.genes.size(); ++g) {
      if (std::isnan(row[g])) {
        ++here;
        ++missing_per_gene[g];
        continue;
      }
      ++present;
      sum += static_cast<double>(row[g]);
      low = std::min(low, row[g]);
      high = std::max(high, row[g]);
    }
    missing += here;
    if (here > 0) ++samples_with_missing;
  }
  out["samples"] = samples;
  out["groups"] = groups.size();
  out["tissues"] = tissues;
  out["samples_of_unknown_tissue"] = unknown_tissue;
  Json expression;
  if (present > 0) {
    expression["min"] = static_cast<double>(low);
    expression["mean"] = sum / static_cast<double>(present);
    expression["max"] = static_cast<double>(high);
  }
  expression["missing"] = missing;
  expression["samples_with_missing"] = samples_with_missing;
  expression["genes_with_missing"] =
      std::count_if(missing_per_gene.begin(), missing_per_gene.end(), [](std::int64_t n) { return n > 0; });
  out["expression"] = expression;

  Tally tally;
  std::set<std::int32_t> drugs;
  std::set<std::int32_t> measured;
  std::set<std::pair<std::int32_t, std::int32_t>> pairs;
  for (std::size_t i = 0; i < d.responses.sample.size(); ++i) {
    if (d.samples.domain[at(d.responses.sample[i])] != domain) continue;
    tally.add(d.responses, i);
    drugs.insert(d.responses.drug[i]);
    measured.insert(d.responses.sample[i]);
    pairs.emplace(d.responses.sample[i], d.responses.drug[i]);
  }
  out["responses"] = tally.json();
  out["responses"]["samples"] = measured.size();
  out["responses"]["drugs"] = drugs.size();
  out["responses"]["pairs"] = pairs.size();
  out["responses"]["missing_pairs"] = measured.size() * drugs.size() - pairs.size();
  out["caveat"] = d.domains.caveat[at(domain)];
  return out;
}

Json describe_overlaps(const Dataset& d) {
  Json out = Json::array();
  const auto domains = static_cast<std::int32_t>(d.domains.name.size());
  std::vector<std::set<std::string>> groups(at(domains));
  std::vector<std::set<std::string>> drugs(at(domains));
  std::vector<std::set<std::int32_t>> tissues(at(domains));
  for (std::size_t i = 0; i < d.samples.id.size(); ++i) {
    groups[at(d.samples.domain[i])].insert(d.samples.group[i]);
    if (d.samples.tissue[i] >= 0) tissues[at(d.samples.domain[i])].insert(d.samples.tissue[i]);
  }
  for (std::size_t i = 0; i < d.responses.sample.size(); ++i) {
    drugs[at(d.samples.domain[at(d.responses.sample[i])])].insert(d.drugs.group[at(d.responses.drug[i])]);
  }
  const auto shared = [](const auto& a, const auto& b) {
    return std::count_if(a.begin(), a.end(), [&b](const auto& x) { return b.count(x) != 0; });
  };
  for (std::int32_t a = 0; a < domains; ++a) {
    for (std::int32_t b = a + 1; b < domains; ++b) {
      Json pair;
      pair["a"] = d.domains.name[at(a)];
      pair["b"] = d.domains.name[at(b)];
      pair["sample_groups"] = shared(groups[at(a)], groups[at(b)]);
      pair["drug_groups"] = shared(drugs[at(a)], drugs[at(b)]);
      pair["tissues"] = shared(tissues[at(a)], tissues[at(b)]);
      out.push_back(pair);
    }
  }
  return out;
}

Json describe_blocks(const std::vector<FeatureBlock>& blocks) {
  Json out = Json::array();
  for (const auto& block : blocks) {
    Json b;
    b["name"] = block.name;
    b["kind"] = block_kind_name(block.kind);
    b["width"] = block.width;
    b["space"] = block.space;
    out.push_back(b);
  }
  return out;
}

/// How a matrix is stored, and how much of it is not 0 (a missing value is not).
Json describe_storage(const RowMatrix& m) {
  const auto not_zero = [](const float* values, std::uint64_t count) {
    return std::count_if(values, values + count, [](float x) { return x != 0.0F; });
  };
  const auto all = static_cast<std::uint64_t>(m.rows) * static_cast<std::uint64_t>(m.cols);
  Json out;
  std::int64_t found = 0;
  if (m.is_sparse()) {
    const SparseRowsView& rows = m.sparse();
    found = not_zero(rows.value.data(), rows.value.size());
    out["kind"] = "sparse";
    out["bytes"] = rows.begin.size() * sizeof(std::int64_t) + rows.column.size() * sizeof(std::int32_t) +
                   rows.value.size() * sizeof(float);
  } else {
    found = not_zero(m.dense().data, all);
    out["kind"] = "dense";
    out["bytes"] = all * sizeof(float);
  }
  if (all > 0) out["not_zero_share"] = static_cast<double>(found) / static_cast<double>(all);
  return out;
}

/// Perturbations by what a person asks: which contexts, which perturbations, what is shared, how well is it measured.
Json describe_perturbations(const Dataset& d) {
  const auto& p = *d.perturbations;
  const auto rows = static_cast<std::size_t>(p.size());
  using Pair = std::pair<std::int32_t, std::int32_t>;
  struct Condition {
    std::int32_t context = 0;
    Pair drugs;
    std::int64_t replicates = 0;
    bool dose = false;
    bool time = false;
  };
  std::vector<Condition> conditions(static_cast<std::size_t>(p.conditions));
  struct Context {
    std::int32_t domain = 0;
    std::int64_t profiles = 0;
    std::set<Pair> perturbations;
    std::int64_t conditions = 0;
    std::int64_t doubles = 0;
    std::vector<double> replicates;
    std::int64_t treated = 0;
  };
  std::vector<Context> contexts(p.contexts.size());
  std::set<float> doses;
  std::set<float> times;
  for (std::size_t i = 0; i < rows; ++i) {
    auto& condition = conditions[at(p.condition[i])];
    const Pair drugs{p.drug[i], p.drug_b[i]};
    condition = {p.context[i], drugs, condition.replicates + p.replicates[i], !std::isnan(p.dose_log10_molar[i]),
                 !std::isnan(p.time_h[i])};
    if (condition.dose) doses.insert(p.dose_log10_molar[i]);
    if (condition.time) times.insert(p.time_h[i]);
    auto& context = contexts[at(p.context[i])];
    context.domain = d.samples.domain[at(p.control[i])];
    ++context.profiles;
    context.perturbations.insert(drugs);
  }
  std::vector<double> replicates;
  std::int64_t double_conditions = 0;
  for (const auto& condition : conditions) {
    auto& context = contexts[at(condition.context)];
    ++context.conditions;
    if (condition.drugs.second >= 0) {
      ++context.doubles;
      ++double_conditions;
    }
    context.treated += condition.replicates;
    context.replicates.push_back(static_cast<double>(condition.replicates));
    replicates.push_back(static_cast<double>(condition.replicates));
  }
  std::map<Pair, std::size_t> seen;  // in how many contexts
  std::set<Pair> with_arms;
  for (const auto& context : contexts) {
    for (const auto& drugs : context.perturbations) {
      ++seen[drugs];
      const auto alone = [&context](std::int32_t drug) { return context.perturbations.count({drug, -1}) != 0; };
      if (drugs.second >= 0 && alone(drugs.first) && alone(drugs.second)) with_arms.insert(drugs);
    }
  }
  const auto id = [&d](const Pair& drugs) {
    return d.drugs.id[at(drugs.first)] + (drugs.second < 0 ? "" : "+" + d.drugs.id[at(drugs.second)]);
  };
  const auto spread = [](const std::vector<double>& counts) {
    return Json{{"min", *std::min_element(counts.begin(), counts.end())},
                {"median", median(counts)},
                {"max", *std::max_element(counts.begin(), counts.end())}};
  };

  Json j;
  j["profiles"] = rows;
  j["storage"] = describe_storage(p.profile);
  std::set<std::int32_t> controls;
  for (const auto& samples : p.controls) controls.insert(samples.begin(), samples.end());
  j["controls"] = controls.size();
  j["conditions"] = conditions.size();
  j["double_conditions"] = double_conditions;
  j["single_perturbations"] = std::count_if(seen.begin(), seen.end(), [](const auto& s) { return s.first.second < 0; });
  j["double_perturbations"] =
      std::count_if(seen.begin(), seen.end(), [](const auto& s) { return s.first.second >= 0; });
  j["contexts"] = Json::array();
  for (std::size_t c = 0; c < contexts.size(); ++c) {
    const auto& context = contexts[c];
    if (context.profiles == 0) continue;
    j["contexts"].push_back({{"name", p.contexts[c]},
                             {"domain", d.domains.name[at(context.domain)]},
                             {"controls", p.controls[c].size()},
                             {"profiles", context.profiles},
                             {"perturbations", context.perturbations.size()},
                             {"conditions", context.conditions},
                             {"double_conditions", context.doubles},
                             {"treated", context.treated},
                             {"replicates", spread(context.replicates)}});
  }
  j["in_all_contexts"] = Json::array();
  for (const auto& [drugs, count] : seen) {
    if (count == j["contexts"].size()) j["in_all_contexts"].push_back(id(drugs));
  }
  j["doubles_with_both_singles"] = Json::array();
  for (const auto& drugs : with_arms) j["doubles_with_both_singles"].push_back(id(drugs));
  j["doses_log10_molar"] = doses;
  j["conditions_of_unknown_dose"] =
      std::count_if(conditions.begin(), conditions.end(), [](const Condition& c) { return !c.dose; });
  j["times_h"] = times;
  j["conditions_of_unknown_time"] =
      std::count_if(conditions.begin(), conditions.end(), [](const Condition& c) { return !c.time; });
  if (!replicates.empty()) j["replicates"] = spread(replicates);
  j["deg_genes"] = p.deg.cols;
  j["deg_rule"] = p.deg_rule;
  return j;
}

/// One node per atom. A file of another program may use the name for a block of another kind.
const FeatureBlock* drug_graphs(const Dataset& d) {
  const FeatureBlock* graph = d.drug_block("graph");
  return graph != nullptr && graph->kind == CDRZOO_BLOCK_GRAPHS ? graph : nullptr;
}

/// The drug with the most atoms; null without graphs.
Json describe_largest(const Dataset& d) {
  const FeatureBlock* graph = drug_graphs(d);
  if (graph == nullptr || graph->rows == 0) return nullptr;
  const auto* nodeptr = static_cast<const std::int64_t*>(graph->parts[0].data);
  std::int64_t largest = 0;
  for (std::int64_t j = 1; j < graph->rows; ++j) {
    if (nodeptr[j + 1] - nodeptr[j] > nodeptr[largest + 1] - nodeptr[largest]) largest = j;
  }
  return {{"id", d.drugs.id[static_cast<std::size_t>(largest)]},
          {"name", d.drugs.name[static_cast<std::size_t>(largest)]},
          {"heavy_atoms", nodeptr[largest + 1] - nodeptr[largest]}};
}

}  // namespace

Json describe_dataset(const Dataset& d) {
  Json out;
  out["name"] = d.name;
  out["path"] = d.path.string();
  out["file_bytes"] = std::filesystem::file_size(d.path);
  out["format_version"] =
      format_version(d.fitted_steps.size(), d.perturbations && d.perturbations->profile.is_sparse());
  out["file_hash"] = d.file_hash();
  out["content_hash"] = content_hash(d);
  out["data_hash"] = d.data_hash();
  out["genes"] = d.genes.size();
  out["samples"] = d.samples.id.size();
  out["tissues"] = d.tissues.size();
  out["domains"] = Json::array();
  for (std::size_t i = 0; i < d.domains.name.size(); ++i) {
    out["domains"].push_back(describe_domain(d, static_cast<std::int32_t>(i)));
  }
  out["overlaps"] = describe_overlaps(d);

  Json drugs;
  drugs["count"] = d.drugs.id.size();
  drugs["with_structure"] =
      std::count_if(d.drugs.smiles.begin(), d.drugs.smiles.end(), [](const std::string& s) { return !s.empty(); });
  drugs["groups"] = std::set<std::string>(d.drugs.group.begin(), d.drugs.group.end()).size();
  std::set<std::string> scaffolds(d.drugs.scaffold.begin(), d.drugs.scaffold.end());
  scaffolds.erase("");
  drugs["scaffolds"] = scaffolds.size();
  drugs["largest"] = describe_largest(d);
  if (const FeatureBlock* graphs = drug_graphs(d)) {
    const StructureSummary structures = summarise_structures(*graphs);
    drugs["of_several_fragments"] = structures.several_fragments;
    drugs["with_isolated_atoms"] = structures.isolated_atoms;
  }
  out["drugs"] = drugs;

  Tally all;
  std::vector<Tally> per_drug(d.drugs.id.size());
  for (std::size_t i = 0; i < d.responses.sample.size(); ++i) {
    all.add(d.responses, i);
    per_drug[at(d.responses.drug[i])].add(d.responses, i);
  }
  out["responses"] = all.json();
  out["responses"]["value_unit"] = d.responses.value_unit;
  std::vector<std::int64_t> profiles(d.drugs.id.size(), 0);  // alone or in a combination
  if (d.perturbations) {
    const auto& p = *d.perturbations;
    for (std::size_t i = 0; i < p.drug.size(); ++i) {
      ++profiles[at(p.drug[i])];
      if (p.drug_b[i] >= 0) ++profiles[at(p.drug_b[i])];
    }
  }
  out["per_drug"] = Json::array();
  for (std::size_t j = 0; j < per_drug.size(); ++j) {
    Json row = {{"id", d.drugs.id[j]}, {"name", d.drugs.name[j]}, {"structure", !d.drugs.smiles[j].empty()}};
    row.update(per_drug[j].json());
    row["profiles"] = profiles[j];
    out["per_drug"].push_back(row);
  }

  if (d.perturbations) out["perturbations"] = describe_perturbations(d);
  out["sample_blocks"] = describe_blocks(d.samples.blocks);
  out["drug_blocks"] = describe_blocks(d.drugs.blocks);
  out["fitted_steps"] = to_json(d.fitted_steps);
  out["caveats"] = d.caveats;
  out["provenance"] = Json::parse(d.provenance_json);
  return out;
}

namespace {

void check_matrix(const float* data, std::uint64_t count, bool has_nan, const std::string& name, Findings& findings) {
  std::uint64_t nan = 0;
  std::uint64_t infinite = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (std::isnan(data[i])) ++nan;
    if (std::isinf(data[i])) ++infinite;
  }
  if (infinite > 0) findings.errors.push_back(name + " holds " + std::to_string(infinite) + " infinite values");
  if ((nan > 0) != has_nan) {
    findings.errors.push_back(name + " holds " + std::to_string(nan) + " NaN, but its attribute has_nan says " +
                              (has_nan ? "that there are some" : "that there are none"));
  }
}

void check_blocks(const std::vector<FeatureBlock>& blocks, const std::string& owner, Findings& findings) {
  for (const auto& block : blocks) {
    for (const auto& part : block.parts) {
      const std::string name = owner + " block " + block.name + ", part " + part_name(part.role);
      if (part.dtype == CDRZOO_F32) {
        check_matrix(static_cast<const float*>(part.data), part.bytes / sizeof(float), part.has_nan, name, findings);
      }
      if (block.name == "morgan" && part.dtype == CDRZOO_U8) {
        const auto* bits = static_cast<const std::uint8_t*>(part.data);
        if (std::any_of(bits, bits + part.bytes, [](std::uint8_t b) { return b > 1; })) {
          findings.errors.push_back(name + " holds something other than 0 and 1");
        }
      }
      if (part.role == CDRZOO_PART_BYTES && !is_clean_text({static_cast<const char*>(part.data), part.bytes})) {
        findings.errors.push_back(name + " is not UTF-8 text without control characters");
      }
    }
  }
}

void check_expression(const Dataset& d, Findings& findings) {
  const MatrixView<float> x = d.expression();
  for (std::size_t domain = 0; domain < d.domains.name.size(); ++domain) {
    std::vector<std::size_t> rows;
    for (std::size_t i = 0; i < d.samples.id.size(); ++i) {
      if (d.samples.domain[i] == static_cast<std::int32_t>(domain)) rows.push_back(i);
    }
    if (rows.empty()) {
      findings.errors.push_back("domain " + d.domains.name[domain] + " has no sample");
      continue;
    }
    for (std::size_t g = 0; g < d.genes.size(); ++g) {
      std::size_t present = 0;
      float low = 0.0F;
      float high = 0.0F;
      for (const std::size_t i : rows) {
        const float value = x.row(static_cast<std::int64_t>(i))[g];
        if (std::isnan(value)) continue;
        low = present == 0 ? value : std::min(low, value);
        high = present == 0 ? value : std::max(high, value);
        ++present;
      }
      if (present == 0) {
        findings.errors.push_back("gene " + d.genes[g] + " has no value in domain " + d.domains.name[domain]);
      } else if (low == high && rows.size() > 1) {
        findings.notes.push_back("gene " + d.genes[g] + " is constant in domain " + d.domains.name[domain]);
      }
    }
  }
  std::vector<bool> used(d.tissues.size(), false);
  for (const auto t : d.samples.tissue) {
    if (t >= 0) used[at(t)] = true;
  }
  for (std::size_t t = 0; t < used.size(); ++t) {
    if (!used[t]) findings.notes.push_back("tissue " + d.tissues[t] + " has no sample");
  }
}

/// What the reader does not refuse: contexts without a profile, lists of genes without value.
void check_perturbations(const Dataset& d, Findings& findings) {
  const auto& p = *d.perturbations;
  std::vector<bool> used(p.contexts.size(), false);
  std::vector<std::int64_t> first_row(static_cast<std::size_t>(p.conditions), -1);
  for (std::size_t i = 0; i < p.control.size(); ++i) {
    used[at(p.context[i])] = true;
    auto& first = first_row[at(p.condition[i])];
    if (first < 0) first = static_cast<std::int64_t>(i);
  }
  for (std::size_t k = 0; k < used.size(); ++k) {
    if (!used[k]) findings.notes.push_back("context " + p.contexts[k] + " has no perturbation");
  }
  for (std::int64_t c = 0; c < p.deg.rows; ++c) {
    const std::int64_t row = first_row[static_cast<std::size_t>(c)];
    const float* control = d.expression().row(p.control[static_cast<std::size_t>(row)]);
    std::vector<float> scratch;
    for (std::int64_t j = 0; j < p.deg.cols; ++j) {
      const std::int32_t gene = p.deg.row(c)[j];
      if (gene < 0) break;
      if (!std::isnan(control[gene]) || !std::isnan(p.profile.row(row, scratch)[gene])) continue;
      findings.errors.push_back("the DEG list of condition " + std::to_string(c) + " holds gene " + d.genes[at(gene)] +
                                ", which has no value there");
      break;
    }
  }
}

}  // namespace

Findings validate_dataset(const std::filesystem::path& path) {
  Findings findings;
  try {
    const Dataset d = Dataset::open(path);
    check_blocks(d.samples.blocks, "samples", findings);
    check_blocks(d.drugs.blocks, "drugs", findings);
    check_expression(d, findings);
    if (d.perturbations) {
      const auto& p = d.perturbations->profile;
      // A dense profile's flag is in the file only; what matters to readers is that it has no infinities.
      const float* values = p.is_sparse() ? p.sparse().value.data() : p.dense().data;
      const auto count = p.is_sparse() ? static_cast<std::uint64_t>(p.sparse().value.size())
                                       : static_cast<std::uint64_t>(p.rows) * static_cast<std::uint64_t>(p.cols);
      check_matrix(values, count, !p.is_sparse() && any_nan(values, count), "perturbations/profile", findings);
      check_perturbations(d, findings);
    }
    std::vector<std::int64_t> records(d.drugs.id.size(), 0);
    for (const auto j : d.responses.drug) ++records[at(j)];
    if (d.perturbations) {
      for (const auto j : d.perturbations->drug) ++records[at(j)];
      for (const auto j : d.perturbations->drug_b) {
        if (j >= 0) ++records[at(j)];
      }
    }
    for (std::size_t j = 0; j < records.size(); ++j) {
      if (records[j] == 0) findings.notes.push_back("drug " + d.drugs.id[j] + " has no record");
    }
    if (d.responses.size() == 0 && !d.perturbations)
      findings.notes.emplace_back("there are neither responses nor perturbations");
  } catch (const DataError& e) {
    findings.errors.emplace_back(e.what());
  }
  return findings;
}

}  // namespace cdrzoo
