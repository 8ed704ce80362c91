#include "vrs-server/doses/line_outcomes.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/doses/prove.h"

/* Invariants:
 *  O1  an outcome stays queued until LINE_ACKED names it.
 *  O2  a waiting claim that became final is marked unsent in its partition until then, so that a
 *      crash here loses nothing; so is one whose proof could not be made yet. */

enum { RETRY_MS = 500, LOOK_AGAIN_S = 1, MAX_UNSENT = 500 };

/* An outcome that the outside does not have yet. */
struct pending {
    struct line_result result; /* its proof is a copy of our own */
    char municipality[7];      /* "" or: where the unsent mark is to be taken off */
    uint64_t version;          /* of the claim whose mark it is */
    bool sent;                 /* in the POST that is in flight */
};

struct mark_job {
    struct pool_job job; /* first */
    struct line_outcomes *line;
    size_t count;
    struct {
        uint8_t receipt[LINE_RECEIPT_BYTES];
        uint64_t version;
    } mark[];
};

struct unsent_job {
    struct pool_job job; /* first */
    struct line_outcomes *line;
    bool again; /* because of what was noted for later */
    bool tell;  /* also what lacks its proof: nobody has told it */
    size_t count, lacking;
    struct buffer proofs;
    struct line_result result[MAX_UNSENT];
    struct apply_proof of[MAX_UNSENT];
    size_t at[MAX_UNSENT]; /* of its proof */
    uint64_t version[MAX_UNSENT];
};

/* Outcomes of a municipality that have no proof yet: told once their marks are durable. */
struct unproven_job {
    struct pool_job job; /* first */
    struct line_outcomes *line;
    size_t count, cap;
    struct line_result *result;
    struct unproven_job *next;
};

/* A municipality whose marks are to be looked at again. */
struct later {
    char municipality[7];
    bool tell; /* as in struct unsent_job */
};

struct line_outcomes {
    struct server *server;
    struct client *client;
    struct event *retry, *look;
    struct unproven_job *collecting; /* to be marked with the next post */
    struct later *later;
    size_t later_count, later_cap;
    bool looking, timed; /* at the first of them, or soon */
    struct pending *pending;
    size_t pending_count, pending_cap;
    bool posting, closing;
};

enum vrs_err line_post(struct client *c, const char *path, const struct buffer *body,
                       int64_t timeout_ms, client_done_fn *done, void *arg) {
    const struct client_call call = {.method = "POST",
                                     .path = path,
                                     .content_type = LINE_CONTENT_TYPE,
                                     .body = body->data,
                                     .len = body->len,
                                     .timeout_ms = timeout_ms,
                                     .done = done,
                                     .arg = arg};
    return body->failed ? ERR_MEMORY : client_start(c, &call);
}

void line_watch(struct server *s, const struct client_reply *r) {
    if (r->err == VRS_OK && r->status == 503)
        alert_note(s, "storage_failing", "tablet-api");
}

bool line_reply_ok(const struct client_reply *r) {
    return r->err == VRS_OK && r->status == 200;
}

static void retry_later(struct line_outcomes *l) {
    const struct timeval soon = {.tv_usec = RETRY_MS * 1000};
    (void)event_add(l->retry, &soon);
}

static void retry(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    line_outcomes_post(arg);
}

static bool pending_add(struct line_outcomes *l, const struct line_result *r,
                        const char *municipality, uint64_t version) {
    if (l->pending_count == l->pending_cap) {
        size_t cap = l->pending_cap == 0 ? 256 : 2 * l->pending_cap;
        struct pending *grown = realloc(l->pending, cap * sizeof *grown);
        if (grown == NULL)
            return false;
        l->pending = grown;
        l->pending_cap = cap;
    }
    uint8_t *proof = r->proof_len > 0 ? malloc(r->proof_len) : NULL;
    if (r->proof_len > 0 && proof == NULL)
        return false;
    struct pending *p = &l->pending[l->pending_count++];
    memset(p, 0, sizeof *p);
    p->result = *r;
    p->result.proof = proof;
    if (proof != NULL)
        memcpy(proof, r->proof, r->proof_len);
    p->version = version;
    (void)snprintf(p->municipality, sizeof p->municipality, "%s", municipality);
    return true;
}

static void pending_drop(struct pending *p) {
    void *proof = (void *)(uintptr_t)p->result.proof; /* our own copy */
    free(proof);
}

static enum vrs_err mark_run(struct pool_job *job, struct partition *p) {
    struct mark_job *m = (struct mark_job *)job;
    for (size_t i = 0; i < m->count; i++) {
        enum vrs_err e = claim_mark_sent_version(p, m->mark[i].receipt, m->mark[i].version);
        if (e != VRS_OK && e != ERR_NOT_FOUND)
            return e;
    }
    return VRS_OK;
}

static void look_later(struct line_outcomes *l, const char *municipality, bool tell);

static void mark_done(struct pool_job *job) {
    const struct mark_job *m = (struct mark_job *)job;
    if (job->err != VRS_OK) { /* found soon, and handed over once more */
        log_fault(LOG_WARN, "line.mark_failed", &job->fault);
        look_later(m->line, job->municipality, false);
    }
    free(job);
}

/* Takes the unsent marks of acknowledged outcomes off, one job a municipality. */
static void mark_sent(struct line_outcomes *l, struct pending *done, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (done[i].municipality[0] == '\0')
            continue;
        struct mark_job *m = calloc(1, sizeof *m + (count - i) * sizeof m->mark[0]);
        if (m == NULL)
            return;
        m->line = l;
        m->job.run = mark_run;
        m->job.done = mark_done;
        memcpy(m->job.municipality, done[i].municipality, sizeof m->job.municipality);
        for (size_t j = i; j < count; j++) {
            if (strcmp(done[j].municipality, m->job.municipality) == 0) {
                memcpy(m->mark[m->count].receipt, done[j].result.receipt, LINE_RECEIPT_BYTES);
                m->mark[m->count++].version = done[j].version;
                done[j].municipality[0] = '\0';
            }
        }
        if (pool_submit(l->server->pool, &m->job) != VRS_OK) {
            look_later(l, m->job.municipality, false);
            free(m);
        }
    }
}

struct acked {
    struct line_outcomes *line;
    size_t at;
    struct pending *done;
    size_t count;
};

static void note_acked(const uint8_t receipt[LINE_RECEIPT_BYTES], void *arg) {
    struct acked *a = arg;
    struct line_outcomes *l = a->line;
    for (size_t n = 0; n < l->pending_count; n++) {
        size_t i = (a->at + n) % l->pending_count; /* mostly the very next one */
        struct pending *p = &l->pending[i];
        bool waits = p->sent && p->result.outcome != LINE_PENDING; /* named twice: once is enough */
        if (waits && memcmp(p->result.receipt, receipt, LINE_RECEIPT_BYTES) == 0) {
            a->done[a->count++] = *p;
            p->result.outcome = LINE_PENDING; /* acknowledged: swept below */
            a->at = i + 1;
            return;
        }
    }
}

static void outcomes_posted(const struct client_reply *r, void *arg) {
    struct line_outcomes *l = arg;
    struct acked acked = {.line = l};
    l->posting = false;
    acked.done = calloc(l->pending_count + 1, sizeof *acked.done);
    if (line_reply_ok(r) && acked.done != NULL &&
        line_acked_decode(r->body, r->len, note_acked, &acked) != VRS_OK)
        log_event(LOG_ERROR, "line.bad_answer", LF_STR("path", "outcomes"));
    size_t kept = 0;
    for (size_t i = 0; i < l->pending_count; i++) {
        if (l->pending[i].result.outcome == LINE_PENDING) {
            pending_drop(&l->pending[i]);
            continue;
        }
        l->pending[kept] = l->pending[i];
        l->pending[kept++].sent = false;
    }
    l->pending_count = kept;
    if (acked.done != NULL)
        mark_sent(l, acked.done, acked.count);
    free(acked.done);
    bool progress = line_reply_ok(r) && acked.count > 0;
    if (!line_reply_ok(r))
        log_event(LOG_WARN, "line.outcomes_failed", LF_ERR(r->err), LF_INT("status", r->status));
    line_watch(l->server, r);
    if (progress)
        line_outcomes_post(l);
    else
        retry_later(l);
}

static void mark_unproven(struct line_outcomes *l);

void line_outcomes_post(struct line_outcomes *l) {
    if (!l->closing)
        mark_unproven(l);
    if (l->posting || l->pending_count == 0 || l->closing)
        return;
    struct buffer body;
    buffer_init(&body, LINE_MAX_BODY);
    line_outcomes_begin(&body);
    for (size_t i = 0; i < l->pending_count && i < LINE_MAX_ENTRIES; i++) {
        line_outcomes_add(&l->pending[i].result, &body);
        l->pending[i].sent = true;
    }
    if (line_post(l->client, "/line/v1/outcomes", &body, 30000, outcomes_posted, l) == VRS_OK)
        l->posting = true;
    else
        retry_later(l);
    buffer_fini(&body);
}

/* --- what changed inside, or lacks its proof --- */

struct seeing {
    struct unsent_job *job;
    struct partition *partition;
};

static enum vrs_err see_unsent(struct claim *c, void *arg) {
    const struct seeing *s = arg;
    struct unsent_job *u = s->job;
    if (u->count == MAX_UNSENT)
        return VRS_OK;
    u->version[u->count] = c->version;
    apply_result_of(c, &u->result[u->count]);
    enum vrs_err e = apply_proof_of(s->partition, c, &u->result[u->count], &u->of[u->count]);
    u->count++;
    return e;
}

static enum vrs_err unsent_run(struct pool_job *job, struct partition *p) {
    struct unsent_job *u = (struct unsent_job *)job;
    struct seeing s = {.job = u, .partition = p};
    u->count = 0;
    return claims_unsent(p, MAX_UNSENT, see_unsent, &s);
}

static void unsent_committed(struct pool_job *job, struct partition *p) {
    struct unsent_job *u = (struct unsent_job *)job;
    u->lacking = 0;
    buffer_clear(&u->proofs);
    for (size_t i = 0; i < u->count; i++) {
        u->at[i] = u->proofs.len;
        if (prove_outcome(p, &u->of[i], &u->proofs))
            u->result[i].proof_len = u->proofs.len - u->at[i];
    }
    for (size_t i = 0; i < u->count; i++) {
        if (u->proofs.failed)
            u->result[i].proof_len = 0;
        if (u->result[i].proof_len > 0)
            u->result[i].proof = u->proofs.data + u->at[i];
        else
            u->lacking += u->of[i].place.entry != 0;
    }
}

/* The same outcome, queued already; NULL: it is not. */
static struct pending *pending_find(const struct line_outcomes *l, const struct line_result *r) {
    for (size_t i = 0; i < l->pending_count; i++) {
        if (memcmp(l->pending[i].result.receipt, r->receipt, LINE_RECEIPT_BYTES) == 0 &&
            l->pending[i].result.outcome == r->outcome &&
            (l->pending[i].result.proof_len > 0 || r->proof_len == 0))
            return &l->pending[i];
    }
    return NULL;
}

static void look_soon(struct line_outcomes *l) {
    const struct timeval soon = {.tv_sec = LOOK_AGAIN_S};
    if (l->later_count > 0 && !l->closing && !l->timed)
        l->timed = event_add(l->look, &soon) == 0;
}

/* Each second one municipality's marks are looked at again, until none is left. */
static void look_later(struct line_outcomes *l, const char *municipality, bool tell) {
    size_t i = 0;
    while (i < l->later_count && strcmp(l->later[i].municipality, municipality) != 0)
        i++;
    if (i == l->later_cap) {
        size_t cap = l->later_cap == 0 ? 16 : 2 * l->later_cap;
        struct later *grown = realloc(l->later, cap * sizeof *grown);
        if (grown == NULL)
            return; /* still marked: found at the next kick or start */
        l->later = grown;
        l->later_cap = cap;
    }
    if (i == l->later_count) {
        l->later[l->later_count++] = (struct later){0};
        (void)snprintf(l->later[i].municipality, sizeof l->later[i].municipality, "%s",
                       municipality);
    }
    l->later[i].tell |= tell;
    look_soon(l);
}

static void no_longer(struct line_outcomes *l, const char *municipality) {
    for (size_t i = 0; i < l->later_count; i++)
        if (strcmp(l->later[i].municipality, municipality) == 0) {
            l->later_count--;
            memmove(&l->later[i], &l->later[i + 1], (l->later_count - i) * sizeof *l->later);
            return;
        }
}

static void look_at(struct line_outcomes *l, const char *municipality, unsigned flags, bool again,
                    bool tell);

static void look_at_first(struct line_outcomes *l) {
    l->looking = true;
    look_at(l, l->later[0].municipality, POOL_LATER, true, l->later[0].tell);
}

/* What lacks its proof is told without it, once, and stays marked. */
static void unsent_done(struct pool_job *job) {
    struct unsent_job *u = (struct unsent_job *)job;
    struct line_outcomes *l = u->line;
    bool looked = job->err == VRS_OK && !l->closing;
    for (size_t i = 0; looked && i < u->count; i++) {
        const struct line_result *r = &u->result[i];
        bool lacks = r->proof_len == 0 && u->of[i].place.entry != 0;
        struct pending *queued = pending_find(l, r);
        if (queued == NULL && (!lacks || u->tell))
            (void)pending_add(l, r, lacks ? "" : job->municipality, u->version[i]);
        else if (queued != NULL && !lacks) { /* its mark goes when that one is acknowledged */
            memcpy(queued->municipality, job->municipality, sizeof queued->municipality);
            queued->version = u->version[i];
        }
    }
    if (u->again)
        l->looking = false;
    bool all = looked && u->lacking == 0 && u->count < MAX_UNSENT;
    if (!l->closing) {
        no_longer(l, job->municipality);
        if (!all && (looked || err_retryable(job->err)))
            look_later(l, job->municipality, !looked && u->tell); /* after the others */
        line_outcomes_post(l);
        if (u->again && all && l->later_count > 0)
            look_at_first(l); /* the signer is back: on with the next one */
        else
            look_soon(l);
    }
    buffer_fini(&u->proofs);
    free(u);
}

static void look_at(struct line_outcomes *l, const char *municipality, unsigned flags, bool again,
                    bool tell) {
    struct unsent_job *u = calloc(1, sizeof *u);
    if (u != NULL) {
        u->line = l;
        u->again = again;
        u->tell = tell;
        u->job.flags = flags;
        u->job.run = unsent_run;
        u->job.committed = unsent_committed;
        u->job.done = unsent_done;
        buffer_init(&u->proofs, (size_t)MAX_UNSENT * LINE_MAX_PROOF);
        (void)snprintf(u->job.municipality, sizeof u->job.municipality, "%s", municipality);
        if (pool_submit(l->server->pool, &u->job) == VRS_OK)
            return;
    }
    free(u);
    if (again)
        l->looking = false;
    look_later(l, municipality, tell);
}

void line_outcomes_find(struct line_outcomes *l, const char *municipality, unsigned flags) {
    look_at(l, municipality, flags, false, true);
}

static void unproven_free(struct unproven_job *u) {
    free(u->result);
    free(u);
}

static enum vrs_err unproven_run(struct pool_job *job, struct partition *p) {
    const struct unproven_job *u = (const struct unproven_job *)job;
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; e == VRS_OK && i < u->count; i++)
        e = claim_mark_unsent(p, u->result[i].receipt);
    return e;
}

static void unproven_done(struct pool_job *job) {
    struct unproven_job *u = (struct unproven_job *)job;
    struct line_outcomes *l = u->line;
    if (job->err != VRS_OK) /* those receipts stay without a proof unless they are asked again */
        log_fault(LOG_ERROR, "line.unproven_not_marked", &job->fault);
    else
        look_later(l, job->municipality, false);
    for (size_t i = 0; i < u->count; i++)
        line_outcomes_put(l, &u->result[i]);
    unproven_free(u);
    if (!l->posting && l->collecting == NULL)
        line_outcomes_post(l);
}

static void mark_unproven(struct line_outcomes *l) {
    while (l->collecting != NULL) {
        struct unproven_job *u = l->collecting;
        l->collecting = u->next;
        u->job.err = pool_submit(l->server->pool, &u->job);
        if (u->job.err != VRS_OK)
            unproven_done(&u->job);
    }
}

void line_outcomes_unproven(struct line_outcomes *l, const char *municipality,
                            const struct line_result *r) {
    struct unproven_job *u = l->collecting;
    while (u != NULL && strcmp(u->job.municipality, municipality) != 0)
        u = u->next;
    if (u == NULL && (u = calloc(1, sizeof *u)) != NULL) {
        u->line = l;
        u->job.run = unproven_run;
        u->job.done = unproven_done;
        (void)snprintf(u->job.municipality, sizeof u->job.municipality, "%s", municipality);
        u->next = l->collecting;
        l->collecting = u;
    }
    if (u != NULL && u->count == u->cap) {
        size_t cap = u->cap == 0 ? 64 : 2 * u->cap;
        struct line_result *grown = realloc(u->result, cap * sizeof *grown);
        if (grown == NULL)
            return;
        u->result = grown;
        u->cap = cap;
    }
    if (u != NULL)
        u->result[u->count++] = *r;
}

static void look_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct line_outcomes *l = arg;
    l->timed = false;
    if (!l->looking && l->later_count > 0)
        look_at_first(l);
}

void line_outcomes_put(struct line_outcomes *l, const struct line_result *r) {
    /* Out of memory: the inbox has no outcome and offers the entry again after a restart. */
    if (!pending_add(l, r, "", 0))
        log_plain(LOG_ERROR, "line.outcome_not_queued");
}

bool line_outcomes_idle(const struct line_outcomes *l) {
    return l->pending_count == 0;
}

enum vrs_err line_outcomes_open(struct server *s, struct client *line, struct line_outcomes **out) {
    struct line_outcomes *l = calloc(1, sizeof *l);
    *out = l;
    if (l == NULL)
        return ERR_MEMORY;
    l->server = s;
    l->client = line;
    l->retry = event_new(s->base, -1, 0, retry, l);
    l->look = event_new(s->base, -1, 0, look_again, l);
    return l->retry != NULL && l->look != NULL ? VRS_OK : ERR_MEMORY;
}

void line_outcomes_stop(struct line_outcomes *l) {
    if (l == NULL)
        return;
    l->closing = true;
    if (l->retry != NULL)
        event_free(l->retry);
    l->retry = NULL;
    if (l->look != NULL)
        event_free(l->look);
    l->look = NULL;
    while (l->collecting != NULL) {
        struct unproven_job *u = l->collecting;
        l->collecting = u->next;
        unproven_free(u);
    }
}
