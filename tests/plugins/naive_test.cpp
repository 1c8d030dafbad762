// SPDX-License-Identifier: Apache-2.0
#include "harness.hpp"
#include "support/catch.hpp"

using namespace cdrzoo::test;

namespace {

constexpr double kFloat = 1e-6;  // predictions are float, values of order 1

// drugs 70, 71; samples 10 to 13 in tissues 0, 0, 1 and unknown
Table training() {
  Table t;
  t.samples = {{10, 11, 12, 13}, {Block::categories("tissue", 3, {0, 0, 1, -1})}};
  t.drugs = {{70, 71}, {}};
  t.sample = {0, 1, 2, 3, 0, 1};
  t.drug = {0, 0, 0, 0, 1, 1};
  t.target = {1, 3, 5, 7, 10, 12};
  return t;
}

// The same entities in another order, with a new drug (99), a new sample (88) of tissue 1 and one (89) of a new tissue.
Table query() {
  Table t;
  t.samples = {{88, 12, 10, 89}, {Block::categories("tissue", 3, {1, 1, 0, 2})}};
  t.drugs = {{99, 71, 70}, {}};
  t.sample = {0, 1, 2, 2, 0, 3};
  t.drug = {2, 1, 2, 0, 0, 2};
  return t;
}

std::vector<float> predict(const std::string& id, std::vector<Param> params) {
  const View train(training());
  const View ask(query());
  Model model("naive", id, training(), std::move(params));
  model.fit(train);
  return model.predict(ask);
}

void check_equal(const std::vector<float>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("row " << i);
    CHECK_THAT(static_cast<double>(found[i]), WithinAbs(expected[i], kFloat));
  }
}

constexpr double kMu = 38.0 / 6;

}  // namespace

TEST_CASE("the global mean is the same for every row") {
  check_equal(predict("baseline.global_mean", {}), std::vector<double>(6, kMu));
}

TEST_CASE("the drug mean finds a drug by its key and falls back to the global mean") {
  check_equal(predict("baseline.drug_mean", {}), {4, 11, 4, kMu, kMu, 4});
}

TEST_CASE("the sample mean falls back to the global mean") {
  check_equal(predict("baseline.sample_mean", {}), {kMu, 5, 5.5, 5.5, kMu, kMu});
}

TEST_CASE("the tissue mean takes the tissue's code, for new samples too") {
  check_equal(predict("baseline.tissue_mean", {}), {5, 5, 6.5, 6.5, 5, kMu});
}

TEST_CASE("the drug x tissue mean falls back to the drug, then to the global mean") {
  // drug 70: tissue 0 -> 2, tissue 1 -> 5, mean 4. drug 71: tissue 0 -> 11, no tissue 1
  check_equal(predict("baseline.drug_tissue_mean", {real("lambda", 0)}), {5, 11, 2, kMu, kMu, 4});
}

TEST_CASE("lambda multiplies an effect by n / (n + lambda)") {
  const double lambda = 2;
  const double drug_70 = (4 - kMu) * 4 / (4 + lambda);
  const double drug_71 = (11 - kMu) * 2 / (2 + lambda);
  SECTION("drug x tissue") {
    const double in_0 = (2 - kMu - drug_70) * 2 / (2 + lambda);
    const double in_1 = (5 - kMu - drug_70) * 1 / (1 + lambda);
    check_equal(predict("baseline.drug_tissue_mean", {real("lambda", lambda)}),
                {kMu + drug_70 + in_1, kMu + drug_71, kMu + drug_70 + in_0, kMu, kMu, kMu + drug_70});
  }
  SECTION("mean effects") {
    const double sample_12 = (5 - kMu - drug_70) * 1 / (1 + lambda);
    const double sample_10 = ((1 - kMu - drug_70) + (10 - kMu - drug_71)) / (2 + lambda);
    check_equal(
        predict("baseline.mean_effects", {real("lambda", lambda)}),
        {kMu + drug_70, kMu + drug_71 + sample_12, kMu + drug_70 + sample_10, kMu + sample_10, kMu, kMu + drug_70});
  }
}

TEST_CASE("mean effects recover an additive table") {
  Table t;
  for (int s = 0; s < 5; ++s) t.samples.key.push_back(s);
  for (int d = 0; d < 4; ++d) t.drugs.key.push_back(d);
  for (int s = 0; s < 5; ++s) {
    for (int d = 0; d < 4; ++d) {
      t.sample.push_back(s);
      t.drug.push_back(d);
      t.target.push_back(static_cast<float>(3 * d - s * s));
    }
  }
  const View view(t);
  Model model("naive", "baseline.mean_effects", t, {real("lambda", 0)});
  model.fit(view);
  check_equal(model.predict(view), std::vector<double>(t.target.begin(), t.target.end()));
}

TEST_CASE("target columns are averaged one by one, over what is observed") {
  Table t = training();
  t.n_targets = 2;
  t.target = {1, 0, 3, 0, 5, 8, 7, 4, 10, 1, 12, 3};
  t.mask = {1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  const View view(t);
  Model model("naive", "baseline.drug_mean", t, {}, CDRZOO_TASK_EXPRESSION);
  model.fit(view);
  check_equal(model.predict(view, 2), {4, 6, 4, 6, 4, 6, 4, 6, 11, 2, 11, 2});
}

TEST_CASE("a naive model survives saving and loading bit for bit") {
  const auto id = GENERATE(as<std::string>{}, "baseline.global_mean", "baseline.drug_tissue_mean");
  const View train(training());
  const View ask(query());
  Model model("naive", id, training(), {real("lambda", 1.5)});
  model.fit(train);
  const auto before = model.predict(ask);
  State state = model.save();
  model.load(state);
  CHECK(model.predict(ask) == before);

  SECTION("a state of another model is refused") {
    Model other("naive", "baseline.mean_effects", training(), {real("lambda", 1.5)});
    CHECK_THROWS_WITH(other.load(state), contains("belongs to"));
  }
}

TEST_CASE("a damaged state of a naive model is refused") {
  const View train(training());
  Model model("naive", "baseline.drug_mean", training(), {});
  model.fit(train);
  State state = model.save();
  SECTION("a tensor is missing") { state.tensors.erase("level.0.effect"); }
  SECTION("a tensor is shorter") { state.tensors["level.0.effect"].array.shape[0] = 1; }
  SECTION("the groups are not ascending") {
    auto& bytes = state.tensors["level.0.key"].bytes;
    std::swap_ranges(bytes.begin(), bytes.begin() + 16, bytes.begin() + 16);
  }
  try {
    model.load(state);
    FAIL("loaded");
  } catch (const Failure& failure) {
    CHECK(failure.status == CDRZOO_E_CORRUPT);
  }
}

TEST_CASE("the naive models say what they cannot do") {
  const View train(training());
  SECTION("predict before fit") {
    Model model("naive", "baseline.drug_mean", training(), {});
    CHECK_THROWS_WITH(model.predict(train), contains("not fitted"));
  }
  SECTION("no drugs") {
    Table t = training();
    t.drugs = {};
    t.drug.clear();
    const View view(t);
    Model model("naive", "baseline.drug_mean", t, {});
    CHECK_THROWS_WITH(model.fit(view), contains("no drug column"));
  }
  SECTION("a label that is not a number") {
    Table t = training();
    t.target[3] = std::numeric_limits<float>::quiet_NaN();
    const View view(t);
    Model model("naive", "baseline.global_mean", t, {});
    CHECK_THROWS_WITH(model.fit(view), contains("row 3 is not finite"));
  }
  SECTION("cancelled") {
    Model model("naive", "baseline.mean_effects", training(), {real("lambda", 5)});
    Call call;
    call.cancel_after = 1;
    try {
      model.fit(call, train);
      FAIL("fitted");
    } catch (const Failure& failure) {
      CHECK(failure.status == CDRZOO_E_CANCELLED);
    }
    CHECK_THROWS_WITH(model.predict(train), contains("not fitted"));
  }
}
