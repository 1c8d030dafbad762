// SPDX-License-Identifier: Apache-2.0
// The inner loops of the optimisers, without LibTorch.
#pragma once

#include <cstdint>

namespace cdrzoo::codeae {

inline constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8, kRmsAlpha = 0.99;

struct AdamRates {
  float keep, step, root;  ///< 1 - lr decay; lr / (1 - beta1^t); 1 / sqrt(1 - beta2^t)
};

/// n elements of a parameter, its gradient and its moments.
void adamw_range(float* p, const float* g, float* m, float* v, std::int64_t n, AdamRates rates);
void rmsprop_range(float* p, const float* g, float* v, std::int64_t n, float rate);

}  // namespace cdrzoo::codeae
