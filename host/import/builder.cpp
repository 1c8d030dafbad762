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
#include "base/hash.hpp"
#include "chem/molecule.hpp"
#include "import/csv.hpp"
#include "import/drug_structures.hpp"

namespace cdrzoo {
namespace {

constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();

std::string count_of(std::size_t n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

/// The first few of a set of names, for a sentence.
std::string some_of(const std::set<std::string>& names) {
  constexpr std::size_t kShown = 5;
  std::string text;
  std::size_t shown = 0;
  for (const auto& name : names) {
    if (shown == kShown) break;
    text += (shown++ == 0 ? "" : ", ") + name;
  }
  return text + (names.size() > kShown ? " and " + std::to_string(names.size() - kShown) + " more" : "");
}

/// A CSV file of the recipe, opened, its rows filtered by `where`.
class Source {
 public:
  Source(const std::filesystem::path& file, const Recipe::Table& table) : csv_(file) {
    for (const auto& [column, text] : table.where) where_.emplace_back(csv_.column(column), text);
  }
  CsvReader& csv() { return csv_; }
  /// Position of a column that the recipe may leave out; kNone then.
  [[nodiscard]] std::size_t optional_column(const std::string& name) const {
    return name.empty() ? kNone : csv_.column(name);
  }
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  bool next() {
    while (csv_.next()) {
      const bool wanted = std::all_of(where_.begin(), where_.end(),
                                      [this](const auto& rule) { return csv_.field(rule.first) == rule.second; });
      if (wanted) return true;
      ++filtered_;
    }
    return false;
  }
  /// Rows that `where` left out so far.
  [[nodiscard]] std::size_t filtered() const { return filtered_; }

  /// A field that names something: not empty, clean text.
  const std::string& id(std::size_t column) {
    const std::string& text = csv_.field(column);
    if (text.empty()) csv_.wrong(column, "is empty; expected an id");
    return clean(column);
  }
  const std::string& clean(std::size_t column) {
    const std::string& text = csv_.field(column);
    if (!is_clean_text(text)) csv_.wrong(column, "is not UTF-8 text or holds a control character");
    return text;
  }

 private:
  CsvReader csv_;
  std::vector<std::pair<std::size_t, std::string>> where_;
  std::size_t filtered_ = 0;
};

/// Ids in order of appearance, each with the line on which it stands.
class Ids {
 public:
  /// Adds an id; a second time is an error.
  std::int32_t add(Source& source, std::size_t column) {
    const std::string& id = source.id(column);
    const auto [known, fresh] =
        index_.emplace(id, Place{static_cast<std::int32_t>(index_.size()), source.csv().line()});
    if (!fresh)
      source.csv().wrong(column, "'" + id + "' is there twice, first on line " + std::to_string(known->second.line));
    return known->second.index;
  }
  [[nodiscard]] std::int32_t find(const std::string& id) const {
    const auto found = index_.find(id);
    return found == index_.end() ? -1 : found->second.index;
  }

 private:
  struct Place {
    std::int32_t index;
    std::int64_t line;
  };
  std::unordered_map<std::string, Place> index_;
};

class Builder {
 public:
  Builder(const Recipe& recipe, std::filesystem::path from, std::vector<std::string>& steps)
      : recipe_(recipe), from_(std::move(from)), steps_(steps) {}

  DatasetContent build() {
    out_.name = recipe_.name;
    out_.value_unit = recipe_.value_unit;
    out_.caveats = recipe_.caveats;
    choose_genes();
    for (std::size_t d = 0; d < recipe_.domains.size(); ++d)
      read_domain(recipe_.domains[d], static_cast<std::int32_t>(d));
    name_tissues();
    if (!recipe_.drugs.file.empty()) read_drugs();
    for (std::size_t d = 0; d < recipe_.domains.size(); ++d) {
      if (recipe_.domains[d].response)
        read_responses(recipe_.domains[d], *recipe_.domains[d].response, static_cast<std::int32_t>(d));
    }
    drop_unused_drugs();
    add_structures();
    add_provenance();
    return std::move(out_);
  }

 private:
  void say(const std::string& sentence) { steps_.push_back(sentence); }

  /// Path of a source; the first time its hash is checked and recorded.
  std::filesystem::path locate(const Recipe::Table& table) {
    std::filesystem::path file = from_ / table.file;
    if (sources_.count(table.file) == 0) {
      const std::string found = sha256_file_hex(file);
      sources_[table.file] = {{"file", table.file}, {"sha256", found}, {"bytes", std::filesystem::file_size(file)}};
    }
    if (!table.sha256.empty() && sources_[table.file]["sha256"] != table.sha256) {
      throw DataError(file.string() + " is not the file that the recipe means: its SHA-256 is " +
                      sources_[table.file]["sha256"].get<std::string>() + ", expected " + table.sha256);
    }
    return file;
  }

  // --- genes ---

  void choose_genes() {
    std::vector<std::vector<std::string>> lists;
    for (const auto& domain : recipe_.domains) {
      const CsvReader csv(locate(domain.expression));
      const std::size_t id = domain.expression_id.empty() ? 0 : csv.column(domain.expression_id);
      std::vector<std::string> genes;
      for (std::size_t c = 0; c < csv.header().size(); ++c) {
        if (c != id) genes.push_back(csv.header()[c]);
      }
      if (genes.empty()) throw DataError(csv.path().string() + " has no column of a gene");
      lists.push_back(std::move(genes));
    }
    // In the order of the first domain; a union appends what later domains add.
    std::map<std::string, std::size_t> present;
    for (const auto& list : lists) {
      for (const auto& gene : list) ++present[gene];
    }
    for (const auto& list : lists) {
      for (const auto& gene : list) {
        std::size_t& domains = present[gene];
        if (domains == 0) continue;  // taken already
        if (!recipe_.genes.intersect || domains == lists.size()) out_.genes.push_back(gene);
        domains = 0;
      }
      if (recipe_.genes.intersect) break;
    }
    if (out_.genes.empty()) throw DataError("recipe " + recipe_.path.string() + ": the domains have no gene in common");
    std::string sentence = "genes:";
    for (std::size_t d = 0; d < lists.size(); ++d) {
      sentence += (d == 0 ? " " : ", ") + std::to_string(lists[d].size()) + " in " + recipe_.domains[d].name;
    }
    if (lists.size() > 1) {
      sentence += std::string("; ") + (recipe_.genes.intersect ? "the " : "the union of ") +
                  std::to_string(out_.genes.size()) +
                  (recipe_.genes.intersect ? " that all share are kept, by symbol" : " is kept, by symbol");
    }
    say(sentence);
    for (std::size_t g = 0; g < out_.genes.size(); ++g) gene_index_[out_.genes[g]] = g;
  }

  // --- samples and expression ---

  struct SampleRow {
    std::string group;
    std::string tissue;
    bool used = false;
  };

  std::unordered_map<std::string, SampleRow> read_sample_table(const Recipe::Domain& domain) {
    std::unordered_map<std::string, SampleRow> rows;
    Source source(locate(*domain.samples), *domain.samples);
    const std::size_t id = source.csv().column(domain.sample_id);
    const std::size_t tissue = source.optional_column(domain.tissue);
    const std::size_t group = source.optional_column(domain.group);
    Ids ids;
    while (source.next()) {
      ids.add(source, id);
      SampleRow row;
      if (tissue != Source::kNone) row.tissue = source.clean(tissue);
      if (group != Source::kNone) row.group = source.clean(group);
      rows.emplace(source.csv().field(id), std::move(row));
    }
    if (rows.empty()) throw DataError(source.csv().path().string() + " has no row for the domain " + domain.name);
    if (source.filtered() > 0) {
      say(domain.name + ": the recipe's filter leaves " + std::to_string(rows.size()) + " of " +
          std::to_string(rows.size() + source.filtered()) + " rows of " + domain.samples->file);
    }
    return rows;
  }

  void read_domain(const Recipe::Domain& domain, std::int32_t index) {
    out_.domains.name.push_back(domain.name);
    out_.domains.expression_unit.push_back(domain.expression_unit);
    out_.domains.caveat.push_back(domain.caveat);
    std::unordered_map<std::string, SampleRow> table;
    if (domain.samples) table = read_sample_table(domain);

    Source source(locate(domain.expression), domain.expression);
    CsvReader& csv = source.csv();
    const std::size_t id = domain.expression_id.empty() ? 0 : csv.column(domain.expression_id);
    std::vector<std::pair<std::size_t, std::size_t>> columns;  // in the file, in the data set
    for (std::size_t c = 0; c < csv.header().size(); ++c) {
      const auto found = gene_index_.find(csv.header()[c]);
      if (c != id && found != gene_index_.end()) columns.emplace_back(c, found->second);
    }
    const std::size_t genes = out_.genes.size();
    const std::size_t first = out_.sample_id.size();
    std::size_t without_row = 0;
    std::size_t missing = 0;
    Ids ids;
    while (source.next()) {
      ids.add(source, id);
      const std::string& name = csv.field(id);
      SampleRow row;
      if (domain.samples) {
        const auto found = table.find(name);
        if (found == table.end()) {
          ++without_row;
          continue;
        }
        found->second.used = true;
        row = found->second;
      }
      const auto [known, fresh] = sample_domain_.emplace(name, index);
      if (!fresh) {
        csv.wrong(id, "the sample '" + name + "' is in the domain " +
                          recipe_.domains[static_cast<std::size_t>(known->second)].name + " too");
      }
      out_.sample_id.push_back(name);
      out_.sample_group.push_back(row.group.empty() ? name : row.group);
      out_.sample_domain.push_back(index);
      sample_tissue_.push_back(row.tissue);
      const std::size_t offset = out_.expression.size();
      out_.expression.resize(offset + genes, static_cast<float>(recipe_.genes.absent));
      for (const auto& [column, gene] : columns) {
        float& value = out_.expression[offset + gene];
        if (!csv.number(column, &value)) {
          value = kMissing;
          ++missing;
        }
      }
    }
    const std::size_t samples = out_.sample_id.size() - first;
    if (samples == 0) {
      throw DataError(csv.path().string() +
                      (without_row > 0 ? ": no sample of it is in the table of samples" : " has no row of a sample"));
    }
    std::string sentence = domain.name + ": " + count_of(samples, "sample", "samples") + " x " +
                           std::to_string(columns.size()) + " genes from " + domain.expression.file + ", " +
                           count_of(missing, "value", "values") + " missing";
    if (columns.size() < genes)
      sentence += "; " + std::to_string(genes - columns.size()) + " genes that it lacks are set to " +
                  number(recipe_.genes.absent);
    say(sentence);
    if (without_row > 0)
      say(domain.name + ": dropped " + count_of(without_row, "row", "rows") +
          " of expression whose sample is not in the table of samples");
    const auto unused = static_cast<std::size_t>(
        std::count_if(table.begin(), table.end(), [](const auto& entry) { return !entry.second.used; }));
    if (unused > 0)
      say(domain.name + ": dropped " + count_of(unused, "sample", "samples") + " of the table without expression");
    harmonise(domain, first, samples);
  }

  static std::string number(double value) {
    std::string text = nlohmann::json(value).dump();
    return text.size() > 2 && text.substr(text.size() - 2) == ".0" ? text.substr(0, text.size() - 2) : text;
  }

  /// Applies the steps to the rows first .. first + samples - 1, and makes sure that every gene has a value.
  void harmonise(const Recipe::Domain& domain, std::size_t first, std::size_t samples) {
    const std::size_t genes = out_.genes.size();
    float* rows = out_.expression.data() + first * genes;
    const auto require_values = [&](std::size_t g) {
      for (std::size_t i = 0; i < samples; ++i) {
        if (!std::isnan(rows[i * genes + g])) return;
      }
      throw DataError((from_ / domain.expression.file).string() + ": the gene " + out_.genes[g] +
                      " has no value in any sample");
    };
    for (std::size_t g = 0; g < genes; ++g) require_values(g);
    if (domain.steps.empty()) say(domain.name + ": expression as in the file");
    for (const auto& step : domain.steps) {
      switch (step.kind) {
        case Recipe::Step::Kind::fill_constant:
        case Recipe::Step::Kind::fill_gene_minimum: fill(domain, step, rows, samples); break;
        case Recipe::Step::Kind::clip: clip(domain, step, rows, samples); break;
        case Recipe::Step::Kind::zscore: standardise(domain, rows, samples); break;
      }
    }
  }

  void fill(const Recipe::Domain& domain, const Recipe::Step& step, float* rows, std::size_t samples) {
    const std::size_t genes = out_.genes.size();
    const bool by_gene = step.kind == Recipe::Step::Kind::fill_gene_minimum;
    std::size_t filled = 0;
    for (std::size_t g = 0; g < genes; ++g) {
      auto value = static_cast<float>(step.value);
      if (by_gene) {
        value = std::numeric_limits<float>::infinity();
        for (std::size_t i = 0; i < samples; ++i) {
          const float x = rows[i * genes + g];
          if (!std::isnan(x)) value = std::min(value, x);
        }
      }
      for (std::size_t i = 0; i < samples; ++i) {
        if (!std::isnan(rows[i * genes + g])) continue;
        rows[i * genes + g] = value;
        ++filled;
      }
    }
    say(domain.name + ": filled " + count_of(filled, "missing value", "missing values") + " with " +
        (by_gene ? "the minimum of the gene" : number(step.value)));
  }

  void clip(const Recipe::Domain& domain, const Recipe::Step& step, float* rows, std::size_t samples) {
    std::size_t below = 0;
    std::size_t above = 0;
    for (std::size_t i = 0; i < samples * out_.genes.size(); ++i) {
      if (step.low && rows[i] < static_cast<float>(*step.low)) {
        rows[i] = static_cast<float>(*step.low);
        ++below;
      }
      if (step.high && rows[i] > static_cast<float>(*step.high)) {
        rows[i] = static_cast<float>(*step.high);
        ++above;
      }
    }
    std::string sentence = domain.name + ": clipped";
    if (step.low) sentence += " " + count_of(below, "value", "values") + " below " + number(*step.low);
    if (step.high)
      sentence +=
          std::string(step.low ? " and " : " ") + count_of(above, "value", "values") + " above " + number(*step.high);
    say(sentence);
  }

  void standardise(const Recipe::Domain& domain, float* rows, std::size_t samples) {
    const std::size_t genes = out_.genes.size();
    std::size_t constant = 0;
    for (std::size_t g = 0; g < genes; ++g) {
      double sum = 0.0;
      std::size_t n = 0;
      for (std::size_t i = 0; i < samples; ++i) {
        const float x = rows[i * genes + g];
        if (std::isnan(x)) continue;
        sum += static_cast<double>(x);
        ++n;
      }
      const double mean = sum / static_cast<double>(n);
      double squares = 0.0;
      for (std::size_t i = 0; i < samples; ++i) {
        const float x = rows[i * genes + g];
        if (!std::isnan(x)) squares += (static_cast<double>(x) - mean) * (static_cast<double>(x) - mean);
      }
      const double sd = std::sqrt(squares / static_cast<double>(n));
      // A constant gene says nothing: 0 everywhere rather than noise over noise.
      const bool flat = sd <= 1e-12 * std::max(1.0, std::abs(mean));
      if (flat) ++constant;
      for (std::size_t i = 0; i < samples; ++i) {
        float& x = rows[i * genes + g];
        if (!std::isnan(x)) x = flat ? 0.0F : static_cast<float>((static_cast<double>(x) - mean) / sd);
      }
    }
    say(domain.name + ": z-scored each gene over the " + std::to_string(samples) +
        " samples of the domain (population sd); " + count_of(constant, "constant gene", "constant genes") +
        " set to 0");
    out_.caveats.push_back("Expression of " + domain.name +
                           " was z-scored over all its samples, test samples included.");
  }

  void name_tissues() {
    const std::set<std::string> names(sample_tissue_.begin(), sample_tissue_.end());
    for (const auto& name : names) {
      if (!name.empty()) out_.tissues.push_back(name);
    }
    std::size_t unknown = 0;
    for (const auto& name : sample_tissue_) {
      const auto found = std::lower_bound(out_.tissues.begin(), out_.tissues.end(), name);
      if (name.empty()) ++unknown;
      out_.sample_tissue.push_back(name.empty() ? -1 : static_cast<std::int32_t>(found - out_.tissues.begin()));
    }
    if (unknown > 0) say(count_of(unknown, "sample has", "samples have") + " no tissue");
  }

  // --- drugs ---

  void read_drugs() {
    Source source(locate(recipe_.drugs), recipe_.drugs);
    CsvReader& csv = source.csv();
    const std::size_t id = csv.column(recipe_.drugs.id);
    const std::size_t name = recipe_.drugs.name.empty() ? id : csv.column(recipe_.drugs.name);
    const std::size_t smiles = source.optional_column(recipe_.drugs.smiles);
    while (source.next()) {
      drugs_.add(source, id);
      out_.drug_id.push_back(csv.field(id));
      out_.drug_name.push_back(source.clean(name));
      out_.drug_smiles.push_back(smiles != Source::kNone ? source.clean(smiles) : "");
    }
    if (out_.drug_id.empty()) throw DataError(csv.path().string() + " has no row of a drug");
    say("drugs: " + std::to_string(out_.drug_id.size()) + " from " + recipe_.drugs.file +
        (source.filtered() > 0 ? ", the recipe's filter left out " + std::to_string(source.filtered()) : ""));
  }

  void drop_unused_drugs() {
    if (recipe_.drugs.keep_unused || out_.drug_id.empty()) return;
    std::vector<bool> used(out_.drug_id.size(), false);
    for (const auto& r : out_.responses) used[static_cast<std::size_t>(r.drug)] = true;
    std::vector<std::int32_t> place(used.size(), -1);
    std::vector<std::string> id;
    std::vector<std::string> name;
    std::vector<std::string> smiles;
    for (std::size_t j = 0; j < used.size(); ++j) {
      if (!used[j]) continue;
      place[j] = static_cast<std::int32_t>(id.size());
      id.push_back(out_.drug_id[j]);
      name.push_back(out_.drug_name[j]);
      smiles.push_back(out_.drug_smiles[j]);
    }
    if (id.size() == used.size()) return;
    say("drugs: dropped " + std::to_string(used.size() - id.size()) + " without a record, " +
        std::to_string(id.size()) + " stay");
    for (auto& r : out_.responses) r.drug = place[static_cast<std::size_t>(r.drug)];
    out_.drug_id = std::move(id);
    out_.drug_name = std::move(name);
    out_.drug_smiles = std::move(smiles);
  }

  void add_structures() {
    if (out_.drug_id.empty()) return;
    const StructureReport report = derive_structures(out_);
    std::string sentence =
        "structures: " + std::to_string(report.known) + " of " + std::to_string(out_.drug_id.size()) + " drugs";
    if (report.absent > 0) sentence += ", " + std::to_string(report.absent) + " have no SMILES";
    if (report.synonyms > 0) {
      sentence += ", " + count_of(static_cast<std::size_t>(report.synonyms), "drug shares", "drugs share") +
                  " the structure and so the group of an earlier one";
    }
    say(sentence);
    for (const auto& invalid : report.invalid) {
      say("structures: the SMILES of " + invalid.drug + " is not used (" + invalid.reason + "): " + invalid.smiles);
    }
  }

  // --- responses ---

  void read_responses(const Recipe::Domain& domain, const Recipe::Response& rule, std::int32_t index) {
    std::unordered_map<std::string, std::vector<std::int32_t>> samples;
    for (std::size_t i = 0; i < out_.sample_id.size(); ++i) {
      if (out_.sample_domain[i] != index) continue;
      samples[rule.by_group ? out_.sample_group[i] : out_.sample_id[i]].push_back(static_cast<std::int32_t>(i));
    }
    Source source(locate(rule), rule);
    CsvReader& csv = source.csv();
    const std::size_t sample_column = csv.column(rule.sample);
    const std::size_t drug_column = csv.column(rule.drug);
    const std::size_t value_column = source.optional_column(rule.value);
    const std::size_t label_column = source.optional_column(rule.label);

    struct Known {
      std::size_t row;
      std::int64_t line;
      std::int32_t count;
    };
    std::unordered_map<std::uint64_t, Known> known;
    const std::size_t first = out_.responses.size();
    std::size_t rows = 0;
    std::size_t empty = 0;
    std::size_t of_unknown_sample = 0;
    std::size_t of_unknown_drug = 0;
    std::size_t repeated = 0;
    std::set<std::string> unknown_drugs;
    while (source.next()) {
      ++rows;
      const auto found = samples.find(source.id(sample_column));
      if (found == samples.end()) {
        if (!rule.drop_unknown_samples) {
          csv.wrong(sample_column, "'" + csv.field(sample_column) + "' is no " + (rule.by_group ? "group" : "sample") +
                                       " of the domain " + domain.name +
                                       " (unknown_samples = \"drop\" would leave such rows out)");
        }
        ++of_unknown_sample;
        continue;
      }
      if (found->second.size() > 1) {
        csv.wrong(sample_column, "'" + csv.field(sample_column) + "' has " + std::to_string(found->second.size()) +
                                     " samples in the domain " + domain.name + "; which one is meant cannot be known");
      }
      if (csv.field(drug_column).empty() && rule.drop_unknown_drugs) {
        ++of_unknown_drug;
        continue;
      }
      const std::int32_t drug = drugs_.find(source.id(drug_column));
      if (drug < 0) {
        if (!rule.drop_unknown_drugs) {
          csv.wrong(drug_column,
                    "'" + csv.field(drug_column) +
                        "' is not in the table of drugs (unknown_drugs = \"drop\" would leave such rows out)");
        }
        ++of_unknown_drug;
        unknown_drugs.insert(csv.field(drug_column));
        continue;
      }
      DatasetContent::Response record;
      record.sample = found->second.front();
      record.drug = drug;
      record.value = std::numeric_limits<double>::quiet_NaN();
      double number = 0.0;
      if (value_column != Source::kNone && csv.number(value_column, &number)) record.value = number;
      if (label_column != Source::kNone && csv.number(label_column, &number)) {
        if (number != 0.0 && number != 1.0)
          csv.wrong(label_column, "'" + csv.field(label_column) + "' is no label; expected 0 or 1");
        record.label = number == 1.0 ? 1 : 0;
      }
      if (std::isnan(record.value) && record.label < 0) {
        ++empty;
        continue;
      }
      const std::uint64_t key =
          static_cast<std::uint64_t>(record.sample) << 32U | static_cast<std::uint64_t>(record.drug);
      const auto [pair, fresh] = known.emplace(key, Known{out_.responses.size(), csv.line(), 1});
      if (!fresh) {
        ++repeated;
        DatasetContent::Response& earlier = out_.responses[pair->second.row];
        const std::string what = "the pair of '" + csv.field(sample_column) + "' and '" + csv.field(drug_column) +
                                 "' is there twice, first on line " + std::to_string(pair->second.line);
        switch (rule.replicates) {
          case Recipe::Response::Replicates::error:
            csv.wrong(drug_column, what + " (replicates = \"mean\" or \"keep\" would accept that)");
          case Recipe::Response::Replicates::keep: record.replicate = pair->second.count++; break;
          case Recipe::Response::Replicates::mean:
            if (earlier.label != record.label || std::isnan(earlier.value) != std::isnan(record.value)) {
              csv.wrong(drug_column, what + ", with another label; labels have no mean");
            }
            // Running mean: exact for equal replicates.
            earlier.value += (record.value - earlier.value) / static_cast<double>(++pair->second.count);
            continue;
        }
      }
      out_.responses.push_back(record);
    }
    const std::size_t kept = out_.responses.size() - first;
    say(domain.name + ": " + count_of(kept, "record", "records") + " from " + count_of(rows, "row", "rows") + " of " +
        rule.file +
        (source.filtered() > 0 ? ", the recipe's filter left out " + std::to_string(source.filtered()) : ""));
    if (of_unknown_sample > 0)
      say(domain.name + ": dropped " + count_of(of_unknown_sample, "row", "rows") + " whose " +
          (rule.by_group ? "group" : "sample") + " has no expression");
    if (of_unknown_drug > 0) {
      say(domain.name + ": dropped " + count_of(of_unknown_drug, "row", "rows") +
          " whose drug is not in the table of drugs" +
          (unknown_drugs.empty() ? "" : " (" + some_of(unknown_drugs) + ")"));
    }
    if (empty > 0) say(domain.name + ": dropped " + count_of(empty, "row", "rows") + " with neither value nor label");
    if (repeated > 0) {
      say(domain.name + ": " + count_of(repeated, "repeated row", "repeated rows") +
          (rule.replicates == Recipe::Response::Replicates::keep ? " kept as replicates" : " averaged with the first"));
    }
    if (kept == 0) throw DataError(csv.path().string() + ": no row of it is a record of the domain " + domain.name);
  }

  void add_provenance() {
    nlohmann::ordered_json j;
    j["builder"] = "cdrzoo data build";
    j["recipe"] = recipe_.name;
    j["recipe_sha256"] = recipe_.sha256;
    j["citation"] = recipe_.citation;
    j["license"] = recipe_.license;
    j["chemistry"] = chemistry_version();
    j["sources"] = nlohmann::ordered_json::array();
    for (const auto& [file, source] : sources_) j["sources"].push_back(source);
    j["steps"] = steps_;
    // Words from files may hold bytes that are no UTF-8 only in messages; replace rather than fail.
    out_.provenance_json = j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  }

  const Recipe& recipe_;
  std::filesystem::path from_;
  std::vector<std::string>& steps_;
  DatasetContent out_;
  std::map<std::string, nlohmann::ordered_json> sources_;
  std::unordered_map<std::string, std::size_t> gene_index_;
  std::unordered_map<std::string, std::int32_t> sample_domain_;
  std::vector<std::string> sample_tissue_;
  Ids drugs_;
};

}  // namespace

DatasetContent build_dataset(const Recipe& recipe, const std::filesystem::path& from, std::vector<std::string>* steps) {
  return Builder(recipe, from, *steps).build();
}

}  // namespace cdrzoo
