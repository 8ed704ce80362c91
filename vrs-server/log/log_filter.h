/* Which entries of the access log are meant: ?from ?to (a Japanese day, or RFC 3339; both included)
 * ?user ?act ("dose." stands for all that begin so) ?result ?terminal ?after (a sequence). */
#ifndef VRS_SERVER_LOG_LOG_FILTER_H
#define VRS_SERVER_LOG_LOG_FILTER_H

#include "lib/http.h"
#include "partitions/access_log.h"

struct log_filter {
    int64_t from_ms, to_ms;                     /* to_ms excluded; INT64_MIN and INT64_MAX: open */
    const char *user, *act, *result, *terminal; /* of the request's arena; NULL any */
    uint64_t after;
    char text[300]; /* for the entry of the reading */
};

/* ERR_BAD_REQUEST, ERR_R110, ERR_R111. */
VRS_CHECK enum vrs_err log_filter_read(const struct http_request *rq, struct log_filter *out);
bool log_filter_passes(const struct log_filter *f, const struct log_read *e);
const char *log_filter_text(const struct log_filter *f); /* NULL: no filter */
/* A sequence behind which everything since `from_ms` stands, by halving: entries are in order of
 * time but for steps of the clock, of which up to two days are allowed for. */
VRS_CHECK enum vrs_err log_filter_seek(struct partition *p, int64_t from_ms, uint64_t *after);
/* "2021-07-01" (a day in Japan; its end when `end`) or RFC 3339. */
VRS_CHECK enum vrs_err log_filter_time(const char *text, bool end, int64_t *out);

#endif
