#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "lib/crypto.h"
#include "partitions/partition.h"
#include "partitions/record.h"
#include "tests/lib/stand.h"

static struct stand stand;
static struct partition *p;
static struct vrs_fault fault;
static const struct store_engine *const eng = &store_sqlite;

static void ok(enum vrs_err e) {
    if (e != VRS_OK)
        print_error("%s: %s\n", err_name(e), fault.text);
    assert_int_equal(e, VRS_OK);
}

static int set_up(void **state) {
    (void)state;
    stand_open(&stand, 1 << KEY_RECORDS | 1 << KEY_LOG | 1 << KEY_NUMBERS);
    ok(partition_open(eng, stand.partitions, "131032", stand.ring, STORE_CREATE, &p, &fault));
    ok(partition_begin(p));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    partition_close(&p);
    stand_close(&stand);
    return 0;
}

static void put(struct partition *where, enum store_table t, struct record *r, const char *text) {
    record_id_new(&r->id);
    if (r->order == 0)
        ok(partition_next_order(where, t, &r->order));
    buffer_clear(&r->text);
    assert_true(buffer_puts(&r->text, text));
    ok(record_insert(where, t, r));
}

static void says(const struct record *r, const char *text) {
    assert_int_equal(r->text.len, strlen(text));
    assert_memory_equal(r->text.data, text, strlen(text));
}

static void a_record_comes_back_and_changes(void **state) {
    (void)state;
    struct record r;
    struct record got;
    record_init(&r);
    record_init(&got);
    r.state = 2;
    r.order = 17;
    ok(partition_blind(p, "kind", "value", 5, &r.index[0]));
    put(p, TABLE_CLAIM, &r, "first");
    assert_true(r.version == 1 && r.generation == 1);
    ok(partition_commit(p));
    ok(partition_begin(p));
    ok(record_get(p, TABLE_CLAIM, &r.id, &got));
    says(&got, "first");
    assert_true(record_id_equal(&got.id, &r.id));
    assert_true(got.version == 1 && got.state == 2 && got.order == 17);
    assert_memory_equal(got.index, r.index, sizeof r.index);

    buffer_clear(&got.text);
    assert_true(buffer_puts(&got.text, "second"));
    ok(record_update(p, TABLE_CLAIM, &got));
    assert_true(got.version == 2 && got.generation == 2);
    assert_int_equal(record_update(p, TABLE_CLAIM, &r), ERR_STALE_VERSION);
    assert_true(r.version == 1 && r.generation == 1); /* as it was read */
    got.state = 1;
    ok(record_reseal(p, TABLE_CLAIM, &got));
    assert_true(got.version == 2 && got.generation == 3);
    ok(record_get(p, TABLE_CLAIM, &r.id, &got));
    says(&got, "second");
    assert_true(got.version == 2 && got.generation == 3 && got.state == 1);

    ok(record_remove(p, TABLE_CLAIM, &r.id));
    assert_int_equal(record_get(p, TABLE_CLAIM, &r.id, &got), ERR_NOT_FOUND);
    put(p, TABLE_CLAIM, &r, ""); /* an empty text is a text */
    ok(record_get(p, TABLE_CLAIM, &r.id, &got));
    assert_int_equal(got.text.len, 0);
    record_fini(&r);
    record_fini(&got);
}

static void large_texts_have_a_limit(void **state) {
    (void)state;
    struct record r;
    record_init(&r);
    record_id_new(&r.id);
    uint8_t *room = buffer_grow(&r.text, RECORD_MAX_BYTES);
    assert_non_null(room);
    memset(room, 'x', RECORD_MAX_BYTES);
    ok(record_insert(p, TABLE_IMPORT_PART, &r));
    struct record got;
    record_init(&got);
    ok(record_get(p, TABLE_IMPORT_PART, &r.id, &got));
    assert_int_equal(got.text.len, RECORD_MAX_BYTES);
    record_id_new(&r.id);
    r.version = 0;
    assert_true(buffer_puts(&r.text, "y"));
    assert_int_equal(record_insert(p, TABLE_IMPORT_PART, &r), ERR_TOO_LARGE);
    record_fini(&r);
    record_fini(&got);
}

/* ---- many rows */

struct walkers {
    unsigned count;
    struct record_id last;
    uint64_t orders[32];
};

static enum vrs_err write_while_reading(struct record *r, void *arg) {
    struct walkers *w = arg;
    w->orders[w->count++] = r->order;
    w->last = r->id;
    struct record copy;
    record_init(&copy);
    ok(record_get(p, TABLE_CLAIM, &r->id, &copy));
    copy.state = 9;
    ok(record_update(p, TABLE_CLAIM, &copy));
    struct record extra;
    record_init(&extra);
    memcpy(extra.index, r->index, sizeof extra.index);
    memset(&extra.index[0], 0, sizeof extra.index[0]);
    put(p, TABLE_CLAIM, &extra, "made meanwhile");
    record_fini(&copy);
    record_fini(&extra);
    return VRS_OK;
}

static enum vrs_err just_count(struct record *r, void *arg) {
    struct walkers *w = arg;
    w->count++;
    w->last = r->id;
    return VRS_OK;
}

static enum vrs_err stop_now(struct record *r, void *arg) {
    (void)r;
    ++*(int *)arg;
    return ERR_TOO_MANY;
}

static void callbacks_may_use_the_partition(void **state) {
    (void)state;
    struct store_index person;
    ok(partition_blind(p, "person", "1", 1, &person));
    for (unsigned i = 0; i < 20; i++) {
        struct record r;
        record_init(&r);
        r.state = 1;
        ok(partition_next_order(p, TABLE_CLAIM, &r.order));
        assert_int_equal(r.order, i + 1);
        r.index[3] = person;
        put(p, TABLE_CLAIM, &r, "text");
        record_fini(&r);
    }
    struct walkers w = {0};
    ok(record_find(p, TABLE_CLAIM, 3, &person, write_while_reading, &w));
    assert_int_equal(w.count, 20);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(w.orders[i], i + 1);
    w = (struct walkers){0};
    ok(record_find(p, TABLE_CLAIM, 3, &person, just_count, &w));
    assert_int_equal(w.count, 40);
    w = (struct walkers){0};
    ok(record_scan(p, TABLE_CLAIM, 9, 5, 10, just_count, &w));
    assert_int_equal(w.count, 10);
    int stopped = 0;
    assert_int_equal(record_scan(p, TABLE_CLAIM, 9, 0, 100, stop_now, &stopped), ERR_TOO_MANY);
    assert_int_equal(stopped, 1);
    unsigned total = 0;
    bool first = true;
    do {
        struct record_id after = w.last;
        w = (struct walkers){0};
        ok(record_walk(p, TABLE_CLAIM, first ? NULL : &after, 7, just_count, &w));
        total += w.count;
        first = false;
    } while (w.count > 0);
    assert_int_equal(total, 40);
}

static void orders_have_no_gap_after_an_undo(void **state) {
    (void)state;
    struct record r;
    record_init(&r);
    for (int round = 0; round < 3; round++) {
        ok(partition_savepoint(p));
        ok(partition_next_order(p, TABLE_CLAIM, &r.order));
        r.version = 0;
        put(p, TABLE_CLAIM, &r, "entry");
        if (round == 1)
            ok(partition_rollback_to(p));
        else
            ok(partition_release(p));
    }
    assert_int_equal(r.order, 2);
    ok(partition_commit(p));
    ok(partition_begin(p));
    ok(partition_next_order(p, TABLE_CLAIM, &r.order));
    assert_int_equal(r.order, 3);
    partition_rollback(p);
    ok(partition_begin(p));
    ok(partition_next_order(p, TABLE_CLAIM, &r.order));
    assert_int_equal(r.order, 3);
    record_fini(&r);
}

/* ---- S4: a sealed blob opens nowhere but in its place */

enum { TEXTS = 4 };
static struct record_id planted[TEXTS];

static void plant(void) {
    for (unsigned i = 0; i < TEXTS; i++) {
        struct record r;
        record_init(&r);
        r.order = i + 1;
        r.state = 1;
        ok(partition_blind(p, "receipt", &i, sizeof i, &r.index[0]));
        ok(partition_blind(p, "person", "x", 1, &r.index[3]));
        put(p, TABLE_CLAIM, &r, "山田太郎 1234567890");
        planted[i] = r.id;
        record_fini(&r);
    }
}

static struct store_row raw_row(struct partition *from, enum store_table t,
                                const struct record_id *id, uint8_t *blob, size_t cap) {
    struct store_row row;
    ok(eng->get(partition_store(from), t, id->bytes, &row));
    assert_true(row.blob_len <= cap);
    memcpy(blob, row.blob, row.blob_len);
    row.blob = blob;
    return row;
}

static enum vrs_err put_raw_and_open(struct partition *where, enum store_table t,
                                     const struct store_row *row) {
    struct record got;
    record_init(&got);
    struct record_id id;
    memcpy(id.bytes, row->id, sizeof id.bytes);
    (void)eng->remove(partition_store(where), t, row->id);
    ok(eng->insert(partition_store(where), t, row));
    enum vrs_err e = record_get(where, t, &id, &got);
    if (e != VRS_OK)
        assert_int_equal(got.text.len, 0);
    record_fini(&got);
    return e;
}

static void a_changed_column_does_not_open(void **state) {
    (void)state;
    plant();
    uint8_t blob[512];
    const struct store_row row = raw_row(p, TABLE_CLAIM, &planted[0], blob, sizeof blob);
    ok(put_raw_and_open(p, TABLE_CLAIM, &row)); /* control: unchanged it opens */
    struct store_row bad = row;
    bad.version++;
    assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &bad), ERR_TAMPERED);
    bad = row;
    bad.generation++;
    assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &bad), ERR_TAMPERED);
    bad = row;
    bad.state++;
    assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &bad), ERR_TAMPERED);
    bad = row;
    bad.order += 1000;
    assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &bad), ERR_TAMPERED);
    for (int n = 0; n < STORE_INDEXES; n++) {
        bad = row;
        bad.index[n].bytes[0] ^= 1;
        bad.index[n].len = 32;
        assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &bad), ERR_TAMPERED);
        bad.index[n].len = row.index[n].len == 0 ? 1 : 0;
        assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &bad), ERR_TAMPERED);
    }
    /* From one index column to its neighbour. */
    bad = row;
    bad.index[1] = bad.index[0];
    bad.index[0].len = 0;
    assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &bad), ERR_TAMPERED);
    bad = row;
    bad.key_id += 1000;
    assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &bad), ERR_CRYPTO);
    ok(put_raw_and_open(p, TABLE_CLAIM, &row));
}

static void a_changed_byte_does_not_open(void **state) {
    (void)state;
    plant();
    uint8_t blob[512];
    struct store_row row = raw_row(p, TABLE_CLAIM, &planted[0], blob, sizeof blob);
    for (size_t i = 0; i < row.blob_len; i++) {
        blob[i] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &row), ERR_TAMPERED);
        blob[i] ^= (uint8_t)(1 << i % 8);
    }
    size_t whole = row.blob_len;
    for (row.blob_len = 0; row.blob_len < whole; row.blob_len++)
        assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &row), ERR_TAMPERED);
    ok(put_raw_and_open(p, TABLE_CLAIM, &row));
}

/* C03, S4: neither row, column, table, area nor municipality. */
static void a_moved_blob_does_not_open(void **state) {
    (void)state;
    plant();
    uint8_t blob[512];
    uint8_t other_blob[512];
    const struct store_row row = raw_row(p, TABLE_CLAIM, &planted[0], blob, sizeof blob);
    /* Into another row, all else as there. */
    struct store_row other = raw_row(p, TABLE_CLAIM, &planted[1], other_blob, sizeof other_blob);
    other.blob = blob;
    assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &other), ERR_TAMPERED);
    /* The whole row under another id. */
    ok(eng->remove(partition_store(p), TABLE_CLAIM, row.id));
    other = row;
    other.id[0] ^= 1;
    assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &other), ERR_TAMPERED);
    /* Into another table of the same area, and of another area (whose key ids differ). */
    assert_int_equal(put_raw_and_open(p, TABLE_CLAIM_HISTORY, &row), ERR_TAMPERED);
    struct store_row entry = row;
    memset(entry.id, 0, sizeof entry.id);
    entry.id[sizeof entry.id - 1] = (uint8_t)entry.order;
    assert_int_equal(put_raw_and_open(p, TABLE_LOG, &entry), ERR_CRYPTO);
    assert_int_equal(put_raw_and_open(p, TABLE_NUMBER, &row), ERR_CRYPTO);
    /* Into another municipality, in the same place. */
    struct partition *q;
    ok(partition_open(eng, stand.partitions, "462012", stand.ring, STORE_CREATE, &q, &fault));
    ok(partition_begin(q));
    assert_int_equal(put_raw_and_open(q, TABLE_CLAIM, &row), ERR_TAMPERED);
    partition_rollback(q);
    partition_close(&q);
    /* An old version of the same row put back over a new one. */
    struct record r;
    record_init(&r);
    ok(record_get(p, TABLE_CLAIM, &planted[2], &r));
    const struct store_row old = raw_row(p, TABLE_CLAIM, &planted[2], blob, sizeof blob);
    ok(record_update(p, TABLE_CLAIM, &r));
    struct store_row now = raw_row(p, TABLE_CLAIM, &planted[2], other_blob, sizeof other_blob);
    now.blob = old.blob;
    now.blob_len = old.blob_len;
    assert_int_equal(put_raw_and_open(p, TABLE_CLAIM, &now), ERR_TAMPERED);
    record_fini(&r);
}

/* Even under one and the same key: what the AAD alone must hold apart. */
static void the_place_alone_keeps_seals_apart(void **state) {
    (void)state;
    struct secret_key key;
    crypto_random(&key, sizeof key);
    struct buffer aad;
    struct buffer blob;
    struct buffer text;
    buffer_init(&aad, 4096);
    buffer_init(&blob, 4096);
    buffer_init(&text, 4096);
    struct store_row row = {.id = "0123456789abcde", .version = 1, .generation = 1, .key_id = 1};
    ok(record_seal(&key, "131032", TABLE_CLAIM, &row, "text", 4, &aad, &blob));
    row.blob = blob.data;
    row.blob_len = blob.len;
    assert_int_equal(record_open(&key, "462012", TABLE_CLAIM, &row, &aad, &text), ERR_TAMPERED);
    for (int t = 0; t < STORE_TABLE_COUNT; t++) {
        enum vrs_err e = record_open(&key, "131032", (enum store_table)t, &row, &aad, &text);
        assert_int_equal(e, t == TABLE_CLAIM ? VRS_OK : ERR_TAMPERED);
    }
    row.key_id = 2;
    assert_int_equal(record_open(&key, "131032", TABLE_CLAIM, &row, &aad, &text), ERR_TAMPERED);
    buffer_fini(&aad);
    buffer_fini(&blob);
    buffer_fini(&text);
}

/* ---- C94, C04 */

static void the_blind_index_differs_in_every_partition(void **state) {
    (void)state;
    struct store_index a, a2, b, kind, value;
    ok(partition_blind(p, "coupon", "1234567890", 10, &a));
    ok(partition_blind(p, "coupon", "1234567890", 10, &a2));
    ok(partition_blind(p, "addressee", "1234567890", 10, &kind));
    ok(partition_blind(p, "coupon", "1234567891", 10, &value));
    assert_int_equal(a.len, PARTITION_BLIND_BYTES);
    assert_memory_equal(&a, &a2, sizeof a);
    assert_memory_not_equal(a.bytes, kind.bytes, PARTITION_BLIND_BYTES);
    assert_memory_not_equal(a.bytes, value.bytes, PARTITION_BLIND_BYTES);
    /* The kind cannot flow into the value. */
    struct store_index ab, cd;
    ok(partition_blind(p, "ab", "c", 1, &ab));
    ok(partition_blind(p, "a", "bc", 2, &cd));
    assert_memory_not_equal(ab.bytes, cd.bytes, PARTITION_BLIND_BYTES);
    struct partition *q;
    ok(partition_open(eng, stand.partitions, "462012", stand.ring, STORE_CREATE, &q, &fault));
    ok(partition_blind(q, "coupon", "1234567890", 10, &b));
    assert_memory_not_equal(a.bytes, b.bytes, PARTITION_BLIND_BYTES);
    partition_close(&q);
    /* And stays the same over a restart. */
    ok(partition_commit(p));
    partition_close(&p);
    ok(partition_open(eng, stand.partitions, "131032", stand.ring, 0, &p, &fault));
    ok(partition_blind(p, "coupon", "1234567890", 10, &a2));
    assert_memory_equal(&a, &a2, sizeof a);
}

static void no_file_holds_plaintext(void **state) {
    (void)state;
    static const char name[] = "山田太郎";
    static const char coupon[] = "7391846205";
    for (unsigned i = 0; i < 300; i++) {
        struct record r;
        record_init(&r);
        r.order = i + 1;
        char text[128];
        (void)snprintf(text, sizeof text, "%s %s %u", name, coupon, i);
        ok(partition_blind(p, "coupon", text, strlen(text), &r.index[0]));
        put(p, TABLE_CLAIM, &r, text);
        if (i % 3 == 0)
            ok(record_update(p, TABLE_CLAIM, &r));
        if (i % 7 == 0)
            ok(record_remove(p, TABLE_CLAIM, &r.id));
        record_fini(&r);
    }
    ok(partition_commit(p));
    ok(eng->backup(partition_store(p), stand_path(&stand, "copy.db"), &fault));
    assert_false(stand_holds(stand.dir, name, strlen(name)));
    assert_false(stand_holds(stand.dir, coupon, strlen(coupon)));
    assert_true(stand_holds(stand.dir, "claim_state", 11)); /* control */
    ok(partition_begin(p));
    ok(eng->meta_set(partition_store(p), "planted", coupon));
    ok(partition_commit(p));
    assert_true(stand_holds(stand.dir, coupon, strlen(coupon))); /* a hole would be found */
}

/* ---- opening */

static void an_absent_partition_is_not_made_by_looking(void **state) {
    (void)state;
    struct partition *q = NULL;
    size_t files = stand_files(stand.partitions);
    size_t keys = stand_files(stand.keys);
    assert_int_equal(partition_open(eng, stand.partitions, "462012", stand.ring, 0, &q, &fault),
                     ERR_NOT_FOUND);
    assert_null(q);
    assert_int_equal(stand_files(stand.partitions), files);
    assert_int_equal(stand_files(stand.keys), keys);
    static const char *const bad[] = {"", "13103", "../../etc", "13103a", "1310320"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(
            partition_open(eng, stand.partitions, bad[i], stand.ring, STORE_CREATE, &q, &fault),
            ERR_NO_SUCH_MUNICIPALITY);
    struct stat st;
    assert_int_equal(stat(stand.partitions, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void a_file_under_another_name_is_refused(void **state) {
    (void)state;
    ok(partition_commit(p));
    partition_close(&p);
    ok(keyring_ensure(stand.ring, "462012", &fault));
    assert_int_equal(rename(stand_path(&stand, "partitions/131032.db"),
                            stand_path(&stand, "partitions/462012.db")),
                     0);
    assert_int_equal(partition_open(eng, stand.partitions, "462012", stand.ring, 0, &p, &fault),
                     ERR_CORRUPT);
}

static void lost_keys_are_not_made_anew(void **state) {
    (void)state;
    ok(partition_commit(p));
    partition_close(&p);
    assert_int_equal(unlink(stand_path(&stand, "keys/131032.keys")), 0);
    keyring_forget(stand.ring, "131032");
    assert_int_equal(
        partition_open(eng, stand.partitions, "131032", stand.ring, STORE_CREATE, &p, &fault),
        ERR_CRYPTO);
    assert_int_equal(stand_files(stand.keys), 0);
}

static void ids_have_a_text_form(void **state) {
    (void)state;
    struct record_id id;
    struct record_id back;
    char text[33];
    record_id_new(&id);
    record_id_format(&id, text);
    assert_int_equal(strlen(text), 32);
    assert_true(record_id_parse(text, &back));
    assert_true(record_id_equal(&id, &back));
    record_id_new(&back);
    assert_false(record_id_equal(&id, &back));
    assert_false(record_id_parse("", &back));
    assert_false(record_id_parse("0123456789abcdef0123456789abcde", &back));
    assert_false(record_id_parse("0123456789abcdef0123456789abcdeg", &back));
    assert_false(record_id_parse("0123456789abcdef0123456789abcdef0", &back));
    struct store_index index;
    store_index_id(&id, &index);
    assert_int_equal(index.len, 16);
    assert_memory_equal(index.bytes, id.bytes, 16);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_record_comes_back_and_changes),
        TEST(large_texts_have_a_limit),
        TEST(callbacks_may_use_the_partition),
        TEST(orders_have_no_gap_after_an_undo),
        TEST(a_changed_column_does_not_open),
        TEST(a_changed_byte_does_not_open),
        TEST(a_moved_blob_does_not_open),
        TEST(the_place_alone_keeps_seals_apart),
        TEST(the_blind_index_differs_in_every_partition),
        TEST(no_file_holds_plaintext),
        TEST(an_absent_partition_is_not_made_by_looking),
        TEST(a_file_under_another_name_is_refused),
        TEST(lost_keys_are_not_made_anew),
        TEST(ids_have_a_text_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
