// SPDX-License-Identifier: Apache-2.0
#include "data/dataset.hpp"

#include <hdf5.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/content_hash.hpp"
#include "data/dataset_info.hpp"
#include "data/dataset_writer.hpp"
#include "import/demo.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::TemporaryFolder;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

/// Two domains, given out of canonical order: "b" sorts before "z" though it comes second.
DatasetContent small_content() {
  DatasetContent c;
  c.name = "small";
  c.provenance_json = R"({"builder": "test"})";
  c.caveats = {"tiny"};
  c.genes = {"G1", "G2"};
  c.tissues = {"lung"};
  c.domains.name = {"z", "b"};
  c.domains.expression_unit = {"log2", "log2"};
  c.domains.caveat = {"", "second"};
  c.sample_id = {"S10", "S9", "P1"};
  c.sample_group = {"S10", "S9", "patient"};
  c.sample_domain = {0, 0, 1};
  c.sample_tissue = {0, -1, 0};
  c.expression = {1, 2, 3, std::numeric_limits<float>::quiet_NaN(), 5, 6};
  c.drug_id = {"d2", "d1"};
  c.drug_name = {"Two", "One"};
  c.drug_smiles = {"CCO", ""};
  c.drug_group = {"CCO", "id:d1"};
  c.drug_scaffold = {"", ""};
  c.value_unit = "ln_ic50_um";
  c.responses = {{0, 0, 1, -1, 0.1}, {1, 0, 0, 0, -3.0}, {0, 0, 0, -1, 2.5}, {2, 1, 0, 1, kNan}, {0, 1, 0, -1, 1e-7}};
  c.perturbations = {{0, 1, 0, -6.0F, 24.0F}};
  c.perturbation_profile = {7, 8};
  return c;
}

std::string tsv_of_small() {
  return "study\tsample\tdrug\treplicate\tvalue\tlabel\n"
         "b\tP1\td1\t0\t\t1\n"
         "z\tS10\td1\t0\t9.9999999999999995e-08\t\n"
         "z\tS10\td2\t0\t2.5\t\n"
         "z\tS10\td2\t1\t0.10000000000000001\t\n"
         "z\tS9\td2\t0\t-3\t0\n";
}

class SmallFile {
 public:
  SmallFile() { write_dataset(small_content(), path()); }
  explicit SmallFile(const DatasetContent& content) { write_dataset(content, path()); }
  [[nodiscard]] std::filesystem::path path() const { return folder_ / "small set.h5"; }

  /// Overwrites one element of a data set.
  template <typename T>
  SmallFile& set(const char* dataset, hsize_t index, T value) {
    const hid_t file = H5Fopen(path().c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t data = H5Dopen2(file, dataset, H5P_DEFAULT);
    const hid_t type = H5Dget_type(data);
    REQUIRE(H5Tget_size(type) == sizeof(T));
    const hid_t space = H5Dget_space(data);
    const hsize_t one = 1;
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &index, nullptr, &one, nullptr);
    const hid_t memory = H5Screate_simple(1, &one, nullptr);
    REQUIRE(H5Dwrite(data, type, memory, space, H5P_DEFAULT, &value) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(data);
    H5Fclose(file);
    return *this;
  }
  /// Replaces the text columns' element; must fit the stored width.
  SmallFile& set_text(const char* dataset, hsize_t index, const std::string& value) {
    const hid_t file = H5Fopen(path().c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t data = H5Dopen2(file, dataset, H5P_DEFAULT);
    const hid_t type = H5Dget_type(data);
    std::string padded = value;
    REQUIRE(value.size() <= H5Tget_size(type));
    padded.resize(H5Tget_size(type), '\0');
    const hid_t space = H5Dget_space(data);
    const hsize_t one = 1;
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &index, nullptr, &one, nullptr);
    const hid_t memory = H5Screate_simple(1, &one, nullptr);
    REQUIRE(H5Dwrite(data, type, memory, space, H5P_DEFAULT, padded.data()) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(data);
    H5Fclose(file);
    return *this;
  }
  SmallFile& remove(const char* object) {
    const hid_t file = H5Fopen(path().c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    REQUIRE(H5Ldelete(file, object, H5P_DEFAULT) >= 0);
    H5Fclose(file);
    return *this;
  }
  SmallFile& set_attribute(const char* object, const char* name, std::int64_t value) {
    const hid_t file = H5Fopen(path().c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t owner = H5Oopen(file, object, H5P_DEFAULT);
    REQUIRE(H5Adelete(owner, name) >= 0);
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(owner, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    REQUIRE(H5Awrite(attribute, H5T_NATIVE_INT64, &value) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Oclose(owner);
    H5Fclose(file);
    return *this;
  }
  [[nodiscard]] std::string complaint() const {
    try {
      static_cast<void>(Dataset::open(path()));
    } catch (const DataError& e) {
      return e.what();
    }
    return "it opened";
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("A data set reads back as it was written, its records in canonical order") {
  const SmallFile file;
  const Dataset d = Dataset::open(file.path());
  CHECK(d.name == "small");
  CHECK(d.caveats == std::vector<std::string>{"tiny"});
  CHECK(d.genes == std::vector<std::string>{"G1", "G2"});
  CHECK(d.domains.name == std::vector<std::string>{"z", "b"});
  CHECK(d.domains.caveat[1] == "second");
  CHECK(d.samples.id == std::vector<std::string>{"S10", "S9", "P1"});
  CHECK(d.samples.group[2] == "patient");
  CHECK(d.samples.tissue == std::vector<std::int32_t>{0, -1, 0});
  CHECK(d.drugs.name == std::vector<std::string>{"Two", "One"});
  REQUIRE(d.responses.size() == 5);
  const auto& r = d.responses;
  CHECK(std::vector<std::int32_t>(r.sample.begin(), r.sample.end()) == std::vector<std::int32_t>{2, 0, 0, 0, 1});
  CHECK(std::vector<std::int32_t>(r.drug.begin(), r.drug.end()) == std::vector<std::int32_t>{1, 1, 0, 0, 0});
  CHECK(std::vector<std::int32_t>(r.replicate.begin(), r.replicate.end()) == std::vector<std::int32_t>{0, 0, 0, 1, 0});
  CHECK(std::isnan(r.value[0]));
  CHECK(r.label[0] == 1);
  CHECK(r.value[3] == 0.1);
  CHECK(r.value_unit == "ln_ic50_um");

  const auto x = d.expression();
  CHECK(x.rows == 3);
  CHECK(x.cols == 2);
  CHECK(x.row(2)[1] == 6.0F);
  const FeatureBlock* expression = d.sample_block("expression");
  CHECK(expression->parts[0].has_nan);
  CHECK(expression->feature_names == d.genes);
  CHECK(reinterpret_cast<std::uintptr_t>(expression->parts[0].data) % 64 == 0);
  REQUIRE(d.perturbations);
  CHECK(d.perturbations->size() == 1);
  CHECK(d.perturbations->profile.dense().row(0)[1] == 8.0F);
  CHECK(d.perturbations->drug_b[0] == 0);
}

namespace {

constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

/// Seven rows of six conditions in two contexts; rows 1 and 5 are replicates though one says A+B and the other B+A.
DatasetContent perturbed_content() {
  DatasetContent c = small_content();
  c.perturbation_contexts = {"z context", "a context"};
  c.sample_group = {"line", "line", "patient"};  // the controls of a context are of one group
  // control, drug (d2 = 0, d1 = 1), second drug, dose, time, context, replicates
  c.perturbations = {{0, 0, -1, -6.0F, 24.0F, 0, 3},    {1, 0, 1, kUnknown, 24.0F, 0, 1},
                     {1, 1, -1, kUnknown, 24.0F, 0, 2}, {0, 1, -1, -6.0F, 24.0F, 0, 1},
                     {1, 1, -1, -7.0F, kUnknown, 0, 1}, {1, 1, 0, kUnknown, 24.0F, 0, 1},
                     {1, 1, -1, -7.0F, kUnknown, 1, 1}};
  c.perturbation_profile.clear();
  for (int i = 0; i < 7; ++i) {
    c.perturbation_profile.push_back(static_cast<float>(i));
    c.perturbation_profile.push_back(-1.0F);
  }
  c.deg_rule = "test";
  c.deg_genes = 2;
  c.deg = {0, 1, 1, 0, 1, -1, -1, -1, 0, -1, 1, 0};
  return c;
}

template <typename T>
std::vector<T> list(ArrayView<T> values) {
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("Perturbation rows are written in canonical order, replicates of a condition together") {
  const SmallFile file(perturbed_content());
  const Dataset d = Dataset::open(file.path());
  REQUIRE(d.perturbations);
  const auto& p = *d.perturbations;
  // Context by name, then drug d1 alone (unknown dose first), d1 with d2, d2 alone.
  std::vector<float> first_gene;
  for (std::int64_t i = 0; i < p.size(); ++i) first_gene.push_back(p.profile.dense().row(i)[0]);
  CHECK(first_gene == std::vector<float>{6, 2, 4, 3, 1, 5, 0});
  CHECK(p.contexts == std::vector<std::string>{"a context", "z context"});
  CHECK(list(p.context) == std::vector<std::int32_t>{0, 1, 1, 1, 1, 1, 1});
  CHECK(list(p.condition) == std::vector<std::int32_t>{0, 1, 2, 3, 4, 4, 5});
  CHECK(p.conditions == 6);
  CHECK(list(p.drug) == std::vector<std::int32_t>{1, 1, 1, 1, 1, 1, 0});
  CHECK(list(p.drug_b) == std::vector<std::int32_t>{-1, -1, -1, -1, 0, 0, -1});
  CHECK(list(p.replicates) == std::vector<std::int32_t>{1, 2, 1, 1, 1, 1, 3});
}

TEST_CASE("Each condition keeps its list of genes when the rows are put in order") {
  const SmallFile file(perturbed_content());
  const Dataset d = Dataset::open(file.path());
  const auto& p = *d.perturbations;
  CHECK(p.deg_rule == "test");
  REQUIRE(p.deg.rows == 6);
  REQUIRE(p.deg.cols == 2);
  const std::vector<std::int32_t> deg(p.deg.data, p.deg.data + 12);
  // Given for the conditions whose first rows are 0, 1, 2, 3, 4, 6; now those of 6, 2, 4, 3, 1, 0.
  CHECK(deg == std::vector<std::int32_t>{1, 0, 1, -1, 0, -1, -1, -1, 1, 0, 0, 1});
}

TEST_CASE("The order of the rows of the content does not matter to the file") {
  DatasetContent c = perturbed_content();
  const SmallFile file(c);
  // Only replicates of one condition change places here, so the lists stay.
  std::swap(c.perturbations[1], c.perturbations[5]);
  for (std::size_t g = 0; g < 2; ++g) std::swap(c.perturbation_profile[2 + g], c.perturbation_profile[10 + g]);
  const SmallFile other(c);
  CHECK(Dataset::open(file.path()).file_hash() == Dataset::open(other.path()).file_hash());
  // And a file that was read is written as it was.
  const SmallFile copy(content_of(Dataset::open(file.path())));
  CHECK(Dataset::open(file.path()).file_hash() == Dataset::open(copy.path()).file_hash());
}

namespace {

/// The content with its profiles kept as sparse rows.
DatasetContent sparse(DatasetContent c) {
  const RowMatrix dense = c.profiles();
  SparseRows rows;
  std::vector<float> scratch;
  for (std::int64_t i = 0; i < dense.rows; ++i) rows.append(dense.row(i, scratch), dense.cols);
  c.sparse_profile = std::move(rows);
  c.perturbation_profile.clear();
  return c;
}

/// Perturbed content whose two replicates differ in what is 0; one value is -0, one row all 0.
DatasetContent mostly_zero_content() {
  DatasetContent c = perturbed_content();
  std::vector<float>& x = c.perturbation_profile;
  std::fill(x.begin(), x.end(), 0.0F);
  x[0] = 1.5F;
  x[1 * 2 + 1] = 2.0F;  // replicates 1 and 5
  x[5 * 2 + 0] = -3.0F;
  x[2 * 2 + 1] = -0.0F;
  x[6 * 2 + 0] = 4.0F;
  x[6 * 2 + 1] = 5.0F;
  return c;
}

}  // namespace

TEST_CASE("Sparse profiles are the same data as dense ones, in the same order, and stay sparse") {
  const SmallFile dense_file(mostly_zero_content());
  const SmallFile sparse_file(sparse(mostly_zero_content()));
  const Dataset a = Dataset::open(dense_file.path());
  const Dataset b = Dataset::open(sparse_file.path());
  CHECK_FALSE(a.perturbations->profile.is_sparse());
  REQUIRE(b.perturbations->profile.is_sparse());
  CHECK(b.perturbations->profile.sparse().value.size() == 6);
  REQUIRE(b.perturbations->profile.rows == 7);
  std::vector<float> scratch;
  for (std::int64_t i = 0; i < 7; ++i) {
    INFO("row " << i);
    CHECK(std::memcmp(a.perturbations->profile.dense().row(i), b.perturbations->profile.row(i, scratch),
                      2 * sizeof(float)) == 0);
  }
  CHECK(content_hash(a) == content_hash(b));
  CHECK(a.data_hash() == b.data_hash());
  CHECK(validate_dataset(sparse_file.path()).errors.empty());

  const auto storage = describe_dataset(b)["perturbations"]["storage"];
  CHECK(storage["kind"] == "sparse");
  CHECK(storage["not_zero_share"] == 5.0 / 14.0);  // -0 is 0
  CHECK(storage["bytes"] == 8 * 8 + 6 * 8);
  CHECK(describe_dataset(a)["perturbations"]["storage"]["bytes"] == 7 * 2 * 4);
  CHECK(describe_dataset(a)["perturbations"]["storage"]["not_zero_share"] == 5.0 / 14.0);
  CHECK(describe_dataset(a)["format_version"] == 1);
  CHECK(describe_dataset(b)["format_version"] == 3);

  // A file that was read is written as it was, whatever the order of replicates.
  DatasetContent turned = mostly_zero_content();
  std::swap(turned.perturbations[1], turned.perturbations[5]);
  for (std::size_t g = 0; g < 2; ++g)
    std::swap(turned.perturbation_profile[2 + g], turned.perturbation_profile[10 + g]);
  CHECK(Dataset::open(SmallFile(sparse(turned)).path()).file_hash() == b.file_hash());
  CHECK(Dataset::open(SmallFile(content_of(b)).path()).file_hash() == b.file_hash());
}

TEST_CASE("Replicates are in the same order whether their profiles are stored dense or sparse") {
  DatasetContent c = perturbed_content();
  c.deg.clear();
  c.genes = {"G1", "G2", "G3", "G4"};
  c.expression.assign(c.sample_id.size() * 4, 1.0F);
  c.perturbations.assign(256, c.perturbations[0]);
  c.perturbation_profile.clear();
  const float values[] = {0.0F, -0.0F, 1.0F, -1.5F};
  for (std::size_t i = 0; i < 256; ++i) {  // every row of these values, in an order that is not the canonical one
    std::size_t digits = i * 37 % 256;
    for (int g = 0; g < 4; ++g, digits /= 4) c.perturbation_profile.push_back(values[digits % 4]);
  }
  const SmallFile dense_file(c);
  const SmallFile sparse_file(sparse(c));
  CHECK(content_hash(Dataset::open(dense_file.path())) == content_hash(Dataset::open(sparse_file.path())));
}

TEST_CASE("Profiles that are 0 throughout can be stored sparse") {
  DatasetContent c = mostly_zero_content();
  std::fill(c.perturbation_profile.begin(), c.perturbation_profile.end(), 0.0F);
  const SmallFile file(sparse(c));
  const Dataset d = Dataset::open(file.path());
  REQUIRE(d.perturbations->profile.is_sparse());
  CHECK(d.perturbations->profile.sparse().value.empty());
  CHECK(content_hash(d) == content_hash(Dataset::open(SmallFile(c).path())));
}

TEST_CASE("Sparse profiles that do not hold together end with one sentence that names the place") {
  SmallFile f(sparse(mostly_zero_content()));
  std::string expected;
  SECTION("offsets that fall") {
    f.set("/perturbations/profile/rowptr", 2, std::int64_t{0});
    expected = "/perturbations/profile/rowptr decreases at row 1";
  }
  SECTION("offsets that do not begin with 0") {
    f.set("/perturbations/profile/rowptr", 0, std::int64_t{1});
    expected = "/perturbations/profile/rowptr starts at 1; expected 0";
  }
  SECTION("offsets beyond the values") {
    f.set("/perturbations/profile/rowptr", 7, std::int64_t{9});
    expected = "/perturbations/profile/colidx has shape [6]; expected [9]";
  }
  SECTION("a column that does not exist") {
    f.set("/perturbations/profile/colidx", 1, std::int32_t{2});
    expected = "/perturbations/profile/colidx row 1 is 2; expected 0 to 1";
  }
  SECTION("columns that do not ascend") {  // row 0 holds both genes
    f.set("/perturbations/profile/colidx", 1, std::int32_t{0});
    expected = "/perturbations/profile/colidx: row 0 has column 0 after column 0; expected ascending columns";
  }
  SECTION("missing values") {
    f.set_attribute("/perturbations/profile/values", "has_nan", 1);
    expected =
        "/perturbations/profile/values has missing values (has_nan = 1); a matrix with missing values is stored dense";
  }
  SECTION("another width") {
    f.set_attribute("/perturbations/profile", "width", 3);
    expected = "/perturbations/profile has 3 columns; expected 2";
  }
  SECTION("no rows") {
    f.remove("/perturbations/control");
    expected = "/perturbations/control is missing";
  }
  CHECK_THAT(f.complaint(), contains(expected) && contains("small set.h5"));
}

TEST_CASE("Validation reads the values of sparse profiles too") {
  SmallFile f(sparse(mostly_zero_content()));
  SECTION("a missing value") {
    f.set("/perturbations/profile/values", 0, std::numeric_limits<float>::quiet_NaN());
    CHECK_THAT(validate_dataset(f.path()).errors.at(0),
               contains("perturbations/profile holds 1 NaN, but its attribute has_nan says that there are none"));
  }
  SECTION("infinity") {
    f.set("/perturbations/profile/values", 0, std::numeric_limits<float>::infinity());
    CHECK_THAT(validate_dataset(f.path()).errors.at(0), contains("perturbations/profile holds 1 infinite values"));
  }
}

TEST_CASE("Perturbations of a file from before conditions were written are counted by control") {
  SmallFile file(perturbed_content());
  for (const char* object : {"condition", "context", "context_name", "replicates", "deg"}) {
    file.remove(("/perturbations/" + std::string(object)).c_str());
  }
  const Dataset d = Dataset::open(file.path());
  const auto& p = *d.perturbations;
  CHECK(p.contexts == std::vector<std::string>{"S9", "S10"});
  CHECK(list(p.context) == std::vector<std::int32_t>{0, 0, 0, 1, 0, 0, 1});
  CHECK(list(p.condition) == std::vector<std::int32_t>{0, 1, 0, 2, 3, 3, 4});
  CHECK(p.conditions == 5);
  CHECK(list(p.replicates) == std::vector<std::int32_t>(7, 1));
  CHECK(p.deg.empty());
}

TEST_CASE("What a person asks about perturbations is counted") {
  const SmallFile file(perturbed_content());
  const auto info = describe_dataset(Dataset::open(file.path()));
  const auto& p = info["perturbations"];
  CHECK(p["profiles"] == 7);
  CHECK(p["conditions"] == 6);
  CHECK(p["double_conditions"] == 1);
  CHECK(p["single_perturbations"] == 2);
  CHECK(p["double_perturbations"] == 1);
  CHECK(p["controls"] == 2);
  REQUIRE(p["contexts"].size() == 2);
  CHECK(p["contexts"][1]["name"] == "z context");
  CHECK(p["contexts"][1]["domain"] == "z");
  CHECK(p["contexts"][1]["controls"] == 2);
  CHECK(p["contexts"][1]["perturbations"] == 3);
  CHECK(p["contexts"][1]["conditions"] == 5);
  CHECK(p["contexts"][1]["replicates"]["max"] == 3);
  CHECK(p["in_all_contexts"].dump() == R"(["d1"])");
  CHECK(p["doubles_with_both_singles"].dump() == R"(["d1+d2"])");
  CHECK(p["doses_log10_molar"].dump() == "[-7.0,-6.0]");
  CHECK(p["conditions_of_unknown_dose"] == 2);
  CHECK(p["conditions_of_unknown_time"] == 2);
  CHECK(p["deg_genes"] == 2);
  CHECK(info["per_drug"][0]["profiles"] == 3);  // alone and in two rows of d1+d2
  const std::string text = info_text(info, true);
  CHECK_THAT(text, contains("6 conditions (5 single, 1 double) in 2 contexts; 7 profiles, 2 controls"));
  CHECK_THAT(text, contains("doses               0.1, 1 uM; unknown in 2 conditions"));
}

TEST_CASE("Label balance and missing pairs are those of the records") {
  const SmallFile file;
  const auto info = describe_dataset(Dataset::open(file.path()));
  const auto& r = info["domains"][0]["responses"];  // S10 with d1 and d2 twice, S9 with d2
  CHECK(r["pairs"] == 3);
  CHECK(r["missing_pairs"] == 1);
  CHECK(info["per_drug"][1]["id"] == "d1");
  CHECK(info["per_drug"][1]["labels_positive"] == 1);
  CHECK(info["per_drug"][1]["positive_share"] == 1.0);
  CHECK(info["drugs"]["largest"].is_null());
}

TEST_CASE("The content hash sees everything but the provenance") {
  const auto hash = [](const DatasetContent& c) { return content_hash(Dataset::open(SmallFile(c).path())); };
  const DatasetContent content = perturbed_content();
  const std::string expected = hash(content);
  DatasetContent c = content;
  c.provenance_json = R"({"builder": "another"})";
  CHECK(hash(c) == expected);
  SECTION("name") { c.name = "x"; }
  SECTION("caveat") { c.caveats.emplace_back("more"); }
  SECTION("sample") { c.sample_group[2] = "x"; }
  SECTION("value") { c.expression[0] = 1.5F; }
  SECTION("missing value") { c.expression[3] = 0.0F; }
  SECTION("structure") { c.drug_smiles[0] = "CC"; }
  SECTION("response") { c.responses[1].label = 1; }
  SECTION("profile") { c.perturbation_profile[0] = 9.0F; }
  SECTION("replicates") { c.perturbations[0].replicates = 9; }
  SECTION("list") { std::swap(c.deg[0], c.deg[1]); }
  CHECK(hash(c) != expected);
}

TEST_CASE("The content hash does not see which NaN a program wrote") {
  const auto hash = [](const DatasetContent& c) { return content_hash(Dataset::open(SmallFile(c).path())); };
  DatasetContent c = perturbed_content();
  const std::string expected = hash(c);
  c.expression[3] = -std::nanf("7");
  CHECK(hash(c) == expected);
}

TEST_CASE("A context has controls of one domain and of one group, which is its identity") {
  DatasetContent c = perturbed_content();
  const SmallFile good(c);
  CHECK(Dataset::open(good.path()).perturbations->context_group == std::vector<std::string>{"line", "line"});
  c.sample_group = {"S10", "S9", "patient"};
  CHECK_THROWS_WITH(SmallFile(c),
                    contains("small set.h5: /perturbations/context 'z context' has controls of the groups "
                             "'S10' and 'S9'; a context has controls of one"));
  c.sample_group = {"line", "line", "line"};
  c.perturbations[1].control = 2;  // of domain b
  CHECK_THROWS_WITH(SmallFile(c), contains("'z context' has controls of the domains 'z' and 'b'"));
}

TEST_CASE("A context may have controls that no row points at") {
  DatasetContent c = perturbed_content();
  c.sample_domain = {0, 0, 0};
  c.sample_group = {"line", "line", "line"};
  for (auto& row : c.perturbations) row.control = row.context;
  const std::string without = content_hash(Dataset::open(SmallFile(c).path()));
  c.control_context = {0, -1, 0};
  const SmallFile file(c);
  const Dataset d = Dataset::open(file.path());
  const auto& p = *d.perturbations;
  REQUIRE(p.contexts == std::vector<std::string>{"a context", "z context"});
  CHECK(list(p.control_context) == std::vector<std::int32_t>{1, 0, 1});  // sample 1 is of a row of the other one
  CHECK(p.controls == std::vector<std::vector<std::int32_t>>{{1}, {0, 2}});
  CHECK(describe_dataset(d)["perturbations"]["controls"] == 3);
  CHECK(content_hash(d) != without);
  CHECK(content_hash(Dataset::open(SmallFile(content_of(d)).path())) == content_hash(d));
  SmallFile broken(c);
  broken.set("/perturbations/control_context", 0, std::int32_t{0});
  CHECK_THAT(broken.complaint(), contains("/perturbations/control row 1 is sample 'S10', which is no control of its "
                                          "context 'z context'"));
  // What rows say by themselves is not written again.
  c.control_context = {0, -1, -1};
  CHECK(content_hash(Dataset::open(SmallFile(c).path())) == without);
}

TEST_CASE("Rows of perturbations in another order than the canonical one are refused, as splits go by their place") {
  SmallFile names(perturbed_content());
  names.set_text("/perturbations/context_name", 0, "zz");
  CHECK_THAT(names.complaint(),
             contains("/perturbations row 1 breaks the canonical order (domain name, context, drug"));
  SmallFile drugs(perturbed_content());
  for (const hsize_t row : {4U, 5U}) {
    drugs.set("/perturbations/drug", row, std::int32_t{0});
    drugs.set("/perturbations/drug_b", row, std::int32_t{1});
  }
  CHECK_THAT(drugs.complaint(), contains("/perturbations/drug_b row 4 sorts before the first drug"));
}

TEST_CASE("Lists of genes that are none are refused") {
  DatasetContent c = perturbed_content();
  std::string expected;
  SECTION("no gene") {
    c.deg[0] = 2;
    expected = "/perturbations/deg row 5 holds 2; expected -1 to 1";
  }
  SECTION("a gene twice") {
    c.deg[1] = 0;
    expected = "/perturbations/deg row 5 holds gene G1 twice";
  }
  SECTION("a gene after the end") {
    c.deg[0] = -1;
    expected = "/perturbations/deg row 5 holds a gene after -1, which ends a list";
  }
  CHECK_THROWS_WITH(SmallFile(c), contains(expected));
}

TEST_CASE("Blocks that columns imply are made when the file is opened") {
  const SmallFile file;
  const Dataset d = Dataset::open(file.path());
  const FeatureBlock* tissue = d.sample_block("tissue");
  REQUIRE(tissue != nullptr);
  CHECK(tissue->kind == CDRZOO_BLOCK_CODES);
  CHECK(tissue->width == 1);
  CHECK(static_cast<const std::int32_t*>(tissue->parts[0].data)[1] == -1);
  CHECK(std::string(static_cast<const char*>(tissue->parts[2].data), 4) == "lung");
  REQUIRE(d.sample_block("domain") != nullptr);
  const FeatureBlock* smiles = d.drug_block("smiles");
  REQUIRE(smiles != nullptr);
  CHECK(static_cast<const std::int64_t*>(smiles->parts[0].data)[2] == 3);
  CHECK(std::string(static_cast<const char*>(smiles->parts[1].data), 3) == "CCO");
  CHECK(d.drug_block("morgan") == nullptr);

  const Dataset copy = d;  // views of a copy stay valid
  CHECK(copy.sample_block("tissue")->parts[0].data == tissue->parts[0].data);
}

TEST_CASE("The data hash is that of the documented bytes") {
  const SmallFile file;
  CHECK(Dataset::open(file.path()).data_hash() == sha256_hex(tsv_of_small()));
}

TEST_CASE("The data hash does not see the order of tables and records, and sees every value") {
  const std::string reference = Dataset::open(SmallFile().path()).data_hash();
  DatasetContent c = small_content();
  std::reverse(c.responses.begin(), c.responses.end());
  c.caveats.clear();
  c.expression[0] = 99.0F;
  CHECK(Dataset::open(SmallFile(c).path()).data_hash() == reference);
  c.responses[0].value = std::nextafter(c.responses[0].value, 10.0);
  CHECK(Dataset::open(SmallFile(c).path()).data_hash() != reference);
}

TEST_CASE("The file hash is that of the file") {
  const SmallFile file;
  CHECK(Dataset::open(file.path()).file_hash() == sha256_file_hex(file.path()));
}

TEST_CASE("An unknown domain is an error that names the known ones") {
  const SmallFile file;
  const Dataset d = Dataset::open(file.path());
  CHECK(d.domain_index("b") == 1);
  CHECK_THROWS_WITH(d.domain_index("c"), contains("unknown domain 'c'") && contains("known: z, b"));
}

TEST_CASE("Broken data sets are refused with the object, the row and what was expected") {
  SmallFile f;
  CHECK_THAT(f.set("/responses/sample", 1, std::int32_t{3}).complaint(),
             contains("/responses/sample row 1 is 3; expected 0 to 2"));
}

TEST_CASE("Each broken invariant has its sentence") {
  SmallFile f;
  std::string expected;
  SECTION("drug out of range") {
    f.set("/responses/drug", 0, std::int32_t{-1});
    expected = "/responses/drug row 0 is -1; expected 0 to 1";
  }
  SECTION("order") {
    f.set("/responses/sample", 4, std::int32_t{2});
    expected = "row 4 breaks the canonical order";
  }
  SECTION("repeated record") {
    f.set("/responses/replicate", 3, std::int32_t{0});
    expected = "row 3 repeats the record of sample 'S10' and drug 'd2'";
  }
  SECTION("label") {
    f.set("/responses/label", 2, std::int8_t{2});
    expected = "/responses/label row 2 is 2; expected 1, 0 or -1";
  }
  SECTION("neither value nor label") {
    f.set("/responses/value", 1, kNan);
    expected = "row 1 has neither a value nor a label";
  }
  SECTION("infinite value") {
    f.set("/responses/value", 1, std::numeric_limits<double>::infinity());
    expected = "/responses/value row 1 is infinite";
  }
  SECTION("tissue out of range") {
    f.set("/samples/tissue", 0, std::int32_t{1});
    expected = "/samples/tissue row 0 is 1; expected -1 to 0";
  }
  SECTION("domain out of range") {
    f.set("/samples/domain", 0, std::int32_t{2});
    expected = "/samples/domain row 0 is 2; expected 0 to 1";
  }
  SECTION("duplicate sample") {
    f.set_text("/samples/id", 1, "S10");
    expected = "/samples/id holds 'S10' twice, in rows 0 and 1";
  }
  SECTION("duplicate drug") {
    f.set_text("/drugs/id", 1, "d2");
    expected = "/drugs/id holds 'd2' twice";
  }
  SECTION("duplicate gene") {
    f.set_text("/genes/symbol", 1, "G1");
    expected = "/genes/symbol holds 'G1' twice";
  }
  SECTION("other gene order") {
    f.set_text("/genes/symbol", 0, "G3");
    expected = "was written for other genes or another gene order";
  }
  SECTION("control character in an id") {
    f.set_text("/samples/id", 1, "a\tb");
    expected = "/samples/id row 1 is not UTF-8 text or has a control character";
  }
  SECTION("perturbation control") {
    f.set("/perturbations/control", 0, std::int32_t{-1});
    expected = "/perturbations/control row 0 is -1";
  }
  SECTION("perturbation pair") {
    f.set("/perturbations/drug_b", 0, std::int32_t{1});
    expected = "/perturbations/drug_b row 0 repeats the first drug";
  }
  SECTION("perturbation context") {
    f.set("/perturbations/context", 0, std::int32_t{1});
    expected = "/perturbations/context row 0 is 1; expected 0 to 0";
  }
  SECTION("perturbation condition") {
    f.set("/perturbations/condition", 0, std::int32_t{1});
    expected = "/perturbations/condition row 0 is 1; its context, drugs, dose and time make it 0";
  }
  SECTION("perturbation replicates") {
    f.set("/perturbations/replicates", 0, std::int32_t{0});
    expected = "/perturbations/replicates row 0 is 0; expected 1 or more";
  }
  SECTION("missing column") {
    f.remove("/responses/label");
    expected = "/responses/label is missing";
  }
  SECTION("missing expression") {
    f.remove("/samples/blocks/expression");
    expected = "/samples/blocks/expression is missing";
  }
  SECTION("another version") {
    f.set_attribute("/", "format_version", 4);
    expected = "has format version 4; this program reads versions 1 to 3";
  }
  SECTION("width of a block") {
    f.set_attribute("/samples/blocks/expression", "width", 3);
    expected = "/samples/blocks/expression/values has shape [3, 2]; expected [3, 3]";
  }
  SECTION("no flag for missing values") {
    f.set_attribute("/samples/blocks/expression/values", "has_nan", 7);
    expected = "has_nan = 7; expected 0 or 1";
  }
  CHECK_THAT(f.complaint(), contains(expected) && contains("small set.h5"));
  const Findings findings = validate_dataset(f.path());
  REQUIRE(findings.errors.size() == 1);
  CHECK_THAT(findings.errors[0], contains(expected));
}

TEST_CASE("Validation reads the matrices too") {
  SmallFile f;
  CHECK(validate_dataset(f.path()).errors.empty());
  SECTION("a wrong flag") {
    f.set_attribute("/samples/blocks/expression/values", "has_nan", 0);
    CHECK_THAT(validate_dataset(f.path()).errors.at(0),
               contains("holds 1 NaN, but its attribute has_nan says that there are none"));
  }
  SECTION("a gene without a value") {
    DatasetContent c = small_content();
    c.expression[5] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THAT(validate_dataset(SmallFile(c).path()).errors.at(0), contains("gene G2 has no value in domain b"));
  }
  SECTION("infinity") {
    DatasetContent c = small_content();
    c.expression[0] = std::numeric_limits<float>::infinity();
    CHECK_THAT(validate_dataset(SmallFile(c).path()).errors.at(0), contains("1 infinite values"));
  }
}

TEST_CASE("Content that breaks an invariant is not written at all") {
  const TemporaryFolder folder;
  DatasetContent c = small_content();
  c.responses.push_back(c.responses.front());
  CHECK_THROWS_WITH(write_dataset(c, folder / "x.h5"), contains("repeats the record"));
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("An existing data set survives a failed attempt to replace it") {
  const SmallFile file;
  const std::string before = sha256_file_hex(file.path());
  DatasetContent c = small_content();
  c.sample_id[1] = c.sample_id[0];
  CHECK_THROWS_AS(write_dataset(c, file.path()), DataError);
  CHECK(sha256_file_hex(file.path()) == before);
}

namespace {

/// The same content as another program might write it: the oldest HDF5 format, without checksums, and gene symbols of
/// variable length.
std::filesystem::path in_old_format(const std::filesystem::path& from) {
  const std::filesystem::path to = from.parent_path() / "old.h5";
  const hid_t in = H5Fopen(from.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t out = H5Fcreate(to.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  for (const char* child : {"provenance", "caveats", "tissues", "domains", "samples", "drugs", "responses"}) {
    REQUIRE(H5Ocopy(in, child, out, child, H5P_DEFAULT, H5P_DEFAULT) >= 0);
  }
  const hid_t text = H5Tcopy(H5T_C_S1);
  H5Tset_size(text, H5T_VARIABLE);
  const hid_t scalar = H5Screate(H5S_SCALAR);
  for (const auto& [name, value] : {std::pair<const char*, const char*>{"format", "cdrzoo-dataset"}, {"name", "old"}}) {
    const hid_t attribute = H5Acreate2(out, name, text, scalar, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, text, &value);
    H5Aclose(attribute);
  }
  const hid_t version = H5Acreate2(out, "format_version", H5T_STD_I32LE, scalar, H5P_DEFAULT, H5P_DEFAULT);
  const int one = 1;
  H5Awrite(version, H5T_NATIVE_INT, &one);
  H5Aclose(version);
  const hid_t group = H5Gcreate2(out, "genes", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t two = 2;
  const hid_t space = H5Screate_simple(1, &two, nullptr);
  const char* genes[2] = {"G1", "G2"};
  const hid_t symbols = H5Dcreate2(group, "symbol", text, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Dwrite(symbols, text, H5S_ALL, H5S_ALL, H5P_DEFAULT, genes);
  H5Dclose(symbols);
  H5Gclose(group);
  H5Sclose(space);
  H5Sclose(scalar);
  H5Tclose(text);
  H5Fclose(out);
  H5Fclose(in);
  return to;
}

}  // namespace

TEST_CASE("A file that another program wrote in the oldest HDF5 format is the same data set") {
  const SmallFile file;
  const Dataset d = Dataset::open(in_old_format(file.path()));
  CHECK(d.name == "old");
  CHECK(d.data_hash() == Dataset::open(file.path()).data_hash());
  CHECK(d.expression().row(2)[1] == 6.0F);
}

TEST_CASE("Metadata that make the HDF5 library crash are an error, not the end of the process") {
  const SmallFile file;
  const auto path = in_old_format(file.path());
  std::string bytes;
  {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    bytes = text.str();
  }
  // The size of the first object of each heap of texts: HDF5 1.10.8 copies that many bytes without looking.
  std::size_t heaps = 0;
  for (std::size_t at = bytes.find("GCOL"); at != std::string::npos; at = bytes.find("GCOL", at + 1)) {
    const std::uint64_t size = GENERATE(as<std::uint64_t>{}, 0x7F00U, 0x7FFFFFFFFFFFU);
    std::memcpy(bytes.data() + at + 24, &size, sizeof size);
    ++heaps;
  }
  REQUIRE(heaps > 0);
  std::ofstream(path, std::ios::binary) << bytes;
  CHECK_THROWS_AS(Dataset::open(path), DataError);
}

TEST_CASE("Opening does not read the matrices") {
  DatasetContent c = small_content();
  const std::size_t genes = 4000;
  c.genes.clear();
  for (std::size_t g = 0; g < genes; ++g) c.genes.push_back("G" + std::to_string(g));
  c.sample_id.clear();
  c.responses.clear();
  c.perturbations.clear();
  c.perturbation_profile.clear();
  const std::size_t samples = 2000;
  for (std::size_t i = 0; i < samples; ++i) c.sample_id.push_back("S" + std::to_string(i));
  c.sample_group = c.sample_id;
  c.sample_domain.assign(samples, 0);
  c.sample_tissue.assign(samples, 0);
  c.expression.assign(samples * genes, 1.0F);
  const SmallFile file(c);
  const Dataset d = Dataset::open(file.path());
  const auto* data = d.expression().data;

  // How much of the mapping that holds the matrix is in memory?
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  bool inside = false;
  long resident_kb = -1;
  while (std::getline(maps, line)) {
    unsigned long begin = 0;
    unsigned long end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      const auto address = reinterpret_cast<unsigned long>(data);
      inside = begin <= address && address < end;
    }
    if (inside && line.rfind("Rss:", 0) == 0) resident_kb = std::atol(line.c_str() + 4);
  }
  REQUIRE(resident_kb >= 0);
  CHECK(resident_kb * 1024 < static_cast<long>(samples * genes * sizeof(float) / 4));
}
