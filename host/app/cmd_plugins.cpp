// SPDX-License-Identifier: Apache-2.0
#include "app/commands.hpp"
#include "base/error.hpp"

namespace cdrzoo::app {

int cmd_plugins(const Words&) { throw UsageError("cdrzoo plugins is being written"); }

}  // namespace cdrzoo::app
