/* SPDX-License-Identifier: Apache-2.0 */
/* cdrzoo/random.h: the counter-based generator behind host->random_u64. Every host implements that service with it;
 * plugins may use it directly where there is no call. C99, header-only.
 *
 * Philox4x32-10 (Salmon et al., SC'11, doi:10.1145/2063384.2063405): key = seed, counter = (index, stream), the result
 * is the first two words. Any element in any order, on any machine, is the same. Not for cryptography.
 */
#ifndef CDRZOO_RANDOM_H
#define CDRZOO_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One Philox4x32-10 block: counter is replaced by the result. */
static inline void cdrzoo_philox4x32(uint32_t counter[4], uint32_t key0, uint32_t key1) {
  int round;
  for (round = 0; round < 10; ++round) {
    const uint64_t a = (uint64_t)0xD2511F53u * counter[0];
    const uint64_t b = (uint64_t)0xCD9E8D57u * counter[2];
    const uint32_t c1 = counter[1], c3 = counter[3];
    counter[0] = (uint32_t)(b >> 32) ^ c1 ^ key0;
    counter[1] = (uint32_t)b;
    counter[2] = (uint32_t)(a >> 32) ^ c3 ^ key1;
    counter[3] = (uint32_t)a;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

/* Element `index` of stream `stream` of the generator with this seed. */
static inline uint64_t cdrzoo_random_u64(uint64_t seed, uint64_t stream, uint64_t index) {
  uint32_t counter[4];
  counter[0] = (uint32_t)index;
  counter[1] = (uint32_t)(index >> 32);
  counter[2] = (uint32_t)stream;
  counter[3] = (uint32_t)(stream >> 32);
  cdrzoo_philox4x32(counter, (uint32_t)seed, (uint32_t)(seed >> 32));
  return (uint64_t)counter[0] | ((uint64_t)counter[1] << 32);
}

/* A stream number from a name: FNV-1a-64 of its bytes. */
static inline uint64_t cdrzoo_stream_of(const char* name, uint64_t length) {
  uint64_t h = 0xcbf29ce484222325u, i;
  for (i = 0; i < length; ++i) h = (h ^ (uint8_t)name[i]) * 0x100000001b3u;
  return h;
}

#ifdef __cplusplus
}
#endif
#endif /* CDRZOO_RANDOM_H */
