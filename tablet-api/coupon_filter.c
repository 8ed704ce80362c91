#include "tablet-api/coupon_filter.h"

#include <string.h>

#include "lib/crypto.h"
#include "lib/http.h"
#include "lib/throttle.h"
#include "lib/tls.h"
#include "tablet-api/query.h"
#include "tablet-api/tablet.h"
#include "tablet-api/terminal.h"

enum { DIGITS = 2, TAG_BYTES = 16 };

static void answered(struct http_request *rq, const struct line_answer *a) {
    enum vrs_err e = a != NULL ? VRS_OK : ERR_INSIDE_AWAY;
    const char *has = http_header(rq, "If-None-Match");
    uint8_t hash[CRYPTO_HASH_BYTES];
    char tag[2 * TAG_BYTES + 3] = "\"";
    if (e == VRS_OK && a->refusal[0] != '\0' && !err_by_name(a->refusal, &e))
        e = ERR_PROTOCOL;
    if (e != VRS_OK) {
        http_problem(rq, e, NULL, NULL);
        return;
    }
    crypto_sha256(a->body, a->len, hash);
    crypto_hex(hash, TAG_BYTES, tag + 1);
    memcpy(tag + 1 + 2 * (size_t)TAG_BYTES, "\"", 2);
    http_set_header(rq, "ETag", tag);
    if (has != NULL && strcmp(has, tag) == 0)
        http_reply(rq, 304, NULL, NULL, 0);
    else
        http_reply_json(rq, 200, (const char *)a->body, a->len);
}

void coupon_filter_get(struct http_request *rq) {
    const struct tablet *t = http_arg(rq);
    const struct caller *c = terminal_caller(rq);
    const char *digits = http_param(rq, "digits");
    enum vrs_err e = VRS_OK;
    if (strlen(digits) != DIGITS || strspn(digits, "0123456789") != DIGITS)
        e = ERR_NOT_FOUND;
    else if (c->registered[0] == '\0')
        e = ERR_OTHER_MUNICIPALITY;
    else if (!throttle_allows(t->coupon_quota, c->terminal, NULL))
        e = ERR_TOO_MANY;
    const struct query_ask question = {.kind = LINE_QUERY_FILTER,
                                       .municipality = c->registered,
                                       .from = c->peer->serial,
                                       .plain = digits,
                                       .len = DIGITS,
                                       .done = answered};
    if (e == VRS_OK)
        e = queries_ask(t->queries, rq, &question);
    if (e == VRS_OK)
        throttle_count(t->coupon_quota, c->terminal);
    else
        http_problem(rq, e, NULL, NULL);
}
