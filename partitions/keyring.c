/* The ring in memory.  Keys are opened once a municipality, into locked memory; entries and their
 * keys change only here and in keyring_rotate.c, and only after the file has been replaced. */
#include "partitions/keyring_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/clock.h"

struct secret_key *keyring_room(struct keyring *k) {
    if (k->slabs == NULL || k->slabs->used == SLAB_KEYS) {
        struct slab *slab = calloc(1, sizeof *slab);
        if (slab == NULL)
            return NULL;
        slab->keys = secret_alloc(SLAB_KEYS * sizeof *slab->keys);
        if (slab->keys == NULL) {
            free(slab);
            return NULL;
        }
        slab->next = k->slabs;
        k->slabs = slab;
    }
    return &k->slabs->keys[k->slabs->used++];
}

bool keyring_area_open(const struct keyring *k, enum key_area area) {
    return area > 0 && (int)area < AREAS && (k->areas >> area & 1) != 0;
}

bool keyring_code_ok(const char *municipality) {
    return strlen(municipality) == 6 && strspn(municipality, "0123456789") == 6;
}

struct entry *keyring_add_entry(struct ring *ring) {
    if (ring->count >= FILE_MAX_KEYS)
        return NULL;
    struct entry *grown = reallocarray(ring->entries, ring->count + 1, sizeof *grown);
    if (grown == NULL)
        return NULL;
    ring->entries = grown;
    grown[ring->count] = (struct entry){0};
    return &grown[ring->count++];
}

/* ---- rings; all under the lock */

static struct ring **bucket(struct keyring *k, const char *municipality) {
    return &k->rings[strtoul(municipality, NULL, 10) % BUCKETS];
}

void keyring_drop(struct keyring *k, const char *municipality) {
    for (struct ring **at = bucket(k, municipality); *at != NULL; at = &(*at)->next) {
        struct ring *ring = *at;
        if (strcmp(ring->municipality, municipality) == 0) {
            *at = ring->next;
            free(ring->entries);
            free(ring);
            return;
        }
    }
}

enum vrs_err keyring_ring(struct keyring *k, const char *municipality, struct ring **out,
                          struct vrs_fault *fault) {
    if (!keyring_code_ok(municipality))
        return err_fail(fault, ERR_NO_SUCH_MUNICIPALITY, "keyring");
    struct ring **head = bucket(k, municipality);
    for (struct ring *ring = *head; ring != NULL; ring = ring->next) {
        if (strcmp(ring->municipality, municipality) == 0) {
            *out = ring;
            return VRS_OK;
        }
    }
    struct ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return err_fail(fault, ERR_MEMORY, "keys of %s", municipality);
    memcpy(ring->municipality, municipality, sizeof ring->municipality);
    enum vrs_err e = keyring_load(k, ring, fault);
    if (e != VRS_OK) {
        free(ring->entries);
        free(ring);
        return e;
    }
    ring->next = *head;
    *head = ring;
    *out = ring;
    return VRS_OK;
}

const struct entry *keyring_find(const struct ring *ring, enum key_area area,
                                 enum key_purpose purpose, enum key_state state) {
    for (size_t i = ring->count; i-- > 0;) {
        const struct entry *en = &ring->entries[i];
        if (en->info.area == area && en->info.purpose == purpose && en->info.state == state)
            return en;
    }
    return NULL;
}

enum vrs_err keyring_make(struct keyring *k, struct ring *ring, enum key_area area,
                          enum key_purpose purpose, enum key_state state) {
    uint32_t key_id = 1;
    for (size_t i = 0; i < ring->count; i++) {
        if (ring->entries[i].info.key_id >= key_id)
            key_id = ring->entries[i].info.key_id + 1;
    }
    struct secret_key *key = keyring_room(k);
    struct entry *en = key == NULL ? NULL : keyring_add_entry(ring);
    if (en == NULL)
        return ERR_MEMORY;
    crypto_random(key->bytes, sizeof key->bytes);
    en->info = (struct key_info){area, purpose, key_id, state, clock_now_ms()};
    en->key = key;
    return keyring_wrap(k, ring->municipality, en);
}

/* Its keys were destroyed: new ones would hide that. */
static bool ended(const struct ring *ring, enum key_area area) {
    bool any = false;
    for (size_t i = 0; i < ring->count; i++) {
        if (ring->entries[i].info.area == area) {
            any = true;
            if (ring->entries[i].info.state != KEY_DESTROYED)
                return false;
        }
    }
    return any;
}

bool keyring_ended(struct keyring *k, const char *municipality, enum key_area area) {
    struct ring *ring = NULL;
    (void)pthread_mutex_lock(&k->lock);
    bool is = keyring_ring(k, municipality, &ring, NULL) == VRS_OK && ended(ring, area);
    (void)pthread_mutex_unlock(&k->lock);
    return is;
}

static enum vrs_err ensure(struct keyring *k, struct ring *ring, struct vrs_fault *fault) {
    bool made = false;
    for (int area = KEY_RECORDS; area < AREAS; area++) {
        for (int purpose = KEY_ENCRYPT; purpose <= KEY_INDEX; purpose++) {
            enum key_area a = (enum key_area)area;
            enum key_purpose p = (enum key_purpose)purpose;
            if (!keyring_area_open(k, a) || ended(ring, a) ||
                keyring_find(ring, a, p, KEY_ACTIVE) != NULL)
                continue;
            enum vrs_err e = keyring_make(k, ring, a, p, KEY_ACTIVE);
            if (e != VRS_OK)
                return err_fail(fault, e, "make keys of %s", ring->municipality);
            made = true;
        }
    }
    return made ? keyring_save(k, ring, fault) : keyring_sync(k, ring, fault);
}

/* ---- the keyring */

/* The previous KEK is there only while key files are being re-wrapped, or an old backup restored. */
static enum vrs_err load_keks(struct keyring *k, const struct kek_source *source, const char *where,
                              enum key_area area, struct vrs_fault *fault) {
    for (int i = 0; i < KEKS; i++) {
        struct secret_key *key = &k->kek_keys[(int)area * KEKS + i];
        enum vrs_err e = source->load(where, area, i == KEK_PREVIOUS, key, fault);
        if (e == ERR_NOT_FOUND && i == KEK_PREVIOUS)
            continue;
        if (e != VRS_OK)
            return e;
        k->keks[area][i] = (struct kek){.here = true, .id = keyring_kek_id(key)};
    }
    return VRS_OK;
}

enum vrs_err keyring_open(const char *dir, const struct kek_source *source, const char *where,
                          unsigned areas, struct keyring **out, struct vrs_fault *fault) {
    *out = NULL;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_STORAGE, "make %s", dir);
    if (strlen(dir) > 4000)
        return err_fail(fault, ERR_CONFIG, "path of the keys too long");
    struct keyring *k = calloc(1, sizeof *k);
    if (k == NULL)
        return err_fail(fault, ERR_MEMORY, "keyring");
    (void)pthread_mutex_init(&k->lock, NULL);
    k->areas = areas;
    k->dir = strdup(dir);
    k->kek_keys = secret_alloc(AREAS * KEKS * sizeof *k->kek_keys);
    enum vrs_err e =
        k->dir == NULL || k->kek_keys == NULL ? err_fail(fault, ERR_MEMORY, "keyring") : VRS_OK;
    for (int area = KEY_RECORDS; e == VRS_OK && area < AREAS; area++) {
        if (keyring_area_open(k, (enum key_area)area))
            e = load_keks(k, source, where, (enum key_area)area, fault);
    }
    if (e != VRS_OK) {
        keyring_close(&k);
        return e;
    }
    *out = k;
    return VRS_OK;
}

void keyring_close(struct keyring **keyring) {
    struct keyring *k = *keyring;
    if (k == NULL)
        return;
    for (int i = 0; i < BUCKETS; i++) {
        while (k->rings[i] != NULL)
            keyring_drop(k, k->rings[i]->municipality);
    }
    for (struct slab *slab = k->slabs, *next; slab != NULL; slab = next) {
        next = slab->next;
        secret_free(slab->keys, SLAB_KEYS * sizeof *slab->keys);
        free(slab);
    }
    secret_free(k->kek_keys, AREAS * KEKS * sizeof *k->kek_keys);
    (void)pthread_mutex_destroy(&k->lock);
    free(k->dir);
    free(k);
    *keyring = NULL;
}

unsigned keyring_areas(const struct keyring *k) {
    return k->areas;
}

bool keyring_has(struct keyring *k, const char *municipality) {
    struct ring *ring = NULL;
    (void)pthread_mutex_lock(&k->lock);
    bool has = keyring_ring(k, municipality, &ring, NULL) == VRS_OK && ring->count > 0;
    (void)pthread_mutex_unlock(&k->lock);
    return has;
}

enum vrs_err keyring_ensure(struct keyring *k, const char *municipality, struct vrs_fault *fault) {
    struct ring *ring = NULL;
    (void)pthread_mutex_lock(&k->lock);
    enum vrs_err e = keyring_ring(k, municipality, &ring, fault);
    if (e == VRS_OK && !ring->synced) {
        e = ensure(k, ring, fault);
        if (e == VRS_OK)
            ring->synced = true;
        else
            keyring_drop(k, municipality); /* what is on the disk decides, the next time */
    }
    (void)pthread_mutex_unlock(&k->lock);
    return e;
}

enum vrs_err keyring_active(struct keyring *k, const char *municipality, enum key_area area,
                            enum key_purpose purpose, uint32_t *key_id,
                            const struct secret_key **key) {
    struct ring *ring = NULL;
    (void)pthread_mutex_lock(&k->lock);
    enum vrs_err e = keyring_ring(k, municipality, &ring, NULL);
    const struct entry *en = e == VRS_OK ? keyring_find(ring, area, purpose, KEY_ACTIVE) : NULL;
    if (e == VRS_OK && (en == NULL || en->key == NULL))
        e = ERR_NOT_FOUND;
    if (e == VRS_OK && !ring->synced) { /* read anew, maybe because replacing it failed */
        e = keyring_sync(k, ring, NULL);
        ring->synced = e == VRS_OK;
    }
    if (e == VRS_OK) {
        *key_id = en->info.key_id;
        *key = en->key;
    }
    (void)pthread_mutex_unlock(&k->lock);
    return e;
}

enum vrs_err keyring_by_id(struct keyring *k, const char *municipality, enum key_area area,
                           enum key_purpose purpose, uint32_t key_id,
                           const struct secret_key **key) {
    struct ring *ring = NULL;
    (void)pthread_mutex_lock(&k->lock);
    enum vrs_err e = keyring_ring(k, municipality, &ring, NULL);
    *key = NULL;
    for (size_t i = 0; e == VRS_OK && i < ring->count; i++) {
        const struct entry *en = &ring->entries[i];
        if (en->info.key_id == key_id && en->info.area == area && en->info.purpose == purpose)
            *key = en->key;
    }
    (void)pthread_mutex_unlock(&k->lock);
    return e != VRS_OK ? e : *key == NULL ? ERR_NOT_FOUND : VRS_OK;
}

size_t keyring_list(struct keyring *k, const char *municipality, struct key_info *out, size_t cap) {
    struct ring *ring = NULL;
    size_t count = 0;
    (void)pthread_mutex_lock(&k->lock);
    if (keyring_ring(k, municipality, &ring, NULL) == VRS_OK && ring != NULL) {
        for (size_t i = ring->count; i-- > 0; count++) {
            if (count < cap)
                out[count] = ring->entries[i].info;
        }
    }
    (void)pthread_mutex_unlock(&k->lock);
    return count;
}

void keyring_forget(struct keyring *k, const char *municipality) {
    if (!keyring_code_ok(municipality))
        return;
    (void)pthread_mutex_lock(&k->lock);
    keyring_drop(k, municipality);
    (void)pthread_mutex_unlock(&k->lock);
}
