// SPDX-License-Identifier: Apache-2.0
#include "training.hpp"

namespace cdrzoo::xtransfercdr {

Noise Noise::draw(const PairBatch& batch, const Objective& objective, std::int64_t latent, double deviation) {
  if (deviation <= 0) return {};
  const std::int64_t rows = (objective.encode_controls ? 4 : 2) * batch.left.size(0);
  const auto normal = [&](std::int64_t width) {
    return torch::empty({rows, width}, batch.left.options()).normal_(0, deviation);
  };
  Noise noise;
  noise.input = normal(batch.left.size(1));
  noise.state = normal(latent);
  noise.perturbation = normal(latent);
  return noise;
}

Passed pass(XTransfer& net, const PairBatch& batch, Mode mode, const Noise& noise, const Objective& objective) {
  const std::int64_t n = batch.left.size(0);
  const auto with = [](const torch::Tensor& x, const torch::Tensor& added) { return added.defined() ? x + added : x; };
  std::vector<torch::Tensor> profiles{batch.left, batch.right};
  if (objective.encode_controls) profiles.insert(profiles.end(), {batch.left_control, batch.right_control});
  const auto passes = [&](const std::vector<torch::Tensor>& parts) {
    const auto k = static_cast<std::int64_t>(parts.size());
    return objective.joint_norm ? Passes{k * n} : Passes(parts.size(), n);
  };

  // (1), (2)
  const torch::Tensor x = with(torch::cat(profiles), noise.input);
  Passed passed;
  passed.perturbation = net->perturbation->forward(x, passes(profiles));
  passed.state = net->state->forward(x, passes(profiles));
  const auto p = with(passed.perturbation, noise.perturbation).split(n);
  const auto s = with(passed.state, noise.state).split(n);

  // (3), in the order of the reference's calls, which the running statistics keep.
  std::vector<torch::Tensor> latents{s[0], s[1], s[0] + p[0]};
  if (mode == Mode::cell) {
    latents.insert(latents.end(), {s[1] + p[0], s[0] + p[1]});
  } else {
    latents.insert(latents.end(), {s[0] + p[1], s[1] + p[0]});
  }
  latents.push_back(s[1] + p[1]);
  if (batch.both.defined()) latents.push_back(latents[2] + p[1]);
  if (objective.encode_controls) latents.insert(latents.end(), {s[2], s[3]});
  passed.decoded = net->decoder->forward(torch::cat(latents), passes(latents)).split(n);
  return passed;
}

Losses losses(const Passed& passed, const PairBatch& batch, Mode mode, const Objective& objective) {
  const std::int64_t n = batch.left.size(0);
  const auto s = passed.state.split(n);
  const auto p = passed.perturbation.split(n);
  const auto& decoded = passed.decoded;
  Losses l;
  l.control_left = squared_error(batch.left_control, decoded[0]);                               // (7)
  l.control_right = squared_error(batch.right_control, decoded[1]);                             // (7)
  l.reconstruction_left = squared_error(batch.left, decoded[2]);                                // (5)
  l.cross_left = squared_error(batch.left, decoded[3]);                                         // (6)
  l.cross_right = squared_error(batch.right, decoded[4]);                                       // (6)
  l.reconstruction_right = squared_error(batch.right, decoded[5]);                              // (5)
  if (batch.both.defined()) l.combination = squared_error(batch.both, decoded[6]);              // (8)
  l.agreement = mode == Mode::cell ? agreement(s[0], s[1]) : agreement(p[0], p[1]);             // (9)
  l.orthogonality = overlap(s[0], p[0], objective.form) + overlap(s[1], p[1], objective.form);  // (10)
  if (objective.encode_controls) {
    const std::size_t last = decoded.size() - 2;
    l.encoded_control = squared_error(batch.left_control, decoded[last]) +
                        squared_error(batch.right_control, decoded[last + 1]) + p[2].square().mean() +
                        p[3].square().mean();  // (12)
  }
  return l;
}

torch::Tensor Losses::total(const Weights& w) const {
  torch::Tensor sum = w.reconstruction * (reconstruction_left + reconstruction_right) +
                      w.cross * (cross_left + cross_right) + w.control * (control_left + control_right) +
                      w.agreement * agreement + w.orthogonality * orthogonality;
  if (combination.defined()) sum = sum + w.combination * combination;
  if (encoded_control.defined()) sum = sum + w.encoded_control * encoded_control;
  return sum;
}

}  // namespace cdrzoo::xtransfercdr
