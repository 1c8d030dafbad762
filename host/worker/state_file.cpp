// SPDX-License-Identifier: Apache-2.0
#include "worker/state_file.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "worker/task.hpp"

namespace cdrzoo::worker {
namespace {

bool is_host_key(const std::string& key) { return key.rfind(kHostKeyPrefix, 0) == 0; }

/// The elements of a strided array, row-major.
std::vector<std::uint8_t> packed(const cdrzoo_array& array, std::uint64_t element) {
  std::uint64_t count = 1;
  for (std::int32_t axis = 0; axis < array.rank; ++axis) count *= static_cast<std::uint64_t>(array.shape[axis]);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(count * element));
  if (count == 0) return bytes;
  std::int64_t row_major = 1;
  bool contiguous = true;
  for (std::int32_t axis = array.rank; axis-- > 0;) {
    contiguous = contiguous && (array.stride[axis] == row_major || array.shape[axis] == 1);
    row_major *= array.shape[axis];
  }
  if (contiguous) {
    std::memcpy(bytes.data(), array.data, bytes.size());
    return bytes;
  }
  std::int64_t index[4] = {};
  for (std::uint64_t i = 0; i < count; ++i) {
    std::int64_t offset = 0;
    for (std::int32_t axis = 0; axis < array.rank; ++axis) offset += index[axis] * array.stride[axis];
    std::memcpy(bytes.data() + i * element,
                static_cast<const std::uint8_t*>(array.data) + static_cast<std::uint64_t>(offset) * element, element);
    for (std::int32_t axis = array.rank; axis-- > 0;) {
      if (++index[axis] < array.shape[axis]) break;
      index[axis] = 0;
    }
  }
  return bytes;
}

/// Empty, or what is wrong with the array.
std::string defect(const cdrzoo_array& array, std::uint64_t element) {
  if (array.rank < 0 || array.rank > 4) return "rank " + std::to_string(array.rank);
  if (element == 0) return "dtype " + std::to_string(array.dtype);
  std::uint64_t last = 0;
  bool empty = false;
  for (std::int32_t axis = 0; axis < array.rank; ++axis) {
    if (array.shape[axis] < 0 || array.stride[axis] < 0) return "a negative shape or stride";
    if (array.shape[axis] == 0) empty = true;
    std::uint64_t reach = 0;
    if (array.shape[axis] > 0 && __builtin_mul_overflow(static_cast<std::uint64_t>(array.shape[axis] - 1),
                                                        static_cast<std::uint64_t>(array.stride[axis]), &reach))
      return "a shape beyond 64 bits";
    if (__builtin_add_overflow(last, reach, &last)) return "a shape beyond 64 bits";
  }
  if (empty) return {};
  if (array.data == nullptr) return "no data";
  if (last >= array.bytes / element) return "fewer bytes than its shape and strides reach";
  return {};
}

}  // namespace

struct ArchiveReader::Functions {
  static ArchiveReader& of(void* ctx) { return *static_cast<ArchiveReader*>(ctx); }

  static cdrzoo_status name_at(void* ctx, std::uint64_t index, cdrzoo_str* out) noexcept {
    const auto& tensors = of(ctx).archive_.tensors();
    if (index >= tensors.size()) return CDRZOO_E_ARGUMENT;
    *out = abi_str(tensors[static_cast<std::size_t>(index)].name);
    return CDRZOO_OK;
  }

  static cdrzoo_status tensor(void* ctx, cdrzoo_str name, cdrzoo_array* out) noexcept {
    try {
      auto& self = of(ctx);
      const auto* found = self.archive_.find(to_string(name));
      if (found == nullptr) return CDRZOO_E_CORRUPT;
      const auto dtype = safetensors::abi_dtype(found->dtype);
      if (dtype == 0 || found->shape.size() > 4) return CDRZOO_E_CORRUPT;
      cdrzoo_array array{};
      array.dtype = dtype;
      array.rank = static_cast<std::int32_t>(found->shape.size());
      std::int64_t stride = 1;
      for (std::size_t axis = found->shape.size(); axis-- > 0;) {
        array.shape[axis] = found->shape[axis];
        array.stride[axis] = stride;
        stride *= std::max<std::int64_t>(found->shape[axis], 1);
      }
      array.bytes = found->bytes;
      array.data = found->bytes == 0 ? nullptr : found->data;
      if (found->bytes > 0 && !found->is_aligned()) {
        auto& copy = self.aligned_[found->name];
        copy.resize(static_cast<std::size_t>(found->bytes / sizeof(std::uint64_t) + 1));
        std::memcpy(copy.data(), found->data, static_cast<std::size_t>(found->bytes));
        array.data = copy.data();
      }
      *out = array;
      return CDRZOO_OK;
    } catch (...) {
      return CDRZOO_E_MEMORY;
    }
  }

  static cdrzoo_status text(void* ctx, cdrzoo_str key, cdrzoo_str* out) noexcept {
    try {
      const auto& metadata = of(ctx).archive_.metadata();
      const auto found = metadata.find(to_string(key));
      if (found == metadata.end() || is_host_key(found->first)) return CDRZOO_E_CORRUPT;
      *out = abi_str(found->second);
      return CDRZOO_OK;
    } catch (...) {
      return CDRZOO_E_MEMORY;
    }
  }
};

ArchiveReader::ArchiveReader(safetensors::Archive archive) : archive_(std::move(archive)) {
  abi_.size = sizeof(cdrzoo_state_reader);
  abi_.ctx = this;
  abi_.count = archive_.tensors().size();
  abi_.name_at = &Functions::name_at;
  abi_.tensor = &Functions::tensor;
  abi_.text = &Functions::text;
}

struct ArchiveWriter::Functions {
  static ArchiveWriter& of(void* ctx) { return *static_cast<ArchiveWriter*>(ctx); }

  template <typename Body>
  static cdrzoo_status guarded(void* ctx, const Body& body) noexcept {
    try {
      body(of(ctx).archive_);
      return CDRZOO_OK;
    } catch (const std::bad_alloc&) {
      return CDRZOO_E_MEMORY;
    } catch (const std::exception& e) {
      try {
        of(ctx).problem_ = e.what();
      } catch (...) {
      }
      return CDRZOO_E_ARGUMENT;
    } catch (...) {
      return CDRZOO_E_INTERNAL;
    }
  }

  static cdrzoo_status tensor(void* ctx, cdrzoo_str name, const cdrzoo_array* array) noexcept {
    return guarded(ctx, [&](safetensors::Writer& archive) {
      const auto text = to_string(name);
      if (array == nullptr) throw safetensors::Error("tensor \"" + text + "\" is NULL");
      const auto dtype = safetensors::dtype_name(array->dtype);
      const auto element = safetensors::element_bytes(dtype);
      const auto wrong = defect(*array, element);
      if (!wrong.empty()) throw safetensors::Error("tensor \"" + text + "\" has " + wrong);
      const auto bytes = packed(*array, element);
      archive.add(text, dtype, {array->shape, array->shape + array->rank}, bytes.data(), bytes.size());
    });
  }

  static cdrzoo_status text(void* ctx, cdrzoo_str key, cdrzoo_str value) noexcept {
    return guarded(ctx, [&](safetensors::Writer& archive) {
      const auto name = to_string(key);
      if (is_host_key(name)) throw safetensors::Error("the text key \"" + name + "\" belongs to the host");
      archive.metadata(name, to_string(value));
    });
  }
};

ArchiveWriter::ArchiveWriter() {
  abi_.size = sizeof(cdrzoo_state_writer);
  abi_.ctx = this;
  abi_.tensor = &Functions::tensor;
  abi_.text = &Functions::text;
}

}  // namespace cdrzoo::worker
