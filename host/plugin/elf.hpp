// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace cdrzoo {

/// What can be learned from a shared library without running any of it.
struct ElfInfo {
  /// Empty, or one sentence part why this is no library that this machine can load ("is no ELF file", ...).
  std::string problem;
  /// Names of the functions and objects that the library exports, sorted. Empty where the file carries no section
  /// headers.
  std::vector<std::string> exports;
  bool has_symbol_table = false;
};

/// Reads headers and the dynamic symbol table, with every offset checked against the file: safe on hostile files.
/// \throws IoError if the file cannot be read.
[[nodiscard]] ElfInfo read_elf(const std::filesystem::path& path);

}  // namespace cdrzoo
