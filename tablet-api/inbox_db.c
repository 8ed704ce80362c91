#include "tablet-api/inbox_db.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/sqlite_file.h"

enum { CHECKPOINT_PAGES = 4000 /* 16 MiB of journal, then it is moved into the file */ };

enum statement {
    ST_INSERT,
    ST_BY_KEY,
    ST_BY_RECEIPT,
    ST_SETTLE,
    ST_MOVE,
    ST_PROVE,
    ST_PENDING,
    ST_REPLAY,
    ST_COUNT,
    ST_OLDEST,
    ST_PURGE,
    ST_META_SET,
    ST_PUBLISHED,
    ST_PUBLISH,
    STATEMENTS
};

#define FOUND                                                                                      \
    "seq, kind, outcome, received_ms, receipt, municipality, terminal, dose_id, warnings, "        \
    "body_mac, proof"
#define SETTLE                                                                                     \
    "UPDATE entry SET outcome = ?2, dose_id = coalesce(?3, dose_id), warnings = ?4,"               \
    " settled_ms = ?5, proof = ?6 WHERE receipt = ?1 AND "
#define ENTRY "seq, epoch, kind, receipt, municipality, received_ms, sealed"

static const char *const sql[STATEMENTS] = {
    [ST_INSERT] = "INSERT INTO entry (seq, epoch, kind, receipt, municipality, received_ms,"
                  " terminal, key_hash, body_mac, sealed) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"
                  " ON CONFLICT (key_hash) WHERE key_hash IS NOT NULL DO NOTHING",
    [ST_BY_KEY] = "SELECT " FOUND " FROM entry WHERE key_hash = ?1",
    [ST_BY_RECEIPT] = "SELECT " FOUND " FROM entry WHERE receipt = ?1",
    /* I5, in the numbers of enum line_outcome: 0 pending, 3 waiting, 6 cancelled. */
    [ST_SETTLE] = SETTLE "outcome = 0",
    [ST_MOVE] = SETTLE "((outcome = 3 AND ?2 <> 3) OR (outcome NOT IN (0, 6) AND ?2 = 6))",
    [ST_PROVE] =
        "UPDATE entry SET proof = ?3 WHERE receipt = ?1 AND outcome = ?2 AND proof IS NULL",
    [ST_PENDING] = "SELECT " ENTRY " FROM entry INDEXED BY entry_pending"
                   " WHERE outcome = 0 AND seq > ?1 ORDER BY seq LIMIT ?2",
    [ST_REPLAY] = "SELECT " ENTRY " FROM entry WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    [ST_COUNT] = "SELECT count(*) FROM entry INDEXED BY entry_pending WHERE outcome = 0",
    [ST_OLDEST] = "SELECT received_ms FROM entry INDEXED BY entry_pending"
                  " WHERE outcome = 0 ORDER BY seq LIMIT 1",
    /* Entries come in the order of time: what stands before the first young one is old. */
    [ST_PURGE] = "DELETE FROM entry WHERE seq IN (SELECT seq FROM entry WHERE seq < coalesce("
                 "(SELECT seq FROM entry WHERE received_ms >= ?1 ORDER BY seq LIMIT 1),"
                 " 9223372036854775807) AND outcome NOT IN (0, 3) ORDER BY seq LIMIT ?2)",
    [ST_META_SET] = "INSERT INTO meta (name, value) VALUES (?1, ?2)"
                    " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    [ST_PUBLISHED] = "SELECT text, signature FROM published WHERE id = 1",
    [ST_PUBLISH] = "INSERT INTO published (id, version, text, signature) VALUES (1, ?1, ?2, ?3)"
                   " ON CONFLICT (id) DO UPDATE SET version = excluded.version,"
                   " text = excluded.text, signature = excluded.signature"
                   " WHERE excluded.version > version",
};

static const char tables[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE entry ("
    " seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, outcome INTEGER NOT NULL DEFAULT 0,"
    " received_ms INTEGER NOT NULL, municipality TEXT NOT NULL, terminal TEXT NOT NULL,"
    " receipt BLOB NOT NULL, epoch INTEGER NOT NULL, key_hash BLOB, body_mac BLOB, dose_id TEXT,"
    " warnings TEXT, settled_ms INTEGER, sealed BLOB NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX entry_receipt ON entry (receipt);"
    "CREATE UNIQUE INDEX entry_key ON entry (key_hash) WHERE key_hash IS NOT NULL;"
    "CREATE INDEX entry_pending ON entry (seq) WHERE outcome = 0;"
    "CREATE TABLE published (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL,"
    " text BLOB NOT NULL, signature BLOB NOT NULL) STRICT;";

static enum vrs_err new_epoch(struct sqlite3 *sq) {
    char text[128];
    (void)snprintf(text, sizeof text,
                   "INSERT INTO meta VALUES ('epoch', '%" PRId64 "'), ('next_seq', '1')",
                   clock_now_ms());
    return sqlite3_exec(sq, text, NULL, NULL, NULL) == SQLITE_OK ? VRS_OK : ERR_STORAGE;
}

static const char proofs[] = "ALTER TABLE entry ADD COLUMN proof BLOB;";

static const struct sqlite_step steps[] = {{.sql = tables, .run = new_epoch}, {.sql = proofs}};
static const struct sqlite_schema schema = {
    .application_id = 0x56525354 /* "VRST" */, .steps = steps, .count = 2};

struct inbox_db {
    struct sqlite_file *file;
    sqlite3_stmt *st[STATEMENTS];
    uint64_t epoch;
    uint64_t next_seq;
    int wal_pages;
    bool prepared; /* false after a recovery that failed half-way */
};

static struct sqlite3 *handle(struct inbox_db *db) {
    return sqlite_file_db(db->file);
}

/* --- opening --- */

static enum vrs_err number(struct inbox_db *db, const char *text, int64_t *out,
                           struct vrs_fault *fault) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(handle(db), text, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    bool found = rc == SQLITE_ROW;
    if (found)
        *out = strtoll((const char *)sqlite3_column_text(st, 0), NULL, 10);
    (void)sqlite3_finalize(st);
    return found ? VRS_OK : err_fail(fault, ERR_CORRUPT, "inbox: %s", text);
}

static int on_wal(void *arg, sqlite3 *sq, const char *name, int pages) {
    (void)sq;
    (void)name;
    ((struct inbox_db *)arg)->wal_pages = pages;
    return SQLITE_OK;
}

/* On top of the shared discipline: one busy file may hold a larger cache and journal, and is
 * checkpointed between commits (inbox_db_tidy), never inside one. */
static enum vrs_err tune(struct inbox_db *db, struct vrs_fault *fault) {
    int64_t limit = 0;
    int64_t cache = 0;
    enum vrs_err e = sqlite_file_exec(
        db->file, "PRAGMA journal_size_limit=33554432; PRAGMA cache_size=-8192", fault);
    if (e == VRS_OK)
        e = number(db, "PRAGMA journal_size_limit", &limit, fault);
    if (e == VRS_OK)
        e = number(db, "PRAGMA cache_size", &cache, fault);
    if (e == VRS_OK && (limit != 33554432 || cache != -8192))
        e = err_fail(fault, ERR_STORAGE, "inbox: a PRAGMA reads back otherwise");
    (void)sqlite3_wal_hook(handle(db), on_wal, db);
    db->wal_pages = 0;
    return e;
}

static void drop_statements(struct inbox_db *db) {
    for (size_t i = 0; i < STATEMENTS; i++) {
        (void)sqlite3_finalize(db->st[i]);
        db->st[i] = NULL;
    }
}

/* After the file was opened or reopened. */
static enum vrs_err prepare(struct inbox_db *db, struct vrs_fault *fault) {
    int64_t epoch = 0;
    int64_t kept = 0;
    int64_t highest = 0;
    enum vrs_err e = tune(db, fault);
    for (size_t i = 0; i < STATEMENTS && e == VRS_OK; i++) {
        int rc =
            sqlite3_prepare_v3(handle(db), sql[i], -1, SQLITE_PREPARE_PERSISTENT, &db->st[i], NULL);
        e = sqlite_file_result(db->file, rc, "prepare", fault);
    }
    if (e == VRS_OK)
        e = number(db, "SELECT value FROM meta WHERE name = 'epoch'", &epoch, fault);
    if (e == VRS_OK)
        e = number(db, "SELECT value FROM meta WHERE name = 'next_seq'", &kept, fault);
    if (e == VRS_OK)
        e = number(db, "SELECT coalesce(max(seq), 0) FROM entry", &highest, fault);
    db->prepared = e == VRS_OK;
    db->epoch = (uint64_t)epoch;
    db->next_seq = (uint64_t)(highest + 1 > kept ? highest + 1 : kept);
    return e;
}

enum vrs_err inbox_db_open(const char *path, struct inbox_db **out, struct vrs_fault *fault) {
    *out = NULL;
    struct inbox_db *db = calloc(1, sizeof *db);
    if (db == NULL)
        return err_fail(fault, ERR_MEMORY, "inbox");
    enum vrs_err e = sqlite_file_open(path, SQLITE_FILE_CREATE, &schema, &db->file, fault);
    if (e == VRS_OK)
        e = prepare(db, fault);
    if (e == VRS_OK)
        sqlite_file_favour(db->file, true);
    if (e != VRS_OK) {
        inbox_db_close(&db);
        return e;
    }
    *out = db;
    return VRS_OK;
}

void inbox_db_close(struct inbox_db **db) {
    if (*db == NULL)
        return;
    drop_statements(*db);
    sqlite_file_close(&(*db)->file);
    free(*db);
    *db = NULL;
}

/* --- transactions --- */

static sqlite3_stmt *use(struct inbox_db *db, enum statement s) {
    return db->st[s];
}

static void done(sqlite3_stmt *st) {
    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
}

/* A failed statement: nothing of this transaction may be committed. */
static enum vrs_err broken(struct inbox_db *db) {
    struct vrs_fault fault = {0};
    int rc = sqlite3_extended_errcode(handle(db));
    (void)sqlite_file_result(db->file, rc, "inbox statement", &fault);
    log_fault(LOG_ERROR, "inbox.statement_failed", &fault);
    return ERR_STORAGE;
}

enum vrs_err inbox_db_begin(struct inbox_db *db, struct vrs_fault *fault) {
    enum vrs_err e = sqlite_file_begin(db->file, fault);
    return e == VRS_OK ? VRS_OK : ERR_STORAGE;
}

void inbox_db_rollback(struct inbox_db *db) {
    sqlite_file_rollback(db->file);
}

enum vrs_err inbox_db_commit(struct inbox_db *db, struct vrs_fault *fault) {
    enum vrs_err e = sqlite_file_commit(db->file, fault);
    if (e == VRS_OK)
        return VRS_OK;
    /* I3: the commit record is the last thing written before the sync (sectors are not padded:
     * unix files are power-safe), so a write that found no room left none. */
    if (e == ERR_UNKNOWN && (sqlite3_extended_errcode(handle(db)) & 0xff) == SQLITE_FULL)
        return ERR_STORAGE;
    return e == ERR_UNKNOWN ? ERR_UNKNOWN : ERR_STORAGE;
}

bool inbox_db_unfit(const struct inbox_db *db) {
    return sqlite_file_suspect(db->file) || !db->prepared;
}

enum vrs_err inbox_db_recover(struct inbox_db *db, struct vrs_fault *fault) {
    drop_statements(db);
    db->prepared = false;
    enum vrs_err e = sqlite_file_recover(db->file, fault);
    return e == VRS_OK ? prepare(db, fault) : e;
}

void inbox_db_tidy(struct inbox_db *db) {
    if (inbox_db_unfit(db) || db->wal_pages < CHECKPOINT_PAGES)
        return;
    struct vrs_fault fault = {0};
    int rc = sqlite3_wal_checkpoint_v2(handle(db), "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    db->wal_pages = 0;
    /* A full disk stops only the moving; an input/output error makes the file suspect. */
    if (rc != SQLITE_BUSY && sqlite_file_result(db->file, rc, "checkpoint", &fault) != VRS_OK)
        log_fault(LOG_ERROR, "inbox.checkpoint_failed", &fault);
}

/* --- entries --- */

enum vrs_err inbox_db_insert(struct inbox_db *db, struct inbox_new *n, bool *existing) {
    sqlite3_stmt *st = use(db, ST_INSERT);
    struct line_entry *e = &n->entry;
    e->seq = db->next_seq;
    e->epoch = db->epoch;
    int rc = sqlite3_bind_int64(st, 1, (sqlite3_int64)e->seq);
    rc |= sqlite3_bind_int64(st, 2, (sqlite3_int64)e->epoch);
    rc |= sqlite3_bind_int(st, 3, (int)e->kind);
    rc |= sqlite3_bind_blob(st, 4, e->receipt, sizeof e->receipt, SQLITE_STATIC);
    rc |= sqlite3_bind_text(st, 5, e->municipality, -1, SQLITE_STATIC);
    rc |= sqlite3_bind_int64(st, 6, e->received_ms);
    rc |= sqlite3_bind_text(st, 7, n->terminal, -1, SQLITE_STATIC);
    if (n->key_hash != NULL)
        rc |= sqlite3_bind_blob(st, 8, n->key_hash, CRYPTO_HASH_BYTES, SQLITE_STATIC);
    if (n->body_mac != NULL)
        rc |= sqlite3_bind_blob(st, 9, n->body_mac, CRYPTO_HASH_BYTES, SQLITE_STATIC);
    rc |= sqlite3_bind_blob64(st, 10, e->sealed, e->sealed_len, SQLITE_STATIC);
    enum vrs_err err = rc == SQLITE_OK && sqlite3_step(st) == SQLITE_DONE ? VRS_OK : broken(db);
    *existing = err == VRS_OK && sqlite3_changes(handle(db)) == 0;
    if (err == VRS_OK && !*existing)
        db->next_seq++;
    done(st);
    return err;
}

static void copy_text(sqlite3_stmt *st, int column, char *out, size_t cap) {
    const unsigned char *s = sqlite3_column_text(st, column);
    (void)snprintf(out, cap, "%s", s != NULL ? (const char *)s : "");
}

static bool copy_blob(sqlite3_stmt *st, int column, void *out, size_t n) {
    const void *p = sqlite3_column_blob(st, column);
    if (p == NULL || (size_t)sqlite3_column_bytes(st, column) != n)
        return false;
    memcpy(out, p, n);
    return true;
}

static enum vrs_err find(struct inbox_db *db, enum statement s, const void *value, int len,
                         struct inbox_found *out) {
    sqlite3_stmt *st = use(db, s);
    memset(out, 0, sizeof *out);
    int rc = sqlite3_bind_blob(st, 1, value, len, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    enum vrs_err e = VRS_OK;
    if (rc == SQLITE_ROW) {
        out->seq = (uint64_t)sqlite3_column_int64(st, 0);
        out->kind = (enum line_entry_kind)sqlite3_column_int(st, 1);
        out->outcome = (enum line_outcome)sqlite3_column_int(st, 2);
        out->received_ms = sqlite3_column_int64(st, 3);
        if (!copy_blob(st, 4, out->receipt, sizeof out->receipt))
            e = ERR_CORRUPT;
        copy_text(st, 5, out->municipality, sizeof out->municipality);
        copy_text(st, 6, out->terminal, sizeof out->terminal);
        copy_text(st, 7, out->dose_id, sizeof out->dose_id);
        copy_text(st, 8, out->warnings, sizeof out->warnings);
        (void)copy_blob(st, 9, out->body_mac, sizeof out->body_mac);
        size_t proof = (size_t)sqlite3_column_bytes(st, 10);
        if (proof <= sizeof out->proof && copy_blob(st, 10, out->proof, proof))
            out->proof_len = proof;
    } else {
        e = rc == SQLITE_DONE ? ERR_NOT_FOUND : broken(db);
    }
    done(st);
    return e;
}

enum vrs_err inbox_db_by_key(struct inbox_db *db, const uint8_t key_hash[CRYPTO_HASH_BYTES],
                             struct inbox_found *out) {
    return find(db, ST_BY_KEY, key_hash, CRYPTO_HASH_BYTES, out);
}

enum vrs_err inbox_db_by_receipt(struct inbox_db *db, const uint8_t receipt[LINE_RECEIPT_BYTES],
                                 struct inbox_found *out) {
    return find(db, ST_BY_RECEIPT, receipt, LINE_RECEIPT_BYTES, out);
}

static enum vrs_err change_outcome(struct inbox_db *db, enum statement s,
                                   const struct line_result *r, int64_t now_ms, bool *changed) {
    sqlite3_stmt *st = use(db, s);
    int rc = sqlite3_bind_blob(st, 1, r->receipt, sizeof r->receipt, SQLITE_STATIC);
    rc |= sqlite3_bind_int(st, 2, (int)r->outcome);
    if (r->dose_id[0] != '\0')
        rc |= sqlite3_bind_text(st, 3, r->dose_id, -1, SQLITE_STATIC);
    if (r->warnings[0] != '\0')
        rc |= sqlite3_bind_text(st, 4, r->warnings, -1, SQLITE_STATIC);
    rc |= sqlite3_bind_int64(st, 5, now_ms);
    if (r->proof_len > 0)
        rc |= sqlite3_bind_blob64(st, 6, r->proof, r->proof_len, SQLITE_STATIC);
    enum vrs_err e = rc == SQLITE_OK && sqlite3_step(st) == SQLITE_DONE ? VRS_OK : broken(db);
    *changed = e == VRS_OK && sqlite3_changes(handle(db)) == 1;
    done(st);
    return e;
}

static enum vrs_err add_proof(struct inbox_db *db, const struct line_result *r, bool *added) {
    sqlite3_stmt *st = use(db, ST_PROVE);
    int rc = sqlite3_bind_blob(st, 1, r->receipt, sizeof r->receipt, SQLITE_STATIC);
    rc |= sqlite3_bind_int(st, 2, (int)r->outcome);
    rc |= sqlite3_bind_blob64(st, 3, r->proof, r->proof_len, SQLITE_STATIC);
    enum vrs_err e = rc == SQLITE_OK && sqlite3_step(st) == SQLITE_DONE ? VRS_OK : broken(db);
    *added = e == VRS_OK && sqlite3_changes(handle(db)) == 1;
    done(st);
    return e;
}

enum vrs_err inbox_db_settle(struct inbox_db *db, const struct line_result *r, int64_t now_ms,
                             enum inbox_change *change) {
    bool changed = false;
    *change = INBOX_SAME;
    if (r->outcome == LINE_PENDING)
        return VRS_OK;
    enum vrs_err e = change_outcome(db, ST_SETTLE, r, now_ms, &changed);
    if (e != VRS_OK || changed) {
        *change = changed ? INBOX_SETTLED : INBOX_SAME;
        return e;
    }
    e = change_outcome(db, ST_MOVE, r, now_ms, &changed);
    if (e != VRS_OK || changed) {
        *change = changed ? INBOX_MOVED : INBOX_SAME;
        return e;
    }
    if (r->proof_len > 0) { /* I6 */
        e = add_proof(db, r, &changed);
        if (e != VRS_OK || changed) {
            *change = changed ? INBOX_PROVEN : INBOX_SAME;
            return e;
        }
    }
    struct inbox_found there;
    return inbox_db_by_receipt(db, r->receipt, &there);
}

static enum vrs_err read_entry(sqlite3_stmt *st, struct line_entry *e) {
    memset(e, 0, sizeof *e);
    e->seq = (uint64_t)sqlite3_column_int64(st, 0);
    e->epoch = (uint64_t)sqlite3_column_int64(st, 1);
    e->kind = (enum line_entry_kind)sqlite3_column_int(st, 2);
    copy_text(st, 4, e->municipality, sizeof e->municipality);
    e->received_ms = sqlite3_column_int64(st, 5);
    e->sealed = sqlite3_column_blob(st, 6);
    e->sealed_len = (size_t)sqlite3_column_bytes(st, 6);
    return copy_blob(st, 3, e->receipt, sizeof e->receipt) ? VRS_OK : ERR_CORRUPT;
}

enum vrs_err inbox_db_pending(struct inbox_db *db, uint64_t after_seq, uint64_t max,
                              inbox_entry_fn *fn, void *arg) {
    sqlite3_stmt *st = use(db, ST_PENDING);
    enum vrs_err e = VRS_OK;
    int rc = sqlite3_bind_int64(st, 1, after_seq > INT64_MAX ? INT64_MAX : (int64_t)after_seq);
    rc |= sqlite3_bind_int64(st, 2, max > INT32_MAX ? INT32_MAX : (int64_t)max);
    if (rc == SQLITE_OK) {
        while (e == VRS_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
            struct line_entry one;
            e = read_entry(st, &one);
            if (e == VRS_OK)
                e = fn(&one, arg);
        }
    }
    if (e == VRS_OK && rc != SQLITE_DONE)
        e = broken(db);
    done(st);
    return e;
}

enum vrs_err inbox_db_replay(struct inbox_db *db, const char *municipality, uint64_t after_seq,
                             uint64_t look, inbox_entry_fn *fn, void *arg, uint64_t *last,
                             bool *end) {
    sqlite3_stmt *st = use(db, ST_REPLAY);
    enum vrs_err e = VRS_OK;
    uint64_t looked = 0;
    *last = after_seq;
    int rc = sqlite3_bind_int64(st, 1, after_seq > INT64_MAX ? INT64_MAX : (int64_t)after_seq);
    rc |= sqlite3_bind_int64(st, 2, look > INT32_MAX ? INT32_MAX : (int64_t)look);
    if (rc == SQLITE_OK) {
        while (e == VRS_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
            looked++;
            const unsigned char *code = sqlite3_column_text(st, 4);
            uint64_t seq = (uint64_t)sqlite3_column_int64(st, 0);
            if (code != NULL && strcmp((const char *)code, municipality) == 0) {
                struct line_entry one;
                e = read_entry(st, &one);
                if (e == VRS_OK)
                    e = fn(&one, arg);
            }
            if (e == VRS_OK)
                *last = seq;
        }
    }
    if (e == VRS_OK && rc != SQLITE_DONE)
        e = broken(db);
    *end = e == VRS_OK && looked < look;
    done(st);
    return e;
}

static enum vrs_err one_number(struct inbox_db *db, enum statement s, int64_t *out) {
    sqlite3_stmt *st = use(db, s);
    int rc = sqlite3_step(st);
    *out = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    enum vrs_err e = rc == SQLITE_ROW || rc == SQLITE_DONE ? VRS_OK : broken(db);
    done(st);
    return e;
}

enum vrs_err inbox_db_counts(struct inbox_db *db, uint64_t *pending, int64_t *oldest_ms) {
    int64_t n = 0;
    enum vrs_err e = VRS_OK;
    if (pending != NULL) {
        e = one_number(db, ST_COUNT, &n);
        *pending = (uint64_t)n;
    }
    if (e == VRS_OK)
        e = one_number(db, ST_OLDEST, oldest_ms);
    return e;
}

enum vrs_err inbox_db_purge(struct inbox_db *db, int64_t before_ms, uint64_t limit,
                            uint64_t *removed) {
    char next[32];
    (void)snprintf(next, sizeof next, "%" PRIu64, db->next_seq);
    sqlite3_stmt *st = use(db, ST_META_SET);
    int rc = sqlite3_bind_text(st, 1, "next_seq", -1, SQLITE_STATIC);
    rc |= sqlite3_bind_text(st, 2, next, -1, SQLITE_STATIC);
    enum vrs_err e = rc == SQLITE_OK && sqlite3_step(st) == SQLITE_DONE ? VRS_OK : broken(db);
    done(st);
    if (e != VRS_OK)
        return e;
    st = use(db, ST_PURGE);
    rc = sqlite3_bind_int64(st, 1, before_ms);
    rc |= sqlite3_bind_int64(st, 2, (sqlite3_int64)limit);
    e = rc == SQLITE_OK && sqlite3_step(st) == SQLITE_DONE ? VRS_OK : broken(db);
    *removed = e == VRS_OK ? (uint64_t)sqlite3_changes(handle(db)) : 0;
    done(st);
    return e;
}

/* --- the snapshot --- */

enum vrs_err inbox_db_published(struct inbox_db *db, struct buffer *text,
                                uint8_t signature[CRYPTO_SIGNATURE_BYTES]) {
    sqlite3_stmt *st = use(db, ST_PUBLISHED);
    int rc = sqlite3_step(st);
    enum vrs_err e = VRS_OK;
    if (rc == SQLITE_ROW) {
        const void *p = sqlite3_column_blob(st, 0);
        size_t n = (size_t)sqlite3_column_bytes(st, 0);
        if (!copy_blob(st, 1, signature, CRYPTO_SIGNATURE_BYTES) || p == NULL)
            e = ERR_CORRUPT;
        else if (!buffer_put(text, p, n))
            e = ERR_MEMORY;
    } else {
        e = rc == SQLITE_DONE ? ERR_NOT_FOUND : broken(db);
    }
    done(st);
    return e;
}

enum vrs_err inbox_db_publish(struct inbox_db *db, uint64_t version, const void *text, size_t len,
                              const uint8_t signature[CRYPTO_SIGNATURE_BYTES]) {
    sqlite3_stmt *st = use(db, ST_PUBLISH);
    int rc = sqlite3_bind_int64(st, 1, (sqlite3_int64)version);
    rc |= sqlite3_bind_blob64(st, 2, text, len, SQLITE_STATIC);
    rc |= sqlite3_bind_blob(st, 3, signature, CRYPTO_SIGNATURE_BYTES, SQLITE_STATIC);
    enum vrs_err e = rc == SQLITE_OK && sqlite3_step(st) == SQLITE_DONE ? VRS_OK : broken(db);
    if (e == VRS_OK && sqlite3_changes(handle(db)) == 0)
        e = ERR_CONFLICT;
    done(st);
    return e;
}

uint64_t inbox_db_epoch(const struct inbox_db *db) {
    return db->epoch;
}

enum vrs_err inbox_db_describe(struct inbox_db *db, struct buffer *out) {
    (void)buffer_printf(out, "epoch=%" PRIu64 "\n", db->epoch);
    return sqlite_file_describe(db->file, out);
}
