// SPDX-License-Identifier: Apache-2.0
// dataset_bench make FILE   writes a synthetic data set of the size of the largest published setting:
//                           112,533 pairs of 673 lines and 174 drugs, 8,400 unlabelled tumours, 978 genes
// dataset_bench open FILE   how long it takes to open, to touch every value, and to hash the file
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "data/dataset.hpp"
#include "data/dataset_writer.hpp"

using namespace cdrzoo;

namespace {

constexpr int kLines = 673, kTumours = 8400, kDrugs = 174, kGenes = 978, kPairs = 112533, kTissues = 23;

void make(const std::string& path) {
  std::uint64_t counter = 0;
  const auto uniform = [&] { return static_cast<double>(splitmix64(0, counter++) >> 11U) * 0x1p-53; };
  DatasetContent c;
  c.name = "bench";
  c.domains = {{"lines", "tumours"}, {"log2_tpm", "log2_tpm"}, {"", ""}};
  for (int g = 0; g < kGenes; ++g) c.genes.push_back("G" + std::to_string(g));
  for (int t = 0; t < kTissues; ++t) c.tissues.push_back("tissue" + std::to_string(t));
  for (int s = 0; s < kLines + kTumours; ++s) {
    c.sample_id.push_back((s < kLines ? "line" : "tumour") + std::to_string(s));
    c.sample_domain.push_back(s < kLines ? 0 : 1);
    c.sample_tissue.push_back(s % kTissues);
  }
  c.sample_group = c.sample_id;
  c.expression.resize(c.sample_id.size() * kGenes);
  for (auto& x : c.expression) x = static_cast<float>(uniform());
  for (int d = 0; d < kDrugs; ++d) c.drug_id.push_back("D" + std::to_string(d));
  c.drug_name = c.drug_group = c.drug_id;
  c.drug_smiles.assign(kDrugs, "");
  c.drug_scaffold.assign(kDrugs, "");
  c.value_unit = "ln_ic50_um";
  for (int pair = 0; pair < kPairs; ++pair) {
    DatasetContent::Response r;
    r.sample = pair / kDrugs;
    r.drug = pair % kDrugs;
    r.value = 4 * uniform();
    c.responses.push_back(r);
  }
  write_dataset(c, path);
}

void time(const char* what, int runs, const std::function<double()>& body) {
  std::vector<double> seconds;
  double value = 0;
  for (int run = 0; run < runs; ++run) {
    const auto start = std::chrono::steady_clock::now();
    value = body();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin(), seconds.end());
  std::printf("%-28s min %8.2f ms  median %8.2f ms  of %d  (%.6g)\n", what, 1e3 * seconds.front(),
              1e3 * seconds[seconds.size() / 2], runs, value);
}

void open(const std::string& path) {
  time("open", 11, [&] { return static_cast<double>(Dataset::open(path).responses.size()); });
  time("open and touch all", 5, [&] {
    const auto dataset = Dataset::open(path);
    const auto x = dataset.expression();
    double sum = 0;
    for (std::int64_t i = 0; i < x.rows * x.cols; ++i) sum += static_cast<double>(x.data[i]);
    return sum;
  });
  time("open and hash the file", 3, [&] { return static_cast<double>(Dataset::open(path).file_hash().size()); });
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string mode = argc == 3 ? argv[1] : "";
    if (mode == "make") {
      make(argv[2]);
    } else if (mode == "open") {
      open(argv[2]);
    } else {
      std::fprintf(stderr, "usage: dataset_bench make|open FILE\n");
      return kExitUsage;
    }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "dataset_bench: %s\n", e.what());
    return kExitUsage;
  }
  return kExitOk;
}
