#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crypto.h"
#include "partitions/exchange.h"
#include "tests/lib/room.h"

/* --- inquiries --- */

static void ask(struct inquiry *q, enum inquiry_state s, int64_t expires_ms, const char *result) {
    inquiry_init(q);
    q->state = s;
    q->expires_ms = expires_ms;
    (void)snprintf(q->from_municipality, sizeof q->from_municipality, "462012");
    (void)snprintf(q->basis_document, sizeof q->basis_document, "同意書 第12号");
    assert_true(buffer_puts(&q->result, result));
    room_ok(inquiry_put(room.partition, q));
}

static enum inquiry_state state_of(const struct inquiry *q, size_t *result_len) {
    struct inquiry got;
    inquiry_init(&got);
    room_ok(inquiry_get(room.partition, &q->id, &got));
    enum inquiry_state s = got.state;
    *result_len = got.result.len;
    inquiry_fini(&got);
    return s;
}

static void an_inquiry_comes_back_and_changes(void **state) {
    (void)state;
    struct inquiry q, got, stale;
    ask(&q, INQUIRY_OPEN, 0, "");
    assert_int_equal(q.version, 1);
    inquiry_init(&stale);
    inquiry_init(&got);
    room_ok(inquiry_get(room.partition, &q.id, &stale));
    q.state = INQUIRY_MATCH;
    q.has_person = true;
    record_id_new(&q.person);
    assert_true(buffer_puts(&q.result, "[1,2,3]"));
    room_ok(inquiry_put(room.partition, &q));
    assert_int_equal(inquiry_put(room.partition, &stale), ERR_STALE_VERSION);
    room_commit();
    room_ok(inquiry_get(room.partition, &q.id, &got));
    assert_true(got.version == 2 && got.state == INQUIRY_MATCH && got.has_person);
    assert_true(record_id_equal(&got.person, &q.person));
    assert_string_equal(got.from_municipality, "462012");
    assert_string_equal(got.basis_document, "同意書 第12号");
    assert_int_equal(got.result.len, 7);
    assert_memory_equal(got.result.data, "[1,2,3]", 7);
    record_id_new(&stale.id);
    assert_int_equal(inquiry_get(room.partition, &stale.id, &got), ERR_NOT_FOUND);
    inquiry_fini(&q);
    inquiry_fini(&got);
    inquiry_fini(&stale);
}

/* C88: the result goes, not even its seal stays in the file; the row stays without it. */
static void a_result_is_gone_when_its_time_has_come(void **state) {
    (void)state;
    struct inquiry due, later, kept, taken, none;
    struct room_seal due_seal, later_seal;
    uint64_t n = 0;
    size_t len = 0;
    ask(&due, INQUIRY_MATCH, 1000, "[{\"lot\":\"FF3620\",\"date\":\"2021-07-01\"}]");
    ask(&later, INQUIRY_MATCH, 2000, "[{\"lot\":\"FF3621\",\"date\":\"2021-07-01\"}]");
    ask(&kept, INQUIRY_MATCH, 0, "[]");
    ask(&taken, INQUIRY_TAKEN_OVER, 999, "[{\"lot\":\"FF3622\"}]");
    ask(&none, INQUIRY_NO_MATCH, 0, "");
    room_commit();
    room_keep(TABLE_INQUIRY, &due.id, &due_seal);
    room_keep(TABLE_INQUIRY, &later.id, &later_seal);
    room_ok(inquiries_expire(room.partition, 998, &n, NULL));
    assert_int_equal(n, 0);
    room_ok(inquiries_expire(room.partition, 1000, &n, NULL));
    assert_int_equal(n, 2);
    room_ok(inquiries_expire(room.partition, 1000, &n, NULL));
    assert_int_equal(n, 0);
    assert_int_equal(state_of(&due, &len), INQUIRY_EXPIRED);
    assert_int_equal(len, 0);
    assert_int_equal(state_of(&taken, &len), INQUIRY_EXPIRED);
    assert_int_equal(len, 0);
    assert_int_equal(state_of(&later, &len), INQUIRY_MATCH);
    assert_int_equal(len, later.result.len);
    assert_int_equal(state_of(&kept, &len), INQUIRY_MATCH);
    assert_int_equal(state_of(&none, &len), INQUIRY_NO_MATCH);
    room_close();
    assert_false(room_holds(&due_seal));
    assert_true(room_holds(&later_seal));
    inquiry_fini(&due);
    inquiry_fini(&later);
    inquiry_fini(&kept);
    inquiry_fini(&taken);
    inquiry_fini(&none);
}

static void expiry_goes_over_pages(void **state) {
    (void)state;
    uint64_t n = 0;
    for (int i = 0; i < 1201; i++) {
        struct inquiry q;
        ask(&q, INQUIRY_MATCH, i % 2 == 0 ? 1000 : 3000, "[]");
        inquiry_fini(&q);
    }
    room_ok(inquiries_expire(room.partition, 2000, &n, NULL));
    assert_int_equal(n, 601);
    room_ok(inquiries_expire(room.partition, 3000, &n, NULL));
    assert_int_equal(n, 600);
}

static enum vrs_err count_inquiry(struct inquiry *q, void *arg) {
    (void)q;
    ++*(int *)arg;
    return VRS_OK;
}

static void only_open_inquiries_are_aborted(void **state) {
    (void)state;
    struct inquiry open, pending;
    uint64_t n = 0;
    size_t len;
    int listed = 0;
    ask(&open, INQUIRY_OPEN, 0, "");
    ask(&pending, INQUIRY_PENDING, 0, "");
    room_ok(inquiries_abort_open(room.partition, INT64_MAX, &n));
    assert_int_equal(n, 1);
    assert_int_equal(state_of(&open, &len), INQUIRY_ABORTED);
    assert_int_equal(state_of(&pending, &len), INQUIRY_PENDING);
    room_ok(inquiries_abort_open(room.partition, INT64_MAX, &n));
    assert_int_equal(n, 0);
    room_ok(inquiries_in_state(room.partition, INQUIRY_PENDING, 10, count_inquiry, &listed));
    assert_int_equal(listed, 1);
    inquiry_fini(&open);
    inquiry_fini(&pending);
}

/* --- held inquiries --- */

static enum vrs_err take_held(struct held_inquiry *h, void *arg) {
    *(struct held_inquiry *)arg = *h;
    return VRS_OK;
}

static void a_held_inquiry_waits_and_is_decided_once(void **state) {
    (void)state;
    struct held_inquiry h = {.state = 1, .asked_ms = 5}, stale, seen = {0};
    record_id_new(&h.id);
    record_id_new(&h.inquiry);
    record_id_new(&h.person);
    (void)snprintf(h.asker, sizeof h.asker, "462012");
    room_ok(held_put(room.partition, &h));
    room_ok(held_list(room.partition, 1, 10, take_held, &seen));
    assert_true(record_id_equal(&seen.id, &h.id) && record_id_equal(&seen.inquiry, &h.inquiry));
    assert_true(record_id_equal(&seen.person, &h.person));
    assert_string_equal(seen.asker, "462012");
    stale = h;
    h.state = 2;
    (void)snprintf(h.decided_by, sizeof h.decided_by, "minato-01");
    room_ok(held_put(room.partition, &h));
    stale.state = 3;
    assert_int_equal(held_put(room.partition, &stale), ERR_STALE_VERSION);
    memset(&seen, 0, sizeof seen);
    room_ok(held_list(room.partition, 1, 10, take_held, &seen));
    assert_int_equal(seen.state, 0);
    room_ok(held_get(room.partition, &h.id, &seen));
    assert_true(seen.state == 2 && seen.version == 2);
    assert_string_equal(seen.decided_by, "minato-01");
}

/* --- 情報提供等の記録 --- */

struct provisions {
    size_t count;
    struct provision list[4];
};

static enum vrs_err take_provision(const struct provision *v, void *arg) {
    struct provisions *l = arg;
    assert_true(l->count < 4);
    l->list[l->count++] = *v;
    return VRS_OK;
}

/* C71: the sequence tells the order, whatever the clock did. */
static void provisions_keep_their_order_when_the_clock_steps_back(void **state) {
    (void)state;
    struct provisions l = {0};
    const int64_t clock[] = {5000, 4000, 6000};
    for (size_t i = 0; i < 3; i++) {
        struct provision v = {.at_ms = clock[i], .asked_here = i == 1, .doses = i};
        record_id_new(&v.id);
        (void)snprintf(v.result, sizeof v.result, "match");
        v.has_person = i == 2;
        if (v.has_person)
            record_id_new(&v.person);
        room_ok(provision_add(room.partition, &v));
        assert_int_equal(v.sequence, i + 1);
    }
    room_commit();
    room_ok(provisions_read(room.partition, 0, 2, take_provision, &l));
    assert_int_equal(l.count, 2);
    room_ok(provisions_read(room.partition, 2, 2, take_provision, &l));
    assert_int_equal(l.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(l.list[i].sequence == i + 1 && l.list[i].at_ms == clock[i]);
        assert_true(l.list[i].doses == i && l.list[i].asked_here == (i == 1));
    }
}

/* --- idempotency --- */

static const char key[] = "0f8fad5b-d9cb-469f-a165-70867728950e";

static void the_first_answer_is_kept_under_key_and_body(void **state) {
    (void)state;
    struct idempotent first = {0};
    bool seen = true;
    uint8_t plain[32];
    buffer_init(&first.answer, 1000);
    room_ok(idempotency_look(room.partition, key, "body", 4, &seen, &first));
    assert_false(seen);
    room_ok(idempotency_keep(room.partition, key, "body", 4, 201, "answer", 6));
    room_close();
    room_open();
    room_ok(idempotency_look(room.partition, key, "body", 4, &seen, &first));
    assert_true(seen && first.status == 201 && first.answer.len == 6);
    assert_memory_equal(first.answer.data, "answer", 6);
    buffer_clear(&first.answer);
    assert_int_equal(idempotency_look(room.partition, key, "Body", 4, &seen, &first),
                     ERR_KEY_REUSED);
    assert_int_equal(first.answer.len, 0); /* another body's answer is not shown */
    assert_int_equal(idempotency_look(room.partition, key, "body", 3, &seen, &first),
                     ERR_KEY_REUSED);
    assert_int_equal(idempotency_keep(room.partition, key, "other", 5, 201, "x", 1), ERR_CONFLICT);
    partition_rollback(room.partition);
    room_ok(partition_begin(room.partition));
    room_ok(idempotency_look(room.partition, "another key", "body", 4, &seen, &first));
    assert_false(seen);
    room_close();
    /* Neither the key nor a plain hash of the body is stored. */
    assert_false(stand_holds(room.stand.partitions, key, sizeof key - 1));
    crypto_sha256("body", 4, plain);
    assert_false(stand_holds(room.stand.partitions, plain, sizeof plain));
    crypto_hmac_sha256(key, sizeof key - 1, "body", 4, plain);
    assert_false(stand_holds(room.stand.partitions, plain, sizeof plain));
    buffer_fini(&first.answer);
}

static void an_undone_request_leaves_no_answer(void **state) {
    (void)state;
    struct idempotent first = {0};
    bool seen;
    buffer_init(&first.answer, 1000);
    room_ok(partition_savepoint(room.partition));
    room_ok(idempotency_keep(room.partition, key, NULL, 0, 204, NULL, 0));
    room_ok(idempotency_look(room.partition, key, NULL, 0, &seen, &first));
    assert_true(seen && first.status == 204 && first.answer.len == 0);
    room_ok(partition_rollback_to(room.partition));
    room_ok(idempotency_look(room.partition, key, NULL, 0, &seen, &first));
    assert_false(seen);
    buffer_fini(&first.answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ROOM_TEST(an_inquiry_comes_back_and_changes),
        ROOM_TEST(a_result_is_gone_when_its_time_has_come),
        ROOM_TEST(expiry_goes_over_pages),
        ROOM_TEST(only_open_inquiries_are_aborted),
        ROOM_TEST(a_held_inquiry_waits_and_is_decided_once),
        ROOM_TEST(provisions_keep_their_order_when_the_clock_steps_back),
        ROOM_TEST(the_first_answer_is_kept_under_key_and_body),
        ROOM_TEST(an_undone_request_leaves_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
