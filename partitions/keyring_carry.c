/* All keys of a municipality for another system: out as they are (the caller seals them to whom they
 * go), in under the KEKs that are here. */
#include "partitions/keyring_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/wire.h"

enum { CARRY_ENTRY = 1 };
enum carry_tag {
    CARRY_AREA = 1,
    CARRY_PURPOSE,
    CARRY_KEY_ID,
    CARRY_STATE,
    CARRY_MADE,
    CARRY_CHECK,
    CARRY_KEY
};

static enum vrs_err put_entries(const struct ring *ring, struct buffer *out) {
    for (size_t i = 0; i < ring->count; i++) {
        const struct entry *en = &ring->entries[i];
        if (en->key == NULL && en->info.state != KEY_DESTROYED)
            return ERR_CRYPTO;
        size_t mark = wire_begin(out, CARRY_ENTRY);
        wire_put_u64(out, CARRY_AREA, en->info.area);
        wire_put_u64(out, CARRY_PURPOSE, en->info.purpose);
        wire_put_u64(out, CARRY_KEY_ID, en->info.key_id);
        wire_put_u64(out, CARRY_STATE, en->info.state);
        wire_put_u64(out, CARRY_MADE, (uint64_t)en->info.made_ms);
        wire_put(out, CARRY_CHECK, en->check, sizeof en->check);
        if (en->key != NULL)
            wire_put(out, CARRY_KEY, en->key->bytes, sizeof en->key->bytes);
        wire_end(out, mark);
    }
    return out->failed ? ERR_MEMORY : VRS_OK;
}

enum vrs_err keyring_carry_out(struct keyring *k, const char *municipality, struct buffer *out) {
    struct ring *ring = NULL;
    (void)pthread_mutex_lock(&k->lock);
    enum vrs_err e = keyring_ring(k, municipality, &ring, NULL);
    if (e == VRS_OK)
        e = ring->count > 0 ? put_entries(ring, out) : ERR_NOT_FOUND;
    (void)pthread_mutex_unlock(&k->lock);
    return e;
}

static bool take_field(struct keyring *k, const struct wire_field *f, struct entry *en) {
    uint64_t v = 0;
    if (f->tag == CARRY_CHECK)
        return wire_fixed(f, en->check, sizeof en->check);
    if (f->tag == CARRY_KEY)
        return (en->key = keyring_room(k)) != NULL &&
               wire_fixed(f, en->key->bytes, sizeof en->key->bytes);
    if (!wire_u64(f, &v) || (f->tag < CARRY_MADE && v > UINT32_MAX))
        return false;
    switch (f->tag) {
    case CARRY_AREA:
        en->info.area = (enum key_area)v;
        return true;
    case CARRY_PURPOSE:
        en->info.purpose = (enum key_purpose)v;
        return true;
    case CARRY_KEY_ID:
        en->info.key_id = (uint32_t)v;
        return true;
    case CARRY_STATE:
        en->info.state = (enum key_state)v;
        return true;
    case CARRY_MADE:
        en->info.made_ms = (int64_t)v;
        return true;
    default:
        return false;
    }
}

static bool take_entry(struct keyring *k, const struct wire_field *nested, struct ring *ring) {
    struct wire_reader r;
    struct wire_field f;
    bool more = true;
    struct entry *en = keyring_add_entry(ring);
    if (nested->tag != CARRY_ENTRY || en == NULL)
        return false;
    wire_nested(&r, nested);
    while (wire_next(&r, &f, &more) == VRS_OK && more) {
        if (!take_field(k, &f, en))
            return false;
    }
    return !more && (en->info.area == KEY_RECORDS || en->info.area == KEY_LOG) &&
           keyring_area_open(k, en->info.area) && en->info.purpose >= KEY_ENCRYPT &&
           en->info.purpose <= KEY_INDEX && en->info.state >= KEY_PRE_ACTIVE &&
           en->info.state <= KEY_DESTROYED &&
           (en->key != NULL) == (en->info.state != KEY_DESTROYED) &&
           (en->key == NULL || keyring_wrap(k, ring->municipality, en) == VRS_OK);
}

enum vrs_err keyring_carry_in(struct keyring *k, const char *municipality, const void *p, size_t n,
                              struct vrs_fault *fault) {
    struct ring ring = {0};
    struct wire_reader r;
    struct wire_field f;
    bool more = true, good = keyring_code_ok(municipality);
    if (good)
        memcpy(ring.municipality, municipality, sizeof ring.municipality);
    if (mkdir(k->dir, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_STORAGE, "make %s", k->dir);
    (void)pthread_mutex_lock(&k->lock);
    wire_open(&r, p, n);
    while (good && wire_next(&r, &f, &more) == VRS_OK && more)
        good = take_entry(k, &f, &ring);
    enum vrs_err e = good && !more && ring.count > 0
                         ? keyring_save(k, &ring, fault)
                         : err_fail(fault, ERR_CORRUPT, "carried keys of %s", municipality);
    keyring_drop(k, municipality);
    (void)pthread_mutex_unlock(&k->lock);
    free(ring.entries);
    return e;
}
