// SPDX-License-Identifier: Apache-2.0
#include "operators.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace cdrzoo::graph_cdr {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kGrain = 1 << 15;  // numbers per thread at least
constexpr std::int64_t kColumns = 32;     // of one piece of work: sums stay in registers or the first cache

/// out[i, :] = sum over the entries of row i of weight * x[col, :]. Each row is one thread's: the same on any number.
torch::Tensor sparse_times(const torch::Tensor& begin, const torch::Tensor& col, const torch::Tensor& weight,
                           const torch::Tensor& dense) {
  const torch::Tensor x = dense.contiguous();
  const std::int64_t rows = begin.size(0) - 1;
  const std::int64_t n = x.size(1);
  torch::Tensor out = torch::empty({rows, n}, x.options());
  const auto* from = begin.data_ptr<std::int32_t>();
  const auto* at = col.data_ptr<std::int32_t>();
  const auto* w = weight.data_ptr<float>();
  const auto* in = x.data_ptr<float>();
  auto* to = out.data_ptr<float>();
  at::parallel_for(0, rows, std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, 4 * n)),
                   [&](std::int64_t first, std::int64_t last) {
                     for (std::int64_t i = first; i < last; ++i) {
                       float* y = to + i * n;
                       if (from[i] == from[i + 1]) std::fill_n(y, n, 0.0F);
                       for (std::int32_t e = from[i]; e < from[i + 1]; ++e) {
                         const float* z = in + at[e] * n;
                         const float a = w[e];
                         if (e == from[i]) {
                           for (std::int64_t j = 0; j < n; ++j) y[j] = a * z[j];
                         } else {
                           for (std::int64_t j = 0; j < n; ++j) y[j] += a * z[j];
                         }
                       }
                     }
                   });
  return out;
}

class Product : public torch::autograd::Function<Product> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, const torch::Tensor& begin,
                               const torch::Tensor& col, const torch::Tensor& weight, const torch::Tensor& by_col_begin,
                               const torch::Tensor& by_col_row, const torch::Tensor& by_col_weight) {
    ctx->save_for_backward({by_col_begin, by_col_row, by_col_weight});
    return sparse_times(begin, col, weight, x);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    const variable_list transposed = ctx->get_saved_variables();
    const torch::Tensor none;
    return {sparse_times(transposed[0], transposed[1], transposed[2], grad[0]), none, none, none, none, none, none};
  }
};

/// f(first, last) over pieces of columns, each one thread's: sums run over the rows in order, so they do not depend on
/// the number of threads.
template <class F>
void for_columns(std::int64_t rows, std::int64_t columns, const F& f) {
  const std::int64_t pieces = (columns + kColumns - 1) / kColumns;
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, rows * kColumns));
  at::parallel_for(0, pieces, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t p = first; p < last; ++p) f(p * kColumns, std::min(columns, (p + 1) * kColumns));
  });
}

/// Sums over rows in blocks (float within a block, double over blocks), as exact as double at the speed of float.
class BlockSum {
 public:
  float& operator[](std::int64_t j) { return part_[static_cast<std::size_t>(j)]; }
  void row_done() {
    if (++n_ == 64) flush();
  }
  double total(std::int64_t j) {
    flush();
    return sum_[static_cast<std::size_t>(j)];
  }

 private:
  void flush() {
    if (n_ == 0) return;
    for (std::size_t j = 0; j < sum_.size(); ++j) sum_[j] += static_cast<double>(part_[j]);
    part_.fill(0);
    n_ = 0;
  }
  std::array<float, kColumns> part_{};
  std::array<double, kColumns> sum_{};
  int n_ = 0;
};

class Normalise : public torch::autograd::Function<Normalise> {
 public:
  static variable_list forward(AutogradContext* ctx, const torch::Tensor& input, const torch::Tensor& multiplicity,
                               const torch::Tensor& weight, const torch::Tensor& bias, double n_rows, double eps) {
    const torch::Tensor x = input.contiguous();
    const std::int64_t rows = x.size(0);
    const std::int64_t columns = x.size(1);
    torch::Tensor y = torch::empty_like(x);
    torch::Tensor mean = torch::empty({columns}, x.options());
    torch::Tensor variance = torch::empty({columns}, x.options());
    torch::Tensor deviation = torch::empty({columns}, x.options());  // its reciprocal
    const auto* in = x.data_ptr<float>();
    const auto* m = multiplicity.data_ptr<float>();
    const auto* gamma = weight.data_ptr<float>();
    const auto* beta = bias.data_ptr<float>();
    auto* out = y.data_ptr<float>();
    for_columns(rows, columns, [&](std::int64_t first, std::int64_t last) {
      const std::int64_t n = last - first;
      BlockSum sums;
      for (std::int64_t i = 0; i < rows; ++i) {
        const float* row = in + i * columns + first;
        for (std::int64_t j = 0; j < n; ++j) sums[j] += m[i] * row[j];
        sums.row_done();
      }
      std::array<float, kColumns> centre{}, scale{}, shift{};
      for (std::int64_t j = 0; j < n; ++j)
        centre[static_cast<std::size_t>(j)] = static_cast<float>(sums.total(j) / n_rows);
      BlockSum squares;
      for (std::int64_t i = 0; i < rows; ++i) {
        const float* row = in + i * columns + first;
        for (std::int64_t j = 0; j < n; ++j) {
          const float d = row[j] - centre[static_cast<std::size_t>(j)];
          squares[j] += m[i] * d * d;
        }
        squares.row_done();
      }
      for (std::int64_t j = 0; j < n; ++j) {
        const auto k = static_cast<std::size_t>(j);
        const double v = squares.total(j) / n_rows;
        const double r = 1.0 / std::sqrt(v + eps);
        mean.data_ptr<float>()[first + j] = centre[k];
        variance.data_ptr<float>()[first + j] = static_cast<float>(v);
        deviation.data_ptr<float>()[first + j] = static_cast<float>(r);
        scale[k] = static_cast<float>(r) * gamma[first + j];
        shift[k] = beta[first + j];
      }
      for (std::int64_t i = 0; i < rows; ++i) {
        const float* row = in + i * columns + first;
        float* to = out + i * columns + first;
        for (std::int64_t j = 0; j < n; ++j) {
          const auto k = static_cast<std::size_t>(j);
          to[j] = (row[j] - centre[k]) * scale[k] + shift[k];
        }
      }
    });
    ctx->save_for_backward({x, multiplicity, weight, mean, deviation});
    ctx->saved_data["n_rows"] = n_rows;
    ctx->mark_non_differentiable({mean, variance});
    return {y, mean, variance};
  }

  /// With h = (x - mean) / deviation and N rows in all:
  ///   d bias = sum dy,   d weight = sum dy h,   dx_i = weight / deviation (dy_i - m_i / N (d bias + h_i d weight))
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const torch::Tensor dy = grads[0].contiguous();
    const std::int64_t rows = dy.size(0);
    const std::int64_t columns = dy.size(1);
    const double n_rows = ctx->saved_data["n_rows"].toDouble();
    torch::Tensor dx = torch::empty_like(dy);
    torch::Tensor d_weight = torch::empty({columns}, dy.options());
    torch::Tensor d_bias = torch::empty({columns}, dy.options());
    const auto* g = dy.data_ptr<float>();
    const auto* in = saved[0].data_ptr<float>();
    const auto* m = saved[1].data_ptr<float>();
    const auto* gamma = saved[2].data_ptr<float>();
    const auto* mean = saved[3].data_ptr<float>();
    const auto* r = saved[4].data_ptr<float>();
    auto* out = dx.data_ptr<float>();
    for_columns(rows, columns, [&](std::int64_t first, std::int64_t last) {
      const std::int64_t n = last - first;
      BlockSum sums, products;
      for (std::int64_t i = 0; i < rows; ++i) {
        const std::int64_t at = i * columns + first;
        for (std::int64_t j = 0; j < n; ++j) {
          sums[j] += g[at + j];
          products[j] += g[at + j] * ((in[at + j] - mean[first + j]) * r[first + j]);
        }
        sums.row_done();
        products.row_done();
      }
      // dx = a dy - m_i (b + c (x - mean))
      std::array<float, kColumns> a{}, b{}, c{};
      for (std::int64_t j = 0; j < n; ++j) {
        const auto k = static_cast<std::size_t>(j);
        const double s = sums.total(j);
        const double p = products.total(j);
        d_bias.data_ptr<float>()[first + j] = static_cast<float>(s);
        d_weight.data_ptr<float>()[first + j] = static_cast<float>(p);
        const double scale = static_cast<double>(gamma[first + j]) * static_cast<double>(r[first + j]);
        a[k] = static_cast<float>(scale);
        b[k] = static_cast<float>(scale * s / n_rows);
        c[k] = static_cast<float>(scale * p / n_rows * static_cast<double>(r[first + j]));
      }
      for (std::int64_t i = 0; i < rows; ++i) {
        const std::int64_t at = i * columns + first;
        for (std::int64_t j = 0; j < n; ++j) {
          const auto k = static_cast<std::size_t>(j);
          out[at + j] = a[k] * g[at + j] - m[i] * (b[k] + c[k] * (in[at + j] - mean[first + j]));
        }
      }
    });
    const torch::Tensor none;
    return {dx, none, d_weight, d_bias, none, none};
  }
};

}  // namespace

SparseRows::SparseRows(std::int64_t n_cols, const std::vector<std::int32_t>& row_begin,
                       const std::vector<std::int32_t>& column, const std::vector<float>& values)
    : rows(static_cast<std::int64_t>(row_begin.size()) - 1), cols(n_cols) {
  begin = torch::tensor(row_begin, torch::kInt32);
  col = torch::tensor(column, torch::kInt32);
  weight = torch::tensor(values, torch::kFloat32);
  std::vector<std::int32_t> next(static_cast<std::size_t>(cols) + 1, 0);
  for (const std::int32_t c : column) ++next[static_cast<std::size_t>(c) + 1];
  for (std::size_t c = 1; c < next.size(); ++c) next[c] += next[c - 1];
  by_col_begin = torch::tensor(next, torch::kInt32);
  std::vector<std::int32_t> by_row(column.size());
  std::vector<float> by_weight(column.size());
  for (std::size_t row = 0; row + 1 < row_begin.size(); ++row) {
    for (auto e = static_cast<std::size_t>(row_begin[row]); e < static_cast<std::size_t>(row_begin[row + 1]); ++e) {
      const auto place = static_cast<std::size_t>(next[static_cast<std::size_t>(column[e])]++);
      by_row[place] = static_cast<std::int32_t>(row);
      by_weight[place] = values[e];
    }
  }
  by_col_row = torch::tensor(by_row, torch::kInt32);
  by_col_weight = torch::tensor(by_weight, torch::kFloat32);
}

SparseRows SparseRows::to(torch::Device device) const {
  if (device.is_cpu()) return *this;
  SparseRows out = *this;
  const torch::Tensor counts = (begin.narrow(0, 1, rows) - begin.narrow(0, 0, rows)).to(torch::kInt64);
  out.row_of = torch::repeat_interleave(torch::arange(rows, torch::kInt64), counts).to(device);
  out.col_of = col.to(torch::kInt64).to(device);
  out.weight = weight.to(device);
  return out;
}

torch::Tensor product(const SparseRows& matrix, const torch::Tensor& x) {
  if (x.device().is_cpu()) {
    return Product::apply(x, matrix.begin, matrix.col, matrix.weight, matrix.by_col_begin, matrix.by_col_row,
                          matrix.by_col_weight);
  }
  return torch::zeros({matrix.rows, x.size(1)}, x.options())
      .index_add(0, matrix.row_of, x.index_select(0, matrix.col_of) * matrix.weight.unsqueeze(1));
}

std::pair<torch::Tensor, Moments> normalise(const torch::Tensor& x, const torch::Tensor& multiplicity, double n_rows,
                                            const torch::Tensor& weight, const torch::Tensor& bias, double eps) {
  if (x.device().is_cpu()) {
    const variable_list out = Normalise::apply(x, multiplicity, weight, bias, n_rows, eps);
    return {out[0], {out[1], out[2]}};
  }
  const torch::Tensor share = (multiplicity / n_rows).unsqueeze(0);
  const torch::Tensor mean = share.matmul(x).squeeze(0);
  const torch::Tensor centred = x - mean;
  const torch::Tensor variance = share.matmul(centred.square()).squeeze(0);
  return {centred * ((variance + eps).rsqrt() * weight) + bias, {mean.detach(), variance.detach()}};
}

}  // namespace cdrzoo::graph_cdr
