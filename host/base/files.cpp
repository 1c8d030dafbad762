// SPDX-License-Identifier: Apache-2.0
#include "base/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <system_error>

#include "base/error.hpp"

namespace cdrzoo {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void fail(const char* what, const fs::path& path, int error) {
  throw IoError(std::string("cannot ") + what + " " + path.string() + ": " + std::strerror(error));
}

void sync_path(const fs::path& path, int flags) {
  const FileHandle file(::open(path.c_str(), flags | O_CLOEXEC));
  if (!file) fail("open", path, errno);
  // Some file systems do not sync folders and say EINVAL; there is nothing more to do there.
  if (::fsync(file.get()) != 0 && errno != EINVAL) fail("write", path, errno);
}

}  // namespace

void FileHandle::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

void write_file_synced(const fs::path& path, std::string_view bytes) {
  FileHandle file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file) fail("create", path, errno);
  while (!bytes.empty()) {
    const ssize_t n = ::write(file.get(), bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      fail("write", path, errno);
    }
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::fsync(file.get()) != 0 && errno != EINVAL) fail("write", path, errno);
  // Network file systems report a full disk only here.
  if (::close(file.release()) != 0) fail("write", path, errno);
}

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  static std::atomic<unsigned> counter{0};  // threads may write the same name
  fs::path temporary = path;
  temporary += "." + std::to_string(::getpid()) + "." + std::to_string(counter++) + ".tmp";
  try {
    write_file_synced(temporary, bytes);
    if (::rename(temporary.c_str(), path.c_str()) != 0) fail("create", path, errno);
  } catch (...) {
    remove_quietly(temporary);
    throw;
  }
  sync_folder(path.parent_path());
}

std::string read_file(const fs::path& path, std::uintmax_t max_bytes) {
  const FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) fail("read", path, errno);
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) fail("read", path, errno);
  if (!S_ISREG(status.st_mode)) throw IoError("cannot read " + path.string() + ": it is not a regular file");
  if (static_cast<std::uintmax_t>(status.st_size) > max_bytes) {
    throw IoError("cannot read " + path.string() + ": it has " + std::to_string(status.st_size) +
                  " bytes, more than the " + std::to_string(max_bytes) + " that such a file may have");
  }
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + done, text.size() - done);
    if (n < 0) {
      if (errno == EINTR) continue;
      fail("read", path, errno);
    }
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  text.resize(done);
  return text;
}

void sync_folder(const fs::path& folder) { sync_path(folder.empty() ? fs::path(".") : folder, O_RDONLY | O_DIRECTORY); }

void sync_tree(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_symlink()) continue;
    if (entry.is_regular_file()) sync_path(entry.path(), O_RDONLY);
    if (entry.is_directory()) sync_path(entry.path(), O_RDONLY | O_DIRECTORY);
  }
  sync_folder(folder);
}

void create_folders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw IoError("cannot create the folder " + folder.string() + ": " + error.message());
}

void remove_quietly(const fs::path& path) noexcept {
  try {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  } catch (...) {  // NOLINT(bugprone-empty-catch): clean-up must not replace the error that led here
  }
}

std::string utc_now(bool fraction) {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm parts = {};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  std::size_t n = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::string out(text.data(), n);
  if (fraction) {
    const auto micro = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1000000;
    std::array<char, 16> digits{};
    n = static_cast<std::size_t>(std::snprintf(digits.data(), digits.size(), ".%06lld", static_cast<long long>(micro)));
    out.append(digits.data(), n);
  }
  return out + "Z";
}

}  // namespace cdrzoo
