// SPDX-License-Identifier: Apache-2.0
#include "export/export.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "base/error.hpp"
#include "base/files.hpp"
#include "data/content_hash.hpp"
#include "data/dataset_writer.hpp"
#include "data/hdf5_file.hpp"
#include "export/recipe_text.hpp"
#include "import/builder.hpp"
#include "import/csv.hpp"
#include "import/demo.hpp"
#include "import/drug_structures.hpp"
#include "support/catch.hpp"
#include "support/quick_recipe.hpp"
#include "support/small_disk.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

const float kNaN = std::numeric_limits<float>::quiet_NaN();

bool said(const std::vector<std::string>& sentences, const std::string& part) {
  return std::any_of(sentences.begin(), sentences.end(),
                     [&part](const std::string& s) { return s.find(part) != std::string::npos; });
}

Dataset written(const DatasetContent& content, const fs::path& file) {
  write_dataset(content, file);
  return Dataset::open(file);
}

Dataset built_from(const fs::path& folder, const fs::path& file) {
  BuildReport report;
  return written(build_dataset(load_recipe(folder / "recipe.toml"), folder, report), file);
}

/// Names with everything that may stand in one, values with many digits, unknown numbers, replicates, several domains.
DatasetContent nasty() {
  DatasetContent c;
  c.name = "a \"nasty\" \\ one, näme";
  c.provenance_json = R"({"citation": "Who, \"When\"", "license": "mine"})";
  c.caveats = {"Commas, \"quotes\", \\ and β.", "'"};
  c.value_unit = "auc";
  c.genes = {"sample_id", "1", "NA", "a,b", "HLA-\"A\"", "Gène"};
  c.tissues = {"NA", "large, \"intestine\"", "β"};
  c.domains.name = {"lines/1", "lines 1", "no labels"};
  c.domains.expression_unit = {"log2(x + 1), \"TPM\"", "z", "counts"};
  c.domains.caveat = {"", "flawed, \"somehow\"", ""};
  c.sample_id = {"007", "7", "NA", "a,b", "\"q\"", "nan", "null", " x", "ß"};
  c.sample_group = {"007", "g", "g", "a,b", "NA", "nan", "null", "p", "p"};
  c.sample_domain = {0, 0, 0, 1, 1, 1, 2, 2, 2};
  c.sample_tissue = {0, 1, 2, -1, 0, 1, 2, -1, -1};
  float x = 0.1F;
  for (std::size_t i = 0; i < c.sample_id.size() * c.genes.size(); ++i) {
    x = x * -1.7F + 0.3F;
    c.expression.push_back(i % 7 == 3 ? kNaN : x);
  }
  c.expression[0] = std::numeric_limits<float>::denorm_min();
  c.expression[1] = std::numeric_limits<float>::max();
  c.expression[2] = -0.0F;
  c.drug_id = {"1", "01", "NA", "x,\"y\"", "unused"};
  c.drug_name = {"", "NA", "One, two", "\"", "name"};
  c.drug_smiles = {"CCO", "OCC", "", "C[C@H](N)C(=O)O", "c1ccccc1"};
  for (int r = 0; r < 3; ++r) c.responses.push_back({0, 1, r, -1, 1.0 / 3.0 + r});
  c.responses.push_back({1, 0, 0, 1, 0.1 + 0.2});
  c.responses.push_back({2, 2, 0, 0, std::nan("")});
  c.responses.push_back({3, 3, 0, 1, std::nan("")});
  c.responses.push_back({5, 0, 0, -1, 5e-324});
  c.responses.push_back({5, 2, 4, -1, -1e300});
  derive_structures(c);
  c.drug_group[2] = c.drug_group[3];  // known to be one substance from elsewhere
  for (int i = 0; i < 4; ++i) {
    DatasetContent::Perturbation p;
    p.control = i / 2;
    p.drug = i == 3 ? 1 : 3;
    p.drug_b = i == 3 ? 2 : -1;
    p.dose_log10_molar = i == 0 ? kNaN : -6.0F - 0.1F * static_cast<float>(i);
    p.time_h = i == 1 ? kNaN : 24.0F;
    p.context = 1 - i / 2;
    p.replicates = i + 1;
    c.perturbations.push_back(p);
    for (std::size_t g = 0; g < c.genes.size(); ++g)
      c.perturbation_profile.push_back(g == 2 ? kNaN : 0.1F * static_cast<float>(i) + static_cast<float>(g));
  }
  c.perturbation_contexts = {"NA", "a \"context\", of two"};
  c.control_context = {-1, -1, 0};  // a control that no profile points at
  c.deg_genes = 3;
  c.deg_rule = "\"by hand\"";
  c.deg = {5, 0, 2, 1, -1, -1, -1, -1, -1, 4, 3, -1};
  return c;
}

std::vector<std::int32_t> rows_with(const Dataset& dataset, bool values) {
  std::vector<std::int32_t> rows;
  for (std::size_t i = 0; i < dataset.responses.value.size(); ++i) {
    if (!values || !std::isnan(dataset.responses.value[i])) rows.push_back(static_cast<std::int32_t>(i));
  }
  return rows;
}

struct Demo {
  TemporaryFolder folder;
  Dataset dataset = written(make_demo({}), folder / "demo.h5");

  NamedSplit split(const std::string& kind, const std::string& target = "") {
    SplitSpec spec;
    spec.kind = kind;
    spec.source = "lines";
    spec.target = target;
    return {kind, make_split(dataset, spec, rows_with(dataset, target.empty()))};
  }
};

/// A CSV file by column.
std::map<std::string, std::vector<std::string>> columns_of(const fs::path& file, char separator = ',') {
  Dialect dialect;
  dialect.separator = separator;
  CsvReader in(file, dialect);
  std::map<std::string, std::vector<std::string>> out;
  for (const auto& name : in.header()) out[name];
  while (in.next()) {
    for (std::size_t c = 0; c < in.header().size(); ++c) out[in.header()[c]].push_back(in.field(c));
  }
  return out;
}

std::vector<std::int32_t> numbers_of(const fs::path& file) {
  std::vector<std::int32_t> out;
  std::string text = read_file(file);
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) out.push_back(std::stoi(text.substr(at)));
  return out;
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> out;
  for (const auto& entry : fs::directory_iterator(folder)) out.insert(entry.path().filename().string());
  return out;
}

}  // namespace

TEST_CASE("A data set that was exported and built again is the same, whatever its names and numbers are") {
  const TemporaryFolder folder;
  const Dataset before = written(nasty(), folder / "before.h5");
  for (const auto format : {ExportFormat::csv, ExportFormat::h5ad}) {
    const fs::path out = folder / (format == ExportFormat::csv ? "csv" : "h5ad");
    const auto sentences = export_dataset(before, format, {}, out);
    for (const auto& sentence : sentences) UNSCOPED_INFO(sentence);
    CHECK(said(sentences, "recipe.toml: builds the same data set"));
    REQUIRE(fs::exists(out / "recipe.toml"));
    const Dataset after = built_from(out, folder / "after.h5");
    CHECK(first_difference(before, after).empty());
    CHECK(after.data_hash() == before.data_hash());
    CHECK(content_hash(after) == content_hash(before));
    CHECK_THAT(after.provenance_json, contains("Who, \\\"When\\\""));
    CHECK_FALSE(fs::exists(out / "again.h5"));
  }
  // Once more: an export of the export is the same files.
  const Dataset after = Dataset::open(folder / "after.h5");
  static_cast<void>(export_dataset(after, ExportFormat::csv, {}, folder / "again"));
  for (const auto& name : names_in(folder / "csv"))
    CHECK(read_file(folder / "again" / name) == read_file(folder / "csv" / name));
}

TEST_CASE("The demo comes back from an export as it went, perturbations and unused tissues included") {
  const TemporaryFolder folder;
  DatasetContent content = make_demo({});
  content.tissues.insert(content.tissues.begin(), "unused");
  for (auto& tissue : content.sample_tissue) tissue += tissue < 0 ? 0 : 1;
  content.fitted_steps = {{FittedStep::Kind::fill_minimum, "lines", FittedStep::From::own_domain, 0},
                          {FittedStep::Kind::variable_genes, "lines", FittedStep::From::own_domain, 50},
                          {FittedStep::Kind::zscore, "lines", FittedStep::From::own_domain, 0},
                          {FittedStep::Kind::zscore, "patients", FittedStep::From::source, 0}};
  const Dataset before = written(content, folder / "before.h5");
  for (const auto format : {ExportFormat::csv, ExportFormat::h5ad}) {
    const fs::path out = folder / (format == ExportFormat::csv ? "csv" : "h5ad");
    const auto sentences = export_dataset(before, format, {}, out);
    for (const auto& sentence : sentences) UNSCOPED_INFO(sentence);
    REQUIRE(said(sentences, "recipe.toml: builds the same data set"));
    const Dataset after = built_from(out, folder / "after.h5");
    CHECK(first_difference(before, after).empty());
    CHECK(after.data_hash() == before.data_hash());
    CHECK(content_hash(after) == content_hash(before));
  }
}

TEST_CASE("Tables of profiles that do not fit their data set are refused with the place") {
  Demo demo;
  const fs::path out = demo.folder / "out";
  static_cast<void>(export_dataset(demo.dataset, ExportFormat::csv, {}, out));
  const std::string table = read_file(out / "perturbations.csv");
  const auto spoiled = [&](const std::string& from, const std::string& to) {
    std::string text = table;
    const auto at = text.find(from, text.find('\n'));
    text.replace(at, from.size(), to);
    write_file_synced(out / "perturbations.csv", text);
    BuildReport report;
    try {
      static_cast<void>(build_dataset(load_recipe(out / "recipe.toml"), out, report));
    } catch (const DataError& e) {
      return std::string(e.what());
    }
    return std::string("it was built");
  };
  CHECK_THAT(spoiled("LINE0001", "LINE9999"),
             contains("perturbations.csv line 2: column 'control': 'LINE9999' is no sample of the data set"));
  CHECK_THAT(spoiled(",D0001,", ",D9999,"), contains("column 'drug': 'D9999' is no drug of the data set"));
  CHECK_THAT(spoiled("\n0,", "\n1,"), contains("line 3: column 'profile': '1' is there twice"));
  CHECK_THAT(spoiled("\n0,", "\n9000,"), contains("perturbation_profiles.csv.gz lacks the profile '9000'"));
  CHECK_THAT(spoiled(",1\n", ",0\n"), contains("column 'replicates': '0' is no whole number of 1 or more"));

  write_file_synced(out / "perturbations.csv", table);
  const auto with_matrix = [&](const std::string& text) {
    write_file_synced(out / "other.csv", text);
    std::string recipe = read_file(out / "recipe.toml");
    const std::string name = "perturbation_profiles.csv.gz";
    recipe.replace(recipe.find(name), name.size(), "other.csv");
    write_file_synced(out / "other.toml", recipe);
    BuildReport report;
    try {
      static_cast<void>(build_dataset(load_recipe(out / "other.toml"), out, report));
    } catch (const DataError& e) {
      return std::string(e.what());
    }
    return std::string("it was built");
  };
  const auto& genes = demo.dataset.genes;
  std::string header = "profile";
  std::string row;
  for (const auto& gene : genes) {
    header += "," + gene;
    row += ",1";
  }
  std::string rows;
  for (std::int64_t i = 0; i < demo.dataset.perturbations->size(); ++i) rows += std::to_string(i) + row + "\n";
  CHECK(with_matrix(header + "\n" + rows) == "it was built");
  CHECK_THAT(with_matrix(header + "\n" + rows + "0" + row + "\n"), contains("other.csv has the profile '0' twice"));
}

TEST_CASE("Sparse profiles come back from an export sparse, of AnnData and of tables") {
  const TemporaryFolder folder;
  DatasetContent c = nasty();
  SparseRows rows;
  for (std::size_t i = 0; i < c.perturbations.size(); ++i) {
    float* row = c.perturbation_profile.data() + i * c.genes.size();
    for (std::size_t g = 0; g < c.genes.size(); ++g)
      row[g] = (g + i) % 3 == 0 ? 0.1F * static_cast<float>(g + 1) : 0.0F;
    row[1] = -0.0F;
    rows.append(row, static_cast<std::int64_t>(c.genes.size()));
  }
  c.perturbation_profile.clear();
  c.sparse_profile = rows;
  const Dataset before = written(c, folder / "before.h5");
  const auto format = GENERATE(ExportFormat::h5ad, ExportFormat::csv);
  static_cast<void>(export_dataset(before, format, {}, folder / "out"));
  BuildReport report;
  const Dataset after =
      written(build_dataset(load_recipe(folder / "out" / "recipe.toml"), folder / "out", report), folder / "after.h5");
  REQUIRE(after.perturbations->profile.is_sparse());
  CHECK(first_difference(before, after).empty());
  CHECK(content_hash(before) == content_hash(after));
}

TEST_CASE("A recipe that would build another data set is left out, with a sentence that says why") {
  const TemporaryFolder folder;
  DatasetContent c = nasty();
  c.sample_id[7] = "x ";  // the reader of AnnData takes spaces at the end for padding
  const Dataset dataset = written(c, folder / "x.h5");
  const auto sentences = export_dataset(dataset, ExportFormat::h5ad, {}, folder / "out");
  CHECK(said(sentences, "no recipe.toml: a recipe cannot build this data set again: the samples"));
  CHECK_FALSE(fs::exists(folder / "out" / "recipe.toml"));
  CHECK(fs::exists(folder / "out" / "samples.csv"));
}

TEST_CASE("The test of sameness sees a change anywhere") {
  const TemporaryFolder folder;
  const Dataset before = written(nasty(), folder / "before.h5");
  const auto changed = [&](const auto& change) {
    DatasetContent c = nasty();
    change(c);
    return first_difference(before, written(c, folder / "changed.h5"));
  };
  CHECK(changed([](auto&) {}).empty());
  CHECK(changed([](auto& c) { c.expression[9] += 1.0F; }) == "the block expression of samples");
  CHECK(changed([](auto& c) { c.expression[3] = 0.0F; }) == "the block expression of samples");
  CHECK(changed([](auto& c) { c.responses[0].value += 1e-9; }) == "the values");
  CHECK(changed([](auto& c) { c.responses[4].label = 1; }) == "the labels");
  CHECK(changed([](auto& c) { c.drug_group[2] = "x"; }) == "the groups of drugs");
  CHECK(changed([](auto& c) { std::swap(c.sample_tissue[0], c.sample_tissue[1]); }) == "the tissues of samples");
  CHECK(changed([](auto& c) { c.drug_blocks.pop_back(); }) == "the blocks of drugs");
  CHECK(changed([](auto& c) { c.perturbation_profile[0] += 1.0F; }) == "the perturbation profiles");
  CHECK(changed([](auto& c) { c.deg[0] = 4; }) == "the genes of the conditions");
  CHECK(changed([](auto& c) { c.perturbations[1].replicates = 7; }) == "the perturbations");
}

TEST_CASE("Public data come back from an export as they went") {
  const fs::path shared = fs::path(CDRZOO_SHARED_DIR) / "data";
  if (!fs::exists(shared)) {
    WARN("skipped: " << shared << " is absent");
    return;
  }
  for (const std::string name : {"gdsc2_ccle", "gdsc2_ccle_to_tcga", "gdsc_binary_151", "fourierdrug_ar42",
                                 "perturbench_devel", "l1000_a375_plate"}) {
    INFO(name);
    const fs::path recipe = fs::path(CDRZOO_SOURCE_DIR) / "share" / "datasets" / (name + ".toml");
    const TemporaryFolder folder;
    BuildReport report;
    const Dataset before =
        written(build_dataset(test::without_conformers(recipe), shared, report), folder / "before.h5");
    for (const auto format : {ExportFormat::csv, ExportFormat::h5ad}) {
      const fs::path out = folder / (format == ExportFormat::csv ? "csv" : "h5ad");
      CHECK(said(export_dataset(before, format, {}, out), "recipe.toml: builds the same data set"));
      const Dataset after = built_from(out, folder / "after.h5");
      CHECK(first_difference(before, after).empty());
      CHECK(content_hash(after) == content_hash(before));
      CHECK(after.data_hash() == before.data_hash());
    }
  }
}

TEST_CASE("A split exported as CSV or JSON is read back as the same split") {
  Demo demo;
  const auto split = demo.split("lco");
  static_cast<void>(export_dataset(demo.dataset, ExportFormat::csv, {split}, demo.folder / "out"));
  const auto rows = rows_with(demo.dataset, true);
  CHECK(read_split(demo.folder / "out" / "splits" / "lco.json", demo.dataset).hash == split.split.hash);
  const auto table = load_split(demo.folder / "out" / "splits" / "lco.csv", demo.dataset, rows);
  for (std::size_t k = 0; k < table.folds.size(); ++k) {
    CHECK(table.folds[k].train == split.split.folds[k].train);
    CHECK(table.folds[k].early_stop == split.split.folds[k].early_stop);
    CHECK(table.folds[k].test == split.split.folds[k].test);
  }
}

TEST_CASE("In the IMPROVE layout every record of a fold is in exactly one role, by its row of response.tsv") {
  Demo demo;
  const auto split = demo.split("lco");
  const auto sentences = export_dataset(demo.dataset, ExportFormat::improve, {split}, demo.folder / "out");
  CHECK(said(sentences, "800 perturbation profiles are not written"));
  CHECK(said(sentences, "different units"));
  const fs::path root = demo.folder / "out" / "raw_data";
  const auto response = columns_of(root / "y_data" / "response.tsv", '\t');
  const auto& r = demo.dataset.responses;
  REQUIRE(response.at("source").size() == r.sample.size());
  const auto all = numbers_of(root / "splits" / "lines_all.txt");
  for (std::size_t k = 0; k < split.split.folds.size(); ++k) {
    std::vector<std::int32_t> seen;
    for (const char* role : {"train", "val", "test"}) {
      const auto rows = numbers_of(root / "splits" / ("lines_split_" + std::to_string(k) + "_" + role + ".txt"));
      seen.insert(seen.end(), rows.begin(), rows.end());
    }
    std::sort(seen.begin(), seen.end());
    CHECK(seen == all);
    CHECK(numbers_of(root / "splits" / ("lines_split_" + std::to_string(k) + "_early_stop.txt")) ==
          split.split.folds[k].early_stop);
  }
  for (std::size_t i = 0; i < r.sample.size(); ++i) {
    const auto sample = static_cast<std::size_t>(r.sample[i]);
    REQUIRE(response.at("improve_sample_id")[i] == demo.dataset.samples.id[sample]);
    REQUIRE(response.at("improve_chem_id")[i] == demo.dataset.drugs.id[static_cast<std::size_t>(r.drug[i])]);
    const auto& value = response.at("ln_ic50_um")[i];
    REQUIRE(value.empty() == std::isnan(r.value[i]));
    if (!value.empty()) REQUIRE(std::stod(value) == r.value[i]);
    REQUIRE(response.at("label")[i] == (r.label[i] < 0 ? "" : std::to_string(r.label[i])));
  }
}

TEST_CASE("The first bits of a folded fingerprint are the stored ones, folded") {
  Demo demo;
  static_cast<void>(export_dataset(demo.dataset, ExportFormat::improve, {}, demo.folder / "out"));
  const auto bits = columns_of(demo.folder / "out" / "raw_data" / "x_data" / "drug_ecfp4_nbits512.tsv", '\t');
  REQUIRE(bits.size() == 513);
  const auto* stored = static_cast<const std::uint8_t*>(demo.dataset.drug_block("morgan")->parts.front().data);
  for (std::size_t j = 0; j < demo.dataset.drugs.id.size(); ++j) {
    for (std::size_t b = 0; b < 512; ++b) {
      bool any = false;
      for (std::size_t i = b; i < 2048; i += 512) any = any || stored[j * 2048 + i] != 0;
      REQUIRE(bits.at("ecfp4." + std::to_string(b))[j] == (any ? "1" : "0"));
    }
  }
}

TEST_CASE("In the drevalpy layout every record with a value is in exactly one role of each fold") {
  Demo demo;
  const auto split = demo.split("lco");
  const auto sentences = export_dataset(demo.dataset, ExportFormat::drevalpy, {split}, demo.folder / "out");
  CHECK(said(sentences, "patients: not written (60 samples, 160 labels)"));
  const auto table = columns_of(demo.folder / "out" / "lines" / "lines.csv");
  const auto keys = [](const std::map<std::string, std::vector<std::string>>& t, const std::string& measure) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < t.at(measure).size(); ++i) {
      out.push_back(t.at("cell_line_name")[i] + "|" + t.at("pubchem_id")[i] + "|" + t.at(measure)[i] + "|" +
                    t.at("tissue")[i]);
    }
    std::sort(out.begin(), out.end());
    return out;
  };
  const auto all = keys(table, "LN_IC50");
  CHECK(all.size() == rows_with(demo.dataset, true).size());
  for (std::size_t k = 0; k < split.split.folds.size(); ++k) {
    for (const bool early : {false, true}) {
      std::vector<std::string> seen;
      for (const std::string role : {"train", "validation", "test", "early_stopping"}) {
        if (role == "early_stopping" && !early) continue;
        const auto part = keys(columns_of(demo.folder / "out" / "splits" / (early ? "lco_early_stopping" : "lco") /
                                          ("cv_split_" + std::to_string(k) + "_" + role + ".csv")),
                               "response");
        seen.insert(seen.end(), part.begin(), part.end());
      }
      std::sort(seen.begin(), seen.end());
      CHECK(seen == all);
    }
  }
  const auto expression = columns_of(demo.folder / "out" / "lines" / "gene_expression.csv");
  const auto x = demo.dataset.expression();
  for (std::size_t g = 0; g < demo.dataset.genes.size(); ++g)
    CHECK(std::stof(expression.at(demo.dataset.genes[g])[7]) == x.data[7 * static_cast<std::size_t>(x.cols) + g]);
}

TEST_CASE("A split whose test records have no values is refused for drevalpy in one sentence, and nothing is left") {
  Demo demo;
  const auto split = demo.split("transfer", "patients");
  CHECK_THROWS_WITH(export_dataset(demo.dataset, ExportFormat::drevalpy, {split}, demo.folder / "out"),
                    contains("no test record of fold 0 has a value"));
  CHECK(names_in(demo.folder) == std::set<std::string>{"demo.h5"});
  const auto sentences = export_dataset(demo.dataset, ExportFormat::improve, {split}, demo.folder / "out");
  CHECK(said(sentences, "split transfer: 5 folds as lines_split_*"));
}

TEST_CASE("An AnnData file has the attributes, the shapes and the values that its format asks for") {
  Demo demo;
  static_cast<void>(export_dataset(demo.dataset, ExportFormat::h5ad, {}, demo.folder / "out"));
  const Hdf5File file(demo.folder / "out" / "expression_patients.h5ad");
  CHECK(file.text_attribute("/", "encoding-type") == "anndata");
  CHECK(file.text_attribute("/X", "encoding-type") == "array");
  const auto x = file.matrix<float>("/X", 60, 100);
  const auto all = demo.dataset.expression();
  CHECK(std::equal(x.data, x.data + 60 * 100, all.data + 120 * 100));
  CHECK(file.text_attribute("/obs", "encoding-type") == "dataframe");
  CHECK(file.text_attribute("/obs", "_index") == "_index");
  CHECK(file.strings("/var/_index") == demo.dataset.genes);
  CHECK(file.text_attribute("/obs/tissue", "encoding-type") == "categorical");
  CHECK(file.strings("/obs/tissue/categories") == demo.dataset.tissues);
  CHECK(file.strings("/obs/_index").front() == demo.dataset.samples.id[120]);
}

TEST_CASE("A full disk is one sentence that names the folder asked for, and leaves nothing") {
  Demo demo;
  const test::SmallDisk disk(demo.folder / "disk", "256k");
  if (!disk.mounted()) {
    WARN("skipped: mounting a small disk needs the rights of root");
    return;
  }
  for (const auto format : {ExportFormat::csv, ExportFormat::h5ad, ExportFormat::drevalpy, ExportFormat::improve}) {
    CHECK_THROWS_WITH(export_dataset(demo.dataset, format, {demo.split("lco")}, demo.folder / "disk" / "out"),
                      contains("disk/out/") && contains("No space left on device"));
    CHECK(names_in(demo.folder / "disk").empty());
  }
}

TEST_CASE("A folder in use, an unknown format and a split of other data are refused") {
  Demo demo;
  create_folders(demo.folder / "used");
  write_file_synced(demo.folder / "used" / "mine.txt", "x");
  CHECK_THROWS_WITH(export_dataset(demo.dataset, ExportFormat::csv, {}, demo.folder / "used"),
                    contains("it exists and is not empty"));
  CHECK_THROWS_WITH(export_dataset(demo.dataset, ExportFormat::csv, {}, demo.folder / "demo.h5"),
                    contains("it exists and is no folder"));
  CHECK_THROWS_WITH(export_format_of("xlsx"), contains("known: csv, h5ad, drevalpy, improve"));
  auto split = demo.split("lco");
  split.split.data_hash = std::string(64, '0');
  CHECK_THROWS_WITH(export_dataset(demo.dataset, ExportFormat::csv, {split}, demo.folder / "out"),
                    contains("was made for another data set"));
  split.split.of_perturbations = true;
  CHECK_THROWS_WITH(export_dataset(demo.dataset, ExportFormat::csv, {split}, demo.folder / "out"),
                    contains("divides perturbation profiles, and the layouts of other programs divide records"));
  CHECK(names_in(demo.folder) == std::set<std::string>{"demo.h5", "used"});
  create_folders(demo.folder / "empty");
  CHECK_NOTHROW(export_dataset(demo.dataset, ExportFormat::csv, {}, demo.folder / "empty/"));
}
