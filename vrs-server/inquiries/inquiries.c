/* The transfer-in inquiry (転入者の接種記録照会), asking and providing side.
 *
 *   asker A                        provider B                       asker A
 *   check basis, purpose,          check them again;                result, 情報提供等の記録,
 *   identity, allow-list;     ──►  number → row id (vrs-number) ──► log entry; answer
 *   inquiry OPEN, log entry        miss: a daily count, no more
 *                                  hit: record, log entry, doses
 *                                  held: work list, pending
 *
 * Invariants:
 *  Q1  the number is in this request's memory only, from the body to the answer of vrs-number; it
 * is wiped before the result is stored.  No file on B is made or changed by a miss but the count.
 *  Q2  an answer leaves only after both sides' records are committed (C70).
 *  Q3  unknown person and wrong town are the same path after the look-up (C81).
 *  Q4  the provider's step needs the permit that step 1 issued, once (permit.h).
 *  Q5  an inquiry that a crash cut off is ABORTED at the next open and asked again by a person. */
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "partitions/exchange.h"
#include "partitions/tally.h"
#include "vrs-server/handlers.h"
#include "vrs-server/inquiries/allow_list.h"
#include "vrs-server/inquiries/inquiry_flow.h"
#include "vrs-server/inquiries/permit.h"
#include "vrs-server/inquiries/policy.h"
#include "vrs-server/request.h"
#include "vrs-server/setting.h"
#include "vrs-server/views.h"

struct ask {
    struct personal_number number; /* Q1 */
    char addressee[24];
    char from[7];
    struct inquiry q;
    enum inquiry_state result;
    struct buffer doses; /* MATCH: JSON array */
    uint64_t dose_count;
    struct record_id held;
    uint8_t permit[PERMIT_ID_BYTES];
    bool permit_used;     /* by this request: its step at the provider may run again */
    enum vrs_err refusal; /* of the provider's own checks; VRS_OK none */
    struct event *retry;  /* the result that met a full queue */
    unsigned tries;
};

/* --- asking: what can be refused before any number is sent or looked up (C80, C83, C84) --- */

static enum vrs_err day_not_after_today(const char *text) {
    struct civil_date d;
    enum vrs_err e = clock_parse_date(text, &d);
    return e == VRS_OK && d.days > clock_today_jst().days ? ERR_R112 : e;
}

static enum vrs_err check_basis(struct inside_request *in, const struct ask *a) {
    const struct server *s = in->server;
    const struct inquiry *q = &a->q;
    struct civil_date today = clock_today_jst();
    enum vrs_err e = session_purpose(in, q->purpose, "inquiry");
    if (e == VRS_OK)
        e = policy_basis(s->policies, in->session.municipality, q->basis_kind, today);
    if (e == VRS_OK && strcmp(q->basis_kind, "consent") == 0 &&
        (q->basis_document[0] == '\0' || day_not_after_today(q->basis_obtained_on) != VRS_OK)) {
        INSIDE_COPY(
            in->detail_ja,
            "同意書の番号（document）と、今日までの取得日（obtained_on）を入力してください。");
        e = ERR_BASIS_REFUSED;
    }
    if (e == VRS_OK &&
        (q->identity_method[0] == '\0' || day_not_after_today(q->identity_checked_on) != VRS_OK))
        e = ERR_IDENTITY_MISSING;
    if (e == VRS_OK)
        e = allow_guard_permits(s->allow, q->purpose, in->session.municipality, a->from, NULL,
                                today);
    return e;
}

static enum vrs_err read_ask(struct inside_request *in, struct ask *a) {
    const char *from = NULL, *number = NULL, *addressee = NULL, *purpose = NULL;
    const char *kind = NULL, *document = NULL, *obtained = NULL, *method = NULL, *checked = NULL;
    json_t *basis = NULL, *identity = NULL;
    const struct json_field fields[] = {
        JF_STR("from_municipality", true, 6, &from),
        JF_STR("personal_number", true, 12, &number),
        JF_STR("addressee_number", false, 20, &addressee),
        JF_STR("purpose", false, 20, &purpose),
        JF_OBJECT("basis", false, &basis),
        JF_OBJECT("identity", false, &identity),
        JF_END,
    };
    const struct json_field basis_fields[] = {
        JF_STR("kind", true, 15, &kind),
        JF_STR("document", false, 199, &document),
        JF_STR("obtained_on", false, 10, &obtained),
        JF_END,
    };
    const struct json_field identity_fields[] = {
        JF_STR("method", true, 99, &method),
        JF_STR("checked_on", true, 10, &checked),
        JF_END,
    };
    struct vrs_fault fault = {0};
    enum vrs_err e = inside_read(in, fields);
    if (e != VRS_OK)
        return e;
    if (purpose == NULL)
        return ERR_PURPOSE;
    if (basis == NULL || json_read(basis, basis_fields, &fault) != VRS_OK)
        return ERR_BASIS_REFUSED;
    if (identity == NULL || json_read(identity, identity_fields, &fault) != VRS_OK)
        return ERR_IDENTITY_MISSING;
    inquiry_init(&a->q);
    buffer_init(&a->doses, 1 << 20);
    INSIDE_COPY(a->from, from);
    INSIDE_COPY(a->q.from_municipality, from);
    INSIDE_COPY(a->addressee, addressee);
    INSIDE_COPY(a->q.purpose, purpose);
    INSIDE_COPY(a->q.basis_kind, kind);
    INSIDE_COPY(a->q.basis_document, document);
    INSIDE_COPY(a->q.basis_obtained_on, obtained);
    INSIDE_COPY(a->q.identity_method, method);
    INSIDE_COPY(a->q.identity_checked_on, checked);
    INSIDE_COPY(a->q.user, in->session.user);
    INSIDE_COPY(a->q.section, in->session.section);
    INSIDE_COPY(a->q.terminal, in->session.terminal);
    if (municipality_find(in->server->municipalities, from) == NULL)
        return ERR_NO_SUCH_MUNICIPALITY;
    if (strcmp(from, in->session.municipality) == 0)
        return ERR_OWN_MUNICIPALITY;
    if (!personal_number_valid(number))
        return ERR_R170;
    INSIDE_COPY(a->number.digits, number);
    return check_basis(in, a);
}

static void ask_end(struct inside_request *in, enum vrs_err e) {
    struct ask *a = in->own;
    if (a->retry != NULL)
        event_free(a->retry);
    secret_wipe(&a->number, sizeof a->number);
    inquiry_fini(&a->q);
    buffer_fini(&a->doses);
    inside_answer(in, e);
}

/* --- step 3, at the asker: the result, its record and its entry in one commit --- */

static enum vrs_err result_run(struct inside_request *in, struct partition *p) {
    struct ask *a = in->own;
    struct inquiry q;
    in->act = "inquiry.result";
    inquiry_init(&q);
    enum vrs_err e = inquiry_get(p, &a->q.id, &q);
    if (e == VRS_OK && q.state != INQUIRY_OPEN) /* aborted for its age */
        e = ERR_CONFLICT;
    if (e == VRS_OK)
        e = inquiry_store_result(in, p, &q, a->result, &a->doses, a->dose_count);
    if (e == VRS_OK && a->result != INQUIRY_ABORTED)
        e = inquiry_answer(in, &q);
    in->status = 201;
    inquiry_fini(&q);
    return e;
}

static void result_done(struct inside_request *in);

static void result_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct inside_request *in = arg;
    inside_step(in, in->session.municipality, 0, result_run, result_done);
}

/* The queue is full, but this inquiry has been asked and must end: a little later again.  The number
 * is gone already (Q1). */
static bool result_later(struct inside_request *in) {
    enum { TRIES = 100 };
    const struct timeval soon = {.tv_usec = 100000};
    struct ask *a = in->own;
    if (a->retry == NULL)
        a->retry = event_new(in->server->base, -1, 0, result_again, in);
    return a->tries++ < TRIES && a->retry != NULL && event_add(a->retry, &soon) == 0;
}

static void result_done(struct inside_request *in) {
    const struct ask *a = in->own;
    enum vrs_err e = in->job.err;
    if (e == ERR_BUSY && result_later(in))
        return;
    if (e == VRS_OK && a->result == INQUIRY_ABORTED)
        e = a->refusal != VRS_OK ? a->refusal : ERR_NUMBER_AWAY;
    ask_end(in, e);
}

/* --- step 2, at the provider --- */

static enum vrs_err log_provider(struct partition *p, const struct inquiry *q, const char *asker,
                                 const char *act, const struct person *person, const char *result,
                                 uint64_t count) {
    const struct log_entry entry = {
        .actor = {.user = q->user, .section = asker, .terminal = q->terminal, .source = "lgwan"},
        .act = act,
        .purpose = q->purpose,
        .result = result,
        .count = count,
        .person = person,
        .subjects = &person->id,
        .subject_count = 1};
    return access_log_append(p, &entry, NULL);
}

static enum vrs_err hold(struct partition *p, struct ask *a, const char *asker,
                         const struct person *person) {
    struct held_inquiry h = {.state = HELD, .asked_ms = clock_now_ms()};
    record_id_new(&h.id);
    h.inquiry = a->q.id;
    h.person = person->id;
    INSIDE_COPY(h.asker, asker);
    INSIDE_COPY(h.purpose, a->q.purpose);
    INSIDE_COPY(h.basis_kind, a->q.basis_kind);
    a->result = INQUIRY_PENDING;
    enum vrs_err e = held_put(p, &h);
    return e == VRS_OK ? log_provider(p, &a->q, asker, "inquiry.hold", person, "held", 0) : e;
}

static enum vrs_err provide_person(struct inside_request *in, struct partition *p, struct ask *a,
                                   const struct person *person) {
    const char *asker = in->session.municipality;
    if (person->no_auto_answer || person->undisclosed)
        return hold(p, a, asker, person);
    a->result = INQUIRY_MATCH;
    enum vrs_err e =
        inquiry_collect_doses(in, p, &a->q, asker, &person->id, &a->doses, &a->dose_count);
    if (e == VRS_OK)
        e = inquiry_add_provision(p, &a->q, false, asker, person, "system", "match", a->dose_count);
    if (e == VRS_OK)
        e = log_provider(p, &a->q, asker, "inquiry.answer", person, "match", a->dose_count);
    return e;
}

static enum vrs_err count_miss(struct partition *p, const char *asker) {
    char today[11], name[64];
    clock_format_date(clock_today_jst(), today);
    (void)snprintf(name, sizeof name, "misses/%s/%s", today, asker);
    return tally_add(p, name, 1);
}

/* What a permit is for; `request` is filled and must be wiped. */
struct asked {
    char number[13];
    char basis_kind[16];
    char basis_document[200];
    char identity_method[100];
    char user[64];
    struct record_id inquiry;
};

static struct permit_terms terms_of(const struct server *s, const struct ask *a, const char *asker,
                                    const char *provider, struct asked *request,
                                    char items[VIEW_ITEMS_MAX]) {
    memset(request, 0, sizeof *request);
    memcpy(request->number, a->number.digits, sizeof request->number);
    memcpy(request->basis_kind, a->q.basis_kind, sizeof request->basis_kind);
    memcpy(request->basis_document, a->q.basis_document, sizeof request->basis_document);
    memcpy(request->identity_method, a->q.identity_method, sizeof request->identity_method);
    memcpy(request->user, a->q.user, sizeof request->user);
    request->inquiry = a->q.id;
    view_items_for(s, a->q.purpose, asker, provider, items);
    return (struct permit_terms){.asker = asker,
                                 .provider = provider,
                                 .business = a->q.purpose,
                                 .items = items,
                                 .request = request,
                                 .len = sizeof *request};
}

static enum vrs_err issue_permit(struct inside_request *in) {
    struct ask *a = in->own;
    struct asked request;
    char items[VIEW_ITEMS_MAX];
    const struct permit_terms t =
        terms_of(in->server, a, in->session.municipality, a->from, &request, items);
    enum vrs_err e = permit_issue(in->server->permits, &t, clock_mono_ms(), a->permit);
    secret_wipe(&request, sizeof request);
    return e;
}

/* The provider's side: everything that it stands for, computed once more (C86). */
static enum vrs_err use_permit(struct inside_request *in, const char *here) {
    struct ask *a = in->own;
    struct asked request;
    char items[VIEW_ITEMS_MAX];
    if (a->permit_used)
        return VRS_OK;
    const struct permit_terms t =
        terms_of(in->server, a, in->session.municipality, here, &request, items);
    enum vrs_err e = permit_use(in->server->permits, a->permit, &t, clock_mono_ms());
    secret_wipe(&request, sizeof request);
    a->permit_used = e == VRS_OK;
    return e;
}

/* What the provider decides for itself, by its own lists and settings. */
static enum vrs_err provider_permits(struct inside_request *in, struct partition *p) {
    const struct ask *a = in->own;
    const struct server *s = in->server;
    const char *here = partition_code(p), *asker = in->session.municipality;
    struct civil_date today = clock_today_jst();
    int64_t answers = 1;
    enum vrs_err e = policy_basis(s->policies, here, a->q.basis_kind, today);
    if (e == VRS_OK)
        e = allow_guard_permits(s->allow, a->q.purpose, asker, here, NULL, today);
    if (e == VRS_OK && strcmp(a->q.purpose, "transfer_in") == 0)
        e = setting_get(p, SETTING_PURPOSE_ANSWER, &answers);
    if (e == VRS_OK && answers == 0)
        e = ERR_PURPOSE;
    return e == VRS_OK ? use_permit(in, here) : e;
}

static bool is_refusal(enum vrs_err e) {
    return e == ERR_BASIS_REFUSED || e == ERR_NOT_ON_ALLOW_LIST || e == ERR_PURPOSE ||
           e == ERR_PERMIT || e == ERR_BUSY;
}

static enum vrs_err provide_run(struct inside_request *in, struct partition *p) {
    struct ask *a = in->own;
    const struct server *s = in->server;
    const char *here = partition_code(p);
    a->result = INQUIRY_NO_MATCH;
    a->dose_count = 0;
    enum vrs_err e = provider_permits(in, p); /* checked again by the side that provides (C86) */
    if (e != VRS_OK)
        return e;
    struct record_id row, id;
    struct person person;
    memset(&person, 0, sizeof person);
    const struct number_access why = {
        .right = "inquire", .purpose = a->q.purpose, .user = in->session.user};
    e = number_match(s->number[in->job.worker_index], here, &a->number, &why, &row);
    if (e == VRS_OK)
        e = number_link_person(p, &row, &id);
    if (e == VRS_OK)
        e = person_get(p, &id, &person);
    if (e == VRS_OK)
        e = provide_person(in, p, a, &person);
    else if (e == ERR_NOT_FOUND) /* Q3 */
        e = count_miss(p, in->session.municipality);
    person_wipe(&person);
    return e;
}

static void provided(struct inside_request *in) {
    struct ask *a = in->own;
    secret_wipe(&a->number, sizeof a->number); /* Q1 */
    if (in->job.err != VRS_OK) {
        a->result = INQUIRY_ABORTED;
        a->refusal = is_refusal(in->job.err) ? in->job.err : VRS_OK;
    }
    inside_step(in, in->session.municipality, 0, result_run, result_done);
}

/* No such file: nobody was ever registered there.  The same work is done as for a miss in a file
 * (the question to vrs-number, a count, a commit), so that the time tells nothing (C81); the count
 * stands at the asker, since the other side has no file and gets none. */
static enum vrs_err nowhere_run(struct inside_request *in, struct partition *own) {
    struct ask *a = in->own;
    struct record_id row;
    const struct number_access why = {
        .right = "inquire", .purpose = a->q.purpose, .user = in->session.user};
    a->result = INQUIRY_NO_MATCH;
    enum vrs_err e = use_permit(in, a->from);
    if (e != VRS_OK)
        return e;
    e = number_match(in->server->number[in->job.worker_index], a->from, &a->number, &why, &row);
    return e == VRS_OK || e == ERR_NOT_FOUND ? count_miss(own, in->session.municipality) : e;
}

static void provide_done(struct inside_request *in) {
    if (in->job.err == ERR_NOT_FOUND)
        inside_step(in, in->session.municipality, 0, nowhere_run, provided);
    else
        provided(in);
}

/* --- step 1, at the asker --- */

static enum vrs_err ask_again(struct inside_request *in, struct partition *p,
                              const struct idempotent *first) {
    struct record_id id;
    struct inquiry q;
    char hex[33] = "";
    if (first->answer.len != sizeof hex - 1)
        return ERR_CORRUPT;
    memcpy(hex, first->answer.data, sizeof hex - 1);
    if (!record_id_parse(hex, &id))
        return ERR_CORRUPT;
    inquiry_init(&q);
    struct person person;
    memset(&person, 0, sizeof person);
    enum vrs_err e = inquiry_get(p, &id, &q);
    if (e == VRS_OK)
        e = inquiry_own_person(p, &q, &person);
    bool about = person.version != 0;
    if (e == VRS_OK)
        e = inside_log(in, p, about ? &person : NULL, &person.id, about ? 1 : 0, 0, "repeated",
                       NULL);
    if (e == VRS_OK)
        e = inquiry_answer(in, &q);
    person_wipe(&person);
    in->status = 201;
    inquiry_fini(&q);
    return e;
}

static enum vrs_err ask_new(struct inside_request *in, struct partition *p, struct ask *a) {
    struct person person;
    char id[33];
    enum vrs_err e = VRS_OK;
    memset(&person, 0, sizeof person);
    if (a->addressee[0] != '\0') {
        e = person_by_addressee(p, a->addressee, &person);
        if (e == ERR_NOT_FOUND) {
            (void)snprintf(in->detail_ja, sizeof in->detail_ja,
                           "宛名番号の住民が登録されていません。先に住民を登録してください。");
            e = ERR_BAD_FIELD;
        }
        a->q.has_person = e == VRS_OK;
        a->q.person = person.id;
    }
    a->q.version = 0; /* the job may run again */
    a->q.state = INQUIRY_OPEN;
    a->q.asked_ms = clock_now_ms();
    if (e == VRS_OK)
        e = inquiry_put(p, &a->q);
    in->purpose = a->q.purpose;
    if (e == VRS_OK)
        e = inside_log(in, p, a->q.has_person ? &person : NULL, &person.id, a->q.has_person ? 1 : 0,
                       0, "sent", a->from);
    record_id_format(&a->q.id, id);
    uint8_t content[CRYPTO_HASH_BYTES];
    if (e == VRS_OK)
        e = inside_content(in, content);
    if (e == VRS_OK)
        e = idempotency_keep(p, in->idempotency_key, content, sizeof content, 201, id,
                             sizeof id - 1);
    secret_wipe(content, sizeof content); /* Q1 */
    person_wipe(&person);
    return e;
}

static enum vrs_err ask_run(struct inside_request *in, struct partition *p) {
    struct ask *a = in->own;
    struct idempotent first = {0};
    bool seen = false;
    uint8_t content[CRYPTO_HASH_BYTES];
    buffer_init(&first.answer, 1024);
    enum vrs_err e = inside_content(in, content);
    if (e == VRS_OK)
        e = idempotency_look(p, in->idempotency_key, content, sizeof content, &seen, &first);
    secret_wipe(content, sizeof content); /* Q1 */
    a->result = INQUIRY_OPEN;
    if (e == VRS_OK && seen) {
        a->result = INQUIRY_MATCH; /* anything but OPEN: ask_done answers at once */
        e = ask_again(in, p, &first);
    } else if (e == VRS_OK) {
        e = ask_new(in, p, a);
    }
    buffer_fini(&first.answer);
    return e;
}

static void ask_done(struct inside_request *in) {
    const struct ask *a = in->own;
    if (in->job.err != VRS_OK || a->result != INQUIRY_OPEN) {
        ask_end(in, in->job.err);
        return;
    }
    in->job.err = issue_permit(in);
    if (in->job.err != VRS_OK)
        provided(in);
    else
        inside_step(in, a->from, 0, provide_run, provide_done); /* never makes a file */
}

void inquiries_ask(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct ask *a = arena_alloc(http_arena(rq), sizeof *a);
    in->act = "inquiry.ask";
    if (a == NULL) {
        inside_answer(in, ERR_MEMORY);
        return;
    }
    in->own = a;
    enum vrs_err e = read_ask(in, a);
    json_decref(in->body); /* holds the number */
    in->body = NULL;
    if (e != VRS_OK) {
        secret_wipe(&a->number, sizeof a->number);
        inquiry_fini(&a->q);
        buffer_fini(&a->doses);
        inside_refuse(in, e); /* C68: refused ones are recorded at the asker */
        return;
    }
    inside_step(in, in->session.municipality, POOL_CREATE, ask_run, ask_done);
}

/* --- looking at a result --- */

static enum vrs_err get_run(struct inside_request *in, struct partition *p) {
    struct record_id id;
    struct inquiry q;
    struct person person;
    inquiry_init(&q);
    memset(&person, 0, sizeof person);
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = inquiry_get(p, &id, &q);
    if (e == VRS_OK)
        e = inquiry_own_person(p, &q, &person);
    if (e == VRS_OK) {
        bool about = person.version != 0;
        in->purpose = arena_strdup(http_arena(in->rq), q.purpose);
        e = inside_log(in, p, about ? &person : NULL, &person.id, about ? 1 : 0, 1,
                       inquiry_result_name(q.state), NULL);
    }
    if (e == VRS_OK)
        e = inquiry_answer(in, &q);
    person_wipe(&person);
    inquiry_fini(&q);
    return e;
}

void inquiries_get(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "inquiry.read";
    inside_run(in, get_run);
}
