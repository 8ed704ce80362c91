#include "lib/crypto.h"
#include "lib/clock.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/crypto_private.h"
#include "lib/log.h"

/* Fetched once: an implicit fetch at each use costs more than the work on a short record. */
static struct {
    EVP_MD *sha256;
    EVP_MAC *hmac;
    EVP_MAC_CTX *hmac_sha256, *hmac_sha1; /* without a key: copied for each use */
    EVP_KDF *hkdf;
    EVP_CIPHER *aes_ecb;
    EVP_CIPHER *aes_gcm;
} algo;
static pthread_key_t kept_key;
static _Thread_local struct crypto_kept *kept; /* owned by the thread, freed through kept_key */
static pthread_once_t algo_once = PTHREAD_ONCE_INIT;

/* For what fails only without memory or without the algorithm: no caller could go on safely. */
static _Noreturn void give_up(const char *what) {
    log_event(LOG_ERROR, "crypto.abort", LF_STR("what", what));
    abort();
}

static void need(bool ok, const char *what) {
    if (!ok)
        give_up(what);
}

static void kept_free(void *p) {
    struct crypto_kept *k = p;
    EVP_MD_CTX_free(k->sha256);
    EVP_MD_CTX_free(k->verify);
    free(k);
    kept = NULL;
}

/* A context that knows its digest, so that no use looks it up. */
static EVP_MAC_CTX *hmac_of(const char *digest) {
    char name[8];
    (void)snprintf(name, sizeof name, "%s", digest);
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(algo.hmac);
    need(ctx != NULL && EVP_MAC_CTX_set_params(ctx, params) == 1, "hmac");
    return ctx;
}

static void fetch(void) {
    algo.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    algo.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    algo.hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    algo.aes_ecb = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);
    algo.aes_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    need(algo.sha256 && algo.hmac && algo.hkdf && algo.aes_ecb && algo.aes_gcm, "fetch");
    algo.hmac_sha256 = hmac_of("SHA256");
    algo.hmac_sha1 = hmac_of("SHA1");
    need(pthread_key_create(&kept_key, kept_free) == 0, "thread key");
}

static void prepare(void) {
    (void)pthread_once(&algo_once, fetch);
}

struct crypto_kept *crypto_kept(void) {
    prepare();
    if (kept == NULL) {
        kept = calloc(1, sizeof *kept);
        need(kept != NULL && pthread_setspecific(kept_key, kept) == 0, "thread");
        kept->sha256 = EVP_MD_CTX_new();
        need(kept->sha256 != NULL, "digest");
    }
    return kept;
}

void crypto_random(void *out, size_t n) {
    uint8_t *p = out;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        need(got > 0, "random");
        p += got;
        n -= (size_t)got;
    }
}

void crypto_id(uint8_t out[CRYPTO_ID_BYTES]) {
    uint64_t ms = (uint64_t)clock_now_ms();
    crypto_random(out, CRYPTO_ID_BYTES);
    for (int i = 0; i < 6; i++)
        out[i] = (uint8_t)(ms >> (40 - 8 * i));
}

void crypto_uuid4(char out[37]) {
    uint8_t b[16];
    crypto_random(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    static const struct { uint8_t from, n; } group[] = {{0, 4}, {4, 2}, {6, 2}, {8, 2}, {10, 6}};
    char *p = out;
    for (size_t i = 0; i < sizeof group / sizeof group[0]; i++) {
        if (i > 0)
            *p++ = '-';
        crypto_hex(b + group[i].from, group[i].n, p);
        p += (size_t)group[i].n * 2;
    }
}

void crypto_sha256(const void *p, size_t n, uint8_t out[CRYPTO_HASH_BYTES]) {
    EVP_MD_CTX *ctx = crypto_kept()->sha256;
    need(EVP_DigestInit_ex2(ctx, algo.sha256, NULL) == 1 && EVP_DigestUpdate(ctx, p, n) == 1 &&
             EVP_DigestFinal_ex(ctx, out, NULL) == 1,
         "sha256");
}

static void hmac(const EVP_MAC_CTX *with, const void *key, size_t key_len, const void *p, size_t n,
                 uint8_t *out, size_t out_len) {
    static const uint8_t none = 0;
    size_t len = 0;
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_dup(with);
    need(ctx != NULL && EVP_MAC_init(ctx, key_len == 0 ? &none : key, key_len, NULL) == 1 &&
             EVP_MAC_update(ctx, p, n) == 1 && EVP_MAC_final(ctx, out, &len, out_len) == 1 &&
             len == out_len,
         "hmac");
    EVP_MAC_CTX_free(ctx);
}

void crypto_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n,
                        uint8_t out[CRYPTO_HASH_BYTES]) {
    prepare();
    hmac(algo.hmac_sha256, key, key_len, p, n, out, CRYPTO_HASH_BYTES);
}

void crypto_hmac_sha1(const void *key, size_t key_len, const void *p, size_t n,
                      uint8_t out[CRYPTO_SHA1_BYTES]) {
    prepare();
    hmac(algo.hmac_sha1, key, key_len, p, n, out, CRYPTO_SHA1_BYTES);
}

void crypto_hkdf(const void *ikm, size_t ikm_len, const void *salt, size_t salt_len,
                 const char *info, struct secret_key *out) {
    prepare();
    /* OSSL_PARAM has no const, though these are only read. */
    union {
        const void *in;
        void *param;
    } key = {ikm}, with = {salt}, what = {info};
    char digest[] = "SHA256";
    OSSL_PARAM params[5];
    size_t n = 0;
    params[n++] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
    params[n++] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key.param, ikm_len);
    params[n++] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, what.param, strlen(info));
    if (salt_len > 0)
        params[n++] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, with.param, salt_len);
    params[n] = OSSL_PARAM_construct_end();
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(algo.hkdf);
    need(ctx != NULL && EVP_KDF_derive(ctx, out->bytes, sizeof out->bytes, params) == 1, "hkdf");
    EVP_KDF_CTX_free(ctx);
}

struct crypto_digest {
    EVP_MD_CTX *ctx;
};

struct crypto_digest *crypto_digest_open(void) {
    prepare();
    struct crypto_digest *d = malloc(sizeof *d);
    need(d != NULL, "digest");
    d->ctx = EVP_MD_CTX_new();
    need(d->ctx != NULL && EVP_DigestInit_ex2(d->ctx, algo.sha256, NULL) == 1, "digest");
    return d;
}

void crypto_digest_add(struct crypto_digest *d, const void *p, size_t n) {
    need(EVP_DigestUpdate(d->ctx, p, n) == 1, "digest");
}

void crypto_digest_close(struct crypto_digest **d, uint8_t out[CRYPTO_HASH_BYTES]) {
    if (*d == NULL)
        return;
    if (out != NULL)
        need(EVP_DigestFinal_ex((*d)->ctx, out, NULL) == 1, "digest");
    EVP_MD_CTX_free((*d)->ctx);
    free(*d);
    *d = NULL;
}

/* C2SP XAES-256-GCM: the first 12 bytes of the nonce derive a key by SP 800-108r1 in counter mode
 * with CMAC over exactly two blocks (so CMAC is one AES call under K1), the last 12 are the nonce
 * of AES-256-GCM under it. */
static enum vrs_err xaes_derive(const struct secret_key *key, const uint8_t *nonce,
                                uint8_t out[32]) {
    enum vrs_err e = ERR_CRYPTO;
    uint8_t k1[16] = {0}, blocks[32] = {0};
    int n = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL || EVP_EncryptInit_ex2(ctx, algo.aes_ecb, key->bytes, NULL, NULL) != 1 ||
        EVP_CIPHER_CTX_set_padding(ctx, 0) != 1 ||
        EVP_EncryptUpdate(ctx, k1, &n, k1, sizeof k1) != 1)
        goto done;
    uint8_t carry = 0;
    for (int i = 15; i >= 0; i--) {
        uint8_t next = (uint8_t)(k1[i] >> 7);
        k1[i] = (uint8_t)(k1[i] << 1 | carry);
        carry = next;
    }
    k1[15] = (uint8_t)(k1[15] ^ (0x87 & -carry));
    for (int half = 0; half < 2; half++) {
        uint8_t *m = blocks + 16 * half;
        m[1] = (uint8_t)(half + 1);
        m[2] = 'X';
        memcpy(m + 4, nonce, 12);
        for (int i = 0; i < 16; i++)
            m[i] ^= k1[i];
    }
    if (EVP_EncryptUpdate(ctx, out, &n, blocks, sizeof blocks) != 1 || n != (int)sizeof blocks)
        goto done;
    e = VRS_OK;
done:
    secret_wipe(k1, sizeof k1);
    secret_wipe(blocks, sizeof blocks);
    EVP_CIPHER_CTX_free(ctx);
    return e;
}

/* EVP counts in int. */
enum { AEAD_MAX_BYTES = 1 << 30 };

enum vrs_err crypto_seal_nonce(const struct secret_key *key,
                               const uint8_t nonce[CRYPTO_NONCE_BYTES], const void *aad,
                               size_t aad_len, const void *pt, size_t pt_len, uint8_t *out) {
    if (pt_len > AEAD_MAX_BYTES || aad_len > AEAD_MAX_BYTES)
        return ERR_CRYPTO;
    prepare();
    uint8_t derived[32], *ct = out + CRYPTO_NONCE_BYTES;
    EVP_CIPHER_CTX *ctx = NULL;
    int n = 0;
    enum vrs_err e = xaes_derive(key, nonce, derived);
    if (e != VRS_OK)
        goto done;
    e = ERR_CRYPTO;
    memmove(out, nonce, CRYPTO_NONCE_BYTES);
    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL || EVP_EncryptInit_ex2(ctx, algo.aes_gcm, derived, out + 12, NULL) != 1)
        goto done;
    if (aad_len > 0 && EVP_EncryptUpdate(ctx, NULL, &n, aad, (int)aad_len) != 1)
        goto done;
    if (pt_len > 0 && EVP_EncryptUpdate(ctx, ct, &n, pt, (int)pt_len) != 1)
        goto done;
    if (EVP_EncryptFinal_ex(ctx, ct + pt_len, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG_BYTES, ct + pt_len) != 1)
        goto done;
    e = VRS_OK;
done:
    EVP_CIPHER_CTX_free(ctx);
    secret_wipe(derived, sizeof derived);
    return e;
}

enum vrs_err crypto_seal(const struct secret_key *key, const void *aad, size_t aad_len,
                         const void *pt, size_t pt_len, uint8_t *out) {
    uint8_t nonce[CRYPTO_NONCE_BYTES];
    crypto_random(nonce, sizeof nonce);
    return crypto_seal_nonce(key, nonce, aad, aad_len, pt, pt_len, out);
}

enum vrs_err crypto_open(const struct secret_key *key, const void *aad, size_t aad_len,
                         const void *in, size_t in_len, uint8_t *out) {
    if (in_len < CRYPTO_SEAL_OVERHEAD)
        return ERR_TAMPERED;
    if (in_len > AEAD_MAX_BYTES || aad_len > AEAD_MAX_BYTES)
        return ERR_CRYPTO;
    prepare();
    const uint8_t *nonce = in, *ct = nonce + CRYPTO_NONCE_BYTES;
    size_t ct_len = in_len - CRYPTO_SEAL_OVERHEAD;
    uint8_t derived[32], tag[CRYPTO_TAG_BYTES], last[16];
    memcpy(tag, ct + ct_len, sizeof tag);
    EVP_CIPHER_CTX *ctx = NULL;
    int n = 0;
    enum vrs_err e = xaes_derive(key, nonce, derived);
    if (e != VRS_OK)
        goto done;
    e = ERR_CRYPTO;
    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL || EVP_DecryptInit_ex2(ctx, algo.aes_gcm, derived, nonce + 12, NULL) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, CRYPTO_TAG_BYTES, tag) != 1)
        goto done;
    if (aad_len > 0 && EVP_DecryptUpdate(ctx, NULL, &n, aad, (int)aad_len) != 1)
        goto done;
    if (ct_len > 0 && EVP_DecryptUpdate(ctx, out, &n, ct, (int)ct_len) != 1)
        goto done;
    e = EVP_DecryptFinal_ex(ctx, last, &n) == 1 ? VRS_OK : ERR_TAMPERED;
done:
    if (e != VRS_OK && ct_len > 0)
        secret_wipe(out, ct_len);
    EVP_CIPHER_CTX_free(ctx);
    secret_wipe(derived, sizeof derived);
    return e;
}

void crypto_hex(const void *p, size_t n, char *out) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[b[i] >> 4];
        *out++ = digits[b[i] & 15];
    }
    *out = '\0';
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool crypto_unhex(const char *hex, void *out, size_t n) {
    uint8_t *b = out;
    for (size_t i = 0; i < n; i++, hex += 2) {
        int high = hex_value(hex[0]);
        int low = high < 0 ? -1 : hex_value(hex[1]);
        if (low < 0)
            return false;
        b[i] = (uint8_t)(high << 4 | low);
    }
    return *hex == '\0';
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void crypto_base64(const void *p, size_t n, char *out) {
    const uint8_t *b = p;
    for (; n > 0; b += 3) {
        size_t take = n < 3 ? n : 3;
        uint32_t v = (uint32_t)b[0] << 16;
        if (take > 1)
            v |= (uint32_t)b[1] << 8;
        if (take > 2)
            v |= b[2];
        *out++ = base64_digits[v >> 18];
        *out++ = base64_digits[v >> 12 & 63];
        *out++ = take > 1 ? base64_digits[v >> 6 & 63] : '=';
        *out++ = take > 2 ? base64_digits[v & 63] : '=';
        n -= take;
    }
    *out = '\0';
}

bool crypto_unbase64(const char *s, void *out, size_t cap, size_t *len) {
    size_t n = strlen(s), at = 0;
    if (n % 4 != 0)
        return false;
    uint8_t *b = out;
    for (size_t i = 0; i < n; i += 4) {
        size_t pad = 0;
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            char c = s[i + k];
            const char *digit = c == '=' ? NULL : strchr(base64_digits, c);
            if (c == '=' && i + 4 == n && k >= 2)
                pad++;
            else if (digit == NULL || pad > 0)
                return false;
            v = v << 6 | (digit == NULL ? 0U : (uint32_t)(digit - base64_digits));
        }
        /* Bits that the padding leaves over are zero: one text for one content. */
        if ((pad == 1 && (v & 0xff) != 0) || (pad == 2 && (v & 0xffff) != 0))
            return false;
        for (size_t k = 0; k < 3 - pad; k++) {
            if (at == cap)
                return false;
            b[at++] = (uint8_t)(v >> (16 - 8 * k));
        }
    }
    *len = at;
    return true;
}
