/* Orphans: numbers that were put before a record whose commit then failed or was cut off by a crash
 * (put-before-record).  Swept once at the start, on each municipality's own worker, so that no
 * import of that municipality can be between its put and its commit. */
#ifndef VRS_SERVER_SWEEP_H
#define VRS_SERVER_SWEEP_H

#include "vrs-server/server.h"

void sweep_orphans(struct server *server);

#endif
