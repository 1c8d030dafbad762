// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <zlib.h>

#include <filesystem>
#include <optional>
#include <string>

namespace cdrzoo::test {

/// The text of a gzip file; nothing where the file is absent.
inline std::optional<std::string> read_gzip(const std::filesystem::path& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) return std::nullopt;
  std::string text;
  char buffer[1 << 16];
  int count = 0;
  while ((count = gzread(file, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<std::size_t>(count));
  const bool broken = count < 0;
  gzclose(file);
  if (broken) return std::nullopt;
  return text;
}

}  // namespace cdrzoo::test
