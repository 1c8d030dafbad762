/* SPDX-License-Identifier: Apache-2.0 */
/* Each header alone, first in its file, in the dialect of the target: nothing may be missing, nothing padded. */
#include CDRZOO_HEADER

const char* CDRZOO_FUNCTION(void);
const char* CDRZOO_FUNCTION(void) { return CDRZOO_HEADER; }
