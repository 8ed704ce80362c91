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

enum { MAX_CANDIDATES = 3, ANSWER_MAX = 16384 };

/* `list`: of candidates, a new reference that is taken, NULL none.  `earliest_on`: NULL none. */
static void reply(struct http_request *rq, const char *status, json_t *list,
                  const char *earliest_on) {
    struct buffer b;
    buffer_init(&b, ANSWER_MAX);
    json_t *doc = json_pack("{s:s, s:o, s:s*}", "status", status, "candidates",
                            list != NULL ? list : json_array(), "earliest_on", earliest_on);
    if (json_write(&b, doc))
        http_reply_json(rq, 200, (const char *)b.data, b.len);
    else
        http_problem(rq, ERR_MEMORY, NULL, NULL);
    buffer_fini(&b);
    json_decref(doc);
}

/* What the form alone suggests for a line that is not valid: no knowledge of what is issued. */
static void reply_invalid(struct http_request *rq, const struct intake_refusal *no) {
    json_t *extra = intake_extra(no);
    reply(rq, "invalid", json_incref(json_object_get(extra, "candidates")), NULL);
    json_decref(extra);
}

/* The inside's list, taken apart: at most three valid lines of the own municipality and nothing
 * else.  NULL: none. */
static json_t *candidates_of(const struct http_request *rq, const struct line_answer *a) {
    const struct tablet *t = http_arg(rq);
    struct vrs_fault fault = {0};
    json_t *doc = NULL, *row;
    json_t *list = json_array();
    size_t i;
    if (a->len == 0 || json_parse(a->body, a->len, &doc, &fault) != VRS_OK)
        doc = NULL;
    json_array_foreach(doc, i, row) {
        const char *line = json_string_value(json_object_get(row, "ocr_line"));
        json_int_t changes = json_integer_value(json_object_get(row, "changes"));
        struct coupon c;
        if (i < MAX_CANDIDATES && line != NULL && strlen(line) == 18 &&
            line_parse(line, t->municipalities, &c, &fault) == VRS_OK &&
            strcmp(c.municipality.digits, terminal_caller(rq)->registered) == 0)
            (void)json_array_append_new(
                list, json_pack("{s:s, s:I}", "ocr_line", line, "changes", changes));
    }
    json_decref(doc);
    if (json_array_size(list) > 0)
        return list;
    json_decref(list);
    return NULL;
}

/* The inside's day, taken apart; "" none. */
static void earliest_of(const struct line_answer *a, char day[11]) {
    const char *text = NULL;
    const struct json_field fields[] = {JF_STR("earliest_on", true, 10, &text), JF_END};
    struct vrs_fault fault = {0};
    struct civil_date on;
    json_t *doc = NULL;
    day[0] = '\0';
    if (a->len > 0 && json_parse(a->body, a->len, &doc, &fault) == VRS_OK &&
        json_read(doc, fields, &fault) == VRS_OK && clock_parse_date(text, &on) == VRS_OK)
        clock_format_date(on, day);
    json_decref(doc);
}

static void give_back(struct http_request *rq) {
    const struct tablet *t = http_arg(rq);
    struct caller *c = http_context(rq);
    if (c->counted)
        throttle_take_back(t->doctor_quota, c->terminal);
    c->counted = false;
}

static void answered(struct http_request *rq, const struct line_answer *a) {
    static const char *const names[] = {[LINE_COUPON_OK] = "ok",
                                        [LINE_COUPON_UNKNOWN] = "unknown",
                                        [LINE_COUPON_RECORDED] = "dose_already_recorded",
                                        [LINE_COUPON_MOVED_OUT] = "moved_out"};
    const struct caller *c = terminal_caller(rq);
    char earliest_on[11] = "";
    if (a != NULL && c->own_coupon && a->status == LINE_COUPON_OK)
        earliest_of(a, earliest_on);
    if (a == NULL || (a->status != LINE_COUPON_UNKNOWN && earliest_on[0] == '\0'))
        give_back(rq); /* nobody was looked for, no day told */
    if (a == NULL && c->refusal == NULL) {
        http_problem(rq, ERR_INSIDE_AWAY, NULL, NULL);
        return;
    }
    json_t *list = a != NULL && c->own_coupon && a->status == LINE_COUPON_UNKNOWN
                       ? candidates_of(rq, a)
                       : NULL;
    if (list != NULL) {
        reply(rq, "candidates", list, NULL);
        return;
    }
    if (c->refusal != NULL) {
        reply_invalid(rq, c->refusal);
        return;
    }
    /* Of another municipality's coupon only whether it is known; the inside keeps to this too. */
    enum line_coupon_status status = a->status;
    if (!c->own_coupon && status != LINE_COUPON_UNKNOWN)
        status = LINE_COUPON_OK;
    reply(rq, names[status], NULL, earliest_on[0] != '\0' ? earliest_on : NULL);
}

static enum vrs_err ask_coupon(struct tablet *t, struct http_request *rq,
                               const struct coupon *coupon) {
    const struct caller *c = terminal_caller(rq);
    char digits[19];
    coupon_format(coupon, digits);
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

static enum vrs_err ask_doctor(struct tablet *t, struct http_request *rq,
                               const struct line_doctor *d) {
    struct caller *c = http_context(rq);
    struct buffer plain;
    buffer_init(&plain, 1024);
    line_doctor_encode(d, &plain);
    const struct query_ask question = {.kind = LINE_QUERY_DOCTOR,
                                       .municipality = c->registered,
                                       .from = c->peer->serial,
                                       .plain = plain.data,
                                       .len = plain.len,
                                       .done = answered};
    throttle_count(t->doctor_quota, c->terminal);
    c->counted = true;
    enum vrs_err e = queries_ask(t->queries, rq, &question);
    if (e != VRS_OK)
        give_back(rq);
    buffer_fini(&plain);
    return e;
}

/* "confidence" and "second" of the reader: 18 numbers each, 0 … 255 and 0 … 9 (-1 none). */
static enum vrs_err read_doubts(const json_t *confidence, const json_t *second,
                                struct line_doctor *d, struct vrs_fault *fault) {
    size_t i;
    json_t *v;
    if (confidence != NULL && json_array_size(confidence) != 18)
        return err_fail(fault, ERR_BAD_FIELD, "confidence");
    if (second != NULL && json_array_size(second) != 18)
        return err_fail(fault, ERR_BAD_FIELD, "second");
    json_array_foreach(confidence, i, v) {
        json_int_t n = json_integer_value(v);
        if (!json_is_integer(v) || n < 0 || n > 255)
            return err_fail(fault, ERR_BAD_FIELD, "confidence");
        (void)snprintf(d->confidence + 2 * i, 3, "%02x", (unsigned)n);
    }
    json_array_foreach(second, i, v) {
        json_int_t n = json_integer_value(v);
        if (!json_is_integer(v) || n < -1 || n > 9)
            return err_fail(fault, ERR_BAD_FIELD, "second");
        d->second[i] = n < 0 ? ' ' : (char)('0' + n);
    }
    return VRS_OK;
}

/* "product" and "vaccinated_on": the dose that is meant.  One without the other asks nothing. */
static enum vrs_err read_dose(const struct tablet *t, const char *product, const char *on,
                              struct line_doctor *d, struct vrs_fault *fault) {
    struct civil_date day;
    if (product != NULL && vaccine_find(t->vaccines, product) == NULL)
        return err_fail(fault, ERR_R132, "product");
    enum vrs_err e = on != NULL ? clock_parse_date(on, &day) : VRS_OK;
    if (e != VRS_OK)
        return err_fail(fault, e, "vaccinated_on");
    if (product != NULL && on != NULL) {
        (void)snprintf(d->product, sizeof d->product, "%s", product);
        clock_format_date(day, d->vaccinated_on);
    }
    return VRS_OK;
}

static enum vrs_err check_valid(struct tablet *t, struct http_request *rq,
                                const struct coupon *coupon, const struct line_doctor *d) {
    struct caller *c = http_context(rq);
    c->own_coupon = strcmp(c->registered, coupon->municipality.digits) == 0;
    /* Without a place in the quota the question stays what it always was. */
    bool doctor = c->own_coupon && throttle_allows(t->doctor_quota, c->terminal, NULL);
    return doctor ? ask_doctor(t, rq, d) : ask_coupon(t, rq, coupon);
}

static enum vrs_err check_invalid(struct tablet *t, struct http_request *rq,
                                  const struct intake_refusal *no, const struct line_doctor *d) {
    struct caller *c = http_context(rq);
    struct intake_refusal *kept = arena_alloc(http_arena(rq), sizeof *kept);
    if (kept == NULL)
        return ERR_MEMORY;
    *kept = *no;
    if (c->registered[0] == '\0' || strlen(d->text) != 18) {
        reply_invalid(rq, no);
        return VRS_OK;
    }
    if (!throttle_allows(t->doctor_quota, c->terminal, NULL))
        return ERR_TOO_MANY;
    c->refusal = kept;
    c->own_coupon = true;
    if (ask_doctor(t, rq, d) != VRS_OK) /* away: the form alone, as ever */
        reply_invalid(rq, no);
    return VRS_OK;
}

void coupon_check(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    const struct caller *c = terminal_caller(rq);
    const struct intake_rules rules = {.municipalities = t->municipalities};
    const char *line = NULL, *product = NULL, *on = NULL;
    json_t *confidence = NULL, *second = NULL;
    const struct json_field fields[] = {
        JF_STR("ocr_line", true, 200, &line),    JF_ARRAY("confidence", false, &confidence),
        JF_ARRAY("second", false, &second),      JF_STR("product", false, 39, &product),
        JF_STR("vaccinated_on", false, 16, &on), JF_END};
    struct vrs_fault fault = {0};
    struct intake_refusal no = {0};
    struct line_doctor d = {0};
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
    if (e == VRS_OK)
        e = read_doubts(confidence, second, &d, &fault);
    if (e == VRS_OK)
        e = read_dose(t, product, on, &d, &fault);
    if (e != VRS_OK) {
        http_problem_fault(rq, &fault);
        json_decref(doc);
        return;
    }
    throttle_count(t->coupon_quota, c->terminal);
    line_normalise(line, d.text, sizeof d.text);
    if (intake_line(&rules, line, &coupon, &no) == VRS_OK)
        e = check_valid(t, rq, &coupon, &d);
    else
        e = check_invalid(t, rq, &no, &d);
    if (e != VRS_OK)
        http_problem(rq, e, NULL, NULL);
    secret_wipe(&d, sizeof d);
    json_decref(doc);
}

/* --- POST /v1/coupons:pre-shot --- */

/* Three numbers, taken apart and put together anew: nothing else goes through. */
static void pre_shot_answered(struct http_request *rq, const struct line_answer *a) {
    struct vrs_fault fault = {0};
    int64_t so_far = -1, next = 0;
    const char *earliest = NULL;
    const struct json_field fields[] = {JF_INT("doses_so_far", true, &so_far),
                                        JF_INT("next_dose_number", false, &next),
                                        JF_STR("earliest_next_on", false, 10, &earliest), JF_END};
    enum vrs_err e = a != NULL ? VRS_OK : ERR_INSIDE_AWAY;
    json_t *doc = NULL, *out = NULL;
    struct buffer b;
    buffer_init(&b, ANSWER_MAX);
    if (e == VRS_OK && a->refusal[0] != '\0' && !err_by_name(a->refusal, &e))
        e = ERR_PROTOCOL;
    if (e == VRS_OK && (json_parse(a->body, a->len, &doc, &fault) != VRS_OK ||
                        json_read(doc, fields, &fault) != VRS_OK))
        e = ERR_PROTOCOL;
    if (e == VRS_OK)
        out = json_pack("{s:I, s:o, s:s?}", "doses_so_far", (json_int_t)so_far, "next_dose_number",
                        next > 0 ? json_integer(next) : json_null(), "earliest_next_on", earliest);
    if (e == VRS_OK && !json_write(&b, out))
        e = ERR_MEMORY;
    if (e == VRS_OK)
        http_reply_json(rq, 200, (const char *)b.data, b.len);
    else
        http_problem(rq, e, NULL, NULL);
    json_decref(doc);
    json_decref(out);
    buffer_fini(&b);
}

static enum vrs_err ask_pre_shot(struct tablet *t, struct http_request *rq, const struct coupon *c,
                                 const char *product) {
    const struct caller *who = terminal_caller(rq);
    struct line_pre_shot p = {0};
    struct buffer plain;
    coupon_format(c, p.ocr_line);
    (void)snprintf(p.product, sizeof p.product, "%s", product);
    buffer_init(&plain, 1024);
    line_pre_shot_encode(&p, &plain);
    const struct query_ask question = {.kind = LINE_QUERY_PRE_SHOT,
                                       .municipality = c->municipality.digits,
                                       .from = who->peer->serial,
                                       .plain = plain.data,
                                       .len = plain.len,
                                       .done = pre_shot_answered};
    enum vrs_err e = queries_ask(t->queries, rq, &question);
    if (e == VRS_OK)
        throttle_count(t->doctor_quota, who->terminal);
    secret_wipe(&p, sizeof p);
    buffer_fini(&plain);
    return e;
}

void coupon_pre_shot(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    const struct caller *c = terminal_caller(rq);
    const struct intake_rules rules = {.municipalities = t->municipalities};
    const char *line = NULL, *product = NULL;
    const struct json_field fields[] = {JF_STR("ocr_line", true, 200, &line),
                                        JF_STR("product", true, 39, &product), JF_END};
    struct vrs_fault fault = {0};
    struct intake_refusal no = {0};
    struct coupon coupon;
    json_t *doc = NULL;
    size_t len = 0;
    const void *body = http_body(rq, &len);
    enum vrs_err e = json_parse(body, len, &doc, &fault);
    if (e == VRS_OK)
        e = json_read(doc, fields, &fault);
    if (e == VRS_OK && vaccine_find(t->vaccines, product) == NULL)
        e = err_fail(&fault, ERR_R132, "product");
    if (e != VRS_OK) {
        http_problem_fault(rq, &fault);
    } else if (intake_line(&rules, line, &coupon, &no) != VRS_OK) {
        json_t *extra = intake_extra(&no);
        http_problem(rq, no.fault.err, NULL, extra);
        json_decref(extra);
    } else {
        if (strcmp(c->registered, coupon.municipality.digits) != 0)
            e = ERR_OTHER_MUNICIPALITY;
        else if (!throttle_allows(t->doctor_quota, c->terminal, NULL) ||
                 !throttle_allows(t->coupon_quota, c->terminal, NULL))
            e = ERR_TOO_MANY;
        else
            e = ask_pre_shot(t, rq, &coupon, product);
        if (e != VRS_OK)
            http_problem(rq, e, NULL, NULL);
    }
    json_decref(doc);
}
