#include "vrs-server/line_queries.h"

#include <stdlib.h>
#include <string.h>

#include "ocr-ingest/line.h"
#include "partitions/access_log.h"
#include "vrs-server/apply.h"
#include "vrs-server/line_outcomes.h"
#include "vrs-server/terminal_list.h"

struct query_job {
    struct pool_job job; /* first */
    struct line_queries *line;
    struct line_query query; /* its `sealed` is our copy below */
    bool own_site;
    enum line_coupon_status status;
    uint8_t sealed[];
};

struct line_queries {
    struct server *server;
    struct client *client;
    struct crypto_opener *const *opener; /* by worker */
    struct buffer answers;
    bool has_answers, answering, closing;
};

static void post_answers(struct line_queries *l);

static enum vrs_err see_recorded(struct claim *c, void *arg) {
    if (claim_in_force(c))
        *(bool *)arg = true;
    return VRS_OK;
}

static enum vrs_err query_look(struct query_job *q, struct partition *p, const struct coupon *c,
                               struct person *holder) {
    struct person_coupon coupon;
    bool recorded = false;
    q->status = LINE_COUPON_UNKNOWN;
    enum vrs_err e = coupon_get(p, c->number.digits, &coupon);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? VRS_OK : e;
    q->status = LINE_COUPON_OK;
    e = person_get(p, &coupon.person, holder);
    if (e != VRS_OK || !q->own_site)
        return e;
    e = claims_of_turn(p, c, see_recorded, &recorded);
    if (recorded)
        q->status = LINE_COUPON_RECORDED;
    else if (person_date_set(holder->moved_out_on))
        q->status = LINE_COUPON_MOVED_OUT;
    return e;
}

static enum vrs_err query_run(struct pool_job *job, struct partition *p) {
    struct query_job *q = (struct query_job *)job;
    struct buffer line;
    struct coupon coupon;
    struct person holder;
    struct vrs_fault fault = {0};
    struct buffer aad;
    char text[32] = "";
    memset(&holder, 0, sizeof holder);
    buffer_init(&aad, 64);
    line_query_aad(&q->query, &aad);
    buffer_init(&line, sizeof text - 1);
    enum vrs_err e = crypto_opener_unseal(q->line->opener[job->worker_index], aad.data, aad.len,
                                          q->query.sealed, q->query.sealed_len, &line);
    if (e == VRS_OK && line.len > 0)
        memcpy(text, line.data, line.len);
    if (e == VRS_OK)
        e = line_parse(text, NULL, &coupon, &fault);
    if (e == VRS_OK)
        e = query_look(q, p, &coupon, &holder);
    struct log_entry entry = {.actor = {.source = "internet"},
                              .act = "coupon.check",
                              .purpose = "vaccination_record",
                              .result = "ok",
                              .count = q->status == LINE_COUPON_UNKNOWN ? 0 : 1};
    if (e == VRS_OK && holder.version != 0) {
        entry.person = &holder;
        entry.subjects = &holder.id;
        entry.subject_count = 1;
    }
    if (e == VRS_OK)
        e = access_log_append(p, &entry, NULL);
    person_wipe(&holder);
    buffer_fini(&aad);
    buffer_fini(&line);
    secret_wipe(text, sizeof text);
    return e;
}

static void put_answer(struct line_queries *l, const struct line_answer *a) {
    if (!l->has_answers)
        line_answers_begin(&l->answers);
    l->has_answers = true;
    line_answers_add(a, &l->answers);
    post_answers(l);
}

static void query_done(struct pool_job *job) {
    struct query_job *q = (struct query_job *)job;
    struct line_queries *l = q->line;
    /* No file of that municipality: nobody is registered there.  Other errors: no answer, the
     * tablet is told inside_away. */
    if (job->err == ERR_NOT_FOUND)
        q->status = LINE_COUPON_UNKNOWN;
    if (!l->closing && (job->err == VRS_OK || job->err == ERR_NOT_FOUND)) {
        const struct line_answer a = {.id = q->query.id, .status = q->status};
        put_answer(l, &a);
    }
    free(q);
}

static void answers_posted(const struct client_reply *r, void *arg) {
    struct line_queries *l = arg;
    (void)r; /* lost answers are asked again by a person */
    l->answering = false;
    post_answers(l);
}

static void post_answers(struct line_queries *l) {
    if (l->answering || !l->has_answers || l->closing)
        return;
    l->answering =
        line_post(l->client, "/line/v1/answers", &l->answers, 5000, answers_posted, l) == VRS_OK;
    buffer_clear(&l->answers);
    l->has_answers = false;
}

void line_queries_take(struct line_queries *l, const struct line_query *from) {
    if (from->kind != LINE_QUERY_COUPON)
        return;
    struct query_job *q = calloc(1, sizeof *q + from->sealed_len);
    if (q == NULL)
        return; /* unanswered: the tablet's deadline speaks */
    q->line = l;
    q->query = *from;
    q->query.sealed = q->sealed;
    /* What the outside says of its terminals is not believed: the registry knows their towns. */
    const struct listed_terminal *t = terminal_list_find(l->server->terminals, from->from);
    q->own_site = t != NULL && t->state == TERMINAL_ACTIVE &&
                  strcmp(t->municipality, from->municipality) == 0;
    memcpy(q->sealed, from->sealed, from->sealed_len);
    q->job.run = query_run;
    q->job.done = query_done;
    memcpy(q->job.municipality, from->municipality, sizeof q->job.municipality);
    if (pool_submit(l->server->pool, &q->job) != VRS_OK)
        free(q);
}

enum vrs_err line_queries_open(struct server *s, struct client *line,
                               struct crypto_opener *const *opener, struct line_queries **out) {
    struct line_queries *l = calloc(1, sizeof *l);
    *out = l;
    if (l == NULL)
        return ERR_MEMORY;
    l->server = s;
    l->client = line;
    l->opener = opener;
    buffer_init(&l->answers, LINE_MAX_BODY);
    return VRS_OK;
}

void line_queries_stop(struct line_queries *l) {
    if (l != NULL)
        l->closing = true;
}
