/* The inside's end of the line: pulls the inbox, hands readings to apply.h in batches by
 * municipality, returns outcomes until tablet-api durably has them, pushes the snapshot, answers
 * coupon queries.  Loop thread; the work itself is pool jobs. */
#ifndef VRS_SERVER_DOSES_LINE_OUT_H
#define VRS_SERVER_DOSES_LINE_OUT_H

#include "partitions/claim.h"
#include "vrs-server/server.h"

VRS_CHECK enum vrs_err line_out_open(struct server *s, struct line_out **out,
                                     struct vrs_fault *fault);
void line_out_close(struct line_out **l);
/* Accounts, terminals or revocations changed: makes a new snapshot version and pushes it. */
void line_out_snapshot_changed(struct line_out *l);
/* A claim's outcome changed inside (settled, coupon registered): after the commit, from a pool
 * job's done, hand over what is unsent in that municipality. */
void line_out_kick(struct line_out *l, const char *municipality);
/* For vrsctl and readiness. */
int64_t line_out_seconds_since_pull(const struct line_out *l);
/* When the oldest entry that waits outside came, as of the last pull; 0 none. */
int64_t line_out_oldest_ms(const struct line_out *l);
/* After a restore: pulls all entries of one municipality again (replay), done on the loop. */
void line_out_replay(struct line_out *l, const char *municipality,
                     void (*done)(enum vrs_err e, uint64_t replayed, void *arg), void *arg);

#endif
