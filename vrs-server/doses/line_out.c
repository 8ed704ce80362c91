#include "vrs-server/doses/line_out.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "tablet-api/line.h"
#include "vrs-server/accounts/snapshot.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/doses/line_entry.h"
#include "vrs-server/doses/line_outcomes.h"
#include "vrs-server/doses/prove.h"
#include "vrs-server/log/checkpoint.h"
#include "vrs-server/terminals/line_queries.h"
#include "vrs-server/terminals/terminal_list.h"

/* Invariants:
 *  L1  an entry is offered by the inbox until its outcome is durable there; we may see it again
 * after a restart or a lost answer, and apply.h answers the same. L2  nothing is dropped: a batch
 * whose commit failed or is unknown is submitted again.
 *  L3  what is for a town whose keys were destroyed (it left) is kept in the inbox and told to
 * people (town_gone); it is never tried. */

enum {
    MAX_IN_FLIGHT = 16000, /* entries pulled and not yet committed: above it pulling pauses */
    TOWN_BUCKETS = 512,
    RETRY_MS = 500,
};

/* What the proof of a result rests on, and where it stands. */
struct proving {
    struct apply_proof of;
    size_t at;
};

/* Entries of one municipality on their way through its partition. */
struct batch {
    struct pool_job job; /* first */
    struct line_out *line;
    struct town *town;
    struct batch *next; /* waiting for its turn, or to be tried again */
    struct line_entry *entry;
    struct line_result *result;
    struct proving *proving;
    size_t count, cap;
    struct buffer proofs; /* of the results, one behind the other */
    int64_t started_us;
    struct replay *replay; /* NULL: from the pull */
};

struct replay {
    struct line_out *line;
    char municipality[7];
    uint64_t after_seq, replayed;
    size_t batches;
    bool all_pulled;
    enum vrs_err err;
    void (*done)(enum vrs_err e, uint64_t replayed, void *arg);
    void *arg;
};

/* One batch of a municipality is at work; what comes meanwhile waits behind it and goes together,
 * in one commit. */
struct town {
    char municipality[7];
    bool busy; /* its batch is in the pool, or waits to be tried again */
    struct batch *first, **last;
    struct town *next; /* of the bucket */
};

struct line_out {
    struct server *server;
    struct client *client;
    struct crypto_opener *opener[SERVER_MAX_WORKERS];
    struct town *towns[TOWN_BUCKETS];
    struct event *retry; /* pull, failed batches and outcomes again */
    uint64_t after_seq;
    size_t in_flight;
    bool pulling, closing;
    uint64_t gone_seq; /* the last entry that was told to be for a town that left */
    int64_t last_pull_ms;
    int64_t oldest_ms; /* as line_out_oldest_ms */
    struct batch *failed;
    struct line_outcomes *outcomes;
    struct line_queries *queries;
    struct snapshot *snapshot;
};

#define PULLED(k)                                                                                  \
    {                                                                                              \
        .name = "vrs_line_entries_total", .help = "Inbox entries pulled",                          \
        .label = "kind=\"" k "\"", .type = METRIC_COUNTER                                          \
    }
static struct metric pulled_total[] = {
    [LINE_DOSE] = PULLED("dose"),
    [LINE_CANCEL] = PULLED("cancel"),
    [LINE_EVENT] = PULLED("event"),
};
static struct metric apply_us = {.name = "vrs_apply_seconds",
                                 .help = "From submitted to committed, a batch of one municipality",
                                 .type = METRIC_HISTOGRAM};
static struct metric depth_outside = {.name = "vrs_line_inbox_depth",
                                      .help = "Entries without outcome outside, as last told",
                                      .type = METRIC_GAUGE};

static void pull(struct line_out *l);

static void retry_later(struct line_out *l) {
    const struct timeval soon = {.tv_usec = RETRY_MS * 1000};
    (void)event_add(l->retry, &soon);
}

/* --- entries through the partitions --- */

static enum vrs_err batch_run(struct pool_job *job, struct partition *p) {
    struct batch *b = (struct batch *)job;
    struct line_work w;
    enum vrs_err e = line_work_open(&w, b->line->server, b->line->opener[job->worker_index], p,
                                    b->replay != NULL);
    for (size_t i = 0; i < b->count && e == VRS_OK; i++)
        e = line_entry_run(&w, &b->entry[i], &b->result[i], &b->proving[i].of);
    if (e == VRS_OK)
        e = tally_batch_flush(w.tally, p);
    line_work_close(&w);
    return e;
}

/* The commit stands, and its head is signed unless the signer is away. */
static void batch_committed(struct pool_job *job, struct partition *p) {
    struct batch *b = (struct batch *)job;
    buffer_clear(&b->proofs);
    for (size_t i = 0; i < b->count; i++) {
        struct proving *v = &b->proving[i];
        v->at = b->proofs.len;
        if (b->result[i].outcome != LINE_PENDING && prove_outcome(p, &v->of, &b->proofs))
            b->result[i].proof_len = b->proofs.len - v->at;
    }
    for (size_t i = 0; i < b->count; i++) {
        if (b->proofs.failed)
            b->result[i].proof_len = 0;
        if (b->result[i].proof_len > 0)
            b->result[i].proof = b->proofs.data + b->proving[i].at;
    }
}

static void batch_free(struct batch *b) {
    buffer_fini(&b->proofs);
    free(b->proving);
    for (size_t i = 0; i < b->count; i++) {
        void *sealed = (void *)(uintptr_t)b->entry[i].sealed; /* our own copy */
        free(sealed);
    }
    free(b->entry);
    free(b->result);
    free(b);
}

static void replay_step(struct replay *r);

/* To be tried again; its town's later ones stay behind it: a cancellation must not overtake its
 * dose. */
static void batch_put_off(struct batch *b) {
    b->next = b->line->failed;
    b->line->failed = b;
    retry_later(b->line);
}

static void batch_submit(struct batch *b) {
    b->job.err = VRS_OK;
    b->started_us = clock_mono_us();
    b->town->busy = true;
    if (pool_submit(b->line->server->pool, &b->job) != VRS_OK)
        batch_put_off(b);
}

static void town_next(struct town *t) {
    struct batch *b = t->first;
    t->busy = false;
    if (b == NULL)
        return;
    t->first = b->next;
    if (t->first == NULL)
        t->last = &t->first;
    b->next = NULL;
    batch_submit(b);
}

/* Each is listed once by a process, however often it is offered. */
static void tell_gone(struct line_out *l, const struct line_entry *e) {
    alert_state(l->server, "town_gone", e->municipality, true);
    if (e->seq <= l->gone_seq)
        return;
    l->gone_seq = e->seq;
    log_event(LOG_WARN, "line.town_gone", LF_STR("municipality", e->municipality),
              LF_HEX("receipt", e->receipt, 16));
}

/* Done with: its town's next one may go. */
static void batch_over(struct batch *b) {
    struct line_out *l = b->line;
    l->in_flight -= b->count;
    if (b->replay != NULL) {
        b->replay->batches--;
        replay_step(b->replay);
    }
    town_next(b->town);
    batch_free(b);
    line_outcomes_post(l->outcomes);
    pull(l);
}

static void batch_failed(struct batch *b) {
    struct line_out *l = b->line;
    struct pool_job *job = &b->job;
    if (keyring_ended(l->server->keys, job->municipality,
                      KEY_RECORDS)) { /* L3: it left meanwhile */
        for (size_t i = 0; i < b->count; i++)
            tell_gone(l, &b->entry[i]);
        batch_over(b);
        return;
    }
    log_fault(LOG_ERROR, "line.batch_failed", &job->fault); /* L2 */
    if (job->err != ERR_BUSY && job->err != ERR_MEMORY)
        alert_note(l->server, "storage_failing", job->municipality);
    batch_put_off(b);
}

static void batch_done(struct pool_job *job) {
    struct batch *b = (struct batch *)job;
    struct line_out *l = b->line;
    if (l->closing) {
        batch_free(b);
        return;
    }
    if (job->err != VRS_OK) {
        batch_failed(b);
        return;
    }
    bool cancelled = false;
    for (size_t i = 0; i < b->count; i++) {
        const struct line_result *r = &b->result[i];
        if (r->outcome == LINE_PENDING)
            continue;
        if (r->proof_len == 0 && b->proving[i].of.place.entry != 0)
            line_outcomes_unproven(l->outcomes, job->municipality, r);
        else
            line_outcomes_put(l->outcomes, r);
        cancelled |= b->result[i].outcome == LINE_CANCELLED;
    }
    if (cancelled) /* of a dose that waited for its coupon: its own receipt has become final */
        line_outcomes_find(l->outcomes, job->municipality, 0);
    metric_observe_us(&apply_us, clock_mono_us() - b->started_us);
    if (b->replay != NULL)
        b->replay->replayed += b->count;
    batch_over(b);
}

static void batches_free(struct batch **list) {
    while (*list != NULL) {
        struct batch *b = *list;
        *list = b->next;
        batch_free(b);
    }
}

static void town_drop(struct town *t) {
    batches_free(&t->first);
    t->last = &t->first;
}

/* Room for `more` entries behind those that are there. */
static bool batch_grow(struct batch *b, size_t more) {
    size_t cap = b->cap == 0 ? 16 : b->cap;
    while (cap < b->count + more)
        cap *= 2;
    if (cap == b->cap)
        return true;
    struct line_entry *entries = realloc(b->entry, cap * sizeof *entries);
    if (entries == NULL)
        return false;
    b->entry = entries;
    struct line_result *results = realloc(b->result, cap * sizeof *results);
    if (results == NULL)
        return false;
    b->result = results;
    struct proving *proving = realloc(b->proving, cap * sizeof *proving);
    if (proving == NULL)
        return false;
    b->proving = proving;
    b->cap = cap;
    return true;
}

/* Into the one that waits last, if they may go together. */
static bool batch_joins(struct batch *b) {
    struct town *t = b->town;
    struct batch *last = t->first;
    while (last != NULL && last->next != NULL)
        last = last->next;
    if (last == NULL || last->replay != b->replay || last->count + b->count > LINE_MAX_ENTRIES ||
        !batch_grow(last, b->count))
        return false;
    memcpy(last->entry + last->count, b->entry, b->count * sizeof *b->entry);
    last->count += b->count;
    if (b->replay != NULL)
        b->replay->batches--;
    b->count = 0; /* theirs now */
    batch_free(b);
    return true;
}

/* In the order in which they came. */
static void batch_queue(struct batch *b) {
    struct town *t = b->town;
    if (!t->busy) {
        batch_submit(b);
    } else if (!batch_joins(b)) {
        b->next = NULL;
        *t->last = b;
        t->last = &b->next;
    }
}

/* Entries of one answer, sorted into batches by municipality. */
struct sorter {
    struct line_out *line;
    struct replay *replay;
    struct batch *batches; /* by next */
    uint64_t last_seq;
    size_t count, of_kind[LINE_EVENT + 1];
};

static struct town *town_for(struct line_out *l, const char *municipality) {
    struct town **at = &l->towns[strtoul(municipality, NULL, 10) / 10 % TOWN_BUCKETS];
    while (*at != NULL && strcmp((*at)->municipality, municipality) != 0)
        at = &(*at)->next;
    if (*at == NULL && (*at = calloc(1, sizeof **at)) != NULL) {
        (void)snprintf((*at)->municipality, sizeof(*at)->municipality, "%s", municipality);
        (*at)->last = &(*at)->first;
    }
    return *at;
}

static struct batch *batch_for(struct sorter *s, const char *municipality) {
    struct town *t = town_for(s->line, municipality);
    for (struct batch *b = s->batches; b != NULL; b = b->next) {
        if (b->town == t)
            return b;
    }
    struct batch *b = t != NULL ? calloc(1, sizeof *b) : NULL;
    if (b == NULL)
        return NULL;
    b->line = s->line;
    b->town = t;
    b->replay = s->replay;
    b->job.run = batch_run;
    b->job.committed = batch_committed;
    b->job.done = batch_done;
    buffer_init(&b->proofs, (size_t)LINE_MAX_ENTRIES * LINE_MAX_PROOF);
    b->job.flags = POOL_CREATE;
    (void)snprintf(b->job.municipality, sizeof b->job.municipality, "%s", municipality);
    b->next = s->batches;
    s->batches = b;
    return b;
}

/* A partition is made for towns that there are.  Events stand in the log of their site's town, those
 * of none in the registry's, which takes nothing else.  NULL: no place. */
static const char *place_of(const struct line_out *l, const struct line_entry *e, bool *gone) {
    bool known = municipality_find(l->server->municipalities, e->municipality) != NULL;
    *gone = known && keyring_ended(l->server->keys, e->municipality, KEY_RECORDS);
    if (known && !*gone)
        return e->municipality;
    return e->kind == LINE_EVENT ? REGISTRY : NULL;
}

static enum vrs_err sort_entry(const struct line_entry *e, void *arg) {
    struct sorter *s = arg;
    s->count++;
    s->of_kind[e->kind]++;
    if (e->seq > s->last_seq)
        s->last_seq = e->seq;
    bool gone = false;
    const char *place = place_of(s->line, e, &gone);
    if (place == NULL && gone) { /* L3 */
        tell_gone(s->line, e);
        return VRS_OK;
    }
    if (place == NULL) { /* stays pending outside, like one that cannot be read */
        log_event(LOG_ERROR, "line.entry_without_place", LF_HEX("receipt", e->receipt, 16));
        line_entry_unreadable();
        alert_note(s->line->server, "line_unreadable", "tablet-api");
        return VRS_OK;
    }
    struct batch *b = batch_for(s, place);
    if (b == NULL)
        return ERR_MEMORY;
    if (!batch_grow(b, 1))
        return ERR_MEMORY;
    uint8_t *sealed = malloc(e->sealed_len);
    if (sealed == NULL)
        return ERR_MEMORY;
    memcpy(sealed, e->sealed, e->sealed_len);
    b->entry[b->count] = *e;
    b->entry[b->count++].sealed = sealed;
    return VRS_OK;
}

static void sorted_submit(struct sorter *s) {
    while (s->batches != NULL) {
        struct batch *b = s->batches;
        s->batches = b->next;
        b->next = NULL;
        s->line->in_flight += b->count;
        if (s->replay != NULL)
            s->replay->batches++;
        batch_queue(b);
    }
}

/* --- pulling --- */

static enum vrs_err take_query(const struct line_query *q, void *arg) {
    const struct sorter *s = arg;
    line_queries_take(s->line->queries, q);
    return VRS_OK;
}

static void pulled(const struct client_reply *r, void *arg) {
    struct line_out *l = arg;
    struct sorter s = {.line = l, .last_seq = l->after_seq};
    struct line_pulled_head head;
    l->pulling = false;
    if (!line_reply_ok(r) ||
        line_pulled_decode(r->body, r->len, &head, sort_entry, take_query, &s) != VRS_OK) {
        log_event(LOG_WARN, "line.pull_failed", LF_ERR(r->err), LF_INT("status", r->status));
        batches_free(&s.batches);
        retry_later(l);
        return;
    }
    l->last_pull_ms = clock_mono_ms();
    /* Entries wait outside and none of them is new to us, nor on its way: the inbox was replaced
     * and counts from the beginning, or an entry could not be read.  Once more from the start (L1).
     */
    bool lost_place =
        s.count == 0 && head.depth > 0 && l->in_flight == 0 && line_outcomes_idle(l->outcomes);
    l->after_seq = lost_place ? 0 : s.last_seq;
    for (size_t k = LINE_DOSE; k <= LINE_EVENT; k++)
        metric_add(&pulled_total[k], (int64_t)s.of_kind[k]);
    metric_set(&depth_outside, (int64_t)head.depth);
    l->oldest_ms = head.oldest_ms;
    sorted_submit(&s);
    snapshot_outside_has(l->snapshot, head.snapshot_version);
    pull(l);
}

static void pull(struct line_out *l) {
    if (l->pulling || l->closing || l->in_flight >= MAX_IN_FLIGHT)
        return;
    const struct server_config *c = &l->server->config;
    const struct line_pull ask = {.after_seq = l->after_seq,
                                  .max = (uint64_t)c->pull_max,
                                  .wait_ms = (uint64_t)c->pull_wait_ms};
    struct buffer body;
    buffer_init(&body, 1024);
    line_pull_encode(&ask, &body);
    if (line_post(l->client, "/line/v1/pull", &body, c->pull_wait_ms + 10000, pulled, l) == VRS_OK)
        l->pulling = true;
    else
        retry_later(l);
    buffer_fini(&body);
}

static void retry(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct line_out *l = arg;
    struct batch *again = l->failed;
    l->failed = NULL;
    while (again != NULL) {
        struct batch *b = again;
        again = b->next;
        b->next = NULL;
        batch_submit(b);
    }
    line_outcomes_post(l->outcomes);
    pull(l);
}

/* --- outcomes that changed inside --- */

void line_out_kick(struct line_out *l, const char *municipality) {
    line_outcomes_find(l->outcomes, municipality, 0);
}

/* A start looks through all of them: behind what somebody waits for. */
static void find_one(const char *municipality, void *arg) {
    const struct line_out *l = arg;
    line_outcomes_find(l->outcomes, municipality, POOL_LATER);
}

/* --- replay after a restore --- */

static void replay_end(struct replay *r, enum vrs_err e) {
    r->done(e, r->replayed, r->arg);
    free(r);
}

static void replay_page(const struct client_reply *reply, void *arg) {
    struct replay *r = arg;
    struct sorter s = {.line = r->line, .replay = r, .last_seq = r->after_seq};
    struct line_pulled_head head;
    if (!line_reply_ok(reply) ||
        line_pulled_decode(reply->body, reply->len, &head, sort_entry, NULL, &s) != VRS_OK) {
        batches_free(&s.batches);
        r->err = reply->err != VRS_OK ? reply->err : ERR_PROTOCOL;
        r->all_pulled = true;
        if (r->batches == 0)
            replay_end(r, r->err);
        return;
    }
    r->all_pulled = s.count == 0;
    r->after_seq = s.last_seq;
    sorted_submit(&s);
    replay_step(r);
}

static void replay_step(struct replay *r) {
    if (r->batches > 0)
        return;
    if (r->all_pulled) {
        replay_end(r, r->err);
        return;
    }
    struct line_replay ask = {.after_seq = r->after_seq, .max = LINE_MAX_ENTRIES};
    struct buffer body;
    memcpy(ask.municipality, r->municipality, sizeof ask.municipality);
    buffer_init(&body, 1024);
    line_replay_encode(&ask, &body);
    if (line_post(r->line->client, "/line/v1/replay", &body, 30000, replay_page, r) != VRS_OK)
        replay_end(r, ERR_INSIDE_AWAY);
    buffer_fini(&body);
}

void line_out_replay(struct line_out *l, const char *municipality,
                     void (*done)(enum vrs_err e, uint64_t replayed, void *arg), void *arg) {
    struct replay *r = calloc(1, sizeof *r);
    if (r == NULL) {
        done(ERR_MEMORY, 0, arg);
        return;
    }
    r->line = l;
    r->done = done;
    r->arg = arg;
    (void)snprintf(r->municipality, sizeof r->municipality, "%s", municipality);
    replay_step(r);
}

/* --- life --- */

enum vrs_err line_out_open(struct server *s, struct line_out **out, struct vrs_fault *fault) {
    const struct server_config *c = &s->config;
    const struct client_options to = {.base_url = c->line_url,
                                      .ca_file = c->line_ca_file,
                                      .cert_file = c->line_cert_file,
                                      .key_file = c->line_key_file,
                                      .max_reply_bytes = LINE_MAX_BODY,
                                      .max_connections = 4};
    struct line_out *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_MEMORY;
    struct secret_key key;
    l->server = s;
    l->last_pull_ms = clock_mono_ms();
    line_entry_show();
    for (size_t k = LINE_DOSE; k <= LINE_EVENT; k++)
        metric_register(&pulled_total[k]);
    metric_register(&apply_us);
    enum vrs_err e = snapshot_read_key(c->inbox_key_file, &key, fault);
    for (int64_t i = 0; i < c->workers && e == VRS_OK; i++) {
        l->opener[i] = crypto_opener_open(&key);
        e = l->opener[i] != NULL ? VRS_OK : ERR_MEMORY;
    }
    if (e == VRS_OK)
        e = client_open(s->base, &to, &l->client, fault);
    if (e == VRS_OK)
        e = snapshot_open(s, l->client, &key, &l->snapshot, fault);
    if (e == VRS_OK) {
        l->retry = event_new(s->base, -1, 0, retry, l);
        e = l->retry != NULL ? VRS_OK : ERR_MEMORY;
    }
    if (e == VRS_OK)
        e = line_outcomes_open(s, l->client, &l->outcomes);
    if (e == VRS_OK)
        e = line_queries_open(s, l->client, l->opener, &l->queries, fault);
    if (e == VRS_OK)
        e = checkpoints_start(s->checkpoints, l->client);
    secret_wipe(&key, sizeof key);
    if (e != VRS_OK) {
        struct line_out *failed = l;
        line_out_close(&l);
        for (int64_t i = 0; i < c->workers; i++)
            crypto_opener_close(&failed->opener[i]);
        free(failed); /* no job was given out yet */
        *out = NULL;
        return e;
    }
    *out = l;
    pool_each(s->pool, find_one, l);
    pull(l);
    return VRS_OK;
}

/* Stops talking; what is in the pool finishes there, and the inbox offers again what we did not
 * tell. The struct itself lives until the process ends: jobs in flight still name it. */
void line_out_close(struct line_out **lp) {
    struct line_out *l = *lp;
    if (l == NULL)
        return;
    l->closing = true;
    line_outcomes_stop(l->outcomes);
    line_queries_stop(l->queries);
    checkpoints_stop(l->server->checkpoints);
    snapshot_stop(l->snapshot);
    if (l->client != NULL)
        client_close(&l->client);
    if (l->retry != NULL)
        event_free(l->retry);
    for (size_t i = 0; i < TOWN_BUCKETS; i++)
        for (struct town *t = l->towns[i]; t != NULL; t = t->next)
            town_drop(t);
    *lp = NULL;
}

void line_out_snapshot_changed(struct line_out *l) {
    snapshot_changed(l->snapshot);
}

int64_t line_out_oldest_ms(const struct line_out *l) {
    return l->oldest_ms;
}

int64_t line_out_seconds_since_pull(const struct line_out *l) {
    return (clock_mono_ms() - l->last_pull_ms) / 1000;
}
