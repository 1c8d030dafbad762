// SPDX-License-Identifier: Apache-2.0
// Planted responses for plugins that see expression and drug graphs.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>

#include "plugins/harness.hpp"

namespace cdrzoo::test {

constexpr std::int64_t kAtomWidth = 4;

/// A chain of atoms of one kind, with the entries of D^-1/2 (A + I) D^-1/2 as edges.
inline SmallGraph chain(std::int32_t n, std::size_t kind) {
  SmallGraph g;
  const auto degree = [n](std::int32_t v) { return 1.0 + (v > 0 ? 1 : 0) + (v + 1 < n ? 1 : 0); };
  for (std::int32_t v = 0; v < n; ++v) {
    std::vector<float> atom(kAtomWidth, 0.0F);
    atom[kind] = 1;
    g.nodes.insert(g.nodes.end(), atom.begin(), atom.end());
    for (std::int32_t u = std::max(0, v - 1); u <= std::min(n - 1, v + 1); ++u) {
      g.source.push_back(u);
      g.target.push_back(v);
      g.edges.push_back(static_cast<float>(1.0 / std::sqrt(degree(u) * degree(v))));
    }
  }
  return g;
}

/// Four drugs: long chains of two kinds of atoms, which turn the sign of a gene's effect; one has no structure.
/// \p shift is added to the second half of the genes, which mean nothing in the source.
inline Table planted(int samples, unsigned seed, bool binary, bool labelled = true, bool shuffled = false,
                     float shift = 0) {
  constexpr int kGenes = 6;
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  Table t;
  Block x = Block::dense("expression", kGenes, {});
  for (int i = 0; i < samples; ++i) {
    t.samples.key.push_back(1000 * static_cast<std::int64_t>(seed) + i);
    for (int g = 0; g < kGenes; ++g) x.f32.push_back(normal(rng) + (g >= kGenes / 2 ? shift : 0));
  }
  t.samples.blocks.push_back(x);
  t.drugs.key = {0, 1, 2, 3};
  t.drugs.blocks.push_back(
      Block::graphs("graph_deepcdr", kAtomWidth, {chain(60, 0), chain(60, 1), chain(80, 0), SmallGraph()}));
  const std::vector<float> sign = {1, -1, 1, 0};
  for (int i = 0; i < samples; ++i) {
    for (int d = 0; d < 4; ++d) {
      t.sample.push_back(i);
      t.drug.push_back(d);
      const float y =
          2 * sign[static_cast<std::size_t>(d)] * x.f32[static_cast<std::size_t>(kGenes * i)] + 0.1F * normal(rng);
      if (labelled) t.target.push_back(binary ? (y > 0 ? 1.0F : 0.0F) : y);
    }
  }
  if (shuffled) std::shuffle(t.target.begin(), t.target.end(), rng);
  return t;
}

inline double correlation(const std::vector<float>& a, const std::vector<float>& b) {
  double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
  const auto n = static_cast<double>(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    sa += x, sb += y, saa += x * x, sbb += y * y, sab += x * y;
  }
  const double norm = std::sqrt((saa - sa * sa / n) * (sbb - sb * sb / n));
  return norm > 0 ? (sab - sa * sb / n) / norm : 0.0;
}

/// How far predictions follow the planted truth after training on shuffled responses, mean over 12 tables. One alone
/// says little: what a model makes of noise is one of few directions, and by chance 0.3 from the truth as often as not.
inline double correlation_after_shuffling(const char* plugin, const char* id, const std::vector<Param>& params) {
  constexpr unsigned kTables = 12;
  const Table query = planted(60, 2, false);
  const View ask(query);
  double sum = 0;
  for (unsigned seed = 11; seed < 11 + kTables; ++seed) {
    const Table table = planted(100, seed, false, true, /*shuffled=*/true);
    Model model(plugin, id, table, params);
    model.fit(View(table));
    sum += correlation(model.predict(ask), query.target);
  }
  return sum / kTables;
}

/// The same rows with the tables of samples and drugs turned around.
inline Table turned(Table t) {
  const auto n = t.samples.key.size();
  std::reverse(t.samples.key.begin(), t.samples.key.end());
  auto& x = t.samples.blocks[0];
  const auto width = static_cast<std::size_t>(x.width);
  for (std::size_t i = 0; i < n / 2; ++i) {
    std::swap_ranges(x.f32.begin() + static_cast<std::ptrdiff_t>(i * width),
                     x.f32.begin() + static_cast<std::ptrdiff_t>((i + 1) * width),
                     x.f32.begin() + static_cast<std::ptrdiff_t>((n - 1 - i) * width));
  }
  for (auto& s : t.sample) s = static_cast<std::int32_t>(n) - 1 - s;
  t.drugs.key = {3, 2, 1, 0};
  t.drugs.blocks[0] =
      Block::graphs("graph_deepcdr", kAtomWidth, {SmallGraph(), chain(80, 0), chain(60, 1), chain(60, 0)});
  for (auto& d : t.drug) d = 3 - d;
  return t;
}

}  // namespace cdrzoo::test
