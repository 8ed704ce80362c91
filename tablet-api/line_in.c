#include "tablet-api/line_in.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/http.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "tablet-api/inbox.h"
#include "tablet-api/login.h"
#include "tablet-api/published.h"
#include "tablet-api/query.h"
#include "tablet-api/receipt.h"
#include "tablet-api/tablet.h"

enum { MAX_WAIT_MS = 60000, MAX_OUTCOMES = 20000, ENTRIES_MAX = LINE_MAX_BODY - 64 * 1024 };

struct line_door {
    struct tablet *tablet;
    struct event *wait; /* the waiting pull's time */
    int64_t pulled_ms;  /* monotonic */
    bool publishing;    /* a snapshot is being read or kept */
};

static struct metric m_pulls = {.name = "vrs_line_pulls_total",
                                .help = "Pulls of the inside",
                                .type = METRIC_COUNTER,
                                .registered = ATOMIC_FLAG_INIT};
#define OUTCOME(o)                                                                                 \
    {                                                                                              \
        .name = "vrs_outcomes_total", .help = "Outcomes that became durable here",                 \
        .label = "outcome=\"" o "\"", .type = METRIC_COUNTER, .registered = ATOMIC_FLAG_INIT       \
    }
static struct metric m_outcomes[] = {
    [LINE_PENDING] = OUTCOME("pending"),
    [LINE_RECORDED] = OUTCOME("recorded"),
    [LINE_RECORDED_FOR_REVIEW] = OUTCOME("recorded_for_review"),
    [LINE_WAITING_FOR_COUPON] = OUTCOME("waiting_for_coupon"),
    [LINE_CONFLICT] = OUTCOME("conflict"),
    [LINE_DUPLICATE] = OUTCOME("duplicate"),
    [LINE_CANCELLED] = OUTCOME("cancelled"),
    [LINE_CANCEL_REFUSED] = OUTCOME("cancel_refused"),
    [LINE_NOTED] = OUTCOME("noted"),
};

static void on_wait(evutil_socket_t fd, short what, void *arg) {
    struct line_door *l = arg;
    (void)fd;
    (void)what;
    inbox_nudge(l->tablet->inbox);
}

enum vrs_err line_door_open(struct tablet *t, struct line_door **out) {
    struct line_door *l = calloc(1, sizeof *l);
    *out = l;
    if (l == NULL)
        return ERR_MEMORY;
    l->tablet = t;
    l->pulled_ms = clock_mono_ms();
    l->wait = event_new(t->base, -1, 0, on_wait, l);
    metric_register(&m_pulls);
    for (size_t i = 0; i < sizeof m_outcomes / sizeof m_outcomes[0]; i++)
        metric_register(&m_outcomes[i]);
    if (l->wait == NULL) {
        line_door_close(out);
        return ERR_MEMORY;
    }
    return VRS_OK;
}

void line_door_close(struct line_door **l) {
    if (*l == NULL)
        return;
    if ((*l)->wait != NULL)
        event_free((*l)->wait);
    free(*l);
    *l = NULL;
}

int64_t line_door_since_pull_ms(const struct line_door *l) {
    return clock_mono_ms() - l->pulled_ms;
}

static void refuse(struct http_request *rq, enum vrs_err e) {
    log_event(LOG_WARN, "line.refused", LF_ERR(e));
    http_problem(rq, e == ERR_PROTOCOL || e == ERR_CORRUPT ? ERR_BAD_REQUEST : e, NULL, NULL);
}

static void reply(struct http_request *rq, struct buffer *b) {
    if (b->failed)
        http_problem(rq, ERR_MEMORY, NULL, NULL);
    else
        http_reply(rq, 200, LINE_CONTENT_TYPE, b->data, b->len);
}

static void begin_pulled(struct tablet *t, uint64_t depth, int64_t oldest_ms, struct buffer *out) {
    const struct line_pulled_head head = {.snapshot_version = published_version(t->published),
                                          .depth = depth,
                                          .oldest_ms = oldest_ms,
                                          .now_ms = clock_now_ms()};
    line_pulled_begin(&head, out);
}

/* --- pull --- */

struct pull {
    struct inbox_pull inbox; /* first */
    struct http_request *rq;
};

static void pull_done(struct worker_job *job) {
    struct pull *p = (struct pull *)job;
    struct tablet *t = http_arg(p->rq);
    struct buffer b;
    if (p->inbox.job.err != VRS_OK) {
        refuse(p->rq, p->inbox.job.err);
    } else {
        buffer_init(&b, LINE_MAX_BODY);
        begin_pulled(t, p->inbox.depth, p->inbox.oldest_ms, &b);
        if (p->inbox.entries.len > 0)
            (void)buffer_put(&b, p->inbox.entries.data, p->inbox.entries.len);
        if (t->queries != NULL)
            queries_collect(t->queries, &b);
        reply(p->rq, &b);
        buffer_fini(&b);
    }
    buffer_fini(&p->inbox.entries);
    free(p);
}

void line_pull(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    struct line_pull ask;
    size_t len = 0;
    const void *body = http_body(rq, &len);
    enum vrs_err e = line_pull_decode(body, len, &ask);
    struct pull *p = e == VRS_OK ? calloc(1, sizeof *p) : NULL;
    if (p == NULL) {
        refuse(rq, e != VRS_OK ? e : ERR_MEMORY);
        return;
    }
    t->line->pulled_ms = clock_mono_ms();
    metric_add(&m_pulls, 1);
    p->rq = rq;
    p->inbox.after_seq = ask.after_seq;
    p->inbox.max = ask.max < LINE_MAX_ENTRIES ? ask.max : LINE_MAX_ENTRIES;
    p->inbox.wait = ask.wait_ms > 0 && ask.max > 0 && !queries_waiting(t->queries);
    buffer_init(&p->inbox.entries, ENTRIES_MAX);
    if (p->inbox.wait) {
        uint64_t ms = ask.wait_ms < MAX_WAIT_MS ? ask.wait_ms : MAX_WAIT_MS;
        const struct timeval in = {.tv_sec = (time_t)(ms / 1000),
                                   .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
        (void)event_add(t->line->wait, &in);
    }
    e = inbox_submit_pull(t->inbox, &p->inbox, pull_done);
    if (e != VRS_OK) {
        refuse(rq, e);
        buffer_fini(&p->inbox.entries);
        free(p);
    }
}

/* --- outcomes --- */

struct settle {
    struct inbox_settle inbox; /* first */
    struct http_request *rq;
    size_t cap;
};

static enum vrs_err add_result(const struct line_result *r, void *arg) {
    struct settle *s = arg;
    if (s->inbox.count == MAX_OUTCOMES)
        return ERR_TOO_LARGE;
    if (s->inbox.count == s->cap) {
        size_t cap = s->cap == 0 ? 64 : 2 * s->cap;
        struct line_result *grown = realloc(s->inbox.results, cap * sizeof *grown);
        if (grown == NULL)
            return ERR_MEMORY;
        s->inbox.results = grown;
        s->cap = cap;
    }
    s->inbox.results[s->inbox.count++] = *r;
    return VRS_OK;
}

static void settle_free(struct settle *s) {
    free(s->inbox.results);
    free(s);
}

static void settle_done(struct worker_job *job) {
    struct settle *s = (struct settle *)job;
    struct tablet *t = http_arg(s->rq);
    struct buffer b;
    if (s->inbox.job.err != VRS_OK) {
        refuse(s->rq, s->inbox.job.err);
        settle_free(s);
        return;
    }
    if (s->inbox.unknown > 0) /* of another inbox, or past their retention: nobody waits for them */
        log_event(LOG_WARN, "line.unknown_receipts", LF_INT("count", s->inbox.unknown));
    buffer_init(&b, LINE_MAX_BODY);
    line_acked_begin(&b);
    for (size_t i = 0; i < s->inbox.count; i++)
        line_acked_add(s->inbox.results[i].receipt, &b);
    for (size_t i = 0; i < s->inbox.count; i++) {
        metric_add(&m_outcomes[s->inbox.results[i].outcome], 1);
        receipts_settled(t->receipts, &s->inbox.results[i]);
    }
    reply(s->rq, &b); /* the proofs stood in its body */
    buffer_fini(&b);
    settle_free(s);
}

void line_outcomes(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    struct settle *s = calloc(1, sizeof *s);
    size_t len = 0;
    const void *body = http_body(rq, &len);
    if (s == NULL) {
        refuse(rq, ERR_MEMORY);
        return;
    }
    s->rq = rq;
    enum vrs_err e = line_outcomes_decode(body, len, add_result, s);
    if (e == VRS_OK)
        e = inbox_submit_settle(t->inbox, &s->inbox, settle_done);
    if (e != VRS_OK) {
        refuse(rq, e);
        settle_free(s);
    }
}

/* --- answers to queries --- */

static void one_answer(const struct line_answer *a, void *arg) {
    struct tablet *t = arg;
    queries_answer(t->queries, a);
}

void line_answers(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    struct buffer b;
    size_t len = 0;
    const void *body = http_body(rq, &len);
    enum vrs_err e = line_answers_decode(body, len, one_answer, t);
    if (e != VRS_OK) {
        refuse(rq, e);
        return;
    }
    buffer_init(&b, 256);
    line_acked_begin(&b);
    reply(rq, &b);
    buffer_fini(&b);
}

/* --- replay --- */

struct replay {
    struct inbox_replay inbox; /* first */
    struct http_request *rq;
};

static void replay_done(struct worker_job *job) {
    struct replay *r = (struct replay *)job;
    struct tablet *t = http_arg(r->rq);
    enum vrs_err e = r->inbox.job.err;
    if (e == VRS_OK && !r->inbox.end && r->inbox.count < r->inbox.max) {
        r->inbox.after_seq = r->inbox.last;
        e = inbox_submit_replay(t->inbox, &r->inbox, replay_done);
        if (e == VRS_OK)
            return;
    }
    if (e != VRS_OK) {
        refuse(r->rq, e);
    } else {
        struct inbox_state state;
        struct buffer b;
        inbox_state(t->inbox, &state);
        buffer_init(&b, LINE_MAX_BODY);
        begin_pulled(t, state.depth, state.oldest_ms, &b);
        if (r->inbox.entries.len > 0)
            (void)buffer_put(&b, r->inbox.entries.data, r->inbox.entries.len);
        reply(r->rq, &b);
        buffer_fini(&b);
    }
    buffer_fini(&r->inbox.entries);
    free(r);
}

void line_replay(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    struct line_replay ask;
    size_t len = 0;
    const void *body = http_body(rq, &len);
    enum vrs_err e = line_replay_decode(body, len, &ask);
    struct replay *r = e == VRS_OK ? calloc(1, sizeof *r) : NULL;
    if (r == NULL) {
        refuse(rq, e != VRS_OK ? e : ERR_MEMORY);
        return;
    }
    r->rq = rq;
    memcpy(r->inbox.municipality, ask.municipality, sizeof r->inbox.municipality);
    r->inbox.after_seq = ask.after_seq;
    r->inbox.max = ask.max < LINE_MAX_ENTRIES ? ask.max : LINE_MAX_ENTRIES;
    buffer_init(&r->inbox.entries, ENTRIES_MAX);
    e = inbox_submit_replay(t->inbox, &r->inbox, replay_done);
    if (e != VRS_OK) {
        refuse(rq, e);
        buffer_fini(&r->inbox.entries);
        free(r);
    }
}

/* --- snapshot: read on a worker, kept in the inbox, then in force --- */

struct push {
    struct worker_job read;       /* first: on the hashing worker */
    struct inbox_publish publish; /* then: on the inbox worker */
    struct http_request *rq;
    const void *body; /* the request's */
    size_t body_len;
    uint8_t key[CRYPTO_ED25519_BYTES];
    char *text;
    size_t text_len;
    struct published *published;
    struct vrs_fault fault;
};

static void push_end(struct push *p, enum vrs_err e) {
    struct tablet *t = http_arg(p->rq);
    t->line->publishing = false;
    if (e == VRS_OK) {
        http_reply(p->rq, 204, NULL, NULL, 0);
    } else {
        log_event(LOG_WARN, "snapshot.refused", LF_ERR(e),
                  LF_INT("version", published_version(p->published)));
        if (p->fault.err == e)
            http_problem_fault(p->rq, &p->fault);
        else
            http_problem(p->rq, e, NULL, NULL);
    }
    published_close(&p->published);
    free(p->text);
    free(p);
}

/* Everything that looks into the snapshot looks into this one from now on. */
static enum vrs_err take_effect(struct tablet *t, struct published **p) {
    enum vrs_err e = queries_seal_to(t->queries, published_inbox_key(*p));
    if (e != VRS_OK)
        return e;
    struct published *old = t->published;
    t->published = *p;
    *p = NULL;
    published_close(&old);
    log_event(LOG_INFO, "snapshot.in_force", LF_INT("version", published_version(t->published)));
    return VRS_OK;
}

static void publish_done(struct worker_job *job) {
    struct push *p = (struct push *)((char *)job - offsetof(struct push, publish));
    enum vrs_err e = p->publish.job.err;
    if (e == VRS_OK)
        e = take_effect(http_arg(p->rq), &p->published);
    push_end(p, e);
}

static void run_read(struct worker_job *job) {
    struct push *p = (struct push *)job;
    enum vrs_err e = published_verify(p->body, p->body_len, p->key, &p->text, &p->text_len,
                                      p->publish.signature, &p->fault);
    if (e == VRS_OK)
        e = published_read(p->text, p->text_len, &p->published, &p->fault);
    p->fault.err = e;
}

static void read_done(struct worker_job *job) {
    struct push *p = (struct push *)job;
    struct tablet *t = http_arg(p->rq);
    enum vrs_err e = p->fault.err;
    if (e == VRS_OK && published_version(p->published) <= published_version(t->published))
        e = ERR_CONFLICT;
    if (e == VRS_OK) {
        p->publish.version = published_version(p->published);
        p->publish.text = p->text;
        p->publish.len = p->text_len;
        memcpy(p->publish.inbox_key, published_inbox_key(p->published),
               sizeof p->publish.inbox_key);
        e = inbox_submit_publish(t->inbox, &p->publish, publish_done);
    }
    if (e != VRS_OK)
        push_end(p, e);
}

void line_snapshot(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    struct push *p = t->line->publishing ? NULL : calloc(1, sizeof *p);
    if (p == NULL) {
        refuse(rq, t->line->publishing ? ERR_IN_PROGRESS : ERR_MEMORY);
        return;
    }
    p->rq = rq;
    p->body = http_body(rq, &p->body_len);
    p->read.run = run_read;
    p->read.done = read_done;
    memcpy(p->key, t->snapshot_key, sizeof p->key);
    t->line->publishing = true;
    enum vrs_err e = login_submit(t->login, &p->read);
    if (e != VRS_OK)
        push_end(p, e);
}

enum vrs_err line_load_published(struct tablet *t, struct vrs_fault *fault) {
    struct inbox_db *db = inbox_db_of(t->inbox);
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    struct buffer text;
    buffer_init(&text, PUBLISHED_MAX_BYTES);
    enum vrs_err e = inbox_db_begin(db, fault);
    if (e == VRS_OK) {
        e = inbox_db_published(db, &text, signature);
        inbox_db_rollback(db);
    }
    if (e == VRS_OK)
        e = crypto_verify(t->snapshot_key, text.data, text.len, signature) == VRS_OK
                ? published_read(text.data, text.len, &t->published, fault)
                : err_fail(fault, ERR_TAMPERED, "snapshot: not signed by snapshot_key");
    if (e == VRS_OK)
        e = inbox_seal_to(t->inbox, published_inbox_key(t->published));
    buffer_fini(&text);
    return e;
}
