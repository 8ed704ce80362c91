/* A key file is a wire message: format, municipality, one nested message a key.  A wrapped key is
 * sealed under its KEK with everything else that its entry says as AAD, the state included, so no
 * entry can be moved, renamed or revived.  GCM does not commit to a key: the check value, an HMAC
 * under the opened key, does.  Entries of areas that this process has no KEK for are kept as they
 * are when the file is replaced. */
#include "partitions/keyring_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buffer.h"
#include "lib/file.h"
#include "lib/wire.h"

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

/* ---- wrapping */

uint64_t keyring_kek_id(const struct secret_key *kek) {
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

/* NULL: neither the current KEK nor the previous one. */
static const struct secret_key *kek_of(const struct keyring *k, const struct entry *en) {
    for (int i = 0; i < KEKS; i++) {
        const struct kek *kek = &k->keks[en->info.area][i];
        if (kek->here && kek->id == en->kek_id)
            return &k->kek_keys[(int)en->info.area * KEKS + i];
    }
    return NULL;
}

enum vrs_err keyring_wrap(struct keyring *k, const char *municipality, struct entry *en) {
    struct buffer aad;
    en->kek_id = k->keks[en->info.area][KEK_CURRENT].id;
    wrap_aad(&aad, municipality, en);
    check_of_key(en->key, en->check);
    enum vrs_err e = aad.failed ? ERR_MEMORY
                                : crypto_seal(kek_of(k, en), aad.data, aad.len, en->key->bytes,
                                              sizeof en->key->bytes, en->wrapped);
    buffer_fini(&aad);
    return e;
}

static enum vrs_err unwrap(struct keyring *k, const char *municipality, struct entry *en,
                           struct vrs_fault *fault) {
    if (!keyring_area_open(k, en->info.area) || en->info.state == KEY_DESTROYED)
        return VRS_OK;
    const struct secret_key *kek = kek_of(k, en);
    if (kek == NULL)
        return err_fail(fault, ERR_CRYPTO, "key %u of %s was wrapped under another KEK",
                        en->info.key_id, municipality);
    struct secret_key *key = keyring_room(k);
    if (key == NULL)
        return err_fail(fault, ERR_MEMORY, "keys of %s", municipality);
    struct buffer aad;
    wrap_aad(&aad, municipality, en);
    uint8_t check[CHECK_BYTES];
    enum vrs_err e = aad.failed ? ERR_MEMORY
                                : crypto_open(kek, aad.data, aad.len, en->wrapped,
                                              sizeof en->wrapped, key->bytes);
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
        struct entry *en = keyring_add_entry(ring);
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

enum vrs_err keyring_load(struct keyring *k, struct ring *ring, struct vrs_fault *fault) {
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

enum vrs_err keyring_save(struct keyring *k, const struct ring *ring, struct vrs_fault *fault) {
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
        e = file_write_new(fresh, b.data, b.len, fault);
    }
    if (e == VRS_OK && rename(fresh, path) != 0) {
        e = err_fail(fault, ERR_STORAGE, "rename %s", fresh);
        (void)unlink(fresh);
    }
    if (e == VRS_OK)
        e = file_sync_dir(k->dir, fault);
    buffer_fini(&b);
    return e;
}

/* Records sealed under keys that a power loss takes away are gone: a file that an earlier process
 * may have left unsynced is synced before its keys are used to write. */
enum vrs_err keyring_sync(struct keyring *k, const struct ring *ring, struct vrs_fault *fault) {
    char path[4096];
    keyring_path(k, ring->municipality, path, sizeof path);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    enum vrs_err e = VRS_OK;
    if (fd < 0 || fsync(fd) != 0)
        e = err_fail(fault, ERR_STORAGE, "sync %s", path);
    if (fd >= 0)
        (void)close(fd);
    return e != VRS_OK ? e : file_sync_dir(k->dir, fault);
}
