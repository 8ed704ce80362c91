#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crypto.h"
#include "partitions/claim.h"
#include "tests/lib/room.h"

static void fill(struct claim *c, const char *number, int dose, enum claim_state s) {
    claim_init(c);
    crypto_random(c->receipt, sizeof c->receipt);
    c->coupon.kind = COUPON_VACCINATION;
    c->coupon.dose_number = dose;
    assert_true(municipality_code_set(&c->coupon.municipality, "131032"));
    assert_true(coupon_number_set(&c->coupon.number, number));
    c->given = true;
    c->vaccinated_on = room_day("2021-07-01");
    (void)snprintf(c->lot, sizeof c->lot, "FF3620");
    c->state = s;
}

static struct claim reading(const char *number, int dose, enum claim_state s) {
    struct claim c;
    fill(&c, number, dose, s);
    return c;
}

static struct claim stored(const char *number, int dose, enum claim_state s) {
    struct claim c = reading(number, dose, s);
    room_ok(claim_insert(room.partition, &c));
    return c;
}

struct list {
    size_t count;
    struct claim claim[8];
};

static enum vrs_err take(struct claim *c, void *arg) {
    struct list *l = arg;
    assert_true(l->count < 8);
    l->claim[l->count++] = *c;
    return VRS_OK;
}

static struct list *fresh(void) {
    static struct list l;
    memset(&l, 0, sizeof l);
    return &l;
}

static bool is(const struct claim *a, const struct claim *b) {
    return record_id_equal(&a->id, &b->id);
}

static void all_members_come_back(void **state) {
    (void)state;
    struct claim c, got; /* filled in place: padding is compared, too */
    fill(&c, "0001000007", 9, CLAIM_DUPLICATE);
    struct {
        char *at;
        size_t size;
    } texts[] = {
        {c.product, sizeof c.product},
        {c.lot, sizeof c.lot},
        {c.site, sizeof c.site},
        {c.physician, sizeof c.physician},
        {c.read_by, sizeof c.read_by},
        {c.terminal, sizeof c.terminal},
        {c.staff, sizeof c.staff},
        {c.origin, sizeof c.origin},
        {c.reasons, sizeof c.reasons},
        {c.notes, sizeof c.notes},
        {c.changed_by, sizeof c.changed_by},
        {c.change_reason, sizeof c.change_reason},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        memset(texts[i].at, (int)('a' + i), texts[i].size - 1); /* as long as can be */
    c.coupon.kind = COUPON_EXAMINED_ONLY;
    c.has_person = c.cancelled_by_terminal = true;
    record_id_new(&c.person);
    record_id_new(&c.duplicate_of);
    c.registered_ms = 1625097600123;
    c.read_at_ms = 1625097599000;
    c.changed_ms = 1625097600456;
    c.given = false;
    room_ok(claim_insert(room.partition, &c));
    room_commit();
    room_ok(claim_get(room.partition, &c.id, &got));
    assert_memory_equal(&got, &c, sizeof c);
    room_ok(claim_by_receipt(room.partition, c.receipt, &got));
    assert_memory_equal(&got, &c, sizeof c);
    c.receipt[0] ^= 1;
    assert_int_equal(claim_by_receipt(room.partition, c.receipt, &got), ERR_NOT_FOUND);
}

static void every_version_is_kept_with_who_when_and_why(void **state) {
    (void)state;
    struct claim c = stored("0001000007", 1, CLAIM_WAITING), stale = c;
    struct list *l = fresh();
    c.state = CLAIM_REVIEW;
    (void)snprintf(c.changed_by, sizeof c.changed_by, "minato-01");
    room_ok(claim_update(room.partition, &c));
    c.state = CLAIM_CANCELLED;
    (void)snprintf(c.changed_by, sizeof c.changed_by, "minato-02");
    (void)snprintf(c.change_reason, sizeof c.change_reason, "取り違え");
    c.changed_ms = 17;
    room_ok(claim_update(room.partition, &c));
    assert_int_equal(claim_update(room.partition, &stale), ERR_STALE_VERSION);
    stale.version = 7;
    assert_int_equal(claim_update(room.partition, &stale), ERR_STALE_VERSION);
    room_ok(claim_history(room.partition, &c.id, take, l));
    assert_int_equal(l->count, 2);
    assert_true(is(&l->claim[0], &c) && is(&l->claim[1], &c));
    assert_true(l->claim[0].version == 1 && l->claim[0].state == CLAIM_WAITING);
    assert_true(l->claim[1].version == 2 && l->claim[1].state == CLAIM_REVIEW);
    assert_string_equal(l->claim[1].changed_by, "minato-01");
    room_ok(claim_get(room.partition, &c.id, &stale));
    assert_true(stale.version == 3 && stale.state == CLAIM_CANCELLED && stale.changed_ms == 17);
    assert_string_equal(stale.change_reason, "取り違え");
}

static void claims_are_found_oldest_first(void **state) {
    (void)state;
    struct record_id person;
    record_id_new(&person);
    struct claim a = stored("0001000007", 1, CLAIM_RECORDED);
    struct claim b = stored("0001000007", 1, CLAIM_CONFLICT);
    struct claim c = stored("0001000007", 2, CLAIM_RECORDED);
    (void)stored("0001000008", 1, CLAIM_RECORDED);
    struct list *l = fresh();
    room_ok(claims_of_turn(room.partition, &a.coupon, take, l));
    assert_true(l->count == 2 && is(&l->claim[0], &a) && is(&l->claim[1], &b));
    l = fresh();
    room_ok(claims_of_coupon(room.partition, "0001000007", take, l));
    assert_true(l->count == 3 && is(&l->claim[2], &c));
    c.has_person = a.has_person = true; /* changed in another order than they came */
    c.person = a.person = person;
    room_ok(claim_update(room.partition, &c));
    room_ok(claim_update(room.partition, &a));
    l = fresh();
    room_ok(claims_of_person(room.partition, &person, take, l));
    assert_true(l->count == 2 && is(&l->claim[0], &a) && is(&l->claim[1], &c));
}

/* A change of state keeps a claim's place: the cursor of the work list is the order of arrival. */
static void the_work_list_goes_by_state_and_arrival(void **state) {
    (void)state;
    struct claim c[5];
    char number[11];
    for (int i = 0; i < 5; i++) {
        (void)snprintf(number, sizeof number, "%010u", (unsigned)i % 10);
        c[i] = stored(number, 1, CLAIM_WAITING);
        assert_int_equal(c[i].order, i + 1);
    }
    c[1].state = c[3].state = CLAIM_REVIEW;
    room_ok(claim_update(room.partition, &c[3]));
    room_ok(claim_update(room.partition, &c[1]));
    struct list *l = fresh();
    room_ok(claims_in_state(room.partition, CLAIM_REVIEW, 0, 8, take, l));
    assert_true(l->count == 2 && is(&l->claim[0], &c[1]) && is(&l->claim[1], &c[3]));
    l = fresh();
    room_ok(claims_in_state(room.partition, CLAIM_WAITING, 0, 2, take, l));
    assert_true(l->count == 2 && is(&l->claim[0], &c[0]) && is(&l->claim[1], &c[2]));
    room_ok(claims_in_state(room.partition, CLAIM_WAITING, l->claim[1].order, 2, take, l));
    assert_true(l->count == 3 && is(&l->claim[2], &c[4]));
}

static void only_outcomes_with_a_receipt_are_handed_over(void **state) {
    (void)state;
    struct claim outside = reading("0001000001", 1, CLAIM_RECORDED);
    struct claim inside = reading("0001000002", 1, CLAIM_RECORDED);
    struct claim inside2 = reading("0001000003", 1, CLAIM_RECORDED);
    memset(inside.receipt, 0, sizeof inside.receipt); /* imports: any number of them */
    memset(inside2.receipt, 0, sizeof inside2.receipt);
    outside.outcome_unsent = inside.outcome_unsent = inside2.outcome_unsent = true;
    room_ok(claim_insert(room.partition, &inside));
    room_ok(claim_insert(room.partition, &outside));
    room_ok(claim_insert(room.partition, &inside2));
    room_close();
    room_open();
    struct list *l = fresh();
    room_ok(claims_unsent(room.partition, 8, take, l));
    assert_true(l->count == 1 && is(&l->claim[0], &outside));
    assert_int_equal(l->claim[0].version, 1);
    room_ok(claim_mark_sent(room.partition, outside.receipt));
    room_ok(claim_mark_sent(room.partition, outside.receipt)); /* told twice: nothing to do */
    l = fresh();
    room_ok(claims_unsent(room.partition, 8, take, l));
    assert_int_equal(l->count, 0);
    room_ok(claim_get(room.partition, &outside.id, &outside));
    assert_int_equal(outside.version, 1); /* the mark is no part of the record */
    room_ok(claim_history(room.partition, &outside.id, take, l));
    assert_int_equal(l->count, 0);
}

static void a_change_during_the_hand_over_stays_marked(void **state) {
    (void)state;
    struct claim c = reading("0001000001", 1, CLAIM_WAITING);
    struct claim later = reading("0001000002", 1, CLAIM_WAITING);
    struct list *l = fresh();
    c.outcome_unsent = later.outcome_unsent = true;
    room_ok(claim_insert(room.partition, &c));
    room_ok(claim_insert(room.partition, &later));
    room_ok(claims_unsent(room.partition, 1, take, l)); /* version 1 is on its way */
    assert_int_equal(l->claim[0].version, 1);
    c.state = CLAIM_RECORDED;
    room_ok(claim_update(room.partition, &c));
    room_ok(claim_mark_sent_version(room.partition, c.receipt, 1));
    l = fresh();
    room_ok(claims_unsent(room.partition, 1, take, l));
    assert_true(l->count == 1 && is(&l->claim[0], &c)); /* keeps its place in the queue */
    assert_true(l->claim[0].version == 2 && l->claim[0].state == CLAIM_RECORDED);
    room_ok(claim_mark_sent_version(room.partition, c.receipt, 2));
    l = fresh();
    room_ok(claims_unsent(room.partition, 8, take, l));
    assert_true(l->count == 1 && is(&l->claim[0], &later));
}

static void an_undone_claim_leaves_no_mark(void **state) {
    (void)state;
    struct claim c = reading("0001000001", 1, CLAIM_WAITING);
    struct list *l = fresh();
    c.outcome_unsent = true;
    room_ok(partition_savepoint(room.partition));
    room_ok(claim_insert(room.partition, &c));
    room_ok(partition_rollback_to(room.partition));
    room_ok(claims_unsent(room.partition, 8, take, l));
    assert_int_equal(l->count, 0);
    c.version = 0;
    room_ok(claim_insert(room.partition, &c)); /* the job runs again from the start */
    assert_int_equal(c.order, 1);
}

static void erasure_takes_history_and_marks_of_that_person_alone(void **state) {
    (void)state;
    struct claim mine = reading("0001000001", 1, CLAIM_RECORDED), cancelled, other;
    struct room_seal first, second;
    struct erased x;
    erased_init(&x);
    record_id_new(&mine.person);
    mine.has_person = mine.outcome_unsent = true;
    room_ok(claim_insert(room.partition, &mine));
    room_keep(TABLE_CLAIM, &mine.id, &first);
    (void)snprintf(mine.lot, sizeof mine.lot, "FF9942");
    room_ok(claim_update(room.partition, &mine));
    room_keep(TABLE_CLAIM, &mine.id, &second);
    cancelled = reading("0001000001", 1, CLAIM_CANCELLED);
    cancelled.has_person = true;
    cancelled.person = mine.person;
    room_ok(claim_insert(room.partition, &cancelled));
    other = stored("0001000001", 2, CLAIM_WAITING);
    room_commit();
    assert_true(room_holds(&second));
    room_ok(claims_erase_of(room.partition, &mine.person, &x));
    assert_int_equal(x.count[ERASED_DOSE], 2);
    assert_int_equal(x.count[ERASED_DOSE_VERSION], 1);
    assert_int_equal(x.claims.len, 2 * ERASE_CLAIM_BYTES);
    erased_fini(&x);
    struct list *l = fresh();
    room_ok(claims_of_coupon(room.partition, "0001000001", take, l));
    assert_true(l->count == 1 && is(&l->claim[0], &other));
    l = fresh();
    room_ok(claim_history(room.partition, &mine.id, take, l));
    room_ok(claims_unsent(room.partition, 8, take, l));
    assert_int_equal(l->count, 0);
    assert_int_equal(claim_by_receipt(room.partition, mine.receipt, &mine), ERR_NOT_FOUND);
    room_close();
    assert_false(room_holds(&first));
    assert_false(room_holds(&second));
    assert_false(stand_holds(room.stand.partitions, mine.receipt, sizeof mine.receipt));
}

/* --- by when it was stored --- */

static void days_later(int days) {
    static char path[192];
    (void)snprintf(path, sizeof path, "%s/clock", room.stand.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fprintf(f, "%d\n", days * 86400);
    assert_int_equal(fclose(f), 0);
    clock_use_file(path); /* looked at anew */
}

static enum vrs_err count_claim(struct claim *c, void *arg) {
    (void)c;
    ++*(size_t *)arg;
    return VRS_OK;
}

static size_t behind(uint64_t after) {
    size_t n = 0;
    room_ok(claims_in_state(room.partition, CLAIM_RECORDED, after, 10000, count_claim, &n));
    return n;
}

static uint64_t before(int64_t ms) {
    uint64_t after;
    room_ok(claim_order_before(room.partition, ms, &after));
    return after;
}

static void what_was_stored_since_a_day_is_found_without_the_rest(void **state) {
    enum { DAYS = 20, A_DAY = 100 };
    int64_t began[DAYS + 1];
    struct claim first = {0}, c;
    (void)state;
    assert_int_equal(before(clock_now_ms()), 0);
    for (int d = 0; d < DAYS; d++) {
        days_later(d);
        began[d] = clock_now_ms();
        for (int i = 0; i < A_DAY; i++) {
            char number[11];
            (void)snprintf(number, sizeof number, "%010d", d * A_DAY + i);
            c = stored(number, 1, CLAIM_RECORDED);
            assert_in_range(c.stored_ms, began[d], began[d] + 60000);
            first = d == 0 && i == 0 ? c : first;
        }
    }
    began[DAYS] = clock_now_ms() + 86400000;
    for (int d = 0; d <= DAYS; d++)
        assert_int_equal(behind(before(began[d])), (DAYS - d) * A_DAY);
    /* A change keeps its place; erased ones leave gaps. */
    room_ok(claim_update(room.partition, &first));
    room_ok(claim_get(room.partition, &first.id, &c));
    assert_int_equal(c.stored_ms, first.stored_ms);
    for (uint64_t n = first.order + 250; n < first.order + 350; n++) {
        struct list *l = fresh();
        struct erased x;
        erased_init(&x);
        room_ok(claims_in_state(room.partition, CLAIM_RECORDED, n - 1, 1, take, l));
        if (l->claim[0].order == n)
            room_ok(claim_erase(room.partition, &l->claim[0].id, &x));
        erased_fini(&x);
    }
    assert_int_equal(behind(before(began[3])), (DAYS - 3) * A_DAY - 50);
    assert_int_equal(behind(before(began[4])), (DAYS - 4) * A_DAY);
    clock_use_file(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ROOM_TEST(all_members_come_back),
        ROOM_TEST(every_version_is_kept_with_who_when_and_why),
        ROOM_TEST(claims_are_found_oldest_first),
        ROOM_TEST(the_work_list_goes_by_state_and_arrival),
        ROOM_TEST(only_outcomes_with_a_receipt_are_handed_over),
        ROOM_TEST(a_change_during_the_hand_over_stays_marked),
        ROOM_TEST(an_undone_claim_leaves_no_mark),
        ROOM_TEST(what_was_stored_since_a_day_is_found_without_the_rest),
        ROOM_TEST(erasure_takes_history_and_marks_of_that_person_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
