// needs: vrs-server/accounts/password_rule.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vrs-server/accounts/password_rule.h"

static struct password_rules *rules;
static const struct municipality minato = {
    .code = {"131032"}, .prefecture = "東京都", .name = "港区", .kana = "みなとく"};
static const struct municipality kyoto = {
    .code = {"261009"}, .prefecture = "京都府", .name = "京都市", .kana = "きょうとし"};

static bool good(const char *password) {
    return password_rule_check(rules, password, "hoken-07", &minato) == VRS_OK;
}

static void test_length(void **state) {
    char text[4 * 300] = "";
    (void)state;
    assert_false(good("kX7#pQ9!zL2"));
    assert_true(good("kX7#pQ9!zL2m"));
    assert_false(good(""));
    for (int i = 0; i < 256; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s",
                       i % 7 == 0   ? "春"
                       : i % 3 == 0 ? "夏"
                       : i % 5 == 0 ? "秋"
                       : i % 2 == 0 ? "冬"
                                    : "雨");
    assert_true(good(text));
    (void)snprintf(text + strlen(text), sizeof text - strlen(text), "x");
    assert_false(good(text));
    assert_false(good("line\nbreak in the middle"));
}

static void test_known(void **state) {
    static const char *const known[] = {
        "password1234",    "PASSWORD1234",     "ｐａｓｓｗｏｒｄ１２３４",
        "pass word 12-34", "passwordpassword", "p@ssw0rd2026",
        "!!sunshine!!99",  "1qaz2wsx3edc",     "qwertyqwerty",
        "123456789012",    "abcabcabcabc",     "aaaaaaaaaaaa",
        "121212121212",    "administrator1"};
    static const char *const free_ones[] = {"lantern wet bicycle mercy",
                                            "うさぎが月で餅をつく夜更け",
                                            "sunshine and a wet bicycle", "xk-29-vv-81-qe-77"};
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (good(known[i]))
            fail_msg("%s was taken", known[i]);
    }
    for (size_t i = 0; i < sizeof free_ones / sizeof *free_ones; i++) {
        if (!good(free_ones[i]))
            fail_msg("%s was refused", free_ones[i]);
    }
}

static void test_names(void **state) {
    static const char *const near[] = {"hoken-07-2026", "Hoken07Hoken07", "minatoku2026!",
                                       "港区港区接種課二〇二", "みなとく接種担当者二六"};
    (void)state;
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        if (good(near[i]))
            fail_msg("%s was taken", near[i]);
    }
    assert_true(good("minato and eight other words"));
    assert_int_equal(password_rule_check(rules, "kyoutoshi2026", "hoken-07", &kyoto),
                     ERR_PASSWORD_WEAK);
    assert_int_equal(password_rule_check(rules, "kyouto-26-26-26", "hoken-07", &kyoto),
                     ERR_PASSWORD_WEAK);
    assert_int_equal(password_rule_check(rules, "kyoutoshi2026", "hoken-07", NULL), VRS_OK);
}

static void test_files(void **state) {
    struct vrs_fault fault = {0};
    struct password_rules *none = NULL;
    char path[] = "/tmp/passwords-XXXXXX";
    (void)state;
    assert_int_equal(password_rules_open("/nonexistent", &none, &fault), ERR_CONFIG);
    password_rules_close(&none);
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "# nothing\n", 10) == 10 && close(fd) == 0);
    assert_int_equal(password_rules_open(path, &none, &fault), ERR_CONFIG);
    assert_non_null(strstr(fault.text, "lists no password"));
    password_rules_close(&none);
    (void)unlink(path);
}

static int open_rules(void **state) {
    struct vrs_fault fault = {0};
    (void)state;
    return password_rules_open("data/passwords.txt", &rules, &fault) == VRS_OK ? 0 : -1;
}

static int close_rules(void **state) {
    (void)state;
    password_rules_close(&rules);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, open_rules, close_rules);
}
