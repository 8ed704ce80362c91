/* GET /v1/operation-report: what the service did for a municipality in a month (C148): acts and
 * refusals by kind, people, imports, inquiries, alerts; counted from the log and the kept alerts, no
 * person in it.  Read slice by slice, so that other work of the partition goes on between. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "partitions/access_log.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/alerts/alert_rules.h"
#include "vrs-server/handlers.h"
#include "vrs-server/log/act.h"
#include "vrs-server/log/log_filter.h"
#include "vrs-server/request.h"
#include "vrs-server/views.h"

enum { SLICE = 500, LOOK_MAX = 5000000, ACTS = 160, USERS = 2000 };

struct act_count {
    char act[40];
    int64_t count, refused;
};

struct report {
    char month[8];
    int64_t from_ms, to_ms;
    uint64_t after, seen, looked_at;
    bool sought, over;
    struct act_count act[ACTS];
    size_t acts;
    char (*user)[64]; /* owned */
    size_t users;
    int64_t entries, imported_rows, asked, provided;
    int64_t alerts[ALERT_RULE_COUNT];
};

static struct act_count *count_of(struct report *r, const char *act) {
    for (size_t i = 0; i < r->acts; i++) {
        if (strcmp(r->act[i].act, act) == 0)
            return &r->act[i];
    }
    if (r->acts == ACTS)
        return &r->act[ACTS - 1]; /* more kinds than there are: never lost from the sum */
    struct act_count *c = &r->act[r->acts++];
    (void)snprintf(c->act, sizeof c->act, "%s", act);
    return c;
}

static void count_user(struct report *r, const char *user) {
    if (strncmp(user, "system", 6) == 0 || strcmp(user, "-") == 0)
        return;
    for (size_t i = 0; i < r->users; i++) {
        if (strcmp(r->user[i], user) == 0)
            return;
    }
    if (r->users < USERS)
        (void)snprintf(r->user[r->users++], sizeof *r->user, "%s", user);
}

static enum vrs_err add_entry(const struct log_read *e, void *arg) {
    struct report *r = arg;
    enum vrs_err why;
    r->seen++;
    r->looked_at++;
    r->after = e->seq;
    if (e->at_ms < r->from_ms || e->at_ms >= r->to_ms)
        return VRS_OK;
    struct act_count *c = count_of(r, e->act);
    c->count++;
    c->refused +=
        (err_by_name(e->result, &why) && why != VRS_OK) || strcmp(e->result, "refused") == 0;
    r->entries++;
    count_user(r, e->user);
    if (strcmp(e->act, "import.commit_rows") == 0)
        r->imported_rows += (int64_t)e->count;
    r->asked += strcmp(e->act, "inquiry.ask") == 0;
    r->provided += strcmp(e->act, "inquiry.answer") == 0;
    return VRS_OK;
}

static enum vrs_err slice_run(struct inside_request *in, struct partition *p) {
    struct report *r = in->own;
    enum vrs_err e = r->sought ? VRS_OK : log_filter_seek(p, r->from_ms, &r->after);
    if (e != VRS_OK)
        return e;
    r->sought = true;
    r->seen = 0;
    e = access_log_read(p, r->after, SLICE, add_entry, r);
    r->over = r->seen < SLICE || r->looked_at >= LOOK_MAX;
    return e;
}

static enum vrs_err alerts_run(struct inside_request *in, struct partition *registry) {
    struct report *r = in->own;
    return alerts_count(registry, alerts_rules(in->server->alerts), in->session.municipality,
                        r->from_ms, r->to_ms, r->alerts);
}

static int by_count(const void *a, const void *b) {
    const struct act_count *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count) - (x->count > y->count)
                                : strcmp(x->act, y->act);
}

static json_t *view_acts(struct report *r) {
    json_t *list = json_array();
    qsort(r->act, r->acts, sizeof r->act[0], by_count);
    for (size_t i = 0; i < r->acts; i++)
        (void)json_array_append_new(list, json_pack("{s:s,s:s,s:I,s:I}", "act", r->act[i].act,
                                                    "name", act_name(r->act[i].act), "count",
                                                    (json_int_t)r->act[i].count, "refused",
                                                    (json_int_t)r->act[i].refused));
    return list;
}

static json_t *view_alerts(const struct report *r, const struct alert_rules *rules) {
    json_t *list = json_array();
    for (size_t i = 0; i < ALERT_RULE_COUNT; i++) {
        if (r->alerts[i] > 0)
            (void)json_array_append_new(
                list, json_pack("{s:s,s:s,s:I}", "rule", rules->rule[i].name, "name",
                                rules->rule[i].title_ja, "count", (json_int_t)r->alerts[i]));
    }
    return list;
}

static enum vrs_err end_run(struct inside_request *in, struct partition *p) {
    struct report *r = in->own;
    int64_t refused = 0;
    for (size_t i = 0; i < r->acts; i++)
        refused += r->act[i].refused;
    enum vrs_err e = inside_log(in, p, NULL, NULL, 0, (uint64_t)r->entries, "ok", r->month);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:s,s:s,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:o,s:o}",
                                      "month", r->month, "municipality_code",
                                      in->session.municipality, "from", view_time(r->from_ms), "to",
                                      view_time(r->to_ms), "entries", (json_int_t)r->entries,
                                      "refused", (json_int_t)refused, "users", (json_int_t)r->users,
                                      "imported_rows", (json_int_t)r->imported_rows,
                                      "inquiries_asked", (json_int_t)r->asked, "inquiries_answered",
                                      (json_int_t)r->provided, "truncated",
                                      (int)(r->looked_at >= LOOK_MAX), "acts", view_acts(r),
                                      "alerts", view_alerts(r, alerts_rules(in->server->alerts))));
    return e;
}

static void ended(struct inside_request *in) {
    struct report *r = in->own;
    free(r->user);
    r->user = NULL;
    inside_answer(in, in->job.err);
}

static void alerts_done(struct inside_request *in) {
    if (in->job.err != VRS_OK)
        ended(in);
    else
        inside_step(in, in->session.municipality, 0, end_run, ended);
}

static void slice_done(struct inside_request *in) {
    const struct report *r = in->own;
    if (in->job.err != VRS_OK)
        ended(in);
    else if (!r->over)
        inside_step(in, in->session.municipality, 0, slice_run, slice_done);
    else
        inside_step(in, REGISTRY, 0, alerts_run, alerts_done);
}

/* "2021-07", a month in Japan; the present one when absent. */
static enum vrs_err read_month(const char *text, struct report *r) {
    char today[11], day[11];
    struct civil_date first;
    clock_format_date(clock_today_jst(), today);
    if (text != NULL && strlen(text) != 7)
        return ERR_R110;
    (void)snprintf(day, sizeof day, "%.7s-01", text != NULL ? text : today);
    enum vrs_err e = clock_parse_date(day, &first);
    if (e != VRS_OK)
        return e;
    (void)snprintf(r->month, sizeof r->month, "%.7s", day);
    const struct civil_date in_next = {first.days + 31};
    clock_format_date(in_next, day);
    memcpy(day + 8, "01", sizeof "01");
    struct civil_date next;
    e = clock_parse_date(day, &next);
    const int64_t day_ms = 86400000, japan_ms = 9 * 3600000;
    r->from_ms = first.days * day_ms - japan_ms;
    r->to_ms = next.days * day_ms - japan_ms;
    return e;
}

void operation_report_get(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct report *r = arena_alloc(http_arena(rq), sizeof *r);
    in->act = "operation.report";
    in->purpose = "operation";
    in->own = r;
    enum vrs_err e = r != NULL ? read_month(http_query(rq, "month"), r) : ERR_MEMORY;
    if (e == VRS_OK && (r->user = calloc(USERS, sizeof *r->user)) == NULL)
        e = ERR_MEMORY;
    if (e != VRS_OK)
        inside_refuse(in, e);
    else
        inside_step(in, in->session.municipality, POOL_CREATE, slice_run, slice_done);
}
