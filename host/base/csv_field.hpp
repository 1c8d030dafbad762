// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace cdrzoo {

/// A field of a comma-separated file, in quotes where it needs them (RFC 4180).
[[nodiscard]] inline std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace cdrzoo
