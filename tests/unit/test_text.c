#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/text.h"

#define IVS "\xf3\xa0\x84\x80" /* U+E0100 */

static void folds_to(void (*fold)(const char *, struct buffer *), const char *from,
                     const char *to) {
    struct buffer b;
    buffer_init(&b, 1000);
    fold(from, &b);
    const char *got = buffer_cstr(&b);
    assert_non_null(got);
    if (strcmp(got, to) != 0)
        fail_msg("%s became %s, not %s", from, got, to);
    buffer_fini(&b);
}

static void utf8_is_checked(void **state) {
    (void)state;
    static const char *const good[] = {"", "a", "é", "髙", "𠮷", ("辻" IVS), "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {
        "\x80",
        "\xc3",
        "\xc0\xaf",
        "\xc1\xbf",
        "\xe3\x81",
        "\xe0\x80\xaf",
        "\xed\xa0\x80",
        "\xf0\x80\x80\xaf",
        "\xf0\x9f\x98",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "a\xe3\x81z",
        "\x9c\x9c\x9c\x9c\x9c\x9c\x9c\x9c\x9c\x9c\x9c\x9c",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(text_valid_utf8(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (text_valid_utf8(bad[i], strlen(bad[i])))
            fail_msg("bad %zu", i);
    assert_false(text_valid_utf8("髙", 2)); /* never reads past the end */
    assert_true(text_valid_utf8("a\0b", 3));
}

static void characters_are_counted(void **state) {
    (void)state;
    assert_int_equal(text_chars(""), 0);
    assert_int_equal(text_chars("髙﨑"), 2);
    assert_int_equal(text_chars("辻" IVS "田"), 2);
    assert_int_equal(text_chars("𠮷野家"), 3);
}

static void controls_are_not_printable(void **state) {
    (void)state;
    assert_true(text_printable("東京都 千代田区　１−１"));
    assert_true(text_printable("辻" IVS));
    assert_true(text_printable("\xee\x80\x80")); /* 外字 are kept for a person to see */
    static const char *const bad[] = {"a\nb",         "\t",           "\x7f",
                                      "\xc2\x85",     "\xe2\x80\xa8", "\xe2\x80\xae",
                                      "\xe2\x81\xa6", "\xe2\x80\x8f", "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (text_printable(bad[i]))
            fail_msg("bad %zu", i);
}

static void codes_fold(void **state) {
    (void)state;
    folds_to(text_fold_code, "ｅｙ０５７３", "EY0573");
    folds_to(text_fold_code, " ey-05　7‐3－ー−", "EY0573");
    folds_to(text_fold_code, "", "");
    folds_to(text_fold_code, "ロット1", "ロット1");
}

static void kana_fold(void **state) {
    (void)state;
    folds_to(text_fold_kana, "ﾀｶｻｷ ｼﾞﾛｳ", "タカサキジロウ");
    folds_to(text_fold_kana, "たかさき　じろう", "タカサキジロウ");
    folds_to(text_fold_kana, "ﾊﾟｲｳﾞｧｰ", "パイヴァー");
    folds_to(text_fold_kana, "か\xe3\x82\x99は\xe3\x82\x9a", "ガパ");
    folds_to(text_fold_kana, "カ゛", "ガ");
    folds_to(text_fold_kana, "ア゛ﾞ", "ア゛゛");
    folds_to(text_fold_kana, "ッャュョヮ", "ッャュョヮ");
    folds_to(text_fold_kana, "ジョン・Smith･ﾏﾘｱ", "ジョンSMITHマリア");
    folds_to(text_fold_kana, "ｳﾞｶﾞｷﾞｸﾞｹﾞｺﾞｻﾞｼﾞｽﾞｾﾞｿﾞﾀﾞﾁﾞﾂﾞﾃﾞﾄﾞﾊﾞﾋﾞﾌﾞﾍﾞﾎﾞ",
             "ヴガギグゲゴザジズゼゾダヂヅデドバビブベボ");
    folds_to(text_fold_kana, "ﾊﾟﾋﾟﾌﾟﾍﾟﾎﾟ", "パピプペポ");
    folds_to(text_fold_kana, "ｱｲｳｴｵﾅﾆﾇﾈﾉﾏﾐﾑﾒﾓﾔﾕﾖﾗﾘﾙﾚﾛﾜｦﾝｧｨｩｪｫｬｭｮｯ",
             "アイウエオナニヌネノマミムメモヤユヨラリルレロワヲンァィゥェォャュョッ");
    folds_to(text_fold_kana, "ﾅﾞ", "ナ゛");
    folds_to(text_fold_kana, "ゔ", "ヴ");
}

static void names_fold(void **state) {
    (void)state;
    folds_to(text_fold_name, "髙﨑　眞", "高崎真");
    folds_to(text_fold_name, "𠮷田 邉邊", "吉田辺辺");
    folds_to(text_fold_name, "辻" IVS "田", "辻田");
    folds_to(text_fold_name, "\xef\xa8\x99 \xef\xa8\x91", "神崎"); /* U+FA19, U+FA11 */
    folds_to(text_fold_name, "齋藤", "斎藤");
    folds_to(text_fold_name, "齊藤", "斉藤");
    folds_to(text_fold_name, "ｓｍｉｔｈ", "SMITH");
    folds_to(text_fold_name, "山田太郎", "山田太郎");
}

/* Folding twice is folding once, for every character; so no variant leads to another one, and
 * (the table is searched by halves) its order is right. */
static void folding_is_stable(void **state) {
    (void)state;
    struct buffer once, twice, in;
    buffer_init(&in, 16);
    buffer_init(&once, 16);
    buffer_init(&twice, 16);
    void (*const folds[])(const char *, struct buffer *) = {text_fold_code, text_fold_kana,
                                                            text_fold_name};
    for (unsigned c = 1; c < 0x30000; c++) {
        if (c >= 0xd800 && c < 0xe000)
            continue;
        char s[5] = {0};
        if (c < 0x80) {
            s[0] = (char)c;
        } else if (c < 0x800) {
            s[0] = (char)(0xc0 | c >> 6);
            s[1] = (char)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            s[0] = (char)(0xe0 | c >> 12);
            s[1] = (char)(0x80 | (c >> 6 & 63));
            s[2] = (char)(0x80 | (c & 63));
        } else {
            s[0] = (char)(0xf0 | c >> 18);
            s[1] = (char)(0x80 | (c >> 12 & 63));
            s[2] = (char)(0x80 | (c >> 6 & 63));
            s[3] = (char)(0x80 | (c & 63));
        }
        for (size_t f = 0; f < 3; f++) {
            buffer_clear(&once);
            buffer_clear(&twice);
            folds[f](s, &once);
            folds[f](buffer_cstr(&once), &twice);
            if (strcmp(buffer_cstr(&once), buffer_cstr(&twice)) != 0)
                fail_msg("U+%04X: %s", c, s);
        }
    }
    buffer_fini(&in);
    buffer_fini(&once);
    buffer_fini(&twice);
}

static void small_helpers(void **state) {
    (void)state;
    char s[] = "１２a３ー４\xef\xbc";
    text_ascii_digits(s);
    assert_string_equal(s, "12a3ー4\xef\xbc");
    assert_true(text_starts_with("abc", "ab"));
    assert_true(text_starts_with("abc", ""));
    assert_false(text_starts_with("a", "ab"));
}

static void numbers_are_read_strictly(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t max;
        bool good;
        uint64_t n;
        const char *rest;
    } cases[] = {
        {"0", 0, true, 0, ""},
        {"12-3", 99, true, 12, "-3"},
        {"007", 7, true, 7, ""},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX, ""},
        {"18446744073709551616", UINT64_MAX, false, 0, NULL},
        {"99999999999999999999999", UINT64_MAX, false, 0, NULL},
        {"100", 99, false, 0, NULL},
        {"5", 4, false, 0, NULL},
        {"", 9, false, 0, NULL},
        {"-1", 9, false, 0, NULL},
        {" 1", 9, false, 0, NULL},
        {"+1", 9, false, 0, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *p = cases[i].text;
        uint64_t n = 0;
        assert_int_equal(text_u64(&p, cases[i].max, &n), cases[i].good);
        assert_true(n == cases[i].n);
        assert_string_equal(p, cases[i].good ? cases[i].rest : cases[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_is_checked),
        cmocka_unit_test(characters_are_counted),
        cmocka_unit_test(controls_are_not_printable),
        cmocka_unit_test(codes_fold),
        cmocka_unit_test(kana_fold),
        cmocka_unit_test(names_fold),
        cmocka_unit_test(folding_is_stable),
        cmocka_unit_test(small_helpers),
        cmocka_unit_test(numbers_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
