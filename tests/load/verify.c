#include "tests/load/verify.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "ocr-ingest/proof_keys.h"
#include "tests/load/journal.h"
#include "tests/load/login.h"
#include "tests/load/reply.h"

enum { TICK_MS = 5, PENDING_MS = 50, COMPLAINTS = 5, PROOF_OF = 16 };

enum state { UNASKED, ASKED, PENDING, FINAL, LOST };

struct receipt {
    const struct journal_entry *entry;
    bool prove; /* one of the sample */
    enum state state;
    int64_t not_before_ms;
    char outcome[JOURNAL_OUTCOME];
    char dose[40];
};

struct asker {
    struct verify *verify;
    struct conn *conn;
    struct receipt *receipt; /* NULL: idle */
    char header[512];
};

struct verify {
    const struct load_options *options;
    const struct conn_target *target;
    struct event_base *base;
    struct login *login;
    struct event *tick;
    struct journal_entry *entry;
    struct receipt *receipt;
    size_t count, first; /* before `first` all are settled */
    struct asker *asker;
    struct proof_keys keys; /* none: proofs are not looked at */
    int64_t give_up_ms;
    uint64_t asked, lost, changed, doubled, final, proven, bad_proofs;
    unsigned complaints;
};

static void complain(struct verify *v, const char *what, const struct receipt *r) {
    if (v->complaints++ < COMPLAINTS)
        (void)fprintf(stderr, "vrs-load: %s: receipt %s, told %s, now %s\n", what,
                      r->entry->receipt, r->entry->outcome, r->outcome);
}

/* What may still move: nothing else does, and these move once. */
static bool open_outcome(const char *name) {
    return strcmp(name, "pending") == 0;
}

static bool may_become(const char *told, const char *now) {
    return open_outcome(told) || strcmp(told, "waiting_for_coupon") == 0 || strcmp(told, now) == 0;
}

/* false: there is none yet. */
static bool look_at_proof(struct verify *v, const struct receipt *r,
                          const struct conn_reply *reply) {
    const struct load_options *o = v->options;
    struct log_proof proof;
    json_t *doc = NULL;
    const json_t *given = NULL;
    if (json_parse(reply->body, reply->len, &doc, NULL) == VRS_OK)
        given = json_object_get(doc, "proof");
    bool there = given != NULL && !json_is_null(given);
    const struct proof_statement s = {.receipt_id = r->entry->receipt,
                                      .dose_id = r->dose,
                                      .outcome = r->outcome,
                                      .ocr_line = r->entry->line,
                                      .status = "given",
                                      .vaccinated_on = r->entry->day,
                                      .product = o->product,
                                      .lot = o->lot};
    if (there && proof_from_json(given, &proof) == VRS_OK &&
        proof_keys_check(&v->keys, &proof, &s)) {
        v->proven++;
    } else if (there) {
        v->bad_proofs++;
        complain(v, "the proof does not hold", r);
    }
    json_decref(doc);
    return there;
}

static void look(struct verify *v, struct receipt *r, const struct conn_reply *reply) {
    char outcome[JOURNAL_OUTCOME];
    if (reply->status == 404) {
        r->state = LOST;
        v->lost++;
        complain(v, "lost", r);
    } else if (reply->status == 200 &&
               reply_member(reply->body, reply->len, "outcome", outcome, sizeof outcome)) {
        memcpy(r->outcome, outcome, sizeof r->outcome);
        (void)reply_member(reply->body, reply->len, "dose_id", r->dose, sizeof r->dose);
        r->state = open_outcome(outcome) ? PENDING : FINAL;
        if (r->state == FINAL && r->prove && !look_at_proof(v, r, reply))
            r->state = PENDING;
        r->not_before_ms = clock_mono_ms() + PENDING_MS;
        if (r->state != FINAL)
            return;
        v->final++;
        if (!may_become(r->entry->outcome, outcome)) {
            v->changed++;
            complain(v, "changed", r);
        }
    } else {
        r->state = UNASKED;
        r->not_before_ms = clock_mono_ms() + PENDING_MS;
    }
}

static struct receipt *next_receipt(struct verify *v) {
    int64_t now = clock_mono_ms();
    while (v->first < v->count &&
           (v->receipt[v->first].state == FINAL || v->receipt[v->first].state == LOST))
        v->first++;
    for (size_t i = v->first; i < v->count; i++) {
        struct receipt *r = &v->receipt[i];
        if ((r->state == UNASKED || r->state == PENDING) && r->not_before_ms <= now)
            return r;
        if (i - v->first > 4 * v->options->connections + 1000)
            break; /* the rest comes when these are settled */
    }
    return NULL;
}

static void ask(struct asker *a) {
    struct verify *v = a->verify;
    char request[1024];
    const char *header = login_header(v->login);
    a->receipt = header != NULL ? next_receipt(v) : NULL;
    if (a->receipt == NULL)
        return;
    a->receipt->state = ASKED;
    v->asked++;
    (void)snprintf(a->header, sizeof a->header, "%s", header);
    int n = snprintf(request, sizeof request, "GET /v1/doses/%s HTTP/1.1\r\nHost: %s\r\n%s\r\n",
                     a->receipt->entry->receipt, conn_target_authority(v->target), a->header);
    conn_send(a->conn, request, (size_t)n, (int64_t)v->options->timeout_ms);
}

static void on_reply(struct conn *c, const struct conn_reply *reply, void *arg) {
    struct asker *a = arg;
    struct receipt *r = a->receipt;
    (void)c;
    if (!reply->complete) {
        r->state = UNASKED;
        r->not_before_ms = clock_mono_ms() + PENDING_MS;
        a->receipt = NULL; /* the tick goes on */
        return;
    }
    if (reply->status == 401)
        login_lost(a->verify->login, a->header);
    look(a->verify, r, reply);
    ask(a);
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    struct verify *v = arg;
    bool idle = true;
    (void)fd;
    (void)what;
    for (size_t i = 0; i < v->options->connections; i++) {
        if (v->asker[i].receipt == NULL)
            ask(&v->asker[i]);
        idle = idle && v->asker[i].receipt == NULL;
    }
    if ((idle && v->first == v->count) || clock_mono_ms() > v->give_up_ms ||
        login_hopeless(v->login))
        (void)event_base_loopbreak(v->base);
}

/* --- none twice --- */

static int by_receipt(const void *a, const void *b) {
    const struct receipt *x = a, *y = b;
    return strcmp(x->entry->receipt, y->entry->receipt);
}

static int by_dose(const void *a, const void *b) {
    const struct receipt *x = a, *y = b;
    return strcmp(x->dose, y->dose);
}

/* A receipt stands for one key; it may be in the journal once only. */
static void find_doubled_receipts(struct verify *v) {
    qsort(v->receipt, v->count, sizeof *v->receipt, by_receipt);
    for (size_t i = 1; i < v->count; i++) {
        if (by_receipt(&v->receipt[i - 1], &v->receipt[i]) == 0) {
            v->doubled++;
            complain(v, "one receipt for two keys", &v->receipt[i]);
        }
    }
}

/* Each has a claim of its own, unless it says that it is another's duplicate. */
static void find_doubled_claims(struct verify *v) {
    const struct receipt *last = NULL;
    qsort(v->receipt, v->count, sizeof *v->receipt, by_dose);
    for (size_t i = 0; i < v->count; i++) {
        const struct receipt *r = &v->receipt[i];
        if (r->dose[0] == '\0' || strcmp(r->outcome, "duplicate") == 0)
            continue;
        if (last != NULL && by_dose(last, r) == 0) {
            v->doubled++;
            complain(v, "one claim for two receipts", r);
        }
        last = r;
    }
}

/* --- the run --- */

static enum vrs_err open_verify(struct verify *v, struct vrs_fault *fault) {
    const struct load_options *o = v->options;
    const struct timeval tick = {.tv_usec = TICK_MS * 1000};
    enum vrs_err e = journal_read(o->journal, &v->entry, &v->count, fault);
    if (e != VRS_OK)
        return e;
    v->receipt = calloc(v->count + 1, sizeof *v->receipt);
    v->asker = calloc(o->connections, sizeof *v->asker);
    v->base = event_base_new();
    if (v->receipt == NULL || v->asker == NULL || v->base == NULL)
        return err_fail(fault, ERR_MEMORY, "verify");
    for (size_t i = 0; i < v->count; i++)
        v->receipt[i].entry = &v->entry[i];
    find_doubled_receipts(v);
    if (o->log_keys != NULL) {
        e = proof_keys_load(&v->keys, o->log_keys, fault);
        if (e != VRS_OK)
            return e;
        for (size_t i = 0; i < v->count; i += PROOF_OF)
            v->receipt[i].prove = true;
    }
    v->tick = event_new(v->base, -1, EV_PERSIST, on_tick, v);
    if (v->tick == NULL || event_add(v->tick, &tick) != 0)
        return err_fail(fault, ERR_MEMORY, "verify");
    for (size_t i = 0; i < o->connections; i++) {
        v->asker[i].verify = v;
        v->asker[i].conn = conn_new(v->base, v->target, on_reply, &v->asker[i]);
        if (v->asker[i].conn == NULL)
            return err_fail(fault, ERR_MEMORY, "verify");
    }
    v->give_up_ms = clock_mono_ms() + (int64_t)(o->seconds + o->drain_s) * 1000;
    return login_open(v->base, v->target, o, &v->login, fault);
}

static void close_verify(struct verify *v) {
    for (size_t i = 0; v->asker != NULL && i < v->options->connections; i++)
        conn_free(v->asker[i].conn);
    login_close(&v->login);
    if (v->tick != NULL)
        event_free(v->tick);
    if (v->base != NULL)
        event_base_free(v->base);
    free(v->asker);
    free(v->receipt);
    free(v->entry);
}

enum vrs_err verify_run(const struct load_options *o, const struct conn_target *t, bool *ok,
                        struct vrs_fault *fault) {
    struct verify v = {.options = o, .target = t};
    enum vrs_err e = open_verify(&v, fault);
    *ok = false;
    if (e == VRS_OK) {
        (void)event_base_dispatch(v.base);
        uint64_t pending = v.count - v.final - v.lost;
        find_doubled_claims(&v);
        (void)printf("{\"receipts\":%zu,\"final\":%" PRIu64 ",\"lost\":%" PRIu64
                     ",\"pending\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"doubled\":%" PRIu64
                     ",\"asked\":%" PRIu64 ",\"proven\":%" PRIu64 ",\"bad_proofs\":%" PRIu64 "}\n",
                     v.count, v.final, v.lost, pending, v.changed, v.doubled, v.asked, v.proven,
                     v.bad_proofs);
        *ok = v.lost == 0 && pending == 0 && v.changed == 0 && v.doubled == 0 && v.bad_proofs == 0;
    }
    close_verify(&v);
    return e;
}
