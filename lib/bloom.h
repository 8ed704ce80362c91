/* A set that forgets its members' names: a Bloom filter under a key.  What was added is always found;
 * what was not is found by mistake at a known rate (BLOOM_BITS bits a member: 0.06 %).
 *
 * Positions: HMAC-SHA-256(key, member) is eight 32-bit numbers, big-endian; each modulo the number of
 * bits is one position; bit b is bit (b mod 8), the lowest first, of byte b / 8. */
#ifndef VRS_LIB_BLOOM_H
#define VRS_LIB_BLOOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

enum { BLOOM_KEY_BYTES = 16, BLOOM_HASHES = 8, BLOOM_BITS = 16, BLOOM_MIN_BYTES = 64 };

struct bloom {
    uint8_t *bits;
    size_t bytes;
    uint8_t key[BLOOM_KEY_BYTES];
};

/* Room for so many members; more make it say yes more often.  The key is the caller's. */
VRS_CHECK enum vrs_err bloom_init(struct bloom *b, size_t members,
                                  const uint8_t key[BLOOM_KEY_BYTES]);
void bloom_fini(struct bloom *b);
void bloom_add(struct bloom *b, const void *member, size_t len);
bool bloom_has(const struct bloom *b, const void *member, size_t len);

#endif
