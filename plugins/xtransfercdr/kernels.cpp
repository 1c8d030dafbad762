// SPDX-License-Identifier: Apache-2.0
// Compiled without errno for square roots (CMakeLists.txt), which would keep these loops from being vectorised.
#include "kernels.hpp"

#include <algorithm>
#include <array>
#include <cmath>

// One function, compiled for several processors; the loader picks.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define XT_PER_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define XT_PER_PROCESSOR
#endif

namespace cdrzoo::xtransfercdr {

namespace {

constexpr std::size_t kColumns = kPieceColumns;
constexpr std::int64_t kBlockRows = 64;  // summed in float; blocks in double

using Floats = std::array<float, kColumns>;
using Doubles = std::array<double, kColumns>;

inline std::uint32_t row_key(std::uint64_t key, std::int64_t row) {
  std::uint64_t z = key + static_cast<std::uint64_t>(row + 1) * 0x9E3779B97F4A7C15U;  // splitmix64
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return static_cast<std::uint32_t>(z >> 32U);
}

/// 0 or the factor on what is kept; without a branch, so that loops over it are vectorised.
inline float mask_of(std::uint32_t row, std::uint32_t column, std::uint32_t threshold, float kept) {
  std::uint32_t h = row + column * 0x9E3779B1U;  // lowbias32 (Wellons)
  h = (h ^ (h >> 16U)) * 0x7FEB352DU;
  h = (h ^ (h >> 15U)) * 0x846CA68BU;
  h ^= h >> 16U;
  return h >= threshold ? kept : 0.0F;
}

/// Adds a block's sums to the totals and clears them.
inline void flush(Floats& block, Doubles& total, std::size_t n) {
  for (std::size_t j = 0; j < n; ++j) total[j] += static_cast<double>(block[j]);
  block.fill(0);
}

}  // namespace

XT_PER_PROCESSOR void norm_forward(const Piece& piece, std::int64_t width, const float* __restrict z,
                                   const float* __restrict gamma, const float* __restrict beta, float eps,
                                   const Dropout& dropout, const float* __restrict skip, float* __restrict y,
                                   float* __restrict mean, float* __restrict variance, float* __restrict scale) {
  const auto n = static_cast<std::size_t>(piece.last - piece.first);
  const auto rows = static_cast<double>(piece.to - piece.from);
  // Sums of the distance to the first row, which is near the mean: the squares lose nothing to it.
  const float* origin = z + piece.from * width + piece.first;
  Floats block{}, block2{};
  Doubles sum{}, squares{};
  for (std::int64_t begin = piece.from; begin < piece.to; begin += kBlockRows) {
    for (std::int64_t i = begin; i < std::min(piece.to, begin + kBlockRows); ++i) {
      const float* row = z + i * width + piece.first;
      for (std::size_t j = 0; j < n; ++j) {
        const float d = row[j] - origin[j];
        block[j] += d;
        block2[j] += d * d;
      }
    }
    flush(block, sum, n);
    flush(block2, squares, n);
  }
  Floats slope{}, offset{};  // y = slope z + offset before dropout and ReLU
  for (std::size_t j = 0; j < n; ++j) {
    const auto c = static_cast<std::size_t>(piece.first) + j;
    const double shift = sum[j] / rows;
    const double var = std::max(0.0, squares[j] / rows - shift * shift);
    const double r = 1.0 / std::sqrt(var + static_cast<double>(eps));
    const double centre = static_cast<double>(origin[j]) + shift;
    mean[c] = static_cast<float>(centre);
    variance[c] = static_cast<float>(var);
    scale[c] = static_cast<float>(r);
    slope[j] = gamma[c] * scale[c];
    offset[j] = beta[c];
  }
  const auto first = static_cast<std::uint32_t>(piece.first);
  const auto columns = static_cast<std::uint32_t>(n);
  const std::uint32_t threshold = dropout.threshold;
  const float kept = dropout.kept;
  for (std::int64_t i = piece.from; i < piece.to; ++i) {
    const float* row = z + i * width + piece.first;
    const float* centre = mean + piece.first;
    float* out = y + i * width + piece.first;
    const std::uint32_t key = row_key(dropout.key, i);
    for (std::uint32_t j = 0; j < columns; ++j) {
      const float a = (row[j] - centre[j]) * slope[j] + offset[j];
      out[j] = std::max(a, 0.0F) * mask_of(key, first + j, threshold, kept);
    }
    if (skip == nullptr) continue;
    const float* before = skip + i * width + piece.first;
    for (std::size_t j = 0; j < n; ++j) out[j] += before[j];
  }
}

XT_PER_PROCESSOR void norm_backward(const Piece& piece, std::int64_t width, const float* __restrict z,
                                    const float* __restrict dy, const float* __restrict gamma,
                                    const float* __restrict beta, const float* __restrict mean,
                                    const float* __restrict scale, const Dropout& dropout, float* __restrict dz,
                                    float* __restrict dgamma, float* __restrict dbeta) {
  const auto n = static_cast<std::size_t>(piece.last - piece.first);
  const auto rows = static_cast<double>(piece.to - piece.from);
  const float* centre = mean + piece.first;
  const float* r = scale + piece.first;
  Floats slope{}, offset{};
  for (std::size_t j = 0; j < n; ++j) {
    const auto c = static_cast<std::size_t>(piece.first) + j;
    slope[j] = gamma[c] * scale[c];
    offset[j] = beta[c];
  }
  const auto first = static_cast<std::uint32_t>(piece.first);
  const auto columns = static_cast<std::uint32_t>(n);
  const std::uint32_t threshold = dropout.threshold;
  const float kept = dropout.kept;
  Floats block{}, block2{};
  Doubles sum{}, product{};
  for (std::int64_t begin = piece.from; begin < piece.to; begin += kBlockRows) {
    for (std::int64_t i = begin; i < std::min(piece.to, begin + kBlockRows); ++i) {
      const float* row = z + i * width + piece.first;
      const float* up = dy + i * width + piece.first;
      float* out = dz + i * width + piece.first;
      const std::uint32_t key = row_key(dropout.key, i);
      for (std::uint32_t j = 0; j < columns; ++j) {
        const float d = row[j] - centre[j];
        const float slope_of_relu = d * slope[j] + offset[j] > 0.0F ? 1.0F : 0.0F;
        const float g = up[j] * slope_of_relu * mask_of(key, first + j, threshold, kept);
        out[j] = g;
        block[j] += g;
        block2[j] += g * d;
      }
    }
    flush(block, sum, n);
    flush(block2, product, n);
  }
  Floats away{}, along{};
  for (std::size_t j = 0; j < n; ++j) {
    const double s = static_cast<double>(r[j]);
    dbeta[static_cast<std::size_t>(piece.first) + j] = static_cast<float>(sum[j]);
    dgamma[static_cast<std::size_t>(piece.first) + j] = static_cast<float>(product[j] * s);
    away[j] = static_cast<float>(sum[j] / rows);
    along[j] = static_cast<float>(product[j] * s * s / rows);
  }
  for (std::int64_t i = piece.from; i < piece.to; ++i) {
    const float* row = z + i * width + piece.first;
    float* out = dz + i * width + piece.first;
    for (std::size_t j = 0; j < n; ++j) out[j] = slope[j] * (out[j] - away[j] - (row[j] - centre[j]) * along[j]);
  }
}

}  // namespace cdrzoo::xtransfercdr
