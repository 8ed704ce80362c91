/* Sealed counters, kept in the transaction of what they count (a village of 156 is a record). */
#ifndef PARTITIONS_TALLY_H
#define PARTITIONS_TALLY_H

#include "partitions/partition.h"

/* `name` e.g. "doses/2021-07-01/1/comirnaty", "misses/2021-09-01/462012". */
VRS_CHECK enum vrs_err tally_add(struct partition *p, const char *name, int64_t n);
VRS_CHECK enum vrs_err tally_get(struct partition *p, const char *name,
                                 int64_t *out); /* 0 absent */
typedef enum vrs_err tally_fn(const char *name, int64_t value, void *arg);
VRS_CHECK enum vrs_err tally_walk(struct partition *p, const char *prefix, tally_fn *fn, void *arg);
/* Many additions of one batch with one read and one seal a counter: collect, then flush. */
struct tally_batch;
struct tally_batch *tally_batch_open(void);
void tally_batch_close(struct tally_batch **b);
void tally_batch_add(struct tally_batch *b, const char *name, int64_t n);
VRS_CHECK enum vrs_err tally_batch_flush(struct tally_batch *b, struct partition *p);

#endif
