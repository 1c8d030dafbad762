// SPDX-License-Identifier: Apache-2.0
extern "C" {
#include "header_alone.c"  // NOLINT(bugprone-suspicious-include)
}
