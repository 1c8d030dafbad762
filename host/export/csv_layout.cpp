// SPDX-License-Identifier: Apache-2.0
#include "export/layouts.hpp"
#include "export/recipe_text.hpp"
#include "export/tables.hpp"
#include "export/text_file.hpp"

namespace cdrzoo {
namespace fs = std::filesystem;
namespace {

void write_samples(const Dataset& dataset, const fs::path& file) {
  RowFile out(file);
  out.fields({"sample_id", "group", "domain", "tissue"}).end_row();
  for (std::size_t i = 0; i < dataset.samples.id.size(); ++i) {
    out.field(dataset.samples.id[i])
        .field(dataset.samples.group[i])
        .field(dataset.domains.name[static_cast<std::size_t>(dataset.samples.domain[i])])
        .field(tissue_of(dataset, i))
        .end_row();
  }
  out.close();
}

void write_genes(const Dataset& dataset, const fs::path& file) {
  RowFile out(file);
  out.field("gene").end_row();
  for (const auto& gene : dataset.genes) out.field(gene).end_row();
  out.close();
}

void write_drugs(const Dataset& dataset, const fs::path& file) {
  const auto& drugs = dataset.drugs;
  RowFile out(file);
  out.fields({"drug_id", "name", "smiles", "group", "scaffold"}).end_row();
  for (std::size_t j = 0; j < drugs.id.size(); ++j) {
    out.field(drugs.id[j]).field(drugs.name[j]).field(drugs.smiles[j]).field(drugs.group[j]).field(drugs.scaffold[j]);
    out.end_row();
  }
  out.close();
}

void write_responses(const Dataset& dataset, const fs::path& file) {
  const auto& r = dataset.responses;
  RowFile out(file);
  out.fields({"domain", "sample_id", "drug_id", "replicate", "value", "label"}).end_row();
  for (std::size_t i = 0; i < r.sample.size(); ++i) {
    out.field(dataset.domains.name[domain_of_record(dataset, i)])
        .field(dataset.samples.id[static_cast<std::size_t>(r.sample[i])])
        .field(dataset.drugs.id[static_cast<std::size_t>(r.drug[i])])
        .field(r.replicate[i])
        .number(r.value[i])
        .field(r.label[i] < 0    ? ""
               : r.label[i] == 1 ? "1"
                                 : "0")
        .end_row();
  }
  out.close();
}

void write_perturbations(const Dataset& dataset, const fs::path& file) {
  const auto& p = *dataset.perturbations;
  const auto drug = [&dataset](std::int32_t j) -> std::string {
    return j < 0 ? std::string() : dataset.drugs.id[static_cast<std::size_t>(j)];
  };
  RowFile out(file);
  out.fields(
      {"profile", "control", "context", "drug", "drug_b", "dose_log10_molar", "time_h", "condition", "replicates"});
  out.end_row();
  for (std::size_t i = 0; i < p.control.size(); ++i) {
    out.field(static_cast<std::int64_t>(i))
        .field(dataset.samples.id[static_cast<std::size_t>(p.control[i])])
        .field(p.contexts[static_cast<std::size_t>(p.context[i])])
        .field(drug(p.drug[i]))
        .field(drug(p.drug_b[i]))
        .number(p.dose_log10_molar[i])
        .number(p.time_h[i])
        .field(p.condition[i])
        .field(p.replicates[i])
        .end_row();
  }
  out.close();
}

void write_controls(const Dataset& dataset, const fs::path& file) {
  const auto& p = *dataset.perturbations;
  RowFile out(file);
  out.fields({"sample", "context"}).end_row();
  for (std::size_t i = 0; i < p.control_context.size(); ++i) {
    if (p.control_context[i] < 0) continue;
    out.field(dataset.samples.id[i]).field(p.contexts[static_cast<std::size_t>(p.control_context[i])]).end_row();
  }
  out.close();
}

void write_gene_lists(const Dataset& dataset, const fs::path& file) {
  const auto& deg = dataset.perturbations->deg;
  RowFile out(file);
  out.fields({"condition", "rank", "gene"}).end_row();
  for (std::int64_t c = 0; c < deg.rows; ++c) {
    for (std::int64_t k = 0; k < deg.cols && deg.data[c * deg.cols + k] >= 0; ++k) {
      out.field(c).field(k).field(dataset.genes[static_cast<std::size_t>(deg.data[c * deg.cols + k])]).end_row();
    }
  }
  out.close();
}

void write_matrix(const Dataset& dataset, const std::string& id, const std::vector<std::string>& names,
                  const RowMatrix& values, const std::vector<std::int64_t>& rows, const fs::path& file) {
  RowFile out(file);
  std::vector<float> scratch;
  out.field(id).fields(dataset.genes).end_row();
  for (std::size_t i = 0; i < names.size(); ++i) {
    out.field(names[i]).numbers(values.row(rows[i], scratch), values.cols).end_row();
  }
  out.close();
}

}  // namespace

void write_expression(const Dataset& dataset, const std::string& id, const std::vector<std::size_t>& samples,
                      const fs::path& file) {
  const auto expression = dataset.expression();
  std::vector<std::string> names;
  for (const auto i : samples) names.push_back(dataset.samples.id[i]);
  write_matrix(dataset, id, names, expression, {samples.begin(), samples.end()}, file);
}

void write_csv_layout(const Dataset& dataset, const fs::path& folder, Sentences& said) {
  RecipeFiles files;
  files.sample_id = id_column(dataset, "sample_id");
  const auto words = file_words(dataset.domains.name);
  const auto samples = samples_by_domain(dataset);
  for (std::size_t d = 0; d < samples.size(); ++d) {
    files.expression.push_back("expression_" + words[d] + ".csv.gz");
    write_expression(dataset, files.sample_id, samples[d], folder / files.expression.back());
    said.push_back(files.expression.back() + ": " + counted(samples[d].size(), "sample", "samples") + " x " +
                   counted(dataset.genes.size(), "gene", "genes"));
  }
  write_tables(dataset, folder, said);
  if (dataset.perturbations) {
    files.profiles = "perturbation_profiles.csv.gz";
    files.profile_id = id_column(dataset, "profile");
    const auto& profile = dataset.perturbations->profile;
    std::vector<std::string> names;
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < profile.rows; ++i) {
      names.push_back(std::to_string(i));
      rows.push_back(i);
    }
    write_matrix(dataset, files.profile_id, names, profile, rows, folder / files.profiles);
    said.push_back(files.profiles + ": " + counted(names.size(), "profile", "profiles"));
  }
  write_recipe(dataset, files, folder, said);
}

void write_tables(const Dataset& dataset, const fs::path& folder, Sentences& said) {
  write_samples(dataset, folder / "samples.csv");
  write_genes(dataset, folder / "genes.csv");
  if (!dataset.drugs.id.empty()) {
    write_drugs(dataset, folder / "drugs.csv");
    said.push_back("drugs.csv: " + counted(dataset.drugs.id.size(), "drug", "drugs"));
  }
  if (dataset.responses.size() > 0) {
    write_responses(dataset, folder / "response.csv");
    said.push_back("response.csv: " + counted(static_cast<std::size_t>(dataset.responses.size()), "record", "records"));
  }
  if (dataset.perturbations) {
    write_perturbations(dataset, folder / "perturbations.csv");
    if (!dataset.perturbations->control_context.empty()) write_controls(dataset, folder / "perturbation_controls.csv");
    if (dataset.perturbations->deg.cols > 0) write_gene_lists(dataset, folder / "perturbation_genes.csv");
  }
}

}  // namespace cdrzoo
