/* What goes by itself when its time has come, each municipality on its own worker:
 *   orphans   numbers that were put before a record whose commit then failed or was cut off by a
 *             crash (put-before-record); once a start, a page a job.  An import puts and links a
 *             number in one job, so none that is between the two is taken for an orphan; and what
 *             was erased by a transaction that may still be undone is none yet
 *   leftovers uploaded files that nobody has committed (policy import_staged: 7 days), and keys of
 *             requests after their 90 days, passwords of applications that lapsed; at the start
 *             and now and then */
#ifndef VRS_SERVER_KEEPING_SWEEP_H
#define VRS_SERVER_KEEPING_SWEEP_H

#include "vrs-server/server.h"

void sweep_orphans(struct server *server);
void sweep_leftovers(struct server *server);

#endif
