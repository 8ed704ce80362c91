#include "tests/sim/machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <event2/event.h>

#include "lib/clock.h"
#include "lib/worker.h"
#include "tests/sim/line.h"

enum { THINGS = 64, START_S = 1625101200 /* 2021-07-01T01:00Z: ten in Japan */ };

struct chance machine_chance;
static struct chance random_bytes;
static int64_t now_us;

/* ---- clock and random bytes: in place of the C library's */

int clock_gettime(clockid_t id, struct timespec *ts) {
    int64_t us = now_us + (id == CLOCK_REALTIME ? START_S * INT64_C(1000000) : INT64_C(3600000000));
    now_us += 3;
    *ts = (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    return 0;
}

void machine_advance_ms(int64_t ms) {
    now_us += ms * 1000;
}

int64_t machine_now_ms(void) {
    return START_S * INT64_C(1000) + now_us / 1000;
}

ssize_t getrandom(void *out, size_t n, unsigned flags) {
    uint8_t *p = out;
    (void)flags;
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(chance_next(&random_bytes) >> 32);
    return (ssize_t)n;
}

/* ---- workers */

struct list {
    struct worker_job *first, **last;
};

struct worker {
    worker_batch_fn *batch;
    void *arg;
    struct list queued, finished;
    size_t queued_count, max;
    bool more;        /* the batch function wants to be called again */
    unsigned call_ms; /* … so much later; 0: no */
    bool closing;
    struct worker *next;
};

static struct worker *workers;

static void list_clear(struct list *l) {
    l->first = NULL;
    l->last = &l->first;
}

static void list_add(struct list *l, struct worker_job *j) {
    j->next = NULL;
    *l->last = j;
    l->last = &j->next;
}

enum vrs_err worker_open(struct event_base *base, const char *name, size_t max_queued,
                         worker_batch_fn *batch, void *arg, struct worker **out) {
    (void)base, (void)name;
    struct worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        return ERR_MEMORY;
    w->batch = batch;
    w->arg = arg;
    w->max = max_queued;
    list_clear(&w->queued);
    list_clear(&w->finished);
    w->next = workers;
    workers = w;
    *out = w;
    return VRS_OK;
}

enum vrs_err worker_submit(struct worker *w, struct worker_job *job) {
    if (w->closing || w->queued_count >= w->max)
        return ERR_BUSY;
    list_add(&w->queued, job);
    w->queued_count++;
    return VRS_OK;
}

size_t worker_queued(struct worker *w) {
    return w->queued_count;
}

void worker_finish(struct worker *w, struct worker_job *job) {
    list_add(&w->finished, job);
}

/* What is finished is on the list of what can happen next, told or not. */
void worker_tell(struct worker *w) {
    (void)w;
}

/* What is queued together is chance here anyway. */
void worker_gather(struct worker *w, unsigned us) {
    (void)w;
    (void)us;
}

void worker_call_in(struct worker *w, unsigned ms) {
    w->call_ms = ms > 0 ? ms : 1;
}

static void work(struct worker *w) {
    struct worker_job *jobs = w->queued.first;
    w->call_ms = 0;
    list_clear(&w->queued);
    w->queued_count = 0;
    if (w->batch != NULL) {
        w->more = w->batch(w, jobs, w->arg);
        return;
    }
    for (struct worker_job *j = jobs, *next; j != NULL; j = next) {
        next = j->next;
        if (j->run != NULL)
            j->run(j);
        worker_finish(w, j);
    }
}

static bool has_work(const struct worker *w) {
    return w->queued.first != NULL || w->more;
}

static void hand_back(struct worker *w) {
    struct worker_job *jobs = w->finished.first;
    list_clear(&w->finished);
    for (struct worker_job *j = jobs, *next; j != NULL; j = next) {
        next = j->next;
        if (j->done != NULL)
            j->done(j);
    }
}

void worker_close(struct worker **wp) {
    struct worker *w = *wp;
    if (w == NULL)
        return;
    while (has_work(w))
        work(w);
    if (w->call_ms > 0)
        work(w);
    w->closing = true;
    while (w->finished.first != NULL)
        hand_back(w);
    for (struct worker **at = &workers; *at != NULL; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            break;
        }
    }
    free(w);
    *wp = NULL;
}

/* ---- timers: in place of libevent's */

struct event {
    event_callback_fn call;
    void *arg;
    bool armed, outside;
    struct event *next;
};

static struct event *timers;
bool machine_outside;

void machine_drop_timers(bool outside) {
    for (struct event *e = timers; e != NULL; e = e->next)
        e->armed = e->armed && e->outside != outside;
}

struct event *event_new(struct event_base *base, evutil_socket_t fd, short what,
                        event_callback_fn call, void *arg) {
    (void)base, (void)fd, (void)what;
    struct event *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->call = call;
    e->arg = arg;
    e->outside = machine_outside;
    e->next = timers;
    timers = e;
    return e;
}

int event_add(struct event *e, const struct timeval *in) {
    (void)in;
    e->armed = true;
    return 0;
}

int event_del(struct event *e) {
    e->armed = false;
    return 0;
}

void event_free(struct event *e) {
    for (struct event **at = &timers; *at != NULL; at = &(*at)->next) {
        if (*at == e) {
            *at = e->next;
            break;
        }
    }
    free(e);
}

/* ---- what happens next */

void machine_reset(uint64_t seed, const struct machine_network *network) {
    machine_chance.state = chance_mix(seed + 2);
    random_bytes.state = chance_mix(seed + 3);
    now_us = 0;
    line_clear();
    line_reset(network);
}

bool machine_step(bool with_timers) {
    struct {
        enum { WORK, HAND_BACK, TIMER, CALL, MESSAGE } what;
        void *on;
    } things[THINGS];
    size_t n = 0;
    for (struct worker *w = workers; w != NULL; w = w->next) {
        if (has_work(w) && n < THINGS)
            things[n].what = WORK, things[n++].on = w;
        if (w->finished.first != NULL && n < THINGS)
            things[n].what = HAND_BACK, things[n++].on = w;
    }
    for (size_t i = 0; i < line_messages() && n < THINGS; i++)
        things[n].what = MESSAGE, things[n++].on = (void *)(uintptr_t)i;
    if (with_timers && (n == 0 || chance_one_in(&machine_chance, 8))) {
        for (struct event *e = timers; e != NULL; e = e->next)
            if (e->armed && n < THINGS)
                things[n].what = TIMER, things[n++].on = e;
        for (struct worker *w = workers; w != NULL; w = w->next)
            if (w->call_ms > 0 && n < THINGS)
                things[n].what = CALL, things[n++].on = w;
    }
    if (n == 0)
        return false;
    size_t i = chance_below(&machine_chance, n);
    switch (things[i].what) {
    case WORK:
        work(things[i].on);
        break;
    case HAND_BACK:
        hand_back(things[i].on);
        break;
    case TIMER: {
        struct event *e = things[i].on;
        e->armed = false;
        machine_advance_ms(500);
        e->call(-1, EV_TIMEOUT, e->arg);
        break;
    }
    case CALL:
        machine_advance_ms(((struct worker *)things[i].on)->call_ms);
        work(things[i].on);
        break;
    case MESSAGE:
        line_message((size_t)(uintptr_t)things[i].on);
        break;
    }
    return true;
}

void machine_calm(void) {
    line_reset(NULL);
}
