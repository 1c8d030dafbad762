// SPDX-License-Identifier: Apache-2.0
// Golden files for tests of LibTorch networks: stored arrays as tensors, weights into modules, comparisons of tensors.
#pragma once

#include <torch/torch.h>

#include <cdrzoo/torch_safetensors.hpp>
#include <string>
#include <vector>

#include "golden.hpp"

namespace cdrzoo::test {

/// A stored tensor, with its dtype: "in/x" as floats, "in/drug_of_pair" as integers.
inline torch::Tensor tensor_of(const Golden& golden, const std::string& name) {
  return sdk::tensor_of(golden.at(name));
}

/// All weights of the file, stored or procedural, under their reference keys.
class GoldenWeights {
 public:
  explicit GoldenWeights(const Golden& golden) {
    for (const Golden::Weight& weight : golden.weights()) {
      torch::Tensor values = torch::empty(weight.shape, torch::kFloat32);
      std::copy(weight.values.begin(), weight.values.end(), values.data_ptr<float>());
      values_.emplace_back(weight.key, values);
    }
  }
  /// Undefined where the file has no such weight.
  [[nodiscard]] torch::Tensor find(const std::string& key) const {
    for (const auto& [name, values] : values_) {
      if (name == key) return values;
    }
    return {};
  }
  /// Fills a module whose keys, behind the prefix ("encoder."), are the file's. Integer buffers that it lacks
  /// are zeroed.
  /// \throws sdk::Error(E_CORRUPT) for a key that the file lacks or has in another shape.
  void load_into(torch::nn::Module& module, const std::string& prefix = "") const {
    const torch::NoGradGuard no_grad;
    for (auto& item : sdk::state_of(module)) {
      const torch::Tensor values = find(prefix + item.first);
      if (!item.second.is_floating_point() && !values.defined()) {
        item.second.zero_();
        continue;
      }
      if (!values.defined() || values.sizes() != item.second.sizes()) {
        throw sdk::Error(CDRZOO_E_CORRUPT,
                         "the golden file has no weight \"" + prefix + item.first + "\" of this shape");
      }
      item.second.copy_(values);
    }
  }

 private:
  std::vector<std::pair<std::string, torch::Tensor>> values_;
};

inline std::vector<double> values_of(const torch::Tensor& tensor) {
  const torch::Tensor flat = tensor.detach().to(torch::kCPU, torch::kFloat64).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

/// Empty where \p ours agrees with the stored tensor within the file's tolerances; otherwise a sentence. A bound on the
/// change since the start takes \p start, the weight before the steps.
inline std::string compare(const Golden& golden, const std::string& name, const torch::Tensor& ours,
                           const torch::Tensor& start = {}) {
  return golden.compare(name, values_of(ours), start.defined() ? values_of(start) : std::vector<double>());
}
inline std::string compare(const Golden& golden, const std::string& name, const std::vector<double>& ours) {
  return golden.compare(name, ours, std::vector<double>());
}

/// The same for every stored tensor "<group>/<prefix><key>" of a module's parameters and buffers (group "after3_ae"),
/// or of their gradients (group "grad_ae"); one sentence per tensor that differs. \p weights: what the steps began
/// from.
inline std::string compare_module(const Golden& golden, const std::string& group, const torch::nn::Module& module,
                                  const std::string& prefix = "", const GoldenWeights* weights = nullptr) {
  std::string text;
  int n = 0;
  for (const auto& [key, tensor] : sdk::state_of(module)) {
    const std::string name = group + "/" + prefix + key;
    if (!golden.has(name)) continue;
    ++n;
    const bool gradient = group.rfind("grad", 0) == 0;
    torch::Tensor ours = gradient ? tensor.grad() : tensor;
    if (gradient && !ours.defined()) ours = torch::zeros_like(tensor);
    const torch::Tensor start = weights != nullptr ? weights->find(prefix + key) : torch::Tensor();
    const std::string difference = compare(golden, name, ours, start);
    if (!difference.empty()) text += difference + "\n";
  }
  if (n == 0) return golden.name() + " has no tensors of the group " + group + " for this module";
  const int stored = golden.count(group + "/" + prefix);
  if (n < stored && prefix.empty()) {
    text += golden.name() + " has " + std::to_string(stored) + " tensors of the group " + group + ", and the module " +
            std::to_string(n) + " of them\n";
  }
  return text;
}

}  // namespace cdrzoo::test
