// SPDX-License-Identifier: Apache-2.0
#include "data/feature_block.hpp"
#include "data/hdf5_file.hpp"
#include "export/layouts.hpp"
#include "export/recipe_text.hpp"
#include "export/tables.hpp"
#include "export/text_file.hpp"

/// The on-disk format of AnnData 0.8 and later (fileformat-prose in its documentation).
namespace cdrzoo {
namespace fs = std::filesystem;
namespace {

class AnnDataFile {
 public:
  explicit AnnDataFile(const fs::path& path) : file_(path) {
    encode("/", "anndata", "0.1.0");
    for (const char* part : {"/layers", "/obsm", "/obsp", "/uns", "/varm", "/varp"}) group(part, "dict", "0.1.0");
  }

  /// The values: these rows of a matrix, as a dense array.
  void values(const RowMatrix& matrix, const std::vector<std::int32_t>& rows) {
    auto x = file_.create("/X", Hdf5Type::f32, {static_cast<std::int64_t>(rows.size()), matrix.cols});
    encode("/X", "array", "0.2.0");
    append_rows(x, matrix, rows);
  }
  /// A whole matrix, as it is stored: a dense array or CSR.
  void values(const RowMatrix& matrix) {
    if (!matrix.is_sparse()) {
      file_.write("/X", matrix.dense());
      encode("/X", "array", "0.2.0");
      return;
    }
    group("/X", "csr_matrix", "0.1.0");
    file_.attribute("/X", "shape", std::vector<std::int64_t>{matrix.rows, matrix.cols});
    file_.write("/X/indptr", matrix.sparse().begin);
    file_.write("/X/indices", matrix.sparse().column);
    file_.write("/X/data", matrix.sparse().value);
  }
  /// A data frame ("/obs" or "/var") with its index; the columns follow, in the order named here.
  void frame(const std::string& path, const std::vector<std::string>& index, const std::vector<std::string>& columns) {
    group(path, "dataframe", "0.2.0");
    file_.attribute(path, "_index", std::string_view("_index"));
    file_.attribute(path, "column-order", columns);
    texts(path + "/_index", index);
  }
  void texts(const std::string& path, const std::vector<std::string>& values) {
    file_.strings(path, values);
    encode(path, "string-array", "0.2.0");
  }
  template <typename T>
  void numbers(const std::string& path, const std::vector<T>& values) {
    file_.write(path, values);
    encode(path, "array", "0.2.0");
  }
  /// Codes into categories; -1 = missing.
  void categories(const std::string& path, const std::vector<std::int32_t>& codes,
                  const std::vector<std::string>& names) {
    group(path, "categorical", "0.2.0");
    file_.attribute(path, "ordered", std::int64_t{0});
    texts(path + "/categories", names);
    numbers(path + "/codes", codes);
  }
  void text(const std::string& path, const std::string& value) {
    file_.string(path, value);
    encode(path, "string", "0.2.0");
  }
  void commit() { file_.commit(); }

 private:
  void group(const std::string& path, std::string_view type, std::string_view version) {
    file_.group(path);
    encode(path, type, version);
  }
  void encode(const std::string& path, std::string_view type, std::string_view version) {
    file_.attribute(path, "encoding-type", type);
    file_.attribute(path, "encoding-version", version);
  }

  Hdf5Writer file_;
};

void describe(AnnDataFile& file, const Dataset& dataset) {
  file.text("/uns/name", dataset.name);
  file.texts("/uns/caveats", dataset.caveats);
  file.text("/uns/provenance", dataset.provenance_json);
}

void write_domain(const Dataset& dataset, std::size_t domain, const std::vector<std::size_t>& samples,
                  const fs::path& path) {
  AnnDataFile file(path);
  file.values(dataset.expression(), {samples.begin(), samples.end()});
  std::vector<std::string> ids, groups;
  std::vector<std::int32_t> domains, tissues;
  for (const auto i : samples) {
    ids.push_back(dataset.samples.id[i]);
    groups.push_back(dataset.samples.group[i]);
    domains.push_back(dataset.samples.domain[i]);
    tissues.push_back(dataset.samples.tissue[i]);
  }
  file.frame("/obs", ids, {"group", "domain", "tissue"});
  file.texts("/obs/group", groups);
  file.categories("/obs/domain", domains, dataset.domains.name);
  file.categories("/obs/tissue", tissues, dataset.tissues);
  file.frame("/var", dataset.genes, {});
  describe(file, dataset);
  file.text("/uns/expression_unit", dataset.domains.expression_unit[domain]);
  file.commit();
}

void write_profiles(const Dataset& dataset, const fs::path& path) {
  const auto& p = *dataset.perturbations;
  AnnDataFile file(path);
  file.values(p.profile);
  const auto copy = [](const auto& view) {
    return std::vector<std::decay_t<decltype(view[0])>>(view.begin(), view.end());
  };
  std::vector<std::string> ids, controls;
  for (std::int64_t i = 0; i < p.profile.rows; ++i) {
    ids.push_back(std::to_string(i));
    controls.push_back(dataset.samples.id[static_cast<std::size_t>(p.control[static_cast<std::size_t>(i)])]);
  }
  file.frame("/obs", ids,
             {"control", "context", "drug", "drug_b", "dose_log10_molar", "time_h", "condition", "replicates"});
  file.texts("/obs/control", controls);
  file.categories("/obs/context", copy(p.context), p.contexts);
  file.categories("/obs/drug", copy(p.drug), dataset.drugs.id);
  file.categories("/obs/drug_b", copy(p.drug_b), dataset.drugs.id);
  file.numbers("/obs/dose_log10_molar", copy(p.dose_log10_molar));
  file.numbers("/obs/time_h", copy(p.time_h));
  file.numbers("/obs/condition", copy(p.condition));
  file.numbers("/obs/replicates", copy(p.replicates));
  file.frame("/var", dataset.genes, {});
  describe(file, dataset);
  file.commit();
}

}  // namespace

void write_h5ad_layout(const Dataset& dataset, const fs::path& folder, Sentences& said) {
  RecipeFiles files;
  const auto words = file_words(dataset.domains.name);
  const auto samples = samples_by_domain(dataset);
  for (std::size_t d = 0; d < samples.size(); ++d) {
    files.expression.push_back("expression_" + words[d] + ".h5ad");
    write_domain(dataset, d, samples[d], folder / files.expression.back());
    said.push_back(files.expression.back() + ": " + counted(samples[d].size(), "sample", "samples") + " x " +
                   counted(dataset.genes.size(), "gene", "genes"));
  }
  write_tables(dataset, folder, said);
  if (dataset.perturbations) {
    files.profiles = "perturbation_profiles.h5ad";
    write_profiles(dataset, folder / files.profiles);
    said.push_back(files.profiles + ": " +
                   counted(static_cast<std::size_t>(dataset.perturbations->size()), "profile", "profiles"));
  }
  write_recipe(dataset, files, folder, said);
}

}  // namespace cdrzoo
