#include "vrs-server/second.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "partitions/fields.h"

enum { DAY_MS = 24 * 60 * 60 * 1000, PAGE = 500 };

static const struct field members[] = {
    FIELD(1, FIELD_TEXT, struct second_request, kind),
    FIELD(2, FIELD_BOOL, struct second_request, has_subject),
    FIELD(3, FIELD_BYTES, struct second_request, subject),
    FIELD(4, FIELD_TEXT, struct second_request, act),
    FIELD(5, FIELD_TEXT, struct second_request, reason),
    FIELD(6, FIELD_TEXT, struct second_request, asked_by),
    FIELD(7, FIELD_TEXT, struct second_request, decided_by),
    FIELD(8, FIELD_I64, struct second_request, asked_ms),
    FIELD(9, FIELD_I64, struct second_request, decided_ms),
    FIELD(10, FIELD_TEXT, struct second_request, decision_reason),
    {0},
};

static enum vrs_err decode(const struct record *r, struct second_request *out) {
    memset(out, 0, sizeof *out);
    out->id = r->id;
    out->version = r->version;
    out->generation = r->generation;
    out->state = (enum second_state)r->state;
    return fields_decode(members, &r->text, out);
}

static void encode(const struct second_request *q, struct record *r) {
    r->state = q->state;
    memset(r->index, 0, sizeof r->index);
    if (q->has_subject)
        store_index_id(&q->subject, &r->index[0]);
    buffer_clear(&r->text);
    fields_encode(members, q, &r->text);
}

static enum vrs_err replace(struct partition *p, struct second_request *q) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_REQUEST, &q->id, &r);
    if (e == VRS_OK && r.version != q->version)
        e = ERR_STALE_VERSION;
    if (e == VRS_OK) {
        encode(q, &r);
        e = record_update(p, TABLE_REQUEST, &r);
    }
    q->version = r.version;
    q->generation = r.generation;
    record_fini(&r);
    return e;
}

enum vrs_err second_get(struct partition *p, const struct record_id *id,
                        struct second_request *out) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_REQUEST, id, &r);
    if (e == VRS_OK)
        e = decode(&r, out);
    record_fini(&r);
    return e;
}

static bool lapsed(const struct second_request *q) {
    int64_t from = q->state == SECOND_OPEN ? q->asked_ms : q->decided_ms;
    return from + (int64_t)SECOND_VALID_DAYS * DAY_MS <= clock_now_ms();
}

/* --- finding the one for (kind, subject, act) --- */

struct search {
    const char *kind, *act;
    enum second_state state;
    const struct record_id *subject;
    struct second_request *out;
    bool found;
    uint64_t last;
    size_t seen;
};

static enum vrs_err match(struct record *r, void *arg) {
    struct search *s = arg;
    struct second_request q;
    s->last = r->order;
    s->seen++;
    enum vrs_err e = decode(r, &q);
    if (e != VRS_OK || s->found || q.state != s->state || strcmp(q.kind, s->kind) != 0 ||
        strcmp(q.act, s->act) != 0 || q.has_subject != (s->subject != NULL) || lapsed(&q))
        return e;
    s->found = true;
    *s->out = q;
    return VRS_OK;
}

static enum vrs_err search(struct partition *p, struct search *s) {
    enum vrs_err e = VRS_OK;
    if (s->subject != NULL) {
        struct store_index index;
        store_index_id(s->subject, &index);
        e = record_find(p, TABLE_REQUEST, 0, &index, match, s);
        return e == VRS_OK && !s->found ? ERR_NOT_FOUND : e;
    }
    s->seen = PAGE;
    while (e == VRS_OK && !s->found && s->seen == PAGE) {
        s->seen = 0;
        e = record_scan(p, TABLE_REQUEST, s->state, s->last, PAGE, match, s);
    }
    return e == VRS_OK && !s->found ? ERR_NOT_FOUND : e;
}

/* --- asking, deciding, using --- */

enum vrs_err second_ask(struct partition *p, struct second_request *q) {
    struct second_request before;
    struct search s = {.kind = q->kind,
                       .act = q->act,
                       .state = SECOND_OPEN,
                       .subject = q->has_subject ? &q->subject : NULL,
                       .out = &before};
    enum vrs_err e = search(p, &s);
    if (e == VRS_OK) { /* it waits already */
        *q = before;
        return VRS_OK;
    }
    if (e != ERR_NOT_FOUND)
        return e;
    struct record r;
    record_init(&r);
    record_id_new(&q->id);
    q->state = SECOND_OPEN;
    q->asked_ms = clock_now_ms();
    r.id = q->id;
    encode(q, &r);
    e = partition_next_order(p, TABLE_REQUEST, &r.order);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_REQUEST, &r);
    q->version = r.version;
    q->generation = r.generation;
    record_fini(&r);
    return e;
}

enum vrs_err second_decide(struct partition *p, const struct record_id *id, bool approve,
                           const char *by, const char *reason) {
    struct second_request q;
    enum vrs_err e = second_get(p, id, &q);
    if (e != VRS_OK)
        return e;
    if (strcmp(q.asked_by, by) == 0)
        return ERR_FORBIDDEN;
    if (q.state != SECOND_OPEN || lapsed(&q))
        return ERR_CONFLICT;
    q.state = approve ? SECOND_APPROVED : SECOND_REFUSED;
    q.decided_ms = clock_now_ms();
    (void)snprintf(q.decided_by, sizeof q.decided_by, "%s", by);
    (void)snprintf(q.decision_reason, sizeof q.decision_reason, "%s", reason);
    return replace(p, &q);
}

enum vrs_err second_use(struct partition *p, const char *kind, const struct record_id *subject,
                        const char *act, struct second_request *out) {
    struct search s = {
        .kind = kind, .act = act, .state = SECOND_APPROVED, .subject = subject, .out = out};
    enum vrs_err e = search(p, &s);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? ERR_APPROVAL_REQUIRED : e;
    out->state = SECOND_USED;
    return replace(p, out);
}

struct listing {
    second_fn *fn;
    void *arg;
    uint64_t last;
    size_t seen;
};

static enum vrs_err list_one(struct record *r, void *arg) {
    struct listing *l = arg;
    struct second_request q;
    l->last = r->order;
    l->seen++;
    enum vrs_err e = decode(r, &q);
    return e == VRS_OK && !lapsed(&q) ? l->fn(&q, l->arg) : e;
}

enum vrs_err second_list(struct partition *p, enum second_state state, second_fn *fn, void *arg) {
    struct listing l = {.fn = fn, .arg = arg, .seen = PAGE};
    enum vrs_err e = VRS_OK;
    while (e == VRS_OK && l.seen == PAGE) {
        l.seen = 0;
        e = record_scan(p, TABLE_REQUEST, state, l.last, PAGE, list_one, &l);
    }
    return e;
}
