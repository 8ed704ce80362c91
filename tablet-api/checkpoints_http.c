/* The two doors of the second place: the inside posts, everybody reads. */
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/http.h"
#include "lib/log.h"
#include "lib/worker.h"
#include "tablet-api/checkpoints.h"
#include "tablet-api/event.h"
#include "tablet-api/line.h"
#include "tablet-api/published.h"
#include "tablet-api/tablet.h"

enum { PAGE_BYTES = (CHECKPOINT_PAGE + 1) * CHECKPOINT_LINE_BYTES };

/* ---- POST /line/v1/checkpoints */

struct post {
    struct worker_job job; /* first */
    struct http_request *rq;
    struct checkpoints *place;
    struct published_log_key keys[PUBLISHED_MAX_LOG_KEYS];
    size_t key_count;
    struct log_signed_head head[LINE_MAX_ENTRIES];
    const char *event[LINE_MAX_ENTRIES]; /* what is wrong with it, NULL nothing */
    size_t count;
    enum vrs_err err;
};

static enum vrs_err take_head(const uint8_t *head, size_t len, void *arg) {
    struct post *p = arg;
    if (p->count == LINE_MAX_ENTRIES)
        return ERR_TOO_LARGE;
    return proof_head_decode(head, len, &p->head[p->count++]) == VRS_OK ? VRS_OK : ERR_PROTOCOL;
}

static const uint8_t *key_of(const struct post *p, const char *key_id) {
    for (size_t i = 0; i < p->key_count; i++)
        if (strcmp(p->keys[i].key_id, key_id) == 0)
            return p->keys[i].key;
    return NULL;
}

static void post_run(struct worker_job *job) {
    struct post *p = (struct post *)job;
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; i < p->count && (e == VRS_OK || e == ERR_CONFLICT); i++) {
        const uint8_t *key = key_of(p, p->head[i].key_id);
        enum checkpoint_found found = CHECKPOINT_KEPT;
        if (key == NULL) { /* not published here yet: it is posted again */
            e = ERR_CONFLICT;
            continue;
        }
        if (!proof_head_check(&p->head[i], key)) {
            p->event[i] = "log.bad_proof";
            continue;
        }
        enum vrs_err kept = checkpoints_keep(p->place, &p->head[i], &found);
        if (kept != VRS_OK)
            e = kept;
        else if (found == CHECKPOINT_FORK)
            p->event[i] = "log.fork";
    }
    enum vrs_err synced = checkpoints_sync(p->place);
    p->err = synced != VRS_OK ? synced : e;
}

static void post_done(struct worker_job *job) {
    struct post *p = (struct post *)job;
    struct tablet *t = http_arg(p->rq);
    struct buffer b;
    for (size_t i = 0; i < p->count; i++) {
        if (p->event[i] == NULL)
            continue;
        const struct event_note note = {
            .name = p->event[i], .terminal = "", .staff = "", .source = p->head[i].municipality};
        log_event(LOG_ERROR, p->event[i], LF_STR("municipality", p->head[i].municipality),
                  LF_STR("epoch", p->head[i].epoch), LF_INT("size", p->head[i].size));
        event_note(t->events, &note);
    }
    if (p->err != VRS_OK) {
        http_problem(p->rq, p->err, NULL, NULL);
    } else {
        buffer_init(&b, 256);
        line_acked_begin(&b);
        http_reply(p->rq, 200, LINE_CONTENT_TYPE, b.data, b.len);
        buffer_fini(&b);
    }
    free(p);
}

void line_checkpoints(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    const struct published_log_key *keys;
    struct post *p = calloc(1, sizeof *p);
    size_t len = 0;
    const void *body = http_body(rq, &len);
    if (p == NULL) {
        http_problem(rq, ERR_MEMORY, NULL, NULL);
        return;
    }
    p->rq = rq;
    p->place = t->checkpoints;
    p->key_count = published_log_keys(t->published, &keys);
    if (p->key_count > 0)
        memcpy(p->keys, keys, p->key_count * sizeof *keys);
    p->job.run = post_run;
    p->job.done = post_done;
    enum vrs_err e = line_checkpoints_decode(body, len, take_head, p);
    if (e == VRS_OK)
        e = worker_submit(checkpoints_worker(t->checkpoints), &p->job);
    if (e != VRS_OK) {
        http_problem(rq, e, NULL, NULL);
        free(p);
    }
}

/* ---- GET /v1/log/checkpoints/{municipality} */

struct look {
    struct worker_job job; /* first */
    struct http_request *rq;
    struct checkpoints *place;
    char municipality[7];
    int64_t since_ms;
    struct buffer page;
    enum vrs_err err;
};

static void look_run(struct worker_job *job) {
    struct look *l = (struct look *)job;
    l->err = checkpoints_read(l->place, l->municipality, l->since_ms, &l->page);
}

static void look_done(struct worker_job *job) {
    struct look *l = (struct look *)job;
    if (l->err == VRS_OK)
        http_reply_json(l->rq, 200, (const char *)l->page.data, l->page.len);
    else
        http_problem(l->rq, l->err, NULL, NULL);
    buffer_fini(&l->page);
    free(l);
}

void checkpoints_get(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    const char *municipality = http_param(rq, "municipality"), *since = http_query(rq, "since");
    struct vrs_fault fault = {0};
    int64_t since_ms = -1;
    if (since != NULL && (!clock_parse_rfc3339(since, &since_ms) || since_ms < 0)) {
        (void)err_fail(&fault, ERR_BAD_FIELD, "since");
        http_problem_fault(rq, &fault);
        return;
    }
    struct look *l = strlen(municipality) == 6 ? calloc(1, sizeof *l) : NULL;
    if (l == NULL) {
        http_problem(rq, strlen(municipality) == 6 ? ERR_MEMORY : ERR_NOT_FOUND, NULL, NULL);
        return;
    }
    l->rq = rq;
    l->place = t->checkpoints;
    l->since_ms = since_ms;
    l->job.run = look_run;
    l->job.done = look_done;
    memcpy(l->municipality, municipality, sizeof l->municipality);
    buffer_init(&l->page, PAGE_BYTES);
    enum vrs_err e = worker_submit(checkpoints_worker(t->checkpoints), &l->job);
    if (e != VRS_OK) {
        http_problem(rq, e, NULL, NULL);
        free(l);
    }
}
