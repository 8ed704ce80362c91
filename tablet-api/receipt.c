#include "tablet-api/receipt.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/metric.h"
#include "tablet-api/log_proof.h"
#include "tablet-api/tablet.h"
#include "tablet-api/warning.h"

enum { BUCKETS = 4096 };

/* Parked postings are found by receipt, and time out in the order in which they were parked: all
 * wait equally long. */
struct receipts {
    struct tablet *tablet;
    struct event *timer;
    bool stopping;
    struct posting *oldest, *newest;
    struct posting *bucket[BUCKETS];
};

static struct metric m_parked = {.name = "vrs_doses_parked",
                                 .help = "Posts that wait for their outcome",
                                 .type = METRIC_GAUGE,
                                 .registered = ATOMIC_FLAG_INIT};
static struct metric m_seconds = {.name = "vrs_dose_commit_seconds",
                                  .help = "From the reading to its commit in the inbox",
                                  .type = METRIC_HISTOGRAM,
                                  .registered = ATOMIC_FLAG_INIT};

static struct posting **bucket_of(struct receipts *r, const uint8_t receipt[LINE_RECEIPT_BYTES]) {
    uint32_t at = 0; /* the end: a receipt begins with the time of its making */
    memcpy(&at, receipt + LINE_RECEIPT_BYTES - sizeof at, sizeof at);
    return &r->bucket[at % BUCKETS];
}

static void set_timer(struct receipts *r) {
    if (r->oldest == NULL)
        return;
    int64_t ms = r->oldest->until_ms - clock_mono_ms();
    if (ms < 1)
        ms = 1;
    const struct timeval in = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
    (void)event_add(r->timer, &in);
}

static void unpark(struct receipts *r, struct posting *p) {
    struct posting **at = bucket_of(r, p->put.found.receipt);
    while (*at != p)
        at = &(*at)->next_same;
    *at = p->next_same;
    *(p->older != NULL ? &p->older->newer : &r->oldest) = p->newer;
    *(p->newer != NULL ? &p->newer->older : &r->newest) = p->older;
    metric_add(&m_parked, -1);
}

static void park(struct receipts *r, struct posting *p, int64_t wait_ms) {
    struct posting **at = bucket_of(r, p->put.found.receipt);
    p->next_same = *at;
    *at = p;
    p->older = r->newest;
    p->newer = NULL;
    *(r->newest != NULL ? &r->newest->newer : &r->oldest) = p;
    r->newest = p;
    p->until_ms = clock_mono_ms() + wait_ms;
    metric_add(&m_parked, 1);
    if (r->oldest == p)
        set_timer(r);
}

static void answer_all(struct receipts *r, int64_t until_ms) {
    while (r->oldest != NULL && r->oldest->until_ms <= until_ms) {
        struct posting *p = r->oldest;
        unpark(r, p);
        p->answered(p);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    struct receipts *r = arg;
    (void)fd;
    (void)what;
    answer_all(r, clock_mono_ms());
    set_timer(r);
}

enum vrs_err receipts_open(struct tablet *t, struct receipts **out) {
    struct receipts *r = calloc(1, sizeof *r);
    *out = r;
    if (r == NULL)
        return ERR_MEMORY;
    r->tablet = t;
    r->timer = event_new(t->base, -1, 0, on_timer, r);
    metric_register(&m_parked);
    metric_register(&m_seconds);
    if (r->timer == NULL) {
        receipts_close(out);
        return ERR_MEMORY;
    }
    return VRS_OK;
}

void receipts_stop(struct receipts *r) {
    if (r == NULL)
        return;
    r->stopping = true;
    answer_all(r, INT64_MAX);
}

void receipts_close(struct receipts **r) {
    if (*r == NULL)
        return;
    if ((*r)->timer != NULL)
        event_free((*r)->timer);
    free(*r);
    *r = NULL;
}

static void put_done(struct worker_job *job) {
    struct posting *p = (struct posting *)job;
    struct receipts *r = p->receipts;
    int64_t wait_ms = r->tablet->config.answer_wait_ms;
    metric_observe_us(&m_seconds, clock_mono_us() - p->started_us);
    if (p->put.job.err == VRS_OK && p->put.found.outcome == LINE_PENDING && wait_ms > 0 &&
        !r->stopping)
        park(r, p, wait_ms);
    else
        p->answered(p);
}

void receipt_post(struct receipts *r, struct posting *p) {
    p->receipts = r;
    p->started_us = clock_mono_us();
    enum vrs_err e = inbox_submit_put(r->tablet->inbox, &p->put, put_done);
    if (e == VRS_OK)
        return;
    buffer_fini(&p->put.plain);
    p->put.job.err = e;
    p->answered(p);
}

void receipts_settled(struct receipts *r, const struct line_result *result) {
    struct posting *next = NULL;
    if (result->outcome == LINE_PENDING)
        return;
    for (struct posting *p = *bucket_of(r, result->receipt); p != NULL; p = next) {
        next = p->next_same;
        struct inbox_found *f = &p->put.found;
        if (memcmp(f->receipt, result->receipt, sizeof f->receipt) != 0)
            continue;
        f->outcome = result->outcome;
        memcpy(f->dose_id, result->dose_id, sizeof f->dose_id);
        memcpy(f->warnings, result->warnings, sizeof f->warnings);
        f->proof_len = result->proof_len;
        if (result->proof_len > 0)
            memcpy(f->proof, result->proof, result->proof_len);
        unpark(r, p);
        p->answered(p);
    }
}

int receipt_status(const struct inbox_found *f) {
    return f->outcome == LINE_PENDING ? 202 : 201;
}

static void member(struct buffer *out, const char *name, const char *value) {
    (void)buffer_puts(out, ",\"");
    (void)buffer_puts(out, name);
    (void)buffer_puts(out, "\":\"");
    (void)buffer_puts(out, value);
    (void)buffer_puts(out, "\"");
}

void receipt_write(struct tablet *t, const struct inbox_found *f, bool clock_warning,
                   const char *cancels, const char *key, int status, struct buffer *out) {
    char hex[2 * LINE_RECEIPT_BYTES + 1];
    bool pending = f->outcome == LINE_PENDING;
    crypto_hex(f->receipt, LINE_RECEIPT_BYTES, hex);
    (void)buffer_puts(out, "{\"receipt_id\":\"");
    (void)buffer_puts(out, hex);
    (void)buffer_puts(out, "\"");
    member(out, "outcome", line_outcome_name(f->outcome));
    if (key != NULL) {
        member(out, "idempotency_key", key);
        (void)buffer_printf(out, ",\"status\":%d", status);
    }
    if (cancels != NULL)
        member(out, "cancels", cancels);
    if (f->dose_id[0] != '\0')
        member(out, "dose_id", f->dose_id);
    if (!pending || clock_warning) {
        (void)buffer_puts(out, ",\"warnings\":");
        warning_write(t->warnings, pending ? "terminal_clock_wrong" : f->warnings, out);
    }
    log_proof_write(t, f, out);
    (void)buffer_puts(out, "}");
}
