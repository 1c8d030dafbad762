// SPDX-License-Identifier: Apache-2.0
#include "mat/drug_graphs.hpp"

#include <algorithm>
#include <array>
#include <numeric>

namespace cdrzoo::mat {

DrugGraphs::DrugGraphs(const sdk::GraphsBlock& block) {
  drugs_.reserve(static_cast<std::size_t>(block.rows()));
  for (std::int64_t i = 0; i < block.rows(); ++i) {
    const sdk::Graph g = block.graph(i);
    if (g.pairs.cols() != 1 || g.pairs.rows() != g.n_nodes * g.n_nodes) {
      if (g.n_nodes != 0) {
        throw sdk::Error(CDRZOO_E_DATA, "the graph of drug " + std::to_string(i) + " has " + std::to_string(g.n_nodes) +
                                            " nodes, but not one distance for each pair");
      }
    }
    Drug drug{torch::empty({0, block.width()}), torch::empty({0, 0}), torch::empty({0, 0})};
    if (g.n_nodes != 0) {
      drug.features = sdk::borrow(g.nodes).clone();
      drug.distance = sdk::borrow(g.pairs).reshape({g.n_nodes, g.n_nodes}).clone();
      drug.adjacency = torch::zeros({g.n_nodes, g.n_nodes});
      auto adjacency = drug.adjacency.accessor<float, 2>();
      for (std::int64_t e = 0; e < g.source.size(); ++e) adjacency[g.source[e]][g.target[e]] = 1;
    }
    drugs_.push_back(std::move(drug));
  }
}

torch::Tensor DrugGraphs::has_structure() const {
  torch::Tensor out = torch::empty({size()}, torch::kBool);
  for (std::int64_t i = 0; i < size(); ++i) out[i] = n_nodes(i) != 0;
  return out;
}

DrugGraphs DrugGraphs::select(const torch::Tensor& which) const {
  DrugGraphs out;
  const torch::Tensor order = which.to(torch::kCPU);
  const auto drug = order.accessor<std::int64_t, 1>();
  for (std::int64_t i = 0; i < drug.size(0); ++i) out.drugs_.push_back(at(drug[i]));
  return out;
}

std::vector<DrugGraphs::Pack> DrugGraphs::packs(std::int64_t max_tokens, torch::Device device) const {
  std::vector<std::int64_t> order(static_cast<std::size_t>(size()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [this](auto a, auto b) { return n_nodes(a) < n_nodes(b); });
  order.erase(order.begin(), std::find_if(order.begin(), order.end(), [this](auto i) { return n_nodes(i) != 0; }));

  std::vector<Pack> packs;
  std::int64_t tokens = 0;
  for (auto first = order.begin(); first != order.end();) {
    const std::int64_t n = n_nodes(*first);
    if (packs.empty() || (tokens != 0 && tokens + n > max_tokens)) {
      packs.emplace_back();
      tokens = 0;
    }
    std::vector<torch::Tensor> features, adjacency, distance;
    auto last = first;
    for (; last != order.end() && n_nodes(*last) == n && (tokens == 0 || tokens + n <= max_tokens); ++last) {
      features.push_back(at(*last).features);
      adjacency.push_back(at(*last).adjacency);
      distance.push_back(at(*last).distance);
      tokens += n;
    }
    packs.back().groups.push_back(
        {torch::stack(features).to(device), torch::stack(adjacency).to(device), torch::stack(distance).to(device), {}});
    packs.back().drugs.insert(packs.back().drugs.end(), first, last);
    first = last;
  }
  return packs;
}

torch::Tensor pooled(Mat& net, const DrugGraphs& drugs, const std::function<void()>& between, std::int64_t max_tokens) {
  const torch::Tensor like = net->parameters().front();
  std::vector<torch::Tensor> parts;
  std::vector<std::int64_t> place(static_cast<std::size_t>(drugs.size()), -1);
  std::int64_t n = 0;
  for (const auto& pack : drugs.packs(max_tokens, like.device())) {
    if (between) between();
    parts.push_back(net->mean_tokens(pack.groups));
    for (const std::int64_t drug : pack.drugs) place[static_cast<std::size_t>(drug)] = n++;
  }
  parts.push_back(torch::zeros({1, net->options().width}, like.options()));  // of a drug without nodes
  for (auto& p : place) p = p < 0 ? n : p;
  return torch::cat(parts).index_select(0, torch::tensor(place, torch::kInt64).to(like.device()));
}

void load_weights(Mat& net, const sdk::StateReader& weights, const std::string& asset) {
  for (const std::string prefix : {"", "CCE.MAT.", "CSG2A.CCE.MAT."}) {
    if (!weights.has(prefix + "src_embed.lut.weight")) continue;
    try {
      sdk::load_module(weights, *net, prefix);
    } catch (const sdk::Error& e) {
      throw sdk::Error(CDRZOO_E_ASSET, "the asset \"" + asset + "\" does not fit a MAT of " +
                                           std::to_string(net->options().layers) + " layers of width " +
                                           std::to_string(net->options().width) + ": " + e.what());
    }
    return;
  }
  throw sdk::Error(CDRZOO_E_ASSET, "the asset \"" + asset +
                                       "\" has no tensor \"src_embed.lut.weight\", with or without \"CCE.MAT.\" or "
                                       "\"CSG2A.CCE.MAT.\" in front: these are no weights of ardigen's MAT");
}

Options published_options(std::int64_t atom_features) {
  Options options;
  options.atom_features = atom_features;
  return options;
}

Options small_options(std::int64_t atom_features) {
  Options options;
  options.atom_features = atom_features;
  options.width = 128;
  options.layers = 2;
  options.heads = 8;
  options.dense_layers = 2;
  options.lambda_attention = 0.3;
  options.lambda_distance = 0.3;
  options.dropout = 0.1;
  options.kernel = Options::DistanceKernel::softmax;
  return options;
}

}  // namespace cdrzoo::mat
