/* What stays of an erasure (C75): who, when, why, which kinds and how many, and by what the erased
 * is known again should it come back out of an older backup: random row ids, receipts, and blind
 * values under a key that is never rotated.  No erased data.
 *
 * It stands twice, sealed under the municipality's log key:
 *   - as a row of TABLE_ERASURE, in the transaction that erases; a second kind of row, found by the
 *     receipt, marks each erased reading, so that the inbox cannot bring it back;
 *   - in STATE/tombstones/<code>, which only grows, is synced before the erasure is answered, and
 *     is never replaced by a restore.  `tombstones_settle` brings both to the same content.
 *
 * File: entries of u32be length, u32be key id, sealed text; the AAD names municipality and place,
 * so that none can be moved, left out or repeated before the last.  A torn end is an erasure that
 * was not answered: its row is written again when the partition is opened. */
#ifndef VRS_SERVER_KEEPING_TOMBSTONE_H
#define VRS_SERVER_KEEPING_TOMBSTONE_H

#include "partitions/access_log.h"
#include "partitions/erase.h"

enum tombstone_what { TOMBSTONE_PERSON = 1, TOMBSTONE_PARTITION = 2 };

struct tombstone_head { /* of the access log */
    char epoch[40];
    uint64_t size;
    char root[65]; /* hex */
};

struct tombstone {
    struct record_id id; /* of the erasure */
    uint64_t sequence;
    enum tombstone_what what;
    struct record_id person; /* row id */
    int64_t at_ms;
    char by[64], approver[64], reason[512];
    char request[33]; /* that was approved; "" automatic */
    bool automatic;
    uint64_t count[ERASED_KIND_COUNT];
    struct tombstone_head before, after;
    struct buffer claims, numbers, blinds; /* as in struct erased */
};
void tombstone_init(struct tombstone *t); /* zeros, new id, now */
void tombstone_fini(struct tombstone *t);
/* Counts and lists of what went. */
VRS_CHECK enum vrs_err tombstone_of(struct tombstone *t, const struct erased *x);
/* The log as it stands in the transaction. */
VRS_CHECK enum vrs_err tombstone_head_now(struct partition *p, struct tombstone_head *out);

/* --- rows; inside the transaction --- */

VRS_CHECK enum vrs_err tombstone_put(struct partition *p, struct tombstone *t);
/* *out is initialised by the caller. */
VRS_CHECK enum vrs_err tombstone_get(struct partition *p, const struct record_id *id,
                                     struct tombstone *out);
typedef enum vrs_err tombstone_fn(struct tombstone *t, void *arg);
VRS_CHECK enum vrs_err tombstone_list(struct partition *p, uint64_t after, uint64_t limit,
                                      tombstone_fn *fn, void *arg);
/* Was the reading with this receipt erased? */
VRS_CHECK enum vrs_err tombstone_of_receipt(struct partition *p, const uint8_t *receipt,
                                            bool *erased);

/* --- the file; one thread a municipality --- */

struct tombstone_file {
    const char *dir; /* made when it is missing */
    struct keyring *keys;
    const char *ending; /* of a copy beside the backups; NULL: none */
};
/* Durable when it returns. */
VRS_CHECK enum vrs_err tombstone_append(const struct tombstone_file *f, const char *municipality,
                                        const struct tombstone *t, struct vrs_fault *fault);
/* In order.  ERR_TAMPERED: an entry does not open in its place. */
VRS_CHECK enum vrs_err tombstone_read(const struct tombstone_file *f, const char *municipality,
                                      tombstone_fn *fn, void *arg, struct vrs_fault *fault);
void tombstone_path(const struct tombstone_file *f, const char *municipality, char *out,
                    size_t cap);

/* Erasures that the file knows and this partition does not take effect again: *again grows by their
 * number, `x` gathers what went. */
VRS_CHECK enum vrs_err tombstones_take(struct partition *p, const struct tombstone_file *f,
                                       struct erased *x, uint64_t *again, struct vrs_fault *fault);
/* Erasures that the file knows and this partition does not take effect again (*again counts them,
 * `x` gathers what went); those that only the partition knows go into the file (*written). */
VRS_CHECK enum vrs_err tombstones_settle(struct partition *p, const struct tombstone_file *f,
                                         struct erased *x, uint64_t *again, uint64_t *written,
                                         struct vrs_fault *fault);

#endif
