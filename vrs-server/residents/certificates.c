/* The pre-flight of a certificate (接種証明書): which doses it may show now, which are still open,
 * and what blocks it, in words. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/handlers.h"
#include "vrs-server/inquiries/policy.h"
#include "vrs-server/request.h"
#include "vrs-server/views.h"

enum { MAX_DOSES = 64, SHOWN = 5 }; /* at most the latest five doses */

struct lookup {
    struct personal_number number;
    bool by_number;
    char coupon[11];
    struct claim dose[MAX_DOSES]; /* recorded, by date */
    size_t doses;
    struct inside_request *in;
    json_t *open;   /* in review, in conflict, waiting: named as such */
    json_t *blocks; /* [{code, detail}] */
};

VRS_PRINTF(3, 4)
static void block(struct lookup *l, const char *code, const char *format, ...) {
    char text[300];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)json_array_append_new(l->blocks, json_pack("{s:s,s:s}", "code", code, "detail", text));
}

static enum vrs_err sort_claim(struct claim *c, void *arg) {
    struct lookup *l = arg;
    if (!c->given || c->state == CLAIM_CANCELLED || c->state == CLAIM_DUPLICATE)
        return VRS_OK;
    if (c->state == CLAIM_RECORDED && l->doses < MAX_DOSES) {
        l->dose[l->doses++] = *c;
        return VRS_OK;
    }
    json_t *o = json_pack("{s:s,s:i,s:o,s:o}", "state", claim_state_name(c->state), "dose_number",
                          c->coupon.dose_number, "vaccinated_on", view_date(c->vaccinated_on),
                          "reasons", view_reasons(l->in->server, c->reasons));
    if (o == NULL || json_array_append_new(l->open, o) != 0)
        return ERR_MEMORY;
    block(l, "dose_open", "%d回目の記録が確認中です。確認一覧で解決してから交付してください。",
          c->coupon.dose_number);
    return VRS_OK;
}

static int by_turn(const void *a, const void *b) {
    const struct claim *x = a, *y = b;
    return x->coupon.dose_number - y->coupon.dose_number;
}

static void find_blocks(struct lookup *l, const struct person *person) {
    for (size_t i = 0; i < l->doses; i++) {
        int n = l->dose[i].coupon.dose_number;
        int before = i > 0 ? l->dose[i - 1].coupon.dose_number : 0;
        if (n > before + 1)
            block(l, "dose_missing", "%d回目の記録がありません（%d回目はあります）。", before + 1,
                  n);
        if (n == before)
            block(l, "dose_twice", "%d回目の記録が2件あります。", n);
        if (i > 0 && l->dose[i].vaccinated_on.days <= l->dose[i - 1].vaccinated_on.days)
            block(l, "date_order", "%d回目が%d回目より前（または同日）の日付です。", n, before);
    }
    if (person->undisclosed)
        block(l, "undisclosed", "不開示の設定があります。所属長の確認を受けてください。");
}

/* A municipality certifies the shots of those who lived there; another's doses are named, with
 * where to ask. */
static enum vrs_err view_shown(struct lookup *l, const char *here, json_t *shown,
                               json_t *elsewhere) {
    size_t own = 0;
    for (size_t i = l->doses; i-- > 0;) {
        const struct claim *c = &l->dose[i];
        bool ours = strcmp(c->coupon.municipality.digits, here) == 0;
        if (ours && own++ >= SHOWN)
            continue;
        json_t *o = view_dose_for(l->in->server, c, "certificate", here, here);
        if (o == NULL || json_array_insert_new(ours ? shown : elsewhere, 0, o) != 0)
            return ERR_MEMORY;
    }
    if (own == 0)
        block(l, "no_dose", "この自治体で証明できる接種記録がありません。");
    return VRS_OK;
}

static enum vrs_err find_person(struct lookup *l, struct partition *p, struct person *out) {
    struct record_id row, id;
    struct person_coupon coupon;
    struct inside_request *in = l->in;
    enum vrs_err e;
    if (!l->by_number) {
        e = coupon_get(p, l->coupon, &coupon);
        return e == VRS_OK ? person_get(p, &coupon.person, out) : e;
    }
    const struct number_access why = {
        .right = "certificate", .purpose = "certificate", .user = in->session.user};
    e = number_match(in->server->number[in->job.worker_index], partition_code(p), &l->number, &why,
                     &row);
    if (e == VRS_OK)
        e = number_link_person(p, &row, &id);
    return e == VRS_OK ? person_get(p, &id, out) : e;
}

static enum vrs_err lookup_run(struct inside_request *in, struct partition *p) {
    struct lookup *l = in->own;
    struct person person;
    json_t *shown = json_array(), *elsewhere = json_array();
    memset(&person, 0, sizeof person);
    in->purpose = "certificate";
    l->doses = 0;
    l->open = json_array();
    l->blocks = json_array();
    enum vrs_err e = find_person(l, p, &person);
    if (e == VRS_OK)
        e = claims_of_person(p, &person.id, sort_claim, l);
    if (e == VRS_OK) {
        qsort(l->dose, l->doses, sizeof l->dose[0], by_turn);
        find_blocks(l, &person);
        e = view_shown(l, partition_code(p), shown, elsewhere);
    }
    if (e == VRS_OK)
        e = inside_log(in, p, &person, &person.id, 1, l->doses, "ok",
                       l->by_number ? "personal_number" : "coupon_number");
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:o,s:o,s:O,s:O,s:O,s:O,s:b}", "as_of",
                                      view_time(clock_now_ms()), "resident",
                                      view_person(&person, NULL), "doses", shown, "elsewhere",
                                      elsewhere, "pending", l->open, "blocks", l->blocks,
                                      "issuable", json_array_size(l->blocks) == 0));
    json_decref(shown);
    json_decref(elsewhere);
    json_decref(l->open);
    json_decref(l->blocks);
    secret_wipe(l->dose, sizeof l->dose);
    person_wipe(&person);
    return e;
}

static void lookup_done(struct inside_request *in) {
    struct lookup *l = in->own;
    secret_wipe(&l->number, sizeof l->number);
    inside_answer(in, in->job.err);
}

void certificates_lookup(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct lookup *l = arena_alloc(http_arena(rq), sizeof *l);
    const char *number = NULL, *coupon = NULL, *purpose = NULL;
    const struct json_field fields[] = {
        JF_STR("personal_number", false, 12, &number),
        JF_STR("coupon_number", false, 10, &coupon),
        JF_STR("purpose", false, 30, &purpose),
        JF_END,
    };
    in->act = "certificate.lookup";
    in->own = l;
    enum vrs_err e = l != NULL ? inside_read(in, fields) : ERR_MEMORY;
    if (e == VRS_OK && (number != NULL) == (coupon != NULL))
        e = number == NULL ? ERR_MISSING_FIELD : ERR_BAD_FIELD;
    if (e == VRS_OK && (purpose == NULL || session_purpose(in, purpose, "lookup") != VRS_OK))
        e = ERR_PURPOSE;
    if (e == VRS_OK && number != NULL && !personal_number_valid(number))
        e = ERR_R170;
    struct coupon_number checked;
    if (e == VRS_OK && coupon != NULL && !coupon_number_set(&checked, coupon))
        e = ERR_R101;
    if (e != VRS_OK) {
        inside_refuse(in, e);
        return;
    }
    l->in = in;
    l->by_number = number != NULL;
    if (number != NULL)
        (void)snprintf(l->number.digits, sizeof l->number.digits, "%s", number);
    else
        (void)snprintf(l->coupon, sizeof l->coupon, "%s", coupon);
    json_decref(in->body);
    in->body = NULL;
    inside_step(in, in->session.municipality, POOL_CREATE, lookup_run, lookup_done);
}
