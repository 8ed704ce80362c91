/* The proof that a dose stands in its municipality's access log, as it travels from the partition
 * to the terminal and to whoever checks it years later.  Pure: shared by all who make, pass on or
 * check one; docs/proof.md says the same for a stranger.
 *
 * A log entry is sealed, so an outsider could not tell what an entry is about.  Therefore the entry
 * of a dose carries a commitment to a statement that the terminal can write down itself:
 *
 *   statement  = "vrs-receipt/1\n" receipt_id "\n" dose_id "\n" outcome "\n" ocr_line "\n"
 *                status "\n" vaccinated_on "\n" product "\n" lot "\n"    (as sent and answered)
 *   commitment = SHA-256(statement)   the receipt id (128 random bits) keeps it from being guessed
 *   leaf       = SHA-256(0x00 || commitment || SHA-256(sealed entry))     zeros where there is none
 *   head text  = "vrs-log/1\n" municipality "\n" epoch "\n" size "\n" hex(root) "\n"
 *                signed_at "\n"       signed_at: RFC 3339 UTC with milliseconds
 *   signature  = Ed25519(log key, head text)
 *   key_id     = first 8 hex digits of SHA-256(public key)
 *
 * JSON ("proof" of a receipt): {"municipality_code", "epoch", "entry" (1 = first), "entry_hash"
 * hex, "path": [hex …], "size", "root" hex, "signed_at", "key_id", "signature" base64}. */
#ifndef OCR_INGEST_PROOF_H
#define OCR_INGEST_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/json.h"
#include "lib/merkle.h"

/* A signed tree head. */
struct log_signed_head {
    char municipality[7];
    char epoch[40];
    uint64_t size;
    struct merkle_hash root;
    int64_t signed_ms;
    char key_id[9];
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
};

struct log_proof {
    struct log_signed_head head; /* size 0: no proof yet */
    uint64_t entry;              /* sequence, 1 = first; leaf index = entry - 1 */
    struct merkle_hash entry_hash;
    size_t path_count;
    struct merkle_hash path[MERKLE_MAX_DEPTH];
};

struct proof_statement { /* borrowed; none NULL */
    const char *receipt_id, *dose_id, *outcome;
    const char *ocr_line, *status, *vaccinated_on, *product, *lot;
};

void proof_commitment(const struct proof_statement *s, struct merkle_hash *out);
void proof_leaf(const struct merkle_hash *commitment, const struct merkle_hash *entry_hash,
                struct merkle_hash *out);
void proof_head_text(const struct log_signed_head *h, struct buffer *out);
void proof_key_id(const uint8_t key[CRYPTO_ED25519_BYTES], char out[9]);
bool proof_head_check(const struct log_signed_head *h, const uint8_t key[CRYPTO_ED25519_BYTES]);
/* Statement → leaf → root → signature. */
bool proof_check(const struct log_proof *p, const struct proof_statement *s,
                 const uint8_t key[CRYPTO_ED25519_BYTES]);

/* Wire form, for the line and the inbox. */
void proof_encode(const struct log_proof *p, struct buffer *out);
VRS_CHECK enum vrs_err proof_decode(const void *p, size_t n, struct log_proof *out);
void proof_head_encode(const struct log_signed_head *h, struct buffer *out);
VRS_CHECK enum vrs_err proof_head_decode(const void *p, size_t n, struct log_signed_head *out);
json_t *proof_json(const struct log_proof *p); /* new reference, NULL: no memory */
void proof_json_write(const struct log_proof *p, struct buffer *out); /* its text, for many */
json_t *proof_head_json(const struct log_signed_head *h); /* the same without entry and path */
VRS_CHECK enum vrs_err proof_from_json(const json_t *v, struct log_proof *out);
VRS_CHECK enum vrs_err proof_head_from_json(const json_t *v, struct log_signed_head *out);

#endif
