#include "tablet-api/coupon_query.h"

#include <string.h>

#include "lib/arena.h"
#include "lib/http.h"
#include "lib/json.h"
#include "lib/throttle.h"
#include "lib/tls.h"
#include "tablet-api/intake.h"
#include "tablet-api/query.h"
#include "tablet-api/tablet.h"
#include "tablet-api/terminal.h"

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

static void answered(struct http_request *rq, const struct line_answer *a) {
    static const char *const names[] = {[LINE_COUPON_OK] = "ok",
                                        [LINE_COUPON_UNKNOWN] = "unknown",
                                        [LINE_COUPON_RECORDED] = "dose_already_recorded",
                                        [LINE_COUPON_MOVED_OUT] = "moved_out"};
    const struct caller *c = terminal_caller(rq);
    if (a == NULL) {
        http_problem(rq, ERR_INSIDE_AWAY, NULL, NULL);
        return;
    }
    /* Of another municipality's coupon only whether it is known; the inside keeps to this too. */
    enum line_coupon_status status = a->status;
    if (!c->own_coupon && status != LINE_COUPON_UNKNOWN)
        status = LINE_COUPON_OK;
    reply(rq, names[status], NULL);
}

static enum vrs_err ask(struct tablet *t, struct http_request *rq, const struct coupon *coupon) {
    struct caller *c = http_context(rq);
    char digits[19];
    coupon_format(coupon, digits);
    c->own_coupon = strcmp(c->registered, coupon->municipality.digits) == 0;
    const struct query_ask question = {.kind = LINE_QUERY_COUPON,
                                       .municipality = coupon->municipality.digits,
                                       .from = c->peer->serial,
                                       .plain = digits,
                                       .len = sizeof digits - 1,
                                       .done = answered};
    enum vrs_err e = queries_ask(t->queries, rq, &question);
    secret_wipe(digits, sizeof digits);
    return e;
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
    if (!throttle_allows(t->coupon_quota, c->terminal, NULL)) {
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
        throttle_count(t->coupon_quota, c->terminal);
        e = ask(t, rq, &coupon);
        if (e != VRS_OK)
            http_problem(rq, e, NULL, NULL);
    }
    json_decref(doc);
}
