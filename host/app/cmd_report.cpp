// SPDX-License-Identifier: Apache-2.0
#include "app/commands.hpp"
#include "base/error.hpp"

namespace cdrzoo::app {

int cmd_report(const Words&) { throw UsageError("cdrzoo report is being written"); }

}  // namespace cdrzoo::app
