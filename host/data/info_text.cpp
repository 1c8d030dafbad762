// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>
#include <utility>

#include "data/dataset_info.hpp"
#include "data/fitted_step.hpp"

namespace cdrzoo {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kNames = 12;      ///< of a list in one line
constexpr std::size_t kContexts = 20;   ///< rows of the table of contexts
constexpr std::size_t kSentences = 40;  ///< steps

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string count(const Json& value) { return std::to_string(value.get<std::int64_t>()); }

std::string counted(std::int64_t n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100.0 * share);
  return text;
}

std::string bytes(std::int64_t n) {
  constexpr double kStep = 1000.0;
  if (n < 1000) return std::to_string(n) + " bytes";
  auto value = static_cast<double>(n);
  const char* unit = "";
  for (const char* next : {"kB", "MB", "GB", "TB"}) {
    if (value < kStep) break;
    value /= kStep;
    unit = next;
  }
  return number(value) + " " + unit;
}

/// "a, b, c and 7 more".
std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size() && i < kNames; ++i) out += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kNames) out += " and " + std::to_string(names.size() - kNames) + " more";
  return out;
}

std::vector<std::string> texts(const Json& list) {
  std::vector<std::string> out;
  for (const auto& item : list) out.push_back(item.get<std::string>());
  return out;
}

/// Width on the screen: UTF-8 continuation bytes take none.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

/// Rows of text in aligned columns: the first `left` columns to the left, numbers to the right.
class Columns {
 public:
  explicit Columns(std::vector<std::string> header, std::size_t left = 1) : left_(left) { add(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void print(std::ostream& out) const {
    std::vector<std::size_t> width(rows_.front().size(), 0);
    for (const auto& row : rows_) {
      for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], width_of(row[c]));
    }
    for (const auto& row : rows_) {
      std::string line;
      for (std::size_t c = 0; c < row.size(); ++c) {
        const std::string space(width[c] - width_of(row[c]), ' ');
        line += (c == 0 ? "  " : "   ") + (c < left_ ? row[c] + space : space + row[c]);
      }
      line.erase(line.find_last_not_of(' ') + 1);
      out << line << "\n";
    }
  }

 private:
  std::size_t left_;
  std::vector<std::vector<std::string>> rows_;
};

bool has_labels(const Json& tally) {
  return tally["labels_positive"].get<std::int64_t>() + tally["labels_negative"].get<std::int64_t>() > 0;
}

std::string share(const Json& tally) {
  return tally.contains("positive_share") ? percent(tally["positive_share"].get<double>()) : "-";
}

void print_head(std::ostream& out, const Json& info) {
  const auto many = [&out](const Json& n, const char* one, const char* more) {
    out << counted(n.get<std::int64_t>(), one, more);
  };
  out << info["name"].get<std::string>() << ": ";
  many(info["samples"], "sample, ", "samples, ");
  many(info["genes"], "gene, ", "genes, ");
  many(info["drugs"]["count"], "drug, ", "drugs, ");
  many(info["responses"]["records"], "record", "records");
  const std::string unit = info["responses"]["value_unit"];
  if (!unit.empty()) out << " [" << unit << "]";
  if (info.contains("perturbations")) out << ", " << info["perturbations"]["profiles"] << " perturbation profiles";
  out << "\n"
      << "  file          " << info["path"].get<std::string>() << ", " << bytes(info["file_bytes"].get<std::int64_t>())
      << ", format version " << info["format_version"] << "\n"
      << "  file hash     " << info["file_hash"].get<std::string>() << "\n"
      << "  content hash  " << info["content_hash"].get<std::string>() << "\n"
      << "  data hash     " << info["data_hash"].get<std::string>() << "\n";
}

void print_domains(std::ostream& out, const Json& info) {
  out << "\ndomains\n";
  Columns table({"", "samples", "groups", "tissues", "no tissue", "drugs", "records", "values", "positive", "negative",
                 "pairs missing"});
  for (const auto& domain : info["domains"]) {
    const auto& r = domain["responses"];
    const auto missing = r["missing_pairs"].get<double>();
    const auto pairs = r["pairs"].get<double>();
    table.add({domain["name"].get<std::string>(), count(domain["samples"]), count(domain["groups"]),
               std::to_string(domain["tissues"].size()), count(domain["samples_of_unknown_tissue"]), count(r["drugs"]),
               count(r["records"]), count(r["values"]), has_labels(r) ? count(r["labels_positive"]) : "-",
               has_labels(r) ? count(r["labels_negative"]) : "-",
               pairs > 0 ? percent(missing / (missing + pairs)) : "-"});
  }
  table.print(out);
  for (const auto& domain : info["domains"]) {
    out << "\n" << domain["name"].get<std::string>() << "\n  expression  ";
    const auto& e = domain["expression"];
    if (e.contains("min")) {
      out << number(e["min"]) << " to " << number(e["max"]) << ", mean " << number(e["mean"]);
    } else {
      out << "no value";
    }
    out << " [" << domain["expression_unit"].get<std::string>() << "]; ";
    if (e["missing"].get<std::int64_t>() == 0) {
      out << "none missing";
    } else {
      out << e["missing"] << " missing, in " << e["samples_with_missing"] << " samples and " << e["genes_with_missing"]
          << " genes";
    }
    out << "\n";
    const auto& r = domain["responses"];
    if (r.contains("value_min")) {
      out << "  values      " << number(r["value_min"]) << " to " << number(r["value_max"]) << ", median "
          << number(r["value_median"]) << "\n";
    }
    std::vector<std::pair<std::int64_t, std::string>> order;
    for (const auto& [name, samples] : domain["tissues"].items())
      order.emplace_back(-samples.get<std::int64_t>(), name);
    std::sort(order.begin(), order.end());
    std::vector<std::string> tissues;
    for (const auto& [samples, name] : order) tissues.push_back(name + " " + std::to_string(-samples));
    if (!tissues.empty()) out << "  tissues     " << listed(tissues) << "\n";
    if (!domain["caveat"].get<std::string>().empty())
      out << "  caveat      " << domain["caveat"].get<std::string>() << "\n";
  }
  if (!info["overlaps"].empty()) out << "\noverlap\n";
  for (const auto& pair : info["overlaps"]) {
    out << "  " << pair["a"].get<std::string>() << " and " << pair["b"].get<std::string>() << " share "
        << pair["sample_groups"] << " sample groups, " << pair["drug_groups"] << " measured drugs, " << pair["tissues"]
        << " tissues\n";
  }
}

void print_drugs(std::ostream& out, const Json& info) {
  const auto& drugs = info["drugs"];
  if (drugs["count"].get<std::int64_t>() == 0) return;
  out << "\ndrugs\n  " << drugs["count"] << " in " << drugs["groups"] << " groups; " << drugs["with_structure"]
      << " with a structure, " << drugs["scaffolds"] << " scaffolds";
  if (!drugs["largest"].is_null()) {
    const auto& largest = drugs["largest"];
    const std::string name = largest["name"].get<std::string>();
    out << "; the largest is " << (name.empty() ? largest["id"].get<std::string>() : name) << " with "
        << largest["heavy_atoms"] << " heavy atoms";
  }
  if (drugs.value("of_several_fragments", 0) > 0) {
    out << "; " << drugs["of_several_fragments"] << " of several fragments, " << drugs["with_isolated_atoms"]
        << " with an isolated atom";
  }
  out << "\n";
}

void print_perturbations(std::ostream& out, const Json& info) {
  if (!info.contains("perturbations")) return;
  const auto& p = info["perturbations"];
  const auto doubles = p["double_conditions"].get<std::int64_t>();
  out << "\nperturbations\n  " << counted(p["conditions"].get<std::int64_t>(), "condition", "conditions");
  if (doubles > 0) {
    out << " (" << p["conditions"].get<std::int64_t>() - doubles << " single, " << doubles << " double)";
  }
  out << " in " << counted(static_cast<std::int64_t>(p["contexts"].size()), "context", "contexts") << "; "
      << counted(p["profiles"].get<std::int64_t>(), "profile", "profiles") << ", "
      << counted(p["controls"].get<std::int64_t>(), "control", "controls") << "\n  perturbations       "
      << p["single_perturbations"] << " single, " << p["double_perturbations"] << " double\n";
  const auto& storage = p["storage"];
  out << "  profiles stored     " << storage["kind"].get<std::string>() << ", "
      << bytes(storage["bytes"].get<std::int64_t>());
  if (storage.contains("not_zero_share"))
    out << "; " << percent(storage["not_zero_share"].get<double>()) << " of the values are not 0";
  out << "\n";
  if (p["contexts"].size() > 1) {
    const auto shared = texts(p["in_all_contexts"]);
    out << "  in all contexts     " << shared.size() << (shared.empty() ? "" : ": " + listed(shared)) << "\n";
  }
  if (doubles > 0) {
    const auto arms = texts(p["doubles_with_both_singles"]);
    out << "  with both singles   " << arms.size() << " doubles" << (arms.empty() ? "" : ": " + listed(arms)) << "\n";
  }
  const auto numbers = [&out](const char* word, const std::vector<double>& values, const Json& unknown,
                              const char* unit) {
    std::vector<std::string> names;
    for (const double value : values) names.push_back(number(value));
    out << word << (names.empty() ? "none known" : listed(names) + unit);
    if (!names.empty() && unknown.get<std::int64_t>() > 0) out << "; unknown in " << unknown << " conditions";
    out << "\n";
  };
  std::vector<double> doses_um;
  for (const auto& dose : p["doses_log10_molar"]) doses_um.push_back(std::pow(10.0, dose.get<double>() + 6.0));
  numbers("  doses               ", doses_um, p["conditions_of_unknown_dose"], " uM");
  numbers("  times               ", p["times_h"].get<std::vector<double>>(), p["conditions_of_unknown_time"], " h");
  if (p.contains("replicates")) {
    const auto& r = p["replicates"];
    out << "  replicates          " << number(r["min"]);
    if (r["min"] != r["max"]) out << " to " << number(r["max"]) << ", median " << number(r["median"]);
    out << " per condition\n";
  }
  out << "  DEG lists           ";
  if (p["deg_genes"].get<std::int64_t>() > 0) {
    out << p["deg_genes"] << " genes per condition: " << p["deg_rule"].get<std::string>() << "\n";
  } else {
    out << "none\n";
  }
  out << "\n";
  Columns table(
      {"context", "domain", "controls", "perturbations", "conditions", "double", "profiles", "treated", "replicates"},
      2);
  std::size_t shown = 0;
  for (const auto& c : p["contexts"]) {
    if (shown++ == kContexts) break;
    const auto& r = c["replicates"];
    table.add({c["name"].get<std::string>(), c["domain"].get<std::string>(), count(c["controls"]),
               count(c["perturbations"]), count(c["conditions"]), count(c["double_conditions"]), count(c["profiles"]),
               count(c["treated"]), number(r["min"]) + (r["min"] == r["max"] ? "" : " to " + number(r["max"]))});
  }
  table.print(out);
  if (p["contexts"].size() > kContexts) {
    out << "  and " << p["contexts"].size() - kContexts << " more contexts (--json has all)\n";
  }
}

void print_per_drug(std::ostream& out, const Json& info) {
  const bool values = info["responses"]["values"].get<std::int64_t>() > 0;
  const bool labels = has_labels(info["responses"]);
  const bool profiles = info.contains("perturbations");
  std::vector<std::string> header = {"drug", "name", "structure", "records"};
  if (values) header.insert(header.end(), {"values", "min", "median", "max"});
  if (labels) header.insert(header.end(), {"positive", "negative", "share"});
  if (profiles) header.emplace_back("profiles");
  Columns table(header, 2);
  for (const auto& drug : info["per_drug"]) {
    std::vector<std::string> row = {drug["id"].get<std::string>(), drug["name"].get<std::string>(),
                                    drug["structure"].get<bool>() ? "yes" : "no", count(drug["records"])};
    if (values) {
      row.push_back(count(drug["values"]));
      for (const char* key : {"value_min", "value_median", "value_max"}) {
        row.push_back(drug.contains(key) ? number(drug[key]) : "-");
      }
    }
    if (labels) row.insert(row.end(), {count(drug["labels_positive"]), count(drug["labels_negative"]), share(drug)});
    if (profiles) row.push_back(count(drug["profiles"]));
    table.add(std::move(row));
  }
  out << "\n";
  table.print(out);
}

void print_blocks(std::ostream& out, const Json& info) {
  out << "\nfeatures\n";
  for (const auto& [kind, word] :
       {std::pair("sample_blocks", "  of samples   "), std::pair("drug_blocks", "  of drugs     ")}) {
    std::vector<std::string> names;
    for (const auto& block : info[kind]) {
      names.push_back(block["name"].get<std::string>() + " (" + block["kind"].get<std::string>() + ", " +
                      count(block["width"]) + ")");
    }
    if (!names.empty()) out << word << listed(names) << "\n";
  }
}

void print_sentences(std::ostream& out, const char* title, const std::vector<std::string>& sentences) {
  if (!sentences.empty()) out << "\n" << title << "\n";
  for (std::size_t i = 0; i < sentences.size() && i < kSentences; ++i) out << "  - " << sentences[i] << "\n";
  if (sentences.size() > kSentences) {
    out << "  and " << sentences.size() - kSentences << " more (--json has all)\n";
  }
}

/// Provenance may be of any program: what is not there or of another form is left out.
void print_provenance(std::ostream& out, const Json& provenance) {
  const auto list = [&provenance](const char* key) {
    return provenance.is_object() && provenance.contains(key) && provenance[key].is_array() ? provenance[key]
                                                                                            : Json::array();
  };
  const Json sources = list("sources");
  Columns table({"file", "SHA-256", "size"}, 2);
  bool any = false;
  for (const auto& source : sources) {
    if (!source.is_object() || !source.contains("file") || !source["file"].is_string()) continue;
    const bool hashed = source.contains("sha256") && source["sha256"].is_string();
    const bool sized = source.contains("bytes") && source["bytes"].is_number_integer();
    table.add({source["file"].get<std::string>(), hashed ? source["sha256"].get<std::string>() : "-",
               sized ? bytes(source["bytes"].get<std::int64_t>()) : "-"});
    any = true;
  }
  if (any) {
    out << "\nsources\n";
    table.print(out);
  }
  std::vector<std::string> steps;
  for (const auto& step : list("steps")) steps.push_back(step.is_string() ? step.get<std::string>() : step.dump());
  print_sentences(out, "steps", steps);
}

}  // namespace

std::string info_text(const Json& info, bool per_drug) {
  std::ostringstream out;
  print_head(out, info);
  print_domains(out, info);
  print_drugs(out, info);
  if (per_drug) print_per_drug(out, info);
  print_perturbations(out, info);
  print_blocks(out, info);
  print_provenance(out, info["provenance"]);
  std::vector<std::string> fitted;
  for (const auto& step : fitted_steps_from_json(info["fitted_steps"])) fitted.push_back(sentence_of(step));
  print_sentences(out, "fitted in each fold, not applied in this file", fitted);
  print_sentences(out, "caveats", texts(info["caveats"]));
  return out.str();
}

}  // namespace cdrzoo
