/* The embedded engine: one SQLite file a partition, one physical table a logical one.
 *
 * A table is made by its first insert, inside that transaction: an empty partition is a few pages
 * and its schema costs little memory in each of a thousand open handles.  Rows live in a rowid
 * table with an index on the id, not WITHOUT ROWID: with random ids and sealed blobs of 300 to
 * 1,200 bytes that was measured 1.4 to 1.7 times faster to insert into, 1.2 to 3 times smaller, and
 * faster to read.  Where each row has an order of its own, that is the rowid: no tree for it, and none
 * for an id that says the same.  Files made before that have those trees; the statements suit both.
 * Statements are prepared on first use and kept.
 *
 * Invariants I1–I4 are those of store.h.  I3: `failed` is set by the first storage error of a
 * transaction and only rollback or commit clear it; an answer about data (ERR_CONFLICT,
 * ERR_NOT_FOUND, ERR_STALE_VERSION) is not a failure. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/sqlite_file.h"
#include "partitions/store.h"

enum op {
    OP_GET,
    OP_FIND, /* and three more: one an index column */
    OP_SCAN = OP_FIND + STORE_INDEXES,
    OP_SCAN_ANY,
    OP_WALK,
    OP_WALK_ALL,
    OP_INSERT,
    OP_UPDATE,
    OP_REMOVE,
    OP_MAX_ORDER,
    OP_COUNT,
    OP_COUNT_ANY,
    OP_COUNT_OF
};

enum fixed { FIXED_SAVEPOINT, FIXED_RELEASE, FIXED_UNDO, FIXED_META_GET, FIXED_META_SET, FIXED_OF };

static const char *const fixed_sql[FIXED_OF] = {
    [FIXED_SAVEPOINT] = "SAVEPOINT job",
    [FIXED_RELEASE] = "RELEASE job",
    [FIXED_UNDO] = "ROLLBACK TO job",
    [FIXED_META_GET] = "SELECT value FROM meta WHERE name=?1",
    [FIXED_META_SET] = ("INSERT INTO meta(name,value) VALUES(?1,?2)"
                        " ON CONFLICT(name) DO UPDATE SET value=excluded.value"),
};

struct store {
    struct sqlite_file *file;
    bool in_transaction;
    unsigned savepoints; /* how deep */
    bool made_table;     /* in this transaction: an undo takes it back */
    enum vrs_err failed;
    uint32_t tables;        /* bit: the physical table is there */
    sqlite3_stmt *row_stmt; /* holds the row that `get` lent out */
    struct vrs_fault fault;
    sqlite3_stmt *fixed[FIXED_OF];
    sqlite3_stmt *ops[STORE_TABLE_COUNT][OP_COUNT_OF];
};
_Static_assert(STORE_TABLE_COUNT <= 32, "struct store.tables is a mask");

/* Index columns that are looked up, and whether rows are asked for by state.  A find by another
 * column is right but reads the whole table. */
static const struct {
    unsigned unique;
    unsigned found;
    bool by_state;
} shapes[STORE_TABLE_COUNT] = {
#define X(sym, name, mask) [sym].unique = (mask),
    STORE_TABLES(X)
#undef X
        [TABLE_PERSON]
            .found = 0x3,
    [TABLE_PERSON_HISTORY].found = 0x1,
    [TABLE_COUPON].found = 0x3,
    [TABLE_NUMBER_LINK].found = 0x1,
    [TABLE_CLAIM].found = 0xd,
    [TABLE_CLAIM].by_state = true,
    [TABLE_CLAIM_HISTORY].found = 0x1,
    [TABLE_INQUIRY].found = 0x1,
    [TABLE_INQUIRY].by_state = true,
    [TABLE_HELD].found = 0x1,
    [TABLE_HELD].by_state = true,
    [TABLE_PROVISION].found = 0x1,
    [TABLE_LOG].found = 0x1,
    [TABLE_LOG_SUBJECT].found = 0x1,
    [TABLE_IMPORT].found = 0x3,
    [TABLE_IMPORT].by_state = true,
    [TABLE_IMPORT_PART].found = 0x1,
    [TABLE_ACCOUNT].found = 0x1,
    [TABLE_APPLICATION].found = 0x1,
    [TABLE_APPLICATION].by_state = true,
    [TABLE_TERMINAL].found = 0x1,
    [TABLE_SETTING].found = 0x1,
    [TABLE_NUMBER].found = 0x1,
    [TABLE_OUTCOME_UNSENT].found = 0x1,
    [TABLE_LOG_TILE].by_state = true,
    [TABLE_REQUEST].found = 0x1,
    [TABLE_REQUEST].by_state = true,
    [TABLE_ERASURE].found = 0x1,
    [TABLE_ALERT].found = 0x1,
    [TABLE_ALERT].by_state = true,
    [TABLE_ENROLMENT].found = 0x1,
};

static const struct sqlite_step steps[] = {
    {.sql = "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"},
};
static const struct sqlite_schema schema = {
    .application_id = 0x56525331, /* "VRS1" */
    .steps = steps,
    .count = sizeof steps / sizeof steps[0],
};

#define COLUMNS "id,version,generation,key_id,state,ord,i0,i1,i2,i3,blob"
enum column {
    COLUMN_ID,
    COLUMN_VERSION,
    COLUMN_GENERATION,
    COLUMN_KEY,
    COLUMN_STATE,
    COLUMN_ORDER,
    COLUMN_INDEX,
    COLUMN_BLOB = COLUMN_INDEX + STORE_INDEXES,
};

/* ---- failures and statements */

static enum vrs_err failing(struct store *s, int rc, const char *doing) {
    enum vrs_err e = sqlite_file_result(s->file, rc, doing, &s->fault);
    if (e != VRS_OK && e != ERR_CONFLICT && s->failed == VRS_OK)
        s->failed = e;
    return e;
}

/* Ends the loan of a row; first in every call. */
static enum vrs_err enter(struct store *s) {
    assert(s->in_transaction);
    if (s->row_stmt != NULL) {
        (void)sqlite3_reset(s->row_stmt);
        (void)sqlite3_clear_bindings(s->row_stmt);
        s->row_stmt = NULL;
    }
    return s->failed;
}

/* Bound values are borrowed; unbinding leaves no pointer to them, nor a copy. */
static void put_back(sqlite3_stmt *stmt) {
    (void)sqlite3_reset(stmt);
    (void)sqlite3_clear_bindings(stmt);
}

static void drop_statements(struct store *s) {
    for (int i = 0; i < FIXED_OF; i++) {
        (void)sqlite3_finalize(s->fixed[i]);
        s->fixed[i] = NULL;
    }
    for (int t = 0; t < STORE_TABLE_COUNT; t++) {
        for (int i = 0; i < OP_COUNT_OF; i++) {
            (void)sqlite3_finalize(s->ops[t][i]);
            s->ops[t][i] = NULL;
        }
    }
    s->row_stmt = NULL;
}

static enum vrs_err prepare(struct store *s, const char *sql, sqlite3_stmt **slot) {
    if (*slot != NULL)
        return VRS_OK;
    int rc =
        sqlite3_prepare_v3(sqlite_file_db(s->file), sql, -1, SQLITE_PREPARE_PERSISTENT, slot, NULL);
    return rc == SQLITE_OK ? VRS_OK : failing(s, rc, "prepare");
}

static bool ordered(enum store_table t) {
    return (shapes[t].unique & STORE_ORDERED) != 0;
}

/* An update of such a row, which there is none of, would be right but read the whole table. */
static bool numbered(enum store_table t) {
    return (shapes[t].unique & STORE_NUMBERED) == STORE_NUMBERED;
}

static int64_t order_in(const uint8_t *id) {
    uint64_t order = 0;
    for (int i = STORE_ID_BYTES - 8; i < STORE_ID_BYTES; i++)
        order = order << 8 | id[i];
    return (int64_t)order;
}

static int bind_id(sqlite3_stmt *stmt, enum store_table t, const uint8_t *id) {
    int rc = sqlite3_bind_blob(stmt, 1, id, STORE_ID_BYTES, SQLITE_STATIC);
    return rc == SQLITE_OK && numbered(t) ? sqlite3_bind_int64(stmt, 2, order_in(id)) : rc;
}

/* The first %s is the table, the second what else tells the place of an id; the index column of a
 * find is put in by hand. */
static const char *const op_sql[OP_COUNT_OF] = {
    [OP_GET] = "SELECT " COLUMNS " FROM \"%s\" WHERE id=?1%s",
    [OP_FIND] = "SELECT " COLUMNS " FROM \"%s\" WHERE i0=?1 ORDER BY ord,id",
    [OP_FIND + 1] = "SELECT " COLUMNS " FROM \"%s\" WHERE i1=?1 ORDER BY ord,id",
    [OP_FIND + 2] = "SELECT " COLUMNS " FROM \"%s\" WHERE i2=?1 ORDER BY ord,id",
    [OP_FIND + 3] = "SELECT " COLUMNS " FROM \"%s\" WHERE i3=?1 ORDER BY ord,id",
    [OP_SCAN] = "SELECT " COLUMNS " FROM \"%s\" WHERE state=?3 AND ord>?1 ORDER BY ord LIMIT ?2",
    /* The first bound is where it begins; the other is what the partial index asks for. */
    [OP_SCAN_ANY] = "SELECT " COLUMNS " FROM \"%s\" WHERE ord>?1 AND ord>0 ORDER BY ord LIMIT ?2",
    [OP_WALK] = "SELECT " COLUMNS " FROM \"%s\" WHERE id>?1 ORDER BY id LIMIT ?2",
    [OP_WALK_ALL] = "SELECT " COLUMNS " FROM \"%s\" ORDER BY id LIMIT ?2",
    [OP_INSERT] = "INSERT INTO \"%s\"(" COLUMNS ") VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
    [OP_UPDATE] = ("UPDATE \"%s\" SET version=?2,generation=?3,key_id=?4,state=?5,ord=?6,i0=?7,"
                   "i1=?8,i2=?9,i3=?10,blob=?11 WHERE id=?1 AND version=?12 AND generation=?13"),
    [OP_REMOVE] = "DELETE FROM \"%s\" WHERE id=?1%s",
    [OP_MAX_ORDER] = "SELECT max(ord) FROM \"%s\" WHERE ord>0",
    [OP_COUNT] = "SELECT count(*) FROM \"%s\" WHERE state=?1",
    [OP_COUNT_ANY] = "SELECT count(*) FROM \"%s\"",
};

static enum vrs_err statement(struct store *s, enum store_table t, int op, sqlite3_stmt **out) {
    sqlite3_stmt **slot = &s->ops[t][op];
    if (*slot == NULL) {
        char sql[320];
        int n = snprintf(sql, sizeof sql, op_sql[op], store_table_name(t),
                         numbered(t) ? " AND ord=?2" : "");
        assert(n > 0 && (size_t)n < sizeof sql);
        enum vrs_err e = prepare(s, sql, slot);
        if (e != VRS_OK)
            return e;
    }
    *out = *slot;
    return VRS_OK;
}

static bool has_table(const struct store *s, enum store_table t) {
    return (s->tables >> t & 1) != 0;
}

static int read_tables(struct store *s) {
    sqlite3_stmt *stmt = NULL;
    s->tables = 0;
    int rc =
        sqlite3_prepare_v2(sqlite_file_db(s->file),
                           "SELECT name FROM sqlite_schema WHERE type='table'", -1, &stmt, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(stmt, 0);
        for (unsigned t = 0; name != NULL && t < STORE_TABLE_COUNT; t++) {
            if (strcmp(name, store_table_name((enum store_table)t)) == 0)
                s->tables |= 1U << t;
        }
        rc = SQLITE_OK;
    }
    int end = sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? end : rc;
}

static enum vrs_err make_table(struct store *s, enum store_table t) {
    const char *name = store_table_name(t);
    /* An index on a rowid table ends with the rowid by itself. */
    const char *then_order = ordered(t) ? "" : ",ord";
    char sql[400];
    (void)snprintf(sql, sizeof sql,
                   "CREATE TABLE \"%s\"(id BLOB NOT NULL%s,version INTEGER NOT NULL,"
                   "generation INTEGER NOT NULL,key_id INTEGER NOT NULL,state INTEGER NOT NULL,"
                   "ord INTEGER %s,i0 BLOB,i1 BLOB,i2 BLOB,i3 BLOB,blob BLOB NOT NULL)",
                   name, numbered(t) ? "" : " UNIQUE", ordered(t) ? "PRIMARY KEY" : "NOT NULL");
    s->made_table = true;
    enum vrs_err e = sqlite_file_exec(s->file, sql, &s->fault);
    for (int n = 0; e == VRS_OK && n < STORE_INDEXES; n++) {
        bool unique = (shapes[t].unique >> n & 1) != 0;
        if (!unique && !(shapes[t].found >> n & 1))
            continue;
        (void)snprintf(sql, sizeof sql,
                       "CREATE %s INDEX \"%s_%d\" ON \"%s\"(i%d%s) WHERE i%d NOT NULL",
                       unique ? "UNIQUE" : "", name, n, name, n, unique ? "" : then_order, n);
        e = sqlite_file_exec(s->file, sql, &s->fault);
    }
    if (e == VRS_OK && !ordered(t)) {
        (void)snprintf(sql, sizeof sql, "CREATE INDEX \"%s_order\" ON \"%s\"(ord) WHERE ord>0",
                       name, name);
        e = sqlite_file_exec(s->file, sql, &s->fault);
    }
    if (e == VRS_OK && shapes[t].by_state) {
        (void)snprintf(sql, sizeof sql, "CREATE INDEX \"%s_state\" ON \"%s\"(state%s)", name, name,
                       then_order);
        e = sqlite_file_exec(s->file, sql, &s->fault);
    }
    if (e == VRS_OK)
        s->tables |= 1U << t;
    else
        s->failed = e;
    return e;
}

/* ---- rows */

static int bind_row(sqlite3_stmt *stmt, const struct store_row *row) {
    int rc = sqlite3_bind_blob(stmt, COLUMN_ID + 1, row->id, STORE_ID_BYTES, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, COLUMN_VERSION + 1, (int64_t)row->version);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, COLUMN_GENERATION + 1, row->generation);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, COLUMN_KEY + 1, row->key_id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, COLUMN_STATE + 1, row->state);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, COLUMN_ORDER + 1, (int64_t)row->order);
    for (int n = 0; rc == SQLITE_OK && n < STORE_INDEXES; n++) {
        if (row->index[n].len > 0)
            rc = sqlite3_bind_blob(stmt, COLUMN_INDEX + n + 1, row->index[n].bytes,
                                   row->index[n].len, SQLITE_STATIC);
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob64(stmt, COLUMN_BLOB + 1,
                                 row->blob_len > 0 ? row->blob : (const uint8_t *)"", row->blob_len,
                                 SQLITE_STATIC);
    return rc;
}

static bool read_row(sqlite3_stmt *stmt, struct store_row *row) {
    *row = (struct store_row){0};
    const void *id = sqlite3_column_blob(stmt, COLUMN_ID);
    if (sqlite3_column_bytes(stmt, COLUMN_ID) != STORE_ID_BYTES)
        return false;
    memcpy(row->id, id, STORE_ID_BYTES);
    row->version = (uint64_t)sqlite3_column_int64(stmt, COLUMN_VERSION);
    row->generation = (uint32_t)sqlite3_column_int64(stmt, COLUMN_GENERATION);
    row->key_id = (uint32_t)sqlite3_column_int64(stmt, COLUMN_KEY);
    row->state = (uint32_t)sqlite3_column_int64(stmt, COLUMN_STATE);
    row->order = (uint64_t)sqlite3_column_int64(stmt, COLUMN_ORDER);
    for (int n = 0; n < STORE_INDEXES; n++) {
        const void *bytes = sqlite3_column_blob(stmt, COLUMN_INDEX + n);
        int len = sqlite3_column_bytes(stmt, COLUMN_INDEX + n);
        if (len < 0 || len > STORE_INDEX_MAX)
            return false;
        row->index[n].len = (uint8_t)len;
        if (len > 0)
            memcpy(row->index[n].bytes, bytes, (size_t)len);
    }
    row->blob = sqlite3_column_blob(stmt, COLUMN_BLOB);
    row->blob_len = (size_t)sqlite3_column_bytes(stmt, COLUMN_BLOB);
    return true;
}

static enum vrs_err malformed(struct store *s, enum store_table t) {
    s->failed = err_fail(&s->fault, ERR_CORRUPT, "row of %s", store_table_name(t));
    return s->failed;
}

/* Steps through the bound statement, lending each row to fn, and puts it back. */
static enum vrs_err lend_rows(struct store *s, enum store_table t, sqlite3_stmt *stmt,
                              store_row_fn *fn, void *arg) {
    enum vrs_err e = VRS_OK;
    int rc;
    while (e == VRS_OK && (rc = sqlite3_step(stmt)) != SQLITE_DONE) {
        struct store_row row;
        if (rc != SQLITE_ROW)
            e = failing(s, rc, "read");
        else if (!read_row(stmt, &row))
            e = malformed(s, t);
        else
            e = fn(&row, arg);
    }
    put_back(stmt);
    return e;
}

static enum vrs_err sq_get(struct store *s, enum store_table t, const uint8_t *id,
                           struct store_row *out) {
    enum vrs_err e = enter(s);
    if (e == VRS_OK && !has_table(s, t))
        e = ERR_NOT_FOUND;
    sqlite3_stmt *stmt;
    if (e != VRS_OK || (e = statement(s, t, OP_GET, &stmt)) != VRS_OK)
        return e;
    int rc = bind_id(stmt, t, id);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        s->row_stmt = stmt;
        return read_row(stmt, out) ? VRS_OK : malformed(s, t);
    }
    put_back(stmt);
    return rc == SQLITE_DONE ? ERR_NOT_FOUND : failing(s, rc, "get");
}

static enum vrs_err sq_find(struct store *s, enum store_table t, int n,
                            const struct store_index *value, store_row_fn *fn, void *arg) {
    assert(n >= 0 && n < STORE_INDEXES);
    enum vrs_err e = enter(s);
    if (e != VRS_OK || !has_table(s, t) || value->len == 0)
        return e;
    sqlite3_stmt *stmt;
    if ((e = statement(s, t, OP_FIND + n, &stmt)) != VRS_OK)
        return e;
    int rc = sqlite3_bind_blob(stmt, 1, value->bytes, value->len, SQLITE_STATIC);
    if (rc != SQLITE_OK)
        return failing(s, rc, "bind");
    return lend_rows(s, t, stmt, fn, arg);
}

static int64_t clamp(uint64_t v) {
    return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

static enum vrs_err sq_scan(struct store *s, enum store_table t, uint32_t state, uint64_t after,
                            uint64_t limit, store_row_fn *fn, void *arg) {
    enum vrs_err e = enter(s);
    if (e != VRS_OK || !has_table(s, t))
        return e;
    sqlite3_stmt *stmt;
    if ((e = statement(s, t, state == UINT32_MAX ? OP_SCAN_ANY : OP_SCAN, &stmt)) != VRS_OK)
        return e;
    int rc = sqlite3_bind_int64(stmt, 1, clamp(after));
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, 2, clamp(limit));
    if (rc == SQLITE_OK && state != UINT32_MAX)
        rc = sqlite3_bind_int64(stmt, 3, state);
    if (rc != SQLITE_OK)
        return failing(s, rc, "bind");
    return lend_rows(s, t, stmt, fn, arg);
}

static enum vrs_err sq_walk(struct store *s, enum store_table t, const uint8_t *after,
                            uint64_t limit, store_row_fn *fn, void *arg) {
    enum vrs_err e = enter(s);
    if (e != VRS_OK || !has_table(s, t))
        return e;
    if (numbered(t)) /* its ids are in the order of their numbers */
        return sq_scan(s, t, UINT32_MAX, after != NULL ? (uint64_t)order_in(after) : 0, limit, fn,
                       arg);
    sqlite3_stmt *stmt;
    if ((e = statement(s, t, after == NULL ? OP_WALK_ALL : OP_WALK, &stmt)) != VRS_OK)
        return e;
    int rc = sqlite3_bind_int64(stmt, 2, clamp(limit));
    if (rc == SQLITE_OK && after != NULL)
        rc = sqlite3_bind_blob(stmt, 1, after, STORE_ID_BYTES, SQLITE_STATIC);
    if (rc != SQLITE_OK)
        return failing(s, rc, "bind");
    return lend_rows(s, t, stmt, fn, arg);
}

/* Steps a writing statement to its end; *changed rows. */
static enum vrs_err run_write(struct store *s, sqlite3_stmt *stmt, int rc, const char *doing,
                              int *changed) {
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    *changed = rc == SQLITE_DONE ? sqlite3_changes(sqlite_file_db(s->file)) : 0;
    put_back(stmt);
    return rc == SQLITE_DONE ? VRS_OK : failing(s, rc, doing);
}

static enum vrs_err sq_insert(struct store *s, enum store_table t, const struct store_row *row) {
    assert(row->version <= INT64_MAX && row->order <= INT64_MAX);
    assert(!ordered(t) || row->order > 0);
    assert(!numbered(t) || (int64_t)row->order == order_in(row->id));
    enum vrs_err e = enter(s);
    if (e == VRS_OK && !has_table(s, t))
        e = make_table(s, t);
    sqlite3_stmt *stmt;
    if (e != VRS_OK || (e = statement(s, t, OP_INSERT, &stmt)) != VRS_OK)
        return e;
    int changed;
    return run_write(s, stmt, bind_row(stmt, row), "insert", &changed);
}

static enum vrs_err sq_update(struct store *s, enum store_table t, const struct store_row *row,
                              uint64_t old_version, uint32_t old_generation) {
    assert(row->version <= INT64_MAX && row->order <= INT64_MAX);
    enum vrs_err e = enter(s);
    if (e == VRS_OK && !has_table(s, t))
        e = ERR_STALE_VERSION;
    sqlite3_stmt *stmt;
    if (e != VRS_OK || (e = statement(s, t, OP_UPDATE, &stmt)) != VRS_OK)
        return e;
    int rc = bind_row(stmt, row);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, 12, clamp(old_version));
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, 13, old_generation);
    int changed;
    e = run_write(s, stmt, rc, "update", &changed);
    return e == VRS_OK && changed != 1 ? ERR_STALE_VERSION : e;
}

static enum vrs_err sq_remove(struct store *s, enum store_table t, const uint8_t *id) {
    enum vrs_err e = enter(s);
    if (e == VRS_OK && !has_table(s, t))
        e = ERR_NOT_FOUND;
    sqlite3_stmt *stmt;
    if (e != VRS_OK || (e = statement(s, t, OP_REMOVE, &stmt)) != VRS_OK)
        return e;
    int changed;
    e = run_write(s, stmt, bind_id(stmt, t, id), "remove", &changed);
    return e == VRS_OK && changed != 1 ? ERR_NOT_FOUND : e;
}

static enum vrs_err read_number(struct store *s, enum store_table t, int op, int64_t state,
                                uint64_t *out) {
    *out = 0;
    enum vrs_err e = enter(s);
    if (e != VRS_OK || !has_table(s, t))
        return e;
    sqlite3_stmt *stmt;
    if ((e = statement(s, t, op, &stmt)) != VRS_OK)
        return e;
    int rc = op == OP_COUNT ? sqlite3_bind_int64(stmt, 1, state) : SQLITE_OK;
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *out = (uint64_t)sqlite3_column_int64(stmt, 0);
    put_back(stmt);
    return rc == SQLITE_ROW ? VRS_OK : failing(s, rc, "count");
}

static enum vrs_err sq_max_order(struct store *s, enum store_table t, uint64_t *out) {
    return read_number(s, t, OP_MAX_ORDER, 0, out);
}

static enum vrs_err sq_count(struct store *s, enum store_table t, uint32_t state, uint64_t *out) {
    return read_number(s, t, state == UINT32_MAX ? OP_COUNT_ANY : OP_COUNT, state, out);
}

static enum vrs_err sq_meta_get(struct store *s, const char *name, char *out, size_t cap) {
    enum vrs_err e = enter(s);
    if (e == VRS_OK && strcmp(name, "schema") == 0)
        return (size_t)snprintf(out, cap, "%zu", schema.count) < cap ? VRS_OK : ERR_TOO_LARGE;
    sqlite3_stmt **slot = &s->fixed[FIXED_META_GET];
    if (e != VRS_OK || (e = prepare(s, fixed_sql[FIXED_META_GET], slot)) != VRS_OK)
        return e;
    int rc = sqlite3_bind_text(*slot, 1, name, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(*slot);
    if (rc == SQLITE_ROW) {
        const char *value = (const char *)sqlite3_column_text(*slot, 0);
        int n = snprintf(out, cap, "%s", value == NULL ? "" : value);
        e = n >= 0 && (size_t)n < cap ? VRS_OK : ERR_TOO_LARGE;
    } else {
        e = rc == SQLITE_DONE ? ERR_NOT_FOUND : failing(s, rc, "meta");
    }
    put_back(*slot);
    return e;
}

static enum vrs_err sq_meta_set(struct store *s, const char *name, const char *value) {
    enum vrs_err e = enter(s);
    sqlite3_stmt **slot = &s->fixed[FIXED_META_SET];
    if (e != VRS_OK || (e = prepare(s, fixed_sql[FIXED_META_SET], slot)) != VRS_OK)
        return e;
    int rc = sqlite3_bind_text(*slot, 1, name, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(*slot, 2, value, -1, SQLITE_STATIC);
    int changed;
    return run_write(s, *slot, rc, "meta", &changed);
}

/* ---- transactions */

static enum vrs_err run_fixed(struct store *s, enum fixed which) {
    enum vrs_err e = prepare(s, fixed_sql[which], &s->fixed[which]);
    if (e != VRS_OK)
        return e;
    int rc = sqlite3_step(s->fixed[which]);
    (void)sqlite3_reset(s->fixed[which]);
    return rc == SQLITE_DONE ? VRS_OK : failing(s, rc, fixed_sql[which]);
}

static void end_transaction(struct store *s, bool undone) {
    s->in_transaction = false;
    s->savepoints = 0;
    s->failed = VRS_OK;
    if (undone && s->made_table && sqlite_file_db(s->file) != NULL && read_tables(s) != SQLITE_OK)
        s->tables = 0; /* the next insert finds out */
    s->made_table = false;
}

static enum vrs_err sq_begin(struct store *s) {
    assert(!s->in_transaction);
    enum vrs_err e = sqlite_file_begin(s->file, &s->fault);
    s->in_transaction = e == VRS_OK;
    return e;
}

static void sq_rollback(struct store *s) {
    if (!s->in_transaction)
        return;
    (void)enter(s);
    sqlite_file_rollback(s->file);
    end_transaction(s, true);
}

static enum vrs_err sq_commit(struct store *s) {
    enum vrs_err e = enter(s);
    if (e != VRS_OK) { /* I3 */
        sq_rollback(s);
        return e == ERR_CORRUPT ? e : ERR_STORAGE;
    }
    e = sqlite_file_commit(s->file, &s->fault);
    end_transaction(s, e != VRS_OK);
    return e;
}

static enum vrs_err sq_savepoint(struct store *s) {
    enum vrs_err e = enter(s);
    if (e == VRS_OK)
        e = run_fixed(s, FIXED_SAVEPOINT);
    s->savepoints += e == VRS_OK;
    return e;
}

static enum vrs_err sq_release(struct store *s) {
    assert(s->savepoints > 0);
    enum vrs_err e = enter(s);
    s->savepoints--;
    return e != VRS_OK ? e : run_fixed(s, FIXED_RELEASE);
}

static enum vrs_err sq_rollback_to(struct store *s) {
    assert(s->savepoints > 0);
    enum vrs_err e = enter(s);
    s->savepoints--;
    if (e == VRS_OK)
        e = run_fixed(s, FIXED_UNDO);
    if (e == VRS_OK)
        e = run_fixed(s, FIXED_RELEASE);
    if (e == VRS_OK && s->made_table) {
        int rc = read_tables(s);
        if (rc != SQLITE_OK)
            e = failing(s, rc, "tables");
    }
    return e;
}

/* ---- the file */

static void sq_close(struct store **s) {
    if (*s == NULL)
        return;
    sq_rollback(*s);
    drop_statements(*s);
    sqlite_file_close(&(*s)->file);
    free(*s);
    *s = NULL;
}

static enum vrs_err sq_open(const char *location, unsigned flags, struct store **out,
                            struct vrs_fault *fault) {
    *out = NULL;
    struct store *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_fail(fault, ERR_MEMORY, "open %s", location);
    unsigned how = (flags & STORE_CREATE ? SQLITE_FILE_CREATE : 0U) |
                   (flags & STORE_READ_ONLY_TOOL ? SQLITE_FILE_READ_ONLY : 0U);
    enum vrs_err e = sqlite_file_open(location, how, &schema, &s->file, fault);
    if (e == VRS_OK) {
        int rc = read_tables(s);
        if (rc != SQLITE_OK)
            e = sqlite_file_result(s->file, rc, "tables", fault);
    }
    if (e != VRS_OK) {
        sq_close(&s);
        return e;
    }
    *out = s;
    return VRS_OK;
}

static bool sq_needs_recovery(const struct store *s) {
    return sqlite_file_suspect(s->file);
}

static enum vrs_err sq_recover(struct store *s, struct vrs_fault *fault) {
    assert(!s->in_transaction);
    drop_statements(s);
    enum vrs_err e = sqlite_file_recover(s->file, fault);
    if (e == VRS_OK) {
        int rc = read_tables(s);
        if (rc != SQLITE_OK)
            e = sqlite_file_result(s->file, rc, "tables", fault);
    }
    return e;
}

static enum vrs_err sq_backup(struct store *s, const char *path, struct vrs_fault *fault) {
    assert(!s->in_transaction);
    if (sqlite_file_suspect(s->file))
        return err_fail(fault, ERR_STORAGE, "recovery comes first");
    return sqlite_file_backup(s->file, path, fault);
}

static enum vrs_err sq_rewrite(struct store *s, const char *path, struct vrs_fault *fault) {
    assert(!s->in_transaction);
    if (sqlite_file_suspect(s->file))
        return err_fail(fault, ERR_STORAGE, "recovery comes first");
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_fail(fault, errno == EEXIST ? ERR_CONFLICT : ERR_STORAGE, "create %s", path);
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", path);
    (void)sqlite3_limit(sqlite_file_db(s->file), SQLITE_LIMIT_ATTACHED, 1); /* the new file */
    enum vrs_err e = sql == NULL ? ERR_MEMORY : sqlite_file_exec(s->file, sql, fault);
    (void)sqlite3_limit(sqlite_file_db(s->file), SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_free(sql);
    if (e == VRS_OK && fsync(fd) != 0)
        e = err_fail(fault, ERR_STORAGE, "sync %s", path);
    (void)close(fd);
    if (e != VRS_OK)
        (void)unlink(path);
    return e;
}

static enum vrs_err sq_describe(struct store *s, struct buffer *out) {
    if (sqlite_file_db(s->file) == NULL)
        return ERR_STORAGE;
    (void)buffer_printf(out, "engine=sqlite\nschema=%zu\n", schema.count);
    return sqlite_file_describe(s->file, out);
}

static void sq_last_fault(const struct store *s, struct vrs_fault *out) {
    *out = s->fault;
}

static void sq_favour(struct store *s, bool on) {
    sqlite_file_favour(s->file, on);
}

static void sq_tidy(struct store *s) {
    sqlite_file_tidy(s->file);
}

static void sq_rest(struct store *s) {
    assert(!s->in_transaction);
    if (sqlite_file_rest(s->file))
        drop_statements(s);
}

const struct store_engine store_sqlite = {
    .name = "sqlite",
    .open = sq_open,
    .close = sq_close,
    .begin = sq_begin,
    .savepoint = sq_savepoint,
    .release = sq_release,
    .rollback_to = sq_rollback_to,
    .commit = sq_commit,
    .rollback = sq_rollback,
    .recover = sq_recover,
    .needs_recovery = sq_needs_recovery,
    .get = sq_get,
    .find = sq_find,
    .scan = sq_scan,
    .walk = sq_walk,
    .insert = sq_insert,
    .update = sq_update,
    .remove = sq_remove,
    .max_order = sq_max_order,
    .count = sq_count,
    .meta_get = sq_meta_get,
    .meta_set = sq_meta_set,
    .backup = sq_backup,
    .rewrite = sq_rewrite,
    .describe = sq_describe,
    .last_fault = sq_last_fault,
    .favour = sq_favour,
    .tidy = sq_tidy,
    .rest = sq_rest,
};
