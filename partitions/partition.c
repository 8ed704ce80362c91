#include "partitions/partition.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/crypto.h"
#include "lib/secret.h"
#include "lib/wire.h"
#include "partitions/log_tree.h"
#include "partitions/record.h"

enum {
    KEEP_BYTES = 64 << 10,        /* a scratch buffer above this is given back */
    COLLECT_MAX_BYTES = 256 << 20 /* blobs of one find or scan */
};

static atomic_uint_fast64_t openings;

struct partition {
    const struct store_engine *engine;
    struct store *store;
    struct keyring *keys;
    char municipality[7];
    bool readable_only;
    bool in_transaction;
    struct log_tree *log;                /* NULL without the log's keys */
    struct buffer aad;                   /* scratch, empty between calls */
    struct buffer blob;                  /* scratch, empty between calls */
    uint64_t orders[STORE_TABLE_COUNT];  /* last given out or stored; 0: ask the store */
    uint64_t changes[STORE_TABLE_COUNT]; /* rows in and out since it was opened */
    uint64_t opening;                    /* no two openings of this process have the same */
    void *note;
    size_t note_bytes;
};

/* ---- ids and records */

void record_id_new(struct record_id *out) {
    crypto_id(out->bytes);
}

bool record_id_parse(const char *hex, struct record_id *out) {
    return strlen(hex) == 2 * sizeof out->bytes && crypto_unhex(hex, out->bytes, sizeof out->bytes);
}

void record_id_format(const struct record_id *id, char out[33]) {
    crypto_hex(id->bytes, sizeof id->bytes, out);
}

bool record_id_equal(const struct record_id *a, const struct record_id *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void store_index_id(const struct record_id *id, struct store_index *out) {
    *out = (struct store_index){.len = sizeof id->bytes};
    memcpy(out->bytes, id->bytes, sizeof id->bytes);
}

void record_init(struct record *r) {
    *r = (struct record){0};
    buffer_init(&r->text, RECORD_MAX_BYTES + 1); /* and the NUL of buffer_cstr */
}

void record_fini(struct record *r) {
    buffer_fini(&r->text);
    secret_wipe(r->index, sizeof r->index);
}

static void scratch_done(struct buffer *b) {
    if (b->cap > KEEP_BYTES)
        buffer_fini(b);
    else
        buffer_clear(b);
}

/* ---- open and close */

static enum vrs_err check_owner(struct partition *p, struct vrs_fault *fault) {
    char owner[16];
    enum vrs_err e = partition_begin(p);
    if (e != VRS_OK)
        return err_fail(fault, e, "open partition %s", p->municipality);
    e = p->engine->meta_get(p->store, "municipality", owner, sizeof owner);
    if (e == VRS_OK && strcmp(owner, p->municipality) != 0)
        e = ERR_CORRUPT; /* another municipality's file under this name */
    else if (e == ERR_NOT_FOUND && !p->readable_only)
        e = p->engine->meta_set(p->store, "municipality", p->municipality);
    if (e == VRS_OK && p->log != NULL)
        e = log_tree_load(p->log, p);
    if (e == VRS_OK)
        e = partition_commit(p);
    else
        partition_rollback(p);
    return e == VRS_OK ? e : err_fail(fault, e, "owner of partition %s", p->municipality);
}

static enum vrs_err open_store(struct partition *p, const char *path, unsigned flags,
                               struct vrs_fault *fault) {
    enum vrs_err e = p->engine->open(path, flags & ~(unsigned)STORE_CREATE, &p->store, fault);
    if (e == ERR_NOT_FOUND && (flags & STORE_CREATE)) {
        /* Keys first: they must outlive every record that they seal. */
        e = keyring_ensure(p->keys, p->municipality, fault);
        if (e == VRS_OK)
            e = p->engine->open(path, flags, &p->store, fault);
        return e;
    }
    if (e != VRS_OK)
        return e;
    /* Never new keys for old records: that would hide that the old ones are lost. */
    if (!keyring_has(p->keys, p->municipality))
        return err_fail(fault, ERR_CRYPTO, "partition %s has no keys", p->municipality);
    return p->readable_only ? VRS_OK : keyring_ensure(p->keys, p->municipality, fault);
}

enum vrs_err partition_open(const struct store_engine *engine, const char *dir,
                            const char *municipality, struct keyring *keys, unsigned store_flags,
                            struct partition **out, struct vrs_fault *fault) {
    *out = NULL;
    if (strlen(municipality) != 6 || strspn(municipality, "0123456789") != 6)
        return err_fail(fault, ERR_NO_SUCH_MUNICIPALITY, "open partition");
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/%s.db", dir, municipality) >= sizeof path)
        return err_fail(fault, ERR_CONFIG, "path of the partitions too long");
    if ((store_flags & STORE_CREATE) && mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_STORAGE, "make %s", dir);
    struct partition *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_fail(fault, ERR_MEMORY, "open partition %s", municipality);
    p->opening = atomic_fetch_add(&openings, 1) + 1;
    p->engine = engine;
    p->keys = keys;
    p->readable_only = (store_flags & STORE_READ_ONLY_TOOL) != 0;
    memcpy(p->municipality, municipality, sizeof p->municipality);
    buffer_init(&p->aad, RECORD_MAX_BYTES); /* also takes what partition_blind hashes */
    buffer_init(&p->blob, RECORD_MAX_BYTES + RECORD_OVERHEAD + 1);
    enum vrs_err e = open_store(p, path, store_flags, fault);
    if (e == VRS_OK && !p->readable_only && (keyring_areas(keys) & 1U << KEY_LOG) != 0 &&
        (p->log = log_tree_new()) == NULL)
        e = err_fail(fault, ERR_MEMORY, "open partition %s", municipality);
    if (e == VRS_OK)
        e = check_owner(p, fault);
    if (e != VRS_OK) {
        partition_close(&p);
        return e;
    }
    *out = p;
    return VRS_OK;
}

void partition_close(struct partition **p) {
    if (*p == NULL)
        return;
    (*p)->engine->close(&(*p)->store);
    log_tree_free(&(*p)->log);
    buffer_fini(&(*p)->aad);
    buffer_fini(&(*p)->blob);
    if ((*p)->note != NULL)
        secret_wipe((*p)->note, (*p)->note_bytes);
    free((*p)->note);
    free(*p);
    *p = NULL;
}

const char *partition_code(const struct partition *p) {
    return p->municipality;
}

struct store *partition_store(struct partition *p) {
    return p->store;
}

const struct store_engine *partition_engine(const struct partition *p) {
    return p->engine;
}

struct log_tree *partition_log_tree(struct partition *p) {
    return p->log;
}

void *partition_note(struct partition *p, size_t bytes) {
    if (p->note == NULL && (p->note = calloc(1, bytes)) != NULL)
        p->note_bytes = bytes;
    assert(p->note == NULL || p->note_bytes == bytes);
    return p->note;
}

/* ---- the transaction */

static void forget_orders(struct partition *p) {
    memset(p->orders, 0, sizeof p->orders);
}

enum vrs_err partition_begin(struct partition *p) {
    enum vrs_err e = p->engine->begin(p->store);
    p->in_transaction = e == VRS_OK;
    return e;
}

enum vrs_err partition_commit(struct partition *p) {
    if (p->log != NULL)
        log_tree_before_commit(p->log, p);
    enum vrs_err e = p->engine->commit(p->store);
    p->in_transaction = false;
    if (e != VRS_OK)
        forget_orders(p);
    if (p->log != NULL)
        log_tree_after_commit(p->log, e);
    return e;
}

void partition_rollback(struct partition *p) {
    forget_orders(p);
    p->in_transaction = false;
    p->engine->rollback(p->store);
    if (p->log != NULL)
        log_tree_undone(p->log, true);
}

enum vrs_err partition_savepoint(struct partition *p) {
    return p->engine->savepoint(p->store);
}

enum vrs_err partition_release(struct partition *p) {
    return p->engine->release(p->store);
}

enum vrs_err partition_rollback_to(struct partition *p) {
    forget_orders(p);
    if (p->log != NULL)
        log_tree_undone(p->log, false);
    return p->engine->rollback_to(p->store);
}

bool partition_in_transaction(const struct partition *p) {
    return p->in_transaction;
}

bool partition_needs_recovery(const struct partition *p) {
    return p->engine->needs_recovery(p->store);
}

enum vrs_err partition_recover(struct partition *p, struct vrs_fault *fault) {
    forget_orders(p);
    if (p->log != NULL)
        log_tree_forget(p->log);
    return p->engine->recover(p->store, fault);
}

void partition_favour(struct partition *p, bool on) {
    if (p->engine->favour != NULL)
        p->engine->favour(p->store, on);
}

void partition_upkeep(struct partition *p, bool rest) {
    if (partition_needs_recovery(p))
        return;
    if (p->engine->tidy != NULL)
        p->engine->tidy(p->store);
    if (rest && p->engine->rest != NULL && !partition_needs_recovery(p))
        p->engine->rest(p->store);
}

enum vrs_err partition_next_order(struct partition *p, enum store_table t, uint64_t *out) {
    uint64_t last = p->orders[t];
    if (last == 0) {
        enum vrs_err e = p->engine->max_order(p->store, t, &last);
        if (e != VRS_OK)
            return e;
    }
    if (last >= INT64_MAX)
        return ERR_CORRUPT;
    *out = p->orders[t] = last + 1;
    return VRS_OK;
}

static void order_stored(struct partition *p, enum store_table t, uint64_t order) {
    if (p->orders[t] != 0 && order > p->orders[t])
        p->orders[t] = order;
}

/* ---- sealing and opening */

struct keyring *partition_keys(struct partition *p) {
    return p->keys;
}

static enum key_area own_area(const struct partition *p) {
    return keyring_areas(p->keys) & 1U << KEY_RECORDS ? KEY_RECORDS : KEY_NUMBERS;
}

enum key_area partition_area(const struct partition *p, enum store_table t) {
    enum key_area area = record_area(t);
    return area == KEY_RECORDS ? own_area(p) : area;
}

static void blind_under(struct partition *p, const struct secret_key *key, uint32_t key_id,
                        uint8_t out[PARTITION_BLIND_BYTES]) {
    uint8_t mac[CRYPTO_HASH_BYTES];
    crypto_hmac_sha256(key->bytes, sizeof key->bytes, p->aad.data, p->aad.len, mac);
    out[0] = (uint8_t)(key_id >> 8);
    out[1] = (uint8_t)key_id;
    memcpy(out + 2, mac, PARTITION_MAC_BYTES);
    secret_wipe(mac, sizeof mac);
}

static enum vrs_err blind_in(struct partition *p, enum key_area area, const char *kind,
                             const void *value, size_t len, struct store_index *out) {
    *out = (struct store_index){0};
    uint32_t key_id, old_id = 0;
    const struct secret_key *key, *old = NULL;
    enum vrs_err e = keyring_active(p->keys, p->municipality, area, KEY_INDEX, &key_id, &key);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? ERR_CRYPTO : e;
    e = keyring_previous(p->keys, p->municipality, area, KEY_INDEX, &old_id, &old);
    if ((e != VRS_OK && e != ERR_NOT_FOUND) || key_id > UINT16_MAX)
        return e != VRS_OK && e != ERR_NOT_FOUND ? e : ERR_INTERNAL;
    e = VRS_OK;
    wire_put_str(&p->aad, 1, kind);
    wire_put(&p->aad, 2, value, len);
    if (p->aad.failed) {
        e = ERR_MEMORY;
    } else {
        blind_under(p, key, key_id, out->bytes);
        out->len = PARTITION_BLIND_BYTES;
        if (old != NULL) {
            blind_under(p, old, old_id, out->old);
            out->old_len = PARTITION_BLIND_BYTES;
        }
    }
    scratch_done(&p->aad);
    return e;
}

enum vrs_err partition_blind(struct partition *p, const char *kind, const void *value, size_t len,
                             struct store_index *out) {
    return blind_in(p, own_area(p), kind, value, len, out);
}

enum vrs_err partition_blind_log(struct partition *p, const char *kind, const void *value,
                                 size_t len, struct store_index *out) {
    return blind_in(p, KEY_LOG, kind, value, len, out);
}

uint32_t store_index_key(const struct store_index *index) {
    return index->len == PARTITION_BLIND_BYTES ? (uint32_t)index->bytes[0] << 8 | index->bytes[1]
                                               : 0;
}

void store_index_row(const struct store_index *index, bool old, struct record_id *out) {
    memcpy(out->bytes, (old ? index->old : index->bytes) + 2, sizeof out->bytes);
}

static enum vrs_err open_row(struct partition *p, enum store_table t, const struct store_row *row,
                             struct record *out) {
    const struct secret_key *key;
    enum vrs_err e = keyring_by_id(p->keys, p->municipality, partition_area(p, t), KEY_ENCRYPT,
                                   row->key_id, &key);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? ERR_CRYPTO : e;
    e = record_open(key, p->municipality, t, row, &p->aad, &out->text);
    scratch_done(&p->aad);
    memcpy(out->id.bytes, row->id, sizeof out->id.bytes);
    out->version = row->version;
    out->generation = row->generation;
    out->state = row->state;
    out->order = row->order;
    memcpy(out->index, row->index, sizeof out->index);
    return e;
}

/* Fills `row` and seals r->text into p->blob, which it lends; then scratch_done(&p->blob). */
static enum vrs_err seal_row(struct partition *p, enum store_table t, const struct record *r,
                             uint64_t version, uint32_t generation, struct store_row *row) {
    if (r->text.failed)
        return ERR_MEMORY;
    *row = (struct store_row){
        .version = version, .generation = generation, .state = r->state, .order = r->order};
    memcpy(row->id, r->id.bytes, sizeof row->id);
    memcpy(row->index, r->index, sizeof row->index);
    const struct secret_key *key;
    enum vrs_err e = keyring_active(p->keys, p->municipality, partition_area(p, t), KEY_ENCRYPT,
                                    &row->key_id, &key);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? ERR_CRYPTO : e;
    e = record_seal(key, p->municipality, t, row, r->text.data, r->text.len, &p->aad, &p->blob);
    scratch_done(&p->aad);
    row->blob = p->blob.data;
    row->blob_len = p->blob.len;
    return e;
}

enum vrs_err record_get(struct partition *p, enum store_table t, const struct record_id *id,
                        struct record *out) {
    struct store_row row;
    enum vrs_err e = p->engine->get(p->store, t, id->bytes, &row);
    return e != VRS_OK ? e : open_row(p, t, &row, out);
}

struct other {
    const uint8_t *id;
    bool any;
};

static enum vrs_err see_other(const struct store_row *row, void *arg) {
    struct other *o = arg;
    o->any = o->any || memcmp(row->id, o->id, sizeof row->id) != 0;
    return VRS_OK;
}

/* The engine sees one form of a value; another row may hold it under the old index key. */
static enum vrs_err check_unique(struct partition *p, enum store_table t, const struct record *r) {
    static const unsigned unique[] = {
#define X(sym, name, mask) [sym] = (mask),
        STORE_TABLES(X)
#undef X
    };
    struct other other = {.id = r->id.bytes};
    enum vrs_err e = VRS_OK;
    for (int n = 0; e == VRS_OK && n < STORE_INDEXES; n++) {
        if (!(unique[t] >> n & 1) || r->index[n].old_len == 0)
            continue;
        struct store_index old = {.len = r->index[n].old_len};
        memcpy(old.bytes, r->index[n].old, sizeof old.bytes);
        e = p->engine->find(p->store, t, n, &old, see_other, &other);
    }
    return e == VRS_OK && other.any ? ERR_CONFLICT : e;
}

enum vrs_err record_insert(struct partition *p, enum store_table t, struct record *r) {
    return record_insert_hash(p, t, r, NULL);
}

enum vrs_err record_insert_hash(struct partition *p, enum store_table t, struct record *r,
                                uint8_t hash[32]) {
    uint64_t version = r->version == 0 ? 1 : r->version;
    struct store_row row;
    enum vrs_err e = check_unique(p, t, r);
    if (e == VRS_OK)
        e = seal_row(p, t, r, version, 1, &row);
    if (e == VRS_OK)
        e = p->engine->insert(p->store, t, &row);
    if (e == VRS_OK && hash != NULL)
        crypto_sha256(row.blob, row.blob_len, hash);
    scratch_done(&p->blob);
    if (e != VRS_OK)
        return e;
    r->version = version;
    r->generation = 1;
    p->changes[t]++;
    order_stored(p, t, r->order);
    return VRS_OK;
}

static enum vrs_err replace(struct partition *p, enum store_table t, struct record *r,
                            uint64_t version) {
    if (r->generation == UINT32_MAX)
        return ERR_INTERNAL;
    struct store_row row;
    enum vrs_err e = check_unique(p, t, r);
    if (e == VRS_OK)
        e = seal_row(p, t, r, version, r->generation + 1, &row);
    if (e == VRS_OK)
        e = p->engine->update(p->store, t, &row, r->version, r->generation);
    scratch_done(&p->blob);
    if (e != VRS_OK)
        return e;
    r->version = version;
    r->generation++;
    order_stored(p, t, r->order);
    return VRS_OK;
}

/* A rotation may have sealed the record anew between its reading and now: that is no change of it,
 * and must not look like somebody else's (no false 412). */
enum vrs_err record_update(struct partition *p, enum store_table t, struct record *r) {
    enum vrs_err e = replace(p, t, r, r->version + 1);
    if (e != ERR_STALE_VERSION)
        return e;
    struct store_row row;
    e = p->engine->get(p->store, t, r->id.bytes, &row);
    if (e != VRS_OK || row.version != r->version || row.generation == r->generation)
        return e == VRS_OK || e == ERR_NOT_FOUND ? ERR_STALE_VERSION : e;
    r->generation = row.generation;
    return replace(p, t, r, r->version + 1);
}

enum vrs_err record_reseal(struct partition *p, enum store_table t, struct record *r) {
    return replace(p, t, r, r->version);
}

enum vrs_err record_remove(struct partition *p, enum store_table t, const struct record_id *id) {
    p->changes[t]++;
    return p->engine->remove(p->store, t, id->bytes);
}

uint64_t partition_changes(const struct partition *p, enum store_table t) {
    return (p->opening << 40) + p->changes[t];
}

/* ---- many rows: collected first, so that the callback may use the partition */

struct collected {
    struct store_row *rows; /* their blobs follow each other in `blobs` */
    size_t count;
    size_t room;
    bool mixed; /* two lists, one behind the other */
    struct buffer blobs;
};

static enum vrs_err collect(const struct store_row *row, void *arg) {
    struct collected *c = arg;
    if (c->count == c->room) {
        size_t room = c->room == 0 ? 16 : c->room * 2;
        struct store_row *grown = reallocarray(c->rows, room, sizeof *grown);
        if (grown == NULL)
            return ERR_MEMORY;
        c->rows = grown;
        c->room = room;
    }
    c->rows[c->count++] = *row;
    if (buffer_put(&c->blobs, row->blob, row->blob_len))
        return VRS_OK;
    return c->blobs.len + row->blob_len > c->blobs.max ? ERR_TOO_LARGE : ERR_MEMORY;
}

/* Rows found under two keys, as if they had been found under one: by (order, id). */
static int by_order(const void *a, const void *b) {
    const struct store_row *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return memcmp(x->id, y->id, sizeof x->id);
}

static enum vrs_err open_collected(struct partition *p, enum store_table t, struct collected *c,
                                   record_fn *fn, void *arg) {
    struct record r;
    record_init(&r);
    enum vrs_err e = VRS_OK;
    size_t at = 0;
    for (size_t i = 0; i < c->count; i++) {
        c->rows[i].blob = c->blobs.data + at;
        at += c->rows[i].blob_len;
    }
    if (c->mixed)
        qsort(c->rows, c->count, sizeof *c->rows, by_order);
    for (size_t i = 0; e == VRS_OK && i < c->count; i++) {
        e = open_row(p, t, &c->rows[i], &r);
        if (e == VRS_OK)
            e = fn(&r, arg);
    }
    record_fini(&r);
    return e;
}

static void collected_init(struct collected *c) {
    *c = (struct collected){0};
    buffer_init(&c->blobs, COLLECT_MAX_BYTES);
}

static enum vrs_err collected_end(struct partition *p, enum store_table t, struct collected *c,
                                  enum vrs_err e, record_fn *fn, void *arg) {
    if (e == VRS_OK && c->count > 0)
        e = open_collected(p, t, c, fn, arg);
    if (c->rows != NULL)
        secret_wipe(c->rows, c->room * sizeof *c->rows);
    free(c->rows);
    buffer_fini(&c->blobs);
    return e;
}

enum vrs_err record_find(struct partition *p, enum store_table t, int n,
                         const struct store_index *value, record_fn *fn, void *arg) {
    struct collected c;
    collected_init(&c);
    enum vrs_err e = p->engine->find(p->store, t, n, value, collect, &c);
    if (e == VRS_OK && value->old_len > 0) {
        size_t first = c.count;
        struct store_index old = {.len = value->old_len};
        memcpy(old.bytes, value->old, sizeof old.bytes);
        e = p->engine->find(p->store, t, n, &old, collect, &c);
        secret_wipe(&old, sizeof old);
        c.mixed = first > 0 && c.count > first;
    }
    return collected_end(p, t, &c, e, fn, arg);
}

enum vrs_err record_scan(struct partition *p, enum store_table t, uint32_t state, uint64_t after,
                         uint64_t limit, record_fn *fn, void *arg) {
    struct collected c;
    collected_init(&c);
    enum vrs_err e = p->engine->scan(p->store, t, state, after, limit, collect, &c);
    return collected_end(p, t, &c, e, fn, arg);
}

enum vrs_err record_walk(struct partition *p, enum store_table t, const struct record_id *after,
                         uint64_t limit, record_fn *fn, void *arg) {
    struct collected c;
    collected_init(&c);
    const uint8_t *from = after == NULL ? NULL : after->bytes;
    enum vrs_err e = p->engine->walk(p->store, t, from, limit, collect, &c);
    return collected_end(p, t, &c, e, fn, arg);
}
