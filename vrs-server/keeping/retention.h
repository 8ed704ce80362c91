/* When records have been kept long enough (C123–C125).
 *
 * The clock starts at death, move-out or removal from the register; the years are the municipality's
 * setting, never fewer than the law's (data/policies.json: five).  0 years: nothing ends by itself.
 * With retention_automatic on, a daily run erases what has ended, a few at a time; otherwise it
 * stands in the work list and a person erases it. */
#ifndef VRS_SERVER_KEEPING_RETENTION_H
#define VRS_SERVER_KEEPING_RETENTION_H

#include "partitions/person.h"
#include "vrs-server/server.h"

enum { RETENTION_FLOOR_YEARS = 5 };

/* The first day on which the person's records may go; false: no such day is known. */
bool retention_ends(const struct person *p, int64_t years, struct civil_date *out,
                    const char **because_ja);
/* Loop, every minute: starts the run of each municipality once a (Japanese) day.  A run that a crash
 * cut off goes on the next time: what is erased is erased. */
void retention_tick(struct server *s);

#endif
