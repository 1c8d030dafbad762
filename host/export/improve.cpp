// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <set>

#include "base/files.hpp"
#include "export/layouts.hpp"
#include "export/text_file.hpp"

namespace cdrzoo {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kBits = 512;

void write_expression(const Dataset& dataset, const fs::path& file) {
  RowFile out(file, '\t');
  // Three header rows, as the benchmark's own file has them. We know symbols only.
  for (const char* row : {"ensembl_gene_id", "entrez_id"}) {
    out.field(row);
    for (std::size_t g = 0; g < dataset.genes.size(); ++g) out.field("");
    out.end_row();
  }
  out.field("gene_symbol").fields(dataset.genes).end_row();
  const auto expression = dataset.expression();
  for (std::int64_t i = 0; i < expression.rows; ++i) {
    out.field(dataset.samples.id[static_cast<std::size_t>(i)]);
    out.numbers(expression.data + i * expression.cols, expression.cols).end_row();
  }
  out.close();
}

void write_drugs(const Dataset& dataset, const fs::path& folder, Sentences& said) {
  const auto& drugs = dataset.drugs;
  RowFile info(folder / "drug_info.tsv", '\t');
  info.fields({"improve_chem_id", "name", "group", "scaffold"}).end_row();
  for (std::size_t j = 0; j < drugs.id.size(); ++j)
    info.field(drugs.id[j]).field(drugs.name[j]).field(drugs.group[j]).field(drugs.scaffold[j]).end_row();
  info.close();

  RowFile smiles(folder / "drug_SMILES.tsv", '\t');
  smiles.fields({"improve_chem_id", "canSMILES"}).end_row();
  std::size_t unknown = 0;
  for (std::size_t j = 0; j < drugs.id.size(); ++j) {
    if (drugs.smiles[j].empty()) {
      ++unknown;
      continue;
    }
    smiles.field(drugs.id[j]).field(drugs.smiles[j]).end_row();
  }
  smiles.close();
  if (unknown > 0) {
    said.push_back(counted(unknown, "drug has", "drugs have") +
                   " no structure and no row in drug_SMILES.tsv; drug_info.tsv has all");
  }

  const auto bits = folded_fingerprints(dataset, kBits);
  if (bits.empty()) return;
  RowFile ecfp(folder / "drug_ecfp4_nbits512.tsv", '\t');
  ecfp.field("improve_chem_id");
  for (std::int64_t b = 0; b < kBits; ++b) ecfp.field("ecfp4." + std::to_string(b));
  ecfp.end_row();
  for (std::size_t j = 0; j < bits.size(); ++j) {
    if (bits[j].empty()) continue;
    ecfp.field(drugs.id[j]);
    for (const bool bit : bits[j]) ecfp.field(bit ? "1" : "0");
    ecfp.end_row();
  }
  ecfp.close();
}

/// Column of the values: the unit, in the letters that a column name may have.
std::string measure_of(const Dataset& dataset) {
  return dataset.responses.value_unit.empty() ? "value" : file_word(dataset.responses.value_unit);
}

void write_response(const Dataset& dataset, const fs::path& file) {
  const auto& r = dataset.responses;
  const bool values = std::any_of(r.value.begin(), r.value.end(), [](double v) { return !std::isnan(v); });
  const bool labels = std::any_of(r.label.begin(), r.label.end(), [](std::int8_t l) { return l >= 0; });
  RowFile out(file, '\t');
  out.fields({"source", "improve_chem_id", "improve_sample_id", "study", "replicate"});
  if (values) out.field(measure_of(dataset));
  if (labels) out.field("label");
  out.end_row();
  for (std::size_t i = 0; i < r.sample.size(); ++i) {
    out.field(dataset.domains.name[domain_of_record(dataset, i)])
        .field(dataset.drugs.id[static_cast<std::size_t>(r.drug[i])])
        .field(dataset.samples.id[static_cast<std::size_t>(r.sample[i])])
        .field(dataset.name)
        .field(r.replicate[i]);
    if (values) out.number(r.value[i]);
    if (labels) out.field(r.label[i] < 0 ? "" : r.label[i] == 1 ? "1" : "0");
    out.end_row();
  }
  out.close();
}

void write_rows(const std::vector<std::int32_t>& rows, const fs::path& file) {
  RowFile out(file, '\t');
  for (const auto row : rows) out.field(row).end_row();
  out.close();
}

/// What the file names of a split begin with: the domain that it trains on.
std::string study_of(const Dataset& dataset, const Split& split, const std::vector<std::string>& words) {
  std::set<std::size_t> domains;
  for (const auto row : split.folds.front().train)
    domains.insert(domain_of_record(dataset, static_cast<std::size_t>(row)));
  std::string study;
  for (const auto d : domains) study += (study.empty() ? "" : "+") + words[d];
  return study;
}

}  // namespace

void write_improve_layout(const Dataset& dataset, const std::vector<NamedSplit>& splits, const fs::path& folder,
                          Sentences& said) {
  const fs::path root = folder / "raw_data";
  for (const char* part : {"x_data", "y_data", "splits"}) create_folders(root / part);
  write_expression(dataset, root / "x_data" / "cancer_gene_expression.tsv");
  said.push_back("cancer_gene_expression.tsv: " + counted(dataset.samples.id.size(), "sample", "samples") + " x " +
                 counted(dataset.genes.size(), "gene", "genes") +
                 "; the header rows of Ensembl and Entrez ids are empty, because a data set knows one name of a gene");
  const std::set<std::string> units(dataset.domains.expression_unit.begin(), dataset.domains.expression_unit.end());
  if (units.size() > 1) {
    std::string list;
    for (std::size_t d = 0; d < dataset.domains.name.size(); ++d)
      list += (d == 0 ? "" : ", ") + dataset.domains.name[d] + " in " + dataset.domains.expression_unit[d];
    said.push_back("cancer_gene_expression.tsv holds domains in different units: " + list);
  }
  if (!dataset.drugs.id.empty()) write_drugs(dataset, root / "x_data", said);
  write_response(dataset, root / "y_data" / "response.tsv");
  said.push_back("response.tsv: " + counted(static_cast<std::size_t>(dataset.responses.size()), "record", "records"));

  const auto words = file_words(dataset.domains.name);
  for (std::size_t d = 0; d < words.size(); ++d) {
    std::vector<std::int32_t> rows;
    for (std::size_t i = 0; i < dataset.responses.sample.size(); ++i) {
      if (domain_of_record(dataset, i) == d) rows.push_back(static_cast<std::int32_t>(i));
    }
    write_rows(rows, root / "splits" / (words[d] + "_all.txt"));
  }
  for (const auto& split : splits) {
    // One split lies where the benchmark's own do; several would have the same names there.
    const fs::path place = splits.size() == 1 ? root / "splits" : root / "splits" / split.name;
    create_folders(place);
    const std::string study = study_of(dataset, split.split, words);
    for (std::size_t k = 0; k < split.split.folds.size(); ++k) {
      const Fold& fold = split.split.folds[k];
      const std::string stem = study + "_split_" + std::to_string(k) + "_";
      write_rows(fold.train, place / (stem + "train.txt"));
      write_rows(fold.early_stop, place / (stem + "early_stop.txt"));
      write_rows(fold.validation, place / (stem + "val.txt"));
      write_rows(fold.test, place / (stem + "test.txt"));
    }
    said.push_back("split " + split.name + ": " + counted(split.split.folds.size(), "fold", "folds") + " as " + study +
                   "_split_*");
  }
  say_what_is_left_out(dataset, "IMPROVE", said);
}

}  // namespace cdrzoo
