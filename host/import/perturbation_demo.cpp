// SPDX-License-Identifier: Apache-2.0
#include "import/perturbation_demo.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "import/seeded_stream.hpp"

// Only + - * / on doubles is used, which IEEE 754 fixes to the last bit; the build forbids contraction of a * b + c.
namespace cdrzoo {
namespace {

constexpr std::size_t kPrograms = 4;
using Programs = std::array<double, kPrograms>;

constexpr float kLowDose = -6.0F;   // log10 of molar; half the effect
constexpr float kHighDose = -5.0F;  // the whole
constexpr float kTime_h = 24.0F;
constexpr double kCellNoise = 5.0;  // a cell's noise over that of a pseudobulk
constexpr double kLevel = 7.0;
constexpr double kSparseLevel = -2.0;  // what is below 0 is measured as 0: about one value in ten is not

struct Stream : SeededStream {
  Stream(std::uint64_t seed, const char* name) : SeededStream(seed, std::string("perturbation_demo/") + name) {}
};

Programs normal_programs(Stream& stream, double scale) {
  Programs p{};
  for (auto& x : p) x = scale * stream.normal();
  return p;
}

std::size_t at(int i) { return static_cast<std::size_t>(i); }

std::string numbered(const char* prefix, int number) {
  const std::string digits = std::to_string(number);
  return prefix + std::string(3 - std::min<std::size_t>(3, digits.size()), '0') + digits;
}

class PerturbationDemo {
 public:
  explicit PerturbationDemo(const PerturbationDemoSpec& spec) : spec_(spec) {}

  DatasetContent make() {
    check();
    describe();
    make_mechanism();
    make_controls();
    make_conditions();
    return std::move(out_);
  }

 private:
  void check() const {
    const auto range = [](const char* what, int value, int low, int high) {
      if (value < low || value > high) {
        throw UsageError("the demo of perturbations needs " + std::to_string(low) + " to " + std::to_string(high) +
                         " " + what + ", not " + std::to_string(value));
      }
    };
    range("contexts", spec_.contexts, 1, 999);
    range("drugs", spec_.perturbations, 2, 999);
    range("genes", spec_.genes, 8, 100000);
    range("cells", spec_.cells, 0, 100000);
    if (spec_.sparse && spec_.cells == 0) throw UsageError("a sparse demo of perturbations needs cells (--cells N)");
  }

  void describe() {
    out_.name = "perturbation_demo";
    out_.caveats = {
        "Synthetic data with a planted signal: scores say something about programs, nothing about biology."};
    out_.domains.name.emplace_back("screen");
    out_.domains.expression_unit.emplace_back("synthetic log, not below 0");
    out_.domains.caveat.emplace_back();
    for (int g = 0; g < spec_.genes; ++g) out_.genes.push_back("GENE" + std::to_string(g + 1));
    for (int p = 0; p < spec_.perturbations; ++p) {
      const std::string id = numbered("P", p + 1);
      out_.drug_id.push_back(id);
      out_.drug_name.push_back(id);
      out_.drug_smiles.emplace_back();
      out_.drug_group.push_back("id:" + id);
      out_.drug_scaffold.emplace_back();
    }
    for (int c = 0; c < spec_.contexts; ++c) out_.perturbation_contexts.push_back(numbered("CONTEXT", c + 1));
    nlohmann::json made{{"builder", "cdrzoo data demo --perturbations"},
                        {"generator", 1},
                        {"seed", spec_.seed},
                        {"contexts", spec_.contexts},
                        {"perturbations", spec_.perturbations},
                        {"genes", spec_.genes},
                        {"cells", spec_.cells},
                        {"interaction", spec_.interaction},
                        {"noise", spec_.noise},
                        {"steps", {"synthetic; see share/doc/data.md, section demo of perturbations"}}};
    if (spec_.sparse) made["sparse"] = true;
    out_.provenance_json = made.dump(2);
  }

  void make_mechanism() {
    Stream base(spec_.seed, "base");
    Stream loadings(spec_.seed, "loadings");
    Stream answers(spec_.seed, "answers");
    for (int g = 0; g < spec_.genes; ++g) {
      base_.push_back((spec_.sparse ? kSparseLevel : kLevel) + base.normal());
      loading_.push_back(normal_programs(loadings, 0.5));
      answer_.push_back(normal_programs(answers, 0.4));
    }
    Stream states(spec_.seed, "states");
    for (int c = 0; c < spec_.contexts; ++c) state_.push_back(normal_programs(states, 1.0));
    Stream actions(spec_.seed, "actions");
    for (int p = 0; p < spec_.perturbations; ++p) action_.push_back(normal_programs(actions, 1.0));
  }

  [[nodiscard]] int copies() const { return std::max(1, spec_.cells); }

  [[nodiscard]] float measured(double value, Stream& noise) const {
    const double scale = spec_.noise * (spec_.cells > 0 ? kCellNoise : 1.0);
    return static_cast<float>(std::max(0.0, value + scale * noise.normal()));
  }

  void make_controls() {
    Stream noise(spec_.seed, "controls");
    for (int c = 0; c < spec_.contexts; ++c) {
      const std::string& name = out_.perturbation_contexts[at(c)];
      for (int i = 0; i < copies(); ++i) {
        out_.sample_id.push_back(spec_.cells > 0 ? name + "_" + std::to_string(i + 1) : name);
        out_.sample_group.push_back(name);
        out_.sample_domain.push_back(0);
        out_.sample_tissue.push_back(-1);
        for (std::size_t g = 0; g < at(spec_.genes); ++g) {
          out_.expression.push_back(measured(base_[g] + dot(loading_[g], state_[at(c)]), noise));
        }
      }
    }
  }

  static double dot(const Programs& a, const Programs& b) {
    double sum = 0.0;
    for (std::size_t k = 0; k < kPrograms; ++k) sum += a[k] * b[k];
    return sum;
  }

  /// What a perturbation does to a gene in a context, at the high dose.
  [[nodiscard]] double effect(int context, int perturbation, std::size_t gene) const {
    double sum = 0.0;
    for (std::size_t k = 0; k < kPrograms; ++k) {
      sum += answer_[gene][k] * action_[at(perturbation)][k] * (1.0 + spec_.interaction * state_[at(context)][k]);
    }
    return sum;
  }

  struct Condition {
    int context, drug, drug_b;
    float dose_log10_molar;
  };

  /// Which conditions were measured, in order.
  [[nodiscard]] std::vector<Condition> conditions() const {
    std::vector<Condition> out;
    Stream missing(spec_.seed, "missing");
    for (int c = 0; c < spec_.contexts; ++c) {
      for (int p = 0; p < spec_.perturbations; ++p) {
        if (missing.below(10) == 0) continue;  // not measured
        out.push_back({c, p, -1, kLowDose});
        out.push_back({c, p, -1, kHighDose});
      }
      for (int p = 0; p < spec_.perturbations / 2; ++p) {
        if (missing.below(10) != 0) out.push_back({c, p, p + 1, kHighDose});
      }
    }
    return out;
  }

  /// What a condition would measure without noise, [genes].
  [[nodiscard]] std::vector<double> truth_of(const Condition& condition) const {
    std::vector<double> truth;
    for (std::size_t g = 0; g < at(spec_.genes); ++g) {
      double change = effect(condition.context, condition.drug, g);
      if (condition.drug_b >= 0) change += effect(condition.context, condition.drug_b, g);
      const double strength = condition.dose_log10_molar > -5.5F ? 1.0 : 0.5;
      truth.push_back(base_[g] + dot(loading_[g], state_[at(condition.context)]) + strength * change);
    }
    return truth;
  }

  void make_conditions() {
    Stream noise(spec_.seed, "profiles");
    Stream pairing(spec_.seed, "pairing");
    const std::vector<Condition> planned = conditions();
    const std::size_t rows = planned.size() * at(copies());
    // Demos may be of many gigabytes: no more memory than they take.
    out_.perturbations.reserve(rows);
    if (spec_.sparse) {
      out_.sparse_profile.emplace().begin.reserve(rows + 1);
    } else {
      out_.perturbation_profile.reserve(rows * at(spec_.genes));
    }
    std::vector<float> row(at(spec_.genes));
    for (const auto& condition : planned) {
      const std::vector<double> truth = truth_of(condition);
      for (int i = 0; i < copies(); ++i) {
        const auto control =
            condition.context * copies() + static_cast<int>(pairing.below(static_cast<std::uint64_t>(copies())));
        out_.perturbations.push_back(
            {control, condition.drug, condition.drug_b, condition.dose_log10_molar, kTime_h, condition.context, 1});
        for (std::size_t g = 0; g < row.size(); ++g) row[g] = measured(truth[g], noise);
        if (spec_.sparse) {
          out_.sparse_profile->append(row.data(), spec_.genes);
        } else {
          out_.perturbation_profile.insert(out_.perturbation_profile.end(), row.begin(), row.end());
        }
      }
    }
  }

  PerturbationDemoSpec spec_;
  DatasetContent out_;
  std::vector<double> base_;                // [genes]
  std::vector<Programs> loading_, answer_;  // [genes]
  std::vector<Programs> state_;             // [contexts]
  std::vector<Programs> action_;            // [perturbations]
};

}  // namespace

DatasetContent make_perturbation_demo(const PerturbationDemoSpec& spec) { return PerturbationDemo(spec).make(); }

}  // namespace cdrzoo
