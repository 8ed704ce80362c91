/* Signed heads, and the proofs of outcomes made with them.
 *
 * After commits that appended to the log the worker has its head signed by vrs-signer (one round trip,
 * no fsync) and keeps it with the open partition: at once when a job of the group makes a proof of it,
 * else 50 ms later at most (pool.h), so that a crash leaves as little unsigned.  The signer away:
 * commits stand (rule 1), answers go without a proof, and the proof is given later; the alert
 * "signer_away" is on. */
#ifndef VRS_SERVER_DOSES_PROVE_H
#define VRS_SERVER_DOSES_PROVE_H

#include "vrs-server/doses/apply.h"

struct server;

/* pool_options.committed; `arg` is the server. */
void prove_committed(struct partition *p, unsigned worker_index, void *arg);
/* In a job's `committed`: appends what line_result.proof holds.  false: there is none (yet), and
 * nothing was appended. */
bool prove_outcome(struct partition *p, const struct apply_proof *of, struct buffer *out);
/* A checkpoint again, of a partition that is open: false when it has no signed head. */
bool prove_head(struct partition *p, struct log_signed_head *out);

#endif
