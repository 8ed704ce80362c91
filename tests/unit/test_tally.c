#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "partitions/tally.h"
#include "tests/lib/room.h"

static int64_t value(const char *name) {
    int64_t v = -1;
    room_ok(tally_get(room.partition, name, &v));
    return v;
}

struct sums {
    int64_t sum;
    size_t count;
};

static enum vrs_err add_up(const char *name, int64_t v, void *arg) {
    struct sums *s = arg;
    assert_true(strncmp(name, "doses/", 6) == 0);
    s->sum += v;
    s->count++;
    return VRS_OK;
}

static void an_undone_count_does_not_count(void **state) {
    (void)state;
    room_ok(tally_add(room.partition, "doses/1", 2));
    room_ok(partition_savepoint(room.partition));
    room_ok(tally_add(room.partition, "doses/1", 40));
    room_ok(tally_add(room.partition, "doses/2", 1));
    room_ok(partition_rollback_to(room.partition));
    assert_int_equal(value("doses/1"), 2);
    assert_int_equal(value("doses/2"), 0);
    room_ok(tally_add(room.partition, "doses/1", -3));
    room_close();
    room_open();
    assert_int_equal(value("doses/1"), -1);
}

static void a_batch_seals_each_counter_once(void **state) {
    (void)state;
    char name[64];
    struct sums s = {0};
    struct tally_batch *b = tally_batch_open();
    assert_non_null(b);
    for (int i = 0; i < 600; i++) {
        (void)snprintf(name, sizeof name, "doses/2021-07-01/1/product-%d", i % 60);
        tally_batch_add(b, name, 1);
    }
    tally_batch_add(b, "misses/2021-09-01/462012", 1);
    tally_batch_add(b, "doses/none", 1);
    tally_batch_add(b, "doses/none", -1); /* nothing to write */
    room_ok(tally_batch_flush(b, room.partition));
    room_ok(tally_batch_flush(b, room.partition)); /* empty now */
    room_ok(tally_walk(room.partition, "doses/", add_up, &s));
    assert_true(s.sum == 600 && s.count == 60);
    assert_int_equal(value("doses/2021-07-01/1/product-59"), 10);
    assert_int_equal(value("misses/2021-09-01/462012"), 1);
    assert_int_equal(room_raw("SELECT count(*) FROM tally WHERE version = 1"), 61);
    tally_batch_close(&b);
    assert_null(b);
}

static void a_walk_goes_over_pages(void **state) {
    (void)state;
    char name[64];
    struct sums s = {0};
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "doses/%d", i);
        room_ok(tally_add(room.partition, name, i));
    }
    room_ok(tally_walk(room.partition, "doses/", add_up, &s));
    assert_true(s.count == 1000 && s.sum == 499500);
}

static void a_name_that_is_too_long_is_refused_not_cut(void **state) {
    (void)state;
    char name[200];
    struct tally_batch *b = tally_batch_open();
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(tally_add(room.partition, name, 1), ERR_INTERNAL);
    tally_batch_add(b, name, 1);
    tally_batch_add(b, "doses/1", 1);
    assert_int_equal(tally_batch_flush(b, room.partition), ERR_INTERNAL);
    assert_int_equal(value("doses/1"), 0);
    tally_batch_close(&b);
}

/* A village of 156 is a record: neither name nor number of a counter is in the file. */
static void counters_are_sealed(void **state) {
    (void)state;
    room_ok(tally_add(room.partition, "doses/2021-07-01/1/comirnaty", 156));
    room_commit();
    assert_false(stand_holds(room.stand.partitions, "comirnaty", 9));
    room_close();
    assert_false(stand_holds(room.stand.partitions, "2021-07-01", 10));
    (void)room_raw("UPDATE tally SET version = version + 1");
    room_open();
    int64_t v;
    assert_int_equal(tally_get(room.partition, "doses/2021-07-01/1/comirnaty", &v), ERR_TAMPERED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ROOM_TEST(an_undone_count_does_not_count),
        ROOM_TEST(a_batch_seals_each_counter_once),
        ROOM_TEST(a_walk_goes_over_pages),
        ROOM_TEST(a_name_that_is_too_long_is_refused_not_cut),
        ROOM_TEST(counters_are_sealed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
