/* A municipality's own room, locked: a store, its keys, and sealed records in it.
 *
 * Everything typed (person.h, claim.h …) stands on these calls; nothing else seals or opens.  A
 * partition belongs to one worker thread (pool.h) and every call is inside the transaction that the
 * pool opened.  No function here takes two partitions: no partition reads another (rule 5). */
#ifndef PARTITIONS_PARTITION_H
#define PARTITIONS_PARTITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/err.h"
#include "partitions/keyring.h"
#include "partitions/store.h"

struct partition;

struct record_id {
    uint8_t bytes[STORE_ID_BYTES];
};
void record_id_new(struct record_id *out); /* crypto_id */
bool record_id_parse(const char *hex, struct record_id *out);
void record_id_format(const struct record_id *id, char out[33]);
bool record_id_equal(const struct record_id *a, const struct record_id *b);

/* An opened row: plaintext in `text` (a wire message). Init the buffer once, reuse, fini. */
struct record {
    struct record_id id;
    uint64_t version;
    uint32_t generation;
    uint32_t state;
    uint64_t order;
    struct store_index index[STORE_INDEXES];
    struct buffer text;
};
void record_init(struct record *r);
void record_fini(struct record *r); /* wipes */

/* Tools and tests; the pool opens partitions for everybody else.  `dir`/<code>.db */
VRS_CHECK enum vrs_err partition_open(const struct store_engine *engine, const char *dir,
                                      const char *municipality, struct keyring *keys,
                                      unsigned store_flags, struct partition **out,
                                      struct vrs_fault *fault);
void partition_close(struct partition **p);
const char *partition_code(const struct partition *p);
struct store *partition_store(struct partition *p); /* pool, backup and selfcheck only */
const struct store_engine *partition_engine(
    const struct partition *
        p); /* The access log's tree (log_tree.h); NULL where the keyring has no keys of the log. */
struct log_tree;
struct log_tree *partition_log_tree(struct partition *p);

/* Memory that the pool's user keeps with an open partition (its signed head): `bytes` zeroed bytes,
 * made by the first call, wiped and freed when the partition is closed. NULL: no memory. */
void *partition_note(struct partition *p, size_t bytes);

/* The transaction, for the pool, tools and tests: the engine's calls plus what the partition has
 * cached of it.  Savepoints nest: a job is in one, and may undo a part of itself in another. */
VRS_CHECK enum vrs_err partition_begin(struct partition *p);
VRS_CHECK enum vrs_err partition_commit(struct partition *p);
void partition_rollback(struct partition *p);
VRS_CHECK enum vrs_err partition_savepoint(struct partition *p);
VRS_CHECK enum vrs_err partition_release(struct partition *p);
VRS_CHECK enum vrs_err partition_rollback_to(struct partition *p);
bool partition_in_transaction(const struct partition *p);
bool partition_needs_recovery(const struct partition *p);
VRS_CHECK enum vrs_err partition_recover(struct partition *p, struct vrs_fault *fault);
/* A hint, outside a transaction: one of those used most now, it may hold more memory. */
void partition_favour(struct partition *p, bool on);
/* A hint, outside a transaction, best while nobody waits: upkeep that would delay a commit; `rest`:
 * not needed for a while, gives back what memory it can unless favoured. */
void partition_upkeep(struct partition *p, bool rest);

/* A number that is another one after every row of `t` that was put in or taken out, and after each
 * opening of the file; undone ones count too.  For what is made of a table and kept in memory. */
uint64_t partition_changes(const struct partition *p, enum store_table t);

/* A blind index: the id of the index key (u16), and HMAC-SHA-256 under it over (kind, value), cut to
 * 128 bits: no two of 10⁹ values meet, and the index pages that every insert dirties at random are
 * half as many.  Different in every partition (C94).
 *
 * While index keys rotate `out` also has the value under the old key: look-ups find rows under
 * either, a unique column refuses either, what is written is under the new one. */
enum { PARTITION_MAC_BYTES = 16, PARTITION_BLIND_BYTES = 2 + PARTITION_MAC_BYTES };
VRS_CHECK enum vrs_err partition_blind(struct partition *p, const char *kind, const void *value,
                                       size_t len, struct store_index *out);
/* For the log's tables: their rows are never sealed again, so this index key is never rotated. */
VRS_CHECK enum vrs_err partition_blind_log(struct partition *p, const char *kind, const void *value,
                                           size_t len, struct store_index *out);
/* The index key that a stored column names; 0: it is no blind index. */
uint32_t store_index_key(const struct store_index *index);
/* A row id that follows from a blind index. */
void store_index_row(const struct store_index *index, bool old, struct record_id *out);
void store_index_id(const struct record_id *id, struct store_index *out);

/* The keys of the partition, for rotate.c. */
struct keyring *partition_keys(struct partition *p);
/* The area whose keys seal a table here: KEY_LOG for the log tables, KEY_NUMBERS in vrs-number, else
 * KEY_RECORDS. */
enum key_area partition_area(const struct partition *p, enum store_table t);

/*
 * A row whose seal does not open in its place (row, table, columns, municipality) is ERR_TAMPERED;
 * one whose key is gone is ERR_CRYPTO. */
VRS_CHECK enum vrs_err record_get(struct partition *p, enum store_table t,
                                  const struct record_id *id, struct record *out);
typedef enum vrs_err record_fn(struct record *r, void *arg); /* VRS_OK: go on */
/* The callbacks may read and write the partition: rows are collected before they are called. */
VRS_CHECK enum vrs_err record_find(struct partition *p, enum store_table t, int n,
                                   const struct store_index *value, record_fn *fn, void *arg);
VRS_CHECK enum vrs_err record_scan(struct partition *p, enum store_table t, uint32_t state,
                                   uint64_t after, uint64_t limit, record_fn *fn, void *arg);
VRS_CHECK enum vrs_err record_walk(struct partition *p, enum store_table t,
                                   const struct record_id *after, uint64_t limit, record_fn *fn,
                                   void *arg);
/* Seals r->text and inserts with version 1 (or r->version when set). */
VRS_CHECK enum vrs_err record_insert(struct partition *p, enum store_table t, struct record *r);
/* The same, and SHA-256 of the sealed blob as it is stored. */
VRS_CHECK enum vrs_err record_insert_hash(struct partition *p, enum store_table t, struct record *r,
                                          uint8_t hash[32]);
/* Seals and replaces; r->version is the version that was read, afterwards the new one.  What
 * record_reseal did since it was read does not disturb. */
VRS_CHECK enum vrs_err record_update(struct partition *p, enum store_table t, struct record *r);
/* Seals the same record anew, without a new version (only the seal generation grows): rotation, and what
 * is taken out of a record without being a change of it. */
VRS_CHECK enum vrs_err record_reseal(struct partition *p, enum store_table t, struct record *r);
VRS_CHECK enum vrs_err record_remove(struct partition *p, enum store_table t,
                                     const struct record_id *id);
/* One more than the last that was given out or stored; an undone one is given out again. */
VRS_CHECK enum vrs_err partition_next_order(struct partition *p, enum store_table t, uint64_t *out);

#endif
