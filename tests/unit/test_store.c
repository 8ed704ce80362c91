/* The conformance suite of struct store_engine: every engine in `engines` runs it.  Below it what
 * is particular to SQLite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "partitions/store.h"
#include "tests/lib/stand.h"

static const struct store_engine *const engines[] = {&store_sqlite};
static const struct store_engine *eng;
static struct stand stand;
static struct store *st;
static struct vrs_fault fault;
static const char *location;

static int set_up(void **state) {
    eng = *state != NULL ? *state : engines[0];
    stand_open(&stand, 0);
    location = stand_path(&stand, "p.db");
    return eng->open(location, STORE_CREATE, &st, &fault) == VRS_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    eng->close(&st);
    stand_close(&stand);
    return 0;
}

static void ok(enum vrs_err e) {
    if (e != VRS_OK)
        print_error("%s: %s\n", err_name(e), fault.text);
    assert_int_equal(e, VRS_OK);
}

static void reopen(void) {
    eng->close(&st);
    ok(eng->open(location, 0, &st, &fault));
}

static struct store_row row_of(unsigned n) {
    struct store_row row = {.version = 1, .generation = 1, .key_id = 7, .order = n};
    (void)snprintf((char *)row.id, sizeof row.id, "%08u", n);
    row.blob = (const uint8_t *)"sealed";
    row.blob_len = 6;
    return row;
}

static void set_index(struct store_row *row, int n, const char *text) {
    row->index[n] = (struct store_index){.len = (uint8_t)strlen(text)};
    memcpy(row->index[n].bytes, text, strlen(text));
}

struct seen {
    unsigned count;
    uint64_t orders[64];
    char ids[64][STORE_ID_BYTES];
};

static enum vrs_err see(const struct store_row *row, void *arg) {
    struct seen *s = arg;
    assert_true(s->count < 64);
    s->orders[s->count] = row->order;
    memcpy(s->ids[s->count++], row->id, STORE_ID_BYTES);
    return VRS_OK;
}

static enum vrs_err stop_at_two(const struct store_row *row, void *arg) {
    (void)row;
    return ++*(unsigned *)arg == 2 ? ERR_TOO_MANY : VRS_OK;
}

static uint64_t count_of(enum store_table t, uint32_t state) {
    uint64_t n = 99;
    ok(eng->count(st, t, state, &n));
    return n;
}

/* The id says the order, where a table wants that. */
static struct store_row row_in(enum store_table t, unsigned n) {
    struct store_row row = row_of(n);
    if (t == TABLE_LOG) {
        memset(row.id, 0, sizeof row.id);
        row.id[15] = (uint8_t)n;
        row.id[14] = (uint8_t)(n >> 8);
    }
    return row;
}

static void insert_ok(enum store_table t, unsigned n) {
    struct store_row row = row_in(t, n);
    ok(eng->insert(st, t, &row));
}

/* ---- conformance */

static void a_row_comes_back_as_it_went(void **state) {
    (void)state;
    struct store_row row = row_of(5);
    row.state = 3;
    row.generation = UINT32_MAX;
    row.key_id = UINT32_MAX - 1;
    row.version = INT64_MAX;
    uint8_t blob[3000];
    for (size_t i = 0; i < sizeof blob; i++)
        blob[i] = (uint8_t)(i * 7);
    row.blob = blob;
    row.blob_len = sizeof blob;
    set_index(&row, 0, "i0");
    set_index(&row, 3, "12345678901234567890123456789012");
    row.index[1].len = 4; /* zeros are a value */
    ok(eng->begin(st));
    ok(eng->insert(st, TABLE_CLAIM, &row));
    ok(eng->commit(st));
    reopen();
    ok(eng->begin(st));
    struct store_row got;
    ok(eng->get(st, TABLE_CLAIM, row.id, &got));
    assert_memory_equal(got.id, row.id, sizeof row.id);
    assert_true(got.version == row.version && got.generation == row.generation);
    assert_true(got.key_id == row.key_id && got.state == 3 && got.order == 5);
    for (int n = 0; n < STORE_INDEXES; n++)
        assert_memory_equal(&got.index[n], &row.index[n], sizeof row.index[n]);
    assert_int_equal(got.blob_len, sizeof blob);
    assert_memory_equal(got.blob, blob, sizeof blob);
    assert_int_equal(eng->get(st, TABLE_PERSON, row.id, &got), ERR_NOT_FOUND);
    row.id[0] ^= 1;
    assert_int_equal(eng->get(st, TABLE_CLAIM, row.id, &got), ERR_NOT_FOUND);
    ok(eng->commit(st));
}

static void every_table_takes_rows(void **state) {
    (void)state;
    ok(eng->begin(st));
    for (int t = 0; t < STORE_TABLE_COUNT; t++)
        insert_ok((enum store_table)t, 1);
    ok(eng->commit(st));
    reopen();
    ok(eng->begin(st));
    for (int t = 0; t < STORE_TABLE_COUNT; t++)
        assert_int_equal(count_of((enum store_table)t, UINT32_MAX), 1);
    eng->rollback(st);
}

static void update_compares_version_and_generation(void **state) {
    (void)state;
    ok(eng->begin(st));
    struct store_row row = row_of(1);
    assert_int_equal(eng->update(st, TABLE_PERSON, &row, 1, 1), ERR_STALE_VERSION);
    ok(eng->insert(st, TABLE_PERSON, &row));
    row.version = 2;
    row.generation = 2;
    row.blob = (const uint8_t *)"other";
    row.blob_len = 5;
    assert_int_equal(eng->update(st, TABLE_PERSON, &row, 2, 1), ERR_STALE_VERSION);
    assert_int_equal(eng->update(st, TABLE_PERSON, &row, 1, 2), ERR_STALE_VERSION);
    ok(eng->update(st, TABLE_PERSON, &row, 1, 1));
    assert_int_equal(eng->update(st, TABLE_PERSON, &row, 1, 1), ERR_STALE_VERSION);
    struct store_row got;
    ok(eng->get(st, TABLE_PERSON, row.id, &got));
    assert_true(got.version == 2 && got.generation == 2 && got.blob_len == 5);
    ok(eng->remove(st, TABLE_PERSON, row.id));
    assert_int_equal(eng->remove(st, TABLE_PERSON, row.id), ERR_NOT_FOUND);
    assert_int_equal(eng->remove(st, TABLE_TALLY, row.id), ERR_NOT_FOUND);
    assert_int_equal(eng->get(st, TABLE_PERSON, row.id, &got), ERR_NOT_FOUND);
    ok(eng->commit(st));
}

static void a_conflict_is_an_answer_not_a_failure(void **state) {
    (void)state;
    ok(eng->begin(st));
    struct store_row a = row_of(1);
    struct store_row b = row_of(2);
    set_index(&a, 0, "same");
    set_index(&b, 0, "same");
    set_index(&a, 1, "both");
    set_index(&b, 1, "both");
    ok(eng->insert(st, TABLE_COUPON, &a));
    assert_int_equal(eng->insert(st, TABLE_COUPON, &a), ERR_CONFLICT); /* id */
    assert_int_equal(eng->insert(st, TABLE_COUPON, &b), ERR_CONFLICT); /* unique i0 */
    set_index(&b, 0, "else");
    ok(eng->insert(st, TABLE_COUPON, &b)); /* i1 need not be unique */
    b.version = 2;
    set_index(&b, 0, "same");
    assert_int_equal(eng->update(st, TABLE_COUPON, &b, 1, 1), ERR_CONFLICT);
    struct store_row none = row_of(3);
    struct store_row none_too = row_of(4);
    ok(eng->insert(st, TABLE_COUPON, &none)); /* absent is not equal to absent */
    ok(eng->insert(st, TABLE_COUPON, &none_too));
    ok(eng->commit(st));
    ok(eng->begin(st));
    assert_int_equal(count_of(TABLE_COUPON, UINT32_MAX), 4);
    eng->rollback(st);
}

static void find_in_order(enum store_table t, int column, unsigned second) {
    const unsigned orders[] = {9, 3, 7, second};
    struct seen seen = {0};
    struct store_row key;
    for (unsigned i = 0; i < 4; i++) {
        struct store_row row = row_of(i);
        row.order = orders[i];
        set_index(&row, column, "x");
        ok(eng->insert(st, t, &row));
    }
    set_index(&key, column, "x");
    ok(eng->find(st, t, column, &key.index[column], see, &seen));
    assert_int_equal(seen.count, 4);
    assert_string_equal(seen.ids[0], "00000001");
    assert_string_equal(seen.ids[1], "00000003");
    assert_string_equal(seen.ids[2], "00000002");
    assert_string_equal(seen.ids[3], "00000000");
    unsigned two = 0;
    assert_int_equal(eng->find(st, t, column, &key.index[column], stop_at_two, &two), ERR_TOO_MANY);
    set_index(&key, column, "xx");
    seen.count = 0;
    ok(eng->find(st, t, column, &key.index[column], see, &seen));
    key.index[column].len = 0; /* absent finds nothing, not the rows without */
    ok(eng->find(st, t, column, &key.index[column], see, &seen));
    ok(eng->find(st, TABLE_HELD, column, &key.index[column], see, &seen));
    assert_int_equal(seen.count, 0);
}

static void find_answers_in_order(void **state) {
    (void)state;
    ok(eng->begin(st));
    find_in_order(TABLE_CLAIM, 2, 4);
    find_in_order(TABLE_INQUIRY, 1, 4);     /* a column that has no index */
    find_in_order(TABLE_LOG_SUBJECT, 0, 3); /* of one order: by id */
    ok(eng->commit(st));
}

static void rows_have_an_order_of_their_own(void **state) {
    (void)state;
    ok(eng->begin(st));
    struct store_row a = row_of(5), b = row_of(6);
    b.order = 5;
    ok(eng->insert(st, TABLE_LOG_SUBJECT, &a));
    ok(eng->insert(st, TABLE_LOG_SUBJECT, &b)); /* control: not in every table */
    ok(eng->insert(st, TABLE_CLAIM, &a));
    assert_int_equal(eng->insert(st, TABLE_CLAIM, &b), ERR_CONFLICT);
    b.order = 4; /* one that is less may come later */
    ok(eng->insert(st, TABLE_CLAIM, &b));
    b.version = 2;
    b.order = 5;
    assert_int_equal(eng->update(st, TABLE_CLAIM, &b, 1, 1), ERR_CONFLICT);
    b.order = 8;
    ok(eng->update(st, TABLE_CLAIM, &b, 1, 1));
    struct store_row got;
    ok(eng->get(st, TABLE_CLAIM, b.id, &got));
    assert_true(got.order == 8 && got.version == 2);
    ok(eng->commit(st));
}

static void numbered_rows_are_found(void) {
    for (unsigned n = 1; n <= 300; n++)
        insert_ok(TABLE_LOG, n);
    struct store_row row = row_in(TABLE_LOG, 300), got;
    ok(eng->get(st, TABLE_LOG, row.id, &got));
    assert_int_equal(got.order, 300);
    assert_memory_equal(got.id, row.id, sizeof row.id);
    assert_int_equal(eng->insert(st, TABLE_LOG, &row), ERR_CONFLICT);
    row.id[0] = 1; /* ends alike */
    assert_int_equal(eng->get(st, TABLE_LOG, row.id, &got), ERR_NOT_FOUND);
    assert_int_equal(eng->remove(st, TABLE_LOG, row.id), ERR_NOT_FOUND);
    row.id[0] = 0;
    ok(eng->remove(st, TABLE_LOG, row.id));
    assert_int_equal(eng->get(st, TABLE_LOG, row.id, &got), ERR_NOT_FOUND);
    struct seen seen = {0};
    ok(eng->walk(st, TABLE_LOG, NULL, 60, see, &seen));
    assert_true(seen.count == 60 && seen.orders[0] == 1 && seen.orders[59] == 60);
    seen.count = 0;
    ok(eng->walk(st, TABLE_LOG, (const uint8_t *)seen.ids[59], 60, see, &seen));
    assert_true(seen.count == 60 && seen.orders[0] == 61);
    uint64_t max;
    ok(eng->max_order(st, TABLE_LOG, &max));
    assert_int_equal(max, 299);
    assert_int_equal(count_of(TABLE_LOG, UINT32_MAX), 299);
}

static void an_id_that_is_the_order_finds_its_row(void **state) {
    (void)state;
    ok(eng->begin(st));
    numbered_rows_are_found();
    ok(eng->commit(st));
}

typedef void page_fn(uint64_t after, struct seen *seen);

static void scan_claims(uint64_t after, struct seen *seen) {
    ok(eng->scan(st, TABLE_CLAIM, UINT32_MAX, after, 1, see, seen));
}

static void walk_log(uint64_t after, struct seen *seen) {
    const struct store_row row = row_in(TABLE_LOG, (unsigned)after);
    ok(eng->walk(st, TABLE_LOG, after == 0 ? NULL : row.id, 1, see, seen));
}

static int64_t fastest_us(page_fn *page, uint64_t after) {
    int64_t best = INT64_MAX;
    for (int i = 0; i < 50; i++) {
        struct seen seen = {0};
        int64_t began = clock_mono_us();
        page(after, &seen);
        int64_t took = clock_mono_us() - began;
        assert_int_equal(seen.orders[0], after + 1);
        best = took < best ? took : best;
    }
    return best;
}

/* Pages of a long table cost the same at its end as at its beginning. */
static void a_page_begins_where_it_is_told(void **state) {
    enum { ROWS = 20000 };
    static page_fn *const pages[] = {scan_claims, walk_log};
    (void)state;
    ok(eng->begin(st));
    for (unsigned i = 1; i <= ROWS; i++) {
        insert_ok(TABLE_CLAIM, i);
        insert_ok(TABLE_LOG, i);
    }
    int64_t usual = fastest_us(scan_claims, 0);
    for (size_t i = 0; i < 2; i++) {
        int64_t first = fastest_us(pages[i], 0), last = fastest_us(pages[i], ROWS - 2);
        print_message("a page at the beginning %lld us, at the end %lld us\n", (long long)first,
                      (long long)last);
        assert_true(first <= 10 * usual + 100 && last <= 10 * usual + 100);
    }
    ok(eng->commit(st));
}

static void scan_pages(enum store_table t, unsigned first) {
    for (unsigned i = first; i < 30; i++) {
        struct store_row row = row_of(i); /* order 0 is in no scan */
        row.state = i % 3;
        ok(eng->insert(st, t, &row));
    }
    struct seen seen = {0};
    ok(eng->scan(st, t, UINT32_MAX, 0, 1000, see, &seen));
    assert_int_equal(seen.count, 29);
    assert_int_equal(seen.orders[0], 1);
    assert_int_equal(seen.orders[28], 29);
    uint64_t after = 0;
    unsigned total = 0;
    for (;;) {
        seen.count = 0;
        ok(eng->scan(st, t, 1, after, 4, see, &seen));
        if (seen.count == 0)
            break;
        assert_true(seen.count <= 4);
        for (unsigned i = 0; i < seen.count; i++) {
            assert_true(seen.orders[i] > after && seen.orders[i] % 3 == 1);
            after = seen.orders[i];
        }
        total += seen.count;
    }
    assert_int_equal(total, 10);
    seen.count = 0;
    ok(eng->scan(st, t, UINT32_MAX, UINT64_MAX, UINT64_MAX, see, &seen));
    ok(eng->scan(st, TABLE_HELD, UINT32_MAX, 0, 10, see, &seen));
    assert_int_equal(seen.count, 0);
    assert_int_equal(count_of(t, 1), 10);
    assert_int_equal(count_of(t, 9), 0);
    assert_int_equal(count_of(TABLE_HELD, 1), 0);
    uint64_t max = 0;
    ok(eng->max_order(st, t, &max));
    assert_int_equal(max, 29);
    ok(eng->max_order(st, TABLE_HELD, &max));
    assert_int_equal(max, 0);
}

static void scan_pages_by_order(void **state) {
    (void)state;
    ok(eng->begin(st));
    scan_pages(TABLE_CLAIM, 1);
    scan_pages(TABLE_REQUEST, 0);
    ok(eng->commit(st));
}

static void walk_pages_by_id(void **state) {
    (void)state;
    ok(eng->begin(st));
    for (unsigned i = 0; i < 25; i++)
        insert_ok(TABLE_PERSON, (i * 7) % 25);
    uint8_t after[STORE_ID_BYTES];
    unsigned total = 0;
    struct seen seen = {0};
    do {
        seen.count = 0;
        ok(eng->walk(st, TABLE_PERSON, total == 0 ? NULL : after, 10, see, &seen));
        for (unsigned i = 0; i < seen.count; i++)
            assert_int_equal(atoi(seen.ids[i]), (int)total++);
        if (seen.count > 0)
            memcpy(after, seen.ids[seen.count - 1], sizeof after);
    } while (seen.count > 0);
    assert_int_equal(total, 25);
    ok(eng->walk(st, TABLE_HELD, NULL, 10, see, &seen));
    assert_int_equal(seen.count, 0);
    ok(eng->commit(st));
}

static void a_savepoint_undoes_one_job(void **state) {
    (void)state;
    ok(eng->begin(st));
    ok(eng->savepoint(st));
    insert_ok(TABLE_PERSON, 1);
    ok(eng->release(st));
    ok(eng->savepoint(st));
    insert_ok(TABLE_PERSON, 2);
    insert_ok(TABLE_CLAIM, 2); /* makes its table: that is undone too */
    ok(eng->rollback_to(st));
    assert_int_equal(count_of(TABLE_CLAIM, UINT32_MAX), 0);
    ok(eng->savepoint(st));
    insert_ok(TABLE_CLAIM, 3);
    ok(eng->release(st));
    ok(eng->commit(st));
    reopen();
    ok(eng->begin(st));
    assert_int_equal(count_of(TABLE_PERSON, UINT32_MAX), 1);
    assert_int_equal(count_of(TABLE_CLAIM, UINT32_MAX), 1);
    eng->rollback(st);
}

static void a_rollback_undoes_all(void **state) {
    (void)state;
    ok(eng->begin(st));
    insert_ok(TABLE_PERSON, 1);
    ok(eng->meta_set(st, "name", "value"));
    eng->rollback(st);
    ok(eng->begin(st));
    assert_int_equal(count_of(TABLE_PERSON, UINT32_MAX), 0);
    char text[8];
    assert_int_equal(eng->meta_get(st, "name", text, sizeof text), ERR_NOT_FOUND);
    insert_ok(TABLE_PERSON, 1);
    ok(eng->commit(st));
    eng->rollback(st); /* nothing is open: nothing happens */
    /* Closing with an open transaction undoes it. */
    ok(eng->begin(st));
    insert_ok(TABLE_PERSON, 2);
    reopen();
    ok(eng->begin(st));
    assert_int_equal(count_of(TABLE_PERSON, UINT32_MAX), 1);
    eng->rollback(st);
}

static void meta_keeps_small_facts(void **state) {
    (void)state;
    char text[16];
    ok(eng->begin(st));
    assert_int_equal(eng->meta_get(st, "log_epoch", text, sizeof text), ERR_NOT_FOUND);
    ok(eng->meta_set(st, "log_epoch", "1"));
    ok(eng->meta_set(st, "log_epoch", "second"));
    ok(eng->meta_get(st, "log_epoch", text, sizeof text));
    assert_string_equal(text, "second");
    assert_int_equal(eng->meta_get(st, "log_epoch", text, 6), ERR_TOO_LARGE);
    ok(eng->meta_get(st, "schema", text, sizeof text));
    assert_true(atoi(text) >= 1);
    ok(eng->commit(st));
}

static void absent_without_create_makes_nothing(void **state) {
    (void)state;
    struct store *other = NULL;
    char path[160];
    (void)snprintf(path, sizeof path, "%s/none/131032.db", stand.dir);
    assert_int_equal(eng->open(path, 0, &other, &fault), ERR_NOT_FOUND);
    (void)snprintf(path, sizeof path, "%s/131032.db", stand.dir);
    size_t before = stand_files(stand.dir);
    assert_int_equal(eng->open(path, 0, &other, &fault), ERR_NOT_FOUND);
    assert_int_equal(eng->open(path, STORE_READ_ONLY_TOOL, &other, &fault), ERR_NOT_FOUND);
    assert_null(other);
    assert_int_equal(stand_files(stand.dir), before);
}

static void a_backup_is_the_same_at_rest(void **state) {
    (void)state;
    ok(eng->begin(st));
    for (unsigned i = 1; i <= 60; i++)
        insert_ok(TABLE_PERSON, i);
    ok(eng->meta_set(st, "municipality", "131032"));
    ok(eng->commit(st));
    const char *copy = stand_path(&stand, "copy.db");
    ok(eng->backup(st, copy, &fault));
    assert_int_equal(eng->backup(st, copy, &fault), ERR_CONFLICT);
    ok(eng->begin(st));
    insert_ok(TABLE_PERSON, 99); /* not in the copy */
    ok(eng->commit(st));
    struct store *live = st;
    ok(eng->open(copy, STORE_READ_ONLY_TOOL, &st, &fault));
    ok(eng->begin(st));
    assert_int_equal(count_of(TABLE_PERSON, UINT32_MAX), 60);
    char text[16];
    ok(eng->meta_get(st, "municipality", text, sizeof text));
    assert_string_equal(text, "131032");
    struct store_row row = row_of(77);
    assert_int_equal(eng->insert(st, TABLE_PERSON, &row), ERR_STORAGE);
    eng->rollback(st);
    eng->close(&st);
    /* A copy can be put in place and go on as a partition. */
    ok(eng->open(copy, 0, &st, &fault));
    ok(eng->begin(st));
    insert_ok(TABLE_PERSON, 100);
    ok(eng->commit(st));
    eng->close(&st);
    st = live;
}

/* ---- SQLite alone */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sqlite_file.h"

static int set_up_sqlite(void **state) {
    (void)state;
    void *engine = (void *)(uintptr_t)&store_sqlite;
    int rc = set_up(&engine);
    stand_disk_install();
    return rc;
}

static int tear_down_sqlite(void **state) {
    stand_disk_heal();
    return tear_down(state);
}

static bool commit_rows(unsigned from, unsigned count, enum vrs_err *e) {
    *e = eng->begin(st);
    for (unsigned i = 0; *e == VRS_OK && i < count; i++) {
        struct store_row row = row_of(from + i);
        *e = eng->insert(st, TABLE_PERSON, &row);
    }
    if (*e == VRS_OK)
        *e = eng->commit(st);
    else
        eng->rollback(st);
    return *e == VRS_OK;
}

static unsigned rows_now(void) {
    ok(eng->begin(st));
    unsigned n = (unsigned)count_of(TABLE_PERSON, UINT32_MAX);
    eng->rollback(st);
    return n;
}

static void settings_read_back(void **state) {
    (void)state;
    static const char *const lines[] = {"engine=sqlite\n",        "locking_mode=exclusive\n",
                                        "journal_mode=wal\n",     "synchronous=2\n",
                                        "secure_delete=1\n",      "foreign_keys=1\n",
                                        "trusted_schema=0\n",     "cell_size_check=1\n",
                                        "temp_store=2\n",         "mmap_size=0\n",
                                        "cache_size=-128\n",      "journal_size_limit=8388608\n",
                                        "checkpoint_pages=256\n", "defensive=1\n",
                                        "load_extension=0\n"};
    struct buffer b;
    buffer_init(&b, 4096);
    ok(eng->describe(st, &b));
    const char *text = buffer_cstr(&b);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (strstr(text, lines[i]) == NULL)
            fail_msg("%s is not in\n%s", lines[i], text);
    }
    buffer_fini(&b);
}

static void opening_changes_neither_file_nor_folder(void **state) {
    (void)state;
    enum vrs_err e;
    assert_true(commit_rows(1, 10, &e));
    eng->close(&st);
    struct stat before, after, dir_before, dir_after;
    struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, location, old, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, stand.dir, old, 0), 0);
    assert_int_equal(stat(location, &before) | stat(stand.dir, &dir_before), 0);
    ok(eng->open(location, 0, &st, &fault));
    assert_int_equal(rows_now(), 10);
    eng->close(&st);
    assert_int_equal(stat(location, &after) | stat(stand.dir, &dir_after), 0);
    assert_int_equal(after.st_mtime, before.st_mtime);
    assert_int_equal(after.st_atime, before.st_atime);
    assert_int_equal(after.st_size, before.st_size);
    assert_int_equal(dir_after.st_mtime, dir_before.st_mtime);
    assert_int_equal(stand_files(stand.dir), 2); /* the file and its journal, no -shm */
    assert_int_equal(after.st_mode & 0777, 0600);
    assert_int_equal(stat(stand_path(&stand, "p.db-wal"), &after), 0);
    assert_int_equal(after.st_mode & 0777, 0600);
    assert_int_equal(after.st_size, 0);
}

static void one_opener_at_a_time(void **state) {
    (void)state;
    struct store *other = NULL;
    enum vrs_err e;
    assert_true(commit_rows(1, 1, &e));
    assert_int_equal(eng->open(location, 0, &other, &fault), ERR_BUSY);
    pid_t child = fork();
    if (child == 0)
        _exit(eng->open(location, 0, &other, &fault) == ERR_BUSY ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(eng->open(location, STORE_READ_ONLY_TOOL, &other, &fault), ERR_STORAGE);
    assert_true(commit_rows(2, 1, &e));
}

static void a_commit_waits_for_the_disk(void **state) {
    (void)state;
    enum vrs_err e;
    assert_true(commit_rows(1, 1, &e));
    for (unsigned i = 2; i < 10; i++) {
        int before = stand_disk.syncs;
        assert_true(commit_rows(i, 1, &e));
        assert_true(stand_disk.syncs > before);
    }
    int before = stand_disk.syncs; /* nothing written, nothing to wait for */
    assert_int_equal(rows_now(), 9);
    ok(eng->begin(st));
    ok(eng->commit(st));
    assert_int_equal(stand_disk.syncs, before);
}

static void a_failed_sync_is_unknown_until_recovered(void **state) {
    (void)state;
    enum vrs_err e;
    assert_true(commit_rows(1, 3, &e));
    stand_disk.fail_sync_at = 1;
    stand_disk.stay = true;
    assert_false(commit_rows(10, 2, &e));
    assert_int_equal(e, ERR_UNKNOWN);
    struct vrs_fault why;
    eng->last_fault(st, &why);
    assert_int_equal(why.err, ERR_UNKNOWN);
    assert_true(eng->needs_recovery(st));
    assert_int_equal(eng->begin(st), ERR_STORAGE); /* I2 */
    assert_int_not_equal(eng->backup(st, stand_path(&stand, "b.db"), &fault), VRS_OK);
    assert_int_not_equal(eng->recover(st, &fault), VRS_OK); /* the disk is still ill */
    assert_true(eng->needs_recovery(st));
    assert_int_equal(eng->begin(st), ERR_STORAGE);
    stand_disk_heal();
    ok(eng->recover(st, &fault));
    assert_false(eng->needs_recovery(st));
    unsigned n = rows_now();
    assert_true(n == 3 || n == 5);
    struct stat journal;
    assert_int_equal(stat(stand_path(&stand, "p.db-wal"), &journal), 0);
    assert_int_equal(journal.st_size, 0); /* all of it is in the file */
    assert_true(commit_rows(20, 1, &e));
    reopen();
    assert_int_equal(rows_now(), n + 1);
}

static void an_ill_disk_at_commit_is_unknown_too(void **state) {
    (void)state;
    static const int errors[] = {EIO, ENOSPC};
    unsigned before = 0;
    enum vrs_err e;
    for (unsigned round = 0; round < 2; round++) {
        assert_true(commit_rows(1 + 100 * round, 3, &e));
        before = rows_now();
        stand_disk.write_errno = errors[round];
        stand_disk.fail_write_at = 2;
        stand_disk.stay = true;
        assert_false(commit_rows(10 + 100 * round, 2, &e));
        assert_int_equal(e, ERR_UNKNOWN);
        stand_disk_heal();
        ok(eng->recover(st, &fault));
        assert_int_equal(rows_now(), before); /* the commit record was never whole */
    }
}

/* More than the page cache holds is written before the commit: a failure there is no doubt. */
static void a_failure_before_commit_is_surely_not_stored(void **state) {
    (void)state;
    static uint8_t big[16 << 10];
    enum vrs_err e;
    assert_true(commit_rows(1, 3, &e));
    static const int errors[] = {ENOSPC, EIO};
    for (unsigned round = 0; round < 2; round++) {
        ok(eng->begin(st));
        stand_disk.write_errno = errors[round];
        stand_disk.fail_write_at = 1;
        stand_disk.stay = true;
        struct store_row row;
        for (unsigned i = 0; i < 500; i++) {
            row = row_of(1000 + i);
            row.blob = big;
            row.blob_len = sizeof big;
            e = eng->insert(st, TABLE_PERSON, &row);
            if (e != VRS_OK)
                break;
        }
        assert_int_equal(e, ERR_STORAGE);
        stand_disk_heal();
        uint64_t n;
        assert_int_equal(eng->insert(st, TABLE_PERSON, &row), ERR_STORAGE); /* I3 */
        assert_int_equal(eng->count(st, TABLE_PERSON, UINT32_MAX, &n), ERR_STORAGE);
        assert_int_equal(eng->commit(st), ERR_STORAGE);
        if (eng->needs_recovery(st))
            ok(eng->recover(st, &fault));
        assert_int_equal(rows_now(), 3);
    }
    assert_true(commit_rows(50, 1, &e));
}

static void a_failed_checkpoint_keeps_the_commit_and_stops_the_next(void **state) {
    (void)state;
    enum vrs_err e;
    unsigned acked = 0;
    unsigned next = 1;
    bool seen = false;
    for (unsigned round = 0; round < 1000 && !seen; round++) {
        stand_disk.fail_sync_at = 3; /* journal, (checkpoint: journal again,) file */
        if (!commit_rows(next, 40, &e))
            break;
        acked += 40;
        next += 40;
        eng->tidy(st);
        seen = eng->needs_recovery(st);
    }
    assert_true(seen);
    assert_int_equal(eng->begin(st), ERR_STORAGE);
    stand_disk_heal();
    ok(eng->recover(st, &fault));
    assert_int_equal(rows_now(), acked);
}

/* D5 in small: whichever write or sync fails, what was acknowledged is there, what was surely not
 * stored is not, and the file goes on after recovery. */
static void whichever_call_fails_the_answer_is_true(void **state) {
    (void)state;
    unsigned n_th = 0;
    for (int kind = 0; kind < 3; kind++) {
        for (n_th = 1; n_th < 60; n_th++) {
            eng->close(&st);
            stand_disk_heal();
            (void)unlink(location);
            (void)unlink(stand_path(&stand, "p.db-wal"));
            (void)unlink(stand_path(&stand, "p.db-journal"));
            unsigned least = 0; /* rows surely there */
            unsigned most = 0;  /* and those in doubt */
            stand_disk.fail_sync_at = kind == 0 ? (int)n_th : 0;
            stand_disk.fail_write_at = kind == 0 ? 0 : (int)n_th * 5;
            stand_disk.write_errno = kind == 1 ? EIO : ENOSPC;
            enum vrs_err e = eng->open(location, STORE_CREATE, &st, &fault);
            for (unsigned i = 0; e == VRS_OK && i < 40; i++) {
                (void)commit_rows(1 + 10 * i, 10, &e);
                least += e == VRS_OK ? 10 : 0;
                most += e == VRS_OK || e == ERR_UNKNOWN ? 10 : 0;
                if (e == VRS_OK && eng->needs_recovery(st))
                    e = ERR_STORAGE;
            }
            stand_disk_heal();
            if (st == NULL)
                ok(eng->open(location, STORE_CREATE, &st, &fault));
            else if (n_th % 2 == 0)
                reopen(); /* as after a restart of the process */
            else if (eng->needs_recovery(st))
                ok(eng->recover(st, &fault));
            unsigned rows = rows_now();
            if (rows < least || rows > most || rows % 10 != 0)
                fail_msg("kind %d call %u: %u rows, acknowledged %u, in doubt up to %u", kind, n_th,
                         rows, least, most);
            assert_true(commit_rows(5000, 1, &e));
        }
    }
}

static void a_killed_process_loses_nothing_acknowledged(void **state) {
    (void)state;
    eng->close(&st);
    pid_t child = fork();
    if (child == 0) {
        enum vrs_err e = eng->open(location, STORE_CREATE, &st, &fault);
        if (e == VRS_OK && commit_rows(1, 7, &e) && eng->begin(st) == VRS_OK) {
            struct store_row row = row_of(100);
            (void)eng->insert(st, TABLE_PERSON, &row);
            (void)kill(getpid(), SIGKILL);
        }
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    struct stat journal;
    assert_int_equal(stat(stand_path(&stand, "p.db-wal"), &journal), 0);
    assert_true(journal.st_size > 0);
    ok(eng->open(location, 0, &st, &fault));
    /* What the dead process may not have synced is made durable before anything is read of it. */
    assert_int_equal(stat(stand_path(&stand, "p.db-wal"), &journal), 0);
    assert_int_equal(journal.st_size, 0);
    assert_int_equal(rows_now(), 7);
}

static void a_full_disk_is_overcome_without_restart(void **state) {
    (void)state;
    enum vrs_err e = VRS_OK;
    unsigned acked = 0;
    unsigned doubt = 0;
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit small = {.rlim_cur = 300 << 10, .rlim_max = old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    unsigned next = 1;
    while (next < 20000 && commit_rows(next, 50, &e)) {
        acked += 50;
        next += 50;
    }
    doubt += e == ERR_UNKNOWN ? 50 : 0;
    bool stopped = e != VRS_OK;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(stopped);
    assert_true(acked > 0);
    if (eng->needs_recovery(st))
        ok(eng->recover(st, &fault));
    unsigned rows = rows_now();
    assert_true(rows >= acked && rows <= acked + doubt);
    assert_true(commit_rows(30000, 50, &e));
    assert_int_equal(rows_now(), rows + 50);
}

static void a_half_made_file_is_absent_until_made_whole(void **state) {
    (void)state;
    eng->close(&st);
    assert_int_equal(truncate(location, 0), 0);
    (void)unlink(stand_path(&stand, "p.db-wal"));
    assert_int_equal(eng->open(location, 0, &st, &fault), ERR_NOT_FOUND);
    assert_int_equal(stand_files(stand.dir), 1);
    /* SQLite's own header is there, the schema is not. */
    struct sqlite3 *db;
    assert_int_equal(sqlite3_open(location, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
    assert_int_equal(eng->open(location, 0, &st, &fault), ERR_NOT_FOUND);
    ok(eng->open(location, STORE_CREATE, &st, &fault));
    enum vrs_err e;
    assert_true(commit_rows(1, 1, &e));
}

static void a_flipped_byte_is_not_stored_data(void **state) {
    (void)state;
    enum vrs_err e;
    for (unsigned i = 0; i < 20; i++)
        assert_true(commit_rows(1 + i * 50, 50, &e));
    eng->close(&st);
    int fd = open(location, O_RDWR);
    assert_true(fd >= 0);
    char junk[4096];
    memset(junk, 0xee, sizeof junk);
    for (off_t at = 4096; at < 60 * 4096; at += 4096)
        (void)!pwrite(fd, junk, sizeof junk, at);
    (void)close(fd);
    e = eng->open(location, 0, &st, &fault);
    struct seen seen = {0};
    if (e == VRS_OK)
        e = eng->begin(st);
    if (e == VRS_OK)
        e = eng->walk(st, TABLE_PERSON, NULL, 60, see, &seen);
    if (st != NULL)
        eng->rollback(st);
    assert_int_equal(e, ERR_CORRUPT);
}

/* ---- the schema's way up, with a made-up history */

static int fail_step;

static enum vrs_err step_two(struct sqlite3 *db) {
    if (sqlite3_exec(db, "INSERT INTO a VALUES(2)", NULL, NULL, NULL) != SQLITE_OK)
        return ERR_INTERNAL;
    if (fail_step == 1)
        return ERR_MEMORY;
    if (fail_step == 2)
        (void)kill(getpid(), SIGKILL);
    return VRS_OK;
}

static const struct sqlite_step history[] = {
    {.sql = "CREATE TABLE a(n INTEGER)"},
    {.sql = "INSERT INTO a VALUES(1)"},
    {.run = step_two},
    {.sql = "INSERT INTO a VALUES(3)"},
};

static int64_t sum_of_a(struct sqlite_file *f) {
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_prepare_v2(sqlite_file_db(f), "SELECT sum(n) FROM a", -1, &stmt, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
    return n;
}

static void an_upgrade_goes_on_where_it_was_cut_off(void **state) {
    (void)state;
    const char *path = stand_path(&stand, "old.db");
    struct sqlite_schema one = {.application_id = 77, .steps = history, .count = 1};
    struct sqlite_schema all = {.application_id = 77, .steps = history, .count = 4};
    struct sqlite_schema other = {.application_id = 78, .steps = history, .count = 4};
    struct sqlite_file *f;
    ok(sqlite_file_open(path, SQLITE_FILE_CREATE, &one, &f, &fault));
    sqlite_file_close(&f);
    assert_int_equal(sqlite_file_open(path, SQLITE_FILE_READ_ONLY, &all, &f, &fault), ERR_CONFIG);
    fail_step = 1;
    assert_int_equal(sqlite_file_open(path, 0, &all, &f, &fault), ERR_MEMORY);
    assert_null(f);
    pid_t child = fork();
    if (child == 0) {
        fail_step = 2;
        _exit(sqlite_file_open(path, 0, &all, &f, &fault) == VRS_OK);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    fail_step = 0;
    ok(sqlite_file_open(path, 0, &all, &f, &fault));
    assert_int_equal(sum_of_a(f), 1 + 2 + 3); /* each step once */
    sqlite_file_close(&f);
    ok(sqlite_file_open(path, 0, &all, &f, &fault));
    assert_int_equal(sum_of_a(f), 6);
    sqlite_file_close(&f);
    assert_int_equal(sqlite_file_open(path, 0, &one, &f, &fault), ERR_CONFIG);    /* newer */
    assert_int_equal(sqlite_file_open(path, 0, &other, &f, &fault), ERR_CORRUPT); /* foreign */
}

static void a_commit_past_the_wrapper_aborts(void **state) {
    (void)state;
    struct sqlite_schema schema = {.application_id = 77, .steps = history, .count = 2};
    pid_t child = fork();
    if (child == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        (void)signal(SIGABRT, SIG_DFL);
        struct sqlite_file *f;
        if (sqlite_file_open(stand_path(&stand, "x.db"), SQLITE_FILE_CREATE, &schema, &f, &fault) ==
            VRS_OK)
            (void)sqlite3_exec(sqlite_file_db(f), "INSERT INTO a VALUES(5)", NULL, NULL, NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* Every table had trees for id and order once. */
static void tables_made_before_serve_as_they_are(void **state) {
    (void)state;
    static const char *const tables[] = {"access_log", "claim"};
    enum vrs_err e;
    assert_true(commit_rows(1, 1, &e));
    eng->close(&st);
    struct sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(location, &db), SQLITE_OK);
    for (size_t i = 0; i < 2; i++) {
        char sql[600];
        (void)snprintf(sql, sizeof sql,
                       "CREATE TABLE %s(id BLOB NOT NULL UNIQUE,version INTEGER NOT NULL,"
                       "generation INTEGER NOT NULL,key_id INTEGER NOT NULL,state INTEGER NOT NULL,"
                       "ord INTEGER NOT NULL,i0 BLOB,i1 BLOB,i2 BLOB,i3 BLOB,blob BLOB NOT NULL);"
                       "CREATE INDEX %s_2 ON %s(i2,ord) WHERE i2 NOT NULL;"
                       "CREATE INDEX %s_order ON %s(ord) WHERE ord>0;"
                       "CREATE INDEX %s_state ON %s(state,ord)",
                       tables[i], tables[i], tables[i], tables[i], tables[i], tables[i], tables[i]);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    ok(eng->open(location, 0, &st, &fault));
    ok(eng->begin(st));
    numbered_rows_are_found();
    find_in_order(TABLE_CLAIM, 2, 4);
    ok(eng->commit(st));
    assert_int_equal(rows_now(), 1);
}

#define CONFORMS(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define SQLITE(f) cmocka_unit_test_setup_teardown(f, set_up_sqlite, tear_down_sqlite)

int main(void) {
    int failed = 0;
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        struct CMUnitTest conformance[] = {
            CONFORMS(a_row_comes_back_as_it_went),
            CONFORMS(every_table_takes_rows),
            CONFORMS(update_compares_version_and_generation),
            CONFORMS(a_conflict_is_an_answer_not_a_failure),
            CONFORMS(find_answers_in_order),
            CONFORMS(rows_have_an_order_of_their_own),
            CONFORMS(an_id_that_is_the_order_finds_its_row),
            CONFORMS(a_page_begins_where_it_is_told),
            CONFORMS(scan_pages_by_order),
            CONFORMS(walk_pages_by_id),
            CONFORMS(a_savepoint_undoes_one_job),
            CONFORMS(a_rollback_undoes_all),
            CONFORMS(meta_keeps_small_facts),
            CONFORMS(absent_without_create_makes_nothing),
            CONFORMS(a_backup_is_the_same_at_rest),
        };
        for (size_t n = 0; n < sizeof conformance / sizeof conformance[0]; n++)
            conformance[n].initial_state = (void *)(uintptr_t)engines[i];
        failed += cmocka_run_group_tests_name(engines[i]->name, conformance, NULL, NULL);
    }
    const struct CMUnitTest sqlite[] = {
        SQLITE(settings_read_back),
        SQLITE(opening_changes_neither_file_nor_folder),
        SQLITE(one_opener_at_a_time),
        SQLITE(a_commit_waits_for_the_disk),
        SQLITE(a_failed_sync_is_unknown_until_recovered),
        SQLITE(an_ill_disk_at_commit_is_unknown_too),
        SQLITE(a_failure_before_commit_is_surely_not_stored),
        SQLITE(a_failed_checkpoint_keeps_the_commit_and_stops_the_next),
        SQLITE(whichever_call_fails_the_answer_is_true),
        SQLITE(a_killed_process_loses_nothing_acknowledged),
        SQLITE(a_full_disk_is_overcome_without_restart),
        SQLITE(a_half_made_file_is_absent_until_made_whole),
        SQLITE(a_flipped_byte_is_not_stored_data),
        SQLITE(an_upgrade_goes_on_where_it_was_cut_off),
        SQLITE(a_commit_past_the_wrapper_aborts),
        SQLITE(tables_made_before_serve_as_they_are),
    };
    failed += cmocka_run_group_tests_name("sqlite alone", sqlite, NULL, NULL);
    return failed;
}
