// SPDX-License-Identifier: Apache-2.0
#include "graph_cdr_world.hpp"
#include "support/catch.hpp"

using namespace cdrzoo::test;

namespace {

std::vector<Param> params(std::int64_t epochs, const std::string& variant = "paper", double lambda = 0.01,
                          std::int64_t patience = 1000) {
  return {choice("variant", variant),        integer("latent", 8),
          integer("drug_width", 8),          integer("hidden", 16),
          ints("graph_units", {16, 16, 16}), real("learning_rate", 0.003),
          real("discriminator_rate", 0.003), real("lambda", lambda),
          integer("batch_size", 32),         integer("target_batch_size", 14),
          integer("epochs", epochs),         integer("min_steps", 0),
          integer("patience", patience)};
}

/// Samples without labels: as the host hands over the target domain.
Table unlabelled(int samples, unsigned seed, float shift) {
  return planted(samples, seed, false, /*labelled=*/false, false, shift);
}

constexpr const char* kId = "baseline.pancdr";

}  // namespace

TEST_CASE("PANCDR learns an effect whose sign the drug's graph decides") {
  const Table table = planted(100, 1, false);
  const Table query = planted(40, 2, false);
  const Table pool = unlabelled(50, 3, 0);
  const View train(table), ask(query), target(pool);
  Model model("pancdr", kId, table, params(40));
  Call call;
  model.fit(call, train, nullptr, &target);
  CHECK(correlation(model.predict(ask), query.target) > 0.8);  // means of drugs or samples: 0
}

TEST_CASE("binary predictions of PANCDR are probabilities that separate the classes") {
  const Table table = planted(100, 4, true);
  const Table query = planted(40, 5, true);
  const View train(table), ask(query);
  Model model("pancdr", kId, table, params(30), CDRZOO_TASK_BINARY);
  model.fit(train);
  const auto found = model.predict(ask);
  CHECK(*std::min_element(found.begin(), found.end()) >= 0);
  CHECK(*std::max_element(found.begin(), found.end()) <= 1);
  CHECK(correlation(found, query.target) > 0.5);
}

TEST_CASE("PANCDR learns nothing from shuffled responses") {
  CHECK(std::abs(correlation_after_shuffling("pancdr", kId, params(5))) < 0.25);
}

TEST_CASE("the same seed gives the same PANCDR bit for bit, the order of the tables does not matter") {
  const Table table = planted(20, 6, false);
  const Table other = turned(table);
  const Table pool = unlabelled(20, 7, 1);
  const View train(table), train_turned(other), target(pool);
  const auto run = [&](std::uint64_t seed, const View& view) {
    Model model("pancdr", kId, table, params(2));
    Call call(seed);
    model.fit(call, view, nullptr, &target);
    return model.predict(view);
  };
  const auto first = run(7, train);
  CHECK(run(7, train) == first);
  CHECK(run(8, train) != first);
  CHECK(run(7, train_turned) == first);
}

TEST_CASE("the mean code is the paper's prediction, the reference draws one per sample and drug") {
  const Table table = planted(20, 8, false);
  const View train(table);
  Model mean("pancdr", kId, table, params(2));
  Model drawn("pancdr", kId, table, params(2, "reference"));
  mean.fit(train);
  drawn.fit(train);
  CHECK(mean.predict(train) != drawn.predict(train));
  CHECK(drawn.predict(train) == drawn.predict(train));
  Table part = table;  // a row alone gets what it got among others
  part.sample.resize(5);
  part.drug.resize(5);
  part.target.resize(5);
  const auto all = drawn.predict(train);
  const auto some = drawn.predict(View(part));
  for (std::size_t i = 0; i < some.size(); ++i) CHECK(std::abs(some[i] - all[i]) < 1e-5F);
}

TEST_CASE("the unlabelled target changes PANCDR, without one it trains the predictor alone") {
  const Table table = planted(40, 9, false);
  const Table pool = unlabelled(10, 10, 2);  // fewer than a batch
  const View train(table), target(pool);
  Model with("pancdr", kId, table, params(2));
  Model without("pancdr", kId, table, params(2));
  Call call;
  with.fit(call, train, nullptr, &target);
  without.fit(train);
  CHECK(with.predict(train) != without.predict(train));
  for (const float v : with.predict(train)) CHECK(std::isfinite(v));
}

TEST_CASE("behind a planted shift PANCDR gains from unlabelled samples of the target") {
  constexpr float kShift = 6;  // of genes without meaning, whose own deviation is 1
  const Table table = planted(100, 1, false);
  const Table query = planted(30, 2, false, true, false, kShift);
  const Table pool = unlabelled(100, 3, kShift);
  const View train(table), ask(query), target(pool);
  const auto score = [&](const View* unlabelled, std::uint64_t seed) {
    Model model("pancdr", kId, table, params(15, "paper", /*lambda=*/0.1));
    Call call(seed);
    model.fit(call, train, nullptr, unlabelled);
    return correlation(model.predict(ask), query.target);
  };
  double with = 0, without = 0;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    with += score(&target, seed) / 3;
    without += score(nullptr, seed) / 3;
  }
  INFO("with " << with << ", without " << without);
  CHECK(with > without + 0.05);
}

TEST_CASE("a PANCDR survives saving and loading bit for bit, under the reference's names") {
  const Table table = planted(20, 11, false);
  const View train(table);
  Model model("pancdr", kId, table, params(1));
  model.fit(train);
  const auto before = model.predict(train);
  State state = model.save();
  CHECK(state.tensors.count("GCN_model.GC1.weight") == 1);
  CHECK(state.tensors.count("EN_model.encoder.1.running_mean") == 1);
  model.load(state);
  CHECK(model.predict(train) == before);
}

TEST_CASE("PANCDR keeps its best epoch and stops early") {
  const Table table = planted(30, 12, true);
  Table noise = planted(15, 13, true);
  std::mt19937 rng(1);
  std::shuffle(noise.target.begin(), noise.target.end(), rng);
  const View train(table), valid(noise);
  Model model("pancdr", kId, table, params(1000, "paper", 0.01, 2), CDRZOO_TASK_BINARY);
  Call call;
  model.fit(call, train, &valid);
  CHECK(call.checks < 1000);
}

TEST_CASE("PANCDR embeds samples and drugs, and stops when cancelled") {
  const Table table = planted(10, 14, false);
  const View train(table);
  Model model("pancdr", kId, table, params(1));
  model.fit(train);
  for (const float v : model.embed(CDRZOO_AXIS_SAMPLE, train, 10, 8)) CHECK(std::isfinite(v));
  for (const float v : model.embed(CDRZOO_AXIS_DRUG, train, 4, 8)) CHECK(std::isfinite(v));
  Model longer("pancdr", kId, table, params(1000));
  Call call;
  call.cancel_after = 3;
  try {
    longer.fit(call, train);
    FAIL("fitted");
  } catch (const Failure& failure) {
    CHECK(failure.status == CDRZOO_E_CANCELLED);
  }
}
