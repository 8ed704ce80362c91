/* Irregular use in a stretch of the access log (C63): entries are fed in order, findings come out.
 * No I/O; one thread.  What it knows is what entries say; kinship or addresses of staff are no part
 * of it, so look-ups of relatives are left to the reviewer. */
#ifndef VRS_SERVER_LOG_LOG_REPORT_H
#define VRS_SERVER_LOG_LOG_REPORT_H

#include "partitions/access_log.h"
#include "vrs-server/log/log_rule.h"

enum { LOG_FINDING_SEQUENCES = 200 };

struct log_finding {
    enum log_rule rule;
    char user[64], terminal[64]; /* "-": not known */
    int64_t from_ms, to_ms;      /* first and last entry concerned */
    uint64_t count;              /* what the threshold is about */
    uint64_t total;              /* of how many; 0 where that means nothing */
    const uint64_t *sequence;    /* of the entries concerned */
    size_t sequences;            /* at most LOG_FINDING_SEQUENCES are named */
};

struct log_report;
/* Office hours by the clock of Japan: off from `off_from` to `off_to` (hours, 20 to 7).  Borrows
 * `rules`.  NULL: out of memory. */
struct log_report *log_report_open(struct log_rules *rules, int64_t off_from, int64_t off_to);
void log_report_close(struct log_report **r);
/* An entry; one that is not behind the last is passed over (a slice may be read twice). */
VRS_CHECK enum vrs_err log_report_add(struct log_report *r, const struct log_read *e);
typedef enum vrs_err log_finding_fn(const struct log_finding *f, void *arg);
/* By rule, then in order of time. */
VRS_CHECK enum vrs_err log_report_end(struct log_report *r, log_finding_fn *fn, void *arg);
uint64_t log_report_looked_at(const struct log_report *r);

#endif
