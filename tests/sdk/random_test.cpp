// SPDX-License-Identifier: Apache-2.0
#include <cdrzoo/plugin.hpp>

#include <algorithm>
#include <array>
#include <cmath>

#include "sdk/fake_call.hpp"
#include "support/catch.hpp"

using namespace cdrzoo::sdk;
using cdrzoo::test::FakeCall;
using cdrzoo::test::WithinAbs;

namespace {
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint32_t key0, std::uint32_t key1) {
  cdrzoo_philox4x32(counter.data(), key0, key1);
  return counter;
}
using Words = std::array<std::uint32_t, 4>;
}  // namespace

TEST_CASE("Philox4x32-10 gives the published known answers", "[random]") {
  // The test vectors that the authors distribute with Random123.
  CHECK(philox({0, 0, 0, 0}, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0U, ~0U, ~0U, ~0U}, ~0U, ~0U) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random numbers equal an independent implementation", "[random]") {
  // Golden values from a second implementation, in arbitrary-precision Python.
  CHECK(cdrzoo_random_u64(42, 7, 0) == 16524851402832244524U);
  CHECK(cdrzoo_random_u64(42, 7, 1) == 6921858453021256000U);
  CHECK(cdrzoo_random_u64(42, 7, 2) == 17294010367167233134U);
  CHECK(cdrzoo_stream_of("init", 4) == 17713413547103711763U);
  Random uniform(42, 7);
  CHECK(uniform.uniform() == 0.8958139895475427);
  CHECK(uniform.uniform() == 0.3752346986201399);
  CHECK(uniform.uniform() == 0.9375101805534775);
  Random normal(42, 7);
  CHECK_THAT(normal.normal(), WithinAbs(-1.5060702168999816, 1e-14));
  CHECK_THAT(normal.normal(), WithinAbs(1.5016348865511855, 1e-14));
  CHECK(Random(42, 7).permutation(10) == std::vector<std::int64_t>{2, 0, 6, 5, 4, 1, 9, 7, 3, 8});
  CHECK(Random(42, 7).permutation(0).empty());
}

TEST_CASE("the call's generator is the host's, keyed by seed and stream", "[random]") {
  FakeCall call(42);
  const Context context(call.get());
  CHECK(context.random(7).u64() == 16524851402832244524U);
  CHECK(context.random("init").u64() == cdrzoo_random_u64(42, 17713413547103711763U, 0));
  CHECK(context.random("init").u64() != context.random("dropout").u64());
}

TEST_CASE("distributions have their moments and bounds", "[random]") {
  Random random(1, 2);
  constexpr int kN = 200000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < kN; ++i) {
    const double x = random.normal();
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  // Five standard errors of each moment.
  CHECK_THAT(sum / kN, WithinAbs(0.0, 5 / std::sqrt(kN)));
  CHECK_THAT(squares / kN, WithinAbs(1.0, 5 * std::sqrt(2.0 / kN)));
  CHECK_THAT(fourth / kN, WithinAbs(3.0, 5 * std::sqrt(96.0 / kN)));

  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts[static_cast<std::size_t>(random.below(7))];
  for (const int n : counts) CHECK_THAT(n, WithinAbs(10000.0, 5 * std::sqrt(70000.0 * 6 / 49)));
  CHECK(random.below(1) == 0);
  for (int i = 0; i < 1000; ++i) {
    const double x = random.uniform(-2, 3);
    CHECK((x >= -2 && x < 3));
  }
  auto order = random.permutation(1000);
  CHECK_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (std::int64_t i = 0; i < 1000; ++i) REQUIRE(order[static_cast<std::size_t>(i)] == i);
}
