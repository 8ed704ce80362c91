/* The sealed form of a row's blob; inside partition.c and the fuzz test.
 *
 * Blob: format byte 1 (XAES-256-GCM), nonce, ciphertext, tag.  AAD: a wire message of everything
 * else that the engine stores of the row and of where it stands, so that a blob opens nowhere
 * else. */
#ifndef PARTITIONS_RECORD_H
#define PARTITIONS_RECORD_H

#include "lib/buffer.h"
#include "lib/err.h"
#include "lib/secret.h"
#include "partitions/keyring.h"
#include "partitions/store.h"

enum { RECORD_MAX_BYTES = 4 << 20, RECORD_OVERHEAD = 1 + 24 + 16 };

enum key_area record_area(enum store_table t);
/* The row's blob is not read. `aad` is cleared first; its sticky failure is the answer. */
void record_aad(struct buffer *aad, const char *municipality, enum store_table t,
                const struct store_row *row);
/* Replaces the content of `blob`. */
VRS_CHECK enum vrs_err record_seal(const struct secret_key *key, const char *municipality,
                                   enum store_table t, const struct store_row *row,
                                   const void *text, size_t len, struct buffer *aad,
                                   struct buffer *blob);
/* Replaces the content of `text`. ERR_TAMPERED. */
VRS_CHECK enum vrs_err record_open(const struct secret_key *key, const char *municipality,
                                   enum store_table t, const struct store_row *row,
                                   struct buffer *aad, struct buffer *text);

#endif
