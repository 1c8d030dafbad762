// SPDX-License-Identifier: Apache-2.0
#include "layers.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cdrzoo/torch.hpp>
#include <cmath>
#include <numeric>
#include <string>

#include "kernels.hpp"

namespace cdrzoo::xtransfercdr {

std::int64_t rows_of(const Passes& passes) { return std::accumulate(passes.begin(), passes.end(), std::int64_t{0}); }

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// f(pass, piece) for each pass and group of columns; each is one thread's, so results do not depend on the number of
/// threads.
template <class F>
void for_pieces(const Passes& passes, std::int64_t width, const F& f) {
  const std::int64_t groups = (width + kPieceColumns - 1) / kPieceColumns;
  std::vector<std::int64_t> begin{0};
  for (const std::int64_t n : passes) begin.push_back(begin.back() + n);
  const auto n_pieces = static_cast<std::int64_t>(passes.size()) * groups;
  at::parallel_for(0, n_pieces, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t k = first; k < last; ++k) {
      const auto pass = static_cast<std::size_t>(k / groups);
      const std::int64_t column = k % groups * kPieceColumns;
      f(k / groups, Piece{begin[pass], begin[pass + 1], column, std::min(width, column + kPieceColumns)});
    }
  });
}

Dropout draw(double p) {
  Dropout dropout;
  if (p <= 0) return dropout;
  dropout.threshold = static_cast<std::uint32_t>(std::lround(p * 4294967296.0));
  dropout.kept = static_cast<float>(1 / (1 - p));
  dropout.key = static_cast<std::uint64_t>(torch::empty({1}, torch::kInt64).random_().item<std::int64_t>());
  return dropout;
}

/// The running statistics that the passes leave, one after the other.
void move_running(torch::nn::BatchNorm1d& norm, const Passes& passes, const torch::Tensor& mean,
                  const torch::Tensor& variance, const torch::Tensor& bias) {
  const torch::NoGradGuard no_grad;
  const double momentum = norm->options.momentum().value();
  for (std::size_t k = 0; k < passes.size(); ++k) {
    const auto n = static_cast<double>(passes[k]);
    const auto i = static_cast<std::int64_t>(k);
    norm->running_mean.mul_(1 - momentum).add_(mean.select(0, i) + bias, momentum);
    norm->running_var.mul_(1 - momentum).add_(variance.select(0, i), momentum * n / (n - 1));
  }
  norm->num_batches_tracked.add_(static_cast<std::int64_t>(passes.size()));
}

/// The layer in training on the CPU. The linear layer's bias has no part in it: the normalisation takes it away again,
/// and its gradient is 0.
class Layer : public torch::autograd::Function<Layer> {
 public:
  /// \p skip  without elements: none (a custom function takes no undefined tensor)
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& input, const torch::Tensor& weight,
                               const torch::Tensor& bias, const torch::Tensor& gamma, const torch::Tensor& beta,
                               const torch::Tensor& skip, torch::nn::BatchNorm1d norm, const Passes& passes, double p) {
    const torch::Tensor x = input.contiguous();
    const torch::Tensor z = x.mm(weight.t());
    const std::int64_t width = z.size(1);
    const auto n_passes = static_cast<std::int64_t>(passes.size());
    const bool skips = skip.numel() != 0;
    const torch::Tensor before = skip.contiguous();
    torch::Tensor y = torch::empty_like(z);
    torch::Tensor moments = torch::empty({3, n_passes, width}, z.options());
    const Dropout dropout = draw(p);
    const auto* skipped = skips ? before.data_ptr<float>() : nullptr;
    const auto* in = z.data_ptr<float>();
    const auto* g = gamma.data_ptr<float>();
    const auto* b = beta.data_ptr<float>();
    auto* out = y.data_ptr<float>();
    auto* m = moments.data_ptr<float>();
    const auto eps = static_cast<float>(norm->options.eps());
    for_pieces(passes, width, [&](std::int64_t k, const Piece& piece) {
      norm_forward(piece, width, in, g, b, eps, dropout, skipped, out, m + k * width, m + (n_passes + k) * width,
                   m + (2 * n_passes + k) * width);
    });
    move_running(norm, passes, moments.select(0, 0), moments.select(0, 1), bias);
    ctx->save_for_backward({x, weight, z, gamma, beta, moments});
    ctx->saved_data["passes"] = passes;
    ctx->saved_data["skip"] = skips;
    ctx->saved_data["key"] = static_cast<std::int64_t>(dropout.key);
    ctx->saved_data["threshold"] = static_cast<std::int64_t>(dropout.threshold);
    ctx->saved_data["kept"] = static_cast<double>(dropout.kept);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    const torch::Tensor& x = saved[0];
    const torch::Tensor& weight = saved[1];
    const torch::Tensor& z = saved[2];
    const torch::Tensor& moments = saved[5];
    const Passes passes = ctx->saved_data["passes"].toIntVector();
    const Dropout dropout{static_cast<std::uint32_t>(ctx->saved_data["threshold"].toInt()),
                          static_cast<float>(ctx->saved_data["kept"].toDouble()),
                          static_cast<std::uint64_t>(ctx->saved_data["key"].toInt())};
    const torch::Tensor dy = gradients[0].contiguous();
    const std::int64_t width = z.size(1);
    const auto n_passes = static_cast<std::int64_t>(passes.size());
    torch::Tensor dz = torch::empty_like(z);
    torch::Tensor dgamma = torch::empty({n_passes, width}, z.options());
    torch::Tensor dbeta = torch::empty({n_passes, width}, z.options());
    const auto* in = z.data_ptr<float>();
    const auto* up = dy.data_ptr<float>();
    const auto* g = saved[3].data_ptr<float>();
    const auto* b = saved[4].data_ptr<float>();
    const auto* m = moments.data_ptr<float>();
    auto* out = dz.data_ptr<float>();
    auto* dg = dgamma.data_ptr<float>();
    auto* db = dbeta.data_ptr<float>();
    for_pieces(passes, width, [&](std::int64_t k, const Piece& piece) {
      norm_backward(piece, width, in, up, g, b, m + k * width, m + (2 * n_passes + k) * width, dropout, out,
                    dg + k * width, db + k * width);
    });
    const torch::Tensor none;
    return {ctx->needs_input_grad(0) ? dz.mm(weight) : none,
            dz.t().mm(x),
            torch::zeros({width}, z.options()),
            dgamma.sum(0),
            dbeta.sum(0),
            ctx->saved_data["skip"].toBool() ? dy : none,
            none,
            none,
            none};
  }
};

}  // namespace

torch::Tensor layer(torch::nn::Linear& linear, torch::nn::BatchNorm1d& norm, double dropout, const torch::Tensor& x,
                    const Passes& passes, const torch::Tensor& skip) {
  const bool train = norm->is_training();
  if (train && *std::min_element(passes.begin(), passes.end()) < 2) {
    throw sdk::Error(CDRZOO_E_UNSUPPORTED, "batch normalisation cannot train on a batch of one row");
  }
  if (train && x.device().is_cpu() && x.scalar_type() == torch::kFloat32) {
    return Layer::apply(x, linear->weight, linear->bias, norm->weight, norm->bias,
                        skip.defined() ? skip : torch::empty({0}), norm, passes, dropout);
  }
  std::vector<torch::Tensor> parts;  // of each pass
  const torch::Tensor z = linear->forward(x);
  if (train) {
    for (const torch::Tensor& part : z.split_with_sizes(passes)) parts.push_back(norm->forward(part));
  } else {
    parts.push_back(norm->forward(z));
  }
  const torch::Tensor y = torch::relu(torch::dropout(torch::cat(parts), dropout, train));
  return skip.defined() ? skip + y : y;
}

}  // namespace cdrzoo::xtransfercdr
