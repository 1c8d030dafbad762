// SPDX-License-Identifier: Apache-2.0
// The public perturbation sets of ../shared/data/perturb; the numbers were computed with h5py and numpy.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <numeric>
#include <set>

#include "data/dataset.hpp"
#include "import/perturbations.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::TemporaryFolder;

namespace {

/// nullptr, with a warning, where the shared data are absent.
std::unique_ptr<MatrixSource> open_shared(const char* file, const char* gene_names = "") {
  MatrixSpec spec;
  spec.file = std::filesystem::path(CDRZOO_SHARED_DIR) / "data/perturb" / file;
  spec.gene_names = gene_names;
  if (!std::filesystem::exists(spec.file)) {
    WARN("skipped: " << spec.file.string() << " is absent");
    return nullptr;
  }
  return open_matrix(spec);
}

struct Opened {
  TemporaryFolder folder;
  std::vector<std::string> steps;
  std::unique_ptr<Dataset> data;

  Opened(MatrixSource& source, const PerturbationRule& rule) {
    DatasetContent c;
    c.name = "shared";
    c.genes = source.genes();
    c.domains = {{"screen"}, {"log"}, {""}};
    GeneSelection genes;
    genes.columns.resize(c.genes.size());
    std::iota(genes.columns.begin(), genes.columns.end(), std::int64_t{0});
    add_perturbations(source, source.sample_annotations(), rule, genes, 0, c, &steps);
    write_dataset(c, folder / "x.h5");
    data = std::make_unique<Dataset>(Dataset::open(folder / "x.h5"));
  }
  [[nodiscard]] const Dataset::Perturbations& p() const { return *data->perturbations; }

  [[nodiscard]] std::string drug(std::int32_t index) const {
    return index < 0 ? "" : data->drugs.id[static_cast<std::size_t>(index)];
  }
  /// First row with this context, perturbation ("A" or "A+B") and dose; -1 if there is none.
  [[nodiscard]] std::int64_t find(const std::string& context, const std::string& what,
                                  float dose = std::nanf("")) const {
    for (std::int64_t i = 0; i < p().size(); ++i) {
      const auto r = static_cast<std::size_t>(i);
      const std::string both = drug(p().drug[r]) + (p().drug_b[r] < 0 ? "" : "+" + drug(p().drug_b[r]));
      const bool same_dose = std::isnan(dose) || std::abs(p().dose_log10_molar[r] - dose) < 1e-6F;
      if (p().contexts[static_cast<std::size_t>(p().context[r])] == context && both == what && same_dose) return i;
    }
    return -1;
  }
  /// Names of the first genes of the row's list.
  [[nodiscard]] std::vector<std::string> top(std::int64_t row, std::size_t count) const {
    std::vector<std::string> names;
    const std::int32_t* list = p().deg.row(p().condition[static_cast<std::size_t>(row)]);
    for (std::size_t j = 0; j < count; ++j) names.push_back(data->genes[static_cast<std::size_t>(list[j])]);
    return names;
  }
  [[nodiscard]] double change(std::int64_t row, const std::string& gene) const {
    const auto g = std::find(data->genes.begin(), data->genes.end(), gene) - data->genes.begin();
    const auto control = p().control[static_cast<std::size_t>(row)];
    std::vector<float> scratch;
    return static_cast<double>(p().profile.row(row, scratch)[g]) -
           static_cast<double>(data->expression().row(control)[g]);
  }
};

PerturbationRule devel_rule() {
  PerturbationRule r;
  r.context = {"cell_type"};
  r.perturbation = "condition";
  r.controls = {"control"};
  r.combination = "+";
  return r;
}

bool said(const Opened& o, const std::string& sentence) {
  return std::find(o.steps.begin(), o.steps.end(), sentence) != o.steps.end();
}

}  // namespace

TEST_CASE("CRISPR screens of four lines: conditions, doubles and single arms") {
  const auto source = open_shared("devel.h5ad");
  if (!source) return;
  const Opened o(*source, devel_rule());
  CHECK(said(o,
             "screen: 400 controls and 5561 treated samples of devel.h5ad: 60 conditions (45 single, 15 double) in 4 "
             "contexts"));
  const auto& p = o.p();
  CHECK(p.size() == 60);
  CHECK(p.contexts == std::vector<std::string>{"A172", "T98G", "U87MG", "k562"});
  std::map<std::string, std::int64_t> cells = {
      {"A172", 100}, {"T98G", 100}, {"U87MG", 100}, {"k562", 100}};  // controls
  std::map<std::string, std::set<std::string>> singles;
  std::set<std::string> doubles;
  std::set<std::string> with_arms;
  for (std::size_t i = 0; i < 60; ++i) {
    const std::string& context = p.contexts[static_cast<std::size_t>(p.context[i])];
    cells[context] += p.replicates[i];
    if (p.drug_b[i] < 0) singles[context].insert(o.drug(p.drug[i]));
  }
  for (std::size_t i = 0; i < 60; ++i) {
    if (p.drug_b[i] < 0) continue;
    CHECK(p.contexts[static_cast<std::size_t>(p.context[i])] == "k562");
    const std::string both = o.drug(p.drug[i]) + "+" + o.drug(p.drug_b[i]);
    doubles.insert(both);
    if (singles["k562"].count(o.drug(p.drug[i])) != 0 && singles["k562"].count(o.drug(p.drug_b[i])) != 0) {
      with_arms.insert(both);
    }
  }
  CHECK(cells == std::map<std::string, std::int64_t>{{"A172", 850}, {"T98G", 871}, {"U87MG", 865}, {"k562", 3375}});
  CHECK(doubles.size() == 15);
  CHECK(doubles.count("KLF1+SET") == 1);  // SET+KLF1 in the file
  CHECK(with_arms ==
        std::set<std::string>{"KLF1+MAP2K6", "KLF1+TGFBR2", "MAP2K3+MAP2K6", "MAP2K3+SLC38A2", "MAPK1+TGFBR2"});
  std::set<std::string> everywhere = singles["k562"];
  for (const char* line : {"A172", "T98G", "U87MG"}) CHECK(singles[line].size() == 9);
  for (const auto& gene : singles["A172"]) {
    CHECK((singles["k562"].count(gene) + singles["T98G"].count(gene) + singles["U87MG"].count(gene)) == 3);
  }
}

TEST_CASE("CRISPR screens of four lines: means and DEG lists") {
  const auto source = open_shared("devel.h5ad");
  if (!source) return;
  const Opened o(*source, devel_rule());
  const std::int64_t twice = o.find("k562", "KLF1+MAP2K6");
  CHECK(o.top(twice, 5) == std::vector<std::string>{"HBZ", "HBG2", "SNX9", "TIMP1", "TOP2A"});
  CHECK(o.change(twice, "HBZ") == Approx(1.416184).epsilon(1e-5));
  CHECK(o.change(twice, "SNX9") == Approx(-0.107332).epsilon(1e-4));
  const std::int64_t once = o.find("A172", "MAP2K6");
  CHECK(o.p().replicates[static_cast<std::size_t>(once)] == 85);
  CHECK(o.top(once, 5) == std::vector<std::string>{"GPM6A", "ADAMTS6", "RND3", "SUCNR1", "COL3A1"});
  CHECK(o.change(once, "ADAMTS6") == Approx(0.400568).epsilon(1e-5));
  double sum = 0.0;
  for (std::int64_t i = 0; i < o.p().size(); ++i) {
    sum = std::accumulate(o.p().profile.dense().row(i), o.p().profile.dense().row(i) + 500, sum);
  }
  CHECK(sum == Approx(4195.319179).epsilon(1e-7));
  const auto x = o.data->expression();
  CHECK(std::accumulate(x.data, x.data + x.rows * x.cols, 0.0) == Approx(423.749370).epsilon(1e-7));
}

TEST_CASE("CRISPR screens of four lines: every cell with a random control of its line") {
  const auto source = open_shared("devel.h5ad");
  if (!source) return;
  PerturbationRule r = devel_rule();
  r.level = PerturbationRule::Level::cell;
  r.pairing = PerturbationRule::Control::random;
  const Opened o(*source, r);
  CHECK(o.p().size() == 5561);
  CHECK(o.p().conditions == 60);
  CHECK(o.data->samples.id.size() == 400);
  for (std::size_t i = 0; i < 5561; ++i) {
    const auto& line = o.p().contexts[static_cast<std::size_t>(o.p().context[i])];
    REQUIRE(o.data->samples.group[static_cast<std::size_t>(o.p().control[i])] == line);
  }
}

TEST_CASE("Glioblastoma slices: panobinostat raises metallothioneins in every patient") {
  const auto source = open_shared("glioblastoma_panobinostat.h5ad", "symbol");
  if (!source) return;
  PerturbationRule r;
  r.context = {"patient_id"};
  r.perturbation = "condition";
  r.controls = {"ctrl"};
  r.constant_dose = 0.2;
  r.dose_unit = "uM";
  const Opened o(*source, r);
  CHECK(o.p().contexts == std::vector<std::string>{"PW030", "PW032", "PW034", "PW036", "PW040"});
  CHECK(o.data->drugs.id == std::vector<std::string>{"panobinostat"});
  REQUIRE(o.p().size() == 5);
  double mt2a = 0.0;
  double mt1x = 0.0;
  for (std::int64_t i = 0; i < 5; ++i) {
    CHECK(o.p().replicates[static_cast<std::size_t>(i)] == 500);
    CHECK(o.p().dose_log10_molar[static_cast<std::size_t>(i)] == Approx(std::log10(2e-7)));
    CHECK(std::isnan(o.p().time_h[static_cast<std::size_t>(i)]));
    const auto names = o.top(i, 5);
    CHECK(std::find(names.begin(), names.end(), "MT2A") != names.end());
    mt2a += o.change(i, "MT2A") / 5.0;
    mt1x += o.change(i, "MT1X") / 5.0;
  }
  CHECK(o.top(0, 8) ==
        std::vector<std::string>{"MT-RNR2", "MT2A", "SPP1", "MT-RNR1", "MT-CO1", "MT1X", "MT-CO3", "CLU"});
  CHECK(mt2a == Approx(2.406).margin(5e-4));
  CHECK(mt1x == Approx(1.313).margin(5e-4));
}

TEST_CASE("An L1000 plate: wells, doses and times, from GCTX and from GCT") {
  const bool gctx = GENERATE(true, false);
  const auto source = gctx ? open_shared("test_l1000_highprecision.gctx", "pr_gene_symbol")
                           : open_shared("test_l1000.gct.gz", "pr_gene_symbol");
  if (!source) return;
  PerturbationRule r;
  r.context = {"cell_id"};
  r.perturbation = "pert_iname";
  r.control_column = "pert_type";
  r.controls = {"ctl_vehicle"};
  r.dose = "pert_dose";
  r.dose_unit = "uM";
  r.time = "pert_time";
  r.time_unit = "h";
  const Opened o(*source, r);
  CHECK(o.data->genes.size() == 978);
  CHECK(o.data->samples.id == std::vector<std::string>{"A375"});
  CHECK(o.data->drugs.id.size() == 59);  // of 60 perturbagens one is DMSO
  CHECK(o.p().size() == 351);
  CHECK(o.p().conditions == 351);
  const auto& time = o.p().time_h;
  CHECK(std::all_of(time.begin(), time.end(), [](float t) { return t == 24.0F; }));
  const std::set<float> doses(o.p().dose_log10_molar.begin(), o.p().dose_log10_molar.end());
  REQUIRE(doses.size() == 6);
  CHECK(*doses.begin() == Approx(std::log10(0.04e-6)));
  CHECK(*doses.rbegin() == -5.0F);
  if (!gctx) return;
  const std::int64_t row = o.find("A375", "neratinib", -5.0F);
  CHECK(o.top(row, 5) == std::vector<std::string>{"ACOT9", "SNAP25", "LSM5", "RAB4A", "PXMP2"});
  CHECK(o.change(row, "ACOT9") == Approx(-19.4197).epsilon(1e-5));
}

TEST_CASE("The two files of the L1000 plate hold the same conditions in the same order") {
  const auto first = open_shared("test_l1000_highprecision.gctx", "pr_gene_symbol");
  const auto second = open_shared("test_l1000.gct.gz", "pr_gene_symbol");
  if (!first || !second) return;
  PerturbationRule r;
  r.context = {"cell_id"};
  r.perturbation = "pert_iname";
  r.controls = {"DMSO"};
  r.dose = "pert_dose";
  r.dose_unit = "uM";
  const Opened a(*first, r);
  const Opened b(*second, r);
  CHECK(a.data->drugs.id == b.data->drugs.id);
  const auto same = [](const auto& x, const auto& y) { return std::equal(x.begin(), x.end(), y.begin(), y.end()); };
  CHECK(same(a.p().drug, b.p().drug));
  CHECK(same(a.p().dose_log10_molar, b.p().dose_log10_molar));
  CHECK(same(a.p().condition, b.p().condition));
}
