/* Inquiries and time: results delete themselves (C88), whoever looks or not, and what was asked and
 * never answered ends as aborted. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "partitions/exchange.h"
#include "partitions/scrub.h"
#include "vrs-server/handlers.h"
#include "vrs-server/request.h"

struct sweep_job {
    struct pool_job job; /* first */
    struct server *server;
    uint64_t expired, aborted;
    struct erased erased; /* the seals of results that went */
};

static enum vrs_err expire_run(struct pool_job *job, struct partition *p) {
    enum { LONGEST_MS = 300000 }; /* no request lives so long */
    struct sweep_job *s = (struct sweep_job *)job;
    int64_t now_ms = clock_now_ms();
    buffer_clear(&s->erased.seals); /* it may run again */
    enum vrs_err e = inquiries_expire(p, now_ms, &s->expired, &s->erased);
    return e == VRS_OK ? inquiries_abort_open(p, now_ms - LONGEST_MS, &s->aborted) : e;
}

static void sweep_free(struct sweep_job *s) {
    erased_fini(&s->erased);
    free(s);
}

/* The partition is closed: its journal is empty, and the file is looked through for what went. */
static enum vrs_err wipe_run(struct pool_job *job, struct partition *p) {
    struct sweep_job *s = (struct sweep_job *)job;
    struct scrub_result done;
    char dir[512];
    (void)p;
    (void)snprintf(dir, sizeof dir, "%s/partitions", s->server->config.state_dir);
    return scrub_file(&store_sqlite, dir, job->municipality, &s->erased.seals, SCRUB_SMALL_BYTES,
                      &done, &job->fault);
}

static void wipe_done(struct pool_job *job) {
    if (job->err != VRS_OK) /* the next expiry looks again */
        log_fault(LOG_ERROR, "inquiry.wipe_failed", &job->fault);
    sweep_free((struct sweep_job *)job);
}

static void expire_done(struct pool_job *job) {
    struct sweep_job *s = (struct sweep_job *)job;
    if (job->err == VRS_OK && s->aborted > 0)
        log_event(LOG_WARN, "inquiry.aborted", LF_STR("municipality", job->municipality),
                  LF_INT("count", s->aborted));
    if (job->err != VRS_OK || s->expired == 0) {
        sweep_free(s);
        return;
    }
    log_event(LOG_INFO, "inquiry.expired", LF_STR("municipality", job->municipality),
              LF_INT("count", s->expired));
    job->run = wipe_run;
    job->done = wipe_done;
    if (pool_submit_exclusive(s->server->pool, job, true) != VRS_OK)
        sweep_free(s);
}

static void expire_in(const char *municipality, void *arg) {
    struct server *server = arg;
    struct sweep_job *s = calloc(1, sizeof *s);
    if (s == NULL)
        return; /* the next minute */
    s->server = server;
    erased_init(&s->erased);
    INSIDE_COPY(s->job.municipality, municipality);
    s->job.flags = POOL_LATER;
    s->job.run = expire_run;
    s->job.done = expire_done;
    if (pool_submit(server->pool, &s->job) != VRS_OK)
        sweep_free(s);
}

void inquiries_sweep(struct server *server) {
    pool_each(server->pool, expire_in, server);
}
