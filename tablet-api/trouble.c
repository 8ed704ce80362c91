#include "tablet-api/trouble.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "tablet-api/event.h"
#include "tablet-api/tablet.h"

enum {
    TELL_S = 5,
    LOOK_TURNS = 2,        /* disk and clock every other time */
    DISK_LOW_PERCENT = 10, /* as disk_low in data/alerts.json: tested */
    CLOCK_STEP_MS = 3000,
    KINDS = 256 /* of trouble in one turn; above, sources are one: "(many)" */
};

struct seen {
    const char *name; /* of the event; NULL: free */
    char source[48];
    uint64_t count;
};

struct trouble {
    struct tablet *tablet;
    struct event *timer;
    struct seen seen[KINDS + 8]; /* the last ones for "(many)" */
    size_t count;
    unsigned turns;
    int64_t wall_minus_mono_ms;
    bool disk_low;
};

static void count_one(struct trouble *t, const char *name, const char *source) {
    if (t->count >= KINDS)
        source = "(many)";
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->seen[i].name, name) == 0 && strcmp(t->seen[i].source, source) == 0) {
            t->seen[i].count++;
            return;
        }
    }
    if (t->count == sizeof t->seen / sizeof *t->seen)
        return; /* cannot be: fewer names than places kept for them */
    struct seen *s = &t->seen[t->count++];
    s->name = name;
    s->count = 1;
    (void)snprintf(s->source, sizeof s->source, "%s", source);
}

static void tell(const struct trouble *t, const char *name, const char *source, uint64_t more) {
    const struct event_note note = {
        .name = name, .terminal = "", .staff = "", .source = source, .more = more};
    event_note(t->tablet->events, &note);
}

static void look_at_disk(struct trouble *t) {
    struct statvfs v;
    if (statvfs(t->tablet->config.state_dir, &v) != 0 || v.f_blocks == 0)
        return;
    bool low = 100.0 * (double)v.f_bavail / (double)v.f_blocks < DISK_LOW_PERCENT;
    if (low != t->disk_low) {
        log_plain(low ? LOG_WARN : LOG_INFO, low ? "disk.low" : "disk.enough");
        tell(t, low ? "disk.low" : "disk.enough", "", 0);
    }
    t->disk_low = low;
}

static void look_at_clock(struct trouble *t) {
    int64_t now = clock_now_ms() - clock_mono_ms();
    int64_t step = now - t->wall_minus_mono_ms;
    t->wall_minus_mono_ms = now;
    if (llabs(step) > CLOCK_STEP_MS) {
        log_event(LOG_WARN, "clock.jumped", LF_INT("step_ms", step));
        tell(t, "clock.jumped", "", 0);
    }
}

static void on_turn(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct trouble *t = arg;
    for (size_t i = 0; i < t->count; i++)
        tell(t, t->seen[i].name, t->seen[i].source, t->seen[i].count - 1);
    t->count = 0;
    if (t->turns++ % LOOK_TURNS == 0) {
        look_at_disk(t);
        look_at_clock(t);
    }
}

enum vrs_err trouble_open(struct tablet *tablet, struct trouble **out) {
    const struct timeval every = {.tv_sec = TELL_S};
    struct trouble *t = calloc(1, sizeof *t);
    *out = t;
    if (t == NULL)
        return ERR_MEMORY;
    t->tablet = tablet;
    t->wall_minus_mono_ms = clock_now_ms() - clock_mono_ms();
    t->timer = event_new(tablet->base, -1, EV_PERSIST, on_turn, t);
    return t->timer != NULL && event_add(t->timer, &every) == 0 ? VRS_OK : ERR_MEMORY;
}

void trouble_close(struct trouble **t) {
    if (*t == NULL)
        return;
    if ((*t)->timer != NULL)
        event_free((*t)->timer);
    free(*t);
    *t = NULL;
}

void trouble_connection(void *tablet, enum http_trouble what, const char *address,
                        const char *why) {
    static const char *const names[] = {[HTTP_TROUBLE_HANDSHAKE] = "tls.refused",
                                        [HTTP_TROUBLE_MALFORMED] = "http.malformed",
                                        [HTTP_TROUBLE_SLOW] = "http.slow",
                                        [HTTP_TROUBLE_CROWDED] = "http.crowded"};
    const struct tablet *t = tablet;
    log_event(LOG_DEBUG, names[what], LF_STR("source", address), LF_STR("why", why));
    if (t->trouble != NULL)
        count_one(t->trouble, names[what], what == HTTP_TROUBLE_CROWDED ? "" : address);
}

void trouble_unrouted(struct http_request *rq, enum vrs_err e) {
    const struct tablet *t = http_arg(rq);
    if (t->trouble != NULL)
        count_one(t->trouble, "request.unknown", http_peer_address(rq));
    http_problem(rq, e, NULL, NULL);
}
