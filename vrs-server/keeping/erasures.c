/* Erasing an own resident, with a second person's approval; the records of erasures and their
 * certificates.
 *
 * The first DELETE files the request (202, request_id); when it is approved the same DELETE
 * performs it (204).  erasure.h tells the steps. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/text.h"
#include "partitions/person.h"
#include "vrs-server/handlers.h"
#include "vrs-server/keeping/erasure.h"
#include "vrs-server/request.h"
#include "vrs-server/second.h"
#include "vrs-server/views.h"

enum { LIST_PAGE = 200, TEXT_MAX_BYTES = 16 << 10 };

struct erase {
    struct erasure_batch batch;
    bool asked;
    char reason[512];
    struct inside_request *in;
};

static enum vrs_err log_erased(struct partition *p, const struct person *person,
                               const struct erased *x, void *arg) {
    struct erase *w = arg;
    return inside_log(w->in, p, person, &person->id, 1, x->count[ERASED_DOSE] + 1, "erased",
                      w->reason);
}

static enum vrs_err file_request(struct erase *w, struct partition *p,
                                 const struct person *person) {
    struct second_request ask = {
        .kind = "erase", .act = "resident.erase", .has_subject = true, .subject = person->id};
    char id[33];
    (void)snprintf(ask.asked_by, sizeof ask.asked_by, "%s", w->in->session.user);
    memcpy(ask.reason, w->reason, sizeof ask.reason);
    enum vrs_err e = second_ask(p, &ask);
    if (e == VRS_OK)
        e = inside_log(w->in, p, person, &person->id, 1, 1, "approval_asked", w->reason);
    record_id_format(&ask.id, id);
    w->asked = true;
    w->in->status = 202;
    return e == VRS_OK ? inside_json(w->in, json_pack("{s:s,s:s}", "request_id", id, "state",
                                                      "waiting_for_approval"))
                       : e;
}

static enum vrs_err erase_run(struct inside_request *in, struct partition *p) {
    struct erase *w = in->own;
    struct second_request approval;
    struct record_id id;
    struct person person;
    memset(&person, 0, sizeof person);
    erasure_batch_reset(&w->batch);
    w->asked = false;
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = person_get(p, &id, &person);
    if (e == VRS_OK && person.version != in->if_match)
        e = ERR_STALE_VERSION;
    if (e == VRS_OK)
        e = second_use(p, "erase", &person.id, "resident.erase", &approval);
    if (e == ERR_APPROVAL_REQUIRED) {
        e = file_request(w, p, &person);
    } else if (e == VRS_OK) {
        char request[33];
        record_id_format(&approval.id, request);
        memcpy(w->reason, approval.reason, sizeof w->reason); /* what was approved */
        const struct erasure_why why = {.by = in->session.user,
                                        .approver = approval.decided_by,
                                        .reason = approval.reason,
                                        .request = request};
        e = erasure_person(&w->batch, p, &person, &why, log_erased, w);
        if (e == ERR_CONFLICT)
            (void)snprintf(in->detail_ja, sizeof in->detail_ja,
                           "回答待ちの照会、または処理中の取込があります。先に済ませてから消去して"
                           "ください。");
    }
    person_wipe(&person);
    return e;
}

/* The partition is closed. */
static enum vrs_err settle_run(struct pool_job *job, struct partition *p) {
    struct inside_request *in = (struct inside_request *)job;
    struct erase *w = in->own;
    (void)p;
    enum vrs_err e = erasure_settle(&w->batch, job->municipality, job->worker_index, &job->fault);
    /* What is gone is gone: trouble here is an event, and the next one looks again. */
    (void)!erasure_scrub(&w->batch, job->municipality, &job->fault);
    return e;
}

static void erase_end(struct inside_request *in, enum vrs_err e) {
    struct erase *w = in->own;
    if (e == VRS_OK && !w->asked) {
        char id[33];
        record_id_format(&w->batch.stone[0].id, id);
        in->status = 204;
        (void)snprintf(in->location, sizeof in->location, "/v1/erasures/%s", id);
    }
    erasure_batch_fini(&w->batch);
    inside_answer(in, e);
}

static void settled(struct pool_job *job) {
    struct inside_request *in = (struct inside_request *)job;
    if (job->err != VRS_OK)
        log_fault(LOG_ERROR, "erasure.tombstone_not_written", &job->fault);
    erase_end(in, job->err);
}

static void erased(struct inside_request *in) {
    const struct erase *w = in->own;
    if (in->job.err != VRS_OK || w->asked) {
        erase_end(in, in->job.err);
        return;
    }
    in->job.run = settle_run;
    in->job.done = settled;
    enum vrs_err e = pool_submit_exclusive(in->server->pool, &in->job, true);
    if (e != VRS_OK)
        erase_end(in, e);
}

void residents_erase(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct erase *w = arena_alloc(http_arena(rq), sizeof *w);
    const char *reason = NULL;
    const struct json_field fields[] = {JF_STR("reason", false, 500, &reason), JF_END};
    in->act = "resident.erase";
    in->own = w;
    enum vrs_err e = w != NULL ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK && in->body != NULL)
        e = inside_read(in, fields);
    if (e == VRS_OK && (reason == NULL || reason[0] == '\0'))
        e = ERR_REASON_REQUIRED;
    if (e == VRS_OK)
        e = erasure_batch_init(in->server, &w->batch);
    if (e != VRS_OK) {
        inside_refuse(in, e);
        return;
    }
    w->in = in;
    (void)snprintf(w->reason, sizeof w->reason, "%s", reason);
    inside_step(in, in->session.municipality, 0, erase_run, erased);
}

/* --- records of erasures --- */

struct listing {
    json_t *list;
    uint64_t last;
    size_t count;
};

static json_t *view_head(const struct tombstone_head *h) {
    return json_pack("{s:s,s:I,s:s}", "epoch", h->epoch, "size", (json_int_t)h->size, "root",
                     h->root);
}

static json_t *view_counts(const struct tombstone *t) {
    json_t *o = json_object();
    for (int k = 0; k < ERASED_KIND_COUNT; k++) {
        if (t->count[k] > 0)
            (void)json_object_set_new(o, erased_kind_name((enum erased_kind)k),
                                      json_integer((json_int_t)t->count[k]));
    }
    return o;
}

static enum vrs_err add_erasure(struct tombstone *t, void *arg) {
    struct listing *l = arg;
    char id[33];
    record_id_format(&t->id, id);
    json_t *o = json_pack("{s:s,s:I,s:s,s:o,s:s,s:s,s:s,s:b,s:o,s:o,s:o}", "erasure_id", id,
                          "sequence", (json_int_t)t->sequence, "what",
                          t->what == TOMBSTONE_PARTITION ? "municipality" : "resident", "erased_at",
                          view_time(t->at_ms), "by", t->by, "approver", t->approver, "reason",
                          t->reason, "automatic", t->automatic, "counts", view_counts(t),
                          "log_before", view_head(&t->before), "log_after", view_head(&t->after));
    l->last = t->sequence;
    l->count++;
    return o != NULL && json_array_append_new(l->list, o) == 0 ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err list_run(struct inside_request *in, struct partition *p) {
    const char *cursor = http_query(in->rq, "after");
    struct listing l = {.list = json_array()};
    uint64_t after = 0;
    enum vrs_err e = VRS_OK;
    if (cursor != NULL && (!text_u64(&cursor, INT64_MAX, &after) || *cursor != '\0'))
        e = ERR_BAD_FIELD;
    if (e == VRS_OK)
        e = tombstone_list(p, after, LIST_PAGE, add_erasure, &l);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, l.count, "ok", NULL);
    json_t *o = e == VRS_OK ? json_pack("{s:O}", "erasures", l.list) : NULL;
    if (o != NULL && l.count == LIST_PAGE)
        (void)json_object_set_new(o, "next", json_sprintf("%llu", (unsigned long long)l.last));
    json_decref(l.list);
    return e == VRS_OK ? inside_json(in, o) : e;
}

void erasures_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "erasure.list";
    inside_run(in, list_run);
}

/* --- 消去証明書 --- */

static enum vrs_err answer_certificate(struct inside_request *in, const struct tombstone *t,
                                       struct buffer *text) {
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    char base64[4 * ((CRYPTO_SIGNATURE_BYTES + 2) / 3) + 1], key_id[9], id[33];
    record_id_format(&t->id, id);
    enum vrs_err e = signer_statement(in->server->signer[in->job.worker_index], "erasure",
                                      text->data, text->len, key_id, signature);
    if (e != VRS_OK)
        return e;
    crypto_base64(signature, sizeof signature, base64);
    return inside_json(in,
                       json_pack("{s:s,s:s,s:s,s:s,s:s}", "erasure_id", id, "kind", "erasure",
                                 "text", buffer_cstr(text), "key_id", key_id, "signature", base64));
}

static enum vrs_err certificate_run(struct inside_request *in, struct partition *p) {
    struct record_id id;
    struct tombstone t;
    struct buffer text;
    tombstone_init(&t);
    buffer_init(&text, TEXT_MAX_BYTES);
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = tombstone_get(p, &id, &t);
    if (e == VRS_OK)
        e = erasure_certificate(in->server, partition_code(p), &t, &text);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, &t.person, 1, 1, "ok", NULL);
    if (e == VRS_OK)
        e = answer_certificate(in, &t, &text);
    buffer_fini(&text);
    tombstone_fini(&t);
    return e;
}

void erasures_certificate(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "erasure.certificate";
    inside_run(in, certificate_run);
}
