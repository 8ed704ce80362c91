/* A reading becomes a claim: used by the line (tablets), by dose imports and by take-over.
 *
 * Runs inside the coupon municipality's transaction; appends one log entry a claim, counts, and
 * leaves the outcome to be handed over.  Never refuses what was acknowledged (rule 3). */
#ifndef VRS_SERVER_APPLY_H
#define VRS_SERVER_APPLY_H

#include "partitions/access_log.h"
#include "partitions/tally.h"
#include "tablet-api/line.h"
#include "vrs-server/rules.h"

struct server;

/* Fills and stores `c` (coupon, status, date … set by the caller; state, person, reasons set here).
 * A claim with the same receipt is found and returned as it is (replays).  `result` may be NULL.
 * `duplicate` compares status, date, product and lot after normalisation, else `conflict`. */
VRS_CHECK enum vrs_err apply_claim(struct server *s, struct partition *p, struct claim *c,
                                   const struct log_actor *who, struct tally_batch *tally,
                                   bool clock_warning, struct line_result *result);
/* A dose that another municipality provided, taken into the own person's record: coupon, person and
 * content set by the caller.  The same dose again is VRS_OK with *added = false. */
VRS_CHECK enum vrs_err apply_taken_over(struct server *s, struct partition *p, struct claim *c,
                                        const struct person *holder, const struct log_actor *who,
                                        struct tally_batch *tally, bool *added);
/* :cancel by the terminal: same terminal, same Japanese day as the registration. */
VRS_CHECK enum vrs_err apply_cancel(struct server *s, struct partition *p,
                                    const struct line_cancel *c, int64_t received_ms,
                                    const uint8_t receipt[LINE_RECEIPT_BYTES],
                                    struct tally_batch *tally, struct line_result *result);
/* A coupon was registered: its waiting claims are applied again, oldest first; their outcomes are
 * marked unsent.  *settled counts them. */
VRS_CHECK enum vrs_err apply_waiting(struct server *s, struct partition *p, const char *coupon,
                                     const struct log_actor *who, struct tally_batch *tally,
                                     uint64_t *settled);
/* Counts (n = 1) or uncounts (n = -1) a claim in the statistics tallies: call with what was in
 * force before and after every change. */
void apply_count(struct tally_batch *tally, const struct claim *c, int64_t n);
/* Is the claim a dose in force (recorded, or recorded for review)? */
bool claim_in_force(const struct claim *c);
/* What the outside is told of a claim. */
void apply_result_of(const struct claim *c, struct line_result *result);

#endif
