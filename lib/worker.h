/* A thread with a queue.  Jobs go in from any thread; each job's `done` runs on the loop thread
 * that opened the worker (hand-over by a queue and an eventfd).  What a worker owns is touched by
 * that thread only. */
#ifndef VRS_LIB_WORKER_H
#define VRS_LIB_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

struct event_base;
struct worker;

/* Embed it first in a job of your own; it must stay alive until `done` has run (or, without
 * `done`, until `run` has returned). */
struct worker_job {
    struct worker_job *next;              /* the worker's */
    void (*run)(struct worker_job *job);  /* on the worker */
    void (*done)(struct worker_job *job); /* on the loop; may be NULL */
};

/* Called on the worker with everything that was queued, in order, instead of job->run one by one;
 * so a worker that owns a file can commit once for all of them.  It must hand each job to
 * worker_finish exactly once, now or later (it must take `job->next` first), but before the last
 * call of the batch function returns.  It answers true to be called again at once even when nothing new
 * came (`jobs` NULL then).  `batch` NULL: run, then finish, one by one. */
typedef bool worker_batch_fn(struct worker *w, struct worker_job *jobs, void *arg);

/* `max_queued` bounds the queue; worker_submit answers ERR_BUSY above it. */
VRS_CHECK enum vrs_err worker_open(struct event_base *base, const char *name, size_t max_queued,
                                   worker_batch_fn *batch, void *arg, struct worker **out);
/* Lets queued jobs finish, joins the thread, runs the remaining `done`s (what these submit is
 * refused with ERR_BUSY). */
void worker_close(struct worker **w);
VRS_CHECK enum vrs_err worker_submit(struct worker *w, struct worker_job *job);
/* On the worker.  Finished jobs gather until the batch function returns or worker_tell is called:
 * the loop is woken once for all of them. */
void worker_finish(struct worker *w, struct worker_job *job);
void worker_tell(struct worker *w);
/* On the worker: from now on the thread waits so long (below a second; 0: not at all) between the
 * first job that comes and taking what is queued by then.  For work with a price a batch (a sync)
 * while much comes: fewer, larger batches. */
void worker_gather(struct worker *w, unsigned us);
/* On the worker: the batch function is called after `ms` at the latest, with no jobs when none came;
 * sooner when the thread ends.  Holds for one call; asked again, the last time counts. */
void worker_call_in(struct worker *w, unsigned ms);
size_t worker_queued(struct worker *w);

#endif
