#include "vrs-server/operation/rotation.h"

#include <event2/event.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/operation/rotation_turn.h"

enum { PAUSE_MAX_US = 50000, AGAIN_SOON_MS = 1000, AGAIN_LATER_MS = 60000 };
enum { FAILS_TOLD = 60 }; /* in a row, of what may pass by itself: a minute */

/* A municipality that has, or may have, something to do. */
struct place {
    struct place *next;
    char code[7];
    unsigned order; /* not begun yet */
    bool of_all;    /* the next one of `all` waits for it */
    int64_t not_before_ms;
    unsigned fails; /* in a row */
    bool told;      /* the alert rotation_stuck is on */
};

struct turn_job {
    struct pool_job job; /* first */
    struct rotations *rotations;
    struct rotation_turn turn;
    char by[64];
    int64_t begun_us;
};

struct all_job {
    struct pool_job job; /* first */
    struct rotations *rotations;
    struct rotation_all all;
    bool put;
};

/* All on the loop, but `waiting`. */
struct rotations {
    struct server *server;
    struct event *timer;
    struct place *first, *last;
    atomic_size_t waiting;
    struct turn_job turn; /* works at `first` while it flies */
    bool flying, closing;
    struct rotation_all all;
    struct all_job all_job;
    bool all_flying, all_known, all_dirty;
};

/* ---- the queue */

static struct place *add_place(struct rotations *r, const char *code) {
    for (struct place *p = r->first; p != NULL; p = p->next) {
        if (strcmp(p->code, code) == 0) {
            p->not_before_ms = 0;
            return p;
        }
    }
    struct place *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL; /* the next start looks at all */
    (void)snprintf(p->code, sizeof p->code, "%s", code);
    *(r->last != NULL ? &r->last->next : &r->first) = p;
    r->last = p;
    atomic_fetch_add(&r->waiting, 1);
    return p;
}

static struct place *take_first(struct rotations *r) {
    struct place *p = r->first;
    r->first = p->next;
    if (r->first == NULL)
        r->last = NULL;
    p->next = NULL;
    return p;
}

static void put_last(struct rotations *r, struct place *p) {
    *(r->last != NULL ? &r->last->next : &r->first) = p;
    r->last = p;
}

static void wake(struct rotations *r, int64_t after_us) {
    const struct timeval t = {.tv_sec = after_us / 1000000, .tv_usec = after_us % 1000000};
    if (!r->closing)
        (void)event_add(r->timer, &t);
}

/* ---- all municipalities, in the order of their codes */

static enum vrs_err all_run(struct pool_job *job, struct partition *registry) {
    struct all_job *j = (struct all_job *)job;
    return j->put ? rotation_all_put(registry, &j->all) : rotation_all_get(registry, &j->all);
}

static void all_done(struct pool_job *job) {
    struct all_job *j = (struct all_job *)job;
    struct rotations *r = j->rotations;
    r->all_flying = false;
    if (job->err == VRS_OK && !j->put)
        r->all = j->all;
    if (job->err == VRS_OK)
        *(j->put ? &r->all_dirty : &r->all_known) = !j->put;
    wake(r, job->err == VRS_OK ? 0 : AGAIN_SOON_MS * 1000);
}

static void all_submit(struct rotations *r, bool put) {
    struct all_job *j = &r->all_job;
    r->all_dirty = r->all_dirty || put;
    *j = (struct all_job){
        .job = {.municipality = REGISTRY, .flags = POOL_CREATE, .run = all_run, .done = all_done},
        .rotations = r,
        .all = r->all,
        .put = put};
    r->all_flying = pool_submit(r->server->pool, &j->job) == VRS_OK;
    if (!r->all_flying)
        wake(r, AGAIN_SOON_MS * 1000);
}

struct following {
    const char *after;
    char code[7]; /* "" none */
};

static void see_code(const char *code, void *arg) {
    struct following *f = arg;
    if (strcmp(code, f->after) > 0 && (f->code[0] == '\0' || strcmp(code, f->code) < 0))
        (void)snprintf(f->code, sizeof f->code, "%s", code);
}

/* One of them at a time is in the queue. */
static void all_next(struct rotations *r) {
    struct following f = {.after = r->all.after};
    keyring_each(r->server->keys, see_code, &f);
    if (f.code[0] == '\0') {
        log_event(LOG_INFO, "rotation.all_done", LF_INT("order", r->all.order));
        r->all.order = 0;
        r->all.after[0] = '\0';
        r->all.ended_ms = clock_now_ms();
        all_submit(r, true);
        return;
    }
    struct place *p = add_place(r, f.code);
    if (p == NULL)
        return;
    p->order |= r->all.order;
    p->of_all = true;
}

static bool all_waits(const struct rotations *r) {
    for (const struct place *p = r->first; p != NULL; p = p->next) {
        if (p->of_all)
            return true;
    }
    return false;
}

/* ---- turns */

static enum vrs_err turn_run(struct pool_job *job, struct partition *p) {
    struct turn_job *t = (struct turn_job *)job;
    return rotation_turn(t->rotations->server, job->worker_index, job->municipality, p, &t->turn,
                         &job->fault);
}

static void all_passed(struct rotations *r, const struct place *p) {
    memcpy(r->all.after, p->code, sizeof r->all.after);
    all_submit(r, true);
}

static void turn_failed(struct rotations *r, struct place *p, enum vrs_err e,
                        const struct vrs_fault *fault) {
    bool soon = err_retryable(e);
    log_event(soon ? LOG_WARN : LOG_ERROR, "rotation.step_failed", LF_STR("municipality", p->code),
              LF_ERR(e), LF_STR("detail", fault->text));
    if (!soon || ++p->fails == FAILS_TOLD) {
        p->told = true;
        alert_state(r->server, "rotation_stuck", p->code, true);
    }
    p->not_before_ms = clock_mono_ms() + (soon ? AGAIN_SOON_MS : AGAIN_LATER_MS);
    if (p->of_all && !soon) { /* a row that does not open must not keep the others waiting */
        p->of_all = false;
        all_passed(r, p);
    }
}

static void turn_went(struct rotations *r, struct place *p) {
    p->fails = 0;
    if (p->told)
        alert_state(r->server, "rotation_stuck", p->code, false);
    p->told = false;
}

static void turn_done(struct pool_job *job) {
    struct turn_job *t = (struct turn_job *)job;
    struct rotations *r = t->rotations;
    struct place *p = take_first(r);
    int64_t took = clock_mono_us() - t->begun_us;
    r->flying = false;
    if (job->err == VRS_OK) {
        p->order &= ~t->turn.order;
        turn_went(r, p);
    } else {
        turn_failed(r, p, job->err, &job->fault);
    }
    if (job->err != VRS_OK || t->turn.more || p->order != 0) {
        put_last(r, p);
    } else {
        if (p->of_all)
            all_passed(r, p);
        atomic_fetch_sub(&r->waiting, 1);
        free(p);
    }
    wake(r, took < PAUSE_MAX_US ? took : PAUSE_MAX_US);
}

/* A town may have keys and nothing sealed under them: they are wrapped anew without its partition. */
static void turn_submit(struct rotations *r, struct place *p) {
    struct turn_job *t = &r->turn;
    bool keys_alone = !pool_exists(r->server->pool, p->code);
    *t = (struct turn_job){.rotations = r, .begun_us = clock_mono_us()};
    memcpy(t->job.municipality, p->code, sizeof t->job.municipality);
    t->job.flags = POOL_LATER;
    t->job.run = turn_run;
    t->job.done = turn_done;
    (void)snprintf(t->by, sizeof t->by, "%s", r->all.by);
    t->turn.by = t->by;
    t->turn.order = p->order;
    enum vrs_err e = keys_alone ? pool_submit_exclusive(r->server->pool, &t->job, true)
                                : pool_submit(r->server->pool, &t->job);
    r->flying = e == VRS_OK;
    if (e != VRS_OK)
        wake(r, AGAIN_SOON_MS * 1000);
}

static void tick(evutil_socket_t fd, short what, void *arg) {
    struct rotations *r = arg;
    (void)fd, (void)what;
    if (r->flying || r->all_flying || r->closing)
        return;
    if (r->all_dirty || !r->all_known) {
        all_submit(r, r->all_dirty);
        return;
    }
    if (r->all.order != 0 && !all_waits(r)) {
        all_next(r);
        if (r->all_flying)
            return;
    }
    int64_t now = clock_mono_ms(), soonest = INT64_MAX;
    for (size_t n = atomic_load(&r->waiting); n > 0; n--) {
        if (r->first->not_before_ms <= now) {
            turn_submit(r, r->first);
            return;
        }
        if (r->first->not_before_ms < soonest)
            soonest = r->first->not_before_ms;
        put_last(r, take_first(r));
    }
    if (soonest != INT64_MAX)
        wake(r, (soonest - now) * 1000);
}

/* ---- from outside */

enum vrs_err rotations_open(struct server *s, struct rotations **out) {
    struct rotations *r = calloc(1, sizeof *r);
    *out = r;
    if (r == NULL)
        return ERR_MEMORY;
    r->server = s;
    atomic_init(&r->waiting, 0);
    r->timer = event_new(s->base, -1, 0, tick, r);
    return r->timer != NULL ? VRS_OK : ERR_MEMORY;
}

void rotations_close(struct rotations **rotations) {
    struct rotations *r = *rotations;
    if (r == NULL)
        return;
    if (r->timer != NULL)
        event_free(r->timer);
    while (r->first != NULL)
        free(take_first(r));
    free(r);
    *rotations = NULL;
}

static void resume_one(const char *code, void *arg) {
    (void)add_place(arg, code);
}

void rotations_resume(struct rotations *r) {
    keyring_each(r->server->keys, resume_one, r);
    wake(r, 0);
}

void rotations_go_on(struct rotations *r, const char *municipality) {
    if (strcmp(municipality, "all") == 0) {
        r->all_known = false;
        keyring_each(r->server->keys, resume_one, r);
    } else {
        (void)add_place(r, municipality);
    }
    wake(r, 0);
}

size_t rotations_waiting(const struct rotations *r) {
    return atomic_load(&r->waiting);
}
