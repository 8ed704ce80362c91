#include "vrs-server/terminals/line_queries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/log.h"
#include "lib/throttle.h"
#include "ocr-ingest/line.h"
#include "partitions/access_log.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/doses/line_outcomes.h"
#include "vrs-server/terminals/doctor.h"
#include "vrs-server/terminals/enrolment.h"
#include "vrs-server/terminals/filter_query.h"
#include "vrs-server/terminals/terminal_list.h"

enum { QUOTA_NAMES = 65536, DAY_MS = 86400000 };
/* Large answers leave room in a post for those that somebody reads a coupon with. */
enum { SMALL_ANSWER = 32768, ROOM_FOR_SMALL = 1 << 20 };

struct query_job {
    struct pool_job job; /* first */
    struct line_queries *line;
    struct line_query query; /* its `sealed` is our copy below */
    bool own_site;
    bool counted; /* a place in the doctor's quota is taken */
    bool
        looked; /* candidates were looked for, a day was told, a pre-shot check made: it stays taken */
    enum line_coupon_status status;
    enum vrs_err refusal; /* PRE_SHOT */
    struct doctor_found found;
    struct civil_date earliest; /* DOCTOR: of a dose that would be too early */
    struct pre_shot pre_shot;
    uint8_t sealed[];
};

struct line_queries {
    struct server *server;
    struct client *client;
    struct crypto_opener *const *opener; /* by worker */
    struct throttle *doctor_quota; /* by serial, a day: the outside's own count is not believed */
    struct filter_queries *filters;
    struct buffer answers;
    char *ca_pem; /* given to devices with their certificate */
    bool has_answers, answering, closing;
};

static void post_answers(struct line_queries *l);

static enum vrs_err see_recorded(struct claim *c, void *arg) {
    if (claim_in_force(c))
        *(bool *)arg = true;
    return VRS_OK;
}

static enum vrs_err query_look(struct query_job *q, struct partition *p, const struct coupon *c,
                               struct person *holder) {
    struct person_coupon coupon;
    bool recorded = false;
    q->status = LINE_COUPON_UNKNOWN;
    enum vrs_err e = coupon_get(p, c->number.digits, &coupon);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? VRS_OK : e;
    q->status = LINE_COUPON_OK;
    e = person_get(p, &coupon.person, holder);
    if (e != VRS_OK || !q->own_site)
        return e;
    e = claims_of_turn(p, c, see_recorded, &recorded);
    if (recorded)
        q->status = LINE_COUPON_RECORDED;
    else if (person_date_set(holder->moved_out_on))
        q->status = LINE_COUPON_MOVED_OUT;
    return e;
}

/* The plaintext of a query. */
static enum vrs_err query_open(struct query_job *q, struct buffer *text) {
    struct buffer aad;
    buffer_init(&aad, 256);
    buffer_init(text, 1024);
    line_query_aad(&q->query, &aad);
    enum vrs_err e = crypto_opener_unseal(q->line->opener[q->job.worker_index], aad.data, aad.len,
                                          q->query.sealed, q->query.sealed_len, text);
    buffer_fini(&aad);
    return e;
}

static enum vrs_err log_query(struct partition *p, const char *act, const struct person *holder,
                              const struct record_id *subjects, size_t n, const char *result) {
    const struct log_entry entry = {.actor = {.source = "internet"},
                                    .act = act,
                                    .purpose = "vaccination_record",
                                    .result = result,
                                    .person = holder,
                                    .subjects = subjects,
                                    .subject_count = n,
                                    .count = n};
    return access_log_append(p, &entry, NULL);
}

/* How soon is too soon, for a site that says what it is about to give. */
static enum vrs_err interval_run(struct query_job *q, struct partition *p, const struct coupon *c,
                                 const struct record_id *holder, const struct line_doctor *d) {
    struct civil_date on;
    if (q->status != LINE_COUPON_OK || !q->own_site || !q->counted ||
        c->kind != COUPON_VACCINATION || clock_parse_date(d->vaccinated_on, &on) != VRS_OK)
        return VRS_OK;
    enum vrs_err e =
        interval_look(p, q->line->server->vaccines, c, holder, d->product, on, &q->earliest);
    q->looked = e == VRS_OK && person_date_set(q->earliest);
    return e;
}

/* coupons:check at the own site: what is known of the line, else what it may have been. */
static enum vrs_err doctor_run(struct pool_job *job, struct partition *p) {
    struct query_job *q = (struct query_job *)job;
    struct line_doctor d;
    struct coupon coupon;
    struct person holder;
    struct buffer text;
    struct vrs_fault fault = {0};
    memset(&holder, 0, sizeof holder);
    memset(&q->found, 0, sizeof q->found);
    q->earliest = PERSON_NO_DATE;
    q->status = LINE_COUPON_UNKNOWN;
    q->looked = false;
    enum vrs_err e = query_open(q, &text);
    if (e == VRS_OK)
        e = line_doctor_decode(text.data, text.len, &d);
    if (e == VRS_OK && line_parse(d.text, NULL, &coupon, &fault) == VRS_OK &&
        strcmp(coupon.municipality.digits, partition_code(p)) == 0)
        e = query_look(q, p, &coupon, &holder);
    if (e == VRS_OK)
        e = interval_run(q, p, &coupon, &holder.id, &d);
    if (e == VRS_OK && q->status != LINE_COUPON_UNKNOWN)
        e = log_query(p, "coupon.check", &holder, &holder.id, 1, "ok");
    else if (e == VRS_OK) {
        q->looked = q->own_site && q->counted;
        if (q->looked)
            e = doctor_look(p, q->line->server->confusions, &d, &q->found);
        if (e == VRS_OK)
            e = log_query(p, q->looked ? "coupon.doctor" : "coupon.check", NULL, q->found.person,
                          q->found.count, "ok");
    }
    person_wipe(&holder);
    secret_wipe(&d, sizeof d);
    buffer_fini(&text);
    return e;
}

static enum vrs_err pre_shot_run(struct pool_job *job, struct partition *p) {
    struct query_job *q = (struct query_job *)job;
    struct line_pre_shot ask;
    struct coupon coupon;
    struct buffer text;
    struct vrs_fault fault = {0};
    q->looked = false;
    q->refusal = !q->own_site ? ERR_OTHER_MUNICIPALITY : !q->counted ? ERR_TOO_MANY : VRS_OK;
    enum vrs_err e = query_open(q, &text);
    if (e == VRS_OK)
        e = line_pre_shot_decode(text.data, text.len, &ask);
    if (e == VRS_OK)
        e = line_parse(ask.ocr_line, NULL, &coupon, &fault);
    if (e == VRS_OK && strcmp(coupon.municipality.digits, partition_code(p)) != 0)
        q->refusal = ERR_OTHER_MUNICIPALITY;
    if (e == VRS_OK && q->refusal == VRS_OK) {
        q->looked = true;
        e = pre_shot_look(p, q->line->server->vaccines, &coupon, ask.product, &q->pre_shot);
        if (e == ERR_NOT_FOUND) {
            q->refusal = ERR_NOT_FOUND;
            e = VRS_OK;
        }
    }
    bool told = q->refusal == VRS_OK;
    if (e == VRS_OK)
        e = log_query(p, "coupon.pre_shot", told ? &q->pre_shot.holder : NULL,
                      &q->pre_shot.holder.id, told ? 1 : 0, told ? "ok" : err_name(q->refusal));
    person_wipe(&q->pre_shot.holder);
    secret_wipe(&ask, sizeof ask);
    buffer_fini(&text);
    return e;
}

static enum vrs_err query_run(struct pool_job *job, struct partition *p) {
    struct query_job *q = (struct query_job *)job;
    struct buffer line;
    struct coupon coupon;
    struct person holder;
    struct vrs_fault fault = {0};
    struct buffer aad;
    char text[32] = "";
    memset(&holder, 0, sizeof holder);
    buffer_init(&aad, 256);
    line_query_aad(&q->query, &aad);
    buffer_init(&line, sizeof text - 1);
    enum vrs_err e = crypto_opener_unseal(q->line->opener[job->worker_index], aad.data, aad.len,
                                          q->query.sealed, q->query.sealed_len, &line);
    if (e == VRS_OK && line.len > 0)
        memcpy(text, line.data, line.len);
    if (e == VRS_OK)
        e = line_parse(text, NULL, &coupon, &fault);
    if (e == VRS_OK)
        e = query_look(q, p, &coupon, &holder);
    struct log_entry entry = {.actor = {.source = "internet"},
                              .act = "coupon.check",
                              .purpose = "vaccination_record",
                              .result = "ok",
                              .count = q->status == LINE_COUPON_UNKNOWN ? 0 : 1};
    if (e == VRS_OK && holder.version != 0) {
        entry.person = &holder;
        entry.subjects = &holder.id;
        entry.subject_count = 1;
    }
    if (e == VRS_OK)
        e = access_log_append(p, &entry, NULL);
    person_wipe(&holder);
    buffer_fini(&aad);
    buffer_fini(&line);
    secret_wipe(text, sizeof text);
    return e;
}

void line_queries_answer(struct line_queries *l, const struct line_answer *a) {
    bool small = a->len <= SMALL_ANSWER;
    struct line_answer busy = {.id = a->id};
    if (l->closing)
        return;
    if (!small && l->answers.len + a->len > LINE_MAX_BODY - ROOM_FOR_SMALL) {
        (void)snprintf(busy.refusal, sizeof busy.refusal, "%s", err_name(ERR_BUSY));
        a = &busy;
    }
    if (!l->has_answers)
        line_answers_begin(&l->answers);
    l->has_answers = true;
    line_answers_add(a, &l->answers);
    post_answers(l);
}

static void query_answer(struct line_queries *l, const struct query_job *q) {
    struct line_answer a = {.id = q->query.id, .status = q->status};
    struct buffer body;
    enum vrs_err e = VRS_OK;
    buffer_init(&body, 1024);
    if (q->query.kind == LINE_QUERY_DOCTOR) {
        e = q->status == LINE_COUPON_UNKNOWN ? doctor_write(&q->found, &body)
                                             : interval_write(q->earliest, &body);
    } else if (q->query.kind == LINE_QUERY_PRE_SHOT) {
        a.status = 0;
        e = q->refusal == VRS_OK ? pre_shot_write(&q->pre_shot, &body) : VRS_OK;
        if (q->refusal != VRS_OK)
            (void)snprintf(a.refusal, sizeof a.refusal, "%s", err_name(q->refusal));
    }
    a.body = body.data;
    a.len = body.len;
    if (e == VRS_OK)
        line_queries_answer(l, &a);
    buffer_fini(&body);
}

static void query_done(struct pool_job *job) {
    struct query_job *q = (struct query_job *)job;
    struct line_queries *l = q->line;
    /* No file of that municipality: nobody is registered there.  Other errors: no answer, the
     * tablet is told inside_away. */
    if (job->err == ERR_NOT_FOUND) {
        q->status = LINE_COUPON_UNKNOWN;
        q->refusal = ERR_NOT_FOUND;
        q->found.count = 0;
    }
    if (q->counted && !q->looked)
        throttle_take_back(l->doctor_quota, q->query.from);
    if (!l->closing && (job->err == VRS_OK || job->err == ERR_NOT_FOUND))
        query_answer(l, q);
    secret_wipe(&q->found, sizeof q->found);
    free(q);
}

static void answers_posted(const struct client_reply *r, void *arg) {
    struct line_queries *l = arg;
    (void)r; /* lost answers are asked again by a person */
    l->answering = false;
    post_answers(l);
}

static void post_answers(struct line_queries *l) {
    if (l->answering || !l->has_answers || l->closing)
        return;
    l->answering =
        line_post(l->client, "/line/v1/answers", &l->answers, 5000, answers_posted, l) == VRS_OK;
    buffer_clear(&l->answers);
    l->has_answers = false;
}

/* --- enrolment and renewal --- */

struct enrol_job {
    struct pool_job job; /* first */
    struct line_queries *line;
    struct line_query query;
    struct enrolment_result result;
    uint8_t sealed[];
};

static enum vrs_err log_enrolment(struct partition *registry, const struct enrol_job *j) {
    const struct enrolment_result *r = &j->result;
    char detail[160];
    (void)snprintf(detail, sizeof detail, "from=%s municipality=%s serial=%s", j->query.from,
                   r->terminal.municipality, r->terminal.serial);
    const struct log_entry entry = {.actor = {.terminal = r->terminal.name, .source = "internet"},
                                    .act = j->query.kind == LINE_QUERY_ENROL ? "terminal.enrol"
                                                                             : "terminal.renew",
                                    .purpose = "operation",
                                    .result = r->refusal != VRS_OK ? err_name(r->refusal)
                                              : r->repeated        ? "repeated"
                                                                   : "ok",
                                    .count = r->refusal == VRS_OK ? 1 : 0,
                                    .detail = detail};
    return access_log_append(registry, &entry, NULL);
}

static enum vrs_err enrol_run(struct pool_job *job, struct partition *registry) {
    struct enrol_job *j = (struct enrol_job *)job;
    struct signer_client *signer = j->line->server->signer[job->worker_index];
    struct line_enrolment what;
    struct buffer aad, text;
    buffer_init(&aad, 256);
    buffer_init(&text, sizeof what + 256);
    line_query_aad(&j->query, &aad);
    enum vrs_err e = crypto_opener_unseal(j->line->opener[job->worker_index], aad.data, aad.len,
                                          j->query.sealed, j->query.sealed_len, &text);
    if (e == VRS_OK)
        e = line_enrolment_decode(text.data, text.len, &what);
    if (e == VRS_OK && j->query.kind == LINE_QUERY_ENROL)
        e = enrolment_use(registry, signer, what.code, what.request_pem, &j->result);
    else if (e == VRS_OK)
        e = enrolment_renew(registry, signer, j->query.from, what.request_pem, &j->result);
    if (e == VRS_OK)
        e = log_enrolment(registry, j);
    secret_wipe(&what, sizeof what);
    buffer_fini(&aad);
    buffer_fini(&text);
    return e;
}

/* Known to the gates and on its way outward before the device hears of it. */
static enum vrs_err enrol_publish(struct server *s, const struct enrolment_result *r) {
    enum vrs_err e = terminal_list_put(s->terminals, &r->terminal);
    if (e == VRS_OK && r->replaced.serial[0] != '\0')
        e = terminal_list_put(s->terminals, &r->replaced);
    line_out_snapshot_changed(s->line);
    return e;
}

static void enrol_answer(struct enrol_job *j, enum vrs_err e) {
    struct line_queries *l = j->line;
    struct line_answer a = {.id = j->query.id};
    struct buffer body;
    buffer_init(&body, 32768);
    json_t *doc = e != VRS_OK
                      ? NULL
                      : json_pack("{s:s,s:s,s:s,s:s}", "certificate_pem", j->result.certificate,
                                  "ca_pem", l->ca_pem, "name", j->result.terminal.name,
                                  "valid_until", j->result.terminal.valid_until);
    if (e == VRS_OK && (doc == NULL || !json_write(&body, doc)))
        e = ERR_MEMORY;
    json_decref(doc);
    if (e == VRS_OK) {
        a.body = body.data;
        a.len = body.len;
    } else {
        (void)snprintf(a.refusal, sizeof a.refusal, "%s", err_name(e));
    }
    line_queries_answer(l, &a);
    buffer_fini(&body);
}

static void enrol_done(struct pool_job *job) {
    struct enrol_job *j = (struct enrol_job *)job;
    struct line_queries *l = j->line;
    enum vrs_err e = job->err == VRS_OK ? j->result.refusal : job->err;
    if (e == VRS_OK && !l->closing)
        e = enrol_publish(l->server, &j->result);
    if (e == ERR_ENROLMENT)
        alert_note(l->server, "enrolment_guessing", j->query.from);
    if (job->err != VRS_OK)
        log_fault(LOG_ERROR, "enrolment.failed", &job->fault);
    if (!l->closing)
        enrol_answer(j, e);
    secret_wipe(&j->result, sizeof j->result);
    free(j);
}

static void enrolment_take(struct line_queries *l, const struct line_query *from) {
    struct enrol_job *j = calloc(1, sizeof *j + from->sealed_len);
    if (j == NULL)
        return; /* unanswered: the device tries again */
    j->line = l;
    j->query = *from;
    j->query.sealed = j->sealed;
    memcpy(j->sealed, from->sealed, from->sealed_len);
    j->job.run = enrol_run;
    j->job.done = enrol_done;
    j->job.flags = POOL_CREATE;
    memcpy(j->job.municipality, REGISTRY, sizeof REGISTRY);
    if (pool_submit(l->server->pool, &j->job) != VRS_OK)
        free(j);
}

/* A serial, or the address of a device: nothing else that an outside may make up gets into a log. */
static bool plain_from(const struct line_query *q) {
    const char *allowed =
        q->kind == LINE_QUERY_ENROL ? "0123456789abcdefABCDEF.:%" : "0123456789abcdefABCDEF";
    return q->from[0] != '\0' && strspn(q->from, allowed) == strlen(q->from);
}

void line_queries_take(struct line_queries *l, const struct line_query *from) {
    if (!plain_from(from)) {
        log_plain(LOG_ERROR, "line.query_refused");
        alert_note(l->server, "line_unreadable", "tablet-api");
        return;
    }
    if (from->kind == LINE_QUERY_ENROL || from->kind == LINE_QUERY_RENEW) {
        enrolment_take(l, from);
        return;
    }
    if (from->kind == LINE_QUERY_FILTER) {
        filter_queries_take(l->filters, from);
        return;
    }
    struct query_job *q = calloc(1, sizeof *q + from->sealed_len);
    if (q == NULL)
        return; /* unanswered: the tablet's deadline speaks */
    q->line = l;
    q->query = *from;
    q->query.sealed = q->sealed;
    /* What the outside says of its terminals is not believed: the registry knows their towns. */
    const struct listed_terminal *t = terminal_list_find(l->server->terminals, from->from);
    q->own_site = t != NULL && t->state == TERMINAL_ACTIVE &&
                  strcmp(t->municipality, from->municipality) == 0;
    memcpy(q->sealed, from->sealed, from->sealed_len);
    if (from->kind != LINE_QUERY_COUPON && q->own_site)
        q->counted = throttle_allows(l->doctor_quota, from->from, NULL);
    if (q->counted)
        throttle_count(l->doctor_quota, from->from);
    q->job.run = from->kind == LINE_QUERY_DOCTOR     ? doctor_run
                 : from->kind == LINE_QUERY_PRE_SHOT ? pre_shot_run
                                                     : query_run;
    q->job.done = query_done;
    memcpy(q->job.municipality, from->municipality, sizeof q->job.municipality);
    if (pool_submit(l->server->pool, &q->job) != VRS_OK)
        free(q);
}

static enum vrs_err read_authority(const char *path, char **out, struct vrs_fault *fault) {
    enum { AUTHORITY_MAX = 16384 };
    FILE *f = fopen(path, "re");
    *out = calloc(1, AUTHORITY_MAX + 1);
    size_t n = f != NULL && *out != NULL ? fread(*out, 1, AUTHORITY_MAX, f) : 0;
    if (f != NULL)
        (void)fclose(f);
    return n > 0 && n < AUTHORITY_MAX && strstr(*out, "BEGIN CERTIFICATE") != NULL
               ? VRS_OK
               : err_fail(fault, ERR_CONFIG, "tablet_ca_file %s is no certificate", path);
}

enum vrs_err line_queries_open(struct server *s, struct client *line,
                               struct crypto_opener *const *opener, struct line_queries **out,
                               struct vrs_fault *fault) {
    struct line_queries *l = calloc(1, sizeof *l);
    *out = l;
    if (l == NULL)
        return ERR_MEMORY;
    l->server = s;
    l->client = line;
    l->opener = opener;
    buffer_init(&l->answers, LINE_MAX_BODY);
    l->doctor_quota = throttle_open(QUOTA_NAMES, (unsigned)s->config.doctor_per_day, DAY_MS);
    enum vrs_err e =
        l->doctor_quota != NULL ? filter_queries_open(s, l, opener, &l->filters) : ERR_MEMORY;
    if (e != VRS_OK)
        return e;
    return read_authority(s->config.tablet_ca_file, &l->ca_pem, fault);
}

void line_queries_stop(struct line_queries *l) {
    if (l != NULL)
        l->closing = true;
}
