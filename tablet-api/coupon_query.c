#include "tablet-api/coupon_query.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/http.h"
#include "lib/metric.h"
#include "lib/throttle.h"
#include "tablet-api/inbox.h"
#include "tablet-api/intake.h"
#include "tablet-api/tablet.h"
#include "tablet-api/terminal.h"

enum {
    MAX_WAITING = 2000,
    MAX_PER_PULL = 200, /* about 40 kB */
    SEAL_EPOCH_MS = 60000,
    QUOTA_NAMES = 65536,
    SEALED_MAX = 512
};

struct query {
    struct query *next; /* in the order in which they came: all wait equally long */
    struct http_request *rq;
    int64_t until_ms; /* monotonic */
    bool handed_over;
    struct line_query line;
    struct buffer sealed;
};

struct coupon_queries {
    struct tablet *tablet;
    struct crypto_sealer *sealer;
    struct throttle *quota;
    struct event *timer;
    struct query *first;
    struct query **last;
    size_t count;
    uint64_t next_id;
};

static struct metric m_asked = {.name = "vrs_coupon_queries_total",
                                .help = "coupons:check handed to the inside",
                                .type = METRIC_COUNTER,
                                .registered = ATOMIC_FLAG_INIT};
static struct metric m_away = {.name = "vrs_coupon_queries_unanswered_total",
                               .help = "coupons:check that the inside did not answer in time",
                               .type = METRIC_COUNTER,
                               .registered = ATOMIC_FLAG_INIT};

static void take_out(struct coupon_queries *q, struct query **at) {
    struct query *one = *at;
    *at = one->next;
    if (*at == NULL)
        q->last = at;
    q->count--;
}

static void query_free(struct query *one) {
    buffer_fini(&one->sealed);
    free(one);
}

static void set_timer(struct coupon_queries *q) {
    if (q->first == NULL)
        return;
    int64_t ms = q->first->until_ms - clock_mono_ms();
    if (ms < 1)
        ms = 1;
    const struct timeval in = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
    (void)event_add(q->timer, &in);
}

static void give_up(struct coupon_queries *q, int64_t until_ms) {
    while (q->first != NULL && q->first->until_ms <= until_ms) {
        struct query *one = q->first;
        take_out(q, &q->first);
        metric_add(&m_away, 1);
        http_problem(one->rq, ERR_INSIDE_AWAY, NULL, NULL);
        query_free(one);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    struct coupon_queries *q = arg;
    (void)fd;
    (void)what;
    give_up(q, clock_mono_ms());
    set_timer(q);
}

enum vrs_err coupon_queries_open(struct tablet *t, struct coupon_queries **out) {
    struct coupon_queries *q = calloc(1, sizeof *q);
    *out = q;
    if (q == NULL)
        return ERR_MEMORY;
    q->tablet = t;
    q->last = &q->first;
    q->timer = event_new(t->base, -1, 0, on_timer, q);
    q->quota = throttle_open(QUOTA_NAMES, (unsigned)t->config.queries_per_minute, 60000);
    crypto_random(&q->next_id,
                  sizeof q->next_id); /* late answers of an earlier life find nothing */
    metric_register(&m_asked);
    metric_register(&m_away);
    if (q->timer == NULL || q->quota == NULL) {
        coupon_queries_close(out);
        return ERR_MEMORY;
    }
    return VRS_OK;
}

void coupon_queries_close(struct coupon_queries **queries) {
    struct coupon_queries *q = *queries;
    if (q == NULL)
        return;
    give_up(q, INT64_MAX);
    crypto_sealer_close(&q->sealer);
    throttle_close(&q->quota);
    if (q->timer != NULL)
        event_free(q->timer);
    free(q);
    *queries = NULL;
}

enum vrs_err coupon_queries_seal_to(struct coupon_queries *q,
                                    const uint8_t key[CRYPTO_X25519_BYTES]) {
    struct crypto_sealer *s = crypto_sealer_open(key, SEAL_EPOCH_MS);
    if (s == NULL)
        return ERR_MEMORY;
    crypto_sealer_close(&q->sealer);
    q->sealer = s;
    return VRS_OK;
}

bool coupon_queries_waiting(const struct coupon_queries *q) {
    for (const struct query *one = q->first; one != NULL; one = one->next) {
        if (!one->handed_over)
            return true;
    }
    return false;
}

void coupon_queries_collect(struct coupon_queries *q, struct buffer *out) {
    size_t n = 0;
    for (struct query *one = q->first; one != NULL && n < MAX_PER_PULL; one = one->next) {
        if (one->handed_over)
            continue;
        one->handed_over = true;
        line_pulled_query(&one->line, out);
        n++;
    }
}

static void reply(struct http_request *rq, const char *status, const struct intake_refusal *no) {
    json_t *list = NULL;
    json_t *extra = no != NULL ? intake_extra(no) : NULL;
    struct buffer b;
    buffer_init(&b, 16384);
    list = json_object_get(extra, "candidates");
    json_t *doc = json_pack("{s:s, s:O?}", "status", status, "candidates", list);
    if (doc != NULL && list == NULL)
        (void)json_object_set_new(doc, "candidates", json_array());
    if (json_write(&b, doc))
        http_reply_json(rq, 200, (const char *)b.data, b.len);
    else
        http_problem(rq, ERR_MEMORY, NULL, NULL);
    buffer_fini(&b);
    json_decref(doc);
    json_decref(extra);
}

void coupon_queries_answer(struct coupon_queries *q, uint64_t id, enum line_coupon_status status) {
    static const char *const names[] = {[LINE_COUPON_OK] = "ok",
                                        [LINE_COUPON_UNKNOWN] = "unknown",
                                        [LINE_COUPON_RECORDED] = "dose_already_recorded",
                                        [LINE_COUPON_MOVED_OUT] = "moved_out"};
    struct query **at = &q->first;
    while (*at != NULL && (*at)->line.id != id)
        at = &(*at)->next;
    struct query *one = *at;
    if (one == NULL)
        return;
    take_out(q, at);
    /* Of another municipality's coupon only whether it is known; the inside keeps to this too. */
    bool own = strcmp(one->line.municipality, one->line.site_municipality) == 0;
    if (!own && status != LINE_COUPON_UNKNOWN)
        status = LINE_COUPON_OK;
    reply(one->rq, names[status], NULL);
    query_free(one);
}

static enum vrs_err seal(struct coupon_queries *q, struct query *one, const struct coupon *c) {
    char digits[19];
    struct buffer aad;
    if (q->sealer == NULL)
        return ERR_INSIDE_AWAY;
    coupon_format(c, digits);
    buffer_init(&aad, 64);
    line_query_aad(one->line.id, &aad);
    enum vrs_err e = crypto_sealer_seal(q->sealer, aad.data, aad.len, digits, 18, &one->sealed);
    buffer_fini(&aad);
    secret_wipe(digits, sizeof digits);
    one->line.sealed = one->sealed.data;
    one->line.sealed_len = one->sealed.len;
    return e == VRS_OK && one->sealed.failed ? ERR_MEMORY : e;
}

static enum vrs_err ask(struct coupon_queries *q, struct http_request *rq, const struct coupon *c) {
    const struct caller *caller = terminal_caller(rq);
    if (q->count >= MAX_WAITING)
        return ERR_BUSY;
    struct query *one = calloc(1, sizeof *one);
    if (one == NULL)
        return ERR_MEMORY;
    buffer_init(&one->sealed, SEALED_MAX);
    one->rq = rq;
    one->line.id = q->next_id++;
    memcpy(one->line.municipality, c->municipality.digits, sizeof one->line.municipality);
    if (strlen(caller->municipality) == 6)
        memcpy(one->line.site_municipality, caller->municipality,
               sizeof one->line.site_municipality);
    enum vrs_err e = seal(q, one, c);
    if (e != VRS_OK) {
        query_free(one);
        return e;
    }
    one->until_ms = clock_mono_ms() + q->tablet->config.query_wait_ms;
    *q->last = one;
    q->last = &one->next;
    q->count++;
    if (q->first == one)
        set_timer(q);
    metric_add(&m_asked, 1);
    inbox_nudge(q->tablet->inbox); /* a pull that waits brings it inwards at once */
    return VRS_OK;
}

void coupon_check(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    const struct caller *c = terminal_caller(rq);
    const struct intake_rules rules = {.municipalities = t->municipalities};
    const char *line = NULL;
    const struct json_field fields[] = {JF_STR("ocr_line", true, 200, &line), JF_END};
    struct vrs_fault fault = {0};
    struct intake_refusal no = {0};
    struct coupon coupon;
    json_t *doc = NULL;
    size_t len = 0;
    const void *body = http_body(rq, &len);
    if (!throttle_allows(t->queries->quota, c->terminal, NULL)) {
        http_problem(rq, ERR_TOO_MANY, NULL, NULL);
        return;
    }
    enum vrs_err e = json_parse(body, len, &doc, &fault);
    if (e == VRS_OK)
        e = json_read(doc, fields, &fault);
    if (e != VRS_OK) {
        http_problem_fault(rq, &fault);
    } else if (intake_line(&rules, line, &coupon, &no) != VRS_OK) {
        reply(rq, "invalid", &no);
    } else {
        throttle_count(t->queries->quota, c->terminal);
        e = ask(t->queries, rq, &coupon);
        if (e != VRS_OK)
            http_problem(rq, e, NULL, NULL);
    }
    json_decref(doc);
}
