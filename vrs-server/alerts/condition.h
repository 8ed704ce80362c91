/* What is looked at regularly and raised as an alert when it is not as it should be: free disk, the
 * line, what waits outside, certificates that end, the clock, vrs-number, and every partition's log
 * once a day.  Loop thread; a turn every 10 s, the log in the background of the workers. */
#ifndef VRS_SERVER_ALERTS_CONDITION_H
#define VRS_SERVER_ALERTS_CONDITION_H

#include "vrs-server/server.h"

struct conditions;

VRS_CHECK enum vrs_err conditions_open(struct server *s, struct conditions **out);
void conditions_close(struct conditions **c);

#endif
