/* The typed records: persons and coupons, claims, counters, inquiries, idempotency. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "partitions/claim.h"
#include "partitions/exchange.h"
#include "partitions/person.h"
#include "partitions/tally.h"
#include "tests/lib/stand.h"

static struct stand stand;
static struct partition *p;
static struct vrs_fault fault;

static void ok(enum vrs_err e) {
    if (e != VRS_OK)
        print_error("%s: %s\n", err_name(e), fault.text);
    assert_int_equal(e, VRS_OK);
}

static int set_up(void **state) {
    (void)state;
    stand_open(&stand, 1 << KEY_RECORDS | 1 << KEY_LOG);
    ok(partition_open(&store_sqlite, stand.partitions, "131032", stand.ring, STORE_CREATE, &p,
                      &fault));
    ok(partition_begin(p));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    partition_close(&p);
    stand_close(&stand);
    return 0;
}

static struct civil_date day(const char *text) {
    struct civil_date d;
    ok(clock_parse_date(text, &d));
    return d;
}

static struct person someone(const char *addressee, const char *name, const char *kana) {
    struct person x;
    person_init(&x);
    (void)snprintf(x.addressee, sizeof x.addressee, "%s", addressee);
    (void)snprintf(x.name, sizeof x.name, "%s", name);
    (void)snprintf(x.kana, sizeof x.kana, "%s", kana);
    x.birth = day("1962-03-04");
    x.sex = SEX_FEMALE;
    ok(person_put(p, &x));
    return x;
}

/* --- persons --- */

static void a_name_comes_back_as_it_was_written(void **state) {
    (void)state;
    struct person a = someone("1", "辻\U000e0100　髙﨑", "ツジ タカサキ"), b;
    ok(person_get(p, &a.id, &b));
    assert_string_equal(b.name, a.name);
    assert_string_equal(b.kana, a.kana);
    assert_int_equal(b.birth.days, a.birth.days);
    assert_false(person_date_set(b.moved_out_on));
    ok(person_by_addressee(p, "1", &b));
    assert_true(record_id_equal(&a.id, &b.id));
    assert_int_equal(person_by_addressee(p, "2", &b), ERR_NOT_FOUND);
    assert_int_equal(person_by_addressee(p, "", &b), ERR_NOT_FOUND);
}

static enum vrs_err count_person(struct person *x, void *arg) {
    (void)x;
    ++*(int *)arg;
    return VRS_OK;
}

static int hits(const char *kana, const char *birth) {
    int n = 0;
    ok(person_search(p, kana, day(birth), 10, count_person, &n));
    return n;
}

static void kana_is_found_by_its_beginning_in_any_form(void **state) {
    (void)state;
    (void)someone("1", "高橋 一郎", "タカハシ イチロウ");
    (void)someone("2", "髙橋 二郎", "タカハシ ジロウ"); /* a twin: born the same day */
    assert_int_equal(hits("タカハシ", "1962-03-04"), 2);
    assert_int_equal(hits("ﾀｶﾊｼ", "1962-03-04"), 2);
    assert_int_equal(hits("たかはし い", "1962-03-04"), 1);
    assert_int_equal(hits("ハシ", "1962-03-04"), 0);
    assert_int_equal(hits("タカハシ", "1962-03-05"), 0);
    assert_int_equal(hits("", "1962-03-04"), 0);
}

static void a_stale_change_is_refused(void **state) {
    (void)state;
    struct person a = someone("1", "x", "x"), old = a;
    (void)snprintf(a.address, sizeof a.address, "港区三田");
    ok(person_put(p, &a));
    assert_int_equal(a.version, 2);
    assert_int_equal(person_put(p, &old), ERR_STALE_VERSION);
}

static void a_coupon_has_one_holder(void **state) {
    (void)state;
    struct person a = someone("1", "a", "a"), b = someone("2", "b", "b");
    struct person_coupon c = {.person = a.id, .sent_on = PERSON_NO_DATE}, got;
    bool added;
    record_id_new(&c.id);
    assert_true(coupon_number_set(&c.number, "0001000007"));
    ok(coupon_add(p, &c, &added));
    assert_true(added);
    record_id_new(&c.id);
    ok(coupon_add(p, &c, &added));
    assert_false(added);
    c.person = b.id;
    assert_int_equal(coupon_add(p, &c, &added), ERR_R182);
    ok(coupon_get(p, "0001000007", &got));
    assert_true(record_id_equal(&got.person, &a.id));
    assert_int_equal(coupon_get(p, "0001000008", &got), ERR_NOT_FOUND);
}

/* --- claims --- */

static struct claim reading(const char *number, int dose, enum claim_state s) {
    struct claim c;
    claim_init(&c);
    memset(c.receipt, dose + (int)s, sizeof c.receipt);
    c.receipt[0] = (uint8_t)number[9];
    c.coupon.kind = COUPON_VACCINATION;
    c.coupon.dose_number = dose;
    assert_true(municipality_code_set(&c.coupon.municipality, "131032"));
    assert_true(coupon_number_set(&c.coupon.number, number));
    c.given = true;
    c.vaccinated_on = day("2021-07-01");
    c.state = s;
    return c;
}

static enum vrs_err count_claim(struct claim *c, void *arg) {
    (void)c;
    ++*(int *)arg;
    return VRS_OK;
}

static enum vrs_err first_lot(struct claim *c, void *arg) {
    memcpy(arg, c->lot, sizeof c->lot);
    return VRS_OK;
}

static void a_correction_keeps_what_was(void **state) {
    (void)state;
    struct claim c = reading("0001000007", 1, CLAIM_RECORDED), old;
    char lot[64] = "";
    (void)snprintf(c.lot, sizeof c.lot, "FF3620");
    ok(claim_insert(p, &c));
    old = c;
    (void)snprintf(c.lot, sizeof c.lot, "FF9942");
    ok(claim_update(p, &c));
    assert_int_equal(c.version, 2);
    ok(claim_history(p, &c.id, first_lot, lot));
    assert_string_equal(lot, "FF3620");
    assert_int_equal(claim_update(p, &old), ERR_STALE_VERSION);
    ok(claim_by_receipt(p, c.receipt, &old));
    assert_string_equal(old.lot, "FF9942");
}

static void a_receipt_has_one_claim(void **state) {
    (void)state;
    struct claim c = reading("0001000007", 1, CLAIM_RECORDED), again = c;
    record_id_new(&again.id);
    ok(claim_insert(p, &c));
    assert_int_equal(claim_insert(p, &again), ERR_CONFLICT);
}

static void the_same_number_of_two_municipalities_is_two_coupons(void **state) {
    (void)state;
    struct claim own = reading("0001000007", 1, CLAIM_RECORDED);
    struct claim foreign = reading("0001000007", 1, CLAIM_RECORDED);
    int n = 0;
    memset(foreign.receipt, 9, sizeof foreign.receipt);
    assert_true(municipality_code_set(&foreign.coupon.municipality, "462012"));
    ok(claim_insert(p, &own));
    ok(claim_insert(p, &foreign));
    ok(claims_of_turn(p, &own.coupon, count_claim, &n));
    assert_int_equal(n, 1);
    n = 0;
    ok(claims_of_coupon(p, "0001000007", count_claim, &n));
    assert_int_equal(n, 1);
}

static void the_work_list_is_read_by_state(void **state) {
    (void)state;
    int n = 0;
    struct claim a = reading("0001000001", 1, CLAIM_REVIEW);
    struct claim b = reading("0001000002", 1, CLAIM_WAITING);
    struct claim c = reading("0001000003", 1, CLAIM_RECORDED);
    ok(claim_insert(p, &a));
    ok(claim_insert(p, &b));
    ok(claim_insert(p, &c));
    ok(claims_in_state(p, CLAIM_WAITING, 0, 10, count_claim, &n));
    assert_int_equal(n, 1);
    n = 0;
    ok(claims_in_state(p, CLAIM_REVIEW, a.order, 10, count_claim, &n));
    assert_int_equal(n, 0); /* behind the cursor */
}

static void an_outcome_stays_marked_until_it_is_sent(void **state) {
    (void)state;
    int n = 0;
    struct claim c = reading("0001000001", 1, CLAIM_WAITING);
    ok(claim_insert(p, &c));
    ok(claims_unsent(p, 10, count_claim, &n));
    assert_int_equal(n, 0);
    c.state = CLAIM_RECORDED;
    c.outcome_unsent = true;
    ok(claim_update(p, &c));
    ok(claims_unsent(p, 10, count_claim, &n));
    assert_int_equal(n, 1);
    ok(claim_mark_sent(p, c.receipt));
    n = 0;
    ok(claims_unsent(p, 10, count_claim, &n));
    assert_int_equal(n, 0);
}

static void erasing_a_person_leaves_no_byte(void **state) {
    (void)state;
    static const char name[] = "消去される名前", lot[] = "LOT-TO-ERASE";
    struct person a = someone("77", name, "x");
    struct claim c = reading("0001000007", 1, CLAIM_RECORDED);
    struct erased x;
    erased_init(&x);
    c.has_person = true;
    c.person = a.id;
    (void)snprintf(c.lot, sizeof c.lot, "%s", lot);
    ok(claim_insert(p, &c));
    ok(claim_update(p, &c));
    ok(partition_commit(p));
    ok(partition_begin(p));
    ok(claims_erase_of(p, &a.id, &x));
    ok(person_erase(p, &a.id, &x));
    ok(partition_commit(p));
    ok(partition_begin(p));
    assert_int_equal(x.count[ERASED_DOSE], 1);
    erased_fini(&x);
    assert_int_equal(person_get(p, &a.id, &a), ERR_NOT_FOUND);
    assert_int_equal(claim_get(p, &c.id, &c), ERR_NOT_FOUND);
    /* Sealed or not, neither the text nor the row's id is left behind. */
    assert_false(stand_holds(stand.partitions, name, sizeof name - 1));
    assert_false(stand_holds(stand.partitions, lot, sizeof lot - 1));
}

/* --- counters --- */

static enum vrs_err sum(const char *name, int64_t value, void *arg) {
    (void)name;
    *(int64_t *)arg += value;
    return VRS_OK;
}

static void counters_add_up_and_are_sealed(void **state) {
    (void)state;
    int64_t n = 0;
    struct tally_batch *b = tally_batch_open();
    ok(tally_add(p, "doses/2021-07-01/1/comirnaty", 2));
    tally_batch_add(b, "doses/2021-07-01/1/comirnaty", 1);
    tally_batch_add(b, "doses/2021-07-02/1/comirnaty", 5);
    tally_batch_add(b, "doses/2021-07-02/1/comirnaty", -1);
    ok(tally_batch_flush(b, p));
    tally_batch_close(&b);
    ok(tally_get(p, "doses/2021-07-01/1/comirnaty", &n));
    assert_int_equal(n, 3);
    ok(tally_get(p, "absent", &n));
    assert_int_equal(n, 0);
    ok(tally_walk(p, "doses/", sum, &n));
    assert_int_equal(n, 7);
    ok(partition_commit(p));
    ok(partition_begin(p));
    assert_false(stand_holds(stand.partitions, "doses/", 6));
}

/* --- exchange --- */

static void a_result_deletes_itself(void **state) {
    (void)state;
    struct inquiry q, got;
    uint64_t n = 0;
    inquiry_init(&q);
    inquiry_init(&got);
    q.state = INQUIRY_MATCH;
    q.expires_ms = 1000;
    assert_true(buffer_puts(&q.result, "[{\"lot\":\"FF3620\"}]"));
    ok(inquiry_put(p, &q));
    ok(inquiries_expire(p, 999, &n, NULL));
    assert_int_equal(n, 0);
    ok(inquiry_get(p, &q.id, &got));
    assert_int_equal(got.result.len, q.result.len);
    ok(inquiries_expire(p, 1000, &n, NULL));
    assert_int_equal(n, 1);
    ok(inquiry_get(p, &q.id, &got));
    assert_int_equal(got.state, INQUIRY_EXPIRED);
    assert_int_equal(got.result.len, 0);
    inquiry_fini(&q);
    inquiry_fini(&got);
}

static void an_inquiry_that_was_cut_off_is_aborted(void **state) {
    (void)state;
    struct inquiry q;
    uint64_t n = 0;
    inquiry_init(&q);
    q.state = INQUIRY_OPEN;
    ok(inquiry_put(p, &q));
    ok(inquiries_abort_open(p, INT64_MAX, &n));
    assert_int_equal(n, 1);
    ok(inquiry_get(p, &q.id, &q));
    assert_int_equal(q.state, INQUIRY_ABORTED);
    inquiry_fini(&q);
}

static void a_key_has_one_body(void **state) {
    (void)state;
    static const char key[] = "0f8fad5b-d9cb-469f-a165-70867728950e";
    struct idempotent first = {0};
    bool seen;
    buffer_init(&first.answer, 1000);
    ok(idempotency_look(p, key, "body", 4, &seen, &first));
    assert_false(seen);
    ok(idempotency_keep(p, key, "body", 4, 201, "answer", 6));
    ok(idempotency_look(p, key, "body", 4, &seen, &first));
    assert_true(seen);
    assert_int_equal(first.status, 201);
    assert_int_equal(first.answer.len, 6);
    buffer_clear(&first.answer);
    assert_int_equal(idempotency_look(p, key, "other", 5, &seen, &first), ERR_KEY_REUSED);
    ok(partition_commit(p));
    ok(partition_begin(p));
    assert_false(stand_holds(stand.partitions, key, sizeof key - 1));
    buffer_fini(&first.answer);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_name_comes_back_as_it_was_written),
        CASE(kana_is_found_by_its_beginning_in_any_form),
        CASE(a_stale_change_is_refused),
        CASE(a_coupon_has_one_holder),
        CASE(a_correction_keeps_what_was),
        CASE(a_receipt_has_one_claim),
        CASE(the_same_number_of_two_municipalities_is_two_coupons),
        CASE(the_work_list_is_read_by_state),
        CASE(an_outcome_stays_marked_until_it_is_sent),
        CASE(erasing_a_person_leaves_no_byte),
        CASE(counters_add_up_and_are_sealed),
        CASE(a_result_deletes_itself),
        CASE(an_inquiry_that_was_cut_off_is_aborted),
        CASE(a_key_has_one_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
