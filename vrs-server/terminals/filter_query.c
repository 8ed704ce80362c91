#include "vrs-server/terminals/filter_query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/throttle.h"
#include "partitions/access_log.h"
#include "partitions/person.h"
#include "vrs-server/setting.h"
#include "vrs-server/terminals/filter_build.h"
#include "vrs-server/terminals/line_queries.h"
#include "vrs-server/terminals/terminal_list.h"

enum { QUOTA_NAMES = 65536, DAY_MS = 86400000 };
enum { ANSWER_MAX = 2 * FILTER_SHARD_MAX_BYTES, KEPT_MAX = 256 << 20 };

/* A municipality whose filter was asked for. */
struct town {
    struct town *next;
    char municipality[7];
    struct filter_queries *all;
    struct coupon_filter *filter; /* NULL none yet */
    int64_t asked_ms;             /* monotonic: the one longest not asked for goes first */
    bool making;
};

struct filter_queries {
    struct server *server;
    struct line_queries *line;
    struct crypto_opener *const *opener;
    struct throttle *quota; /* by serial, a day: the outside's own count is not believed */
    struct town *towns;
};

struct filter_job {
    struct pool_job job; /* first */
    struct filter_queries *all;
    struct town *town;            /* NULL: not of the own site */
    struct coupon_filter *filter; /* held; NULL: there is none */
    struct line_query query;      /* its `sealed` is our copy below */
    char terminal[64];
    bool own_site, counted;
    bool wanted; /* it may have one: a filter that is too old is made anew */
    uint64_t changes;
    enum vrs_err refusal;
    struct buffer shard;
    uint8_t sealed[];
};

/* --- which filter --- */

static struct town *town_of(struct filter_queries *all, const char *municipality) {
    struct town *t = all->towns;
    while (t != NULL && strcmp(t->municipality, municipality) != 0)
        t = t->next;
    if (t == NULL && (t = calloc(1, sizeof *t)) != NULL) {
        t->all = all;
        (void)snprintf(t->municipality, sizeof t->municipality, "%s", municipality);
        t->next = all->towns;
        all->towns = t;
    }
    return t;
}

/* Ended ones go, and while all together are too large, the one that was longest not asked for. */
static void make_room(struct filter_queries *all) {
    size_t bytes;
    struct town *oldest;
    do {
        bytes = 0;
        oldest = NULL;
        for (struct town *t = all->towns; t != NULL; t = t->next) {
            if (t->filter != NULL && filter_ends_ms(t->filter) <= clock_now_ms())
                filter_release(&t->filter);
            if (t->filter == NULL)
                continue;
            bytes += filter_bytes(t->filter);
            if (oldest == NULL || t->asked_ms < oldest->asked_ms)
                oldest = t;
        }
        if (bytes > KEPT_MAX)
            filter_release(&oldest->filter);
    } while (bytes > KEPT_MAX);
}

static void made(struct coupon_filter *f, enum vrs_err e, void *arg) {
    struct town *t = arg;
    t->making = false;
    if (e != VRS_OK)
        return; /* said where it failed; the next question tries again */
    filter_release(&t->filter);
    t->filter = f;
    make_room(t->all);
}

static bool too_old(const struct town *t, uint64_t changes) {
    const struct server_config *c = &t->all->server->config;
    if (t->filter == NULL)
        return true;
    int64_t age_ms = clock_now_ms() - filter_made_ms(t->filter);
    return age_ms < 0 || age_ms > c->coupon_filter_life_s * 1000 / 2 ||
           (changes != filter_changes(t->filter) && age_ms > c->coupon_filter_rebuild_s * 1000);
}

static void make_anew(struct town *t, uint64_t changes) {
    if (!t->making && too_old(t, changes))
        t->making = filter_make(t->all->server, t->municipality, made, t) == VRS_OK;
}

/* --- a question --- */

static enum vrs_err open_question(const struct filter_job *q, char digits[FILTER_DIGITS + 1]) {
    struct buffer aad, text;
    buffer_init(&aad, 256);
    buffer_init(&text, FILTER_DIGITS);
    line_query_aad(&q->query, &aad);
    enum vrs_err e = crypto_opener_unseal(q->all->opener[q->job.worker_index], aad.data, aad.len,
                                          q->query.sealed, q->query.sealed_len, &text);
    memset(digits, 0, FILTER_DIGITS + 1);
    if (e == VRS_OK && text.len == FILTER_DIGITS)
        memcpy(digits, text.data, text.len);
    buffer_fini(&aad);
    buffer_fini(&text);
    if (e == VRS_OK && strspn(digits, "0123456789") != FILTER_DIGITS)
        e = ERR_PROTOCOL;
    return e;
}

static enum vrs_err may_have(struct filter_job *q, struct partition *p) {
    int64_t on = 0;
    enum vrs_err e = setting_get(p, SETTING_COUPON_FILTER, &on);
    q->wanted = e == VRS_OK && q->own_site && on != 0 && q->counted;
    q->refusal = !q->own_site        ? ERR_OTHER_MUNICIPALITY
                 : on == 0           ? ERR_NOT_FOUND
                 : !q->counted       ? ERR_TOO_MANY
                 : q->filter == NULL ? ERR_BUSY /* it is being made */
                                     : VRS_OK;
    return e;
}

static enum vrs_err filter_run(struct pool_job *job, struct partition *p) {
    struct filter_job *q = (struct filter_job *)job;
    char digits[FILTER_DIGITS + 1], detail[16];
    buffer_clear(&q->shard);
    enum vrs_err e = open_question(q, digits);
    if (e == VRS_OK)
        e = may_have(q, p);
    if (e != VRS_OK)
        return e;
    q->changes = coupon_changes(p);
    if (q->refusal == VRS_OK)
        q->refusal =
            filter_shard(q->filter, digits, q->all->server->signer[job->worker_index], &q->shard);
    (void)snprintf(detail, sizeof detail, "digits=%s", digits);
    const struct log_entry entry = {.actor = {.terminal = q->terminal, .source = "internet"},
                                    .act = "coupon.filter",
                                    .purpose = "vaccination_record",
                                    .result = q->refusal == VRS_OK ? "ok" : err_name(q->refusal),
                                    .detail = detail,
                                    .count = q->refusal == VRS_OK ? 1 : 0};
    return access_log_append(p, &entry, NULL);
}

static void filter_done(struct pool_job *job) {
    struct filter_job *q = (struct filter_job *)job;
    struct line_answer a = {.id = q->query.id};
    enum vrs_err e = job->err == VRS_OK ? q->refusal : job->err;
    if (e == VRS_OK) {
        a.body = q->shard.data;
        a.len = q->shard.len;
    } else {
        (void)snprintf(a.refusal, sizeof a.refusal, "%s", err_name(e));
        if (q->counted)
            throttle_take_back(q->all->quota, q->query.from);
    }
    /* Other errors: no answer, the tablet is told inside_away. */
    if (job->err == VRS_OK || job->err == ERR_NOT_FOUND)
        line_queries_answer(q->all->line, &a);
    if (job->err == VRS_OK && q->wanted)
        make_anew(q->town, q->changes);
    filter_release(&q->filter);
    buffer_fini(&q->shard);
    free(q);
}

/* Held while the job reads it; nobody gets one that has ended. */
static struct coupon_filter *current(struct filter_queries *all, struct town *t) {
    make_room(all);
    t->asked_ms = clock_mono_ms();
    if (t->filter != NULL)
        filter_hold(t->filter);
    return t->filter;
}

void filter_queries_take(struct filter_queries *all, const struct line_query *from) {
    const struct listed_terminal *at = terminal_list_find(all->server->terminals, from->from);
    /* What the outside says of its terminals is not believed: the registry knows their towns. */
    bool own_site = at != NULL && at->state == TERMINAL_ACTIVE &&
                    strcmp(at->municipality, from->municipality) == 0;
    struct town *t = own_site ? town_of(all, from->municipality) : NULL;
    struct filter_job *q = t != NULL || !own_site ? calloc(1, sizeof *q + from->sealed_len) : NULL;
    if (q == NULL)
        return; /* unanswered: the tablet's deadline speaks */
    q->all = all;
    q->town = t;
    q->query = *from;
    q->query.sealed = q->sealed;
    memcpy(q->sealed, from->sealed, from->sealed_len);
    q->own_site = own_site;
    if (at != NULL)
        (void)snprintf(q->terminal, sizeof q->terminal, "%s", at->name);
    q->counted = own_site && throttle_allows(all->quota, from->from, NULL);
    if (q->counted)
        throttle_count(all->quota, from->from);
    if (t != NULL)
        q->filter = current(all, t);
    buffer_init(&q->shard, ANSWER_MAX);
    q->job.run = filter_run;
    q->job.done = filter_done;
    memcpy(q->job.municipality, from->municipality, sizeof q->job.municipality);
    if (pool_submit(all->server->pool, &q->job) == VRS_OK)
        return;
    filter_release(&q->filter);
    buffer_fini(&q->shard);
    free(q);
}

enum vrs_err filter_queries_open(struct server *s, struct line_queries *line,
                                 struct crypto_opener *const *opener, struct filter_queries **out) {
    struct filter_queries *all = calloc(1, sizeof *all);
    *out = all;
    if (all == NULL)
        return ERR_MEMORY;
    all->server = s;
    all->line = line;
    all->opener = opener;
    all->quota = throttle_open(QUOTA_NAMES, (unsigned)s->config.coupon_filter_per_day, DAY_MS);
    return all->quota != NULL ? VRS_OK : ERR_MEMORY;
}
