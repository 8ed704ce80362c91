#include "vrs-server/keeping/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "partitions/exchange.h"
#include "partitions/person.h"
#include "vrs-server/accounts/account.h"
#include "vrs-server/inquiries/policy.h"
#include "vrs-server/residents/import_store.h"

struct sweep {
    struct pool_job job; /* first */
    struct server *server;
    struct partition *partition;
    struct record_id last, told; /* looked at so far; by this job */
    struct buffer alone, seen;   /* rows without a link: as of the last commit; in this job */
    uint64_t swept, erased;      /* so far; by this job */
    bool more;
};

/* Puts the row in `alone` unless it has a link. */
static enum vrs_err see_row(struct partition *p, const struct record_id *row,
                            struct buffer *alone) {
    struct record_id person;
    enum vrs_err e = number_link_person(p, row, &person);
    if (e != ERR_NOT_FOUND)
        return e;
    return buffer_put(alone, row->bytes, sizeof row->bytes) ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err see_listed(const struct record_id *row, void *arg) {
    struct sweep *s = arg;
    return see_row(s->partition, row, &s->seen);
}

/* Erasing cannot be undone, this transaction can: only what had no link in the last one, which is
 * committed, is erased, unless an import has taken it over since. */
static enum vrs_err erase_alone(struct sweep *s, struct number_client *client) {
    const struct record_id *row = (const struct record_id *)s->alone.data;
    struct buffer still;
    enum vrs_err e = VRS_OK;
    buffer_init(&still, NUMBER_MAX_MESSAGE);
    for (size_t i = 0; i < s->alone.len / sizeof *row && e == VRS_OK; i++)
        e = see_row(s->partition, &row[i], &still);
    if (e == VRS_OK)
        e = number_erase_many(client, s->job.municipality, &still);
    s->erased = e == VRS_OK ? still.len / sizeof *row : 0;
    buffer_fini(&still);
    return e;
}

static enum vrs_err sweep_run(struct pool_job *job, struct partition *p) {
    struct sweep *s = (struct sweep *)job;
    struct number_client *client = s->server->number[job->worker_index];
    s->partition = p;
    buffer_clear(&s->seen);
    s->told = s->last;
    s->more = false;
    enum vrs_err e = erase_alone(s, client);
    if (e == VRS_OK)
        e = number_list(client, job->municipality, &s->told, &s->more, see_listed, s);
    return e == ERR_NOT_FOUND ? VRS_OK : e; /* no number there yet */
}

static void sweep_done(struct pool_job *job) {
    struct sweep *s = (struct sweep *)job;
    enum vrs_err e = job->err;
    if (e == VRS_OK) {
        struct buffer done = s->alone;
        s->alone = s->seen;
        s->seen = done;
        s->last = s->told;
        s->swept += s->erased;
        bool over = !s->more && s->alone.len == 0;
        if (!over && (e = pool_submit(s->server->pool, job)) == VRS_OK)
            return;
    }
    if (e != VRS_OK) /* what is left is looked for at the next start */
        log_event(LOG_WARN, "number.sweep_failed", LF_STR("municipality", job->municipality),
                  LF_ERR(e));
    if (s->swept > 0)
        log_event(LOG_INFO, "number.orphans_swept", LF_STR("municipality", job->municipality),
                  LF_INT("count", (int64_t)s->swept));
    buffer_fini(&s->alone);
    buffer_fini(&s->seen);
    free(s);
}

static void sweep_one(const char *municipality, void *arg) {
    struct server *server = arg;
    if (strcmp(municipality, REGISTRY) == 0)
        return; /* nobody's number is there */
    struct sweep *s = calloc(1, sizeof *s);
    if (s == NULL)
        return; /* swept at the next start */
    s->server = server;
    buffer_init(&s->alone, NUMBER_MAX_MESSAGE);
    buffer_init(&s->seen, NUMBER_MAX_MESSAGE);
    (void)snprintf(s->job.municipality, sizeof s->job.municipality, "%s", municipality);
    s->job.flags = POOL_LATER;
    s->job.run = sweep_run;
    s->job.done = sweep_done;
    if (pool_submit(server->pool, &s->job) != VRS_OK)
        free(s);
}

void sweep_orphans(struct server *server) {
    pool_each(server->pool, sweep_one, server);
}

/* --- leftovers --- */

enum { DAY_MS = 86400000, KEY_DAYS = 90, KEYS_AT_ONCE = 2000 };

struct leftovers {
    struct pool_job job; /* first */
    int64_t staged_before_ms, keys_before_ms;
    uint64_t imports, keys, passwords;
};

static enum vrs_err leftovers_run(struct pool_job *job, struct partition *p) {
    struct leftovers *l = (struct leftovers *)job;
    enum vrs_err e = imports_sweep(p, l->staged_before_ms, &l->imports);
    if (e == VRS_OK)
        e = idempotency_purge(p, l->keys_before_ms, KEYS_AT_ONCE, &l->keys);
    l->passwords = 0;
    if (e == VRS_OK && strcmp(partition_code(p), REGISTRY) == 0)
        e = applications_wipe_lapsed(p, &l->passwords);
    return e;
}

static void leftovers_done(struct pool_job *job) {
    const struct leftovers *l = (const struct leftovers *)job;
    if (job->err != VRS_OK)
        log_event(LOG_WARN, "sweep.failed", LF_STR("municipality", job->municipality),
                  LF_ERR(job->err));
    else if (l->imports + l->keys + l->passwords > 0)
        log_event(LOG_INFO, "sweep.removed", LF_STR("municipality", job->municipality),
                  LF_INT("imports", l->imports), LF_INT("keys", l->keys),
                  LF_INT("passwords", l->passwords));
    free(job);
}

/* A policy may keep longer than the standard of the code, a request's key never shorter (rule 4). */
static int64_t before(const struct server *s, const char *municipality, const char *what,
                      int64_t standard, int64_t least) {
    int64_t days = policy_retention(s->policies, municipality, what, "days");
    days = days > 0 ? days : standard;
    return clock_now_ms() - (days > least ? days : least) * DAY_MS;
}

static void leftovers_of(const char *municipality, void *arg) {
    const struct server *server = arg;
    struct leftovers *l = calloc(1, sizeof *l);
    if (l == NULL)
        return; /* the next time */
    (void)snprintf(l->job.municipality, sizeof l->job.municipality, "%s", municipality);
    l->staged_before_ms = before(server, municipality, "import_staged", IMPORT_STAGED_DAYS, 1);
    l->keys_before_ms = before(server, municipality, "idempotency_key", KEY_DAYS, KEY_DAYS);
    l->job.flags = POOL_LATER;
    l->job.run = leftovers_run;
    l->job.done = leftovers_done;
    if (pool_submit(server->pool, &l->job) != VRS_OK)
        free(l);
}

void sweep_leftovers(struct server *server) {
    pool_each(server->pool, leftovers_of, server);
}
