/* What the Internet side must tell the inside besides doses: log-ins, refusals, alerts.  Sealed
 * entries like any other; repeated refusals of one kind and terminal are thinned out by time: those
 * that are left out are counted, and the next one (or one of its own soon after) says how
 * many. */
#ifndef TABLET_API_EVENT_H
#define TABLET_API_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

struct events;
struct tablet;

VRS_CHECK enum vrs_err events_open(struct tablet *t, struct events **out);
void events_close(struct events **e);

struct event_note {
    const char *name;         /* "session.opened" … */
    const char *terminal;     /* "" unknown */
    const char *staff;        /* "" none */
    const char *source;       /* peer address */
    const char *municipality; /* of the site: whose log it goes to; NULL or unknown: the registry */
    uint64_t more;            /* others like it that this one stands for */
    bool thin;                /* at most a few a minute of this name and terminal */
    /* On the loop once it is durable (or could not be made so); may be NULL. */
    void (*done)(enum vrs_err e, void *arg);
    void *arg;
};
/* Always calls `done`, at once when nothing could be queued or it was thinned out. */
void event_note(struct events *e, const struct event_note *n);

#endif
