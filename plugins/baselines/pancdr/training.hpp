// SPDX-License-Identifier: Apache-2.0
// One alternating iteration of PANCDR.
#pragma once

#include <torch/torch.h>

#include <cdrzoo/torch.hpp>

#include "losses.hpp"
#include "networks.hpp"

namespace cdrzoo::pancdr {

/// A mini-batch of labelled pairs: what the predictor and the encoder have to see of it, each thing once.
struct SourceBatch {
  torch::Tensor expression;        ///< f32 [samples, genes], different samples
  torch::Tensor sample;            ///< i64 [n], rows of expression
  torch::Tensor multiplicity;      ///< f32 [samples], pairs of each
  graph_cdr::MoleculeBatch drugs;  ///< different drugs
  torch::Tensor drug;              ///< i64 [n], molecules of drugs
  torch::Tensor y;                 ///< f32 [n]
};

/// \p expression  f32 [samples, genes] of the whole training set, \p molecules its drugs
/// \p pairs       the mini-batch, with indices into both and targets f32 [n, 1]
[[nodiscard]] inline SourceBatch source_batch(const torch::Tensor& expression, const graph_cdr::Molecules& molecules,
                                              const sdk::Pairs& pairs) {
  const sdk::Unique samples = sdk::unique_of(pairs.sample);
  const sdk::Unique drugs = sdk::unique_of(pairs.drug);
  return {expression.index_select(0, samples.entity),
          samples.index,
          samples.count.to(torch::kFloat32),
          molecules.batch(drugs.entity, drugs.count).to(pairs.drug.device()),
          drugs.index,
          pairs.target.squeeze(/*dim=*/1)};
}

/// Standard normal numbers for the four codes of an iteration, each [n or m, latent].
struct Noise {
  torch::Tensor source_d, target_d, source_g, target_g;
};

struct IterationLosses {
  torch::Tensor discriminator, response, adversarial, total;  ///< the first and third undefined without a target
};

struct Optimizers {
  torch::optim::Optimizer& response;       ///< of encoder and predictor
  torch::optim::Optimizer& discriminator;  ///< of the discriminator
};

/// First the discriminator's step, then that of encoder and predictor against the new discriminator.
/// \p target  f32 [m, genes]; undefined = no adversary
///
/// The reference encodes each batch twice, once per step. Its encoder does not change in between, so here the codes are
/// computed once, and the running statistics move twice: source, target, source, target.
inline IterationLosses iterate(Pancdr& net, const Optimizers& optimizers, const SourceBatch& source,
                               const torch::Tensor& target, const Noise& noise, double lambda, bool binary) {
  IterationLosses losses;
  const auto n = static_cast<double>(source.sample.size(0));
  const Code source_code = net->encoder->forward(source.expression, source.multiplicity, n).select(source.sample);
  Code target_code;
  if (target.defined()) {
    target_code = net->encoder->forward(target);
    losses.discriminator =
        discriminator_loss(net->discriminator->forward(source_code.detached().sample(noise.source_d)),
                           net->discriminator->forward(target_code.detached().sample(noise.target_d)));
    optimizers.discriminator.zero_grad();
    losses.discriminator.backward();
    optimizers.discriminator.step();
    net->encoder->repeat_updates(2);
  }

  const torch::Tensor z = source_code.sample(noise.source_g);
  const torch::Tensor drug = net->predictor->drug_vectors(source.drugs).index_select(0, source.drug);
  losses.response = response_loss(net->predictor->respond(drug, z), source.y, binary);
  losses.total = losses.response;
  if (target.defined()) {
    losses.adversarial = adversarial_loss(net->discriminator->forward(z),
                                          net->discriminator->forward(target_code.sample(noise.target_g)));
    losses.total = total_loss(losses.response, losses.adversarial, lambda);
  }
  optimizers.response.zero_grad();
  losses.total.backward();
  optimizers.response.step();
  return losses;
}

}  // namespace cdrzoo::pancdr
