/* SPDX-License-Identifier: Apache-2.0 */
/* cdrzoo/entry.h: the negotiation of cdrzoo_plugin_v0, so that no plugin writes it anew. C99, header-only. */
#ifndef CDRZOO_ENTRY_H
#define CDRZOO_ENTRY_H

#include <cdrzoo/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* NOLINTBEGIN(modernize-use-nullptr): this is C. */
/* Answers the host's offer with `count` models in static storage. needs_minor: the oldest ABI minor that the plugin can
 * work with; 0 unless the plugin uses a younger service without asking CDRZOO_HAS. */
static inline cdrzoo_status cdrzoo_answer_offer(const cdrzoo_offer* offer, cdrzoo_answer* answer, uint32_t needs_minor,
                                                const cdrzoo_model_type* models, uint64_t count) {
  const uint32_t built_minor = CDRZOO_ABI_MINOR;
  if (offer == NULL || offer->size < CDRZOO_FIELD_END(cdrzoo_offer, host_minor_max)) return CDRZOO_E_ARGUMENT;
  if (answer == NULL || answer->size < CDRZOO_FIELD_END(cdrzoo_answer, models)) return CDRZOO_E_ARGUMENT;
  answer->size = (uint32_t)CDRZOO_FIELD_END(cdrzoo_answer, models);
  answer->minor = offer->host_minor_max < built_minor ? offer->host_minor_max : built_minor;
  answer->built_minor = built_minor;
  answer->needs_minor = needs_minor;
  answer->models.data = NULL;
  answer->models.count = 0;
  answer->models.stride = (uint32_t)sizeof(cdrzoo_model_type);
  answer->models.reserved = 0;
  if (offer->host_minor_max < needs_minor || built_minor < offer->host_minor_min) return CDRZOO_E_VERSION;
  answer->models.data = models;
  answer->models.count = count;
  return CDRZOO_OK;
}
/* NOLINTEND(modernize-use-nullptr) */

#ifdef __cplusplus
}
#endif
#endif /* CDRZOO_ENTRY_H */
