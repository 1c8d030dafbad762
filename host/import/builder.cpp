// SPDX-License-Identifier: Apache-2.0
#include "import/builder.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/error.hpp"
#include "chem/molecule.hpp"
#include "import/domain_rows.hpp"
#include "import/drug_table.hpp"
#include "import/harmonise.hpp"
#include "import/profile_tables.hpp"
#include "import/response_reader.hpp"
#include "import/source_files.hpp"

namespace cdrzoo {
namespace {

class Builder {
 public:
  Builder(const Recipe& recipe, const std::filesystem::path& from, BuildReport& report)
      : recipe_(recipe), files_(from), report_(report), drugs_(recipe, files_, report, out_) {}

  DatasetContent build() {
    out_.name = recipe_.name;
    out_.value_unit = recipe_.value_unit;
    out_.caveats = recipe_.caveats;
    for (const auto& domain : recipe_.domains) domains_.emplace_back(domain, files_, report_);
    choose_genes();
    drugs_.read();
    for (auto& domain : domains_) read_domain(domain);
    name_tissues();
    if (recipe_.profiles) read_profile_tables(*recipe_.profiles, files_, report_, out_);
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      for (const auto& rule : recipe_.domains[d].responses) {
        read_responses(rule, domains_[d], drugs_, files_, report_, out_);
      }
    }
    drugs_.finish();
    add_provenance();
    return std::move(out_);
  }

 private:
  // --- genes ---

  /// Names under which the domains' genes meet: their own, or the map's.
  void name_genes(const GeneMap* map) {
    for (auto& domain : domains_) domain.name_genes(map, recipe_.genes.names);
  }

  void choose_genes() {
    std::optional<GeneMap> map;
    if (recipe_.genes.map) {
      FilteredTable table = files_.open(*recipe_.genes.map);
      map.emplace(table.table(), recipe_.genes.map_columns);
    }
    name_genes(map ? &*map : nullptr);
    if (recipe_.genes.panel) {
      take_panel(map ? &*map : nullptr);
    } else {
      combine();
    }
    if (out_.genes.empty()) {
      throw DataError("recipe " + recipe_.path.string() + ": " +
                      (recipe_.genes.panel ? "no gene of the panel " + recipe_.genes.panel->file + " is in every domain"
                                           : "the domains have no gene in common"));
    }
    const float absent = static_cast<float>(recipe_.genes.absent.value_or(0.0));
    for (auto& domain : domains_) domain.select_genes(out_.genes, absent);
  }

  [[nodiscard]] std::string gene_counts() const {
    std::string sentence = "genes:";
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      sentence += (d == 0 ? " " : ", ") + std::to_string(domains_[d].genes().size()) + " in " + recipe_.domains[d].name;
    }
    return sentence;
  }

  /// In the order of the first domain; a union appends what later domains add.
  void combine() {
    std::unordered_map<std::string, std::size_t> present;
    for (const auto& domain : domains_) {
      for (const auto& gene : domain.genes()) ++present[gene];
    }
    for (const auto& domain : domains_) {
      for (const auto& gene : domain.genes()) {
        std::size_t& count = present[gene];
        if (count == 0) continue;  // taken already
        if (!recipe_.genes.intersect || count == domains_.size()) out_.genes.push_back(gene);
        count = 0;
      }
    }
    std::string sentence = gene_counts();
    if (domains_.size() > 1) {
      sentence += std::string("; ") + (recipe_.genes.intersect ? "the " : "the union of ") +
                  std::to_string(out_.genes.size()) +
                  (recipe_.genes.intersect ? " that all share are kept, by " : " is kept, by ") +
                  gene_names_words()[static_cast<std::size_t>(recipe_.genes.names)];
      if (recipe_.genes.intersect) {
        const std::unordered_set<std::string> kept(out_.genes.begin(), out_.genes.end());
        for (const auto& domain : domains_) {
          for (const auto& gene : domain.genes()) {
            if (kept.count(gene) == 0) report_.lose(domain.file(), "gene", gene, "not in every domain");
          }
        }
      }
    }
    report_.say(sentence);
  }

  void take_panel(const GeneMap* map) {
    FilteredTable table = files_.open(*recipe_.genes.panel);
    const std::size_t column = table.table().column(recipe_.genes.panel_column);
    std::unordered_map<std::string, std::size_t> present;
    for (const auto& domain : domains_) {
      for (const auto& gene : domain.genes()) ++present[gene];
    }
    std::set<std::string> missing;
    std::unordered_set<std::string> seen;
    std::size_t listed = 0;
    std::size_t repeated = 0;
    while (table.next()) {
      std::string gene = table.id(column);
      if (map != nullptr) {
        const GeneMap::Gene found = map->find(recipe_.genes.names, gene, recipe_.genes.names);
        if (!found.id.empty()) gene = found.id;
      }
      if (!seen.insert(gene).second) {  // gene sets overlap
        ++repeated;
        continue;
      }
      ++listed;
      const auto found = present.find(gene);
      const bool everywhere = found != present.end() && found->second == domains_.size();
      if (!everywhere) {
        missing.insert(gene);
        if (!recipe_.genes.absent) {
          report_.lose(recipe_.genes.panel->file, "gene", gene, "not in every domain");
          continue;
        }
      }
      out_.genes.push_back(gene);
    }
    std::string sentence = gene_counts() + "; the panel " + recipe_.genes.panel->file + " lists " +
                           std::to_string(listed) +
                           (repeated > 0 ? " (" + std::to_string(repeated) + " of them more than once)" : "") + ", " +
                           std::to_string(listed - missing.size()) + " of them are in every domain";
    if (!missing.empty()) {
      sentence += recipe_.genes.absent ? "; the others are set to " + number_text(*recipe_.genes.absent) +
                                             " where a domain lacks them (" + some_of(missing) + ")"
                                       : "; dropped " + some_of(missing);
    }
    report_.say(sentence);
  }

  // --- domains ---

  void read_domain(DomainRows& rows) {
    const Recipe::Domain& domain = rows.recipe();
    const auto index = static_cast<std::int32_t>(name_domain(domain));
    if (domain.perturbation) return read_perturbations(rows, index);
    const std::size_t first = out_.sample_id.size();
    rows.read(index, out_);
    harmonise(rows,
              {out_.expression.data() + first * out_.genes.size(), out_.sample_id.size() - first, out_.genes.size()});
  }

  /// Number of the domain in the data set; a new one unless this is a part of an earlier one.
  std::size_t name_domain(const Recipe::Domain& domain) {
    std::string caveat = domain.caveat;
    if (!domain.arrives_scaled.empty()) {
      caveat = "Expression of " + domain.name + " was scaled before it came here: " + domain.arrives_scaled + "." +
               (caveat.empty() ? "" : " " + caveat);
    }
    auto& domains = out_.domains;
    if (domain.is_part) {
      const auto found = std::find(domains.name.begin(), domains.name.end(), domain.name);
      const auto index = static_cast<std::size_t>(found - domains.name.begin());
      if (!caveat.empty()) domains.caveat[index] += (domains.caveat[index].empty() ? "" : " ") + caveat;
      return index;
    }
    domains.name.push_back(domain.name);
    domains.expression_unit.push_back(domain.expression_unit);
    domains.caveat.push_back(caveat);
    return domains.name.size() - 1;
  }

  void read_perturbations(DomainRows& rows, std::int32_t index) {
    const Recipe::Domain& domain = rows.recipe();
    if (!domain.steps.empty()) {
      throw UsageError("recipe " + recipe_.path.string() + ": the domain " + domain.name +
                       " has perturbations, and steps for them are not known; bring the file in the unit to be used");
    }
    PerturbationRule rule = *domain.perturbation;
    rule.tissue = domain.tissue;
    rule.group = domain.group;
    if (!recipe_.drugs.file.empty()) rule.drug_of = [this](const std::string& name) { return drugs_.id_by_name(name); };
    rows.read_perturbations(rule, index, out_);
  }

  void harmonise(const DomainRows& source, const ExpressionRows& rows) {
    const Recipe::Domain& domain = source.recipe();
    require_values(source, rows);
    if (domain.steps.empty()) report_.say(domain.name + ": expression as in the file");
    bool waits = false;  // a step was left to the folds
    for (const auto& step : domain.steps) {
      using Kind = Recipe::Step::Kind;
      const bool learns =
          step.kind == Kind::fill_gene_minimum || step.kind == Kind::zscore || step.kind == Kind::variable_genes;
      if (learns && !step.on_all_samples) {
        defer(domain, step);
        waits = true;
        continue;
      }
      if (waits) {
        throw UsageError("recipe " + recipe_.path.string() + ": in the domain " + domain.name +
                         " a step on the values stands after one that is fitted in each fold; put it before");
      }
      if (step.by_source && source_statistics_.mean.empty()) {
        throw UsageError("recipe " + recipe_.path.string() +
                         ": zscore with the statistics of the source is for the domains after the first");
      }
      apply_step(domain, step, rows, &source_statistics_, report_, out_.caveats);
    }
    if (source_statistics_.mean.empty()) source_statistics_ = gene_statistics(rows);
  }

  void defer(const Recipe::Domain& domain, const Recipe::Step& step) {
    using Kind = Recipe::Step::Kind;
    FittedStep fitted;
    fitted.kind = step.kind == Kind::zscore           ? FittedStep::Kind::zscore
                  : step.kind == Kind::variable_genes ? FittedStep::Kind::variable_genes
                                                      : FittedStep::Kind::fill_minimum;
    fitted.domain = domain.name;
    fitted.from = step.by_source ? FittedStep::From::source : FittedStep::From::own_domain;
    fitted.genes = step.genes;
    for (const auto& other : out_.fitted_steps) {
      if (domain.is_part && other.kind == fitted.kind && other.domain == fitted.domain) {
        throw UsageError("recipe " + recipe_.path.string() + ": the step " + fitted_kind_name(fitted.kind) +
                         " of the domain " + domain.name + " holds for its parts too; name it once");
      }
    }
    // The file keeps one list: kinds in their fixed order, domains in the recipe's.
    const auto after = std::find_if(out_.fitted_steps.begin(), out_.fitted_steps.end(),
                                    [&](const FittedStep& other) { return other.kind > fitted.kind; });
    out_.fitted_steps.insert(after, fitted);
    report_.say("in each fold: " + sentence_of(fitted));
  }

  void require_values(const DomainRows& source, const ExpressionRows& rows) const {
    std::vector<bool> observed(rows.genes, false);
    for (std::size_t i = 0; i < rows.samples * rows.genes; ++i) {
      if (!std::isnan(rows.values[i])) observed[i % rows.genes] = true;
    }
    const auto empty = std::find(observed.begin(), observed.end(), false);
    if (empty == observed.end()) return;
    throw DataError(source.path().string() + ": the gene " +
                    out_.genes[static_cast<std::size_t>(empty - observed.begin())] + " of the domain " +
                    source.recipe().name + " has no value in any sample");
  }

  void name_tissues() {
    // Perturbation controls have named theirs already; the others are in the domains.
    std::vector<std::string> tissue_of(out_.sample_id.size());
    for (std::size_t i = 0; i < out_.sample_tissue.size(); ++i) {
      if (out_.sample_tissue[i] >= 0) tissue_of[i] = out_.tissues[static_cast<std::size_t>(out_.sample_tissue[i])];
    }
    for (const auto& domain : domains_) {
      for (const auto& [sample, tissue] : domain.tissues()) tissue_of[static_cast<std::size_t>(sample)] = tissue;
    }
    out_.tissues = recipe_.tissues;
    std::map<std::string, std::int32_t> number;
    for (const auto& name : out_.tissues) number.emplace(name, static_cast<std::int32_t>(number.size()));
    for (const auto& name : std::set<std::string>(tissue_of.begin(), tissue_of.end())) {
      if (!name.empty() && number.emplace(name, static_cast<std::int32_t>(number.size())).second)
        out_.tissues.push_back(name);
    }
    std::size_t unknown = 0;
    out_.sample_tissue.clear();
    for (const auto& name : tissue_of) {
      if (name.empty()) ++unknown;
      out_.sample_tissue.push_back(name.empty() ? -1 : number.at(name));
    }
    if (unknown > 0) report_.say(count_of(unknown, "sample has", "samples have") + " no tissue");
  }

  void add_provenance() {
    nlohmann::ordered_json j;
    j["builder"] = "cdrzoo data build";
    j["recipe"] = recipe_.name;
    j["recipe_sha256"] = recipe_.sha256;
    j["citation"] = recipe_.citation;
    j["license"] = recipe_.license;
    if (!recipe_.origins.empty()) {
      j["origins"] = nlohmann::ordered_json::array();
      for (const auto& o : recipe_.origins) {
        j["origins"].push_back({{"name", o.name},
                                {"version", o.version},
                                {"url", o.url},
                                {"citation", o.citation},
                                {"license", o.license}});
      }
    }
    j["chemistry"] = chemistry_version();
    j["sources"] = files_.used();
    j["steps"] = report_.steps();
    // Words from files may hold bytes that are no UTF-8 only in messages; replace rather than fail.
    out_.provenance_json = j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  }

  const Recipe& recipe_;
  SourceFiles files_;
  BuildReport& report_;
  DatasetContent out_;
  DrugTable drugs_;
  std::vector<DomainRows> domains_;
  GeneStatistics source_statistics_;  // of the first domain, as it is after its steps
};

}  // namespace

DatasetContent build_dataset(const Recipe& recipe, const std::filesystem::path& from, BuildReport& report) {
  return Builder(recipe, from, report).build();
}

}  // namespace cdrzoo
