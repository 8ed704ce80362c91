/* What a receipt is told of its claim, and the log entry that commits to it (apply.c, A4): shared by
 * apply.c and cancel.c.  In the partition's transaction. */
#ifndef VRS_SERVER_DOSES_TOLD_H
#define VRS_SERVER_DOSES_TOLD_H

#include "partitions/person.h"
#include "vrs-server/doses/apply.h"

/* Among the reasons of a dose that is back, for review, because it was read again after it had been
 * cancelled. */
extern const char told_reinstated[];

bool told_has_receipt(const struct claim *c);
enum line_outcome told_outcome(const struct claim *c);
void told_count(enum line_outcome o); /* in the metrics */
/* What the entry of `c` commits to when it is told `r`. */
void told_commit(const struct claim *c, const struct line_result *r, struct merkle_hash *out);
/* Where the entry stands, if it commits to that. */
VRS_CHECK enum vrs_err told_place(struct partition *p, uint64_t entry, struct apply_proof *proof);
/* `told`: what the entry commits to, NULL nothing. */
VRS_CHECK enum vrs_err told_log(struct partition *p, const char *act, const struct claim *c,
                                const struct person *holder, const struct log_actor *who,
                                const char *result, const struct line_result *told,
                                struct apply_proof *proof);
/* The entry of what was decided, named by the claim, which is stored after it. */
VRS_CHECK enum vrs_err told_outcome_log(struct partition *p, const char *act, struct claim *c,
                                        const struct person *holder, const struct log_actor *who,
                                        struct apply_proof *proof);

#endif
