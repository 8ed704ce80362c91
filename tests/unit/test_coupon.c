#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ocr-ingest/coupon.h"

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

static void municipality_codes(void **state) {
    (void)state;
    static const char *const valid[] = {"011002", "131032", "141003", "271004",
                                        "462012", "134023", "112241", "272230"};
    static const char *const invalid[] = {"",       "13103",  "131031", "1310320", "13103x",
                                          "112240", "272231", " 31032", "131042"};
    for (size_t i = 0; i < sizeof valid / sizeof valid[0]; i++)
        assert_true(municipality_code_valid(valid[i]));
    for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++)
        assert_false(municipality_code_valid(invalid[i]));
    assert_false(municipality_code_valid(NULL));
    struct municipality_code c;
    assert_true(municipality_code_set(&c, "131032"));
    assert_string_equal(c.digits, "131032");
    assert_false(municipality_code_set(&c, "131033"));
    assert_string_equal(c.digits, "131032");
}

static int remainder_of(const char *code) {
    int sum = 0;
    for (int i = 0; i < 5; i++)
        sum += (code[i] - '0') * (6 - i);
    return sum % 11;
}

/* Every wrong digit in every code that exists.  By the rule itself the remainders 0 and 10 share
 * the check digit 1, so a misreading between the two passes: nothing else may. */
static void one_wrong_digit_is_refused(void **state) {
    (void)state;
    size_t tried = 0;
    size_t passed = 0;
    for (size_t m = 0; m < municipality_count(known); m++) {
        for (size_t i = 0; i < 6; i++) {
            for (char d = '0'; d <= '9'; d++) {
                char code[7];
                memcpy(code, municipality_at(known, m)->code.digits, sizeof code);
                if (d == code[i])
                    continue;
                int before = remainder_of(code);
                code[i] = d;
                int after = remainder_of(code);
                bool shared = (before == 0 && after == 10) || (before == 10 && after == 0);
                assert_int_equal(municipality_code_valid(code), shared);
                tried++;
                passed += shared;
            }
        }
    }
    assert_int_equal(tried, 1741 * 54);
    assert_true(passed * 100 < tried * 2);
}

static void personal_numbers(void **state) {
    (void)state;
    static const char *const valid[] = {"123456789018", "987654321093", "012345678903",
                                        "505050505051", "000000000060", "983205673214"};
    static const char *const invalid[] = {
        "983205673210", "210987654321",  "000000000000", "",
        "12345678901",  "1234567890188", "12345678901a", "1234567890 18"};
    for (size_t i = 0; i < sizeof valid / sizeof valid[0]; i++)
        assert_true(personal_number_valid(valid[i]));
    for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++)
        assert_false(personal_number_valid(invalid[i]));
    assert_false(personal_number_valid(NULL));
}

static void formats_eighteen_digits(void **state) {
    (void)state;
    struct coupon c = {.kind = COUPON_VACCINATION, .dose_number = 3};
    assert_true(municipality_code_set(&c.municipality, "462012"));
    assert_true(coupon_number_set(&c.number, "0000000042"));
    assert_false(coupon_number_set(&c.number, "000000042"));
    assert_false(coupon_number_set(&c.number, "00000000042"));
    char line[19];
    coupon_format(&c, line);
    assert_string_equal(line, "234620120000000042");
}

static void list_holds_every_municipality(void **state) {
    (void)state;
    assert_int_equal(municipality_count(known), 1741);
    const struct municipality *m = municipality_find(known, "131032");
    assert_non_null(m);
    assert_string_equal(m->name, "港区");
    assert_string_equal(m->prefecture, "東京都");
    assert_string_equal(municipality_find(known, "462012")->name, "鹿児島市");
    assert_null(municipality_find(known, "131033"));
    assert_null(municipality_find(known, ""));
    assert_null(municipality_find(known, "1310320"));
    assert_null(municipality_at(known, 1741));
    for (size_t i = 0; i < 1741; i++) {
        m = municipality_at(known, i);
        assert_ptr_equal(municipality_find(known, m->code.digits), m);
        assert_true(i == 0 ||
                    strcmp(municipality_at(known, i - 1)->code.digits, m->code.digits) < 0);
    }
}

static enum vrs_err open_text(const char *text) {
    char path[] = "/tmp/vrs-municipalities-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
    struct municipality_list *l = NULL;
    struct vrs_fault fault = {0};
    enum vrs_err e = municipality_list_open(path, &l, &fault);
    assert_int_equal(l != NULL, e == VRS_OK);
    municipality_list_close(&l);
    (void)unlink(path);
    return e;
}

static void bad_lists_are_refused(void **state) {
    (void)state;
    assert_int_equal(open_text("code,prefecture,name,kana\n131032,東京都,港区,みなとく\n"), VRS_OK);
    assert_int_equal(open_text("code,prefecture,name,kana\n"), ERR_F004);
    assert_int_equal(open_text("name,prefecture,code,kana\n"), ERR_F006);
    assert_int_equal(open_text("code,prefecture\n"), ERR_F005);
    assert_int_equal(open_text("code,prefecture,name,kana\n131031,東京都,港区,みなとく\n"),
                     ERR_R102);
    assert_int_equal(open_text("code,prefecture,name,kana\n131032,,港区,みなとく\n"), ERR_R180);
    assert_int_equal(open_text("code,prefecture,name,kana\n131032,東京都,港区,みなとく\n"
                               "131032,東京都,港区,みなとく\n"),
                     ERR_R140);
    struct municipality_list *l = NULL;
    assert_int_equal(municipality_list_open("/nonexistent", &l, NULL), ERR_CONFIG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(municipality_codes),
        cmocka_unit_test(one_wrong_digit_is_refused),
        cmocka_unit_test(personal_numbers),
        cmocka_unit_test(formats_eighteen_digits),
        cmocka_unit_test(list_holds_every_municipality),
        cmocka_unit_test(bad_lists_are_refused),
    };
    return cmocka_run_group_tests(tests, open_list, close_list);
}
