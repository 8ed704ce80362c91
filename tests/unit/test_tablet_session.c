// needs: tablet-api/session.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tablet-api/session.h"

enum { IDLE_MS = 1000, AGE_MS = 5000, MAX = 3 };

static const uint8_t here[32] = {1};
static const uint8_t there[32] = {2};

static int setup(void **state) {
    return session_table_open(MAX, IDLE_MS, AGE_MS, (struct session_table **)state) == VRS_OK ? 0
                                                                                              : -1;
}

static int teardown(void **state) {
    session_table_close((struct session_table **)state);
    return 0;
}

static void it_stands_on_the_password_that_opened_it(void **state) {
    struct session_table *t = *state;
    char token[SESSION_TOKEN_SIZE];
    assert_int_equal(session_new(t, "site-1", here, 0, token), VRS_OK);
    assert_false(session_password_is(session_use(t, token, 0), "")); /* not told yet: none */
    session_place(t, token, "tablet-1", "131032", "a hash");
    assert_true(session_password_is(session_use(t, token, 0), "a hash"));
    assert_false(session_password_is(session_use(t, token, 0), "another hash"));
}

/* C28: idle time ends it, use prolongs it, age ends it for good. */
static void time_ends_a_session(void **state) {
    struct session_table *t = *state;
    char token[SESSION_TOKEN_SIZE];
    assert_int_equal(session_new(t, "site-1", here, 0, token), VRS_OK);
    for (int64_t now = 0; now < AGE_MS; now += IDLE_MS - 1) {
        const struct session *s = session_use(t, token, now);
        assert_non_null(s);
        assert_string_equal(s->user_id, "site-1");
    }
    assert_null(session_use(t, token, AGE_MS));
    assert_int_equal(session_count(t), 0);
    assert_int_equal(session_new(t, "site-1", here, 0, token), VRS_OK);
    assert_null(session_use(t, token, IDLE_MS));
}

static void only_the_token_opens_it(void **state) {
    struct session_table *t = *state;
    char token[SESSION_TOKEN_SIZE];
    char other[SESSION_TOKEN_SIZE];
    assert_int_equal(session_new(t, "site-1", here, 0, token), VRS_OK);
    assert_int_equal(session_new(t, "site-2", here, 0, other), VRS_OK);
    assert_string_not_equal(token, other);
    assert_null(session_use(t, "", 1));
    assert_null(session_use(t, "zz", 1));
    char changed[SESSION_TOKEN_SIZE];
    memcpy(changed, token, sizeof changed);
    changed[63] = changed[63] == '0' ? '1' : '0';
    assert_null(session_use(t, changed, 1));
    assert_true(session_end(t, token));
    assert_false(session_end(t, token));
    assert_null(session_use(t, token, 1));
    assert_string_equal(session_use(t, other, 1)->user_id, "site-2");
}

static void places_are_bounded_and_swept(void **state) {
    struct session_table *t = *state;
    char token[SESSION_TOKEN_SIZE];
    for (int i = 0; i < MAX; i++)
        assert_int_equal(session_new(t, "site-1", here, 0, token), VRS_OK);
    assert_int_equal(session_new(t, "site-1", here, 10, token), ERR_BUSY);
    assert_int_equal(session_new(t, "site-1", here, IDLE_MS, token), VRS_OK);
    assert_int_equal(session_count(t), 1);
}

/* C26 */
static void two_terminals_of_one_person_are_seen(void **state) {
    struct session_table *t = *state;
    char token[SESSION_TOKEN_SIZE];
    assert_int_equal(session_new(t, "site-1", here, 0, token), VRS_OK);
    assert_false(session_elsewhere(t, "site-1", here, 1));
    assert_true(session_elsewhere(t, "site-1", there, 1));
    assert_false(session_elsewhere(t, "site-2", there, 1));
    assert_false(session_elsewhere(t, "site-1", there, IDLE_MS));
}

static char timed_out_at[160];

static void see_time_out(const struct session *s, void *arg) {
    (*(unsigned *)arg)++;
    (void)snprintf(timed_out_at, sizeof timed_out_at, "%s %s %s", s->user_id, s->terminal,
                   s->municipality);
}

/* C65 */
static void each_time_out_is_told_once(void **state) {
    struct session_table *t = *state;
    char token[SESSION_TOKEN_SIZE], other[SESSION_TOKEN_SIZE];
    unsigned told = 0;
    session_table_watch(t, see_time_out, &told);
    assert_int_equal(session_new(t, "site-1", here, 0, token), VRS_OK);
    session_place(t, token, "tablet-1", "131032", "a hash");
    assert_int_equal(session_new(t, "site-2", there, 0, other), VRS_OK);
    assert_true(session_end(t, other)); /* a log-out is none */
    session_sweep(t, IDLE_MS - 1);
    assert_int_equal(told, 0);
    assert_null(session_use(t, token, IDLE_MS));
    assert_null(session_use(t, token, IDLE_MS));
    session_sweep(t, 10 * IDLE_MS);
    assert_int_equal(told, 1);
    assert_string_equal(timed_out_at, "site-1 tablet-1 131032");
    assert_int_equal(session_new(t, "site-1", here, 0, token), VRS_OK); /* the table closes */
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(time_ends_a_session),          TEST(only_the_token_opens_it),
        TEST(places_are_bounded_and_swept), TEST(two_terminals_of_one_person_are_seen),
        TEST(each_time_out_is_told_once),   TEST(it_stands_on_the_password_that_opened_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
