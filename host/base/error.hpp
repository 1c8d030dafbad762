// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

namespace cdrzoo {

/// Base of all errors that a user can cause or meet. The message is one sentence: what, where, what was found, what
/// was expected. `main` prints it and exits with kExitUsage.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Something the user wrote is wrong: an option, an experiment file, a name.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// A data file, bundle, model file or result that cannot be used as it is.
class DataError : public Error {
 public:
  using Error::Error;
};

/// The environment refused: a file, a disk, a process, a library. Carries the path and the system's own words.
class IoError : public Error {
 public:
  using Error::Error;
};

/// A plugin that cannot be loaded or broke the contract.
class PluginError : public Error {
 public:
  using Error::Error;
};

/// The words of an error of a library, without the "[json.exception.parse_error.101] " that nlohmann-json puts before
/// them.
[[nodiscard]] inline std::string words_of(const std::exception& error) {
  std::string words = error.what();
  const auto end = words.empty() || words.front() != '[' ? std::string::npos : words.find("] ");
  return end == std::string::npos ? words : words.substr(end + 2);
}

/// Exit codes of every cdrzoo command.
inline constexpr int kExitOk = 0;      ///< done, nothing failed
inline constexpr int kExitFailed = 1;  ///< the command ran, and something in it failed: a cell, a check, a validation
inline constexpr int kExitUsage = 2;   ///< the command could not run: usage, bad input, missing file, full disk

}  // namespace cdrzoo
