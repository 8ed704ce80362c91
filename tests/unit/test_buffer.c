#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/buffer.h"

static void it_grows_up_to_its_maximum(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 1000);
    for (int i = 0; i < 100; i++)
        assert_true(buffer_put(&b, "0123456789", 10));
    assert_int_equal(b.len, 1000);
    assert_false(b.failed);
    assert_false(buffer_put(&b, "x", 1));
    assert_true(b.failed);
    assert_int_equal(b.len, 1000);
    buffer_fini(&b);
    assert_null(b.data);
    buffer_fini(&b);
}

static void failure_sticks_until_cleared(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 4);
    assert_false(buffer_puts(&b, "12345"));
    assert_false(buffer_puts(&b, "1"));
    assert_null(buffer_cstr(&b));
    assert_null(buffer_grow(&b, 1));
    assert_false(buffer_printf(&b, "%d", 1));
    buffer_clear(&b);
    assert_true(buffer_printf(&b, "%d", 1234));
    assert_string_equal(buffer_cstr(&b), "1234");
    buffer_fini(&b);
}

static void nothing_is_written_when_nothing_is_put(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 0);
    assert_true(buffer_put(&b, NULL, 0));
    assert_string_equal(buffer_cstr(&b), "");
    buffer_drop_front(&b, 10);
    assert_int_equal(b.len, 0);
    buffer_fini(&b);
}

static void what_is_dropped_is_wiped(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 100);
    assert_true(buffer_puts(&b, "secret-rest"));
    buffer_drop_front(&b, 7);
    assert_string_equal(buffer_cstr(&b), "rest");
    assert_null(memmem(b.data, b.cap, "secret", 6));
    buffer_clear(&b);
    for (size_t i = 0; i < b.cap; i++)
        assert_int_equal(b.data[i], 0);
    buffer_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_grows_up_to_its_maximum),
        cmocka_unit_test(failure_sticks_until_cleared),
        cmocka_unit_test(nothing_is_written_when_nothing_is_put),
        cmocka_unit_test(what_is_dropped_is_wiped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
