/* New keys in the background, for records, log and numbers: what `vrsctl keys.rotate` asked for and
 * what a restart has cut off.
 *
 * One municipality at a time, one small step a turn, and as long a pause after it as the step took
 * from order to commit: the busier its worker, the slower it goes.  What is under way stands in the
 * partitions and in vrs-number's files; what all municipalities are to do, in the registry.  Every
 * start looks at all of them, so nothing is left half done; a step that fails is repeated. */
#ifndef VRS_SERVER_OPERATION_ROTATION_H
#define VRS_SERVER_OPERATION_ROTATION_H

#include "lib/json.h"
#include "partitions/rotate.h"
#include "vrs-server/server.h"

/* What is ordered, a bit each. */
enum rotation_order {
    ROTATE_RECORDS_DATA = 1,
    ROTATE_RECORDS_INDEX = 2,
    ROTATE_LOG_DATA = 4,
    ROTATE_NUMBERS_DATA = 8,
    ROTATE_NUMBERS_INDEX = 16,
    ROTATE_KEKS = 32
};
/* `what` is kek, data or index, `area` records, log, numbers or "" for all that have it.  0: they
 * mean nothing. */
unsigned rotation_order(const char *what, const char *area);

struct rotations;
VRS_CHECK enum vrs_err rotations_open(struct server *s, struct rotations **out);
void rotations_close(struct rotations **r); /* behind pool_close: a turn may be under way */
/* At the start: looks at every municipality. */
void rotations_resume(struct rotations *r);
/* Goes on at one, whose order is in its files (rotation_begin); or, "all", as the registry says. */
void rotations_go_on(struct rotations *r, const char *municipality);
size_t rotations_waiting(const struct rotations *r); /* municipalities in the queue; any thread */

/* On the municipality's worker: what is ordered is under way when the job is committed. */
VRS_CHECK enum vrs_err rotation_begin(struct server *s, unsigned worker, struct partition *p,
                                      unsigned order, const char *by);
/* In the registry: every municipality is to do it.  ERR_IN_PROGRESS while another order is. */
VRS_CHECK enum vrs_err rotation_begin_all(struct partition *registry, unsigned order,
                                          const char *by);
/* The same as JSON; NULL without memory. `under_way` is set when something is. */
json_t *rotation_show(struct server *s, unsigned worker, struct partition *p, bool *under_way);
json_t *rotation_show_all(struct server *s, struct partition *registry, bool *under_way);

#endif
