// SPDX-License-Identifier: Apache-2.0
#include "app/commands.hpp"
#include "base/error.hpp"

namespace cdrzoo::app {

int cmd_split(const Words&) { throw UsageError("cdrzoo split is being written"); }

}  // namespace cdrzoo::app
