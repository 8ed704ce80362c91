/* The public log keys of whoever checks proofs, from a file that was kept: the answer of GET
 * /v1/log/keys, or 64 hex digits a key as vrs-signer writes them. */
#ifndef OCR_INGEST_PROOF_KEYS_H
#define OCR_INGEST_PROOF_KEYS_H

#include "ocr-ingest/proof.h"

enum { PROOF_KEYS_MAX = 32 };

struct proof_keys {
    size_t count;
    uint8_t key[PROOF_KEYS_MAX][CRYPTO_ED25519_BYTES];
};

/* Adds the keys of a text; ERR_CORRUPT: it holds none, something else, or too many. */
VRS_CHECK enum vrs_err proof_keys_parse(struct proof_keys *k, const void *text, size_t n);
/* ERR_IO: the file cannot be read; ERR_CONFIG: it holds no keys. */
VRS_CHECK enum vrs_err proof_keys_load(struct proof_keys *k, const char *path,
                                       struct vrs_fault *fault);
/* One of the keys signed it. */
bool proof_keys_head_check(const struct proof_keys *k, const struct log_signed_head *h);
bool proof_keys_check(const struct proof_keys *k, const struct log_proof *p,
                      const struct proof_statement *s);

#endif
