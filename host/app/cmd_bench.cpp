// SPDX-License-Identifier: Apache-2.0
#include "app/commands.hpp"
#include "base/error.hpp"

namespace cdrzoo::app {

int cmd_bench(const Words&) { throw UsageError("cdrzoo bench is being written"); }

}  // namespace cdrzoo::app
