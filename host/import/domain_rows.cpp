// SPDX-License-Identifier: Apache-2.0
#include "import/domain_rows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/error.hpp"

namespace cdrzoo {
namespace {

constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();

std::set<std::string> columns_asked_for(const Recipe::Domain& domain) {
  std::set<std::string> columns = {domain.tissue, domain.group, domain.match};
  if (!domain.samples_from_matrix) columns.insert(domain.sample_id);
  for (const auto& response : domain.responses) {
    if (response.match != "sample" && response.match != "group") columns.insert(response.match);
  }
  if (const auto& rule = domain.perturbation) {
    columns.insert(rule->context.begin(), rule->context.end());
    columns.insert({rule->perturbation, rule->control_column, rule->dose, rule->time});
  }
  columns.erase("");
  return columns;
}

}  // namespace

const std::string& DomainRows::SampleTable::text(const std::string& column, std::int64_t row) const {
  return (*columns.find(column))[static_cast<std::size_t>(row)];
}

DomainRows::DomainRows(const Recipe::Domain& domain, SourceFiles& files, BuildReport& report)
    : domain_(&domain), report_(&report), matrix_(files.open_matrix_of(domain)) {
  if (domain.has_samples) read_sample_table(files);
}

void DomainRows::read_sample_table(SourceFiles& files) {
  const bool from_matrix = domain_->samples_from_matrix;
  FilteredTable table = from_matrix
                            ? FilteredTable(std::make_unique<MemoryTable>(matrix_->path(), "annotations of samples",
                                                                          matrix_->sample_annotations()),
                                            domain_->samples.where, domain_->samples.unless)
                            : files.open(domain_->samples);
  if (!from_matrix) table_.file = table.table().path().string();
  std::vector<std::size_t> positions;
  for (const auto& name : columns_asked_for(*domain_)) {
    positions.push_back(table.table().column(name));
    table_.columns.names.push_back(name);
  }
  // A table needs a column to have rows.
  if (positions.empty()) {
    positions.push_back(0);
    table_.columns.names.push_back(table.table().header()[0]);
  }
  table_.columns.values.resize(positions.size());
  const std::size_t id = from_matrix ? FilteredTable::kNone : table.table().column(domain_->sample_id);
  std::unordered_map<std::string, std::int64_t> line_of;
  std::size_t rows = 0;
  for (; table.next(); ++rows) {
    if (!from_matrix) {
      const auto [known, fresh] = line_of.emplace(table.id(id), table.table().line());
      if (!fresh) {
        table.table().wrong(id,
                            "'" + known->first + "' is there twice, first on line " + std::to_string(known->second));
      }
    }
    for (std::size_t k = 0; k < positions.size(); ++k) table_.columns.values[k].push_back(table.clean(positions[k]));
    if (from_matrix) table_.row_of_matrix.push_back(table.table().line() - 1);
  }
  if (rows == 0) throw DataError(table.table().path().string() + " has no row for the domain " + domain_->name);
  if (table.filtered() > 0) {
    report_->say(domain_->name + ": the recipe's filter leaves " + std::to_string(rows) + " of " +
                 std::to_string(rows + table.filtered()) + " rows of " +
                 (from_matrix ? file() : domain_->samples.file));
  }
}

void DomainRows::name_genes(const GeneMap* map, GeneNames target) {
  const auto& names = matrix_->genes();
  const bool same_kind = domain_->gene_names == target;
  std::size_t by_alias = 0;
  std::size_t renamed = 0;
  std::size_t kept = 0;
  std::size_t unknown = 0;
  std::size_t ambiguous = 0;
  std::unordered_map<std::string, std::int64_t> first;
  std::size_t repeated = 0;
  gene_of_column_.resize(names.size());
  for (std::size_t c = 0; c < names.size(); ++c) {
    std::string own = domain_->gene_names == GeneNames::ensembl ? without_version(names[c]) : names[c];
    std::string& id = gene_of_column_[c];
    if (map == nullptr) {
      id = own;
    } else {
      const GeneMap::Gene found = map->find(domain_->gene_names, names[c], target);
      if (found.ambiguous) {
        ++ambiguous;
        report_->lose(file(), "gene", names[c], "the gene map gives several genes");
        continue;
      }
      id = found.id;
      if (found.by_alias) ++by_alias;
      if (!id.empty() && id != own) ++renamed;
      if (id.empty() && same_kind) {
        id = own;
        ++kept;
      } else if (id.empty()) {
        ++unknown;
        report_->lose(file(), "gene", names[c], "not in the gene map");
        continue;
      }
    }
    const auto [known, fresh] = first.emplace(id, static_cast<std::int64_t>(c));
    if (fresh) {
      genes_.push_back(id);
      continue;
    }
    ++repeated;
    if (domain_->repeated_genes == Recipe::Domain::RepeatedGenes::error) {
      throw DataError(matrix_->place_of_gene(static_cast<std::int64_t>(c)) + ": the gene '" + id +
                      "' is there twice, first in " + matrix_->place_of_gene(known->second) +
                      " (repeated_genes = \"first\", \"mean\" or \"highest_mean\" would accept that)");
    }
  }
  if (genes_.empty()) throw DataError(matrix_->path().string() + " has no gene that can be used");
  if (map != nullptr) {
    report_->say(domain_->name + ": " + std::to_string(names.size()) + " genes named by " +
                 gene_names_words()[static_cast<std::size_t>(domain_->gene_names)] + " through the gene map: " +
                 std::to_string(renamed) + " renamed (" + std::to_string(by_alias) + " by an alias)" +
                 (kept > 0 ? ", " + std::to_string(kept) + " not in the map and kept under their own name" : "") +
                 (unknown > 0 ? ", dropped " + std::to_string(unknown) + " that are not in the map" : "") +
                 (ambiguous > 0 ? ", dropped " + std::to_string(ambiguous) + " that may be several genes" : ""));
  }
  if (repeated > 0) {
    static constexpr const char* kWords[] = {"", "dropped", "averaged with the first", "merged, the highest mean wins"};
    report_->say(domain_->name + ": " + count_of(repeated, "column repeats a gene", "columns repeat a gene") + ", " +
                 kWords[static_cast<std::size_t>(domain_->repeated_genes)]);
  }
}

void DomainRows::select_genes(const std::vector<std::string>& genes, float absent) {
  absent_ = absent;
  present_.assign(genes.size(), false);
  target_.assign(gene_of_column_.size(), -1);
  std::unordered_map<std::string, std::size_t> index;
  for (std::size_t g = 0; g < genes.size(); ++g) index[genes[g]] = g;
  std::vector<std::vector<std::int64_t>> columns_of(genes.size());
  for (std::size_t c = 0; c < gene_of_column_.size(); ++c) {
    const auto found = index.find(gene_of_column_[c]);
    if (gene_of_column_[c].empty() || found == index.end()) continue;
    columns_of[found->second].push_back(static_cast<std::int64_t>(c));
  }
  using Repeated = Recipe::Domain::RepeatedGenes;
  if (domain_->repeated_genes == Repeated::highest_mean) highest_means(columns_of);
  for (std::size_t g = 0; g < genes.size(); ++g) {
    auto& columns = columns_of[g];
    if (domain_->repeated_genes == Repeated::first && columns.size() > 1) columns.resize(1);
    merges_genes_ = merges_genes_ || columns.size() > 1;
    present_[g] = !columns.empty();
    for (const auto column : columns) target_[static_cast<std::size_t>(column)] = static_cast<std::int64_t>(g);
  }
}

/// Leaves of several columns of one gene the one with the highest mean over all samples of the file.
void DomainRows::highest_means(std::vector<std::vector<std::int64_t>>& columns_of) {
  if (std::all_of(columns_of.begin(), columns_of.end(), [](const auto& columns) { return columns.size() < 2; })) return;
  std::vector<double> sum(gene_of_column_.size());
  std::vector<double> count(gene_of_column_.size());
  const bool by_sample = matrix_->lines() == MatrixSource::Lines::samples;
  const std::size_t across = by_sample ? gene_of_column_.size() : matrix_->samples().size();
  matrix_->read([&](std::int64_t line, const float* values) {
    for (std::size_t k = 0; k < across; ++k) {
      if (std::isnan(values[k])) continue;
      const std::size_t column = by_sample ? k : static_cast<std::size_t>(line);
      sum[column] += static_cast<double>(values[k]);
      ++count[column];
    }
  });
  const auto mean = [&](std::int64_t c) {
    const auto column = static_cast<std::size_t>(c);
    return count[column] > 0 ? sum[column] / count[column] : -std::numeric_limits<double>::infinity();
  };
  for (auto& columns : columns_of) {
    if (columns.size() < 2) continue;
    const std::int64_t best =
        *std::max_element(columns.begin(), columns.end(), [&](auto a, auto b) { return mean(a) < mean(b); });
    columns.assign(1, best);
  }
}

std::vector<std::int64_t> DomainRows::rows_of_samples() {
  const auto& names = matrix_->samples();
  std::vector<std::int64_t> rows(names.size(), -1);
  if (domain_->samples_from_matrix) {
    for (std::size_t r = 0; r < table_.row_of_matrix.size(); ++r)
      rows[static_cast<std::size_t>(table_.row_of_matrix[r])] = static_cast<std::int64_t>(r);
    return rows;
  }
  const std::string& column = domain_->match.empty() ? domain_->sample_id : domain_->match;
  NameMatcher matcher(domain_->match_rule);
  for (std::int64_t r = 0; r < table_.columns.rows(); ++r)
    matcher.know(table_.text(column, r), static_cast<std::int32_t>(r));
  std::vector<std::string> asked;
  for (const auto& name : names) asked.push_back(name_key(domain_->name_rule, name));
  std::sort(asked.begin(), asked.end());
  asked.erase(std::unique(asked.begin(), asked.end()), asked.end());
  const auto matches = matcher.match(asked);
  std::vector<bool> used(static_cast<std::size_t>(table_.columns.rows()), false);
  std::size_t unknown = 0;
  std::size_t ambiguous = 0;
  std::size_t similar = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto match = matches.at(name_key(domain_->name_rule, names[i]));
    switch (match.outcome) {
      case NameMatcher::Outcome::similar: ++similar; [[fallthrough]];
      case NameMatcher::Outcome::exact:
        rows[i] = match.index;
        used[static_cast<std::size_t>(match.index)] = true;
        break;
      case NameMatcher::Outcome::unknown:
        ++unknown;
        report_->lose(file(), "sample", names[i], "not in the table of samples");
        break;
      case NameMatcher::Outcome::ambiguous:
        ++ambiguous;
        report_->lose(file(), "sample", names[i], "the name may mean several samples of the table");
        break;
    }
  }
  if (similar > 0)
    report_->say(domain_->name + ": " + count_of(similar, "sample", "samples") + " matched by a similar name");
  if (unknown > 0)
    report_->say(domain_->name + ": dropped " + count_of(unknown, "row", "rows") +
                 " of expression whose sample is not in the table of samples");
  if (ambiguous > 0)
    report_->say(domain_->name + ": dropped " + count_of(ambiguous, "row", "rows") +
                 " of expression whose name may mean several samples");
  const auto unused = static_cast<std::size_t>(std::count(used.begin(), used.end(), false));
  for (std::size_t r = 0; r < used.size(); ++r) {
    if (!used[r])
      report_->lose(domain_->samples.file, "sample", table_.text(domain_->sample_id, static_cast<std::int64_t>(r)),
                    "no expression");
  }
  if (unused > 0)
    report_->say(domain_->name + ": dropped " + count_of(unused, "sample", "samples") +
                 " of the table without expression");
  return rows;
}

void DomainRows::read(std::int32_t index, DatasetContent& out) {
  const auto& names = matrix_->samples();
  std::vector<std::int64_t> table_row(names.size(), -1);
  if (domain_->has_samples) table_row = rows_of_samples();

  // Which sample of the data set each sample of the matrix is; -1 = none.
  const std::size_t first = out.sample_id.size();
  std::vector<std::int64_t> slot(names.size(), -1);
  std::unordered_map<std::string, std::size_t> known;  // id -> sample of the matrix
  std::unordered_map<std::string, std::size_t> elsewhere;
  for (std::size_t i = 0; i < first; ++i) elsewhere[out.sample_id[i]] = i;
  std::size_t repeated = 0;
  std::size_t nameless = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (domain_->has_samples && table_row[i] < 0) continue;
    std::string id = name_key(domain_->name_rule, names[i]);
    if (domain_->has_samples && !domain_->samples_from_matrix) id = table_.text(domain_->sample_id, table_row[i]);
    const std::string here = matrix_->place_of_sample(static_cast<std::int64_t>(i));
    if (id.empty()) {
      ++nameless;
      report_->lose(file(), "sample", names[i],
                    std::string("no name under ") + name_rule_words()[static_cast<std::size_t>(domain_->name_rule)]);
      continue;
    }
    if (const auto other = elsewhere.find(id); other != elsewhere.end()) {
      throw DataError(here + ": the sample '" + id + "' is in the domain " +
                      out.domains.name[static_cast<std::size_t>(out.sample_domain[other->second])] + " too");
    }
    const auto [earlier, fresh] = known.emplace(id, i);
    if (!fresh) {
      if (domain_->repeated_samples == Recipe::Repeats::error) {
        throw DataError(here + ": the sample '" + id + "' is there twice, first in " +
                        matrix_->place_of_sample(static_cast<std::int64_t>(earlier->second)) +
                        " (repeated_samples = \"first\" or \"mean\" would accept that)");
      }
      ++repeated;
      const bool mean = domain_->repeated_samples == Recipe::Repeats::mean;
      if (mean) slot[i] = slot[earlier->second];
      report_->lose(file(), "sample", names[i], mean ? "averaged with its first row" : "repeats an earlier row");
      continue;
    }
    slot[i] = static_cast<std::int64_t>(out.sample_id.size() - first);
    const auto number = static_cast<std::int32_t>(out.sample_id.size());
    std::string group = id;
    if (table_row[i] >= 0) {
      table_row_.emplace_back(number, table_row[i]);
      if (!domain_->tissue.empty()) tissues_[number] = table_.text(domain_->tissue, table_row[i]);
      if (!domain_->group.empty() && !table_.text(domain_->group, table_row[i]).empty())
        group = table_.text(domain_->group, table_row[i]);
    }
    const std::string key = name_key(domain_->group_rule, group);
    out.sample_id.push_back(id);
    out.sample_group.push_back(key.empty() ? group : key);
    out.sample_domain.push_back(index);
    out.sample_tissue.push_back(-1);  // named when all domains are read
  }
  const std::size_t samples = out.sample_id.size() - first;
  if (samples == 0) {
    throw DataError(matrix_->path().string() + (domain_->has_samples && !names.empty()
                                                    ? ": no sample of it is in the table of samples"
                                                    : " has no row of a sample"));
  }

  const std::size_t genes = present_.size();
  out.expression.resize(out.expression.size() + samples * genes, kMissing);
  float* values = out.expression.data() + first * genes;
  // Where several numbers become one, their sum and count; else numbers go straight to their place.
  const bool merges = merges_genes_ || (repeated > 0 && domain_->repeated_samples == Recipe::Repeats::mean);
  std::vector<double> sum(merges ? samples * genes : 0);
  std::vector<std::int32_t> count(merges ? samples * genes : 0);
  const auto put = [&](std::size_t cell, float value) {
    if (!merges) {
      values[cell] = value;
    } else if (!std::isnan(value)) {
      sum[cell] += static_cast<double>(value);
      ++count[cell];
    }
  };
  const bool by_sample = matrix_->lines() == MatrixSource::Lines::samples;
  // Positions within a line that count, with their place in the data set.
  std::vector<std::pair<std::size_t, std::size_t>> across;
  const auto& wanted = by_sample ? target_ : slot;
  for (std::size_t k = 0; k < wanted.size(); ++k) {
    if (wanted[k] >= 0) across.emplace_back(k, static_cast<std::size_t>(wanted[k]));
  }
  const auto& along = by_sample ? slot : target_;
  matrix_->read([&](std::int64_t line, const float* numbers) {
    const std::int64_t place = along[static_cast<std::size_t>(line)];
    if (place < 0) return;
    const std::size_t base = by_sample ? static_cast<std::size_t>(place) * genes : static_cast<std::size_t>(place);
    for (const auto& [from, to] : across) put(by_sample ? base + to : to * genes + base, numbers[from]);
  });
  for (std::size_t cell = 0; cell < sum.size(); ++cell) {
    if (count[cell] > 0) values[cell] = static_cast<float>(sum[cell] / count[cell]);
  }
  std::size_t missing = 0;
  for (std::size_t cell = 0; cell < samples * genes; ++cell) {
    if (!present_[cell % genes]) {
      values[cell] = absent_;
    } else if (std::isnan(values[cell])) {
      ++missing;
    }
  }

  const auto have = static_cast<std::size_t>(std::count(present_.begin(), present_.end(), true));
  std::string sentence = domain_->name + ": " + count_of(samples, "sample", "samples") + " x " + std::to_string(have) +
                         " genes from " + file() + ", " + count_of(missing, "value", "values") + " missing";
  if (have < genes) {
    sentence += "; " + std::to_string(genes - have) + " genes that it lacks are set to " +
                number_text(static_cast<double>(absent_));
  }
  report_->say(sentence);
  if (nameless > 0) {
    report_->say(domain_->name + ": dropped " + count_of(nameless, "sample", "samples") + " whose name is no " +
                 name_rule_words()[static_cast<std::size_t>(domain_->name_rule)]);
  }
  if (repeated > 0) {
    report_->say(domain_->name + ": " + count_of(repeated, "row repeats a sample", "rows repeat a sample") +
                 (domain_->repeated_samples == Recipe::Repeats::mean ? ", averaged with the first" : ", dropped"));
  }
}

void DomainRows::read_perturbations(const PerturbationRule& rule, std::int32_t index, DatasetContent& out) {
  if (merges_genes_) {
    throw UsageError("the domain " + domain_->name +
                     " has perturbations and genes that are there twice; repeated_genes = \"first\" or "
                     "\"highest_mean\" would leave one of each");
  }
  GeneSelection genes{std::vector<std::int64_t>(present_.size(), -1), absent_};
  for (std::size_t c = 0; c < target_.size(); ++c) {
    if (target_[c] >= 0) genes.columns[static_cast<std::size_t>(target_[c])] = static_cast<std::int64_t>(c);
  }
  PerturbationRule own = rule;
  TextColumns joined;
  if (domain_->has_samples) {
    const auto rows = rows_of_samples();
    for (const auto row : rows) own.counts.push_back(row >= 0);
    own.annotations_file = table_.file;
    joined.names = table_.columns.names;
    for (const auto& column : table_.columns.values) {
      auto& texts = joined.values.emplace_back();
      for (const auto row : rows) texts.push_back(row < 0 ? "" : column[static_cast<std::size_t>(row)]);
    }
  }
  add_perturbations(*matrix_, domain_->has_samples ? joined : matrix_->sample_annotations(), own, genes, index, out,
                    &report_->steps());
}

std::vector<std::pair<std::string, std::int32_t>> DomainRows::names(const std::string& match,
                                                                    const DatasetContent& out) const {
  std::vector<std::pair<std::string, std::int32_t>> pairs;
  if (match == "sample" || match == "group") {
    const auto own = std::find(out.domains.name.begin(), out.domains.name.end(), domain_->name);
    const auto index = static_cast<std::int32_t>(own - out.domains.name.begin());
    for (std::size_t i = 0; i < out.sample_id.size(); ++i) {
      if (out.sample_domain[i] == index)
        pairs.emplace_back(match == "group" ? out.sample_group[i] : out.sample_id[i], static_cast<std::int32_t>(i));
    }
    return pairs;
  }
  for (const auto& [sample, row] : table_row_) {
    const std::string& name = table_.text(match, row);
    if (!name.empty()) pairs.emplace_back(name, sample);
  }
  return pairs;
}

}  // namespace cdrzoo
