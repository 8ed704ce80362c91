/* The inbox file: the only SQL outside partitions, on the shared discipline of lib/sqlite_file.h.
 * One connection, owned by one thread at a time (the inbox worker).
 *
 * Invariants
 *   I1  Nothing is acknowledged before inbox_db_commit returned VRS_OK (synchronous=FULL).
 *   I2  A commit that may or may not be on the disk (a failed fsync, any input/output error) is
 *       ERR_UNKNOWN; the connection is then unfit until inbox_db_recover has reopened the file and
 *       a full checkpoint has succeeded.
 *   I3  ERR_STORAGE means surely not stored: the transaction never reached its commit record (a
 *       statement failed, or the disk was full while the commit was written).
 *   I4  seq grows and is never used again, also after everything was purged.
 *   I5  An outcome never moves back: pending → waiting → final, and final only → cancelled.
 *   I6  A proof is of the outcome beside it: it comes with it, or later with the same one again. */
#ifndef TABLET_API_INBOX_DB_H
#define TABLET_API_INBOX_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/crypto.h"
#include "lib/err.h"
#include "tablet-api/line.h"

struct inbox_db;

/* What is kept of an entry beside its sealed bytes: nothing personal. */
struct inbox_found {
    uint64_t seq;
    enum line_entry_kind kind;
    enum line_outcome outcome;
    int64_t received_ms;
    uint8_t receipt[LINE_RECEIPT_BYTES];
    char municipality[7];
    char terminal[64];
    char dose_id[33];
    char warnings[512];
    size_t proof_len; /* 0: none yet */
    uint8_t proof[LINE_MAX_PROOF];
    uint8_t body_mac[CRYPTO_HASH_BYTES]; /* zeros: the entry had no key */
};

struct inbox_new {
    struct line_entry entry; /* seq and epoch are set by inbox_db_insert */
    const char *terminal;
    const uint8_t *key_hash; /* 32 bytes, NULL: none (events) */
    const uint8_t *body_mac; /* 32 bytes, NULL: none */
};

/* Creates the file (0600) when absent, sets every PRAGMA and reads it back, upgrades the schema. */
VRS_CHECK enum vrs_err inbox_db_open(const char *path, struct inbox_db **out,
                                     struct vrs_fault *fault);
void inbox_db_close(struct inbox_db **db);

VRS_CHECK enum vrs_err inbox_db_begin(struct inbox_db *db, struct vrs_fault *fault);
VRS_CHECK enum vrs_err inbox_db_commit(struct inbox_db *db, struct vrs_fault *fault);
void inbox_db_rollback(struct inbox_db *db);
bool inbox_db_unfit(const struct inbox_db *db); /* I2 */
VRS_CHECK enum vrs_err inbox_db_recover(struct inbox_db *db, struct vrs_fault *fault);
/* After a commit, off the path of any answer: moves the log into the file when it has grown. */
void inbox_db_tidy(struct inbox_db *db);

/* All below are inside a transaction.  ERR_STORAGE from any of them: roll back. */

/* *existing: the key is there already; nothing was inserted, look with inbox_db_by_key. */
VRS_CHECK enum vrs_err inbox_db_insert(struct inbox_db *db, struct inbox_new *n, bool *existing);
VRS_CHECK enum vrs_err inbox_db_by_key(struct inbox_db *db,
                                       const uint8_t key_hash[CRYPTO_HASH_BYTES],
                                       struct inbox_found *out); /* ERR_NOT_FOUND */
VRS_CHECK enum vrs_err inbox_db_by_receipt(struct inbox_db *db,
                                           const uint8_t receipt[LINE_RECEIPT_BYTES],
                                           struct inbox_found *out); /* ERR_NOT_FOUND */
enum inbox_change {
    INBOX_SAME,    /* it stood so already, or I5 keeps what stands */
    INBOX_SETTLED, /* the first outcome: no longer pending */
    INBOX_MOVED,   /* from waiting, or cancelled */
    INBOX_PROVEN   /* the same, now with its proof */
};
/* Applies an outcome as far as I5 allows.  An unknown receipt is ERR_NOT_FOUND. */
VRS_CHECK enum vrs_err inbox_db_settle(struct inbox_db *db, const struct line_result *r,
                                       int64_t now_ms, enum inbox_change *change);

typedef enum vrs_err inbox_entry_fn(const struct line_entry *e, void *arg);
/* Entries without outcome, ascending; `fn` may end the walk with anything but VRS_OK, which is
 * returned.  The entry is borrowed for the call. */
VRS_CHECK enum vrs_err inbox_db_pending(struct inbox_db *db, uint64_t after_seq, uint64_t max,
                                        inbox_entry_fn *fn, void *arg);
/* Entries of one municipality with any outcome, looking at no more than `look` rows: *last is the
 * last seq looked at, *end whether there are no more. */
VRS_CHECK enum vrs_err inbox_db_replay(struct inbox_db *db, const char *municipality,
                                       uint64_t after_seq, uint64_t look, inbox_entry_fn *fn,
                                       void *arg, uint64_t *last, bool *end);
/* `pending` NULL: not counted (it reads every pending entry's index row). */
VRS_CHECK enum vrs_err inbox_db_counts(struct inbox_db *db, uint64_t *pending, int64_t *oldest_ms);
/* Removes at most `limit` settled entries received before `before_ms`, oldest first. */
VRS_CHECK enum vrs_err inbox_db_purge(struct inbox_db *db, int64_t before_ms, uint64_t limit,
                                      uint64_t *removed);

/* The signed snapshot as it came.  ERR_NOT_FOUND: none yet. */
VRS_CHECK enum vrs_err inbox_db_published(struct inbox_db *db, struct buffer *text,
                                          uint8_t signature[CRYPTO_SIGNATURE_BYTES]);
VRS_CHECK enum vrs_err inbox_db_publish(struct inbox_db *db, uint64_t version, const void *text,
                                        size_t len,
                                        const uint8_t signature[CRYPTO_SIGNATURE_BYTES]);

uint64_t inbox_db_epoch(const struct inbox_db *db);
/* name=value lines of what SQLite reads back, for tests and selfcheck. */
VRS_CHECK enum vrs_err inbox_db_describe(struct inbox_db *db, struct buffer *out);

#endif
