// SPDX-License-Identifier: Apache-2.0
#include "import/perturbation_demo.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/dataset_info.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::TemporaryFolder;
using cdrzoo::test::WithinAbs;

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::string hash_of(const DatasetContent& c) {
  Sha256 sha;
  sha.update(c.expression.data(), c.expression.size() * sizeof(float));
  sha.update(c.perturbation_profile.data(), c.perturbation_profile.size() * sizeof(float));
  for (const auto& p : c.perturbations) {
    sha.update_le64(static_cast<std::uint64_t>(p.control)).update_le64(static_cast<std::uint64_t>(p.drug));
  }
  return sha.hex();
}

PerturbationDemoSpec small() {
  PerturbationDemoSpec spec;
  spec.contexts = 3;
  spec.perturbations = 6;
  spec.genes = 10;
  return spec;
}

}  // namespace

TEST_CASE("The demo of perturbations is valid, by condition and by cell") {
  const int cells = GENERATE(0, 4);
  auto spec = small();
  spec.cells = cells;
  const TemporaryFolder folder;
  write_dataset(make_perturbation_demo(spec), folder / "demo.h5");
  const Findings findings = validate_dataset(folder / "demo.h5");
  CHECK(findings.errors.empty());
  const Dataset d = Dataset::open(folder / "demo.h5");
  CHECK(d.responses.size() == 0);
  CHECK(d.samples.id.size() == at(3 * std::max(1, cells)));
  REQUIRE(d.perturbations);
  CHECK(d.perturbations->contexts.size() == 3);
  CHECK(d.perturbations->size() == d.perturbations->conditions * std::max(1, cells));
  std::set<std::int32_t> doubles(d.perturbations->drug_b.begin(), d.perturbations->drug_b.end());
  CHECK(doubles.size() > 2);
  for (std::size_t i = 0; i < at(d.perturbations->size()); ++i) {
    const auto control = at(d.perturbations->control[i]);
    CHECK(d.samples.group[control] == d.perturbations->contexts[at(d.perturbations->context[i])]);
  }
}

TEST_CASE("The demo of perturbations has the same bits for the same options, everywhere and for ever") {
  const PerturbationDemoSpec spec;
  auto other = spec;
  other.seed = 1;
  CHECK(hash_of(make_perturbation_demo(spec)) == hash_of(make_perturbation_demo(spec)));
  CHECK(hash_of(make_perturbation_demo(other)) != hash_of(make_perturbation_demo(spec)));
  // Guards against a change by accident. A deliberate one bumps "generator" in the provenance.
  CHECK(hash_of(make_perturbation_demo(spec)) == "7e87c7ceb4cacc84609dc8b3ff678ee0e12fd258508c6537268023dba4cbfb58");
}

TEST_CASE("Without interaction and noise the effects of the demo are additive, and the same in all contexts") {
  const double interaction = GENERATE(0.0, 0.3);
  auto spec = small();
  spec.noise = 0;
  spec.interaction = interaction;
  const DatasetContent c = make_perturbation_demo(spec);
  const std::size_t genes = c.genes.size();
  const auto change = [&](std::size_t row, std::size_t gene) {
    return static_cast<double>(c.perturbation_profile[row * genes + gene]) -
           static_cast<double>(c.expression[at(c.perturbations[row].control) * genes + gene]);
  };
  std::map<std::pair<std::int32_t, std::int32_t>, std::size_t> single;  // high dose
  for (std::size_t i = 0; i < c.perturbations.size(); ++i) {
    const auto& p = c.perturbations[i];
    if (p.drug_b < 0 && p.dose_log10_molar > -5.5F) single[{p.context, p.drug}] = i;
  }
  double between_contexts = 0;
  int sums = 0;
  for (std::size_t i = 0; i < c.perturbations.size(); ++i) {
    const auto& p = c.perturbations[i];
    const auto a = single.find({p.context, p.drug});
    const auto b = single.find({p.context, p.drug_b});
    for (std::size_t g = 0; g < genes; ++g) {
      if (p.drug_b < 0 && a != single.end()) {
        const double strength = p.dose_log10_molar > -5.5F ? 1.0 : 0.5;
        CHECK_THAT(change(i, g), WithinAbs(strength * change(a->second, g), 1e-5));
        const auto elsewhere = single.find({(p.context + 1) % 3, p.drug});
        if (elsewhere != single.end()) {
          between_contexts = std::max(between_contexts, std::abs(change(a->second, g) - change(elsewhere->second, g)));
        }
      }
      if (p.drug_b >= 0 && a != single.end() && b != single.end()) {
        CHECK_THAT(change(i, g), WithinAbs(change(a->second, g) + change(b->second, g), 1e-5));
        ++sums;
      }
    }
  }
  CHECK(sums > 20);
  CHECK((between_contexts < 1e-5) == (interaction == 0.0));
}

TEST_CASE("Sizes that make no demo of perturbations are refused") {
  auto spec = small();
  spec.contexts = 0;
  CHECK_THROWS_WITH(make_perturbation_demo(spec), contains("the demo of perturbations needs 1 to 999 contexts, not 0"));
  spec = small();
  spec.cells = -1;
  CHECK_THROWS_WITH(make_perturbation_demo(spec), contains("cells, not -1"));
}

TEST_CASE("A sparse demo has cells of which most values are 0, and stores no 0") {
  auto spec = small();
  spec.genes = 200;
  spec.cells = 10;
  spec.sparse = true;
  const TemporaryFolder folder;
  write_dataset(make_perturbation_demo(spec), folder / "demo.h5");
  CHECK(validate_dataset(folder / "demo.h5").errors.empty());
  const Dataset d = Dataset::open(folder / "demo.h5");
  REQUIRE(d.perturbations->profile.is_sparse());
  const auto& value = d.perturbations->profile.sparse().value;
  CHECK(std::none_of(value.begin(), value.end(), [](float v) { return v == 0; }));
  const double share = static_cast<double>(value.size()) / static_cast<double>(d.perturbations->size() * spec.genes);
  CHECK_THAT(share, WithinAbs(0.125, 0.05));

  spec.cells = 0;
  CHECK_THROWS_WITH(make_perturbation_demo(spec), contains("a sparse demo of perturbations needs cells (--cells N)"));
}
