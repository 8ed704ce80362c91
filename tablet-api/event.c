#include "tablet-api/event.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/metric.h"
#include "lib/throttle.h"
#include "tablet-api/inbox.h"
#include "tablet-api/tablet.h"

enum { THIN_NAMES = 4096, THIN_COUNT = 3, THIN_WINDOW_MS = 60000, PLAIN_MAX = 1024 };

struct events {
    struct tablet *tablet;
    struct throttle *thin;
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
    metric_register(&m_noted);
    metric_register(&m_thinned);
    *out = e;
    return VRS_OK;
}

void events_close(struct events **e) {
    if (*e == NULL)
        return;
    throttle_close(&(*e)->thin);
    free(*e);
    *e = NULL;
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

void event_note(struct events *e, const struct event_note *n) {
    struct pending_event *p = NULL;
    enum vrs_err err = VRS_OK;
    if (thinned_out(e, n))
        goto now;
    err = ERR_MEMORY;
    p = calloc(1, sizeof *p);
    if (p == NULL)
        goto now;
    struct line_event event = {.at_ms = clock_now_ms()};
    (void)snprintf(event.name, sizeof event.name, "%s", n->name);
    (void)snprintf(event.terminal, sizeof event.terminal, "%s", n->terminal);
    (void)snprintf(event.staff, sizeof event.staff, "%s", n->staff);
    (void)snprintf(event.source, sizeof event.source, "%s", n->source);
    p->done = n->done;
    p->arg = n->arg;
    p->put.kind = LINE_EVENT;
    p->put.received_ms = event.at_ms;
    memcpy(p->put.municipality, "000000", sizeof p->put.municipality);
    memcpy(p->put.terminal, event.terminal, sizeof p->put.terminal);
    crypto_random(p->put.receipt, sizeof p->put.receipt);
    buffer_init(&p->put.plain, PLAIN_MAX);
    line_event_encode(&event, &p->put.plain);
    err = inbox_submit_put(e->tablet->inbox, &p->put, put_done);
    if (err == VRS_OK)
        return;
    buffer_fini(&p->put.plain);
    free(p);
now:
    if (n->done != NULL)
        n->done(err, n->arg);
}
