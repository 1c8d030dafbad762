// SPDX-License-Identifier: Apache-2.0
#include "../../plugins/baselines/perturbation/perturbation_math.hpp"

#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "../../plugins/baselines/perturbation/latent_math.hpp"
#include "support/catch.hpp"

using namespace cdrzoo::perturbation;
using cdrzoo::ridge::multiply;
using cdrzoo::ridge::Op;
using cdrzoo::test::WithinAbs;

namespace {

constexpr double kExact = 1e-12;
constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();
const cdrzoo::ridge::Checkpoint kNever = [] {};

Place place(int context, float dose = -6, float time = 24) { return {context, dose, time}; }
Condition single(int p, Place at) { return {{p, kNone}, at}; }
Condition both(int p, int q, Place at) { return {combine(p, q), at}; }

Matrix matrix(int rows, int cols, std::vector<double> values) {
  Matrix m(rows, cols);
  m.v = std::move(values);
  return m;
}

Matrix random_matrix(int rows, int cols, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<double> normal;
  Matrix m(rows, cols);
  for (auto& v : m.v) v = normal(rng);
  return m;
}

void check_equal(const std::vector<double>& found, const std::vector<double>& expected, double tolerance = kExact) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("element " << i);
    CHECK_THAT(found[i], WithinAbs(expected[i], tolerance));
  }
}

// Changes of one gene, powers of two, so that every mean tells what it was made of.
Effects small_world() {
  return {{single(0, place(0)), single(0, place(1)), single(0, place(1, -5)), single(1, place(1)), both(0, 1, place(2)),
           single(2, place(2, kUnknown, 6))},
          matrix(6, 1, {1, 2, 4, 8, 16, 32})};
}

Query ask(Member a, Place at) { return {a, {}, at}; }
Query ask(Member a, Member b, Place at) { return {a, b, at}; }
Member known(int id) { return {id, nullptr}; }

}  // namespace

TEST_CASE("a combination is the same in either order, and a condition with an unknown dose is one condition") {
  CHECK(combine(3, 1) == combine(1, 3));
  CHECK_FALSE(is_combination(combine(3, kNone)));
  CHECK(is_combination(combine(3, kUnseen)));
  ConditionIndex index;
  CHECK(index.find_or_add(both(3, 1, place(0, kUnknown))) == 0);
  CHECK(index.find_or_add(both(1, 3, place(0, kUnknown))) == 0);
  CHECK(index.find_or_add(both(1, 3, place(0, -6))) == 1);
  CHECK(index.find_or_add(both(1, 3, place(1, kUnknown))) == 2);
  CHECK(index.find_or_add(single(1, place(0, 0.0F))) == 3);
  CHECK(index.find_or_add(single(1, place(0, -0.0F))) == 3);
  CHECK(index.conditions().size() == 4);
}

TEST_CASE("group means are means of the observed values, and 0 where there is none") {
  const std::vector<float> x = {1, 2, 3, 5, 7, 9, 100, 200, 300};
  const std::vector<float> control = {1, 1, 1};
  const std::vector<std::uint8_t> observed = {1, 0, 1};
  GroupMeans means(2, 3);
  means.add(0, x.data(), control.data());
  means.add(0, x.data() + 3, control.data(), observed.data());
  means.add(1, x.data() + 6, nullptr, observed.data());
  check_equal(means.take().v, {2, 1, 5, 100, 0, 300});
}

TEST_CASE("the conditions that count are of the preferred contexts first, then of the same dose and time") {
  const Effects effects = small_world();
  using List = std::vector<int>;
  const Perturbation zero = combine(0, kNone);
  CHECK(effects.choose(zero, place(7), Contexts::kAll) == List{0, 1});
  CHECK(effects.choose(zero, place(7, -9), Contexts::kAll) == List{0, 1, 2});
  CHECK(effects.choose(zero, place(7, kUnknown), Contexts::kAll) == List{0, 1, 2});
  CHECK(effects.choose(zero, place(1), Contexts::kSameFirst) == List{1});
  CHECK(effects.choose(zero, place(1, -9), Contexts::kSameFirst) == List{1, 2});
  CHECK(effects.choose(zero, place(7), Contexts::kSameFirst) == List{0, 1});
  CHECK(effects.choose(zero, place(1, -5), Contexts::kOthersFirst) == List{0});
  CHECK(effects.choose(zero, place(0), Contexts::kOthersFirst) == List{1});
  CHECK(effects.choose(combine(1, kNone), place(1, -5), Contexts::kOthersFirst) == List{3});
  CHECK(effects.choose(combine(1, kNone), place(1), Contexts::kOthersFirst, /*except=*/3).empty());
  CHECK(effects.choose(combine(2, kNone), place(7, kUnknown, 6), Contexts::kAll) == List{5});
  CHECK(effects.choose(combine(kUnseen, kNone), place(0), Contexts::kAll).empty());
  CHECK(effects.choose(combine(kUnseen, 1), place(0), Contexts::kAll).empty());
}

TEST_CASE("the average effect is that of single perturbations, or half of that of combinations") {
  check_equal(small_world().average(), {(1 + 2 + 4 + 8 + 32) / 5.0});
  const Effects pairs({both(0, 1, place(0)), both(1, 2, place(0))}, matrix(2, 1, {4, 8}));
  check_equal(pairs.average(), {3});
}

TEST_CASE("the mean shift takes training before the reference and the reference before the average") {
  const Effects effects = small_world();
  const std::vector<double> reference = {64};
  const std::vector<double> other = {128};
  check_equal(mean_shift(effects, ask({0, reference.data()}, place(9))), {1.5});
  check_equal(mean_shift(effects, ask({kUnseen, reference.data()}, place(9))), {64});
  check_equal(mean_shift(effects, ask(known(kUnseen), place(9))), effects.average());
  SECTION("a combination that training holds is a perturbation of its own") {
    check_equal(mean_shift(effects, ask(known(1), known(0), place(9))), {16});
  }
  SECTION("any other is the mean of what its members do") {
    check_equal(mean_shift(effects, ask(known(1), known(2), place(9))), {(8 + 32) / 2.0});
    check_equal(mean_shift(effects, ask(known(1), {kUnseen, other.data()}, place(9))), {(8 + 128) / 2.0});
    check_equal(mean_shift(effects, ask(known(kUnseen), known(1), place(9))), {(effects.average()[0] + 8) / 2});
    check_equal(mean_shift(effects, ask(known(kUnseen), known(kUnseen), place(9))), effects.average());
  }
}

TEST_CASE("the additive shift sums the members, in the same context where they were measured there") {
  const Effects effects = small_world();
  const std::vector<double> reference = {64};
  check_equal(additive_shift(effects, ask(known(0), known(1), place(1))), {2 + 8});
  check_equal(additive_shift(effects, ask(known(0), known(1), place(0))), {1 + 8});
  check_equal(additive_shift(effects, ask(known(0), known(1), place(1, -9))), {3 + 8});
  check_equal(additive_shift(effects, ask({kUnseen, reference.data()}, known(1), place(1))), {64 + 8});
  check_equal(additive_shift(effects, ask(known(kUnseen), known(1), place(1))), {effects.average()[0] + 8});
  SECTION("a single perturbation is that of the mean shift") {
    check_equal(additive_shift(effects, ask(known(0), place(1))), {1.5});
  }
}

TEST_CASE("the nearest context is that of the nearest control among those that hold the perturbation") {
  const Effects effects = small_world();
  const Controls controls{{0, 1, 2}, matrix(3, 1, {0, 10, 20})};
  const auto shift = [&](const Query& query, float control) {
    return nearest_shift(effects, controls, query, &control);
  };
  const std::vector<double> reference = {64};
  check_equal(shift(ask(known(0), place(9)), 4.9F), {1});
  check_equal(shift(ask(known(0), place(9)), 5.1F), {2});
  check_equal(shift(ask(known(0), place(9)), 5.0F), {1});
  check_equal(shift(ask(known(0), place(9)), 1e6F), {2});
  check_equal(shift(ask(known(0), place(9, -5)), 0), {4});
  check_equal(shift(ask(known(0), place(9, -9)), 11), {3});
  check_equal(shift(ask({kUnseen, reference.data()}, place(9)), 0), {64});
  check_equal(shift(ask(known(kUnseen), place(9)), 0), effects.average());
  check_equal(shift(ask(known(0), known(1), place(9)), 0), {16});
  check_equal(shift(ask(known(0), known(2), place(9)), 0), {1 + 32});
  check_equal(shift(ask(known(2), {kUnseen, reference.data()}, place(9)), 0), {32 + 64});
}

TEST_CASE("principal components are orthonormal and span the rows, whichever side is longer") {
  const auto [rows, cols] = GENERATE(std::pair{30, 12}, std::pair{12, 30}, std::pair{40, 40});
  const int rank = 4;
  Matrix x = multiply(random_matrix(rows, rank, 1), Op::kPlain, random_matrix(rank, cols, 2), Op::kPlain);
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < cols; ++j) x.at(i, j) += 3 * j;
  }
  const Pca pca = fit_pca(x, 10, kNever);
  REQUIRE(pca.components.cols == rank);
  const Matrix gram = multiply(pca.components, Op::kTransposed, pca.components, Op::kPlain);
  const Matrix z = pca.project(x);
  const Matrix back = multiply(z, Op::kPlain, pca.components, Op::kTransposed);
  for (int a = 0; a < rank; ++a) {
    for (int b = 0; b < rank; ++b) CHECK_THAT(gram.at(a, b), WithinAbs(a == b ? 1 : 0, 1e-10));
    double mean = 0;
    double squares = 0;
    for (int i = 0; i < rows; ++i) mean += z.at(i, a) / rows;
    for (int i = 0; i < rows; ++i) squares += z.at(i, a) * z.at(i, a) / rows;
    CHECK_THAT(mean, WithinAbs(0, 1e-10));
    CHECK_THAT(squares, WithinAbs(pca.variance[static_cast<std::size_t>(a)], 1e-8 * squares));
    if (a > 0) CHECK(pca.variance[static_cast<std::size_t>(a)] <= pca.variance[static_cast<std::size_t>(a - 1)]);
  }
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < cols; ++j) {
      CHECK_THAT(back.at(i, j) + pca.mean[static_cast<std::size_t>(j)], WithinAbs(x.at(i, j), 1e-9));
    }
  }
}

TEST_CASE("the leading components are found among many") {
  // Columns of falling scale, rows independent: the exact answer is that of a dense eigenproblem, checked by Rayleigh
  // quotients: no direction of the same number can hold more variance than the sum of the leading eigenvalues.
  const int rows = 200;
  const int cols = 60;
  Matrix x = random_matrix(rows, cols, 3);
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < cols; ++j) x.at(i, j) *= std::pow(0.9, j);
  }
  const Pca few = fit_pca(x, 5, kNever);
  const Pca all = fit_pca(x, cols, kNever);  // exact: the block is as wide as the data
  REQUIRE(all.components.cols == cols);
  for (std::size_t c = 0; c < 5; ++c) CHECK_THAT(few.variance[c], WithinAbs(all.variance[c], 1e-4 * all.variance[0]));
}

TEST_CASE("rows without any variance have no principal component") {
  const Matrix x(5, 3, 2.5);
  const Pca pca = fit_pca(x, 2, kNever);
  CHECK(pca.components.cols == 0);
  check_equal(pca.mean, {2.5, 2.5, 2.5});
}

namespace {

/// Perturbations 0 .. n-1 in contexts 0 .. m-1, in a latent space of two dimensions: u = slope * z + gain * e_p.
struct LatentWorld {
  LatentWorld(int contexts, int perturbations, double slope, double gain, unsigned seed)
      : effect(random_matrix(perturbations, 2, seed)), z_of(random_matrix(contexts, 2, seed + 1)) {
    std::vector<Condition> conditions;
    Matrix u(contexts * perturbations, 2);
    control = Matrix(u.rows, 2);
    for (int c = 0; c < contexts; ++c) {
      for (int p = 0; p < perturbations; ++p) {
        const auto row = static_cast<int>(conditions.size());
        conditions.push_back(single(p, place(c)));
        for (int j = 0; j < 2; ++j) {
          control.at(row, j) = z_of.at(c, j);
          u.at(row, j) = slope * z_of.at(c, j) + gain * effect.at(p, j);
        }
      }
    }
    latent = Effects(std::move(conditions), std::move(u));
  }
  Matrix effect, z_of, control;
  Effects latent;
};

}  // namespace

TEST_CASE("latent ridge finds what depends on the control, and adds it to what the perturbation does elsewhere") {
  const LatentWorld world(6, 9, 0.7, 1.0, 5);
  const LatentRidge ridge = LatentRidge::fit(world.latent, world.control, 1e-10);
  // v is a mean over the other contexts, so it holds 0.7 times the mean of their z: another one for each context.
  // Over all of them that mean is affine in z of the context, so the truth is within the model.
  for (int c = 0; c < 6; ++c) {
    for (int p = 0; p < 9; ++p) {
      const auto u = ridge.predict(world.latent, ask(known(p), place(c)), world.z_of.row(c));
      check_equal(u, {world.latent.change().at(9 * c + p, 0), world.latent.change().at(9 * c + p, 1)}, 1e-6);
    }
  }
  SECTION("with a huge penalty it is the mean of the other contexts, up to the mean of what that leaves over") {
    const LatentRidge stiff = LatentRidge::fit(world.latent, world.control, 1e12);
    const auto query = ask(known(3), place(2));
    const auto v = latent_elsewhere(world.latent, query);
    check_equal(stiff.predict(world.latent, query, world.z_of.row(2)), v, 1e-9);  // the residuals sum to 0 here
  }
}

TEST_CASE("latent ridge takes the reference of a perturbation that training did not hold") {
  const LatentWorld world(6, 9, 0.0, 1.0, 7);
  const LatentRidge ridge = LatentRidge::fit(world.latent, world.control, 1e-6);
  const std::vector<double> reference = {5, -4};
  check_equal(ridge.predict(world.latent, ask({kUnseen, reference.data()}, place(2)), world.z_of.row(2)), reference,
              1e-6);
  CHECK(latent_elsewhere(world.latent, ask(known(kUnseen), place(2))) == world.latent.average());
}

TEST_CASE("latent ridge learns of combinations how they differ from the sum of their members") {
  const LatentWorld world(3, 8, 0.0, 1.0, 9);
  auto conditions = world.latent.conditions();
  Matrix change = world.latent.change();
  Matrix control = world.control;
  const auto sum = [&](int p, int q, int j) { return world.effect.at(p, j) + world.effect.at(q, j); };
  for (int p = 0; p + 1 < 8; ++p) {  // in context 0: half of the sum
    conditions.push_back(both(p, p + 1, place(0)));
    change.rows += 1;
    control.rows += 1;
    for (int j = 0; j < 2; ++j) {
      change.v.push_back(0.5 * sum(p, p + 1, j));
      control.v.push_back(world.z_of.at(0, j));
    }
  }
  const Effects latent(conditions, change);
  const LatentRidge ridge = LatentRidge::fit(latent, control, 1e-10);
  check_equal(ridge.predict(latent, ask(known(0), known(7), place(0)), world.z_of.row(0)),
              {0.5 * sum(0, 7, 0), 0.5 * sum(0, 7, 1)}, 1e-6);
  SECTION("and of single ones nothing of that") {
    check_equal(ridge.predict(latent, ask(known(4), place(1)), world.z_of.row(1)),
                {world.effect.at(4, 0), world.effect.at(4, 1)}, 1e-6);
  }
}

TEST_CASE("where nothing was measured twice, latent ridge predicts what is known and no more") {
  const Effects latent({single(0, place(0)), single(1, place(0))}, matrix(2, 2, {1, 2, 3, 4}));
  const LatentRidge ridge = LatentRidge::fit(latent, matrix(2, 2, {1, 1, 1, 1}), 0.1);
  const std::vector<double> z = {9, 9};
  check_equal(ridge.predict(latent, ask(known(1), place(5)), z.data()), {3, 4});
  check_equal(ridge.predict(latent, ask(known(1), known(0), place(5)), z.data()), {4, 6});
}
