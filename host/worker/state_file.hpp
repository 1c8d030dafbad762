// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cdrzoo/plugin.h>

#include <cdrzoo/safetensors.hpp>
#include <deque>
#include <map>
#include <string>
#include <vector>

namespace cdrzoo::worker {

/// Text keys that belong to the host in a model file; the plugin neither sees nor writes them.
inline constexpr const char* kHostKeyPrefix = "cdrzoo.";

/// Hands a safetensors archive to a plugin (cdrzoo_state_reader). Arrays are aligned to their elements.
class ArchiveReader {
 public:
  explicit ArchiveReader(safetensors::Archive archive);
  ArchiveReader(const ArchiveReader&) = delete;
  ArchiveReader& operator=(const ArchiveReader&) = delete;
  [[nodiscard]] const cdrzoo_state_reader* abi() const { return &abi_; }

 private:
  struct Functions;
  safetensors::Archive archive_;
  std::map<std::string, std::vector<std::uint64_t>> aligned_;  // copies of what the file does not align
  cdrzoo_state_reader abi_{};
};

/// Collects what a plugin saves (cdrzoo_state_writer).
class ArchiveWriter {
 public:
  ArchiveWriter();
  ArchiveWriter(const ArchiveWriter&) = delete;
  ArchiveWriter& operator=(const ArchiveWriter&) = delete;
  [[nodiscard]] const cdrzoo_state_writer* abi() const { return &abi_; }
  /// What was wrong with the last refused call; empty if all was well.
  [[nodiscard]] const std::string& problem() const { return problem_; }
  [[nodiscard]] safetensors::Writer& archive() { return archive_; }

 private:
  struct Functions;
  safetensors::Writer archive_;
  std::string problem_;
  cdrzoo_state_writer abi_{};
};

}  // namespace cdrzoo::worker
