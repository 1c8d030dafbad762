// SPDX-License-Identifier: Apache-2.0
#include "data/dataset_info.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <set>
#include <sstream>

#include "base/error.hpp"
#include "data/dataset_format.hpp"
#include "data/feature_block.hpp"

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
  for (std::size_t i = 0; i < d.responses.sample.size(); ++i) {
    if (d.samples.domain[at(d.responses.sample[i])] != domain) continue;
    tally.add(d.responses, i);
    drugs.insert(d.responses.drug[i]);
    measured.insert(d.responses.sample[i]);
  }
  out["responses"] = tally.json();
  out["responses"]["samples"] = measured.size();
  out["responses"]["drugs"] = drugs.size();
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

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string padded(const std::string& text, std::size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 0, ' ');
}

std::string records_text(const Json& r) {
  std::string text = std::to_string(r["records"].get<std::int64_t>()) + " records";
  if (r["values"].get<std::int64_t>() > 0) {
    text += ", " + std::to_string(r["values"].get<std::int64_t>()) + " values (min " + number(r["value_min"]) +
            ", median " + number(r["value_median"]) + ", max " + number(r["value_max"]) + ")";
  }
  const auto positive = r["labels_positive"].get<std::int64_t>();
  const auto negative = r["labels_negative"].get<std::int64_t>();
  if (positive + negative > 0) {
    text += ", " + std::to_string(positive + negative) + " labels (" + std::to_string(positive) + " positive, " +
            std::to_string(negative) + " negative)";
  }
  return text;
}

}  // namespace

Json describe_dataset(const Dataset& d) {
  Json out;
  out["name"] = d.name;
  out["path"] = d.path.string();
  out["file_bytes"] = std::filesystem::file_size(d.path);
  out["format_version"] = format_version(d.fitted_steps.size());
  out["file_hash"] = d.file_hash();
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
  out["drugs"] = drugs;

  Tally all;
  std::vector<Tally> per_drug(d.drugs.id.size());
  for (std::size_t i = 0; i < d.responses.sample.size(); ++i) {
    all.add(d.responses, i);
    per_drug[at(d.responses.drug[i])].add(d.responses, i);
  }
  out["responses"] = all.json();
  out["responses"]["value_unit"] = d.responses.value_unit;
  out["per_drug"] = Json::array();
  for (std::size_t j = 0; j < per_drug.size(); ++j) {
    Json row = {{"id", d.drugs.id[j]}, {"name", d.drugs.name[j]}, {"structure", !d.drugs.smiles[j].empty()}};
    row.update(per_drug[j].json());
    out["per_drug"].push_back(row);
  }

  if (d.perturbations) {
    const auto& p = *d.perturbations;
    std::set<std::int32_t> contexts(p.control.begin(), p.control.end());
    std::set<std::int32_t> used(p.drug.begin(), p.drug.end());
    Json j;
    j["profiles"] = p.size();
    j["controls"] = contexts.size();
    j["drugs"] = used.size();
    j["combinations"] = std::count_if(p.drug_b.begin(), p.drug_b.end(), [](std::int32_t b) { return b >= 0; });
    j["doses_log10_molar"] = std::set<float>(p.dose_log10_molar.begin(), p.dose_log10_molar.end());
    j["times_h"] = std::set<float>(p.time_h.begin(), p.time_h.end());
    out["perturbations"] = j;
  }
  out["sample_blocks"] = describe_blocks(d.samples.blocks);
  out["drug_blocks"] = describe_blocks(d.drugs.blocks);
  out["fitted_steps"] = to_json(d.fitted_steps);
  out["caveats"] = d.caveats;
  out["provenance"] = Json::parse(d.provenance_json);
  return out;
}

std::string info_text(const Json& info, bool per_drug) {
  std::ostringstream out;
  out << info["name"].get<std::string>() << " (" << info["path"].get<std::string>() << ", "
      << info["file_bytes"].get<std::int64_t>() << " bytes)\n"
      << "  file " << info["file_hash"].get<std::string>() << "\n"
      << "  data " << info["data_hash"].get<std::string>() << "\n"
      << "  " << info["genes"] << " genes, " << info["samples"] << " samples, " << info["drugs"]["count"] << " drugs, "
      << records_text(info["responses"]);
  const std::string unit = info["responses"]["value_unit"];
  if (!unit.empty()) out << " [" << unit << "]";
  out << "\n";
  for (const auto& domain : info["domains"]) {
    out << "\ndomain " << domain["name"].get<std::string>() << " [" << domain["expression_unit"].get<std::string>()
        << "]\n"
        << "  " << domain["samples"] << " samples of " << domain["groups"] << " groups\n";
    const auto& e = domain["expression"];
    if (e.contains("min")) {
      out << "  expression: min " << number(e["min"]) << ", mean " << number(e["mean"]) << ", max " << number(e["max"]);
    } else {
      out << "  expression: no value";
    }
    out << "; " << e["missing"] << " missing";
    if (e["missing"].get<std::int64_t>() > 0) {
      out << " (in " << e["samples_with_missing"] << " samples and " << e["genes_with_missing"] << " genes)";
    }
    out << "\n  " << records_text(domain["responses"]) << ", of " << domain["responses"]["samples"] << " samples and "
        << domain["responses"]["drugs"] << " drugs\n";
    std::vector<std::pair<std::int64_t, std::string>> tissues;
    for (const auto& [name, samples] : domain["tissues"].items())
      tissues.emplace_back(-samples.get<std::int64_t>(), name);
    std::sort(tissues.begin(), tissues.end());
    out << "  tissues (" << tissues.size() << "):";
    for (const auto& [samples, name] : tissues) out << " " << name << " " << -samples;
    if (domain["samples_of_unknown_tissue"].get<std::int64_t>() > 0)
      out << " unknown " << domain["samples_of_unknown_tissue"];
    out << "\n";
    if (!domain["caveat"].get<std::string>().empty())
      out << "  caveat: " << domain["caveat"].get<std::string>() << "\n";
  }
  for (const auto& pair : info["overlaps"]) {
    out << "\n"
        << pair["a"].get<std::string>() << " and " << pair["b"].get<std::string>() << " share " << pair["sample_groups"]
        << " sample groups, " << pair["drug_groups"] << " measured drugs, " << pair["tissues"] << " tissues\n";
  }
  const auto& drugs = info["drugs"];
  out << "\ndrugs: " << drugs["count"] << ", " << drugs["with_structure"] << " with a structure, " << drugs["groups"]
      << " groups, " << drugs["scaffolds"] << " scaffolds\n";
  if (info.contains("perturbations")) {
    const auto& p = info["perturbations"];
    out << "perturbations: " << p["profiles"] << " profiles of " << p["controls"] << " controls and " << p["drugs"]
        << " drugs, " << p["combinations"] << " combinations\n";
  }
  for (const char* kind : {"sample_blocks", "drug_blocks"}) {
    out << (std::string(kind) == "sample_blocks" ? "sample features:" : "drug features:");
    for (const auto& block : info[kind]) {
      out << " " << block["name"].get<std::string>() << " (" << block["kind"].get<std::string>() << ", "
          << block["width"] << ")";
    }
    out << "\n";
  }
  if (per_drug) {
    out << "\n";
    for (const auto& drug : info["per_drug"]) {
      out << padded(drug["id"], 14) << " " << padded(drug["name"], 24) << " " << records_text(drug)
          << (drug["structure"].get<bool>() ? "" : ", no structure") << "\n";
    }
  }
  if (info["provenance"].contains("steps")) {
    out << "\nsteps:\n";
    for (const auto& step : info["provenance"]["steps"])
      out << "  - " << (step.is_string() ? step.get<std::string>() : step.dump()) << "\n";
  }
  const auto fitted = fitted_steps_from_json(info["fitted_steps"]);
  if (!fitted.empty()) out << "\nfitted in each fold, not applied in this file:\n";
  for (const auto& step : fitted) out << "  - " << sentence_of(step) << "\n";
  if (!info["caveats"].empty()) out << "\ncaveats:\n";
  for (const auto& caveat : info["caveats"]) out << "  - " << caveat.get<std::string>() << "\n";
  return out.str();
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
      // The profile's flag is in the file only; what matters to readers is that it has no infinities.
      const auto count = static_cast<std::uint64_t>(p.rows) * static_cast<std::uint64_t>(p.cols);
      check_matrix(p.data, count, any_nan(p.data, count), "perturbations/profile", findings);
    }
    std::vector<std::int64_t> records(d.drugs.id.size(), 0);
    for (const auto j : d.responses.drug) ++records[at(j)];
    if (d.perturbations) {
      for (const auto j : d.perturbations->drug) ++records[at(j)];
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
