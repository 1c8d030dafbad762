// SPDX-License-Identifier: Apache-2.0
#include "networks.hpp"

#include <memory>
#include <string>

namespace cdrzoo::xtransfercdr {

ResidualImpl::ResidualImpl(std::int64_t width, double dropout)
    : fc1_(register_module("fc1", torch::nn::Linear(width, width))),
      fc2_(register_module("fc2", torch::nn::Linear(width, width))),
      bn1_(register_module("bn1", torch::nn::BatchNorm1d(width))),
      bn2_(register_module("bn2", torch::nn::BatchNorm1d(width))),
      dropout_(dropout) {}

torch::Tensor ResidualImpl::forward(const torch::Tensor& x, const Passes& passes) {
  return layer(fc2_, bn2_, dropout_, layer(fc1_, bn1_, dropout_, x, passes), passes, /*skip=*/x);
}

CoderImpl::CoderImpl(std::int64_t inputs, const std::vector<std::int64_t>& hidden, std::int64_t outputs,
                     const Sizes& sizes, bool relu_last)
    : dropout_(sizes.dropout), relu_last_(relu_last) {
  // Numbers are the positions in the reference's sequence, where dropout and ReLU have one each.
  const auto net = register_module("net", std::make_shared<torch::nn::Module>());
  std::int64_t position = 0;
  const auto add_layer = [&](std::int64_t width) {
    linear_.push_back(net->register_module(std::to_string(position), torch::nn::Linear(inputs, width)));
    norm_.push_back(net->register_module(std::to_string(position + 1), torch::nn::BatchNorm1d(width)));
    position += 4;
    inputs = width;
  };
  add_layer(hidden[0]);
  add_layer(hidden[1]);
  for (std::int64_t i = 0; i < sizes.residual_blocks; ++i) {
    blocks_.push_back(net->register_module(std::to_string(position++), Residual(inputs, sizes.dropout)));
  }
  add_layer(hidden[2]);
  linear_.push_back(net->register_module(std::to_string(position), torch::nn::Linear(inputs, outputs)));
}

torch::Tensor CoderImpl::forward(const torch::Tensor& x, const Passes& passes) {
  torch::Tensor h = x;
  for (std::size_t i = 0; i < norm_.size(); ++i) {
    if (i + 1 == norm_.size()) {
      for (auto& block : blocks_) h = block->forward(h, passes);
    }
    h = layer(linear_[i], norm_[i], dropout_, h, passes);
  }
  h = linear_.back()->forward(h);
  return relu_last_ ? torch::relu(h) : h;
}

XTransferImpl::XTransferImpl(const Sizes& sizes) {
  perturbation =
      register_module("encoderG_P", Coder(sizes.genes, sizes.hidden, sizes.latent, sizes, sizes.latent_relu));
  state = register_module("encoderG_S", Coder(sizes.genes, sizes.hidden, sizes.latent, sizes, sizes.latent_relu));
  const std::vector<std::int64_t> reversed(sizes.hidden.rbegin(), sizes.hidden.rend());
  decoder = register_module("decoderG", Coder(sizes.latent, reversed, sizes.genes, sizes, /*relu_last=*/true));
}

}  // namespace cdrzoo::xtransfercdr
