#include "tablet-api/enrolment.h"

#include <stdio.h>
#include <string.h>

#include "lib/http.h"
#include "lib/json.h"
#include "lib/secret.h"
#include "lib/throttle.h"
#include "lib/tls.h"
#include "tablet-api/event.h"
#include "tablet-api/query.h"
#include "tablet-api/tablet.h"
#include "tablet-api/terminal.h"

/* Whom tries are counted for: the terminal, on the public listener the address. */
static void name_of(struct http_request *rq, char name[96]) {
    const struct caller *c = http_tls_peer(rq) != NULL ? terminal_caller(rq) : NULL;
    (void)snprintf(name, 96, "%s %s", c != NULL ? "terminal" : "source",
                   c != NULL ? c->terminal : http_peer_address(rq));
}

static void answered(struct http_request *rq, const struct line_answer *a) {
    struct tablet *t = http_arg(rq);
    enum vrs_err e = ERR_INSIDE_AWAY;
    if (a != NULL && a->refusal[0] == '\0') {
        char name[96];
        name_of(rq, name); /* a whole site may stand behind one address */
        throttle_take_back(t->enrolment_quota, name);
        http_reply_json(rq, 201, (const char *)a->body, a->len);
        return;
    }
    if (a != NULL && (!err_by_name(a->refusal, &e) || e == VRS_OK))
        e = ERR_PROTOCOL;
    http_problem(rq, e, NULL, NULL);
}

static void relay(struct http_request *rq, enum line_query_kind kind, const char *from) {
    struct tablet *t = http_arg(rq);
    const char *code = "", *request = NULL;
    const struct json_field with_code[] = {
        JF_STR("code", true, sizeof((struct line_enrolment *)0)->code - 1, &code),
        JF_TEXT("request_pem", true, sizeof((struct line_enrolment *)0)->request_pem - 1, &request),
        JF_END};
    struct line_enrolment what = {0};
    char name[96];
    struct vrs_fault fault = {0};
    struct buffer plain;
    json_t *doc = NULL;
    size_t len = 0;
    int64_t retry_ms = 1000;
    const void *body = http_body(rq, &len);
    name_of(rq, name);
    if (!throttle_allows(t->enrolment_quota, name, &retry_ms)) {
        char after[24];
        (void)snprintf(after, sizeof after, "%lld", (long long)((retry_ms + 999) / 1000));
        http_set_header(rq, "Retry-After", after);
        const struct event_note note = {.name = "enrolment.refused",
                                        .terminal = "",
                                        .staff = "",
                                        .source = http_peer_address(rq),
                                        .thin = true};
        event_note(t->events, &note);
        http_problem(rq, ERR_TOO_MANY, NULL, NULL);
        return;
    }
    throttle_count(t->enrolment_quota, name);
    enum vrs_err e = json_parse(body, len, &doc, &fault);
    if (e == VRS_OK)
        e = json_read(doc, kind == LINE_QUERY_ENROL ? with_code : with_code + 1, &fault);
    if (e != VRS_OK) {
        http_problem_fault(rq, &fault);
        json_decref(doc);
        return;
    }
    (void)snprintf(what.code, sizeof what.code, "%s", code);
    (void)snprintf(what.request_pem, sizeof what.request_pem, "%s", request);
    json_decref(doc);
    buffer_init(&plain, sizeof what + 64);
    line_enrolment_encode(&what, &plain);
    const struct query_ask ask = {.kind = kind,
                                  .municipality = "000000",
                                  .from = from,
                                  .plain = plain.data,
                                  .len = plain.len,
                                  .done = answered};
    e = plain.failed ? ERR_MEMORY : queries_ask(t->queries, rq, &ask);
    buffer_fini(&plain);
    secret_wipe(&what, sizeof what);
    if (e != VRS_OK)
        http_problem(rq, e, NULL, NULL);
}

void enrolment_post(struct http_request *rq) {
    relay(rq, LINE_QUERY_ENROL, http_peer_address(rq));
}

void enrolment_renew(struct http_request *rq) {
    relay(rq, LINE_QUERY_RENEW, terminal_caller(rq)->peer->serial);
}
