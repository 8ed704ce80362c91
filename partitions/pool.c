/* A worker takes all that is queued (of what can wait, one partition's), and for each partition in it:
 *
 *   find handle (open, or recover a suspect one) ─► begin
 *     each job: savepoint ─► run ─┬─ VRS_OK ─► release
 *                                 └─ else ───► rollback_to: that job alone is undone
 *   ─► commit ─► its outcome is every remaining job's outcome ─► committed, where a job has one: the
 *   options', then each job's ─► done on the loop ─► the options' committed, a little later
 *
 * While a commit waits for the disk the next jobs queue up: that is the whole group commit.  A
 * storage error inside a group undoes the group: all its jobs are ERR_STORAGE.
 *
 * Invariant: a job's err is VRS_OK only after the commit that holds it answered VRS_OK. */
#include "partitions/pool.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metric.h"

enum {
    BUCKETS = 256,
    WORKERS_MAX = 16,
    GROUP_MAX = 256,
    LOOKED_THROUGH = GROUP_MAX,
    WARM_AT_ONCE = 4
};
enum { FAVOURED = 2 /* of each worker: used again and again, they may hold more memory */ };

/* Set by the pool in pool_job.flags. */
enum { JOB_EXCLUSIVE = 1 << 16, JOB_CLOSED = 1 << 17 };

/* An open partition, on its worker's bucket list and on its list by last use. */
struct handle {
    struct partition *partition;
    char municipality[7];
    bool again;  /* it was among the last used before */
    bool wanted; /* somebody has waited for something here: in others work in the background, which
                    goes through the whole nation, leaves no cache behind */
    struct handle *next;
    struct handle *newer;
    struct handle *older;
    bool behind; /* options.committed is to follow its last commit; it is on the worker's list */
    struct handle *next_behind;
};

/* A municipality whose partition has been open. */
struct known {
    char municipality[7];
    struct known *next;
};

struct pool_worker {
    struct pool *pool;
    struct worker *worker;
    unsigned index;
    /* all below: the worker's thread only */
    struct handle *buckets[BUCKETS];
    struct known *known[BUCKETS];
    struct handle *newest;
    struct handle *oldest;
    size_t open;
    struct worker_job *later; /* POOL_LATER, in order */
    struct worker_job **later_end;
    struct handle *behind;
    int64_t behind_until_ms;
};

struct warming {
    struct pool_job job; /* first */
    struct pool *pool;
};

struct pool {
    struct pool_options options;
    char *dir;
    struct pool_worker workers[WORKERS_MAX];
    bool closing; /* loop thread */
    atomic_size_t open;
    /* pool_warm: loop thread */
    char (*warm_codes)[7];
    size_t warm_count;
    size_t warm_next;
    size_t warm_flying;
    struct warming warm[WARM_AT_ONCE];
};

#define COMMITS(outcome)                                                                           \
    {                                                                                              \
        .name = "vrs_partition_commits_total", .help = "Commits of partitions by outcome",         \
        .label = "outcome=\"" outcome "\"", .type = METRIC_COUNTER                                 \
    }
static struct metric commits_acked = COMMITS("acked");
static struct metric commits_failed = COMMITS("not_stored");
static struct metric commits_unknown = COMMITS("unknown");
static struct metric commit_seconds = {.name = "vrs_partition_commit_seconds",
                                       .help = "How long a commit of a partition took",
                                       .type = METRIC_HISTOGRAM};
static struct metric jobs_total = {.name = "vrs_partition_jobs_total",
                                   .help = "Jobs run in partitions; over commits: jobs a commit",
                                   .type = METRIC_COUNTER};
static struct metric open_partitions = {
    .name = "vrs_partitions_open", .help = "Partitions open now", .type = METRIC_GAUGE};
static struct metric recoveries_total = {
    .name = "vrs_partition_recoveries_total",
    .help = "Partitions reopened and fully checkpointed after a failed write or fsync",
    .type = METRIC_COUNTER};

/* ---- open handles of a worker */

static unsigned hash_of(const char *municipality) {
    uint32_t h = 2166136261U; /* FNV-1a: neighbouring codes spread over the workers */
    for (; *municipality != '\0'; municipality++)
        h = (h ^ (uint8_t)*municipality) * 16777619U;
    return h ^ h >> 16;
}

static unsigned bucket_of(const char *municipality) {
    return hash_of(municipality) / WORKERS_MAX % BUCKETS;
}

static bool is_known(const struct pool_worker *w, const char *municipality) {
    const struct known *k = w->known[bucket_of(municipality)];
    while (k != NULL && strcmp(k->municipality, municipality) != 0)
        k = k->next;
    return k != NULL;
}

static enum vrs_err now_known(struct pool_worker *w, const char *municipality) {
    struct known **head = &w->known[bucket_of(municipality)], *k = malloc(sizeof *k);
    if (k == NULL)
        return ERR_MEMORY;
    memcpy(k->municipality, municipality, sizeof k->municipality);
    k->next = *head;
    *head = k;
    return VRS_OK;
}

static void forget_known(struct pool_worker *w) {
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct known *k = w->known[i], *next; k != NULL; k = next) {
            next = k->next;
            free(k);
        }
    }
}

static struct handle **place_of(struct pool_worker *w, const char *municipality) {
    struct handle **at = &w->buckets[bucket_of(municipality)];
    while (*at != NULL && strcmp((*at)->municipality, municipality) != 0)
        at = &(*at)->next;
    return at;
}

static void unlink_use(struct pool_worker *w, struct handle *h) {
    if (w->newest == h)
        w->newest = h->older;
    else
        h->newer->older = h->older;
    if (w->oldest == h)
        w->oldest = h->newer;
    else
        h->older->newer = h->newer;
}

static void link_newest(struct pool_worker *w, struct handle *h) {
    h->newer = NULL;
    h->older = w->newest;
    *(w->newest != NULL ? &w->newest->newer : &w->oldest) = h;
    w->newest = h;
}

/* After h became the newest: of the first FAVOURED in the list those that came there again and that
 * somebody has waited for are favoured, no others.  Work that goes through the whole nation favours
 * nothing. */
static void favour_newest(struct pool_worker *w, struct handle *h) {
    if (h->again && h->wanted)
        partition_favour(h->partition, true);
    struct handle *last = w->newest;
    for (int i = 0; last != NULL && i < FAVOURED; i++)
        last = last->older;
    if (last != NULL)
        partition_favour(last->partition, false);
}

static bool among_newest(const struct pool_worker *w, const struct handle *h) {
    const struct handle *at = w->newest;
    for (int i = 1; at != NULL && at != h && i < FAVOURED; i++)
        at = at->older;
    return at == h;
}

static void count_open(struct pool_worker *w, bool more) {
    w->open += more ? 1 : (size_t)-1;
    size_t n =
        more ? atomic_fetch_add(&w->pool->open, 1) + 1 : atomic_fetch_sub(&w->pool->open, 1) - 1;
    metric_set(&open_partitions, (int64_t)n);
}

/* ---- what follows commits */

static void follow(struct pool_worker *w, struct handle *h) {
    const struct pool_options *o = &w->pool->options;
    if (h->behind) {
        struct handle **at = &w->behind;
        while (*at != h)
            at = &(*at)->next_behind;
        *at = h->next_behind;
        h->behind = false;
    }
    if (o->committed != NULL && !partition_needs_recovery(h->partition))
        o->committed(h->partition, w->index, o->arg);
}

static void put_off(struct pool_worker *w, struct handle *h) {
    if (h->behind || w->pool->options.committed == NULL)
        return;
    if (w->behind == NULL)
        w->behind_until_ms = clock_mono_ms() + POOL_FOLLOW_MS;
    h->behind = true;
    h->next_behind = w->behind;
    w->behind = h;
}

/* What is left of the time, 0 when nothing is behind any more. */
static unsigned catch_up(struct pool_worker *w, bool at_once) {
    int64_t left = w->behind != NULL && !at_once ? w->behind_until_ms - clock_mono_ms() : 0;
    while (left <= 0 && w->behind != NULL) {
        struct handle *h = w->behind;
        follow(w, h);
        partition_upkeep(h->partition, !h->wanted);
    }
    return left > 0 ? (unsigned)left : 0;
}

static void close_handle(struct pool_worker *w, struct handle *h) {
    struct handle **at = place_of(w, h->municipality);
    assert(*at == h);
    if (h->behind)
        follow(w, h);
    *at = h->next;
    unlink_use(w, h);
    partition_close(&h->partition);
    free(h);
    count_open(w, false);
}

static enum vrs_err run_opened(struct pool_worker *w, struct partition *p,
                               struct vrs_fault *fault) {
    const struct pool_options *o = &w->pool->options;
    if (o->opened == NULL)
        return VRS_OK;
    bool first = !is_known(w, partition_code(p));
    enum vrs_err e = partition_begin(p);
    if (e == VRS_OK)
        e = o->opened(p, first, o->arg);
    if (e == VRS_OK)
        e = partition_commit(p);
    else
        partition_rollback(p);
    if (e == VRS_OK && first)
        e = now_known(w, partition_code(p));
    return e == VRS_OK ? e : err_fail(fault, e, "first look into partition %s", partition_code(p));
}

static enum vrs_err open_handle(struct pool_worker *w, const char *municipality, unsigned flags,
                                struct handle **out, struct vrs_fault *fault) {
    const struct pool_options *o = &w->pool->options;
    while (atomic_load(&w->pool->open) >= o->max_open && w->oldest != NULL)
        close_handle(w, w->oldest);
    struct handle *h = calloc(1, sizeof *h);
    if (h == NULL)
        return err_fail(fault, ERR_MEMORY, "open partition %s", municipality);
    memcpy(h->municipality, municipality, sizeof h->municipality);
    enum vrs_err e = partition_open(o->engine, w->pool->dir, municipality, o->keys,
                                    flags & POOL_CREATE ? STORE_CREATE : 0, &h->partition, fault);
    if (e == VRS_OK)
        e = run_opened(w, h->partition, fault);
    if (e != VRS_OK) {
        partition_close(&h->partition);
        free(h);
        if (e != ERR_NOT_FOUND)
            log_fault(LOG_ERROR, "partition.open_failed", fault);
        return e;
    }
    *place_of(w, municipality) = h;
    link_newest(w, h);
    count_open(w, true);
    *out = h;
    return VRS_OK;
}

/* The partition ready to work in: opened, and recovered if its last commit left it in doubt. */
static enum vrs_err ready_handle(struct pool_worker *w, const char *municipality, unsigned flags,
                                 struct handle **out, struct vrs_fault *fault) {
    struct handle *h = *place_of(w, municipality);
    if (h == NULL)
        return open_handle(w, municipality, flags, out, fault);
    h->again = among_newest(w, h);
    unlink_use(w, h);
    link_newest(w, h);
    if (partition_needs_recovery(h->partition)) {
        enum vrs_err e = partition_recover(h->partition, fault);
        if (e != VRS_OK) {
            log_fault(LOG_ERROR, "partition.recovery_failed", fault);
            return e == ERR_CORRUPT ? e : ERR_STORAGE;
        }
        put_off(w, h); /* what was stored before may not have been followed */
        metric_add(&recoveries_total, 1);
        log_event(LOG_WARN, "partition.recovered", LF_STR("municipality", municipality));
    }
    *out = h;
    return VRS_OK;
}

/* ---- running jobs */

struct group {
    struct pool_job *jobs[GROUP_MAX];
    size_t count;
};

static void finish(struct pool_worker *w, struct pool_job *job, enum vrs_err e,
                   const struct vrs_fault *fault) {
    job->err = e;
    if (fault != NULL)
        job->fault = *fault;
    worker_finish(w->worker, &job->job);
}

/* Runs one job in its savepoint.  Returns what the savepoint's own calls answered: not VRS_OK when
 * the transaction is lost. */
static enum vrs_err run_job(struct pool_job *job, struct partition *p) {
    enum vrs_err e = partition_savepoint(p);
    if (e != VRS_OK)
        return e;
    job->fault = (struct vrs_fault){0};
    job->err = job->run(job, p);
    return job->err == VRS_OK ? partition_release(p) : partition_rollback_to(p);
}

static enum vrs_err commit_group(struct partition *p, size_t jobs) {
    int64_t start = clock_mono_us();
    enum vrs_err e = partition_commit(p);
    metric_observe_us(&commit_seconds, clock_mono_us() - start);
    metric_add(&jobs_total, (int64_t)jobs);
    metric_add(e == VRS_OK        ? &commits_acked
               : e == ERR_UNKNOWN ? &commits_unknown
                                  : &commits_failed,
               1);
    return e;
}

static void tell_committed(struct pool_worker *w, struct group *g, struct handle *h) {
    bool waits = false;
    for (size_t i = 0; i < g->count; i++)
        waits |= g->jobs[i]->err == VRS_OK && g->jobs[i]->committed != NULL;
    if (waits)
        follow(w, h);
    else
        put_off(w, h);
    for (size_t i = 0; i < g->count; i++) {
        if (g->jobs[i]->err == VRS_OK && g->jobs[i]->committed != NULL)
            g->jobs[i]->committed(g->jobs[i], h->partition);
    }
}

static void run_group(struct pool_worker *w, struct group *g) {
    const char *municipality = g->jobs[0]->municipality;
    struct vrs_fault fault = {0};
    struct handle *h = NULL;
    enum vrs_err e = ready_handle(w, municipality, g->jobs[0]->flags, &h, &fault);
    for (size_t i = 0; h != NULL && h->behind && i < g->count; i++) {
        if (g->jobs[i]->flags & POOL_FOLLOWED)
            follow(w, h);
    }
    if (e == VRS_OK && h != NULL) {
        e = partition_begin(h->partition);
        for (size_t i = 0; e == VRS_OK && i < g->count; i++)
            e = run_job(g->jobs[i], h->partition);
        if (e == VRS_OK)
            e = commit_group(h->partition, g->count);
        else
            partition_rollback(h->partition);
        if (e != VRS_OK) {
            partition_engine(h->partition)->last_fault(partition_store(h->partition), &fault);
            log_fault(LOG_ERROR,
                      e == ERR_UNKNOWN ? "partition.commit_unknown" : "partition.commit_failed",
                      &fault);
            if (e != ERR_UNKNOWN && e != ERR_CORRUPT)
                e = ERR_STORAGE;
        }
    }
    if (e == VRS_OK && h != NULL)
        tell_committed(w, g, h);
    bool background = true;
    for (size_t i = 0; i < g->count; i++) {
        struct pool_job *job = g->jobs[i];
        background &= (job->flags & POOL_LATER) != 0;
        /* A job's own refusal stands only with the commit: it may rest on what others wrote. */
        finish(w, job, e == VRS_OK ? job->err : e, e == VRS_OK ? NULL : &fault);
    }
    worker_tell(w->worker);
    if (e == VRS_OK && h != NULL) {
        h->wanted |= !background;
        favour_newest(w, h);
        partition_upkeep(h->partition, !h->wanted);
    }
    g->count = 0;
}

static void run_exclusive(struct pool_worker *w, struct pool_job *job) {
    struct vrs_fault fault = {0};
    struct handle *h = *place_of(w, job->municipality);
    if (job->flags & JOB_CLOSED) {
        if (h != NULL)
            close_handle(w, h);
        finish(w, job, job->run(job, NULL), NULL);
        return;
    }
    enum vrs_err e = ready_handle(w, job->municipality, job->flags, &h, &fault);
    if (e == VRS_OK)
        finish(w, job, job->run(job, h->partition), NULL);
    else
        finish(w, job, e, &fault);
    if (e == VRS_OK)
        partition_upkeep(h->partition, !h->wanted); /* a backup of the nation reads all of it */
}

/* The first job that is left and all that may join it, in order: the same partition, up to the next
 * exclusive job.  A partition that is not open is opened as the first job asks, so one that may
 * create it does not join one that may not. */
static struct worker_job *take_group(struct pool_worker *w, struct worker_job *jobs,
                                     struct group *g) {
    bool open = *place_of(w, ((struct pool_job *)jobs)->municipality) != NULL;
    struct worker_job *left = NULL;
    struct worker_job **last = &left;
    bool closed = false; /* for this partition: later ones stay behind */
    for (struct worker_job *j = jobs, *next; j != NULL; j = next) {
        next = j->next;
        struct pool_job *job = (struct pool_job *)j;
        struct pool_job *first = g->count == 0 ? job : g->jobs[0];
        bool same = strcmp(job->municipality, first->municipality) == 0;
        bool alone = ((job->flags | first->flags) & JOB_EXCLUSIVE) != 0;
        bool creates = !open && ((job->flags & ~first->flags) & POOL_CREATE) != 0;
        bool joins = same && !closed && g->count < GROUP_MAX && !alone && !creates;
        if (g->count == 0 || joins) {
            g->jobs[g->count++] = job;
        } else {
            closed = closed || same;
            j->next = NULL;
            *last = j;
            last = &j->next;
        }
    }
    *last = NULL;
    return left;
}

/* Runs the first job's group; what is left. */
static struct worker_job *run_first(struct pool_worker *w, struct worker_job *jobs) {
    struct group g = {.count = 0};
    struct worker_job *left = take_group(w, jobs, &g);
    bool alone = (g.jobs[0]->flags & JOB_EXCLUSIVE) != 0; /* and long */
    (void)catch_up(w, alone);
    if (alone)
        run_exclusive(w, g.jobs[0]);
    else
        run_group(w, &g);
    return left;
}

/* Puts those that can wait behind the others that do; the rest. */
static struct worker_job *set_aside(struct pool_worker *w, struct worker_job *jobs) {
    struct worker_job *rest = NULL, **last = &rest;
    for (struct worker_job *j = jobs, *next; j != NULL; j = next) {
        bool waits = (((struct pool_job *)j)->flags & POOL_LATER) != 0;
        struct worker_job ***to = waits ? &w->later_end : &last;
        next = j->next;
        j->next = NULL;
        **to = j;
        *to = &j->next;
    }
    return rest;
}

/* Only so many are looked through for those of one partition: a nation's jobs, each of another one,
 * would be walked once for each.  What stands behind them. */
static struct worker_job *cut(struct worker_job *jobs) {
    for (int i = 1; i < LOOKED_THROUGH && jobs != NULL; i++)
        jobs = jobs->next;
    struct worker_job *rest = jobs != NULL ? jobs->next : NULL;
    if (jobs != NULL)
        jobs->next = NULL;
    return rest;
}

static void run_one_later(struct pool_worker *w) {
    struct worker_job *rest = cut(w->later), **end = &w->later;
    w->later = run_first(w, w->later);
    while (*end != NULL)
        end = &(*end)->next;
    *end = rest;
    if (rest == NULL)
        w->later_end = end;
}

static bool run_batch(struct worker *worker, struct worker_job *jobs, void *arg) {
    struct pool_worker *w = arg;
    bool idle = jobs == NULL && w->later == NULL;
    if (w->later == NULL)
        w->later_end = &w->later;
    jobs = set_aside(w, jobs);
    while (jobs != NULL) {
        struct worker_job *rest = cut(jobs);
        while (jobs != NULL)
            jobs = run_first(w, jobs);
        jobs = rest;
    }
    if (w->later != NULL)
        run_one_later(w);
    unsigned left = catch_up(w, idle);
    if (left > 0)
        worker_call_in(worker, left);
    return w->later != NULL;
}

/* ---- the loop's side */

static bool code_ok(const char *municipality) {
    return strnlen(municipality, 7) == 6 && strspn(municipality, "0123456789") == 6;
}

static void on_done(struct worker_job *j) {
    struct pool_job *job = (struct pool_job *)j;
    if (job->done != NULL)
        job->done(job);
}

enum vrs_err pool_submit(struct pool *p, struct pool_job *job) {
    if (p->closing)
        return ERR_BUSY;
    if (!code_ok(job->municipality))
        return ERR_NO_SUCH_MUNICIPALITY;
    struct pool_worker *w = &p->workers[hash_of(job->municipality) % p->options.workers];
    job->job.run = NULL;
    job->job.done = on_done;
    job->pool = p;
    job->worker_index = w->index;
    job->err = ERR_INTERNAL;
    job->fault = (struct vrs_fault){0};
    return worker_submit(w->worker, &job->job);
}

enum vrs_err pool_submit_exclusive(struct pool *p, struct pool_job *job, bool closed) {
    job->flags |= JOB_EXCLUSIVE | (closed ? JOB_CLOSED : 0U);
    return pool_submit(p, job);
}

static void path_of(const struct pool *p, const char *municipality, char *out, size_t cap) {
    (void)snprintf(out, cap, "%s/%s.db", p->dir, municipality);
}

void pool_each(struct pool *p, void (*each)(const char *municipality, void *arg), void *arg) {
    size_t cap = pool_list(p, NULL, 0);
    char(*codes)[7] = cap > 0 ? calloc(cap, sizeof *codes) : NULL;
    size_t n = codes != NULL ? pool_list(p, codes, cap) : 0;
    for (size_t i = 0; i < n && i < cap; i++)
        each(codes[i], arg);
    free(codes);
}

bool pool_exists(struct pool *p, const char *municipality) {
    if (!code_ok(municipality))
        return false;
    char path[4096];
    path_of(p, municipality, path, sizeof path);
    struct stat st;
    return stat(path, &st) == 0 && st.st_size > 0;
}

static int by_code(const void *a, const void *b) {
    return strcmp(a, b);
}

size_t pool_list(struct pool *p, char (*codes)[7], size_t cap) {
    DIR *dir = opendir(p->dir);
    if (dir == NULL)
        return 0;
    size_t count = 0;
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        char code[7];
        if (strlen(d->d_name) != 9 || strcmp(d->d_name + 6, ".db") != 0)
            continue;
        memcpy(code, d->d_name, 6);
        code[6] = '\0';
        if (!pool_exists(p, code))
            continue;
        if (count < cap)
            memcpy(codes[count], code, sizeof code);
        count++;
    }
    (void)closedir(dir);
    if (codes != NULL)
        qsort(codes, count < cap ? count : cap, sizeof *codes, by_code);
    return count;
}

size_t pool_open_files(const struct pool *p) {
    return atomic_load(&p->open);
}

/* ---- warming */

static enum vrs_err look(struct pool_job *job, struct partition *p) {
    (void)job;
    (void)p;
    return VRS_OK;
}

static void warm_more(struct warming *warming);

static void on_warmed(struct pool_job *job) {
    struct warming *warming = (struct warming *)job;
    struct pool *p = warming->pool;
    p->warm_flying--;
    warm_more(warming);
    if (p->warm_flying == 0) {
        log_event(LOG_INFO, "partition.warmed", LF_INT("partitions", p->warm_next),
                  LF_INT("of", p->warm_count));
        free(p->warm_codes);
        p->warm_codes = NULL;
    }
}

/* What does not fit into the queue is opened by its first use. */
static void warm_more(struct warming *warming) {
    struct pool *p = warming->pool;
    if (p->warm_next == p->warm_count)
        return;
    struct pool_job *job = &warming->job;
    *job = (struct pool_job){.flags = POOL_LATER, .run = look, .done = on_warmed};
    memcpy(job->municipality, p->warm_codes[p->warm_next], sizeof job->municipality);
    if (pool_submit(p, job) == VRS_OK) {
        p->warm_next++;
        p->warm_flying++;
    }
}

enum vrs_err pool_warm(struct pool *p) {
    if (p->warm_codes != NULL)
        return ERR_IN_PROGRESS;
    size_t cap = pool_list(p, NULL, 0);
    if (cap == 0)
        return VRS_OK;
    p->warm_codes = calloc(cap, sizeof *p->warm_codes);
    if (p->warm_codes == NULL)
        return ERR_MEMORY;
    size_t count = pool_list(p, p->warm_codes, cap);
    p->warm_count = count < cap ? count : cap;
    p->warm_next = 0;
    for (int i = 0; i < WARM_AT_ONCE; i++) {
        p->warm[i].pool = p;
        warm_more(&p->warm[i]);
    }
    if (p->warm_flying == 0) {
        free(p->warm_codes);
        p->warm_codes = NULL;
        return ERR_BUSY;
    }
    return VRS_OK;
}

/* ---- open and close */

enum vrs_err pool_open(struct event_base *base, const struct pool_options *o, struct pool **out,
                       struct vrs_fault *fault) {
    *out = NULL;
    if (o->workers < 1 || o->workers > WORKERS_MAX || strlen(o->dir) > 4000)
        return err_fail(fault, ERR_CONFIG, "partition pool: workers 1 to %d", WORKERS_MAX);
    if (mkdir(o->dir, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_STORAGE, "make %s", o->dir);
    struct pool *p = calloc(1, sizeof *p);
    if (p == NULL || (p->dir = strdup(o->dir)) == NULL) {
        free(p);
        return err_fail(fault, ERR_MEMORY, "partition pool");
    }
    p->options = *o;
    p->options.dir = p->dir;
    struct metric *shown[] = {&commits_acked, &commits_failed,  &commits_unknown, &commit_seconds,
                              &jobs_total,    &open_partitions, &recoveries_total};
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
        metric_register(shown[i]);
    for (unsigned i = 0; i < o->workers; i++) {
        struct pool_worker *w = &p->workers[i];
        char name[32];
        w->pool = p;
        w->index = i;
        (void)snprintf(name, sizeof name, "partition-%u", i);
        enum vrs_err e = worker_open(base, name, o->max_queued, run_batch, w, &w->worker);
        if (e != VRS_OK) {
            pool_close(&p);
            return err_fail(fault, e, "partition worker %u", i);
        }
    }
    *out = p;
    return VRS_OK;
}

void pool_close(struct pool **pool) {
    struct pool *p = *pool;
    if (p == NULL)
        return;
    p->closing = true;
    for (unsigned i = 0; i < p->options.workers; i++) {
        struct pool_worker *w = &p->workers[i];
        worker_close(&w->worker);
        while (w->newest != NULL)
            close_handle(w, w->newest);
        forget_known(w);
    }
    free(p->warm_codes);
    free(p->dir);
    free(p);
    *pool = NULL;
}
