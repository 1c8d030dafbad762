// SPDX-License-Identifier: Apache-2.0
#include "graph_cdr_world.hpp"
#include "support/catch.hpp"

using namespace cdrzoo::test;

namespace {

std::vector<Param> params(std::int64_t epochs, const std::string& preset = "deepcdr-keras",
                          const std::string& mode = "per_unique_drug", const std::string& variant = "paper",
                          std::int64_t patience = 1000) {
  return {choice("variant", variant),  choice("preset", preset),          choice("gcn_dropout_mode", mode),
          flag("standardise", true),   ints("graph_units", {16, 16, 16}), integer("drug_width", 8),
          integer("hidden", 16),       integer("sample_width", 8),        real("dropout", 0.1),
          real("output_dropout", 0.1), real("learning_rate", 0.003),      integer("batch_size", 32),
          integer("epochs", epochs),   integer("min_steps", 0),           integer("patience", patience)};
}

constexpr const char* kId = "baseline.deepcdr";

}  // namespace

TEST_CASE("DeepCDR learns an effect whose sign the drug's graph decides") {
  const std::string preset = GENERATE("deepcdr-keras", "deepcdr-pancdr");
  CAPTURE(preset);
  const Table table = planted(100, 1, false);
  const Table query = planted(40, 2, false);
  const View train(table), ask(query);
  Model model("deepcdr", kId, table, params(40, preset));
  model.fit(train);
  CHECK(correlation(model.predict(ask), query.target) > 0.7);  // means of drugs or samples: 0
}

TEST_CASE("binary predictions of DeepCDR are probabilities that separate the classes") {
  const Table table = planted(100, 3, true);
  const Table query = planted(40, 4, true);
  const View train(table), ask(query);
  Model model("deepcdr", kId, table, params(30), CDRZOO_TASK_BINARY);
  model.fit(train);
  const auto found = model.predict(ask);
  CHECK(*std::min_element(found.begin(), found.end()) >= 0);
  CHECK(*std::max_element(found.begin(), found.end()) <= 1);
  CHECK(correlation(found, query.target) > 0.5);
}

TEST_CASE("DeepCDR learns nothing from shuffled responses") {
  CHECK(std::abs(correlation_after_shuffling("deepcdr", kId, params(5))) < 0.25);
}

TEST_CASE("the same seed gives the same DeepCDR bit for bit, the order of the tables does not matter") {
  const Table table = planted(20, 5, false);
  const Table other = turned(table);
  const View train(table), train_turned(other);
  const auto run = [&](std::uint64_t seed, const View& view) {
    Model model("deepcdr", kId, table, params(2));
    model.fit(view, nullptr, seed);
    return model.predict(view);
  };
  const auto first = run(7, train);
  CHECK(run(7, train) == first);
  CHECK(run(8, train) != first);
  CHECK(run(7, train_turned) == first);
}

TEST_CASE("DeepCDR draws dropout per pair where the reference does") {
  const Table table = planted(10, 6, false);
  const View train(table);
  const auto run = [&](const std::string& mode, const std::string& variant) {
    Model model("deepcdr", kId, table, params(1, "deepcdr-keras", mode, variant));
    model.fit(train);
    return model.predict(train);
  };
  const auto per_pair = run("per_pair", "paper");
  CHECK(run("per_unique_drug", "paper") != per_pair);
  CHECK(run("per_unique_drug", "reference") == run("per_pair", "reference"));
}

TEST_CASE("mutation and methylation have branches where the data set has them") {
  const std::int64_t positions = GENERATE(7, 1300);  // dense, or convolutions
  Table table = planted(12, 7, false);
  std::mt19937 rng(1);
  Block mutation = Block::bits("mutation", positions, {});
  Block methylation = Block::dense("methylation", 3, {});
  for (int i = 0; i < 12; ++i) {
    for (std::int64_t p = 0; p < positions; ++p) mutation.u8.push_back(rng() % 10 == 0 ? 1 : 0);
    for (int p = 0; p < 3; ++p) methylation.f32.push_back(static_cast<float>(rng() % 100) / 100);
  }
  table.samples.blocks.push_back(mutation);
  table.samples.blocks.push_back(methylation);
  const View train(table);
  Model model("deepcdr", kId, table, params(1));
  model.fit(train);
  const auto before = model.predict(train);
  CHECK(model.info().embed_dim_sample == 3 * 8);
  State state = model.save();
  CHECK(state.tensors.count(positions == 7 ? "mut_dense1.kernel" : "mut_conv1.kernel") == 1);
  CHECK(state.tensors.count("methy_dense1.kernel") == 1);
  model.load(state);
  CHECK(model.predict(train) == before);
  for (auto& bit : table.samples.blocks[1].u8) bit = 1 - bit;
  CHECK(model.predict(View(table)) != before);
  Model expression_only("deepcdr", kId, table, params(1, "deepcdr-pancdr"));
  expression_only.fit(train);
  CHECK(expression_only.info().embed_dim_sample == 8);
}

TEST_CASE("a DeepCDR survives saving and loading bit for bit, under its reference's names") {
  const std::string preset = GENERATE("deepcdr-keras", "deepcdr-pancdr");
  const Table table = planted(20, 8, false);
  const View train(table);
  Model model("deepcdr", kId, table, params(1, preset));
  model.fit(train);
  const auto before = model.predict(train);
  State state = model.save();
  CHECK(state.tensors.count(preset == "deepcdr-keras" ? "gcn1.kernel" : "GC1.weight") == 1);
  model.load(state);
  CHECK(model.predict(train) == before);
}

TEST_CASE("DeepCDR keeps its best epoch, stops early, embeds, and obeys a cancellation") {
  const Table table = planted(30, 9, true);
  Table noise = planted(15, 10, true);
  std::mt19937 rng(1);
  std::shuffle(noise.target.begin(), noise.target.end(), rng);
  const View train(table), valid(noise);
  Model model("deepcdr", kId, table, params(1000, "deepcdr-keras", "per_unique_drug", "paper", 2), CDRZOO_TASK_BINARY);
  Call call;
  model.fit(call, train, &valid);
  CHECK(call.checks < 1000);
  for (const float v : model.embed(CDRZOO_AXIS_SAMPLE, train, 30, 8)) CHECK(std::isfinite(v));
  for (const float v : model.embed(CDRZOO_AXIS_DRUG, train, 4, 8)) CHECK(std::isfinite(v));
  Model longer("deepcdr", kId, table, params(1000), CDRZOO_TASK_BINARY);
  Call cancelled;
  cancelled.cancel_after = 3;
  try {
    longer.fit(cancelled, train);
    FAIL("fitted");
  } catch (const Failure& failure) {
    CHECK(failure.status == CDRZOO_E_CANCELLED);
  }
}
