/* Questions of tablets for their municipality's coupon filter: whether they may have it, which filter
 * it is, and when a new one is made.  Loop thread. */
#ifndef VRS_SERVER_TERMINALS_FILTER_QUERY_H
#define VRS_SERVER_TERMINALS_FILTER_QUERY_H

#include "lib/crypto.h"
#include "tablet-api/line.h"
#include "vrs-server/server.h"

struct filter_queries;
struct line_queries;

/* `line` takes the answers; `opener`: one a worker, borrowed for as long as the process lives. */
VRS_CHECK enum vrs_err filter_queries_open(struct server *s, struct line_queries *line,
                                           struct crypto_opener *const *opener,
                                           struct filter_queries **out);
/* The query is copied. */
void filter_queries_take(struct filter_queries *f, const struct line_query *q);

#endif
