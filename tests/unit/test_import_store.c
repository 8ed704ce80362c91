// needs: vrs-server/residents/import_store.c -Wl,--wrap=clock_now_ms
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/wire.h"
#include "partitions/access_log.h"
#include "partitions/exchange.h"
#include "tests/lib/room.h"
#include "vrs-server/residents/import_store.h"

static const int64_t day_ms = 86400000;
static int64_t now_ms;

int64_t __wrap_clock_now_ms(void);
int64_t __wrap_clock_now_ms(void) {
    return now_ms;
}

static int set_up(void **state) {
    now_ms = INT64_C(1783000000000);
    return room_set_up(state);
}

static struct import announce(const char *name, enum import_state s) {
    struct import m = {.state = s,
                       .kind = IMPORT_RESIDENTS,
                       .size = 2 * IMPORT_PART_BYTES,
                       .received = 2 * IMPORT_PART_BYTES,
                       .part_bytes = IMPORT_PART_BYTES,
                       .results = 1,
                       .made_ms = now_ms,
                       .touched_ms = now_ms};
    record_id_new(&m.id);
    (void)snprintf(m.file_name, sizeof m.file_name, "%s", name);
    (void)snprintf(m.sha256, sizeof m.sha256, "%s", name);
    room_ok(import_put(room.partition, &m, true));
    for (uint64_t i = 0; i < 2; i++)
        room_ok(import_part_put(room.partition, &m.id, "part", i, "x", 1));
    room_ok(import_part_put(room.partition, &m.id, s >= IMPORT_COMMITTING ? "result" : "preview", 0,
                            "y", 1));
    return m;
}

static uint64_t parts(void) {
    uint64_t n = 0;
    room_ok(partition_engine(room.partition)
                ->count(partition_store(room.partition), TABLE_IMPORT_PART, UINT32_MAX, &n));
    return n;
}

static enum import_state state_of(const struct import *m) {
    struct import now;
    room_ok(import_get(room.partition, &m->id, &now));
    return now.state;
}

static enum vrs_err count_sweeps(const struct log_read *e, void *arg) {
    *(unsigned *)arg += strcmp(e->act, "import.sweep") == 0 && strcmp(e->user, "system:sweep") == 0;
    return VRS_OK;
}

static void what_lies_too_long_goes_and_its_ledger_row_stays(void **state) {
    uint64_t removed = 0;
    unsigned entries = 0;
    (void)state;
    struct import old = announce("old", IMPORT_CHECKED);
    struct import begun = announce("begun", IMPORT_COMMITTING);
    struct import done = announce("done", IMPORT_COMMITTED);
    now_ms += 5 * day_ms;
    struct import young = announce("young", IMPORT_RECEIVED);
    now_ms += 3 * day_ms;
    assert_int_equal(parts(), 12);
    room_ok(imports_sweep(room.partition, now_ms - 7 * day_ms, &removed));
    assert_int_equal(removed, 2);
    assert_int_equal(state_of(&old), IMPORT_REMOVED);
    assert_int_equal(state_of(&begun), IMPORT_REMOVED);
    assert_int_equal(state_of(&done), IMPORT_COMMITTED);
    assert_int_equal(state_of(&young), IMPORT_RECEIVED);
    assert_int_equal(parts(),
                     12 - 3 - 2); /* the rows that a commit has applied keep their results */
    room_ok(access_log_read(room.partition, 0, 100, count_sweeps, &entries));
    assert_int_equal(entries, 2);
    room_ok(imports_sweep(room.partition, now_ms - 7 * day_ms, &removed));
    assert_int_equal(removed, 0);
}

/* Made by a program whose parts were all of one size and stated nowhere. */
static void parts_without_a_size_are_of_the_old_one(void **state) {
    struct import found;
    (void)state;
    struct import m = announce("made before", IMPORT_RECEIVED);
    m.part_bytes = 0;
    room_ok(import_put(room.partition, &m, false));
    room_ok(import_get(room.partition, &m.id, &found));
    assert_int_equal(found.part_bytes, 16384);
}

static void who_touches_it_keeps_it(void **state) {
    uint64_t removed = 0;
    (void)state;
    struct import m = announce("slow", IMPORT_RECEIVING);
    now_ms += 6 * day_ms;
    m.touched_ms = now_ms;
    room_ok(import_put(room.partition, &m, false));
    now_ms += 6 * day_ms;
    room_ok(imports_sweep(room.partition, now_ms - 7 * day_ms, &removed));
    assert_int_equal(removed, 0);
}

static void it_is_found_by_name_and_by_hash(void **state) {
    struct import found;
    bool any = true;
    (void)state;
    struct import m = announce("a.csv", IMPORT_CREATED);
    room_ok(import_find(room.partition, "name", "b.csv", &found, &any));
    assert_false(any);
    room_ok(import_find(room.partition, "name", "a.csv", &found, &any));
    assert_true(any && record_id_equal(&found.id, &m.id));
    room_ok(import_find(room.partition, "hash", "a.csv", &found, &any));
    assert_true(any);
}

static enum vrs_err count_import(struct import *m, void *arg) {
    *(unsigned *)arg += import_open(m);
    return VRS_OK;
}

static void all_are_walked_over_in_pages(void **state) {
    char name[16];
    unsigned open = 0;
    (void)state;
    for (unsigned i = 0; i < 1203; i++) {
        struct import m = {.state = i < 3 ? IMPORT_COMMITTED : IMPORT_CREATED};
        record_id_new(&m.id);
        (void)snprintf(name, sizeof name, "%u", i);
        (void)snprintf(m.file_name, sizeof m.file_name, "%s", name);
        room_ok(import_put(room.partition, &m, true));
    }
    room_ok(import_walk_all(room.partition, count_import, &open));
    assert_int_equal(open, 1200);
}

/* --- keys of requests --- */

static void keep(const char *key) {
    room_ok(idempotency_keep(room.partition, key, "b", 1, 200, "{}", 2));
}

static bool there(const char *key) {
    struct idempotent first = {0};
    bool seen = false;
    buffer_init(&first.answer, 100);
    room_ok(idempotency_look(room.partition, key, "b", 1, &seen, &first));
    buffer_fini(&first.answer);
    return seen;
}

static void keys_go_after_their_days_oldest_first(void **state) {
    uint64_t removed;
    (void)state;
    keep("one");
    keep("two");
    now_ms += 60 * day_ms;
    keep("three");
    now_ms += 30 * day_ms;
    room_ok(idempotency_purge(room.partition, now_ms - 90 * day_ms, 100, &removed));
    assert_int_equal(removed, 0); /* 90 days to the millisecond are kept */
    now_ms += 1;
    room_ok(idempotency_purge(room.partition, now_ms - 90 * day_ms, 1, &removed));
    assert_int_equal(removed, 1);
    assert_false(there("one"));
    assert_true(there("two"));
    room_ok(idempotency_purge(room.partition, now_ms - 90 * day_ms, 100, &removed));
    assert_int_equal(removed, 1);
    assert_true(there("three"));
}

/* As an earlier version kept it: without a time. */
static void strip_time(void) {
    struct record r;
    struct record_id id;
    uint8_t hash[CRYPTO_HASH_BYTES];
    struct wire_reader reader;
    struct wire_field f;
    bool more = true;
    struct buffer text;
    crypto_sha256("old", 3, hash);
    memcpy(id.bytes, hash, sizeof id.bytes);
    record_init(&r);
    buffer_init(&text, 4096);
    room_ok(record_get(room.partition, TABLE_IDEMPOTENCY, &id, &r));
    wire_open(&reader, r.text.data, r.text.len);
    while (more) {
        room_ok(wire_next(&reader, &f, &more));
        if (more && f.tag != 4)
            wire_put(&text, f.tag, f.data, f.len);
    }
    buffer_clear(&r.text);
    assert_true(buffer_put(&r.text, text.data, text.len));
    room_ok(record_reseal(room.partition, TABLE_IDEMPOTENCY, &r));
    buffer_fini(&text);
    record_fini(&r);
}

static void a_key_without_a_time_counts_from_now(void **state) {
    uint64_t removed;
    (void)state;
    keep("old");
    strip_time();
    room_ok(idempotency_purge(room.partition, now_ms + day_ms, 100, &removed));
    assert_int_equal(removed, 0);
    assert_true(there("old"));
    room_ok(idempotency_purge(room.partition, now_ms + day_ms, 100, &removed));
    assert_int_equal(removed, 1);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, room_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_lies_too_long_goes_and_its_ledger_row_stays),
        TEST(parts_without_a_size_are_of_the_old_one),
        TEST(who_touches_it_keeps_it),
        TEST(it_is_found_by_name_and_by_hash),
        TEST(all_are_walked_over_in_pages),
        TEST(keys_go_after_their_days_oldest_first),
        TEST(a_key_without_a_time_counts_from_now),
    };
    return cmocka_run_group_tests_name("C114 what nobody commits goes", tests, NULL, NULL);
}
