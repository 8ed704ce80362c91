#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "lib/clock.h"

static int32_t day(const char *s) {
    struct civil_date d = {INT32_MIN};
    assert_int_equal(clock_parse_date(s, &d), VRS_OK);
    return d.days;
}

static void dates_are_read(void **state) {
    (void)state;
    assert_int_equal(day("1970-01-01"), 0);
    assert_int_equal(day("1969-12-31"), -1);
    assert_int_equal(day("2000-02-29"), 11016);
    assert_int_equal(day("20000301"), 11017);
    assert_int_equal(day("2021-07-01"), 18809);
    assert_int_equal(day("9999-12-31"), 2932896);
    assert_int_equal(day("0001-01-01"), -719162);
}

static void wrong_dates_are_told_apart(void **state) {
    (void)state;
    static const char *const form[] = {"",
                                       "2021",
                                       "2021-7-1",
                                       "2021/07/01",
                                       "2021-07-1a",
                                       "2021-07-01 ",
                                       " 2021-07-01",
                                       "2021070",
                                       "202107011",
                                       "2021-0701",
                                       "20210a01",
                                       "+2021701",
                                       "２０２１-07-01"};
    static const char *const none[] = {"2021-02-29", "1900-02-29", "2021-13-01", "2021-00-10",
                                       "2021-04-31", "2021-01-00", "00000101",   "20210732"};
    struct civil_date d;
    for (size_t i = 0; i < sizeof form / sizeof form[0]; i++)
        if (clock_parse_date(form[i], &d) != ERR_R110)
            fail_msg("form: %s", form[i]);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (clock_parse_date(none[i], &d) != ERR_R111)
            fail_msg("no such day: %s", none[i]);
}

static void every_day_goes_round(void **state) {
    (void)state;
    char text[11], plain[9], before[11] = "";
    for (int32_t d = day("0001-01-01"); d <= day("9999-12-31"); d += d > 0 && d < 40000 ? 1 : 13) {
        clock_format_date((struct civil_date){d}, text);
        clock_format_date_plain((struct civil_date){d}, plain);
        assert_int_equal(day(text), d);
        assert_int_equal(day(plain), d);
        assert_true(strcmp(before, text) < 0);
        memcpy(before, text, sizeof before);
    }
    clock_format_date((struct civil_date){INT32_MAX}, text);
    assert_string_equal(text, "9999-12-31");
    clock_format_date((struct civil_date){INT32_MIN}, text);
    assert_string_equal(text, "0000-01-01");
}

static int64_t instant(const char *s) {
    int64_t ms = -1;
    assert_true(clock_parse_rfc3339(s, &ms));
    return ms;
}

static void instants_are_read_and_written(void **state) {
    (void)state;
    assert_int_equal(instant("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(instant("2021-07-01T12:04:05.678+09:00"), instant("2021-07-01T03:04:05.678Z"));
    assert_int_equal(instant("2021-07-01T03:04:05.6Z") % 1000, 600);
    assert_int_equal(instant("2021-07-01T03:04:05.123456789z") % 1000, 123);
    assert_int_equal(instant("1969-12-31t23:59:59.999-00:00"), -1);
    char text[25];
    clock_format_rfc3339(instant("2021-07-01T12:04:05.678+09:00"), text);
    assert_string_equal(text, "2021-07-01T03:04:05.678Z");
    clock_format_rfc3339(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    char local[15];
    clock_format_jst14(instant("2021-12-31T15:00:00Z"), local);
    assert_string_equal(local, "20220101000000");
}

static void wrong_instants_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "2021-07-01",
        "2021-07-01T03:04:05",
        "2021-07-01 03:04:05Z",
        "2021-07-01T24:00:00Z",
        "2021-07-01T03:60:00Z",
        "2021-07-01T03:04:60Z",
        "2021-02-30T03:04:05Z",
        "2021-07-01T03:04:05.Z",
        "2021-07-01T03:04:05.1234567890Z",
        "2021-07-01T03:04:05Zx",
        "2021-07-01T03:04:05+0900",
        "2021-07-01T03:04:05+09:0",
        "2021-07-01T03:04:05+24:00",
        "2021-07-01T03:04:05+09:60",
        "2021-07-01T03:04:05+09:00x",
        "2021-07-01T03:04:05,5Z",
    };
    int64_t ms;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (clock_parse_rfc3339(bad[i], &ms))
            fail_msg("%s", bad[i]);
}

static void the_day_changes_in_japan(void **state) {
    (void)state;
    assert_int_equal(clock_date_jst(instant("2021-06-30T14:59:59.999Z")).days, day("2021-06-30"));
    assert_int_equal(clock_date_jst(instant("2021-06-30T15:00:00Z")).days, day("2021-07-01"));
    assert_int_equal(clock_date_jst(instant("1960-01-01T00:00:00+09:00")).days, day("1960-01-01"));
}

static int32_t age(const char *birth, const char *on) {
    return clock_age_years((struct civil_date){day(birth)}, (struct civil_date){day(on)});
}

static void ages(void **state) {
    (void)state;
    assert_int_equal(age("2009-07-01", "2021-06-30"), 11);
    assert_int_equal(age("2009-07-01", "2021-07-01"), 12);
    assert_int_equal(age("2004-02-29", "2021-02-28"), 16);
    assert_int_equal(age("2004-02-29", "2021-03-01"), 17);
    assert_int_equal(age("2021-07-01", "2021-07-01"), 0);
    assert_int_equal(age("2021-07-02", "2021-07-01"), -1);
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

enum { APART_MS = 600000 };

/* Reads the clock until it is `offset_s` off, for twenty seconds at most.
 * A machine that stands still between the two readings moves them apart: less than an hour. */
static bool comes_to(int64_t real_offset_ms, int64_t offset_s) {
    int64_t end = clock_mono_ms() + 20000;
    do {
        int64_t off = clock_now_ms() - clock_mono_ms() - real_offset_ms;
        if (llabs(off - offset_s * 1000) < APART_MS)
            return true;
    } while (clock_mono_ms() < end);
    return false;
}

static void tests_may_shift_it(void **state) {
    (void)state;
    char path[] = "/tmp/vrs-clock-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    int64_t real = clock_now_ms() - clock_mono_ms();
    clock_use_file(path);
    assert_true(comes_to(real, 0));
    write_file(path, "86400\n");
    assert_true(comes_to(real, 86400));
    write_file(path, "-3600");
    assert_true(comes_to(real, -3600));
    /* What is not a number changes nothing. */
    int64_t wait = clock_mono_ms() + 250;
    write_file(path, "tomorrow");
    while (clock_mono_ms() < wait)
        assert_true(llabs(clock_now_ms() - clock_mono_ms() - real + 3600000) < APART_MS);
    clock_use_file(NULL);
    assert_true(comes_to(real, 0));
    assert_int_equal(unlink(path), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_read),
        cmocka_unit_test(wrong_dates_are_told_apart),
        cmocka_unit_test(every_day_goes_round),
        cmocka_unit_test(instants_are_read_and_written),
        cmocka_unit_test(wrong_instants_are_refused),
        cmocka_unit_test(the_day_changes_in_japan),
        cmocka_unit_test(ages),
        cmocka_unit_test(tests_may_shift_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
