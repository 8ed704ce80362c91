#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ocr-ingest/line.h"

static struct municipality_list *known;

static int open_list(void **state) {
    (void)state;
    struct vrs_fault fault = {0};
    return municipality_list_open("data/municipalities.csv", &known, &fault) == VRS_OK ? 0 : -1;
}

static int close_list(void **state) {
    (void)state;
    municipality_list_close(&known);
    return 0;
}

static void parses(const char *text) {
    struct coupon c;
    struct vrs_fault fault = {0};
    assert_int_equal(line_parse(text, known, &c, &fault), VRS_OK);
    char line[19];
    coupon_format(&c, line);
    assert_string_equal(line, "211310320000012345");
}

static void what_people_and_scanners_send(void **state) {
    (void)state;
    parses("211310320000012345");
    parses(" 2 1 131032 0000012345\r\n");
    parses("2-1-131032-0000012345");
    parses("２１１３１０３２０００００１２３４５");
    parses("２　１　１３１０３２　００００0１２３４５"); /* mixed widths */
    parses("\xef\xbb\xbf"
           "211310320000012345");
    parses("a211310320000012345a\n"); /* NW-7 with start and stop */
    parses("D211310320000012345B");
    parses("21−131032‐0000012345ー");
}

static void fields(void **state) {
    (void)state;
    struct coupon c;
    assert_int_equal(line_parse("194620129876543210", known, &c, NULL), VRS_OK);
    assert_int_equal(c.kind, COUPON_EXAMINED_ONLY);
    assert_int_equal(c.dose_number, 9);
    assert_string_equal(c.municipality.digits, "462012");
    assert_string_equal(c.number.digits, "9876543210");
}

static void refuses(const char *text, enum vrs_err want) {
    struct coupon c;
    memset(&c, 0x5a, sizeof c);
    struct coupon before = c;
    struct vrs_fault fault = {0};
    assert_int_equal(line_parse(text, known, &c, &fault), want);
    assert_memory_equal(&c, &before, sizeof c);
    assert_null(strstr(fault.text, "0000012345"));
}

static void reasons(void **state) {
    (void)state;
    refuses("", ERR_R104);
    refuses("0000012345", ERR_R104); /* a barcode of ten digits alone never posts */
    refuses("a0000012345a", ERR_R104);
    refuses("21131032000001234", ERR_R104);
    refuses("2113103200000123456", ERR_R104);
    refuses("21131O320000012345", ERR_R104); /* a letter is never mended silently */
    refuses("2l1310320000012345", ERR_R104);
    refuses("21131032000001234.", ERR_R104);
    refuses("311310320000012345", ERR_R106);
    refuses("011310320000012345", ERR_R106);
    refuses("201310320000012345", ERR_R120);
    refuses("211310330000012345", ERR_R102);
    refuses("211370320000012345", ERR_R102);
    refuses("219999910000012345", ERR_R102);
    refuses("210000010000012345", ERR_R105); /* right check digit, no such municipality */
    refuses("211310320000012345211310320000012345211310320000012345211310320000012345", ERR_R104);
    struct coupon c;
    assert_int_equal(line_parse("210000010000012345", NULL, &c, NULL), VRS_OK);
}

static void normalises(void **state) {
    (void)state;
    char out[64];
    line_normalise("２ l|Ｏ!q〇é\xff", out, sizeof out);
    assert_string_equal(out, "2LIOIQO??");
    line_normalise("12345", out, 4);
    assert_string_equal(out, "123");
    line_normalise("A12B", out, sizeof out);
    assert_string_equal(out, "12");
    line_normalise("A1O2B", out, sizeof out);
    assert_string_equal(out, "A1O2B");
    line_normalise("AB", out, sizeof out);
    assert_string_equal(out, "AB");
    line_normalise("", out, 1);
    assert_string_equal(out, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_people_and_scanners_send),
        cmocka_unit_test(fields),
        cmocka_unit_test(reasons),
        cmocka_unit_test(normalises),
    };
    return cmocka_run_group_tests(tests, open_list, close_list);
}
