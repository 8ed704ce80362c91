/* Whether an answer's proof holds for what was posted: a row is done only then. */
#ifndef OCR_INGEST_FEED_PROOF_H
#define OCR_INGEST_FEED_PROOF_H

#include <stdint.h>

#include "lib/err.h"
#include "lib/json.h"

enum feed_proven {
    FEED_PROOF_GOOD,
    FEED_PROOF_MISSING, /* none yet, or it is not known here what was posted */
    FEED_PROOF_BAD
};

struct feed_proof;

/* `keys_file`: proof_keys.h. */
VRS_CHECK enum vrs_err feed_proof_open(const char *keys_file, struct feed_proof **out,
                                       struct vrs_fault *fault);
void feed_proof_close(struct feed_proof **p);
/* Keeps what the statement needs of a row's body, until it is dropped. */
VRS_CHECK enum vrs_err feed_proof_keep(struct feed_proof *p, uint64_t row, const json_t *body);
void feed_proof_drop(struct feed_proof *p, uint64_t row);
enum feed_proven feed_proof_check(const struct feed_proof *p, uint64_t row, const json_t *answer);

#endif
