// SPDX-License-Identifier: Apache-2.0
#include "import/safetensors_matrix.hpp"

#include <algorithm>
#include <cdrzoo/safetensors.hpp>

#include "base/error.hpp"
#include "import/array_matrix.hpp"

namespace cdrzoo {
namespace {

safetensors::Archive open_archive(const std::filesystem::path& file) {
  std::error_code code;
  if (!std::filesystem::exists(file, code)) throw IoError("cannot read " + file.string() + ": there is no such file");
  try {
    return safetensors::Archive::open(file);
  } catch (const safetensors::Error& e) {
    throw DataError(e.what());
  }
}

const safetensors::Tensor& choose(const safetensors::Archive& archive, const MatrixSpec& spec) {
  if (spec.layer.empty() && archive.tensors().size() == 1) return archive.tensors()[0];
  if (const safetensors::Tensor* found = archive.find(spec.layer)) return *found;
  std::string known;
  constexpr std::size_t kShown = 12;
  for (std::size_t i = 0; i < std::min(archive.tensors().size(), kShown); ++i)
    known += (i == 0 ? "" : ", ") + excerpt(archive.tensors()[i].name);
  if (archive.tensors().size() > kShown) known += " and " + std::to_string(archive.tensors().size() - kShown) + " more";
  if (known.empty()) throw DataError(spec.file.string() + " has no tensors");
  if (spec.layer.empty()) throw UsageError(spec.file.string() + " has several tensors; name one as layer: " + known);
  throw DataError(spec.file.string() + " has no tensor " + excerpt(spec.layer) + "; it has " + known);
}

}  // namespace

std::unique_ptr<MatrixSource> open_safetensors_matrix(const MatrixSpec& spec) {
  const safetensors::Archive archive = open_archive(spec.file);
  const safetensors::Tensor& tensor = choose(archive, spec);
  const std::string place = spec.file.string() + " tensor " + excerpt(tensor.name);
  ArrayLayout layout;
  if (tensor.dtype == "F32" || tensor.dtype == "F64") {
    layout.kind = ArrayLayout::Kind::floating;
  } else if (tensor.dtype == "BOOL" || tensor.dtype[0] == 'U') {
    layout.kind = ArrayLayout::Kind::unsigned_integer;
  } else if (tensor.dtype[0] == 'I') {
    layout.kind = ArrayLayout::Kind::integer;
  } else {
    throw DataError(place + " holds numbers of the type " + tensor.dtype +
                    "; expected F32, F64, integers of 8 to 64 bits, or BOOL");
  }
  if (tensor.shape.size() != 2)
    throw DataError(place + " has rank " + std::to_string(tensor.shape.size()) + "; expected a matrix");
  layout.rows = tensor.shape[0];
  layout.columns = tensor.shape[1];
  layout.element_bytes = static_cast<std::size_t>(safetensors::element_bytes(tensor.dtype));
  // The copy keeps the mapping.
  layout.bytes = [archive, data = tensor.data](std::int64_t offset, std::size_t) { return data + offset; };
  return open_array_matrix(std::move(layout), spec);
}

}  // namespace cdrzoo
