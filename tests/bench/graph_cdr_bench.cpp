// SPDX-License-Identifier: Apache-2.0
// Seconds of PANCDR's training per 1,000 pairs: 7 iterations of 128 pairs and 14 target samples, 151 drugs, 702 genes,
// published sizes. The reference needs 1.95 s where a 2048-cube sgemm runs at 475 GFLOP/s (both cores of its machine).
//
//     OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=30000 OPENBLAS_CORETYPE=SkylakeX
//         LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/openblas-openmp graph_cdr_bench [THREADS [DATA.h5]]
//
// The drugs are those of DATA.h5 (its block graph_deepcdr), or made up: as large, but of atoms that are all different,
// so that no two surroundings are equal.
#include <hdf5.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "../../plugins/baselines/pancdr/training.hpp"

namespace {

using namespace cdrzoo;

constexpr std::int64_t kDrugs = 151;
constexpr std::int64_t kGenes = 702;
constexpr std::int64_t kAtomFeatures = 75;

double shortest_of(int n, const std::function<void()>& work) {
  double best = 1e300;
  for (int i = 0; i < n; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

torch::Tensor read(hid_t file, const std::string& name, hid_t type, torch::ScalarType scalar) {
  const hid_t set = H5Dopen2(file, ("/drugs/blocks/graph_deepcdr/" + name).c_str(), H5P_DEFAULT);
  const hid_t space = H5Dget_space(set);
  hsize_t extent[2] = {0, 1};
  const int rank = H5Sget_simple_extent_dims(space, extent, nullptr);
  std::vector<std::int64_t> sizes(extent, extent + rank);
  torch::Tensor out = torch::empty(sizes, scalar);
  H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out.data_ptr());
  H5Sclose(space);
  H5Dclose(set);
  return out;
}

/// The first drugs of a data set.
sdk::Graphs drugs_of(const char* path) {
  const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  if (file < 0) std::exit(1);
  sdk::Graphs all;
  all.nodes = read(file, "nodefeat", H5T_NATIVE_FLOAT, torch::kFloat32);
  all.edges = read(file, "edgefeat", H5T_NATIVE_FLOAT, torch::kFloat32);
  all.node_begin = read(file, "nodeptr", H5T_NATIVE_INT64, torch::kInt64);
  all.edge_begin = read(file, "edgeptr", H5T_NATIVE_INT64, torch::kInt64);
  const torch::Tensor shift =
      torch::repeat_interleave(all.node_begin.narrow(0, 0, all.size()),
                               all.edge_begin.narrow(0, 1, all.size()) - all.edge_begin.narrow(0, 0, all.size()));
  all.source = read(file, "edgesrc", H5T_NATIVE_INT64, torch::kInt64) + shift;
  all.target = read(file, "edgedst", H5T_NATIVE_INT64, torch::kInt64) + shift;
  all.pairs = torch::empty({0, 0});
  all.pair_begin = torch::zeros({all.size() + 1}, torch::kInt64);
  H5Fclose(file);
  return all.select(torch::arange(std::min(kDrugs, all.size())));
}

/// Chains with rings, 31 atoms on average, every atom with random features.
sdk::Graphs made_up_drugs() {
  std::vector<std::int64_t> node_begin{0}, edge_begin{0}, source, target;
  std::vector<float> weight;
  for (std::int64_t d = 0; d < kDrugs; ++d) {
    const std::int64_t first = node_begin.back();
    const std::int64_t n = 11 + (d * 17) % 41;
    for (std::int64_t v = 0; v < n; ++v) {
      for (const std::int64_t u : {v - 1, v, v + 1, v % 6 == 0 ? v + 5 : v, v % 6 == 5 ? v - 5 : v}) {
        if (u < 0 || u >= n ||
            (u == v && !source.empty() && source.back() == first + v && target.back() == first + v)) {
          continue;
        }
        source.push_back(first + u);
        target.push_back(first + v);
        weight.push_back(0.3F);
      }
    }
    node_begin.push_back(first + n);
    edge_begin.push_back(static_cast<std::int64_t>(source.size()));
  }
  sdk::Graphs out;
  out.nodes = torch::rand({node_begin.back(), kAtomFeatures});
  out.node_begin = torch::tensor(node_begin, torch::kInt64);
  out.edge_begin = torch::tensor(edge_begin, torch::kInt64);
  out.source = torch::tensor(source, torch::kInt64);
  out.target = torch::tensor(target, torch::kInt64);
  out.edges = torch::tensor(weight).unsqueeze(1);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  torch::set_num_threads(threads);
  torch::manual_seed(1);
  const torch::Tensor a = torch::randn({2048, 2048});
  const double sgemm = shortest_of(6, [&] { torch::mm(a, a); });
  const double gflops = 2 * 2048.0 * 2048 * 2048 / sgemm * 1e-9;

  const sdk::Graphs graphs = argc > 2 ? drugs_of(argv[2]) : made_up_drugs();
  const double prepare = shortest_of(3, [&] { const graph_cdr::Molecules m(graphs, 4, 100); });
  const graph_cdr::Molecules molecules(graphs, 4, 100);
  pancdr::Sizes sizes;
  sizes.genes = kGenes;
  pancdr::Pancdr net(sizes);
  torch::optim::Adam response(net->response_parameters(), torch::optim::AdamOptions(1e-4));
  torch::optim::Adam discriminator(net->discriminator->parameters(), torch::optim::AdamOptions(1e-4));
  const torch::Tensor x = torch::randn({968, kGenes});
  const torch::Tensor targets = torch::randn({8550, kGenes});
  const sdk::Pairs pairs{torch::randint(968, {1000}, torch::kInt64),
                         torch::randint(molecules.size(), {1000}, torch::kInt64),
                         torch::randint(2, {1000, 1}).to(torch::kFloat32)};
  net->train();
  const auto epoch = [&] {
    const torch::Tensor order = torch::randperm(1000);
    const torch::Tensor target_order = torch::randperm(8550);
    for (std::int64_t step = 0; step < 7; ++step) {
      const auto normal = [&](std::int64_t n) { return torch::randn({n, sizes.latent}); };
      const pancdr::Noise noise{normal(128), normal(14), normal(128), normal(14)};
      pancdr::iterate(net, {response, discriminator},
                      pancdr::source_batch(x, molecules, pairs.select(order.narrow(0, step * 128, 128))),
                      targets.index_select(0, target_order.narrow(0, step * 14, 14)), noise, 0.01, true);
    }
  };
  epoch();
  const double seconds = shortest_of(10, epoch);
  const auto batch = molecules.batch(torch::arange(molecules.size()), torch::ones({molecules.size()}, torch::kInt64));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("2048-cube sgemm      %.4f s, %.0f GFLOP/s, %d threads\n", sgemm, gflops, threads);
  std::printf("drugs                %lld, %lld atoms; rows per layer", static_cast<long long>(molecules.size()),
              static_cast<long long>(graphs.nodes.size(0)));
  std::printf(" %lld", static_cast<long long>(batch.features.size(0)));
  for (const auto& layer : batch.layers) std::printf(" %lld", static_cast<long long>(layer.neighbours.rows));
  std::printf("\nsurroundings         %.4f s, once\n", prepare);
  std::printf("PANCDR, 1,000 pairs  %.4f s (reference 1.95 s at 475 GFLOP/s): %.1f times as fast, %.1f per GFLOP/s\n",
              seconds, 1.95 / seconds, 1.95 * 475 / (seconds * gflops));
  std::printf("peak memory          %.0f MB\n", static_cast<double>(usage.ru_maxrss) / 1024);
}
