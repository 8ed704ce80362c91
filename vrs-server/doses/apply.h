/* A reading becomes a claim: used by the line (tablets), by dose imports and by take-over.
 *
 * Runs inside the coupon municipality's transaction; appends one log entry a claim, counts, and
 * leaves the outcome to be handed over.  Never refuses what was acknowledged (rule 3). */
#ifndef VRS_SERVER_DOSES_APPLY_H
#define VRS_SERVER_DOSES_APPLY_H

#include "ocr-ingest/proof.h"
#include "partitions/access_log.h"
#include "partitions/tally.h"
#include "tablet-api/line.h"
#include "vrs-server/doses/rules.h"

struct server;

/* What a receipt's proof rests on: a log entry, and the statement (proof.h) it commits to. */
struct apply_proof {
    struct log_place place; /* entry 0: none */
    struct merkle_hash commitment;
};
/* Of a stored claim that apply_result_of tells so: none when what its entry commits to is no longer
 * what is told. */
VRS_CHECK enum vrs_err apply_proof_of(struct partition *p, const struct claim *c,
                                      const struct line_result *r, struct apply_proof *out);

/* Fills and stores `c` (coupon, status, date … set by the caller; state, person, reasons set here).
 * A claim with the same receipt is found and returned as it is (replays).  `result` and `proof` may be
 * NULL.
 * `duplicate` compares status, date, product and lot after normalisation, else `conflict`. */
VRS_CHECK enum vrs_err apply_claim(struct server *s, struct partition *p, struct claim *c,
                                   const struct log_actor *who, struct tally_batch *tally,
                                   bool clock_warning, struct line_result *result,
                                   struct apply_proof *proof);
/* A dose that another municipality provided, taken into the own person's record: coupon, person and
 * content set by the caller.  The same dose again is VRS_OK with *added = false. */
VRS_CHECK enum vrs_err apply_taken_over(struct server *s, struct partition *p, struct claim *c,
                                        const struct person *holder, const struct log_actor *who,
                                        struct tally_batch *tally, bool *added);
/* :cancel by the terminal: same terminal, same Japanese day as the registration.  The entry commits
 * to the cancellation's own receipt; when the dose still waited for its coupon, to the dose's. */
VRS_CHECK enum vrs_err apply_cancel(struct server *s, struct partition *p,
                                    const struct line_cancel *c, int64_t received_ms,
                                    const uint8_t receipt[LINE_RECEIPT_BYTES],
                                    struct tally_batch *tally, struct line_result *result,
                                    struct apply_proof *proof);
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
