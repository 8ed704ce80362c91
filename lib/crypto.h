/* Everything cryptographic, on OpenSSL primitives; no other file includes openssl/evp.h but tls.c
 * and pki*.c.  In three files: crypto.c (hashes, XAES, text forms), crypto_key.c (X25519, Ed25519,
 * sealing to a key), password.c (argon2id).
 *
 * Record sealing: XAES-256-GCM (C2SP XAES-256-GCM: 192-bit random nonce, SP 800-108r1 CMAC key
 * derivation, AES-256-GCM), proven with the published vectors in tests/unit/test_crypto.c.
 * All functions are thread-safe. */
#ifndef VRS_LIB_CRYPTO_H
#define VRS_LIB_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/err.h"
#include "lib/secret.h"

enum {
    CRYPTO_NONCE_BYTES = 24,
    CRYPTO_TAG_BYTES = 16,
    CRYPTO_HASH_BYTES = 32,
    CRYPTO_SHA1_BYTES = 20,
    CRYPTO_SEAL_OVERHEAD = CRYPTO_NONCE_BYTES + CRYPTO_TAG_BYTES,
    CRYPTO_X25519_BYTES = 32,
    CRYPTO_ED25519_BYTES = 32,
    CRYPTO_SIGNATURE_BYTES = 64,
    CRYPTO_PASSWORD_HASH_MAX = 128
};

/* Aborts the process when the random source fails: nothing safe can be done then. */
void crypto_random(void *out, size_t n);
/* An id of a row or receipt: 48 bits of milliseconds, 80 random bits (the order of RFC 9562's UUIDv7).
 * As hard to guess as it need be, and made one after the other they stand together in an index: a
 * commit of many writes few pages.  A clock that is wrong or goes back costs only that. */
enum { CRYPTO_ID_BYTES = 16 };
void crypto_id(uint8_t out[CRYPTO_ID_BYTES]);
void crypto_uuid4(char out[37]); /* random UUIDv4, lower case, NUL-terminated */

void crypto_sha256(const void *p, size_t n, uint8_t out[CRYPTO_HASH_BYTES]);
void crypto_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n,
                        uint8_t out[CRYPTO_HASH_BYTES]);
/* One-time codes only (RFC 6238). */
void crypto_hmac_sha1(const void *key, size_t key_len, const void *p, size_t n,
                      uint8_t out[CRYPTO_SHA1_BYTES]);
/* HKDF-SHA-256 (RFC 5869) to 32 bytes. */
void crypto_hkdf(const void *ikm, size_t ikm_len, const void *salt, size_t salt_len,
                 const char *info, struct secret_key *out);

/* Incremental SHA-256 for content that arrives in parts. */
struct crypto_digest;
struct crypto_digest *crypto_digest_open(void);
void crypto_digest_add(struct crypto_digest *d, const void *p, size_t n);
/* `out` NULL: the digest is given up. */
void crypto_digest_close(struct crypto_digest **d, uint8_t out[CRYPTO_HASH_BYTES]);

/* out must have room for pt_len + CRYPTO_SEAL_OVERHEAD: nonce, ciphertext, tag. */
VRS_CHECK enum vrs_err crypto_seal(const struct secret_key *key, const void *aad, size_t aad_len,
                                   const void *pt, size_t pt_len, uint8_t *out);
/* With a given nonce: for the published vectors only. */
VRS_CHECK enum vrs_err crypto_seal_nonce(const struct secret_key *key,
                                         const uint8_t nonce[CRYPTO_NONCE_BYTES], const void *aad,
                                         size_t aad_len, const void *pt, size_t pt_len,
                                         uint8_t *out);
/* out must have room for in_len - CRYPTO_SEAL_OVERHEAD.  ERR_TAMPERED when it does not
 * authenticate; *out is then wiped. */
VRS_CHECK enum vrs_err crypto_open(const struct secret_key *key, const void *aad, size_t aad_len,
                                   const void *in, size_t in_len, uint8_t *out);

/* X25519. */
void crypto_x25519_keypair(struct secret_key *priv, uint8_t pub[CRYPTO_X25519_BYTES]);
VRS_CHECK enum vrs_err crypto_x25519_public(const struct secret_key *priv,
                                            uint8_t pub[CRYPTO_X25519_BYTES]);
VRS_CHECK enum vrs_err crypto_x25519(const struct secret_key *priv,
                                     const uint8_t peer[CRYPTO_X25519_BYTES],
                                     struct secret_key *shared);

/* Sealing to a public key with one ephemeral key per short epoch, so that the cost per dose is one
 * AEAD.  Sealed form: 0x01, ephemeral public key (32), nonce, ciphertext, tag.  Not thread-safe:
 * one sealer belongs to one thread. */
struct crypto_sealer;
struct crypto_sealer *crypto_sealer_open(const uint8_t to[CRYPTO_X25519_BYTES], int64_t epoch_ms);
void crypto_sealer_close(struct crypto_sealer **s);
VRS_CHECK enum vrs_err crypto_sealer_seal(struct crypto_sealer *s, const void *aad, size_t aad_len,
                                          const void *pt, size_t pt_len, struct buffer *out);
/* The opener caches the derived keys of the last few epochs.  One per thread. */
struct crypto_opener;
struct crypto_opener *crypto_opener_open(const struct secret_key *priv);
void crypto_opener_close(struct crypto_opener **o);
VRS_CHECK enum vrs_err crypto_opener_unseal(struct crypto_opener *o, const void *aad,
                                            size_t aad_len, const void *in, size_t in_len,
                                            struct buffer *out);

/* Ed25519. */
void crypto_ed25519_keypair(struct secret_key *priv, uint8_t pub[CRYPTO_ED25519_BYTES]);
VRS_CHECK enum vrs_err crypto_sign(const struct secret_key *priv, const void *p, size_t n,
                                   uint8_t sig[CRYPTO_SIGNATURE_BYTES]);
/* For who signs often: the key is set up once (its public half costs as much as a signature).  NULL:
 * no memory.  One thread at a time. */
struct crypto_signer;
struct crypto_signer *crypto_signer_open(const struct secret_key *priv);
void crypto_signer_close(struct crypto_signer **s);
VRS_CHECK enum vrs_err crypto_signer_sign(const struct crypto_signer *s, const void *p, size_t n,
                                          uint8_t sig[CRYPTO_SIGNATURE_BYTES]);
VRS_CHECK enum vrs_err crypto_verify(const uint8_t pub[CRYPTO_ED25519_BYTES], const void *p,
                                     size_t n, const uint8_t sig[CRYPTO_SIGNATURE_BYTES]);

/* argon2id, 19 MiB, t=2, p=1, encoded form.  About 30 ms: workers only. */
VRS_CHECK enum vrs_err crypto_password_hash(const char *password,
                                            char out[CRYPTO_PASSWORD_HASH_MAX]);
/* VRS_OK or ERR_BAD_LOGIN (ERR_MEMORY when the 19 MiB are not there); `encoded` NULL hashes against
 * a fixed dummy so that an unknown user costs the same time. */
VRS_CHECK enum vrs_err crypto_password_verify(const char *password, const char *encoded);

/* Text forms.  Hex is lower case; decoding accepts either case.  base64 is standard with padding,
 * and only its canonical form is decoded. out capacities: hex 2n+1, base64 4*((n+2)/3)+1. */
void crypto_hex(const void *p, size_t n, char *out);
VRS_CHECK bool crypto_unhex(const char *hex, void *out, size_t n); /* exactly 2n digits */
void crypto_base64(const void *p, size_t n, char *out);
VRS_CHECK bool crypto_unbase64(const char *s, void *out, size_t cap, size_t *len);

#endif
