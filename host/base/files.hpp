// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

/// Files that are either whole or absent. Every error is an IoError with the path and the system's own words.
namespace cdrzoo {

/// A file descriptor that is closed on scope exit.
class FileHandle {
 public:
  FileHandle() = default;
  explicit FileHandle(int fd) : fd_(fd) {}
  FileHandle(FileHandle&& other) noexcept : fd_(other.release()) {}
  FileHandle& operator=(FileHandle&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  FileHandle(const FileHandle&) = delete;
  FileHandle& operator=(const FileHandle&) = delete;
  ~FileHandle() { reset(-1); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd);

 private:
  int fd_ = -1;
};

/// Creates or truncates \p path, writes all of \p bytes and syncs the file to the disk.
void write_file_synced(const std::filesystem::path& path, std::string_view bytes);
/// Through a temporary name in the same folder and one rename; readers see the old file or the new one.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);
/// \throws IoError if it cannot be read or is larger than \p max_bytes.
[[nodiscard]] std::string read_file(const std::filesystem::path& path, std::uintmax_t max_bytes = UINTMAX_MAX);
/// Syncs every regular file below \p folder and the folders themselves.
void sync_tree(const std::filesystem::path& folder);
void sync_folder(const std::filesystem::path& folder);
/// Like create_directories, with one sentence when it fails.
void create_folders(const std::filesystem::path& folder);
/// Removes what can be removed and reports nothing: for clean-up.
void remove_quietly(const std::filesystem::path& path) noexcept;

/// Now, as ISO 8601 UTC; with microseconds if \p fraction.
[[nodiscard]] std::string utc_now(bool fraction = false);

}  // namespace cdrzoo
