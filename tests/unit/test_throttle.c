#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/throttle.h"

static void wait_ms(int64_t ms) {
    for (int64_t end = clock_mono_ms() + ms; clock_mono_ms() < end;)
        ;
}

static void test_clears_by_time(void **state) {
    struct throttle *t = throttle_open(64, 3, 1000);
    int64_t retry_ms = 0;
    (void)state;
    assert_non_null(t);
    for (int i = 0; i < 3; i++) {
        assert_true(throttle_allows(t, "account a", NULL));
        throttle_count(t, "account a");
    }
    assert_false(throttle_allows(t, "account a", &retry_ms));
    assert_in_range(retry_ms, 1, 1000);
    assert_true(throttle_allows(t, "account b", NULL)); /* each name by itself */
    for (int i = 0; i < 10; i++)
        throttle_count(t, "account a"); /* trying on makes it no longer */
    wait_ms(1001);
    assert_true(throttle_allows(t, "account a", NULL)); /* C141: by time, not by what follows */
    throttle_close(&t);
}

static void test_take_back_and_clear(void **state) {
    struct throttle *t = throttle_open(64, 2, 60000);
    (void)state;
    throttle_count(t, "x");
    throttle_count(t, "x");
    assert_false(throttle_allows(t, "x", NULL));
    throttle_take_back(t, "x");
    assert_true(throttle_allows(t, "x", NULL));
    throttle_take_back(t, "x");
    throttle_take_back(t, "x"); /* never below none */
    throttle_count(t, "x");
    throttle_count(t, "x");
    assert_false(throttle_allows(t, "x", NULL));
    throttle_clear(t, "x");
    assert_true(throttle_allows(t, "x", NULL));
    throttle_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clears_by_time),
        cmocka_unit_test(test_take_back_and_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
