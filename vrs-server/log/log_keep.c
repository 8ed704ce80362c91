#include "vrs-server/log/log_keep.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "partitions/access_log.h"
#include "vrs-server/inquiries/policy.h"

enum { TILES_AT_ONCE = 4 }; /* about a thousand entries a commit: others wait behind it */

struct keep {
    struct pool_job job; /* first */
    struct server *server;
    uint64_t purged; /* by this commit */
    uint64_t sum;
};

static enum vrs_err keep_run(struct pool_job *job, struct partition *p) {
    static const struct log_actor who = {.user = "system:retention", .source = "system"};
    struct keep *k = (struct keep *)job;
    int64_t years = policy_retention(k->server->policies, job->municipality, "access_log", "years");
    if (years < LOG_KEEP_YEARS)
        years = LOG_KEEP_YEARS;
    return access_log_purge(p, &who, (int)years, TILES_AT_ONCE, &k->purged);
}

static void keep_done(struct pool_job *job) {
    struct keep *k = (struct keep *)job;
    if (job->err == VRS_OK && k->purged > 0) {
        k->sum += k->purged;
        if (pool_submit(k->server->pool, job) == VRS_OK)
            return; /* there may be more */
    }
    if (job->err != VRS_OK)
        log_event(LOG_WARN, "log.purge_failed", LF_STR("municipality", job->municipality),
                  LF_ERR(job->err));
    if (k->sum > 0)
        log_event(LOG_INFO, "log.purged", LF_STR("municipality", job->municipality),
                  LF_INT("count", (int64_t)k->sum));
    free(k);
}

static void keep_one(const char *municipality, void *arg) {
    struct server *s = arg;
    struct keep *k = calloc(1, sizeof *k);
    if (k == NULL)
        return; /* looked at tomorrow */
    k->server = s;
    memcpy(k->job.municipality, municipality, sizeof k->job.municipality);
    k->job.flags = POOL_LATER;
    k->job.run = keep_run;
    k->job.done = keep_done;
    if (pool_submit(s->pool, &k->job) != VRS_OK)
        free(k);
}

void log_keep_tick(struct server *s) {
    static int32_t last = INT32_MIN; /* loop thread */
    struct civil_date today = clock_today_jst();
    if (today.days == last)
        return;
    last = today.days;
    pool_each(s->pool, keep_one, s);
}
