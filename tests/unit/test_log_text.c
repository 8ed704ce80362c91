#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/log_text.h"

#define ROOT "abababababababababababababababababababababababababababababababab"

static const char epoch[] = "vrs-epoch/1\n131032\n0f8fad5b-d9cb-469f-a165-70867728950e\n1\n"
                            "18446744073709551615\n" ROOT "\n50\n";
static const char purge[] = "vrs-purge/1\n131032\n1\n512\n" ROOT "\n";

static void texts_come_back(void **state) {
    (void)state;
    struct log_epoch_text e;
    struct log_purge_text p;
    char again[LOG_TEXT_BYTES];
    assert_true(log_epoch_parse(epoch, &e));
    assert_string_equal(e.municipality, "131032");
    assert_string_equal(e.previous, "1");
    assert_true(e.known == UINT64_MAX);
    assert_int_equal(e.known_root.bytes[31], 0xab);
    assert_int_equal(e.restored, 50);
    log_epoch_text(&e, again);
    assert_string_equal(again, epoch);
    assert_true(log_purge_parse(purge, &p));
    assert_int_equal(p.size, 512);
    log_purge_text(&p, again);
    assert_string_equal(again, purge);
}

/* One form only: no other spelling, nothing more, nothing less. */
static void anything_else_is_refused(void **state) {
    (void)state;
    struct log_epoch_text e;
    struct log_purge_text p;
    char text[sizeof epoch + 8];
    for (size_t n = 0; n < sizeof epoch - 1; n++) {
        (void)snprintf(text, sizeof text, "%.*s", (int)n, epoch);
        assert_false(log_epoch_parse(text, &e));
    }
    for (size_t n = 0; n < sizeof purge - 1; n++) {
        (void)snprintf(text, sizeof text, "%.*s", (int)n, purge);
        assert_false(log_purge_parse(text, &p));
    }
    (void)snprintf(text, sizeof text, "%s\n", epoch);
    assert_false(log_epoch_parse(text, &e));
    static const char *const wrong[] = {
        "vrs-purge/2\n131032\n1\n512\n" ROOT "\n",  "vrs-purge/1\n1310320\n1\n512\n" ROOT "\n",
        "vrs-purge/1\n131032\n1\n0512\n" ROOT "\n", "vrs-purge/1\n131032\n1\n+512\n" ROOT "\n",
        "vrs-purge/1\n131032\n1\n-1\n" ROOT "\n",   "vrs-purge/1\n131032\n1\n512 \n" ROOT "\n",
        "vrs-purge/1\n131032\n1\n512\nAB" ROOT "\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(log_purge_parse(wrong[i], &p));
    assert_false(log_epoch_parse(purge, &e));
    assert_false(log_purge_parse(epoch, &p));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
