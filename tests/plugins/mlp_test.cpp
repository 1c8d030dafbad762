// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <random>

#include "harness.hpp"
#include "support/catch.hpp"

using namespace cdrzoo::test;

namespace {

std::vector<Param> params(std::int64_t epochs, std::int64_t patience = 1000, std::vector<std::int64_t> layers = {16}) {
  return {ints("sample_layers", layers), ints("drug_layers", layers), ints("head_layers", layers),
          real("dropout", 0.1),          real("learning_rate", 0.01), real("weight_decay", 0),
          integer("batch_size", 32),     integer("epochs", epochs),   integer("patience", patience)};
}

/// Responses that need both towers: the drug's one bit turns the sign of the gene's effect.
Table world(int samples, unsigned seed, bool binary, bool labelled = true) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  Table t;
  Block x = Block::dense("expression", 3, {});
  for (int i = 0; i < samples; ++i) {
    t.samples.key.push_back(i);
    for (int g = 0; g < 3; ++g) x.f32.push_back(normal(rng));
  }
  t.samples.blocks.push_back(x);
  t.drugs.key = {0, 1};
  t.drugs.blocks.push_back(Block::bits("morgan", 4, {1, 0, 1, 0, 0, 0, 1, 1}));
  for (int i = 0; i < samples; ++i) {
    for (int d = 0; d < 2; ++d) {
      t.sample.push_back(i);
      t.drug.push_back(d);
      const float y = (d == 0 ? 3.0F : -3.0F) * x.f32[static_cast<std::size_t>(3 * i)];
      if (labelled) t.target.push_back(binary ? (y > 0 ? 1.0F : 0.0F) : 50 + y);
    }
  }
  return t;
}

}  // namespace

TEST_CASE("the perceptron learns an effect whose sign the drug decides") {
  const Table table = world(100, 1, false);
  const Table query = world(40, 2, false);
  const View train(table);
  const View ask(query);
  Model model("mlp", "baseline.mlp", table, params(60));
  model.fit(train);
  const auto found = model.predict(ask);
  double squares = 0;
  double variance = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    squares += std::pow(static_cast<double>(found[i] - query.target[i]), 2);
    variance += std::pow(static_cast<double>(query.target[i]) - 50, 2);
  }
  CHECK(squares / variance < 0.2);
}

TEST_CASE("binary predictions of the perceptron are probabilities that separate the classes") {
  const Table table = world(100, 3, true);
  const Table query = world(40, 4, true);
  const View train(table);
  const View ask(query);
  Model model("mlp", "baseline.mlp", table, params(60), CDRZOO_TASK_BINARY);
  model.fit(train);
  const auto found = model.predict(ask);
  int right = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    REQUIRE(found[i] >= 0);
    REQUIRE(found[i] <= 1);
    right += (found[i] > 0.5F) == (query.target[i] > 0.5F);
  }
  CHECK(right >= 68);  // of 80
}

TEST_CASE("the same seed gives the same perceptron bit for bit, another seed another one") {
  const Table table = world(30, 5, false);
  const View train(table);
  const auto run = [&](std::uint64_t seed) {
    Model model("mlp", "baseline.mlp", table, params(3));
    model.fit(train, nullptr, seed);
    return model.predict(train);
  };
  const auto first = run(7);
  CHECK(run(7) == first);
  CHECK(run(8) != first);
}

TEST_CASE("the order of the entity tables does not change the perceptron") {
  const Table table = world(30, 5, false);
  Table turned = table;
  std::reverse(turned.samples.key.begin(), turned.samples.key.end());
  auto& x = turned.samples.blocks[0].f32;
  for (std::size_t i = 0; i < 15; ++i) {
    for (std::size_t g = 0; g < 3; ++g) std::swap(x[3 * i + g], x[3 * (29 - i) + g]);
  }
  for (auto& s : turned.sample) s = 29 - s;
  std::swap(turned.drugs.key[0], turned.drugs.key[1]);
  turned.drugs.blocks[0].u8 = {0, 0, 1, 1, 1, 0, 1, 0};
  for (auto& d : turned.drug) d = 1 - d;
  const View train(table);
  const View train_turned(turned);
  Model a("mlp", "baseline.mlp", table, params(3));
  Model b("mlp", "baseline.mlp", table, params(3));
  a.fit(train);
  b.fit(train_turned);
  CHECK(a.predict(train) == b.predict(train_turned));
}

TEST_CASE("a perceptron survives saving and loading bit for bit") {
  const Table table = world(30, 6, false);
  const View train(table);
  Model model("mlp", "baseline.mlp", table, params(2));
  model.fit(train);
  const auto before = model.predict(train);
  State state = model.save();
  CHECK(state.tensors.count("sample_tower.layers.0.weight") == 1);
  model.load(state);
  CHECK(model.predict(train) == before);
}

TEST_CASE("early stopping ends the training and keeps the best epoch") {
  Table table = world(60, 7, false);
  Table noise = world(20, 8, false);
  std::mt19937 rng(9);
  std::normal_distribution<float> normal;
  for (auto& y : noise.target) y = 50 + normal(rng);  // nothing to learn: the first epochs are the best
  const View train(table);
  const View valid(noise);
  Model stopped("mlp", "baseline.mlp", table, params(1000, 2));
  Call call;
  stopped.fit(call, train, &valid);
  CHECK(call.checks < 200);  // 4 batches and 1 validation pass per epoch: far from 1000 epochs
  const auto error = [&](Model& model) {
    double sum = 0;
    const auto found = model.predict(valid);
    for (std::size_t i = 0; i < found.size(); ++i) sum += std::pow(static_cast<double>(found[i] - noise.target[i]), 2);
    return sum;
  };
  Model longer("mlp", "baseline.mlp", table, params(40));
  longer.fit(train);
  CHECK(error(stopped) < error(longer));
}

TEST_CASE("the perceptron embeds samples and drugs") {
  const Table table = world(10, 10, false);
  const View train(table);
  Model model("mlp", "baseline.mlp", table, params(1, 1000, {8, 5}));
  model.fit(train);
  CHECK(model.info().embed_dim_sample == 5);
  CHECK(model.info().embed_dim_drug == 5);
  for (const float v : model.embed(CDRZOO_AXIS_SAMPLE, train, 10, 5)) CHECK(std::isfinite(v));
  for (const float v : model.embed(CDRZOO_AXIS_DRUG, train, 2, 5)) CHECK(std::isfinite(v));
}

TEST_CASE("a cancelled perceptron stops at the next mini-batch") {
  const Table table = world(100, 11, false);
  const View train(table);
  Model model("mlp", "baseline.mlp", table, params(1000));
  Call call;
  call.cancel_after = 5;
  try {
    model.fit(call, train);
    FAIL("fitted");
  } catch (const Failure& failure) {
    CHECK(failure.status == CDRZOO_E_CANCELLED);
  }
  CHECK(call.checks == 6);
}

TEST_CASE("the perceptron says what it cannot do") {
  Table table = world(10, 12, false);
  SECTION("no fingerprints") {
    table.drugs.blocks.clear();
    CHECK_THROWS_WITH(Model("mlp", "baseline.mlp", table, params(1)), contains("morgan"));
  }
  SECTION("no layers") {
    CHECK_THROWS_WITH(Model("mlp", "baseline.mlp", table, params(1, 1, {})), contains("at least one width"));
  }
  SECTION("targets that are not finite") {
    table.target[3] = std::numeric_limits<float>::infinity();
    const View train(table);
    Model model("mlp", "baseline.mlp", table, params(1));
    CHECK_THROWS_WITH(model.fit(train), contains("not finite"));
  }
}
