#include "vrs-server/inquiries/inquiry_flow.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/inquiries/policy.h"
#include "vrs-server/views.h"

enum { DAY_MS = 86400000 };

const char *inquiry_result_name(enum inquiry_state s) {
    switch (s) {
    case INQUIRY_MATCH:
    case INQUIRY_TAKEN_OVER:
        return "match";
    case INQUIRY_NO_MATCH:
        return "no_match";
    case INQUIRY_ABORTED:
        return "aborted";
    case INQUIRY_EXPIRED:
        return "expired";
    case INQUIRY_OPEN:
    case INQUIRY_PENDING:
        break;
    }
    return "pending";
}

bool inquiry_gone(const struct inquiry *q) {
    return q->state == INQUIRY_EXPIRED || (q->expires_ms != 0 && q->expires_ms <= clock_now_ms());
}

enum vrs_err inquiry_answer(struct inside_request *in, const struct inquiry *q) {
    char id[33];
    if (q->state == INQUIRY_OPEN)
        return ERR_IN_PROGRESS;
    if (q->state == INQUIRY_ABORTED) {
        (void)snprintf(in->detail_ja, sizeof in->detail_ja,
                       "照会は途中で中断されました（個人番号は保存されていません）。"
                       "新しい照会としてやり直してください。");
        return ERR_CONFLICT;
    }
    if (inquiry_gone(q))
        return ERR_RESULT_GONE;
    bool match = q->state == INQUIRY_MATCH || q->state == INQUIRY_TAKEN_OVER;
    if (match && q->result.len == 0)
        return ERR_CORRUPT;
    record_id_format(&q->id, id);
    json_t *o =
        json_pack("{s:s,s:s,s:s,s:s}", "inquiry_id", id, "result", inquiry_result_name(q->state),
                  "from_municipality", q->from_municipality, "purpose", q->purpose);
    if (o == NULL)
        return ERR_MEMORY;
    (void)json_object_set_new(o, "asked_at", view_time(q->asked_ms));
    if (match) {
        (void)json_object_set_new(o, "expires_at", view_time(q->expires_ms));
        (void)json_object_set_new(o, "taken_over", json_boolean(q->state == INQUIRY_TAKEN_OVER));
        bool ok = json_write_with(&in->answer, o, "doses", &q->result);
        json_decref(o);
        return ok ? VRS_OK : ERR_MEMORY;
    }
    return inside_json(in, o);
}

enum vrs_err inquiry_add_provision(struct partition *p, const struct inquiry *q, bool asked_here,
                                   const char *other, const struct person *person, const char *user,
                                   const char *result, uint64_t doses) {
    struct provision v = {.at_ms = clock_now_ms(), .asked_here = asked_here, .doses = doses};
    record_id_new(&v.id);
    v.inquiry = q->id;
    INSIDE_COPY(v.other, other);
    INSIDE_COPY(v.purpose, q->purpose);
    INSIDE_COPY(v.basis_kind, q->basis_kind);
    INSIDE_COPY(v.basis_document, q->basis_document);
    INSIDE_COPY(v.user, user);
    INSIDE_COPY(v.terminal, asked_here ? q->terminal : "-");
    INSIDE_COPY(v.result, result);
    if (person != NULL) {
        v.has_person = true;
        v.person = person->id;
        INSIDE_COPY(v.addressee, person->addressee);
    }
    return provision_add(p, &v);
}

enum vrs_err inquiry_own_person(struct partition *p, const struct inquiry *q, struct person *out) {
    memset(out, 0, sizeof *out);
    enum vrs_err e = q->has_person ? person_get(p, &q->person, out) : ERR_NOT_FOUND;
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

enum vrs_err inquiry_store_result(struct inside_request *in, struct partition *p, struct inquiry *q,
                                  enum inquiry_state state, const struct buffer *doses,
                                  uint64_t dose_count) {
    struct person person;
    enum vrs_err e = inquiry_own_person(p, q, &person);
    if (e != VRS_OK)
        return e;
    q->state = state;
    if (state == INQUIRY_MATCH) {
        int64_t days = policy_result_days(in->server->policies, partition_code(p));
        q->expires_ms = clock_now_ms() + days * DAY_MS;
        buffer_clear(&q->result);
        if (!buffer_put(&q->result, doses->data, doses->len))
            e = ERR_MEMORY;
    }
    if (e == VRS_OK)
        e = inquiry_put(p, q);
    const struct person *about = person.version != 0 ? &person : NULL;
    if (e == VRS_OK)
        e = inquiry_add_provision(p, q, true, q->from_municipality, about, q->user,
                                  inquiry_result_name(state), dose_count);
    if (e == VRS_OK) {
        in->purpose = arena_strdup(http_arena(in->rq), q->purpose);
        e = inside_log(in, p, about, about != NULL ? &about->id : NULL, about != NULL ? 1 : 0,
                       dose_count, inquiry_result_name(state), q->from_municipality);
    }
    person_wipe(&person);
    return e;
}

struct doses_view {
    const struct inside_request *in;
    const struct inquiry *q;
    const char *asker, *provider;
    json_t *list;
};

static enum vrs_err add_dose(struct claim *c, void *arg) {
    struct doses_view *v = arg;
    /* What another municipality once provided is its to provide. */
    if (!claim_in_force(c) || strcmp(c->coupon.municipality.digits, v->provider) != 0)
        return VRS_OK;
    json_t *o = view_dose_for(v->in->server, c, v->q->purpose, v->asker, v->provider);
    return o != NULL && json_array_append_new(v->list, o) == 0 ? VRS_OK : ERR_MEMORY;
}

enum vrs_err inquiry_collect_doses(const struct inside_request *in, struct partition *p,
                                   const struct inquiry *q, const char *asker,
                                   const struct record_id *person, struct buffer *out,
                                   uint64_t *count) {
    struct doses_view v = {
        .in = in, .q = q, .asker = asker, .provider = partition_code(p), .list = json_array()};
    buffer_clear(out);
    enum vrs_err e = claims_of_person(p, person, add_dose, &v);
    *count = json_array_size(v.list);
    if (e == VRS_OK && !json_write(out, v.list))
        e = ERR_MEMORY;
    json_decref(v.list);
    return e;
}
