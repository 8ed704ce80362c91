// needs: tablet-api/line.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/wire.h"
#include "tablet-api/line.h"

static struct buffer b;

static int fresh(void **state) {
    (void)state;
    buffer_init(&b, 1 << 20);
    return 0;
}

static int wiped(void **state) {
    (void)state;
    buffer_fini(&b);
    return 0;
}

static struct line_dose sample(void) {
    struct line_dose d;
    memset(&d, 0, sizeof d);
    strcpy(d.ocr_line, "211310320000012345");
    d.given = true;
    strcpy(d.vaccinated_on, "2021-07-01");
    strcpy(d.product, "comirnaty");
    strcpy(d.lot, "FF3620");
    strcpy(d.site, "港区スポーツセンター");
    strcpy(d.read_by, "ocr");
    d.read_at_ms = -1;
    strcpy(d.terminal, "tablet-1");
    strcpy(d.staff, "site-1");
    d.clock_warning = true;
    return d;
}

static void a_dose_comes_back(void **state) {
    (void)state;
    const struct line_dose d = sample();
    struct line_dose got;
    line_dose_encode(&d, &b);
    assert_int_equal(line_dose_decode(b.data, b.len, &got), VRS_OK);
    assert_memory_equal(&got, &d, sizeof d);
}

/* A record written by a later version is read by this one. */
static void records_skip_what_they_do_not_know(void **state) {
    (void)state;
    const struct line_dose d = sample();
    struct line_dose got;
    line_dose_encode(&d, &b);
    wire_put_str(&b, 99, "of the future");
    assert_int_equal(line_dose_decode(b.data, b.len, &got), VRS_OK);
    assert_string_equal(got.lot, "FF3620");
}

static void a_dose_is_refused_when(void **state) {
    (void)state;
    struct line_dose d = sample();
    struct line_dose got;
    strcpy(d.ocr_line, "21131032000001234x");
    line_dose_encode(&d, &b);
    assert_int_equal(line_dose_decode(b.data, b.len, &got), ERR_CORRUPT);
    buffer_clear(&b);
    d = sample();
    strcpy(d.ocr_line, "2113103200000123"); /* too few digits */
    line_dose_encode(&d, &b);
    assert_int_equal(line_dose_decode(b.data, b.len, &got), ERR_CORRUPT);
    buffer_clear(&b);
    d = sample();
    line_dose_encode(&d, &b);
    wire_put_str(&b, 5, "twice");
    assert_int_equal(line_dose_decode(b.data, b.len, &got), ERR_CORRUPT);
    buffer_clear(&b);
    wire_put_str(&b, 5, "alone");
    assert_int_equal(line_dose_decode(b.data, b.len, &got), ERR_CORRUPT);
    buffer_clear(&b);
    line_dose_encode(&d, &b);
    for (size_t n = 0; n < b.len; n++) { /* cut off anywhere */
        if (line_dose_decode(b.data, n, &got) == VRS_OK)
            assert_true(n == b.len - 13); /* but the last field, which is required */
    }
}

static void cancels_and_events_come_back(void **state) {
    (void)state;
    struct line_cancel c = {.receipt = {1, 2, 3}, .terminal = "t", .reason = "読み違い"};
    struct line_cancel c2;
    line_cancel_encode(&c, &b);
    assert_int_equal(line_cancel_decode(b.data, b.len, &c2), VRS_OK);
    assert_memory_equal(&c, &c2, sizeof c);
    struct line_event e = {.name = "session.opened", .staff = "site-1", .at_ms = 77};
    struct line_event e2;
    buffer_clear(&b);
    line_event_encode(&e, &b);
    assert_int_equal(line_event_decode(b.data, b.len, &e2), VRS_OK);
    assert_memory_equal(&e, &e2, sizeof e);
}

/* What a tablet sealed and what tablet-api read are told apart by their fields; the seal is bound to
 * key and municipality. */
static void relayed_readings_come_back(void **state) {
    (void)state;
    static const uint8_t sealed[] = {1, 2, 3};
    struct line_relay r = {.sealed = sealed,
                           .sealed_len = sizeof sealed,
                           .key = "01234567-89ab-cdef-0123-456789abcdef",
                           .terminal = "tablet-2",
                           .staff = "site-2"};
    struct line_relay r2;
    struct line_dose d;
    struct buffer other;
    line_relay_encode(&r, &b);
    assert_int_equal(line_relay_decode(b.data, b.len, &r2), VRS_OK);
    assert_int_equal(r2.sealed_len, sizeof sealed);
    assert_memory_equal(r2.sealed, sealed, sizeof sealed);
    assert_string_equal(r2.key, r.key);
    assert_string_equal(r2.terminal, "tablet-2");
    assert_string_equal(r2.staff, "site-2");
    assert_int_equal(line_dose_decode(b.data, b.len, &d), ERR_CORRUPT);
    assert_int_equal(line_relay_decode(b.data, b.len - 1, &r2), ERR_CORRUPT);
    buffer_clear(&b);
    d = (struct line_dose){.ocr_line = "211310320001000007", .vaccinated_on = "2021-07-01"};
    line_dose_encode(&d, &b);
    assert_int_equal(line_relay_decode(b.data, b.len, &r2), ERR_CORRUPT);
    buffer_init(&other, 256);
    buffer_clear(&b);
    line_relay_aad(r.key, "131032", &b);
    line_relay_aad(r.key, "142051", &other);
    assert_int_equal(b.len, other.len);
    assert_memory_not_equal(b.data, other.data, b.len);
    buffer_fini(&other);
}

static struct line_entry entry_of(uint64_t seq) {
    static const uint8_t sealed[] = "sealed bytes";
    return (struct line_entry){.seq = seq,
                               .epoch = 9,
                               .kind = LINE_DOSE,
                               .receipt = {7, (uint8_t)seq},
                               .municipality = "131032",
                               .received_ms = 1625097600000,
                               .sealed = sealed,
                               .sealed_len = sizeof sealed};
}

static enum vrs_err see_entry(const struct line_entry *e, void *arg) {
    uint64_t *n = arg;
    const struct line_entry want = entry_of(e->seq);
    n[0]++;
    assert_memory_equal(e->receipt, want.receipt, sizeof want.receipt);
    assert_string_equal(e->municipality, "131032");
    assert_int_equal(e->sealed_len, want.sealed_len);
    assert_memory_equal(e->sealed, want.sealed, want.sealed_len);
    return e->seq == 3 ? ERR_MEMORY : VRS_OK;
}

static enum vrs_err see_query(const struct line_query *q, void *arg) {
    uint64_t *n = arg;
    n[1]++;
    assert_true(q->id == 42);
    assert_string_equal(q->municipality, "462012");
    assert_string_equal(q->from, "4a1f");
    assert_int_equal(q->kind, LINE_QUERY_RENEW);
    return VRS_OK;
}

static void a_pull_comes_back(void **state) {
    (void)state;
    const struct line_pulled_head head = {.snapshot_version = 5, .depth = 2, .oldest_ms = -1};
    const struct line_query q = {.id = 42,
                                 .kind = LINE_QUERY_RENEW,
                                 .municipality = "462012",
                                 .from = "4a1f",
                                 .sealed = (const uint8_t *)"x",
                                 .sealed_len = 1};
    struct line_pulled_head got;
    uint64_t n[2] = {0, 0};
    line_pulled_begin(&head, &b);
    for (uint64_t seq = 1; seq <= 2; seq++) {
        const struct line_entry e = entry_of(seq);
        line_pulled_entry(&e, &b);
    }
    line_pulled_query(&q, &b);
    assert_int_equal(line_pulled_decode(b.data, b.len, &got, see_entry, see_query, n), VRS_OK);
    assert_memory_equal(&got, &head, sizeof head);
    assert_true(n[0] == 2 && n[1] == 1);
    assert_int_equal(line_pulled_decode(b.data, b.len, &got, NULL, NULL, NULL), VRS_OK);
    const struct line_entry stop = entry_of(3);
    line_pulled_entry(&stop, &b);
    assert_int_equal(line_pulled_decode(b.data, b.len, &got, see_entry, see_query, n), ERR_MEMORY);
}

static enum vrs_err see_result(const struct line_result *r, void *arg) {
    struct line_result *out = arg;
    *out = *r;
    return VRS_OK;
}

static void see_receipt(const uint8_t receipt[LINE_RECEIPT_BYTES], void *arg) {
    memcpy(arg, receipt, LINE_RECEIPT_BYTES);
}

static void see_answer(const struct line_answer *a, void *arg) {
    struct line_answer *out = arg;
    *out = *a;
}

static void outcomes_and_answers_come_back(void **state) {
    (void)state;
    const struct line_result r = {
        .receipt = {1}, .outcome = LINE_CONFLICT, .dose_id = "ab", .warnings = "a b"};
    struct line_result got;
    line_outcomes_begin(&b);
    line_outcomes_add(&r, &b);
    assert_int_equal(line_outcomes_decode(b.data, b.len, see_result, &got), VRS_OK);
    assert_memory_equal(&r, &got, sizeof r);
    buffer_clear(&b);
    uint8_t receipt[LINE_RECEIPT_BYTES] = {0};
    line_acked_begin(&b);
    line_acked_add(r.receipt, &b);
    assert_int_equal(line_acked_decode(b.data, b.len, see_receipt, receipt), VRS_OK);
    assert_memory_equal(receipt, r.receipt, sizeof receipt);
    buffer_clear(&b);
    struct line_answer given = {.id = UINT64_MAX, .status = LINE_COUPON_MOVED_OUT}, answer;
    line_answers_begin(&b);
    line_answers_add(&given, &b);
    assert_int_equal(line_answers_decode(b.data, b.len, see_answer, &answer), VRS_OK);
    assert_true(answer.id == UINT64_MAX && answer.status == LINE_COUPON_MOVED_OUT);
    assert_true(answer.len == 0 && answer.refusal[0] == '\0');
    buffer_clear(&b);
    given = (struct line_answer){.id = 7, .body = (const uint8_t *)"{}", .len = 2};
    line_answers_begin(&b);
    line_answers_add(&given, &b);
    assert_int_equal(line_answers_decode(b.data, b.len, see_answer, &answer), VRS_OK);
    assert_true(answer.id == 7 && answer.status == 0 && answer.len == 2);
    assert_memory_equal(answer.body, "{}", 2);
}

static void proofs_are_bounded(void **state) {
    (void)state;
    static uint8_t proof[LINE_MAX_PROOF + 1];
    static const size_t good[] = {LINE_COMMITMENT_BYTES + 1, LINE_MAX_PROOF};
    static const size_t bad[] = {1, LINE_COMMITMENT_BYTES, LINE_MAX_PROOF + 1};
    struct line_result r = {.receipt = {1}, .outcome = LINE_RECORDED, .proof = proof}, got;
    memset(proof, 7, sizeof proof);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        r.proof_len = good[i];
        line_outcomes_begin(&b);
        line_outcomes_add(&r, &b);
        assert_int_equal(line_outcomes_decode(b.data, b.len, see_result, &got), VRS_OK);
        assert_true(got.proof_len == good[i]);
        assert_memory_equal(got.proof, proof, good[i]);
        buffer_clear(&b);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        r.proof_len = bad[i];
        line_outcomes_begin(&b);
        line_outcomes_add(&r, &b);
        assert_int_equal(line_outcomes_decode(b.data, b.len, see_result, &got), ERR_PROTOCOL);
        buffer_clear(&b);
    }
}

static enum vrs_err see_head(const uint8_t *head, size_t len, void *arg) {
    assert_true(len == 4 && memcmp(head, "head", 4) == 0);
    ++*(int *)arg;
    return VRS_OK;
}

static void checkpoints_come_back(void **state) {
    (void)state;
    int n = 0;
    line_checkpoints_begin(&b);
    line_checkpoints_add("head", 4, &b);
    line_checkpoints_add("head", 4, &b);
    assert_int_equal(line_checkpoints_decode(b.data, b.len, see_head, &n), VRS_OK);
    assert_int_equal(n, 2);
    wire_put_u64(&b, 6, 1);
    assert_int_equal(line_checkpoints_decode(b.data, b.len, see_head, &n), ERR_PROTOCOL);
}

static void a_query_is_sealed_for_its_kind_and_sender(void **state) {
    (void)state;
    struct line_query q = {.id = 1, .kind = LINE_QUERY_ENROL, .from = "203.0.113.9"};
    struct buffer other;
    line_query_aad(&q, &b);
    for (int change = 0; change < 3; change++) {
        struct line_query r = q;
        if (change == 0)
            r.id++;
        else if (change == 1)
            r.kind = LINE_QUERY_RENEW;
        else
            r.from[0] = '1';
        buffer_init(&other, 256);
        line_query_aad(&r, &other);
        assert_false(other.len == b.len && memcmp(other.data, b.data, b.len) == 0);
        buffer_fini(&other);
    }
    buffer_clear(&b);
    const struct line_enrolment e = {.code = "AAAAA", .request_pem = "-----BEGIN\n"};
    struct line_enrolment back;
    line_enrolment_encode(&e, &b);
    assert_int_equal(line_enrolment_decode(b.data, b.len, &back), VRS_OK);
    assert_memory_equal(&e, &back, sizeof e);
}

static void questions_come_back(void **state) {
    (void)state;
    const struct line_pull p = {.after_seq = 1, .max = 2, .wait_ms = 3};
    const struct line_replay r = {.municipality = "131032", .after_seq = 4, .max = 5};
    struct line_pull p2;
    struct line_replay r2;
    line_pull_encode(&p, &b);
    assert_int_equal(line_pull_decode(b.data, b.len, &p2), VRS_OK);
    assert_memory_equal(&p, &p2, sizeof p);
    assert_int_equal(line_replay_decode(b.data, b.len, &r2), ERR_PROTOCOL);
    buffer_clear(&b);
    line_replay_encode(&r, &b);
    assert_int_equal(line_replay_decode(b.data, b.len, &r2), VRS_OK);
    assert_memory_equal(&r, &r2, sizeof r);
    wire_put_u64(&b, 9, 1);
    assert_int_equal(line_replay_decode(b.data, b.len, &r2), ERR_PROTOCOL);
}

/* Between processes nothing is guessed: an unknown field or type ends the talk. */
static void messages_are_strict(void **state) {
    (void)state;
    struct line_result got;
    line_outcomes_begin(&b);
    size_t mark = wire_begin(&b, 5);
    wire_put(&b, 1, "0123456789abcdef", 16);
    wire_put_u64(&b, 2, 77); /* no such outcome */
    wire_end(&b, mark);
    assert_int_equal(line_outcomes_decode(b.data, b.len, see_result, &got), ERR_PROTOCOL);
    buffer_clear(&b);
    line_outcomes_begin(&b);
    wire_put_u64(&b, 6, 1);
    assert_int_equal(line_outcomes_decode(b.data, b.len, see_result, &got), ERR_PROTOCOL);
    assert_int_equal(line_outcomes_decode("", 0, see_result, &got), ERR_PROTOCOL);
    assert_int_equal(line_acked_decode(b.data, b.len, see_receipt, &got), ERR_PROTOCOL);
}

static void the_aad_binds_what_is_in_clear(void **state) {
    (void)state;
    struct line_entry e = entry_of(1);
    struct buffer other;
    buffer_init(&other, 1024);
    line_aad(&e, &b);
    e.seq = 2;
    e.epoch = 10;
    line_aad(&e, &other); /* the inbox's own numbers are not bound: sealed before they are known */
    assert_int_equal(b.len, other.len);
    assert_memory_equal(b.data, other.data, b.len);
    for (int i = 0; i < 4; i++) {
        struct line_entry changed = entry_of(1);
        if (i == 0)
            changed.kind = LINE_CANCEL;
        else if (i == 1)
            changed.receipt[15] ^= 1;
        else if (i == 2)
            changed.municipality[0] = '2';
        else
            changed.received_ms++;
        buffer_clear(&other);
        line_aad(&changed, &other);
        assert_true(other.len != b.len || memcmp(other.data, b.data, b.len) != 0);
    }
    buffer_fini(&other);
}

static void outcomes_have_names(void **state) {
    (void)state;
    assert_string_equal(line_outcome_name(LINE_WAITING_FOR_COUPON), "waiting_for_coupon");
    assert_string_equal(line_outcome_name(LINE_RECORDED_FOR_REVIEW), "recorded_for_review");
    assert_false(line_outcome_final(LINE_PENDING));
    assert_false(line_outcome_final(LINE_WAITING_FOR_COUPON));
    assert_true(line_outcome_final(LINE_DUPLICATE));
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, wiped)
    const struct CMUnitTest tests[] = {
        TEST(a_dose_comes_back),
        TEST(records_skip_what_they_do_not_know),
        TEST(a_dose_is_refused_when),
        TEST(cancels_and_events_come_back),
        TEST(relayed_readings_come_back),
        TEST(a_pull_comes_back),
        TEST(outcomes_and_answers_come_back),
        TEST(proofs_are_bounded),
        TEST(checkpoints_come_back),
        TEST(a_query_is_sealed_for_its_kind_and_sender),
        TEST(questions_come_back),
        TEST(messages_are_strict),
        TEST(the_aad_binds_what_is_in_clear),
        TEST(outcomes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
