#include "tablet-api/again.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/secret.h"

enum { WAYS = 8, NAME_BYTES = 16 };

struct reading {
    uint8_t name[NAME_BYTES]; /* of terminal and line */
    uint8_t key[NAME_BYTES];  /* of the request that brought it */
    int64_t at_ms;            /* monotonic */
    bool used;
};

struct again {
    uint8_t key[CRYPTO_HASH_BYTES];
    int64_t window_ms;
    size_t slots;
    struct reading slot[];
};

struct again *again_open(size_t readings, int64_t window_ms) {
    size_t slots = WAYS;
    while (slots < readings)
        slots *= 2;
    struct again *a = calloc(1, sizeof *a + slots * sizeof a->slot[0]);
    if (a == NULL)
        return NULL;
    crypto_random(a->key, sizeof a->key);
    a->window_ms = window_ms;
    a->slots = slots;
    return a;
}

void again_close(struct again **a) {
    if (*a != NULL)
        secret_wipe(*a, sizeof **a + (*a)->slots * sizeof(*a)->slot[0]);
    free(*a);
    *a = NULL;
}

/* Its slot, or the oldest of its set. */
static struct reading *slot_of(struct again *a, const char *terminal, const char *ocr_line,
                               uint8_t name[CRYPTO_HASH_BYTES]) {
    char text[128];
    uint64_t at;
    int n = snprintf(text, sizeof text, "%.64s\n%.32s", terminal, ocr_line);
    crypto_hmac_sha256(a->key, sizeof a->key, text, (size_t)n, name);
    secret_wipe(text, sizeof text);
    memcpy(&at, name + NAME_BYTES, sizeof at);
    struct reading *set = &a->slot[(at % (a->slots / WAYS)) * WAYS];
    struct reading *oldest = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].used && memcmp(set[i].name, name, NAME_BYTES) == 0)
            return &set[i];
        if (!set[i].used || (oldest->used && set[i].at_ms < oldest->at_ms))
            oldest = &set[i];
    }
    return oldest;
}

bool again_asks(struct again *a, const char *terminal, const char *ocr_line,
                const uint8_t key_hash[CRYPTO_HASH_BYTES], bool confirmed) {
    uint8_t name[CRYPTO_HASH_BYTES];
    if (a->window_ms == 0)
        return false;
    int64_t now_ms = clock_mono_ms();
    struct reading *r = slot_of(a, terminal, ocr_line, name);
    bool seen =
        r->used && memcmp(r->name, name, NAME_BYTES) == 0 && now_ms - r->at_ms < a->window_ms;
    bool same = seen && memcmp(r->key, key_hash, NAME_BYTES) == 0;
    if (seen && !same && !confirmed)
        return true;
    if (same)
        return false;
    memcpy(r->name, name, NAME_BYTES);
    memcpy(r->key, key_hash, NAME_BYTES);
    r->at_ms = now_ms;
    r->used = true;
    return false;
}

void again_forget(struct again *a, const char *terminal, const char *ocr_line,
                  const uint8_t key_hash[CRYPTO_HASH_BYTES]) {
    uint8_t name[CRYPTO_HASH_BYTES];
    struct reading *r = slot_of(a, terminal, ocr_line, name);
    if (r->used && memcmp(r->name, name, NAME_BYTES) == 0 &&
        memcmp(r->key, key_hash, NAME_BYTES) == 0)
        r->used = false;
}
