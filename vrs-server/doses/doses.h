/* What doses.c lends to reviews.c: changing a claim under a clerk's hand. */
#ifndef VRS_SERVER_DOSES_DOSES_H
#define VRS_SERVER_DOSES_DOSES_H

#include "partitions/claim.h"
#include "vrs-server/request.h"

/* The request's log entry, about the claim's person. */
VRS_CHECK enum vrs_err dose_log(struct inside_request *in, struct partition *p,
                                const struct claim *c, uint64_t count, const char *result,
                                const char *detail);
/* Answers with the dose and its version as ETag. */
VRS_CHECK enum vrs_err dose_answer(struct inside_request *in, const struct claim *c);
/* Who, when, why of the next version. */
void dose_changed(struct inside_request *in, struct claim *c, const char *reason);
/* The claim in force of a turn other than `except`: version 0 when there is none. */
VRS_CHECK enum vrs_err dose_in_force(struct partition *p, const struct coupon *turn,
                                     const struct record_id *except, struct claim *out);

#endif
