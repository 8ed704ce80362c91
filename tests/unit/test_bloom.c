/* The set of issued numbers: no member is ever missing, strangers pass at the stated rate, the bits
 * are those that tablet-api/app/src/filter.js looks at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/bloom.h"
#include "lib/crypto.h"

static const uint8_t key[BLOOM_KEY_BYTES] = {1, 2, 3};

static void number(unsigned n, char out[11]) {
    (void)snprintf(out, 11, "%010u", n);
}

/* As a town gives them: in sequence. */
static void test_members_and_strangers(void **state) {
    enum { MEMBERS = 20000, STRANGERS = 200000 };
    struct bloom b;
    char text[11];
    size_t passed = 0;
    (void)state;
    assert_int_equal(bloom_init(&b, MEMBERS, key), VRS_OK);
    assert_int_equal(b.bytes, 2 * MEMBERS);
    for (unsigned i = 0; i < MEMBERS; i++) {
        number(1000000 + i, text);
        bloom_add(&b, text, 10);
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        number(1000000 + i, text);
        assert_true(bloom_has(&b, text, 10));
    }
    for (unsigned i = 0; i < STRANGERS; i++) {
        number(2000000 + i, text);
        passed += bloom_has(&b, text, 10);
    }
    print_message("%zu of %d strangers passed\n", passed, STRANGERS);
    assert_in_range(passed, STRANGERS / 5000, STRANGERS / 1000); /* 0.057 % expected */
    bloom_fini(&b);
}

/* Twice as many as there was room for: weaker, and still nobody is missing. */
static void test_overfull(void **state) {
    enum { ROOM = 5000, MEMBERS = 10000 };
    struct bloom b;
    char text[11];
    (void)state;
    assert_int_equal(bloom_init(&b, ROOM, key), VRS_OK);
    for (unsigned i = 0; i < MEMBERS; i++) {
        number(i, text);
        bloom_add(&b, text, 10);
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        number(i, text);
        assert_true(bloom_has(&b, text, 10));
    }
    bloom_fini(&b);
}

static void test_small(void **state) {
    struct bloom b;
    (void)state;
    assert_int_equal(bloom_init(&b, 0, key), VRS_OK);
    assert_int_equal(b.bytes, BLOOM_MIN_BYTES);
    assert_false(bloom_has(&b, "0000000001", 10)); /* nothing is issued: everything is unknown */
    bloom_add(&b, "0000000001", 10);
    assert_true(bloom_has(&b, "0000000001", 10));
    assert_false(bloom_has(&b, "0000000004", 10));
    bloom_fini(&b);
    assert_int_equal(bloom_init(&b, UINT32_MAX, key), ERR_TOO_LARGE);
}

/* The same vector stands in tests/browser/filter.mjs. */
static void test_vector(void **state) {
    struct bloom b;
    uint8_t hash[CRYPTO_HASH_BYTES];
    char hex[2 * CRYPTO_HASH_BYTES + 1], text[11];
    uint8_t other[BLOOM_KEY_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof other; i++)
        other[i] = (uint8_t)i;
    assert_int_equal(bloom_init(&b, 40, other), VRS_OK);
    for (unsigned i = 0; i < 40; i++) {
        number(2100000000U + 37 * i, text);
        bloom_add(&b, text, 10);
    }
    crypto_sha256(b.bits, b.bytes, hash);
    crypto_hex(hash, sizeof hash, hex);
    assert_string_equal(hex, "522b056e57166cee29fd5df8bb7b150f21640be11b961e0f37d47ed313568eba");
    bloom_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_and_strangers),
        cmocka_unit_test(test_overfull),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
