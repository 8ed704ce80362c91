#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "partitions/person.h"
#include "tests/lib/room.h"

static void fill(struct person *p, const char *addressee, const char *name, const char *kana) {
    person_init(p);
    (void)snprintf(p->addressee, sizeof p->addressee, "%s", addressee);
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    (void)snprintf(p->kana, sizeof p->kana, "%s", kana);
    p->birth = room_day("1958-11-03");
    p->sex = SEX_MALE;
}

static struct person resident(const char *addressee, const char *name, const char *kana) {
    struct person p;
    fill(&p, addressee, name, kana);
    return p;
}

static struct person stored(const char *addressee, const char *name, const char *kana) {
    struct person p = resident(addressee, name, kana);
    room_ok(person_put(room.partition, &p));
    return p;
}

struct names {
    size_t count;
    char name[8][256];
    uint64_t version[8];
};

static enum vrs_err take_name(struct person *p, void *arg) {
    struct names *n = arg;
    assert_true(n->count < 8);
    memcpy(n->name[n->count], p->name, sizeof p->name);
    n->version[n->count++] = p->version;
    return VRS_OK;
}

static bool has(const struct names *n, const char *name) {
    for (size_t i = 0; i < n->count; i++) {
        if (strcmp(n->name[i], name) == 0)
            return true;
    }
    return false;
}

static void all_members_come_back(void **state) {
    (void)state;
    struct person p, got; /* filled in place: padding is compared, too */
    fill(&p, "00123", "辻󠄀 𠮷彦", "ツジ ヨシヒコ");
    (void)snprintf(p.address, sizeof p.address, "東京都港区芝一丁目２−３");
    (void)snprintf(p.moved_out_to, sizeof p.moved_out_to, "462012");
    p.moved_out_on = room_day("2021-08-31");
    p.died_on = room_day("2023-02-28");
    p.removed_on = room_day("1969-12-31"); /* a negative day number */
    p.no_auto_answer = p.undisclosed = true;
    p.registered_ms = 1624000000123;
    room_ok(person_put(room.partition, &p));
    room_commit();
    room_ok(person_get(room.partition, &p.id, &got));
    assert_memory_equal(&got, &p, sizeof p);
}

/* Twins share birth day, often kana; 髙 and 高 differ as written and are found alike. */
static void twins_and_variant_names_stay_apart(void **state) {
    (void)state;
    struct names n = {0};
    (void)stored("1", "髙橋 翔", "タカハシ ショウ");
    (void)stored("2", "高橋 翔", "タカハシ ショウ");
    (void)stored("3", "髙橋 翼", "ﾀｶﾊｼ ﾂﾊﾞｻ");
    (void)stored("4", "高端 努", "タカバシ ツトム");
    room_ok(person_search(room.partition, "ﾀｶﾊｼ", room_day("1958-11-03"), 8, take_name, &n));
    assert_int_equal(n.count, 3);
    assert_true(has(&n, "髙橋 翔") && has(&n, "高橋 翔") && has(&n, "髙橋 翼"));
    memset(&n, 0, sizeof n);
    room_ok(
        person_search(room.partition, "たかはし　つば", room_day("1958-11-03"), 8, take_name, &n));
    assert_int_equal(n.count, 1);
    assert_string_equal(n.name[0], "髙橋 翼");
    memset(&n, 0, sizeof n);
    room_ok(person_search(room.partition, "タカ", room_day("1958-11-03"), 2, take_name, &n));
    assert_int_equal(n.count, 2); /* the limit */
}

static void a_change_of_birth_day_or_addressee_moves_the_index(void **state) {
    (void)state;
    struct names n = {0};
    struct person p = stored("1", "a", "ア"), got;
    p.birth = room_day("1958-11-04");
    (void)snprintf(p.addressee, sizeof p.addressee, "9");
    room_ok(person_put(room.partition, &p));
    room_ok(person_search(room.partition, "ア", room_day("1958-11-03"), 8, take_name, &n));
    assert_int_equal(n.count, 0);
    room_ok(person_search(room.partition, "ア", room_day("1958-11-04"), 8, take_name, &n));
    assert_int_equal(n.count, 1);
    assert_int_equal(person_by_addressee(room.partition, "1", &got), ERR_NOT_FOUND);
    room_ok(person_by_addressee(room.partition, "9", &got));
}

static void an_addressee_number_is_one_persons(void **state) {
    (void)state;
    (void)stored("1", "a", "a");
    struct person b = resident("1", "b", "b");
    room_ok(partition_savepoint(room.partition));
    assert_int_equal(person_put(room.partition, &b), ERR_CONFLICT);
    room_ok(partition_rollback_to(room.partition));
    (void)stored("", "c", "c"); /* blank ones are as many as there are */
    (void)stored("", "d", "d");
}

static void every_version_is_kept(void **state) {
    (void)state;
    struct names n = {0};
    struct person p = stored("1", "旧姓", "キ"), stale = p;
    (void)snprintf(p.name, sizeof p.name, "新姓");
    room_ok(person_put(room.partition, &p));
    (void)snprintf(p.name, sizeof p.name, "今姓");
    room_ok(person_put(room.partition, &p));
    assert_int_equal(person_put(room.partition, &stale), ERR_STALE_VERSION);
    room_ok(person_history(room.partition, &p.id, take_name, &n));
    assert_int_equal(n.count, 2);
    assert_string_equal(n.name[0], "旧姓");
    assert_string_equal(n.name[1], "新姓");
    assert_true(n.version[0] == 1 && n.version[1] == 2 && p.version == 3);
}

static enum vrs_err count_person(struct person *p, void *arg) {
    assert_int_equal(p->sex, SEX_MALE);
    ++*(size_t *)arg;
    return VRS_OK;
}

static void a_walk_sees_everybody_over_pages(void **state) {
    (void)state;
    size_t n = 0;
    for (int i = 0; i < 1003; i++) {
        char addressee[24];
        (void)snprintf(addressee, sizeof addressee, "%d", i);
        (void)stored(addressee, "x", "x");
    }
    room_ok(person_walk(room.partition, count_person, &n));
    assert_int_equal(n, 1003);
}

static enum vrs_err count_coupon(const struct person_coupon *c, void *arg) {
    (void)c;
    ++*(int *)arg;
    return VRS_OK;
}

struct rows {
    int count;
    struct record_id row[4];
};

static enum vrs_err take_row(const struct record_id *row, void *arg) {
    struct rows *r = arg;
    assert_true(r->count < 4);
    r->row[r->count++] = *row;
    return VRS_OK;
}

static void the_last_link_is_the_present_number(void **state) {
    (void)state;
    struct person p = stored("1", "a", "a"), q = stored("2", "b", "b");
    struct record_id row[3], whose;
    struct rows r = {0};
    for (size_t i = 0; i < 3; i++) {
        record_id_new(&row[i]);
        room_ok(number_link_add(room.partition, &row[i], i == 1 ? &q.id : &p.id));
    }
    room_ok(number_links_of(room.partition, &p.id, take_row, &r));
    assert_int_equal(r.count, 2);
    assert_true(record_id_equal(&r.row[0], &row[0]) && record_id_equal(&r.row[1], &row[2]));
    room_ok(number_link_person(room.partition, &row[1], &whose));
    assert_true(record_id_equal(&whose, &q.id));
    record_id_new(&row[0]);
    assert_int_equal(number_link_person(room.partition, &row[0], &whose), ERR_NOT_FOUND);
    memset(&r, 0, sizeof r);
    room_ok(number_link_walk(room.partition, take_row, &r));
    assert_int_equal(r.count, 3);
}

/* C126: nothing of the person is in the file, sealed or not; and nobody else lost anything. */
static void erasure_leaves_not_even_a_seal(void **state) {
    (void)state;
    struct room_seal present, past, other;
    struct record_id link;
    struct rows r = {0};
    bool added;
    int coupons = 0;
    struct person p = stored("1", "消える人", "キエルヒト"), q = stored("2", "残る人", "ノ"), got;
    struct person_coupon c = {.person = p.id, .sent_on = PERSON_NO_DATE};
    record_id_new(&c.id);
    record_id_new(&link);
    assert_true(coupon_number_set(&c.number, "0001000007"));
    room_ok(coupon_add(room.partition, &c, &added));
    room_ok(number_link_add(room.partition, &link, &p.id));
    room_keep(TABLE_PERSON, &p.id, &past);
    (void)snprintf(p.address, sizeof p.address, "港区芝");
    room_ok(person_put(room.partition, &p));
    room_commit();
    room_keep(TABLE_PERSON, &p.id, &present);
    room_keep(TABLE_PERSON, &q.id, &other);
    assert_true(room_holds(&present) && room_holds(&other));
    struct erased x;
    erased_init(&x);
    room_ok(person_erase(room.partition, &p.id, &x));
    assert_int_equal(person_erase(room.partition, &p.id, &x), ERR_NOT_FOUND);
    erased_fini(&x);
    room_commit();
    room_ok(person_history(room.partition, &p.id, count_person, &(size_t){0}));
    room_ok(coupons_of(room.partition, &p.id, count_coupon, &coupons));
    assert_int_equal(coupons, 0);
    room_ok(number_links_of(room.partition, &p.id, take_row, &r));
    assert_int_equal(r.count, 0);
    room_close(); /* the journal ends with its checkpoint */
    assert_false(room_holds(&present));
    assert_false(room_holds(&past));
    assert_false(stand_holds(room.stand.partitions, p.id.bytes, sizeof p.id.bytes));
    assert_false(stand_holds(room.stand.partitions, link.bytes, sizeof link.bytes));
    assert_true(room_holds(&other));
    room_open();
    room_ok(person_get(room.partition, &q.id, &got));
    c.person = q.id; /* the coupon is free again */
    record_id_new(&c.id);
    room_ok(coupon_add(room.partition, &c, &added));
    assert_true(added);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ROOM_TEST(all_members_come_back),
        ROOM_TEST(twins_and_variant_names_stay_apart),
        ROOM_TEST(a_change_of_birth_day_or_addressee_moves_the_index),
        ROOM_TEST(an_addressee_number_is_one_persons),
        ROOM_TEST(every_version_is_kept),
        ROOM_TEST(a_walk_sees_everybody_over_pages),
        ROOM_TEST(the_last_link_is_the_present_number),
        ROOM_TEST(erasure_leaves_not_even_a_seal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
