/* The work list: claims for review, conflicts and waiting coupons, each with its reasons; and how a
 * person settles them. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/text.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/doses/doses.h"
#include "vrs-server/handlers.h"
#include "vrs-server/views.h"

enum { PAGE = 200, REASON_MAX = 500 };

static const enum claim_state listed[] = {CLAIM_CONFLICT, CLAIM_REVIEW, CLAIM_WAITING};

struct list {
    struct inside_request *in;
    struct partition *partition;
    json_t *reviews;
    struct record_id subject[PAGE];
    size_t subjects;
    uint64_t last;
};

static enum vrs_err add_review(struct claim *c, void *arg) {
    struct list *l = arg;
    const struct server *s = l->in->server;
    char id[33];
    record_id_format(&c->id, id);
    json_t *o = json_pack("{s:s,s:s,s:o,s:o}", "review_id", id, "kind", claim_state_name(c->state),
                          "reasons", view_reasons(s, c->reasons), "dose", view_dose(s, c));
    if (o == NULL)
        return ERR_MEMORY;
    enum vrs_err e = VRS_OK;
    if (c->state == CLAIM_CONFLICT) { /* what stands against it */
        struct claim other;
        e = dose_in_force(l->partition, &c->coupon, &c->id, &other);
        if (e == VRS_OK && other.version != 0)
            (void)json_object_set_new(o, "against", view_dose(s, &other));
    }
    if (c->has_person && l->subjects < PAGE)
        l->subject[l->subjects++] = c->person;
    l->last = c->order;
    if (json_array_append_new(l->reviews, o) != 0)
        e = ERR_MEMORY;
    return e;
}

/* ?kind=conflict|review|waiting_for_coupon (all of them when absent), ?after=cursor. The cursor is
 * "<kind index>.<order>". */
static enum vrs_err list_run(struct inside_request *in, struct partition *p) {
    const char *kind = http_query(in->rq, "kind");
    const char *cursor = http_query(in->rq, "after");
    uint64_t first = 0, after = 0;
    char next[40] = "";
    if (cursor != NULL && (!text_u64(&cursor, 9, &first) || *cursor++ != '.' ||
                           !text_u64(&cursor, INT64_MAX, &after) || *cursor != '\0'))
        return ERR_BAD_REQUEST;
    struct list l = {.in = in, .partition = p, .reviews = json_array()};
    enum vrs_err e = VRS_OK;
    for (size_t i = first; i < sizeof listed / sizeof *listed && e == VRS_OK; i++) {
        size_t have = json_array_size(l.reviews);
        if (kind != NULL && strcmp(kind, claim_state_name(listed[i])) != 0)
            continue;
        if (have >= PAGE) {
            (void)snprintf(next, sizeof next, "%zu.0", i);
            break;
        }
        e = claims_in_state(p, listed[i], i == first ? after : 0, PAGE - have, add_review, &l);
        if (json_array_size(l.reviews) >= PAGE) {
            (void)snprintf(next, sizeof next, "%zu.%llu", i, (unsigned long long)l.last);
            break;
        }
    }
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, l.subject, l.subjects, json_array_size(l.reviews), "ok", NULL);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:O,s:s?}", "reviews", l.reviews, "next",
                                      next[0] != '\0' ? next : NULL));
    json_decref(l.reviews);
    return e;
}

void reviews_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "review.list";
    inside_run(in, list_run);
}

/* accept: this claim is the dose (a conflict's other claim is cancelled); reject: it is not. */
static enum vrs_err settle(struct inside_request *in, struct partition *p, struct claim *c,
                           bool accept, const char *reason, struct tally_batch *tally) {
    struct claim other;
    if (c->state != CLAIM_CONFLICT && c->state != CLAIM_REVIEW && c->state != CLAIM_WAITING)
        return ERR_CONFLICT; /* settled already */
    if (accept && c->state == CLAIM_WAITING) {
        (void)snprintf(
            in->detail_ja, sizeof in->detail_ja,
            "接種券が未登録のため承認できません。接種券を登録すると自動で反映されます。");
        return ERR_CONFLICT;
    }
    enum vrs_err e = VRS_OK;
    if (accept && c->state == CLAIM_CONFLICT) {
        e = dose_in_force(p, &c->coupon, &c->id, &other);
        if (e == VRS_OK && other.version != 0) {
            apply_count(tally, &other, -1);
            other.state = CLAIM_CANCELLED;
            dose_changed(in, &other, reason);
            e = claim_update(p, &other);
        }
    }
    apply_count(tally, c, -1);
    in->kick_line = c->outcome_unsent = c->state == CLAIM_WAITING;
    c->state = accept ? CLAIM_RECORDED : CLAIM_CANCELLED;
    dose_changed(in, c, reason);
    if (e == VRS_OK)
        e = claim_update(p, c);
    apply_count(tally, c, 1);
    return e;
}

static enum vrs_err settle_run(struct inside_request *in, struct partition *p) {
    const char *decision = NULL, *reason = NULL;
    const struct json_field fields[] = {
        JF_STR("decision", true, 10, &decision),
        JF_STR("reason", false, REASON_MAX, &reason),
        JF_END,
    };
    struct record_id id;
    struct claim c;
    claim_init(&c);
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK && (reason == NULL || reason[0] == '\0'))
        e = ERR_REASON_REQUIRED;
    bool accept = e == VRS_OK && strcmp(decision, "accept") == 0;
    if (e == VRS_OK && !accept && strcmp(decision, "reject") != 0) {
        (void)snprintf(in->detail_ja, sizeof in->detail_ja,
                       "decisionはaccept（承認）またはreject（却下）を指定してください。");
        e = ERR_BAD_FIELD;
    }
    if (e == VRS_OK)
        e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = claim_get(p, &id, &c);
    struct tally_batch *tally = tally_batch_open();
    if (e == VRS_OK)
        e = tally != NULL ? settle(in, p, &c, accept, reason, tally) : ERR_MEMORY;
    if (e == VRS_OK)
        e = tally_batch_flush(tally, p);
    if (e == VRS_OK)
        e = dose_log(in, p, &c, 1, accept ? "accepted" : "rejected", reason);
    if (e == VRS_OK)
        e = dose_answer(in, &c);
    tally_batch_close(&tally);
    claim_wipe(&c);
    return e;
}

void reviews_settle(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "review.settle";
    inside_run(in, settle_run);
}
