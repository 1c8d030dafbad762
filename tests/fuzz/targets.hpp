// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace cdrzoo::fuzz {

/// A reader under test. `run` gets arbitrary bytes and must return: errors of the project's own kinds are swallowed,
/// anything else (a crash, a sanitizer's report, a foreign exception) is a finding.
struct Target {
  const char* name;
  void (*run)(const std::uint8_t* data, std::size_t size);
  std::vector<std::string> (*seeds)();  ///< valid inputs from which mutation starts
};

[[nodiscard]] const std::vector<Target>& targets();

}  // namespace cdrzoo::fuzz
