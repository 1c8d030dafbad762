// SPDX-License-Identifier: Apache-2.0
#include "networks.hpp"

#include <cdrzoo/torch.hpp>

namespace cdrzoo::deepcdr {

namespace {

graph_cdr::NormOptions norm_options(const Sizes& sizes) {
  graph_cdr::NormOptions options;
  if (sizes.preset == Preset::keras) options = {/*eps=*/1e-3, /*momentum=*/0.01, /*unbiased=*/false};
  if (sizes.mean_at_first) {
    options.mean_at_first = true;
    options.momentum = 0.1;
  }
  return options;
}

std::int64_t width_of(const Sizes& sizes) {
  return sizes.sample_width * (1 + (sizes.mutations > 0 ? 1 : 0) + (sizes.methylation > 0 ? 1 : 0));
}

graph_cdr::PredictorOptions predictor_options(const Sizes& sizes) {
  graph_cdr::PredictorOptions options;
  options.atom_features = sizes.atom_features;
  options.units = sizes.graph_units;
  options.sample_width = width_of(sizes);
  options.norm = norm_options(sizes);
  options.graph_dropout = sizes.dropout;
  options.fused_tanh = sizes.preset == Preset::keras;
  options.fused_dropout = sizes.dropout;
  options.conv_dropout = sizes.dropout;
  options.flat_dropout = sizes.flat_dropout;
  return options;
}

}  // namespace

DenseBranchImpl::DenseBranchImpl(std::int64_t inputs, const Sizes& sizes)
    : preset_(sizes.preset), dropout_(sizes.dropout) {
  first_ = register_module("0", torch::nn::Linear(inputs, sizes.hidden));
  norm_ = register_module("1", graph_cdr::BatchNorm(sizes.hidden, norm_options(sizes)));
  second_ = register_module("4", torch::nn::Linear(sizes.hidden, sizes.sample_width));  // 2, 3: tanh and dropout
}

torch::Tensor DenseBranchImpl::forward(const torch::Tensor& x, const torch::Tensor& multiplicity, double n_rows) {
  torch::Tensor h = first_->forward(x);
  if (preset_ == Preset::keras) h = torch::tanh(h);
  h = norm_->normalised(h, multiplicity, n_rows);
  if (preset_ == Preset::pancdr) h = torch::tanh(h);
  return torch::relu(second_->forward(torch::dropout(h, dropout_, is_training())));
}

MutationBranchImpl::MutationBranchImpl(std::int64_t positions, const Sizes& sizes) : dropout_(sizes.dropout) {
  const std::int64_t after_first = ((positions - 700) / 5 + 1) / 5;
  const std::int64_t after_second = ((after_first - 5) / 2 + 1) / 10;
  conv1_ = register_module("conv1", torch::nn::Conv1d(torch::nn::Conv1dOptions(1, 50, 700).stride(5)));
  conv2_ = register_module("conv2", torch::nn::Conv1d(torch::nn::Conv1dOptions(50, 30, 5).stride(2)));
  dense_ = register_module("dense", torch::nn::Linear(30 * after_second, sizes.sample_width));
}

torch::Tensor MutationBranchImpl::forward(const torch::Tensor& x) {
  torch::Tensor h = torch::max_pool1d(torch::tanh(conv1_->forward(x.unsqueeze(/*dim=*/1))), 5);
  h = torch::max_pool1d(torch::relu(conv2_->forward(h)), 10).flatten(/*start_dim=*/1);
  return torch::dropout(torch::relu(dense_->forward(h)), dropout_, is_training());
}

DeepCdrImpl::DeepCdrImpl(const Sizes& sizes) : GraphPredictorImpl(predictor_options(sizes)), sizes_(sizes) {
  expression_ = register_module("fe", DenseBranch(sizes.genes, sizes));
  if (sizes.mutations >= MutationBranchImpl::kFewest) {
    mutation_ = register_module("mut", MutationBranch(sizes.mutations, sizes));
  } else if (sizes.mutations > 0) {
    few_mutations_ = register_module("few", DenseBranch(sizes.mutations, sizes));
  }
  if (sizes.methylation > 0) methylation_ = register_module("methy", DenseBranch(sizes.methylation, sizes));
  graph_cdr::xavier(*this);
}

std::int64_t DeepCdrImpl::sample_width() const { return width_of(sizes_); }

torch::Tensor DeepCdrImpl::sample_vectors(const Samples& samples) {
  const torch::Tensor multiplicity =
      samples.multiplicity.defined()
          ? samples.multiplicity
          : torch::ones({samples.expression.size(0)}, samples.expression.options().requires_grad(false));
  const double n_rows =
      samples.multiplicity.defined() ? samples.n_rows : static_cast<double>(samples.expression.size(0));
  std::vector<torch::Tensor> parts;
  if (!mutation_.is_empty()) parts.push_back(mutation_->forward(samples.mutation));
  if (!few_mutations_.is_empty()) parts.push_back(few_mutations_->forward(samples.mutation, multiplicity, n_rows));
  parts.push_back(expression_->forward(samples.expression, multiplicity, n_rows));
  if (!methylation_.is_empty()) parts.push_back(methylation_->forward(samples.methylation, multiplicity, n_rows));
  return parts.size() == 1 ? parts[0] : torch::cat(parts, /*dim=*/1);
}

std::vector<ReferenceTensor> reference_state(const DeepCdrImpl& net, Preset preset) {
  std::vector<ReferenceTensor> out;
  const auto state = sdk::state_of(net);
  if (preset == Preset::pancdr) {
    for (const auto& [key, tensor] : state) out.push_back({key, tensor, tensor.sizes().vec()});
    return out;
  }
  const auto find = [&state](const std::string& name) {
    for (const auto& [key, tensor] : state) {
      if (key == name) return tensor.detach();
    }
    return torch::Tensor();
  };
  const auto add = [&out](const std::string& key, const torch::Tensor& view, std::vector<std::int64_t> shape = {}) {
    out.push_back({key, view, shape.empty() ? view.sizes().vec() : std::move(shape)});
  };
  const auto add_dense = [&](const std::string& ours, const std::string& key) {
    add(key + ".kernel", find(ours + ".weight").t());
    add(key + ".bias", find(ours + ".bias"));
  };
  const auto add_norm = [&](const std::string& ours, const std::string& key) {
    add(key + ".gamma", find(ours + ".weight"));
    add(key + ".beta", find(ours + ".bias"));
    add(key + ".moving_mean", find(ours + ".running_mean"));
    add(key + ".moving_variance", find(ours + ".running_var"));
  };
  /// Weights [out, in, width] or [out, in, width, 1] as (width, in, out).
  const auto add_convolution = [&](const std::string& ours, const std::string& key) {
    const torch::Tensor weight = find(ours + ".weight");
    add(key + ".kernel", (weight.dim() == 4 ? weight.squeeze(/*dim=*/3) : weight).permute({2, 1, 0}));
    add(key + ".bias", find(ours + ".bias"));
  };
  /// A linear layer behind a flattened [channels, positions]: its inputs by position, then channel.
  const auto add_flattened = [&](const std::string& ours, const std::string& key, std::int64_t channels) {
    const torch::Tensor weight = find(ours + ".weight");
    add(key + ".kernel", weight.view({weight.size(0), channels, -1}).permute({2, 1, 0}),
        {weight.size(1), weight.size(0)});
    add(key + ".bias", find(ours + ".bias"));
  };
  const auto add_branch = [&](const std::string& ours, const std::string& key) {
    if (!find(ours + ".0.weight").defined()) return;
    add_dense(ours + ".0", key + "_dense1");
    add_norm(ours + ".1", key + "_bn");
    add_dense(ours + ".4", key + "_dense2");
  };

  for (int i = 1; find("GC" + std::to_string(i) + ".weight").defined(); ++i) {
    const std::string n = std::to_string(i);
    add("gcn" + n + ".kernel", find("GC" + n + ".weight"));
    add("gcn" + n + ".bias", find("GC" + n + ".bias"));
    add_norm("RBD" + n + ".1", "gcn" + n + "_bn");
  }
  if (find("mut.conv1.weight").defined()) {
    add_convolution("mut.conv1", "mut_conv1");
    add_convolution("mut.conv2", "mut_conv2");
    add_flattened("mut.dense", "mut_dense", 30);
  }
  add_branch("few", "mut");
  add_branch("fe", "gexp");
  add_branch("methy", "methy");
  add_dense("Linear.0", "fusion_dense");
  add_convolution("CONV.0", "conv1");
  add_convolution("CONV.3", "conv2");
  add_convolution("CONV.6", "conv3");
  add_flattened("fc.0", "output", 5);
  return out;
}

}  // namespace cdrzoo::deepcdr
