// needs: ocr-ingest/feed_fixed.c ocr-ingest/feed_source.c ocr-ingest/feed_options.c ocr-ingest/feed_progress.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ocr-ingest/feed_fixed.h"
#include "ocr-ingest/feed_progress.h"
#include "ocr-ingest/feed_source.h"

static struct municipality_list *municipalities;
static struct vaccine_list *vaccines;
static char path[] = "/tmp/vrs-source-XXXXXX";

/* What was handed on, one line a reading. */
static char got[8192];
static size_t readings;

static int open_data(void **state) {
    (void)state;
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    (void)close(fd);
    return municipality_list_open("data/municipalities.csv", &municipalities, NULL) == VRS_OK &&
                   vaccine_list_open("data/vaccines.json", &vaccines, NULL) == VRS_OK
               ? 0
               : -1;
}

static int close_data(void **state) {
    (void)state;
    municipality_list_close(&municipalities);
    vaccine_list_close(&vaccines);
    return unlink(path);
}

static enum vrs_err on_reading(const struct feed_reading *r, void *arg) {
    (void)arg;
    size_t n = strlen(got);
    readings++;
    if (r->err != VRS_OK)
        (void)snprintf(got + n, sizeof got - n, "%d %s %s %zu\n", (int)r->row, err_name(r->err),
                       r->column, r->candidates);
    else
        (void)snprintf(got + n, sizeof got - n, "%d %s %s %s %s %s %s %s %s\n", (int)r->row,
                       r->line, r->given ? "given" : "not_given", r->vaccinated_on, r->product,
                       r->lot, r->site, r->physician, r->read_by);
    return VRS_OK;
}

static enum vrs_err on_idle(void *arg) {
    (void)arg;
    return VRS_OK;
}

static char *text_of(const char *s) {
    return strdup(s);
}

static const char *layout = ""; /* of the next read_text */

static enum vrs_err read_text(const char *text, const char *format) {
    struct feed_options o;
    static const volatile sig_atomic_t go_on = 0;
    const struct feed_sink sink = {.reading = on_reading, .idle = on_idle};
    struct vrs_fault fault = {0};
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
    memset(&o, 0, sizeof o);
    o.input = path;
    o.format = text_of(format);
    o.layout = text_of(layout);
    o.product = text_of("comirnaty");
    o.lot = text_of("FF3620");
    o.vaccinated_on = text_of("2021-07-01");
    o.site = text_of("S");
    o.physician = text_of("P");
    o.read_by = text_of("ocr");
    o.status = text_of("");
    o.idle_ms = 100;
    got[0] = '\0';
    readings = 0;
    enum vrs_err e = feed_source_run(&o, municipalities, vaccines, &sink, &go_on, &fault);
    o.input = NULL;
    feed_options_free(&o);
    return e;
}

#define OK_TAIL " given 2021-07-01 comirnaty FF3620 S P ocr\n"

static void lines(void **state) {
    (void)state;
    assert_int_equal(read_text("211310320000012345\r\n\r\n２１１３１０３２００００012346\n"
                               "21131O320000012345\n111310320000012347\nxyz",
                               "lines"),
                     VRS_OK);
    assert_string_equal(got, "1 211310320000012345" OK_TAIL "3 211310320000012346" OK_TAIL
                             "4 R104 OCRライン 1\n"
                             "5 111310320000012347 not_given 2021-07-01  FF3620 S P ocr\n"
                             "6 R104 OCRライン 0\n");
    assert_int_equal(read_text("", "lines"), VRS_OK);
    assert_int_equal(readings, 0);
}

static void lines_longer_than_any(void **state) {
    (void)state;
    char *text = malloc(200001);
    assert_non_null(text);
    memset(text, '2', 200000);
    memcpy(text + 199980, "\n211310320000012345", 19);
    text[199999] = '\0';
    assert_int_equal(read_text(text, "lines"), VRS_OK);
    assert_string_equal(got, "1 R104  0\n2 211310320000012345" OK_TAIL);
    free(text);
}

static void csv_columns(void **state) {
    (void)state;
    assert_int_equal(
        read_text("ロット番号,OCRライン,接種状況,接種日,製品コード,会場,医師名,登録元\n"
                  "3004215,211310320000012345,1,20210702,spikevax,T,Q,QR\n"
                  ",211310320000012345,,,,,,\n"
                  "3004215,211310320000012345,未実施,2021-07-02,,,,手入力\n"
                  "3004215,111310320000012345,1,,,,,\n"
                  "3004215,211310320000012345,3,,,,,\n"
                  "3004215,211310320000012345,1,2021-02-29,,,,\n"
                  "3004215,211310320000012345,1,令和3年,,,,\n"
                  "3004215,211310320000012345,1,,unknown,,,\n"
                  "3004215,211310320000012345,1,,,,,fax\n"
                  "3004215,,1,,,,,\n"
                  "3004215,211310320000012345\n"
                  "\"\x01\",211310320000012345,1,,,,,\n",
                  "csv"),
        VRS_OK);
    assert_string_equal(got, "2 211310320000012345 given 2021-07-02 spikevax 3004215 T Q qr\n"
                             "3 211310320000012345" OK_TAIL
                             "4 211310320000012345 not_given 2021-07-02  3004215 S P manual\n"
                             "5 R107 接種状況 0\n"
                             "6 bad_field 接種状況 0\n"
                             "7 R111 接種日 0\n"
                             "8 R110 接種日 0\n"
                             "9 R132 製品コード 0\n"
                             "10 bad_field 登録元 0\n"
                             "11 R181 OCRライン 0\n"
                             "12 F006  0\n"
                             "13 R180 ロット番号 0\n");
}

static void csv_in_four_columns(void **state) {
    (void)state;
    assert_int_equal(read_text("券種,回数,自治体コード,券番号,OCRライン\n"
                               "2,1,131032,0000012345,\n"
                               "2,1,131032,0000012345,211310320000012345\n"
                               "2,1,131032,0000012345,211310320000012346\n"
                               "2,1,11002,12345,\n"
                               "2,1,131033,0000012345,\n"
                               "2,,131032,0000012345,\n"
                               "2,1,131032,1.2E+04,\n",
                               "csv"),
                     VRS_OK);
    assert_non_null(strstr(got, "2 211310320000012345" OK_TAIL "3 211310320000012345" OK_TAIL
                                "4 R104 OCRライン 0\n5 R102 自治体コード 1\n6 R102 "));
    assert_non_null(strstr(got, "7 R181 回数 0\n8 R101 券番号 0\n"));
}

static void csv_headers(void **state) {
    (void)state;
    assert_int_equal(read_text("", "csv"), ERR_F004);
    assert_int_equal(read_text("接種日\n2021-07-01\n", "csv"), ERR_F005);
    assert_int_equal(read_text("券種,回数,自治体コード\n", "csv"), ERR_F005);
    assert_int_equal(read_text("OCRライン,名前\n", "csv"), ERR_F006);
    assert_int_equal(read_text("OCRライン,OCRライン\n", "csv"), ERR_F006);
    assert_int_equal(readings, 0);
    assert_int_equal(read_text("ＯＣＲライン\n", "csv"), VRS_OK);
}

/* A layout in the place of a header line; places are bytes of the file. */
static void fixed_width(void **state) {
    (void)state;
    layout = "site=27-36,ocr_line=1-18,vaccinated_on=19-26";
    assert_int_equal(read_text("21131032000001234520210702\x8d\x60\x8b\xe6\x81\x40 \r\n\r\n"
                               "211310320000012346\n21131032000001234720210230T\"\n"
                               "21131032000001234820210703T\",\"\n",
                               "fixed"),
                     VRS_OK);
    assert_string_equal(got,
                        "1 211310320000012345 given 2021-07-02 comirnaty FF3620 港区 P ocr\n"
                        "3 211310320000012346" OK_TAIL "4 R111 接種日 0\n"
                        "5 211310320000012348 given 2021-07-03 comirnaty FF3620 T\",\" P ocr\n");
    layout = "vaccinated_on=19-26";
    assert_int_equal(read_text("2\n", "fixed"), ERR_F005);
    layout = "ocr_line=1-18";
    char *text = malloc(6001);
    assert_non_null(text);
    memset(text, '2', 6000);
    text[6000] = '\0';
    assert_int_equal(read_text(text, "fixed"), ERR_F006);
    free(text);
    layout = "";
}

static void layouts(void **state) {
    static const char *const bad[] = {"",
                                      "lot",
                                      "lot=1",
                                      "lot=0-1",
                                      "lot=2-1",
                                      "x=1-2",
                                      "lot=1-2,",
                                      "lot=1-2;site=3-4",
                                      "lot=1-257",
                                      "lot=1-2,lot=3-4",
                                      "lot=4096-4097",
                                      "lot=-1-2"};
    struct feed_fixed f;
    const char *wrong = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(feed_fixed_read(bad[i], &f, &wrong));
    assert_true(feed_fixed_read("lot=1-256,ocr_line=1-18", &f, &wrong)); /* may overlap */
    assert_int_equal(f.count, 2);
    assert_int_equal(f.field[1].column, 0);
    for (size_t i = 0; i < FEED_FIXED_FIELDS; i++)
        assert_non_null(feed_fixed_names[i]);
    assert_null(feed_fixed_names[FEED_FIXED_FIELDS]);
}

static void progress_text(void **state) {
    (void)state;
    char text[400];
    struct feed_progress p = {.total = 60000, .started_ms = 1000};
    p.counts.state[FEED_RECORDED] = 12000;
    p.counts.state[FEED_REVIEW] = 340;
    p.counts.invalid = 5;
    p.counts.earlier = 2345;
    feed_progress_text(&p, 11000, text, sizeof text);
    assert_string_equal(text, "12,345/60,000行 (20.6%)  登録 12000  要確認 345  結果待ち 0  "
                              "毎秒1000行  残り約48秒");
    p.total = 0;
    feed_progress_text(&p, 11000, text, sizeof text);
    assert_string_equal(text, "12,345行  登録 12000  要確認 345  結果待ち 0  毎秒1000行");
    p.total = 40000000;
    p.waiting = "待機中";
    feed_progress_text(&p, 11000, text, sizeof text);
    assert_non_null(strstr(text, "残り約11時間06分  待機中"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),       cmocka_unit_test(lines_longer_than_any),
        cmocka_unit_test(csv_columns), cmocka_unit_test(csv_in_four_columns),
        cmocka_unit_test(csv_headers), cmocka_unit_test(progress_text),
        cmocka_unit_test(fixed_width), cmocka_unit_test(layouts),
    };
    return cmocka_run_group_tests(tests, open_data, close_data);
}
