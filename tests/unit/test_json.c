#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/json.h"

static enum vrs_err parse(const char *text, json_t **out) {
    struct vrs_fault fault;
    return json_parse(text, strlen(text), out, &fault);
}

static void strict_parsing(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "{}x",
        "{} {}",
        "{\"a\":1,\"a\":2}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":1,}",
        "[1 2]",
        "nul",
        "\"text\"",
        "12",
        "{\"a\":NaN}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\xed\xa0\x80\"}",
        "{\"a\":\"\xc0\x80\"}",
        "{\"a\":99999999999999999999}",
        "{\"a\":\"\n\"}",
        "/* */ {}",
    };
    json_t *v = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (parse(bad[i], &v) != ERR_BAD_JSON || v != NULL)
            fail_msg("%s", bad[i]);
    struct vrs_fault fault;
    assert_int_equal(json_parse("{}\0", 3, &v, &fault), ERR_BAD_JSON);
    assert_int_equal(parse("{\"氏名\":\"髙﨑\"}", &v), VRS_OK);
    assert_string_equal(json_string_value(json_object_get(v, "氏名")), "髙﨑");
    json_decref(v);
}

static void depth_is_bounded(void **state) {
    (void)state;
    char text[200];
    json_t *v = NULL;
    for (int depth = 1; depth <= 40; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = '\0';
        enum vrs_err e = parse(text, &v);
        assert_int_equal(e, depth <= JSON_MAX_DEPTH ? VRS_OK : ERR_TOO_DEEP);
        if (e == VRS_OK)
            json_decref(v);
    }
    /* Brackets in strings do not count, whatever is escaped before them. */
    assert_int_equal(parse("[\"\\\\\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"]", &v), VRS_OK);
    json_decref(v);
    char *much = malloc(1000000);
    assert_non_null(much);
    memset(much, '[', 1000000);
    struct vrs_fault fault;
    assert_int_equal(json_parse(much, 1000000, &v, &fault), ERR_TOO_DEEP);
    free(much);
}

static void fields_are_read_by_a_table(void **state) {
    (void)state;
    json_t *v = NULL;
    assert_int_equal(
        parse("{\"lot\":\"EY0573\",\"dose\":2,\"visit\":true,\"who\":{},\"list\":[1]}", &v),
        VRS_OK);
    const char *lot = NULL, *absent = "kept";
    int64_t dose = 0;
    bool visit = false;
    json_t *who = NULL, *list = NULL;
    const struct json_field fields[] = {
        JF_STR("lot", true, 6, &lot),
        JF_INT("dose", true, &dose),
        JF_BOOL("visit", true, &visit),
        JF_OBJECT("who", true, &who),
        JF_ARRAY("list", true, &list),
        JF_STR("absent", false, 0, &absent),
        JF_END,
    };
    struct vrs_fault fault;
    assert_int_equal(json_read(v, fields, &fault), VRS_OK);
    assert_string_equal(lot, "EY0573");
    assert_int_equal(dose, 2);
    assert_true(visit);
    assert_true(json_is_object(who) && json_array_size(list) == 1);
    assert_string_equal(absent, "kept");
    json_decref(v);
}

static void what_does_not_fit_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum vrs_err e;
        const char *says;
    } bad[] = {
        {"[]", ERR_BAD_REQUEST, "not an object"},
        {"{\"name\":\"a\",\"extra\":1}", ERR_UNKNOWN_FIELD, "extra"},
        {"{\"name\":\"a\",\"123456789012\":1}", ERR_UNKNOWN_FIELD, "?"},
        {"{}", ERR_MISSING_FIELD, "name"},
        {"{\"name\":null}", ERR_BAD_FIELD, "name"},
        {"{\"name\":1}", ERR_BAD_FIELD, "name"},
        {"{\"name\":\"12345678901\"}", ERR_BAD_FIELD, "name"},
        {"{\"name\":\"a\\nb\"}", ERR_BAD_FIELD, "name"},
        {"{\"name\":\"a\\u202eb\"}", ERR_BAD_FIELD, "name"},
        {"{\"name\":\"a\",\"count\":1.0}", ERR_BAD_FIELD, "count"},
        {"{\"name\":\"a\",\"count\":\"1\"}", ERR_BAD_FIELD, "count"},
        {"{\"name\":\"a\",\"flag\":0}", ERR_BAD_FIELD, "flag"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *v = NULL;
        assert_int_equal(parse(bad[i].text, &v), VRS_OK);
        const char *name = NULL;
        int64_t count = 0;
        bool flag = false;
        const struct json_field fields[] = {JF_STR("name", true, 10, &name),
                                            JF_INT("count", false, &count),
                                            JF_BOOL("flag", false, &flag), JF_END};
        struct vrs_fault fault;
        if (json_read(v, fields, &fault) != bad[i].e || strcmp(fault.text, bad[i].says) != 0)
            fail_msg("%s: %s", bad[i].text, fault.text);
        json_decref(v);
    }
}

static void faults_do_not_repeat_content(void **state) {
    (void)state;
    json_t *v = NULL;
    struct vrs_fault fault;
    static const char text[] = "{\"number\":\"123456789018\" \"x\"}";
    assert_int_equal(json_parse(text, sizeof text - 1, &v, &fault), ERR_BAD_JSON);
    assert_null(strstr(fault.text, "1234"));
    assert_non_null(strstr(fault.text, "line 1"));
}

static void writing_is_compact_and_bounded(void **state) {
    (void)state;
    json_t *v = json_pack("{s:s, s:[i, b]}", "b", "日本", "a", 1, 1);
    struct buffer b;
    buffer_init(&b, 100);
    assert_true(json_write(&b, v));
    assert_string_equal(buffer_cstr(&b), "{\"b\":\"日本\",\"a\":[1,true]}");
    buffer_fini(&b);
    buffer_init(&b, 10);
    assert_false(json_write(&b, v));
    assert_true(b.failed);
    buffer_fini(&b);
    json_decref(v);
}

static void what_was_written_before_goes_in_as_it_is(void **state) {
    (void)state;
    json_t *v = json_pack("{s:i}", "a", 1);
    struct buffer b, doses;
    buffer_init(&b, 100);
    buffer_init(&doses, 100);
    assert_true(buffer_puts(&doses, "[{\"lot\":\"日\"}]"));
    assert_true(json_write_with(&b, v, "doses", &doses));
    assert_string_equal(buffer_cstr(&b), "{\"a\":1,\"doses\":[{\"lot\":\"日\"}]}");
    buffer_fini(&b);
    buffer_init(&b, 20);
    assert_false(json_write_with(&b, v, "doses", &doses));
    assert_true(b.failed);
    buffer_fini(&b);
    buffer_fini(&doses);
    json_decref(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_parsing),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(fields_are_read_by_a_table),
        cmocka_unit_test(what_does_not_fit_is_refused_by_name),
        cmocka_unit_test(faults_do_not_repeat_content),
        cmocka_unit_test(writing_is_compact_and_bounded),
        cmocka_unit_test(what_was_written_before_goes_in_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
