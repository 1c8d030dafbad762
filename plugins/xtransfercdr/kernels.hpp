// SPDX-License-Identifier: Apache-2.0
// The inner loops of training on the CPU, without LibTorch: batch normalisation with dropout and ReLU.
#pragma once

#include <cstdint>

namespace cdrzoo::xtransfercdr {

/// What a layer does behind its product. Element (i, j) of a matrix has the random number hash(i, j, key), so a mask is
/// never stored: backward makes it again.
struct Dropout {
  std::uint32_t threshold = 0;  ///< an element is dropped where its number is below
  float kept = 1;               ///< factor on the others
  std::uint64_t key = 0;
};

/// Columns [first, last) of the rows [from, to): one pass of the reference, which normalises it alone.
struct Piece {
  std::int64_t from, to, first, last;
};
inline constexpr std::int64_t kPieceColumns = 256;  // last - first at most: 512 rows of them stay in the second cache

/// y = [skip +] ReLU(drop(gamma (z - mean) / sqrt(variance + eps) + beta)) with the moments of the piece.
/// z, y, skip f32 [rows, width]; mean, variance (with 1 / n), scale (1 / sqrt(variance + eps)): f32 [width], written.
/// y may be z's memory nowhere; skip may be null.
void norm_forward(const Piece& piece, std::int64_t width, const float* z, const float* gamma, const float* beta,
                  float eps, const Dropout& dropout, const float* skip, float* y, float* mean, float* variance,
                  float* scale);

/// From dy the gradient dz, and those of gamma and beta (f32 [width], written).
void norm_backward(const Piece& piece, std::int64_t width, const float* z, const float* dy, const float* gamma,
                   const float* beta, const float* mean, const float* scale, const Dropout& dropout, float* dz,
                   float* dgamma, float* dbeta);

}  // namespace cdrzoo::xtransfercdr
