/* SPDX-License-Identifier: Apache-2.0 */
/* Every fact of the committed layout lock, asserted by the compiler; compiled as C11 and as C++17. */
#include <cdrzoo/plugin.h>

#ifdef __cplusplus
#define CDRZOO_LAYOUT_ASSERT(fact) static_assert(fact, #fact)
#else
#define CDRZOO_LAYOUT_ASSERT(fact) _Static_assert(fact, #fact)
#endif

#include "layout_asserts.h"
