// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/files.hpp"
#include "export/layouts.hpp"
#include "export/tables.hpp"
#include "export/text_file.hpp"

namespace cdrzoo {
namespace fs = std::filesystem;
namespace {

constexpr const char* kLine = "cell_line_name";
constexpr const char* kDrug = "pubchem_id";

/// drevalpy's word for a unit; other units in capitals.
std::string measure_of(const std::string& unit) {
  if (unit == "ln_ic50_um") return "LN_IC50";
  std::string word = file_word(unit);
  for (char& c : word) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return word;
}

/// The columns of a record after `drug` in both tables of records.
void write_record(RowFile& out, const Dataset& dataset, std::size_t row, bool with_name) {
  const auto& r = dataset.responses;
  const auto sample = static_cast<std::size_t>(r.sample[row]);
  const auto drug = static_cast<std::size_t>(r.drug[row]);
  out.field(dataset.samples.id[sample]).field(dataset.drugs.id[drug]);
  if (with_name) out.field(dataset.drugs.name[drug]);
  out.number(r.value[row]).field(tissue_of(dataset, sample)).end_row();
}

bool has_value(const Dataset& dataset, std::size_t row) { return !std::isnan(dataset.responses.value[row]); }

void write_drugs(const Dataset& dataset, const fs::path& folder) {
  const auto& drugs = dataset.drugs;
  RowFile names(folder / "drug_names.csv");
  names.fields({kDrug, "drug_name"}).end_row();
  RowFile smiles(folder / "drug_smiles.csv");
  smiles.fields({kDrug, "canonical_smiles"}).end_row();
  for (std::size_t j = 0; j < drugs.id.size(); ++j) {
    names.field(drugs.id[j]).field(drugs.name[j]).end_row();
    if (!drugs.smiles[j].empty()) smiles.field(drugs.id[j]).field(drugs.smiles[j]).end_row();
  }
  names.close();
  smiles.close();
  create_folders(folder / "drug_fingerprints");
  for (const std::int64_t bits : {64, 128, 256, 512, 1024, 2048}) {
    const auto prints = folded_fingerprints(dataset, bits);
    if (prints.empty()) continue;
    // A column per drug; drevalpy takes an empty column for a drug without a structure.
    RowFile out(folder / "drug_fingerprints" / ("pubchem_id_to_demorgan_" + std::to_string(bits) + "_map.csv"));
    out.fields(drugs.id).end_row();
    for (std::int64_t b = 0; b < bits; ++b) {
      for (const auto& print : prints) out.field(print.empty() ? "" : print[static_cast<std::size_t>(b)] ? "1" : "0");
      out.end_row();
    }
    out.close();
  }
}

void write_split(const Dataset& dataset, const NamedSplit& split, bool early_stopping, const fs::path& folder,
                 std::size_t* left_out) {
  create_folders(folder);
  for (std::size_t k = 0; k < split.split.folds.size(); ++k) {
    const Fold& fold = split.split.folds[k];
    const auto write = [&](const std::vector<std::int32_t>& rows, const std::string& role) {
      RowFile out(folder / ("cv_split_" + std::to_string(k) + "_" + role + ".csv"));
      out.fields({kLine, kDrug, "response", "tissue"}).end_row();
      std::size_t written = 0;
      for (const auto row : rows) {
        if (!has_value(dataset, static_cast<std::size_t>(row))) continue;
        write_record(out, dataset, static_cast<std::size_t>(row), false);
        ++written;
      }
      out.close();
      *left_out += rows.size() - written;
      if (written == 0) {
        throw DataError("the split '" + split.name + "' cannot be written for drevalpy: no " + role +
                        " record of fold " + std::to_string(k) + " has a value, and drevalpy knows values only");
      }
    };
    std::vector<std::int32_t> train = fold.train;
    if (early_stopping && !fold.early_stop_is_validation) {
      train.clear();
      std::set_difference(fold.train.begin(), fold.train.end(), fold.early_stop.begin(), fold.early_stop.end(),
                          std::back_inserter(train));
    }
    write(train, "train");
    write(fold.validation, "validation");
    write(fold.test, "test");
    if (!early_stopping) continue;
    write(fold.validation, "validation_es");
    write(fold.early_stop, "early_stopping");
  }
}

}  // namespace

void write_drevalpy_layout(const Dataset& dataset, const std::vector<NamedSplit>& splits, const fs::path& folder,
                           Sentences& said) {
  const auto words = file_words(dataset.domains.name);
  const auto samples = samples_by_domain(dataset);
  const std::string measure = measure_of(dataset.responses.value_unit);
  if (id_column(dataset, kLine) != kLine)
    throw DataError("a gene is named '" + std::string(kLine) + "', which is the column of ids in drevalpy's tables");
  bool any = false;
  for (std::size_t d = 0; d < words.size(); ++d) {
    std::vector<std::size_t> rows;
    std::size_t labels = 0;
    for (std::size_t i = 0; i < dataset.responses.sample.size(); ++i) {
      if (domain_of_record(dataset, i) != d) continue;
      if (has_value(dataset, i)) {
        rows.push_back(i);
      } else {
        ++labels;
      }
    }
    const auto& name = dataset.domains.name[d];
    if (rows.empty()) {
      said.push_back(name + ": not written (" + counted(samples[d].size(), "sample", "samples") + ", " +
                     counted(labels, "label", "labels") + "); it has no values, and drevalpy knows values only");
      continue;
    }
    any = true;
    const fs::path place = folder / words[d];
    create_folders(place);
    RowFile out(place / (words[d] + ".csv"));
    out.fields({kLine, kDrug, "drug_name", measure, "tissue"}).end_row();
    for (const auto row : rows) write_record(out, dataset, row, true);
    out.close();
    write_expression(dataset, kLine, samples[d], place / "gene_expression.csv");
    RowFile lines(place / "cell_line_names.csv");
    lines.fields({kLine, "tissue"}).end_row();
    for (const auto i : samples[d]) lines.field(dataset.samples.id[i]).field(tissue_of(dataset, i)).end_row();
    lines.close();
    write_drugs(dataset, place);
    said.push_back(
        name + ": " + counted(rows.size(), "record", "records") + " as " + measure +
        (labels == 0 ? ""
                     : "; " + counted(labels, "record that has only a label is", "records that have only a label are") +
                           " not written"));
  }
  if (!any) throw DataError(dataset.path.string() + " has no record with a value, and drevalpy knows values only");
  for (const auto& split : splits) {
    std::size_t left_out = 0;
    std::size_t ignored = 0;
    write_split(dataset, split, false, folder / "splits" / split.name, &left_out);
    write_split(dataset, split, true, folder / "splits" / (split.name + "_early_stopping"), &ignored);
    said.push_back(
        "split " + split.name + ": " + counted(split.split.folds.size(), "fold", "folds") +
        (left_out == 0 ? "" : "; " + counted(left_out, "record", "records") + " without a value not written"));
  }
  say_what_is_left_out(dataset, "drevalpy", said);
}

}  // namespace cdrzoo
