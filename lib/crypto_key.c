/* Asymmetric keys: X25519, sealing to a public key, Ed25519. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto_private.h"

enum {
    SEALED_FORM = 0x01,
    SEALED_HEAD_BYTES = 1 + CRYPTO_X25519_BYTES,
    OPENER_EPOCHS = 8, /* more than the inside sees at once from a few tablet-api instances */
};

static void raw_keypair(int type, struct secret_key *priv, uint8_t pub[32]) {
    crypto_random(priv->bytes, sizeof priv->bytes);
    size_t n = 32;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(type, NULL, priv->bytes, sizeof priv->bytes);
    if (key == NULL || EVP_PKEY_get_raw_public_key(key, pub, &n) != 1)
        abort(); /* any 32 bytes are a key: only memory can be missing */
    EVP_PKEY_free(key);
}

void crypto_x25519_keypair(struct secret_key *priv, uint8_t pub[CRYPTO_X25519_BYTES]) {
    raw_keypair(EVP_PKEY_X25519, priv, pub);
}

void crypto_ed25519_keypair(struct secret_key *priv, uint8_t pub[CRYPTO_ED25519_BYTES]) {
    raw_keypair(EVP_PKEY_ED25519, priv, pub);
}

enum vrs_err crypto_x25519_public(const struct secret_key *priv, uint8_t pub[CRYPTO_X25519_BYTES]) {
    size_t n = CRYPTO_X25519_BYTES;
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, priv->bytes, sizeof priv->bytes);
    bool ok = key != NULL && EVP_PKEY_get_raw_public_key(key, pub, &n) == 1;
    EVP_PKEY_free(key);
    return ok ? VRS_OK : ERR_CRYPTO;
}

enum vrs_err crypto_x25519(const struct secret_key *priv, const uint8_t peer[CRYPTO_X25519_BYTES],
                           struct secret_key *shared) {
    size_t n = sizeof shared->bytes;
    EVP_PKEY *mine =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, priv->bytes, sizeof priv->bytes);
    EVP_PKEY *theirs =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer, CRYPTO_X25519_BYTES);
    EVP_PKEY_CTX *ctx =
        mine == NULL || theirs == NULL ? NULL : EVP_PKEY_CTX_new_from_pkey(NULL, mine, NULL);
    /* OpenSSL refuses an all-zero result (a peer of small order). */
    bool ok = ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
              EVP_PKEY_derive_set_peer(ctx, theirs) == 1 &&
              EVP_PKEY_derive(ctx, shared->bytes, &n) == 1 && n == sizeof shared->bytes;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(theirs);
    EVP_PKEY_free(mine);
    return ok ? VRS_OK : ERR_CRYPTO;
}

/* Both public keys are bound into the key, so that a blob cannot be moved to another epoch. */
static enum vrs_err epoch_key(const struct secret_key *mine, const uint8_t *peer,
                              const uint8_t ephemeral[CRYPTO_X25519_BYTES],
                              const uint8_t to[CRYPTO_X25519_BYTES], struct secret_key *out) {
    struct secret_key shared;
    enum vrs_err e = crypto_x25519(mine, peer, &shared);
    if (e == VRS_OK) {
        uint8_t salt[2 * CRYPTO_X25519_BYTES];
        memcpy(salt, ephemeral, CRYPTO_X25519_BYTES);
        memcpy(salt + CRYPTO_X25519_BYTES, to, CRYPTO_X25519_BYTES);
        crypto_hkdf(shared.bytes, sizeof shared.bytes, salt, sizeof salt, "vrs sealed 1", out);
    }
    secret_wipe(&shared, sizeof shared);
    return e;
}

struct crypto_sealer {
    uint8_t to[CRYPTO_X25519_BYTES];
    uint8_t ephemeral[CRYPTO_X25519_BYTES];
    struct secret_key key;
    int64_t epoch_ms;
    int64_t ends_ms; /* monotonic; 0: no epoch yet */
};

struct crypto_sealer *crypto_sealer_open(const uint8_t to[CRYPTO_X25519_BYTES], int64_t epoch_ms) {
    struct crypto_sealer *s = secret_alloc(sizeof *s);
    if (s == NULL)
        return NULL;
    memcpy(s->to, to, sizeof s->to);
    s->epoch_ms = epoch_ms;
    return s;
}

void crypto_sealer_close(struct crypto_sealer **s) {
    secret_free(*s, sizeof **s);
    *s = NULL;
}

static enum vrs_err sealer_epoch(struct crypto_sealer *s) {
    int64_t now = clock_mono_ms();
    if (s->ends_ms != 0 && now < s->ends_ms)
        return VRS_OK;
    struct secret_key priv;
    crypto_x25519_keypair(&priv, s->ephemeral);
    enum vrs_err e = epoch_key(&priv, s->to, s->ephemeral, s->to, &s->key);
    secret_wipe(&priv, sizeof priv);
    s->ends_ms = e == VRS_OK ? now + s->epoch_ms : 0;
    return e;
}

enum vrs_err crypto_sealer_seal(struct crypto_sealer *s, const void *aad, size_t aad_len,
                                const void *pt, size_t pt_len, struct buffer *out) {
    enum vrs_err e = sealer_epoch(s);
    if (e != VRS_OK)
        return e;
    if (pt_len > SIZE_MAX - SEALED_HEAD_BYTES - CRYPTO_SEAL_OVERHEAD)
        return ERR_TOO_LARGE;
    size_t before = out->len, n = SEALED_HEAD_BYTES + CRYPTO_SEAL_OVERHEAD + pt_len;
    uint8_t *p = buffer_grow(out, n);
    if (p == NULL)
        return ERR_MEMORY;
    p[0] = SEALED_FORM;
    memcpy(p + 1, s->ephemeral, CRYPTO_X25519_BYTES);
    e = crypto_seal(&s->key, aad, aad_len, pt, pt_len, p + SEALED_HEAD_BYTES);
    if (e != VRS_OK) {
        secret_wipe(p, n);
        out->len = before;
    }
    return e;
}

struct crypto_opener {
    struct secret_key priv;
    uint8_t pub[CRYPTO_X25519_BYTES];
    struct {
        bool used;
        uint8_t ephemeral[CRYPTO_X25519_BYTES];
        struct secret_key key;
    } epoch[OPENER_EPOCHS];
    size_t next; /* the oldest: replaced next */
};

struct crypto_opener *crypto_opener_open(const struct secret_key *priv) {
    struct crypto_opener *o = secret_alloc(sizeof *o);
    if (o == NULL)
        return NULL;
    o->priv = *priv;
    if (crypto_x25519_public(priv, o->pub) != VRS_OK)
        crypto_opener_close(&o);
    return o;
}

void crypto_opener_close(struct crypto_opener **o) {
    secret_free(*o, sizeof **o);
    *o = NULL;
}

static enum vrs_err opener_key(struct crypto_opener *o, const uint8_t *ephemeral,
                               const struct secret_key **out) {
    for (size_t i = 0; i < OPENER_EPOCHS; i++) {
        if (o->epoch[i].used &&
            memcmp(o->epoch[i].ephemeral, ephemeral, CRYPTO_X25519_BYTES) == 0) {
            *out = &o->epoch[i].key;
            return VRS_OK;
        }
    }
    size_t i = o->next;
    o->epoch[i].used = false;
    enum vrs_err e = epoch_key(&o->priv, ephemeral, ephemeral, o->pub, &o->epoch[i].key);
    if (e != VRS_OK)
        return ERR_TAMPERED;
    memcpy(o->epoch[i].ephemeral, ephemeral, CRYPTO_X25519_BYTES);
    o->epoch[i].used = true;
    o->next = (i + 1) % OPENER_EPOCHS;
    *out = &o->epoch[i].key;
    return VRS_OK;
}

enum vrs_err crypto_opener_unseal(struct crypto_opener *o, const void *aad, size_t aad_len,
                                  const void *in, size_t in_len, struct buffer *out) {
    const uint8_t *p = in;
    if (in_len < SEALED_HEAD_BYTES + CRYPTO_SEAL_OVERHEAD || p[0] != SEALED_FORM)
        return ERR_TAMPERED;
    const struct secret_key *key = NULL;
    enum vrs_err e = opener_key(o, p + 1, &key);
    if (e != VRS_OK)
        return e;
    size_t before = out->len;
    uint8_t *to = buffer_grow(out, in_len - SEALED_HEAD_BYTES - CRYPTO_SEAL_OVERHEAD);
    if (to == NULL)
        return ERR_MEMORY;
    e = crypto_open(key, aad, aad_len, p + SEALED_HEAD_BYTES, in_len - SEALED_HEAD_BYTES, to);
    if (e != VRS_OK)
        out->len = before;
    return e;
}

/* Setting up a signature fetches and asks more than a copy of what is set up. */
struct crypto_signer {
    EVP_MD_CTX *ready;
};

struct crypto_signer *crypto_signer_open(const struct secret_key *priv) {
    struct crypto_signer *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, priv->bytes, sizeof priv->bytes);
    s->ready = EVP_MD_CTX_new();
    if (key == NULL || s->ready == NULL ||
        EVP_DigestSignInit_ex(s->ready, NULL, NULL, NULL, NULL, key, NULL) != 1)
        crypto_signer_close(&s);
    EVP_PKEY_free(key);
    return s;
}

void crypto_signer_close(struct crypto_signer **s) {
    if (*s == NULL)
        return;
    EVP_MD_CTX_free((*s)->ready);
    free(*s);
    *s = NULL;
}

enum vrs_err crypto_signer_sign(const struct crypto_signer *s, const void *p, size_t n,
                                uint8_t sig[CRYPTO_SIGNATURE_BYTES]) {
    size_t len = CRYPTO_SIGNATURE_BYTES;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_MD_CTX_copy_ex(ctx, s->ready) == 1 &&
              EVP_DigestSign(ctx, sig, &len, p, n) == 1 && len == CRYPTO_SIGNATURE_BYTES;
    EVP_MD_CTX_free(ctx);
    return ok ? VRS_OK : ERR_CRYPTO;
}

enum vrs_err crypto_sign(const struct secret_key *priv, const void *p, size_t n,
                         uint8_t sig[CRYPTO_SIGNATURE_BYTES]) {
    struct crypto_signer *s = crypto_signer_open(priv);
    enum vrs_err e = s != NULL ? crypto_signer_sign(s, p, n, sig) : ERR_CRYPTO;
    crypto_signer_close(&s);
    return e;
}

/* Heads of one log key come one after the other. */
static const EVP_MD_CTX *verify_with(struct crypto_kept *k, const uint8_t pub[]) {
    if (k->verify != NULL && memcmp(k->verify_key, pub, sizeof k->verify_key) == 0)
        return k->verify;
    EVP_MD_CTX_free(k->verify);
    k->verify = EVP_MD_CTX_new();
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pub, CRYPTO_ED25519_BYTES);
    if (key == NULL || k->verify == NULL ||
        EVP_DigestVerifyInit_ex(k->verify, NULL, NULL, NULL, NULL, key, NULL) != 1) {
        EVP_MD_CTX_free(k->verify);
        k->verify = NULL;
    }
    EVP_PKEY_free(key);
    memcpy(k->verify_key, pub, sizeof k->verify_key);
    return k->verify;
}

enum vrs_err crypto_verify(const uint8_t pub[CRYPTO_ED25519_BYTES], const void *p, size_t n,
                           const uint8_t sig[CRYPTO_SIGNATURE_BYTES]) {
    const EVP_MD_CTX *ready = verify_with(crypto_kept(), pub);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    enum vrs_err e = ERR_CRYPTO;
    if (ready != NULL && ctx != NULL && EVP_MD_CTX_copy_ex(ctx, ready) == 1)
        e = EVP_DigestVerify(ctx, sig, CRYPTO_SIGNATURE_BYTES, p, n) == 1 ? VRS_OK : ERR_TAMPERED;
    EVP_MD_CTX_free(ctx);
    return e;
}
