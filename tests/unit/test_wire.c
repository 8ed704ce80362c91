#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/wire.h"

static void fields_come_back(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 1000);
    wire_put_str(&b, 1, "131016");
    wire_put_str(&b, 2, NULL);
    wire_put_u64(&b, 3, UINT64_C(0xfedcba9876543210));
    size_t mark = wire_begin(&b, 4);
    wire_put(&b, 9, "", 0);
    wire_put(&b, 9, "ab", 2);
    wire_end(&b, mark);
    assert_false(b.failed);
    const uint8_t head[] = {1, 0, 0, 0, 6, '1', '3'};
    assert_memory_equal(b.data, head, sizeof head);

    struct wire_reader r, inner;
    struct wire_field f;
    bool more = false;
    wire_open(&r, b.data, b.len);
    assert_int_equal(wire_next(&r, &f, &more), VRS_OK);
    char code[7], small[6];
    uint8_t fixed[6];
    uint64_t v = 0;
    assert_true(more && f.tag == 1 && wire_str(&f, code, sizeof code));
    assert_string_equal(code, "131016");
    assert_false(wire_str(&f, small, sizeof small));
    assert_true(wire_fixed(&f, fixed, 6));
    assert_false(wire_fixed(&f, fixed, 5));
    assert_false(wire_u64(&f, &v));
    assert_int_equal(wire_next(&r, &f, &more), VRS_OK);
    assert_true(more && f.tag == 3 && wire_u64(&f, &v));
    assert_true(v == UINT64_C(0xfedcba9876543210));
    assert_int_equal(wire_next(&r, &f, &more), VRS_OK);
    assert_true(more && f.tag == 4);
    wire_nested(&inner, &f);
    assert_int_equal(wire_next(&inner, &f, &more), VRS_OK);
    assert_true(more && f.tag == 9 && f.len == 0);
    assert_int_equal(wire_next(&inner, &f, &more), VRS_OK);
    assert_true(more && f.tag == 9 && f.len == 2);
    assert_int_equal(wire_next(&inner, &f, &more), VRS_OK);
    assert_false(more);
    assert_int_equal(wire_next(&r, &f, &more), VRS_OK);
    assert_false(more);
    buffer_fini(&b);
}

static void malformed_input_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"\1", 1},
        {"\1\0\0\0", 4},
        {"\1\0\0\0\1", 5},
        {"\1\0\0\0\2a", 6},
        {"\0\0\0\0\0", 5},
        {"\1\xff\xff\xff\xff", 5},
        {"\1\x7f\xff\xff\xff"
         "abc",
         8},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct wire_reader r;
        struct wire_field f;
        bool more = true;
        wire_open(&r, bad[i].bytes, bad[i].len);
        assert_int_equal(wire_next(&r, &f, &more), ERR_CORRUPT);
        assert_false(more);
    }
    struct wire_reader empty;
    struct wire_field f;
    bool more = true;
    wire_open(&empty, NULL, 0);
    assert_int_equal(wire_next(&empty, &f, &more), VRS_OK);
    assert_false(more);
}

/* Every truncation and every change of one byte ends in fields or ERR_CORRUPT, never outside the
 * input (the sanitizers look). */
static void mutations_stay_inside(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 1000);
    for (uint8_t tag = 1; tag < 12; tag++)
        wire_put(&b, tag, "0123456789", tag % 10U);
    for (size_t len = 0; len <= b.len; len++) {
        for (size_t at = 0; at < len; at++) {
            uint8_t *copy = malloc(len);
            assert_non_null(copy);
            memcpy(copy, b.data, len);
            copy[at] = (uint8_t)(copy[at] ^ (1 + at * 37));
            struct wire_reader r;
            struct wire_field f;
            bool more = true;
            wire_open(&r, copy, len);
            enum vrs_err e = VRS_OK;
            while (more && e == VRS_OK) {
                e = wire_next(&r, &f, &more);
                if (e == VRS_OK && more)
                    assert_true(f.data + f.len <= copy + len);
            }
            free(copy);
        }
    }
    buffer_fini(&b);
}

static void a_str_holds_no_nul(void **state) {
    (void)state;
    const struct wire_field f = {.tag = 1, .data = (const uint8_t *)"a\0b", .len = 3};
    char out[8];
    assert_false(wire_str(&f, out, sizeof out));
}

static void a_full_buffer_fails_for_good(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 12);
    size_t mark = wire_begin(&b, 1);
    wire_put_u64(&b, 2, 1);
    wire_end(&b, mark);
    assert_true(b.failed);
    buffer_fini(&b);
    buffer_init(&b, 100);
    wire_put(&b, 0, "a", 1); /* no such tag */
    assert_true(b.failed);
    buffer_fini(&b);
}

static bool take_low_tags(const struct wire_field *f, void *arg) {
    (*(unsigned *)arg)++;
    return f->tag < 5;
}

static void a_strict_message_has_every_tag_once(void **state) {
    static const struct wire_shape shape = {WIRE_BIT(1) | WIRE_BIT(2), WIRE_BIT(3)};
    static const struct {
        uint8_t tags[4];
        enum vrs_err err;
        bool fits;
    } cases[] = {
        {{1, 2}, VRS_OK, true},
        {{3, 2, 1}, VRS_OK, true},
        {{1, 3}, VRS_OK, false},
        {{1, 2, 4}, VRS_OK, false},
        {{0}, VRS_OK, false},
        {{1, 2, 1}, ERR_PROTOCOL, false},
        {{1, 2, 5}, ERR_PROTOCOL, false},
        {{1, 2, 33}, ERR_PROTOCOL, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buffer b;
        uint32_t seen;
        unsigned taken = 0;
        buffer_init(&b, 256);
        for (size_t j = 0; j < 4 && cases[i].tags[j] != 0; j++)
            wire_put_u64(&b, cases[i].tags[j], j);
        assert_int_equal(wire_each_once(b.data, b.len, take_low_tags, &taken, &seen), cases[i].err);
        if (cases[i].err == VRS_OK)
            assert_int_equal(wire_fits(seen, &shape), cases[i].fits);
        buffer_fini(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_back),
        cmocka_unit_test(malformed_input_is_refused),
        cmocka_unit_test(mutations_stay_inside),
        cmocka_unit_test(a_str_holds_no_nul),
        cmocka_unit_test(a_full_buffer_fails_for_good),
        cmocka_unit_test(a_strict_message_has_every_tag_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
