// SPDX-License-Identifier: Apache-2.0
/// Module states from and to safetensors files, for tests, converters and pre-trained weights. A plugin's own state
/// needs no file: see save_module and load_module of torch.hpp.
#pragma once

#include <cdrzoo/torch.hpp>

#include <cdrzoo/safetensors.hpp>
#include <string>

namespace cdrzoo::sdk {
inline namespace v0 {

/// A copy of a tensor of an archive. \throws Error(E_UNSUPPORTED) for a dtype without a tensor type.
[[nodiscard]] inline torch::Tensor tensor_of(const safetensors::Tensor& tensor) {
  const auto type = detail::scalar_type(safetensors::abi_dtype(tensor.dtype));
  if (!type)
    throw Error(CDRZOO_E_UNSUPPORTED, "tensor \"" + tensor.name + "\": there is no tensor type " + tensor.dtype);
  torch::Tensor out = torch::empty(tensor.shape, torch::TensorOptions().dtype(*type));
  if (tensor.bytes != 0) std::memcpy(out.data_ptr(), tensor.data, static_cast<std::size_t>(tensor.bytes));
  return out;
}

/// \throws Error(E_CORRUPT) for a key that is absent or has another shape or dtype.
inline void load_module(const safetensors::Archive& archive, torch::nn::Module& module,
                        const std::string& prefix = "") {
  detail::fill_module(module, prefix, [&archive](const std::string& name) {
    const safetensors::Tensor* found = archive.find(name);
    return found == nullptr ? torch::Tensor() : tensor_of(*found);
  });
}

inline void save_module(safetensors::Writer& writer, const torch::nn::Module& module, const std::string& prefix = "") {
  for (const auto& [key, tensor] : state_of(module)) {
    const torch::Tensor values = tensor.detach().to(torch::kCPU).contiguous();
    const auto dtype = detail::dtype_of(values.scalar_type());
    if (!dtype) throw Error(CDRZOO_E_INTERNAL, "the tensor \"" + key + "\" has a dtype that a file cannot hold");
    writer.add(prefix + key, safetensors::dtype_name(*dtype), values.sizes().vec(), values.data_ptr(),
               static_cast<std::uint64_t>(values.numel()) * static_cast<std::uint64_t>(values.element_size()));
  }
}

}  // namespace v0
}  // namespace cdrzoo::sdk
