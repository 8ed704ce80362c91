/* S5: new keys for a partition at work.  Nothing is lost, nothing looks changed, no look-up misses, at
 * whatever step the process ends; and an old key is gone only when no row needs it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "lib/crypto.h"
#include "partitions/access_log.h"
#include "partitions/claim.h"
#include "partitions/person.h"
#include "partitions/record.h"
#include "partitions/rotate.h"
#include "partitions/tally.h"
#include "tests/lib/stand.h"

#define TOWN "131032"
enum { PEOPLE = 300, AREAS_HERE = 1 << KEY_RECORDS | 1 << KEY_LOG };

static struct stand stand;
static struct partition *p;
static struct vrs_fault fault;
static struct person people[PEOPLE];
static struct claim first_claim;

static void ok(enum vrs_err e) {
    if (e != VRS_OK)
        print_error("%s: %s\n", err_name(e), fault.text);
    assert_int_equal(e, VRS_OK);
}

static void addressee(int i, char *out) {
    (void)snprintf(out, 16, "%015d", i);
}

static void coupon(int i, char *out) {
    (void)snprintf(out, 11, "%010u", (unsigned)i % 1000000000U);
}

static enum vrs_err note_access(const struct person *of) {
    const struct log_entry entry = {
        .actor = {.user = "u", .section = "s", .terminal = "t", .source = "lgwan"},
        .act = "resident.read",
        .purpose = "inquiry",
        .result = "ok",
        .person = of};
    return access_log_append(p, &entry, NULL);
}

static void fill(void) {
    bool added;
    for (int i = 0; i < PEOPLE; i++) {
        struct person_coupon c = {.sent_on = PERSON_NO_DATE};
        person_init(&people[i]);
        addressee(i, people[i].addressee);
        people[i].birth.days = -3653 + i;
        (void)snprintf(people[i].kana, sizeof people[i].kana, "シケン");
        ok(person_put(p, &people[i]));
        record_id_new(&c.id);
        c.person = people[i].id;
        coupon(i, c.number.digits);
        ok(coupon_add(p, &c, &added));
        assert_true(added);
    }
    claim_init(&first_claim);
    memset(first_claim.receipt, 7, sizeof first_claim.receipt);
    first_claim.coupon.dose_number = 2;
    memcpy(first_claim.coupon.municipality.digits, TOWN, 7);
    coupon(1, first_claim.coupon.number.digits);
    first_claim.has_person = true;
    first_claim.person = people[1].id;
    first_claim.state = 1;
    ok(claim_insert(p, &first_claim));
    ok(tally_add(p, "doses/2021-07-01", 41));
    ok(note_access(&people[1]));
    ok(partition_commit(p));
    ok(partition_begin(p));
}

static int set_up(void **state) {
    (void)state;
    stand_open(&stand, AREAS_HERE);
    ok(partition_open(&store_sqlite, stand.partitions, TOWN, stand.ring, STORE_CREATE, &p, &fault));
    ok(partition_begin(p));
    fill();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    partition_close(&p);
    stand_close(&stand);
    return 0;
}

/* The process ended here: what was not committed is gone, keys are read from their file. */
static void crash(void) {
    partition_close(&p);
    keyring_close(&stand.ring);
    ok(keyring_open(stand.keys, &kek_file, stand.keks, AREAS_HERE, &stand.ring, &fault));
    ok(partition_open(&store_sqlite, stand.partitions, TOWN, stand.ring, 0, &p, &fault));
    ok(partition_begin(p));
}

static uint32_t active(enum key_area area, enum key_purpose purpose) {
    const struct secret_key *key;
    uint32_t id;
    ok(keyring_active(stand.ring, TOWN, area, purpose, &id, &key));
    return id;
}

static enum key_state state_of(uint32_t key_id) {
    struct key_info info[32];
    size_t n = keyring_list(stand.ring, TOWN, info, 32);
    for (size_t i = 0; i < n && i < 32; i++)
        if (info[i].key_id == key_id)
            return info[i].state;
    return 0;
}

static enum vrs_err count_claim(struct claim *c, void *arg) {
    int *n = arg;
    assert_true(record_id_equal(&c->id, &first_claim.id));
    ++*n;
    return VRS_OK;
}

static enum vrs_err count_entry(const struct log_read *entry, void *arg) {
    int *n = arg;
    (void)entry;
    ++*n;
    return VRS_OK;
}

/* Everything that is found by an index, and everything as it was. */
static void all_is_found(void) {
    static const int some[] = {0, 1, 137, PEOPLE - 1};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        char text[40];
        struct person found;
        struct person_coupon c;
        addressee(some[i], text);
        ok(person_by_addressee(p, text, &found));
        assert_true(record_id_equal(&found.id, &people[some[i]].id));
        assert_int_equal(found.version, 1); /* an If-Match made before still holds */
        coupon(some[i], text);
        ok(coupon_get(p, text, &c));
        assert_true(record_id_equal(&c.person, &people[some[i]].id));
    }
    int n = 0;
    struct claim c;
    ok(claims_of_turn(p, &first_claim.coupon, count_claim, &n));
    ok(claims_of_coupon(p, first_claim.coupon.number.digits, count_claim, &n));
    ok(claims_of_person(p, &people[1].id, count_claim, &n));
    assert_int_equal(n, 3);
    ok(claim_by_receipt(p, first_claim.receipt, &c));
    assert_int_equal(c.version, 1);
    int64_t value;
    ok(tally_get(p, "doses/2021-07-01", &value));
    assert_int_equal(value, 41);
    n = 0;
    ok(access_log_of_person(p, &people[1].id, count_entry, &n));
    assert_int_equal(n, 1);
}

struct census {
    uint32_t key, index;
    uint64_t rows, old_data, old_index;
};

static enum vrs_err look(const struct store_row *row, void *arg) {
    struct census *c = arg;
    c->rows++;
    c->old_data += row->key_id != c->key;
    for (int n = 0; n < STORE_INDEXES; n++)
        c->old_index +=
            store_index_key(&row->index[n]) != 0 && store_index_key(&row->index[n]) != c->index;
    return VRS_OK;
}

static struct census take_census(enum key_area area) {
    struct census c = {.key = active(area, KEY_ENCRYPT), .index = active(area, KEY_INDEX)};
    for (int t = 0; t < STORE_TABLE_COUNT; t++)
        if (partition_area(p, (enum store_table)t) == area)
            ok(store_sqlite.walk(partition_store(p), (enum store_table)t, NULL, UINT32_MAX, look,
                                 &c));
    return c;
}

typedef void at_step_fn(const struct rotation *r);

static struct rotation run(enum rotate_what what, enum key_area area, at_step_fn *before) {
    struct rotation r;
    ok(rotate_begin(p, what, area, "operator", &r));
    for (int steps = 0; r.phase != ROTATE_DONE; steps++) {
        assert_true(steps < 100);
        if (before != NULL)
            before(&r);
        ok(rotate_step(p, &r, &fault));
        ok(partition_commit(p));
        ok(partition_begin(p));
    }
    return r;
}

static void look_at_step(const struct rotation *r) {
    (void)r;
    all_is_found();
}

static void data_key_rotates(void **state) {
    (void)state;
    uint32_t old = active(KEY_RECORDS, KEY_ENCRYPT);
    struct rotation r = run(ROTATE_DATA, KEY_RECORDS, look_at_step);
    assert_int_equal(r.from_key, old);
    assert_int_equal(r.to_key, active(KEY_RECORDS, KEY_ENCRYPT));
    assert_int_not_equal(r.to_key, old);
    assert_true(r.changed >= 2 * PEOPLE + 2 && r.done >= r.total && r.ended_ms >= r.begun_ms);
    assert_int_equal(state_of(old), KEY_DESTROYED);
    assert_int_equal(take_census(KEY_RECORDS).old_data, 0);
    all_is_found();
    crash();
    all_is_found();
    r = run(ROTATE_DATA, KEY_RECORDS, NULL); /* and once more, over its own record */
    assert_int_equal(take_census(KEY_RECORDS).old_data, 0);
    assert_int_equal(state_of(r.from_key), KEY_DESTROYED);
    all_is_found();
}

static void index_key_rotates(void **state) {
    (void)state;
    uint32_t old = active(KEY_RECORDS, KEY_INDEX), log = active(KEY_LOG, KEY_INDEX);
    struct rotation r = run(ROTATE_INDEX, KEY_RECORDS, look_at_step);
    assert_int_equal(r.from_key, old);
    assert_int_equal(state_of(old), KEY_DESTROYED);
    struct census c = take_census(KEY_RECORDS);
    assert_true(c.old_index == 0 && c.rows > 2 * PEOPLE);
    assert_int_equal(active(KEY_LOG, KEY_INDEX), log); /* never rotated */
    all_is_found();
    crash();
    all_is_found();
    assert_int_equal(rotate_begin(p, ROTATE_INDEX, KEY_LOG, "operator", &r), ERR_BAD_FIELD);
}

/* Halfway: rows under either key; each value is held once. */
static void refuse_doubles(const struct rotation *r) {
    if (r->phase != ROTATE_WALKING)
        return;
    static const int some[] = {0, 1, 137, PEOPLE - 1};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        struct person twin;
        struct person_coupon c = {.sent_on = PERSON_NO_DATE, .person = people[2].id};
        bool added;
        person_init(&twin);
        addressee(some[i], twin.addressee);
        assert_int_equal(person_put(p, &twin), ERR_CONFLICT);
        record_id_new(&c.id);
        coupon(some[i], c.number.digits);
        assert_int_equal(coupon_add(p, &c, &added), ERR_R182);
    }
    ok(tally_add(p, "doses/2021-07-01", 1)); /* counts on in one row */
    ok(tally_add(p, "doses/2021-07-01", -1));
}

static void values_stay_unique_across_both_keys(void **state) {
    (void)state;
    (void)run(ROTATE_INDEX, KEY_RECORDS, refuse_doubles);
    uint64_t n;
    ok(store_sqlite.count(partition_store(p), TABLE_PERSON, UINT32_MAX, &n));
    assert_int_equal(n, PEOPLE);
    ok(store_sqlite.count(partition_store(p), TABLE_TALLY, UINT32_MAX, &n));
    assert_int_equal(n, 1);
    all_is_found();
}

/* A step's rows and its position stand or fall together; keys are in files, which do not roll back. */
static void a_crash_at_any_step_costs_a_step(void **state) {
    (void)state;
    static const enum rotate_what both[] = {ROTATE_DATA, ROTATE_INDEX};
    for (int w = 0; w < 2; w++) {
        struct rotation r;
        ok(rotate_begin(p, both[w], KEY_RECORDS, "operator", &r));
        ok(partition_commit(p));
        ok(partition_begin(p));
        for (int steps = 0; r.phase != ROTATE_DONE; steps++) {
            assert_true(steps < 100);
            struct rotation lost = r;
            ok(rotate_step(p, &lost, &fault));
            crash(); /* before the commit */
            all_is_found();
            ok(rotate_get(p, both[w], KEY_RECORDS, &r));
            ok(rotate_step(p, &r, &fault));
            ok(partition_commit(p));
            crash(); /* behind it */
            ok(rotate_get(p, both[w], KEY_RECORDS, &r));
        }
        assert_int_equal(state_of(r.from_key), KEY_DESTROYED);
        struct census c = take_census(KEY_RECORDS);
        assert_true(c.old_data == 0 && c.old_index == 0);
        all_is_found();
    }
    struct key_info info[32];
    assert_int_equal(keyring_list(stand.ring, TOWN, info, 32), 6); /* 4 and one more of each */
}

static void what_is_changed_meanwhile_stays_changed(void **state) {
    (void)state;
    struct rotation r;
    struct person before = people[5], now;
    ok(rotate_begin(p, ROTATE_DATA, KEY_RECORDS, "operator", &r));
    while (r.phase != ROTATE_CLEAN)
        ok(rotate_step(p, &r, &fault));
    assert_int_equal(before.version, 1); /* read before, with its generation of then */
    (void)snprintf(before.name, sizeof before.name, "変更後");
    ok(person_put(p, &before));
    assert_int_equal(before.version, 2);
    struct person late = people[5];
    assert_int_equal(person_put(p, &late), ERR_STALE_VERSION); /* a real conflict is one */
    ok(rotate_step(p, &r, &fault));
    ok(person_get(p, &people[5].id, &now));
    assert_string_equal(now.name, "変更後");
    /* A record held since before the rotation, with its seal generation of then. */
    struct record held;
    record_init(&held);
    ok(record_get(p, TABLE_PERSON, &people[6].id, &held));
    held.generation = 1;
    ok(record_update(p, TABLE_PERSON, &held));
    assert_int_equal(held.version, 2);
    held.version = 1;
    assert_int_equal(record_update(p, TABLE_PERSON, &held), ERR_STALE_VERSION);
    record_fini(&held);
}

static void the_log_gets_a_key_and_keeps_its_old_one(void **state) {
    (void)state;
    uint32_t old = active(KEY_LOG, KEY_ENCRYPT);
    struct log_head before, after;
    uint64_t bad;
    ok(access_log_head(p, &before));
    struct rotation r = run(ROTATE_DATA, KEY_LOG, NULL);
    assert_int_equal(r.phase, ROTATE_DONE);
    assert_int_equal(state_of(old), KEY_DECRYPT_ONLY);
    ok(access_log_head(p, &after));
    assert_memory_equal(&before.root, &after.root, sizeof before.root); /* nothing sealed anew */
    ok(note_access(&people[1]));
    (void)run(ROTATE_DATA, KEY_LOG, NULL);
    ok(note_access(&people[1]));
    int n = 0;
    ok(access_log_of_person(p, &people[1].id, count_entry, &n));
    assert_int_equal(n, 3); /* under three keys */
    ok(access_log_verify(p, NULL, &after, &bad));
}

/* Control: what the others prove rests on the old key being there as long as it is needed. */
static void a_key_destroyed_too_early_is_missed(void **state) {
    (void)state;
    struct rotation r;
    struct person found;
    ok(rotate_begin(p, ROTATE_DATA, KEY_RECORDS, "operator", &r));
    ok(rotate_step(p, &r, &fault));
    assert_int_equal(keyring_destroy(stand.ring, TOWN, r.to_key, &fault), ERR_CONFLICT);
    assert_int_equal(keyring_destroy(stand.ring, TOWN, 999, &fault), ERR_NOT_FOUND);
    ok(keyring_destroy(stand.ring, TOWN, r.from_key, &fault));
    assert_int_equal(person_get(p, &people[0].id, &found), ERR_CRYPTO);
    assert_true(take_census(KEY_RECORDS).old_data > 0);
}

static void goes_on_when_settled(enum store_table t, const char *kind) {
    struct rotation r;
    struct record odd;
    uint32_t old = active(KEY_RECORDS, KEY_INDEX);
    record_init(&odd);
    record_id_new(&odd.id);
    ok(partition_blind(p, kind, "x", 1, &odd.index[0]));
    ok(partition_next_order(p, t, &odd.order));
    ok(record_insert(p, t, &odd));
    ok(rotate_begin(p, ROTATE_INDEX, KEY_RECORDS, "operator", &r));
    enum vrs_err e = VRS_OK;
    for (int i = 0; e == VRS_OK && i < 100; i++)
        e = rotate_step(p, &r, &fault);
    assert_int_equal(e, ERR_INTERNAL);
    assert_non_null(strstr(fault.text, store_table_name(t)));
    assert_int_equal(state_of(old), KEY_DECRYPT_ONLY);
    all_is_found();
    ok(record_remove(p, t, &odd.id));
    record_fini(&odd);
    ok(rotate_get(p, ROTATE_INDEX, KEY_RECORDS, &r));
    while (r.phase != ROTATE_DONE)
        ok(rotate_step(p, &r, &fault));
    assert_int_equal(state_of(old), KEY_DESTROYED);
    all_is_found();
}

/* A recipe that is missing or wrong stops the rotation before anything is lost by it. */
static void a_blind_column_without_recipe_stops_it(void **state) {
    (void)state;
    goes_on_when_settled(TABLE_HELD, "odd");
    goes_on_when_settled(TABLE_SETTING, "odd");
}

/* S4: what stood in a row before its rotation, and what another key sealed, opens nowhere. */
static void s4_old_blobs_do_not_come_back(void **state) {
    (void)state;
    struct store_row row;
    struct record got;
    struct rotation r;
    static uint8_t blob[4096];
    record_init(&got);
    ok(store_sqlite.get(partition_store(p), TABLE_PERSON, people[3].id.bytes, &row));
    struct store_row old = row;
    assert_true(row.blob_len <= sizeof blob);
    memcpy(blob, row.blob, row.blob_len);
    ok(rotate_begin(p, ROTATE_DATA, KEY_RECORDS, "operator", &r));
    while (r.phase != ROTATE_CLEAN) /* the old key is there still: it is not its absence */
        ok(rotate_step(p, &r, &fault));
    ok(store_sqlite.get(partition_store(p), TABLE_PERSON, people[3].id.bytes, &row));
    struct store_row now = row;
    assert_true(now.version == old.version && now.generation > old.generation &&
                now.key_id != old.key_id);
    static const struct {
        bool generation, key;
    } tries[] = {{false, false}, {false, true}, {true, false}};
    uint32_t stands = now.generation;
    for (size_t i = 0; i < 3; i++) { /* the old blob beside the row's present words */
        struct store_row moved = now;
        moved.blob = blob;
        moved.blob_len = old.blob_len;
        moved.generation = tries[i].generation ? old.generation : now.generation + 1;
        moved.key_id = tries[i].key ? old.key_id : now.key_id;
        ok(store_sqlite.update(partition_store(p), TABLE_PERSON, &moved, now.version, stands));
        stands = moved.generation;
        assert_int_equal(record_get(p, TABLE_PERSON, &people[3].id, &got), ERR_TAMPERED);
    }
    /* Control: with all its words as they were it opens. */
    old.blob = blob;
    ok(store_sqlite.update(partition_store(p), TABLE_PERSON, &old, now.version, stands));
    ok(record_get(p, TABLE_PERSON, &people[3].id, &got));
    record_fini(&got);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(data_key_rotates),
        T(index_key_rotates),
        T(values_stay_unique_across_both_keys),
        T(a_crash_at_any_step_costs_a_step),
        T(what_is_changed_meanwhile_stays_changed),
        T(the_log_gets_a_key_and_keeps_its_old_one),
        T(a_key_destroyed_too_early_is_missed),
        T(a_blind_column_without_recipe_stops_it),
        T(s4_old_blobs_do_not_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
