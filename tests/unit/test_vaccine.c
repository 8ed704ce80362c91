#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ocr-ingest/vaccine.h"

static struct vaccine_list *vaccines;

static int open_list(void **state) {
    (void)state;
    struct vrs_fault fault = {0};
    return vaccine_list_open("data/vaccines.json", &vaccines, &fault) == VRS_OK ? 0 : -1;
}

static int close_list(void **state) {
    (void)state;
    vaccine_list_close(&vaccines);
    return 0;
}

static struct civil_date day(const char *s) {
    struct civil_date d;
    assert_int_equal(clock_parse_date(s, &d), VRS_OK);
    return d;
}

static void by_id_and_by_maker(void **state) {
    (void)state;
    const struct vaccine *v = vaccine_find(vaccines, "comirnaty");
    assert_non_null(v);
    assert_string_equal(v->maker_ja, "ファイザー");
    assert_null(vaccine_find(vaccines, "Comirnaty"));
    assert_null(vaccine_find(vaccines, ""));
    assert_ptr_equal(vaccine_by_maker(vaccines, "ファイザー"), v);
    assert_ptr_equal(vaccine_by_maker(vaccines, "comirnaty"), v);
    assert_ptr_equal(vaccine_by_maker(vaccines, "ｐｆｉｚｅｒ"), v);
    assert_string_equal(vaccine_by_maker(vaccines, "武田/モデルナ")->id, "spikevax");
    assert_string_equal(vaccine_by_maker(vaccines, "武田／モデルナ")->id, "spikevax");
    assert_string_equal(vaccine_by_maker(vaccines, "コミナティ筋注5～11歳用")->id,
                        "comirnaty_5_11");
    assert_null(vaccine_by_maker(vaccines, ""));
    assert_null(vaccine_by_maker(vaccines, "知らない会社"));
}

static void lots(void **state) {
    (void)state;
    const struct vaccine *pfizer = vaccine_find(vaccines, "comirnaty");
    const struct vaccine *moderna = vaccine_find(vaccines, "spikevax");
    assert_true(vaccine_lot_plausible(vaccines, pfizer, "FF3620"));
    assert_true(vaccine_lot_plausible(vaccines, pfizer, "ｆｆ ３６２０"));
    assert_false(vaccine_lot_plausible(vaccines, pfizer, "FF362"));
    assert_false(vaccine_lot_plausible(vaccines, pfizer, "3004215"));
    assert_false(vaccine_lot_plausible(vaccines, pfizer, ""));
    assert_true(vaccine_lot_plausible(vaccines, moderna, "3004215"));
    assert_false(vaccine_lot_plausible(vaccines, moderna, "FF3620"));
    char long_lot[400];
    memset(long_lot, 'F', sizeof long_lot - 1);
    long_lot[sizeof long_lot - 1] = '\0';
    assert_false(vaccine_lot_plausible(vaccines, pfizer, long_lot));
}

static void intervals_go_by_the_date(void **state) {
    (void)state;
    const struct vaccine *v = vaccine_find(vaccines, "comirnaty");
    assert_int_equal(vaccine_min_days(vaccines, v, 2, day("2021-07-01")), 18);
    assert_int_equal(vaccine_min_days(vaccines, v, 1, day("2021-07-01")), -1);
    assert_int_equal(vaccine_min_days(vaccines, v, 3, day("2021-11-30")), -1);
    assert_int_equal(vaccine_min_days(vaccines, v, 3, day("2022-01-12")), 242);
    assert_int_equal(vaccine_min_days(vaccines, v, 3, day("2022-01-13")), 181);
    assert_int_equal(vaccine_min_days(vaccines, v, 4, day("2022-10-21")), 89);
    assert_int_equal(
        vaccine_min_days(vaccines, vaccine_find(vaccines, "vaxzevria"), 2, day("2021-09-01")), 27);
}

static void ages_go_by_the_date(void **state) {
    (void)state;
    int min = 0;
    int max = 0;
    const struct vaccine *v = vaccine_find(vaccines, "comirnaty");
    vaccine_ages(vaccines, v, day("2021-05-31"), &min, &max);
    assert_int_equal(min, 16);
    assert_int_equal(max, -1);
    vaccine_ages(vaccines, v, day("2021-06-01"), &min, &max);
    assert_int_equal(min, 12);
    vaccine_ages(vaccines, v, day("2021-01-01"), &min, &max);
    assert_int_equal(min, -1);
    vaccine_ages(vaccines, vaccine_find(vaccines, "comirnaty_5_11"), day("2022-06-01"), &min, &max);
    assert_int_equal(min, 5);
    assert_int_equal(max, 11);
    const struct vaccine *infant = vaccine_find(vaccines, "comirnaty_infant");
    assert_true(vaccine_too_young(vaccines, infant, day("2022-06-02"), day("2022-12-01")));
    assert_false(vaccine_too_young(vaccines, infant, day("2022-06-01"), day("2022-12-01")));
    assert_true(vaccine_too_young(vaccines, v, day("2010-01-02"), day("2022-01-01")));
    assert_false(vaccine_too_young(vaccines, v, day("2010-01-01"), day("2022-01-01")));
}

static void document(void **state) {
    (void)state;
    const char *json = vaccine_list_json(vaccines);
    assert_int_equal(json[0], '{');
    assert_non_null(strstr(json, "\"comirnaty\""));
    assert_null(strchr(json, '\n'));
}

static enum vrs_err open_text(const char *text) {
    char path[] = "/tmp/vrs-vaccines-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
    struct vaccine_list *l = NULL;
    struct vrs_fault fault = {0};
    enum vrs_err e = vaccine_list_open(path, &l, &fault);
    assert_int_equal(l != NULL, e == VRS_OK);
    vaccine_list_close(&l);
    (void)unlink(path);
    return e;
}

#define PRODUCT(id, rest)                                                                          \
    "{\"id\":\"" id                                                                                \
    "\",\"maker_ja\":\"M\",\"name_ja\":\"N\",\"licensed_from\":\"2021-02-14\"" rest "}"

static void bad_files_are_refused(void **state) {
    (void)state;
    assert_int_equal(open_text("{\"products\":[" PRODUCT("a", "") "]}"), VRS_OK);
    assert_int_equal(open_text("{\"products\":[" PRODUCT("a", "") "," PRODUCT("a", "") "]}"),
                     ERR_CONFIG);
    assert_int_equal(open_text("{\"products\":[]}"), ERR_CONFIG);
    assert_int_equal(open_text("{}"), ERR_CONFIG);
    assert_int_equal(open_text("{\"products\":[{\"id\":\"a\"}]}"), ERR_CONFIG);
    assert_int_equal(
        open_text("{\"products\":[" PRODUCT("a", ",\"lots\":[{\"prefix\":\"E\"}]") "]}"),
        ERR_CONFIG);
    assert_int_equal(
        open_text("{\"products\":[" PRODUCT("a", ",\"ages\":[{\"from\":\"2021-02-30\"}]") "]}"),
        ERR_CONFIG);
    assert_int_equal(open_text("{\"products\":[" PRODUCT(
                         "a", ",\"intervals\":[{\"from\":\"2021-02-14\",\"dose_from\":3,"
                              "\"dose_to\":2,\"min_days\":1}]") "]}"),
                     ERR_CONFIG);
    assert_int_equal(open_text("{\"products\":"), ERR_BAD_JSON);
    struct vaccine_list *l = NULL;
    assert_int_equal(vaccine_list_open("/nonexistent", &l, NULL), ERR_CONFIG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_id_and_by_maker),
        cmocka_unit_test(lots),
        cmocka_unit_test(intervals_go_by_the_date),
        cmocka_unit_test(ages_go_by_the_date),
        cmocka_unit_test(document),
        cmocka_unit_test(bad_files_are_refused),
    };
    return cmocka_run_group_tests(tests, open_list, close_list);
}
