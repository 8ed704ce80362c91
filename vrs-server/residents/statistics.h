/* The sums that prefectures and the nation see, kept for the day.  Loop thread. */
#ifndef VRS_SERVER_RESIDENTS_STATISTICS_H
#define VRS_SERVER_RESIDENTS_STATISTICS_H

#include "vrs-server/server.h"

struct statistics;

VRS_CHECK enum vrs_err statistics_open(struct server *s, struct statistics **out);
void statistics_close(struct statistics **s); /* after the pool */

#endif
