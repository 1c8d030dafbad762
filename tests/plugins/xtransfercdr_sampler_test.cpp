// SPDX-License-Identifier: Apache-2.0
#include "../../plugins/xtransfercdr/sampler.hpp"

#include <limits>
#include <map>
#include <set>

#include "support/catch.hpp"

using namespace cdrzoo::xtransfercdr;
using cdrzoo::sdk::Random;

namespace {

constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

struct Profile {
  std::int32_t context, drug, drug_b, control;
  float dose = -6;
};

Treated treated(const std::vector<Profile>& profiles) {
  Treated rows;
  for (const Profile& p : profiles) {
    rows.context.push_back(p.context);
    rows.drug.push_back(p.drug);
    rows.drug_b.push_back(p.drug_b);
    rows.dose.push_back(p.dose);
    rows.time.push_back(kUnknown);
    rows.control.push_back(p.control);
  }
  return rows;
}

/// Contexts 0 .. 4 with two controls each, drugs 0 .. 3, three profiles of each.
std::vector<Profile> grid() {
  std::vector<Profile> profiles;
  for (std::int32_t copy = 0; copy < 3; ++copy) {
    for (std::int32_t context = 0; context < 5; ++context) {
      for (std::int32_t drug = 0; drug < 4; ++drug) profiles.push_back({context, drug, -1, 2 * context + copy % 2});
    }
  }
  return profiles;
}

using Triples = PairSampler::Options::Triples;

std::vector<ItemBatch> draw(const PairSampler& sampler, std::uint64_t epoch, bool drug_mode = false,
                            std::int64_t batch_size = 16, std::int64_t max_items = 0,
                            Triples triples = Triples::with_pairs) {
  return sampler.epoch(Random(1, epoch), /*partners=*/epoch,
                       {batch_size, max_items, drug_mode ? Mode::drug : Mode::cell, triples});
}

std::vector<Item> items_of(const std::vector<ItemBatch>& batches) {
  std::vector<Item> items;
  for (const auto& batch : batches) items.insert(items.end(), batch.items.begin(), batch.items.end());
  return items;
}

std::map<std::int64_t, std::int64_t> partners(const std::vector<Item>& items) {
  std::map<std::int64_t, std::int64_t> right;
  for (const Item& item : items) right[item.left] = item.right;
  return right;
}

}  // namespace

TEST_CASE("each profile is the left side once, and its right side shares the context under another perturbation") {
  const auto profiles = grid();
  const PairSampler sampler(treated(profiles));
  CHECK(sampler.n_items() == 60);
  const auto batches = draw(sampler, 1);
  CHECK(batches.size() == 4);
  std::set<std::int64_t> left;
  std::set<std::int64_t> controls;
  for (const Item& item : items_of(batches)) {
    const Profile& a = profiles[static_cast<std::size_t>(item.left)];
    const Profile& b = profiles[static_cast<std::size_t>(item.right)];
    CHECK(left.insert(item.left).second);
    CHECK(a.context == b.context);
    CHECK(a.drug != b.drug);
    CHECK(item.left_control / 2 == a.context);
    CHECK(item.right_control / 2 == b.context);
    CHECK(item.both == -1);
    controls.insert(item.left_control);
  }
  CHECK(left.size() == 60);
  CHECK(controls.size() == 10);  // also those that a profile does not name itself
}

TEST_CASE("in drug mode the right side shares the perturbation in another context") {
  const auto profiles = grid();
  const PairSampler sampler(treated(profiles));
  for (const Item& item : items_of(draw(sampler, 1, /*drug_mode=*/true))) {
    const Profile& a = profiles[static_cast<std::size_t>(item.left)];
    const Profile& b = profiles[static_cast<std::size_t>(item.right)];
    CHECK(a.context != b.context);
    CHECK(a.drug == b.drug);
    CHECK(item.right_control / 2 == b.context);
  }
}

TEST_CASE("right sides are drawn uniformly") {
  const PairSampler sampler(treated(grid()));
  std::map<std::int64_t, int> times;
  constexpr int kEpochs = 3000;
  for (std::uint64_t epoch = 0; epoch < kEpochs; ++epoch) ++times[partners(items_of(draw(sampler, epoch)))[0]];
  CHECK(times.size() == 9);  // three drugs, three profiles of each
  for (const auto& [row, n] : times) {
    CAPTURE(row);
    CHECK(std::abs(n - kEpochs / 9) < 90);  // five deviations of 17
  }
}

TEST_CASE("what a profile meets depends on the seed and its number, not on what else an epoch holds") {
  const PairSampler sampler(treated(grid()));
  const auto all = partners(items_of(draw(sampler, 7)));
  CHECK(partners(items_of(draw(sampler, 7))) == all);
  CHECK(partners(items_of(draw(sampler, 8))) != all);
  for (const auto& [left, right] : partners(items_of(draw(sampler, 7, false, /*batch_size=*/5, /*max_items=*/20)))) {
    CHECK(all.at(left) == right);
  }
  const auto other_order = sampler.epoch(Random(99, 0), /*partners=*/7, {16, 0, Mode::cell, Triples::with_pairs});
  CHECK(partners(items_of(other_order)) == all);
}

TEST_CASE("where nothing differs a profile meets its replicate, and a lone one itself") {
  const PairSampler one_drug(treated({{0, 0, -1, 0}, {0, 0, -1, 0}, {1, 0, -1, 1}}));
  for (std::uint64_t epoch = 0; epoch < 5; ++epoch) {
    const auto right = partners(items_of(draw(one_drug, epoch)));
    CHECK(right == std::map<std::int64_t, std::int64_t>{{0, 1}, {1, 0}, {2, 2}});
  }
}

TEST_CASE("doses tell perturbations apart, unknown doses do not") {
  const PairSampler doses(treated({{0, 0, -1, 0, -6}, {0, 0, -1, 0, -5}, {1, 0, -1, 1, -6}, {1, 0, -1, 1, -5}}));
  CHECK(partners(items_of(draw(doses, 0, /*drug_mode=*/true))) ==
        std::map<std::int64_t, std::int64_t>{{0, 2}, {1, 3}, {2, 0}, {3, 1}});
  const PairSampler unknown(treated({{0, 0, -1, 0, kUnknown}, {1, 0, -1, 1, kUnknown}}));
  CHECK(partners(items_of(draw(unknown, 0, true))) == std::map<std::int64_t, std::int64_t>{{0, 1}, {1, 0}});
}

TEST_CASE("a profile of two perturbations joins one of each of the same context, in batches of its own") {
  auto profiles = grid();
  profiles.push_back({0, 1, 2, 0});
  profiles.push_back({3, 0, 3, 6});
  profiles.push_back({3, 0, 9, 6});  // drug 9 alone is not measured
  const PairSampler sampler(treated(profiles));
  CHECK(sampler.n_items() == 63);
  CHECK(sampler.n_combined() == 2);
  int combined = 0;
  std::set<std::int64_t> left;
  for (const ItemBatch& batch : draw(sampler, 3)) {
    for (const Item& item : batch.items) {
      CHECK((item.both >= 0) == batch.combined);
      const Profile& a = profiles[static_cast<std::size_t>(item.left)];
      const Profile& b = profiles[static_cast<std::size_t>(item.right)];
      if (!batch.combined) {
        left.insert(item.left);
        CHECK((item.right != 60 && item.right != 61));
        continue;
      }
      ++combined;
      const Profile& both = profiles[static_cast<std::size_t>(item.both)];
      CHECK((a.context == both.context && b.context == both.context));
      CHECK((a.drug == both.drug && a.drug_b < 0));
      CHECK((b.drug == both.drug_b && b.drug_b < 0));
    }
  }
  CHECK(combined == 2);
  CHECK(left.count(62) == 1);  // a perturbation of its own
  CHECK(left.count(60) == 0);
}

TEST_CASE("a triple takes singles of its own dose and time, and others only where there are none") {
  std::vector<Profile> profiles;
  for (const float dose : {-9.0F, -5.0F}) {
    for (int copy = 0; copy < 3; ++copy) {
      profiles.push_back({0, 1, -1, 0, dose});
      profiles.push_back({0, 2, -1, 0, dose});
    }
  }
  profiles.push_back({0, 1, 2, 0, -9});  // row 12
  profiles.push_back({0, 1, 2, 0, -7});  // row 13: neither was measured at this dose
  const PairSampler sampler(treated(profiles));
  std::set<float> met, met_elsewhere;
  for (std::uint64_t epoch = 0; epoch < 40; ++epoch) {
    for (const Item& item : items_of(draw(sampler, epoch, false, 16, 0, Triples::alone))) {
      for (const auto side : {item.left, item.right})
        (item.both == 12 ? met : met_elsewhere).insert(profiles[static_cast<std::size_t>(side)].dose);
    }
  }
  CHECK(met == std::set<float>{-9});
  CHECK(met_elsewhere == std::set<float>{-9, -5});
}

TEST_CASE("triples can be the only items of an epoch, or none of them, and always share the context") {
  auto profiles = grid();
  profiles.push_back({0, 1, 2, 0});
  profiles.push_back({3, 0, 3, 6});
  const PairSampler sampler(treated(profiles));
  const auto count = [&](Triples triples, bool combined) {
    std::size_t n = 0;
    for (const ItemBatch& batch : draw(sampler, 0, /*drug_mode=*/true, 16, 0, triples)) {
      CHECK(batch.mode == (batch.combined ? Mode::cell : Mode::drug));
      if (batch.combined == combined) n += batch.items.size();
    }
    return n;
  };
  CHECK(count(Triples::with_pairs, false) == 60);
  CHECK(count(Triples::with_pairs, true) == 2);
  CHECK(count(Triples::alone, false) == 0);
  CHECK(count(Triples::alone, true) == 2);
  CHECK(count(Triples::none, false) == 60);
  CHECK(count(Triples::none, true) == 0);
  const PairSampler pairs_only(treated(grid()));
  CHECK(items_of(draw(pairs_only, 0, false, 16, 0, Triples::alone)).size() == 60);  // nothing else to train on
}

TEST_CASE("a treated profile without a control is refused") {
  CHECK_THROWS_WITH(PairSampler(treated({{0, 0, -1, 0}, {0, 1, -1, -1}})),
                    cdrzoo::test::contains("row 1 of the treated profiles has no control"));
}

TEST_CASE("no batch holds a single item") {
  const auto profiles = grid();
  const PairSampler sampler(treated(profiles));
  for (const std::int64_t size : {2, 7, 59, 60, 100}) {
    std::size_t n = 0;
    for (const ItemBatch& batch : draw(sampler, 0, false, size)) {
      CHECK(batch.items.size() >= 2);
      CHECK(batch.items.size() <= static_cast<std::size_t>(size) + 1);
      n += batch.items.size();
    }
    CHECK(n == 60);
  }
  const auto lone = draw(PairSampler(treated({{0, 0, -1, 0}})), 0);
  REQUIRE(lone.size() == 1);
  CHECK(lone[0].items.size() == 2);
}
