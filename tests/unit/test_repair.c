#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ocr-ingest/repair.h"

static struct municipality_list *known;
static struct repair_candidate cand[REPAIR_MAX_CANDIDATES];

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

/* What every answer must keep: valid, sorted, no line twice. */
static size_t repair(const char *text) {
    size_t n = repair_candidates(text, known, cand);
    assert_true(n <= REPAIR_MAX_CANDIDATES);
    for (size_t i = 0; i < n; i++) {
        struct coupon c;
        assert_int_equal(line_parse(cand[i].line, known, &c, NULL), VRS_OK);
        assert_true(cand[i].changes >= 1 && cand[i].cost > 0);
        assert_true(i == 0 || cand[i - 1].cost <= cand[i].cost);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(cand[k].line, cand[i].line);
    }
    return n;
}

static size_t place_of(const char *line, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(cand[i].line, line) == 0)
            return i;
    return SIZE_MAX;
}

static void letters_become_digits(void **state) {
    (void)state;
    static const struct {
        const char *read;
        int changes;
    } lines[] = {
        {"2113l0320000012345", 1}, {"21131O320000012345", 1},
        {"2I131032OOOO012345", 5}, {"Z11310320000012345", 1},
        {"21131032000001234S", 1}, {"2|131032000001Z345", 2},
        {"211310320000O12345", 1}, {"２１１３１O３２００００012345", 1},
        {"21131D320Q00012345", 2},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        size_t n = repair(lines[i].read);
        assert_true(n >= 1);
        assert_string_equal(cand[0].line, "211310320000012345");
        assert_int_equal(cand[0].changes, lines[i].changes);
    }
}

static void a_wrong_digit_in_the_municipality(void **state) {
    (void)state;
    /* 1 read as 4, 0 as 8, 3 as 8: the right line is among the candidates. */
    static const char *const lines[] = {"214310320000012345", "211318320000012345",
                                        "211810320000012345", "211370320000012345",
                                        "211310380000012345"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        size_t n = repair(lines[i]);
        assert_true(place_of("211310320000012345", n) < n);
        for (size_t k = 0; k < n; k++)
            assert_string_equal(cand[k].line + 8, "0000012345");
    }
}

/* Any single wrong digit that the check digit catches finds the right line again. */
static void every_wrong_digit_has_its_candidate(void **state) {
    (void)state;
    size_t tried = 0;
    for (size_t m = 0; m < municipality_count(known); m += 7) {
        for (size_t i = 0; i < 6; i++) {
            for (char d = '0'; d <= '9'; d++) {
                char right[19] = "21";
                memcpy(right + 2, municipality_at(known, m)->code.digits, 6);
                memcpy(right + 8, "0000012345", 11);
                char wrong[19];
                memcpy(wrong, right, sizeof wrong);
                wrong[2 + i] = d;
                struct coupon c;
                if (line_parse(wrong, known, &c, NULL) != ERR_R102)
                    continue;
                size_t n = repair(wrong);
                assert_true(place_of(right, n) < n);
                tried++;
            }
        }
    }
    assert_true(tried > 10000);
}

static void kind_and_dose(void **state) {
    (void)state;
    size_t n = repair("711310320000012345");
    assert_true(place_of("111310320000012345", n) < n);
    n = repair("2O1310320000012345"); /* no dose 0: nothing is invented but plausible readings */
    for (size_t i = 0; i < n; i++)
        assert_true(strchr("689", cand[i].line[1]) != NULL);
}

static void lost_and_added_characters(void **state) {
    (void)state;
    size_t n = repair("21311032000001234"); /* no place fits */
    for (size_t i = 0; i < n; i++)
        assert_int_equal(strlen(cand[i].line), 18);
    n = repair("21310320000012345"); /* 1 of 131032 lost */
    assert_true(place_of("211310320000012345", n) < n);
    assert_int_equal(repair("21131032000001234"), 0); /* lost in the number: nobody can know */
    n = repair("2113103200000.12345");
    assert_true(n >= 1);
    assert_string_equal(cand[0].line, "211310320000012345");
    n = repair("2111310320000012345"); /* 1 read twice */
    assert_true(place_of("211310320000012345", n) < n);
}

static void what_has_no_candidate(void **state) {
    (void)state;
    static const char *const lines[] = {"",
                                        "211310320000012345", /* valid as it is */
                                        "0000012345",
                                        "OOOOOOOOOOOOOOOOOO",
                                        "2113103200000123?5", /* anything could stand there */
                                        "??????????????????",
                                        "2113103200000123456789"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_int_equal(repair(lines[i]), 0);
}

static void random_lines_keep_the_promises(void **state) {
    (void)state;
    static const char chars[] = "0123456789012345678901234567890123456789OIZSBGl|?x ";
    unsigned seed = 20210217;
    for (int i = 0; i < 3000; i++) {
        char text[24];
        size_t n = 16 + (size_t)rand_r(&seed) % 5;
        for (size_t k = 0; k < n; k++)
            text[k] = chars[(size_t)rand_r(&seed) % (sizeof chars - 1)];
        text[n] = '\0';
        (void)repair(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_become_digits),
        cmocka_unit_test(a_wrong_digit_in_the_municipality),
        cmocka_unit_test(every_wrong_digit_has_its_candidate),
        cmocka_unit_test(kind_and_dose),
        cmocka_unit_test(lost_and_added_characters),
        cmocka_unit_test(what_has_no_candidate),
        cmocka_unit_test(random_lines_keep_the_promises),
    };
    return cmocka_run_group_tests(tests, open_list, close_list);
}
