#include "tablet-api/inbox.h"

#include <event2/event.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metric.h"

enum {
    SEAL_EPOCH_MS = 60000,
    SEALED_MAX = 64 * 1024,
    PULL_BYTES = LINE_MAX_BODY - 128 * 1024, /* room for the head, the queries and one more entry */
    REPLAY_LOOK = 20000,
    PURGE_EVERY_MS = 10 * 60 * 1000,
    PURGE_ROWS = 500,
    MANY = 8, /* jobs at once: a commit then waits GATHER_US for more */
    GATHER_US = 500
};

struct inbox {
    struct inbox_db *db;
    struct worker *worker;
    struct crypto_sealer *sealer;
    struct buffer aad;
    struct buffer sealed;
    struct inbox_pull *waiting; /* the worker's */
    bool fresh;                 /* the transaction at work brought entries */
    bool dirty;                 /* … or changed the number of unsettled ones */
    uint64_t depth;             /* the worker's; the atomics below are for the loop */
    int64_t oldest_ms;
    size_t max_queued;
    int64_t retention_ms;
    int64_t purged_ms; /* monotonic */
    bool ack_before_commit;
    struct worker_job nudge;
    bool nudging;  /* the loop's: the one nudge job is under way … */
    bool nudge_on; /* … and another is wanted after it */
    _Atomic uint64_t depth_now;
    _Atomic int64_t oldest_now;
    _Atomic bool fit;
};

static struct metric m_commits = {.name = "vrs_inbox_commits_total",
                                  .help = "Group commits of the inbox",
                                  .type = METRIC_COUNTER,
                                  .registered = ATOMIC_FLAG_INIT};
static struct metric m_commit_seconds = {.name = "vrs_inbox_commit_seconds",
                                         .help = "From BEGIN to the end of COMMIT",
                                         .type = METRIC_HISTOGRAM,
                                         .registered = ATOMIC_FLAG_INIT};
static struct metric m_failed = {.name = "vrs_inbox_commits_failed_total",
                                 .help = "Group commits not stored or unknown",
                                 .type = METRIC_COUNTER,
                                 .registered = ATOMIC_FLAG_INIT};
static struct metric m_purged = {.name = "vrs_inbox_purged_total",
                                 .help = "Entries removed after their retention",
                                 .type = METRIC_COUNTER,
                                 .registered = ATOMIC_FLAG_INIT};
static struct metric m_depth = {.name = "vrs_inbox_pending_entries",
                                .help = "Entries without an outcome",
                                .type = METRIC_GAUGE,
                                .registered = ATOMIC_FLAG_INIT};

/* --- what a job does inside the transaction --- */

static enum vrs_err seal(struct inbox *in, struct inbox_put *p, struct line_entry *e) {
    if (in->sealer == NULL)
        return ERR_SNAPSHOT_OLD;
    buffer_clear(&in->aad);
    buffer_clear(&in->sealed);
    line_aad(e, &in->aad);
    if (p->plain.failed || in->aad.failed)
        return ERR_MEMORY;
    enum vrs_err err = crypto_sealer_seal(in->sealer, in->aad.data, in->aad.len, p->plain.data,
                                          p->plain.len, &in->sealed);
    if (err == VRS_OK && in->sealed.failed)
        err = ERR_MEMORY;
    e->sealed = in->sealed.data;
    e->sealed_len = in->sealed.len;
    return err;
}

static enum vrs_err run_put(struct inbox *in, struct inbox_job *job) {
    struct inbox_put *p = (struct inbox_put *)job;
    struct inbox_new n = {.entry = {.kind = p->kind, .received_ms = p->received_ms},
                          .terminal = p->terminal,
                          .key_hash = p->has_key ? p->key_hash : NULL,
                          .body_mac = p->has_key ? p->body_mac : NULL};
    memcpy(n.entry.receipt, p->receipt, sizeof n.entry.receipt);
    memcpy(n.entry.municipality, p->municipality, sizeof n.entry.municipality);
    p->existing = p->only_existing != VRS_OK;
    enum vrs_err e = VRS_OK;
    if (!p->existing)
        e = seal(in, p, &n.entry);
    if (e == VRS_OK && !p->existing)
        e = inbox_db_insert(in->db, &n, &p->existing);
    if (e != VRS_OK)
        return e;
    if (p->existing) {
        e = inbox_db_by_key(in->db, p->key_hash, &p->found);
        if (e == ERR_NOT_FOUND && p->only_existing != VRS_OK)
            return p->only_existing;
        if (e == VRS_OK && !p->any_body &&
            !secret_equal(p->found.body_mac, p->body_mac, sizeof p->found.body_mac))
            e = ERR_KEY_REUSED;
        return e;
    }
    memset(&p->found, 0, sizeof p->found);
    p->found.seq = n.entry.seq;
    p->found.kind = p->kind;
    p->found.received_ms = p->received_ms;
    memcpy(p->found.receipt, p->receipt, sizeof p->found.receipt);
    memcpy(p->found.municipality, p->municipality, sizeof p->found.municipality);
    in->depth++;
    in->fresh = true;
    in->dirty = true;
    return VRS_OK;
}

static enum vrs_err run_get(struct inbox *in, struct inbox_job *job) {
    struct inbox_get *g = (struct inbox_get *)job;
    enum vrs_err e = inbox_db_by_receipt(in->db, g->receipt, &g->found);
    if (e == VRS_OK && (strcmp(g->found.terminal, g->terminal) != 0 || g->found.kind == LINE_EVENT))
        e = ERR_NOT_FOUND;
    return e;
}

static enum vrs_err run_settle(struct inbox *in, struct inbox_job *job) {
    struct inbox_settle *s = (struct inbox_settle *)job;
    int64_t now = clock_now_ms();
    s->changed = 0;
    s->unknown = 0;
    for (size_t i = 0; i < s->count; i++) {
        enum inbox_change change = INBOX_SAME;
        enum vrs_err e = inbox_db_settle(in->db, &s->results[i], now, &change);
        if (e == ERR_NOT_FOUND)
            s->unknown++;
        else if (e != VRS_OK)
            return e;
        s->changed += change != INBOX_SAME;
        in->depth -= change == INBOX_SETTLED && in->depth > 0;
    }
    in->dirty = true;
    return VRS_OK;
}

static enum vrs_err add_pulled(const struct line_entry *e, void *arg) {
    struct inbox_pull *p = arg;
    if (p->entries.len + e->sealed_len > PULL_BYTES)
        return ERR_TOO_LARGE;
    line_pulled_entry(e, &p->entries);
    p->count++;
    return p->entries.failed ? ERR_MEMORY : VRS_OK;
}

static enum vrs_err collect(struct inbox *in, struct inbox_pull *p) {
    p->count = 0;
    enum vrs_err e = inbox_db_pending(in->db, p->after_seq, p->max, add_pulled, p);
    return e == ERR_TOO_LARGE && p->count > 0 ? VRS_OK : e;
}

static enum vrs_err run_pull(struct inbox *in, struct inbox_job *job) {
    return collect(in, (struct inbox_pull *)job);
}

static enum vrs_err add_replayed(const struct line_entry *e, void *arg) {
    struct inbox_replay *r = arg;
    if (r->count >= r->max || r->entries.len + e->sealed_len > PULL_BYTES)
        return ERR_TOO_LARGE;
    line_pulled_entry(e, &r->entries);
    r->count++;
    return r->entries.failed ? ERR_MEMORY : VRS_OK;
}

static enum vrs_err run_replay(struct inbox *in, struct inbox_job *job) {
    struct inbox_replay *r = (struct inbox_replay *)job;
    enum vrs_err e = inbox_db_replay(in->db, r->municipality, r->after_seq, REPLAY_LOOK,
                                     add_replayed, r, &r->last, &r->end);
    if (e == ERR_TOO_LARGE && r->count > 0) {
        r->end = true; /* the answer is full: the asker goes on from its last entry */
        e = VRS_OK;
    }
    return e;
}

static enum vrs_err run_publish(struct inbox *in, struct inbox_job *job) {
    struct inbox_publish *p = (struct inbox_publish *)job;
    return inbox_db_publish(in->db, p->version, p->text, p->len, p->signature);
}

/* --- the batch: one transaction for all that waited --- */

static void state_of_pull(const struct inbox *in, struct inbox_pull *p) {
    p->depth = in->depth;
    p->oldest_ms = in->oldest_ms;
}

static void finish(struct inbox *in, struct inbox_job *job) {
    if (job->run == run_put)
        buffer_fini(&((struct inbox_put *)job)->plain);
    if (job->run == run_publish && job->err == VRS_OK)
        job->err = inbox_seal_to(in, ((struct inbox_publish *)job)->inbox_key);
    if (job->run == run_pull)
        state_of_pull(in, (struct inbox_pull *)job);
    worker_finish(in->worker, &job->job);
}

static void finish_all(struct inbox *in, struct worker_job *jobs) {
    for (struct worker_job *j = jobs, *next; j != NULL; j = next) {
        next = j->next;
        finish(in, (struct inbox_job *)j);
    }
}

static void fail_all(struct worker_job *jobs, enum vrs_err e) {
    for (struct worker_job *j = jobs; j != NULL; j = j->next)
        ((struct inbox_job *)j)->err = e;
}

static bool purge_due(const struct inbox *in) {
    return in->retention_ms > 0 && clock_mono_ms() - in->purged_ms >= PURGE_EVERY_MS;
}

static enum vrs_err purge(struct inbox *in) {
    uint64_t removed = 0;
    enum vrs_err e =
        inbox_db_purge(in->db, clock_now_ms() - in->retention_ms, PURGE_ROWS, &removed);
    if (e == VRS_OK) {
        metric_add(&m_purged, (int64_t)removed);
        if (removed < PURGE_ROWS) /* else the next commit goes on */
            in->purged_ms = clock_mono_ms();
    }
    return e;
}

static void early_acknowledge(struct inbox *in, struct worker_job **jobs) {
#ifdef VRS_TEST_CONTROLS
    if (!in->ack_before_commit)
        return;
    /* Puts are handed back first: the mistake that the crash test must be able to see. */
    struct worker_job *kept = NULL;
    struct worker_job **tail = &kept;
    for (struct worker_job *j = *jobs, *next; j != NULL; j = next) {
        next = j->next;
        if (((struct inbox_job *)j)->run == run_put) {
            finish(in, (struct inbox_job *)j);
        } else {
            *tail = j;
            tail = &j->next;
        }
    }
    *tail = NULL;
    *jobs = kept;
    worker_tell(in->worker);
    (void)usleep(20000);
#else
    (void)in;
    (void)jobs;
#endif
}

/* Runs the jobs and commits.  On any error nothing of it is stored (or, ERR_UNKNOWN, may be). */
static enum vrs_err transact(struct inbox *in, struct worker_job **jobs,
                             struct inbox_pull **pulled) {
    struct vrs_fault fault = {0};
    enum vrs_err e = inbox_db_begin(in->db, &fault);
    /* Pulls come last, so that they see what this very commit brings. */
    for (int pulls = 0; pulls <= 1; pulls++) {
        for (struct worker_job *j = *jobs; e == VRS_OK && j != NULL; j = j->next) {
            struct inbox_job *job = (struct inbox_job *)j;
            if ((job->run == run_pull) != (pulls == 1))
                continue;
            job->err = job->run(in, job);
            if (job->err == ERR_STORAGE)
                e = ERR_STORAGE;
        }
    }
    if (e == VRS_OK && in->waiting != NULL && in->fresh) {
        e = collect(in, in->waiting) == VRS_OK ? VRS_OK : ERR_STORAGE;
        if (e == VRS_OK && in->waiting->count > 0)
            *pulled = in->waiting;
    }
    if (e == VRS_OK && purge_due(in))
        e = purge(in);
    if (e == VRS_OK && in->dirty)
        e = inbox_db_counts(in->db, NULL, &in->oldest_ms);
    if (e != VRS_OK) {
        inbox_db_rollback(in->db);
        return e;
    }
    early_acknowledge(in, jobs);
    e = inbox_db_commit(in->db, &fault);
    if (e != VRS_OK)
        log_fault(LOG_ERROR, "inbox.commit_failed", &fault);
    return e;
}

static void show_state(struct inbox *in) {
    atomic_store_explicit(&in->depth_now, in->depth, memory_order_relaxed);
    atomic_store_explicit(&in->oldest_now, in->oldest_ms, memory_order_relaxed);
    metric_set(&m_depth, (int64_t)in->depth);
}

/* From the file: at the start and after a recovery; between them the worker keeps count. */
static enum vrs_err count(struct inbox *in) {
    enum vrs_err e = inbox_db_begin(in->db, NULL);
    if (e == VRS_OK)
        e = inbox_db_counts(in->db, &in->depth, &in->oldest_ms);
    inbox_db_rollback(in->db);
    show_state(in);
    return e;
}

static bool recovered(struct inbox *in) {
    struct vrs_fault fault = {0};
    if (!inbox_db_unfit(in->db))
        return true;
    if (inbox_db_recover(in->db, &fault) != VRS_OK) {
        log_fault(LOG_ERROR, "inbox.recovery_failed", &fault);
        return false;
    }
    if (count(in) != VRS_OK)
        return false;
    log_plain(LOG_WARN, "inbox.recovered");
    return true;
}

static void end_waiting(struct inbox *in, enum vrs_err e) {
    struct inbox_pull *p = in->waiting;
    in->waiting = NULL;
    if (p == NULL)
        return;
    p->job.err = e;
    if (e != VRS_OK) {
        buffer_clear(&p->entries);
        p->count = 0;
    }
    finish(in, &p->job);
}

/* Takes pulls that found nothing out of a committed batch.  Beside a nudge none waits: the nudge
 * may have been meant for that very pull. */
static struct worker_job *keep_waiting(struct inbox *in, struct worker_job *jobs, bool nudged) {
    struct worker_job *rest = NULL;
    struct worker_job **tail = &rest;
    for (struct worker_job *j = jobs, *next; j != NULL; j = next) {
        next = j->next;
        struct inbox_job *job = (struct inbox_job *)j;
        if (job->run == run_pull) {
            end_waiting(in, VRS_OK); /* the inside asks anew: the old question is dead */
            struct inbox_pull *p = (struct inbox_pull *)job;
            if (p->wait && !nudged && job->err == VRS_OK && p->count == 0) {
                in->waiting = p;
                continue;
            }
        }
        *tail = j;
        tail = &j->next;
    }
    *tail = NULL;
    return rest;
}

static void run_batch(struct inbox *in, struct worker_job *jobs) {
    struct inbox_pull *pulled = NULL;
    bool nudged = false;
    struct worker_job *rest = NULL;
    struct worker_job **tail = &rest;
    for (struct worker_job *j = jobs, *next; j != NULL; j = next) {
        next = j->next;
        if (j == &in->nudge) {
            nudged = true;
            worker_finish(in->worker, j);
        } else {
            *tail = j;
            tail = &j->next;
        }
    }
    *tail = NULL;
    jobs = rest;
    if (nudged)
        end_waiting(in, VRS_OK);
    if (jobs == NULL)
        return;
    if (!recovered(in)) {
        atomic_store_explicit(&in->fit, false, memory_order_relaxed);
        fail_all(jobs, ERR_STORAGE);
        finish_all(in, jobs);
        return;
    }
    in->fresh = false;
    in->dirty = false;
    const uint64_t depth = in->depth;
    const int64_t begun = clock_mono_us();
    enum vrs_err e = transact(in, &jobs, &pulled);
    atomic_store_explicit(&in->fit, e == VRS_OK, memory_order_relaxed);
    if (e != VRS_OK) {
        in->depth = depth;
        metric_add(&m_failed, 1);
        if (pulled != NULL) {
            buffer_clear(&pulled->entries);
            pulled->count = 0;
        }
        fail_all(jobs, e);
        finish_all(in, jobs);
        return;
    }
    if (in->dirty) {
        metric_add(&m_commits, 1);
        metric_observe_us(&m_commit_seconds, clock_mono_us() - begun);
        show_state(in);
    }
    finish_all(in, keep_waiting(in, jobs, nudged));
    if (pulled != NULL && pulled == in->waiting)
        end_waiting(in, VRS_OK);
    worker_tell(in->worker); /* before the upkeep */
    inbox_db_tidy(in->db);
}

/* While many post at once a commit waits a moment for more of them: a commit costs a sync and
 * several wake-ups of other threads, a dose in it little. */
static bool batch(struct worker *w, struct worker_job *jobs, void *arg) {
    size_t n = 0;
    for (const struct worker_job *j = jobs; j != NULL; j = j->next)
        n++;
    worker_gather(w, n >= MANY ? GATHER_US : 0);
    run_batch(arg, jobs);
    return false;
}

/* --- opening, submitting --- */

enum vrs_err inbox_open(const struct inbox_options *o, struct inbox **out,
                        struct vrs_fault *fault) {
    *out = NULL;
    struct inbox *in = calloc(1, sizeof *in);
    if (in == NULL)
        return err_fail(fault, ERR_MEMORY, "inbox");
    buffer_init(&in->aad, 256);
    buffer_init(&in->sealed, SEALED_MAX);
    in->retention_ms = o->retention_ms;
    in->max_queued = o->max_queued;
    in->ack_before_commit = o->test_ack_before_commit;
    in->purged_ms = clock_mono_ms() - PURGE_EVERY_MS;
    atomic_init(&in->fit, true);
    metric_register(&m_commits);
    metric_register(&m_commit_seconds);
    metric_register(&m_failed);
    metric_register(&m_purged);
    metric_register(&m_depth);
    enum vrs_err e = inbox_db_open(o->path, &in->db, fault);
    if (e == VRS_OK && count(in) != VRS_OK)
        e = err_fail(fault, ERR_STORAGE, "inbox: count");
    if (e != VRS_OK) {
        inbox_close(&in);
        return e;
    }
    *out = in;
    return VRS_OK;
}

static void nudge_done(struct worker_job *job) {
    struct inbox *in = (struct inbox *)((char *)job - offsetof(struct inbox, nudge));
    in->nudging = false;
    if (in->nudge_on)
        inbox_nudge(in);
}

void inbox_nudge(struct inbox *in) {
    in->nudge_on = in->nudging;
    if (!in->nudging && worker_submit(in->worker, &in->nudge) == VRS_OK)
        in->nudging = true;
}

enum vrs_err inbox_start(struct inbox *in, struct event_base *base) {
    in->nudge.done = nudge_done;
    return worker_open(base, "inbox", SIZE_MAX, batch, in, &in->worker);
}

void inbox_close(struct inbox **inbox) {
    struct inbox *in = *inbox;
    if (in == NULL)
        return;
    if (in->worker != NULL) {
        inbox_nudge(in);
        worker_close(&in->worker);
    }
    inbox_db_close(&in->db);
    crypto_sealer_close(&in->sealer);
    buffer_fini(&in->aad);
    buffer_fini(&in->sealed);
    free(in);
    *inbox = NULL;
}

struct inbox_db *inbox_db_of(struct inbox *in) {
    return in->db;
}

enum vrs_err inbox_seal_to(struct inbox *in, const uint8_t key[CRYPTO_X25519_BYTES]) {
    struct crypto_sealer *s = crypto_sealer_open(key, SEAL_EPOCH_MS);
    if (s == NULL)
        return ERR_MEMORY;
    crypto_sealer_close(&in->sealer);
    in->sealer = s;
    return VRS_OK;
}

static enum vrs_err submit(struct inbox *in, struct inbox_job *job,
                           enum vrs_err (*run)(struct inbox *, struct inbox_job *),
                           void (*done)(struct worker_job *)) {
    job->run = run;
    job->job.done = done;
    return worker_submit(in->worker, &job->job);
}

enum vrs_err inbox_submit_put(struct inbox *in, struct inbox_put *p,
                              void (*done)(struct worker_job *)) {
    if (worker_queued(in->worker) >= in->max_queued)
        return ERR_BUSY;
    return submit(in, &p->job, run_put, done);
}

enum vrs_err inbox_submit_get(struct inbox *in, struct inbox_get *g,
                              void (*done)(struct worker_job *)) {
    return submit(in, &g->job, run_get, done);
}

enum vrs_err inbox_submit_settle(struct inbox *in, struct inbox_settle *s,
                                 void (*done)(struct worker_job *)) {
    return submit(in, &s->job, run_settle, done);
}

enum vrs_err inbox_submit_pull(struct inbox *in, struct inbox_pull *p,
                               void (*done)(struct worker_job *)) {
    return submit(in, &p->job, run_pull, done);
}

enum vrs_err inbox_submit_replay(struct inbox *in, struct inbox_replay *r,
                                 void (*done)(struct worker_job *)) {
    return submit(in, &r->job, run_replay, done);
}

enum vrs_err inbox_submit_publish(struct inbox *in, struct inbox_publish *p,
                                  void (*done)(struct worker_job *)) {
    return submit(in, &p->job, run_publish, done);
}

void inbox_state(const struct inbox *in, struct inbox_state *out) {
    out->depth = atomic_load_explicit(&in->depth_now, memory_order_relaxed);
    out->oldest_ms = atomic_load_explicit(&in->oldest_now, memory_order_relaxed);
    out->fit = atomic_load_explicit(&in->fit, memory_order_relaxed);
}
