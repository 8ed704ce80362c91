#include "tablet-api/event.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/metric.h"
#include "lib/throttle.h"
#include "ocr-ingest/coupon.h"
#include "tablet-api/inbox.h"
#include "tablet-api/tablet.h"

enum {
    THIN_NAMES = 4096,
    THIN_COUNT = 3,
    THIN_WINDOW_MS = 60000,
    TELL_S = 10, /* what was left out is told so soon: the inside raises alerts within a minute */
    PLAIN_MAX = 1024,
    COUNTED = 256 /* kinds with something left out at a time; above, the oldest is told early */
};

/* Events of one name and terminal that were left out. */
struct counted {
    struct line_event event; /* as the last one was */
    char municipality[7];
    int64_t since_ms;
    uint64_t more; /* 0: free */
};

struct events {
    struct tablet *tablet;
    struct throttle *thin;
    struct counted counted[COUNTED];
    struct event *timer;
};

struct pending_event {
    struct inbox_put put; /* first: the job */
    void (*done)(enum vrs_err e, void *arg);
    void *arg;
};

static struct metric m_noted = {.name = "vrs_events_total",
                                .help = "Events of this side handed to the inbox",
                                .type = METRIC_COUNTER,
                                .registered = ATOMIC_FLAG_INIT};
static struct metric m_thinned = {.name = "vrs_events_thinned_total",
                                  .help = "Repeated events that were left out",
                                  .type = METRIC_COUNTER,
                                  .registered = ATOMIC_FLAG_INIT};

static void tell_counted(evutil_socket_t fd, short what, void *arg);

enum vrs_err events_open(struct tablet *t, struct events **out) {
    *out = NULL;
    struct events *e = calloc(1, sizeof *e);
    if (e == NULL)
        return ERR_MEMORY;
    e->tablet = t;
    e->thin = throttle_open(THIN_NAMES, THIN_COUNT, THIN_WINDOW_MS);
    if (e->thin == NULL) {
        free(e);
        return ERR_MEMORY;
    }
    e->timer = event_new(t->base, -1, EV_PERSIST, tell_counted, e);
    const struct timeval every = {.tv_sec = TELL_S};
    if (e->timer == NULL || event_add(e->timer, &every) != 0) {
        events_close(&e);
        return ERR_MEMORY;
    }
    metric_register(&m_noted);
    metric_register(&m_thinned);
    *out = e;
    return VRS_OK;
}

void events_close(struct events **e) {
    if (*e == NULL)
        return;
    throttle_close(&(*e)->thin);
    if ((*e)->timer != NULL)
        event_free((*e)->timer);
    free(*e);
    *e = NULL;
}

static struct counted *counted_of(struct events *e, const char *name, const char *terminal) {
    for (size_t i = 0; i < COUNTED; i++) {
        struct counted *c = &e->counted[i];
        if (c->more > 0 && strcmp(c->event.name, name) == 0 &&
            strcmp(c->event.terminal, terminal) == 0)
            return c;
    }
    return NULL;
}

static bool thinned_out(struct events *e, const struct event_note *n) {
    char name[160];
    if (!n->thin)
        return false;
    (void)snprintf(name, sizeof name, "%s %s", n->name, n->terminal);
    if (!throttle_allows(e->thin, name, NULL)) {
        metric_add(&m_thinned, 1);
        return true;
    }
    throttle_count(e->thin, name);
    return false;
}

static void put_done(struct worker_job *job) {
    struct pending_event *p = (struct pending_event *)job;
    if (p->put.job.err == VRS_OK)
        metric_add(&m_noted, 1);
    if (p->done != NULL)
        p->done(p->put.job.err, p->arg);
    free(p);
}

static const char *place_of(const struct events *e, const char *municipality) {
    bool known = municipality != NULL && e->tablet->municipalities != NULL &&
                 municipality_find(e->tablet->municipalities, municipality) != NULL;
    return known ? municipality : "000000";
}

static enum vrs_err submit(struct events *e, const struct line_event *event,
                           const char *municipality, void (*done)(enum vrs_err e, void *arg),
                           void *arg) {
    struct pending_event *p = calloc(1, sizeof *p);
    if (p == NULL)
        return ERR_MEMORY;
    p->done = done;
    p->arg = arg;
    p->put.kind = LINE_EVENT;
    p->put.received_ms = event->at_ms;
    memcpy(p->put.municipality, municipality, sizeof p->put.municipality);
    memcpy(p->put.terminal, event->terminal, sizeof p->put.terminal);
    crypto_id(p->put.receipt);
    buffer_init(&p->put.plain, PLAIN_MAX);
    line_event_encode(event, &p->put.plain);
    enum vrs_err err = inbox_submit_put(e->tablet->inbox, &p->put, put_done);
    if (err != VRS_OK) {
        buffer_fini(&p->put.plain);
        free(p);
    }
    return err;
}

static void tell(struct events *e, struct counted *c) {
    c->event.more = c->more - 1; /* this one is told, the others before it are counted */
    if (submit(e, &c->event, c->municipality, NULL, NULL) == VRS_OK)
        c->more = 0;
}

static void tell_counted(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct events *e = arg;
    for (size_t i = 0; i < COUNTED; i++) {
        if (e->counted[i].more > 0)
            tell(e, &e->counted[i]);
    }
}

static void count_out(struct events *e, const struct line_event *event, const char *municipality) {
    struct counted *c = counted_of(e, event->name, event->terminal), *oldest = &e->counted[0];
    for (size_t i = 0; c == NULL && i < COUNTED; i++) {
        if (e->counted[i].more == 0)
            c = &e->counted[i];
        else if (e->counted[i].since_ms < oldest->since_ms)
            oldest = &e->counted[i];
    }
    if (c == NULL) {
        tell(e, oldest);
        c = oldest;
        c->more = 0;
    }
    c->event = *event;
    memcpy(c->municipality, municipality, sizeof c->municipality);
    if (c->more++ == 0)
        c->since_ms = clock_mono_ms();
}

void event_note(struct events *e, const struct event_note *n) {
    struct line_event event = {.at_ms = clock_now_ms()};
    const char *place = place_of(e, n->municipality);
    (void)snprintf(event.name, sizeof event.name, "%s", n->name);
    (void)snprintf(event.terminal, sizeof event.terminal, "%s", n->terminal);
    (void)snprintf(event.staff, sizeof event.staff, "%s", n->staff);
    (void)snprintf(event.source, sizeof event.source, "%s", n->source);
    enum vrs_err err = VRS_OK;
    bool queued = !thinned_out(e, n);
    if (queued) {
        struct counted *before = counted_of(e, event.name, event.terminal);
        event.more = n->more + (before != NULL ? before->more : 0);
        err = submit(e, &event, place, n->done, n->arg);
        if (err == VRS_OK && before != NULL)
            before->more = 0;
    } else {
        count_out(e, &event, place);
    }
    if ((!queued || err != VRS_OK) && n->done != NULL)
        n->done(err, n->arg);
}
