// SPDX-License-Identifier: Apache-2.0
// A linear layer with batch normalisation, dropout and ReLU over several passes at once.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace cdrzoo::xtransfercdr {

/// A batch that holds the rows of several passes of the reference, one after the other: how many each has. Linear
/// layers take them in one product. Batch normalisation takes each alone and moves its running statistics in their
/// order, as separate calls would.
using Passes = std::vector<std::int64_t>;

[[nodiscard]] std::int64_t rows_of(const Passes& passes);

/// [skip +] ReLU(dropout(norm(linear(x)))), in evaluation with running statistics and without dropout.
/// x f32 [rows of passes, inputs] -> f32 [rows, outputs]; \p skip f32 [rows, outputs] or undefined
/// The CPU's training step is one function of its own (layers.cpp): it reads and writes the activations twice where
/// LibTorch's operations do ten times, and draws dropout by a counter-based generator that LibTorch's seeds.
/// \throws sdk::Error(E_UNSUPPORTED) in training for a pass of one row, which has no variance
[[nodiscard]] torch::Tensor layer(torch::nn::Linear& linear, torch::nn::BatchNorm1d& norm, double dropout,
                                  const torch::Tensor& x, const Passes& passes, const torch::Tensor& skip = {});

}  // namespace cdrzoo::xtransfercdr
