#include "lib/bloom.h"

#include <stdlib.h>
#include <string.h>

#include "lib/crypto.h"

_Static_assert(4 * BLOOM_HASHES == CRYPTO_HASH_BYTES, "one hash gives all positions");

enum vrs_err bloom_init(struct bloom *b, size_t members, const uint8_t key[BLOOM_KEY_BYTES]) {
    if (members > UINT32_MAX / BLOOM_BITS - 8) /* positions have 32 bits */
        return ERR_TOO_LARGE;
    b->bytes = (members * BLOOM_BITS + 7) / 8;
    if (b->bytes < BLOOM_MIN_BYTES)
        b->bytes = BLOOM_MIN_BYTES;
    memcpy(b->key, key, sizeof b->key);
    b->bits = calloc(1, b->bytes);
    return b->bits != NULL ? VRS_OK : ERR_MEMORY;
}

void bloom_fini(struct bloom *b) {
    free(b->bits);
    memset(b, 0, sizeof *b);
}

static void positions(const struct bloom *b, const void *member, size_t len,
                      uint64_t at[BLOOM_HASHES]) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    crypto_hmac_sha256(b->key, sizeof b->key, member, len, hash);
    for (size_t i = 0; i < BLOOM_HASHES; i++) {
        const uint8_t *h = hash + 4 * i;
        uint32_t n = (uint32_t)h[0] << 24 | (uint32_t)h[1] << 16 | (uint32_t)h[2] << 8 | h[3];
        at[i] = n % (8 * (uint64_t)b->bytes);
    }
}

void bloom_add(struct bloom *b, const void *member, size_t len) {
    uint64_t at[BLOOM_HASHES];
    positions(b, member, len, at);
    for (size_t i = 0; i < BLOOM_HASHES; i++)
        b->bits[at[i] / 8] |= (uint8_t)(1U << at[i] % 8);
}

bool bloom_has(const struct bloom *b, const void *member, size_t len) {
    uint64_t at[BLOOM_HASHES];
    positions(b, member, len, at);
    for (size_t i = 0; i < BLOOM_HASHES; i++) {
        if ((b->bits[at[i] / 8] >> at[i] % 8 & 1) == 0)
            return false;
    }
    return true;
}
