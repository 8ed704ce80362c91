/* Passwords: argon2id by libargon2. */
#include <argon2.h>
#include <string.h>

#include "lib/crypto.h"

enum { PASSES = 2, MEMORY_KIB = 19 * 1024, LANES = 1, SALT_BYTES = 16, HASH_BYTES = 32 };

enum vrs_err crypto_password_hash(const char *password, char out[CRYPTO_PASSWORD_HASH_MAX]) {
    uint8_t salt[SALT_BYTES];
    crypto_random(salt, sizeof salt);
    int rc = argon2id_hash_encoded(PASSES, MEMORY_KIB, LANES, password, strlen(password), salt,
                                   sizeof salt, HASH_BYTES, out, CRYPTO_PASSWORD_HASH_MAX);
    if (rc == ARGON2_OK)
        return VRS_OK;
    return rc == ARGON2_MEMORY_ALLOCATION_ERROR ? ERR_MEMORY : ERR_CRYPTO;
}

enum vrs_err crypto_password_verify(const char *password, const char *encoded) {
    if (encoded == NULL) {
        static const uint8_t salt[SALT_BYTES] = "nobody's salt..";
        uint8_t hash[HASH_BYTES];
        int rc = argon2id_hash_raw(PASSES, MEMORY_KIB, LANES, password, strlen(password), salt,
                                   sizeof salt, hash, sizeof hash);
        secret_wipe(hash, sizeof hash);
        return rc == ARGON2_MEMORY_ALLOCATION_ERROR ? ERR_MEMORY : ERR_BAD_LOGIN;
    }
    int rc = argon2id_verify(encoded, password, strlen(password));
    if (rc == ARGON2_OK)
        return VRS_OK;
    return rc == ARGON2_MEMORY_ALLOCATION_ERROR ? ERR_MEMORY : ERR_BAD_LOGIN;
}
