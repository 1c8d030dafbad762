// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <random>

#include "harness.hpp"
#include "support/catch.hpp"

using namespace cdrzoo::test;

namespace {

constexpr int kGenes = 7;
constexpr double kFloat = 2e-5;  // predictions are float, values of order 10
const std::vector<std::string> kAll = {"perturbation.control_mean", "perturbation.train_mean",
                                       "perturbation.mean_shift",   "perturbation.additive",
                                       "perturbation.pca_ridge",    "perturbation.nearest_context"};

std::vector<Param> params(const std::string& id, std::int64_t components = 32, double penalty = 1e-6) {
  if (id != "perturbation.pca_ridge") return {};
  return {integer("components", components), real("penalty", penalty)};
}

/// One profile: what was done in which context, and where its references were measured (-1: there is none).
struct Row {
  int context = 0;
  int p = 0;
  int q = -1;
  float dose = -6;
  float time = 24;
  int reference = -1;
  int reference_b = -1;
};

/// How the same rows are written down: none of it may matter.
struct Form {
  bool reversed_rows = false, reversed_entities = false;
  std::int64_t salt = 0;
};

/// Contexts and perturbations with random profiles, and the truth of any row. Additive: control + effect of p (times
/// the strength of the dose) + effect of q + interaction * (what context and combination make of it).
struct World {
  World(int n_contexts, int n_perturbations, unsigned seed) : contexts(n_contexts), perturbations(n_perturbations) {
    std::mt19937 rng(seed);
    std::normal_distribution<double> normal;
    const auto fill = [&](std::vector<std::vector<double>>& table, int n, double mean) {
      for (int i = 0; i < n; ++i) {
        table.emplace_back();
        for (int g = 0; g < kGenes; ++g) table.back().push_back(mean + normal(rng));
      }
    };
    fill(control, contexts, 5);
    fill(effect, perturbations, 0);
    fill(pair, perturbations, 0);
  }

  [[nodiscard]] std::vector<float> control_of(int c) const { return {control[at(c)].begin(), control[at(c)].end()}; }
  [[nodiscard]] std::vector<float> truth(const Row& row) const {
    std::vector<float> x;
    for (std::size_t g = 0; g < kGenes; ++g) {
      const double scale = row.dose < -6.5F ? weak : 1.0;
      double y = control[at(row.context)][g] + strength * scale * effect[at(row.p)][g];
      if (row.q >= 0) y += strength * effect[at(row.q)][g] + interaction * pair[at(row.p)][g] * pair[at(row.q)][g];
      x.push_back(static_cast<float>(y));
    }
    return x;
  }

  [[nodiscard]] Table table(std::vector<Row> rows, bool train, const Form& form = {}) const {
    if (form.reversed_rows) std::reverse(rows.begin(), rows.end());
    Table t;
    t.n_targets = kGenes;
    std::vector<std::pair<std::int64_t, std::vector<float>>> samples;
    std::vector<int> drugs;
    const auto sample = [&](std::int64_t key, const std::vector<float>& x) {
      for (std::size_t i = 0; i < samples.size(); ++i) {
        if (samples[i].first == key) return static_cast<std::int32_t>(i);
      }
      samples.emplace_back(key, x);
      return static_cast<std::int32_t>(samples.size() - 1);
    };
    const auto drug = [&](int p) {
      const auto place = std::find(drugs.begin(), drugs.end(), p) - drugs.begin();
      if (place == static_cast<std::ptrdiff_t>(drugs.size())) drugs.push_back(p);
      return static_cast<std::int32_t>(place);
    };
    for (const Row& row : rows) {
      t.drug.push_back(drug(row.p));
      t.drug_b.push_back(row.q < 0 ? -1 : drug(row.q));
      t.control.push_back(sample(row.context, control_of(row.context)));
      t.context.push_back(row.context);
      t.dose.push_back(row.dose);
      t.time.push_back(row.time);
      const auto refer = [&](int p, int c, std::vector<std::int32_t>& treated, std::vector<std::int32_t>& untreated) {
        treated.push_back(c < 0 ? -1 : sample(1000 + 100 * c + p, truth({c, p, -1, row.dose, row.time, -1, -1})));
        untreated.push_back(c < 0 ? -1 : sample(c, control_of(c)));
      };
      if (train) {
        const auto x = truth(row);
        t.target.insert(t.target.end(), x.begin(), x.end());
      } else {
        refer(row.p, row.reference, t.reference, t.reference_control);
        refer(std::max(row.q, 0), row.reference_b, t.reference_b, t.reference_b_control);
      }
    }
    const auto ns = static_cast<std::int32_t>(samples.size());
    const auto nd = static_cast<std::int32_t>(drugs.size());
    if (form.reversed_entities) {
      std::reverse(samples.begin(), samples.end());
      std::reverse(drugs.begin(), drugs.end());
      for (auto* column : {&t.control, &t.reference, &t.reference_control, &t.reference_b, &t.reference_b_control}) {
        for (auto& i : *column) i = i < 0 ? -1 : ns - 1 - i;
      }
      for (auto* column : {&t.drug, &t.drug_b}) {
        for (auto& i : *column) i = i < 0 ? -1 : nd - 1 - i;
      }
    }
    Block x = Block::dense("expression", kGenes, {});
    for (const auto& [key, values] : samples) {
      t.samples.key.push_back(key ^ form.salt);
      x.f32.insert(x.f32.end(), values.begin(), values.end());
    }
    t.samples.blocks.push_back(x);
    for (const int p : drugs) t.drugs.key.push_back(p ^ form.salt);
    return t;
  }

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  int contexts, perturbations;
  std::vector<std::vector<double>> control, effect, pair;
  double strength = 1, weak = 0.5, interaction = 0;
};

/// All singles of the contexts [c0, c1) and perturbations [p0, p1).
std::vector<Row> singles(int c0, int c1, int p0, int p1, int reference = -1) {
  std::vector<Row> rows;
  for (int c = c0; c < c1; ++c) {
    for (int p = p0; p < p1; ++p) rows.push_back({c, p, -1, -6, 24, reference, -1});
  }
  return rows;
}

std::vector<float> predict(const World& world, const std::string& id, const std::vector<Row>& train,
                           const std::vector<Row>& query, const Form& form = {}, std::int64_t components = 32,
                           double penalty = 1e-6) {
  const Table asked = world.table(query, false, form);
  const View train_view(world.table(train, true, form));
  const View query_view(asked);
  Model model("perturbation", id, asked, params(id, components, penalty), CDRZOO_TASK_EXPRESSION);
  model.fit(train_view);
  auto found = model.predict(query_view, kGenes);
  if (form.reversed_rows) {
    const auto n = static_cast<std::ptrdiff_t>(query.size());
    for (std::ptrdiff_t i = 0; i < n / 2; ++i) {
      std::swap_ranges(found.begin() + i * kGenes, found.begin() + (i + 1) * kGenes,
                       found.begin() + (n - 1 - i) * kGenes);
    }
  }
  return found;
}

double largest_error(const World& world, const std::vector<Row>& query, const std::vector<float>& found) {
  double largest = 0;
  for (std::size_t i = 0; i < query.size(); ++i) {
    const auto truth = world.truth(query[i]);
    for (std::size_t g = 0; g < kGenes; ++g) {
      largest = std::max(largest, std::abs(static_cast<double>(found[i * kGenes + g]) - static_cast<double>(truth[g])));
    }
  }
  return largest;
}

}  // namespace

TEST_CASE("the control mean is exact where nothing acts, and does not look at training") {
  World world(3, 4, 1);
  world.strength = 0;
  const auto query = singles(2, 3, 0, 4);
  CHECK(largest_error(world, query, predict(world, "perturbation.control_mean", singles(0, 2, 0, 3), query)) == 0);
  World other(3, 4, 1);
  CHECK(predict(other, "perturbation.control_mean", singles(0, 2, 0, 3), query) ==
        predict(world, "perturbation.control_mean", singles(0, 2, 0, 3), query));
}

TEST_CASE("the training mean is that of the context, else of all, over conditions and not over rows") {
  const World world(3, 4, 2);
  auto train = singles(0, 2, 0, 2);
  train.push_back(train.front());  // a second row of a condition must not count twice
  const auto found = predict(world, "perturbation.train_mean", train, singles(1, 3, 3, 4));
  for (std::size_t g = 0; g < kGenes; ++g) {
    const double effect = (world.effect[0][g] + world.effect[1][g]) / 2;
    CHECK_THAT(found[g], WithinAbs(world.control[1][g] + effect, kFloat));
    CHECK_THAT(found[kGenes + g], WithinAbs((world.control[0][g] + world.control[1][g]) / 2 + effect, kFloat));
  }
}

TEST_CASE("additive effects are recovered exactly in a new context") {
  const auto id = GENERATE(as<std::string>{}, "perturbation.mean_shift", "perturbation.additive",
                           "perturbation.nearest_context", "perturbation.pca_ridge");
  const World world(5, 6, 3);
  const auto query = singles(4, 5, 0, 6);
  CHECK(largest_error(world, query, predict(world, id, singles(0, 4, 0, 6), query)) < kFloat);
}

TEST_CASE("a new perturbation is read off its reference") {
  const auto id = GENERATE(as<std::string>{}, "perturbation.mean_shift", "perturbation.additive",
                           "perturbation.nearest_context", "perturbation.pca_ridge");
  const World world(4, 8, 4);
  const auto query = singles(1, 4, 7, 8, /*reference=*/0);
  CHECK(largest_error(world, query, predict(world, id, singles(0, 4, 0, 7), query)) < kFloat);
  SECTION("and is the average effect where there is none") {
    const auto blind = singles(1, 2, 7, 8);
    const auto found = predict(world, id, singles(0, 4, 0, 7), blind, {}, 32, 1e12);
    for (std::size_t g = 0; g < kGenes; ++g) {
      double average = 0;
      for (std::size_t p = 0; p < 7; ++p) average += world.effect[p][g] / 7;
      CHECK_THAT(found[g], WithinAbs(world.control[1][g] + average, kFloat));
    }
  }
}

TEST_CASE("additive combinations are recovered exactly where the singles are seen") {
  const auto id =
      GENERATE(as<std::string>{}, "perturbation.additive", "perturbation.nearest_context", "perturbation.pca_ridge");
  const World world(3, 6, 5);
  std::vector<Row> query;
  for (int p = 0; p < 5; ++p) query.push_back({p % 3, p, p + 1});
  CHECK(largest_error(world, query, predict(world, id, singles(0, 3, 0, 6), query)) < kFloat);
  SECTION("or one is seen and the other has a reference") {
    const std::vector<Row> mixed = {{1, 5, 2, -6, 24, 1, 1}, {1, 2, 5, -6, 24, -1, 1}};
    CHECK(largest_error(world, mixed, predict(world, id, singles(0, 3, 0, 5), mixed)) < kFloat);
  }
}

TEST_CASE("the mean shift of a new combination is the mean of its members, and of a seen one its own") {
  World world(3, 3, 6);
  world.interaction = 1;
  auto train = singles(0, 2, 0, 3);
  train.push_back({0, 0, 1});
  const std::vector<Row> query = {{2, 1, 2}, {2, 1, 0}};
  const auto found = predict(world, "perturbation.mean_shift", train, query);
  for (std::size_t g = 0; g < kGenes; ++g) {
    CHECK_THAT(found[g], WithinAbs(world.control[2][g] + (world.effect[1][g] + world.effect[2][g]) / 2, kFloat));
    CHECK_THAT(found[kGenes + g], WithinAbs(static_cast<double>(world.truth({2, 0, 1})[g]), kFloat));
  }
}

TEST_CASE("the same dose and time count before the others") {
  const auto id = GENERATE(as<std::string>{}, "perturbation.mean_shift", "perturbation.additive",
                           "perturbation.nearest_context", "perturbation.pca_ridge");
  const World world(4, 6, 7);
  auto train = singles(0, 3, 0, 6);
  for (auto row : singles(0, 3, 0, 6)) {
    row.dose = -7;
    train.push_back(row);
  }
  auto query = singles(3, 4, 0, 6);
  for (auto& row : query) row.dose = -7;
  CHECK(largest_error(world, query, predict(world, id, train, query)) < kFloat);
}

TEST_CASE("the nearest context is taken for what differs between contexts") {
  World world(4, 3, 8);
  world.control[3] = world.control[1];
  world.control[3][0] += 0.01;
  const auto train = singles(0, 3, 0, 3);
  // The change itself follows the context: that of context 1 is another one.
  Table table = world.table(train, true);
  for (std::size_t i = 3; i < 6; ++i) {
    for (std::size_t g = 0; g < kGenes; ++g) table.target[i * kGenes + g] += 2;
  }
  const Table asked = world.table(singles(3, 4, 0, 3), false);
  const View train_view(table);
  const View query_view(asked);
  Model model("perturbation", "perturbation.nearest_context", asked, {}, CDRZOO_TASK_EXPRESSION);
  model.fit(train_view);
  const auto found = model.predict(query_view, kGenes);
  for (int p = 0; p < 3; ++p) {
    const auto truth = world.truth({3, p});
    for (std::size_t g = 0; g < kGenes; ++g) {
      CHECK_THAT(found[World::at(p) * kGenes + g], WithinAbs(static_cast<double>(truth[g]) + 2, kFloat));
    }
  }
}

TEST_CASE("the PCA ridge learns how a context answers, where the mean shift cannot") {
  // Each context adds a multiple of its own control to every change, so the change depends on the control.
  const World world(30, 5, 9);
  const auto with_answer = [&](Table t, const std::vector<Row>& rows) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      for (std::size_t g = 0; g < kGenes; ++g) {
        t.target[i * kGenes + g] += static_cast<float>(0.5 * (world.control[World::at(rows[i].context)][g] - 5));
      }
    }
    return t;
  };
  const auto train = singles(0, 29, 0, 5);
  const auto query = singles(29, 30, 0, 5);
  const Table truth = with_answer(world.table(query, true), query);
  const auto error = [&](const std::string& id) {
    const Table asked = world.table(query, false);
    const View train_view(with_answer(world.table(train, true), train));
    const View query_view(asked);
    Model model("perturbation", id, asked, params(id, 16, 1e-4), CDRZOO_TASK_EXPRESSION);
    model.fit(train_view);
    const auto found = model.predict(query_view, kGenes);
    double sum = 0;
    for (std::size_t i = 0; i < found.size(); ++i) sum += std::pow(static_cast<double>(found[i] - truth.target[i]), 2);
    return std::sqrt(sum / static_cast<double>(found.size()));
  };
  const double shift = error("perturbation.mean_shift");
  CHECK(shift > 0.2);
  CHECK(error("perturbation.pca_ridge") < 0.05 * shift);
}

TEST_CASE("the order of rows and entities and the keys of the perturbation baselines do not matter") {
  const auto id = GENERATE(from_range(kAll));
  World world(4, 5, 10);
  world.interaction = 0.5;
  auto train = singles(0, 3, 0, 4);
  train.push_back({0, 0, 1});
  train.push_back({1, 1, 2});
  auto query = singles(3, 4, 0, 5, /*reference=*/0);
  query.push_back({3, 0, 1, -6, 24, 0, 0});
  query.push_back({3, 2, 4, -7, 6, 1, 1});
  const auto plain = predict(world, id, train, query, {}, 3, 0.1);
  for (const Form& form : {Form{true, false, 0}, Form{false, true, 0}, Form{false, false, 0x5a5a5a5a5a}}) {
    const auto other = predict(world, id, train, query, form, 3, 0.1);
    for (std::size_t i = 0; i < plain.size(); ++i) {
      CHECK_THAT(other[i], WithinAbs(static_cast<double>(plain[i]), 1e-5));
    }
  }
}

TEST_CASE("a perturbation baseline survives saving and loading bit for bit") {
  const auto id = GENERATE(from_range(kAll));
  const World world(3, 4, 11);
  auto train = singles(0, 2, 0, 3);
  train.push_back({0, 0, 1});
  auto query = singles(2, 3, 0, 4, 0);
  query.push_back({2, 0, 2, -6, 24, 0, 0});
  const Table asked = world.table(query, false);
  const View train_view(world.table(train, true));
  const View query_view(asked);
  Model model("perturbation", id, asked, params(id), CDRZOO_TASK_EXPRESSION);
  model.fit(train_view);
  const auto before = model.predict(query_view, kGenes);
  State state = model.save();
  model.load(state);
  CHECK(model.predict(query_view, kGenes) == before);
}

TEST_CASE("what the mask calls missing does not count") {
  const World world(3, 3, 12);
  const auto train = singles(0, 2, 0, 3);
  Table table = world.table(train, true);
  table.mask.assign(table.target.size(), 1);
  table.mask[0] = 0;
  table.target[0] = std::numeric_limits<float>::quiet_NaN();
  const auto query = singles(2, 3, 0, 3);
  const Table asked = world.table(query, false);
  const View train_view(table);
  const View query_view(asked);
  Model model("perturbation", "perturbation.nearest_context", asked, {}, CDRZOO_TASK_EXPRESSION);
  model.fit(train_view);
  const auto found = model.predict(query_view, kGenes);
  CHECK(std::all_of(found.begin(), found.end(), [](float x) { return std::isfinite(x); }));

  // A profile has no value there, rather than 0: the mean is that of the other conditions.
  Model mean("perturbation", "perturbation.train_mean", asked, {}, CDRZOO_TASK_EXPRESSION);
  mean.fit(train_view);
  double others = 0;
  for (std::size_t row = 1; row < train.size(); ++row) others += static_cast<double>(table.target[row * kGenes]);
  CHECK_THAT(static_cast<double>(mean.predict(query_view, kGenes)[0]),
             WithinAbs(others / static_cast<double>(train.size() - 1), 1e-5));
}

TEST_CASE("the perturbation baselines say what they cannot do") {
  const World world(3, 3, 13);
  const auto train = singles(0, 2, 0, 3);
  const auto query = singles(2, 3, 0, 3);
  SECTION("a target that is not a number") {
    Table table = world.table(train, true);
    table.target[kGenes + 2] = std::numeric_limits<float>::infinity();
    const View view(table);
    Model model("perturbation", "perturbation.mean_shift", world.table(query, false), {}, CDRZOO_TASK_EXPRESSION);
    CHECK_THROWS_WITH(model.fit(view), contains("the target of row 1, gene 2 is not finite"));
  }
  SECTION("another task") {
    CHECK_THROWS_WITH(Model("perturbation", "perturbation.additive", world.table(query, false), {}),
                      contains("task expression"));
  }
  SECTION("no training rows") {
    Table table = world.table(train, true);
    for (auto* column : {&table.drug, &table.drug_b, &table.control, &table.context}) column->clear();
    table.dose.clear();
    table.time.clear();
    table.target.clear();
    table.target.reserve(1);
    const View view(table);
    Model model("perturbation", "perturbation.train_mean", world.table(query, false), {}, CDRZOO_TASK_EXPRESSION);
    CHECK_THROWS_AS(model.fit(view), Failure);
  }
  SECTION("a row without a control has a status, and no prediction is made up for it") {
    Table asked = world.table(query, false);
    asked.control[1] = -1;
    const View train_view(world.table(train, true));
    const View query_view(asked);
    for (const auto& id : kAll) {
      if (id == "perturbation.train_mean") continue;  // it needs none
      Model model("perturbation", id, asked, params(id), CDRZOO_TASK_EXPRESSION);
      model.fit(train_view);
      try {
        (void)model.predict(query_view, kGenes);
        FAIL(id << " predicted");
      } catch (const Failure& failure) {
        CHECK(failure.status == CDRZOO_ROW_UNSUPPORTED_ENTITY);
      }
    }
  }
  SECTION("a state whose conditions name a drug that it does not hold") {
    const Table asked = world.table(query, false);
    const View train_view(world.table(train, true));
    Model model("perturbation", "perturbation.mean_shift", asked, {}, CDRZOO_TASK_EXPRESSION);
    model.fit(train_view);
    State state = model.save();
    state.tensors["drug.key"].array.shape[0] = 1;
    CHECK_THROWS_WITH(model.load(state), contains("of drugs"));
  }
}
