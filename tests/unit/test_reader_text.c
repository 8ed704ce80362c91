// needs: tablet-api/reader_text.c tablet-api/intake.c tablet-api/line.c tablet-api/again.c
/* The words of the reader line, and the memory of the latest readings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/secret.h"
#include "tablet-api/again.h"
#include "tablet-api/reader_text.h"

#define RUN "2b1c9a3e-0000-4000-8000-00000000000A"
#define HEADER "VRS1 run=" RUN " product=comirnaty lot=FF3620 date=2021-07-01 site=%E6%B8%AF%20x"

static void headers(void **state) {
    struct reader_header a = {0}, b = {0};
    struct vrs_fault fault = {0};
    char key_a[INTAKE_KEY_SIZE], key_b[INTAKE_KEY_SIZE];
    (void)state;
    assert_int_equal(reader_header_read(HEADER, &a, &fault), VRS_OK);
    assert_string_equal(json_string_value(json_object_get(a.fields, "site")), "港 x");
    assert_string_equal(json_string_value(json_object_get(a.fields, "read_by")), "ocr");
    assert_string_equal(a.run, "2b1c9a3e-0000-4000-8000-00000000000a");
    /* Another order and spelling is the same header. */
    assert_int_equal(reader_header_read("VRS1  site=%e6%b8%af%20x date=2021-07-01 lot=%46F3620 "
                                        "status=given product=comirnaty run=" RUN,
                                        &b, &fault),
                     VRS_OK);
    reader_key(&a, "1", key_a);
    reader_key(&b, "1", key_b);
    assert_string_equal(key_a, key_b);
    reader_key(&b, "2", key_b);
    assert_string_not_equal(key_a, key_b);
    assert_int_equal(reader_header_read(HEADER " physician=A", &b, &fault), VRS_OK);
    reader_key(&b, "1", key_b);
    assert_string_not_equal(key_a, key_b);
    char again[INTAKE_KEY_SIZE];
    assert_true(intake_key(key_a, again)); /* it has the form of one */
    reader_header_fini(&a);
    reader_header_fini(&b);
}

static void bad_headers(void **state) {
    static const struct {
        const char *line;
        enum vrs_err e;
    } list[] = {
        {"VRS1", ERR_MISSING_FIELD},
        {HEADER " lot=FF3620", ERR_BAD_FIELD},
        {HEADER " physician=%0A", ERR_BAD_FIELD},
        {HEADER " physician=%00", ERR_BAD_FIELD},
        {HEADER " physician=%ff", ERR_BAD_FIELD},
        {HEADER " physician=%4", ERR_BAD_FIELD},
        {HEADER " ocr_line=1", ERR_UNKNOWN_FIELD},
        {HEADER " physician", ERR_BAD_REQUEST},
        {"VRS1 run=1 product=comirnaty lot=A date=2021-07-01 site=x", ERR_BAD_FIELD},
    };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        struct reader_header h = {0};
        struct vrs_fault fault = {0};
        assert_int_equal(reader_header_read(list[i].line, &h, &fault), list[i].e);
        assert_null(h.fields);
    }
    assert_true(reader_text_is_header("VRS1 x"));
    assert_false(reader_text_is_header("VRS10 x"));
    assert_false(reader_text_is_header("1 VRS1"));
}

static void reading_lines(void **state) {
    struct reader_reading r;
    (void)state;
    assert_true(reader_reading_read("0012 211310321234567890", &r));
    assert_string_equal(r.sequence, "12");
    assert_false(r.confirmed);
    assert_string_equal(r.digits, "211310321234567890");
    assert_true(reader_reading_read("7!  x", &r));
    assert_true(r.confirmed);
    assert_string_equal(r.digits, "x");
    assert_false(reader_reading_read("0 211310321234567890", &r));
    assert_false(reader_reading_read("211310321234567890", &r));
    assert_false(reader_reading_read("1234567890123 2", &r));
    assert_false(reader_reading_read("-1 2", &r));
    assert_false(reader_reading_read("", &r));
}

static void bodies(void **state) {
    struct reader_header h = {0};
    struct vrs_fault fault = {0};
    struct reader_reading r;
    struct buffer b;
    (void)state;
    buffer_init(&b, 4096);
    assert_int_equal(reader_header_read(HEADER, &h, &fault), VRS_OK);
    assert_true(reader_reading_read("1! 21\"", &r));
    assert_int_equal(reader_body(&h, &r, &b), VRS_OK);
    assert_non_null(strstr(buffer_cstr(&b), "\"ocr_line\":\"21\\\"\""));
    assert_non_null(strstr(buffer_cstr(&b), "\"confirmed_again\":true"));
    assert_null(strstr(buffer_cstr(&b), "\"run\""));
    assert_null(json_object_get(h.fields, "ocr_line"));
    buffer_fini(&b);
    reader_header_fini(&h);
}

static void answers(void **state) {
    struct inbox_found f = {.outcome = LINE_RECORDED_FOR_REVIEW};
    struct intake_refusal no = {.candidates = 2};
    struct buffer b;
    (void)state;
    buffer_init(&b, 4096);
    memset(f.receipt, 0xab, sizeof f.receipt);
    (void)strcpy(f.warnings, "too_young lot_unknown");
    reader_text_receipt("3", &f, true, &b);
    assert_string_equal(buffer_cstr(&b), "3 recorded_for_review abababababababababababababababab "
                                         "warnings=too_young,lot_unknown\n");
    buffer_clear(&b);
    f.outcome = LINE_PENDING;
    reader_text_receipt("3", &f, false, &b);
    assert_string_equal(buffer_cstr(&b), "3 pending abababababababababababababababab\n");
    buffer_clear(&b);
    (void)strcpy(no.candidate[0].line, "1");
    (void)strcpy(no.candidate[1].line, "2");
    reader_text_error("4", ERR_R102, &no, &b);
    assert_int_equal(strncmp(buffer_cstr(&b), "4 ERR R102 candidates=1,2 ", 26), 0);
    buffer_clear(&b);
    reader_text_error("", ERR_TERMINAL_REVOKED, NULL, &b);
    assert_int_equal(strncmp(buffer_cstr(&b), "ERR terminal_revoked ", 21), 0);
    buffer_clear(&b);
    reader_text_error("5", ERR_SAME_COUPON, NULL, &b);
    assert_int_equal(strncmp(buffer_cstr(&b), "5 ASK same_coupon_again ", 24), 0);
    buffer_fini(&b);
}

static void same_coupon_again(void **state) {
    static const uint8_t k1[CRYPTO_HASH_BYTES] = {1}, k2[CRYPTO_HASH_BYTES] = {2};
    struct again *a = again_open(64, 2000);
    struct again *never = again_open(64, 0);
    (void)state;
    assert_non_null(a);
    assert_non_null(never);
    assert_false(again_asks(a, "t1", "211310321234567890", k1, false));
    assert_false(again_asks(a, "t1", "211310321234567890", k1, false)); /* repeated request */
    assert_true(again_asks(a, "t1", "211310321234567890", k2, false));
    assert_true(
        again_asks(a, "t1", "211310321234567890", k2, false)); /* asking remembers nothing */
    assert_false(again_asks(a, "t2", "211310321234567890", k2, false));
    assert_false(again_asks(a, "t1", "221310321234567890", k2, false));
    assert_false(again_asks(a, "t1", "211310321234567890", k2, true));
    assert_true(again_asks(a, "t1", "211310321234567890", k1, false)); /* the newest counts */
    for (int i = 0; i < 1000; i++) { /* bounded: forgets the oldest, never fails */
        char line[32];
        (void)snprintf(line, sizeof line, "21131032%010d", i);
        assert_false(again_asks(a, "t1", line, k1, false));
    }
    assert_false(again_asks(never, "t1", "2", k1, false));
    assert_false(again_asks(never, "t1", "2", k2, false));
    assert_false(again_asks(a, "t3", "2", k1, false));
    (void)usleep(2100000);
    assert_false(again_asks(a, "t3", "2", k2, false)); /* the window is over */
    again_close(&a);
    again_close(&never);
}

int main(void) {
    secret_install_allocators();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),       cmocka_unit_test(bad_headers),
        cmocka_unit_test(reading_lines), cmocka_unit_test(bodies),
        cmocka_unit_test(answers),       cmocka_unit_test(same_coupon_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
