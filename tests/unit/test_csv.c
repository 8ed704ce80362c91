#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/csv.h"

#define IVS "\xf3\xa0\x84\x80" /* U+E0100 */

static struct {
    char text[65536]; /* "number:cell|cell|\n" a row, * in front of one with 外字 */
    size_t rows;
    enum vrs_err answer;
} seen;

static enum vrs_err on_row(const struct csv_row *row, void *arg) {
    (void)arg;
    seen.rows++;
    size_t n = strlen(seen.text);
    n += (size_t)snprintf(seen.text + n, sizeof seen.text - n, "%s%llu:", row->has_gaiji ? "*" : "",
                          (unsigned long long)row->number);
    for (size_t i = 0; i < row->cells && n < sizeof seen.text - 1; i++)
        n += (size_t)snprintf(seen.text + n, sizeof seen.text - n, "%s|", row->cell[i]);
    if (n < sizeof seen.text - 1)
        (void)snprintf(seen.text + n, sizeof seen.text - n, "\n");
    return seen.answer;
}

/* Reads in pieces of `step` bytes, each in memory of its own so that a read too far is seen. */
static enum vrs_err read_all(const char *p, size_t n, size_t step, enum csv_encoding *encoding) {
    memset(&seen, 0, sizeof seen);
    struct csv_reader *r = csv_reader_open(on_row, NULL);
    assert_non_null(r);
    enum vrs_err e = VRS_OK;
    for (size_t at = 0; at < n && e == VRS_OK; at += step) {
        size_t take = n - at < step ? n - at : step;
        char *piece = malloc(take);
        assert_non_null(piece);
        memcpy(piece, p + at, take);
        e = csv_feed(r, piece, take);
        free(piece);
    }
    if (e == VRS_OK)
        e = csv_end(r);
    if (encoding != NULL)
        *encoding = csv_encoding(r);
    csv_reader_close(&r);
    assert_null(r);
    return e;
}

static void reads_as(const char *p, size_t n, enum csv_encoding want, const char *rows) {
    for (size_t step = 1; step <= n + 1; step = step < 8 ? step + 1 : step * 3) {
        enum csv_encoding got = CSV_UNDECIDED;
        enum vrs_err e = read_all(p, n, step, &got);
        if (e != VRS_OK || got != want || strcmp(seen.text, rows) != 0)
            fail_msg("step %zu: %s, encoding %d: %s", step, err_name(e), (int)got, seen.text);
    }
}

#define READS_AS(text, want, rows) reads_as((text), sizeof(text) - 1, (want), (rows))

static void quoting_and_line_ends(void **state) {
    (void)state;
    READS_AS("a,b\r\n1,2\r\n", CSV_UTF8, "1:a|b|\n2:1|2|\n");
    READS_AS("a,b\n1,2", CSV_UTF8, "1:a|b|\n2:1|2|\n");
    READS_AS("\"a,\"\"b\"\"\",\"x\r\ny\"\n,\n", CSV_UTF8, "1:a,\"b\"|x\r\ny|\n2:||\n");
    READS_AS(" a , b \n", CSV_UTF8, "1: a | b |\n"); /* spaces are content */
    READS_AS("\"\"\n", CSV_UTF8, "1:|\n");
    READS_AS("", CSV_UTF8, "");
}

static void rows_have_a_spreadsheet_s_numbers(void **state) {
    (void)state;
    READS_AS("h\r\n\r\n1\r\n\r\n\r\n2\r\n", CSV_UTF8, "1:h|\n3:1|\n6:2|\n");
    READS_AS("h\n\n1\n", CSV_UTF8, "1:h|\n3:1|\n");
    READS_AS("\r\nh\n", CSV_UTF8, "2:h|\n");
    READS_AS("\"a\nb\"\nc\n", CSV_UTF8, "1:a\nb|\n2:c|\n");
}

static void one_file_in_six_forms(void **state) {
    (void)state;
    static const char rows[] = "1:宛名番号|氏名|\n2:1|高橋ﾊﾅｺ|\n";
#define KANJI_UTF8 "宛名番号,氏名"
#define KANJI_CP932 "\x88\xb6\x96\xbc\x94\xd4\x8d\x86,\x8e\x81\x96\xbc"
#define NAME_UTF8 "1,高橋ﾊﾅｺ"
#define NAME_CP932 "1,\x8d\x82\x8b\xb4\xca\xc5\xba"
    READS_AS(KANJI_UTF8 "\r\n" NAME_UTF8 "\r\n", CSV_UTF8, rows);
    READS_AS(KANJI_UTF8 "\n" NAME_UTF8 "\n", CSV_UTF8, rows);
    READS_AS("\xef\xbb\xbf" KANJI_UTF8 "\r\n" NAME_UTF8 "\r\n", CSV_UTF8, rows);
    READS_AS("\xef\xbb\xbf" KANJI_UTF8 "\n" NAME_UTF8, CSV_UTF8, rows);
    READS_AS(KANJI_CP932 "\r\n" NAME_CP932 "\r\n", CSV_CP932, rows);
    READS_AS(KANJI_CP932 "\n" NAME_CP932, CSV_CP932, rows);
}

static void names_survive(void **state) {
    (void)state;
    READS_AS("髙﨑,辻" IVS ",𠮷\n", CSV_UTF8, "1:髙﨑|辻" IVS "|𠮷|\n");
    /* IBM's extensions: FBFC, FAB1 (NEC selected: EEE0, ED95); ～ and ― as Windows has them; a
     * second byte 5C (表 = 955C) is not a backslash, 7C (ポ = 837C) no bar. */
    READS_AS("\xfb\xfc\xfa\xb1,\x81\x60\x81\x5c,\x95\x5c\x83\x7c\n", CSV_CP932,
             "1:髙﨑|～―|表ポ|\n");
    READS_AS("\xee\xe0\xed\x95,\x87\x8a\n", CSV_CP932, "1:髙﨑|㈱|\n");
}

static void private_characters_are_marked(void **state) {
    (void)state;
    READS_AS("a\n\xf0\x40,\x8e\x81\nb\n", CSV_CP932, "1:a|\n*2:\xee\x80\x80|氏|\n3:b|\n");
    READS_AS("\xee\x9d\x97,名\nb\n", CSV_UTF8, "*1:\xee\x9d\x97|名|\n2:b|\n");
    READS_AS("\xf3\xb0\x80\x80,名\n", CSV_UTF8, "*1:\xf3\xb0\x80\x80|名|\n");
}

static void fails_with(const char *p, size_t n, enum vrs_err want) {
    for (size_t step = 1; step <= n + 1; step = step < 8 ? step + 1 : step * 3) {
        enum vrs_err e = read_all(p, n, step, NULL);
        if (e != want)
            fail_msg("step %zu: %s, not %s", step, err_name(e), err_name(want));
    }
}

#define FAILS_WITH(text, want) fails_with((text), sizeof(text) - 1, (want))

static void malformed_files_are_refused(void **state) {
    (void)state;
    FAILS_WITH("\xef\xbb\xbf\x88\xb6\n", ERR_F007); /* a BOM promises UTF-8 */
    FAILS_WITH("\xef\xbb\xbf\xe6\xb0", ERR_F007);   /* cut inside a character */
    FAILS_WITH("\x88\xb6\x88", ERR_F007);
    FAILS_WITH("\x88\xb6,\x81\xff\n", ERR_F007); /* neither */
    FAILS_WITH("a,\"b\n", ERR_R180);             /* the quote never ends */
    FAILS_WITH("a,\"b\"c\n", ERR_R180);
    FAILS_WITH("a,b\"c\n", ERR_R180);
    FAILS_WITH("a,\0b\n", ERR_R180);
}

/* A whole row from `head`, n times `part`, `tail`. */
static enum vrs_err repeated(const char *head, const char *part, size_t n, const char *tail) {
    struct buffer b;
    buffer_init(&b, 10000000);
    (void)buffer_puts(&b, head);
    for (size_t i = 0; i < n; i++)
        (void)buffer_puts(&b, part);
    (void)buffer_puts(&b, tail);
    assert_false(b.failed);
    enum vrs_err e = read_all((const char *)b.data, b.len, 5000, NULL);
    buffer_fini(&b);
    return e;
}

static void sizes_are_bounded(void **state) {
    (void)state;
    assert_int_equal(repeated("", "a", 4096, "\n"), VRS_OK);
    assert_int_equal(repeated("", "a", 4097, "\n"), ERR_R180);
    assert_int_equal(repeated("\"", "\n", 5000000, ""), ERR_R180);
    for (size_t before = 0; before < 1100; before++) { /* wherever a slice ends */
        char head[1200];
        memset(head, '\n', before);
        head[before] = '"';
        head[before + 1] = '\0';
        assert_int_equal(repeated(head, "a", 4096, "\"\n"), VRS_OK);
    }
    assert_int_equal(repeated("", "名", 1365, "\n"), VRS_OK);
    assert_int_equal(repeated("", "名", 1366, "\n"), ERR_R180);
    assert_int_equal(repeated("a", ",b", 63, "\n"), VRS_OK);
    assert_int_equal(repeated("a", ",b", 64, "\n"), ERR_R180);
    assert_int_equal(repeated("", "a,b\n", 100000, ""), VRS_OK);
    assert_int_equal(seen.rows, 100000);
}

/* Much ASCII first: the encoding is still found by what comes later. */
static void a_late_character_decides(void **state) {
    (void)state;
    assert_int_equal(repeated("", "ascii,row\n", 20000, "\x8d\x82\x8b\xb4\n"), VRS_OK);
    assert_int_equal(repeated("", "ascii,row\n", 20000, "高橋\n"), VRS_OK);
    /* ﾂｱ in CP932 looks like ± in UTF-8; what follows within the sample tells. */
    READS_AS("\xc2\xb1\n\x8d\x82\n", CSV_CP932, "1:ﾂｱ|\n2:高|\n");
    assert_int_equal(repeated("", "高橋\n", 20000, "\x8d\x82\x8b\xb4\n"), ERR_F007);
}

static void the_caller_can_stop(void **state) {
    (void)state;
    memset(&seen, 0, sizeof seen);
    seen.answer = ERR_F008;
    struct csv_reader *r = csv_reader_open(on_row, NULL);
    assert_int_equal(csv_feed(r, "a\nb\nc\n", 6), ERR_F008);
    assert_int_equal(csv_feed(r, "d\n", 2), ERR_F008);
    assert_int_equal(csv_end(r), ERR_F008);
    assert_int_equal(seen.rows, 1);
    csv_reader_close(&r);
}

static void writing(void **state) {
    (void)state;
    static const char *const cells[] = {"=1+2", "a,b", "\"q\"", "",    NULL, "x\ny",
                                        "+81",  "-",   "@a",    "\tz", "１"};
    struct buffer b;
    buffer_init(&b, 1000);
    csv_write_bom(&b, CSV_FOR_MACHINES);
    csv_write_row(&b, CSV_FOR_MACHINES, cells, sizeof cells / sizeof cells[0]);
    assert_string_equal(buffer_cstr(&b),
                        "=1+2,\"a,b\",\"\"\"q\"\"\",,,\"x\ny\",+81,-,@a,\tz,１\r\n");
    buffer_clear(&b);
    csv_write_bom(&b, CSV_FOR_PEOPLE);
    csv_write_row(&b, CSV_FOR_PEOPLE, cells, sizeof cells / sizeof cells[0]);
    assert_string_equal(buffer_cstr(&b),
                        "\xef\xbb\xbf'=1+2,\"a,b\",\"\"\"q\"\"\",,,\"x\ny\",'+81,'-,"
                        "'@a,'\tz,１\r\n");
    buffer_clear(&b);
    csv_write_row(&b, CSV_FOR_MACHINES, (const char *const[]){""}, 1);
    assert_string_equal(buffer_cstr(&b), "\"\"\r\n");
    buffer_clear(&b);
    static const char *const tricky[] = {"=HYPERLINK(\"x\",\"y\")", "\r=1"};
    csv_write_row(&b, CSV_FOR_PEOPLE, tricky, 2);
    assert_string_equal(buffer_cstr(&b), "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\",\"'\r=1\"\r\n");
    buffer_fini(&b);
}

static void to_cp932(const char *from, const char *to, size_t lost) {
    struct buffer b;
    buffer_init(&b, 1000);
    size_t replaced = 99;
    assert_int_equal(csv_to_cp932(from, strlen(from), &b, &replaced), VRS_OK);
    assert_string_equal(buffer_cstr(&b), to);
    assert_int_equal(replaced, lost);
    buffer_fini(&b);
}

static void downloads_in_cp932(void **state) {
    (void)state;
    to_cp932("髙﨑～―,1\r\n", "\xfb\xfc\xfa\xb1\x81\x60\x81\x5c,1\r\n", 0);
    to_cp932("\xee\x80\x80", "\xf0\x40", 0);
    to_cp932("辻" IVS "x", "\x92\xd2x", 1); /* plain form */
    to_cp932("𠮷😀a", "\x81\xac\x81\xac\x61", 2);
    to_cp932("", "", 0);
    struct buffer b;
    buffer_init(&b, 100000);
    size_t replaced = 0;
    assert_int_equal(csv_to_cp932("\xff", 1, &b, &replaced), ERR_F007);
    char *much = malloc(90001);
    assert_non_null(much);
    for (size_t i = 0; i < 90000; i++)
        much[i] = "髙"[i % 3];
    assert_int_equal(csv_to_cp932(much, 90000, &b, &replaced), VRS_OK);
    assert_int_equal(b.len, 60000);
    free(much);
    buffer_fini(&b);
}

/* Every double byte that Windows' code page has comes back the same, or as the one of two places
 * that Windows itself writes (the NEC and IBM duplicates). */
static void code_page_goes_round(void **state) {
    (void)state;
    size_t same = 0, other = 0;
    for (unsigned lead = 0x81; lead <= 0xfc; lead++) {
        if (lead >= 0xa0 && lead < 0xe0)
            continue;
        for (unsigned trail = 0x40; trail <= 0xfc; trail++) {
            /* 氏 in front, so that the two bytes cannot pass for UTF-8. */
            char in[] = {(char)0x8e, (char)0x81, ',', (char)lead, (char)trail, '\n'};
            if (read_all(in, sizeof in, sizeof in, NULL) != VRS_OK)
                continue;
            const char *cell = strchr(seen.text, '|') + 1;
            struct buffer b;
            buffer_init(&b, 100);
            size_t replaced = 0;
            assert_int_equal(csv_to_cp932(cell, strcspn(cell, "|"), &b, &replaced), VRS_OK);
            assert_int_equal(replaced, 0);
            assert_int_equal(b.len, 2);
            if (b.data[0] == lead && b.data[1] == trail)
                same++;
            else
                other++;
            buffer_fini(&b);
        }
    }
    assert_int_equal(other, 398);
    assert_true(same > 9000);
}

int main(void) {
    csv_prepare();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quoting_and_line_ends),
        cmocka_unit_test(rows_have_a_spreadsheet_s_numbers),
        cmocka_unit_test(one_file_in_six_forms),
        cmocka_unit_test(names_survive),
        cmocka_unit_test(private_characters_are_marked),
        cmocka_unit_test(malformed_files_are_refused),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(a_late_character_decides),
        cmocka_unit_test(the_caller_can_stop),
        cmocka_unit_test(writing),
        cmocka_unit_test(downloads_in_cp932),
        cmocka_unit_test(code_page_goes_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
