/* What one person asks for and another must allow: the list with its content in words, asking, and
 * deciding (second.h). */
#include <stdio.h>
#include <string.h>

#include "partitions/claim.h"
#include "partitions/person.h"
#include "vrs-server/handlers.h"
#include "vrs-server/request.h"
#include "vrs-server/second.h"
#include "vrs-server/views.h"

enum { LIST_MAX = 200 };

/* Which right asks and which allows, by kind; and what may be asked. */
static const struct kind {
    const char *name;
    enum right asks, allows;
    bool subject;
    const char *acts[4];
    const char *words;
} kinds[] = {
    {"erase", RIGHT_ERASE, RIGHT_ERASE_APPROVE, true, {"resident.erase"}, "住民の記録を消去する"},
    {"export",
     RIGHT_EXPORT,
     RIGHT_EXPORT_APPROVE,
     false,
     {"ledger.csv", "waiting.csv", "reconciliation.csv"},
     "一覧を出力する"},
    {"destroy",
     RIGHT_ERASE,
     RIGHT_ERASE_APPROVE,
     false,
     {"partition.destroy"},
     "この自治体の記録と個人番号の鍵を破棄し、すべて読めなくする（元に戻せない）"},
    {"migrate",
     RIGHT_ERASE,
     RIGHT_ERASE_APPROVE,
     false,
     {"migrate.export "},
     "この自治体のすべての記録と個人番号を、別のシステムに渡すために暗号化して書き出す（渡す先の鍵"
     "の指紋は"
     "申請に記載）"},
};

static const struct kind *kind_of(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    }
    return NULL;
}

/* One that ends in a space goes on with a fingerprint: for whom. */
static bool kind_act(const char *listed, const char *act) {
    enum { FINGERPRINT = 32 };
    size_t n = strlen(listed);
    if (listed[n - 1] != ' ')
        return strcmp(listed, act) == 0;
    return strncmp(listed, act, n) == 0 && strlen(act) == n + FINGERPRINT &&
           strspn(act + n, "0123456789abcdef") == FINGERPRINT;
}

static bool has(const struct inside_request *in, enum right r) {
    return (in->session.rights >> r & 1) != 0;
}

/* --- the list --- */

struct listing {
    struct inside_request *in;
    struct partition *partition;
    json_t *list;
    struct record_id subject[LIST_MAX];
    size_t subjects, count;
};

struct content {
    uint64_t coupons, doses, numbers;
};

static enum vrs_err count_coupon(const struct person_coupon *c, void *arg) {
    (void)c;
    ((struct content *)arg)->coupons++;
    return VRS_OK;
}

static enum vrs_err count_dose(struct claim *c, void *arg) {
    (void)c;
    ((struct content *)arg)->doses++;
    return VRS_OK;
}

static enum vrs_err count_number(const struct record_id *row, void *arg) {
    (void)row;
    ((struct content *)arg)->numbers++;
    return VRS_OK;
}

/* Who decides must see what about. */
static enum vrs_err add_subject(struct listing *l, const struct second_request *q, json_t *o) {
    struct person person;
    struct content n = {0};
    enum vrs_err e = person_get(l->partition, &q->subject, &person);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? VRS_OK : e;
    e = coupons_of(l->partition, &person.id, count_coupon, &n);
    if (e == VRS_OK)
        e = claims_of_person(l->partition, &person.id, count_dose, &n);
    if (e == VRS_OK)
        e = number_links_of(l->partition, &person.id, count_number, &n);
    if (e == VRS_OK) {
        (void)json_object_set_new(o, "resident", view_person(&person, NULL));
        (void)json_object_set_new(
            o, "content",
            json_sprintf("%s さんの記録を消去する: 接種券%llu件、接種の記録%llu件、個人番号%llu件",
                         person.name, (unsigned long long)n.coupons, (unsigned long long)n.doses,
                         (unsigned long long)n.numbers));
        l->subject[l->subjects++] = person.id;
    }
    person_wipe(&person);
    return e;
}

static enum vrs_err add_request(struct second_request *q, void *arg) {
    struct listing *l = arg;
    const struct kind *kind = kind_of(q->kind);
    char id[33];
    if (kind == NULL || l->count == LIST_MAX ||
        (!has(l->in, kind->asks) && !has(l->in, kind->allows)))
        return VRS_OK;
    record_id_format(&q->id, id);
    json_t *o = json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:s,s:b}", "request_id", id, "kind", q->kind, "act", q->act,
        "state", q->state == SECOND_OPEN ? "open" : "approved", "reason", q->reason, "asked_by",
        q->asked_by, "asked_at", view_time(q->asked_ms), "content", kind->words, "may_decide",
        q->state == SECOND_OPEN && has(l->in, kind->allows) &&
            strcmp(q->asked_by, l->in->session.user) != 0);
    if (o == NULL)
        return ERR_MEMORY;
    if (q->state == SECOND_APPROVED) {
        (void)json_object_set_new(o, "decided_by", json_string(q->decided_by));
        (void)json_object_set_new(o, "decided_at", view_time(q->decided_ms));
    }
    enum vrs_err e = q->has_subject ? add_subject(l, q, o) : VRS_OK;
    l->count++;
    if (e != VRS_OK)
        json_decref(o);
    else if (json_array_append_new(l->list, o) != 0)
        e = ERR_MEMORY;
    return e;
}

static enum vrs_err list_run(struct inside_request *in, struct partition *p) {
    struct listing *l = in->own;
    *l = (struct listing){.in = in, .partition = p, .list = json_array()};
    enum vrs_err e = second_list(p, SECOND_OPEN, add_request, l);
    if (e == VRS_OK)
        e = second_list(p, SECOND_APPROVED, add_request, l);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, l->subject, l->subjects, l->count, "ok", NULL);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:O}", "requests", l->list));
    json_decref(l->list);
    return e;
}

void requests_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "request.list";
    in->own = arena_alloc(http_arena(rq), sizeof(struct listing));
    if (in->own == NULL)
        inside_refuse(in, ERR_MEMORY);
    else
        inside_run(in, list_run);
}

/* --- asking --- */

struct asking {
    const char *kind, *subject, *act, *reason;
};

static enum vrs_err ask_run(struct inside_request *in, struct partition *p) {
    const struct asking *a = in->own;
    const struct kind *kind = kind_of(a->kind);
    struct second_request q = {0};
    struct person person;
    char id[33];
    memset(&person, 0, sizeof person);
    INSIDE_COPY(q.kind, a->kind);
    INSIDE_COPY(q.act, a->act);
    INSIDE_COPY(q.reason, a->reason);
    INSIDE_COPY(q.asked_by, in->session.user);
    q.has_subject = kind->subject;
    enum vrs_err e = VRS_OK;
    if (kind->subject)
        e = a->subject != NULL && record_id_parse(a->subject, &q.subject)
                ? person_get(p, &q.subject, &person)
                : ERR_NOT_FOUND;
    if (e == VRS_OK)
        e = second_ask(p, &q);
    if (e == VRS_OK)
        e = inside_log(in, p, kind->subject ? &person : NULL, &q.subject, kind->subject ? 1 : 0, 1,
                       q.kind, q.act);
    record_id_format(&q.id, id);
    in->status = 201;
    person_wipe(&person);
    return e == VRS_OK ? inside_json(in, json_pack("{s:s,s:s}", "request_id", id, "state", "open"))
                       : e;
}

static enum vrs_err read_asking(struct inside_request *in, struct asking *a) {
    const struct json_field fields[] = {
        JF_STR("kind", true, 20, &a->kind),
        JF_STR("subject", false, 32, &a->subject),
        JF_STR("act", true, 100, &a->act),
        JF_STR("reason", false, 500, &a->reason),
        JF_END,
    };
    enum vrs_err e = inside_read(in, fields);
    const struct kind *kind = e == VRS_OK ? kind_of(a->kind) : NULL;
    if (e == VRS_OK && (kind == NULL || !has(in, kind->asks))) {
        (void)snprintf(in->detail_ja, sizeof in->detail_ja, "この種類の申請はできません。");
        e = ERR_BAD_FIELD;
    }
    bool listed = false;
    for (size_t i = 0; kind != NULL && kind->acts[i] != NULL; i++)
        listed |= kind_act(kind->acts[i], a->act);
    if (e == VRS_OK && !listed)
        e = ERR_BAD_FIELD;
    if (e == VRS_OK && (a->reason == NULL || a->reason[0] == '\0'))
        e = ERR_REASON_REQUIRED;
    return e;
}

void requests_ask(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct asking *a = arena_alloc(http_arena(rq), sizeof *a);
    in->act = "request.ask";
    in->own = a;
    enum vrs_err e = a != NULL ? read_asking(in, a) : ERR_MEMORY;
    if (e != VRS_OK)
        inside_refuse(in, e);
    else
        inside_run(in, ask_run);
}

/* --- deciding --- */

struct deciding {
    bool approve;
    const char *reason;
};

static enum vrs_err decide_run(struct inside_request *in, struct partition *p) {
    const struct deciding *d = in->own;
    struct record_id id;
    struct second_request q;
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = second_get(p, &id, &q);
    if (e != VRS_OK)
        return e;
    const struct kind *kind = kind_of(q.kind);
    if (kind == NULL || !has(in, kind->allows))
        return ERR_NOT_FOUND; /* nor is it in this person's list */
    e = second_decide(p, &id, d->approve, in->session.user, d->reason);
    if (e == ERR_FORBIDDEN)
        (void)snprintf(in->detail_ja, sizeof in->detail_ja,
                       "申請した本人は承認できません。ほかの承認者に依頼してください。");
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, &q.subject, q.has_subject ? 1 : 0, 1, q.kind, d->reason);
    const char *state = d->approve ? "approved" : "refused";
    return e == VRS_OK ? inside_json(in, json_pack("{s:s,s:s}", "request_id",
                                                   http_param(in->rq, "id"), "state", state))
                       : e;
}

static void decide(struct http_request *rq, bool approve) {
    struct inside_request *in = inside_of(rq);
    struct deciding *d = arena_alloc(http_arena(rq), sizeof *d);
    in->act = approve ? "request.approve" : "request.refuse";
    in->own = d;
    enum vrs_err e = d != NULL ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK) {
        d->approve = approve;
        d->reason = NULL;
        const struct json_field fields[] = {JF_STR("reason", false, 500, &d->reason), JF_END};
        e = inside_read(in, fields);
        if (e == VRS_OK && (d->reason == NULL || d->reason[0] == '\0'))
            e = ERR_REASON_REQUIRED;
    }
    if (e != VRS_OK)
        inside_refuse(in, e);
    else
        inside_run(in, decide_run);
}

void requests_approve(struct http_request *rq) {
    decide(rq, true);
}

void requests_refuse(struct http_request *rq) {
    decide(rq, false);
}
