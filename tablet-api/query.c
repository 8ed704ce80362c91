#include "tablet-api/query.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/metric.h"
#include "tablet-api/inbox.h"
#include "tablet-api/tablet.h"

enum {
    MAX_WAITING = 2000,
    MAX_ENROLMENTS = 100,     /* of them: strangers leave room for coupons */
    MAX_PER_PULL = 200,       /* of coupons about 40 kB */
    MAX_PULL_BYTES = 1 << 20, /* of requests for certificates */
    SEAL_EPOCH_MS = 60000,
    SEALED_MAX = 8192
};

struct query {
    struct query *next; /* in the order in which they came: all wait equally long */
    struct http_request *rq;
    query_done_fn *done;
    int64_t until_ms; /* monotonic */
    bool handed_over;
    struct line_query line;
    struct buffer sealed;
};

struct queries {
    struct tablet *tablet;
    struct crypto_sealer *sealer;
    struct event *timer;
    struct query *first;
    struct query **last;
    size_t count, enrolments;
    uint64_t next_id;
};

static struct metric m_asked = {.name = "vrs_coupon_queries_total",
                                .help = "Questions handed to the inside",
                                .type = METRIC_COUNTER,
                                .registered = ATOMIC_FLAG_INIT};
static struct metric m_away = {.name = "vrs_coupon_queries_unanswered_total",
                               .help = "Questions that the inside did not answer in time",
                               .type = METRIC_COUNTER,
                               .registered = ATOMIC_FLAG_INIT};

static void take_out(struct queries *q, struct query **at) {
    struct query *one = *at;
    *at = one->next;
    if (*at == NULL)
        q->last = at;
    q->count--;
    q->enrolments -= one->line.kind == LINE_QUERY_ENROL;
}

static void query_free(struct query *one) {
    buffer_fini(&one->sealed);
    free(one);
}

static void set_timer(struct queries *q) {
    if (q->first == NULL)
        return;
    int64_t ms = q->first->until_ms - clock_mono_ms();
    if (ms < 1)
        ms = 1;
    const struct timeval in = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
    (void)event_add(q->timer, &in);
}

static void give_up(struct queries *q, int64_t until_ms) {
    while (q->first != NULL && q->first->until_ms <= until_ms) {
        struct query *one = q->first;
        take_out(q, &q->first);
        metric_add(&m_away, 1);
        one->done(one->rq, NULL);
        query_free(one);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    struct queries *q = arg;
    (void)fd;
    (void)what;
    give_up(q, clock_mono_ms());
    set_timer(q);
}

enum vrs_err queries_open(struct tablet *t, struct queries **out) {
    struct queries *q = calloc(1, sizeof *q);
    *out = q;
    if (q == NULL)
        return ERR_MEMORY;
    q->tablet = t;
    q->last = &q->first;
    q->timer = event_new(t->base, -1, 0, on_timer, q);
    crypto_random(&q->next_id,
                  sizeof q->next_id); /* late answers of an earlier life find nothing */
    metric_register(&m_asked);
    metric_register(&m_away);
    if (q->timer == NULL) {
        queries_close(out);
        return ERR_MEMORY;
    }
    return VRS_OK;
}

void queries_close(struct queries **queries) {
    struct queries *q = *queries;
    if (q == NULL)
        return;
    give_up(q, INT64_MAX);
    crypto_sealer_close(&q->sealer);
    if (q->timer != NULL)
        event_free(q->timer);
    free(q);
    *queries = NULL;
}

enum vrs_err queries_seal_to(struct queries *q, const uint8_t key[CRYPTO_X25519_BYTES]) {
    struct crypto_sealer *s = crypto_sealer_open(key, SEAL_EPOCH_MS);
    if (s == NULL)
        return ERR_MEMORY;
    crypto_sealer_close(&q->sealer);
    q->sealer = s;
    return VRS_OK;
}

bool queries_waiting(const struct queries *q) {
    for (const struct query *one = q->first; one != NULL; one = one->next) {
        if (!one->handed_over)
            return true;
    }
    return false;
}

void queries_collect(struct queries *q, struct buffer *out) {
    size_t n = 0, bytes = 0;
    for (struct query *one = q->first; one != NULL && n < MAX_PER_PULL && bytes < MAX_PULL_BYTES;
         one = one->next) {
        if (one->handed_over)
            continue;
        one->handed_over = true;
        line_pulled_query(&one->line, out);
        bytes += one->line.sealed_len;
        n++;
    }
}

void queries_answer(struct queries *q, const struct line_answer *a) {
    struct query **at = &q->first;
    while (*at != NULL && (*at)->line.id != a->id)
        at = &(*at)->next;
    struct query *one = *at;
    /* An answer of another form than the question is none. */
    bool coupon =
        one != NULL && (one->line.kind == LINE_QUERY_COUPON || one->line.kind == LINE_QUERY_DOCTOR);
    if (one == NULL || coupon != (a->status != 0) ||
        (a->status == 0 && (a->refusal[0] == '\0') == (a->len == 0)))
        return;
    take_out(q, at);
    one->done(one->rq, a);
    query_free(one);
}

static enum vrs_err seal(struct queries *q, struct query *one, const struct query_ask *ask) {
    struct buffer aad;
    if (q->sealer == NULL)
        return ERR_INSIDE_AWAY;
    buffer_init(&aad, 256);
    line_query_aad(&one->line, &aad);
    enum vrs_err e =
        crypto_sealer_seal(q->sealer, aad.data, aad.len, ask->plain, ask->len, &one->sealed);
    buffer_fini(&aad);
    one->line.sealed = one->sealed.data;
    one->line.sealed_len = one->sealed.len;
    return e == VRS_OK && one->sealed.failed ? ERR_TOO_LARGE : e;
}

enum vrs_err queries_ask(struct queries *q, struct http_request *rq, const struct query_ask *ask) {
    bool enrolment = ask->kind == LINE_QUERY_ENROL;
    if (q->count >= MAX_WAITING || (enrolment && q->enrolments >= MAX_ENROLMENTS))
        return ERR_BUSY;
    struct query *one = calloc(1, sizeof *one);
    if (one == NULL)
        return ERR_MEMORY;
    buffer_init(&one->sealed, SEALED_MAX);
    one->rq = rq;
    one->done = ask->done;
    one->line.id = q->next_id++;
    one->line.kind = ask->kind;
    (void)strncpy(one->line.municipality, ask->municipality, sizeof one->line.municipality - 1);
    (void)strncpy(one->line.from, ask->from, sizeof one->line.from - 1);
    enum vrs_err e = seal(q, one, ask);
    if (e != VRS_OK) {
        query_free(one);
        return e;
    }
    one->until_ms = clock_mono_ms() + q->tablet->config.query_wait_ms;
    *q->last = one;
    q->last = &one->next;
    q->count++;
    q->enrolments += enrolment;
    if (q->first == one)
        set_timer(q);
    metric_add(&m_asked, 1);
    inbox_nudge(q->tablet->inbox); /* a pull that waits brings it inwards at once */
    return VRS_OK;
}
