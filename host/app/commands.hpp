// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace cdrzoo::app {

/// Each command gets the words after its name and returns an exit code (base/error.hpp). Errors are thrown.
using Words = std::vector<std::string>;

int cmd_plugins(const Words& words);
int cmd_data(const Words& words);
int cmd_split(const Words& words);
int cmd_bench(const Words& words);
int cmd_report(const Words& words);
int cmd_verify(const Words& words);

}  // namespace cdrzoo::app
