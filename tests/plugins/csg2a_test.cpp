// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "harness.hpp"
#include "support/catch.hpp"

using namespace cdrzoo::test;

namespace {

constexpr const char* kId = "baseline.csg2a";
constexpr int kGenes = 6;
constexpr int kDrugs = 4;

std::vector<Param> params(std::int64_t epochs, const std::string& variant = "paper", double rate = 0.003) {
  return {
      choice("variant", variant),       choice("mat_size", "small"), {"freeze_mat", CDRZOO_VALUE_BOOL, 0, 0, "", {}},
      choice("input", "zscore"),        integer("hidden", 8),        integer("projection_width", 16),
      integer("head_width", 8),         real("dropout", 0.1),        real("learning_rate", rate),
      integer("cosine_epochs", epochs), real("weight_decay", 1e-5),  integer("batch_size", 32),
      integer("epochs", epochs),        integer("patience", 1000)};
}

std::vector<Param> expression_params(std::int64_t epochs) {
  return {choice("mat_size", "small"), {"freeze_mat", CDRZOO_VALUE_BOOL, 0, 0, "", {}},
          choice("input", "zscore"),   integer("hidden", 8),
          real("dropout", 0.1),        real("learning_rate", 0.003),
          integer("batch_size", 32),   integer("epochs", epochs),
          integer("patience", 1000)};
}

/// A chain of n atoms of one element behind the dummy.
SmallGraph chain(int n, int element) {
  SmallGraph g;
  for (int i = 0; i <= n; ++i) {
    for (int f = 0; f < 28; ++f) g.nodes.push_back((i == 0 ? f == 0 : f == element || f == 12) ? 1 : 0);
    for (int j = 0; j <= n; ++j)
      g.pairs.push_back(i == 0 || j == 0 ? 1e6F : 1.4F * static_cast<float>(std::abs(i - j)));
    for (int j = std::max(1, i - 1); i > 0 && j <= std::min(n, i + 1); ++j) {
      g.source.push_back(i);
      g.target.push_back(j);
      g.edges.push_back(1);
    }
  }
  return g;
}

/// Carbon chains and nitrogen chains: the element turns the sign of the first gene's effect.
Table world(int samples, unsigned seed, bool binary = false) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  Table t;
  Block x = Block::dense("expression", kGenes, {});
  for (int g = 0; g < kGenes; ++g) x.feature_names.push_back("G" + std::to_string(g));
  for (int i = 0; i < samples; ++i) {
    t.samples.key.push_back(i);
    for (int g = 0; g < kGenes; ++g) x.f32.push_back(3 + normal(rng));
  }
  t.samples.blocks.push_back(x);
  t.drugs.key = {0, 1, 2, 3};
  t.drugs.blocks.push_back(Block::graphs("graph_mat", 28, {chain(3, 2), chain(5, 3), chain(5, 2), chain(4, 3)}));
  for (int i = 0; i < samples; ++i) {
    for (int d = 0; d < kDrugs; ++d) {
      t.sample.push_back(i);
      t.drug.push_back(d);
      const float y = (d % 2 == 0 ? 1.0F : -1.0F) * (x.f32[static_cast<std::size_t>(kGenes * i)] - 3);
      t.target.push_back(binary ? (y > 0 ? 1.0F : 0.0F) : 50 + y);
    }
  }
  return t;
}

/// Treated profiles: the element decides which gene moves, the dose by how much; controls are samples.
Table profiles(int samples, unsigned seed) {
  Table t = world(samples, seed);
  t.n_targets = kGenes;
  t.target.clear();
  const auto& x = t.samples.blocks[0].f32;
  for (std::size_t i = 0; i < t.sample.size(); ++i) {
    const float dose = i % 3 == 0 ? -5.0F : -4.0F;  // 10 or 100 uM
    t.control.push_back(t.sample[i]);
    t.dose.push_back(dose);
    t.time.push_back(24);
    for (int g = 0; g < kGenes; ++g) {
      const float shift = g == t.drug[i] % 2 ? (dose > -4.5F ? 3.0F : 1.0F) : 0.0F;
      t.target.push_back(x[static_cast<std::size_t>(kGenes * t.sample[i] + g)] + shift);
    }
  }
  return t;
}

double correlation(const std::vector<float>& a, const std::vector<float>& b) {
  const auto n = static_cast<double>(a.size());
  const double ma = std::accumulate(a.begin(), a.end(), 0.0) / n, mb = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double da = static_cast<double>(a[i]) - ma, db = static_cast<double>(b[i]) - mb;
    ab += da * db, aa += da * da, bb += db * db;
  }
  return ab / std::sqrt(aa * bb + 1e-30);
}

}  // namespace

TEST_CASE("CSG2A learns an effect whose sign the molecule decides, and nothing from shuffled labels") {
  Table table = world(120, 1);
  const Table query = world(60, 2);
  const View ask(query);
  SECTION("planted") {
    const View train(table);
    Model model("csg2a", kId, table, params(40));
    model.fit(train);
    CHECK(correlation(model.predict(ask), query.target) > 0.8);  // the mean of a drug or of a sample: 0
  }
  SECTION("reference") {
    const View train(table);
    for (auto& y : table.target) y -= 50;
    const View centred(table);
    Model model("csg2a", kId, table, params(40, "reference"));
    model.fit(centred);
    CHECK(correlation(model.predict(ask), query.target) > 0.8);
  }
  SECTION("shuffled") {  // several times: by chance one model of noise may well point towards the truth
    constexpr unsigned kTimes = 8;
    double sum = 0;
    std::mt19937 rng(3);
    for (unsigned k = 0; k < kTimes; ++k) {
      std::shuffle(table.target.begin(), table.target.end(), rng);
      Model model("csg2a", kId, table, params(10));
      model.fit(View(table));
      sum += correlation(model.predict(ask), query.target);
    }
    CHECK(std::abs(sum / kTimes) < 0.3);
  }
}

TEST_CASE("Binary predictions of CSG2A are probabilities that separate the classes") {
  const Table table = world(120, 4, true);
  const Table query = world(60, 5, true);
  const View train(table), ask(query);
  Model model("csg2a", kId, table, params(40), CDRZOO_TASK_BINARY);
  model.fit(train);
  const auto found = model.predict(ask);
  int right = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    REQUIRE(found[i] >= 0);
    REQUIRE(found[i] <= 1);
    right += (found[i] > 0.5F) == (query.target[i] > 0.5F);
  }
  CHECK(right >= 190);  // of 240
}

TEST_CASE("CSG2A predicts treated profiles from controls, drugs and doses") {
  const Table table = profiles(120, 6);
  const Table query = profiles(40, 7);
  const View train(table), ask(query);
  Model model("csg2a", "baseline.csg2a_expression", table, expression_params(60), CDRZOO_TASK_EXPRESSION);
  model.fit(train);
  const auto found = model.predict(ask, kGenes);
  std::vector<double> mean(kGenes, 0.0);
  for (std::size_t i = 0; i < table.target.size(); ++i)
    mean[i % kGenes] += static_cast<double>(table.target[i]) * kGenes / static_cast<double>(table.target.size());
  double error = 0, naive = 0;
  std::vector<double> shift(2, 0.0);  // of the gene that the drug moves against the other one, by dose
  std::vector<int> count(2, 0);
  for (std::size_t i = 0; i < found.size(); ++i) {
    error += std::pow(static_cast<double>(found[i] - query.target[i]), 2);
    naive += std::pow(mean[i % kGenes] - static_cast<double>(query.target[i]), 2);
    if (i % kGenes != 0) continue;
    const std::size_t row = i / kGenes;
    const auto moved = static_cast<std::size_t>(query.drug[row] % 2);
    const std::size_t high = query.dose[row] > -4.5F ? 1 : 0;
    shift[high] += static_cast<double>(found[i + moved] - found[i + 1 - moved]);
    ++count[high];
  }
  CHECK(error < 0.8 * naive);
  CHECK(shift[0] / count[0] > 0.3);  // planted: 1
  CHECK(shift[1] / count[1] > 0.5);  // planted: 3, of which six genes and so many epochs reach a part
  CHECK(model.info().embed_dim_drug == kGenes);
}

TEST_CASE("CSG2A refuses rows without a dose instead of taking them for one condition") {
  Table table = profiles(20, 6);
  table.dose[3] = std::nanf("");
  const View train(table);
  Model model("csg2a", "baseline.csg2a_expression", table, expression_params(1), CDRZOO_TASK_EXPRESSION);
  CHECK_THROWS_WITH(model.fit(train), contains("needs the dose and the time of every row"));
}

TEST_CASE("The same seed gives the same CSG2A bit for bit, another seed another one") {
  const Table table = world(20, 8);
  const View train(table);
  const auto run = [&](std::uint64_t seed) {
    Model model("csg2a", kId, table, params(2));
    model.fit(train, nullptr, seed);
    return model.predict(train);
  };
  const auto first = run(7);
  CHECK(run(7) == first);
  CHECK(run(8) != first);
}

TEST_CASE("The order of the entity tables does not change CSG2A") {
  const Table table = world(20, 9);
  Table turned = table;
  std::reverse(turned.samples.key.begin(), turned.samples.key.end());
  auto& x = turned.samples.blocks[0].f32;
  for (std::size_t i = 0; i < 10; ++i) {
    for (std::size_t g = 0; g < kGenes; ++g) std::swap(x[kGenes * i + g], x[kGenes * (19 - i) + g]);
  }
  for (auto& s : turned.sample) s = 19 - s;
  turned.drugs.key = {3, 2, 1, 0};
  turned.drugs.blocks[0] = Block::graphs("graph_mat", 28, {chain(4, 3), chain(5, 2), chain(5, 3), chain(3, 2)});
  for (auto& d : turned.drug) d = 3 - d;
  const View train(table), train_turned(turned);
  Model a("csg2a", kId, table, params(2));
  Model b("csg2a", kId, table, params(2));
  a.fit(train);
  b.fit(train_turned);
  CHECK(a.predict(train) == b.predict(train_turned));
}

TEST_CASE("CSG2A survives saving and loading bit for bit, under the keys of its checkpoints") {
  const Table table = world(20, 10);
  const View train(table);
  Model model("csg2a", kId, table, params(2));
  model.fit(train);
  const auto before = model.predict(train);
  State state = model.save();
  for (const char* key : {"scalar", "bias", "CSG2A.w_gex", "CSG2A.CCE.comp_proj.1.running_var",
                          "CSG2A.CCE.MAT.encoder.layers.0.self_attn.linears.3.weight", "pred_head.8.bias"}) {
    INFO(key);
    CHECK(state.tensors.count(key) == 1);
  }
  CHECK(state.texts.at("gene_order_sha256").size() == 64);
  model.load(state);
  CHECK(model.predict(train) == before);
  Table other = table;
  std::swap(other.samples.blocks[0].feature_names[0], other.samples.blocks[0].feature_names[1]);
  const View foreign(other);
  CHECK_THROWS_WITH(model.predict(foreign), contains("another order"));
}

TEST_CASE("A checkpoint is loaded, frozen, and refused for other genes") {
  const Table lincs = profiles(30, 11);
  const View profile_view(lincs);
  Model pretraining("csg2a", "baseline.csg2a_expression", lincs, expression_params(2), CDRZOO_TASK_EXPRESSION);
  pretraining.fit(profile_view);
  Call call;
  call.assets["checkpoint"].tensors = pretraining.save();
  const State before = pretraining.save();
  const std::string edges = "source,target\nG0,G1\nG1,G5\n";
  call.assets["prior_edges"].bytes.assign(edges.begin(), edges.end());

  const Table table = world(30, 12);
  const View train(table);
  for (const std::string variant : {"paper", "reference"}) {
    Model model("csg2a", kId, table, params(2, variant));
    Call fit_call;
    fit_call.assets = call.assets;
    model.fit(fit_call, train);
    const State after = model.save();
    for (const auto& [key, tensor] : before.tensors) {
      if (after.tensors.count("CSG2A." + key) == 0) continue;
      INFO(variant << " " << key);
      const bool statistics = key.find("running") != std::string::npos || key.find("num_batches") != std::string::npos;
      CHECK((after.tensors.at("CSG2A." + key).bytes == tensor.bytes) == (!statistics || variant == "paper"));
    }
    const auto& sums = after.tensors.at("prior_row_sums").bytes;
    std::vector<float> row_sums(kGenes);
    std::memcpy(row_sums.data(), sums.data(), sums.size());
    CHECK(row_sums == std::vector<float>{2, 3, 1, 1, 1, 2});
    CHECK(std::none_of(fit_call.log.begin(), fit_call.log.end(),
                       [](const auto& line) { return line.find("from scratch") != std::string::npos; }));
  }

  Model model("csg2a", kId, table, params(2));
  call.assets["checkpoint"].tensors.texts["gene_order_sha256"] = std::string(64, '0');
  CHECK_THROWS_WITH(model.fit(call, train), contains("another order"));
  Call no_weights;
  no_weights.assets["checkpoint"].tensors.texts["x"] = "y";
  CHECK_THROWS_WITH(model.fit(no_weights, train), contains("no weights of CSG2A"));
}

TEST_CASE("Without a checkpoint CSG2A says that it is trained from scratch") {
  const Table table = world(10, 13);
  const View train(table);
  Model model("csg2a", kId, table, params(1));
  Call call;
  model.fit(call, train);
  REQUIRE(call.log.size() >= 1);
  CHECK(call.log[0].find("trained from scratch") != std::string::npos);
}

TEST_CASE("CSG2A embeds samples and drugs, also drugs without a structure") {
  Table table = world(10, 14);
  table.drugs.blocks[0] = Block::graphs("graph_mat", 28, {chain(3, 2), SmallGraph{}, chain(5, 2), chain(4, 3)});
  const View train(table);
  Model model("csg2a", kId, table, params(1));
  model.fit(train);
  for (const float v : model.predict(train)) CHECK(std::isfinite(v));
  for (const float v : model.embed(CDRZOO_AXIS_SAMPLE, train, 10, 16)) CHECK(std::isfinite(v));
  for (const float v : model.embed(CDRZOO_AXIS_DRUG, train, kDrugs, kGenes)) CHECK(std::isfinite(v));
}

TEST_CASE("A cancelled CSG2A stops, and a last batch of one row joins the one before") {
  const Table table = world(25, 15);  // 100 rows: three batches of 32 and four rows
  const View train(table);
  Model model("csg2a", kId, table, params(1000));
  Call call;
  call.cancel_after = 9;
  CHECK_THROWS_WITH(model.fit(call, train), contains("cancelled"));
  CHECK(call.checks == 10);
  Table odd = table;  // 97 rows
  odd.sample.resize(97), odd.drug.resize(97), odd.target.resize(97);
  const View odd_train(odd);
  Model other("csg2a", kId, odd, params(1));
  CHECK_NOTHROW(other.fit(odd_train));
}
