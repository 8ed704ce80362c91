/* The worker threads that own the partitions.  A municipality belongs to one worker for ever; its
 * jobs run in order, each in a savepoint of the worker's current transaction, and all that were
 * waiting are committed at once (natural group commit). */
#ifndef PARTITIONS_POOL_H
#define PARTITIONS_POOL_H

#include "lib/worker.h"
#include "partitions/partition.h"

struct event_base;
struct pool;

enum pool_flag {
    POOL_CREATE = 1, /* may make the partition's file; without it an absent file is ERR_NOT_FOUND
                        and run is not called (an inquiry never creates a file) */
    POOL_LATER =
        2, /* nobody waits for it (sweeps, a start's looks, slices of an import): runs behind all that
                        is queued, one partition's at a time, so that others wait for one at most,
                        and leaves no cache in a file that nobody has waited for */
    POOL_FOLLOWED =
        4, /* runs when `committed` of the options has followed every commit before it */
};

/* What follows a commit is put off so long at most, unless a job waits for it. */
enum { POOL_FOLLOW_MS = 50 };

/* Embed it first. Zero it, set municipality, flags, run, done. */
struct pool_job {
    struct worker_job job; /* the pool's */
    char municipality[7];
    unsigned flags;
    /* On the worker, inside the transaction.  Anything but VRS_OK undoes this job alone. It may run
     * again from the start if a commit shared with others had to be repeated: it must only write
     * through `p` and to memory that it resets itself. */
    enum vrs_err (*run)(struct pool_job *job, struct partition *p);
    /* On the worker, after the commit that holds this job answered VRS_OK, outside a transaction, in
     * the order of the jobs: to read what is now durable (a log proof).  Not for a job that refused.
     * May be NULL. */
    void (*committed)(struct pool_job *job, struct partition *p);
    /* On the loop.  err: VRS_OK committed and durable; ERR_STORAGE surely not stored; ERR_UNKNOWN;
     * else what run returned (nothing of it is stored). */
    void (*done)(struct pool_job *job);
    enum vrs_err err;
    struct vrs_fault fault;
    struct pool *pool;
    unsigned worker_index; /* which worker runs it: for per-worker objects (number client) */
};

struct pool_options {
    const struct store_engine *engine;
    const char *dir;
    struct keyring *keys;
    unsigned workers;  /* 1..16 */
    size_t max_open;   /* partitions kept open over all workers, LRU above; two descriptors each */
    size_t max_queued; /* per worker */
    /* Called on the worker when a partition has been opened, inside its own transaction.  first: not
     * open before in this pool's life, so what is unfinished in it was cut off by a crash; a partition
     * that is closed and opened again (for others, for its file to be looked through) may be in the
     * middle of something.  May be NULL. */
    enum vrs_err (*opened)(struct partition *p, bool first, void *arg);
    /* On the worker after successful commits, outside a transaction: signs the log's head.  Before the
     * jobs' own when one of the group has such; else once for all commits of POOL_FOLLOW_MS, and when
     * the partition is closed.  May be NULL. */
    void (*committed)(struct partition *p, unsigned worker_index, void *arg);
    void *arg;
};

/* Opens no partition yet. */
VRS_CHECK enum vrs_err pool_open(struct event_base *base, const struct pool_options *o,
                                 struct pool **out, struct vrs_fault *fault);
void pool_close(struct pool **p); /* finishes what is queued */
VRS_CHECK enum vrs_err pool_submit(struct pool *p, struct pool_job *job);
/* Outside the transaction, on the worker, with no other job in flight on that partition: backup and
 * restore.  run gets NULL while `closed` is set (the file may be replaced). */
VRS_CHECK enum vrs_err pool_submit_exclusive(struct pool *p, struct pool_job *job, bool closed);
/* Opens every partition that has a file once, in the background, a few at a time. Loop only. */
VRS_CHECK enum vrs_err pool_warm(struct pool *p);
/* Codes that have a file, sorted; returns how many, fills at most cap. */
size_t pool_list(struct pool *p, char (*codes)[7], size_t cap);
/* Calls `each` for every code that has a file, now, on the loop. */
void pool_each(struct pool *p, void (*each)(const char *municipality, void *arg), void *arg);
bool pool_exists(struct pool *p, const char *municipality); /* no I/O beyond one stat */
size_t pool_open_files(const struct pool *p);               /* partitions open now */

#endif
