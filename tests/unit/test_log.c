#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "lib/log.h"

static char output[16384];

/* What `write` says on standard error. */
static json_t *capture(void (*speak)(void)) {
    int pipes[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(pipes), 0);
    assert_true(dup2(pipes[1], STDERR_FILENO) >= 0);
    speak();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(pipes[1]);
    (void)close(saved);
    ssize_t n = read(pipes[0], output, sizeof output - 1);
    assert_true(n >= 0);
    output[n] = '\0';
    (void)close(pipes[0]);
    if (n == 0)
        return NULL;
    assert_int_equal(output[n - 1], '\n');
    assert_ptr_equal(strchr(output, '\n'), output + n - 1); /* one line */
    json_error_t error;
    json_t *v = json_loads(output, JSON_REJECT_DUPLICATES, &error);
    if (v == NULL)
        fail_msg("%s in %s", error.text, output);
    return v;
}

static const char *str(json_t *v, const char *name) {
    return json_string_value(json_object_get(v, name));
}

static void say_fields(void) {
    log_event(LOG_INFO, "dose.recorded", LF_STR("municipality", "131016"), LF_INT("count", -3),
              LF_HEX("receipt", "\xde\xad", 2), LF_ERR(ERR_STALE_VERSION), LF_STR("none", NULL));
}

static void fields_are_typed(void **state) {
    (void)state;
    json_t *v = capture(say_fields);
    assert_string_equal(str(v, "event"), "dose.recorded");
    assert_string_equal(str(v, "level"), "info");
    assert_string_equal(str(v, "program"), "unit");
    assert_string_equal(str(v, "municipality"), "131016");
    assert_int_equal(json_integer_value(json_object_get(v, "count")), -3);
    assert_string_equal(str(v, "receipt"), "dead");
    assert_string_equal(str(v, "error"), "stale_version");
    assert_true(json_is_null(json_object_get(v, "none")));
    assert_int_equal(strlen(str(v, "t")), 24);
    json_decref(v);
}

static void say_attack(void) {
    log_event(LOG_WARN, "test", LF_STR("a", "x\n{\"event\":\"forged\"}\r\t\x01\x7f\"\\"),
              LF_STR("b", "not utf8: \xff\xfe"), LF_STR("c", "日本語"));
}

static void a_line_cannot_be_forged(void **state) {
    (void)state;
    json_t *v = capture(say_attack);
    assert_string_equal(str(v, "a"), "x\n{\"event\":\"forged\"}\r\t\x01\x7f\"\\");
    assert_string_equal(str(v, "b"), "not utf8: ??");
    assert_string_equal(str(v, "c"), "日本語");
    json_decref(v);
}

static void say_too_much(void) {
    static char much[6000];
    memset(much, '"', sizeof much - 1);
    log_event(LOG_ERROR, "test", LF_STR("first", "1"), LF_STR("much", much), LF_STR("last", "2"));
}

static void a_long_line_is_cut_and_still_json(void **state) {
    (void)state;
    json_t *v = capture(say_too_much);
    assert_string_equal(str(v, "first"), "1");
    assert_null(json_object_get(v, "much"));
    assert_true(json_is_true(json_object_get(v, "cut")));
    json_decref(v);
}

static void say_debug(void) {
    log_plain(LOG_DEBUG, "quiet");
}

static void say_fault(void) {
    struct vrs_fault fault;
    (void)err_fail(&fault, ERR_STORAGE, "open %s", "x.db");
    log_fault(LOG_ERROR, "store.failed", &fault);
}

static void levels_and_faults(void **state) {
    (void)state;
    assert_null(capture(say_debug));
    json_t *v = capture(say_fault);
    assert_string_equal(str(v, "error"), "storage_unavailable");
    assert_string_equal(str(v, "text"), "open x.db");
    assert_string_equal(str(v, "level"), "error");
    assert_non_null(strstr(str(v, "file"), "test_log.c"));
    json_decref(v);
}

int main(void) {
    log_init("unit", LOG_INFO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_typed),
        cmocka_unit_test(a_line_cannot_be_forged),
        cmocka_unit_test(a_long_line_is_cut_and_still_json),
        cmocka_unit_test(levels_and_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
