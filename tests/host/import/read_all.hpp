// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "import/matrix_source.hpp"
#include "support/temporary_folder.hpp"

namespace cdrzoo::test {

/// A file with this content, in a folder of its own.
class TextFile {
 public:
  TextFile(const std::string& name, const std::string& bytes) : path_(folder_ / name) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] MatrixSpec spec() const {
    MatrixSpec spec;
    spec.file = path_;
    return spec;
  }

 private:
  TemporaryFolder folder_;
  std::filesystem::path path_;
};

struct Lines {
  std::vector<std::vector<float>> values;
  double sum = 0.0;  ///< of what is not missing
  std::int64_t present = 0;
};

/// All lines in order, whatever the axis.
inline Lines read_lines(MatrixSource& source) {
  const std::size_t across =
      source.lines() == MatrixSource::Lines::samples ? source.genes().size() : source.samples().size();
  Lines out;
  source.read([&](std::int64_t line, const float* values) {
    if (line != static_cast<std::int64_t>(out.values.size())) throw std::runtime_error("lines out of order");
    out.values.emplace_back(values, values + across);
    for (const float v : out.values.back()) {
      if (v != v) continue;
      out.sum += static_cast<double>(v);
      ++out.present;
    }
  });
  return out;
}

/// Reads all of it, names included.
inline void drain(const MatrixSpec& spec) {
  const auto source = open_matrix(spec);
  static_cast<void>(source->samples());
  static_cast<void>(source->genes());
  static_cast<void>(read_lines(*source));
}

/// What reading all of it complains about, or "accepted".
inline std::string refusal(const MatrixSpec& spec) {
  try {
    drain(spec);
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}
inline std::string refusal(const std::string& name, const std::string& bytes) {
  return refusal(TextFile(name, bytes).spec());
}

/// A file below ../shared/data; nothing where that folder is absent.
inline std::optional<std::filesystem::path> shared_data(const std::string& name) {
  const auto path = std::filesystem::path(CDRZOO_SHARED_DIR) / "data" / name;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

}  // namespace cdrzoo::test
