// SPDX-License-Identifier: Apache-2.0
#include "import/demo.hpp"

#include <cmath>
#include <set>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/dataset_info.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::TemporaryFolder;

TEST_CASE("The demo is valid, and what its documentation says") {
  const TemporaryFolder folder;
  write_dataset(make_demo({}), folder / "demo.h5");
  const Findings findings = validate_dataset(folder / "demo.h5");
  CHECK(findings.errors.empty());
  CHECK(findings.notes.empty());
  const Dataset d = Dataset::open(folder / "demo.h5");
  CHECK(d.domains.name == std::vector<std::string>{"lines", "patients"});
  CHECK(d.samples.id.size() == 180);
  CHECK(d.drugs.id.size() == 24);
  CHECK(std::set<std::string>(d.drugs.group.begin(), d.drugs.group.end()).size() == 24);
  CHECK(d.drug_block("morgan") != nullptr);
  CHECK(d.drug_block("graph") != nullptr);
  REQUIRE(d.perturbations);
  CHECK(d.perturbations->size() == 800);
  // Second biopsies share the group of the patient before.
  CHECK(std::set<std::string>(d.samples.group.begin(), d.samples.group.end()).size() == 175);
}

TEST_CASE("The same seed gives the same bits, everywhere and for ever") {
  const auto content_hash = [](const DatasetContent& c) {
    Sha256 sha;
    sha.update(c.expression.data(), c.expression.size() * sizeof(float));
    for (const auto& r : c.responses) {
      sha.update_le64(static_cast<std::uint64_t>(r.sample)).update_le64(static_cast<std::uint64_t>(r.drug));
      sha.update(&r.value, sizeof r.value).update(&r.label, 1);
    }
    sha.update(c.perturbation_profile.data(), c.perturbation_profile.size() * sizeof(float));
    return sha.hex();
  };
  const DemoSpec spec;
  CHECK(content_hash(make_demo(spec)) == content_hash(make_demo(spec)));
  DemoSpec other;
  other.seed = 1;
  CHECK(content_hash(make_demo(other)) != content_hash(make_demo(spec)));
  // Guards against a change by accident. A deliberate one bumps "generator" in the provenance.
  CHECK(content_hash(make_demo(spec)) == "a22b7399da0ff97c87f2437d3a0803fc252f814aeb22701dbcfa31357a6daf49");
}

TEST_CASE("Expression of lines carries a signal for their response that drug means lack") {
  // One gene at a time is enough: the best training correlation of a gene with a drug's residuals, checked on the
  // other half of the lines.
  const DatasetContent c = make_demo({});
  const std::size_t genes = c.genes.size();
  double sum = 0.0;
  for (std::int32_t drug = 0; drug < 24; ++drug) {
    const auto correlation = [&](std::size_t gene, std::int32_t half) {
      double n = 0;
      double sx = 0;
      double sy = 0;
      double sxx = 0;
      double syy = 0;
      double sxy = 0;
      for (const auto& r : c.responses) {
        if (r.drug != drug || c.sample_domain[static_cast<std::size_t>(r.sample)] != 0 || r.sample % 2 != half)
          continue;
        const auto x = static_cast<double>(c.expression[static_cast<std::size_t>(r.sample) * genes + gene]);
        n += 1;
        sx += x;
        sy += r.value;
        sxx += x * x;
        syy += r.value * r.value;
        sxy += x * r.value;
      }
      return (n * sxy - sx * sy) / std::sqrt((n * sxx - sx * sx) * (n * syy - sy * sy));
    };
    std::size_t best = 0;
    double top = 0.0;
    for (std::size_t g = 0; g < genes; ++g) {
      const double found = correlation(g, 0);
      if (std::abs(found) > std::abs(top)) {
        top = found;
        best = g;
      }
    }
    sum += correlation(best, 1) * (top > 0 ? 1.0 : -1.0);
  }
  CHECK(sum / 24.0 > 0.4);
}

TEST_CASE("Sizes that make no demo are refused") {
  DemoSpec spec;
  spec.drugs = demo_drug_limit() + 1;
  CHECK_THROWS_WITH(make_demo(spec), contains("drugs, not"));
  spec = {};
  spec.lines = 3;
  CHECK_THROWS_WITH(make_demo(spec), contains("the demo needs 20 to 1000000 lines, not 3"));
  spec = {};
  spec.patients = 0;
  CHECK(make_demo(spec).domains.name.size() == 1);
}

TEST_CASE("The demo carries what graph models need, distances when they are asked for") {
  DemoSpec spec;
  spec.drugs = 4;
  const auto names = [](const DatasetContent& content) {
    std::vector<std::string> out;
    for (const auto& block : content.drug_blocks) out.push_back(block.name);
    return out;
  };
  CHECK(names(make_demo(spec)) == std::vector<std::string>{"morgan", "graph", "graph_deepcdr"});
  spec.conformers = true;
  CHECK(names(make_demo(spec)) == std::vector<std::string>{"morgan", "graph", "graph_deepcdr", "graph_mat"});
}

TEST_CASE("The demo scales to every drug it knows, and all structures are read") {
  DemoSpec spec;
  spec.drugs = demo_drug_limit();
  CHECK(make_demo(spec).drug_smiles.size() == static_cast<std::size_t>(demo_drug_limit()));
}
