// SPDX-License-Identifier: Apache-2.0
#include "metrics/ranking.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace cdrzoo {

namespace {

constexpr std::uint64_t kSign = std::uint64_t{1} << 63;
constexpr int kDigitBits = 11;
constexpr int kDigits = 6;  // 6 x 11 >= 64
constexpr std::size_t kBuckets = std::size_t{1} << kDigitBits;
constexpr std::size_t kRadixFrom = 4096;  // below this std::sort is faster than six histograms

std::size_t digit(std::uint64_t key, int place) {
  return static_cast<std::size_t>(key >> (place * kDigitBits)) & (kBuckets - 1);
}

}  // namespace

std::uint64_t order_key(double x) {
  const double positive_zero = x + 0.0;  // -0.0 + 0.0 is +0.0
  std::uint64_t bits = 0;
  std::memcpy(&bits, &positive_zero, sizeof bits);
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

double from_order_key(std::uint64_t key) {
  const std::uint64_t bits = (key & kSign) != 0 ? key & ~kSign : ~key;
  double x = 0;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

void sort_keys(std::vector<std::uint64_t>& keys) {
  if (keys.size() < kRadixFrom) {
    std::sort(keys.begin(), keys.end());
    return;
  }
  std::vector<std::array<std::size_t, kBuckets>> counts(kDigits);
  for (auto& c : counts) c.fill(0);
  for (const std::uint64_t key : keys) {
    for (int place = 0; place < kDigits; ++place) ++counts[static_cast<std::size_t>(place)][digit(key, place)];
  }
  std::vector<std::uint64_t> other(keys.size());
  for (int place = 0; place < kDigits; ++place) {
    auto& offsets = counts[static_cast<std::size_t>(place)];
    // Scores that came from float32 have three low digits in common: nothing to do there.
    if (offsets[digit(keys.front(), place)] == keys.size()) continue;
    std::size_t next = 0;
    for (std::size_t& offset : offsets) {
      const std::size_t count = offset;
      offset = next;
      next += count;
    }
    for (const std::uint64_t key : keys) other[offsets[digit(key, place)]++] = key;
    keys.swap(other);
  }
}

std::vector<double> mid_ranks(ArrayView<double> x) {
  // Keys beside their places: sorting places alone would look up a value in far memory at every comparison.
  std::vector<std::pair<std::uint64_t, std::size_t>> order(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) order[i] = {order_key(x[i]), i};
  std::sort(order.begin(), order.end());
  std::vector<double> rank(x.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && order[end].first == order[begin].first) ++end;
    const double shared = 0.5 * static_cast<double>(begin + 1 + end);
    for (std::size_t i = begin; i < end; ++i) rank[order[i].second] = shared;
    begin = end;
  }
  return rank;
}

}  // namespace cdrzoo
