// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

/// The only place that knows the logging library. Diagnostics go to stderr; results go to stdout through the commands.
namespace cdrzoo::log {

enum class Level { debug, info, warn, error, off };

void set_level(Level level);
void debug(const std::string& message);
void info(const std::string& message);
void warn(const std::string& message);
void error(const std::string& message);

}  // namespace cdrzoo::log
