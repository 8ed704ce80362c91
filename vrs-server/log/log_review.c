/* The monthly review of the access log (C64): a recorded act of a person — who, when, which days,
 * what was found.  When the last one is older than the municipality's setting allows, that is shown
 * here and raised as an alert. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "partitions/access_log.h"
#include "partitions/fields.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/handlers.h"
#include "vrs-server/request.h"
#include "vrs-server/setting.h"
#include "vrs-server/views.h"

enum { LIST_MAX = 200 };

struct review {
    char user[64], section[64], terminal[64];
    char from[11], to[11]; /* days, both included */
    char result[24];       /* no_irregularity | irregularity */
    char note[1024];
    int64_t at_ms;
    uint64_t log_size; /* the last sequence when it was made */
};

static const struct field members[] = {
    FIELD(1, FIELD_TEXT, struct review, user),     FIELD(2, FIELD_TEXT, struct review, section),
    FIELD(3, FIELD_TEXT, struct review, terminal), FIELD(4, FIELD_TEXT, struct review, from),
    FIELD(5, FIELD_TEXT, struct review, to),       FIELD(6, FIELD_TEXT, struct review, result),
    FIELD(7, FIELD_TEXT, struct review, note),     FIELD(8, FIELD_I64, struct review, at_ms),
    FIELD(9, FIELD_I64, struct review, log_size),  {0},
};

static json_t *view_review(const char *id, const struct review *v) {
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:I}", "review_id", id, "from", v->from,
                     "to", v->to, "result", v->result, "note", v->note, "user", v->user, "section",
                     v->section, "at", view_time(v->at_ms), "log_size", (json_int_t)v->log_size);
}

/* --- making one --- */

static enum vrs_err read_review(struct inside_request *in, struct review *v) {
    const char *from = NULL, *to = NULL, *result = NULL, *note = NULL;
    const struct json_field fields[] = {
        JF_STR("from", true, 10, &from),
        JF_STR("to", true, 10, &to),
        JF_STR("result", true, 20, &result),
        JF_STR("note", false, sizeof v->note - 1, &note),
        JF_END,
    };
    struct civil_date first, last;
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK)
        e = clock_parse_date(from, &first);
    if (e == VRS_OK)
        e = clock_parse_date(to, &last);
    if (e != VRS_OK)
        return e;
    if (last.days > clock_today_jst().days)
        return ERR_R112;
    bool irregular = strcmp(result, "irregularity") == 0;
    if (first.days > last.days || (!irregular && strcmp(result, "no_irregularity") != 0))
        return ERR_BAD_FIELD;
    if (irregular && (note == NULL || note[0] == '\0'))
        return ERR_REASON_REQUIRED;
    clock_format_date(first, v->from);
    clock_format_date(last, v->to);
    INSIDE_COPY(v->result, result);
    INSIDE_COPY(v->note, note);
    return VRS_OK;
}

static enum vrs_err store_review(struct partition *p, const struct review *v,
                                 struct record_id *id) {
    struct record r;
    record_init(&r);
    record_id_new(&r.id);
    *id = r.id;
    fields_encode(members, v, &r.text);
    enum vrs_err e = partition_next_order(p, TABLE_LOG_REVIEW, &r.order);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_LOG_REVIEW, &r);
    record_fini(&r);
    return e;
}

static enum vrs_err review_run(struct inside_request *in, struct partition *p) {
    struct review v = {.at_ms = clock_now_ms()};
    struct record_id id;
    char hex[33], detail[64];
    enum vrs_err e = read_review(in, &v);
    if (e == VRS_OK)
        e = partition_engine(p)->max_order(partition_store(p), TABLE_LOG, &v.log_size);
    INSIDE_COPY(v.user, in->session.user);
    INSIDE_COPY(v.section, in->session.section);
    INSIDE_COPY(v.terminal, in->session.terminal);
    if (e == VRS_OK)
        e = store_review(p, &v, &id);
    (void)snprintf(detail, sizeof detail, "%s..%s %s", v.from, v.to, v.result);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, 0, "ok", detail);
    if (e != VRS_OK)
        return e;
    record_id_format(&id, hex);
    in->status = 201;
    return inside_json(in, view_review(hex, &v));
}

void log_reviews_make(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "log.review";
    in->purpose = "log_review";
    inside_run(in, review_run);
}

/* --- what is there, and what is due --- */

struct due {
    json_t *reviews; /* newest first; NULL: not wanted */
    int64_t last_ms; /* of the last review; else of the first entry; 0: nothing to review */
    bool reviewed;
};

static enum vrs_err add_review(struct record *r, void *arg) {
    struct due *d = arg;
    struct review v = {0};
    char hex[33];
    enum vrs_err e = fields_decode(members, &r->text, &v);
    if (e != VRS_OK)
        return e;
    d->reviewed = true;
    d->last_ms = v.at_ms;
    if (d->reviews == NULL)
        return VRS_OK;
    record_id_format(&r->id, hex);
    if (json_array_size(d->reviews) == LIST_MAX)
        (void)json_array_remove(d->reviews, LIST_MAX - 1);
    return json_array_insert_new(d->reviews, 0, view_review(hex, &v)) == 0 ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err note_time(const struct log_read *e, void *arg) {
    *(int64_t *)arg = e->at_ms;
    return VRS_OK;
}

/* The day by which the next review is to be made; the log's first day counts as reviewed. */
static enum vrs_err find_due(struct partition *p, struct due *d, struct civil_date *due_on,
                             int64_t *days) {
    enum vrs_err e = setting_get(p, SETTING_LOG_REVIEW_DAYS, days);
    if (e == VRS_OK)
        e = record_scan(p, TABLE_LOG_REVIEW, UINT32_MAX, 0, UINT64_MAX / 2, add_review, d);
    if (e == VRS_OK && !d->reviewed)
        e = access_log_read(p, 0, 1, note_time, &d->last_ms);
    *due_on = d->last_ms != 0 ? clock_date_jst(d->last_ms) : clock_today_jst();
    due_on->days += (int32_t)*days;
    return e;
}

static enum vrs_err list_run(struct inside_request *in, struct partition *p) {
    struct due d = {.reviews = json_array()};
    struct civil_date due_on;
    int64_t days = 0;
    enum vrs_err e = find_due(p, &d, &due_on, &days);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, json_array_size(d.reviews), "ok", NULL);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:O,s:o,s:b,s:I}", "reviews", d.reviews, "due_on",
                                      view_date(due_on), "overdue",
                                      clock_today_jst().days > due_on.days, "interval_days",
                                      (json_int_t)days));
    json_decref(d.reviews);
    return e;
}

void log_reviews_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "log.review_list";
    in->purpose = "log_review";
    inside_run(in, list_run);
}

/* --- overdue ones are raised --- */

struct looking {
    struct pool_job job; /* first */
    struct server *server;
    bool overdue;
};

static enum vrs_err look_run(struct pool_job *job, struct partition *p) {
    struct looking *l = (struct looking *)job;
    struct due d = {0};
    struct civil_date due_on;
    int64_t days;
    enum vrs_err e = find_due(p, &d, &due_on, &days);
    l->overdue = d.last_ms != 0 && clock_today_jst().days > due_on.days;
    return e;
}

static void look_done(struct pool_job *job) {
    const struct looking *l = (const struct looking *)job;
    if (job->err == VRS_OK)
        alert_state(l->server, "log_review_overdue", job->municipality, l->overdue);
    free(job);
}

static void look_in(const char *municipality, void *arg) {
    if (strcmp(municipality, REGISTRY) == 0)
        return;
    struct looking *l = calloc(1, sizeof *l);
    if (l == NULL)
        return; /* the next time */
    l->server = arg;
    INSIDE_COPY(l->job.municipality, municipality);
    l->job.flags = POOL_LATER;
    l->job.run = look_run;
    l->job.done = look_done;
    if (pool_submit(l->server->pool, &l->job) != VRS_OK)
        free(l);
}

void log_reviews_look(struct server *server) {
    pool_each(server->pool, look_in, server);
}
