#include "vrs-server/request.h"

#include <stdlib.h>
#include <string.h>

#include "lib/crypto.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/tls.h"
#include "partitions/claim.h"
#include "partitions/exchange.h"
#include "partitions/person.h"
#include "vrs-server/alerts/watch.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/log/refusals.h"

const struct record_id inside_everybody = {.bytes = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                                     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                                     0xff}};
static const char default_purpose[] = "vaccination_record"; /* 予防接種事務 */

enum { ANSWER_MAX_BYTES = 64 << 20 };

struct inside_request *inside_make(struct http_request *rq) {
    struct inside_request *in = arena_alloc(http_arena(rq), sizeof *in);
    if (in == NULL)
        return NULL;
    in->server = http_arg(rq);
    in->rq = rq;
    in->status = 200;
    in->actor.source = "lgwan";
    buffer_init(&in->answer, ANSWER_MAX_BYTES);
    http_set_context(rq, in);
    return in;
}

struct inside_request *inside_of(struct http_request *rq) {
    return http_context(rq);
}

void inside_set_session(struct inside_request *in, const struct session *session) {
    in->session = *session;
    in->actor.user = in->session.user;
    in->actor.section = in->session.place[0] != '\0' ? in->session.place : in->session.section;
    in->actor.terminal = in->session.terminal;
}

/* --- inside the transaction --- */

enum vrs_err inside_log(struct inside_request *in, struct partition *p, const struct person *person,
                        const struct record_id *subjects, size_t subject_count, uint64_t count,
                        const char *result, const char *detail) {
    struct log_entry entry = {
        .actor = in->actor,
        .act = in->act,
        .purpose = in->purpose != NULL ? in->purpose : default_purpose,
        .result = result,
        .detail = detail,
        .count = count,
        .person = person,
        .subjects = subjects,
        .subject_count = subject_count,
    };
    enum vrs_err e = access_log_append(p, &entry, NULL);
    in->entry_made = e == VRS_OK;
    (void)snprintf(in->logged_result, sizeof in->logged_result, "%s", result);
    in->logged_count = count;
    return e;
}

/* A pool job may be run again from the start: what an earlier run left behind goes. */
static void answer_reset(struct inside_request *in) {
    buffer_clear(&in->answer);
    in->status = 200;
    in->etag = 0;
    in->location[0] = '\0';
    in->next[0] = '\0';
    in->detail_ja[0] = '\0';
    in->failed = VRS_OK;
    in->kick_line = false;
    in->entry_made = false;
    if (in->problem_extra != NULL) {
        json_decref(in->problem_extra);
        in->problem_extra = NULL;
    }
}

/* What was asked, without anything that the client made up: the route; where there is none, the
 * path with its digits hidden. */
static void describe_request(const struct inside_request *in, char *out, size_t cap) {
    const struct route *route = http_route(in->rq);
    char path[64];
    (void)snprintf(path, sizeof path, "%s", route != NULL ? route->path : http_path(in->rq));
    for (char *c = path; route == NULL && *c != '\0'; c++)
        *c = *c >= '0' && *c <= '9' ? '#' : *c;
    int n = snprintf(out, cap, "%s %s", http_method(in->rq), path);
    if (in->more > 0 && n > 0 && (size_t)n < cap)
        (void)snprintf(out + n, cap - (size_t)n, " more=%llu", (unsigned long long)in->more);
}

/* The resident whom a refused or repeated request was about, when the own municipality has it: who
 * tried to look or to change, or saw it once more, is part of the person's list, too. */
static enum vrs_err asked_person(struct inside_request *in, struct partition *p,
                                 struct person *out) {
    const struct route *route = http_route(in->rq);
    struct record_id id;
    struct claim claim;
    if (route == NULL || strcmp(partition_code(p), in->session.municipality) != 0 ||
        inside_id(in, "id", &id) != VRS_OK)
        return ERR_NOT_FOUND;
    if (strncmp(route->path, "/v1/residents/", 14) == 0)
        return person_get(p, &id, out);
    if (strncmp(route->path, "/v1/doses/", 10) != 0)
        return ERR_NOT_FOUND;
    claim_init(&claim);
    enum vrs_err e = claim_get(p, &id, &claim);
    if (e == VRS_OK)
        e = claim.has_person ? person_get(p, &claim.person, out) : ERR_NOT_FOUND;
    claim_wipe(&claim);
    return e;
}

static enum vrs_err log_refusal(struct inside_request *in, struct partition *p, enum vrs_err why) {
    char detail[120];
    struct person person;
    memset(&person, 0, sizeof person);
    describe_request(in, detail, sizeof detail);
    bool about = in->session.user[0] != '\0' && asked_person(in, p, &person) == VRS_OK;
    enum vrs_err e = inside_log(in, p, about ? &person : NULL, &person.id, about ? 1 : 0, 0,
                                err_name(why), detail);
    person_wipe(&person);
    return e;
}

/* Keeps a refusal on record: what `run` wrote is undone, the entry that names the error stays. */
static enum vrs_err run_logged(struct inside_request *in, struct partition *p) {
    enum vrs_err e = partition_savepoint(p);
    if (e != VRS_OK)
        return e;
    e = in->run(in, p);
    if (e == VRS_OK)
        return partition_release(p);
    if (e == ERR_STORAGE || e == ERR_UNKNOWN)
        return e;
    enum vrs_err undone = partition_rollback_to(p);
    if (undone != VRS_OK)
        return undone;
    undone = log_refusal(in, p, e);
    if (undone != VRS_OK)
        return undone;
    in->failed = e;
    return VRS_OK;
}

enum vrs_err inside_content(const struct inside_request *in, uint8_t out[CRYPTO_HASH_BYTES]) {
    size_t len;
    const void *body = http_body(in->rq, &len);
    const char *path = http_route(in->rq)->path, *id = http_param(in->rq, "id");
    struct crypto_digest *d = crypto_digest_open();
    if (d == NULL)
        return ERR_MEMORY;
    crypto_digest_add(d, path, strlen(path) + 1);
    if (id != NULL)
        crypto_digest_add(d, id, strlen(id));
    crypto_digest_add(d, "", 1);
    crypto_digest_add(d, in->session.user, strlen(in->session.user) + 1); /* nobody else's key */
    crypto_digest_add(d, body, len);
    crypto_digest_close(&d, out);
    return VRS_OK;
}

static enum vrs_err run_once(struct inside_request *in, struct partition *p) {
    struct idempotent first = {0};
    bool seen = false;
    uint8_t content[CRYPTO_HASH_BYTES];
    buffer_init(&first.answer, in->answer.max);
    enum vrs_err e = inside_content(in, content);
    if (e == VRS_OK)
        e = idempotency_look(p, in->idempotency_key, content, sizeof content, &seen, &first);
    if (e == ERR_KEY_REUSED) {
        e = log_refusal(in, p, e);
        in->failed = ERR_KEY_REUSED;
    } else if (e == VRS_OK && seen) {
        in->status = first.status;
        if (!buffer_put(&in->answer, first.answer.data, first.answer.len))
            e = ERR_MEMORY;
        struct person person;
        memset(&person, 0, sizeof person);
        bool about = asked_person(in, p, &person) == VRS_OK;
        if (e == VRS_OK)
            e = inside_log(in, p, about ? &person : NULL, &person.id, about ? 1 : 0, 0, "repeated",
                           NULL);
        person_wipe(&person);
    } else if (e == VRS_OK) {
        e = run_logged(in, p);
        if (e == VRS_OK && in->failed == VRS_OK)
            e = idempotency_keep(p, in->idempotency_key, content, sizeof content, in->status,
                                 in->answer.data, in->answer.len);
    }
    buffer_fini(&first.answer);
    return e;
}

static enum vrs_err job_run(struct pool_job *job, struct partition *p) {
    struct inside_request *in = (struct inside_request *)job;
    answer_reset(in);
    return in->idempotency_key != NULL ? run_once(in, p) : run_logged(in, p);
}

/* A step in the own municipality that refuses keeps its entry, too, unless the request has one from
 * an earlier step.  In another municipality's partition a refusal leaves nothing. */
static enum vrs_err step_run(struct pool_job *job, struct partition *p) {
    struct inside_request *in = (struct inside_request *)job;
    bool own = strcmp(partition_code(p), in->session.municipality) == 0;
    answer_reset(in);
    return own && !in->entry_kept ? run_logged(in, p) : in->run(in, p);
}

/* --- on the loop --- */

static void job_done(struct pool_job *job) {
    struct inside_request *in = (struct inside_request *)job;
    enum vrs_err e = job->err;
    /* Rule 8: nothing is shown or changed that could not be logged. */
    const struct route *route = http_route(in->rq);
    if (e == ERR_STORAGE && (route == NULL || route->method == ROUTE_GET || in->refusal != VRS_OK))
        e = ERR_LOG_UNWRITABLE;
    if (e == VRS_OK)
        e = in->failed;
    if (e == VRS_OK && in->kick_line)
        line_out_kick(in->server->line, job->municipality);
    inside_answer(in, e);
}

static void step_done(struct pool_job *job) {
    struct inside_request *in = (struct inside_request *)job;
    if (job->err == VRS_OK) {
        in->entry_kept |= in->entry_made;
        job->err = in->failed;
    }
    in->done(in);
}

static enum vrs_err submit(struct inside_request *in, const char *municipality, unsigned flags) {
    memcpy(in->job.municipality, municipality, sizeof in->job.municipality - 1);
    in->job.municipality[sizeof in->job.municipality - 1] = '\0';
    in->job.flags = flags | in->pool_flags;
    in->job.err = VRS_OK;
    return pool_submit(in->server->pool, &in->job);
}

void inside_run(struct inside_request *in, inside_fn *run) {
    in->run = run;
    in->job.run = job_run;
    in->job.done = job_done;
    enum vrs_err e = submit(in, in->session.municipality, POOL_CREATE);
    if (e != VRS_OK)
        inside_answer(in, e);
}

static enum vrs_err refused(struct inside_request *in, struct partition *p) {
    (void)p;
    memcpy(in->detail_ja, in->refusal_ja, sizeof in->detail_ja);
    in->problem_extra = json_incref(in->refusal_extra);
    return in->refusal;
}

void inside_refuse(struct inside_request *in, enum vrs_err e) {
    in->refusal = e;
    memcpy(in->refusal_ja, in->detail_ja, sizeof in->refusal_ja);
    json_decref(in->refusal_extra);
    in->refusal_extra = in->problem_extra;
    in->problem_extra = NULL;
    in->idempotency_key = NULL;
    if (in->act == NULL)
        in->act = "request.refused";
    inside_run(in, refused);
}

void inside_refuse_stranger(struct inside_request *in, const struct tls_peer *peer,
                            const char *user, enum vrs_err e, unsigned most) {
    const struct server *s = in->server;
    struct session nobody = {0};
    bool ours = peer != NULL && municipality_find(s->municipalities, peer->municipality) != NULL &&
                pool_exists(s->pool, peer->municipality);
    memcpy(nobody.municipality, ours ? peer->municipality : REGISTRY,
           sizeof nobody.municipality - 1);
    INSIDE_COPY(nobody.terminal, peer != NULL ? peer->name : "");
    INSIDE_COPY(nobody.user, user);
    inside_set_session(in, &nobody);
    if (refusals_take(s->refusals, nobody.municipality, nobody.terminal, e, most, &in->more))
        inside_refuse(in, e);
    else
        inside_answer(in, e);
}

bool inside_scope(struct inside_request *in) {
    char code[sizeof in->session.municipality];
    enum vrs_err e = session_scope(in, code);
    if (e == VRS_OK && strcmp(code, in->session.municipality) != 0 &&
        !pool_exists(in->server->pool, code))
        e = ERR_NOT_FOUND; /* reading makes no file */
    if (e == VRS_OK)
        memcpy(in->session.municipality, code, sizeof code);
    else
        inside_refuse(in, e);
    return e == VRS_OK;
}

void inside_step(struct inside_request *in, const char *municipality, unsigned pool_flags,
                 inside_fn *run, inside_done_fn *done) {
    in->run = run;
    in->done = done;
    in->job.run = step_run;
    in->job.done = step_done;
    enum vrs_err e = submit(in, municipality, pool_flags);
    if (e == VRS_OK)
        return;
    in->job.err = e;
    done(in);
}

/* An answer closes the arena, and `in` with it: what the answer is made of is taken out before, and
 * the rest that the request owned, wiped, goes before it leaves. */
struct parting {
    struct buffer answer;
    json_t *problem_extra;
};

static struct parting inside_retire(struct inside_request *in) {
    struct parting last = {.answer = in->answer, .problem_extra = in->problem_extra};
    buffer_init(&in->answer, 0);
    in->problem_extra = NULL;
    json_decref(in->body);
    json_decref(in->refusal_extra);
    in->body = in->refusal_extra = NULL;
    return last;
}

static void parting_fini(struct parting *last) {
    buffer_fini(&last->answer);
    json_decref(last->problem_extra);
}

void inside_answer(struct inside_request *in, enum vrs_err e) {
    struct http_request *rq = in->rq;
    if (e == VRS_OK && in->answer.failed)
        e = ERR_MEMORY;
    watch_answer(in, e);
    if (e != VRS_OK) {
        if (err_status(e) >= 500)
            log_fault(LOG_ERROR, "request.failed", &in->job.fault);
        const char *detail = in->detail_ja[0] != '\0' ? in->detail_ja : NULL;
        struct parting last = inside_retire(in);
        http_problem(rq, e, detail, last.problem_extra);
        parting_fini(&last);
        return;
    }
    if (in->etag != 0) {
        const char *etag = arena_printf(http_arena(rq), "\"%llu\"", (unsigned long long)in->etag);
        if (etag != NULL)
            http_set_header(rq, "ETag", etag);
    }
    if (in->location[0] != '\0')
        http_set_header(rq, "Location", in->location);
    if (in->next[0] != '\0') {
        const char *link =
            arena_printf(http_arena(rq), "<%s?after=%s>; rel=\"next\"", http_path(rq), in->next);
        if (link != NULL)
            http_set_header(rq, "Link", link);
    }
    const char *type = in->content_type != NULL ? in->content_type : "application/json";
    int status = in->status;
    struct parting last = inside_retire(in);
    http_reply(rq, status, type, last.answer.data, last.answer.len);
    parting_fini(&last);
}

enum vrs_err inside_json(struct inside_request *in, json_t *v) {
    bool ok = v != NULL && json_write(&in->answer, v);
    json_decref(v);
    return ok ? VRS_OK : ERR_MEMORY;
}

enum vrs_err inside_read(struct inside_request *in, const struct json_field *fields) {
    struct vrs_fault fault = {0};
    enum vrs_err e = json_read(in->body, fields, &fault);
    if (e != VRS_OK && fault.text[0] != '\0') {
        if (in->problem_extra != NULL)
            json_decref(in->problem_extra);
        in->problem_extra = json_pack("{s:s}", "field", fault.text);
    }
    return e;
}

enum vrs_err inside_id(struct inside_request *in, const char *param, struct record_id *out) {
    const char *text = http_param(in->rq, param);
    return text != NULL && record_id_parse(text, out) ? VRS_OK : ERR_NOT_FOUND;
}
