#include "vrs-server/residents/import_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "partitions/access_log.h"
#include "partitions/fields.h"

enum { PAGE = 500 };

static const char *const state_names[] = {
    [IMPORT_CREATED] = "created",     [IMPORT_RECEIVING] = "receiving",
    [IMPORT_RECEIVED] = "received",   [IMPORT_CHECKING] = "checking",
    [IMPORT_CHECKED] = "checked",     [IMPORT_COMMITTING] = "committing",
    [IMPORT_COMMITTED] = "committed", [IMPORT_REFUSED] = "refused",
    [IMPORT_REMOVED] = "removed",
};

static const struct field members[] = {
    FIELD(1, FIELD_I32, struct import, kind),
    FIELD(2, FIELD_TEXT, struct import, file_name),
    FIELD(3, FIELD_TEXT, struct import, sha256),
    FIELD(4, FIELD_TEXT, struct import, user),
    FIELD(5, FIELD_I64, struct import, size),
    FIELD(6, FIELD_I64, struct import, received),
    FIELD(7, FIELD_I64, struct import, parts_done),
    FIELD(8, FIELD_I64, struct import, rows),
    FIELD(9, FIELD_I64, struct import, count[ROW_NEW]),
    FIELD(10, FIELD_I64, struct import, count[ROW_CHANGED]),
    FIELD(11, FIELD_I64, struct import, count[ROW_SAME]),
    FIELD(12, FIELD_I64, struct import, count[ROW_REFUSED]),
    FIELD(13, FIELD_I64, struct import, results),
    FIELD(14, FIELD_I64, struct import, made_ms),
    FIELD(15, FIELD_TEXT, struct import, error),
    FIELD(16, FIELD_TEXT, struct import, column),
    FIELD(17, FIELD_TEXT, struct import, medium),
    FIELD(18, FIELD_TEXT, struct import, approved_by),
    FIELD(19, FIELD_TEXT, struct import, terminal),
    FIELD(20, FIELD_TEXT, struct import, section),
    FIELD(21, FIELD_I64, struct import, touched_ms),
    FIELD(22, FIELD_I64, struct import, committed_ms),
    FIELD(23, FIELD_I64, struct import, removed_ms),
    FIELD(24, FIELD_TEXT, struct import, deletion_by),
    FIELD(25, FIELD_TEXT, struct import, deletion_method),
    FIELD(26, FIELD_I64, struct import, deletion_ms),
    FIELD(27, FIELD_I64, struct import, part_bytes),
    {0},
};

const char *import_state_name(enum import_state s) {
    return state_names[s];
}

bool import_open(const struct import *m) {
    return m->state != IMPORT_COMMITTED && m->state != IMPORT_REFUSED && m->state != IMPORT_REMOVED;
}

static enum vrs_err import_decode(const struct record *r, struct import *m) {
    memset(m, 0, sizeof *m);
    m->id = r->id;
    m->state = (enum import_state)r->state;
    enum vrs_err e = fields_decode(members, &r->text, m);
    if (m->part_bytes == 0)
        m->part_bytes = 16 << 10; /* made when all parts were as large */
    return e;
}

enum vrs_err import_get(struct partition *p, const struct record_id *id, struct import *out) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_IMPORT, id, &r);
    if (e == VRS_OK)
        e = import_decode(&r, out);
    record_fini(&r);
    return e;
}

enum vrs_err import_put(struct partition *p, const struct import *m, bool insert) {
    struct record r;
    record_init(&r);
    enum vrs_err e = insert ? VRS_OK : record_get(p, TABLE_IMPORT, &m->id, &r);
    if (e == VRS_OK && insert) {
        r.id = m->id;
        e = partition_blind(p, "import_hash", m->sha256, strlen(m->sha256), &r.index[0]);
        if (e == VRS_OK)
            e = partition_blind(p, "import_name", m->file_name, strlen(m->file_name), &r.index[1]);
    }
    buffer_clear(&r.text);
    fields_encode(members, m, &r.text);
    r.state = m->state;
    if (e == VRS_OK)
        e = insert ? record_insert(p, TABLE_IMPORT, &r) : record_update(p, TABLE_IMPORT, &r);
    record_fini(&r);
    return e;
}

static void part_id(const struct record_id *import, const char *what, uint64_t n,
                    struct record_id *out) {
    char text[80], hex[33];
    uint8_t hash[CRYPTO_HASH_BYTES];
    record_id_format(import, hex);
    int len = snprintf(text, sizeof text, "%s/%s/%" PRIu64, hex, what, n);
    crypto_sha256(text, (size_t)len, hash);
    memcpy(out->bytes, hash, sizeof out->bytes);
}

enum vrs_err import_part_put(struct partition *p, const struct record_id *import, const char *what,
                             uint64_t n, const void *data, size_t len) {
    struct record r;
    record_init(&r);
    part_id(import, what, n, &r.id);
    store_index_id(import, &r.index[0]);
    r.order = n;
    enum vrs_err e = buffer_put(&r.text, data, len) ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK)
        e = record_insert(p, TABLE_IMPORT_PART, &r);
    record_fini(&r);
    return e;
}

enum vrs_err import_part_get(struct partition *p, const struct record_id *import, const char *what,
                             uint64_t n, struct record *out) {
    struct record_id id;
    part_id(import, what, n, &id);
    return record_get(p, TABLE_IMPORT_PART, &id, out);
}

enum vrs_err import_parts_remove(struct partition *p, const struct record_id *import,
                                 const char *what, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        struct record_id id;
        part_id(import, what, i, &id);
        enum vrs_err e = record_remove(p, TABLE_IMPORT_PART, &id);
        if (e != VRS_OK && e != ERR_NOT_FOUND)
            return e;
    }
    return VRS_OK;
}

enum vrs_err import_file_remove(struct partition *p, const struct import *m) {
    return import_parts_remove(p, &m->id, "part",
                               (m->received + m->part_bytes - 1) / m->part_bytes);
}

struct found {
    struct import *out;
    bool any;
};

static enum vrs_err see_import(struct record *r, void *arg) {
    struct found *f = arg;
    f->any = true;
    return import_decode(r, f->out);
}

enum vrs_err import_find(struct partition *p, const char *what, const char *value,
                         struct import *out, bool *any) {
    bool by_name = strcmp(what, "name") == 0;
    struct store_index blind;
    struct found found = {.out = out};
    enum vrs_err e =
        partition_blind(p, by_name ? "import_name" : "import_hash", value, strlen(value), &blind);
    if (e == VRS_OK)
        e = record_find(p, TABLE_IMPORT, by_name ? 1 : 0, &blind, see_import, &found);
    *any = found.any;
    return e;
}

/* --- all of them --- */

struct walking {
    import_fn *fn;
    void *arg;
    struct record_id last;
    size_t seen;
};

static enum vrs_err walk_one(struct record *r, void *arg) {
    struct walking *w = arg;
    struct import m;
    w->last = r->id;
    w->seen++;
    enum vrs_err e = import_decode(r, &m);
    return e == VRS_OK ? w->fn(&m, w->arg) : e;
}

enum vrs_err import_walk_all(struct partition *p, import_fn *fn, void *arg) {
    struct walking w = {.fn = fn, .arg = arg, .seen = PAGE};
    enum vrs_err e = VRS_OK;
    for (bool first = true; e == VRS_OK && w.seen == PAGE; first = false) {
        struct record_id after = w.last;
        w.seen = 0;
        e = record_walk(p, TABLE_IMPORT, first ? NULL : &after, PAGE, walk_one, &w);
    }
    return e;
}

struct sweeping {
    struct partition *partition;
    int64_t before_ms;
    uint64_t removed;
};

static enum vrs_err log_sweep(struct partition *p, const struct import *m) {
    char id[33];
    record_id_format(&m->id, id);
    const struct log_entry entry = {.actor = {.user = "system:sweep", .source = "system"},
                                    .act = "import.sweep",
                                    .purpose = "operation",
                                    .result = "removed",
                                    .count = m->received,
                                    .detail = id};
    return access_log_append(p, &entry, NULL);
}

static enum vrs_err sweep_one(struct import *m, void *arg) {
    struct sweeping *s = arg;
    int64_t alive_ms = m->touched_ms > m->made_ms ? m->touched_ms : m->made_ms;
    if (!import_open(m) || alive_ms >= s->before_ms)
        return VRS_OK;
    enum vrs_err e = import_file_remove(s->partition, m);
    if (e == VRS_OK && m->state < IMPORT_COMMITTING)
        e = import_parts_remove(s->partition, &m->id, "preview", m->results);
    m->state = IMPORT_REMOVED;
    m->removed_ms = clock_now_ms();
    if (e == VRS_OK)
        e = import_put(s->partition, m, false);
    if (e == VRS_OK)
        e = log_sweep(s->partition, m);
    s->removed++;
    return e;
}

enum vrs_err imports_sweep(struct partition *p, int64_t before_ms, uint64_t *removed) {
    struct sweeping s = {.partition = p, .before_ms = before_ms};
    enum vrs_err e = import_walk_all(p, sweep_one, &s);
    *removed = s.removed;
    return e;
}
