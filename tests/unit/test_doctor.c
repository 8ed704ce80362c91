/* The coupon doctor's candidates: what is changed, what never is, their order and their number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/secret.h"
#include "ocr-ingest/doctor.h"

static struct confusions *table;
static struct doctor_candidate list[DOCTOR_LOOKUPS];

static struct doctor_reading reading(const char *text) {
    struct doctor_reading r = {0};
    (void)snprintf(r.text, sizeof r.text, "%s", text);
    memset(r.confidence, 255, sizeof r.confidence);
    return r;
}

static int at(const char *line, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].line, line) == 0)
            return (int)i;
    }
    return -1;
}

static void one_digit(void **state) {
    struct doctor_reading r = reading("211310321111111111");
    (void)state;
    size_t n = doctor_candidates(table, &r, "131032", 1, list, DOCTOR_LOOKUPS);
    assert_int_equal(n, 20); /* ten places, 4 and 7 each */
    assert_true(at("211310321111111114", n) >= 0);
    assert_true(at("211310321111111117", n) >= 0);
    assert_int_equal(at("211310321111111112", n), -1);
    for (size_t i = 0; i < n; i++) {
        assert_memory_equal(list[i].line, "21131032", 8); /* the head stands: never touched */
        assert_int_equal(list[i].changes, 1);
    }
}

static void bounded(void **state) {
    struct doctor_reading r = reading("218888888888888888");
    (void)state;
    size_t n = doctor_candidates(table, &r, "888888", 2, list, DOCTOR_LOOKUPS);
    assert_in_range(n, 500, DOCTOR_LOOKUPS);
    for (size_t i = 1; i < n; i++)
        assert_true(list[i - 1].cost <= list[i].cost);
    assert_int_equal(doctor_candidates(table, &r, "888888", 2, list, 7), 7);
    assert_int_equal(doctor_candidates(table, &r, "888888", 3, list, DOCTOR_LOOKUPS), 0);
    assert_int_equal(doctor_candidates(table, &r, "888888", 0, list, DOCTOR_LOOKUPS), 0);
}

/* What cannot stand is changed, and counts. */
static void musts(void **state) {
    struct doctor_reading r = reading("21131032000000000O");
    (void)state;
    size_t n = doctor_candidates(table, &r, "131032", 1, list, DOCTOR_LOOKUPS);
    assert_true(n > 0);
    assert_int_equal(at("211310320000000000", n), 0);
    for (size_t i = 0; i < n; i++)
        assert_memory_equal(list[i].line, "21131032000000000", 17);
    r = reading("211350320000000000"); /* 1 as 5: nobody takes that */
    assert_int_equal(doctor_candidates(table, &r, "131032", 1, list, DOCTOR_LOOKUPS), 0);
    r = reading("214310320000000000"); /* 1 as 4 */
    n = doctor_candidates(table, &r, "131032", 1, list, DOCTOR_LOOKUPS);
    assert_int_equal(n, 1);
    assert_string_equal(list[0].line, "211310320000000000");
    r = reading("2143103200000000O0"); /* two that must: nothing else is touched */
    assert_int_equal(doctor_candidates(table, &r, "131032", 1, list, DOCTOR_LOOKUPS), 0);
    n = doctor_candidates(table, &r, "131032", 2, list, DOCTOR_LOOKUPS);
    assert_int_equal(at("211310320000000000", n), 0);
    r = reading("21131032?????00000"); /* too much is missing */
    assert_int_equal(doctor_candidates(table, &r, "131032", 2, list, DOCTOR_LOOKUPS), 0);
    r = reading("281310320000000000"); /* any dose number stands: not touched */
    n = doctor_candidates(table, &r, "131032", 1, list, DOCTOR_LOOKUPS);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(list[i].line[1], '8');
    r = reading("21131032000000000");
    assert_int_equal(doctor_candidates(table, &r, "131032", 1, list, DOCTOR_LOOKUPS), 0);
}

/* What the reader itself doubted comes first. */
static void doubts(void **state) {
    struct doctor_reading r = reading("211310321111111111");
    (void)state;
    r.confidence[12] = 20;
    size_t n = doctor_candidates(table, &r, "131032", 1, list, DOCTOR_LOOKUPS);
    assert_true(n > 0);
    assert_int_equal(list[0].line[12] == '4' || list[0].line[12] == '7', true);
    memset(r.second, ' ', DOCTOR_DIGITS);
    r.second[15] = '2'; /* in no table */
    n = doctor_candidates(table, &r, "131032", 1, list, DOCTOR_LOOKUPS);
    assert_int_equal(n, 21);
    assert_int_equal(at("211310321111111211", n), 2); /* behind the two that were unsure */
}

static void bad_tables(void **state) {
    static const char *const texts[] = {
        "{}",
        "{\"format\":\"vrs-confusions/1\",\"digits\":[{\"pair\":\"1\",\"weight\":1}]}",
        "{\"format\":\"vrs-confusions/1\",\"digits\":[{\"pair\":\"1x\",\"weight\":1}]}",
        "{\"format\":\"vrs-confusions/1\",\"digits\":[{\"pair\":\"14\",\"weight\":0}]}",
        "[",
    };
    char path[] = "/tmp/vrs-confusions-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct confusions *c = NULL;
        struct vrs_fault fault = {0};
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, texts[i], strlen(texts[i]), 0), (ssize_t)strlen(texts[i]));
        assert_int_equal(confusions_open(path, &c, &fault), ERR_CONFIG);
        assert_null(c);
    }
    (void)close(fd);
    (void)unlink(path);
}

static int open_table(void **state) {
    struct vrs_fault fault = {0};
    (void)state;
    return confusions_open("data/confusions.json", &table, &fault) == VRS_OK ? 0 : -1;
}

static int close_table(void **state) {
    (void)state;
    confusions_close(&table);
    return 0;
}

int main(void) {
    secret_install_allocators();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_digit), cmocka_unit_test(bounded),    cmocka_unit_test(musts),
        cmocka_unit_test(doubts),    cmocka_unit_test(bad_tables),
    };
    return cmocka_run_group_tests(tests, open_table, close_table);
}
