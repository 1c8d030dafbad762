// SPDX-License-Identifier: Apache-2.0
#include "molecules.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>
#include <utility>

namespace cdrzoo::graph_cdr {

namespace {

std::vector<std::int64_t> integers_of(const torch::Tensor& tensor) {
  const torch::Tensor t = tensor.to(torch::kCPU, torch::kInt64).contiguous();
  return {t.data_ptr<std::int64_t>(), t.data_ptr<std::int64_t>() + t.numel()};
}

/// Numbers different keys in the order in which they come.
class Colours {
 public:
  /// The number, and whether the key is new.
  std::pair<std::int32_t, bool> of(std::string key) {
    const auto [at, fresh] = known_.emplace(std::move(key), static_cast<std::int32_t>(known_.size()));
    return {at->second, fresh};
  }

 private:
  std::unordered_map<std::string, std::int32_t> known_;
};

struct Term {
  std::int32_t colour;
  float weight;
};

/// Terms of equal colour become one, in the order of the colours: equal sums get equal bytes.
void sort_and_merge(std::vector<Term>& terms) {
  std::sort(terms.begin(), terms.end(), [](const Term& a, const Term& b) {
    return a.colour != b.colour ? a.colour < b.colour : a.weight < b.weight;
  });
  std::size_t n = 0;
  for (const Term& term : terms) {
    if (n > 0 && terms[n - 1].colour == term.colour) {
      terms[n - 1].weight += term.weight;
    } else {
      terms[n++] = term;
    }
  }
  terms.resize(n);
}

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

MoleculeBatch MoleculeBatch::to(torch::Device device) const {
  if (device.is_cpu()) return *this;
  MoleculeBatch out = *this;
  out.features = features.to(device);
  for (Layer& layer : out.layers) {
    layer.neighbours = layer.neighbours.to(device);
    layer.multiplicity = layer.multiplicity.to(device);
    if (layer.expand.defined()) layer.expand = layer.expand.to(device);
  }
  out.pool = pool.to(device);
  return out;
}

Molecules::Molecules(const sdk::Graphs& graphs, int n_layers, std::int64_t padded)
    : padded_(padded), node_begin_(integers_of(graphs.node_begin)) {
  const std::int64_t n_nodes = graphs.nodes.size(0);
  const std::int64_t n_edges = graphs.source.size(0);
  if (n_edges > 0 && graphs.edges.size(1) == 0) {
    throw sdk::Error(
        CDRZOO_E_DATA,
        "the drugs' graphs have no edge features, but the entries of the normalised adjacency were expected");
  }

  // Edges by their target node.
  const std::vector<std::int64_t> source = integers_of(graphs.source);
  const std::vector<std::int64_t> target = integers_of(graphs.target);
  const torch::Tensor weights =
      n_edges > 0 ? graphs.edges.select(/*dim=*/1, 0).to(torch::kFloat32).contiguous() : torch::empty({0});
  edge_begin_.assign(index(n_nodes) + 1, 0);
  for (const std::int64_t v : target) ++edge_begin_[index(v) + 1];
  for (std::size_t v = 1; v < edge_begin_.size(); ++v) edge_begin_[v] += edge_begin_[v - 1];
  std::vector<std::int64_t> next(edge_begin_.begin(), edge_begin_.end() - 1);
  edge_source_.resize(index(n_edges));
  edge_weight_.resize(index(n_edges));
  for (std::size_t e = 0; e < source.size(); ++e) {
    const std::size_t place = index(next[index(target[e])]++);
    edge_source_[place] = static_cast<std::int32_t>(source[e]);
    edge_weight_[place] = weights.data_ptr<float>()[e];
  }

  // Level 0: equal atom features. A pad atom has zeros.
  const torch::Tensor nodes = graphs.nodes.to(torch::kFloat32).contiguous();
  const std::int64_t width = nodes.size(1);
  const auto key_of = [width](const float* row) {
    return std::string(reinterpret_cast<const char*>(row), index(width) * sizeof(float));
  };
  Colours kinds;
  const std::vector<float> zeros(index(width), 0.0F);
  (void)kinds.of(key_of(zeros.data()));
  std::vector<torch::Tensor> rows{torch::zeros({width})};
  levels_.emplace_back();
  for (std::int64_t v = 0; v < n_nodes; ++v) {
    const auto [colour, fresh] = kinds.of(key_of(nodes.data_ptr<float>() + v * width));
    if (fresh) rows.push_back(nodes.select(0, v));
    levels_.back().colour.push_back(colour);
  }
  features_ = torch::stack(rows);
  levels_.back().n_colours = features_.size(0);

  // Level k: equal sums over level k - 1. A pad atom has its own value once.
  std::vector<Term> terms;
  for (int k = 1; k <= n_layers; ++k) {
    const std::vector<std::int32_t> before = levels_.back().colour;
    Level level;
    level.begin.push_back(0);
    Colours surroundings;
    const auto colour_of_terms = [&] {
      std::string key(terms.size() * sizeof(Term), '\0');
      if (!terms.empty()) std::memcpy(key.data(), terms.data(), key.size());
      const auto [colour, fresh] = surroundings.of(std::move(key));
      if (fresh) {
        for (const Term& term : terms) {
          level.term.push_back(term.colour);
          level.weight.push_back(term.weight);
        }
        level.begin.push_back(static_cast<std::int64_t>(level.term.size()));
      }
      return colour;
    };
    terms = {{0, 1.0F}};
    (void)colour_of_terms();
    for (std::int64_t v = 0; v < n_nodes; ++v) {
      terms.clear();
      for (std::int64_t e = edge_begin_[index(v)]; e < edge_begin_[index(v) + 1]; ++e) {
        terms.push_back({before[index(edge_source_[index(e)])], edge_weight_[index(e)]});
      }
      sort_and_merge(terms);
      level.colour.push_back(colour_of_terms());
    }
    level.n_colours = static_cast<std::int64_t>(level.begin.size()) - 1;
    levels_.push_back(std::move(level));
  }
}

std::int64_t Molecules::n_atoms(std::int64_t drug) const {
  return node_begin_[index(drug) + 1] - node_begin_[index(drug)];
}

std::int64_t Molecules::n_pads(std::int64_t drug) const { return std::max<std::int64_t>(0, padded_ - n_atoms(drug)); }

Molecules::Used Molecules::used(const Level& level, const std::vector<std::int64_t>& drugs,
                                const std::vector<std::int64_t>& count) const {
  Used out;
  std::vector<std::int64_t> nodes(index(level.n_colours), -1);
  nodes[0] = 0;
  for (std::size_t i = 0; i < drugs.size(); ++i) {
    nodes[0] += count[i] * n_pads(drugs[i]);
    for (std::int64_t v = node_begin_[index(drugs[i])]; v < node_begin_[index(drugs[i]) + 1]; ++v) {
      std::int64_t& n = nodes[index(level.colour[index(v)])];
      n = std::max<std::int64_t>(n, 0) + count[i];
    }
  }
  out.row.assign(nodes.size(), -1);
  for (std::size_t colour = 0; colour < nodes.size(); ++colour) {
    if (nodes[colour] < 0) continue;
    out.row[colour] = static_cast<std::int32_t>(out.colours.size());
    out.colours.push_back(static_cast<std::int32_t>(colour));
    out.multiplicity.push_back(static_cast<float>(nodes[colour]));
  }
  return out;
}

MoleculeBatch Molecules::batch(const torch::Tensor& drugs_tensor, const torch::Tensor& count_tensor,
                               Sharing sharing) const {
  const std::vector<std::int64_t> drugs = integers_of(drugs_tensor);
  const std::vector<std::int64_t> count = integers_of(count_tensor);
  MoleculeBatch batch;
  for (std::size_t i = 0; i < drugs.size(); ++i) {
    batch.n_nodes += static_cast<double>(count[i] * (n_atoms(drugs[i]) + n_pads(drugs[i])));
  }

  Used before = used(levels_[0], drugs, count);
  batch.features =
      features_.index_select(0, torch::tensor(std::vector<std::int64_t>(before.colours.begin(), before.colours.end())));
  const std::size_t shared_levels = sharing == Sharing::surroundings ? levels_.size() : 2;
  for (std::size_t k = 1; k < shared_levels; ++k) {
    const Level& level = levels_[k];
    Used now = used(level, drugs, count);
    std::vector<std::int32_t> begin{0}, column;
    std::vector<float> weight;
    for (const std::int32_t colour : now.colours) {
      for (std::int64_t e = level.begin[index(colour)]; e < level.begin[index(colour) + 1]; ++e) {
        column.push_back(before.row[index(level.term[index(e)])]);
        weight.push_back(level.weight[index(e)]);
      }
      begin.push_back(static_cast<std::int32_t>(column.size()));
    }
    batch.layers.push_back({SparseRows(static_cast<std::int64_t>(before.colours.size()), begin, column, weight),
                            torch::tensor(now.multiplicity), torch::Tensor()});
    before = std::move(now);
  }
  if (sharing != Sharing::surroundings) {
    add_node_layers(batch, before, drugs, count, sharing);
    return batch;
  }

  // The mean over the padded nodes.
  std::vector<std::int32_t> begin{0}, column;
  std::vector<float> weight;
  std::vector<std::int32_t> times(before.colours.size(), 0);
  for (const std::int64_t drug : drugs) {
    const std::size_t first = column.size();
    const auto add = [&](std::int32_t row, std::int64_t n) {
      if (n == 0) return;
      if (times[index(row)] == 0) column.push_back(row);
      times[index(row)] += static_cast<std::int32_t>(n);
    };
    add(0, n_pads(drug));
    for (std::int64_t v = node_begin_[index(drug)]; v < node_begin_[index(drug) + 1]; ++v) {
      add(before.row[index(levels_.back().colour[index(v)])], 1);
    }
    const auto n_nodes = static_cast<float>(n_atoms(drug) + n_pads(drug));
    for (std::size_t e = first; e < column.size(); ++e) {
      weight.push_back(static_cast<float>(times[index(column[e])]) / n_nodes);
      times[index(column[e])] = 0;
    }
    begin.push_back(static_cast<std::int32_t>(column.size()));
  }
  batch.pool = SparseRows(static_cast<std::int64_t>(before.colours.size()), begin, column, weight);
  return batch;
}

/// Layers 2 and on, and the pool, over rows of nodes instead of surroundings: what is drawn at random after the first
/// layer makes equal surroundings different.
void Molecules::add_node_layers(MoleculeBatch& batch, const Used& first, const std::vector<std::int64_t>& drugs,
                                const std::vector<std::int64_t>& count, Sharing sharing) const {
  const bool explicit_pads = sharing == Sharing::pairs;
  batch.last_row_is_pad = !explicit_pads;
  std::vector<std::int64_t> expand;
  std::vector<float> multiplicity;
  std::vector<std::int32_t> begin{0}, column, pool_begin{0}, pool_column;
  std::vector<float> weight, pool_weight;
  std::int64_t n_rows = 0;
  for (const std::int64_t drug : drugs) n_rows += n_atoms(drug) + (explicit_pads ? n_pads(drug) : 0);
  const auto shared_pad = static_cast<std::int32_t>(n_rows);
  double pads = 0;
  for (std::size_t i = 0; i < drugs.size(); ++i) {
    const std::int64_t drug = drugs[i];
    const std::int64_t first_node = node_begin_[index(drug)];
    const auto first_row = static_cast<std::int32_t>(expand.size());
    const float share = 1.0F / static_cast<float>(n_atoms(drug) + n_pads(drug));
    const auto add_row = [&](std::int32_t colour, float times) {
      expand.push_back(first.row[index(colour)]);
      multiplicity.push_back(times);
      pool_column.push_back(static_cast<std::int32_t>(expand.size()) - 1);
      pool_weight.push_back(share);
    };
    for (std::int64_t v = first_node; v < first_node + n_atoms(drug); ++v) {
      add_row(levels_[1].colour[index(v)], static_cast<float>(count[i]));
      for (std::int64_t e = edge_begin_[index(v)]; e < edge_begin_[index(v) + 1]; ++e) {
        column.push_back(first_row + edge_source_[index(e)] - static_cast<std::int32_t>(first_node));
        weight.push_back(edge_weight_[index(e)]);
      }
      begin.push_back(static_cast<std::int32_t>(column.size()));
    }
    if (explicit_pads) {
      for (std::int64_t p = 0; p < n_pads(drug); ++p) {
        add_row(0, static_cast<float>(count[i]));
        column.push_back(static_cast<std::int32_t>(expand.size()) - 1);
        weight.push_back(1.0F);
        begin.push_back(static_cast<std::int32_t>(column.size()));
      }
    } else if (n_pads(drug) > 0) {
      pads += static_cast<double>(count[i] * n_pads(drug));
      pool_column.push_back(shared_pad);
      pool_weight.push_back(share * static_cast<float>(n_pads(drug)));
    }
    pool_begin.push_back(static_cast<std::int32_t>(pool_column.size()));
  }
  if (!explicit_pads) {
    expand.push_back(first.row[0]);
    multiplicity.push_back(static_cast<float>(pads));
    column.push_back(shared_pad);
    weight.push_back(1.0F);
    begin.push_back(static_cast<std::int32_t>(column.size()));
  }
  const auto n = static_cast<std::int64_t>(expand.size());
  batch.layers.back().expand = torch::tensor(expand, torch::kInt64);
  const Layer layer{SparseRows(n, begin, column, weight), torch::tensor(multiplicity), torch::Tensor()};
  for (std::size_t k = 2; k < levels_.size(); ++k) batch.layers.push_back(layer);
  batch.pool = SparseRows(n, pool_begin, pool_column, pool_weight);
}

}  // namespace cdrzoo::graph_cdr
