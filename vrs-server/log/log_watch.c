#include "vrs-server/log/log_watch.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/merkle.h"
#include "partitions/access_log.h"
#include "vrs-server/alerts/alert.h"

/* Entries a turn of the worker, about a millisecond, and how long it then leaves the processors to
 * others: a billion entries a day. */
enum { SLICE = 100, REST_US = 3000 };

struct log_watch {
    struct pool_job job; /* first: one slice at a time */
    struct server *server;
    struct event *rest; /* between two slices */
    char (*town)[7];    /* of this round */
    size_t towns, next;
    bool busy;
    /* The town in hand, as of the last slice that was done, and as of the one in flight. */
    struct merkle_range done, range;
    bool over;
    uint64_t seen;
};

static void submit(struct log_watch *w);

static void rested(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    submit(arg);
}

struct log_watch *log_watch_open(struct server *s) {
    struct log_watch *w = calloc(1, sizeof *w);
    if (w == NULL || (w->rest = event_new(s->base, -1, 0, rested, w)) == NULL) {
        free(w);
        return NULL;
    }
    w->server = s;
    return w;
}

struct slice {
    struct log_watch *watch;
    struct partition *partition;
};

static enum vrs_err see_entry(const struct log_read *e, void *arg) {
    const struct slice *s = arg;
    struct log_watch *w = s->watch;
    if (w->range.size == 0 && e->seq > 1) { /* purged at the start: their leaf hashes stayed */
        enum vrs_err known = access_log_range_at(s->partition, e->seq - 1, &w->range);
        if (known != VRS_OK)
            return known;
    }
    if (e->seq != w->range.size + 1)
        return ERR_TAMPERED;
    merkle_range_add(&w->range, &e->leaf);
    w->seen++;
    return VRS_OK;
}

static enum vrs_err slice_run(struct pool_job *job, struct partition *p) {
    struct log_watch *w = (struct log_watch *)job;
    struct slice s = {w, p};
    struct merkle_hash root, stored;
    w->range = w->done;
    w->seen = 0;
    enum vrs_err e = access_log_read(p, w->range.size, SLICE, see_entry, &s);
    w->over = e == VRS_OK && w->seen < SLICE;
    if (w->over && w->range.size > 0) {
        merkle_range_root(&w->range, &root);
        e = access_log_root_at(p, w->range.size, &stored);
        if (e == VRS_OK && memcmp(root.bytes, stored.bytes, sizeof root.bytes) != 0)
            e = ERR_TAMPERED;
    }
    return e;
}

static void slice_done(struct pool_job *job) {
    struct log_watch *w = (struct log_watch *)job;
    enum vrs_err e = job->err;
    bool broken = e == ERR_TAMPERED || e == ERR_CORRUPT || e == ERR_CRYPTO || e == ERR_NOT_FOUND;
    w->busy = false;
    if (broken) {
        log_event(LOG_ERROR, "log.does_not_verify", LF_STR("municipality", job->municipality),
                  LF_INT("after", w->done.size));
        alert_note(w->server, "log_break", job->municipality);
    }
    if (e == VRS_OK && !w->over) {
        static const struct timeval rest = {.tv_usec = REST_US};
        w->done = w->range;
        w->busy = event_add(w->rest, &rest) == 0;
    }
}

static void submit(struct log_watch *w) {
    w->job.flags = POOL_LATER;
    w->job.run = slice_run;
    w->job.done = slice_done;
    w->job.err = VRS_OK;
    w->busy = pool_submit(w->server->pool, &w->job) == VRS_OK;
}

void log_watch_begin(struct log_watch *w) {
    if (w->busy || w->next < w->towns) { /* it goes on, so that the last ones have their turn */
        log_event(LOG_WARN, "log.round_not_over", LF_INT("left", (int64_t)(w->towns - w->next)));
        return;
    }
    size_t count = pool_list(w->server->pool, NULL, 0);
    char(*town)[7] = calloc(count > 0 ? count : 1, sizeof *town);
    if (town == NULL)
        return;
    free(w->town);
    w->town = town;
    size_t there = pool_list(w->server->pool, town, count);
    w->towns = there < count ? there : count;
    w->next = 0;
}

void log_watch_turn(struct log_watch *w) {
    if (w->busy || w->next >= w->towns)
        return;
    memcpy(w->job.municipality, w->town[w->next++], sizeof w->job.municipality);
    merkle_range_init(&w->done);
    submit(w);
}
