#include "partitions/rotate.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "partitions/fields.h"
#include "partitions/rotate_index.h"

enum { LOOK_ROWS = 10 * ROTATE_STEP_ROWS };

static const struct field members[] = {
    FIELD(1, FIELD_I32, struct rotation, what),
    FIELD(2, FIELD_I32, struct rotation, area),
    FIELD(3, FIELD_I32, struct rotation, phase),
    FIELD(4, FIELD_I32, struct rotation, from_key),
    FIELD(5, FIELD_I32, struct rotation, to_key),
    FIELD(6, FIELD_I64, struct rotation, done),
    FIELD(7, FIELD_I64, struct rotation, total),
    FIELD(8, FIELD_I64, struct rotation, changed),
    FIELD(9, FIELD_I64, struct rotation, begun_ms),
    FIELD(10, FIELD_I64, struct rotation, ended_ms),
    FIELD(11, FIELD_TEXT, struct rotation, by),
    FIELD(12, FIELD_I32, struct rotation, pass),
    FIELD(13, FIELD_I32, struct rotation, table),
    FIELD(14, FIELD_I64, struct rotation, found),
    FIELD(15, FIELD_BYTES, struct rotation, after),
    FIELD(16, FIELD_BOOL, struct rotation, inside),
    {0},
};

const char *rotate_phase_name(enum rotate_phase phase) {
    static const char *const names[] = {"", "prepared", "walking", "clean", "done"};
    return names[phase];
}

/* ---- stored */

static void row_id(enum rotate_what what, enum key_area area, struct record_id *out) {
    char text[40];
    uint8_t hash[CRYPTO_HASH_BYTES];
    int n = snprintf(text, sizeof text, "rotation/%d/%d", (int)what, (int)area);
    crypto_sha256(text, (size_t)n, hash);
    memcpy(out->bytes, hash, sizeof out->bytes);
}

static enum vrs_err load(struct partition *p, enum rotate_what what, enum key_area area,
                         struct record *r, struct rotation *out) {
    struct record_id id;
    row_id(what, area, &id);
    memset(out, 0, sizeof *out);
    enum vrs_err e = record_get(p, TABLE_ROTATION, &id, r);
    if (e == ERR_NOT_FOUND)
        r->id = id;
    return e == VRS_OK ? fields_decode(members, &r->text, out) : e;
}

enum vrs_err rotate_get(struct partition *p, enum rotate_what what, enum key_area area,
                        struct rotation *out) {
    struct record r;
    record_init(&r);
    enum vrs_err e = load(p, what, area, &r, out);
    record_fini(&r);
    return e;
}

enum vrs_err rotate_note(struct partition *p, const struct rotation *what) {
    struct record r;
    struct rotation before;
    record_init(&r);
    enum vrs_err e = load(p, what->what, what->area, &r, &before);
    bool absent = e == ERR_NOT_FOUND;
    buffer_clear(&r.text);
    fields_encode(members, what, &r.text);
    if (absent)
        e = record_insert(p, TABLE_ROTATION, &r);
    else if (e == VRS_OK)
        e = record_update(p, TABLE_ROTATION, &r);
    record_fini(&r);
    return e;
}

/* ---- beginning */

static enum key_purpose purpose_of(enum rotate_what what) {
    return what == ROTATE_DATA ? KEY_ENCRYPT : KEY_INDEX;
}

static enum vrs_err count_rows(struct partition *p, enum key_area area, uint64_t *out) {
    *out = 0;
    enum vrs_err e = VRS_OK;
    for (int t = 0; e == VRS_OK && t < STORE_TABLE_COUNT; t++) {
        uint64_t n = 0;
        if (partition_area(p, (enum store_table)t) == area)
            e = partition_engine(p)->count(partition_store(p), (enum store_table)t, UINT32_MAX, &n);
        *out += n;
    }
    return e;
}

enum vrs_err rotate_begin(struct partition *p, enum rotate_what what, enum key_area area,
                          const char *by, struct rotation *out) {
    const struct secret_key *key;
    struct keyring *keys = partition_keys(p);
    if (what == ROTATE_INDEX && area == KEY_LOG)
        return ERR_BAD_FIELD;
    enum vrs_err e = rotate_get(p, what, area, out);
    if ((e == VRS_OK && out->phase != ROTATE_DONE) || (e != VRS_OK && e != ERR_NOT_FOUND))
        return e;
    *out = (struct rotation){
        .what = what, .area = area, .phase = ROTATE_PREPARED, .begun_ms = clock_now_ms()};
    (void)snprintf(out->by, sizeof out->by, "%s", by);
    e = keyring_active(keys, partition_code(p), area, purpose_of(what), &out->from_key, &key);
    if (e == VRS_OK && area != KEY_LOG) {
        uint32_t left;
        e = keyring_previous(keys, partition_code(p), area, purpose_of(what), &left, &key);
        if (e == VRS_OK) { /* an old key that nobody works at any more: finish that first */
            out->to_key = out->from_key;
            out->from_key = left;
            out->phase = ROTATE_WALKING;
        }
        e = e == ERR_NOT_FOUND ? VRS_OK : e;
    }
    if (e == VRS_OK)
        e = count_rows(p, area, &out->total);
    return e == VRS_OK ? rotate_note(p, out) : e;
}

/* ---- walking */

struct looked {
    const struct rotation *r;
    struct {
        struct record_id id;
        bool old;
    } rows[LOOK_ROWS];
    size_t count;
};

static bool names_old_index(const struct store_index index[STORE_INDEXES], uint32_t key_id) {
    for (int n = 0; n < STORE_INDEXES; n++) {
        if (store_index_key(&index[n]) == key_id)
            return true;
    }
    return false;
}

static enum vrs_err look(const struct store_row *row, void *arg) {
    struct looked *l = arg;
    memcpy(l->rows[l->count].id.bytes, row->id, sizeof row->id);
    l->rows[l->count++].old = l->r->what == ROTATE_DATA
                                  ? row->key_id != l->r->to_key
                                  : names_old_index(row->index, l->r->from_key);
    return VRS_OK;
}

static enum vrs_err make_index(struct partition *p, enum store_table t, const struct rotation *r,
                               struct record *row, struct vrs_fault *fault) {
    bool moves;
    enum vrs_err e = rotate_index_make(p, t, r->from_key, row, &moves, fault);
    if (e != VRS_OK || !moves)
        return e == VRS_OK ? record_reseal(p, t, row) : e;
    e = record_remove(p, t, &row->id);
    store_index_row(&row->index[0], false, &row->id);
    return e == VRS_OK ? record_insert(p, t, row) : e;
}

static enum vrs_err renew(struct partition *p, enum store_table t, const struct rotation *r,
                          const struct record_id *id, struct vrs_fault *fault) {
    struct record row;
    record_init(&row);
    enum vrs_err e = record_get(p, t, id, &row);
    if (e == VRS_OK)
        e = r->what == ROTATE_DATA ? record_reseal(p, t, &row) : make_index(p, t, r, &row, fault);
    record_fini(&row);
    if (e != VRS_OK && fault->text[0] == '\0')
        return err_fail(fault, e, "a row of %s in %s", store_table_name(t), partition_code(p));
    return e;
}

static enum vrs_err walk_table(struct partition *p, struct rotation *r, size_t *looked,
                               size_t *changed, struct vrs_fault *fault) {
    struct looked l = {.r = r};
    enum store_table t = (enum store_table)r->table;
    size_t limit = LOOK_ROWS - *looked;
    enum vrs_err e = partition_engine(p)->walk(partition_store(p), t,
                                               r->inside ? r->after.bytes : NULL, limit, look, &l);
    size_t i = 0;
    for (; e == VRS_OK && i < l.count && *changed < ROTATE_STEP_ROWS; i++) {
        if (l.rows[i].old) {
            e = renew(p, t, r, &l.rows[i].id, fault);
            ++*changed;
        }
        r->after = l.rows[i].id;
        r->inside = true;
    }
    *looked += i;
    if (e == VRS_OK && i == l.count && l.count < limit) {
        r->table++;
        r->inside = false;
    }
    return e;
}

static enum vrs_err walk(struct partition *p, struct rotation *r, struct vrs_fault *fault) {
    size_t looked = 0, changed = 0;
    enum vrs_err e = VRS_OK;
    while (e == VRS_OK && r->table < STORE_TABLE_COUNT && looked < LOOK_ROWS &&
           changed < ROTATE_STEP_ROWS) {
        if (partition_area(p, (enum store_table)r->table) == r->area)
            e = walk_table(p, r, &looked, &changed, fault);
        else
            r->table++;
    }
    r->found += changed;
    r->changed += changed;
    if (r->pass == 0)
        r->done += looked;
    if (e != VRS_OK || r->table < STORE_TABLE_COUNT)
        return e;
    if (r->found == 0)
        r->phase = ROTATE_CLEAN;
    r->pass++;
    r->found = 0;
    r->table = 0;
    return VRS_OK;
}

/* ---- steps */

static enum vrs_err prepare(struct partition *p, struct rotation *r, struct vrs_fault *fault) {
    struct keyring *keys = partition_keys(p);
    const struct secret_key *key;
    uint32_t active;
    enum vrs_err e =
        keyring_active(keys, partition_code(p), r->area, purpose_of(r->what), &active, &key);
    if (e == VRS_OK && active == r->from_key) /* else a crash came between the file and this row */
        e = keyring_new_version(keys, partition_code(p), r->area, purpose_of(r->what),
                                r->area == KEY_LOG, &active, fault);
    if (e != VRS_OK)
        return e;
    r->to_key = active;
    r->phase = r->area == KEY_LOG ? ROTATE_DONE : ROTATE_WALKING;
    return VRS_OK;
}

enum vrs_err rotate_step(struct partition *p, struct rotation *r, struct vrs_fault *fault) {
    enum vrs_err e = VRS_OK;
    memset(fault, 0, sizeof *fault);
    if (r->phase == ROTATE_PREPARED) {
        e = prepare(p, r, fault);
    } else if (r->phase == ROTATE_WALKING) {
        e = walk(p, r, fault);
    } else if (r->phase == ROTATE_CLEAN) { /* stored in an earlier transaction */
        e = keyring_destroy(partition_keys(p), partition_code(p), r->from_key, fault);
        if (e == VRS_OK)
            r->phase = ROTATE_DONE;
    } else {
        return VRS_OK;
    }
    if (e == VRS_OK && r->phase == ROTATE_DONE)
        r->ended_ms = clock_now_ms();
    return e == VRS_OK ? rotate_note(p, r) : e;
}
