// SPDX-License-Identifier: Apache-2.0
#include "import/gctx.hpp"

#include "base/error.hpp"
#include "import/hdf5_matrix.hpp"

namespace cdrzoo {
namespace {

constexpr const char* kMatrix = "/0/DATA/0/matrix";

AnnotationColumn read_column(const Hdf5File& file, const std::string& object, std::int64_t length) {
  if (file.is_group(object)) return {{}, "it is a group"};
  return read_plain_column(file, object, length, TextBytes::utf8_or_latin1);
}

Hdf5Axis axis(const std::shared_ptr<const Hdf5File>& file, const std::string& group, const std::string& names_from) {
  return {file, {group, "id", file->children(group), names_from}, &read_column};
}

class Gctx final : public Hdf5Matrix {
 public:
  Gctx(const std::shared_ptr<const Hdf5File>& file, const MatrixSpec& spec)
      : Hdf5Matrix(file, axis(file, "/0/META/COL", spec.sample_names), axis(file, "/0/META/ROW", spec.gene_names)),
        matrix_(dense(kMatrix)) {}

  [[nodiscard]] Lines lines() const override { return Lines::samples; }
  void read(const std::function<void(std::int64_t line, const float* values)>& take) override {
    read_dense(kMatrix, matrix_, take);
  }

 private:
  Hdf5File::Numbers matrix_;
};

}  // namespace

std::unique_ptr<MatrixSource> open_gctx(const MatrixSpec& spec) {
  const auto file = std::make_shared<const Hdf5File>(spec.file);
  for (const char* object : {kMatrix, "/0/META/COL/id", "/0/META/ROW/id"}) {
    if (!file->has(object))
      throw DataError(spec.file.string() + " is an HDF5 file but not a GCTX file: it lacks " + object);
  }
  if (file->has_attribute("/", "version")) {
    const std::string version = file->text_attribute("/", "version");
    if (version.rfind("GCTX1.", 0) != 0) {
      throw DataError(spec.file.string() + " has the version " + excerpt(version) + "; expected GCTX1.0");
    }
  }
  return std::make_unique<Gctx>(file, spec);
}

}  // namespace cdrzoo
