#include "lib/throttle.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"

/* Names are kept as keyed hashes: a table of who failed to log in is nobody's business, and a
 * client cannot aim at one slot. */
struct slot {
    uint8_t name[16];
    unsigned count;
    int64_t since_ms;
};

enum { WAYS = 8 }; /* slots looked at for one name */

struct throttle {
    uint8_t key[32];
    unsigned tries;
    int64_t window_ms;
    size_t slots;
    struct slot slot[];
};

struct throttle *throttle_open(size_t names, unsigned tries, int64_t window_ms) {
    size_t slots = WAYS;
    while (slots < names)
        slots *= 2;
    struct throttle *t = calloc(1, sizeof *t + slots * sizeof t->slot[0]);
    if (t == NULL)
        return NULL;
    crypto_random(t->key, sizeof t->key);
    t->tries = tries;
    t->window_ms = window_ms;
    t->slots = slots;
    return t;
}

void throttle_close(struct throttle **t) {
    free(*t);
    *t = NULL;
}

/* The name's slot, or the oldest of its set, emptied when its window has passed. */
static struct slot *slot_of(struct throttle *t, const char *name) {
    uint8_t hash[32];
    uint64_t at;
    crypto_hmac_sha256(t->key, sizeof t->key, name, strlen(name), hash);
    memcpy(&at, hash + 16, sizeof at);
    struct slot *set = &t->slot[(at % (t->slots / WAYS)) * WAYS];
    struct slot *oldest = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].count > 0 && memcmp(set[i].name, hash, sizeof set[i].name) == 0) {
            if (clock_mono_ms() - set[i].since_ms >= t->window_ms)
                set[i].count = 0;
            memcpy(set[i].name, hash, sizeof set[i].name);
            return &set[i];
        }
        if (set[i].count == 0 || (oldest->count != 0 && set[i].since_ms < oldest->since_ms))
            oldest = &set[i];
    }
    memset(oldest, 0, sizeof *oldest);
    memcpy(oldest->name, hash, sizeof oldest->name);
    return oldest;
}

bool throttle_allows(struct throttle *t, const char *name, int64_t *retry_ms) {
    const struct slot *s = slot_of(t, name);
    if (s->count < t->tries)
        return true;
    if (retry_ms != NULL)
        *retry_ms = s->since_ms + t->window_ms - clock_mono_ms();
    return false;
}

void throttle_count(struct throttle *t, const char *name) {
    struct slot *s = slot_of(t, name);
    if (s->count == 0)
        s->since_ms = clock_mono_ms();
    if (s->count < t->tries)
        s->count++;
}

void throttle_take_back(struct throttle *t, const char *name) {
    struct slot *s = slot_of(t, name);
    if (s->count > 0)
        s->count--;
}

void throttle_clear(struct throttle *t, const char *name) {
    slot_of(t, name)->count = 0;
}
