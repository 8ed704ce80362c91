/* The file in which a municipality goes to another system (C131).
 *
 *   "vrs-migration-1\n", then frames of type u8, u32be length, body:
 *     H  wire: municipality, id of the migration, the recipient's key for records
 *     K  the keys of records and log, sealed to the recipient (crypto_sealer)
 *     R  a piece of the records file, sealed to the recipient; one or many
 *     N  a page of numbers, sealed by vrs-number to the recipient's vrs-number
 *     M  the manifest (JSON); its "sha256" is over every byte before this frame
 *     S  wire: key id, Ed25519 signature of the sender's vrs-signer over "migration\n" M
 *
 * The AAD of K and R: format, municipality, id, type, number of the frame, whether it is the last of
 * its type; so none can be dropped, repeated or moved even by who could sign. */
#ifndef VRS_SERVER_OPERATION_MIGRATION_H
#define VRS_SERVER_OPERATION_MIGRATION_H

#include <stdio.h>

#include "lib/crypto.h"
#include "partitions/keyring.h"

enum { MIGRATION_ID_BYTES = 16, MIGRATION_FRAME_MAX = (1 << 20) + 256 };
enum migration_frame {
    MIGRATION_HEAD = 'H',
    MIGRATION_KEYS = 'K',
    MIGRATION_RECORDS = 'R',
    MIGRATION_NUMBERS = 'N',
    MIGRATION_MANIFEST = 'M',
    MIGRATION_SIGNATURE = 'S'
};

struct migration_id {
    char municipality[7];
    uint8_t id[MIGRATION_ID_BYTES];
    uint8_t to[CRYPTO_X25519_BYTES];
};

/* --- writing; a new file, 0600 --- */

struct migration_out;
VRS_CHECK enum vrs_err migration_create(const char *path, const struct migration_id *id,
                                        struct migration_out **out, struct vrs_fault *fault);
/* Seals one piece of K or R. */
VRS_CHECK enum vrs_err migration_seal(struct migration_out *o, enum migration_frame type, bool last,
                                      const void *p, size_t n);
VRS_CHECK enum vrs_err migration_put(struct migration_out *o, enum migration_frame type,
                                     const void *p, size_t n);
/* SHA-256 of all that was put; nothing but M and S may follow. */
void migration_digest(struct migration_out *o, uint8_t out[CRYPTO_HASH_BYTES]);
/* Durable.  Anything but VRS_OK, or *o given up with `keep` false: the file is gone. */
VRS_CHECK enum vrs_err migration_end(struct migration_out **o, bool keep, struct vrs_fault *fault);

/* --- reading --- */

struct migration_piece {
    enum migration_frame type;
    const uint8_t *data;
    size_t len;
};
typedef enum vrs_err migration_fn(const struct migration_piece *piece, void *arg);
/* Whole or ERR_TAMPERED: head, digest and signature under `signer` are checked before `fn` sees any
 * frame (all but H and S, in order). */
VRS_CHECK enum vrs_err migration_read(const char *path, const uint8_t signer[CRYPTO_ED25519_BYTES],
                                      struct migration_id *id, migration_fn *fn, void *arg,
                                      struct vrs_fault *fault);
/* For K and R frames: `number` counts those of both types from 0. */
VRS_CHECK enum vrs_err migration_unseal(struct crypto_opener *opener, const struct migration_id *id,
                                        const struct migration_piece *piece, uint64_t number,
                                        bool last, struct buffer *out);

#endif
