/* GET /v1/log-reports: a stretch of the log is read slice by slice, so that other work of the
 * partition goes on between, and what log_report.h finds in it is answered. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "vrs-server/handlers.h"
#include "vrs-server/log/log_filter.h"
#include "vrs-server/log/log_report.h"
#include "vrs-server/request.h"
#include "vrs-server/setting.h"
#include "vrs-server/views.h"

enum { SLICE = 500, LOOK_MAX = 2000000, USUAL_DAYS = 31 };
static const int64_t day_ms = 86400000;

struct reporting {
    struct log_report *report;
    int64_t from_ms, to_ms;
    uint64_t after, seen;
    bool sought, over;
    json_t *findings;
};

static enum vrs_err add_entry(const struct log_read *e, void *arg) {
    struct reporting *r = arg;
    r->seen++;
    r->after = e->seq;
    if (e->at_ms < r->from_ms || e->at_ms >= r->to_ms)
        return VRS_OK;
    return log_report_add(r->report, e);
}

static enum vrs_err begin(struct inside_request *in, struct partition *p, struct reporting *r) {
    int64_t off_from, off_to;
    enum vrs_err e = setting_get(p, SETTING_OFF_HOURS_FROM, &off_from);
    if (e == VRS_OK)
        e = setting_get(p, SETTING_OFF_HOURS_TO, &off_to);
    if (e == VRS_OK)
        e = log_filter_seek(p, r->from_ms, &r->after);
    if (e != VRS_OK || r->report != NULL)
        return e;
    r->report = log_report_open(in->server->log_rules, off_from, off_to);
    return r->report != NULL ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err slice_run(struct inside_request *in, struct partition *p) {
    struct reporting *r = in->own;
    enum vrs_err e = r->sought ? VRS_OK : begin(in, p, r);
    if (e != VRS_OK)
        return e;
    r->sought = true;
    r->seen = 0;
    e = access_log_read(p, r->after, SLICE, add_entry, r);
    r->over = r->seen < SLICE || log_report_looked_at(r->report) >= LOOK_MAX;
    return e;
}

static enum vrs_err add_finding(const struct log_finding *f, void *arg) {
    json_t *sequences = json_array();
    for (size_t i = 0; i < f->sequences; i++)
        (void)json_array_append_new(sequences, json_integer((json_int_t)f->sequence[i]));
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:I,s:o}", "rule", log_rule_id(f->rule),
                          "rule_name", log_rule_name(f->rule), "user", f->user, "terminal",
                          f->terminal, "from", view_time(f->from_ms), "to", view_time(f->to_ms),
                          "count", (json_int_t)f->count, "sequences", sequences);
    if (o != NULL && f->total > 0)
        (void)json_object_set_new(o, "of", json_integer((json_int_t)f->total));
    return o != NULL && json_array_append_new(arg, o) == 0 ? VRS_OK : ERR_MEMORY;
}

static json_t *view_rules(struct log_rules *rules) {
    json_t *list = json_array();
    for (enum log_rule i = 0; i < LOG_RULE_COUNT; i++) {
        const struct log_threshold *t = log_rule_threshold(rules, i);
        if (t->on)
            (void)json_array_append_new(list,
                                        json_pack("{s:s,s:s,s:I}", "id", log_rule_id(i), "name",
                                                  log_rule_name(i), "count", (json_int_t)t->count));
    }
    return list;
}

static enum vrs_err end_run(struct inside_request *in, struct partition *p) {
    struct reporting *r = in->own;
    char detail[64], from[25], to[25];
    json_t *findings = json_array();
    enum vrs_err e = log_report_end(r->report, add_finding, findings);
    uint64_t looked_at = log_report_looked_at(r->report);
    clock_format_rfc3339(r->from_ms, from);
    clock_format_rfc3339(r->to_ms, to);
    (void)snprintf(detail, sizeof detail, "%s..%s", from, to);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, json_array_size(findings), "ok", detail);
    if (e == VRS_OK)
        e = inside_json(
            in, json_pack("{s:s,s:s,s:I,s:b,s:I,s:O,s:o}", "from", from, "to", to, "looked_at",
                          (json_int_t)looked_at, "truncated", looked_at >= LOOK_MAX,
                          "rules_version", (json_int_t)log_rules_version(in->server->log_rules),
                          "findings", findings, "rules", view_rules(in->server->log_rules)));
    json_decref(findings);
    return e;
}

static void ended(struct inside_request *in) {
    struct reporting *r = in->own;
    log_report_close(&r->report);
    inside_answer(in, in->job.err);
}

static void slice_done(struct inside_request *in) {
    const struct reporting *r = in->own;
    if (in->job.err != VRS_OK)
        ended(in);
    else
        inside_step(in, in->session.municipality, 0, r->over ? end_run : slice_run,
                    r->over ? ended : slice_done);
}

void log_reports_get(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct reporting *r = arena_alloc(http_arena(rq), sizeof *r);
    const char *from = http_query(rq, "from"), *to = http_query(rq, "to");
    in->act = "log.report";
    in->purpose = "log_review";
    in->own = r;
    enum vrs_err e = r != NULL ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK) {
        r->to_ms = clock_now_ms() + 1;
        r->from_ms = r->to_ms - USUAL_DAYS * day_ms;
    }
    if (e == VRS_OK && from != NULL)
        e = log_filter_time(from, false, &r->from_ms);
    if (e == VRS_OK && to != NULL)
        e = log_filter_time(to, true, &r->to_ms);
    if (e == VRS_OK && r->from_ms >= r->to_ms)
        e = ERR_BAD_REQUEST;
    if (e != VRS_OK)
        inside_refuse(in, e);
    else
        inside_step(in, in->session.municipality, POOL_CREATE, slice_run, slice_done);
}
