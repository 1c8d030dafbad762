// SPDX-License-Identifier: Apache-2.0
#include "store/store.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "store/prediction_file.hpp"

namespace cdrzoo {
namespace fs = std::filesystem;
namespace {

constexpr std::uintmax_t kMaxJsonBytes = std::uintmax_t{1} << 28U;

/// Keys and run ids become names of folders and files.
void check_name(const std::string& name, const char* what) {
  const bool good =
      !name.empty() && name.size() <= 128 && name.front() != '.' &&
      name.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-") == std::string::npos;
  if (!good) throw UsageError("\"" + name + "\" is no " + what + ": letters, digits, '.', '_' and '-' are expected");
}

nlohmann::json parse_json_file(const fs::path& path) {
  const std::string text = read_file(path, kMaxJsonBytes);
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& e) {
    throw DataError(path.string() + ": damaged, not a JSON document: " + words_of(e));
  }
}

constexpr const char* kClaimPrefix = "claim-";  // files of tmp/ that say who works on a cell

std::string lock_error(const fs::path& path, int error) {
  return "cannot lock " + path.string() + ": " + std::strerror(error);
}

/// Opens and locks a file of the store. \p operation as of flock(2). Returns an empty handle if it is locked elsewhere,
/// or gone (its owner may take it away at any time).
FileHandle lock_file(const fs::path& path, int operation, int open_flags) {
  FileHandle file(::open(path.c_str(), open_flags | O_CLOEXEC, 0666));
  if (!file && errno == ENOENT && (open_flags & O_CREAT) == 0) return {};
  if (!file) throw IoError("cannot open " + path.string() + ": " + std::strerror(errno));
  while (::flock(file.get(), operation) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return {};
    throw IoError(lock_error(path, errno));
  }
  return file;
}

/// Is the locked file still the one that has this name, or was it unlinked and made anew meanwhile?
bool is_named(const FileHandle& file, const fs::path& path) {
  struct stat locked = {};
  struct stat named = {};
  return ::fstat(file.get(), &locked) == 0 && ::stat(path.c_str(), &named) == 0 && locked.st_ino == named.st_ino &&
         locked.st_dev == named.st_dev;
}

}  // namespace

/// <root>/tmp/<session>/ with the temporaries of one process and a file "lock" that it holds locked while it lives.
/// The kernel drops the lock however the process ends, on any machine that shares the file system.
struct Store::Session {
  fs::path folder;
  FileHandle lock;
  std::atomic<std::uint64_t> next{0};

  explicit Session(const fs::path& root) {
    const fs::path tmp = root / "tmp";
    // Between the creation of a session and its lock it looks dead: nobody may clean then.
    const FileHandle gate = lock_file(tmp / "gate", LOCK_EX, O_RDWR | O_CREAT);
    remove_dead(tmp);
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) != 0) host = {};
    for (int attempt = 0;; ++attempt) {
      folder = tmp / (std::string(host.data()) + "-" + std::to_string(::getpid()) + "-" + std::to_string(attempt));
      if (::mkdir(folder.c_str(), 0777) == 0) break;
      if (errno != EEXIST) throw IoError("cannot create the folder " + folder.string() + ": " + std::strerror(errno));
    }
    try {
      lock = lock_file(folder / "lock", LOCK_EX | LOCK_NB, O_RDWR | O_CREAT);
    } catch (...) {
      remove_quietly(folder);
      throw;
    }
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  Session(Session&&) = delete;
  Session& operator=(Session&&) = delete;
  ~Session() { remove_quietly(folder); }

  static void remove_dead(const fs::path& tmp) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(tmp, error)) {
      if (entry.is_symlink(error)) continue;
      if (entry.is_regular_file(error) && entry.path().filename().string().rfind(kClaimPrefix, 0) == 0) {
        // Left by a runner that died between storing the cell and giving up the claim. Unlinked while locked.
        const FileHandle held = lock_file(entry.path(), LOCK_EX | LOCK_NB, O_RDONLY);
        if (held && is_named(held, entry.path())) ::unlink(entry.path().c_str());
      }
      if (!entry.is_directory(error)) continue;
      const fs::path lock = entry.path() / "lock";
      if (fs::exists(lock, error)) {
        // Opened read-only: a runner of another user leaves a lock that this one may not write.
        const FileHandle held = lock_file(lock, LOCK_EX | LOCK_NB, O_RDONLY);
        if (!held) continue;
      }
      remove_quietly(entry.path());
    }
  }
};

Store Store::open(const fs::path& root) {
  Store store;
  std::error_code error;
  const fs::path absolute = fs::absolute(root, error);
  store.root_ = error ? root : absolute.lexically_normal();
  for (const char* name : {"cells", "runs", "tmp"}) create_folders(store.root_ / name);
  store.session_ = std::make_shared<Session>(store.root_);
  return store;
}

Store Store::open_read_only(const fs::path& root) {
  std::error_code error;
  if (!fs::is_directory(root / "cells", error)) {
    throw IoError("there is no store at " + root.string() + ": the folder " + (root / "cells").string() +
                  " does not exist");
  }
  Store store;
  store.root_ = fs::absolute(root, error).lexically_normal();
  return store;
}

fs::path Store::cell_folder(const std::string& key) const {
  check_name(key, "cell key");
  return root_ / "cells" / key;
}

bool Store::has(const std::string& key) const {
  const fs::path folder = cell_folder(key);
  std::error_code error;
  return fs::is_regular_file(folder / "record.json", error) && fs::is_regular_file(folder / "predictions.h5", error);
}

fs::path Store::new_temporary(const std::string& key) const {
  check_name(key, "cell key");
  if (!session_) throw std::logic_error("a store that was opened read-only has no temporary folders");
  fs::path folder = session_->folder / (key + "." + std::to_string(session_->next++));
  create_folders(folder);
  return folder;
}

Store::Claim::Claim(Claim&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

Store::Claim::~Claim() {
  if (fd_ < 0) return;
  // Unlinked while locked: whoever waits for the old file notices that it is no longer the one in the folder.
  ::unlink(path_.c_str());
  ::close(fd_);
}

std::optional<Store::Claim> Store::try_claim(const std::string& key) const {
  check_name(key, "cell key");
  if (!session_) throw std::logic_error("cells of a store that was opened read-only cannot be claimed");
  const fs::path path = root_ / "tmp" / (kClaimPrefix + key);
  for (;;) {
    FileHandle file = lock_file(path, LOCK_EX | LOCK_NB, O_RDWR | O_CREAT);
    if (!file) return std::nullopt;
    if (is_named(file, path)) return Claim(path, file.release());
  }
}

void Store::commit(const fs::path& temporary, const Record& record, const PredictionTable& predictions) const {
  if (!session_) throw std::logic_error("a store that was opened read-only takes no cells");
  const fs::path target = cell_folder(record.key);
  try {
    const std::string image = encode_predictions(predictions);
    nlohmann::json json = record.to_json();
    json["files"]["predictions.h5"] = {{"bytes", image.size()}, {"sha256", sha256_hex(image)}};
    write_file_synced(temporary / "predictions.h5", image);
    // Replace invalid UTF-8 (a message may quote a plugin's text) rather than lose the cell.
    write_file_synced(temporary / "record.json",
                      json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    sync_tree(temporary);
    for (;;) {
      if (::rename(temporary.c_str(), target.c_str()) == 0) break;
      const int error = errno;
      if (error != ENOTEMPTY && error != EEXIST) {
        throw IoError("cannot create the cell " + target.string() + ": " + std::strerror(error));
      }
      if (has(record.key)) {  // another runner was faster
        remove_quietly(temporary);
        break;
      }
      // Half a cell: an interrupted copy. It would never become readable.
      const fs::path debris = session_->folder / (record.key + ".debris." + std::to_string(session_->next++));
      if (::rename(target.c_str(), debris.c_str()) != 0 && errno != ENOENT) {
        throw IoError("cannot replace the incomplete cell " + target.string() + ": " + std::strerror(errno));
      }
      remove_quietly(debris);
    }
    sync_folder(root_ / "cells");
  } catch (...) {
    remove_quietly(temporary);
    throw;
  }
}

void Store::remove(const std::string& key) const {
  if (!session_) throw std::logic_error("a store that was opened read-only removes no cells");
  const fs::path target = cell_folder(key);
  // By one rename, so that nobody ever sees half a cell.
  const fs::path debris = session_->folder / (key + ".removed." + std::to_string(session_->next++));
  if (::rename(target.c_str(), debris.c_str()) != 0) {
    if (errno == ENOENT) return;
    throw IoError("cannot remove the cell " + target.string() + ": " + std::strerror(errno));
  }
  remove_quietly(debris);
}

std::vector<std::string> Store::keys() const {
  std::vector<std::string> keys;
  std::error_code error;
  fs::directory_iterator entries(root_ / "cells", error);
  if (error) throw IoError("cannot list " + (root_ / "cells").string() + ": " + error.message());
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (name.front() != '.' && entry.is_directory(error) && has(name)) keys.push_back(name);
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

Record Store::record(const std::string& key) const {
  const fs::path path = cell_folder(key) / "record.json";
  Record record = Record::from_json(parse_json_file(path), path.string());
  if (record.key != key) {
    throw DataError(path.string() + ": the record belongs to the cell " + record.key + ", not to its folder's");
  }
  return record;
}

namespace {

/// The bytes of predictions.h5 after comparison with what record.json says of them.
std::string checked_predictions(const fs::path& folder) {
  const fs::path record_path = folder / "record.json";
  const fs::path path = folder / "predictions.h5";
  const nlohmann::json record = parse_json_file(record_path);
  std::uintmax_t bytes = 0;
  std::string sha256;
  try {
    const auto& file = record.at("files").at("predictions.h5");
    file.at("bytes").get_to(bytes);
    file.at("sha256").get_to(sha256);
  } catch (const nlohmann::json::exception& e) {
    throw DataError(record_path.string() + ": the record does not describe predictions.h5: " + words_of(e));
  }
  std::string image = read_file(path);
  if (image.size() != bytes) {
    throw DataError(path.string() + ": damaged, it has " + std::to_string(image.size()) + " bytes and " +
                    std::to_string(bytes) + " are expected");
  }
  const std::string found = sha256_hex(image);
  if (found != sha256) {
    throw DataError(path.string() + ": damaged, its SHA-256 is " + found + " and " + sha256 + " is expected");
  }
  return image;
}

}  // namespace

PredictionTable Store::predictions(const std::string& key) const {
  const fs::path folder = cell_folder(key);
  return decode_predictions(checked_predictions(folder), (folder / "predictions.h5").string());
}

Record Store::check(const std::string& key) const {
  Record result = record(key);
  (void)checked_predictions(cell_folder(key));
  return result;
}

void Store::write_run(const std::string& run_id, const nlohmann::json& experiment,
                      const std::vector<std::string>& keys) const {
  if (!session_) throw std::logic_error("a store that was opened read-only takes no runs");
  check_name(run_id, "run id");
  const nlohmann::json json = {
      {"run_version", 1}, {"id", run_id}, {"started_at", utc_now(true)}, {"experiment", experiment}, {"keys", keys}};
  write_file_atomically(root_ / "runs" / (run_id + ".json"),
                        json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

std::vector<Store::Run> Store::runs() const {
  std::vector<Run> runs;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root_ / "runs", error)) {
    if (entry.path().extension() != ".json") continue;
    const nlohmann::json json = parse_json_file(entry.path());
    Run run;
    try {
      json.at("id").get_to(run.id);
      json.at("keys").get_to(run.keys);
      json.at("started_at").get_to(run.started_at);
      run.experiment = json.at("experiment");
    } catch (const nlohmann::json::exception& e) {
      throw DataError(entry.path().string() + ": not the file of a run: " + words_of(e));
    }
    runs.push_back(std::move(run));
  }
  std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) {
    return a.started_at != b.started_at ? a.started_at < b.started_at : a.id < b.id;
  });
  return runs;
}

}  // namespace cdrzoo
