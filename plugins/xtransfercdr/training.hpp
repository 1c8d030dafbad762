// SPDX-License-Identifier: Apache-2.0
// One training step of xtransfercdr: what passes through the networks, and what the losses are made of.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "losses.hpp"
#include "networks.hpp"

namespace cdrzoo::xtransfercdr {

/// What the two profiles of a pair share, and thus which of their latents may change places.
enum class Mode {
  cell,  ///< the context: states are swapped
  drug   ///< the perturbation: perturbations are swapped
};

/// The weights of the losses; the defaults are the released ones.
struct Weights {
  double reconstruction = 5, cross = 5, control = 5, agreement = 5, orthogonality = 0.5;
  double combination = 5;
  double encoded_control = 5;  ///< of (12), with encode_controls only
};

struct Objective {
  Weights weights;
  Orthogonality form = Orthogonality::dot2;
  bool encode_controls = false;
  /// One batch statistic over all passes of a network instead of one for each. Predictions use running statistics, in
  /// which the passes of a step are mixed, so separate ones are not those that a prediction meets.
  bool joint_norm = false;
};

/// A mini-batch: two treated profiles and a control of the context of each, f32 [n, genes].
struct PairBatch {
  torch::Tensor left, right, left_control, right_control;
  torch::Tensor both;  ///< under both perturbations at once, in the context of left; undefined = no such profiles
};

/// Added in training: to each profile before it is encoded, and to each latent before it is decoded. Undefined = none.
/// Left, right and, with encoded controls, theirs, one after the other.
struct Noise {
  torch::Tensor input;                ///< f32 [2 n or 4 n, genes]
  torch::Tensor state, perturbation;  ///< f32 [2 n or 4 n, latent]
  /// Normal with this deviation, of LibTorch's generator.
  [[nodiscard]] static Noise draw(const PairBatch& batch, const Objective& objective, std::int64_t latent,
                                  double deviation);
};

/// The terms by themselves, without weights.
struct Losses {
  torch::Tensor reconstruction_left, reconstruction_right;  ///< (5)
  torch::Tensor cross_left, cross_right;                    ///< (6)
  torch::Tensor control_left, control_right;                ///< (7)
  torch::Tensor combination;                                ///< (8), undefined without PairBatch::both
  torch::Tensor agreement;                                  ///< (9)
  torch::Tensor orthogonality;                              ///< (10)
  torch::Tensor encoded_control;                            ///< (12), undefined without Objective::encode_controls
  [[nodiscard]] torch::Tensor total(const Weights& weights) const;  ///< (11)
};

/// What a pass of a batch through the networks gives; left and right one after the other.
struct Passed {
  torch::Tensor state, perturbation;   ///< f32 [2 n or 4 n, latent], clean
  std::vector<torch::Tensor> decoded;  ///< f32 [n, genes] each, in the order of the reference's calls
};
[[nodiscard]] Passed pass(XTransfer& net, const PairBatch& batch, Mode mode, const Noise& noise,
                          const Objective& objective);
/// (5) to (10), (12) of a batch.
[[nodiscard]] Losses losses(const Passed& passed, const PairBatch& batch, Mode mode, const Objective& objective);

}  // namespace cdrzoo::xtransfercdr
