/* A key file is a wire message: format, municipality, one nested message a key.  A wrapped key is
 * sealed under its KEK with everything else that its entry says as AAD, the state included, so no
 * entry can be moved, renamed or revived.  GCM does not commit to a key: the check value, an HMAC
 * under the opened key, does.  Entries of areas that this process has no KEK for are kept as they
 * are when the file is replaced. */
#include "partitions/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buffer.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/wire.h"
#include "partitions/key_file.h"

enum {
    AREAS = 4, /* indexed by enum key_area */
    WRAPPED_BYTES = sizeof(struct secret_key) + CRYPTO_SEAL_OVERHEAD,
    CHECK_BYTES = 8,
    SLAB_KEYS = 128, /* one locked page */
    BUCKETS = 1024,
    FILE_MAX_BYTES = 1 << 20,
    FILE_MAX_KEYS = 4096
};

static const char file_format[] = "vrs-keys-1";
enum file_tag { FILE_FORMAT = 1, FILE_MUNICIPALITY, FILE_COUNT, FILE_ENTRY };
enum entry_tag {
    ENTRY_AREA = 1,
    ENTRY_PURPOSE,
    ENTRY_KEY_ID,
    ENTRY_STATE,
    ENTRY_MADE,
    ENTRY_KEK_ID,
    ENTRY_WRAPPED,
    ENTRY_CHECK
};

struct entry {
    struct key_info info;
    uint64_t kek_id;
    uint8_t wrapped[WRAPPED_BYTES];
    uint8_t check[CHECK_BYTES];
    const struct secret_key *key; /* NULL: destroyed, or an area that is not open here */
};

/* What is known of a municipality's file. */
struct ring {
    struct ring *next;
    char municipality[7];
    bool synced; /* seen durable by this process */
    size_t count;
    struct entry *entries; /* oldest first */
};

struct slab {
    struct slab *next;
    size_t used;
    struct secret_key *keys; /* SLAB_KEYS of them, locked */
};

struct keyring {
    char *dir;
    unsigned areas;
    uint64_t kek_ids[AREAS];
    struct secret_key *keks; /* AREAS, locked */
    pthread_mutex_t lock;    /* all below */
    struct ring *rings[BUCKETS];
    struct slab *slabs;
};

/* ---- wrapping */

static uint64_t id_of_kek(const struct secret_key *kek) {
    static const char text[] = "vrs kek id 1";
    uint8_t mac[CRYPTO_HASH_BYTES];
    crypto_hmac_sha256(kek->bytes, sizeof kek->bytes, text, sizeof text - 1, mac);
    uint64_t id = 0;
    for (int i = 0; i < 8; i++)
        id = id << 8 | mac[i];
    return id;
}

static void check_of_key(const struct secret_key *key, uint8_t out[CHECK_BYTES]) {
    static const char text[] = "vrs data key check 1";
    uint8_t mac[CRYPTO_HASH_BYTES];
    crypto_hmac_sha256(key->bytes, sizeof key->bytes, text, sizeof text - 1, mac);
    memcpy(out, mac, CHECK_BYTES);
    secret_wipe(mac, sizeof mac);
}

static void wrap_aad(struct buffer *b, const char *municipality, const struct entry *en) {
    buffer_init(b, 512);
    wire_put_str(b, 1, "vrs-wrap-1");
    wire_put_u64(b, 2, en->kek_id);
    wire_put_u64(b, 3, en->info.key_id);
    wire_put_str(b, 4, municipality);
    wire_put_u64(b, 5, en->info.area);
    wire_put_u64(b, 6, en->info.purpose);
    wire_put_u64(b, 7, en->info.state);
    wire_put_u64(b, 8, (uint64_t)en->info.made_ms);
}

static enum vrs_err wrap(struct keyring *k, const char *municipality, struct entry *en) {
    struct buffer aad;
    wrap_aad(&aad, municipality, en);
    check_of_key(en->key, en->check);
    enum vrs_err e = aad.failed ? ERR_MEMORY
                                : crypto_seal(&k->keks[en->info.area], aad.data, aad.len,
                                              en->key->bytes, sizeof en->key->bytes, en->wrapped);
    buffer_fini(&aad);
    return e;
}

/* Room for one key in locked memory that lives until keyring_close. */
static struct secret_key *key_room(struct keyring *k) {
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

static bool area_open(const struct keyring *k, enum key_area area) {
    return area > 0 && (int)area < AREAS && (k->areas >> area & 1) != 0;
}

static enum vrs_err unwrap(struct keyring *k, const char *municipality, struct entry *en,
                           struct vrs_fault *fault) {
    if (!area_open(k, en->info.area) || en->info.state == KEY_DESTROYED)
        return VRS_OK;
    if (en->kek_id != k->kek_ids[en->info.area])
        return err_fail(fault, ERR_CRYPTO, "key %u of %s was wrapped under another KEK",
                        en->info.key_id, municipality);
    struct secret_key *key = key_room(k);
    if (key == NULL)
        return err_fail(fault, ERR_MEMORY, "keys of %s", municipality);
    struct buffer aad;
    wrap_aad(&aad, municipality, en);
    uint8_t check[CHECK_BYTES];
    enum vrs_err e = aad.failed ? ERR_MEMORY
                                : crypto_open(&k->keks[en->info.area], aad.data, aad.len,
                                              en->wrapped, sizeof en->wrapped, key->bytes);
    buffer_fini(&aad);
    if (e == VRS_OK) {
        check_of_key(key, check);
        if (!secret_equal(check, en->check, sizeof check))
            e = ERR_TAMPERED;
    }
    if (e != VRS_OK)
        return err_fail(fault, e, "key %u of %s", en->info.key_id, municipality);
    en->key = key;
    return VRS_OK;
}

/* ---- the key file */

static bool code_ok(const char *municipality) {
    return strlen(municipality) == 6 && strspn(municipality, "0123456789") == 6;
}

void keyring_path(struct keyring *k, const char *municipality, char *out, size_t cap) {
    (void)snprintf(out, cap, "%s/%s.keys", k->dir, municipality);
}

static void put_entry(struct buffer *b, const struct entry *en) {
    size_t mark = wire_begin(b, FILE_ENTRY);
    wire_put_u64(b, ENTRY_AREA, en->info.area);
    wire_put_u64(b, ENTRY_PURPOSE, en->info.purpose);
    wire_put_u64(b, ENTRY_KEY_ID, en->info.key_id);
    wire_put_u64(b, ENTRY_STATE, en->info.state);
    wire_put_u64(b, ENTRY_MADE, (uint64_t)en->info.made_ms);
    wire_put_u64(b, ENTRY_KEK_ID, en->kek_id);
    if (en->info.state != KEY_DESTROYED)
        wire_put(b, ENTRY_WRAPPED, en->wrapped, sizeof en->wrapped);
    wire_put(b, ENTRY_CHECK, en->check, sizeof en->check);
    wire_end(b, mark);
}

/* All fields once; an unknown field is refused, since replacing the file would drop it. */
static bool take_entry(const struct wire_field *field, struct entry *en) {
    struct wire_reader r;
    struct wire_field f;
    bool more = true;
    unsigned seen = 0;
    uint64_t v = 0;
    *en = (struct entry){0};
    wire_nested(&r, field);
    enum vrs_err e;
    while ((e = wire_next(&r, &f, &more)) == VRS_OK && more) {
        if (f.tag > ENTRY_CHECK || (seen >> f.tag & 1) != 0)
            return false;
        seen |= 1U << f.tag;
        if (f.tag == ENTRY_WRAPPED || f.tag == ENTRY_CHECK) {
            if (f.tag == ENTRY_WRAPPED ? !wire_fixed(&f, en->wrapped, sizeof en->wrapped)
                                       : !wire_fixed(&f, en->check, sizeof en->check))
                return false;
            continue;
        }
        if (!wire_u64(&f, &v) || (f.tag < ENTRY_MADE && v > UINT32_MAX))
            return false;
        if (f.tag == ENTRY_AREA)
            en->info.area = (enum key_area)v;
        else if (f.tag == ENTRY_PURPOSE)
            en->info.purpose = (enum key_purpose)v;
        else if (f.tag == ENTRY_KEY_ID)
            en->info.key_id = (uint32_t)v;
        else if (f.tag == ENTRY_STATE)
            en->info.state = (enum key_state)v;
        else if (f.tag == ENTRY_MADE)
            en->info.made_ms = (int64_t)v;
        else if (f.tag == ENTRY_KEK_ID)
            en->kek_id = v;
    }
    if (e != VRS_OK || en->info.area < KEY_RECORDS || en->info.area > KEY_NUMBERS ||
        en->info.purpose < KEY_ENCRYPT || en->info.purpose > KEY_INDEX ||
        en->info.state < KEY_PRE_ACTIVE || en->info.state > KEY_DESTROYED)
        return false;
    unsigned all = (1U << (ENTRY_CHECK + 1)) - 2;
    return seen == (en->info.state == KEY_DESTROYED ? all & ~(1U << ENTRY_WRAPPED) : all);
}

static struct entry *add_entry(struct ring *ring) {
    if (ring->count >= FILE_MAX_KEYS)
        return NULL;
    struct entry *grown = reallocarray(ring->entries, ring->count + 1, sizeof *grown);
    if (grown == NULL)
        return NULL;
    ring->entries = grown;
    grown[ring->count] = (struct entry){0};
    return &grown[ring->count++];
}

/* Head: format, municipality, how many entries follow (so that a file cut between two is seen). */
static bool take_head(struct wire_reader *r, const char *municipality, uint64_t *count) {
    const char *want[] = {file_format, municipality};
    struct wire_field f;
    bool more = false;
    for (unsigned i = 0; i < 2; i++) {
        char text[32];
        if (wire_next(r, &f, &more) != VRS_OK || !more || f.tag != FILE_FORMAT + i ||
            !wire_str(&f, text, sizeof text) || strcmp(text, want[i]) != 0)
            return false;
    }
    return wire_next(r, &f, &more) == VRS_OK && more && f.tag == FILE_COUNT && wire_u64(&f, count);
}

static enum vrs_err parse_file(struct keyring *k, struct ring *ring, const uint8_t *p, size_t n,
                               struct vrs_fault *fault) {
    struct wire_reader r;
    struct wire_field f;
    bool more = true;
    uint64_t count = 0;
    wire_open(&r, p, n);
    if (!take_head(&r, ring->municipality, &count))
        return err_fail(fault, ERR_CORRUPT, "head of the keys of %s", ring->municipality);
    enum vrs_err e;
    while ((e = wire_next(&r, &f, &more)) == VRS_OK && more) {
        struct entry *en = add_entry(ring);
        if (en == NULL)
            return err_fail(fault, ERR_MEMORY, "keys of %s", ring->municipality);
        if (f.tag != FILE_ENTRY || !take_entry(&f, en))
            return err_fail(fault, ERR_CORRUPT, "keys of %s", ring->municipality);
        if ((e = unwrap(k, ring->municipality, en, fault)) != VRS_OK)
            return e;
    }
    if (e != VRS_OK || ring->count != count)
        return err_fail(fault, ERR_CORRUPT, "keys of %s", ring->municipality);
    return VRS_OK;
}

/* No file is no keys. */
static enum vrs_err load(struct keyring *k, struct ring *ring, struct vrs_fault *fault) {
    char path[4096];
    keyring_path(k, ring->municipality, path, sizeof path);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? VRS_OK : err_fail(fault, ERR_STORAGE, "open %s", path);
    struct stat st;
    uint8_t *bytes = NULL;
    enum vrs_err e = VRS_OK;
    if (fstat(fd, &st) != 0 || st.st_size <= 0 || st.st_size > FILE_MAX_BYTES)
        e = err_fail(fault, ERR_CORRUPT, "size of %s", path);
    else if ((bytes = malloc((size_t)st.st_size)) == NULL)
        e = err_fail(fault, ERR_MEMORY, "read %s", path);
    else if (read(fd, bytes, (size_t)st.st_size) != st.st_size)
        e = err_fail(fault, ERR_STORAGE, "read %s", path);
    else
        e = parse_file(k, ring, bytes, (size_t)st.st_size, fault);
    free(bytes);
    (void)close(fd);
    return e;
}

static enum vrs_err save(struct keyring *k, const struct ring *ring, struct vrs_fault *fault) {
    char path[4096];
    char fresh[4096 + 8];
    keyring_path(k, ring->municipality, path, sizeof path);
    (void)snprintf(fresh, sizeof fresh, "%s.new", path);
    struct buffer b;
    buffer_init(&b, FILE_MAX_BYTES);
    wire_put_str(&b, FILE_FORMAT, file_format);
    wire_put_str(&b, FILE_MUNICIPALITY, ring->municipality);
    wire_put_u64(&b, FILE_COUNT, ring->count);
    for (size_t i = 0; i < ring->count; i++)
        put_entry(&b, &ring->entries[i]);
    enum vrs_err e =
        b.failed ? err_fail(fault, ERR_MEMORY, "keys of %s", ring->municipality) : VRS_OK;
    if (e == VRS_OK) {
        (void)unlink(fresh); /* left by a crash; never in use */
        e = key_file_write(fresh, b.data, b.len, fault);
    }
    if (e == VRS_OK && rename(fresh, path) != 0) {
        e = err_fail(fault, ERR_STORAGE, "rename %s", fresh);
        (void)unlink(fresh);
    }
    if (e == VRS_OK)
        e = key_file_sync_dir(k->dir, fault);
    buffer_fini(&b);
    return e;
}

/* Records sealed under keys that a power loss takes away are gone: a file that an earlier process
 * may have left unsynced is synced before its keys are used to write. */
static enum vrs_err sync_file(struct keyring *k, const struct ring *ring, struct vrs_fault *fault) {
    char path[4096];
    keyring_path(k, ring->municipality, path, sizeof path);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    enum vrs_err e = VRS_OK;
    if (fd < 0 || fsync(fd) != 0)
        e = err_fail(fault, ERR_STORAGE, "sync %s", path);
    if (fd >= 0)
        (void)close(fd);
    return e != VRS_OK ? e : key_file_sync_dir(k->dir, fault);
}

/* ---- rings; all under the lock */

static struct ring **bucket(struct keyring *k, const char *municipality) {
    return &k->rings[strtoul(municipality, NULL, 10) % BUCKETS];
}

static void forget(struct keyring *k, const char *municipality) {
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

static enum vrs_err ring_of(struct keyring *k, const char *municipality, struct ring **out,
                            struct vrs_fault *fault) {
    if (!code_ok(municipality))
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
    enum vrs_err e = load(k, ring, fault);
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

static const struct entry *find_active(const struct ring *ring, enum key_area area,
                                       enum key_purpose purpose) {
    for (size_t i = ring->count; i-- > 0;) {
        const struct entry *en = &ring->entries[i];
        if (en->info.area == area && en->info.purpose == purpose && en->info.state == KEY_ACTIVE)
            return en;
    }
    return NULL;
}

static enum vrs_err make_key(struct keyring *k, struct ring *ring, enum key_area area,
                             enum key_purpose purpose) {
    uint32_t key_id = 1;
    for (size_t i = 0; i < ring->count; i++) {
        if (ring->entries[i].info.key_id >= key_id)
            key_id = ring->entries[i].info.key_id + 1;
    }
    struct secret_key *key = key_room(k);
    struct entry *en = key == NULL ? NULL : add_entry(ring);
    if (en == NULL)
        return ERR_MEMORY;
    crypto_random(key->bytes, sizeof key->bytes);
    en->info = (struct key_info){area, purpose, key_id, KEY_ACTIVE, clock_now_ms()};
    en->kek_id = k->kek_ids[area];
    en->key = key;
    return wrap(k, ring->municipality, en);
}

static enum vrs_err ensure(struct keyring *k, struct ring *ring, struct vrs_fault *fault) {
    bool made = false;
    for (int area = KEY_RECORDS; area < AREAS; area++) {
        for (int purpose = KEY_ENCRYPT; purpose <= KEY_INDEX; purpose++) {
            enum key_area a = (enum key_area)area;
            enum key_purpose p = (enum key_purpose)purpose;
            if (!area_open(k, a) || find_active(ring, a, p) != NULL)
                continue;
            enum vrs_err e = make_key(k, ring, a, p);
            if (e != VRS_OK)
                return err_fail(fault, e, "make keys of %s", ring->municipality);
            made = true;
        }
    }
    return made ? save(k, ring, fault) : sync_file(k, ring, fault);
}

/* ---- the keyring */

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
    k->keks = secret_alloc(AREAS * sizeof *k->keks);
    enum vrs_err e =
        k->dir == NULL || k->keks == NULL ? err_fail(fault, ERR_MEMORY, "keyring") : VRS_OK;
    for (int area = KEY_RECORDS; e == VRS_OK && area < AREAS; area++) {
        if (!area_open(k, (enum key_area)area))
            continue;
        e = source->load(where, (enum key_area)area, &k->keks[area], fault);
        if (e == VRS_OK)
            k->kek_ids[area] = id_of_kek(&k->keks[area]);
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
            forget(k, k->rings[i]->municipality);
    }
    for (struct slab *slab = k->slabs, *next; slab != NULL; slab = next) {
        next = slab->next;
        secret_free(slab->keys, SLAB_KEYS * sizeof *slab->keys);
        free(slab);
    }
    secret_free(k->keks, AREAS * sizeof *k->keks);
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
    bool has = ring_of(k, municipality, &ring, NULL) == VRS_OK && ring->count > 0;
    (void)pthread_mutex_unlock(&k->lock);
    return has;
}

enum vrs_err keyring_ensure(struct keyring *k, const char *municipality, struct vrs_fault *fault) {
    struct ring *ring = NULL;
    (void)pthread_mutex_lock(&k->lock);
    enum vrs_err e = ring_of(k, municipality, &ring, fault);
    if (e == VRS_OK && !ring->synced) {
        e = ensure(k, ring, fault);
        if (e == VRS_OK)
            ring->synced = true;
        else
            forget(k, municipality); /* what is on the disk decides, the next time */
    }
    (void)pthread_mutex_unlock(&k->lock);
    return e;
}

enum vrs_err keyring_active(struct keyring *k, const char *municipality, enum key_area area,
                            enum key_purpose purpose, uint32_t *key_id,
                            const struct secret_key **key) {
    struct ring *ring = NULL;
    (void)pthread_mutex_lock(&k->lock);
    enum vrs_err e = ring_of(k, municipality, &ring, NULL);
    const struct entry *en = e == VRS_OK ? find_active(ring, area, purpose) : NULL;
    if (e == VRS_OK && (en == NULL || en->key == NULL))
        e = ERR_NOT_FOUND;
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
    enum vrs_err e = ring_of(k, municipality, &ring, NULL);
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
    if (ring_of(k, municipality, &ring, NULL) == VRS_OK && ring != NULL) {
        for (size_t i = ring->count; i-- > 0; count++) {
            if (count < cap)
                out[count] = ring->entries[i].info;
        }
    }
    (void)pthread_mutex_unlock(&k->lock);
    return count;
}

void keyring_forget(struct keyring *k, const char *municipality) {
    if (!code_ok(municipality))
        return;
    (void)pthread_mutex_lock(&k->lock);
    forget(k, municipality);
    (void)pthread_mutex_unlock(&k->lock);
}
