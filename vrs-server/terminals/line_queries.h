/* Questions of the Internet side (coupons:check, enrolment, renewal): asked in the pull's answer,
 * answered by a post.  Nothing of a question about a coupon is stored but its access log entry.  Loop thread. */
#ifndef VRS_SERVER_TERMINALS_LINE_QUERIES_H
#define VRS_SERVER_TERMINALS_LINE_QUERIES_H

#include "lib/client.h"
#include "lib/crypto.h"
#include "tablet-api/line.h"
#include "vrs-server/server.h"

struct line_queries;

/* `opener`: one a worker, borrowed for as long as the process lives. */
VRS_CHECK enum vrs_err line_queries_open(struct server *s, struct client *line,
                                         struct crypto_opener *const *opener,
                                         struct line_queries **out, struct vrs_fault *fault);
void line_queries_stop(struct line_queries *l);
/* An answer to the outside, with the next post; copied.  One that finds no room in the post is told
 * as busy. */
void line_queries_answer(struct line_queries *l, const struct line_answer *a);
/* The query is copied. */
void line_queries_take(struct line_queries *l, const struct line_query *q);

#endif
