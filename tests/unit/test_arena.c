#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/arena.h"

static void allocations_are_zeroed_aligned_and_apart(void **state) {
    (void)state;
    struct arena *a = arena_open(1 << 20);
    for (size_t size = 0; size < 300; size += 7) {
        uint8_t *p = arena_alloc(a, size);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, size); /* the next one must not see it */
    }
    uint8_t *big = arena_alloc(a, 100000);
    assert_non_null(big);
    assert_int_equal(big[99999], 0);
    arena_close(&a);
    assert_null(a);
    arena_close(&a);
}

static void the_bound_holds(void **state) {
    (void)state;
    struct arena *a = arena_open(1000);
    assert_null(arena_alloc(a, 1001));
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_null(arena_alloc(a, SIZE_MAX - 3));
    size_t sum = 0;
    while (arena_alloc(a, 16) != NULL)
        sum += 16;
    assert_in_range(sum, 900, 1000);
    assert_null(arena_alloc(a, 16));
    arena_close(&a);
}

static void text_is_copied(void **state) {
    (void)state;
    struct arena *a = arena_open(4096);
    assert_string_equal(arena_strdup(a, "受付"), "受付");
    assert_string_equal(arena_strndup(a, "abcdef", 3), "abc");
    assert_string_equal(arena_strndup(a, "ab", 3), "ab");
    assert_string_equal(arena_printf(a, "%s-%03d", "x", 7), "x-007");
    assert_memory_equal(arena_memdup(a, "\0\1\2", 3), "\0\1\2", 3);
    assert_null(arena_printf(a, "%5000d", 1));
    arena_close(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_zeroed_aligned_and_apart),
        cmocka_unit_test(the_bound_holds),
        cmocka_unit_test(text_is_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
