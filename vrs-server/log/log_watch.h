/* The logs of all municipalities, verified once a day in the background: entry by entry in slices, so that
 * other work goes on between them — the sequence has no gap, every entry opens in its place, and the
 * tree that follows from the entries has the root that the stored tiles give.  What does not verify
 * raises log_break.  (`vrsctl log.verify` looks at more, at once.) */
#ifndef VRS_SERVER_LOG_LOG_WATCH_H
#define VRS_SERVER_LOG_LOG_WATCH_H

#include "vrs-server/server.h"

struct log_watch;

/* NULL when out of memory.  Jobs in the pool name it: it lives until the process ends. */
struct log_watch *log_watch_open(struct server *s);
/* A round over all that have a file, unless one goes on. */
void log_watch_begin(struct log_watch *w);
void log_watch_turn(struct log_watch *w); /* now and then: goes on to the next */

#endif
