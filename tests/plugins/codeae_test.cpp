// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "harness.hpp"
#include "support/catch.hpp"

using namespace cdrzoo::test;

namespace {

constexpr int kGenes = 40;
constexpr int kFactors = 4;
constexpr int kDrugs = 6;

/// A small CODE-AE that learns in seconds; \p changes replace values by key.
std::vector<Param> params(std::vector<Param> changes = {}) {
  std::vector<Param> all = {choice("variant", "paper"),
                            choice("method", "adv"),
                            {"norm", CDRZOO_VALUE_BOOL, 1, 0, "", {}},
                            ints("hidden", {32, 16}),
                            integer("latent", 8),
                            ints("critic_hidden", {16, 8}),
                            real("dropout", 0.1),
                            integer("pretrain_epochs", 20),
                            integer("train_epochs", 50),
                            integer("batch_size", 32),
                            real("learning_rate", 0.002),
                            real("orthogonality", 1),
                            real("alignment", 1),
                            real("gradient_penalty", 10),
                            integer("critic_steps", 5),
                            real("noise", 0.1),
                            ints("classifier_hidden", {16, 8}),
                            real("classifier_dropout", 0),
                            integer("finetune_batch_size", 32),
                            real("finetune_learning_rate", 0.01),
                            integer("finetune_epochs", 40),
                            integer("unfreeze", 3),
                            real("decay", 0.1),
                            integer("patience", 5)};
  for (Param& change : changes) {
    for (Param& p : all) {
      if (p.key == change.key) p = change;
    }
  }
  return all;
}

/// Expression of a few factors; each drug responds to one direction of them. The target domain measures the same
/// factors behind a shift and a scale of each gene.
struct World {
  explicit World(unsigned seed, double planted = 0) : shift(planted) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    for (float& v : loading) v = 0.7F * normal(rng);
    for (float& v : offset) v = normal(rng);
    for (float& v : scale) v = 0.6F + 0.8F * std::uniform_real_distribution<float>()(rng);
    for (float& v : action) v = normal(rng);
  }

  /// \p n samples with keys from \p first_key on.
  [[nodiscard]] Table table(int n, int first_key, bool target, bool labelled, bool binary = true) const {
    std::mt19937 rng(static_cast<unsigned>(1000 + first_key));
    std::normal_distribution<float> normal;
    Table t;
    Block x = Block::dense("expression", kGenes, {});
    if (labelled) {
      for (int d = 0; d < kDrugs; ++d) t.drugs.key.push_back(d);
    }
    for (int i = 0; i < n; ++i) {
      t.samples.key.push_back(first_key + i);
      float z[kFactors];
      for (float& v : z) v = normal(rng);
      for (int g = 0; g < kGenes; ++g) {
        float inner = 0.3F * normal(rng);
        for (int k = 0; k < kFactors; ++k) inner += loading[g * kFactors + k] * z[k];
        const auto s = static_cast<float>(shift);
        x.f32.push_back(target ? s * offset[g] + (1 + s * (scale[g] - 1)) * inner : inner);
      }
      if (!labelled) {
        t.sample.push_back(i);
        continue;
      }
      for (int d = 0; d < kDrugs; ++d) {
        float y = 0;
        for (int k = 0; k < kFactors; ++k) y += action[d * kFactors + k] * z[k];
        t.sample.push_back(i);
        t.drug.push_back(d);
        t.target.push_back(binary ? (y > 0 ? 1.0F : 0.0F) : 5 + y);
      }
    }
    t.samples.blocks.push_back(std::move(x));
    return t;
  }

  double shift;
  float loading[kGenes * kFactors], offset[kGenes], scale[kGenes], action[kDrugs * kFactors];
};

/// Mean over drugs of the area under the curve.
double per_drug_auroc(const std::vector<float>& scores, const Table& t) {
  double sum = 0;
  for (std::size_t d = 0; d < t.drugs.key.size(); ++d) {
    double wins = 0;
    double pairs = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (t.drug[i] != static_cast<int>(d) || t.target[i] < 0.5F) continue;
      for (std::size_t j = 0; j < scores.size(); ++j) {
        if (t.drug[j] != static_cast<int>(d) || t.target[j] > 0.5F) continue;
        wins += scores[i] > scores[j] ? 1.0 : scores[i] == scores[j] ? 0.5 : 0.0;
        pairs += 1;
      }
    }
    sum += wins / pairs;
  }
  return sum / static_cast<double>(t.drugs.key.size());
}

/// Mean over drugs of a drug's constant: what a drug mean knows of an unseen sample.
constexpr double kNaive = 0.5;

}  // namespace

TEST_CASE("every method of CODE-AE ranks unseen samples better than a mean of the drug") {
  const std::string method =
      GENERATE(as<std::string>{}, "base", "mmd", "adv", "dsn_mmd", "dsn_dann", "coral", "ae", "dae");
  CAPTURE(method);
  const World world(1, 0.3);
  const Table table = world.table(128, 0, false, true);
  const Table query = world.table(80, 500, false, true);
  const View train(table);
  const View ask(query);
  const View pool(world.table(96, 1000, true, false));
  Model model("codeae", "baseline.codeae", table, params({choice("method", method)}), CDRZOO_TASK_BINARY);
  Call call;
  model.fit(call, train, nullptr, &pool);
  const auto found = model.predict(ask);
  CHECK(std::all_of(found.begin(), found.end(), [](float p) { return p >= 0 && p <= 1; }));
  CHECK(per_drug_auroc(found, query) > kNaive + 0.2);
}

TEST_CASE("with shuffled labels CODE-AE is no better than chance") {
  const World world(2);
  Table table = world.table(128, 0, false, true);
  const Table query = world.table(80, 500, false, true);
  const View ask(query);
  constexpr unsigned kTimes = 8;  // by chance one model of noise may well point towards the truth
  double sum = 0;
  std::mt19937 rng(3);
  for (unsigned k = 0; k < kTimes; ++k) {
    std::shuffle(table.target.begin(), table.target.end(), rng);
    Model model("codeae", "baseline.codeae", table, params({integer("train_epochs", 20)}), CDRZOO_TASK_BINARY);
    model.fit(View(table));
    sum += per_drug_auroc(model.predict(ask), query);
  }
  CHECK(std::abs(sum / kTimes - kNaive) < 0.15);
}

TEST_CASE("behind a planted shift CODE-AE gains from unlabelled samples of the target") {
  const World world(4, 4.0);  // offsets of deviation 4, where a gene's own is about 1.4
  const Table table = world.table(200, 0, false, true);
  const Table query = world.table(100, 500, true, true);
  const View train(table);
  const View ask(query);
  const View pool(world.table(300, 1000, true, false));
  const auto score = [&](const View* unlabelled, std::uint64_t seed) {
    Model model("codeae", "baseline.codeae", table,
                params({integer("train_epochs", 600), real("learning_rate", 0.0005), real("dropout", 0),
                        integer("finetune_epochs", 100), integer("patience", 10)}),
                CDRZOO_TASK_BINARY);
    Call call(seed);
    model.fit(call, train, nullptr, unlabelled);
    return per_drug_auroc(model.predict(ask), query);
  };
  double with = 0;
  double without = 0;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    with += score(&pool, seed) / 3;
    without += score(nullptr, seed) / 3;
  }
  INFO("with " << with << ", without " << without);
  CHECK(with > without + 0.05);
}

TEST_CASE("a regression of CODE-AE is in the unit of the target") {
  const World world(5);
  const Table table = world.table(160, 0, false, true, /*binary=*/false);
  const Table query = world.table(80, 500, false, true, /*binary=*/false);
  const View train(table);
  const View ask(query);
  Model model("codeae", "baseline.codeae", table, params({integer("train_epochs", 10)}));
  model.fit(train);
  const auto found = model.predict(ask);
  double squares = 0;
  double variance = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    squares += std::pow(static_cast<double>(found[i] - query.target[i]), 2);
    variance += std::pow(static_cast<double>(query.target[i]) - 5, 2);
  }
  CHECK(squares / variance < 0.5);
}

TEST_CASE("the same seed gives the same CODE-AE bit for bit, another seed another one") {
  const World world(6, 0.5);
  const Table table = world.table(60, 0, false, true);
  const View train(table);
  const View pool(world.table(50, 1000, true, false));
  const auto run = [&](std::uint64_t seed) {
    Model model("codeae", "baseline.codeae", table,
                params({integer("pretrain_epochs", 2), integer("train_epochs", 6), integer("finetune_epochs", 12),
                        integer("patience", 1)}),
                CDRZOO_TASK_BINARY);
    Call call(seed, 2);
    model.fit(call, train, nullptr, &pool);
    return model.predict(train);
  };
  const auto first = run(7);
  CHECK(run(7) == first);
  CHECK(run(8) != first);
}

TEST_CASE("the order of the entity tables does not change CODE-AE") {
  const World world(8);
  const Table table = world.table(40, 0, false, true);
  Table turned = table;
  const int n = 40;
  std::reverse(turned.samples.key.begin(), turned.samples.key.end());
  std::reverse(turned.drugs.key.begin(), turned.drugs.key.end());
  auto& x = turned.samples.blocks[0].f32;
  for (int i = 0; i < n / 2; ++i) {
    for (int g = 0; g < kGenes; ++g) {
      std::swap(x[static_cast<std::size_t>(i * kGenes + g)], x[static_cast<std::size_t>((n - 1 - i) * kGenes + g)]);
    }
  }
  for (auto& s : turned.sample) s = n - 1 - s;
  for (auto& d : turned.drug) d = kDrugs - 1 - d;
  const View train(table);
  const View train_turned(turned);
  const auto quick = params({integer("pretrain_epochs", 2), integer("train_epochs", 2), integer("finetune_epochs", 6)});
  Model a("codeae", "baseline.codeae", table, quick, CDRZOO_TASK_BINARY);
  Model b("codeae", "baseline.codeae", table, quick, CDRZOO_TASK_BINARY);
  a.fit(train);
  b.fit(train_turned);
  CHECK(a.predict(train) == b.predict(train));
}

TEST_CASE("a CODE-AE survives saving and loading bit for bit, with the reference's names") {
  const World world(9);
  const Table table = world.table(80, 0, false, true);
  const View train(table);
  Model model(
      "codeae", "baseline.codeae", table,
      params({integer("pretrain_epochs", 5), integer("finetune_epochs", 80), integer("patience", 1), real("decay", 1)}),
      CDRZOO_TASK_BINARY);
  model.fit(train);
  const auto before = model.predict(train);
  State state = model.save();
  CHECK(state.tensors.count("shared_encoder.module.0.0.weight") == 1);
  CHECK(state.tensors.count("drug0.decoder.output_layer.0.weight") == 1);
  int unfrozen = 0;
  for (int d = 0; d < kDrugs; ++d) {
    unfrozen += static_cast<int>(state.tensors.count("drug" + std::to_string(d) + ".encoder.output_layer.0.weight"));
  }
  CHECK(unfrozen > 0);  // at the full step size some drug is better with a layer of its own
  const auto embedded = model.embed(CDRZOO_AXIS_SAMPLE, train, 80, 8);
  model.load(state);
  CHECK(model.predict(train) == before);
  CHECK(model.embed(CDRZOO_AXIS_SAMPLE, train, 80, 8) == embedded);
  double length = 0;
  for (std::size_t i = 0; i < 8; ++i) length += std::pow(static_cast<double>(embedded[i]), 2);
  CHECK_THAT(length, WithinAbs(1, 1e-5));
}

TEST_CASE("a drug that training did not hold has no classifier, and its rows say so") {
  const World world(10);
  const Table table = world.table(40, 0, false, true);
  Table query = world.table(5, 500, false, true);
  const View train(table);
  Model model("codeae", "baseline.codeae", table,
              params({integer("pretrain_epochs", 1), integer("finetune_epochs", 2)}), CDRZOO_TASK_BINARY);
  model.fit(train);
  query.drugs.key[2] = 77;
  const View ask(query);
  try {
    (void)model.predict(ask);
    FAIL("predicted");
  } catch (const Failure& failure) {
    CHECK(failure.status == CDRZOO_ROW_UNSUPPORTED_ENTITY);
    CHECK_THAT(failure.what(), contains("row 2 "));
  }
}

TEST_CASE("drugs with one row, one class or an uneven number of rows do no harm") {
  const World world(11);
  Table table = world.table(40, 0, false, true);
  Table uneven = table;
  uneven.sample.clear();
  uneven.drug.clear();
  uneven.target.clear();
  for (std::size_t i = 0; i < table.sample.size(); ++i) {
    if (table.drug[i] == 0 && table.sample[i] != 3) continue;    // one row
    if (table.drug[i] == 1 && table.target[i] > 0.5F) continue;  // one class
    if (table.drug[i] == 2 && table.sample[i] >= 33) continue;   // a last batch of one row
    uneven.sample.push_back(table.sample[i]);
    uneven.drug.push_back(table.drug[i]);
    uneven.target.push_back(table.target[i]);
  }
  const View train(uneven);
  const View ask(table);
  Model model("codeae", "baseline.codeae", table, params({integer("pretrain_epochs", 2), integer("patience", 1)}),
              CDRZOO_TASK_BINARY);
  model.fit(train);
  for (const float p : model.predict(ask)) CHECK(std::isfinite(p));
}

TEST_CASE("the reference variant trains on the source as its own target, and differs from the paper's") {
  const World world(12);
  const Table table = world.table(60, 0, false, true);
  const View train(table);
  const auto run = [&](const std::string& variant) {
    Model model("codeae", "baseline.codeae", table,
                params({choice("variant", variant), integer("pretrain_epochs", 2), integer("train_epochs", 6),
                        integer("finetune_epochs", 6)}),
                CDRZOO_TASK_BINARY);
    model.fit(train);
    return model.predict(train);
  };
  CHECK(run("reference") != run("paper"));
}

TEST_CASE("a cancelled CODE-AE stops in either stage") {
  const World world(13, 0.5);
  const Table table = world.table(60, 0, false, true);
  const View train(table);
  const View pool(world.table(50, 1000, true, false));
  const std::uint64_t after = GENERATE(as<std::uint64_t>{}, 3, 40, 65);
  Model model("codeae", "baseline.codeae", table, params({integer("train_epochs", 40)}), CDRZOO_TASK_BINARY);
  Call call;
  call.cancel_after = after;
  try {
    model.fit(call, train, nullptr, &pool);
    FAIL("fitted");
  } catch (const Failure& failure) {
    CHECK(failure.status == CDRZOO_E_CANCELLED);
  }
  CHECK(call.checks == after + 1);
}

TEST_CASE("CODE-AE says what it cannot do") {
  const World world(14);
  Table table = world.table(10, 0, false, true);
  SECTION("targets that are not finite") {
    table.target[3] = std::numeric_limits<float>::infinity();
    const View train(table);
    Model model("codeae", "baseline.codeae", table, params(), CDRZOO_TASK_BINARY);
    CHECK_THROWS_WITH(model.fit(train), contains("not finite"));
  }
  SECTION("no expression") {
    table.samples.blocks.clear();
    CHECK_THROWS_WITH(Model("codeae", "baseline.codeae", table, params(), CDRZOO_TASK_BINARY), contains("expression"));
  }
}
