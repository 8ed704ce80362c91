// needs: vrs-server/second.c
/* Four eyes: who asks does not decide; a decision is made once; an approval is for one act, once, and
 * not for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/room.h"
#include "vrs-server/second.h"

static struct second_request request(const char *kind, const char *act,
                                     const struct record_id *subject) {
    struct second_request q = {.has_subject = subject != NULL};
    (void)snprintf(q.kind, sizeof q.kind, "%s", kind);
    (void)snprintf(q.act, sizeof q.act, "%s", act);
    (void)snprintf(q.reason, sizeof q.reason, "申出");
    (void)snprintf(q.asked_by, sizeof q.asked_by, "minato-1");
    if (subject != NULL)
        q.subject = *subject;
    room_ok(second_ask(room.partition, &q));
    return q;
}

static struct second_request approved(const char *kind, const char *act,
                                      const struct record_id *subject) {
    struct second_request q = request(kind, act, subject);
    room_ok(second_decide(room.partition, &q.id, true, "minato-2", "確認"));
    return q;
}

static enum vrs_err count(struct second_request *q, void *arg) {
    (void)q;
    (*(int *)arg)++;
    return VRS_OK;
}

static int listed(enum second_state s) {
    int n = 0;
    room_ok(second_list(room.partition, s, count, &n));
    return n;
}

static void who_asks_does_not_decide(void **state) {
    (void)state;
    struct second_request got, q = request("export", "ledger.csv", NULL);
    assert_int_equal(second_decide(room.partition, &q.id, true, "minato-1", "x"), ERR_FORBIDDEN);
    assert_int_equal(second_use(room.partition, "export", NULL, "ledger.csv", &got),
                     ERR_APPROVAL_REQUIRED);
    room_ok(second_decide(room.partition, &q.id, false, "minato-2", "不要"));
    assert_int_equal(second_decide(room.partition, &q.id, true, "minato-2", "x"), ERR_CONFLICT);
    room_ok(second_get(room.partition, &q.id, &got));
    assert_int_equal(got.state, SECOND_REFUSED);
    assert_string_equal(got.decided_by, "minato-2");
    assert_string_equal(got.decision_reason, "不要");
    assert_int_equal(second_use(room.partition, "export", NULL, "ledger.csv", &got),
                     ERR_APPROVAL_REQUIRED);
}

static void an_approval_is_for_one_act_and_used_once(void **state) {
    (void)state;
    struct record_id person, other;
    struct second_request got;
    record_id_new(&person);
    record_id_new(&other);
    struct second_request q = approved("erase", "resident.erase", &person);
    assert_int_equal(listed(SECOND_APPROVED), 1);
    assert_int_equal(second_use(room.partition, "erase", &other, "resident.erase", &got),
                     ERR_APPROVAL_REQUIRED);
    assert_int_equal(second_use(room.partition, "export", &person, "resident.erase", &got),
                     ERR_APPROVAL_REQUIRED);
    assert_int_equal(second_use(room.partition, "erase", &person, "other", &got),
                     ERR_APPROVAL_REQUIRED);
    assert_int_equal(second_use(room.partition, "erase", NULL, "resident.erase", &got),
                     ERR_APPROVAL_REQUIRED);
    room_ok(second_use(room.partition, "erase", &person, "resident.erase", &got));
    assert_true(record_id_equal(&got.id, &q.id));
    assert_string_equal(got.asked_by, "minato-1");
    assert_string_equal(got.decided_by, "minato-2");
    assert_int_equal(second_use(room.partition, "erase", &person, "resident.erase", &got),
                     ERR_APPROVAL_REQUIRED);
    assert_int_equal(listed(SECOND_APPROVED) + listed(SECOND_OPEN), 0);
}

static void asking_again_is_the_same_request(void **state) {
    (void)state;
    struct second_request a = request("export", "ledger.csv", NULL),
                          b = request("export", "ledger.csv", NULL),
                          c = request("export", "waiting.csv", NULL);
    assert_true(record_id_equal(&a.id, &b.id));
    assert_false(record_id_equal(&a.id, &c.id));
    assert_int_equal(listed(SECOND_OPEN), 2);
}

static char clock_path[96];

static void move_clock(int64_t seconds) {
    FILE *f = fopen(clock_path, "w");
    assert_non_null(f);
    assert_true(fprintf(f, "%lld\n", (long long)seconds) > 0);
    assert_int_equal(fclose(f), 0);
    clock_use_file(NULL);
    clock_use_file(clock_path);
}

static void nothing_is_approved_for_ever(void **state) {
    (void)state;
    enum { DAY = 86400 };
    struct second_request got;
    (void)snprintf(clock_path, sizeof clock_path, "%s/clock", room.stand.dir);
    struct second_request q = approved("export", "ledger.csv", NULL);
    struct second_request open = request("export", "waiting.csv", NULL);
    move_clock(SECOND_VALID_DAYS * DAY - 60);
    assert_int_equal(listed(SECOND_APPROVED) + listed(SECOND_OPEN), 2);
    move_clock(SECOND_VALID_DAYS * DAY + 60);
    assert_int_equal(listed(SECOND_APPROVED) + listed(SECOND_OPEN), 0);
    assert_int_equal(second_use(room.partition, "export", NULL, "ledger.csv", &got),
                     ERR_APPROVAL_REQUIRED);
    assert_int_equal(second_decide(room.partition, &open.id, true, "minato-2", "x"), ERR_CONFLICT);
    struct second_request fresh = request("export", "waiting.csv", NULL);
    assert_false(record_id_equal(&fresh.id, &open.id));
    assert_false(record_id_equal(&fresh.id, &q.id));
    clock_use_file(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ROOM_TEST(who_asks_does_not_decide),
        ROOM_TEST(an_approval_is_for_one_act_and_used_once),
        ROOM_TEST(asking_again_is_the_same_request),
        ROOM_TEST(nothing_is_approved_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
