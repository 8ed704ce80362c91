/* The access log is kept for the years of the policy (data/policies.json "access_log", never fewer
 * than LOG_KEEP_YEARS) and then purged, with its hashes kept, each purge an entry (C62). */
#ifndef VRS_SERVER_LOG_LOG_KEEP_H
#define VRS_SERVER_LOG_LOG_KEEP_H

#include "vrs-server/server.h"

/* Loop, every few seconds: looks at each log once a (Japanese) day. */
void log_keep_tick(struct server *s);

#endif
