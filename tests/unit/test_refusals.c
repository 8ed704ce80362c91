// needs: vrs-server/log/refusals.c -Wl,--wrap=clock_mono_ms -Wl,--wrap=pool_submit
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "partitions/access_log.h"
#include "tests/lib/room.h"
#include "vrs-server/log/refusals.h"

enum { WINDOW_MS = 300000 };

static int64_t now_ms;
static unsigned flushed;

int64_t __wrap_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void) {
    return now_ms;
}

/* The job runs at once, in the room's partition. */
enum vrs_err __wrap_pool_submit(struct pool *p, struct pool_job *job);
enum vrs_err __wrap_pool_submit(struct pool *p, struct pool_job *job) {
    (void)p;
    assert_string_equal(job->municipality, "131032");
    flushed++;
    job->err = job->run(job, room.partition);
    assert_int_equal(job->err, VRS_OK);
    job->done(job);
    return VRS_OK;
}

static struct server server;
static struct refusals *refusals;

static int set_up(void **state) {
    now_ms = 1000;
    flushed = 0;
    return room_set_up(state) || refusals_open(&server, &refusals) != VRS_OK;
}

static int tear_down(void **state) {
    refusals_close(&refusals);
    return room_tear_down(state);
}

static bool take(const char *terminal, enum vrs_err why, unsigned most, uint64_t *more) {
    return refusals_take(refusals, "131032", terminal, why, most, more);
}

static void above_the_limit_they_are_counted(void **state) {
    uint64_t more = 7;
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_true(take("lgwan-1", ERR_LOGIN_REQUIRED, 3, &more));
        assert_int_equal(more, 0);
    }
    for (unsigned i = 0; i < 1000; i++)
        assert_false(take("lgwan-1", ERR_LOGIN_REQUIRED, 3, &more));
    /* another terminal and another kind have their own */
    assert_true(take("lgwan-2", ERR_LOGIN_REQUIRED, 3, &more));
    assert_true(take("lgwan-1", ERR_SESSION_ENDED, 3, &more));
    now_ms += WINDOW_MS - 1;
    assert_false(take("lgwan-1", ERR_LOGIN_REQUIRED, 3, &more));
    now_ms += 1;
    assert_true(take("lgwan-1", ERR_LOGIN_REQUIRED, 3, &more));
    assert_int_equal(more, 1001);
    assert_true(take("lgwan-1", ERR_LOGIN_REQUIRED, 3, &more));
    assert_int_equal(more, 0);
    assert_int_equal(flushed, 0);
}

struct seen {
    unsigned entries;
    uint64_t count;
};

static enum vrs_err look(const struct log_read *e, void *arg) {
    struct seen *s = arg;
    s->entries++;
    s->count += e->count;
    assert_string_equal(e->act, "request.refused_many");
    assert_string_equal(e->result, err_name(ERR_TOO_MANY));
    assert_string_equal(e->terminal, "lgwan-1");
    assert_string_equal(e->user, "-");
    assert_string_equal(e->detail, "more=9");
    return VRS_OK;
}

static void without_a_successor_they_get_an_entry_of_their_own(void **state) {
    struct seen seen = {0};
    uint64_t more;
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        (void)take("lgwan-1", ERR_TOO_MANY, 1, &more);
    (void)take("lgwan-2", ERR_TOO_MANY, 1, &more); /* nothing above its limit */
    refusals_tick(refusals);
    assert_int_equal(flushed, 0);
    now_ms += WINDOW_MS;
    refusals_tick(refusals);
    refusals_tick(refusals);
    assert_int_equal(flushed, 1);
    room_ok(access_log_read(room.partition, 0, 10, look, &seen));
    assert_int_equal(seen.entries, 1);
    assert_int_equal(seen.count, 9);
}

static void more_kinds_than_there_is_room_for_lose_nothing(void **state) {
    char name[32];
    uint64_t more;
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        (void)take("lgwan-1", ERR_TOO_MANY, 1, &more);
    for (unsigned i = 0; i < 3000; i++) {
        (void)snprintf(name, sizeof name, "other-%u", i);
        now_ms++;
        assert_true(take(name, ERR_LOGIN_REQUIRED, 1, &more));
    }
    assert_int_equal(flushed, 1);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(above_the_limit_they_are_counted),
        TEST(without_a_successor_they_get_an_entry_of_their_own),
        TEST(more_kinds_than_there_is_room_for_lose_nothing),
    };
    return cmocka_run_group_tests_name("C65 refusals cannot fill a disk", tests, NULL, NULL);
}
