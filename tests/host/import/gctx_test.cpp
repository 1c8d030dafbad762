// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <limits>

#include "base/error.hpp"
#include "base/log.hpp"
#include "h5py_totals.hpp"
#include "import/matrix_source.hpp"
#include "read_all.hpp"
#include "support/catch.hpp"
#include "support/foreign_hdf5.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo::test;
using cdrzoo::MatrixSource;
using cdrzoo::MatrixSpec;
using cdrzoo::open_matrix;
using Names = std::vector<std::string>;

namespace {

/// Two samples x three genes.
class File {
 public:
  explicit File(const std::function<void(ForeignHdf5&)>& change = nullptr) {
    ForeignHdf5 f(spec_.file = folder_ / "small.gctx");
    f.attribute("/", "version", Names{"GCTX1.0"}, H5T_STR_NULLTERM);
    f.numbers<float>("/0/DATA/0/matrix", {1, 2, 3, 4, 5, 6}, {2, 3}, {-1, {2, 2}, true});
    f.strings("/0/META/COL/id", {"P1:A01", "P1:A02"}, H5T_STR_NULLPAD);
    f.strings("/0/META/ROW/id", {"200814_at", "5720", "x"}, H5T_STR_NULLTERM);
    if (change != nullptr) change(f);
  }
  [[nodiscard]] const MatrixSpec& spec() const { return spec_; }
  void read() const {
    const auto source = open_matrix(spec_);
    static_cast<void>(source->sample_annotations());
    static_cast<void>(source->gene_annotations());
    static_cast<void>(read_lines(*source));
  }

 private:
  TemporaryFolder folder_;
  MatrixSpec spec_;
};

Names column(const cdrzoo::TextColumns& columns, const std::string& name) {
  const Names* values = columns.find(name);
  return values == nullptr ? Names{"(no such column)"} : *values;
}

}  // namespace

TEST_CASE("The matrix of a GCTX file is stored sample by sample") {
  const File file;
  const auto source = open_matrix(file.spec());
  CHECK(source->lines() == MatrixSource::Lines::samples);
  CHECK(source->samples() == Names{"P1:A01", "P1:A02"});
  CHECK(source->genes() == Names{"200814_at", "5720", "x"});
  CHECK(read_lines(*source).values == std::vector<std::vector<float>>{{1, 2, 3}, {4, 5, 6}});
  CHECK_THAT(source->place_of_sample(1), contains("small.gctx /0/META/COL row 2"));
}

TEST_CASE("Annotations of GCTX files lose their padding and keep -666, numbers become text") {
  const File file([](ForeignHdf5& f) {
    f.numbers<double>("/0/DATA/0/matrix", {0.1, 0.2, 0.3, 0.4, 0.5, 1e-50}, {2, 3});
    f.strings("/0/META/COL/cell_id", {"A375   ", "HT29"}, H5T_STR_SPACEPAD);
    f.strings("/0/META/COL/pert_dose", {"-666", "10.0"});
    f.numbers<double>("/0/META/COL/dose", {-666, 0.1});
    f.numbers<std::int64_t>("/0/META/COL/time", {24, -666});
    f.strings("/0/META/COL/latin", {"10 \xB5M", "-666"}, H5T_STR_NULLPAD);
    f.strings("/0/META/COL/utf", {"10 \xC2\xB5M", "-666"}, H5T_STR_NULLPAD);
    f.numbers<std::int64_t>("/0/META/ROW/id", {5720, 466, 6009});
  });
  const auto source = open_matrix(file.spec());
  const auto& samples = source->sample_annotations();
  CHECK(samples.names == Names{"id", "cell_id", "dose", "latin", "pert_dose", "time", "utf"});
  CHECK(column(samples, "cell_id") == Names{"A375", "HT29"});
  CHECK(column(samples, "pert_dose") == Names{"-666", "10.0"});
  CHECK(column(samples, "dose") == Names{"-666", "0.1"});
  CHECK(column(samples, "time") == Names{"24", "-666"});
  CHECK(column(samples, "latin") == Names{"10 µM", "-666"});
  CHECK(column(samples, "utf") == Names{"10 µM", "-666"});
  CHECK(source->genes() == Names{"5720", "466", "6009"});
  CHECK(read_lines(*source).values[1] == std::vector<float>{0.4F, 0.5F, 0.0F});
  MatrixSpec spec = file.spec();
  spec.sample_names = "cell_id";
  CHECK(open_matrix(spec)->samples() == Names{"A375", "HT29"});
}

TEST_CASE("A wrong GCTX file is refused with one sentence") {
  struct Case {
    std::function<void(ForeignHdf5&)> change;
    const char* sentence;
  };
  const std::vector<Case> cases = {
      {[](auto& f) { f.remove("/0/DATA"); }, "is an HDF5 file but not a GCTX file: it lacks /0/DATA/0/matrix"},
      {[](auto& f) { f.remove("/0/META/ROW/id"); }, "not a GCTX file: it lacks /0/META/ROW/id"},
      {[](auto& f) { f.attribute("/", "version", std::string("GCTX2")); }, "has the version 'GCTX2'; expected GCTX1.0"},
      {[](auto& f) {
         f.numbers("/0/DATA/0/matrix", std::vector<float>(6), {3, 2});
       },
       "/0/DATA/0/matrix has shape [3, 2]; expected [2, 3], as long as /0/META/COL and /0/META/ROW"},
      {[](auto& f) { f.group("/0/DATA/0/matrix"); }, "/0/DATA/0/matrix is a group; expected a data set"},
      {[](auto& f) { f.strings("/0/DATA/0/matrix", {"1"}); }, "/0/DATA/0/matrix holds text; expected numbers"},
      {[](auto& f) {
         f.numbers("/0/DATA/0/matrix", std::vector<double>{1, 2, 3, 4, 5, -std::numeric_limits<double>::infinity()},
                   {2, 3});
       },
       "row 2 (sample 'P1:A02'), column 3 (gene 'x') is infinite or beyond float32"},
      {[](auto& f) {
         f.hollow("/0/DATA/0/matrix", H5T_NATIVE_FLOAT, {1U << 20U, 1U << 20U}, {-1, {64, 64}, true});
       },
       "/0/DATA/0/matrix declares"},
      {[](auto& f) {
         f.strings("/0/META/COL/id", {"P1:A01", ""});
       },
       "/0/META/COL/id row 2 is empty; expected a name"},
      {[](auto& f) {
         f.strings("/0/META/COL/id", {"P1:A01", "a\nb"});
       },
       "/0/META/COL/id cannot be used as names: row 2"},
      {[](auto& f) { f.strings("/0/META/COL/cell_id", {"A375"}); }, "/0/META/COL/cell_id has 1 rows; expected 2"},
      {[](auto& f) { f.soft_link("/0/META", "/0/META/COL/up"); }, "/0/META/COL/up is a soft or external link"},
  };
  for (const auto& c : cases) {
    const File file(c.change);
    INFO(c.sentence);
    CHECK_THROWS_WITH(file.read(), contains("small.gctx") && contains(c.sentence));
    CHECK_THROWS_AS(file.read(), cdrzoo::DataError);
  }
}

TEST_CASE("A group among the annotations is left out, even if it leads back") {
  cdrzoo::log::set_level(cdrzoo::log::Level::error);
  const File file([](ForeignHdf5& f) { f.hard_link("/0", "/0/META/COL/loop"); });
  CHECK(open_matrix(file.spec())->sample_annotations().names == Names{"id"});
  cdrzoo::log::set_level(cdrzoo::log::Level::info);
}

TEST_CASE("The GCTX files of other programs give the values that h5py gives") {
  const auto signatures = shared_data("perturb/modzs_n25x50.gctx");
  if (!signatures) {
    WARN("skipped: ../shared/data is absent");
    return;
  }
  MatrixSpec spec;
  spec.file = *signatures;
  check_totals(spec, {25, 50, -130.549709516898, 1313.58145420798, -1980.68177264626, -5043.71697238393});
  check_annotations(spec,
                    {{"distil_cc_q75", "distil_ss", "pct_self_rank_q25"},
                     3805.54937834106,
                     "2368356d30a5c2403c7e3842a5c92c1e16d59011fbe1943a70de31916d58c1f4"},
                    {{}, 0, "86669aea19e97ca60a19b3f23e836e821222073b5c8b63b1f88f2d723b3a7ed3"});
  const auto source = open_matrix(spec);
  CHECK(read_lines(*source).values[24][49] == -0.7602999210357666F);
  CHECK(column(source->sample_annotations(), "pert_idose")[0] == "10 <b5>M");  // so in the file

  spec.file = *shared_data("perturb/test_l1000_highprecision.gctx");
  check_totals(spec, {377, 978, 326501.774766326, 2197768.65768225, 62089618.5044818, 163289148.782189});
  check_annotations(spec,
                    {{"qc_f_logp", "qc_iqr", "qc_slope"},
                     5333218.46137922,
                     "6c5bc8f3826105938d5fe5e6baee029414099e54347c082371ce9581540c9c2d"},
                    {{}, 0, "1361a8f127f02373c096088f0a92925eea14e3924dc50b6102876ace364d06d3"});
}
