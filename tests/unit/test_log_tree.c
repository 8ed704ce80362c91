#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "partitions/access_log.h"
#include "partitions/log_tree.h"
#include "tests/lib/room.h"

enum { MOST = 66000 };

static const struct log_actor clerk = {
    .user = "minato-01", .section = "保健予防課", .terminal = "LGWAN-0007", .source = "lgwan"};
static struct merkle_hash leaves[MOST];
static char offset_file[224];

static void append(uint64_t n) {
    struct record_id who[2];
    for (uint64_t i = 0; i < n; i++) {
        for (size_t j = 0; j < 2; j++)
            record_id_new(&who[j]);
        const struct log_entry e = {.actor = clerk,
                                    .act = "dose.record",
                                    .purpose = "vaccination_record",
                                    .result = "ok",
                                    .subjects = who,
                                    .subject_count = i % 8 == 0 ? 2 : 0};
        room_ok(access_log_append(room.partition, &e, NULL));
    }
}

static uint64_t size_now(void) {
    struct log_head head;
    room_ok(access_log_head(room.partition, &head));
    return head.size;
}

static enum vrs_err note_leaf(const struct log_read *r, void *arg) {
    (void)arg;
    leaves[r->seq - 1] = r->leaf;
    return VRS_OK;
}

/* Every leaf as its row gives it. */
static void read_leaves(void) {
    room_ok(access_log_read(room.partition, 0, UINT32_MAX, note_leaf, NULL));
}

static void root_of(uint64_t size, struct merkle_hash *out) {
    merkle_root(leaves, size, out);
}

static void the_head_is_that_of_the_rows(void) {
    struct log_head head;
    struct merkle_hash root;
    read_leaves();
    room_ok(access_log_head(room.partition, &head));
    root_of(head.size, &root);
    assert_memory_equal(&head.root, &root, sizeof root);
}

static void a_path_checks(uint64_t entry, uint64_t size) {
    struct merkle_hash path[MERKLE_MAX_DEPTH], root;
    size_t count = 0;
    root_of(size, &root);
    room_ok(access_log_path(room.partition, entry, size, path, &count));
    assert_true(merkle_path_check(&leaves[entry - 1], entry - 1, size, path, count, &root));
}

static void a_consistency_checks(uint64_t from, uint64_t to) {
    struct merkle_hash proof[MERKLE_MAX_DEPTH], a, b, root;
    size_t count = 0;
    root_of(from, &a);
    root_of(to, &b);
    room_ok(access_log_consistency(room.partition, from, to, proof, &count));
    assert_true(merkle_consistency_check(from, &a, to, &b, proof, count));
    room_ok(access_log_root_at(room.partition, from, &root));
    assert_memory_equal(&root, &a, sizeof a);
}

static void verifies(void) {
    struct log_head head;
    uint64_t bad = 0;
    enum vrs_err e = access_log_verify(room.partition, NULL, &head, &bad);
    if (e != VRS_OK)
        print_error("bad sequence %llu\n", (unsigned long long)bad);
    room_ok(e);
}

static void must_be_found(uint64_t expected) {
    struct log_head head;
    uint64_t bad = 0;
    assert_int_equal(access_log_verify(room.partition, NULL, &head, &bad), ERR_TAMPERED);
    assert_int_equal(bad, expected);
}

static int64_t tiles(unsigned level) {
    uint64_t n = 0;
    room_ok(store_sqlite.count(partition_store(room.partition), TABLE_LOG_TILE, level, &n));
    return (int64_t)n;
}

static void every_proof_of_three_tiles_checks(void **state) {
    (void)state;
    append(3 * LOG_TILE_WIDTH + 40);
    assert_int_equal(tiles(1), 3);
    room_commit();
    the_head_is_that_of_the_rows();
    for (int opened = 0; opened < 2; opened++) {
        uint64_t size = size_now();
        for (uint64_t entry = 1; entry <= size; entry++)
            a_path_checks(entry, size);
        for (uint64_t n = 1; n <= size; n += 7) {
            a_consistency_checks(n, size);
            a_path_checks(1 + n / 2, n);
        }
        struct merkle_hash path[MERKLE_MAX_DEPTH];
        size_t count = 0;
        assert_int_equal(access_log_path(room.partition, 0, size, path, &count), ERR_BAD_FIELD);
        assert_int_equal(access_log_path(room.partition, 1, size + 1, path, &count), ERR_BAD_FIELD);
        assert_int_equal(access_log_path(room.partition, size + 1, size, path, &count),
                         ERR_BAD_FIELD);
        verifies();
        room_close();
        room_open();
    }
}

/* What the pool's committed hook does: no transaction is open. */
static void proofs_need_no_transaction(void **state) {
    (void)state;
    append(2 * LOG_TILE_WIDTH + 3);
    room_commit();
    read_leaves();
    room_ok(partition_commit(room.partition));
    uint64_t size = size_now();
    a_path_checks(size, size);
    a_path_checks(1, size); /* of a tile that is read for it */
    a_consistency_checks(200, size);
    room_ok(partition_begin(room.partition));
    append(1);
    room_ok(partition_commit(room.partition));
    assert_int_equal(size_now(), size + 1);
    room_ok(partition_begin(room.partition));
}

/* Appends, savepoints that are undone at any depth, commits and rollbacks in any order: the tree is
 * that of the rows after every commit. */
static void it_follows_committed_rows_only(void **state) {
    (void)state;
    unsigned seed = 20211121;
    unsigned depth = 0;
    for (int step = 0; step < 600; step++) {
        unsigned what = (unsigned)rand_r(&seed) % 8;
        if (what < 3) {
            struct log_head head;
            struct merkle_hash root;
            append((unsigned)rand_r(&seed) % 23);
            read_leaves();
            room_ok(access_log_head_now(room.partition, &head));
            root_of(head.size, &root);
            assert_memory_equal(&head.root, &root, sizeof root);
        } else if (what == 3 && depth < 3) {
            room_ok(partition_savepoint(room.partition));
            depth++;
        } else if (what == 4 && depth > 0) {
            room_ok(partition_release(room.partition));
            depth--;
        } else if (what == 5 && depth > 0) {
            room_ok(partition_rollback_to(room.partition));
            depth--;
        } else if (what == 6 && depth == 0) {
            room_commit();
            the_head_is_that_of_the_rows();
        } else if (what == 7 && depth == 0 && step % 5 == 0) {
            partition_rollback(room.partition);
            room_ok(partition_begin(room.partition));
        }
    }
    for (; depth > 0; depth--)
        room_ok(partition_release(room.partition));
    room_commit();
    the_head_is_that_of_the_rows();
    assert_true(size_now() > 2 * LOG_TILE_WIDTH);
    verifies();
}

/* An unknown commit: whatever the disk kept, the tree is that of its rows. */
static void after_an_unknown_commit_it_is_read_anew(void **state) {
    (void)state;
    room_close();
    stand_disk_install();
    room_open();
    append(LOG_TILE_WIDTH - 2);
    room_commit();
    append(5);
    stand_disk.stay = true;
    stand_disk.fail_sync_at = 1;
    assert_int_equal(partition_commit(room.partition), ERR_UNKNOWN);
    stand_disk_heal();
    room_ok(partition_recover(room.partition, &room.fault));
    room_ok(partition_begin(room.partition));
    the_head_is_that_of_the_rows();
    append(3);
    room_commit();
    the_head_is_that_of_the_rows();
    verifies();
}

static void missing_tiles_are_made_when_it_is_opened(void **state) {
    (void)state;
    append(4 * LOG_TILE_WIDTH + 1);
    room_commit();
    (void)room_raw("DELETE FROM access_log_tile");
    assert_int_equal(tiles(1), 4);
    the_head_is_that_of_the_rows();
    verifies();
    (void)room_raw("DELETE FROM access_log_tile WHERE ord = 2");
    assert_int_equal(tiles(1), 4);
    verifies();
}

static void changed_tiles_are_found(void **state) {
    (void)state;
    append(3 * LOG_TILE_WIDTH + 5);
    room_commit();
    (void)room_raw("UPDATE access_log_tile SET ord = 9 WHERE ord = 2");
    must_be_found(2 * LOG_TILE_WIDTH);
    (void)room_raw("UPDATE access_log_tile SET ord = 2 WHERE ord = 9");
    verifies();
    (void)room_raw("CREATE TEMP TABLE t AS SELECT * FROM access_log_tile WHERE ord IN (1,2);"
                   "UPDATE access_log_tile SET blob = (SELECT blob FROM t WHERE ord = 2)"
                   " WHERE ord = 1");
    must_be_found(LOG_TILE_WIDTH);
}

/* The rows of a tile that is complete may be gone without the tree in memory noticing: the walk
 * does. */
static void entries_cut_over_a_tile_are_found(void **state) {
    (void)state;
    append(2 * LOG_TILE_WIDTH + 5);
    room_commit();
    (void)room_raw("DELETE FROM access_log WHERE ord > 300;"
                   "DELETE FROM access_log_subject WHERE ord > 300");
    must_be_found(301); /* a tile is left over */
    const struct log_entry e = {.actor = clerk, .act = "dose.record"};
    assert_int_equal(access_log_append(room.partition, &e, NULL), ERR_TAMPERED);
}

/* ---- the seven years */

static int set_up(void **state) {
    (void)room_set_up(state);
    (void)snprintf(offset_file, sizeof offset_file, "%s/offset", room.stand.dir);
    return 0;
}

static int tear_down(void **state) {
    clock_use_file(NULL);
    return room_tear_down(state);
}

static void days_ahead(int days) {
    FILE *f = fopen(offset_file, "w");
    assert_non_null(f);
    assert_true(fprintf(f, "%lld", 86400LL * days) > 0);
    assert_int_equal(fclose(f), 0);
    clock_use_file(offset_file);
}

static uint64_t purge(unsigned max_tiles) {
    uint64_t purged = 99;
    room_ok(access_log_purge(room.partition, &clerk, LOG_KEEP_YEARS, max_tiles, &purged));
    return purged;
}

static enum vrs_err note_last(const struct log_read *r, void *arg) {
    struct log_read *last = arg;
    *last = *r;
    last->act = strcmp(r->act, "log.purge") == 0 ? "purge" : "other";
    return VRS_OK;
}

/* How many days from now seven years are. */
static int seven_years(void) {
    struct civil_date day;
    room_ok(access_log_purge_day(clock_now_ms(), LOG_KEEP_YEARS, &day));
    return day.days - clock_today_jst().days;
}

static void c62_an_entry_stays_seven_years_and_goes_then(void **state) {
    (void)state;
    struct log_read r;
    struct log_head early, before, after;
    uint64_t bad = 0;
    int years = seven_years();
    append(700);
    room_commit();
    room_ok(access_log_head(room.partition, &early));
    days_ahead(years - 1);
    append(1);
    room_commit();
    assert_int_equal(purge(100), 0);
    assert_int_equal(size_now(), 701); /* nothing done, nothing said */
    room_ok(access_log_one(room.partition, 1, note_last, &r));
    days_ahead(years);
    assert_int_equal(purge(100), 0);

    days_ahead(years + 1);
    read_leaves();
    room_ok(access_log_head(room.partition, &before));
    assert_int_equal(purge(1), 256); /* whole tiles, as many as asked */
    room_commit();
    assert_int_equal(purge(100), 256); /* the third holds the young entry */
    room_commit();
    assert_int_equal(purge(100), 0);
    assert_int_equal(access_log_one(room.partition, 1, note_last, &r), ERR_NOT_FOUND);
    assert_int_equal(access_log_one(room.partition, 512, note_last, &r), ERR_NOT_FOUND);
    room_ok(access_log_one(room.partition, 513, note_last, &r));
    room_ok(access_log_one(room.partition, 702, note_last, &r));
    assert_string_equal(r.act, "purge");
    assert_int_equal(r.count, 256);

    /* All that was said before still verifies, and so does the log. */
    read_leaves();
    for (uint64_t entry = 1; entry <= 703; entry += 3)
        a_path_checks(entry, 703);
    for (uint64_t n = 1; n < 703; n += 11)
        a_consistency_checks(n, 703);
    verifies();
    room_ok(access_log_verify(room.partition, &early, &after, &bad));
    room_ok(access_log_verify(room.partition, &before, &after, &bad));
    early.root.bytes[3] ^= 1;
    assert_int_equal(access_log_verify(room.partition, &early, &after, &bad), ERR_TAMPERED);
    room_close();
    room_open();
    verifies();
    a_path_checks(1, 703);
    (void)room_raw("DELETE FROM access_log_tile WHERE state = 1"); /* made from what is kept */
    verifies();
    a_consistency_checks(100, 703);

    before.size = 100; /* inside of what was purged */
    root_of(100, &before.root);
    room_ok(access_log_verify(room.partition, &before, &after, &bad));
    before.root.bytes[0] ^= 1;
    assert_int_equal(access_log_verify(room.partition, &before, &after, &bad), ERR_TAMPERED);
    assert_int_equal(bad, 1);
}

static void c62_what_was_taken_from_the_start_is_no_purge(void **state) {
    (void)state;
    int years = seven_years();
    append(600);
    (void)room_raw("DELETE FROM access_log WHERE ord <= 256;"
                   "DELETE FROM access_log_subject WHERE ord <= 256");
    must_be_found(1);
    days_ahead(years + 1);
    assert_int_equal(purge(1), 256); /* of the second tile */
    must_be_found(1);
}

static void c62_an_undone_purge_takes_nothing(void **state) {
    (void)state;
    int years = seven_years();
    append(300);
    room_commit();
    days_ahead(years + 1);
    room_ok(partition_savepoint(room.partition));
    assert_int_equal(purge(9), 256);
    room_ok(partition_rollback_to(room.partition));
    room_commit();
    the_head_is_that_of_the_rows();
    assert_int_equal(size_now(), 300);
    verifies();
}

static void seven_years_are_counted_by_the_calendar(void **state) {
    (void)state;
    static const struct {
        const char *at, *last;
    } days[] = {{"2021-07-01T03:00:00Z", "2028-07-01"},
                {"2021-07-01T15:00:00Z", "2028-07-02"}, /* the day in Japan */
                {"2024-02-29T03:00:00Z", "2031-03-01"},
                {"2021-02-28T03:00:00Z", "2028-02-28"}};
    for (size_t i = 0; i < sizeof days / sizeof *days; i++) {
        int64_t at = 0;
        char last[11];
        struct civil_date day;
        assert_true(clock_parse_rfc3339(days[i].at, &at));
        room_ok(access_log_purge_day(at, LOG_KEEP_YEARS, &day));
        clock_format_date(day, last);
        assert_string_equal(last, days[i].last);
    }
}

static void the_second_level_of_tiles(void **state) {
    (void)state;
    uint64_t width = (uint64_t)LOG_TILE_WIDTH * LOG_TILE_WIDTH;
    while (size_now() < width - 100) {
        append(7 * LOG_TILE_WIDTH < width - 100 - size_now() ? 7 * LOG_TILE_WIDTH
                                                             : width - 100 - size_now());
        room_commit();
    }
    assert_int_equal(tiles(2), 0);
    append(200);
    assert_int_equal(tiles(2), 1);
    room_commit();
    the_head_is_that_of_the_rows();
    for (int opened = 0; opened < 2; opened++) {
        uint64_t size = size_now();
        for (uint64_t entry = 1; entry <= size; entry += 2311)
            a_path_checks(entry, size);
        a_path_checks(width, width);
        a_path_checks(width + 1, size);
        a_consistency_checks(300, size);
        a_consistency_checks(width, size);
        room_close();
        room_open();
    }
    verifies();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_proof_of_three_tiles_checks),
        TEST(proofs_need_no_transaction),
        TEST(it_follows_committed_rows_only),
        TEST(after_an_unknown_commit_it_is_read_anew),
        TEST(missing_tiles_are_made_when_it_is_opened),
        TEST(changed_tiles_are_found),
        TEST(entries_cut_over_a_tile_are_found),
        TEST(c62_an_entry_stays_seven_years_and_goes_then),
        TEST(c62_what_was_taken_from_the_start_is_no_purge),
        TEST(c62_an_undone_purge_takes_nothing),
        TEST(seven_years_are_counted_by_the_calendar),
        TEST(the_second_level_of_tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
