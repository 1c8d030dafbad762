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

/// Exit codes of every cdrzoo command.
inline constexpr int kExitOk = 0;      ///< done, nothing failed
inline constexpr int kExitFailed = 1;  ///< the command ran, and something in it failed: a cell, a check, a validation
inline constexpr int kExitUsage = 2;   ///< the command could not run: usage, bad input, missing file, full disk

}  // namespace cdrzoo
