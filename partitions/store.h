/* The storage engine interface.  A second engine (PostgreSQL) implements struct store_engine; no
 * SQL stands outside an engine's own file.
 *
 * A partition is a set of tables of generic rows.  The engine sees no plaintext: ids are random,
 * index columns are blind (HMAC) or random ids, the blob is sealed.  One handle belongs to one
 * thread.  Every call happens inside a transaction (store_begin … store_commit).
 *
 * Invariants (asserted in the engines, named here):
 *  I1  commit answers VRS_OK only when everything of the transaction survives power loss.
 *  I2  commit answers ERR_STORAGE only when surely nothing of it is stored; otherwise ERR_UNKNOWN,
 *      and the handle refuses further work until store_recover has succeeded.
 *  I3  a failed transaction stays failed: later calls in it return the first error.
 *  I4  opening without STORE_CREATE never creates or changes a file.
 */
#ifndef PARTITIONS_STORE_H
#define PARTITIONS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/err.h"

enum { STORE_ID_BYTES = 16, STORE_INDEXES = 4, STORE_INDEX_MAX = 32 };

/* What is unique in a table beside the ids: bits 0 to 3 the index columns, and */
enum {
    STORE_ORDERED = 0x10, /* the order, > 0: arrival, in general */
    STORE_NUMBERED = 0x30, /* … and the id is nothing but it, in its last eight bytes, big-endian */
};

/* X(symbol, name, what is unique).  Numbers are part of the AAD: only append. */
#define STORE_TABLES(X)                                                                            \
    X(TABLE_PERSON, "person", 0x1)                     /* i0 宛名番号, i1 birth date */        \
    X(TABLE_PERSON_HISTORY, "person_history", 0)       /* i0 person id; order = version */         \
    X(TABLE_COUPON, "coupon", STORE_ORDERED | 0x1)     /* i0 券番号, i1 person id */            \
    X(TABLE_NUMBER_LINK, "number_link", STORE_ORDERED) /* id = row in vrs-number, i0 person id */  \
    X(TABLE_CLAIM, "claim", STORE_ORDERED | 0x1)       /* i0 receipt, i2 coupon, i3 person */      \
    X(TABLE_CLAIM_HISTORY, "claim_history", 0)         /* i0 claim id; order = version */          \
    X(TABLE_INQUIRY, "inquiry", STORE_ORDERED)         /* i0 own person id */                      \
    X(TABLE_HELD, "held_inquiry", STORE_ORDERED)       /* provider side; i0 person id */           \
    X(TABLE_PROVISION, "provision", STORE_ORDERED) /* 情報提供等の記録; i0 person id */    \
    X(TABLE_LOG, "access_log", STORE_NUMBERED) /* order = sequence; i0 subject, i1 commitment */   \
    X(TABLE_LOG_SUBJECT, "access_log_subject", 0)      /* i0 subject; order = sequence */          \
    X(TABLE_TALLY, "tally", 0)                         /* sealed counters; id = name hash */       \
    X(TABLE_IMPORT, "import", 0)                       /* i0 content hash, i1 file name */         \
    X(TABLE_IMPORT_PART, "import_part", 0)             /* i0 import id; order = offset */          \
    X(TABLE_IDEMPOTENCY, "idempotency", STORE_ORDERED) /* id = key hash */                         \
    X(TABLE_ACCOUNT, "account", 0x1)                   /* registry; i0 user id */                  \
    X(TABLE_APPLICATION, "application", 0)             /* registry; i0 user id */                  \
    X(TABLE_TERMINAL, "terminal", 0x1)                 /* registry; i0 serial */                   \
    X(TABLE_SETTING, "setting", 0x1)                   /* i0 name */                               \
    X(TABLE_NUMBER, "number", STORE_ORDERED)           /* vrs-number only; i0 number index */      \
    X(TABLE_JOURNAL, "journal", 0)                     /* vrs-number only: reveals; order */       \
    X(TABLE_OUTCOME_UNSENT, "outcome_unsent", STORE_ORDERED) /* id = claim, i0 receipt */          \
    X(TABLE_LOG_TILE, "access_log_tile", 0) /* tree hashes; state = level, order = tile + 1 */     \
    X(TABLE_CHECKPOINT, "checkpoint", 0)    /* signed heads; order = tree size */                  \
    X(TABLE_REQUEST, "request", 0)          /* what needs a second person; i0 its subject */       \
    X(TABLE_ERASURE, "erasure", 0)          /* tombstones and certificates; i0 subject */          \
    X(TABLE_LOG_REVIEW, "log_review", 0)    /* monthly reviews; order = of the act */              \
    X(TABLE_ALERT, "alert", 0)              /* registry; i0 rule and subject */                    \
    X(TABLE_ENROLMENT, "enrolment", 0x1)    /* registry; i0 one-time code */                       \
    X(TABLE_ROTATION, "rotation", 0)        /* progress of a key rotation; id = name hash */

enum store_table {
#define X(sym, name, unique) sym,
    STORE_TABLES(X)
#undef X
        STORE_TABLE_COUNT
};

struct store_index {
    uint8_t len; /* 0: NULL */
    uint8_t bytes[STORE_INDEX_MAX];
    /* Never stored.  While index keys rotate: the same value under the old key (partition.h). */
    uint8_t old_len;
    uint8_t old[STORE_INDEX_MAX];
};

struct store_row {
    uint8_t id[STORE_ID_BYTES];
    uint64_t version;    /* business version: the ETag; starts at 1 */
    uint32_t generation; /* seal generation: counts re-sealings, never seen outside */
    uint32_t key_id;
    uint32_t state; /* small enumeration of the table's own */
    uint64_t order;
    struct store_index index[STORE_INDEXES];
    const uint8_t *blob; /* sealed; from reads: valid until the next call on the handle */
    size_t blob_len;
};

enum { STORE_CREATE = 1, STORE_READ_ONLY_TOOL = 2 };

struct store; /* an open partition */

/* Return VRS_OK to go on, anything else to stop (and be returned). The row is borrowed. */
typedef enum vrs_err store_row_fn(const struct store_row *row, void *arg);

struct store_engine {
    const char *name;
    /* `location` is the engine's own (a path).  ERR_NOT_FOUND without STORE_CREATE when absent. */
    enum vrs_err (*open)(const char *location, unsigned flags, struct store **out,
                         struct vrs_fault *fault);
    void (*close)(struct store **s);
    enum vrs_err (*begin)(struct store *s);
    enum vrs_err (*savepoint)(struct store *s);
    enum vrs_err (*release)(struct store *s);     /* keep what came since the savepoint */
    enum vrs_err (*rollback_to)(struct store *s); /* undo it, end the savepoint */
    enum vrs_err (*commit)(struct store *s);      /* I1, I2 */
    void (*rollback)(struct store *s);
    enum vrs_err (*recover)(struct store *s,
                            struct vrs_fault *fault); /* reopen + full checkpoint */
    bool (*needs_recovery)(const struct store *s);
    enum vrs_err (*get)(struct store *s, enum store_table t, const uint8_t *id,
                        struct store_row *out); /* ERR_NOT_FOUND */
    /* Rows whose index n equals value, oldest first by (order, id). */
    enum vrs_err (*find)(struct store *s, enum store_table t, int n,
                         const struct store_index *value, store_row_fn *fn, void *arg);
    /* Rows with state (or any: UINT32_MAX) and order > after, ascending by order; ≤ limit rows.
     * Rows of order 0 are in no scan; rows of one order may be cut by the limit. */
    enum vrs_err (*scan)(struct store *s, enum store_table t, uint32_t state, uint64_t after,
                         uint64_t limit, store_row_fn *fn, void *arg);
    /* Rows in id order, id > after (NULL: from the start): walking a whole table in pages. */
    enum vrs_err (*walk)(struct store *s, enum store_table t, const uint8_t *after, uint64_t limit,
                         store_row_fn *fn, void *arg);
    /* ERR_CONFLICT on an existing id, unique index or own order. */
    enum vrs_err (*insert)(struct store *s, enum store_table t, const struct store_row *row);
    /* Replaces the row if its version AND generation are still the given ones, else (or when there
     * is none) ERR_STALE_VERSION. ERR_CONFLICT on a unique index. */
    enum vrs_err (*update)(struct store *s, enum store_table t, const struct store_row *row,
                           uint64_t old_version, uint32_t old_generation);
    /* ERR_NOT_FOUND when there is none. */
    enum vrs_err (*remove)(struct store *s, enum store_table t, const uint8_t *id);
    enum vrs_err (*max_order)(struct store *s, enum store_table t, uint64_t *out); /* 0: empty */
    enum vrs_err (*count)(struct store *s, enum store_table t, uint32_t state, uint64_t *out);
    /* Small plaintext facts: "municipality", "schema", "log_epoch" … */
    /* ERR_NOT_FOUND; ERR_TOO_LARGE for `cap`. */
    enum vrs_err (*meta_get)(struct store *s, const char *name, char *out, size_t cap);
    enum vrs_err (*meta_set)(struct store *s, const char *name, const char *value);
    /* A consistent copy at `path` (which must not exist), synced. Outside a transaction. */
    enum vrs_err (*backup)(struct store *s, const char *path, struct vrs_fault *fault);
    /* The same content written anew to `path` (which must not exist), synced: unlike a copy it has no
     * room in which removed rows could be left.  Outside a transaction. */
    enum vrs_err (*rewrite)(struct store *s, const char *path, struct vrs_fault *fault);
    /* Engine facts for `vrsctl selfcheck`: name=value lines (PRAGMA read-back). */
    enum vrs_err (*describe)(struct store *s, struct buffer *out);
    /* Why the last call that failed did; for the log. */
    void (*last_fault)(const struct store *s, struct vrs_fault *out);
    /* Hints, outside a transaction; NULL where an engine needs none.  favour: among those used most
     * now, may hold more memory.  tidy: upkeep, while nobody waits.  rest: not needed for a while,
     * gives back what memory it can, unless favoured. */
    void (*favour)(struct store *s, bool on);
    void (*tidy)(struct store *s);
    void (*rest)(struct store *s);
};

extern const struct store_engine store_sqlite;
const char *store_table_name(enum store_table t);

#endif
