/* Outcomes on their way outward: queued, posted in batches, kept until tablet-api durably has them.
 * Loop thread. */
#ifndef VRS_SERVER_DOSES_LINE_OUTCOMES_H
#define VRS_SERVER_DOSES_LINE_OUTCOMES_H

#include "lib/client.h"
#include "tablet-api/line.h"
#include "vrs-server/server.h"

struct line_outcomes;

VRS_CHECK enum vrs_err line_outcomes_open(struct server *s, struct client *line,
                                          struct line_outcomes **out);
/* Before the client closes.  The struct lives on: pool jobs in flight still name it. */
void line_outcomes_stop(struct line_outcomes *l);
/* Of a committed entry.  Nothing is sent before line_outcomes_post. */
void line_outcomes_put(struct line_outcomes *l, const struct line_result *r);
void line_outcomes_post(struct line_outcomes *l);
/* An outcome that has no proof yet: it is marked in its partition first, so that no restart forgets
 * it, then told without, and once more with its proof when the signer is back. */
void line_outcomes_unproven(struct line_outcomes *l, const char *municipality,
                            const struct line_result *r);
/* Looks for outcomes that changed inside (marked unsent in the partition) and posts them.  `flags`:
 * POOL_LATER, or 0. */
void line_outcomes_find(struct line_outcomes *l, const char *municipality, unsigned flags);
bool line_outcomes_idle(const struct line_outcomes *l); /* nothing queued */

/* One POST of the line, and whether its answer is a plain 200. */
VRS_CHECK enum vrs_err line_post(struct client *c, const char *path, const struct buffer *body,
                                 int64_t timeout_ms, client_done_fn *done, void *arg);
bool line_reply_ok(const struct client_reply *r);
/* What the Internet side cannot store it says with 503: alert storage_failing. */
void line_watch(struct server *s, const struct client_reply *r);

#endif
