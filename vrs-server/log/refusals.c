#include "vrs-server/log/refusals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "partitions/access_log.h"

enum { KINDS = 1024, WINDOW_MS = 300000 };

struct kind {
    char terminal[64];
    char municipality[7];
    enum vrs_err why;
    int64_t since_ms;
    unsigned entries;
    uint64_t more; /* without an entry */
};

struct refusals {
    struct server *server;
    struct kind kind[KINDS];
};

/* The counts of one kind on their way into the log. */
struct flush {
    struct pool_job job; /* first */
    struct kind kind;
};

enum vrs_err refusals_open(struct server *s, struct refusals **out) {
    struct refusals *r = calloc(1, sizeof *r);
    *out = r;
    if (r == NULL)
        return ERR_MEMORY;
    r->server = s;
    return VRS_OK;
}

void refusals_close(struct refusals **r) {
    free(*r);
    *r = NULL;
}

static enum vrs_err flush_run(struct pool_job *job, struct partition *p) {
    const struct kind *k = &((struct flush *)job)->kind;
    char detail[40];
    (void)snprintf(detail, sizeof detail, "more=%llu", (unsigned long long)k->more);
    const struct log_entry entry = {.actor = {.terminal = k->terminal, .source = "lgwan"},
                                    .act = "request.refused_many",
                                    .purpose = "operation",
                                    .result = err_name(k->why),
                                    .count = k->more,
                                    .detail = detail};
    return access_log_append(p, &entry, NULL);
}

static void flush_done(struct pool_job *job) {
    free(job);
}

static void flush(struct refusals *r, const struct kind *k) {
    struct flush *f = calloc(1, sizeof *f);
    if (f == NULL)
        return;
    f->kind = *k;
    memcpy(f->job.municipality, k->municipality, sizeof f->job.municipality);
    f->job.flags = POOL_CREATE;
    f->job.run = flush_run;
    f->job.done = flush_done;
    if (pool_submit(r->server->pool, &f->job) != VRS_OK)
        free(f);
}

static struct kind *find(struct refusals *r, const char *municipality, const char *terminal,
                         enum vrs_err why) {
    struct kind *oldest = &r->kind[0];
    for (size_t i = 0; i < KINDS; i++) {
        struct kind *k = &r->kind[i];
        if (k->entries > 0 && k->why == why && strcmp(k->terminal, terminal) == 0 &&
            strcmp(k->municipality, municipality) == 0)
            return k;
        if (k->since_ms < oldest->since_ms)
            oldest = k;
    }
    if (oldest->more > 0)
        flush(r, oldest);
    memset(oldest, 0, sizeof *oldest);
    (void)snprintf(oldest->terminal, sizeof oldest->terminal, "%s", terminal);
    (void)snprintf(oldest->municipality, sizeof oldest->municipality, "%s", municipality);
    oldest->why = why;
    return oldest;
}

bool refusals_take(struct refusals *r, const char *municipality, const char *terminal,
                   enum vrs_err why, unsigned most, uint64_t *more) {
    struct kind *k = find(r, municipality, terminal, why);
    int64_t now = clock_mono_ms();
    *more = 0;
    if (k->entries == 0 || now - k->since_ms >= WINDOW_MS) {
        *more = k->more;
        k->more = 0;
        k->entries = 0;
        k->since_ms = now;
    }
    if (k->entries >= most) {
        k->more++;
        return false;
    }
    k->entries++;
    return true;
}

void refusals_tick(struct refusals *r) {
    int64_t now = clock_mono_ms();
    for (size_t i = 0; i < KINDS; i++) {
        struct kind *k = &r->kind[i];
        if (k->more == 0 || now - k->since_ms < WINDOW_MS)
            continue;
        flush(r, k);
        memset(k, 0, sizeof *k);
    }
}
