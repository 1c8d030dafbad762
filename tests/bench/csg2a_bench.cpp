// SPDX-License-Identifier: Apache-2.0
// csg2a_bench DRUGS.csv [REPEATS]
//   times what the reference implementation was timed on, CSG2A and MAT at the published sizes with random weights,
//   next to the naive form and one 2048-cube sgemm. Ratios to the reference are in units of that sgemm: the machine of
//   the reference does 475 GFLOP/s. DRUGS.csv has the column isomeric_smiles. Set OMP_NUM_THREADS=2
//   OMP_WAIT_POLICY=PASSIVE OPENBLAS_CORETYPE=SkylakeX (where the processor has AVX-512), as the runner does for a
//   worker.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "csg2a/networks.hpp"
#include "import/csv.hpp"
#include "import/drug_structures.hpp"
#include "mat/drug_graphs.hpp"

using namespace cdrzoo;
using torch::Tensor;

namespace {

/// The shortest of some runs, in seconds.
double best_of(int repeats, const std::function<void()>& work) {
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

/// How much longer the reference takes for the same work: its seconds over ours, each over the sgemm of its machine.
double times_faster(double reference, double ours, double sgemm) {
  constexpr double kReferenceSgemm = 2.0 * 2048 * 2048 * 2048 / 475e9;
  return (reference / kReferenceSgemm) / (ours / sgemm);
}

/// The drugs of a table, as a plugin gets them.
mat::DrugGraphs drugs_of(const char* file) {
  CsvReader table(file);
  const std::size_t smiles = table.column("isomeric_smiles");
  DatasetContent content;
  while (table.next()) {
    content.drug_id.push_back(std::to_string(content.drug_id.size()));
    content.drug_name.emplace_back();
    content.drug_smiles.emplace_back(table.field(smiles));
  }
  StructureOptions options;
  options.features = {"graph_mat"};
  (void)derive_structures(content, options);
  std::vector<cdrzoo_part> parts;
  const BlockContent& block = content.drug_blocks.at(0);
  for (const auto& p : block.parts) {
    cdrzoo_part part{};
    part.size = sizeof part;
    part.role = p.role;
    part.array.dtype = p.dtype;
    part.array.rank = static_cast<std::int32_t>(p.shape.size());
    part.array.data = p.bytes.data();
    part.array.bytes = p.bytes.size();
    std::int64_t stride = 1;
    for (std::size_t axis = p.shape.size(); axis-- > 0;) {
      part.array.shape[axis] = p.shape[axis];
      part.array.stride[axis] = stride;
      stride *= p.shape[axis];
    }
    parts.push_back(part);
  }
  cdrzoo_block raw{};
  raw.size = sizeof raw;
  raw.kind = CDRZOO_BLOCK_GRAPHS;
  raw.rows = block.rows;
  raw.width = block.width;
  raw.parts = {parts.data(), parts.size(), sizeof(cdrzoo_part), 0};
  return mat::DrugGraphs(sdk::GraphsBlock(raw));
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2 || argc > 3) throw UsageError("usage: csg2a_bench DRUGS.csv [REPEATS]");
  const int repeats = argc == 3 ? std::stoi(argv[2]) : 3;
  const torch::NoGradGuard no_grad;
  torch::manual_seed(0);

  const Tensor a = torch::randn({2048, 2048}), b = torch::randn({2048, 2048});
  (void)torch::matmul(a, b);
  const auto sgemm = [&] { return best_of(3 * repeats, [&] { (void)torch::matmul(a, b); }); };
  double unit = sgemm();
  const double gflop = 2.0 * 2048 * 2048 * 2048 / 1e9;
  std::printf("%-58s %10.4f s  %6.1f GFLOP/s, %d threads\n", "sgemm of 2048 cubed", unit, gflop / unit,
              at::get_num_threads());

  const mat::DrugGraphs drugs = drugs_of(argv[1]);
  std::int64_t tokens = 0;
  for (std::int64_t i = 0; i < drugs.size(); ++i) tokens += drugs.n_nodes(i);
  csg2a::Sizes sizes;
  csg2a::Csg2a net(sizes);
  net->eval();
  const auto encode = [&] { return mat::pooled(net->encoder()->mat(), drugs, {}); };
  Tensor pooled = encode();
  const double mat_s = best_of(repeats, [&] { pooled = encode(); });
  const double per_token = 8.0 * 5 * 2 * 1024 * 1024 / 1e9;
  unit = std::min(unit, sgemm());
  std::printf("%-58s %10.4f s  %6.1f GFLOP/s of products with weights, %.1f x the reference\n",
              ("MAT, " + std::to_string(drugs.size()) + " drugs, " + std::to_string(tokens) + " tokens").c_str(), mat_s,
              per_token * static_cast<double>(tokens) / mat_s, times_faster(4.31, mat_s, unit));

  constexpr std::int64_t kPairs = 512, kCells = 600;
  const Tensor basal = torch::randn({kCells, 978});
  const std::int64_t n_drugs = drugs.size();
  const Tensor ones = torch::ones({n_drugs, 1});
  const Tensor compound = net->encoder()->forward(pooled, 0.1 * ones, ones);
  const Tensor cell = torch::randint(kCells, {kPairs}, torch::kInt64);
  const Tensor drug = torch::randint(n_drugs, {kPairs}, torch::kInt64);
  const Tensor prior = torch::eye(978);
  constexpr std::int64_t kNaive = 32;
  const double naive = best_of(repeats, [&] {
    const Tensor b_of = basal.index_select(0, cell.narrow(0, 0, kNaive));
    const Tensor c_of = compound.index_select(0, drug.narrow(0, 0, kNaive));
    const Tensor m = csg2a::attention_matrix(b_of, c_of, net->w_gex(), net->w_comp(), prior);
    (void)net->predict_from(torch::einsum("bjk,bj->bj", {m, b_of}));
  });
  std::printf("%-58s %10.4f s  (%lld pairs timed, scaled)\n", "attention and output, naive, 512 pairs",
              naive * kPairs / kNaive, static_cast<long long>(kNaive));
  const auto of_pairs = [&](const csg2a::Factors& of_cells, const Tensor& s, const csg2a::Factors& of_conditions,
                            const Tensor& d) {
    return torch::matmul(net->activated(of_cells, s, of_conditions, d), net->output_weight().t());
  };
  // Cold: the factors of the cells and conditions of these pairs are made as well.
  const double ours = best_of(10 * repeats, [&] {
    const sdk::Unique s = sdk::unique_of(cell), d = sdk::unique_of(drug);
    (void)of_pairs(net->cells(basal.index_select(0, s.entity)), s.index,
                   net->conditions(compound.index_select(0, d.entity)), d.index);
  });
  const auto cells = net->cells(basal);
  const auto conditions = net->conditions(compound);
  const double warm = best_of(10 * repeats, [&] { (void)of_pairs(cells, cell, conditions, drug); });
  const double attention = best_of(10 * repeats, [&] { (void)net->activated(cells, cell, conditions, drug); });
  std::printf("%-58s %10.4f s  %6.0f x the naive form, %.0f x the reference\n", "the same, factorised, factors made",
              ours, naive * kPairs / kNaive / ours, times_faster(2.16, ours, unit));
  std::printf("%-58s %10.4f s  %6.0f x the naive form; attention and norm alone %.4f s\n",
              "the same, factorised, factors at hand", warm, naive * kPairs / kNaive / warm, attention);

  for (const std::int64_t n : {std::int64_t{10000}, kCells * n_drugs}) {
    const Tensor s = torch::arange(n).div(n_drugs, "floor").remainder(kCells), d = torch::arange(n).remainder(n_drugs);
    const double seconds = best_of(repeats, [&] {
      const auto c = net->conditions(net->encoder()->forward(pooled, 0.1 * ones, ones));
      const auto l = net->cells(basal);
      for (std::int64_t first = 0; first < n; first += 4096) {
        const std::int64_t m = std::min<std::int64_t>(4096, n - first);
        (void)of_pairs(l, s.narrow(0, first, m), c, d.narrow(0, first, m));
      }
    });
    const double per_512 = seconds * kPairs / static_cast<double>(n);
    const double with_mat = (seconds + mat_s) * kPairs / static_cast<double>(n);
    std::printf("%-58s %10.4f s  %.4f s per 512 pairs, %.0f x the reference; with MAT %.4f s, %.0f x\n",
                ("forward of " + std::to_string(n) + " pairs, drugs encoded").c_str(), seconds, per_512,
                times_faster(41.4, per_512, unit), with_mat, times_faster(41.4, with_mat, unit));
  }
  std::printf("%-58s %10.4f s\n", "sgemm of 2048 cubed, again", sgemm());
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "csg2a_bench: %s\n", e.what());
  return 1;
}
