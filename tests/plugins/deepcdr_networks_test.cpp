// SPDX-License-Identifier: Apache-2.0
#include "../../plugins/baselines/deepcdr/losses.hpp"
#include "../../plugins/baselines/deepcdr/networks.hpp"
#include "graph_cdr_golden.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;
using namespace cdrzoo::deepcdr;
using test::compare;
using test::tensor_of;

namespace {

Sizes keras_sizes(const test::Golden& golden) {
  Sizes sizes;
  sizes.genes = golden.arg("n_genes");
  sizes.atom_features = golden.arg("atom_features");
  sizes.graph_units = golden.arg("gcn_units").get<std::vector<std::int64_t>>();
  sizes.hidden = golden.arg("gexp_hidden");
  sizes.sample_width = golden.arg("gexp_out");
  sizes.dropout = sizes.flat_dropout = 0;
  return sizes;
}

Sizes pancdr_sizes(const test::Golden& golden) {
  Sizes sizes;
  sizes.preset = Preset::pancdr;
  sizes.genes = golden.arg("n_genes");
  sizes.atom_features = golden.arg("atom_features");
  sizes.graph_units = golden.arg("gcn_units").get<std::vector<std::int64_t>>();
  sizes.graph_units.push_back(golden.arg("h_dim"));
  sizes.hidden = golden.arg("n_hidden");
  sizes.sample_width = golden.arg("nz");
  sizes.dropout = sizes.flat_dropout = 0;
  return sizes;
}

struct Drugs {
  explicit Drugs(const test::Golden& golden)
      : molecules(test::graphs_of(golden), 4, /*padded=*/100),
        unique(sdk::unique_of(tensor_of(golden, "in/drug_of_pair"))),
        batch(molecules.batch(unique.entity, unique.count)) {}
  [[nodiscard]] torch::Tensor vectors(DeepCdr& net) const {
    return net->drug_vectors(batch).index_select(0, unique.index);
  }
  graph_cdr::Molecules molecules;
  sdk::Unique unique;
  graph_cdr::MoleculeBatch batch;
};

Samples samples_of(const test::Golden& golden) { return {tensor_of(golden, "in/x"), {}, {}, {}, 0}; }

}  // namespace

TEST_CASE("DeepCDR with Keras' settings agrees with the reference in inference", "[golden]") {
  const auto files = test::Golden::all_of("DeepCDR", "keras_preset");
  if (files.empty()) WARN(test::Golden::no_files());
  for (const auto& golden : files) {
    CAPTURE(golden.name());
    const torch::NoGradGuard no_grad;
    DeepCdr net(keras_sizes(golden));
    const test::GoldenWeights weights(golden);
    for (const ReferenceTensor& tensor : reference_state(*net, Preset::keras)) {
      INFO(tensor.key);
      REQUIRE(weights.find(tensor.key).defined());
      REQUIRE(weights.find(tensor.key).sizes() == torch::IntArrayRef(tensor.shape));
      tensor.assign(weights.find(tensor.key));
      CHECK(tensor.stored().equal(weights.find(tensor.key)));
    }
    net->eval();
    const Drugs drugs(golden);
    const torch::Tensor drug = drugs.vectors(net);
    CHECK(compare(golden, "out/drug_vector", drug) == "");
    const torch::Tensor sample = net->sample_vectors(samples_of(golden));
    CHECK(compare(golden, "out/expression_vector", sample) == "");
    const torch::Tensor fused = net->fuse(drug, sample);
    CHECK(compare(golden, "out/fused_tanh", fused) == "");
    const torch::Tensor flat = net->convolve(fused).view({-1, 5, 6}).transpose(1, 2).flatten(1);
    CHECK(compare(golden, "out/flatten_channels_last", flat) == "");
    const torch::Tensor output = net->respond(drug, sample);
    if (golden.has("out/probability")) {
      CHECK(compare(golden, "out/probability", torch::sigmoid(output)) == "");
    } else {
      CHECK(compare(golden, "out/ln_ic50", output) == "");
    }
    if (golden.has("out/gcn1_block_first_pair")) {
      const std::int64_t first = tensor_of(golden, "in/drug_of_pair")[0].item<std::int64_t>();
      const auto padded =
          drugs.molecules.batch(torch::tensor({first}), torch::ones({1}, torch::kInt64), graph_cdr::Sharing::pairs);
      CHECK(compare(golden, "out/gcn1_block_first_pair", net->first_layer(padded)) == "");
    }
  }
}

TEST_CASE("DeepCDR with PANCDR's settings agrees with the reference", "[golden]") {
  const auto files = test::Golden::all_of("DeepCDR", "pancdr_preset");
  if (files.empty()) WARN(test::Golden::no_files());
  for (const auto& golden : files) {
    CAPTURE(golden.name());
    DeepCdr net(pancdr_sizes(golden));
    const test::GoldenWeights weights(golden);
    weights.load_into(*net);
    const Drugs drugs(golden);
    const Samples samples = samples_of(golden);
    const torch::Tensor y = tensor_of(golden, "in/label");
    const auto forward = [&] { return net->respond(drugs.vectors(net), net->sample_vectors(samples)); };
    net->eval();
    {
      const torch::NoGradGuard no_grad;
      CHECK(compare(golden, "out/drug_vector_eval", drugs.vectors(net)) == "");
      CHECK(compare(golden, "out/expression_vector_eval", net->sample_vectors(samples)) == "");
      CHECK(compare(golden, "out/probability_eval", torch::sigmoid(forward())) == "");
      CHECK(compare(golden, "loss/bce_eval", cross_entropy(forward(), y)) == "");
    }
    net->train();
    torch::optim::Adam adam(net->parameters(), torch::optim::AdamOptions(1e-3));
    std::vector<double> losses;
    const std::int64_t n = golden.at("loss/bce_before_each_step").shape.at(0);
    for (std::int64_t i = 0; i < n; ++i) {
      const torch::Tensor output = forward();
      const torch::Tensor loss = cross_entropy(output, y);
      losses.push_back(loss.item<double>());
      adam.zero_grad();
      loss.backward();
      if (i == 0) {
        CHECK(compare(golden, "out/probability_train", torch::sigmoid(output)) == "");
        CHECK(compare(golden, "loss/bce_train", loss) == "");
        CHECK(test::compare_module(golden, "grad", *net) == "");
        CHECK(test::compare_module(golden, "after1", *net) == "");
      }
      adam.step();
    }
    CHECK(compare(golden, "loss/bce_before_each_step", losses) == "");
    CHECK(test::compare_module(golden, "after3", *net, "", &weights) == "");
  }
}

TEST_CASE("DeepCDR has the published number of parameters") {
  Sizes sizes;
  sizes.genes = 697;
  CHECK(sdk::n_parameters(*DeepCdr(sizes)) == 450002);
  sizes.mutations = 34673;
  sizes.methylation = 808;
  CHECK(sdk::n_parameters(*DeepCdr(sizes)) == 986998);
}

TEST_CASE("each loss of DeepCDR reaches every parameter") {
  const bool binary = GENERATE(false, true);
  const Preset preset = GENERATE(Preset::keras, Preset::pancdr);
  torch::manual_seed(3);
  Sizes sizes;
  sizes.preset = preset;
  sizes.genes = 5;
  sizes.mutations = preset == Preset::keras ? 1300 : 0;
  sizes.methylation = preset == Preset::keras ? 4 : 0;
  sizes.atom_features = 4;
  sizes.graph_units = {8, 8, 8, 6};
  sizes.hidden = 8;
  sizes.sample_width = 7;
  sizes.dropout = sizes.flat_dropout = 0;
  DeepCdr net(sizes);
  net->train();
  test::DrugGraphs drugs(4);
  for (const std::int64_t n : {5, 8, 3}) test::add_random_drug(drugs, n, 4);
  const graph_cdr::Molecules molecules(drugs.graphs(), 4, 20);
  const torch::Tensor drug = net->drug_vectors(molecules.batch(torch::arange(3), torch::ones({3}, torch::kInt64)));
  const Samples samples{
      torch::randn({3, 5}), torch::rand({3, 1300}).gt(0.9).to(torch::kFloat32), torch::rand({3, 4}), {}, 0};
  const torch::Tensor output =
      net->respond(drug.repeat({3, 1}), torch::repeat_interleave(net->sample_vectors(samples), 3, 0));
  const torch::Tensor y = torch::randn({9});
  (binary ? cross_entropy(output, y.gt(0).to(torch::kFloat32)) : squared_error(output, y)).backward();
  for (const auto& p : net->named_parameters()) {
    INFO(p.key());
    REQUIRE(p.value().grad().defined());
    CHECK(p.value().grad().abs().sum().item<double>() > 0);
  }
}
