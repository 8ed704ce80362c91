/* New keys, old keys, and key files under a new KEK. */
#include "partitions/keyring_private.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buffer.h"

/* The ring in memory must never say more than the file: after a failure the file is read again. */
static enum vrs_err saved(struct keyring *k, const struct ring *ring, struct vrs_fault *fault) {
    enum vrs_err e = keyring_save(k, ring, fault);
    if (e != VRS_OK)
        keyring_drop(k, ring->municipality);
    return e;
}

static enum vrs_err set_state(struct keyring *k, struct ring *ring, const struct entry *which,
                              enum key_state state) {
    struct entry *en = &ring->entries[which - ring->entries];
    en->info.state = state;
    return keyring_wrap(k, ring->municipality, en); /* the state is in the seal */
}

static enum vrs_err activate(struct keyring *k, struct ring *ring, const struct entry *fresh,
                             struct vrs_fault *fault) {
    const struct entry *old = keyring_find(ring, fresh->info.area, fresh->info.purpose, KEY_ACTIVE);
    enum vrs_err e = old == NULL ? VRS_OK : set_state(k, ring, old, KEY_DECRYPT_ONLY);
    if (e == VRS_OK)
        e = set_state(k, ring, fresh, KEY_ACTIVE);
    if (e != VRS_OK) {
        keyring_drop(k, ring->municipality);
        return err_fail(fault, e, "activate a key");
    }
    return saved(k, ring, fault);
}

static enum vrs_err new_version(struct keyring *k, struct ring *ring, enum key_area area,
                                enum key_purpose purpose, uint32_t *key_id,
                                struct vrs_fault *fault) {
    const struct entry *fresh = keyring_find(ring, area, purpose, KEY_PRE_ACTIVE);
    enum vrs_err e = VRS_OK;
    if (fresh == NULL) {
        e = keyring_make(k, ring, area, purpose, KEY_PRE_ACTIVE);
        if (e != VRS_OK) {
            keyring_drop(k, ring->municipality);
            return err_fail(fault, e, "make a key");
        }
        if ((e = saved(k, ring, fault)) != VRS_OK)
            return e;
        fresh = keyring_find(ring, area, purpose, KEY_PRE_ACTIVE);
    }
    *key_id = fresh->info.key_id;
    return activate(k, ring, fresh, fault);
}

enum vrs_err keyring_new_version(struct keyring *k, const char *municipality, enum key_area area,
                                 enum key_purpose purpose, bool keep_old, uint32_t *key_id,
                                 struct vrs_fault *fault) {
    struct ring *ring = NULL;
    if (!keyring_area_open(k, area))
        return err_fail(fault, ERR_CONFLICT, "area %d is not open here", (int)area);
    (void)pthread_mutex_lock(&k->lock);
    enum vrs_err e = keyring_ring(k, municipality, &ring, fault);
    if (e == VRS_OK && keyring_find(ring, area, purpose, KEY_ACTIVE) == NULL)
        e = err_fail(fault, ERR_NOT_FOUND, "no keys of %s", municipality);
    else if (e == VRS_OK && !keep_old &&
             keyring_find(ring, area, purpose, KEY_DECRYPT_ONLY) != NULL)
        e = err_fail(fault, ERR_CONFLICT, "an older key of %s is still needed", municipality);
    if (e == VRS_OK)
        e = new_version(k, ring, area, purpose, key_id, fault);
    (void)pthread_mutex_unlock(&k->lock);
    return e;
}

enum vrs_err keyring_previous(struct keyring *k, const char *municipality, enum key_area area,
                              enum key_purpose purpose, uint32_t *key_id,
                              const struct secret_key **key) {
    struct ring *ring = NULL;
    (void)pthread_mutex_lock(&k->lock);
    enum vrs_err e = keyring_ring(k, municipality, &ring, NULL);
    const struct entry *en =
        e == VRS_OK ? keyring_find(ring, area, purpose, KEY_DECRYPT_ONLY) : NULL;
    if (e == VRS_OK && (en == NULL || en->key == NULL))
        e = ERR_NOT_FOUND;
    if (e == VRS_OK) {
        *key_id = en->info.key_id;
        *key = en->key;
    }
    (void)pthread_mutex_unlock(&k->lock);
    return e;
}

static enum vrs_err destroy(struct keyring *k, struct ring *ring, uint32_t key_id,
                            struct vrs_fault *fault) {
    struct entry *en = NULL;
    for (size_t i = 0; i < ring->count; i++) {
        if (ring->entries[i].info.key_id == key_id)
            en = &ring->entries[i];
    }
    if (en == NULL)
        return err_fail(fault, ERR_NOT_FOUND, "key %u of %s", key_id, ring->municipality);
    if (en->info.state == KEY_DESTROYED)
        return VRS_OK;
    if (en->info.state != KEY_DECRYPT_ONLY || en->key == NULL)
        return err_fail(fault, ERR_CONFLICT, "key %u of %s is in use", key_id, ring->municipality);
    struct secret_key *key = en->key;
    en->info.state = KEY_DESTROYED;
    en->key = NULL;
    secret_wipe(en->wrapped, sizeof en->wrapped);
    enum vrs_err e = saved(k, ring, fault);
    if (e == VRS_OK)
        secret_wipe(key, sizeof *key);
    return e;
}

enum vrs_err keyring_destroy(struct keyring *k, const char *municipality, uint32_t key_id,
                             struct vrs_fault *fault) {
    struct ring *ring = NULL;
    (void)pthread_mutex_lock(&k->lock);
    enum vrs_err e = keyring_ring(k, municipality, &ring, fault);
    if (e == VRS_OK)
        e = destroy(k, ring, key_id, fault);
    (void)pthread_mutex_unlock(&k->lock);
    return e;
}

enum vrs_err keyring_destroy_area(struct keyring *k, const char *municipality, enum key_area area,
                                  struct vrs_fault *fault) {
    struct ring *ring = NULL;
    (void)pthread_mutex_lock(&k->lock);
    enum vrs_err e = keyring_ring(k, municipality, &ring, fault);
    for (size_t i = 0; e == VRS_OK && i < ring->count; i++) {
        struct entry *en = &ring->entries[i];
        if (en->info.area != area)
            continue;
        en->info.state = KEY_DESTROYED;
        secret_wipe(en->wrapped, sizeof en->wrapped);
        if (en->key != NULL)
            secret_wipe(en->key, sizeof *en->key);
        en->key = NULL;
    }
    if (e == VRS_OK)
        e = saved(k, ring, fault);
    (void)pthread_mutex_unlock(&k->lock);
    return e;
}

/* ---- KEKs */

static bool under_previous(const struct keyring *k, const struct entry *en) {
    return en->key != NULL && en->kek_id != k->keks[en->info.area][KEK_CURRENT].id;
}

enum vrs_err keyring_rewrap(struct keyring *k, const char *municipality, size_t *wrapped,
                            struct vrs_fault *fault) {
    struct ring *ring = NULL;
    *wrapped = 0;
    (void)pthread_mutex_lock(&k->lock);
    enum vrs_err e = keyring_ring(k, municipality, &ring, fault);
    for (size_t i = 0; e == VRS_OK && i < ring->count; i++) {
        if (!under_previous(k, &ring->entries[i]))
            continue;
        e = keyring_wrap(k, municipality, &ring->entries[i]);
        ++*wrapped;
        if (e != VRS_OK)
            keyring_drop(k, municipality);
    }
    if (e == VRS_OK && *wrapped > 0)
        e = saved(k, ring, fault);
    (void)pthread_mutex_unlock(&k->lock);
    return e;
}

size_t keyring_under_previous(struct keyring *k, const char *municipality) {
    struct ring *ring = NULL;
    size_t n = 0;
    (void)pthread_mutex_lock(&k->lock);
    if (keyring_ring(k, municipality, &ring, NULL) == VRS_OK) {
        for (size_t i = 0; i < ring->count; i++)
            n += under_previous(k, &ring->entries[i]);
    }
    (void)pthread_mutex_unlock(&k->lock);
    return n;
}

bool keyring_has_previous_kek(const struct keyring *k) {
    bool any = false;
    for (int area = 0; area < AREAS; area++)
        any = any || k->keks[area][KEK_PREVIOUS].here;
    return any;
}

/* Listed first: `each` may replace the files. */
void keyring_each(struct keyring *k, void (*each)(const char *municipality, void *arg), void *arg) {
    struct buffer codes;
    DIR *dir = opendir(k->dir);
    buffer_init(&codes, BUCKETS * 64);
    for (const struct dirent *d; dir != NULL && (d = readdir(dir)) != NULL;) {
        char code[7];
        if (strlen(d->d_name) != 11 || strcmp(d->d_name + 6, ".keys") != 0)
            continue;
        memcpy(code, d->d_name, 6);
        code[6] = '\0';
        if (keyring_code_ok(code))
            (void)buffer_put(&codes, code, sizeof code);
    }
    if (dir != NULL)
        (void)closedir(dir);
    for (size_t at = 0; at + 7 <= codes.len; at += 7)
        each((const char *)codes.data + at, arg);
    buffer_fini(&codes);
}

enum vrs_err keyring_open_beside(const struct keyring *k, const char *dir, struct keyring **out,
                                 struct vrs_fault *fault) {
    *out = NULL;
    struct keyring *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_fail(fault, ERR_MEMORY, "keyring");
    (void)pthread_mutex_init(&b->lock, NULL);
    b->areas = k->areas;
    b->dir = strdup(dir);
    b->kek_keys = secret_alloc(AREAS * KEKS * sizeof *b->kek_keys);
    if (b->dir == NULL || b->kek_keys == NULL) {
        keyring_close(&b);
        return err_fail(fault, ERR_MEMORY, "keyring");
    }
    memcpy(b->keks, k->keks, sizeof b->keks);
    memcpy(b->kek_keys, k->kek_keys, AREAS * KEKS * sizeof *b->kek_keys);
    *out = b;
    return VRS_OK;
}
