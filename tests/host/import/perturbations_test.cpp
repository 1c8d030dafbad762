// SPDX-License-Identifier: Apache-2.0
#include "import/perturbations.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/error.hpp"
#include "base/random.hpp"
#include "data/content_hash.hpp"
#include "data/dataset.hpp"
#include "support/catch.hpp"
#include "support/memory_matrix.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::MemoryMatrix;
using cdrzoo::test::TemporaryFolder;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
using Texts = std::vector<std::string>;

/// A line of the made experiment: cell, line, what was applied, dose in uM, and three genes.
struct Well {
  const char* name;
  const char* line;
  const char* what;
  const char* dose;
  std::vector<float> x;
};

/// Two lines; A in both, B and A+B in L1 only. Means and differences are known by hand.
std::vector<Well> experiment() {
  return {
      {"w1", "L1", "DMSO", "-666", {1, 10, 0}}, {"w2", "L1", "DMSO", "-666", {3, 10, 0}},
      {"w3", "L1", "A", "10", {2, 14, 1}},      {"w4", "L1", "A", "10", {4, 16, 1}},
      {"w5", "L1", "A", "0.1", {2, 10, 0.5F}},  {"w6", "L1", "B", "10", {2, 9, 3}},
      {"w7", "L1", "A+B", "10", {8, 10, 2}},    {"w8", "L1", "B+A", "10", {10, 10, 4}},
      {"v1", "L2", "DMSO", "-666", {0, 0, 0}},  {"v2", "L2", "A", "10", {0, 0, 7}},
  };
}

MemoryMatrix matrix(const std::vector<Well>& wells, MatrixSource::Lines lines = MatrixSource::Lines::samples) {
  TextColumns about;
  about.names = {"well", "line", "what", "dose"};
  about.values.resize(4);
  std::vector<std::vector<float>> values;
  for (const auto& w : wells) {
    about.values[0].emplace_back(w.name);
    about.values[1].emplace_back(w.line);
    about.values[2].emplace_back(w.what);
    about.values[3].emplace_back(w.dose);
    values.push_back(w.x);
  }
  return {about, {"G1", "G2", "G3"}, values, lines};
}

/// Which wells are of one line.
std::vector<bool> wells_of(const std::vector<Well>& wells, const std::string& line) {
  std::vector<bool> counts;
  for (const auto& w : wells) counts.push_back(w.line == line);
  return counts;
}

PerturbationRule rule() {
  PerturbationRule r;
  r.context = {"line"};
  r.perturbation = "what";
  r.controls = {"DMSO"};
  r.combination = "+";
  r.dose = "dose";
  r.dose_unit = "uM";
  r.constant_time = 24.0;
  r.time_unit = "h";
  r.deg_genes = 2;
  return r;
}

DatasetContent empty_content(const Texts& genes = {"G1", "G2", "G3"}) {
  DatasetContent c;
  c.name = "made";
  c.genes = genes;
  c.domains.name = {"screen"};
  c.domains.expression_unit = {"log2"};
  c.domains.caveat = {""};
  return c;
}

struct Built {
  DatasetContent content;
  Texts steps;
  [[nodiscard]] std::vector<float> profile(std::size_t row) const {
    std::vector<float> values(content.genes.size());
    content.profiles().copy_row(static_cast<std::int64_t>(row), values.data());
    return values;
  }
  [[nodiscard]] std::vector<float> sample(std::size_t row) const {
    const auto begin = content.expression.begin() + static_cast<std::ptrdiff_t>(row * content.genes.size());
    return {begin, begin + static_cast<std::ptrdiff_t>(content.genes.size())};
  }
  [[nodiscard]] std::vector<std::int32_t> list(std::size_t condition) const {
    const auto begin = content.deg.begin() + static_cast<std::ptrdiff_t>(condition) * content.deg_genes;
    return {begin, begin + content.deg_genes};
  }
  [[nodiscard]] bool said(const std::string& sentence) const {
    return std::find(steps.begin(), steps.end(), sentence) != steps.end();
  }
};

Built build(MatrixSource& source, const PerturbationRule& r, GeneSelection genes = {{0, 1, 2}},
            DatasetContent content = empty_content()) {
  Built out;
  out.content = std::move(content);
  add_perturbations(source, source.sample_annotations(), r, genes, 0, out.content, &out.steps);
  return out;
}

Built build(const std::vector<Well>& wells, const PerturbationRule& r = rule()) {
  MemoryMatrix source = matrix(wells);
  return build(source, r);
}

std::string file_hash(const DatasetContent& content) {
  const TemporaryFolder folder;
  write_dataset(content, folder / "x.h5");
  return Dataset::open(folder / "x.h5").file_hash();
}

}  // namespace

TEST_CASE("Profiles are the means of their conditions, controls the means of their contexts") {
  const Built b = build(experiment());
  CHECK(b.content.sample_id == Texts{"L1", "L2"});
  CHECK(b.sample(0) == std::vector<float>{2, 10, 0});
  CHECK(b.sample(1) == std::vector<float>{0, 0, 0});
  CHECK(b.content.drug_id == Texts{"A", "B"});
  // L1: A at 0.1 and 10 uM, A+B, B; L2: A.
  REQUIRE(b.content.perturbations.size() == 5);
  CHECK(b.profile(0) == std::vector<float>{2, 10, 0.5F});
  CHECK(b.profile(1) == std::vector<float>{3, 15, 1});
  CHECK(b.profile(2) == std::vector<float>{9, 10, 3});
  CHECK(b.profile(3) == std::vector<float>{2, 9, 3});
  CHECK(b.profile(4) == std::vector<float>{0, 0, 7});
  const auto& rows = b.content.perturbations;
  CHECK(rows[0].dose_log10_molar == -7.0F);
  CHECK(rows[1].dose_log10_molar == -5.0F);
  CHECK(rows[1].time_h == 24.0F);
  CHECK(rows[1].replicates == 2);
  CHECK(rows[1].drug_b == -1);
  // A+B and B+A are one condition.
  CHECK(rows[2].drug == 0);
  CHECK(rows[2].drug_b == 1);
  CHECK(rows[2].replicates == 2);
  CHECK(rows[4].control == 1);
  CHECK(b.content.perturbation_contexts == Texts{"L1", "L2"});
  CHECK(rows[4].context == 1);
}

TEST_CASE("DEG lists hold the genes of the largest difference of means, the first column first among equals") {
  const Built b = build(experiment());
  CHECK(b.content.deg_genes == 2);
  CHECK(b.list(0) == std::vector<std::int32_t>{2, 0});  // 0, 0, 0.5
  CHECK(b.list(1) == std::vector<std::int32_t>{1, 0});  // 1, 5, 1
  CHECK(b.list(2) == std::vector<std::int32_t>{0, 2});  // 7, 0, 3
  CHECK(b.list(3) == std::vector<std::int32_t>{2, 1});  // 0, 1, 3
}

TEST_CASE("With Welch's t a small sure difference comes before a large unsure one") {
  std::vector<Well> wells = {
      {"c1", "L", "DMSO", "", {0, 0, 5}},    {"c2", "L", "DMSO", "", {0.2F, 8, 5}},
      {"c3", "L", "DMSO", "", {0.1F, 4, 5}}, {"t1", "L", "A", "", {1, 14, 5.5F}},
      {"t2", "L", "A", "", {1.2F, 6, 5.5F}}, {"t3", "L", "A", "", {1.1F, 10, 5.5F}},
      {"s1", "L", "B", "", {1, 14, 5.5F}},
  };
  PerturbationRule r = rule();
  r.deg_genes = 3;
  CHECK(build(wells, r).list(0) == std::vector<std::int32_t>{1, 0, 2});
  r.deg_rule = PerturbationRule::DegRule::welch_t;
  const Built b = build(wells, r);
  // |t| = 12.2 for G1, 1.8 for G2; G3 differs without any variance, which is surest of all.
  CHECK(b.list(0) == std::vector<std::int32_t>{2, 0, 1});
  // One replicate has no variance: no list.
  CHECK(b.list(1) == std::vector<std::int32_t>{-1, -1, -1});
  CHECK(b.said("screen: 1 condition has no DEG list: too few replicates or no value"));
}

TEST_CASE("Rounding of equal values is no variance") {
  std::vector<Well> wells;
  for (int i = 0; i < 1000; ++i) wells.push_back({"c", "L", "DMSO", "", {0.1F, 0.1F * static_cast<float>(i % 2), 0}});
  for (int i = 0; i < 1000; ++i)
    wells.push_back({"t", "L", "A", "", {0.1F, 0.3F + 0.1F * static_cast<float>(i % 2), 0}});
  PerturbationRule r = rule();
  r.deg_rule = PerturbationRule::DegRule::welch_t;
  r.deg_genes = 1;
  CHECK(build(wells, r).list(0) == std::vector<std::int32_t>{1});
}

TEST_CASE("The order of the samples does not matter") {
  PerturbationRule r = rule();
  const auto level = GENERATE(PerturbationRule::Level::condition, PerturbationRule::Level::cell);
  const auto pairing = GENERATE(PerturbationRule::Control::mean, PerturbationRule::Control::random);
  if (level == PerturbationRule::Level::condition && pairing == PerturbationRule::Control::random) return;
  r.level = level;
  r.pairing = pairing;
  const std::string expected = file_hash(build(experiment(), r).content);
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    std::vector<Well> shuffled;
    const std::vector<Well> wells = experiment();
    for (const auto i : random_permutation(wells.size(), seed)) shuffled.push_back(wells[static_cast<std::size_t>(i)]);
    CHECK(file_hash(build(shuffled, r).content) == expected);
  }
}

TEST_CASE("It does not matter whether the file is stored by samples or by genes") {
  PerturbationRule r = rule();
  r.level = GENERATE(PerturbationRule::Level::condition, PerturbationRule::Level::cell);
  r.deg_rule = GENERATE(PerturbationRule::DegRule::mean_difference, PerturbationRule::DegRule::welch_t);
  MemoryMatrix by_samples = matrix(experiment());
  MemoryMatrix by_genes = matrix(experiment(), MatrixSource::Lines::genes);
  CHECK(file_hash(build(by_samples, r).content) == file_hash(build(by_genes, r).content));
}

TEST_CASE("Genes are taken in the order of the data set, and those that the file lacks get the stated value") {
  for (const auto lines : {MatrixSource::Lines::samples, MatrixSource::Lines::genes}) {
    MemoryMatrix source = matrix(experiment(), lines);
    PerturbationRule r = rule();
    r.deg_genes = 3;
    const Built b = build(source, r, {{2, -1, 0}, -1.0F}, empty_content({"G3", "NEW", "G1"}));
    CHECK(b.sample(0) == std::vector<float>{0, -1, 2});
    CHECK(b.profile(2) == std::vector<float>{3, -1, 9});
    CHECK(b.list(2) == std::vector<std::int32_t>{2, 0, -1});  // a gene that nobody measured does not differ
  }
}

TEST_CASE("The matrix is read once") {
  MemoryMatrix source = matrix(experiment());
  static_cast<void>(build(source, rule()));
  CHECK(source.reads() == 1);
}

TEST_CASE("Missing values are left out of the means") {
  std::vector<Well> wells = experiment();
  wells[0].x[0] = kNan;
  wells[8].x = {kNan, 0, 0};
  const Built b = build(wells);
  CHECK(b.sample(0) == std::vector<float>{3, 10, 0});
  CHECK(std::isnan(b.sample(1)[0]));
  CHECK(b.list(4) == std::vector<std::int32_t>{2, 1});  // G1 has no control to compare with
  CHECK(b.said("screen: 2 missing values are left out of the means"));
}

TEST_CASE("Each treated cell is a profile of its own where the recipe says so") {
  PerturbationRule r = rule();
  r.level = PerturbationRule::Level::cell;
  const Built b = build(experiment(), r);
  REQUIRE(b.content.perturbations.size() == 7);
  CHECK(b.profile(1) == std::vector<float>{2, 14, 1});
  CHECK(b.profile(2) == std::vector<float>{4, 16, 1});
  CHECK(b.content.perturbations[1].replicates == 1);
  CHECK(b.content.sample_id == Texts{"L1", "L2"});
  // The lists are those of the conditions.
  CHECK(b.content.deg == build(experiment()).content.deg);
  const TemporaryFolder folder;
  write_dataset(b.content, folder / "x.h5");
  CHECK(Dataset::open(folder / "x.h5").perturbations->conditions == 5);
}

namespace {

/// Single cells of six genes, of which about one value in five is not 0.
std::vector<Well> sparse_cells() {
  std::vector<Well> wells;
  for (std::size_t i = 0; i < 60; ++i) {
    std::vector<float> x(6, 0.0F);
    for (std::size_t g = 0; g < 6; ++g) {
      const std::uint64_t draw = splitmix64(7, i * 6 + g);
      if (draw % 5 == 0) x[g] = static_cast<float>(draw % 1000) / 64.0F + 0.5F;
    }
    if (i == 17) x[3] = -0.0F;
    wells.push_back({i % 3 == 0 ? "c" : "t", i % 2 == 0 ? "L1" : "L2", i % 3 == 0 ? "DMSO" : "A", "", x});
  }
  return wells;
}

MemoryMatrix six_genes(const std::vector<Well>& wells, MatrixSource::Lines lines = MatrixSource::Lines::samples) {
  TextColumns about;
  about.names = {"well", "line", "what", "dose"};
  about.values.resize(4);
  std::vector<std::vector<float>> values;
  for (std::size_t i = 0; i < wells.size(); ++i) {
    about.values[0].push_back(wells[i].name + std::to_string(i));
    about.values[1].emplace_back(wells[i].line);
    about.values[2].emplace_back(wells[i].what);
    about.values[3].emplace_back(wells[i].dose);
    values.push_back(wells[i].x);
  }
  return {about, {"a", "b", "c", "d", "e", "f"}, values, lines};
}

const Texts kSixGenes = {"f", "NEW", "a", "c", "e", "b"};  // not in the order of the file, one that it lacks

Built build_cells(const std::vector<Well>& wells, ProfileStorage storage, float absent = 0.0F,
                  MatrixSource::Lines lines = MatrixSource::Lines::samples,
                  DatasetContent content = empty_content(kSixGenes)) {
  MemoryMatrix source = six_genes(wells, lines);
  PerturbationRule r = rule();
  r.level = PerturbationRule::Level::cell;
  r.storage = storage;
  Built out = build(source, r, {{5, -1, 0, 2, 4, 1}, absent}, std::move(content));
  CHECK(source.reads() == (out.content.sparse_profile || storage == ProfileStorage::automatic ? 2 : 1));
  return out;
}

std::string hash_of_content(const DatasetContent& content) {
  const TemporaryFolder folder;
  write_dataset(content, folder / "x.h5");
  return content_hash(Dataset::open(folder / "x.h5"));
}

}  // namespace

TEST_CASE("Cells that are mostly 0 stay sparse, with the values that dense storage has") {
  const auto lines = GENERATE(MatrixSource::Lines::samples, MatrixSource::Lines::genes);
  const Built dense = build_cells(sparse_cells(), ProfileStorage::dense, 0.0F, lines);
  const Built sparse = build_cells(sparse_cells(), ProfileStorage::automatic, 0.0F, lines);
  CHECK_FALSE(dense.content.sparse_profile);
  REQUIRE(sparse.content.sparse_profile);
  CHECK(sparse.content.perturbation_profile.empty());
  CHECK(sparse.content.expression == dense.content.expression);
  CHECK(sparse.content.deg == dense.content.deg);
  REQUIRE(sparse.content.perturbations.size() == 40);
  for (std::size_t i = 0; i < 40; ++i) CHECK(sparse.profile(i) == dense.profile(i));
  CHECK(hash_of_content(sparse.content) == hash_of_content(dense.content));
  CHECK(std::count_if(sparse.steps.begin(), sparse.steps.end(),
                      [](const std::string& s) { return s.find("screen: profiles are stored sparse: ") == 0; }) == 1);
}

TEST_CASE("Cells are stored dense where more than a third of their values is not 0, or one is missing") {
  std::vector<Well> wells = sparse_cells();
  SECTION("too many values") {
    for (std::size_t i = 0; i < wells.size(); ++i) wells[i].x[0] = wells[i].x[1] = 1.0F;
  }
  SECTION("a missing value") { wells[1].x[0] = kNan; }
  const Built b = build_cells(wells, ProfileStorage::automatic);
  CHECK_FALSE(b.content.sparse_profile);
  const Built dense = build_cells(wells, ProfileStorage::dense);
  CHECK(hash_of_content(b.content) == hash_of_content(dense.content));
}

TEST_CASE("Storage follows the recipe where it says so") {
  std::vector<Well> wells = sparse_cells();
  for (auto& well : wells) well.x.assign(6, 1.0F);
  const Built b = build_cells(wells, ProfileStorage::sparse, 2.0F);
  REQUIRE(b.content.sparse_profile);
  CHECK(b.profile(3) == std::vector<float>{1, 2, 1, 1, 1, 1});  // the gene that the file lacks is 2
  CHECK(b.content.sparse_profile->value.size() == 40 * 6);
  wells[1].x[0] = kNan;
  CHECK_THROWS_WITH(build_cells(wells, ProfileStorage::sparse),
                    contains("domain screen: storage = \"sparse\", but 1 value of the profiles of made.csv is missing; "
                             "such profiles are stored dense"));
  PerturbationRule r = rule();
  r.storage = ProfileStorage::sparse;
  CHECK_THROWS_WITH(build(experiment(), r), contains("sparse profiles (storage = \"sparse\") need profiles of single "
                                                     "cells (level = \"cell\")"));
}

TEST_CASE("One data set stores the profiles of all its domains alike") {
  const std::vector<Well> cells = sparse_cells();
  std::vector<Well> full = cells;
  for (auto& well : full) well.x.assign(6, 1.0F);
  // The second domain has the same names; contexts and samples are named apart.
  const auto both = [](const std::vector<Well>& first, const std::vector<Well>& second, ProfileStorage storage) {
    DatasetContent content = build_cells(first, ProfileStorage::automatic).content;
    return build_cells(second, storage, 0.0F, MatrixSource::Lines::samples, std::move(content));
  };
  const Built sparse = both(cells, cells, ProfileStorage::automatic);
  REQUIRE(sparse.content.sparse_profile);
  CHECK(sparse.content.sparse_profile->rows() == 80);
  for (std::size_t i = 0; i < 40; ++i) CHECK(sparse.profile(i) == sparse.profile(i + 40));
  const Built later = both(cells, full, ProfileStorage::automatic);
  CHECK_FALSE(later.content.sparse_profile);
  CHECK(later.said("screen: profiles are stored dense, those of other domains too"));
  for (std::size_t i = 0; i < 40; ++i) CHECK(later.profile(i) == sparse.profile(i));
  CHECK(later.profile(40) == std::vector<float>{1, 0, 1, 1, 1, 1});
}

TEST_CASE("A random control is of the same context, and the same for the same seed") {
  std::vector<Well> wells;
  std::vector<std::string> names;
  for (int i = 0; i < 200; ++i) names.push_back("cell" + std::to_string(i));
  for (int i = 0; i < 200; ++i) {
    const auto value = static_cast<float>(i);
    wells.push_back({names[static_cast<std::size_t>(i)].c_str(),
                     i % 2 == 0 ? "L1" : "L2",
                     i < 100 ? "DMSO" : "A",
                     "",
                     {value, value, value}});
  }
  PerturbationRule r = rule();
  r.level = PerturbationRule::Level::cell;
  r.pairing = PerturbationRule::Control::random;
  const Built b = build(wells, r);
  CHECK(b.content.sample_id.size() == 100);  // every control cell is a sample
  std::set<std::int32_t> used;
  const auto& rows = b.content.perturbations;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int32_t control = rows[i].control;
    used.insert(control);
    // Even cells are of L1: the values tell the cells apart.
    CHECK(static_cast<int>(b.sample(static_cast<std::size_t>(control))[0]) % 2 ==
          static_cast<int>(b.profile(i)[0]) % 2);
    CHECK(b.content.sample_group[static_cast<std::size_t>(control)] == (rows[i].context == 0 ? "L1" : "L2"));
  }
  CHECK(used.size() == 100);  // as many treated cells as controls in each line: every control serves once
  CHECK(file_hash(build(wells, r).content) == file_hash(b.content));
  r.seed = 1;
  CHECK(file_hash(build(wells, r).content) != file_hash(b.content));
}

TEST_CASE("Random controls are drawn without repetition for each condition, and all of a context are known as such") {
  std::vector<Well> wells;
  std::vector<std::string> names;
  for (int i = 0; i < 60; ++i) names.push_back("cell" + std::to_string(i));
  for (int i = 0; i < 60; ++i) {  // 20 controls, 10 cells under A, 30 under B
    wells.push_back({names[static_cast<std::size_t>(i)].c_str(),
                     "L1",
                     i < 20   ? "DMSO"
                     : i < 30 ? "A"
                              : "B",
                     "",
                     {static_cast<float>(i), 0, 0}});
  }
  PerturbationRule r = rule();
  r.level = PerturbationRule::Level::cell;
  r.pairing = PerturbationRule::Control::random;
  const Built b = build(wells, r);
  std::map<std::int32_t, std::map<std::int32_t, int>> times;  // drug, control
  for (const auto& row : b.content.perturbations) ++times[row.drug][row.control];
  REQUIRE(times.size() == 2);
  CHECK(times[0].size() == 10);
  CHECK(times[1].size() == 20);
  for (const auto& [control, n] : times[1]) CHECK((n == 1 || n == 2));
  wells.resize(30);  // without B, only half of the controls are pointed at
  const TemporaryFolder folder;
  write_dataset(build(wells, r).content, folder / "x.h5");
  CHECK(Dataset::open(folder / "x.h5").perturbations->controls.at(0).size() == 20);
  // The order of the file does not matter.
  const auto expected = file_hash(build(wells, r).content);
  std::reverse(wells.begin(), wells.end());
  CHECK(file_hash(build(wells, r).content) == expected);
}

TEST_CASE("What is dropped is counted") {
  std::vector<Well> wells = experiment();
  wells.push_back({"x1", "L3", "A", "10", {1, 1, 1}});
  wells.push_back({"x2", "L3", "B", "10", {1, 1, 1}});
  wells.push_back({"x3", "L1", "A+B+C", "10", {1, 1, 1}});
  wells.push_back({"x4", "L1", "A+A", "10", {1, 1, 1}});
  wells.push_back({"x5", "", "A", "10", {1, 1, 1}});
  wells.push_back({"x6", "L1", "", "10", {1, 1, 1}});
  const Built b = build(wells);
  CHECK(b.content.perturbations.size() == 5);
  CHECK(b.said("screen: dropped 2 samples of 1 context without a control: L3 2"));
  CHECK(b.said("screen: dropped 1 sample whose perturbation is not one or two names: A+B+C 1"));
  CHECK(b.said("screen: dropped 1 sample with the same perturbation twice: A+A 1"));
  CHECK(b.said("screen: dropped 1 sample whose context is not known"));
  CHECK(b.said("screen: dropped 1 sample without a perturbation"));
  CHECK(
      b.said("screen: 3 controls and 7 treated samples of made.csv: 5 conditions (4 single, 1 double) in 2 contexts"));
  CHECK(b.said("screen: controls per context: L1 2, L2 1"));

  PerturbationRule r = rule();
  r.min_replicates = 2;
  r.counts = wells_of(wells, "L1");
  const Built fewer = build(wells, r);
  CHECK(fewer.content.perturbations.size() == 2);
  CHECK(fewer.said("screen: dropped 2 conditions (2 samples) with fewer than 2 replicates"));
}

TEST_CASE("A combination with a control is a single perturbation") {
  std::vector<Well> wells = experiment();
  wells[2].what = "A+DMSO";
  wells[3].what = "DMSO+A";
  wells[0].what = "DMSO+DMSO";
  CHECK(file_hash(build(wells).content) == file_hash(build(experiment()).content));
}

TEST_CASE("A plus in a name is a plus where the recipe names no separator") {
  PerturbationRule r = rule();
  r.combination = "";
  CHECK(build(experiment(), r).content.drug_id == Texts{"A", "A+B", "B", "B+A"});
}

TEST_CASE("Controls may be told by another column") {
  MemoryMatrix source = matrix(experiment());
  TextColumns about = source.sample_annotations();
  about.names.emplace_back("type");
  about.values.emplace_back();
  for (auto& what : about.values[2]) about.values.back().push_back(what == "DMSO" ? "ctl_vehicle" : "trt_cp");
  PerturbationRule r = rule();
  r.control_column = "type";
  r.controls = {"ctl_vehicle"};
  DatasetContent content = empty_content();
  Texts steps;
  add_perturbations(source, about, r, {{0, 1, 2}}, 0, content, &steps);
  CHECK(file_hash(content) == file_hash(build(experiment()).content));
}

TEST_CASE("Names go through the drug table") {
  PerturbationRule r = rule();
  r.drug_of = [](const std::string& name) { return name == "A" ? "PC2" : name == "B" ? "PC1" : name; };
  DatasetContent content = empty_content();
  content.drug_id = {"PC2"};
  content.drug_name = {"known"};
  content.drug_smiles = {"CCO"};
  content.drug_group = {"CCO"};
  content.drug_scaffold = {""};
  MemoryMatrix source = matrix(experiment());
  const Built b = build(source, r, {{0, 1, 2}}, content);
  CHECK(b.content.drug_id == Texts{"PC2", "PC1"});
  CHECK(b.content.drug_name == Texts{"known", "B"});
  CHECK(b.content.drug_group == Texts{"CCO", "id:PC1"});
  CHECK(b.said("screen: 1 perturbation added as drugs without a structure"));
}

TEST_CASE("Two domains may have contexts of the same name") {
  DatasetContent content = empty_content();
  content.domains = {{"lines", "screen", "again"}, {"log2", "log2", "log2"}, {"", "", ""}};
  content.sample_id = {"L1"};
  content.sample_group = {"L1"};
  content.sample_domain = {0};
  content.sample_tissue = {-1};
  content.expression = {5, 5, 5};
  Texts steps;
  MemoryMatrix source = matrix(experiment());
  add_perturbations(source, source.sample_annotations(), rule(), {{0, 1, 2}}, 1, content, &steps);
  CHECK(content.sample_id == Texts{"L1", "L1:control", "L2"});
  CHECK(content.sample_group == Texts{"L1", "L1", "L2"});  // one line for every split
  PerturbationRule r = rule();
  r.counts = wells_of(experiment(), "L2");
  add_perturbations(source, source.sample_annotations(), r, {{0, 1, 2}}, 2, content, &steps);
  CHECK(content.sample_id.back() == "L2:control");
  CHECK(content.perturbation_contexts == Texts{"L1", "L2", "again:L2"});
  const TemporaryFolder folder;
  write_dataset(content, folder / "x.h5");
  CHECK(Dataset::open(folder / "x.h5").perturbations->conditions == 6);
}

TEST_CASE("All DEG lists of a data set are made in one way") {
  MemoryMatrix source = matrix(experiment());
  PerturbationRule r = rule();
  r.counts = wells_of(experiment(), "L1");
  DatasetContent content = build(source, r).content;
  r.counts = wells_of(experiment(), "L2");
  SECTION("the same length") { r.deg_genes = 1; }
  SECTION("the same rule") { r.deg_rule = PerturbationRule::DegRule::welch_t; }
  SECTION("none or all") { r.deg_genes = 0; }
  CHECK_THROWS_WITH(build(source, r, {{0, 1, 2}}, content),
                    contains("domain screen: its DEG lists (deg_genes, deg_rule) differ from those of another domain"));
}

TEST_CASE("What does not fit is one sentence with its place") {
  std::vector<Well> wells = experiment();
  PerturbationRule r = rule();
  std::string expected;
  SECTION("a column that is not there") {
    r.context = {"cell_line"};
    expected =
        "domain screen: the samples of made.csv have no column 'cell_line' (context); they have: well, line, what, "
        "dose";
  }
  SECTION("a dose that is no number") {
    wells[2].dose = "10 uM";
    expected = "made.csv row 3: column 'dose': expected a number, found '10 uM'";
  }
  SECTION("a dose of nothing") {
    wells[2].dose = "0";
    expected = "made.csv row 3: column 'dose': the dose of a treated sample is 0; expected a positive number";
  }
  SECTION("an unknown unit") {
    r.dose_unit = "ug/ml";
    expected = "unknown unit 'ug/ml' of doses; known: nM, uM, mM, M";
  }
  SECTION("no control at all") {
    r.controls = {"water"};
    expected =
        "domain screen: no sample of made.csv is left that is treated and has a control (contexts without a control: "
        "L1 8, L2 2)";
  }
  SECTION("no condition of enough samples") {
    r.min_replicates = 50;
    expected = "is left that is treated and has a control; 5 conditions have fewer than min_replicates = 50 samples";
  }
  SECTION("two contexts of one name") {
    r.context = {"line", "what"};
    wells[0].line = "L1/x";
    wells[0].what = "DMSO";
    wells[1].line = "L1";
    wells[1].what = "x/DMSO";
    expected = "domain screen: two contexts have the name 'L1/x/DMSO', because their columns hold a \"/\"";
  }
  SECTION("a field of a table of its own") {
    r.annotations_file = "wells.csv";
    wells[2].dose = "10 uM";
    expected = "wells.csv, sample 'w3': column 'dose': expected a number, found '10 uM'";
  }
  SECTION("random controls of pseudobulks") {
    r.pairing = PerturbationRule::Control::random;
    expected = "a random control per profile needs profiles of single cells";
  }
  SECTION("cells of the same name as controls") {
    r.level = PerturbationRule::Level::cell;
    r.pairing = PerturbationRule::Control::random;
    wells[1].name = "w1";
    expected = "made.csv row 2: the name 'w1' is not unique";
  }
  SECTION("two tissues of one context") {
    r.tissue = "what";
    expected = "made.csv row 3: column 'what': context L1 has 'A' here and 'DMSO' before; a context needs one tissue";
  }
  SECTION("an infinite value") {
    wells[3].x[1] = std::numeric_limits<float>::infinity();
    expected = "made.csv row 4: gene G2 is infinite";
  }
  CHECK_THROWS_WITH(build(wells, r), contains(expected));
}
