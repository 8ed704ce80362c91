// needs: vrs-server/log/log_report.c vrs-server/log/log_rule.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vrs-server/log/log_report.h"

enum { MINUTE = 60000, HOUR = 60 * MINUTE, DAY = 24 * HOUR, MOST = 64 };

/* Monday 2026-06-01 00:00 in Japan. */
static int64_t monday(void) {
    int64_t ms = 0;
    assert_true(clock_parse_rfc3339("2026-06-01T00:00:00+09:00", &ms));
    return ms;
}

struct corpus {
    struct log_rules *rules;
    struct log_report *report;
    uint64_t seq;
    struct log_finding found[MOST];
    size_t count;
};

static struct corpus corpus;

static int set_up(void **state) {
    struct vrs_fault fault = {0};
    (void)state;
    memset(&corpus, 0, sizeof corpus);
    assert_int_equal(log_rules_open("data/log_rules.json", &corpus.rules, &fault), VRS_OK);
    corpus.report = log_report_open(corpus.rules, 20, 7);
    return corpus.report == NULL;
}

static int tear_down(void **state) {
    (void)state;
    log_report_close(&corpus.report);
    log_rules_close(&corpus.rules);
    return 0;
}

static struct log_read entry(int64_t at_ms, const char *user, const char *act) {
    return (struct log_read){.at_ms = at_ms,
                             .user = user,
                             .section = "予防接種課",
                             .terminal = "lgwan-1",
                             .source = "lgwan",
                             .act = act,
                             .purpose = "vaccination_record",
                             .result = "ok",
                             .detail = "-",
                             .addressee = "-",
                             .four_items = "-"};
}

static void add(struct log_read e) {
    if (e.seq == 0)
        e.seq = ++corpus.seq;
    corpus.seq = e.seq;
    assert_int_equal(log_report_add(corpus.report, &e), VRS_OK);
}

static void look(int64_t at_ms, const char *user, unsigned person) {
    char name[24];
    struct log_read e = entry(at_ms, user, "resident.read");
    (void)snprintf(name, sizeof name, "P%06u", person);
    e.addressee = name;
    e.subject_count = 1;
    e.count = 1;
    add(e);
}

static void search_number(int64_t at_ms, const char *user, bool found) {
    struct log_read e = entry(at_ms, user, "resident.search");
    e.detail = "personal_number";
    e.purpose = "transfer_in";
    e.count = found;
    e.subject_count = found;
    e.addressee = found ? "P000001" : "-";
    add(e);
}

static void refused(int64_t at_ms, const char *user, const char *terminal, const char *why) {
    struct log_read e = entry(at_ms, user, "request.refused");
    e.terminal = terminal;
    e.result = why;
    add(e);
}

static void asked(int64_t at_ms, const char *user, const char *code, bool match) {
    struct log_read e = entry(at_ms, user, "inquiry.ask");
    e.result = "sent";
    e.detail = code;
    add(e);
    e = entry(at_ms + 500, user, "inquiry.result");
    e.result = match ? "match" : "no_match";
    add(e);
}

/* A day at the counter: 3 clerks, 60 persons each, some misses, some refusals, a coupon read twice,
 * an hour of overtime. */
static void innocent_day(int64_t day_ms, unsigned day) {
    static const char *const clerks[] = {"clerk-1", "clerk-2", "clerk-3"};
    for (unsigned i = 0; i < 60; i++) {
        int64_t at = day_ms + 9 * HOUR + (int64_t)i * 8 * MINUTE;
        for (unsigned c = 0; c < 3; c++)
            look(at + c * 1000, clerks[c], day * 1000 + i * 3 + c);
        if (i % 10 == 0)
            refused(at + 5000, clerks[i / 10 % 3], "lgwan-1",
                    i % 20 == 0 ? "not_found" : "forbidden");
        if (i % 12 == 0)
            search_number(at + 6000, "clerk-2", i % 24 != 0);
        if (i % 30 == 0)
            asked(at + 7000, "clerk-1", i == 0 ? "462012" : "142051", i == 0);
        if (i == 7) {
            struct log_read near = entry(at + 8000, "clerk-3", "resident.search");
            near.detail = "coupon_number near";
            add(near);
        }
    }
    look(day_ms + 20 * HOUR + 5 * MINUTE, "clerk-1", 7);
    struct log_read outside = entry(day_ms + 22 * HOUR, "site-1", "session.opened");
    outside.source = "internet"; /* a site that works at night */
    for (unsigned i = 0; i < 20; i++)
        add(outside);
    outside = entry(day_ms + 23 * HOUR, "system:sweep", "import.sweep");
    outside.source = "system";
    for (unsigned i = 0; i < 20; i++)
        add(outside);
}

static void innocent_days(unsigned n) {
    for (unsigned day = 0, worked = 0; worked < n; day++) {
        if (day % 7 >= 5)
            continue; /* the weekend */
        innocent_day(monday() + (int64_t)day * DAY, day);
        worked++;
    }
}

static enum vrs_err keep(const struct log_finding *f, void *arg) {
    (void)arg;
    assert_true(corpus.count < MOST);
    corpus.found[corpus.count] = *f;
    corpus.found[corpus.count++].sequence = NULL;
    assert_true(f->sequences > 0);
    for (size_t i = 1; i < f->sequences; i++)
        assert_true(f->sequence[i] > f->sequence[i - 1]);
    return VRS_OK;
}

static void end(void) {
    corpus.count = 0;
    assert_int_equal(log_report_end(corpus.report, keep, NULL), VRS_OK);
}

static const struct log_finding *only(enum log_rule rule) {
    const struct log_finding *found = NULL;
    for (size_t i = 0; i < corpus.count; i++) {
        if (corpus.found[i].rule != rule)
            continue;
        assert_null(found);
        found = &corpus.found[i];
    }
    assert_non_null(found);
    return found;
}

/* Every anomaly once, after ten innocent days. */
static void plant(void) {
    int64_t day = monday() + 14 * DAY; /* a Monday again */
    for (unsigned i = 0; i < 6; i++)   /* at night */
        look(day + 2 * HOUR + (int64_t)i * MINUTE, "night", 1);
    for (unsigned i = 0; i < 130; i++) /* 130 persons in an hour */
        look(day + 10 * HOUR + (int64_t)i * 20000, "fast", 5000 + i);
    for (unsigned i = 0; i < 520; i++) /* 520 in a day, at most 60 an hour */
        look(day + 11 * HOUR + (int64_t)i * MINUTE, "patient", 9000 + i);
    for (unsigned i = 0; i < 12; i++) /* over the full hour */
        refused(day + 33 * HOUR + 40 * MINUTE + (int64_t)i * 3 * MINUTE, "knocker", "lgwan-2",
                "forbidden");
    for (unsigned i = 0; i < 11; i++)
        refused(day + 35 * HOUR + (int64_t)i * MINUTE, "-", "lgwan-3", "login_required");
    for (unsigned i = 0; i < 30; i++)
        search_number(day + 36 * HOUR + (int64_t)i * MINUTE, "fisher", i % 3 == 0);
    for (unsigned i = 0; i < 12; i++) {
        char code[8];
        (void)snprintf(code, sizeof code, "1310%02u", i);
        asked(day + 37 * HOUR + (int64_t)i * MINUTE, "wanderer", code, i % 2 == 0);
    }
    for (unsigned i = 0; i < 10; i++) {
        struct log_read near =
            entry(day + 38 * HOUR + (int64_t)i * MINUTE, "counter", "resident.search");
        near.detail = "coupon_number near";
        near.subject_count = 1;
        near.addressee = "P000001";
        add(near);
    }
}

static void innocent_days_raise_nothing(void **state) {
    (void)state;
    innocent_days(20);
    end();
    assert_int_equal(corpus.count, 0);
    assert_true(log_report_looked_at(corpus.report) > 4000);
}

static void each_planted_anomaly_is_found_once(void **state) {
    (void)state;
    innocent_days(10);
    plant();
    end();
    const struct log_finding *f = only(LOG_OFF_HOURS);
    assert_string_equal(f->user, "night");
    assert_int_equal(f->count, 6);
    assert_int_equal(f->sequences, 6);
    f = only(LOG_MASS_HOUR);
    assert_string_equal(f->user, "fast");
    assert_int_equal(f->count, 130);
    f = only(LOG_MASS_DAY);
    assert_string_equal(f->user, "patient");
    assert_int_equal(f->count, 520);
    assert_int_equal(f->sequences, LOG_FINDING_SEQUENCES);
    f = only(LOG_FISHING);
    assert_string_equal(f->user, "fisher");
    assert_int_equal(f->count, 20);
    assert_int_equal(f->total, 30);
    f = only(LOG_CODE_SWEEP);
    assert_string_equal(f->user, "wanderer");
    assert_int_equal(f->count, 12);
    f = only(LOG_COUPON_SWEEP);
    assert_string_equal(f->user, "counter");
    size_t refusals = 0;
    for (size_t i = 0; i < corpus.count; i++) {
        f = &corpus.found[i];
        if (f->rule != LOG_REFUSALS)
            continue;
        refusals++;
        bool knocker = strcmp(f->user, "knocker") == 0;
        assert_int_equal(f->count, knocker ? 12 : 11);
        assert_string_equal(f->terminal, knocker ? "lgwan-2" : "lgwan-3");
    }
    assert_int_equal(refusals, 2);
    assert_int_equal(corpus.count, 8);
}

static void thresholds_above_what_was_planted_find_nothing(void **state) {
    (void)state;
    for (enum log_rule r = 0; r < LOG_RULE_COUNT; r++)
        log_rule_threshold(corpus.rules, r)->count = 10000;
    innocent_days(10);
    plant();
    end();
    assert_int_equal(corpus.count, 0);
}

static void a_rule_that_is_off_finds_nothing(void **state) {
    (void)state;
    for (enum log_rule r = 0; r < LOG_RULE_COUNT; r++)
        log_rule_threshold(corpus.rules, r)->on = false;
    plant();
    end();
    assert_int_equal(corpus.count, 0);
}

static void the_weekend_and_holidays_are_off(void **state) {
    (void)state;
    int64_t saturday = monday() + 5 * DAY, holiday;
    assert_true(clock_parse_rfc3339("2026-07-20T10:00:00+09:00", &holiday));
    for (unsigned i = 0; i < 5; i++)
        look(saturday + 10 * HOUR + (int64_t)i * MINUTE, "weekender", 1);
    for (unsigned i = 0; i < 5; i++)
        look(holiday + (int64_t)i * MINUTE, "eager", 1);
    end();
    assert_int_equal(corpus.count, 2);
    assert_string_equal(corpus.found[0].user, "weekender");
    assert_string_equal(corpus.found[1].user, "eager");
}

static void gaps_and_steps_of_the_clock(void **state) {
    (void)state;
    int64_t at = monday() + 9 * HOUR;
    look(at, "clerk-1", 1);
    corpus.seq += 3; /* three entries are not there */
    look(at + MINUTE, "clerk-1", 2);
    look(at + MINUTE - 30000, "clerk-1", 2); /* a leap of half a minute is nothing */
    look(at - HOUR, "clerk-1", 3);
    end();
    assert_int_equal(corpus.count, 2);
    assert_int_equal(only(LOG_GAP)->count, 3);
    assert_int_equal(only(LOG_CLOCK_STEP)->from_ms, at - HOUR);
}

static void refusals_that_were_only_counted_count(void **state) {
    (void)state;
    struct log_read e = entry(monday() + 9 * HOUR, "-", "request.refused_many");
    e.result = "login_required";
    e.detail = "more=40";
    e.count = 40;
    add(e);
    end();
    assert_int_equal(only(LOG_REFUSALS)->count, 41);
}

static void slow_knocking_is_no_run(void **state) {
    (void)state;
    for (unsigned i = 0; i < 60; i++)
        refused(monday() + 9 * HOUR + (int64_t)i * 7 * MINUTE, "unlucky", "lgwan-1", "not_found");
    end();
    assert_int_equal(corpus.count, 0);
}

static void a_slice_read_twice_counts_once(void **state) {
    (void)state;
    struct log_read e = entry(monday() + 2 * HOUR, "night", "resident.read");
    for (uint64_t i = 0; i < 12; i++) {
        e.seq = 1 + i % 4;
        assert_int_equal(log_report_add(corpus.report, &e), VRS_OK);
    }
    end();
    assert_int_equal(corpus.count, 0);
    assert_int_equal(log_report_looked_at(corpus.report), 4);
}

/* --- loading --- */

static enum vrs_err load(const char *text) {
    char path[] = "/tmp/log-rules-XXXXXX";
    struct log_rules *rules = NULL;
    struct vrs_fault fault = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    enum vrs_err e = log_rules_open(path, &rules, &fault);
    (void)unlink(path);
    log_rules_close(&rules);
    return e;
}

#define HEAD                                                                                       \
    "{\"format\":\"vrs-log-rules/1\",\"version\":1,\"acts_of_looking\":[\"resident.read\"],"       \
    "\"refusals\":[\"forbidden\"],\"weekend\":[\"sunday\"],\"holidays\":[\"2026-01-01\"],"

static void what_is_not_understood_is_refused(void **state) {
    (void)state;
    assert_int_equal(load(HEAD "\"rules\":[{\"id\":\"gap\",\"count\":1}]}"), VRS_OK);
    static const char *const bad[] = {
        "",
        "{}",
        HEAD "\"rules\":[],\"more\":1}",
        HEAD "\"rules\":[{\"id\":\"gaps\",\"count\":1}]}",
        HEAD "\"rules\":[{\"id\":\"gap\"}]}",
        HEAD "\"rules\":[{\"id\":\"gap\",\"count\":0}]}",
        HEAD "\"rules\":[{\"id\":\"gap\",\"count\":1,\"weight\":2}]}",
        HEAD "\"rules\":[{\"id\":\"gap\",\"count\":1},{\"id\":\"gap\",\"count\":2}]}",
        HEAD "\"rules\":[{\"id\":\"number_fishing\",\"count\":1,\"miss_percent\":101}]}",
        "{\"format\":\"vrs-log-rules/2\",\"version\":1,\"acts_of_looking\":[],\"refusals\":[],"
        "\"weekend\":[],\"holidays\":[],\"rules\":[]}",
        "{\"format\":\"vrs-log-rules/1\",\"version\":1,\"acts_of_looking\":[],\"refusals\":["
        "\"no_such_error\"],\"weekend\":[],\"holidays\":[],\"rules\":[]}",
        "{\"format\":\"vrs-log-rules/1\",\"version\":1,\"acts_of_looking\":[],\"refusals\":[],"
        "\"weekend\":[\"someday\"],\"holidays\":[],\"rules\":[]}",
        "{\"format\":\"vrs-log-rules/1\",\"version\":1,\"acts_of_looking\":[],\"refusals\":[],"
        "\"weekend\":[],\"holidays\":[\"2026-02-30\"],\"rules\":[]}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(load(bad[i]), ERR_CONFIG);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(innocent_days_raise_nothing),
        TEST(each_planted_anomaly_is_found_once),
        TEST(thresholds_above_what_was_planted_find_nothing),
        TEST(a_rule_that_is_off_finds_nothing),
        TEST(the_weekend_and_holidays_are_off),
        TEST(gaps_and_steps_of_the_clock),
        TEST(refusals_that_were_only_counted_count),
        TEST(slow_knocking_is_no_run),
        TEST(a_slice_read_twice_counts_once),
        cmocka_unit_test(what_is_not_understood_is_refused),
    };
    return cmocka_run_group_tests_name("C63 irregular use in the access log", tests, NULL, NULL);
}
