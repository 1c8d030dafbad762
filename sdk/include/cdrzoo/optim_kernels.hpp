// SPDX-License-Identifier: Apache-2.0
/// The inner loops of torch_optim.hpp, without LibTorch. Compiled once (cdrzoo::sdk_torch_optim): without errno for
/// square roots, which would keep them from being vectorised, and for several processors.
#pragma once

#include <cstdint>

namespace cdrzoo::sdk {
inline namespace v0 {

inline constexpr double kAdamBeta1 = 0.9, kAdamBeta2 = 0.999, kRmsAlpha = 0.99, kOptimEpsilon = 1e-8;

struct AdamRates {
  float keep;   ///< factor on the parameter, 1 - lr decay of AdamW; Adam: 1
  float decay;  ///< of the parameter into the gradient, Adam's L2; AdamW: 0
  float step;   ///< lr / (1 - beta1^t)
  float root;   ///< 1 / sqrt(1 - beta2^t)
};

/// n elements of a parameter, its gradient and its moments: g += decay p, the moments, p = keep p - step m / (...).
void adam_range(float* p, const float* g, float* m, float* v, std::int64_t n, AdamRates rates);
void rmsprop_range(float* p, const float* g, float* v, std::int64_t n, float rate);

}  // namespace v0
}  // namespace cdrzoo::sdk
