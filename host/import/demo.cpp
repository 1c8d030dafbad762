// SPDX-License-Identifier: Apache-2.0
#include "import/demo.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "chem/molecule.hpp"
#include "import/drug_structures.hpp"
#include "import/seeded_stream.hpp"

// Only + - * / and sqrt on doubles are used, which IEEE 754 fixes to the last bit; the build forbids contraction of
// a * b + c. No function of the mathematical library and no distribution of the standard library is called.
namespace cdrzoo {
namespace {

struct KnownDrug {
  const char* name;
  const char* smiles;
};
// Public structures of approved or well-known compounds, several of them in families.
constexpr KnownDrug kDrugs[] = {
    {"Erlotinib", "COCCOc1cc2ncnc(Nc3cccc(C#C)c3)c2cc1OCCOC"},
    {"Gefitinib", "COc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCN1CCOCC1"},
    {"Lapatinib", "CS(=O)(=O)CCNCc1ccc(o1)-c1ccc2ncnc(Nc3ccc(OCc4cccc(F)c4)c(Cl)c3)c2c1"},
    {"Imatinib", "Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(n1)-c1cccnc1"},
    {"Nilotinib", "Cc1ccc(cc1Nc1nccc(n1)-c1cccnc1)C(=O)Nc1cc(cc(c1)C(F)(F)F)-n1cnc(C)c1"},
    {"Dasatinib", "Cc1nc(Nc2ncc(s2)C(=O)Nc2c(C)cccc2Cl)cc(n1)N1CCN(CCO)CC1"},
    {"Sorafenib", "CNC(=O)c1cc(Oc2ccc(NC(=O)Nc3ccc(Cl)c(C(F)(F)F)c3)cc2)ccn1"},
    {"Sunitinib", "CCN(CC)CCNC(=O)c1c(C)[nH]c(C=C2C(=O)Nc3ccc(F)cc32)c1C"},
    {"Vemurafenib", "CCCS(=O)(=O)Nc1ccc(F)c(C(=O)c2c[nH]c3ncc(cc23)-c2ccc(Cl)cc2)c1F"},
    {"Olaparib", "O=C(C1CC1)N1CCN(CC1)C(=O)c1cc(Cc2n[nH]c(=O)c3ccccc23)ccc1F"},
    {"Vorinostat", "ONC(=O)CCCCCCC(=O)Nc1ccccc1"},
    {"Bortezomib", "CC(C)C[C@H](NC(=O)[C@H](Cc1ccccc1)NC(=O)c1cnccn1)B(O)O"},
    {"5-Fluorouracil", "O=c1[nH]cc(F)c(=O)[nH]1"},
    {"Gemcitabine", "NC1=NC(=O)N(C=C1)[C@@H]1O[C@H](CO)[C@@H](O)C1(F)F"},
    {"Cytarabine", "NC1=NC(=O)N(C=C1)[C@@H]1O[C@H](CO)[C@@H](O)[C@@H]1O"},
    {"Methotrexate", "CN(Cc1cnc2nc(N)nc(N)c2n1)c1ccc(cc1)C(=O)N[C@@H](CCC(O)=O)C(O)=O"},
    {"Temozolomide", "Cn1nnc2c(ncn2c1=O)C(N)=O"},
    {"Cyclophosphamide", "ClCCN(CCCl)P1(=O)NCCCO1"},
    {"Carmustine", "ClCCNC(=O)N(CCCl)N=O"},
    {"Melphalan", "N[C@@H](Cc1ccc(cc1)N(CCCl)CCCl)C(O)=O"},
    {"Tamoxifen", "CC/C(=C(/c1ccccc1)c1ccc(OCCN(C)C)cc1)c1ccccc1"},
    {"Doxorubicin", "COc1cccc2C(=O)c3c(O)c4CC(O)(CC(OC5CC(N)C(O)C(C)O5)c4c(O)c3C(=O)c12)C(=O)CO"},
    {"Camptothecin", "CC[C@@]1(O)C(=O)OCC2=C1C=C1N(Cc3cc4ccccc4nc13)C2=O"},
    {"Hydroxyurea", "NC(=O)NO"},
    {"Busulfan", "CS(=O)(=O)OCCCCOS(C)(=O)=O"},
    {"Mercaptopurine", "S=c1[nH]cnc2nc[nH]c12"},
    {"Anastrozole", "CC(C)(C#N)c1cc(Cn2cncn2)cc(c1)C(C)(C)C#N"},
    {"Bicalutamide", "CC(O)(CS(=O)(=O)c1ccc(F)cc1)C(=O)Nc1ccc(C#N)c(c1)C(F)(F)F"},
    {"Tretinoin", "CC1=C(C(C)(C)CCC1)/C=C/C(C)=C/C=C/C(C)=C/C(O)=O"},
    {"Thalidomide", "O=C1CCC(N2C(=O)c3ccccc3C2=O)C(=O)N1"},
    {"Dacarbazine", "CN(C)N=Nc1[nH]cnc1C(N)=O"},
    {"Chlorambucil", "OC(=O)CCCc1ccc(cc1)N(CCCl)CCCl"},
};
constexpr int kDrugLimit = static_cast<int>(sizeof(kDrugs) / sizeof(kDrugs[0]));

constexpr std::array<const char*, 6> kTissues = {"blood", "breast", "large_intestine", "lung", "ovary", "skin"};
// Shares of the tissues in percent: the two domains differ in composition.
constexpr std::array<int, 6> kLineShare = {25, 15, 15, 25, 10, 10};
constexpr std::array<int, 6> kPatientShare = {5, 35, 20, 15, 20, 5};
constexpr std::size_t kFactors = 8;
constexpr int kPerturbedLines = 20;
constexpr int kPerturbingDrugs = 12;

/// The streams of this generator.
struct Stream : SeededStream {
  Stream(std::uint64_t seed, const char* name) : SeededStream(seed, std::string("demo/") + name) {}
};

using Factors = std::array<double, kFactors>;

double dot(const Factors& a, const Factors& b) {
  double sum = 0.0;
  for (std::size_t k = 0; k < kFactors; ++k) sum += a[k] * b[k];
  return sum;
}

Factors normal_factors(Stream& stream) {
  Factors f{};
  for (auto& x : f) x = stream.normal();
  return f;
}

std::size_t pick_tissue(Stream& stream, const std::array<int, 6>& share) {
  auto left = static_cast<int>(stream.below(100));
  for (std::size_t t = 0; t < share.size(); ++t) {
    left -= share[t];
    if (left < 0) return t;
  }
  return share.size() - 1;
}

std::string numbered(const char* prefix, int number) {
  std::string digits = std::to_string(number);
  return prefix + std::string(4 - std::min<std::size_t>(4, digits.size()), '0') + digits;
}

std::size_t at(int i) { return static_cast<std::size_t>(i); }

class Demo {
 public:
  explicit Demo(const DemoSpec& spec) : spec_(spec) {}

  DatasetContent make() {
    check();
    describe();
    make_mechanism();
    make_samples();
    make_responses();
    make_perturbations();
    return std::move(out_);
  }

 private:
  void check() const {
    const auto range = [](const char* what, int value, int low, int high) {
      if (value < low || value > high) {
        throw UsageError(std::string("the demo needs ") + std::to_string(low) + " to " + std::to_string(high) + " " +
                         what + ", not " + std::to_string(value));
      }
    };
    range("lines", spec_.lines, 20, 1000000);
    range("patients", spec_.patients, 0, 1000000);
    range("drugs", spec_.drugs, 2, kDrugLimit);
    range("genes", spec_.genes, 8, 100000);
  }

  void describe() {
    out_.name = "demo";
    out_.caveats = {
        "Synthetic data with a planted signal: scores say something about programs, nothing about biology."};
    out_.value_unit = "ln_ic50_um";
    for (const char* tissue : kTissues) out_.tissues.emplace_back(tissue);
    out_.domains.name.emplace_back("lines");
    out_.domains.expression_unit.emplace_back("synthetic log2");
    out_.domains.caveat.emplace_back();
    if (spec_.patients > 0) {
      out_.domains.name.emplace_back("patients");
      out_.domains.expression_unit.emplace_back("synthetic log2, shifted and scaled per gene");
      out_.domains.caveat.emplace_back("Labels are derived from the same mechanism as the values of the lines.");
    }
    for (int g = 0; g < spec_.genes; ++g) out_.genes.push_back(numbered("GENE", g + 1));
    for (int j = 0; j < spec_.drugs; ++j) {
      out_.drug_id.push_back(numbered("D", j + 1));
      out_.drug_name.emplace_back(kDrugs[j].name);
      out_.drug_smiles.emplace_back(kDrugs[j].smiles);
    }
    StructureOptions options;
    if (spec_.conformers) options.features = structure_features();
    const StructureReport structures = derive_structures(out_, options);
    if (!structures.invalid.empty()) {
      throw DataError("the chemistry library cannot read the demo's structure of " + structures.invalid[0].drug + ": " +
                      structures.invalid[0].reason);
    }
    out_.provenance_json = nlohmann::json{{"builder", "cdrzoo data demo"},
                                          {"generator", 1},
                                          {"seed", spec_.seed},
                                          {"lines", spec_.lines},
                                          {"patients", spec_.patients},
                                          {"drugs", spec_.drugs},
                                          {"genes", spec_.genes},
                                          {"chemistry", chemistry_version()},
                                          {"steps", {"synthetic; see share/doc/data.md, section demo"}}}
                               .dump(2);
  }

  void make_mechanism() {
    Stream loadings(spec_.seed, "loadings");
    Stream base(spec_.seed, "base");
    for (int g = 0; g < spec_.genes; ++g) {
      Factors w{};
      for (std::size_t k = 0; k < kFactors; ++k) w[k] = 0.15 * loadings.normal();
      // Each gene follows mainly one factor, with either sign.
      w[at(g) % kFactors] += loadings.below(2) == 0 ? 1.0 : -1.0;
      loading_.push_back(w);
      base_.push_back(7.0 + 2.0 * base.normal());
    }
    Stream centres(spec_.seed, "tissues");
    for (auto& centre : centre_) {
      centre = normal_factors(centres);
      for (auto& x : centre) x *= 0.7;
    }
    Stream sensitivity(spec_.seed, "sensitivity");
    direction_ = normal_factors(sensitivity);
    const double length = std::sqrt(dot(direction_, direction_));
    for (auto& x : direction_) x /= length;

    // A drug acts along a direction that its fingerprint determines: similar structures act alike.
    const auto& morgan = out_.drug_blocks.at(0).parts.at(0).bytes;
    Stream projection(spec_.seed, "projection");
    std::vector<Factors> bit(at(kMorganBits));
    for (auto& f : bit) f = normal_factors(projection);
    Stream drugs(spec_.seed, "drugs");
    for (int j = 0; j < spec_.drugs; ++j) {
      Factors v{};
      for (std::size_t b = 0; b < bit.size(); ++b) {
        if (morgan[at(j) * bit.size() + b] == 0) continue;
        for (std::size_t k = 0; k < kFactors; ++k) v[k] += bit[b][k];
      }
      const double size = std::sqrt(dot(v, v));
      for (auto& x : v) x /= size;
      action_.push_back(v);
      mean_.push_back(2.0 + 2.0 * drugs.normal());
      std::array<double, kTissues.size()> shift{};
      for (auto& x : shift) x = 0.4 * drugs.normal();
      tissue_effect_.push_back(shift);
    }
  }

  void make_samples() {
    Stream lines(spec_.seed, "lines");
    for (int i = 0; i < spec_.lines; ++i) {
      const std::size_t tissue = pick_tissue(lines, kLineShare);
      Factors z = normal_factors(lines);
      for (std::size_t k = 0; k < kFactors; ++k) z[k] += centre_[tissue][k];
      add_sample(numbered("LINE", i + 1), "", 0, tissue, z, lines.normal());
      for (std::size_t g = 0; g < at(spec_.genes); ++g) {
        out_.expression.push_back(static_cast<float>(base_[g] + dot(loading_[g], z) + 0.5 * lines.normal()));
      }
    }
    Stream shift(spec_.seed, "shift");
    std::vector<double> scale;
    std::vector<double> offset;
    for (int g = 0; g < spec_.genes; ++g) {
      scale.push_back(0.6 + 0.8 * shift.uniform());
      offset.push_back(2.0 * shift.normal());
    }
    Stream patients(spec_.seed, "patients");
    for (int p = 0; p < spec_.patients; ++p) {
      std::size_t tissue = pick_tissue(patients, kPatientShare);
      Factors z = normal_factors(patients);
      for (std::size_t k = 0; k < kFactors; ++k) z[k] += centre_[tissue][k];
      double own = patients.normal();
      // Every twelfth sample is a second biopsy of the patient before: same mechanism, new measurement.
      const bool again = p % 12 == 11;
      std::string group = numbered("PATIENT", p + 1);
      if (again) {
        group = out_.sample_group.back();
        tissue = static_cast<std::size_t>(out_.sample_tissue.back());
        z = latent_.back();
        own = own_.back();
      }
      add_sample(numbered("TUMOUR", p + 1), group, 1, tissue, z, own);
      for (std::size_t g = 0; g < at(spec_.genes); ++g) {
        const double inner = dot(loading_[g], z) + 0.5 * patients.normal();
        out_.expression.push_back(static_cast<float>(base_[g] + offset[g] + scale[g] * inner));
      }
    }
  }

  void add_sample(const std::string& id, const std::string& group, std::int32_t domain, std::size_t tissue,
                  const Factors& z, double own) {
    out_.sample_id.push_back(id);
    out_.sample_group.push_back(group.empty() ? id : group);
    out_.sample_domain.push_back(domain);
    out_.sample_tissue.push_back(static_cast<std::int32_t>(tissue));
    latent_.push_back(z);
    own_.push_back(own);
  }

  /// ln IC50 without measurement noise, minus the drug's mean.
  [[nodiscard]] double effect(std::size_t sample, std::size_t drug) const {
    return 0.6 * dot(latent_[sample], direction_) + 0.3 * own_[sample] + 0.8 * dot(latent_[sample], action_[drug]) +
           tissue_effect_[drug][static_cast<std::size_t>(out_.sample_tissue[sample])];
  }

  void make_responses() {
    Stream noise(spec_.seed, "noise");
    for (int i = 0; i < spec_.lines; ++i) {
      for (int j = 0; j < spec_.drugs; ++j) {
        const double value = mean_[at(j)] + effect(at(i), at(j)) + 0.5 * noise.normal();
        if (noise.below(100) < 10) continue;  // not measured
        out_.responses.push_back({i, j, 0, -1, value});
      }
    }
    Stream treatment(spec_.seed, "treatment");
    for (int p = 0; p < spec_.patients; ++p) {
      if (p % 3 == 2) continue;  // not treated: the unlabelled pool of the target domain
      const int treatments = std::min(4, spec_.drugs);
      const int first = static_cast<int>(treatment.below(static_cast<std::uint64_t>(spec_.drugs)));
      for (int t = 0; t < treatments; ++t) {
        const int j = (first + t) % spec_.drugs;
        const bool responds = effect(at(spec_.lines + p), at(j)) + 0.5 * treatment.normal() < 0.0;
        out_.responses.push_back({spec_.lines + p, j, 0, static_cast<std::int8_t>(responds ? 1 : 0),
                                  std::numeric_limits<double>::quiet_NaN()});
      }
    }
  }

  void make_perturbations() {
    const int drugs = std::min(kPerturbingDrugs, spec_.drugs);
    Stream targets(spec_.seed, "targets");
    std::vector<Factors> response(at(spec_.genes));
    for (auto& f : response) f = normal_factors(targets);
    Stream noise(spec_.seed, "profiles");
    const auto add = [&](int line, int drug, int drug_b, float dose, float time) {
      const double strength = (dose > -5.5F ? 1.0 : 0.5) * (time > 12.0F ? 1.0 : 0.6);
      out_.perturbations.push_back({line, drug, drug_b, dose, time});
      for (int g = 0; g < spec_.genes; ++g) {
        double change = dot(response[at(g)], action_[at(drug)]);
        if (drug_b >= 0) change += dot(response[at(g)], action_[at(drug_b)]);
        const auto control = static_cast<double>(out_.expression[at(line) * at(spec_.genes) + at(g)]);
        out_.perturbation_profile.push_back(static_cast<float>(control + strength * change + 0.2 * noise.normal()));
      }
    };
    for (int line = 0; line < std::min(kPerturbedLines, spec_.lines); ++line) {
      for (int j = 0; j < drugs; ++j) {
        add(line, j, -1, -6.0F, 24.0F);
        add(line, j, -1, -5.0F, 24.0F);
        add(line, j, -1, -5.0F, 6.0F);
      }
      for (int j = 0; j + 1 < std::min(5, drugs); ++j) add(line, j, j + 1, -5.0F, 24.0F);
    }
  }

  DemoSpec spec_;
  DatasetContent out_;
  std::vector<Factors> loading_;  // [genes]
  std::vector<double> base_;      // [genes]
  std::array<Factors, kTissues.size()> centre_{};
  Factors direction_{};
  std::vector<Factors> action_;  // [drugs]
  std::vector<double> mean_;     // [drugs]
  std::vector<std::array<double, kTissues.size()>> tissue_effect_;
  std::vector<Factors> latent_;  // [samples]
  std::vector<double> own_;      // [samples]
};

}  // namespace

int demo_drug_limit() { return kDrugLimit; }

DatasetContent make_demo(const DemoSpec& spec) { return Demo(spec).make(); }

}  // namespace cdrzoo
