/* Between crypto.c and crypto_key.c only. */
#ifndef VRS_LIB_CRYPTO_PRIVATE_H
#define VRS_LIB_CRYPTO_PRIVATE_H

#include <openssl/evp.h>

#include "lib/crypto.h"

/* What a thread keeps from call to call, because making it costs more than using it; nothing in it
 * is secret.  It ends with the thread. */
struct crypto_kept {
    EVP_MD_CTX *sha256;
    EVP_MD_CTX *verify; /* ready for verify_key, to be copied; NULL: none yet */
    uint8_t verify_key[CRYPTO_ED25519_BYTES];
};

struct crypto_kept *crypto_kept(void);

#endif
