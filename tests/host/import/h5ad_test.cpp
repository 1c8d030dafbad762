// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>

#include "base/child_process.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/random.hpp"
#include "h5py_totals.hpp"
#include "import/matrix_source.hpp"
#include "read_all.hpp"
#include "support/catch.hpp"
#include "support/foreign_hdf5.hpp"
#include "support/small_anndata.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo::test;
using cdrzoo::MatrixSource;
using cdrzoo::MatrixSpec;
using cdrzoo::open_matrix;
using Names = std::vector<std::string>;
using Rows = std::vector<std::vector<float>>;

namespace {

class File {
 public:
  /// The small file of support/small_anndata.hpp, with changes.
  explicit File(const std::function<void(ForeignHdf5&)>& change = nullptr) {
    write_small_anndata(path());
    edit(change);
  }
  void edit(const std::function<void(ForeignHdf5&)>& change) const {
    if (change == nullptr) return;
    ForeignHdf5 file(path(), ForeignHdf5::Mode::edit);
    change(file);
  }
  [[nodiscard]] std::filesystem::path path() const { return folder_ / "small.h5ad"; }
  [[nodiscard]] MatrixSpec spec(const std::string& layer = "") const {
    MatrixSpec spec;
    spec.file = path();
    spec.layer = layer;
    return spec;
  }
  [[nodiscard]] std::unique_ptr<MatrixSource> open(const std::string& layer = "") const {
    return open_matrix(spec(layer));
  }
  /// Reads everything that there is to read.
  void read() const {
    const auto source = open();
    static_cast<void>(source->sample_annotations());
    static_cast<void>(source->gene_annotations());
    static_cast<void>(read_lines(*source));
  }

 private:
  TemporaryFolder folder_;
};

/// The matrix as samples x genes, whatever its lines are.
Rows rows_of(MatrixSource& source) {
  const Rows lines = read_lines(source).values;
  if (source.lines() == MatrixSource::Lines::samples) return lines;
  Rows rows(source.samples().size(), std::vector<float>(lines.size()));
  for (std::size_t g = 0; g < lines.size(); ++g) {
    for (std::size_t s = 0; s < rows.size(); ++s) rows[s][g] = lines[g][s];
  }
  return rows;
}

const Rows kX = {{0, 1.5F, 0, -2}, {0, 0, 0, 0}, {3, 0, 0.25F, 4}};

Names column(const cdrzoo::TextColumns& columns, const std::string& name) {
  const Names* values = columns.find(name);
  return values == nullptr ? Names{"(no such column)"} : *values;
}

/// Warnings are expected here; they would only hide what is not.
struct Quiet {
  Quiet() { cdrzoo::log::set_level(cdrzoo::log::Level::error); }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;
  ~Quiet() { cdrzoo::log::set_level(cdrzoo::log::Level::info); }
};

}  // namespace

TEST_CASE("A CSR matrix is read sample by sample") {
  const File file;
  const auto source = file.open();
  CHECK(source->lines() == MatrixSource::Lines::samples);
  CHECK(source->samples() == Names{"c1", "c2", "c3"});
  CHECK(source->genes() == Names{"TP53", "EGFR", "KRAS", "MYC"});
  CHECK(rows_of(*source) == kX);
  CHECK(rows_of(*source) == kX);  // again
  CHECK_THAT(source->place_of_sample(1), contains("small.h5ad /obs row 2"));
  CHECK_THAT(source->place_of_gene(0), contains("small.h5ad /var row 1"));
}

TEST_CASE("A CSC matrix is the same matrix, read gene by gene") {
  const File file([](ForeignHdf5& f) { put_csc(f, "/X"); });
  const auto source = file.open();
  CHECK(source->lines() == MatrixSource::Lines::genes);
  CHECK(rows_of(*source) == kX);
}

TEST_CASE("Sparse matrices may have indices of any integer type in any order, and the attributes of AnnData 0.6") {
  const auto index_type = GENERATE(as<hid_t>{}, H5T_STD_I32LE, H5T_STD_I64LE, H5T_STD_U16LE, H5T_STD_I64BE);
  const File file([&](ForeignHdf5& f) {
    const ForeignHdf5::Form form{index_type, {2}, true};
    f.numbers<std::int32_t>("/X/indptr", {0, 2, 2, 5}, {}, form);
    f.numbers<std::int32_t>("/X/indices", {3, 1, 2, 0, 3}, {}, form);
    f.numbers<double>("/X/data", {-2, 1.5, 0.25, 3, 4}, {}, {H5T_IEEE_F64BE, {}, false});
    for (const char* name : {"encoding-type", "shape"}) f.remove_attribute("/X", name);
    f.attribute("/X", "h5sparse_format", std::string("csr"));
    f.attribute<std::int32_t>("/X", "h5sparse_shape", std::vector<std::int32_t>{3, 4});
  });
  CHECK(rows_of(*file.open()) == kX);
}

TEST_CASE("A dense matrix may have elements of any number type, contiguous, chunked or compressed") {
  const std::vector<double> values = {0, 1, 0, 2, 0, 0, 0, 0, 3, 0, 7, 100};
  const Rows rows = {{0, 1, 0, 2}, {0, 0, 0, 0}, {3, 0, 7, 100}};
  for (const hid_t type : {H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_IEEE_F64BE, H5T_NATIVE_LDOUBLE, H5T_STD_I8LE,
                           H5T_STD_U8LE, H5T_STD_I16BE, H5T_STD_U32LE, H5T_STD_I64LE, H5T_STD_U64LE}) {
    for (const ForeignHdf5::Form& form :
         {ForeignHdf5::Form{type, {}, false}, {type, {2, 3}, true}, {type, {1, 4}, false}, {type, {3, 1}, true}}) {
      const File file([&](ForeignHdf5& f) { f.numbers<double>("/X", values, {3, 4}, form); });
      const auto source = file.open();
      CHECK(source->lines() == MatrixSource::Lines::samples);
      CHECK(rows_of(*source) == rows);
    }
  }
  const File file([](ForeignHdf5& f) { f.booleans("/X", {0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1}, {3, 4}); });
  CHECK(rows_of(*file.open()) == Rows{{0, 1, 0, 1}, {0, 0, 0, 0}, {1, 0, 0, 1}});
}

TEST_CASE("NaN is a missing value, and infinity is refused with its place") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const File file([&](ForeignHdf5& f) { f.numbers<float>("/X/data", {1.5F, nan, 3, 0.25F, 4}); });
  CHECK(std::isnan(rows_of(*file.open())[0][3]));
  for (const double value : {std::numeric_limits<double>::infinity(), 1e39}) {
    file.edit([&](ForeignHdf5& f) { f.numbers<double>("/X/data", {1.5, -2, 3, -value, 4}); });
    CHECK_THROWS_WITH(file.read(),
                      contains("/X row 3 (sample 'c3'), column 3 (gene 'KRAS') is infinite or beyond float32"));
    const File dense([&](ForeignHdf5& f) {
      f.numbers<double>("/X", {0, 0, 0, 0, 0, 0, value, 0, 0, 0, 0, 0}, {3, 4});
    });
    CHECK_THROWS_WITH(dense.read(),
                      contains("/X row 2 (sample 'c2'), column 3 (gene 'KRAS') is infinite or beyond float32"));
  }
}

TEST_CASE("Layers and the raw matrix are read by their names, raw with its own genes") {
  const File file([](ForeignHdf5& f) {
    f.numbers<float>("/layers/counts", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, {3, 4});
    f.numbers<float>("/raw/X", {1, 2, 3, 4, 5, 6}, {3, 2});
    f.strings("/raw/var/_index", {"A", "B"});
    f.attribute("/raw/var", "_index", std::string("_index"));
  });
  CHECK(rows_of(*file.open("X")) == kX);
  CHECK(rows_of(*file.open("layers/counts"))[2] == std::vector<float>{9, 10, 11, 12});
  const auto raw = file.open("raw/X");
  CHECK(raw->genes() == Names{"A", "B"});
  CHECK(raw->samples() == Names{"c1", "c2", "c3"});
  CHECK(rows_of(*raw) == Rows{{1, 2}, {3, 4}, {5, 6}});
  CHECK_THROWS_AS(file.open("layers/spliced"), cdrzoo::UsageError);
  CHECK_THROWS_WITH(file.open("layers/spliced"),
                    contains("has no matrix 'layers/spliced'; it has 'X', 'raw/X', 'layers/counts'"));
}

TEST_CASE("Columns of every encoding are read as text") {
  const Quiet quiet;
  const File file([](ForeignHdf5& f) {
    f.strings("/obs/variable", {"Köln", "", "a b"});
    f.strings("/obs/fixed", {"ab", "c", ""}, H5T_STR_NULLPAD);
    f.strings("/obs/spaces", {"ab", "c", "d e"}, H5T_STR_SPACEPAD);
    f.numbers<double>("/obs/f64", {0.1, 1, std::numeric_limits<double>::quiet_NaN()});
    f.numbers<float>("/obs/f32", {0.1F, -666, 1e30F});
    f.numbers<std::int8_t>("/obs/i8", {-5, 0, 7});
    f.numbers<std::uint64_t>("/obs/u64", {0, 1, std::numeric_limits<std::uint64_t>::max()});
    f.booleans("/obs/bool", {1, 0, 1});
    // AnnData 0.8 and later
    f.strings("/obs/cat/categories", {"x", "y"});
    f.numbers<std::int8_t>("/obs/cat/codes", {1, -1, 0});
    f.attribute("/obs/cat", "encoding-type", std::string("categorical"));
    f.numbers<double>("/obs/numbered/categories", {0.5, 2});
    f.numbers<std::int32_t>("/obs/numbered/codes", {1, 1, 0});
    f.attribute("/obs/numbered", "encoding-type", std::string("categorical"));
    f.numbers<std::int64_t>("/obs/nint/values", {4, 5, 6});
    f.booleans("/obs/nint/mask", {0, 1, 0});
    f.attribute("/obs/nint", "encoding-type", std::string("nullable-integer"));
    f.booleans("/obs/nbool/values", {0, 1, 1});
    f.booleans("/obs/nbool/mask", {0, 0, 1});
    f.attribute("/obs/nbool", "encoding-type", std::string("nullable-boolean"));
    f.strings("/obs/nstring/values", {"u", "v", "w"});
    f.booleans("/obs/nstring/mask", {1, 0, 0});
    f.attribute("/obs/nstring", "encoding-type", std::string("nullable-string-array"));
    // AnnData 0.7
    f.strings("/obs/__categories/old", {"p", "q"});
    f.numbers<std::int8_t>("/obs/old", {0, 1, -1});
    f.reference("/obs/old", "categories", "/obs/__categories/old");
    f.remove_attribute("/obs", "column-order");
  });
  const auto source = file.open();
  const auto& obs = source->sample_annotations();
  CHECK(obs.names.front() == "cell_id");
  CHECK(column(obs, "variable") == Names{"Köln", "", "a b"});
  CHECK(column(obs, "fixed") == Names{"ab", "c", ""});
  CHECK(column(obs, "spaces") == Names{"ab", "c", "d e"});
  CHECK(column(obs, "f64") == Names{"0.1", "1", ""});
  CHECK(column(obs, "f32") == Names{"0.1", "-666", "1e+30"});
  CHECK(column(obs, "i8") == Names{"-5", "0", "7"});
  CHECK(column(obs, "u64") == Names{"0", "1", "18446744073709551615"});
  CHECK(column(obs, "bool") == Names{"True", "False", "True"});
  CHECK(column(obs, "cat") == Names{"y", "", "x"});
  CHECK(column(obs, "numbered") == Names{"2", "2", "0.5"});
  CHECK(column(obs, "nint") == Names{"4", "", "6"});
  CHECK(column(obs, "nbool") == Names{"False", "True", ""});
  CHECK(column(obs, "nstring") == Names{"", "v", "w"});
  CHECK(column(obs, "old") == Names{"p", "q", ""});
  CHECK(obs.find("__categories") == nullptr);
}

TEST_CASE("A column of a kind that is not read is left out, and the others stay") {
  const Quiet quiet;
  const File file([](ForeignHdf5& f) {
    f.group("/obs/awkward");
    f.attribute("/obs/awkward", "encoding-type", std::string("awkward-array"));
    f.numbers<float>("/obs/wide", {1, 2, 3, 4, 5, 6}, {3, 2});
    f.strings("/obs/notes", {"one", "two\nlines", ""});
    f.hard_link("/obs", "/obs/loop");
    f.attribute("/obs", "column-order", Names{"awkward", "batch", "cell_id", "wide", "notes", "loop", "batch"});
  });
  CHECK(file.open()->sample_annotations().names == Names{"cell_id", "batch"});
  file.edit([](ForeignHdf5& f) { f.attribute("/obs", "column-order", std::vector<double>{}); });  // as h5py does
  CHECK(file.open()->sample_annotations().names == Names{"cell_id"});
}

TEST_CASE("Names come from the index, wherever it is, or from a column that is asked for") {
  const File file;
  CHECK(file.open()->sample_annotations().names == Names{"cell_id", "batch"});
  MatrixSpec spec = file.spec();
  spec.sample_names = "batch";
  const auto source = open_matrix(spec);
  CHECK(source->samples() == Names{"b1", "b2", "b1"});
  CHECK(source->sample_annotations().names == Names{"batch", "cell_id"});
  spec.sample_names = "tissue";
  CHECK_THROWS_WITH(open_matrix(spec)->samples(), contains("there is no annotation 'tissue'"));

  const File old([](ForeignHdf5& f) {
    for (const char* group : {"/obs", "/var"}) f.remove_attribute(group, "_index");
    f.strings("/obs/index", {"i1", "i2", "i3"});
    f.strings("/var/_index", {"v1", "v2", "v3", "v4"});
  });
  CHECK(old.open()->samples() == Names{"i1", "i2", "i3"});
  CHECK(old.open()->genes() == Names{"v1", "v2", "v3", "v4"});

  const File nullable([](ForeignHdf5& f) {
    f.remove("/obs/cell_id");
    f.strings("/obs/cell_id/values", {"n1", "n2", "n3"});
    f.booleans("/obs/cell_id/mask", {0, 0, 0});
    f.attribute("/obs/cell_id", "encoding-type", std::string("nullable-string-array"));
  });
  CHECK(nullable.open()->samples() == Names{"n1", "n2", "n3"});
}

TEST_CASE("obs and var are tables, too") {
  const File file;
  cdrzoo::TableSpec spec;
  spec.file = file.path();
  const auto obs = cdrzoo::open_table(spec);
  CHECK(obs->header() == Names{"cell_id", "batch"});
  REQUIRE(obs->next());
  REQUIRE(obs->next());
  CHECK(obs->field(obs->column("batch")) == "b2");
  spec.part = "genes";
  CHECK(cdrzoo::open_table(spec)->header() == Names{"_index"});
}

TEST_CASE("Matrices of several pieces are read whole") {
  constexpr std::int64_t kSamples = 1100, kGenes = 4000;  // 16.8 MiB of float32, twice that of indices
  std::vector<float> values(static_cast<std::size_t>(kSamples * kGenes));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 99991);
  const auto names = [](std::int64_t count) {
    Names out;
    for (std::int64_t i = 0; i < count; ++i) out.push_back("n" + std::to_string(i));
    return out;
  };
  const bool sparse = GENERATE(false, true);
  const File file([&](ForeignHdf5& f) {
    f.strings("/obs/cell_id", names(kSamples));
    f.strings("/var/_index", names(kGenes));
    if (sparse) {
      std::vector<std::int32_t> indices, starts;
      for (std::int32_t s = 0; s <= kSamples; ++s) starts.push_back(s * static_cast<std::int32_t>(kGenes));
      for (std::int32_t i = 0; i < kSamples * kGenes; ++i) indices.push_back(i % static_cast<std::int32_t>(kGenes));
      f.numbers("/X/data", values, {}, {-1, {30011}, false});
      f.numbers("/X/indices", indices);
      f.numbers("/X/indptr", starts);
      f.attribute("/X", "shape", std::vector<std::int64_t>{kSamples, kGenes});
    } else {
      f.numbers("/X", values, {kSamples, kGenes}, {-1, {70, 333}, false});
    }
  });
  std::int64_t wrong = 0;
  file.open()->read([&](std::int64_t line, const float* row) {
    for (std::int64_t g = 0; g < kGenes; ++g) wrong += row[g] != static_cast<float>((line * kGenes + g) % 99991);
  });
  CHECK(wrong == 0);
}

TEST_CASE("A wrong AnnData file is refused with one sentence") {
  const Quiet quiet;
  struct Case {
    std::function<void(ForeignHdf5&)> change;
    const char* sentence;
  };
  const ForeignHdf5::Form chunked{-1, {64, 64}, true};
  const std::vector<Case> cases = {
      {[](auto& f) { f.remove("/obs"); }, "is an HDF5 file but not an AnnData file: it lacks /obs"},
      {[](auto& f) { f.remove("/X"); }, "has no matrix 'X'; it has none"},
      {[](auto& f) {
         f.numbers("/obs", std::vector<float>{1, 2, 3});
       },
       "/obs is a table as AnnData before 0.7"},
      {[](auto& f) { f.remove_attribute("/obs", "_index"); }, "/obs lacks the attribute '_index'"},
      {[](auto& f) { f.remove("/obs/cell_id"); }, "/obs/cell_id is missing"},
      {[](auto& f) {
         f.strings("/obs/cell_id", {"a", "", "c"});
       },
       "/obs/cell_id row 2 is empty; expected a name"},
      {[](auto& f) {
         f.strings("/obs/cell_id", {"a", "b\tb", "c"});
       },
       "/obs/cell_id cannot be used as names: row 2"},
      {[](auto& f) {
         f.numbers("/obs/cell_id", std::vector<float>{1, 2, 3}, {3, 1});
       },
       "it has 2 axes instead of one"},
      {[](auto& f) {
         f.strings("/obs/cell_id", {"a", "b"});
       },
       "/X has shape [3, 4]; expected [2, 4], as long as /obs and /var"},
      {[](auto& f) {
         f.strings("/obs/batch", {"a", "b"});
       },
       "/obs/batch has 2 rows; expected 3"},
      {[](auto& f) { f.remove("/obs/batch"); }, "/obs/batch is missing"},
      {[](auto& f) { f.attribute("/obs", "column-order", std::vector<std::int64_t>{1}); },
       "/obs has an attribute 'column-order' that is not text"},
      {[](auto& f) {
         f.numbers("/X/indptr", std::vector<std::int32_t>{0, 2, 2});
       },
       "/X/indptr has 3 elements; expected 4"},
      {[](auto& f) {
         f.numbers("/X/indptr", std::vector<std::int32_t>{-1, 2, 2, 5});
       },
       "/X/indptr begins with -1; expected 0"},
      {[](auto& f) {
         f.numbers("/X/indptr", std::vector<std::int32_t>{0, -2, 2, 5});
       },
       "/X/indptr element 2 is -2, less than 0 before it"},
      {[](auto& f) {
         f.numbers("/X/indptr", std::vector<std::int32_t>{0, 4, 2, 5});
       },
       "/X/indptr element 3 is 2, less than 4 before it"},
      {[](auto& f) {
         f.numbers("/X/indptr", std::vector<std::int32_t>{0, 2, 2, 4});
       },
       "/X/indptr ends with 4, but there are 5 values"},
      {[](auto& f) {
         f.numbers("/X/indptr", std::vector<std::int64_t>{0, 2, 2, std::int64_t{1} << 62U});
       },
       "/X/indptr ends with 4611686018427387904, but there are 5 values"},
      {[](auto& f) {
         f.numbers("/X/indptr", std::vector<double>{0, 2, 2, 5});
       },
       "/X/indptr does not hold integers"},
      {[](auto& f) {
         f.numbers("/X/indices", std::vector<std::int32_t>{1, 4, 0, 2, 3});
       },
       "/X/indices element 2 is 4; expected 0 to 3"},
      {[](auto& f) {
         f.numbers("/X/indices", std::vector<std::int32_t>{1, -3, 0, 2, 3});
       },
       "/X/indices element 2 is -3; expected 0 to 3"},
      {[](auto& f) {
         f.numbers("/X/indices", std::vector<std::int32_t>{1, 3, 0, 2, 0});
       },
       "/X row 3 (sample 'c3'), column 1 (gene 'TP53') is there twice"},
      {[](auto& f) {
         f.numbers("/X/indices", std::vector<std::int32_t>{1, 3, 0, 2});
       },
       "/X has 5 values, but 4 indices"},
      {[](auto& f) {
         f.numbers("/X/data", std::vector<float>{1, 2, 3, 4, 5}, {5, 1});
       },
       "/X/data has more than one axis"},
      {[](auto& f) {
         f.strings("/X/data", {"1", "2", "3", "4", "5"});
       },
       "/X/data holds text; expected numbers"},
      {[](auto& f) { f.remove("/X/data"); }, "/X/data is missing"},
      {[](auto& f) { f.remove_attribute("/X", "shape"); }, "/X lacks the attribute 'shape'"},
      {[](auto& f) {
         f.attribute("/X", "shape", std::vector<std::int64_t>{4, 3});
       },
       "/X has shape [4, 3]; expected [3, 4]"},
      {[](auto& f) {
         f.attribute("/X", "shape", std::vector<double>{3, 4});
       },
       "'shape' that is not an integer"},
      {[](auto& f) { f.attribute("/X", "encoding-type", std::string("coo_matrix")); },
       "/X is a group with the encoding 'coo_matrix'; expected csr_matrix or csc_matrix"},
      {[](auto& f) {
         f.numbers("/X", std::vector<float>(12), {4, 3});
       },
       "/X has shape [4, 3]; expected [3, 4]"},
      {[](auto& f) { f.numbers("/X", std::vector<float>(12)); }, "/X has shape [12]; expected [3, 4]"},
      {[](auto& f) {
         f.strings("/X", {"1", "2", "3"});
       },
       "/X holds text; expected numbers"},
      {[](auto& f) {
         f.hollow("/X", H5T_NATIVE_B32, {3, 4}, {});
       },
       "/X holds elements of a strange type"},
      {[&](auto& f) {
         f.hollow("/X", H5T_NATIVE_FLOAT, {hsize_t{1} << 40U, hsize_t{1} << 40U}, chunked);
       },
       "/X declares more elements than a file of"},
      {[&](auto& f) {
         f.hollow("/X", H5T_NATIVE_FLOAT, {3000, 4000}, chunked);
       },
       "/X declares 48000000 bytes, but the file holds only 0 compressed ones of it"},
      {[](auto& f) {
         f.hollow("/X", H5T_NATIVE_FLOAT, {3, 4}, {-1, {1U << 15U, 1U << 14U}, false});
       },
       "/X has chunks of more than 1073741824 bytes"},
      {[](auto& f) {
         f.hollow("/X/indptr", H5T_NATIVE_INT64, {hsize_t{1} << 60U}, {-1, {64}, false});
       },
       "/X/indptr declares more elements than a file of"},
      {[](auto& f) { f.hard_link("/", "/X"); }, "/X is a group with the encoding ''"},
      {[](auto& f) { f.soft_link("/X", "/X"); }, "/X is a soft or external link"},
      {[](auto& f) { f.soft_link("/obs/batch", "/obs/batch"); }, "/obs/batch is a soft or external link"},
      {[](auto& f) { f.poke("/obs/batch/codes", 1, 2); }, "/obs/batch/codes row 2 is 2, but there are 2 categories"},
      {[](auto& f) { f.poke("/obs/batch/codes", 2, -2); }, "/obs/batch/codes row 3 is -2, but there are 2 categories"},
      {[](auto& f) {
         f.numbers("/obs/batch/codes", std::vector<double>{0, 0, 0});
       },
       "/obs/batch/codes holds numbers with decimals; expected integers"},
      {[](auto& f) { f.remove("/obs/batch/categories"); }, "/obs/batch/categories is missing"},
      {[](auto& f) { f.hard_link("/obs/batch", "/obs/batch/categories"); },
       "/obs/batch/categories is a group; expected a data set"},
      {[](auto& f) {
         f.numbers("/obs/batch", std::vector<std::int8_t>{0, 0, 0});
         f.attribute("/obs/batch", "categories", std::string("/obs/__categories/batch"));
       },
       "/obs/batch has an attribute 'categories' that is not a reference to an object"},
      {[](auto& f) {
         f.numbers("/obs/batch", std::vector<std::int8_t>{0, 0, 0});
         f.strings("/obs/__categories/batch", {"p"});
         f.reference("/obs/batch", "categories", "/obs/__categories/batch");
         f.remove("/obs/__categories");
       },
       "/obs/batch has an attribute 'categories' that refers to no object of the file"},
  };
  for (const auto& c : cases) {
    const File file(c.change);
    INFO(c.sentence);
    CHECK_THROWS_WITH(file.read(), contains("small.h5ad") && contains(c.sentence));
    CHECK_THROWS_AS(file.read(), cdrzoo::Error);
  }
}

TEST_CASE("Whatever the numbers in an AnnData file become, it is read or refused") {
  const Quiet quiet;
  const File file;
  const auto original = [](const std::string& object, hsize_t position) -> std::int64_t {
    if (object == "/X/indptr") return std::vector<std::int64_t>{0, 2, 2, 5}[position];
    if (object == "/X/indices") return std::vector<std::int64_t>{1, 3, 0, 2, 3}[position];
    return std::vector<std::int64_t>{0, 1, 0}[position];
  };
  const std::vector<std::int64_t> interesting = {-1,
                                                 0,
                                                 1,
                                                 2,
                                                 3,
                                                 4,
                                                 5,
                                                 6,
                                                 127,
                                                 128,
                                                 -128,
                                                 255,
                                                 256,
                                                 65535,
                                                 std::numeric_limits<std::int32_t>::max(),
                                                 std::numeric_limits<std::int32_t>::min(),
                                                 std::numeric_limits<std::int64_t>::max(),
                                                 std::numeric_limits<std::int64_t>::min()};
  std::uint64_t counter = 0;
  const auto below = [&](std::size_t n) { return cdrzoo::splitmix64(3, counter++) % n; };
  int read = 0, refused = 0;
  for (int round = 0; round < 400; ++round) {
    std::vector<std::pair<std::string, hsize_t>> changed;
    const bool shape = below(8) == 0;
    file.edit([&](ForeignHdf5& f) {
      for (std::size_t change = 0; change <= below(3); ++change) {
        const char* objects[] = {"/X/indptr", "/X/indices", "/obs/batch/codes"};
        const hsize_t sizes[] = {4, 5, 3};
        const std::size_t which = below(3);
        changed.emplace_back(objects[which], below(sizes[which]));
        f.poke(changed.back().first, changed.back().second, interesting[below(interesting.size())]);
      }
      if (shape) {
        f.attribute("/X", "shape",
                    std::vector<std::int64_t>{interesting[below(interesting.size())], interesting[below(6)]});
      }
    });
    try {
      file.read();
      ++read;
    } catch (const cdrzoo::DataError&) {
      ++refused;
    }
    file.edit([&](ForeignHdf5& f) {
      for (const auto& [object, position] : changed) f.poke(object, position, original(object, position));
      f.attribute("/X", "shape", std::vector<std::int64_t>{3, 4});
    });
  }
  CHECK(read > 10);
  CHECK(refused > 100);
  CHECK(rows_of(*file.open()) == kX);
}

TEST_CASE("A damaged AnnData file is read or refused in a child, whatever the HDF5 library does to itself") {
  const Quiet quiet;
  const File file;
  std::string bytes;
  {
    std::ifstream in(file.path(), std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  std::uint64_t counter = 0;
  const auto below = [&](std::size_t n) { return cdrzoo::splitmix64(5, counter++) % n; };
  const cdrzoo::ChildTask task{"reading it", "it crashes the library", 300, true, 1};
  int refused = 0;
  for (int round = 0; round < 200; ++round) {
    std::string damaged = bytes;
    for (std::size_t change = 0; change <= below(8); ++change)
      damaged[below(damaged.size())] = static_cast<char>(below(256));
    std::ofstream(file.path(), std::ios::binary) << damaged;
    try {
      cdrzoo::run_in_child(task, [&] {
        file.read();
        return std::string();
      });
    } catch (const cdrzoo::DataError&) {
      ++refused;
    } catch (const cdrzoo::UsageError&) {  // X is gone
      ++refused;
    }
  }
  CHECK(refused > 20);
}

TEST_CASE("The AnnData files of other programs give the values that h5py gives") {
  const auto devel = shared_data("perturb/devel.h5ad");
  if (!devel) {
    WARN("skipped: ../shared/data is absent");
    return;
  }
  MatrixSpec spec;
  spec.file = *devel;
  check_totals(spec, {5961, 500, 406134.543567181, 966673.583303713, 1781875281.3938, 97776099.4560064});
  check_annotations(spec,
                    {{"ncounts"}, 112689664291, "624a96fc91f2a29f0e3aa35e4e212ee28a4033523901c181097c93912db2b5a4"},
                    {{"means", "dispersions", "dispersions_norm"},
                     676634.9003796,
                     "5af744bbf6dd8e872b386636ea738521be370608ea2f3b1b29d9a27127a138ec"});
  spec.file = *shared_data("perturb/glioblastoma_panobinostat.h5ad");
  check_totals(spec, {5000, 300, 2139653.49645076, 8334576.69655328, 5313157891.68548, 232240249.981068});
  check_annotations(
      spec,
      {{"age", "size_factor"}, 815434204.358325, "da7b466c8e93fb7325fd78a2ec660009668608c12545665e015b36a8aa1a8162"},
      {{}, 0, "0692f8c0b3d4bcf112a352ad1d5bb01da740fb98d854b19ffe4b2630ffc7bbc8"});
  const auto source = open_matrix(spec);
  const auto rows = read_lines(*source).values;
  CHECK(rows[4999][299] == 0.4435926675796509F);
  CHECK(rows[1813][2] == 21.65441131591797F);
  spec.layer = "layers/counts";
  check_totals(spec, {5000, 300, 5981290, 287722796, 12586073406, 554290893});
}
