// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

namespace cdrzoo {

struct ChildTask {
  std::string what;           ///< for messages about how the child ended: "reading x.h5"
  std::string crash;          ///< sentence of the DataError if the child crashes or hangs
  unsigned timeout_s = 0;     ///< 0 = none
  bool quiet = false;         ///< what the child prints goes nowhere; for code that prints only when it breaks
  unsigned call_cpu_s = 120;  ///< processor time for what one HangGuard guards; more is a crash
};

/// Runs \p work in a forked copy of this process and returns what it returned. For code that may crash on damaged
/// input, or go on with a damaged heap: nothing of that reaches this process. There is no core dump, and the child ends
/// when this process does.
///
/// No other thread of this process may be at work: its locks would stay locked in the child. Destructors of objects
/// that the caller owns do not run in the child; what \p work itself makes, it must have removed when it returns or
/// throws. After a crash its temporary files are still there: give it a folder that the caller removes.
///
/// \throws UsageError, DataError, IoError, PluginError or Error with the sentence, as \p work threw them;
///         std::bad_alloc; std::runtime_error for any other exception.
///         DataError(crash) if the child ended by a signal that a program raises against itself, by exit(), or by a
///         HangGuard.
///         IoError if no process can be started, it takes too long, or something else killed it.
std::string run_in_child(const ChildTask& task, const std::function<std::string()>& work);

/// Around a call of a library that may loop for ever on damaged input: in a child of run_in_child(), the child ends if
/// the call takes more processor time than the task allows. Elsewhere, and inside another guard, it does nothing.
class HangGuard {
 public:
  HangGuard();
  HangGuard(const HangGuard&) = delete;
  HangGuard& operator=(const HangGuard&) = delete;
  ~HangGuard();
};

}  // namespace cdrzoo
