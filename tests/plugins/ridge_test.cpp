// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <random>

#include "harness.hpp"
#include "support/catch.hpp"

using namespace cdrzoo::test;

namespace {

constexpr int kGenes = 6;
constexpr int kBits = 32;

std::vector<Param> params(double lambda, double sharing, double lambda_drug = 1.0) {
  return {real("lambda", lambda), real("sharing", sharing), real("lambda_drug", lambda_drug)};
}

/// Samples and drugs with random features. A drug's response is a plane in the expression, its slope and level set by
/// which half of the bits it has: drugs 0, 2, 4 ... are of one kind, 1, 3, 5 ... of the other.
struct World {
  World(int samples, int drugs, unsigned seed) : n(samples), m(drugs) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    for (int i = 0; i < n * kGenes; ++i) expression.push_back(normal(rng));
    for (int j = 0; j < m; ++j) {
      for (int b = 0; b < kBits; ++b) {
        const bool own_half = (b < kBits / 2) == (j % 2 == 0);
        bits.push_back(own_half && rng() % 4 != 0 ? 1 : 0);
      }
    }
  }
  [[nodiscard]] double truth(int i, int j) const {
    const double x = expression[static_cast<std::size_t>(i * kGenes)];
    return j % 2 == 0 ? 4 + 2 * x : -3 - x;
  }
  /// All pairs of the samples [s0, s1) and drugs [d0, d1). Keys are the numbers; with reverse, the tables are reversed.
  [[nodiscard]] Table table(int s0, int s1, int d0, int d1, bool labelled, bool fingerprints = true,
                            bool reverse = false) const {
    Table t;
    Block x = Block::dense("expression", kGenes, {});
    Block f = Block::bits("morgan", kBits, {});
    for (int r = s0; r < s1; ++r) {
      const int i = reverse ? s1 - 1 - (r - s0) : r;
      t.samples.key.push_back(i);
      x.f32.insert(x.f32.end(), expression.begin() + i * kGenes, expression.begin() + (i + 1) * kGenes);
    }
    for (int r = d0; r < d1; ++r) {
      const int j = reverse ? d1 - 1 - (r - d0) : r;
      t.drugs.key.push_back(j);
      f.u8.insert(f.u8.end(), bits.begin() + j * kBits, bits.begin() + (j + 1) * kBits);
    }
    t.samples.blocks.push_back(x);
    if (fingerprints) t.drugs.blocks.push_back(f);
    for (int i = 0; i < s1 - s0; ++i) {
      for (int j = 0; j < d1 - d0; ++j) {
        t.sample.push_back(i);
        t.drug.push_back(j);
        if (labelled) {
          t.target.push_back(static_cast<float>(truth(static_cast<int>(t.samples.key[static_cast<std::size_t>(i)]),
                                                      static_cast<int>(t.drugs.key[static_cast<std::size_t>(j)]))));
        }
      }
    }
    return t;
  }
  int n, m;
  std::vector<float> expression;
  std::vector<std::uint8_t> bits;
};

double rmse(const World& world, const Table& query, const std::vector<float>& found) {
  double sum = 0;
  for (std::size_t r = 0; r < found.size(); ++r) {
    const auto i = query.samples.key[static_cast<std::size_t>(query.sample[r])];
    const auto j = query.drugs.key[static_cast<std::size_t>(query.drug[r])];
    const double e = static_cast<double>(found[r]) - world.truth(static_cast<int>(i), static_cast<int>(j));
    sum += e * e;
  }
  return std::sqrt(sum / static_cast<double>(found.size()));
}

}  // namespace

TEST_CASE("ridge recovers each drug's plane for new samples, in whatever order the entities come") {
  const World world(60, 5, 1);
  const bool fingerprints = GENERATE(true, false);
  const Table table = world.table(0, 40, 0, 5, true, fingerprints);
  const Table query = world.table(40, 60, 0, 5, false, fingerprints, /*reverse=*/true);
  const View train(table);
  const View ask(query);
  Model model("ridge", "baseline.ridge", table, params(1e-4, 0));
  model.fit(train);
  CHECK(rmse(world, query, model.predict(ask)) < 1e-4);
}

TEST_CASE("ridge predicts a new drug from drugs of its kind") {
  const World world(60, 12, 2);
  const Table table = world.table(0, 40, 0, 10, true);
  const Table query = world.table(40, 60, 10, 12, false);
  const View train(table);
  const View ask(query);
  Model model("ridge", "baseline.ridge", table, params(1, 0.9, 0.1));
  model.fit(train);
  // the truth has a standard deviation of about 4 between and 1.6 within drugs
  CHECK(rmse(world, query, model.predict(ask)) < 1.0);

  SECTION("without fingerprints it knows only what all drugs have in common") {
    const Table blind = world.table(0, 40, 0, 10, true, false);
    const Table blind_query = world.table(40, 60, 10, 12, false, false);
    const View blind_train(blind);
    const View blind_ask(blind_query);
    Model other("ridge", "baseline.ridge", blind, params(1, 0.9, 0.1));
    other.fit(blind_train);
    CHECK(rmse(world, blind_query, other.predict(blind_ask)) > 2.0);
  }
}

TEST_CASE("without sharing, a drug's predictions do not depend on the other drugs") {
  const World world(40, 4, 3);
  const Table all = world.table(0, 30, 0, 4, true);
  const Table one = world.table(0, 30, 2, 3, true);
  const Table query = world.table(30, 40, 2, 3, false);
  const View train_all(all);
  const View train_one(one);
  const View ask(query);
  Model a("ridge", "baseline.ridge", all, params(5, 0));
  Model b("ridge", "baseline.ridge", one, params(5, 0));
  a.fit(train_all);
  b.fit(train_one);
  const auto x = a.predict(ask);
  const auto y = b.predict(ask);
  for (std::size_t i = 0; i < x.size(); ++i) CHECK_THAT(x[i], WithinAbs(y[i], 1e-5));
}

TEST_CASE("with a huge penalty ridge predicts the mean of the drug") {
  const World world(30, 2, 4);
  const Table table = world.table(0, 30, 0, 2, true);
  const View train(table);
  Model model("ridge", "baseline.ridge", table, params(1e12, 0.3));
  model.fit(train);
  double mean = 0;
  for (std::size_t r = 0; r < table.target.size(); r += 2) mean += static_cast<double>(table.target[r]) / 30;
  CHECK_THAT(static_cast<double>(model.predict(train)[0]), WithinAbs(mean, 1e-5));
}

TEST_CASE("ridge averages repeated measurements and leaves out masked ones") {
  const World world(30, 2, 5);
  Table plain = world.table(0, 20, 0, 2, true);
  Table repeated = plain;
  repeated.sample.push_back(3);
  repeated.drug.push_back(1);
  repeated.target.push_back(plain.target[7] + 2);  // row 7 is the pair (3, 1)
  repeated.sample.push_back(4);
  repeated.drug.push_back(0);
  repeated.target.push_back(1e6F);
  repeated.mask.assign(repeated.target.size(), 1);
  repeated.mask.back() = 0;
  plain.target[7] += 1;
  const View train_plain(plain);
  const View train_repeated(repeated);
  const Table query = world.table(20, 30, 0, 2, false);
  const View ask(query);
  Model a("ridge", "baseline.ridge", plain, params(2, 0.1));
  Model b("ridge", "baseline.ridge", plain, params(2, 0.1));
  a.fit(train_plain);
  b.fit(train_repeated);
  const auto x = a.predict(ask);
  const auto y = b.predict(ask);
  for (std::size_t i = 0; i < x.size(); ++i) CHECK_THAT(x[i], WithinAbs(y[i], 1e-5));
}

TEST_CASE("a ridge model survives saving and loading bit for bit") {
  const World world(40, 6, 6);
  const bool fingerprints = GENERATE(true, false);
  const Table table = world.table(0, 30, 0, 4, true, fingerprints);
  const Table query = world.table(30, 40, 2, 6, false, fingerprints);
  const View train(table);
  const View ask(query);
  Model model("ridge", "baseline.ridge", table, params(3, 0.4));
  model.fit(train);
  const auto before = model.predict(ask);
  State state = model.save();
  model.load(state);
  CHECK(model.predict(ask) == before);
  CHECK(model.info().n_parameters == kGenes * 4 + 4);

  SECTION("a tensor of another size is refused") {
    state.tensors["coefficient"].array.shape[1] = 3;
    CHECK_THROWS_WITH(model.load(state), contains("coefficient"));
  }
}

TEST_CASE("ridge says what it cannot do") {
  const World world(20, 2, 7);
  Table table = world.table(0, 20, 0, 2, true);
  SECTION("several targets") {
    table.n_targets = 2;
    table.target.insert(table.target.end(), table.target.begin(), table.target.end());
    CHECK_THROWS_WITH(Model("ridge", "baseline.ridge", table, params(1, 0)), contains("one target"));
  }
  SECTION("no expression") {
    table.samples.blocks.clear();
    CHECK_THROWS_WITH(Model("ridge", "baseline.ridge", table, params(1, 0)), contains("expression"));
  }
  SECTION("missing expression values") {
    table.samples.blocks[0].f32[8] = std::numeric_limits<float>::quiet_NaN();
    const View train(table);
    Model model("ridge", "baseline.ridge", table, params(1, 0));
    CHECK_THROWS_WITH(model.fit(train), contains("gene 2 in sample 1"));
  }
  SECTION("cancelled") {
    const View train(table);
    Model model("ridge", "baseline.ridge", table, params(1, 0));
    Call call;
    call.cancel_after = 2;
    try {
      model.fit(call, train);
      FAIL("fitted");
    } catch (const Failure& failure) {
      CHECK(failure.status == CDRZOO_E_CANCELLED);
    }
  }
}
