// needs: tablet-api/intake.c tablet-api/warning.c tablet-api/line.c
/* What tablet-api refuses by itself, and what it must let pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tablet-api/intake.h"
#include "tablet-api/warning.h"

static struct municipality_list *municipalities;
static struct vaccine_list *vaccines;
static struct intake_rules rules;
static struct intake in;
static struct intake_refusal no;

static int setup(void **state) {
    struct vrs_fault fault = {0};
    (void)state;
    if (municipality_list_open("data/municipalities.csv", &municipalities, &fault) != VRS_OK ||
        vaccine_list_open("data/vaccines.json", &vaccines, &fault) != VRS_OK)
        return -1;
    rules.municipalities = municipalities;
    rules.vaccines = vaccines;
    rules.clock_tolerance_ms = 120000;
    return clock_parse_rfc3339("2021-07-01T14:59:00Z", &rules.now_ms) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    municipality_list_close(&municipalities);
    vaccine_list_close(&vaccines);
    return 0;
}

static enum vrs_err read_text(const char *text, const char *date) {
    return intake_read(&rules, text, strlen(text), false, date, &in, &no);
}

/* A valid reading with one member more or other. */
static enum vrs_err with(const char *members) {
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "{\"ocr_line\":\"211310320000012345\",\"site\":\"会場\",\"read_by\":\"ocr\",%s}",
                   members);
    return read_text(text, NULL);
}

#define GIVEN "\"status\":\"given\","
#define DAY "\"vaccinated_on\":\"2021-07-01\","
#define SHOT "\"product\":\"comirnaty\",\"lot\":\"FF3620\""

static void a_reading_is_taken_as_it_is(void **state) {
    (void)state;
    assert_int_equal(with(GIVEN DAY SHOT ",\"physician\":\"髙﨑 辻󠄀\""), VRS_OK);
    assert_string_equal(in.dose.ocr_line, "211310320000012345");
    assert_string_equal(in.municipality, "131032");
    assert_string_equal(in.dose.physician, "髙﨑 辻󠄀");
    assert_string_equal(in.dose.lot, "FF3620");
    assert_true(in.dose.given && in.dose.read_at_ms == -1 && !in.dose.clock_warning);
}

/* The server's Japanese day decides: 14:59 UTC is 23:59 in Japan, a minute later it is tomorrow. */
static void the_future_begins_at_midnight_in_japan(void **state) {
    (void)state;
    const struct intake_rules before = rules;
    assert_int_equal(with(GIVEN SHOT ",\"vaccinated_on\":\"2021-07-02\""), ERR_R112);
    assert_string_equal(no.fault.text, "vaccinated_on");
    rules.now_ms += 60000;
    assert_int_equal(with(GIVEN SHOT ",\"vaccinated_on\":\"2021-07-02\""), VRS_OK);
    assert_int_equal(with(GIVEN SHOT ",\"vaccinated_on\":\"20210702\""), VRS_OK);
    assert_string_equal(in.dose.vaccinated_on, "2021-07-02");
    rules = before;
}

/* Rule 3: what only the inside can judge is never refused here. */
static void what_the_inside_must_judge_passes(void **state) {
    (void)state;
    assert_int_equal(with(GIVEN SHOT ",\"vaccinated_on\":\"1950-01-01\""), VRS_OK);
    assert_int_equal(with(GIVEN DAY "\"product\":\"comirnaty\",\"lot\":\"no such lot\""), VRS_OK);
    assert_int_equal(with("\"status\":\"not_given\"," DAY SHOT), VRS_OK);
    assert_int_equal(with("\"status\":\"not_given\",\"vaccinated_on\":\"2021-07-01\""), VRS_OK);
}

static void what_can_be_seen_alone_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *members;
        enum vrs_err e;
        const char *field;
    } cases[] = {
        {DAY SHOT, ERR_MISSING_FIELD, "status"},
        {GIVEN SHOT, ERR_MISSING_FIELD, "vaccinated_on"},
        {GIVEN DAY "\"lot\":\"FF3620\"", ERR_R132, "product"},
        {GIVEN DAY "\"product\":\"comirnaty\"", ERR_R130, "lot"},
        {GIVEN DAY "\"product\":\"comirnaty\",\"lot\":\" 　\"", ERR_R130, "lot"},
        {GIVEN DAY SHOT ",\"extra\":1", ERR_UNKNOWN_FIELD, "extra"},
        {GIVEN DAY SHOT ",\"coupon\":{}", ERR_BAD_FIELD, "coupon"},
        {GIVEN DAY SHOT ",\"read_at\":\"2021-07-01\"", ERR_BAD_FIELD, "read_at"},
        {"\"status\":\"Given\"," DAY SHOT, ERR_BAD_FIELD, "status"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(with(cases[i].members), cases[i].e);
        assert_string_equal(no.fault.text, cases[i].field);
    }
    assert_int_equal(read_text("", NULL), ERR_BAD_JSON);
    assert_int_equal(read_text("[]", NULL), ERR_BAD_REQUEST);
    assert_int_equal(
        read_text("{\"status\":\"given\",\"site\":\"s\",\"read_by\":\"ocr\"," DAY SHOT "}", NULL),
        ERR_MISSING_FIELD);
}

static void a_misread_line_has_candidates(void **state) {
    (void)state;
    struct coupon c;
    memset(&no, 0, sizeof no);
    assert_int_equal(intake_line(&rules, "21131032000001234O", &c, &no), ERR_R104);
    assert_true(no.repairable && no.candidates > 0);
    assert_string_equal(no.candidate[0].line, "211310320000012340");
    json_t *extra = intake_extra(&no);
    json_t *first = json_array_get(json_object_get(extra, "candidates"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "ocr_line")),
                        "211310320000012340");
    assert_int_equal(json_integer_value(json_object_get(first, "changes")), 1);
    assert_null(strstr(no.fault.text, "1234")); /* the line itself is in no fault text */
    json_decref(extra);
}

static void the_coupon_in_parts(void **state) {
    (void)state;
#define PARTS(kind, dose, code, number)                                                            \
    "{\"site\":\"s\",\"read_by\":\"manual\"," GIVEN DAY SHOT ",\"coupon\":{\"kind\":" kind         \
    ",\"dose_number\":" dose ",\"municipality_code\":" code ",\"coupon_number\":" number "}}"
    assert_int_equal(read_text(PARTS("\"2\"", "3", "\"131032\"", "\"0000012345\""), NULL), VRS_OK);
    assert_string_equal(in.dose.ocr_line, "231310320000012345");
    assert_int_equal(read_text(PARTS("2", "\"３\"", "\"131032\"", "\"0000012345\""), NULL), VRS_OK);
    assert_int_equal(read_text(PARTS("1", "3", "\"131032\"", "\"0000012345\""), NULL), ERR_R107);
    assert_int_equal(read_text(PARTS("2", "3", "131032", "\"0000012345\""), NULL), ERR_BAD_FIELD);
    assert_int_equal(read_text(PARTS("2", "0", "\"131032\"", "\"0000012345\""), NULL), ERR_R120);
    assert_int_equal(read_text(PARTS("2", "3", "\"131032\"", "\"12345\""), NULL), ERR_R101);
    assert_string_equal(no.fault.text, "coupon_number");
    assert_int_equal(read_text(PARTS("2", "3", "\"13103\"", "\"0000012345\""), NULL), ERR_R102);
}

static void a_wrong_clock_is_noticed(void **state) {
    (void)state;
    char text[512];
    static const struct {
        const char *date;
        const char *read_at;
        bool wrong;
    } cases[] = {
        {"Thu, 01 Jul 2021 14:58:00 GMT", "2021-07-01T14:57:59Z", false},
        {"Thu, 01 Jul 2021 14:50:00 GMT", "2021-07-01T14:49:00Z", true},
        {"Thu, 01 Jul 2021 15:10:00 GMT", "2021-07-01T15:10:00Z", true},
        {"Thu, 01 Jul 2021 14:59:00 GMT", "2021-07-01T15:10:00Z", true},
        {"Thu, 01 Jul 2021 14:59:00 GMT", "2021-06-01T09:00:00+09:00", false}, /* posted late */
        {"nonsense", "2021-07-01T14:59:30Z", false},
        {NULL, "2021-07-01T14:59:30Z", false},
        {NULL, "2021-07-01T15:30:00Z", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)snprintf(text, sizeof text,
                       "{\"ocr_line\":\"211310320000012345\",\"site\":\"s\",\"read_by\":\"qr\","
                       "\"read_at\":\"%s\"," GIVEN DAY SHOT "}",
                       cases[i].read_at);
        assert_int_equal(read_text(text, cases[i].date), VRS_OK);
        assert_int_equal(in.dose.clock_warning, cases[i].wrong);
    }
}

static void keys_are_uuids_of_any_version(void **state) {
    (void)state;
    char key[INTAKE_KEY_SIZE];
    assert_true(intake_key("01890A5D-AC96-774B-BCCE-B302099A8057", key));
    assert_string_equal(key, "01890a5d-ac96-774b-bcce-b302099a8057");
    assert_false(intake_key(NULL, key));
    assert_false(intake_key("", key));
    assert_false(intake_key("01890a5dac96774bbcceb302099a8057", key));
    assert_false(intake_key("01890a5d-ac96-774b-bcce-b302099a805g", key));
    assert_false(intake_key("{1890a5d-ac96-774b-bcce-b302099a8057", key));
}

static void macs_know_what_is_the_same_body(void **state) {
    (void)state;
    uint8_t a[32], b[32];
    struct line_cancel c = {.reason = "x"};
    assert_int_equal(with(GIVEN DAY SHOT), VRS_OK);
    intake_dose_mac("key", &in.dose, a);
    assert_int_equal(with(SHOT "," DAY "\"status\" : \"given\""), VRS_OK);
    strcpy(in.dose.staff, "someone else");
    in.dose.clock_warning = true;
    intake_dose_mac("key", &in.dose, b);
    assert_memory_equal(a, b, 32);
    intake_dose_mac("other key", &in.dose, b);
    assert_memory_not_equal(a, b, 32);
    strcpy(in.dose.lot, "FF3621");
    intake_dose_mac("key", &in.dose, b);
    assert_memory_not_equal(a, b, 32);
    intake_cancel_mac("key", &c, b);
    assert_memory_not_equal(a, b, 32);
    intake_key_hash("key", "tablet-1", a);
    intake_key_hash("key", "tablet-2", b);
    assert_memory_not_equal(a, b, 32);
}

static void batch_items_carry_their_key(void **state) {
    (void)state;
    const char *text =
        "{\"idempotency_key\":\"01890a5d-ac96-774b-bcce-b302099a8057\","
        "\"ocr_line\":\"211310320000012345\",\"site\":\"s\",\"read_by\":\"punch\"," GIVEN DAY SHOT
        "}";
    assert_int_equal(intake_read(&rules, text, strlen(text), true, NULL, &in, &no), VRS_OK);
    assert_string_equal(in.key, "01890a5d-ac96-774b-bcce-b302099a8057");
    assert_int_equal(intake_read(&rules, text, strlen(text), false, NULL, &in, &no),
                     ERR_UNKNOWN_FIELD);
}

static void warnings_have_texts(void **state) {
    (void)state;
    struct warning_list *l = NULL;
    struct vrs_fault fault = {0};
    struct buffer b;
    buffer_init(&b, 4096);
    assert_int_equal(warning_list_open("data/rules.json", &l, &fault), VRS_OK);
    warning_write(l, "", &b);
    assert_string_equal(buffer_cstr(&b), "[]");
    buffer_clear(&b);
    warning_write(l, "interval_short  strange\"name", &b);
    json_t *doc = NULL;
    assert_int_equal(json_parse(b.data, b.len, &doc, &fault), VRS_OK);
    assert_int_equal(json_array_size(doc), 2);
    for (size_t i = 0; i < 2; i++)
        assert_true(json_string_length(json_object_get(json_array_get(doc, i), "detail")) > 0);
    json_decref(doc);
    buffer_fini(&b);
    warning_list_close(&l);
    assert_int_equal(warning_list_open("data/municipalities.csv", &l, &fault), ERR_CONFIG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reading_is_taken_as_it_is),
        cmocka_unit_test(the_future_begins_at_midnight_in_japan),
        cmocka_unit_test(what_the_inside_must_judge_passes),
        cmocka_unit_test(what_can_be_seen_alone_is_refused),
        cmocka_unit_test(a_misread_line_has_candidates),
        cmocka_unit_test(the_coupon_in_parts),
        cmocka_unit_test(a_wrong_clock_is_noticed),
        cmocka_unit_test(keys_are_uuids_of_any_version),
        cmocka_unit_test(macs_know_what_is_the_same_body),
        cmocka_unit_test(batch_items_carry_their_key),
        cmocka_unit_test(warnings_have_texts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
