// SPDX-License-Identifier: Apache-2.0
#include <cdrzoo/optim_kernels.hpp>
#include <cmath>

// One function, compiled for several processors; the loader picks.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define CDRZOO_PER_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CDRZOO_PER_PROCESSOR
#endif

namespace cdrzoo::sdk {
inline namespace v0 {

CDRZOO_PER_PROCESSOR void adam_range(float* __restrict p, const float* __restrict g, float* __restrict m,
                                     float* __restrict v, std::int64_t n, AdamRates rates) {
  constexpr auto b1 = static_cast<float>(kAdamBeta1);
  constexpr auto b2 = static_cast<float>(kAdamBeta2);
  constexpr auto eps = static_cast<float>(kOptimEpsilon);
  for (std::int64_t i = 0; i < n; ++i) {
    const float d = g[i] + rates.decay * p[i];
    m[i] = b1 * m[i] + (1.0F - b1) * d;
    v[i] = b2 * v[i] + (1.0F - b2) * d * d;
    p[i] = rates.keep * p[i] - rates.step * m[i] / (std::sqrt(v[i]) * rates.root + eps);
  }
}

CDRZOO_PER_PROCESSOR void rmsprop_range(float* __restrict p, const float* __restrict g, float* __restrict v,
                                        std::int64_t n, float rate) {
  constexpr auto alpha = static_cast<float>(kRmsAlpha);
  constexpr auto eps = static_cast<float>(kOptimEpsilon);
  for (std::int64_t i = 0; i < n; ++i) {
    v[i] = alpha * v[i] + (1.0F - alpha) * g[i] * g[i];
    p[i] -= rate * g[i] / (std::sqrt(v[i]) + eps);
  }
}

}  // namespace v0
}  // namespace cdrzoo::sdk
