// SPDX-License-Identifier: Apache-2.0
// Compiled without errno for square roots (CMakeLists.txt), which would keep these loops from being vectorised.
#include "kernels.hpp"

#include <cmath>

// One function, compiled for several processors; the loader picks.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define CODEAE_PER_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CODEAE_PER_PROCESSOR
#endif

namespace cdrzoo::codeae {

CODEAE_PER_PROCESSOR void adamw_range(float* __restrict p, const float* __restrict g, float* __restrict m,
                                      float* __restrict v, std::int64_t n, AdamRates rates) {
  constexpr auto b1 = static_cast<float>(kBeta1);
  constexpr auto b2 = static_cast<float>(kBeta2);
  constexpr auto eps = static_cast<float>(kEpsilon);
  for (std::int64_t i = 0; i < n; ++i) {
    m[i] = b1 * m[i] + (1.0F - b1) * g[i];
    v[i] = b2 * v[i] + (1.0F - b2) * g[i] * g[i];
    p[i] = rates.keep * p[i] - rates.step * m[i] / (std::sqrt(v[i]) * rates.root + eps);
  }
}

CODEAE_PER_PROCESSOR void rmsprop_range(float* __restrict p, const float* __restrict g, float* __restrict v,
                                        std::int64_t n, float rate) {
  constexpr auto alpha = static_cast<float>(kRmsAlpha);
  constexpr auto eps = static_cast<float>(kEpsilon);
  for (std::int64_t i = 0; i < n; ++i) {
    v[i] = alpha * v[i] + (1.0F - alpha) * g[i] * g[i];
    p[i] -= rate * g[i] / (std::sqrt(v[i]) + eps);
  }
}

}  // namespace cdrzoo::codeae
