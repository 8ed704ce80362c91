/* Erasing people (消去), by hand with a second person's approval, or when their time is over.
 *
 *   DELETE ─► approved? ─no──► request filed, 202
 *                │yes
 *   one transaction: rows, imports, counts, log entry, tombstone row
 *                ▼ committed
 *   numbers in vrs-number, tombstone file synced (and beside the backups)
 *                ▼
 *   file closed, looked through, written anew where a trace is left ─► 204
 *
 * A crash between the steps, vrs-number away, a full disk: STATE/tombstones/<code>.unfinished stands
 * from the first step after the commit until the last one is done; opening a partition writes
 * missing tombstones and makes that mark, too.  While it stands, erasures_tick erases the numbers of
 * all tombstones and writes the file anew. */
#ifndef VRS_SERVER_KEEPING_ERASURE_H
#define VRS_SERVER_KEEPING_ERASURE_H

#include "vrs-server/keeping/tombstone.h"
#include "vrs-server/server.h"

enum { ERASURE_BATCH = 50 };

struct erasure_batch {
    struct server *server;
    size_t count;
    struct tombstone stone[ERASURE_BATCH];
    struct buffer seals; /* of all that went */
    struct tally_batch *tally;
    bool numbers_left; /* vrs-number was away */
};
VRS_CHECK enum vrs_err erasure_batch_init(struct server *s, struct erasure_batch *b);
void erasure_batch_fini(struct erasure_batch *b);
/* A job may run again from its start: forgets what an earlier run put in. */
void erasure_batch_reset(struct erasure_batch *b);

/* Its savepoint was undone. */
void erasure_batch_drop_last(struct erasure_batch *b);

struct erasure_why { /* borrowed */
    const char *by, *approver, *reason, *request;
    bool automatic;
};
/* Makes the act's entry in the log; `x` says how much went. */
typedef enum vrs_err erasure_log_fn(struct partition *p, const struct person *person,
                                    const struct erased *x, void *arg);
/* Inside the transaction: all of one person, with log entry and tombstone.  The person must be
 * there. */
VRS_CHECK enum vrs_err erasure_person(struct erasure_batch *b, struct partition *p,
                                      struct person *person, const struct erasure_why *why,
                                      erasure_log_fn *log, void *arg);
/* On the worker, after the commit: numbers and the tombstone file. */
VRS_CHECK enum vrs_err erasure_settle(struct erasure_batch *b, const char *municipality,
                                      unsigned worker_index, struct vrs_fault *fault);
/* On the worker, the partition closed. */
VRS_CHECK enum vrs_err erasure_scrub(struct erasure_batch *b, const char *municipality,
                                     struct vrs_fault *fault);

/* Loop, now and then: what was left unfinished. */
void erasures_tick(struct server *s);

/* When a partition is opened: erasures that an older file does not know take effect again. */
VRS_CHECK enum vrs_err erasure_opened(struct server *s, struct partition *p);

struct json_t;
/* Fills `text` with the certificate (消去証明書) in Japanese; the same tombstone gives the same text.
 */
VRS_CHECK enum vrs_err erasure_certificate(const struct server *s, const char *municipality,
                                           const struct tombstone *t, struct buffer *text);

#endif
