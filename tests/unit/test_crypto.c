#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>

#include "lib/crypto.h"

static void is_hex(const void *p, size_t n, const char *want) {
    char text[512];
    assert_true(n < sizeof text / 2);
    crypto_hex(p, n, text);
    assert_string_equal(text, want);
}

static struct secret_key key_of(int byte) {
    struct secret_key k;
    memset(k.bytes, byte, sizeof k.bytes);
    return k;
}

/* C2SP, XAES-256-GCM.md, "Test Vectors": the first has MSB₁(L) = 0, the second 1. */
static void xaes_published_vectors(void **state) {
    (void)state;
    static const struct {
        int key;
        const char *aad, *sealed;
    } vector[] = {
        {0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
        {0x03, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
    };
    static const uint8_t nonce[] = "ABCDEFGHIJKLMNOPQRSTUVWX";
    static const char plain[] = "XAES-256-GCM";
    for (size_t i = 0; i < 2; i++) {
        struct secret_key k = key_of(vector[i].key);
        uint8_t out[12 + CRYPTO_SEAL_OVERHEAD], back[12];
        size_t aad_len = strlen(vector[i].aad);
        assert_int_equal(crypto_seal_nonce(&k, nonce, vector[i].aad, aad_len, plain, 12, out),
                         VRS_OK);
        assert_memory_equal(out, nonce, CRYPTO_NONCE_BYTES);
        is_hex(out + CRYPTO_NONCE_BYTES, 12 + CRYPTO_TAG_BYTES, vector[i].sealed);
        assert_int_equal(crypto_open(&k, vector[i].aad, aad_len, out, sizeof out, back), VRS_OK);
        assert_memory_equal(back, plain, 12);
    }
}

/* The accumulated vectors of the same page: everything random comes from SHAKE128 of nothing, all
 * ciphertexts go into another one. 10,000 rounds; 1,000,000 with VRS_LONG. */
static void xaes_accumulated_vector(void **state) {
    (void)state;
    bool all = getenv("VRS_LONG") != NULL;
    size_t rounds = all ? 1000000 : 10000;
    size_t most = rounds * 320; /* a round takes 313 bytes on average */
    uint8_t *stream = malloc(most);
    assert_non_null(stream);
    EVP_MD_CTX *source = EVP_MD_CTX_new(), *sum = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestInit_ex(source, EVP_shake128(), NULL), 1);
    assert_int_equal(EVP_DigestFinalXOF(source, stream, most), 1);
    assert_int_equal(EVP_DigestInit_ex(sum, EVP_shake128(), NULL), 1);
    const uint8_t *p = stream;
    for (size_t i = 0; i < rounds; i++) {
        assert_true((size_t)(p - stream) < most - 568);
        struct secret_key k;
        memcpy(k.bytes, p, 32);
        const uint8_t *nonce = p + 32;
        size_t pt_len = p[56];
        const uint8_t *pt = p + 57;
        size_t aad_len = pt[pt_len];
        const uint8_t *aad = pt + pt_len + 1;
        p = aad + aad_len;
        uint8_t out[255 + CRYPTO_SEAL_OVERHEAD], back[255];
        size_t n = pt_len + CRYPTO_SEAL_OVERHEAD;
        assert_int_equal(crypto_seal_nonce(&k, nonce, aad, aad_len, pt, pt_len, out), VRS_OK);
        assert_int_equal(EVP_DigestUpdate(sum, out + 24, n - 24), 1);
        assert_int_equal(crypto_open(&k, aad, aad_len, out, n, back), VRS_OK);
        assert_memory_equal(back, pt, pt_len);
    }
    uint8_t digest[32];
    assert_int_equal(EVP_DigestFinalXOF(sum, digest, sizeof digest), 1);
    is_hex(digest, sizeof digest,
           all ? "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15"
               : "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939");
    EVP_MD_CTX_free(source);
    EVP_MD_CTX_free(sum);
    free(stream);
}

static void what_was_changed_does_not_open(void **state) {
    (void)state;
    struct secret_key k = key_of(5), other = key_of(6);
    static const char aad[] = "131016|records|row 1";
    uint8_t sealed[20 + CRYPTO_SEAL_OVERHEAD], back[20];
    assert_int_equal(crypto_seal(&k, aad, sizeof aad, "12345678901234567890", 20, sealed), VRS_OK);
    for (size_t bit = 0; bit < sizeof sealed * 8; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
        memset(back, 0xaa, sizeof back);
        assert_int_equal(crypto_open(&k, aad, sizeof aad, sealed, sizeof sealed, back),
                         ERR_TAMPERED);
        for (size_t i = 0; i < sizeof back; i++)
            assert_int_equal(back[i], 0); /* unauthenticated text is not left behind */
        sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_int_equal(crypto_open(&k, aad, sizeof aad - 1, sealed, sizeof sealed, back),
                     ERR_TAMPERED);
    assert_int_equal(crypto_open(&other, aad, sizeof aad, sealed, sizeof sealed, back),
                     ERR_TAMPERED);
    for (size_t n = 0; n < sizeof sealed; n++)
        assert_int_equal(crypto_open(&k, aad, sizeof aad, sealed, n, back), ERR_TAMPERED);
    assert_int_equal(crypto_open(&k, aad, sizeof aad, sealed, sizeof sealed, back), VRS_OK);
}

static void empty_content_and_fresh_nonces(void **state) {
    (void)state;
    struct secret_key k = key_of(1);
    uint8_t a[CRYPTO_SEAL_OVERHEAD], b[CRYPTO_SEAL_OVERHEAD], none;
    assert_int_equal(crypto_seal(&k, NULL, 0, NULL, 0, a), VRS_OK);
    assert_int_equal(crypto_seal(&k, NULL, 0, NULL, 0, b), VRS_OK);
    assert_memory_not_equal(a, b, CRYPTO_NONCE_BYTES);
    assert_int_equal(crypto_open(&k, NULL, 0, a, sizeof a, &none), VRS_OK);
}

static void hashes(void **state) {
    (void)state;
    uint8_t out[32], parts[32];
    crypto_sha256("abc", 3, out);
    is_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct crypto_digest *d = crypto_digest_open();
    crypto_digest_add(d, "a", 1);
    crypto_digest_add(d, "", 0);
    crypto_digest_add(d, "bc", 2);
    crypto_digest_close(&d, parts);
    assert_null(d);
    assert_memory_equal(out, parts, 32);
    d = crypto_digest_open();
    crypto_digest_close(&d, NULL);
    /* RFC 4231, cases 2 and 6. */
    crypto_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out);
    is_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    uint8_t key[131];
    memset(key, 0xaa, sizeof key);
    static const char text[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    crypto_hmac_sha256(key, sizeof key, text, sizeof text - 1, out);
    is_hex(out, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    crypto_hmac_sha256("", 0, "", 0, out);
    is_hex(out, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

/* RFC 5869 A.1 and A.3; the first 32 bytes of their 42. */
static void hkdf_vectors(void **state) {
    (void)state;
    uint8_t ikm[22], salt[13];
    memset(ikm, 0x0b, sizeof ikm);
    for (uint8_t i = 0; i < sizeof salt; i++)
        salt[i] = i;
    struct secret_key k;
    crypto_hkdf(ikm, sizeof ikm, salt, sizeof salt, "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9", &k);
    is_hex(k.bytes, 32, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
    crypto_hkdf(ikm, sizeof ikm, NULL, 0, "", &k);
    is_hex(k.bytes, 32, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
}

/* RFC 7748, section 6.1. */
static void x25519_vectors(void **state) {
    (void)state;
    struct secret_key alice, bob, shared;
    uint8_t alice_pub[32], bob_pub[32], low[32] = {1};
    assert_true(crypto_unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
                             alice.bytes, 32));
    assert_true(crypto_unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
                             bob.bytes, 32));
    assert_int_equal(crypto_x25519_public(&alice, alice_pub), VRS_OK);
    is_hex(alice_pub, 32, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    assert_int_equal(crypto_x25519_public(&bob, bob_pub), VRS_OK);
    is_hex(bob_pub, 32, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    assert_int_equal(crypto_x25519(&alice, bob_pub, &shared), VRS_OK);
    is_hex(shared.bytes, 32, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_int_equal(crypto_x25519(&bob, alice_pub, &shared), VRS_OK);
    is_hex(shared.bytes, 32, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_int_equal(crypto_x25519(&bob, low, &shared), ERR_CRYPTO);
}

static void sealing_to_a_public_key(void **state) {
    (void)state;
    struct secret_key priv, wrong;
    uint8_t pub[32], unused[32], again[32];
    crypto_x25519_keypair(&priv, pub);
    crypto_x25519_keypair(&wrong, unused);
    assert_int_equal(crypto_x25519_public(&priv, again), VRS_OK);
    assert_memory_equal(pub, again, 32);
    struct crypto_sealer *sealer = crypto_sealer_open(pub, 60000);
    struct crypto_opener *opener = crypto_opener_open(&priv),
                         *stranger = crypto_opener_open(&wrong);
    assert_true(sealer != NULL && opener != NULL && stranger != NULL);
    struct buffer one, two, plain;
    buffer_init(&one, 1000);
    buffer_init(&two, 1000);
    buffer_init(&plain, 1000);
    assert_int_equal(crypto_sealer_seal(sealer, "aad", 3, "dose", 4, &one), VRS_OK);
    assert_int_equal(crypto_sealer_seal(sealer, "aad", 3, "dose", 4, &two), VRS_OK);
    assert_int_equal(one.len, 1 + 32 + CRYPTO_SEAL_OVERHEAD + 4);
    assert_memory_equal(one.data, two.data, 33); /* one epoch */
    assert_memory_not_equal(one.data + 33, two.data + 33, CRYPTO_NONCE_BYTES);
    assert_int_equal(crypto_opener_unseal(opener, "aad", 3, one.data, one.len, &plain), VRS_OK);
    assert_int_equal(crypto_opener_unseal(opener, "aad", 3, two.data, two.len, &plain), VRS_OK);
    assert_string_equal(buffer_cstr(&plain), "dosedose");
    assert_int_equal(crypto_opener_unseal(opener, "axd", 3, two.data, two.len, &plain),
                     ERR_TAMPERED);
    assert_int_equal(crypto_opener_unseal(stranger, "aad", 3, two.data, two.len, &plain),
                     ERR_TAMPERED);
    for (size_t i = 0; i < two.len; i++) {
        two.data[i] ^= 0x80;
        assert_int_equal(crypto_opener_unseal(opener, "aad", 3, two.data, two.len, &plain),
                         ERR_TAMPERED);
        two.data[i] ^= 0x80;
        assert_int_not_equal(crypto_opener_unseal(opener, "aad", 3, two.data, i, &plain), VRS_OK);
    }
    assert_int_equal(plain.len, 8);
    /* A small-order point gives a shared secret that everyone knows. */
    memset(two.data + 1, 0, 32);
    assert_int_equal(crypto_opener_unseal(opener, "aad", 3, two.data, two.len, &plain),
                     ERR_TAMPERED);
    struct buffer tiny;
    buffer_init(&tiny, 10);
    assert_int_equal(crypto_sealer_seal(sealer, "aad", 3, "dose", 4, &tiny), ERR_MEMORY);
    buffer_fini(&tiny);
    crypto_sealer_close(&sealer);
    crypto_opener_close(&opener);
    crypto_opener_close(&stranger);
    buffer_fini(&one);
    buffer_fini(&two);
    buffer_fini(&plain);
}

static void many_epochs_pass_the_cache(void **state) {
    (void)state;
    struct secret_key priv;
    uint8_t pub[32];
    crypto_x25519_keypair(&priv, pub);
    struct crypto_opener *opener = crypto_opener_open(&priv);
    struct buffer sealed[20], plain;
    buffer_init(&plain, 1000);
    struct crypto_sealer *sealer = crypto_sealer_open(pub, 0); /* each one is an epoch */
    for (size_t i = 0; i < 20; i++) {
        buffer_init(&sealed[i], 1000);
        assert_int_equal(crypto_sealer_seal(sealer, NULL, 0, "x", 1, &sealed[i]), VRS_OK);
        if (i > 0)
            assert_memory_not_equal(sealed[i].data, sealed[i - 1].data, 33);
    }
    for (size_t i = 0; i < 60; i++)
        assert_int_equal(crypto_opener_unseal(opener, NULL, 0, sealed[i * 7 % 20].data,
                                              sealed[i * 7 % 20].len, &plain),
                         VRS_OK);
    assert_int_equal(plain.len, 60);
    for (size_t i = 0; i < 20; i++)
        buffer_fini(&sealed[i]);
    buffer_fini(&plain);
    crypto_sealer_close(&sealer);
    crypto_opener_close(&opener);
}

/* RFC 8032, section 7.1, test 2. */
static void ed25519_vectors(void **state) {
    (void)state;
    struct secret_key priv;
    uint8_t pub[32], sig[64];
    assert_true(crypto_unhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                             priv.bytes, 32));
    assert_true(
        crypto_unhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", pub, 32));
    assert_int_equal(crypto_sign(&priv, "\x72", 1, sig), VRS_OK);
    is_hex(sig, 64,
           "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
           "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    assert_int_equal(crypto_verify(pub, "\x72", 1, sig), VRS_OK);
    assert_int_equal(crypto_verify(pub, "\x73", 1, sig), ERR_TAMPERED);
    assert_int_equal(crypto_verify(pub, "", 0, sig), ERR_TAMPERED);
    sig[63] ^= 1;
    assert_int_equal(crypto_verify(pub, "\x72", 1, sig), ERR_TAMPERED);
    crypto_ed25519_keypair(&priv, pub);
    assert_int_equal(crypto_sign(&priv, NULL, 0, sig), VRS_OK);
    assert_int_equal(crypto_verify(pub, NULL, 0, sig), VRS_OK);
}

static void passwords(void **state) {
    (void)state;
    char one[CRYPTO_PASSWORD_HASH_MAX], two[CRYPTO_PASSWORD_HASH_MAX];
    assert_int_equal(crypto_password_hash("正しい馬 電池", one), VRS_OK);
    assert_int_equal(crypto_password_hash("正しい馬 電池", two), VRS_OK);
    assert_memory_equal(one, "$argon2id$v=19$m=19456,t=2,p=1$", 31);
    assert_string_not_equal(one, two);
    assert_int_equal(crypto_password_verify("正しい馬 電池", one), VRS_OK);
    assert_int_equal(crypto_password_verify("正しい馬 電地", one), ERR_BAD_LOGIN);
    assert_int_equal(crypto_password_verify("", one), ERR_BAD_LOGIN);
    assert_int_equal(crypto_password_verify("x", NULL), ERR_BAD_LOGIN);
    assert_int_equal(crypto_password_verify("x", ""), ERR_BAD_LOGIN);
    assert_int_equal(crypto_password_verify("x", "$argon2id$v=19$m=19456"), ERR_BAD_LOGIN);
}

static void hex_and_base64(void **state) {
    (void)state;
    uint8_t b[8];
    assert_true(crypto_unhex("00fFa0", b, 3));
    is_hex(b, 3, "00ffa0");
    assert_false(crypto_unhex("00ff", b, 3));
    assert_false(crypto_unhex("00ffa", b, 3));
    assert_false(crypto_unhex("00ffa000", b, 3));
    assert_false(crypto_unhex("00fg", b, 2));
    assert_true(crypto_unhex("", b, 0));

    /* RFC 4648, section 10. */
    static const char *const pair[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    char text[16];
    size_t n = 0;
    for (size_t i = 0; i < sizeof pair / sizeof pair[0]; i++) {
        crypto_base64(pair[i][0], strlen(pair[i][0]), text);
        assert_string_equal(text, pair[i][1]);
        assert_true(crypto_unbase64(text, b, sizeof b, &n));
        assert_int_equal(n, strlen(pair[i][0]));
        assert_memory_equal(b, pair[i][0], n);
    }
    static const char *const bad[] = {
        "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm9v\n", "Zm 9", "Zm9_", "=Zg="};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (crypto_unbase64(bad[i], b, sizeof b, &n))
            fail_msg("%s", bad[i]);
    assert_false(crypto_unbase64("Zm9vYmFy", b, 5, &n));
}

static void uuids(void **state) {
    (void)state;
    char a[37], b[37];
    for (int i = 0; i < 100; i++) {
        crypto_uuid4(a);
        crypto_uuid4(b);
        assert_int_equal(strlen(a), 36);
        assert_string_not_equal(a, b);
        assert_true(a[8] == '-' && a[13] == '-' && a[18] == '-' && a[23] == '-');
        assert_int_equal(a[14], '4');
        assert_non_null(strchr("89ab", a[19]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xaes_published_vectors),
        cmocka_unit_test(xaes_accumulated_vector),
        cmocka_unit_test(what_was_changed_does_not_open),
        cmocka_unit_test(empty_content_and_fresh_nonces),
        cmocka_unit_test(hashes),
        cmocka_unit_test(hkdf_vectors),
        cmocka_unit_test(x25519_vectors),
        cmocka_unit_test(sealing_to_a_public_key),
        cmocka_unit_test(many_epochs_pass_the_cache),
        cmocka_unit_test(ed25519_vectors),
        cmocka_unit_test(passwords),
        cmocka_unit_test(hex_and_base64),
        cmocka_unit_test(uuids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
