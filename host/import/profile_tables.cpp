// SPDX-License-Identifier: Apache-2.0
#include "import/profile_tables.hpp"

#include <cmath>
#include <unordered_map>

#include "base/error.hpp"
#include "data/dataset_format.hpp"
#include "import/sparse_filler.hpp"

namespace cdrzoo {
namespace {

using Index = std::unordered_map<std::string, std::int32_t>;

Index index_of(const std::vector<std::string>& names) {
  Index out;
  for (std::size_t i = 0; i < names.size(); ++i) out.emplace(names[i], static_cast<std::int32_t>(i));
  return out;
}

/// The index that a field names; \p kind is what it should be.
std::int32_t find(FilteredTable& source, std::size_t column, const Index& known, const std::string& kind) {
  const auto found = known.find(source.id(column));
  if (found == known.end()) source.table().wrong(column, excerpt(source.table().field(column)) + " is no " + kind);
  return found->second;
}

float number_or_nan(const Table& table, std::size_t column) {
  float value = 0.0F;
  return table.number(column, &value) ? value : std::nanf("");
}

/// A whole number of at least \p low.
std::int32_t whole(const Table& table, std::size_t column, std::int32_t low) {
  double value = 0.0;
  if (!table.number(column, &value) || value != std::floor(value) || value < low || value > 2e9)
    table.wrong(column, excerpt(table.field(column)) + " is no whole number of " + std::to_string(low) + " or more");
  return static_cast<std::int32_t>(value);
}

class Reader {
 public:
  Reader(const Recipe::Profiles& rule, SourceFiles& files, DatasetContent& content)
      : rule_(rule), files_(files), out_(content) {}

  void read() {
    read_rows();
    if (rule_.controls) read_controls();
    const Index conditions = number_conditions_of_table();
    read_matrix();
    if (rule_.genes) read_gene_lists(conditions);
  }

 private:
  void read_rows() {
    FilteredTable source = files_.open(rule_.table);
    Table& table = source.table();
    const Index samples = index_of(out_.sample_id);
    const Index drugs = index_of(out_.drug_id);
    const std::size_t profile = table.column("profile");
    const std::size_t control = table.column("control");
    const std::size_t context = table.column("context");
    const std::size_t drug = table.column("drug");
    const std::size_t drug_b = table.column("drug_b");
    const std::size_t dose = table.column("dose_log10_molar");
    const std::size_t time = table.column("time_h");
    const std::size_t condition = table.column("condition");
    const std::size_t replicates = table.column("replicates");
    while (source.next()) {
      if (!row_of_.emplace(source.id(profile), static_cast<std::int32_t>(row_of_.size())).second)
        table.wrong(profile, excerpt(table.field(profile)) + " is there twice");
      DatasetContent::Perturbation row;
      row.control = find(source, control, samples, "sample of the data set");
      row.drug = find(source, drug, drugs, "drug of the data set");
      if (!table.field(drug_b).empty()) row.drug_b = find(source, drug_b, drugs, "drug of the data set");
      row.dose_log10_molar = number_or_nan(table, dose);
      row.time_h = number_or_nan(table, time);
      row.replicates = whole(table, replicates, 1);
      row.context = contexts_.emplace(source.id(context), static_cast<std::int32_t>(contexts_.size())).first->second;
      if (row.context == static_cast<std::int32_t>(out_.perturbation_contexts.size()))
        out_.perturbation_contexts.push_back(table.field(context));
      out_.perturbations.push_back(row);
      condition_names_.push_back(source.id(condition));
    }
    if (out_.perturbations.empty()) throw DataError(table.path().string() + " has no row of a profile");
  }

  void read_controls() {
    FilteredTable source = files_.open(*rule_.controls);
    Table& table = source.table();
    const Index samples = index_of(out_.sample_id);
    const std::size_t sample = table.column("sample");
    const std::size_t context = table.column("context");
    out_.control_context.assign(out_.sample_id.size(), -1);
    while (source.next()) {
      auto& known =
          out_.control_context[static_cast<std::size_t>(find(source, sample, samples, "sample of the data set"))];
      if (known >= 0) table.wrong(sample, excerpt(table.field(sample)) + " is there twice");
      known = find(source, context, contexts_, "context of the profiles");
    }
  }

  void read_matrix() {
    MatrixSpec spec;
    spec.file = files_.locate(rule_.matrix.file, rule_.matrix.sha256);
    spec.format = rule_.matrix.format;
    spec.dialect = rule_.matrix.dialect;
    spec.id = rule_.matrix_id;
    const auto matrix = open_matrix(spec);
    const auto places = [&](const std::vector<std::string>& names, const Index& wanted, const char* kind) {
      std::vector<std::int32_t> out(names.size(), -1);
      std::vector<bool> there(wanted.size(), false);
      for (std::size_t i = 0; i < names.size(); ++i) {
        const auto found = wanted.find(names[i]);
        if (found == wanted.end()) continue;
        out[i] = found->second;
        if (there[static_cast<std::size_t>(found->second)])
          throw DataError(matrix->path().string() + " has the " + kind + " " + excerpt(names[i]) + " twice");
        there[static_cast<std::size_t>(found->second)] = true;
      }
      for (const auto& [name, index] : wanted) {
        if (!there[static_cast<std::size_t>(index)])
          throw DataError(matrix->path().string() + " lacks the " + kind + " " + excerpt(name));
      }
      return out;
    };
    const auto rows = places(matrix->samples(), row_of_, "profile");
    const auto columns = places(matrix->genes(), index_of(out_.genes), "gene");
    const std::size_t genes = out_.genes.size();
    const bool by_row = matrix->lines() == MatrixSource::Lines::samples;
    const auto& along = by_row ? columns : rows;
    const auto for_each_value = [&](const auto& take) {
      matrix->read([&](std::int64_t line, const float* values) {
        const std::int32_t at = (by_row ? rows : columns)[static_cast<std::size_t>(line)];
        if (at < 0) return;
        for (std::size_t i = 0; i < along.size(); ++i) {
          if (along[i] < 0) continue;
          take(static_cast<std::size_t>(by_row ? at : along[i]), static_cast<std::size_t>(by_row ? along[i] : at),
               values[i]);
        }
      });
    };
    if (!rule_.sparse) {
      out_.perturbation_profile.assign(out_.perturbations.size() * genes, 0.0F);
      for_each_value([&](std::size_t row, std::size_t gene, float value) {
        out_.perturbation_profile[row * genes + gene] = value;
      });
      return;
    }
    SparseFiller filler(out_.perturbations.size(), genes);
    for_each_value([&](std::size_t row, std::size_t, float value) { filler.count(row, value); });
    if (filler.missing() > 0) {
      throw DataError(matrix->path().string() + " has " +
                      count_of(filler.missing(), "missing value", "missing values") +
                      "; the recipe says storage = \"sparse\", which is for profiles without");
    }
    filler.begin(out_.sparse_profile.emplace());
    for_each_value([&](std::size_t row, std::size_t gene, float value) { filler.put(row, gene, value); });
    filler.finish();
  }

  /// Conditions as the data set numbers them; their names in the table must say the same.
  Index number_conditions_of_table() {
    std::vector<std::int32_t> context, drug, drug_b;
    std::vector<float> dose, time;
    for (const auto& p : out_.perturbations) {
      context.push_back(p.context);
      // A+B and B+A are one, whichever the table names first.
      const bool turned = p.drug_b >= 0 && out_.drug_id[static_cast<std::size_t>(p.drug_b)] <
                                               out_.drug_id[static_cast<std::size_t>(p.drug)];
      drug.push_back(turned ? p.drug_b : p.drug);
      drug_b.push_back(turned ? p.drug : p.drug_b);
      dose.push_back(p.dose_log10_molar);
      time.push_back(p.time_h);
    }
    const auto numbers = number_conditions({context, drug, drug_b, dose, time});
    Index out;
    std::vector<std::string> name_of;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const auto number = static_cast<std::size_t>(numbers[i]);
      if (number == name_of.size()) name_of.push_back(condition_names_[i]);
      const auto known = out.emplace(condition_names_[i], numbers[i]).first;
      if (known->second != numbers[i] || name_of[number] != condition_names_[i]) {
        throw DataError((rule_.table.file) + ": the condition " + excerpt(condition_names_[i]) +
                        " is not the rows of one context, drugs, dose and time");
      }
    }
    return out;
  }

  void read_gene_lists(const Index& conditions) {
    const auto width = static_cast<std::size_t>(rule_.gene_count);
    out_.deg_genes = rule_.gene_count;
    out_.deg_rule = rule_.gene_rule;
    out_.deg.assign(conditions.size() * width, -1);
    FilteredTable source = files_.open(*rule_.genes);
    Table& table = source.table();
    const std::size_t condition = table.column("condition");
    const std::size_t rank = table.column("rank");
    const std::size_t gene = table.column("gene");
    const Index genes = index_of(out_.genes);
    while (source.next()) {
      const auto row = static_cast<std::size_t>(find(source, condition, conditions, "condition of the profiles"));
      const auto place = static_cast<std::size_t>(whole(table, rank, 0));
      if (place >= width) table.wrong(rank, "the lists have ranks 0 to " + std::to_string(width - 1));
      out_.deg[row * width + place] = find(source, gene, genes, "gene of the data set");
    }
  }

  const Recipe::Profiles& rule_;
  SourceFiles& files_;
  DatasetContent& out_;
  Index row_of_;    // of each profile's name
  Index contexts_;  // of each context's name
  std::vector<std::string> condition_names_;
};

}  // namespace

void read_profile_tables(const Recipe::Profiles& rule, SourceFiles& files, BuildReport& report,
                         DatasetContent& content) {
  if (!content.perturbations.empty())
    throw DataError("a recipe has [perturbations] or domains with 'perturbation', not both");
  Reader(rule, files, content).read();
  report.say("perturbations: " + count_of(content.perturbations.size(), "profile", "profiles") + " as in " +
             rule.table.file);
}

}  // namespace cdrzoo
