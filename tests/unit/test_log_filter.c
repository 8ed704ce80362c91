// needs: vrs-server/log/log_filter.c vrs-server/log/change.c vrs-server/log/near.c vrs-server/log/act.c -Wl,--wrap=http_query
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/room.h"
#include "vrs-server/log/act.h"
#include "vrs-server/log/change.h"
#include "vrs-server/log/log_filter.h"
#include "vrs-server/log/near.h"

/* The query of the request that is tested: pairs of name and value, NULL at the end. */
static const char *const *query;

const char *__wrap_http_query(const struct http_request *rq, const char *name);
const char *__wrap_http_query(const struct http_request *rq, const char *name) {
    (void)rq;
    for (const char *const *q = query; *q != NULL; q += 2) {
        if (strcmp(q[0], name) == 0)
            return q[1];
    }
    return NULL;
}

static struct log_filter filter(const char *const *q) {
    struct log_filter f;
    query = q;
    assert_int_equal(log_filter_read(NULL, &f), VRS_OK);
    return f;
}

static void days_are_of_japan_and_included(void **state) {
    (void)state;
    static const char *const q[] = {"from", "2026-07-01", "to", "2026-07-02", NULL};
    struct log_filter f = filter(q);
    char from[25], to[25];
    clock_format_rfc3339(f.from_ms, from);
    clock_format_rfc3339(f.to_ms, to);
    assert_string_equal(from, "2026-06-30T15:00:00.000Z");
    assert_string_equal(to, "2026-07-02T15:00:00.000Z");
    assert_string_equal(log_filter_text(&f), "from=2026-07-01 to=2026-07-02");
}

static void entries_pass_by_all_that_is_asked(void **state) {
    (void)state;
    static const char *const q[] = {"user", "clerk", "act", "dose.", "result", "ok", NULL};
    static const char *const exact[] = {"act", "dose.list", NULL};
    struct log_filter f = filter(q);
    struct log_read e = {
        .user = "clerk", .act = "dose.list", .result = "ok", .terminal = "lgwan-1"};
    assert_true(log_filter_passes(&f, &e));
    e.act = "dosed";
    assert_false(log_filter_passes(&f, &e));
    e.act = "dose.correct";
    assert_true(log_filter_passes(&f, &e));
    e.user = "clerk-2";
    assert_false(log_filter_passes(&f, &e));
    f = filter(exact);
    assert_false(log_filter_passes(&f, &e));
    e.act = "dose.list";
    assert_true(log_filter_passes(&f, &e));
}

static void what_cannot_be_meant_is_refused(void **state) {
    (void)state;
    static const char *const bad[][3] = {{"after", "-1", NULL},
                                         {"after", "1x", NULL},
                                         {"from", "tomorrow", NULL},
                                         {"to", "2026-02-30", NULL},
                                         {"from", "2026-07-01T", NULL}};
    struct log_filter f;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        query = bad[i];
        assert_int_not_equal(log_filter_read(NULL, &f), VRS_OK);
    }
}

static void the_first_entry_of_a_day_is_found_by_halving(void **state) {
    const struct log_entry e = {.act = "resident.read"};
    uint64_t after = 99;
    (void)state;
    for (unsigned i = 0; i < 50; i++)
        room_ok(access_log_append(room.partition, &e, NULL));
    room_commit();
    room_ok(log_filter_seek(room.partition, clock_now_ms(), &after));
    assert_int_equal(after, 0); /* two days are allowed for steps of the clock */
    room_ok(log_filter_seek(room.partition, clock_now_ms() + 3 * INT64_C(86400000), &after));
    assert_int_equal(after, 50);
}

/* --- the small ones --- */

static void a_change_says_before_and_after(void **state) {
    struct change c = {0};
    char long_text[400];
    (void)state;
    change_note(&c, "lot", "FF3620", "FF3620");
    change_note(&c, "lot", "FF3620", "FF0001");
    change_note(&c, "site", "", "会場");
    assert_string_equal(change_text(&c, "読み違い"),
                        "lot: FF3620 → FF0001; site: （空） → 会場; 理由: 読み違い");
    struct change full = {0};
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    for (unsigned i = 0; i < 10; i++)
        change_note(&full, "address", long_text, "y");
    assert_true(strlen(change_text(&full, "r")) < sizeof full.text);
}

static void a_coupon_beside_the_last_one_is_near(void **state) {
    (void)state;
    assert_false(near_last_coupon("a", "5000000001"));
    assert_true(near_last_coupon("a", "5000000002"));
    assert_false(near_last_coupon("a", "5000000002")); /* the same again */
    assert_true(near_last_coupon("a", "4999999992"));
    assert_false(near_last_coupon("b", "4999999993")); /* somebody else */
    assert_false(near_last_coupon("a", "4999999981"));
    char user[24];
    for (unsigned i = 0; i < 2000; i++) { /* more users than there is room for */
        (void)snprintf(user, sizeof user, "user-%u", i);
        assert_false(near_last_coupon(user, "5000000001"));
    }
    assert_true(near_last_coupon("user-1999", "5000000002"));
}

static void acts_and_words_have_names(void **state) {
    enum act_kind kind;
    (void)state;
    assert_true(act_find("resident.read", &kind) && kind == ACT_REQUEST);
    assert_false(act_find("planted.act", &kind));
    assert_string_equal(act_name("planted.act"), "planted.act");
    assert_string_equal(act_name("number.reveal"), "個人番号の表示");
    assert_true(act_refuses("session.refused") && !act_refuses("session.opened"));
    assert_string_equal(act_result_name("ok"), "実行");
    assert_string_equal(act_result_name("forbidden"), err_detail_ja(ERR_FORBIDDEN));
    assert_string_equal(act_purpose_name("transfer_in"), "転入者の接種記録の照会");
    assert_string_equal(act_source_name("internet"), "接種会場の端末");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_are_of_japan_and_included),
        cmocka_unit_test(entries_pass_by_all_that_is_asked),
        cmocka_unit_test(what_cannot_be_meant_is_refused),
        ROOM_TEST(the_first_entry_of_a_day_is_found_by_halving),
        cmocka_unit_test(a_change_says_before_and_after),
        cmocka_unit_test(a_coupon_beside_the_last_one_is_near),
        cmocka_unit_test(acts_and_words_have_names),
    };
    return cmocka_run_group_tests_name("C78 the log by filters", tests, NULL, NULL);
}
