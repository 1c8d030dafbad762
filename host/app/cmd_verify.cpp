// SPDX-License-Identifier: Apache-2.0
#include "app/commands.hpp"
#include "base/error.hpp"

namespace cdrzoo::app {

int cmd_verify(const Words&) { throw UsageError("cdrzoo verify is being written"); }

}  // namespace cdrzoo::app
