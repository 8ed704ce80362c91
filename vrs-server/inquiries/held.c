/* Held inquiries, providing side (自動応答不可, 不開示): a person looks at the content and decides;
 * the asker's pending then ends as match or no_match.  A crash between the two sides is mended by
 * deciding the same once more. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "vrs-server/handlers.h"
#include "vrs-server/inquiries/allow_list.h"
#include "vrs-server/inquiries/inquiry_flow.h"
#include "vrs-server/views.h"

enum { LIST_MAX = 500 };

struct decision {
    struct inside_request *in;
    bool approve;
    struct held_inquiry held;
    struct inquiry q; /* what the records on both sides need of it */
    struct buffer doses;
    uint64_t dose_count;
    char reason[512];
    json_t *list;
    size_t shown;
    struct record_id subject[LIST_MAX];
    struct partition *partition;
};

static enum vrs_err list_one(struct held_inquiry *h, void *arg) {
    struct decision *d = arg;
    struct person person;
    char id[33];
    enum vrs_err e = person_get(d->partition, &h->person, &person);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? VRS_OK : e;
    record_id_format(&h->id, id);
    struct inquiry q = {0};
    INSIDE_COPY(q.purpose, h->purpose);
    buffer_clear(&d->doses);
    e = inquiry_collect_doses(d->in, d->partition, &q, h->asker, &person.id, &d->doses,
                              &d->dose_count);
    json_t *doses = NULL;
    struct vrs_fault fault = {0};
    if (e == VRS_OK)
        e = json_parse(d->doses.data, d->doses.len, &doses, &fault);
    if (e == VRS_OK) { /* the content that would be sent, to be looked at before deciding (C87) */
        json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:o}", "held_inquiry_id", id, "asker",
                              h->asker, "purpose", h->purpose, "basis", h->basis_kind, "asked_at",
                              view_time(h->asked_ms), "resident", view_person(&person, NULL),
                              "doses", doses);
        e = o != NULL && json_array_append_new(d->list, o) == 0 ? VRS_OK : ERR_MEMORY;
        d->subject[d->shown++] = person.id;
    }
    person_wipe(&person);
    return e;
}

static enum vrs_err held_list_run(struct inside_request *in, struct partition *p) {
    struct decision *d = in->own;
    d->list = json_array();
    d->shown = 0;
    d->partition = p;
    enum vrs_err e = held_list(p, HELD, LIST_MAX, list_one, d);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, d->subject, d->shown, d->shown, "ok", NULL);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:O}", "held_inquiries", d->list));
    json_decref(d->list);
    d->list = NULL;
    buffer_fini(&d->doses);
    return e;
}

static struct decision *decision_new(struct inside_request *in) {
    struct decision *d = arena_alloc(http_arena(in->rq), sizeof *d);
    if (d == NULL) {
        inside_answer(in, ERR_MEMORY);
        return NULL;
    }
    d->in = in;
    in->own = d;
    buffer_init(&d->doses, 1 << 20);
    return d;
}

void held_list_get(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "inquiry.held_list";
    if (decision_new(in) != NULL)
        inside_run(in, held_list_run);
}

/* Step 2 of a decision, at the asker: pending ends as match or no_match. */
static enum vrs_err decided_run(struct inside_request *in, struct partition *p) {
    struct decision *d = in->own;
    struct inquiry q;
    inquiry_init(&q);
    enum vrs_err e = inquiry_get(p, &d->held.inquiry, &q);
    if (e == VRS_OK && q.state == INQUIRY_PENDING) {
        /* The entry in the asker's log names the providing system, not a person of the other town.
         */
        struct log_actor own = in->actor;
        in->actor = (struct log_actor){
            .user = "system:provider", .section = in->session.municipality, .source = "system"};
        e = inquiry_store_result(in, p, &q, d->approve ? INQUIRY_MATCH : INQUIRY_NO_MATCH,
                                 &d->doses, d->dose_count);
        in->actor = own;
    } else if (e == ERR_NOT_FOUND) {
        e = VRS_OK; /* gone at the asker: nothing to tell */
    }
    inquiry_fini(&q);
    return e;
}

static void decided_done(struct inside_request *in) {
    struct decision *d = in->own;
    enum vrs_err e = in->job.err;
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:s}", "result", d->approve ? "approved" : "refused"));
    buffer_fini(&d->doses);
    inside_answer(in, e);
}

static enum vrs_err decide_run(struct inside_request *in, struct partition *p) {
    struct decision *d = in->own;
    struct record_id id;
    struct person person;
    struct idempotent first = {0};
    bool seen = false;
    uint8_t content[CRYPTO_HASH_BYTES];
    memset(&person, 0, sizeof person);
    buffer_init(&first.answer, 1);
    enum vrs_err e = inside_content(in, content);
    if (e == VRS_OK)
        e = idempotency_look(p, in->idempotency_key, content, sizeof content, &seen, &first);
    if (e == VRS_OK)
        e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = held_get(p, &id, &d->held);
    uint32_t want = d->approve ? APPROVED : REFUSED;
    if (e == VRS_OK && d->held.state != HELD && d->held.state != want)
        e = ERR_CONFLICT;
    if (e == VRS_OK)
        e = person_get(p, &d->held.person, &person);
    d->q.id = d->held.inquiry;
    INSIDE_COPY(d->q.purpose, d->held.purpose);
    INSIDE_COPY(d->q.basis_kind, d->held.basis_kind);
    d->dose_count = 0;
    if (e == VRS_OK && d->approve) /* the list may have changed since it was asked (C86) */
        e = allow_guard_permits(in->server->allow, d->held.purpose, d->held.asker,
                                partition_code(p), NULL, clock_today_jst());
    if (e == VRS_OK && d->approve)
        e = inquiry_collect_doses(in, p, &d->q, d->held.asker, &person.id, &d->doses,
                                  &d->dose_count);
    /* Decided already: a crash came between the two sides; only the asker's half is missing. */
    if (e == VRS_OK && d->held.state == HELD) {
        d->held.state = want;
        INSIDE_COPY(d->held.decided_by, in->session.user);
        INSIDE_COPY(d->held.decision_reason, d->reason);
        d->held.decided_ms = clock_now_ms();
        e = held_put(p, &d->held);
        if (e == VRS_OK)
            e = inquiry_add_provision(p, &d->q, false, d->held.asker, &person, in->session.user,
                                      d->approve ? "match" : "refused", d->dose_count);
    }
    in->purpose = arena_strdup(http_arena(in->rq), d->held.purpose);
    if (e == VRS_OK)
        e = inside_log(in, p, &person, &person.id, 1, d->dose_count,
                       d->approve ? "approved" : "refused", d->reason);
    if (e == VRS_OK && !seen) /* sent again it finds itself decided: the same answer */
        e = idempotency_keep(p, in->idempotency_key, content, sizeof content, 200, NULL, 0);
    buffer_fini(&first.answer);
    person_wipe(&person);
    return e;
}

static void decide_done(struct inside_request *in) {
    struct decision *d = in->own;
    if (in->job.err != VRS_OK) {
        buffer_fini(&d->doses);
        inside_answer(in, in->job.err);
        return;
    }
    in->act = "inquiry.result";
    inside_step(in, d->held.asker, 0, decided_run, decided_done);
}

static void decide(struct http_request *rq, bool approve) {
    struct inside_request *in = inside_of(rq);
    struct decision *d = decision_new(in);
    const char *reason = NULL;
    const struct json_field fields[] = {JF_STR("reason", false, 500, &reason), JF_END};
    if (d == NULL)
        return;
    in->act = approve ? "inquiry.approve" : "inquiry.refuse";
    d->approve = approve;
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK && (reason == NULL || reason[0] == '\0'))
        e = ERR_REASON_REQUIRED;
    if (e != VRS_OK) {
        buffer_fini(&d->doses);
        inside_refuse(in, e);
        return;
    }
    INSIDE_COPY(d->reason, reason);
    inside_step(in, in->session.municipality, 0, decide_run, decide_done);
}

void held_approve(struct http_request *rq) {
    decide(rq, true);
}

void held_refuse(struct http_request *rq) {
    decide(rq, false);
}
