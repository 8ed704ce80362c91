/* The keys of vrs-signer: KEYS/log-<n>.key (Ed25519, hex, 0600), of which the highest n signs, and
 * KEYS/log-<n>.pub (0644) of all that ever signed: they stay for checking. */
#ifndef VRS_SERVER_SIGNER_KEYS_H
#define VRS_SERVER_SIGNER_KEYS_H

#include "lib/secret.h"
#include "vrs-server/signer/signer.h"

struct log_keys {
    struct crypto_signer *signer;           /* with the private half of the newest */
    struct signer_key key[SIGNER_MAX_KEYS]; /* the newest first */
    size_t count;
};

/* Afterwards log_keys_fini in either case. */
VRS_CHECK enum vrs_err log_keys_read(const char *dir, struct log_keys *out,
                                     struct vrs_fault *fault);
void log_keys_fini(struct log_keys *k);
VRS_CHECK enum vrs_err log_keys_sign(const struct log_keys *k, const void *p, size_t n,
                                     uint8_t signature[CRYPTO_SIGNATURE_BYTES]);

#endif
