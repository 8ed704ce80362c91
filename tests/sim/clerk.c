#include "tests/sim/clerk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "partitions/exchange.h"
#include "tests/sim/http.h"
#include "vrs-server/handlers.h"
#include "vrs-server/inquiries/allow_list.h"
#include "vrs-server/inquiries/permit.h"
#include "vrs-server/inquiries/policy.h"
#include "vrs-server/log/refusals.h"
#include "vrs-server/request.h"
#include "vrs-server/setting.h"
#include "vrs-server/views.h"

enum { KEYS = 4, ASKED = 48, ROWS = 64 };

/* One request of a clerk. */
struct asked {
    int key, resident, town; /* of the asker */
    bool answered;
    uint64_t life; /* of vrs-server */
    enum vrs_err err;
    char id[33], result[16];
};

static struct asked asked[ASKED];
static size_t asked_count;
struct clerk_totals clerk_totals;

void clerk_begin(void) {
    memset(asked, 0, sizeof asked);
    asked_count = 0;
}

/* ---- what request.c and inquiries.c ask of the rest */

struct arena *http_arena(struct http_request *rq) {
    return rq->arena;
}
const char *http_param(const struct http_request *rq, const char *name) {
    (void)rq, (void)name;
    return NULL;
}
const char *http_path(const struct http_request *rq) {
    return rq->route->path;
}
const char *http_method(const struct http_request *rq) {
    return route_method_name(rq->route->method);
}
const struct route *http_route(const struct http_request *rq) {
    return rq->route;
}
void http_set_context(struct http_request *rq, void *ctx) {
    rq->context = ctx;
}
void *http_context(const struct http_request *rq) {
    return rq->context;
}
void http_set_header(struct http_request *rq, const char *name, const char *value) {
    (void)rq, (void)name, (void)value;
}
void watch_answer(const struct inside_request *in, enum vrs_err e) {
    (void)in, (void)e;
}
bool refusals_take(struct refusals *r, const char *municipality, const char *terminal,
                   enum vrs_err e, unsigned most, uint64_t *more) {
    (void)r, (void)municipality, (void)terminal, (void)e, (void)most, (void)more;
    return true;
}
enum vrs_err session_scope(const struct inside_request *in, char out[7]) {
    (void)in, (void)out;
    return ERR_FORBIDDEN;
}
enum vrs_err session_purpose(const struct inside_request *in, const char *purpose,
                             const char *use) {
    (void)in, (void)purpose, (void)use;
    return VRS_OK;
}
enum vrs_err policy_basis(const struct policy_list *l, const char *municipality, const char *kind,
                          struct civil_date on) {
    (void)l, (void)municipality, (void)kind, (void)on;
    return VRS_OK;
}
int64_t policy_result_days(const struct policy_list *l, const char *municipality) {
    (void)l, (void)municipality;
    return 14;
}
enum vrs_err allow_guard_permits(struct allow_guard *g, const char *business, const char *asker,
                                 const char *provider, const char *item, struct civil_date on) {
    (void)g, (void)business, (void)asker, (void)provider, (void)item, (void)on;
    return VRS_OK;
}
enum vrs_err setting_get(struct partition *p, enum setting s, int64_t *out) {
    (void)p, (void)s;
    *out = 1;
    return VRS_OK;
}
json_t *view_dose_for(const struct server *s, const struct claim *c, const char *business,
                      const char *asker, const char *provider) {
    (void)s, (void)business, (void)asker, (void)provider;
    return json_pack("{s:s}", "lot", c->lot);
}
void view_items_for(const struct server *s, const char *business, const char *asker,
                    const char *provider, char out[VIEW_ITEMS_MAX]) {
    (void)s, (void)business;
    (void)snprintf(out, VIEW_ITEMS_MAX, "lot of %s for %s", provider, asker);
}
json_t *view_time(int64_t utc_ms) {
    return json_integer(utc_ms);
}

/* ---- asking */

static void answered(struct http_request *rq, enum vrs_err e, const void *body, size_t len) {
    struct asked *a = rq->own;
    json_t *o = NULL;
    struct vrs_fault fault = {0};
    if (disk_is_off() || !town.up[DISK_SERVER])
        return; /* nobody is there to hear it */
    a->answered = true;
    a->err = e;
    if (e == VRS_OK && json_parse(body, len, &o, &fault) == VRS_OK) {
        (void)snprintf(a->id, sizeof a->id, "%s",
                       json_string_value(json_object_get(o, "inquiry_id")));
        (void)snprintf(a->result, sizeof a->result, "%s",
                       json_string_value(json_object_get(o, "result")));
    }
    json_decref(o);
    for (size_t i = 0; i < asked_count; i++) {
        const struct asked *b = &asked[i];
        if (b == a || !b->answered || b->key != a->key || b->town != a->town)
            continue;
        if (e == VRS_OK && b->err == VRS_OK &&
            (b->resident != a->resident || strcmp(a->id, b->id) != 0 ||
             strcmp(a->result, b->result) != 0))
            day_wrong("inquiry %d of town %d: two answers", a->key, a->town);
        if (e == ERR_KEY_REUSED && b->err == VRS_OK && b->resident == a->resident)
            day_wrong("inquiry %d of town %d: the same question is refused", a->key, a->town);
    }
}

void clerk_ask(void) {
    static const struct route route = {
        .method = ROUTE_POST, .path = "/v1/inquiries", .flags = ROUTE_IDEMPOTENT};
    if (!town.up[DISK_SERVER] || asked_count == ASKED)
        return;
    struct asked *a = &asked[asked_count++];
    struct http_request *rq = calloc(1, sizeof *rq);
    char number[13], text[400], key[40];
    struct vrs_fault fault = {0};
    struct session session = {.user = "clerk", .section = "接種係", .terminal = "lgwan-1"};
    if (rq == NULL || (rq->arena = arena_open(1 << 20)) == NULL)
        abort();
    a->life = town.starts[DISK_SERVER];
    a->key = (int)chance_below(&day.chance, KEYS);
    a->town = (int)chance_below(&day.chance, DAY_TOWNS);
    /* Of a key mostly the same person; 0 … 2 live in TOWN, 3 and 4 perhaps, 7 nowhere. */
    struct chance c = {chance_mix(day.seed * 512 + (uint64_t)a->key)};
    a->resident = chance_one_in(&c, 4) ? 7 : (int)chance_below(&c, TOWN_COUPONS);
    if (chance_one_in(&day.chance, 6))
        a->resident = (a->resident + 1) % TOWN_COUPONS;
    town_number(a->resident, number);
    (void)snprintf(text, sizeof text,
                   "{\"from_municipality\":\"%s\",\"personal_number\":\"%s\","
                   "\"purpose\":\"transfer_in\",\"basis\":{\"kind\":\"consent\",\"document\":\"1\","
                   "\"obtained_on\":\"2021-06-01\"},\"identity\":{\"method\":\"card\","
                   "\"checked_on\":\"2021-06-01\"}}",
                   day_towns[1 - a->town], number);
    rq->len = strlen(text);
    rq->body = (uint8_t *)strdup(text);
    rq->arg = &town.server;
    rq->route = &route;
    rq->own = a;
    rq->answered = answered;
    struct inside_request *in = inside_make(rq);
    if (in == NULL || json_parse(rq->body, rq->len, &in->body, &fault) != VRS_OK)
        abort();
    (void)snprintf(session.municipality, sizeof session.municipality, "%s", day_towns[a->town]);
    inside_set_session(in, &session);
    (void)snprintf(key, sizeof key, "inquiry-%d", a->key);
    in->idempotency_key = arena_strdup(rq->arena, key);
    inquiries_ask(rq);
}

/* ---- the truth */

struct look {
    struct pool_job job; /* first */
    bool done;
    int town;
    struct {
        struct record_id id;
        enum inquiry_state state;
        unsigned own, provided;
    } row[ROWS];
    size_t count;
};
static struct look looks[DAY_TOWNS];

static enum vrs_err see_inquiry(struct inquiry *q, void *arg) {
    struct look *l = arg;
    if (l->count < ROWS) {
        l->row[l->count].id = q->id;
        l->row[l->count++].state = q->state;
    }
    return VRS_OK;
}

static enum vrs_err see_provision(const struct provision *v, void *arg) {
    struct look *l = arg;
    struct look *asker = v->asked_here ? l : &looks[1 - l->town];
    for (size_t i = 0; i < asker->count; i++) {
        if (record_id_equal(&asker->row[i].id, &v->inquiry)) {
            asker->row[i].own += v->asked_here;
            asker->row[i].provided += !v->asked_here;
            return VRS_OK;
        }
    }
    day_wrong("town %d: a record of an inquiry that there is not", l->town);
    return VRS_OK;
}

static enum vrs_err look_rows(struct pool_job *job, struct partition *p) {
    enum vrs_err e = VRS_OK;
    for (int s = INQUIRY_OPEN; s <= INQUIRY_EXPIRED && e == VRS_OK; s++)
        e = inquiries_in_state(p, (enum inquiry_state)s, ROWS, see_inquiry, job);
    return e;
}

static enum vrs_err look_records(struct pool_job *job, struct partition *p) {
    return provisions_read(p, 0, ROWS * 2, see_provision, job);
}

static void looked(struct pool_job *job) {
    ((struct look *)job)->done = true;
}

static void run_in_town(int t, enum vrs_err (*run)(struct pool_job *, struct partition *)) {
    struct look *l = &looks[t];
    l->done = false;
    l->town = t;
    l->job = (struct pool_job){.run = run, .done = looked};
    (void)snprintf(l->job.municipality, sizeof l->job.municipality, "%s", day_towns[t]);
    if (pool_submit(town.server.pool, &l->job) != VRS_OK)
        abort();
    while (!l->done)
        (void)machine_step(false);
    if (l->job.err != VRS_OK && l->job.err != ERR_NOT_FOUND)
        day_wrong("town %d: inquiries cannot be read: %s", t, err_name(l->job.err));
}

static void check_row(int t, size_t i) {
    enum inquiry_state s = looks[t].row[i].state;
    unsigned own = looks[t].row[i].own, provided = looks[t].row[i].provided;
    if (s == INQUIRY_OPEN)
        day_wrong("town %d: an inquiry stays open", t);
    if (provided > 1 || own > 1)
        day_wrong("town %d: an inquiry has %u and %u records", t, own, provided);
    if ((s == INQUIRY_MATCH && (own != 1 || provided != 1)) ||
        (s == INQUIRY_NO_MATCH && (own != 1 || provided != 0)))
        day_wrong("town %d: an inquiry's result rests on %u and %u records", t, own, provided);
    clerk_totals.match += s == INQUIRY_MATCH;
    clerk_totals.no_match += s == INQUIRY_NO_MATCH;
    clerk_totals.aborted += s == INQUIRY_ABORTED;
}

static void check_asked(const struct asked *a) {
    struct record_id id;
    if (!a->answered || a->err != VRS_OK)
        return;
    const struct look *l = &looks[a->town];
    for (size_t i = 0; i < l->count && record_id_parse(a->id, &id); i++) {
        if (!record_id_equal(&l->row[i].id, &id))
            continue;
        bool match = l->row[i].state == INQUIRY_MATCH;
        if (strcmp(a->result, match ? "match" : "no_match") != 0)
            day_wrong("inquiry %d of town %d was answered %s", a->key, a->town, a->result);
        return;
    }
    day_wrong("inquiry %d of town %d was answered and is gone", a->key, a->town);
}

void clerk_truth(void) {
    char number[13];
    memset(looks, 0, sizeof looks);
    for (int t = 0; t < DAY_TOWNS; t++)
        run_in_town(t, look_rows);
    for (int t = 0; t < DAY_TOWNS; t++)
        run_in_town(t, look_records);
    for (int t = 0; t < DAY_TOWNS; t++) {
        unsigned keys = 0, seen = 0;
        for (size_t i = 0; i < asked_count; i++)
            if (asked[i].town == t && (seen & 1U << asked[i].key) == 0)
                keys++, seen |= 1U << asked[i].key;
        if (looks[t].count > keys)
            day_wrong("town %d: %zu inquiries under %u keys", t, looks[t].count, keys);
        for (size_t i = 0; i < looks[t].count; i++)
            check_row(t, i);
    }
    for (size_t i = 0; i < asked_count; i++) {
        check_asked(&asked[i]);
        clerk_totals.refused += asked[i].answered && asked[i].err != VRS_OK;
        if (!asked[i].answered && asked[i].life == town.starts[DISK_SERVER])
            day_wrong("inquiry %d of town %d was never answered", asked[i].key, asked[i].town);
        town_number(asked[i].resident, number);
        if (disk_holds(number, 12))
            day_wrong("the number of resident %d is in a file", asked[i].resident);
    }
    clerk_totals.asked += asked_count;
    if (permits_out(town.server.permits) > 0)
        day_wrong("%zu permits were never used", permits_out(town.server.permits));
}
