// needs: vrs-server/accounts/totp.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vrs-server/accounts/totp.h"

/* RFC 6238 appendix B (SHA-1; there with 8 digits, of which these are the last 6). */
static void test_published_vectors(void **state) {
    static const struct {
        int64_t seconds;
        const char *code;
    } vectors[] = {
        {59, "287082"},         {1111111109, "081804"}, {1111111111, "050471"},
        {1234567890, "005924"}, {2000000000, "279037"}, {20000000000, "353130"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        char code[TOTP_DIGITS + 1];
        totp_code((const uint8_t *)"12345678901234567890", 20, vectors[i].seconds / TOTP_STEP_S,
                  code);
        assert_string_equal(code, vectors[i].code);
    }
}

static void test_base32(void **state) {
    uint8_t key[TOTP_KEY_BYTES];
    char secret[TOTP_SECRET_SIZE], other[TOTP_SECRET_SIZE];
    (void)state;
    assert_true(totp_key("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", key));
    assert_memory_equal(key, "12345678901234567890", sizeof key);
    assert_false(totp_key("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ", key));
    assert_false(totp_key("gezdgnbvgy3tqojqgezdgnbvgy3tqojq", key));
    totp_new_secret(secret);
    totp_new_secret(other);
    assert_int_equal(strlen(secret), TOTP_SECRET_SIZE - 1);
    assert_true(totp_key(secret, key));
    assert_string_not_equal(secret, other);
}

static void test_window_and_no_code_twice(void **state) {
    static const char secret[] = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    int64_t step = 0, again = 0;
    (void)state;
    for (int64_t off = -30; off <= 30; off += 30)
        assert_true(totp_check(secret, "050471", (1111111111 + off) * 1000, 0, &step));
    assert_int_equal(step, 1111111111 / TOTP_STEP_S);
    assert_false(totp_check(secret, "050471", INT64_C(1111111172) * 1000, 0, &again));
    assert_false(totp_check(secret, "050471", INT64_C(1111111050) * 1000, 0, &again));
    assert_false(totp_check(secret, "050471", INT64_C(1111111111) * 1000, step, &again));
    assert_true(totp_check(secret, "050471", INT64_C(1111111111) * 1000, step - 1, &again));
    assert_false(totp_check(secret, "050472", INT64_C(1111111111) * 1000, 0, &again));
    assert_false(totp_check(secret, "50471", INT64_C(1111111111) * 1000, 0, &again));
    assert_false(totp_check("", "050471", INT64_C(1111111111) * 1000, 0, &again));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_vectors),
        cmocka_unit_test(test_base32),
        cmocka_unit_test(test_window_and_no_code_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
